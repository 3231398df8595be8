/* Loading: import, raise, check what the executor relies on, bring constants into memory. */
#include "runtime/program.h"

#include <string.h>

#include "runtime/constants.h"
#include "runtime/import.h"
#include "runtime/packing.h"
#include "runtime/raise.h"
#include "runtime/raise_decoder.h"
#include "runtime/stages.h"

uint64_t dlx_program_described(const dlx_program *p)
{
    const dlx_graph *g = &p->g;
    uint64_t total = dlx_arena_bytes(&g->arena) + dlx_mem_bytes(g->n_nodes, sizeof *p->weights) +
                     dlx_mem_bytes(g->n_nodes + 1, sizeof *p->stages);
    if (g->values) total += dlx_mem_bytes(g->values_capacity, sizeof *g->values);
    if (g->nodes) total += dlx_mem_bytes(g->nodes_capacity, sizeof *g->nodes);
    if (g->inputs) total += dlx_mem_bytes(g->inputs_capacity, sizeof *g->inputs);
    if (g->outputs) total += dlx_mem_bytes(g->outputs_capacity, sizeof *g->outputs);
    return p->table.entries ? total + dlx_mem_bytes(p->table.capacity, sizeof *p->table.entries) : total;
}

/* Constants of a file in memory are read in place; one at an odd address (others' exporters may do that) moves. */
static dlx_status align_constants(dlx_graph *g, dlx_error *err)
{
    for (size_t i = 0; i < g->n_values; i++) {
        dlx_value *v = &g->values[i];
        size_t size = dlx_dtype_size(v->dtype);
        if (v->kind != DLX_VALUE_CONST || !size || (uintptr_t)v->source.data % size == 0) continue;
        void *copy = dlx_arena_alloc(&g->arena, v->source.bytes);
        if (!copy)
            return dlx_fail(err, DLX_E_NOMEM, "out of memory aligning a constant of %llu bytes",
                            (unsigned long long)v->source.bytes);
        memcpy(copy, v->source.data, v->source.bytes);
        v->source.data = copy;
        v->source.file = NULL;
    }
    return DLX_OK;
}

/* QD8 and QS8 rows have the layout that the GEMM wants: the verifier lets nothing else read them, and nobody outside
 * can. */
static dlx_status check_outputs(const dlx_graph *g, dlx_error *err)
{
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->values[g->outputs[i]].dtype == DLX_QD8 || g->values[g->outputs[i]].dtype == DLX_QS8)
            return dlx_fail(err, DLX_E_UNSUPPORTED, "program output %zu is quantised", i);
    return DLX_OK;
}

/* Segments say who sees what; a mask is for other backends, and no program that is read has one in this operator. */
static dlx_status check_attention(const dlx_graph *g, dlx_error *err)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_ATTENTION && g->nodes[i].inputs == 6 && g->nodes[i].in[5] != DLX_NONE)
            return dlx_fail(err, DLX_E_UNSUPPORTED, "node %zu (ATTENTION) has a mask, which this runtime does not take",
                            i);
    return DLX_OK;
}

dlx_status dlx_program_prepare(dlx_program *p, dlx_graph *g, const dlx_program_options *o, dlx_error *err)
{
    memset(p, 0, sizeof *p);
    p->g = *g;
    dlx_graph_init(g);
    p->rows = DLX_NONE;
    if (o->mem) p->mem = *o->mem;
    dlx_kernels_init(&p->k, o->limit);
    dlx_status s = DLX_OK;
    if (o->demand && p->g.n_outputs) s = dlx_demand_rows(&p->g, 0, &p->rows, err);
    if (s == DLX_OK) s = check_outputs(&p->g, err);
    if (s == DLX_OK) s = check_attention(&p->g, err);
    if (s == DLX_OK) s = dlx_stages_find(p, err);
    if (s == DLX_OK && o->pool) s = dlx_constants_load(&p->g, err);
    if (s == DLX_OK) s = align_constants(&p->g, err);
    if (s == DLX_OK && o->pool) s = dlx_packing_fill(p, o->pool, o->pack, err);
    if (s != DLX_OK) dlx_program_free(p);
    return s;
}

dlx_status dlx_program_load(dlx_program *p, const dlx_pte *pte, const char *method, const dlx_program_options *o,
                            dlx_error *err)
{
    dlx_graph g;
    memset(p, 0, sizeof *p);
    bool raised;
    dlx_status s = dlx_import_method(&g, pte, method, o->mem, err);
    if (s == DLX_OK && o->demand) s = dlx_raise_decoder(&g, &raised, err);
    if (s == DLX_OK) s = dlx_raise(&g, err);
    if (s == DLX_OK) return dlx_program_prepare(p, &g, o, err);
    dlx_graph_free(&g);
    return s;
}

dlx_status dlx_program_bind(dlx_program *p, const dlx_signature *sig, dlx_error *err)
{
    return dlx_rows_analyse(&p->table, &p->g, sig, &p->mem, err);
}

void dlx_program_free(dlx_program *p)
{
    dlx_packing_free(p);
    dlx_stages_free(p);
    dlx_mem_free(&p->mem, (void *)p->weights, p->g.n_nodes, sizeof *p->weights);
    dlx_rows_free(&p->table, &p->mem);
    dlx_graph_free(&p->g);
    memset(p, 0, sizeof *p);
}
