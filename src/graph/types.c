/* Element types: what an operator takes and what it gives. */
#include "graph/graph.h"
#include "graph/linear_kinds.h"

typedef enum type_class {
    FLOATS,  /* F32 operands, F32 result */
    NUMBERS, /* operands of one type, F32, I64 or I32, which is the result's */
    BITS,    /* operands of one type, BOOL, I64 or I32, which is the result's */
    MOVED,   /* operands of one type, any, which is the result's */
    OWN,     /* a rule of its own */
} type_class;

static type_class class_of(dlx_op op)
{
    switch (op) {
    case DLX_OP_ADD:
    case DLX_OP_SUB:
    case DLX_OP_MUL:
    case DLX_OP_MIN:
    case DLX_OP_MAX:
    case DLX_OP_FLOORDIV:
    case DLX_OP_TRUNCDIV:
    case DLX_OP_MODULO:
    case DLX_OP_REMAINDER:
    case DLX_OP_NEG:
    case DLX_OP_ABS:
    case DLX_OP_SIGN:
    case DLX_OP_SQUARE:
    case DLX_OP_SUM:
    case DLX_OP_PROD:
    case DLX_OP_AMAX:
    case DLX_OP_AMIN:
    case DLX_OP_CUMSUM: return NUMBERS;
    case DLX_OP_AND:
    case DLX_OP_OR:
    case DLX_OP_XOR:
    case DLX_OP_NOT: return BITS;
    case DLX_OP_COPY:
    case DLX_OP_TRANSPOSE:
    case DLX_OP_SLICE:
    case DLX_OP_CONCAT:
    case DLX_OP_FLIP:
    case DLX_OP_TRIANGLE: return MOVED;
    case DLX_OP_CONVERT:
    case DLX_OP_CAST:
    case DLX_OP_LINEAR:
    case DLX_OP_EMBEDDING:
    case DLX_OP_ROW_SELECT:
    case DLX_OP_EQUAL:
    case DLX_OP_LESS:
    case DLX_OP_LESS_EQUAL:
    case DLX_OP_WHERE:
    case DLX_OP_ANY:
    case DLX_OP_ALL:
    case DLX_OP_ARGMAX:
    case DLX_OP_ARGMIN:
    case DLX_OP_TOPK:
    case DLX_OP_SDPA:
    case DLX_OP_RESHAPE:
    case DLX_OP_EXPAND:
    case DLX_OP_EXPAND_AS:
    case DLX_OP_NARROW:
    case DLX_OP_INDEX:
    case DLX_OP_INDEX_PUT:
    case DLX_OP_GATHER:
    case DLX_OP_SCATTER:
    case DLX_OP_SLICE_PUT:
    case DLX_OP_SIZE:
    case DLX_OP_ARANGE: return OWN;
    default: return FLOATS;
    }
}

dlx_dtype dlx_node_dtype(const dlx_graph *g, const dlx_node *node)
{
    const dlx_value *first = &g->values[node->in[0]];
    switch (node->op) {
    case DLX_OP_CONVERT:
        if (first->dtype != DLX_F32) return DLX_F32;
        return node->attr.dtype == DLX_QS8 ? DLX_QS8 : DLX_QD8;
    case DLX_OP_EMBEDDING:
        if (node->inputs == 3) return DLX_F32;
        return first->dtype == DLX_I4 ? DLX_U8 : first->dtype;
    case DLX_OP_LINEAR: return DLX_F32;
    case DLX_OP_CAST:
    case DLX_OP_ARANGE: return node->attr.dtype;
    case DLX_OP_EQUAL:
    case DLX_OP_LESS:
    case DLX_OP_LESS_EQUAL: return DLX_BOOL;
    case DLX_OP_WHERE: return g->values[node->in[1]].dtype;
    case DLX_OP_ARGMAX:
    case DLX_OP_ARGMIN:
    case DLX_OP_TOPK:
    case DLX_OP_SIZE: return DLX_I64;
    default: return first->dtype;
    }
}

static const dlx_value *operand(const dlx_graph *g, const dlx_node *n, int k)
{
    return k < n->inputs && n->in[k] != DLX_NONE ? &g->values[n->in[k]] : NULL;
}

static bool is_number(dlx_dtype t)
{
    return t == DLX_F32 || t == DLX_I64 || t == DLX_I32;
}

