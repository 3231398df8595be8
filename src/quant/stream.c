/*
 * Streaming constants. A chunk is at most 1 MiB of output, made from at most 8 MiB of source: those are read, the pool
 * converts them in pieces, the sink takes them. Rows longer than a chunk are read twice, once for the scale.
 */
#include "quant/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/io.h"
#include "base/sizes.h"
#include "kernels/kernels.h"
#include "quant/rows.h"
#include "solve/grid.h"

enum {
    CHUNK_BYTES = 1 << 20,
    PIECE = 1 << 14,        /* elements of a long run that one thread takes at a time */
    MAX_ROWS = 1 << 14,     /* of a chunk */
    SOURCE_BYTES = 8 << 20, /* that a chunk is made from, at most */
};

typedef struct streamer {
    const dlx_value *v;
    dlx_pool *pool;
    dlx_const_sink sink;
    void *ctx;
    dlx_error *err;
    dlx_dtype stored;
    size_t width;           /* bytes of a stored element */
    uint64_t rows, columns; /* of what shares a scale, rows or groups; otherwise 1 row of all elements */
    uint8_t *input;         /* [SOURCE_BYTES]; NULL: the source is in memory */
    uint8_t *chunk;         /* [CHUNK_BYTES] */
    float *scale;           /* [MAX_ROWS] per row, or largest magnitude per piece; NaN: not finite */
    /* Of the chunk in work: */
    const uint8_t *from;
    size_t count; /* rows, or elements of a run */
    bool scales_only, int4;
    float row_scale;     /* of a run within a long row */
    float *clipped;      /* [threads, columns] rows as floats, to look for scales; NULL: the largest magnitude counts */
    dlx_kernels kernels; /* where scales are looked for */
} streamer;

static const char *name_of(const streamer *s)
{
    return s->v->name ? s->v->name : "(unnamed)";
}

/* Bytes [begin, begin + n) of the source into s->from; n is at most SOURCE_BYTES. What follows is asked for already. */
static dlx_status take(streamer *s, uint64_t begin, size_t n)
{
    const dlx_const_source *c = &s->v->source;
    s->from = c->data ? (const uint8_t *)c->data + begin : s->input;
    if (c->data) return DLX_OK;
    DLX_TRY(dlx_const_read(s->v, begin, s->input, n, s->err));
    dlx_file_expect(c->file, c->offset + begin + n, SOURCE_BYTES);
    return DLX_OK;
}

/* `row`: of the streamer, of which a row of the tensor may have several. */
static dlx_status not_finite(const streamer *s, uint64_t row)
{
    uint64_t groups = 1;
    if (s->v->source.group)
        groups = s->v->dtype == DLX_I4 ? (uint64_t)s->v->dim[1] / s->columns : (uint64_t)s->v->dim[1];
    if (s->v->rank < 2 || s->rows == 1)
        return dlx_fail(s->err, DLX_E_FORMAT, "weight '%s' holds NaN or infinity", name_of(s));
    return dlx_fail(s->err, DLX_E_FORMAT, "weight '%s' holds NaN or infinity in row %llu", name_of(s),
                    (unsigned long long)(row / groups));
}

/* Codes of n elements; the first of them is element `first` of the chunk. */
static void put_codes(streamer *s, size_t first, const uint8_t *p, size_t n, float scale)
{
    if (s->int4)
        dlx_int4_quantize(s->chunk + first / 2, p, n, s->stored, scale);
    else
        dlx_int8_quantize((int8_t *)s->chunk + first, p, n, s->stored, scale);
}

/* n bytes of nibbles in the chunk: numbers + 8 into two's complement, where that is asked for. */
static void sign_nibbles(streamer *s, size_t n)
{
    for (size_t i = 0; s->v->source.signed_nibbles && i < n; i++) s->chunk[i] ^= 0x88;
}

/* Hands over n rows of codes. */
static dlx_status sink_codes(streamer *s, size_t n)
{
    if (s->int4) sign_nibbles(s, n / 2);
    return s->sink(s->ctx, s->chunk, s->int4 ? n / 2 : n, s->err);
}

