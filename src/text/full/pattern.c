#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/full/pattern.h"

#include <pcre2.h>
#include <stdlib.h>

struct dlx_pattern {
    pcre2_code *code;
};

struct dlx_search {
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

static dlx_status compile(dlx_pattern *p, const char *text, size_t n, uint32_t options, dlx_error *err)
{
    int code = 0;
    PCRE2_SIZE at;
    uint32_t empty = 0;
    p->code = pcre2_compile((PCRE2_SPTR)text, n, PCRE2_UTF | options, &code, &at, NULL);
    if (!p->code && code == PCRE2_ERROR_HEAP_FAILED)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory compiling an expression");
    if (!p->code)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "PCRE2 cannot compile an expression (error %d); it must be 10.33 or newer with Unicode support",
                        code);
    pcre2_pattern_info(p->code, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty) return dlx_fail(err, DLX_E_UNSUPPORTED, "an expression that matches no text at all is not supported");
    return DLX_OK;
}

static dlx_status create(dlx_pattern **out, const char *text, size_t n, bool regex, dlx_error *err)
{
    dlx_buffer translated = {0};
    dlx_pattern *p = calloc(1, sizeof *p);
    *out = p;
    if (!p) return dlx_fail(err, DLX_E_NOMEM, "out of memory for an expression");
    dlx_status status = regex ? dlx_pattern_translate(&translated, text, n, err) : DLX_OK;
    if (status == DLX_OK)
        status = regex ? compile(p, translated.data ? translated.data : "", translated.n, PCRE2_UCP, err)
                       : compile(p, text, n, PCRE2_LITERAL, err);
    dlx_buffer_free(&translated);
    if (status == DLX_OK) return DLX_OK;
    dlx_pattern_free(p);
    *out = NULL;
    return status;
}

dlx_status dlx_pattern_create(dlx_pattern **out, const char *text, size_t n, bool regex, dlx_error *err)
{
    DLX_TRY(create(out, text, n, regex, err));
    /* Where it fails (no executable memory), pcre2_match interprets. */
    pcre2_jit_compile((*out)->code, PCRE2_JIT_COMPLETE);
    return DLX_OK;
}

dlx_status dlx_pattern_check(const char *text, size_t n, bool regex, dlx_error *err)
{
    dlx_pattern *p;
    DLX_TRY(create(&p, text, n, regex, err));
    dlx_pattern_free(p);
    return DLX_OK;
}

void dlx_pattern_free(dlx_pattern *p)
{
    if (!p) return;
    pcre2_code_free(p->code);
    free(p);
}

dlx_status dlx_search_create(dlx_search **out, dlx_error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out) {
        (*out)->match = pcre2_match_data_create(1, NULL);
        (*out)->limits = pcre2_match_context_create(NULL);
        if ((*out)->match && (*out)->limits) return DLX_OK;
    }
    dlx_search_free(*out);
    *out = NULL;
    return dlx_fail(err, DLX_E_NOMEM, "out of memory for searching a text");
}

void dlx_search_free(dlx_search *s)
{
    if (!s) return;
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->limits);
    free(s);
}

dlx_status dlx_pattern_find(const dlx_pattern *p, dlx_search *s, const char *text, size_t n, size_t from, size_t *start,
                            size_t *end, dlx_error *err)
{
    /* The published expressions try a run of blanks at every length once. */
    uint64_t most = 10000 + 16 * (uint64_t)(n - from);
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(s->match);
    pcre2_set_match_limit(s->limits, most < UINT32_MAX ? (uint32_t)most : UINT32_MAX);
    int rc = pcre2_match(p->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK, s->match, s->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack on the heap */
        rc = pcre2_match(p->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match, s->limits);
    *start = *end = n;
    if (rc == PCRE2_ERROR_NOMATCH) return DLX_OK;
    if (rc == PCRE2_ERROR_MATCHLIMIT)
        return dlx_fail(err, DLX_E_LIMIT,
                        "an expression of the tokenizer takes too many steps at byte %zu of a text of %zu bytes", from,
                        n);
    if (rc < 0 || bounds[1] <= bounds[0] || bounds[0] < from)
        return dlx_fail(err, rc == PCRE2_ERROR_NOMEMORY ? DLX_E_NOMEM : DLX_E_INTERNAL,
                        "PCRE2 failed at byte %zu of a text of %zu bytes (error %d)", from, n, rc);
    *start = bounds[0];
    *end = bounds[1];
    return DLX_OK;
}
