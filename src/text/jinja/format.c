/* Python's two ways of formatting: "..." % values, and "...".format(values). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/run.h"

enum { MAX_WIDTH = 10000, MAX_PRECISION = 300, NUMBER_TEXT = 1024 };

/* How one value is printed. */
typedef struct spec {
    char fill[4];
    size_t n_fill;
    char align, sign, type, grouping; /* 0: not given */
    bool alternate, zero;
    bool own;                 /* the template's: what it brings itself (fillings, signs, digits) is no less foreign */
    int64_t width, precision; /* precision -1: not given */
} spec;

/* Text of a number: its sign apart from its digits. */
typedef struct digits {
    char sign[2], prefix[3], text[NUMBER_TEXT];
    size_t n;
} digits;

static bool refuse(dlx_jx *x, char type, const dlx_jv *v)
{
    return dlx_jx_fail(x, DLX_E_INVALID, "the format '%c' cannot print a value of type %s", type ? type : 's',
                       dlx_jv_type_name(v));
}

static void set_sign(digits *d, char sign, bool negative)
{
    d->sign[0] = negative ? '-' : sign == '+' || sign == ' ' ? sign : '\0';
    d->sign[1] = '\0';
}

static void print_integer(digits *d, uint64_t v, unsigned base, bool capital)
{
    char reversed[72];
    size_t n = 0;
    do {
        reversed[n++] = (capital ? "0123456789ABCDEF" : "0123456789abcdef")[v % base];
        v /= base;
    } while (v);
    for (d->n = 0; n;) d->text[d->n++] = reversed[--n];
}

static bool integer_digits(dlx_jx *x, digits *d, const spec *s, const dlx_jv *v)
{
    int64_t i;
    unsigned base = s->type == 'x' || s->type == 'X' ? 16 : s->type == 'o' ? 8 : s->type == 'b' ? 2 : 10;
    if (v->type == DLX_JV_FLOAT) {
        if (!(fabs(v->as.f) < 9223372036854775808.0)) return dlx_jx_fail(x, DLX_E_LIMIT, "a number is too large");
        i = (int64_t)v->as.f;
    } else {
        i = dlx_jv_to_int(v);
    }
    set_sign(d, s->sign, i < 0);
    print_integer(d, i < 0 ? 0 - (uint64_t)i : (uint64_t)i, base, s->type == 'X');
    d->prefix[0] = '\0';
    if (s->alternate && base != 10) snprintf(d->prefix, sizeof d->prefix, "0%c", s->type);
    return true;
}

/* Digits in groups of three in front of the point. */
static void group(digits *d, char separator)
{
    char out[NUMBER_TEXT];
    size_t whole = 0, n = 0;
    while (whole < d->n && d->text[whole] >= '0' && d->text[whole] <= '9') whole++;
    for (size_t i = 0; i < d->n && n + 2 < sizeof out; i++) {
        if (i && i < whole && (whole - i) % 3 == 0) out[n++] = separator;
        out[n++] = d->text[i];
    }
    memcpy(d->text, out, n);
    d->n = n;
}

static void float_digits(digits *d, const spec *s, double v)
{
    char type = s->type == 'F' || s->type == '%' ? 'f' : s->type;
    int precision = s->precision < 0 ? 6 : (int)s->precision;
    set_sign(d, s->sign, signbit(v) && !isnan(v));
    d->prefix[0] = '\0';
    v = fabs(v);
    if (s->type == '%') v *= 100;
    if (!isfinite(v)) {
        d->n = (size_t)snprintf(d->text, sizeof d->text, isnan(v) ? "nan" : "inf");
        if (s->type == 'F' || s->type == 'E' || s->type == 'G')
            for (size_t i = 0; i < d->n; i++) d->text[i] = (char)(d->text[i] - 32);
    } else if (type) {
        d->n = dlx_jinja_format_float(d->text, sizeof d->text - 1, type, s->alternate, precision, v);
    } else if (s->precision < 0) {
        d->n = dlx_jinja_print_float(d->text, v);
    } else { /* like g, but with a digit behind the point */
        d->n = dlx_jinja_format_float(d->text, sizeof d->text - 3, 'g', false, precision ? precision : 1, v);
        if (!memchr(d->text, '.', d->n) && !memchr(d->text, 'e', d->n)) {
            memcpy(d->text + d->n, ".0", 2);
            d->n += 2;
        }
    }
    if (s->type == '%') d->text[d->n++] = '%';
}

