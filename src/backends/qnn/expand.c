/*
 * A part as a graph of what QNN has one operator for. Attention adds a finite mask to its scores; queries of one key
 * head share its batch. Names come from the nodes of the whole graph: "layers.<layer>.<operator>.<which of them>".
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "backends/qnn/operators.h"
#include "backends/qnn/qnn.h"

enum { NAME_BYTES = 96 };

typedef struct expansion {
    const dlx_graph *from;
    dlx_graph *to;
    uint32_t *map;   /* [from->n_values] */
    uint32_t *which; /* [from->n_nodes] how many of the operator stand before it in its layer */
    const dlx_node *node;
    char base[NAME_BYTES]; /* name of what the node makes */
    dlx_error *err;
} expansion;

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* Rows of a table are called after it, however many operators make them of what it stores. */
static void base_name(char out[NAME_BYTES], const expansion *x, uint32_t node)
{
    char op[32];
    const dlx_node *n = &x->from->nodes[node], *rows = dlx_qnn_rows(x->from, n->out[0]);
    if (rows) {
        const char *table = x->from->values[rows->in[0]].name;
        snprintf(out, NAME_BYTES, "%.80s.rows", table ? table : "table");
        return;
    }
    snprintf(op, sizeof op, "%s", dlx_op_name(n->op));
    for (char *c = op; *c; c++) *c = (char)tolower((unsigned char)*c);
    if (n->layer >= 0)
        snprintf(out, NAME_BYTES, "layers.%d.%s.%u", n->layer, op, x->which[node]);
    else
        snprintf(out, NAME_BYTES, "%s.%u", op, x->which[node]);
}

static void count_operators(expansion *x)
{
    const dlx_graph *g = x->from;
    for (size_t i = 0; i < g->n_nodes; i++) {
        x->which[i] = 0;
        for (size_t k = i; k-- > 0;)
            if (g->nodes[k].op == g->nodes[i].op && g->nodes[k].layer == g->nodes[i].layer) {
                x->which[i] = x->which[k] + 1;
                break;
            }
    }
}

/* "<base>.<suffix>", or the base alone. */
static uint32_t named(expansion *x, uint32_t v, const char *suffix)
{
    char name[NAME_BYTES + 24];
    if (v == DLX_NONE) return v;
    int n = snprintf(name, sizeof name, "%s%s%s", x->base, suffix ? "." : "", suffix ? suffix : "");
    char *kept = dlx_arena_strndup(&x->to->arena, name, (size_t)n);
    if (!kept) return DLX_NONE;
    x->to->values[v].name = kept;
    return v;
}

/* ---- building --------------------------------------------------------------------------------------------------- */

static uint32_t make(expansion *x, const char *suffix, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr)
{
    return named(x, dlx_graph_node(x->to, op, in, inputs, attr, x->node->layer, x->err), suffix);
}

static uint32_t binary(expansion *x, const char *suffix, dlx_op op, uint32_t a, uint32_t b)
{
    uint32_t in[2] = {a, b};
    return make(x, suffix, op, in, 2, NULL);
}

static uint32_t shaped(expansion *x, const char *suffix, dlx_op op, uint32_t a, int rank, const int64_t *shape)
{
    dlx_attr attr = {.rank = (uint8_t)rank};
    memcpy(attr.shape, shape, (size_t)rank * sizeof *shape);
    return make(x, suffix, op, &a, 1, &attr);
}

static uint32_t bmm(expansion *x, const char *suffix, uint32_t a, uint32_t b, bool transpose_b)
{
    dlx_attr attr = {.transpose_b = transpose_b};
    uint32_t in[2] = {a, b};
    return make(x, suffix, DLX_OP_BMM, in, 2, &attr);
}

static uint32_t concat(expansion *x, const char *suffix, int axis, uint32_t a, uint32_t b)
{
    dlx_attr attr = {.axis = axis};
    uint32_t in[2] = {a, b};
    return make(x, suffix, DLX_OP_CONCAT, in, 2, &attr);
}

static uint32_t scalar(expansion *x, const char *suffix, float number)
{
    int64_t one = 1;
    float *data = dlx_arena_array(&x->to->arena, 1, sizeof *data);
    if (!data) return DLX_NONE;
    *data = number;
    dlx_const_source source = {.data = data, .bytes = sizeof *data, .stored = DLX_F32};
    return named(x, dlx_graph_const(x->to, "", DLX_F32, 1, &one, source), suffix);
}

