/*
 * Summaries of rows of logits: what they say, and that every instruction set, the sampler's own loop and any order of
 * work give the same bits. Rows with ties, masks that are the likeliest, ids without a token, -infinity, NaN and
 * widths that fill neither a part nor a vector.
 */
#include "kernels_check.h"

#include "base/row_summary.h"
#include "diffusion/sampling.h"

enum { MOST_LOGITS = 2100, MOST_PARTS = (MOST_LOGITS + DLX_ROW_PART - 1) / DLX_ROW_PART };

static const int32_t widths[] = {1,   2,   15,  16,  17,   31,   32,   33,   100,
                                 511, 512, 513, 544, 1000, 1024, 1025, 1471, MOST_LOGITS};

/* Parts computed from the last to the first, as threads may, then joined. */
static dlx_row_summary by_parts(const dlx_kernels *k, const float *x, int32_t n, dlx_row_rules rules)
{
    dlx_row_part part[MOST_PARTS], row = dlx_row_part_none();
    int32_t parts = (n + DLX_ROW_PART - 1) / DLX_ROW_PART;
    for (int32_t p = parts; p-- > 0;) {
        int32_t first = p * DLX_ROW_PART, left = n - first, columns = left < DLX_ROW_PART ? left : DLX_ROW_PART;
        guarded copy = guarded_new((size_t)columns * sizeof *x, 4 * (size_t)(p + n) % 64);
        memcpy(copy.p, x + first, (size_t)columns * sizeof *x);
        k->summarise(&part[p], copy.p, first, columns, rules);
        guarded_free(&copy);
    }
    for (int32_t p = 0; p < parts; p++) dlx_row_part_join(&row, &part[p]);
    return dlx_row_part_summary(&row);
}

static void check_number(const char *what, double got, double want, double relative)
{
    if (!(fabs(got - want) <= relative * fabs(want) + 1e-35)) fail_msg("%s is %.17g, expected %.17g", what, got, want);
}

/* Against the definition, in double. */
static void check_meaning(const dlx_row_summary *s, const float *x, int32_t n, dlx_row_rules rules)
{
    float top = -INFINITY, second = -INFINITY;
    int32_t id = -1, known = rules.known > 0 ? rules.known : n;
    double rest = 0, moment = 0, ones = 0;
    bool numbers = true;
    for (int32_t i = 0; i < n; i++) {
        numbers = numbers && x[i] == x[i] && x[i] < INFINITY;
        if (i < known && i != rules.never && x[i] > (id < 0 ? -INFINITY : x[id])) id = i;
        second = fmaxf(second, fminf(top, x[i]));
        top = fmaxf(top, x[i]);
    }
    if (!numbers || top == -INFINITY) {
        assert_true(isnan(s->sum));
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        double d = (double)(x[i] - top), e = d < -87 ? 0 : exp(d);
        ones += d == 0;
        rest += d == 0 ? 0 : e;
        moment += e > 0 ? e * d : 0;
    }
    assert_int_equal(s->id, id);
    assert_true(s->top == top && s->second == second && s->logit == (id < 0 ? -INFINITY : x[id]));
    check_number("sum", s->sum, ones + rest, 1e-6);
    /* Beside the likeliest id nothing is lost. Exponentials are cut off at e^-87 from the top of their part. */
    if (rest > 1e-10) check_number("what is beside the likeliest", s->sum - ones, rest, 1e-5);
    check_number("moment", s->moment, moment, 1e-5);
}

static void check_row(const dlx_kernels *k, size_t sets, const float *x, int32_t n, dlx_row_rules rules)
{
    dlx_row_summary want = dlx_summary_of_row(x, n, rules), got;
    bool nan = isnan(want.sum);
    check_meaning(&want, x, n, rules);
    dlx_summarise_row(x, n, rules.never, rules.known, &got);
    if (!nan) assert_memory_equal(&got, &want, sizeof got);
    for (size_t i = 0; i < sets; i++) {
        got = by_parts(&k[i], x, n, rules);
        if (nan ? !isnan(got.sum) : memcmp(&got, &want, sizeof got) != 0)
            fail_msg("%s, %d logits: id %d, sum %a, moment %a, not %d, %a, %a", k[i].name, n, got.id, got.sum,
                     got.moment, want.id, want.sum, want.moment);
    }
}

