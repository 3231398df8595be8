/*
 * The loops of arithmetic behind kernels/probe.h. Assembly with registers that are named, and on aarch64 with encoded
 * instructions: so the file is compiled for the architecture's baseline, and a loop is reached only behind its question
 * to the CPU. Operands are bytes of 1 and 2 (floats of 1): what is added grows by a little, wraps as an integer and
 * stops growing as a float.
 */
#include "kernels/probe.h"

#include <stdint.h>
#include <string.h>

#include "base/sizes.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include "kernels/amx_tiles.h"
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#define TIMES_2(X)  X(0) X(1)
#define TIMES_4(X)  TIMES_2(X) X(2) X(3)
#define TIMES_12(X) TIMES_4(X) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define TIMES_8(B)  B B B B B B B B

/* Whether this CPU has what a set of kernels needs. */
#define HAS(name, isa)                                                                                                 \
    static bool has_##name(void)                                                                                       \
    {                                                                                                                  \
        return dlx_isa_available(isa);                                                                                 \
    }

#if defined(__x86_64__)

#define CLOBBERED                                                                                                      \
    "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",   \
        "xmm13", "xmm14", "xmm15"
#define ZERO(i) "vpxor %%xmm" #i ", %%xmm" #i ", %%xmm" #i "\n\t"

/* Registers 0 to 11 are sums or room, 14 and 15 hold the operands, 13 holds words of 1. */
#define LOOP(name, width, body)                                                                                        \
    static void name(size_t rounds)                                                                                    \
    {                                                                                                                  \
        static const uint32_t bytes_1 = 0x01010101, bytes_2 = 0x02010201, words_1 = 0x00010001;                        \
        __asm__ volatile("vpbroadcastd %1, %%" width "14\n\t"                                                          \
                         "vpbroadcastd %2, %%" width "15\n\t"                                                          \
                         "vpbroadcastd %3, %%" width "13\n\t" TIMES_12(ZERO) "1:\n\t" body "subq $1, %0\n\t"           \
                                                                             "jnz 1b\n\t"                              \
                                                                             "vzeroupper"                              \
                         : "+r"(rounds)                                                                                \
                         : "m"(bytes_1), "m"(bytes_2), "m"(words_1)                                                    \
                         : CLOBBERED);                                                                                 \
    }

#define DPBUSD_YMM_VEX(i) "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" #i "\n\t"
#define DPBUSD_YMM(i)     "%{evex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" #i "\n\t"
#define DPBUSD_ZMM(i)     "vpdpbusd %%zmm15, %%zmm14, %%zmm" #i "\n\t"
#define DPBF16_ZMM(i)     "vdpbf16ps %%zmm15, %%zmm14, %%zmm" #i "\n\t"
#define FMA_YMM(i)        "vfmadd231ps %%ymm15, %%ymm14, %%ymm" #i "\n\t"
#define FMA_ZMM(i)        "vfmadd231ps %%zmm15, %%zmm14, %%zmm" #i "\n\t"
/* A sum i in 32 bits, its product in register 12: renaming makes each of these another. */
#define MADDWD_YMM(i)  "vpmaddwd %%ymm15, %%ymm14, %%ymm12\n\tvpaddd %%ymm12, %%ymm" #i ", %%ymm" #i "\n\t"
#define MADDWD_ZMM(i)  "vpmaddwd %%zmm15, %%zmm14, %%zmm12\n\tvpaddd %%zmm12, %%zmm" #i ", %%zmm" #i "\n\t"
#define MADDUBS_YMM(i) "vpmaddubsw %%ymm15, %%ymm14, %%ymm12\n\tvpaddw %%ymm12, %%ymm" #i ", %%ymm" #i "\n\t"
#define MADDUBS_ZMM(i) "vpmaddubsw %%zmm15, %%zmm14, %%zmm12\n\tvpaddw %%zmm12, %%zmm" #i ", %%zmm" #i "\n\t"
/* Bytes by bytes: two products in 16 bits, two of those in 32. */
#define BYTES_YMM(i)                                                                                                   \
    "vpmaddubsw %%ymm15, %%ymm14, %%ymm12\n\tvpmaddwd %%ymm13, %%ymm12, %%ymm12\n\t"                                   \
    "vpaddd %%ymm12, %%ymm" #i ", %%ymm" #i "\n\t"
