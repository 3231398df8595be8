#include "runtime/constants.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "graph/linear_kinds.h"
#include "runtime/linear.h"

/* How a value is used. */
enum { USED_PACKED = 1, USED_WHOLE = 2, USED_INSIDE = 4 }; /* packed; a matrix taken as it is; anything else */

static int use_of(const dlx_graph *g, const dlx_node *n, int operand)
{
    if (n->op == DLX_OP_LINEAR && operand == 1) return USED_PACKED;
    if (n->op == DLX_OP_EMBEDDING && operand == 0 && dlx_linear_tied(g, n->in[0])) return USED_PACKED;
    bool whole =
        (n->op == DLX_OP_BMM && operand == 1) || ((n->op == DLX_OP_EMBEDDING || n->op == DLX_OP_INDEX) && operand == 0);
    return whole ? USED_WHOLE : USED_INSIDE;
}

/* [g->n_values], freed by the caller with the graph's allocator. */
static uint8_t *find_uses(const dlx_graph *g)
{
    uint8_t *uses = dlx_mem_zeroed(&g->arena.mem, g->n_values + 1, sizeof *uses);
    if (!uses) return NULL;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].inputs; k++)
            if (g->nodes[i].in[k] != DLX_NONE) uses[g->nodes[i].in[k]] |= (uint8_t)use_of(g, &g->nodes[i], k);
    for (size_t i = 0; i < g->n_outputs; i++) uses[g->outputs[i]] |= USED_INSIDE;
    /* First values of states. */
    for (size_t i = 0; i < g->n_inputs; i++) uses[g->inputs[i]] |= USED_INSIDE;
    /* Scales of groups are many, and packed with their weights. */
    for (size_t i = 0; i < g->n_values; i++) {
        uint32_t scales = g->values[i].scales;
        if (uses[i] && scales != DLX_NONE)
            uses[scales] |= dlx_scaling_of(g, &g->values[i]) == DLX_PER_GROUP ? USED_PACKED : USED_INSIDE;
    }
    return uses;
}

/* What raising recognises by its numbers has one row (means) or one column (scales), but for causal masks, which it
 * asks for. */
static bool is_matrix(const dlx_value *v)
{
    return v->rank >= 2 && v->dim[0] > 1 && v->dim[v->rank - 1] > 1;
}

static bool wanted(const dlx_value *v, uint8_t uses, bool raised)
{
    if (raised) return uses & (USED_WHOLE | USED_INSIDE);
    return uses & USED_INSIDE || (uses && !is_matrix(v));
}

static int by_place(const void *a, const void *b)
{
    const dlx_value *x = *(const dlx_value *const *)a, *y = *(const dlx_value *const *)b;
    if (x->source.file != y->source.file) return (uintptr_t)x->source.file < (uintptr_t)y->source.file ? -1 : 1;
    if (x->source.offset != y->source.offset) return x->source.offset < y->source.offset ? -1 : 1;
    return (x->source.bytes < y->source.bytes) - (x->source.bytes > y->source.bytes);
}

static bool same_place(const dlx_value *a, const dlx_value *b)
{
    return a->source.file == b->source.file && a->source.offset == b->source.offset;
}

/* Values of files, those of one place together, the longest of them first. *n of them, freed by the caller with
 * n_values + 1. */
static dlx_value **in_files(const dlx_graph *g, size_t *n)
{
    dlx_value **list = dlx_mem_array(&g->arena.mem, g->n_values + 1, sizeof *list);
    *n = 0;
    for (size_t i = 0; list && i < g->n_values; i++)
        if (g->values[i].source.file) list[(*n)++] = &g->values[i];
    if (list && *n) qsort(list, *n, sizeof *list, by_place);
    return list;
}

static dlx_status no_memory(const dlx_value *v, dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory reading a constant of %llu bytes",
                    (unsigned long long)v->source.bytes);
}

static dlx_status read_constant(dlx_graph *g, dlx_value *v, dlx_error *err)
{
    if (v->source.bytes > SIZE_MAX / 2) return no_memory(v, err);
    void *data = dlx_arena_alloc(&g->arena, (size_t)v->source.bytes);
    if (!data) return no_memory(v, err);
    DLX_TRY(dlx_const_read(v, 0, data, (size_t)v->source.bytes, err));
    v->source.data = data;
    return DLX_OK;
}

dlx_status dlx_constant_load(dlx_graph *g, uint32_t value, dlx_error *err)
{
    dlx_value *v = &g->values[value];
    return v->source.file && !v->source.data ? read_constant(g, v, err) : DLX_OK;
}

/* The values [n] of one place: one of them is read when one is wanted, and serves all. `sizes`: nothing is read, but
 * counted. */
static dlx_status one_place(dlx_graph *g, dlx_value **list, size_t n, const uint8_t *uses, bool raised,
                            dlx_constant_sizes *sizes, dlx_error *err)
{
    const void *data = NULL;
    bool needed = false;
    for (size_t i = 0; i < n; i++) {
        needed = needed || wanted(list[i], uses[list[i] - g->values], raised) || list[i]->source.data;
        if (!data && list[i]->source.bytes == list[0]->source.bytes) data = list[i]->source.data;
    }
    if (!needed) return DLX_OK;
    if (sizes) {
        sizes->bytes += list[0]->source.bytes;
        if (!data) dlx_arena_count_add(&sizes->arena, (size_t)list[0]->source.bytes);
        return DLX_OK;
    }
    list[0]->source.data = data;
    if (!data) DLX_TRY(read_constant(g, list[0], err));
    for (size_t i = 1; i < n; i++) list[i]->source.data = list[0]->source.data;
    return DLX_OK;
}

static dlx_status each_place(dlx_graph *g, bool raised, dlx_constant_sizes *sizes, dlx_error *err)
{
    size_t n;
    dlx_status s = DLX_OK;
    uint8_t *uses = find_uses(g);
    dlx_value **list = in_files(g, &n);
    if (!uses || !list) s = dlx_fail(err, DLX_E_NOMEM, "out of memory reading constants");
    for (size_t i = 0, end; s == DLX_OK && i < n; i = end) {
        for (end = i + 1; end < n && same_place(list[i], list[end]);) end++;
        s = one_place(g, list + i, end - i, uses, raised, sizes, err);
    }
    dlx_mem_free(&g->arena.mem, uses, g->n_values + 1, sizeof *uses);
    dlx_mem_free(&g->arena.mem, list, g->n_values + 1, sizeof *list);
    return s;
}

dlx_status dlx_constants_load_small(dlx_graph *g, dlx_error *err)
{
    return each_place(g, false, NULL, err);
}

dlx_status dlx_constants_load(dlx_graph *g, dlx_error *err)
{
    return each_place(g, true, NULL, err);
}

dlx_status dlx_constants_size(const dlx_graph *g, dlx_constant_sizes *sizes, dlx_error *err)
{
    *sizes = (dlx_constant_sizes){.arena = dlx_arena_count_begin(&g->arena)};
    return each_place((dlx_graph *)(uintptr_t)g, true, sizes, err);
}
