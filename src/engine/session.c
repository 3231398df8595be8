/*
 * Sessions: the KV cache by absolute position, and the forward call. A call becomes one run of the program, or several
 * where the program or the session's bounds cannot take it in one.
 */
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "base/structs.h"
#include "engine/model.h"

struct dlx_session {
    const dlx_model *m;
    dlx_pool *pool;
    dlx_executor *ex;
    int32_t max_rows, max_context;
    float *kv;                  /* [layers][k, v][max_context][kv_width] */
    uint8_t *stored;            /* [max_context] */
    int32_t *known;             /* [max_context] id behind each stored position */
    int32_t exact, exact_block; /* positions 0 .. exact-1 hold what block-causal attention of this width stores */
    int64_t *ids, *positions;   /* [max_rows] */
    int32_t *visible, *rows;    /* [max_rows] */
    dlx_tensor_ref *inputs, *outputs;
};

static float *cache_at(const dlx_session *s, size_t tensor, int32_t position)
{
    return s->kv + (tensor * (size_t)s->max_context + (size_t)position) * (size_t)s->m->kv_width;
}

static dlx_status allocate(dlx_session *s, dlx_error *err)
{
    const dlx_graph *g = &s->m->program.g;
    uint64_t kv = 2ull * s->m->layers * (uint64_t)s->max_context * (uint64_t)s->m->kv_width;
    size_t rows = (size_t)s->max_rows;
    s->kv = kv > SIZE_MAX / 8 ? NULL : aligned_alloc(64, (size_t)dlx_align_up(kv * sizeof(float) + 64, 64));
    s->stored = calloc((size_t)s->max_context, 1);
    s->known = calloc((size_t)s->max_context, sizeof *s->known);
    s->ids = calloc(rows, sizeof *s->ids);
    s->positions = calloc(rows, sizeof *s->positions);
    s->visible = calloc(rows, sizeof *s->visible);
    s->rows = calloc(rows, sizeof *s->rows);
    s->inputs = calloc(g->n_inputs, sizeof *s->inputs);
    s->outputs = calloc(g->n_outputs, sizeof *s->outputs);
    dlx_shape *shape = calloc(g->n_inputs, sizeof *shape);
    dlx_status status = DLX_OK;
    if (!s->kv || !s->stored || !s->known || !s->ids || !s->positions || !s->visible || !s->rows || !s->inputs ||
        !s->outputs || !shape)
        status = dlx_fail(err, DLX_E_NOMEM,
                          "out of memory: the KV cache takes %llu bytes; open the session with a shorter context",
                          (unsigned long long)(kv * sizeof(float)));
    if (status == DLX_OK) status = dlx_pool_create(&s->pool, s->m->threads, err);
    if (status == DLX_OK) {
        int64_t cached = g->values[g->inputs[2]].dim[0];
        dlx_model_input_shapes(s->m, s->max_rows, s->max_context < cached ? s->max_context : cached, s->max_rows,
                               shape);
        status = dlx_executor_open(&s->ex, &s->m->program, shape, s->pool, err);
    }
    free(shape);
    return status;
}

dlx_status dlx_session_open(dlx_session **out, const dlx_model *model, int32_t max_rows, int32_t max_context,
                            dlx_error *err)
{
    if (!out || !model)
        return dlx_fail(err, DLX_E_INVALID, "dlx_session_open: a model and a place for the session are needed");
    *out = NULL;
    DLX_TRY(dlx_model_bounds(model, &max_rows, &max_context, err));
    dlx_session *s = calloc(1, sizeof *s);
    if (!s) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening a session");
    s->m = model;
    s->max_rows = max_rows;
    s->max_context = max_context;
    dlx_status status = allocate(s, err);
    if (status != DLX_OK) {
        dlx_session_close(s);
        return status;
    }
    *out = s;
    return DLX_OK;
}

void dlx_session_close(dlx_session *s)
{
    if (!s) return;
    dlx_executor_close(s->ex);
    dlx_pool_free(s->pool);
    free(s->kv);
    free(s->stored);
    free(s->known);
    free(s->ids);
    free(s->positions);
    free(s->visible);
    free(s->rows);
    free(s->inputs);
    free(s->outputs);
    free(s);
}

void dlx_session_truncate(dlx_session *s, int32_t n)
{
    if (n < 0) n = 0;
    if (!s || n >= s->max_context) return;
    memset(s->stored + n, 0, (size_t)(s->max_context - n));
    if (n < s->exact) s->exact = n / s->exact_block * s->exact_block;
}