/* Hands over n scales; those of groups as BF16, or where that is asked for all as F16, which they are exactly. */
static dlx_status sink_scales(streamer *s, const float *scale, size_t n)
{
    if (s->v->dtype == DLX_F32) return s->sink(s->ctx, scale, n * sizeof *scale, s->err);
    bool f16 = s->v->dtype == DLX_F16;
    uint16_t *half = (uint16_t *)(void *)s->chunk;
    for (size_t i = 0; i < n; i++) half[i] = f16 ? dlx_f32_to_f16(scale[i]) : dlx_f32_to_bf16(scale[i]);
    return s->sink(s->ctx, half, n * sizeof *half, s->err);
}

/* The scale of finite elements [columns] that misses them least. */
static float clipped_scale(const streamer *s, const uint8_t *p, size_t thread)
{
    size_t columns = (size_t)s->columns;
    float *w = s->clipped + thread * columns;
    dlx_grid g = {.bits = s->int4 ? 4 : 8, .group = s->v->source.group};
    if (s->stored == DLX_F32)
        memcpy(w, p, columns * sizeof *w);
    else
        dlx_rows_widen(w, p, columns, s->stored);
    return dlx_grid_scale(&s->kernels, g, DLX_CLIP_MSE, w, NULL, columns);
}

/* The scale of what has that largest magnitude; the one place that chooses it. NaN: not finite. */
static float chosen_scale(const streamer *s, float max)
{
    return s->int4 ? dlx_int4_scale(max, s->v->source.group ? DLX_BF16 : DLX_F32) : dlx_int8_scale(max);
}

/* The scale as it is kept, of what has that largest magnitude: F16 has none that are smaller. Infinity: what its codes
 * stand for is beyond float16, in which it is computed with. */
static float kept_scale(const streamer *s, float scale, float max)
{
    const dlx_const_source *c = &s->v->source;
    if (isnan(scale)) return scale;
    if (c->f16_scales) scale = fmaxf(dlx_f16_to_f32(dlx_f32_to_f16(scale)), 0x1p-24f);
    if (!c->in_f16 || isinf(scale)) return scale;
    float code = fminf(rintf(max / scale), s->int4 ? 8.0f : 128.0f);
    return dlx_rows_fit(scale * code, DLX_F16) ? scale : INFINITY;
}

/* ---- runs of elements: copied, widened or rounded, or part of a row too long for one chunk ---- */

typedef enum run_kind { RUN_CHECK, RUN_WIDEN, RUN_ROUND, RUN_QUANTISE } run_kind;

static void run_pieces(streamer *s, size_t begin, size_t end, run_kind kind)
{
    for (size_t i = begin; i < end; i++) {
        size_t first = i * PIECE, n = s->count - first < PIECE ? s->count - first : PIECE;
        const uint8_t *p = s->from + first * s->width;
        if (kind != RUN_QUANTISE) s->scale[i] = dlx_rows_max(p, n, s->stored);
        if (kind == RUN_WIDEN) dlx_rows_widen((float *)(void *)s->chunk + first, p, n, s->stored);
        if (kind == RUN_ROUND) dlx_rows_round((uint16_t *)(void *)s->chunk + first, s->v->dtype, p, n, s->stored);
        if (kind == RUN_QUANTISE) put_codes(s, first, p, n, s->row_scale);
    }
}

static void check_pieces(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)thread;
    run_pieces(arg, begin, end, RUN_CHECK);
}

static void widen_pieces(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)thread;
    run_pieces(arg, begin, end, RUN_WIDEN);
}

static void round_pieces(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)thread;
    run_pieces(arg, begin, end, RUN_ROUND);
}

static void quantise_pieces(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)thread;
    run_pieces(arg, begin, end, RUN_QUANTISE);
}

/* One pass over the run of `count` elements that was taken; the largest magnitude so far in *max. */
static void run(streamer *s, size_t count, run_kind kind, float *max)
{
    static const dlx_loop_fn loops[] = {
        [RUN_CHECK] = check_pieces,
        [RUN_WIDEN] = widen_pieces,
        [RUN_ROUND] = round_pieces,
        [RUN_QUANTISE] = quantise_pieces,
    };
    size_t pieces = (count + PIECE - 1) / PIECE;
    s->count = count;
    dlx_pool_for(s->pool, pieces, 1, loops[kind], s);
    for (size_t i = 0; kind != RUN_QUANTISE && i < pieces; i++)
        if (isnan(s->scale[i]) || s->scale[i] > *max) *max = s->scale[i];
}

