/* Payloads of the XNNPACK delegate: round trip of every node and quantisation, the rules, and bytes that lie. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/sizes.h"
#include "format/flatbuffer.h"
#include "format/xnnpack_schema.h"
#include "pte_sample.h"
#include "whole_file.h"

/* Ids are not indices: id of value i is i + 3. */
enum {
    X_IN,
    X_DYNAMIC,
    X_WEIGHT,
    X_BIAS,
    X_SCALES,
    X_FC,
    X_GROUPED,
    X_FC4,
    X_CHANNEL4,
    X_FC_NO_BIAS,
    X_BYTE,
    X_FLOAT,
    X_T,
    X_R,
    X_S,
    X_UNUSED,
    X_FIRST_NODE
};
enum { K_NONE, K_WEIGHT, K_SCALES, K_BIAS, K_GROUPED, K_GROUP_SCALES, K_CHANNEL4, K_EMPTY, K_COUNT };
enum { MAX_VALUES = 80, MAX_NODES = 64, ROWS = 4, K = 64, N = 6 };

typedef struct sample {
    dlx_xnn_graph g;
    dlx_xnn_value values[MAX_VALUES];
    dlx_xnn_node nodes[MAX_NODES];
    dlx_xnn_constant constants[K_COUNT + 1]; /* the last one is behind the graph's: whoever reads it crashes */
    float inline_scales[N];
    uint8_t bytes[1024];
} sample;

static uint32_t id_of(uint32_t value)
{
    return value + 3;
}

static dlx_xnn_value *add_value(sample *s, int datatype, uint32_t rows, uint32_t columns)
{
    uint32_t i = s->g.n_values++;
    s->values[i] = (dlx_xnn_value){
        .id = id_of(i), .datatype = datatype, .rank = 2, .dim = {rows, columns}, .external_id = DLX_XNN_NONE};
    return &s->values[i];
}

static dlx_xnn_node *add_node(sample *s, int type, uint32_t a, uint32_t b, uint32_t c, uint32_t out)
{
    dlx_xnn_node *n = &s->nodes[s->g.n_nodes++];
    *n = (dlx_xnn_node){.type = type,
                        .in = {id_of(a), id_of(b), id_of(c), id_of(a), id_of(b)},
                        .out = id_of(out),
                        .min = -INFINITY,
                        .max = INFINITY};
    (void)dlx_xnn_node_layout(type, &n->inputs);
    for (int i = n->inputs; i < 5; i++) n->in[i] = 0;
    return n;
}

static void make_quantized(sample *s)
{
    dlx_xnn_value *v = add_value(s, DLX_XNN_QDINT8, ROWS, K); /* X_DYNAMIC */
    v->quant = DLX_XNN_Q_PER_TOKEN_DYNAMIC;
    v->nonbatch_dims = 1;
    v = add_value(s, DLX_XNN_QCINT8, N, K); /* X_WEIGHT */
    v->constant = K_WEIGHT;
    v->quant = DLX_XNN_Q_PER_CHANNEL;
    v->scales = K_SCALES;
    v->num_scales = N;
    v = add_value(s, DLX_XNN_FP32, 0, 0); /* X_BIAS */
    v->rank = 1;
    v->dim[0] = N;
    v->constant = K_BIAS;
    v = add_value(s, DLX_XNN_QCINT32, N, 1); /* X_SCALES: scales in the graph itself */
    v->constant = K_BIAS;
    v->quant = DLX_XNN_Q_PER_CHANNEL;
    v->inline_scales = s->inline_scales;
    v->num_scales = N;
    add_value(s, DLX_XNN_FP32, ROWS, N);    /* X_FC */
    v = add_value(s, DLX_XNN_QBINT4, N, K); /* X_GROUPED */
    v->constant = K_GROUPED;
    v->quant = DLX_XNN_Q_PER_CHANNEL_GROUP;
    v->group_size = 32;
    v->scales = K_GROUP_SCALES;
    v->num_scales = 2 * N;
    add_value(s, DLX_XNN_FP32, ROWS, N);    /* X_FC4 */
    v = add_value(s, DLX_XNN_QCINT4, 3, 7); /* X_CHANNEL4: odd rows of 4 bytes */
    v->constant = K_CHANNEL4;
    v->quant = DLX_XNN_Q_PER_CHANNEL;
    v->scales = K_SCALES;
    v->num_scales = 3;
    add_value(s, DLX_XNN_FP32, ROWS, N);      /* X_FC_NO_BIAS */
    v = add_value(s, DLX_XNN_QINT8, ROWS, K); /* X_BYTE */
    v->quant = DLX_XNN_Q_PER_TENSOR;
    v->scale = 0.25f;
    v->zero_point = -7;
    v->external_id = 2;
    v->flags = DLX_XNN_FLAG_INPUT;
    add_value(s, DLX_XNN_FP32, ROWS, K); /* X_FLOAT */
}

