/*
 * The instructions of Intel's unit of matrix tiles (AMX), under names of this project: eight registers of at most 16
 * rows of 64 bytes, whose number is a constant of each instruction. In assembly, as compilers before gcc 13 do not say
 * that loads read memory, nor that all of a configuration is read. `AMX_EMULATED` names a header that has the same
 * names in plain C, which tests compile the set with once more.
 *
 * What the registers hold belongs to the thread, is saved with it, and is gone with amx_release: who configures tiles
 * releases them before it returns.
 */
#ifndef DLX_KERNELS_AMX_TILES_H
#define DLX_KERNELS_AMX_TILES_H

#include <stddef.h>
#include <stdint.h>

enum { AMX_TILES = 8, AMX_ROWS = 16, AMX_ROW_BYTES = 64 };

/* Operand of LDTILECFG (Intel SDM, volume 2, "LDTILECFG"). A register of 0 rows and 0 bytes is not there. */
typedef struct amx_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16]; /* of a row; those of registers beyond AMX_TILES are 0 */
    uint8_t rows[16];
} amx_config;
_Static_assert(sizeof(amx_config) == 64, "the instruction reads 64 bytes");

#if defined(AMX_EMULATED)
#include AMX_EMULATED
#else
/* Makes registers of the sizes of c, zeros in all. */
static inline void amx_configure(const amx_config *c)
{
    __asm__ volatile("ldtilecfg %0" : : "m"(*c));
}
static inline void amx_release(void)
{
    __asm__ volatile("tilerelease");
}
#define AMX_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile ::)
/* Rows of the tile, from rows of memory `stride` bytes apart, and back. */
#define AMX_LOAD(tile, from, stride)                                                                                   \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(from), "r"((size_t)(stride)) : "memory")
#define AMX_STORE(tile, to, stride)                                                                                    \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(to), "r"((size_t)(stride)) : "memory")
/* sum[m][n] += u[m][4k + i] * s[k][4n + i] for all k and i < 4: u of unsigned bytes, s of signed ones, sums of int32.
 */
#define AMX_DOT(sum, u, s) __asm__ volatile("tdpbusd %%tmm" #s ", %%tmm" #u ", %%tmm" #sum ::)
#endif

#endif
