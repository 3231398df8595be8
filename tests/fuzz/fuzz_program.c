/*
 * Arbitrary bytes as a .pte that is run: whatever loads is raised, planned, packed, and executed twice with a few rows.
 * Programs whose buffers would be large are only measured: a fuzzer has neither the memory nor the time.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/facts.h"
#include "format/pte.h"
#include "fuzz.h"
#include "runtime/program.h"

enum { MOST_BYTES = 8 << 20, ROWS = 2 };

static bool input_fits(const dlx_shape *s, dlx_dtype t)
{
    int64_t n = dlx_shape_elements(s);
    return n >= 0 && (uint64_t)n * dlx_dtype_size(t) <= MOST_BYTES;
}

/* Small integers for ids, positions and rows; small floats elsewhere. */
static void *make_input(const dlx_shape *s, dlx_dtype t)
{
    size_t n = (size_t)dlx_shape_elements(s), size = dlx_dtype_size(t);
    uint8_t *data = calloc(n + 64, size);
    for (size_t i = 0; data && i < n; i++) {
        int64_t id = (int64_t)i % ROWS;
        float f = (float)(i % 7) * 0.25f - 0.5f;
        if (t == DLX_I64)
            memcpy(data + i * size, &id, size);
        else if (t == DLX_I32)
            memcpy(data + i * size, &(int32_t){(int32_t)id}, size);
        else if (t == DLX_F32)
            memcpy(data + i * size, &f, size);
    }
    return data;
}

static void execute(const dlx_program *p, dlx_pool *pool)
{
    const dlx_graph *g = &p->g;
    dlx_error err;
    dlx_shape *shape = calloc(g->n_inputs + 1, sizeof *shape);
    dlx_tensor_ref *in = calloc(g->n_inputs + 1, sizeof *in), *out = calloc(g->n_outputs + 1, sizeof *out);
    dlx_executor *ex = NULL;
    uint64_t bytes = 0;
    dlx_executor_bounds bounds = {.max_shape = shape};
    bool small = shape && in && out;
    for (size_t i = 0; small && i < g->n_inputs; i++) {
        const dlx_value *v = &g->values[g->inputs[i]];
        shape[i].rank = v->rank;
        for (int d = 0; d < v->rank; d++)
            shape[i].dim[d] = (v->dynamic >> d & 1) && v->dim[d] > ROWS ? ROWS : v->dim[d];
        small = input_fits(&shape[i], v->dtype);
    }
    small = small && dlx_executor_size(p, &bounds, 1, &bytes, &err) == DLX_OK && bytes <= MOST_BYTES;
    small = small && dlx_executor_open(&ex, p, &bounds, pool, NULL, &err) == DLX_OK;
    for (size_t i = 0; small && i < g->n_inputs; i++) {
        in[i] = (dlx_tensor_ref){make_input(&shape[i], g->values[g->inputs[i]].dtype), shape[i]};
        small = in[i].data != NULL;
    }
    /* Row demand: output 0 goes into memory of ours. */
    void *logits = small && p->rows != DLX_NONE ? calloc(MOST_BYTES, 1) : NULL;
    if (small && (p->rows == DLX_NONE || logits)) {
        dlx_logits_part part = {.data = logits, .rows = ROWS};
        dlx_pass pass = {.inputs = in, .logits = &part, .n_logits = 1};
        const dlx_value *first = g->n_outputs ? &g->values[g->outputs[0]] : NULL;
        if (p->rows == DLX_NONE || (uint64_t)first->dim[first->rank - 1] * ROWS * sizeof(float) <= MOST_BYTES)
            for (int call = 0; call < 2; call++) (void)dlx_executor_run(ex, &pass, out, &err); /* twice: states */
    }
    free(logits);
    for (size_t i = 0; in && i < g->n_inputs; i++) free(in[i].data);
    dlx_executor_close(ex);
    free(shape);
    free(in);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dlx_arena arena;
    dlx_pte pte;
    dlx_program program;
    dlx_model_facts facts;
    dlx_pool *pool;
    dlx_error err;
    uint8_t *file = malloc(size ? size : 1);
    if (!file || dlx_pool_create(&pool, 1, &err) != DLX_OK) {
        free(file);
        return 0;
    }
    if (size) memcpy(file, data, size);
    dlx_arena_init(&arena);
    if (dlx_pte_read(&pte, &arena, file, size, "fuzz", &err) == DLX_OK) {
        (void)dlx_facts_read(&facts, &pte, &err);
        for (int sessions = 0; sessions < 2; sessions++) { /* as a method, and as sessions would have it */
            dlx_program_options measure = {.limit = DLX_ISA_REF, .demand = sessions},
                                run = {.limit = dlx_cpu_best_isa(), .demand = sessions, .pool = pool};
            if (dlx_program_load(&program, &pte, "forward", &measure, &err) != DLX_OK) continue;
            bool small = dlx_program_packed_size(&program) <= MOST_BYTES;
            dlx_program_free(&program);
            if (small && dlx_program_load(&program, &pte, "forward", &run, &err) == DLX_OK) {
                execute(&program, pool);
                dlx_program_free(&program);
            }
        }
    }
    dlx_arena_free(&arena);
    dlx_pool_free(pool);
    free(file);
    return 0;
}
