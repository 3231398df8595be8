/*
 * Kernel benchmark: one line per kernel, shape, instruction set and number of threads, with the fastest and the median
 * of several runs.
 *
 *   bench_kernels [--kernel NAME|products|attention|rows|probes|all] [--shape IN:OUT[:ROWS]] [--group N]
 *                 [--isa NAME|all] [--threads N] [--attention HEADS:KV_HEADS:HEAD_DIM:ROWS:KEYS] [--kv f32|f16|i8]
 *                 [--pieces N] [--sequences N]
 *                 [--repeat N] [--json]
 *
 * Matrix products (f32, f32-f16w, ..., qs8-qc8w; --group is the group of qd8-qb4w) walk over copies of their weights
 * that together exceed any cache, so weights are cold, as they are in a forward pass; the time of a product of
 * quantised rows includes quantising them. Keys and values of attention have the element type --kv and lie in --pieces
 * pieces apart from each other; the rows of each of --sequences sequences see keys of their own, which are cold where
 * there are enough of them. GB/s counts the bytes of packed weights. Compare them with the machine's limits measured
 * beside them: --kernel probes prints what reading and arithmetic alone give (kernels/probe.h).
 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/sizes.h"
#include "base/threads.h"
#include "kernels/kernels.h"
#include "kernels/kv8.h"
#include "kernels/probe.h"

enum { MAX_REPEAT = 99, MAX_COPIES = 128, MAX_PIECES = 512, MAX_SEQUENCES = 4096 };
#define COLD_BYTES ((size_t)192 << 20)
#define HUGE_PAGE  ((size_t)2 << 20)

typedef struct options {
    const char *kernel, *isa;
    size_t n_in, n_out, rows; /* 0: the built-in list */
    size_t group;             /* inputs that share a scale, of products that have groups */
    size_t attention[5];      /* heads, kv heads, head_dim, rows, keys; 0: the built-in list */
    int threads, repeat;
    dlx_dtype kv;
    size_t pieces, sequences;
    bool json;
} options;

typedef struct bench {
    options o;
    dlx_kernels k;
    dlx_pool *pool;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "bench_kernels: %s\n", what);
    exit(1);
}

/* Zeroed, in huge pages where the system grants them. */
static void *block_new(size_t n)
{
    size_t size = (size_t)dlx_align_up(n + 1, HUGE_PAGE);
    void *p = aligned_alloc(HUGE_PAGE, size);
    if (!p) die("out of memory");
#if defined(MADV_HUGEPAGE)
    (void)madvise(p, size, MADV_HUGEPAGE); /* only a hint */
#endif
    memset(p, 0, size);
    return p;
}

static void fill(float *x, size_t n)
{
    uint32_t s = 12345;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)s * 0x1p-31f;
    }
}

/* About normally distributed, as activations are at least: sets whose time depends on the values (qd8_split_template.h)
 * are not faster with real ones' longer tails than with these. */
