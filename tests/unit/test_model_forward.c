/*
 * Checkpoints to logits without a file between: the graph of each tiny checkpoint, as built and after lowering to
 * XNNPACK's primitives and raising, run by the native runtime against recorded logits of the reference implementation
 * (tests/data/forward, float32, whose own error is up to 2.2e-5; 2e-4 is the tolerance its README suggests).
 */
#include "checkpoint_copy.h"

#include <math.h>
#include <sys/mman.h>

#include "backends/xnnpack/xnnpack.h"
#include "base/half.h"
#include "base/sizes.h"
#include "format/json/json_file.h"
#include "model/checkpoint.h"
#include "runtime/program.h"
#include "runtime/raise.h"
#include "tensors_in_memory.h"

enum { MOST_ROWS = 64, MOST_CACHED = 64 };

static const float tolerance = 2e-4f;

/* ---- a model that runs ------------------------------------------------------------------------------------------ */

typedef struct runner {
    dlx_checkpoint c;
    void *widened; /* every constant as float32 */
    size_t widened_bytes;
    dlx_program p;
    dlx_pool *pool;
    dlx_executor *ex;
    size_t kv_row; /* floats of a row of keys */
} runner;

static float element(const dlx_const_source *s, size_t i)
{
    float f;
    uint16_t h;
    if (s->transform == DLX_CONST_PLAIN) {
        memcpy(&f, (const char *)s->data + 4 * i, sizeof f);
        return f;
    }
    memcpy(&h, (const char *)s->data + 2 * i, sizeof h);
    return s->stored == DLX_BF16 ? dlx_bf16_to_f32(h) : dlx_f16_to_f32(h);
}

/* The runtime takes PLAIN constants, as they come out of a .pte. */
static void widen_constants(runner *r, dlx_graph *g)
{
    size_t total = 0, at = 0;
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_CONST)
            total +=
                (size_t)dlx_shape_elements(&(dlx_shape){g->values[i].rank, {g->values[i].dim[0], g->values[i].dim[1]}});
    r->widened_bytes = total * sizeof(float);
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), (off_t)r->widened_bytes), 0);
    float *to = r->widened = mmap(NULL, r->widened_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
    assert_true(r->widened != MAP_FAILED);
    for (size_t i = 0; i < g->n_values; i++) {
        dlx_value *v = &g->values[i];
        if (v->kind != DLX_VALUE_CONST) continue;
        size_t n = (size_t)dlx_shape_elements(&(dlx_shape){v->rank, {v->dim[0], v->dim[1]}});
        assert_int_equal(v->source.bytes, n * dlx_dtype_size(v->source.stored));
        for (size_t k = 0; k < n; k++) to[at + k] = element(&v->source, k);
        v->source = (dlx_const_source){.data = to + at, .bytes = n * sizeof(float), .stored = DLX_F32};
        at += n;
    }
    fclose(f);
}

/* In place: the executor points at the program. */
static void open_runner(runner *r, const char *model, bool lowered)
{
    char folder[1024];
    dlx_graph g;
    dlx_shape most[16];
    path_in(folder, DLX_TEST_DATA "/checkpoints", model);
    CHECK(dlx_checkpoint_open(&r->c, folder, NULL, err));
    for (size_t i = 0; i < r->c.n_files; i++) take_tensors(&r->c.files[i], &r->c.arena);
    dlx_graph_init(&g);
    CHECK(dlx_build_graph(&g, &r->c, DLX_KV_CALLER, MOST_ROWS, r->c.shape.max_positions, err));
    widen_constants(r, &g);
    if (lowered) {
        CHECK(dlx_xnnpack_decompose(&g, err));
        CHECK(dlx_raise(&g, err));
    }
    CHECK(dlx_pool_create(&r->pool, 1, err));
    dlx_program_options options = {.limit = lowered ? dlx_cpu_best_isa() : DLX_ISA_REF, .pool = r->pool};
    CHECK(dlx_program_prepare(&r->p, &g, &options, err));
    dlx_signature signature = {.row_inputs = {r->p.g.inputs[0], r->p.g.inputs[1]},
                               .demand = DLX_NONE,
                               .layers = (size_t)r->c.shape.layers,
                               .cache = r->p.g.inputs + 2,
                               .fresh = r->p.g.outputs + 1,
                               .logits = r->p.g.outputs[0]};
    CHECK(dlx_program_bind(&r->p, &signature, err));
    assert_string_equal(r->p.table.why_not, "");
    assert_true(r->p.table.holds);
    assert_true(r->p.g.n_inputs <= DLX_COUNT(most));
    for (size_t i = 0; i < r->p.g.n_inputs; i++) {
        const dlx_value *v = &r->p.g.values[r->p.g.inputs[i]];
        most[i] = (dlx_shape){.rank = v->rank};
        memcpy(most[i].dim, v->dim, sizeof v->dim);
        if (i >= 2) most[i].dim[0] = MOST_CACHED;
    }
    dlx_executor_bounds bounds = {.max_shape = most, .max_segments = 1, .max_runs = 1};
    CHECK(dlx_executor_open(&r->ex, &r->p, &bounds, r->pool, NULL, err));
    r->kv_row = (size_t)r->c.shape.kv_heads * (size_t)r->c.shape.head_dim;
}

