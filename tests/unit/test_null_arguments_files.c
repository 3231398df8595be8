/* As test_null_arguments.c: methods, tokenizers and conversations, exports and what is made of checkpoints. */
#include "null_check.h"

/* ---- method.h ---- */

static void test_dlx_method_open(void)
{
    dlx_method_options unset = {.struct_size = 2};
    REFUSED(dlx_method_open(NULL, g.path, NULL, NULL, &err));
    EMPTIED(dlx_method, m, dlx_method_open(&m, NULL, NULL, NULL, &err));
    EMPTIED(dlx_method, m, dlx_method_open(&m, g.path, NULL, &unset, &err));
    dlx_method_close(NULL);
    dlx_method_reset(NULL);
    assert_int_equal(dlx_method_num_inputs(NULL) + dlx_method_num_outputs(NULL), 0);
    assert_int_equal(dlx_method_state_bytes(NULL), 0);
}

static void test_dlx_method_open_fd(void)
{
    REFUSED(dlx_method_open_fd(NULL, 0, NULL, NULL, &err));
    EMPTIED(dlx_method, m, dlx_method_open_fd(&m, -1, NULL, NULL, &err));
}

static void test_dlx_method_open_memory(void)
{
    REFUSED(dlx_method_open_memory(NULL, "ET12", 4, NULL, NULL, &err));
    EMPTIED(dlx_method, m, dlx_method_open_memory(&m, NULL, 4, NULL, NULL, &err));
}

static void test_dlx_method_input_info(void)
{
    REFUSED(dlx_method_input_info(g.method, 0, NULL, &err));
    CLEARED(dlx_tensor_info, i, dlx_method_input_info(NULL, 0, &i, &err));
    CLEARED(dlx_tensor_info, i, dlx_method_input_info(g.method, 99, &i, &err));
}

static void test_dlx_method_output_info(void)
{
    REFUSED(dlx_method_output_info(g.method, 0, NULL, &err));
    CLEARED(dlx_tensor_info, i, dlx_method_output_info(NULL, 0, &i, &err));
    CLEARED(dlx_tensor_info, i, dlx_method_output_info(g.method, 99, &i, &err));
}

static void test_dlx_method_run(void)
{
    dlx_tensor t = {.struct_size = sizeof t};
    REFUSED(dlx_method_run(NULL, &t, 1, &err));
    REFUSED(dlx_method_run(g.method, NULL, dlx_method_num_inputs(g.method), &err));
    REFUSED(dlx_method_run(g.method, NULL, 0, &err));
}

static void test_dlx_method_output(void)
{
    REFUSED(dlx_method_output(g.method, 0, NULL, &err));
    CLEARED(dlx_tensor, t, dlx_method_output(NULL, 0, &t, &err));
    CLEARED(dlx_tensor, t, dlx_method_output(g.method, 99, &t, &err));
    CLEARED(dlx_tensor, t, dlx_method_output(g.method, 0, &t, &err)); /* before a call */
}

/* ---- text.h ---- */

static void test_dlx_tokenizer_open_folder(void)
{
    REFUSED(dlx_tokenizer_open_folder(NULL, g.checkpoint, &err));
    EMPTIED(dlx_tokenizer, t, dlx_tokenizer_open_folder(&t, NULL, &err));
}

static void test_dlx_tokenizer_open_folder_with(void)
{
    REFUSED(dlx_tokenizer_open_folder_with(NULL, g.checkpoint, "none", &err));
    EMPTIED(dlx_tokenizer, t, dlx_tokenizer_open_folder_with(&t, NULL, "none", &err));
    EMPTIED(dlx_tokenizer, t, dlx_tokenizer_open_folder_with(&t, g.checkpoint, "missing", &err));
}

static void test_dlx_tokenizer_open_packed(void)
{
    REFUSED(dlx_tokenizer_open_packed(NULL, "DLXTOK", 6, &err));
    EMPTIED(dlx_tokenizer, t, dlx_tokenizer_open_packed(&t, NULL, 6, &err));
    dlx_tokenizer *t = (dlx_tokenizer *)&g;
    FAILS(dlx_tokenizer_open_packed(&t, "DLXTOK", 6, &err), DLX_E_FORMAT);
    assert_null(t);
    dlx_tokenizer_close(NULL);
}

