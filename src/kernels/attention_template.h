/*
 * Template: attention with grouped key/value heads. Included once by each instruction set's file, after
 * attention_tiles_template.h and elementwise_template.h.
 *
 * All query vectors that share a key/value head (every row of the tile times the heads of its group) are the columns of
 * one matrix: packed, they take the place of weights, keys take the place of activations, and the scores come out with
 * queries along the vector lanes. So neither keys nor values are ever transposed, softmax needs no horizontal step, and
 * both products run on register tiles:
 *
 *     queries [head_dim][width]   scores [key][width] = keys x queries      sums [query][head_dim] += scores' x values
 *
 * for each panel of queries, which is PANEL wide, or one vector or half of one at the end or where there are no more
 * queries: the work follows the number of queries, so that several sequences of few rows, which see different keys,
 * cost what one of many rows costs.
 *
 * Keys are taken in blocks that begin at multiples of KEY_BLOCK, with a running maximum and sum per query (Milakov and
 * Gimelshein, "Online normalizer calculation for softmax", 2018). A row's chain of operations depends only on its own
 * visible keys, not on the panel: a hidden key that a neighbour makes the tile look at has probability exactly 0. It
 * must be finite.
 */
enum {
    KEY_BLOCK = 256,
    MAX_QUERIES = 256, /* of one pass: keeps the scratch of a thread within the second-level cache */
    KEY_PAD = 4,       /* between copied keys: lanes of rows that a tile reads together lie in different banks */
    LINE_BYTES = 64,
};

typedef struct attention_scratch {
    float *visible, *max, *sum; /* [queries], visible as float for comparing in lanes */
    float *queries;             /* a panel of width w at query i: [head_dim][w] from i * head_dim on */
    float *scores;              /* [KEY_BLOCK][width], of one panel */
    float *out;                 /* [queries][padded_dim] */
    float *keys;                /* [KEY_BLOCK][head_dim + KEY_PAD] */
    float *values;              /* [padded_dim / PANEL][KEY_BLOCK][PANEL] */
} attention_scratch;

/* Keys of one block that lie side by side in memory: k and v are what the first of them has of this head. */
typedef struct key_run {
    const void *k, *v;
    size_t rows, row_stride;
    dlx_dtype type;
} key_run;

/* Where the products find a block's keys and values. */
typedef struct key_source {
    const key_run *runs;
    bool copy; /* through scratch, as many as a tile takes at a time */
} key_source;

typedef struct value_source {
    const key_run *runs;
    size_t slices; /* elements between the columns of one panel and the next */
} value_source;

/* Of the types that keys and values may have. */
DLX_INLINE size_t element_bytes(dlx_dtype type)
{
    return type == DLX_F32 ? sizeof(float) : type == DLX_F16 ? sizeof(uint16_t) : sizeof(int8_t);
}

DLX_INLINE value_type value_type_of(dlx_dtype type)
{
    return type == DLX_F32 ? VALUES_F32 : type == DLX_F16 ? VALUES_F16 : VALUES_KV8;
}

/* Rows that were not yet requested. */
typedef struct row_cursor {
    const key_run *run;
    size_t runs;
    const uint8_t *next;    /* row of the first of `runs` runs */
    size_t rows, row_bytes; /* rows: from there to the end of that run */
} row_cursor;

/* What the first panel requests of a block, for itself and the others. Between the steps of a tile there is time for
 * it: the keys of several sequences come from memory, in short rows far apart, which hardware does not foresee. */
typedef struct block_requests {
    row_cursor keys, values;
    size_t step; /* bytes of a row that one round of a tile's requests covers */
} block_requests;

typedef struct attention_pass {
    const dlx_attention_args *args;
    size_t kv_head, group;
    size_t row_begin, rows;
    size_t queries; /* rows * group */
    size_t padded_dim;
    size_t piece, piece_key; /* where the last block ended: a piece and the number of its first key */
    attention_scratch s;
} attention_pass;

typedef struct query_panel {
    size_t first, width, queries; /* queries [first, first + queries) in lanes [0, width) */
    size_t least, most;           /* keys that one of them sees */
} query_panel;

DLX_INLINE size_t round_up_panel(size_t n)
{
    return divide_up(n, PANEL) * PANEL;
}

/* Of the first panel where `queries` are left. */
static size_t panel_width(size_t queries)
{
#if NARROW_VECTORS
    if (queries <= NF) return NF;
    if (queries <= VF + NF) return VF;
#endif
    return queries <= VF ? VF : PANEL;
}

