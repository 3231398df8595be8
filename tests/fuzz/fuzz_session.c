/*
 * Sequences of forward calls over sessions of a tiny model, fused and node by node: any ids, positions, spans of
 * context, demanded rows, stored rows and attention, between truncations and questions about reusable prompts.
 *
 * The fuzzer remembers which id was stored where. A call that succeeds must give the logits that the reference gives
 * for the pairs of token and position its rows may see; a call without a fault must succeed; a call with a fault must
 * be refused with a sentence, and must leave what is stored alone.
 */
#include <sys/stat.h>
#include <unistd.h>

#define TINY_POSITIONS 160
#define TINY_CONTEXT   160
#define TINY_ROWS      40
#include "../unit/tiny_file.h"
#include "../unit/tiny_reference.h"

#include "diffulex_edge/model.h"
#include "fuzz.h"
#include "input.h"

enum { SESSIONS = 3, MOST_OPS = 32, MOST_IDS = 200 };

/* A session and what must be in it. */
typedef struct sequence {
    dlx_session *s;
    bool fused;
    int32_t max_rows, max_context;
    int32_t id[CONTEXT];
    bool sure[CONTEXT], maybe[CONTEXT]; /* may be read; was stored and not truncated since */
} sequence;

typedef enum verdict { VALID, WRONG, EITHER } verdict;

static tiny_reference reference;
static dlx_model *models[2];

static void prepare(void)
{
    char path[] = "/tmp/dlx-fuzz-session-XXXXXX";
    dlx_error err = {0};
    dlx_model_options o = dlx_model_options_default();
    if (models[0]) return;
    o.threads = 1;
    int fd = mkstemp(path);
    require(fd >= 0);
    close(fd);
    for (int i = 0; i < 2; i++) {
        write_tiny_file(path, i == 0 ? TINY_PLAIN : TINY_HIDDEN);
        require(dlx_model_open(&models[i], path, &o, &err) == DLX_OK);
    }
    unlink(path);
    tiny_reference_make(&reference);
}

/* Mostly in 0 .. n-1. */
static int32_t pick(fuzz_input *in, int32_t n)
{
    uint8_t b = take_byte(in);
    return b < 0xF0 ? b % n : take_int(in);
}

/* ---- what a call is worth --------------------------------------------------------------------------------------- */

static bool outside(int64_t begin, int64_t n, int64_t end)
{
    return begin < 0 || n < 0 || begin + n > end;
}

static verdict judge_context(const sequence *q, const dlx_forward_call *c)
{
    verdict v = VALID;
    if (c->n_context < 0 || c->n_context > DLX_MAX_CONTEXT_SPANS) return WRONG;
    for (int32_t i = 0; i < c->n_context; i++) {
        dlx_span x = c->context[i];
        if (outside(x.begin, (int64_t)x.end - x.begin, q->max_context)) return WRONG;
        if (x.begin < (i ? c->context[i - 1].end : 0)) return WRONG;
        if (x.begin == x.end) v = EITHER; /* an empty span says nothing; where it may lie is nobody's business */
        if (x.begin < x.end && x.begin < c->start + c->n_ids && x.end > c->start) return WRONG;
        for (int32_t p = x.begin; p < x.end; p++) {
            if (!q->maybe[p]) return WRONG;
            if (!q->sure[p]) v = EITHER;
            if (c->attn_block > 0 && p / c->attn_block > c->start / c->attn_block) return WRONG;
        }
    }
    return !q->fused && c->n_context > 1 && v == VALID ? EITHER : v;
}

static verdict judge(const sequence *q, const dlx_forward_call *c)
{
    if (c->n_ids < 1 || outside(c->start, c->n_ids, q->max_context) || c->attn_block < 0) return WRONG;
    for (int32_t i = 0; i < c->n_ids; i++)
        if (c->ids[i] < 0 || c->ids[i] >= VOCAB) return WRONG;
    if (c->n_rows < 0 || c->n_rows > c->n_ids || (c->n_rows && !c->logits)) return WRONG;
    for (int32_t i = 0; c->rows && i < c->n_rows; i++)
        if (c->rows[i] < 0 || c->rows[i] >= c->n_ids || (i && c->rows[i] <= c->rows[i - 1])) return WRONG;
    if (c->n_store < 0 || c->n_store > c->n_ids) return WRONG;
    if (c->attn_block > 0 && c->n_store && c->n_store < c->n_ids && (c->start + c->n_store) % c->attn_block)
        return WRONG;
    verdict v = judge_context(q, c);
    /* More rows than the session takes, or blocks for a program that shows its rows all of them, take several passes,
     * which are not always possible. */
    bool alike = !c->attn_block || c->start / c->attn_block == (c->start + c->n_ids - 1) / c->attn_block;
    return v == VALID && (c->n_ids > q->max_rows || (!q->fused && !alike)) ? EITHER : v;
}

