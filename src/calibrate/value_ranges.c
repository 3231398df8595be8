#include "calibrate/value_ranges.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "quant/quant.h"
#include "runtime/program.h"

/* What a mask adds to scores that are not to count: finite, and a float of 16 bits. */
static const float hidden_score = -10000.0f;

/* A tensor that goes from graph to graph. */
typedef struct carried {
    char *name;
    float *data;             /* [samples, elements] */
    size_t elements, output; /* which output of its graph it is */
} carried;

typedef struct carrier {
    carried *list;
    size_t n;
} carrier;

typedef struct meter {
    const dlx_samples *samples;
    const dlx_layerwise_options *run;
    dlx_ranges *ranges;
    carrier first, last, next; /* outputs of the first graph, of the one before, and of this one */
    size_t stage, stages;
    size_t own; /* outputs of the graph that runs */
    dlx_error *err;
} meter;

static dlx_status no_memory(const meter *m)
{
    return dlx_fail(m->err, DLX_E_NOMEM, "out of memory measuring ranges of values");
}

static void drop(carrier *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->list[i].name);
        free(c->list[i].data);
    }
    free(c->list);
    memset(c, 0, sizeof *c);
}

static const carried *find(const carrier *c, const char *name)
{
    for (size_t i = 0; name && i < c->n; i++)
        if (!strcmp(c->list[i].name, name)) return &c->list[i];
    return NULL;
}

static size_t elements(const dlx_value *v)
{
    dlx_shape s = dlx_value_shape(v);
    return (size_t)dlx_shape_elements(&s);
}

/* ---- a graph that runs ------------------------------------------------------------------------------------------ */

/* Constants as the graph has them, in its arena. */
static dlx_status widen(meter *m, dlx_graph *g)
{
    for (size_t i = 0; i < g->n_values; i++) {
        dlx_value *v = &g->values[i];
        uint64_t bytes = 0;
        if (v->kind != DLX_VALUE_CONST) continue;
        if (!dlx_dtype_bytes(v->dtype, elements(v), &bytes)) return no_memory(m);
        void *data = dlx_arena_array(&g->arena, (size_t)bytes, 1);
        if (!data) return no_memory(m);
        DLX_TRY(dlx_const_collect(v, m->run->pool, data, m->err));
        v->source = (dlx_const_source){.data = data, .bytes = bytes, .stored = v->dtype};
    }
    return DLX_OK;
}

static bool is_mask(const dlx_value *v)
{
    return v->name && !strcmp(v->name, "mask");
}

/* Besides the mask, float inputs are what graphs before gave, whose ranges are those, or stored keys and values, which
 * no call reads here. */
static bool is_stored(const dlx_value *v)
{
    return v->kind == DLX_VALUE_INPUT && v->dtype == DLX_F32 && v->name && !is_mask(v);
}

static bool is_shown(const dlx_value *v)
{
    return v->kind == DLX_VALUE_TEMP && v->dtype == DLX_F32 && v->name && v->producer != DLX_NONE;
}

/* Every value that has a name becomes an output behind the graph's own; the mask is seen as it comes. */
static dlx_status show_values(meter *m, dlx_graph *g)
{
    m->own = g->n_outputs;
    for (size_t i = 0; i < g->n_values; i++) {
        if (!is_shown(&g->values[i])) continue;
        if (!dlx_graph_output(g, (uint32_t)i)) return no_memory(m);
    }
    return DLX_OK;
}

static dlx_status note(meter *m, size_t *place, const char *name, const float *x, size_t n)
{
    if (*place == m->ranges->n) DLX_TRY(dlx_ranges_add(m->ranges, name, (dlx_bounds){0, 0}, m->err));
    dlx_bounds *b = &m->ranges->list[(*place)++].bounds;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return dlx_fail(m->err, DLX_E_FORMAT, "'%s' is not finite on calibration data", name);
        b->low = fminf(b->low, x[i]);
        b->high = fmaxf(b->high, x[i]);
    }
    return DLX_OK;
}

/* ---- what goes in ----------------------------------------------------------------------------------------------- */

static void fill_mask(const dlx_samples *s, const dlx_sample *sample, float *mask, size_t rows, size_t slots)
{
    size_t stored = slots - rows, n = (size_t)sample->n, width = s->attn_block ? (size_t)s->attn_block : rows;
    for (size_t t = 0; t < rows; t++) {
        size_t end = (t / width + 1) * width;
        for (size_t i = 0; i < slots; i++)
            mask[t * slots + i] =
                i >= stored && i - stored < end && (i - stored < n || i - stored == t) ? 0 : hidden_score;
    }
}