static dlx_status beyond(const streamer *s, float max)
{
    if (s->v->source.in_f16)
        return dlx_fail(
            s->err, DLX_E_UNSUPPORTED,
            "weight '%s' holds numbers of magnitude %g, and float16, in which this backend computes, ends at "
            "65504 whatever form it is given; use backend xnnpack, or qnn with int8 weights",
            name_of(s), (double)max);
    return dlx_fail(s->err, DLX_E_UNSUPPORTED,
                    "weight '%s' holds numbers of magnitude %g, which %s cannot hold; choose another form for it",
                    name_of(s), (double)max, s->v->dtype == DLX_F16 ? "float16" : "bfloat16");
}

/* Elements that keep their value, or are rounded to it. Every F32 constant is checked: a weight that is not finite
 * spoils all logits. */
static dlx_status stream_elements(streamer *s)
{
    const dlx_const_transform how = s->v->source.transform;
    run_kind kind = how == DLX_CONST_WIDEN ? RUN_WIDEN : how == DLX_CONST_ROUND ? RUN_ROUND : RUN_CHECK;
    size_t out_width = kind == RUN_CHECK ? s->width : dlx_dtype_size(s->v->dtype), most = CHUNK_BYTES / out_width, n;
    for (uint64_t at = 0; at < s->columns; at += n) {
        uint64_t begin = at * s->width;
        float max = 0.0f;
        n = s->columns - at < most ? (size_t)(s->columns - at) : most;
        DLX_TRY(take(s, begin, n * s->width));
        if (kind != RUN_CHECK || s->v->dtype == DLX_F32) run(s, n, kind, &max);
        if (isnan(max)) return not_finite(s, 0);
        if (s->v->source.times) max *= s->v->source.times;
        if (kind == RUN_ROUND && !dlx_rows_fit(max, s->v->dtype)) return beyond(s, max);
        if (s->v->source.in_f16 && !dlx_rows_fit(max, DLX_F16)) return beyond(s, max);
        if (kind == RUN_CHECK && s->v->source.signed_nibbles && s->v->dtype == DLX_I4) {
            memcpy(s->chunk, s->from, n);
            sign_nibbles(s, n);
            s->from = s->chunk;
        }
        DLX_TRY(s->sink(s->ctx, kind == RUN_CHECK ? s->from : s->chunk, n * out_width, s->err));
    }
    return DLX_OK;
}

/* ---- rows of codes ---- */

static void convert_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    streamer *s = arg;
    size_t columns = (size_t)s->columns;
    for (size_t r = begin; r < end; r++) {
        const uint8_t *p = s->from + r * columns * s->width;
        float max = dlx_rows_max(p, columns, s->stored);
        s->scale[r] = chosen_scale(s, max);
        if (s->clipped && !isnan(s->scale[r])) s->scale[r] = clipped_scale(s, p, thread);
        s->scale[r] = kept_scale(s, s->scale[r], max);
        if (!s->scales_only && isfinite(s->scale[r])) put_codes(s, r * columns, p, columns, s->scale[r]);
    }
}

static dlx_status stream_short_rows(streamer *s)
{
    size_t columns = (size_t)s->columns, row_bytes = columns * s->width;
    size_t most = s->scales_only ? SOURCE_BYTES / row_bytes : CHUNK_BYTES / columns, n;
    most = most < 1 ? 1 : most > MAX_ROWS ? MAX_ROWS : most;
    for (uint64_t row = 0; row < s->rows; row += n) {
        n = s->rows - row < most ? (size_t)(s->rows - row) : most;
        DLX_TRY(take(s, row * row_bytes, n * row_bytes));
        dlx_pool_for(s->pool, n, PIECE / columns + 1, convert_rows, s);
        for (size_t r = 0; r < n; r++) {
            if (isnan(s->scale[r])) return not_finite(s, row + r);
            if (isinf(s->scale[r])) return beyond(s, dlx_rows_max(s->from + r * row_bytes, columns, s->stored));
        }
        DLX_TRY(s->scales_only ? sink_scales(s, s->scale, n) : sink_codes(s, n * columns));
    }
    return DLX_OK;
}

