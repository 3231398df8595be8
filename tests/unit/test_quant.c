/*
 * int8 weights: rows and scales against PyTorch's (tests/data/quant) and against the formula in other words; streaming
 * in every source type, length and alignment; the pass over a whole decoder.
 */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/io.h"
#include "format/safetensors.h"
#include "quant/quant.h"
#include "solve/grid.h"
#include "left_out.h"
#include "tiny_decoder.h"
#include "whole_file.h"
#include "tensors_in_memory.h"

typedef struct collected {
    uint8_t *bytes; /* malloc'd */
    size_t n, capacity, largest;
    size_t stop_at; /* fail when so many bytes have come; 0: never */
} collected;

static dlx_status collect(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    collected *c = ctx;
    if (c->stop_at && c->n + n >= c->stop_at) return dlx_fail(err, DLX_E_CANCELLED, "enough");
    assert_true(n > 0);
    assert_int_equal(dlx_grow(&c->bytes, &c->capacity, c->n + n, 1), 0);
    memcpy(c->bytes + c->n, bytes, n);
    c->n += n;
    if (n > c->largest) c->largest = n;
    return DLX_OK;
}

static dlx_value constant(const dlx_st_tensor *t, dlx_const_transform transform)
{
    dlx_value v = {.name = t->name, .kind = DLX_VALUE_CONST, .rank = t->rank, .scales = DLX_NONE, .producer = DLX_NONE};
    v.dtype = transform == DLX_CONST_INT8_ROWS ? DLX_I8 : transform == DLX_CONST_PLAIN ? t->dtype : DLX_F32;
    for (int d = 0; d < t->rank; d++) v.dim[d] = t->dim[d];
    if (transform == DLX_CONST_INT8_ROW_SCALES) v.rank = 1;
    v.source = (dlx_const_source){.data = t->data, .bytes = t->bytes, .stored = t->dtype, .transform = transform};
    return v;
}

