/*
 * Memory runs out at every place where measuring asks for it: timing passes of a model, reckoning a decode from them,
 * and probing how fast memory is read. As in test_out_of_memory.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fail_fixture.h"
#include "fail_memory.h"

typedef struct measuring {
    dlx_model *model;
    dlx_bench *bench;
} measuring;

static dlx_status run_bench(void *ctx, dlx_error *err)
{
    measuring *m = ctx;
    static const int32_t rows[] = {1, 4};
    dlx_bench_options o = {.struct_size = sizeof o, .turns = 1, .context = 32, .rows = rows, .n_rows = 2};
    dlx_bench *b = (dlx_bench *)1;
    dlx_status s;
    WATCHED(s, dlx_bench_run(&b, m->model, &o, err));
    if (s != DLX_OK) assert_null(b);
    dlx_bench_free(b);
    return s;
}

static dlx_status run_estimate(void *ctx, dlx_error *err)
{
    measuring *m = ctx;
    dlx_bench_decode d = {.struct_size = sizeof d, .algorithm = "rubbish", .passes = 77, .decode_ms = 77};
    dlx_status s;
    WATCHED(s, dlx_bench_estimate(m->bench, NULL, 2, 8, &d, err));
    if (s != DLX_OK) assert_true(!d.algorithm && !d.passes && d.decode_ms == 0);
    return s;
}

static dlx_status run_probe(void *ctx, dlx_error *err)
{
    double rate = 77;
    dlx_status s;
    (void)ctx;
    WATCHED(s, dlx_probe_run(0, NULL, &rate, err));
    assert_true((rate > 0) == (s == DLX_OK));
    return s;
}

static void measurements(void **state)
{
    measuring m;
    dlx_bench_options o = {.struct_size = sizeof o, .turns = 1};
    dlx_error err = {0};
    char path[1024];
    copy folder = new_folder();
    (void)state;
    path_in(path, folder.folder, "sdar.pte");
    export_tiny(path, "sdar", true);
    if (dlx_model_open(&m.model, path, NULL, &err) != DLX_OK || dlx_bench_run(&m.bench, m.model, &o, &err) != DLX_OK)
        fail_msg("%s", err.message);
    every_request_fails("time passes", run_bench, &m);
    every_request_fails("reckon a decode", run_estimate, &m);
    every_request_fails("probe reading", run_probe, &m);
    dlx_bench_free(m.bench);
    dlx_model_close(m.model);
    remove_copy(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(measurements)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
