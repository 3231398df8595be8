/* Graphs on the emulator of Qualcomm's libraries, and on the project's own executor, for tests that compare the two.
 * The libraries are those of DLX_QNN_LIBRARIES; without it a test says so. tests/py/test_qnn_official.py sets it. */
#ifndef DLX_TESTS_QNN_RUN_H
#define DLX_TESTS_QNN_RUN_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/qnn/build.h"
#include "base/half.h"
#include "runtime/program.h"

enum { QNN_TENSORS = 48, QNN_NUMBERS = 1 << 16 };

/* Numbers of a graph's inputs or outputs, as floats. */
typedef struct numbers {
    float x[QNN_TENSORS][QNN_NUMBERS];
} numbers;

/* False: none are named, which was said. */
static inline bool qnn_libraries(dlx_qnn_library *lib, const char *chip)
{
    const dlx_qnn_chip *c;
    dlx_error err = {0};
    const char *folder = getenv("DLX_QNN_LIBRARIES");
    memset(lib, 0, sizeof *lib);
    assert_int_equal(dlx_qnn_chip_find(&c, chip, &err), DLX_OK);
    if (!folder) {
        printf("SKIPPED: operators on the emulator of Qualcomm's libraries are NOT checked: DLX_QNN_LIBRARIES names no "
               "folder\n");
        return false;
    }
    if (dlx_qnn_library_open(lib, folder, c, &err) != DLX_OK) fail_msg("%s", err.message);
    return true;
}

/* All of a graph as a part; frees nothing. */
typedef struct whole_part {
    dlx_part part;
    uint32_t nodes[4096];
} whole_part;

static inline void take_all(whole_part *w, const dlx_graph *g)
{
    assert_true(g->n_nodes <= 4096);
    for (size_t i = 0; i < g->n_nodes; i++) w->nodes[i] = (uint32_t)i;
    w->part = (dlx_part){g, w->nodes, g->n_nodes, g->inputs, g->n_inputs, g->outputs, g->n_outputs};
}

static inline size_t count_of(const dlx_value *v)
{
    dlx_shape s = dlx_value_shape(v);
    return (size_t)dlx_shape_elements(&s);
}

/* What of an input a tensor of its type holds. */
static inline void *qnn_bytes(const dlx_value *v, const float *x)
{
    size_t n = count_of(v);
    assert_true(n <= QNN_NUMBERS);
    uint16_t *half = calloc(n, sizeof(float));
    assert_non_null(half);
    if (v->dtype == DLX_F16)
        for (size_t i = 0; i < n; i++) half[i] = dlx_f32_to_f16(x[i]);
    else
        memcpy(half, x, n * sizeof *x);
    return half;
}

static inline void qnn_floats(const dlx_value *v, const void *bytes, float *x)
{
    const uint16_t *half = bytes;
    for (size_t i = 0; i < count_of(v); i++)
        x[i] = v->dtype == DLX_F16 ? dlx_f16_to_f32(half[i]) : ((const float *)bytes)[i];
}

/* Runs what was built, on the emulator. */
static inline void qnn_execute(dlx_qnn_build *b, const numbers *in, numbers *out)
{
    const dlx_graph *g = b->g;
    for (size_t i = 0; i < g->n_inputs; i++) {
        const dlx_value *v = &g->values[g->inputs[i]];
        b->inputs[i].buffer.data = qnn_bytes(v, in->x[i]);
        b->inputs[i].buffer.bytes = (uint32_t)(count_of(v) * (v->dtype == DLX_F16 ? 2 : 4));
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        const dlx_value *v = &g->values[g->outputs[i]];
        b->outputs[i].buffer.data = calloc(count_of(v), 4);
        b->outputs[i].buffer.bytes = (uint32_t)(count_of(v) * (v->dtype == DLX_F16 ? 2 : 4));
    }
    dlx_qnn_error e = b->lib->api->graph_execute(b->graph, b->inputs, (uint32_t)g->n_inputs, b->outputs,
                                                 (uint32_t)g->n_outputs, NULL, NULL);
    if (e) fail_msg("graph_execute: error %llu", (unsigned long long)e & 0xFFFF);
    for (size_t i = 0; i < g->n_outputs; i++) {
        qnn_floats(&g->values[g->outputs[i]], b->outputs[i].buffer.data, out->x[i]);
        free(b->outputs[i].buffer.data);
    }
    for (size_t i = 0; i < g->n_inputs; i++) free(b->inputs[i].buffer.data);
}

