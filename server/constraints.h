/*
 * Constraints that requests ask for. Each is built once, by the first request that has its text, outside of any lock;
 * who asks for the same meanwhile waits for it. What nobody uses is kept within a bound of memory, and what was used
 * least recently goes first. Texts that cannot be built are remembered, too. Constraints are opaque here: the functions
 * of `ops` handle them.
 */
#ifndef DLX_SRV_CONSTRAINTS_H
#define DLX_SRV_CONSTRAINTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/status.h"

typedef enum dlx_srv_language { DLX_SRV_FREE, DLX_SRV_REGEX, DLX_SRV_SCHEMA, DLX_SRV_GRAMMAR } dlx_srv_language;

typedef struct dlx_srv_constraint_ops {
    void *ctx;
    dlx_status (*build)(void *ctx, dlx_srv_language language, const char *text, void **out, int64_t *bytes,
                        dlx_error *err);
    void (*destroy)(void *ctx, void *constraint);
} dlx_srv_constraint_ops;

typedef struct dlx_srv_built dlx_srv_built;

typedef struct dlx_srv_constraints {
    dlx_srv_constraint_ops ops;
    int64_t most_bytes;   /* of all that are there */
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t news;
    dlx_srv_built *first; /* [n] linked */
    size_t n;
    int64_t bytes;
    uint64_t clock; /* counts uses */
    int building, waiting;
    uint64_t built, found; /* requests that built theirs, and that found it */
} dlx_srv_constraints;

/* False when the system refuses a lock. */
bool dlx_srv_constraints_open(dlx_srv_constraints *c, const dlx_srv_constraint_ops *ops, int64_t most_bytes);
/* All are given back. */
void dlx_srv_constraints_close(dlx_srv_constraints *c);

/* The constraint of a text: what building it says, or DLX_E_NOMEM when too many wait for theirs, or those in use leave
 * no room. Goes back with `give`. */
dlx_status dlx_srv_constraints_take(dlx_srv_constraints *c, dlx_srv_language language, const char *text,
                                    dlx_srv_built **out, dlx_error *err);
/* NULL is fine. */
void dlx_srv_constraints_give(dlx_srv_built *built);
const void *dlx_srv_constraint_of(const dlx_srv_built *built);

typedef struct dlx_srv_constraints_load {
    size_t kept;
    int64_t bytes;
    uint64_t built, found;
} dlx_srv_constraints_load;
dlx_srv_constraints_load dlx_srv_constraints_loaded(dlx_srv_constraints *c);

#endif
