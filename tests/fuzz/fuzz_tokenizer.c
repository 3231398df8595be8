/*
 * Arbitrary bytes where the library reads text from outside; the first byte selects what the others are:
 *
 *   0  tokenizer.json             3  a chat template to recognise
 *   1  a packed tokenizer         4  tool calls and tool schemas of a chat, as JSON
 *   2  text to encode             5  merges.txt for the vocabulary of the built-in tokenizer
 *
 * Whatever opens is used: text goes through it and comes back, and its packed form opens again.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diffulex_edge/text.h"

#include "fuzz.h"
#include "text/bytelevel.h"
#include "text/full/load.h"
#include "text/full/recognise.h"
#include "text/utf8.h"

static void require(bool fine)
{
    if (!fine) abort();
}

/* ---- a small tokenizer ------------------------------------------------------------------------------------------ */

/* tokenizer.json with the 256 bytes, some merges of English and the control tokens of ChatML; malloc'd. */
static char *built_in_json(void)
{
    static const char *const merged[] = {"th",        "the",          "in",           "er",       "\u0120t",
                                         "\u0120the", "\u0120\u0120", "\u010A\u010A", "\u0120th", "he"};
    static const char *const merges[] = {"t h",        "th e",          "i n",           "e r",       "\u0120 t",
                                         "\u0120t he", "\u0120 \u0120", "\u010A \u010A", "\u0120t h", "h e"};
    dlx_buffer b = {0};
    char text[128], *out = NULL;
    int id = 0;
    dlx_buffer_add_string(
        &b, "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{"
            "\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}"
            "\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+"
            "(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\","
            "\"add_prefix_space\":false,\"use_regex\":false}]},\"decoder\":{\"type\":\"ByteLevel\"},"
            "\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (uint32_t c = 0; c < 0x144; c++) {
        char utf8[5] = {0};
        if (dlx_bytelevel_byte(c) < 0) continue;
        dlx_utf8_put(utf8, c);
        bool escape = c == '"' || c == '\\';
        snprintf(text, sizeof text, "%s\"%s%s\":%d", id ? "," : "", escape ? "\\" : "", utf8, id);
        dlx_buffer_add_string(&b, text);
        id++;
    }
    for (size_t i = 0; i < sizeof merged / sizeof merged[0]; i++) {
        snprintf(text, sizeof text, ",\"%s\":%d", merged[i], id++);
        dlx_buffer_add_string(&b, text);
    }
    dlx_buffer_add_string(&b, "},\"merges\":[");
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) {
        snprintf(text, sizeof text, "%s\"%s\"", i ? "," : "", merges[i]);
        dlx_buffer_add_string(&b, text);
    }
    dlx_buffer_add_string(&b, "]},\"added_tokens\":[");
    static const char *const added[] = {"<|im_start|>", "<|im_end|>", "<|mask|>",
                                        "<|mask|>>",    "<think>",    "\u00E9\u00E9"};
    for (size_t i = 0; i < sizeof added / sizeof added[0]; i++) {
        snprintf(text, sizeof text, "%s{\"id\":%d,\"content\":\"%s\",\"normalized\":%s,\"special\":%s}", i ? "," : "",
                 id++, added[i], i < 4 ? "false" : "true", i < 4 ? "true" : "false");
        dlx_buffer_add_string(&b, text);
    }
    dlx_buffer_add_string(&b, "]}");
    require(dlx_buffer_take(&b, &out, NULL, "the built-in tokenizer", NULL) == DLX_OK);
    return out;
}

static const dlx_tokenizer *built_in(void)
{
    static dlx_tokenizer *t;
    if (t) return t;
    char *json = built_in_json();
    dlx_error err;
    if (dlx_tokenizer_from_json(&t, json, strlen(json), "built-in", &err) != DLX_OK) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    free(json);
    return t;
}

/* ---- use -------------------------------------------------------------------------------------------------------- */

