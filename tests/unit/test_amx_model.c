/*
 * Models on the AMX set, its tiles in plain C in the place of the CPU's: the logits of the set below to the bit with
 * one thread and with two, pack files of its own, and no such set where its trial fails.
 */
#include "fail_fixture.h"
#include "shared_folder.h"

#include "amx_emulated.h"
#include "kernels/kernels.h"

enum { IDS = 39 }; /* two blocks of rows and a part of a third */

static bool has_below(void)
{
    if (!dlx_isa_available(DLX_ISA_AVX512VNNI)) printf("not run on this CPU: amx's twin\n");
    return dlx_isa_available(DLX_ISA_AVX512VNNI);
}

static dlx_model *open_with(const char *path, const char *cpu, int threads, const char *packs)
{
    dlx_model *m = NULL;
    dlx_error err = {0};
    dlx_model_options o = dlx_model_options_default();
    o.cpu = cpu;
    o.threads = threads;
    o.pack_cache = packs;
    if (dlx_model_open(&m, path, &o, &err) != DLX_OK) fail_msg("%s", err.message);
    return m;
}

/* Closes the model. */
static float *logits_of(dlx_model *m, const char *kernels)
{
    const dlx_model_facts *f = dlx_model_get_facts(m);
    int32_t ids[IDS];
    dlx_session *s = NULL;
    dlx_error err = {0};
    float *logits = malloc((size_t)IDS * (size_t)f->vocab_size * sizeof *logits);
    for (int i = 0; i < IDS; i++) ids[i] = i * 7 % 50;
    dlx_forward_call call = {.struct_size = sizeof call,
                             .ids = ids,
                             .n_ids = IDS,
                             .attn_block = f->attn_block,
                             .n_rows = IDS,
                             .logits = logits};
    assert_string_equal(dlx_model_kernels(m), kernels);
    if (dlx_session_open(&s, m, 0, 0, &err) != DLX_OK || dlx_session_forward(s, &call, &err) != DLX_OK)
        fail_msg("%s", err.message);
    dlx_session_close(s);
    dlx_model_close(m);
    return logits;
}

static void logits_are_those_of_the_set_below(void **state)
{
    static const char *const schemes[] = {"int8-dynamic", "int4"};
    char checkpoint[1024], path[1024];
    dlx_error err = {0};
    (void)state;
    if (!has_below()) skip();
    checkpoint_of(checkpoint, "fast_dllm_v2");
    path_in(path, folder.folder, "amx.pte");
    for (size_t i = 0; i < 2; i++) {
        dlx_export_options o = tiny_export(checkpoint, path, true);
        o.quantization = schemes[i];
        if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
        dlx_model *m = open_with(path, "avx512vnni", 1, NULL);
        size_t bytes = (size_t)IDS * (size_t)dlx_model_get_facts(m)->vocab_size * sizeof(float);
        float *expected = logits_of(m, "avx512vnni");
        for (int threads = 1; threads <= 2; threads++) {
            unsigned long before = amx_dots();
            m = open_with(path, NULL, threads, NULL);
            unsigned long trials = amx_dots() - before;
            assert_true(trials > 0);
            float *logits = logits_of(m, "amx");
            assert_memory_equal(logits, expected, bytes);
            if (i == 0) assert_true(amx_dots() - before > trials + 10); /* int4 does not use them */
            free(logits);
        }
        free(expected);
    }
    assert_int_equal(amx_busy(), 0);
}

static void pack_files_are_its_own(void **state)
{
    char path[1024], packs[1024];
    (void)state;
    if (!has_below()) skip();
    path_in(path, folder.folder, "packed.pte");
    path_in(packs, folder.folder, "packs");
    export_tiny(path, "sdar", true);
    static const struct {
        const char *cpu;
        dlx_pack_cache_state state;
    } turns[] = {{"avx512vnni", DLX_PACK_CACHE_MADE},
                 {"amx", DLX_PACK_CACHE_MADE},
                 {"avx512vnni", DLX_PACK_CACHE_FOUND},
                 {"amx", DLX_PACK_CACHE_FOUND}};
    float *first = NULL;
    for (size_t i = 0; i < 4; i++) {
        dlx_model *m = open_with(path, turns[i].cpu, 1, packs);
        size_t bytes = (size_t)IDS * (size_t)dlx_model_get_facts(m)->vocab_size * sizeof(float);
        assert_int_equal(dlx_model_pack_cache(m, NULL), turns[i].state);
        float *logits = logits_of(m, turns[i].cpu);
        if (first) {
            assert_memory_equal(logits, first, bytes);
            free(logits);
        } else {
            first = logits;
        }
    }
    free(first);
}

static void without_a_right_trial_it_is_not_there(void **state)
{
    char path[1024];
    dlx_kernel_set_info info = {.struct_size = sizeof info};
    (void)state;
    if (!has_below()) skip();
    path_in(path, folder.folder, "wrong.pte");
    export_tiny(path, "llada", true);
    assert_true(dlx_isa_available(DLX_ISA_AMX));
    assert_int_equal(dlx_cpu_best_isa(), DLX_ISA_AMX);
    amx_spoil(7);
    assert_false(dlx_isa_available(DLX_ISA_AMX));
    amx_spoil(7);
    assert_int_equal(dlx_cpu_best_isa(), DLX_ISA_AVX512VNNI);
    amx_spoil(7);
    free(logits_of(open_with(path, "amx", 1, NULL), "avx512vnni"));
    /* What is shown of the machine: the set and its index are the last ones. */
    size_t n = 0;
    while (dlx_get_kernel_set_info(n + 1, &info)) n++;
    assert_true(dlx_get_kernel_set_info(n, &info));
    assert_string_equal(info.name, "amx");
    assert_true(info.available && info.best);
    unsigned long before = amx_dots(), asked;
    (void)dlx_get_kernel_set_info(n, &info);
    asked = amx_dots() - before;
    assert_true(asked > 0);
    /* A limit below it asks for nothing. */
    before = amx_dots();
    dlx_kernels k;
    dlx_kernels_init(&k, DLX_ISA_AVX512VNNI);
    assert_string_equal(k.name, "avx512vnni");
    assert_int_equal(amx_dots(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_the_set_below),
        cmocka_unit_test(pack_files_are_its_own),
        cmocka_unit_test(without_a_right_trial_it_is_not_there),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_it);
}
