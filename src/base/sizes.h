/* Checked arithmetic on sizes that come from files, and alignment. */
#ifndef DLX_BASE_SIZES_H
#define DLX_BASE_SIZES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool dlx_add_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool dlx_mul_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }

/* True when [offset, offset+size) lies inside [0, total). */
static inline bool dlx_range_ok(uint64_t offset, uint64_t size, uint64_t total)
{
    return offset <= total && size <= total - offset;
}

/* a is a power of two; the caller guarantees that n + a does not overflow. */
static inline uint64_t dlx_align_up(uint64_t n, uint64_t a) { return (n + a - 1) & ~(a - 1); }

#define DLX_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
