/* A decomposed graph as the method `forward`, with XNNPACK alone. */
#ifndef DLX_TESTS_LOWER_TO_XNNPACK_H
#define DLX_TESTS_LOWER_TO_XNNPACK_H

#include "backends/xnnpack/xnnpack.h"

static inline dlx_status lower_to_xnnpack(dlx_pte_plan *plan, dlx_pte_blob **blobs, uint32_t *n_blobs, dlx_arena *arena,
                                          const dlx_graph *g, dlx_error *err)
{
    const dlx_lower_request request = {.how = {.method = "forward"}, .homes = &dlx_xnnpack_home, .n_homes = 1};
    return dlx_lower(plan, blobs, n_blobs, arena, g, &request, err);
}

#endif
