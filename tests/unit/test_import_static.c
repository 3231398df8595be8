/*
 * Statically quantised layers of a delegate: the shape in which they are written is read back as it was, and every
 * other use of such numbers is refused with a sentence.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lower_to_xnnpack.h"
#include "backends/xnnpack/xnnpack.h"
#include "format/xnnpack.h"
#include "graph/linear_kinds.h"
#include "quant/quant.h"
#include "runtime/import.h"
#include "constants_check.h"
#include "tiny_decoder.h"

enum { ROWS = 4, WIDTH = 32, OUT = 8, MOST_BLOBS = 16 };

typedef struct lowered {
    dlx_arena arena;
    dlx_graph g; /* owns the constants */
    dlx_pte_plan plan;
    dlx_pte pte;
    const dlx_pte_blob *named[MOST_BLOBS];
} lowered;

static bool find_range(void *ctx, const char *name, float *low, float *high)
{
    (void)ctx;
    *low = strstr(name, "input") ? -1.0f : -2.5f;
    *high = strstr(name, "input") ? 2.0f : 1.25f;
    return true;
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const dlx_pte_blob *const *)a)->key, (*(const dlx_pte_blob *const *)b)->key);
}

/* Convert, FullyConnected, Convert, Negate. */
static void build(lowered *l)
{
    int64_t x[2] = {ROWS, WIDTH};
    dlx_error err = {0};
    const dlx_weight_form *f = dlx_form_find("int8-static");
    const dlx_activation_ranges ranges = {.find = find_range};
    *l = (lowered){.pte.n_named = 0};
    dlx_graph *g = &l->g;
    dlx_graph_init(g);
    uint32_t in[3] = {dlx_graph_input(g, "x", DLX_F32, 2, x, 1), weight(g, "a.weight", 2, OUT, WIDTH, 4),
                      weight(g, "a.bias", 1, OUT, 0, 5)};
    uint32_t y = node(g, DLX_OP_LINEAR, 3, in, NULL);
    assert_true(dlx_graph_output(g, node(g, DLX_OP_NEG, 1, &y, NULL)));
    assert_int_equal(dlx_quantize(g, &(dlx_recipe){.body = f, .head = f, .table = f}, &err), DLX_OK);
    if (dlx_quantize_static(g, &ranges, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    materialise(g);
    dlx_arena_init(&l->arena);
    if (lower_to_xnnpack(&l->plan, &l->pte.blobs, &l->pte.n_blobs, &l->arena, g, &err) != DLX_OK)
        fail_msg("%s", err.message);
    l->pte.plans = &l->plan;
    l->pte.n_plans = 1;
    assert_true(l->pte.n_blobs <= MOST_BLOBS);
    for (uint32_t i = 0; i < l->pte.n_blobs; i++) {
        dlx_pte_blob *b = &l->pte.blobs[i];
        if (b->kind == DLX_BLOB_NAMED) l->named[l->pte.n_named++] = b;
        if (!b->data) b->data = ((const dlx_value *)b->user)->source.data;
    }
    qsort(l->named, l->pte.n_named, sizeof *l->named, by_key);
    l->pte.named = l->named;
}

static const void *find(void *ctx, const char *key, uint64_t *size)
{
    const lowered *l = ctx;
    const dlx_pte_blob *b = dlx_pte_find_named(&l->pte, key);
    if (b) *size = b->size;
    return b ? b->data : NULL;
}

/* The nodes of the payload, in order. */
enum { TO_INT8, LAYER, TO_FLOAT, NEGATE };

typedef void (*change_fn)(dlx_xnn_graph *x);

/* The graph belongs to the caller when that succeeds. */
static dlx_status import_changed(lowered *l, change_fn change, dlx_graph *g, dlx_error *err)
{
    dlx_xnn_graph x;
    void *bytes;
    size_t size;
    build(l);
    dlx_pte_blob *payload = NULL;
    for (uint32_t i = 0; i < l->pte.n_blobs; i++)
        if (l->pte.blobs[i].kind == DLX_BLOB_DELEGATE) payload = &l->pte.blobs[i];
    assert_non_null(payload);
    if (dlx_xnn_read(&x, &l->arena, payload->data, payload->size, "p", find, l, err) != DLX_OK)
        fail_msg("%s", err->message);
    assert_int_equal(x.n_nodes, 4);
    change(&x);
    if (dlx_xnn_write(&x, &bytes, &size, err) != DLX_OK) fail_msg("%s", err->message);
    payload->data = dlx_arena_alloc(&l->arena, size);
    memcpy((void *)(uintptr_t)payload->data, bytes, size);
    payload->size = size;
    free(bytes);
    dlx_status s = dlx_import_method(g, &l->pte, "forward", NULL, err);
    if (s == DLX_OK) s = dlx_graph_verify(g, err);
    return s;
}

static void done(lowered *l, dlx_graph *g)
{
    dlx_graph_free(g);
    dlx_graph_free(&l->g);
    dlx_arena_free(&l->arena);
}

static dlx_xnn_value *value(dlx_xnn_graph *x, uint32_t id)
{
    for (uint32_t i = 0; i < x->n_values; i++)
        if (x->values[i].id == id) return &x->values[i];
    fail_msg("no value %u", id);
    return NULL;
}

static void nothing(dlx_xnn_graph *x)
{
    (void)x;
}

static void a_layer_comes_back(void **state)
{
    lowered l;
    dlx_graph g;
    dlx_error err = {0};
    (void)state;
    if (import_changed(&l, nothing, &g, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(g.n_nodes, 3);
    const dlx_node *linear = dlx_made_as(&g, g.nodes[2].in[0], DLX_OP_LINEAR);
    assert_non_null(linear);
    const dlx_node *convert = dlx_made_as(&g, linear->in[0], DLX_OP_CONVERT);
    assert_non_null(convert);
    dlx_grid8 in = dlx_grid8_over(-1.0f, 2.0f), out = dlx_grid8_over(-2.5f, 1.25f);
    assert_true(convert->attr.f[0] == in.scale && convert->attr.axis == in.zero);
    assert_true(linear->attr.f[0] == out.scale && linear->attr.axis == out.zero);
    assert_int_equal(g.values[linear->in[0]].dtype, DLX_QS8);
    assert_int_equal(g.values[linear->in[2]].dtype, DLX_I32);
    done(&l, &g);
}

/* ---- what is refused ---- */

static void negates_int8(dlx_xnn_graph *x)
{
    x->nodes[NEGATE].in[0] = x->nodes[TO_INT8].out;
}

static void negates_results(dlx_xnn_graph *x)
{
    x->nodes[NEGATE].in[0] = x->nodes[LAYER].out;
}

static void negates_a_bias(dlx_xnn_graph *x)
{
    x->nodes[NEGATE].in[0] = x->nodes[LAYER].in[2];
}

static void float_results(dlx_xnn_graph *x)
{
    dlx_xnn_value *v = value(x, x->nodes[LAYER].out);
    v->datatype = DLX_XNN_FP32;
    v->quant = DLX_XNN_Q_NONE;
}

static void float_rows(dlx_xnn_graph *x)
{
    x->nodes[LAYER].in[0] = x->nodes[TO_INT8].in[0];
}

static void bytes_between(dlx_xnn_graph *x)
{
    dlx_xnn_value *v = value(x, x->nodes[TO_INT8].out);
    v->datatype = DLX_XNN_QUINT8;
    v->zero_point = 3;
}

static void bounded(dlx_xnn_graph *x)
{
    x->nodes[LAYER].clamped = true;
    x->nodes[LAYER].min = 0.0f;
    x->nodes[LAYER].max = 1.0f;
}

static void turned(dlx_xnn_graph *x)
{
    x->nodes[LAYER].flags |= 1;
}

static void weights_as_rows(dlx_xnn_graph *x)
{
    dlx_xnn_value *v = value(x, x->nodes[LAYER].in[1]);
    v->datatype = DLX_XNN_QINT8;
    v->quant = DLX_XNN_Q_PER_TENSOR;
    v->scale = 1.0f;
    v->scales = v->num_scales = 0;
}

static void a_float_bias(dlx_xnn_graph *x)
{
    dlx_xnn_value *v = value(x, x->nodes[LAYER].in[2]);
    v->datatype = DLX_XNN_FP32;
    v->quant = DLX_XNN_Q_NONE;
}

static void twice_int8(dlx_xnn_graph *x)
{
    x->nodes[TO_FLOAT].in[0] = x->nodes[TO_INT8].out;
}

static void other_uses_are_refused(void **state)
{
    static const struct {
        change_fn change;
        const char *words;
    } cases[] = {
        {negates_int8, "static quantisation is not supported"},
        {negates_results, "static quantisation is not supported"},
        {negates_a_bias, "only a FullyConnected reads int32 (per channel)"},
        {float_results, "static quantisation is not supported"},
        {float_rows, "its bias must be a vector of float32"},
        {bytes_between, "static quantisation is not supported"},
        {bounded, "static quantisation is not supported"},
        {turned, "static quantisation is not supported"},
        {weights_as_rows, "static quantisation is not supported"},
        {a_float_bias, "its bias must be a vector of int32"},
        {twice_int8, "static quantisation is not supported"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lowered l;
        dlx_graph g;
        dlx_error err = {0};
        if (import_changed(&l, cases[i].change, &g, &err) != DLX_E_UNSUPPORTED)
            fail_msg("case %zu was taken, or: %s", i, err.message);
        if (!strstr(err.message, cases[i].words)) fail_msg("'%s' does not say '%s'", err.message, cases[i].words);
        done(&l, &g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_comes_back),
        cmocka_unit_test(other_uses_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
