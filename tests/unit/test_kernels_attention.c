/* Attention of every instruction set against the reference; results independent of the other rows, of how keys are cut
 * into pieces, of their element type, of hidden keys and of the instruction set. */
#include "kernels_check.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct geometry {
    size_t heads, kv_heads, head_dim;
} geometry;

static const geometry geometries[] = {{1, 1, 16}, {6, 2, 16},  {7, 1, 16}, {12, 2, 128}, {4, 4, 64},
                                      {3, 1, 80}, {8, 8, 24},  {2, 1, 5},  {32, 4, 32},  {9, 3, 1},
                                      {40, 1, 8}, {2, 2, 256}, {8, 8, 128}}; /* the last: rows of floats 4096 bytes
                                                                                apart */
enum { GEOMETRIES = sizeof geometries / sizeof geometries[0] };

enum { MOST_PIECES = 40 };

typedef struct attention_case {
    dlx_attention_args a; /* without the pieces, since a case is copied */
    dlx_kv_piece piece[MOST_PIECES];
    guarded out, q, k[MOST_PIECES], v[MOST_PIECES];
    int32_t *visible;
    size_t keys;
} attention_case;

static const dlx_dtype kv_types[] = {DLX_F32, DLX_F16, DLX_I8};
enum { KV_TYPES = sizeof kv_types / sizeof kv_types[0], MOST_DIM = 256 };

static size_t element_size(dlx_dtype type)
{
    return type == DLX_I8 ? 1 : type == DLX_F16 ? sizeof(uint16_t) : sizeof(float);
}

/* Elements of what one row has of one head. */
static size_t head_width(dlx_dtype type, size_t dim)
{
    return type == DLX_I8 ? 2 + dim : dim;
}

static size_t row_width(dlx_dtype type, geometry g)
{
    return g.kv_heads * head_width(type, g.head_dim);
}

/* What row `row` has of a head. */
static void *head_of(void *base, dlx_dtype type, size_t stride, size_t row, size_t head, size_t dim)
{
    return (uint8_t *)base + (row * stride + head * head_width(type, dim)) * element_size(type);
}

/* The record of numbers, by the words of the rule and in double. */
static void store_record(uint8_t *at, const float *x, size_t dim)
{
    double most = 0;
    for (size_t d = 0; d < dim; d++)
        if (fabs((double)x[d]) > most) most = fabs((double)x[d]);
    uint16_t bits = dlx_f32_to_bf16((float)(most / 127));
    double scale = (double)dlx_bf16_to_f32(bits);
    memcpy(at, &bits, sizeof bits);
    for (size_t d = 0; d < dim; d++) at[2 + d] = (uint8_t)(int8_t)(scale > 0 ? rint((double)x[d] / scale) : 0);
}

static void store_head(void *at, dlx_dtype type, const float *x, size_t dim)
{
    if (type == DLX_I8)
        store_record(at, x, dim);
    else if (type == DLX_F32)
        memcpy(at, x, dim * sizeof *x);
    else
        for (size_t d = 0; d < dim; d++) ((uint16_t *)at)[d] = dlx_f32_to_f16(x[d]);
}

static float number_of(const void *head, dlx_dtype type, size_t d)
{
    uint16_t bits;
    if (type == DLX_F32) return ((const float *)head)[d];
    if (type == DLX_F16) return dlx_f16_to_f32(((const uint16_t *)head)[d]);
    memcpy(&bits, head, sizeof bits);
    return (float)((const int8_t *)head)[2 + d] * dlx_bf16_to_f32(bits);
}

static void store_rows(rng *r, void *base, dlx_dtype type, size_t rows, size_t stride, geometry g)
{
    float x[MOST_DIM];
    for (size_t i = 0; i < rows; i++)
        for (size_t h = 0; h < g.kv_heads; h++) {
            fill(r, x, g.head_dim, FILL_PLAIN);
            store_head(head_of(base, type, stride, i, h, g.head_dim), type, x, g.head_dim);
        }
}

