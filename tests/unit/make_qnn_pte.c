/*
 * Writes the decoder of a checkpoint as a program for a Qualcomm chip, for checks in the official runtime on the
 * emulator: make_qnn_pte CHECKPOINT FILE.pte CHIP ROWS CONTEXT FORM LAYERS
 *
 * FORM is that of the layers' weights; "none": everything is floats of 16 bits, else values have 16 bits, with ranges
 * measured on made-up sequences. LAYERS go to a delegate, 0: all.
 *
 * forward: tokens [T], positions [T] I64, mask [T, P+T] F32, k_0 [P,K,D], v_0, ... F16 -> logits [T,V] F32, k_0, v_0,
 * ...
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/lower.h"
#include "backends/qnn/qnn.h"
#include "backends/qnn/stages.h"
#include "calibrate/value_ranges.h"
#include "model/checkpoint.h"
#include "pte_file.h"

enum { SAMPLES = 40 };

/* Sequences that no text has: of random tokens, masked as the samples of calibration are. */
static dlx_status make_samples(dlx_samples *out, const dlx_checkpoint *c, int32_t length, dlx_error *err)
{
    int32_t ids[512];
    uint32_t seed = 11;
    dlx_samples_options o = {.count = SAMPLES, .length = length};
    DLX_TRY(dlx_samples_options_complete(&o, c, err));
    DLX_TRY(dlx_samples_begin(out, c, SAMPLES, err));
    dlx_status s = DLX_OK;
    for (int i = 0; s == DLX_OK && i < SAMPLES; i++) {
        for (int32_t k = 0; k < length; k++) {
            seed = seed * 1664525u + 1013904223u;
            ids[k] = (int32_t)(seed >> 8) % c->facts.vocab_size;
        }
        s = dlx_samples_add(out, c, &o, ids, (size_t)length, (size_t)length / 4, err);
    }
    if (s != DLX_OK) dlx_samples_free(out);
    return s;
}

static dlx_status measure(dlx_ranges *out, const dlx_checkpoint *c, int32_t rows, dlx_error *err)
{
    dlx_graph g;
    dlx_arena arena;
    dlx_samples samples;
    dlx_qnn_stages stages;
    dlx_pool *pool;
    DLX_TRY(dlx_pool_create(&pool, 1, err));
    dlx_layerwise_options run = dlx_layerwise_on(pool);
    dlx_graph_init(&g);
    dlx_arena_init(&arena);
    dlx_status s = dlx_build_graph(&g, c, DLX_KV_FIXED, rows, rows, err);
    if (s == DLX_OK) s = dlx_qnn_stages_make(&stages, &arena, &g, err);
    if (s == DLX_OK) s = make_samples(&samples, c, rows, err);
    if (s == DLX_OK) {
        s = dlx_value_ranges_measure(out, NULL, &(dlx_value_stages){stages.n, dlx_qnn_stage, &stages}, &samples, &run,
                                     err);
        dlx_samples_free(&samples);
    }
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
    dlx_pool_free(pool);
    return s;
}

static bool find(void *ctx, const char *name, float *low, float *high)
{
    const dlx_tensor_range *r = dlx_ranges_find(ctx, name);
    if (!r) return false;
    *low = r->bounds.low;
    *high = r->bounds.high;
    return true;
}

static dlx_status lower(char **argv, const dlx_checkpoint *c, const dlx_qnn_options *options, dlx_error *err)
{
    dlx_graph g;
    dlx_arena arena;
    dlx_pte_plan plan;
    dlx_pte_blob *blobs;
    dlx_qnn *qnn;
    uint32_t n_blobs;
    dlx_home home = dlx_qnn_home;
    const dlx_recipe recipe = {.body = dlx_form_find(argv[6]),
                               .head = dlx_form_find(options->ranges ? "int8-dynamic" : "none"),
                               .table = dlx_form_find("none")};
    home.layers = atoi(argv[7]);
    DLX_TRY(dlx_qnn_open(&qnn, options, err));
    const dlx_lower_request request = {.how = {.method = "forward", .options = qnn}, .homes = &home, .n_homes = 1};
    dlx_graph_init(&g);
    dlx_arena_init(&arena);
    dlx_status s = dlx_build_graph(&g, c, DLX_KV_FIXED_F16, atoi(argv[4]), atoi(argv[5]), err);
    if (s == DLX_OK) s = dlx_quantize(&g, &recipe, err);
    if (s == DLX_OK) s = dlx_lower(&plan, &blobs, &n_blobs, &arena, &g, &request, err);
    if (s == DLX_OK) s = write_pte_file(argv[2], &plan, blobs, n_blobs, err);
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
    dlx_qnn_close(qnn);
    return s;
}

int main(int argc, char **argv)
{
    dlx_error err = {0};
    dlx_checkpoint c;
    dlx_ranges ranges = {.n = 0};
    dlx_activation_ranges of = {.find = find, .ctx = &ranges};
    if (argc != 8) return fprintf(stderr, "make_qnn_pte CHECKPOINT FILE.pte CHIP ROWS CONTEXT FORM LAYERS\n"), 2;
    bool values = strcmp(argv[6], "none") != 0;
    dlx_qnn_options options = {
        .chip = argv[3], .folder = getenv("DLX_QNN_LIBRARIES"), .ranges = values ? &of : NULL, .program = argv[2]};
    dlx_status s = dlx_checkpoint_open(&c, argv[1], NULL, &err);
    if (s == DLX_OK) {
        if (values) s = measure(&ranges, &c, atoi(argv[4]), &err);
        if (s == DLX_OK) s = lower(argv, &c, &options, &err);
        dlx_ranges_free(&ranges);
        dlx_checkpoint_close(&c);
    }
    if (s != DLX_OK) fprintf(stderr, "make_qnn_pte: %s\n", err.message);
    return s == DLX_OK ? 0 : 1;
}
