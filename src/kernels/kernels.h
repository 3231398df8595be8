/*
 * Kernel table: every arithmetic loop of the native runtime behind function pointers.
 *
 * dlx_kernels_init fills the table with the reference versions (plain C from the formula, complete: no NULL), then
 * overwrites entries with those of the best instruction set that the CPU and the caller's limit allow, and before that
 * with those of the sets it builds on. The table is built per model and never global. A kernel's result for one row or
 * column never depends on the other rows of the call, so results do not depend on batching or on the number of threads.
 *
 * Layout words: rows are row-major and contiguous unless a stride (in elements) is given.
 */
#ifndef DLX_KERNELS_KERNELS_H
#define DLX_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/row_part.h"
#include "base/status.h"
#include "kernels/grid.h"

typedef enum dlx_isa {
    DLX_ISA_REF = 0,
    DLX_ISA_AVX2 = 1,       /* AVX2 + FMA + F16C */
    DLX_ISA_AVXVNNI = 2,    /* that + AVX-VNNI */
    DLX_ISA_AVX512 = 3,     /* AVX2's + AVX-512 F, BW, DQ, VL */
    DLX_ISA_AVX512VNNI = 4, /* that + AVX-512 VNNI */
    DLX_ISA_AMX = 5,        /* that + AMX int8; only where the system gives it to the process, and a trial is right */
    DLX_ISA_NEON = 16,      /* aarch64 baseline */
    DLX_ISA_NEON_DOTPROD = 17,
    DLX_ISA_NEON_I8MM = 18,
    DLX_ISA_SIMD128 = 32, /* WebAssembly: of a module that was compiled with it */
} dlx_isa;

/* One row of dynamically quantised activations: x is approximated by (q - zero_point) * scale. */
typedef struct dlx_qd8_row {
    float scale;        /* NaN: the row held a NaN or an infinity, or its range overflowed */
    int32_t zero_point; /* in [-128, 127] */
} dlx_qd8_row;

/*
 * Matrix product with packed weights: y[m][n] = sum_k x[m][k] * w[n][k] (+ bias[n]).
 * The weights [n_out, n_in] are packed once into an opaque block of packed_size bytes, 64-byte aligned, in strips of
 * `strip` output columns: columns [j*strip, (j+1)*strip) can be packed and computed independently (the last strip may
 * be short). Columns are what threads divide. One structure for every kind of weights and activations; which member of
 * dlx_kernels goes with which element types is the table of runtime/linear.c.
 */
typedef struct dlx_gemm_shape {
    size_t n_out, n_in;
    size_t group; /* inputs that share a scale, where weights have scales in groups: a multiple of 32 that divides n_in,
                     at most DLX_GROUP_MAX; else not read */
} dlx_gemm_shape;

enum { DLX_GROUP_MAX = 4096 }; /* sums of a group's weights fit 16 bits */

/* Static quantisation of a layer's inputs and outputs: a value v is approximated by (q - zero) * scale, q int8. */
typedef struct dlx_qs8_params {
    float in_scale, out_scale; /* positive */
    int32_t in_zero, out_zero; /* in [-128, 127] */
} dlx_qs8_params;

/* Weights as they lie in a file: views. int4 weights are two to a byte along a row (n_in is even): element 2i in the
 * low half, 2i + 1 in the high one, each stored as value + 8. */
typedef struct dlx_gemm_weights {
    const void *w;               /* [n_out, n_in] row-major, aligned for its element type and no more; */
    size_t first;                /* row `first` is at w (and group_scale), and those before it are not there */
    const float *scale;          /* [n_out]; NULL for weights that have none */
    const float *bias;           /* [n_out] or NULL */
    const uint16_t *group_scale; /* bfloat16 [n_out, n_in / group], row-major; NULL for weights that have none */
    const dlx_qs8_params *qs8;   /* gemm_qs8_qc8w only, whose bias is */
    const int32_t *bias_i32;     /* [n_out] in units of in_scale * scale[n], or NULL; `bias` is not read there */
} dlx_gemm_weights;

typedef struct dlx_gemm {
    size_t strip;
    size_t (*packed_size)(dlx_gemm_shape s);
    /* Packs strips [strip_begin, strip_end). */
    void (*pack)(void *packed, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t strip_begin, size_t strip_end);
    /* The weights of output column n as `pack` was given them: a row of n_in elements. So a table of which rows are
     * looked up, too, need not be in memory twice. */
    void (*unpack)(void *row, const void *packed, dlx_gemm_shape s, size_t n);
    /* y[m][n] for m in [0, rows), columns of strips [strip_begin, strip_end); y points at row 0 of the first of these
     * columns. x: float rows x_stride apart, or what this set's quantiser made of `rows` rows (then x_stride is not
     * read). */
    void (*run)(float *y, size_t y_stride, const void *x, size_t x_stride, size_t rows, const void *packed,
                dlx_gemm_shape s, size_t strip_begin, size_t strip_end);
} dlx_gemm;

