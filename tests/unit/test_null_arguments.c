/*
 * What every public function that can fail does with arguments that are missing or wrong: DLX_E_INVALID and a sentence,
 * never a crash, and out-parameters that are NULL or 0 whichever argument it was. One row a function; a new function
 * without a row is noticed by tests/package/check_null_rows.py. Here: threads, decoding, models, sessions, reports;
 * test_null_arguments_files.c has the others.
 */
#include "null_check.h"

static dlx_status forward_nothing(void *ctx, const dlx_forward_call *call, dlx_error *e)
{
    (void)ctx;
    (void)call;
    (void)e;
    return DLX_E_INTERNAL;
}

static dlx_model_facts good_facts(void)
{
    return *dlx_model_get_facts(g.model);
}

/* ---- bench.h ---- */

static void test_dlx_probe_run(void)
{
    double rate = 77;
    REFUSED(dlx_probe_run(0, NULL, NULL, &err));
    REFUSED(dlx_probe_run(SIZE_MAX, NULL, &rate, &err));
    assert_true(rate == 0);
    assert_false(dlx_get_probe_info(0, NULL));
}

static void test_dlx_bench_run(void)
{
    dlx_bench_options unset = {.struct_size = 0};
    REFUSED(dlx_bench_run(NULL, g.model, NULL, &err));
    EMPTIED(dlx_bench, b, dlx_bench_run(&b, NULL, NULL, &err));
    EMPTIED(dlx_bench, c, dlx_bench_run(&c, g.model, &unset, &err));
    dlx_bench_free(NULL);
    assert_false(dlx_bench_get_info(NULL, NULL));
    assert_false(dlx_bench_get_pass(NULL, 0, NULL));
}

static void test_dlx_bench_check(void)
{
    dlx_bench_options unset = {.struct_size = 0};
    const dlx_model_facts *facts = dlx_model_get_facts(g.model);
    int32_t context = 77;
    REFUSED(dlx_bench_check(facts, NULL, NULL, &err));
    REFUSED(dlx_bench_check(NULL, NULL, &context, &err));
    assert_int_equal(context, 0);
    context = 77;
    REFUSED(dlx_bench_check(facts, &unset, &context, &err));
    assert_int_equal(context, 0);
}

static void test_dlx_bench_estimate(void)
{
    dlx_bench_options o = {.struct_size = sizeof o, .turns = 1};
    dlx_bench_decode d = {.struct_size = sizeof d, .passes = 77}, unset = {.struct_size = 0};
    dlx_bench *b;
    assert_int_equal(dlx_bench_run(&b, g.model, &o, NULL), DLX_OK);
    REFUSED(dlx_bench_estimate(b, NULL, 1, 4, NULL, &err));
    REFUSED(dlx_bench_estimate(b, NULL, 1, 4, &unset, &err));
    REFUSED(dlx_bench_estimate(b, NULL, 0.5, 4, &d, &err));
    assert_int_equal(d.passes, 0);
    REFUSED(dlx_bench_estimate(b, NULL, 1, 0, &d, &err));
    REFUSED(dlx_bench_estimate(NULL, NULL, 1, 4, &d, &err));
    dlx_bench_free(b);
}

/* ---- threads.h, decode.h, completion.h ---- */

static void test_dlx_thread_pool_create(void)
{
    REFUSED(dlx_thread_pool_create(NULL, 1, &err));
    EMPTIED(dlx_thread_pool, p, dlx_thread_pool_create(&p, -1, &err));
    dlx_thread_pool_free(NULL);
    assert_int_equal(dlx_thread_pool_size(NULL), 0);
}

static void test_dlx_decode_options_create(void)
{
    REFUSED(dlx_decode_options_create(NULL, &err));
    dlx_decode_options_free(NULL);
    assert_false(dlx_decode_option_info(0, NULL));
    assert_int_equal(dlx_family_from_name(NULL), DLX_FAMILY_UNKNOWN);
}

static void test_dlx_decode_options_set(void)
{
    REFUSED(dlx_decode_options_set(NULL, "steps", "1", &err));
    REFUSED(dlx_decode_options_set(g.options, NULL, "1", &err));
    assert_int_equal(dlx_decode_options_set(g.options, "steps", NULL, &err), DLX_OK); /* unsets it */
}

