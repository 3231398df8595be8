/* The table of graph/linear_kinds.h, looked up. */
#include "graph/linear_kinds.h"

#include <math.h>

static const struct {
    const char *word;
    dlx_dtype x, w;
    dlx_scaling scaling;
} kinds[DLX_LINEAR_KINDS] = {
#define DLX_LINEAR_ROW(name, word, x, w, scaling) {word, x, w, scaling},
    DLX_LINEAR_MAP(DLX_LINEAR_ROW)
#undef DLX_LINEAR_ROW
};

dlx_scaling dlx_scaling_of(const dlx_graph *g, const dlx_value *w)
{
    if (w->scales == DLX_NONE) return DLX_UNSCALED;
    return g->values[w->scales].dtype == DLX_BF16 ? DLX_PER_GROUP : DLX_PER_ROW;
}

size_t dlx_group_of(const dlx_graph *g, const dlx_value *w)
{
    return dlx_scaling_of(g, w) == DLX_PER_GROUP ? (size_t)(w->dim[1] / g->values[w->scales].dim[1]) : 0;
}

bool dlx_grid8_ok(dlx_grid8 grid)
{
    return isnormal(grid.scale) && grid.scale > 0 && grid.zero >= -128 && grid.zero <= 127;
}

dlx_attr dlx_grid8_attr(dlx_grid8 grid)
{
    return (dlx_attr){.f = {grid.scale, 0.0f}, .axis = grid.zero, .dtype = DLX_QS8};
}

const char *dlx_linear_word(dlx_linear_kind kind)
{
    return kinds[kind].word;
}

dlx_linear_kind dlx_linear_kind_of(const dlx_graph *g, const dlx_value *x, const dlx_value *w)
{
    dlx_scaling scaling = dlx_scaling_of(g, w);
    size_t i = 0;
    while (i < DLX_LINEAR_KINDS && !(kinds[i].x == x->dtype && kinds[i].w == w->dtype && kinds[i].scaling == scaling))
        i++;
    return (dlx_linear_kind)i;
}
