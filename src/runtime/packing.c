#define _GNU_SOURCE
#include "runtime/packing.h"

#include <string.h>
#include <sys/mman.h>

#include "base/digest.h"
#include "base/half.h"
#include "base/io.h"
#include "base/sizes.h"
#include "graph/linear_kinds.h"
#include "runtime/linear.h"

/* Weights that are read at once: with what they are packed into they stay in the second-level cache. */
enum { PACK_ALIGN = 4096, PIECE_BYTES = 256 << 10, EXPECT_BYTES = 8 << 20 };

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

static bool has_block(const dlx_graph *g, size_t i)
{
    return g->nodes[i].op == DLX_OP_LINEAR && first_with_same_weights(g, i) == i;
}

uint64_t dlx_program_packed_size(const dlx_program *p)
{
    uint64_t total = 0;
    for (size_t i = 0; i < p->g.n_nodes; i++)
        if (has_block(&p->g, i)) total = dlx_align_up(total, PACK_ALIGN) + packed_size_of(p, &p->g.nodes[i]);
    return total;
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

static void free_block(const dlx_program *p, const uint8_t *block)
{
    void *own = (void *)(uintptr_t)block;
    if (p->mem.alloc)
        p->mem.free(p->mem.ctx, own, (size_t)p->packed_bytes, PACK_ALIGN);
    else
        munmap(own, (size_t)p->packed_bytes);
}

void dlx_packing_free(dlx_program *p)
{
    if (p->packed && !p->cache.mapping) free_block(p, p->packed);
    dlx_pack_cache_close(&p->cache);
    p->packed = NULL;
}

/* ---- one layer -------------------------------------------------------------------------------------------------- */

typedef struct layer {
    size_t node; /* of the graph */
    const dlx_gemm *gemm;
    dlx_gemm_weights weights;
    dlx_gemm_shape shape;
    dlx_qs8_params qs8;         /* of weights.qs8 */
    const dlx_value *w;         /* the weights */
    const dlx_value *scales;    /* of their groups; NULL: they have none */
    uint64_t at;                /* of its block, in that of all layers */
    size_t strips, piece;       /* all, and those of a piece */
    size_t first_piece, pieces; /* among those of all layers */
} layer;

/* Weights that lie in memory as the product takes them. */
static bool in_place(const dlx_value *v)
{
    return v->source.data && v->source.transform == DLX_CONST_PLAIN;
}

/* Bytes of the first `strips` strips of rows of v, which are weights, or scales of groups. */
static size_t strips_bytes(const layer *l, const dlx_value *v, size_t strips)
{
    size_t rows = strips * l->gemm->strip;
    uint64_t bytes = 0;
    if (rows > l->shape.n_out) rows = l->shape.n_out;
    (void)dlx_dtype_bytes(v->dtype, rows * (uint64_t)v->dim[1], &bytes); /* counted when the graph was verified */
    return (size_t)bytes;
}

/* Where scales lie in the buffer of a piece. */
static size_t scales_at(const layer *l)
{
    return (size_t)dlx_align_up(strips_bytes(l, l->w, l->piece), DLX_ALIGN);
}

/* What a piece needs that is read. */
static size_t buffer_bytes(const layer *l)
{
    if (in_place(l->w) && (!l->scales || in_place(l->scales))) return 0;
    return scales_at(l) + (l->scales ? strips_bytes(l, l->scales, l->piece) : 0);
}

static layer layer_of(const dlx_program *p, size_t node)
{
    const dlx_node *n = &p->g.nodes[node];
    const dlx_value *w = &p->g.values[n->in[1]];
    layer l = {.node = node,
               .gemm = dlx_linear_gemm(&p->k, &p->g, n),
               .weights = dlx_linear_weights(&p->g, n),
               .shape = dlx_linear_shape(&p->g, n),
               .qs8 = dlx_linear_grids(&p->g, n),
               .w = w,
               .scales = dlx_scaling_of(&p->g, w) == DLX_PER_GROUP ? &p->g.values[w->scales] : NULL};
    l.strips = dlx_linear_strips(l.gemm, l.shape);
    size_t strip = strips_bytes(&l, w, 1);
    l.piece = strip && PIECE_BYTES / strip > 1 ? PIECE_BYTES / strip : 1;
    if (l.piece > l.strips) l.piece = l.strips;
    l.pieces = l.piece ? l.strips / l.piece + (l.strips % l.piece != 0) : 0;
    return l;
}

static void pack(const layer *l, uint8_t *to, dlx_gemm_weights weights, size_t begin, size_t end)
{
    weights.qs8 = &l->qs8;
    l->gemm->pack(to, &weights, l->shape, begin, end);
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

/* Rows of strips [begin, end): where they are in memory, or read into `buffer`. */
static dlx_status take_strips(const dlx_program *p, const layer *l, const dlx_value *v, size_t begin, size_t end,
                              uint8_t *buffer, const void **out, dlx_error *err)
{
    size_t from = strips_bytes(l, v, begin), to = strips_bytes(l, v, end);
    bool widens = v->source.transform == DLX_CONST_WIDEN;
    *out = in_place(v) ? (const uint8_t *)v->source.data + from : buffer;
    if (in_place(v)) return DLX_OK;
    if (v->source.file)
        dlx_file_expect(v->source.file, v->source.offset + to / (widens ? 2 : 1) + EXPECT_BYTES, to - from);
    return widens ? widen(p, v, from, to, buffer, err) : dlx_const_read(v, from, buffer, to - from, err);
}

static dlx_status fill_piece(const dlx_program *p, const layer *l, uint8_t *block, size_t piece, uint8_t *buffer,
                             dlx_error *err)
{
    size_t begin = piece * l->piece, end = begin + l->piece < l->strips ? begin + l->piece : l->strips;
    dlx_gemm_weights weights = l->weights;
    const void *groups = NULL;
    weights.first = begin * l->gemm->strip;
    DLX_TRY(take_strips(p, l, l->w, begin, end, buffer, &weights.w, err));
    if (l->scales) DLX_TRY(take_strips(p, l, l->scales, begin, end, buffer + scales_at(l), &groups, err));
    weights.group_scale = groups;
    pack(l, block + l->at, weights, begin, end);
    return DLX_OK;
}

/* ---- all layers ------------------------------------------------------------------------------------------------- */

/* What a thread has to itself. */
typedef struct filler {
    uint8_t *buffer;
    dlx_error error;
    dlx_status status;
} filler;

typedef struct filling {
    const dlx_program *p;
    layer *layers;
    filler *fillers; /* [threads] */
    uint8_t *block;
    size_t n_layers, capacity, pieces, threads, buffer_bytes;
} filling;

static void fill_pieces(void *arg, size_t begin, size_t end, size_t thread)
{
    const filling *f = arg;
    filler *mine = &f->fillers[thread];
    size_t low = 0, high = f->n_layers;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (f->layers[middle].first_piece <= begin)
            low = middle;
        else
            high = middle;
    }
    for (; begin < end && mine->status == DLX_OK; begin++) {
        while (begin >= f->layers[low].first_piece + f->layers[low].pieces) low++;
        const layer *l = &f->layers[low];
        mine->status = fill_piece(f->p, l, f->block, begin - l->first_piece, mine->buffer, &mine->error);
    }
}

/* Where every layer's block lies. */
static void place_layers(const dlx_program *p, filling *f)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < p->g.n_nodes; i++) {
        if (!has_block(&p->g, i)) continue;
        layer *l = &f->layers[f->n_layers];
        *l = layer_of(p, i);
        l->at = dlx_align_up(offset, PACK_ALIGN);
        offset = l->at + packed_size_of(p, &p->g.nodes[i]);
        l->first_piece = f->pieces;
        f->pieces += l->pieces;
        f->buffer_bytes = buffer_bytes(l) > f->buffer_bytes ? buffer_bytes(l) : f->buffer_bytes;
        f->n_layers++;
    }
}

