#include "chat_settings.h"

#include <stdio.h>
#include <string.h>

#include "input.h"

enum { DEFAULT_MAX_NEW = 128 };

static const struct {
    const char *word, *option, *help;
} settings[] = {
    {"temp", "temperature", "0: the likeliest tokens; higher: freer"},
    {"topk", "top_k", "keep the K likeliest tokens"},
    {"topp", "top_p", "keep the likeliest tokens up to this mass"},
    {"max", "max_new_tokens", "length of an answer"},
    {"iter", "max_passes", "most passes a block (Dream: an answer); fewer are faster and reveal more tokens each"},
    {"conf", "threshold", "reveal every token surer than this, whatever the number of passes"},
    {"block", "block_length", "tokens a block"},
    {"preset", "preset", "exact, balanced or fast"},
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

void dlx_cli_chat_settings_init(dlx_cli_chat_settings *s, const dlx_cli_arguments *a, const dlx_model_facts *facts)
{
    *s = (dlx_cli_chat_settings){.decode = a->decode, .facts = facts};
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
    snprintf(prefix, sizeof prefix, "%s.", dlx_family_name(s->facts->family));
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++)
        if (!strcmp(info.name, option))
            return s->facts->family == DLX_FAMILY_UNKNOWN || !strcmp(info.algorithms, "all") ||
                   strstr(info.algorithms, prefix);
    return false;
}

/* LLaDA and Dream reveal equal shares; a threshold belongs to other decoders of theirs. Naming one asks for its
 * published lengths as well, which are not meant here. */
static dlx_status follow_threshold(dlx_cli_chat_settings *s, bool on, dlx_error *err)
{
    const char *fast = s->facts->family == DLX_FAMILY_LLADA   ? "llada.generate_fast"
                       : s->facts->family == DLX_FAMILY_DREAM ? "dream.generate_blocks"
                                                              : NULL;
    if (!fast) return DLX_OK;
    dlx_status status = dlx_decode_options_set(s->decode, "algorithm", on ? fast : "", err);
    return status == DLX_OK ? dlx_decode_options_set(s->decode, "published", on ? "false" : "", err) : status;
}

static void tell(const dlx_cli_chat_settings *s, int i)
{
    printf("%s: %s\n", settings[i].word, s->value[i][0] ? s->value[i] : "default");
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
        printf("the decoder of %s models has no %s\n", dlx_family_name(s->facts->family), settings[i].option);
        return;
    }
    dlx_status status = dlx_decode_options_set(s->decode, settings[i].option, value, &err);
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
    printf("model: %s, vocabulary %d, context %d, block %d\n", dlx_family_name(s->facts->family), s->facts->vocab_size,
           s->facts->max_context, s->facts->block_length);
    for (int i = 0; i < N_SETTINGS; i++) tell(s, i);
}

void dlx_cli_chat_settings_help(void)
{
    for (int i = 0; i < N_SETTINGS; i++) printf("  /%-10s %s\n", settings[i].word, settings[i].help);
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
