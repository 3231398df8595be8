/*
 * From logits to tokens: recorded tokens, filters and schedules of the Python samplers, draws with given random
 * numbers, distributions of draws, ranking and acceptance rules, and rows that cannot be used.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/sizes.h"
#include "base/exp_log.h"
#include "diffusion/sampling.h"
#include "test_diffusion_json.h"

enum { MOST = 64, DRAWS = 40000 };

static json_t *primitives, *draws;

static int open_files(void **state)
{
    (void)state;
    primitives = case_file(DLX_TEST_DATA "/diffusion/primitives.json");
    draws = case_file(DLX_TEST_DATA "/diffusion/draws.json");
    return primitives && draws ? 0 : -1;
}

static int close_files(void **state)
{
    (void)state;
    json_decref(primitives);
    json_decref(draws);
    return 0;
}

/* null is -infinity */
static int32_t read_row(json_t *row, float *out)
{
    int32_t n = (int32_t)json_array_size(row);
    assert_true(n <= MOST);
    for (int32_t i = 0; i < n; i++) {
        json_t *x = json_array_get(row, (size_t)i);
        out[i] = json_is_null(x) ? -INFINITY : (float)json_number_value(x);
    }
    return n;
}

static double number(json_t *object, const char *key, double otherwise)
{
    json_t *x = json_object_get(object, key);
    return json_is_number(x) ? json_number_value(x) : otherwise;
}

static dlx_random scripted(json_t *array, double *numbers)
{
    dlx_random r = dlx_random_seeded(0);
    r.script_n = json_array_size(array);
    for (size_t i = 0; i < r.script_n; i++) numbers[i] = json_number_value(json_array_get(array, i));
    r.script = numbers;
    return r;
}

/* ---- exp, log, random numbers ----------------------------------------------------------------------------------- */

static void check_close(double got, double want, double relative)
{
    if (!(fabs(got - want) <= relative * fabs(want))) fail_msg("%.17g is not %.17g", got, want);
}

static void test_exp_log(void **state)
{
    (void)state;
    dlx_random r = dlx_random_seeded(9);
    for (int i = 0; i < 200000; i++) {
        double u = dlx_random_uniform(&r), x = i % 2 ? -u : -700 * u;
        check_close(dlx_exp_not_positive_f64(x), exp(x), 4e-16);
        if (x > -80) check_close((double)dlx_exp_not_positive((float)x), exp((double)(float)x), 2.5e-7);
        if (u == 0) continue;
        double y = i % 2 ? u : 1 - u * 0x1p-20;
        check_close(dlx_log_normal_f64(y), log(y), 4e-16);
        check_close((double)dlx_log_normal((float)u), log((double)(float)u), 2.5e-7);
        assert_true(fabs(dlx_gumbel(u) + log(-log(u))) < 1e-14);
    }
    assert_true(dlx_exp_not_positive_f64(0) == 1 && dlx_exp_not_positive_f64(-INFINITY) == 0 &&
                isnan(dlx_exp_not_positive_f64(NAN)));
    assert_true(dlx_exp_not_positive(0) == 1 && dlx_exp_not_positive(-INFINITY) == 0 &&
                isnan(dlx_exp_not_positive(NAN)));
    assert_true(dlx_log_normal_f64(1) == 0 && isfinite(dlx_gumbel(0)) && isfinite(dlx_gumbel(1 - 0x1p-53)));
}

/* From an implementation in Python; equal seeds mean equal texts on every machine. */
static void test_random_numbers(void **state)
{
    static const struct {
        uint64_t seed, bits[3];
    } known[] = {
        {0, {0x53175D61490B23DFu, 0x61DA6F3DC380D507u, 0x5C0FDF91EC9A7BFCu}},
        {1, {0xCFC5D07F6F03C29Bu, 0xBF424132963FE08Du, 0x19A37D5757AAF520u}},
        {42, {0xD0764D4F4476689Fu, 0x519E4174576F3791u, 0xFBE07CFB0C24ED8Cu}},
    };
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(known); i++) {
        dlx_random r = dlx_random_seeded(known[i].seed), again = r;
        for (int k = 0; k < 3; k++) {
            assert_true(dlx_random_bits(&r) == known[i].bits[k]);
            double u = dlx_random_uniform(&again);
            assert_true(u == (double)(known[i].bits[k] >> 11) * 0x1p-53 && u >= 0 && u < 1);
        }
    }
}

