/*
 * A program that was compiled before the last member of every public structure was there, over the library of today:
 * what it lacks has its default, nothing is written behind what it has. A program from the future is served as long as
 * it does not use what the library does not know. shorter_structures.py writes the headers that this file is compiled
 * with; each structure in them needs a function check_<type> here.
 */
#include "shorter_check.h"

enum { VOCAB = 16, MASK = 15, ANSWER = 4 };

#define CASE(type, last) static void check_##type(void **state);
SHORTER_STRUCTURES(CASE)

static char folder[256], program[512]; /* a tiny exported model */

/* ---- decoding ---------------------------------------------------------------------------------------------------- */

static size_t calls_seen, steps_seen;

/* Sure of token 0 everywhere. It does not know the summaries that it is asked for, and writes logits. */
static dlx_status sure(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    (void)ctx;
    (void)err;
    assert_int_equal(call->struct_size, real_size_dlx_forward_call);
    for (int32_t i = 0; i < call->n_rows * VOCAB; i++) call->logits[i] = i % VOCAB ? 0.0f : 9.0f;
    calls_seen++;
    return DLX_OK;
}

static dlx_model_facts scripted_facts(void)
{
    return (dlx_model_facts){.struct_size = sizeof(dlx_model_facts),
                             .family = DLX_FAMILY_LLADA,
                             .vocab_size = VOCAB,
                             .max_context = 32,
                             .max_rows = 32,
                             .mask_id = MASK,
                             .block_length = 2,
                             .bos_id = -1,
                             .eos_id = -1,
                             .pad_id = -1};
}

static bool on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n)
{
    (void)ids;
    assert_null(ctx); /* step_ctx is 0 */
    assert_int_equal(step->struct_size, real_size_dlx_step);
    assert_true(n > 0 && step->n_accepted > 0);
    steps_seen++;
    return true;
}

static dlx_status complete(const dlx_model_facts *facts, const dlx_completion_options *options, dlx_completion **c,
                           dlx_error *err)
{
    static const int32_t prompt[] = {1, 2, 3};
    dlx_decode_options *decode = NULL;
    dlx_completion_options o = dlx_completion_options_default();
    dlx_status s = dlx_decode_options_create(&decode, err);
    if (s == DLX_OK) s = dlx_decode_options_set(decode, "max_new_tokens", "4", err);
    o.decode = decode;
    if (s == DLX_OK) s = dlx_complete(facts, sure, NULL, options ? options : &o, prompt, 3, c, err);
    dlx_decode_options_free(decode);
    return s;
}

/* As the only stop id is not known, it is 0, which the scripted model says at once. */
static dlx_status decode_with(void *facts, dlx_error *err)
{
    static const int32_t prompt[] = {1, 2, 3};
    dlx_generation *g = NULL;
    dlx_completion *c = NULL;
    dlx_status s = dlx_generate(facts, sure, NULL, NULL, prompt, 3, NULL, NULL, &g, err),
               t = complete(facts, NULL, &c, NULL);
    assert_int_equal(s, t);
    if (s == DLX_OK) {
        assert_string_equal(dlx_generation_finish_reason(g), "stop");
        assert_string_equal(dlx_completion_finish_reason(c), "stop");
    }
    dlx_generation_free(g);
    dlx_completion_free(c);
    return s;
}

static void check_dlx_model_facts(void **state)
{
    (void)state;
    dlx_model_facts facts = scripted_facts();
    facts.num_stop_ids = 1;
    calls_seen = 0;
    check_taken(SUBJECT(dlx_model_facts, decode_with), &facts);
    assert_true(calls_seen > 0);
}

static dlx_status complete_with(void *options, dlx_error *err)
{
    dlx_model_facts facts = scripted_facts();
    dlx_completion *c = NULL;
    dlx_status s = complete(&facts, options, &c, err);
    dlx_completion_free(c);
    return s;
}

