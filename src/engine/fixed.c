/* Sessions over programs whose shapes never vary: their description, and the buffers that the program reads. */
#include "engine/fixed.h"

#include <stdio.h>
#include <string.h>

#include "base/sizes.h"
#include "base/status.h"
#include "base/structs.h"

/* ---- the description ---- */

enum { MOST = 1 << 24 /* of every dimension, as facts of files */, MOST_LAYERS = 4096 };

static dlx_status in_range(const char *what, int64_t value, int64_t most, dlx_error *err)
{
    if (value >= 1 && value <= most) return DLX_OK;
    return dlx_fail(err, DLX_E_INVALID, "dlx_fixed_program: %s is %lld; expected 1 to %lld", what, (long long)value,
                    (long long)most);
}

static dlx_status check_methods(dlx_fixed_shape *s, const dlx_fixed_program *p, dlx_error *err)
{
    DLX_TRY(in_range("n_methods", p->n_methods > MOST ? MOST : (int64_t)p->n_methods, DLX_FIXED_MOST_METHODS, err));
    if (!p->method_rows)
        return dlx_fail(err, DLX_E_INVALID, "dlx_fixed_program: %zu methods were announced, but method_rows is NULL",
                        p->n_methods);
    s->n_methods = p->n_methods;
    if (s->inside && p->n_methods > 1)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_fixed_program: %zu methods, each of which would keep a cache of its own; expected 1",
                        p->n_methods);
    for (size_t i = 0; i < p->n_methods; i++) {
        DLX_TRY(in_range("an entry of method_rows", p->method_rows[i], MOST, err));
        for (size_t k = 0; k < i; k++)
            if (p->method_rows[k] == p->method_rows[i])
                return dlx_fail(err, DLX_E_INVALID,
                                "dlx_fixed_program: two methods take %d rows; one of them is enough",
                                p->method_rows[i]);
        if (s->inside && p->method_rows[i] > s->max_context)
            return dlx_fail(
                err, DLX_E_INVALID,
                "dlx_fixed_program: its method takes %d rows; one that keeps the cache takes at most as many "
                "as it keeps, %d",
                p->method_rows[i], s->max_context);
        if (p->method_names && !p->method_names[i])
            return dlx_fail(err, DLX_E_INVALID, "dlx_fixed_program: entry %zu of method_names is NULL", i);
        s->rows[i] = p->method_rows[i];
        if (s->rows[i] > s->most_rows) s->most_rows = s->rows[i];
    }
    return DLX_OK;
}

/* Bytes of all buffers, in the order in which they lie. */
static bool measure(dlx_fixed_shape *s)
{
    uint64_t rows = (uint64_t)s->most_rows, context = (uint64_t)s->max_context, mask, row, cache, total;
    bool fits = dlx_mul_u64(rows, 4 * (context + rows), &mask) &&
                dlx_mul_u64((uint64_t)s->kv_heads * (uint64_t)s->head_dim, dlx_element_size(s->element), &row) &&
                dlx_mul_u64(row, context, &cache);
    if (!fits || mask > SIZE_MAX / 4 || cache > SIZE_MAX / 4) return false;
    s->tokens_bytes = (size_t)rows * sizeof(int64_t);
    s->mask_bytes = (size_t)mask;
    s->row_bytes = (size_t)row;
    s->cache_bytes = (size_t)cache;
    if (!dlx_mul_u64(2 * (uint64_t)s->layers, dlx_fixed_stride(s->cache_bytes), &total)) return false;
    uint64_t vectors = s->inside ? 3 : 2;
    if (!dlx_add_u64(total, vectors * dlx_fixed_stride(s->tokens_bytes) + dlx_fixed_stride(s->mask_bytes), &total))
        return false;
    if (total > SIZE_MAX / 2) return false;
    s->slab_bytes = (size_t)total;
    return true;
}