static void test_dlx_decode_option_in_force(void)
{
    dlx_model_facts f = good_facts(), unset = f;
    char text[256] = "x";
    unset.struct_size = 0;
    REFUSED(dlx_decode_option_in_force(&f, NULL, prompt, 3, NULL, text, sizeof text, &err));
    assert_string_equal(text, "");
    REFUSED(dlx_decode_option_in_force(&f, NULL, prompt, 3, "seed", NULL, sizeof text, &err));
    REFUSED(dlx_decode_option_in_force(&f, NULL, prompt, 3, "seed", text, 0, &err));
    REFUSED(dlx_decode_option_in_force(NULL, NULL, prompt, 3, "seed", text, sizeof text, &err));
    REFUSED(dlx_decode_option_in_force(&unset, NULL, prompt, 3, "seed", text, sizeof text, &err));
    REFUSED(dlx_decode_option_in_force(&f, NULL, NULL, 3, "seed", text, sizeof text, &err));
    REFUSED(dlx_decode_option_in_force(&f, NULL, prompt, 3, "sneed", text, sizeof text, &err));
    FAILS(dlx_decode_option_in_force(&f, NULL, prompt, 3, "algorithm", text, 13, &err), DLX_E_LIMIT);
    assert_string_equal(text, "");
    assert_int_equal(dlx_decode_option_in_force(&f, g.options, prompt, 3, "algorithm", text, 14, &err), DLX_OK);
    assert_string_equal(text, "sdar.generate");
}

/* ---- constraint.h ---- */

static void test_dlx_decode_options_set_constraint(void)
{
    REFUSED(dlx_decode_options_set_constraint(NULL, NULL, &err));
    assert_int_equal(dlx_decode_options_set_constraint(g.options, NULL, &err), DLX_OK);
}