static void fill_input(const meter *m, const dlx_value *v, size_t sample, void *data, uint64_t bytes)
{
    const dlx_sample *s = &m->samples->list[sample];
    const carried *from = find(&m->last, v->name);
    if (!from) from = find(&m->first, v->name);
    memset(data, 0, (size_t)bytes);
    if (v->dtype == DLX_I64) {
        bool tokens = v->name && !strcmp(v->name, "tokens");
        for (int64_t i = 0; i < v->dim[0]; i++) ((int64_t *)data)[i] = !tokens ? i : i < s->n ? s->ids[i] : 0;
    } else if (from) {
        memcpy(data, from->data + sample * from->elements, (size_t)bytes);
    } else if (is_mask(v)) {
        fill_mask(m->samples, s, data, (size_t)v->dim[0], (size_t)v->dim[1]);
    }
}

static dlx_status check_inputs(const meter *m, const dlx_graph *g)
{
    for (size_t i = 0; i < g->n_inputs; i++) {
        const dlx_value *v = &g->values[g->inputs[i]];
        if (v->dtype == DLX_I64 && v->dim[0] < m->samples->longest)
            return dlx_fail(m->err, DLX_E_LIMIT, "a sample of %d tokens is longer than the %lld rows of a graph",
                            m->samples->longest, (long long)v->dim[0]);
    }
    return DLX_OK;
}

/* ---- one graph -------------------------------------------------------------------------------------------------- */

/* Room for what goes on from a graph, whose outputs are its own alone. */
static dlx_status prepare_carrier(meter *m, carrier *to, const dlx_graph *g)
{
    drop(to);
    to->list = calloc(g->n_outputs + 1, sizeof *to->list);
    if (!to->list) return no_memory(m);
    for (size_t i = 0; i < g->n_outputs; i++) {
        const dlx_value *v = &g->values[g->outputs[i]];
        carried *c = &to->list[to->n];
        if (v->dtype != DLX_F32 || !v->name) continue;
        c->output = i;
        c->elements = elements(v);
        c->name = strdup(v->name);
        c->data = calloc(m->samples->n, c->elements * sizeof *c->data);
        to->n++;
        if (!c->name || !c->data) return no_memory(m);
    }
    return DLX_OK;
}

static dlx_status take_outputs(meter *m, const dlx_program *p, const dlx_tensor_ref *out, size_t sample, size_t *place)
{
    for (size_t i = 0; i < m->next.n; i++) {
        const carried *c = &m->next.list[i];
        memcpy(c->data + sample * c->elements, out[c->output].data, c->elements * sizeof *c->data);
    }
    for (size_t i = m->own; i < p->g.n_outputs; i++) {
        const dlx_value *v = &p->g.values[p->g.outputs[i]];
        DLX_TRY(note(m, place, v->name, out[i].data, elements(v)));
    }
    return DLX_OK;
}

static dlx_status run_sample(meter *m, const dlx_program *p, dlx_executor *ex, const dlx_tensor_ref *in,
                             dlx_tensor_ref *out, size_t sample, size_t first)
{
    const dlx_pass pass = {.inputs = in};
    for (size_t i = 0; i < p->g.n_inputs; i++) {
        const dlx_value *v = &p->g.values[p->g.inputs[i]];
        fill_input(m, v, sample, in[i].data, dlx_value_bytes(p, p->g.inputs[i], &in[i].shape));
        if (is_mask(v)) DLX_TRY(note(m, &first, v->name, in[i].data, elements(v)));
    }
    DLX_TRY(dlx_executor_run(ex, &pass, out, m->err));
    return take_outputs(m, p, out, sample, &first);
}

static dlx_status run_samples(meter *m, const dlx_program *p, dlx_arena *arena)
{
    dlx_shape *most = dlx_arena_array(arena, p->g.n_inputs + 1, sizeof *most);
    dlx_tensor_ref *in = dlx_arena_array(arena, p->g.n_inputs + 1, sizeof *in),
                   *out = dlx_arena_array(arena, p->g.n_outputs + 1, sizeof *out);
    dlx_executor *ex;
    size_t first = m->ranges->n;
    if (!most || !in || !out) return no_memory(m);
    for (size_t i = 0; i < p->g.n_inputs; i++) {
        most[i] = dlx_value_shape(&p->g.values[p->g.inputs[i]]);
        uint64_t bytes = dlx_value_bytes(p, p->g.inputs[i], &most[i]);
        in[i] = (dlx_tensor_ref){dlx_arena_alloc(arena, (size_t)bytes), most[i]};
        if (!in[i].data) return no_memory(m);
    }
    dlx_executor_bounds bounds = {.max_shape = most};
    DLX_TRY(dlx_executor_open(&ex, p, &bounds, m->run->pool, NULL, m->err));
    dlx_status s = DLX_OK;
    for (size_t i = 0; s == DLX_OK && i < m->samples->n; i++) {
        s = run_sample(m, p, ex, in, out, i, first);
        if (s == DLX_OK && m->run->tick && !m->run->tick(m->run->tick_ctx, (uint64_t)m->samples->list[i].n))
            s = dlx_fail(m->err, DLX_E_CANCELLED, "measuring ranges was cancelled");
    }
    dlx_executor_close(ex);
    return s;
}