static bool add_fill(dlx_jx *x, dlx_jv_bytes *out, const spec *s, int64_t n, bool own)
{
    for (; n > 0; n--)
        if (!dlx_jv_bytes_text(x, out, s->n_fill ? s->fill : " ", s->n_fill ? s->n_fill : 1, own)) return false;
    return true;
}

static bool add_digits(dlx_jx *x, dlx_jv_bytes *out, const spec *s, const digits *d, bool foreign)
{
    bool own = s->own && !foreign;
    size_t sign = strlen(d->sign), prefix = strlen(d->prefix);
    int64_t missing = s->width - (int64_t)(sign + prefix + d->n), left = missing, inside = 0, right = 0;
    char align = s->align ? s->align : s->zero ? '=' : '>';
    if (missing < 0) missing = left = 0;
    if (align == '=') {
        inside = missing;
        left = 0;
    } else if (align == '<') {
        right = missing;
        left = 0;
    } else if (align == '^') {
        left = missing / 2;
        right = missing - left;
    }
    spec fill = *s;
    if (align == '=' && s->zero && !s->n_fill) {
        fill.fill[0] = '0';
        fill.n_fill = 1;
    }
    return add_fill(x, out, &fill, left, own) && dlx_jv_bytes_text(x, out, d->sign, sign, own) &&
           dlx_jv_bytes_text(x, out, d->prefix, prefix, own) && add_fill(x, out, &fill, inside, own) &&
           dlx_jv_bytes_text(x, out, d->text, d->n, own) && add_fill(x, out, &fill, right, own);
}

static bool add_text(dlx_jx *x, dlx_jv_bytes *out, const spec *s, const dlx_jv_string *text)
{
    size_t chars = text->chars, n = text->n;
    if (s->precision >= 0 && (size_t)s->precision < chars) {
        chars = (size_t)s->precision;
        n = dlx_jv_offset(text, chars);
    }
    int64_t missing = s->width > (int64_t)chars ? s->width - (int64_t)chars : 0, left = 0;
    if (s->align == '>') left = missing;
    if (s->align == '^') left = missing / 2;
    return add_fill(x, out, s, left, s->own) && dlx_jv_bytes_add(x, out, text->p, text->own, n) &&
           add_fill(x, out, s, missing - left, s->own);
}

/* ---- "%" ----------------------------------------------------------------------------------------------------------
 */

typedef struct percent {
    const dlx_jv_string *format;
    bool markup;
    const dlx_jv *values;
    size_t at, used;
} percent;

static bool next_value(dlx_jx *x, percent *p, dlx_jv *out)
{
    bool tuple = p->values->type == DLX_JV_TUPLE;
    size_t n = tuple ? p->values->as.list->n : 1;
    if (p->used >= n) return dlx_jx_fail(x, DLX_E_INVALID, "not enough arguments for format string");
    *out = tuple ? p->values->as.list->v[p->used] : *p->values;
    p->used++;
    return true;
}

/* "*", digits or nothing; -1 where nothing is given. */
static bool percent_number(dlx_jx *x, percent *p, int64_t most, int64_t *out)
{
    const dlx_jv_string *f = p->format;
    dlx_jv v;
    *out = -1;
    if (p->at < f->n && f->p[p->at] == '*') {
        p->at++;
        return next_value(x, p, &v) && dlx_jx_need_int(x, &v, "*", out) &&
               (*out <= most || dlx_jx_fail(x, DLX_E_LIMIT, "a format is wider than %lld", (long long)most));
    }
    while (p->at < f->n && f->p[p->at] >= '0' && f->p[p->at] <= '9') {
        *out = (*out < 0 ? 0 : *out) * 10 + (f->p[p->at++] - '0');
        if (*out > most) return dlx_jx_fail(x, DLX_E_LIMIT, "a format is wider than %lld", (long long)most);
    }
    return true;
}

