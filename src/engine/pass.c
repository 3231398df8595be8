/*
 * Passes: rows of several calls go through the program together. Which calls, where their rows and keys lie, running,
 * and handing out logits and new rows of keys and values.
 */
#include <math.h>
#include <string.h>

#include "engine/check.h"
#include "engine/workspace.h"
#include "kernels/kv8.h"

/* ---- choosing ---- */

static bool before(const dlx_call *a, const dlx_call *b)
{
    if (a->left_out != b->left_out) return a->left_out > b->left_out;
    return a->next.rows < b->next.rows;
}

/* Calls that are not finished, in the order in which they are taken: first whoever was left out most often, then small
 * ones. */
static size_t order_of(dlx_call *const *calls, size_t n, dlx_call **order)
{
    size_t waiting = 0;
    for (size_t i = 0; i < n; i++) {
        if (calls[i]->finished) continue;
        size_t at = waiting++;
        for (; at > 0 && before(calls[i], order[at - 1]); at--) order[at] = order[at - 1];
        order[at] = calls[i];
    }
    return waiting;
}

/* What those who take several passes may count on: rows of the first one of them, half of a pass at the most, unless
 * somebody else stands before it and needs more. */
static int32_t reserved_rows(const dlx_workspace *w, dlx_call *const *order, size_t n)
{
    size_t i = 0;
    while (i < n && !order[i]->split) i++;
    if (i == n) return 0;
    int32_t rows = dlx_call_rows(order[i], w->max_rows / 2);
    if (!rows) rows = order[i]->next.rows; /* a block is larger than that */
    int32_t left = w->max_rows - (i ? order[0]->next.rows : 0);
    return rows < left ? rows : left;
}

/* Puts calls of one kind into the pass, which has `rows` and `taken` calls so far, while it has at most `most` rows. */
static size_t take(dlx_workspace *w, dlx_call *const *order, size_t n, bool split, int32_t most, int32_t *rows,
                   size_t taken)
{
    for (size_t i = 0; i < n; i++) {
        if (order[i]->split != split) continue;
        int32_t own = dlx_call_rows(order[i], most - *rows);
        order[i]->left_out = own ? 0 : order[i]->left_out + 1;
        if (!own) continue;
        dlx_call_shorten(order[i], own);
        *rows += own;
        w->chosen[taken++] = order[i];
    }
    return taken;
}

/*
 * As many calls as fit the rows of a pass. Those that are done with it come first, and parts of the others, of long
 * prompts, take what these leave, half of the pass at the least: so a prompt that is read holds nobody up, nor is it
 * held up itself. How a call is cut depends on its neighbours, its results do not: whatever a row sees, and in which
 * order it is summed, is the same in the cache and in the pass.
 */
static size_t choose(dlx_workspace *w, dlx_call *const *calls, size_t n)
{
    dlx_call **order = w->chosen + w->max_sessions;
    size_t waiting = order_of(calls, n, order);
    int32_t rows = 0;
    if (!waiting) return 0;
    if (!dlx_workspace_pages(w) || !dlx_program_splits_logits(&w->m->program)) {
        for (size_t i = 1; i < waiting; i++) order[i]->left_out++;
        order[0]->left_out = 0;
        w->chosen[0] = order[0];
        return 1;
    }
    size_t taken = take(w, order, waiting, false, w->max_rows - reserved_rows(w, order, waiting), &rows, 0);
    return take(w, order, waiting, true, w->max_rows, &rows, taken);
}

/* ---- laying out ---- */

/* Runs of slab rows that hold the piece's cached positions; neighbouring pages make one run. */
static size_t find_runs(const dlx_call *k, dlx_cache_run *runs)
{
    const dlx_session *s = k->s;
    size_t n = 0;
    for (int32_t i = 0; i < k->next.n_spans; i++)
        for (int32_t p = k->next.span[i].begin, end = k->next.span[i].end, take; p < end; p += take) {
            int32_t inside = p % DLX_KV_PAGE;
            take = DLX_KV_PAGE - inside < end - p ? DLX_KV_PAGE - inside : end - p;
            size_t row = (size_t)s->page[p / DLX_KV_PAGE] * DLX_KV_PAGE + (size_t)inside;
            if (n && runs[n - 1].begin + runs[n - 1].rows == row)
                runs[n - 1].rows += (size_t)take;
            else
                runs[n++] = (dlx_cache_run){.begin = row, .rows = (size_t)take};
        }
    return n;
}

static int32_t cached_rows(const dlx_piece *p)
{
    int32_t n = 0;
    for (int32_t i = 0; i < p->n_spans; i++) n += p->span[i].end - p->span[i].begin;
    return n;
}

