/*
 * Writes what the CoreML backend makes of a graph, for checks against Apple's and ExecuTorch's own tools
 * (tests/py/test_coreml.py):
 *
 *   make_coreml_part FOLDER TARGET op NAME [FORM]
 *   make_coreml_part FOLDER TARGET model CHECKPOINT FORM ROWS CONTEXT CACHE LAYERS     (CACHE: f32, f16, state)
 *
 * Of an operator, into FOLDER: payload.bin, model.mlpackage, and part.json with the delegate's options and the float
 * constants of the graph before they took a form, each in a file of its own. Of a model: model.pte, with so many layers
 * to a delegate, or 0.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/coreml/coreml.h"
#include "base/output.h"
#include "base/text_buffer.h"
#include "model/checkpoint.h"
#include "quant/quant.h"

typedef struct maker {
    dlx_graph g;
    dlx_arena arena;
    const char *folder;
    dlx_coreml_options options;
    dlx_text_buffer json;
    uint32_t seed;
    dlx_error err;
} maker;

static void stop(const maker *m, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, m->err.message);
    exit(1);
}

static void need(const maker *m, dlx_status s, const char *what)
{
    if (s != DLX_OK) stop(m, what);
}

/* ---- graphs of single operators ---- */

static uint32_t input(maker *m, const char *name, dlx_dtype type, int rank, const int64_t *dim)
{
    return dlx_graph_input(&m->g, name, type, rank, dim, 0);
}

static uint32_t weight(maker *m, const char *name, int rank, int64_t a, int64_t b, float scale)
{
    int64_t dim[2] = {a, b};
    size_t n = (size_t)(rank == 2 ? a * b : a);
    float *data = dlx_arena_array(&m->g.arena, n, sizeof *data);
    if (!data) stop(m, "out of memory");
    for (size_t i = 0; i < n; i++) {
        m->seed = m->seed * 1664525u + 1013904223u;
        data[i] = ((float)(m->seed >> 8) / 8388608.0f - 1.0f) * scale;
    }
    return dlx_graph_const(&m->g, name, DLX_F32, rank, dim,
                           (dlx_const_source){.data = data, .bytes = n * sizeof *data, .stored = DLX_F32});
}

static uint32_t node(maker *m, dlx_op op, int inputs, const uint32_t *in, const dlx_attr *attr)
{
    return dlx_graph_node(&m->g, op, in, inputs, attr, 0, &m->err);
}

static uint32_t unary(maker *m, dlx_op op, uint32_t x, dlx_attr attr)
{
    return node(m, op, 1, &x, &attr);
}

static uint32_t binary(maker *m, dlx_op op, uint32_t x, uint32_t y)
{
    return node(m, op, 2, (uint32_t[]){x, y}, NULL);
}

static void output(maker *m, uint32_t v)
{
    if (!dlx_graph_output(&m->g, v)) stop(m, "an output");
}

static void rms_norm(maker *m)
{
    uint32_t x = input(m, "x", DLX_F32, 2, (const int64_t[]){6, 24}), w = weight(m, "w", 1, 24, 0, 1.5f);
    output(m, node(m, DLX_OP_RMS_NORM, 2, (uint32_t[]){x, w}, &(dlx_attr){.f = {1e-6f, 0}}));
}

static void rms_norm_heads(maker *m)
{
    uint32_t x = input(m, "x", DLX_F32, 3, (const int64_t[]){4, 3, 8}), w = weight(m, "w", 1, 8, 0, 1.5f);
    output(m, node(m, DLX_OP_RMS_NORM, 2, (uint32_t[]){x, w}, &(dlx_attr){.f = {1e-5f, 0}}));
}