/*
 * Activations in another form than float rows, chosen by the instruction set and read by its products only. `rows` rows
 * take size(rows, n_in) bytes, 64-byte aligned; they may be quantised by several threads, each a range that starts at a
 * multiple of `row_tile`.
 */
typedef struct dlx_quantizer {
    size_t row_tile;
    size_t (*size)(size_t rows, size_t n_in);
    /* Quantises rows [row_begin, row_end) of x. `total_rows` is the whole matrix' row count. */
    void (*quantize)(void *quantized, const float *x, size_t x_stride, size_t total_rows, size_t n_in, size_t row_begin,
                     size_t row_end);
} dlx_quantizer;

/* Rows of keys and values that an attention call reads: any number of pieces, in order. How keys are cut into pieces
 * never changes a bit, nor does holding them as F16 or as int8 records where floats of the same values would do. */
typedef struct dlx_kv_piece {
    const void *k, *v; /* row 0 of this piece, for kv head 0: [rows][kv_heads, head_dim] with row_stride between rows;
                          I8: [rows][kv_heads] records of head_dim numbers (kernels/kv8.h) */
    size_t rows;       /* may be 0 */
    size_t row_stride; /* elements between rows; I8: bytes */
    dlx_dtype type;    /* of k and v: F32, F16 or I8; pieces of one call may differ */
} dlx_kv_piece;

typedef struct dlx_attention_args {
    float *out; /* [rows, heads * head_dim] */
    size_t out_stride;
    const float *q;  /* [rows, heads, head_dim] */
    size_t q_stride; /* elements between rows */
    size_t rows, heads, kv_heads, head_dim;
    float scale;               /* 1 / sqrt(head_dim) unless the program says otherwise */
    const dlx_kv_piece *piece; /* [pieces] */
    size_t pieces;
    const int32_t *visible; /* [rows]: row r sees the first visible[r] >= 1 key rows of the concatenated pieces */
} dlx_attention_args;

