/*
 * Template: int8 matrix product with dynamically quantised activations. Included once by each instruction set's file,
 * after tile_template.h and elementwise_template.h.
 *
 * Packed weights: panels of PANEL output columns; each holds [groups][PANEL][QD8_GROUP] int8 (a group is what one dot
 * step takes of every column), then per column the sum of its weights (int32), its scale and its bias; inputs and
 * columns beyond the matrix are zeros. Quantised activations: tiles of TILE_ROWS rows (the last has what is left); each
 * holds the rows' records in QD8_RECORDS bytes, then [groups][rows of this tile][QD8_GROUP] activations. So the inner
 * loop reads both sides front to back, whatever the number of rows, and no two tiles share a cache line.
 *
 * sum (q - zero_point) * w = sum (q + QD8_OFFSET) * w - (zero_point + QD8_OFFSET) * sum w, exact modulo 2^32.
 */
enum {
    QD8_RECORDS = 64,
    QD8_GROUP_BYTES = PANEL * QD8_GROUP,                         /* of weights, in a panel */
    QD8_NEXT_STEP = QD8_GROUP_BYTES < 64 ? QD8_GROUP_BYTES : 64, /* asked for ahead per group and tile */
    QD8_AHEAD = 8192,                                            /* bytes ahead that a lone tile asks for */
};
_Static_assert(TILE_ROWS * sizeof(dlx_qd8_row) <= QD8_RECORDS, "row records do not fit");

static size_t qd8_groups(size_t n_in)
{
    return divide_up(n_in, QD8_GROUP);
}

static size_t qd8_panel_weight_bytes(size_t n_in)
{
    return (size_t)dlx_align_up(qd8_groups(n_in) * QD8_GROUP_BYTES, 64);
}

static size_t qd8_panel_bytes(size_t n_in)
{
    return (size_t)dlx_align_up(qd8_panel_weight_bytes(n_in) + 3 * PANEL * sizeof(float), 64);
}

static size_t qd8_tile_bytes(size_t rows, size_t n_in)
{
    return QD8_RECORDS + (size_t)dlx_align_up(qd8_groups(n_in) * rows * QD8_GROUP * sizeof(qd8_act), 64);
}

static size_t qd8_packed_size(dlx_gemm_shape s)
{
    return divide_up(s.n_out, PANEL) * qd8_panel_bytes(s.n_in);
}

static size_t qd8_quantized_size(size_t rows, size_t n_in)
{
    size_t left = rows % TILE_ROWS;
    return rows / TILE_ROWS * qd8_tile_bytes(TILE_ROWS, n_in) + (left ? qd8_tile_bytes(left, n_in) : 0);
}

static void qd8_pack_panel(uint8_t *panel, const int8_t *w, const float *w_scale, const float *bias, size_t columns,
                           size_t n_in)
{
    size_t groups = qd8_groups(n_in), whole = n_in / QD8_GROUP;
    int32_t *sums = (int32_t *)(void *)(panel + qd8_panel_weight_bytes(n_in));
    float *scales = (float *)sums + PANEL, *biases = scales + PANEL;
    if (columns < PANEL) memset(panel, 0, qd8_panel_weight_bytes(n_in));
    for (size_t g = 0; g < whole; g++)
        for (size_t c = 0; c < columns; c++)
            memcpy(panel + (g * PANEL + c) * QD8_GROUP, w + c * n_in + g * QD8_GROUP, QD8_GROUP);
    for (size_t c = 0; c < columns && whole < groups; c++) {
        uint8_t *last = panel + (whole * PANEL + c) * QD8_GROUP;
        memset(last, 0, QD8_GROUP);
        memcpy(last, w + c * n_in + whole * QD8_GROUP, n_in % QD8_GROUP);
    }
    for (size_t c = 0; c < PANEL; c++) {
        uint32_t sum = 0;
        for (size_t k = 0; k < n_in && c < columns; k++) sum += (uint32_t)w[c * n_in + k];
        sums[c] = (int32_t)sum;
        scales[c] = c < columns ? w_scale[c] : 0.0f;
        biases[c] = c < columns && bias ? bias[c] : 0.0f;
    }
}

