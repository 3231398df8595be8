/*
 * FlatBuffer reader: every offset is followed only after it was checked against the buffer. The first violation is
 * recorded in the buffer; from then on all accessors give defaults, so a parser may check once per step.
 */
#include <string.h>

#include "base/sizes.h"
#include "format/flatbuffer.h"

/* A table or vector is reached by a 4-byte offset; what it costs to visit one. */
enum { VISIT_COST = 8, BUDGET_FACTOR = 16, BUDGET_BASE = 1 << 16 };

static void fail(dlx_fb_buffer *b, const char *what, uint32_t at)
{
    if (b->status == DLX_OK)
        b->status = dlx_fail(b->err, DLX_E_FORMAT, "%s: the %s at byte %u reaches outside its %u bytes", b->what, what,
                             at, b->size);
}

bool dlx_fb_charge(dlx_fb_buffer *b, uint64_t bytes)
{
    if (b->status != DLX_OK) return false;
    if (bytes > b->budget) {
        b->budget = 0;
        b->status = dlx_fail(b->err, DLX_E_FORMAT, "%s: it unfolds to more than %d times its %u bytes", b->what,
                             BUDGET_FACTOR, b->size);
        return false;
    }
    b->budget -= bytes;
    return true;
}

static uint16_t load16(const dlx_fb_buffer *b, uint32_t at)
{
    uint16_t v;
    memcpy(&v, b->data + at, sizeof v);
    return v;
}

static uint32_t load32(const dlx_fb_buffer *b, uint32_t at)
{
    uint32_t v;
    memcpy(&v, b->data + at, sizeof v);
    return v;
}

/* Follows the offset stored at byte `at` (inside the buffer); 0 when it leaves the buffer. */
static uint32_t follow(dlx_fb_buffer *b, uint32_t at)
{
    uint32_t offset = load32(b, at);
    if (offset && dlx_range_ok((uint64_t)at + offset, 4, b->size)) return at + offset;
    fail(b, "offset", at);
    return 0;
}

static dlx_fb open_table(dlx_fb_buffer *b, uint32_t at)
{
    dlx_fb t = {.buffer = b};
    if (!at || !dlx_fb_charge(b, VISIT_COST)) return t;
    int64_t vtable = (int64_t)at - (int32_t)load32(b, at);
    if (vtable < 0 || !dlx_range_ok((uint64_t)vtable, 4, b->size)) {
        fail(b, "vtable of the table", at);
        return t;
    }
    uint16_t vtable_size = load16(b, (uint32_t)vtable), table_size = load16(b, (uint32_t)vtable + 2);
    if (vtable_size < 4 || !dlx_range_ok((uint64_t)vtable, vtable_size, b->size)) {
        fail(b, "vtable of the table", at);
    } else if (table_size < 4 || !dlx_range_ok(at, table_size, b->size)) {
        fail(b, "table", at);
    } else {
        t.table = at;
        t.vtable = (uint32_t)vtable;
        t.vtable_size = vtable_size;
        t.table_size = table_size;
    }
    return t;
}

dlx_status dlx_fb_open(dlx_fb_buffer *buffer, const void *data, uint64_t size, const char *identifier, const char *what,
                       dlx_error *err, dlx_fb *root)
{
    memset(buffer, 0, sizeof *buffer);
    memset(root, 0, sizeof *root);
    root->buffer = buffer;
    buffer->what = what;
    buffer->err = err;
    if (size < 8 || size > INT32_MAX)
        return buffer->status = dlx_fail(err, DLX_E_FORMAT, "%s: it has %llu bytes; 8 to 2 GiB are expected", what,
                                         (unsigned long long)size);
    buffer->data = data;
    buffer->size = (uint32_t)size;
    buffer->budget = BUDGET_FACTOR * size + BUDGET_BASE;
    if (identifier && memcmp(buffer->data + 4, identifier, 4) != 0)
        return buffer->status = dlx_fail(err, DLX_E_FORMAT, "%s: its identifier is 0x%08x; expected '%s'", what,
                                         load32(buffer, 4), identifier);
    *root = open_table(buffer, follow(buffer, 0));
    return buffer->status;
}

