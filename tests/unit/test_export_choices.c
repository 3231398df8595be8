/* The tables of backends and of quantisation schemes: every name finds its row, and what refers to a row finds one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "diffulex_edge/export.h"
#include "diffulex_edge/model.h"

#include "base/arena.h"
#include "base/io.h"
#include "backends/qnn/chips.h"
#include "base/sizes.h"
#include "export/choices.h"
#include "format/facts.h"
#include "format/pte.h"
#include "quant/quant.h"
#include "whole_file.h"

/* ---- names ------------------------------------------------------------------------------------------------------- */

enum { MOST_NAMES = 64 };

typedef struct names {
    char name[MOST_NAMES][64];
    size_t row[MOST_NAMES];
    size_t n;
} names;

/* Adds the words of "a, b" as names of a row. */
static void add_names(names *t, const char *list, size_t row)
{
    while (*list) {
        size_t n = strcspn(list, ",");
        assert_in_range(n, 1, 63);
        assert_in_range(t->n, 0, MOST_NAMES - 1);
        snprintf(t->name[t->n], sizeof t->name[0], "%.*s", (int)n, list);
        t->row[t->n++] = row;
        list += n;
        list += strspn(list, ", ");
    }
}

static void exchange(char *s, char from, char to)
{
    for (; *s; s++)
        if (*s == from) *s = to;
}

static names backend_names(void)
{
    names t = {.n = 0};
    dlx_backend_info info = {.struct_size = sizeof info};
    for (size_t i = 0; dlx_export_backend_info(i, &info); i++) {
        assert_true(*info.help);
        assert_null(strchr(info.name, ','));
        add_names(&t, info.name, i);
        add_names(&t, info.aliases, i);
    }
    return t;
}

/* What a backend's schemes are called; NULL: all schemes. */
static names scheme_names(const char *backend)
{
    names t = {.n = 0};
    dlx_scheme_info info = {.struct_size = sizeof info};
    for (size_t i = 0; dlx_export_scheme_info(i, &info); i++) {
        assert_true(*info.help);
        assert_null(strchr(info.name, ','));
        if (backend && !dlx_word_in(info.backends, backend)) continue;
        add_names(&t, info.name, i);
        add_names(&t, info.aliases, i);
    }
    return t;
}

static void check_distinct(const names *t)
{
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < i; k++) assert_string_not_equal(t->name[i], t->name[k]);
}

static void test_backends(void **state)
{
    (void)state;
    names t = backend_names();
    dlx_backend_info info = {.struct_size = sizeof info};
    const dlx_backend *b, *first;
    check_distinct(&t);
    assert_in_range(t.n, 1, MOST_NAMES);
    assert_int_equal(dlx_backend_find(&first, NULL, NULL), DLX_OK);
    assert_string_equal(first->name, t.name[0]);
    for (size_t i = 0; i < t.n; i++) {
        assert_int_equal(dlx_backend_find(&b, t.name[i], NULL), DLX_OK);
        assert_true(dlx_export_backend_info(t.row[i], &info));
        assert_string_equal(b->name, info.name);
        assert_true(b->decompose && b->home);
    }
}

