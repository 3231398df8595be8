/*
 * The model behind the server: weights, tokenizer, the workspace of all sequences, the batcher that puts the passes of
 * all seats together, and the sequences that are kept.
 */
#ifndef DLX_SRV_ENGINE_H
#define DLX_SRV_ENGINE_H

#include "cache.h"
#include "constraints.h"
#include "diffulex_edge/diffulex_edge.h"
#include "server.h"

enum { DLX_SRV_MEASURED = 9 };

typedef struct dlx_srv_engine {
    dlx_model *model;
    const dlx_model_facts *facts;
    dlx_tokenizer *tokenizer;
    dlx_workspace *workspace;
    dlx_batcher *batcher;
    dlx_srv_cache cache;
    dlx_srv_constraints constraints;
    bool has_cache, has_constraints;
    char *name;         /* what clients call the model: the file's name, no path */
    int seats, queue;   /* answers that are made at one time, and those that may wait beside them */
    int32_t row_budget; /* rows of one pass, all sequences together */
    struct {
        int32_t rows;
        double ms;
    } measured[DLX_SRV_MEASURED]; /* [n_measured] what that was chosen from */
    size_t n_measured;
} dlx_srv_engine;

dlx_status dlx_srv_engine_open(dlx_srv_engine *e, const dlx_server_options *options, dlx_error *err);
void dlx_srv_engine_close(dlx_srv_engine *e);
/* Part of open: constraints over the engine's tokenizer. False when the system refuses a lock. */
bool dlx_srv_engine_open_constraints(dlx_srv_engine *e);

/* The number of rows of one pass from which on more of them bring little: the fewest whose rate is 9 tenths of the
 * best. ms [n] of passes of rows [n], ascending. */
int32_t dlx_srv_row_budget(const int32_t *rows, const double *ms, size_t n);

/* Puts the sentence into err, which may be NULL; returns the status. */
dlx_status dlx_srv_fail(dlx_error *err, dlx_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
