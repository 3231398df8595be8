/*
 * A forward call from its check to its end: how it is cut into passes, the pages it will write, what it leaves behind.
 * Everything that can be refused is refused before the first pass; whatever fails later is undone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/structs.h"
#include "engine/check.h"

static bool rows_see_alike(const dlx_forward_call *c)
{
    return c->attn_block == 0 || c->start / c->attn_block == (c->start + c->n_ids - 1) / c->attn_block;
}

static void add_span(dlx_piece *p, int32_t begin, int32_t end)
{
    if (begin == end) return;
    if (p->n_spans && p->span[p->n_spans - 1].end == begin)
        p->span[p->n_spans - 1].end = end;
    else
        p->span[p->n_spans++] = (dlx_span){begin, end};
}

/* Rows from `done` on that one pass takes: all that are left, or whole blocks. 0: a block does not fit. */
static int32_t piece_rows(const dlx_call *k, int32_t done)
{
    const dlx_forward_call *c = &k->c;
    int32_t left = c->n_ids - done, p = c->start + done, limit = k->s->w->max_rows;
    if (!k->split) return left;
    if (!dlx_workspace_pages(k->s->w)) { /* rows of different blocks do not see alike */
        int64_t block_end = ((int64_t)p / c->attn_block + 1) * c->attn_block - p;
        if (block_end < limit) limit = (int32_t)block_end;
    }
    if (left <= limit) return left;
    int32_t end = (p + limit) / c->attn_block * c->attn_block;
    return end > p ? end - p : 0;
}

/* What the pass from row `done` on computes. Blocks follow each other, each seeing the rows before it through the
 * cache. */
static void plan_piece(dlx_call *k)
{
    const dlx_forward_call *c = &k->c;
    dlx_piece *p = &k->next;
    *p = (dlx_piece){.row = k->done, .rows = piece_rows(k, k->done), .asked = k->asked};
    for (int32_t i = 0; i < c->n_context && c->context[i].end <= c->start; i++)
        add_span(p, c->context[i].begin, c->context[i].end);
    add_span(p, c->start, c->start + k->done);
    for (int32_t i = 0; i < c->n_context; i++)
        if (c->context[i].begin > c->start) add_span(p, c->context[i].begin, c->context[i].end);
    int32_t end = p->row + p->rows, i = k->asked;
    while (i < c->n_rows && (c->rows ? c->rows[i] : i) < end) i++;
    p->n_asked = i - k->asked;
}

static dlx_status check_passes(const dlx_call *k, dlx_error *err)
{
    const dlx_forward_call *c = &k->c;
    const dlx_session *s = k->s;
    if (!k->split) return DLX_OK;
    if (c->attn_block == 0)
        return dlx_fail(err, DLX_E_LIMIT,
                        "forward: %d rows that all see each other are more than the %d rows a call may run; export "
                        "with a larger --max-seq-len",
                        c->n_ids, s->w->max_rows);
    for (int32_t done = 0, n; done < c->n_ids; done += n) {
        n = piece_rows(k, done);
        if (!n)
            return dlx_fail(err, DLX_E_LIMIT, "forward: a block of %d rows is more than the %d rows a call may run",
                            c->attn_block, s->w->max_rows);
    }
    for (int32_t p = c->start + c->n_store; p < c->start + c->n_ids; p++)
        if (s->stored[p])
            return dlx_fail(err, DLX_E_UNSUPPORTED,
                            "forward: %d rows need several passes, which would overwrite stored position %d; store the "
                            "rows or make fewer of them",
                            c->n_ids, p);
    return DLX_OK;
}

/* A program that runs node by node finds its cached rows side by side, and as many as it was exported for. */
static dlx_status check_spans(const dlx_call *k, dlx_error *err)
{
    const dlx_graph *g = &k->s->w->m->program.g;
    int64_t most = g->values[g->inputs[2]].dim[0], cached = 0;
    const dlx_forward_call *c = &k->c;
    dlx_piece p = {0};
    if (dlx_workspace_pages(k->s->w)) return DLX_OK;
    for (int32_t i = 0; i < c->n_context; i++) add_span(&p, c->context[i].begin, c->context[i].end);
    for (int32_t i = 0; i < p.n_spans; i++) cached += p.span[i].end - p.span[i].begin;
    for (int32_t done = 0, n; k->split && (n = piece_rows(k, done)) < c->n_ids - done; done += n) cached += n;
    if (cached > most)
        return dlx_fail(err, DLX_E_LIMIT,
                        "forward: %lld cached positions are more than the %lld that this file's program takes",
                        (long long)cached, (long long)most);
    bool gap = k->split && p.n_spans && p.span[p.n_spans - 1].end != c->start;
    if (p.n_spans + gap <= 1) return DLX_OK;
    return dlx_fail(err, DLX_E_UNSUPPORTED,
                    "this file's attention was not recognised, so it takes one span of cached positions, not two");
}

