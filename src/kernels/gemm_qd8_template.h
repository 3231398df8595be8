/*
 * Template: quantised activations, and products with int8 weights. Included once by each instruction set's file, after
 * tile_template.h and elementwise_template.h; gemm_qd4_template.h goes on from here with int4 weights.
 *
 * Quantised activations: tiles of TILE_ROWS rows (the last has what is left); each holds the rows' records in
 * QD8_HEAD bytes, then [steps][rows of this tile][QD8_GROUP] activations q + QD8_OFFSET. So the inner loop reads both
 * sides front to back, whatever the number of rows, and no two tiles share a cache line. Where products of bytes
 * saturate (QD8_SPLIT) activations are those of qd8_split_template.h instead; then come q + QD4_OFFSET for products
 * with int4, which do not, and each row's extras.
 *
 * Where a set has the unit of matrix tiles (QD8_CHUNKED), its operand of activations is rows of 64 bytes. So two tiles
 * lie in a block that is as long as a tile of activations has rows, as [chunks of 64 inputs][rows of this block][64]:
 * each chunk is such an operand, and the steps of a row within it lie side by side.
 *
 * Packed weights: panels of PANEL output columns; each holds [steps][PANEL][QD8_GROUP] int8 (a step takes QD8_GROUP
 * inputs of every column; QD8_SPLIT: w + 128), then arrays of one number per column; inputs and columns beyond the
 * matrix are zeros.
 *
 * sum (q - zero_point) * w = sum (q + QD8_OFFSET) * w - (zero_point + QD8_OFFSET) * sum w, exact modulo 2^32.
 */
#if QD8_SPLIT
#include "kernels/qd8_split_template.h"
#endif

/* A dot step adds to one vector of TILE_VECS for each row, unless an instruction set says otherwise: then DOT_ROWS rows
 * share DOT_VECS vectors, and dot_row takes a row's columns out of them. */
#if !defined(DOT_ROWS)
#define DOT_ROWS 1
#define DOT_VECS TILE_VECS
#endif

#if !defined(QD8_CHUNKED)
#define QD8_CHUNKED 0
#endif

/* Where a set has to say that a loop of dot steps is over. */
#if !defined(DOT_DONE)
#define DOT_DONE(sums)
#endif

enum {
    DOT_TILE = (TILE_ROWS + DOT_ROWS - 1) / DOT_ROWS,
    QD8_CHUNK = 64,                                          /* inputs that are quantised together */
    QD8_BLOCK = QD8_CHUNKED ? 2 * TILE_ROWS : TILE_ROWS,     /* rows that lie in one piece */
    QD8_ROW = QD8_CHUNKED ? (int)QD8_CHUNK : (int)QD8_GROUP, /* numbers from a row's step to the next row's */
    QD8_RECORDS = QD8_BLOCK * sizeof(dlx_qd8_row),
#if QD8_SPLIT
    QD8_HEAD = (QD8_RECORDS + TILE_ROWS * sizeof(qd8_split) + 63) / 64 * 64,
#else
    QD8_HEAD = (QD8_RECORDS + 63) / 64 * 64,
#endif
    QD8_STEP_BYTES = PANEL * QD8_GROUP, /* of weights, in a panel */
    QD8_AHEAD = 8192,                   /* bytes ahead that a lone tile of several rows asks for */
};
/* Arrays per column behind a panel's weights, by kind of product. */
enum { QC8_COLUMNS = 3 }; /* int32 sums of weights; scales; biases */
enum { QS8_COLUMNS = 6 }; /* int32 sums of weights; biases; dlx_qs8_requant; low, high, scale of outputs */

/* ---- activations ------------------------------------------------------------------------------------------------ */

/* Of whole chunks where these are operands: what is behind a row's end meets weights of zero. */
static size_t qd8_steps(size_t n_in)
{
    return QD8_CHUNKED ? divide_up(n_in, QD8_CHUNK) * (QD8_CHUNK / QD8_GROUP) : divide_up(n_in, QD8_GROUP);
}

/* Of a tile's activations in the form of int8 products. */
static size_t qd8_rows_bytes(size_t rows, size_t n_in)
{
    return (size_t)dlx_align_up(qd8_steps(n_in) * rows * QD8_GROUP * sizeof(qd8_act), 64);
}