static dlx_status fill_layers(filling *f, dlx_pool *pool, dlx_error *err)
{
    size_t each = (size_t)dlx_align_up(f->buffer_bytes, PACK_ALIGN);
    uint8_t *buffers = dlx_mem_array(&f->p->mem, f->threads, each);
    if (each && !buffers)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory: reading weights takes %zu bytes for each of %zu threads",
                        each, f->threads);
    for (size_t i = 0; i < f->threads; i++) f->fillers[i].buffer = each ? buffers + i * each : NULL;
    if (f->pieces) dlx_pool_for(pool, f->pieces, 1, fill_pieces, f);
    dlx_mem_free(&f->p->mem, buffers, f->threads, each);
    for (size_t i = 0; i < f->threads; i++) {
        if (f->fillers[i].status == DLX_OK) continue;
        if (err) *err = f->fillers[i].error;
        return f->fillers[i].status;
    }
    return DLX_OK;
}

/* ---- the block -------------------------------------------------------------------------------------------------- */

/* p->weights, in a block that begins at p->packed. */
static void find_layers(dlx_program *p, const filling *f)
{
    for (size_t i = 0; i < f->n_layers; i++) p->weights[f->layers[i].node] = p->packed + f->layers[i].at;
    for (size_t i = 0; i < p->g.n_nodes; i++)
        if (p->g.nodes[i].op == DLX_OP_LINEAR) p->weights[i] = p->weights[first_with_same_weights(&p->g, i)];
}

