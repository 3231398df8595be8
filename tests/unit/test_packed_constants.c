/*
 * Constants inside of a delegate are those that XNNPACK packs when a program is loaded; all others are tensors of the
 * program. ExecuTorch's weights cache, which is on in builds for Android and Apple, frees everything else of a delegate
 * behind XNNPACK's back (XNNWeightsCache::finalize_for_runtime of 1.4.1 and 1.5.1), and the delegate's own bytes are
 * freed in all builds (XnnpackBackend::init).
 */
#include "lower_to_xnnpack.h"
#include "fail_fixture.h"

#include "backends/xnnpack/xnnpack.h"
#include "base/sizes.h"
#include "foreign_graph.h"
#include "format/keys.h"
#include "format/pte.h"
#include "format/xnnpack.h"
#include "shared_folder.h"
#include "whole_file.h"

/* ---- the rule ---------------------------------------------------------------------------------------------------- */

static const dlx_xnn_value *value_of(const dlx_xnn_graph *x, uint32_t id)
{
    for (uint32_t i = 0; i < x->n_values; i++)
        if (x->values[i].id == id) return &x->values[i];
    fail_msg("payload value %u is not defined", id);
    return NULL;
}

/* What XNNPACK packs of the nodes that are written here: filter and bias of a fully connected layer whose filter is a
 * constant (`static_data` in its src/subgraph/fully-connected.c; other filters are packed in every call). ExecuTorch
 * has the same list in getPackedValueIds of backends/xnnpack/runtime/XNNCompiler.cpp, with convolutions besides. */
static bool packs(const dlx_xnn_graph *x, const dlx_xnn_node *n, int k)
{
    return n->type == DLX_XNN_FULLY_CONNECTED && k >= 1 && value_of(x, n->in[1])->constant;
}

typedef struct seen {
    uint32_t packed; /* operands inside of delegates */
    uint32_t given;  /* constants of the program that delegate calls get */
    char mark[DLX_KEY_MARK + 1];
} seen;

static void check_payload(const dlx_xnn_graph *x, const char *what)
{
    for (uint32_t i = 0; i < x->n_nodes; i++)
        for (int k = 0; k < x->nodes[i].inputs; k++) {
            const dlx_xnn_node *n = &x->nodes[i];
            if (n->in[k] == DLX_XNN_NONE || !value_of(x, n->in[k])->constant || packs(x, n, k)) continue;
            fail_msg("%s: node %u, %s, reads constant '%s' in every call", what, i, dlx_xnn_node_name(n->type),
                     x->constants[value_of(x, n->in[k])->constant].key);
        }
}

/* Every constant of the payload is named data, and is one that some value has. */
static uint32_t check_keys(const dlx_xnn_graph *x)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < x->n_values; i++) used += (x->values[i].constant > 0) + (x->values[i].scales > 0);
    for (uint32_t i = 1; i < x->n_constants; i++) assert_non_null(x->constants[i].key);
    assert_int_equal(used, x->n_constants - 1);
    return used;
}

/* All keys of a file's delegates end with one mark. */
static void check_marks(const dlx_xnn_graph *x, char mark[DLX_KEY_MARK + 1])
{
    for (uint32_t i = 1; i < x->n_constants; i++) {
        const char *at = strrchr(x->constants[i].key, '#');
        assert_non_null(at);
        assert_int_equal(strlen(at), DLX_KEY_MARK);
        if (!*mark) memcpy(mark, at, DLX_KEY_MARK + 1);
        assert_string_equal(at, mark);
    }
}

static void check_plan(const dlx_pte *pte, const dlx_pte_plan *plan, const char *what, seen *s)
{
    for (uint32_t i = 0; i < plan->n_instructions; i++) {
        const dlx_instruction *ins = &plan->instructions[i];
        dlx_xnn_graph x;
        dlx_arena arena;
        dlx_error err = {0};
        if (ins->kind != DLX_INS_DELEGATE) continue;
        dlx_arena_init(&arena);
        if (dlx_xnn_read_blob(&x, &arena, pte, &pte->blobs[plan->delegates[ins->index].blob], what, &err) != DLX_OK)
            fail_msg("%s", err.message);
        check_payload(&x, what);
        s->packed += check_keys(&x);
        check_marks(&x, s->mark);
        for (uint32_t k = 0; k < ins->n_args; k++) {
            const dlx_evalue *v = &plan->values[ins->args[k]];
            assert_int_equal(v->kind, DLX_EV_TENSOR);
            s->given += v->u.tensor.blob != DLX_PTE_NO_BLOB && !v->u.tensor.memory_id;
        }
        dlx_arena_free(&arena);
    }
}

/* ---- exported programs ------------------------------------------------------------------------------------------- */

