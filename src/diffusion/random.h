/*
 * Random numbers of one generation: xoshiro256++ (Blackman and Vigna, 2019) seeded through splitmix64. The state
 * belongs to the generation, so equal seeds give equal texts whatever the number of threads. Tests play back a list of
 * numbers instead.
 */
#ifndef DLX_DIFFUSION_RANDOM_H
#define DLX_DIFFUSION_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct dlx_random {
    uint64_t state[4];
    const double *script; /* numbers handed out instead of drawn ones, or NULL */
    size_t script_n, script_used;
} dlx_random;

static inline uint64_t dlx_splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline dlx_random dlx_random_seeded(uint64_t seed)
{
    dlx_random r = {.script = NULL};
    for (int i = 0; i < 4; i++) r.state[i] = dlx_splitmix64(&seed);
    return r;
}

static inline uint64_t dlx_random_bits(dlx_random *r)
{
    uint64_t *s = r->state, sum = s[0] + s[3], t = s[1] << 17;
    uint64_t bits = (sum << 23 | sum >> 41) + s[0];
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return bits;
}

/* Uniform in [0, 1), a multiple of 2^-53. */
static inline double dlx_random_uniform(dlx_random *r)
{
    if (r->script && r->script_used < r->script_n) return r->script[r->script_used++];
    return (double)(dlx_random_bits(r) >> 11) * 0x1p-53;
}

#endif