static void fill_normal(float *x, size_t n)
{
    uint32_t s = 12345;
    for (size_t i = 0; i < n; i++) {
        x[i] = 0;
        for (int k = 0; k < 12; k++) {
            s = s * 1664525u + 1013904223u;
            x[i] += (float)(int32_t)s * 0x1p-32f;
        }
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* `work` is in operations, `bytes` in weight bytes (0: not a matter of memory). */
static void report(const bench *b, const char *kernel, const char *shape, double *seconds, double work, double bytes)
{
    int n = b->o.repeat;
    qsort(seconds, (size_t)n, sizeof *seconds, compare);
    double min = seconds[0], median = seconds[n / 2];
    if (b->o.json) {
        printf("{\"kernel\":\"%s\",\"shape\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"min_us\":%.2f,\"median_us\":%.2f,"
               "\"gops\":%.1f,\"gbps\":%.1f}\n",
               kernel, shape, b->k.name, b->o.threads, min * 1e6, median * 1e6, work / min * 1e-9, bytes / min * 1e-9);
    } else {
        printf("%-12s %-26s %-12s %dT  min %10.2f us  med %10.2f us  %8.1f GOPS", kernel, shape, b->k.name,
               b->o.threads, min * 1e6, median * 1e6, work / min * 1e-9);
        if (bytes > 0) printf("  %6.1f GB/s", bytes / min * 1e-9);
        putchar('\n');
    }
    fflush(stdout);
}

/* Matrix products */

typedef struct product_kind {
    const char *name;
    size_t member; /* of dlx_kernels */
    size_t weight_bits;
    bool quantized, fixed; /* rows are quantised; with parameters that are known beforehand */
    bool grouped;
} product_kind;

static const product_kind kinds[] = {
    {"f32", offsetof(dlx_kernels, gemm_f32), 32, false, false, false},
    {"f32-f16w", offsetof(dlx_kernels, gemm_f32_f16w), 16, false, false, false},
    {"f32-bf16w", offsetof(dlx_kernels, gemm_f32_bf16w), 16, false, false, false},
    {"f32-qc8w", offsetof(dlx_kernels, gemm_f32_qc8w), 8, false, false, false},
    {"qd8-qc8w", offsetof(dlx_kernels, gemm_qd8_qc8w), 8, true, false, false},
    {"qs8-qc8w", offsetof(dlx_kernels, gemm_qs8_qc8w), 8, true, true, false},
    {"qd8-qc4w", offsetof(dlx_kernels, gemm_qd8_qc4w), 4, true, false, false},
    {"qd8-qb4w", offsetof(dlx_kernels, gemm_qd8_qb4w), 4, true, false, true},
};

static const dlx_qs8_params fixed = {.in_scale = 0.03f, .out_scale = 0.5f, .in_zero = 3, .out_zero = -5};

typedef struct product {
    const bench *b;
    const product_kind *kind;
    const dlx_gemm *gemm;
    dlx_gemm_shape s;
    size_t rows;
    void *copies[MAX_COPIES];
    size_t n_copies, packed_bytes;
    const void *weights; /* the copy of this call */
    float *x, *y;
    void *quantized;
} product;

static void product_quantize(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)thread;
    product *p = arg;
    const dlx_kernels *k = &p->b->k;
    size_t tile = k->qd8.row_tile, n = p->s.n_in, last = end * tile < p->rows ? end * tile : p->rows;
    if (p->kind->fixed)
        k->quantize_qs8(p->quantized, p->x, n, p->rows, n, begin * tile, last, fixed.in_scale, fixed.in_zero);
    else
        k->qd8.quantize(p->quantized, p->x, n, p->rows, n, begin * tile, last);
}

static void product_strips(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)thread;
    product *p = arg;
    p->gemm->run(p->y + begin * p->gemm->strip, p->s.n_out, p->kind->quantized ? p->quantized : p->x, p->s.n_in,
                 p->rows, p->weights, p->s, begin, end);
}

static size_t product_strip_count(const product *p)
{
    return (p->s.n_out + p->gemm->strip - 1) / p->gemm->strip;
}

static void product_call(product *p)
{
    if (p->kind->quantized) {
        size_t tile = p->b->k.qd8.row_tile;
        dlx_pool_for(p->b->pool, (p->rows + tile - 1) / tile, 1, product_quantize, p);
    }
    dlx_pool_for(p->b->pool, product_strip_count(p), 1, product_strips, p);
}

