/* Filters of single values; those of sequences are in filters_lists.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/names.h"
#include "text/jinja/run.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

/* str(v), which these filters begin with. */
static bool text_of(dlx_jx *x, const dlx_jv *v, const dlx_jv_string **out)
{
    dlx_jv text;
    if (!dlx_jv_to_string(x, v, &text)) return false;
    *out = text.as.string;
    return true;
}

static bool filter_default(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    bool missing = v->type == DLX_JV_UNDEFINED || (dlx_jv_truth(&a[1]) && !dlx_jv_truth(v));
    *out = *v;
    if (!missing) return true;
    *out = a[0];
    return a[0].type != DLX_JV_ABSENT || dlx_jv_text(x, "", 0, true, out);
}

static bool filter_escape(dlx_jx *x, const dlx_jv *v, bool force, dlx_jv *out)
{
    const dlx_jv_string *s;
    if (v->type == DLX_JV_STRING && v->markup && !force) {
        *out = *v;
        return true;
    }
    return text_of(x, v, &s) && dlx_jv_escape(x, s, out);
}

static bool filter_replace(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *s, *old, *by;
    int64_t count = -1;
    return text_of(x, v, &s) && text_of(x, &a[0], &old) && text_of(x, &a[1], &by) &&
           (!dlx_jv_is_given(&a[2]) || dlx_jx_need_int(x, &a[2], "replace", &count)) &&
           dlx_jv_replace(x, s, old, by, count, out);
}

static bool filter_trim(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *s, *set = NULL;
    return text_of(x, v, &s) && (!dlx_jv_is_given(&a[0]) || dlx_jx_need_string(x, &a[0], "trim", &set)) &&
           dlx_jv_strip(x, s, set, true, true, out);
}

static bool filter_center(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *s;
    int64_t width = 80;
    if (!text_of(x, v, &s) || (a[0].type != DLX_JV_ABSENT && !dlx_jx_need_int(x, &a[0], "center", &width)))
        return false;
    int64_t missing = width - (int64_t)s->chars;
    if (missing <= 0) return dlx_jv_substring(x, s, 0, s->n, out);
    int64_t left = missing / 2 + (missing & width & 1);
    return dlx_jv_pad(x, s, left, missing - left, NULL, out);
}

/* ---- indent, truncate ---------------------------------------------------------------------------------------------
 */

static bool filter_indent(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *s;
    dlx_jv by, whole, newline;
    dlx_jv_list *lines;
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    int64_t width = 4;
    bool first = dlx_jv_truth(&a[1]), blank = dlx_jv_truth(&a[2]);
    if (!b || !dlx_jx_need_string(x, v, "indent", &s) || !dlx_jv_text(x, "\n", 1, true, &newline)) return false;
    if (a[0].type == DLX_JV_STRING) {
        by = a[0];
    } else {
        if ((a[0].type != DLX_JV_ABSENT && !dlx_jx_need_int(x, &a[0], "indent", &width)) ||
            !dlx_jv_blanks(x, width, &by))
            return false;
    }
    /* With a line break added, so that one at the end stays. */
    if (!dlx_jv_concat(x, s, newline.as.string, &whole) || !dlx_jv_splitlines(x, whole.as.string, false, &lines))
        return false;
    for (size_t i = 0; i < lines->n; i++) {
        const dlx_jv_string *line = lines->v[i].as.string;
        bool indented = i == 0 ? first : blank || line->n > 0;
        if ((i && !dlx_jv_bytes_string(x, b, newline.as.string)) ||
            (indented && !dlx_jv_bytes_string(x, b, by.as.string)) || !dlx_jv_bytes_string(x, b, line))
            return false;
    }
    return dlx_jv_bytes_end(x, b, 0, out);
}