/* Rows of a type, anywhere in memory that its alignment allows. */
static guarded rows_new(rng *r, dlx_dtype type, size_t rows, size_t stride, geometry g)
{
    size_t size = element_size(type), n = rows ? (rows - 1) * stride + row_width(type, g) : 0;
    guarded memory = guarded_new(n * size, size * rng_below(r, 64 / size));
    store_rows(r, memory.p, type, rows, stride, g);
    return memory;
}

/* Keys are cut into `pieces` parts at random places, each of a random type; parts may be empty. */
static attention_case case_new(rng *r, geometry g, size_t rows, size_t keys, size_t pieces, float sharpness)
{
    attention_case c = {.keys = keys};
    dlx_attention_args *a = &c.a;
    *a = (dlx_attention_args){.rows = rows,
                              .heads = g.heads,
                              .kv_heads = g.kv_heads,
                              .head_dim = g.head_dim,
                              .scale = sharpness / sqrtf((float)g.head_dim),
                              .pieces = pieces};
    a->q_stride = g.heads * g.head_dim + rng_below(r, 3);
    a->out_stride = g.heads * g.head_dim + rng_below(r, 3);
    c.q = guarded_new(((rows - 1) * a->q_stride + g.heads * g.head_dim) * sizeof(float), 4 * rng_below(r, 16));
    c.out = guarded_new(((rows - 1) * a->out_stride + g.heads * g.head_dim) * sizeof(float), 4 * rng_below(r, 16));
    fill(r, c.q.p, c.q.n / sizeof(float), FILL_PLAIN);
    size_t left = keys;
    for (size_t i = 0; i < pieces; i++) {
        dlx_kv_piece *p = &c.piece[i];
        p->type = kv_types[rng_below(r, KV_TYPES)];
        p->rows = i + 1 == pieces ? left : rng_below(r, (left < 3 * keys / pieces ? left : 3 * keys / pieces) + 1);
        left -= p->rows;
        p->row_stride = row_width(p->type, g) + rng_below(r, 2) * 3;
        c.k[i] = rows_new(r, p->type, p->rows, p->row_stride, g);
        c.v[i] = rows_new(r, p->type, p->rows, p->row_stride, g);
        p->k = c.k[i].p;
        p->v = c.v[i].p;
    }
    c.visible = malloc(rows * sizeof *c.visible);
    assert_non_null(c.visible);
    for (size_t i = 0; i < rows; i++) c.visible[i] = 1 + (int32_t)rng_below(r, keys);
    a->visible = c.visible;
    a->q = c.q.p;
    a->out = c.out.p;
    return c;
}

static void case_free(attention_case *c)
{
    guarded_free(&c->q);
    guarded_free(&c->out);
    for (size_t i = 0; i < c->a.pieces; i++) {
        guarded_free(&c->k[i]);
        guarded_free(&c->v[i]);
    }
    free(c->visible);
}

/* Computes rows [begin, end) of all heads, `tile` rows a call, and returns their outputs packed ([rows][heads * dim]).
 */
static float *run(const dlx_kernels *k, const attention_case *c, size_t begin, size_t end, size_t tile)
{
    dlx_attention_args args = c->a;
    const dlx_attention_args *a = &args;
    args.piece = c->piece;
    size_t width = a->heads * a->head_dim;
    guarded scratch = guarded_new(k->attention_scratch(tile, c->keys, a->heads, a->kv_heads, a->head_dim), 0);
    for (size_t h = a->kv_heads; h-- > 0;)
        for (size_t r = begin; r < end; r += tile) k->attention(a, h, r, r + tile < end ? r + tile : end, scratch.p);
    guarded_free(&scratch);
    guarded_check(&c->out);
    float *packed = malloc((end - begin) * width * sizeof(float));
    assert_non_null(packed);
    for (size_t r = begin; r < end; r++) {
        memcpy(packed + (r - begin) * width, a->out + r * a->out_stride, width * sizeof(float));
        memset(a->out + r * a->out_stride, 0xEE, width * sizeof(float));
    }
    return packed;
}

