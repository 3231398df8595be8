#include "runtime/rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* How a value depends on the rows of the call. */
typedef enum row_class {
    CONSTANT, /* not at all */
    PER_ROW,  /* its slice r of dimension 0 is a function of row r */
    PICKED,   /* slice i of dimension 0 belongs to demanded row i */
    CACHE,    /* a cache input */
    MIXED,    /* nothing is known */
} row_class;

typedef struct analysis {
    const dlx_graph *g;
    const dlx_signature *sig;
    uint8_t *class; /* [n_values] row_class */
    int64_t rows;   /* bound of T */
    dlx_row_table *table;
} analysis;

static void refuse(analysis *a, const char *format, ...) DLX_PRINTF(2, 3);

static void refuse(analysis *a, const char *format, ...)
{
    va_list arguments;
    if (a->table->why_not[0]) return;
    va_start(arguments, format);
    vsnprintf(a->table->why_not, sizeof a->table->why_not, format, arguments);
    va_end(arguments);
}

static row_class class_of(const analysis *a, uint32_t v)
{
    return v == DLX_NONE ? CONSTANT : (row_class)a->class[v];
}

static bool by_row(row_class c)
{
    return c == PER_ROW || c == PICKED;
}

/* The class of a result whose operands are all of one row class, or constants that do not lie along dimension 0. */
static row_class join(row_class a, row_class b)
{
    if (a == CONSTANT) return b;
    return b == CONSTANT || a == b ? a : MIXED;
}

/* numpy broadcasting lines shapes up at their last dimensions: dimension 0 of the row operand must meet dimension 0 of
 * another row operand, or nothing, or a 1. */
static row_class broadcast_class(const analysis *a, const dlx_node *n)
{
    const dlx_value *x = &a->g->values[n->in[0]], *y = &a->g->values[n->in[1]];
    row_class cx = class_of(a, n->in[0]), cy = class_of(a, n->in[1]), c = join(cx, cy);
    if (!by_row(c)) return c;
    if (by_row(cx) && by_row(cy)) return x->rank == y->rank ? c : MIXED;
    const dlx_value *row = by_row(cx) ? x : y, *constant = by_row(cx) ? y : x;
    return constant->rank < row->rank || (constant->rank == row->rank && constant->dim[0] == 1) ? c : MIXED;
}

/* Row operands first; with `constants` the others must not depend on the call at all. */
static row_class leading_class(const analysis *a, const dlx_node *n, int rank_least)
{
    row_class c = class_of(a, n->in[0]);
    if (by_row(c) && a->g->values[n->in[0]].rank < rank_least) return MIXED;
    for (int k = 1; k < n->inputs; k++)
        if (class_of(a, n->in[k]) != CONSTANT) return MIXED;
    return c;
}

static row_class equal_class(const analysis *a, const dlx_node *n)
{
    row_class c = class_of(a, n->in[0]);
    for (int k = 1; k < n->inputs; k++)
        if (class_of(a, n->in[k]) != c) return MIXED;
    return c;
}

/* The elements of a row stay together: dimension 0 is the same one before and after, for every number of rows. */
static row_class reshape_class(const analysis *a, const dlx_node *n)
{
    const dlx_value *x = &a->g->values[n->in[0]], *y = &a->g->values[n->out[0]];
    row_class c = class_of(a, n->in[0]);
    if (!by_row(c)) return c;
    bool moves = x->rank < 1 || y->rank < 1 || x->dim[0] != y->dim[0] || ((x->dynamic ^ y->dynamic) & 1);
    return moves || (y->dynamic & ~1u) ? MIXED : c;
}

static row_class slice_class(const analysis *a, const dlx_node *n)
{
    const dlx_value *x = &a->g->values[n->in[0]];
    row_class c = class_of(a, n->in[0]);
    if (!by_row(c)) return c;
    bool whole = !n->attr.shape[0] && (n->attr.size[0] == -1 || n->attr.size[0] >= x->dim[0]);
    return whole ? c : MIXED;
}

static row_class bmm_class(const analysis *a, const dlx_node *n)
{
    const dlx_value *x = &a->g->values[n->in[0]];
    row_class c = broadcast_class(a, n);
    if (!by_row(c) || x->rank >= 3) return by_row(class_of(a, n->in[1])) && x->rank < 3 ? MIXED : c;
    return class_of(a, n->in[1]) == CONSTANT && a->g->values[n->in[1]].rank == 2 ? c : MIXED;
}

static row_class attention_class(const analysis *a, const dlx_node *n)
{
    for (int k = 0; k < 3; k++)
        if (class_of(a, n->in[k]) != PER_ROW) return MIXED;
    if (n->inputs != 5 || class_of(a, n->in[3]) != CACHE || class_of(a, n->in[4]) != CACHE) return MIXED;
    return PER_ROW;
}

