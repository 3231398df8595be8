/* Strings: bytes with their origin, and the operations on them that keep it. */
#include <string.h>

#include "text/jinja/run.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

/* ---- storage ------------------------------------------------------------------------------------------------------
 */

dlx_jv_bytes *dlx_jv_new_bytes(dlx_jx *x)
{
    return dlx_jx_alloc(x, sizeof(dlx_jv_bytes));
}

static bool reserve(dlx_jx *x, dlx_jv_bytes *b, size_t n)
{
    if (n > DLX_JX_MAX_MEMORY - b->used)
        return dlx_jx_fail(x, DLX_E_LIMIT, "a text grows beyond %d bytes", DLX_JX_MAX_MEMORY);
    size_t need = b->used + n, capacity = b->capacity ? b->capacity : 32;
    if (need <= b->capacity) return true;
    while (capacity < need) capacity *= 2;
    char *p = dlx_jx_alloc(x, capacity * 2);
    if (!p) return false;
    if (b->used) {
        memcpy(p, b->p, b->used);
        memcpy(p + capacity, b->own, b->used);
    }
    b->p = p;
    b->own = (uint8_t *)p + capacity;
    b->capacity = capacity;
    return true;
}

bool dlx_jv_bytes_add(dlx_jx *x, dlx_jv_bytes *b, const char *p, const uint8_t *own, size_t n)
{
    if (n == 0) return true;
    if (!dlx_jx_step(x, n / 64) || !reserve(x, b, n)) return false;
    memcpy(b->p + b->used, p, n);
    memcpy(b->own + b->used, own, n);
    b->used += n;
    return true;
}

bool dlx_jv_bytes_text(dlx_jx *x, dlx_jv_bytes *b, const char *text, size_t n, bool own)
{
    if (n == 0) return true;
    if (!dlx_jx_step(x, n / 64) || !reserve(x, b, n)) return false;
    memcpy(b->p + b->used, text, n);
    memset(b->own + b->used, own, n);
    b->used += n;
    return true;
}

bool dlx_jv_bytes_string(dlx_jx *x, dlx_jv_bytes *b, const dlx_jv_string *s)
{
    return dlx_jv_bytes_add(x, b, s->p, s->own, s->n);
}

bool dlx_jv_bytes_char(dlx_jx *x, dlx_jv_bytes *b, uint32_t code_point, bool own)
{
    char utf8[4];
    return dlx_jv_bytes_text(x, b, utf8, dlx_utf8_put(utf8, code_point), own);
}

/* The origin of the bytes of an empty string. */
static const uint8_t nothing[1];

static bool make(dlx_jx *x, dlx_jv_bytes *b, const char *p, const uint8_t *own, size_t n, dlx_jv *out)
{
    dlx_jv_string *s = dlx_jx_alloc(x, sizeof *s);
    if (!s) return false;
    *s = (dlx_jv_string){.p = n ? p : "", .own = own, .n = n, .chars = dlx_utf8_count(p, n), .bytes = b};
    *out = (dlx_jv){.type = DLX_JV_STRING, .as.string = s};
    return true;
}

bool dlx_jv_bytes_end(dlx_jx *x, dlx_jv_bytes *b, size_t begin, dlx_jv *out)
{
    if (b->used == begin) return make(x, b, "", nothing, 0, out); /* it may have no storage yet */
    return make(x, b, b->p + begin, b->own + begin, b->used - begin, out);
}

bool dlx_jv_text(dlx_jx *x, const char *p, size_t n, bool own, dlx_jv *out)
{
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    return b && dlx_jv_bytes_text(x, b, p, n, own) && dlx_jv_bytes_end(x, b, 0, out);
}

bool dlx_jv_substring(dlx_jx *x, const dlx_jv_string *s, size_t begin, size_t end, dlx_jv *out)
{
    return make(x, s->bytes, s->p + begin, s->own + begin, end - begin, out);
}

bool dlx_jv_concat(dlx_jx *x, const dlx_jv_string *a, const dlx_jv_string *b, dlx_jv *out)
{
    dlx_jv_bytes *bytes = a->bytes;
    /* Not in place when b lies in the same storage, which could move. */
    bool in_place = a->n && bytes && bytes != b->bytes && a->p + a->n == bytes->p + bytes->used;
    if (in_place) {
        size_t begin = (size_t)(a->p - bytes->p);
        return dlx_jv_bytes_string(x, bytes, b) && dlx_jv_bytes_end(x, bytes, begin, out);
    }
    bytes = dlx_jv_new_bytes(x);
    return bytes && dlx_jv_bytes_string(x, bytes, a) && dlx_jv_bytes_string(x, bytes, b) &&
           dlx_jv_bytes_end(x, bytes, 0, out);
}

