/*
 * Template: matrix products of float rows, with float, half, bfloat16 and int8 weights. Included once by each
 * instruction set's file, after tile_template.h.
 *
 * Packed weights: panels of PANEL output columns, each [n_in][PANEL] weights, then at the next multiple of 64 bytes
 * PANEL biases and PANEL scales (1 where weights have none); columns beyond the matrix are zeros. Each output is one
 * chain of fused multiply-adds in the order of the inputs, scale and bias last, so its bits depend neither on the tile
 * nor on the vector width. (Sets without fused steps round products.) Inputs are taken in slices that keep a panel's
 * slice in the second-level cache while all rows pass over it; between slices the partial sums rest in y, which is
 * exact.
 */
enum { F32_AHEAD = 8192 }; /* bytes ahead that a lone tile asks for, as in gemm_qd8_template.h */
enum { F32_SLICE = 512 };  /* inputs of a slice: 64 KB of a 32-column panel of floats */

/* Kinds of weights: constants wherever they are used. */
enum { F32W, F16W, BF16W, I8W };

DLX_INLINE size_t f32_element(const int kind)
{
    return kind == F32W ? 4 : kind == I8W ? 1 : 2;
}

/* Bytes from one request for weights to the next, one in each step. Two lines for floats, so that two tiles share the
 * requests and memory has the time of both (AVX2 on Zen 4, 8 rows: 1.7 times as fast; where a step takes one line, each
 * line is asked for twice). */
DLX_INLINE size_t f32_stride(const int kind)
{
    return kind == F32W ? 128 : PANEL * f32_element(kind);
}

/* Vector j of the PANEL weights at w. */
DLX_INLINE vf f32_load_weights(const uint8_t *w, size_t j, const int kind)
{
    const void *p = w + j * VF * f32_element(kind);
    if (kind == F16W) return vf_load_f16(p);
    if (kind == BF16W) return vf_load_bf16(p);
    if (kind == I8W) return vi_to_vf(vi_load_i8(p));
    return vf_load(p);
}

DLX_INLINE vf f32_output(vf sum, const float *columns, size_t j, const int kind)
{
    vf bias = vf_load(columns + j * VF);
    return kind == I8W ? vf_fma(sum, vf_load(columns + PANEL + j * VF), bias) : vf_add(sum, bias);
}

/* For a tile of up to TILE_ROWS x PANEL outputs: y[i][j] = start[i][j] + the sum over s in [0, depth) of
 * x[i * x_row + s] * w[s][j], brought to its scale and bias where it is complete. */
typedef struct f32_tile_args {
    float *y;
    size_t y_stride;
    const float *start; /* rows y_stride apart; NULL: zeros */
    const float *x;
    size_t x_row;
    const uint8_t *w;
    size_t depth;
    const float *columns; /* biases and scales; NULL: sums are not complete */
    const uint8_t *next;  /* requested along the way, one line per step */
    size_t next_step;     /* from one to the next: 0 or f32_stride, and always that but for floats */
} f32_tile_args;

/* `rows` and `kind` are constants wherever this is inlined. */
DLX_INLINE void f32_tile(const f32_tile_args *t, const size_t rows, const int kind)
{
    vf acc[TILE_ROWS][TILE_VECS];
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[i][j] =
        t->start ? vf_load(t->start + i * t->y_stride + j * VF) : vf_set1(0.0f);
    const uint8_t *w = t->w, *next = t->next;
    const float *x = t->x;
    const size_t x_row = t->x_row;
    for (size_t s = t->depth; s > 0; s--) {
        vf wv[TILE_VECS];
        UNROLL for (size_t j = 0; j < TILE_VECS; j++) wv[j] = f32_load_weights(w, j, kind);
        prefetch_l2(next);
        UNROLL for (size_t i = 0; i < rows; i++)
        {
            vf xv = vf_set1(x[i * x_row]);
            UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[i][j] = vf_fma(xv, wv[j], acc[i][j]);
        }
        w += PANEL * f32_element(kind);
        next += kind == F32W ? t->next_step : f32_stride(kind);
        x++;
    }
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++)
    {
        vf v = t->columns ? f32_output(acc[i][j], t->columns, j, kind) : acc[i][j];
        vf_store(t->y + i * t->y_stride + j * VF, v);
    }
}

typedef void (*f32_tile_fn)(const f32_tile_args *t);

#define F32_TILE_OF(n, kind)                                                                                           \
    static __attribute__((noinline)) void f32_tile_##kind##_##n(const f32_tile_args *t)                                \
    {                                                                                                                  \
        f32_tile(t, n, kind);                                                                                          \
    }
#define F32W_TILE(n)  F32_TILE_OF(n, F32W)
#define F16W_TILE(n)  F32_TILE_OF(n, F16W)
#define BF16W_TILE(n) F32_TILE_OF(n, BF16W)
#define I8W_TILE(n)   F32_TILE_OF(n, I8W)
EACH_TILE_ROWS(F32W_TILE)
EACH_TILE_ROWS(F16W_TILE)
EACH_TILE_ROWS(BF16W_TILE)
EACH_TILE_ROWS(I8W_TILE)