/* Encodes and decodes, whole and as a stream. */
static void use_text(const dlx_tokenizer *t, const char *text, size_t n, int flags)
{
    int32_t *ids;
    size_t n_ids, whole_n, length, used = 0, step;
    char *whole;
    const char *part;
    dlx_text_stream *s;
    dlx_error err;
    if (dlx_tokenizer_encode(t, text, n, flags, &ids, &n_ids, &err) != DLX_OK) return;
    for (size_t i = 0; i < n_ids; i++) {
        require(ids[i] >= 0 && (uint32_t)ids[i] < t->size && t->kind[ids[i]]);
        require(flags & DLX_ENCODE_SPECIAL || t->kind[ids[i]] & DLX_TOKEN_MODEL);
    }
    require(dlx_tokenizer_decode(t, ids, n_ids, false, &whole, &whole_n, &err) == DLX_OK);
    require(dlx_utf8_valid(whole, whole_n));
    require(dlx_text_stream_open(&s, t, false, &err) == DLX_OK);
    for (size_t i = 0; i < n_ids; i += step) {
        step = 1 + i % 3 < n_ids - i ? 1 + i % 3 : n_ids - i;
        require(dlx_text_stream_push(s, ids + i, step, &part, &length, &err) == DLX_OK);
        require(length <= whole_n - used && memcmp(whole + used, part, length) == 0);
        used += length;
    }
    require(dlx_text_stream_flush(s, &part, &length, &err) == DLX_OK);
    require(length == whole_n - used && memcmp(whole + used, part, length) == 0);
    dlx_text_stream_close(s);
    free(whole);
    free(ids);
}

static void use_tokenizer(dlx_tokenizer *t)
{
    static const char text[] =
        "<|im_start|>user\nThe caf\u00E9 e\u0301\u0301 \u4E2D 12'LL  \n\n<|mask|>>\xFF<|endoftext|>";
    dlx_tokenizer *again;
    dlx_error err;
    void *packed, *repacked;
    size_t n, m;
    use_text(t, text, sizeof text - 1, DLX_ENCODE_PLAIN);
    use_text(t, text, sizeof text - 1, DLX_ENCODE_SPECIAL);
    for (uint32_t i = 0; i < t->n_added; i++) {
        char name[DLX_MAX_ADDED_BYTES + 1];
        snprintf(name, sizeof name, "%.*s", (int)t->added[i].length, t->added[i].text);
        if (strlen(name) == t->added[i].length) require(dlx_tokenizer_special_id(t, name) == (int32_t)t->added[i].id);
    }
    if (dlx_tokenizer_pack(t, &packed, &n, &err) != DLX_OK) return;
    require(dlx_tokenizer_open_packed(&again, packed, n, &err) == DLX_OK);
    require(dlx_tokenizer_pack(again, &repacked, &m, &err) == DLX_OK);
    require(n == m && memcmp(packed, repacked, n) == 0);
    free(packed);
    free(repacked);
    dlx_tokenizer_close(again);
}

static void use_chat(const char *json)
{
    static const dlx_chat_template templates[] = {DLX_CHAT_LLADA, DLX_CHAT_CHATML_DREAM, DLX_CHAT_SDAR};
    const dlx_chat_message m[] = {
        {.struct_size = sizeof(dlx_chat_message), .role = "user", .content = json},
        {.struct_size = sizeof(dlx_chat_message), .role = "assistant", .content = json, .tool_calls = json},
        {.struct_size = sizeof(dlx_chat_message), .role = "tool", .content = json},
        {.struct_size = sizeof(dlx_chat_message), .role = "assistant", .reasoning_content = json},
    };
    const dlx_chat_options with_tools = {sizeof with_tools, true, -1, json}, without = {sizeof without, false, 1, NULL};
    for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) {
        char *text;
        size_t n;
        dlx_error err;
        if (dlx_chat_render(templates[i], m, 4, &without, &text, &n, &err) == DLX_OK) {
            require(dlx_utf8_valid(text, n));
            free(text);
        }
        if (dlx_chat_render(templates[i], m, 1, &with_tools, &text, &n, &err) == DLX_OK) free(text);
        if (dlx_chat_render(templates[i], m + 3, 1, &without, &text, &n, &err) == DLX_OK) free(text);
    }
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
    t->split = DLX_SPLIT_LLADA;
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
    dlx_chat_template chat;
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
    case 3: dlx_recognise_template(&chat, text, n, "<|startoftext|>", &err); break;
    case 4: use_chat(text); break;
    default: use_merges(text, n); break;
    }
    if (t) use_tokenizer(t);
    dlx_tokenizer_close(t);
    free(text);
    return 0;
}