bool dlx_jv_is_own(const dlx_jv_string *s, size_t begin, size_t end)
{
    while (begin < end && s->own[begin]) begin++;
    return begin == end;
}

/* ---- places -------------------------------------------------------------------------------------------------------
 */

size_t dlx_jv_offset(const dlx_jv_string *s, size_t i)
{
    if (s->chars == s->n) return i;
    size_t at = 0;
    for (; i && at < s->n; i--) {
        at++;
        while (at < s->n && ((unsigned char)s->p[at] & 0xC0) == 0x80) at++;
    }
    return at;
}

size_t dlx_jv_find(const dlx_jv_string *s, size_t begin, size_t end, const dlx_jv_string *part, bool last)
{
    size_t found = SIZE_MAX;
    if (part->n > s->n || begin > end) return found;
    if (part->n == 0) return last ? end : begin;
    for (size_t i = begin; i + part->n <= end; i++) {
        if (!last) { /* to the next place that can begin it */
            const char *p = memchr(s->p + i, part->p[0], end - i);
            if (!p) break;
            i = (size_t)(p - s->p);
            if (i + part->n > end) break;
        }
        if (s->p[i] != part->p[0] || memcmp(s->p + i, part->p, part->n) != 0) continue;
        found = i;
        if (!last) break;
    }
    return found;
}

/* ---- operations ---------------------------------------------------------------------------------------------------
 */

bool dlx_jv_replace(dlx_jx *x, const dlx_jv_string *s, const dlx_jv_string *old, const dlx_jv_string *by, int64_t count,
                    dlx_jv *out)
{
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    size_t at = 0;
    if (!b) return false;
    while (count != 0) {
        if (!dlx_jx_step(x, 1 + s->n / 4096)) return false;
        if (old->n == 0) { /* before each character and at the end */
            if (!dlx_jv_bytes_string(x, b, by)) return false;
            count -= count > 0;
            if (at == s->n) break;
            uint32_t c;
            size_t step = dlx_utf8_next(s->p + at, s->n - at, &c);
            if (!dlx_jv_bytes_add(x, b, s->p + at, s->own + at, step)) return false;
            at += step;
            continue;
        }
        size_t found = dlx_jv_find(s, at, s->n, old, false);
        if (found == SIZE_MAX) break;
        if (!dlx_jv_bytes_add(x, b, s->p + at, s->own + at, found - at) || !dlx_jv_bytes_string(x, b, by)) return false;
        at = found + old->n;
        count -= count > 0;
    }
    return dlx_jv_bytes_add(x, b, s->p + at, s->own + at, s->n - at) && dlx_jv_bytes_end(x, b, 0, out);
}

static bool in_set(const dlx_jv_string *set, uint32_t c)
{
    if (!set) return dlx_jinja_is_space(c);
    for (size_t i = 0; i < set->n;) {
        uint32_t d;
        i += dlx_utf8_next(set->p + i, set->n - i, &d);
        if (c == d) return true;
    }
    return false;
}

bool dlx_jv_strip(dlx_jx *x, const dlx_jv_string *s, const dlx_jv_string *set, bool left, bool right, dlx_jv *out)
{
    size_t begin = 0, end = s->n;
    uint32_t c;
    if (!dlx_jx_step(x, s->n / 64)) return false;
    while (left && begin < end) {
        size_t step = dlx_utf8_next(s->p + begin, end - begin, &c);
        if (!in_set(set, c)) break;
        begin += step;
    }
    while (right && end > begin) {
        size_t at = begin + dlx_utf8_before(s->p + begin, end - begin, &c);
        if (!in_set(set, c)) break;
        end = at;
    }
    return dlx_jv_substring(x, s, begin, end, out);
}

/* Whether a sigma at [at, behind) ends a word. */
static bool is_final_sigma(const dlx_jv_string *s, size_t at, size_t behind)
{
    uint32_t c;
    bool before = false;
    while (at > 0) {
        at = dlx_utf8_before(s->p, at, &c);
        if (dlx_jinja_is(DLX_JINJA_IS_IGNORABLE, c)) continue;
        before = dlx_jinja_is(DLX_JINJA_IS_CASED, c);
        break;
    }
    if (!before) return false;
    while (behind < s->n) {
        behind += dlx_utf8_next(s->p + behind, s->n - behind, &c);
        if (!dlx_jinja_is(DLX_JINJA_IS_IGNORABLE, c)) return !dlx_jinja_is(DLX_JINJA_IS_CASED, c);
    }
    return true;
}

