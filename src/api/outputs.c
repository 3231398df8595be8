/* Results as files that other tools read. */
#include <stdlib.h>

#include "diffulex_edge/method.h"
#include "diffulex_edge/model.h"

#include "base/output.h"
#include "base/sizes.h"
#include "base/structs.h"
#include "format/pte.h"
#include "format/safetensors.h"

dlx_status dlx_check_output(const char *path, const char *const *reading, size_t n, dlx_error *err)
{
    if (!path || (n && !reading))
        return dlx_fail(err, DLX_E_INVALID, "dlx_check_output: a path and the paths that are read are needed");
    return dlx_output_possible(path, reading, n, err);
}

dlx_status dlx_write_logits(const char *path, const float *logits, int32_t rows, int32_t vocab, dlx_error *err)
{
    if (!path || !logits || rows < 1 || vocab < 1)
        return dlx_fail(err, DLX_E_INVALID, "dlx_write_logits: a path and at least one row of one logit are needed");
    dlx_st_tensor tensor = {
        .name = "logits",
        .dtype = DLX_F32,
        .rank = 2,
        .dim = {rows, vocab},
        .data = (const uint8_t *)logits,
        .file = path,
        .bytes = (uint64_t)rows * (uint64_t)vocab * sizeof *logits,
    };
    return dlx_safetensors_write(path, &tensor, 1, err);
}

static dlx_status describe(dlx_st_tensor *out, const char *name, const dlx_tensor *t, dlx_error *err)
{
    *out = (dlx_st_tensor){.name = name, .data = t->data};
    if (!name) return dlx_fail(err, DLX_E_INVALID, "a tensor to write has no name");
    if (!dlx_scalar_type_to_dtype(t->element, &out->dtype))
        return dlx_fail(err, DLX_E_INVALID, "tensor '%s' has element type %d, which there is not", name, t->element);
    if (t->rank < 0 || t->rank > DLX_TENSOR_MAX_RANK)
        return dlx_fail(err, DLX_E_INVALID, "tensor '%s' has rank %d; 0 to %d are possible", name, t->rank,
                        DLX_TENSOR_MAX_RANK);
    out->rank = (uint8_t)t->rank;
    out->bytes = dlx_dtype_size(out->dtype);
    for (int d = 0; d < t->rank; d++) {
        out->dim[d] = t->size[d];
        if (t->size[d] < 0 || !dlx_mul_u64(out->bytes, (uint64_t)t->size[d], &out->bytes))
            return dlx_fail(err, DLX_E_INVALID, "tensor '%s' has a size of %lld", name, (long long)t->size[d]);
    }
    if (out->bytes && !t->data) return dlx_fail(err, DLX_E_INVALID, "tensor '%s' has no data", name);
    return DLX_OK;
}

dlx_status dlx_write_tensors(const char *path, const char *const *names, const dlx_tensor *tensors, size_t n,
                             dlx_error *err)
{
    if (!path || (n && (!names || !tensors)))
        return dlx_fail(err, DLX_E_INVALID, "dlx_write_tensors: a path, names and tensors are needed");
    dlx_tensor *known = calloc(n + 1, sizeof *known);
    dlx_st_tensor *list = calloc(n + 1, sizeof *list);
    dlx_status s = DLX_OK;
    if (!known || !list) s = dlx_fail(err, DLX_E_NOMEM, "out of memory writing '%s'", path);
    for (size_t i = 0; s == DLX_OK && i < n; i++) known[i].struct_size = sizeof *known;
    if (s == DLX_OK && n) s = dlx_struct_array_in(known, sizeof *known, tensors, n, "dlx_tensor", err);
    for (size_t i = 0; s == DLX_OK && i < n; i++) s = describe(&list[i], names[i], &known[i], err);
    if (s == DLX_OK) s = dlx_safetensors_write(path, list, n, err);
    free(known);
    free(list);
    return s;
}