/* ---- a call ----------------------------------------------------------------------------------------------------- */

static void check_row(const sequence *q, const dlx_forward_call *c, int32_t row, const float *got)
{
    const tiny_pair *seen[2 * POSITIONS];
    double want[VOCAB];
    size_t n = 0;
    int32_t b = c->attn_block, p = c->start + row;
    for (int32_t i = 0; i < c->n_context; i++)
        for (int32_t k = c->context[i].begin; k < c->context[i].end; k++)
            if (!b || k / b <= p / b) seen[n++] = &reference.pair[q->id[k]][k];
    for (int32_t i = 0; i < c->n_ids; i++)
        if (!b || (c->start + i) / b <= p / b) seen[n++] = &reference.pair[c->ids[i]][c->start + i];
    tiny_logits(want, &reference, &reference.pair[c->ids[row]][p], seen, n);
    for (int i = 0; i < VOCAB; i++) {
        double apart = fabs((double)got[i] - want[i]);
        if (!(apart <= 1e-4)) fprintf(stderr, "row %d, logit %d: %g, expected %g\n", row, i, (double)got[i], want[i]);
        require(apart <= 1e-4);
    }
}

static void remember(sequence *q, const dlx_forward_call *c)
{
    if (!c->n_store) return;
    int64_t b = c->attn_block, end = c->start + c->n_store;
    for (int32_t i = 0; i < c->n_store; i++) {
        q->id[c->start + i] = c->ids[i];
        q->sure[c->start + i] = q->maybe[c->start + i] = true;
    }
    /* Later blocks depended on what was there before. */
    for (int64_t p = b ? (end + b - 1) / b * b : CONTEXT; p < CONTEXT; p++) q->sure[p] = false;
}

/* Small ids from one byte, or ids that may be anything. */
static void take_ids(int32_t *ids, size_t n, fuzz_input *in)
{
    uint8_t kind = take_byte(in);
    for (size_t i = 0; i < n; i++)
        ids[i] = kind < 0xC0 ? (int32_t)((kind + i * (kind % 7 + 1) + i * i / 3) % VOCAB) : pick(in, VOCAB);
}

static void take_context(dlx_forward_call *c, fuzz_input *in)
{
    uint8_t kind = take_byte(in) % 4;
    if (kind == 3) {
        c->n_context = pick(in, DLX_MAX_CONTEXT_SPANS + 1);
        for (int i = 0; i < DLX_MAX_CONTEXT_SPANS; i++) {
            c->context[i].begin = pick(in, CONTEXT + 1);
            c->context[i].end = pick(in, CONTEXT + 1);
        }
        return;
    }
    if (kind && c->start > 0) c->context[c->n_context++] = (dlx_span){0, c->start};
    int64_t behind = (int64_t)c->start + c->n_ids;
    if (kind == 2 && behind >= 0 && behind < CONTEXT)
        c->context[c->n_context++] = (dlx_span){(int32_t)behind, (int32_t)behind + pick(in, CONTEXT)};
}

/* Buffers are as long as the call says, so that a sanitizer sees who reads or writes past them; a call that says more
 * than any session takes must be refused before they are touched. */
