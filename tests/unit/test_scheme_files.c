/*
 * Every scheme from a checkpoint to logits, through a file: each tiny checkpoint is exported with each scheme that fits
 * it, and answers with the goldens of that scheme's own formulas (tests/data/schemes), on every kernel set that the
 * machine has. No activation of the goldens lies near a rounding edge, so only sums of floats differ.
 */
#include "checkpoint_copy.h"

#include <math.h>

#include "base/row_summary.h"
#include "diffulex_edge/diffulex_edge.h"
#include "test_diffusion_json.h"
#include "tensors_in_memory.h"

enum { CONTEXT = 32, MOST_IDS = 16 };

static const char data[] = DLX_TEST_DATA "/schemes";
static const double near = 1e-5; /* of the logits' range, as between float programs */

/* A family with its goldens, open. */
typedef struct family {
    const char *name;
    json_t *root;
    size_t kept; /* last rows whose logits are recorded */
    dlx_arena arena;
    dlx_safetensors golden;
    copy folder; /* for the program */
} family;

static void open_family(family *f, const char *name)
{
    char path[1024], file[64];
    *f = (family){.name = name, .folder = new_folder()};
    snprintf(file, sizeof file, "%s-tiny.json", name);
    path_in(path, data, file);
    f->root = case_file(path);
    f->kept = (size_t)case_int(f->root, "kept_rows");
    assert_true(f->kept > 0);
    dlx_arena_init(&f->arena);
    snprintf(file, sizeof file, "%s-tiny.safetensors", name);
    path_in(path, data, file);
    CHECK(dlx_safetensors_open(&f->golden, &f->arena, path, err));
    take_tensors(&f->golden, &f->arena);
}

static void close_family(family *f)
{
    json_decref(f->root);
    dlx_safetensors_close(&f->golden);
    dlx_arena_free(&f->arena);
    remove_copy(&f->folder);
}

/* The program of a case. */
static void export_case(char path[1024], const family *f, json_t *c)
{
    char from[1024], ranges[1024], recipe[1024], file[64];
    dlx_export_options o = dlx_export_options_default();
    dlx_export_result result = {.struct_size = sizeof result};
    snprintf(file, sizeof file, "%s-tiny", f->name);
    path_in(from, DLX_TEST_DATA "/checkpoints", file);
    path_in(path, f->folder.folder, "m.pte");
    o.model_path = from;
    o.output_path = path;
    o.max_seq_len = CONTEXT;
    if (case_text(c, "recipe")) {
        path_in(recipe, data, case_text(c, "recipe"));
        o.quantization_config = recipe;
    } else {
        o.quantization = case_text(c, "scheme");
    }
    snprintf(file, sizeof file, "%s-tiny.ranges.json", f->name);
    path_in(ranges, data, file);
    if (!strcmp(case_text(c, "scheme"), "int8-static")) o.ranges = ranges;
    CHECK(dlx_export(&o, &result, err));
}

static const dlx_st_tensor *golden_of(const family *f, json_t *c)
{
    for (size_t i = 0; i < f->golden.n_tensors; i++)
        if (!strcmp(f->golden.tensors[i].name, case_text(c, "logits"))) return &f->golden.tensors[i];
    fail_msg("%s: no logits of %s", f->name, case_text(c, "scheme"));
    return NULL;
}

/* Whatever the head is made of: summaries are those of its logits, which are `call`'s. */
static void check_summaries(dlx_session *s, dlx_forward_call call, int32_t vocab)
{
    dlx_row_summary rows[MOST_IDS] = {{0}};
    float nothing = 0;
    const float *logits = call.logits;
    call.logits = &nothing; /* no place for any */
    call.summaries = rows;
    call.never = 7;
    CHECK(dlx_session_forward(s, &call, err));
    for (int32_t i = 0; i < call.n_rows; i++) {
        dlx_row_summary want = dlx_summary_of_row(logits + (size_t)i * (size_t)vocab, vocab, (dlx_row_rules){7, 0});
        assert_memory_equal(&rows[i], &want, sizeof want);
    }
}

/* Logits of the last rows of a case. */
static void answer(float *out, const family *f, json_t *c, const char *path, const char *cpu)
{
    int32_t ids[MOST_IDS], rows[MOST_IDS];
    size_t n = case_ids(json_object_get(c, "input_ids"), ids, MOST_IDS);
    dlx_model *m;
    dlx_session *s;
    dlx_model_options o = dlx_model_options_default();
    o.threads = 1;
    o.cpu = cpu;
    CHECK(dlx_model_open(&m, path, &o, err));
    CHECK(dlx_session_open(&s, m, 0, 0, err));
    assert_int_equal(golden_of(f, c)->bytes, f->kept * (size_t)dlx_model_get_facts(m)->vocab_size * sizeof *out);
    for (size_t i = 0; i < f->kept; i++) rows[i] = (int32_t)(n - f->kept + i);
    dlx_forward_call call = {.struct_size = sizeof call,
                             .ids = ids,
                             .n_ids = (int32_t)n,
                             .attn_block = case_int(c, "attn_block"),
                             .rows = rows,
                             .n_rows = (int32_t)f->kept,
                             .logits = out};
    CHECK(dlx_session_forward(s, &call, err));
    check_summaries(s, call, dlx_model_get_facts(m)->vocab_size);
    dlx_session_close(s);
    dlx_model_close(m);
}

static void check_logits(const family *f, json_t *c, const char *path, const char *cpu)
{
    const dlx_st_tensor *t = golden_of(f, c);
    size_t count = t->bytes / sizeof(float);
    float *want = malloc(t->bytes), *got = malloc(t->bytes), low = INFINITY, high = -INFINITY;
    assert_true(want && got);
    memcpy(want, t->data, t->bytes);
    answer(got, f, c, path, cpu);
    for (size_t i = 0; i < count; i++) {
        low = fminf(low, want[i]);
        high = fmaxf(high, want[i]);
    }
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= near * ((double)high - (double)low)))
            fail_msg("%s, %s, kernels %s, logit %zu: %g, expected %g", f->name, case_text(c, "scheme"), cpu, i,
                     (double)got[i], (double)want[i]);
    free(want);
    free(got);
}

static void check_family(const char *name, size_t least)
{
    dlx_kernel_set_info set = {.struct_size = sizeof set};
    family f;
    open_family(&f, name);
    json_t *cases = json_object_get(f.root, "cases"), *c;
    size_t i;
    assert_true(json_array_size(cases) >= least);
    json_array_foreach(cases, i, c)
    {
        char path[1024];
        export_case(path, &f, c); /* on all threads; sessions run on one */
        for (size_t k = 0; !DLX_RACES && dlx_get_kernel_set_info(k, &set); k++)
            if (set.available) check_logits(&f, c, path, set.name);
    }
    close_family(&f);
}

static void schemes_of_llada(void **state)
{
    (void)state;
    check_family("llada", 7);
}

static void schemes_of_dream(void **state)
{
    (void)state;
    check_family("dream", 6); /* its rows have no groups of 32 */
}

static void schemes_of_sdar(void **state)
{
    (void)state;
    check_family("sdar", 9);
}

static void schemes_of_fast_dllm_v2(void **state)
{
    (void)state;
    check_family("fast_dllm_v2", 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schemes_of_llada),
        cmocka_unit_test(schemes_of_dream),
        cmocka_unit_test(schemes_of_sdar),
        cmocka_unit_test(schemes_of_fast_dllm_v2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