/* ---- recorded tokens, filters, schedules ------------------------------------------------------------------------ */

static void test_tokens(void **state)
{
    size_t i, k, checked = 0;
    json_t *c, *rows;
    (void)state;
    json_array_foreach(json_object_get(primitives, "tokens"), i, c)
    {
        json_t *o = json_object_get(c, "options");
        dlx_sampling how = {.never = -1, .top_p = number(o, "top_p", 1), .top_k = (int32_t)number(o, "top_k", 0)};
        if (json_is_true(json_object_get(o, "margin_confidence"))) how.score = DLX_SCORE_MARGIN;
        if (json_is_true(json_object_get(o, "neg_entropy"))) how.score = DLX_SCORE_NEGATIVE_ENTROPY;
        rows = json_object_get(json_object_get(primitives, "logits"), case_text(c, "logits"));
        for (k = 0; k < json_array_size(rows); k++, checked++) {
            float row[MOST];
            int32_t index[MOST], n = read_row(json_array_get(rows, k), row);
            dlx_choice choice;
            assert_true(dlx_sample_row(&how, row, n, index, NULL, &choice));
            double probability = json_number_value(json_array_get(json_object_get(c, "initial_confidence"), k));
            double score = json_number_value(json_array_get(json_object_get(c, "confidence"), k));
            /* Among equal logits the recorded sort keeps others than the first ones. */
            bool same = choice.id == json_integer_value(json_array_get(json_object_get(c, "tokens"), k));
            if ((!same && !json_is_true(json_object_get(c, "has_ties"))) ||
                fabs(choice.probability - probability) > 2e-6 || fabs(choice.score - score) > 1e-5)
                fail_msg("case %zu row %zu: %d, probability %g not %g, score %g not %g", i, k, choice.id,
                         choice.probability, probability, choice.score, score);
        }
    }
    print_message("%zu cases, %zu rows\n", i, checked);
    assert_true(i >= 72);
}

static void test_filters(void **state)
{
    size_t i, k, j;
    json_t *c, *rows;
    (void)state;
    json_array_foreach(json_object_get(primitives, "filters"), i, c)
    {
        rows = json_object_get(json_object_get(primitives, "logits"), case_text(c, "logits"));
        for (k = 0; k < json_array_size(rows); k++) {
            float row[MOST], probs[MOST];
            int32_t index[MOST], n = read_row(json_array_get(rows, k), row), survivors = 0;
            dlx_scale_row(row, n, number(c, "temperature", 1));
            dlx_filter_top_p(row, n, number(c, "top_p", 1), index);
            dlx_filter_top_k(row, n, (int32_t)number(c, "top_k", 0), index);
            json_t *kept = json_array_get(json_object_get(c, "kept"), k);
            for (int32_t t = 0; t < n; t++) survivors += row[t] > -INFINITY;
            if ((size_t)survivors != json_array_size(kept))
                fail_msg("case %zu row %zu: %d tokens survive, not %zu", i, k, survivors, json_array_size(kept));
            for (j = 0; j < json_array_size(kept); j++)
                assert_true(row[json_integer_value(json_array_get(kept, j))] > -INFINITY);
            read_row(json_array_get(json_object_get(c, "probs"), k), probs);
            dlx_row_summary summary;
            dlx_summarise_row(row, n, -1, 0, &summary);
            for (int32_t t = 0; t < n; t++)
                assert_true(fabs(dlx_summary_probability(&summary, row[t]) - (double)probs[t]) < 2e-6);
        }
    }
    assert_int_equal(i, 36);
}

static void test_shares(void **state)
{
    size_t i, k;
    json_t *c, *shares;
    (void)state;
    json_array_foreach(json_object_get(primitives, "dream_shares"), i, c)
    {
        int32_t left = case_int(c, "masks"), steps = case_int(c, "steps");
        shares = json_object_get(c, "shares");
        for (k = 0; k < json_array_size(shares); k++) {
            int32_t share = dlx_dream_share(left, (int32_t)k, steps, number(c, "eps", 0));
            assert_int_equal(share, json_integer_value(json_array_get(shares, k)));
            left -= share;
        }
        assert_int_equal(left, 0);
    }
    assert_true(i >= 100);
    json_array_foreach(json_object_get(primitives, "equal_shares"), i, c)
    {
        shares = json_object_get(c, "shares");
        for (k = 0; k < json_array_size(shares); k++)
            assert_int_equal(dlx_equal_share(case_int(c, "tokens"), case_int(c, "steps"), (int32_t)k),
                             json_integer_value(json_array_get(shares, k)));
        assert_int_equal(dlx_equal_share(case_int(c, "tokens"), case_int(c, "steps"), (int32_t)k), 0);
    }
    assert_true(i >= 40);
}