static collected streamed(const dlx_value *v, dlx_pool *pool)
{
    collected c = {0};
    dlx_error err = {0};
    if (dlx_const_stream(v, pool, collect, &c, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_true(c.largest <= 1 << 20);
    return c;
}

/* What the file format's dtype says an element is. */
static float element(const dlx_st_tensor *t, size_t i)
{
    float f;
    uint16_t h;
    if (t->dtype == DLX_F32) {
        memcpy(&f, t->data + 4 * i, 4);
        return f;
    }
    memcpy(&h, t->data + 2 * i, 2);
    return t->dtype == DLX_BF16 ? dlx_bf16_to_f32(h) : dlx_f16_to_f32(h);
}

/* Streams rows and scales of t and compares them with the formula: largest magnitude, division, rint. */
static void check_against_formula(const dlx_st_tensor *t, dlx_pool *pool)
{
    dlx_value rows = constant(t, DLX_CONST_INT8_ROWS), scales = constant(t, DLX_CONST_INT8_ROW_SCALES);
    collected q = streamed(&rows, pool), s = streamed(&scales, pool);
    size_t n = (size_t)t->dim[0], k = t->rank > 1 ? (size_t)t->dim[1] : 1;
    assert_int_equal(q.n, n * k);
    assert_int_equal(s.n, n * sizeof(float));
    for (size_t r = 0; r < n; r++) {
        float max = 0.0f, scale;
        for (size_t i = 0; i < k; i++) {
            float x = fabsf(element(t, r * k + i));
            if (x > max) max = x; /* gcc 12 for aarch64 fails on fmaxf here */
        }
        memcpy(&scale, s.bytes + 4 * r, 4);
        float expected = max / 127.0f == 0.0f ? 1.0f : max / 127.0f;
        if (scale != expected)
            fail_msg("%s row %zu: scale %g, expected %g", t->name, r, (double)scale, (double)expected);
        for (size_t i = 0; i < k; i++) {
            float x = rintf(element(t, r * k + i) / scale);
            int want = (int)fminf(fmaxf(x, -128.0f), 127.0f), got = (int8_t)q.bytes[r * k + i];
            if (got != want) fail_msg("%s [%zu,%zu]: %d, expected %d", t->name, r, i, got, want);
        }
    }
    free(q.bytes);
    free(s.bytes);
}

static void open_file(dlx_safetensors *st, dlx_arena *arena, const char *format, const char *name)
{
    char path[512], file[128];
    dlx_error err = {0};
    snprintf(file, sizeof file, format, name);
    snprintf(path, sizeof path, "%s/%s", DLX_TEST_DATA, file);
    if (dlx_safetensors_open(st, arena, path, &err) != DLX_OK) fail_msg("%s", err.message);
    take_tensors(st, arena);
}

static const dlx_st_tensor *find(const dlx_safetensors *st, const char *name, size_t n)
{
    for (size_t i = 0; i < st->n_tensors; i++)
        if (strlen(st->tensors[i].name) == n && !memcmp(st->tensors[i].name, name, n)) return &st->tensors[i];
    return NULL;
}

/* Every golden tensor "<weight>.q" and "<weight>.scales" whose weight is in `weights`; how many there were. */
static int check_goldens(const dlx_safetensors *golden, const dlx_safetensors *weights, dlx_pool *pool)
{
    int checked = 0;
    for (size_t i = 0; i < golden->n_tensors; i++) {
        const dlx_st_tensor *g = &golden->tensors[i];
        const char *end = strrchr(g->name, '.');
        const dlx_st_tensor *w = find(weights, g->name, (size_t)(end - g->name));
        if (!w || (strcmp(end, ".q") != 0 && strcmp(end, ".scales") != 0)) continue;
        dlx_value v = constant(w, strcmp(end, ".q") ? DLX_CONST_INT8_ROW_SCALES : DLX_CONST_INT8_ROWS);
        collected c = streamed(&v, pool);
        assert_int_equal(c.n, g->bytes);
        if (memcmp(c.bytes, g->data, c.n) != 0) fail_msg("%s differs from PyTorch's", g->name);
        free(c.bytes);
        checked++;
    }
    return checked;
}

static void rows_are_those_of_pytorch(void **state)
{
    static const char *const formats[] = {"checkpoints/%s/model.safetensors",
                                          "checkpoints/%s/model-00001-of-00002.safetensors",
                                          "checkpoints/%s/model-00002-of-00002.safetensors"};
    static const struct {
        const char *name;
        int first, last, goldens;
    } cases[] = {
        {"llada-tiny", 0, 0, 10}, {"dream-tiny", 0, 0, 10}, {"sdar-tiny", 0, 0, 10}, {"fast_dllm_v2-tiny", 1, 2, 9}};
    dlx_pool *pool;
    (void)state;
    assert_int_equal(dlx_pool_create(&pool, 2, NULL), DLX_OK);
    for (size_t i = 0; i < 4; i++) {
        dlx_arena arena;
        dlx_safetensors golden, weights;
        int checked = 0;
        dlx_arena_init(&arena);
        open_file(&golden, &arena, "quant/%s.safetensors", cases[i].name);
        for (int f = cases[i].first; f <= cases[i].last; f++) {
            open_file(&weights, &arena, formats[f], cases[i].name);
            checked += check_goldens(&golden, &weights, f ? pool : NULL);
            for (size_t k = 0; k < weights.n_tensors; k++) check_against_formula(&weights.tensors[k], pool);
            dlx_safetensors_close(&weights);
        }
        assert_int_equal(checked, cases[i].goldens);
        if (i == 0)
            assert_int_equal(check_goldens(&golden, &golden, pool), 2); /* "edge", recorded with its own weight */
        dlx_safetensors_close(&golden);
        dlx_arena_free(&arena);
    }
    dlx_pool_free(pool);
}

/* n rows of k elements at an odd address: normal numbers, zeros, subnormals, halves of a scale step. */
static dlx_st_tensor made_up(dlx_dtype dtype, int64_t n, int64_t k, uint32_t seed)
{
    size_t width = dlx_dtype_size(dtype), count = (size_t)(n * k);
    uint8_t *bytes = malloc(count * width + 1);
    for (size_t i = 0; i < count; i++) {
        float f = noise(&seed) * 0.05f;
        uint32_t bits = dlx_f32_to_bits(f);
        if (seed >> 28 == 1) f = (float)((int)(seed >> 20 & 255) - 128) * 0.5f / 127.0f; /* ties, when max is 1 */
        if (seed >> 28 == 2) f = 0.0f;
        if (seed >> 28 == 3) f = dlx_bits_to_f32(bits & 0x807FFFFF);
        if (i % 97 == 96) f = 1.0f;
        uint16_t half = dtype == DLX_BF16 ? dlx_f32_to_bf16(f) : (uint16_t)((seed >> 9) % 0x7C00 | (seed >> 31) << 15);
        memcpy(bytes + 1 + width * i, dtype == DLX_F32 ? (const void *)&f : (const void *)&half, width);
    }
    return (dlx_st_tensor){
        .name = "made up", .dtype = dtype, .rank = 2, .dim = {n, k}, .data = bytes + 1, .bytes = count * width};
}

static void free_made_up(const dlx_st_tensor *t)
{
    free((void *)(uintptr_t)(t->data - 1));
}

/* Rows shorter and longer than a piece and than a chunk, more rows than a chunk takes, a last chunk of any size. */
static void every_length_and_type_is_streamed(void **state)
{
    static const int64_t sizes[][2] = {{1, 1},       {3, 5},     {40000, 1},   {17000, 3},
                                       {700, 4097},  {2, 16384}, {1, 1 << 20}, {2, (1 << 20) + 1},
                                       {3, 2500000}, {5, 0},     {0, 7}};
    static const dlx_dtype types[] = {DLX_F32, DLX_BF16, DLX_F16};
    dlx_pool *pool;
    (void)state;
    assert_int_equal(dlx_pool_create(&pool, 3, NULL), DLX_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t k = 0; k < 3; k++) {
            if (DLX_SLOW && k != i % 3 && sizes[i][0] * sizes[i][1] > 100000)
                continue;                        /* large ones of one type each */
            if (DLX_RACES && !(i % 2)) continue; /* on one thread */
            dlx_st_tensor t = made_up(types[k], sizes[i][0], sizes[i][1], (uint32_t)(i * 3 + k));
            check_against_formula(&t, i % 2 ? pool : NULL);
            free_made_up(&t);
        }
    dlx_pool_free(pool);
}

/* From a file, the second pass reads every part of a long row again. */
static void long_rows_of_a_file_are_read_twice(void **state)
{
    static const dlx_dtype types[] = {DLX_F32, DLX_BF16};
    static const dlx_const_transform made[] = {DLX_CONST_INT8_ROWS, DLX_CONST_INT8_ROW_SCALES};
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        char path[] = "/tmp/dlx-long-rows-XXXXXX";
        dlx_file file;
        dlx_st_tensor t = made_up(types[k / 2], 2, 2500000, (uint32_t)k);
        dlx_value here = constant(&t, made[k % 2]), there = here;
        int fd = mkstemp(path);
        assert_true(fd >= 0 && write(fd, t.data, (size_t)t.bytes) == (ssize_t)t.bytes);
        close(fd);
        assert_int_equal(dlx_file_open(&file, path, NULL), DLX_OK);
        unlink(path);
        there.source.data = NULL;
        there.source.file = &file;
        collected a = streamed(&here, NULL), b = streamed(&there, NULL);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.bytes, b.bytes, a.n);
        free(a.bytes), free(b.bytes);
        dlx_file_close(&file);
        free_made_up(&t);
    }
}