/* Byte of the slot's field, of `size` bytes; 0 when it is absent. */
static uint32_t field(dlx_fb t, int slot, uint32_t size)
{
    uint32_t entry = 4 + 2 * (uint32_t)slot;
    if (!t.table || t.buffer->status != DLX_OK || entry + 2 > t.vtable_size) return 0;
    uint16_t offset = load16(t.buffer, t.vtable + entry);
    if (!offset) return 0;
    if (offset >= 4 && dlx_range_ok(offset, size, t.table_size)) return t.table + offset;
    fail(t.buffer, "field of the table", t.table);
    return 0;
}

#define SCALAR_ACCESSOR(suffix, type)                                                                                  \
    type dlx_fb_##suffix(dlx_fb t, int slot, type dflt)                                                                \
    {                                                                                                                  \
        uint32_t at = field(t, slot, sizeof(type));                                                                    \
        type v = dflt;                                                                                                 \
        if (at) memcpy(&v, t.buffer->data + at, sizeof v);                                                             \
        return v;                                                                                                      \
    }

SCALAR_ACCESSOR(u8, uint8_t)
SCALAR_ACCESSOR(i8, int8_t)
SCALAR_ACCESSOR(i16, int16_t)
SCALAR_ACCESSOR(u16, uint16_t)
SCALAR_ACCESSOR(i32, int32_t)
SCALAR_ACCESSOR(u32, uint32_t)
SCALAR_ACCESSOR(i64, int64_t)
SCALAR_ACCESSOR(u64, uint64_t)
SCALAR_ACCESSOR(f32, float)
SCALAR_ACCESSOR(f64, double)

bool dlx_fb_has(dlx_fb t, int slot)
{
    return field(t, slot, 1) != 0;
}

dlx_fb dlx_fb_table(dlx_fb t, int slot)
{
    uint32_t at = field(t, slot, 4);
    return at ? open_table(t.buffer, follow(t.buffer, at)) : (dlx_fb){.buffer = t.buffer};
}

dlx_fb_vector dlx_fb_vec(dlx_fb t, int slot, uint32_t element_size)
{
    dlx_fb_vector v = {.buffer = t.buffer};
    uint32_t at = field(t, slot, 4);
    if (!at || !(at = follow(t.buffer, at))) return v;
    uint32_t count = load32(t.buffer, at);
    uint64_t bytes = (uint64_t)count * element_size;
    if (!dlx_range_ok((uint64_t)at + 4, bytes, t.buffer->size)) {
        fail(t.buffer, "vector", at);
    } else if (dlx_fb_charge(t.buffer, VISIT_COST + bytes)) {
        v.start = at + 4;
        v.count = count;
    }
    return v;
}

const char *dlx_fb_string(dlx_fb t, int slot, uint32_t *n)
{
    if (n) *n = 0;
    dlx_fb_vector v = dlx_fb_vec(t, slot, 1);
    if (!v.start) return "";
    const char *s = (const char *)t.buffer->data + v.start;
    if (!dlx_range_ok((uint64_t)v.start + v.count, 1, t.buffer->size) ||
        memchr(s, 0, (size_t)v.count + 1) != s + v.count) {
        if (t.buffer->status == DLX_OK)
            t.buffer->status =
                dlx_fail(t.buffer->err, DLX_E_FORMAT, "%s: the string at byte %u does not end with its only NUL",
                         t.buffer->what, v.start - 4);
        return "";
    }
    if (n) *n = v.count;
    return s;
}

dlx_fb dlx_fb_vec_table(dlx_fb_vector v, uint32_t i)
{
    if (v.buffer->status != DLX_OK) return (dlx_fb){.buffer = v.buffer};
    return open_table(v.buffer, follow(v.buffer, v.start + 4 * i));
}

#define ELEMENT_ACCESSOR(suffix, type)                                                                                 \
    type dlx_fb_vec_##suffix(dlx_fb_vector v, uint32_t i)                                                              \
    {                                                                                                                  \
        type x;                                                                                                        \
        memcpy(&x, v.buffer->data + v.start + (size_t)i * sizeof x, sizeof x);                                         \
        return x;                                                                                                      \
    }

ELEMENT_ACCESSOR(u8, uint8_t)
ELEMENT_ACCESSOR(i32, int32_t)
ELEMENT_ACCESSOR(u32, uint32_t)
ELEMENT_ACCESSOR(i64, int64_t)
ELEMENT_ACCESSOR(u64, uint64_t)
ELEMENT_ACCESSOR(f32, float)