static void make_constants(sample *s)
{
    dlx_xnn_constant *c = s->constants;
    for (size_t i = 0; i < sizeof s->bytes; i++) s->bytes[i] = (uint8_t)(7 * i);
    for (int i = 0; i < N; i++) s->inline_scales[i] = 0.5f + (float)i;
    c[K_WEIGHT] = (dlx_xnn_constant){.key = "weight", .size = N * K};
    c[K_SCALES] = (dlx_xnn_constant){.key = "weight.scales", .size = 4 * N};
    c[K_BIAS] = (dlx_xnn_constant){.size = 4 * N, .data = s->bytes + 16};
    c[K_GROUPED] = (dlx_xnn_constant){.size = N * K / 2 + 1, .data = s->bytes + 32}; /* a byte more than needed */
    c[K_GROUP_SCALES] = (dlx_xnn_constant){.size = 2 * 2 * N, .data = s->bytes + 512};
    c[K_CHANNEL4] = (dlx_xnn_constant){.size = 12, .data = s->bytes + 640};
    c[K_COUNT] = (dlx_xnn_constant){.size = (uint64_t)1 << 40, .data = s->bytes};
    s->g.constants = c;
    s->g.n_constants = K_COUNT;
}

static void shape_node(dlx_xnn_node *n)
{
    n->rank = 2;
    switch (n->type) {
    case DLX_XNN_STATIC_TRANSPOSE: n->shape[0] = 1; break;
    case DLX_XNN_STATIC_RESHAPE: n->shape[1] = K; break;
    case DLX_XNN_STATIC_SLICE:
        n->shape[1] = 3;
        n->size[1] = 9;
        break;
    default: n->rank = 0;
    }
}

/* One node of every type in the map; the last one writes the output. */
static void make(sample *s)
{
    memset(s, 0, sizeof *s);
    s->g.values = s->values;
    s->g.nodes = s->nodes;
    s->g.num_externs = 3;
    dlx_xnn_value *in = add_value(s, DLX_XNN_FP32, ROWS, K);
    in->external_id = 1;
    in->flags = DLX_XNN_FLAG_INPUT;
    make_quantized(s);
    add_value(s, DLX_XNN_FP32, K, ROWS);
    for (int i = 0; i < 3; i++) add_value(s, DLX_XNN_FP32, ROWS, K);
    s->values[X_S].dim[1] = 9;
    make_constants(s);
    add_node(s, DLX_XNN_CONVERT, X_IN, 0, 0, X_DYNAMIC);
    add_node(s, DLX_XNN_FULLY_CONNECTED, X_DYNAMIC, X_WEIGHT, X_BIAS, X_FC)->flags = 0;
    add_node(s, DLX_XNN_FULLY_CONNECTED, X_DYNAMIC, X_GROUPED, 0, X_FC4)->in[2] = DLX_XNN_NONE;
    add_node(s, DLX_XNN_FULLY_CONNECTED, X_FLOAT, X_IN, 0, X_FC_NO_BIAS)->in[2] = DLX_XNN_NONE;
    s->nodes[3].in[0] = id_of(X_IN);
    s->nodes[3].flags = 1;
    add_node(s, DLX_XNN_CONVERT, X_BYTE, 0, 0, X_FLOAT);
    static const int types[] = {
#define NUMBER(name, number, shape) number,
        DLX_XNN_NODE_MAP(NUMBER)
#undef NUMBER
    };
    for (size_t i = 0; i < DLX_COUNT(types); i++) {
        uint32_t out = s->g.n_values;
        if (types[i] == DLX_XNN_STATIC_TRANSPOSE)
            out = X_T;
        else if (types[i] == DLX_XNN_STATIC_RESHAPE)
            out = X_R;
        else if (types[i] == DLX_XNN_STATIC_SLICE)
            out = X_S;
        else
            add_value(s, DLX_XNN_FP32, ROWS, K);
        dlx_xnn_node *n = add_node(s, types[i], X_IN, X_FLOAT, X_IN, out);
        shape_node(n);
        if (types[i] == DLX_XNN_CLAMP || types[i] == DLX_XNN_ADD) {
            n->clamped = true;
            n->min = -1.5f;
            n->max = types[i] == DLX_XNN_ADD ? INFINITY : 6;
        }
        if (types[i] == DLX_XNN_CONCATENATE3) n->axis = 1;
        if (types[i] == DLX_XNN_LEAKY_RELU) n->factor = 0.25f;
        if (types[i] == DLX_XNN_ELU) n->factor = 1.5f;
        if (types[i] == DLX_XNN_BATCH_MATRIX_MULTIPLY) n->flags = 1;
    }
    dlx_xnn_value *last = &s->values[s->g.n_values - 1];
    last->external_id = 0;
    last->flags = DLX_XNN_FLAG_OUTPUT;
}

