/*
 * The methods of a program that is exported: one decoder, as a graph for each number of rows that a call may have, over
 * one copy of its constants.
 */
#ifndef DLX_EXPORT_METHODS_H
#define DLX_EXPORT_METHODS_H

#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/decode.h"
#include "diffulex_edge/export.h"

#include "base/arena.h"
#include "base/status.h"
#include "export/choices.h"
#include "format/pte.h"
#include "graph/graph.h"

enum { DLX_MOST_METHODS = 1 + DLX_MOST_METHOD_ROWS };

typedef struct dlx_methods {
    size_t n;
    dlx_graph graph[DLX_MOST_METHODS];
    const char *name[DLX_MOST_METHODS]; /* "forward", "forward_32" */
    int32_t rows[DLX_MOST_METHODS];     /* most of one call; the first are those of the facts */
} dlx_methods;

/* Empty graphs: one for facts->max_rows, and one for each of `more`, [n_more]. DLX_E_INVALID: numbers of rows that
 * there can be no method for, or two for the same. Free in any case, zeros too. */
dlx_status dlx_methods_init(dlx_methods *m, dlx_arena *arena, const dlx_model_facts *facts, const int32_t *more,
                            size_t n_more, dlx_error *err);
void dlx_methods_free(dlx_methods *m);

/* The graphs are built and quantised alike, and what calibration found is in the first: the others read it from there,
 * too. */
void dlx_methods_take_weights(dlx_methods *m);

/* What the graphs are lowered to. */
typedef struct dlx_methods_target {
    const dlx_backend *backend;
    const void *options; /* the backend's; NULL: it has none */
    int32_t delegate_layers;
    const char *mark; /* the file's (format/keys.h) */
    dlx_pool *pool;
} dlx_methods_target;

/* Who may take nodes: the backend, and XNNPACK what that leaves. Returns how many there are. */
enum { DLX_METHODS_HOMES = 2 };
size_t dlx_methods_homes(dlx_home homes[DLX_METHODS_HOMES], const dlx_methods_target *to);

/*
 * The decomposed graphs as plans, [m->n], and one list of blobs for all of them, in the order that dlx_pte_write wants:
 * constants of one name and the same bytes are there once, and where the bytes differ those of the later graph get
 * "@" and the method's name behind theirs. A single graph gives what the backend made of it.  */
dlx_status dlx_methods_lower(dlx_methods *m, dlx_pte_plan **plans, dlx_pte_blob **blobs, uint32_t *n_blobs,
                             const dlx_methods_target *to, dlx_arena *arena, dlx_error *err);

#endif
