/* Rotary scaling: what a configuration says becomes the tables that transformers makes of it. */
#include "checkpoint_copy.h"

#include <math.h>

#include "model/rope.h"

enum { POSITIONS = 1024, MOST_DIM = 64 };

static float cosines[POSITIONS * MOST_DIM], sines[POSITIONS * MOST_DIM];

static void compare(const json_t *rows, const char *what, const float *table, int32_t d, const json_t *positions)
{
    size_t i, j;
    json_t *row, *number;
    json_array_foreach((json_t *)rows, i, row)
    {
        size_t p = (size_t)json_integer_value(json_array_get(positions, i));
        json_array_foreach(row, j, number)
        {
            /* The angle of position 1023 has lost a few units of its last place by then. */
            float mine = table[p * (size_t)d + (size_t)d / 2 + j];
            if (fabs((double)mine - json_number_value(number)) > 2e-5)
                fail_msg("%s, position %zu, dimension %zu: %.9g, expected %.9g", what, p, j, (double)mine,
                         json_number_value(number));
        }
    }
}

static void scalings_are_those_of_transformers(void **state)
{
    (void)state;
    json_t *root, *c;
    size_t i;
    dlx_error err = {0};
    assert_int_equal(dlx_json_load(&root, DLX_TEST_DATA "/model/rope_scaling.json", 1 << 20, &err), DLX_OK);
    int32_t d = (int32_t)json_integer_value(json_object_get(root, "head_dim")), kinds = 0;
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        const char *name = json_string_value(json_object_get(c, "name"));
        for (int older = 0; older < 2; older++) { /* under both keys */
            json_t *config = json_pack("{s:f, s:O}", "rope_theta", 10000.0, older ? "rope_scaling" : "rope_parameters",
                                       json_object_get(c, "rope"));
            dlx_config_files f = {.folder = "folder", .config = config};
            dlx_rope_scaling scaling;
            double theta;
            if (dlx_rope_read(&theta, &scaling, &f, 2048, &err) != DLX_OK) fail_msg("%s", err.message);
            assert_true(theta == 10000.0);
            kinds |= 1 << scaling.kind;
            dlx_rope_tables(cosines, sines, theta, &scaling, d, POSITIONS);
            compare(json_object_get(c, "cos"), name, cosines, d, json_object_get(c, "positions"));
            compare(json_object_get(c, "sin"), name, sines, d, json_object_get(c, "positions"));
            json_decref(config);
        }
    }
    assert_int_equal(kinds, 1 << DLX_ROPE_LINEAR | 1 << DLX_ROPE_LLAMA3 | 1 << DLX_ROPE_YARN);
    json_decref(root);
}

static void the_inner_theta_counts(void **state)
{
    (void)state;
    dlx_error err = {0};
    json_t *config = json_pack("{s:i, s:{s:s, s:f}}", "rope_theta", 7, "rope_parameters", "rope_type", "default",
                               "rope_theta", 500.0);
    dlx_config_files f = {.folder = "folder", .config = config};
    dlx_rope_scaling scaling;
    double theta;
    assert_int_equal(dlx_rope_read(&theta, &scaling, &f, 2048, &err), DLX_OK);
    assert_true(theta == 500.0 && scaling.kind == DLX_ROPE_DEFAULT);
    /* Dynamic scaling begins behind the checkpoint's positions: within them nothing changes. */
    json_object_set_new(json_object_get(config, "rope_parameters"), "rope_type", json_string("dynamic"));
    json_object_set_new(json_object_get(config, "rope_parameters"), "factor", json_real(4));
    assert_int_equal(dlx_rope_read(&theta, &scaling, &f, 2048, &err), DLX_OK);
    assert_true(scaling.kind == DLX_ROPE_DEFAULT);
    json_decref(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalings_are_those_of_transformers),
        cmocka_unit_test(the_inner_theta_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
