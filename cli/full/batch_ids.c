/* Open addressing over SipHash (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012), two of them with keys of
 * their own. */
#include "full/batch_ids.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { FIRST_CAPACITY = 1024 };

static uint64_t turn(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void rounds(uint64_t v[4], int n)
{
    for (; n; n--) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = turn(v[1], 13) ^ v[0];
        v[3] = turn(v[3], 16) ^ v[2];
        v[0] = turn(v[0], 32) + v[3];
        v[2] += v[1];
        v[3] = turn(v[3], 21) ^ v[0];
        v[1] = turn(v[1], 17) ^ v[2];
        v[2] = turn(v[2], 32);
    }
}

static uint64_t siphash(const uint64_t key[2], const char *bytes, size_t n)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
                     key[1] ^ 0x7465646279746573u};
    uint64_t word = 0;
    for (size_t i = 0; i <= n; i++) { /* the length is the last byte of the last word */
        uint64_t byte = i < n ? (unsigned char)bytes[i] : 0;
        word |= byte << (8 * (i % 8));
        if (i < n && i % 8 != 7) continue;
        if (i == n) word |= (uint64_t)n << 56;
        v[3] ^= word;
        rounds(v, 2);
        v[0] ^= word;
        word = 0;
    }
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void dlx_cli_ids_open(dlx_cli_ids *ids)
{
    *ids = (dlx_cli_ids){0};
    /* Without randomness the keys are what anybody can know: then whoever makes ids could make two of one hash. */
    if (getentropy(ids->keys, sizeof ids->keys) != 0) ids->keys[2] = 1;
}

void dlx_cli_ids_close(dlx_cli_ids *ids)
{
    free(ids->table);
    *ids = (dlx_cli_ids){0};
}

/* Where the hash is, or would be. The table has a free place. */
static dlx_cli_id *place(const dlx_cli_ids *ids, const uint64_t hash[2])
{
    size_t at = (size_t)hash[0] & (ids->capacity - 1);
    while (ids->table[at].used && memcmp(ids->table[at].hash, hash, sizeof ids->table[at].hash) != 0)
        at = (at + 1) & (ids->capacity - 1);
    return &ids->table[at];
}

static bool grow(dlx_cli_ids *ids)
{
    dlx_cli_ids larger = *ids;
    larger.capacity = ids->capacity ? 2 * ids->capacity : FIRST_CAPACITY;
    larger.table = calloc(larger.capacity, sizeof *larger.table);
    if (!larger.table) return false;
    for (size_t i = 0; i < ids->capacity; i++)
        if (ids->table[i].used) *place(&larger, ids->table[i].hash) = ids->table[i];
    free(ids->table);
    *ids = larger;
    return true;
}

static void hash_of(const dlx_cli_ids *ids, const char *id, size_t n, uint64_t hash[2])
{
    hash[0] = siphash(ids->keys, id, n);
    hash[1] = siphash(ids->keys + 2, id, n);
}

dlx_cli_id *dlx_cli_ids_find(const dlx_cli_ids *ids, const char *id, size_t n)
{
    uint64_t hash[2];
    hash_of(ids, id, n, hash);
    dlx_cli_id *found = ids->capacity ? place(ids, hash) : NULL;
    return found && found->used ? found : NULL;
}

dlx_cli_id *dlx_cli_ids_add(dlx_cli_ids *ids, const char *id, size_t n)
{
    uint64_t hash[2];
    hash_of(ids, id, n, hash);
    if (4 * (ids->n + 1) > 3 * ids->capacity && !grow(ids)) return NULL;
    dlx_cli_id *found = place(ids, hash);
    if (found->used) return found;
    ids->n++;
    *found = (dlx_cli_id){.hash = {hash[0], hash[1]}, .used = 1};
    return found;
}
