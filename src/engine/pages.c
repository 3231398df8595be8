/*
 * Pages of keys and values. A page is DLX_KV_PAGE rows at the same place of every cache tensor, so neighbouring pages
 * are one run of rows; a session that grows gets the page behind its last one where it is free, and a new one begins in
 * the middle of the largest gap, so that a sequence usually lies in one piece.
 */
#include <string.h>

#include "engine/workspace.h"

/* The functions on refs expect pages_lock. */

/* First page of a sequence: the begin of the largest gap when nobody borders on it from below, else its middle. */
static int32_t first_page(const dlx_workspace *w)
{
    int32_t best = -1, best_size = 0;
    for (int32_t p = 0; p < w->n_pages;) {
        int32_t begin = p;
        while (p < w->n_pages && !w->refs[p]) p++;
        if (p - begin > best_size) {
            best_size = p - begin;
            best = begin;
        }
        if (p == begin) p++;
    }
    return best > 0 ? best + best_size / 2 : best;
}

static bool is_free(const dlx_workspace *w, int64_t page)
{
    return page >= 0 && page < w->n_pages && !w->refs[page];
}

/* Takes a page for place `index` of the session: where the sequence would lie in one piece, else behind the page in
 * front of it, else at the begin of a new piece. At least one page is free. */
static void take_page(dlx_session *s, int32_t index)
{
    dlx_workspace *w = s->w;
    int64_t page = s->home + index;
    if (!is_free(w, page)) page = index > 0 && s->page[index - 1] >= 0 ? (int64_t)s->page[index - 1] + 1 : -1;
    if (!is_free(w, page)) page = first_page(w);
    s->home = page - index;
    s->page[index] = (int32_t)page;
    w->refs[page] = 1;
    w->changes[page]++;
}

static void drop_page(dlx_session *s, int32_t index)
{
    if (s->page[index] < 0) return;
    s->w->refs[s->page[index]]--;
    s->page[index] = -1;
}

static int32_t free_pages(const dlx_workspace *w)
{
    int32_t n = 0;
    for (int32_t p = 0; p < w->n_pages; p++) n += !w->refs[p];
    return n;
}

static bool owns(const dlx_session *s, int32_t index)
{
    return s->page[index] >= 0 && s->w->refs[s->page[index]] == 1;
}

static void copy_page(const dlx_workspace *w, int32_t to, int32_t from)
{
    size_t bytes = DLX_KV_PAGE * w->kv_row, tensor = (size_t)w->n_pages * bytes;
    for (size_t t = 0; t < 2 * w->m->layers; t++)
        memcpy(w->slab + t * tensor + (size_t)to * bytes, w->slab + t * tensor + (size_t)from * bytes, bytes);
}

dlx_status dlx_pages_own(dlx_session *s, int32_t begin, int32_t end, dlx_error *err)
{
    dlx_workspace *w = s->w;
    int32_t first = begin / DLX_KV_PAGE, last = dlx_pages_of(end), needed = 0;
    pthread_mutex_lock(&w->pages_lock);
    for (int32_t i = first; i < last; i++) needed += !owns(s, i);
    int32_t there = needed ? free_pages(w) : 0;
    for (int32_t i = first; i < last && needed <= there; i++) {
        int32_t old = s->page[i];
        if (owns(s, i)) continue;
        take_page(s, i);
        if (old < 0) continue;
        copy_page(w, s->page[i], old);
        s->origin[i] = (dlx_page_origin){.page = old, .changes = w->changes[old]};
        s->copied = true;
        w->refs[old]--;
    }
    int32_t sessions = w->sessions;
    pthread_mutex_unlock(&w->pages_lock);
    if (needed <= there) return DLX_OK;
    return dlx_fail(
        err, DLX_E_LIMIT,
        "forward: storing positions %d to %d takes %d pages of %d positions, but only %d of %d are free; close "
        "or truncate one of the %d sessions, or open the workspace with more kv_positions",
        begin, end - 1, needed, DLX_KV_PAGE, there, w->n_pages, sessions);
}