int32_t dlx_session_reusable(const dlx_session *s, const int32_t *ids, size_t n, int32_t attn_block)
{
    if (!s || !ids || !s->exact || attn_block != s->exact_block) return 0;
    int32_t most = n < (size_t)s->exact ? (int32_t)n : s->exact, same = 0;
    while (same < most && ids[same] == s->known[same]) same++;
    /* The last prompt token is always run: its row may be what predicts the first new one. */
    if (same && (size_t)same == n) same--;
    return same / attn_block * attn_block;
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
    if (block_end < s->max_context) memset(s->stored + block_end, 0, (size_t)(s->max_context - block_end));
    bool continues = c->start == 0 || (b == s->exact_block && c->start <= s->exact);
    if (continues && c->start % b == 0 && context_is_everything_before(c)) {
        s->exact = end / b * b;
        s->exact_block = b;
    } else if (s->exact > c->start) {
        s->exact = c->start / s->exact_block * s->exact_block;
    }
}

static dlx_status check_context(const dlx_session *s, const dlx_forward_call *c, dlx_error *err)
{
    int32_t last = 0;
    if (c->n_context < 0 || c->n_context > DLX_MAX_CONTEXT_SPANS)
        return dlx_fail(err, DLX_E_INVALID, "forward: %d context spans; at most %d", c->n_context,
                        DLX_MAX_CONTEXT_SPANS);
    for (int32_t i = 0; i < c->n_context; i++) {
        dlx_span x = c->context[i];
        if (x.begin < last || x.end < x.begin || x.end > s->max_context)
            return dlx_fail(err, DLX_E_INVALID,
                            "forward: context span [%d, %d) is out of order or outside the %d positions of the session",
                            x.begin, x.end, s->max_context);
        if (x.begin < c->start + c->n_ids && x.end > c->start)
            return dlx_fail(err, DLX_E_INVALID,
                            "forward: context span [%d, %d) overlaps the call's own positions from %d", x.begin, x.end,
                            c->start);
        for (int32_t p = x.begin; p < x.end; p++)
            if (!s->stored[p])
                return dlx_fail(err, DLX_E_INVALID,
                                "forward: position %d of the context was never stored; run it with store first", p);
        if (c->attn_block > 0 && x.end > x.begin && (x.end - 1) / c->attn_block > c->start / c->attn_block)
            return dlx_fail(err, DLX_E_INVALID,
                            "forward: cached position %d lies in a block behind position %d, which may not see it",
                            x.end - 1, c->start);
        last = x.end;
    }
    return DLX_OK;
}

static dlx_status check_call(const dlx_session *s, const dlx_forward_call *c, dlx_error *err)
{
    const dlx_model_facts *f = &s->m->facts;
    if (!c || !c->ids || c->n_ids < 1) return dlx_fail(err, DLX_E_INVALID, "forward: at least one token id is needed");
    if (c->start < 0 || c->n_ids > s->max_context || c->start > s->max_context - c->n_ids)
        return dlx_fail(err, DLX_E_LIMIT,
                        "forward: positions %d to %lld do not fit the context of %d; shorten the input or export with "
                        "a larger --max-seq-len",
                        c->start, (long long)c->start + c->n_ids - 1, s->max_context);
    for (int32_t i = 0; i < c->n_ids; i++)
        if (c->ids[i] < 0 || c->ids[i] >= f->vocab_size)
            return dlx_fail(err, DLX_E_INVALID, "forward: id %d at position %d is outside the vocabulary of %d",
                            c->ids[i], c->start + i, f->vocab_size);
    if (c->n_rows < 0 || c->n_rows > c->n_ids || (c->n_rows && !c->logits))
        return dlx_fail(err, DLX_E_INVALID,
                        "forward: %d rows of logits were asked for; a call of %d rows and a buffer for them are needed",
                        c->n_rows, c->n_ids);
    for (int32_t i = 0; c->rows && i < c->n_rows; i++)
        if (c->rows[i] < 0 || c->rows[i] >= c->n_ids || (i && c->rows[i] <= c->rows[i - 1]))
            return dlx_fail(err, DLX_E_INVALID, "forward: demanded rows must ascend and lie in 0..%d; entry %d is %d",
                            c->n_ids - 1, i, c->rows[i]);
    if (c->n_store < 0 || c->n_store > c->n_ids ||
        (c->attn_block > 0 && c->n_store && c->n_store < c->n_ids && (c->start + c->n_store) % c->attn_block))
        return dlx_fail(err, DLX_E_INVALID, "forward: n_store is %d; expected 0 to %d, ending at a block boundary",
                        c->n_store, c->n_ids);
    if (c->attn_block < 0)
        return dlx_fail(err, DLX_E_INVALID, "forward: attn_block is %d; expected 0 or more", c->attn_block);
    return check_context(s, c, err);
}

