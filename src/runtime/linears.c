/*
 * Linear layers as they run: those of one stage are one loop over all their strips of columns. Where a gate follows, an
 * item is a strip of both sides and of their product, which lie in scratch that stays in a thread's cache, in place of
 * two matrices as wide as the MLP that are written, and read again.
 */
#include <string.h>

#include "runtime/executor.h"
#include "runtime/linear.h"
#include "runtime/primitives.h"
#include "runtime/stages.h"

enum { GATED_ROWS = 256 }; /* rows of a strip that make a piece of work, of each side of a gate */

typedef struct linear {
    const dlx_gemm *gemm;
    dlx_gemm_shape shape;
    const void *x, *packed;
    float *y;
    size_t rows;
    size_t end; /* of its strips, among those of a stage */
} linear;

/* Strips of layers behind each other, or of both sides of a gate beside each other. */
typedef struct linears {
    const dlx_executor *ex;
    linear layer[DLX_STAGE_NODES];
    size_t n;
    float *gated; /* [rows][width] */
    bool swapped; /* the second layer is the gate */
} linears;

static linear linear_of(const dlx_executor *ex, const dlx_node *n)
{
    const dlx_program *p = ex->p;
    return (linear){.gemm = dlx_linear_gemm(&p->k, &p->g, n),
                    .shape = dlx_linear_shape(&p->g, n),
                    .x = ex->data[n->in[0]],
                    .packed = p->weights[n - p->g.nodes],
                    .y = ex->data[n->out[0]],
                    .rows = dlx_outer_count(&ex->shape[n->out[0]])};
}

/* Strips [begin, end), to y, where a row has `stride` numbers. */
static void run_strips(const linear *l, float *y, size_t stride, size_t begin, size_t end)
{
    l->gemm->run(y, stride, l->x, l->shape.n_in, l->rows, l->packed, l->shape, begin, end);
}

static void run_layers(void *arg, size_t begin, size_t end, size_t thread)
{
    const linears *l = arg;
    (void)thread;
    for (size_t i = 0, first = 0; i < l->n && first < end; first = l->layer[i++].end) {
        const linear *a = &l->layer[i];
        size_t from = begin > first ? begin - first : 0, to = (end < a->end ? end : a->end) - first;
        if (from < to) run_strips(a, a->y + from * a->gemm->strip, a->shape.n_out, from, to);
    }
}

/* Strips of one side that are computed before those of the other: of few rows many, so that weights are read front to
 * back for a while, as hardware expects it. */
static size_t gated_strips(size_t rows)
{
    return rows && rows < GATED_ROWS ? GATED_ROWS / rows : 1;
}

static void clear_tail(float *a, float *b, size_t begin, size_t end)
{
    memset(a + begin, 0, (end - begin) * sizeof *a);
    memset(b + begin, 0, (end - begin) * sizeof *b);
}

static void run_gated(void *arg, size_t begin, size_t end, size_t thread)
{
    const linears *l = arg;
    const linear *gate = &l->layer[l->swapped], *up = &l->layer[!l->swapped];
    const size_t rows = gate->rows, strip = gate->gemm->strip, width = gate->shape.n_out, most = gated_strips(rows);
    float *a = (float *)(void *)(l->ex->scratch + thread * l->ex->scratch_stride), *b = a + rows * most * strip;
    for (size_t i = begin, n; i < end; i += n) {
        n = end - i < most ? end - i : most;
        size_t first = i * strip, columns = width - first < n * strip ? width - first : n * strip;
        run_strips(gate, a, n * strip, i, i + n);
        run_strips(up, b, n * strip, i, i + n);
        if (columns < n * strip) /* behind the matrix, where nothing was computed */
            for (size_t r = 0; r < rows; r++) clear_tail(a + r * n * strip, b + r * n * strip, columns, n * strip);
        l->ex->p->k.silu_mul(a, a, b, rows * n * strip);
        for (size_t r = 0; r < rows; r++) memcpy(l->gated + r * width + first, a + r * n * strip, columns * sizeof *a);
    }
}

void dlx_run_linear(dlx_executor *ex, const dlx_node *n)
{
    linears l = {.n = 1, .layer = {linear_of(ex, n)}};
    if (n->out[0] == dlx_caller_output(ex->p) && dlx_logits_are_split(ex->pass)) {
        dlx_run_logits(ex, n, l.layer[0].x, l.layer[0].rows);
        return;
    }
    l.layer[0].end = dlx_linear_strips(l.layer[0].gemm, l.layer[0].shape);
    dlx_pool_for(ex->pool, l.layer[0].end, 1, run_layers, &l);
}

static void run_gated_stage(dlx_executor *ex, const dlx_stage *s)
{
    const dlx_node *n = &ex->p->g.nodes[s->first], *product = n + 2;
    linears l = {.ex = ex,
                 .layer = {linear_of(ex, n), linear_of(ex, n + 1)},
                 .gated = ex->data[product->out[0]],
                 .swapped = product->in[0] == n[1].out[0]};
    if (dlx_shape_elements(&ex->shape[product->out[0]]) == 0) return;
    dlx_pool_for(ex->pool, dlx_linear_strips(l.layer[0].gemm, l.layer[0].shape), 1, run_gated, &l);
}

void dlx_run_linears(dlx_executor *ex, const dlx_stage *s)
{
    linears l = {.ex = ex};
    size_t strips = 0;
    if (s->kind == DLX_STAGE_GATED) {
        run_gated_stage(ex, s);
        return;
    }
    for (size_t i = s->first; i < s->end; i++) {
        const dlx_node *n = &ex->p->g.nodes[i];
        if (dlx_shape_elements(&ex->shape[n->out[0]]) == 0) continue;
        linear *a = &l.layer[l.n++];
        *a = linear_of(ex, n);
        strips += dlx_linear_strips(a->gemm, a->shape);
        a->end = strips;
    }
    dlx_pool_for(ex->pool, strips, 1, run_layers, &l);
}

uint64_t dlx_linears_scratch(const dlx_program *p, const dlx_shape *shape)
{
    uint64_t most = 0;
    for (size_t i = 0; i < p->n_stages; i++) {
        if (p->stages[i].kind != DLX_STAGE_GATED) continue;
        const dlx_node *n = &p->g.nodes[p->stages[i].first];
        uint64_t rows = dlx_outer_count(&shape[n->out[0]]), strip = dlx_linear_gemm(&p->k, &p->g, n)->strip;
        uint64_t bytes = 2 * strip * sizeof(float) * (rows > GATED_ROWS ? rows : GATED_ROWS);
        if (bytes > most) most = bytes;
    }
    return most;
}
