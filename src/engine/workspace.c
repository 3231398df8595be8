/*
 * Workspaces: how much memory their options mean, allocating it, and giving it back. The sizes that
 * dlx_workspace_memory states are those that dlx_workspace_create allocates: both come from `layout`.
 */
#include "engine/workspace.h"

#include <string.h>

#include "base/sizes.h"
#include "base/structs.h"
#include "runtime/constants.h"

enum { DEFAULT_SESSIONS = 16, MOST_SESSIONS = 1024 };

/* Sizes of a workspace, complete and within their bounds. */
typedef struct layout {
    int32_t max_rows, max_context, max_sessions, n_pages;
    dlx_dtype kv_type;
    size_t kv_row, max_runs;
    uint64_t kv_bytes, table_bytes;
} layout;

dlx_status dlx_kv_type_of(dlx_dtype *out, const char *name, dlx_error *err)
{
    static const struct {
        const char *name;
        dlx_dtype type;
    } types[] = {{"float32", DLX_F32}, {"float16", DLX_F16}, {"int8", DLX_I8}};
    *out = DLX_F32;
    if (!name) return DLX_OK;
    for (size_t i = 0; i < DLX_COUNT(types); i++)
        if (!strcmp(name, types[i].name)) {
            *out = types[i].type;
            return DLX_OK;
        }
    return dlx_fail(err, DLX_E_INVALID, "kv_type is '%s'; expected float32, float16 or int8", name);
}

size_t dlx_kv_row(const dlx_model *m, dlx_dtype type)
{
    return dlx_cache_row(type, (size_t)m->kv_heads, (size_t)(m->kv_width / m->kv_heads));
}

static dlx_status count_pages(const dlx_workspace_options *o, layout *l, dlx_error *err)
{
    int64_t positions = o->kv_positions, most = (int64_t)INT32_MAX - DLX_KV_PAGE;
    if (positions < 0) return dlx_fail(err, DLX_E_INVALID, "kv_positions is %d; expected 0 or more", o->kv_positions);
    int64_t usable = (int64_t)dlx_pages_of(l->max_context) * DLX_KV_PAGE * l->max_sessions;
    if (!positions || positions > usable) positions = usable;
    if (positions > most)
        return dlx_fail(err, DLX_E_LIMIT, "a workspace of %lld positions was asked for; at most %lld are possible",
                        (long long)positions, (long long)most);
    l->n_pages = dlx_pages_of((int32_t)positions);
    return DLX_OK;
}