static bool percent_key(dlx_jx *x, percent *p, dlx_jv *value)
{
    const dlx_jv_string *f = p->format;
    dlx_jv key;
    size_t begin = ++p->at, depth = 1;
    for (; p->at < f->n; p->at++) {
        if (f->p[p->at] == '(') depth++;
        if (f->p[p->at] == ')' && --depth == 0) break;
    }
    if (p->at >= f->n) return dlx_jx_fail(x, DLX_E_INVALID, "incomplete format key");
    if (p->values->type != DLX_JV_DICT) return dlx_jx_fail(x, DLX_E_INVALID, "format requires a mapping");
    const dlx_jv *there;
    if (!dlx_jv_substring(x, f, begin, p->at, &key) || !dlx_jv_dict_get(x, p->values->as.dict, &key, &there))
        return false;
    if (!there) return dlx_jx_fail(x, DLX_E_INVALID, "a format names a key that is not there");
    *value = *there;
    p->at++;
    return true;
}

static bool percent_char(dlx_jx *x, dlx_jv_bytes *out, const spec *s, const dlx_jv *v)
{
    dlx_jv text = *v;
    if (v->type == DLX_JV_INT) {
        dlx_jv_bytes *b = dlx_jv_new_bytes(x);
        if (v->as.i < 0 || v->as.i > 0x10FFFF || (v->as.i >= 0xD800 && v->as.i <= 0xDFFF))
            return dlx_jx_fail(x, DLX_E_INVALID, "'%%c' needs a character");
        if (!b || !dlx_jv_bytes_char(x, b, (uint32_t)v->as.i, s->own && !v->foreign) ||
            !dlx_jv_bytes_end(x, b, 0, &text))
            return false;
    }
    if (text.type != DLX_JV_STRING || text.as.string->chars != 1)
        return dlx_jx_fail(x, DLX_E_INVALID, "'%%c' needs a character");
    return add_text(x, out, s, text.as.string);
}

static bool percent_value(dlx_jx *x, dlx_jv_bytes *out, spec *s, bool markup, const dlx_jv *v)
{
    digits d;
    char type = s->type;
    if (markup && strchr("cxXo", type)) return refuse(x, type, v); /* Python hides the value from these */
    if (type == 's' || type == 'r' || type == 'a') {
        dlx_jv_bytes *b = dlx_jv_new_bytes(x);
        dlx_jv text;
        if (type == 'a') return dlx_jx_fail(x, DLX_E_UNSUPPORTED, "'%%a' is not supported");
        bool safe = !markup || (type == 's' && v->type == DLX_JV_STRING && v->markup);
        return b && (type == 's' ? dlx_jv_print(x, b, v) : dlx_jv_repr(x, b, v)) && dlx_jv_bytes_end(x, b, 0, &text) &&
               (safe || dlx_jv_escape(x, text.as.string, &text)) && add_text(x, out, s, text.as.string);
    }
    if (type == 'c') return percent_char(x, out, s, v);
    if (v->type == DLX_JV_UNDEFINED && strchr("efgEFG", type)) return dlx_jx_fail_undefined(x, v);
    if (!dlx_jv_is_number(v)) return refuse(x, type, v);
    if (strchr("diuxXo", type)) {
        if (v->type == DLX_JV_FLOAT && strchr("xXo", type)) return refuse(x, type, v);
        if (!integer_digits(x, &d, s, v)) return false;
        for (; s->precision > (int64_t)d.n && d.n + 1 < sizeof d.text; d.n++) {
            memmove(d.text + 1, d.text, d.n);
            d.text[0] = '0';
        }
    } else if (strchr("eEfFgG", type)) {
        float_digits(&d, s, dlx_jv_to_double(v));
    } else {
        return dlx_jx_fail(x, DLX_E_INVALID, "unsupported format character '%c'", type);
    }
    return add_digits(x, out, s, &d, v->foreign);
}