static void test_dlx_tokenizer_open_pte(void)
{
    REFUSED(dlx_tokenizer_open_pte(NULL, g.path, &err));
    EMPTIED(dlx_tokenizer, t, dlx_tokenizer_open_pte(&t, NULL, &err));
}

static void test_dlx_tokenizer_open_pte_fd(void)
{
    REFUSED(dlx_tokenizer_open_pte_fd(NULL, 0, &err));
    EMPTIED(dlx_tokenizer, t, dlx_tokenizer_open_pte_fd(&t, -1, &err));
}

static void test_dlx_tokenizer_open_pte_memory(void)
{
    REFUSED(dlx_tokenizer_open_pte_memory(NULL, "ET12", 4, &err));
    EMPTIED(dlx_tokenizer, t, dlx_tokenizer_open_pte_memory(&t, NULL, 4, &err));
}

static void test_dlx_tokenizer_pack(void)
{
    void *bytes = &g;
    ZEROED(n, dlx_tokenizer_pack(g.tokenizer, NULL, &n, &err));
    EMPTIED(void, b, dlx_tokenizer_pack(g.tokenizer, &b, NULL, &err));
    ZEROED(n, dlx_tokenizer_pack(NULL, &bytes, &n, &err));
    assert_null(bytes);
}

static void test_dlx_tokenizer_encode(void)
{
    size_t count;
    ZEROED(n, dlx_tokenizer_encode(g.tokenizer, "a", 1, 0, NULL, &n, &err));
    EMPTIED(int32_t, ids, dlx_tokenizer_encode(g.tokenizer, "a", 1, 0, &ids, NULL, &err));
    EMPTIED(int32_t, ids, dlx_tokenizer_encode(NULL, "a", 1, 0, &ids, &count, &err));
    EMPTIED(int32_t, ids, dlx_tokenizer_encode(g.tokenizer, NULL, 1, 0, &ids, &count, &err));
    EMPTIED(int32_t, ids, dlx_tokenizer_encode(g.tokenizer, "a", 1, 64, &ids, &count, &err));
    size_t n_bytes = 77;
    assert_null(dlx_tokenizer_bytes(NULL, 0, &n_bytes));
    assert_int_equal(n_bytes, 0);
    assert_non_null(dlx_tokenizer_bytes(g.tokenizer, prompt[0], NULL));
    assert_null(dlx_tokenizer_bytes(g.tokenizer, -1, NULL));
    assert_int_equal(dlx_tokenizer_size(NULL), 0);
    assert_int_equal(dlx_tokenizer_special_id(NULL, "a"), -1);
    assert_int_equal(dlx_tokenizer_special_id(g.tokenizer, NULL), -1);
    assert_int_equal(dlx_tokenizer_mask_id(NULL), -1);
    assert_false(dlx_tokenizer_has_chat_template(NULL));
}

static void test_dlx_tokenizer_decode(void)
{
    ZEROED(n, dlx_tokenizer_decode(g.tokenizer, prompt, 3, false, NULL, &n, &err));
    EMPTIED(char, t, dlx_tokenizer_decode(NULL, prompt, 3, false, &t, NULL, &err));
    EMPTIED(char, t, dlx_tokenizer_decode(g.tokenizer, NULL, 3, false, &t, NULL, &err));
}

static void test_dlx_text_stream_open(void)
{
    REFUSED(dlx_text_stream_open(NULL, g.tokenizer, false, &err));
    EMPTIED(dlx_text_stream, s, dlx_text_stream_open(&s, NULL, false, &err));
    dlx_text_stream_close(NULL);
}

static void test_dlx_text_stream_push(void)
{
    size_t count;
    ZEROED(n, dlx_text_stream_push(g.stream, prompt, 3, NULL, &n, &err));
    EMPTIED(const char, t, dlx_text_stream_push(NULL, prompt, 3, &t, &count, &err));
    EMPTIED(const char, t, dlx_text_stream_push(g.stream, NULL, 3, &t, NULL, &err));
}

