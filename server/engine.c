/* Opening the model, and how many rows a pass takes. */
#include "engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"

enum { LEAST_WAIT_US = 2000, LONGEST_WAIT_US = 50000 };
enum { KEPT_CONTEXTS = 2, LEAST_ROWS = 64, MOST_ROWS = 256, TURNS = 3 };

dlx_status dlx_srv_fail(dlx_error *err, dlx_status status, const char *format, ...)
{
    va_list list;
    if (!err) return status;
    err->status = status;
    va_start(list, format);
    vsnprintf(err->message, sizeof err->message, format, list);
    va_end(list);
    return status;
}

/* ---- rows of a pass ---------------------------------------------------------------------------------------------- */

int32_t dlx_srv_row_budget(const int32_t *rows, const double *ms, size_t n)
{
    double best = 0;
    for (size_t i = 0; i < n; i++)
        if (ms[i] > 0 && rows[i] / ms[i] > best) best = rows[i] / ms[i];
    for (size_t i = 0; i < n; i++)
        if (ms[i] > 0 && rows[i] / ms[i] >= 0.9 * best) return rows[i];
    return n ? rows[n - 1] : 0;
}

static dlx_status measure(dlx_srv_engine *e, const char *kv_type, dlx_error *err)
{
    dlx_bench_options options = dlx_bench_options_default();
    dlx_bench_pass pass = {.struct_size = sizeof pass};
    dlx_bench *bench;
    int32_t rows[DLX_SRV_MEASURED];
    double ms[DLX_SRV_MEASURED];
    size_t n = 0;
    for (int32_t r = 1; r <= MOST_ROWS && r <= e->facts->max_rows && n < DLX_SRV_MEASURED; r *= 2) rows[n++] = r;
    options.rows = rows;
    options.n_rows = n;
    options.no_context = 1;
    options.turns = TURNS;
    options.kv_type = kv_type;
    dlx_status s = dlx_bench_run(&bench, e->model, &options, err);
    if (s != DLX_OK) return s;
    for (n = 0; n < DLX_SRV_MEASURED && dlx_bench_get_pass(bench, n, &pass); n++) {
        e->measured[n].rows = rows[n] = pass.rows;
        e->measured[n].ms = ms[n] = pass.median_ms;
    }
    dlx_bench_free(bench);
    e->n_measured = n;
    e->row_budget = dlx_srv_row_budget(rows, ms, n);
    return DLX_OK;
}

/* A pass takes at least one whole call of a denoising decoder; where every row sees every other, all of a canvas. */
static dlx_status choose_rows(dlx_srv_engine *e, const dlx_server_options *o, dlx_error *err)
{
    const dlx_model_facts *f = e->facts;
    int32_t least = LEAST_ROWS;
    e->row_budget = f->max_rows;
    if (!f->attn_block) return DLX_OK;
    dlx_status s = DLX_OK;
    if (o->rows)
        e->row_budget = o->rows;
    else
        s = measure(e, o->kv_type, err);
    if (least < 2 * f->attn_block) least = 2 * f->attn_block;
    if (least < 2 * f->block_length) least = 2 * f->block_length;
    if (e->row_budget < least) e->row_budget = least;
    if (e->row_budget > f->max_rows) e->row_budget = f->max_rows;
    return s;
}

/* ---- kept sequences ---------------------------------------------------------------------------------------------- */

static int32_t reusable(void *ctx, const void *session, const int32_t *ids, size_t n)
{
    const dlx_srv_engine *e = ctx;
    return dlx_session_reusable(session, ids, n, e->facts->attn_block);
}

static void *fork_session(void *ctx, const void *from, int32_t n)
{
    dlx_srv_engine *e = ctx;
    dlx_session *session = NULL;
    dlx_status s = from ? dlx_session_fork(&session, from, n, NULL) : dlx_session_open_in(&session, e->workspace, NULL);
    return s == DLX_OK ? session : NULL;
}

static void close_session(void *ctx, void *session)
{
    (void)ctx;
    dlx_session_close(session);
}

static int32_t free_positions(void *ctx)
{
    dlx_srv_engine *e = ctx;
    return dlx_workspace_free_positions(e->workspace);
}

/* ---- constraints ------------------------------------------------------------------------------------------------- */

