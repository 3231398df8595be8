/* Passes of a model, timed in turns. */
#include "api/bench.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/structs.h"
#include "engine/workspace.h"

enum { LEAST_TURNS = 3, MOST_TURNS = 15, SECONDS = 10, CONTEXT = 512, CHUNK = 128, WIDEST = 256, SHORT_MS = 20 };

/* What is under way. */
typedef struct measuring {
    dlx_bench *b;
    dlx_bench_options o;
    const dlx_model *m;
    dlx_workspace *w;
    dlx_session *s;
    int32_t *ids;  /* [n_ids] of the context and of the most rows */
    float *logits; /* [most rows, vocab] */
    double *ms;    /* [passes][2][DLX_BENCH_TURNS]: with logits, without */
    int32_t most, turns;
    size_t n_ids, n_logits;
    bool cancelled;
} measuring;

/* ---- what is to be measured ------------------------------------------------------------------------------------- */

/* Blocks begin on a grid that a decode keeps to, so the context ends on it. */
static dlx_status choose_context(dlx_bench *b, const dlx_bench_options *o, dlx_error *err)
{
    const dlx_model_facts *f = &b->facts;
    int32_t context = o->context, block = f->attn_block > 1 ? f->attn_block : 1;
    if (context < 0 || (o->no_context && context))
        return dlx_fail(err, DLX_E_INVALID, "dlx_bench_options.context is %d%s; expected 0 or more%s", context,
                        o->no_context ? " and no_context is set" : "", o->no_context ? ", and one of the two" : "");
    if (!context && !o->no_context) context = f->max_context / 2 < CONTEXT ? f->max_context / 2 : CONTEXT;
    if (context >= f->max_context)
        return dlx_fail(err, DLX_E_LIMIT,
                        "%d cached positions leave no room for a row: the file has %d positions; ask for fewer, or "
                        "export with a larger --max-seq-len",
                        context, f->max_context);
    b->info.context = context / block * block;
    return DLX_OK;
}

static dlx_status choose_rows(dlx_bench *b, const dlx_bench_options *o, dlx_error *err)
{
    const dlx_model_facts *f = &b->facts;
    int32_t room = f->max_context - b->info.context, rows[DLX_BENCH_ROWS];
    size_t n = 0;
    if (f->max_rows > 0 && room > f->max_rows) room = f->max_rows;
    if (!o->rows)
        for (int32_t r = 1; r <= WIDEST && r <= room; r *= 2) rows[n++] = r;
    if (o->rows && (o->n_rows < 1 || o->n_rows > DLX_BENCH_ROWS))
        return dlx_fail(err, DLX_E_INVALID, "dlx_bench_options: %zu numbers of rows; expected 1 to %d", o->n_rows,
                        DLX_BENCH_ROWS);
    for (size_t i = 0; o->rows && i < o->n_rows; i++) {
        rows[n++] = o->rows[i];
        if (rows[i] < 1 || (i && rows[i] <= rows[i - 1]))
            return dlx_fail(err, DLX_E_INVALID, "dlx_bench_options: rows must ascend from 1 on; entry %zu is %d", i,
                            rows[i]);
        if (rows[i] > room)
            return dlx_fail(err, DLX_E_LIMIT,
                            "%d rows behind %d cached positions are more than the file has room for: %d rows a pass, "
                            "%d positions",
                            rows[i], b->info.context, f->max_rows, f->max_context);
    }
    for (size_t i = 0; i < n; i++) b->pass[i] = (dlx_bench_pass){.struct_size = sizeof *b->pass, .rows = rows[i]};
    b->info.passes = (int32_t)n;
    return DLX_OK;
}

/* What b->facts allow of the options: the context, and the passes that are to be measured behind it. */
static dlx_status choose(dlx_bench *b, const dlx_bench_options *o, dlx_error *err)
{
    if (o->turns < 0 || o->turns > DLX_BENCH_TURNS)
        return dlx_fail(err, DLX_E_INVALID, "dlx_bench_options.turns is %d; expected 1 to %d, or 0", o->turns,
                        DLX_BENCH_TURNS);
    if (o->seconds < 0)
        return dlx_fail(err, DLX_E_INVALID, "dlx_bench_options.seconds is %d; expected 0 or more", o->seconds);
    DLX_TRY(choose_context(b, o, err));
    return choose_rows(b, o, err);
}

