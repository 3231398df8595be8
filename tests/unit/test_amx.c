/*
 * The AMX set with its tiles in plain C: every number of rows around its blocks and chunks against the set below it,
 * that nothing stays configured, and that the trial in front of the real one notices a wrong bit. And the tiles
 * themselves: what they compute by its formula, and that what a CPU answers with an exception is not passed over.
 */
#include "kernels_gemm_check.h"

#include "amx_emulated.h"
#include "base/cpu.h"
#include "kernels/agree.h"

/* The set below, and the twin; false where the CPU lacks what both need. */
static bool two_sets(dlx_kernels k[2])
{
    if (!dlx_isa_available(DLX_ISA_AVX512VNNI)) {
        printf("not run on this CPU: amx's twin\n");
        return false;
    }
    dlx_kernels_init(&k[0], DLX_ISA_AVX512VNNI);
    dlx_kernels_init(&k[1], DLX_ISA_AVX512VNNI);
    dlx_kernels_set_amx_twin(&k[1]);
    return true;
}

static void compare(const dlx_kernels k[2], const product *p, shape s, size_t index)
{
    rng r = {77 + index};
    gemm_case c = gemm_case_new(&r, p, s, index);
    const uint32_t nan = 0x7FC00000;
    if (s.rows > 2) memcpy((float *)c.x.p + s.rows / 2 * c.x_stride, &nan, sizeof nan);
    output expected = output_new(c.s, 0, 0), y = output_new(c.s, index % 4, 4 * (index % 16));
    gemm_compute(&k[0], &c, &expected);
    gemm_compute(&k[1], &c, &y);
    assert_int_equal(amx_busy(), 0);
    for (size_t m = 0; m < c.s.rows; m++) check_same(p->name, output_row(&y, m), output_row(&expected, m), c.s.n_out);
    output_free(&y);
    output_free(&expected);
    gemm_case_free(&c);
}

/* Blocks of 16 rows, two at a time, the last ones short. */
static void every_number_of_rows(void **state)
{
    dlx_kernels k[2];
    if (!two_sets(k)) skip();
    unsigned long before = amx_dots();
    for (size_t rows = 1; rows <= 66; rows++)
        for (size_t p = 0; p < PRODUCTS; p++)
            if (products[p].act != ACT_FLOAT)
                compare(k, &products[p], (shape){rows, 1 + rows * 5 % 67, 60 + rows % 9}, rows);
    assert_true(amx_dots() > before + 66 * 2);
    (void)state;
}

/* Chunks of 64 inputs, the last one short. */
static void every_number_of_inputs(void **state)
{
    dlx_kernels k[2];
    if (!two_sets(k)) skip();
    for (size_t n_in = 1; n_in <= 133; n_in++)
        for (size_t p = 0; p < PRODUCTS; p++)
            if (products[p].act != ACT_FLOAT && products[p].w == W_I8)
                compare(k, &products[p], (shape){1 + n_in * 7 % 37, 33, n_in}, n_in);
    (void)state;
}

/* Right as it is, and wrong as soon as any product of tiles has one wrong bit. */
static void a_trial_notices_a_bit(void **state)
{
    dlx_kernels k[2];
    if (!two_sets(k)) skip();
    unsigned long before = amx_dots(), of_trial;
    assert_true(dlx_kernels_agree(&k[0], &k[0]));
    assert_true(dlx_kernels_agree(&k[1], &k[0]));
    of_trial = amx_dots() - before;
    assert_in_range(of_trial, 2 * 2 * 6, 100); /* products, panels, tiles of sums */
    size_t noticed = 0;
    for (size_t i = 0; i < of_trial; i++) {
        amx_spoil(i);
        noticed += !dlx_kernels_agree(&k[1], &k[0]);
    }
    amx_spoil(SIZE_MAX);
    assert_int_equal(noticed, of_trial);
    assert_true(dlx_kernels_agree(&k[1], &k[0]));
    assert_int_equal(amx_busy(), 0);
    (void)state;
}

/* Sets whose blocks do not fit the trial are not said to agree. */
static size_t too_much(dlx_gemm_shape s)
{
    return 1 << 20 | s.n_in;
}

static void a_trial_stays_in_its_memory(void **state)
{
    dlx_kernels k[2];
    if (!two_sets(k)) skip();
    k[1].gemm_qs8_qc8w.packed_size = too_much;
    assert_false(dlx_kernels_agree(&k[1], &k[0]));
    (void)state;
}

static void tiles_are_not_given_where_there_are_none(void **state)
{
    if (!dlx_cpu_has_tiles()) assert_false(dlx_cpu_take_tiles());
    assert_true(!dlx_isa_available(DLX_ISA_AMX) || dlx_cpu_take_tiles());
    (void)state;
}

