#include "text/chat_json.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/utf8.h"

enum { MAX_DEPTH = 128 };

typedef struct reader {
    dlx_chat_json *json;
    const char *text;
    size_t at, n;
    const char *what;
    dlx_error *err;
} reader;

static dlx_status malformed(const reader *r, const char *expected)
{
    return dlx_fail(r->err, DLX_E_INVALID, "%s: not JSON at byte %zu: expected %s", r->what, r->at, expected);
}

static void skip_space(reader *r)
{
    while (r->at < r->n && strchr(" \t\n\r", r->text[r->at]) && r->text[r->at]) r->at++;
}

static char peek(const reader *r)
{
    return r->at < r->n ? r->text[r->at] : '\0';
}

static dlx_status new_value(reader *r, dlx_chat_json_type type, uint32_t *index)
{
    dlx_chat_json *j = r->json;
    if (j->n >= DLX_CHAT_JSON_NONE || dlx_grow(&j->values, &j->capacity, j->n + 1, sizeof *j->values) != 0)
        return dlx_fail(r->err, DLX_E_NOMEM, "%s: out of memory for %zu JSON values", r->what, j->n);
    *index = (uint32_t)j->n++;
    j->values[*index] = (dlx_chat_json_value){.type = type,
                                              .key = DLX_CHAT_JSON_NONE,
                                              .child = DLX_CHAT_JSON_NONE,
                                              .next = DLX_CHAT_JSON_NONE,
                                              .begin = r->at,
                                              .end = r->at};
    return DLX_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Four hexadecimal digits at p, or -1; p has a NUL somewhere behind. */
static int32_t hex4(const char *p)
{
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(p[i]);
        if (d < 0) return -1;
        v = v << 4 | d;
    }
    return v;
}

/* Reads the escape or character at p (inside a string, before its closing quote); 0 when it is malformed. */
static size_t string_char(const char *p, size_t n, uint32_t *c)
{
    *c = DLX_UTF8_BAD;
    if (*p != '\\') {
        size_t step = dlx_utf8_next(p, n, c);
        return (unsigned char)*p < 0x20 || *c == DLX_UTF8_BAD || *c == DLX_UTF8_CUT ? 0 : step;
    }
    if (n < 2) return 0;
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter = p[1] ? strchr(letters, p[1]) : NULL;
    if (letter) {
        *c = (unsigned char)meanings[letter - letters];
        return 2;
    }
    int32_t high = p[1] == 'u' ? hex4(p + 2) : -1;
    if (high < 0) return 0;
    *c = (uint32_t)high;
    if (high < 0xD800 || high > 0xDFFF) return 6;
    int32_t low = high <= 0xDBFF && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8) : -1;
    if (low < 0xDC00 || low > 0xDFFF) return 0; /* half a surrogate pair is not UTF-8 */
    *c = 0x10000 + ((uint32_t)(high - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
    return 12;
}

static dlx_status read_string(reader *r, uint32_t *index)
{
    if (peek(r) != '"') return malformed(r, "a string");
    r->at++;
    DLX_TRY(new_value(r, DLX_CHAT_JSON_STRING, index));
    while (r->at < r->n && r->text[r->at] != '"') {
        uint32_t c;
        size_t step = string_char(r->text + r->at, r->n - r->at, &c);
        if (!step) return malformed(r, "a character or escape of a string");
        r->at += step;
    }
    if (r->at >= r->n) return malformed(r, "the end of a string");
    r->json->values[*index].end = r->at++;
    return DLX_OK;
}

static bool skip_digits(reader *r)
{
    size_t first = r->at;
    while (peek(r) >= '0' && peek(r) <= '9') r->at++;
    return r->at > first;
}

static dlx_status read_number(reader *r, uint32_t *index)
{
    DLX_TRY(new_value(r, DLX_CHAT_JSON_NUMBER, index));
    if (peek(r) == '-') r->at++;
    if (peek(r) == '0')
        r->at++;
    else if (!skip_digits(r))
        return malformed(r, "a value");
    if (peek(r) == '.') {
        r->at++;
        if (!skip_digits(r)) return malformed(r, "a digit");
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        r->at++;
        if (peek(r) == '+' || peek(r) == '-') r->at++;
        if (!skip_digits(r)) return malformed(r, "a digit");
    }
    r->json->values[*index].end = r->at;
    return DLX_OK;
}

/* Compares two strings character by character after escapes. */
static int compare_strings(const dlx_chat_json *j, uint32_t a, uint32_t b)
{
    size_t i = j->values[a].begin, i_end = j->values[a].end, k = j->values[b].begin, k_end = j->values[b].end;
    while (i < i_end && k < k_end) {
        uint32_t c, d;
        i += string_char(j->text + i, i_end - i, &c);
        k += string_char(j->text + k, k_end - k, &d);
        if (c != d) return c < d ? -1 : 1;
    }
    return (i < i_end) - (k < k_end);
}

typedef struct member {
    const dlx_chat_json *json;
    uint32_t value;
} member;

/* By name, then by place: values are numbered in the order of the text. */
static int compare_members(const void *pa, const void *pb)
{
    const member *a = pa, *b = pb;
    int order = compare_strings(a->json, a->json->values[a->value].key, b->json->values[b->value].key);
    return order ? order : (a->value > b->value) - (a->value < b->value);
}

static int compare_places(const void *pa, const void *pb)
{
    const member *a = pa, *b = pb;
    uint32_t ka = a->json->values[a->value].key, kb = b->json->values[b->value].key;
    return (ka > kb) - (ka < kb);
}

/* Keeps of equal names the last value, at the place of the first. Sorting keeps hostile objects cheap. */
static dlx_status drop_duplicates(reader *r, uint32_t object, size_t count)
{
    dlx_chat_json_value *v = r->json->values;
    if (count < 2) return DLX_OK;
    member *m = malloc(count * sizeof *m);
    if (!m) return dlx_fail(r->err, DLX_E_NOMEM, "%s: out of memory for an object of %zu members", r->what, count);
    size_t n = 0, kept = 0;
    for (uint32_t i = v[object].child; i != DLX_CHAT_JSON_NONE; i = v[i].next) m[n++] = (member){r->json, i};
    qsort(m, n, sizeof *m, compare_members);
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (end < n && compare_strings(r->json, v[m[i].value].key, v[m[end].value].key) == 0) end++;
        uint32_t first = m[i].value, last = m[end - 1].value;
        v[last].key = v[first].key; /* keys are numbered by place, so this moves the last value there */
        m[kept++] = (member){r->json, last};
        i = end;
    }
    qsort(m, kept, sizeof *m, compare_places);
    v[object].child = m[0].value;
    for (size_t i = 0; i < kept; i++) v[m[i].value].next = i + 1 < kept ? m[i + 1].value : DLX_CHAT_JSON_NONE;
    free(m);
    return DLX_OK;
}

