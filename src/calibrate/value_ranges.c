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
    float *data; /* [samples, elements] */
    size_t elements;
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

/* Constants as floats in the graph's arena. */
static dlx_status widen(meter *m, dlx_graph *g)
{
    for (size_t i = 0; i < g->n_values; i++) {
        dlx_value *v = &g->values[i];
        if (v->kind != DLX_VALUE_CONST || v->dtype != DLX_F32) continue;
        float *data = dlx_arena_array(&g->arena, elements(v), sizeof *data);
        if (!data) return no_memory(m);
        DLX_TRY(dlx_const_collect(v, m->run->pool, data, m->err));
        v->source = (dlx_const_source){.data = data, .bytes = elements(v) * sizeof *data, .stored = DLX_F32};
    }
    return DLX_OK;
}

/* Every value that has a name becomes an output behind the graph's own, those of float inputs are seen as they come. */
static dlx_status show_values(meter *m, dlx_graph *g)
{
    m->own = g->n_outputs;
    for (size_t i = 0; i < g->n_values; i++) {
        const dlx_value *v = &g->values[i];
        if (v->kind != DLX_VALUE_TEMP || v->dtype != DLX_F32 || !v->name || v->producer == DLX_NONE) continue;
        if (!dlx_graph_output(g, (uint32_t)i)) return no_memory(m);
    }
    return DLX_OK;
}

static dlx_status note(meter *m, size_t *place, const char *name, const float *x, size_t n)
{
    dlx_ranges *r = m->ranges;
    if (*place == r->n) {
        if (r->n == r->capacity) {
            size_t more = r->capacity ? 2 * r->capacity : 256;
            dlx_tensor_range *list = dlx_arena_array(&r->arena, more, sizeof *list);
            if (!list) return no_memory(m);
            if (r->n) memcpy(list, r->list, r->n * sizeof *list);
            r->list = list;
            r->capacity = more;
        }
        char *kept = dlx_arena_strndup(&r->arena, name, strlen(name));
        if (!kept) return no_memory(m);
        r->list[r->n++] = (dlx_tensor_range){.name = kept};
    }
    dlx_bounds *b = &r->list[(*place)++].bounds;
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
    } else if (v->name && !strcmp(v->name, "mask")) {
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

static dlx_status prepare_next(meter *m, const dlx_program *p)
{
    drop(&m->next);
    m->next.list = calloc(m->own + 1, sizeof *m->next.list);
    if (!m->next.list) return no_memory(m);
    for (size_t i = 0; i < m->own && m->stage + 1 < m->stages; i++) {
        const dlx_value *v = &p->g.values[p->g.outputs[i]];
        carried *c = &m->next.list[m->next.n];
        if (v->dtype != DLX_F32 || !v->name) continue;
        c->elements = elements(v);
        c->name = strdup(v->name);
        c->data = calloc(m->samples->n, c->elements * sizeof *c->data);
        m->next.n++;
        if (!c->name || !c->data) return no_memory(m);
    }
    return DLX_OK;
}

static dlx_status take_outputs(meter *m, const dlx_program *p, const dlx_tensor_ref *out, size_t sample, size_t *place)
{
    size_t next = 0;
    for (size_t i = 0; i < p->g.n_outputs; i++) {
        const dlx_value *v = &p->g.values[p->g.outputs[i]];
        if (i >= m->own) {
            DLX_TRY(note(m, place, v->name, out[i].data, elements(v)));
        } else if (next < m->next.n && v->dtype == DLX_F32 && v->name) {
            carried *c = &m->next.list[next++];
            memcpy(c->data + sample * c->elements, out[i].data, c->elements * sizeof *c->data);
        }
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
        if (v->dtype == DLX_F32 && v->name) DLX_TRY(note(m, &first, v->name, in[i].data, elements(v)));
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
    DLX_TRY(prepare_next(m, p));
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

dlx_status dlx_value_ranges_measure(dlx_ranges *out, const dlx_value_stages *stages, const dlx_samples *samples,
                                    const dlx_layerwise_options *run, dlx_error *err)
{
    dlx_error local = {0};
    meter m = {.samples = samples, .run = run, .ranges = out, .stages = stages->n, .err = &local};
    dlx_status s = DLX_OK;
    memset(out, 0, sizeof *out);
    dlx_arena_init(&out->arena);
    out->observer = DLX_OBSERVE_MINMAX;
    out->samples = samples->n;
    out->rows = samples->rows;
    for (; s == DLX_OK && m.stage < stages->n; m.stage++) {
        s = run_stage(&m, stages);
        carrier *to = m.stage ? &m.last : &m.first;
        drop(to);
        *to = m.next;
        memset(&m.next, 0, sizeof m.next);
    }
    drop(&m.first);
    drop(&m.last);
    if (s == DLX_OK) {
        merge(out);
        return DLX_OK;
    }
    dlx_ranges_free(out);
    if (err) *err = local;
    return s;
}