dlx_status dlx_bench_check(const dlx_model_facts *facts, const dlx_bench_options *options, int32_t *context,
                           dlx_error *err)
{
    dlx_bench b = {.facts = {.struct_size = sizeof b.facts}};
    dlx_bench_options o = dlx_bench_options_default();
    if (context) *context = 0;
    if (!facts || !context)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_bench_check: the model's facts and a place for the context are needed");
    DLX_TRY(dlx_struct_in(&b.facts, sizeof b.facts, facts, "dlx_model_facts", err));
    DLX_TRY(dlx_struct_in(&o, sizeof o, options, "dlx_bench_options", err));
    DLX_TRY(choose(&b, &o, err));
    *context = b.info.context;
    return DLX_OK;
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static dlx_status open_session(measuring *k, dlx_error *err)
{
    const dlx_model_facts *f = &k->b->facts;
    int32_t context = k->b->info.context, chunk = CHUNK;
    if (f->attn_block > CHUNK) chunk = f->attn_block;
    int32_t rows = k->most > chunk ? k->most : chunk;
    dlx_workspace_options o = {.struct_size = sizeof o,
                               .max_rows = rows < f->max_rows ? rows : f->max_rows,
                               .max_sessions = 1,
                               .kv_type = k->o.kv_type};
    k->n_ids = (size_t)context + (size_t)k->most;
    k->n_logits = (size_t)k->most * (size_t)f->vocab_size;
    k->ids = dlx_mem_array(NULL, k->n_ids, sizeof *k->ids);
    k->logits = dlx_mem_array(NULL, k->n_logits, sizeof *k->logits);
    k->ms = dlx_mem_array(NULL, (size_t)k->b->info.passes * 2 * DLX_BENCH_TURNS, sizeof *k->ms);
    if (!k->ids || !k->logits || !k->ms)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory measuring passes of %d rows of %d logits", k->most,
                        f->vocab_size);
    for (size_t i = 0; i < k->n_ids; i++)
        k->ids[i] = (int32_t)(((uint32_t)i * 2654435761u >> 8) % (uint32_t)f->vocab_size);
    DLX_TRY(dlx_workspace_open(&k->w, k->m, &o, err));
    return dlx_session_open_in(&k->s, k->w, err);
}

static void close_session(measuring *k)
{
    dlx_session_close(k->s);
    dlx_workspace_close(k->w);
    dlx_mem_free(NULL, k->ids, k->n_ids, sizeof *k->ids);
    dlx_mem_free(NULL, k->logits, k->n_logits, sizeof *k->logits);
    dlx_mem_free(NULL, k->ms, (size_t)k->b->info.passes * 2 * DLX_BENCH_TURNS, sizeof *k->ms);
}

/* ---- passes ----------------------------------------------------------------------------------------------------- */

static dlx_status forward(measuring *k, int32_t start, int32_t rows, bool store, bool logits, double *ms,
                          dlx_error *err)
{
    dlx_forward_call c = {.struct_size = sizeof c,
                          .ids = k->ids + start,
                          .n_ids = rows,
                          .start = start,
                          .context = {{0, start}},
                          .n_context = start > 0,
                          .attn_block = k->b->facts.attn_block,
                          .n_store = store ? rows : 0,
                          .n_rows = logits ? rows : 0,
                          .logits = logits ? k->logits : NULL};
    double begin = dlx_clock_ms();
    dlx_status s = dlx_session_forward(k->s, &c, err);
    *ms = dlx_clock_ms() - begin;
    return s;
}

static bool goes_on(measuring *k, int32_t rows, int32_t turn)
{
    if (!k->cancelled && k->o.on_pass && !k->o.on_pass(k->o.ctx, rows, turn)) k->cancelled = true;
    return !k->cancelled;
}

/* Caches the context, in passes of whole blocks. */
static dlx_status cache_context(measuring *k, dlx_error *err)
{
    int32_t block = k->b->facts.attn_block, rows = block ? (block > CHUNK ? block : CHUNK / block * block) : CHUNK;
    if (!block && rows > k->b->facts.max_rows) rows = k->b->facts.max_rows;
    for (int32_t p = 0, n; p < k->b->info.context; p += n) {
        double ms;
        n = k->b->info.context - p < rows ? k->b->info.context - p : rows;
        if (!goes_on(k, n, 0)) return DLX_OK;
        DLX_TRY(forward(k, p, n, true, false, &ms, err));
        k->b->info.prompt_ms += ms;
    }
    return DLX_OK;
}

/* One pass of each number of rows with logits, and one without. Turn 0 warms up and is not counted. Of a small model
 * the pass before, of other rows, left nothing in the caches that a decode would find there: those are run once more.
 */