static row_class node_class(const analysis *a, const dlx_node *n)
{
    int rank = a->g->values[n->in[0]].rank;
    switch (n->op) {
    case DLX_OP_EMBEDDING:
        if (class_of(a, n->in[0]) != CONSTANT || (n->inputs == 3 && class_of(a, n->in[2]) != CONSTANT)) return MIXED;
        return class_of(a, n->in[1]);
    case DLX_OP_LINEAR:
    case DLX_OP_RMS_NORM: return leading_class(a, n, 2);
    case DLX_OP_ROPE: return rank != 3 + n->attr.keep || n->attr.axis ? MIXED : equal_class(a, n);
    case DLX_OP_SILU_MUL: return equal_class(a, n);
    case DLX_OP_ATTENTION: return attention_class(a, n);
    case DLX_OP_ROW_SELECT: return class_of(a, n->in[0]) == PER_ROW && n->in[1] == a->sig->demand ? PICKED : MIXED;
    case DLX_OP_ADD:
    case DLX_OP_SUB:
    case DLX_OP_MUL:
    case DLX_OP_DIV:
    case DLX_OP_MIN:
    case DLX_OP_MAX: return broadcast_class(a, n);
    case DLX_OP_CONVERT:
    case DLX_OP_SOFTMAX: return by_row(class_of(a, n->in[0])) && rank < 2 ? MIXED : class_of(a, n->in[0]);
    case DLX_OP_MEAN: return by_row(class_of(a, n->in[0])) && n->attr.axis == 0 ? MIXED : class_of(a, n->in[0]);
    case DLX_OP_BMM: return bmm_class(a, n);
    case DLX_OP_RESHAPE: return reshape_class(a, n);
    case DLX_OP_TRANSPOSE:
        return by_row(class_of(a, n->in[0])) && n->attr.shape[0] != 0 ? MIXED : class_of(a, n->in[0]);
    case DLX_OP_SLICE: return slice_class(a, n);
    case DLX_OP_CONCAT: return n->attr.axis == 0 && by_row(class_of(a, n->in[0])) ? MIXED : equal_class(a, n);
    case DLX_OP_NEG:
    case DLX_OP_ABS:
    case DLX_OP_SQUARE:
    case DLX_OP_SQRT:
    case DLX_OP_RSQRT:
    case DLX_OP_EXP:
    case DLX_OP_LOG:
    case DLX_OP_SIN:
    case DLX_OP_COS:
    case DLX_OP_TANH:
    case DLX_OP_SIGMOID:
    case DLX_OP_GELU:
    case DLX_OP_FLOOR:
    case DLX_OP_CEIL:
    case DLX_OP_CLAMP:
    case DLX_OP_COPY: return class_of(a, n->in[0]);
    default: return MIXED;
    }
}

/* The cache pair of an attention: key and value inputs of one layer, whose new rows are this attention's own. */
static bool find_layer(const analysis *a, const dlx_node *n, uint32_t *layer)
{
    for (size_t i = 0; i < a->sig->layers; i++) {
        if (a->sig->cache[2 * i] != n->in[3]) continue;
        *layer = (uint32_t)i;
        return a->sig->cache[2 * i + 1] == n->in[4] && a->sig->fresh[2 * i] == n->in[1] &&
               a->sig->fresh[2 * i + 1] == n->in[2];
    }
    return false;
}

static void enter_attention(analysis *a, uint32_t node)
{
    dlx_row_table *t = a->table;
    uint32_t layer;
    if (!find_layer(a, &a->g->nodes[node], &layer)) {
        refuse(a, "the attention of node %u does not keep its own rows behind the cache that it reads", node);
        return;
    }
    for (size_t i = 0; i < t->n_entries; i++)
        if (t->entries[i].layer == layer) refuse(a, "two attentions read the cache of layer %u", layer);
    t->entries[t->n_entries++] = (dlx_attention_entry){.node = node, .layer = layer};
}

static bool reads_cache(const analysis *a, const dlx_node *n)
{
    for (int k = 0; k < n->inputs; k++)
        if (class_of(a, n->in[k]) == CACHE) return true;
    return false;
}

static bool mixed(const analysis *a, const dlx_node *n)
{
    return class_of(a, n->out[0]) == MIXED;
}

static bool mixes(const analysis *a, const dlx_node *n)
{
    bool before = false;
    for (int k = 0; k < n->inputs; k++) before = before || class_of(a, n->in[k]) == MIXED;
    return mixed(a, n) && !before;
}

