/*
 * Which files are programs whose shapes never vary: what is read from one, and every fact in it that can be wrong.
 */
#include "fixed_runner.h"

#include <fcntl.h>

#include "base/sizes.h"
#include "base/status.h"
#include "format/pte.h"
#include "shared_folder.h"
#include "whole_file.h"

static char good[1024];   /* SDAR with methods of 8 and 4 rows */
static char inside[1024]; /* the same with one method, of 8, which keeps the cache */

/* `fixed-state` is Core ML's alone. */
static void export_inside(const char *path)
{
    char checkpoint[1024];
    dlx_error err = {0};
    checkpoint_of(checkpoint, "sdar");
    dlx_export_options o = tiny_export(checkpoint, path, false);
    o.backend = "coreml";
    o.quantization = "fp16";
    o.kv = "fixed-state";
    o.max_seq_len = 128;
    o.max_rows = 8;
    if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
}

static int make_good(void **state)
{
    int s = make_folder(state);
    path_in(good, folder.folder, "good.pte");
    export_fixed(good, "sdar", "fixed", "none", 8, (const int32_t[]){4}, 1);
    path_in(inside, folder.folder, "inside.pte");
    export_inside(inside);
    return s;
}

/* ---- what a file says ---------------------------------------------------------------------------------------------
 */

static void check_program(const dlx_fixed_program *p, int32_t element)
{
    assert_int_equal(p->struct_size, sizeof *p);
    assert_int_equal(p->facts->struct_size, sizeof *p->facts);
    assert_int_equal(p->facts->family, DLX_FAMILY_SDAR);
    assert_int_equal(p->facts->attn_block, 4);
    assert_int_equal(p->facts->max_context, 128);
    assert_int_equal(p->facts->max_rows, 8);
    assert_int_equal(p->element, element);
    assert_int_equal(p->n_methods, 2);
    assert_int_equal(p->method_rows[0], 8);
    assert_int_equal(p->method_rows[1], 4);
    assert_string_equal(p->method_names[0], "forward");
    assert_string_equal(p->method_names[1], "forward_4");
    assert_true(p->layers > 0 && p->kv_heads > 0 && p->head_dim > 0);
}

static void programs_are_described(void **state)
{
    (void)state;
    for (int halves = 0; halves < 2; halves++) {
        char path[1024];
        whole_file bytes;
        dlx_error err = {0};
        int32_t element = halves ? DLX_ELEMENT_FLOAT16 : DLX_ELEMENT_FLOAT32;
        dlx_fixed_program *p[3];
        path_in(path, folder.folder, "described.pte");
        export_fixed(path, "sdar", halves ? "fixed-fp16" : "fixed", "int8-dynamic", 8, (const int32_t[]){4}, 1);
        assert_int_equal(read_whole_file(&bytes, path, &err), DLX_OK);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(dlx_fixed_program_read(&p[0], path, &err), DLX_OK);
        assert_int_equal(dlx_fixed_program_read_fd(&p[1], fd, &err), DLX_OK);
        assert_int_equal(dlx_fixed_program_read_memory(&p[2], bytes.data, bytes.size, &err), DLX_OK);
        close(fd);
        free_whole_file(&bytes);
        for (int i = 0; i < 3; i++) {
            check_program(p[i], element);
            dlx_fixed_program_free(p[i]);
        }
    }
}

static void programs_that_keep_the_cache_are_described(void **state)
{
    dlx_fixed_program *p;
    dlx_error err = {0};
    (void)state;
    assert_int_equal(dlx_fixed_program_read(&p, inside, &err), DLX_OK);
    assert_int_equal(p->struct_size, sizeof *p);
    assert_true(p->keeps_cache == 1 && p->layers == 0 && p->element == DLX_ELEMENT_FLOAT16);
    assert_true(p->facts->max_context == 128 && p->facts->max_rows == 8 && p->facts->attn_block == 4);
    assert_true(p->n_methods == 1 && p->method_rows[0] == 8);
    assert_string_equal(p->method_names[0], "forward");
    dlx_fixed_program_free(p);
}

