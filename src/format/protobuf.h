/*
 * Protocol buffers without a schema compiler, for reading: a message is a cursor over its bytes, fields come one after
 * the other. Every length is checked against the message, so hostile bytes end a message and are never followed.
 */
#ifndef DLX_FORMAT_PROTOBUF_H
#define DLX_FORMAT_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dlx_pb {
    const uint8_t *at, *end;
    bool damaged; /* it ended in the middle of a field */
} dlx_pb;

typedef struct dlx_pb_field {
    uint32_t number;
    bool is_bytes;    /* of a length that stands in front: a message, a string */
    uint64_t integer; /* otherwise */
    dlx_pb bytes;
} dlx_pb_field;

dlx_pb dlx_pb_open(const void *data, size_t n);
/* The next field; false at the end, and where the message is damaged. */
bool dlx_pb_next(dlx_pb *message, dlx_pb_field *out);
/* Whether they are that text, or the same as others. */
bool dlx_pb_is(const dlx_pb *bytes, const char *text);
bool dlx_pb_same(const dlx_pb *a, const dlx_pb *b);

#endif