static dlx_status stream_long_rows(streamer *s)
{
    for (uint64_t row = 0; row < s->rows; row++) {
        uint64_t start = row * s->columns * s->width;
        float max = 0.0f;
        size_t n;
        for (uint64_t at = 0; at < s->columns; at += n) {
            n = s->columns - at < CHUNK_BYTES ? (size_t)(s->columns - at) : CHUNK_BYTES;
            DLX_TRY(take(s, start + at * s->width, n * s->width));
            run(s, n, RUN_CHECK, &max);
        }
        if (isnan(max)) return not_finite(s, row);
        s->row_scale = kept_scale(s, chosen_scale(s, max), max);
        if (isinf(s->row_scale)) return beyond(s, max);
        if (s->scales_only) {
            DLX_TRY(sink_scales(s, &s->row_scale, 1));
            continue;
        }
        for (uint64_t at = 0; at < s->columns; at += n) {
            n = s->columns - at < CHUNK_BYTES ? (size_t)(s->columns - at) : CHUNK_BYTES;
            DLX_TRY(take(s, start + at * s->width, n * s->width));
            run(s, n, RUN_QUANTISE, NULL);
            DLX_TRY(sink_codes(s, n));
        }
    }
    return DLX_OK;
}

/* Elements that the value's shape asks for; false when they cannot be counted. */
static bool count_elements(const dlx_value *v, uint64_t *elements)
{
    *elements = 1;
    for (int d = 0; d < v->rank; d++)
        if (v->dim[d] < 0 || !dlx_mul_u64(*elements, (uint64_t)v->dim[d], elements)) return false;
    return true;
}

static bool is_float(dlx_dtype t)
{
    return t == DLX_F32 || t == DLX_F16 || t == DLX_BF16;
}

/* Rows of codes or of their scales: as many rows as there are scales. */
static bool prepare_rows(streamer *s, uint64_t elements)
{
    const dlx_const_source *c = &s->v->source;
    s->int4 = c->transform == DLX_CONST_INT4_ROWS || c->transform == DLX_CONST_INT4_SCALES;
    s->scales_only = c->transform == DLX_CONST_INT8_ROW_SCALES || c->transform == DLX_CONST_INT4_SCALES;
    dlx_dtype made = !s->scales_only ? (s->int4 ? DLX_I4 : DLX_I8)
                     : c->f16_scales ? DLX_F16
                     : c->group      ? DLX_BF16
                                     : DLX_F32;
    if (s->v->dtype != made || !is_float(s->stored) || (c->group && (!s->int4 || s->v->rank != 2))) return false;
    s->rows = s->v->rank ? (uint64_t)s->v->dim[0] : 1;
    if (c->group) s->rows = s->scales_only ? elements : elements / c->group;
    s->columns = !s->rows ? 0 : s->scales_only ? c->bytes / s->width / s->rows : elements / s->rows;
    if (s->rows && c->group && s->columns != c->group) return false;
    return (!s->scales_only || elements == s->rows) && (!s->int4 || s->columns % 2 == 0);
}