/* Stored rows that a call of several passes overwrites: a later pass may fail. */
static dlx_status keep_undo(dlx_call *k, dlx_error *err)
{
    const dlx_session *s = k->s;
    const dlx_workspace *w = s->w;
    size_t n = (size_t)k->c.n_store, tensors = 2 * w->m->layers;
    if (!k->split || !n || !memchr(s->stored + k->c.start, 1, n)) return DLX_OK;
    uint8_t *at = dlx_mem_array(&w->mem, tensors * n, w->kv_row);
    if (!at)
        return dlx_fail(
            err, DLX_E_NOMEM,
            "out of memory: overwriting %zu stored positions in several passes takes %zu bytes for a while; "
            "truncate the session first",
            n, tensors * n * w->kv_row);
    k->undo = at;
    for (size_t t = 0; t < tensors; t++)
        for (size_t i = 0; i < n; i++, at += w->kv_row)
            if (s->stored[k->c.start + (int32_t)i]) memcpy(at, dlx_kv_at(s, t, k->c.start + (int32_t)i), w->kv_row);
    return DLX_OK;
}

static void put_back(const dlx_call *k)
{
    const dlx_session *s = k->s;
    const uint8_t *at = k->undo;
    size_t n = (size_t)k->c.n_store, tensors = 2 * s->w->m->layers;
    for (size_t t = 0; t < tensors; t++)
        for (size_t i = 0; i < n; i++, at += s->w->kv_row)
            if (s->stored[k->c.start + (int32_t)i]) memcpy(dlx_kv_at(s, t, k->c.start + (int32_t)i), at, s->w->kv_row);
}

static void drop_undo(dlx_call *k)
{
    const dlx_workspace *w = k->s->w;
    dlx_mem_free(&w->mem, k->undo, 2 * w->m->layers * (size_t)k->c.n_store, w->kv_row);
    k->undo = NULL;
}

/* Everything that can be refused, and the pages that will be written. On failure the session is as it was. */
static dlx_status prepare(dlx_call *k, dlx_error *err)
{
    dlx_session *s = k->s;
    DLX_TRY(dlx_check_call(s, &k->c, err));
    k->split = k->c.n_ids > s->w->max_rows || !(dlx_workspace_pages(s->w) || rows_see_alike(&k->c));
    DLX_TRY(check_passes(k, err));
    DLX_TRY(check_spans(k, err));
    int32_t written = k->split ? k->c.n_ids : k->c.n_store;
    if (written && dlx_workspace_pages(s->w)) DLX_TRY(dlx_pages_own(s, k->c.start, k->c.start + written, err));
    dlx_status status = keep_undo(k, err);
    if (status != DLX_OK) {
        dlx_pages_settle(s, true);
        dlx_pages_trim(s);
    }
    return status;
}

dlx_status dlx_call_begin(dlx_call *k, dlx_session *s, const dlx_forward_call *c, dlx_error *err)
{
    memset(k, 0, sizeof *k);
    k->s = s;
    k->c.struct_size = sizeof k->c;
    DLX_TRY(dlx_struct_in(&k->c, sizeof k->c, c, "dlx_forward_call", err));
    if (atomic_exchange(&s->busy, true))
        return dlx_fail(err, DLX_E_INVALID,
                        "forward: another call of this session is on its way; a session makes one call at a time");
    dlx_status status = prepare(k, err);
    if (status == DLX_OK)
        plan_piece(k);
    else
        atomic_store(&s->busy, false);
    return status;
}

void dlx_call_advance(dlx_call *k)
{
    k->done += k->next.rows;
    k->asked += k->next.n_asked;
    k->finished = k->done == k->c.n_ids;
    if (!k->finished) plan_piece(k);
}

void dlx_call_fail(dlx_call *k, const dlx_error *error)
{
    k->error = *error;
    k->finished = true;
}

static bool context_is_everything_before(const dlx_forward_call *c)
{
    int32_t end = 0;
    for (int32_t i = 0; i < c->n_context; i++) {
        if (c->context[i].begin != end) return false;
        end = c->context[i].end;
    }
    return end == c->start;
}

/* Remembers what the first n_store rows left in the cache. Under block-causal attention later blocks depend on them, so
 * whatever was stored behind their block is forgotten. */
static void mark_stored(dlx_session *s, const dlx_forward_call *c)
{
    if (!c->n_store) return;
    int32_t b = c->attn_block, end = c->start + c->n_store;
    memset(s->stored + c->start, 1, (size_t)c->n_store);
    memcpy(s->known + c->start, c->ids, (size_t)c->n_store * sizeof *c->ids);
    if (b <= 0) {
        s->exact = 0;
        return;
    }
    int64_t block_end = ((int64_t)end + b - 1) / b * b;
    if (block_end < s->w->max_context) memset(s->stored + block_end, 0, (size_t)(s->w->max_context - block_end));
    bool continues = c->start == 0 || (b == s->exact_block && c->start <= s->exact);
    if (continues && c->start % b == 0 && context_is_everything_before(c)) {
        s->exact = end / b * b;
        s->exact_block = b;
    } else if (s->exact > c->start) {
        s->exact = c->start / s->exact_block * s->exact_block;
    }
}

dlx_status dlx_call_end(dlx_call *k, dlx_error *err)
{
    dlx_session *s = k->s;
    if (k->error.status == DLX_OK)
        mark_stored(s, &k->c);
    else if (k->undo)
        put_back(k);
    drop_undo(k);
    dlx_pages_settle(s, k->error.status != DLX_OK);
    if (k->split || k->c.n_store) dlx_pages_trim(s);
    atomic_store(&s->busy, false);
    if (k->error.status != DLX_OK && err) *err = k->error;
    return k->error.status;
}
