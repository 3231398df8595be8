#include "export/choices.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "diffulex_edge/export.h"

#include "backends/coreml/coreml.h"
#include "backends/qnn/chips.h"
#include "backends/qnn/qnn.h"
#include "backends/xnnpack/xnnpack.h"
#include "base/sizes.h"
#include "base/structs.h"
#include "quant/forms.h"

static dlx_status decompose_for_coreml(dlx_graph *g, dlx_error *err)
{
    return dlx_xnnpack_decompose_others(g, dlx_coreml_takes, err);
}

static dlx_status decompose_for_qnn(dlx_graph *g, dlx_error *err)
{
    return dlx_xnnpack_decompose_others(g, dlx_qnn_takes, err);
}

/* The first row of each table that fits the others is the default. */
static const dlx_backend backends[] = {
    {
        .name = "xnnpack",
        .aliases = "",
        .help = "one XNNPACK delegate: processors with x86-64 or 64-bit Arm",
        .decompose = dlx_xnnpack_decompose,
        .home = &dlx_xnnpack_home,
        .kv = "caller, explicit, state, fixed, fixed-fp16",
    },
    {
        .name = "coreml",
        .aliases = "",
        .help = "Core ML delegates, float16: Apple's Neural Engine and GPU, in the official runtime",
        .decompose = decompose_for_coreml,
        .home = &dlx_coreml_home,
        .kv = "fixed-fp16, fixed, fixed-state",
        .open = dlx_open_coreml,
    },
    {
        .name = "qnn",
        .aliases = "",
        .help = "QNN delegates, compiled for one chip: Qualcomm's Hexagon processors, in the official runtime",
        .decompose = decompose_for_qnn,
        .home = &dlx_qnn_home,
        .compiles = true,
        .kv = "fixed-fp16, fixed",
        .open = dlx_open_qnn,
        .check = dlx_check_qnn,
        .describe = dlx_describe_qnn,
    },
};

