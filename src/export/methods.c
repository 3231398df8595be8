#include "export/methods.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/partition.h"
#include "backends/xnnpack/xnnpack.h"

static dlx_status no_memory(dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory putting methods together");
}

/* ---- which there are -------------------------------------------------------------------------------------------- */

static dlx_status check_rows(const dlx_methods *m, int32_t rows, int32_t context, dlx_error *err)
{
    if (rows < 1 || rows > context)
        return dlx_fail(err, DLX_E_INVALID,
                        "method_rows: a method for %d rows was asked for; expected 1 to max_seq_len, %d", rows,
                        context);
    for (size_t i = 0; i < m->n; i++)
        if (m->rows[i] == rows)
            return dlx_fail(err, DLX_E_INVALID,
                            "method_rows: a method for %d rows was asked for, but '%s' is for as many already; each "
                            "number may stand once",
                            rows, m->name[i]);
    return DLX_OK;
}

dlx_status dlx_methods_init(dlx_methods *m, dlx_arena *arena, const dlx_model_facts *facts, const int32_t *more,
                            size_t n_more, dlx_error *err)
{
    memset(m, 0, sizeof *m);
    if (n_more && !more)
        return dlx_fail(err, DLX_E_INVALID, "method_rows: %zu numbers were announced, but there is no list", n_more);
    if (n_more > DLX_MOST_METHOD_ROWS)
        return dlx_fail(err, DLX_E_INVALID, "method_rows: %zu further methods were asked for; at most %d may be",
                        n_more, DLX_MOST_METHOD_ROWS);
    for (size_t i = 0; i <= n_more; i++) {
        int32_t rows = i ? more[i - 1] : facts->max_rows;
        char name[32];
        if (i) DLX_TRY(check_rows(m, rows, facts->max_context, err));
        snprintf(name, sizeof name, i ? "forward_%d" : "forward", rows);
        m->name[i] = dlx_arena_strndup(arena, name, strlen(name));
        if (!m->name[i]) return no_memory(err);
        m->rows[i] = rows;
        dlx_graph_init(&m->graph[m->n++]);
    }
    return DLX_OK;
}

void dlx_methods_free(dlx_methods *m)
{
    for (size_t i = 0; i < m->n; i++) dlx_graph_free(&m->graph[i]);
    m->n = 0;
}

/* ---- constants in several graphs -------------------------------------------------------------------------------- */

static dlx_value *constant_named(const dlx_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_CONST && g->values[i].name && !strcmp(g->values[i].name, name))
            return &g->values[i];
    return NULL;
}

static bool same_shape(const dlx_value *a, const dlx_value *b)
{
    bool same = a->dtype == b->dtype && a->rank == b->rank;
    for (int d = 0; same && d < a->rank; d++) same = a->dim[d] == b->dim[d];
    return same;
}

static bool same_bytes(const dlx_value *a, const dlx_value *b)
{
    const dlx_const_source *x = &a->source, *y = &b->source;
    if (!same_shape(a, b) || x->bytes != y->bytes || x->stored != y->stored || x->transform != y->transform ||
        x->group != y->group || x->clip != y->clip)
        return false;
    if (x->file || y->file) return x->file == y->file && x->offset == y->offset;
    return x->data == y->data || (x->data && y->data && !memcmp(x->data, y->data, (size_t)x->bytes));
}

void dlx_methods_take_weights(dlx_methods *m)
{
    for (size_t k = 1; k < m->n; k++)
        for (size_t i = 0; i < m->graph[k].n_values; i++) {
            dlx_value *v = &m->graph[k].values[i];
            if (v->kind != DLX_VALUE_CONST || !v->name || !v->source.file) continue;
            const dlx_value *first = constant_named(&m->graph[0], v->name);
            if (first && same_shape(first, v)) v->source = first->source;
        }
}

/* Is a constant of that name, with other bytes, in a graph before this one? */
static bool name_is_taken(const dlx_methods *m, size_t graph, const dlx_value *v)
{
    for (size_t k = 0; k < graph; k++) {
        const dlx_value *other = constant_named(&m->graph[k], v->name);
        if (other) return !same_bytes(other, v);
    }
    return false;
}

static dlx_status rename_others(dlx_methods *m, dlx_error *err)
{
    for (size_t k = 1; k < m->n; k++)
        for (size_t i = 0; i < m->graph[k].n_values; i++) {
            dlx_value *v = &m->graph[k].values[i];
            if (v->kind != DLX_VALUE_CONST || !v->name || !name_is_taken(m, k, v)) continue;
            size_t n = strlen(v->name) + strlen(m->name[k]) + 2;
            char *name = dlx_arena_alloc(&m->graph[k].arena, n);
            if (!name) return no_memory(err);
            snprintf(name, n, "%s@%s", v->name, m->name[k]);
            v->name = name;
        }
    return DLX_OK;
}