static void check_dlx_completion_options(void **state)
{
    (void)state;
    dlx_completion_options o = dlx_completion_options_default();
    assert_int_equal(o.struct_size, sizeof o);
    o.on_step = on_step;
    steps_seen = 0;
    check_taken(SUBJECT(dlx_completion_options, complete_with), &o);
    assert_true(steps_seen > 0);
}

static dlx_completion *done; /* a completion to read */

static dlx_status read_statistics(void *out, dlx_error *err)
{
    return dlx_completion_statistics(done, out, err);
}

/* Functions that return bool: false is told as DLX_E_INVALID here. */
static dlx_status told(bool ok, const char *name, dlx_error *err)
{
    *err = (dlx_error){.status = ok ? DLX_OK : DLX_E_INVALID};
    snprintf(err->message, sizeof err->message, "%s: struct_size is not set", name);
    return err->status;
}

static dlx_status read_step(void *out, dlx_error *err)
{
    return told(dlx_generation_step(dlx_completion_generation(done), 0, out), "dlx_step", err);
}

static dlx_status read_option(void *out, dlx_error *err)
{
    return told(dlx_decode_option_info(0, out), "dlx_option_info", err);
}

static void check_dlx_statistics(void **state)
{
    (void)state;
    dlx_model_facts facts = scripted_facts();
    dlx_statistics s = {.struct_size = sizeof s};
    assert_int_equal(complete(&facts, NULL, &done, NULL), DLX_OK);
    check_filled(SUBJECT(dlx_statistics, read_statistics), sizeof s);
    assert_int_equal(dlx_completion_statistics(done, &s, NULL), DLX_OK);
    assert_true(s.prompt_tokens == 3 && s.new_tokens == ANSWER);
    dlx_completion_free(done);
}

static void check_dlx_step(void **state)
{
    (void)state;
    dlx_model_facts facts = scripted_facts();
    assert_int_equal(complete(&facts, NULL, &done, NULL), DLX_OK);
    check_filled(SUBJECT(dlx_step, read_step), sizeof(dlx_step));
    dlx_completion_free(done);
}

/* ---- constraints ------------------------------------------------------------------------------------------------- */

static dlx_tokenizer *spelling;

static dlx_status constrain_with(void *structure, dlx_error *err)
{
    dlx_constraint *c;
    dlx_status s = dlx_constraint_from_regex(&c, spelling, "[ab]{1,300}", 11, structure, err);
    dlx_constraint_free(c);
    return s;
}

static dlx_status read_constraint(void *out, dlx_error *err)
{
    dlx_constraint *c;
    assert_int_equal(dlx_constraint_from_regex(&c, spelling, "a", 1, NULL, err), DLX_OK);
    dlx_status s = dlx_constraint_get_info(c, out, err);
    dlx_constraint_free(c);
    return s;
}

static void check_dlx_constraint_options(void **state)
{
    (void)state;
    dlx_constraint_options o = {.struct_size = sizeof o, .max_bytes = 1 << 26};
    dlx_error err;
    assert_int_equal(dlx_tokenizer_open_folder(&spelling, DLX_TEST_DATA "/checkpoints/sdar-tiny", &err), DLX_OK);
    check_taken(SUBJECT(dlx_constraint_options, constrain_with), &o);
    o.max_bytes = 1000;
    assert_int_equal(constrain_with(&o, &err), DLX_E_LIMIT);
    dlx_tokenizer_close(spelling);
}

static void check_dlx_constraint_info(void **state)
{
    (void)state;
    assert_int_equal(dlx_tokenizer_open_folder(&spelling, DLX_TEST_DATA "/checkpoints/sdar-tiny", NULL), DLX_OK);
    check_filled(SUBJECT(dlx_constraint_info, read_constraint), sizeof(dlx_constraint_info));
    dlx_tokenizer_close(spelling);
}

