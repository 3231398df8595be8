/*
 * Programs that ExecuTorch's own exporter wrote (tests/data/foreign): every one runs, raised and as the file has it,
 * and answers what the module answered in PyTorch, call after call. Decoders among them run as sessions, with one fused
 * attention a layer.
 */
#include <dirent.h>
#include <math.h>

#include "base/io.h"
#include "diffulex_edge/method.h"
#include "engine/model.h"
#include "foreign_io.h"
#include "runtime/import.h"
#include "runtime/program.h"
#include "runtime/raise.h"
#include "runtime/raise_decoder.h"
#include "whole_file.h"

enum { MOST = 40 };

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static size_t list(char names[][64], size_t most)
{
    DIR *folder = opendir(DLX_TEST_DATA "/foreign");
    size_t n = 0;
    if (!folder) fail_msg("there is no folder of programs");
    for (struct dirent *e; (e = readdir(folder));) {
        size_t length = strlen(e->d_name);
        if (length < 5 || length > 60 || strcmp(e->d_name + length - 4, ".pte") != 0) continue;
        assert_true(n < most);
        snprintf(names[n++], 64, "%.*s", (int)(length - 4), e->d_name);
    }
    closedir(folder);
    qsort(names, n, sizeof *names, by_name);
    return n;
}

/* Floats agree to `tolerance` of the largest; -inf and NaN are where they were; integers are equal. */
static void compare(const char *name, int64_t call, size_t i, const io_tensor *want, const dlx_tensor *got,
                    float tolerance)
{
    if (got->element != want->scalar_type || got->rank != want->rank)
        fail_msg("%s, call %d, output %zu: %s of %d dimensions", name, (int)call, i, dlx_element_name(got->element),
                 got->rank);
    for (int d = 0; d < got->rank; d++)
        if (got->size[d] != want->size[d])
            fail_msg("%s, call %d, output %zu: dimension %d is %d, not %d", name, (int)call, i, d, (int)got->size[d],
                     (int)want->size[d]);
    if (want->scalar_type != DLX_ELEMENT_FLOAT32) {
        if (memcmp(want->data, got->data, want->elements * want->element_size) != 0)
            fail_msg("%s, call %d, output %zu: other numbers", name, (int)call, i);
        return;
    }
    const float *a = want->data, *b = got->data;
    float most = 0;
    for (size_t k = 0; k < want->elements; k++)
        if (isfinite(a[k])) most = fmaxf(most, fabsf(a[k]));
    for (size_t k = 0; k < want->elements; k++) {
        bool same = isfinite(a[k]) ? fabsf(a[k] - b[k]) <= tolerance * fmaxf(most, 1e-3f)
                    : isnan(a[k])  ? isnan(b[k])
                                   : a[k] == b[k];
        if (!same)
            fail_msg("%s, call %d, output %zu, element %zu: %g, expected %g (largest %g)", name, (int)call, i, k,
                     (double)b[k], (double)a[k], (double)most);
    }
}

static void run_calls(const char *name, dlx_method *m, float tolerance)
{
    char path[256];
    io_file f;
    dlx_error err = {0};
    snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.io", name);
    io_open(&f, path);
    for (int64_t call = 0; call < f.calls; call++) {
        size_t n_in = (size_t)io_number(&f), n_out = (size_t)io_number(&f);
        dlx_tensor in[MOST];
        assert_true(n_in <= MOST);
        assert_int_equal(n_in, dlx_method_num_inputs(m));
        assert_int_equal(n_out, dlx_method_num_outputs(m));
        for (size_t i = 0; i < n_in; i++) {
            io_tensor t = io_next(&f);
            in[i] = (dlx_tensor){.struct_size = sizeof in[i],
                                 .element = (int32_t)t.scalar_type,
                                 .rank = (int32_t)t.rank,
                                 .data = (void *)(uintptr_t)t.data};
            memcpy(in[i].size, t.size, sizeof in[i].size);
        }
        if (dlx_method_run(m, in, n_in, &err) != DLX_OK) fail_msg("%s, call %d: %s", name, (int)call, err.message);
        for (size_t i = 0; i < n_out; i++) {
            io_tensor want = io_next(&f);
            dlx_tensor got = {.struct_size = sizeof got};
            assert_int_equal(dlx_method_output(m, i, &got, &err), DLX_OK);
            compare(name, call, i, &want, &got, tolerance);
        }
    }
    io_close(&f);
}

