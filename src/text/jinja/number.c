/* Digits of any base, and floats as Python reads and prints them, whatever the locale's decimal point is. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/value.h"

int dlx_jinja_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'z') return c - 'a' + 10;
    if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
    return 99;
}

/* No float64 needs more than 767 digits to be rounded correctly; more of them are summed up in one. */
enum { SIGNIFICANT = 800, SHORTEST = 17 };

/* A decimal float: 0.DIGITS * 10^point. */
typedef struct decimal {
    char digits[SIGNIFICANT + 2];
    int n;
    long point;
} decimal;

/* Reads a number without its sign. */
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
    if (end - p < 2) return;
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

double dlx_jinja_parse_float(const char *p, const char *end)
{
    decimal d;
    bool negative = p < end && *p == '-';
    read_decimal(&d, p + negative, end);
    double v = to_double(&d);
    return negative ? -v : v;
}

size_t dlx_jinja_print_float(char out[DLX_JINJA_FLOAT_TEXT], double v)
{
    decimal d;
    char *p = out;
    if (isnan(v)) return (size_t)snprintf(out, DLX_JINJA_FLOAT_TEXT, "nan");
    if (signbit(v)) *p++ = '-';
    size_t room = DLX_JINJA_FLOAT_TEXT - (size_t)(p - out);
    if (isinf(v)) return (size_t)(p - out) + (size_t)snprintf(p, room, "inf");
    if (v == 0) return (size_t)(p - out) + (size_t)snprintf(p, room, "0.0");
    shortest_decimal(&d, fabs(v));
    int point = (int)d.point, n = d.n;
    if (point <= -4 || point > 16) {
        p += snprintf(p, room, "%c%s%s", d.digits[0], n > 1 ? "." : "", d.digits + 1);
        room = DLX_JINJA_FLOAT_TEXT - (size_t)(p - out);
        p += snprintf(p, room, "e%c%02d", point - 1 < 0 ? '-' : '+', abs(point - 1));
    } else if (point <= 0) {
        p += snprintf(p, room, "0.%.*s%s", -point, "00000", d.digits);
    } else if (n <= point) {
        p += snprintf(p, room, "%s%.*s.0", d.digits, point - n, "0000000000000000");
    } else {
        p += snprintf(p, room, "%.*s.%s", point, d.digits, d.digits + point);
    }
    return (size_t)(p - out);
}

size_t dlx_jinja_format_float(char *out, size_t size, char kind, bool alternate, int digits, double v)
{
    char format[8] = "%#.*e";
    char *p = format + 1 + alternate;
    memcpy(p, ".*", 2);
    p[2] = kind;
    p[3] = '\0';
    int n = snprintf(out, size, format, digits, v);
    size_t length = n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
    const char *point = localeconv()->decimal_point;
    size_t width = strlen(point);
    char *found = width ? strstr(out, point) : NULL;
    if (!found || (width == 1 && *point == '.')) return length;
    *found = '.';
    memmove(found + 1, found + width, length - (size_t)(found - out) - width + 1);
    return length - width + 1;
}
