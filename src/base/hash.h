/* FNV-1a, for names and fingerprints that nobody tries to forge. */
#ifndef DLX_BASE_HASH_H
#define DLX_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Goes on with hash over n more bytes; 0 begins. */
static inline uint64_t dlx_fnv1a(uint64_t hash, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    if (!hash) hash = 14695981039346656037u;
    for (size_t i = 0; i < n; i++) hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

#endif
