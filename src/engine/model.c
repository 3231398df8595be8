/*
 * Models: read, recognise the signature, load the program. The cache contract (layout A): inputs tokens [T],
 * positions [T], then k_i, v_i [P, kv_heads, head_dim] per layer; outputs logits [T, V], then the new k_i, v_i.
 */
#include "engine/model.h"

#include <string.h>

#include "base/sizes.h"
#include "base/structs.h"
#include "format/facts.h"

static dlx_status bad_signature(const char *what, dlx_error *err)
{
    return dlx_fail(err, DLX_E_UNSUPPORTED,
                    "method 'forward' %s; expected forward(tokens [T], positions [T], k_0, v_0, ... [P, kv_heads, "
                    "head_dim]) -> logits [T, V], new k_0, v_0, ...",
                    what);
}

/* Sessions call with any number of rows and of cached rows. A single row can be served one at a time. */
static dlx_status sizes_vary(const dlx_graph *g, dlx_error *err)
{
    static const char *const what[] = {"tokens", "positions", "cached rows"};
    for (size_t i = 0; i < 3; i++) {
        const dlx_value *v = &g->values[g->inputs[i]];
        if (v->rank < 1 || (v->dynamic & 1) || (i < 2 && v->dim[0] == 1)) continue;
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "method 'forward' takes exactly %lld %s; sessions need a number that varies up to that",
                        (long long)v->dim[0], what[i]);
    }
    return DLX_OK;
}

static dlx_status recognise(dlx_model *m, dlx_error *err)
{
    const dlx_graph *g = &m->program.g;
    size_t inputs = g->n_inputs - (m->program.rows != DLX_NONE);
    if (inputs < 4 || inputs % 2 || g->n_outputs != inputs - 1)
        return bad_signature("has another number of inputs or outputs", err);
    m->layers = (inputs - 2) / 2;
    for (size_t i = 0; i < 2; i++) {
        const dlx_value *v = &g->values[g->inputs[i]];
        if (v->dtype != DLX_I64 || v->rank != 1) return bad_signature("does not begin with two vectors of int64", err);
    }
    const dlx_value *first = &g->values[g->inputs[2]], *tokens = &g->values[g->inputs[0]];
    const dlx_value *logits = &g->values[g->outputs[0]];
    if (logits->dtype != DLX_F32 || logits->rank != 2) return bad_signature("does not return logits [T, V] first", err);
    DLX_TRY(sizes_vary(g, err));
    for (size_t i = 0; i < 2 * m->layers; i++) {
        const dlx_value *in = &g->values[g->inputs[2 + i]], *out = &g->values[g->outputs[1 + i]];
        if (in->dtype != DLX_F32 || in->rank != 3 || out->dtype != DLX_F32 || out->rank != 3 ||
            in->dim[1] != out->dim[1] || in->dim[2] != out->dim[2] || in->dim[0] != first->dim[0] ||
            in->dim[1] != first->dim[1] || in->dim[2] != first->dim[2] || out->dim[0] != tokens->dim[0])
            return bad_signature("has caches of unequal shapes", err);
    }
    m->kv_heads = first->dim[1];
    if (__builtin_mul_overflow(first->dim[1], first->dim[2], &m->kv_width) || m->kv_width < 1 ||
        m->kv_width > 1 << 24 || tokens->dim[0] < 1 || tokens->dim[0] > 1 << 24 || first->dim[0] < 1 ||
        first->dim[0] > 1 << 24 || logits->dim[1] < 1 || logits->dim[1] > 1 << 24)
        return bad_signature("has dimensions that are zero or too large", err);
    return DLX_OK;
}

/* Files of other exporters state what their runner is to use, of which the method may take less (a prompt of one token
 * less than the cache, say): the tensors tell. */
static void believe_tensors(dlx_model_facts *f, int64_t rows, int64_t reach, int64_t vocab)
{
    if (f->max_rows > rows) f->max_rows = (int32_t)rows;
    if (f->max_context > reach) f->max_context = (int32_t)reach;
    f->vocab_size = (int32_t)vocab;
}

