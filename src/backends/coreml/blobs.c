/* Facts: coremltools, mlmodel/src/MILBlob/Blob/StorageFormat.hpp. Little endian, as this program's machines are. */
#include "backends/coreml/blobs.h"

#include <string.h>

#include "base/sizes.h"

enum { ALIGN = 64, HEADER = 64, METADATA = 64, VERSION = 2 };
static const uint32_t SENTINEL = 0xDEADBEEF;

static void put_u32(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(v >> 8 * i);
}

static void put_u64(uint8_t *to, uint64_t v)
{
    for (int i = 0; i < 8; i++) to[i] = (uint8_t)(v >> 8 * i);
}

static void add_piece(dlx_blobs *b, dlx_pte_piece piece)
{
    if (b->n_pieces == b->capacity) {
        uint32_t more = b->capacity ? 2 * b->capacity : 64;
        dlx_pte_piece *pieces = dlx_arena_array(b->arena, more, sizeof *pieces);
        if (!pieces) {
            b->failed = true;
            return;
        }
        if (b->n_pieces) memcpy(pieces, b->pieces, b->n_pieces * sizeof *pieces);
        b->pieces = pieces;
        b->capacity = more;
    }
    b->pieces[b->n_pieces++] = piece;
    b->size += piece.size;
}

/* Zeros that become one piece of the file; where they would be none, NULL. */
static uint8_t *add_bytes(dlx_blobs *b, uint64_t n)
{
    uint8_t *bytes = dlx_arena_array(b->arena, (size_t)n, 1);
    if (!bytes) b->failed = true;
    if (bytes && n) add_piece(b, (dlx_pte_piece){.data = bytes, .size = n});
    return b->failed ? NULL : bytes;
}

void dlx_blobs_begin(dlx_blobs *b, dlx_arena *arena)
{
    *b = (dlx_blobs){.arena = arena};
    uint8_t *header = add_bytes(b, HEADER);
    if (header) put_u32(header + 4, VERSION);
}

/* What stands in front of a blob of n bytes. */
static uint64_t add_metadata(dlx_blobs *b, dlx_blob_type type, uint64_t n)
{
    uint64_t gap = dlx_align_up(b->size, ALIGN) - b->size, at = b->size + gap;
    uint8_t *bytes = add_bytes(b, gap + METADATA);
    if (!bytes) return 0;
    put_u32(bytes + gap, SENTINEL);
    put_u32(bytes + gap + 4, type);
    put_u64(bytes + gap + 8, n);
    put_u64(bytes + gap + 16, at + METADATA);
    b->count++;
    return at;
}

static dlx_blob_type type_of(dlx_dtype t)
{
    return t == DLX_I4 ? DLX_BLOB_I4 : t == DLX_I8 ? DLX_BLOB_I8 : DLX_BLOB_F16;
}

/* ---- blobs of several functions ---- */

static bool same_source(const dlx_const_source *x, const dlx_const_source *y)
{
    if (x->bytes != y->bytes || x->stored != y->stored || x->transform != y->transform || x->group != y->group ||
        x->clip != y->clip || x->f16_scales != y->f16_scales || x->signed_nibbles != y->signed_nibbles ||
        x->times != y->times)
        return false;
    if (x->file || y->file) return x->file == y->file && x->offset == y->offset;
    return x->data == y->data || (x->data && y->data && !memcmp(x->data, y->data, (size_t)x->bytes));
}

static bool same_blob(const dlx_blob_entry *a, const dlx_blob_entry *b)
{
    if (a->type != b->type || a->bytes != b->bytes || !a->v != !b->v) return false;
    if (!a->v) return true;
    bool same = a->v->rank == b->v->rank;
    for (int d = 0; same && d < a->v->rank; d++) same = a->v->dim[d] == b->v->dim[d];
    return same && same_source(&a->v->source, &b->v->source);
}

/* Functions are alike: what is added next most likely stands behind what was found last. */
static const dlx_blob_entry *find(dlx_blobs *b, const dlx_blob_entry *entry)
{
    for (uint32_t i = 0; i < b->met; i++) {
        uint32_t at = (b->next + i) % b->met;
        if (!same_blob(&b->entries[at], entry)) continue;
        b->next = at + 1;
        return &b->entries[at];
    }
    return NULL;
}

void dlx_blobs_next_function(dlx_blobs *b)
{
    b->met = b->count;
    b->next = 0;
}

/* Where the blob is: the one that there is, or, *fresh, a new one, whose bytes are to be added. */
static uint64_t place(dlx_blobs *b, dlx_blob_entry entry, bool *fresh)
{
    const dlx_blob_entry *there = find(b, &entry);
    *fresh = !there;
    if (there) return there->at;
    if (b->count == b->entries_capacity) {
        uint32_t more = b->count ? 2 * b->count : 64;
        dlx_blob_entry *entries = dlx_arena_array(b->arena, more, sizeof *entries);
        if (!entries) {
            b->failed = true;
            return 0;
        }
        if (b->count) memcpy(entries, b->entries, b->count * sizeof *entries);
        b->entries = entries;
        b->entries_capacity = more;
    }
    uint32_t i = b->count;
    entry.at = add_metadata(b, entry.type, entry.bytes);
    b->entries[i] = entry;
    return entry.at;
}

uint64_t dlx_blobs_add(dlx_blobs *b, const dlx_value *v)
{
    dlx_shape shape = dlx_value_shape(v);
    uint64_t bytes = 0;
    dlx_value *kept = dlx_arena_alloc(b->arena, sizeof *kept);
    if (!kept || !dlx_dtype_bytes(v->dtype, (uint64_t)dlx_shape_elements(&shape), &bytes)) {
        b->failed = true;
        return 0;
    }
    *kept = *v;
    bool fresh;
    uint64_t at = place(b, (dlx_blob_entry){.v = kept, .type = type_of(v->dtype), .bytes = bytes}, &fresh);
    if (!b->failed && fresh) add_piece(b, (dlx_pte_piece){.user = kept, .size = bytes});
    return at;
}

uint64_t dlx_blobs_add_zeros(dlx_blobs *b, dlx_blob_type type, uint64_t bytes)
{
    bool fresh;
    uint64_t at = place(b, (dlx_blob_entry){.type = type, .bytes = bytes}, &fresh);
    if (!b->failed && fresh) add_bytes(b, bytes);
    return at;
}

void dlx_blobs_end(dlx_blobs *b)
{
    if (b->n_pieces) put_u32((uint8_t *)(uintptr_t)b->pieces[0].data, b->count);
}
