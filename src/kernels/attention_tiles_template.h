/*
 * Template: the register tiles of attention. Included once by each instruction set's file, after tile_template.h and
 * before attention_template.h.
 *
 * Score tiles take the dot products of some keys with one panel of queries, which is as wide as a tile of the matrix
 * products, or one vector where there are fewer queries, or half of one where that is faster (NARROW_VECTORS, the type
 * nf): so the work follows the number of queries. Value tiles add value rows of any type to the sums of up to
 * TILE_ROWS queries; the fewer the queries, the more columns. Either way there are enough independent chains to keep
 * the multipliers busy.
 *
 * Whatever the tile, an output is one chain of fused multiply-adds in the order of the inputs.
 */
enum {
    LANE_ROWS = 8, /* keys of a score tile one vector wide */
    REQUESTS = 16, /* rows that a score tile requests */
    FEW_ROWS = 3,  /* value tiles of up to as many queries are wider than a panel where there are columns */
    MOST_VALUE_VECS = 8,
};

/* y[i][j] = sum over s in [0, depth) of x[i * x_row + s] * w[s * width + j], i: keys, j: queries. Along the way it
 * requests a line of a row in each step, of each of `request` in turn, then the lines request_step bytes behind. */
typedef struct score_tile_args {
    float *y; /* [keys][width] */
    const float *x;
    size_t x_row;
    const float *w;
    size_t depth;
    const uint8_t *const *request; /* [REQUESTS] */
    size_t request_step;
} score_tile_args;

typedef void (*score_tile_fn)(const score_tile_args *t);

/* A tile of `rows` x `vecs` vectors of type v, `lanes` each. Four keys share a register for their address. */
#define SCORE_TILE(name, v, lanes, rows, vecs)                                                                         \
    static __attribute__((noinline)) void name(const score_tile_args *t)                                               \
    {                                                                                                                  \
        v acc[rows][vecs], wv[vecs];                                                                                   \
        const float *w = t->w, *x[(rows + 3) / 4];                                                                     \
        const size_t x_row = t->x_row;                                                                                 \
        size_t depth = t->depth;                                                                                       \
        UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < vecs; j++) acc[i][j] = v##_set1(0.0f);  \
        UNROLL for (size_t i = 0; i < rows; i += 4) x[i / 4] = t->x + i * x_row;                                       \
        for (size_t offset = 0; depth > 0; offset += t->request_step) {                                                \
            size_t steps = min_size(depth, REQUESTS);                                                                  \
            depth -= steps;                                                                                            \
            for (size_t s = 0; s < steps; s++) {                                                                       \
                prefetch_l2(t->request[s] + offset);                                                                   \
                UNROLL for (size_t j = 0; j < vecs; j++) wv[j] = v##_load(w + j * lanes);                              \
                UNROLL for (size_t i = 0; i < rows; i++)                                                               \
                {                                                                                                      \
                    v xv = v##_set1(x[i / 4][i % 4 * x_row]);                                                          \
                    UNROLL for (size_t j = 0; j < vecs; j++) acc[i][j] = v##_fma(xv, wv[j], acc[i][j]);                \
                }                                                                                                      \
                UNROLL for (size_t i = 0; i < rows; i += 4) x[i / 4]++;                                                \
                w += vecs * lanes;                                                                                     \
            }                                                                                                          \
        }                                                                                                              \
        UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < vecs; j++)                              \
            v##_store(t->y + (i * vecs + j) * lanes, acc[i][j]);                                                       \
    }

#define PANEL_SCORE_TILE(n) SCORE_TILE(panel_score_tile_##n, vf, VF, n, TILE_VECS)
EACH_TILE_ROWS(PANEL_SCORE_TILE)
static const score_tile_fn panel_score_tiles[TILE_ROWS] = TILE_TABLE(panel_score_tile);

