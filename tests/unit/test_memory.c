/*
 * What is said about memory before anything is allocated, against what is then allocated: an allocator counts the bytes
 * that a workspace and its sessions keep. Inspection says the same without opening the model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "diffulex_edge/method.h"
#include "diffulex_edge/model.h"

#define TINY_ROWS      96
#define TINY_CONTEXT   300
#define TINY_POSITIONS 400
#include "tiny_file.h"

typedef struct meter {
    atomic_size_t bytes, blocks; /* alive */
    atomic_size_t largest;       /* block since it was last set to 0 */
} meter;

static void *take(void *ctx, size_t size, size_t alignment)
{
    meter *m = ctx;
    void *p; /* aligned_alloc wants sizes that are multiples of the alignment */
    if (posix_memalign(&p, alignment < sizeof p ? sizeof p : alignment, size) != 0) return NULL;
    memset(p, 0xA5, size);
    m->bytes += size;
    m->blocks++;
    if (size > m->largest) m->largest = size;
    return p;
}

static void give(void *ctx, void *p, size_t size, size_t alignment)
{
    meter *m = ctx;
    (void)alignment;
    free(p);
    m->bytes -= size;
    m->blocks--;
}

static dlx_model *open_counted(meter *m, char *path, bool recognisable)
{
    dlx_allocator counting = {.alloc = take, .free = give, .ctx = m};
    dlx_model_options o = dlx_model_options_default();
    dlx_error err = {0};
    dlx_model *model;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_tiny_file(path, recognisable ? TINY_PLAIN : TINY_HIDDEN);
    o.allocator = &counting;
    if (dlx_model_open(&model, path, &o, &err) != DLX_OK) fail_msg("%s", err.message);
    return model;
}

/* A number behind `key` in the report of a file. */
static uint64_t reported(const char *json, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *memory = strstr(json, "\"memory\":{"), *at = memory ? strstr(memory, quoted) : NULL;
    if (!at) fail_msg("no %s in %s", key, json);
    return strtoull(at + strlen(quoted), NULL, 10);
}