/* ---- draws with given numbers ----------------------------------------------------------------------------------- */

static void test_given_draws(void **state)
{
    size_t i, k;
    json_t *c;
    (void)state;
    json_array_foreach(json_object_get(draws, "cases"), i, c)
    {
        double numbers[MOST], temperature = number(c, "temperature", 1);
        float row[MOST];
        int32_t index[MOST], n = read_row(json_object_get(c, "logits"), row);
        dlx_random r = scripted(json_object_get(c, "gumbel_uniforms"), numbers);
        assert_int_equal(dlx_gumbel_argmax(row, n, temperature, -1, n, &r), case_int(c, "gumbel"));
        assert_int_equal(r.script_used, n);

        dlx_candidate best[MOST];
        json_t *scores = json_object_get(c, "scores"), *order = json_object_get(c, "order");
        int32_t m = (int32_t)json_array_size(scores);
        for (k = 0; k < json_array_size(scores); k++)
            best[k] = (dlx_candidate){.score = json_number_value(json_array_get(scores, k))};
        r = scripted(json_object_get(c, "noise"), numbers);
        dlx_perturb_ranks(best, m, temperature, &r);
        for (k = 0; k < json_array_size(order); k++) {
            assert_int_equal(dlx_choose_best(best, m, 1), 1);
            assert_true(best[json_integer_value(json_array_get(order, k))].chosen);
        }

        double one = number(c, "uniform", 0);
        r = dlx_random_seeded(0);
        r.script = &one;
        r.script_n = 1;
        dlx_choice choice;
        assert_true(dlx_sample_row(&(dlx_sampling){.temperature = temperature, .top_p = 1, .never = -1}, row, n, index,
                                   &r, &choice));
        assert_int_equal(choice.id, case_int(c, "drawn"));
        assert_true(fabs(choice.probability - number(c, "probability", -1)) < 1e-5);
    }
    assert_true(i >= 24);
}

static void test_given_draws_behind_filters(void **state)
{
    size_t i;
    json_t *c;
    (void)state;
    json_array_foreach(json_object_get(draws, "filtered"), i, c)
    {
        for (int before = 0; before < 2; before++) {
            double one = number(c, "uniform", 0);
            float row[MOST];
            int32_t index[MOST], n = read_row(json_object_get(c, "logits"), row);
            dlx_random r = dlx_random_seeded(0);
            r.script = &one;
            r.script_n = 1;
            dlx_sampling how = {.temperature = number(c, "temperature", 1),
                                .top_p = number(c, "top_p", 1),
                                .never = -1,
                                .top_k = (int32_t)number(c, "top_k", 0),
                                .before_filters = before,
                                .top_k_first = json_is_true(json_object_get(c, "top_k_first"))};
            dlx_choice choice;
            assert_true(dlx_sample_row(&how, row, n, index, &r, &choice));
            double want = number(c, before ? "plain" : "probability", -1);
            if (choice.id != case_int(c, "drawn") || fabs(choice.probability - want) > 1e-5)
                fail_msg("case %zu: %d (%g), not %d (%g)", i, choice.id, choice.probability, case_int(c, "drawn"),
                         want);
            assert_true(choice.score == choice.probability);
        }
    }
    assert_int_equal(i, 48);
}

/* ---- distributions ---------------------------------------------------------------------------------------------- */

/* Chi-square statistic of counts against probabilities of n cells. The 0.1 % point for 7 degrees of freedom is 24.3;
 * the seeds are fixed, so that a pass stays a pass. */
static void check_distribution(const char *what, const int32_t *counts, const double *p, int32_t n)
{
    double chi2 = 0;
    int32_t total = 0;
    for (int32_t i = 0; i < n; i++) total += counts[i];
    for (int32_t i = 0; i < n; i++) {
        double want = p[i] * total;
        if (want < 1e-9)
            assert_int_equal(counts[i], 0);
        else
            chi2 += (counts[i] - want) * (counts[i] - want) / want;
    }
    print_message("%s: chi-square %.2f\n", what, chi2);
    assert_true(chi2 < 24.3);
}

