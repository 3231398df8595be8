#include "format/json_scan.h"

#include <string.h>

dlx_json_cursor dlx_json_open(const char *text, size_t n)
{
    return (dlx_json_cursor){.at = text, .end = text + n};
}

static bool fail(dlx_json_cursor *c)
{
    if (!c->bad) c->ended = c->at >= c->end;
    c->bad = true;
    return false;
}

static void skip_space(dlx_json_cursor *c)
{
    while (c->at < c->end && memchr(" \t\r\n", *c->at, 4)) c->at++;
}

static bool take(dlx_json_cursor *c, char byte)
{
    skip_space(c);
    if (c->bad || c->at >= c->end || *c->at != byte) return false;
    c->at++;
    return true;
}

bool dlx_json_enter(dlx_json_cursor *c, char open)
{
    if (!take(c, open)) return fail(c);
    c->first = true;
    return true;
}

bool dlx_json_more(dlx_json_cursor *c, char close)
{
    bool first = c->first;
    c->first = false;
    if (c->bad || take(c, close)) return false;
    skip_space(c);
    if (c->at >= c->end || (!first && !take(c, ','))) return fail(c);
    return true;
}

/* ---- strings ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The number behind \u; 0 where there is none, or half a pair. */
static uint32_t unicode(dlx_json_cursor *c)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++, c->at++) {
        int digit = c->at < c->end ? hex(*c->at) : -1;
        if (digit < 0) return 0;
        code = code << 4 | (uint32_t)digit;
    }
    return code;
}

static char *put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xC0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3F));
    } else {
        *out++ = (char)(0xE0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    }
    return out;
}

/* What stands behind a backslash. The bytes are never more than those that stand for them. */
static char *escaped(dlx_json_cursor *c, char *out)
{
    static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    const char *letter = c->at < c->end ? strchr(letters, *c->at) : NULL;
    if (letter && *letter) {
        c->at++;
        *out++ = bytes[letter - letters];
        return out;
    }
    if (c->at >= c->end || *c->at++ != 'u') {
        fail(c);
        return out;
    }
    uint32_t code = unicode(c);
    if (!code) fail(c); /* NUL would end the string */
    return code ? put_utf8(out, code >= 0xD800 && code < 0xE000 ? 0xFFFD : code) : out;
}

/* Where the string that begins here ends; NULL: it does not. */
static const char *end_of_string(dlx_json_cursor *c)
{
    for (const char *p = c->at; p < c->end; p++) {
        if (*p == '"') return p;
        if (*p == '\\' && ++p >= c->end) break;
    }
    c->at = c->end;
    fail(c);
    return NULL;
}

const char *dlx_json_string(dlx_json_cursor *c, dlx_arena *arena)
{
    if (!take(c, '"')) {
        fail(c);
        return "";
    }
    const char *end = end_of_string(c);
    char *text = end ? dlx_arena_alloc(arena, (size_t)(end - c->at) + 1) : NULL, *out = text;
    if (end && !text) c->nomem = c->bad = true;
    while (!c->bad && c->at < end) {
        char byte = *c->at++;
        if (byte == '\\')
            out = escaped(c, out);
        else if ((unsigned char)byte < 0x20)
            fail(c);
        else
            *out++ = byte;
    }
    if (c->bad) return "";
    c->at = end + 1;
    *out = '\0';
    return text;
}

const char *dlx_json_key(dlx_json_cursor *c, dlx_arena *arena)
{
    const char *key = dlx_json_string(c, arena);
    if (!c->bad && !take(c, ':')) fail(c);
    return c->bad ? "" : key;
}

/* ---- other values ---- */

uint64_t dlx_json_whole(dlx_json_cursor *c)
{
    uint64_t n = 0;
    skip_space(c);
    bool any = false;
    for (; !c->bad && c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++, any = true)
        if (__builtin_mul_overflow(n, (uint64_t)10, &n) || __builtin_add_overflow(n, (uint64_t)(*c->at - '0'), &n))
            fail(c);
    if (!any) fail(c);
    return c->bad ? 0 : n;
}

static void skip_string(dlx_json_cursor *c)
{
    const char *end = end_of_string(c);
    if (end) c->at = end + 1;
}

/* Brackets are only counted: what does not match is found by whoever reads it, and nobody reads this. */
void dlx_json_skip(dlx_json_cursor *c)
{
    size_t depth = 0;
    skip_space(c);
    if (!c->bad && (c->at >= c->end || memchr(",:]}", *c->at, 4))) fail(c);
    while (!c->bad) {
        if (c->at >= c->end) {
            if (depth) fail(c);
            return;
        }
        char byte = *c->at;
        if (!depth && memchr(",]}", byte, 3)) return;
        c->at++;
        if (byte == '"') skip_string(c);
        if (byte == '{' || byte == '[') depth++;
        if ((byte == '}' || byte == ']') && --depth == 0) return;
        if (!depth && byte == '"') return;
    }
}