static query_panel panel_at(const attention_pass *p, size_t first)
{
    const float *v = p->s.visible + first;
    size_t left = p->queries - first, width = panel_width(left);
    query_panel panel = {.first = first, .width = width, .queries = min_size(width, left)};
    float low = v[0], high = v[0];
    for (size_t i = 1; i < panel.queries; i++) {
        low = v[i] < low ? v[i] : low;
        high = v[i] > high ? v[i] : high;
    }
    panel.least = (size_t)low;
    panel.most = (size_t)high;
    return panel;
}

static size_t attention_pass_rows(size_t rows, size_t group)
{
    size_t most = MAX_QUERIES / group;
    return min_size(rows, most ? most : 1);
}

/* Lays the arrays out from `base` (NULL: only their size) and returns the bytes they take. */
static size_t attention_layout(attention_scratch *s, float *base, size_t queries, size_t head_dim)
{
    size_t n = round_up_panel(queries), dim = round_up_panel(head_dim);
    size_t sizes[] = {
        n, n, n, n * head_dim, (size_t)KEY_BLOCK * PANEL, n * dim, KEY_BLOCK * (head_dim + KEY_PAD), KEY_BLOCK * dim};
    float **arrays[] = {&s->visible, &s->max, &s->sum, &s->queries, &s->scores, &s->out, &s->keys, &s->values};
    size_t at = 0;
    for (size_t i = 0; i < DLX_COUNT(sizes); i++) {
        if (base) *arrays[i] = base + at;
        at += (size_t)dlx_align_up(sizes[i], 16);
    }
    return at * sizeof(float);
}

static size_t attention_scratch_bytes(size_t max_rows, size_t max_keys, size_t heads, size_t kv_heads, size_t head_dim)
{
    (void)max_keys;
    size_t group = heads / kv_heads;
    attention_scratch s;
    return attention_layout(&s, NULL, attention_pass_rows(max_rows, group) * group, head_dim);
}

/* Query q of a pass: in the order row, head; those behind the last one are the last one. */
static const float *query_at(const attention_pass *p, size_t q)
{
    const dlx_attention_args *a = p->args;
    q = min_size(q, p->queries - 1);
    return a->q + (p->row_begin + q / p->group) * a->q_stride + (p->kv_head * p->group + q % p->group) * a->head_dim;
}

/* Up to VF queries from `first` on become lanes: packed[d * width + lane] for all d. */
static void pack_lanes(const attention_pass *p, float *packed, size_t first, size_t width)
{
    size_t dim = p->args->head_dim, lanes = min_size(width, VF), d = 0;
    vf scale = vf_set1(p->args->scale), m[VF];
    const float *source[VF];
    for (size_t i = 0; i < VF; i++) source[i] = query_at(p, first + min_size(i, lanes - 1));
    for (; d + VF <= dim; d += VF) {
        for (size_t i = 0; i < VF; i++) m[i] = vf_load(source[i] + d);
        vf_transpose(m);
        for (size_t i = 0; i < VF; i++) {
            float *to = packed + (d + i) * width;
            vf v = vf_mul(m[i], scale);
#if NARROW_VECTORS
            if (lanes < VF) {
                nf_store(to, vf_low(v));
                continue;
            }
#endif
            vf_store(to, v);
        }
    }
    for (; d < dim; d++)
        for (size_t i = 0; i < lanes; i++) packed[d * width + i] = source[i][d] * p->args->scale;
}

/* Lanes beyond the last query are the last query again. */
static void pack_queries(attention_pass *p)
{
    const dlx_attention_args *a = p->args;
    size_t keys = 0, width;
    for (size_t i = 0; i < a->pieces; i++) keys += a->piece[i].rows;
    for (size_t first = 0; first < p->queries; first += width) {
        width = panel_width(p->queries - first);
        for (size_t i = 0; i < width; i += VF) pack_lanes(p, p->s.queries + first * a->head_dim + i, first + i, width);
        for (size_t i = first; i < first + width; i++) {
            size_t row = p->row_begin + min_size(i, p->queries - 1) / p->group;
            p->s.visible[i] = (float)min_size((size_t)a->visible[row], keys);
            p->s.max[i] = -INFINITY;
            p->s.sum[i] = 0.0f;
        }
    }
}

DLX_INLINE const void *element_at(const void *base, dlx_dtype type, size_t i)
{
    return (const uint8_t *)base + i * element_bytes(type);
}

