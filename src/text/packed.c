/* Writes and reads the packed form of a tokenizer (packed.h). */
#include "text/packed.h"

#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "base/status.h"
#include "text/packed_chat.h"
#include "text/published.h"
#include "text/tokenizer.h"

/* The numbers of the header, behind the magic. */
enum { VERSION, FLAGS, STEPS, CHAT, MASK_ID, SIZE, MERGES, ADDED, BYTES, TEXTS, N_FIELDS };

/* Byte offsets of the sections behind the header, and the whole size. */
typedef struct layout {
    uint64_t byte_id, kind, length, bytes, merges, added, texts, steps, total;
} layout;

static bool place(uint64_t *at, uint64_t *cursor, uint64_t count, uint64_t size)
{
    uint64_t n;
    *at = *cursor;
    if (!dlx_mul_u64(count, size, &n) || n > UINT32_MAX) return false;
    return dlx_add_u64(*cursor, dlx_align_up(n, 4), cursor);
}

static bool make_layout(layout *l, uint64_t size, uint64_t merges, uint64_t added, uint64_t bytes, uint64_t texts,
                        uint64_t steps)
{
    uint64_t at = DLX_PACKED_HEADER;
    bool fine = place(&l->byte_id, &at, 256, 4) && place(&l->kind, &at, size, 1) && place(&l->length, &at, size, 2) &&
                place(&l->bytes, &at, bytes, 1) && place(&l->merges, &at, merges, 12) &&
                place(&l->added, &at, added, 8) && place(&l->texts, &at, texts, 1) && place(&l->steps, &at, steps, 1);
    l->total = at;
    return fine;
}

static void write_sections(uint8_t *p, const layout *l, const dlx_tokenizer *t)
{
    for (size_t i = 0; i < 256; i++) dlx_packed_put(p + l->byte_id + 4 * i, t->byte_id[i], 4);
    memcpy(p + l->kind, t->kind, t->size);
    for (size_t i = 0; i < t->size; i++) {
        uint32_t n = t->offset[i + 1] - t->offset[i];
        dlx_packed_put(p + l->length + 2 * i, n, 2);
    }
    memcpy(p + l->bytes, t->bytes, t->offset[t->size]);
    for (size_t i = 0; i < t->n_merges; i++) {
        dlx_packed_put(p + l->merges + 12 * i, t->merges[i].left, 4);
        dlx_packed_put(p + l->merges + 12 * i + 4, t->merges[i].right, 4);
        dlx_packed_put(p + l->merges + 12 * i + 8, t->merges[i].merged, 4);
    }
    uint8_t *text = p + l->texts;
    for (size_t i = 0; i < t->n_added; i++) {
        dlx_packed_put(p + l->added + 8 * i, t->added[i].id, 4);
        dlx_packed_put(p + l->added + 8 * i + 4, t->added[i].length, 4);
        memcpy(text, t->added[i].text, t->added[i].length);
        text += t->added[i].length;
    }
    dlx_steps_write(p + l->steps, t->steps, t->n_steps);
}

dlx_status dlx_tokenizer_pack(const dlx_tokenizer *t, void **bytes, size_t *n, dlx_error *err)
{
    if (bytes) *bytes = NULL;
    if (n) *n = 0;
    if (!bytes || !n) return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_pack: bytes and n must not be NULL");
    if (!t) return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_pack: tokenizer must not be NULL");
    uint64_t texts = 0, steps = dlx_steps_size(t->steps, t->n_steps);
    for (uint32_t i = 0; i < t->n_added; i++) texts += t->added[i].length;
    layout l;
    if (!make_layout(&l, t->size, t->n_merges, t->n_added, t->offset[t->size], texts, steps) ||
        l.total > SIZE_MAX - dlx_packed_chat_size(t))
        return dlx_fail(err, DLX_E_LIMIT, "tokenizer is too large for its packed form");
    size_t total = (size_t)(l.total + dlx_packed_chat_size(t));
    uint8_t *p = calloc(1, total);
    if (!p) return dlx_fail(err, DLX_E_NOMEM, "out of memory packing a tokenizer (%zu bytes)", total);
    memcpy(p, DLX_PACKED_MAGIC, 8);
    const uint32_t fields[N_FIELDS] = {
        [VERSION] = DLX_PACKED_VERSION,   [FLAGS] = t->ignore_merges ? DLX_PACKED_FLAG_IGNORE_MERGES : 0,
        [STEPS] = (uint32_t)steps,        [CHAT] = DLX_PACKED_CHAT,
        [MASK_ID] = (uint32_t)t->mask_id, [SIZE] = t->size,
        [MERGES] = t->n_merges,           [ADDED] = t->n_added,
        [BYTES] = t->offset[t->size],     [TEXTS] = (uint32_t)texts,
    };
    for (size_t i = 0; i < N_FIELDS; i++) dlx_packed_put(p + 8 + 4 * i, fields[i], 4);
    write_sections(p, &l, t);
    dlx_packed_chat_write(p + l.total, t);
    *bytes = p;
    *n = total;
    return DLX_OK;
}

