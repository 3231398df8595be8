/*
 * What this CPU could do at most, measured: reading memory, and the arithmetic that products of matrices are made of.
 *
 * A loop of arithmetic touches registers only and has as many independent sums as the latency of its instruction asks
 * for; it is written in assembly, so no compiler leaves any of it out. Integers wrap and floats stay finite, whatever
 * the number of rounds: no round is faster or slower than another.
 */
#ifndef DLX_KERNELS_PROBE_H
#define DLX_KERNELS_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/threads.h"
#include "kernels/kernels.h"

typedef enum dlx_probe_kind {
    DLX_PROBE_READ,    /* bytes a second from memory */
    DLX_PROBE_INT8,    /* operations a second; a product and its addition are two */
    DLX_PROBE_INT4,    /* the same where one side has 4 bits, so that 16-bit sums of several products are exact */
    DLX_PROBE_BF16,    /* pairs of bfloat16 into float32 */
    DLX_PROBE_FLOAT32, /* fused multiply-adds */
    DLX_PROBE_KINDS
} dlx_probe_kind;

typedef struct dlx_probe {
    const char *name; /* "vpdpbusd, 512 bits" */
    dlx_probe_kind kind;
    bool (*present)(void); /* this CPU has the instructions */
    dlx_isa isa;           /* the set whose products are made of it; DLX_ISA_REF: no set's */
    bool tiles;            /* it works on tiles, whose state the system gives the process when it is asked */
    double work;           /* operations of a round; 0 for reading */
    void (*run)(size_t rounds);
} dlx_probe;

/* The i-th probe, or NULL behind the last. The first ones are those of DLX_PROBE_READ. */
const dlx_probe *dlx_probe_at(size_t i);
/* "read", "int8", ... */
const char *dlx_probe_kind_name(dlx_probe_kind kind);

/*
 * Units a second with all threads of `pool` (NULL: with the caller alone): the fastest of several measurements, which
 * take some tens of milliseconds together. Reading takes 256 MiB while it runs. DLX_E_UNSUPPORTED where the CPU lacks
 * the instructions.
 */
dlx_status dlx_probe_measure(const dlx_probe *p, dlx_pool *pool, double *per_second, dlx_error *err);

/* probe_loops.c: the loops of arithmetic for this architecture; NULL behind the last. */
const dlx_probe *dlx_probe_loop(size_t i);

#endif