/* Something of each kind that a row can hold, at a random place. */
static void spoil(rng *r, float *x, int32_t n, int what)
{
    size_t at = rng_below(r, (size_t)n), other = rng_below(r, (size_t)n);
    switch (what) {
    case 1: x[at] = x[other] = 1e5f; break; /* beyond every other: a tie, or one that is sure */
    case 2:
        for (int32_t i = 0; i < n; i++)
            if (rng_below(r, 2)) x[i] = -INFINITY;
        break;
    case 3: x[at] = NAN; break;
    case 4: x[at] = INFINITY; break;
    case 5:
        for (int32_t i = 0; i < n; i++) x[i] = i == (int32_t)at ? -3.0f : -INFINITY;
        break;
    case 6:
        for (int32_t i = 0; i < n; i++) x[i] = -INFINITY;
        break;
    case 7:
        for (int32_t i = 0; i < n; i++) x[i] = rintf(x[i]); /* ties everywhere */
        break;
    case 8:
        for (int32_t i = 0; i < n; i++) x[i] = i == (int32_t)at ? NAN : -INFINITY;
        break;
    case 9: x[at] += 25; break; /* nearly sure */
    default: break;
    }
}

static int32_t likeliest(const float *x, int32_t n)
{
    int32_t id = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[id]) id = i;
    return id;
}

static void the_same_bits_everywhere(void **state)
{
    static float x[MOST_LOGITS];
    static dlx_kernels k[8];
    size_t sets = all_kernels(k);
    rng r = {77};
    (void)state;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int what = 0; what < 10; what++)
            for (int kind = 0; kind < FILL_KINDS; kind++) {
                int32_t n = widths[w];
                fill(&r, x, (size_t)n, kind);
                spoil(&r, x, n, what);
                dlx_row_rules rules[] = {{-1, 0},
                                         {likeliest(x, n), 0},
                                         {n / 2, n - n / 3},
                                         {0, 1}, /* nothing may be chosen */
                                         {n + 5, n + 1}};
                check_row(k, sets, x, n, rules[(w + (size_t)what + (size_t)kind) % 5]);
                check_row(k, sets, x, n, rules[1]);
            }
}

/* Logits as models have them, compared with sums in long double: softmax to 2e-7, entropy to 1e-6. */
static void probabilities(void **state)
{
    static float x[MOST_LOGITS];
    rng r = {5};
    (void)state;
    for (int i = 0; i < 200; i++) {
        int32_t n = MOST_LOGITS - i, id = i * 7 % n;
        fill(&r, x, (size_t)n, FILL_PLAIN);
        x[id] += 1 + (float)(i % 20);
        dlx_row_summary s = dlx_summary_of_row(x, n, (dlx_row_rules){-1, 0});
        long double sum = 0, entropy = 0;
        for (int32_t k = 0; k < n; k++) sum += expl((long double)x[k] - (long double)s.top);
        for (int32_t k = 0; k < n; k++) {
            long double p = expl((long double)x[k] - (long double)s.top) / sum;
            entropy -= p * logl(p);
        }
        check_number("probability", dlx_summary_probability(&s, x[id]),
                     (double)(expl((long double)x[id] - (long double)s.top) / sum), 2e-7);
        dlx_choice c;
        assert_true(dlx_choose_likeliest(&(dlx_sampling){.top_p = 1, .never = -1, .entropy = true}, &s, &c));
        check_number("entropy", c.entropy, (double)entropy, 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_bits_everywhere), cmocka_unit_test(probabilities)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
