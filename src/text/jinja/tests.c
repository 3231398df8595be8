/* Tests: what stands behind `is`. */
#include <string.h>

#include "text/jinja/names.h"
#include "text/jinja/run.h"
#include "text/jinja/unicode.h"

/* Whether both are one object of Python's. */
static bool same(const dlx_jv *a, const dlx_jv *b)
{
    if (a->type != b->type) return false;
    switch (a->type) {
    case DLX_JV_NONE: return true;
    case DLX_JV_BOOL: return a->as.b == b->as.b;
    case DLX_JV_INT: return a->as.i == b->as.i && a->as.i >= -5 && a->as.i <= 256;
    case DLX_JV_FUNCTION: return a->number == b->number;
    case DLX_JV_STRING: return a->as.string == b->as.string || (a->as.string->n == 0 && b->as.string->n == 0);
    case DLX_JV_UNDEFINED:
    case DLX_JV_FLOAT:
    case DLX_JV_METHOD: return false;
    default: return a->as.dict == b->as.dict;
    }
}

/* value % n == 0 or 1, as odd, even and divisibleby ask. */
static bool remainder_is(dlx_jx *x, const dlx_jv *v, const dlx_jv *n, int64_t wanted, bool *result)
{
    dlx_jv rest, number = dlx_jv_int(wanted);
    return dlx_jv_arithmetic(x, DLX_JINJA_MOD, v, n, &rest) && dlx_jv_equal(x, &rest, &number, result);
}

static bool has_case(dlx_jx *x, const dlx_jv *v, int which, bool *result)
{
    dlx_jv text;
    if (!dlx_jv_to_string(x, v, &text)) return false;
    *result = dlx_jv_all_are(text.as.string, which);
    return true;
}

static bool is_known(dlx_jx *x, const dlx_jv *v, bool filter, bool *result)
{
    const dlx_jv_string *s;
    if (!dlx_jx_need_string(x, v, filter ? "filter" : "test", &s)) return false;
    *result = (filter ? dlx_jinja_find_filter(s->p, s->n) : dlx_jinja_find_test(s->p, s->n)) >= 0;
    return true;
}

static bool is_callable(const dlx_jv *v)
{
    return v->type == DLX_JV_UNDEFINED || v->type == DLX_JV_MACRO || v->type == DLX_JV_FUNCTION ||
           v->type == DLX_JV_METHOD || v->type == DLX_JV_JOINER || v->type == DLX_JV_LOOP;
}

/* Tests without arguments that only look at the type. */
static bool test_type(int test, const dlx_jv *v)
{
    switch (test) {
    case DLX_JINJA_TEST_BOOLEAN: return v->type == DLX_JV_BOOL;
    case DLX_JINJA_TEST_CALLABLE: return is_callable(v);
    case DLX_JINJA_TEST_DEFINED: return v->type != DLX_JV_UNDEFINED;
    case DLX_JINJA_TEST_ESCAPED: return v->markup;
    case DLX_JINJA_TEST_FALSE: return v->type == DLX_JV_BOOL && !v->as.b;
    case DLX_JINJA_TEST_FLOAT: return v->type == DLX_JV_FLOAT;
    case DLX_JINJA_TEST_INTEGER: return v->type == DLX_JV_INT || v->type == DLX_JV_BIG;
    case DLX_JINJA_TEST_ITERABLE: return dlx_jx_is_iterable(v);
    case DLX_JINJA_TEST_MAPPING: return v->type == DLX_JV_DICT;
    case DLX_JINJA_TEST_NONE: return v->type == DLX_JV_NONE;
    case DLX_JINJA_TEST_NUMBER: return dlx_jv_is_number(v) || v->type == DLX_JV_BIG;
    case DLX_JINJA_TEST_SEQUENCE: return dlx_jv_is_sequence(v) || v->type == DLX_JV_DICT || v->type == DLX_JV_UNDEFINED;
    case DLX_JINJA_TEST_STRING: return v->type == DLX_JV_STRING;
    case DLX_JINJA_TEST_TRUE: return v->type == DLX_JV_BOOL && v->as.b;
    default: return v->type == DLX_JV_UNDEFINED;
    }
}

static int comparison_of(int test)
{
    switch (test) {
    case DLX_JINJA_TEST_EQ: return DLX_JINJA_EQ;
    case DLX_JINJA_TEST_NE: return DLX_JINJA_NE;
    case DLX_JINJA_TEST_LT: return DLX_JINJA_LT;
    case DLX_JINJA_TEST_LE: return DLX_JINJA_LE;
    case DLX_JINJA_TEST_GT: return DLX_JINJA_GT;
    case DLX_JINJA_TEST_GE: return DLX_JINJA_GE;
    case DLX_JINJA_TEST_IN: return DLX_JINJA_IN;
    default: return -1;
    }
}

bool dlx_jx_test(dlx_jx *x, int test, const dlx_jv *v, const dlx_jx_arguments *a, bool *result)
{
    int comparison = comparison_of(test);
    bool one = comparison >= 0 || test == DLX_JINJA_TEST_DIVISIBLEBY || test == DLX_JINJA_TEST_SAMEAS;
    const char *names = test == DLX_JINJA_TEST_DIVISIBLEBY ? "num"
                        : test == DLX_JINJA_TEST_SAMEAS    ? "other"
                        : test == DLX_JINJA_TEST_IN        ? "seq"
                                                           : "b";
    dlx_jv argument, two = dlx_jv_int(2);
    *result = false;
    if (!dlx_jx_step(x, 1) || !dlx_jx_bind(x, a, dlx_jinja_test_name(test), one ? names : "", one, &argument))
        return false;
    if (comparison >= 0) return dlx_jv_compare(x, comparison, v, &argument, result);
    switch (test) {
    case DLX_JINJA_TEST_DIVISIBLEBY: return remainder_is(x, v, &argument, 0, result);
    case DLX_JINJA_TEST_EVEN: return remainder_is(x, v, &two, 0, result);
    case DLX_JINJA_TEST_ODD: return remainder_is(x, v, &two, 1, result);
    case DLX_JINJA_TEST_FILTER:
    case DLX_JINJA_TEST_TEST: return is_known(x, v, test == DLX_JINJA_TEST_FILTER, result);
    case DLX_JINJA_TEST_LOWER: return has_case(x, v, DLX_JINJA_IS_LOWER, result);
    case DLX_JINJA_TEST_UPPER: return has_case(x, v, DLX_JINJA_IS_UPPER, result);
    case DLX_JINJA_TEST_SAMEAS: *result = same(v, &argument); return true;
    default: *result = test_type(test, v); return true;
    }
}
