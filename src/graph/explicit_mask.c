/*
 * What is added to the scores is the mask where that is right. Which rows a correct mask shows follows from the other
 * inputs:
 *   slot j is hidden from everybody   unless it lies before the first position and is kept
 *   row c  is hidden from everybody   if rows are inserted, and this one is not
 *   what the mask says of the rows    counts, unless it hides an inserted row from itself, which no correct mask does
 * Primitive operators on floats: truths are 0 and 1, "any" is a sum that is clamped.
 */
#include "graph/explicit_mask.h"

#include <string.h>

/* Weights of hidden keys are 0: exp(x - HIDDEN) in float32 for all scores that occur. */
static const float HIDDEN = 1e9f;
/* A mask of less than this hides: -10000 is usual. */
static const float HIDES = -5000.0f;

static uint32_t node(const dlx_explicit_mask *x, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr,
                     int32_t layer)
{
    return dlx_graph_node(x->g, op, in, inputs, attr, layer, x->err);
}

static uint32_t binary(const dlx_explicit_mask *x, dlx_op op, uint32_t a, uint32_t b, int32_t layer)
{
    uint32_t in[2] = {a, b};
    return node(x, op, in, 2, NULL, layer);
}

static uint32_t product(const dlx_explicit_mask *x, uint32_t a, uint32_t b, int32_t layer)
{
    uint32_t in[2] = {a, b};
    return node(x, DLX_OP_BMM, in, 2, &(dlx_attr){.rank = 0}, layer);
}

static uint32_t clamped(const dlx_explicit_mask *x, uint32_t a, int32_t layer)
{
    return node(x, DLX_OP_CLAMP, &a, 1, &(dlx_attr){.f = {0.0f, 1.0f}}, layer);
}

typedef enum filling { WITH_NUMBER, COUNTING, DIAGONAL } filling;

/* A constant, shared by name. */
static uint32_t filled(const dlx_explicit_mask *x, const char *name, int rank, const int64_t *dim, filling how,
                       float number)
{
    dlx_graph *g = x->g;
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_CONST && g->values[i].name && !strcmp(g->values[i].name, name))
            return (uint32_t)i;
    size_t n = 1, width = (size_t)dim[rank - 1];
    for (int i = 0; i < rank; i++) n *= (size_t)dim[i];
    float *data = dlx_arena_array(&g->arena, n, sizeof *data);
    if (!data) return DLX_NONE;
    for (size_t i = 0; i < n; i++)
        data[i] = how == COUNTING ? (float)i : how == DIAGONAL ? (float)(i / width == i % width) : number;
    return dlx_graph_const(g, name, DLX_F32, rank, dim,
                           (dlx_const_source){.data = data, .bytes = n * sizeof *data, .stored = DLX_F32});
}

static uint32_t number(const dlx_explicit_mask *x, const char *name, float value)
{
    return filled(x, name, 1, (const int64_t[]){1}, WITH_NUMBER, value);
}

static uint32_t one(const dlx_explicit_mask *x)
{
    return number(x, "explicit.one", 1.0f);
}

/* Columns [begin, begin + size) of [1, rows, columns] */
static uint32_t columns(const dlx_explicit_mask *x, uint32_t v, int64_t begin, int64_t size, int32_t layer)
{
    dlx_attr attr = {.rank = 3, .shape = {0, 0, begin}, .size = {1, x->rows, size}};
    return node(x, DLX_OP_SLICE, &v, 1, &attr, layer);
}

/* (v - 1) * HIDDEN: 0 for 1, hidden for 0 */
static uint32_t penalty(const dlx_explicit_mask *x, uint32_t v, int32_t layer)
{
    return binary(x, DLX_OP_MUL, binary(x, DLX_OP_SUB, v, one(x), layer), number(x, "explicit.hidden", HIDDEN), layer);
}