/* Rows, or groups of rows, whose scale is looked for: what solve/grid.c says of each; too long ones have that of their
 * largest. */
static void check_clipped(const dlx_st_tensor *t, dlx_grid g, dlx_pool *pool, size_t *smaller)
{
    bool four = g.bits == 4;
    dlx_value rows = constant(t, four ? DLX_CONST_INT4_ROWS : DLX_CONST_INT8_ROWS),
              scales = constant(t, four ? DLX_CONST_INT4_SCALES : DLX_CONST_INT8_ROW_SCALES);
    size_t n = (size_t)t->dim[0], k = (size_t)t->dim[1], share = g.group ? g.group : k, all = n * k / share;
    rows.dtype = four ? DLX_I4 : DLX_I8;
    scales.rank = g.group ? 2 : 1;
    scales.dim[1] = (int64_t)(k / share);
    scales.dtype = g.group ? DLX_BF16 : DLX_F32;
    rows.source.group = scales.source.group = (uint32_t)g.group;
    rows.source.clip = scales.source.clip = true;
    collected q = streamed(&rows, pool), s = streamed(&scales, pool);
    float *w = malloc((share + 1) * sizeof *w);
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, DLX_ISA_REF);
    assert_non_null(w);
    assert_int_equal(s.n, all * (g.group ? 2 : 4));
    for (size_t r = 0; r < all; r++) {
        float scale;
        uint16_t half;
        for (size_t i = 0; i < share; i++) w[i] = element(t, r * share + i);
        memcpy(&half, s.bytes + 2 * (g.group ? r : 0), 2);
        memcpy(&scale, s.bytes + 4 * (g.group ? 0 : r), 4);
        if (g.group) scale = dlx_bf16_to_f32(half);
        float largest = dlx_grid_scale(&kernels, g, DLX_CLIP_NONE, w, NULL, share);
        float want = share > 1 << 20 ? largest : dlx_grid_scale(&kernels, g, DLX_CLIP_MSE, w, NULL, share);
        if (scale != want) fail_msg("row %zu of %zu: scale %g, expected %g", r, share, (double)scale, (double)want);
        *smaller += want < largest;
        for (size_t i = 0; i < share; i++)
            if (dlx_grid_get(g, q.bytes, r * share + i) != (int)dlx_grid_nearest(g, w[i], want))
                fail_msg("row %zu of %zu: code %zu differs", r, share, i);
    }
    free(w), free(q.bytes), free(s.bytes);
}

