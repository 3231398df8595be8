/* The table of graph/linear_kinds.h, looked up. */
#include "graph/linear_kinds.h"

static const struct {
    dlx_dtype x, w;
    bool scaled;
} kinds[DLX_LINEAR_KINDS] = {
#define DLX_LINEAR_ROW(name, word, x, w, scaled) {x, w, scaled},
    DLX_LINEAR_MAP(DLX_LINEAR_ROW)
#undef DLX_LINEAR_ROW
};

dlx_linear_kind dlx_linear_kind_of(const dlx_value *x, const dlx_value *w)
{
    size_t i = 0;
    while (i < DLX_LINEAR_KINDS &&
           !(kinds[i].x == x->dtype && kinds[i].w == w->dtype && kinds[i].scaled == (w->scales != DLX_NONE)))
        i++;
    return (dlx_linear_kind)i;
}