static const float eight[] = {1.0f, -0.5f, 2.0f, 0.0f, 1.5f, -2.0f, 0.5f, -1.0f};

static void softmax_eight(double temperature, const bool *kept, double *p)
{
    double sum = 0;
    for (int i = 0; i < 8; i++) sum += p[i] = !kept || kept[i] ? exp((double)eight[i] / temperature) : 0;
    for (int i = 0; i < 8; i++) p[i] /= sum;
}

static void test_distributions(void **state)
{
    static const double temperatures[] = {0.5, 1.0, 1.7};
    (void)state;
    for (size_t t = 0; t < DLX_COUNT(temperatures); t++) {
        double p[8], temperature = temperatures[t];
        int32_t drawn[8] = {0}, gumbel[8] = {0}, first[8] = {0}, index[8];
        dlx_random r = dlx_random_seeded(100 + t);
        softmax_eight(temperature, NULL, p);
        for (int i = 0; i < DRAWS; i++) {
            float row[8];
            dlx_choice choice;
            dlx_candidate c[8];
            memcpy(row, eight, sizeof row);
            assert_true(dlx_sample_row(&(dlx_sampling){.temperature = temperature, .top_p = 1, .never = -1}, row, 8,
                                       index, &r, &choice));
            drawn[choice.id]++;
            gumbel[dlx_gumbel_argmax(eight, 8, temperature, -1, 8, &r)]++;
            for (int k = 0; k < 8; k++) c[k] = (dlx_candidate){.score = (double)eight[k]};
            dlx_perturb_ranks(c, 8, temperature, &r);
            dlx_choose_best(c, 8, 1);
            for (int k = 0; k < 8; k++) first[k] += c[k].chosen;
        }
        check_distribution("categorical", drawn, p, 8);
        check_distribution("gumbel", gumbel, p, 8);
        check_distribution("positions", first, p, 8);
    }
}

/* Draws without replacement: the second one is distributed as the rest of the first. */
static void test_draws_without_replacement(void **state)
{
    double p[8], second[8] = {0};
    int32_t counts[8] = {0};
    dlx_random r = dlx_random_seeded(7);
    (void)state;
    softmax_eight(1, NULL, p);
    for (int a = 0; a < 8; a++)
        for (int b = 0; b < 8; b++) second[b] += a == b ? 0 : p[a] * p[b] / (1 - p[a]);
    for (int i = 0; i < DRAWS; i++) {
        dlx_candidate c[8];
        for (int k = 0; k < 8; k++) c[k] = (dlx_candidate){.score = (double)eight[k]};
        dlx_perturb_ranks(c, 8, 1, &r);
        dlx_choose_best(c, 8, 1);
        bool was[8];
        for (int k = 0; k < 8; k++) was[k] = c[k].chosen;
        dlx_choose_best(c, 8, 1);
        for (int k = 0; k < 8; k++) counts[k] += c[k].chosen && !was[k];
    }
    check_distribution("second draw", counts, second, 8);
}

static void test_filtered_distributions(void **state)
{
    static const bool likeliest_three[8] = {[0] = true, [2] = true, [4] = true};
    double p[8];
    int32_t by_k[8] = {0}, by_p[8] = {0}, index[8];
    dlx_random r = dlx_random_seeded(3);
    (void)state;
    softmax_eight(1, likeliest_three, p);
    for (int i = 0; i < DRAWS; i++) {
        float row[8];
        dlx_choice choice;
        memcpy(row, eight, sizeof row);
        assert_true(dlx_sample_row(&(dlx_sampling){.temperature = 1, .top_p = 1, .top_k = 3, .never = -1}, row, 8,
                                   index, &r, &choice));
        by_k[choice.id]++;
        memcpy(row, eight, sizeof row);
        /* masses 0.416, 0.252, 0.153: the third crosses 0.7 */
        assert_true(
            dlx_sample_row(&(dlx_sampling){.temperature = 1, .top_p = 0.7, .never = -1}, row, 8, index, &r, &choice));
        by_p[choice.id]++;
    }
    check_distribution("top_k", by_k, p, 8);
    check_distribution("top_p", by_p, p, 8);
}

/* ---- the id that is never chosen, and rows that cannot be used --------------------------------------------------- */