static void scales_that_clip_are_those_of_the_search(void **state)
{
    static const struct {
        int64_t n, k;
        dlx_grid g;
    } cases[] = {{70, 96, {8, 0}},    {70, 96, {4, 0}},     {70, 96, {4, 32}},
                 {300, 4096, {4, 0}}, {2, 1 << 20, {8, 0}}, {1, (1 << 20) + 2, {4, 0}}};
    static const dlx_dtype types[] = {DLX_F32, DLX_BF16, DLX_F16};
    dlx_pool *pool;
    size_t smaller[3] = {0};
    (void)state;
    assert_int_equal(dlx_pool_create(&pool, 3, NULL), DLX_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t k = 0; k < 3; k++) {
            if (DLX_SLOW && k != i % 3 && i > 2) continue; /* large ones of one type each */
            if (DLX_RACES && !(i % 2)) continue;           /* on one thread */
            int64_t n = DLX_SLOW && cases[i].n > 100 ? 20 : cases[i].n;
            dlx_st_tensor t = made_up(types[k], n, cases[i].k, (uint32_t)(i * 3 + k));
            check_clipped(&t, cases[i].g, i % 2 ? pool : NULL, &smaller[i % 3]);
            free_made_up(&t);
        }
    assert_true(DLX_RACES || (smaller[0] && smaller[1] && smaller[2]));
    dlx_pool_free(pool);
}

/* Where the scale is subnormal it is coarse, and quotients leave -128 .. 127. */
static void tiny_rows_are_clamped(void **state)
{
    static const uint32_t bits[2][3] = {{128, 0x80000000 | 129, 1}, {10, 0x80000000 | 3, 0}};
    static const int8_t expected[2][3] = {{127, -128, 1}, {0, 0, 0}};
    dlx_st_tensor t = {.name = "tiny",
                       .dtype = DLX_F32,
                       .rank = 2,
                       .dim = {2, 3},
                       .data = (const uint8_t *)bits,
                       .bytes = sizeof bits};
    dlx_value v = constant(&t, DLX_CONST_INT8_ROWS);
    collected c = streamed(&v, NULL);
    (void)state;
    assert_memory_equal(c.bytes, expected, sizeof expected);
    free(c.bytes);
    check_against_formula(&t, NULL);
}