static void test_schemes(void **state)
{
    (void)state;
    names t = scheme_names(NULL), backends = backend_names();
    dlx_scheme_info info = {.struct_size = sizeof info};
    const dlx_scheme *s;
    const dlx_backend *b;
    names first = {.n = 0}; /* other names may stand twice: they mean the first scheme that the backend writes */
    for (size_t i = 0; dlx_export_scheme_info(i, &info); i++) add_names(&first, info.name, i);
    check_distinct(&first);
    assert_int_equal(dlx_backend_find(&b, NULL, NULL), DLX_OK);
    assert_int_equal(dlx_scheme_find(&s, NULL, b, NULL), DLX_OK);
    assert_string_equal(s->name, t.name[0]);
    assert_string_equal(s->name, "int8-dynamic");
    assert_string_equal(s->body, "int8-dynamic");
    for (size_t i = 0; i < t.n; i++) {
        assert_true(dlx_export_scheme_info(t.row[i], &info));
        names takers = {.n = 0};
        add_names(&takers, info.backends, 0);
        assert_in_range(takers.n, 1, MOST_NAMES);
        for (size_t k = 0; k < takers.n; k++) {
            assert_int_equal(dlx_backend_find(&b, takers.name[k], NULL), DLX_OK);
            assert_string_equal(b->name, takers.name[k]);
            assert_int_equal(dlx_scheme_find(&s, t.name[i], b, NULL), DLX_OK);
            if (!strcmp(t.name[i], info.name)) assert_string_equal(s->name, info.name);
            assert_true(*s->metadata);
            assert_non_null(dlx_form_find(s->body));
            assert_non_null(dlx_form_find(s->head));
            assert_non_null(dlx_form_find(s->table));
            if (!strcmp(b->name, "xnnpack"))
                assert_ptr_equal(dlx_form_find(s->body), dlx_form_find(s->name)); /* one word for both */
        }
    }
    /* Every backend has a default that it can write, and gives "int8" a meaning. */
    for (size_t i = 0; i < backends.n; i++) {
        assert_int_equal(dlx_backend_find(&b, backends.name[i], NULL), DLX_OK);
        assert_int_equal(dlx_scheme_find(&s, NULL, b, NULL), DLX_OK);
        assert_true(dlx_word_in(s->backends, b->name));
        assert_int_equal(dlx_scheme_find(&s, "int8", b, NULL), DLX_OK);
        const char *expected = !strcmp(b->name, "xnnpack")  ? "int8-dynamic"
                               : !strcmp(b->name, "coreml") ? "int8-weight-only"
                                                            : "a16w8";
        assert_string_equal(s->name, expected);
    }
}

static const dlx_backend *xnnpack(void)
{
    const dlx_backend *b;
    assert_int_equal(dlx_backend_find(&b, "xnnpack", NULL), DLX_OK);
    return b;
}

static void test_spellings(void **state)
{
    (void)state;
    names t = scheme_names("xnnpack");
    const dlx_scheme *s, *same;
    for (size_t i = 0; i < t.n; i++) {
        assert_int_equal(dlx_scheme_find(&s, t.name[i], xnnpack(), NULL), DLX_OK);
        exchange(t.name[i], '-', '_');
        assert_int_equal(dlx_scheme_find(&same, t.name[i], xnnpack(), NULL), DLX_OK);
        assert_ptr_equal(s, same);
    }
    static const char *const dynamic[] = {"int8-dynamic", "int8_dynamic", "dynamic_int8", "dynamic-int8",
                                          "int8",         "INT8",         "Int8_Dynamic"};
    for (size_t i = 0; i < sizeof dynamic / sizeof *dynamic; i++) {
        assert_int_equal(dlx_scheme_find(&s, dynamic[i], xnnpack(), NULL), DLX_OK);
        assert_string_equal(s->metadata, "int8-dynamic");
        assert_string_equal(s->body, "int8-dynamic");
    }
    const dlx_rounding *r;
    assert_int_equal(dlx_rounding_find(&r, "AWQ_GPTQ", NULL), DLX_OK);
    assert_string_equal(r->name, "awq-gptq");
}

static void test_unknown_words(void **state)
{
    (void)state;
    static const char *const words[] = {
        "",      "int",   "int7", "int8-", "int8-dynamic2", "int8-dynami", "none,", "none, int8-dynamic",
        " none", "Nones", ",",    "\xff"};
    dlx_error err;
    const dlx_scheme *s = (const dlx_scheme *)state;
    const dlx_backend *b = (const dlx_backend *)state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        assert_int_equal(dlx_scheme_find(&s, words[i], xnnpack(), &err), DLX_E_UNSUPPORTED);
        assert_null(s);
        assert_non_null(
            strstr(err.message, "is not available; the backend 'xnnpack' writes: int8-dynamic, int8-static, "));
    }
    static const char *const others[] = {"", "xnn", "xnnpack2", "XNNPACK ", "xnnpack,"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(dlx_backend_find(&b, others[i], NULL), DLX_E_UNSUPPORTED);
        assert_null(b);
    }
    assert_int_equal(dlx_backend_find(&b, "vulkan", &err), DLX_E_UNSUPPORTED);
    assert_null(b);
    assert_non_null(strstr(err.message, "backend 'vulkan' is not available; this build writes: xnnpack, coreml, qnn"));
    const dlx_kv_choice *kv;
    assert_int_equal(dlx_backend_find(&b, "coreml", NULL), DLX_OK);
    assert_int_equal(dlx_kv_find(&kv, NULL, b, NULL), DLX_OK);
    assert_string_equal(kv->name, "fixed-fp16");
    assert_int_equal(dlx_kv_find(&kv, "caller", b, &err), DLX_E_UNSUPPORTED);
    assert_string_equal(err.message,
                        "kv 'caller' cannot be written by backend 'coreml', which writes: fixed-fp16, fixed, "
                        "fixed-state");
}

