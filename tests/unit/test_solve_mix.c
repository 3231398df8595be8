/* Mixes of forms against trying all of them: exact where bytes have a common unit, within a unit a tensor elsewhere. */
#include "kernels_check.h"

#include "base/sizes.h"
#include "solve/mix.h"

enum { MAX_TENSORS = 6, MAX_CHOICES = 4 };

typedef struct problem {
    dlx_mix_choice choice[MAX_TENSORS][MAX_CHOICES];
    dlx_mix_tensor tensor[MAX_TENSORS];
    size_t n;
    uint64_t least, most;
} problem;

/* More bytes, mostly less error. */
static void problem_new(problem *p, rng *r, uint64_t unit)
{
    *p = (problem){.n = 1 + rng_below(r, MAX_TENSORS)};
    for (size_t i = 0; i < p->n; i++) {
        size_t choices = 1 + rng_below(r, MAX_CHOICES);
        uint64_t smallest = UINT64_MAX, largest = 0;
        for (size_t c = 0; c < choices; c++) {
            uint64_t bytes = unit > 1 ? unit * (1 + rng_below(r, 50)) : 1000000 + rng_u32(r);
            double error = (double)(1 + rng_below(r, 100)) / (double)(1 + bytes / (unit > 1 ? unit : 100000000));
            p->choice[i][c] = (dlx_mix_choice){.bytes = bytes, .error = rng_below(r, 9) ? error : 0};
            if (bytes < smallest) smallest = bytes;
            if (bytes > largest) largest = bytes;
        }
        p->tensor[i] = (dlx_mix_tensor){.choice = p->choice[i], .choices = choices, .name = "tensor"};
        p->least += smallest;
        p->most += largest;
    }
}

/* The next of all mixes; false behind the last. */
static bool next_mix(const problem *p, size_t *picked)
{
    for (size_t i = 0; i < p->n; i++) {
        if (++picked[i] < p->tensor[i].choices) return true;
        picked[i] = 0;
    }
    return false;
}

static dlx_mix_total total_of(const problem *p, const size_t *picked)
{
    dlx_mix_total t = {0};
    for (size_t i = 0; i < p->n; i++) {
        assert_true(picked[i] < p->tensor[i].choices);
        t.bytes += p->choice[i][picked[i]].bytes;
        t.error += p->choice[i][picked[i]].error;
    }
    return t;
}

static double best_error(const problem *p, uint64_t max_bytes)
{
    size_t picked[MAX_TENSORS] = {0};
    double best = INFINITY;
    do {
        dlx_mix_total t = total_of(p, picked);
        if (t.bytes <= max_bytes && t.error < best) best = t.error;
    } while (next_mix(p, picked));
    return best;
}

static uint64_t best_bytes(const problem *p, double max_error)
{
    size_t picked[MAX_TENSORS] = {0};
    uint64_t best = UINT64_MAX;
    do {
        dlx_mix_total t = total_of(p, picked);
        if (t.error <= max_error && t.bytes < best) best = t.bytes;
    } while (next_mix(p, picked));
    return best;
}

static void check_total(const problem *p, const size_t *picked, dlx_mix_total got)
{
    dlx_mix_total t = total_of(p, picked);
    assert_true(t.bytes == got.bytes && t.error == got.error);
}

/* `slack`: what rounding up to units may cost; 0 where it is exact. Sums of errors are in another order, hence 1e-12.
 */
static void check_budget(const problem *p, uint64_t budget, uint64_t slack)
{
    size_t picked[MAX_TENSORS];
    dlx_mix_total got;
    dlx_error err = {0};
    if (dlx_mix_least_error(picked, &got, p->tensor, p->n, budget, &err) != DLX_OK) fail_msg("%s", err.message);
    check_total(p, picked, got);
    assert_true(got.bytes <= budget);
    double bound = budget >= p->most ? best_error(p, budget) : best_error(p, budget - slack);
    if (!(got.error <= bound + 1e-12)) fail_msg("error %g, %g is possible", got.error, bound);
}

static void check_error(const problem *p, double max_error, uint64_t slack)
{
    size_t picked[MAX_TENSORS];
    dlx_mix_total got;
    dlx_error err = {0};
    if (dlx_mix_fewest_bytes(picked, &got, p->tensor, p->n, max_error, &err) != DLX_OK) fail_msg("%s", err.message);
    check_total(p, picked, got);
    assert_true(got.error <= max_error + 1e-12);
    assert_true(got.bytes <= best_bytes(p, max_error - 1e-12) + slack);
}