static void floats_keep_their_value(void **state)
{
    static const dlx_dtype types[] = {DLX_F32, DLX_BF16, DLX_F16};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        dlx_st_tensor t = made_up(types[k], 600, 1001, (uint32_t)k);
        dlx_value v = constant(&t, k ? DLX_CONST_WIDEN : DLX_CONST_PLAIN);
        collected c = streamed(&v, NULL);
        assert_int_equal(c.n, 600 * 1001 * sizeof(float));
        for (size_t i = 0; i < 600 * 1001; i++) {
            float f = element(&t, i);
            if (memcmp(c.bytes + 4 * i, &f, 4) != 0) fail_msg("element %zu of %s", i, dlx_dtype_name(types[k]));
        }
        free(c.bytes);
        free_made_up(&t);
    }
    /* All halves that are numbers. */
    uint16_t halves[65536];
    size_t n = 0;
    for (uint32_t h = 0; h < 65536; h++)
        if ((h & 0x7C00) != 0x7C00) halves[n++] = (uint16_t)h;
    dlx_st_tensor all = {.name = "halves",
                         .dtype = DLX_F16,
                         .rank = 1,
                         .dim = {(int64_t)n},
                         .data = (const uint8_t *)halves,
                         .bytes = 2 * n};
    dlx_value v = constant(&all, DLX_CONST_WIDEN);
    collected c = streamed(&v, NULL);
    for (size_t i = 0; i < n; i++) {
        float f = dlx_f16_to_f32(halves[i]);
        assert_memory_equal(c.bytes + 4 * i, &f, 4);
    }
    free(c.bytes);
    /* Integers are bytes. */
    static const int64_t ints[3] = {1, -1, INT64_MIN};
    dlx_st_tensor i64 = {
        .name = "ints", .dtype = DLX_I64, .rank = 1, .dim = {3}, .data = (const uint8_t *)ints, .bytes = 24};
    v = constant(&i64, DLX_CONST_PLAIN);
    c = streamed(&v, NULL);
    assert_int_equal(c.n, 24);
    assert_memory_equal(c.bytes, ints, 24);
    free(c.bytes);
}

/* `bad` into made-up rows of k columns, at one place; all three ways to read them say so, and where. */
static void check_refused(dlx_dtype dtype, uint32_t bad, int64_t k, int64_t row, int64_t column)
{
    const dlx_const_transform transforms[] = {DLX_CONST_INT8_ROWS, DLX_CONST_INT8_ROW_SCALES,
                                              dtype == DLX_F32 ? DLX_CONST_PLAIN : DLX_CONST_WIDEN};
    dlx_st_tensor t = made_up(dtype, 5, k, 1);
    size_t width = dlx_dtype_size(dtype);
    char words[32];
    snprintf(words, sizeof words, "in row %d", (int)row);
    memcpy((uint8_t *)(uintptr_t)t.data + width * (size_t)(row * k + column), &bad, width);
    for (int i = 0; i < 3; i++) {
        dlx_value v = constant(&t, transforms[i]);
        collected c = {0};
        dlx_error err = {0};
        assert_int_equal(dlx_const_stream(&v, NULL, collect, &c, &err), DLX_E_FORMAT);
        assert_non_null(strstr(err.message, "'made up' holds NaN or infinity"));
        if (i == 0 && !strstr(err.message, words)) fail_msg("%s: %s", words, err.message);
        free(c.bytes);
    }
    free_made_up(&t);
}

static void what_is_not_finite_is_refused(void **state)
{
    static const dlx_dtype types[] = {DLX_F32, DLX_BF16, DLX_F16};
    static const uint32_t bad[3][4] = {{0x7F800000, 0xFF800000, 0x7FC00000, 0xFF800001},
                                       {0x7F80, 0xFF80, 0x7FC0, 0xFF81},
                                       {0x7C00, 0xFC00, 0x7E00, 0xFC01}};
    (void)state;
    for (int type = 0; type < 3; type++)
        for (int b = 0; b < 4; b++) {
            check_refused(types[type], bad[type][b], 300, 0, 0);
            check_refused(types[type], bad[type][b], 300, 4, 299);
            if (!DLX_SLOW || b == type) check_refused(types[type], bad[type][b], (1 << 20) + 9, 3, 1 << 19);
        }
}

static void the_sink_decides_and_sizes_must_agree(void **state)
{
    dlx_st_tensor t = made_up(DLX_BF16, 4000, 1000, 3);
    dlx_value v = constant(&t, DLX_CONST_INT8_ROWS);
    collected c = {.stop_at = 2000000};
    dlx_error err = {0};
    (void)state;
    assert_int_equal(dlx_const_stream(&v, NULL, collect, &c, &err), DLX_E_CANCELLED);
    assert_string_equal(err.message, "enough");
    assert_true(c.n < 2000000);
    v.source.bytes -= 2;
    assert_int_equal(dlx_const_stream(&v, NULL, collect, &c, &err), DLX_E_INTERNAL);
    v = constant(&t, DLX_CONST_INT8_ROWS);
    v.dtype = DLX_F32;
    assert_int_equal(dlx_const_stream(&v, NULL, collect, &c, &err), DLX_E_INTERNAL);
    v = constant(&t, DLX_CONST_WIDEN);
    v.source.stored = DLX_F32;
    assert_int_equal(dlx_const_stream(&v, NULL, collect, &c, &err), DLX_E_INTERNAL);
    v = constant(&t, DLX_CONST_INT8_ROWS);
    v.dim[0] = INT64_MAX;
    assert_int_equal(dlx_const_stream(&v, NULL, collect, &c, &err), DLX_E_INTERNAL);
    free(c.bytes);
    free_made_up(&t);
}