static const dlx_scheme schemes[] = {
    {
        .name = "int8-dynamic",
        .aliases = "int8, dynamic-int8",
        .help = "int8 weights, one scale a row; activations become int8 while running",
        .metadata = "int8-dynamic",
        .backends = "xnnpack",
        .body = "int8-dynamic",
        .head = "int8-dynamic",
        .table = "int8-dynamic",
    },
    {
        .name = "int8-static",
        .aliases = "static-int8",
        .help = "int8 weights, one scale a row; activations int8 on grids that calibration finds; head as int8-dynamic",
        .metadata = "int8-static",
        .backends = "xnnpack",
        .body = "int8-static",
        .head = "int8-dynamic",
        .table = "int8-dynamic",
    },
    {
        .name = "int8-weight-only",
        .aliases = "weight-only-int8, int8",
        .help = "int8 weights, one scale a row; float activations",
        .metadata = "int8-weight-only",
        .backends = "xnnpack, coreml",
        .body = "int8-weight-only",
        .head = "int8-weight-only",
        .table = "int8-weight-only",
    },
    {
        .name = "int4",
        .aliases = "int4-dynamic",
        .help = "4-bit weights, one scale a row; head and embedding int8; activations become int8 while running",
        .metadata = "int4",
        .backends = "xnnpack",
        .body = "int4",
        .head = "int8-dynamic",
        .table = "int8-dynamic",
    },
    {
        .name = "int4-g32",
        .aliases = "",
        .help = "4-bit weights, a scale for each 32 of a row; the rest as for int4",
        .metadata = "int4-g32",
        .backends = "xnnpack",
        .body = "int4-g32",
        .head = "int8-dynamic",
        .table = "int8-dynamic",
    },
    {
        .name = "int4-g64",
        .aliases = "",
        .help = "the same for each 64",
        .metadata = "int4-g64",
        .backends = "xnnpack",
        .body = "int4-g64",
        .head = "int8-dynamic",
        .table = "int8-dynamic",
    },
    {
        .name = "int4-g128",
        .aliases = "",
        .help = "the same for each 128",
        .metadata = "int4-g128",
        .backends = "xnnpack",
        .body = "int4-g128",
        .head = "int8-dynamic",
        .table = "int8-dynamic",
    },
    {
        .name = "int4-weight-only",
        .aliases = "int4",
        .help = "4-bit weights, one scale a row; head and embedding int8; float16 activations",
        .metadata = "int4-weight-only",
        .backends = "coreml",
        .body = "int4",
        .head = "int8-weight-only",
        .table = "int8-weight-only",
    },
    {
        .name = "int4-g32-weight-only",
        .aliases = "int4-g32",
        .help = "4-bit weights, a scale for each 32 of a row; the rest as for int4-weight-only",
        .metadata = "int4-g32-weight-only",
        .backends = "coreml",
        .body = "int4-g32",
        .head = "int8-weight-only",
        .table = "int8-weight-only",
    },
    {
        .name = "int4-g64-weight-only",
        .aliases = "int4-g64",
        .help = "the same for each 64",
        .metadata = "int4-g64-weight-only",
        .backends = "coreml",
        .body = "int4-g64",
        .head = "int8-weight-only",
        .table = "int8-weight-only",
    },
    {
        .name = "int4-g128-weight-only",
        .aliases = "int4-g128",
        .help = "the same for each 128",
        .metadata = "int4-g128-weight-only",
        .backends = "coreml",
        .body = "int4-g128",
        .head = "int8-weight-only",
        .table = "int8-weight-only",
    },
    {
        .name = "a16w8",
        .aliases = "int8, 16a8w",
        .help = "int8 weights, one scale a row; every other number on a grid of 16 bits that calibration finds",
        .metadata = "a16w8",
        .backends = "qnn",
        .body = "int8-weight-only",
        .head = "int8-weight-only",
        .table = "int8-weight-only",
    },
    {
        .name = "a16w4",
        .aliases = "int4, 16a4w",
        .help = "4-bit weights, one scale a row; head int8; the rest as for a16w8",
        .metadata = "a16w4",
        .backends = "qnn",
        .body = "int4",
        .head = "int8-weight-only",
        .table = "int8-weight-only",
    },
    {
        .name = "a16w4-g32",
        .aliases = "int4-g32, 16a4w-block",
        .help = "4-bit weights, a scale for each 32 of a row; the rest as for a16w4",
        .metadata = "a16w4-g32",
        .backends = "qnn",
        .body = "int4-g32",
        .head = "int8-weight-only",
        .table = "int8-weight-only",
    },
    {
        .name = "fp16",
        .aliases = "float16",
        .help = "float16 weights, float activations",
        .metadata = "fp16",
        .backends = "xnnpack, coreml, qnn",
        .body = "fp16",
        .head = "fp16",
        .table = "fp16",
    },
    {
        .name = "bf16",
        .aliases = "bfloat16",
        .help =
            "bfloat16 weights, float32 activations; the stock runtime widens them in every pass, fp16 is faster there",
        .metadata = "bf16",
        .backends = "xnnpack",
        .body = "bf16",
        .head = "bf16",
        .table = "bf16",
    },
    {
        .name = "none",
        .aliases = "float32, fp32",
        .help = "float32 weights",
        .metadata = "none",
        .backends = "xnnpack",
        .body = "none",
        .head = "none",
        .table = "none",
    },
};

static const dlx_kv_choice kv_forms[] = {
    {"caller", "the caller's, whose rows go in and come out: this runtime's sessions", DLX_KV_CALLER, true},
    {"explicit", "one tensor in and out, with masks: the six inputs of the original Python engine", DLX_KV_EXPLICIT,
     true},
    {"state", "inside the program, as mutable buffers: generic ExecuTorch runners", DLX_KV_STATE, true},
    {"fixed", "the caller's, all of it, with a mask; no shape varies: accelerators", DLX_KV_FIXED, false},
    {"fixed-fp16", "the same in float16", DLX_KV_FIXED_F16, false},
    {"fixed-state", "inside Core ML, in float16, from iOS18 on; no shape varies", DLX_KV_FIXED_STATE, false},
};

