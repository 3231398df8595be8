/*
 * What the kernel tests share (after the checkasm idea of dav1d): hostile inputs, buffers between canaries, and walking
 * the instruction sets of this CPU.
 */
#ifndef KERNELS_CHECK_H
#define KERNELS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "kernels/kernels.h"

/* Random numbers (xorshift64*): the same sequence everywhere, so that a failure repeats. */
typedef struct rng {
    uint64_t state;
} rng;

static inline uint32_t rng_u32(rng *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return (uint32_t)((r->state * UINT64_C(0x2545F4914F6CDD1D)) >> 32);
}

static inline size_t rng_below(rng *r, size_t n)
{
    return rng_u32(r) % n;
}

/* In [-1, 1). */
static inline float rng_f32(rng *r)
{
    return (float)(int32_t)rng_u32(r) * 0x1p-31f;
}

/* Kinds of rows. The first ones stay within what a network can produce; all are finite. */
enum {
    FILL_PLAIN,
    FILL_OUTLIER, /* one value 1000 times the others, as activations have them */
    FILL_POSITIVE,
    FILL_EQUAL,
    FILL_ZERO,
    FILL_NEGATIVE_ZERO,
    FILL_HALVES,   /* multiples of 1/2 up to 127.5: every product is on a rounding edge */
    FILL_MODERATE, /* kinds below this one have magnitudes of 1e4 at most and no denormals */
    FILL_DENORMAL = FILL_MODERATE,
    FILL_TINY, /* around the smallest normal number */
    FILL_WIDE, /* all exponents */
    FILL_HUGE, /* both signs near the largest float */
    FILL_KINDS
};

static inline float fill_value(rng *r, int kind)
{
    switch (kind) {
    case FILL_PLAIN: return rng_f32(r) * 3.0f + 0.25f;
    case FILL_OUTLIER: return rng_below(r, 37) == 0 ? rng_f32(r) * 3000.0f : rng_f32(r);
    case FILL_POSITIVE: return rng_f32(r) * rng_f32(r) + 1.5f;
    case FILL_EQUAL: return -7.3125f;
    case FILL_ZERO: return 0.0f;
    case FILL_NEGATIVE_ZERO: return rng_below(r, 3) ? -0.0f : 0.0f;
    case FILL_HALVES: return (float)((int)rng_below(r, 511) - 255) * 0.5f;
    case FILL_DENORMAL: return rng_f32(r) * 1e-39f;
    case FILL_TINY: return rng_f32(r) * 2e-37f;
    case FILL_WIDE: return ldexpf(rng_f32(r), (int)rng_below(r, 250) - 125);
    default: return rng_f32(r) < 0 ? -3.3e38f : 3.3e38f * rng_f32(r);
    }
}

static inline void fill(rng *r, float *x, size_t n, int kind)
{
    for (size_t i = 0; i < n; i++) x[i] = fill_value(r, kind);
}

/* A buffer of n bytes at `offset` bytes past a 64-byte boundary, with canaries on both sides. */
typedef struct guarded {
    uint8_t *block;
    void *p;
    size_t offset, n;
} guarded;

enum { CANARY_BYTES = 256 };

static inline uint8_t canary(size_t i)
{
    return (uint8_t)(0xA5 ^ (i * 29));
}

static inline guarded guarded_new(size_t n, size_t offset)
{
    guarded g = {.offset = CANARY_BYTES + offset, .n = n};
    size_t total = (n + offset + 2 * CANARY_BYTES + 63) / 64 * 64;
    g.block = aligned_alloc(64, total);
    assert_non_null(g.block);
    for (size_t i = 0; i < total; i++) g.block[i] = canary(i);
    g.p = g.block + g.offset;
    return g;
}

static inline void guarded_check(const guarded *g)
{
    for (size_t i = 0; i < g->offset; i++)
        if (g->block[i] != canary(i)) fail_msg("byte %zu before the buffer was written", g->offset - i);
    for (size_t i = g->offset + g->n; i < g->offset + g->n + CANARY_BYTES; i++)
        if (g->block[i] != canary(i)) fail_msg("byte %zu behind the buffer was written", i - g->offset - g->n);
}

static inline void guarded_free(guarded *g)
{
    guarded_check(g);
    free(g->block);
    g->block = NULL;
}

static inline void check_close(const char *what, size_t index, float got, float expected, double bound)
{
    double d = fabs((double)got - (double)expected);
    if (!(d <= bound) && dlx_f32_to_bits(got) != dlx_f32_to_bits(expected))
        fail_msg("%s [%zu]: got %.9g, expected %.9g, differ by %.3g, allowed %.3g", what, index, (double)got,
                 (double)expected, d, bound);
}

static inline void check_bits(const char *what, const void *got, const void *expected, size_t n)
{
    const uint8_t *a = got, *b = expected;
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i]) fail_msg("%s: byte %zu is %u, expected %u", what, i, a[i], b[i]);
}

/* Says once which sets of this build were left out because the CPU lacks them: a passing test did not look at those. */
static inline void report_missing_sets(const dlx_isa *list, size_t n)
{
    static bool said;
    size_t missing = 0;
    for (size_t i = 0; i < n && !said; i++) {
        if (dlx_isa_available(list[i])) continue;
        printf("%s%s", missing++ ? ", " : "not run on this CPU: ", dlx_isa_name(list[i]));
    }
    if (missing) printf("\n");
    said = true;
}

#if defined(DLX_AVXVNNI_TWIN)
/* The AVX-VNNI set's sources with the same instructions in AVX-512's encoding, which other CPUs have. */
void dlx_kernels_set_avxvnni_twin(dlx_kernels *k);

static inline size_t add_avxvnni_twin(dlx_kernels *out)
{
    if (dlx_isa_available(DLX_ISA_AVXVNNI) || !dlx_isa_available(DLX_ISA_AVX512VNNI)) return 0;
    dlx_kernels_init(out, DLX_ISA_AVX2);
    dlx_kernels_set_avxvnni_twin(out);
    out->name = "avx-vnni's twin";
    return 1;
}
#else
static inline size_t add_avxvnni_twin(dlx_kernels *out)
{
    (void)out;
    return 0;
}
#endif

#if defined(DLX_AMX_TWIN)
/* The AMX set's sources with tiles in plain C (amx_emulated.h), beside the real one where there is one: it says where a
 * CPU would raise an exception. */
void dlx_kernels_set_amx_twin(dlx_kernels *k);

static inline size_t add_amx_twin(dlx_kernels *out)
{
    if (!dlx_isa_available(DLX_ISA_AVX512VNNI)) return 0;
    dlx_kernels_init(out, DLX_ISA_AVX512VNNI);
    dlx_kernels_set_amx_twin(out);
    out->name = "amx's twin";
    return 1;
}
#else
static inline size_t add_amx_twin(dlx_kernels *out)
{
    (void)out;
    return 0;
}
#endif

/* Tables of all sets this CPU has, the reference first; returns how many. */
static inline size_t all_kernels(dlx_kernels out[8])
{
    dlx_isa list[8];
    size_t n = dlx_isa_list(list), have = 0;
    report_missing_sets(list, n);
    for (size_t i = 0; i < n; i++) {
        if (!dlx_isa_available(list[i])) continue;
        dlx_kernels_init(&out[have], list[i]);
        assert_int_equal(out[have].isa, list[i]);
        have++;
    }
    have += add_avxvnni_twin(&out[have]);
    return have + add_amx_twin(&out[have]);
}

#endif