static bool is_place(dlx_dtype t)
{
    return t == DLX_I64 || t == DLX_I32;
}

static bool is_size(const dlx_value *v)
{
    return !v || (v->dtype == DLX_I64 && v->rank == 0);
}

static const char grid_sentence[] = "its scale must be a positive normal number and its zero point -128 to 127";

static const char *linear_rule(const dlx_graph *g, const dlx_node *n)
{
    const dlx_value *w = operand(g, n, 1), *bias = operand(g, n, 2);
    if (dlx_linear_kind_of(g, operand(g, n, 0), w) == DLX_LINEAR_KINDS)
        return "its activations and weights must be of one of these kinds:" DLX_LINEAR_WORDS;
    if (w->kind != DLX_VALUE_CONST) return "its weight must be a constant";
    if (operand(g, n, 0)->dtype == DLX_QS8) {
        if (!dlx_grid8_ok(dlx_grid8_of(n))) return grid_sentence;
        return !bias || (bias->kind == DLX_VALUE_CONST && bias->dtype == DLX_I32)
                   ? NULL
                   : "its bias must be a constant of i32";
    }
    if (bias && (bias->kind != DLX_VALUE_CONST || bias->dtype != DLX_F32))
        return "its bias must be a constant of floats";
    return NULL;
}

static const char *embedding_rule(const dlx_graph *g, const dlx_node *n)
{
    static const char scaled[] = "scales are floats, one a row, of an int8 or int4 table, or bf16, of groups of int4";
    dlx_dtype table = operand(g, n, 0)->dtype;
    const dlx_value *scales = operand(g, n, 2);
    if (!is_place(operand(g, n, 1)->dtype)) return "ids must be integers";
    if (table == DLX_BOOL || is_place(table)) return "its table must hold floats or small integers";
    if (!scales || scales->dtype == DLX_F32) return scales && table != DLX_I8 && table != DLX_I4 ? scaled : NULL;
    return scales->dtype == DLX_BF16 && table == DLX_I4 ? NULL : scaled;
}

/* x, and places from operand `first` on; a value operand in front of them has the type of x. */
static const char *places_rule(const dlx_graph *g, const dlx_node *n, int first, int value)
{
    for (int k = first; k < n->inputs; k++)
        if (k != value && !is_place(operand(g, n, k)->dtype)) return "places must be integers";
    if (value > 0 && operand(g, n, value)->dtype != operand(g, n, 0)->dtype)
        return "its operands differ in element type";
    bool added = n->op != DLX_OP_INDEX && n->op != DLX_OP_GATHER && n->attr.keep;
    return added && !is_number(operand(g, n, 0)->dtype) ? "adds numbers only" : NULL;
}

static const char *sdpa_rule(const dlx_graph *g, const dlx_node *n)
{
    for (int k = 0; k < n->inputs; k++) {
        const dlx_value *v = operand(g, n, k);
        if (k == 3 ? !is_size(v) : v && v->dtype != DLX_F32) return "computes on f32, from an i64 start";
    }
    return NULL;
}