static bool filter_truncate(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *s, *end;
    dlx_jv dots, cut;
    int64_t length = 255, leeway = 5;
    *out = *v;
    if (v->type == DLX_JV_UNDEFINED) return true; /* which has no characters */
    if (!dlx_jx_need_string(x, v, "truncate", &s) || !dlx_jv_text(x, "...", 3, true, &dots) ||
        (a[0].type != DLX_JV_ABSENT && !dlx_jx_need_int(x, &a[0], "truncate", &length)) ||
        !dlx_jx_need_string(x, a[2].type == DLX_JV_ABSENT ? &dots : &a[2], "truncate", &end) ||
        (dlx_jv_is_given(&a[3]) && !dlx_jx_need_int(x, &a[3], "truncate", &leeway)))
        return false;
    if (length < (int64_t)end->chars || leeway < 0)
        return dlx_jx_fail(x, DLX_E_INVALID, "'truncate' needs a length of at least %zu and a leeway of at least 0",
                           end->chars);
    *out = *v;
    if ((int64_t)s->chars <= length || (int64_t)s->chars - length <= leeway) return true;
    size_t keep = dlx_jv_offset(s, (size_t)(length - (int64_t)end->chars));
    if (!dlx_jv_truth(&a[1])) { /* whole words */
        size_t blank = keep;
        while (blank > 0 && s->p[blank - 1] != ' ') blank--;
        if (blank > 0) keep = blank - 1;
    }
    return dlx_jv_substring(x, s, 0, keep, &cut) && dlx_jv_concat(x, cut.as.string, end, out);
}