static const void *named(void *ctx, const char *key, uint64_t *size)
{
    const sample *s = ctx;
    *size = strcmp(key, "weight") == 0 ? N * K : strcmp(key, "weight.scales") == 0 ? 4 * N : 0;
    return *size ? s->bytes : NULL;
}

static uint8_t *written(const sample *s, size_t *size)
{
    void *p;
    dlx_error err = {0};
    if (dlx_xnn_write(&s->g, &p, size, &err) != DLX_OK) fail_msg("not written: %s", err.message);
    return p;
}

/* ---- round trip ---- */

static void same_value(const dlx_xnn_value *a, const dlx_xnn_value *b)
{
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->datatype, b->datatype);
    assert_int_equal(a->rank, b->rank);
    assert_memory_equal(a->dim, b->dim, 4 * (size_t)a->rank);
    assert_int_equal(a->constant, b->constant);
    assert_int_equal(a->external_id, b->external_id);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->quant, b->quant);
    assert_true(a->scale == b->scale);
    assert_int_equal(a->zero_point, b->zero_point);
    assert_int_equal(a->channel_dim, b->channel_dim);
    assert_int_equal(a->scales, b->scales);
    assert_int_equal(a->num_scales, b->num_scales);
    assert_int_equal(a->group_size, b->group_size);
    assert_int_equal(a->nonbatch_dims, b->nonbatch_dims);
    if (a->inline_scales) assert_memory_equal(a->inline_scales, b->inline_scales, 4 * (size_t)a->num_scales);
}