static void inspection_says_the_same(const char *path, const dlx_workspace_options *o, const dlx_memory *want)
{
    char *json;
    dlx_error err = {0};
    if (dlx_inspect(path, true, o, &json, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(reported(json, "file"), want->file);
    assert_int_equal(reported(json, "packed"), want->packed);
    assert_int_equal(reported(json, "kv_cache"), want->kv_cache);
    assert_int_equal(reported(json, "activations"), want->activations);
    assert_int_equal(reported(json, "program"), want->program);
    assert_int_equal(reported(json, "total"),
                     want->file + want->packed + want->kv_cache + want->activations + want->program);
    assert_int_equal(reported(json, "sessions"), o->max_sessions);
    dlx_free(json);
}

/* To the byte. */
static void taken_as_stated(dlx_model *model, meter *m, const dlx_workspace_options *o, const dlx_memory *stated)
{
    dlx_error err = {0};
    dlx_workspace *w;
    dlx_session *s[8];
    size_t bytes = m->bytes, blocks = m->blocks;
    assert_int_equal(bytes, stated->file + stated->packed + stated->program);
    m->largest = 0;
    if (dlx_workspace_open(&w, model, o, &err) != DLX_OK) fail_msg("%s", err.message);
    for (int32_t i = 0; i < o->max_sessions; i++)
        if (dlx_session_open_in(&s[i], w, &err) != DLX_OK) fail_msg("%s", err.message);
    size_t took = m->bytes - bytes;
    if (stated->kv_cache > stated->activations) assert_int_equal(m->largest, stated->kv_cache);
    assert_int_equal(took, stated->kv_cache + stated->activations);

    int32_t ids[TINY_ROWS] = {1, 2, 3};
    float logits[VOCAB];
    int32_t last = (o->max_rows ? o->max_rows : TINY_ROWS) - 1;
    dlx_forward_call c = {.struct_size = sizeof c,
                          .ids = ids,
                          .n_ids = last + 1,
                          .n_store = last + 1,
                          .rows = &last,
                          .n_rows = 1,
                          .logits = logits};
    dlx_row_summary summary = {0};
    if (dlx_session_forward(s[0], &c, &err) != DLX_OK) fail_msg("%s", err.message);
    c.summaries = &summary;
    if (dlx_session_forward(s[0], &c, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_true(summary.sum >= 1);
    assert_int_equal(m->bytes - bytes, took); /* and calls take nothing more */
    for (int32_t i = 0; i < o->max_sessions; i++) dlx_session_close(s[i]);
    dlx_workspace_close(w);
    assert_int_equal(m->bytes, bytes);
    assert_int_equal(m->blocks, blocks);
}

static const dlx_workspace_options bounds[] = {
    {.max_sessions = 1},
    {.max_rows = 1, .max_context = 1, .max_sessions = 1},
    {.max_rows = 8, .max_context = 64, .max_sessions = 1},
    {.max_rows = 8, .max_context = 65, .max_sessions = 1},
    {.max_sessions = 4},
    {.max_rows = 8, .max_context = 64, .max_sessions = 4},
    {.max_rows = 32, .max_context = 200, .max_sessions = 4, .kv_positions = 300},
    {.max_rows = 96, .max_context = 96, .max_sessions = 8, .kv_positions = 100000},
};

static const char *const kv_types[] = {"float32", "float16", "int8"};

static void stated_and_taken(void **state)
{
    (void)state;
    for (int recognisable = 0; recognisable < 2; recognisable++) {
        char path[] = "/tmp/dlx-memory-XXXXXX";
        meter m = {0};
        dlx_error err = {0};
        dlx_model *model = open_counted(&m, path, recognisable);
        for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
            for (size_t t = 0; t < (recognisable ? sizeof kv_types / sizeof *kv_types : 1); t++) {
                dlx_workspace_options o = bounds[i];
                if (!recognisable && o.kv_positions) continue; /* each session needs all its positions */
                o.struct_size = sizeof o;
                o.kv_type = kv_types[t];
                dlx_memory memory = {.struct_size = sizeof memory};
                if (dlx_workspace_memory(model, &o, &memory, &err) != DLX_OK) fail_msg("%s", err.message);
                taken_as_stated(model, &m, &o, &memory);
                inspection_says_the_same(path, &o, &memory);
            }
        dlx_model_close(model);
        assert_int_equal(m.bytes, 0);
        unlink(path);
    }
}

/* Formulas that need no allocator: pages of 64 positions, types of numbers, one more session. */
static void sizes_follow_the_bounds(void **state)
{
    (void)state;
    char path[] = "/tmp/dlx-memory-XXXXXX";
    meter m = {0};
    dlx_model *model = open_counted(&m, path, true);
    uint64_t position = 2 * KV * DIM * sizeof(float);
    dlx_memory one = {.struct_size = sizeof one}, other = one;
    dlx_workspace_options o = {.struct_size = sizeof o, .max_rows = 8, .max_context = 65, .max_sessions = 1};
    assert_int_equal(dlx_workspace_memory(model, &o, &one, NULL), DLX_OK);
    assert_int_equal(one.kv_cache, 128 * position);
    o.kv_type = "float16";
    assert_int_equal(dlx_workspace_memory(model, &o, &other, NULL), DLX_OK);
    assert_int_equal(other.kv_cache, one.kv_cache / 2);
    assert_int_equal(other.activations, one.activations);
    o.kv_type = "int8";
    assert_int_equal(dlx_workspace_memory(model, &o, &other, NULL), DLX_OK);
    assert_int_equal(other.kv_cache, 128 * 2 * KV * (DIM + 2)); /* a scale of two bytes for each head */
    assert_int_equal(other.activations, one.activations);
    o.kv_type = "float16";
    o.max_sessions = 4;
    assert_int_equal(dlx_workspace_memory(model, &o, &other, NULL), DLX_OK);
    assert_int_equal(other.kv_cache, 2 * one.kv_cache);
    assert_true(other.activations > one.activations);
    o.max_rows = 96;
    assert_int_equal(dlx_workspace_memory(model, &o, &one, NULL), DLX_OK);
    assert_true(one.activations > other.activations);
    o.kv_positions = 1;
    assert_int_equal(dlx_workspace_memory(model, &o, &one, NULL), DLX_OK);
    assert_int_equal(one.kv_cache, DLX_KV_PAGE * position / 2);
    dlx_model_close(model);
    unlink(path);
}

static void bounds_that_inspection_refuses(void **state)
{
    (void)state;
    static const struct {
        dlx_workspace_options o;
        dlx_status status;
        const char *words;
    } wrong[] = {
        {{.max_rows = 97}, DLX_E_LIMIT, "97 rows"},
        {{.max_context = 301}, DLX_E_LIMIT, "301 positions"},
        {{.max_sessions = -1}, DLX_E_INVALID, "max_sessions is -1"},
        {{.kv_type = "int4"}, DLX_E_INVALID, "kv_type is 'int4'"},
    };
    char path[] = "/tmp/dlx-memory-XXXXXX", *text;
    meter m = {0};
    dlx_error err;
    dlx_model_close(open_counted(&m, path, true));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        dlx_workspace_options o = wrong[i].o;
        o.struct_size = sizeof o;
        assert_int_equal(dlx_inspect(path, false, &o, &text, &err), wrong[i].status);
        assert_null(text);
        if (!strstr(err.message, wrong[i].words)) fail_msg("%s", err.message);
    }
    assert_int_equal(dlx_inspect(path, false, NULL, &text, &err), DLX_OK);
    assert_non_null(strstr(text, "memory (1 session of 300 positions, 96 rows a pass, float32 keys and values, "));
    dlx_free(text);
    unlink(path);
}

/* What is said of a method is what its handle keeps; of each state up to a line more. */
static void methods_take_what_is_stated(void **state)
{
    (void)state;
    static const char *const names[] = {"mlp_dynamic", "official_kv", "llama_cache", "initialised_state",
                                        "embedding_int8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512], *json;
        meter m = {0};
        dlx_allocator counting = {.alloc = take, .free = give, .ctx = &m};
        dlx_method_options o = dlx_method_options_default();
        dlx_method *method;
        dlx_error err = {0};
        snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.pte", names[i]);
        o.allocator = &counting;
        if (dlx_method_open(&method, path, NULL, &o, &err) != DLX_OK) fail_msg("%s", err.message);
        if (dlx_inspect_method(path, NULL, true, &json, &err) != DLX_OK) fail_msg("%s", err.message);
        uint64_t total = reported(json, "total"), parts = 0;
        static const char *const keys[] = {"file", "packed", "states", "activations", "program"};
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) parts += reported(json, keys[k]);
        assert_int_equal(total, parts);
        assert_in_range(m.bytes, total, total + 64 * 8);
        dlx_free(json);
        dlx_method_close(method);
        assert_int_equal(m.bytes, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stated_and_taken), cmocka_unit_test(sizes_follow_the_bounds),
                                       cmocka_unit_test(bounds_that_inspection_refuses),
                                       cmocka_unit_test(methods_take_what_is_stated)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
