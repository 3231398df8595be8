#include "export/choices.h"

#include <stdio.h>
#include <string.h>

#include "diffulex_edge/export.h"

#include "backends/xnnpack/xnnpack.h"
#include "base/sizes.h"
#include "base/structs.h"
#include "quant/quant.h"

/* The first row of each table is the default. */
static const dlx_backend backends[] = {
    {
        .name = "xnnpack",
        .aliases = "",
        .help = "one XNNPACK delegate: processors with x86-64 or 64-bit Arm",
        .decompose = dlx_xnnpack_decompose,
        .lower = dlx_xnnpack_lower,
    },
};

static const dlx_scheme schemes[] = {
    {
        .name = "int8-dynamic",
        .aliases = "int8, dynamic-int8",
        .help = "int8 weights, one scale a row; activations become int8 while running",
        .metadata = "int8-dynamic",
        .backends = "xnnpack",
        .pass = dlx_quantize_int8_dynamic,
    },
    {
        .name = "none",
        .aliases = "float32",
        .help = "float32 weights",
        .metadata = "none",
        .backends = "xnnpack",
        .pass = NULL,
    },
};

/* Whether `list`, "a, b", has `word`; '-' and '_' are the same. */
static bool lists(const char *list, const char *word)
{
    while (*list) {
        const char *w = word;
        for (; *list && *list != ','; list++)
            if (w && (*w == '_' ? '-' : *w) == *list)
                w++;
            else
                w = NULL;
        if (w && !*w) return true;
        list += strspn(list, ", ");
    }
    return false;
}

static void add_name(char *names, size_t size, const char *name)
{
    size_t n = strlen(names);
    snprintf(names + n, size - n, "%s%s", n ? ", " : "", name);
}

dlx_status dlx_backend_find(const dlx_backend **out, const char *word, dlx_error *err)
{
    char names[256] = "";
    *out = NULL;
    for (size_t i = 0; i < DLX_COUNT(backends); i++) {
        const dlx_backend *b = &backends[i];
        if (!word || lists(b->name, word) || lists(b->aliases, word)) {
            *out = b;
            return DLX_OK;
        }
        add_name(names, sizeof names, b->name);
    }
    return dlx_fail(err, DLX_E_UNSUPPORTED, "backend '%.100s' is not available; this build writes: %s", word, names);
}

dlx_status dlx_scheme_find(const dlx_scheme **out, const char *word, const dlx_backend *backend, dlx_error *err)
{
    char names[256] = "";
    *out = NULL;
    for (size_t i = 0; i < DLX_COUNT(schemes); i++) {
        const dlx_scheme *s = &schemes[i];
        add_name(names, sizeof names, s->name);
        if (word && !lists(s->name, word) && !lists(s->aliases, word)) continue;
        if (!lists(s->backends, backend->name))
            return dlx_fail(err, DLX_E_UNSUPPORTED,
                            "quantization '%s' cannot be written by backend '%s'; it is for: %s", s->name,
                            backend->name, s->backends);
        *out = s;
        return DLX_OK;
    }
    return dlx_fail(err, DLX_E_UNSUPPORTED, "quantization '%.100s' is not available; this build knows: %s", word,
                    names);
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
