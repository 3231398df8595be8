/* Operators of Python: numbers, joining and repeating sequences, slices. */
#include <math.h>
#include <string.h>

#include "text/jinja/run.h"

static bool too_large(dlx_jx *x)
{
    return dlx_jx_fail(x, DLX_E_LIMIT, "an integer does not fit into 64 bits");
}

static bool divided_by_zero(dlx_jx *x)
{
    return dlx_jx_fail(x, DLX_E_INVALID, "division by zero");
}

static bool power_of_ints(dlx_jx *x, int64_t base, int64_t exponent, dlx_jv *out)
{
    if (exponent < 0) {
        if (base == 0) return divided_by_zero(x);
        *out = dlx_jv_float(pow((double)base, (double)exponent));
        return true;
    }
    int64_t result = 1;
    for (bool overflow = false; exponent; exponent >>= 1) {
        if (overflow || ((exponent & 1) && __builtin_mul_overflow(result, base, &result))) return too_large(x);
        overflow = exponent > 1 && __builtin_mul_overflow(base, base, &base);
    }
    *out = dlx_jv_int(result);
    return true;
}

static bool ints(dlx_jx *x, int operation, int64_t a, int64_t b, dlx_jv *out)
{
    int64_t r = 0;
    bool overflow = false;
    switch (operation) {
    case DLX_JINJA_ADD: overflow = __builtin_add_overflow(a, b, &r); break;
    case DLX_JINJA_SUB: overflow = __builtin_sub_overflow(a, b, &r); break;
    case DLX_JINJA_MUL: overflow = __builtin_mul_overflow(a, b, &r); break;
    case DLX_JINJA_DIV:
        if (b == 0) return divided_by_zero(x);
        *out = dlx_jv_float((double)((long double)a / (long double)b));
        return true;
    case DLX_JINJA_FLOORDIV:
        if (b == 0) return divided_by_zero(x);
        if (a == INT64_MIN && b == -1) return too_large(x);
        r = a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
        break;
    case DLX_JINJA_MOD:
        if (b == 0) return divided_by_zero(x);
        r = b == -1 ? 0 : a % b;
        if (r != 0 && ((r < 0) != (b < 0))) r += b;
        break;
    default: return power_of_ints(x, a, b, out);
    }
    if (overflow) return too_large(x);
    *out = dlx_jv_int(r);
    return true;
}

static bool floats(dlx_jx *x, int operation, double a, double b, dlx_jv *out)
{
    double r;
    switch (operation) {
    case DLX_JINJA_ADD: r = a + b; break;
    case DLX_JINJA_SUB: r = a - b; break;
    case DLX_JINJA_MUL: r = a * b; break;
    case DLX_JINJA_DIV:
        if (b == 0) return divided_by_zero(x);
        r = a / b;
        break;
    case DLX_JINJA_FLOORDIV:
    case DLX_JINJA_MOD: {
        if (b == 0) return divided_by_zero(x);
        double remainder = fmod(a, b), quotient = (a - remainder) / b;
        if (remainder != 0 && ((b < 0) != (remainder < 0))) {
            remainder += b;
            quotient -= 1;
        } else if (remainder == 0) {
            remainder = copysign(0, b);
        }
        double whole = quotient == 0 ? copysign(0, a / b) : floor(quotient);
        if (quotient - whole > 0.5) whole += 1;
        r = operation == DLX_JINJA_MOD ? remainder : whole;
        break;
    }
    default:
        if (a == 0 && b < 0) return divided_by_zero(x);
        if (a < 0 && b != floor(b)) return dlx_jx_fail(x, DLX_E_INVALID, "a power is a complex number");
        r = pow(a, b);
        if (isinf(r) && isfinite(a) && isfinite(b)) return dlx_jx_fail(x, DLX_E_INVALID, "a power is too large");
    }
    *out = dlx_jv_float(r);
    return true;
}

static bool join_lists(dlx_jx *x, const dlx_jv *a, const dlx_jv *b, dlx_jv *out)
{
    const dlx_jv_list *l = a->as.list, *m = b->as.list;
    dlx_jv_list *joined;
    if (l->n && l->items->used == l->n && l->items != m->items) { /* in place: nothing follows what a has */
        if (!(joined = dlx_jx_alloc(x, sizeof *joined))) return false;
        *joined = *l;
    } else {
        if (!dlx_jv_new_list(x, l->n + m->n, &joined)) return false;
        for (size_t i = 0; i < l->n; i++)
            if (!dlx_jv_push(x, joined, l->v[i])) return false;
    }
    for (size_t i = 0; i < m->n; i++)
        if (!dlx_jv_push(x, joined, m->v[i])) return false;
    *out = dlx_jv_of_list(joined, a->type == DLX_JV_TUPLE);
    out->foreign = a->foreign && b->foreign;
    return true;
}