static void test_dlx_text_stream_flush(void)
{
    ZEROED(n, dlx_text_stream_flush(g.stream, NULL, &n, &err));
    EMPTIED(const char, t, dlx_text_stream_flush(NULL, &t, NULL, &err));
}

static void test_dlx_chat_render(void)
{
    dlx_chat_message m = {.struct_size = sizeof m, .role = "user", .content = "hi"}, nameless = m;
    dlx_chat_options unset = {.struct_size = 0};
    nameless.role = NULL;
    ZEROED(n, dlx_chat_render(g.tokenizer, &m, 1, NULL, NULL, &n, &err));
    EMPTIED(char, t, dlx_chat_render(NULL, &m, 1, NULL, &t, NULL, &err));
    EMPTIED(char, t, dlx_chat_render(g.tokenizer, NULL, 1, NULL, &t, NULL, &err));
    EMPTIED(char, t, dlx_chat_render(g.tokenizer, &nameless, 1, NULL, &t, NULL, &err));
    EMPTIED(char, t, dlx_chat_render(g.tokenizer, &m, 1, &unset, &t, NULL, &err));
}

static void test_dlx_chat_render_json(void)
{
    ZEROED(n, dlx_chat_render_json(g.tokenizer, "[]", 2, NULL, NULL, &n, &err));
    EMPTIED(char, t, dlx_chat_render_json(NULL, "[]", 2, NULL, &t, NULL, &err));
    EMPTIED(char, t, dlx_chat_render_json(g.tokenizer, NULL, 2, NULL, &t, NULL, &err));
    EMPTIED(char, t, dlx_chat_render_json(g.tokenizer, "[{}]", 4, NULL, &t, NULL, &err));
}

static void test_dlx_chat_encode_json(void)
{
    size_t count;
    ZEROED(n, dlx_chat_encode_json(g.tokenizer, "[]", 2, NULL, NULL, &n, &err));
    EMPTIED(int32_t, ids, dlx_chat_encode_json(g.tokenizer, "[]", 2, NULL, &ids, NULL, &err));
    EMPTIED(int32_t, ids, dlx_chat_encode_json(NULL, "[]", 2, NULL, &ids, &count, &err));
    EMPTIED(int32_t, ids, dlx_chat_encode_json(g.tokenizer, NULL, 2, NULL, &ids, &count, &err));
}

static void test_dlx_chat_encode(void)
{
    dlx_chat_message m = {.struct_size = sizeof m, .role = "user", .content = "hi"};
    size_t count;
    ZEROED(n, dlx_chat_encode(g.tokenizer, &m, 1, NULL, NULL, &n, &err));
    EMPTIED(int32_t, ids, dlx_chat_encode(g.tokenizer, &m, 1, NULL, &ids, NULL, &err));
    EMPTIED(int32_t, ids, dlx_chat_encode(NULL, &m, 1, NULL, &ids, &count, &err));
    EMPTIED(int32_t, ids, dlx_chat_encode(g.tokenizer, NULL, 1, NULL, &ids, &count, &err));
}

/* ---- export.h ---- */