static dlx_status run_stage(meter *m, const dlx_value_stages *stages)
{
    dlx_graph g;
    dlx_program p;
    dlx_arena arena;
    const dlx_program_options options = {.limit = m->run->limit, .pool = m->run->pool};
    dlx_graph_init(&g);
    dlx_status s = stages->make(stages->ctx, m->stage, &g, m->err);
    if (s == DLX_OK) s = check_inputs(m, &g);
    if (s == DLX_OK && m->stage + 1 < m->stages) s = prepare_carrier(m, &m->next, &g);
    if (s == DLX_OK) s = widen(m, &g);
    if (s == DLX_OK) s = show_values(m, &g);
    if (s == DLX_OK) s = dlx_program_prepare(&p, &g, &options, m->err);
    if (s != DLX_OK) {
        dlx_graph_free(&g);
        return s;
    }
    dlx_arena_init(&arena);
    s = run_samples(m, &p, &arena);
    dlx_arena_free(&arena);
    dlx_program_free(&p);
    return s;
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

/* Values of several graphs, which are an output of one and an input of another, become one entry. */
static void merge(dlx_ranges *r)
{
    size_t n = 0;
    dlx_ranges_sort(r);
    for (size_t i = 0; i < r->n; i++) {
        const dlx_bounds b = r->list[i].bounds;
        if (n && !strcmp(r->list[n - 1].name, r->list[i].name)) {
            r->list[n - 1].bounds.low = fminf(r->list[n - 1].bounds.low, b.low);
            r->list[n - 1].bounds.high = fmaxf(r->list[n - 1].bounds.high, b.high);
        } else {
            r->list[n++] = r->list[i];
        }
    }
    r->n = n;
}

/* ---- the names -------------------------------------------------------------------------------------------------- */

typedef struct name_list {
    dlx_arena arena;
    const char **list; /* [n] malloc'd */
    size_t n, capacity;
} name_list;

static void free_names(name_list *names)
{
    free((void *)names->list);
    dlx_arena_free(&names->arena);
}

static dlx_status add_name(meter *m, name_list *names, const char *name)
{
    if (names->n == names->capacity && dlx_grow(&names->list, &names->capacity, names->n + 1, sizeof *names->list))
        return no_memory(m);
    names->list[names->n] = dlx_arena_strndup(&names->arena, name, strlen(name));
    return names->list[names->n++] ? DLX_OK : no_memory(m);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void keep_once(name_list *names)
{
    size_t kept = 0;
    qsort(names->list, names->n, sizeof *names->list, by_text);
    for (size_t i = 0; i < names->n; i++)
        if (!kept || strcmp(names->list[kept - 1], names->list[i])) names->list[kept++] = names->list[i];
    names->n = kept;
}

/* Of all values of the first n graphs that have ranges, each once; `may`, unless NULL: of inputs that have none. */
static dlx_status name_values(meter *m, name_list *names, name_list *may, const dlx_value_stages *stages, size_t n)
{
    dlx_graph g;
    for (size_t stage = 0; stage < n; stage++) {
        dlx_graph_init(&g);
        dlx_status s = stages->make(stages->ctx, stage, &g, m->err);
        for (size_t i = 0; s == DLX_OK && i < g.n_values; i++)
            if (is_shown(&g.values[i])) s = add_name(m, names, g.values[i].name);
        for (size_t i = 0; s == DLX_OK && i < g.n_inputs; i++) {
            const dlx_value *v = &g.values[g.inputs[i]];
            if (is_mask(v)) s = add_name(m, names, v->name);
            if (is_stored(v) && may) s = add_name(m, may, v->name);
        }
        dlx_graph_free(&g);
        DLX_TRY(s);
    }
    keep_once(names);
    if (!may) return DLX_OK;
    keep_once(may);
    size_t left = 0;
    for (size_t i = 0; i < may->n; i++)
        if (!bsearch(&may->list[i], names->list, names->n, sizeof *names->list, by_text))
            may->list[left++] = may->list[i];
    may->n = left;
    return DLX_OK;
}

dlx_status dlx_value_ranges_read(dlx_ranges *out, const char *path, const dlx_value_stages *stages,
                                 const dlx_checkpoint *c, dlx_error *err)
{
    meter m = {.err = err};
    name_list names = {.n = 0}, may = {.n = 0};
    dlx_origin origin;
    memset(out, 0, sizeof *out);
    DLX_TRY(dlx_origin_of(&origin, c, err));
    dlx_arena_init(&names.arena);
    dlx_arena_init(&may.arena);
    dlx_status s = name_values(&m, &names, &may, stages, stages->n);
    const dlx_range_names of = {
        .list = names.list, .n = names.n, .may = may.list, .n_may = may.n, .of = c->folder, .origin = &origin};
    if (s == DLX_OK) s = dlx_ranges_read_names(out, path, &of, err);
    free_names(&names);
    free_names(&may);
    return s;
}

/* ---- going on --------------------------------------------------------------------------------------------------- */

/* A row is what goes on of a sample. */
static dlx_status get_carried(const void *ctx, uint64_t first, uint64_t n, float *out, dlx_error *err)
{
    const carrier *c = ctx;
    (void)err;
    for (uint64_t row = first; row < first + n; row++)
        for (size_t i = 0; i < c->n; i++) {
            const carried *x = &c->list[i];
            memcpy(out, x->data + row * x->elements, x->elements * sizeof *out);
            out += x->elements;
        }
    return DLX_OK;
}

static dlx_status put_carried(void *ctx, uint64_t first, uint64_t n, const float *rows, dlx_error *err)
{
    const carrier *c = ctx;
    (void)err;
    for (uint64_t row = first; row < first + n; row++)
        for (size_t i = 0; i < c->n; i++) {
            const carried *x = &c->list[i];
            memcpy(x->data + row * x->elements, rows, x->elements * sizeof *rows);
            rows += x->elements;
        }
    return DLX_OK;
}

static dlx_work_rows rows_of(const meter *m, carrier *c)
{
    dlx_work_rows r = {.rows = m->samples->n, .get = get_carried, .put = put_carried, .ctx = c};
    for (size_t i = 0; i < c->n; i++) r.width += c->list[i].elements;
    return r;
}

/* What was found in the graphs that are done, and what goes on from the last of them. */
static dlx_status take_back(meter *m, const dlx_work *work, const dlx_value_stages *stages)
{
    dlx_graph g;
    name_list names = {.n = 0};
    size_t done = (size_t)work->done;
    dlx_arena_init(&names.arena);
    dlx_status s = name_values(m, &names, NULL, stages, done);
    const dlx_range_names of = {.list = names.list, .n = names.n, .of = work->folder};
    if (s == DLX_OK) s = dlx_ranges_take_back(m->ranges, work, &of, m->err);
    free_names(&names);
    if (s != DLX_OK || done == stages->n) return s;
    dlx_graph_init(&g);
    s = stages->make(stages->ctx, done - 1, &g, m->err);
    if (s == DLX_OK) s = prepare_carrier(m, &m->last, &g);
    dlx_graph_free(&g);
    const dlx_work_rows rows = rows_of(m, &m->last);
    return s == DLX_OK ? dlx_work_load_rows(work, &rows, m->err) : s;
}

static dlx_status keep(meter *m, dlx_work *work)
{
    const dlx_work_rows rows = rows_of(m, &m->last);
    DLX_TRY(dlx_ranges_keep(m->ranges, work, m->err));
    return dlx_work_save_rows(work, &rows, (int32_t)m->stage + 1, m->err);
}

/* Every graph; or, where some are done, the first, whose lookups are quick and are read by all, and those that are not.
 */
static dlx_status run_stages(meter *m, dlx_work *work, const dlx_value_stages *stages)
{
    size_t done = work ? (size_t)work->done : 0;
    if (done) DLX_TRY(take_back(m, work, stages));
    if (done == stages->n) return DLX_OK;
    for (m->stage = 0; m->stage < stages->n; m->stage++) {
        carrier *to = m->stage ? &m->last : &m->first;
        if (m->stage && m->stage < done) continue;
        DLX_TRY(run_stage(m, stages));
        drop(to);
        *to = m->next;
        memset(&m->next, 0, sizeof m->next);
        merge(m->ranges);
        if (work && m->stage) DLX_TRY(keep(m, work));
    }
    return DLX_OK;
}

dlx_status dlx_value_ranges_measure(dlx_ranges *out, dlx_work *work, const dlx_value_stages *stages,
                                    const dlx_samples *samples, const dlx_layerwise_options *run, dlx_error *err)
{
    dlx_error local = {0};
    meter m = {.samples = samples, .run = run, .ranges = out, .stages = stages->n, .err = &local};
    dlx_ranges_begin(out);
    out->observer = DLX_OBSERVE_MINMAX;
    out->samples = samples->n;
    out->rows = samples->rows;
    dlx_status s = run_stages(&m, work, stages);
    drop(&m.first);
    drop(&m.last);
    drop(&m.next);
    if (s == DLX_OK) {
        merge(out);
        return DLX_OK;
    }
    dlx_ranges_free(out);
    if (err) *err = local;
    return s;
}