static dlx_status run_turn(measuring *k, int32_t turn, dlx_error *err)
{
    for (int32_t i = 0; i < k->b->info.passes; i++) {
        double ms[2], *at = k->ms + (size_t)i * 2 * DLX_BENCH_TURNS;
        dlx_bench_pass *p = &k->b->pass[i];
        if (!goes_on(k, p->rows, turn)) return DLX_OK;
        if (turn && p->most_ms < SHORT_MS) DLX_TRY(forward(k, k->b->info.context, p->rows, false, true, &ms[0], err));
        for (int body = 0; body < 2; body++)
            DLX_TRY(forward(k, k->b->info.context, p->rows, false, !body, &ms[body], err));
        if (ms[0] > p->most_ms) p->most_ms = ms[0];
        if (!turn) continue;
        at[p->turns] = ms[0];
        at[DLX_BENCH_TURNS + p->turns] = ms[1];
        p->turns++;
    }
    return DLX_OK;
}

static dlx_status measure(measuring *k, dlx_error *err)
{
    DLX_TRY(cache_context(k, err));
    double end = dlx_clock_ms() + 1e3 * (k->o.seconds ? k->o.seconds : SECONDS);
    for (int32_t turn = 0; !k->cancelled; turn++) {
        bool enough =
            k->o.turns ? turn > k->o.turns : turn > MOST_TURNS || (turn > LEAST_TURNS && dlx_clock_ms() >= end);
        if (enough) break;
        DLX_TRY(run_turn(k, turn, err));
    }
    k->b->info.cancelled = k->cancelled;
    return DLX_OK;
}

/* ---- what came of it -------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Those that were counted at least once, with their numbers. */
static void summarise(measuring *k)
{
    dlx_bench *b = k->b;
    int32_t kept = 0;
    for (int32_t i = 0; i < b->info.passes; i++) {
        dlx_bench_pass p = b->pass[i];
        size_t n = (size_t)p.turns;
        double *ms = k->ms + (size_t)i * 2 * DLX_BENCH_TURNS, *body = ms + DLX_BENCH_TURNS;
        if (!n) continue;
        qsort(ms, n, sizeof *ms, ascending);
        qsort(body, n, sizeof *body, ascending);
        p.least_ms = ms[0];
        p.median_ms = ms[n / 2];
        p.most_ms = ms[n - 1];
        p.body_ms = body[n / 2];
        dlx_bench_work(k->m, k->w->kv_type, b->info.context, &p);
        b->pass[kept++] = p;
    }
    b->info.passes = kept;
}

static dlx_status run(measuring *k, dlx_error *err)
{
    DLX_TRY(choose(k->b, &k->o, err));
    k->most = k->b->pass[k->b->info.passes - 1].rows;
    dlx_status s = open_session(k, err);
    if (s == DLX_OK) s = measure(k, err);
    int32_t planned = k->b->info.passes;
    if (s == DLX_OK) summarise(k);
    int32_t kept = k->b->info.passes;
    k->b->info.passes = planned; /* what the arrays have */
    close_session(k);
    k->b->info.passes = kept;
    return s;
}

dlx_status dlx_bench_run(dlx_bench **out, const dlx_model *model, const dlx_bench_options *options, dlx_error *err)
{
    measuring k = {.o = dlx_bench_options_default(), .m = model};
    if (out) *out = NULL;
    if (!out || !model)
        return dlx_fail(err, DLX_E_INVALID, "dlx_bench_run: a model and a place for what is measured are needed");
    DLX_TRY(dlx_struct_in(&k.o, sizeof k.o, options, "dlx_bench_options", err));
    dlx_bench *b = dlx_mem_zeroed(NULL, 1, sizeof *b);
    if (!b) return dlx_fail(err, DLX_E_NOMEM, "out of memory for a bench");
    b->facts = model->facts;
    b->info =
        (dlx_bench_info){.struct_size = sizeof b->info, .kernels = dlx_model_kernels(model), .threads = model->threads};
    k.b = b;
    dlx_status s = run(&k, err);
    if (s == DLX_OK)
        *out = b;
    else
        dlx_bench_free(b);
    return s;
}

void dlx_bench_free(dlx_bench *b)
{
    dlx_mem_free(NULL, b, 1, sizeof *b);
}

bool dlx_bench_get_info(const dlx_bench *b, dlx_bench_info *out)
{
    return b && dlx_struct_out(out, &b->info, sizeof b->info, "dlx_bench_info", NULL) == DLX_OK;
}

bool dlx_bench_get_pass(const dlx_bench *b, size_t i, dlx_bench_pass *out)
{
    return b && i < (size_t)b->info.passes &&
           dlx_struct_out(out, &b->pass[i], sizeof b->pass[i], "dlx_bench_pass", NULL) == DLX_OK;
}
