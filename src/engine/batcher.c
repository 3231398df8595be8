/*
 * The batcher: forward calls of decodes that run on threads of their own meet in common passes. There is no thread
 * behind it: of those who wait, one makes the pass for all. Whoever's call is then finished goes on; the others stay,
 * and one of them makes the next pass, together with what has arrived meanwhile. So a long prefill does not hold up the
 * rest: they ride with its parts (pass.c).
 */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/structs.h"
#include "engine/workspace.h"

enum { DEFAULT_WAIT_US = 2000, MOST_WAIT_US = 60 * 1000 * 1000 };

struct dlx_seat {
    dlx_batcher *b;
    dlx_session *s;
    dlx_call call;
    bool waiting;  /* its call is begun and not finished */
    int64_t since; /* when that became so, by dlx_clock_ns: of a call that waits, or of a seat that others wait for */
};

struct dlx_batcher {
    dlx_workspace *w;
    int64_t max_wait_us;
    pthread_mutex_t lock; /* everything below; taken before the workspace's locks */
    pthread_cond_t news;
    dlx_seat **seats; /* [w->max_sessions] taken ones */
    dlx_call **calls; /* [w->max_sessions] of the pass that is being made */
    int32_t n_seats, n_waiting;
    bool running;   /* somebody makes a pass */
    int64_t passed; /* when the last pass was done */
    dlx_batcher_counts counts;
};

dlx_status dlx_batcher_open(dlx_batcher **out, dlx_workspace *workspace, const dlx_batcher_options *options,
                            dlx_error *err)
{
    dlx_batcher_options o = {.struct_size = sizeof o};
    if (out) *out = NULL;
    if (!out || !workspace)
        return dlx_fail(err, DLX_E_INVALID, "dlx_batcher_open: a workspace and a place for the batcher are needed");
    DLX_TRY(dlx_struct_in(&o, sizeof o, options, "dlx_batcher_options", err));
    if (o.max_wait_us < 0 || o.max_wait_us > MOST_WAIT_US)
        return dlx_fail(err, DLX_E_INVALID, "max_wait_us is %lld; expected 1 to %d, or 0 for %d",
                        (long long)o.max_wait_us, MOST_WAIT_US, DEFAULT_WAIT_US);
    const dlx_allocator *mem = &workspace->mem;
    size_t seats = (size_t)workspace->max_sessions;
    dlx_batcher *b = dlx_mem_zeroed(mem, 1, sizeof *b);
    pthread_condattr_t monotonic;
    bool attr = false, lock = false, news = false;
    if (b) {
        b->w = workspace;
        b->max_wait_us = o.max_wait_us ? o.max_wait_us : DEFAULT_WAIT_US;
        b->seats = dlx_mem_zeroed(mem, seats, sizeof *b->seats);
        b->calls = dlx_mem_zeroed(mem, seats, sizeof *b->calls);
        attr = pthread_condattr_init(&monotonic) == 0;
        lock = pthread_mutex_init(&b->lock, NULL) == 0;
        news = attr && pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
               pthread_cond_init(&b->news, &monotonic) == 0;
        if (attr) pthread_condattr_destroy(&monotonic);
    }
    if (b && b->seats && b->calls && lock && news) {
        *out = b;
        return DLX_OK;
    }
    if (lock) pthread_mutex_destroy(&b->lock);
    if (news) pthread_cond_destroy(&b->news);
    if (b) {
        dlx_mem_free(mem, b->seats, seats, sizeof *b->seats);
        dlx_mem_free(mem, b->calls, seats, sizeof *b->calls);
    }
    dlx_mem_free(mem, b, 1, sizeof *b);
    return dlx_fail(err, DLX_E_NOMEM, "out of memory opening a batcher, or the system refused a lock");
}

void dlx_batcher_close(dlx_batcher *b)
{
    if (!b) return;
    dlx_allocator mem = b->w->mem;
    size_t seats = (size_t)b->w->max_sessions;
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->news);
    dlx_mem_free(&mem, b->seats, seats, sizeof *b->seats);
    dlx_mem_free(&mem, b->calls, seats, sizeof *b->calls);
    dlx_mem_free(&mem, b, 1, sizeof *b);
}

dlx_status dlx_batcher_join(dlx_seat **out, dlx_batcher *b, dlx_session *session, dlx_error *err)
{
    if (out) *out = NULL;
    if (!out || !b || !session)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_batcher_join: a batcher, a session and a place for the seat are needed");
    if (session->w != b->w)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_batcher_join: the session lives in another workspace than the batcher's");
    dlx_seat *seat = dlx_mem_zeroed(&b->w->mem, 1, sizeof *seat);
    if (!seat) return dlx_fail(err, DLX_E_NOMEM, "out of memory taking a seat of a batcher");
    seat->b = b;
    seat->s = session;
    seat->since = dlx_clock_ns();
    bool twice = false;
    pthread_mutex_lock(&b->lock);
    for (int32_t i = 0; i < b->n_seats; i++) twice |= b->seats[i]->s == session;
    if (!twice) b->seats[b->n_seats++] = seat;
    pthread_mutex_unlock(&b->lock);
    if (!twice) {
        *out = seat;
        return DLX_OK;
    }
    dlx_mem_free(&b->w->mem, seat, 1, sizeof *seat);
    return dlx_fail(err, DLX_E_INVALID, "dlx_batcher_join: the session has a seat already");
}