void dlx_pages_settle(dlx_session *s, bool failed)
{
    dlx_workspace *w = s->w;
    if (!s->copied) return;
    s->copied = false;
    pthread_mutex_lock(&w->pages_lock);
    for (int32_t i = 0; i < dlx_pages_of(w->max_context); i++) {
        dlx_page_origin from = s->origin[i];
        s->origin[i].page = -1;
        if (!failed || from.page < 0 || s->page[i] < 0 || !w->refs[from.page] || w->changes[from.page] != from.changes)
            continue;
        drop_page(s, i);
        s->page[i] = from.page;
        w->refs[from.page]++;
    }
    pthread_mutex_unlock(&w->pages_lock);
}

void dlx_pages_written(dlx_session *s, int32_t begin, int32_t end)
{
    pthread_mutex_lock(&s->w->pages_lock);
    for (int32_t i = begin / DLX_KV_PAGE; i < dlx_pages_of(end); i++) s->w->changes[s->page[i]]++;
    pthread_mutex_unlock(&s->w->pages_lock);
}

dlx_status dlx_pages_side_by_side(dlx_session *s, dlx_error *err)
{
    dlx_workspace *w = s->w;
    int32_t wanted = dlx_pages_of(w->max_context), begin = 0, size = 0;
    pthread_mutex_lock(&w->pages_lock);
    for (int32_t p = 0; p < w->n_pages && size < wanted; p++) {
        size = w->refs[p] ? 0 : size + 1;
        begin = p + 1 - size;
    }
    for (int32_t i = 0; size == wanted && i < wanted; i++) {
        s->page[i] = begin + i;
        w->refs[begin + i] = 1;
    }
    pthread_mutex_unlock(&w->pages_lock);
    if (size == wanted) return DLX_OK;
    return dlx_fail(err, DLX_E_LIMIT,
                    "the attention of this file was not recognised, so a session needs %d positions side by side; open "
                    "the workspace with more kv_positions",
                    wanted * DLX_KV_PAGE);
}

void dlx_pages_share(dlx_session *s, const dlx_session *from, int32_t n)
{
    pthread_mutex_lock(&s->w->pages_lock);
    for (int32_t i = 0; i < dlx_pages_of(n); i++) {
        s->page[i] = from->page[i];
        if (s->page[i] >= 0) s->w->refs[s->page[i]]++;
    }
    pthread_mutex_unlock(&s->w->pages_lock);
}

static bool holds_anything(const dlx_session *s, int32_t index)
{
    int32_t begin = index * DLX_KV_PAGE, end = begin + DLX_KV_PAGE;
    if (end > s->w->max_context) end = s->w->max_context;
    return memchr(s->seq.stored + begin, 1, (size_t)(end - begin)) != NULL;
}

void dlx_pages_trim(dlx_session *s)
{
    if (!dlx_workspace_pages(s->w)) return;
    pthread_mutex_lock(&s->w->pages_lock);
    for (int32_t i = 0; i < dlx_pages_of(s->w->max_context); i++)
        if (s->page[i] >= 0 && !holds_anything(s, i)) drop_page(s, i);
    pthread_mutex_unlock(&s->w->pages_lock);
}

void dlx_pages_drop_all(dlx_session *s)
{
    pthread_mutex_lock(&s->w->pages_lock);
    for (int32_t i = 0; i < dlx_pages_of(s->w->max_context); i++) drop_page(s, i);
    pthread_mutex_unlock(&s->w->pages_lock);
}

int32_t dlx_workspace_free_positions(dlx_workspace *w)
{
    if (!w) return 0;
    pthread_mutex_lock(&w->pages_lock);
    int32_t n = free_pages(w);
    pthread_mutex_unlock(&w->pages_lock);
    return n * DLX_KV_PAGE;
}