#if QD8_SPLIT
_Static_assert((int)QD4_GROUP == (int)QD8_GROUP && sizeof(qd4_act) == sizeof(qd8_act), "both forms are of one size");

/* Where a tile's extras begin, qd8_steps(n_in) of each row. */
static size_t qd8_extras_at(size_t rows, size_t n_in)
{
    return QD8_HEAD + 2 * qd8_rows_bytes(rows, n_in);
}
#endif

/* Of the rows that lie in one piece. */
static size_t qd8_block_bytes(size_t rows, size_t n_in)
{
#if QD8_SPLIT
    return qd8_extras_at(rows, n_in) + (size_t)dlx_align_up(rows * qd8_steps(n_in) * sizeof(qd8_extra), 64);
#else
    return QD8_HEAD + qd8_rows_bytes(rows, n_in);
#endif
}

static size_t qd8_quantized_size(size_t rows, size_t n_in)
{
    size_t left = rows % QD8_BLOCK;
    return rows / QD8_BLOCK * qd8_block_bytes(QD8_BLOCK, n_in) + (left ? qd8_block_bytes(left, n_in) : 0);
}

/* QD8_CHUNK floats from x + k on, zeros behind the row's end. */
_Static_assert(QD8_CHUNK % QD8_GROUP == 0 && QD8_CHUNK % VF == 0, "steps must not straddle chunks");
DLX_INLINE const float *qd8_chunk(float padded[QD8_CHUNK], const float *x, size_t k, size_t n_in)
{
    if (n_in - k >= QD8_CHUNK) return x + k;
    memset(padded, 0, QD8_CHUNK * sizeof *padded);
    memcpy(padded, x + k, (n_in - k) * sizeof *x);
    return padded;
}

#if QD8_SPLIT
/* The row in both forms, the one of int4 to `to4`. False when it has more extras than there is room for. */
static bool qd8_split_row(const split_row *r, qd4_act *to4, const dlx_qd8_map *map, int32_t centre, const float *x,
                          size_t n_in)
{
    _Static_assert((int)SPLIT_CHUNK == (int)QD8_CHUNK, "one loop makes both");
    const dlx_qd8_map m = *map; /* which no store below may change */
    float padded[QD8_CHUNK];
    int16_t d[QD8_CHUNK];
    qd4_act act4[QD8_CHUNK];
    vi shift = vi_set1(m.row.zero_point - centre), back = vi_set1(centre + QD4_OFFSET);
    *r->split = (qd8_split){.centre = centre};
    for (size_t k = 0; k < n_in; k += QD8_CHUNK) {
        const float *source = qd8_chunk(padded, x, k, n_in);
        for (size_t j = 0; j < QD8_CHUNK; j += VF) {
            vi q = quantize_vf(vf_load(source + j), &m, shift);
            vi_store_i16(d + j, q);
            vi_store_u8(act4 + j, vi_add(q, back));
        }
        size_t steps = min_size(QD8_CHUNK / QD8_GROUP, qd8_steps(n_in - k));
        for (size_t j = steps * QD8_GROUP; j < QD8_CHUNK; j++) d[j] = 0;
        if (!split_steps(r, k / QD8_GROUP, steps, d)) return false;
        for (size_t g = 0; g < steps; g++, to4 += r->stride) memcpy(to4, act4 + g * QD4_GROUP, QD4_GROUP);
    }
    return true;
}
#endif

