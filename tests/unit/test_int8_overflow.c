/* A model whose int8 layers overflow: the call fails with a sentence instead of returning numbers made of nothing. */
#include "fail_fixture.h"

enum { WIDTH = 96 }; /* of the checkpoint's rows */

/* Gate and up of the first block come to about 1e25, their product overflows. */
static bool enlarge(void *ctx, dlx_st_tensor *t)
{
    float *larger = ctx;
    if (strcmp(t->name, "model.transformer.blocks.0.ff_norm.weight") != 0) return true;
    assert_int_equal(t->dtype, DLX_F32);
    assert_int_equal(t->dim[0], WIDTH);
    memcpy(larger, t->data, WIDTH * sizeof *larger);
    for (size_t i = 0; i < WIDTH; i++) larger[i] *= 1e25f;
    t->data = (const uint8_t *)larger;
    return true;
}

static dlx_status forward(const char *path, const char *cpu, dlx_error *err)
{
    static const int32_t ids[6] = {5, 9, 17, 3, 40, 8};
    dlx_model_options o = dlx_model_options_default();
    dlx_model *m;
    dlx_session *s;
    o.threads = 1;
    o.cpu = cpu;
    if (dlx_model_open(&m, path, &o, err) != DLX_OK) fail_msg("%s", err->message);
    size_t vocab = (size_t)dlx_model_get_facts(m)->vocab_size;
    float *logits = malloc(6 * vocab * sizeof *logits);
    assert_non_null(logits);
    if (dlx_session_open(&s, m, 0, 0, err) != DLX_OK) fail_msg("%s", err->message);
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = 6, .n_rows = 6, .logits = logits};
    dlx_status status = dlx_session_forward(s, &c, err);
    dlx_session_close(s);
    dlx_model_close(m);
    free(logits);
    return status;
}

static void an_overflow_is_an_error(void **state)
{
    (void)state;
    copy c = copy_checkpoint(TINY("llada"));
    dlx_error err = {0};
    char path[1024];
    path_in(path, c.folder, "model.pte");
    for (int damaged = 0; damaged < 2; damaged++) {
        float larger[WIDTH];
        if (damaged) edit_tensors(&c, "model.safetensors", enlarge, larger, NULL);
        dlx_export_options o = tiny_export(c.folder, path, true);
        if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
        static const char *const sets[] = {"auto", "ref"};
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(forward(path, sets[i], &err), damaged ? DLX_E_INTERNAL : DLX_OK);
            if (damaged) assert_non_null(strstr(err.message, "NaN or infinite logits"));
        }
    }
    remove_copy(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_overflow_is_an_error)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
