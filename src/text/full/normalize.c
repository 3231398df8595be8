#include "text/full/normalize.h"

#include <string.h>

#include "base/sizes.h"
#include "text/full/forms.h"
#include "text/utf8.h"

/* White space as Unicode has it, which Strip and the flags of added tokens go by. */
static bool is_space(uint32_t c)
{
    return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t dlx_leading_space(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint32_t c;
        size_t step = dlx_utf8_next(text + i, n - i, &c);
        if (!is_space(c)) break;
        i += step;
    }
    return i;
}

size_t dlx_trailing_space(const char *text, size_t n)
{
    size_t end = n;
    while (end) {
        uint32_t c;
        size_t i = dlx_utf8_before(text, end, &c);
        if (!is_space(c)) break;
        end = i;
    }
    return n - end;
}

static bool is_form(uint8_t kind)
{
    return kind >= DLX_STEP_NFC && kind <= DLX_STEP_NFKD;
}

static dlx_form form_of(uint8_t kind)
{
    return (dlx_form)(kind - DLX_STEP_NFC + DLX_FORM_NFC);
}

bool dlx_normalize_trivial(const dlx_tokenizer *t, const char *text, size_t n)
{
    for (uint32_t i = 0; i < t->n_steps && t->steps[i].kind < DLX_STEP_NORMALIZERS_END; i++)
        if (!is_form(t->steps[i].kind) || !dlx_form_trivial(form_of(t->steps[i].kind), text, n)) return false;
    return true;
}

static void lowercase(dlx_buffer *out, const char *text, size_t n)
{
    char utf8[4];
    for (size_t i = 0; i < n;) {
        uint32_t c;
        i += dlx_utf8_next(text + i, n - i, &c);
        dlx_buffer_add(out, utf8, dlx_utf8_put(utf8, dlx_lower_case(c)));
        if (c == 0x130) dlx_buffer_add(out, "\xCC\x87", 2); /* the dot stays */
    }
}

static void strip(dlx_buffer *out, const dlx_text_step *s, const char *text, size_t n)
{
    size_t first = s->flags & DLX_STRIP_LEFT ? dlx_leading_space(text, n) : 0;
    size_t behind = s->flags & DLX_STRIP_RIGHT && first < n ? dlx_trailing_space(text, n) : 0;
    dlx_buffer_add(out, text + first, n - first - behind);
}

static dlx_status replace(dlx_buffer *out, size_t most, const dlx_text_step *s, const dlx_pattern *p,
                          dlx_search *search, const char *text, size_t n, dlx_error *err)
{
    size_t at = 0, start, end;
    while (at < n && out->n <= most) {
        DLX_TRY(dlx_pattern_find(p, search, text, n, at, &start, &end, err));
        dlx_buffer_add(out, text + at, start - at);
        if (start < end) dlx_buffer_add(out, s->second, s->n_second);
        at = end;
    }
    return DLX_OK;
}

static dlx_status step(dlx_buffer *out, size_t most, const dlx_text_step *s, const dlx_pattern *p, dlx_search *search,
                       const char *text, size_t n, dlx_error *err)
{
    switch (s->kind) {
    case DLX_STEP_LOWERCASE: lowercase(out, text, n); break;
    case DLX_STEP_STRIP: strip(out, s, text, n); break;
    case DLX_STEP_PREPEND:
        if (n) dlx_buffer_add(out, s->text, s->n_text);
        dlx_buffer_add(out, text, n);
        break;
    case DLX_STEP_REPLACE: return replace(out, most, s, p, search, text, n, err);
    default: dlx_normal_form(out, form_of(s->kind), text, n);
    }
    return DLX_OK;
}

dlx_status dlx_normalize(dlx_buffer *out, const dlx_tokenizer *t, dlx_pattern *const *patterns, dlx_search *search,
                         const char *text, size_t n, dlx_error *err)
{
    dlx_buffer from = {0}, to = {0};
    size_t most = 64 * n + 65536; /* far more than published steps make of a text, little enough for hostile ones */
    dlx_buffer_add(&from, text, n);
    dlx_status status = DLX_OK;
    for (uint32_t i = 0; status == DLX_OK && i < t->n_steps && t->steps[i].kind < DLX_STEP_NORMALIZERS_END; i++) {
        to.n = 0;
        status = step(&to, most, &t->steps[i], patterns[i], search, from.data ? from.data : "", from.n, err);
        dlx_buffer swap = from;
        from = to;
        to = swap;
        if (status == DLX_OK && from.n > most)
            status = dlx_fail(err, DLX_E_LIMIT, "normalising makes more than %zu bytes of a text of %zu", most, n);
        if (from.failed) break;
    }
    dlx_buffer_add(out, from.data, from.n);
    out->failed = out->failed || from.failed || to.failed;
    dlx_buffer_free(&from);
    dlx_buffer_free(&to);
    if (status == DLX_OK && out->failed)
        status = dlx_fail(err, DLX_E_NOMEM, "out of memory normalising a text of %zu bytes", n);
    return status;
}
