/* Records of int8 caches (kernels/kv8.h): every instruction set gives what the rule says, records of what a record
 * stands for are the same, products are exact, and what has no record is told and becomes NaN. */
#include "kernels_check.h"

#include "kernels/kv8.h"

enum { MOST_NUMBERS = 300 };

/* The record, in double. False when there is none. */
static bool record_of(uint8_t *record, const float *x, size_t n)
{
    double most = 0;
    bool fits = true;
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)x[i]) < 0x1p127)) fits = false;
        most = fmax(most, fabs((double)x[i]));
    }
    uint16_t bits = fits ? dlx_f32_to_bf16((float)(most / 127.0)) : 0x7FC0;
    if (dlx_bf16_to_f32(bits) < 0x1p-126f) bits = 0;
    float scale = dlx_bf16_to_f32(bits), up = 1.0f / scale;
    memcpy(record, &bits, sizeof bits);
    for (size_t i = 0; i < n; i++) {
        double q = fits && bits ? rint((double)(x[i] * up)) : 0; /* x * up is rounded to float once, as the rule says */
        q = q > 127 ? 127 : q < -127 ? -127 : q;
        record[DLX_KV8_SCALE_BYTES + i] = (uint8_t)(int8_t)q;
    }
    return fits;
}

/* What the record stands for is near x, without rounding, and has the same record. */
static void check_meaning(const dlx_kernels *k, const uint8_t *record, const float *x, size_t n)
{
    float y[MOST_NUMBERS], scale = dlx_kv8_scale(record);
    uint8_t again[2 + MOST_NUMBERS];
    bool largest = false;
    k->dequantize_i8(y, dlx_kv8_numbers(record), scale, n);
    for (size_t i = 0; i < n; i++) {
        int q = dlx_kv8_numbers(record)[i];
        if ((double)y[i] != (double)q * (double)scale) fail_msg("%d * %a is %a", q, (double)scale, (double)y[i]);
        double apart = fabs((double)y[i] - (double)x[i]), bound = scale > 0 ? 0.5001 * (double)scale : 0x1p-119;
        if (!(apart <= bound)) fail_msg("%a became %a, scale %a", (double)x[i], (double)y[i], (double)scale);
        largest = largest || abs(q) == 127;
    }
    assert_true(largest || scale == 0 || !n);
    assert_true(k->quantize_kv8(again, y, n));
    check_bits("record of a record", again, record, dlx_kv8_bytes(n));
}

static void check_numbers(const dlx_kernels *k, size_t count, rng *r, const float *x, size_t n)
{
    uint8_t want[2 + MOST_NUMBERS];
    bool fits = record_of(want, x, n);
    for (size_t s = 0; s < count; s++) {
        guarded record = guarded_new(dlx_kv8_bytes(n), rng_below(r, 64)),
                copy = guarded_new(n * sizeof *x, 4 * rng_below(r, 16));
        memcpy(copy.p, x, n * sizeof *x);
        if (k[s].quantize_kv8(record.p, copy.p, n) != fits) fail_msg("%s: %zu numbers: not %d", k[s].name, n, fits);
        check_bits(k[s].name, record.p, want, dlx_kv8_bytes(n));
        if (fits) check_meaning(&k[s], record.p, x, n);
        guarded_check(&record);
        guarded_free(&record);
        guarded_free(&copy);
    }
}

static void test_every_kind_and_size(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {88};
    float x[MOST_NUMBERS];
    for (int kind = 0; kind < FILL_KINDS; kind++)
        for (size_t n = 0; n < 140; n += n < 70 ? 1 : 7) {
            fill(&r, x, n, kind);
            check_numbers(k, count, &r, x, n);
        }
    for (int t = 0; t < 2000; t++) { /* any scale */
        size_t n = 1 + rng_below(&r, 40);
        int exponent = (int)rng_below(&r, 280) - 150;
        for (size_t i = 0; i < n; i++) x[i] = ldexpf(rng_f32(&r), exponent);
        check_numbers(k, count, &r, x, n);
    }
}

/* The largest number in every place, next to multiples of a half step, at the edges of what there is a record for. */
static void test_edges(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {89};
    static const float largest[] = {127.0f,       126.75f,  127.25f,     127.5f,    1.0f,      0x1p-119f,
                                    0x1.fcp-120f, 0x1p126f, 0x1.fep126f, 0x1p-126f, 0x1p-149f, 0.0f};
    enum { N = 37 };
    float x[N];
    for (size_t t = 0; t < 3 * sizeof largest / sizeof largest[0]; t++) {
        float most = largest[t / 3];
        if (t % 3) most = nextafterf(most, t % 3 == 1 ? INFINITY : 0.0f);
        for (size_t at = 0; at < N; at++) {
            for (size_t i = 0; i < N; i++) x[i] = most / 127.0f * 0.5f * (float)((int)rng_below(&r, 509) - 254);
            for (size_t i = 0; i < N; i++) x[i] = fabsf(x[i]) > most ? 0.0f : x[i];
            x[at] = at % 2 ? -most : most;
            check_numbers(k, count, &r, x, N);
        }
    }
}

/* One number that no record holds, at every place. */
static void test_what_has_no_record(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {90};
    static const float bad[] = {0x1p127f, -0x1p127f, 3.4e38f, INFINITY, -INFINITY, NAN, -NAN};
    float x[80], y[80];
    for (size_t n = 1; n < 80; n += 3)
        for (size_t at = 0; at < n; at++) {
            fill(&r, x, n, FILL_PLAIN);
            x[at] = bad[(at + n) % (sizeof bad / sizeof bad[0])];
            check_numbers(k, count, &r, x, n);
            for (size_t s = 0; s < count; s++) {
                uint8_t record[82];
                assert_false(k[s].quantize_kv8(record, x, n));
                k[s].dequantize_i8(y, dlx_kv8_numbers(record), dlx_kv8_scale(record), n);
                for (size_t i = 0; i < n; i++) assert_true(isnan(y[i]));
            }
        }
    for (size_t s = 0; s < count; s++) {
        uint8_t record[3];
        assert_true(k[s].quantize_kv8(record, &(float){nextafterf(0x1p127f, 0.0f)}, 1));
        assert_true(dlx_kv8_numbers(record)[0] == 127 && isfinite(127.0f * dlx_kv8_scale(record)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_and_size),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_what_has_no_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