/* Values are below 3.3, and e^x and the sums are good to a few 2^-24. A score is a chain of head_dim fused steps whose
 * partial sums are near 2 * sqrt(head_dim): its rounding errors, scaled, come to about sharpness * sqrt(head_dim) *
 * 2^-24 and pass into the probabilities; the bound allows five times that, twice over for the sum, times the values. */
static void check_outputs(const float *y, const float *expected, size_t n, size_t head_dim, float sharpness)
{
    double bound = 4e-6 + 2e-6 * sqrt((double)head_dim) * (double)sharpness;
    for (size_t i = 0; i < n; i++) check_close("attention", i, y[i], expected[i], bound);
}

/* The sets of this CPU, but for those that leave attention to one before them. */
static size_t attention_kernels(dlx_kernels out[8])
{
    dlx_kernels all[8];
    size_t count = all_kernels(all), have = 0;
    for (size_t i = 0; i < count; i++) {
        const dlx_kernels *k = &all[i];
        bool known = false;
        for (size_t j = 0; j < have; j++)
            known |= out[j].attention == k->attention && out[j].attention_scratch == k->attention_scratch &&
                     out[j].attention_queries == k->attention_queries;
        if (!known) out[have++] = *k;
    }
    assert_true(have > 1); /* the reference, and what this CPU does better */
    return have;
}

static void check_case(const dlx_kernels *k, size_t count, rng *r, geometry g, size_t rows, size_t keys,
                       float sharpness)
{
    attention_case c = case_new(r, g, rows, keys, 1 + rng_below(r, rng_below(r, 4) ? 3 : MOST_PIECES), sharpness);
    size_t n = rows * g.heads * g.head_dim;
    float *expected = run(&k[0], &c, 0, rows, rows), *first = NULL;
    for (size_t i = 1; i < count; i++) {
        size_t tile = 1 + rng_below(r, 32);
        float *y = run(&k[i], &c, 0, rows, tile);
        check_outputs(y, expected, n, g.head_dim, sharpness);
        if (first) check_bits(k[i].name, y, first, n * sizeof(float));
        for (size_t m = 0; m < rows; m++) {
            float *alone = run(&k[i], &c, m, m + 1, 1);
            check_bits("row alone", alone, y + m * g.heads * g.head_dim, g.heads * g.head_dim * sizeof(float));
            free(alone);
        }
        if (first)
            free(y);
        else
            first = y;
    }
    free(first);
    free(expected);
    case_free(&c);
}

static void test_small(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = attention_kernels(k);
    rng r = {2024};
    for (size_t i = 0; i < (DLX_SLOW ? 8 : 20) * GEOMETRIES; i++)
        check_case(k, count, &r, geometries[i % GEOMETRIES], 1 + rng_below(&r, 35), 1 + rng_below(&r, 67), 1.0f);
}

/* Every number of queries up to two panels and a half of the widest set, which are cut into panels of several widths,
 * with keys of an odd number, a second block, and keys that are hidden from some. */
static void test_every_width(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = attention_kernels(k);
    rng r = {31};
    for (size_t rows = 1; rows <= 80; rows++) {
        check_case(k, count, &r, (geometry){1, 1, 16}, rows, 1 + 2 * rng_below(&r, 20), 1.0f);
        if (rows % 8 < 2) check_case(k, count, &r, (geometry){1, 1, 32}, rows, 257 + 2 * rng_below(&r, 9), 1.0f);
    }
    for (size_t group = 1; group <= 10; group++) check_case(k, count, &r, (geometry){group, 1, 128}, 3, 261, 1.0f);
}

