/*
 * Writing the wire format of Protocol Buffers: fields of varints and of bytes, messages in messages. Failure to get
 * memory is sticky and asked for once, at the end.
 */
#ifndef DLX_BACKENDS_COREML_PROTO_H
#define DLX_BACKENDS_COREML_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dlx_proto {
    uint8_t *data; /* malloc'd */
    size_t size, capacity;
    bool failed; /* memory is out */
} dlx_proto;

void dlx_proto_varint(dlx_proto *p, uint32_t field, uint64_t value);
void dlx_proto_bytes(dlx_proto *p, uint32_t field, const void *data, size_t n);
void dlx_proto_string(dlx_proto *p, uint32_t field, const char *s);
/* A field whose bytes are what is put until dlx_proto_end, which takes what this returns: a message, or numbers that
 * are packed. */
size_t dlx_proto_begin(dlx_proto *p, uint32_t field);
void dlx_proto_end(dlx_proto *p, size_t begin);
/* A number of packed ones. */
void dlx_proto_packed(dlx_proto *p, uint64_t value);
void dlx_proto_free(dlx_proto *p);

#endif
