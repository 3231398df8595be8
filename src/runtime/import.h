/*
 * From a verified .pte to a graph of primitive operators: instructions of the method and the nodes inside its XNNPACK
 * delegates become one SSA graph; constants are views into the file.
 */
#ifndef DLX_RUNTIME_IMPORT_H
#define DLX_RUNTIME_IMPORT_H

#include "base/status.h"
#include "format/pte.h"
#include "graph/graph.h"

/* An operator or tensor kind that cannot be represented is DLX_E_UNSUPPORTED and named. `g` is initialised here,
 * over the allocator `mem` (NULL: the C library); `pte` must outlive it. */
dlx_status dlx_import_method(dlx_graph *g, const dlx_pte *pte, const char *method, const dlx_allocator *mem,
                             dlx_error *err);

/* Parts of the importer (import_xnnpack.c, import_aten.c). */
typedef struct dlx_importer {
    const dlx_pte *pte;
    const dlx_pte_plan *plan;
    dlx_graph *g;
    uint32_t *value; /* [plan->n_values] graph value that an EValue holds now, DLX_NONE: none yet */
    bool *computed;  /* [plan->n_values] Int EValues written by an instruction: their number is not known here */
    dlx_error *err;
} dlx_importer;

dlx_status dlx_import_xnnpack(dlx_importer *im, const dlx_instruction *ins);
dlx_status dlx_import_kernel(dlx_importer *im, const dlx_instruction *ins);
/* The graph value an EValue index stands for: a constant is made on first use. */
dlx_status dlx_import_tensor(dlx_importer *im, int32_t evalue, uint32_t *out);
/* Appends a node; *out is its result. */
dlx_status dlx_import_node(dlx_importer *im, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr,
                           uint32_t *out);

#endif