static float tolerance_of(const char *name)
{
    /* int8 activations: one step of a rounding tie, and scales that a file rounds. Floats: sums in another order. */
    return strstr(name, "8da") ? 2e-2f : 2e-5f;
}

static void answers_as_in_pytorch(void **state)
{
    const char *name = *state;
    char path[256];
    dlx_error err = {0};
    dlx_method *m;
    snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.pte", name);
    dlx_method_options options = dlx_method_options_default();
    options.threads = 2;
    if (dlx_method_open(&m, path, NULL, &options, &err) != DLX_OK) fail_msg("%s", err.message);
    run_calls(name, m, tolerance_of(name));
    dlx_method_reset(m);
    run_calls(name, m, tolerance_of(name));
    dlx_method_close(m);
}

/* ---- as the file has it ------------------------------------------------------------------------------------------ */

typedef struct unraised {
    whole_file map;
    dlx_arena arena;
    dlx_pte pte;
    dlx_program p;
    dlx_pool *pool;
    dlx_executor *ex;
    dlx_tensor_ref in[MOST], out[MOST];
    size_t n_in, n_out;
} unraised;

static void open_unraised(unraised *u, const char *name)
{
    char path[256];
    dlx_error err = {0};
    dlx_graph g;
    dlx_shape most[MOST] = {0};
    memset(u, 0, sizeof *u);
    snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.pte", name);
    dlx_arena_init(&u->arena);
    assert_int_equal(dlx_pool_create(&u->pool, 1, NULL), DLX_OK);
    dlx_program_options options = {.limit = DLX_ISA_REF, .pool = u->pool};
    if (read_whole_file(&u->map, path, &err) != DLX_OK ||
        dlx_pte_read(&u->pte, &u->arena, u->map.data, u->map.size, path, &err) != DLX_OK ||
        dlx_import_method(&g, &u->pte, "forward", NULL, &err) != DLX_OK ||
        dlx_program_prepare(&u->p, &g, &options, &err) != DLX_OK)
        fail_msg("%s", err.message);
    u->n_in = u->p.g.n_inputs - u->p.g.n_states;
    u->n_out = u->p.g.n_outputs - u->p.g.n_states;
    assert_true(u->p.g.n_inputs <= MOST && u->p.g.n_outputs <= MOST);
    for (size_t i = 0; i < u->p.g.n_inputs; i++) {
        const dlx_value *v = &u->p.g.values[u->p.g.inputs[i]];
        most[i].rank = v->rank;
        memcpy(most[i].dim, v->dim, sizeof v->dim);
        if (i < u->n_in) continue;
        size_t bytes = (size_t)dlx_value_bytes(&u->p, u->p.g.inputs[i], &most[i]);
        u->in[i] = (dlx_tensor_ref){.data = calloc(bytes, 1), .shape = most[i]};
        assert_non_null(u->in[i].data);
        if (v->source.data) memcpy(u->in[i].data, v->source.data, bytes);
    }
    dlx_executor_bounds bounds = {.max_shape = most};
    if (dlx_executor_open(&u->ex, &u->p, &bounds, u->pool, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
}

static void close_unraised(unraised *u)
{
    for (size_t i = u->n_in; i < u->p.g.n_inputs; i++) free(u->in[i].data);
    dlx_executor_close(u->ex);
    dlx_program_free(&u->p);
    dlx_pool_free(u->pool);
    dlx_arena_free(&u->arena);
    free_whole_file(&u->map);
}

static void unraised_answers_the_same(void **state)
{
    const char *name = *state;
    char path[256];
    unraised u;
    io_file f;
    dlx_error err = {0};
    open_unraised(&u, name);
    snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.io", name);
    io_open(&f, path);
    for (int64_t call = 0; call < f.calls; call++) {
        assert_int_equal((size_t)io_number(&f), u.n_in);
        assert_int_equal((size_t)io_number(&f), u.n_out);
        for (size_t i = 0; i < u.n_in; i++) {
            io_tensor t = io_next(&f);
            u.in[i] = (dlx_tensor_ref){.data = (void *)(uintptr_t)t.data, .shape.rank = (uint8_t)t.rank};
            memcpy(u.in[i].shape.dim, t.size, sizeof u.in[i].shape.dim);
        }
        if (dlx_executor_run(u.ex, &(dlx_pass){.inputs = u.in}, u.out, &err) != DLX_OK)
            fail_msg("%s, call %d: %s", name, (int)call, err.message);
        for (size_t i = 0; i < u.n_out; i++) {
            io_tensor want = io_next(&f);
            dlx_tensor got = {.element = (int32_t)want.scalar_type, .rank = u.out[i].shape.rank, .data = u.out[i].data};
            memcpy(got.size, u.out[i].shape.dim, sizeof got.size);
            compare(name, call, i, &want, &got, tolerance_of(name));
        }
    }
    io_close(&f);
    close_unraised(&u);
}

/* ---- decoders as sessions ---------------------------------------------------------------------------------------- */

/* Programs whose attentions are all recognised. Positions are those of the recorded calls, from 0 on. */
static const char *const decoders[] = {
    "decoder_cache_8da8w",
    "decoder_cache_copied",
    "decoder_cache_dynamic",
    "decoder_cache_fixed_rows",
    "decoder_cache_rows_as_heads",
    "decoder_cache_rows_as_kv_heads",
    "decoder_cache_rows_as_elements",
    "decoder_cache_portable",
    "decoder_cache_static",
    "llama_8da8w",
    "llama_cache",
    "llama_cache_static",
    "llama_custom_sdpa",
    "llama_portable",
    "llama_qwen3",
    "official_kv",
    "official_kv_sdpa",
    "official_kv_static",
    "official_kv_sdpa_static",
};

static void a_session_answers_the_same(void **state)
{
    const char *name = *state;
    char path[256];
    io_file f;
    dlx_model *m;
    dlx_session *s;
    dlx_error err = {0};
    snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.pte", name);
    if (dlx_model_open(&m, path, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    if (!m->program.table.holds) fail_msg("%s", m->program.table.why_not);
    assert_int_equal(dlx_model_get_facts(m)->attn_block, 1);
    assert_int_equal(dlx_model_get_facts(m)->max_context, 24);
    if (dlx_session_open(&s, m, 0, 0, &err) != DLX_OK) fail_msg("%s", err.message);
    int32_t vocabulary = dlx_model_get_facts(m)->vocab_size, start = 0;
    snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.io", name);
    io_open(&f, path);
    for (int64_t call = 0; call < f.calls; call++) {
        float logits[8 * 64];
        int32_t ids[8], last;
        io_number(&f);
        io_number(&f);
        io_tensor tokens = io_next(&f);
        io_next(&f); /* positions */
        io_tensor want = io_next(&f);
        int32_t n = (int32_t)tokens.elements, rows = (int32_t)(want.elements / (size_t)vocabulary);
        assert_true(n <= 8 && vocabulary <= 64);
        for (int32_t i = 0; i < n; i++) ids[i] = (int32_t)((const int64_t *)tokens.data)[i];
        last = n - 1;
        dlx_forward_call c = {.struct_size = sizeof c,
                              .ids = ids,
                              .n_ids = n,
                              .start = start,
                              .attn_block = 1,
                              .n_store = n,
                              .rows = rows == 1 ? &last : NULL,
                              .n_rows = rows,
                              .logits = logits};
        if (start) c.context[c.n_context++] = (dlx_span){0, start};
        c.attn_block = 0; /* would be another model */
        assert_int_equal(dlx_session_forward(s, &c, NULL), DLX_E_INVALID);
        c.attn_block = 1;
        if (dlx_session_forward(s, &c, &err) != DLX_OK) fail_msg("%s, call %d: %s", name, (int)call, err.message);
        dlx_tensor got = {.element = DLX_ELEMENT_FLOAT32, .rank = (int32_t)want.rank, .data = logits};
        memcpy(got.size, want.size, sizeof got.size);
        compare(name, call, 0, &want, &got, tolerance_of(name));
        start += n;
    }
    io_close(&f);
    dlx_session_close(s);
    dlx_model_close(m);
}

/* A program of a fixed number of rows, asked for fewer, and for more: the rows are what they are together. */
static void any_number_in_a_session(const char *program, int32_t rows)
{
    enum { MOST_ROWS = 8, VOCABULARY = 40 };
    dlx_model *m;
    dlx_session *s;
    dlx_error err = {0};
    float all[2 * MOST_ROWS * VOCABULARY], some[2 * MOST_ROWS * VOCABULARY];
    int32_t ids[2 * MOST_ROWS];
    char path[256];
    snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.pte", program);
    for (int32_t i = 0; i < 2 * rows; i++) ids[i] = (3 * i + 1) % VOCABULARY;
    if (dlx_model_open(&m, path, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_model_get_facts(m)->max_rows, rows);
    assert_int_equal(dlx_session_open(&s, m, 0, 0, &err), DLX_OK);
    dlx_forward_call c = {
        .struct_size = sizeof c, .ids = ids, .n_ids = 2 * rows, .attn_block = 1, .n_rows = 2 * rows, .logits = all};
    if (dlx_session_forward(s, &c, &err) != DLX_OK) fail_msg("%s", err.message); /* in two passes */
    for (int32_t n = 1, at = 0; at < 2 * rows; at += n, n = n % 3 + 1) {
        if (n > 2 * rows - at) n = 2 * rows - at;
        c = (dlx_forward_call){.struct_size = sizeof c,
                               .ids = ids + at,
                               .n_ids = n,
                               .start = at,
                               .attn_block = 1,
                               .n_store = n,
                               .n_rows = n,
                               .logits = some + at * VOCABULARY};
        if (at) c.context[c.n_context++] = (dlx_span){0, at};
        if (dlx_session_forward(s, &c, &err) != DLX_OK) fail_msg("%s", err.message);
    }
    assert_memory_equal(all, some, (size_t)(2 * rows) * VOCABULARY * sizeof *all);
    dlx_session_close(s);
    dlx_model_close(m);
}

static void fixed_rows_are_any_number_in_a_session(void **state)
{
    (void)state;
    any_number_in_a_session("decoder_cache_fixed_rows", 5);
    any_number_in_a_session("decoder_cache_rows_as_heads", 4);
    any_number_in_a_session("decoder_cache_rows_as_kv_heads", 2);
    any_number_in_a_session("decoder_cache_rows_as_elements", 8);
}

/* What sessions cannot run is refused when it is opened, and runs as a method (above). */
static void a_fixed_number_of_cached_rows_is_refused(void **state)
{
    (void)state;
    dlx_model *m;
    dlx_error err = {0};
    assert_int_equal(dlx_model_open(&m, DLX_TEST_DATA "/foreign/decoder_explicit_fixed.pte", NULL, &err),
                     DLX_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "takes exactly"));
}

/* What the file states for its exporter's own runner is no contradiction: the tensors tell. */
static void metadata_of_others_is_bounded_by_the_tensors(void **state)
{
    (void)state;
    dlx_model *m;
    dlx_error err = {0};
    if (dlx_model_open(&m, DLX_TEST_DATA "/foreign/official_kv_sdpa.pte", NULL, &err) != DLX_OK)
        fail_msg("%s", err.message);
    const dlx_model_facts *f = dlx_model_get_facts(m);
    assert_int_equal(f->max_rows, 23); /* get_max_seq_len says 24 */
    assert_int_equal(f->max_context, 24);
    assert_int_equal(f->vocab_size, 40);
    assert_int_equal(f->bos_id, 1);
    assert_int_equal(f->num_stop_ids, 2);
    dlx_model_close(m);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static void refusals_name_what_is_missing(void **state)
{
    (void)state;
    static const struct {
        const char *program, *method, *words[3];
    } cases[] = {
        {"mlp_float16", NULL, {"operator aten::addmm.out", "computes on f32 only", "f16"}},
        {"mlp_bfloat16", NULL, {"operator aten::addmm.out", "computes on f32 only", "bf16"}},
        {"mlp_float16_xnnpack", NULL, {"XNNPACK delegate", "float16", "float32"}},
        {"convolution", NULL, {"Conv2d", "no such operator", ""}},
        {"padding", NULL, {"StaticConstantPad", "no such operator", ""}},
        {"mlp_static_int8", NULL, {"FullyConnected", "static quantisation is not supported", "dynamically"}},
        {"returns_none", NULL, {"output 1 is nothing", "return tensors only", "'diffulex-edge export'"}},
        {"two_methods", NULL, {"no method 'forward'", "'encode'", "'decode'"}},
        {"two_methods", "get_name", {"returns the text 'two'", "inspect", ""}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[256];
        dlx_method *m;
        dlx_error err = {0};
        snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/others/%s.pte", cases[i].program);
        dlx_status s = dlx_method_open(&m, path, cases[i].method, NULL, &err);
        if (s != DLX_E_UNSUPPORTED) fail_msg("%s: status %d, %s", cases[i].program, (int)s, err.message);
        for (int w = 0; w < 3; w++)
            if (!strstr(err.message, cases[i].words[w]))
                fail_msg("%s: '%s' is not in: %s", cases[i].program, cases[i].words[w], err.message);
    }
}

/* ---- methods that take nothing ----------------------------------------------------------------------------------- */

static void numbers_are_returned_as_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        size_t outputs;
        int32_t element;
        double value;
    } cases[] = {
        {"get_size", 1, DLX_ELEMENT_INT64, 3},
        {"get_scale", 1, DLX_ELEMENT_FLOAT32, 0.5},
        {"get_flag", 1, DLX_ELEMENT_BOOL, 1},
        {"get_ids", 2, DLX_ELEMENT_INT64, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlx_method *m;
        dlx_error err = {0};
        dlx_tensor t = {.struct_size = sizeof t};
        if (dlx_method_open(&m, DLX_TEST_DATA "/foreign/others/two_methods.pte", cases[i].method, NULL, &err) != DLX_OK)
            fail_msg("%s", err.message);
        assert_int_equal(dlx_method_num_inputs(m), 0);
        assert_int_equal(dlx_method_num_outputs(m), cases[i].outputs);
        assert_int_equal(dlx_method_run(m, NULL, 0, &err), DLX_OK);
        assert_int_equal(dlx_method_output(m, 0, &t, &err), DLX_OK);
        assert_int_equal(t.element, cases[i].element);
        assert_int_equal(t.rank, 0);
        double value = t.element == DLX_ELEMENT_INT64     ? (double)*(int64_t *)t.data
                       : t.element == DLX_ELEMENT_FLOAT32 ? (double)*(float *)t.data
                                                          : (double)*(uint8_t *)t.data;
        assert_true(value == cases[i].value);
        dlx_method_close(m);
    }
}

/* The graph as it is executed, as text, of a program whose bytes are in memory or still in the file; NULL: refused. */
static char *raised_graph(const dlx_pte *pte)
{
    dlx_error err;
    dlx_graph g;
    bool decoder;
    char *text = NULL;
    if (dlx_import_method(&g, pte, "forward", NULL, &err) != DLX_OK) return NULL;
    if (dlx_raise_decoder(&g, &decoder, &err) != DLX_OK || dlx_raise(&g, &err) != DLX_OK ||
        dlx_graph_print(&g, false, &text, &err) != DLX_OK)
        fail_msg("%s", err.message);
    dlx_graph_free(&g);
    return text;
}

/* Constants that are left in the file until they are needed do not hide anything from raising. */
static void a_file_is_raised_as_its_bytes_are(void **state)
{
    const char *name = *state;
    char path[256];
    whole_file bytes;
    dlx_file file;
    dlx_arena arena;
    dlx_pte in_memory, in_file;
    dlx_error err;
    snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.pte", name);
    dlx_arena_init(&arena);
    if (read_whole_file(&bytes, path, &err) != DLX_OK || dlx_file_open(&file, path, &err) != DLX_OK ||
        dlx_pte_read(&in_memory, &arena, bytes.data, bytes.size, path, &err) != DLX_OK ||
        dlx_pte_open(&in_file, &arena, &file, &err) != DLX_OK)
        fail_msg("%s", err.message);
    char *want = raised_graph(&in_memory), *got = raised_graph(&in_file);
    assert_int_equal(want != NULL, got != NULL);
    if (want) assert_string_equal(got, want);
    free(want);
    free(got);
    dlx_arena_free(&arena);
    dlx_file_close(&file);
    free_whole_file(&bytes);
}

int main(void)
{
    static char names[128][64];
    static struct CMUnitTest tests[512];
    size_t n = list(names, 128), count = 0;
    for (size_t i = 0; i < n; i++) {
        tests[count++] =
            (struct CMUnitTest){.name = names[i], .test_func = answers_as_in_pytorch, .initial_state = names[i]};
        tests[count++] =
            (struct CMUnitTest){.name = names[i], .test_func = unraised_answers_the_same, .initial_state = names[i]};
        tests[count++] = (struct CMUnitTest){
            .name = names[i], .test_func = a_file_is_raised_as_its_bytes_are, .initial_state = names[i]};
    }
    for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++)
        tests[count++] = (struct CMUnitTest){.name = decoders[i],
                                             .test_func = a_session_answers_the_same,
                                             .initial_state = (void *)(uintptr_t)decoders[i]};
    const struct CMUnitTest single[] = {
        cmocka_unit_test(fixed_rows_are_any_number_in_a_session),
        cmocka_unit_test(a_fixed_number_of_cached_rows_is_refused),
        cmocka_unit_test(metadata_of_others_is_bounded_by_the_tensors),
        cmocka_unit_test(refusals_name_what_is_missing),
        cmocka_unit_test(numbers_are_returned_as_tensors),
    };
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) tests[count++] = single[i];
    if (n < 25) return 1; /* the folder lost its programs */
    return _cmocka_run_group_tests("foreign programs", tests, count, NULL, NULL);
}