static bool join_strings(dlx_jx *x, const dlx_jv *a, const dlx_jv *b, dlx_jv *out)
{
    dlx_jv p = *a, q = *b;
    bool markup = a->markup || b->markup;
    if (markup &&
        ((!a->markup && !dlx_jv_escape(x, a->as.string, &p)) || (!b->markup && !dlx_jv_escape(x, b->as.string, &q))))
        return false;
    if (!dlx_jv_concat(x, p.as.string, q.as.string, out)) return false;
    out->markup = markup;
    return true;
}

static bool repeat(dlx_jx *x, const dlx_jv *v, int64_t times, dlx_jv *out)
{
    if (times < 0) times = 0;
    if (v->type == DLX_JV_STRING) {
        dlx_jv_bytes *b = dlx_jv_new_bytes(x);
        if (!b || (v->as.string->n && times > DLX_JX_MAX_MEMORY))
            return b && dlx_jx_fail(x, DLX_E_LIMIT, "a text is repeated %lld times", (long long)times);
        for (int64_t i = 0; i < times && v->as.string->n; i++)
            if (!dlx_jx_step(x, 1) || !dlx_jv_bytes_string(x, b, v->as.string)) return false;
        if (!dlx_jv_bytes_end(x, b, 0, out)) return false;
        out->markup = v->markup;
        return true;
    }
    dlx_jv_list *list;
    if (!dlx_jv_new_list(x, 0, &list)) return false;
    for (int64_t i = 0; i < times && v->as.list->n; i++)
        for (size_t k = 0; k < v->as.list->n; k++)
            if (!dlx_jv_push(x, list, v->as.list->v[k])) return false;
    *out = dlx_jv_of_list(list, v->type == DLX_JV_TUPLE);
    out->foreign = v->foreign;
    return true;
}

static bool is_repeatable(const dlx_jv *v)
{
    return v->type == DLX_JV_STRING || v->type == DLX_JV_LIST || v->type == DLX_JV_TUPLE;
}

bool dlx_jv_arithmetic(dlx_jx *x, int operation, const dlx_jv *a, const dlx_jv *b, dlx_jv *out)
{
    static const char *const names[] = {"+", "-", "*", "/", "//", "%", "**"};
    if (dlx_jv_is_number(a) && dlx_jv_is_number(b)) {
        bool fine = dlx_jv_is_int(a) && dlx_jv_is_int(b)
                        ? ints(x, operation, dlx_jv_to_int(a), dlx_jv_to_int(b), out)
                        : floats(x, operation, dlx_jv_to_double(a), dlx_jv_to_double(b), out);
        out->foreign = a->foreign || b->foreign;
        return fine;
    }
    if (operation == DLX_JINJA_MOD && a->type == DLX_JV_STRING) return dlx_jx_percent(x, a, b, out);
    if (a->type == DLX_JV_UNDEFINED) return dlx_jx_fail_undefined(x, a);
    if (b->type == DLX_JV_UNDEFINED) return dlx_jx_fail_undefined(x, b);
    if (a->type == DLX_JV_BIG || b->type == DLX_JV_BIG) return too_large(x);
    if (operation == DLX_JINJA_ADD && a->type == b->type) {
        if (a->type == DLX_JV_STRING) return join_strings(x, a, b, out);
        if (a->type == DLX_JV_LIST || a->type == DLX_JV_TUPLE) return join_lists(x, a, b, out);
    }
    if (operation == DLX_JINJA_MUL && is_repeatable(a) && dlx_jv_is_int(b)) return repeat(x, a, dlx_jv_to_int(b), out);
    if (operation == DLX_JINJA_MUL && is_repeatable(b) && dlx_jv_is_int(a)) return repeat(x, b, dlx_jv_to_int(a), out);
    return dlx_jx_fail(x, DLX_E_INVALID, "'%s' cannot be used on %s and %s", names[operation], dlx_jv_type_name(a),
                       dlx_jv_type_name(b));
}

