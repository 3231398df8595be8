/*
 * The caller's allocator: what an object is given one for takes its memory from there and from nowhere else, gives all
 * of it back, and lives through every request that is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fail_fixture.h"
#include "meter.h"

#include "base/arena.h"
#include "base/io.h"
#include "base/sizes.h"
#include "format/facts.h"
#include "format/pte.h"
#include "runtime/import.h"
#include "runtime/raise.h"
#include "whole_file.h"

static copy programs; /* <family>.pte, <family>-int8.pte */
static meter m;

/* ---- arrays and arenas ------------------------------------------------------------------------------------------- */

static void arrays_grow(void **state)
{
    (void)state;
    uint32_t *items = NULL, *before;
    size_t capacity = 0, heap = heap_requests;
    meter_init(&m);
    for (size_t n = 0; n < 1000; n++) {
        assert_int_equal(dlx_mem_grow(&m.allocator, &items, &capacity, n + 1, sizeof *items), 0);
        items[n] = (uint32_t)(n * n);
    }
    for (size_t n = 0; n < 1000; n++) assert_int_equal(items[n], n * n);
    assert_int_equal(m.alive, 1);
    before = items;
    m.fail_at = m.requests + 1;
    assert_int_equal(dlx_mem_grow(&m.allocator, &items, &capacity, capacity + 1, sizeof *items), -1);
    assert_ptr_equal(items, before);
    assert_int_equal(items[999], 999 * 999);
    assert_int_equal(dlx_mem_grow(&m.allocator, &items, &capacity, SIZE_MAX / 2, sizeof *items), -1);
    dlx_mem_free(&m.allocator, items, capacity, sizeof *items);
    meter_assert_empty(&m);
    assert_int_equal(heap_requests, heap);
    /* Without an allocator, and with one that has no functions: the C library. */
    static const dlx_allocator none;
    const dlx_allocator *a[] = {NULL, &none};
    for (size_t i = 0; i < 2; i++) {
        items = NULL;
        capacity = 0;
        long alive = heap_alive;
        assert_int_equal(dlx_mem_grow(a[i], &items, &capacity, 20, sizeof *items), 0);
        assert_int_equal(heap_alive, alive + 1);
        dlx_mem_free(a[i], items, capacity, sizeof *items);
        assert_int_equal(heap_alive, alive);
    }
}