static const f32_tile_fn f32_tiles[][TILE_ROWS] = {TILE_TABLE(f32_tile_F32W), TILE_TABLE(f32_tile_F16W),
                                                   TILE_TABLE(f32_tile_BF16W), TILE_TABLE(f32_tile_I8W)};

static size_t f32_weight_bytes(size_t n_in, int kind)
{
    return (size_t)dlx_align_up(n_in * PANEL * f32_element(kind), 64);
}

static size_t f32_panel_bytes(size_t n_in, int kind)
{
    return (size_t)dlx_align_up(f32_weight_bytes(n_in, kind) + 2 * PANEL * sizeof(float), 64);
}

/* `element` is a constant wherever this is inlined. */
DLX_INLINE void f32_pack_panel(uint8_t *panel, const uint8_t *rows, size_t columns, size_t n_in, const size_t element)
{
    for (size_t k = 0; k < n_in; k++, panel += PANEL * element) {
        for (size_t c = 0; c < columns; c++) memcpy(panel + c * element, rows + (c * n_in + k) * element, element);
        memset(panel + columns * element, 0, (PANEL - columns) * element);
    }
}

DLX_INLINE void f32_pack_kind(void *packed, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t strip_begin,
                              size_t strip_end, const int kind)
{
    size_t end = min_size(strip_end * STRIP_PANELS, divide_up(s.n_out, PANEL));
    for (size_t p = strip_begin * STRIP_PANELS; p < end; p++) {
        uint8_t *panel = (uint8_t *)packed + p * f32_panel_bytes(s.n_in, kind);
        float *biases = (float *)(void *)(panel + f32_weight_bytes(s.n_in, kind)), *scales = biases + PANEL;
        size_t first = p * PANEL, columns = min_size(PANEL, s.n_out - first);
        f32_pack_panel(panel, (const uint8_t *)w->w + (first - w->first) * s.n_in * f32_element(kind), columns, s.n_in,
                       f32_element(kind));
        for (size_t c = 0; c < PANEL; c++) {
            biases[c] = c < columns && w->bias ? w->bias[first + c] : 0.0f;
            scales[c] = c < columns && w->scale ? w->scale[first + c] : 1.0f;
        }
    }
}

DLX_INLINE void f32_unpack_kind(uint8_t *row, const uint8_t *packed, size_t n_in, size_t n, const int kind)
{
    const size_t element = f32_element(kind);
    packed += n / PANEL * f32_panel_bytes(n_in, kind) + n % PANEL * element;
    for (size_t k = 0; k < n_in; k++, packed += PANEL * element) memcpy(row + k * element, packed, element);
}

/* Rows and weights of a call. */
typedef struct f32_call {
    const float *x;
    size_t x_stride, rows, n_in;
} f32_call;

/* One panel whose columns are all real. While the last tiles pass over a slice, they request the one that follows in
 * memory, a line of each step per tile, so that its first tile does not wait for all of it. */
DLX_INLINE void f32_run_panel(float *y, size_t y_stride, const f32_call *c, const uint8_t *panel, const int kind)
{
    const size_t step = PANEL * f32_element(kind), lines = f32_stride(kind) > 64 ? f32_stride(kind) / 64 : 1;
    /* Tiles of about equal height: with at most 6 rows to a tile, 8 rows are 4 + 4, not 6 + 2. */
    size_t tiles = divide_up(c->rows, TILE_ROWS), height = divide_up(c->rows, tiles);
    const bool lone = tiles == 1;
    size_t slice = lone ? c->n_in : F32_SLICE;
    const float *columns = (const float *)(const void *)(panel + f32_weight_bytes(c->n_in, kind));
    size_t k = 0;
    do {
        size_t depth = min_size(slice, c->n_in - k);
        for (size_t i = 0; i < tiles; i++) {
            const uint8_t *w = panel + k * step;
            float *y_tile = y + i * height * y_stride;
            f32_tile_args t = {.y = y_tile,
                               .y_stride = y_stride,
                               .start = k > 0 ? y_tile : NULL,
                               .x = c->x + i * height * c->x_stride + k,
                               .x_row = c->x_stride,
                               .w = w,
                               .depth = depth,
                               .columns = k + depth == c->n_in ? columns : NULL,
                               .next_step = lone && f32_stride(kind) > step ? 0 : f32_stride(kind),
                               .next = lone                 ? w + (kind == F32W ? 0 : F32_AHEAD)
                                       : tiles - i <= lines ? w + depth * step + (tiles - i - 1) * 64
                                                            : w};
            f32_tiles[kind][min_size(height, c->rows - i * height) - 1](&t);
        }
        k += depth;
    } while (k < c->n_in);
}

/* The last panel, short of columns: tiles are computed whole in a buffer. */
DLX_INLINE void f32_run_short_panel(float *y, size_t y_stride, const f32_call *c, const uint8_t *panel, size_t columns,
                                    const int kind)
{
    float buffer[TILE_ROWS * PANEL];
    for (size_t m = 0; m < c->rows; m += TILE_ROWS) {
        f32_call tile = *c;
        tile.x += m * c->x_stride;
        tile.rows = min_size(TILE_ROWS, c->rows - m);
        f32_run_panel(buffer, PANEL, &tile, panel, kind);
        for (size_t i = 0; i < tile.rows; i++) memcpy(y + (m + i) * y_stride, buffer + i * PANEL, columns * sizeof *y);
    }
}