static void test_dlx_export(void)
{
    char path[1024];
    path_in(path, g.folder.folder, "other.pte");
    dlx_export_options o = dlx_export_options_default();
    dlx_export_result unset = {0};
    REFUSED(dlx_export(NULL, NULL, &err));
    CLEARED(dlx_export_result, r, dlx_export(NULL, &r, &err));
    CLEARED(dlx_export_result, r, dlx_export(&o, &r, &err));
    o.model_path = g.checkpoint;
    CLEARED(dlx_export_result, r, dlx_export(&o, &r, &err));
    o.output_path = path;
    REFUSED(dlx_export(&o, &unset, &err));
    o.model_path = NULL;
    REFUSED(dlx_export(&o, NULL, &err));
    o.struct_size = 1;
    CLEARED(dlx_export_result, r, dlx_export(&o, &r, &err));
    assert_false(dlx_export_backend_info(0, NULL));
    assert_false(dlx_export_scheme_info(0, NULL));
    assert_false(dlx_export_kv_info(0, NULL));
    assert_false(dlx_export_soc_info(0, NULL));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_dlx_export_backend_check(void)
{
    dlx_export_options o = dlx_export_options_default(), unset = {0};
    EMPTIED(char, found, dlx_export_backend_check(NULL, &found, &err));
    EMPTIED(char, found, dlx_export_backend_check(&unset, &found, &err));
    REFUSED(dlx_export_backend_check(&o, NULL, &err));
}

static void test_dlx_export_cache_folder(void)
{
    REFUSED(dlx_export_cache_folder(NULL, &err));
}

static void test_dlx_export_find_checkpoint(void)
{
    REFUSED(dlx_export_find_checkpoint(NULL, g.checkpoint, &err));
    EMPTIED(char, folder, dlx_export_find_checkpoint(&folder, NULL, &err));
    EMPTIED(char, folder, dlx_export_find_checkpoint(&folder, "", &err));
}

static void test_dlx_validate(void)
{
    dlx_validate_options o = {.struct_size = sizeof o, .model_path = g.checkpoint};
    REFUSED(dlx_validate(&o, NULL, &err));
    CLEARED(dlx_validation, v, dlx_validate(NULL, &v, &err));
    CLEARED(dlx_validation, v, dlx_validate(&o, &v, &err));
}

static void test_dlx_export_validated(void)
{
    dlx_export_options o = {.struct_size = sizeof o, .model_path = g.checkpoint};
    dlx_validate_options how = {.struct_size = sizeof how};
    REFUSED(dlx_export_validated(&o, &how, NULL, NULL, &err));
    CLEARED(dlx_validation, v, dlx_export_validated(NULL, &how, NULL, &v, &err));
    CLEARED(dlx_validation, v, dlx_export_validated(&o, NULL, NULL, &v, &err));
    CLEARED(dlx_validation, v, dlx_export_validated(&o, &how, NULL, &v, &err));
}

static void test_dlx_quantize_report(void)
{
    dlx_quantize_report_options o = {.struct_size = sizeof o};
    REFUSED(dlx_quantize_report(&o, NULL, &err));
    EMPTIED(char, json, dlx_quantize_report(NULL, &json, &err));
    EMPTIED(char, json, dlx_quantize_report(&o, &json, &err));
}

/* ---- fixed.h ---- */

static void test_dlx_fixed_program_read(void)
{
    REFUSED(dlx_fixed_program_read(NULL, g.path, &err));
    EMPTIED(dlx_fixed_program, p, dlx_fixed_program_read(&p, NULL, &err));
    FAILS(dlx_fixed_program_read(&(dlx_fixed_program *){NULL}, g.path, &err), DLX_E_UNSUPPORTED);
    dlx_fixed_program_free(NULL);
}

static void test_dlx_fixed_program_read_fd(void)
{
    REFUSED(dlx_fixed_program_read_fd(NULL, 0, &err));
    EMPTIED(dlx_fixed_program, p, dlx_fixed_program_read_fd(&p, -1, &err));
}

static void test_dlx_fixed_program_read_memory(void)
{
    REFUSED(dlx_fixed_program_read_memory(NULL, "ET12", 4, &err));
    EMPTIED(dlx_fixed_program, p, dlx_fixed_program_read_memory(&p, NULL, 4, &err));
}

static dlx_status run_nothing(void *ctx, size_t method, const void **outputs, dlx_error *e)
{
    (void)ctx;
    (void)method;
    (void)outputs;
    (void)e;
    return DLX_E_INTERNAL;
}

static dlx_fixed_program good_program(void)
{
    static const int32_t four = 4;
    return (dlx_fixed_program){.struct_size = sizeof(dlx_fixed_program),
                               .facts = dlx_model_get_facts(g.model),
                               .layers = 1,
                               .kv_heads = 1,
                               .head_dim = 8,
                               .element = DLX_ELEMENT_FLOAT32,
                               .n_methods = 1,
                               .method_rows = &four};
}

static void test_dlx_fixed_open(void)
{
    dlx_fixed_program p = good_program();
    dlx_allocator half = {0};
    REFUSED(dlx_fixed_open(NULL, &p, run_nothing, NULL, NULL, &err));
    EMPTIED(dlx_fixed_session, s, dlx_fixed_open(&s, NULL, run_nothing, NULL, NULL, &err));
    EMPTIED(dlx_fixed_session, s, dlx_fixed_open(&s, &p, NULL, NULL, NULL, &err));
    EMPTIED(dlx_fixed_session, s, dlx_fixed_open(&s, &p, run_nothing, NULL, &half, &err));
    assert_int_equal(dlx_fixed_bytes(NULL), 0);
    dlx_fixed_close(NULL);
}

static void test_dlx_fixed_input(void)
{
    dlx_fixed_program p = good_program();
    dlx_fixed_session *s;
    good(dlx_fixed_open(&s, &p, run_nothing, NULL, NULL, &err));
    REFUSED(dlx_fixed_input(s, 0, 0, NULL, &err));
    CLEARED(dlx_tensor, t, dlx_fixed_input(NULL, 0, 0, &t, &err));
    CLEARED(dlx_tensor, t, dlx_fixed_input(s, 1, 0, &t, &err));
    CLEARED(dlx_tensor, t, dlx_fixed_input(s, 0, 5, &t, &err));
    dlx_fixed_close(s);
}

static void test_dlx_fixed_forward(void)
{
    dlx_fixed_program p = good_program();
    dlx_forward_call c = {.struct_size = sizeof c, .ids = prompt, .n_ids = 3, .n_rows = 3};
    dlx_fixed_session *s;
    good(dlx_fixed_open(&s, &p, run_nothing, NULL, NULL, &err));
    REFUSED(dlx_fixed_forward(s, NULL, &err));
    REFUSED(dlx_fixed_forward(NULL, &c, &err));
    REFUSED(dlx_fixed_forward(s, &c, &err)); /* no place for logits */
    c.n_rows = 0;
    c.struct_size = 1;
    REFUSED(dlx_fixed_forward(s, &c, &err));
    assert_int_equal(dlx_fixed_reusable(NULL, prompt, 3, 4), 0);
    assert_int_equal(dlx_fixed_reusable(s, NULL, 3, 4), 0);
    dlx_fixed_truncate(NULL, 0);
    dlx_fixed_truncate(s, -1);
    dlx_fixed_truncate(s, INT32_MAX);
    dlx_fixed_close(s);
}

/* ---- all of them ---- */

static const null_row rows[] = {
    ROW(dlx_method_open),
    ROW(dlx_method_open_fd),
    ROW(dlx_method_open_memory),
    ROW(dlx_method_input_info),
    ROW(dlx_method_output_info),
    ROW(dlx_method_run),
    ROW(dlx_method_output),
    ROW(dlx_tokenizer_open_folder),
    ROW(dlx_tokenizer_open_folder_with),
    ROW(dlx_tokenizer_open_packed),
    ROW(dlx_tokenizer_open_pte),
    ROW(dlx_tokenizer_open_pte_fd),
    ROW(dlx_tokenizer_open_pte_memory),
    ROW(dlx_tokenizer_pack),
    ROW(dlx_tokenizer_encode),
    ROW(dlx_tokenizer_decode),
    ROW(dlx_text_stream_open),
    ROW(dlx_text_stream_push),
    ROW(dlx_text_stream_flush),
    ROW(dlx_chat_render),
    ROW(dlx_chat_encode),
    ROW(dlx_chat_render_json),
    ROW(dlx_chat_encode_json),
    ROW(dlx_export),
    ROW(dlx_export_backend_check),
    ROW(dlx_export_cache_folder),
    ROW(dlx_export_find_checkpoint),
    ROW(dlx_validate),
    ROW(dlx_export_validated),
    ROW(dlx_quantize_report),
    ROW(dlx_fixed_program_read),
    ROW(dlx_fixed_program_read_fd),
    ROW(dlx_fixed_program_read_memory),
    ROW(dlx_fixed_open),
    ROW(dlx_fixed_input),
    ROW(dlx_fixed_forward),
};

int main(void)
{
    return run_rows(rows, sizeof rows / sizeof *rows);
}