static dlx_status check_caches(dlx_fixed_shape *s, const dlx_fixed_program *p, dlx_error *err)
{
    DLX_TRY(in_range("layers", p->layers, MOST_LAYERS, err));
    DLX_TRY(in_range("kv_heads", p->kv_heads, MOST, err));
    DLX_TRY(in_range("head_dim", p->head_dim, MOST, err));
    if (p->element != DLX_ELEMENT_FLOAT32 && p->element != DLX_ELEMENT_FLOAT16)
        return dlx_fail(err, DLX_E_INVALID, "dlx_fixed_program: a cache of %s; expected float32 or float16",
                        dlx_element_name(p->element));
    s->layers = p->layers;
    s->kv_heads = p->kv_heads;
    s->head_dim = p->head_dim;
    s->element = p->element;
    return DLX_OK;
}

dlx_status dlx_fixed_check(dlx_fixed_shape *out, const dlx_fixed_program *given, dlx_error *err)
{
    dlx_fixed_program p = {.struct_size = sizeof p};
    dlx_model_facts facts = {.struct_size = sizeof facts};
    if (!given) return dlx_fail(err, DLX_E_INVALID, "a dlx_fixed_program is needed; NULL was given");
    DLX_TRY(dlx_struct_in(&p, sizeof p, given, "dlx_fixed_program", err));
    if (!p.facts) return dlx_fail(err, DLX_E_INVALID, "dlx_fixed_program: facts is NULL");
    DLX_TRY(dlx_struct_in(&facts, sizeof facts, p.facts, "dlx_model_facts", err));
    DLX_TRY(in_range("the facts' max_context", facts.max_context, MOST, err));
    DLX_TRY(in_range("the facts' vocab_size", facts.vocab_size, MOST, err));
    if (p.keeps_cache > 1)
        return dlx_fail(err, DLX_E_INVALID, "dlx_fixed_program: keeps_cache is %llu; expected 0 or 1",
                        (unsigned long long)p.keeps_cache);
    *out = (dlx_fixed_shape){
        .inside = p.keeps_cache != 0, .max_context = facts.max_context, .vocab_size = facts.vocab_size};
    if (!out->inside) DLX_TRY(check_caches(out, &p, err));
    DLX_TRY(check_methods(out, &p, err));
    if (measure(out)) return DLX_OK;
    return dlx_fail(err, DLX_E_LIMIT, "dlx_fixed_program: its cache and mask are larger than this machine can address");
}

/* ---- opening ---- */

static size_t n_outputs(const dlx_fixed_shape *s)
{
    return 1 + 2 * (size_t)s->layers;
}

uint64_t dlx_fixed_bytes(const dlx_fixed_program *program)
{
    dlx_fixed_shape s;
    const dlx_fixed_session *session = NULL;
    if (dlx_fixed_check(&s, program, NULL) != DLX_OK) return 0;
    return dlx_mem_bytes(1, sizeof *session) + dlx_sequence_bytes(s.max_context) + dlx_mem_bytes(s.slab_bytes, 1) +
           dlx_mem_bytes(n_outputs(&s), sizeof *session->outputs) + dlx_mem_bytes(s.n_methods, sizeof *session->names);
}

static void lay_out(dlx_fixed_session *s)
{
    uint8_t *at = s->slab;
    s->tokens = (int64_t *)(void *)at;
    at += dlx_fixed_stride(s->shape.tokens_bytes);
    s->positions = (int64_t *)(void *)at;
    at += dlx_fixed_stride(s->shape.tokens_bytes);
    s->mask = (float *)(void *)at;
    at += dlx_fixed_stride(s->shape.mask_bytes);
    if (s->shape.inside)
        s->stored = (float *)(void *)at;
    else
        s->cache = at;
}

static void name_methods(dlx_fixed_session *s, const dlx_fixed_program *given)
{
    dlx_fixed_program p = {.struct_size = sizeof p};
    (void)dlx_struct_in(&p, sizeof p, given, "dlx_fixed_program", NULL); /* which succeeded before */
    for (size_t i = 0; i < s->shape.n_methods; i++)
        if (p.method_names)
            snprintf(s->names[i], sizeof *s->names, "'%.28s'", p.method_names[i]);
        else
            snprintf(s->names[i], sizeof *s->names, "of %d rows", s->shape.rows[i]);
}