static void product_pack(product *p)
{
    size_t weights = p->s.n_out * p->s.n_in, bytes = weights * p->kind->weight_bits / 8;
    float *scale = block_new(p->s.n_out * sizeof *scale);
    uint16_t *group_scale = block_new(weights / 32 * sizeof *group_scale);
    uint8_t *w = block_new(bytes);
    fill(scale, p->s.n_out);
    for (size_t i = 0; i < weights / 32; i++) group_scale[i] = (uint16_t)(0x3C00 + i % 128);
    if (p->kind->weight_bits == 32) {
        fill((float *)(void *)w, weights);
    } else {
        for (size_t i = 0; i < bytes; i++) w[i] = (uint8_t)(i * 2654435761u >> 13);
        for (size_t i = 1; i < bytes && p->kind->weight_bits == 16; i += 2) w[i] = 0x3C; /* about 1 in both formats */
    }
    p->n_copies = COLD_BYTES / p->packed_bytes + 1;
    if (p->n_copies > MAX_COPIES) p->n_copies = MAX_COPIES;
    for (size_t i = 0; i < p->n_copies; i++) {
        p->copies[i] = block_new(p->packed_bytes);
        dlx_gemm_weights source = {.w = w, .scale = scale, .group_scale = group_scale, .qs8 = &fixed};
        p->gemm->pack(p->copies[i], &source, p->s, 0, product_strip_count(p));
    }
    free(scale);
    free(group_scale);
    free(w);
}

static void bench_product(const bench *b, const product_kind *kind, size_t n_in, size_t n_out, const size_t *rows,
                          size_t n_rows)
{
    product p = {.b = b,
                 .kind = kind,
                 .gemm = (const dlx_gemm *)(const void *)((const uint8_t *)&b->k + kind->member),
                 .s = {.n_out = n_out, .n_in = n_in, .group = b->o.group}};
    char name[32];
    snprintf(name, sizeof name, kind->grouped ? "%s-g%zu" : "%s", kind->name, b->o.group);
    size_t most = 0;
    for (size_t i = 0; i < n_rows; i++) most = rows[i] > most ? rows[i] : most;
    p.packed_bytes = p.gemm->packed_size(p.s);
    p.x = block_new(most * n_in * sizeof(float));
    p.y = block_new(most * n_out * sizeof(float));
    p.quantized = block_new(b->k.qd8.size(most, n_in));
    fill_normal(p.x, most * n_in);
    product_pack(&p);
    for (size_t i = 0; i < n_rows; i++) {
        double seconds[MAX_REPEAT], work = 2.0 * (double)rows[i] * (double)n_in * (double)n_out;
        size_t calls = p.n_copies > 4 ? p.n_copies : 4;
        if (work * (double)calls > 4e10) calls = work > 1e10 ? 2 : 4;
        p.rows = rows[i];
        for (int r = 0; r < b->o.repeat; r++) {
            double start = now();
            for (size_t c = 0; c < calls; c++) {
                p.weights = p.copies[((size_t)r * calls + c) % p.n_copies];
                product_call(&p);
            }
            seconds[r] = (now() - start) / (double)calls;
        }
        char shape[64];
        snprintf(shape, sizeof shape, "%zux%zu rows %zu", n_in, n_out, rows[i]);
        report(b, name, shape, seconds, work, (double)p.packed_bytes);
    }
    for (size_t i = 0; i < p.n_copies; i++) free(p.copies[i]);
    free(p.x);
    free(p.y);
    free(p.quantized);
}

static void bench_products(const bench *b, const product_kind *kind)
{
    static const size_t shapes[][2] = {{1536, 1536}, {1536, 8960}, {8960, 1536}, {4096, 4096}, {4096, 12288}};
    static const size_t rows[] = {1, 4, 8, 16, 32, 128, 256};
    if (b->o.n_in) {
        if (b->o.n_in % 2 || (kind->grouped && b->o.n_in % b->o.group)) die("--shape: IN is no multiple of the group");
        bench_product(b, kind, b->o.n_in, b->o.n_out, b->o.rows ? &b->o.rows : rows, b->o.rows ? 1 : DLX_COUNT(rows));
        return;
    }
    for (size_t i = 0; i < DLX_COUNT(shapes); i++)
        bench_product(b, kind, shapes[i][0], shapes[i][1], rows, DLX_COUNT(rows));
}

/* Attention */

