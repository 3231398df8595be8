#include "text/packed_chat.h"

#include <string.h>

#include "base/sizes.h"
#include "base/status.h"
#include "text/jinja/jinja.h"
#include "text/packed.h"
#include "text/published.h"

typedef struct part {
    const uint8_t *p;
    size_t n;
} part;

static void parts_of(const dlx_tokenizer *t, part parts[3])
{
    parts[0] = (part){(const uint8_t *)t->variables, t->variables ? t->n_variables : 0};
    parts[1] = t->chat ? (part){t->chat->bytes, t->chat->n_bytes} : (part){NULL, 0};
    parts[2] = t->chat_tools ? (part){t->chat_tools->bytes, t->chat_tools->n_bytes} : (part){NULL, 0};
}

uint64_t dlx_packed_chat_size(const dlx_tokenizer *t)
{
    part parts[3];
    uint64_t size = 0;
    parts_of(t, parts);
    for (int i = 0; i < 3; i++) size += 4 + dlx_align_up(parts[i].n, 4);
    return size;
}

void dlx_packed_chat_write(uint8_t *p, const dlx_tokenizer *t)
{
    part parts[3];
    parts_of(t, parts);
    for (int i = 0; i < 3; i++) {
        size_t n = parts[i].n;
        dlx_packed_put(p, (uint32_t)n, 4);
        if (n) memcpy(p + 4, parts[i].p, n);
        p += 4 + dlx_align_up(n, 4);
    }
}

dlx_status dlx_packed_chat_read(dlx_tokenizer *t, const uint8_t *p, size_t n, dlx_error *err)
{
    part parts[3];
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        if (n - at < 4) return dlx_fail(err, DLX_E_FORMAT, "its chat templates end early");
        size_t length = dlx_packed_get(p + at, 4);
        at += 4;
        if (length > n - at || dlx_align_up(length, 4) > n - at)
            return dlx_fail(err, DLX_E_FORMAT, "a chat template reaches past the end");
        parts[i] = (part){p + at, length};
        at += dlx_align_up(length, 4);
    }
    if (at != n) return dlx_fail(err, DLX_E_FORMAT, "more follows behind its chat templates");
    if (parts[0].n) {
        t->variables = dlx_arena_strndup(&t->arena, (const char *)parts[0].p, parts[0].n);
        if (!t->variables) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening a packed tokenizer");
        t->n_variables = (uint32_t)parts[0].n;
    }
    if (parts[1].n) DLX_TRY(dlx_jinja_load(&t->chat, parts[1].p, parts[1].n, err));
    return parts[2].n ? dlx_jinja_load(&t->chat_tools, parts[2].p, parts[2].n, err) : DLX_OK;
}

dlx_status dlx_packed_chat_published(dlx_tokenizer *t, uint32_t number, dlx_error *err)
{
    static const char bos[] = "{\"bos_token\": \"<|startoftext|>\"}"; /* LLaDA's template asks for it */
    const char *source = dlx_published_template(number);
    t->chat_lost = number == DLX_CHAT_PUBLISHED_OTHER;
    if (number == DLX_CHAT_PUBLISHED_LLADA) {
        t->variables = bos;
        t->n_variables = sizeof bos - 1;
    }
    return source ? dlx_jinja_compile(&t->chat, source, strlen(source), err) : DLX_OK;
}
