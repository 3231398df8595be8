/* What the tests of the decoders that read recorded cases share: ids, options and steps in JSON. cmocka comes first. */
#ifndef TEST_DIFFUSION_JSON_H
#define TEST_DIFFUSION_JSON_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "diffulex_edge/decode.h"

static inline json_t *case_file(const char *path)
{
    json_error_t error;
    json_t *file = json_load_file(path, 0, &error);
    if (!file) print_error("%s:%d: %s\n", path, error.line, error.text);
    return file;
}

static inline int32_t case_int(json_t *object, const char *key)
{
    return (int32_t)json_integer_value(json_object_get(object, key));
}

static inline const char *case_text(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static inline size_t case_ids(json_t *array, int32_t *out, size_t capacity)
{
    assert_true(json_array_size(array) <= capacity);
    for (size_t i = 0; i < json_array_size(array); i++) out[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return json_array_size(array);
}

static inline void case_option_text(json_t *value, char *out, size_t n)
{
    out[0] = '\0';
    if (json_is_integer(value))
        snprintf(out, n, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(out, n, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(out, n, "%s", json_is_true(value) ? "true" : "false");
    else if (json_is_string(value))
        snprintf(out, n, "%s", json_string_value(value));
    else if (json_is_null(value))
        snprintf(out, n, "null");
    size_t i;
    json_t *item;
    json_array_foreach(value, i, item)
    {
        size_t used = strlen(out);
        snprintf(out + used, n - used, "%s%lld", i ? "," : "", (long long)json_integer_value(item));
    }
}

/* Every option under its own name, algorithm included. Freed by the caller. */
static inline dlx_decode_options *case_options(json_t *c)
{
    dlx_decode_options *o;
    dlx_error err = {0};
    const char *name;
    json_t *value;
    assert_int_equal(dlx_decode_options_create(&o, &err), DLX_OK);
    assert_int_equal(dlx_decode_options_set(o, "algorithm", case_text(c, "algorithm"), &err), DLX_OK);
    json_object_foreach(json_object_get(c, "options"), name, value)
    {
        char text[200];
        case_option_text(value, text, sizeof text);
        if (dlx_decode_options_set(o, name, text, &err) != DLX_OK) fail_msg("%s", err.message);
    }
    return o;
}

/* want: [block, start, rows, cached, [[position, id, score], ...]] */
static inline void case_check_step(size_t number, size_t k, const dlx_step *got, json_t *want)
{
    int32_t numbers[] = {got->block, got->start, got->rows, got->cached};
    for (size_t i = 0; i < 4; i++)
        if (numbers[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("case %zu step %zu: number %zu is %d, not %lld", number, k, i, numbers[i],
                     (long long)json_integer_value(json_array_get(want, i)));
    json_t *accepted = json_array_get(want, 4);
    if (got->n_accepted != json_array_size(accepted))
        fail_msg("case %zu step %zu: %zu accepted, not %zu", number, k, got->n_accepted, json_array_size(accepted));
    for (size_t i = 0; i < got->n_accepted; i++) {
        json_t *a = json_array_get(accepted, i);
        if (got->accepted[i].position != json_integer_value(json_array_get(a, 0)) ||
            got->accepted[i].id != json_integer_value(json_array_get(a, 1)) ||
            !(fabs((double)got->accepted[i].confidence - json_number_value(json_array_get(a, 2))) < 1e-4))
            fail_msg("case %zu step %zu: accepted %d = %d (%g)", number, k, got->accepted[i].position,
                     got->accepted[i].id, (double)got->accepted[i].confidence);
    }
}

/* All steps, the number of model calls, and the ids. */
static inline void case_check(size_t number, const dlx_generation *g, json_t *c)
{
    json_t *steps = json_object_get(c, "steps");
    int32_t want[512];
    size_t n;
    for (size_t k = 0; k < json_array_size(steps); k++) {
        dlx_step step = {.struct_size = sizeof step};
        if (!dlx_generation_step(g, k, &step))
            fail_msg("case %zu (%s) ends after %zu steps", number, case_text(c, "algorithm"), k);
        case_check_step(number, k, &step, json_array_get(steps, k));
    }
    assert_string_equal(dlx_generation_algorithm(g), case_text(c, "algorithm"));
    assert_int_equal(dlx_generation_num_steps(g), json_array_size(steps));
    assert_int_equal(dlx_generation_num_forwards(g), case_int(c, "num_forwards"));
    size_t n_want = case_ids(json_object_get(c, "output_ids"), want, 512);
    const int32_t *got = dlx_generation_output_ids(g, &n);
    assert_int_equal(n, n_want);
    assert_memory_equal(got, want, n * sizeof *got);
}

#endif