typedef struct dlx_kernels {
    dlx_isa isa;      /* the best set in use */
    const char *name; /* a word of dlx_isa_from_name: "ref", "avx2", ... */

    /* y[i] = x[i] * rsqrt(mean(x^2) + eps) * w[i], one row. y may be x. */
    void (*rms_norm)(float *y, const float *x, const float *w, size_t n, float eps);
    /* Rotates `heads` vectors of head_dim at x into y (may be x): y = x*cos + rotate(x)*sin, where rotate swaps the two
     * halves and the sign is folded into sin ([-sin, +sin]). cos, sin: [head_dim]. */
    void (*rope)(float *y, const float *x, const float *cos, const float *sin, size_t heads, size_t head_dim);
    /* The same for pairs of neighbours: (a, b) becomes (a cos - b sin, a sin + b cos). cos, sin: [head_dim / 2]. */
    void (*rope_pairs)(float *y, const float *x, const float *cos, const float *sin, size_t heads, size_t head_dim);
    /* y = silu(gate) * up; y may be gate or up. */
    void (*silu_mul)(float *y, const float *gate, const float *up, size_t n);
    void (*add)(float *y, const float *a, const float *b, size_t n); /* y may be a or b */
    void (*mul)(float *y, const float *a, const float *b, size_t n);
    /* y = softmax(x) over n values, exact for -inf entries (at least one finite). y may be x. */
    void (*softmax)(float *y, const float *x, size_t n);
    /* One row by XNNPACK's qd8 rule (kernels/qd8.h): q int8 [n]. */
    void (*quantize_qd8)(int8_t *q, dlx_qd8_row *row, const float *x, size_t n);
    /* y = q * scale */
    void (*dequantize_i8)(float *y, const int8_t *q, float scale, size_t n);
    /* IEEE half to float, exact; NaN becomes quiet and keeps its payload. */
    void (*f16_to_f32)(float *y, const uint16_t *x, size_t n);
    /* Float to IEEE half, rounded to nearest even, denormals included. True when every y is finite, that is when every
     * |x| is below 65520; otherwise infinities and NaN have taken the place of what a half cannot hold. */
    bool (*f32_to_f16)(uint16_t *y, const float *x, size_t n);
    /* The record of n numbers (kernels/kv8.h). False when none stands for them: NaN, infinities, 2^127 and beyond. */
    bool (*quantize_kv8)(uint8_t *record, const float *x, size_t n);
    /* The part of a row's summary that its logits x [n] of columns first .. first+n-1 make (dlx_row_part_of): the same
     * bits in every instruction set, the reference included. */
    void (*summarise)(dlx_row_part *part, const float *x, int32_t first, int32_t n, dlx_row_rules rules);
    /* What solvers search with (kernels/grid.h), the same bits in every instruction set. Adds what n weights cost, the
     * first of which belongs to part 0, and sums the parts; `importance` [n] or NULL: all 1. */
    void (*grid_errors)(dlx_grid_tries *t, const float *w, const float *importance, size_t n);
    /* y = code * scale; y may be w. */
    void (*grid_round)(float *y, const float *w, size_t n, float scale, float low, float high);

    dlx_quantizer qd8; /* rows as quantize_qd8 makes them */
    /* Rows of one scale and zero point (kernels/qd8.h), into a block of qd8.size bytes, else like qd8.quantize. */
    void (*quantize_qs8)(void *quantized, const float *x, size_t x_stride, size_t total_rows, size_t n_in,
                         size_t row_begin, size_t row_end, float scale, int32_t zero_point);

    /* Float rows. Each output is one chain of fused multiply-adds in the order of the inputs, from the reference's sum
     * in double apart: the same bits in every instruction set. */
    dlx_gemm gemm_f32;       /* float weights */
    dlx_gemm gemm_f32_f16w;  /* IEEE half weights, widened exactly */
    dlx_gemm gemm_f32_bf16w; /* bfloat16 weights, widened exactly */
    dlx_gemm gemm_f32_qc8w;  /* int8 weights: (sum_k x[m][k] * q[n][k]) * scale[n] + bias[n] */
    /* Quantised rows: the same bits in every instruction set, the reference included, for n_in <= 65536 (beyond, sums
     * could leave an int32). */
    /* qd8 rows, int8 weights with a scale per output column: y[m][n] = (sum_k (qx[m][k] - zero_point[m]) * qw[n][k]) *
     * row_scale[m] * scale[n] + bias[n], the sum exact in int32 (spec: XNNPACK qd8-f32-qc8w). */
    dlx_gemm gemm_qd8_qc8w;
    dlx_gemm gemm_qd8_qc4w; /* the same with int4 weights */
    /* qd8 rows, int4 weights with a scale per output column and group of inputs (spec: XNNPACK qd8-f32-qb4w); the order
     * of the float steps is dlx_qb4_start, dlx_qb4_add, dlx_qb4_output of kernels/qd8.h. */
    dlx_gemm gemm_qd8_qb4w;
    /* qs8 rows, int8 weights with a scale per output column, outputs on the grid of out_scale and out_zero (spec:
     * XNNPACK qs8-qc8w with fp32 requantisation): y[m][n] = (q - out_zero) * out_scale for the int8 q that XNNPACK
     * computes. */
    dlx_gemm gemm_qs8_qc8w;

    /* Attention of q rows [row_begin, row_end) for the query heads of kv head `kv_head`. `scratch` has
     * attention_scratch(args) bytes, private to the calling thread, 64-byte aligned. Threads divide (kv head, range of
     * rows) pairs as they like; a range of fewer than attention_queries query vectors (rows times query heads of a kv
     * head) takes longer than its share. */
    size_t attention_queries;
    size_t (*attention_scratch)(size_t max_rows, size_t max_keys, size_t heads, size_t kv_heads, size_t head_dim);
    void (*attention)(const dlx_attention_args *args, size_t kv_head, size_t row_begin, size_t row_end, void *scratch);
} dlx_kernels;

/* Fills `out` for this CPU, no set above `limit` in its own architecture. Where the best of these is one that has to be
 * asked for (AMX), it is (dlx_cpu_take_tiles of base/cpu.h), and tried; likewise by the next two. */
void dlx_kernels_init(dlx_kernels *out, dlx_isa limit);
/* Best set this CPU has. */
dlx_isa dlx_cpu_best_isa(void);
/* Whether this CPU and build have a set, and it would be taken. */
bool dlx_isa_available(dlx_isa isa);
/* The set that one of this build builds on: what that needs it needs too. The reference's is itself. */
dlx_isa dlx_isa_base(dlx_isa isa);
/* "ref", "avx2", ... or "auto"; DLX_E_INVALID lists the words this build knows. */
dlx_status dlx_isa_from_name(dlx_isa *out, const char *name, dlx_error *err);
/* All sets compiled into this build, ascending, DLX_ISA_REF first; returns how many (at most 8). */
size_t dlx_isa_list(dlx_isa out[8]);
const char *dlx_isa_name(dlx_isa isa);
/* The i-th extension beyond the architecture's baseline that sets of this build need: its name (static), the first set
 * that needs it, and whether this CPU has it. False when i is past the end. */
bool dlx_isa_feature(size_t i, const char **name, dlx_isa *isa, bool *present);

#endif