/* Characters that begin a word for the filter `title`: it splits at these. */
static bool splits_title(uint32_t c)
{
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || dlx_jinja_is_space(c);
}

/* What happens to the character c behind `before` (0 at the beginning): a DLX_JINJA_TO_*. */
static int case_of(int how, uint32_t before, uint32_t c)
{
    bool begins = false;
    switch (how) {
    case DLX_JV_UPPER: return DLX_JINJA_TO_UPPER;
    case DLX_JV_LOWER: return DLX_JINJA_TO_LOWER;
    case DLX_JV_CAPITALIZE: return before == 0 ? DLX_JINJA_TO_TITLE : DLX_JINJA_TO_LOWER;
    case DLX_JV_SWAPCASE:
        return dlx_jinja_is(DLX_JINJA_IS_UPPER, c)   ? DLX_JINJA_TO_LOWER
               : dlx_jinja_is(DLX_JINJA_IS_LOWER, c) ? DLX_JINJA_TO_UPPER
                                                     : DLX_JINJA_CASES;
    case DLX_JV_FILTER_TITLE:
        begins = before == 0 || splits_title(before) != splits_title(c);
        return begins ? DLX_JINJA_TO_UPPER : DLX_JINJA_TO_LOWER;
    default: /* str.title */
        begins = before == 0 || !(dlx_jinja_is(DLX_JINJA_IS_UPPER, before) ||
                                  dlx_jinja_is(DLX_JINJA_IS_LOWER, before) || dlx_jinja_is(DLX_JINJA_IS_TITLE, before));
        return begins ? DLX_JINJA_TO_TITLE : DLX_JINJA_TO_LOWER;
    }
}

/* Unicode's folding, which is lower(upper(c)) but for these. Returns the number of characters. */
static int fold(uint32_t c, uint32_t to[9])
{
    uint32_t upper[3];
    bool cherokee = (c >= 0x13A0 && c <= 0x13FD) || (c >= 0xAB70 && c <= 0xABBF); /* its capitals stand for both */
    to[0] = c;
    if (c == 0x131) return 1; /* the i without a dot */
    if (c == 0x1E9E) {        /* the capital sharp s */
        to[0] = to[1] = 's';
        return 2;
    }
    int n = dlx_jinja_to_case(DLX_JINJA_TO_UPPER, c, upper), total = 0;
    for (int i = 0; i < n; i++) {
        if (cherokee)
            to[total++] = upper[i];
        else
            total += dlx_jinja_to_case(DLX_JINJA_TO_LOWER, upper[i], to + total);
    }
    return total;
}

bool dlx_jv_change_case(dlx_jx *x, const dlx_jv_string *s, int how, dlx_jv *out)
{
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    uint32_t before = 0;
    if (!b || !dlx_jx_step(x, s->n / 8)) return false;
    for (size_t i = 0; i < s->n;) {
        uint32_t c, to[9];
        size_t at = i;
        i += dlx_utf8_next(s->p + i, s->n - i, &c);
        int which = case_of(how, before, c), n = 1;
        to[0] = c;
        if (how == DLX_JV_CASEFOLD) {
            n = fold(c, to);
        } else if (which == DLX_JINJA_TO_LOWER && c == 0x3A3) {
            /* The filter lowers each word apart; a word ends where the next begins. */
            to[0] = is_final_sigma(s, at, i) ? 0x3C2 : 0x3C3;
        } else if (which != DLX_JINJA_CASES) {
            n = dlx_jinja_to_case(which, c, to);
        }
        for (int k = 0; k < n; k++)
            if (!dlx_jv_bytes_char(x, b, to[k], s->own[at])) return false;
        before = c ? c : 1;
    }
    return dlx_jv_bytes_end(x, b, 0, out);
}

static bool add_fill(dlx_jx *x, dlx_jv_bytes *b, int64_t n, const dlx_jv_string *fill)
{
    if (n > DLX_JX_MAX_MEMORY)
        return dlx_jx_fail(x, DLX_E_LIMIT, "a text is padded beyond %d bytes", DLX_JX_MAX_MEMORY);
    for (int64_t i = 0; i < n; i++)
        if (!dlx_jx_step(x, 1) || !(fill ? dlx_jv_bytes_string(x, b, fill) : dlx_jv_bytes_text(x, b, " ", 1, true)))
            return false;
    return true;
}