static void same_node(const dlx_xnn_node *a, const dlx_xnn_node *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->inputs, b->inputs);
    assert_memory_equal(a->in, b->in, sizeof a->in);
    assert_int_equal(a->out, b->out);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->clamped, b->clamped);
    assert_true(a->min == b->min && a->max == b->max);
    assert_int_equal(a->axis, b->axis);
    assert_true(a->factor == b->factor);
    assert_int_equal(a->rank, b->rank);
    assert_memory_equal(a->shape, b->shape, sizeof a->shape);
    assert_memory_equal(a->size, b->size, sizeof a->size);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    sample s;
    size_t size;
    make(&s);
    uint8_t *payload = written(&s, &size);
    dlx_xnn_graph g;
    dlx_arena arena;
    dlx_error err = {0};
    dlx_arena_init(&arena);
    if (dlx_xnn_read(&g, &arena, payload, size, "payload", named, &s, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(g.num_externs, 3);
    assert_int_equal(g.n_values, s.g.n_values);
    assert_int_equal(g.n_nodes, s.g.n_nodes);
    assert_int_equal(g.n_constants, K_COUNT);
    for (uint32_t i = 0; i < g.n_values; i++) same_value(&s.values[i], &g.values[i]);
    for (uint32_t i = 0; i < g.n_nodes; i++) same_node(&s.nodes[i], &g.nodes[i]);
    for (uint32_t i = 1; i < K_COUNT; i++) {
        const dlx_xnn_constant *a = &s.constants[i], *b = &g.constants[i];
        assert_true(a->size == b->size && (a->key != NULL) == (b->key != NULL));
        if (a->key) assert_string_equal(a->key, b->key);
        if (a->size) assert_memory_equal(a->key ? s.bytes : a->data, b->data, (size_t)a->size);
        if (!a->key) assert_int_equal(((const uint8_t *)b->data - payload) % 16, 0);
    }
    dlx_arena_free(&arena);
    free(payload);
}

static void the_payload_begins_with_its_header(void **state)
{
    (void)state;
    dlx_xnn_value values[] = {
        {.id = 0, .datatype = DLX_XNN_FP32, .rank = 1, .dim = {2}, .external_id = 0, .flags = DLX_XNN_FLAG_INPUT},
        {.id = 1, .datatype = DLX_XNN_FP32, .rank = 1, .dim = {2}, .external_id = 1, .flags = DLX_XNN_FLAG_OUTPUT},
        {.id = 2, .datatype = DLX_XNN_FP32, .rank = 1, .dim = {2}, .external_id = DLX_XNN_NONE, .constant = 1},
    };
    dlx_xnn_node node = {.type = DLX_XNN_ADD, .in = {0, 2}, .inputs = 2, .out = 1};
    dlx_xnn_constant constants[] = {{0}, {.size = 8, .data = "constant"}};
    dlx_xnn_graph g = {.values = values,
                       .n_values = 3,
                       .nodes = &node,
                       .n_nodes = 1,
                       .constants = constants,
                       .n_constants = 2,
                       .num_externs = 2};
    void *p;
    size_t size;
    assert_int_equal(dlx_xnn_write(&g, &p, &size, NULL), DLX_OK);
    const uint8_t *bytes = p;
    uint32_t graph_size, constants_at;
    memcpy(&graph_size, bytes + 14, 4);
    memcpy(&constants_at, bytes + 18, 4);
    static const uint8_t begin[14] = {0, 0, 0, 0, 'X', 'H', '0', '0', 30, 0, 32, 0, 0, 0};
    static const uint8_t end[10] = {8, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    assert_memory_equal(bytes, begin, sizeof begin);
    assert_memory_equal(bytes + 22, end, sizeof end);
    assert_memory_equal(bytes + 36, "XN01", 4);
    assert_int_equal(constants_at, dlx_align_up(32 + graph_size, 16));
    assert_int_equal(size, constants_at + 8);
    assert_memory_equal(bytes + constants_at, "constant", 8);

    /* What the delegate's defaults would mean wrongly is there in so many words. */
    dlx_fb_buffer b;
    dlx_fb root;
    assert_int_equal(dlx_fb_open(&b, bytes + 32, graph_size, "XN01", "graph", NULL, &root), DLX_OK);
    dlx_fb value = dlx_fb_vec_table(dlx_fb_vec(root, GRAPH_VALUES, 4), 2);
    assert_true(dlx_fb_has(dlx_fb_table(value, UNION_VALUE), XTENSOR_EXTERNAL));
    dlx_fb_vector data = dlx_fb_vec(root, GRAPH_CONSTANTS, 4);
    assert_int_equal(data.count, 2);
    assert_false(dlx_fb_has(dlx_fb_vec_table(data, 1), CONSTANT_KEY));
    assert_int_equal(dlx_fb_vec_u32(dlx_fb_vec(root, GRAPH_INPUTS, 4), 0), 0);
    assert_int_equal(dlx_fb_vec_u32(dlx_fb_vec(root, GRAPH_OUTPUTS, 4), 0), 1);
    free(p);
}

static void scales_stand_as_a_vector_even_when_empty(void **state)
{
    (void)state;
    sample s;
    size_t size;
    make(&s);
    uint8_t *payload = written(&s, &size);
    uint32_t graph_size;
    memcpy(&graph_size, payload + 14, 4);
    dlx_fb_buffer b;
    dlx_fb root;
    assert_int_equal(dlx_fb_open(&b, payload + 32, graph_size, "XN01", "graph", NULL, &root), DLX_OK);
    dlx_fb_vector values = dlx_fb_vec(root, GRAPH_VALUES, 4);
    static const struct {
        uint32_t value, count;
    } cases[] = {{X_WEIGHT, 0}, {X_GROUPED, 0}, {X_SCALES, N}};
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        dlx_fb q = dlx_fb_table(dlx_fb_table(dlx_fb_vec_table(values, cases[i].value), UNION_VALUE), QUANTIZED_PARAMS);
        assert_true(dlx_fb_has(q, CHANNEL_SCALE));
        assert_int_equal(dlx_fb_vec(q, CHANNEL_SCALE, 4).count, cases[i].count);
    }
    dlx_fb_vector nodes = dlx_fb_vec(root, GRAPH_NODES, 4);
    dlx_fb fc = dlx_fb_table(dlx_fb_vec_table(nodes, 2), UNION_VALUE);
    assert_int_equal(dlx_fb_u32(fc, 2, 0), DLX_XNN_NONE);
    dlx_fb_vector keys = dlx_fb_vec(root, GRAPH_CONSTANTS, 4);
    assert_true(dlx_fb_u64(dlx_fb_vec_table(keys, K_WEIGHT), CONSTANT_OFFSET, 0) == UINT64_MAX);
    free(payload);
}

static void older_identifier_is_read(void **state)
{
    (void)state;
    sample s;
    size_t size;
    dlx_xnn_graph g;
    dlx_arena arena;
    dlx_arena_init(&arena);
    make(&s);
    uint8_t *payload = written(&s, &size);
    memcpy(payload + 36, "XN00", 4);
    assert_int_equal(dlx_xnn_read(&g, &arena, payload, size, "payload", named, &s, NULL), DLX_OK);
    memcpy(payload + 36, "XN02", 4);
    assert_int_equal(dlx_xnn_read(&g, &arena, payload, size, "payload", named, &s, NULL), DLX_E_FORMAT);
    dlx_arena_free(&arena);
    free(payload);
}

/* ---- rules ---- */

#define VALUE(v) s->values[v]
#define NODE(n)  s->nodes[n]
/* Nodes 0..4 are those of make(); 5 is Add, the first of the map. X(what is broken, status, words of the message) */
#define RULES(X)                                                                                                       \
    X(s->g.num_externs = 4097, DLX_E_FORMAT, "XNNPACK payload: 4097 inputs and outputs")                               \
    X(VALUE(X_IN).datatype = 13, DLX_E_UNSUPPORTED, "value 0 (id 3): its data type is number 13 (float32 (packed))")   \
    X(VALUE(X_IN).rank = 7, DLX_E_FORMAT, "rank 7; XNNPACK has at most 6")                                             \
    X(VALUE(X_T).rank = 6; memset(VALUE(X_T).dim, 0xFF, 24), DLX_E_FORMAT, "more bytes than 64 bits")                  \
    X(VALUE(X_IN).quant = DLX_XNN_Q_PER_TENSOR, DLX_E_FORMAT, "data type 1 goes with quantisation 0, not 2")           \
    X(VALUE(X_WEIGHT).quant = DLX_XNN_Q_NONE, DLX_E_FORMAT, "data type 6 goes with quantisation 1, not 0")             \
    X(VALUE(X_BYTE).scale = 0, DLX_E_FORMAT, "its scale is 0")                                                         \
    X(VALUE(X_BYTE).scale = NAN, DLX_E_FORMAT, "a positive number is expected")                                        \
    X(VALUE(X_BYTE).zero_point = 128, DLX_E_FORMAT, "zero point 128")                                                  \
    X(VALUE(X_BYTE).datatype = DLX_XNN_QUINT8, DLX_E_FORMAT, "zero point -7")                                          \
    X(VALUE(X_DYNAMIC).nonbatch_dims = 3, DLX_E_FORMAT, "quantised over 3 of its 2")                                   \
    X(VALUE(X_DYNAMIC).constant = K_WEIGHT, DLX_E_FORMAT, "cannot be a constant")                                      \
    X(VALUE(X_WEIGHT).channel_dim = 2, DLX_E_FORMAT, "channel dimension is 2 of 2")                                    \
    X(VALUE(X_WEIGHT).channel_dim = 1, DLX_E_FORMAT, "6 scales; its shape asks for 64")                                \
    X(VALUE(X_WEIGHT).scales = K_COUNT, DLX_E_FORMAT, "its scales are constant 8; there are 8")                        \
    X(s->constants[K_SCALES].size--, DLX_E_FORMAT, "6 scales take 24 bytes; constant 2 has 23")                        \
    X(VALUE(X_SCALES).inline_scales = NULL, DLX_E_FORMAT, "its 6 scales are missing")                                  \
    X(VALUE(X_GROUPED).group_size = 48, DLX_E_FORMAT, "groups of 48 do not divide")                                    \
    X(VALUE(X_GROUPED).group_size = 0, DLX_E_FORMAT, "groups of 0")                                                    \
    X(VALUE(X_GROUPED).group_size = 64, DLX_E_FORMAT, "12 scales; its shape asks for 6")                               \
    X(s->constants[K_WEIGHT].size--, DLX_E_FORMAT, "value 2 (id 5): it takes 384 bytes; constant 1 has 383")           \
    X(s->constants[K_GROUPED].size -= 2, DLX_E_FORMAT, "it takes 192 bytes; constant 4 has 191")                       \
    X(s->constants[K_CHANNEL4].size--, DLX_E_FORMAT, "it takes 12 bytes; constant 6 has 11")                           \
    X(VALUE(X_WEIGHT).constant = K_COUNT, DLX_E_FORMAT, "its data is constant 8; there are 8")                         \
    X(VALUE(X_IN).flags = 5, DLX_E_UNSUPPORTED, "flags 0x5")                                                           \
    X(VALUE(X_IN).flags = 3, DLX_E_FORMAT, "either an input or an output")                                             \
    X(VALUE(X_IN).external_id = 3, DLX_E_FORMAT, "its external id is 3; there are 3")                                  \
    X(VALUE(X_IN).external_id = DLX_XNN_NONE, DLX_E_FORMAT, "without an external id")                                  \
    X(VALUE(X_BYTE).external_id = 1, DLX_E_FORMAT, "another value has external id 1")                                  \
    X(VALUE(X_BYTE).id = id_of(X_IN), DLX_E_FORMAT, "another value has this id")                                       \
    X(VALUE(X_UNUSED).id = 2 * s->g.n_values, DLX_E_FORMAT, "ids reach below twice the number of values")              \
    X(NODE(5).type = 7, DLX_E_UNSUPPORTED, "node 5 (Conv2d): this runtime has no such operator")                       \
    X(NODE(5).type = 48, DLX_E_UNSUPPORTED, "node 5 (?): its type is number 48")                                       \
    X(NODE(5).inputs = 1, DLX_E_FORMAT, "node 5 (Add): it has 1 inputs; expected 2")                                   \
    X(NODE(5).in[1] = 0, DLX_E_FORMAT, "input 1 is id 0, which no value has")                                          \
    X(NODE(5).in[1] = DLX_XNN_NONE, DLX_E_FORMAT, "input 1 is id 4294967295, which no value has")                      \
    X(NODE(5).in[1] = id_of(X_T), DLX_E_FORMAT, "which nothing has written yet")                                       \
    X(NODE(5).out = 1, DLX_E_FORMAT, "its output is id 1, which no value has")                                         \
    X(NODE(5).out = id_of(X_IN), DLX_E_FORMAT, "which is a constant, an input or written already")                     \
    X(NODE(5).out = id_of(X_WEIGHT), DLX_E_FORMAT, "which is a constant, an input or written already")                 \
    X(NODE(5).out = id_of(X_FC), DLX_E_FORMAT, "which is a constant, an input or written already")                     \
    X(NODE(5).min = NAN, DLX_E_FORMAT, "it clamps to nan .. inf")                                                      \
    X(NODE(5).max = -2, DLX_E_FORMAT, "it clamps to -1.5 .. -2")                                                       \
    X(find(s, DLX_XNN_CONCATENATE2)->axis = 2, DLX_E_FORMAT, "(Concatenate2): it joins along dimension 2 of 2")        \
    X(find(s, DLX_XNN_ELU)->factor = INFINITY, DLX_E_FORMAT, "(ELU): its factor is inf")                               \
    X(find(s, DLX_XNN_STATIC_SLICE)->rank = 7, DLX_E_FORMAT, "(StaticSlice): it has rank 7")                           \
    X(find(s, DLX_XNN_STATIC_SLICE)->rank = 1, DLX_E_FORMAT, "rank 1, its input 2 and its output 2")                   \
    X(find(s, DLX_XNN_STATIC_TRANSPOSE)->shape[0] = 0, DLX_E_FORMAT, "its permutation")                                \
    X(find(s, DLX_XNN_STATIC_TRANSPOSE)->shape[0] = 2, DLX_E_FORMAT, "its permutation")                                \
    X(s->g.n_nodes--, DLX_E_FORMAT, "no node writes output 0")                                                         \
    X(s->constants[K_WEIGHT].key = NULL, DLX_E_INTERNAL, "constant 1 has neither a key nor data")                      \
    X(s->constants[K_WEIGHT].key = "", DLX_E_INTERNAL, "constant 1 has neither a key nor data")                        \
    X(s->constants[K_BIAS].size = UINT64_MAX / 2, DLX_E_LIMIT, "do not fit into memory")

static dlx_xnn_node *find(sample *s, int type)
{
    for (uint32_t i = 0; i < s->g.n_nodes; i++)
        if (s->nodes[i].type == type) return &s->nodes[i];
    fail_msg("no node of type %d", type);
    return NULL;
}

static void break_rule(sample *s, int rule)
{
    int i = 0;
#define BREAK(change, status, words)                                                                                   \
    if (rule == i++) {                                                                                                 \
        change;                                                                                                        \
    }
    RULES(BREAK)
#undef BREAK
}

static void what_breaks_a_rule_is_refused(void **state)
{
    (void)state;
#define EXPECT(change, status, words) {status, words, #change},
    static const struct {
        dlx_status status;
        const char *words, *change;
    } rules[] = {RULES(EXPECT)};
#undef EXPECT
    for (size_t i = 0; i < DLX_COUNT(rules); i++) {
        sample s;
        void *p;
        size_t size;
        dlx_error err = {0};
        make(&s);
        break_rule(&s, (int)i);
        dlx_status status = dlx_xnn_write(&s.g, &p, &size, &err);
        if (status != rules[i].status || !strstr(err.message, rules[i].words))
            fail_msg("%s: %s: '%s' lacks '%s'", rules[i].change, dlx_status_name(status), err.message, rules[i].words);
        assert_null(p);
        assert_int_equal(size, 0);
    }
}

/* ---- bytes that lie ---- */

static void touch(const void *p, uint64_t n)
{
    const volatile uint8_t *bytes = p;
    for (uint64_t i = 0; i < n; i++) (void)bytes[i];
}

static dlx_status reread(const uint8_t *payload, size_t size, dlx_xnn_named_fn find_named, void *ctx, dlx_error *err)
{
    dlx_xnn_graph g;
    dlx_arena arena;
    dlx_arena_init(&arena);
    dlx_status s = dlx_xnn_read(&g, &arena, payload, size, "payload", find_named, ctx, err);
    for (uint32_t i = 0; s == DLX_OK && i < g.n_constants; i++) touch(g.constants[i].data, g.constants[i].size);
    for (uint32_t i = 0; s == DLX_OK && i < g.n_values; i++) {
        if (g.values[i].constant) assert_in_range(g.values[i].constant, 1, g.n_constants - 1);
        if (g.values[i].inline_scales) touch(g.values[i].inline_scales, 4 * (uint64_t)g.values[i].num_scales);
    }
    if (s != DLX_OK) assert_null(g.values);
    dlx_arena_free(&arena);
    return s;
}

static void damage(uint8_t *payload, size_t size, size_t constants_at, dlx_xnn_named_fn find_named, void *ctx)
{
    size_t refused = 0;
    for (size_t n = 0; n < size; n++) {
        uint8_t *copy = malloc(n ? n : 1); /* exact, so that a sanitizer sees the first byte too many */
        assert_non_null(copy);
        memcpy(copy, payload, n);
        if (reread(copy, n, find_named, ctx, NULL) == DLX_OK) fail_msg("the first %zu of %zu bytes are read", n, size);
        free(copy);
    }
    for (size_t bit = 0; bit < 8 * constants_at; bit++) {
        dlx_error err = {0};
        payload[bit / 8] ^= (uint8_t)(1u << bit % 8);
        dlx_status s = reread(payload, size, find_named, ctx, &err);
        payload[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (s == DLX_OK) continue;
        refused++;
        assert_int_equal(err.status, s);
        assert_true(strstr(err.message, "payload: ") == err.message && strlen(err.message) > 25);
    }
    assert_true(refused > constants_at);
    assert_int_equal(reread(payload, size, find_named, ctx, NULL), DLX_OK);
}

static void damaged_payloads_are_survived(void **state)
{
    (void)state;
    sample s;
    size_t size;
    uint32_t constants_at;
    make(&s);
    uint8_t *payload = written(&s, &size);
    memcpy(&constants_at, payload + 18, 4);
    damage(payload, size, constants_at, named, &s);
    for (size_t i = 4; i < 8; i++) { /* every character of the magic counts */
        dlx_error err = {0};
        payload[i]++;
        assert_int_equal(reread(payload, size, named, &s, &err), DLX_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "does not begin with an 'XH00' header"));
        payload[i]--;
    }
    free(payload);
}

/* Activations may be quantised over all their dimensions. */
static void all_dimensions_may_be_quantised_over(void **state)
{
    (void)state;
    sample s;
    dlx_error err = {0};
    make(&s);
    s.values[X_DYNAMIC].nonbatch_dims = s.values[X_DYNAMIC].rank;
    if (dlx_xnn_verify(&s.g, "payload", NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    s.values[X_DYNAMIC].nonbatch_dims = 0;
    assert_int_equal(dlx_xnn_verify(&s.g, "payload", NULL, &err), DLX_E_FORMAT);
}

static const void *missing(void *ctx, const char *key, uint64_t *size)
{
    (void)ctx;
    (void)key;
    *size = 0;
    return NULL;
}

static const void *short_data(void *ctx, const char *key, uint64_t *size)
{
    const void *p = named(ctx, key, size);
    --*size;
    return p;
}

static const void *odd_data(void *ctx, const char *key, uint64_t *size)
{
    return (const uint8_t *)named(ctx, key, size) + 1;
}

static void named_data_must_be_there_and_fit(void **state)
{
    (void)state;
    static const struct {
        dlx_xnn_named_fn find;
        dlx_status status;
        const char *words;
    } cases[] = {
        {NULL, DLX_E_UNSUPPORTED, "constant 1: its data 'weight' is not in the file"},
        {missing, DLX_E_UNSUPPORTED, "external weights (.ptd) are not supported"},
        {short_data, DLX_E_FORMAT, "it has 384 bytes; its data 'weight' has 383"},
        {odd_data, DLX_E_FORMAT, "value 2: constant 2 is not aligned"},
    };
    sample s;
    size_t size;
    make(&s);
    uint8_t *payload = written(&s, &size);
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        dlx_error err = {0};
        assert_int_equal(reread(payload, size, cases[i].find, &s, &err), cases[i].status);
        if (!strstr(err.message, cases[i].words)) fail_msg("'%s' lacks '%s'", err.message, cases[i].words);
    }
    free(payload);
}

/* ---- payloads of ExecuTorch's exporter ---- */

static uint32_t count_values(const dlx_xnn_graph *g, int datatype)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_values; i++) n += g->values[i].datatype == datatype;
    return n;
}