void dlx_batcher_leave(dlx_seat *seat)
{
    if (!seat) return;
    dlx_batcher *b = seat->b;
    pthread_mutex_lock(&b->lock);
    int32_t i = 0;
    while (b->seats[i] != seat) i++;
    b->seats[i] = b->seats[--b->n_seats];
    pthread_cond_broadcast(&b->news); /* the others may have waited for this one alone */
    pthread_mutex_unlock(&b->lock);
    dlx_mem_free(&b->w->mem, seat, 1, sizeof *seat);
}

static int64_t rows_done(const dlx_batcher *b, int32_t n)
{
    int64_t rows = 0;
    for (int32_t i = 0; i < n; i++) rows += b->calls[i]->done;
    return rows;
}

/* Of the pass that was made of the n calls, some of which may have had no room in it. */
static void count_pass(dlx_batcher *b, int32_t n, int64_t rows)
{
    int32_t taken = 0;
    for (int32_t i = 0; i < n; i++) {
        taken += !b->calls[i]->left_out;
        b->counts.calls += b->calls[i]->finished;
    }
    b->counts.passes++;
    b->counts.shared += taken > 1;
    b->counts.rows += rows;
}

/* One pass for everybody who waits; called and left with the lock held. */
static void make_pass(dlx_batcher *b)
{
    int32_t n = 0;
    b->running = true;
    for (int32_t i = 0; i < b->n_seats; i++)
        if (b->seats[i]->waiting) b->calls[n++] = &b->seats[i]->call;
    int64_t before = rows_done(b, n);
    pthread_mutex_unlock(&b->lock);
    pthread_mutex_lock(&b->w->pass_lock);
    dlx_calls_pass(b->w, b->calls, (size_t)n);
    pthread_mutex_unlock(&b->w->pass_lock);
    pthread_mutex_lock(&b->lock);
    b->passed = dlx_clock_ns();
    count_pass(b, n, rows_done(b, n) - before);
    for (int32_t i = 0; i < b->n_seats; i++)
        if (b->seats[i]->waiting && b->seats[i]->call.finished) {
            b->seats[i]->waiting = false;
            b->seats[i]->since = b->passed;
            b->n_waiting--;
        }
    b->running = false;
    pthread_cond_broadcast(&b->news);
}

/*
 * When a pass begins, by dlx_clock_ns, unless everybody waits before: when this call has waited long enough,
 * or the seats that are missing have been away for so long. Time in which a pass was made does not count: those whose
 * calls it finished come back at once, and without them two groups would take turns for good, each waiting for the
 * other's pass.
 */
static int64_t time_of_pass(const dlx_seat *seat)
{
    const dlx_batcher *b = seat->b;
    int64_t waits = seat->since > b->passed ? seat->since : b->passed, missing = 0;
    for (int32_t i = 0; i < b->n_seats; i++)
        if (!b->seats[i]->waiting && b->seats[i]->since > missing) missing = b->seats[i]->since;
    return (waits < missing ? waits : missing) + b->max_wait_us * 1000;
}

/* Sleeps until that time, or news. */
static void wait_until(dlx_batcher *b, int64_t ns)
{
    const struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    pthread_cond_timedwait(&b->news, &b->lock, &t);
}

dlx_status dlx_batcher_forward(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    dlx_seat *seat = ctx;
    if (!seat || !call) return dlx_fail(err, DLX_E_INVALID, "forward: a seat and a call are needed");
    dlx_batcher *b = seat->b;
    dlx_status status = dlx_call_begin(&seat->call, seat->s, call, err);
    if (status != DLX_OK) return status;

    pthread_mutex_lock(&b->lock);
    seat->since = dlx_clock_ns();
    seat->waiting = true;
    b->n_waiting++;
    while (seat->waiting) {
        int64_t begin = time_of_pass(seat);
        if (b->running)
            pthread_cond_wait(&b->news, &b->lock);
        else if (b->n_waiting == b->n_seats || dlx_clock_ns() >= begin)
            make_pass(b);
        else
            wait_until(b, begin);
    }
    pthread_mutex_unlock(&b->lock);
    return dlx_call_end(&seat->call, err);
}

dlx_status dlx_batcher_get_counts(dlx_batcher *b, dlx_batcher_counts *out, dlx_error *err)
{
    dlx_struct_clear(out, sizeof *out);
    if (!b || !out)
        return dlx_fail(err, DLX_E_INVALID, "dlx_batcher_get_counts: a batcher and a place for the numbers are needed");
    pthread_mutex_lock(&b->lock);
    dlx_batcher_counts counts = b->counts;
    pthread_mutex_unlock(&b->lock);
    counts.struct_size = sizeof counts;
    return dlx_struct_out(out, &counts, sizeof counts, "dlx_batcher_counts", err);
}
