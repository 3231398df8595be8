#include "text/full/whole.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hash(const uint8_t *p, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u; /* FNV-1a, its high half folded in */
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001B3u;
    return (uint32_t)(h ^ h >> 32);
}

static bool holds(const dlx_tokenizer *t, uint32_t id, const uint8_t *p, size_t n)
{
    return t->offset[id + 1] - t->offset[id] == n && memcmp(t->bytes + t->offset[id], p, n) == 0;
}

/* The place of these bytes, or the free one where they would be. At most half of the table is in use, and a run that a
 * hostile vocabulary made long is given up, so that building stays linear. */
static uint32_t place_of(const dlx_whole *w, const dlx_tokenizer *t, const uint8_t *p, size_t n)
{
    enum { LONGEST_RUN = 4096 };
    uint32_t at = hash(p, n) & w->mask;
    for (uint32_t i = 0; i < LONGEST_RUN && w->ids[at] && !holds(t, w->ids[at] - 1, p, n); i++) at = (at + 1) & w->mask;
    return at;
}

dlx_status dlx_whole_create(dlx_whole *w, const dlx_tokenizer *t, dlx_error *err)
{
    uint32_t room = 1024;
    while (room < 2 * t->size) room *= 2;
    w->mask = room - 1;
    w->ids = calloc(room, sizeof *w->ids);
    if (!w->ids) return dlx_fail(err, DLX_E_NOMEM, "out of memory for a table of %u tokens", t->size);
    for (uint32_t id = 0; id < t->size; id++) {
        unsigned kind = t->kind[id] & (DLX_TOKEN_MODEL | DLX_TOKEN_LITERAL | DLX_TOKEN_SPECIAL);
        if (kind != DLX_TOKEN_MODEL) continue; /* a special one is no piece of text that somebody typed */
        uint32_t at = place_of(w, t, t->bytes + t->offset[id], t->offset[id + 1] - t->offset[id]);
        if (!w->ids[at]) w->ids[at] = id + 1;
    }
    return DLX_OK;
}

void dlx_whole_free(dlx_whole *w)
{
    free(w->ids);
    w->ids = NULL;
}

bool dlx_whole_find(const dlx_whole *w, const dlx_tokenizer *t, const char *text, size_t n, uint32_t *id)
{
    uint32_t at = place_of(w, t, (const uint8_t *)text, n);
    if (!w->ids[at] || !holds(t, w->ids[at] - 1, (const uint8_t *)text, n)) return false;
    *id = w->ids[at] - 1;
    return true;
}