static void check_dlx_option_info(void **state)
{
    (void)state;
    check_filled(SUBJECT(dlx_option_info, read_option), sizeof(dlx_option_info));
    assert_false(dlx_decode_option_info(0, NULL));
}

/* ---- methods ----------------------------------------------------------------------------------------------------- */

static dlx_method *method; /* takes float32 [<=16, 12], gives [<=16, 7] */

static dlx_status open_method(void *options, dlx_error *err)
{
    dlx_method *m = NULL;
    dlx_status s = dlx_method_open(&m, DLX_TEST_DATA "/foreign/mlp_dynamic.pte", NULL, options, err);
    dlx_method_close(m);
    return s;
}

static void check_dlx_method_options(void **state)
{
    (void)state;
    dlx_method_options o = dlx_method_options_default();
    assert_int_equal(o.struct_size, sizeof o);
    o.threads = 1;
    check_taken(SUBJECT(dlx_method_options, open_method), &o);
}

static dlx_status run_method(void *tensor, dlx_error *err)
{
    return dlx_method_run(method, tensor, 1, err);
}

static dlx_status read_output(void *out, dlx_error *err)
{
    return dlx_method_output(method, 0, out, err);
}

static dlx_status read_info(void *out, dlx_error *err)
{
    return dlx_method_input_info(method, 0, out, err);
}

/* No rows need no data, which is what this program lacks. */
static void check_dlx_tensor(void **state)
{
    (void)state;
    dlx_tensor none = {.struct_size = sizeof none, .element = DLX_ELEMENT_FLOAT32, .rank = 2, .size = {0, 12}};
    assert_int_equal(dlx_method_open(&method, DLX_TEST_DATA "/foreign/mlp_dynamic.pte", NULL, NULL, NULL), DLX_OK);
    check_taken(SUBJECT(dlx_tensor, run_method), &none);
    assert_int_equal(dlx_method_run(method, &none, 1, NULL), DLX_OK);
    check_filled(SUBJECT(dlx_tensor, read_output), sizeof none);
    dlx_method_close(method);
}

static dlx_status run_nowhere(void *ctx, size_t index, const void **outputs, dlx_error *err)
{
    (void)ctx;
    (void)index;
    (void)outputs;
    (void)err;
    return DLX_E_IO;
}

/* Without names, which this program lacks, methods go by their rows. */
static dlx_status open_fixed(void *fixed, dlx_error *err)
{
    dlx_fixed_session *s = NULL;
    dlx_status status = dlx_fixed_open(&s, fixed, run_nowhere, NULL, NULL, err);
    assert_int_equal(status == DLX_OK, dlx_fixed_bytes(fixed) > 0);
    dlx_forward_call call = {.struct_size = sizeof call, .ids = (const int32_t[]){1}, .n_ids = 1};
    dlx_error said = {0};
    if (status == DLX_OK) {
        assert_int_equal(dlx_fixed_forward(s, &call, &said), DLX_E_IO);
        assert_non_null(strstr(said.message, "method of 4 rows"));
    }
    dlx_fixed_close(s);
    return status;
}

static void check_dlx_fixed_program(void **state)
{
    (void)state;
    static const int32_t rows[] = {4};
    dlx_model_facts facts = scripted_facts();
    dlx_fixed_program p = {.struct_size = sizeof p,
                           .facts = &facts,
                           .layers = 1,
                           .kv_heads = 2,
                           .head_dim = 4,
                           .element = DLX_ELEMENT_FLOAT32,
                           .n_methods = 1,
                           .method_rows = rows};
    check_taken(SUBJECT(dlx_fixed_program, open_fixed), &p);
}

static void check_dlx_tensor_info(void **state)
{
    (void)state;
    dlx_tensor_info info = {.struct_size = sizeof info};
    assert_int_equal(dlx_method_open(&method, DLX_TEST_DATA "/foreign/mlp_dynamic.pte", NULL, NULL, NULL), DLX_OK);
    check_filled(SUBJECT(dlx_tensor_info, read_info), sizeof info);
    assert_int_equal(dlx_method_input_info(method, 0, &info, NULL), DLX_OK);
    assert_true(info.rank == 2 && info.size[0] == 16 && info.size[1] == 12);
    dlx_method_close(method);
}

