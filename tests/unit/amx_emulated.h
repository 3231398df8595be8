/*
 * The names of src/kernels/amx_tiles.h in plain C, after the operations and exceptions that Intel documents (SDM,
 * volume 2: LDTILECFG, TDPBUSD, TILELOADD, TILERELEASE, TILESTORED, TILEZERO; palette 1). What a CPU answers with an
 * exception stops the test, or is kept for a test that waits for it.
 */
#ifndef AMX_EMULATED_H
#define AMX_EMULATED_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/amx_tiles.h"

void amx_configure(const amx_config *c);
void amx_release(void);
void amx_zero(unsigned tile);
void amx_load(unsigned tile, const void *from, size_t stride);
void amx_store(unsigned tile, void *to, size_t stride);
void amx_dot(unsigned sum, unsigned u, unsigned s);
#define AMX_ZERO(tile)               amx_zero(tile)
#define AMX_LOAD(tile, from, stride) amx_load(tile, from, stride)
#define AMX_STORE(tile, to, stride)  amx_store(tile, to, stride)
#define AMX_DOT(sum, u, s)           amx_dot(sum, u, s)

/* In place of asking whether there are tiles: here they are. */
bool amx_given(void);
/* From now on this thread's exceptions are kept in place of stopping it, until the next call, which gives the first one
 * (static) or NULL. */
void amx_expect(void);
const char *amx_expected(void);
/* Threads whose tiles are configured. */
int amx_busy(void);
/* Products of tiles until now. */
unsigned long amx_dots(void);
/* Of those that follow, the i-th is wrong by 2^20 in its first number; SIZE_MAX: none. */
void amx_spoil(size_t i);

#endif
