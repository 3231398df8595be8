/*
 * Limits of the machine: the table of probes, and that each that this CPU has runs and gives a rate. What the rates are
 * is nothing that a test could know.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/probe.h"

static void probes_have_names_and_work(void **state)
{
    const dlx_probe *p, *q;
    size_t reads = 0;
    (void)state;
    for (size_t i = 0; (p = dlx_probe_at(i)) != NULL; i++) {
        assert_in_range(p->kind, 0, DLX_PROBE_KINDS - 1);
        assert_true(strlen(dlx_probe_kind_name(p->kind)) > 3);
        assert_true(strlen(p->name) > 3);
        assert_true(p->kind == DLX_PROBE_READ ? p->work == 0 && i == reads++ : p->work > 0);
        for (size_t k = 0; (q = dlx_probe_at(k)) != p; k++)
            assert_false(p->kind == q->kind && !strcmp(p->name, q->name));
    }
    assert_int_equal(reads, 2);
    assert_null(dlx_probe_at(SIZE_MAX));
    assert_null(dlx_probe_loop(SIZE_MAX));
}

/* Each set but the reference has what its products are made of, and a CPU that can run the set has it, too. */
static void kernel_sets_have_their_instructions(void **state)
{
    dlx_isa sets[8];
    size_t n = dlx_isa_list(sets);
    (void)state;
    for (size_t s = 1; s < n; s++) {
        const dlx_probe *p;
        size_t found = 0;
        dlx_kernels k;
        dlx_kernels_init(&k, sets[s]);
        for (size_t i = 0; (p = dlx_probe_at(i)) != NULL; i++) {
            if (p->isa != sets[s]) continue;
            found += p->kind == DLX_PROBE_INT8;
            if (k.isa == sets[s]) assert_true(p->present());
        }
        assert_int_equal(found, 1);
    }
}

static void all_that_are_there_run(void **state)
{
    dlx_pool *pool;
    dlx_error err = {0};
    const dlx_probe *p;
    (void)state;
    assert_int_equal(dlx_pool_create(&pool, 2, &err), DLX_OK);
    for (size_t i = 0; (p = dlx_probe_at(i)) != NULL; i++) {
        double rate = 77;
        dlx_status s = dlx_probe_measure(p, i % 2 ? pool : NULL, &rate, &err);
        if (p->present()) {
            if (s != DLX_OK) fail_msg("%s: %s", p->name, err.message);
            assert_true(isfinite(rate) && rate > 1e3);
            if (p->kind != DLX_PROBE_READ) p->run(1);
        } else {
            printf("not run on this CPU: %s\n", p->name);
            assert_int_equal(s, DLX_E_UNSUPPORTED);
            assert_non_null(strstr(err.message, p->name));
            assert_true(rate == 0);
        }
    }
    dlx_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probes_have_names_and_work),
        cmocka_unit_test(kernel_sets_have_their_instructions),
        cmocka_unit_test(all_that_are_there_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