/* Ranges of values by name. */
typedef struct seen {
    struct {
        char name[96];
        float low, high;
    } list[4096];
    size_t n;
} seen;

static inline bool find_seen(void *ctx, const char *name, float *low, float *high)
{
    const seen *s = ctx;
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->list[i].name, name)) {
            *low = s->list[i].low;
            *high = s->list[i].high;
            return true;
        }
    return false;
}

static inline void see(seen *s, const char *name, const float *x, size_t n)
{
    if (!name) return;
    float low = 0, high = 0;
    for (size_t i = 0; i < n; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    assert_true(s->n < 4096);
    snprintf(s->list[s->n].name, sizeof s->list[0].name, "%s", name);
    s->list[s->n].low = low;
    s->list[s->n++].high = high;
}

/* Runs g, which it takes over, on the project's executor. With `ranges`, those of all values. */
static inline void reference_run(dlx_graph *g, const numbers *in, numbers *out, seen *ranges)
{
    size_t own = g->n_outputs;
    for (size_t i = 0; ranges && i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_TEMP && g->values[i].dtype == DLX_F32 && g->values[i].producer != DLX_NONE)
            assert_true(dlx_graph_output(g, (uint32_t)i));
    dlx_error err = {0};
    dlx_program p;
    dlx_pool *pool;
    dlx_executor *ex;
    dlx_shape most[QNN_TENSORS];
    dlx_tensor_ref refs[QNN_TENSORS], *results = calloc(g->n_outputs, sizeof *results);
    size_t inputs = g->n_inputs;
    assert_true(inputs <= QNN_TENSORS && results);
    assert_int_equal(dlx_pool_create(&pool, 1, NULL), DLX_OK);
    dlx_program_options options = {.limit = DLX_ISA_REF, .pool = pool};
    if (dlx_program_prepare(&p, g, &options, &err) != DLX_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < inputs; i++) {
        const dlx_value *v = &p.g.values[p.g.inputs[i]];
        most[i] = dlx_value_shape(v);
        refs[i] = (dlx_tensor_ref){qnn_bytes(v, in->x[i]), most[i]};
    }
    dlx_executor_bounds bounds = {.max_shape = most};
    if (dlx_executor_open(&ex, &p, &bounds, pool, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_pass pass = {.inputs = refs};
    if (dlx_executor_run(ex, &pass, results, &err) != DLX_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < own; i++) qnn_floats(&p.g.values[p.g.outputs[i]], results[i].data, out->x[i]);
    if (ranges) ranges->n = 0;
    for (size_t i = own; i < p.g.n_outputs; i++) {
        const dlx_value *v = &p.g.values[p.g.outputs[i]];
        see(ranges, v->name, results[i].data, count_of(v));
    }
    for (size_t i = 0; ranges && i < inputs; i++) {
        const dlx_value *v = &p.g.values[p.g.inputs[i]];
        see(ranges, v->name, in->x[i], count_of(v));
    }
    dlx_executor_close(ex);
    dlx_pool_free(pool);
    dlx_program_free(&p);
    for (size_t i = 0; i < inputs; i++) free(refs[i].data);
    free(results);
}

/* The largest difference of n numbers, over the largest magnitude of the right ones. */
static inline float relative(const float *x, const float *right, size_t n)
{
    float most = 1e-30f, off = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(right[i]));
        off = fmaxf(off, fabsf(x[i] - right[i]));
        if (isnan(x[i])) return INFINITY;
    }
    return off / most;
}

#endif
