/* What programs of other exporters need while they run: sizes that are computed by the program, and states. */
#include <string.h>

#include "runtime/executor.h"

bool dlx_sized_at_run(const dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (dlx_node_sized_at_run(&g->nodes[i])) return true;
    return false;
}

dlx_status dlx_infer_now(dlx_executor *ex, const dlx_node *n, dlx_error *err)
{
    const dlx_graph *g = &ex->p->g;
    const dlx_known known = {.data = ex->data, .most = INT64_MAX};
    const dlx_shape *out = &ex->shape[n->out[0]], *most = &ex->most[n->out[0]];
    DLX_TRY(dlx_infer_step(g, n, ex->shape, &known, err));
    for (int d = 0; d < out->rank; d++)
        if (out->rank != most->rank || out->dim[d] > most->dim[d])
            return dlx_fail(err, DLX_E_LIMIT,
                            "operator %s: dimension %d of its result is %lld, computed at run time; at most %lld were "
                            "declared",
                            dlx_op_name(n->op), d, (long long)out->dim[d], (long long)most->dim[d]);
    return DLX_OK;
}

void dlx_keep_states(dlx_executor *ex)
{
    const dlx_graph *g = &ex->p->g;
    for (size_t i = 0; i < g->n_states; i++) {
        uint32_t in = g->inputs[g->n_inputs - g->n_states + i], out = g->outputs[g->n_outputs - g->n_states + i];
        if (ex->data[in] != ex->data[out])
            memmove(ex->data[in], ex->data[out], (size_t)dlx_value_bytes(ex->p, in, &ex->shape[in]));
    }
}