static dlx_status build_constraint(void *ctx, dlx_srv_language language, const char *text, void **out, int64_t *bytes,
                                   dlx_error *err)
{
    const dlx_srv_engine *e = ctx;
    const dlx_constraint_options options = {.struct_size = sizeof options,
                                            .max_bytes = (int64_t)DLX_SRV_CONSTRAINT_MB << 20,
                                            .max_depth = language == DLX_SRV_SCHEMA ? DLX_SRV_CONSTRAINT_DEPTH : 0};
    dlx_constraint_info info = {.struct_size = sizeof info};
    dlx_constraint *made = NULL;
    dlx_status s = DLX_E_UNSUPPORTED;
    switch (language) {
    case DLX_SRV_REGEX: s = dlx_constraint_from_regex(&made, e->tokenizer, text, strlen(text), &options, err); break;
    case DLX_SRV_SCHEMA: s = dlx_constraint_from_schema(&made, e->tokenizer, text, strlen(text), &options, err); break;
    case DLX_SRV_GRAMMAR:
        s = dlx_constraint_from_grammar(&made, e->tokenizer, text, strlen(text), &options, err);
        break;
    default: break;
    }
    if (s == DLX_OK) s = dlx_constraint_get_info(made, &info, err);
    *bytes = info.bytes;
    *out = made;
    return s;
}

static void destroy_constraint(void *ctx, void *constraint)
{
    (void)ctx;
    dlx_constraint_free(constraint);
}

bool dlx_srv_engine_open_constraints(dlx_srv_engine *e)
{
    const dlx_srv_constraint_ops ops = {e, build_constraint, destroy_constraint};
    return e->has_constraints = dlx_srv_constraints_open(&e->constraints, &ops, (int64_t)DLX_SRV_CONSTRAINTS_MB << 20);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    if (n > 4 && !strcmp(name + n - 4, ".pte")) n -= 4;
    return strndup(name, n);
}

/* A seat that is late, because the machine has other work, is worth waiting for half as long as a small pass takes: a
 * pass of its own would cost it all of that. 0, where nothing was measured: the batcher's own time. */
static int64_t wait_of(const dlx_srv_engine *e)
{
    int64_t us = e->n_measured > 3 ? (int64_t)(e->measured[3].ms * 1e3 / 2) : 0;
    if (us && us < LEAST_WAIT_US) us = LEAST_WAIT_US;
    return us < LONGEST_WAIT_US ? us : LONGEST_WAIT_US;
}

static dlx_status open_workspace(dlx_srv_engine *e, const dlx_server_options *o, dlx_error *err)
{
    dlx_workspace_options w = {.struct_size = sizeof w, .kv_type = o->kv_type};
    size_t kept = e->facts->attn_block ? (size_t)o->kept : 0;
    w.max_rows = e->row_budget;
    w.max_sessions = 2 * o->seats + (int32_t)kept + 1;
    /* All seats can have a whole context, whatever is kept. */
    int64_t positions = (int64_t)(o->seats + (kept ? KEPT_CONTEXTS : 0)) * e->facts->max_context;
    w.kv_positions = positions > INT32_MAX ? INT32_MAX : (int32_t)positions;
    dlx_status s = dlx_workspace_open(&e->workspace, e->model, &w, err);
    const dlx_batcher_options together = {.struct_size = sizeof together, .max_wait_us = wait_of(e)};
    if (s == DLX_OK) s = dlx_batcher_open(&e->batcher, e->workspace, &together, err);
    if (s != DLX_OK) return s;
    const dlx_srv_cache_ops ops = {e, reusable, fork_session, close_session, free_positions};
    e->has_cache = dlx_srv_cache_open(&e->cache, &ops, kept);
    bool both = e->has_cache && dlx_srv_engine_open_constraints(e);
    return both ? DLX_OK : dlx_srv_fail(err, DLX_E_NOMEM, "out of memory opening the server");
}

dlx_status dlx_srv_engine_open(dlx_srv_engine *e, const dlx_server_options *o, dlx_error *err)
{
    dlx_model_options options = dlx_model_options_default();
    *e = (dlx_srv_engine){.seats = o->seats, .queue = o->queue};
    e->name = o->model_name ? strdup(o->model_name) : name_of(o->path);
    if (!e->name) return dlx_srv_fail(err, DLX_E_NOMEM, "out of memory opening the server");
    options.threads = o->threads;
    options.cpu = o->cpu;
    options.pack_cache = o->pack_cache;
    dlx_status s = dlx_tokenizer_open_pte(&e->tokenizer, o->path, err);
    if (s == DLX_OK) s = dlx_model_open(&e->model, o->path, &options, err);
    if (s == DLX_OK) e->facts = dlx_model_get_facts(e->model);
    if (s == DLX_OK) s = choose_rows(e, o, err);
    return s == DLX_OK ? open_workspace(e, o, err) : s;
}

void dlx_srv_engine_close(dlx_srv_engine *e)
{
    if (e->has_constraints) dlx_srv_constraints_close(&e->constraints);
    if (e->has_cache) dlx_srv_cache_close(&e->cache);
    dlx_batcher_close(e->batcher);
    dlx_workspace_close(e->workspace);
    dlx_model_close(e->model);
    dlx_tokenizer_close(e->tokenizer);
    free(e->name);
    *e = (dlx_srv_engine){0};
}