static dlx_key_mark check_file(const dlx_export_options *o, const char *family)
{
    whole_file file;
    dlx_arena arena;
    dlx_pte pte;
    dlx_error err = {0};
    seen s = {.packed = 0};
    char what[128];
    snprintf(what, sizeof what, "%s, %s, %s", family, o->quantization, o->kv ? o->kv : "caller");
    if (dlx_export(o, NULL, &err) != DLX_OK) fail_msg("%s: %s", what, err.message);
    assert_int_equal(read_whole_file(&file, o->output_path, &err), DLX_OK);
    dlx_arena_init(&arena);
    if (dlx_pte_read(&pte, &arena, file.data, file.size, what, &err) != DLX_OK) fail_msg("%s", err.message);
    for (uint32_t i = 0; i < pte.n_plans; i++) check_plan(&pte, &pte.plans[i], what, &s);
    assert_true(s.packed && s.given > 2); /* weights; norms, and the scale of attention */
    dlx_arena_free(&arena);
    free_whole_file(&file);
    dlx_key_mark mark;
    memcpy(mark.text, s.mark, sizeof mark.text);
    return mark;
}

/* But those of larger groups, which do not divide such short rows. */
static void every_scheme(void **state)
{
    static const char *const both[] = {"sdar", "fast_dllm_v2"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        dlx_scheme_info info = {.struct_size = sizeof info};
        for (size_t k = 0; dlx_export_scheme_info(k, &info); k++) {
            char checkpoint[1024], path[1024];
            if (!strcmp(info.name, "int4-g128") || !strcmp(info.name, "int4-g64")) continue;
            if (strncmp(info.backends, "xnnpack", 7)) continue;
            checkpoint_of(checkpoint, both[i]);
            path_in(path, folder.folder, "scheme.pte");
            dlx_export_options o = tiny_export(checkpoint, path, true);
            o.quantization = info.name;
            if (!strcmp(info.name, "int8-static")) {
                o.calibration_samples = 1;
                o.calibration_length = 16;
            }
            check_file(&o, both[i]);
        }
    }
}

static void every_family_and_form_of_the_cache(void **state)
{
    static const int32_t rows[] = {4};
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        dlx_kv_info info = {.struct_size = sizeof info};
        for (size_t k = 0; dlx_export_kv_info(k, &info); k++) {
            char checkpoint[1024], path[1024];
            if (!strcmp(info.name, "fixed-state")) continue; /* Core ML's alone */
            checkpoint_of(checkpoint, families[i]);
            path_in(path, folder.folder, "form.pte");
            dlx_export_options o = tiny_export(checkpoint, path, k % 2 == 1);
            o.kv = info.name;
            o.max_rows = 8;
            o.method_rows = rows;
            o.n_method_rows = 1;
            check_file(&o, families[i]);
        }
    }
}

/* Their numbers are unpacked inside of the delegate, by constants. */
static void tables_of_4_bits(void **state)
{
    static const char *const forms[] = {"int4", "int4-g32"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char checkpoint[1024], path[1024], config[1024];
        path_in(config, folder.folder, "forms.json");
        FILE *f = fopen(config, "w");
        assert_non_null(f);
        assert_true(fprintf(f, "{\"embedding\": \"%s\", \"head\": \"bf16\"}", forms[i]) > 0);
        assert_int_equal(fclose(f), 0);
        checkpoint_of(checkpoint, "sdar");
        path_in(path, folder.folder, "table.pte");
        dlx_export_options o = tiny_export(checkpoint, path, true);
        o.quantization_config = config;
        check_file(&o, "sdar");
    }
}

/* ---- two files in one cache -------------------------------------------------------------------------------------- */

/* One number of one layer, the last one, to zero. */
static bool change_one(void *ctx, dlx_st_tensor *t)
{
    (void)ctx;
    if (strstr(t->name, "layers.1.mlp.down_proj.weight")) memset((uint8_t *)(uintptr_t)t->data + t->bytes - 2, 0, 2);
    return true;
}

/* What a file of the same shapes, with one other number, is kept apart by; the same file has the same keys. */
static void other_weights_have_other_keys(void **state)
{
    char path[1024];
    dlx_key_mark mark[3];
    (void)state;
    copy c = copy_checkpoint(TINY("sdar"));
    path_in(path, folder.folder, "marked.pte");
    for (int i = 0; i < 3; i++) {
        dlx_export_options o = tiny_export(c.folder, path, true);
        if (i == 2) edit_tensors(&c, "model.safetensors", change_one, NULL, NULL);
        mark[i] = check_file(&o, "sdar");
    }
    assert_string_equal(mark[0].text, mark[1].text);
    assert_string_not_equal(mark[0].text, mark[2].text);
    remove_copy(&c);
}

/* In the graph of a program constants have their names. */
static void names_have_no_marks(void **state)
{
    char path[1024];
    loaded l;
    uint32_t names = 0;
    (void)state;
    path_in(path, folder.folder, "named.pte");
    export_tiny(path, "sdar", true);
    dlx_graph *g = load_file(&l, path);
    for (size_t i = 0; i < g->n_values; i++) {
        if (g->values[i].kind != DLX_VALUE_CONST || !g->values[i].name) continue;
        names += !strcmp(g->values[i].name, "layers.1.down.weight") +
                 !strcmp(g->values[i].name, "layers.1.down.weight.scales");
        assert_null(strchr(g->values[i].name, '#'));
    }
    assert_int_equal(names, 2);
    done(&l);
}