static void test_a_backend_that_lacks_a_scheme(void **state)
{
    (void)state;
    static const char *const others[] = {"other", "xnn", "xnnpack2"};
    dlx_error err;
    const dlx_scheme *s = (const dlx_scheme *)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        dlx_backend other = {.name = others[i], .aliases = "", .help = ""};
        assert_int_equal(dlx_scheme_find(&s, "dynamic_int8", &other, &err), DLX_E_UNSUPPORTED);
        assert_null(s);
        assert_non_null(strstr(err.message, "'int8-dynamic'"));
        assert_non_null(strstr(err.message, others[i]));
        assert_non_null(strstr(err.message, "which writes: "));
    }
}

/* No more is written than there is room for. */
static void test_sizes(void **state)
{
    (void)state;
    dlx_scheme_info info = {.struct_size = 0};
    dlx_backend_info backend = {.struct_size = 0};
    assert_false(dlx_export_scheme_info(0, &info));
    assert_false(dlx_export_backend_info(0, &backend));
    assert_null(info.name);
    assert_null(backend.name);
    struct {
        dlx_scheme_info known;
        char later[16]; /* of a caller from the future */
    } longer = {.known.struct_size = sizeof longer, .later = "untouched"};
    assert_true(dlx_export_scheme_info(0, &longer.known));
    assert_int_equal(longer.known.struct_size, sizeof longer);
    assert_string_equal(longer.known.name, "int8-dynamic");
    assert_string_equal(longer.later, "untouched");
}

/* ---- what a scheme does ------------------------------------------------------------------------------------------ */

/* An export by each scheme: what is counted is what the file holds, and the file names the scheme. */
static void test_counts_and_metadata(void **state)
{
    (void)state;
    char folder[] = "/tmp/dlx_test_export_XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/m.pte", folder);
    dlx_scheme_info info = {.struct_size = sizeof info};
    uint64_t floats = 0;
    size_t n = 0;
    while (dlx_export_scheme_info(n, &info)) n++;
    for (size_t i = n; i-- > 0;) { /* float32 is the last */
        assert_true(dlx_export_scheme_info(i, &info));
        if (!strcmp(info.backends, "qnn")) continue; /* needs libraries: test_qnn */
        dlx_export_options o = dlx_export_options_default();
        dlx_export_result r = {.struct_size = sizeof r};
        dlx_error err;
        o.model_path = DLX_TEST_DATA "/checkpoints/sdar-tiny";
        o.output_path = path;
        o.max_seq_len = 64;
        char backend[16];
        snprintf(backend, sizeof backend, "%.*s", (int)strcspn(info.backends, ","), info.backends);
        o.backend = backend;
        if (i) o.quantization = info.name;
        bool mixed = !strncmp(info.name, "int4-g128", 9); /* groups that its rows of 192 do not have */
        if (mixed) o.exclude = "layers.*.o";
        if (dlx_export(&o, &r, &err) != DLX_OK) fail_msg("%s: %s", info.name, err.message);

        whole_file file;
        dlx_arena arena;
        dlx_pte pte;
        dlx_arena_init(&arena);
        assert_int_equal(read_whole_file(&file, path, NULL), DLX_OK);
        assert_int_equal(dlx_pte_read(&pte, &arena, file.data, file.size, path, &err), DLX_OK);
        const dlx_scheme *s;
        const dlx_backend *b;
        char says[64];
        assert_int_equal(dlx_backend_find(&b, backend, NULL), DLX_OK);
        assert_int_equal(dlx_scheme_find(&s, info.name, b, NULL), DLX_OK);
        snprintf(says, sizeof says, "%s%s", s->metadata, mixed ? ", mixed" : "");
        assert_string_equal(dlx_facts_quantization(&pte), says);
        dlx_arena_free(&arena);
        free_whole_file(&file);
        remove(path);

        dlx_dtype stored = dlx_form_find(s->body)->stored;
        assert_in_range(r.quantised_bytes + r.float_bytes, r.file_bytes / 2, r.file_bytes);
        if (stored == DLX_F32) floats = r.float_bytes;
        if (stored == DLX_I8 || stored == DLX_I4) {
            assert_in_range(r.quantised_tensors, 1, r.float_tensors + r.quantised_tensors - 1);
            assert_in_range(r.quantised_bytes, 1, floats / 3);
            assert_in_range(r.quantised_bytes + r.float_bytes, 1, floats / 2);
        } else {
            assert_int_equal(r.quantised_tensors, 0);
            assert_int_equal(r.quantised_bytes, 0);
            assert_in_range(r.float_bytes, 1, stored == DLX_F32 ? floats : floats * 2 / 3);
        }
    }
    assert_true(n >= 2 && floats > 0);
    rmdir(folder);
}