static void test_against_all(void **state)
{
    (void)state;
    rng r = {51};
    for (int round = 0; round < 60; round++) {
        problem p;
        uint64_t unit = round % 3 ? 12288 : 1;
        problem_new(&p, &r, unit);
        uint64_t slack = unit > 1 ? 0 : p.n * ((p.most - p.least) / 65536 + 1);
        for (int i = 0; i <= 4; i++) {
            uint64_t budget = p.least + (p.most - p.least) * (uint64_t)i / 4 + 5000000 * (uint64_t)(i == 4);
            check_budget(&p, budget, budget - p.least < slack ? budget - p.least : slack);
        }
        double least = best_error(&p, UINT64_MAX);
        for (int i = 0; i <= 4; i++) check_error(&p, least + 1e-9 + i * 7.5, slack);
        check_error(&p, INFINITY, 0);
    }
}

/* As many tensors as a large model has: within the budget, and better than one form for all that fits it. */
static void test_a_model(void **state)
{
    (void)state;
    enum { TENSORS = 253 };
    rng r = {52};
    static dlx_mix_choice choice[TENSORS][3];
    static dlx_mix_tensor tensor[TENSORS];
    static size_t picked[TENSORS];
    uint64_t fours = 0, eights = 0;
    double error_of_fours = 0;
    for (size_t i = 0; i < TENSORS; i++) {
        uint64_t elements = 1536 * (uint64_t)(256 + rng_below(&r, 8705));
        double sensitivity = exp(2 * (double)rng_f32(&r));
        choice[i][0] = (dlx_mix_choice){.bytes = elements, .error = 0.001 * sensitivity};
        choice[i][1] = (dlx_mix_choice){.bytes = elements / 2 + elements / 16, .error = sensitivity};
        choice[i][2] = (dlx_mix_choice){.bytes = 4 * elements, .error = 0};
        tensor[i] = (dlx_mix_tensor){.choice = choice[i], .choices = 3, .name = "tensor"};
        fours += choice[i][1].bytes;
        eights += elements;
        error_of_fours += sensitivity;
    }
    dlx_mix_total t, back;
    dlx_error err = {0};
    uint64_t budget = (fours + eights) / 2;
    if (dlx_mix_least_error(picked, &t, tensor, TENSORS, budget, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_true(t.bytes <= budget && t.bytes > budget - budget / 500);
    if (!(t.error < 0.3 * error_of_fours)) fail_msg("%g of %g", t.error, error_of_fours);
    if (dlx_mix_fewest_bytes(picked, &back, tensor, TENSORS, t.error, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_true(back.error <= t.error && back.bytes < budget + budget / 100);
}

static void check_refused(dlx_status got, dlx_status expected, const dlx_error *err, const char *words)
{
    assert_int_equal(got, expected);
    if (!strstr(err->message, words)) fail_msg("no '%s' in: %s", words, err->message);
}

static void test_refusals(void **state)
{
    (void)state;
    dlx_mix_choice choice[2] = {{100, 1}, {50, 2}};
    dlx_mix_tensor tensor[2] = {{choice, 2, "a"}, {choice, 2, "b"}};
    size_t picked[2];
    dlx_mix_total t;
    dlx_error err = {0};
    check_refused(dlx_mix_least_error(picked, &t, tensor, 2, 99, &err), DLX_E_LIMIT, &err, "have 100");
    check_refused(dlx_mix_fewest_bytes(picked, &t, tensor, 2, 1.5, &err), DLX_E_LIMIT, &err, "add up to 2");
    check_refused(dlx_mix_fewest_bytes(picked, &t, tensor, 2, NAN, &err), DLX_E_LIMIT, &err, "add up to 2");
    tensor[1].choices = 0;
    check_refused(dlx_mix_least_error(picked, &t, tensor, 2, 500, &err), DLX_E_INVALID, &err, "'b' has 0");
    tensor[1].choices = 256;
    check_refused(dlx_mix_least_error(picked, &t, tensor, 2, 500, &err), DLX_E_INVALID, &err, "'b' has 256");
    tensor[1].choices = 2;
    choice[1].error = NAN;
    check_refused(dlx_mix_least_error(picked, &t, tensor, 2, 500, &err), DLX_E_INVALID, &err, "form 1 is nan");
    choice[1] = (dlx_mix_choice){UINT64_MAX, 0};
    check_refused(dlx_mix_least_error(picked, &t, tensor, 2, 500, &err), DLX_E_LIMIT, &err, "2^48");
    assert_true(t.bytes == 0 && t.error == 0);
    if (dlx_mix_least_error(picked, &t, tensor, 0, 0, &err) != DLX_OK)
        fail_msg("%s", err.message); /* nothing to choose */
    assert_true(t.bytes == 0 && t.error == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_all), cmocka_unit_test(test_a_model),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