bool dlx_jv_negate(dlx_jx *x, const dlx_jv *v, bool minus, dlx_jv *out)
{
    if (v->type == DLX_JV_UNDEFINED) {
        return dlx_jx_fail_undefined(x, v);
    } else if (v->type == DLX_JV_FLOAT) {
        *out = dlx_jv_float(minus ? -v->as.f : v->as.f);
    } else if (dlx_jv_is_int(v)) {
        int64_t i = dlx_jv_to_int(v);
        if (minus && i == INT64_MIN) return too_large(x);
        *out = dlx_jv_int(minus ? -i : i);
    } else {
        return dlx_jx_fail(x, DLX_E_INVALID, "a value of type %s has no sign", dlx_jv_type_name(v));
    }
    out->foreign = v->foreign;
    return true;
}

/* ---- slices -------------------------------------------------------------------------------------------------------
 */

static bool slice_part(dlx_jx *x, const dlx_jv *v, bool *given, int64_t *out)
{
    *given = dlx_jv_is_given(v);
    if (!*given) return true;
    if (!dlx_jv_is_int(v)) return dlx_jx_fail(x, DLX_E_INVALID, "a slice needs integers, not %s", dlx_jv_type_name(v));
    *out = dlx_jv_to_int(v);
    return true;
}

static int64_t clamp(int64_t v, int64_t n, int64_t low, int64_t high)
{
    if (v < 0) v += n;
    return v < low ? low : v > high ? high : v;
}

static bool slice_string(dlx_jx *x, const dlx_jv_string *s, int64_t start, int64_t step, size_t count, dlx_jv *out)
{
    if (step == 1 || count == 0)
        return dlx_jv_substring(x, s, count ? dlx_jv_offset(s, (size_t)start) : 0,
                                count ? dlx_jv_offset(s, (size_t)start + count) : 0, out);
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    dlx_jv whole = {.type = DLX_JV_STRING, .as.string = s}, c;
    for (size_t i = 0; i < count && b; i++)
        if (!dlx_jv_element(x, &whole, (size_t)(start + (int64_t)i * step), &c) ||
            !dlx_jv_bytes_string(x, b, c.as.string))
            return false;
    return b && dlx_jv_bytes_end(x, b, 0, out);
}

bool dlx_jv_slice(dlx_jx *x, const dlx_jv *v, const dlx_jv parts[3], dlx_jv *out)
{
    int64_t start = 0, stop = 0, step = 1;
    bool has_start, has_stop, has_step;
    size_t length, count = 0;
    if (!slice_part(x, &parts[0], &has_start, &start) || !slice_part(x, &parts[1], &has_stop, &stop) ||
        !slice_part(x, &parts[2], &has_step, &step) || !dlx_jv_length(x, v, &length))
        return false;
    if (has_step && step == 0) return dlx_jx_fail(x, DLX_E_INVALID, "the step of a slice is 0");
    int64_t n = (int64_t)length, low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    start = has_start ? clamp(start, n, low, high) : step < 0 ? high : low;
    stop = has_stop ? clamp(stop, n, low, high) : step < 0 ? low : high;
    if (step > n) step = n + 1;
    if (step < -n) step = -n - 1;
    if (step > 0 && start < stop) count = (size_t)((stop - start - 1) / step + 1);
    if (step < 0 && start > stop) count = (size_t)((start - stop - 1) / -step + 1);
    if (v->type == DLX_JV_STRING) {
        if (!slice_string(x, v->as.string, start, step, count, out)) return false;
        out->markup = v->markup;
        return true;
    }
    dlx_jv_list *list;
    dlx_jv item;
    if (v->type == DLX_JV_RANGE) {
        dlx_jv_range *r = dlx_jx_alloc(x, sizeof *r);
        if (!r) return false;
        const dlx_jv_range *from = v->as.range;
        *r =
            (dlx_jv_range){from->start + start * from->step, from->start + stop * from->step, from->step * step, count};
        *out = (dlx_jv){.type = DLX_JV_RANGE, .as.range = r};
        return true;
    }
    if (!dlx_jv_new_list(x, count, &list)) return false;
    for (size_t i = 0; i < count; i++)
        if (!dlx_jv_element(x, v, (size_t)(start + (int64_t)i * step), &item) || !dlx_jv_push(x, list, item))
            return false;
    *out = dlx_jv_of_list(list, v->type == DLX_JV_TUPLE);
    out->foreign = v->foreign;
    return true;
}
