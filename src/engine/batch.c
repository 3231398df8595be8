/* Forward calls from outside: one session, or several in common passes. */
#include <string.h>

#include "engine/workspace.h"

static dlx_status refuse_all(const char *why, size_t n, dlx_status *status, dlx_error *errors)
{
    for (size_t i = 0; i < n; i++) {
        if (status) status[i] = DLX_E_INVALID;
        if (errors) dlx_set_error(&errors[i], DLX_E_INVALID, "dlx_forward_batch: %s", why);
    }
    return DLX_E_INVALID;
}

/* NULL when the sessions can share passes. */
static const char *check_sessions(dlx_session *const *sessions, const dlx_forward_call *const *calls, size_t n)
{
    if (!sessions || !calls || !n) return "sessions and calls are needed";
    for (size_t i = 0; i < n; i++) {
        if (!sessions[i] || !calls[i]) return "a session or a call is missing";
        if (sessions[i]->w != sessions[0]->w) return "the sessions live in different workspaces";
        for (size_t k = 0; k < i; k++)
            if (sessions[k] == sessions[i]) return "a session occurs twice";
    }
    return NULL;
}

static dlx_status run_batch(dlx_workspace *w, dlx_session *const *sessions, const dlx_forward_call *const *calls,
                            size_t n, dlx_status *status, dlx_error *errors)
{
    size_t begun = 0;
    dlx_call **active = w->active;
    pthread_mutex_lock(&w->pass_lock);
    for (size_t i = 0; i < n; i++) {
        dlx_call *k = &w->calls[i];
        k->refused = dlx_call_begin(k, sessions[i], calls[i], errors ? &errors[i] : NULL);
        if (k->refused == DLX_OK) active[begun++] = k;
    }
    for (bool more = begun > 0; more;) {
        dlx_calls_pass(w, active, begun);
        more = false;
        for (size_t i = 0; i < begun; i++) more |= !active[i]->finished;
    }
    dlx_status first = DLX_OK;
    for (size_t i = 0; i < n; i++) {
        dlx_call *k = &w->calls[i];
        dlx_status s = k->refused != DLX_OK ? k->refused : dlx_call_end(k, errors ? &errors[i] : NULL);
        if (status) status[i] = s;
        if (first == DLX_OK) first = s;
    }
    pthread_mutex_unlock(&w->pass_lock);
    return first;
}

dlx_status dlx_forward_batch(dlx_session *const *sessions, const dlx_forward_call *const *calls, size_t n,
                             dlx_status *status, dlx_error *errors)
{
    const char *why = check_sessions(sessions, calls, n);
    if (why) return refuse_all(why, n, status, errors);
    return run_batch(sessions[0]->w, sessions, calls, n, status, errors);
}

dlx_status dlx_session_forward(void *session, const dlx_forward_call *call, dlx_error *err)
{
    dlx_session *s = session;
    if (!s || !call) return dlx_fail(err, DLX_E_INVALID, "forward: a session and a call are needed");
    return run_batch(s->w, &s, &call, 1, NULL, err);
}