/* Row i of a block of `rows` rows. */
static void qd8_quantize_row(uint8_t *block, size_t rows, size_t i, const dlx_qd8_map *map, const float *x, size_t n_in)
{
    qd8_act *to = (qd8_act *)(void *)(block + QD8_HEAD) + i * QD8_ROW;
#if QD8_SPLIT
    split_row r = {.to = to,
                   .stride = rows * QD8_GROUP,
                   .split = (qd8_split *)(void *)(block + QD8_RECORDS) + i,
                   .extra = (qd8_extra *)(void *)(block + qd8_extras_at(rows, n_in)) + i * qd8_steps(n_in),
                   .capacity = qd8_steps(n_in)};
    qd4_act *to4 = (qd4_act *)(void *)to + qd8_rows_bytes(rows, n_in);
    if (!qd8_split_row(&r, to4, map, map->row.zero_point, x, n_in)) qd8_split_row(&r, to4, map, 0, x, n_in);
#else
    const dlx_qd8_map m = *map; /* which no store below may change */
    float padded[QD8_CHUNK];
    qd8_act act[QD8_CHUNK];
    vi shift = vi_set1(m.row.zero_point + QD8_OFFSET);
    for (size_t k = 0; k < n_in; k += QD8_CHUNK) {
        const float *source = qd8_chunk(padded, x, k, n_in);
        for (size_t j = 0; j < QD8_CHUNK; j += VF) qd8_store(act + j, quantize_vf(vf_load(source + j), &m, shift));
        size_t n = min_size(QD8_CHUNK, qd8_steps(n_in - k) * QD8_GROUP), together = QD8_CHUNKED ? QD8_CHUNK : QD8_GROUP;
        for (size_t g = 0; g < n; g += together, to += rows * QD8_ROW) memcpy(to, act + g, together * sizeof *act);
    }
#endif
    ((dlx_qd8_row *)(void *)block)[i] = map->row;
}

/* Row m of x into its place. */
static void qd8_quantize_into(void *quantized, const float *x, size_t total_rows, size_t n_in, size_t m,
                              const dlx_qd8_map *map)
{
    size_t b = m / QD8_BLOCK, rows = min_size(QD8_BLOCK, total_rows - b * QD8_BLOCK);
    qd8_quantize_row((uint8_t *)quantized + b * qd8_block_bytes(QD8_BLOCK, n_in), rows, m % QD8_BLOCK, map, x, n_in);
}

static void qd8_quantize(void *quantized, const float *x, size_t x_stride, size_t total_rows, size_t n_in,
                         size_t row_begin, size_t row_end)
{
    for (size_t m = row_begin; m < row_end; m++) {
        float lo, hi;
        bool finite = row_range(&lo, &hi, x + m * x_stride, n_in);
        dlx_qd8_map map = dlx_qd8_map_of(lo, hi, finite);
        qd8_quantize_into(quantized, x + m * x_stride, total_rows, n_in, m, &map);
    }
}

static void qs8_quantize(void *quantized, const float *x, size_t x_stride, size_t total_rows, size_t n_in,
                         size_t row_begin, size_t row_end, float scale, int32_t zero_point)
{
    for (size_t m = row_begin; m < row_end; m++) {
        float lo, hi;
        dlx_qd8_map map = dlx_qs8_map_of(scale, zero_point, row_range(&lo, &hi, x + m * x_stride, n_in));
        qd8_quantize_into(quantized, x + m * x_stride, total_rows, n_in, m, &map);
    }
}

/* ---- what products of quantised rows share -------------------------------------------------------------------- */

/* A panel of packed weights. */
typedef struct qd8_layout {
    size_t steps, step_bytes;
    size_t weight_bytes; /* with what is among the weights; arrays per column follow */
    size_t panel_bytes;
} qd8_layout;

static qd8_layout qd8_layout_of(size_t steps, size_t step_bytes, size_t weight_bytes, size_t columns)
{
    qd8_layout l = {steps, step_bytes, (size_t)dlx_align_up(weight_bytes, 64), 0};
    l.panel_bytes = (size_t)dlx_align_up(l.weight_bytes + columns * PANEL * sizeof(float), 64);
    return l;
}

typedef struct qd8_tile_args {
    float *y;
    size_t y_stride;
    const uint8_t *tile;    /* quantised activations: records of rows; */
    const uint8_t *x;       /* and the first step */
    const uint8_t *extras;  /* where there are any (QD8_SPLIT) */
    const uint8_t *panel;   /* packed weights */
    const uint8_t *columns; /* arrays per column */
    size_t rows, n_in, group, steps;
    size_t chunk;        /* numbers from the end of a chunk of row 0 to the next chunk of it, where there are chunks */
    const uint8_t *next; /* weights wanted soon, requested along the way; `panel` when there are none */
    size_t next_step;    /* bytes of them per step */
    size_t ahead;        /* from weights in use to `next`; 0: `next` lies in another panel */
    size_t *configured;  /* where there is a unit of tiles: for how many rows its tiles are configured; 0: not */
} qd8_tile_args;