static void expect_refusal(const char *path, dlx_status status, const char *sentence)
{
    dlx_fixed_program *p = (dlx_fixed_program *)&folder;
    dlx_error err = {0};
    dlx_status s = dlx_fixed_program_read(&p, path, &err);
    if (s != status || p || !strstr(err.message, sentence))
        fail_msg("%d, '%s'; expected %d and '%s'", s, err.message, status, sentence);
    assert_int_equal(dlx_fixed_program_read(&p, path, NULL), status);
}

static void other_files_are_refused_with_what_opens_them(void **state)
{
    static const char *const forms[] = {"caller", "explicit", "state"};
    char path[1024];
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(forms); i++) {
        char sentence[64];
        path_in(path, folder.folder, "other.pte");
        export_fixed(path, "sdar", forms[i], "none", 8, NULL, 0);
        snprintf(sentence, sizeof sentence, "was exported with --kv %s: open it with dlx_model_open", forms[i]);
        expect_refusal(path, DLX_E_UNSUPPORTED, sentence);
    }
    expect_refusal(DLX_TEST_DATA "/foreign/mlp_dynamic.pte", DLX_E_UNSUPPORTED, "may open with dlx_model_open");
    expect_refusal("no such file.pte", DLX_E_IO, "no such file.pte");
    expect_refusal(DLX_TEST_DATA "/traces/int8.json", DLX_E_FORMAT, "int8.json");
}

/* And the other way round. */
static void models_say_what_the_file_is(void **state)
{
    dlx_model *m = (dlx_model *)&folder;
    dlx_error err = {0};
    dlx_model_facts facts = {.struct_size = sizeof facts};
    char *text;
    (void)state;
    assert_int_equal(dlx_model_open(&m, good, NULL, &err), DLX_E_UNSUPPORTED);
    assert_null(m);
    assert_non_null(strstr(err.message, "was exported with --kv fixed: its shapes never vary"));
    assert_non_null(strstr(err.message, "dlx_fixed_session in C"));
    assert_int_equal(dlx_model_read_facts(&facts, good, NULL), DLX_E_UNSUPPORTED);
    assert_int_equal(dlx_inspect(good, false, NULL, &text, &err), DLX_OK);
    assert_non_null(strstr(text, "--kv fixed"));
    dlx_free(text);
}

/* ---- files that contradict themselves --------------------------------------------------------------------------- */

static dlx_pte_tensor *tensor(dlx_pte *pte, const char *method, bool output, uint32_t i)
{
    const dlx_pte_plan *p = dlx_pte_find_plan(pte, method);
    assert_non_null(p);
    dlx_evalue *v = &p->values[output ? p->outputs[i] : p->inputs[i]];
    assert_int_equal(v->kind, DLX_EV_TENSOR);
    return &v->u.tensor;
}

static dlx_evalue *constant(dlx_pte *pte, const char *name, uint32_t i)
{
    dlx_evalue *v = (dlx_evalue *)(uintptr_t)dlx_pte_constant(pte, name, i);
    assert_non_null(v);
    return v;
}

static dlx_pte_plan *plan(dlx_pte *pte, const char *name)
{
    return (dlx_pte_plan *)(uintptr_t)dlx_pte_find_plan(pte, name);
}

static void nothing(dlx_pte *pte)
{
    (void)pte;
}

static void another_form(dlx_pte *pte)
{
    constant(pte, "get_kv_form", 0)->u.s.text = "fixed-fp16";
    constant(pte, "get_kv_form", 0)->u.s.length = 10;
}

static void a_method_that_is_not_there(dlx_pte *pte)
{
    constant(pte, "get_methods", 1)->u.s.text = "backward";
    constant(pte, "get_methods", 1)->u.s.length = 8;
}