static void official_payloads_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int datatype;
        int32_t group_size;
    } files[] = {{"official_8da8w.pte", DLX_XNN_QCINT8, 0}, {"official_8da4w.pte", DLX_XNN_QBINT4, 32}};
    static const int nodes[] = {
        DLX_XNN_ADD,
        DLX_XNN_RECIPROCAL_SQUARE_ROOT,
        DLX_XNN_MULTIPLY,
        DLX_XNN_CONVERT,
        DLX_XNN_FULLY_CONNECTED,
        DLX_XNN_SIGMOID,
        DLX_XNN_CONVERT,
        DLX_XNN_FULLY_CONNECTED,
        DLX_XNN_STATIC_SLICE,
        DLX_XNN_STATIC_SLICE,
        DLX_XNN_NEGATE,
        DLX_XNN_CONCATENATE2,
        DLX_XNN_ADD,
        DLX_XNN_ADD,
        DLX_XNN_CONVERT,
        DLX_XNN_FULLY_CONNECTED,
        DLX_XNN_SOFTMAX,
    };
    for (size_t i = 0; i < DLX_COUNT(files); i++) {
        char path[512];
        whole_file map;
        dlx_pte pte;
        dlx_xnn_graph g;
        dlx_arena arena;
        dlx_error err = {0};
        dlx_arena_init(&arena);
        snprintf(path, sizeof path, "%s/format/%s", DLX_TEST_DATA, files[i].name);
        assert_int_equal(read_whole_file(&map, path, &err), DLX_OK);
        assert_int_equal(dlx_pte_read(&pte, &arena, map.data, map.size, files[i].name, &err), DLX_OK);
        const dlx_pte_blob *blob = &pte.blobs[pte.plans[0].delegates[1].blob];
        if (dlx_xnn_read(&g, &arena, blob->data, blob->size, "delegate", pte_sample_named, &pte, &err) != DLX_OK)
            fail_msg("%s", err.message);
        assert_int_equal(g.n_nodes, DLX_COUNT(nodes));
        for (uint32_t n = 0; n < g.n_nodes; n++) assert_int_equal(g.nodes[n].type, nodes[n]);
        assert_int_equal(count_values(&g, files[i].datatype), 3);
        assert_int_equal(count_values(&g, DLX_XNN_QDINT8), 3);
        for (uint32_t v = 0; v < g.n_values; v++)
            if (g.values[v].datatype == files[i].datatype)
                assert_int_equal(g.values[v].group_size, files[i].group_size);
        uint8_t *copy = malloc((size_t)blob->size);
        assert_non_null(copy);
        memcpy(copy, blob->data, (size_t)blob->size);
        damage(copy, (size_t)blob->size, (size_t)blob->size, pte_sample_named, &pte);
        free(copy);
        dlx_arena_free(&arena);
        free_whole_file(&map);
    }
}