static dlx_status lay_out(const dlx_model *m, const dlx_workspace_options *o, layout *l, dlx_error *err)
{
    *l = (layout){.max_rows = o->max_rows, .max_context = o->max_context, .max_sessions = o->max_sessions};
    DLX_TRY(dlx_model_bounds(m, &l->max_rows, &l->max_context, err));
    if (!l->max_sessions) l->max_sessions = DEFAULT_SESSIONS;
    if (l->max_sessions < 1 || l->max_sessions > MOST_SESSIONS)
        return dlx_fail(err, DLX_E_INVALID, "max_sessions is %d; expected 1 to %d, or 0 for %d", o->max_sessions,
                        MOST_SESSIONS, DEFAULT_SESSIONS);
    DLX_TRY(dlx_kv_type_of(&l->kv_type, o->kv_type, err));
    if (l->kv_type != DLX_F32 && !m->program.table.holds)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "kv_type %s needs a program whose attention is recognised, but %s; use float32", o->kv_type,
                        m->program.table.why_not);
    DLX_TRY(count_pages(o, l, err));
    l->kv_row = dlx_kv_row(m, l->kv_type);
    uint64_t page = (uint64_t)l->kv_row * DLX_KV_PAGE, tensors = 2 * (uint64_t)m->layers;
    if (!dlx_mul_u64(page, tensors, &page) || !dlx_mul_u64(page, (uint64_t)l->n_pages, &l->kv_bytes) ||
        l->kv_bytes > SIZE_MAX / 2)
        return dlx_fail(err, DLX_E_LIMIT, "a KV cache of %d positions is larger than this machine can address",
                        l->n_pages * DLX_KV_PAGE);
    /* A pass has at most as many segments as sessions, each with its pages and the ends of its spans. */
    size_t segments = l->max_sessions < l->max_rows ? (size_t)l->max_sessions : (size_t)l->max_rows;
    l->max_runs = segments * ((size_t)dlx_pages_of(l->max_context) + DLX_MAX_SPANS);
    const dlx_workspace *w = NULL;
    const dlx_session *each = NULL;
    size_t rows = (size_t)l->max_rows, sessions = (size_t)l->max_sessions;
    uint64_t session_bytes = dlx_mem_bytes(1, sizeof *each) + dlx_sequence_bytes(l->max_context) +
                             dlx_mem_bytes((size_t)dlx_pages_of(l->max_context), sizeof *each->page) +
                             dlx_mem_bytes((size_t)dlx_pages_of(l->max_context), sizeof *each->origin);
    l->table_bytes = dlx_mem_bytes(1, sizeof *w) + dlx_mem_bytes((size_t)l->n_pages, sizeof *w->refs) +
                     dlx_mem_bytes((size_t)l->n_pages, sizeof *w->changes) + dlx_mem_bytes(rows, sizeof *w->ids) +
                     dlx_mem_bytes(rows, sizeof *w->positions) + dlx_mem_bytes(rows, sizeof *w->visible) +
                     dlx_mem_bytes(rows, sizeof *w->rows) + dlx_mem_bytes(sessions, sizeof *w->segments) +
                     dlx_mem_bytes(sessions, sizeof *w->parts) + dlx_mem_bytes(sessions, sizeof *w->calls) +
                     dlx_mem_bytes(sessions, sizeof *w->active) + dlx_mem_bytes(2 * sessions, sizeof *w->chosen) +
                     dlx_mem_bytes(l->max_runs, sizeof *w->runs) +
                     dlx_mem_bytes(m->program.g.n_inputs, sizeof *w->inputs) +
                     dlx_mem_bytes(m->program.g.n_outputs, sizeof *w->outputs) + sessions * session_bytes;
    return DLX_OK;
}

/* Bounds of the executor behind a workspace; *shape is to be freed. */
static dlx_status executor_bounds(const dlx_model *m, const layout *l, dlx_shape **shape, dlx_executor_bounds *out,
                                  dlx_error *err)
{
    const dlx_graph *g = &m->program.g;
    int64_t cached = g->values[g->inputs[2]].dim[0];
    *shape = dlx_mem_zeroed(&m->mem, g->n_inputs, sizeof **shape);
    if (!*shape) return dlx_fail(err, DLX_E_NOMEM, "out of memory measuring a session");
    dlx_model_input_shapes(m, l->max_rows, l->max_context < cached ? l->max_context : cached, l->max_rows, *shape);
    bool pages = m->program.table.holds;
    *out = (dlx_executor_bounds){
        .max_shape = *shape, .max_segments = pages ? (size_t)l->max_sessions : 0, .max_runs = pages ? l->max_runs : 0};
    return DLX_OK;
}

static dlx_status complete_options(dlx_workspace_options *o, const dlx_workspace_options *given, dlx_error *err)
{
    *o = (dlx_workspace_options){.struct_size = sizeof *o};
    return dlx_struct_in(o, sizeof *o, given, "dlx_workspace_options", err);
}