/* What the metadata of this library's own files says must fit the tensors; what it does not say comes from them. */
static dlx_status complete_facts(dlx_model *m, dlx_error *err)
{
    const dlx_graph *g = &m->program.g;
    dlx_model_facts *f = &m->facts;
    int64_t rows = g->values[g->inputs[0]].dim[0], cached = g->values[g->inputs[2]].dim[0],
            vocab = g->values[g->outputs[0]].dim[1];
    /* A decoder that kept its cache itself: its buffers and masks say how far it reaches and who sees whom. */
    int64_t reach = g->max_context && g->max_context < cached + rows ? g->max_context : cached + rows;
    if (!dlx_facts_are_ours(&m->pte)) believe_tensors(f, rows, reach, vocab);
    if (!f->vocab_size) f->vocab_size = (int32_t)vocab;
    if (!f->max_rows) f->max_rows = (int32_t)rows;
    if (!f->max_context) f->max_context = (int32_t)reach;
    if (g->attn_block) f->attn_block = g->attn_block;
    if (f->vocab_size != vocab)
        return dlx_fail(err, DLX_E_FORMAT, "metadata get_vocab_size is %d, but the logits have %lld columns",
                        f->vocab_size, (long long)vocab);
    if (f->max_rows > rows)
        return dlx_fail(err, DLX_E_FORMAT, "metadata get_max_seq_len is %d, but the method takes at most %lld rows",
                        f->max_rows, (long long)rows);
    if (f->max_context > reach)
        return dlx_fail(err, DLX_E_FORMAT, "metadata get_max_context_len is %d, but the method reaches %lld positions",
                        f->max_context, (long long)reach);
    if (f->mask_id >= f->vocab_size)
        return dlx_fail(err, DLX_E_FORMAT, "metadata get_mask_id is %d, outside the vocabulary of %d", f->mask_id,
                        f->vocab_size);
    return DLX_OK;
}

/* What rows promise each other, from the graph with the signature that was just recognised. */
static dlx_status bind(dlx_model *m, dlx_error *err)
{
    const dlx_graph *g = &m->program.g;
    return dlx_program_bind(&m->program,
                            &(dlx_signature){.row_inputs = {g->inputs[0], g->inputs[1]},
                                             .demand = m->program.rows,
                                             .layers = m->layers,
                                             .cache = g->inputs + 2,
                                             .fresh = g->outputs + 1,
                                             .logits = g->outputs[0]},
                            err);
}

/* Programs of the Python system that this one succeeds, and of our explicit form, whose cache goes in and comes out as
 * a whole: ids [1, B], positions [1, B], cache [L, 2, 1, heads, M, head_dim], a mask, and two matrices that insert
 * rows. */
static bool takes_six_inputs(const dlx_pte *pte)
{
    static const uint8_t ranks[] = {2, 2, 6, 5, 5, 5};
    const dlx_pte_plan *p = dlx_pte_find_plan(pte, "forward");
    if (!p || p->n_inputs != DLX_COUNT(ranks) || p->n_outputs != 2) return false;
    for (size_t i = 0; i < DLX_COUNT(ranks); i++) {
        const dlx_evalue *v = &p->values[p->inputs[i]];
        if (v->kind != DLX_EV_TENSOR || v->u.tensor.rank != ranks[i]) return false;
    }
    return true;
}

/* The rows of its calls say nothing about those of a session, but how long its blocks are. */
static dlx_status recognise_six_inputs(dlx_model *m, dlx_error *err)
{
    const dlx_graph *g = &m->program.g;
    const dlx_pte_plan *p = dlx_pte_find_plan(&m->pte, "forward");
    dlx_error local = {0};
    if (recognise(m, &local) != DLX_OK)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "the program takes six inputs, its whole cache among them, but does something else with them "
                        "than the Python package diffulex_edge up to version 0.2.0 did, so no session can drive it: "
                        "export the checkpoint again with 'diffulex-edge export'");
    m->facts.max_rows = (int32_t)g->values[g->inputs[0]].dim[0];
    if (!m->facts.block_length) m->facts.block_length = p->values[p->inputs[0]].u.tensor.sizes[1];
    return DLX_OK;
}

/* Programs for the official runtime's accelerators. Which delegates of others a program calls the import says. */
static dlx_status refuse_fixed(const dlx_pte *pte, dlx_error *err)
{
    const dlx_pte_plan *p = dlx_pte_find_plan(pte, "forward");
    dlx_fixed_form form;
    if (!dlx_facts_kv_fixed(pte, &form)) return DLX_OK;
    for (uint32_t i = 0; p && i < p->n_delegates; i++)
        if (strcmp(p->delegates[i].id, "XnnpackBackend") != 0) return DLX_OK;
    return dlx_fail(
        err, DLX_E_UNSUPPORTED,
        "the program was exported with --kv %s: its shapes never vary, as accelerators of the official "
        "runtime want it. Run it there (runtime=\"executorch\" in Python, dlx_fixed_session in C), or export "
        "again without --kv",
        dlx_facts_kv_form(pte));
}