static void close_runner(runner *r)
{
    dlx_executor_close(r->ex);
    dlx_pool_free(r->pool);
    dlx_program_free(&r->p);
    munmap(r->widened, r->widened_bytes);
    dlx_checkpoint_close(&r->c);
}

/* Keys and values of all layers, [2 * layers] tensors of rows, row-major. */
typedef struct cache {
    float *kv[8];
    size_t rows;
} cache;

static cache new_cache(const runner *r)
{
    cache c = {.rows = 0};
    for (size_t i = 0; i < 2 * (size_t)r->c.shape.layers; i++) {
        c.kv[i] = calloc(MOST_CACHED + MOST_ROWS, r->kv_row * sizeof(float));
        assert_non_null(c.kv[i]);
    }
    return c;
}

static void free_cache(cache *c)
{
    for (size_t i = 0; i < DLX_COUNT(c->kv); i++) free(c->kv[i]);
    memset(c, 0, sizeof *c);
}

/* rows [from, from + n) of b behind those of a */
static void append(const runner *r, cache *a, const cache *b, size_t from, size_t n)
{
    assert_true(a->rows + n <= MOST_CACHED + MOST_ROWS && from + n <= b->rows);
    for (size_t i = 0; i < 2 * (size_t)r->c.shape.layers; i++)
        memcpy(a->kv[i] + a->rows * r->kv_row, b->kv[i] + from * r->kv_row, n * r->kv_row * sizeof(float));
    a->rows += n;
}

/*
 * One call of n rows at positions start .. behind the rows of `context`, which stand at positions 0 .. when width is
 * given. width 0: everything sees everything. Logits are the caller's to free; the new keys and values go to *fresh.
 */
static float *run(const runner *r, const int64_t *ids, size_t n, size_t start, const cache *context, int width,
                  cache *fresh)
{
    int64_t positions[MOST_ROWS];
    int32_t visible[MOST_ROWS];
    dlx_tensor_ref in[16], out[16];
    size_t cached = context ? context->rows : 0, layers = (size_t)r->c.shape.layers,
           vocab = (size_t)r->c.shape.vocab_size;
    assert_true(n <= MOST_ROWS && cached <= MOST_CACHED);
    for (size_t i = 0; i < n; i++) {
        size_t end = width ? ((start + i) / (size_t)width + 1) * (size_t)width : start + n;
        positions[i] = (int64_t)(start + i);
        visible[i] = (int32_t)(cached + (end < start + n ? end - start : n));
    }
    in[0] = (dlx_tensor_ref){(void *)(uintptr_t)ids, {.rank = 1, .dim = {(int64_t)n}}};
    in[1] = (dlx_tensor_ref){positions, in[0].shape};
    for (size_t i = 0; i < 2 * layers; i++) {
        in[2 + i].data = context ? context->kv[i] : NULL;
        in[2 + i].shape = (dlx_shape){.rank = 3, .dim = {(int64_t)cached, r->c.shape.kv_heads, r->c.shape.head_dim}};
    }
    dlx_cache_run all = {0, cached};
    dlx_segment segment = {.rows = n, .runs = &all, .n_runs = cached ? 1 : 0, .visible = visible};
    dlx_pass pass = {.inputs = in, .segments = &segment, .n_segments = 1};
    CHECK(dlx_executor_run(r->ex, &pass, out, err));
    float *logits = malloc(n * vocab * sizeof *logits);
    assert_non_null(logits);
    memcpy(logits, out[0].data, n * vocab * sizeof *logits);
    for (size_t i = 0; fresh && i < 2 * layers; i++)
        memcpy(fresh->kv[i], out[1 + i].data, n * r->kv_row * sizeof(float));
    if (fresh) fresh->rows = n;
    return logits;
}