static void rope_of(maker *m, const int64_t *dim, int32_t axis)
{
    const int64_t table[2] = {5, 8};
    uint32_t x = input(m, "x", DLX_F32, 3, dim), c = input(m, "cos", DLX_F32, 2, table);
    uint32_t s = input(m, "sin", DLX_F32, 2, table);
    output(m, node(m, DLX_OP_ROPE, 3, (uint32_t[]){x, c, s}, &(dlx_attr){.axis = axis}));
    if (!axis) /* rows of the tables that two nodes share */
        output(m, node(m, DLX_OP_ROPE, 3, (uint32_t[]){unary(m, DLX_OP_NEG, x, (dlx_attr){.rank = 0}), c, s}, NULL));
}

static void rope(maker *m)
{
    rope_of(m, (const int64_t[]){5, 3, 8}, 0);
}

static void rope_heads_first(maker *m)
{
    rope_of(m, (const int64_t[]){3, 5, 8}, 1);
}

/* heads query heads on two of keys; what is stored may be float16. */
static void attention_of(maker *m, int64_t heads, int64_t stored, bool masked, dlx_dtype cache)
{
    const int64_t q[3] = {5, heads, 8}, k[3] = {5, 2, 8}, c[3] = {stored, 2, 8}, mask[2] = {5, stored + 5};
    uint32_t in[6] = {input(m, "q", DLX_F32, 3, q),
                      input(m, "k", DLX_F32, 3, k),
                      input(m, "v", DLX_F32, 3, k),
                      DLX_NONE,
                      DLX_NONE,
                      DLX_NONE};
    for (int i = 3; stored && i < 5; i++) {
        in[i] = input(m, i == 3 ? "kc" : "vc", cache, 3, c);
        if (cache != DLX_F32) in[i] = unary(m, DLX_OP_CONVERT, in[i], (dlx_attr){.f = {1.0f, 0}});
    }
    if (masked) in[5] = input(m, "mask", DLX_F32, 2, mask);
    output(m, node(m, DLX_OP_ATTENTION, masked ? 6 : stored ? 5 : 3, in, &(dlx_attr){.f = {0.35f, 0}}));
    if (cache == DLX_F16) output(m, unary(m, DLX_OP_CAST, in[1], (dlx_attr){.dtype = DLX_F16}));
}

static void attention(maker *m)
{
    attention_of(m, 6, 7, true, DLX_F32);
}

static void attention_plain(maker *m)
{
    attention_of(m, 2, 0, false, DLX_F32);
}

static void attention_f16(maker *m)
{
    attention_of(m, 4, 7, true, DLX_F16);
}

static void attention_unmasked(maker *m)
{
    attention_of(m, 4, 7, false, DLX_F32);
}

/* Caches that the program keeps: rows of a call go where their positions say. */
static void attention_state(maker *m)
{
    const int64_t x[3] = {3, 2, 8}, kept[3] = {16, 2, 8}, mask[2] = {3, 19}, rows = 3;
    uint32_t in[6], state[2];
    for (int i = 0; i < 3; i++) in[i] = input(m, (const char *[]){"q", "k", "v"}[i], DLX_F32, 3, x);
    in[5] = input(m, "mask", DLX_F32, 2, mask);
    uint32_t positions = input(m, "positions", DLX_I64, 1, &rows);
    for (int i = 0; i < 2; i++) state[i] = input(m, i ? "v_0" : "k_0", DLX_F16, 3, kept);
    for (int i = 0; i < 2; i++) in[3 + i] = unary(m, DLX_OP_CONVERT, state[i], (dlx_attr){.f = {1.0f, 0}});
    output(m, node(m, DLX_OP_ATTENTION, 6, in, &(dlx_attr){.f = {0.35f, 0}}));
    for (int i = 0; i < 2; i++) {
        uint32_t put[3] = {state[i], unary(m, DLX_OP_CAST, in[1 + i], (dlx_attr){.dtype = DLX_F16}), positions};
        output(m, node(m, DLX_OP_INDEX_PUT, 3, put, &(dlx_attr){.axes = 1}));
    }
    m->g.n_states = 2;
}

