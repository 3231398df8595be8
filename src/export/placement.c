#include "export/placement.h"

static dlx_status no_memory(dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory counting what goes where");
}

/* A home's name as users write it: that of its backend. */
static const char *home_name(const dlx_methods_target *to, uint32_t home, size_t n_homes)
{
    if (home == n_homes) return "operators";
    return home == 0 ? to->backend->name : "xnnpack";
}

static void add(dlx_export_placed *out, const char *method, const char *home, const dlx_placed_op *p,
                uint32_t delegates)
{
    out->rows[out->n++] = (dlx_placement){.struct_size = sizeof(dlx_placement),
                                          .method = method,
                                          .home = home,
                                          .op = dlx_op_name(p->op),
                                          .count = p->count,
                                          .constant_bytes = p->constant_bytes,
                                          .multiply_adds = p->multiply_adds,
                                          .delegates = delegates};
}

static void add_own(dlx_placed_constants *to, const dlx_placed_constants *c)
{
    to->quantised += c->quantised;
    to->floats += c->floats;
    to->quantised_bytes += c->quantised_bytes;
    to->float_bytes += c->float_bytes;
}

dlx_status dlx_export_place(dlx_export_placed *out, const dlx_methods *m, const dlx_methods_target *to,
                            dlx_arena *arena, dlx_error *err)
{
    dlx_placements found[DLX_MOST_METHODS];
    dlx_home homes[DLX_METHODS_HOMES];
    size_t n_homes = dlx_methods_homes(homes, to), total = 0;
    *out = (dlx_export_placed){.n = 0};
    for (size_t k = 0; k < m->n; k++) {
        DLX_TRY(dlx_placements_count(&found[k], arena, &m->graph[k], homes, n_homes, err));
        total += found[k].n_ops;
        add_own(&out->own, &found[k].constants[0]);
    }
    out->rows = dlx_arena_array(arena, total + 1, sizeof *out->rows);
    if (!out->rows) return no_memory(err);
    for (size_t k = 0; k < m->n; k++)
        for (size_t i = 0; i < found[k].n_ops; i++) {
            const dlx_placed_op *p = &found[k].ops[i];
            add(out, m->name[k], home_name(to, p->home, n_homes), p,
                p->home < n_homes ? found[k].delegates[p->home] : 0);
        }
    return DLX_OK;
}

void dlx_export_tell_placement(const dlx_export_placed *placed, const dlx_export_options *o)
{
    for (size_t i = 0; o->placement && i < placed->n; i++) o->placement(o->placement_ctx, &placed->rows[i]);
}
