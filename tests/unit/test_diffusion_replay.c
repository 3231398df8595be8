/*
 * Replays what the reference decoders did with the scripted model: the same ids, the same calls, the same positions
 * accepted in every one of them, scores within 1e-4.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_diffusion_json.h"
#include "test_diffusion_model.h"

typedef struct replay {
    json_t *file;
    int32_t rows_asked, rows_run;
} replay;

static int open_traces(void **state)
{
    static replay r;
    r.file = case_file(DLX_TEST_DATA "/diffusion/traces.json");
    *state = &r;
    return r.file ? 0 : -1;
}

static int close_traces(void **state)
{
    json_decref(((replay *)*state)->file);
    return 0;
}

static void check_answer(const dlx_generation *g, const int32_t *want, size_t n_want, size_t n_prompt, size_t max_new)
{
    size_t n, k = 0;
    const int32_t *answer = dlx_generation_answer_ids(g, &n);
    bool stop = false;
    for (size_t i = n_prompt; i < n_want && i < n_prompt + max_new && !stop; i++) {
        stop = want[i] == 7 || want[i] == 11;
        if (stop || want[i] == 5) continue;
        assert_true(k < n);
        assert_int_equal(answer[k++], want[i]);
    }
    assert_int_equal(k, n);
    assert_string_equal(dlx_generation_finish_reason(g), stop ? "stop" : "length");
}

static void replay_case(replay *r, size_t number, json_t *c)
{
    static scripted_model m;
    const char *algorithm = case_text(c, "algorithm");
    bool shift = !strncmp(algorithm, "dream", 5) || !strncmp(algorithm, "fast", 4);
    json_t *options = json_object_get(c, "options");
    model_init(&m, case_int(c, "attn_block"), shift, (uint64_t)json_integer_value(json_object_get(c, "seed")));
    dlx_decode_options *o = case_options(c);
    dlx_error err = {0};
    size_t max_new = (size_t)(case_int(options, "gen_length") + case_int(options, "max_new_tokens"));
    int32_t prompt[256], want[512];
    size_t n_prompt = case_ids(json_object_get(c, "prompt_ids"), prompt, 256);
    dlx_generation *g;
    if (dlx_generate(&m.facts, model_forward, &m, o, prompt, n_prompt, NULL, NULL, &g, &err) != DLX_OK)
        fail_msg("case %zu (%s): %s", number, algorithm, err.message);
    case_check(number, g, c);
    assert_int_equal(dlx_generation_num_forwards(g), m.calls);
    size_t n_want = case_ids(json_object_get(c, "output_ids"), want, 512);
    if (!json_object_get(options, "stop_id")) check_answer(g, want, n_want, n_prompt, max_new);
    r->rows_asked += m.rows_asked;
    r->rows_run += m.rows_run;
    dlx_generation_free(g);
    dlx_decode_options_free(o);
}

/* Cases of one algorithm. */
static void replay_all(replay *r, const char *algorithm, size_t least)
{
    json_t *cases = json_object_get(r->file, "cases");
    size_t n = 0;
    r->rows_asked = r->rows_run = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        json_t *c = json_array_get(cases, i);
        if (strcmp(case_text(c, "algorithm"), algorithm)) continue;
        replay_case(r, i, c);
        n++;
    }
    print_message("%s: %zu decodes, logits of %d of %d rows asked for\n", algorithm, n, r->rows_asked, r->rows_run);
    assert_true(n >= least);
    assert_true(r->rows_asked < r->rows_run);
}

static void test_llada_generate(void **state)
{
    replay_all(*state, "llada.generate", 60);
}

static void test_llada_generate_fast(void **state)
{
    replay_all(*state, "llada.generate_fast", 150);
}

static void test_dream_diffusion_generate(void **state)
{
    replay_all(*state, "dream.diffusion_generate", 300);
}

static void test_dream_generate_blocks(void **state)
{
    replay_all(*state, "dream.generate_blocks", 100);
}

static void test_sdar_generate(void **state)
{
    replay_all(*state, "sdar.generate", 180);
}

static void test_fast_dllm_v2_generate(void **state)
{
    replay_all(*state, "fast_dllm_v2.generate", 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llada_generate),
        cmocka_unit_test(test_llada_generate_fast),
        cmocka_unit_test(test_dream_diffusion_generate),
        cmocka_unit_test(test_dream_generate_blocks),
        cmocka_unit_test(test_sdar_generate),
        cmocka_unit_test(test_fast_dllm_v2_generate),
    };
    return cmocka_run_group_tests(tests, open_traces, close_traces);
}