static void a_method_without_a_name(dlx_pte *pte)
{
    *constant(pte, "get_methods", 1) = (dlx_evalue){.kind = DLX_EV_INT, .u.i = 4};
}

static void one_method_twice(dlx_pte *pte)
{
    constant(pte, "get_methods", 1)->u.s.text = "forward";
    constant(pte, "get_methods", 1)->u.s.length = 7;
}

static void constant_methods_are_named(dlx_pte *pte)
{
    constant(pte, "get_methods", 0)->u.s.text = "get_mask_id";
    constant(pte, "get_methods", 0)->u.s.length = 11;
}

static void more_context(dlx_pte *pte)
{
    constant(pte, "get_max_context_len", 0)->u.i = 127;
}

static void another_vocabulary(dlx_pte *pte)
{
    constant(pte, "get_vocab_size", 0)->u.i = 31;
}

static void a_mask_outside(dlx_pte *pte)
{
    constant(pte, "get_vocab_size", 0)->u.i = 0;
    constant(pte, "get_mask_id", 0)->u.i = 1 << 20;
}

static void a_newer_contract(dlx_pte *pte)
{
    constant(pte, "get_format_version", 0)->u.i = 2;
}

static void one_output_less(dlx_pte *pte)
{
    plan(pte, "forward")->n_outputs--;
}

static void one_input_less(dlx_pte *pte)
{
    plan(pte, "forward_4")->n_inputs--;
}

static void fewer_layers(dlx_pte *pte)
{
    plan(pte, "forward_4")->n_inputs -= 2;
    plan(pte, "forward_4")->n_outputs -= 2;
}

static void a_mask_of_rows_alone(dlx_pte *pte)
{
    tensor(pte, "forward", false, 2)->sizes[1] = 8;
}

static void tokens_in_a_batch(dlx_pte *pte)
{
    tensor(pte, "forward", false, 0)->rank = 2;
    tensor(pte, "forward", false, 0)->sizes[1] = 1;
}

static void positions_of_others(dlx_pte *pte)
{
    tensor(pte, "forward", false, 1)->sizes[0] = 4;
}

static void wider_heads(dlx_pte *pte)
{
    tensor(pte, "forward", false, 6)->sizes[2] *= 2;
}

static void rows_that_are_not_the_calls(dlx_pte *pte)
{
    tensor(pte, "forward", true, 2)->sizes[0] = 128;
}

static void logits_of_one_row(dlx_pte *pte)
{
    tensor(pte, "forward", true, 0)->sizes[0] = 1;
}

static void a_number_for_a_cache(dlx_pte *pte)
{
    const dlx_pte_plan *p = dlx_pte_find_plan(pte, "forward");
    p->values[p->inputs[4]] = (dlx_evalue){.kind = DLX_EV_INT};
}

static void two_methods(dlx_pte *pte)
{
    dlx_pte_plan *p = plan(pte, "get_eos_ids"); /* which has several values; called what the decoder's are */
    p->name = "get_methods";
    for (uint32_t i = 0; i < p->n_outputs; i++)
        p->values[p->outputs[i]] = (dlx_evalue){.kind = DLX_EV_STRING, .u.s = {.text = "forward", .length = 7}};
}

static void no_word_what_is_stored(dlx_pte *pte)
{
    plan(pte, "forward")->n_inputs--;
}

static void two_results(dlx_pte *pte)
{
    plan(pte, "forward")->n_outputs = 0;
}

static void stored_of_another_length(dlx_pte *pte)
{
    tensor(pte, "forward", false, 3)->sizes[0] = 4;
}

static void fewer_slots_than_rows(dlx_pte *pte)
{
    tensor(pte, "forward", false, 2)->sizes[1] = 15;
}

typedef struct change {
    void (*make)(dlx_pte *pte);
    dlx_status status;
    const char *sentence;
} change;

