/*
 * What inspect says of payloads that other runtimes execute: of Core ML and QNN delegates, whole, shared and damaged.
 * The payloads are put together here, byte by byte; tests/data/format/official_coreml.pte has one of ExecuTorch's own
 * exporter, tests/data/format/coremltools models of coremltools (tools/make_coreml_models.py).
 */
#include "fail_fixture.h"

#include "base/sizes.h"
#include "format/coreml.h"
#include "pte_sample.h"
#include "whole_file.h"

typedef struct bytes {
    uint8_t data[4096];
    size_t n;
} bytes;

static void put(bytes *b, const void *data, size_t n)
{
    assert_true(b->n + n <= sizeof b->data);
    memcpy(b->data + b->n, data, n);
    b->n += n;
}

static void put_varint(bytes *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) put(b, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
    put(b, &(uint8_t){(uint8_t)v}, 1);
}

/* A field that holds bytes. */
static void put_field(bytes *b, uint32_t number, const void *data, size_t n)
{
    put_varint(b, (uint64_t)number << 3 | 2);
    put_varint(b, n);
    put(b, data, n);
}

static void put_entry(bytes *b, uint32_t number, const char *key, const bytes *value)
{
    bytes entry = {.n = 0};
    put_field(&entry, 1, key, strlen(key));
    put_field(&entry, 2, value->data, value->n);
    put_field(b, number, entry.data, entry.n);
}

/* A block with an operator for each word; of the first one, in a block of its own, one more. */
static bytes block_of(const char *const *types, size_t n)
{
    bytes block = {.n = 0};
    for (size_t i = 0; i < n; i++) {
        bytes op = {.n = 0};
        put_field(&op, 1, types[i], strlen(types[i]));
        if (!i) {
            bytes inner = {.n = 0}, nested = {.n = 0};
            put_field(&nested, 1, "sub", 3);
            put_field(&inner, 3, nested.data, nested.n);
            put_field(&op, 4, inner.data, inner.n);
        }
        put_field(&block, 3, op.data, op.n);
    }
    return block;
}

/* Specification 9, with a function of that name. */
static bytes model_of(const char *name, const bytes *block)
{
    bytes function = {.n = 0}, program = {.n = 0}, model = {.n = 0};
    put_entry(&function, 3, "CoreML8", block);
    put_entry(&program, 2, name, &function);
    put_varint(&model, 1 << 3);
    put_varint(&model, 9);
    put_field(&model, 502, program.data, program.n);
    return model;
}

static bytes model_with(const char *name)
{
    static const char *const types[] = {"cond", "const", "linear", "const", "linear", "add"};
    bytes block = block_of(types, 6);
    return model_of(name, &block);
}

/* The files, metadata, model and weights, and their tree; `format` is of it, with where each file begins and its size.
 */
static bytes files_of(const char *metadata, const bytes *model, const char *weights, const char *format)
{
    bytes b = {.n = 0};
    char tree[2048];
    put(&b, metadata, strlen(metadata));
    put(&b, model->data, model->n);
    put(&b, weights, strlen(weights));
    snprintf(tree, sizeof tree, format, strlen(metadata), strlen(metadata), model->n, strlen(metadata) + model->n,
             strlen(weights));
    for (size_t i = strlen(tree); i-- > 0;) put(&b, &tree[i], 1);
    return b;
}

#define FILE_OF(name, offset, size)                                                                                    \
    "{\"children\":{},\"dataRegion\":{\"offset\":" offset ",\"size\":" size "},\"kind\":0,\"name\":\"" name "\"},"
#define FOLDER_OF(name, children)                                                                                      \
    "{\"children\":{" children "},\"dataRegion\":{\"offset\":0,\"size\":0},\"kind\":1,\"name\":\"" name "\"}"
#define FILES                                                                                                          \
    "{\"nodes\":[" FILE_OF("metadata.json", "0", "%zu") FILE_OF("model.mlmodel", "%zu", "%zu")                         \
        FILE_OF("weight.bin", "%zu", "%zu")