/* One row of a whole strip: its panels side by side, for one panel has too few chains to keep the multipliers busy. */
DLX_INLINE void f32_run_row(float *y, const float *x, const uint8_t *panel, size_t n_in, const int kind)
{
    vf acc[STRIP_PANELS][TILE_VECS];
    const size_t bytes = f32_panel_bytes(n_in, kind);
    UNROLL for (size_t p = 0; p < STRIP_PANELS; p++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[p][j] =
        vf_set1(0.0f);
    const uint8_t *w = panel;
    for (size_t s = 0; s < n_in; s++, w += PANEL * f32_element(kind)) {
        vf xv = vf_set1(x[s]);
        if (kind != F32W) /* whose bytes come fast enough by themselves */
            UNROLL for (size_t p = 0; p < STRIP_PANELS; p++) prefetch_l2(w + p * bytes + F32_AHEAD / STRIP_PANELS);
        UNROLL for (size_t p = 0; p < STRIP_PANELS; p++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[p][j] =
            vf_fma(xv, f32_load_weights(w + p * bytes, j, kind), acc[p][j]);
    }
    UNROLL for (size_t p = 0; p < STRIP_PANELS; p++) UNROLL for (size_t j = 0; j < TILE_VECS; j++)
    {
        const uint8_t *columns = panel + p * bytes + f32_weight_bytes(n_in, kind);
        vf_store(y + p * PANEL + j * VF, f32_output(acc[p][j], (const float *)(const void *)columns, j, kind));
    }
}

DLX_INLINE void f32_run_kind(float *y, size_t y_stride, const f32_call *c, const void *packed, size_t n_out,
                             size_t strip_begin, size_t strip_end, const int kind)
{
    size_t end = min_size(strip_end * STRIP_PANELS, divide_up(n_out, PANEL));
    for (size_t p = strip_begin * STRIP_PANELS; p < end && c->rows > 0; p++) {
        const uint8_t *panel = (const uint8_t *)packed + p * f32_panel_bytes(c->n_in, kind);
        size_t columns = min_size(PANEL, n_out - p * PANEL);
        float *y_panel = y + (p - strip_begin * STRIP_PANELS) * PANEL;
        if (STRIP_PANELS > 1 && c->rows == 1 && p % STRIP_PANELS == 0 && n_out - p * PANEL >= STRIP) {
            f32_run_row(y_panel, c->x, panel, c->n_in, kind);
            p += STRIP_PANELS - 1;
        } else if (columns == PANEL) {
            f32_run_panel(y_panel, y_stride, c, panel, kind);
        } else {
            f32_run_short_panel(y_panel, y_stride, c, panel, columns, kind);
        }
    }
}

#define F32_PRODUCT(kind)                                                                                              \
    static size_t f32_packed_size_##kind(dlx_gemm_shape s)                                                             \
    {                                                                                                                  \
        return divide_up(s.n_out, PANEL) * f32_panel_bytes(s.n_in, kind);                                              \
    }                                                                                                                  \
    static void f32_pack_##kind(void *packed, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t begin, size_t end)   \
    {                                                                                                                  \
        f32_pack_kind(packed, w, s, begin, end, kind);                                                                 \
    }                                                                                                                  \
    static void f32_unpack_##kind(void *row, const void *packed, dlx_gemm_shape s, size_t n)                           \
    {                                                                                                                  \
        f32_unpack_kind(row, packed, s.n_in, n, kind);                                                                 \
    }                                                                                                                  \
    static void f32_run_##kind(float *y, size_t y_stride, const void *x, size_t x_stride, size_t rows,                 \
                               const void *packed, dlx_gemm_shape s, size_t begin, size_t end)                         \
    {                                                                                                                  \
        f32_call c = {.x = x, .x_stride = x_stride, .rows = rows, .n_in = s.n_in};                                     \
        f32_run_kind(y, y_stride, &c, packed, s.n_out, begin, end, kind);                                              \
    }
F32_PRODUCT(F32W)
F32_PRODUCT(F16W)
F32_PRODUCT(BF16W)
F32_PRODUCT(I8W)

#define F32_GEMM(kind)                                                                                                 \
    (dlx_gemm)                                                                                                         \
    {                                                                                                                  \
        .strip = STRIP, .packed_size = f32_packed_size_##kind, .pack = f32_pack_##kind, .unpack = f32_unpack_##kind,   \
        .run = f32_run_##kind                                                                                          \
    }
static void set_gemm_f32(dlx_kernels *k)
{
    k->gemm_f32 = F32_GEMM(F32W);
    k->gemm_f32_f16w = F32_GEMM(F16W);
    k->gemm_f32_bf16w = F32_GEMM(BF16W);
    k->gemm_f32_qc8w = F32_GEMM(I8W);
}
