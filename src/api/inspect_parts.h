/* What a file's bytes are for: parts of the model, by the names of constants, and the rest. */
#ifndef DLX_API_INSPECT_PARTS_H
#define DLX_API_INSPECT_PARTS_H

#include "base/text_buffer.h"
#include "format/pte.h"

typedef enum dlx_file_part {
    DLX_PART_EMBEDDING, /* the table, shared with the head or not */
    DLX_PART_HEAD,      /* a head of its own */
    DLX_PART_LAYERS,    /* weights, scales and biases of the layers */
    DLX_PART_NORMS,
    DLX_PART_TOKENIZER,
    DLX_PART_OTHER,   /* rotary tables, masks, all constants whose names say nothing */
    DLX_PART_PROGRAM, /* methods, what a delegate executes, and what aligns all of this */
    DLX_PARTS
} dlx_file_part;

typedef struct dlx_file_parts {
    uint64_t bytes[DLX_PARTS]; /* together the file's */
} dlx_file_parts;

/* Bytes that have several names count for the constant, then for the first of the names. */
dlx_status dlx_file_parts_of(dlx_file_parts *out, const dlx_pte *pte, dlx_error *err);

/* A line for each part that is there. */
void dlx_put_parts(dlx_text_buffer *t, const dlx_file_parts *p);
/* {"embedding":1,"head":2,...} with all of them. */
void dlx_put_parts_json(dlx_text_buffer *t, const dlx_file_parts *p);

#endif