typedef struct attention_job {
    const bench *b;
    dlx_attention_args a;
    const dlx_kv_piece *piece; /* [sequences][pieces] */
    size_t tile, tiles;
    uint8_t *scratch;
    size_t scratch_bytes;
} attention_job;

static void attention_units(void *arg, size_t begin, size_t end, size_t thread)
{
    attention_job *j = arg;
    for (size_t i = begin; i < end; i++) {
        dlx_attention_args a = j->a;
        size_t row = i % j->tiles * j->tile, last = row + j->tile < a.rows ? row + j->tile : a.rows,
               heads = i / j->tiles;
        a.piece = j->piece + heads / a.kv_heads * a.pieces;
        j->b->k.attention(&a, heads % a.kv_heads, row, last, j->scratch + thread * j->scratch_bytes);
    }
}

/* Keys or values, by the names of --kv. */
static const struct {
    const char *name;
    dlx_dtype type;
} kv_types[] = {{"f32", DLX_F32}, {"f16", DLX_F16}, {"i8", DLX_I8}};

static bool kv_type_of(const char *name, dlx_dtype *type)
{
    for (size_t i = 0; i < DLX_COUNT(kv_types); i++)
        if (strcmp(kv_types[i].name, name) == 0) {
            *type = kv_types[i].type;
            return true;
        }
    return false;
}

/* Bytes of one row. */
static size_t kv_row(const bench *b, size_t heads, size_t dim)
{
    return heads * (b->o.kv == DLX_I8 ? dlx_kv8_bytes(dim) : dim * dlx_dtype_size(b->o.kv));
}

/* As floats, or the same as halves or int8 records. */
static void *kv_block(const bench *b, size_t rows, size_t heads, size_t dim)
{
    size_t n = rows * heads;
    float *x = block_new(n * dim * sizeof *x);
    fill(x, n * dim);
    if (b->o.kv == DLX_F32) return x;
    uint8_t *y = block_new(rows * kv_row(b, heads, dim));
    for (size_t i = 0; i < n; i++)
        if (b->o.kv == DLX_I8)
            b->k.quantize_kv8(y + i * dlx_kv8_bytes(dim), x + i * dim, dim);
        else
            b->k.f32_to_f16((uint16_t *)(void *)y + i * dim, x + i * dim, dim);
    free(x);
    return y;
}

/* Each sequence's `keys` rows of k and v in pieces of about equal length that lie in reverse order, a row of nothing
 * between them. */
static dlx_kv_piece *cut(const bench *b, void *k, void *v, size_t keys, size_t row)
{
    size_t n = b->o.pieces;
    size_t at = b->o.sequences * (keys + n);
    dlx_kv_piece *piece = block_new(b->o.sequences * n * sizeof *piece);
    for (size_t i = 0; i < b->o.sequences * n; i++) {
        size_t rows = (i % n + 1) * keys / n - i % n * keys / n;
        at -= rows + 1;
        piece[i] = (dlx_kv_piece){(uint8_t *)k + at * row, (uint8_t *)v + at * row, rows, row / dlx_dtype_size(b->o.kv),
                                  b->o.kv};
    }
    return piece;
}

