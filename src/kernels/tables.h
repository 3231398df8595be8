/*
 * One function per instruction set: each overwrites the entries of a table that it has a better version of. Those of
 * the sets that it builds on are called before it, the reference first, so that no entry is ever NULL. Only kernels.c
 * calls them, and only after asking the CPU.
 */
#ifndef DLX_KERNELS_TABLES_H
#define DLX_KERNELS_TABLES_H

#include "kernels/kernels.h"

void dlx_kernels_set_ref(dlx_kernels *k);
#if defined(__x86_64__)
void dlx_kernels_set_avx2(dlx_kernels *k);
void dlx_kernels_set_avxvnni(dlx_kernels *k);
void dlx_kernels_set_avx512(dlx_kernels *k);
void dlx_kernels_set_avx512vnni(dlx_kernels *k);
void dlx_kernels_set_amx(dlx_kernels *k);
#elif defined(__aarch64__)
void dlx_kernels_set_neon(dlx_kernels *k);
void dlx_kernels_set_neon_dotprod(dlx_kernels *k);
void dlx_kernels_set_neon_i8mm(dlx_kernels *k);
#elif defined(__wasm_simd128__)
void dlx_kernels_set_simd128(dlx_kernels *k);
#endif

#endif