static dlx_status read_header(dlx_tokenizer *t, layout *l, const uint8_t *p, size_t n, dlx_error *err)
{
    if (n < DLX_PACKED_HEADER || memcmp(p, DLX_PACKED_MAGIC, 8) != 0)
        return dlx_fail(err, DLX_E_FORMAT, "packed tokenizer: does not begin with DLXTOK and a header of %d bytes",
                        DLX_PACKED_HEADER);
    uint32_t field[N_FIELDS];
    for (size_t i = 0; i < N_FIELDS; i++) field[i] = dlx_packed_get(p + 8 + 4 * i, 4);
    if (field[VERSION] < 1 || field[VERSION] > DLX_PACKED_VERSION)
        return dlx_fail(err, DLX_E_FORMAT, "packed tokenizer: version %u; this build reads versions up to %d",
                        field[VERSION], DLX_PACKED_VERSION);
    bool carries_chat = field[VERSION] >= DLX_PACKED_WITH_CHAT;
    uint32_t known = field[VERSION] == 1 ? DLX_PACKED_FLAG_NFC : DLX_PACKED_FLAG_IGNORE_MERGES, steps = field[STEPS];
    if (field[VERSION] == 1) {
        t->steps = dlx_steps_published(field[STEPS], field[FLAGS] & DLX_PACKED_FLAG_NFC, &t->n_steps);
        steps = 0;
    }
    if (field[FLAGS] & ~known || (field[VERSION] == 1 && !t->steps) ||
        (carries_chat ? field[CHAT] != DLX_PACKED_CHAT : field[CHAT] > DLX_CHAT_PUBLISHED_OTHER))
        return dlx_fail(err, DLX_E_FORMAT, "packed tokenizer: unknown flags %u, split %u or template %u", field[FLAGS],
                        field[STEPS], field[CHAT]);
    if (field[SIZE] == 0 || field[SIZE] > DLX_MAX_TOKENS || field[MERGES] > DLX_MAX_MERGES ||
        field[ADDED] > field[SIZE])
        return dlx_fail(err, DLX_E_FORMAT, "packed tokenizer: %u ids, %u merges and %u added tokens cannot be",
                        field[SIZE], field[MERGES], field[ADDED]);
    if (!make_layout(l, field[SIZE], field[MERGES], field[ADDED], field[BYTES], field[TEXTS], steps) ||
        (carries_chat ? l->total > n : l->total != n))
        return dlx_fail(err, DLX_E_FORMAT, "packed tokenizer: has %zu bytes, its header counts %llu", n,
                        (unsigned long long)l->total);
    t->ignore_merges = field[FLAGS] & DLX_PACKED_FLAG_IGNORE_MERGES;
    t->mask_id = (int32_t)field[MASK_ID];
    t->size = field[SIZE];
    t->n_merges = field[MERGES];
    t->n_added = field[ADDED];
    return DLX_OK;
}

static dlx_status out_of_memory(const dlx_tokenizer *t, dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory opening a packed tokenizer of %u tokens", t->size);
}

