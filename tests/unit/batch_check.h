/*
 * Random lives of several sequences in one workspace, each mirrored by a session that is alone on another model (same
 * file, another number of threads): batches, single calls, forks, truncations, ends. Logits must have the same bits,
 * and so must the summaries that half of the calls ask for: those of the mirror's logits.
 */
#ifndef DLX_TESTS_BATCH_CHECK_H
#define DLX_TESTS_BATCH_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "diffulex_edge/model.h"

#include "base/row_summary.h"

/* Where everything is ten times slower, lives are shorter. */
enum { LIFE = DLX_SLOW ? 1 : 4 };

enum { MOST_SEQUENCES = 6, MOST_HISTORY = 64, MOST_CALL = 96 };

typedef struct past_call {
    int32_t ids[MOST_CALL], n, start, begin, block, store,
        truncate; /* context [begin, start); truncate >= 0: no call */
} past_call;

typedef struct sequence {
    dlx_session *s, *alone;
    past_call past[MOST_HISTORY];
    int n_past;
    int32_t end; /* positions 0 .. end-1 are stored */
} sequence;

typedef struct batch_check {
    dlx_model *model, *mirror;
    dlx_workspace *w, *mirror_w; /* the mirror's sessions have bounds of their own, in workspaces of one session */
    const char *kv_type;
    int32_t rows, context, vocab, block;
    sequence q[MOST_SEQUENCES];
    float *logits[MOST_SEQUENCES], *expected;
    dlx_row_summary summaries[MOST_SEQUENCES][MOST_CALL];
    uint32_t seed;
    int batched, forked, refused, summarised;
} batch_check;

static inline int32_t below(batch_check *b, int32_t n)
{
    b->seed = b->seed * 1664525u + 1013904223u;
    return (int32_t)((uint64_t)(b->seed >> 8) * (uint32_t)n >> 24);
}

static inline dlx_forward_call call_of(const past_call *p, float *logits)
{
    dlx_forward_call c = {.struct_size = sizeof c,
                          .ids = p->ids,
                          .n_ids = p->n,
                          .start = p->start,
                          .attn_block = p->block,
                          .n_store = p->store,
                          .n_rows = logits ? p->n : 0,
                          .logits = logits};
    if (p->begin < p->start) c.context[c.n_context++] = (dlx_span){p->begin, p->start};
    return c;
}

static inline dlx_session *open_alone(batch_check *b)
{
    dlx_session *s = NULL;
    dlx_workspace *w = NULL;
    dlx_error err = {0};
    dlx_workspace_options o = {.struct_size = sizeof o,
                               .max_rows = b->rows,
                               .max_context = b->context,
                               .max_sessions = MOST_SEQUENCES,
                               .kv_type = b->kv_type};
    if (!b->mirror_w && dlx_workspace_open(&w, b->mirror, &o, &err) != DLX_OK) fail_msg("%s", err.message);
    if (w) b->mirror_w = w;
    if (dlx_session_open_in(&s, b->mirror_w, &err) != DLX_OK) fail_msg("%s", err.message);
    return s;
}

static inline void replay(batch_check *b, sequence *q)
{
    q->alone = open_alone(b);
    for (int i = 0; i < q->n_past; i++) {
        dlx_error err = {0};
        if (q->past[i].truncate >= 0) {
            dlx_session_truncate(q->alone, q->past[i].truncate);
            continue;
        }
        dlx_forward_call c = call_of(&q->past[i], NULL);
        if (dlx_session_forward(q->alone, &c, &err) != DLX_OK) fail_msg("%s", err.message);
    }
}

static inline void remember(sequence *q, past_call p)
{
    assert_true(q->n_past < MOST_HISTORY);
    q->past[q->n_past++] = p;
}

static inline void start_sequence(batch_check *b, int i)
{
    sequence *q = &b->q[i];
    dlx_error err = {0};
    int from = below(b, MOST_SEQUENCES);
    *q = (sequence){.end = 0};
    if (b->q[from].s && from != i && b->q[from].n_past + 3 < MOST_HISTORY) {
        int32_t n = b->q[from].end ? below(b, b->q[from].end + 1) / b->block * b->block : 0;
        *q = b->q[from];
        if (dlx_session_fork(&q->s, b->q[from].s, n, &err) != DLX_OK) fail_msg("%s", err.message);
        remember(q, (past_call){.truncate = n});
        q->end = n;
        b->forked++;
    } else if (dlx_session_open_in(&q->s, b->w, &err) != DLX_OK) {
        fail_msg("%s", err.message);
    }
    replay(b, q);
}

static inline void end_sequence(sequence *q)
{
    dlx_session_close(q->s);
    dlx_session_close(q->alone);
    *q = (sequence){.s = NULL};
}

static inline void shrink(batch_check *b, sequence *q)
{
    int32_t n = below(b, q->end + 1) / b->block * b->block;
    dlx_session_truncate(q->s, n);
    dlx_session_truncate(q->alone, n);
    remember(q, (past_call){.truncate = n});
    q->end = n;
}

/* A denoising pass or a commit of one or several blocks behind everything that is stored. */
static inline past_call random_call(batch_check *b, const sequence *q)
{
    past_call p = {.truncate = -1, .start = q->end, .block = b->block};
    int32_t room = b->context - q->end, most = room < MOST_CALL ? room : MOST_CALL;
    p.n = below(b, 3) ? 1 + below(b, b->block) : 1 + below(b, most);
    if (p.n > most) p.n = most;
    if (!below(b, 5)) p.begin = below(b, q->end + 1) / b->block * b->block;
    if (below(b, 2)) p.store = below(b, 2) ? p.n / b->block * b->block : p.n;
    for (int32_t i = 0; i < p.n; i++) p.ids[i] = below(b, b->vocab);
    return p;
}