/* Of this process; 0 where it does not say. */
static size_t resident_pages(void)
{
    long size, resident;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &size, &resident) != 2) resident = 0;
    if (f) fclose(f);
    return (size_t)resident;
}

static dlx_status watch(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    size_t *most = ctx, now = resident_pages();
    (void)bytes;
    (void)n;
    (void)err;
    if (now > *most) *most = now;
    return DLX_OK;
}

/* A tensor of 48 MiB in a mapped file leaves memory behind the stream, and can be read again. */
static void memory_stays_small(void **state)
{
    enum { ROWS = 12288, COLUMNS = 2048 };
    char path[] = "/tmp/dlx_quant_XXXXXX";
    whole_file whole;
    dlx_file file;
    (void)state;
    FILE *f = fdopen(mkstemp(path), "wb");
    uint16_t row[COLUMNS];
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < COLUMNS; i++) row[i] = (uint16_t)(0x3C00 + (r + i) % 512);
        assert_int_equal(fwrite(row, sizeof row, 1, f), 1);
    }
    fclose(f);
    assert_int_equal(dlx_file_open(&file, path, NULL), DLX_OK);
    dlx_st_tensor t = {.name = "large", .dtype = DLX_BF16, .rank = 2, .dim = {ROWS, COLUMNS}, .bytes = file.size};
    dlx_value v = constant(&t, DLX_CONST_INT8_ROWS);
    v.source.file = &file;
    size_t most = 0, before = resident_pages();
    assert_int_equal(dlx_const_stream(&v, NULL, watch, &most, NULL), DLX_OK);
    if (before) assert_true((most - before) * (size_t)sysconf(_SC_PAGESIZE) < 16 << 20);
    assert_int_equal(read_whole_file(&whole, path, NULL), DLX_OK);
    t.data = whole.data;
    check_against_formula(&t, NULL);
    free_whole_file(&whole);
    dlx_file_close(&file);
    unlink(path);
}

static const dlx_value *named(const dlx_graph *g, const char *name)
{
    const dlx_value *found = NULL;
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].name && !strcmp(g->values[i].name, name)) {
            assert_null(found); /* names are unique */
            found = &g->values[i];
        }
    return found;
}

static int count(const dlx_graph *g, dlx_op op)
{
    int n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}

static dlx_status quantise_int8(dlx_graph *g, dlx_error *err)
{
    const dlx_weight_form *form = dlx_form_find("int8-dynamic");
    return dlx_quantize(g, &(dlx_recipe){.body = form, .head = form, .table = form}, err);
}