#define BYTES_ZMM(i)                                                                                                   \
    "vpmaddubsw %%zmm15, %%zmm14, %%zmm12\n\tvpmaddwd %%zmm13, %%zmm12, %%zmm12\n\t"                                   \
    "vpaddd %%zmm12, %%zmm" #i ", %%zmm" #i "\n\t"
/* What stands in 16 bits behind eight steps goes to sums in 32. */
#define WIDEN_YMM(from, to)                                                                                            \
    "vpmaddwd %%ymm13, %%ymm" #from ", %%ymm12\n\tvpaddd %%ymm12, %%ymm" #to ", %%ymm" #to "\n\t" ZERO(from)
#define WIDEN_ZMM(from, to)                                                                                            \
    "vpmaddwd %%zmm13, %%zmm" #from ", %%zmm12\n\tvpaddd %%zmm12, %%zmm" #to ", %%zmm" #to "\n\t" ZERO(from)
#define MADDUBS_8(w) TIMES_8(TIMES_4(MADDUBS_##w)) WIDEN_##w(0, 4) WIDEN_##w(1, 5) WIDEN_##w(2, 6) WIDEN_##w(3, 7)

LOOP(dpbusd_ymm_vex, "ymm", TIMES_12(DPBUSD_YMM_VEX))
LOOP(dpbusd_ymm, "ymm", TIMES_12(DPBUSD_YMM))
LOOP(dpbusd_zmm, "zmm", TIMES_12(DPBUSD_ZMM))
LOOP(maddwd_ymm, "ymm", TIMES_12(MADDWD_YMM))
LOOP(maddwd_zmm, "zmm", TIMES_12(MADDWD_ZMM))
LOOP(bytes_ymm, "ymm", TIMES_12(BYTES_YMM))
LOOP(bytes_zmm, "zmm", TIMES_12(BYTES_ZMM))
LOOP(maddubs_ymm, "ymm", MADDUBS_8(YMM))
LOOP(maddubs_zmm, "zmm", MADDUBS_8(ZMM))

/* The same with floats of 1 in 14 and 15, and pairs of bfloat16. */
#define FLOAT_LOOP(name, width, word, body)                                                                            \
    static void name(size_t rounds)                                                                                    \
    {                                                                                                                  \
        static const uint32_t ones = word;                                                                             \
        __asm__ volatile("vpbroadcastd %1, %%" width "14\n\t"                                                          \
                         "vpbroadcastd %1, %%" width "15\n\t" TIMES_12(ZERO) "1:\n\t" body "subq $1, %0\n\t"           \
                                                                             "jnz 1b\n\t"                              \
                                                                             "vzeroupper"                              \
                         : "+r"(rounds)                                                                                \
                         : "m"(ones)                                                                                   \
                         : CLOBBERED);                                                                                 \
    }

FLOAT_LOOP(dpbf16_zmm, "zmm", 0x3F803F80, TIMES_12(DPBF16_ZMM))
FLOAT_LOOP(fma_ymm, "ymm", 0x3F800000, TIMES_12(FMA_YMM))
FLOAT_LOOP(fma_zmm, "zmm", 0x3F800000, TIMES_12(FMA_ZMM))

/* What sets of kernels need is what the table of sets asks for; the bits of others say only what the CPU has, and come
 * with one of those. */
HAS(avx2, DLX_ISA_AVX2)
HAS(avx_vnni, DLX_ISA_AVXVNNI)
HAS(avx512, DLX_ISA_AVX512)
HAS(vnni, DLX_ISA_AVX512VNNI)
HAS(amx, DLX_ISA_AMX) /* and what that asks of the system */
static bool has_bf16(void)
{
    unsigned a, b, c, d;
    return has_avx512() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}