static dlx_status load(dlx_model *m, const char *path, const dlx_load_options *o, dlx_error *err)
{
    dlx_program_options program = {.limit = o->limit, .demand = true, .mem = &m->mem};
    const dlx_pack_place pack = {.folder = o->pack_cache, .path = path, .file = &m->file};
    DLX_TRY(dlx_pte_open(&m->pte, &m->arena, &m->file, err));
    DLX_TRY(dlx_facts_read(&m->facts, &m->pte, err));
    DLX_TRY(refuse_fixed(&m->pte, err));
    m->pool = o->pool;
    if (!o->inspect && !o->pool) {
        DLX_TRY(dlx_pool_create_with(&m->own_pool, o->threads, &m->mem, err));
        m->pool = m->own_pool;
    }
    if (m->pool) m->threads = dlx_pool_threads(m->pool);
    program.pool = m->pool;
    program.pack = o->pack_cache ? &pack : NULL;
    DLX_TRY(dlx_program_load(&m->program, &m->pte, "forward", &program, err));
    DLX_TRY(takes_six_inputs(&m->pte) ? recognise_six_inputs(m, err) : recognise(m, err));
    DLX_TRY(bind(m, err));
    DLX_TRY(complete_facts(m, err));
    return dlx_file_unchanged(&m->file, err);
}

dlx_status dlx_model_load(dlx_model *m, const dlx_source *from, const dlx_load_options *o, dlx_error *err)
{
    memset(m, 0, sizeof *m);
    if (o->mem) m->mem = *o->mem;
    dlx_arena_init_with(&m->arena, &m->mem);
    m->threads = o->threads ? o->threads : dlx_cpu_count(); /* what a pool would have, when there is none */
    const char *name = dlx_source_name(from);
    dlx_status s = dlx_source_open(&m->file, from, err);
    if (s == DLX_OK) {
        s = load(m, from->path, o, err);
        dlx_file_close(&m->file);
        if (s != DLX_OK && err && !strstr(err->message, name)) s = dlx_fail_prefix(err, s, "%s", name);
    }
    if (s != DLX_OK) dlx_model_unload(m);
    return s;
}

void dlx_model_unload(dlx_model *m)
{
    dlx_program_free(&m->program);
    dlx_pool_free(m->own_pool);
    m->pool = m->own_pool = NULL;
    dlx_arena_free(&m->arena);
}

static dlx_status open_from(dlx_model **out, const dlx_source *from, const dlx_model_options *options, dlx_error *err)
{
    dlx_model_options o = dlx_model_options_default();
    dlx_load_options load_options = {0};
    DLX_TRY(dlx_struct_in(&o, sizeof o, options, "dlx_model_options", err));
    if (o.threads < 0 || o.threads > 1024)
        return dlx_fail(err, DLX_E_INVALID, "threads is %d; expected 1 to 1024, or 0 for one per CPU", o.threads);
    if (o.allocator && (!o.allocator->alloc || !o.allocator->free))
        return dlx_fail(err, DLX_E_INVALID, "the allocator needs both of its functions");
    DLX_TRY(dlx_isa_from_name(&load_options.limit, o.cpu ? o.cpu : "auto", err));
    if (o.pool && o.threads)
        return dlx_fail(err, DLX_E_INVALID, "model options: a pool was given and threads is %d; leave it 0", o.threads);
    load_options.threads = o.threads;
    load_options.pool = o.pool;
    load_options.mem = o.allocator;
    load_options.pack_cache = o.pack_cache;
    dlx_model *m = dlx_mem_zeroed(o.allocator, 1, sizeof *m);
    if (!m) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening '%s'", dlx_source_name(from));
    dlx_status s = dlx_model_load(m, from, &load_options, err);
    if (s != DLX_OK) {
        dlx_mem_free(o.allocator, m, 1, sizeof *m);
        return s;
    }
    *out = m;
    return DLX_OK;
}

dlx_status dlx_model_open(dlx_model **out, const char *path, const dlx_model_options *options, dlx_error *err)
{
    dlx_source from = dlx_source_path(path);
    if (out) *out = NULL;
    if (!out || !path)
        return dlx_fail(err, DLX_E_INVALID, "dlx_model_open: a path and a place for the model are needed");
    return open_from(out, &from, options, err);
}

