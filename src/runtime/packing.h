/*
 * Weights of linear layers, as the kernels want them: packed into one block when a program is loaded. Weights that are
 * still in the file are read piece by piece, each piece by the thread that packs it, while it is in that core's cache.
 */
#ifndef DLX_RUNTIME_PACKING_H
#define DLX_RUNTIME_PACKING_H

#include "runtime/program.h"

/* Makes p->packed and p->weights; `place` may be NULL. On failure what was made is freed with the program. */
dlx_status dlx_packing_fill(dlx_program *p, dlx_pool *pool, const dlx_pack_place *place, dlx_error *err);
/* Frees p->packed. */
void dlx_packing_free(dlx_program *p);

#endif
