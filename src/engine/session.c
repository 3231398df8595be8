/* Sessions: what is cached of one sequence, in pages of a workspace. */
#include <string.h>

#include "engine/workspace.h"

/* Counts the session in, within the workspace's bound. */
static dlx_status enter(dlx_workspace *w, dlx_error *err)
{
    pthread_mutex_lock(&w->pages_lock);
    bool fits = w->sessions < w->max_sessions;
    w->sessions += fits;
    pthread_mutex_unlock(&w->pages_lock);
    if (fits) return DLX_OK;
    return dlx_fail(err, DLX_E_LIMIT, "%d sessions are open in this workspace, its max_sessions; close one first",
                    w->max_sessions);
}

static void leave(dlx_workspace *w)
{
    pthread_mutex_lock(&w->pages_lock);
    w->sessions--;
    pthread_mutex_unlock(&w->pages_lock);
}

static void release(dlx_session *s)
{
    dlx_workspace *w = s->w;
    size_t pages = (size_t)dlx_pages_of(w->max_context);
    dlx_mem_free(&w->mem, s->page, pages, sizeof *s->page);
    dlx_mem_free(&w->mem, s->origin, pages, sizeof *s->origin);
    dlx_sequence_close(&s->seq, &w->mem);
    dlx_mem_free(&w->mem, s, 1, sizeof *s);
}

dlx_status dlx_session_open_in(dlx_session **out, dlx_workspace *w, dlx_error *err)
{
    if (out) *out = NULL;
    if (!out || !w)
        return dlx_fail(err, DLX_E_INVALID, "dlx_session_open_in: a workspace and a place for the session are needed");
    DLX_TRY(enter(w, err));
    size_t pages = (size_t)dlx_pages_of(w->max_context);
    dlx_session *s = dlx_mem_zeroed(&w->mem, 1, sizeof *s);
    dlx_status status = DLX_OK;
    bool there = false;
    if (s) {
        s->w = w;
        s->page = dlx_mem_array(&w->mem, pages, sizeof *s->page);
        s->origin = dlx_mem_array(&w->mem, pages, sizeof *s->origin);
        there = dlx_sequence_open(&s->seq, w->max_context, &w->mem) && s->page && s->origin;
        s->home = w->owned ? 0 : -(int64_t)w->max_context; /* alone in its slab, or decided by the first page */
    }
    if (!there) status = dlx_fail(err, DLX_E_NOMEM, "out of memory opening a session of %d positions", w->max_context);
    if (status == DLX_OK) {
        memset(s->page, 0xFF, pages * sizeof *s->page);
        for (size_t i = 0; i < pages; i++) s->origin[i].page = -1;
        if (!dlx_workspace_pages(w)) status = dlx_pages_side_by_side(s, err);
    }
    if (status == DLX_OK) {
        *out = s;
        return DLX_OK;
    }
    if (s) release(s);
    leave(w);
    return status;
}

dlx_status dlx_session_open(dlx_session **out, const dlx_model *model, int32_t max_rows, int32_t max_context,
                            dlx_error *err)
{
    dlx_workspace *w;
    dlx_workspace_options o = {
        .struct_size = sizeof o, .max_rows = max_rows, .max_context = max_context, .max_sessions = 1};
    if (out) *out = NULL;
    if (!out || !model)
        return dlx_fail(err, DLX_E_INVALID, "dlx_session_open: a model and a place for the session are needed");
    DLX_TRY(dlx_workspace_create(&w, model, &o, err));
    w->owned = true;
    dlx_status s = dlx_session_open_in(out, w, err);
    if (s != DLX_OK) dlx_workspace_close(w);
    return s;
}

void dlx_session_close(dlx_session *s)
{
    if (!s) return;
    dlx_workspace *w = s->w;
    dlx_pages_drop_all(s);
    release(s);
    leave(w);
    if (w->owned) dlx_workspace_close(w);
}

/* Copies the rows of positions < n, for programs that keep each sequence side by side. */
static void copy_rows(dlx_session *to, const dlx_session *from, int32_t n)
{
    const dlx_workspace *w = to->w;
    for (size_t t = 0; n && t < 2 * w->m->layers; t++)
        memcpy(dlx_kv_at(to, t, 0), dlx_kv_at(from, t, 0), (size_t)n * w->kv_row);
}

dlx_status dlx_session_fork(dlx_session **out, const dlx_session *from, int32_t n, dlx_error *err)
{
    if (out) *out = NULL;
    if (!out || !from)
        return dlx_fail(err, DLX_E_INVALID, "dlx_session_fork: a session and a place for its copy are needed");
    if (n < 0 || n > from->w->max_context)
        return dlx_fail(err, DLX_E_INVALID, "dlx_session_fork: %d positions of a session of %d", n,
                        from->w->max_context);
    if (from->w->owned)
        return dlx_fail(err, DLX_E_LIMIT,
                        "the session has a workspace of its own, which has no room for a second one; open it with "
                        "dlx_session_open_in");
    dlx_session *s;
    DLX_TRY(dlx_session_open_in(&s, from->w, err));
    if (dlx_workspace_pages(from->w))
        dlx_pages_share(s, from, n);
    else
        copy_rows(s, from, n);
    dlx_sequence_copy(&s->seq, &from->seq, n);
    dlx_pages_trim(s);
    *out = s;
    return DLX_OK;
}

void dlx_session_truncate(dlx_session *s, int32_t n)
{
    if (!s || n >= s->w->max_context) return;
    dlx_sequence_truncate(&s->seq, n < 0 ? 0 : n);
    dlx_pages_trim(s);
}

int32_t dlx_session_reusable(const dlx_session *s, const int32_t *ids, size_t n, int32_t attn_block)
{
    return s ? dlx_sequence_reusable(&s->seq, ids, n, attn_block) : 0;
}