static void silu_mul(maker *m)
{
    const int64_t dim[2] = {4, 16};
    uint32_t a = input(m, "a", DLX_F32, 2, dim), b = input(m, "b", DLX_F32, 2, dim);
    output(m, binary(m, DLX_OP_SILU_MUL, a, b));
}

/* Outputs of more than one piece, the last of which is smaller, and a layer that shares the weights. */
static void linear(maker *m)
{
    uint32_t x = input(m, "x", DLX_F32, 2, (const int64_t[]){3, 64}), w = weight(m, "w", 2, 1504, 64, 0.3f);
    uint32_t bias = weight(m, "b", 1, 1504, 0, 1.0f);
    output(m, node(m, DLX_OP_LINEAR, 3, (uint32_t[]){x, w, bias}, NULL));
    output(m, binary(m, DLX_OP_LINEAR, unary(m, DLX_OP_NEG, x, (dlx_attr){.rank = 0}), w));
}

static void simple(maker *m)
{
    const dlx_attr none = {.rank = 0};
    uint32_t x = input(m, "x", DLX_F32, 3, (const int64_t[]){2, 3, 4}), w = weight(m, "w", 1, 4, 0, 2.0f);
    static const dlx_op two[] = {DLX_OP_ADD, DLX_OP_SUB, DLX_OP_MUL, DLX_OP_DIV, DLX_OP_MIN, DLX_OP_MAX};
    static const dlx_op one[] = {DLX_OP_ABS,  DLX_OP_SQUARE, DLX_OP_EXP,  DLX_OP_TANH,    DLX_OP_SIGMOID, DLX_OP_FLOOR,
                                 DLX_OP_CEIL, DLX_OP_NEG,    DLX_OP_COPY, DLX_OP_SOFTMAX, DLX_OP_ERF};
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) output(m, binary(m, two[i], x, w));
    for (size_t i = 0; i < sizeof one / sizeof *one; i++) output(m, unary(m, one[i], x, none));
    static const dlx_op sums[] = {DLX_OP_MEAN, DLX_OP_SUM, DLX_OP_AMAX, DLX_OP_AMIN};
    for (int i = 0; i < 4; i++) output(m, unary(m, sums[i], x, (dlx_attr){.axis = i % 3, .keep = i % 2 == 0}));
    output(m, unary(m, DLX_OP_TRANSPOSE, x, (dlx_attr){.rank = 3, .shape = {2, 0, 1}}));
    output(m, unary(m, DLX_OP_SLICE, x, (dlx_attr){.rank = 3, .shape = {0, 1, 2}, .size = {-1, 1, -1}}));
    output(m, unary(m, DLX_OP_RESHAPE, x, (dlx_attr){.rank = 2, .shape = {-1, 2}}));
    uint32_t both = node(m, DLX_OP_CONCAT, 2, (uint32_t[]){x, x}, &(dlx_attr){.axis = 1});
    output(m, both);
    output(m, node(m, DLX_OP_BMM, 2, (uint32_t[]){x, both}, &(dlx_attr){.transpose_b = true}));
}

static const struct {
    const char *name;
    void (*build)(maker *m);
} ops[] = {
    {"rms_norm", rms_norm},
    {"rms_norm_heads", rms_norm_heads},
    {"rope", rope},
    {"rope_heads_first", rope_heads_first},
    {"attention", attention},
    {"attention_plain", attention_plain},
    {"attention_f16", attention_f16},
    {"attention_unmasked", attention_unmasked},
    {"attention_state", attention_state},
    {"silu_mul", silu_mul},
    {"linear", linear},
    {"simple", simple},
};

static void build_op(maker *m, const char *name)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (strcmp(ops[i].name, name) != 0) continue;
        ops[i].build(m);
        need(m, m->err.status, name);
        return;
    }
    fprintf(stderr, "there is no operator '%s'\n", name);
    exit(2);
}

static void quantise(maker *m, const char *name)
{
    const dlx_weight_form *form = dlx_form_find(name), *float32 = dlx_form_find("none");
    if (!form) stop(m, "there is no such form");
    need(m, dlx_quantize(&m->g, &(dlx_recipe){.body = form, .head = form, .table = float32}, &m->err), "quantising");
}