static void arenas(void **state)
{
    (void)state;
    dlx_arena a, b;
    size_t heap = heap_requests;
    meter_init(&m);
    dlx_arena_init_with(&a, &m.allocator);
    dlx_arena_init_with(&b, &m.allocator);
    for (size_t n = 1; n < 200000; n = n * 3 + 1) {
        unsigned char *p = dlx_arena_alloc(n % 2 ? &a : &b, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
        memset(p, 0xFF, n);
    }
    assert_true(a.blocks && b.blocks);
    dlx_arena_adopt(&a, &b);
    assert_null(b.blocks);
    assert_non_null(dlx_arena_alloc(&b, 1)); /* still over the same allocator */
    dlx_arena_free(&b);
    dlx_arena_free(&a);
    assert_non_null(dlx_arena_alloc(&a, 1));
    dlx_arena_adopt(&b, &a);
    m.fail_at = m.requests + 1;
    assert_null(dlx_arena_alloc(&a, 1));
    dlx_arena_free(&b);
    meter_assert_empty(&m);
    assert_int_equal(heap_requests, heap);
}

static void graphs(void **state)
{
    (void)state;
    dlx_graph g;
    size_t heap = heap_requests;
    meter_init(&m);
    dlx_graph_init_with(&g, &m.allocator);
    for (int i = 0; i < 2; i++) { /* an emptied graph stays with its allocator */
        uint32_t x = dlx_graph_input(&g, "x", DLX_F32, 1, (int64_t[]){3}, 0);
        assert_true(x != DLX_NONE && dlx_graph_output(&g, x));
        assert_true(m.alive >= 4); /* names, values, inputs, outputs */
        dlx_graph_free(&g);
        meter_assert_empty(&m);
    }
    assert_int_equal(heap_requests, heap);
}

/* ---- reading and raising a program ------------------------------------------------------------------------------- */

/* Where everything is slow each program has its share of the requests to refuse; they make nearly the same ones. */
enum { STEP = DLX_SLOW ? 7 : 1 };

static size_t first_of(size_t program)
{
    return 1 + program % STEP;
}

static dlx_status read_and_raise(const whole_file *map, dlx_error *err)
{
    dlx_arena arena;
    dlx_pte pte;
    dlx_graph g;
    dlx_model_facts facts;
    dlx_arena_init_with(&arena, &m.allocator);
    dlx_graph_init_with(&g, &m.allocator);
    dlx_status s = dlx_pte_read(&pte, &arena, map->data, map->size, "program", err);
    if (s == DLX_OK) s = dlx_facts_read(&facts, &pte, err);
    if (s == DLX_OK) s = dlx_import_method(&g, &pte, "forward", &m.allocator, err);
    if (s == DLX_OK) s = dlx_raise(&g, err);
    if (s == DLX_OK) s = dlx_graph_prune(&g, err);
    if (s == DLX_OK) s = dlx_graph_verify(&g, err);
    if (s == DLX_OK) assert_true(g.n_nodes > 0 && m.alive > 0);
    dlx_graph_free(&g);
    dlx_arena_free(&arena);
    return s;
}

static void programs_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++)
        for (int int8 = 0; int8 < 2; int8++) {
            char name[64], path[1024];
            whole_file map = {0};
            dlx_error err = {0};
            snprintf(name, sizeof name, "%s%s.pte", families[i], int8 ? "-int8" : "");
            path_in(path, programs.folder, name);
            assert_int_equal(read_whole_file(&map, path, &err), DLX_OK);
            meter_init(&m);
            size_t heap = heap_requests;
            if (read_and_raise(&map, &err) != DLX_OK) fail_msg("%s: %s", name, err.message);
            size_t n = m.requests;
            assert_true(n > 5);
            meter_assert_empty(&m);
            for (size_t at = first_of(i); at <= n; at += STEP) {
                meter_init(&m);
                m.fail_at = at;
                if (read_and_raise(&map, &err) != DLX_E_NOMEM)
                    fail_msg("%s: request %zu of %zu refused: '%s'", name, at, n, err.message);
                meter_assert_empty(&m);
            }
            assert_int_equal(heap_requests, heap); /* nothing came from the C library */
            free_whole_file(&map);
            print_message("%-24s %3zu requests\n", name, n);
        }
}

/* ---- models, workspaces, sessions, batchers ---------------------------------------------------------------------- */

enum { MOST_VOCAB = 2048, ROWS = 4 };

/* Everything that a model's memory is used for: sessions alone, forked, and in batches; calls of several passes that
 * overwrite what is stored. */
typedef struct running {
    char path[1024];
    const dlx_allocator *allocator;
    float logits[ROWS * MOST_VOCAB];
    float again[ROWS * MOST_VOCAB];
} running;

static dlx_status use_session(dlx_session *s, float *logits, dlx_error *err)
{
    static const int32_t ids[2 * ROWS] = {3, 1, 4, 1, 5, 9, 2, 6};
    /* Two passes that store the same positions twice: the second time, the old rows are kept until it is done. */
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = 2 * ROWS, .attn_block = 4, .n_store = 2 * ROWS};
    dlx_status status = dlx_session_forward(s, &c, err);
    if (status == DLX_OK) status = dlx_session_forward(s, &c, err);
    c = (dlx_forward_call){.struct_size = sizeof c,
                           .ids = ids,
                           .n_ids = ROWS,
                           .start = 2 * ROWS,
                           .context = {{0, 2 * ROWS}},
                           .n_context = 1,
                           .attn_block = 4,
                           .n_rows = ROWS,
                           .logits = logits};
    return status == DLX_OK ? dlx_session_forward(s, &c, err) : status;
}

