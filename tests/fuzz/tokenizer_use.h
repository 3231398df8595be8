/*
 * A small byte-level tokenizer, and what any tokenizer that opened is put through: text to ids and back, whole and as a
 * stream, its added tokens, and its packed form.
 */
#ifndef DLX_TESTS_FUZZ_TOKENIZER_USE_H
#define DLX_TESTS_FUZZ_TOKENIZER_USE_H

#include "diffulex_edge/text.h"

#include "input.h"
#include "text/bytelevel.h"
#include "text/full/load.h"
#include "text/utf8.h"

/* ---- a small tokenizer ------------------------------------------------------------------------------------------ */

/* tokenizer.json with the 256 bytes, some merges of English and the control tokens of ChatML; malloc'd. */
static inline char *built_in_json(void)
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

static inline const dlx_tokenizer *built_in(void)
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
static inline void use_text(const dlx_tokenizer *t, const char *text, size_t n, int flags)
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
        bool control = t->kind[ids[i]] & DLX_TOKEN_SPECIAL || ids[i] == t->mask_id;
        require(flags & DLX_ENCODE_SPECIAL || t->kind[ids[i]] & DLX_TOKEN_MODEL || !control);
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

static inline void use_tokenizer(dlx_tokenizer *t)
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

#endif