/* ---- chat -------------------------------------------------------------------------------------------------------- */

#define ASKED "<|im_start|>user\nWhy?<|im_end|>\n"

/* A tokenizer with a chat template, opened once. */
static const dlx_tokenizer *sdar(void)
{
    static dlx_tokenizer *t;
    char *bytes = malloc(1 << 20);
    if (!t && bytes) {
        FILE *f = fopen(DLX_TEST_DATA "/text/sdar.packed", "rb");
        assert_non_null(f);
        size_t n = fread(bytes, 1, 1 << 20, f);
        fclose(f);
        assert_int_equal(dlx_tokenizer_open_packed(&t, bytes, n, NULL), DLX_OK);
    }
    free(bytes);
    return t;
}

static dlx_status render(const void *messages, size_t n, const dlx_chat_options *options, const char *want,
                         dlx_error *err)
{
    char *text = NULL;
    dlx_status s = dlx_chat_render(sdar(), messages, n, options, &text, NULL, err);
    if (s == DLX_OK) assert_string_equal(text, want);
    dlx_free(text);
    return s;
}

static dlx_status ask_with(void *options, dlx_error *err)
{
    const dlx_chat_message m = {.struct_size = sizeof m, .role = "user", .content = "Why?"};
    return render(&m, 1, options, ASKED "<|im_start|>assistant\n<think>\n\n</think>\n\n", err);
}

static void check_dlx_chat_options(void **state)
{
    (void)state;
    const dlx_chat_options o = {.struct_size = sizeof o, .add_generation_prompt = true, .enable_thinking = -1};
    check_taken(SUBJECT(dlx_chat_options, ask_with), &o);
    dlx_chat_options plain = {.struct_size = sizeof(size_t)}; /* nothing but the size: all defaults */
    const dlx_chat_message m = {.struct_size = sizeof m, .role = "user", .content = "Why?"};
    assert_int_equal(render(&m, 1, &plain, ASKED, NULL), DLX_OK);
}

static dlx_status ask(void *message, dlx_error *err)
{
    return render(message, 1, NULL, ASKED, err);
}

static void check_dlx_chat_message(void **state)
{
    (void)state;
    const size_t longer = real_size_dlx_chat_message + 16;
    dlx_chat_message m[] = {{.struct_size = sizeof *m, .role = "system", .content = "Be brief."},
                            {.struct_size = sizeof *m, .role = "user", .content = "Why?"},
                            {.struct_size = sizeof *m, .role = "assistant", .content = "So."}};
    const char *want = "<|im_start|>system\nBe brief.<|im_end|>\n" ASKED
                       "<|im_start|>assistant\n<think>\n\n</think>\n\nSo.<|im_end|>\n";
    dlx_error err = {0};
    check_taken(SUBJECT(dlx_chat_message, ask), &m[1]);
    assert_int_equal(render(m, 3, NULL, want, NULL), DLX_OK);
    /* Elements as long as a program from the future knows them. */
    char *future = calloc(3, longer);
    assert_non_null(future);
    for (size_t i = 0; i < 3; i++) {
        memcpy(future + i * longer, &m[i], sizeof *m);
        memcpy(future + i * longer, &longer, sizeof longer);
    }
    assert_int_equal(render(future, 3, NULL, want, NULL), DLX_OK);
    future[3 * longer - 1] = 1;
    assert_int_equal(render(future, 3, NULL, want, &err), DLX_E_UNSUPPORTED);
    free(future);
    m[1].struct_size += sizeof(void *);
    assert_int_equal(render(m, 3, NULL, want, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "struct_size of element 1"));
}

