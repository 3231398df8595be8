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

/* Says that the program has no such method, and which it has: DLX_E_UNSUPPORTED. */
dlx_status dlx_import_no_method(const dlx_pte *pte, const char *method, dlx_error *err);

/* Parts of the importer (import_*.c). */
typedef struct dlx_import_slot {
    uint32_t value; /* graph value that the EValue holds now, DLX_NONE: none yet */
    bool computed;  /* an Int, Bool or Double that an instruction wrote: `value` holds it, or it is `number` */
    bool known;     /* ... and it could be computed here: `number` */
    int64_t number; /* of a known Int or Bool */
    uint32_t place; /* of a planned tensor: its entry of dlx_importer.place, DLX_NONE: it is not planned */
    uint32_t epoch; /* of its place when it was written or read last */
    uint32_t state; /* graph input that it is a state of, DLX_NONE: none */
} dlx_import_slot;

/* Where planned tensors begin in memory. */
typedef struct dlx_import_place {
    int32_t last;   /* EValue that was written there last, -1: none yet */
    uint32_t epoch; /* counts the changes of what lies there */
} dlx_import_place;

typedef enum dlx_write_kind {
    DLX_WRITE_RESULT,   /* of an operator */
    DLX_WRITE_IN_PLACE, /* what was there has changed */
    DLX_WRITE_VIEW,     /* another shape for what is there */
} dlx_write_kind;

typedef struct dlx_importer {
    const dlx_pte *pte;
    const dlx_pte_plan *plan;
    dlx_graph *g;
    dlx_import_slot *slot;   /* [plan->n_values] */
    dlx_import_place *place; /* [number of places] */
    char at[256];            /* the operator that is imported now, for messages: "method 'forward', operator x" */
    dlx_error *err;
} dlx_importer;

dlx_status dlx_import_xnnpack(dlx_importer *im, const dlx_instruction *ins);
dlx_status dlx_import_kernel(dlx_importer *im, const dlx_instruction *ins);
/* The graph value that an EValue index stands for: a constant or a state is made on first use. */
dlx_status dlx_import_tensor(dlx_importer *im, int32_t evalue, uint32_t *out);
/* Element type and sizes that the file declares for a tensor. */
dlx_status dlx_import_declared(dlx_importer *im, int32_t evalue, int64_t dim[DLX_MAX_RANK], dlx_dtype *dtype);
/* Says that the tensor now holds `value`. Tensors at the same place in memory are one: whoever reads another of them
 * next, reads this value. */
dlx_status dlx_import_write(dlx_importer *im, int32_t evalue, uint32_t value, dlx_write_kind how);
/* What another tensor of the same type and size holds at the place of this one; DLX_NONE: there is none. */
dlx_status dlx_import_shared(dlx_importer *im, int32_t evalue, uint32_t *out);
/* Says that the tensor is `value`, a part of what lies at its place, until that changes. */
void dlx_import_part(dlx_importer *im, int32_t evalue, uint32_t value);
/* Appends a node; *out is its result. Operands of a type that the operator does not take are DLX_E_UNSUPPORTED. */
dlx_status dlx_import_node(dlx_importer *im, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr,
                           uint32_t *out);
/* A constant of one number, rank 0: F32 from `real`, integers and BOOL from `number`. */
dlx_status dlx_import_number(dlx_importer *im, dlx_dtype type, double real, int64_t number, uint32_t *out);

#endif