#define PACKAGE                                                                                                        \
    FILES FOLDER_OF("weights", "\"weight.bin\":2") "," FOLDER_OF(                                                      \
        "com.apple.CoreML",                                                                                            \
        "\"model.mlmodel\":1,"                                                                                         \
        "\"weights\":3") "," FOLDER_OF("Data",                                                                         \
                                       "\"com.apple.CoreML\":4") "," FOLDER_OF("model.mlpackage",                      \
                                                                               "\"Data\":5") "," FOLDER_OF("root",     \
                                                                                                           "\"metadat" \
                                                                                                           "a.json\":" \
                                                                                                           "0,"        \
                                                                                                           "\"model."  \
                                                                                                           "mlpackage" \
                                                                                                           "\":6") "]" \
                                                                                                                   "}"

static const char one_method[] =
    "{\"inputNames\":[\"a\",\"b\\\"]\"],\"outputNames\":[\"c\"],\"identifier\":\"ex\\u0065cutorch_1\"}";

/* The report of the sample program whose second delegate, which is called, has this id, payload and options. */
static char *report_of(pte_sample *s, const char *id, const bytes *payload, bool json)
{
    target t = new_target("m.pte");
    dlx_output out;
    dlx_error err = {0};
    char *text;
    s->delegates[1].id = id;
    s->blobs[B_SECOND].data = payload->data;
    s->blobs[B_SECOND].size = payload->n;
    assert_int_equal(dlx_output_open(&out, t.path, &err), DLX_OK);
    if (dlx_pte_write(&s->pte, &out, NULL, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_output_commit(&out, &err), DLX_OK);
    dlx_output_close(&out);
    if (dlx_inspect(t.path, json, NULL, &text, &err) != DLX_OK) fail_msg("%s", err.message);
    remove_target(&t);
    return text;
}

static void expect(pte_sample *s, const char *id, const bytes *payload, bool json, const char *part)
{
    char *text = report_of(s, id, payload, json);
    if (!strstr(text, part)) fail_msg("'%s' is not in:\n%s", part, text);
    if (json) {
        json_t *parsed = json_loads(text, 0, NULL);
        assert_non_null(parsed);
        json_decref(parsed);
    }
    dlx_free(text);
}

/* ---- Core ML ---- */

static void models_of_core_ml(void **state)
{
    (void)state;
    pte_sample s;
    pte_sample_make(&s);
    bytes model = model_with("main"), payload = files_of(one_method, &model, "12345", PACKAGE);
    expect(&s, "CoreMLBackend", &payload, false, "\n    identifier     executorch_1\n");
    expect(&s, "CoreMLBackend", &payload, false, " ML Program of specification 9 (iOS18), function main, ");
    expect(&s, "CoreMLBackend", &payload, false, "\n    operators      1 cond, 1 sub, 2 linear, 1 add\n");
    expect(&s, "CoreMLBackend", &payload, false, "\n    weights        5 bytes\n");
    expect(&s, "CoreMLBackend", &payload, true, "\"operators\":{\"cond\":1,\"sub\":1,\"linear\":2,\"add\":1}");
    put(&payload, "\0\0\0", 3); /* what aligns the next segment */
    expect(&s, "CoreMLBackend", &payload, false, "2 linear");
}

/* Several methods refer to one package. */
static void shared_models_of_core_ml(void **state)
{
    (void)state;
    pte_sample s;
    char text[256], metadata[] = "{\"identifier\":\"i\",\"methods\":{\"other\":{},\"second\":{\"inputNames\":[],"
                                 "\"outputNames\":[\"x\"]}}}";
    pte_sample_make(&s);
    bytes model = model_with("second"), package = files_of(metadata, &model, "", PACKAGE), payload = {.n = 0};
    s.blobs[B_OWN].data = package.data;
    s.blobs[B_OWN].size = package.n;
    snprintf(text, sizeof text, "CMJR{\"version\":1,\"key\":\"%s\",\"functionName\":\"second\"}", s.blobs[B_OWN].key);
    put(&payload, text, strlen(text));
    snprintf(text, sizeof text, "in named data %s, ML Program of specification 9 (iOS18), function second",
             s.blobs[B_OWN].key);
    expect(&s, "CoreMLBackend", &payload, false, text);
    payload.n = 0;
    put(&payload, "CMJR{\"key\":\"nobody\"}", 20);
    expect(&s, "CoreMLBackend", &payload, false, "it refers to named data 'nobody', which the file does not have");
    payload.n = 0;
    put(&payload, "CMJR{}", 6);
    expect(&s, "CoreMLBackend", &payload, false, "it does not say which named data it refers to");
    payload.n = 5;
    expect(&s, "CoreMLBackend", &payload, false, "what it refers to cannot be read");
}

static void damaged_models_of_core_ml(void **state)
{
    (void)state;
    static const struct {
        const char *metadata, *tree, *function, *part;
    } cases[] = {
        {one_method, PACKAGE, "other", "cannot be read: its program has no function 'main'"},
        {"{\"inputNames\":[]}", PACKAGE, "main", "its metadata.json has no identifier"},
        {"{\"identifier\":", PACKAGE, "main", "its metadata.json cannot be read"},
        {"{\"identifier\":\"\\u0000\"}", PACKAGE, "main", "its metadata.json cannot be read"},
        {one_method, "{\"nodes\":[]}", "main", "the list of its files is empty"},
        {one_method, "{}", "main", "the list of its files is empty"},
        {one_method, "{\"nodes\":[{\"children\":{\"a\":0}}]}", "main", "holds file 0, which does not stand in front"},
        {one_method, "{\"nodes\":[{\"dataRegion\":{\"offset\":9,\"size\":99999}}]}", "main", "lie behind its end"},
        {one_method, "{\"nodes\":[{\"dataRegion\":{\"offset\":99999999999999999999}}]}", "main",
         "the list of its files cannot be read"},
        {one_method, "{\"nodes\":[{\"kind\":1}]}", "main", "it has no file 'metadata.json'"},
        {one_method, FILES FOLDER_OF("root", "\"metadata.json\":0") "]}", "main", "it has no file 'model.mlmodel'"},
        {one_method, "[{]", "main", "no list of files stands at its end"},
        {one_method, "{\"nodes\":[{", "main", "the list of its files cannot be read"},
        {one_method, FILES FOLDER_OF("c", "") "," FOLDER_OF("root", "\"metadata.json\":0,\"model.mlmodelc\":3") "]}",
         "main", "model          compiled, 0 bytes"},
    };
    pte_sample s;
    pte_sample_make(&s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes model = model_with(cases[i].function);
        bytes payload = files_of(cases[i].metadata, &model, "w", cases[i].tree);
        expect(&s, "CoreMLBackend", &payload, false, cases[i].part);
        expect(&s, "CoreMLBackend", &payload, true, "\"id\":\"CoreMLBackend\"");
    }
    bytes empty = {.n = 0};
    expect(&s, "CoreMLBackend", &empty, false, "\n  never called   delegate 0, XnnpackBackend, payload 10 bytes\n");
    expect(&s, "CoreMLBackend", &empty, false, "the list of its files cannot be read");
}

/* Every byte of a good payload, changed and left out: a report in any case. */
static void payloads_may_hold_anything(void **state)
{
    (void)state;
    dlx_arena arena;
    dlx_coreml_contents c;
    dlx_error err = {0};
    bytes model = model_with("main"), whole = files_of(one_method, &model, "12345", PACKAGE);
    size_t failed = 0;
    for (size_t i = 0; i < whole.n; i++)
        for (int change = 0; change < 3; change++) {
            bytes b = whole;
            b.data[i] ^= change == 0 ? 0x80 : change == 1 ? 0x01 : 0x7F;
            if (change == 2) b.n = i;
            uint8_t *exact = malloc(b.n + 1); /* so that a sanitizer sees what is read behind it */
            assert_non_null(exact);
            memcpy(exact, b.data, b.n);
            dlx_pte_blob blob = {.kind = DLX_BLOB_DELEGATE, .size = b.n, .data = exact};
            dlx_arena_init(&arena);
            dlx_status st = dlx_coreml_read(&c, &arena, &(dlx_pte){.plans = NULL}, &blob, &err);
            assert_true(st == DLX_OK || st == DLX_E_FORMAT || st == DLX_E_LIMIT);
            failed += st != DLX_OK;
            dlx_arena_free(&arena);
            free(exact);
        }
    assert_true(failed > whole.n); /* each length but the whole, and most changes */
}

/* Forms of coremltools' own: [96,64] in a linear, [96,64] in a matmul, [32,64,1] in a conv. Bytes are those of its
 * weight files: codes, scales, zero points where it has them, tables, masks. */
static const struct {
    const char *file, *kind, *name;
    uint64_t group, bytes[3];
} forms[] = {
    {"ios18_f16", "f16-f16w", "first_weight_0", 0, {2 * 6144, 2 * 6144, 2 * 2048}},
    {"ios16_int8", "f16-qc8w", "first_weight_0_quantized", 0, {6144 + 3 * 96, 6144 + 3 * 64, 2048 + 3 * 32}},
    {"ios18_int8", "f16-qc8w", "first_weight_0_quantized", 0, {6144 + 2 * 96, 6144 + 2 * 64, 2048 + 2 * 32}},
    {"ios18_int4_32", "f16-qb4w", "first_weight_0_quantized", 32, {3072 + 384, 3072 + 384, 1024 + 128}},
    {"ios16_lut4", "f16-lut4w", "first_weight_0_palettized", 0, {3072 + 32, 3072 + 32, 1024 + 32}},
    {"ios18_lut4_16", "f16-lut4w", "first_weight_0_palettized", 16, {3072 + 6 * 32, 3072 + 4 * 32, 1024 + 2 * 32}},
    {"ios16_sparse", "f16-f16w-sparse", "first_weight_0_sparsified", 0, {768 + 3070, 768 + 3072, 256 + 1022}},
    {"ios18_sparse_lut4",
     "f16-lut4w-sparse",
     "first_weight_0_sparsified_nonzero_data_0_palettized_1",
     0,
     {768 + 768 + 32, 768 + 768 + 32, 256 + 256 + 32}},
};

static void linears_of_core_ml(void **state)
{
    static const char *const operators[] = {"linear", "matmul", "conv"};
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(forms); i++) {
        char path[256];
        whole_file model;
        dlx_arena arena;
        dlx_coreml_contents c = {0};
        dlx_error err = {0};
        snprintf(path, sizeof path, DLX_TEST_DATA "/format/coremltools/%s.mlmodel", forms[i].file);
        assert_int_equal(read_whole_file(&model, path, &err), DLX_OK);
        dlx_arena_init(&arena);
        assert_int_equal(dlx_coreml_read_model(&c, &arena, model.data, model.size, &err), DLX_OK);
        assert_true(c.has_linears && c.n_linears == 3);
        for (size_t k = 0; k < 3; k++) {
            const dlx_coreml_linears *l = &c.linears[k];
            assert_string_equal(l->op, operators[k]);
            assert_string_equal(l->kind, forms[i].kind);
            assert_true(l->layers == 1 && l->names && !l->names->next);
            assert_int_equal(l->group, forms[i].group);
            assert_int_equal(l->bytes, forms[i].bytes[k]);
        }
        assert_string_equal(c.linears->names->text, forms[i].name);
        dlx_arena_free(&arena);
        for (size_t b = 0; b < model.size; b++) { /* whatever it says instead */
            model.data[b] ^= 1;
            dlx_arena_init(&arena);
            dlx_status st = dlx_coreml_read_model(&c, &arena, model.data, model.size, &err);
            assert_true(st == DLX_OK || st == DLX_E_FORMAT || st == DLX_E_LIMIT);
            dlx_arena_free(&arena);
            model.data[b] ^= 1;
        }
        free_whole_file(&model);
    }
}

