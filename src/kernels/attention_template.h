/*
 * Template: attention with grouped key/value heads. Included once by each instruction set's file, after
 * gemm_f32_template.h and elementwise_template.h.
 *
 * All query vectors that share a key/value head (every row of the tile times the heads of its group) are the columns of
 * one matrix: packed, they take the place of weights, keys take the place of activations, and the scores come out with
 * queries along the vector lanes. So neither keys nor values are ever transposed, softmax needs no horizontal step, and
 * both products run on the register tile of the float matrix product:
 *
 *     queries [panel][head_dim][PANEL]   scores [key][PANEL] = keys x queries      sums [query][head_dim] += scores' x
 * values
 *
 * Keys are taken in blocks that begin at multiples of KEY_BLOCK, with a running maximum and sum per query (Milakov and
 * Gimelshein, "Online normalizer calculation for softmax", 2018). A row's chain of operations depends only on its own
 * visible keys: a hidden key that a neighbour makes the tile look at has probability exactly 0. It must be finite.
 */
enum {
    KEY_BLOCK = 256,
    MAX_QUERIES = 256, /* of one pass: keeps the scratch of a thread within the second-level cache */
};

typedef struct attention_scratch {
    float *visible, *max, *sum; /* [queries], visible as float for comparing in lanes */
    float *queries;             /* [panels][head_dim][PANEL] */
    float *scores;              /* [KEY_BLOCK][PANEL] */
    float *out;                 /* [queries][padded_dim] */
    float *keys;                /* [KEY_BLOCK][head_dim] */
    float *values;              /* [padded_dim / PANEL][KEY_BLOCK][PANEL] */
} attention_scratch;

/* Keys of one block that lie side by side in memory. */
typedef struct key_run {
    const void *k, *v;
    size_t rows, row_stride;
    dlx_dtype type;
} key_run;

typedef struct attention_pass {
    const dlx_attention_args *args;
    size_t kv_head, group;
    size_t row_begin, rows;
    size_t queries, panels; /* queries = rows * group, in panels of PANEL */
    size_t padded_dim;
    size_t piece, piece_key; /* where the last block ended: a piece and the number of its first key */
    attention_scratch s;
} attention_pass;

