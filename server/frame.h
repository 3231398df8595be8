/* What a pass did, for views that show it: docs/SERVER.md, "Streams". */
#ifndef DLX_SRV_FRAME_H
#define DLX_SRV_FRAME_H

#include "work.h"

/* Text of ids, special tokens too; NULL when memory runs out. */
json_t *dlx_srv_ids_text(const dlx_srv_engine *engine, const int32_t *ids, size_t n);
/* The list of the bytes of an id, which may be a part of a character. NULL when memory runs out. */
json_t *dlx_srv_id_bytes(const dlx_srv_engine *engine, int32_t id);
/* ids [n_ids]: the canvas behind the pass. Positions count from the answer's first token. NULL when memory runs out. */
json_t *dlx_srv_frame(const dlx_srv_answer *a, const dlx_step *step, const int32_t *ids, size_t n_ids);

#endif
