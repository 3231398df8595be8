/*
 * Where the elements of a value come from: a view is a value with some of its dimensions fixed to an index, and it is
 * followed backwards through operators that only move elements: reshapes by dimensions of 1, transposes, slices, joins,
 * broadcasts, selections by index. What is moved how is the program's own business; which element ends up where is not.
 */
#ifndef DLX_RUNTIME_RAISE_VIEW_H
#define DLX_RUNTIME_RAISE_VIEW_H

#include "graph/graph.h"

enum { DLX_VIEW_WHOLE = -1 };

typedef struct dlx_view {
    uint32_t v;
    int64_t at[DLX_MAX_RANK];  /* index of each dimension; DLX_VIEW_WHOLE: all of it */
    int8_t name[DLX_MAX_RANK]; /* of whole dimensions: what the caller calls them; -1: a dimension of 1, or one along
                                  which what began the walk repeats */
} dlx_view;

/* All of v, dimension i called i. */
dlx_view dlx_view_of(const dlx_graph *g, uint32_t v);
/* The dimension with that name; -1: there is none. */
int dlx_view_find(const dlx_graph *g, const dlx_view *x, int8_t name);
/* Back through one operator that only moves elements; false: there is none. */
bool dlx_view_step(const dlx_graph *g, dlx_view *x);
/* As far back as elements only move. */
void dlx_view_walk(const dlx_graph *g, dlx_view *x);
/* Operand k of the element-wise operator, or of the BMM, that the view has come to. Of a BMM the last dimension of the
 * first operand and the one that it is multiplied with get the name `inner`. */
dlx_view dlx_view_operand(const dlx_graph *g, const dlx_view *x, const dlx_node *n, int k, int8_t inner);

#endif