static void test_many_keys(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = attention_kernels(k);
    rng r = {4711};
    static const size_t keys[] = {255, 256, 257, 511, 512, 513, 768, 1100};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        check_case(k, count, &r, geometries[(3 * i + 1) % GEOMETRIES], 1 + 5 * i, keys[i], i % 2 ? 1.0f : 4.0f);
}

/* Scores so far apart that one key takes everything. */
static void test_sharp(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = attention_kernels(k);
    rng r = {8};
    for (size_t i = 0; i < GEOMETRIES; i++) check_case(k, count, &r, geometries[i], 9, 300, 40.0f);
}

/* A whole pass of many rows is cut inside; the cut must not show. */
static void test_many_rows(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = attention_kernels(k);
    rng r = {15};
    attention_case c = case_new(&r, (geometry){2, 1, 16}, 700, 300, 2, 1.0f);
    float *expected = run(&k[0], &c, 0, 700, 700);
    for (size_t i = 1; i < count; i++) {
        float *y = run(&k[i], &c, 0, 700, 700), *tiled = run(&k[i], &c, 0, 700, 8);
        check_outputs(y, expected, 700 * 32, 16, 1.0f);
        check_bits("row tiles", tiled, y, 700 * 32 * sizeof(float));
        free(y);
        free(tiled);
    }
    free(expected);
    case_free(&c);
}

/* Any finite numbers. */
static void overwrite_head(rng *r, void *at, dlx_dtype type, size_t dim)
{
    float scale = rng_f32(r) * 1e30f;
    uint16_t bits = dlx_f32_to_bf16(scale);
    if (type == DLX_I8) memcpy(at, &bits, sizeof bits);
    for (size_t d = 0; d < dim; d++) {
        if (type == DLX_I8)
            ((uint8_t *)at)[2 + d] = (uint8_t)rng_u32(r);
        else if (type == DLX_F16)
            ((uint16_t *)at)[d] = (uint16_t)(rng_u32(r) & 0xFBFF);
        else
            ((float *)at)[d] = rng_f32(r) * scale;
    }
}

/* Over rows [from, end) of a case's one piece. */
static void overwrite(rng *r, attention_case *c, size_t from)
{
    const dlx_kv_piece *p = &c->piece[0];
    for (size_t row = from; row < p->rows; row++)
        for (size_t h = 0; h < c->a.kv_heads; h++)
            for (int side = 0; side < 2; side++)
                overwrite_head(r, head_of(side ? c->v[0].p : c->k[0].p, p->type, p->row_stride, row, h, c->a.head_dim),
                               p->type, c->a.head_dim);
}

/* Hidden keys may hold anything finite. */
static void test_hidden_keys(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = attention_kernels(k);
    rng r = {16};
    geometry g = {6, 2, 32};
    enum { ROWS = 20, KEYS = 400 };
    size_t n = ROWS * g.heads * g.head_dim;
    bool seen[DLX_DTYPE_COUNT] = {false};
    for (int t = 0; t < 12; t++) {
        attention_case c = case_new(&r, g, ROWS, KEYS, 1, 1.0f);
        seen[c.piece[0].type] = true;
        for (size_t m = 0; m < ROWS; m++) c.visible[m] = (int32_t)(m < 10 ? 1 + m : 250 + m);
        for (size_t i = 0; i < count; i++) {
            float *before = run(&k[i], &c, 0, ROWS, ROWS);
            overwrite(&r, &c, 270);
            float *after = run(&k[i], &c, 0, ROWS, ROWS);
            check_bits("hidden keys", after, before, n * sizeof(float));
            free(before);
            free(after);
        }
        case_free(&c);
    }
    for (size_t t = 0; t < KV_TYPES; t++) assert_true(seen[kv_types[t]]);
}

static void copy_head(void *to, dlx_dtype type, const void *from, dlx_dtype from_type, size_t dim)
{
    float x[MOST_DIM];
    for (size_t d = 0; d < dim; d++) x[d] = number_of(from, from_type, d);
    store_head(to, type, x, dim);
}