static dlx_status read_tokens(dlx_tokenizer *t, const layout *l, const uint8_t *p, dlx_error *err)
{
    uint32_t n_bytes = dlx_packed_get(p + 8 + 4 * BYTES, 4);
    uint8_t *kind = dlx_arena_array(&t->arena, t->size, 1);
    uint32_t *offset = dlx_arena_array(&t->arena, (size_t)t->size + 1, sizeof *offset);
    uint8_t *bytes = dlx_arena_array(&t->arena, n_bytes, 1);
    if (!kind || !offset || !bytes) return out_of_memory(t, err);
    memcpy(kind, p + l->kind, t->size);
    memcpy(bytes, p + l->bytes, n_bytes);
    uint64_t end = 0;
    for (uint32_t i = 0; i < t->size; i++) {
        end += dlx_packed_get(p + l->length + 2 * (size_t)i, 2);
        if (end > n_bytes) break;
        offset[i + 1] = (uint32_t)end;
    }
    if (end != n_bytes)
        return dlx_fail(err, DLX_E_FORMAT, "packed tokenizer: the lengths of its tokens do not add up to %u", n_bytes);
    for (size_t i = 0; i < 256; i++) t->byte_id[i] = dlx_packed_get(p + l->byte_id + 4 * i, 4);
    t->kind = kind;
    t->offset = offset;
    t->bytes = bytes;
    return DLX_OK;
}

static dlx_status read_merges_and_added(dlx_tokenizer *t, const layout *l, const uint8_t *p, dlx_error *err)
{
    uint32_t n_text = dlx_packed_get(p + 8 + 4 * TEXTS, 4), at = 0;
    dlx_merge *merges = dlx_arena_array(&t->arena, t->n_merges, sizeof *merges);
    dlx_added_token *added = dlx_arena_array(&t->arena, t->n_added, sizeof *added);
    char *text = dlx_arena_array(&t->arena, n_text, 1);
    if (!merges || !added || !text) return out_of_memory(t, err);
    for (size_t i = 0; i < t->n_merges; i++) {
        const uint8_t *q = p + l->merges + 12 * i;
        merges[i] = (dlx_merge){dlx_packed_get(q, 4), dlx_packed_get(q + 4, 4), dlx_packed_get(q + 8, 4)};
    }
    memcpy(text, p + l->texts, n_text);
    for (size_t i = 0; i < t->n_added; i++) {
        const uint8_t *q = p + l->added + 8 * i;
        added[i] = (dlx_added_token){.id = dlx_packed_get(q, 4), .length = dlx_packed_get(q + 4, 4), .text = text + at};
        if (added[i].length > n_text - at)
            return dlx_fail(err, DLX_E_FORMAT, "packed tokenizer: added token %zu reaches past the texts", i);
        at += added[i].length;
    }
    if (at != n_text)
        return dlx_fail(err, DLX_E_FORMAT, "packed tokenizer: %u bytes of added texts belong to no token", n_text - at);
    t->merges = merges;
    t->added = added;
    return DLX_OK;
}

static dlx_status read_packed(dlx_tokenizer *t, const uint8_t *p, size_t n, dlx_error *err)
{
    layout l;
    DLX_TRY(read_header(t, &l, p, n, err));
    DLX_TRY(read_tokens(t, &l, p, err));
    DLX_TRY(read_merges_and_added(t, &l, p, err));
    if (!t->steps)
        DLX_TRY(
            dlx_steps_read(&t->steps, &t->n_steps, &t->arena, p + l.steps, dlx_packed_get(p + 8 + 4 * STEPS, 4), err));
    dlx_status status = dlx_packed_get(p + 8 + 4 * VERSION, 4) >= DLX_PACKED_WITH_CHAT
                            ? dlx_packed_chat_read(t, p + l.total, n - (size_t)l.total, err)
                            : dlx_packed_chat_published(t, dlx_packed_get(p + 8 + 4 * CHAT, 4), err);
    if (status == DLX_OK) status = dlx_tokenizer_finish(t, err);
    return status == DLX_OK ? DLX_OK : dlx_fail_prefix(err, status, "packed tokenizer");
}

dlx_status dlx_tokenizer_open_packed(dlx_tokenizer **out, const void *bytes, size_t n, dlx_error *err)
{
    if (!out) return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_open_packed: out must not be NULL");
    *out = NULL;
    if (!bytes) return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_open_packed: bytes must not be NULL");
    dlx_tokenizer *t;
    DLX_TRY(dlx_tokenizer_new(&t, err));
    dlx_status status = read_packed(t, bytes, n, err);
    if (status != DLX_OK) {
        dlx_tokenizer_close(t);
        return status;
    }
    *out = t;
    return DLX_OK;
}