static char noticed[512];

static void on_notice(void *ctx, const char *sentence)
{
    (void)ctx;
    snprintf(noticed, sizeof noticed, "%s", sentence);
}

/* The scheme's name is that of what is in the file, whatever was asked for. */
static void files_say_what_they_hold(void **state)
{
    static const struct {
        const char *quantization, *config, *exclude, *says;
        int64_t bits;
        const char *notice;
    } cases[] = {
        {"int4", NULL, "layers.*", "none, mixed", 32, ""},
        {"int4", NULL, "*", "none", 32, ""},
        {"int4", NULL, "layers.*.o, layers.*.down", "int4, mixed", 4, ""},
        {"int8", NULL, "lm_head", "int8-dynamic, mixed", 8, ""},
        {"int8", NULL, "layers.*.attn_norm", "int8-dynamic", 8, "'layers.*.attn_norm' names nothing that takes a form"},
        {NULL, "{\"default\": \"int4\", \"tensors\": [{\"pattern\": \"layers.*\", \"scheme\": \"int8\"}]}", NULL,
         "int8-dynamic", 8, ""},
        {NULL,
         "{\"default\": \"int4\", \"tensors\": [{\"pattern\": \"layers.*.mlp*\", \"scheme\": \"none\"}, "
         "{\"pattern\": \"*.mlp.*\", \"scheme\": \"fp16\"}, {\"pattern\": \"layers.*\", \"scheme\": \"int8\"}]}",
         NULL, "fp16, mixed", 16, "'layers.*.mlp*' names nothing that takes a form"},
        {NULL, "{\"default\": \"int4\", \"tensors\": [{\"pattern\": \"layers.0.q\", \"scheme\": \"int4\"}]}", NULL,
         "int4", 4, ""},
        {NULL, "{\"default\": \"int8-weight-only\", \"embedding\": \"int8\"}", NULL, "int8-weight-only", 8, ""},
        {NULL, "{\"default\": \"int8-weight-only\", \"head\": \"int8\"}", NULL, "int8-weight-only, mixed", 8, ""},
    };
    (void)state;
    char output[] = "/tmp/dlx-choices-XXXXXX", config[] = "/tmp/dlx-choices-XXXXXX";
    int fd[2] = {mkstemp(output), mkstemp(config)};
    assert_true(fd[0] >= 0 && fd[1] >= 0);
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        dlx_error err = {0};
        dlx_arena arena;
        dlx_pte pte;
        whole_file file;
        dlx_model_facts facts;
        dlx_export_result r = {.struct_size = sizeof r};
        dlx_export_options o = dlx_export_options_default();
        o.model_path = DLX_TEST_DATA "/checkpoints/dream-tiny";
        o.output_path = output;
        o.quantization = cases[i].quantization;
        o.exclude = cases[i].exclude;
        o.notice = on_notice;
        if (cases[i].config) {
            o.quantization_config = config;
            FILE *f = fopen(config, "wb");
            assert_non_null(f);
            assert_true(fputs(cases[i].config, f) >= 0 && fclose(f) == 0);
        }
        noticed[0] = '\0';
        if (dlx_export(&o, &r, &err) != DLX_OK) fail_msg("%zu: %s", i, err.message);
        if (strcmp(r.quantization, cases[i].says) || strncmp(noticed, cases[i].notice, strlen(cases[i].notice)))
            fail_msg("%zu: %s, %s", i, r.quantization, noticed);
        assert_int_equal(!*noticed, !*cases[i].notice);
        dlx_arena_init(&arena);
        assert_int_equal(read_whole_file(&file, output, NULL), DLX_OK);
        assert_int_equal(dlx_pte_read(&pte, &arena, file.data, file.size, output, &err), DLX_OK);
        assert_string_equal(dlx_facts_quantization(&pte), cases[i].says);
        assert_int_equal(dlx_facts_read(&facts, &pte, &err), DLX_OK);
        assert_int_equal(facts.rounded_bits, cases[i].bits);
        dlx_arena_free(&arena);
        free_whole_file(&file);
    }
    for (int i = 0; i < 2; i++) close(fd[i]);
    assert_int_equal(remove(output), 0);
    assert_int_equal(remove(config), 0);
}

