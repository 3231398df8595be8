/*
 * Text is cut into chunks that cannot influence each other: a chunk begins at a plain character (a starter that is no
 * second part of a composition and, in this form, stays what it is: below U+0300 for NFC, ASCII for the others) or next
 * to a character that is left alone. Each chunk is decomposed by utf8proc, ordered here (utf8proc's own ordering takes
 * quadratic time on long runs of marks), and composed by utf8proc.
 */
#include "text/full/forms.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/arena.h"
#include "base/sizes.h"
#include "text/utf8.h"

/*
 * Characters that stay what they are. Those that Unicode 10.0 to 17.0 added with a combining class, a decomposition or
 * a part in one, in whole ranges of what was unassigned before; from DerivedAge.txt and UnicodeData.txt. And U+11A7,
 * one before the first final consonant of Hangul, which composes with nothing: utf8proc before 2.11 takes it for "no
 * final" behind a syllable, and drops it.
 */
static const uint32_t untouched[][2] = {
    {0x05C8, 0x05C9},   {0x07FD, 0x07FD},   {0x0897, 0x089F},   {0x08CA, 0x08D3},   {0x09FE, 0x09FE},
    {0x0C3C, 0x0C3C},   {0x0D3B, 0x0D3C},   {0x0EBA, 0x0EBA},   {0x11A7, 0x11A7},   {0x1715, 0x1715},
    {0x1ABF, 0x1AF0},   {0x1DF6, 0x1DFA},   {0x32FF, 0x32FF},   {0xA7F1, 0xA7F4},   {0xA82C, 0xA82C},
    {0xAB69, 0xAB69},   {0x105C0, 0x105F3}, {0x10780, 0x107BA}, {0x10D24, 0x10D27}, {0x10D69, 0x10D6D},
    {0x10EAB, 0x10EAC}, {0x10ECB, 0x10ECF}, {0x10EF0, 0x10EFB}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x11380, 0x113E2}, {0x1145E, 0x1145E},
    {0x11839, 0x1183A}, {0x11900, 0x11959}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
    {0x16100, 0x16139}, {0x16D40, 0x16D79}, {0x16FF0, 0x16FF1}, {0x1CCD6, 0x1CCF9}, {0x1D127, 0x1D128},
    {0x1D250, 0x1D252}, {0x1D25B, 0x1D25C}, {0x1D25F, 0x1D25F}, {0x1D280, 0x1D281}, {0x1E030, 0x1E06D},
    {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
    {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5},
    {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9},
};

static bool is_untouched(uint32_t c)
{
    size_t first = 0, end = DLX_COUNT(untouched);
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (c > untouched[middle][1])
            first = middle + 1;
        else if (c < untouched[middle][0])
            end = middle;
        else
            return true;
    }
    return false;
}

typedef struct chunk {
    dlx_form form;
    utf8proc_int32_t *c; /* decomposed characters */
    size_t n, capacity;
    utf8proc_int32_t *sorted;
    size_t sorted_capacity;
    bool failed;
} chunk;

static void add_character(chunk *k, uint32_t c)
{
    enum { LONGEST = 32 }; /* decompositions have at most 18 characters */
    int boundary = 0;
    if (k->failed) return;
    if (dlx_grow(&k->c, &k->capacity, k->n + LONGEST, sizeof *k->c) != 0) {
        k->failed = true;
        return;
    }
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (k->form == DLX_FORM_NFKC || k->form == DLX_FORM_NFKD) options |= UTF8PROC_COMPAT;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, k->c + k->n, LONGEST, options, &boundary);
    k->failed = n < 0 || n > LONGEST;
    if (!k->failed) k->n += (size_t)n;
}

static unsigned combining_class(utf8proc_int32_t c)
{
    return (unsigned)utf8proc_get_property(c)->combining_class;
}

