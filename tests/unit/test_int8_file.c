/*
 * int8 from a checkpoint to tokens, through a file: each tiny checkpoint is exported with int8-dynamic, the file's rows
 * and scales are PyTorch's (tests/data/quant), its logits those of the int8 reference (tests/data/int8) on every kernel
 * set, and a recorded decode of int8 weights (tests/data/traces) comes out again.
 */
#include "checkpoint_copy.h"

#include <math.h>

#include "base/sizes.h"
#include "diffulex_edge/diffulex_edge.h"
#include "format/pte.h"
#include "test_diffusion_json.h"
#include "whole_file.h"
#include "tensors_in_memory.h"

enum { CONTEXT = 128, MOST_IDS = 96 };

static const char *const models[] = {"llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny"};
static copy folder;

static void path_of(char path[1024], const char *model)
{
    snprintf(path, 1024, "%s/%s.pte", folder.folder, model);
}

static int export_all(void **state)
{
    (void)state;
    folder = new_folder();
    for (size_t i = 0; i < DLX_COUNT(models); i++) {
        char from[1024], to[1024];
        dlx_export_options o = dlx_export_options_default();
        dlx_export_result result = {.struct_size = sizeof result};
        path_in(from, DLX_TEST_DATA "/checkpoints", models[i]);
        path_of(to, models[i]);
        o.model_path = from;
        o.output_path = to;
        o.quantization = "int8-dynamic";
        o.max_seq_len = CONTEXT;
        CHECK(dlx_export(&o, &result, err));
        assert_true(result.quantised_tensors > 0 && result.quantised_bytes > result.float_bytes);
    }
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    remove_copy(&folder);
    return 0;
}

static dlx_model *open_model(const char *model, const char *cpu)
{
    char path[1024];
    dlx_model *m;
    dlx_model_options o = dlx_model_options_default();
    o.threads = 1;
    o.cpu = cpu;
    path_of(path, model);
    CHECK(dlx_model_open(&m, path, &o, err));
    return m;
}

/* ---- the file's bytes ------------------------------------------------------------------------------------------- */

/* What the file calls the weight of a checkpoint, "layers.2.q.weight"; `name` may go on behind the weight's. */
static void name_in_file(char key[64], const char *name)
{
    static const struct {
        const char *published, *ours;
    } words[] = {{".embed_tokens.", "embed"}, {".wte.", "embed"},     {"lm_head.", "lm_head"}, {".q_proj.", "q"},
                 {".k_proj.", "k"},           {".ff_proj.", "gate"},  {".gate_proj.", "gate"}, {".down_proj.", "down"},
                 {".blocks.", "down"},        {".ff_out.", "lm_head"}}; /* LLaDA calls two things ff_out */
    const char *layers = strstr(name, ".layers."), *blocks = strstr(name, ".blocks.");
    int layer = -1;
    if (layers || blocks) assert_int_equal(sscanf((layers ? layers : blocks) + 8, "%d", &layer), 1);
    for (size_t i = 0; i < DLX_COUNT(words); i++) {
        if (!strstr(name, words[i].published)) continue;
        if (layer < 0)
            snprintf(key, 64, "%s.weight", words[i].ours);
        else
            snprintf(key, 64, "layers.%d.%s.weight", layer, words[i].ours);
        return;
    }
    fail_msg("'%s' is not known", name);
}

/* Weights of linear layers are named data, the tables that rows are gathered from are tensors of the method. */
static const dlx_pte_blob *find_data(const dlx_pte *pte, const char *key)
{
    const dlx_pte_blob *found = NULL;
    const dlx_pte_plan *plan = &pte->plans[0];
    size_t n = strlen(key);
    for (uint32_t i = 0; i < pte->n_named; i++)
        if (!strncmp(pte->named[i]->key, key, n) && pte->named[i]->key[n] == '#') found = pte->named[i];
    for (uint32_t i = 0; !found && i < plan->n_values; i++) {
        const dlx_evalue *v = &plan->values[i];
        if (v->kind == DLX_EV_TENSOR && v->u.tensor.blob != DLX_PTE_NO_BLOB && v->u.tensor.name &&
            !strcmp(v->u.tensor.name, key))
            found = &pte->blobs[v->u.tensor.blob];
    }
    if (!found) fail_msg("the file has no '%s'", key);
    return found;
}

/* A golden is called "<weight>.q" or "<weight>.scales". */
static void check_golden(const dlx_pte *pte, const dlx_st_tensor *golden)
{
    char key[80];
    size_t n = strlen(golden->name);
    name_in_file(key, golden->name);
    if (n > 7 && !strcmp(golden->name + n - 7, ".scales")) strcat(key, ".scales");
    const dlx_pte_blob *blob = find_data(pte, key);
    assert_int_equal(blob->size, golden->bytes);
    if (memcmp(blob->data, golden->data, golden->bytes) != 0) fail_msg("'%s' differs from PyTorch's", key);
}

static void rows_and_scales_in_the_file_are_those_of_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(models); i++) {
        char path[1024];
        dlx_arena arena;
        whole_file map;
        dlx_pte pte;
        dlx_safetensors golden;
        size_t checked = 0;
        dlx_arena_init(&arena);
        path_of(path, models[i]);
        CHECK(read_whole_file(&map, path, err));
        CHECK(dlx_pte_read(&pte, &arena, map.data, map.size, path, err));
        snprintf(path, sizeof path, DLX_TEST_DATA "/quant/%s.safetensors", models[i]);
        CHECK(dlx_safetensors_open(&golden, &arena, path, err));
        take_tensors(&golden, &arena);
        for (size_t k = 0; k < golden.n_tensors; k++) {
            if (!strncmp(golden.tensors[k].name, "edge", 4)) continue; /* a matrix of its own */
            check_golden(&pte, &golden.tensors[k]);
            checked++;
        }
        assert_true(checked >= 9);
        dlx_safetensors_close(&golden);
        free_whole_file(&map);
        dlx_arena_free(&arena);
    }
}

