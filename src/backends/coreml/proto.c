/* Facts: protobuf.dev, "Encoding". Lengths are written where a message ends, in front of what it holds. */
#include "backends/coreml/proto.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

enum { WIRE_VARINT = 0, WIRE_BYTES = 2, MOST_VARINT = 10 };

/* Room for n more bytes; NULL: memory is out. */
static uint8_t *room(dlx_proto *p, size_t n)
{
    if (p->failed || n > SIZE_MAX / 2 - p->size || dlx_grow(&p->data, &p->capacity, p->size + n, 1) != 0) {
        p->failed = true;
        return NULL;
    }
    p->size += n;
    return p->data + p->size - n;
}

static size_t encode(uint8_t out[MOST_VARINT], uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) out[n++] = (uint8_t)(v | 0x80);
    out[n++] = (uint8_t)v;
    return n;
}

static void put(dlx_proto *p, const void *data, size_t n)
{
    uint8_t *to = n ? room(p, n) : NULL;
    if (to) memcpy(to, data, n);
}

void dlx_proto_packed(dlx_proto *p, uint64_t value)
{
    uint8_t bytes[MOST_VARINT];
    put(p, bytes, encode(bytes, value));
}

static void key(dlx_proto *p, uint32_t field, uint32_t wire)
{
    dlx_proto_packed(p, (uint64_t)field << 3 | wire);
}

void dlx_proto_varint(dlx_proto *p, uint32_t field, uint64_t value)
{
    key(p, field, WIRE_VARINT);
    dlx_proto_packed(p, value);
}

void dlx_proto_bytes(dlx_proto *p, uint32_t field, const void *data, size_t n)
{
    key(p, field, WIRE_BYTES);
    dlx_proto_packed(p, n);
    put(p, data, n);
}

void dlx_proto_string(dlx_proto *p, uint32_t field, const char *s)
{
    dlx_proto_bytes(p, field, s, strlen(s));
}

size_t dlx_proto_begin(dlx_proto *p, uint32_t field)
{
    key(p, field, WIRE_BYTES);
    return p->size;
}

/* The length stands in front, and is known behind. */
void dlx_proto_end(dlx_proto *p, size_t begin)
{
    uint8_t length[MOST_VARINT];
    if (p->failed) return;
    size_t content = p->size - begin, n = encode(length, content);
    if (!room(p, n)) return;
    memmove(p->data + begin + n, p->data + begin, content);
    memcpy(p->data + begin, length, n);
}

void dlx_proto_free(dlx_proto *p)
{
    free(p->data);
    *p = (dlx_proto){0};
}
