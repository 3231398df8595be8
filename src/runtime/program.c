/* Loading: import, raise, choose where packed weights go, pack them. */
#define _GNU_SOURCE
#include "runtime/program.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/half.h"
#include "base/io.h"
#include "base/sizes.h"
#include "graph/linear_kinds.h"
#include "runtime/constants.h"
#include "runtime/import.h"
#include "runtime/linear.h"
#include "runtime/raise.h"
#include "runtime/raise_decoder.h"

enum { PACK_ALIGN = 4096, PIECE_BYTES = 8 << 20 };

static uint64_t packed_size_of(const dlx_program *p, const dlx_node *n)
{
    return dlx_linear_gemm(&p->k, &p->g, n)->packed_size(dlx_linear_shape(&p->g, n));
}

/* A LINEAR before node i with the same weight, bias and grids, whose packed block serves both; i itself when there is
 * none. */
static size_t first_with_same_weights(const dlx_graph *g, size_t i)
{
    const dlx_node *n = &g->nodes[i];
    for (size_t j = 0; j < i; j++) {
        const dlx_node *m = &g->nodes[j];
        if (m->op == DLX_OP_LINEAR && m->inputs == n->inputs && m->in[1] == n->in[1] &&
            (n->inputs < 3 || m->in[2] == n->in[2]) && dlx_linear_packs_alike(g, m, n))
            return j;
    }
    return i;
}

uint64_t dlx_program_packed_size(const dlx_program *p)
{
    uint64_t total = 0;
    for (size_t i = 0; i < p->g.n_nodes; i++)
        if (p->g.nodes[i].op == DLX_OP_LINEAR && first_with_same_weights(&p->g, i) == i)
            total = dlx_align_up(total, PACK_ALIGN) + packed_size_of(p, &p->g.nodes[i]);
    return total;
}

uint64_t dlx_program_described(const dlx_program *p)
{
    const dlx_graph *g = &p->g;
    uint64_t total = dlx_arena_bytes(&g->arena) + dlx_mem_bytes(g->n_nodes, sizeof *p->weights);
    if (g->values) total += dlx_mem_bytes(g->values_capacity, sizeof *g->values);
    if (g->nodes) total += dlx_mem_bytes(g->nodes_capacity, sizeof *g->nodes);
    if (g->inputs) total += dlx_mem_bytes(g->inputs_capacity, sizeof *g->inputs);
    if (g->outputs) total += dlx_mem_bytes(g->outputs_capacity, sizeof *g->outputs);
    return p->table.entries ? total + dlx_mem_bytes(p->table.capacity, sizeof *p->table.entries) : total;
}

typedef struct pack_job {
    const dlx_gemm *gemm;
    dlx_gemm_weights weights;
    dlx_gemm_shape shape;
    dlx_qs8_params qs8; /* of weights.qs8, while strips are packed */
    uint8_t *to;
    size_t first; /* strip of this loop */
} pack_job;

static void pack_strips(void *arg, size_t begin, size_t end, size_t thread)
{
    const pack_job *job = arg;
    dlx_gemm_weights weights = job->weights;
    (void)thread;
    weights.qs8 = &job->qs8;
    job->gemm->pack(job->to, &weights, job->shape, job->first + begin, job->first + end);
}

/* One block for all weights. From the caller's allocator, or a mapping in huge pages where the system gives them. */
static uint8_t *packed_block(const dlx_program *p)
{
    size_t bytes = (size_t)p->packed_bytes;
    if (p->mem.alloc) return p->mem.alloc(p->mem.ctx, bytes, PACK_ALIGN);
    void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE
    (void)madvise(m, bytes, MADV_HUGEPAGE);
#endif
    return m;
}

/* Bytes of `strips` strips of rows of w, which are weights, or scales of groups. */
static size_t strips_bytes(const pack_job *job, const dlx_value *w, size_t strips)
{
    size_t rows = strips * job->gemm->strip;
    uint64_t bytes = 0;
    if (rows > job->shape.n_out) rows = job->shape.n_out;
    (void)dlx_dtype_bytes(w->dtype, rows * (uint64_t)w->dim[1], &bytes); /* counted when the graph was verified */
    return (size_t)bytes;
}

