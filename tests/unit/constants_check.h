/*
 * Constants of a graph as a file would hold them. cmocka comes first.
 */
#ifndef DLX_TESTS_CONSTANTS_CHECK_H
#define DLX_TESTS_CONSTANTS_CHECK_H

#include <string.h>

#include "quant/quant.h"

static inline dlx_status put_bytes(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    uint8_t **at = ctx;
    (void)err;
    memcpy(*at, bytes, n);
    *at += n;
    return DLX_OK;
}

/* Every constant becomes its own bytes, in the graph's arena. */
static inline void materialise(dlx_graph *g)
{
    for (size_t i = 0; i < g->n_values; i++) {
        dlx_value *v = &g->values[i];
        uint64_t bytes;
        dlx_shape s = dlx_value_shape(v);
        if (v->kind != DLX_VALUE_CONST) continue;
        assert_true(dlx_dtype_bytes(v->dtype, (uint64_t)dlx_shape_elements(&s), &bytes));
        uint8_t *data = dlx_arena_alloc(&g->arena, bytes), *end = data;
        dlx_error err = {0};
        if (dlx_const_stream(v, NULL, put_bytes, &end, &err) != DLX_OK) fail_msg("%s", err.message);
        assert_int_equal(end - data, bytes);
        v->source = (dlx_const_source){.data = data, .bytes = bytes, .stored = v->dtype};
    }
}

#endif