/* ---- expansions ------------------------------------------------------------------------------------------------- */

static uint32_t half(expansion *x, const char *suffix, uint32_t a, int64_t begin, int64_t size)
{
    dlx_attr attr = {.rank = 3, .shape = {0, 0, begin}, .size = {-1, -1, size}};
    return make(x, suffix, DLX_OP_SLICE, &a, 1, &attr);
}

static uint32_t expand_rope(expansion *x, const uint32_t *in)
{
    int64_t d = x->to->values[in[0]].dim[2], wide[3] = {-1, 1, d};
    uint32_t cos = shaped(x, "cos", DLX_OP_RESHAPE, in[1], 3, wide);
    uint32_t sin = shaped(x, "sin", DLX_OP_RESHAPE, in[2], 3, wide);
    uint32_t swapped = concat(x, "swapped", 2, half(x, "high", in[0], d / 2, d / 2), half(x, "low", in[0], 0, d / 2));
    return binary(x, NULL, DLX_OP_ADD, binary(x, "turned", DLX_OP_MUL, in[0], cos),
                  binary(x, "crossed", DLX_OP_MUL, swapped, sin));
}

/* scores [K, G*T, S] + mask [T, S] */
static uint32_t masked(expansion *x, uint32_t scores, uint32_t mask, int64_t kv, int64_t group)
{
    const dlx_value *m = &x->to->values[mask];
    const int64_t rows = m->dim[0], slots = m->dim[1];
    const int64_t split[4] = {kv, group, rows, slots}, wide[4] = {1, 1, rows, slots}, merged[3] = {kv, -1, slots};
    uint32_t each = shaped(x, "scores_by_row", DLX_OP_RESHAPE, scores, 4, split);
    uint32_t added =
        binary(x, DLX_QNN_MASKED, DLX_OP_ADD, each, shaped(x, DLX_QNN_MASK, DLX_OP_RESHAPE, mask, 4, wide));
    return shaped(x, "masked_by_head", DLX_OP_RESHAPE, added, 3, merged);
}

static uint32_t expand_attention(expansion *x, const uint32_t *in)
{
    const dlx_value *q = &x->to->values[in[0]], *k = &x->to->values[in[1]];
    const int64_t heads = q->dim[1], d = q->dim[2], kv = k->dim[1];
    const int64_t kv_major[3] = {1, 0, 2}, grouped[3] = {kv, -1, d}, each[3] = {heads, -1, d},
                  flat[2] = {-1, heads * d};
    uint32_t keys = in[1], values = in[2];
    if (in[3] != DLX_NONE) {
        keys = concat(x, "keys", 0, in[3], keys);
        values = concat(x, "values", 0, in[4], values);
    }
    uint32_t rows = shaped(x, "q_by_head", DLX_OP_TRANSPOSE, in[0], 3, kv_major);
    rows = binary(x, "q_scaled", DLX_OP_MUL, rows, scalar(x, "scale", x->node->attr.f[0]));
    rows = shaped(x, "q_grouped", DLX_OP_RESHAPE, rows, 3, grouped);
    keys = shaped(x, "keys_by_head", DLX_OP_TRANSPOSE, keys, 3, kv_major);
    values = shaped(x, "values_by_head", DLX_OP_TRANSPOSE, values, 3, kv_major);
    uint32_t scores = bmm(x, DLX_QNN_SCORES, rows, keys, true);
    if (scores != DLX_NONE && in[5] != DLX_NONE) scores = masked(x, scores, in[5], kv, heads / kv);
    uint32_t weights = make(x, "weights", DLX_OP_SOFTMAX, &scores, 1, NULL);
    uint32_t sums = shaped(x, "sums_by_head", DLX_OP_RESHAPE, bmm(x, "sums", weights, values, false), 3, each);
    return shaped(x, NULL, DLX_OP_RESHAPE, shaped(x, "sums_by_row", DLX_OP_TRANSPOSE, sums, 3, kv_major), 2, flat);
}

static uint32_t expand_silu_mul(expansion *x, const uint32_t *in)
{
    uint32_t gate = make(x, "sigmoid", DLX_OP_SIGMOID, in, 1, NULL);
    return binary(x, NULL, DLX_OP_MUL, binary(x, "silu", DLX_OP_MUL, in[0], gate), in[1]);
}

/* ---- the part --------------------------------------------------------------------------------------------------- */

