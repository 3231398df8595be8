/* Describing a .pte: the memory of sessions over a program whose shapes never vary, which another runtime runs. */
#ifndef DLX_API_INSPECT_FIXED_H
#define DLX_API_INSPECT_FIXED_H

#include "diffulex_edge/model.h"

#include "base/text_buffer.h"
#include "format/pte.h"

typedef struct dlx_fixed_memory {
    bool known;        /* the file is such a program */
    uint64_t kv_cache; /* keys and values of all sessions, */
    uint64_t buffers;  /* and what they take besides; what the other runtime takes is not known here */
    int32_t sessions, max_rows, max_context;
    const char *kv_type;
    bool inside; /* the keys and values are in the program's delegates, which the runtime allocates */
} dlx_fixed_memory;

/* DLX_E_LIMIT where more positions are asked for than the program has; fewer change nothing, its cache is whole. */
dlx_status dlx_fixed_memory_read(dlx_fixed_memory *out, const char *path, const dlx_pte *pte,
                                 const dlx_workspace_options *asked, dlx_error *err);
/* Nothing where nothing is known. */
void dlx_put_fixed_memory(dlx_text_buffer *t, const dlx_fixed_memory *m);
void dlx_put_fixed_memory_json(dlx_text_buffer *t, const dlx_fixed_memory *m);

#endif
