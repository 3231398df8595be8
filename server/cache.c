/* Kept sequences: the best for a prompt, and which goes first. */
#include "cache.h"

#include <stdlib.h>
#include <string.h>

struct dlx_srv_kept {
    void *session;
    int32_t *ids; /* [n] */
    size_t n;
    uint64_t used;
};

bool dlx_srv_cache_open(dlx_srv_cache *c, const dlx_srv_cache_ops *ops, size_t most)
{
    *c = (dlx_srv_cache){.ops = *ops, .most = most, .kept = calloc(most + 1, sizeof *c->kept)};
    bool lock = c->kept && pthread_mutex_init(&c->lock, NULL) == 0;
    if (lock && pthread_cond_init(&c->news, NULL) == 0) return true;
    if (lock) pthread_mutex_destroy(&c->lock);
    free(c->kept);
    return false;
}

/* With the lock held, as all that follow. */
static void drop(dlx_srv_cache *c, size_t i)
{
    c->ops.close(c->ops.ctx, c->kept[i].session);
    free(c->kept[i].ids);
    c->kept[i] = c->kept[--c->n];
}

void dlx_srv_cache_close(dlx_srv_cache *c)
{
    while (c->n) drop(c, c->n - 1);
    free(c->kept);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->news);
}

static void drop_oldest(dlx_srv_cache *c)
{
    size_t oldest = 0;
    for (size_t i = 1; i < c->n; i++)
        if (c->kept[i].used < c->kept[oldest].used) oldest = i;
    drop(c, oldest);
    c->dropped++;
}

/* Until those in use can have all that they may come to hold. */
static void make_room(dlx_srv_cache *c)
{
    while (c->n && c->ops.free_positions(c->ops.ctx) < c->reserved) drop_oldest(c);
}

/* The kept session that shares most with a prompt, or NULL. */
static dlx_srv_kept *find(dlx_srv_cache *c, const int32_t *ids, size_t n, int32_t *most)
{
    dlx_srv_kept *best = NULL;
    *most = 0;
    for (size_t i = 0; i < c->n; i++) {
        int32_t reusable = c->ops.reusable(c->ops.ctx, c->kept[i].session, ids, n);
        if (reusable <= *most) continue;
        best = &c->kept[i];
        *most = reusable;
    }
    return best;
}

static void reserve(dlx_srv_cache *c, dlx_srv_lease *lease, int32_t positions)
{
    c->reserved += positions - lease->positions;
    lease->positions = positions;
}

/* ---- prompts that are being run ---------------------------------------------------------------------------------- */

static size_t in_common(const int32_t *a, size_t n, const int32_t *b, size_t m)
{
    size_t i = 0;
    while (i < n && i < m && a[i] == b[i]) i++;
    return i;
}

/* Whether a prompt of which `most` ids are there already does better to wait: what it would have from another one is
 * worth a sequence, and is not much less than what the other one still runs for itself. */
static bool is_worth_waiting(const dlx_srv_cache *c, const dlx_srv_claim *claim, int32_t most)
{
    for (const dlx_srv_lease *l = c->coming; l; l = l->next) {
        size_t common = in_common(l->ids, l->n_shared, claim->ids, claim->n), there = (size_t)most;
        if (common >= there + DLX_SRV_LEAST_SHARED && l->n_shared - l->n_cached <= 2 * (common - there)) return true;
    }
    return false;
}

/* It is known whether the lease's ids will be shared. Whoever waits looks again. */
static void settle(dlx_srv_cache *c, dlx_srv_lease *lease)
{
    dlx_srv_lease **link = &c->coming;
    while (*link && *link != lease) link = &(*link)->next;
    if (!*link) return;
    *link = lease->next;
    pthread_cond_broadcast(&c->news);
}

static void announce(dlx_srv_cache *c, const dlx_srv_claim *claim, int32_t most, dlx_srv_lease *lease)
{
    if (!c->most || claim->n_shared < (size_t)most + DLX_SRV_LEAST_SHARED) return;
    lease->ids = claim->ids;
    lease->n_shared = claim->n_shared;
    lease->n_cached = (size_t)most;
    lease->next = c->coming;
    c->coming = lease;
}

