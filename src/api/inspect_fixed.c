#include "api/inspect_fixed.h"

#include <string.h>

#include "diffulex_edge/fixed.h"

#include "base/sizes.h"
#include "base/status.h"
#include "format/facts.h"

/* Bytes of all caches of one session; no overflow, dlx_fixed_bytes has measured them. */
static uint64_t cache_bytes(const dlx_fixed_program *p, bool halves)
{
    uint64_t row = (uint64_t)p->kv_heads * (uint64_t)p->head_dim * (halves ? 2 : 4);
    return 2 * (uint64_t)p->layers * (uint64_t)p->facts->max_context * row;
}

/* Delegates' caches (`inside`) are what they are for the others, but not among the session's buffers. */
static dlx_status take(dlx_fixed_memory *out, const dlx_fixed_program *p, bool inside,
                       const dlx_workspace_options *asked, dlx_error *err)
{
    bool halves = p->element == DLX_ELEMENT_FLOAT16;
    uint64_t sessions = (uint64_t)asked->max_sessions, all, cache;
    if (asked->max_context > p->facts->max_context)
        return dlx_fail(err, DLX_E_LIMIT, "a context of %d positions was asked for; the file allows 1 to %d",
                        asked->max_context, p->facts->max_context);
    if (asked->max_rows > p->facts->max_rows)
        return dlx_fail(err, DLX_E_LIMIT, "a session of %d rows a call was asked for; the file allows 1 to %d",
                        asked->max_rows, p->facts->max_rows);
    if (asked->kv_positions && asked->kv_positions != (int64_t)asked->max_sessions * p->facts->max_context)
        return dlx_fail(err, DLX_E_LIMIT,
                        "a cache of %d positions was asked for; each session over this file has one of %d",
                        asked->kv_positions, p->facts->max_context);
    if (asked->max_sessions < 1 || !dlx_mul_u64(sessions, dlx_fixed_bytes(p), &all) ||
        !dlx_mul_u64(sessions, cache_bytes(p, halves), &cache))
        return dlx_fail(err, DLX_E_LIMIT, "%d sessions were asked for; expected 1 to as many as can be addressed",
                        asked->max_sessions);
    const char *kept = halves ? "float16" : "float32";
    if (asked->kv_type && strcmp(asked->kv_type, kept) != 0)
        return dlx_fail(err, DLX_E_LIMIT,
                        "keys and values of type '%.20s' were asked for; sessions over this file keep them as %s",
                        asked->kv_type, kept);
    *out = (dlx_fixed_memory){.known = true,
                              .kv_cache = cache,
                              .buffers = inside ? all : all - cache,
                              .sessions = asked->max_sessions,
                              .max_rows = p->facts->max_rows,
                              .max_context = p->facts->max_context,
                              .kv_type = kept,
                              .inside = inside};
    return DLX_OK;
}

dlx_status dlx_fixed_memory_read(dlx_fixed_memory *out, const char *path, const dlx_pte *pte,
                                 const dlx_workspace_options *asked, dlx_error *err)
{
    dlx_fixed_program *p;
    dlx_fixed_form form;
    *out = (dlx_fixed_memory){.known = false};
    if (!dlx_facts_kv_fixed(pte, &form)) return DLX_OK;
    dlx_status s = dlx_fixed_program_read(&p, path, err);
    if (s == DLX_E_NOMEM || s == DLX_E_IO) return s;
    if (s != DLX_OK) return DLX_OK; /* damaged: the rest of the description says more */
    s = take(out, p, form.inside, asked, err);
    dlx_fixed_program_free(p);
    return s;
}

void dlx_put_fixed_memory(dlx_text_buffer *t, const dlx_fixed_memory *m)
{
    const struct {
        const char *what;
        uint64_t bytes;
    } part[] = {{"KV cache", m->kv_cache}, {"buffers", m->buffers}, {"all together", m->kv_cache + m->buffers}};
    if (!m->known) return;
    dlx_put(
        t, "memory (%d session%s of %d positions, %d rows a pass, %s keys and values%s; the runtime's own beside it)\n",
        m->sessions, m->sessions > 1 ? "s" : "", m->max_context, m->max_rows, m->kv_type,
        m->inside ? " in the delegates" : "");
    for (size_t i = 0; i < DLX_COUNT(part); i++)
        dlx_put(t, "  %-16s %12llu bytes %10.1f MB\n", part[i].what, (unsigned long long)part[i].bytes,
                (double)part[i].bytes / 1e6);
}

void dlx_put_fixed_memory_json(dlx_text_buffer *t, const dlx_fixed_memory *m)
{
    if (!m->known) return;
    dlx_put(t,
            ",\"memory\":{\"kv_cache\":%llu,\"buffers\":%llu,\"total\":%llu,\"sessions\":%d,\"max_rows\":%d,"
            "\"max_context\":%d,\"kv_positions\":%lld,\"kv_type\":\"%s\",\"kv_in_delegates\":%s}",
            (unsigned long long)m->kv_cache, (unsigned long long)m->buffers,
            (unsigned long long)(m->kv_cache + m->buffers), m->sessions, m->max_rows, m->max_context,
            (long long)m->sessions * m->max_context, m->kv_type, m->inside ? "true" : "false");
}