/* ---- tiles ------------------------------------------------------------------------------------------------------ */

/* Sums of 3 x 5, operands of 3 x 28 bytes and 7 x 20. */
static amx_config small(void)
{
    return (amx_config){.palette = 1, .rows = {3, 3, 7}, .bytes = {20, 28, 20}};
}

static void products_by_their_formula(void **state)
{
    amx_config c = small();
    uint8_t u[3 * 40], s[7 * 24];
    int32_t sums[4][6];
    rng r = {3};
    for (size_t i = 0; i < sizeof u; i++) u[i] = (uint8_t)rng_u32(&r);
    for (size_t i = 0; i < sizeof s; i++) s[i] = (uint8_t)rng_u32(&r);
    memset(sums, 0x5A, sizeof sums);
    amx_configure(&c);
    assert_int_equal(amx_busy(), 1);
    AMX_LOAD(1, u, 40);
    AMX_LOAD(2, s, 24);
    AMX_ZERO(0);
    AMX_DOT(0, 1, 2);
    AMX_DOT(0, 1, 2);
    AMX_STORE(0, sums, 24);
    amx_release();
    assert_int_equal(amx_busy(), 0);
    for (size_t m = 0; m < 4; m++) {
        for (size_t n = 0; n < 6; n++) {
            int32_t expected = 0;
            for (size_t k = 0; k < 28; k++)
                expected += 2 * u[m % 3 * 40 + k] * (int8_t)s[k / 4 * 24 + 4 * n % 20 + k % 4];
            assert_int_equal(sums[m][n], m < 3 && n < 5 ? expected : 0x5A5A5A5A);
        }
    }
    (void)state;
}

static void expect(const char *what)
{
    const char *got = amx_expected();
    if (!got || !strstr(got, what)) fail_msg("expected an exception with '%s', got '%s'", what, got ? got : "none");
    amx_release();
}

static void wrong_configurations(void **state)
{
    static const struct {
        const char *what;
        size_t at; /* in the 64 bytes */
        uint8_t value;
    } wrong[] = {
        {"palette", 0, 2},
        {"palette", 0, 0},
        {"reserved bytes", 1, 1},
        {"reserved bytes", 15, 1},
        {"reserved registers", 32, 1},
        {"reserved registers", 63, 1},
        {"too large", 48, 17},
        {"too large", 18, 65},
        {"too large", 19, 1},
        {"rows without", 16, 0},
        {"rows without", 50, 0},
        {"rows without", 55, 1},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        amx_config c = small();
        ((uint8_t *)&c)[wrong[i].at] = wrong[i].value;
        amx_expect();
        amx_configure(&c);
        assert_int_equal(amx_busy(), 0);
        expect(wrong[i].what);
    }
    (void)state;
}

static void wrong_uses(void **state)
{
    amx_config c = small();
    uint8_t memory[16 * 64] = {0};
    amx_expect();
    AMX_ZERO(0);
    expect("not configured");
    amx_expect();
    AMX_LOAD(1, memory, 64);
    expect("not configured");
    amx_configure(&c);
    amx_expect();
    AMX_STORE(3, memory, 64);
    expect("register is not configured");
    amx_configure(&c);
    amx_expect();
    AMX_ZERO(8);
    expect("no such register");
    amx_configure(&c);
    amx_expect();
    AMX_DOT(0, 1, 1);
    expect("twice");
    static const struct {
        const char *what;
        uint8_t rows[3], bytes[3];
    } sizes[] = {
        {"whole numbers", {3, 3, 7}, {22, 28, 22}}, {"whole numbers", {3, 3, 7}, {20, 30, 20}},
        {"other rows", {2, 3, 7}, {20, 28, 20}},    {"other columns", {3, 3, 7}, {24, 28, 20}},
        {"do not fit", {3, 3, 6}, {20, 28, 20}},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t t = 0; t < 3; t++) {
            c.rows[t] = sizes[i].rows[t];
            c.bytes[t] = sizes[i].bytes[t];
        }
        amx_configure(&c);
        amx_expect();
        AMX_DOT(0, 1, 2);
        expect(sizes[i].what);
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_of_rows),
        cmocka_unit_test(every_number_of_inputs),
        cmocka_unit_test(a_trial_notices_a_bit),
        cmocka_unit_test(a_trial_stays_in_its_memory),
        cmocka_unit_test(tiles_are_not_given_where_there_are_none),
        cmocka_unit_test(products_by_their_formula),
        cmocka_unit_test(wrong_configurations),
        cmocka_unit_test(wrong_uses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