/* ---- logits ----------------------------------------------------------------------------------------------------- */

static size_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* An activation on a rounding edge moves whole logits, as far as it does between float32 and float64 in the reference;
 * the tolerance is the one that was recorded with the goldens. */
static void check_case(dlx_session *s, const dlx_model_facts *f, json_t *c, const dlx_safetensors *golden)
{
    int32_t ids[MOST_IDS];
    size_t n = case_ids(json_object_get(c, "input_ids"), ids, MOST_IDS), vocab = (size_t)f->vocab_size;
    double most = 4 * json_number_value(json_object_get(c, "max_abs_diff_to_float64")) + 1e-3;
    const dlx_st_tensor *t = NULL;
    for (size_t i = 0; i < golden->n_tensors; i++)
        if (!strcmp(golden->tensors[i].name, case_text(c, "logits"))) t = &golden->tensors[i];
    assert_non_null(t);
    assert_int_equal(t->bytes, n * vocab * sizeof(float));
    float *want = malloc(t->bytes), *got = malloc(t->bytes);
    assert_true(want && got);
    memcpy(want, t->data, t->bytes);
    dlx_forward_call call = {.struct_size = sizeof call,
                             .ids = ids,
                             .n_ids = (int32_t)n,
                             .attn_block = f->attn_block,
                             .n_rows = (int32_t)n,
                             .logits = got};
    CHECK(dlx_session_forward(s, &call, err));
    for (size_t i = 0; i < n * vocab; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= most))
            fail_msg("%s, row %zu: %g, expected %g within %g", case_text(c, "logits"), i / vocab, (double)got[i],
                     (double)want[i], most);
    for (size_t r = 0; r < n; r++) assert_int_equal(argmax(got + r * vocab, vocab), argmax(want + r * vocab, vocab));
    free(want);
    free(got);
}

static void logits_are_those_of_the_int8_reference(void **state)
{
    static const char *const sets[] = {"ref", "auto"};
    (void)state;
    for (size_t i = 0; i < 2 * DLX_COUNT(models); i++) {
        const char *model = models[i / 2];
        char path[1024];
        dlx_arena arena;
        dlx_safetensors golden;
        dlx_model *m = open_model(model, sets[i % 2]);
        dlx_session *s;
        CHECK(dlx_session_open(&s, m, 0, 0, err));
        dlx_arena_init(&arena);
        snprintf(path, sizeof path, DLX_TEST_DATA "/int8/%s.safetensors", model);
        CHECK(dlx_safetensors_open(&golden, &arena, path, err));
        take_tensors(&golden, &arena);
        snprintf(path, sizeof path, DLX_TEST_DATA "/int8/%s.json", model);
        json_t *root = case_file(path), *cases = json_object_get(root, "cases");
        assert_true(json_array_size(cases) >= 3);
        for (size_t k = 0; k < json_array_size(cases); k++)
            check_case(s, dlx_model_get_facts(m), json_array_get(cases, k), &golden);
        json_decref(root);
        dlx_safetensors_close(&golden);
        dlx_arena_free(&arena);
        dlx_session_close(s);
        dlx_model_close(m);
    }
}

/* ---- tokens ----------------------------------------------------------------------------------------------------- */

/* The recorded decodes keep activations in float. Of those that were kept here no decision was close, so quantising
 * activations as well changes neither tokens nor the number of passes. */
static void recorded_decodes_come_out_again(void **state)
{
    (void)state;
    json_t *traces = case_file(DLX_TEST_DATA "/traces/int8.json");
    assert_int_equal(json_array_size(traces), DLX_COUNT(models));
    for (size_t i = 0; i < json_array_size(traces); i++) {
        json_t *t = json_array_get(traces, i);
        int32_t prompt[MOST_IDS], want[MOST_IDS];
        size_t n_prompt = case_ids(json_object_get(t, "prompt_ids"), prompt, MOST_IDS),
               n_want = case_ids(json_object_get(t, "output_ids"), want, MOST_IDS), n;
        dlx_model *m = open_model(case_text(t, "checkpoint"), NULL);
        dlx_session *s;
        dlx_generation *g;
        dlx_decode_options *o = case_options(t);
        CHECK(dlx_session_open(&s, m, 0, 0, err));
        CHECK(dlx_generate(dlx_model_get_facts(m), dlx_session_forward, s, o, prompt, n_prompt, NULL, NULL, &g, err));
        const int32_t *got = dlx_generation_output_ids(g, &n);
        assert_int_equal(n, n_want);
        for (size_t k = 0; k < n; k++)
            if (got[k] != want[k]) fail_msg("%s: id %zu is %d, not %d", case_text(t, "name"), k, got[k], want[k]);
        assert_int_equal(dlx_generation_num_forwards(g), case_int(t, "num_forwards"));
        dlx_generation_free(g);
        dlx_decode_options_free(o);
        dlx_session_close(s);
        dlx_model_close(m);
    }
    json_decref(traces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_and_scales_in_the_file_are_those_of_pytorch),
        cmocka_unit_test(logits_are_those_of_the_int8_reference),
        cmocka_unit_test(recorded_decodes_come_out_again),
    };
    return cmocka_run_group_tests(tests, export_all, remove_all);
}
