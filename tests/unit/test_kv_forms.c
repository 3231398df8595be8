/*
 * Programs that this library exports with their cache as states or as one tensor: raised they are what sessions run,
 * and with one fact changed they stay as they are. What cannot be a program is refused before anything is written.
 */
#include "fail_fixture.h"
#include "foreign_graph.h"
#include "model/checkpoint.h"
#include "runtime/raise_decoder.h"

static copy folder;

static void path_of(char path[1024], const char *family, const char *form)
{
    char name[64];
    snprintf(name, sizeof name, "%s-%s.pte", family, form);
    path_in(path, folder.folder, name);
}

static int make_programs(void **state)
{
    static const char *const forms[] = {"explicit", "state"}, *const both[] = {"sdar", "dream"};
    (void)state;
    folder = new_folder();
    for (size_t i = 0; i < 4; i++) {
        char checkpoint[1024], path[1024];
        dlx_error err = {0};
        checkpoint_of(checkpoint, both[i / 2]);
        path_of(path, both[i / 2], forms[i % 2]);
        dlx_export_options o = tiny_export(checkpoint, path, i % 2 == 1);
        o.kv = forms[i % 2];
        o.max_seq_len = 32;
        o.max_rows = i / 2 ? 8 : 0;
        if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    }
    return 0;
}

static int remove_programs(void **state)
{
    (void)state;
    remove_copy(&folder);
    return 0;
}

/* ---- changes ---- */

static void nothing(dlx_graph *g)
{
    (void)g;
}

static void stored_rows_end_elsewhere(dlx_graph *g)
{
    find(g, DLX_OP_NARROW, 1)->in[1] = number(g, 4);
}

static void stored_rows_begin_behind_the_first(dlx_graph *g)
{
    find(g, DLX_OP_NARROW, 0)->attr.shape[0] = 1;
}

static void every_other_stored_row(dlx_graph *g)
{
    find(g, DLX_OP_NARROW, 0)->attr.shape[2] = 2;
}

static void keys_are_values(dlx_graph *g)
{
    dlx_node *first = find(g, DLX_OP_NARROW, 0), *second = find(g, DLX_OP_NARROW, 1);
    replace(g, first->out[0], second->out[0]);
}

static void rows_are_added(dlx_graph *g)
{
    find(g, DLX_OP_INDEX_PUT, 0)->attr.keep = true;
}

static void values_are_stored_as_keys(dlx_graph *g)
{
    find(g, DLX_OP_INDEX_PUT, 0)->in[1] = find(g, DLX_OP_INDEX_PUT, 1)->in[1];
}

static void states_change_places(dlx_graph *g)
{
    uint32_t last = g->outputs[g->n_outputs - 1];
    g->outputs[g->n_outputs - 1] = g->outputs[g->n_outputs - 2];
    g->outputs[g->n_outputs - 2] = last;
}

/* The constant of floats with that many elements whose first two are these. */
static float *constant(dlx_graph *g, int64_t elements, float first, float second)
{
    for (size_t i = 0; i < g->n_values; i++) {
        const dlx_value *v = &g->values[i];
        dlx_shape s = dlx_value_shape(v);
        if (v->kind != DLX_VALUE_CONST || v->dtype != DLX_F32 || dlx_shape_elements(&s) != elements || !v->source.data)
            continue;
        const float *data = v->source.data;
        if (data[0] == first && (elements < 2 || data[1] == second)) return own(g, (uint32_t)i);
    }
    fail_msg("there is no such constant");
    return NULL;
}

static void hidden_keys_get_a_little_less(dlx_graph *g)
{
    *constant(g, 1, 1e9f, 0) = 4;
}

static void slots_are_counted_otherwise(dlx_graph *g)
{
    constant(g, 32, 0, 1)[7] = 8;
}

static void rows_meet_others(dlx_graph *g)
{
    float *itself = constant(g, 16, 1, 0);
    itself[0] = 0;
    itself[1] = 1;
}

static void truths_are_not_clamped(dlx_graph *g)
{
    find(g, DLX_OP_CLAMP, 1)->attr.f[1] = 2;
}

static void the_mask_is_another_layers(dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_SLICE && g->nodes[i].in[0] == g->inputs[3]) {
            g->nodes[i].attr.shape[0] = 1;
            return;
        }
    fail_msg("no layer's mask is taken");
}