static void bench_attention_shape(const bench *b, size_t heads, size_t kv_heads, size_t dim, size_t rows, size_t keys)
{
    attention_job j = {.b = b};
    size_t units = (size_t)b->o.threads * 2 / (kv_heads * b->o.sequences), group = heads / kv_heads;
    size_t tile = (b->k.attention_queries + group - 1) / group, stored = b->o.sequences * (keys + b->o.pieces);
    j.tile = units > 1 ? (rows / units + tile - 1) / tile * tile : rows;
    if (j.tile < tile) j.tile = tile;
    if (kv_heads == (size_t)b->o.threads) j.tile = rows;
    j.tiles = (rows + j.tile - 1) / j.tile;
    float *q = block_new(rows * heads * dim * sizeof(float)), *out = block_new(rows * heads * dim * sizeof(float));
    void *k = kv_block(b, stored, kv_heads, dim), *v = kv_block(b, stored, kv_heads, dim);
    dlx_kv_piece *piece = cut(b, k, v, keys, kv_row(b, kv_heads, dim));
    int32_t *visible = block_new(rows * sizeof *visible);
    fill(q, rows * heads * dim);
    for (size_t i = 0; i < rows; i++) visible[i] = (int32_t)keys;
    j.a = (dlx_attention_args){.out = out,
                               .out_stride = heads * dim,
                               .q = q,
                               .q_stride = heads * dim,
                               .rows = rows,
                               .heads = heads,
                               .kv_heads = kv_heads,
                               .head_dim = dim,
                               .scale = 1.0f / sqrtf((float)dim),
                               .pieces = b->o.pieces,
                               .visible = visible};
    j.piece = piece;
    j.scratch_bytes = (size_t)dlx_align_up(b->k.attention_scratch(j.tile, keys, heads, kv_heads, dim), 4096);
    j.scratch = block_new(j.scratch_bytes * (size_t)b->o.threads);
    double seconds[MAX_REPEAT], work = 4.0 * (double)(rows * keys * heads * dim * b->o.sequences);
    size_t calls = work > 2e7 ? 1 : (size_t)(2e7 / work) + 1; /* short samples: others' work falls between them */
    for (int r = 0; r < b->o.repeat; r++) {
        double start = now();
        for (size_t c = 0; c < calls; c++)
            dlx_pool_for(b->pool, b->o.sequences * kv_heads * j.tiles, 1, attention_units, &j);
        seconds[r] = (now() - start) / (double)calls;
    }
    char shape[96];
    int used = snprintf(shape, sizeof shape, "%zu/%zu x%zu rows %zu keys %zu", heads, kv_heads, dim, rows, keys);
    if (b->o.kv != DLX_F32 || b->o.pieces > 1)
        snprintf(shape + used, sizeof shape - (size_t)used, " %s in %zu", dlx_dtype_name(b->o.kv), b->o.pieces);
    if (b->o.sequences > 1) {
        used = (int)strlen(shape);
        snprintf(shape + used, sizeof shape - (size_t)used, " of %zu", b->o.sequences);
    }
    report(b, "attention", shape, seconds, work, 0);
    free(q);
    free(out);
    free(k);
    free(v);
    free(piece);
    free(visible);
    free(j.scratch);
}

static void bench_attention(const bench *b)
{
    const size_t *a = b->o.attention;
    if (a[0]) {
        bench_attention_shape(b, a[0], a[1], a[2], a[3], a[4]);
        return;
    }
    bench_attention_shape(b, 12, 2, 128, 32, 544);
    bench_attention_shape(b, 12, 2, 128, 8, 544);
    bench_attention_shape(b, 12, 2, 128, 1, 544);
    bench_attention_shape(b, 32, 8, 128, 32, 1056);
    bench_attention_shape(b, 32, 32, 128, 512, 512);
    bench_attention_shape(b, 32, 32, 128, 32, 512);
}

/* Row and element operations, on rows that are in the cache */

typedef struct row_job {
    const dlx_kernels *k;
    float *x, *y, *z;
    int8_t *q;
    size_t n;
} row_job;

static void row_rms_norm(row_job *j)
{
    j->k->rms_norm(j->y, j->x, j->z, j->n, 1e-6f);
}
static void row_rope(row_job *j)
{
    j->k->rope(j->y, j->x, j->z, j->z + 128, j->n / 128, 128);
}
static void row_silu_mul(row_job *j)
{
    j->k->silu_mul(j->y, j->x, j->z, j->n);
}
static void row_add(row_job *j)
{
    j->k->add(j->y, j->x, j->z, j->n);
}
static void row_softmax(row_job *j)
{
    j->k->softmax(j->y, j->x, j->n);
}
static void row_dequantize(row_job *j)
{
    j->k->dequantize_i8(j->y, j->q, 0.01f, j->n);
}
static void row_quantize(row_job *j)
{
    dlx_qd8_row row;
    j->k->quantize_qd8(j->q, &row, j->x, j->n);
}
/* Eight rows as the int8 product wants them. */
static void row_quantize_tile(row_job *j)
{
    j->k->qd8.quantize(j->y, j->x, j->n / 8, 8, j->n / 8, 0, 8);
}