static void test_never(void **state)
{
    int32_t index[8], counts[8] = {0};
    double p[8];
    bool kept[8] = {1, 1, 0, 1, 1, 1, 1, 1};
    dlx_random r = dlx_random_seeded(5);
    (void)state;
    softmax_eight(1, kept, p);
    for (int i = 0; i < DRAWS; i++) {
        float row[8];
        dlx_choice choice;
        memcpy(row, eight, sizeof row);
        assert_true(
            dlx_sample_row(&(dlx_sampling){.temperature = 1, .top_p = 1, .never = 2}, row, 8, index, &r, &choice));
        assert_int_not_equal(choice.id, 2);
        counts[choice.id]++;
        assert_int_not_equal(dlx_gumbel_argmax(eight, 8, 1, 2, 8, &r), 2);
    }
    check_distribution("all but one", counts, p, 8);
    float row[8];
    dlx_choice choice;
    memcpy(row, eight, sizeof row);
    assert_true(dlx_sample_row(&(dlx_sampling){.top_p = 1, .top_k = 1, .never = 2}, row, 8, index, NULL, &choice));
    assert_int_equal(choice.id, 4);
    assert_int_equal(dlx_argmax(eight, 8, 2), 4);
    assert_int_equal(dlx_argmax(eight, 8, -1), 2);
}

/* Ids without a token: they count in every probability, and nothing chooses them. */
static void test_ids_without_a_token(void **state)
{
    int32_t index[8], counts[8] = {0};
    double p[8];
    bool kept[8] = {1, 1, 0, 1, 1, 0, 0, 0};
    dlx_random r = dlx_random_seeded(6), all = dlx_random_seeded(7), some = all;
    dlx_choice choice, whole;
    float row[8];
    (void)state;
    softmax_eight(1, kept, p);
    dlx_sampling how = {.temperature = 1, .top_p = 1, .never = 2, .known = 5};
    for (int i = 0; i < DRAWS; i++) {
        memcpy(row, eight, sizeof row);
        assert_true(dlx_sample_row(&how, row, 8, index, &r, &choice));
        counts[choice.id]++;
        assert_in_range(dlx_gumbel_argmax(eight, 8, 1, -1, 5, &some), 0, 4);
        dlx_gumbel_argmax(eight, 8, 1, -1, 8, &all);
    }
    check_distribution("those with a token", counts, p, 8);
    assert_memory_equal(&all, &some, sizeof all); /* the same random numbers, whatever may be chosen */

    static const float high[8] = {0, 1, 3, 2, 2.5f, 9, 8, 2};
    dlx_row_summary summary;
    dlx_summarise_row(high, 8, -1, 0, &summary);
    static const dlx_score_kind scores[] = {DLX_SCORE_PROBABILITY, DLX_SCORE_MARGIN, DLX_SCORE_NEGATIVE_ENTROPY};
    for (int i = 0; i < 3; i++) {
        how = (dlx_sampling){.top_p = 1, .never = -1, .known = 5, .score = scores[i]};
        memcpy(row, high, sizeof row);
        assert_true(dlx_sample_row(&how, row, 8, index, NULL, &choice));
        assert_int_equal(choice.id, 2);
        assert_float_equal(choice.probability, dlx_summary_probability(&summary, high[2]), 1e-6);
        if (scores[i] == DLX_SCORE_MARGIN)
            assert_float_equal(choice.score, choice.probability - dlx_summary_probability(&summary, high[5]), 1e-6);
    }
    how = (dlx_sampling){.top_p = 1, .top_k = 2, .never = -1, .known = 5}; /* the filter keeps ids 5 and 6 alone */
    memcpy(row, high, sizeof row);
    assert_true(dlx_sample_row(&how, row, 8, index, NULL, &choice));
    assert_int_equal(choice.id, 2);
    for (int32_t known = 0; known <= 9; known += known ? 1 : 8) { /* no bound: 0, all of them, more than there are */
        how = (dlx_sampling){.top_p = 1, .never = -1, .known = known};
        memcpy(row, high, sizeof row);
        assert_true(dlx_sample_row(&how, row, 8, index, NULL, known ? &choice : &whole));
        if (!known) continue;
        assert_int_equal(choice.id, whole.id);
        assert_true(choice.probability == whole.probability && choice.score == whole.score);
    }
}

/* The two halves of a row that is read once say of a token what drawing it says, to the last bit; of one that the
 * filters took, that it has no probability. */
