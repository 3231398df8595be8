/* Methods: inputs that a caller can get wrong, and what a failed call leaves. Their answers are in test_foreign.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "diffulex_edge/method.h"

enum { MOST_INPUTS = 8 };

typedef struct call {
    dlx_method *m;
    dlx_tensor in[MOST_INPUTS];
    size_t n;
} call;

/* The method with inputs of zeros, as large as they may be. */
static call open_call(const char *name)
{
    call c = {.n = 0};
    char path[512];
    dlx_error err = {0};
    snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.pte", name);
    if (dlx_method_open(&c.m, path, NULL, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    c.n = dlx_method_num_inputs(c.m);
    assert_in_range(c.n, 1, MOST_INPUTS);
    for (size_t i = 0; i < c.n; i++) {
        dlx_tensor_info info = {.struct_size = sizeof info};
        assert_int_equal(dlx_method_input_info(c.m, i, &info, &err), DLX_OK);
        c.in[i] = (dlx_tensor){.struct_size = sizeof c.in[i], .element = info.element, .rank = info.rank};
        memcpy(c.in[i].size, info.size, sizeof info.size);
        size_t bytes = dlx_element_size(info.element);
        for (int d = 0; d < info.rank; d++) bytes *= (size_t)info.size[d];
        c.in[i].data = calloc(bytes + 8, 1);
        assert_non_null(c.in[i].data);
    }
    return c;
}

static void close_call(call *c)
{
    for (size_t i = 0; i < c->n; i++) free(c->in[i].data);
    dlx_method_close(c->m);
}

static void expect(call *c, dlx_status status, const char *words)
{
    dlx_error err = {0};
    assert_int_equal(dlx_method_run(c->m, c->in, c->n, &err), status);
    if (!strstr(err.message, words)) fail_msg("'%s' does not say '%s'", err.message, words);
}

static void wrong_inputs_are_refused(void **state)
{
    (void)state;
    call c = open_call("arithmetic");
    dlx_tensor good = c.in[0];
    dlx_error err = {0};
    assert_int_equal(dlx_method_run(c.m, c.in, c.n + 1, &err), DLX_E_INVALID);
    assert_int_equal(dlx_method_run(c.m, c.in, c.n - 1, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "inputs were given"));
    c.in[0].element = good.element == DLX_ELEMENT_BOOL ? DLX_ELEMENT_UINT8 : DLX_ELEMENT_BOOL;
    expect(&c, DLX_E_INVALID, "input 0 holds bool; expected ");
    c.in[0].element = 99;
    expect(&c, DLX_E_INVALID, "input 0 holds ?; expected ");
    c.in[0] = good;
    c.in[0].rank++;
    expect(&c, DLX_E_INVALID, "dimensions; expected ");
    c.in[0] = good;
    c.in[0].size[0] = -1;
    expect(&c, DLX_E_INVALID, "dimension 0 is -1");
    c.in[0].size[0] = good.size[0] + 1;
    expect(&c, DLX_E_LIMIT, "");
    c.in[0] = good;
    c.in[0].data = NULL;
    expect(&c, DLX_E_INVALID, "input 0: its data must lie at a multiple of");
    c.in[0].data = (char *)good.data + 1;
    expect(&c, DLX_E_INVALID, "input 0: its data must lie at a multiple of");
    c.in[0] = good;
    c.in[0].struct_size = 3;
    expect(&c, DLX_E_INVALID, "struct_size");
    c.in[0] = good;
    assert_int_equal(dlx_method_run(c.m, c.in, c.n, &err), DLX_OK);
    close_call(&c);
}

static void outputs_are_those_of_the_last_call_that_succeeded(void **state)
{
    (void)state;
    call c = open_call("arithmetic");
    size_t n = dlx_method_num_outputs(c.m);
    dlx_tensor out = {.struct_size = sizeof out};
    dlx_tensor_info info = {.struct_size = sizeof info};
    dlx_error err = {0};
    assert_int_equal(dlx_method_output(c.m, 0, &out, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "before a call succeeded"));
    assert_int_equal(dlx_method_run(c.m, c.in, c.n, &err), DLX_OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(dlx_method_output_info(c.m, i, &info, &err), DLX_OK);
        assert_int_equal(dlx_method_output(c.m, i, &out, &err), DLX_OK);
        assert_true(out.element == info.element && out.rank == info.rank && out.data);
        for (int d = 0; d < out.rank; d++) assert_true(out.size[d] <= info.size[d]);
    }
    assert_int_equal(dlx_method_output(c.m, n, &out, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "was asked for; the method has"));
    assert_int_equal(dlx_method_output_info(c.m, n, &info, &err), DLX_E_INVALID);
    assert_int_equal(dlx_method_input_info(c.m, c.n, &info, &err), DLX_E_INVALID);
    assert_int_equal(dlx_method_run(c.m, c.in, c.n + 1, &err), DLX_E_INVALID);
    assert_int_equal(dlx_method_output(c.m, 0, &out, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "after one that failed"));
    assert_int_equal(dlx_method_run(c.m, c.in, c.n, &err), DLX_OK);
    dlx_method_reset(c.m);
    assert_int_equal(dlx_method_output(c.m, 0, &out, &err), DLX_E_INVALID);
    close_call(&c);
    dlx_method_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_inputs_are_refused),
        cmocka_unit_test(outputs_are_those_of_the_last_call_that_succeeded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