/* The positions become floats by a look-up. */
void dlx_explicit_before(dlx_explicit_mask *x)
{
    const int64_t table[2] = {dlx_explicit_reach(x->rows, x->slots), 1};
    dlx_attr first = {.rank = 2, .size = {1, 1}};
    uint32_t at = binary(x, DLX_OP_EMBEDDING, filled(x, "explicit.places", 2, table, COUNTING, 0), x->positions, -1);
    at = node(x, DLX_OP_SLICE, &at, 1, &first, -1);
    uint32_t slot = filled(x, "explicit.slot", 1, &x->slots, COUNTING, 0);
    x->before = clamped(x, binary(x, DLX_OP_SUB, at, slot, -1), -1);
}

uint32_t dlx_explicit_part(dlx_graph *g, uint32_t x, int32_t layer, int half, int rank, const int64_t *shape,
                           dlx_error *err)
{
    dlx_attr attr = {.rank = g->values[x].rank, .shape = {layer}, .size = {1}}, to = {.rank = (uint8_t)rank};
    for (int i = 1; i < attr.rank; i++) attr.size[i] = g->values[x].dim[i];
    if (half >= 0) {
        attr.shape[1] = half;
        attr.size[1] = 1;
    }
    for (int i = 0; i < rank; i++) to.shape[i] = shape[i];
    uint32_t part = dlx_graph_node(g, DLX_OP_SLICE, &x, 1, &attr, layer, err);
    return dlx_graph_node(g, DLX_OP_RESHAPE, &part, 1, &to, layer, err);
}

/* For the rows of the call, [1,B,B], from what the mask says of them. */
static uint32_t rows_bias(const dlx_explicit_mask *x, uint32_t mask, int32_t layer)
{
    const int64_t rows = x->rows, m = x->slots, all[3] = {1, m, rows}, across[3] = {1, 1, m}, down[3] = {1, rows, 1};
    const int64_t square[3] = {1, rows, rows};
    uint32_t insert = dlx_explicit_part(x->g, x->insert, layer, -1, 3, all, x->err);
    uint32_t slots = filled(x, "explicit.slots.ones", 3, across, WITH_NUMBER, 1),
             each = filled(x, "explicit.rows.ones", 3, down, WITH_NUMBER, 1);
    uint32_t inserted = clamped(x, product(x, slots, insert, layer), layer), /* [1,1,B] */
        any = clamped(x, product(x, inserted, each, layer), layer);          /* [1,1,1] */
    uint32_t itself = binary(x, DLX_OP_MUL, mask, filled(x, "explicit.itself", 3, square, DIAGONAL, 0), layer);
    uint32_t less = binary(x, DLX_OP_SUB, number(x, "explicit.hides", HIDES), product(x, itself, each, layer), layer);
    uint32_t broken = clamped(x, product(x, inserted, clamped(x, less, layer), layer), layer); /* [1,1,1] */
    uint32_t said = binary(x, DLX_OP_MUL, mask, binary(x, DLX_OP_SUB, one(x), broken, layer), layer);
    return binary(x, DLX_OP_ADD, said, binary(x, DLX_OP_MUL, penalty(x, inserted, layer), any, layer), layer);
}

uint32_t dlx_explicit_bias(const dlx_explicit_mask *x, int32_t layer)
{
    const int64_t rows = x->rows, m = x->slots, all[3] = {1, rows, m + rows}, across[3] = {1, 1, m};
    uint32_t mask = dlx_explicit_part(x->g, x->mask, layer, -1, 3, all, x->err);
    mask = binary(x, DLX_OP_MAX, mask, number(x, "explicit.least", -HIDDEN), layer); /* also where it is -inf */
    uint32_t kept = dlx_explicit_part(x->g, x->keep, layer, -1, 3, across, x->err);
    uint32_t seen = binary(x, DLX_OP_MUL, x->before, kept, layer);
    uint32_t both[2] = {binary(x, DLX_OP_ADD, columns(x, mask, 0, m, layer), penalty(x, seen, layer), layer),
                        rows_bias(x, columns(x, mask, m, rows, layer), layer)};
    uint32_t joined = node(x, DLX_OP_CONCAT, both, 2, &(dlx_attr){.axis = 2}, layer);
    return node(x, DLX_OP_RESHAPE, &joined, 1, &(dlx_attr){.rank = 2, .shape = {rows, m + rows}}, layer);
}