/* Element i of a row, behind its scale where it has one. */
DLX_INLINE const void *number_at(const void *row, dlx_dtype type, size_t i)
{
    return element_at(row, type, i + (type == DLX_I8 ? DLX_KV8_SCALE_BYTES : 0));
}

/* Keys [begin, end), one block, as runs; returns how many. Blocks are asked for in ascending order. Pieces that follow
 * each other in memory become one run. */
static size_t find_runs(key_run out[KEY_BLOCK], attention_pass *p, size_t begin, size_t end)
{
    size_t n = 0, dim = p->args->head_dim;
    for (size_t key = begin; key < end;) {
        const dlx_kv_piece *piece = &p->args->piece[p->piece];
        size_t skip = key - p->piece_key, rows = min_size(piece->rows - skip, end - key);
        if (rows == 0) {
            p->piece_key += piece->rows;
            p->piece++;
            continue;
        }
        size_t first = skip * piece->row_stride + p->kv_head * (piece->type == DLX_I8 ? dlx_kv8_bytes(dim) : dim);
        key_run run = {.k = element_at(piece->k, piece->type, first),
                       .v = element_at(piece->v, piece->type, first),
                       .rows = rows,
                       .row_stride = piece->row_stride,
                       .type = piece->type};
        key_run *last = n ? &out[n - 1] : NULL;
        if (last && last->type == run.type && last->row_stride == run.row_stride &&
            element_at(last->k, last->type, last->rows * last->row_stride) == run.k &&
            element_at(last->v, last->type, last->rows * last->row_stride) == run.v)
            last->rows += rows;
        else
            out[n++] = run;
        key += rows;
    }
    return n;
}

/* `to` becomes n floats of row i of a run's keys or values, from element `first` on. */
DLX_INLINE void copy_row(float *to, const void *base, const key_run *run, size_t i, size_t first, size_t n)
{
    const void *row = element_at(base, run->type, i * run->row_stride), *from = number_at(row, run->type, first);
    if (run->type == DLX_F32) {
        memcpy(to, from, n * sizeof *to);
    } else if (n == PANEL) {
        value_type type = value_type_of(run->type);
        vf scale = vf_set1(type == VALUES_KV8 ? dlx_kv8_scale(row) : 0.0f);
        UNROLL for (size_t j = 0; j < PANEL; j += VF) vf_store(to + j, load_value(from, j, type, scale));
    } else if (run->type == DLX_F16) {
        f16_to_f32(to, from, n);
    } else {
        dequantize_i8(to, from, dlx_kv8_scale(row), n);
    }
}

/* Keys [first, first + n) of a run become rows of floats; returns where the next ones go. */
static float *copy_keys(float *to, const key_run *run, size_t first, size_t n, size_t dim)
{
    for (size_t i = first; i < first + n; i++, to += dim + KEY_PAD) copy_row(to, run->k, run, i, 0, dim);
    return to;
}

static void copy_values(attention_pass *p, const key_run *runs, size_t n_runs)
{
    size_t dim = p->args->head_dim;
    for (size_t d = 0; d < p->padded_dim; d += PANEL) {
        size_t columns = min_size(PANEL, dim - d);
        float *to = p->s.values + d * KEY_BLOCK;
        for (size_t r = 0; r < n_runs; r++) {
            for (size_t i = 0; i < runs[r].rows; i++, to += PANEL) {
                copy_row(to, runs[r].v, &runs[r], i, d, columns);
                if (columns < PANEL) memset(to + columns, 0, (PANEL - columns) * sizeof *to);
            }
        }
    }
}

static void enter_run(row_cursor *c, bool values)
{
    const key_run *run = c->run;
    c->next = values ? run->v : run->k;
    c->rows = run->rows;
    c->row_bytes = run->row_stride * element_bytes(run->type);
}

static row_cursor rows_of(const key_run *runs, size_t n_runs, bool values)
{
    row_cursor c = {.run = runs, .runs = n_runs};
    if (n_runs > 0) enter_run(&c, values);
    return c;
}

/* The next n rows, and no more than are left; returns how many. */
static size_t next_rows(const uint8_t **rows, row_cursor *c, size_t n, bool values)
{
    size_t found = 0;
    while (found < n && c->runs > 0) {
        size_t end = found + min_size(n - found, c->rows);
        c->rows -= end - found;
        for (; found < end; c->next += c->row_bytes) rows[found++] = c->next;
        if (c->rows > 0) continue;
        c->run++;
        if (--c->runs > 0) enter_run(c, values);
    }
    return found;
}