/* An operator with one operand, that makes a float16 [2,3] of that name. */
static void put_operator(bytes *block, const char *type, const char *parameter, const char *operand, const char *out)
{
    static const uint8_t tensor[] = {10, 16, 8, 10, 16, 2, 26, 4, 10, 2, 8, 2, 26, 4, 10, 2, 8, 3};
    bytes op = {.n = 0}, binding = {.n = 0}, argument = {.n = 0}, named = {.n = 0};
    put_field(&op, 1, type, strlen(type));
    put_field(&binding, 1, operand, strlen(operand));
    put_field(&argument, 1, binding.data, binding.n);
    put_entry(&op, 2, parameter, &argument);
    put_field(&named, 1, out, strlen(out));
    put_field(&named, 2, tensor, sizeof tensor);
    put_field(&op, 3, named.data, named.n);
    put_field(block, 3, op.data, op.n);
}

/* Layers that share a weight, and some whose weight is none: made of itself, of nothing, or by another layer. */
static void weights_of_core_ml(void **state)
{
    (void)state;
    pte_sample s;
    bytes block = {.n = 0}, program;
    pte_sample_make(&s);
    put_operator(&block, "const", "none", "", "w");
    put_operator(&block, "reshape", "x", "w", "turned");
    put_operator(&block, "linear", "weight", "turned", "a");
    put_operator(&block, "linear", "weight", "w", "b");
    put_operator(&block, "reshape", "x", "circle", "circle");
    put_operator(&block, "linear", "weight", "circle", "d");
    put_operator(&block, "linear", "weight", "nobody", "e");
    put_operator(&block, "matmul", "y", "b", "f");
    program = model_of("main", &block);
    bytes payload = files_of(one_method, &program, "12345", PACKAGE);
    expect(&s, "CoreMLBackend", &payload, false, "\n    linear layers  2 linear f16-f16w, 12 bytes: w, w\n    weights");
    expect(&s, "CoreMLBackend", &payload, true,
           "\"linears\":[{\"operator\":\"linear\",\"kind\":\"f16-f16w\",\"group\":0,\"layers\":2,\"bytes\":12,"
           "\"names\":[\"w\",\"w\"]}]");
}