/* What a file says of its weights, as an export writes it; numbers that no file has are refused. */
static void rounded_bits_are_read_as_written(void **state)
{
    static const int64_t bits[] = {0, 4, 32, 33, -1};
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(bits); i++) {
        dlx_arena arena;
        dlx_pte pte = {.n_plans = 0};
        dlx_pte_plan *plans;
        dlx_error err = {0};
        dlx_model_facts f = {.struct_size = sizeof f, .family = DLX_FAMILY_SDAR, .rounded_bits = bits[i]}, read;
        dlx_arena_init(&arena);
        assert_int_equal(dlx_facts_write(&plans, &pte.n_plans, &arena, &f, "none", "caller", &err), DLX_OK);
        pte.plans = plans;
        bool good = i < 3;
        assert_int_equal(dlx_facts_read(&read, &pte, &err), good ? DLX_OK : DLX_E_FORMAT);
        if (good) assert_int_equal(read.rounded_bits, bits[i]);
        if (!good) assert_non_null(strstr(err.message, "metadata get_rounded_bits is "));
        dlx_arena_free(&arena);
    }
    for (size_t i = 0; dlx_form_at(i); i++) {
        const dlx_weight_form *form = dlx_form_at(i);
        bool four = !strncmp(form->name, "int4", 4), eight = !strncmp(form->name, "int8", 4);
        assert_int_equal(dlx_form_bits(form), four ? 4 : eight ? 8 : strcmp(form->name, "none") ? 16 : 32);
    }
}

/* What is said of a chip is what an export to it takes. */
static void test_chips_say_what_they_have(void **state)
{
    (void)state;
    dlx_soc_info chip = {.struct_size = sizeof chip};
    dlx_scheme_info scheme = {.struct_size = sizeof scheme};
    const dlx_qnn_chip *c;
    for (size_t i = 0; dlx_export_soc_info(i, &chip); i++) {
        assert_int_equal(dlx_qnn_chip_find(&c, chip.name, NULL), DLX_OK);
        assert_int_equal(chip.generation, c->arch);
        size_t n = 0;
        for (size_t k = 0; dlx_export_scheme_info(k, &scheme); k++) {
            if (!dlx_word_in(scheme.backends, "qnn")) continue;
            bool floats = !strcmp(scheme.name, "fp16"), blocks = !strcmp(scheme.name, "a16w4-g32");
            bool has = (!floats || dlx_qnn_chip_has_f16(c)) && (!blocks || dlx_qnn_chip_has_blocks(c));
            assert_int_equal(dlx_word_in(chip.schemes, scheme.name), has);
            n += has;
        }
        size_t words = 1;
        for (const char *at = chip.schemes; (at = strchr(at, ',')) != NULL; at++) words++;
        assert_int_equal(words, n);
    }
}