DLX_INLINE size_t round_up_panel(size_t n)
{
    return divide_up(n, PANEL) * PANEL;
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
    size_t sizes[] = {n, n, n, n * head_dim, (size_t)KEY_BLOCK * PANEL, n * dim, KEY_BLOCK * head_dim, KEY_BLOCK * dim};
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

/* Queries in the order row, head; lanes beyond the last query are zeros that see what it sees. */
static void pack_queries(attention_pass *p)
{
    const dlx_attention_args *a = p->args;
    size_t dim = a->head_dim, keys = 0;
    for (size_t i = 0; i < a->pieces; i++) keys += a->piece[i].rows;
    for (size_t i = 0; i < p->panels * PANEL; i++) {
        size_t q = min_size(i, p->queries - 1), row = p->row_begin + q / p->group;
        const float *source = a->q + row * a->q_stride + (p->kv_head * p->group + q % p->group) * dim;
        float *packed = p->s.queries + i / PANEL * dim * PANEL + i % PANEL;
        float scale = i < p->queries ? a->scale : 0.0f;
        for (size_t d = 0; d < dim; d++) packed[d * PANEL] = source[d] * scale;
        p->s.visible[i] = (float)min_size((size_t)a->visible[row], keys);
        p->s.max[i] = -INFINITY;
        p->s.sum[i] = 0.0f;
    }
}

DLX_INLINE const void *element_at(const void *base, dlx_dtype type, size_t i)
{
    return (const uint8_t *)base + i * (type == DLX_F16 ? sizeof(uint16_t) : sizeof(float));
}

/* Keys [begin, end), one block, as runs; returns how many. Blocks are asked for in ascending order. Pieces that follow
 * each other in memory become one run. */
static size_t find_runs(key_run out[KEY_BLOCK], attention_pass *p, size_t begin, size_t end)
{
    size_t n = 0, head = p->kv_head * p->args->head_dim;
    for (size_t key = begin; key < end;) {
        const dlx_kv_piece *piece = &p->args->piece[p->piece];
        size_t skip = key - p->piece_key, rows = min_size(piece->rows - skip, end - key);
        if (rows == 0) {
            p->piece_key += piece->rows;
            p->piece++;
            continue;
        }
        size_t first = skip * piece->row_stride + head;
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

/* `to` becomes n floats of a run's key or value row, from element `first` on. */
DLX_INLINE void copy_row(float *to, const void *base, dlx_dtype type, size_t first, size_t n)
{
    const uint16_t *halves = (const uint16_t *)base + first;
    if (type == DLX_F32) {
        memcpy(to, (const float *)base + first, n * sizeof *to);
    } else if (n == PANEL) {
        UNROLL for (size_t j = 0; j < PANEL; j += VF) vf_store(to + j, vf_load_f16(halves + j));
    } else {
        f16_to_f32(to, halves, n);
    }
}

static void copy_keys(attention_pass *p, const key_run *runs, size_t n_runs)
{
    size_t dim = p->args->head_dim;
    float *to = p->s.keys;
    for (size_t r = 0; r < n_runs; r++)
        for (size_t i = 0; i < runs[r].rows; i++, to += dim)
            copy_row(to, runs[r].k, runs[r].type, i * runs[r].row_stride, dim);
}

static void copy_values(attention_pass *p, const key_run *runs, size_t n_runs)
{
    size_t dim = p->args->head_dim;
    for (size_t d = 0; d < p->padded_dim; d += PANEL) {
        size_t columns = min_size(PANEL, dim - d);
        float *to = p->s.values + d * KEY_BLOCK;
        for (size_t r = 0; r < n_runs; r++) {
            for (size_t i = 0; i < runs[r].rows; i++, to += PANEL) {
                copy_row(to, runs[r].v, runs[r].type, i * runs[r].row_stride + d, columns);
                if (columns < PANEL) memset(to + columns, 0, (PANEL - columns) * sizeof *to);
            }
        }
    }
}

/* Runs of floats. */
static void score_keys(const attention_pass *p, size_t panel, const key_run *runs, size_t n_runs, size_t keys)
{
    size_t dim = p->args->head_dim, done = 0;
    const float *queries = p->s.queries + panel * dim * PANEL;
    for (size_t r = 0; r < n_runs && done < keys; r++) {
        size_t rows = min_size(runs[r].rows, keys - done);
        for (size_t i = 0; i < rows; i += TILE_ROWS) {
            size_t n = min_size(TILE_ROWS, rows - i);
            f32_tile_args t = {.y = p->s.scores + (done + i) * PANEL,
                               .y_stride = PANEL,
                               .x = (const float *)runs[r].k + i * runs[r].row_stride,
                               .x_row = runs[r].row_stride,
                               .w = queries,
                               .w_step = PANEL,
                               .depth = dim,
                               .next = queries};
            f32_row_tiles[n - 1](&t);
        }
        done += rows;
    }
}

/* Scores become e^(score - new maximum); factor[q] is what earlier blocks' sums are to be multiplied with. */
static void softmax_keys(const attention_pass *p, size_t panel, size_t first_key, size_t keys, int masked,
                         float factor[PANEL])
{
    vf max[TILE_VECS], sum[TILE_VECS], visible[TILE_VECS];
    for (size_t j = 0; j < TILE_VECS; j++) {
        max[j] = vf_load(p->s.max + panel * PANEL + j * VF);
        visible[j] = vf_load(p->s.visible + panel * PANEL + j * VF);
    }
    for (size_t i = 0; i < keys; i++) {
        vf key = vf_set1((float)(first_key + i));
        for (size_t j = 0; j < TILE_VECS; j++) {
            float *at = p->s.scores + i * PANEL + j * VF;
            vf score = vf_load(at);
            if (masked) {
                score = vf_if_less(key, visible[j], score, vf_set1(-INFINITY));
                vf_store(at, score);
            }
            max[j] = vf_max(score, max[j]);
        }
    }
    for (size_t j = 0; j < TILE_VECS; j++) {
        float *row_max = p->s.max + panel * PANEL + j * VF, *row_sum = p->s.sum + panel * PANEL + j * VF;
        vf f = exp_vf(vf_sub(vf_load(row_max), max[j]));
        vf_store(factor + j * VF, f);
        vf_store(row_max, max[j]);
        sum[j] = vf_mul(vf_load(row_sum), f);
    }
    for (size_t i = 0; i < keys; i++) {
        for (size_t j = 0; j < TILE_VECS; j++) {
            float *at = p->s.scores + i * PANEL + j * VF;
            vf e = exp_vf(vf_sub(vf_load(at), max[j]));
            vf_store(at, e);
            sum[j] = vf_add(sum[j], e);
        }
    }
    for (size_t j = 0; j < TILE_VECS; j++) vf_store(p->s.sum + panel * PANEL + j * VF, sum[j]);
}

static void rescale_out(const attention_pass *p, size_t panel, const float factor[PANEL])
{
    for (size_t i = 0; i < PANEL; i++) {
        if (factor[i] == 1.0f) continue;
        float *out = p->s.out + (panel * PANEL + i) * p->padded_dim;
        for (size_t d = 0; d < p->padded_dim; d += VF) vf_store(out + d, vf_mul(vf_load(out + d), vf_set1(factor[i])));
    }
}

/* values: runs of floats whose v is [.][row_stride] with the columns of panel d at v + d * v_panel. */
static void add_values(const attention_pass *p, size_t panel, const key_run *runs, size_t n_runs, size_t v_panel,
                       size_t keys, int first_block)
{
    size_t queries = min_size(PANEL, p->queries - panel * PANEL), done = 0;
    for (size_t r = 0; r < n_runs && done < keys; r++) {
        size_t depth = min_size(runs[r].rows, keys - done);
        for (size_t d = 0; d < p->padded_dim / PANEL; d++) {
            const float *values = (const float *)runs[r].v + d * v_panel;
            for (size_t i = 0; i < queries; i += TILE_ROWS) {
                float *out = p->s.out + (panel * PANEL + i) * p->padded_dim + d * PANEL;
                f32_tile_args t = {.y = out,
                                   .y_stride = p->padded_dim,
                                   .start = first_block && done == 0 ? NULL : out,
                                   .x = p->s.scores + done * PANEL + i,
                                   .w = values,
                                   .w_step = runs[r].row_stride,
                                   .depth = depth,
                                   .next = values};
                f32_column_tiles[min_size(TILE_ROWS, queries - i) - 1](&t);
            }
        }
        done += depth;
    }
}

static size_t panel_visible(const attention_pass *p, size_t panel, size_t *least)
{
    const float *v = p->s.visible + panel * PANEL;
    float low = v[0], high = v[0];
    for (size_t i = 1; i < PANEL; i++) {
        low = v[i] < low ? v[i] : low;
        high = v[i] > high ? v[i] : high;
    }
    *least = (size_t)low;
    return (size_t)high;
}

static bool all_floats(const key_run *runs, size_t n_runs)
{
    for (size_t r = 0; r < n_runs; r++)
        if (runs[r].type != DLX_F32) return false;
    return true;
}

static void attend_block(attention_pass *p, size_t begin, size_t end)
{
    key_run in_place[KEY_BLOCK], key_copy = {.k = p->s.keys, .rows = end - begin, .row_stride = p->args->head_dim},
                                 value_copy = {.v = p->s.values, .rows = end - begin, .row_stride = PANEL};
    const key_run *keys_at = in_place, *values_at = in_place;
    size_t n_runs = find_runs(in_place, p, begin, end), key_runs = n_runs, value_runs = n_runs, value_panel = PANEL;
    bool gather = !all_floats(in_place, n_runs); /* the products read floats */
    if (gather) {
        copy_keys(p, in_place, n_runs);
        keys_at = &key_copy;
        key_runs = 1;
    }
    /* Copying makes a block's values contiguous (rows may be far apart and fall into the same cache sets); with one
     * panel of queries it would cost as much as it saves. */
    if (gather || p->panels > 1 || p->padded_dim != p->args->head_dim) {
        copy_values(p, in_place, n_runs);
        values_at = &value_copy;
        value_runs = 1;
        value_panel = (size_t)KEY_BLOCK * PANEL;
    }
    for (size_t panel = 0; panel < p->panels; panel++) {
        size_t least, most = panel_visible(p, panel, &least);
        if (most <= begin) continue;
        size_t keys = min_size(most, end) - begin;
        float factor[PANEL];
        score_keys(p, panel, keys_at, key_runs, keys);
        softmax_keys(p, panel, begin, keys, least < begin + keys, factor);
        if (begin > 0) rescale_out(p, panel, factor);
        add_values(p, panel, values_at, value_runs, value_panel, keys, begin == 0);
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
        p.panels = divide_up(p.queries, PANEL);
        attention_layout(&p.s, scratch, p.queries, args->head_dim);
        pack_queries(&p);
        size_t most = 0, least;
        for (size_t i = 0; i < p.panels; i++) {
            size_t n = panel_visible(&p, i, &least);
            most = n > most ? n : most;
        }
        p.piece = p.piece_key = 0;
        for (size_t begin = 0; begin < most; begin += KEY_BLOCK)
            attend_block(&p, begin, min_size(begin + KEY_BLOCK, most));
        store_out(&p);
    }
}

static void set_attention(dlx_kernels *k)
{
    k->attention_row_tile = 8;
    k->attention_scratch = attention_scratch_bytes;
    k->attention = attention;
}
