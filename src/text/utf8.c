#include "text/utf8.h"

#include <string.h>

size_t dlx_utf8_next(const char *p, size_t n, uint32_t *code_point)
{
    const unsigned char *s = (const unsigned char *)p;
    uint32_t c = s[0];
    if (c < 0x80) {
        *code_point = c;
        return 1;
    }
    size_t need;
    unsigned char low = 0x80, high = 0xBF; /* bounds of the second byte: no overlong forms, surrogates, > U+10FFFF */
    if (c >= 0xC2 && c <= 0xDF) {
        need = 2;
        c &= 0x1F;
    } else if (c >= 0xE0 && c <= 0xEF) {
        need = 3;
        if (c == 0xE0) low = 0xA0;
        if (c == 0xED) high = 0x9F;
        c &= 0x0F;
    } else if (c >= 0xF0 && c <= 0xF4) {
        need = 4;
        if (c == 0xF0) low = 0x90;
        if (c == 0xF4) high = 0x8F;
        c &= 0x07;
    } else {
        *code_point = DLX_UTF8_BAD;
        return 1;
    }
    for (size_t i = 1; i < need; i++) {
        if (i == n) {
            *code_point = DLX_UTF8_CUT;
            return i;
        }
        if (s[i] < low || s[i] > high) {
            *code_point = DLX_UTF8_BAD;
            return i;
        }
        low = 0x80;
        high = 0xBF;
        c = c << 6 | (s[i] & 0x3F);
    }
    *code_point = c;
    return need;
}

static bool goes_on(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

size_t dlx_utf8_before(const char *p, size_t n, uint32_t *code_point)
{
    size_t at = n - 1;
    while (at && goes_on(p[at])) at--;
    dlx_utf8_next(p + at, n - at, code_point);
    return at;
}

size_t dlx_utf8_count(const char *p, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += !goes_on(p[i]);
    return count;
}

size_t dlx_utf8_put(char out[4], uint32_t code_point)
{
    uint32_t c = code_point;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

int dlx_utf8_compare(const char *a, size_t na, const char *b, size_t nb)
{
    int order = memcmp(a, b, na < nb ? na : nb);
    return order ? order : (na > nb) - (na < nb);
}

bool dlx_utf8_valid(const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t c;
        i += dlx_utf8_next(p + i, n - i, &c);
        if (c == DLX_UTF8_BAD || c == DLX_UTF8_CUT) return false;
    }
    return true;
}