/* Of good.pte */
static const change cases[] = {
    {nothing, DLX_OK, ""},
    {another_form, DLX_E_FORMAT, "takes no cache of the type that get_kv_form says"},
    {a_method_that_is_not_there, DLX_E_FORMAT, "get_methods names 'backward', which is not in the file"},
    {a_method_without_a_name, DLX_E_FORMAT, "get_methods: entry 1 is not a name"},
    {one_method_twice, DLX_E_FORMAT, "two methods take 8 rows"},
    {constant_methods_are_named, DLX_E_FORMAT, "method 'get_mask_id' has another number of inputs or outputs"},
    {more_context, DLX_E_FORMAT, "get_max_context_len is 127, but method 'forward' takes 128 slots"},
    {another_vocabulary, DLX_E_FORMAT, "does not return float32 logits [T, V] first"},
    {a_mask_outside, DLX_E_FORMAT, "get_mask_id is 1048576, outside the vocabulary"},
    {a_newer_contract, DLX_E_UNSUPPORTED, "format version 2"},
    {one_output_less, DLX_E_FORMAT, "method 'forward' has another number of inputs or outputs"},
    {one_input_less, DLX_E_FORMAT, "method 'forward_4' has another number of inputs or outputs"},
    {fewer_layers, DLX_E_FORMAT, "method 'forward_4' has another number of inputs or outputs"},
    {a_mask_of_rows_alone, DLX_E_FORMAT, "takes no float32 mask [T, P + T]"},
    {tokens_in_a_batch, DLX_E_FORMAT, "does not begin with two vectors of int64"},
    {positions_of_others, DLX_E_FORMAT, "does not begin with two vectors of int64"},
    {wider_heads, DLX_E_FORMAT, "has caches of unequal shapes or types"},
    {rows_that_are_not_the_calls, DLX_E_FORMAT, "has caches of unequal shapes or types"},
    {logits_of_one_row, DLX_E_FORMAT, "does not return float32 logits [T, V] first"},
    {a_number_for_a_cache, DLX_E_FORMAT, "has caches of unequal shapes or types"},
};

/* Of inside.pte */
static const change inside_cases[] = {
    {nothing, DLX_OK, ""},
    {another_form, DLX_E_FORMAT, "method 'forward' has another number of inputs or outputs"},
    {two_methods, DLX_E_FORMAT, "2 methods, each of which would keep a cache of its own"},
    {no_word_what_is_stored, DLX_E_FORMAT, "has another number of inputs or outputs; expected (tokens [T]"},
    {two_results, DLX_E_FORMAT, "has another number of inputs or outputs"},
    {stored_of_another_length, DLX_E_FORMAT, "takes no float32 mask [T, P + T] of P >= T, or not what is"},
    {fewer_slots_than_rows, DLX_E_FORMAT, "takes no float32 mask [T, P + T] of P >= T"},
    {more_context, DLX_E_FORMAT, "get_max_context_len is 127, but method 'forward' takes 128 slots"},
    {another_vocabulary, DLX_E_FORMAT, "does not return float32 logits [T, V]"},
    {tokens_in_a_batch, DLX_E_FORMAT, "does not begin with two vectors of int64"},
    {logits_of_one_row, DLX_E_FORMAT, "does not return float32 logits [T, V]"},
};

/* Whatever a change made of the sizes: bytes are theirs. */
static void settle(dlx_pte *pte)
{
    for (uint32_t p = 0; p < pte->n_plans; p++)
        for (uint32_t i = 0; i < pte->plans[p].n_values; i++) {
            dlx_pte_tensor *t = &pte->plans[p].values[i].u.tensor;
            if (pte->plans[p].values[i].kind != DLX_EV_TENSOR || t->blob != DLX_PTE_NO_BLOB) continue;
            t->bytes = dlx_scalar_type_size(t->scalar_type);
            for (int d = 0; d < t->rank; d++) t->bytes *= (uint64_t)t->sizes[d];
        }
}

