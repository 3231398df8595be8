/* Inside of a bench: what was measured, for whoever reads or reckons with it. */
#ifndef DLX_API_BENCH_H
#define DLX_API_BENCH_H

#include "diffulex_edge/bench.h"

#include "engine/model.h"

enum { DLX_BENCH_ROWS = 64, DLX_BENCH_TURNS = 1000 };

struct dlx_bench {
    dlx_bench_info info;
    dlx_model_facts facts;
    dlx_bench_pass pass[DLX_BENCH_ROWS]; /* [info.passes] ascending */
};

/* Fills what a pass of pass->rows rows behind `context` cached positions of this type reads and computes at least. */
void dlx_bench_work(const dlx_model *m, dlx_dtype kv_type, int32_t context, dlx_bench_pass *pass);

/* Milliseconds of a pass of so many rows that computes logits of `logits` of them, from what was measured. */
double dlx_bench_cost(const dlx_bench *b, int32_t rows, int32_t logits);

#endif