static bool percent_one(dlx_jx *x, percent *p, dlx_jv_bytes *out)
{
    const dlx_jv_string *f = p->format;
    spec s = {.align = '>', .precision = -1};
    dlx_jv v = dlx_jv_absent();
    bool minus = false;
    size_t begin = p->at;
    if (p->at < f->n && f->p[p->at] == '(' && !percent_key(x, p, &v)) return false;
    for (; p->at < f->n && strchr("#0- +", f->p[p->at]) && f->p[p->at]; p->at++) {
        char c = f->p[p->at];
        s.alternate = s.alternate || c == '#';
        s.zero = s.zero || c == '0';
        minus = minus || c == '-';
        if (c == '+' || (c == ' ' && s.sign != '+')) s.sign = c;
    }
    if (!percent_number(x, p, MAX_WIDTH, &s.width)) return false;
    if (p->at < f->n && f->p[p->at] == '.') {
        p->at++;
        if (!percent_number(x, p, MAX_PRECISION, &s.precision)) return false;
        if (s.precision < 0) s.precision = 0;
    }
    while (p->at < f->n && strchr("hlL", f->p[p->at]) && f->p[p->at]) p->at++;
    if (p->at >= f->n) return dlx_jx_fail(x, DLX_E_INVALID, "incomplete format");
    s.type = f->p[p->at++];
    s.own = dlx_jv_is_own(f, begin, p->at);
    if (s.type == '%') return dlx_jv_bytes_text(x, out, "%", 1, s.own);
    if (minus) s.align = '<';
    if (s.zero && !minus && strchr("diuxXoeEfFgG", s.type)) s.align = '=';
    if (v.type == DLX_JV_ABSENT && !next_value(x, p, &v)) return false;
    return percent_value(x, out, &s, p->markup, &v);
}

bool dlx_jx_percent(dlx_jx *x, const dlx_jv *text, const dlx_jv *values, dlx_jv *out)
{
    const dlx_jv_string *format = text->as.string;
    percent p = {.format = format, .markup = text->markup, .values = values};
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    bool keys = false;
    if (!b) return false;
    while (p.at < format->n) {
        const char *next = memchr(format->p + p.at, '%', format->n - p.at);
        size_t end = next ? (size_t)(next - format->p) : format->n;
        if (!dlx_jv_bytes_add(x, b, format->p + p.at, format->own + p.at, end - p.at)) return false;
        p.at = end;
        if (!next) break;
        p.at++;
        keys = keys || (p.at < format->n && format->p[p.at] == '(');
        if (!dlx_jx_step(x, 1) || !percent_one(x, &p, b)) return false;
    }
    size_t given = values->type == DLX_JV_TUPLE ? values->as.list->n : 1;
    bool container = values->type == DLX_JV_DICT || values->type == DLX_JV_LIST || values->type == DLX_JV_RANGE ||
                     values->type == DLX_JV_UNDEFINED;
    if (p.used < given && !keys && !container)
        return dlx_jx_fail(x, DLX_E_INVALID, "not all arguments converted during string formatting");
    if (!dlx_jv_bytes_end(x, b, 0, out)) return false;
    out->markup = text->markup;
    return true;
}

/* ---- format() -----------------------------------------------------------------------------------------------------
 */

typedef struct formatter {
    bool markup;
    const dlx_jx_arguments *a;
    size_t next;        /* of the fields without a number */
    bool counts, names; /* fields without, with numbers were seen */
} formatter;

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *read_count(const char *p, const char *end, int64_t *out)
{
    int64_t v = 0;
    if (p < end && is_digit(*p)) *out = 0;
    for (; p < end && is_digit(*p); p++)
        if (v <= MAX_WIDTH) *out = v = v * 10 + (*p - '0');
    return p;
}

/* [[fill]align][sign][#][0][width][grouping][.precision][type] */
static bool read_spec(dlx_jx *x, spec *s, const char *p, const char *end)
{
    *s = (spec){.precision = -1, .width = -1};
    size_t first = 1;
    while (p + first < end && ((unsigned char)p[first] & 0xC0) == 0x80) first++;
    if (p + first < end && first <= 4 && strchr("<>^=", p[first]) && p[first]) {
        memcpy(s->fill, p, first);
        s->n_fill = first;
        s->align = p[first];
        p += first + 1;
    } else if (p < end && *p && strchr("<>^=", *p)) {
        s->align = *p++;
    }
    if (p < end && *p && strchr("+- ", *p)) s->sign = *p++;
    if (p < end && *p == '#') s->alternate = *p++ == '#';
    if (p < end && *p == '0') {
        s->zero = true;
        p++;
    }
    p = read_count(p, end, &s->width);
    if (p < end && (*p == ',' || *p == '_')) s->grouping = *p++;
    if (p < end && *p == '.') {
        const char *before = ++p;
        p = read_count(p, end, &s->precision);
        if (p == before) return dlx_jx_fail(x, DLX_E_INVALID, "format specifier missing precision");
    }
    if (p < end) s->type = *p++;
    if (p != end) return dlx_jx_fail(x, DLX_E_INVALID, "invalid format specifier");
    if (s->width > MAX_WIDTH || s->precision > MAX_PRECISION)
        return dlx_jx_fail(x, DLX_E_LIMIT, "a format is wider than %d or more precise than %d", MAX_WIDTH,
                           MAX_PRECISION);
    return true;
}

