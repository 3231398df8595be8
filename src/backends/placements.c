#include "backends/placements.h"

#include "backends/partition.h"
#include "base/sizes.h"
#include "quant/quant.h"

typedef struct counter {
    const dlx_graph *g;
    uint32_t home;
    size_t first;   /* of the home in `ops` */
    uint32_t *read; /* [n_values] the home that read it last, from 1 on */
    dlx_placements *out;
} counter;

static uint64_t times(uint64_t a, int64_t b)
{
    uint64_t product;
    return dlx_mul_u64(a, b > 0 ? (uint64_t)b : 0, &product) ? product : UINT64_MAX;
}

static uint64_t elements(const dlx_value *v)
{
    uint64_t n = 1;
    for (int d = 0; d < v->rank; d++) n = times(n, v->dim[d]);
    return n;
}

static const dlx_value *operand(const dlx_graph *g, const dlx_node *n, int k)
{
    return k < n->inputs && n->in[k] != DLX_NONE ? &g->values[n->in[k]] : NULL;
}

/* Keys and values: two products of the query's elements with so many rows. */
static uint64_t of_attention(const dlx_graph *g, const dlx_node *n)
{
    const dlx_value *q = operand(g, n, 0), *k = operand(g, n, 1), *cached = operand(g, n, 3);
    int64_t rows = k->dim[0] + (n->op == DLX_OP_ATTENTION && cached ? cached->dim[0] : 0);
    if (n->op == DLX_OP_SDPA) rows = k->dim[n->attr.axes & DLX_SDPA_K_HEADS_FIRST ? 2 : 1];
    return times(times(elements(q), rows), 2);
}

static uint64_t multiply_adds(const dlx_graph *g, const dlx_node *n)
{
    const dlx_value *x = operand(g, n, 0);
    switch (n->op) {
    case DLX_OP_LINEAR: return times(elements(x), g->values[n->in[1]].dim[0]);
    case DLX_OP_BMM: return times(elements(&g->values[n->out[0]]), x->dim[x->rank - 1]);
    case DLX_OP_ATTENTION:
    case DLX_OP_SDPA: return of_attention(g, n);
    default: return 0;
    }
}

static uint64_t constant_bytes(counter *c, uint32_t value)
{
    const dlx_value *v = value == DLX_NONE ? NULL : &c->g->values[value];
    uint64_t bytes = 0;
    if (!v || v->kind != DLX_VALUE_CONST || c->read[value] == c->home + 1) return 0;
    c->read[value] = c->home + 1;
    dlx_dtype_bytes(v->dtype, elements(v), &bytes);
    return bytes + constant_bytes(c, v->scales);
}

/* Bytes of a constant that the home has not read before, with its scales. */
static uint64_t count_constant(counter *c, uint32_t value)
{
    uint64_t bytes = constant_bytes(c, value);
    dlx_placed_constants *to = &c->out->constants[c->home];
    if (!bytes) return 0;
    bool quantised = dlx_const_is_quantised(&c->g->values[value]);
    *(quantised ? &to->quantised : &to->floats) += 1;
    *(quantised ? &to->quantised_bytes : &to->float_bytes) += bytes;
    return bytes;
}

static void count(counter *c, const dlx_node *n)
{
    size_t i = c->first;
    while (i < c->out->n_ops && c->out->ops[i].op != n->op) i++;
    dlx_placed_op *to = &c->out->ops[i];
    if (i == c->out->n_ops) {
        *to = (dlx_placed_op){.home = c->home, .op = n->op};
        c->out->n_ops++;
    }
    to->count++;
    to->multiply_adds += multiply_adds(c->g, n);
    for (int k = 0; k < n->inputs; k++) to->constant_bytes += count_constant(c, n->in[k]);
}

static void count_home(counter *c, const dlx_partition *p, uint32_t home)
{
    c->home = home;
    c->first = c->out->n_ops;
    for (size_t i = 0; i < p->n_parts; i++) {
        const dlx_part *part = &p->parts[i].part;
        if (p->parts[i].home != home) continue;
        c->out->delegates[home]++;
        for (size_t k = 0; k < part->n_nodes; k++) count(c, &c->g->nodes[part->nodes[k]]);
    }
}

static void count_outside(counter *c, const dlx_partition *p, uint32_t home)
{
    c->home = home;
    c->first = c->out->n_ops;
    for (size_t i = 0; i < c->g->n_nodes; i++)
        if (p->outside[i]) count(c, &c->g->nodes[i]);
}

dlx_status dlx_placements_count(dlx_placements *out, dlx_arena *arena, const dlx_graph *g, const dlx_home *homes,
                                size_t n_homes, dlx_error *err)
{
    dlx_partition p;
    counter c = {.g = g, .out = out};
    DLX_TRY(dlx_partition_make(&p, arena, g, homes, n_homes, err));
    *out = (dlx_placements){.n_ops = 0};
    out->ops = dlx_arena_array(arena, (n_homes + 1) * DLX_OP_COUNT, sizeof *out->ops);
    out->delegates = dlx_arena_array(arena, n_homes + 1, sizeof *out->delegates);
    out->constants = dlx_arena_array(arena, n_homes + 1, sizeof *out->constants);
    c.read = dlx_arena_array(arena, g->n_values + 1, sizeof *c.read);
    if (!out->ops || !out->delegates || !out->constants || !c.read)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory counting a graph of %zu nodes", g->n_nodes);
    for (uint32_t i = 0; i < n_homes; i++) count_home(&c, &p, i);
    count_outside(&c, &p, (uint32_t)n_homes);
    return DLX_OK;
}