/* Strips that are read at once of weights that are still in the file. */
static size_t piece_strips(const pack_job *job, const dlx_value *w)
{
    size_t strip = strips_bytes(job, w, 1), all = dlx_linear_strips(job->gemm, job->shape);
    size_t strips = strip ? PIECE_BYTES / strip : all;
    return strips < 1 ? 1 : strips < all ? strips : all;
}

static pack_job job_of(const dlx_program *p, const dlx_node *n)
{
    return (pack_job){.gemm = dlx_linear_gemm(&p->k, &p->g, n),
                      .weights = dlx_linear_weights(&p->g, n),
                      .shape = dlx_linear_shape(&p->g, n),
                      .qs8 = dlx_linear_grids(&p->g, n)};
}

/* Weights that lie in memory as the product takes them. */
static bool in_place(const dlx_value *w)
{
    return w->source.data && w->source.transform == DLX_CONST_PLAIN;
}

/* Bytes [begin, end) of the floats that a weight of halves stands for. The halves are read into the upper half of `out`
 * and widened from its front: what is written never reaches what is still to be read. */
static dlx_status widen(const dlx_program *p, const dlx_value *w, size_t begin, size_t end, uint8_t *out,
                        dlx_error *err)
{
    size_t n = (end - begin) / sizeof(float);
    const uint8_t *half = out + n * sizeof(uint16_t);
    DLX_TRY(dlx_const_read(w, begin / 2, out + n * sizeof(uint16_t), n * sizeof(uint16_t), err));
    if (w->source.stored == DLX_F16) {
        for (size_t i = 0, m; i < n; i += m) {
            enum { AT_ONCE = 256 };
            uint16_t h[AT_ONCE];
            m = n - i < AT_ONCE ? n - i : AT_ONCE;
            memcpy(h, half + i * sizeof *h, m * sizeof *h);
            p->k.f16_to_f32((float *)(void *)out + i, h, m);
        }
        return DLX_OK;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, half + i * sizeof h, sizeof h);
        float f = dlx_bf16_to_f32(h);
        memcpy(out + i * sizeof f, &f, sizeof f);
    }
    return DLX_OK;
}

/* Rows of n strips from the first of the job on: where they are in memory, or read into `buffer`. */
static dlx_status take_strips(const dlx_program *p, const pack_job *job, const dlx_value *v, size_t n, uint8_t *buffer,
                              const void **out, dlx_error *err)
{
    size_t begin = strips_bytes(job, v, job->first), end = strips_bytes(job, v, job->first + n);
    bool widens = v->source.transform == DLX_CONST_WIDEN;
    *out = in_place(v) ? (const uint8_t *)v->source.data + begin : buffer;
    if (in_place(v)) return DLX_OK;
    DLX_TRY(widens ? widen(p, v, begin, end, buffer, err) : dlx_const_read(v, begin, buffer, end - begin, err));
    if (v->source.file) dlx_file_expect(v->source.file, v->source.offset + end / (widens ? 2 : 1), PIECE_BYTES);
    return DLX_OK;
}

/* Scales of groups that belong to w, NULL: it has none. */
static const dlx_value *group_scales(const dlx_program *p, const dlx_value *w)
{
    return dlx_scaling_of(&p->g, w) == DLX_PER_GROUP ? &p->g.values[w->scales] : NULL;
}

/* Where scales lie in the buffer of a piece. */
static size_t scales_at(const pack_job *job, const dlx_value *w, size_t strips)
{
    return (size_t)dlx_align_up(strips_bytes(job, w, strips), DLX_ALIGN);
}

