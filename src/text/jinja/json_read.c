/*
 * JSON to values, as Python's json.loads reads it. Own code because the run half links no JSON library, and because
 * integers of any length must come out as they went in.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/run.h"
#include "text/utf8.h"

enum { MAX_DEPTH = 128 };

typedef struct reader {
    dlx_jx *x;
    const char *text;
    size_t at, n;
    const char *what;
    bool own;
} reader;

static bool malformed(const reader *r, const char *expected)
{
    r->x->line = 0;
    return dlx_jx_fail(r->x, DLX_E_INVALID, "%s: not JSON at byte %zu: expected %s", r->what, r->at, expected);
}

static char peek(const reader *r)
{
    return r->at < r->n ? r->text[r->at] : '\0';
}

static void skip_space(reader *r)
{
    while (peek(r) && strchr(" \t\n\r", peek(r))) r->at++;
}

/* Four hexadecimal digits at `at`, or -1. */
static int32_t hex4(const reader *r, size_t at)
{
    int32_t v = 0;
    if (r->n - at < 4 || at > r->n) return -1;
    for (size_t i = at; i < at + 4; i++) {
        int d = dlx_jinja_digit(r->text[i]);
        if (d >= 16) return -1;
        v = v << 4 | d;
    }
    return v;
}

/* Reads the escape at r->at; 0 when it is malformed. */
static size_t read_escape(const reader *r, uint32_t *c)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char kind = r->at + 1 < r->n ? r->text[r->at + 1] : '\0';
    const char *letter = kind ? strchr(letters, kind) : NULL;
    if (letter) {
        *c = (unsigned char)meanings[letter - letters];
        return 2;
    }
    int32_t high = kind == 'u' ? hex4(r, r->at + 2) : -1;
    if (high < 0) return 0;
    *c = (uint32_t)high;
    if (high < 0xD800 || high > 0xDFFF) return 6;
    bool pair = high <= 0xDBFF && r->n - r->at >= 12 && r->text[r->at + 6] == '\\' && r->text[r->at + 7] == 'u';
    int32_t low = pair ? hex4(r, r->at + 8) : -1;
    if (low < 0xDC00 || low > 0xDFFF) return 0; /* half a surrogate pair is not UTF-8 */
    *c = 0x10000 + ((uint32_t)(high - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
    return 12;
}

static bool read_string(reader *r, dlx_jv *out)
{
    dlx_jv_bytes *b = dlx_jv_new_bytes(r->x);
    if (!b) return false;
    if (peek(r) != '"') return malformed(r, "a string");
    r->at++;
    while (r->at < r->n && r->text[r->at] != '"') {
        size_t begin = r->at;
        uint32_t c = 0;
        while (r->at < r->n && r->text[r->at] != '"' && r->text[r->at] != '\\') { /* plain text in one piece */
            size_t step = dlx_utf8_next(r->text + r->at, r->n - r->at, &c);
            if (c < 0x20 || c == DLX_UTF8_BAD || c == DLX_UTF8_CUT) return malformed(r, "a character of a string");
            r->at += step;
        }
        if (!dlx_jv_bytes_text(r->x, b, r->text + begin, r->at - begin, r->own)) return false;
        if (peek(r) != '\\') continue;
        size_t step = read_escape(r, &c);
        if (!step) return malformed(r, "an escape of a string");
        if (!dlx_jv_bytes_char(r->x, b, c, r->own)) return false;
        r->at += step;
    }
    if (r->at++ >= r->n) return malformed(r, "the end of a string");
    return dlx_jv_bytes_end(r->x, b, 0, out);
}

static bool skip_digits(reader *r)
{
    size_t first = r->at;
    while (peek(r) >= '0' && peek(r) <= '9') r->at++;
    return r->at > first;
}

static bool make_integer(reader *r, const char *p, size_t n, dlx_jv *out)
{
    int64_t v = 0;
    bool negative = *p == '-', overflow = false;
    for (size_t i = negative; i < n; i++)
        overflow = overflow || __builtin_mul_overflow(v, 10, &v) ||
                   (negative ? __builtin_sub_overflow(v, p[i] - '0', &v) : __builtin_add_overflow(v, p[i] - '0', &v));
    *out = dlx_jv_int(v);
    if (!overflow) return true;
    if (!dlx_jv_text(r->x, p, n, r->own, out)) return false;
    out->type = DLX_JV_BIG;
    return true;
}

static bool read_number(reader *r, dlx_jv *out)
{
    size_t first = r->at;
    bool is_float = false;
    if (peek(r) == '-') r->at++;
    if (peek(r) == '0')
        r->at++;
    else if (!skip_digits(r))
        return malformed(r, "a value");
    if (peek(r) == '.') {
        r->at++;
        is_float = true;
        if (!skip_digits(r)) return malformed(r, "a digit");
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        r->at++;
        is_float = true;
        if (peek(r) == '+' || peek(r) == '-') r->at++;
        if (!skip_digits(r)) return malformed(r, "a digit");
    }
    const char *p = r->text + first;
    if (is_float)
        *out = dlx_jv_float(dlx_jinja_parse_float(p, r->text + r->at));
    else if (!make_integer(r, p, r->at - first, out))
        return false;
    out->foreign = !r->own;
    return true;
}

/* ---- objects ------------------------------------------------------------------------------------------------------
 */

typedef struct member {
    const dlx_jv_string *name;
    size_t place;
} member;

static int compare_members(const void *pa, const void *pb)
{
    const member *a = pa, *b = pb;
    int order = dlx_jv_order_strings(a->name, b->name);
    return order ? order : (a->place > b->place) - (a->place < b->place);
}

/* Keeps of equal names the last value, at the place of the first. Sorting keeps hostile objects cheap. */
static bool drop_duplicates(reader *r, dlx_jv_dict *d)
{
    bool *dropped = dlx_jx_alloc(r->x, d->n + 1);
    member *m = dlx_jx_alloc(r->x, d->n * sizeof *m + 1);
    size_t kept = 0;
    if (!m || !dropped || !dlx_jx_step(r->x, d->n)) return false;
    for (size_t i = 0; i < d->n; i++) m[i] = (member){d->keys[i].as.string, i};
    qsort(m, d->n, sizeof *m, compare_members);
    for (size_t i = 1, first = 0; i < d->n; i++) {
        if (dlx_jv_order_strings(m[first].name, m[i].name) != 0) {
            first = i;
            continue;
        }
        d->values[m[first].place] = d->values[m[i].place];
        dropped[m[i].place] = true;
    }
    for (size_t i = 0; i < d->n; i++) {
        if (dropped[i]) continue;
        d->keys[kept] = d->keys[i];
        d->values[kept++] = d->values[i];
    }
    d->n = kept;
    return true;
}

static bool read_value(reader *r, dlx_jv *out, int depth);

/* Elements of an array or members of an object, up to and including the closing bracket. */
static bool read_children(reader *r, dlx_jv_list *list, dlx_jv_dict *d, int depth)
{
    char close = d ? '}' : ']';
    dlx_jv key, value;
    skip_space(r);
    if (peek(r) == close) {
        r->at++;
        return true;
    }
    for (;;) {
        skip_space(r);
        if (d) {
            if (!read_string(r, &key)) return false;
            skip_space(r);
            if (peek(r) != ':') return malformed(r, "':'");
            r->at++;
        }
        if (!read_value(r, &value, depth + 1) ||
            !(d ? dlx_jv_dict_add(r->x, d, key, value) : dlx_jv_push(r->x, list, value)))
            return false;
        skip_space(r);
        char c = peek(r);
        if (c != ',' && c != close) return malformed(r, d ? "',' or '}'" : "',' or ']'");
        r->at++;
        if (c == close) return !d || d->n < 2 || drop_duplicates(r, d);
    }
}

static bool read_container(reader *r, dlx_jv *out, int depth)
{
    dlx_jv_list *list = NULL;
    dlx_jv_dict *d = NULL;
    bool object = r->text[r->at++] == '{';
    if (depth >= MAX_DEPTH) return malformed(r, "fewer than 128 nested brackets");
    if (!(object ? dlx_jv_new_dict(r->x, &d) : dlx_jv_new_list(r->x, 0, &list)) || !read_children(r, list, d, depth))
        return false;
    *out = object ? (dlx_jv){.type = DLX_JV_DICT, .as.dict = d} : dlx_jv_of_list(list, false);
    out->foreign = !r->own;
    return true;
}

static bool read_value(reader *r, dlx_jv *out, int depth)
{
    static const char *const words[] = {"null", "false", "true", "NaN", "Infinity", "-Infinity"};
    const dlx_jv values[] = {dlx_jv_none(),     dlx_jv_bool(false),     dlx_jv_bool(true),
                             dlx_jv_float(NAN), dlx_jv_float(INFINITY), dlx_jv_float(-INFINITY)};
    skip_space(r);
    char c = peek(r);
    if (!dlx_jx_step(r->x, 1)) return false;
    if (c == '{' || c == '[') return read_container(r, out, depth);
    if (c == '"') return read_string(r, out);
    for (int i = 0; i < 6; i++) {
        size_t length = strlen(words[i]);
        if (r->n - r->at < length || memcmp(r->text + r->at, words[i], length) != 0) continue;
        *out = values[i];
        out->foreign = !r->own;
        r->at += length;
        return true;
    }
    return read_number(r, out);
}

bool dlx_jx_read_json(dlx_jx *x, const char *text, size_t n, const char *what, bool own, dlx_jv *out)
{
    reader r = {.x = x, .text = text, .n = n, .what = what, .own = own};
    if (!read_value(&r, out, 0)) return false;
    skip_space(&r);
    return r.at == r.n || malformed(&r, "nothing more");
}