/* What there is to say against a node, the smallest number before others: it reads a cache that belongs to an
 * attention, it mixes rows, its operands did. The sizes that a program asks for count only where nothing else is to
 * blame. */
enum { READS_CACHE, MIXES, MIXED_BEFORE, REASONS, NOTHING = 2 * REASONS };

static int blame(const analysis *a, const dlx_node *n)
{
    bool kept = n->op == DLX_OP_ATTENTION && !mixed(a, n);
    int reason = reads_cache(a, n) && !kept ? READS_CACHE : mixes(a, n) ? MIXES : mixed(a, n) ? MIXED_BEFORE : NOTHING;
    return reason != NOTHING && n->op == DLX_OP_SIZE ? reason + REASONS : reason;
}

/* The first fact that fails is the one that people can do something about. */
static void refuse_nodes(analysis *a)
{
    int worst = NOTHING;
    size_t at = 0;
    for (size_t i = 0; i < a->g->n_nodes; i++) {
        int reason = blame(a, &a->g->nodes[i]);
        if (reason >= worst) continue;
        worst = reason;
        at = i;
    }
    if (worst == NOTHING) return;
    const char *op = dlx_op_name(a->g->nodes[at].op);
    if (worst % REASONS == READS_CACHE)
        refuse(a, "node %zu (%s) reads a cache", at, op);
    else
        refuse(a, "node %zu (%s) may let rows depend on each other", at, op);
}

static void classify_nodes(analysis *a)
{
    for (size_t i = 0; i < a->g->n_nodes; i++) {
        const dlx_node *n = &a->g->nodes[i];
        row_class c = node_class(a, n);
        const dlx_value *y = &a->g->values[n->out[0]];
        if (c == PER_ROW && (y->rank < 1 || y->dim[0] != a->rows)) c = MIXED;
        a->class[n->out[0]] = (uint8_t)c;
    }
    refuse_nodes(a);
    for (size_t i = 0; i < a->g->n_nodes; i++)
        if (a->g->nodes[i].op == DLX_OP_ATTENTION && class_of(a, a->g->nodes[i].out[0]) == PER_ROW)
            enter_attention(a, (uint32_t)i);
}

static void check_outputs(analysis *a)
{
    const dlx_signature *sig = a->sig;
    row_class wanted = sig->demand == DLX_NONE ? PER_ROW : PICKED;
    if (class_of(a, sig->logits) != wanted) refuse(a, "the logits are not computed row by row");
    for (size_t i = 0; i < 2 * sig->layers; i++)
        if (class_of(a, sig->fresh[i]) != PER_ROW)
            refuse(a, "the new %s of layer %zu are not computed row by row", i % 2 ? "values" : "keys", i / 2);
    for (size_t i = 0; i < a->g->n_outputs; i++)
        for (size_t k = 0; k < 2 * sig->layers; k++)
            if (a->g->outputs[i] == sig->cache[k]) refuse(a, "output %zu is a cache", i);
    if (a->table->n_entries != sig->layers)
        refuse(a, "%zu attentions were recognised for caches of %zu layers", a->table->n_entries, sig->layers);
}

dlx_status dlx_rows_analyse(dlx_row_table *out, const dlx_graph *g, const dlx_signature *sig, const dlx_allocator *mem,
                            dlx_error *err)
{
    memset(out, 0, sizeof *out);
    out->capacity = g->n_nodes;
    out->entries = dlx_mem_array(mem, out->capacity, sizeof *out->entries);
    analysis a = {.g = g, .sig = sig, .rows = g->values[sig->row_inputs[0]].dim[0], .table = out};
    a.class = dlx_mem_array(mem, g->n_values, sizeof *a.class);
    if (!out->entries || !a.class) {
        dlx_mem_free(mem, a.class, g->n_values, sizeof *a.class);
        dlx_rows_free(out, mem);
        return dlx_fail(err, DLX_E_NOMEM, "out of memory analysing a program of %zu operators", g->n_nodes);
    }
    memset(a.class, MIXED, g->n_values);
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_CONST) a.class[i] = CONSTANT;
    for (size_t i = 0; i < 2; i++) a.class[sig->row_inputs[i]] = PER_ROW;
    for (size_t i = 0; i < 2 * sig->layers; i++) a.class[sig->cache[i]] = CACHE;
    classify_nodes(&a);
    check_outputs(&a);
    out->holds = !out->why_not[0];
    dlx_mem_free(mem, a.class, g->n_values, sizeof *a.class);
    return DLX_OK;
}

void dlx_rows_free(dlx_row_table *t, const dlx_allocator *mem)
{
    dlx_mem_free(mem, t->entries, t->capacity, sizeof *t->entries);
    memset(t, 0, sizeof *t);
}