/* The weights of one layer, from memory or piece by piece from the file through `buffer`. */
static dlx_status pack_linear(const dlx_program *p, dlx_pool *pool, pack_job *job, const dlx_value *w,
                              const dlx_value *scales, uint8_t *buffer, dlx_error *err)
{
    size_t strips = dlx_linear_strips(job->gemm, job->shape), most = piece_strips(job, w), n;
    if (in_place(w) && (!scales || scales->source.data)) {
        dlx_pool_for(pool, strips, 1, pack_strips, job);
        return DLX_OK;
    }
    for (; job->first < strips; job->first += n) {
        const void *groups = NULL;
        n = strips - job->first < most ? strips - job->first : most;
        DLX_TRY(take_strips(p, job, w, n, buffer, &job->weights.w, err));
        if (scales) DLX_TRY(take_strips(p, job, scales, n, buffer + scales_at(job, w, most), &groups, err));
        job->weights.group_scale = groups;
        job->weights.first = job->first * job->gemm->strip;
        dlx_pool_for(pool, n, 1, pack_strips, job);
    }
    return DLX_OK;
}

static dlx_status pack_layers(dlx_program *p, dlx_pool *pool, uint8_t *buffer, dlx_error *err)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < p->g.n_nodes; i++) {
        const dlx_node *n = &p->g.nodes[i];
        if (n->op != DLX_OP_LINEAR) continue;
        size_t first = first_with_same_weights(&p->g, i);
        if (first != i) {
            p->weights[i] = p->weights[first];
            continue;
        }
        offset = dlx_align_up(offset, PACK_ALIGN);
        pack_job job = job_of(p, n);
        job.to = p->packed + offset;
        const dlx_value *w = &p->g.values[n->in[1]];
        DLX_TRY(pack_linear(p, pool, &job, w, group_scales(p, w), buffer, err));
        p->weights[i] = job.to;
        offset += packed_size_of(p, n);
    }
    return DLX_OK;
}

/* What a piece of any layer needs. */
static size_t piece_bytes(const dlx_program *p)
{
    size_t most = 0;
    for (size_t i = 0; i < p->g.n_nodes; i++) {
        const dlx_node *n = &p->g.nodes[i];
        const dlx_value *w = n->op == DLX_OP_LINEAR ? &p->g.values[n->in[1]] : NULL;
        if (!w) continue;
        const dlx_value *scales = group_scales(p, w);
        if (in_place(w) && (!scales || scales->source.data)) continue;
        pack_job job = job_of(p, n);
        size_t strips = piece_strips(&job, w), bytes = scales_at(&job, w, strips);
        if (scales) bytes += strips_bytes(&job, scales, strips);
        if (bytes > most) most = bytes;
    }
    return most;
}

static dlx_status pack_weights(dlx_program *p, dlx_pool *pool, dlx_error *err)
{
    p->packed_bytes = dlx_program_packed_size(p);
    p->weights = dlx_mem_zeroed(&p->mem, p->g.n_nodes, sizeof *p->weights);
    if (!p->weights)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory loading a program of %zu operators", p->g.n_nodes);
    if (!p->packed_bytes) return DLX_OK;
    p->packed = p->packed_bytes > SIZE_MAX / 2 ? NULL : packed_block(p);
    if (!p->packed)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory: the packed weights take %llu bytes",
                        (unsigned long long)p->packed_bytes);
    size_t bytes = piece_bytes(p);
    uint8_t *buffer = dlx_mem_array(&p->mem, bytes, 1);
    if (!buffer) return dlx_fail(err, DLX_E_NOMEM, "out of memory: reading weights takes %zu bytes", bytes);
    dlx_status s = pack_layers(p, pool, buffer, err);
    dlx_mem_free(&p->mem, buffer, bytes, 1);
    return s;
}

/* Constants of a file in memory are read in place; one at an odd address (others' exporters may do that) moves. */
static dlx_status align_constants(dlx_graph *g, dlx_error *err)
{
    for (size_t i = 0; i < g->n_values; i++) {
        dlx_value *v = &g->values[i];
        size_t size = dlx_dtype_size(v->dtype);
        if (v->kind != DLX_VALUE_CONST || !size || (uintptr_t)v->source.data % size == 0) continue;
        void *copy = dlx_arena_alloc(&g->arena, v->source.bytes);
        if (!copy)
            return dlx_fail(err, DLX_E_NOMEM, "out of memory aligning a constant of %llu bytes",
                            (unsigned long long)v->source.bytes);
        memcpy(copy, v->source.data, v->source.bytes);
        v->source.data = copy;
        v->source.file = NULL;
    }
    return DLX_OK;
}

