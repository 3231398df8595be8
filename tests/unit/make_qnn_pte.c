/*
 * Writes the decoder of a checkpoint as a program for a Qualcomm chip, for checks in the official runtime on the
 * emulator: make_qnn_pte CHECKPOINT FILE.pte CHIP ROWS CONTEXT
 *
 * forward: tokens [T], positions [T] I64, mask [T, P+T] F32, k_0 [P,K,D], v_0, ... F16 -> logits [T,V] F32, k_0, v_0, ...
 * Exit status 77: there are no libraries of Qualcomm's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/lower.h"
#include "backends/qnn/qnn.h"
#include "base/output.h"
#include "model/checkpoint.h"
#include "quant/quant.h"

enum { NO_LIBRARIES = 77 };

static dlx_status sink(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    return dlx_output_write(ctx, bytes, n, err);
}

static dlx_status stream(void *ctx, const void *user, uint64_t size, dlx_output *out, dlx_error *err)
{
    (void)ctx;
    (void)size;
    return dlx_const_stream(user, NULL, sink, out, err);
}

static dlx_status write_file(const char *path, const dlx_pte_plan *plan, dlx_pte_blob *blobs, uint32_t n_blobs,
                             dlx_error *err)
{
    dlx_output out;
    dlx_pte pte = {.plans = plan, .n_plans = 1, .blobs = blobs, .n_blobs = n_blobs};
    DLX_TRY(dlx_output_open(&out, path, err));
    dlx_status s = dlx_pte_write(&pte, &out, stream, NULL, err);
    if (s == DLX_OK) s = dlx_output_commit(&out, err);
    dlx_output_close(&out);
    return s;
}

static dlx_status make(char **argv, dlx_qnn *qnn, dlx_error *err)
{
    dlx_checkpoint c;
    dlx_graph g;
    dlx_arena arena;
    dlx_pte_plan plan;
    dlx_pte_blob *blobs;
    uint32_t n_blobs;
    const dlx_lower_request request = {
        .how = {.method = "forward", .options = qnn}, .homes = &dlx_qnn_home, .n_homes = 1};
    DLX_TRY(dlx_checkpoint_open(&c, argv[1], NULL, err));
    dlx_graph_init(&g);
    dlx_arena_init(&arena);
    dlx_status s = dlx_build_graph(&g, &c, DLX_KV_FIXED_F16, atoi(argv[4]), atoi(argv[5]), err);
    if (s == DLX_OK) s = dlx_lower(&plan, &blobs, &n_blobs, &arena, &g, &request, err);
    if (s == DLX_OK) s = write_file(argv[2], &plan, blobs, n_blobs, err);
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
    dlx_checkpoint_close(&c);
    return s;
}

int main(int argc, char **argv)
{
    dlx_error err = {0};
    dlx_qnn *qnn;
    if (argc != 6) return fprintf(stderr, "make_qnn_pte CHECKPOINT FILE.pte CHIP ROWS CONTEXT\n"), 2;
    dlx_qnn_options options = {.chip = argv[3], .folder = getenv("DLX_QNN_LIBRARIES")};
    dlx_status s = dlx_qnn_open(&qnn, &options, &err);
    if (s == DLX_OK) {
        s = make(argv, qnn, &err);
        dlx_qnn_close(qnn);
        if (s == DLX_OK) return 0;
    }
    fprintf(stderr, "make_qnn_pte: %s\n", err.message);
    return s == DLX_E_UNSUPPORTED && !qnn ? NO_LIBRARIES : 1;
}