/* ---- recorded data ---------------------------------------------------------------------------------------------- */

typedef struct golden {
    json_t *root;
    dlx_arena arena;
    dlx_safetensors st;
} golden;

static golden open_golden(const char *model)
{
    golden g;
    char path[1024];
    dlx_arena_init(&g.arena);
    snprintf(path, sizeof path, DLX_TEST_DATA "/forward/%s.json", model);
    CHECK(dlx_json_load(&g.root, path, 1 << 20, err));
    snprintf(path, sizeof path, DLX_TEST_DATA "/forward/%s.safetensors", model);
    CHECK(dlx_safetensors_open(&g.st, &g.arena, path, err));
    take_tensors(&g.st, &g.arena);
    return g;
}

static void close_golden(golden *g)
{
    json_decref(g->root);
    dlx_safetensors_close(&g->st);
    dlx_arena_free(&g->arena);
}

static const dlx_st_tensor *tensor(const golden *g, const char *name)
{
    for (size_t i = 0; i < g->st.n_tensors; i++)
        if (!strcmp(g->st.tensors[i].name, name)) return &g->st.tensors[i];
    fail_msg("no recorded tensor '%s'", name);
    return NULL;
}

static size_t ids_of(const json_t *list, int64_t ids[MOST_ROWS])
{
    size_t n = json_array_size(list);
    assert_true(n > 0 && n <= MOST_ROWS);
    for (size_t i = 0; i < n; i++) ids[i] = json_integer_value(json_array_get(list, i));
    return n;
}

static void assert_close(const char *what, const float *got, const float *want, size_t n, float most)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= most))
            fail_msg("%s: element %zu is %.9g, expected %.9g", what, i, (double)got[i], (double)want[i]);
}

static void assert_recorded(const golden *g, const char *name, const float *got, size_t n)
{
    const dlx_st_tensor *t = tensor(g, name);
    assert_int_equal(t->bytes, n * sizeof(float));
    float *want = malloc(t->bytes);
    assert_non_null(want);
    memcpy(want, t->data, t->bytes);
    assert_close(name, got, want, n, tolerance);
    free(want);
}

/* ---- tests ------------------------------------------------------------------------------------------------------ */

static const char *const models[] = {"llada-tiny", "dream-tiny", "sdar-tiny", "fast_dllm_v2-tiny"};

static int width_of(const char *attention)
{
    int width = 0;
    if (strcmp(attention, "full")) assert_int_equal(sscanf(attention, "block_causal(%d)", &width), 1);
    return width;
}

static void logits_are_the_recorded_ones(void **state)
{
    (void)state;
    for (size_t m = 0; m < 2 * DLX_COUNT(models); m++) {
        runner r;
        open_runner(&r, models[m / 2], m % 2);
        golden g = open_golden(models[m / 2]);
        const json_t *cases = json_object_get(g.root, "cases");
        size_t own = 0;
        for (size_t i = 0; i < json_array_size(cases); i++) {
            const json_t *c = json_array_get(cases, i);
            int64_t ids[MOST_ROWS];
            size_t n = ids_of(json_object_get(c, "input_ids"), ids);
            int width = width_of(json_string_value(json_object_get(c, "attention")));
            own += width == r.c.facts.attn_block;
            float *logits = run(&r, ids, n, 0, NULL, width, NULL);
            assert_recorded(&g, json_string_value(json_object_get(c, "name")), logits,
                            n * (size_t)r.c.shape.vocab_size);
            free(logits);
        }
        assert_true(own >= 2);
        close_golden(&g);
        close_runner(&r);
    }
}