/* What a layer's kernels make of a small matrix whose bytes are 0, 1, 2, ...: another layout, another result. */
static bool digest_sample(dlx_digest *d, const layer *l)
{
    const size_t columns = l->gemm->strip + 3, inputs = 3 * 32, element = sizeof(float);
    const dlx_gemm_shape s = {.n_out = columns, .n_in = inputs, .group = 32};
    size_t packed = l->gemm->packed_size(s), bytes = columns * inputs * element;
    uint8_t *rows = dlx_mem_zeroed(NULL, bytes, 1), *block = dlx_mem_zeroed(NULL, packed, 1);
    float *scale = dlx_mem_zeroed(NULL, columns, sizeof *scale);
    if (rows && block && scale) {
        dlx_qs8_params qs8 = l->qs8;
        dlx_gemm_weights w = {
            .w = rows, .scale = scale, .group_scale = (const uint16_t *)(const void *)rows, .qs8 = &qs8};
        for (size_t i = 0; i < bytes; i++) rows[i] = (uint8_t)i;
        l->gemm->pack(block, &w, s, 0, dlx_linear_strips(l->gemm, s));
        dlx_digest_add(d, block, packed);
    }
    bool done = rows && block && scale;
    dlx_mem_free(NULL, rows, bytes, 1);
    dlx_mem_free(NULL, block, packed, 1);
    dlx_mem_free(NULL, scale, columns, sizeof *scale);
    return done;
}

/* False: there was no memory for it. */
static bool key_of(dlx_pack_key *key, const dlx_program *p, const filling *f)
{
    dlx_digest d = {0};
    bool done = true;
    for (size_t i = 0; i < f->n_layers && done; i++) {
        const layer *l = &f->layers[i];
        const uint64_t where[] = {l->at, l->shape.n_out, l->shape.n_in, l->shape.group};
        dlx_digest_add(&d, where, sizeof where);
        done = digest_sample(&d, l);
    }
    *key = (dlx_pack_key){.layout = dlx_digest_end(&d), .bytes = p->packed_bytes, .kernels = p->k.name};
    return done;
}

static dlx_status fill_own(dlx_program *p, filling *f, dlx_pool *pool, dlx_error *err)
{
    f->block = p->packed_bytes > SIZE_MAX / 2 ? NULL : packed_block(p);
    if (!f->block)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory: the packed weights take %llu bytes",
                        (unsigned long long)p->packed_bytes);
    p->packed = f->block;
    return fill_layers(f, pool, err);
}

/* From a pack file, or packed; then a pack file is made where one is asked for, and takes the place of this process'
 * own memory. */
static dlx_status fill_block(dlx_program *p, filling *f, dlx_pool *pool, const dlx_pack_place *place, dlx_error *err)
{
    dlx_pack_key key;
    if (place && !key_of(&key, p, f)) return dlx_fail(err, DLX_E_NOMEM, "out of memory looking for a pack file");
    p->packed = place ? dlx_pack_cache_find(&p->cache, place, &key) : NULL;
    if (p->packed) return DLX_OK;
    DLX_TRY(fill_own(p, f, pool, err));
    const uint8_t *mapped = place ? dlx_pack_cache_make(&p->cache, place, &key, p->packed) : NULL;
    if (mapped) {
        free_block(p, p->packed);
        p->packed = mapped;
    }
    return DLX_OK;
}

dlx_status dlx_packing_fill(dlx_program *p, dlx_pool *pool, const dlx_pack_place *place, dlx_error *err)
{
    filling f = {.p = p, .threads = (size_t)dlx_pool_threads(pool)};
    p->packed_bytes = dlx_program_packed_size(p);
    p->weights = dlx_mem_zeroed(&p->mem, p->g.n_nodes, sizeof *p->weights);
    for (size_t i = 0; i < p->g.n_nodes; i++) f.capacity += has_block(&p->g, i);
    f.layers = dlx_mem_array(&p->mem, f.capacity + 1, sizeof *f.layers);
    f.fillers = dlx_mem_zeroed(&p->mem, f.threads, sizeof *f.fillers);
    dlx_status s = DLX_OK;
    if (!p->weights || !f.layers || !f.fillers)
        s = dlx_fail(err, DLX_E_NOMEM, "out of memory loading a program of %zu operators", p->g.n_nodes);
    if (s == DLX_OK && p->packed_bytes) {
        place_layers(p, &f);
        s = fill_block(p, &f, pool, place, err);
    }
    if (s == DLX_OK && p->packed) find_layers(p, &f);
    dlx_mem_free(&p->mem, f.layers, f.capacity + 1, sizeof *f.layers);
    dlx_mem_free(&p->mem, f.fillers, f.threads, sizeof *f.fillers);
    return s;
}

/* ---- other weights ---------------------------------------------------------------------------------------------- */

typedef struct repacking {
    const layer *l;
    uint8_t *to;
} repacking;

static void repack_strips(void *arg, size_t begin, size_t end, size_t thread)
{
    const repacking *r = arg;
    (void)thread;
    pack(r->l, r->to, r->l->weights, begin, end);
}

void dlx_program_repack(dlx_program *p, dlx_pool *pool, size_t node, const float *weights)
{
    layer l = layer_of(p, node);
    l.weights.w = weights;
    /* The block is this program's own memory; it is constant for those who run the program. */
    repacking r = {.l = &l, .to = (uint8_t *)(uintptr_t)p->weights[node]};
    dlx_pool_for(pool, l.strips, 1, repack_strips, &r);
}