bool dlx_jv_pad(dlx_jx *x, const dlx_jv_string *s, int64_t left, int64_t right, const dlx_jv_string *fill, dlx_jv *out)
{
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    return b && add_fill(x, b, left, fill) && dlx_jv_bytes_string(x, b, s) && add_fill(x, b, right, fill) &&
           dlx_jv_bytes_end(x, b, 0, out);
}

bool dlx_jv_blanks(dlx_jx *x, int64_t n, dlx_jv *out)
{
    dlx_jv empty;
    return dlx_jv_text(x, "", 0, true, &empty) && dlx_jv_pad(x, empty.as.string, n > 0 ? n : 0, 0, NULL, out);
}

bool dlx_jv_splitlines(dlx_jx *x, const dlx_jv_string *s, bool keep, dlx_jv_list **out)
{
    dlx_jv line;
    if (!dlx_jv_new_list(x, 0, out)) return false;
    for (size_t begin = 0, i = 0; begin < s->n; begin = i) {
        size_t end = s->n, behind = s->n;
        for (i = begin; i < s->n;) {
            uint32_t c;
            size_t step = dlx_utf8_next(s->p + i, s->n - i, &c);
            if (dlx_jinja_is_line_break(c)) {
                end = i;
                behind = i + step + (c == '\r' && i + 1 < s->n && s->p[i + 1] == '\n');
                break;
            }
            i += step;
        }
        i = behind;
        if (!dlx_jx_step(x, 1) || !dlx_jv_substring(x, s, begin, keep ? behind : end, &line) ||
            !dlx_jv_push(x, *out, line))
            return false;
    }
    return true;
}

static bool has_class(int which, uint32_t c)
{
    switch (which) {
    case DLX_JV_IS_SPACE: return dlx_jinja_is_space(c);
    case DLX_JV_IS_ALNUM:
        return dlx_jinja_is(DLX_JINJA_IS_ALPHA, c) || dlx_jinja_is(DLX_JINJA_IS_DECIMAL, c) ||
               dlx_jinja_is(DLX_JINJA_IS_DIGIT, c) || dlx_jinja_is(DLX_JINJA_IS_NUMERIC, c);
    case DLX_JV_IS_ASCII: return c < 0x80;
    default: return dlx_jinja_is((dlx_jinja_class)which, c);
    }
}

/* isupper, islower: some letter with case, and none of another case. istitle: words begin with capitals. */
static bool has_case(const dlx_jv_string *s, int which)
{
    bool any = false, inside = false;
    for (size_t i = 0; i < s->n;) {
        uint32_t c;
        i += dlx_utf8_next(s->p + i, s->n - i, &c);
        bool upper = dlx_jinja_is(DLX_JINJA_IS_UPPER, c), lower = dlx_jinja_is(DLX_JINJA_IS_LOWER, c),
             title = dlx_jinja_is(DLX_JINJA_IS_TITLE, c);
        if (which == DLX_JV_IS_TITLE) {
            if ((upper || title) && inside) return false;
            if (lower && !inside) return false;
            inside = upper || title || lower;
        } else if (which == DLX_JINJA_IS_UPPER ? lower || title : upper || title) {
            return false;
        }
        any = any || upper || lower || title;
    }
    return any;
}

bool dlx_jv_all_are(const dlx_jv_string *s, int which)
{
    if (which == DLX_JINJA_IS_UPPER || which == DLX_JINJA_IS_LOWER || which == DLX_JV_IS_TITLE)
        return has_case(s, which);
    for (size_t i = 0; i < s->n;) {
        uint32_t c;
        i += dlx_utf8_next(s->p + i, s->n - i, &c);
        if (!has_class(which, c)) return false;
    }
    return s->n > 0 || which == DLX_JV_IS_ASCII || which == DLX_JINJA_IS_PRINTABLE;
}

bool dlx_jv_escape(dlx_jx *x, const dlx_jv_string *s, dlx_jv *out)
{
    static const char characters[] = "&<>\"'";
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    if (!b) return false;
    for (size_t i = 0; i < s->n; i++) {
        const char *known = s->p[i] ? strchr(characters, s->p[i]) : NULL;
        const char *text = known ? entities[known - characters] : NULL;
        if (!(text ? dlx_jv_bytes_text(x, b, text, strlen(text), s->own[i])
                   : dlx_jv_bytes_add(x, b, s->p + i, s->own + i, 1)))
            return false;
    }
    if (!dlx_jv_bytes_end(x, b, 0, out)) return false;
    out->markup = true;
    return true;
}