/* Orders one run of marks by class; equal classes keep their order. */
static void order_run(chunk *k, size_t first, size_t end)
{
    size_t start[257] = {0}, n = end - first;
    if (n < 2) return;
    if (dlx_grow(&k->sorted, &k->sorted_capacity, n, sizeof *k->sorted) != 0) {
        k->failed = true;
        return;
    }
    for (size_t i = first; i < end; i++) start[(combining_class(k->c[i]) & 255) + 1]++;
    for (int i = 0; i < 256; i++) start[i + 1] += start[i];
    for (size_t i = first; i < end; i++) k->sorted[start[combining_class(k->c[i]) & 255]++] = k->c[i];
    memcpy(k->c + first, k->sorted, n * sizeof *k->c);
}

static void order_marks(chunk *k)
{
    for (size_t i = 0; i < k->n && !k->failed;) {
        size_t first = i;
        while (i < k->n && combining_class(k->c[i]) != 0) i++;
        order_run(k, first, i);
        while (i < k->n && combining_class(k->c[i]) == 0) i++;
    }
}

/* Appends the chunk in its form and empties it. */
static void flush_chunk(dlx_buffer *out, chunk *k)
{
    order_marks(k);
    if (k->n && !k->failed) {
        utf8proc_ssize_t n = (utf8proc_ssize_t)k->n;
        if (k->form == DLX_FORM_NFC || k->form == DLX_FORM_NFKC)
            n = utf8proc_normalize_utf32(k->c, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (n < 0) k->failed = true;
        for (utf8proc_ssize_t i = 0; i < n; i++) {
            char utf8[4];
            dlx_buffer_add(out, utf8, dlx_utf8_put(utf8, (uint32_t)k->c[i]));
        }
    }
    k->n = 0;
}

/* Characters below it are plain in this form. */
static uint32_t plain_below(dlx_form form)
{
    return form == DLX_FORM_NFC ? 0x300 : 0x80;
}

bool dlx_form_trivial(dlx_form form, const char *text, size_t n)
{
    unsigned char least = plain_below(form) == 0x300 ? 0xCC : 0x80; /* the first byte of the first other character */
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= least) return false;
    return true;
}

void dlx_normal_form(dlx_buffer *out, dlx_form form, const char *text, size_t n)
{
    chunk k = {.form = form};
    uint32_t base = 0, least = plain_below(form); /* base: a plain character that was not written yet */
    bool has_base = false;
    char utf8[4];
    for (size_t i = 0; i < n && !k.failed && !out->failed;) {
        uint32_t c;
        i += dlx_utf8_next(text + i, n - i, &c);
        bool opaque = c >= least && is_untouched(c);
        if (c >= least && !opaque) {
            if (has_base) add_character(&k, base);
            has_base = false;
            add_character(&k, c);
            continue;
        }
        flush_chunk(out, &k);
        if (has_base) dlx_buffer_add(out, utf8, dlx_utf8_put(utf8, base));
        has_base = !opaque;
        base = c;
        if (opaque) dlx_buffer_add(out, utf8, dlx_utf8_put(utf8, c));
    }
    flush_chunk(out, &k);
    if (has_base) dlx_buffer_add(out, utf8, dlx_utf8_put(utf8, base));
    if (k.failed) out->failed = true;
    free(k.c);
    free(k.sorted);
}

uint32_t dlx_lower_case(uint32_t c)
{
    /* Capital letters of Unicode 14.0 to 17.0: first, last, step between them, distance to the small letter. */
    static const int32_t newer[][4] = {
        {0x1C89, 0x1C89, 1, 1},    {0x2C2F, 0x2C2F, 1, 48},     {0xA7C0, 0xA7C0, 1, 1},    {0xA7CB, 0xA7CB, 1, -42343},
        {0xA7CC, 0xA7DA, 2, 1},    {0xA7DC, 0xA7DC, 1, -42561}, {0x10570, 0x1057A, 1, 39}, {0x1057C, 0x1058A, 1, 39},
        {0x1058C, 0x10592, 1, 39}, {0x10594, 0x10595, 1, 39},   {0x10D50, 0x10D65, 1, 32}, {0x16EA0, 0x16EB8, 1, 27},
    };
    for (size_t i = 0; i < DLX_COUNT(newer); i++)
        if ((int32_t)c >= newer[i][0] && (int32_t)c <= newer[i][1] && ((int32_t)c - newer[i][0]) % newer[i][2] == 0)
            return (uint32_t)((int32_t)c + newer[i][3]);
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}