/* The keys of `whole`, cut at the edges [n + 1] (ascending, from 0 to all keys): piece i is a copy of type
 * i % 2 ? other : first, in memory of its own, unless `in_place` leaves it where it was. */
static void cut(attention_case *c, const dlx_kv_piece *whole, const size_t *edge, size_t n, bool in_place,
                dlx_dtype first, dlx_dtype other)
{
    geometry g = {c->a.heads, c->a.kv_heads, c->a.head_dim};
    c->a.pieces = n;
    for (size_t i = 0; i < n; i++) {
        dlx_kv_piece *p = &c->piece[i];
        size_t at = edge[i] * whole->row_stride;
        *p = *whole;
        p->rows = edge[i + 1] - edge[i];
        p->k = (const uint8_t *)whole->k + at * element_size(whole->type);
        p->v = (const uint8_t *)whole->v + at * element_size(whole->type);
        if (in_place) continue;
        dlx_kv_piece from = *p;
        p->type = i % 2 ? other : first;
        p->row_stride = row_width(p->type, g) + i % 3;
        for (size_t side = 0; side < 2; side++) {
            guarded *copy = side ? &c->v[1 + i] : &c->k[1 + i];
            *copy = guarded_new((p->rows * p->row_stride + 1) * element_size(p->type), (i % 8) * element_size(p->type));
            for (size_t r = 0; r < p->rows; r++)
                for (size_t h = 0; h < g.kv_heads; h++)
                    copy_head(head_of(copy->p, p->type, p->row_stride, r, h, g.head_dim), p->type,
                              head_of((void *)(uintptr_t)(side ? from.v : from.k), from.type, from.row_stride, r, h,
                                      g.head_dim),
                              from.type, g.head_dim);
        }
        p->k = c->k[1 + i].p;
        p->v = c->v[1 + i].p;
    }
}

/* Frees the copies that cut made. */
static void uncut(attention_case *c)
{
    for (size_t i = 0; i < c->a.pieces; i++) {
        guarded_free(&c->k[1 + i]);
        guarded_free(&c->v[1 + i]);
    }
}

enum { CUT_KEYS = 600, MOST_CUTS = MOST_PIECES - 1 };

/* Edges of n pieces: of 64 rows and a rest, or at random places, some of them empty. */
static void choose_edges(rng *r, size_t edge[MOST_CUTS + 1], size_t n, bool pages)
{
    edge[0] = 0;
    for (size_t i = 1; i < n; i++) {
        size_t at = pages ? edge[i - 1] + 64 : edge[i - 1] + rng_below(r, 2 * CUT_KEYS / n);
        edge[i] = at < CUT_KEYS ? at : CUT_KEYS;
    }
    edge[n] = CUT_KEYS;
}

/* Numbers that an int8 record and halves can hold without rounding, so that each type may carry them. */
static void store_for_all(rng *r, void *at, dlx_dtype type, size_t dim)
{
    float x[MOST_DIM], scale = ldexpf(1.0f, -6 + (int)rng_below(r, 3));
    for (size_t d = 0; d < dim; d++) x[d] = scale * (float)((int)rng_below(r, 255) - 127);
    x[rng_below(r, dim)] = 127.0f * scale;
    store_head(at, type, x, dim);
}