static dlx_status use_batcher(dlx_workspace *w, dlx_session *s, dlx_error *err)
{
    dlx_batcher *b = NULL;
    dlx_seat *seat = NULL;
    dlx_status status = dlx_batcher_open(&b, w, NULL, err);
    if (status == DLX_OK) status = dlx_batcher_join(&seat, b, s, err);
    dlx_batcher_leave(seat);
    dlx_batcher_close(b);
    return status;
}

static dlx_status use_model(running *r, dlx_error *err)
{
    dlx_model_options o = dlx_model_options_default();
    dlx_workspace_options wo = {.struct_size = sizeof wo, .max_rows = ROWS, .max_sessions = 3};
    dlx_model *model = NULL;
    dlx_workspace *w = NULL;
    dlx_session *alone = NULL, *first = NULL, *fork = NULL;
    dlx_memory need = {.struct_size = sizeof need};
    o.threads = 3;
    o.allocator = r->allocator;
    dlx_status s = dlx_model_open(&model, r->path, &o, err);
    if (s == DLX_OK) assert_true(dlx_model_get_facts(model)->vocab_size <= MOST_VOCAB);
    if (s == DLX_OK) s = dlx_session_open(&alone, model, ROWS, 0, err);
    if (s == DLX_OK) s = use_session(alone, r->logits, err);
    if (s == DLX_OK) s = dlx_workspace_memory(model, &wo, &need, err);
    if (s == DLX_OK) s = dlx_workspace_open(&w, model, &wo, err);
    if (s == DLX_OK) s = dlx_session_open_in(&first, w, err);
    if (s == DLX_OK) s = use_session(first, r->again, err);
    if (s == DLX_OK) s = dlx_session_fork(&fork, first, 6, err);
    if (s == DLX_OK) s = use_session(fork, r->again, err);
    if (s == DLX_OK) s = use_batcher(w, fork, err);
    dlx_session_close(fork);
    dlx_session_close(first);
    dlx_workspace_close(w);
    dlx_session_close(alone);
    dlx_model_close(model);
    return s;
}

static void models_use_nothing_else(void **state)
{
    (void)state;
    static running usual, metered;
    static const char *const names[] = {"sdar.pte", "sdar-int8.pte", "fast_dllm_v2.pte"};
    for (size_t i = 0; i < DLX_COUNT(names); i++) {
        dlx_error err = {0};
        path_in(usual.path, programs.folder, names[i]);
        path_in(metered.path, programs.folder, names[i]);
        size_t heap = heap_requests;
        long alive = heap_alive;
        if (use_model(&usual, &err) != DLX_OK) fail_msg("%s: %s", names[i], err.message);
        assert_true(heap_requests > heap);
        assert_int_equal(heap_alive, alive);
        heap = heap_requests;
        meter_init(&m);
        metered.allocator = &m.allocator;
        if (use_model(&metered, &err) != DLX_OK) fail_msg("%s: %s", names[i], err.message);
        size_t n = m.requests;
        meter_assert_empty(&m);
        assert_memory_equal(metered.logits, usual.logits, sizeof usual.logits);
        assert_memory_equal(metered.again, usual.logits, sizeof usual.logits);
        for (size_t at = first_of(i); at <= n; at += STEP) {
            meter_init(&m);
            m.fail_at = at;
            err = (dlx_error){0};
            if (use_model(&metered, &err) != DLX_E_NOMEM)
                fail_msg("%s: request %zu of %zu refused: '%s'", names[i], at, n, err.message);
            meter_assert_empty(&m);
        }
        assert_int_equal(heap_requests, heap); /* nothing came from the C library */
        print_message("%-24s %3zu requests\n", names[i], n);
    }
}

