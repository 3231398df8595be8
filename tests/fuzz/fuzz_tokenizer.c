/*
 * Arbitrary bytes where the library reads text from outside; the first byte selects what the others are:
 *
 *   0  tokenizer.json             3  a chat template
 *   1  a packed tokenizer         4  tool calls and tool schemas of a chat, as JSON
 *   2  text to encode             5  merges.txt for the vocabulary of the built-in tokenizer
 *
 * Whatever opens is used: text goes through it and comes back, and its packed form opens again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "text/published.h"
#include "tokenizer_use.h"

static void use_chat(const char *json)
{
    const dlx_chat_message m[] = {
        {.struct_size = sizeof(dlx_chat_message), .role = "user", .content = json},
        {.struct_size = sizeof(dlx_chat_message), .role = "assistant", .content = json, .tool_calls = json},
        {.struct_size = sizeof(dlx_chat_message), .role = "tool", .content = json},
        {.struct_size = sizeof(dlx_chat_message), .role = "assistant", .reasoning_content = json},
    };
    dlx_chat_options with_tools = {.struct_size = sizeof with_tools, .enable_thinking = -1, .tools = json};
    dlx_chat_options without = {.struct_size = sizeof without, .enable_thinking = 1};
    for (uint32_t i = DLX_CHAT_PUBLISHED_LLADA; i <= DLX_CHAT_PUBLISHED_SDAR; i++) {
        with_tools.chat_template = without.chat_template = dlx_published_template(i);
        char *text;
        size_t n;
        dlx_error err;
        if (dlx_chat_render(built_in(), m, 4, &without, &text, &n, &err) == DLX_OK) {
            require(dlx_utf8_valid(text, n));
            free(text);
        }
        if (dlx_chat_render(built_in(), m, 1, &with_tools, &text, &n, &err) == DLX_OK) free(text);
        if (dlx_chat_render_json(built_in(), json, strlen(json), &without, &text, &n, &err) == DLX_OK) free(text);
        if (dlx_chat_render(built_in(), m + 3, 1, &without, &text, &n, &err) == DLX_OK) free(text);
    }
}

static void use_template(const char *source)
{
    const dlx_chat_message m = {.struct_size = sizeof m, .role = "user", .content = "x"};
    const dlx_chat_options o = {.struct_size = sizeof o, .chat_template = source};
    char *text;
    size_t n;
    dlx_error err = {0};
    dlx_status s = dlx_chat_render(built_in(), &m, 1, &o, &text, &n, &err);
    require_sentence(s, &err);
    if (s != DLX_OK) return;
    require(dlx_utf8_valid(text, n));
    free(text);
}

/* The text as merges of the built-in vocabulary. */
static void use_merges(char *text, size_t n)
{
    char *json = built_in_json();
    json_t *root = json_loads(json, 0, NULL);
    dlx_tokenizer *t = NULL;
    dlx_vocabulary v;
    dlx_error err;
    require(root != NULL && dlx_tokenizer_new(&t, &err) == DLX_OK);
    t->steps = dlx_steps_published(DLX_CHAT_PUBLISHED_LLADA, false, &t->n_steps);
    require(dlx_vocabulary_set(&v, t, json_object_get(json_object_get(root, "model"), "vocab"), "vocab.json", &err) ==
            DLX_OK);
    if (dlx_load_merges_text(&v, text, n, "merges.txt", &err) == DLX_OK && dlx_vocabulary_build(&v, &err) == DLX_OK &&
        dlx_tokenizer_finish(t, &err) == DLX_OK)
        use_tokenizer(t);
    dlx_vocabulary_free(&v);
    dlx_tokenizer_close(t);
    json_decref(root);
    free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dlx_tokenizer *t = NULL;
    dlx_error err;
    if (size == 0) return 0;
    size_t n = size - 1;
    char *text = malloc(n + 1); /* no byte longer than the input and its NUL */
    if (!text) return 0;
    memcpy(text, data + 1, n);
    text[n] = '\0';
    switch (data[0] % 6) {
    case 0: dlx_tokenizer_from_json(&t, text, n, "tokenizer.json", &err); break;
    case 1: dlx_tokenizer_open_packed(&t, text, n, &err); break;
    case 2:
        use_text(built_in(), text, n, DLX_ENCODE_PLAIN);
        use_text(built_in(), text, n, DLX_ENCODE_SPECIAL);
        break;
    case 3: use_template(text); break;
    case 4: use_chat(text); break;
    default: use_merges(text, n); break;
    }
    if (t) use_tokenizer(t);
    dlx_tokenizer_close(t);
    free(text);
    return 0;
}
