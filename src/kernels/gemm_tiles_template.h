/*
 * Template: products of quantised rows with int8 weights on a unit of matrix tiles (amx_tiles.h). Included by
 * gemm_qd8_template.h where QD8_CHUNKED says so, in place of its own loops; layouts and what follows the sums are its.
 *
 * A chunk of a block of activations is an operand as it lies there, and so are 16 steps of 16 columns of packed
 * weights, as vpdpbusd reads them too: [step][column][4]. Sums come out by rows. At a time two blocks and a panel are
 * multiplied: four tiles of sums, which hides the latency of a product, two of activations, two of weights. Full tiles
 * are what the unit is made for; fewer rows are smaller tiles of activations and sums.
 */
enum {
    TILES_STEPS = QD8_CHUNK / QD8_GROUP, /* of a chunk */
    TILES_CHUNK = TILES_STEPS * QD8_STEP_BYTES,
    TILES_Y = PANEL * sizeof(int32_t), /* bytes of a row of sums */
};
_Static_assert((int)QD8_BLOCK == (int)AMX_ROWS && (int)TILES_STEPS == (int)AMX_ROWS &&
                   (int)QD8_CHUNK == (int)AMX_ROW_BYTES && (int)QD8_STEP_BYTES == 2 * (int)AMX_ROW_BYTES,
               "operands are full tiles");
_Static_assert(!QD8_SPLIT && QD8_OFFSET == 128, "unsigned bytes by signed ones");

/* Registers for this many rows of activations: 0 and 1 are sums of the first block, 2 and 3 of the second, 4 and 5 the
 * blocks, 6 and 7 the weights. */
static void tiles_configure(size_t rows)
{
    const uint8_t first = (uint8_t)min_size(rows, QD8_BLOCK), second = (uint8_t)(rows - first);
    amx_config c = {.palette = 1, .rows = {first, first, second, second, first, second, AMX_ROWS, AMX_ROWS}};
    for (size_t i = 0; i < AMX_TILES; i++) c.bytes[i] = c.rows[i] ? AMX_ROW_BYTES : 0;
    amx_configure(&c);
}

/* [row][column of the panel]. `two` is a constant wherever this is inlined: there is a second block. */
DLX_INLINE void tiles_sums(int32_t *sums, const qd8_tile_args *t, const bool two)
{
    const uint8_t *w = t->panel, *next = t->next, *x = t->x, *x2 = x + qd8_block_bytes(QD8_BLOCK, t->n_in);
    const size_t next_chunk = TILES_STEPS * t->next_step, rows = min_size(t->rows, QD8_BLOCK), rows2 = t->rows - rows;
    if (*t->configured != t->rows) tiles_configure(t->rows);
    *t->configured = t->rows;
    AMX_ZERO(0);
    AMX_ZERO(1);
    if (two) {
        AMX_ZERO(2);
        AMX_ZERO(3);
    }
    for (size_t n = t->steps / TILES_STEPS; n > 0; n--) {
        AMX_LOAD(6, w, QD8_STEP_BYTES);
        AMX_LOAD(4, x, QD8_ROW);
        AMX_DOT(0, 4, 6);
        AMX_LOAD(7, w + AMX_ROW_BYTES, QD8_STEP_BYTES);
        AMX_DOT(1, 4, 7);
        if (two) {
            AMX_LOAD(5, x2, QD8_ROW);
            AMX_DOT(2, 5, 6);
            AMX_DOT(3, 5, 7);
            x2 += rows2 * QD8_ROW;
        }
        UNROLL for (size_t i = 0; i < TILES_STEPS; i++) prefetch_l2(next + i * 64);
        if (t->next_step > 64) UNROLL for (size_t i = TILES_STEPS; i < 2 * TILES_STEPS; i++) prefetch_l2(next + i * 64);
        w += TILES_CHUNK;
        x += rows * QD8_ROW;
        next += next_chunk;
    }
    AMX_STORE(0, sums, TILES_Y);
    AMX_STORE(1, sums + VF, TILES_Y);
    if (two) {
        AMX_STORE(2, sums + QD8_BLOCK * PANEL, TILES_Y);
        AMX_STORE(3, sums + QD8_BLOCK * PANEL + VF, TILES_Y);
    }
}

/* The functions for one block and for two, and `run`. */
#define TILES_RUN(name)                                                                                                \
    DLX_INLINE void name##_blocks(const qd8_tile_args *t, const bool two)                                              \
    {                                                                                                                  \
        _Alignas(64) int32_t sums[QD8_MOST_ROWS * PANEL];                                                              \
        qd8_tile_args part = *t;                                                                                       \
        tiles_sums(sums, t, two);                                                                                      \
        for (size_t m = 0; m < t->rows; m++) {                                                                         \
            const int32_t *of = sums + m * PANEL;                                                                      \
            const vi acc[TILE_VECS] = {vi_load(of), vi_load(of + VF)};                                                 \
            if (m == QD8_BLOCK) {                                                                                      \
                part.tile += qd8_block_bytes(QD8_BLOCK, t->n_in);                                                      \
                part.y += QD8_BLOCK * t->y_stride;                                                                     \
            }                                                                                                          \
            name##_row(&part, m % QD8_BLOCK, acc);                                                                     \
        }                                                                                                              \
    }                                                                                                                  \
    static __attribute__((noinline)) void name##_one(const qd8_tile_args *t)                                           \
    {                                                                                                                  \
        name##_blocks(t, false);                                                                                       \
    }                                                                                                                  \
    static __attribute__((noinline)) void name##_two(const qd8_tile_args *t)                                           \
    {                                                                                                                  \
        name##_blocks(t, true);                                                                                        \
    }                                                                                                                  \
    static void name##_run(float *y, size_t y_stride, const void *x, size_t x_stride, size_t rows, const void *packed, \
                           dlx_gemm_shape s, size_t begin, size_t end)                                                 \
    {                                                                                                                  \
        static const qd8_tile_fn blocks[] = {name##_one, name##_two};                                                  \
        size_t configured = 0;                                                                                         \
        (void)x_stride;                                                                                                \
        qd8_call c = {.quantized = x, .rows = rows, .s = s, .layout = name##_layout(s), .configured = &configured};    \
        c.pitch = QD8_MOST_ROWS, c.each = QD8_BLOCK, c.tiles = blocks;                                                 \
        qd8_run_strips(y, y_stride, &c, packed, begin, end);                                                           \
        if (configured) amx_release();                                                                                 \
    }

TILES_RUN(qc8)
TILES_RUN(qs8)
