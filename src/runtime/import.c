/* The method's instruction list: who writes which EValue, in order. */
#include "runtime/import.h"

#include <string.h>

dlx_status dlx_import_node(dlx_importer *im, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr,
                           uint32_t *out)
{
    dlx_error local = {0};
    *out = dlx_graph_node(im->g, op, in, inputs, attr, -1, &local);
    if (*out != DLX_NONE) return DLX_OK;
    if (local.status == DLX_OK) dlx_fail(&local, DLX_E_NOMEM, "out of memory reading method '%s'", im->plan->name);
    return dlx_fail(im->err, local.status, "%s", local.message);
}

/* Graph shapes are at most rank 6. */
static dlx_status tensor_shape(dlx_importer *im, int32_t evalue, int64_t dim[DLX_MAX_RANK], dlx_dtype *dtype)
{
    const dlx_pte_tensor *t = &im->plan->values[evalue].u.tensor;
    if (t->rank > DLX_MAX_RANK)
        return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s', value %d: rank %d is above %d", im->plan->name,
                        evalue, t->rank, DLX_MAX_RANK);
    if (!dlx_scalar_type_to_dtype(t->scalar_type, dtype))
        return dlx_fail(im->err, DLX_E_UNSUPPORTED,
                        "method '%s', value %d: tensors of scalar type %d are not supported", im->plan->name, evalue,
                        t->scalar_type);
    for (int d = 0; d < t->rank; d++) dim[d] = t->sizes[d];
    return DLX_OK;
}

dlx_status dlx_import_tensor(dlx_importer *im, int32_t evalue, uint32_t *out)
{
    *out = DLX_NONE;
    const dlx_evalue *v = &im->plan->values[evalue];
    if (v->kind != DLX_EV_TENSOR)
        return dlx_fail(im->err, DLX_E_FORMAT, "method '%s', value %d: a tensor is expected", im->plan->name, evalue);
    *out = im->value[evalue];
    if (*out != DLX_NONE) return DLX_OK;
    const dlx_pte_tensor *t = &v->u.tensor;
    if (t->blob == DLX_PTE_NO_BLOB)
        return dlx_fail(im->err, DLX_E_UNSUPPORTED,
                        "method '%s', value %d is read before anything writes it (state kept inside programs is not "
                        "supported; export with explicit caches)",
                        im->plan->name, evalue);
    int64_t dim[DLX_MAX_RANK];
    dlx_dtype dtype;
    DLX_TRY(tensor_shape(im, evalue, dim, &dtype));
    const dlx_pte_blob *blob = &im->pte->blobs[t->blob];
    dlx_const_source source = {.data = blob->data, .bytes = t->bytes, .stored = dtype, .mapped = true};
    *out = dlx_graph_const(im->g, t->name, dtype, t->rank, dim, source);
    if (*out == DLX_NONE) return dlx_fail(im->err, DLX_E_NOMEM, "out of memory reading method '%s'", im->plan->name);
    im->value[evalue] = *out;
    return DLX_OK;
}

/* Which dimensions of a dynamic input vary is not in the file: all of an integer vector, the first one of a cache or
 * mask; a one-element dimension does not. */
static unsigned input_dynamic(const dlx_pte_tensor *t)
{
    if (!t->dynamic) return 0;
    for (int d = 0; d < t->rank; d++)
        if (t->sizes[d] != 1) return 1u << d;
    return 0;
}

static dlx_status import_inputs(dlx_importer *im)
{
    const dlx_pte_plan *plan = im->plan;
    for (uint32_t i = 0; i < plan->n_inputs; i++) {
        int32_t e = plan->inputs[i];
        int64_t dim[DLX_MAX_RANK];
        dlx_dtype dtype;
        if (plan->values[e].kind != DLX_EV_TENSOR)
            return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s': input %u is not a tensor", plan->name, i);
        DLX_TRY(tensor_shape(im, e, dim, &dtype));
        const dlx_pte_tensor *t = &plan->values[e].u.tensor;
        im->value[e] = dlx_graph_input(im->g, t->name, dtype, t->rank, dim, input_dynamic(t));
        if (im->value[e] == DLX_NONE)
            return dlx_fail(im->err, DLX_E_NOMEM, "out of memory reading method '%s'", plan->name);
    }
    return DLX_OK;
}

static dlx_status import_instruction(dlx_importer *im, uint32_t i)
{
    const dlx_instruction *ins = &im->plan->instructions[i];
    switch (ins->kind) {
    case DLX_INS_KERNEL: return dlx_import_kernel(im, ins);
    case DLX_INS_DELEGATE: {
        const char *id = im->plan->delegates[ins->index].id;
        if (strcmp(id, "XnnpackBackend") != 0)
            return dlx_fail(im->err, DLX_E_UNSUPPORTED,
                            "method '%s' uses delegate '%s'; this runtime executes XnnpackBackend", im->plan->name, id);
        return dlx_import_xnnpack(im, ins);
    }
    case DLX_INS_FREE: return DLX_OK;
    case DLX_INS_MOVE: im->value[ins->target] = im->value[ins->index]; return DLX_OK;
    case DLX_INS_JUMP_FALSE: break;
    }
    return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s', instruction %u: conditional jumps are not supported",
                    im->plan->name, i);
}

static dlx_status import_all(dlx_importer *im)
{
    const dlx_pte_plan *plan = im->plan;
    DLX_TRY(import_inputs(im));
    for (uint32_t i = 0; i < plan->n_instructions; i++) DLX_TRY(import_instruction(im, i));
    for (uint32_t i = 0; i < plan->n_outputs; i++) {
        uint32_t v;
        DLX_TRY(dlx_import_tensor(im, plan->outputs[i], &v));
        if (!dlx_graph_output(im->g, v))
            return dlx_fail(im->err, DLX_E_NOMEM, "out of memory reading method '%s'", plan->name);
    }
    return dlx_graph_verify(im->g, im->err);
}

dlx_status dlx_import_method(dlx_graph *g, const dlx_pte *pte, const char *method, const dlx_allocator *mem,
                             dlx_error *err)
{
    dlx_graph_init_with(g, mem);
    dlx_importer im = {.pte = pte, .plan = dlx_pte_find_plan(pte, method), .g = g, .err = err};
    if (!im.plan) return dlx_fail(err, DLX_E_UNSUPPORTED, "the program has no method '%s'", method);
    size_t n = im.plan->n_values;
    im.value = dlx_mem_array(mem, n, sizeof *im.value);
    im.computed = dlx_mem_zeroed(mem, n, sizeof *im.computed);
    dlx_status s = DLX_OK;
    if (!im.value || !im.computed) {
        s = dlx_fail(err, DLX_E_NOMEM, "out of memory reading method '%s'", method);
    } else {
        memset(im.value, 0xFF, n * sizeof *im.value);
        s = import_all(&im);
    }
    dlx_mem_free(mem, im.value, n, sizeof *im.value);
    dlx_mem_free(mem, im.computed, n, sizeof *im.computed);
    if (s != DLX_OK) dlx_graph_free(g);
    return s;
}
