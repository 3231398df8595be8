/* From programs to graphs: the tiny decoder lowered to a delegate, with one thing changed, imported again. */
#include <math.h>
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
#include "runtime/import.h"
#include "runtime/program.h"
#include "tiny_decoder.h"

enum { ROWS = 4, CACHED = 6, MOST_BLOBS = 64 };

typedef struct lowered {
    dlx_arena arena;
    dlx_graph g; /* owns the constants */
    dlx_pte_plan plan;
    dlx_pte pte;
    const dlx_pte_blob *named[MOST_BLOBS];
} lowered;

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const dlx_pte_blob *const *)a)->key, (*(const dlx_pte_blob *const *)b)->key);
}

/* The program as a reader would see it, without a file between. */
static void lower(lowered *l)
{
    dlx_error err = {0};
    dlx_arena_init(&l->arena);
    if (lower_to_xnnpack(&l->plan, &l->pte.blobs, &l->pte.n_blobs, &l->arena, &l->g, &err) != DLX_OK)
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

static dlx_node *biased(dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_LINEAR && g->nodes[i].inputs == 3 && g->values[g->nodes[i].in[2]].name &&
            !strcmp(g->values[g->nodes[i].in[2]].name, "q.bias"))
            return &g->nodes[i];
    fail_msg("no linear layer has the bias");
    return NULL;
}

static void build(lowered *l)
{
    *l = (lowered){.pte.n_named = 0};
    build_layer(&l->g, ROWS, CACHED);
    assert_int_equal(dlx_xnnpack_decompose(&l->g, NULL), DLX_OK);
}

