/*
 * Template: float32 matrix product. Included once by each instruction set's file, after tile_template.h.
 *
 * Packed weights: panels of PANEL output columns, each [n_in][PANEL] floats and then PANEL biases; the last panel is
 * padded with zeros. Each output is one chain of fused multiply-adds in the order of the inputs, the bias added last,
 * so its bits depend neither on the tile nor on the vector width. Inputs are taken in slices that keep a panel's slice
 * in the second-level cache while all rows pass over it; between slices the partial sums rest in y, which is exact.
 */
enum { F32_SLICE = 512 }; /* inputs of a slice: 64 KB of a 32-column panel */

/* For a tile of up to TILE_ROWS x PANEL outputs:
 * y[i][j] = start[i][j] + sum over s in [0, depth) of x[i * x_row + s] * w[s * PANEL + j], + bias[j]. */
typedef struct f32_tile_args {
    float *y;
    size_t y_stride;
    const float *start; /* rows y_stride apart; NULL: zeros */
    const float *x;
    size_t x_row;
    const float *w;
    size_t depth;
    const float *bias; /* NULL: none */
    const float *next; /* requested along the way, one line per step, PANEL apart; w when nothing is wanted */
} f32_tile_args;

/* `rows` is a constant wherever this is inlined. */
DLX_INLINE void f32_tile(const f32_tile_args *t, const size_t rows)
{
    vf acc[TILE_ROWS][TILE_VECS];
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[i][j] =
        t->start ? vf_load(t->start + i * t->y_stride + j * VF) : vf_set1(0.0f);
    const float *w = t->w, *next = t->next, *x = t->x;
    const size_t x_row = t->x_row;
    for (size_t s = t->depth; s > 0; s--) {
        vf wv[TILE_VECS];
        UNROLL for (size_t j = 0; j < TILE_VECS; j++) wv[j] = vf_load(w + j * VF);
        prefetch_l2(next);
        UNROLL for (size_t i = 0; i < rows; i++)
        {
            vf xv = vf_set1(x[i * x_row]);
            UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[i][j] = vf_fma(xv, wv[j], acc[i][j]);
        }
        w += PANEL;
        next += PANEL;
        x++;
    }
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++)
    {
        vf v = t->bias ? vf_add(acc[i][j], vf_load(t->bias + j * VF)) : acc[i][j];
        vf_store(t->y + i * t->y_stride + j * VF, v);
    }
}

#define F32_TILE_OF(n)                                                                                                 \
    static __attribute__((noinline)) void f32_tile_##n(const f32_tile_args *t)                                         \
    {                                                                                                                  \
        f32_tile(t, n);                                                                                                \
    }
EACH_TILE_ROWS(F32_TILE_OF)

typedef void (*f32_tile_fn)(const f32_tile_args *t);
static const f32_tile_fn f32_tiles[TILE_ROWS] = TILE_TABLE(f32_tile);

static size_t f32_panel_floats(size_t n_in)
{
    return (n_in + 1) * PANEL;
}

static size_t f32_packed_size(dlx_gemm_shape s)
{
    return divide_up(s.n_out, PANEL) * f32_panel_floats(s.n_in) * sizeof(float);
}

static void f32_pack(void *packed, const dlx_gemm_weights *weights, dlx_gemm_shape s, size_t strip_begin,
                     size_t strip_end)
{
    const float *w = weights->w, *bias = weights->bias;
    size_t n_in = s.n_in, end = min_size(strip_end * STRIP_PANELS, divide_up(s.n_out, PANEL));
    for (size_t p = strip_begin * STRIP_PANELS; p < end; p++) {
        float *panel = (float *)packed + p * f32_panel_floats(n_in);
        size_t first = p * PANEL, columns = min_size(PANEL, s.n_out - first);
        const float *rows = w + (first - weights->first) * n_in;
        for (size_t k = 0; k < n_in; k++)
            for (size_t c = 0; c < PANEL; c++) panel[k * PANEL + c] = c < columns ? rows[c * n_in + k] : 0.0f;
        for (size_t c = 0; c < PANEL; c++) panel[n_in * PANEL + c] = c < columns && bias ? bias[first + c] : 0.0f;
    }
}

/* One panel whose columns are all real. While the last tiles pass over a slice, they request the one that follows in
 * memory, a line of each step per tile, so that its first tile does not wait for all of it. */
static void f32_run_panel(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows, const float *panel,
                          size_t n_in)
{
    enum { LINE = 64 / sizeof(float), LINES = PANEL > LINE ? PANEL / LINE : 1 };
    /* Tiles of about equal height: with at most 6 rows to a tile, 8 rows are 4 + 4, not 6 + 2. */
    size_t tiles = divide_up(rows, TILE_ROWS), height = divide_up(rows, tiles);
    size_t slice = tiles == 1 ? n_in : F32_SLICE;
    size_t k = 0;
    do {
        size_t depth = min_size(slice, n_in - k);
        for (size_t i = 0; i < tiles; i++) {
            const float *w = panel + k * PANEL;
            f32_tile_args t = {.y = y + i * height * y_stride,
                               .y_stride = y_stride,
                               .start = k > 0 ? y + i * height * y_stride : NULL,
                               .x = x + i * height * x_stride + k,
                               .x_row = x_stride,
                               .w = w,
                               .depth = depth,
                               .bias = k + depth == n_in ? panel + n_in * PANEL : NULL,
                               .next =
                                   tiles > 1 && tiles - i <= LINES ? w + depth * PANEL + (tiles - i - 1) * LINE : w};
            f32_tiles[min_size(height, rows - i * height) - 1](&t);
        }
        k += depth;
    } while (k < n_in);
}

/* The last panel, short of columns: tiles are computed whole in a buffer. */
static void f32_run_short_panel(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows,
                                const float *panel, size_t n_in, size_t columns)
{
    float buffer[TILE_ROWS * PANEL];
    for (size_t m = 0; m < rows; m += TILE_ROWS) {
        size_t n = min_size(TILE_ROWS, rows - m);
        f32_run_panel(buffer, PANEL, x + m * x_stride, x_stride, n, panel, n_in);
        for (size_t i = 0; i < n; i++) memcpy(y + (m + i) * y_stride, buffer + i * PANEL, columns * sizeof *y);
    }
}

static void f32_run(float *y, size_t y_stride, const void *x, size_t x_stride, size_t rows, const void *packed,
                    dlx_gemm_shape s, size_t strip_begin, size_t strip_end)
{
    size_t end = min_size(strip_end * STRIP_PANELS, divide_up(s.n_out, PANEL));
    for (size_t p = strip_begin * STRIP_PANELS; p < end && rows > 0; p++) {
        const float *panel = (const float *)packed + p * f32_panel_floats(s.n_in);
        size_t columns = min_size(PANEL, s.n_out - p * PANEL);
        float *y_panel = y + (p - strip_begin * STRIP_PANELS) * PANEL;
        if (columns == PANEL)
            f32_run_panel(y_panel, y_stride, x, x_stride, rows, panel, s.n_in);
        else
            f32_run_short_panel(y_panel, y_stride, x, x_stride, rows, panel, s.n_in, columns);
    }
}

static void set_gemm_f32(dlx_kernels *k)
{
    k->gemm_f32 = (dlx_gemm){.strip = STRIP, .packed_size = f32_packed_size, .pack = f32_pack, .run = f32_run};
}