/* The same numbers in one piece of floats and in any number of pieces of any type: the same bits. */
static void test_pieces(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = attention_kernels(k);
    rng r = {17};
    static const geometry shapes[] = {{6, 2, 48}, {4, 1, 128}, {2, 2, 5}, {1, 1, 64}};
    static const dlx_dtype types[][2] = {{DLX_F32, DLX_F32}, {DLX_F16, DLX_F16}, {DLX_F16, DLX_F32},
                                         {DLX_I8, DLX_I8},   {DLX_I8, DLX_F32},  {DLX_F16, DLX_I8}};
    static const size_t numbers[] = {1, 2, 3, 10, 33, MOST_CUTS};
    size_t edge[MOST_CUTS + 1];
    for (size_t j = 0; j < 24; j += DLX_SLOW && j < 12 ? 7 : 1) { /* 0, 7, then 14 .. 23 */
        geometry g = shapes[j % 4];
        size_t rows = j % 3 ? 9 : 1, n = rows * g.heads * g.head_dim, parts = numbers[j % 6];
        attention_case c = case_new(&r, g, rows, CUT_KEYS, 1, 1.0f);
        dlx_attention_args whole = c.a;
        dlx_kv_piece all = c.piece[0];
        for (size_t i = 0; i < 2 * all.rows * g.kv_heads; i++)
            store_for_all(&r,
                          head_of(i % 2 ? c.v[0].p : c.k[0].p, all.type, all.row_stride, i / 2 / g.kv_heads,
                                  i / 2 % g.kv_heads, g.head_dim),
                          all.type, g.head_dim);
        choose_edges(&r, edge, parts, j % 2);
        for (size_t i = 0; i < count; i++) {
            float *expected = run(&k[i], &c, 0, rows, rows);
            for (size_t t = 0; t <= sizeof types / sizeof types[0]; t++) {
                bool in_place = t == sizeof types / sizeof types[0];
                cut(&c, &all, edge, parts, in_place, types[in_place ? 0 : t][0], types[in_place ? 0 : t][1]);
                float *y = run(&k[i], &c, 0, rows, rows);
                check_bits("pieces", y, expected, n * sizeof(float));
                free(y);
                if (!in_place) uncut(&c);
                c.a = whole;
                c.piece[0] = all;
            }
            free(expected);
        }
        case_free(&c);
    }
}

/* Two pieces of which the second begins where the first one ends, in keys, in values or in both; they continue each
 * other only when everything about them does. */
static void test_neighbours(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = attention_kernels(k);
    rng r = {19};
    geometry g = {4, 2, 32};
    enum { ROWS = 6, FIRST = 40, KEYS = 100 };
    static const struct {
        dlx_dtype type[2];
        size_t stride[2], gap[2]; /* gap: elements between the pieces, of keys and of values */
    } cases[] = {{{DLX_F32, DLX_F32}, {64, 64}, {0, 0}},  {{DLX_F16, DLX_F16}, {67, 67}, {0, 0}},
                 {{DLX_F16, DLX_F32}, {64, 64}, {0, 0}},  {{DLX_F32, DLX_F16}, {64, 64}, {0, 0}},
                 {{DLX_F32, DLX_F32}, {64, 68}, {0, 0}},  {{DLX_F32, DLX_F32}, {68, 64}, {0, 0}},
                 {{DLX_F32, DLX_F32}, {64, 64}, {64, 0}}, {{DLX_F32, DLX_F32}, {64, 64}, {0, 64}},
                 {{DLX_I8, DLX_I8}, {68, 68}, {0, 0}},    {{DLX_I8, DLX_I8}, {68, 71}, {0, 0}},
                 {{DLX_I8, DLX_F32}, {68, 68}, {0, 0}},   {{DLX_F16, DLX_I8}, {68, 68}, {0, 0}},
                 {{DLX_I8, DLX_I8}, {68, 68}, {0, 68}}};
    for (size_t j = 0; j < sizeof cases / sizeof cases[0]; j++) {
        attention_case c = case_new(&r, g, ROWS, KEYS, 2, 1.0f);
        void *memory[2];
        for (size_t side = 0; side < 2; side++) {
            uint8_t *at = memory[side] = calloc(2 * KEYS, 71 * sizeof(float));
            assert_non_null(at);
            for (size_t p = 0; p < 2; p++) {
                c.piece[p].type = cases[j].type[p];
                c.piece[p].row_stride = cases[j].stride[p];
                c.piece[p].rows = p ? KEYS - FIRST : FIRST;
                store_rows(&r, at, cases[j].type[p], c.piece[p].rows, cases[j].stride[p], g);
                *(side ? &c.piece[p].v : &c.piece[p].k) = at;
                at += (c.piece[p].rows * cases[j].stride[p] + cases[j].gap[side]) * element_size(cases[j].type[p]);
            }
        }
        for (size_t m = 0; m < ROWS; m++) c.visible[m] = (int32_t)(KEYS - m);
        float *expected = run(&k[0], &c, 0, ROWS, ROWS);
        for (size_t i = 1; i < count; i++) {
            float *y = run(&k[i], &c, 0, ROWS, ROWS);
            check_outputs(y, expected, ROWS * g.heads * g.head_dim, g.head_dim, 1.0f);
            free(y);
        }
        free(expected);
        free(memory[0]);
        free(memory[1]);
        case_free(&c);
    }
}

