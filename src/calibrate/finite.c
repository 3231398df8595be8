#include "calibrate/finite.h"

#include <string.h>

#include "quant/quant.h"

dlx_status dlx_ends_finite(const dlx_checkpoint *c, dlx_pool *pool, dlx_error *err)
{
    dlx_graph g;
    dlx_graph_init(&g);
    dlx_status s = dlx_build_graph(&g, c, DLX_KV_CALLER, 1, 1, err);
    for (size_t i = 0; s == DLX_OK && i < g.n_values; i++) {
        const dlx_value *v = &g.values[i];
        if (v->kind == DLX_VALUE_CONST && v->name && strncmp(v->name, "layers.", 7) != 0)
            s = dlx_const_finite(v, pool, err);
    }
    dlx_graph_free(&g);
    return s;
}