static int32_t context_rows(const dlx_forward_call *c)
{
    int32_t n = 0;
    for (int32_t i = 0; i < c->n_context; i++) n += c->context[i].end - c->context[i].begin;
    return n;
}

/* Own rows are consecutive, so what a row sees of them is a prefix: up to the end of its block. */
static void fill_visible(dlx_session *s, const dlx_forward_call *c, int32_t cached)
{
    for (int32_t r = 0; r < c->n_ids; r++) {
        int32_t own = c->n_ids;
        if (c->attn_block > 0) {
            int64_t end = ((int64_t)(c->start + r) / c->attn_block + 1) * c->attn_block - c->start;
            if (end < own) own = (int32_t)end;
        }
        s->visible[r] = cached + own;
    }
}

static dlx_status check_logits(const float *logits, size_t n, dlx_error *err)
{
    /* x * 0 is 0 for finite x, NaN otherwise; eight sums keep the loop wide. */
    float sum[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) sum[k] += logits[i + (size_t)k] * 0.0f;
    for (; i < n; i++) sum[0] += logits[i] * 0.0f;
    for (int k = 1; k < 8; k++) sum[0] += sum[k];
    return sum[0] == 0.0f
               ? DLX_OK
               : dlx_fail(err, DLX_E_INTERNAL, "the model produced NaN or infinite logits; its weights may be damaged");
}

/* Everything in one run of the program. */
static dlx_status run_once(dlx_session *s, const dlx_forward_call *c, dlx_error *err)
{
    const dlx_graph *g = &s->m->program.g;
    int32_t cached = context_rows(c), vocab = s->m->facts.vocab_size;
    bool fused = s->m->program.fused, demand = s->m->program.rows != DLX_NONE;
    dlx_cache_view view = {0};
    dlx_shape shape;
    for (int32_t i = 0; i < c->n_ids; i++) {
        s->ids[i] = c->ids[i];
        s->positions[i] = c->start + i;
    }
    for (int32_t i = 0; i < c->n_rows; i++) s->rows[i] = c->rows ? c->rows[i] : i;
    for (int32_t i = 0; i < c->n_context; i++)
        if (c->context[i].end > c->context[i].begin) {
            view.begin[view.spans] = (size_t)c->context[i].begin;
            view.rows[view.spans++] = (size_t)(c->context[i].end - c->context[i].begin);
        }
    if (!fused && view.spans > 1)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "this file's attention was not recognised, so it takes one span of cached positions, not two");
    for (size_t i = 0; i < g->n_inputs; i++) {
        const dlx_value *v = &g->values[g->inputs[i]];
        bool rows = g->inputs[i] == s->m->program.rows, cache = !rows && i >= 2;
        shape = (dlx_shape){.rank = v->rank};
        memcpy(shape.dim, v->dim, sizeof v->dim);
        shape.dim[0] = rows ? c->n_rows : cache ? cached : c->n_ids;
        void *data = rows ? (void *)s->rows : i == 0 ? (void *)s->ids : (void *)s->positions;
        if (cache) data = cache_at(s, i - 2, !fused && view.spans ? (int32_t)view.begin[0] : 0);
        s->inputs[i] = (dlx_tensor_ref){.data = data, .shape = shape};
    }
    fill_visible(s, c, cached);
    s->outputs[0].data = c->logits;
    DLX_TRY(dlx_executor_run(s->ex, s->inputs, fused ? &view : NULL, fused ? s->visible : NULL, s->outputs, err));
    if (!demand)
        for (int32_t i = 0; i < c->n_rows; i++)
            memcpy(c->logits + (size_t)i * (size_t)vocab,
                   (const float *)s->outputs[0].data + (size_t)s->rows[i] * (size_t)vocab,
                   (size_t)vocab * sizeof(float));
    return c->n_rows ? check_logits(c->logits, (size_t)c->n_rows * (size_t)vocab, err) : DLX_OK;
}