/* ---- files ---- */

static char *path_in(maker *m, const char *name)
{
    char *path = dlx_arena_path(&m->arena, m->folder, name);
    if (!path) stop(m, "out of memory");
    return path;
}

static dlx_status put(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    return dlx_output_write(ctx, bytes, n, err);
}

static void write_constant(maker *m, uint32_t id)
{
    const dlx_value *v = &m->g.values[id];
    char name[32];
    dlx_output out;
    snprintf(name, sizeof name, "constant_%u.bin", id);
    need(m, dlx_output_open(&out, path_in(m, name), &m->err), "a constant");
    need(m, dlx_const_stream(v, NULL, put, &out, &m->err), "a constant");
    need(m, dlx_output_commit(&out, &m->err), "a constant");
    dlx_output_close(&out);
}

static void put_value(maker *m, uint32_t id)
{
    const dlx_value *v = &m->g.values[id];
    dlx_put(&m->json, "{\"value\":%u,\"name\":", id);
    dlx_put_json(&m->json, v->name);
    dlx_put(&m->json, ",\"type\":\"%s\",\"dim\":[", dlx_dtype_name(v->dtype));
    for (int i = 0; i < v->rank; i++) dlx_put(&m->json, "%s%lld", i ? "," : "", (long long)v->dim[i]);
    dlx_put(&m->json, "]}");
}

/* Float constants, as they are before weights take a form. */
static void describe_graph(maker *m)
{
    dlx_put(&m->json, "{\"constants\":[");
    for (uint32_t i = 0, n = 0; i < m->g.n_values; i++) {
        if (m->g.values[i].kind != DLX_VALUE_CONST) continue;
        dlx_put(&m->json, "%s", n++ ? "," : "");
        put_value(m, i);
        write_constant(m, i);
    }
    dlx_put(&m->json, "],\n");
}

/* ---- parts ---- */

/* All nodes: inputs and outputs were made in the order of values. */
static void make_part(maker *m, dlx_part *part)
{
    const dlx_graph *g = &m->g;
    uint32_t *nodes = dlx_arena_array(&m->arena, g->n_nodes, sizeof *nodes);
    if (!nodes) stop(m, "out of memory");
    for (uint32_t i = 0; i < g->n_nodes; i++) nodes[i] = i;
    *part = (dlx_part){.g = g,
                       .nodes = nodes,
                       .n_nodes = g->n_nodes,
                       .inputs = g->inputs,
                       .n_inputs = g->n_inputs,
                       .outputs = g->outputs,
                       .n_outputs = g->n_outputs};
}

static void put_specs(maker *m, const dlx_delegate *d)
{
    dlx_put(&m->json, "\"id\":\"%s\",\"specs\":{", d->id);
    for (uint32_t i = 0; i < d->n_specs; i++)
        dlx_put(&m->json, "%s\"%s\":\"%.*s\"", i ? "," : "", d->specs[i].key, (int)d->specs[i].size,
                (const char *)d->specs[i].value);
    dlx_put(&m->json, "}}\n");
}

static void write_payload(maker *m, const dlx_delegate *d)
{
    dlx_output out;
    need(m, dlx_output_open(&out, path_in(m, "payload.bin"), &m->err), "the payload");
    for (uint32_t i = 0; i < d->n_pieces; i++) {
        const dlx_pte_piece *p = &d->pieces[i];
        dlx_status s = p->data ? dlx_output_write(&out, p->data, (size_t)p->size, &m->err)
                               : dlx_const_stream(p->user, NULL, put, &out, &m->err);
        need(m, s, "the payload");
    }
    need(m, dlx_output_commit(&out, &m->err), "the payload");
    dlx_output_close(&out);
}

