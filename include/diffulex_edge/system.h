/*
 * What this build is and what this machine offers it: for reports, and for programs that choose by it. Everything may
 * be called from any thread at any time.
 */
#ifndef DIFFULEX_EDGE_SYSTEM_H
#define DIFFULEX_EDGE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dlx_build_info {
    size_t struct_size;       /* sizeof(dlx_build_info), set by the caller */
    const char *version;      /* of the product: "0.2.0" */
    const char *half;         /* "full", or "runtime-only": without exporting, encoding and JSON */
    const char *architecture; /* "x86-64", "aarch64", "wasm32", "other" */
    const char *compiler;     /* "gcc 12.2.0" */
} dlx_build_info;

/* False, and nothing written, when out->struct_size is not set. What the members point to is static. */
DLX_API bool dlx_get_build_info(dlx_build_info *out);

typedef struct dlx_library_info {
    size_t struct_size;  /* sizeof(dlx_library_info), set by the caller */
    const char *name;    /* "jansson" */
    const char *purpose; /* what it is used for. Both static */
    char version[40];    /* of the library that is loaded, not of the headers: "2.14" */
} dlx_library_info;

typedef struct dlx_kernel_set_info {
    size_t struct_size; /* sizeof(dlx_kernel_set_info), set by the caller */
    int32_t available;  /* 1: this CPU can run it, and a model would: tiles (AMX) are asked for, and tried, to say so */
    int32_t best;       /* 1: what "auto" chooses */
    const char *name;   /* what dlx_model_options.cpu takes: "avx2". Static */
    size_t base;        /* index of the set that it builds on, whose extensions it needs too; its own for the first */
} dlx_kernel_set_info;

typedef struct dlx_cpu_feature_info {
    size_t struct_size; /* sizeof(dlx_cpu_feature_info), set by the caller */
    int32_t present;    /* 1: this CPU has it */
    int32_t set;        /* which kernel set is the first to need it; those that build on that one do as well */
    const char *name;   /* "AVX2". Static */
} dlx_cpu_feature_info;

/* The i-th third-party library of this build (a runtime-only one has none), the i-th kernel set, ascending, and the
 * i-th extension of the instruction set that kernels use. False, and nothing written, when i is past the end or
 * out->struct_size is not set. */
DLX_API bool dlx_get_library_info(size_t i, dlx_library_info *out);
DLX_API bool dlx_get_kernel_set_info(size_t i, dlx_kernel_set_info *out);
DLX_API bool dlx_get_cpu_feature_info(size_t i, dlx_cpu_feature_info *out);

#ifdef __cplusplus
}
#endif
#endif
