/* Inside of the QNN backend: names that expand.c gives and grids.c knows, and which operators there are. */
#ifndef DLX_BACKENDS_QNN_OPERATORS_H
#define DLX_BACKENDS_QNN_OPERATORS_H

#include "graph/graph.h"

/* Behind the name of an ATTENTION: its products, the mask that is added to them, and the sum. */
#define DLX_QNN_SCORES "scores"
#define DLX_QNN_MASK   "mask"
#define DLX_QNN_MASKED "masked"

/* The lookup whose rows a value is, or is what a quantised table's rows become; NULL: it is something else. */
const dlx_node *dlx_qnn_rows(const dlx_graph *g, uint32_t value);

/* QNN's operator for one that has no parameters and operands of one kind; NULL: none. */
const char *dlx_qnn_simple_operator(dlx_op op);

#endif
