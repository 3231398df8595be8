/*
 * Template: products of quantised activations with int4 weights, one scale per column (qc4) or per column and group of
 * inputs (qb4). Included once by each instruction set's file, after gemm_qd8_template.h.
 *
 * Packed weights: panels of PANEL output columns, steps of QD4_GROUP inputs. A byte holds an input of column c in its
 * low half and the same input of column c + PANEL / 2 in its high one, so that one load and a few bit operations give
 * both vectors of a step. The halves are value + 8, or two's complement where QD4_FLIP says so; what the dot step sees
 * is the value times QD4_UNIT, and sums of it are exact. qc4: [steps][PANEL / 2][QD4_GROUP] bytes. qb4: for each group
 * PANEL scales (bfloat16), where activations are not q + 128 PANEL sums of weights (int16), then the group's steps.
 *
 * Where products are added up in narrower numbers first (QD4_PARTS steps of them fit), qd4_widen makes int32 of these.
 */
#if QD8_SPLIT
DLX_INLINE qd8_inputs qd4_inputs_of(const qd4_act *x, size_t i, const size_t rows)
{
    (void)rows;
    return qd8_load_inputs(x + i * QD4_GROUP);
}
#else
typedef qd8_act qd4_act;
enum { QD4_OFFSET = QD8_OFFSET };
#define qd4_inputs_of dot_inputs
#if !QD4_PARTS
typedef vi qd4_part;
#define qd4_dot qd8_dot
#endif
#endif

enum {
    QD4_STEP_BYTES = PANEL * QD4_GROUP / 2,
    QD4_TAKE = QD4_GROUP < 4 ? QD4_GROUP : 4, /* weights that are packed together */
    QB4_SUMS = QD4_OFFSET != 128,             /* sums of a group's weights are wanted */
    QB4_HEAD_BYTES = PANEL * (int)sizeof(uint16_t) * (1 + QB4_SUMS),
};
enum { QC4_COLUMNS = 3 }; /* int32 sums of weights, times QD4_UNIT; scales; biases */
enum { QB4_COLUMNS = 2 }; /* dlx_qb4_w_sum; biases */
_Static_assert(TILE_VECS == 2, "a byte has two halves");

/* ---- packing ---------------------------------------------------------------------------------------------------- */

static size_t qb4_group_bytes(size_t group)
{
    return QB4_HEAD_BYTES + group / QD4_GROUP * QD4_STEP_BYTES;
}

static qd8_layout qc4_layout(dlx_gemm_shape s)
{
    size_t steps = divide_up(s.n_in, QD4_GROUP);
    return qd8_layout_of(steps, QD4_STEP_BYTES, steps * QD4_STEP_BYTES, QC4_COLUMNS);
}

static qd8_layout qb4_layout(dlx_gemm_shape s)
{
    return qd8_layout_of(s.n_in / QD4_GROUP, QD4_STEP_BYTES, s.n_in / s.group * qb4_group_bytes(s.group), QB4_COLUMNS);
}

/* Up to four weights of a row from input k on, value + 8, each in a byte of its own, the first in the lowest; what is
 * beyond the row has value 0. */
DLX_INLINE uint32_t qd4_take(const uint8_t *row, size_t k, size_t n_in)
{
    if (QD4_TAKE == 4 && k + 4 <= n_in) {
        uint16_t halves;
        memcpy(&halves, row + k / 2, sizeof halves); /* every set is of a little-endian machine */
        uint32_t word = (halves | (uint32_t)halves << 8) & 0x00FF00FF;
        return (word | word << 4) & 0x0F0F0F0F;
    }
    uint32_t word = 0;
    for (size_t i = 0; i < QD4_TAKE; i++) {
        int32_t w = k + i < n_in ? dlx_i4(row[(k + i) / 2], k + i) : 0;
        word |= (uint32_t)(w + 8) << 8 * i;
    }
    return word;
}