/* ---- exporting and running --------------------------------------------------------------------------------------- */

static size_t progress_seen;

static bool on_progress(void *ctx, uint64_t done_bytes, uint64_t total)
{
    assert_null(ctx); /* the default: progress_ctx is what this program lacks */
    assert_true(done_bytes <= total);
    progress_seen++;
    return true;
}

static dlx_export_options tiny_export(void)
{
    dlx_export_options o = dlx_export_options_default();
    o.model_path = DLX_TEST_DATA "/checkpoints/sdar-tiny";
    o.output_path = program;
    o.max_seq_len = 32;
    return o;
}

static dlx_status export_with(void *options, dlx_error *err)
{
    return dlx_export(options, NULL, err);
}

static dlx_status check_with(void *options, dlx_error *err)
{
    char *found;
    dlx_status s = dlx_export_backend_check(options, &found, err);
    dlx_free(found);
    return s;
}

static dlx_status export_to(void *result, dlx_error *err)
{
    dlx_export_options o = tiny_export();
    return dlx_export(&o, result, err);
}

static void check_dlx_export_options(void **state)
{
    (void)state;
    dlx_export_options o = tiny_export();
    assert_int_equal(o.struct_size, sizeof o);
    o.progress = on_progress;
    progress_seen = 0;
    check_taken(SUBJECT(dlx_export_options, export_with), &o);
    check_taken(SUBJECT(dlx_export_options, check_with), &o);
    assert_true(progress_seen > 0);
}

static void on_placement(void *ctx, const dlx_placement *p)
{
    assert_null(ctx); /* placement_ctx is 0 */
    assert_int_equal(p->struct_size, real_size_dlx_placement);
    assert_string_equal(p->method, "forward");
    assert_true(!strcmp(p->home, "xnnpack") || !strcmp(p->home, "operators"));
    progress_seen += p->count;
}

static void check_dlx_placement(void **state)
{
    (void)state;
    dlx_error err = {0};
    dlx_export_options o = tiny_export();
    o.placement = on_placement;
    progress_seen = 0;
    if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_true(progress_seen > 2);
}

static void check_dlx_export_result(void **state)
{
    (void)state;
    check_filled(SUBJECT(dlx_export_result, export_to), offsetof(dlx_export_result, seconds));
}

static bool on_stage(void *ctx, const char *stage, uint64_t done_rows, uint64_t total)
{
    assert_null(ctx);
    assert_true(stage && (!total || done_rows <= total));
    progress_seen++;
    return true;
}

static dlx_validate_options tiny_validation(void)
{
    return (dlx_validate_options){.struct_size = sizeof(dlx_validate_options),
                                  .model_path = DLX_TEST_DATA "/checkpoints/sdar-tiny",
                                  .file_path = program,
                                  .count = 4};
}

static dlx_status validate_to(void *result, dlx_error *err)
{
    dlx_validate_options o = tiny_validation();
    dlx_validation *v = result;
    dlx_status s = dlx_validate(&o, v, err);
    if (s == DLX_OK) dlx_free(v->layer_error);
    return s;
}

static dlx_status validate_with(void *options, dlx_error *err)
{
    dlx_validation v = {.struct_size = sizeof v};
    dlx_status s = dlx_validate(options, &v, err);
    dlx_free(v.layer_error);
    return s;
}

static void check_dlx_validate_options(void **state)
{
    (void)state;
    dlx_validate_options o = tiny_validation();
    o.stage = on_stage;
    progress_seen = 0;
    check_taken(SUBJECT(dlx_validate_options, validate_with), &o);
    assert_true(progress_seen > 0);
}

static dlx_status report_with(void *options, dlx_error *err)
{
    char *json;
    dlx_status s = dlx_quantize_report(options, &json, err);
    dlx_free(json);
    return s;
}