static void test_a_token_that_is_chosen_already(void **state)
{
    enum { N = 200 };
    dlx_random r = dlx_random_seeded(11);
    int filtered = 0;
    (void)state;
    for (int k = 0; k < 3000; k++) {
        static const double temperatures[] = {0, 0.6, 1, 1.7}, masses[] = {1, 0.95, 0.4};
        dlx_sampling how = {.temperature = temperatures[k % 4],
                            .top_p = masses[k / 4 % 3],
                            .top_k = k / 12 % 3 * 7,
                            .top_k_first = k & 64,
                            .before_filters = k & 128,
                            .score = (dlx_score_kind)(k / 36 % 3),
                            .entropy = k & 32,
                            .never = -1};
        float row[N], drawn[N], e[N];
        int32_t index[N];
        dlx_row_state all;
        dlx_choice choice;
        if (dlx_sampling_is_greedy(&how, N)) continue;
        for (int i = 0; i < N; i++) row[i] = (float)(int)(16 * dlx_random_uniform(&r)) / 2; /* many are equal */
        memcpy(drawn, row, sizeof row);
        assert_true(dlx_sample_row(&how, drawn, N, index, &r, &choice));
        assert_true(dlx_prepare_row(&how, row, e, N, index, &all));
        assert_memory_equal(drawn, e, sizeof e);
        dlx_choice given = dlx_score_token(&how, &all, choice.id, row[choice.id]);
        assert_true(given.probability == choice.probability && given.entropy == choice.entropy);
        assert_true(given.id == choice.id && (given.score == choice.score || how.score == DLX_SCORE_MARGIN));
        for (int i = 0; i < N; i++) {
            given = dlx_score_token(&how, &all, i, row[i]);
            double whole = all.whole > 0 ? all.whole : all.sum;
            assert_true(given.probability == (double)(float)((double)e[i] / whole));
            filtered += e[i] == 0;
        }
    }
    assert_true(filtered > 1000);
}

static void test_ties(void **state)
{
    static const float flat[40] = {0};
    int32_t index[40];
    float row[40];
    dlx_choice choice;
    (void)state;
    assert_int_equal(dlx_argmax(flat, 40, -1), 0);
    assert_int_equal(dlx_argmax(flat, 40, 0), 1);
    memcpy(row, flat, sizeof row);
    assert_true(dlx_sample_row(&(dlx_sampling){.top_p = 1, .score = DLX_SCORE_MARGIN, .never = -1}, row, 40, index,
                               NULL, &choice));
    assert_true(choice.id == 0 && choice.score == 0);
    memcpy(row, flat, sizeof row);
    dlx_filter_top_p(row, 40, 0.5, index); /* exactly half is not more than half */
    int32_t kept = 0;
    for (int i = 0; i < 40; i++) kept += row[i] > -INFINITY;
    assert_int_equal(kept, 21);
    assert_true(row[20] > -INFINITY && row[21] == -INFINITY);
    dlx_candidate c[3] = {{.rank = 0.5, .score = 0.5}, {.rank = 0.5, .score = 0.5}, {.rank = 0.5, .score = 0.5}};
    assert_int_equal(dlx_choose_best(c, 3, 2), 2);
    assert_true(c[0].chosen && c[1].chosen && !c[2].chosen);
}

static void test_bad_rows(void **state)
{
    int32_t index[40];
    dlx_choice choice;
    dlx_sampling how = {.top_p = 1, .never = -1};
    (void)state;
    for (int at = 0; at < 40; at += 13) {
        float row[40] = {0};
        row[at] = NAN;
        assert_false(dlx_sample_row(&how, row, 40, index, NULL, &choice));
        float huge[40] = {0};
        huge[at] = INFINITY;
        assert_false(dlx_sample_row(&how, huge, 40, index, NULL, &choice));
        float nothing[40];
        for (int i = 0; i < 40; i++) nothing[i] = -INFINITY;
        assert_false(dlx_sample_row(&how, nothing, 40, index, NULL, &choice));
        nothing[at] = 3;
        assert_true(dlx_sample_row(&how, nothing, 40, index, NULL, &choice));
        assert_true(choice.id == at && choice.probability == 1);
        for (int i = 0; i < 40; i++) nothing[i] = i == 7 ? 3 : -INFINITY;
        assert_false(dlx_sample_row(&(dlx_sampling){.top_p = 1, .never = 7}, nothing, 40, index, NULL, &choice));
    }
}

/* ---- acceptance rules ------------------------------------------------------------------------------------------- */