/* Asks a call for summaries, by rules that leave out the likeliest ids now and then. */
static inline void ask_for_summaries(batch_check *b, dlx_forward_call *c, dlx_row_summary *summaries)
{
    memset(summaries, 0, (size_t)c->n_rows * sizeof *summaries);
    c->summaries = summaries;
    c->never = below(b, b->vocab + 1) - 1;
    c->known = below(b, 2) ? 1 + below(b, b->vocab) : 0;
    c->with_logits = below(b, 2);
    c->logits[0] = -1234.5f;
}

/* `made` is the call whose logits or summaries are there. */
static inline void compare_alone(batch_check *b, sequence *q, const past_call *p, const dlx_forward_call *made)
{
    dlx_error err = {0};
    dlx_forward_call c = call_of(p, b->expected);
    if (dlx_session_forward(q->alone, &c, &err) != DLX_OK) fail_msg("%s", err.message);
    for (int32_t r = 0; r < p->n && made->summaries; r++) {
        dlx_row_summary want = dlx_summary_of_row(b->expected + (size_t)r * (size_t)b->vocab, b->vocab,
                                                  (dlx_row_rules){made->never, made->known});
        assert_memory_equal(&made->summaries[r], &want, sizeof want);
        assert_true(made->with_logits || made->logits[0] == -1234.5f); /* nothing was written down */
        b->summarised++;
    }
    if (!made->summaries || made->with_logits)
        assert_memory_equal(made->logits, b->expected, (size_t)p->n * (size_t)b->vocab * sizeof *made->logits);
    if (!p->store) return;
    remember(q, *p);
    q->end = p->start + p->store;
    if (p->store % b->block == 0) return;
    q->end = p->start + p->store / b->block * b->block; /* half a block is stored: away with it */
    dlx_session_truncate(q->s, q->end);
    dlx_session_truncate(q->alone, q->end);
    remember(q, (past_call){.truncate = q->end});
}

static inline void one_batch(batch_check *b)
{
    dlx_session *sessions[MOST_SEQUENCES];
    past_call p[MOST_SEQUENCES];
    dlx_forward_call calls[MOST_SEQUENCES];
    const dlx_forward_call *pointers[MOST_SEQUENCES];
    dlx_status status[MOST_SEQUENCES];
    dlx_error errors[MOST_SEQUENCES];
    int which[MOST_SEQUENCES];
    size_t n = 0;
    for (int i = 0; i < MOST_SEQUENCES; i++) {
        sequence *q = &b->q[i];
        if (!q->s || q->n_past + 2 >= MOST_HISTORY || q->end >= b->context || !below(b, 4)) continue;
        p[n] = random_call(b, q);
        calls[n] = call_of(&p[n], b->logits[n]);
        if (below(b, 2)) ask_for_summaries(b, &calls[n], b->summaries[n]);
        pointers[n] = &calls[n];
        which[n] = i;
        sessions[n++] = q->s;
    }
    if (!n) return;
    int bad = n > 1 && !below(b, 6) ? below(b, (int32_t)n) : -1;
    int32_t good_id = bad >= 0 ? p[bad].ids[0] : 0;
    if (bad >= 0) p[bad].ids[0] = b->vocab; /* one call fails, for itself */
    dlx_status all = dlx_forward_batch(sessions, pointers, n, status, errors);
    for (size_t i = 0; i < n; i++)
        if ((int)i != bad && status[i] != DLX_OK) fail_msg("%s", errors[i].message);
    assert_int_equal(all, bad < 0 ? DLX_OK : DLX_E_INVALID);
    for (size_t i = 0; i < n; i++) {
        if ((int)i == bad) {
            assert_int_equal(status[i], DLX_E_INVALID);
            assert_non_null(strstr(errors[i].message, "outside the vocabulary"));
            p[i].ids[0] = good_id;
            b->refused++;
            continue;
        }
        compare_alone(b, &b->q[which[i]], &p[i], &calls[i]);
        b->batched += n > 1;
    }
}

/* Opens everything, lives LIFE * `steps` steps, closes everything. */
static inline void live(batch_check *b, int steps)
{
    dlx_error err = {0};
    dlx_workspace_options o = {.struct_size = sizeof o,
                               .max_rows = b->rows,
                               .max_context = b->context,
                               .max_sessions = MOST_SEQUENCES,
                               .kv_type = b->kv_type};
    if (dlx_workspace_open(&b->w, b->model, &o, &err) != DLX_OK) fail_msg("%s", err.message);
    int32_t pages = dlx_workspace_free_positions(b->w);
    b->vocab = dlx_model_get_facts(b->model)->vocab_size;
    size_t floats = (size_t)MOST_CALL * (size_t)b->vocab;
    b->expected = malloc(floats * sizeof(float));
    for (int i = 0; i < MOST_SEQUENCES; i++) b->logits[i] = malloc(floats * sizeof(float));
    for (int i = 0; i < LIFE * steps; i++) {
        int k = below(b, MOST_SEQUENCES), what = below(b, 12);
        if (!b->q[k].s)
            start_sequence(b, k);
        else if (what == 0 || b->q[k].n_past + 3 >= MOST_HISTORY)
            end_sequence(&b->q[k]);
        else if (what == 1)
            shrink(b, &b->q[k]);
        one_batch(b);
    }
    for (int i = 0; i < MOST_SEQUENCES; i++) {
        if (b->q[i].s) end_sequence(&b->q[i]);
        free(b->logits[i]);
    }
    free(b->expected);
    assert_int_equal(dlx_workspace_free_positions(b->w), pages); /* no page is lost */
    dlx_workspace_close(b->w);
    dlx_workspace_close(b->mirror_w);
    b->mirror_w = NULL;
}

#endif
