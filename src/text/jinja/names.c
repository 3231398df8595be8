#include "text/jinja/names.h"

#include <string.h>

#define NAME(symbol, name) name,

static const char *const filters[] = {DLX_JINJA_FILTER_NAMES(NAME)};
static const char *const tests[] = {DLX_JINJA_TEST_NAMES(NAME)};

typedef struct other_name {
    const char *name;
    int number;
} other_name;

static const other_name other_filters[] = {
    {"count", DLX_JINJA_FILTER_LENGTH}, {"d", DLX_JINJA_FILTER_DEFAULT}, {"e", DLX_JINJA_FILTER_ESCAPE}};

static const other_name other_tests[] = {
    {"equalto", DLX_JINJA_TEST_EQ},     {"==", DLX_JINJA_TEST_EQ}, {"!=", DLX_JINJA_TEST_NE},
    {"greaterthan", DLX_JINJA_TEST_GT}, {">", DLX_JINJA_TEST_GT},  {">=", DLX_JINJA_TEST_GE},
    {"lessthan", DLX_JINJA_TEST_LT},    {"<", DLX_JINJA_TEST_LT},  {"<=", DLX_JINJA_TEST_LE}};

static int find(const char *const *names, size_t count, const other_name *others, size_t n_others, const char *name,
                size_t n)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0) return (int)i;
    for (size_t i = 0; i < n_others; i++)
        if (strlen(others[i].name) == n && memcmp(others[i].name, name, n) == 0) return others[i].number;
    return -1;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int dlx_jinja_find_filter(const char *name, size_t n)
{
    return find(filters, COUNT(filters), other_filters, COUNT(other_filters), name, n);
}

int dlx_jinja_find_test(const char *name, size_t n)
{
    return find(tests, COUNT(tests), other_tests, COUNT(other_tests), name, n);
}

const char *dlx_jinja_filter_name(int filter)
{
    return filters[filter];
}

const char *dlx_jinja_test_name(int test)
{
    return tests[test];
}