static void only_marks_are_taken_off(void **state)
{
    static const struct {
        const char *key, *name;
    } keys[] = {{"w#0123456789abcdef", "w"},
                {"w#0123456789abcde", "w#0123456789abcde"},
                {"w#0123456789abcdeF", "w#0123456789abcdeF"},
                {"#0123456789abcdef", "#0123456789abcdef"},
                {"w", "w"},
                {"a#0123456789abcdef#0123456789abcdef", "a#0123456789abcdef"},
                {"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", NULL},
                {NULL, NULL}};
    dlx_arena arena;
    (void)state;
    dlx_arena_init(&arena);
    for (size_t i = 0; i < DLX_COUNT(keys); i++) {
        const char *name = "?";
        assert_int_equal(dlx_key_name(&name, &arena, keys[i].key, NULL), DLX_OK);
        if (keys[i].name)
            assert_string_equal(name, keys[i].name);
        else
            assert_null(name);
    }
    assert_string_equal(dlx_key_marked(&arena, "w", dlx_key_mark_of(255).text), "w#00000000000000ff");
    dlx_arena_free(&arena);
}

/* ---- one graph --------------------------------------------------------------------------------------------------- */

static const float numbers[64] = {1, 2, 3};

static uint32_t constant(dlx_graph *g, const char *name, dlx_dtype type, int rank)
{
    const int64_t dim[2] = {8, 8};
    dlx_const_source source = {.data = numbers, .stored = type};
    source.bytes = (rank == 2 ? 64u : 8u) * dlx_dtype_size(type);
    return dlx_graph_const(g, name, type, rank, dim, source);
}

static uint32_t node(dlx_graph *g, dlx_op op, const uint32_t *in, int n)
{
    dlx_error err = {0};
    uint32_t out = dlx_graph_node(g, op, in, n, NULL, 0, &err);
    if (out == DLX_NONE) fail_msg("%s", err.message);
    return out;
}

/* What is packed in one place and read in another is there as both, and once in the file; what is widened in every call
 * is not packed. */
static void one_constant_may_be_both(void **state)
{
    const int64_t dim[2] = {4, 8};
    dlx_pte_plan plan;
    dlx_pte_blob *blobs;
    dlx_arena arena;
    dlx_graph g;
    dlx_error err = {0};
    uint32_t n_blobs, given = 0, named = 0;
    (void)state;
    dlx_graph_init(&g);
    dlx_arena_init(&arena);
    uint32_t x = dlx_graph_input(&g, "x", DLX_F32, 2, dim, 1), w = constant(&g, "w", DLX_F32, 2);
    uint32_t b = constant(&g, "b", DLX_F32, 1), wide = constant(&g, "wide", DLX_BF16, 2);
    uint32_t y = node(&g, DLX_OP_LINEAR, (const uint32_t[]){x, w, b}, 3);
    y = node(&g, DLX_OP_MUL, (const uint32_t[]){y, b}, 2);
    y = node(&g, DLX_OP_LINEAR, (const uint32_t[]){y, wide}, 2);
    y = node(&g, DLX_OP_LINEAR, (const uint32_t[]){node(&g, DLX_OP_ADD, (const uint32_t[]){b, y}, 2), wide}, 2);
    assert_true(dlx_graph_output(&g, y));
    if (lower_to_xnnpack(&plan, &blobs, &n_blobs, &arena, &g, &err) != DLX_OK) fail_msg("%s", err.message);
    for (uint32_t i = 0; i < n_blobs; i++) {
        if (blobs[i].kind != DLX_BLOB_NAMED) continue;
        named++;
        if (strcmp(blobs[i].key, "b") != 0) continue;
        assert_in_range(blobs[i].alias_of, 0, n_blobs - 1);
        assert_ptr_equal(blobs[blobs[i].alias_of].user, blobs[i].user);
    }
    assert_int_equal(named, 2); /* w, b */
    const dlx_instruction *call = &plan.instructions[plan.n_instructions - 1];
    for (uint32_t i = 0; i < call->n_args; i++) given += plan.values[call->args[i]].u.tensor.blob != DLX_PTE_NO_BLOB;
    assert_int_equal(given, 2);        /* b, wide */
    assert_int_equal(call->n_args, 4); /* x in front of them, the result behind */
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scheme),
        cmocka_unit_test(every_family_and_form_of_the_cache),
        cmocka_unit_test(tables_of_4_bits),
        cmocka_unit_test(other_weights_have_other_keys),
        cmocka_unit_test(names_have_no_marks),
        cmocka_unit_test(only_marks_are_taken_off),
        cmocka_unit_test(one_constant_may_be_both),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_it);
}