/* Before there is a tile to do it: the first keys of a block. */
static void request_first_keys(block_requests *r, size_t row_bytes)
{
    const uint8_t *rows[REQUESTS];
    size_t n = next_rows(rows, &r->keys, REQUESTS, false);
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; at < row_bytes; at += LINE_BYTES) prefetch_l2(rows[i] + at);
}

/* For panels of a width, by their height. */
static const score_tile_fn *score_tiles(size_t width)
{
#if NARROW_VECTORS
    if (width == NF) return nf_score_tiles;
#endif
    return width == PANEL ? panel_score_tiles : vf_score_tiles;
}

static void score_keys(const attention_pass *p, const query_panel *panel, const key_source *source, size_t keys,
                       block_requests *ahead)
{
    size_t dim = p->args->head_dim, width = panel->width, done = 0, most = width == PANEL ? TILE_ROWS : LANE_ROWS;
    const float *queries = p->s.queries + panel->first * dim;
    const score_tile_fn *tiles = score_tiles(width);
    const uint8_t *requests[REQUESTS]; /* for the tile's number of keys more, and the values of its own */
    for (size_t i = 0; i < REQUESTS; i++) requests[i] = (const uint8_t *)queries;
    for (size_t r = 0; done < keys; r++) {
        const key_run *run = &source->runs[r];
        size_t rows = min_size(run->rows, keys - done);
        for (size_t i = 0; i < rows; i += most) {
            size_t n = min_size(most, rows - i);
            score_tile_args t = {.y = p->s.scores + (done + i) * width,
                                 .x = p->s.keys,
                                 .x_row = dim + KEY_PAD,
                                 .w = queries,
                                 .depth = dim,
                                 .request = requests,
                                 .request_step = ahead->step};
            next_rows(requests, &ahead->keys, n, false);
            next_rows(requests + most, &ahead->values, n, true);
            if (source->copy) {
                copy_keys(p->s.keys, run, i, n, dim);
            } else {
                t.x = (const float *)run->k + i * run->row_stride;
                t.x_row = run->row_stride;
            }
            tiles[n - 1](&t);
        }
        done += rows;
    }
}

/* The numbers of a panel's queries, in a narrow panel once for each key of a vector. */
DLX_INLINE vf load_lanes(const float *from, const size_t width)
{
    float lane[VF];
    if (width >= VF) return vf_load(from);
    for (size_t i = 0; i < VF; i++) lane[i] = from[i % width];
    return vf_load(lane);
}

DLX_INLINE void store_lanes(float *to, vf a, const size_t width)
{
    float lane[VF];
    vf_store(lane, a);
    memcpy(to, lane, min_size(width, VF) * sizeof *to);
}

/* The largest of what a query has in the lanes of several keys, in all of them. */
DLX_INLINE vf max_over_keys(vf a, const size_t width)
{
    float lane[VF];
    if (width >= VF) return a;
    vf_store(lane, a);
    for (size_t i = width; i < VF; i++) lane[i % width] = lane[i] > lane[i % width] ? lane[i] : lane[i % width];
    return load_lanes(lane, width);
}

/* Scores of `keys` keys become e^(score - maximum), which is added to the sums in the order of the keys. */
DLX_INLINE void add_powers(float *sums, float *scores, const vf max[TILE_VECS], size_t keys, const size_t width)
{
#if NARROW_VECTORS
    if (width == NF) {
        nf sum = nf_load(sums);
        for (size_t i = 0; i < keys; i += VF / NF) {
            vf e = exp_vf(vf_sub(vf_load(scores + i * NF), max[0]));
            vf_store(scores + i * NF, e);
            sum = nf_add(nf_add(sum, vf_low(e)), vf_high(e));
        }
        nf_store(sums, sum);
        return;
    }
#endif
    vf sum[TILE_VECS];
    const size_t vecs = width / VF;
    for (size_t j = 0; j < vecs; j++) sum[j] = vf_load(sums + j * VF);
    for (size_t i = 0; i < keys; i++) {
        for (size_t j = 0; j < vecs; j++) {
            float *at = scores + i * width + j * VF;
            vf e = exp_vf(vf_sub(vf_load(at), max[j]));
            vf_store(at, e);
            sum[j] = vf_add(sum[j], e);
        }
    }
    for (size_t j = 0; j < vecs; j++) vf_store(sums + j * VF, sum[j]);
}

/* Scores become e^(score - new maximum); factor[q] is what earlier blocks' sums are to be multiplied with. A panel
 * narrower than a vector has several keys in one, which only the order of the sums shows. */
