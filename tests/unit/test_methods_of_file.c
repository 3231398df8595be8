/*
 * Programs with a method for each of several bounds of rows: one copy of the weights, the answers of programs with one
 * method, the same bytes for the same input, and numbers that there can be no method for.
 */
#include "fail_fixture.h"
#include "format/pte.h"
#include "shared_folder.h"
#include "whole_file.h"

/* An export of `family`, [n] further methods. */
static dlx_status try_export(const char *name, const char *family, const char *kv, bool int8, int32_t max_rows,
                             const int32_t *rows, size_t n, dlx_export_result *result, dlx_error *err)
{
    char checkpoint[1024], path[1024];
    checkpoint_of(checkpoint, family);
    path_in(path, folder.folder, name);
    dlx_export_options o = tiny_export(checkpoint, path, int8);
    o.kv = kv;
    o.max_rows = max_rows;
    o.method_rows = rows;
    o.n_method_rows = n;
    result->struct_size = sizeof *result;
    return dlx_export(&o, result, err);
}

static dlx_export_result write_export(const char *name, const char *family, const char *kv, bool int8, int32_t max_rows,
                                      const int32_t *rows, size_t n)
{
    dlx_export_result result;
    dlx_error err = {0};
    if (try_export(name, family, kv, int8, max_rows, rows, n, &result, &err) != DLX_OK)
        fail_msg("%s, %s: %s", family, kv, err.message);
    return result;
}

typedef struct opened {
    whole_file bytes;
    dlx_arena arena;
    dlx_pte pte;
} opened;

static void open_export(opened *o, const char *name)
{
    char path[1024];
    dlx_error err = {0};
    path_in(path, folder.folder, name);
    assert_int_equal(read_whole_file(&o->bytes, path, &err), DLX_OK);
    dlx_arena_init(&o->arena);
    if (dlx_pte_read(&o->pte, &o->arena, o->bytes.data, o->bytes.size, name, &err) != DLX_OK)
        fail_msg("%s", err.message);
}

static void close_export(opened *o)
{
    dlx_arena_free(&o->arena);
    free_whole_file(&o->bytes);
}

static const char *const forms[] = {"caller", "state", "explicit"};

/* ---- the weights ---- */

enum { MOST_OF_A_METHOD = 128 << 10 }; /* instructions, payload, and of the explicit form rotary tables */

static bool is_renamed(const char *key)
{
    return strstr(key, "@forward_") != NULL;
}

static uint32_t constants(const dlx_pte *pte)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < pte->n_blobs; i++) n += pte->blobs[i].kind == DLX_BLOB_CONSTANT;
    return n;
}

/* Those of a further method, which its tensors have the names of. */
static uint32_t renamed_constants(const dlx_pte *pte)
{
    uint32_t n = 0;
    for (uint32_t p = 0; p < pte->n_plans; p++)
        for (uint32_t i = 0; i < pte->plans[p].n_values; i++) {
            const dlx_evalue *v = &pte->plans[p].values[i];
            if (v->kind != DLX_EV_TENSOR || !v->u.tensor.name || !is_renamed(v->u.tensor.name)) continue;
            assert_true(!strncmp(v->u.tensor.name, "explicit.", 9) || !strncmp(v->u.tensor.name, "rope.", 5));
            n++;
        }
    return n;
}

static void weights_are_there_once(void **state)
{
    static const int32_t rows[] = {8, 4};
    (void)state;
    for (size_t f = 0; f < 3; f++)
        for (int family = 0; family < FAMILIES; family++)
            for (int int8 = 0; int8 < 2; int8++) {
                opened one, three;
                dlx_export_result a = write_export("1.pte", families[family], forms[f], int8, 16, NULL, 0);
                dlx_export_result b = write_export("3.pte", families[family], forms[f], int8, 16, rows, 2);
                assert_in_range(b.file_bytes - a.file_bytes, 1, 2 * MOST_OF_A_METHOD);
                assert_int_equal(a.quantised_bytes, b.quantised_bytes);
                assert_int_equal(a.quantised_tensors, b.quantised_tensors);
                open_export(&one, "1.pte");
                open_export(&three, "3.pte");
                assert_int_equal(three.pte.n_plans, one.pte.n_plans + 4);
                uint32_t renamed = renamed_constants(&three.pte);
                assert_int_equal(three.pte.n_named, one.pte.n_named);
                assert_int_equal(constants(&three.pte) - renamed, constants(&one.pte));
                assert_int_equal(renamed > 0, f == 2); /* as large as a call has rows */
                close_export(&one);
                close_export(&three);
            }
}