static void check_change(const change *c, const char *file)
{
    whole_file bytes;
    dlx_arena arena;
    dlx_pte pte;
    dlx_output out;
    dlx_error err = {0};
    char path[1024];
    dlx_fixed_program *p;
    dlx_arena_init(&arena);
    assert_int_equal(read_whole_file(&bytes, file, &err), DLX_OK);
    if (dlx_pte_read(&pte, &arena, bytes.data, bytes.size, "good.pte", &err) != DLX_OK) fail_msg("%s", err.message);
    for (uint32_t b = 0; b < pte.n_blobs; b++) pte.blobs[b].alias_of = -1;
    c->make(&pte);
    settle(&pte);
    path_in(path, folder.folder, "changed.pte");
    assert_int_equal(dlx_output_open(&out, path, &err), DLX_OK);
    if (dlx_pte_write(&pte, &out, NULL, NULL, &err) != DLX_OK) fail_msg("%s: %s", c->sentence, err.message);
    assert_int_equal(dlx_output_commit(&out, &err), DLX_OK);
    dlx_output_close(&out);
    dlx_arena_free(&arena);
    free_whole_file(&bytes);
    if (c->status != DLX_OK) {
        expect_refusal(path, c->status, c->sentence);
        return;
    }
    if (dlx_fixed_program_read(&p, path, &err) != DLX_OK) fail_msg("%s", err.message);
    if (file == good) check_program(p, DLX_ELEMENT_FLOAT32);
    assert_int_equal(p->keeps_cache, file == inside);
    dlx_fixed_program_free(p);
}

static void contradictions_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(cases); i++) check_change(&cases[i], good);
    for (size_t i = 0; i < DLX_COUNT(inside_cases); i++) check_change(&inside_cases[i], inside);
}

/* ---- the memory that is stated ---------------------------------------------------------------------------------- */

static void *count_alloc(void *ctx, size_t size, size_t alignment)
{
    *(uint64_t *)ctx += size;
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void count_free(void *ctx, void *p, size_t size, size_t alignment)
{
    (void)alignment;
    *(uint64_t *)ctx -= size;
    free(p);
}

static dlx_status never(void *ctx, size_t method, const void **outputs, dlx_error *err)
{
    (void)ctx;
    (void)method;
    (void)outputs;
    return dlx_fail(err, DLX_E_INTERNAL, "nothing is run");
}

/* What inspect states is what a session takes, to the byte. */
static void the_stated_memory_is_taken(void **state)
{
    (void)state;
    for (int halves = 0; halves < 2; halves++) {
        char path[1024], *text, words[64];
        uint64_t taken = 0;
        const dlx_allocator allocator = {.alloc = count_alloc, .free = count_free, .ctx = &taken};
        dlx_fixed_program *p;
        dlx_fixed_session *s;
        path_in(path, folder.folder, "stated.pte");
        export_fixed(path, "dream", halves ? "fixed-fp16" : "fixed", "int8-dynamic", 32, (const int32_t[]){4}, 1);
        CHECK(dlx_fixed_program_read(&p, path, err));
        CHECK(dlx_fixed_open(&s, p, never, NULL, &allocator, err));
        CHECK(dlx_inspect(path, true, NULL, &text, err));
        snprintf(words, sizeof words, "\"total\":%llu,", (unsigned long long)taken);
        if (!strstr(text, words)) fail_msg("%s is not in %s", words, strstr(text, "\"memory\""));
        dlx_free(text);
        dlx_fixed_close(s);
        assert_int_equal(taken, 0);
        dlx_fixed_program_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_are_described),
        cmocka_unit_test(programs_that_keep_the_cache_are_described),
        cmocka_unit_test(other_files_are_refused_with_what_opens_them),
        cmocka_unit_test(models_say_what_the_file_is),
        cmocka_unit_test(contradictions_are_named),
        cmocka_unit_test(the_stated_memory_is_taken),
    };
    return cmocka_run_group_tests(tests, make_good, remove_it);
}