static bool format_number(dlx_jx *x, dlx_jv_bytes *out, spec *s, const dlx_jv *v)
{
    digits d;
    bool integer = v->type != DLX_JV_FLOAT && (s->type == 0 || strchr("dxXobn", s->type));
    if (s->type == 'c' || s->type == 'n')
        return dlx_jx_fail(x, DLX_E_UNSUPPORTED, "the format '%c' is not supported", s->type);
    if (integer) {
        if (s->precision >= 0)
            return dlx_jx_fail(x, DLX_E_INVALID, "precision not allowed in integer format specifier");
        if (!integer_digits(x, &d, s, v)) return false;
    } else {
        if (s->type && !strchr("eEfFgG%", s->type)) return refuse(x, s->type, v);
        float_digits(&d, s, dlx_jv_to_double(v));
    }
    if (s->grouping) {
        if (s->zero) return dlx_jx_fail(x, DLX_E_UNSUPPORTED, "groups of digits with leading zeros are not supported");
        group(&d, s->grouping);
    }
    return add_digits(x, out, s, &d, v->foreign);
}

/* The specification is [begin, end) of f. */
static bool format_value(dlx_jx *x, dlx_jv_bytes *out, const dlx_jv *v, const dlx_jv_string *f, size_t begin,
                         size_t end)
{
    spec s;
    dlx_jv text;
    if (begin == end) return dlx_jv_print(x, out, v);
    if (!read_spec(x, &s, f->p + begin, f->p + end)) return false;
    s.own = dlx_jv_is_own(f, begin, end);
    if (v->type == DLX_JV_STRING || v->type == DLX_JV_UNDEFINED) {
        if (v->type == DLX_JV_UNDEFINED || (s.type && s.type != 's') || s.sign || s.alternate || s.align == '=' ||
            s.grouping)
            return refuse(x, s.type, v);
        if (s.zero && !s.n_fill) {
            s.fill[0] = '0';
            s.n_fill = 1;
        }
        return add_text(x, out, &s, v->as.string);
    }
    if (v->type == DLX_JV_BOOL && !s.type) return dlx_jv_to_string(x, v, &text) && add_text(x, out, &s, text.as.string);
    if (!dlx_jv_is_number(v)) return refuse(x, s.type, v);
    return format_number(x, out, &s, v);
}

/* "name", "0" or "", then .attributes and [keys]. */
static bool find_field(dlx_jx *x, formatter *f, const dlx_jv_string *s, size_t begin, size_t end, dlx_jv *out)
{
    size_t at = begin;
    while (at < end && s->p[at] != '.' && s->p[at] != '[') at++;
    int64_t number = -1;
    bool digits_only = read_count(s->p + begin, s->p + at, &number) == s->p + at;
    if (at == begin || digits_only) {
        bool automatic = at == begin;
        f->counts = f->counts || automatic;
        f->names = f->names || !automatic;
        if (f->counts && f->names)
            return dlx_jx_fail(x, DLX_E_INVALID, "cannot switch between manual and automatic field numbering");
        size_t i = automatic ? f->next++ : (size_t)number;
        if (i >= f->a->n) return dlx_jx_fail(x, DLX_E_INVALID, "replacement index %zu out of range", i);
        *out = f->a->v[i];
    } else {
        size_t i = 0;
        while (i < f->a->n_keywords && (f->a->keywords[i].name->n != at - begin ||
                                        memcmp(f->a->keywords[i].name->p, s->p + begin, at - begin) != 0))
            i++;
        if (i == f->a->n_keywords) return dlx_jx_fail(x, DLX_E_INVALID, "a format names a value that is not there");
        *out = f->a->keywords[i].value;
    }
    while (at < end) {
        bool item = s->p[at++] == '[';
        size_t from = at;
        dlx_jv key, object = *out;
        while (at < end && (item ? s->p[at] != ']' : s->p[at] != '.' && s->p[at] != '[')) at++;
        if ((item && at >= end) || at == from) return dlx_jx_fail(x, DLX_E_INVALID, "a field of a format is malformed");
        number = -1;
        if (item && read_count(s->p + from, s->p + at, &number) == s->p + at)
            key = dlx_jv_int(number);
        else if (!dlx_jv_substring(x, s, from, at, &key))
            return false;
        at += item;
        if (!(item ? dlx_jx_item(x, &object, &key, out) : dlx_jx_attribute(x, &object, key.as.string, out)))
            return false;
    }
    return true;
}