/* Without more of them the option says nothing. */
static void one_method_is_the_same_file(void **state)
{
    whole_file a, b;
    char path[1024];
    dlx_error err = {0};
    (void)state;
    write_export("a.pte", "sdar", "caller", true, 16, NULL, 0);
    write_export("b.pte", "sdar", "caller", true, 16, (const int32_t[]){8}, 0);
    path_in(path, folder.folder, "a.pte");
    assert_int_equal(read_whole_file(&a, path, &err), DLX_OK);
    path_in(path, folder.folder, "b.pte");
    assert_int_equal(read_whole_file(&b, path, &err), DLX_OK);
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    free_whole_file(&a);
    free_whole_file(&b);
}

static void same_input_gives_same_bytes(void **state)
{
    (void)state;
    for (size_t f = 0; f < 3; f++) {
        whole_file file[2];
        for (int i = 0; i < 2; i++) {
            char path[1024];
            dlx_error err = {0};
            write_export("same.pte", "dream", forms[f], true, 16, (const int32_t[]){4, 8}, 2);
            path_in(path, folder.folder, "same.pte");
            assert_int_equal(read_whole_file(&file[i], path, &err), DLX_OK);
        }
        assert_int_equal(file[0].size, file[1].size);
        assert_memory_equal(file[0].data, file[1].data, file[0].size);
        for (int i = 0; i < 2; i++) free_whole_file(&file[i]);
    }
}

static void the_file_says_which_there_are(void **state)
{
    static const char *const names[] = {"forward", "forward_8", "forward_1"};
    static const int rows[] = {16, 8, 1};
    opened o;
    (void)state;
    write_export("says.pte", "llada", "caller", false, 16, (const int32_t[]){8, 1}, 2);
    open_export(&o, "says.pte");
    for (uint32_t i = 0; i < 3; i++) {
        assert_string_equal(o.pte.plans[i].name, names[i]);
        assert_string_equal(dlx_pte_constant(&o.pte, "get_methods", i)->u.s.text, names[i]);
        assert_int_equal(dlx_pte_constant(&o.pte, "get_methods_max_seq_len", i)->u.i, rows[i]);
    }
    assert_null(dlx_pte_constant(&o.pte, "get_methods", 3));
    assert_int_equal(dlx_pte_constant_int(&o.pte, "get_max_seq_len", 0), 16);
    close_export(&o);
}

/* ---- answers ---- */

/* The logits of method `name` for as many tokens as it takes; malloc'd. */
static float *answer(const char *file, const char *name, size_t *n)
{
    char path[1024];
    dlx_error err = {0};
    dlx_method *m;
    dlx_tensor in[128], out = {.struct_size = sizeof out};
    path_in(path, folder.folder, file);
    if (dlx_method_open(&m, path, name, NULL, &err) != DLX_OK) fail_msg("%s: %s", name, err.message);
    size_t inputs = dlx_method_num_inputs(m);
    assert_in_range(inputs, 2, 128);
    for (size_t i = 0; i < inputs; i++) {
        dlx_tensor_info info = {.struct_size = sizeof info};
        assert_int_equal(dlx_method_input_info(m, i, &info, &err), DLX_OK);
        in[i] = (dlx_tensor){.struct_size = sizeof in[i], .element = info.element, .rank = info.rank};
        memcpy(in[i].size, info.size, sizeof info.size);
        if (i > 1 && inputs > 6) in[i].size[0] = 0; /* nothing is cached */
        size_t elements = 1;
        for (int d = 0; d < info.rank; d++) elements *= (size_t)in[i].size[d];
        in[i].data = calloc(elements + 8, 8);
        assert_non_null(in[i].data);
        for (size_t k = 0; i < 2 && k < elements; k++) ((int64_t *)in[i].data)[k] = (int64_t)(i ? k : 5 + k);
    }
    if (dlx_method_run(m, in, inputs, &err) != DLX_OK) fail_msg("%s: %s", name, err.message);
    assert_int_equal(dlx_method_output(m, 0, &out, &err), DLX_OK);
    *n = sizeof(float);
    for (int d = 0; d < out.rank; d++) *n *= (size_t)out.size[d];
    float *kept = malloc(*n);
    assert_non_null(kept);
    memcpy(kept, out.data, *n);
    for (size_t i = 0; i < inputs; i++) free(in[i].data);
    dlx_method_close(m);
    return kept;
}