dlx_status dlx_model_open_fd(dlx_model **out, int fd, const dlx_model_options *options, dlx_error *err)
{
    dlx_source from = dlx_source_fd(fd);
    if (out) *out = NULL;
    if (!out || fd < 0)
        return dlx_fail(err, DLX_E_INVALID, "dlx_model_open_fd: a descriptor and a place for the model are needed");
    return open_from(out, &from, options, err);
}

dlx_status dlx_model_open_memory(dlx_model **out, const void *bytes, size_t n, const dlx_model_options *options,
                                 dlx_error *err)
{
    dlx_source from = dlx_source_memory(bytes, n);
    if (out) *out = NULL;
    if (!out || !bytes)
        return dlx_fail(err, DLX_E_INVALID, "dlx_model_open_memory: bytes and a place for the model are needed");
    return open_from(out, &from, options, err);
}

void dlx_model_close(dlx_model *model)
{
    if (!model) return;
    dlx_allocator mem = model->mem;
    dlx_model_unload(model);
    dlx_mem_free(&mem, model, 1, sizeof *model);
}

dlx_status dlx_model_read_facts(dlx_model_facts *out, const char *path, dlx_error *err)
{
    dlx_source from = dlx_source_path(path);
    dlx_load_options options = {.limit = dlx_cpu_best_isa(), .inspect = true};
    dlx_model m;
    const dlx_model_facts none = {.struct_size = sizeof none};
    dlx_struct_clear(out, sizeof *out);
    if (!out || !path)
        return dlx_fail(err, DLX_E_INVALID, "dlx_model_read_facts: a path and a place for the facts are needed");
    DLX_TRY(dlx_struct_out(out, &none, sizeof none, "dlx_model_facts", err));
    DLX_TRY(dlx_model_load(&m, &from, &options, err));
    dlx_status s = dlx_struct_out(out, &m.facts, sizeof m.facts, "dlx_model_facts", err);
    dlx_model_unload(&m);
    return s;
}

const dlx_model_facts *dlx_model_get_facts(const dlx_model *model)
{
    return model ? &model->facts : NULL;
}

dlx_pack_cache_state dlx_model_pack_cache(const dlx_model *model, const char **why)
{
    static const dlx_pack_cache_state states[] = {[DLX_PACK_UNASKED] = DLX_PACK_CACHE_UNASKED,
                                                  [DLX_PACK_FOUND] = DLX_PACK_CACHE_FOUND,
                                                  [DLX_PACK_MADE] = DLX_PACK_CACHE_MADE,
                                                  [DLX_PACK_FAILED] = DLX_PACK_CACHE_FAILED};
    const dlx_pack_cache *cache = model ? &model->program.cache : NULL;
    if (why) *why = cache && cache->state == DLX_PACK_FAILED ? cache->why.message : "";
    return cache ? states[cache->state] : DLX_PACK_CACHE_UNASKED;
}

const char *dlx_model_kernels(const dlx_model *model)
{
    return model ? model->program.k.name : "";
}

void dlx_model_input_shapes(const dlx_model *m, int64_t rows, int64_t cached, int64_t demanded, dlx_shape *shape)
{
    const dlx_graph *g = &m->program.g;
    for (size_t i = 0; i < g->n_inputs; i++) {
        shape[i] = dlx_value_shape(&g->values[g->inputs[i]]);
        if (g->inputs[i] == m->program.rows)
            shape[i].dim[0] = demanded;
        else
            shape[i].dim[0] = i < 2 ? rows : cached;
    }
}

uint64_t dlx_model_described(const dlx_model *m)
{
    uint64_t shared = m->pool && !m->own_pool ? 0 : dlx_pool_bytes(m->threads);
    return dlx_mem_bytes(1, sizeof *m) + dlx_arena_bytes(&m->arena) + dlx_program_described(&m->program) + shared;
}

dlx_status dlx_model_bounds(const dlx_model *m, int32_t *max_rows, int32_t *max_context, dlx_error *err)
{
    const dlx_model_facts *f = &m->facts;
    if (!*max_rows) *max_rows = f->max_rows;
    if (!*max_context) *max_context = f->max_context;
    if (*max_rows < 1 || *max_rows > f->max_rows)
        return dlx_fail(err, DLX_E_LIMIT, "a session of %d rows a call was asked for; the file allows 1 to %d",
                        *max_rows, f->max_rows);
    if (*max_context < 1 || *max_context > f->max_context)
        return dlx_fail(err, DLX_E_LIMIT, "a context of %d positions was asked for; the file allows 1 to %d",
                        *max_context, f->max_context);
    if (*max_rows > *max_context) *max_rows = *max_context;
    return DLX_OK;
}
