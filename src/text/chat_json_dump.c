/* Writing JSON values as Python does: json.dumps with ensure_ascii=False, numbers through int and float. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat_json.h"
#include "text/utf8.h"

/* No float64 needs more than 767 digits to be rounded correctly; more of them are summed up in one. */
enum { SIGNIFICANT = 800, SHORTEST = 17 };

/* A decimal float: 0.DIGITS * 10^point. */
typedef struct decimal {
    char digits[SIGNIFICANT + 2];
    int n;
    long point;
} decimal;

/* Reads a number of JSON without its sign. */
static void read_decimal(decimal *d, const char *p, const char *end)
{
    bool fraction = false, more = false;
    memset(d, 0, sizeof *d);
    for (; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            fraction = true;
        } else if (d->n == 0 && *p == '0') {
            d->point -= fraction;
        } else {
            d->point += !fraction;
            if (d->n < SIGNIFICANT)
                d->digits[d->n++] = *p;
            else
                more = more || *p != '0';
        }
    }
    if (more) d->digits[d->n++] = '1';
    if (p == end) return;
    long exponent = 0, sign = p[1] == '-' ? -1 : 1;
    for (p++; p < end; p++)
        if (*p >= '0' && *p <= '9' && exponent < 100000000) exponent = exponent * 10 + (*p - '0');
    d->point += sign * exponent;
}

/* Through an integer and an exponent, so that the locale's decimal point does not matter. */
static double to_double(const decimal *d)
{
    char text[SIGNIFICANT + 32];
    if (d->n == 0) return 0;
    snprintf(text, sizeof text, "%se%ld", d->digits, d->point - d->n);
    return strtod(text, NULL);
}

/* The shortest decimal that reads back as v > 0 (Python's repr). */
static void shortest_decimal(decimal *d, double v)
{
    for (int n = 1; n <= SHORTEST; n++) {
        char text[64];
        snprintf(text, sizeof text, "%.*e", n - 1, v);
        memset(d, 0, sizeof *d);
        const char *p = text;
        for (; *p != 'e'; p++)
            if (*p >= '0' && *p <= '9') d->digits[d->n++] = *p;
        d->point = strtol(p + 1, NULL, 10) + 1;
        if (to_double(d) == v) break;
    }
    while (d->n > 1 && d->digits[d->n - 1] == '0') d->digits[--d->n] = '\0';
}

static void add_zeros(dlx_buffer *out, long n)
{
    for (long i = 0; i < n; i++) dlx_buffer_add(out, "0", 1);
}

static void dump_float(dlx_buffer *out, const char *p, const char *end)
{
    decimal d;
    if (*p == '-') dlx_buffer_add(out, p++, 1);
    read_decimal(&d, p, end);
    double v = to_double(&d);
    if (isinf(v)) {
        dlx_buffer_add_string(out, "Infinity");
        return;
    }
    if (v == 0) {
        dlx_buffer_add_string(out, "0.0");
        return;
    }
    shortest_decimal(&d, v);
    if (d.point <= -4 || d.point > 16) {
        char exponent[32];
        dlx_buffer_add(out, d.digits, 1);
        if (d.n > 1) dlx_buffer_add(out, ".", 1);
        dlx_buffer_add_string(out, d.digits + 1);
        snprintf(exponent, sizeof exponent, "e%c%02ld", d.point - 1 < 0 ? '-' : '+', labs(d.point - 1));
        dlx_buffer_add_string(out, exponent);
    } else if (d.point <= 0) {
        dlx_buffer_add_string(out, "0.");
        add_zeros(out, -d.point);
        dlx_buffer_add_string(out, d.digits);
    } else if (d.n <= d.point) {
        dlx_buffer_add_string(out, d.digits);
        add_zeros(out, d.point - d.n);
        dlx_buffer_add_string(out, ".0");
    } else {
        dlx_buffer_add(out, d.digits, (size_t)d.point);
        dlx_buffer_add(out, ".", 1);
        dlx_buffer_add_string(out, d.digits + d.point);
    }
}

static void dump_number(dlx_buffer *out, const char *p, size_t n)
{
    if (memchr(p, '.', n) || memchr(p, 'e', n) || memchr(p, 'E', n))
        dump_float(out, p, p + n);
    else if (n == 2 && memcmp(p, "-0", 2) == 0)
        dlx_buffer_add(out, "0", 1);
    else
        dlx_buffer_add(out, p, n);
}

static void dump_string(dlx_buffer *out, const dlx_chat_json *json, uint32_t value)
{
    dlx_buffer plain = {0};
    dlx_chat_json_string(&plain, json, value);
    if (plain.failed) out->failed = true;
    dlx_buffer_add(out, "\"", 1);
    for (size_t i = 0; i < plain.n; i++) {
        static const char meanings[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        unsigned char c = (unsigned char)plain.data[i];
        const char *known = c ? strchr(meanings, c) : NULL;
        char escape[8];
        if (!known && c >= 0x20) {
            dlx_buffer_add(out, &c, 1);
            continue;
        }
        if (known)
            snprintf(escape, sizeof escape, "\\%c", letters[known - meanings]);
        else
            snprintf(escape, sizeof escape, "\\u%04x", c);
        dlx_buffer_add_string(out, escape);
    }
    dlx_buffer_add(out, "\"", 1);
    dlx_buffer_free(&plain);
}

void dlx_chat_json_dump(dlx_buffer *out, const dlx_chat_json *json, uint32_t value)
{
    static const char *const words[] = {"null", "false", "true"};
    const dlx_chat_json_value *v = &json->values[value];
    if (v->type <= DLX_CHAT_JSON_TRUE) {
        dlx_buffer_add_string(out, words[v->type]);
    } else if (v->type == DLX_CHAT_JSON_NUMBER) {
        dump_number(out, json->text + v->begin, v->end - v->begin);
    } else if (v->type == DLX_CHAT_JSON_STRING) {
        dump_string(out, json, value);
    } else {
        bool object = v->type == DLX_CHAT_JSON_OBJECT;
        dlx_buffer_add(out, object ? "{" : "[", 1);
        for (uint32_t i = v->child; i != DLX_CHAT_JSON_NONE; i = json->values[i].next) {
            if (i != v->child) dlx_buffer_add(out, ", ", 2);
            if (object) {
                dump_string(out, json, json->values[i].key);
                dlx_buffer_add(out, ": ", 2);
            }
            dlx_chat_json_dump(out, json, i);
        }
        dlx_buffer_add(out, object ? "}" : "]", 1);
    }
}
