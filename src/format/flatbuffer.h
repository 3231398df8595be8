/*
 * FlatBuffers without a schema compiler: tables are addressed by slot number.
 *
 * Reading: every accessor checks offsets against the buffer, so hostile bytes give absent fields or an error, never a
 * stray read. `dlx_fb` is a cursor on one table. Absent slots yield the default.
 * Writing: forward (parents before children, uoffsets patched), into one growing buffer.
 */
#ifndef DLX_FORMAT_FLATBUFFER_H
#define DLX_FORMAT_FLATBUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* ---- reading ---- */

typedef struct dlx_fb_buffer {
    const uint8_t *data;
    uint32_t size;
    const char *what; /* for messages: "program", "XNNPACK payload" */
    dlx_error *err;   /* first error is recorded here; later reads give defaults */
    dlx_status status;
    uint64_t budget; /* bytes that may still be read and allocated: many references to one child must not multiply */
} dlx_fb_buffer;

typedef struct dlx_fb {
    dlx_fb_buffer *buffer;
    uint32_t table; /* 0: absent table, all of whose slots are absent */
    uint32_t vtable;
    uint16_t vtable_size, table_size;
} dlx_fb;

typedef struct dlx_fb_vector {
    dlx_fb_buffer *buffer;
    uint32_t start; /* of element 0 */
    uint32_t count;
} dlx_fb_vector;

/* Checks size limits and the 4-byte identifier at byte 4 (`identifier` may be NULL) and opens the root table. */
dlx_status dlx_fb_open(dlx_fb_buffer *buffer, const void *data, uint64_t size, const char *identifier, const char *what,
                       dlx_error *err, dlx_fb *root);
/* Takes `bytes` (of memory that the contents ask for) from the budget, 16 times the buffer's size at the start; tables,
 * vectors and strings charge for themselves. False, with an error recorded, when it is used up. */
bool dlx_fb_charge(dlx_fb_buffer *buffer, uint64_t bytes);
uint8_t dlx_fb_u8(dlx_fb t, int slot, uint8_t dflt);
int8_t dlx_fb_i8(dlx_fb t, int slot, int8_t dflt);
int16_t dlx_fb_i16(dlx_fb t, int slot, int16_t dflt);
uint16_t dlx_fb_u16(dlx_fb t, int slot, uint16_t dflt);
int32_t dlx_fb_i32(dlx_fb t, int slot, int32_t dflt);
uint32_t dlx_fb_u32(dlx_fb t, int slot, uint32_t dflt);
int64_t dlx_fb_i64(dlx_fb t, int slot, int64_t dflt);
uint64_t dlx_fb_u64(dlx_fb t, int slot, uint64_t dflt);
float dlx_fb_f32(dlx_fb t, int slot, float dflt);
double dlx_fb_f64(dlx_fb t, int slot, double dflt);
bool dlx_fb_has(dlx_fb t, int slot);
dlx_fb dlx_fb_table(dlx_fb t, int slot);
/* Element size in bytes is checked against the buffer's end; absent: count 0. */
dlx_fb_vector dlx_fb_vec(dlx_fb t, int slot, uint32_t element_size);
/* NUL-terminated string, "" when absent; *n (may be NULL) its length. An embedded NUL is an error. */
const char *dlx_fb_string(dlx_fb t, int slot, uint32_t *n);
/* Element i of a vector of tables / of scalars; i < count is the caller's duty. */
dlx_fb dlx_fb_vec_table(dlx_fb_vector v, uint32_t i);
uint8_t dlx_fb_vec_u8(dlx_fb_vector v, uint32_t i);
int32_t dlx_fb_vec_i32(dlx_fb_vector v, uint32_t i);
uint32_t dlx_fb_vec_u32(dlx_fb_vector v, uint32_t i);
int64_t dlx_fb_vec_i64(dlx_fb_vector v, uint32_t i);
uint64_t dlx_fb_vec_u64(dlx_fb_vector v, uint32_t i);
float dlx_fb_vec_f32(dlx_fb_vector v, uint32_t i);

/* ---- writing ---- */

enum { DLX_FBW_VTABLES = 64 }; /* a program has about 20, and those that find no place are written once more */

typedef struct dlx_fbw {
    uint8_t *data; /* malloc'd */
    size_t size, capacity;
    size_t max_align;
    bool failed;                    /* out of memory or over 2 GiB; all calls are harmless then */
    size_t vtable[DLX_FBW_VTABLES]; /* [n_vtables] where they stand: tables of one shape share theirs */
    size_t n_vtables;
} dlx_fbw;

/* A position inside the buffer of a field that will point to a child. */
typedef struct dlx_fbw_ref {
    size_t at;
} dlx_fbw_ref;

/* A table under construction: declare every slot, then begin, then fill. */
typedef struct dlx_fbw_field {
    uint8_t size;  /* 0: slot absent; 1, 2, 4, 8 scalar; DLX_FBW_REF: offset to a child */
    uint64_t bits; /* scalar, little-endian bits */
} dlx_fbw_field;

enum { DLX_FBW_REF = 32, DLX_FBW_MAX_SLOTS = 12 };

typedef struct dlx_fbw_table {
    dlx_fbw_field field[DLX_FBW_MAX_SLOTS];
    dlx_fbw_ref ref[DLX_FBW_MAX_SLOTS]; /* filled by dlx_fbw_put for REF slots */
} dlx_fbw_table;

/* `reserve` bytes are left free after the identifier (extended header). */
void dlx_fbw_init(dlx_fbw *w, const char identifier[4], size_t reserve);
void dlx_fbw_free(dlx_fbw *w);
/* Root reference (the first four bytes). */
dlx_fbw_ref dlx_fbw_root(dlx_fbw *w);
void dlx_fbw_set(dlx_fbw_table *t, int slot, int size, uint64_t bits);
void dlx_fbw_set_f32(dlx_fbw_table *t, int slot, float v);
void dlx_fbw_set_f64(dlx_fbw_table *t, int slot, double v);
void dlx_fbw_set_ref(dlx_fbw_table *t, int slot);
/* Writes the table, points `from` at it, fills t->ref. */
void dlx_fbw_put(dlx_fbw *w, dlx_fbw_ref from, dlx_fbw_table *t);
void dlx_fbw_string(dlx_fbw *w, dlx_fbw_ref from, const char *s);
/* Vector of `count` scalars of `size` bytes each at `items`, aligned to max(4, size). */
void dlx_fbw_scalars(dlx_fbw *w, dlx_fbw_ref from, const void *items, size_t count, size_t size);
/* Vector of `count` offsets; element i is dlx_fbw_item(vector, i). */
dlx_fbw_ref dlx_fbw_vector(dlx_fbw *w, dlx_fbw_ref from, size_t count);
dlx_fbw_ref dlx_fbw_item(dlx_fbw_ref vector, size_t i);
/* Pads to the largest alignment used (at least 8); false when anything failed. */
bool dlx_fbw_finish(dlx_fbw *w);

#endif