static void each_answers_as_a_file_of_its_own(void **state)
{
    (void)state;
    for (size_t f = 0; f < 3; f++)
        for (int int8 = 0; int8 < 2; int8++) {
            size_t n[4];
            write_export("all.pte", "sdar", forms[f], int8, 16, (const int32_t[]){8}, 1);
            write_export("16.pte", "sdar", forms[f], int8, 16, NULL, 0);
            write_export("8.pte", "sdar", forms[f], int8, 8, NULL, 0);
            float *got[4] = {answer("all.pte", "forward", &n[0]), answer("16.pte", "forward", &n[1]),
                             answer("all.pte", "forward_8", &n[2]), answer("8.pte", "forward", &n[3])};
            for (int i = 0; i < 4; i += 2) {
                assert_int_equal(n[i], n[i + 1]);
                assert_memory_equal(got[i], got[i + 1], n[i]);
            }
            assert_int_equal(n[0], 2 * n[2]);
            for (int i = 0; i < 4; i++) free(got[i]);
        }
}

/* ---- refused ---- */

static void impossible_numbers_are_refused(void **state)
{
    static const struct {
        int32_t rows[8];
        size_t n;
        const char *says;
    } wanted[] = {{{0}, 1, "a method for 0 rows was asked for; expected 1 to max_seq_len, 64"},
                  {{-3}, 1, "a method for -3 rows"},
                  {{8, 65}, 2, "a method for 65 rows"},
                  {{16}, 1, "'forward' is for as many already"},
                  {{8, 4, 8}, 3, "'forward_8' is for as many already"},
                  {{1, 2, 3, 4, 5, 6, 7, 8}, 8, "8 further methods were asked for; at most 7"}};
    dlx_export_result result;
    dlx_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        assert_int_equal(try_export("no.pte", "sdar", "caller", true, 16, wanted[i].rows, wanted[i].n, &result, &err),
                         DLX_E_INVALID);
        if (!strstr(err.message, wanted[i].says)) fail_msg("'%s' does not say '%s'", err.message, wanted[i].says);
    }
    assert_int_equal(try_export("no.pte", "sdar", "caller", true, 16, NULL, 2, &result, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "there is no list"));
}

/* Every program stands on its own when it is read: a method that is damaged is the file's error, whoever asks. */
static void a_damaged_second_method_is_an_error(void **state)
{
    opened o;
    dlx_error err = {0};
    uint32_t refused = 0;
    (void)state;
    write_export("damaged.pte", "sdar", "caller", true, 16, (const int32_t[]){8}, 1);
    open_export(&o, "damaged.pte");
    uint64_t program = o.pte.program_size;
    for (uint64_t at = 64; at < program; at += 61) {
        dlx_pte pte;
        dlx_arena arena;
        uint8_t before = o.bytes.data[at];
        dlx_arena_init(&arena);
        o.bytes.data[at] = (uint8_t)~before;
        refused += dlx_pte_read(&pte, &arena, o.bytes.data, o.bytes.size, "damaged.pte", &err) != DLX_OK;
        o.bytes.data[at] = before;
        dlx_arena_free(&arena);
    }
    assert_true(refused > program / 61 / 8);
    close_export(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_there_once),
        cmocka_unit_test(one_method_is_the_same_file),
        cmocka_unit_test(same_input_gives_same_bytes),
        cmocka_unit_test(the_file_says_which_there_are),
        cmocka_unit_test(each_answers_as_a_file_of_its_own),
        cmocka_unit_test(impossible_numbers_are_refused),
        cmocka_unit_test(a_damaged_second_method_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_it);
}
