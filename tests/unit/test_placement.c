/* What an export tells of the homes that nodes went to, against sums over the checkpoint's shapes. */
#include "fail_fixture.h"

enum { HIDDEN = 128, QUERIES = 192, KEYS = 64, FFN = 256, VOCAB = 1280, LAYERS = 2, HEAD = 32, ROWS = 4, CONTEXT = 64 };
enum { LINEARS = LAYERS * (2 * HIDDEN * QUERIES + 2 * HIDDEN * KEYS + 3 * HIDDEN * FFN) + HIDDEN * VOCAB };

typedef struct told {
    const char *target; /* which is there by then; NULL: not looked for */
    dlx_placement rows[64];
    size_t n;
} told;

static void on_placement(void *ctx, const dlx_placement *p)
{
    told *t = ctx;
    assert_true(t->n < sizeof t->rows / sizeof *t->rows);
    assert_int_equal(access(t->target, R_OK), 0);
    t->rows[t->n] = *p;
    t->rows[t->n++].method = strcmp(p->method, "forward") ? "forward_8" : "forward";
}

static told export_to(const char *path, dlx_export_options *o)
{
    static told t;
    char checkpoint[1024];
    dlx_error err = {0};
    t = (told){.target = path};
    checkpoint_of(checkpoint, "sdar");
    o->model_path = checkpoint;
    o->output_path = path;
    o->max_seq_len = CONTEXT;
    o->placement = on_placement;
    o->placement_ctx = &t;
    if (dlx_export(o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    return t;
}

static const dlx_placement *find(const told *t, const char *method, const char *home, const char *op)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->rows[i].method, method) && !strcmp(t->rows[i].home, home) && !strcmp(t->rows[i].op, op))
            return &t->rows[i];
    return NULL;
}

static void expect(const told *t, const char *method, const char *home, const char *op, uint64_t count, uint64_t bytes,
                   uint64_t multiply_adds, uint64_t delegates)
{
    const dlx_placement *p = find(t, method, home, op);
    if (!p) fail_msg("no %s in %s of %s", op, home, method);
    assert_int_equal(p->count, count);
    assert_int_equal(p->constant_bytes, bytes);
    assert_int_equal(p->multiply_adds, multiply_adds);
    assert_int_equal(p->delegates, delegates);
}

static void core_ml_leaves_the_embedding(void **state)
{
    (void)state;
    static const int32_t more[] = {2 * ROWS};
    target file = new_target("m.pte");
    dlx_export_options o = dlx_export_options_default();
    o.backend = "coreml";
    o.quantization = "fp16";
    o.delegate_layers = 1;
    o.method_rows = more;
    o.n_method_rows = 1;
    told t = export_to(file.path, &o);
    for (int i = 0; i < 2; i++) {
        const char *method = i ? "forward_8" : "forward";
        uint64_t rows = (uint64_t)ROWS << i;
        expect(&t, method, "coreml", "LINEAR", 7 * LAYERS + 1, 2 * LINEARS, rows * LINEARS, LAYERS);
        expect(&t, method, "coreml", "ATTENTION", LAYERS, 0, LAYERS * 2 * rows * QUERIES * (CONTEXT + rows), LAYERS);
        /* the table in float16, and two of the rotary embedding */
        expect(&t, method, "operators", "EMBEDDING", 3, 2 * VOCAB * HIDDEN + 2 * 4 * CONTEXT * HEAD, 0, 0);
        assert_null(find(&t, method, "coreml", "EMBEDDING"));
        assert_null(find(&t, method, "xnnpack", "LINEAR"));
    }
    remove_target(&file);
}