DLX_INLINE void softmax_lanes(const attention_pass *p, const query_panel *panel, size_t first_key, size_t keys,
                              float factor[PANEL], const size_t width)
{
    const size_t vecs = width < VF ? 1 : width / VF, span = width < VF ? VF / width : 1; /* keys of a step */
    float *scores = p->s.scores, *maxima = p->s.max + panel->first, *sums = p->s.sum + panel->first, number[VF];
    vf max[TILE_VECS], visible[TILE_VECS];
    bool masked = panel->least < first_key + keys;
    for (size_t j = 0; j < vecs; j++) {
        max[j] = load_lanes(maxima + j * VF, width);
        visible[j] = load_lanes(p->s.visible + panel->first + j * VF, width);
    }
    for (size_t i = 0; i < VF; i++) number[i] = (float)(first_key + i / width);
    vf key = vf_load(number);
    for (size_t i = keys * width; i % (span * width) > 0; i++) scores[i] = -INFINITY;
    for (size_t i = 0; i < keys; i += span) {
        for (size_t j = 0; j < vecs; j++) {
            float *at = scores + i * width + j * VF;
            vf score = vf_load(at);
            if (masked) {
                score = vf_if_less(key, visible[j], score, vf_set1(-INFINITY));
                vf_store(at, score);
            }
            max[j] = vf_max(score, max[j]);
        }
        key = vf_add(key, vf_set1((float)span));
    }
    for (size_t j = 0; j < vecs; j++) {
        max[j] = max_over_keys(max[j], width);
        vf f = exp_vf(vf_sub(load_lanes(maxima + j * VF, width), max[j]));
        store_lanes(factor + j * VF, f, width);
        store_lanes(maxima + j * VF, max[j], width);
    }
    for (size_t i = 0; i < width; i++) sums[i] *= factor[i];
    add_powers(sums, scores, max, keys, width);
}

static void softmax_keys(const attention_pass *p, const query_panel *panel, size_t first_key, size_t keys,
                         float factor[PANEL])
{
    if (panel->width == PANEL)
        softmax_lanes(p, panel, first_key, keys, factor, PANEL);
    else if (panel->width == VF)
        softmax_lanes(p, panel, first_key, keys, factor, VF);
#if NARROW_VECTORS
    else
        softmax_lanes(p, panel, first_key, keys, factor, NF);
#endif
}

static void rescale_out(const attention_pass *p, const query_panel *panel, const float factor[PANEL])
{
    for (size_t i = 0; i < panel->queries; i++) {
        if (factor[i] == 1.0f) continue;
        float *out = p->s.out + (panel->first + i) * p->padded_dim;
        for (size_t d = 0; d < p->padded_dim; d += VF) vf_store(out + d, vf_mul(vf_load(out + d), vf_set1(factor[i])));
    }
}

/* Columns are passed over once for all queries where one tile holds these; tiles are of about equal height. */
static void add_values(const attention_pass *p, const query_panel *panel, const value_source *source, size_t keys,
                       bool first_block)
{
    size_t tiles = divide_up(panel->queries, TILE_ROWS), height = divide_up(panel->queries, tiles), done = 0;
    bool wide = tiles == 1 && source->slices == PANEL;
    for (size_t r = 0; done < keys; r++) {
        const key_run *run = &source->runs[r];
        size_t depth = min_size(run->rows, keys - done), taken = 0;
        for (size_t d = 0; d < p->padded_dim; d += taken) {
            const void *values = number_at(run->v, run->type, d / PANEL * source->slices);
            for (size_t i = 0; i < panel->queries; i += height) {
                size_t n = min_size(height, panel->queries - i);
                float *out = p->s.out + (panel->first + i) * p->padded_dim + d;
                value_tile_args t = {.y = out,
                                     .y_stride = p->padded_dim,
                                     .add = !first_block || done > 0,
                                     .x = p->s.scores + done * panel->width + i,
                                     .x_step = panel->width,
                                     .w = values,
                                     .scale = run->v,
                                     .w_step = run->row_stride * element_bytes(run->type),
                                     .depth = depth};
                value_tile_of(n, wide ? p->padded_dim - d : PANEL, value_type_of(run->type), &taken)(&t);
            }
        }
        done += depth;
    }
}

/* Of the runs with the smallest elements: less than a float's where keys need widening. */
static size_t least_element_bytes(const key_run *runs, size_t n_runs)
{
    size_t least = sizeof(float);
    for (size_t r = 0; r < n_runs; r++) least = min_size(least, element_bytes(runs[r].type));
    return least;
}