static void write_part(maker *m)
{
    dlx_part part;
    dlx_delegate delegate;
    const dlx_lowering how = {.method = "forward", .mark = "#0123456789abcdef", .options = &m->options};
    make_part(m, &part);
    need(m, dlx_coreml_lower_part(&delegate, &m->arena, &part, &how, &m->err), "lowering");
    put_specs(m, &delegate);
    write_payload(m, &delegate);
    need(m, dlx_coreml_package(path_in(m, "model.mlpackage"), &part, &how, NULL, &m->err), "the package");
    char *text;
    dlx_output out;
    need(m, dlx_text_take(&m->json, &text, "describing the part", &m->err), "part.json");
    need(m, dlx_output_open(&out, path_in(m, "part.json"), &m->err), "part.json");
    need(m, dlx_output_write(&out, text, strlen(text), &m->err), "part.json");
    need(m, dlx_output_commit(&out, &m->err), "part.json");
    dlx_output_close(&out);
    free(text);
}

/* ---- models ---- */

static dlx_status stream(void *ctx, const void *user, uint64_t size, dlx_output *out, dlx_error *err)
{
    (void)ctx;
    (void)size;
    return dlx_const_stream(user, NULL, put, out, err);
}

static void write_program(maker *m, int32_t layers)
{
    const dlx_home home = {
        .name = "CoreML", .takes = dlx_coreml_takes, .lower_part = dlx_coreml_lower_part, .layers = layers};
    const dlx_lower_request request = {
        .how = {.method = "forward", .mark = "#0123456789abcdef", .options = &m->options},
        .homes = &home,
        .n_homes = 1};
    dlx_pte_plan plan;
    dlx_pte pte = {.plans = &plan, .n_plans = 1};
    dlx_output out;
    need(m, dlx_lower(&plan, &pte.blobs, &pte.n_blobs, &m->arena, &m->g, &request, &m->err), "lowering");
    need(m, dlx_output_open(&out, path_in(m, "model.pte"), &m->err), "the program");
    need(m, dlx_pte_write(&pte, &out, stream, NULL, &m->err), "the program");
    need(m, dlx_output_commit(&out, &m->err), "the program");
    dlx_output_close(&out);
}

static void make_op(maker *m, const char *name, const char *form)
{
    build_op(m, name);
    describe_graph(m);
    if (form) quantise(m, form);
    write_part(m);
}

static void make_model(maker *m, char **args)
{
    dlx_checkpoint c;
    dlx_kv kv = DLX_KV_FIXED;
    if (!strcmp(args[4], "f16")) kv = DLX_KV_FIXED_F16;
    if (!strcmp(args[4], "state")) kv = DLX_KV_FIXED_STATE;
    need(m, dlx_checkpoint_open(&c, args[0], NULL, &m->err), "the checkpoint");
    need(m, dlx_build_graph(&m->g, &c, kv, atoi(args[2]), atoi(args[3]), &m->err), "the graph");
    quantise(m, args[1]);
    write_program(m, atoi(args[5]));
    dlx_checkpoint_close(&c);
}

int main(int argc, char **argv)
{
    bool op = argc >= 5 && argc <= 6 && !strcmp(argv[3], "op"), model = argc == 10 && !strcmp(argv[3], "model");
    maker m = {.seed = 12345};
    if ((!op && !model) || !dlx_coreml_target_find(argv[2], &m.options.target)) {
        fprintf(stderr, "usage: %s FOLDER TARGET op NAME [FORM] | model CHECKPOINT FORM ROWS CONTEXT CACHE LAYERS\n",
                argv[0]);
        return 2;
    }
    m.folder = argv[1];
    dlx_arena_init(&m.arena);
    dlx_graph_init(&m.g);
    if (mkdir(m.folder, 0777) != 0) {
        perror(m.folder);
        return 1;
    }
    if (op)
        make_op(&m, argv[4], argc == 6 ? argv[5] : NULL);
    else
        make_model(&m, argv + 4);
    dlx_graph_free(&m.g);
    dlx_arena_free(&m.arena);
    return 0;
}