/* Keys and values that end where readable memory ends: nothing behind them is touched. */
static void test_end_of_memory(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = attention_kernels(k), page = (size_t)sysconf(_SC_PAGESIZE), size = 64 * page;
    uint8_t *map = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    int closed = mprotect(map + size, page, PROT_NONE);
    if (closed != 0 && errno == ENOSYS) skip(); /* WebAssembly's memory is readable throughout */
    assert_int_equal(closed, 0);
    rng r = {20};
    enum { ROWS = 5 };
    for (size_t j = 0; j < KV_TYPES * GEOMETRIES; j++) {
        geometry g = geometries[j / KV_TYPES];
        dlx_dtype type = kv_types[j % KV_TYPES];
        size_t width = row_width(type, g), keys = 1 + rng_below(&r, size / sizeof(float) / width);
        if (keys > 70) keys = 70;
        attention_case c = case_new(&r, g, ROWS, keys, 1, 1.0f);
        c.piece[0].type = type;
        c.piece[0].row_stride = width;
        void *at = map + size - keys * width * element_size(type);
        store_rows(&r, at, type, keys, width, g);
        c.piece[0].k = c.piece[0].v = at;
        c.visible[0] = (int32_t)keys;
        for (size_t i = 0; i < count; i++) free(run(&k[i], &c, 0, ROWS, ROWS));
        case_free(&c);
    }
    assert_int_equal(munmap(map, size + page), 0);
}

/* All keys equal: the output is the mean of the values seen. */
static void test_mean(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = attention_kernels(k);
    rng r = {18};
    for (int t = 0; t < 6; t++) {
        attention_case c = case_new(&r, (geometry){4, 1, 8}, 3, 700, 1, 1.0f);
        memset(c.k[0].p, 0, c.k[0].n);
        static const int32_t visible[] = {1, 300, 700};
        memcpy(c.visible, visible, sizeof visible);
        for (size_t i = 0; i < count; i++) {
            float *y = run(&k[i], &c, 0, 3, 3);
            for (size_t m = 0; m < 3; m++)
                for (size_t h = 0; h < 4; h++)
                    for (size_t d = 0; d < 8; d++) {
                        double sum = 0;
                        for (int32_t j = 0; j < visible[m]; j++)
                            sum += (double)number_of(
                                head_of(c.v[0].p, c.piece[0].type, c.piece[0].row_stride, (size_t)j, 0, 8),
                                c.piece[0].type, d);
                        check_close("mean", d, y[(m * 4 + h) * 8 + d], (float)(sum / visible[m]), 2e-6);
                    }
            free(y);
        }
        case_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),         cmocka_unit_test(test_every_width), cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_sharp),         cmocka_unit_test(test_many_rows),   cmocka_unit_test(test_hidden_keys),
        cmocka_unit_test(test_pieces),        cmocka_unit_test(test_mean),        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_end_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