static void forward(sequence *q, fuzz_input *in)
{
    dlx_forward_call c = {.struct_size = sizeof c, .start = pick(in, CONTEXT)};
    dlx_error err = {0};
    c.n_ids = pick(in, MAX_ROWS + 2);
    size_t n_ids = c.n_ids > 0 ? (c.n_ids < MOST_IDS ? (size_t)c.n_ids : MOST_IDS) : 0;
    int32_t *ids = malloc(n_ids * sizeof *ids + 1), *rows = NULL;
    require(ids != NULL);
    take_ids(ids, n_ids, in);
    c.ids = ids;
    take_context(&c, in);
    c.attn_block = pick(in, 9);
    c.n_store = take_byte(in) % 4 ? c.n_ids : pick(in, MAX_ROWS);
    if (take_byte(in) % 4 == 0) c.n_store = 0;
    uint8_t demand = take_byte(in);
    c.n_rows = demand % 3 == 0 ? c.n_ids : pick(in, MAX_ROWS);
    size_t n_rows = c.n_rows > 0 ? (c.n_rows < MOST_IDS ? (size_t)c.n_rows : MOST_IDS) : 0;
    if (demand & 4) {
        rows = malloc(n_rows * sizeof *rows + 1);
        require(rows != NULL);
        for (size_t i = 0; i < n_rows; i++) {
            rows[i] = pick(in, demand & 8 ? MAX_ROWS : 3);
            if (i && !(demand & 8)) rows[i] = (int32_t)((uint32_t)rows[i] + (uint32_t)rows[i - 1] + 1);
        }
    }
    c.rows = rows;
    c.logits = demand & 16 && demand & 32 ? NULL : malloc(n_rows * VOCAB * sizeof(float) + 1);
    verdict v = judge(q, &c);
    dlx_status s = dlx_session_forward(q->s, &c, &err);
    require_sentence(s, &err);
    require(s == DLX_OK || s == DLX_E_INVALID || s == DLX_E_LIMIT || s == DLX_E_UNSUPPORTED);
    if ((v == VALID && s != DLX_OK) || (v == WRONG && s == DLX_OK)) fprintf(stderr, "status %d: %s\n", s, err.message);
    require(v == EITHER || (v == VALID) == (s == DLX_OK));
    if (s == DLX_OK) {
        for (int32_t i = 0; i < c.n_rows; i++) check_row(q, &c, rows ? rows[i] : i, c.logits + (size_t)i * VOCAB);
        remember(q, &c);
    }
    free(c.logits);
    free(rows);
    free(ids);
}

static void open_session(sequence *q, fuzz_input *in)
{
    uint8_t kind = take_byte(in);
    dlx_error err = {0};
    int32_t rows = pick(in, MAX_ROWS + 1), context = pick(in, CONTEXT + 1);
    dlx_session_close(q->s);
    memset(q, 0, sizeof *q);
    dlx_status s = dlx_session_open(&q->s, models[kind % 2], rows, context, &err);
    require_sentence(s, &err);
    require((s == DLX_OK) == (q->s != NULL));
    require((s == DLX_OK) == (rows >= 0 && rows <= MAX_ROWS && context >= 0 && context <= CONTEXT));
    q->fused = kind % 2 == 0;
    q->max_context = context ? context : CONTEXT;
    q->max_rows = rows ? rows : MAX_ROWS;
    if (q->max_rows > q->max_context) q->max_rows = q->max_context;
}

static void truncate_session(sequence *q, fuzz_input *in)
{
    int32_t n = pick(in, CONTEXT + 1);
    dlx_session_truncate(q->s, n);
    for (int32_t p = n < 0 ? 0 : n; p < CONTEXT; p++) q->sure[p] = q->maybe[p] = false;
}

/* What is said to be cached was stored, as these ids, and is whole blocks. */
static void ask_reusable(const sequence *q, fuzz_input *in)
{
    int32_t ids[CONTEXT + 4], n = take_byte(in) % (CONTEXT + 5), block = pick(in, 9);
    bool stored = take_byte(in) % 4;
    for (int32_t i = 0; i < n; i++) ids[i] = stored && i < CONTEXT ? q->id[i] : pick(in, VOCAB);
    int32_t known = dlx_session_reusable(q->s, ids, (size_t)n, block);
    require(known >= 0 && known <= n && (!known || (block > 0 && known % block == 0 && known < n)));
    for (int32_t i = 0; i < known; i++) require(q->maybe[i] && q->id[i] == ids[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sequence all[SESSIONS] = {{0}};
    fuzz_input in = {data, size};
    prepare();
    for (int i = 0; i < MOST_OPS && in.left; i++) {
        uint8_t op = take_byte(&in);
        sequence *q = &all[op / 16 % SESSIONS];
        if (!q->s || op % 16 == 15)
            open_session(q, &in);
        else if (op % 16 == 14)
            truncate_session(q, &in);
        else if (op % 16 == 13)
            ask_reusable(q, &in);
        else
            forward(q, &in);
    }
    for (int i = 0; i < SESSIONS; i++) dlx_session_close(all[i].s);
    return 0;
}
