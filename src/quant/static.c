/* The pass that gives linear layers with static activations their grids, and their biases as integers. */
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/linear_kinds.h"
#include "graph/rewrite.h"

static const float least_scale = 0x1p-100f; /* products of it with scales of weights are no denormals */
static const float most_requant = 255.0f;   /* XNNPACK refuses 256 */
enum { MOST_PRODUCT = 255 * 128 };          /* of an input, its zero point taken off, and a weight */

typedef struct pass {
    dlx_rewrite r;
    const dlx_activation_ranges *ranges;
    dlx_pool *pool;
    dlx_error *err; /* never NULL */
} pass;

/* A linear layer and what is computed of it. */
typedef struct layer {
    const dlx_node *n;
    const char *name; /* of its weight */
    size_t n_out, n_in;
    float *scale, *bias; /* [n_out]; bias NULL: it has none */
    dlx_grid8 in, out;
} layer;

/* A layer that has no grids yet. */
static bool wants_grids(const dlx_graph *g, const dlx_node *n)
{
    return n->op == DLX_OP_LINEAR && n->attr.dtype == DLX_QS8 && g->values[n->in[0]].dtype == DLX_F32;
}

bool dlx_wants_ranges(const dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (wants_grids(g, &g->nodes[i])) return true;
    return false;
}

dlx_grid8 dlx_grid8_over(float low, float high)
{
    float scale = (float)(((double)high - (double)low) / 255.0);
    if (scale == 0.0f) return (dlx_grid8){.scale = 1.0f};
    if (scale < least_scale) scale = least_scale;
    float zero = rintf(-128.0f - low / scale);
    zero = zero > -128.0f ? zero : -128.0f;
    return (dlx_grid8){.scale = scale, .zero = (int32_t)(zero < 127.0f ? zero : 127.0f)};
}

/* ---- numbers ---- */

static dlx_status no_memory(const pass *p, const char *name)
{
    return dlx_fail(p->err, DLX_E_NOMEM, "out of memory quantising the bias of '%s'", name);
}

/* The n floats of a constant, malloc'd. */
static dlx_status floats_of(const pass *p, uint32_t v, size_t n, float **out)
{
    const dlx_value *value = &p->r.from->values[v];
    *out = malloc((n + 1) * sizeof **out);
    if (!*out) return no_memory(p, value->name ? value->name : "(unnamed)");
    return dlx_const_collect(value, p->pool, *out, p->err);
}

/* Beyond that the squares of numbers are no float32: norms and attention over them end in infinities. */
static const float most_magnitude = 0x1p64f;

/* The range of the input or output (`end`) of the layer with that weight. */
static dlx_status find_range(const dlx_activation_ranges *ranges, const char *of, const char *end, float *low,
                             float *high, dlx_error *err)
{
    static const char weight[] = ".weight";
    char name[256];
    size_t n = strlen(of);
    if (n >= sizeof weight && !strcmp(of + n - (sizeof weight - 1), weight)) n -= sizeof weight - 1;
    int length = snprintf(name, sizeof name, "%.*s.%s", (int)n, of, end);
    if (length > 0 && (size_t)length < sizeof name && ranges->find(ranges->ctx, name, low, high)) return DLX_OK;
    return dlx_fail(
        err, DLX_E_UNSUPPORTED,
        "weight '%.100s' cannot be int8-static: there is no range for its %s, as ranges are measured of the "
        "linear layers of decoder layers; give it another form, int8-dynamic for instance",
        of, end);
}

static dlx_status find_grid(const pass *p, const layer *l, const char *end, dlx_grid8 *out)
{
    float low, high;
    DLX_TRY(find_range(p->ranges, l->name, end, &low, &high, p->err));
    if (low < -most_magnitude || high > most_magnitude)
        return dlx_fail(p->err, DLX_E_UNSUPPORTED,
                        "weight '%.100s' cannot be int8-static: its %s reaches from %g to %g, and only magnitudes "
                        "to %.2g can be squared in float32; give it another form, int8-dynamic for instance",
                        l->name, end, (double)low, (double)high, (double)most_magnitude);
    *out = dlx_grid8_over(low, high);
    return DLX_OK;
}

/* Steps of the output that a step of the product is: not too many. */
static void widen_output(layer *l)
{
    float most = 0.0f;
    for (size_t i = 0; i < l->n_out; i++) most = l->scale[i] > most ? l->scale[i] : most;
    float least = l->in.scale * most / most_requant;
    if (l->out.scale < least) l->out.scale = least;
}

static const char *name_of(const dlx_value *weight)
{
    return weight->name ? weight->name : "(unnamed)";
}

dlx_status dlx_static_ranges_exist(const dlx_graph *g, const dlx_activation_ranges *ranges, dlx_error *err)
{
    float low, high;
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (!wants_grids(g, &g->nodes[i])) continue;
        const char *of = name_of(&g->values[g->nodes[i].in[1]]);
        DLX_TRY(find_range(ranges, of, "input", &low, &high, err));
        DLX_TRY(find_range(ranges, of, "output", &low, &high, err));
    }
    return DLX_OK;
}

/* ---- biases ---- */

static dlx_status check_bias(const pass *p, const layer *l, size_t row, double steps)
{
    double most = (double)INT32_MAX - (double)MOST_PRODUCT * (double)l->n_in;
    if (fabs(steps) <= most) return DLX_OK;
    return dlx_fail(p->err, DLX_E_UNSUPPORTED,
                    "weight '%.100s' cannot be int8-static: the bias %g of row %zu is %g steps of its products, which "
                    "32 bits do not hold; give it another form, int8-dynamic for instance",
                    l->name, (double)l->bias[row], row, steps);
}