static void check_dlx_quantize_report_options(void **state)
{
    (void)state;
    dlx_quantize_report_options o = {.struct_size = sizeof o,
                                     .model_path = DLX_TEST_DATA "/checkpoints/sdar-tiny",
                                     .count = 2,
                                     .length = 16,
                                     .stage = on_stage};
    progress_seen = 0;
    check_taken(SUBJECT(dlx_quantize_report_options, report_with), &o);
    assert_true(progress_seen > 0);
}

static void check_dlx_validation(void **state)
{
    (void)state;
    check_filled(SUBJECT(dlx_validation, validate_to), offsetof(dlx_validation, layer_error));
}

static dlx_status open_with(void *options, dlx_error *err)
{
    dlx_model *m = NULL;
    dlx_status s = dlx_model_open(&m, program, options, err);
    if (s == DLX_OK) assert_int_equal(dlx_model_get_facts(m)->struct_size, real_size_dlx_model_facts);
    dlx_model_close(m);
    return s;
}

static void check_dlx_model_options(void **state)
{
    (void)state;
    dlx_model_options o = dlx_model_options_default();
    assert_int_equal(o.struct_size, sizeof o);
    o.threads = 1;
    check_taken(SUBJECT(dlx_model_options, open_with), &o);
    o.threads = -1; /* a shorter structure is read all the same */
    dlx_error err = {0};
    assert_int_equal(open_with(&o, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "threads is -1"));
}

static dlx_model *model;
static dlx_session *session;

static dlx_status measure(void *out, dlx_error *err)
{
    return dlx_model_memory(model, 0, 0, out, err);
}

static void check_dlx_memory(void **state)
{
    (void)state;
    assert_int_equal(dlx_model_open(&model, program, NULL, NULL), DLX_OK);
    check_filled(SUBJECT(dlx_memory, measure), sizeof(dlx_memory));
    dlx_model_close(model);
}

static dlx_status forward(void *call, dlx_error *err)
{
    return dlx_session_forward(session, call, err);
}