/* Steps for inputs [begin, end). */
static void qd4_pack_steps(uint8_t *to, const uint8_t *w, size_t columns, size_t n_in, size_t begin, size_t end)
{
    const uint32_t none = 0x08080808;
    for (size_t k = begin; k < end; k += QD4_GROUP) {
        for (size_t c = 0; c < PANEL / 2; c++, to += QD4_GROUP) {
            size_t d = c + PANEL / 2;
            for (size_t i = 0; i < QD4_GROUP; i += QD4_TAKE) {
                uint32_t low = c < columns ? qd4_take(w + c * (n_in / 2), k + i, n_in) : none;
                uint32_t high = d < columns ? qd4_take(w + d * (n_in / 2), k + i, n_in) : none;
                uint32_t both = (low | high << 4) ^ (QD4_FLIP ? 0x88888888 : 0);
                memcpy(to + i, &both, QD4_TAKE);
            }
        }
    }
}

/* How much the weights [begin, end) of a row are; both even. */
static int32_t qd4_sum(const uint8_t *row, size_t begin, size_t end)
{
    const uint64_t low = 0x0F0F0F0F0F0F0F0F, even = 0x00FF00FF00FF00FF;
    size_t i = begin / 2;
    uint32_t sum = 0;
    for (uint64_t word[2]; i + sizeof word <= end / 2; i += sizeof word) {
        memcpy(word, row + i, sizeof word);
        uint64_t bytes = (word[0] & low) + (word[0] >> 4 & low) + (word[1] & low) + (word[1] >> 4 & low);
        sum += (uint32_t)(((bytes & even) + (bytes >> 8 & even)) * 0x0001000100010001 >> 48);
    }
    for (; i < end / 2; i++) sum += (row[i] & 15u) + (row[i] >> 4);
    return (int32_t)sum - 8 * (int32_t)(end - begin);
}

/* What qd4_pack_steps made of inputs [begin, end) of column c. */
static void qd4_unpack_steps(uint8_t *row, const uint8_t *steps, size_t c, size_t begin, size_t end)
{
    const int shift = c < PANEL / 2 ? 0 : 4;
    steps += c % (PANEL / 2) * QD4_GROUP;
    for (size_t k = begin; k < end; k++) {
        const uint8_t *step = steps + (k - begin) / QD4_GROUP * QD4_STEP_BYTES;
        uint8_t w = (step[(k - begin) % QD4_GROUP] >> shift & 15) ^ (QD4_FLIP ? 8 : 0);
        row[k / 2] = k % 2 ? (uint8_t)(row[k / 2] | w << 4) : w;
    }
}

static void qc4_unpack_column(uint8_t *row, const uint8_t *panel, dlx_gemm_shape s, size_t c)
{
    qd4_unpack_steps(row, panel, c, 0, s.n_in);
}

static void qb4_unpack_column(uint8_t *row, const uint8_t *panel, dlx_gemm_shape s, size_t c)
{
    for (size_t k = 0; k < s.n_in; k += s.group, panel += qb4_group_bytes(s.group))
        qd4_unpack_steps(row, panel + QB4_HEAD_BYTES, c, k, k + s.group);
}

static void qc4_pack_panel(uint8_t *panel, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t first, size_t columns)
{
    int32_t *sums = (int32_t *)(void *)(panel + qc4_layout(s).weight_bytes);
    float *scales = (float *)sums + PANEL, *biases = scales + PANEL;
    const uint8_t *rows = (const uint8_t *)w->w + (first - w->first) * (s.n_in / 2);
    qd4_pack_steps(panel, rows, columns, s.n_in, 0, s.n_in);
    for (size_t c = 0; c < PANEL; c++) {
        sums[c] = c < columns ? QD4_UNIT * qd4_sum(rows + c * (s.n_in / 2), 0, s.n_in) : 0;
        scales[c] = c < columns ? w->scale[first + c] : 0.0f;
        biases[c] = c < columns && w->bias ? w->bias[first + c] : 0.0f;
    }
}