static bool filter_wordcount(dlx_jx *x, const dlx_jv *v, dlx_jv *out)
{
    const dlx_jv_string *s;
    int64_t count = 0;
    bool inside = false;
    if (!text_of(x, v, &s) || !dlx_jx_step(x, s->n / 8)) return false;
    for (size_t i = 0; i < s->n;) {
        uint32_t c;
        i += dlx_utf8_next(s->p + i, s->n - i, &c);
        bool word = c == '_' || dlx_jinja_is(DLX_JINJA_IS_ALPHA, c) || dlx_jinja_is(DLX_JINJA_IS_DECIMAL, c) ||
                    dlx_jinja_is(DLX_JINJA_IS_DIGIT, c) || dlx_jinja_is(DLX_JINJA_IS_NUMERIC, c);
        count += word && !inside;
        inside = word;
    }
    *out = dlx_jv_int(count);
    return true;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------
 */

/* Text without white space around it and without a sign; false when nothing is left. */
static bool number_text(dlx_jx *x, const dlx_jv_string *s, bool *negative, const char **p, const char **end, bool *fine)
{
    dlx_jv stripped;
    if (!dlx_jv_strip(x, s, NULL, true, true, &stripped)) return false;
    *p = stripped.as.string->p;
    *end = *p + stripped.as.string->n;
    *negative = *p < *end && **p == '-';
    if (*p < *end && (**p == '-' || **p == '+')) ++*p;
    *fine = *p < *end;
    return true;
}

/* int(text, base) of Python. *fine: whether it is one; fails when it is, but does not fit. */
static bool parse_int(dlx_jx *x, const dlx_jv_string *s, int64_t base, int64_t *out, bool *fine)
{
    const char *p, *end;
    bool negative, overflow = false;
    uint64_t v = 0;
    if (!number_text(x, s, &negative, &p, &end, fine) || !*fine) return x->status == DLX_OK;
    static const char letters[] = "bBoOxX";
    const char *letter = end - p > 2 && p[0] == '0' && p[1] ? strchr(letters, p[1]) : NULL;
    int64_t prefix = letter ? (int64_t[]){2, 2, 8, 8, 16, 16}[letter - letters] : 0;
    if (prefix && (base == prefix || base == 0)) {
        p += 2 + (p[2] == '_');
        base = prefix;
    } else if (base == 0) {
        base = 10;
        for (const char *q = p; *p == '0' && q < end; q++)
            if (*q != '0' && *q != '_') *fine = false;
    }
    for (bool digit = false; p < end; p++) {
        if (*p == '_' && digit && p + 1 < end) {
            digit = false;
            continue;
        }
        if (dlx_jinja_digit(*p) >= base) *fine = false;
        if (!*fine) return true;
        digit = true;
        overflow = overflow || __builtin_mul_overflow(v, (uint64_t)base, &v) ||
                   __builtin_add_overflow(v, (uint64_t)dlx_jinja_digit(*p), &v);
    }
    if (overflow || v > (uint64_t)INT64_MAX) return dlx_jx_fail(x, DLX_E_LIMIT, "an integer does not fit into 64 bits");
    *out = negative ? -(int64_t)v : (int64_t)v;
    return true;
}

static bool same_word(const char *p, const char *end, const char *word)
{
    for (; p < end && *word; p++, word++)
        if ((*p | 0x20) != *word) return false;
    return p == end && !*word;
}

/* float(text) of Python. */
static bool parse_float(dlx_jx *x, const dlx_jv_string *s, double *out, bool *fine)
{
    const char *p, *end;
    char digits[1024];
    size_t n = 0;
    bool negative, any = false, dot = false, exponent = false;
    if (!number_text(x, s, &negative, &p, &end, fine) || !*fine) return x->status == DLX_OK;
    if (same_word(p, end, "nan") || same_word(p, end, "inf") || same_word(p, end, "infinity")) {
        *out = same_word(p, end, "nan") ? NAN : negative ? -INFINITY : INFINITY;
        return true;
    }
    for (const char *q = p; q < end && *fine; q++) {
        bool digit = *q >= '0' && *q <= '9', between = q > p && q + 1 < end;
        if (digit) {
            any = true;
        } else if (*q == '.' && !dot && !exponent) {
            dot = true;
        } else if ((*q == 'e' || *q == 'E') && any && !exponent && q + 1 < end) {
            exponent = true;
            if ((q[1] == '+' || q[1] == '-') && q + 2 < end && n + 2 < sizeof digits) digits[n++] = *q++;
        } else if (!(*q == '_' && between && q[-1] >= '0' && q[-1] <= '9' && q[1] >= '0' && q[1] <= '9')) {
            *fine = false;
        }
        if (*q != '_' && n < sizeof digits) digits[n++] = *q;
    }
    *fine = *fine && any && n < sizeof digits;
    if (*fine) *out = dlx_jinja_parse_float(digits, digits + n);
    if (*fine && negative) *out = -*out;
    return true;
}

static bool float_to_int(dlx_jx *x, double f, dlx_jv *out)
{
    if (!(f > -9223372036854775808.0 && f < 9223372036854775808.0))
        return dlx_jx_fail(x, DLX_E_LIMIT, "an integer does not fit into 64 bits");
    *out = dlx_jv_int((int64_t)f);
    return true;
}

static bool filter_int(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    int64_t base = 10, i = 0;
    double f = 0;
    bool fine = false;
    if (a[1].type != DLX_JV_ABSENT && !dlx_jx_need_int(x, &a[1], "int", &base)) return false;
    if (v->type == DLX_JV_UNDEFINED) return dlx_jx_fail_undefined(x, v);
    *out = a[0].type != DLX_JV_ABSENT ? a[0] : dlx_jv_int(0);
    if (dlx_jv_is_int(v)) {
        *out = dlx_jv_int(dlx_jv_to_int(v));
    } else if (v->type == DLX_JV_FLOAT) {
        if (isinf(v->as.f)) return dlx_jx_fail(x, DLX_E_INVALID, "infinity is no integer");
        if (!isnan(v->as.f) && !float_to_int(x, v->as.f, out)) return false;
    } else if (v->type == DLX_JV_BIG) {
        *out = *v;
    } else if (v->type == DLX_JV_STRING) {
        if (base != 0 && (base < 2 || base > 36)) return true; /* ValueError */
        if (!parse_int(x, v->as.string, base, &i, &fine)) return false;
        if (fine)
            *out = dlx_jv_int(i);
        else if (!parse_float(x, v->as.string, &f, &fine) ||
                 (fine && !isnan(f) && !isinf(f) && !float_to_int(x, f, out)))
            return false;
    }
    out->foreign = v->foreign || v->type == DLX_JV_STRING;
    return true;
}

static bool filter_float(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    double f = 0;
    bool fine = false;
    if (v->type == DLX_JV_UNDEFINED) return dlx_jx_fail_undefined(x, v);
    *out = a[0].type != DLX_JV_ABSENT ? a[0] : dlx_jv_float(0);
    if (dlx_jv_is_number(v)) {
        *out = dlx_jv_float(dlx_jv_to_double(v));
    } else if (v->type == DLX_JV_STRING) {
        if (!parse_float(x, v->as.string, &f, &fine)) return false;
        if (fine) *out = dlx_jv_float(f);
    } else if (v->type == DLX_JV_BIG) {
        const dlx_jv_string *s = v->as.string;
        *out = dlx_jv_float(dlx_jinja_parse_float(s->p, s->p + s->n));
    }
    out->foreign = v->foreign || v->type == DLX_JV_STRING;
    return true;
}

/* Half to even, on the decimal digits that the float stands for. */
static double round_to(double v, int digits)
{
    char text[512];
    if (digits < 0) {
        double unit = pow(10, -digits), q = v / unit, r = nearbyint(q);
        return r * unit;
    }
    if (digits > 22 || fabs(v) > 1e22) return v;
    size_t n = dlx_jinja_format_float(text, sizeof text, 'f', false, digits, v);
    return dlx_jinja_parse_float(text, text + n);
}

static bool filter_round(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    int64_t precision = 0;
    bool up = dlx_jv_is_text(&a[1], "ceil"), down = dlx_jv_is_text(&a[1], "floor");
    if (a[1].type != DLX_JV_ABSENT && !up && !down && !dlx_jv_is_text(&a[1], "common"))
        return dlx_jx_fail(x, DLX_E_INVALID, "the method of 'round' must be common, ceil or floor");
    if (a[0].type != DLX_JV_ABSENT && !dlx_jx_need_int(x, &a[0], "round", &precision)) return false;
    if (v->type == DLX_JV_UNDEFINED) return dlx_jx_fail_undefined(x, v);
    if (!dlx_jv_is_number(v))
        return dlx_jx_fail(x, DLX_E_INVALID, "'round' needs a number, not %s", dlx_jv_type_name(v));
    if (precision < -300 || precision > 300)
        return dlx_jx_fail(x, DLX_E_INVALID, "'round' to %lld digits is not supported", (long long)precision);
    double f = dlx_jv_to_double(v);
    if (up || down) {
        double unit = pow(10, (double)precision), scaled = f * unit;
        *out = dlx_jv_float((up ? ceil(scaled) : floor(scaled)) / unit);
    } else if (v->type != DLX_JV_FLOAT) { /* round(int, n) is an int */
        int64_t i = dlx_jv_to_int(v), unit = 1;
        for (int64_t k = precision; k < 0 && unit < INT64_MAX / 10; k++) unit *= 10;
        int64_t rest = ((i % unit) + unit) % unit, low = i - rest;
        bool raise = rest > unit / 2 || (rest * 2 == unit && (low / unit) % 2 != 0);
        *out = dlx_jv_int(low + (raise && unit > 1 ? unit : 0));
    } else {
        *out = dlx_jv_float(round_to(f, (int)precision));
    }
    out->foreign = v->foreign;
    return true;
}

static bool filter_abs(dlx_jx *x, const dlx_jv *v, dlx_jv *out)
{
    if (v->type == DLX_JV_FLOAT) {
        *out = dlx_jv_float(fabs(v->as.f));
        out->foreign = v->foreign;
        return true;
    }
    bool negative = v->type == DLX_JV_INT && v->as.i < 0;
    return dlx_jv_negate(x, v, negative, out);
}

/* ---- the table ----------------------------------------------------------------------------------------------------
 */

/* Parameters and how many of them must be given; NULL: the filter takes what it gets. */
static const struct {
    const char *parameters;
    size_t needed;
} signatures[DLX_JINJA_FILTERS] = {
    [DLX_JINJA_FILTER_ABS] = {"", 0},
    [DLX_JINJA_FILTER_ATTR] = {"name", 1},
    [DLX_JINJA_FILTER_CAPITALIZE] = {"", 0},
    [DLX_JINJA_FILTER_CENTER] = {"width", 0},
    [DLX_JINJA_FILTER_DEFAULT] = {"default_value boolean", 0},
    [DLX_JINJA_FILTER_ESCAPE] = {"", 0},
    [DLX_JINJA_FILTER_FLOAT] = {"default", 0},
    [DLX_JINJA_FILTER_FORCEESCAPE] = {"", 0},
    [DLX_JINJA_FILTER_INDENT] = {"width first blank", 0},
    [DLX_JINJA_FILTER_INT] = {"default base", 0},
    [DLX_JINJA_FILTER_LOWER] = {"", 0},
    [DLX_JINJA_FILTER_REPLACE] = {"old new count", 2},
    [DLX_JINJA_FILTER_ROUND] = {"precision method", 0},
    [DLX_JINJA_FILTER_SAFE] = {"", 0},
    [DLX_JINJA_FILTER_STRING] = {"", 0},
    [DLX_JINJA_FILTER_TITLE] = {"", 0},
    [DLX_JINJA_FILTER_TRIM] = {"chars", 0},
    [DLX_JINJA_FILTER_TRUNCATE] = {"length killwords end leeway", 0},
    [DLX_JINJA_FILTER_UPPER] = {"", 0},
    [DLX_JINJA_FILTER_WORDCOUNT] = {"", 0},
};

static bool change_case(dlx_jx *x, const dlx_jv *v, int how, dlx_jv *out)
{
    const dlx_jv_string *s;
    return text_of(x, v, &s) && dlx_jv_change_case(x, s, how, out);
}

static bool run_filter(dlx_jx *x, int filter, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    switch (filter) {
    case DLX_JINJA_FILTER_ABS: return filter_abs(x, v, out);
    case DLX_JINJA_FILTER_ATTR:
        if (a[0].type != DLX_JV_STRING) return dlx_jx_fail(x, DLX_E_INVALID, "'attr' needs a name");
        return dlx_jx_own_attribute(x, v, a[0].as.string, out);
    case DLX_JINJA_FILTER_CAPITALIZE: return change_case(x, v, DLX_JV_CAPITALIZE, out);
    case DLX_JINJA_FILTER_CENTER: return filter_center(x, v, a, out);
    case DLX_JINJA_FILTER_DEFAULT: return filter_default(x, v, a, out);
    case DLX_JINJA_FILTER_ESCAPE: return filter_escape(x, v, false, out);
    case DLX_JINJA_FILTER_FLOAT: return filter_float(x, v, a, out);
    case DLX_JINJA_FILTER_FORCEESCAPE: return filter_escape(x, v, true, out);
    case DLX_JINJA_FILTER_INDENT: return filter_indent(x, v, a, out);
    case DLX_JINJA_FILTER_INT: return filter_int(x, v, a, out);
    case DLX_JINJA_FILTER_LOWER: return change_case(x, v, DLX_JV_LOWER, out);
    case DLX_JINJA_FILTER_REPLACE: return filter_replace(x, v, a, out);
    case DLX_JINJA_FILTER_ROUND: return filter_round(x, v, a, out);
    case DLX_JINJA_FILTER_SAFE:
        if (!dlx_jv_to_string(x, v, out)) return false;
        out->markup = true;
        return true;
    case DLX_JINJA_FILTER_STRING: return dlx_jv_to_string(x, v, out);
    case DLX_JINJA_FILTER_TITLE: return change_case(x, v, DLX_JV_FILTER_TITLE, out);
    case DLX_JINJA_FILTER_TRIM: return filter_trim(x, v, a, out);
    case DLX_JINJA_FILTER_TRUNCATE: return filter_truncate(x, v, a, out);
    case DLX_JINJA_FILTER_UPPER: return change_case(x, v, DLX_JV_UPPER, out);
    default: return filter_wordcount(x, v, out);
    }
}

/* "text" | format(values) */
static bool filter_format(dlx_jx *x, const dlx_jv *v, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv values, s;
    if (!dlx_jv_to_string(x, v, &s)) return false;
    if (a->n && a->n_keywords) return dlx_jx_fail(x, DLX_E_INVALID, "'format' takes values or names, not both");
    if (a->n_keywords) {
        dlx_jv_dict *d;
        if (!dlx_jv_new_dict(x, &d)) return false;
        for (size_t i = 0; i < a->n_keywords; i++) {
            dlx_jv key = {.type = DLX_JV_STRING, .as.string = a->keywords[i].name};
            if (!dlx_jv_dict_add(x, d, key, a->keywords[i].value)) return false;
        }
        values = (dlx_jv){.type = DLX_JV_DICT, .as.dict = d};
    } else {
        dlx_jv_list *list;
        if (!dlx_jv_new_list(x, a->n, &list)) return false;
        for (size_t i = 0; i < a->n; i++)
            if (!dlx_jv_push(x, list, a->v[i])) return false;
        values = dlx_jv_of_list(list, true);
    }
    return dlx_jx_percent(x, &s, &values, out);
}

bool dlx_jx_filter(dlx_jx *x, int filter, const dlx_jv *v, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv bound[4] = {dlx_jv_absent(), dlx_jv_absent(), dlx_jv_absent(), dlx_jv_absent()};
    if (!dlx_jx_step(x, 1)) return false;
    if (filter == DLX_JINJA_FILTER_TOJSON) return dlx_jx_tojson(x, v, a, out);
    if (filter == DLX_JINJA_FILTER_FORMAT) return filter_format(x, v, a, out);
    if (!signatures[filter].parameters) return dlx_jx_list_filter(x, filter, v, a, out);
    return dlx_jx_bind(x, a, dlx_jinja_filter_name(filter), signatures[filter].parameters, signatures[filter].needed,
                       bound) &&
           run_filter(x, filter, v, bound, out);
}
