/* A lowered graph as a file: what an export's driver does, without everything else in it. */
#ifndef DLX_TESTS_PTE_FILE_H
#define DLX_TESTS_PTE_FILE_H

#include "base/output.h"
#include "format/pte.h"
#include "quant/quant.h"

static inline dlx_status pte_bytes_out(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    return dlx_output_write(ctx, bytes, n, err);
}

static inline dlx_status pte_constant_out(void *ctx, const void *user, uint64_t size, dlx_output *out, dlx_error *err)
{
    (void)ctx;
    (void)size;
    return dlx_const_stream(user, NULL, pte_bytes_out, out, err);
}

static inline dlx_status write_pte_file(const char *path, const dlx_pte_plan *plan, dlx_pte_blob *blobs,
                                        uint32_t n_blobs, dlx_error *err)
{
    dlx_output out;
    dlx_pte pte = {.plans = plan, .n_plans = 1, .blobs = blobs, .n_blobs = n_blobs};
    DLX_TRY(dlx_output_open(&out, path, err));
    dlx_status s = dlx_pte_write(&pte, &out, pte_constant_out, NULL, err);
    if (s == DLX_OK) s = dlx_output_commit(&out, err);
    dlx_output_close(&out);
    return s;
}

#endif