static void qb4_pack_panel(uint8_t *panel, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t first, size_t columns)
{
    size_t groups = s.n_in / s.group, bytes = qb4_group_bytes(s.group);
    const uint8_t *rows = (const uint8_t *)w->w + (first - w->first) * (s.n_in / 2);
    const uint16_t *scale = w->group_scale + (first - w->first) * groups;
    float *w_sums = (float *)(void *)(panel + qb4_layout(s).weight_bytes), *biases = w_sums + PANEL;
    for (size_t g = 0; g < groups; g++)
        qd4_pack_steps(panel + g * bytes + QB4_HEAD_BYTES, rows, columns, s.n_in, g * s.group, (g + 1) * s.group);
    for (size_t c = 0; c < PANEL; c++) {
        uint8_t *head = panel + c * sizeof *scale;
        double total = 0;
        for (size_t g = 0; g < groups; g++, head += bytes) {
            uint16_t bits = c < columns ? scale[c * groups + g] : 0;
            int16_t sum = 0;
            if (c < columns) sum = (int16_t)qd4_sum(rows + c * (s.n_in / 2), g * s.group, (g + 1) * s.group);
            memcpy(head, &bits, sizeof bits);
            if (QB4_SUMS) memcpy(head + PANEL * sizeof sum, &sum, sizeof sum);
            total += (double)dlx_bf16_to_f32(bits) * (double)sum; /* as dlx_qb4_w_sum does */
        }
        w_sums[c] = (float)total;
        biases[c] = c < columns && w->bias ? w->bias[first + c] : 0.0f;
    }
}

/* ---- tiles ------------------------------------------------------------------------------------------------------ */

/* Where the loop over steps is. */
typedef struct qd4_place {
    const uint8_t *w, *next;
    const qd4_act *x;
    size_t chunk; /* of qd8_tile_args */
} qd4_place;

static const qd4_act *qd4_rows(const qd8_tile_args *t, size_t rows)
{
    const uint8_t *x = t->x;
#if QD8_SPLIT
    x += qd8_rows_bytes(rows, t->n_in);
#else
    (void)rows;
#endif
    return (const qd4_act *)(const void *)x;
}

/* acc += the products of `steps` steps, as long as QD4_PARTS allows where there is such a bound. `rows` is a constant
 * wherever this is inlined. */
DLX_INLINE void qd4_add_steps(qd4_part acc[DOT_TILE][DOT_VECS], qd4_place *at, size_t next_step, size_t steps,
                              const size_t rows)
{
    const uint8_t *w = at->w, *next = at->next;
    const qd4_act *x = at->x;
    for (; steps > 0; steps--) {
        qd8_weights wv[DOT_VECS];
        qd4_load_weights(wv, w);
        prefetch_l2(next);
        UNROLL for (size_t i = 0; i < dot_rows(rows); i++)
        {
            qd8_inputs xv = qd4_inputs_of(x, i, rows);
            UNROLL for (size_t j = 0; j < DOT_VECS; j++) acc[i][j] = qd4_dot(acc[i][j], wv[j], xv);
        }
        w += QD4_STEP_BYTES;
        next += next_step;
        x += qd8_to_next(x, at->chunk, rows);
    }
    *at = (qd4_place){w, next, x, at->chunk};
}

/* acc = start + the products of `steps` >= 1 steps; start: NULL for zeros. */
DLX_INLINE void qd4_sums(vi acc[TILE_ROWS][TILE_VECS], qd4_place *at, size_t next_step, size_t steps, const size_t rows)
{
#if QD4_PARTS
    size_t n = min_size(steps, QD4_PARTS);
    qd4_part part[TILE_ROWS][TILE_VECS];
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) part[i][j] = qd4_none();
    qd4_add_steps(part, at, next_step, n, rows);
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[i][j] =
        qd4_widen(part[i][j]);
    while (steps -= n) {
        n = min_size(steps, QD4_PARTS);
        UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) part[i][j] = qd4_none();
        qd4_add_steps(part, at, next_step, n, rows);
        UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) acc[i][j] =
            vi_add(acc[i][j], qd4_widen(part[i][j]));
    }
#else
    vi part[DOT_TILE][DOT_VECS];
    dot_none(part, rows);
    qd4_add_steps(part, at, next_step, steps, rows);
    dot_by_rows(acc, part, rows);
#endif
}