/* Four sums of 16 x 16: the latency of a product of tiles is just over three times what it keeps its unit busy. */
static void amx_int8(size_t rounds)
{
    amx_config tiles = {.palette = 1};
    static const uint8_t operand[AMX_ROWS * AMX_ROW_BYTES] = {1, 2, 1, 2};
    for (int i = 0; i < AMX_TILES; i++) {
        tiles.bytes[i] = AMX_ROW_BYTES;
        tiles.rows[i] = AMX_ROWS;
    }
    amx_configure(&tiles);
    AMX_ZERO(0);
    AMX_ZERO(1);
    AMX_ZERO(2);
    AMX_ZERO(3);
    AMX_LOAD(4, operand, AMX_ROW_BYTES);
    AMX_LOAD(5, operand, AMX_ROW_BYTES);
    AMX_LOAD(6, operand, AMX_ROW_BYTES);
    AMX_LOAD(7, operand, AMX_ROW_BYTES);
    for (; rounds > 0; rounds--) {
        AMX_DOT(0, 4, 6);
        AMX_DOT(1, 4, 7);
        AMX_DOT(2, 5, 6);
        AMX_DOT(3, 5, 7);
    }
    amx_release();
}

/* Operations of a round: loops have 12 steps, those of 4 bits 32. */
static const dlx_probe loops[] = {
    {"vpmaddwd, 256 bits", DLX_PROBE_INT8, has_avx2, DLX_ISA_REF, false, 12 * 2.0 * 16, maddwd_ymm},
    {"vpmaddwd, 512 bits", DLX_PROBE_INT8, has_avx512, DLX_ISA_REF, false, 12 * 2.0 * 32, maddwd_zmm},
    {"vpmaddubsw and vpmaddwd, 256 bits", DLX_PROBE_INT8, has_avx2, DLX_ISA_AVX2, false, 12 * 2.0 * 32, bytes_ymm},
    {"vpmaddubsw and vpmaddwd, 512 bits", DLX_PROBE_INT8, has_avx512, DLX_ISA_AVX512, false, 12 * 2.0 * 64, bytes_zmm},
    {"vpdpbusd, 256 bits (AVX-VNNI)", DLX_PROBE_INT8, has_avx_vnni, DLX_ISA_AVXVNNI, false, 12 * 2.0 * 32,
     dpbusd_ymm_vex},
    {"vpdpbusd, 256 bits", DLX_PROBE_INT8, has_vnni, DLX_ISA_REF, false, 12 * 2.0 * 32, dpbusd_ymm},
    {"vpdpbusd, 512 bits", DLX_PROBE_INT8, has_vnni, DLX_ISA_AVX512VNNI, false, 12 * 2.0 * 64, dpbusd_zmm},
    {"tdpbusd, tiles", DLX_PROBE_INT8, has_amx, DLX_ISA_AMX, true, 4 * 2.0 * 16 * 16 * 64, amx_int8},
    {"vpmaddubsw, 256 bits", DLX_PROBE_INT4, has_avx2, DLX_ISA_AVX2, false, 32 * 2.0 * 32, maddubs_ymm},
    {"vpmaddubsw, 512 bits", DLX_PROBE_INT4, has_avx512, DLX_ISA_AVX512, false, 32 * 2.0 * 64, maddubs_zmm},
    {"vdpbf16ps, 512 bits", DLX_PROBE_BF16, has_bf16, DLX_ISA_REF, false, 12 * 2.0 * 32, dpbf16_zmm},
    {"vfmadd231ps, 256 bits", DLX_PROBE_FLOAT32, has_avx2, DLX_ISA_AVX2, false, 12 * 2.0 * 8, fma_ymm},
    {"vfmadd231ps, 512 bits", DLX_PROBE_FLOAT32, has_avx512, DLX_ISA_AVX512, false, 12 * 2.0 * 16, fma_zmm},
};