static const char *own_rule(const dlx_graph *g, const dlx_node *n)
{
    dlx_dtype first = operand(g, n, 0)->dtype;
    switch (n->op) {
    case DLX_OP_CONVERT:
        if (first == DLX_BOOL || is_place(first))
            return "converts only f32 to qd8 and qs8, and f16, bf16, i8 and u8 to f32";
        return dlx_node_dtype(g, n) == DLX_QS8 && !dlx_grid8_ok(dlx_grid8_of(n)) ? grid_sentence : NULL;
    case DLX_OP_CAST:
        if (n->attr.dtype == DLX_F16) return first == DLX_F32 ? NULL : "only f32 becomes f16";
        if (((first == DLX_F16 || first == DLX_BF16) && n->attr.dtype != DLX_F32) || n->attr.dtype == DLX_BF16 ||
            n->attr.dtype == DLX_QD8 || n->attr.dtype == DLX_QS8 || !dlx_dtype_size(n->attr.dtype))
            return "does not convert between these types";
        return NULL;
    case DLX_OP_LINEAR: return linear_rule(g, n);
    case DLX_OP_EMBEDDING: return embedding_rule(g, n);
    case DLX_OP_ROW_SELECT: return operand(g, n, 1)->dtype == DLX_I32 ? NULL : "rows must be i32";
    case DLX_OP_EQUAL:
    case DLX_OP_LESS:
    case DLX_OP_LESS_EQUAL:
        if (first == DLX_F16 || first == DLX_BF16) return "does not compare halves";
        return operand(g, n, 1)->dtype == first ? NULL : "its operands differ in element type";
    case DLX_OP_WHERE:
        if (first != DLX_BOOL) return "its condition must be bool";
        return operand(g, n, 1)->dtype == operand(g, n, 2)->dtype ? NULL : "its operands differ in element type";
    case DLX_OP_ANY:
    case DLX_OP_ALL: return first == DLX_BOOL ? NULL : "computes on bool only";
    case DLX_OP_ARGMAX:
    case DLX_OP_ARGMIN:
    case DLX_OP_TOPK: return is_number(first) ? NULL : "computes on f32, i64 and i32 only";
    case DLX_OP_SDPA: return sdpa_rule(g, n);
    case DLX_OP_INDEX:
    case DLX_OP_GATHER: return places_rule(g, n, 1, 0);
    case DLX_OP_INDEX_PUT: return places_rule(g, n, 1, 1);
    case DLX_OP_SCATTER: return places_rule(g, n, 1, 2);
    case DLX_OP_SLICE_PUT:
        if (operand(g, n, 1)->dtype != first) return "its operands differ in element type";
        return is_size(operand(g, n, 2)) ? NULL : "where it begins must be an i64";
    case DLX_OP_RESHAPE:
    case DLX_OP_EXPAND:
    case DLX_OP_NARROW:
        for (int k = 1; k < n->inputs; k++)
            if (!is_size(operand(g, n, k))) return "sizes must be i64";
        return NULL;
    case DLX_OP_ARANGE:
        if (n->attr.dtype != DLX_F32 && !is_place(n->attr.dtype)) return "makes f32, i64 or i32";
        return is_size(operand(g, n, 0)) && is_size(operand(g, n, 1)) ? NULL : "its ends must be i64";
    default: return NULL; /* EXPAND_AS, SIZE: any type */
    }
}

/* Rows of QD8 and QS8 have a layout of their own, pairs of 4-bit weights share a byte, and constants with scales stand
 * for other numbers than their bytes: all are read by the operators that know, and by no other. */
static const char *reader_rule(const dlx_graph *g, const dlx_node *n, int k)
{
    const dlx_value *v = operand(g, n, k);
    if (!v) return NULL;
    if (n->op != DLX_OP_LINEAR || k != 0) {
        if (v->dtype == DLX_QD8) return "only a LINEAR reads dynamically quantised rows";
        if (v->dtype == DLX_QS8) return "only a LINEAR reads statically quantised rows";
    }
    bool knows = (n->op == DLX_OP_LINEAR && k >= 1) || (n->op == DLX_OP_EMBEDDING && k == 0);
    if (v->scales != DLX_NONE && !knows) return "does not honour the scales of a quantised constant";
    if (v->dtype == DLX_I4 && !knows) return "does not read 4-bit elements";
    return NULL;
}

const char *dlx_types_rule(const dlx_graph *g, const dlx_node *node)
{
    type_class class = class_of(node->op);
    dlx_dtype first = operand(g, node, 0)->dtype;
    for (int k = 0; k < node->inputs; k++) {
        const dlx_value *v = operand(g, node, k);
        const char *rule = reader_rule(g, node, k);
        if (rule) return rule;
        if (!v || class == OWN) continue;
        if (v->dtype != first) return class == FLOATS ? "computes on f32 only" : "its operands differ in element type";
        if (class == FLOATS && v->dtype != DLX_F32) return "computes on f32 only";
        if (class == NUMBERS && !is_number(v->dtype)) return "computes on f32, i64 and i32 only";
        if (class == BITS && !is_place(v->dtype) && v->dtype != DLX_BOOL) return "computes on bool, i64 and i32 only";
    }
    const char *rule = class == OWN ? own_rule(g, node) : NULL;
    if (rule) return rule;
    if (g->values[node->out[0]].dtype != dlx_node_dtype(g, node))
        return "its result has another element type than its operands give";
    return NULL;
}
