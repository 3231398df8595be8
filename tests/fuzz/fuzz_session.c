/*
 * Sequences of forward calls over sessions of a tiny model, fused and node by node, alone or in one workspace: any ids,
 * positions, spans of context, demanded rows, stored rows and attention, single or batched, between forks, truncations
 * and questions about reusable prompts, while pages run out.
 *
 * The fuzzer remembers which id was stored where. A call that succeeds must give the logits that the reference gives
 * for the pairs of token and position its rows may see; a call without a fault must succeed; a call with a fault must
 * be refused with a sentence, and must leave what is stored alone. A call in a batch gives the bits that it gives
 * alone.
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

enum { SLOTS = 5, MOST_OPS = 32, MOST_IDS = 200, SPARE_PAGES = 8 };

/* A workspace that several slots share: [0] of the fused program, [1] of the one that runs node by node. */
typedef struct place {
    dlx_workspace *w;
    int32_t max_rows, max_context, all; /* positions that are free when nothing is open */
    double tolerance;
} place;

/* A session and what must be in it. */
typedef struct sequence {
    dlx_session *s;
    bool fused;
    const place *in; /* NULL: a workspace of its own */
    int32_t max_rows, max_context;
    double tolerance;
    int32_t id[CONTEXT];
    bool sure[CONTEXT], maybe[CONTEXT]; /* may be read; was stored and not truncated since */
} sequence;

typedef enum verdict { VALID, WRONG, EITHER } verdict;

/* A call and the memory it points to, which is as long as the call says, so that a sanitizer sees who reads or writes
 * past it; a call that says more than any session takes must be refused before its memory is touched. */
typedef struct request {
    dlx_forward_call c;
    int32_t *ids, *rows;
    size_t logits; /* floats */
    verdict v;
} request;

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
     * which are not always possible; and others may hold the pages that it needs. */
    bool alike = !c->attn_block || c->start / c->attn_block == (c->start + c->n_ids - 1) / c->attn_block;
    bool pages = !q->in || !q->fused || dlx_workspace_free_positions(q->in->w) >= SPARE_PAGES * DLX_KV_PAGE;
    return v == VALID && (c->n_ids > q->max_rows || (!q->fused && !alike) || !pages) ? EITHER : v;
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

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

static size_t bounded(int32_t n)
{
    return n > 0 ? (n < MOST_IDS ? (size_t)n : MOST_IDS) : 0;
}

static void *memory(size_t n)
{
    void *p = malloc(n + 1);
    require(p != NULL);
    return p;
}

static void take_rows(request *r, fuzz_input *in)
{
    dlx_forward_call *c = &r->c;
    uint8_t demand = take_byte(in);
    c->n_rows = demand % 3 == 0 ? c->n_ids : pick(in, MAX_ROWS);
    size_t n = bounded(c->n_rows);
    if (demand & 4) {
        r->rows = memory(n * sizeof *r->rows);
        for (size_t i = 0; i < n; i++) {
            r->rows[i] = pick(in, demand & 8 ? MAX_ROWS : 3);
            if (i && !(demand & 8)) r->rows[i] = (int32_t)((uint32_t)r->rows[i] + (uint32_t)r->rows[i - 1] + 1);
        }
    }
    r->logits = n * VOCAB;
    c->rows = r->rows;
    c->logits = demand & 16 && demand & 32 ? NULL : memory(r->logits * sizeof(float));
}

static request take_request(const sequence *q, fuzz_input *in)
{
    request r = {.c = {.struct_size = sizeof r.c, .start = pick(in, CONTEXT)}};
    r.c.n_ids = pick(in, MAX_ROWS + 2);
    r.ids = memory(bounded(r.c.n_ids) * sizeof *r.ids);
    take_ids(r.ids, bounded(r.c.n_ids), in);
    r.c.ids = r.ids;
    take_context(&r.c, in);
    r.c.attn_block = pick(in, 9);
    r.c.n_store = take_byte(in) % 4 ? r.c.n_ids : pick(in, MAX_ROWS);
    if (take_byte(in) % 4 == 0) r.c.n_store = 0;
    take_rows(&r, in);
    r.v = judge(q, &r.c);
    return r;
}

static void free_request(request *r)
{
    free(r->c.logits);
    free(r->rows);
    free(r->ids);
}