/* ---- QNN ---- */

/* ExecuTorch 1.4.1's own option for an SM8650, float16. */
static const char golden[] =
    "200000001c001e00040008000c001000000000000000000000000000140018001c000000800000004c00000038000000010000001c0000000c"
    "00000000000600080004000600000004000000000000000c00000073617665725f6f757470757400000000000000000000000008000e000400"
    "0800080000000200000018000000000012001000000008000c00000006000000070012000000000001010200000001000000f4ffffff390000"
    "000c00000008000c0004000800080000004b00000008000000";

static void programs_of_qnn(void **state)
{
    (void)state;
    pte_sample s;
    bytes payload = {.n = 0}, option = {.n = 0};
    const uint32_t magic = 0x5678ABCD;
    const uint64_t size = 40;
    pte_sample_make(&s);
    for (size_t i = 0; golden[i]; i += 2) {
        char digits[3] = {golden[i], golden[i + 1], 0};
        put(&option, &(uint8_t){(uint8_t)strtoul(digits, NULL, 16)}, 1);
    }
    dlx_pte_spec spec = {.key = "qnn_compile_spec", .value = option.data, .size = (uint32_t)option.n};
    s.delegates[1].specs = &spec;
    s.delegates[1].n_specs = 1;
    put(&payload, &magic, sizeof magic);
    put(&payload, &(uint64_t){7}, 8);
    put(&payload, &size, sizeof size);
    payload.n = 256 + size;
    expect(&s, "QnnBackend", &payload, false, "\n    chip           57 (SM8650), HTP V75, 8 MiB of VTCM, float16\n");
    expect(&s, "QnnBackend", &payload, false, "\n    context binary 40 bytes\n");
    expect(&s, "QnnBackend", &payload, true,
           "\"chip\":57,\"chip_name\":\"SM8650\",\"arch\":75,\"vtcm_mib\":8,\"float16\":true,\"compiled\":true,"
           "\"qnn_version\":null,\"binary_bytes\":40");
    static const struct {
        const char *text, *json;
        uint32_t length;
    } versions[] = {
        {"v2.47.0.260601114230", "\"v2.47.0.260601114230\"", 20},
        {"v2.22.6.240515175854_92130", "\"v2.22.6.240515175854_92130\"", 26},
        {"v2.47.0.2606", "null", 20}, /* its end is elsewhere */
        {"v2.47.0.260601114230", "null", 19},
        {"v2.47", "null", 5},
        {"v2..47.0", "null", 8},
        {"v2.47.0.", "null", 8},
        {"w2.47.0", "null", 7},
        {"v2.47.0-rc", "null", 10},
    };
    for (size_t i = 0; i < DLX_COUNT(versions); i++) {
        char json[64];
        memset(payload.data + 256, 0, size);
        memcpy(payload.data + 256 + 8, &versions[i].length, sizeof versions[i].length);
        memcpy(payload.data + 256 + 12, versions[i].text, strlen(versions[i].text));
        snprintf(json, sizeof json, "\"qnn_version\":%s,\"binary", versions[i].json);
        expect(&s, "QnnBackend", &payload, true, json);
    }
    memcpy(payload.data + 256 + 12, "v1.2.3\0", 8);
    memcpy(payload.data + 256 + 8, &(uint32_t){6}, 4);
    expect(&s, "QnnBackend", &payload, false, "\n    compiled by    QNN v1.2.3\n    context binary 40 bytes\n");
    payload.n--;
    expect(&s, "QnnBackend", &payload, false, "a context binary of 40 bytes follows, but it has 295 bytes altogether");
    payload.n = 3;
    expect(&s, "QnnBackend", &payload, false, "cannot be read: it begins with 0078abcd; expected 5678abcd");
    memcpy(payload.data, "PK\3\4", 4);
    payload.n = 4;
    expect(&s, "QnnBackend", &payload, false, "\n    DLC            4 bytes\n");
    spec.size = 30;
    expect(&s, "QnnBackend", &payload, false, "cannot be read: option qnn_compile_spec");
}

/* Whom a file is for that is not executed here. */
static void who_executes_it(void **state)
{
    (void)state;
    pte_sample s;
    bytes payload = {.n = 0};
    pte_sample_make(&s);
    s.plans[0].instructions += I_CALL;
    s.plans[0].n_instructions = 1;
    expect(&s, "CoreMLBackend", &payload, false,
           "uses delegate 'CoreMLBackend'; this runtime executes XnnpackBackend only, ExecuTorch's own runtime the "
           "others, on an Apple device (runtime=\"executorch\" in Python)");
    expect(&s, "QnnBackend", &payload, false, "on a device with the Qualcomm chip that the file was made for");
    expect(&s, "MyBackend", &payload, false, "on a device that has that delegate");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_of_core_ml),         cmocka_unit_test(shared_models_of_core_ml),
        cmocka_unit_test(damaged_models_of_core_ml), cmocka_unit_test(linears_of_core_ml),
        cmocka_unit_test(weights_of_core_ml),        cmocka_unit_test(payloads_may_hold_anything),
        cmocka_unit_test(programs_of_qnn),           cmocka_unit_test(who_executes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
