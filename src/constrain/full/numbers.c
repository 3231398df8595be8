/* Digits between bounds: by length, then digit by digit while they are those of a bound. */
#include "constrain/full/numbers.h"

#include "base/sizes.h"

enum { MOST_DIGITS = 19 };

static const dlx_expr *digits(dlx_arena *a, int low, int high)
{
    const dlx_code_range r = {(uint32_t)('0' + low), (uint32_t)('0' + high)};
    return dlx_expr_set(a, &r, low <= high);
}

static const dlx_expr *cat2(dlx_arena *a, const dlx_expr *x, const dlx_expr *y)
{
    const dlx_expr *const items[] = {x, y};
    return dlx_expr_cat(a, items, 2);
}

static const dlx_expr *empty(dlx_arena *a)
{
    return dlx_expr_cat(a, NULL, 0);
}

static const dlx_expr *nothing(dlx_arena *a)
{
    return dlx_expr_alt(a, NULL, 0);
}

static const dlx_expr *any_digits(dlx_arena *a, int32_t least, int32_t most)
{
    return dlx_expr_repeat(a, digits(a, 0, 9), least, most);
}

static int64_t power(int n)
{
    int64_t p = 1;
    while (n-- > 0) p *= 10;
    return p;
}

/* n digits, of a number from low to high; leading zeros included. */
static const dlx_expr *same_length(dlx_arena *a, int64_t low, int64_t high, int n)
{
    if (!n) return empty(a);
    int64_t unit = power(n - 1);
    int first = (int)(low / unit), last = (int)(high / unit);
    if (low == 0 && high == 10 * unit - 1) return any_digits(a, n, n);
    if (first == last) return cat2(a, digits(a, first, first), same_length(a, low % unit, high % unit, n - 1));
    const dlx_expr *const ways[] = {
        cat2(a, digits(a, first, first), same_length(a, low % unit, unit - 1, n - 1)),
        cat2(a, digits(a, first + 1, last - 1), any_digits(a, n - 1, n - 1)),
        cat2(a, digits(a, last, last), same_length(a, 0, high % unit, n - 1)),
    };
    return dlx_expr_alt(a, ways, 3);
}

/* From low, at least 0, to high, DLX_UNBOUNDED for no end. */
static const dlx_expr *whole(dlx_arena *a, int64_t low, int64_t high)
{
    const dlx_expr *ways[MOST_DIGITS + 1];
    size_t n = 0;
    for (int length = 1; length < MOST_DIGITS; length++) {
        int64_t least = length == 1 ? 0 : power(length - 1), most = power(length) - 1;
        int64_t from = low > least ? low : least, to = high != DLX_UNBOUNDED && high < most ? high : most;
        if (from <= to) ways[n++] = same_length(a, from, to, length);
    }
    if (high == DLX_UNBOUNDED) ways[n++] = cat2(a, digits(a, 1, 9), any_digits(a, MOST_DIGITS - 1, DLX_UNBOUNDED));
    return dlx_expr_alt(a, ways, n);
}

static const dlx_expr *minus(dlx_arena *a, const dlx_expr *e)
{
    return cat2(a, dlx_expr_bytes(a, "-", 1), e);
}

/* Behind a digit: a fraction of any digits, one that is not 0, or only zeros. */
static const dlx_expr *fraction(dlx_arena *a, char kind)
{
    const dlx_expr *point = dlx_expr_bytes(a, ".", 1);
    if (kind == 'a') return dlx_expr_repeat(a, cat2(a, point, any_digits(a, 1, DLX_UNBOUNDED)), 0, 1);
    if (kind == '0')
        return dlx_expr_repeat(a, cat2(a, point, dlx_expr_repeat(a, digits(a, 0, 0), 1, DLX_UNBOUNDED)), 0, 1);
    const dlx_expr *const items[] = {point, any_digits(a, 0, DLX_UNBOUNDED), digits(a, 1, 9),
                                     any_digits(a, 0, DLX_UNBOUNDED)};
    return dlx_expr_cat(a, items, 4);
}

/* Numbers from low, at least 0, to high (DLX_UNBOUNDED: no end), the bounds themselves unless they are open. */
static const dlx_expr *magnitudes(dlx_arena *a, int64_t low, bool low_open, int64_t high, bool high_open)
{
    const dlx_expr *ways[3];
    size_t n = 0;
    int64_t from = low + low_open, to = high == DLX_UNBOUNDED ? DLX_UNBOUNDED : high - 1;
    bool more = high == DLX_UNBOUNDED || low < high;
    if (high == DLX_UNBOUNDED || from <= to) ways[n++] = cat2(a, whole(a, from, to), fraction(a, 'a'));
    if (low_open && more) ways[n++] = cat2(a, whole(a, low, low), fraction(a, '1'));
    if (high != DLX_UNBOUNDED && !high_open && (more || (low == high && !low_open)))
        ways[n++] = cat2(a, whole(a, high, high), fraction(a, '0'));
    return dlx_expr_alt(a, ways, n);
}

const dlx_expr *dlx_expr_integers(dlx_arena *a, const dlx_bounds *b)
{
    int64_t low = b->low + b->low_open, high = b->high - b->high_open;
    const dlx_expr *ways[2];
    size_t n = 0;
    if (!b->has_high || high >= 0)
        ways[n++] = whole(a, b->has_low && low > 0 ? low : 0, b->has_high ? high : DLX_UNBOUNDED);
    if (!b->has_low || low < 0)
        ways[n++] = minus(a, whole(a, b->has_high && high < 0 ? -high : 1, b->has_low ? -low : DLX_UNBOUNDED));
    return n ? dlx_expr_alt(a, ways, n) : nothing(a);
}

const dlx_expr *dlx_expr_numbers(dlx_arena *a, const dlx_bounds *b)
{
    static const dlx_code_range e_range[] = {{'E', 'E'}, {'e', 'e'}}, signs[] = {{'+', '+'}, {'-', '-'}};
    const dlx_expr *ways[2];
    size_t n = 0;
    if (!b->has_low && !b->has_high) {
        const dlx_expr *const exponent[] = {dlx_expr_set(a, e_range, 2),
                                            dlx_expr_repeat(a, dlx_expr_set(a, signs, 2), 0, 1), any_digits(a, 1, 2)};
        const dlx_expr *const items[] = {dlx_expr_repeat(a, dlx_expr_bytes(a, "-", 1), 0, 1),
                                         whole(a, 0, DLX_UNBOUNDED), fraction(a, 'a'),
                                         dlx_expr_repeat(a, dlx_expr_cat(a, exponent, 3), 0, 1)};
        return dlx_expr_cat(a, items, DLX_COUNT(items));
    }
    if (!b->has_high || b->high >= 0)
        ways[n++] = magnitudes(a, b->has_low && b->low > 0 ? b->low : 0, b->has_low && b->low >= 0 && b->low_open,
                               b->has_high ? b->high : DLX_UNBOUNDED, b->high_open);
    if (!b->has_low || b->low < 0)
        ways[n++] = minus(a, magnitudes(a, b->has_high && b->high < 0 ? -b->high : 0,
                                        b->has_high && b->high < 0 ? b->high_open : true,
                                        b->has_low ? -b->low : DLX_UNBOUNDED, b->low_open));
    return dlx_expr_alt(a, ways, n);
}
