#include "format/protobuf.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5, WIRE_BITS = 3 };

dlx_pb dlx_pb_open(const void *data, size_t n)
{
    const uint8_t *at = data;
    return (dlx_pb){.at = at, .end = n ? at + n : at};
}

static bool varint(dlx_pb *m, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        uint8_t byte = *m->at++;
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) return true;
    }
    m->damaged = true;
    return false;
}

static bool fixed(dlx_pb *m, size_t n, uint64_t *out)
{
    *out = 0;
    m->damaged = (size_t)(m->end - m->at) < n;
    for (size_t i = 0; !m->damaged && i < n; i++) *out |= (uint64_t)*m->at++ << (8 * i);
    return !m->damaged;
}

static bool bytes(dlx_pb *m, dlx_pb *out)
{
    uint64_t n;
    if (!varint(m, &n)) return false;
    m->damaged = n > (uint64_t)(m->end - m->at);
    if (m->damaged) return false;
    *out = dlx_pb_open(m->at, (size_t)n);
    m->at += n;
    return true;
}

bool dlx_pb_next(dlx_pb *m, dlx_pb_field *out)
{
    uint64_t tag;
    *out = (dlx_pb_field){.number = 0};
    if (m->damaged || m->at == m->end || !varint(m, &tag)) return false;
    out->number = (uint32_t)(tag >> WIRE_BITS);
    switch (tag & ((1u << WIRE_BITS) - 1)) {
    case WIRE_VARINT: return varint(m, &out->integer);
    case WIRE_64: return fixed(m, 8, &out->integer);
    case WIRE_32: return fixed(m, 4, &out->integer);
    case WIRE_BYTES: out->is_bytes = true; return bytes(m, &out->bytes);
    default: m->damaged = true; return false;
    }
}

bool dlx_pb_same(const dlx_pb *a, const dlx_pb *b)
{
    size_t n = (size_t)(a->end - a->at);
    return n == (size_t)(b->end - b->at) && (!n || !memcmp(a->at, b->at, n));
}

bool dlx_pb_is(const dlx_pb *bytes, const char *text)
{
    dlx_pb other = dlx_pb_open(text, strlen(text));
    return dlx_pb_same(bytes, &other);
}