/* Rows and columns from the value's shape and its source, which must agree. */
static dlx_status prepare(streamer *s)
{
    const dlx_const_source *c = &s->v->source;
    uint64_t elements, bytes;
    bool pairs = c->transform == DLX_CONST_PLAIN && s->v->dtype == DLX_I4; /* made elsewhere; bytes here */
    s->stored = pairs ? DLX_U8 : c->transform == DLX_CONST_PLAIN ? s->v->dtype : c->stored;
    s->width = dlx_dtype_size(s->stored);
    bool ok = count_elements(s->v, &elements) && s->width && s->v->kind == DLX_VALUE_CONST && s->v->dtype != DLX_QD8;
    s->rows = 1;
    s->columns = ok ? elements : 0;
    switch (c->transform) {
    case DLX_CONST_PLAIN:
        if (pairs) s->columns /= 2;
        ok = ok && (!pairs || elements % 2 == 0);
        break;
    case DLX_CONST_WIDEN: ok = ok && s->v->dtype == DLX_F32 && is_float(s->stored) && s->stored != DLX_F32; break;
    case DLX_CONST_ROUND: ok = ok && (s->v->dtype == DLX_F16 || s->v->dtype == DLX_BF16) && is_float(s->stored); break;
    default: ok = ok && prepare_rows(s, elements); break;
    }
    ok = ok && dlx_mul_u64(s->rows * s->columns, s->width, &bytes) && bytes == c->bytes;
    if (ok) return DLX_OK;
    return dlx_fail(s->err, DLX_E_INTERNAL, "constant '%s' of type %s cannot be made from its %llu bytes of %s",
                    name_of(s), dlx_dtype_name(s->v->dtype), (unsigned long long)c->bytes, dlx_dtype_name(s->stored));
}

dlx_status dlx_const_stream(const dlx_value *v, dlx_pool *pool, dlx_const_sink sink, void *ctx, dlx_error *err)
{
    streamer s = {.v = v, .pool = pool, .sink = sink, .ctx = ctx, .err = err};
    DLX_TRY(prepare(&s));
    if (!s.rows || (!s.columns && !s.scales_only)) return DLX_OK;
    uint64_t elements = s.rows * (s.columns ? s.columns : 1), input = v->source.bytes; /* 4 bytes an element at most */
    s.chunk = malloc(elements < CHUNK_BYTES / 4 ? (size_t)elements * 4 : CHUNK_BYTES);
    s.scale = malloc(MAX_ROWS * sizeof *s.scale);
    s.input = v->source.data ? NULL : malloc(input < SOURCE_BYTES ? (size_t)input + 1 : SOURCE_BYTES);
    bool clips = v->source.clip && v->source.transform > DLX_CONST_ROUND && s.columns && s.columns <= CHUNK_BYTES;
    if (clips) dlx_kernels_init(&s.kernels, dlx_cpu_best_isa());
    if (clips) s.clipped = malloc((size_t)dlx_pool_threads(pool) * (size_t)s.columns * sizeof *s.clipped);
    dlx_status status;
    if (!s.chunk || !s.scale || (!s.input && !v->source.data) || (clips && !s.clipped))
        status = dlx_fail(err, DLX_E_NOMEM, "out of memory converting '%s'", name_of(&s));
    else if (v->source.transform <= DLX_CONST_ROUND)
        status = stream_elements(&s);
    else
        status = s.columns && s.columns <= CHUNK_BYTES ? stream_short_rows(&s) : stream_long_rows(&s);
    free(s.input);
    free(s.chunk);
    free(s.scale);
    free(s.clipped);
    return status;
}

typedef struct collector {
    uint8_t *to;
} collector;

static dlx_status collect(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    collector *c = ctx;
    (void)err;
    memcpy(c->to, bytes, n);
    c->to += n;
    return DLX_OK;
}

dlx_status dlx_const_collect(const dlx_value *v, dlx_pool *pool, void *out, dlx_error *err)
{
    collector c = {.to = out};
    return dlx_const_stream(v, pool, collect, &c, err);
}

static dlx_status drop(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    (void)ctx;
    (void)bytes;
    (void)n;
    (void)err;
    return DLX_OK;
}

dlx_status dlx_const_finite(const dlx_value *v, dlx_pool *pool, dlx_error *err)
{
    dlx_value scales = *v;
    if (v->dtype != DLX_F32 || v->source.transform > DLX_CONST_WIDEN) return DLX_OK;
    if (v->rank != 2) return dlx_const_stream(v, pool, drop, NULL, err);
    if (v->source.transform == DLX_CONST_PLAIN) scales.source.stored = DLX_F32;
    scales.source.transform = DLX_CONST_INT8_ROW_SCALES;
    scales.dim[1] = 1;
    return dlx_const_stream(&scales, pool, drop, NULL, err);
}
