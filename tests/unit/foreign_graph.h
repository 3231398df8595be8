/* Graphs of the programs in tests/data/foreign, as they are read, for tests that change one fact of them. */
#ifndef DLX_TEST_FOREIGN_GRAPH_H
#define DLX_TEST_FOREIGN_GRAPH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/import.h"
#include "whole_file.h"

typedef struct loaded {
    whole_file file;
    dlx_arena arena;
    dlx_pte pte;
    dlx_graph g;
} loaded;

static inline dlx_graph *load_file(loaded *l, const char *path)
{
    dlx_error err = {0};
    *l = (loaded){.pte.n_plans = 0};
    dlx_arena_init(&l->arena);
    if (read_whole_file(&l->file, path, &err) != DLX_OK ||
        dlx_pte_read(&l->pte, &l->arena, l->file.data, l->file.size, path, &err) != DLX_OK ||
        dlx_import_method(&l->g, &l->pte, "forward", NULL, &err) != DLX_OK)
        fail_msg("%s", err.message);
    return &l->g;
}

static inline dlx_graph *load(loaded *l, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.pte", name);
    return load_file(l, path);
}

static inline void done(loaded *l)
{
    dlx_graph_free(&l->g);
    dlx_arena_free(&l->arena);
    free_whole_file(&l->file);
}

static inline dlx_node *find(dlx_graph *g, dlx_op op, size_t nth)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == op && nth-- == 0) return &g->nodes[i];
    fail_msg("there is no such %s", dlx_op_name(op));
    return NULL;
}

/* A copy of a constant's bytes that may be changed. */
static inline void *own(dlx_graph *g, uint32_t v)
{
    dlx_const_source *s = &g->values[v].source;
    assert_int_equal(g->values[v].kind, DLX_VALUE_CONST);
    void *bytes = dlx_arena_alloc(&g->arena, s->bytes);
    assert_non_null(bytes);
    memcpy(bytes, s->data, s->bytes);
    s->data = bytes;
    s->file = NULL;
    return bytes;
}

static inline uint32_t number(dlx_graph *g, int64_t n)
{
    int64_t *data = dlx_arena_alloc(&g->arena, sizeof n);
    assert_non_null(data);
    *data = n;
    return dlx_graph_const(g, NULL, DLX_I64, 0, NULL,
                           (dlx_const_source){.data = data, .bytes = sizeof n, .stored = DLX_I64});
}

/* Readers of a value read another one. */
static inline void replace(dlx_graph *g, uint32_t value, uint32_t by)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].inputs; k++)
            if (g->nodes[i].in[k] == value && g->nodes[i].out[0] != by) g->nodes[i].in[k] = by;
}

#endif
