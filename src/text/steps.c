/* Checks, writes and reads the steps of a tokenizer. */
#include "text/steps.h"

#include <string.h>

#include "text/packed.h"
#include "text/utf8.h"

#define PUBLISHED(pattern)                                                                                             \
    {                                                                                                                  \
        {.kind = DLX_STEP_NFC},                                                                                        \
            {.kind = DLX_STEP_SPLIT,                                                                                   \
             .flags = DLX_PATTERN_REGEX | DLX_ISOLATED * DLX_SPLIT_BEHAVIOR,                                           \
             .n_text = sizeof(pattern) - 1,                                                                            \
             .text = (pattern)},                                                                                       \
            {.kind = DLX_STEP_BYTE_LEVEL},                                                                             \
    }
#define QWEN2                                                                                                          \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"  \
    "\\s+(?!\\S)|\\s+"
#define LLADA                                                                                                          \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|"        \
    "\\s+(?!\\S)|\\s+"

const dlx_text_step *dlx_steps_published(uint32_t which, bool nfc, uint32_t *n)
{
    static const dlx_text_step steps[2][3] = {PUBLISHED(QWEN2), PUBLISHED(LLADA)};
    *n = 0;
    if (which < 1 || which > 2) return NULL;
    *n = 2 + nfc;
    return &steps[which - 1][!nfc];
}

static uint8_t known_flags(uint8_t kind)
{
    switch (kind) {
    case DLX_STEP_STRIP: return DLX_STRIP_LEFT | DLX_STRIP_RIGHT;
    case DLX_STEP_REPLACE: return DLX_PATTERN_REGEX;
    case DLX_STEP_SPLIT: return DLX_PATTERN_REGEX | DLX_SPLIT_INVERT | 7 * DLX_SPLIT_BEHAVIOR;
    case DLX_STEP_DIGITS: return DLX_DIGITS_SINGLE;
    case DLX_STEP_BYTE_LEVEL: return DLX_BYTES_PREFIX | DLX_BYTES_REGEX;
    default: return 0;
    }
}

static bool known_kind(uint8_t kind)
{
    return (kind >= DLX_STEP_NFC && kind < DLX_STEP_NORMALIZERS_END) ||
           (kind >= DLX_STEP_SPLIT && kind < DLX_STEP_SPLITS_END) ||
           (kind >= DLX_STEP_BEFORE && kind < DLX_STEP_KINDS_END);
}

/* Whether a step has exactly the texts that its kind takes. */
static bool texts_fit(const dlx_text_step *s)
{
    bool text = s->kind == DLX_STEP_PREPEND || s->kind == DLX_STEP_REPLACE || s->kind == DLX_STEP_SPLIT;
    return (s->n_text > 0) == text && (s->n_second == 0 || s->kind == DLX_STEP_REPLACE) &&
           s->n_text <= DLX_MAX_STEP_TEXT && s->n_second <= DLX_MAX_STEP_TEXT &&
           dlx_utf8_valid(s->text ? s->text : "", s->n_text) && dlx_utf8_valid(s->second ? s->second : "", s->n_second);
}

dlx_status dlx_steps_check(const dlx_text_step *steps, uint32_t n, dlx_error *err)
{
    uint32_t bytes = 0;
    if (n > DLX_MAX_STEPS)
        return dlx_fail(err, DLX_E_FORMAT, "tokenizer has %u steps; at most %d are expected", n, DLX_MAX_STEPS);
    for (uint32_t i = 0; i < n; i++) {
        const dlx_text_step *s = &steps[i];
        /* Normalizers, splits and ids around follow each other; the step to bytes is the last split. */
        bool order = i == 0 || s->kind / 16 > steps[i - 1].kind / 16 ||
                     (s->kind / 16 == steps[i - 1].kind / 16 && steps[i - 1].kind != DLX_STEP_BYTE_LEVEL);
        if (!known_kind(s->kind) || s->flags & ~known_flags(s->kind) || !order || !texts_fit(s) ||
            (s->kind == DLX_STEP_SPLIT && s->flags / DLX_SPLIT_BEHAVIOR >= DLX_BEHAVIORS))
            return dlx_fail(err, DLX_E_FORMAT, "step %u of the tokenizer is of kind %u with flags %u, which cannot be",
                            i, s->kind, s->flags);
        bytes += s->kind == DLX_STEP_BYTE_LEVEL;
    }
    return bytes == 1 ? DLX_OK : dlx_fail(err, DLX_E_FORMAT, "tokenizer has no step from text to bytes");
}

size_t dlx_steps_size(const dlx_text_step *steps, uint32_t n)
{
    size_t size = 0;
    for (uint32_t i = 0; i < n; i++) size += (size_t)DLX_STEP_HEADER + steps[i].n_text + steps[i].n_second;
    return size;
}

void dlx_steps_write(uint8_t *out, const dlx_text_step *steps, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const dlx_text_step *s = &steps[i];
        dlx_packed_put(out, s->kind, 1);
        dlx_packed_put(out + 1, s->flags, 1);
        dlx_packed_put(out + 2, s->n_text, 2);
        dlx_packed_put(out + 4, s->n_second, 2);
        dlx_packed_put(out + 6, 0, 2);
        dlx_packed_put(out + 8, s->id, 4);
        out += DLX_STEP_HEADER;
        if (s->n_text) memcpy(out, s->text, s->n_text);
        out += s->n_text;
        if (s->n_second) memcpy(out, s->second, s->n_second);
        out += s->n_second;
    }
}

dlx_status dlx_steps_read(const dlx_text_step **steps, uint32_t *n, dlx_arena *arena, const uint8_t *bytes, size_t size,
                          dlx_error *err)
{
    dlx_text_step *all = dlx_arena_array(arena, DLX_MAX_STEPS, sizeof *all);
    char *text = dlx_arena_array(arena, size + 1, 1);
    uint32_t count = 0;
    if (!all || !text) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading the steps of a tokenizer");
    if (size) memcpy(text, bytes, size);
    for (size_t at = 0; at < size;) {
        const uint8_t *p = bytes + at;
        size_t left = size - at;
        if (count == DLX_MAX_STEPS || left < DLX_STEP_HEADER || dlx_packed_get(p + 6, 2) ||
            left - DLX_STEP_HEADER < (size_t)dlx_packed_get(p + 2, 2) + dlx_packed_get(p + 4, 2))
            return dlx_fail(err, DLX_E_FORMAT, "step %u of the tokenizer does not fit its section", count);
        at += DLX_STEP_HEADER;
        dlx_text_step s = {.kind = p[0],
                           .flags = p[1],
                           .n_text = (uint16_t)dlx_packed_get(p + 2, 2),
                           .n_second = (uint16_t)dlx_packed_get(p + 4, 2),
                           .id = dlx_packed_get(p + 8, 4)};
        s.text = text + at;
        s.second = text + at + s.n_text;
        at += (size_t)s.n_text + s.n_second;
        all[count++] = s;
    }
    *steps = all;
    *n = count;
    return DLX_OK;
}