/* ---- what comes of a call --------------------------------------------------------------------------------------- */

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
        if (!(apart <= q->tolerance))
            fprintf(stderr, "row %d, logit %d: %g, expected %g\n", row, i, (double)got[i], want[i]);
        require(apart <= q->tolerance);
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

static void finish_request(sequence *q, const request *r, dlx_status s, const dlx_error *err)
{
    const dlx_forward_call *c = &r->c;
    require_sentence(s, err);
    require(s == DLX_OK || s == DLX_E_INVALID || s == DLX_E_LIMIT || s == DLX_E_UNSUPPORTED);
    if (r->v != EITHER && (r->v == VALID) != (s == DLX_OK)) fprintf(stderr, "status %d: %s\n", s, err->message);
    require(r->v == EITHER || (r->v == VALID) == (s == DLX_OK));
    if (s != DLX_OK) return;
    for (int32_t i = 0; i < c->n_rows; i++) check_row(q, c, r->rows ? r->rows[i] : i, c->logits + (size_t)i * VOCAB);
    remember(q, c);
}

/* ---- operations ------------------------------------------------------------------------------------------------- */

static void forward(sequence *q, fuzz_input *in)
{
    request r = take_request(q, in);
    dlx_error err = {0};
    finish_request(q, &r, dlx_session_forward(q->s, &r.c, &err), &err);
    free_request(&r);
}

/* The logits of the call alone, from a fork that is closed again; NULL when there is no room for one. */
static float *alone(const sequence *q, const request *r)
{
    dlx_session *fork;
    if (r->v == WRONG || !q->in || dlx_session_fork(&fork, q->s, q->max_context, NULL) != DLX_OK) return NULL;
    dlx_forward_call c = r->c;
    c.logits = memory(r->logits * sizeof(float));
    dlx_status s = dlx_session_forward(fork, &c, NULL);
    dlx_session_close(fork);
    if (s == DLX_OK) return c.logits;
    free(c.logits);
    return NULL;
}

/* One call for each of several slots; `mask` says which. Sessions that cannot share passes are refused together. */
static void batch(sequence *all, fuzz_input *in)
{
    sequence *q[SLOTS];
    request r[SLOTS];
    float *want[SLOTS];
    dlx_session *sessions[SLOTS] = {NULL};
    const dlx_forward_call *calls[SLOTS] = {NULL};
    dlx_status status[SLOTS];
    dlx_error errors[SLOTS] = {{0}};
    uint8_t mask = take_byte(in);
    bool together = true, twice = mask & 0x80;
    size_t n = 0;
    for (int i = 0; i < SLOTS; i++)
        if (all[i].s && mask >> i & 1) q[n++] = &all[i];
    if (twice && n && n < SLOTS) q[n++] = q[0];
    for (size_t i = 0; i < n; i++) {
        together = together && (n == 1 || (q[i]->in && q[i]->in == q[0]->in)) && !(i && q[i] == q[0]);
        r[i] = take_request(q[i], in);
        sessions[i] = q[i]->s;
        calls[i] = &r[i].c;
    }
    for (size_t i = 0; i < n; i++) want[i] = together ? alone(q[i], &r[i]) : NULL;
    dlx_status s = dlx_forward_batch(sessions, calls, n, status, errors), first = DLX_OK;
    if (!n || !together) require(s == DLX_E_INVALID);
    for (size_t i = 0; i < n; i++) {
        if (first == DLX_OK) first = status[i];
        require(together || status[i] == DLX_E_INVALID);
        if (together) finish_request(q[i], &r[i], status[i], &errors[i]);
        if (want[i] && status[i] == DLX_OK && r[i].c.n_rows)
            require(!memcmp(want[i], r[i].c.logits, (size_t)r[i].c.n_rows * VOCAB * sizeof(float)));
        free(want[i]);
        free_request(&r[i]);
    }
    require(!n || s == first);
}

