/*
 * A forward call from its check to its end: how it is cut into passes, the pages it will write, what it leaves behind.
 * Everything that can be refused is refused before the first pass; whatever fails later is undone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/structs.h"
#include "engine/check.h"
#include "engine/workspace.h"

static void add_span(dlx_piece *p, int32_t begin, int32_t end)
{
    if (begin == end) return;
    if (p->n_spans && p->span[p->n_spans - 1].end == begin)
        p->span[p->n_spans - 1].end = end;
    else
        p->span[p->n_spans++] = (dlx_span){begin, end};
}

/* A program that runs node by node takes no rows of different blocks: they do not see alike. */
static dlx_cut cut_of(const dlx_session *s, int32_t limit)
{
    return (dlx_cut){.limit = limit, .one_block = !dlx_workspace_pages(s->w)};
}

static int32_t piece_rows(const dlx_call *k, int32_t done, int32_t limit)
{
    dlx_cut cut = cut_of(k->s, limit);
    return k->split ? dlx_cut_rows(&cut, &k->c, done) : k->c.n_ids - done;
}

/* What the pass from row `done` on computes. Blocks follow each other, each seeing the rows before it through the
 * cache. */
static void plan_piece(dlx_call *k, int32_t limit)
{
    const dlx_forward_call *c = &k->c;
    dlx_piece *p = &k->next;
    *p = (dlx_piece){.row = k->done, .rows = piece_rows(k, k->done, limit), .asked = k->asked};
    for (int32_t i = 0; i < c->n_context && c->context[i].end <= c->start; i++)
        add_span(p, c->context[i].begin, c->context[i].end);
    add_span(p, c->start, c->start + k->done);
    for (int32_t i = 0; i < c->n_context; i++)
        if (c->context[i].begin > c->start) add_span(p, c->context[i].begin, c->context[i].end);
    int32_t end = p->row + p->rows, i = k->asked;
    while (i < c->n_rows && (c->rows ? c->rows[i] : i) < end) i++;
    p->n_asked = i - k->asked;
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
    for (int32_t done = 0, n; k->split && (n = piece_rows(k, done, k->s->w->max_rows)) < c->n_ids - done; done += n)
        cached += n;
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
    if (!k->split || !n || !memchr(s->seq.stored + k->c.start, 1, n)) return DLX_OK;
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
            if (s->seq.stored[k->c.start + (int32_t)i]) memcpy(at, dlx_kv_at(s, t, k->c.start + (int32_t)i), w->kv_row);
    return DLX_OK;
}

static void put_back(const dlx_call *k)
{
    const dlx_session *s = k->s;
    const uint8_t *at = k->undo;
    size_t n = (size_t)k->c.n_store, tensors = 2 * s->w->m->layers;
    for (size_t t = 0; t < tensors; t++)
        for (size_t i = 0; i < n; i++, at += s->w->kv_row)
            if (s->seq.stored[k->c.start + (int32_t)i])
                memcpy(dlx_kv_at(s, t, k->c.start + (int32_t)i), at, s->w->kv_row);
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
    const dlx_cut cut = cut_of(s, s->w->max_rows);
    DLX_TRY(dlx_check_call(&s->seq, &k->c, s->w->m->facts.vocab_size, s->w->m->program.g.attn_block, err));
    k->split = k->c.n_ids > s->w->max_rows || !(dlx_workspace_pages(s->w) || dlx_rows_see_alike(&k->c));
    if (k->split) DLX_TRY(dlx_check_cut(&cut, &s->seq, &k->c, err));
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
        plan_piece(k, s->w->max_rows);
    else
        atomic_store(&s->busy, false);
    return status;
}

int32_t dlx_call_rows(const dlx_call *k, int32_t most)
{
    if (k->next.rows <= most) return k->next.rows;
    return k->split && dlx_workspace_pages(k->s->w) ? piece_rows(k, k->done, most) : 0;
}

void dlx_call_shorten(dlx_call *k, int32_t rows)
{
    if (rows < k->next.rows) plan_piece(k, rows);
}

void dlx_call_advance(dlx_call *k)
{
    k->done += k->next.rows;
    k->asked += k->next.n_asked;
    k->finished = k->done == k->c.n_ids;
    if (!k->finished) plan_piece(k, k->s->w->max_rows);
}

void dlx_call_fail(dlx_call *k, const dlx_error *error)
{
    k->error = *error;
    k->finished = true;
}

dlx_status dlx_call_end(dlx_call *k, dlx_error *err)
{
    dlx_session *s = k->s;
    if (k->error.status == DLX_OK)
        dlx_sequence_keep(&s->seq, &k->c);
    else if (k->undo)
        put_back(k);
    drop_undo(k);
    dlx_pages_settle(s, k->error.status != DLX_OK);
    if (k->split || k->c.n_store) dlx_pages_trim(s);
    atomic_store(&s->busy, false);
    if (k->error.status != DLX_OK && err) *err = k->error;
    return k->error.status;
}