static void a_decoder_becomes_int8(void **state)
{
    dlx_graph g;
    dlx_error err = {0};
    (void)state;
    build_layer(&g, 8, 16);
    const void *q_data = named(&g, "q")->source.data;
    if (quantise_int8(&g, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_graph_verify(&g, &err), DLX_OK);
    /* q, k, v share one conversion; gate and up another; o, down and the head have their own. */
    assert_int_equal(count(&g, DLX_OP_CONVERT), 5);
    assert_int_equal(count(&g, DLX_OP_LINEAR), 8);
    for (size_t i = 0; i < g.n_nodes; i++) {
        const dlx_node *n = &g.nodes[i];
        if (n->op != DLX_OP_LINEAR) continue;
        assert_int_equal(g.values[n->in[0]].dtype, DLX_QD8);
        assert_int_equal(g.values[n->in[1]].dtype, DLX_I8);
    }
    const dlx_value *q = named(&g, "q"), *scales = named(&g, "q.scales");
    assert_ptr_equal(q->source.data, q_data);
    assert_int_equal(q->source.transform, DLX_CONST_INT8_ROWS);
    assert_ptr_equal(&g.values[q->scales], scales);
    assert_int_equal(scales->rank, 1);
    assert_int_equal(scales->dim[0], HEADS * DIM);
    assert_int_equal(scales->source.transform, DLX_CONST_INT8_ROW_SCALES);
    assert_int_equal(named(&g, "q.bias")->dtype, DLX_F32);
    assert_int_equal(named(&g, "rope.cos")->dtype, DLX_F32);
    assert_int_equal(named(&g, "attn_norm")->dtype, DLX_F32);
    /* One int8 table for embedding and head, one set of scales. */
    const dlx_value *table = named(&g, "embed.weight"), *rows = named(&g, "embed.weight.scales");
    assert_int_equal(table->dtype, DLX_I8);
    assert_int_equal(rows->rank, 2);
    assert_ptr_equal(&g.values[table->scales], rows);
    const dlx_node *embedding = NULL;
    for (size_t i = 0; i < g.n_nodes; i++)
        if (g.nodes[i].op == DLX_OP_EMBEDDING && g.nodes[i].inputs == 3) embedding = &g.nodes[i];
    assert_non_null(embedding);
    assert_ptr_equal(&g.values[embedding->in[0]], table);
    assert_ptr_equal(&g.values[embedding->in[2]], rows);
    const dlx_node *head = &g.nodes[g.values[g.outputs[0]].producer];
    assert_int_equal(head->in[1], embedding->in[0]);
    for (size_t i = 0; i < g.n_values; i++)
        if (g.values[i].kind == DLX_VALUE_CONST) free(streamed(&g.values[i], NULL).bytes);
    /* Nothing is left to quantise. */
    size_t nodes = g.n_nodes;
    assert_int_equal(quantise_int8(&g, &err), DLX_OK);
    assert_int_equal(g.n_nodes, nodes);
    dlx_graph_free(&g);
}

static void other_uses_keep_a_weight_float(void **state)
{
    dlx_graph g;
    int64_t dim[2] = {4, 6};
    (void)state;
    dlx_graph_init(&g);
    uint32_t x = dlx_graph_input(&g, "x", DLX_F32, 2, (int64_t[]){4, 6}, 1);
    uint32_t w = weight(&g, "w", 2, 4, 6, 1), free_weight = weight(&g, "free", 2, 4, 6, 2);
    float half_data[24] = {0};
    uint32_t computed = node(&g, DLX_OP_NEG, 1, &w, NULL);
    uint32_t plain = dlx_graph_const(
        &g, "wide", DLX_F32, 2, dim,
        (dlx_const_source){.data = half_data, .bytes = 48, .stored = DLX_F16, .transform = DLX_CONST_WIDEN});
    assert_true(dlx_graph_output(&g, node(&g, DLX_OP_LINEAR, 2, (uint32_t[]){x, w}, NULL)));
    assert_true(
        dlx_graph_output(&g, node(&g, DLX_OP_BMM, 2, (uint32_t[]){x, computed}, &(dlx_attr){.transpose_b = true})));
    assert_true(dlx_graph_output(&g, node(&g, DLX_OP_LINEAR, 2, (uint32_t[]){x, free_weight}, NULL)));
    assert_true(dlx_graph_output(&g, node(&g, DLX_OP_LINEAR, 2, (uint32_t[]){x, plain}, NULL)));
    assert_int_equal(quantise_int8(&g, NULL), DLX_OK);
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_OK);
    assert_int_equal(named(&g, "w")->dtype, DLX_F32);
    assert_null(named(&g, "w.scales"));
    assert_int_equal(named(&g, "free")->dtype, DLX_I8);
    assert_int_equal(named(&g, "wide")->dtype, DLX_I8);
    assert_int_equal(named(&g, "wide")->source.stored, DLX_F16);
    assert_int_equal(count(&g, DLX_OP_CONVERT), 1);
    dlx_graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_those_of_pytorch),
        cmocka_unit_test(every_length_and_type_is_streamed),
        portable_test(long_rows_of_a_file_are_read_twice),
        cmocka_unit_test(scales_that_clip_are_those_of_the_search),
        one_thread_test(tiny_rows_are_clamped),
        one_thread_test(floats_keep_their_value),
        one_thread_test(what_is_not_finite_is_refused),
        one_thread_test(the_sink_decides_and_sizes_must_agree),
        portable_test(memory_stays_small),
        one_thread_test(a_decoder_becomes_int8),
        one_thread_test(other_uses_keep_a_weight_float),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