static void test_dlx_constraint_from_regex(void)
{
    const dlx_constraint_options unset = {.struct_size = 0},
                                 negative = {.struct_size = sizeof negative, .max_bytes = -1};
    REFUSED(dlx_constraint_from_regex(NULL, g.tokenizer, "a", 1, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_regex(&c, NULL, "a", 1, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_regex(&c, g.tokenizer, NULL, 1, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_regex(&c, g.tokenizer, "a", 1, &unset, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_regex(&c, g.tokenizer, "a", 1, &negative, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_regex(&c, g.tokenizer, "\xFF", 1, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_regex(&c, g.tokenizer, "(", 1, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_regex(&c, g.tokenizer, "[^\\s\\S]", 7, NULL, &err));
    dlx_constraint_free(NULL);
    assert_false(dlx_constraint_accepts(NULL, "a", 1));
}

static void test_dlx_constraint_from_schema(void)
{
    const dlx_constraint_options unset = {.struct_size = 0};
    REFUSED(dlx_constraint_from_schema(NULL, g.tokenizer, "{}", 2, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_schema(&c, NULL, "{}", 2, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_schema(&c, g.tokenizer, NULL, 2, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_schema(&c, g.tokenizer, "{}", 2, &unset, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_schema(&c, g.tokenizer, "[]", 2, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_schema(&c, g.tokenizer, "{\"enum\":[]}", 11, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_schema(&c, g.tokenizer, "{", 1, NULL, &err));
}

static void test_dlx_constraint_from_grammar(void)
{
    const dlx_constraint_options unset = {.struct_size = 0};
    static const char fine[] = "root ::= \"a\"", none[] = "root ::= \"a\" root";
    size_t n = sizeof fine - 1;
    REFUSED(dlx_constraint_from_grammar(NULL, g.tokenizer, fine, n, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_grammar(&c, NULL, fine, n, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_grammar(&c, g.tokenizer, NULL, n, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_grammar(&c, g.tokenizer, fine, n, &unset, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_grammar(&c, g.tokenizer, "\xFF", 1, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_grammar(&c, g.tokenizer, fine, n - 1, NULL, &err));
    EMPTIED(dlx_constraint, c, dlx_constraint_from_grammar(&c, g.tokenizer, none, sizeof none - 1, NULL, &err));
}

static void test_dlx_constraint_get_info(void)
{
    dlx_constraint *c;
    assert_int_equal(dlx_constraint_from_regex(&c, g.tokenizer, "a", 1, NULL, &err), DLX_OK);
    REFUSED(dlx_constraint_get_info(c, NULL, &err));
    CLEARED(dlx_constraint_info, info, dlx_constraint_get_info(NULL, &info, &err));
    assert_false(dlx_constraint_accepts(c, NULL, 1));
    dlx_constraint_free(c);
}

static void test_dlx_generate(void)
{
    dlx_model_facts f = good_facts(), unset = f;
    unset.struct_size = 0;
    REFUSED(dlx_generate(&f, forward_nothing, NULL, NULL, prompt, 3, NULL, NULL, NULL, &err));
    EMPTIED(dlx_generation, o, dlx_generate(NULL, forward_nothing, NULL, NULL, prompt, 3, NULL, NULL, &o, &err));
    EMPTIED(dlx_generation, o, dlx_generate(&unset, forward_nothing, NULL, NULL, prompt, 3, NULL, NULL, &o, &err));
    EMPTIED(dlx_generation, o, dlx_generate(&f, NULL, NULL, NULL, prompt, 3, NULL, NULL, &o, &err));
    EMPTIED(dlx_generation, o, dlx_generate(&f, forward_nothing, NULL, NULL, NULL, 3, NULL, NULL, &o, &err));
    EMPTIED(dlx_generation, o, dlx_generate(&f, forward_nothing, NULL, NULL, prompt, 0, NULL, NULL, &o, &err));
    dlx_step step = {.struct_size = sizeof step};
    size_t n = 1;
    dlx_generation_free(NULL);
    assert_string_equal(dlx_generation_algorithm(NULL), "");
    assert_string_equal(dlx_generation_finish_reason(NULL), "");
    assert_null(dlx_generation_output_ids(NULL, &n));
    assert_null(dlx_generation_answer_ids(NULL, NULL));
    assert_int_equal(n + (size_t)dlx_generation_num_forwards(NULL) + dlx_generation_num_steps(NULL), 0);
    assert_false(dlx_generation_step(NULL, 0, &step));
}

static void test_dlx_complete(void)
{
    dlx_model_facts f = good_facts();
    dlx_completion_options o = dlx_completion_options_default(), unset = o;
    unset.struct_size = 3;
    REFUSED(dlx_complete(&f, forward_nothing, NULL, &o, prompt, 3, NULL, &err));
    EMPTIED(dlx_completion, c, dlx_complete(NULL, forward_nothing, NULL, &o, prompt, 3, &c, &err));
    EMPTIED(dlx_completion, c, dlx_complete(&f, NULL, NULL, &o, prompt, 3, &c, &err));
    EMPTIED(dlx_completion, c, dlx_complete(&f, forward_nothing, NULL, &unset, prompt, 3, &c, &err));
    EMPTIED(dlx_completion, c, dlx_complete(&f, forward_nothing, NULL, NULL, NULL, 3, &c, &err));
    o.tokenizer = g.tokenizer;
    o.n_stop = 1; /* and no stop strings */
    EMPTIED(dlx_completion, c, dlx_complete(&f, forward_nothing, NULL, &o, prompt, 3, &c, &err));
    const char *none[] = {NULL};
    o.stop = none;
    EMPTIED(dlx_completion, c, dlx_complete(&f, forward_nothing, NULL, &o, prompt, 3, &c, &err));
}

static void test_dlx_completion_statistics(void)
{
    REFUSED(dlx_completion_statistics(NULL, NULL, &err));
    CLEARED(dlx_statistics, s, dlx_completion_statistics(NULL, &s, &err));
    size_t n = 1;
    dlx_completion_free(NULL);
    assert_null(dlx_completion_generation(NULL));
    assert_string_equal(dlx_completion_text(NULL, &n), "");
    assert_null(dlx_completion_ids(NULL, NULL));
    assert_string_equal(dlx_completion_finish_reason(NULL), "");
    assert_int_equal(n, 0);
}

/* ---- model.h ---- */

static void test_dlx_model_open(void)
{
    dlx_model_options o = dlx_model_options_default(), unset = o;
    dlx_allocator half = {0};
    unset.struct_size = 0;
    REFUSED(dlx_model_open(NULL, g.path, NULL, &err));
    EMPTIED(dlx_model, m, dlx_model_open(&m, NULL, NULL, &err));
    EMPTIED(dlx_model, m, dlx_model_open(&m, g.path, &unset, &err));
    o.allocator = &half;
    EMPTIED(dlx_model, m, dlx_model_open(&m, g.path, &o, &err));
    o = dlx_model_options_default();
    o.cpu = "abacus";
    EMPTIED(dlx_model, m, dlx_model_open(&m, g.path, &o, &err));
    dlx_model_close(NULL);
    assert_null(dlx_model_get_facts(NULL));
    assert_string_equal(dlx_model_kernels(NULL), "");
    const char *why = NULL;
    assert_int_equal(dlx_model_pack_cache(NULL, &why), DLX_PACK_CACHE_UNASKED);
    assert_string_equal(why, "");
    assert_int_equal(dlx_model_pack_cache(NULL, NULL), DLX_PACK_CACHE_UNASKED);
}

static void test_dlx_model_open_fd(void)
{
    REFUSED(dlx_model_open_fd(NULL, 0, NULL, &err));
    EMPTIED(dlx_model, m, dlx_model_open_fd(&m, -1, NULL, &err));
    dlx_model *m = (dlx_model *)&g;
    FAILS(dlx_model_open_fd(&m, 12345, NULL, &err), DLX_E_IO);
    assert_null(m);
}

static void test_dlx_model_open_memory(void)
{
    REFUSED(dlx_model_open_memory(NULL, "ET12", 4, NULL, &err));
    EMPTIED(dlx_model, m, dlx_model_open_memory(&m, NULL, 4, NULL, &err));
    dlx_model *m = (dlx_model *)&g;
    FAILS(dlx_model_open_memory(&m, "ET12", 0, NULL, &err), DLX_E_FORMAT);
    assert_null(m);
}

static void test_dlx_model_read_facts(void)
{
    dlx_model_facts unset = {.struct_size = 0}, facts = {.struct_size = sizeof facts};
    REFUSED(dlx_model_read_facts(NULL, g.path, &err));
    REFUSED(dlx_model_read_facts(&unset, g.path, &err));
    CLEARED(dlx_model_facts, f, dlx_model_read_facts(&f, NULL, &err));
#define FAILS_IO(call) FAILS(call, DLX_E_IO)
    CLEARED_BY(dlx_model_facts, f, dlx_model_read_facts(&f, "/no/such", &err), FAILS_IO);
    assert_int_equal(dlx_model_read_facts(&facts, g.path, &err), DLX_OK);
    assert_memory_equal(&facts, dlx_model_get_facts(g.model), sizeof facts);
}

static void test_dlx_model_memory(void)
{
    dlx_memory unset = {0};
    REFUSED(dlx_model_memory(g.model, 0, 0, NULL, &err));
    REFUSED(dlx_model_memory(g.model, 0, 0, &unset, &err));
    CLEARED(dlx_memory, m, dlx_model_memory(NULL, 0, 0, &m, &err));
    CLEARED_BY(dlx_memory, m, dlx_model_memory(g.model, 1 << 20, 0, &m, &err), FAILS_LIMIT);
    CLEARED_BY(dlx_memory, m, dlx_model_memory(g.model, 0, -1, &m, &err), FAILS_LIMIT);
}

static void test_dlx_session_open(void)
{
    REFUSED(dlx_session_open(NULL, g.model, 0, 0, &err));
    EMPTIED(dlx_session, s, dlx_session_open(&s, NULL, 0, 0, &err));
    dlx_session *s = (dlx_session *)&g;
    FAILS(dlx_session_open(&s, g.model, -1, 0, &err), DLX_E_LIMIT);
    assert_null(s);
    dlx_session_close(NULL);
    dlx_session_truncate(NULL, 0);
    assert_int_equal(dlx_session_reusable(NULL, prompt, 3, 4), 0);
    assert_int_equal(dlx_session_reusable(g.session, NULL, 3, 4), 0);
}

static dlx_forward_call good_call(float *logits)
{
    return (dlx_forward_call){.struct_size = sizeof(dlx_forward_call),
                              .ids = prompt,
                              .n_ids = 3,
                              .attn_block = 4,
                              .n_rows = 3,
                              .logits = logits};
}

/* Calls that lack something, through one of the functions that make them. */
static void refuse_calls(dlx_forward_fn forward, void *ctx)
{
    float *logits = calloc(3 * (size_t)good_facts().vocab_size, sizeof *logits);
    dlx_forward_call call = good_call(logits);
    REFUSED(forward(NULL, &call, &err));
    REFUSED(forward(ctx, NULL, &err));
    call.struct_size = 0;
    REFUSED(forward(ctx, &call, &err));
    call = good_call(NULL);
    REFUSED(forward(ctx, &call, &err));
    call = good_call(logits);
    call.ids = NULL;
    REFUSED(forward(ctx, &call, &err));
    call = good_call(logits);
    assert_int_equal(forward(ctx, &call, NULL), DLX_OK);
    free(logits);
}

static void test_dlx_session_forward(void)
{
    refuse_calls(dlx_session_forward, g.alone);
}

static void test_dlx_workspace_open(void)
{
    dlx_workspace_options o = {.struct_size = 1};
    REFUSED(dlx_workspace_open(NULL, g.model, NULL, &err));
    EMPTIED(dlx_workspace, w, dlx_workspace_open(&w, NULL, NULL, &err));
    EMPTIED(dlx_workspace, w, dlx_workspace_open(&w, g.model, &o, &err));
    o = (dlx_workspace_options){.struct_size = sizeof o, .kv_type = "float8"};
    EMPTIED(dlx_workspace, w, dlx_workspace_open(&w, g.model, &o, &err));
    dlx_workspace_close(NULL);
    assert_int_equal(dlx_workspace_free_positions(NULL), 0);
}

static void test_dlx_workspace_memory(void)
{
    dlx_workspace_options o = {.struct_size = sizeof o, .max_sessions = -1};
    REFUSED(dlx_workspace_memory(g.model, NULL, NULL, &err));
    CLEARED(dlx_memory, m, dlx_workspace_memory(NULL, NULL, &m, &err));
    CLEARED(dlx_memory, m, dlx_workspace_memory(g.model, &o, &m, &err));
    o.struct_size = 5;
    CLEARED(dlx_memory, m, dlx_workspace_memory(g.model, &o, &m, &err));
}

static void test_dlx_session_open_in(void)
{
    REFUSED(dlx_session_open_in(NULL, g.workspace, &err));
    EMPTIED(dlx_session, s, dlx_session_open_in(&s, NULL, &err));
}

static void test_dlx_session_fork(void)
{
    REFUSED(dlx_session_fork(NULL, g.session, 0, &err));
    EMPTIED(dlx_session, s, dlx_session_fork(&s, NULL, 0, &err));
    EMPTIED(dlx_session, s, dlx_session_fork(&s, g.session, -1, &err));
    dlx_session *s = (dlx_session *)&g;
    FAILS(dlx_session_fork(&s, g.alone, 0, &err), DLX_E_LIMIT);
    assert_null(s);
}

static void test_dlx_forward_batch(void)
{
    float *logits = calloc(3 * (size_t)good_facts().vocab_size, sizeof *logits);
    dlx_forward_call call = good_call(logits);
    const dlx_forward_call *calls[2] = {&call, NULL};
    dlx_session *sessions[2] = {g.session, NULL};
    dlx_status status[2] = {DLX_OK, DLX_OK};
    dlx_error errors[2] = {0};
    REFUSED(dlx_forward_batch(NULL, calls, 1, status, &err));
    REFUSED(dlx_forward_batch(sessions, NULL, 1, status, &err));
    assert_int_equal(dlx_forward_batch(sessions, calls, 2, status, errors), DLX_E_INVALID);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(status[i], DLX_E_INVALID);
        assert_non_null(strstr(errors[i].message, "a session or a call is missing"));
    }
    assert_int_equal(dlx_forward_batch(NULL, NULL, 0, NULL, NULL), DLX_E_INVALID);
    assert_int_equal(dlx_forward_batch(sessions, calls, 1, NULL, NULL), DLX_OK);
    free(logits);
}

static void test_dlx_batcher_open(void)
{
    dlx_batcher_options o = {.struct_size = sizeof o, .max_wait_us = 60 * 1000 * 1000 + 1};
    REFUSED(dlx_batcher_open(NULL, g.workspace, NULL, &err));
    EMPTIED(dlx_batcher, b, dlx_batcher_open(&b, NULL, NULL, &err));
    EMPTIED(dlx_batcher, b, dlx_batcher_open(&b, g.workspace, &o, &err));
    dlx_batcher_close(NULL);
}

static void test_dlx_batcher_join(void)
{
    REFUSED(dlx_batcher_join(NULL, g.batcher, g.session, &err));
    EMPTIED(dlx_seat, s, dlx_batcher_join(&s, NULL, g.session, &err));
    EMPTIED(dlx_seat, s, dlx_batcher_join(&s, g.batcher, NULL, &err));
    EMPTIED(dlx_seat, s, dlx_batcher_join(&s, g.batcher, g.alone, &err));
    dlx_batcher_leave(NULL);
}

static void test_dlx_batcher_forward(void)
{
    refuse_calls(dlx_batcher_forward, g.seat);
}

static void test_dlx_batcher_get_counts(void)
{
    dlx_batcher_counts counts = {.struct_size = sizeof counts, .passes = 1};
    REFUSED(dlx_batcher_get_counts(g.batcher, NULL, &err));
    REFUSED(dlx_batcher_get_counts(NULL, &counts, &err));
    assert_true(counts.struct_size == sizeof counts && counts.passes == 0);
}

static void test_dlx_write_logits(void)
{
    char path[1024];
    float one = 1;
    path_in(path, g.folder.folder, "logits.safetensors");
    REFUSED(dlx_write_logits(NULL, &one, 1, 1, &err));
    REFUSED(dlx_write_logits(path, NULL, 1, 1, &err));
    REFUSED(dlx_write_logits(path, &one, 0, 1, &err));
}

static void test_dlx_check_output(void)
{
    REFUSED(dlx_check_output(NULL, NULL, 0, &err));
    REFUSED(dlx_check_output("model.pte", NULL, 1, &err));
}

static void test_dlx_write_tensors(void)
{
    char path[1024];
    const char *name = "t", *none = NULL;
    float one = 1;
    dlx_tensor t = {.struct_size = sizeof t, .element = DLX_ELEMENT_FLOAT32, .rank = 1, .size = {1}, .data = &one};
    dlx_tensor empty = t;
    empty.data = NULL;
    path_in(path, g.folder.folder, "tensors.safetensors");
    REFUSED(dlx_write_tensors(NULL, &name, &t, 1, &err));
    REFUSED(dlx_write_tensors(path, NULL, &t, 1, &err));
    REFUSED(dlx_write_tensors(path, &none, &t, 1, &err));
    REFUSED(dlx_write_tensors(path, &name, NULL, 1, &err));
    REFUSED(dlx_write_tensors(path, &name, &empty, 1, &err));
}

static void test_dlx_inspect(void)
{
    dlx_workspace_options unset = {.struct_size = 0};
    REFUSED(dlx_inspect(g.path, true, NULL, NULL, &err));
    EMPTIED(char, s, dlx_inspect(NULL, true, NULL, &s, &err));
    EMPTIED(char, s, dlx_inspect(g.path, true, &unset, &s, &err));
    dlx_free(NULL);
}

static void test_dlx_inspect_graph(void)
{
    REFUSED(dlx_inspect_graph(g.path, true, false, NULL, &err));
    EMPTIED(char, s, dlx_inspect_graph(NULL, true, false, &s, &err));
}

static void test_dlx_inspect_method(void)
{
    REFUSED(dlx_inspect_method(g.path, NULL, false, NULL, &err));
    EMPTIED(char, s, dlx_inspect_method(NULL, NULL, false, &s, &err));
}

static void test_dlx_inspect_method_graph(void)
{
    REFUSED(dlx_inspect_method_graph(g.path, NULL, true, false, NULL, &err));
    EMPTIED(char, s, dlx_inspect_method_graph(NULL, NULL, true, false, &s, &err));
}

/* ---- all of them ---- */

static const null_row rows[] = {
    ROW(dlx_probe_run),
    ROW(dlx_bench_run),
    ROW(dlx_bench_check),
    ROW(dlx_bench_estimate),
    ROW(dlx_thread_pool_create),
    ROW(dlx_decode_options_create),
    ROW(dlx_decode_options_set),
    ROW(dlx_decode_option_in_force),
    ROW(dlx_decode_options_set_constraint),
    ROW(dlx_constraint_from_regex),
    ROW(dlx_constraint_from_grammar),
    ROW(dlx_constraint_from_schema),
    ROW(dlx_constraint_get_info),
    ROW(dlx_generate),
    ROW(dlx_complete),
    ROW(dlx_completion_statistics),
    ROW(dlx_model_open),
    ROW(dlx_model_open_fd),
    ROW(dlx_model_open_memory),
    ROW(dlx_model_read_facts),
    ROW(dlx_model_memory),
    ROW(dlx_session_open),
    ROW(dlx_session_forward),
    ROW(dlx_workspace_open),
    ROW(dlx_workspace_memory),
    ROW(dlx_session_open_in),
    ROW(dlx_session_fork),
    ROW(dlx_forward_batch),
    ROW(dlx_batcher_open),
    ROW(dlx_batcher_join),
    ROW(dlx_batcher_forward),
    ROW(dlx_batcher_get_counts),
    ROW(dlx_write_logits),
    ROW(dlx_check_output),
    ROW(dlx_write_tensors),
    ROW(dlx_inspect),
    ROW(dlx_inspect_graph),
    ROW(dlx_inspect_method),
    ROW(dlx_inspect_method_graph),
};

int main(void)
{
    return run_rows(rows, sizeof rows / sizeof *rows);
}
