/*
 * Programs whose shapes never vary, exported from the tiny checkpoints, behind sessions that this library's own methods
 * run: what the official runtime is elsewhere. cmocka comes first.
 */
#ifndef DLX_TESTS_FIXED_RUNNER_H
#define DLX_TESTS_FIXED_RUNNER_H

#include "fail_fixture.h"

enum { RUNNER_METHODS = 4, RUNNER_TENSORS = 64 };

typedef struct runner {
    dlx_fixed_program *program;
    dlx_fixed_session *session;
    dlx_method *method[RUNNER_METHODS];
    dlx_tensor input[RUNNER_METHODS][RUNNER_TENSORS];
    size_t n_inputs;
    int ran[64]; /* rows of the methods that ran, in order */
    size_t runs;
    size_t fail_at;                                              /* this run fails, counted from 1 */
    void (*spoil)(const struct runner *r, const void **outputs); /* what came out is changed; may be NULL */
} runner;

static inline dlx_status run_method_of(void *ctx, size_t method, const void **outputs, dlx_error *err)
{
    runner *r = ctx;
    r->ran[r->runs++ % 64] = r->program->method_rows[method];
    if (r->fail_at && r->fail_at == r->runs) {
        err->status = DLX_E_IO;
        snprintf(err->message, sizeof err->message, "the accelerator was unplugged");
        return DLX_E_IO;
    }
    dlx_status s = dlx_method_run(r->method[method], r->input[method], r->n_inputs, err);
    for (size_t i = 0; s == DLX_OK && i < r->n_inputs - 2; i++) {
        dlx_tensor t = {.struct_size = sizeof t};
        s = dlx_method_output(r->method[method], i, &t, err);
        outputs[i] = t.data;
    }
    if (s == DLX_OK && r->spoil) r->spoil(r, outputs);
    return s;
}

static inline void export_fixed(const char *path, const char *family, const char *kv, const char *quantization,
                                int32_t max_rows, const int32_t *more, size_t n_more)
{
    char checkpoint[1024];
    dlx_error err = {0};
    checkpoint_of(checkpoint, family);
    dlx_export_options o = tiny_export(checkpoint, path, false);
    o.quantization = quantization;
    o.kv = kv;
    o.max_seq_len = 128;
    o.max_rows = max_rows;
    o.method_rows = more;
    o.n_method_rows = n_more;
    if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s, %s: %s", family, kv, err.message);
}

static inline void open_runner(runner *r, const char *path)
{
    memset(r, 0, sizeof *r);
    CHECK(dlx_fixed_program_read(&r->program, path, err));
    assert_in_range(r->program->n_methods, 1, RUNNER_METHODS);
    r->n_inputs = 3 + 2 * (size_t)r->program->layers;
    assert_true(r->n_inputs <= RUNNER_TENSORS);
    CHECK(dlx_fixed_open(&r->session, r->program, run_method_of, r, NULL, err));
    for (size_t m = 0; m < r->program->n_methods; m++) {
        dlx_method_options o = dlx_method_options_default();
        o.threads = 1;
        CHECK(dlx_method_open(&r->method[m], path, r->program->method_names[m], &o, err));
        for (size_t i = 0; i < r->n_inputs; i++) {
            r->input[m][i].struct_size = sizeof r->input[m][i];
            CHECK(dlx_fixed_input(r->session, m, i, &r->input[m][i], err));
        }
    }
}

static inline void close_runner(runner *r)
{
    for (size_t m = 0; m < r->program->n_methods; m++) dlx_method_close(r->method[m]);
    dlx_fixed_close(r->session);
    dlx_fixed_program_free(r->program);
}

#endif