dlx_status dlx_workspace_memory(const dlx_model *model, const dlx_workspace_options *options, dlx_memory *out,
                                dlx_error *err)
{
    dlx_workspace_options o;
    layout l;
    dlx_shape *shape;
    dlx_executor_bounds bounds;
    uint64_t activations;
    dlx_constant_sizes constants;
    dlx_memory memory = {.struct_size = sizeof memory};
    dlx_struct_clear(out, sizeof *out);
    if (!model || !out)
        return dlx_fail(err, DLX_E_INVALID, "dlx_workspace_memory: a model and a place for the sizes are needed");
    DLX_TRY(complete_options(&o, options, err));
    DLX_TRY(lay_out(model, &o, &l, err));
    DLX_TRY(dlx_constants_size(&model->program.g, &constants, err));
    DLX_TRY(executor_bounds(model, &l, &shape, &bounds, err));
    dlx_status s = dlx_executor_size(&model->program, &bounds, model->threads, &activations, err);
    dlx_mem_free(&model->mem, shape, model->program.g.n_inputs, sizeof *shape);
    if (s != DLX_OK) return s;
    memory.file = model->pte.program_size + constants.bytes;
    memory.packed = dlx_program_packed_size(&model->program);
    memory.shared = model->program.cache.mapping ? memory.packed : 0;
    memory.kv_cache = l.kv_bytes;
    memory.activations = activations + l.table_bytes;
    memory.program = dlx_model_described(model) + constants.arena.bytes - memory.file; /* they lie in its arenas */
    return dlx_struct_out(out, &memory, sizeof memory, "dlx_memory", err);
}

dlx_status dlx_model_memory(const dlx_model *model, int32_t max_rows, int32_t max_context, dlx_memory *out,
                            dlx_error *err)
{
    dlx_workspace_options o = {
        .struct_size = sizeof o, .max_rows = max_rows, .max_context = max_context, .max_sessions = 1};
    return dlx_workspace_memory(model, &o, out, err);
}

static dlx_status allocate(dlx_workspace *w, const layout *l, dlx_error *err)
{
    const dlx_graph *g = &w->m->program.g;
    size_t rows = (size_t)l->max_rows, sessions = (size_t)l->max_sessions;
    w->slab = dlx_mem_array(&w->mem, (size_t)l->kv_bytes, 1);
    if (!w->slab)
        return dlx_fail(
            err, DLX_E_NOMEM,
            "out of memory: the KV cache takes %llu bytes; ask for a smaller max_context, fewer max_sessions or "
            "kv_positions, or kv_type float16",
            (unsigned long long)l->kv_bytes);
    w->refs = dlx_mem_zeroed(&w->mem, (size_t)l->n_pages, sizeof *w->refs);
    w->changes = dlx_mem_zeroed(&w->mem, (size_t)l->n_pages, sizeof *w->changes);
    w->ids = dlx_mem_zeroed(&w->mem, rows, sizeof *w->ids);
    w->positions = dlx_mem_zeroed(&w->mem, rows, sizeof *w->positions);
    w->visible = dlx_mem_zeroed(&w->mem, rows, sizeof *w->visible);
    w->rows = dlx_mem_zeroed(&w->mem, rows, sizeof *w->rows);
    w->segments = dlx_mem_zeroed(&w->mem, sessions, sizeof *w->segments);
    w->parts = dlx_mem_zeroed(&w->mem, sessions, sizeof *w->parts);
    w->calls = dlx_mem_zeroed(&w->mem, sessions, sizeof *w->calls);
    w->active = dlx_mem_zeroed(&w->mem, sessions, sizeof *w->active);
    w->chosen = dlx_mem_zeroed(&w->mem, 2 * sessions, sizeof *w->chosen);
    w->runs = dlx_mem_zeroed(&w->mem, l->max_runs, sizeof *w->runs);
    w->inputs = dlx_mem_zeroed(&w->mem, g->n_inputs, sizeof *w->inputs);
    w->outputs = dlx_mem_zeroed(&w->mem, g->n_outputs, sizeof *w->outputs);
    if (w->refs && w->changes && w->ids && w->positions && w->visible && w->rows && w->segments && w->parts &&
        w->calls && w->active && w->chosen && w->runs && w->inputs && w->outputs)
        return DLX_OK;
    return dlx_fail(err, DLX_E_NOMEM, "out of memory opening a workspace for %d sessions", l->max_sessions);
}

static dlx_status make_locks(dlx_workspace *w, dlx_error *err)
{
    bool pages = pthread_mutex_init(&w->pages_lock, NULL) == 0;
    w->locks_made = pages && pthread_mutex_init(&w->pass_lock, NULL) == 0;
    if (w->locks_made) return DLX_OK;
    if (pages) pthread_mutex_destroy(&w->pages_lock);
    return dlx_fail(err, DLX_E_NOMEM, "opening a workspace: the system refused a mutex");
}

