/*
 * Stages of work that is reported in rows of samples through a layer.
 */
#ifndef DLX_EXPORT_STAGES_H
#define DLX_EXPORT_STAGES_H

#include "diffulex_edge/export.h"

typedef struct dlx_stages {
    dlx_stage_fn report; /* NULL: nobody asks */
    void *ctx;
    const char *name;
    uint64_t done, total; /* rows; total 0: not known */
} dlx_stages;

/* A tick of dlx_layerwise_options, ctx: the stages. */
static inline bool dlx_stages_tick(void *ctx, uint64_t rows)
{
    dlx_stages *s = ctx;
    s->done += rows;
    if (s->total && s->done > s->total) s->done = s->total;
    return !s->report || s->report(s->ctx, s->name, s->done, s->total);
}

static inline void dlx_stages_begin(dlx_stages *s, const char *name, uint64_t done, uint64_t total)
{
    s->name = name;
    s->done = done;
    s->total = total;
}

#endif
