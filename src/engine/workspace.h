/*
 * Inside of workspaces and sessions: pages of keys and values, who holds them, and forward calls on their way through
 * passes. Private to engine/.
 */
#ifndef DLX_ENGINE_WORKSPACE_H
#define DLX_ENGINE_WORKSPACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "diffulex_edge/model.h"

#include "base/memory.h"
#include "engine/model.h"
#include "engine/sequence.h"
#include "runtime/program.h"

/* Cached positions [begin, end) in front of a pass: the caller's spans, and what earlier passes of the call stored. */
enum { DLX_MAX_SPANS = DLX_MAX_CONTEXT_SPANS + 1 };

/* The part of a call that goes through the program in one pass. */
typedef struct dlx_piece {
    int32_t row, rows; /* rows [row, row + rows) of the call */
    dlx_span span[DLX_MAX_SPANS];
    int32_t n_spans;
    int32_t asked, n_asked; /* entries of the call's list of demanded rows */
} dlx_piece;

/* A forward call on its way. */
typedef struct dlx_call {
    dlx_session *s;
    dlx_forward_call c;
    bool split;         /* takes several passes */
    bool finished;      /* all passes done, or failed */
    int32_t done;       /* rows that are computed */
    int32_t asked;      /* demanded rows that are computed */
    int32_t left_out;   /* passes made without it since its last one */
    dlx_piece next;     /* what the next pass computes */
    uint8_t *undo;      /* overwritten rows of a split call: [2 * layers][n_store][kv_row], NULL: none */
    dlx_status refused; /* of dlx_call_begin */
    dlx_error error;    /* status DLX_OK until it fails */
} dlx_call;

struct dlx_workspace {
    const dlx_model *m;
    dlx_allocator mem;
    int32_t max_rows, max_context, max_sessions;
    dlx_dtype kv_type;
    size_t kv_row;   /* bytes of one position in one cache tensor */
    int32_t n_pages; /* of DLX_KV_PAGE positions */
    uint8_t *slab;   /* [2 * layers][n_pages * DLX_KV_PAGE][kv_row] */
    bool owned;      /* by its only session */
    bool locks_made;

    pthread_mutex_t pages_lock; /* the three fields below */
    uint16_t *refs;             /* [n_pages] sessions that hold a page */
    uint32_t *changes;          /* [n_pages] how often it was taken or written to */
    int32_t sessions;

    pthread_mutex_t pass_lock; /* everything below */
    dlx_executor *ex;
    int64_t *ids, *positions; /* [max_rows] */
    int32_t *visible, *rows;  /* [max_rows] */
    dlx_segment *segments;    /* [max_sessions] */
    dlx_logits_part *parts;   /* [max_sessions] */
    dlx_call *calls;          /* [max_sessions] of dlx_forward_batch */
    dlx_call **active;        /* [max_sessions] of dlx_forward_batch: those that were not refused */
    dlx_call **chosen;        /* [2 * max_sessions] of a pass, and an order to choose from */
    dlx_cache_run *runs;      /* [max_runs] */
    size_t max_runs;
    dlx_tensor_ref *inputs, *outputs;
};

/* The shared page that a page of a session was copied from, and its count of changes then; -1: it was not copied. */
typedef struct dlx_page_origin {
    int32_t page;
    uint32_t changes;
} dlx_page_origin;

struct dlx_session {
    dlx_workspace *w;
    int32_t *page;           /* [pages of max_context] page of the slab, -1: none */
    dlx_page_origin *origin; /* [pages of max_context] of pages copied for the call that is on its way */
    bool copied;             /* there are some */
    int64_t home;            /* page where place 0 would lie if the sequence were in one piece */
    dlx_sequence seq;
    atomic_bool busy; /* a call is on its way */
};

static inline int32_t dlx_pages_of(int32_t positions)
{
    return (int32_t)(((int64_t)positions + DLX_KV_PAGE - 1) / DLX_KV_PAGE);
}

/* Can the program take rows of several sequences, spans and pages? Otherwise each session has one range of positions.
 */
static inline bool dlx_workspace_pages(const dlx_workspace *w)
{
    return w->m->program.table.holds;
}

/* Row of cache tensor t that holds a position of the session; its page must be there. */
static inline uint8_t *dlx_kv_at(const dlx_session *s, size_t tensor, int32_t position)
{
    const dlx_workspace *w = s->w;
    size_t row = (size_t)s->page[position / DLX_KV_PAGE] * DLX_KV_PAGE + (size_t)(position % DLX_KV_PAGE);
    return w->slab + (tensor * (size_t)w->n_pages * DLX_KV_PAGE + row) * w->kv_row;
}

/* ---- pages.c: positions [begin, end) of a session ---- */

/* Gives the session pages of its own for them: missing ones are taken, shared ones copied. On failure nothing changed.
 */
dlx_status dlx_pages_own(dlx_session *s, int32_t begin, int32_t end, dlx_error *err);
/* Behind a call: forgets where pages were copied from; after a failure shares them again where they are as they were.
 */
void dlx_pages_settle(dlx_session *s, bool failed);
/* Rows were written to the pages of these positions. */
void dlx_pages_written(dlx_session *s, int32_t begin, int32_t end);
/* All pages of an empty session, side by side. */
dlx_status dlx_pages_side_by_side(dlx_session *s, dlx_error *err);
/* Lets `s`, which is empty, hold the pages of positions < n that `from` holds. */
void dlx_pages_share(dlx_session *s, const dlx_session *from, int32_t n);
/* Gives back pages in which nothing is stored. */
void dlx_pages_trim(dlx_session *s);
void dlx_pages_drop_all(dlx_session *s);

/* ---- call.c: by the thread that uses the session ---- */

/* Checks a call, plans its passes and takes the pages that it will write. On failure the session is as it was. */
dlx_status dlx_call_begin(dlx_call *k, dlx_session *s, const dlx_forward_call *c, dlx_error *err);
/* Rows of the call in a pass that has `most` left for it: of the piece `next`, or, where the call takes several passes,
 * of a shorter one. 0: it does not fit. */
int32_t dlx_call_rows(const dlx_call *k, int32_t most);
/* Makes the piece `next` as short as that. */
void dlx_call_shorten(dlx_call *k, int32_t rows);
/* The piece `next` is computed and kept: on to the one behind it. */
void dlx_call_advance(dlx_call *k);
void dlx_call_fail(dlx_call *k, const dlx_error *error);
/* Remembers what a finished call stored, or puts back what it overwrote; its status. */
dlx_status dlx_call_end(dlx_call *k, dlx_error *err);

/* ---- pass.c ---- */

/* One pass over as many of the n <= max_sessions calls as fit, finished ones left out; pass_lock is held. Failures end
 * up in the calls. */
void dlx_calls_pass(dlx_workspace *w, dlx_call *const *calls, size_t n);

/* ---- workspace.c ---- */

/* Of dlx_workspace_options: NULL is float32; DLX_I8 are int8 records (kernels/kv8.h). */
dlx_status dlx_kv_type_of(dlx_dtype *out, const char *name, dlx_error *err);
/* Bytes of one position in one cache tensor. */
size_t dlx_kv_row(const dlx_model *m, dlx_dtype type);
dlx_status dlx_workspace_create(dlx_workspace **out, const dlx_model *m, const dlx_workspace_options *o,
                                dlx_error *err);

#endif