#elif defined(__aarch64__)

#define CLOBBERED                                                                                                      \
    "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16"
#define ZERO(i) "movi v" #i ".16b, #0\n\t"

/* Registers 0 to 11 are sums, 14 and 15 the operands. */
#define LOOP(name, operand, body)                                                                                      \
    static void name(size_t rounds)                                                                                    \
    {                                                                                                                  \
        __asm__ volatile(operand TIMES_12(ZERO) "1:\n\t" body "subs %0, %0, #1\n\t"                                    \
                                                "b.ne 1b"                                                              \
                         : "+r"(rounds)                                                                                \
                         :                                                                                             \
                         : CLOBBERED);                                                                                 \
    }
#define BYTES  "movi v14.16b, #1\n\tmovi v15.16b, #2\n\t"
#define FLOATS "fmov v14.4s, #1.0\n\tfmov v15.4s, #1.0\n\t"
/* bfloat16 1 and 1, which are the halves of a word */
#define HALVES                                                                                                         \
    "movi v14.8h, #0x3F, lsl #8\n\tmovi v16.8h, #0x80\n\torr v14.16b, v14.16b, v16.16b\n\tmov v15.16b, v14.16b\n\t"

/* Instructions that an assembler takes only behind a flag: the encoding, with v14 and v15 as operands. */
#define WORD(base, i) ".inst " #base " + " #i "\n\t"
#define SMLAL(i)      "smlal v" #i ".4s, v14.4h, v15.4h\n\t"
#define SDOT(i)       WORD(0x4E8F95C0, i)
#define SMMLA(i)      WORD(0x4E8FA5C0, i)
#define BFMMLA(i)     WORD(0x6E4FEDC0, i)
#define FMLA(i)       "fmla v" #i ".4s, v14.4s, v15.4s\n\t"

LOOP(smlal, BYTES, TIMES_12(SMLAL))
LOOP(sdot, BYTES, TIMES_12(SDOT))
LOOP(smmla, BYTES, TIMES_12(SMMLA))
LOOP(bfmmla, HALVES, TIMES_12(BFMMLA))
LOOP(fmla, FLOATS, TIMES_12(FMLA))

HAS(neon, DLX_ISA_NEON)
HAS(dotprod, DLX_ISA_NEON_DOTPROD)
HAS(i8mm, DLX_ISA_NEON_I8MM)
/* Bit number of the Linux aarch64 ABI (arch/arm64/include/uapi/asm/hwcap.h); older libc headers lack the name. */
static bool has_bf16(void)
{
#if defined(__linux__)
    return (getauxval(AT_HWCAP2) >> 14 & 1) != 0;
#else
    return false;
#endif
}

static const dlx_probe loops[] = {
    {"smlal", DLX_PROBE_INT8, has_neon, DLX_ISA_NEON, false, 12 * 2.0 * 4, smlal},
    {"sdot", DLX_PROBE_INT8, has_dotprod, DLX_ISA_NEON_DOTPROD, false, 12 * 2.0 * 16, sdot},
    {"smmla", DLX_PROBE_INT8, has_i8mm, DLX_ISA_NEON_I8MM, false, 12 * 2.0 * 32, smmla},
    {"bfmmla", DLX_PROBE_BF16, has_bf16, DLX_ISA_REF, false, 12 * 2.0 * 16, bfmmla},
    {"fmla", DLX_PROBE_FLOAT32, has_neon, DLX_ISA_NEON, false, 12 * 2.0 * 4, fmla},
};

#endif

const dlx_probe *dlx_probe_loop(size_t i)
{
#if defined(__x86_64__) || defined(__aarch64__)
    return i < DLX_COUNT(loops) ? &loops[i] : NULL;
#else
    (void)i;
    return NULL; /* no limits are known here */
#endif
}