static int32_t chosen_bits(const dlx_candidate *c, int32_t n)
{
    int32_t bits = 0;
    for (int32_t i = 0; i < n; i++) bits |= c[i].chosen << i;
    return bits;
}

#define CANDIDATES(...)                                                                                                \
    double scores[] = {__VA_ARGS__};                                                                                   \
    enum { N = sizeof scores / sizeof scores[0] };                                                                     \
    dlx_candidate c[N];                                                                                                \
    for (int i = 0; i < N; i++) c[i] = (dlx_candidate)                                                                 \
        {                                                                                                              \
            .position = i, .score = scores[i], .rank = scores[i]                                                       \
        }

static void test_thresholds(void **state)
{
    (void)state;
    {
        CANDIDATES(0.2, 0.9, (double)0.9f, 0.95);
        assert_int_equal(dlx_choose_above(c, N, 0.9), 1); /* strictly, in float32 */
        assert_int_equal(chosen_bits(c, N), 8);
    }
    {
        CANDIDATES(0.2, 0.9, (double)0.9f, 0.95);
        dlx_choose_best_and_sure(c, N, 0.9, true);
        assert_int_equal(chosen_bits(c, N), 14);
    }
    {
        CANDIDATES(0.2, 0.9, (double)nextafterf(0.9f, 0), 0.95);
        dlx_choose_best_and_sure(c, N, 0.9, false); /* 0.9f rounded down is below 0.9 in float64, too */
        assert_int_equal(chosen_bits(c, N), 10);
    }
    {
        CANDIDATES(0.2, 0.1, 0.15);
        dlx_choose_best_and_sure(c, N, 0.9, true);
        assert_int_equal(chosen_bits(c, N), 1);
    }
    {
        CANDIDATES(0.5, 0.7, 0.95, 0.2);
        assert_int_equal(dlx_choose_sure_of_best(c, N, 3, 0.9), 2);
        assert_int_equal(chosen_bits(c, N), 4);
    }
}

/* Fast-dLLM v1's loop, written down from its paper's rule and its published quirk. */
static int32_t factor_reference(const double *sorted, int32_t n, double factor)
{
    int32_t i = 0;
    for (; i < n; i++)
        if (i > 0 && sorted[i] < 1 - factor / (i + 2)) break;
    if (i == n) i = n - 1;
    if (i == 0 || i == n - 1) i++;
    return i;
}

static void test_factor(void **state)
{
    dlx_random r = dlx_random_seeded(12);
    (void)state;
    for (int round = 0; round < 2000; round++) {
        int32_t n = 1 + (int32_t)(dlx_random_uniform(&r) * 9), taken = 0;
        double factor = dlx_random_uniform(&r) * 3, score = 1, sorted[10];
        dlx_candidate c[10];
        for (int32_t i = 0; i < n; i++) {
            sorted[i] = score *= 1 - dlx_random_uniform(&r) * 0.4;
            c[i] = (dlx_candidate){.score = score, .rank = score};
        }
        dlx_choose_by_factor(c, n, factor);
        for (int32_t i = 0; i < n; i++) taken += c[i].chosen;
        assert_int_equal(taken, factor_reference(sorted, n, factor));
        assert_int_equal(chosen_bits(c, n), (1 << taken) - 1);
    }
}

static void test_entropy_bounded(void **state)
{
    (void)state;
    CANDIDATES(-0.3, -0.1, -2.0, -0.2);
    dlx_choose_entropy_bounded(c, N, 0.35); /* 0.1, then 0.3, then 0.6 */
    assert_int_equal(chosen_bits(c, N), 2 + 8);
    for (int i = 0; i < N; i++) c[i].chosen = false;
    dlx_choose_entropy_bounded(c, N, 0); /* at least one */
    assert_int_equal(chosen_bits(c, N), 2);
    for (int i = 0; i < N; i++) c[i].chosen = false;
    dlx_choose_entropy_bounded(c, N, 100);
    assert_int_equal(chosen_bits(c, N), 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_log),
        cmocka_unit_test(test_random_numbers),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_given_draws),
        cmocka_unit_test(test_given_draws_behind_filters),
        cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_draws_without_replacement),
        cmocka_unit_test(test_filtered_distributions),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_ids_without_a_token),
        cmocka_unit_test(test_a_token_that_is_chosen_already),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_bad_rows),
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_factor),
        cmocka_unit_test(test_entropy_bounded),
    };
    return cmocka_run_group_tests(tests, open_files, close_files);
}