/* One field, whose brackets are at begin - 1 and end. */
static bool format_field(dlx_jx *x, formatter *f, const dlx_jv_string *s, size_t begin, size_t end, dlx_jv_bytes *out)
{
    size_t name = begin, colon;
    char conversion = '\0';
    int brackets = 0;
    while (name < end && ((s->p[name] != '!' && s->p[name] != ':') || brackets)) {
        brackets += s->p[name] == '[';
        brackets -= s->p[name] == ']';
        name++;
    }
    colon = name;
    if (name < end && s->p[name] == '!') {
        if (name + 1 >= end) return dlx_jx_fail(x, DLX_E_INVALID, "a conversion of a format is malformed");
        conversion = s->p[name + 1];
        colon = name + 2;
        if (!strchr("rs", conversion) || (colon < end && s->p[colon] != ':'))
            return dlx_jx_fail(x, DLX_E_INVALID, "a conversion of a format is not !r or !s");
    }
    dlx_jv v, text;
    if (!find_field(x, f, s, begin, name, &v)) return false;
    if (colon < end && memchr(s->p + colon, '{', end - colon))
        return dlx_jx_fail(x, DLX_E_UNSUPPORTED, "nested fields of a format are not supported");
    if (conversion) {
        dlx_jv_bytes *b = dlx_jv_new_bytes(x);
        if (!b || !(conversion == 'r' ? dlx_jv_repr(x, b, &v) : dlx_jv_print(x, b, &v)) ||
            !dlx_jv_bytes_end(x, b, 0, &text))
            return false;
        v = text;
    }
    size_t from = colon < end ? colon + 1 : end;
    if (!f->markup) return format_value(x, out, &v, s, from, end);
    bool safe = v.type == DLX_JV_STRING && v.markup;
    if (safe && from < end) return dlx_jx_fail(x, DLX_E_INVALID, "markup cannot be printed by a format of its own");
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    return b && format_value(x, b, &v, s, from, end) && dlx_jv_bytes_end(x, b, 0, &text) &&
           (safe || dlx_jv_escape(x, text.as.string, &text)) && dlx_jv_bytes_string(x, out, text.as.string);
}

bool dlx_jx_format(dlx_jx *x, const dlx_jv *format, const dlx_jx_arguments *a, dlx_jv *out)
{
    const dlx_jv_string *s = format->as.string;
    formatter f = {.a = a, .markup = format->markup};
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    if (!b) return false;
    for (size_t i = 0; i < s->n; i++) {
        char c = s->p[i];
        if (!dlx_jx_step(x, 1)) return false;
        if ((c == '{' || c == '}') && i + 1 < s->n && s->p[i + 1] == c) {
            if (!dlx_jv_bytes_add(x, b, s->p + i, s->own + i, 1)) return false;
            i++;
        } else if (c == '}') {
            return dlx_jx_fail(x, DLX_E_INVALID, "single '}' encountered in format string");
        } else if (c == '{') {
            size_t end = i + 1;
            for (int depth = 1; end < s->n; end++) {
                depth += s->p[end] == '{';
                depth -= s->p[end] == '}';
                if (depth == 0) break;
            }
            if (end >= s->n) return dlx_jx_fail(x, DLX_E_INVALID, "single '{' encountered in format string");
            if (!format_field(x, &f, s, i + 1, end, b)) return false;
            i = end;
        } else if (!dlx_jv_bytes_add(x, b, s->p + i, s->own + i, 1)) {
            return false;
        }
    }
    if (!dlx_jv_bytes_end(x, b, 0, out)) return false;
    out->markup = format->markup;
    return true;
}