static void check_dlx_forward_call(void **state)
{
    (void)state;
    static const int32_t ids[] = {3, 1, 4, 1};
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = 4, .attn_block = 4, .n_store = 4};
    dlx_error err = {0};
    assert_int_equal(dlx_model_open(&model, program, NULL, NULL), DLX_OK);
    assert_int_equal(dlx_session_open(&session, model, 0, 0, NULL), DLX_OK);
    check_taken(SUBJECT(dlx_forward_call, forward), &c);
    /* Logits are what a program gets that cannot ask for summaries. */
    subject s = SUBJECT(dlx_forward_call, forward);
    unsigned char *p = room(&s, 0);
    size_t vocab = (size_t)dlx_model_get_facts(model)->vocab_size;
    float *logits = calloc(vocab, sizeof *logits);
    assert_non_null(logits);
    c.n_rows = 1;
    c.logits = logits;
    memcpy(p, &c, sizeof c);
    if (forward(p, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_true(logits[0] != 0 && logits[vocab - 1] != 0);
    free(logits);
    free(p);
    dlx_session_close(session);
    dlx_model_close(model);
}

static dlx_status workspace_with(void *options, dlx_error *err)
{
    dlx_workspace *w = NULL;
    dlx_status s = dlx_workspace_open(&w, model, options, err);
    dlx_workspace_close(w);
    return s;
}

static void check_dlx_workspace_options(void **state)
{
    (void)state;
    dlx_workspace_options o = {.struct_size = sizeof o, .max_sessions = 2};
    dlx_error err = {0};
    assert_int_equal(dlx_model_open(&model, program, NULL, NULL), DLX_OK);
    check_taken(SUBJECT(dlx_workspace_options, workspace_with), &o);
    o.max_sessions = -1;
    assert_int_equal(workspace_with(&o, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "max_sessions is -1"));
    dlx_model_close(model);
}

static dlx_workspace *workspace;

static dlx_status batcher_with(void *options, dlx_error *err)
{
    dlx_batcher *b = NULL;
    dlx_status s = dlx_batcher_open(&b, workspace, options, err);
    dlx_batcher_close(b);
    return s;
}

static void check_dlx_batcher_options(void **state)
{
    (void)state;
    dlx_batcher_options o = {.struct_size = sizeof o};
    assert_int_equal(dlx_model_open(&model, program, NULL, NULL), DLX_OK);
    assert_int_equal(dlx_workspace_open(&workspace, model, NULL, NULL), DLX_OK);
    check_taken(SUBJECT(dlx_batcher_options, batcher_with), &o);
    dlx_workspace_close(workspace);
    dlx_model_close(model);
}

static dlx_batcher *batcher;

static dlx_status count(void *out, dlx_error *err)
{
    return dlx_batcher_get_counts(batcher, out, err);
}

static void check_dlx_batcher_counts(void **state)
{
    (void)state;
    assert_int_equal(dlx_model_open(&model, program, NULL, NULL), DLX_OK);
    assert_int_equal(dlx_workspace_open(&workspace, model, NULL, NULL), DLX_OK);
    assert_int_equal(dlx_batcher_open(&batcher, workspace, NULL, NULL), DLX_OK);
    check_filled(SUBJECT(dlx_batcher_counts, count), sizeof(dlx_batcher_counts));
    dlx_batcher_close(batcher);
    dlx_workspace_close(workspace);
    dlx_model_close(model);
}

#include "shorter_bench.h"

#define DESCRIBED(type, call)                                                                                          \
    static dlx_status read_##type(void *out, dlx_error *err)                                                           \
    {                                                                                                                  \
        return told(call, #type, err);                                                                                 \
    }                                                                                                                  \
    static void check_##type(void **state)                                                                             \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        check_filled(SUBJECT(type, read_##type), sizeof(type));                                                        \
    }
DESCRIBED(dlx_build_info, dlx_get_build_info(out))
DESCRIBED(dlx_library_info, dlx_get_library_info(0, out))
DESCRIBED(dlx_kernel_set_info, dlx_get_kernel_set_info(0, out))
DESCRIBED(dlx_cpu_feature_info, dlx_get_cpu_feature_info(0, out))
DESCRIBED(dlx_probe_info, dlx_get_probe_info(0, out))

/* Rows of a table of what this build can do. */
#define TABLE_ROW(type, function)                                                                                      \
    static dlx_status read_##function(void *out, dlx_error *err)                                                       \
    {                                                                                                                  \
        return told(function(0, out), #type, err);                                                                     \
    }                                                                                                                  \
                                                                                                                       \
    static void check_##type(void **state)                                                                             \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        check_filled(SUBJECT(type, read_##function), sizeof(type));                                                    \
        assert_false(function(0, NULL));                                                                               \
    }

TABLE_ROW(dlx_backend_info, dlx_export_backend_info)
TABLE_ROW(dlx_scheme_info, dlx_export_scheme_info)
TABLE_ROW(dlx_kv_info, dlx_export_kv_info)
TABLE_ROW(dlx_soc_info, dlx_export_soc_info)

static int make_program(void **state)
{
    const char *tmp = getenv("TMPDIR");
    dlx_export_options o;
    dlx_error err = {0};
    (void)state;
    snprintf(folder, sizeof folder, "%s/dlx-structures-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) return -1;
    snprintf(program, sizeof program, "%s/tiny.pte", folder);
    o = tiny_export();
    if (dlx_export(&o, NULL, &err) == DLX_OK) return 0;
    fprintf(stderr, "%s\n", err.message);
    return -1;
}

static int remove_program(void **state)
{
    (void)state;
    return unlink(program) | rmdir(folder);
}

int main(void)
{
#define ROW(type, last) cmocka_unit_test(check_##type),
    const struct CMUnitTest tests[] = {SHORTER_STRUCTURES(ROW)};
    return cmocka_run_group_tests(tests, make_program, remove_program);
}
