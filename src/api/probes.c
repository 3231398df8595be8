/* Limits of the machine (include/diffulex_edge/bench.h): the kernels' table of probes, for programs outside. */
#include "diffulex_edge/bench.h"

#include <string.h>

#include "base/structs.h"
#include "kernels/probe.h"

bool dlx_get_probe_info(size_t i, dlx_probe_info *out)
{
    const dlx_probe *p = dlx_probe_at(i);
    if (!p || !out || out->struct_size < sizeof out->struct_size) return false;
    const dlx_probe_info info = {.struct_size = sizeof info,
                                 .available = p->present(),
                                 .tiles = p->tiles,
                                 .kind = dlx_probe_kind_name(p->kind),
                                 .name = p->name,
                                 .kernels = p->isa == DLX_ISA_REF ? NULL : dlx_isa_name(p->isa)};
    return dlx_struct_out(out, &info, sizeof info, "dlx_probe_info", NULL) == DLX_OK;
}

dlx_status dlx_probe_run(size_t i, dlx_thread_pool *pool, double *per_second, dlx_error *err)
{
    const dlx_probe *p = dlx_probe_at(i);
    if (per_second) *per_second = 0;
    if (!p || !per_second)
        return dlx_fail(err, DLX_E_INVALID, "dlx_probe_run: %s",
                        p ? "a place for the result is needed" : "there is no probe of that number");
    return dlx_probe_measure(p, pool, per_second, err);
}