static void rows_that_are_stored_count_from_values(dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        dlx_node *n = &g->nodes[i];
        if (n->op != DLX_OP_CONCAT || g->values[n->out[0]].rank != 6 || n->attr.axis != 1) continue;
        uint32_t keys = n->in[0];
        n->in[0] = n->in[1];
        n->in[1] = keys;
        return;
    }
    fail_msg("keys and values are not joined");
}

static const struct {
    const char *family, *form;
    void (*change)(dlx_graph *g);
    bool raised;
} cases[] = {
    {"sdar", "state", nothing, true},
    {"dream", "state", nothing, true},
    {"sdar", "state", stored_rows_end_elsewhere, false},
    {"sdar", "state", stored_rows_begin_behind_the_first, false},
    {"sdar", "state", every_other_stored_row, false},
    {"sdar", "state", keys_are_values, false},
    {"sdar", "state", rows_are_added, false},
    {"sdar", "state", values_are_stored_as_keys, false},
    {"sdar", "state", states_change_places, false},
    {"sdar", "explicit", nothing, true},
    {"dream", "explicit", nothing, true},
    {"sdar", "explicit", hidden_keys_get_a_little_less, false},
    {"sdar", "explicit", slots_are_counted_otherwise, false},
    {"sdar", "explicit", rows_meet_others, false},
    {"sdar", "explicit", truths_are_not_clamped, false},
    {"sdar", "explicit", the_mask_is_another_layers, false},
    {"sdar", "explicit", rows_that_are_stored_count_from_values, false},
};

static void every_fact_is_compared(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char path[1024];
        loaded l;
        dlx_error err = {0};
        bool raised;
        path_of(path, cases[k].family, cases[k].form);
        dlx_graph *g = load_file(&l, path);
        cases[k].change(g);
        if (dlx_raise_decoder(g, &raised, &err) != DLX_OK) fail_msg("%s", err.message);
        if (raised != cases[k].raised)
            fail_msg("case %zu, a %s of %s, is%s raised", k, cases[k].form, cases[k].family, raised ? "" : " not");
        done(&l);
    }
}

/* ---- lengths and names ---- */

static void lengths_follow_the_form(void **state)
{
    static const struct {
        const char *family, *kv;
        int32_t max_seq_len, max_rows, rows;
    } wanted[] = {{"sdar", "explicit", 64, 0, 4},         {"llada", "explicit", 64, 0, 32},
                  {"llada", "explicit", 16, 0, 16},       {"dream", "explicit", 64, 7, 7},
                  {"fast_dllm_v2", "state", 160, 0, 128}, {"sdar", "state", 64, 0, 64},
                  {"llada", "state", 128, 0, 128},        {"sdar", "state", 64, 9, 9}};
    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        char checkpoint[1024], path[1024];
        dlx_error err = {0};
        loaded l;
        checkpoint_of(checkpoint, wanted[i].family);
        path_in(path, folder.folder, "lengths.pte");
        dlx_export_options o = tiny_export(checkpoint, path, false);
        o.kv = wanted[i].kv;
        o.max_seq_len = wanted[i].max_seq_len;
        o.max_rows = wanted[i].max_rows;
        if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
        dlx_graph *g = load_file(&l, path);
        assert_int_equal(g->values[g->inputs[0]].dim[1], wanted[i].rows);
        assert_int_equal(dlx_pte_constant_int(&l.pte, "get_max_seq_len", 0), wanted[i].rows);
        assert_int_equal(dlx_pte_constant_int(&l.pte, "get_max_context_len", 0), wanted[i].max_seq_len);
        done(&l);
    }
}

static void other_words_are_refused(void **state)
{
    static const char *const words[] = {"", "mutable", "explicit,state", "caller "};
    (void)state;
    target t = new_target("m.pte");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char checkpoint[1024];
        dlx_error err = {0};
        checkpoint_of(checkpoint, "sdar");
        dlx_export_options o = tiny_export(checkpoint, t.path, false);
        o.kv = words[i];
        assert_int_equal(dlx_export(&o, NULL, &err), DLX_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "this build knows: caller, explicit, state"));
        assert_int_equal(files_beside(&t), 0);
    }
    remove_target(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fact_is_compared),
        cmocka_unit_test(lengths_follow_the_form),
        cmocka_unit_test(other_words_are_refused),
    };
    return cmocka_run_group_tests(tests, make_programs, remove_programs);
}