DLX_INLINE void qc4_tile(const qd8_tile_args *t, const size_t rows)
{
    vi acc[TILE_ROWS][TILE_VECS];
    qd4_place at = {t->panel, t->next, qd4_rows(t, rows), t->chunk};
    qd4_sums(acc, &at, t->next_step, t->steps, rows);
    const dlx_qd8_row *row = (const dlx_qd8_row *)(const void *)t->tile;
    const int32_t *sums = (const int32_t *)(const void *)t->columns;
    const float *scales = (const float *)sums + PANEL, *biases = scales + PANEL;
    UNROLL for (size_t i = 0; i < rows; i++)
    {
        vf row_scale = vf_set1(row[i].scale), unit = vf_set1(1.0f / QD4_UNIT);
        vi zero = vi_set1(row[i].zero_point + QD4_OFFSET);
        UNROLL for (size_t j = 0; j < TILE_VECS; j++)
        {
            vi sum = vi_sub(acc[i][j], vi_mul(zero, vi_load(sums + j * VF)));
            vf v = vf_mul(vf_mul(vi_to_vf(sum), unit), row_scale);
            v = vf_fused(v, vf_load(scales + j * VF), vf_load(biases + j * VF));
            vf_store(t->y + i * t->y_stride + j * VF, v);
        }
    }
}

DLX_INLINE void qb4_tile(const qd8_tile_args *t, const size_t rows)
{
    vf out[TILE_ROWS][TILE_VECS];
    qd4_place at = {t->panel, t->next, qd4_rows(t, rows), t->chunk};
    const dlx_qd8_row *row = (const dlx_qd8_row *)(const void *)t->tile;
    const float *w_sums = (const float *)(const void *)t->columns, *biases = w_sums + PANEL;
    UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) out[i][j] =
        vf_mul(vf_set1((float)(-128 - row[i].zero_point)), vf_load(w_sums + j * VF));
    const size_t steps = t->group / QD4_GROUP;
    for (size_t left = t->steps; left > 0; left -= steps) {
        vi acc[TILE_ROWS][TILE_VECS];
        const uint8_t *head = at.w;
        at.w += QB4_HEAD_BYTES;
        if (t->ahead) at.next = head + t->ahead;
        qd4_sums(acc, &at, t->next_step, steps, rows);
        vf scale[TILE_VECS];
        UNROLL for (size_t j = 0; j < TILE_VECS; j++)
        {
            const uint16_t *bits = (const uint16_t *)(const void *)head + j * VF;
            scale[j] = vf_mul(vf_load_bf16(bits), vf_set1(1.0f / QD4_UNIT)); /* exact, as denormals too are multiples */
            if (!QB4_SUMS) continue;
            vi sums = vi_load_i16((const int16_t *)(const void *)bits + PANEL);
            sums = vi_mul(sums, vi_set1((128 - QD4_OFFSET) * QD4_UNIT));
            UNROLL for (size_t i = 0; i < rows; i++) acc[i][j] = vi_add(acc[i][j], sums);
        }
        prefetch_l2(at.next);
        UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t j = 0; j < TILE_VECS; j++) out[i][j] =
            vf_fused(vi_to_vf(acc[i][j]), scale[j], out[i][j]);
    }
    UNROLL for (size_t i = 0; i < rows; i++)
    {
        vf row_scale = vf_set1(row[i].scale);
        UNROLL for (size_t j = 0; j < TILE_VECS; j++)
        {
            vf v = vf_add(vf_mul(out[i][j], row_scale), vf_load(biases + j * VF));
            vf_store(t->y + i * t->y_stride + j * VF, v);
        }
    }
}

#define QC4_TILE(n) QD8_TILE_OF(qc4, n)
#define QB4_TILE(n) QD8_TILE_OF(qb4, n)
EACH_TILE_ROWS(QC4_TILE)
EACH_TILE_ROWS(QB4_TILE)

static const qd8_tile_fn qc4_tiles[TILE_ROWS] = TILE_TABLE(qc4_tile);
static const qd8_tile_fn qb4_tiles[TILE_ROWS] = TILE_TABLE(qb4_tile);

QD8_RUN(qc4)
QD8_RUN(qb4)
QD8_PACKED(qc4)
QD8_PACKED(qb4)

static void set_gemm_qd4(dlx_kernels *k)
{
    k->gemm_qd8_qc4w = QD8_GEMM(qc4);
    k->gemm_qd8_qb4w = QD8_GEMM(qb4);
}