typedef void (*qd8_tile_fn)(const qd8_tile_args *t);
#define QD8_TILE_OF(name, n)                                                                                           \
    static __attribute__((noinline)) void name##_tile_##n(const qd8_tile_args *t)                                      \
    {                                                                                                                  \
        name##_tile(t, n);                                                                                             \
    }

/* Rows of a call and the weights' shape. */
typedef struct qd8_call {
    const uint8_t *quantized;
    size_t rows;
    dlx_gemm_shape s;
    qd8_layout layout;
    size_t pitch;             /* rows at a time; */
    const qd8_tile_fn *tiles; /* by (number of these - 1) / each */
    size_t each;
    size_t *configured; /* as in qd8_tile_args */
} qd8_call;

enum { QD8_MOST_ROWS = QD8_CHUNKED ? 2 * QD8_BLOCK : TILE_ROWS }; /* at a time */

/* All rows of one panel. With several tiles, the first ones fetch the next panel's weights into the second-level cache,
 * at most a line per step, while they compute on this one's. A lone tile computes too little for that: it asks for
 * the weights QD8_AHEAD bytes further on, which lie in the next panel where this one ends (Sapphire Rapids, 8 rows:
 * 1.5 to 1.9 times as fast as the hardware prefetcher alone). A lone row asks QD8_ROW_AHEAD bytes ahead: it reads as
 * fast as memory gives, if it stays close to where the hardware prefetcher is (Zen 4: 2048 bytes with AVX-512, 1024
 * with AVX2; int8 1.1 and 1.5, int4 1.2 to 1.4 times as fast as with 8192). */
static void qd8_run_panel(float *y, size_t y_stride, const qd8_call *c, const uint8_t *panel, const uint8_t *next,
                          size_t columns)
{
    float buffer[QD8_MOST_ROWS * PANEL];
    const qd8_layout *l = &c->layout;
    size_t requested = 0, next_step = min_size(l->step_bytes, 64);
    size_t ahead = c->rows == 1 ? QD8_ROW_AHEAD : c->rows <= c->pitch ? QD8_AHEAD : 0;
    if (ahead) next = panel + ahead;
    for (size_t m = 0; m < c->rows; m += c->pitch) {
        size_t n = min_size(c->pitch, c->rows - m), in = m % QD8_BLOCK, rows = min_size(QD8_BLOCK, c->rows - (m - in));
        const uint8_t *block = c->quantized + m / QD8_BLOCK * qd8_block_bytes(QD8_BLOCK, c->s.n_in);
        qd8_tile_args t = {
            .y = columns == PANEL ? y + m * y_stride : buffer,
            .y_stride = columns == PANEL ? y_stride : PANEL,
            .tile = block + in * sizeof(dlx_qd8_row),
            .x = block + QD8_HEAD + in * QD8_ROW * sizeof(qd8_act),
            .chunk = (rows - 1) * QD8_ROW,
#if QD8_SPLIT
            .extras = block + qd8_extras_at(n, c->s.n_in),
#endif
            .panel = panel,
            .columns = panel + l->weight_bytes,
            .rows = n,
            .n_in = c->s.n_in,
            .group = c->s.group,
            .steps = l->steps,
            .next = requested < l->weight_bytes ? next + requested : panel,
            .next_step = ahead ? l->step_bytes : next_step,
            .ahead = ahead,
            .configured = c->configured
        };
        c->tiles[(n - 1) / c->each](&t);
        requested += l->steps * next_step;
        if (columns == PANEL) continue;
        for (size_t i = 0; i < n; i++) memcpy(y + (m + i) * y_stride, buffer + i * PANEL, columns * sizeof *y);
    }
}

static void qd8_run_strips(float *y, size_t y_stride, const qd8_call *c, const void *packed, size_t strip_begin,
                           size_t strip_end)
{
    size_t n_out = c->s.n_out, bytes = c->layout.panel_bytes;
    size_t panels = divide_up(n_out, PANEL), end = min_size(strip_end * STRIP_PANELS, panels);
    for (size_t p = strip_begin * STRIP_PANELS; p < end; p++) {
        const uint8_t *panel = (const uint8_t *)packed + p * bytes;
        const uint8_t *next = p + 1 < panels ? panel + bytes : panel;
        float *y_panel = y + (p - strip_begin * STRIP_PANELS) * PANEL;
        qd8_run_panel(y_panel, y_stride, c, panel, next, min_size(PANEL, n_out - p * PANEL));
    }
}