/* GOPS: 10^9 elements a second. */
static void bench_rows(const bench *b)
{
    static const struct {
        const char *name;
        void (*fn)(row_job *);
        size_t n;
    } jobs[] = {{"rms_norm", row_rms_norm, 1536},    {"rope", row_rope, 1536},
                {"silu_mul", row_silu_mul, 8960},    {"add", row_add, 1536},
                {"softmax", row_softmax, 4096},      {"softmax", row_softmax, 151936},
                {"quantize", row_quantize, 8960},    {"quant_tile", row_quantize_tile, 8 * 1536},
                {"dequantize", row_dequantize, 1536}};
    enum { MOST = 151936 };
    row_job j = {.k = &b->k,
                 .x = block_new(MOST * sizeof(float)),
                 .y = block_new(MOST * sizeof(float)),
                 .z = block_new(MOST * sizeof(float)),
                 .q = block_new(MOST)};
    fill_normal(j.x, MOST);
    fill(j.z, MOST);
    for (size_t i = 0; i < DLX_COUNT(jobs); i++) {
        double seconds[MAX_REPEAT];
        j.n = jobs[i].n;
        size_t calls = 4000000 / j.n;
        for (int r = 0; r < b->o.repeat; r++) {
            double start = now();
            for (size_t c = 0; c < calls; c++) jobs[i].fn(&j);
            seconds[r] = (now() - start) / (double)calls;
        }
        char shape[32];
        snprintf(shape, sizeof shape, "%zu", j.n);
        report(b, jobs[i].name, shape, seconds, (double)j.n, 0);
    }
    free(j.x);
    free(j.y);
    free(j.z);
    free(j.q);
}

/* The machine's limits: reading, the roof of every product with few rows, and arithmetic, that of the others */

static void bench_probes(const bench *b)
{
    const dlx_probe *p;
    for (size_t i = 0; (p = dlx_probe_at(i)) != NULL; i++) {
        double rate, best = 0;
        const char *kind = dlx_probe_kind_name(p->kind), *unit = p->kind == DLX_PROBE_READ ? "GB/s" : "GOPS";
        dlx_error err;
        for (int r = 0; r < b->o.repeat && p->present(); r++) {
            if (dlx_probe_measure(p, b->pool, &rate, &err) != DLX_OK) die(err.message);
            if (rate > best) best = rate;
        }
        if (!p->present()) continue;
        if (b->o.json)
            printf("{\"probe\":\"%s\",\"kind\":\"%s\",\"threads\":%d,\"per_second\":%.4g}\n", p->name, kind,
                   b->o.threads, best);
        else
            printf("%-8s %-36s %dT %8.1f %s\n", kind, p->name, b->o.threads, best * 1e-9, unit);
    }
}

static bool wants(const options *o, const char *kernel)
{
    return strcmp(o->kernel, "all") == 0 || strcmp(o->kernel, kernel) == 0;
}

/* The words of --kernel. */
static bool known(const char *kernel)
{
    static const char *const others[] = {"all", "products", "attention", "rows", "probes"};
    for (size_t i = 0; i < DLX_COUNT(others); i++)
        if (strcmp(kernel, others[i]) == 0) return true;
    for (size_t i = 0; i < DLX_COUNT(kinds); i++)
        if (strcmp(kernel, kinds[i].name) == 0) return true;
    return false;
}

