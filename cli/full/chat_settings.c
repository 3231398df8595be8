#include "chat_settings.h"

#include <stdio.h>
#include <string.h>

#include "input.h"

enum { DEFAULT_MAX_NEW = 128 };

static const struct {
    const char *word, *option, *value, *help;
} settings[] = {
    {"temp", "temperature", "X", "0: the likeliest tokens; higher: freer"},
    {"topk", "top_k", "K", "keep the K likeliest tokens"},
    {"topp", "top_p", "X", "keep the likeliest tokens up to this mass"},
    {"max", "max_new_tokens", "N", "length of an answer"},
    {"iter", "max_passes", "N", "most passes a block (Dream: an answer); fewer are faster and reveal more tokens each"},
    {"conf", "threshold", "X", "reveal every token surer than this, whatever the number of passes"},
    {"block", "block_length", "N", "tokens a block"},
    {"preset", "preset", "NAME", "exact, balanced or fast"},
};
enum { N_SETTINGS = sizeof settings / sizeof *settings };

static int find(const char *word)
{
    for (int i = 0; i < N_SETTINGS; i++)
        if (!strcmp(settings[i].word, word)) return i;
    return -1;
}

bool dlx_cli_chat_setting(const char *word)
{
    return find(word) >= 0;
}

void dlx_cli_chat_settings_init(dlx_cli_chat_settings *s, const dlx_cli_arguments *a, const dlx_cli_running *r)
{
    *s = (dlx_cli_chat_settings){.decode = a->decode, .r = r};
    for (int i = 0; i < N_SETTINGS; i++) {
        const char *given = dlx_cli_decode_text(a, settings[i].option);
        if (given) snprintf(s->value[i], sizeof s->value[i], "%s", given);
    }
}

/* Whether one of the family's decoders has the option. */
static bool family_has(const dlx_cli_chat_settings *s, const char *option)
{
    dlx_option_info info = {.struct_size = sizeof info};
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s.", dlx_family_name(s->r->facts->family));
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++)
        if (!strcmp(info.name, option))
            return s->r->facts->family == DLX_FAMILY_UNKNOWN || !strcmp(info.algorithms, "all") ||
                   strstr(info.algorithms, prefix);
    return false;
}

/* LLaDA and Dream reveal equal shares; a threshold belongs to other decoders of theirs. Naming one asks for its
 * published lengths as well, which are not meant here. */
static dlx_status follow_threshold(dlx_cli_chat_settings *s, bool on, dlx_error *err)
{
    const char *fast = s->r->facts->family == DLX_FAMILY_LLADA   ? "llada.generate_fast"
                       : s->r->facts->family == DLX_FAMILY_DREAM ? "dream.generate_blocks"
                                                                 : NULL;
    if (!fast) return DLX_OK;
    dlx_status status = dlx_decode_options_set(s->decode, "algorithm", on ? fast : NULL, err);
    return status == DLX_OK ? dlx_decode_options_set(s->decode, "published", on ? "false" : NULL, err) : status;
}

/* What the option comes to in an answer to a short prompt. */
static dlx_status find_value(const dlx_cli_chat_settings *s, const char *option, char text[256], dlx_error *err)
{
    const int32_t prompt = s->r->facts->mask_id == 0;
    int32_t room = s->r->facts->max_context - 1, most = dlx_cli_chat_max_new(s);
    dlx_status status = dlx_cli_chat_bound(s, most < room ? most : room, err);
    return status == DLX_OK ? dlx_decode_option_in_force(s->r->facts, s->decode, &prompt, 1, option, text, 256, err)
                            : status;
}

static const char *in_force(const dlx_cli_chat_settings *s, const char *option, char text[256])
{
    return find_value(s, option, text, NULL) == DLX_OK ? text : "";
}

dlx_status dlx_cli_chat_check(const dlx_cli_chat_settings *s, dlx_error *err)
{
    char text[256];
    return find_value(s, "algorithm", text, err);
}

static void tell(const dlx_cli_chat_settings *s, int i)
{
    char text[256];
    const char *value = in_force(s, settings[i].option, text);
    if (s->value[i][0])
        printf("%s: %s\n", settings[i].word, s->value[i]);
    else
        printf("%s: default%s%s\n", settings[i].word, *value ? ", " : "", value);
}

void dlx_cli_chat_set(dlx_cli_chat_settings *s, const char *word, const char *value)
{
    int i = find(word);
    dlx_error err = {0};
    if (!value || !*value) {
        tell(s, i);
        return;
    }
    if (!strcmp(value, "off") || !strcmp(value, "default")) value = "";
    if (!family_has(s, settings[i].option)) {
        printf("the decoder of %s models has no %s\n", dlx_family_name(s->r->facts->family), settings[i].option);
        return;
    }
    dlx_status status = dlx_decode_options_set(s->decode, settings[i].option, *value ? value : NULL, &err);
    if (status == DLX_OK && !strcmp(settings[i].option, "threshold")) status = follow_threshold(s, *value, &err);
    if (status != DLX_OK) {
        printf("%s\n", err.message);
        return;
    }
    snprintf(s->value[i], sizeof s->value[i], "%s", value);
    tell(s, i);
}

void dlx_cli_chat_show(const dlx_cli_chat_settings *s)
{
    const dlx_cli_running *r = s->r;
    dlx_option_info info = {.struct_size = sizeof info};
    char text[256];
    printf("model: %s, vocabulary %d, context %d, block %d\n", dlx_family_name(r->facts->family), r->facts->vocab_size,
           r->facts->max_context, r->facts->block_length);
    printf("runs with: %s kernels, %d threads, cached keys and values %s\n", dlx_model_kernels(r->model), r->threads,
           r->kv_type);
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++) {
        const char *value = in_force(s, info.name, text);
        if (!*value || info.same_as || !dlx_cli_offers(&info)) continue;
        int k = 0;
        while (k < N_SETTINGS && strcmp(settings[k].option, info.name)) k++;
        printf("  %-24s %s%s%s%s\n", info.name, value, k < N_SETTINGS ? "   /" : "",
               k < N_SETTINGS ? settings[k].word : "", k < N_SETTINGS && s->value[k][0] ? ", set here" : "");
    }
}

void dlx_cli_chat_settings_help(void)
{
    char left[64];
    for (int i = 0; i < N_SETTINGS; i++) {
        snprintf(left, sizeof left, "/%s %s", settings[i].word, settings[i].value);
        dlx_cli_help_lister.row(left, settings[i].help);
    }
}

int32_t dlx_cli_chat_max_new(const dlx_cli_chat_settings *s)
{
    int64_t n;
    const char *given = s->value[find("max")];
    return *given && dlx_cli_parse_int(given, &n) ? (int32_t)n : DEFAULT_MAX_NEW;
}

dlx_status dlx_cli_chat_bound(const dlx_cli_chat_settings *s, int32_t max_new, dlx_error *err)
{
    char text[32];
    snprintf(text, sizeof text, "%d", max_new);
    return dlx_decode_options_set(s->decode, "max_new_tokens", text, err);
}