static void qd8_pack(void *packed, const dlx_gemm_weights *weights, dlx_gemm_shape s, size_t strip_begin,
                     size_t strip_end)
{
    const int8_t *w = weights->w;
    size_t end = min_size(strip_end * STRIP_PANELS, divide_up(s.n_out, PANEL));
    for (size_t p = strip_begin * STRIP_PANELS; p < end; p++) {
        size_t first = p * PANEL;
        qd8_pack_panel((uint8_t *)packed + p * qd8_panel_bytes(s.n_in), w + (first - weights->first) * s.n_in,
                       weights->scale + first, weights->bias ? weights->bias + first : NULL,
                       min_size(PANEL, s.n_out - first), s.n_in);
    }
}

/* One row into its place in a tile of `rows` rows; x_tile points at the row's group 0. */
static void qd8_quantize_row(qd8_act *x_tile, size_t rows, dlx_qd8_row *record, const float *x, size_t n_in)
{
    enum { CHUNK = 64 };
    _Static_assert(CHUNK % QD8_GROUP == 0 && CHUNK % VF == 0, "groups must not straddle chunks");
    float lo, hi, padded[CHUNK];
    qd8_act act[CHUNK];
    bool finite = row_range(&lo, &hi, x, n_in);
    dlx_qd8_map map = dlx_qd8_map_of(lo, hi, finite);
    vi shift = vi_set1(QD8_CENTERED ? 0 : map.row.zero_point + QD8_OFFSET);
    for (size_t k = 0; k < n_in; k += CHUNK) {
        const float *source = x + k;
        if (n_in - k < CHUNK) {
            memset(padded, 0, sizeof padded);
            memcpy(padded, x + k, (n_in - k) * sizeof *x);
            source = padded;
        }
        for (size_t i = 0; i < CHUNK; i += VF) qd8_store(act + i, quantize_vf(vf_load(source + i), &map, shift));
        size_t groups = min_size(CHUNK / QD8_GROUP, qd8_groups(n_in - k));
        for (size_t g = 0; g < groups; g++, x_tile += rows * QD8_GROUP)
            memcpy(x_tile, act + g * QD8_GROUP, QD8_GROUP * sizeof *act);
    }
    *record = map.row;
}

static void qd8_quantize(void *quantized, const float *x, size_t x_stride, size_t total_rows, size_t n_in,
                         size_t row_begin, size_t row_end)
{
    for (size_t m = row_begin; m < row_end; m++) {
        size_t t = m / TILE_ROWS, i = m % TILE_ROWS, rows = min_size(TILE_ROWS, total_rows - t * TILE_ROWS);
        uint8_t *tile = (uint8_t *)quantized + t * qd8_tile_bytes(TILE_ROWS, n_in);
        qd8_quantize_row((qd8_act *)(void *)(tile + QD8_RECORDS) + i * QD8_GROUP, rows, (dlx_qd8_row *)(void *)tile + i,
                         x + m * x_stride, n_in);
    }
}

typedef struct qd8_tile_args {
    float *y;
    size_t y_stride;
    const uint8_t *tile;  /* quantised activations */
    const uint8_t *panel; /* packed weights */
    size_t groups;
    size_t weight_bytes;
    const uint8_t *next; /* weights wanted soon, requested along the way; `panel` when there are none */
    size_t next_step;    /* bytes of them per group */
} qd8_tile_args;

/* `rows` is a constant wherever this is inlined. */
DLX_INLINE void qd8_tile(const qd8_tile_args *t, const size_t rows)
{
    vi acc[TILE_ROWS][TILE_VECS];
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[i][j] = vi_set1(0);
    const int8_t *w = (const int8_t *)t->panel;
    const uint8_t *next = t->next;
    const qd8_act *x = (const qd8_act *)(const void *)(t->tile + QD8_RECORDS);
    for (size_t g = t->groups; g > 0; g--) {
        qd8_weights wv[TILE_VECS];
        UNROLL for (size_t j = 0; j < TILE_VECS; j++) wv[j] = qd8_load_weights(w, j);
        prefetch_l2(next);
        if (QD8_GROUP_BYTES > 64 && t->next_step > 64) prefetch_l2(next + 64);
        UNROLL for (size_t i = 0; i < rows; i++)
        {
            qd8_inputs xv = qd8_load_inputs(x + i * QD8_GROUP);
            UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[i][j] = qd8_dot(acc[i][j], wv[j], xv);
        }
        w += QD8_GROUP_BYTES;
        next += t->next_step;
        x += rows * QD8_GROUP;
    }
    const dlx_qd8_row *row = (const dlx_qd8_row *)(const void *)t->tile;
    const int32_t *sums = (const int32_t *)(const void *)(t->panel + t->weight_bytes);
    const float *scales = (const float *)sums + PANEL, *biases = scales + PANEL;
    UNROLL for (size_t i = 0; i < rows; i++)
    {
        vf row_scale = vf_set1(row[i].scale);
        vi zero = vi_set1(row[i].zero_point + QD8_OFFSET);
        UNROLL for (size_t j = 0; j < TILE_VECS; j++)
        {
            vi sum = QD8_CENTERED ? acc[i][j] : vi_sub(acc[i][j], vi_mul(zero, vi_load(sums + j * VF)));
            vf v = vf_fma(vf_mul(vi_to_vf(sum), row_scale), vf_load(scales + j * VF), vf_load(biases + j * VF));
            vf_store(t->y + i * t->y_stride + j * VF, v);
        }
    }
}