dlx_status dlx_workspace_create(dlx_workspace **out, const dlx_model *m, const dlx_workspace_options *o, dlx_error *err)
{
    layout l;
    dlx_shape *shape;
    dlx_executor_bounds bounds;
    *out = NULL;
    DLX_TRY(lay_out(m, o, &l, err));
    dlx_workspace *w = dlx_mem_zeroed(&m->mem, 1, sizeof *w);
    if (!w) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening a workspace");
    w->m = m;
    w->mem = m->mem;
    w->max_rows = l.max_rows;
    w->max_context = l.max_context;
    w->max_sessions = l.max_sessions;
    w->kv_type = l.kv_type;
    w->kv_row = l.kv_row;
    w->n_pages = l.n_pages;
    w->max_runs = l.max_runs;
    dlx_status s = make_locks(w, err);
    if (s == DLX_OK) s = allocate(w, &l, err);
    if (s == DLX_OK) s = executor_bounds(m, &l, &shape, &bounds, err);
    if (s == DLX_OK) {
        s = dlx_executor_open(&w->ex, &m->program, &bounds, m->pool, &m->mem, err);
        dlx_mem_free(&m->mem, shape, m->program.g.n_inputs, sizeof *shape);
    }
    if (s != DLX_OK) {
        dlx_workspace_close(w);
        return s;
    }
    *out = w;
    return DLX_OK;
}

dlx_status dlx_workspace_open(dlx_workspace **out, const dlx_model *model, const dlx_workspace_options *options,
                              dlx_error *err)
{
    dlx_workspace_options o;
    if (out) *out = NULL;
    if (!out || !model)
        return dlx_fail(err, DLX_E_INVALID, "dlx_workspace_open: a model and a place for the workspace are needed");
    DLX_TRY(complete_options(&o, options, err));
    return dlx_workspace_create(out, model, &o, err);
}

void dlx_workspace_close(dlx_workspace *w)
{
    if (!w) return;
    const dlx_graph *g = &w->m->program.g;
    dlx_allocator mem = w->mem;
    size_t rows = (size_t)w->max_rows, sessions = (size_t)w->max_sessions;
    dlx_executor_close(w->ex);
    dlx_mem_free(&mem, w->slab, 2 * w->m->layers * (size_t)w->n_pages * DLX_KV_PAGE * w->kv_row, 1);
    dlx_mem_free(&mem, w->refs, (size_t)w->n_pages, sizeof *w->refs);
    dlx_mem_free(&mem, w->changes, (size_t)w->n_pages, sizeof *w->changes);
    dlx_mem_free(&mem, w->ids, rows, sizeof *w->ids);
    dlx_mem_free(&mem, w->positions, rows, sizeof *w->positions);
    dlx_mem_free(&mem, w->visible, rows, sizeof *w->visible);
    dlx_mem_free(&mem, w->rows, rows, sizeof *w->rows);
    dlx_mem_free(&mem, w->segments, sessions, sizeof *w->segments);
    dlx_mem_free(&mem, w->parts, sessions, sizeof *w->parts);
    dlx_mem_free(&mem, w->calls, sessions, sizeof *w->calls);
    dlx_mem_free(&mem, w->active, sessions, sizeof *w->active);
    dlx_mem_free(&mem, w->chosen, 2 * sessions, sizeof *w->chosen);
    dlx_mem_free(&mem, w->runs, w->max_runs, sizeof *w->runs);
    dlx_mem_free(&mem, w->inputs, g->n_inputs, sizeof *w->inputs);
    dlx_mem_free(&mem, w->outputs, g->n_outputs, sizeof *w->outputs);
    if (w->locks_made) {
        pthread_mutex_destroy(&w->pages_lock);
        pthread_mutex_destroy(&w->pass_lock);
    }
    dlx_mem_free(&mem, w, 1, sizeof *w);
}