/* QD8 and QS8 rows have the layout that the GEMM wants: the verifier lets nothing else read them, and nobody outside
 * can. */
static dlx_status check_outputs(const dlx_graph *g, dlx_error *err)
{
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->values[g->outputs[i]].dtype == DLX_QD8 || g->values[g->outputs[i]].dtype == DLX_QS8)
            return dlx_fail(err, DLX_E_UNSUPPORTED, "program output %zu is quantised", i);
    return DLX_OK;
}

/* Segments say who sees what; a mask is for other backends, and no program that is read has one in this operator. */
static dlx_status check_attention(const dlx_graph *g, dlx_error *err)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_ATTENTION && g->nodes[i].inputs == 6 && g->nodes[i].in[5] != DLX_NONE)
            return dlx_fail(err, DLX_E_UNSUPPORTED, "node %zu (ATTENTION) has a mask, which this runtime does not take",
                            i);
    return DLX_OK;
}

dlx_status dlx_program_prepare(dlx_program *p, dlx_graph *g, const dlx_program_options *o, dlx_error *err)
{
    memset(p, 0, sizeof *p);
    p->g = *g;
    dlx_graph_init(g);
    p->rows = DLX_NONE;
    if (o->mem) p->mem = *o->mem;
    dlx_kernels_init(&p->k, o->limit);
    dlx_status s = DLX_OK;
    if (o->demand && p->g.n_outputs) s = dlx_demand_rows(&p->g, 0, &p->rows, err);
    if (s == DLX_OK) s = check_outputs(&p->g, err);
    if (s == DLX_OK) s = check_attention(&p->g, err);
    if (s == DLX_OK && o->pool) s = dlx_constants_load(&p->g, err);
    if (s == DLX_OK) s = align_constants(&p->g, err);
    if (s == DLX_OK && o->pool) s = pack_weights(p, o->pool, err);
    if (s != DLX_OK) dlx_program_free(p);
    return s;
}

void dlx_program_repack(dlx_program *p, dlx_pool *pool, size_t node, const float *weights)
{
    pack_job job = job_of(p, &p->g.nodes[node]);
    job.weights.w = weights;
    /* The block is this program's own memory; it is constant for those who run the program. */
    job.to = (uint8_t *)(uintptr_t)p->weights[node];
    dlx_pool_for(pool, dlx_linear_strips(job.gemm, job.shape), 1, pack_strips, &job);
}

dlx_status dlx_program_load(dlx_program *p, const dlx_pte *pte, const char *method, const dlx_program_options *o,
                            dlx_error *err)
{
    dlx_graph g;
    memset(p, 0, sizeof *p);
    bool raised;
    dlx_status s = dlx_import_method(&g, pte, method, o->mem, err);
    if (s == DLX_OK && o->demand) s = dlx_raise_decoder(&g, &raised, err);
    if (s == DLX_OK) s = dlx_raise(&g, err);
    if (s == DLX_OK) return dlx_program_prepare(p, &g, o, err);
    dlx_graph_free(&g);
    return s;
}

dlx_status dlx_program_bind(dlx_program *p, const dlx_signature *sig, dlx_error *err)
{
    return dlx_rows_analyse(&p->table, &p->g, sig, &p->mem, err);
}

void dlx_program_free(dlx_program *p)
{
    if (p->packed && p->mem.alloc)
        p->mem.free(p->mem.ctx, p->packed, (size_t)p->packed_bytes, PACK_ALIGN);
    else if (p->packed)
        munmap(p->packed, (size_t)p->packed_bytes);
    dlx_mem_free(&p->mem, (void *)p->weights, p->g.n_nodes, sizeof *p->weights);
    dlx_rows_free(&p->table, &p->mem);
    dlx_graph_free(&p->g);
    memset(p, 0, sizeof *p);
}