static const dlx_rounding roundings[] = {
    {.name = "nearest", .help = "each weight to the nearest code, the largest of a row or group to the last one"},
    {.name = "mse", .help = "the same with the scale that misses a row or group least, which may clip", .clips = true},
    {.name = "gptq",
     .help = "codes of the layers chosen together, so that answers to calibration data change least",
     .clips = true,
     .solves = true},
    {.name = "awq",
     .help = "inputs of the layers scaled by what calibration data makes of them, then mse",
     .clips = true,
     .scales = true},
    {.name = "awq-gptq", .help = "inputs scaled, then gptq", .clips = true, .scales = true, .solves = true},
    {.name = DLX_STATIC_ROUNDING,
     .help = "inputs of int8-static layers scaled so that one grid does for all, then nearest; their default",
     .scales = true,
     .activations = true},
};

enum { NAMES = 512 };

/* Rows that begin with their name, and where they have some, with other names behind it. */
typedef struct table {
    const void *rows;
    size_t n, size; /* of a row */
    bool aliases;
} table;

#define TABLE(list, others)                                                                                            \
    (table)                                                                                                            \
    {                                                                                                                  \
        .rows = (list), .n = DLX_COUNT(list), .size = sizeof *(list), .aliases = (others)                              \
    }

/* The row that `word` names, the first one for NULL; NULL: there is none, and `names` lists them. */
static const void *find_row(const table *t, const char *word, char names[NAMES])
{
    names[0] = '\0';
    for (size_t i = 0; i < t->n; i++) {
        const char *row = (const char *)t->rows + i * t->size, *name[2] = {NULL, ""};
        memcpy(name, row, (t->aliases ? 2 : 1) * sizeof *name);
        if (!word || dlx_word_in(name[0], word) || dlx_word_in(name[1], word)) return row;
        size_t n = strlen(names);
        snprintf(names + n, NAMES - n, "%s%s", n ? ", " : "", name[0]);
    }
    return NULL;
}

dlx_status dlx_backend_find(const dlx_backend **out, const char *word, dlx_error *err)
{
    const table t = TABLE(backends, true);
    char names[NAMES];
    *out = NULL;
    for (size_t i = 0; word && !*out && i < DLX_COUNT(backends); i++)
        if (!strcasecmp(word, backends[i].name)) *out = &backends[i];
    if (!*out) *out = find_row(&t, word, names);
    if (*out) return DLX_OK;
    return dlx_fail(err, DLX_E_UNSUPPORTED, "backend '%.100s' is not available; this build writes: %s", word, names);
}

/* What a backend writes comes first: a word may name one scheme for one backend, and another for others. */
static const dlx_scheme *scheme_named(const char *word, const dlx_backend *backend)
{
    for (size_t i = 0; i < DLX_COUNT(schemes); i++) {
        const dlx_scheme *s = &schemes[i];
        bool named = !word || dlx_word_in(s->name, word) || dlx_word_in(s->aliases, word);
        if (named && dlx_word_in(s->backends, backend->name)) return s;
    }
    return NULL;
}

/* Names of the schemes that a backend writes. */
static void list_schemes(char names[NAMES], const dlx_backend *backend)
{
    size_t n = 0;
    names[0] = '\0';
    for (size_t i = 0; i < DLX_COUNT(schemes) && n < NAMES; i++)
        if (dlx_word_in(schemes[i].backends, backend->name))
            n += (size_t)snprintf(names + n, NAMES - n, "%s%s", n ? ", " : "", schemes[i].name);
}

dlx_status dlx_scheme_find(const dlx_scheme **out, const char *word, const dlx_backend *backend, dlx_error *err)
{
    const table t = TABLE(schemes, true);
    char names[NAMES];
    *out = scheme_named(word, backend);
    if (*out) return DLX_OK;
    const dlx_scheme *s = find_row(&t, word, names);
    list_schemes(names, backend);
    if (!s)
        return dlx_fail(err, DLX_E_UNSUPPORTED, "quantization '%.100s' is not available; the backend '%s' writes: %s",
                        word, backend->name, names);
    return dlx_fail(err, DLX_E_UNSUPPORTED, "quantization '%s' cannot be written by backend '%s', which writes: %s",
                    s->name, backend->name, names);
}

