/*
 * Forward FlatBuffer writer: a parent is written before its children, and each child patches the reference that its
 * parent left for it. A table's vtable stands directly before the first table that has it. All multi-byte values are
 * little-endian, which is also what the supported machines are, so vectors are copied as they lie in memory.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/sizes.h"
#include "format/flatbuffer.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "FlatBuffers are copied as they lie in memory");

/* Offsets between tables are signed 32-bit. */
static const size_t max_size = INT32_MAX;

/* n bytes of zeros at the end; NULL (and failed) when they do not fit. */
static uint8_t *append(dlx_fbw *w, size_t n)
{
    if (w->failed || n > max_size - w->size || dlx_grow(&w->data, &w->capacity, w->size + n, 1) != 0) {
        w->failed = true;
        return NULL;
    }
    uint8_t *p = w->data + w->size;
    memset(p, 0, n);
    w->size += n;
    return p;
}

/* Zeros until what comes `ahead` bytes later is aligned. */
static void pad(dlx_fbw *w, size_t align, size_t ahead)
{
    if (align > w->max_align) w->max_align = align;
    append(w, (align - (w->size + ahead) % align) % align);
}

static void store(dlx_fbw *w, size_t at, uint64_t bits, size_t size)
{
    memcpy(w->data + at, &bits, size);
}

/* Lets `from` point at `target`. */
static void patch(dlx_fbw *w, dlx_fbw_ref from, size_t target)
{
    if (!w->failed) store(w, from.at, target - from.at, 4);
}

void dlx_fbw_init(dlx_fbw *w, const char identifier[4], size_t reserve)
{
    memset(w, 0, sizeof *w);
    w->max_align = 8;
    if (reserve > max_size - 8) w->failed = true;
    uint8_t *p = append(w, 8 + reserve);
    if (p) memcpy(p + 4, identifier, 4);
}

void dlx_fbw_free(dlx_fbw *w)
{
    free(w->data);
    memset(w, 0, sizeof *w);
}

dlx_fbw_ref dlx_fbw_root(dlx_fbw *w)
{
    (void)w;
    return (dlx_fbw_ref){0};
}

void dlx_fbw_set(dlx_fbw_table *t, int slot, int size, uint64_t bits)
{
    t->field[slot] = (dlx_fbw_field){.size = (uint8_t)size, .bits = bits};
}

void dlx_fbw_set_f32(dlx_fbw_table *t, int slot, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    dlx_fbw_set(t, slot, 4, bits);
}

void dlx_fbw_set_f64(dlx_fbw_table *t, int slot, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    dlx_fbw_set(t, slot, 8, bits);
}

void dlx_fbw_set_ref(dlx_fbw_table *t, int slot)
{
    dlx_fbw_set(t, slot, DLX_FBW_REF, 0);
}

static size_t field_size(const dlx_fbw_field *f)
{
    return f->size == DLX_FBW_REF ? 4 : f->size;
}

/* Where a vtable stands that begins with its own size: the same one as before, or another at the end. */
static size_t put_vtable(dlx_fbw *w, const uint16_t *vtable)
{
    if (w->failed) return 0;
    for (size_t i = 0; i < w->n_vtables; i++)
        if (memcmp(w->data + w->vtable[i], vtable, 2) == 0 && memcmp(w->data + w->vtable[i], vtable, vtable[0]) == 0)
            return w->vtable[i];
    pad(w, 2, 0);
    size_t at = w->size;
    uint8_t *p = append(w, vtable[0]);
    if (!p) return 0;
    memcpy(p, vtable, vtable[0]);
    if (w->n_vtables < DLX_FBW_VTABLES) w->vtable[w->n_vtables++] = at;
    return at;
}

void dlx_fbw_put(dlx_fbw *w, dlx_fbw_ref from, dlx_fbw_table *t)
{
    /* Fields by falling size, so that none needs padding; a table begins with the 4-byte distance to its vtable. */
    uint16_t offset[DLX_FBW_MAX_SLOTS] = {0};
    size_t slots = 0, end = 4, align = 4;
    for (size_t size = 8; size; size /= 2) {
        for (size_t i = 0; i < DLX_FBW_MAX_SLOTS; i++) {
            if (field_size(&t->field[i]) != size) continue;
            end = dlx_align_up(end, size);
            offset[i] = (uint16_t)end;
            end += size;
            if (size > align) align = size;
            if (i + 1 > slots) slots = i + 1;
        }
    }
    uint16_t shape[2 + DLX_FBW_MAX_SLOTS] = {(uint16_t)(4 + 2 * slots), (uint16_t)end};
    memcpy(shape + 2, offset, 2 * slots);
    size_t vtable = put_vtable(w, shape);
    pad(w, align, 0);
    size_t table = w->size;
    append(w, end);
    if (w->failed) return;
    store(w, table, table - vtable, 4);
    for (size_t i = 0; i < slots; i++) {
        if (t->field[i].size == DLX_FBW_REF)
            t->ref[i] = (dlx_fbw_ref){table + offset[i]};
        else if (t->field[i].size)
            store(w, table + offset[i], t->field[i].bits, t->field[i].size);
    }
    patch(w, from, table);
}

void dlx_fbw_string(dlx_fbw *w, dlx_fbw_ref from, const char *s)
{
    size_t n = strlen(s);
    pad(w, 4, 0);
    size_t start = w->size;
    if (n > max_size - 5) w->failed = true;
    uint8_t *p = append(w, 4 + n + 1);
    if (!p) return;
    store(w, start, n, 4);
    memcpy(p + 4, s, n);
    patch(w, from, start);
}

void dlx_fbw_scalars(dlx_fbw *w, dlx_fbw_ref from, const void *items, size_t count, size_t size)
{
    pad(w, size > 4 ? size : 4, 4);
    size_t start = w->size;
    if (count > (max_size - 4) / size) w->failed = true;
    uint8_t *p = append(w, 4 + (w->failed ? 0 : count * size));
    if (!p) return;
    store(w, start, count, 4);
    if (count) memcpy(p + 4, items, count * size);
    patch(w, from, start);
}

dlx_fbw_ref dlx_fbw_vector(dlx_fbw *w, dlx_fbw_ref from, size_t count)
{
    pad(w, 4, 0);
    size_t start = w->size;
    if (count > max_size / 4 - 1) w->failed = true;
    if (!append(w, 4 + (w->failed ? 0 : 4 * count))) return (dlx_fbw_ref){0};
    store(w, start, count, 4);
    patch(w, from, start);
    return (dlx_fbw_ref){start + 4};
}

dlx_fbw_ref dlx_fbw_item(dlx_fbw_ref vector, size_t i)
{
    return (dlx_fbw_ref){vector.at + 4 * i};
}

bool dlx_fbw_finish(dlx_fbw *w)
{
    pad(w, w->max_align, 0);
    return !w->failed;
}