/* Own rows are consecutive, so what a row sees of them is a prefix: up to the end of its block. */
static void fill_visible(const dlx_call *k, int32_t *visible)
{
    const dlx_forward_call *c = &k->c;
    int32_t first = c->start + k->next.row, cached = cached_rows(&k->next);
    for (int32_t r = 0; r < k->next.rows; r++) {
        int32_t own = k->next.rows;
        if (c->attn_block > 0) {
            int64_t end = ((int64_t)(first + r) / c->attn_block + 1) * c->attn_block - first;
            if (end < own) own = (int32_t)end;
        }
        visible[r] = cached + own;
    }
}

/* Of the piece's demanded rows, where they are asked for and the program gives them; NULL: it writes logits. */
static dlx_row_summary *summaries(const dlx_workspace *w, const dlx_call *k)
{
    return k->c.summaries && dlx_program_summarises(&w->m->program) ? k->c.summaries + k->next.asked : NULL;
}

typedef struct laid_out {
    int32_t rows, demanded;
    size_t runs, parts;
} laid_out;

static void lay_out_call(dlx_workspace *w, const dlx_call *k, dlx_segment *segment, laid_out *l)
{
    const dlx_piece *p = &k->next;
    const dlx_forward_call *c = &k->c;
    for (int32_t r = 0; r < p->rows; r++) {
        w->ids[l->rows + r] = c->ids[p->row + r];
        w->positions[l->rows + r] = c->start + p->row + r;
    }
    for (int32_t i = p->asked; i < p->asked + p->n_asked; i++)
        w->rows[l->demanded++] = l->rows + (c->rows ? c->rows[i] : i) - p->row;
    if (p->n_asked)
        w->parts[l->parts++] = (dlx_logits_part){.data = c->logits + (size_t)p->asked * (size_t)w->m->facts.vocab_size,
                                                 .rows = (size_t)p->n_asked,
                                                 .summaries = summaries(w, k),
                                                 .rules = {c->never, c->known},
                                                 .with_logits = c->with_logits != 0};
    fill_visible(k, w->visible + l->rows);
    *segment = (dlx_segment){.begin = (size_t)l->rows,
                             .rows = (size_t)p->rows,
                             .runs = w->runs + l->runs,
                             .n_runs = dlx_workspace_pages(w) ? find_runs(k, w->runs + l->runs) : 0,
                             .visible = w->visible + l->rows};
    l->runs += segment->n_runs;
    l->rows += p->rows;
}

static void bind_inputs(dlx_workspace *w, const dlx_call *first, const laid_out *l)
{
    const dlx_program *program = &w->m->program;
    bool pages = dlx_workspace_pages(w);
    int32_t cached = pages ? 0 : cached_rows(&first->next);
    for (size_t i = 0; i < program->g.n_inputs; i++) {
        uint32_t input = program->g.inputs[i];
        dlx_tensor_ref *t = &w->inputs[i];
        t->shape = dlx_value_shape(&program->g.values[input]);
        bool demand = input == program->rows, cache = !demand && i >= 2;
        t->shape.dim[0] = demand ? l->demanded : cache ? cached : l->rows;
        if (cache)
            t->data = !pages && cached ? dlx_kv_at(first->s, i - 2, first->next.span[0].begin)
                                       : w->slab + (i - 2) * (size_t)w->n_pages * DLX_KV_PAGE * w->kv_row;
        else
            t->data = demand ? (void *)w->rows : i == 0 ? (void *)w->ids : (void *)w->positions;
    }
}

/* ---- what comes out ---- */

/* Rows of the piece that go to the cache: those that the call stores, and with them all that later passes see. */
static size_t kept_rows(const dlx_call *k)
{
    if (k->split) return (size_t)k->next.rows;
    return (size_t)k->c.n_store;
}

/* Of a pass that has keys or values which the cache cannot hold: whether they are this call's. All rows of the piece
 * count, stored or not: whether a call succeeds does not depend on how it is cut either. */
static dlx_status check_rows(const dlx_workspace *w, const dlx_call *k, size_t begin, dlx_error *err)
{
    size_t width = (size_t)w->m->kv_width, n = (size_t)k->next.rows * width;
    for (size_t t = 0; t < 2 * w->m->layers; t++) {
        const float *x = (const float *)w->outputs[1 + t].data + begin * width;
        bool fits = true, numbers = true;
        for (size_t i = 0; i < n; i++) {
            fits &= fabsf(x[i]) < 65520.0f; /* what rounds to a finite half */
            numbers &= x[i] == x[i];
        }
        if (!numbers && w->kv_type == DLX_I8) /* what has no record became NaN */
            return dlx_fail(err, DLX_E_INTERNAL,
                            "the %s of layer %zu are NaN, infinite or beyond 1.7e38; the weights may be damaged",
                            t % 2 ? "values" : "keys", t / 2);
        if (!numbers)
            return dlx_fail(err, DLX_E_INTERNAL, "the %s of layer %zu are NaN; the weights may be damaged",
                            t % 2 ? "values" : "keys", t / 2);
        if (!fits && w->kv_type == DLX_F16)
            return dlx_fail(err, DLX_E_LIMIT,
                            "the %s of layer %zu are too large for a float16 cache; open the workspace with float32",
                            t % 2 ? "values" : "keys", t / 2);
    }
    return DLX_OK;
}