dlx_status dlx_fixed_open(dlx_fixed_session **out, const dlx_fixed_program *program, dlx_fixed_run_fn run, void *ctx,
                          const dlx_allocator *allocator, dlx_error *err)
{
    dlx_fixed_shape shape;
    if (out) *out = NULL;
    if (!out || !run)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_fixed_open: a function that runs the program and a place for the session are needed");
    if (allocator && (!allocator->alloc || !allocator->free))
        return dlx_fail(err, DLX_E_INVALID, "the allocator needs both of its functions");
    DLX_TRY(dlx_fixed_check(&shape, program, err));
    dlx_fixed_session *s = dlx_mem_zeroed(allocator, 1, sizeof *s);
    if (!s) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening a session");
    if (allocator) s->mem = *allocator;
    s->shape = shape;
    s->run = run;
    s->ctx = ctx;
    bool there = dlx_sequence_open(&s->seq, shape.max_context, &s->mem);
    s->slab = dlx_mem_zeroed(&s->mem, shape.slab_bytes, 1); /* also rows that nobody sees are read: they are numbers */
    s->outputs = dlx_mem_zeroed(&s->mem, n_outputs(&shape), sizeof *s->outputs);
    s->names = dlx_mem_zeroed(&s->mem, shape.n_methods, sizeof *s->names);
    if (!there || !s->slab || !s->outputs || !s->names) {
        dlx_fixed_close(s);
        return dlx_fail(err, DLX_E_NOMEM, "out of memory: a session over this program takes %zu bytes",
                        shape.slab_bytes);
    }
    lay_out(s);
    name_methods(s, program);
    *out = s;
    return DLX_OK;
}

void dlx_fixed_close(dlx_fixed_session *s)
{
    if (!s) return;
    dlx_allocator mem = s->mem;
    dlx_sequence_close(&s->seq, &mem);
    dlx_mem_free(&mem, s->slab, s->shape.slab_bytes, 1);
    dlx_mem_free(&mem, s->outputs, n_outputs(&s->shape), sizeof *s->outputs);
    dlx_mem_free(&mem, s->names, s->shape.n_methods, sizeof *s->names);
    dlx_mem_free(&mem, s, 1, sizeof *s);
}

dlx_status dlx_fixed_input(const dlx_fixed_session *s, size_t method, size_t i, dlx_tensor *out, dlx_error *err)
{
    dlx_struct_clear(out, sizeof *out);
    if (!s) return dlx_fail(err, DLX_E_INVALID, "dlx_fixed_input: a session is needed; NULL was given");
    const dlx_fixed_shape *x = &s->shape;
    size_t n = DLX_FIXED_INPUTS + (x->inside ? 1 : 2 * (size_t)x->layers);
    if (method >= x->n_methods || i >= n)
        return dlx_fail(err, DLX_E_INVALID,
                        "input %zu of method %zu was asked for; there are %zu inputs of %zu methods", i, method, n,
                        x->n_methods);
    int32_t rows = x->rows[method];
    dlx_tensor t = {.struct_size = sizeof t, .element = DLX_ELEMENT_INT64, .rank = 1, .size = {rows}};
    if (i == 2) {
        t = (dlx_tensor){.struct_size = sizeof t, .element = DLX_ELEMENT_FLOAT32, .rank = 2, .data = s->mask};
        t.size[0] = rows;
        t.size[1] = (int64_t)x->max_context + rows;
    } else if (i > 2 && x->inside) {
        t.element = DLX_ELEMENT_FLOAT32;
        t.data = s->stored;
    } else if (i > 2) {
        t = (dlx_tensor){.struct_size = sizeof t,
                         .element = x->element,
                         .rank = 3,
                         .size = {x->max_context, x->kv_heads, x->head_dim},
                         .data = dlx_fixed_at(s, i - DLX_FIXED_INPUTS, 0)};
    } else {
        t.data = i ? s->positions : s->tokens;
    }
    return dlx_struct_out(out, &t, sizeof t, "dlx_tensor", err);
}

/* ---- what is stored ---- */

int32_t dlx_fixed_reusable(const dlx_fixed_session *s, const int32_t *ids, size_t n, int32_t attn_block)
{
    return s ? dlx_sequence_reusable(&s->seq, ids, n, attn_block) : 0;
}

void dlx_fixed_truncate(dlx_fixed_session *s, int32_t n)
{
    if (s) dlx_sequence_truncate(&s->seq, n < 0 ? 0 : n);
}
