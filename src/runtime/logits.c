/*
 * Logits that do not go into one matrix: those of several callers, and rows that are summarised. Part after part of
 * their columns is computed for all rows in scratch, where it stays in the cache, and handed out, so that the weights
 * are read once for everybody and a row that is only summarised is never written down.
 */
#include <math.h>
#include <string.h>

#include "base/row_summary.h"
#include "runtime/executor.h"
#include "runtime/linear.h"

typedef struct job {
    dlx_executor *ex;
    const dlx_gemm *gemm;
    dlx_gemm_shape shape;
    const void *x, *packed;
    size_t rows, row_parts; /* parts: of a row */
} job;

static size_t row_parts(size_t width)
{
    return (width + DLX_ROW_PART - 1) / DLX_ROW_PART;
}

/* One part of all rows: its logits in scratch, then to whoever wants them. */
static void run_part(const job *j, size_t part, float *scratch)
{
    const dlx_pass *pass = j->ex->pass;
    const size_t strips = DLX_ROW_PART / j->gemm->strip, all = dlx_linear_strips(j->gemm, j->shape);
    size_t first = part * DLX_ROW_PART, left = j->shape.n_out - first, n = left < DLX_ROW_PART ? left : DLX_ROW_PART;
    size_t begin = part * strips, end = begin + strips < all ? begin + strips : all, row = 0;
    j->gemm->run(scratch, DLX_ROW_PART, j->x, j->shape.n_in, j->rows, j->packed, j->shape, begin, end);
    for (size_t i = 0; i < pass->n_logits; i++) {
        const dlx_logits_part *to = &pass->logits[i];
        for (size_t r = 0; r < to->rows; r++, row++) {
            const float *from = scratch + row * DLX_ROW_PART;
            if (to->summaries)
                j->ex->p->k.summarise(&j->ex->parts[row * j->row_parts + part], from, (int32_t)first, (int32_t)n,
                                      to->rules);
            if (!to->summaries || to->with_logits)
                memcpy(to->data + r * j->shape.n_out + first, from, n * sizeof *from);
        }
    }
}

static void run_parts(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    float *scratch = (float *)(void *)(j->ex->scratch + thread * j->ex->scratch_stride);
    for (size_t part = begin; part < end; part++) run_part(j, part, scratch);
}

/* Joins the parts of row `row`, from left to right. */
static dlx_row_summary join(const job *j, size_t row)
{
    const dlx_row_part *part = &j->ex->parts[row * j->row_parts];
    dlx_row_part all = dlx_row_part_none();
    for (size_t i = 0; i < j->row_parts; i++) dlx_row_part_join(&all, &part[i]);
    dlx_row_summary summary = dlx_row_part_summary(&all);
    if (!all.finite) summary.sum = NAN;
    return summary;
}

static void run_joins(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    const dlx_pass *pass = j->ex->pass;
    size_t row = 0;
    (void)thread;
    for (size_t i = 0; i < pass->n_logits; row += pass->logits[i++].rows)
        for (size_t r = row < begin ? begin - row : 0; pass->logits[i].summaries && r < pass->logits[i].rows; r++)
            if (row + r < end) pass->logits[i].summaries[r] = join(j, row + r);
}

bool dlx_logits_are_split(const dlx_pass *pass)
{
    return pass->n_logits > 1 || (pass->n_logits && pass->logits[0].summaries);
}

void dlx_run_logits(dlx_executor *ex, const dlx_node *n, const void *x, size_t rows)
{
    enum { ROW_GRAIN = 4 }; /* a row's parts are joined in microseconds */
    const dlx_program *p = ex->p;
    job j = {.ex = ex,
             .gemm = dlx_linear_gemm(&p->k, &p->g, n),
             .shape = dlx_linear_shape(&p->g, n),
             .x = x,
             .packed = p->weights[n - p->g.nodes],
             .rows = rows};
    j.row_parts = row_parts(j.shape.n_out);
    dlx_pool_for(ex->pool, j.row_parts, 1, run_parts, &j);
    dlx_pool_for(ex->pool, rows, ROW_GRAIN, run_joins, &j);
}

/* ---- what can be done, and what it takes ---- */

/* The LINEAR that computes the caller's output; NULL: something else does. */
static const dlx_node *logits_of(const dlx_program *p)
{
    const dlx_node *n = dlx_made_by(&p->g, dlx_caller_output(p));
    return n && n->op == DLX_OP_LINEAR ? n : NULL;
}

bool dlx_program_splits_logits(const dlx_program *p)
{
    return p->rows == DLX_NONE || dlx_program_summarises(p);
}

bool dlx_program_summarises(const dlx_program *p)
{
    const dlx_node *n = logits_of(p);
    return n && DLX_ROW_PART % dlx_linear_gemm(&p->k, &p->g, n)->strip == 0;
}

/* Rows of logits, at most. */
static uint64_t logits_rows(const dlx_program *p, const dlx_shape *shape)
{
    const dlx_shape *s = &shape[dlx_caller_output(p)];
    return (uint64_t)dlx_shape_elements(s) / (uint64_t)s->dim[s->rank - 1];
}

uint64_t dlx_logits_scratch(const dlx_program *p, const dlx_shape *shape)
{
    return dlx_program_summarises(p) ? logits_rows(p, shape) * DLX_ROW_PART * sizeof(float) : 0;
}

uint64_t dlx_logits_parts(const dlx_program *p, const dlx_shape *shape)
{
    if (!dlx_program_summarises(p)) return 0;
    return logits_rows(p, shape) * row_parts(dlx_linear_shape(&p->g, logits_of(p)).n_out) * sizeof(dlx_row_part);
}
