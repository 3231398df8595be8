/*
 * Keys of named data. ExecuTorch's weights cache keeps what XNNPACK packs under the keys of filter and bias, for all
 * programs of a process, and in files that outlive it: whatever has one key is one matrix to it. So keys of a file end
 * with a mark that is a digest of the file; two files that differ in a byte share none.
 */
#ifndef DLX_FORMAT_KEYS_H
#define DLX_FORMAT_KEYS_H

#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

enum { DLX_KEY_MARK = 17 }; /* '#' and 16 hexadecimal digits */

typedef struct dlx_key_mark {
    char text[DLX_KEY_MARK + 1];
} dlx_key_mark;

dlx_key_mark dlx_key_mark_of(uint64_t digest);
/* name with the mark behind it, in the arena; the name itself where there is no mark; NULL: no memory. */
const char *dlx_key_marked(dlx_arena *arena, const char *name, const char *mark);
/* The name in a key, which may be in the arena; NULL with DLX_OK: hashes of the data, as ExecuTorch's exporter writes
 * them, are no names. */
dlx_status dlx_key_name(const char **name, dlx_arena *arena, const char *key, dlx_error *err);

#endif