const dlx_scheme *dlx_scheme_of_body(const dlx_weight_form *form, const dlx_backend *backend)
{
    const dlx_scheme *any = NULL;
    for (size_t i = 0; i < DLX_COUNT(schemes); i++) {
        if (dlx_form_find(schemes[i].body) != form) continue;
        if (dlx_word_in(schemes[i].backends, backend->name)) return &schemes[i];
        if (!any) any = &schemes[i];
    }
    return any;
}

dlx_status dlx_rounding_find(const dlx_rounding **out, const char *word, dlx_error *err)
{
    const table t = TABLE(roundings, false);
    char names[NAMES];
    *out = find_row(&t, word, names);
    if (*out) return DLX_OK;
    return dlx_fail(err, DLX_E_INVALID, "rounding '%.100s' is not known; expected one of: %s", word, names);
}

dlx_status dlx_kv_find(const dlx_kv_choice **out, const char *word, const dlx_backend *backend, dlx_error *err)
{
    const table t = TABLE(kv_forms, false);
    char names[NAMES], own[32];
    snprintf(own, sizeof own, "%.*s", (int)strcspn(backend->kv, ","), backend->kv);
    *out = find_row(&t, word ? word : own, names);
    if (!*out)
        return dlx_fail(err, DLX_E_UNSUPPORTED, "kv '%.100s' is not available; this build knows: %s", word, names);
    if (dlx_word_in(backend->kv, (*out)->name)) return DLX_OK;
    return dlx_fail(err, DLX_E_UNSUPPORTED, "kv '%s' cannot be written by backend '%s', which writes: %s", (*out)->name,
                    backend->name, backend->kv);
}

bool dlx_export_backend_info(size_t i, dlx_backend_info *out)
{
    if (!out || i >= DLX_COUNT(backends)) return false;
    const dlx_backend *b = &backends[i];
    dlx_backend_info info = {.struct_size = sizeof info, .name = b->name, .aliases = b->aliases, .help = b->help};
    return dlx_struct_out(out, &info, sizeof info, "dlx_backend_info", NULL) == DLX_OK;
}

bool dlx_export_scheme_info(size_t i, dlx_scheme_info *out)
{
    if (!out || i >= DLX_COUNT(schemes)) return false;
    const dlx_scheme *s = &schemes[i];
    dlx_scheme_info info = {
        .struct_size = sizeof info, .name = s->name, .aliases = s->aliases, .backends = s->backends, .help = s->help};
    return dlx_struct_out(out, &info, sizeof info, "dlx_scheme_info", NULL) == DLX_OK;
}

bool dlx_export_kv_info(size_t i, dlx_kv_info *out)
{
    if (!out || i >= DLX_COUNT(kv_forms)) return false;
    dlx_kv_info info = {.struct_size = sizeof info, .name = kv_forms[i].name, .help = kv_forms[i].help};
    return dlx_struct_out(out, &info, sizeof info, "dlx_kv_info", NULL) == DLX_OK;
}

/* What a chip has: weights with a scale for each block of a row, and floats, are not on all. */
static const char *schemes_of(const dlx_qnn_chip *c)
{
    if (dlx_qnn_chip_has_f16(c)) return "a16w8, a16w4, a16w4-g32, fp16";
    return dlx_qnn_chip_has_blocks(c) ? "a16w8, a16w4, a16w4-g32" : "a16w8, a16w4";
}

bool dlx_export_soc_info(size_t i, dlx_soc_info *out)
{
    const dlx_qnn_chip *c = i > 1000 ? NULL : dlx_qnn_chip_at((unsigned)i);
    if (!out || !c) return false;
    dlx_soc_info info = {.struct_size = sizeof info,
                         .name = c->name,
                         .known_as = c->known_as,
                         .id = c->id,
                         .schemes = schemes_of(c),
                         .generation = c->arch};
    return dlx_struct_out(out, &info, sizeof info, "dlx_soc_info", NULL) == DLX_OK;
}