static dlx_status no_memory(const expansion *x)
{
    if (x->err->status != DLX_OK) return x->err->status;
    return dlx_fail(x->err, DLX_E_NOMEM, "out of memory lowering a graph of %zu nodes to QNN", x->from->n_nodes);
}

/* What the part's graph has for a value of the whole graph; constants come along when first used. */
static uint32_t carry(expansion *x, uint32_t old)
{
    if (old == DLX_NONE || x->map[old] != DLX_NONE) return old == DLX_NONE ? old : x->map[old];
    const dlx_value *v = &x->from->values[old];
    if (v->kind != DLX_VALUE_CONST) {
        dlx_fail(x->err, DLX_E_INTERNAL, "QNN: value %u is neither an input of the part nor made by it", old);
        return DLX_NONE;
    }
    uint32_t scales = carry(x, v->scales);
    if (scales == DLX_NONE && v->scales != DLX_NONE) return DLX_NONE;
    uint32_t id = dlx_graph_value(x->to, v);
    if (id == DLX_NONE) return DLX_NONE;
    x->to->values[id].scales = scales;
    return x->map[old] = id;
}

static dlx_status expand_node(expansion *x, uint32_t index)
{
    uint32_t in[DLX_MAX_INPUTS] = {DLX_NONE, DLX_NONE, DLX_NONE, DLX_NONE, DLX_NONE, DLX_NONE}, out;
    const dlx_node *n = x->node = &x->from->nodes[index];
    base_name(x->base, x, index);
    for (int k = 0; k < n->inputs; k++) {
        in[k] = carry(x, n->in[k]);
        if (in[k] == DLX_NONE && n->in[k] != DLX_NONE) return no_memory(x);
    }
    switch (n->op) {
    case DLX_OP_ROPE: out = expand_rope(x, in); break;
    case DLX_OP_ATTENTION: out = expand_attention(x, in); break;
    case DLX_OP_SILU_MUL: out = expand_silu_mul(x, in); break;
    default: out = make(x, NULL, n->op, in, n->inputs, &n->attr); break;
    }
    if (out == DLX_NONE) return no_memory(x);
    x->map[n->out[0]] = out;
    return DLX_OK;
}

static dlx_status add_inputs(expansion *x, const dlx_part *part)
{
    for (size_t i = 0; i < part->n_inputs; i++) {
        char name[NAME_BYTES];
        const dlx_value *v = &x->from->values[part->inputs[i]];
        if (v->producer != DLX_NONE)
            base_name(name, x, v->producer);
        else
            snprintf(name, sizeof name, "%s", v->name ? v->name : "input");
        uint32_t id = dlx_graph_input(x->to, name, v->dtype, v->rank, v->dim, v->dynamic);
        if (id == DLX_NONE) return no_memory(x);
        x->map[part->inputs[i]] = id;
    }
    return DLX_OK;
}

static dlx_status expand_part(expansion *x, const dlx_part *part)
{
    count_operators(x);
    DLX_TRY(add_inputs(x, part));
    for (size_t i = 0; i < part->n_nodes; i++) DLX_TRY(expand_node(x, part->nodes[i]));
    for (size_t i = 0; i < part->n_outputs; i++) {
        uint32_t out = carry(x, part->outputs[i]);
        if (out == DLX_NONE || !dlx_graph_output(x->to, out)) return no_memory(x);
    }
    return dlx_graph_verify(x->to, x->err);
}

dlx_status dlx_qnn_expand(dlx_graph *out, const dlx_part *part, dlx_error *err)
{
    dlx_error local = {0};
    dlx_arena scratch;
    dlx_graph_init_with(out, &part->g->arena.mem);
    dlx_arena_init_with(&scratch, &part->g->arena.mem);
    expansion x = {.from = part->g, .to = out, .err = &local};
    x.map = dlx_arena_array(&scratch, part->g->n_values + 1, sizeof *x.map);
    x.which = dlx_arena_array(&scratch, part->g->n_nodes + 1, sizeof *x.which);
    dlx_status s = DLX_OK;
    if (!x.map || !x.which) s = no_memory(&x);
    if (s == DLX_OK) {
        memset(x.map, 0xFF, part->g->n_values * sizeof *x.map);
        s = expand_part(&x, part);
    }
    dlx_arena_free(&scratch);
    if (s != DLX_OK) {
        dlx_graph_free(out);
        if (err) *err = local;
    }
    return s;
}
