/* Where an export's nodes went, for whoever wants to be told (dlx_export_options.placement). */
#ifndef DLX_EXPORT_PLACEMENT_H
#define DLX_EXPORT_PLACEMENT_H

#include "diffulex_edge/export.h"

#include "backends/placements.h"
#include "export/methods.h"

typedef struct dlx_export_placed {
    dlx_placement *rows; /* [n] */
    size_t n;
    dlx_placed_constants own; /* of the backend's delegates, in each method that has them */
} dlx_export_placed;

/* Of the decomposed graphs, in memory of the arena: so that telling cannot fail when the file is there. */
dlx_status dlx_export_place(dlx_export_placed *out, const dlx_methods *m, const dlx_methods_target *to,
                            dlx_arena *arena, dlx_error *err);
/* Nothing where nobody asked. */
void dlx_export_tell_placement(const dlx_export_placed *placed, const dlx_export_options *o);

#endif
