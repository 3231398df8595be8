/*
 * Sequences that are kept for prompts that begin alike: system prompts, and conversations that go on. A prompt gets a
 * fork of whichever kept sequence shares most with it, so the kept one serves others as well. What was used least
 * recently goes when positions or places are needed. Of prompts that arrive together, one is run and the others wait
 * for what they share with it, where that is less than running it themselves. Sessions are opaque here: the functions
 * of `ops` handle them.
 */
#ifndef DLX_SRV_CACHE_H
#define DLX_SRV_CACHE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dlx_srv_cache_ops {
    void *ctx;
    /* How many leading ids of a prompt the session holds, exactly as running them would store them. */
    int32_t (*reusable)(void *ctx, const void *session, const int32_t *ids, size_t n);
    /* A new session with what `from` (NULL: nothing) holds below n; NULL: it cannot be. */
    void *(*fork)(void *ctx, const void *from, int32_t n);
    void (*close)(void *ctx, void *session);
    /* Positions that no session holds. */
    int32_t (*free_positions)(void *ctx);
} dlx_srv_cache_ops;

typedef struct dlx_srv_kept dlx_srv_kept;
typedef struct dlx_srv_lease dlx_srv_lease;

enum { DLX_SRV_LEAST_SHARED = 32 }; /* tokens that are worth a kept sequence of their own, and waiting for */

typedef struct dlx_srv_cache {
    dlx_srv_cache_ops ops;
    pthread_mutex_t lock; /* everything below */
    dlx_srv_kept *kept;   /* [most], of which n are there */
    size_t n, most;
    pthread_cond_t news;
    dlx_srv_lease *coming; /* those whose prompt is being run and will be shared, linked */
    uint64_t clock;        /* counts uses */
    int64_t reserved;      /* positions that sessions in use may come to hold */
    uint64_t dropped;      /* sessions that had to make room */
    uint64_t waited;       /* prompts that waited for another's */
} dlx_srv_cache;

/* At most `most` sessions are kept; 0: none, and each prompt begins with an empty one. */
bool dlx_srv_cache_open(dlx_srv_cache *c, const dlx_srv_cache_ops *ops, size_t most);
void dlx_srv_cache_close(dlx_srv_cache *c);

/* A session in use, and the positions that it may still come to hold. */
struct dlx_srv_lease {
    void *session;
    int32_t positions;
    const int32_t *ids; /* [n_shared] that will be shared; n_shared 0: none */
    size_t n_shared, n_cached;
    dlx_srv_lease *next;
};

/* What a sequence begins with: ids [n], which stay where they are until the session is given back. */
typedef struct dlx_srv_claim {
    const int32_t *ids;
    size_t n, n_shared;           /* of them so many will be shared as soon as they are stored */
    int32_t positions;            /* that it takes at most */
    const atomic_bool *cancelled; /* it waits for nobody any more; see `wake` */
} dlx_srv_claim;

/* A session for it, perhaps once another has stored what they have in common; false when there can be none. Goes back
 * with `give`. The lease stays where it is until then. */
bool dlx_srv_cache_take(dlx_srv_cache *c, const dlx_srv_claim *claim, dlx_srv_lease *lease);
/* Somebody's `cancelled` was set. */
void dlx_srv_cache_wake(dlx_srv_cache *c);
/* Keeps it for others: it holds what running ids [n] stores. NULL ids: it is closed. */
void dlx_srv_cache_give(dlx_srv_cache *c, dlx_srv_lease *lease, const int32_t *ids, size_t n);
/* Keeps a fork of a session that is still in use, and whose first n ids are stored now. Called by who uses it. */
void dlx_srv_cache_share(dlx_srv_cache *c, dlx_srv_lease *lease, const int32_t *ids, size_t n);

typedef struct dlx_srv_cache_load {
    size_t kept, most;
    uint64_t dropped, waited;
} dlx_srv_cache_load;
dlx_srv_cache_load dlx_srv_cache_loaded(dlx_srv_cache *c);

#endif
