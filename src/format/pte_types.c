/* Scalar types of ExecuTorch, and look-ups in a program. */
#include <stdlib.h>
#include <string.h>

#include "format/pte_schema.h"

/* Sizes by ScalarType number, and our type where there is one (-1: none). */
static const struct {
    uint8_t size;
    int8_t dtype;
} scalar_types[] = {
    [DLX_ST_BYTE] = {1, DLX_U8},       [DLX_ST_CHAR] = {1, DLX_I8},  [DLX_ST_SHORT] = {2, -1},
    [DLX_ST_INT] = {4, DLX_I32},       [DLX_ST_LONG] = {8, DLX_I64}, [DLX_ST_HALF] = {2, DLX_F16},
    [DLX_ST_FLOAT] = {4, DLX_F32},     [DLX_ST_DOUBLE] = {8, -1},    [DLX_ST_BOOL] = {1, DLX_BOOL},
    [DLX_ST_BFLOAT16] = {2, DLX_BF16},
};

enum { SCALAR_TYPES = sizeof scalar_types / sizeof scalar_types[0] };

size_t dlx_scalar_type_size(int scalar_type)
{
    return scalar_type >= 0 && scalar_type < SCALAR_TYPES ? scalar_types[scalar_type].size : 0;
}

bool dlx_scalar_type_to_dtype(int scalar_type, dlx_dtype *out)
{
    if (!dlx_scalar_type_size(scalar_type) || scalar_types[scalar_type].dtype < 0) return false;
    *out = (dlx_dtype)scalar_types[scalar_type].dtype;
    return true;
}

int dlx_scalar_type_from_dtype(dlx_dtype t)
{
    for (int i = 0; i < SCALAR_TYPES; i++)
        if (scalar_types[i].size && scalar_types[i].dtype == (int)t) return i;
    return -1;
}

bool dlx_pte_tensor_bytes(const dlx_pte_tensor *t, uint64_t *bytes)
{
    uint64_t n = dlx_scalar_type_size(t->scalar_type);
    if (!n || t->rank > DLX_PTE_MAX_RANK) return false;
    /* With a zero among the sizes the product is 0 however large the others are, so the order must not matter. */
    bool empty = false;
    for (int d = 0; d < t->rank; d++) {
        if (t->sizes[d] < 0) return false;
        if (t->sizes[d] == 0) empty = true;
    }
    for (int d = 0; d < t->rank && !empty; d++) {
        if (__builtin_mul_overflow(n, (uint64_t)t->sizes[d], &n) || n > INT64_MAX) return false;
    }
    *bytes = empty ? 0 : n;
    return true;
}

const dlx_pte_plan *dlx_pte_find_plan(const dlx_pte *pte, const char *name)
{
    for (uint32_t i = 0; i < pte->n_plans; i++)
        if (strcmp(pte->plans[i].name, name) == 0) return &pte->plans[i];
    return NULL;
}

static int compare_keys(const void *a, const void *b)
{
    const dlx_pte_blob *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

dlx_status dlx_pte_index_named(dlx_pte *pte, dlx_arena *arena, const char *name, dlx_error *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < pte->n_blobs; i++) n += pte->blobs[i].kind == DLX_BLOB_NAMED;
    const dlx_pte_blob **named = dlx_arena_array(arena, n, sizeof *named);
    if (!named) return dlx_fail(err, DLX_E_NOMEM, "'%s': out of memory listing %u named blobs", name, n);
    n = 0;
    for (uint32_t i = 0; i < pte->n_blobs; i++)
        if (pte->blobs[i].kind == DLX_BLOB_NAMED) named[n++] = &pte->blobs[i];
    qsort(named, n, sizeof *named, compare_keys);
    for (uint32_t i = 1; i < n; i++)
        if (strcmp(named[i - 1]->key, named[i]->key) == 0)
            return dlx_fail(err, DLX_E_FORMAT, "'%s': named data '%s' stands twice", name, named[i]->key);
    pte->named = named;
    pte->n_named = n;
    return DLX_OK;
}

const dlx_pte_blob *dlx_pte_find_named(const dlx_pte *pte, const char *key)
{
    uint32_t low = 0, high = pte->n_named;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(key, pte->named[middle]->key);
        if (order == 0) return pte->named[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const dlx_evalue *dlx_pte_constant(const dlx_pte *pte, const char *name, uint32_t i)
{
    const dlx_pte_plan *plan = dlx_pte_find_plan(pte, name);
    if (!plan || plan->n_inputs || plan->n_instructions || i >= plan->n_outputs) return NULL;
    return &plan->values[plan->outputs[i]];
}

int64_t dlx_pte_constant_int(const dlx_pte *pte, const char *name, int64_t dflt)
{
    const dlx_evalue *v = dlx_pte_constant(pte, name, 0);
    if (v && v->kind == DLX_EV_INT) return v->u.i;
    if (v && v->kind == DLX_EV_BOOL) return v->u.b;
    return dflt;
}