static dlx_status make_bias(pass *p, const layer *l, uint32_t *out)
{
    const dlx_value *old = &p->r.from->values[l->n->in[2]];
    dlx_graph *to = &p->r.to;
    int64_t dim = (int64_t)l->n_out;
    int32_t *q = dlx_arena_array(&to->arena, l->n_out + 1, sizeof *q);
    float *scale = dlx_arena_array(&to->arena, l->n_out + 1, sizeof *scale);
    size_t length = old->name ? strlen(old->name) + sizeof ".scales" : 1;
    char *name = dlx_arena_alloc(&to->arena, length);
    if (!q || !scale || !name) return no_memory(p, l->name);
    snprintf(name, length, "%s.scales", old->name ? old->name : "");
    for (size_t i = 0; i < l->n_out; i++) {
        scale[i] = l->in.scale * l->scale[i];
        double steps = rint((double)l->bias[i] / (double)scale[i]);
        DLX_TRY(check_bias(p, l, i, steps));
        q[i] = (int32_t)steps;
    }
    dlx_const_source codes = {.data = q, .bytes = l->n_out * sizeof *q, .stored = DLX_I32},
                     scales = {.data = scale, .bytes = l->n_out * sizeof *scale, .stored = DLX_F32};
    codes.tensor = old->source.tensor;
    uint32_t s = dlx_graph_const(to, old->name ? name : NULL, DLX_F32, 1, &dim, scales);
    *out = dlx_graph_const(to, old->name, DLX_I32, 1, &dim, codes);
    if (s == DLX_NONE || *out == DLX_NONE) return no_memory(p, l->name);
    to->values[*out].scales = s;
    return DLX_OK;
}

/* ---- nodes ---- */

/* x on the grid: one CONVERT for all that read the same. */
static dlx_status convert(pass *p, const dlx_node *n, uint32_t x, dlx_grid8 grid, uint32_t *out)
{
    dlx_graph *to = &p->r.to;
    dlx_attr attr = dlx_grid8_attr(grid);
    for (size_t i = to->n_nodes; i-- > 0;) {
        const dlx_node *c = &to->nodes[i];
        if (c->op != DLX_OP_CONVERT || c->in[0] != x || c->attr.dtype != DLX_QS8 || c->attr.f[0] != grid.scale ||
            c->attr.axis != grid.zero)
            continue;
        *out = c->out[0];
        return DLX_OK;
    }
    *out = dlx_graph_node(to, DLX_OP_CONVERT, &x, 1, &attr, n->layer, p->err);
    return *out != DLX_NONE ? DLX_OK : p->err->status != DLX_OK ? p->err->status : no_memory(p, "a layer");
}

static dlx_status give_grids(pass *p, layer *l)
{
    const dlx_node *n = l->n;
    uint32_t in[3] = {dlx_rewrite_value(&p->r, n->in[0], p->err), dlx_rewrite_value(&p->r, n->in[1], p->err), DLX_NONE};
    if (in[0] == DLX_NONE || in[1] == DLX_NONE) return p->err->status;
    DLX_TRY(find_grid(p, l, "input", &l->in));
    DLX_TRY(find_grid(p, l, "output", &l->out));
    DLX_TRY(floats_of(p, p->r.from->values[n->in[1]].scales, l->n_out, &l->scale));
    widen_output(l);
    if (n->inputs > 2 && n->in[2] != DLX_NONE) {
        DLX_TRY(floats_of(p, n->in[2], l->n_out, &l->bias));
        DLX_TRY(make_bias(p, l, &in[2]));
    }
    DLX_TRY(convert(p, n, in[0], l->in, &in[0]));
    dlx_attr attr = dlx_grid8_attr(l->out);
    uint32_t out = dlx_graph_node(&p->r.to, DLX_OP_LINEAR, in, in[2] == DLX_NONE ? 2 : 3, &attr, n->layer, p->err);
    return dlx_rewrite_set(&p->r, n->out[0], out, p->err);
}

static dlx_status pass_node(pass *p, size_t i)
{
    const dlx_graph *g = p->r.from;
    const dlx_node *n = &g->nodes[i];
    if (!wants_grids(g, n)) return dlx_rewrite_copy(&p->r, i, p->err);
    const dlx_value *w = &g->values[n->in[1]];
    layer l = {.n = n, .name = name_of(w), .n_out = (size_t)w->dim[0], .n_in = (size_t)w->dim[1]};
    dlx_status s = give_grids(p, &l);
    free(l.scale);
    free(l.bias);
    return s;
}

dlx_status dlx_quantize_static(dlx_graph *g, const dlx_activation_ranges *ranges, dlx_pool *pool, dlx_error *err)
{
    dlx_error local = {0};
    pass p = {.ranges = ranges, .pool = pool, .err = &local};
    dlx_status s = dlx_rewrite_begin(&p.r, g, &local);
    for (size_t i = 0; s == DLX_OK && i < g->n_nodes; i++) s = pass_node(&p, i);
    if (s == DLX_OK) s = dlx_rewrite_finish(&p.r, g, &local);
    if (s != DLX_OK) {
        dlx_rewrite_abandon(&p.r);
        if (local.status == DLX_OK) dlx_fail(&local, s, "out of memory quantising a graph");
        if (err) *err = local;
    }
    return s;
}
