/* The structures of bench.h for test_shorter_structures.c, which includes this behind what all cases share. */
#ifndef SHORTER_BENCH_H
#define SHORTER_BENCH_H

static dlx_status bench_with(void *options, dlx_error *err)
{
    dlx_bench *b = NULL;
    dlx_status s = dlx_bench_run(&b, model, options, err);
    dlx_bench_free(b);
    return s;
}

static void check_dlx_bench_options(void **state)
{
    (void)state;
    dlx_bench_options o = {.struct_size = sizeof o, .turns = 1};
    dlx_error err = {0};
    assert_int_equal(dlx_model_open(&model, program, NULL, NULL), DLX_OK);
    check_taken(SUBJECT(dlx_bench_options, bench_with), &o);
    o.turns = -1;
    assert_int_equal(bench_with(&o, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "turns is -1"));
    dlx_model_close(model);
}

/* What is read of one that was run; its times differ from run to run, so it is run once. */
static dlx_bench *bench;

static dlx_status read_bench_info(void *out, dlx_error *err)
{
    return told(dlx_bench_get_info(bench, out), "dlx_bench_info", err);
}

static dlx_status read_bench_pass(void *out, dlx_error *err)
{
    return told(dlx_bench_get_pass(bench, 0, out), "dlx_bench_pass", err);
}

static dlx_status estimate(void *out, dlx_error *err)
{
    return dlx_bench_estimate(bench, NULL, 1, 4, out, err);
}

static void check_bench(subject s, size_t same)
{
    dlx_bench_options o = {.struct_size = sizeof o, .turns = 1};
    assert_int_equal(dlx_model_open(&model, program, NULL, NULL), DLX_OK);
    assert_int_equal(dlx_bench_run(&bench, model, &o, NULL), DLX_OK);
    dlx_model_close(model);
    check_filled(s, same);
    dlx_bench_free(bench);
}

static void check_dlx_bench_info(void **state)
{
    (void)state;
    check_bench(SUBJECT(dlx_bench_info, read_bench_info), sizeof(dlx_bench_info));
}

static void check_dlx_bench_pass(void **state)
{
    (void)state;
    check_bench(SUBJECT(dlx_bench_pass, read_bench_pass), sizeof(dlx_bench_pass));
}

static void check_dlx_bench_decode(void **state)
{
    (void)state;
    check_bench(SUBJECT(dlx_bench_decode, estimate), sizeof(dlx_bench_decode));
}

#endif