static void run(const lowered *l, float logits[ROWS * VOCAB])
{
    dlx_program p;
    dlx_pool *pool;
    dlx_executor *ex;
    dlx_error err = {0};
    int64_t ids[ROWS] = {3, 1, 4, 1}, positions[ROWS] = {0, 1, 2, 3};
    float cache[CACHED * KV * DIM] = {0};
    assert_int_equal(dlx_pool_create(&pool, 1, NULL), DLX_OK);
    dlx_program_options options = {.limit = DLX_ISA_REF, .pool = pool};
    if (dlx_program_load(&p, &l->pte, "forward", &options, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_shape s[4] = {{1, {ROWS}}, {1, {ROWS}}, {3, {CACHED, KV, DIM}}, {3, {CACHED, KV, DIM}}};
    dlx_executor_bounds bounds = {.max_shape = s};
    assert_int_equal(dlx_executor_open(&ex, &p, &bounds, pool, NULL, NULL), DLX_OK);
    dlx_tensor_ref in[4] = {{ids, s[0]}, {positions, s[1]}, {cache, s[2]}, {cache, s[3]}}, out[3];
    dlx_pass pass = {.inputs = in};
    if (dlx_executor_run(ex, &pass, out, &err) != DLX_OK) fail_msg("%s", err.message);
    memcpy(logits, out[0].data, ROWS * VOCAB * sizeof(float));
    dlx_executor_close(ex);
    dlx_pool_free(pool);
    dlx_program_free(&p);
}

static void done(lowered *l)
{
    dlx_graph_free(&l->g);
    dlx_arena_free(&l->arena);
}

/* The bias of a linear layer, negated by a node of the program: what a negated constant gives. */
static void a_bias_computed_at_run_time_is_added(void **state)
{
    (void)state;
    lowered l;
    float computed[ROWS * VOCAB], constant[ROWS * VOCAB], original[ROWS * VOCAB];
    build(&l);
    lower(&l);
    run(&l, original);
    done(&l);
    build(&l);
    float *bias = (float *)(uintptr_t)l.g.values[biased(&l.g)->in[2]].source.data;
    for (int i = 0; i < HEADS * DIM; i++) bias[i] = -bias[i];
    lower(&l);
    run(&l, constant);
    done(&l);
    build(&l);
    size_t place = (size_t)(biased(&l.g) - l.g.nodes);
    uint32_t negated = node(&l.g, DLX_OP_NEG, 1, &l.g.nodes[place].in[2], NULL);
    dlx_node last = l.g.nodes[l.g.n_nodes - 1];
    memmove(&l.g.nodes[place + 1], &l.g.nodes[place], (l.g.n_nodes - 1 - place) * sizeof last);
    l.g.nodes[place] = last;
    l.g.nodes[place + 1].in[2] = negated;
    for (size_t i = 0; i < l.g.n_nodes; i++) l.g.values[l.g.nodes[i].out[0]].producer = (uint32_t)i;
    lower(&l);
    run(&l, computed);
    done(&l);
    float worst = 0, moved = 0;
    for (int i = 0; i < ROWS * VOCAB; i++) {
        worst = fmaxf(worst, fabsf(computed[i] - constant[i]));
        moved = fmaxf(moved, fabsf(original[i] - constant[i]));
    }
    assert_true(worst < 1e-5f);
    assert_true(moved > 0.1f);
}

static void an_int8_bias_is_refused(void **state)
{
    (void)state;
    lowered l;
    dlx_graph g;
    dlx_error err = {0};
    build(&l);
    const dlx_value *v = &l.g.values[biased(&l.g)->in[2]];
    int64_t dim = v->dim[0];
    float *scales = dlx_arena_array(&l.g.arena, (size_t)dim, sizeof *scales);
    for (int64_t i = 0; i < dim; i++) scales[i] = 1;
    uint32_t s =
        dlx_graph_const(&l.g, "q.bias.scales", DLX_F32, 1, &dim,
                        (dlx_const_source){.data = scales, .bytes = (uint64_t)dim * sizeof *scales, .stored = DLX_F32});
    dlx_value *b = &l.g.values[biased(&l.g)->in[2]];
    b->dtype = b->source.stored = DLX_I8;
    b->source.bytes = (uint64_t)dim;
    b->scales = s;
    lower(&l);
    assert_int_equal(dlx_import_method(&g, &l.pte, "forward", NULL, &err), DLX_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "its bias must be a vector of float32"));
    done(&l);
}

/* ---- weights of every form --------------------------------------------------------------------------------------- */

typedef void (*change_fn)(dlx_xnn_graph *x, dlx_xnn_value *weight);

static const void *find(void *ctx, const char *key, uint64_t *size)
{
    const lowered *l = ctx;
    const dlx_pte_blob *b = dlx_pte_find_named(&l->pte, key);
    if (b) *size = b->size;
    return b ? b->data : NULL;
}

/* Imports the decoder's payload with something changed in the weight "q" [32, 24], whose 3072 bytes stay. */
static dlx_status import_changed(change_fn change, dlx_error *err)
{
    lowered l;
    dlx_graph g;
    dlx_xnn_graph x;
    build(&l);
    lower(&l);
    dlx_pte_blob *payload = NULL;
    for (uint32_t i = 0; i < l.pte.n_blobs; i++)
        if (l.pte.blobs[i].kind == DLX_BLOB_DELEGATE) payload = &l.pte.blobs[i];
    assert_non_null(payload);
    if (dlx_xnn_read(&x, &l.arena, payload->data, payload->size, "p", find, &l, err) != DLX_OK)
        fail_msg("%s", err->message);
    for (uint32_t i = 0; i < x.n_values; i++)
        if (x.values[i].constant && x.constants[x.values[i].constant].key &&
            !strcmp(x.constants[x.values[i].constant].key, "q"))
            change(&x, &x.values[i]);
    void *bytes;
    size_t size;
    if (dlx_xnn_write(&x, &bytes, &size, err) != DLX_OK) fail_msg("%s", err->message);
    payload->data = bytes;
    payload->size = size;
    dlx_status s = dlx_import_method(&g, &l.pte, "forward", NULL, err);
    if (s == DLX_OK) s = dlx_graph_verify(&g, err);
    dlx_graph_free(&g);
    free(bytes);
    done(&l);
    return s;
}

/* 128 bytes that can be scales. */
static uint32_t bias_of(const dlx_xnn_graph *x)
{
    for (uint32_t i = 1; i < x->n_constants; i++)
        if (x->constants[i].key && !strcmp(x->constants[i].key, "q.bias")) return i;
    fail_msg("there is no bias");
    return 0;
}

static void by_channel(dlx_xnn_graph *x, dlx_xnn_value *w)
{
    w->datatype = DLX_XNN_QCINT4;
    w->quant = DLX_XNN_Q_PER_CHANNEL;
    w->scales = bias_of(x);
    w->num_scales = w->dim[0];
}

static void by_group(dlx_xnn_graph *x, dlx_xnn_value *w, uint32_t n, uint32_t k, int32_t group)
{
    w->dim[0] = n;
    w->dim[1] = k;
    w->datatype = DLX_XNN_QBINT4;
    w->quant = DLX_XNN_Q_PER_CHANNEL_GROUP;
    w->group_size = group;
    w->scales = bias_of(x);
    w->num_scales = n * (k / (uint32_t)group);
}

static void odd_rows(dlx_xnn_graph *x, dlx_xnn_value *w)
{
    by_channel(x, w);
    w->dim[1] = 23;
}

static void other_channel(dlx_xnn_graph *x, dlx_xnn_value *w)
{
    by_channel(x, w);
    w->datatype = DLX_XNN_QCINT8;
    w->channel_dim = 1;
    w->num_scales = 24;
}

static void small_groups(dlx_xnn_graph *x, dlx_xnn_value *w)
{
    by_group(x, w, 32, 24, 24);
}

static void large_groups(dlx_xnn_graph *x, dlx_xnn_value *w)
{
    by_group(x, w, 1, 4128, 4128);
}

static void other_shape(dlx_xnn_graph *x, dlx_xnn_value *w)
{
    by_group(x, w, 8, 64, 64);
}

static void as_bytes(dlx_xnn_graph *x, dlx_xnn_value *w)
{
    (void)x;
    w->datatype = DLX_XNN_QUINT8;
    w->quant = DLX_XNN_Q_PER_TENSOR;
    w->scale = 1;
}

static void as_halves(dlx_xnn_graph *x, dlx_xnn_value *w)
{
    (void)x;
    w->datatype = DLX_XNN_FP16;
}

static void weights_that_cannot_be_are_refused(void **state)
{
    static const struct {
        change_fn change;
        const char *words;
    } cases[] = {
        {by_channel, "of one of these kinds: f32-f32w f32-f16w"}, /* float rows */
        {odd_rows, "constant 'q' needs rows of an even number of 4-bit elements"},
        {other_channel, "constant 'q' needs its scales along the first dimension"},
        {small_groups, "constant 'q' needs groups of a multiple of 32, up to 4096"},
        {large_groups, "constant 'q' needs groups of a multiple of 32, up to 4096"},
        {other_shape, "of one of these kinds"},
        {as_bytes, "constant 'q' is of type uint8 (static)"},
    };
    dlx_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(import_changed(cases[i].change, &err), DLX_E_UNSUPPORTED);
        if (!strstr(err.message, cases[i].words)) fail_msg("'%s' does not say '%s'", err.message, cases[i].words);
    }
    if (import_changed(as_halves, &err) != DLX_OK) fail_msg("%s", err.message); /* the same change is fine as such */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bias_computed_at_run_time_is_added),
        cmocka_unit_test(an_int8_bias_is_refused),
        cmocka_unit_test(weights_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
