/* Constraints by their texts: who builds, who waits, and which one goes. */
#include "constraints.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "limits.h"

struct dlx_srv_built {
    dlx_srv_constraints *owner;
    dlx_srv_built *next;
    dlx_srv_language language;
    char *text;
    void *constraint; /* NULL while it is built, and when that failed */
    int64_t bytes;    /* the constraint, the text and this */
    int uses;
    uint64_t used;
    bool done;
    dlx_error err; /* of building it */
};

bool dlx_srv_constraints_open(dlx_srv_constraints *c, const dlx_srv_constraint_ops *ops, int64_t most_bytes)
{
    *c = (dlx_srv_constraints){.ops = *ops, .most_bytes = most_bytes};
    if (pthread_mutex_init(&c->lock, NULL) != 0) return false;
    if (pthread_cond_init(&c->news, NULL) == 0) return true;
    pthread_mutex_destroy(&c->lock);
    return false;
}

/* With the lock held, as all that follow. */
static void drop(dlx_srv_constraints *c, dlx_srv_built *b)
{
    dlx_srv_built **link = &c->first;
    while (*link != b) link = &(*link)->next;
    *link = b->next;
    c->bytes -= b->bytes;
    c->n--;
    if (b->constraint) c->ops.destroy(c->ops.ctx, b->constraint);
    free(b->text);
    free(b);
}

void dlx_srv_constraints_close(dlx_srv_constraints *c)
{
    while (c->first) drop(c, c->first);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->news);
}

static dlx_srv_built *find(const dlx_srv_constraints *c, dlx_srv_language language, const char *text)
{
    dlx_srv_built *b = c->first;
    while (b && (b->language != language || strcmp(b->text, text) != 0)) b = b->next;
    return b;
}

/* Until they fit the bounds, or all that are left are used. */
static void make_room(dlx_srv_constraints *c)
{
    while (c->bytes > c->most_bytes || c->n > DLX_SRV_MOST_CONSTRAINTS) {
        dlx_srv_built *oldest = NULL;
        for (dlx_srv_built *b = c->first; b; b = b->next)
            if (!b->uses && (!oldest || b->used < oldest->used)) oldest = b;
        if (!oldest) return;
        drop(c, oldest);
    }
}

static dlx_srv_built *add(dlx_srv_constraints *c, dlx_srv_language language, const char *text)
{
    dlx_srv_built *b = calloc(1, sizeof *b);
    if (b) b->text = strdup(text);
    if (!b || !b->text) {
        free(b);
        return NULL;
    }
    b->owner = c;
    b->language = language;
    b->bytes = (int64_t)(sizeof *b + strlen(text));
    b->next = c->first;
    c->first = b;
    c->bytes += b->bytes;
    c->n++;
    return b;
}

/* Builds it, without the lock. Never more than a few at one time: the rest of the machine decodes. */
static void build(dlx_srv_constraints *c, dlx_srv_built *b)
{
    void *constraint = NULL;
    int64_t bytes = 0;
    dlx_error err = {0};
    c->waiting++;
    while (c->building >= DLX_SRV_MOST_BUILDS) pthread_cond_wait(&c->news, &c->lock);
    c->waiting--;
    c->building++;
    c->built++;
    pthread_mutex_unlock(&c->lock);
    dlx_status s = c->ops.build(c->ops.ctx, b->language, b->text, &constraint, &bytes, &err);
    pthread_mutex_lock(&c->lock);
    b->constraint = s == DLX_OK ? constraint : NULL;
    b->err = err;
    b->err.status = s;
    b->bytes += s == DLX_OK ? bytes : 0;
    c->bytes += s == DLX_OK ? bytes : 0;
    b->done = true;
    c->building--;
    pthread_cond_broadcast(&c->news);
}

static void give(dlx_srv_built *b)
{
    dlx_srv_constraints *c = b->owner;
    /* Memory may be there the next time. */
    if (!--b->uses && b->done && b->err.status == DLX_E_NOMEM) drop(c, b);
    make_room(c);
}

/* A use of the text's entry, which is built then; NULL and the reason when it cannot be. */
static dlx_srv_built *take(dlx_srv_constraints *c, dlx_srv_language language, const char *text, dlx_error *err)
{
    dlx_srv_built *b = find(c, language, text);
    bool own = !b;
    if (own && c->waiting >= DLX_SRV_MOST_BUILDS_WAITING) {
        dlx_srv_fail(err, DLX_E_NOMEM, "%d other constraints wait to be built: try again later", c->waiting);
        return NULL;
    }
    if (own) b = add(c, language, text);
    if (!b) {
        dlx_srv_fail(err, DLX_E_NOMEM, "out of memory for a constraint");
        return NULL;
    }
    b->uses++;
    b->used = ++c->clock;
    if (own) build(c, b);
    while (!b->done) pthread_cond_wait(&c->news, &c->lock);
    c->found += !own;
    make_room(c);
    *err = b->err;
    if (own && b->constraint && c->bytes > c->most_bytes)
        dlx_srv_fail(err, DLX_E_NOMEM, "the constraints of the answers that are being made leave no room for another");
    if (err->status == DLX_OK) return b;
    give(b);
    return NULL;
}

dlx_status dlx_srv_constraints_take(dlx_srv_constraints *c, dlx_srv_language language, const char *text,
                                    dlx_srv_built **out, dlx_error *err)
{
    pthread_mutex_lock(&c->lock);
    *out = take(c, language, text, err);
    pthread_mutex_unlock(&c->lock);
    return *out ? DLX_OK : err->status;
}

void dlx_srv_constraints_give(dlx_srv_built *b)
{
    if (!b) return;
    dlx_srv_constraints *c = b->owner;
    pthread_mutex_lock(&c->lock);
    give(b);
    pthread_mutex_unlock(&c->lock);
}

const void *dlx_srv_constraint_of(const dlx_srv_built *b)
{
    return b->constraint;
}

dlx_srv_constraints_load dlx_srv_constraints_loaded(dlx_srv_constraints *c)
{
    dlx_srv_constraints_load load = {0};
    pthread_mutex_lock(&c->lock);
    for (const dlx_srv_built *b = c->first; b; b = b->next) load.kept += b->constraint != NULL;
    load.bytes = c->bytes;
    load.built = c->built;
    load.found = c->found;
    pthread_mutex_unlock(&c->lock);
    return load;
}