/* Recorded as [layer, kv_head, position, head_dim]. */
static void assert_keys(const golden *g, const char *name, const runner *r, const cache *c, size_t which)
{
    size_t layers = (size_t)r->c.shape.layers, heads = (size_t)r->c.shape.kv_heads, d = (size_t)r->c.shape.head_dim;
    float *by_head = malloc(layers * c->rows * r->kv_row * sizeof *by_head), *to = by_head;
    assert_non_null(by_head);
    for (size_t l = 0; l < layers; l++)
        for (size_t h = 0; h < heads; h++)
            for (size_t p = 0; p < c->rows; p++, to += d)
                memcpy(to, c->kv[2 * l + which] + p * r->kv_row + h * d, d * sizeof *to);
    assert_recorded(g, name, by_head, layers * c->rows * r->kv_row);
    free(by_head);
}

/* A prefix, a chunk behind it, and new tokens for a part of the chunk against all the rest. */
static void cached_passes_are_the_recorded_ones(void **state)
{
    (void)state;
    for (size_t m = 0; m < 2 * DLX_COUNT(models); m++) {
        runner r;
        open_runner(&r, models[m / 2], m % 2);
        golden g = open_golden(models[m / 2]);
        const json_t *c = json_object_get(g.root, "cached");
        int64_t prefix[MOST_ROWS], chunk[MOST_ROWS], part[MOST_ROWS];
        size_t n_prefix = ids_of(json_object_get(c, "prefix_ids"), prefix),
               n_chunk = ids_of(json_object_get(c, "chunk_ids"), chunk);
        size_t n_part = ids_of(json_object_get(c, "part_ids"), part), vocab = (size_t)r.c.shape.vocab_size;
        size_t start = (size_t)json_integer_value(json_object_get(c, "part_start")), end = start + n_part;
        int width = r.c.facts.attn_block;
        cache all = new_cache(&r), behind = new_cache(&r), others = new_cache(&r);
        free(run(&r, prefix, n_prefix, 0, NULL, width, &all));
        assert_keys(&g, "cached.prefix.k", &r, &all, 0);
        assert_keys(&g, "cached.prefix.v", &r, &all, 1);
        float *logits = run(&r, chunk, n_chunk, n_prefix, &all, width, &behind);
        assert_recorded(&g, "cached.chunk", logits, n_chunk * vocab);
        free(logits);
        append(&r, &all, &behind, 0, n_chunk);
        append(&r, &others, &all, 0, start);
        append(&r, &others, &all, end, all.rows - end);
        logits = run(&r, part, n_part, start, &others, 0, NULL);
        assert_recorded(&g, "cached.part", logits, n_part * vocab);
        free(logits);
        free_cache(&all), free_cache(&behind), free_cache(&others);
        close_golden(&g);
        close_runner(&r);
    }
}

/*
 * Rows behind the stored keys and values of the rows before them are those rows of one call: for block-causal models
 * prefix and blocks one after the other, for the others behind keys and values taken from the whole pass.
 */
static void a_cached_pass_equals_the_whole_pass(void **state)
{
    (void)state;
    for (size_t m = 0; m < DLX_COUNT(models); m++) {
        runner r;
        open_runner(&r, models[m], true);
        size_t n = MOST_ROWS, width = (size_t)r.c.facts.attn_block, step = width ? width : 24,
               vocab = (size_t)r.c.shape.vocab_size;
        int64_t ids[MOST_ROWS];
        for (size_t i = 0; i < n; i++) ids[i] = (int64_t)((i * 389 + 17) % 1200);
        cache whole = new_cache(&r), prefix = new_cache(&r), fresh = new_cache(&r);
        float *all = run(&r, ids, n, 0, NULL, (int)width, &whole);
        if (!width) append(&r, &prefix, &whole, 0, step);
        for (size_t at = prefix.rows; at < n; at += step) {
            size_t rows = width && n - at > step ? step : n - at;
            float *logits = run(&r, ids + at, rows, at, &prefix, (int)width, &fresh);
            assert_close(models[m], logits, all + at * vocab, rows * vocab, 2e-5f);
            free(logits);
            append(&r, &prefix, &fresh, 0, rows);
            if (!width) break;
        }
        assert_int_equal(prefix.rows, n);
        for (size_t i = 0; i < 2 * (size_t)r.c.shape.layers; i++)
            assert_close(models[m], prefix.kv[i], whole.kv[i], n * r.kv_row, 2e-5f);
        free(all);
        free_cache(&whole), free_cache(&prefix), free_cache(&fresh);
        close_runner(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_the_recorded_ones),
        cmocka_unit_test(cached_passes_are_the_recorded_ones),
        cmocka_unit_test(a_cached_pass_equals_the_whole_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