static void open_place(place *p, bool fused, fuzz_input *in)
{
    dlx_workspace_options o = {.struct_size = sizeof o};
    dlx_error err = {0};
    uint8_t kind = take_byte(in);
    o.max_rows = pick(in, MAX_ROWS + 1);
    o.max_context = pick(in, CONTEXT + 1);
    o.max_sessions = pick(in, SLOTS + 2);
    o.kv_positions = kind & 2 ? pick(in, CONTEXT) : 0;
    if (o.kv_positions > 1 << 14) o.kv_positions >>= 17; /* what is asked for is given, or there is no memory */
    o.kv_type = kind & 1 ? (kind & 4 ? "int8" : "float16") : NULL;
    dlx_status s = dlx_workspace_open(&p->w, models[!fused], &o, &err);
    require_sentence(s, &err);
    require((s == DLX_OK) == (p->w != NULL));
    if (s != DLX_OK) return;
    p->max_context = o.max_context ? o.max_context : CONTEXT;
    p->max_rows = o.max_rows && o.max_rows < p->max_context ? o.max_rows : o.max_rows ? p->max_context : MAX_ROWS;
    if (p->max_rows > p->max_context) p->max_rows = p->max_context;
    p->all = dlx_workspace_free_positions(p->w);
    p->tolerance = kind & 1 ? (kind & 4 ? 0.5 : 0.1) : 1e-4; /* int8 has 8 bits, halves have 11 */
}

static void open_session(sequence *q, place places[2], fuzz_input *in)
{
    uint8_t kind = take_byte(in);
    dlx_error err = {0};
    dlx_session_close(q->s);
    memset(q, 0, sizeof *q);
    q->fused = kind % 2 == 0;
    if (kind & 2) {
        place *p = &places[!q->fused];
        if (!p->w) open_place(p, q->fused, in);
        if (!p->w) return;
        dlx_status s = dlx_session_open_in(&q->s, p->w, &err);
        require_sentence(s, &err);
        require(s == DLX_OK || s == DLX_E_LIMIT);
        q->in = p;
        q->max_rows = p->max_rows;
        q->max_context = p->max_context;
        q->tolerance = p->tolerance;
        return;
    }
    int32_t rows = pick(in, MAX_ROWS + 1), context = pick(in, CONTEXT + 1);
    dlx_status s = dlx_session_open(&q->s, models[!q->fused], rows, context, &err);
    require_sentence(s, &err);
    require((s == DLX_OK) == (q->s != NULL));
    require((s == DLX_OK) == (rows >= 0 && rows <= MAX_ROWS && context >= 0 && context <= CONTEXT));
    q->max_context = context ? context : CONTEXT;
    q->max_rows = rows ? rows : MAX_ROWS;
    if (q->max_rows > q->max_context) q->max_rows = q->max_context;
    q->tolerance = 1e-4;
}

static void fork_session(sequence *all, const sequence *from, fuzz_input *in)
{
    sequence *q = &all[take_byte(in) % SLOTS];
    int32_t n = pick(in, CONTEXT + 1);
    dlx_session *s;
    dlx_error err = {0};
    if (q->s) return;
    dlx_status status = dlx_session_fork(&s, from->s, n, &err);
    require_sentence(status, &err);
    require((status == DLX_OK) == (s != NULL));
    require(status != DLX_OK || (n >= 0 && n <= from->max_context));
    if (status != DLX_OK) return;
    *q = *from;
    q->s = s;
    for (int32_t p = n; p < CONTEXT; p++) q->sure[p] = q->maybe[p] = false;
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

static void operate(uint8_t op, sequence *all, place places[2], fuzz_input *in)
{
    sequence *q = &all[op / 16 % SLOTS];
    if (!q->s || op % 16 == 15) {
        open_session(q, places, in);
        return;
    }
    switch (op % 16) {
    case 10: batch(all, in); break;
    case 11: fork_session(all, q, in); break;
    case 12:
        dlx_session_close(q->s);
        q->s = NULL;
        break;
    case 13: ask_reusable(q, in); break;
    case 14: truncate_session(q, in); break;
    default: forward(q, in); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sequence all[SLOTS];
    place places[2] = {{0}};
    fuzz_input in = {data, size};
    prepare();
    memset(all, 0, sizeof all);
    for (int i = 0; i < MOST_OPS && in.left; i++) operate(take_byte(&in), all, places, &in);
    for (int i = 0; i < SLOTS; i++) dlx_session_close(all[i].s);
    for (int i = 0; i < 2; i++) {
        /* Every page came back. */
        if (places[i].w) require(dlx_workspace_free_positions(places[i].w) == places[i].all);
        dlx_workspace_close(places[i].w);
    }
    return 0;
}