/* ---- one list of blobs ------------------------------------------------------------------------------------------ */

typedef struct lowered {
    dlx_pte_blob *blobs;
    uint32_t n_blobs;
    uint32_t *place; /* [n_blobs] in the list of all */
} lowered;

/* What names are compared by; NULL: there is none, and it is there once for each method. */
static const char *name_of(const dlx_pte_blob *b)
{
    const dlx_value *v = b->user;
    return b->kind == DLX_BLOB_NAMED ? b->key : b->kind == DLX_BLOB_CONSTANT ? v->name : NULL;
}

static uint32_t add(dlx_pte_blob *all, uint32_t *n, const dlx_pte_blob *b)
{
    const char *name = name_of(b);
    for (uint32_t i = 0; name && i < *n; i++)
        if (all[i].kind == b->kind && !strcmp(name_of(&all[i]), name)) return i;
    all[*n] = *b;
    return (*n)++;
}

static void merge(lowered *of, size_t methods, dlx_pte_blob *all, uint32_t *n)
{
    for (size_t k = 0; k < methods; k++)
        for (uint32_t i = 0; i < of[k].n_blobs; i++)
            if (of[k].blobs[i].kind == DLX_BLOB_CONSTANT) of[k].place[i] = add(all, n, &of[k].blobs[i]);
    for (size_t k = 0; k < methods; k++)
        for (uint32_t i = 0; i < of[k].n_blobs; i++) {
            dlx_pte_blob b = of[k].blobs[i];
            if (b.kind == DLX_BLOB_CONSTANT) continue;
            if (b.alias_of >= 0) b.alias_of = (int32_t)of[k].place[b.alias_of];
            of[k].place[i] = add(all, n, &b);
        }
}

static dlx_status point_to(dlx_pte_plan *plan, const lowered *of, dlx_arena *arena, dlx_error *err)
{
    dlx_pte_delegate *delegates = dlx_arena_array(arena, plan->n_delegates + 1, sizeof *delegates);
    if (!delegates) return no_memory(err);
    for (uint32_t i = 0; i < plan->n_values; i++) {
        dlx_evalue *v = &plan->values[i];
        if (v->kind == DLX_EV_TENSOR && v->u.tensor.blob != DLX_PTE_NO_BLOB)
            v->u.tensor.blob = (int32_t)of->place[v->u.tensor.blob];
    }
    for (uint32_t i = 0; i < plan->n_delegates; i++) {
        delegates[i] = plan->delegates[i];
        delegates[i].blob = (int32_t)of->place[delegates[i].blob];
    }
    plan->delegates = delegates;
    return DLX_OK;
}

size_t dlx_methods_homes(dlx_home homes[DLX_METHODS_HOMES], const dlx_methods_target *to)
{
    homes[0] = *to->backend->home;
    homes[0].layers = to->delegate_layers;
    homes[1] = dlx_xnnpack_home;
    return to->backend->home == &dlx_xnnpack_home ? 1 : 2;
}

dlx_status dlx_methods_lower(dlx_methods *m, dlx_pte_plan **plans, dlx_pte_blob **blobs, uint32_t *n_blobs,
                             const dlx_methods_target *to, dlx_arena *arena, dlx_error *err)
{
    lowered of[DLX_MOST_METHODS] = {{0}};
    dlx_partition partitions[DLX_MOST_METHODS];
    dlx_home homes[DLX_METHODS_HOMES];
    size_t total = 1, n_homes = dlx_methods_homes(homes, to);
    *n_blobs = 0;
    *plans = dlx_arena_array(arena, m->n, sizeof **plans);
    if (!*plans) return no_memory(err);
    DLX_TRY(rename_others(m, err));
    for (size_t k = 0; k < m->n; k++)
        DLX_TRY(dlx_partition_make(&partitions[k], arena, &m->graph[k], homes, n_homes, err));
    for (size_t k = 0; k < m->n; k++) {
        const dlx_lower_request request = {
            .how = {.method = m->name[k], .mark = to->mark, .pool = to->pool, .options = to->options},
            .methods = {.partitions = partitions, .names = m->name, .n = m->n, .this = k},
            .homes = homes,
            .n_homes = n_homes};
        DLX_TRY(dlx_lower(&(*plans)[k], &of[k].blobs, &of[k].n_blobs, arena, &m->graph[k], &request, err));
        of[k].place = dlx_arena_array(arena, (size_t)of[k].n_blobs + 1, sizeof *of[k].place);
        if (!of[k].place) return no_memory(err);
        total += of[k].n_blobs;
    }
    *blobs = dlx_arena_array(arena, total, sizeof **blobs);
    if (!*blobs) return no_memory(err);
    merge(of, m->n, *blobs, n_blobs);
    for (size_t k = 0; k < m->n; k++) DLX_TRY(point_to(&(*plans)[k], &of[k], arena, err));
    return DLX_OK;
}