#define LANE_SCORE_TILES(v, lanes)                                                                                     \
    SCORE_TILE(v##_score_tile_1, v, lanes, 1, 1)                                                                       \
    SCORE_TILE(v##_score_tile_2, v, lanes, 2, 1)                                                                       \
    SCORE_TILE(v##_score_tile_3, v, lanes, 3, 1)                                                                       \
    SCORE_TILE(v##_score_tile_4, v, lanes, 4, 1)                                                                       \
    SCORE_TILE(v##_score_tile_5, v, lanes, 5, 1)                                                                       \
    SCORE_TILE(v##_score_tile_6, v, lanes, 6, 1)                                                                       \
    SCORE_TILE(v##_score_tile_7, v, lanes, 7, 1)                                                                       \
    SCORE_TILE(v##_score_tile_8, v, lanes, 8, 1)                                                                       \
    static const score_tile_fn v##_score_tiles[LANE_ROWS] = {                                                          \
        v##_score_tile_1, v##_score_tile_2, v##_score_tile_3, v##_score_tile_4,                                        \
        v##_score_tile_5, v##_score_tile_6, v##_score_tile_7, v##_score_tile_8,                                        \
    };
LANE_SCORE_TILES(vf, VF)
#if NARROW_VECTORS
LANE_SCORE_TILES(nf, NF)
#endif

/* y[i][j] = start[i][j] + sum over s in [0, depth) of x[s * x_step + i] * w[s][j], i: queries, s: keys. */
typedef struct value_tile_args {
    float *y;
    size_t y_stride;
    bool add; /* start is y; otherwise zeros */
    const float *x;
    size_t x_step;
    const void *w;        /* rows w_step bytes apart */
    const uint8_t *scale; /* kv8: the record of the first row, w_step apart as well */
    size_t w_step, depth;
} value_tile_args;

typedef void (*value_tile_fn)(const value_tile_args *t);

typedef enum value_type { VALUES_F32, VALUES_F16, VALUES_KV8, VALUE_TYPES } value_type;

DLX_INLINE vf load_value(const void *w, size_t i, const value_type type, vf scale)
{
    if (type == VALUES_KV8) return vf_mul(vi_to_vf(vi_load_i8((const int8_t *)w + i)), scale);
    return type == VALUES_F16 ? vf_load_f16((const uint16_t *)w + i) : vf_load((const float *)w + i);
}

/* The arguments behind `t` are constants wherever this is inlined. */
DLX_INLINE void value_tile(const value_tile_args *t, const size_t rows, const size_t vecs, const value_type type)
{
    vf acc[TILE_ROWS][MOST_VALUE_VECS], wv[MOST_VALUE_VECS];
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < vecs; j++) acc[i][j] =
        t->add ? vf_load(t->y + i * t->y_stride + j * VF) : vf_set1(0.0f);
    const uint8_t *w = t->w, *record = t->scale;
    const float *x = t->x;
    const size_t x_step = t->x_step, w_step = t->w_step;
    vf scale = vf_set1(0.0f);
    for (size_t s = t->depth; s > 0; s--) {
        if (type == VALUES_KV8) {
            scale = vf_set1(dlx_kv8_scale(record));
            record += w_step;
        }
        UNROLL for (size_t j = 0; j < vecs; j++) wv[j] = load_value(w, j * VF, type, scale);
        UNROLL for (size_t i = 0; i < rows; i++)
        {
            vf xv = vf_set1(x[i]);
            UNROLL for (size_t j = 0; j < vecs; j++) acc[i][j] = vf_fma(xv, wv[j], acc[i][j]);
        }
        w += w_step;
        x += x_step;
    }
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < vecs; j++)
        vf_store(t->y + i * t->y_stride + j * VF, acc[i][j]);
}

#define VALUE_TILE(name, rows, vecs, type)                                                                             \
    static __attribute__((noinline)) void name(const value_tile_args *t)                                               \
    {                                                                                                                  \
        value_tile(t, rows, vecs, type);                                                                               \
    }
#define F32_VALUE_TILE(n) VALUE_TILE(f32_value_tile_##n, n, TILE_VECS, VALUES_F32)
#define F16_VALUE_TILE(n) VALUE_TILE(f16_value_tile_##n, n, TILE_VECS, VALUES_F16)
#define KV8_VALUE_TILE(n) VALUE_TILE(kv8_value_tile_##n, n, TILE_VECS, VALUES_KV8)
EACH_TILE_ROWS(F32_VALUE_TILE)
EACH_TILE_ROWS(F16_VALUE_TILE)
EACH_TILE_ROWS(KV8_VALUE_TILE)
#define WIDE_VALUE_TILES(name, type)                                                                                   \
    VALUE_TILE(name##_1x4, 1, 4, type)                                                                                 \
    VALUE_TILE(name##_2x4, 2, 4, type)                                                                                 \
    VALUE_TILE(name##_3x4, 3, 4, type)                                                                                 \
    VALUE_TILE(name##_1x8, 1, 8, type)
WIDE_VALUE_TILES(f32_value_tile, VALUES_F32)
WIDE_VALUE_TILES(f16_value_tile, VALUES_F16)
WIDE_VALUE_TILES(kv8_value_tile, VALUES_KV8)

/* The tile for `rows` queries and as many of `columns` columns, a multiple of PANEL, as it takes: *taken. */
static value_tile_fn value_tile_of(size_t rows, size_t columns, value_type type, size_t *taken)
{
    static const value_tile_fn panel[VALUE_TYPES][TILE_ROWS] = {TILE_TABLE(f32_value_tile), TILE_TABLE(f16_value_tile),
                                                                TILE_TABLE(kv8_value_tile)};
    static const value_tile_fn wide[VALUE_TYPES][FEW_ROWS] = {
        {f32_value_tile_1x4, f32_value_tile_2x4, f32_value_tile_3x4},
        {f16_value_tile_1x4, f16_value_tile_2x4, f16_value_tile_3x4},
        {kv8_value_tile_1x4, kv8_value_tile_2x4, kv8_value_tile_3x4}};
    static const value_tile_fn widest[VALUE_TYPES] = {f32_value_tile_1x8, f16_value_tile_1x8, kv8_value_tile_1x8};
    if (rows == 1 && columns >= 8 * VF) {
        *taken = 8 * VF;
        return widest[type];
    }
    if (rows <= FEW_ROWS && columns >= 4 * VF) {
        *taken = 4 * VF;
        return wide[type][rows - 1];
    }
    *taken = PANEL;
    return panel[type][rows - 1];
}