#define QD8_TILE_FUNCTIONS(n)                                                                                          \
    static __attribute__((noinline)) void qd8_tile_##n(const qd8_tile_args *t)                                         \
    {                                                                                                                  \
        qd8_tile(t, n);                                                                                                \
    }
EACH_TILE_ROWS(QD8_TILE_FUNCTIONS)

typedef void (*qd8_tile_fn)(const qd8_tile_args *t);
static const qd8_tile_fn qd8_tiles[TILE_ROWS] = TILE_TABLE(qd8_tile);

/* All rows of one panel. With several tiles, the first ones fetch the next panel's weights into the second-level cache,
 * at most a line per group, while they compute on this one's. A lone tile computes too little for that: it asks for
 * the weights QD8_AHEAD bytes further on, which lie in the next panel where this one ends (Sapphire Rapids, 8 rows:
 * 1.5 to 1.9 times as fast as the hardware prefetcher alone). */
static void qd8_run_panel(float *y, size_t y_stride, const uint8_t *quantized, size_t rows, const uint8_t *panel,
                          const uint8_t *next, size_t n_in, size_t columns)
{
    float buffer[TILE_ROWS * PANEL];
    size_t groups = qd8_groups(n_in), requested = 0, wanted = groups * QD8_GROUP_BYTES;
    bool lone = rows <= TILE_ROWS;
    if (lone) next = panel + QD8_AHEAD;
    for (size_t m = 0; m < rows; m += TILE_ROWS) {
        size_t n = min_size(TILE_ROWS, rows - m);
        qd8_tile_args t = {.y = columns == PANEL ? y + m * y_stride : buffer,
                           .y_stride = columns == PANEL ? y_stride : PANEL,
                           .tile = quantized,
                           .panel = panel,
                           .groups = groups,
                           .weight_bytes = qd8_panel_weight_bytes(n_in),
                           .next = requested < wanted ? next + requested : panel,
                           .next_step = lone ? QD8_GROUP_BYTES : QD8_NEXT_STEP};
        qd8_tiles[n - 1](&t);
        requested += groups * QD8_NEXT_STEP;
        quantized += qd8_tile_bytes(n, n_in);
        if (columns == PANEL) continue;
        for (size_t i = 0; i < n; i++) memcpy(y + (m + i) * y_stride, buffer + i * PANEL, columns * sizeof *y);
    }
}

static void qd8_run(float *y, size_t y_stride, const void *x, size_t x_stride, size_t rows, const void *packed,
                    dlx_gemm_shape s, size_t strip_begin, size_t strip_end)
{
    size_t panels = divide_up(s.n_out, PANEL), end = min_size(strip_end * STRIP_PANELS, panels);
    (void)x_stride;
    for (size_t p = strip_begin * STRIP_PANELS; p < end; p++) {
        const uint8_t *panel = (const uint8_t *)packed + p * qd8_panel_bytes(s.n_in);
        const uint8_t *next = p + 1 < panels ? panel + qd8_panel_bytes(s.n_in) : panel;
        float *y_panel = y + (p - strip_begin * STRIP_PANELS) * PANEL;
        qd8_run_panel(y_panel, y_stride, x, rows, panel, next, s.n_in, min_size(PANEL, s.n_out - p * PANEL));
    }
}

static void set_gemm_qd8(dlx_kernels *k)
{
    k->qd8 = (dlx_quantizer){.row_tile = TILE_ROWS, .size = qd8_quantized_size, .quantize = qd8_quantize};
    k->gemm_qd8_qc8w = (dlx_gemm){.strip = STRIP, .packed_size = qd8_packed_size, .pack = qd8_pack, .run = qd8_run};
}