/* Keys and values, logits and a mask that are all zeros. */
static dlx_status zeros(void *ctx, size_t method, const void **outputs, dlx_error *err)
{
    static const float nothing[2 * ROWS * MOST_VOCAB];
    (void)ctx;
    (void)method;
    (void)err;
    for (size_t i = 0; i < 5; i++) outputs[i] = nothing;
    return DLX_OK;
}

static dlx_status use_fixed(const dlx_fixed_program *p, const dlx_allocator *allocator, dlx_error *err)
{
    static const int32_t ids[2 * ROWS] = {3, 1, 4, 1, 5, 9, 2, 6};
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = 2 * ROWS, .attn_block = 4, .n_store = 2 * ROWS};
    dlx_fixed_session *s = NULL;
    dlx_status status = dlx_fixed_open(&s, p, zeros, NULL, allocator, err);
    if (status == DLX_OK) assert_int_equal(m.bytes, dlx_fixed_bytes(p));
    if (status == DLX_OK) status = dlx_fixed_forward(s, &c, err);
    if (status == DLX_OK) status = dlx_fixed_forward(s, &c, err); /* the second time, the old rows are kept */
    dlx_fixed_close(s);
    return status;
}

static void fixed_sessions_use_nothing_else(void **state)
{
    (void)state;
    const dlx_model_facts facts = {.struct_size = sizeof facts, .max_context = 50, .vocab_size = 100};
    dlx_fixed_program p = {.struct_size = sizeof p,
                           .facts = &facts,
                           .layers = 2,
                           .kv_heads = 3,
                           .head_dim = 5,
                           .n_methods = 2,
                           .method_rows = (const int32_t[]){ROWS, 2}};
    for (int halves = 0; halves < 2; halves++) {
        dlx_error err = {0};
        size_t heap = heap_requests;
        p.element = halves ? DLX_ELEMENT_FLOAT16 : DLX_ELEMENT_FLOAT32;
        meter_init(&m);
        if (use_fixed(&p, &m.allocator, &err) != DLX_OK) fail_msg("%s", err.message);
        size_t n = m.requests;
        meter_assert_empty(&m);
        for (size_t at = 1; at <= n; at++) {
            meter_init(&m);
            m.fail_at = at;
            assert_int_equal(use_fixed(&p, &m.allocator, &err), DLX_E_NOMEM);
            meter_assert_empty(&m);
        }
        assert_int_equal(n, 7); /* six, and what is kept for a while */
        assert_int_equal(heap_requests, heap);
    }
}

static void allocators_are_whole(void **state)
{
    (void)state;
    dlx_model_options o = dlx_model_options_default();
    dlx_model *model = NULL;
    dlx_error err = {0};
    char path[1024];
    path_in(path, programs.folder, "sdar.pte");
    meter_init(&m);
    for (int i = 0; i < 2; i++) {
        dlx_allocator half = m.allocator;
        if (i)
            half.free = NULL;
        else
            half.alloc = NULL;
        o.allocator = &half;
        assert_int_equal(dlx_model_open(&model, path, &o, &err), DLX_E_INVALID);
        assert_non_null(strstr(err.message, "both of its functions"));
    }
    assert_int_equal(m.requests, 0);
}

static int make_programs(void **state)
{
    (void)state;
    programs = new_folder();
    for (size_t i = 0; i < FAMILIES; i++)
        for (int int8 = 0; int8 < 2; int8++) {
            char name[64], path[1024];
            snprintf(name, sizeof name, "%s%s.pte", families[i], int8 ? "-int8" : "");
            path_in(path, programs.folder, name);
            export_tiny(path, families[i], int8);
        }
    return 0;
}

static int remove_programs(void **state)
{
    (void)state;
    remove_copy(&programs);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_grow),
        cmocka_unit_test(arenas),
        cmocka_unit_test(graphs),
        cmocka_unit_test(programs_are_read),
        cmocka_unit_test(models_use_nothing_else),
        cmocka_unit_test(fixed_sessions_use_nothing_else),
        cmocka_unit_test(allocators_are_whole),
    };
    return cmocka_run_group_tests(tests, make_programs, remove_programs);
}