static dlx_status read_value(reader *r, uint32_t *index, int depth);

/* Elements of an array or members of an object, up to and including the closing bracket. */
static dlx_status read_children(reader *r, uint32_t parent, char close, int depth)
{
    uint32_t last = DLX_CHAT_JSON_NONE;
    size_t count = 0;
    skip_space(r);
    if (peek(r) == close) {
        r->at++;
        return DLX_OK;
    }
    for (;;) {
        uint32_t key = DLX_CHAT_JSON_NONE, value;
        skip_space(r);
        if (close == '}') {
            DLX_TRY(read_string(r, &key));
            skip_space(r);
            if (peek(r) != ':') return malformed(r, "':'");
            r->at++;
        }
        DLX_TRY(read_value(r, &value, depth + 1));
        r->json->values[value].key = key;
        if (last == DLX_CHAT_JSON_NONE)
            r->json->values[parent].child = value;
        else
            r->json->values[last].next = value;
        last = value;
        count++;
        skip_space(r);
        char c = peek(r);
        if (c != ',' && c != close) return malformed(r, close == '}' ? "',' or '}'" : "',' or ']'");
        r->at++;
        if (c == close) return close == '}' ? drop_duplicates(r, parent, count) : DLX_OK;
    }
}

static dlx_status read_value(reader *r, uint32_t *index, int depth)
{
    static const char *const words[] = {"null", "false", "true"};
    skip_space(r);
    char c = peek(r);
    if (c == '{' || c == '[') {
        if (depth >= MAX_DEPTH) return malformed(r, "fewer than 128 nested brackets");
        DLX_TRY(new_value(r, c == '{' ? DLX_CHAT_JSON_OBJECT : DLX_CHAT_JSON_ARRAY, index));
        r->at++;
        return read_children(r, *index, c == '{' ? '}' : ']', depth);
    }
    if (c == '"') return read_string(r, index);
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if (strncmp(r->text + r->at, words[i], length) != 0) continue;
        DLX_TRY(new_value(r, (dlx_chat_json_type)(DLX_CHAT_JSON_NULL + i), index));
        r->at += length;
        return DLX_OK;
    }
    return read_number(r, index);
}

dlx_status dlx_chat_json_read(dlx_chat_json *out, const char *text, const char *what, dlx_error *err)
{
    memset(out, 0, sizeof *out);
    out->text = text;
    reader r = {.json = out, .text = text, .n = strlen(text), .what = what, .err = err};
    uint32_t root;
    dlx_status status = read_value(&r, &root, 0);
    skip_space(&r);
    if (status == DLX_OK && r.at != r.n) status = malformed(&r, "nothing more");
    if (status != DLX_OK) dlx_chat_json_free(out);
    return status;
}

void dlx_chat_json_free(dlx_chat_json *json)
{
    free(json->values);
    memset(json, 0, sizeof *json);
}

uint32_t dlx_chat_json_member(const dlx_chat_json *j, uint32_t object, const char *name)
{
    if (j->values[object].type != DLX_CHAT_JSON_OBJECT) return DLX_CHAT_JSON_NONE;
    for (uint32_t i = j->values[object].child; i != DLX_CHAT_JSON_NONE; i = j->values[i].next) {
        const dlx_chat_json_value *key = &j->values[j->values[i].key];
        const char *p = name;
        size_t at = key->begin;
        while (at < key->end && *p) { /* names are ASCII */
            uint32_t c;
            at += string_char(j->text + at, key->end - at, &c);
            if (c != (unsigned char)*p++) break;
            if (at == key->end && !*p) return i;
        }
    }
    return DLX_CHAT_JSON_NONE;
}

void dlx_chat_json_string(dlx_buffer *out, const dlx_chat_json *j, uint32_t value)
{
    const dlx_chat_json_value *v = &j->values[value];
    for (size_t i = v->begin; i < v->end;) {
        uint32_t c;
        char utf8[4];
        i += string_char(j->text + i, v->end - i, &c);
        dlx_buffer_add(out, utf8, dlx_utf8_put(utf8, c));
    }
}