/* Packs strips panel by panel; `pack` is given the first of the panel's columns, and how many are real. */
typedef void (*qd8_pack_fn)(uint8_t *panel, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t first, size_t columns);

static void qd8_pack_strips(void *packed, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t panel_bytes,
                            size_t strip_begin, size_t strip_end, qd8_pack_fn pack)
{
    size_t end = min_size(strip_end * STRIP_PANELS, divide_up(s.n_out, PANEL));
    for (size_t p = strip_begin * STRIP_PANELS; p < end; p++)
        pack((uint8_t *)packed + p * panel_bytes, w, s, p * PANEL, min_size(PANEL, s.n_out - p * PANEL));
}

/* The entries of one product: from its layout, its pack_fn and what unpacks a column of a panel; from its table of
 * tiles. */
#define QD8_PACKED(name)                                                                                               \
    static size_t name##_packed_size(dlx_gemm_shape s)                                                                 \
    {                                                                                                                  \
        return divide_up(s.n_out, PANEL) * name##_layout(s).panel_bytes;                                               \
    }                                                                                                                  \
    static void name##_pack(void *packed, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t begin, size_t end)       \
    {                                                                                                                  \
        qd8_pack_strips(packed, w, s, name##_layout(s).panel_bytes, begin, end, name##_pack_panel);                    \
    }                                                                                                                  \
    static void name##_unpack(void *row, const void *packed, dlx_gemm_shape s, size_t n)                               \
    {                                                                                                                  \
        const uint8_t *panel = (const uint8_t *)packed + n / PANEL * name##_layout(s).panel_bytes;                     \
        name##_unpack_column(row, panel, s, n % PANEL);                                                                \
    }
/* By a table of one function for each number of rows. */
#define QD8_RUN(name)                                                                                                  \
    static void name##_run(float *y, size_t y_stride, const void *x, size_t x_stride, size_t rows, const void *packed, \
                           dlx_gemm_shape s, size_t begin, size_t end)                                                 \
    {                                                                                                                  \
        (void)x_stride;                                                                                                \
        qd8_call c = {.quantized = x, .rows = rows, .s = s, .layout = name##_layout(s)};                               \
        c.pitch = TILE_ROWS, c.each = 1, c.tiles = name##_tiles;                                                       \
        qd8_run_strips(y, y_stride, &c, packed, begin, end);                                                           \
    }
#define QD8_GEMM(name)                                                                                                 \
    (dlx_gemm)                                                                                                         \
    {                                                                                                                  \
        .strip = STRIP, .packed_size = name##_packed_size, .pack = name##_pack, .unpack = name##_unpack,               \
        .run = name##_run                                                                                              \
    }

/* ---- int8 weights ----------------------------------------------------------------------------------------------- */

static qd8_layout qc8_layout(dlx_gemm_shape s)
{
    size_t steps = qd8_steps(s.n_in);
    return qd8_layout_of(steps, QD8_STEP_BYTES, steps * QD8_STEP_BYTES, QC8_COLUMNS);
}

static qd8_layout qs8_layout(dlx_gemm_shape s)
{
    size_t steps = qd8_steps(s.n_in);
    return qd8_layout_of(steps, QD8_STEP_BYTES, steps * QD8_STEP_BYTES, QS8_COLUMNS);
}

/* Steps [0, whole) of two columns of a panel, from rows w0 and w1. */
static void qd8_interleave(uint8_t *panel, const int8_t *w0, const int8_t *w1, size_t whole)
{
    size_t g = 0;
    if (QD8_GROUP == 4) {
        /* Two steps at once, by whole words: packing is as fast as reading from the system's cache then. */
        for (; g + 2 <= whole; g += 2, panel += 2 * QD8_STEP_BYTES) {
            uint64_t a, b;
            memcpy(&a, w0 + g * QD8_GROUP, sizeof a);
            memcpy(&b, w1 + g * QD8_GROUP, sizeof b);
            uint64_t first = (a & UINT32_MAX) | b << 32, second = a >> 32 | (b & ~(uint64_t)UINT32_MAX);
            memcpy(panel, &first, sizeof first);
            memcpy(panel + QD8_STEP_BYTES, &second, sizeof second);
        }
    }
    for (; g < whole; g++, panel += QD8_STEP_BYTES) {
        memcpy(panel, w0 + g * QD8_GROUP, QD8_GROUP);
        memcpy(panel + QD8_GROUP, w1 + g * QD8_GROUP, QD8_GROUP);
    }
}

/* The weights of a panel and their sums. */
static void qd8_pack_weights(uint8_t *panel, int32_t sums[PANEL], const int8_t *w, size_t columns, size_t n_in)
{
    size_t steps = qd8_steps(n_in), whole = n_in / QD8_GROUP, c = 0;
    size_t kept = columns < PANEL ? 0 : whole; /* steps that are written as a whole */
    memset(panel + kept * QD8_STEP_BYTES, 0, (steps - kept) * QD8_STEP_BYTES);
    for (; c + 2 <= columns; c += 2) qd8_interleave(panel + c * QD8_GROUP, w + c * n_in, w + (c + 1) * n_in, whole);
    for (size_t g = 0; g < whole && c < columns; g++)
        memcpy(panel + (g * PANEL + c) * QD8_GROUP, w + c * n_in + g * QD8_GROUP, QD8_GROUP);
    for (c = 0; c < columns; c++)
        memcpy(panel + (whole * PANEL + c) * QD8_GROUP, w + c * n_in + whole * QD8_GROUP, n_in % QD8_GROUP);
#if QD8_SPLIT
    for (size_t i = 0; i < steps * QD8_STEP_BYTES; i++) panel[i] ^= 0x80; /* w + 128 */
#endif
    for (c = 0; c < PANEL; c++) {
        uint32_t sum = 0;
        for (size_t k = 0; k < n_in && c < columns; k++) sum += (uint32_t)w[c * n_in + k];
        sums[c] = (int32_t)sum;
    }
}

static void qc8_unpack_column(uint8_t *row, const uint8_t *panel, dlx_gemm_shape s, size_t c)
{
    panel += c * QD8_GROUP;
    for (size_t k = 0; k < s.n_in; k += QD8_GROUP, panel += QD8_STEP_BYTES)
        memcpy(row + k, panel, min_size(QD8_GROUP, s.n_in - k));
#if QD8_SPLIT
    for (size_t k = 0; k < s.n_in; k++) row[k] ^= 0x80;
#endif
}
#define qs8_unpack_column qc8_unpack_column

static void qc8_pack_panel(uint8_t *panel, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t first, size_t columns)
{
    int32_t *sums = (int32_t *)(void *)(panel + qc8_layout(s).weight_bytes);
    float *scales = (float *)sums + PANEL, *biases = scales + PANEL;
    qd8_pack_weights(panel, sums, (const int8_t *)w->w + (first - w->first) * s.n_in, columns, s.n_in);
    for (size_t c = 0; c < PANEL; c++) {
        scales[c] = c < columns ? w->scale[first + c] : 0.0f;
        biases[c] = c < columns && w->bias ? w->bias[first + c] : 0.0f;
    }
}

static void qs8_pack_panel(uint8_t *panel, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t first, size_t columns)
{
    int32_t *sums = (int32_t *)(void *)(panel + qs8_layout(s).weight_bytes), *biases = sums + PANEL;
    float *requant = (float *)biases + PANEL, *low = requant + PANEL, *high = low + PANEL, *scale = high + PANEL;
    qd8_pack_weights(panel, sums, (const int8_t *)w->w + (first - w->first) * s.n_in, columns, s.n_in);
    for (size_t c = 0; c < PANEL; c++) {
        biases[c] = c < columns && w->bias_i32 ? w->bias_i32[first + c] : 0;
        requant[c] = c < columns ? dlx_qs8_requant(w->qs8, w->scale[first + c]) : 0.0f;
        low[c] = (float)(-128 - w->qs8->out_zero);
        high[c] = (float)(127 - w->qs8->out_zero);
        scale[c] = w->qs8->out_scale;
    }
}

#if QD8_SPLIT
/* Row i's extra steps, and what its sums have too much because weights are w + 128. */
DLX_INLINE void qd8_finish_split(vi acc[TILE_VECS], const qd8_tile_args *t, size_t i, const qd8_extra *extra)
{
    const qd8_split *split = (const qd8_split *)(const void *)(t->tile + QD8_RECORDS) + i;
    for (size_t n = split->extras; n > 0; n--, extra++) {
        const int8_t *w = (const int8_t *)t->panel + extra->step * (size_t)QD8_STEP_BYTES;
        qd8_inputs xv = qd8_load_inputs(extra->d);
        UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[j] = qd8_dot(acc[j], qd8_load_weights(w, j), xv);
    }
    vi much = vi_set1((int32_t)((uint32_t)split->sum * 128u));
    UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[j] = vi_sub(acc[j], much);
}
#endif

/* What the sums of qd8_sums count row i's activations from. */
DLX_INLINE vi qd8_zero(const qd8_tile_args *t, size_t i)
{
    int32_t zero = ((const dlx_qd8_row *)(const void *)t->tile)[i].zero_point;
#if QD8_SPLIT
    return vi_set1(zero - ((const qd8_split *)(const void *)(t->tile + QD8_RECORDS))[i].centre);
#else
    return vi_set1(zero + QD8_OFFSET);
#endif
}

/* What a dot step adds to for `rows` rows. */
DLX_INLINE size_t dot_rows(size_t rows)
{
    return divide_up(rows, DOT_ROWS);
}

DLX_INLINE void dot_none(vi part[DOT_TILE][DOT_VECS], const size_t rows)
{
    UNROLL for (size_t i = 0; i < dot_rows(rows); i++) UNROLL for (size_t j = 0; j < DOT_VECS; j++) part[i][j] =
        vi_set1(0);
}

/* The sums of dot steps by rows. */
DLX_INLINE void dot_by_rows(vi acc[TILE_ROWS][TILE_VECS], vi part[DOT_TILE][DOT_VECS], const size_t rows)
{
#if DOT_ROWS == 1
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[i][j] = part[i][j];
#else
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[i][j] =
        dot_row(part[i / DOT_ROWS] + j * (DOT_VECS / TILE_VECS), i % DOT_ROWS);
#endif
    DOT_DONE(acc);
}

/* One step's activations of rows i * DOT_ROWS and what follows. */
DLX_INLINE qd8_inputs dot_inputs(const qd8_act *x, size_t i, const size_t rows)
{
#if defined(QD8_ALL_ROWS)
    if (rows == QD8_ALL_ROWS) return qd8_load_row(x, i);
#endif
#if DOT_ROWS == 1
    (void)rows;
    return qd8_load_inputs(x + i * QD8_ROW);
#else
    x += i * DOT_ROWS * QD8_GROUP;
    return i * DOT_ROWS + 1 < rows ? qd8_load_inputs(x) : qd8_load_last(x);
#endif
}

/* Numbers from a step of a tile's rows, at x, to the next. */
DLX_INLINE size_t qd8_to_next(const void *x, size_t chunk, const size_t rows)
{
    if (!QD8_CHUNKED) return rows * QD8_GROUP;
    return QD8_GROUP + (((uintptr_t)x + QD8_GROUP) % QD8_CHUNK ? 0 : chunk);
}

#if !QD8_CHUNKED
/* Sums over all inputs. `rows` is a constant wherever this is inlined. */
DLX_INLINE void qd8_sums(vi acc[TILE_ROWS][TILE_VECS], const qd8_tile_args *t, const size_t rows)
{
    vi part[DOT_TILE][DOT_VECS];
    dot_none(part, rows);
    const int8_t *w = (const int8_t *)t->panel;
    const uint8_t *next = t->next;
    const qd8_act *x = (const qd8_act *)(const void *)t->x;
    for (size_t g = t->steps; g > 0; g--) {
        qd8_weights wv[DOT_VECS];
        UNROLL for (size_t j = 0; j < DOT_VECS; j++) wv[j] = qd8_load_weights(w, j);
        prefetch_l2(next);
        if (QD8_STEP_BYTES > 64 && t->next_step > 64) prefetch_l2(next + 64);
        UNROLL for (size_t i = 0; i < dot_rows(rows); i++)
        {
            qd8_inputs xv = dot_inputs(x, i, rows);
            UNROLL for (size_t j = 0; j < DOT_VECS; j++) part[i][j] = qd8_dot(part[i][j], wv[j], xv);
        }
        w += QD8_STEP_BYTES;
        next += t->next_step;
        x += qd8_to_next(x, t->chunk, rows);
    }
    dot_by_rows(acc, part, rows);
#if QD8_SPLIT
    const qd8_extra *extra = (const qd8_extra *)(const void *)t->extras;
    UNROLL for (size_t i = 0; i < rows; i++) qd8_finish_split(acc[i], t, i, extra + i * t->steps);
#endif
}
#endif

/* Row i's outputs from its sums. */
DLX_INLINE void qc8_row(const qd8_tile_args *t, size_t i, const vi acc[TILE_VECS])
{
    const dlx_qd8_row *row = (const dlx_qd8_row *)(const void *)t->tile;
    const int32_t *sums = (const int32_t *)(const void *)t->columns;
    const float *scales = (const float *)sums + PANEL, *biases = scales + PANEL;
    vf row_scale = vf_set1(row[i].scale);
    vi zero = qd8_zero(t, i);
    UNROLL for (size_t j = 0; j < TILE_VECS; j++)
    {
        vi sum = vi_sub(acc[j], vi_mul(zero, vi_load(sums + j * VF)));
        vf v = vf_fused(vf_mul(vi_to_vf(sum), row_scale), vf_load(scales + j * VF), vf_load(biases + j * VF));
        vf_store(t->y + i * t->y_stride + j * VF, v);
    }
}

DLX_INLINE void qs8_row(const qd8_tile_args *t, size_t i, const vi acc[TILE_VECS])
{
    const dlx_qd8_row *row = (const dlx_qd8_row *)(const void *)t->tile;
    const int32_t *sums = (const int32_t *)(const void *)t->columns, *biases = sums + PANEL;
    const float *requant = (const float *)biases + PANEL;
    vf low = vf_load(requant + PANEL), high = vf_load(requant + 2 * PANEL), scale = vf_load(requant + 3 * PANEL);
    vf mark = vf_set1(row[i].scale);
    vi zero = qd8_zero(t, i);
    UNROLL for (size_t j = 0; j < TILE_VECS; j++)
    {
        vi sum = vi_sub(acc[j], vi_mul(zero, vi_load(sums + j * VF)));
        vf v = vf_mul(vi_to_vf(vi_add(sum, vi_load(biases + j * VF))), vf_load(requant + j * VF));
        v = vf_max(vf_min(v, high), low);
        vf_store(t->y + i * t->y_stride + j * VF, vf_fused(vi_to_vf(vf_round(v)), scale, mark));
    }
}

#if !QD8_CHUNKED
DLX_INLINE void qc8_tile(const qd8_tile_args *t, const size_t rows)
{
    vi acc[TILE_ROWS][TILE_VECS];
    qd8_sums(acc, t, rows);
    UNROLL for (size_t i = 0; i < rows; i++) qc8_row(t, i, acc[i]);
}

DLX_INLINE void qs8_tile(const qd8_tile_args *t, const size_t rows)
{
    vi acc[TILE_ROWS][TILE_VECS];
    qd8_sums(acc, t, rows);
    UNROLL for (size_t i = 0; i < rows; i++) qs8_row(t, i, acc[i]);
}

#define QC8_TILE(n) QD8_TILE_OF(qc8, n)
#define QS8_TILE(n) QD8_TILE_OF(qs8, n)
EACH_TILE_ROWS(QC8_TILE)
EACH_TILE_ROWS(QS8_TILE)

static const qd8_tile_fn qc8_tiles[TILE_ROWS] = TILE_TABLE(qc8_tile);
static const qd8_tile_fn qs8_tiles[TILE_ROWS] = TILE_TABLE(qs8_tile);

QD8_RUN(qc8)
QD8_RUN(qs8)
#else
#include "kernels/gemm_tiles_template.h"
#endif

QD8_PACKED(qc8)
QD8_PACKED(qs8)

static void set_gemm_qd8(dlx_kernels *k)
{
    k->qd8 = (dlx_quantizer){.row_tile = QD8_BLOCK, .size = qd8_quantized_size, .quantize = qd8_quantize};
    k->quantize_qs8 = qs8_quantize;
    k->gemm_qd8_qc8w = QD8_GEMM(qc8);
    k->gemm_qs8_qc8w = QD8_GEMM(qs8);
}
