/*
 * Template: quantised activations for products by vpmaddubsw, which multiplies bytes (one side unsigned), adds pairs
 * and saturates the sum to int16. Included by gemm_qd8_template.h where QD8_SPLIT says so.
 *
 * Weights are stored as w + 128, unsigned. Activations are counted from a centre, d = q - centre, and so that no pair
 * can saturate: the positive ones of a pair sum up to at most 127, the negative ones to at least -128 (255 * 128 <
 * 2^15). Most pairs of a row are so by themselves, as activations gather around zero. What is not is split: the step
 * gets what fits, and the rest is an extra step of this row with the same weights. So sum (q - zero_point) * w = sum
 * over steps and extras of d * (w + 128) - 128 * sum d - (zero_point - centre) * sum w, exact modulo 2^32 whatever the
 * row; only time depends on how many extras there are.
 *
 * The centre is the zero point; rows that would need more extras than steps get 0, where |d| <= 128 and no step needs
 * more than one.
 */
enum {
    SPLIT_HIGH = 127, /* what the sums of a pair may be */
    SPLIT_LOW = -128,
    SPLIT_PIECE = 64, /* two of these fit */
    SPLIT_CHUNK = 64, /* numbers at a time */
};

typedef struct qd8_split {
    int32_t centre;
    int32_t sum; /* of d, modulo 2^32 */
    uint32_t extras;
    uint32_t unused;
} qd8_split;

typedef struct qd8_extra {
    uint32_t step;
    int8_t d[QD8_GROUP];
} qd8_extra;

/* Row i of a tile: where its parts are. */
typedef struct split_row {
    qd8_act *to; /* of step 0 */
    size_t stride;
    qd8_split *split;
    qd8_extra *extra; /* [capacity] */
    size_t capacity;
} split_row;

/* Numbers d as bytes, and their sum; bit i of the result: pair i could saturate. AVX2, which all such sets have. */
DLX_INLINE uint32_t split_chunk(int8_t act[SPLIT_CHUNK], uint32_t *sum, const int16_t d[SPLIT_CHUNK])
{
    const __m256i zero = _mm256_setzero_si256(), one = _mm256_set1_epi16(1);
    const __m256i high = _mm256_set1_epi32(SPLIT_HIGH), low = _mm256_set1_epi32(SPLIT_LOW);
    uint32_t bad = 0;
    __m256i total = zero;
    for (size_t i = 0; i < SPLIT_CHUNK; i += 32) {
        __m256i v[2], wanted[2];
        for (size_t j = 0; j < 2; j++) {
            v[j] = _mm256_loadu_si256((const __m256i *)(const void *)(d + i + 16 * j));
            __m256i above = _mm256_madd_epi16(_mm256_max_epi16(v[j], zero), one);
            __m256i below = _mm256_madd_epi16(_mm256_min_epi16(v[j], zero), one);
            wanted[j] = _mm256_or_si256(_mm256_cmpgt_epi32(above, high), _mm256_cmpgt_epi32(low, below));
            total = _mm256_add_epi32(total, _mm256_add_epi32(above, below));
            bad |= (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(wanted[j])) << (i / 2 + 8 * j);
        }
        __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(v[0], v[1]), 0xD8);
        _mm256_storeu_si256((__m256i *)(void *)(act + i), bytes);
    }
    uint32_t lane[8];
    _mm256_storeu_si256((__m256i *)(void *)lane, total);
    for (size_t i = 0; i < 8; i++) *sum += lane[i];
    return bad;
}

static int8_t split_piece(int d)
{
    return (int8_t)(d > SPLIT_PIECE ? SPLIT_PIECE : d < -SPLIT_PIECE ? -SPLIT_PIECE : d);
}

/* Step `step` of the row, whose pairs `wanted` (bits) are split: act becomes what fits of d, the rest goes to extras.
 * False when there is no room for it. */
static bool split_step(const split_row *r, size_t step, int8_t act[QD8_GROUP], const int16_t d[QD8_GROUP],
                       uint32_t wanted)
{
    int rest[QD8_GROUP], left = 0;
    for (size_t i = 0; i < QD8_GROUP; i++) {
        if (wanted >> i / 2 & 1) act[i] = split_piece(d[i]);
        rest[i] = d[i] - act[i];
        left |= rest[i];
    }
    while (left) {
        if (r->split->extras == r->capacity) return false;
        qd8_extra *e = &r->extra[r->split->extras++];
        e->step = (uint32_t)step;
        left = 0;
        for (size_t i = 0; i < QD8_GROUP; i++) {
            e->d[i] = split_piece(rest[i]);
            rest[i] -= e->d[i];
            left |= rest[i];
        }
    }
    return true;
}

/* The next `n` steps of the row, from `step` on, from the numbers d, which are 0 behind these. */
static bool split_steps(const split_row *r, size_t step, size_t n, const int16_t d[SPLIT_CHUNK])
{
    int8_t act[SPLIT_CHUNK];
    uint32_t sum = (uint32_t)r->split->sum, pairs = split_chunk(act, &sum, d);
    r->split->sum = (int32_t)sum;
    while (pairs) {
        size_t g = (size_t)__builtin_ctz(pairs) / 2;
        if (!split_step(r, step + g, act + g * QD8_GROUP, d + g * QD8_GROUP, pairs >> 2 * g & 3)) return false;
        pairs &= ~(3u << 2 * g);
    }
    for (size_t g = 0; g < n; g++) memcpy(r->to + (step + g) * r->stride, act + g * QD8_GROUP, QD8_GROUP);
    return true;
}
