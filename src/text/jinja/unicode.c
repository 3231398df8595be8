#include "text/jinja/unicode.h"

#include "text/jinja/unicode_tables.h"

bool dlx_jinja_is(dlx_jinja_class c, uint32_t code_point)
{
    const uint32_t *table = classes[c].borders;
    size_t low = 0, high = classes[c].n; /* number of borders at or below the character: odd inside a range */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table[middle] <= code_point)
            low = middle + 1;
        else
            high = middle;
    }
    return low & 1;
}

bool dlx_jinja_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool dlx_jinja_is_line_break(uint32_t c)
{
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

/* Characters that become several. */
static const special_case *find_special(int which, uint32_t c)
{
    size_t low = 0, high = special_cases[which].n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const special_case *s = &special_cases[which].list[middle];
        if (s->from == c) return s;
        if (s->from < c)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

int dlx_jinja_to_case(int which, uint32_t c, uint32_t out[3])
{
    const special_case *s = find_special(which, c);
    if (s) {
        int n = 0;
        for (; n < 3 && s->to[n]; n++) out[n] = s->to[n];
        return n;
    }
    size_t low = 0, high = case_runs[which].n;
    out[0] = c;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const case_run *run = &case_runs[which].list[middle];
        if (c < run->first) {
            high = middle;
        } else if (c > run->last) {
            low = middle + 1;
        } else {
            if ((c - run->first) % run->step == 0) out[0] = (uint32_t)((int64_t)c + run->difference);
            break;
        }
    }
    return 1;
}
