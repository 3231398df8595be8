/*
 * What inspect says of payloads that other runtimes execute: of Core ML and QNN delegates, whole, shared and damaged.
 * The payloads are put together here, byte by byte; tests/data/format/official_coreml.pte has one of ExecuTorch's own
 * exporter.
 */
#include "fail_fixture.h"

#include "format/coreml.h"
#include "pte_sample.h"

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
static bytes model_with(const char *name)
{
    static const char *const types[] = {"cond", "const", "linear", "const", "linear", "add"};
    bytes block = block_of(types, 6), function = {.n = 0}, program = {.n = 0}, model = {.n = 0};
    put_entry(&function, 3, "CoreML8", &block);
    put_entry(&program, 2, name, &function);
    put_varint(&model, 1 << 3);
    put_varint(&model, 9);
    put_field(&model, 502, program.data, program.n);
    return model;
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
           "\"binary_bytes\":40");
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
        cmocka_unit_test(damaged_models_of_core_ml), cmocka_unit_test(payloads_may_hold_anything),
        cmocka_unit_test(programs_of_qnn),           cmocka_unit_test(who_executes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