static void core_ml_may_keep_the_cache(void **state)
{
    (void)state;
    target file = new_target("m.pte");
    dlx_export_options o = dlx_export_options_default();
    o.backend = "coreml";
    o.quantization = "fp16";
    o.kv = "fixed-state";
    told t = export_to(file.path, &o);
    expect(&t, "forward", "coreml", "INDEX_PUT", 2 * LAYERS, 0, 0, 1);
    expect(&t, "forward", "coreml", "INDEX", 2 * LAYERS, 0, 0, 1);
    for (size_t i = 0; i < t.n; i++)
        if (!strcmp(t.rows[i].home, "operators")) assert_string_equal(t.rows[i].op, "EMBEDDING");
    remove_target(&file);
}

static void xnnpack_has_products_in_parts(void **state)
{
    (void)state;
    target file = new_target("m.pte");
    dlx_export_options o = dlx_export_options_default();
    o.quantization = "int8-weight-only"; /* a byte each, and a scale for each row */
    told t = export_to(file.path, &o);
    const dlx_placement *linear = find(&t, "forward", "xnnpack", "LINEAR");
    assert_non_null(linear);
    uint64_t rows = LAYERS * (QUERIES + 2 * KEYS + 2 * HIDDEN + 2 * FFN) + VOCAB;
    /* and what products stand for means read */
    assert_in_range(linear->constant_bytes, LINEARS + 4 * rows, LINEARS + 4 * rows + 1023);
    const dlx_placement *bmm = find(&t, "forward", "xnnpack", "BMM");
    assert_non_null(bmm);
    assert_int_equal(bmm->multiply_adds, (uint64_t)LAYERS * 2 * CONTEXT * QUERIES * 2 * CONTEXT);
    assert_int_equal(bmm->delegates, 1);
    remove_target(&file);
}

static void what_backends_need(void **state)
{
    (void)state;
    dlx_error err = {0};
    char *found;
    dlx_export_options o = dlx_export_options_default();
    assert_int_equal(dlx_export_backend_check(&o, &found, &err), DLX_OK);
    assert_string_equal(found, "");
    dlx_free(found);
    o.backend = "qnn";
    o.qnn_lib_dir = DLX_TEST_DATA "/inspect";
    assert_int_equal(dlx_export_backend_check(&o, &found, &err), DLX_E_UNSUPPORTED);
    assert_null(found);
    assert_non_null(strstr(err.message, "has no libQnnHtp.so; install"));
    o.backend = "other";
    assert_int_equal(dlx_export_backend_check(&o, &found, &err), DLX_E_UNSUPPORTED);
    assert_int_equal(dlx_export_backend_check(NULL, &found, &err), DLX_E_INVALID);
    assert_int_equal(dlx_export_backend_check(&o, NULL, &err), DLX_E_INVALID);
}

/* What compiled payloads hold is counted by graphs: layers and head as integers with their scales, and norms. */
static void constants_of_a_home(void **state)
{
    (void)state;
    target file = new_target("m.mlpackage");
    char checkpoint[1024];
    dlx_error err = {0};
    dlx_export_result r = {.struct_size = sizeof r};
    dlx_export_options o = dlx_export_options_default();
    checkpoint_of(checkpoint, "sdar");
    o.model_path = checkpoint;
    o.output_path = file.path;
    o.backend = "coreml";
    o.emit = "mlpackage";
    if (dlx_export(&o, &r, &err) != DLX_OK) fail_msg("%s", err.message);
    uint64_t rows = LAYERS * (QUERIES + 2 * KEYS + 2 * HIDDEN + 2 * FFN) + VOCAB;
    assert_int_equal(r.quantised_tensors, 7 * LAYERS + 1);
    assert_int_equal(r.quantised_bytes, LINEARS + 4 * rows);
    assert_true(r.float_tensors >= 4 * LAYERS + 1 && r.float_bytes < 64 * HIDDEN);
    remove_target(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(core_ml_leaves_the_embedding), cmocka_unit_test(constants_of_a_home),
        cmocka_unit_test(core_ml_may_keep_the_cache),   cmocka_unit_test(xnnpack_has_products_in_parts),
        cmocka_unit_test(what_backends_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