/* What the prompt's beginning is kept as, once it is. */
static dlx_srv_kept *wait_for(dlx_srv_cache *c, const dlx_srv_claim *claim, int32_t *most)
{
    bool waited = false;
    dlx_srv_kept *best = find(c, claim->ids, claim->n, most);
    while (is_worth_waiting(c, claim, *most) && !(claim->cancelled && atomic_load(claim->cancelled))) {
        if (!waited) c->waited++;
        waited = true;
        pthread_cond_wait(&c->news, &c->lock);
        best = find(c, claim->ids, claim->n, most);
    }
    return best;
}

bool dlx_srv_cache_take(dlx_srv_cache *c, const dlx_srv_claim *claim, dlx_srv_lease *lease)
{
    int32_t most;
    *lease = (dlx_srv_lease){0};
    pthread_mutex_lock(&c->lock);
    dlx_srv_kept *best = wait_for(c, claim, &most);
    if (best) best->used = ++c->clock;
    reserve(c, lease, claim->positions);
    make_room(c);
    best = find(c, claim->ids, claim->n, &most); /* what moved, or had to go itself */
    lease->session = c->ops.fork(c->ops.ctx, best ? best->session : NULL, most);
    if (lease->session)
        announce(c, claim, most, lease);
    else
        reserve(c, lease, 0);
    pthread_mutex_unlock(&c->lock);
    return lease->session;
}

void dlx_srv_cache_wake(dlx_srv_cache *c)
{
    pthread_mutex_lock(&c->lock);
    pthread_cond_broadcast(&c->news);
    pthread_mutex_unlock(&c->lock);
}

/* ---- keeping ----------------------------------------------------------------------------------------------------- */

static bool begins_with(const dlx_srv_kept *k, const int32_t *ids, size_t n)
{
    return n <= k->n && !memcmp(k->ids, ids, n * sizeof *ids);
}

/* Takes over the session. */
static void keep(dlx_srv_cache *c, void *session, const int32_t *ids, size_t n)
{
    int32_t *copy = NULL;
    bool known = false;
    for (size_t i = 0; i < c->n && !known; i++) known = begins_with(&c->kept[i], ids, n);
    if (!known && c->most && n) copy = malloc(n * sizeof *copy);
    if (!copy) {
        c->ops.close(c->ops.ctx, session);
        return;
    }
    memcpy(copy, ids, n * sizeof *copy);
    dlx_srv_kept own = {.session = session, .ids = copy, .n = n, .used = ++c->clock};
    for (size_t i = c->n; i-- > 0;) /* what it continues is in it */
        if (begins_with(&own, c->kept[i].ids, c->kept[i].n)) drop(c, i);
    if (c->n == c->most) drop_oldest(c);
    c->kept[c->n++] = own;
    make_room(c);
}

void dlx_srv_cache_give(dlx_srv_cache *c, dlx_srv_lease *lease, const int32_t *ids, size_t n)
{
    pthread_mutex_lock(&c->lock);
    reserve(c, lease, 0);
    if (ids)
        keep(c, lease->session, ids, n);
    else
        c->ops.close(c->ops.ctx, lease->session);
    lease->session = NULL;
    settle(c, lease);
    pthread_mutex_unlock(&c->lock);
}

void dlx_srv_cache_share(dlx_srv_cache *c, dlx_srv_lease *lease, const int32_t *ids, size_t n)
{
    pthread_mutex_lock(&c->lock);
    reserve(c, lease, lease->positions > (int32_t)n ? lease->positions - (int32_t)n : 0);
    void *fork = c->most ? c->ops.fork(c->ops.ctx, lease->session, (int32_t)n) : NULL;
    if (fork) keep(c, fork, ids, n);
    settle(c, lease);
    pthread_mutex_unlock(&c->lock);
}

dlx_srv_cache_load dlx_srv_cache_loaded(dlx_srv_cache *c)
{
    pthread_mutex_lock(&c->lock);
    dlx_srv_cache_load load = {.kept = c->n, .most = c->most, .dropped = c->dropped, .waited = c->waited};
    pthread_mutex_unlock(&c->lock);
    return load;
}
