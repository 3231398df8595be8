/* The words that values of options are made of, from the tables that know them. */
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "running.h"

typedef void (*word_fn)(void *ctx, const char *word);

size_t dlx_cli_split_words(const char *list, word_fn each, void *ctx)
{
    size_t count = 0;
    char word[64];
    for (const char *s = list ? list : ""; *s; count++) {
        size_t n = strcspn(s, "|");
        snprintf(word, sizeof word, "%.*s", (int)n, s);
        each(ctx, word);
        s += n + (s[n] == '|');
    }
    return count;
}

static size_t kernel_sets(word_fn each, void *ctx)
{
    dlx_kernel_set_info info = {.struct_size = sizeof info};
    size_t n = 0;
    each(ctx, "auto");
    for (; dlx_get_kernel_set_info(n, &info); n++) each(ctx, info.name);
    return n + 1;
}

static size_t kv_types(word_fn each, void *ctx)
{
    size_t n = 0;
    for (; dlx_cli_kv_types[n]; n++) each(ctx, dlx_cli_kv_types[n]);
    return n;
}

#if !defined(DLX_RUNTIME_ONLY)
static size_t families(word_fn each, void *ctx)
{
    size_t n = 0;
    for (int f = DLX_FAMILY_UNKNOWN + 1; dlx_family_from_name(dlx_family_name((dlx_family)f)) == (dlx_family)f;
         f++, n++)
        each(ctx, dlx_family_name((dlx_family)f));
    return n;
}

static size_t backends(word_fn each, void *ctx)
{
    dlx_backend_info info = {.struct_size = sizeof info};
    size_t n = 0;
    for (; dlx_export_backend_info(n, &info); n++) each(ctx, info.name);
    return n;
}

static size_t schemes(word_fn each, void *ctx)
{
    dlx_scheme_info info = {.struct_size = sizeof info};
    size_t n = 0;
    for (; dlx_export_scheme_info(n, &info); n++) each(ctx, info.name);
    return n;
}
#endif

size_t dlx_cli_words(const char *option, word_fn each, void *ctx)
{
    static const struct {
        const char *option;
        size_t (*list)(word_fn each, void *ctx);
    } rows[] = {
        {"cpu", kernel_sets},
        {"kv-cache", kv_types},
#if !defined(DLX_RUNTIME_ONLY)
        {"model-type", families},
        {"backend", backends},
        {"quantization", schemes},
#endif
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].option, option)) return rows[i].list(each, ctx);
    return 0;
}
