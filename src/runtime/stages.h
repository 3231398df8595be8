/*
 * Nodes that run as one loop. A pass over a decoder is some twenty small operators a layer, and each loop over all
 * threads ends with all of them waiting for the last. So linear layers of the same rows are one loop over all their
 * strips, and operators that work row by row on the same rows are one loop over the rows: a thread takes a few of them
 * through all of the operators, while they are in its cache. The two sides of a gated MLP and their product are one
 * loop over the product's strips. What a node computes does not change.
 */
#ifndef DLX_RUNTIME_STAGES_H
#define DLX_RUNTIME_STAGES_H

#include "runtime/program.h"

enum { DLX_STAGE_NODES = 8 }; /* at most, in a stage of several */

/* Makes p->stages; LINEARs of the same rows come to stand side by side before that. */
dlx_status dlx_stages_find(dlx_program *p, dlx_error *err);
void dlx_stages_free(dlx_program *p);

/* Whether a node is nothing but another view of its operand's bytes. */
static inline bool dlx_shares_operand(const dlx_node *n)
{
    return n->op == DLX_OP_RESHAPE || n->op == DLX_OP_COPY;
}

#endif