/* Rows that a tile reads together lie in one set of the first-level cache. */
static bool is_crowded(const key_run *runs, size_t n_runs)
{
    enum { APART = 4096 / sizeof(float) };
    for (size_t r = 0; r < n_runs; r++)
        if (runs[r].row_stride % APART == 0) return true;
    return false;
}

static void attend_block(attention_pass *p, size_t begin, size_t end)
{
    size_t dim = p->args->head_dim, width = panel_width(p->queries);
    bool several = p->queries > width;
    key_run in_place[KEY_BLOCK],
        key_copy = {.k = p->s.keys, .rows = end - begin, .row_stride = dim + KEY_PAD, .type = DLX_F32},
        value_copy = {.v = p->s.values, .rows = end - begin, .row_stride = PANEL, .type = DLX_F32};
    size_t n_runs = find_runs(in_place, p, begin, end);
    size_t element = least_element_bytes(in_place, n_runs);
    bool widen = element < sizeof(float);
    key_source keys_at = {.runs = in_place,
                          .copy = widen || (width < PANEL && !several && is_crowded(in_place, n_runs))};
    value_source values_at = {.runs = in_place, .slices = PANEL};
    block_requests ahead = {.keys = rows_of(in_place, n_runs, false),
                            .values = rows_of(in_place, n_runs, true),
                            .step = REQUESTS * element};
    if (widen && several) {
        float *to = p->s.keys;
        for (size_t r = 0; r < n_runs; r++) to = copy_keys(to, &in_place[r], 0, in_place[r].rows, dim);
        keys_at = (key_source){.runs = &key_copy};
        ahead.keys = (row_cursor){0};
    }
    request_first_keys(&ahead, dim * element);
    for (size_t first = 0; first < p->queries;) {
        query_panel panel = panel_at(p, first);
        first += panel.width;
        if (panel.most <= begin) continue;
        size_t keys = min_size(panel.most, end) - begin;
        float factor[PANEL];
        score_keys(p, &panel, &keys_at, keys, &ahead);
        softmax_keys(p, &panel, begin, keys, factor);
        if (begin > 0) rescale_out(p, &panel, factor);
        /* Copying makes a block's values contiguous (rows may be far apart and fall into the same cache sets); with one
         * panel of queries it would cost as much as it saves. */
        if (values_at.runs == in_place && (p->queries > PANEL || p->padded_dim != dim)) {
            copy_values(p, in_place, n_runs);
            values_at = (value_source){.runs = &value_copy, .slices = (size_t)KEY_BLOCK * PANEL};
        }
        add_values(p, &panel, &values_at, keys, begin == 0);
    }
}

static void store_out(const attention_pass *p)
{
    const dlx_attention_args *a = p->args;
    for (size_t q = 0; q < p->queries; q++) {
        size_t row = p->row_begin + q / p->group, head = p->kv_head * p->group + q % p->group;
        const float *from = p->s.out + q * p->padded_dim;
        float *to = a->out + row * a->out_stride + head * a->head_dim, scale = 1.0f / p->s.sum[q];
        for (size_t d = 0; d < a->head_dim; d++) to[d] = from[d] * scale;
    }
}

static void attention(const dlx_attention_args *args, size_t kv_head, size_t row_begin, size_t row_end, void *scratch)
{
    size_t group = args->heads / args->kv_heads;
    attention_pass p = {.args = args, .kv_head = kv_head, .group = group, .padded_dim = round_up_panel(args->head_dim)};
    for (size_t r = row_begin; r < row_end; r += p.rows) {
        p.row_begin = r;
        p.rows = attention_pass_rows(row_end - r, group);
        p.queries = p.rows * group;
        attention_layout(&p.s, scratch, p.queries, args->head_dim);
        pack_queries(&p);
        size_t most = 0;
        for (size_t i = 0; i < p.queries; i++) most = p.s.visible[i] > (float)most ? (size_t)p.s.visible[i] : most;
        p.piece = p.piece_key = 0;
        for (size_t begin = 0; begin < most; begin += KEY_BLOCK)
            attend_block(&p, begin, min_size(begin + KEY_BLOCK, most));
        store_out(&p);
    }
}

static void set_attention(dlx_kernels *k)
{
    k->attention_queries = NARROW_VECTORS ? VF : PANEL;
    k->attention_scratch = attention_scratch_bytes;
    k->attention = attention;
}