static void keep_rows(dlx_session *s, int32_t start, int32_t n)
{
    for (size_t t = 0; n && t < 2 * s->m->layers; t++)
        memcpy(cache_at(s, t, start), s->outputs[1 + t].data, (size_t)n * (size_t)s->m->kv_width * sizeof(float));
}

static bool rows_see_alike(const dlx_forward_call *c)
{
    return c->attn_block == 0 || c->start / c->attn_block == (c->start + c->n_ids - 1) / c->attn_block;
}

/* The part of a call from row `done` on, at most `limit` rows, ending at a block boundary. */
static int32_t piece_rows(const dlx_forward_call *c, int32_t done, int32_t limit)
{
    int32_t left = c->n_ids - done, p = c->start + done;
    if (left <= limit) return left;
    int32_t end = (p + limit) / c->attn_block * c->attn_block;
    return end > p ? end - p : 0;
}

/* Block after block, each seeing the rows before it through the cache. */
static dlx_status run_in_pieces(dlx_session *s, const dlx_forward_call *c, dlx_error *err)
{
    int32_t done = 0, asked = 0, vocab = s->m->facts.vocab_size;
    bool adjacent = c->n_context && c->context[c->n_context - 1].end == c->start;
    for (int32_t p = c->start + c->n_store; p < c->start + c->n_ids; p++)
        if (s->stored[p])
            return dlx_fail(err, DLX_E_UNSUPPORTED,
                            "forward: %d rows need several passes, which would overwrite stored position %d; store the "
                            "rows or make fewer of them",
                            c->n_ids, p);
    while (done < c->n_ids) {
        dlx_forward_call piece = *c;
        piece.ids = c->ids + done;
        piece.start = c->start + done;
        int32_t limit = s->max_rows, block_end = (piece.start / c->attn_block + 1) * c->attn_block - piece.start;
        if (!s->m->program.fused && block_end < limit) limit = block_end;
        piece.n_ids = piece_rows(c, done, limit);
        if (!piece.n_ids)
            return dlx_fail(err, DLX_E_LIMIT, "forward: a block of %d rows is more than the %d rows a call may run",
                            c->attn_block, s->max_rows);
        if (done && adjacent) {
            piece.context[piece.n_context - 1].end = piece.start;
        } else if (done) {
            if (piece.n_context == DLX_MAX_CONTEXT_SPANS)
                return dlx_fail(err, DLX_E_UNSUPPORTED,
                                "forward: %d rows behind two spans of cached positions need several passes", c->n_ids);
            piece.context[piece.n_context++] = (dlx_span){c->start, piece.start};
        }
        int32_t first = asked;
        while (asked < c->n_rows && (c->rows ? c->rows[asked] : asked) < done + piece.n_ids) asked++;
        piece.n_rows = asked - first;
        piece.logits = c->logits ? c->logits + (size_t)first * (size_t)vocab : NULL;
        int32_t *rows = s->rows; /* run_once copies in place, ascending, so an overlap is harmless */
        for (int32_t i = 0; i < piece.n_rows; i++) rows[i] = (c->rows ? c->rows[first + i] : first + i) - done;
        piece.rows = rows;
        DLX_TRY(run_once(s, &piece, err));
        keep_rows(s, piece.start, piece.n_ids);
        done += piece.n_ids;
    }
    return DLX_OK;
}

dlx_status dlx_session_forward(void *session, const dlx_forward_call *caller, dlx_error *err)
{
    dlx_session *s = session;
    dlx_forward_call taken = {.struct_size = sizeof taken}, *call = &taken;
    DLX_TRY(dlx_struct_in(call, sizeof *call, caller, "dlx_forward_call", err));
    DLX_TRY(check_call(s, call, err));
    bool whole = call->n_ids <= s->max_rows && (s->m->program.fused || rows_see_alike(call));
    if (!whole && call->attn_block == 0)
        return dlx_fail(err, DLX_E_LIMIT,
                        "forward: %d rows that all see each other are more than the %d rows a call may run; export "
                        "with a larger --max-seq-len",
                        call->n_ids, s->max_rows);
    if (whole) {
        DLX_TRY(run_once(s, call, err));
        keep_rows(s, call->start, call->n_store);
    } else {
        DLX_TRY(run_in_pieces(s, call, err));
    }
    mark_stored(s, call);
    return DLX_OK;
}