/* What an export says of these options before it reads anything; without a checkpoint. */
static void test_backends_are_checked_without_a_checkpoint(void **state)
{
    (void)state;
    static const struct {
        const char *backend, *quantization, *kv, *target, *units, *emit, *soc, *qnn_lib_dir;
        dlx_status status;
        const char *says;
    } cases[] = {
        {.status = DLX_OK},
        {.backend = "coreml", .status = DLX_OK},
        {.backend = "coreml", .target = "ios17", .units = "all", .kv = "fixed", .status = DLX_OK},
        {.backend = "coreml", .kv = "fixed-state", .status = DLX_OK},
        {.backend = "CoreML", .status = DLX_OK},
        {.backend = "coreml",
         .kv = "fixed_state",
         .target = "iOS17",
         .status = DLX_E_INVALID,
         .says = "keeps a cache from iOS18 on; minimum_deployment_target is iOS17"},
        {.kv = "fixed-state",
         .status = DLX_E_UNSUPPORTED,
         .says = "kv 'fixed-state' cannot be written by backend 'xnn"},
        {.backend = "vulkan", .status = DLX_E_UNSUPPORTED, .says = "backend 'vulkan' is not available"},
        {.backend = "coreml", .quantization = "none", .status = DLX_E_UNSUPPORTED, .says = "cannot be written by"},
        {.backend = "coreml", .kv = "caller", .status = DLX_E_UNSUPPORTED, .says = "kv 'caller' cannot be written by"},
        {.backend = "coreml", .target = "iOS15", .status = DLX_E_INVALID, .says = "expected iOS16, iOS17 or iOS18"},
        {.backend = "coreml", .units = "ane_only", .status = DLX_E_INVALID, .says = "expected cpu_only, cpu_and_gpu"},
        {.backend = "coreml", .soc = "SM8650", .status = DLX_E_INVALID, .says = "soc is an option of backend qnn"},
        {.backend = "coreml", .emit = "mlpackage", .status = DLX_OK},
        {.emit = "mlpackage", .status = DLX_E_INVALID, .says = "emit mlpackage is for backend coreml"},
        {.units = "all", .status = DLX_E_INVALID, .says = "compute_units is an option of backend coreml"},
        {.backend = "qnn", .soc = "SM1", .status = DLX_E_INVALID, .says = "no chip 'SM1' is known"},
        {.backend = "qnn", .soc = "sm8450", .quantization = "fp16", .status = DLX_E_UNSUPPORTED, .says = "no floats"},
        {.backend = "qnn", .qnn_lib_dir = DLX_TEST_DATA, .status = DLX_E_UNSUPPORTED, .says = "onnxruntime-qnn"},
    };
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        dlx_export_options o = dlx_export_options_default();
        dlx_error err = {0};
        o.backend = cases[i].backend;
        o.quantization = cases[i].quantization;
        o.kv = cases[i].kv;
        o.minimum_deployment_target = cases[i].target;
        o.compute_units = cases[i].units;
        o.emit = cases[i].emit;
        o.soc = cases[i].soc;
        o.qnn_lib_dir = cases[i].qnn_lib_dir;
        char *found;
        assert_int_equal(dlx_export_backend_check(&o, &found, &err), cases[i].status);
        if (cases[i].status == DLX_OK) assert_string_equal(found, "");
        dlx_free(found);
        if (cases[i].says && !strstr(err.message, cases[i].says)) fail_msg("case %zu: %s", i, err.message);
    }
}

/* Whether or not Qualcomm's libraries are installed: the answer is that of an export. */
static void test_what_qnn_needs(void **state)
{
    (void)state;
    dlx_export_options o = dlx_export_options_default();
    dlx_error ready = {0}, written = {0};
    char *found;
    o.backend = "qnn";
    dlx_status s = dlx_export_backend_check(&o, &found, &ready);
    if (s == DLX_OK) assert_int_equal(strncmp(found, "QNN v2.", 7), 0);
    dlx_free(found);
    o.model_path = DLX_TEST_DATA "/no-such-checkpoint";
    o.output_path = "/no-such-folder/model.pte";
    dlx_status asked = dlx_export(&o, NULL, &written);
    assert_int_equal(asked, s == DLX_OK ? DLX_E_IO : DLX_E_UNSUPPORTED);
    if (s != DLX_OK) assert_string_equal(ready.message, written.message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounded_bits_are_read_as_written),
        cmocka_unit_test(test_backends),
        cmocka_unit_test(test_schemes),
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_unknown_words),
        cmocka_unit_test(test_a_backend_that_lacks_a_scheme),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_counts_and_metadata),
        cmocka_unit_test(files_say_what_they_hold),
        cmocka_unit_test(test_chips_say_what_they_have),
        cmocka_unit_test(test_backends_are_checked_without_a_checkpoint),
        cmocka_unit_test(test_what_qnn_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