static void node_names_are_those_of_the_schema(void **state)
{
    (void)state;
    assert_string_equal(dlx_xnn_node_name(1), "Add");
    assert_string_equal(dlx_xnn_node_name(2), "FullyConnected");
    assert_string_equal(dlx_xnn_node_name(40), "ReciprocalSquareRoot");
    assert_string_equal(dlx_xnn_node_name(47), "Cos");
    assert_string_equal(dlx_xnn_node_name(7), "Conv2d");
    assert_string_equal(dlx_xnn_node_name(10), "StaticConstantPad");
    assert_string_equal(dlx_xnn_datatype_name(1), "float32");
    assert_string_equal(dlx_xnn_datatype_name(14), "bfloat16");
    assert_string_equal(dlx_xnn_datatype_name(15), "?");
    assert_string_equal(dlx_xnn_node_name(0), "?");
    assert_string_equal(dlx_xnn_node_name(-1), "?");
    assert_string_equal(dlx_xnn_node_name(48), "?");
#define NAMED(name, number, shape) assert_true(strlen(dlx_xnn_node_name(number)) > 2);
    DLX_XNN_NODE_MAP(NAMED)
#undef NAMED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(the_payload_begins_with_its_header),
        cmocka_unit_test(scales_stand_as_a_vector_even_when_empty),
        cmocka_unit_test(older_identifier_is_read),
        cmocka_unit_test(what_breaks_a_rule_is_refused),
        cmocka_unit_test(damaged_payloads_are_survived),
        cmocka_unit_test(all_dimensions_may_be_quantised_over),
        cmocka_unit_test(named_data_must_be_there_and_fit),
        cmocka_unit_test(official_payloads_are_read),
        cmocka_unit_test(node_names_are_those_of_the_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