/* `rows` rows of floats that lie side by side become rows of the cache that do. */
static void store_rows(const dlx_workspace *w, uint8_t *to, const float *x, size_t rows)
{
    const dlx_kernels *k = &w->m->program.k;
    size_t heads = (size_t)w->m->kv_heads, width = (size_t)w->m->kv_width, dim = width / heads;
    if (w->kv_type == DLX_F32)
        memcpy(to, x, rows * width * sizeof *x);
    else if (w->kv_type == DLX_F16)
        (void)k->f32_to_f16((uint16_t *)(void *)to, x, rows * width);
    else /* they stand for records already, and get the same ones */
        for (size_t i = 0; i < rows * heads; i++) (void)k->quantize_kv8(to + i * dlx_kv8_bytes(dim), x + i * dim, dim);
}

static void keep_rows(dlx_workspace *w, const dlx_call *k, size_t begin)
{
    size_t width = (size_t)w->m->kv_width, n = kept_rows(k);
    int32_t first = k->c.start + k->next.row;
    if (n) dlx_pages_written(k->s, first, first + (int32_t)n);
    for (size_t t = 0; t < 2 * w->m->layers; t++) {
        const float *x = (const float *)w->outputs[1 + t].data + begin * width;
        for (size_t r = 0, take; r < n; r += take, x += take * width) {
            int32_t position = first + (int32_t)r;
            take = DLX_KV_PAGE - (size_t)(position % DLX_KV_PAGE); /* rows of one page lie side by side */
            if (take > n - r) take = n - r;
            store_rows(w, dlx_kv_at(k->s, t, position), x, take);
        }
    }
}

/* Logits that lie in the program's own memory. */
static void copy_logits(const dlx_workspace *w, const laid_out *l)
{
    size_t vocab = (size_t)w->m->facts.vocab_size;
    const float *all = w->outputs[0].data;
    const int32_t *row = w->rows;
    for (size_t p = 0; p < l->parts; p++)
        for (size_t r = 0; r < w->parts[p].rows; r++)
            memcpy(w->parts[p].data + r * vocab, all + (size_t)*row++ * vocab, vocab * sizeof *all);
}

static void take_results(dlx_workspace *w, dlx_call *k, const dlx_segment *segment)
{
    size_t vocab = (size_t)w->m->facts.vocab_size;
    dlx_error error = {0};
    dlx_status s = DLX_OK;
    if (w->kv_type != DLX_F32 && dlx_executor_beyond_cache(w->ex)) s = check_rows(w, k, segment->begin, &error);
    if (s == DLX_OK && k->next.n_asked)
        s = summaries(w, k) ? dlx_check_summaries(summaries(w, k), (size_t)k->next.n_asked, &error)
                            : dlx_check_logits(k->c.logits + (size_t)k->next.asked * vocab,
                                               (size_t)k->next.n_asked * vocab, &error);
    if (s != DLX_OK) {
        dlx_call_fail(k, &error);
        return;
    }
    keep_rows(w, k, segment->begin);
    dlx_call_advance(k);
}

static dlx_status run_together(dlx_workspace *w, dlx_call *const *calls, size_t n, dlx_error *err)
{
    bool pages = dlx_workspace_pages(w);
    laid_out l = {0};
    for (size_t i = 0; i < n; i++) lay_out_call(w, calls[i], &w->segments[i], &l);
    bind_inputs(w, calls[0], &l);
    dlx_pass pass = {.inputs = w->inputs,
                     .segments = pages ? w->segments : NULL,
                     .n_segments = pages ? n : 0,
                     .cache_type = w->kv_type,
                     .logits = w->parts,
                     .n_logits = l.parts};
    DLX_TRY(dlx_executor_run(w->ex, &pass, w->outputs, err));
    if (w->m->program.rows == DLX_NONE) copy_logits(w, &l);
    for (size_t i = 0; i < n; i++) take_results(w, calls[i], &w->segments[i]);
    return DLX_OK;
}

void dlx_calls_pass(dlx_workspace *w, dlx_call *const *calls, size_t n)
{
    size_t taken = choose(w, calls, n);
    dlx_error error = {0};
    if (!taken || run_together(w, w->chosen, taken, &error) == DLX_OK) return;
    /* Whose fault was it? Each alone finds out. */
    for (size_t i = 0; i < taken; i++) {
        dlx_call *one = w->chosen[i];
        error = (dlx_error){0};
        if (run_together(w, &one, 1, &error) != DLX_OK) dlx_call_fail(one, &error);
    }
}