static void run_isa(bench *b, dlx_isa isa)
{
    dlx_kernels_init(&b->k, isa);
    for (size_t i = 0; i < DLX_COUNT(kinds); i++)
        if (wants(&b->o, kinds[i].name) || strcmp(b->o.kernel, "products") == 0) bench_products(b, &kinds[i]);
    if (wants(&b->o, "attention")) bench_attention(b);
    if (wants(&b->o, "rows")) bench_rows(b);
}

static void parse(options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(word, "--json") == 0) {
            o->json = true;
            continue;
        }
        if (!value)
            die("usage: [--kernel f32|...|qs8-qc8w|products|probes|attention|rows|all] [--shape IN:OUT[:ROWS]] "
                "[--group N] [--isa NAME|all] [--threads N] [--attention HEADS:KV_HEADS:HEAD_DIM:ROWS:KEYS] [--kv "
                "f32|f16|i8] [--pieces N] "
                "[--sequences N] [--repeat N] [--json]");
        i++;
        if (strcmp(word, "--kernel") == 0)
            o->kernel = value;
        else if (strcmp(word, "--isa") == 0)
            o->isa = value;
        else if (strcmp(word, "--threads") == 0)
            o->threads = atoi(value);
        else if (strcmp(word, "--kv") == 0 && kv_type_of(value, &o->kv))
            continue;
        else if (strcmp(word, "--attention") == 0) {
            size_t *a = o->attention;
            if (sscanf(value, "%zu:%zu:%zu:%zu:%zu", &a[0], &a[1], &a[2], &a[3], &a[4]) != 5)
                die("--attention takes HEADS:KV_HEADS:HEAD_DIM:ROWS:KEYS");
        } else if (strcmp(word, "--group") == 0)
            o->group = (size_t)atoi(value);
        else if (strcmp(word, "--pieces") == 0)
            o->pieces = (size_t)atoi(value);
        else if (strcmp(word, "--sequences") == 0)
            o->sequences = (size_t)atoi(value);
        else if (strcmp(word, "--repeat") == 0)
            o->repeat = atoi(value);
        else if (strcmp(word, "--shape") == 0) {
            int n = sscanf(value, "%zu:%zu:%zu", &o->n_in, &o->n_out, &o->rows);
            if (n < 2 || !o->n_in || !o->n_out || (n == 3 && !o->rows))
                die("--shape takes IN:OUT[:ROWS], each at least 1");
        } else
            die("unknown argument; run without a value for the usage");
    }
    if (!known(o->kernel)) die("--kernel takes the name of a product, products, attention, rows, probes or all");
    if (o->repeat < 1 || o->repeat > MAX_REPEAT) die("--repeat takes 1 to 99");
    if (o->sequences < 1 || o->sequences > MAX_SEQUENCES) die("--sequences takes 1 to 4096");
    if (o->group < 32 || o->group > DLX_GROUP_MAX || o->group % 32) die("--group takes multiples of 32 up to 4096");
    if (o->pieces < 1 || o->pieces > MAX_PIECES) die("--pieces takes 1 to 512");
}

int main(int argc, char **argv)
{
    bench b = {
        .o = {.kernel = "all", .isa = "auto", .threads = 1, .repeat = 7, .group = 32, .pieces = 1, .sequences = 1}};
    parse(&b.o, argc, argv);
    dlx_error err;
    dlx_isa isa = DLX_ISA_REF;
    bool every = strcmp(b.o.isa, "all") == 0;
    if (!every && dlx_isa_from_name(&isa, b.o.isa, &err) != DLX_OK) die(err.message);
    if (dlx_pool_create(&b.pool, b.o.threads, &err) != DLX_OK) die(err.message);
    dlx_isa list[8];
    size_t n = dlx_isa_list(list);
    dlx_kernels_init(&b.k, isa);
    if (wants(&b.o, "probes")) bench_probes(&b);
    for (size_t i = 0; i < n; i++)
        if ((every && list[i] != DLX_ISA_REF && dlx_isa_available(list[i])) || (!every && list[i] == isa))
            run_isa(&b, list[i]);
    dlx_pool_free(b.pool);
    return 0;
}
