/* Named tensors of safetensors files, for commands that take tensors. */
#ifndef DLX_CLI_FULL_TENSORS_H
#define DLX_CLI_FULL_TENSORS_H

#include "diffulex_edge/method.h"

typedef struct dlx_cli_tensor {
    char *name;
    dlx_tensor t; /* data is this structure's own */
    size_t bytes;
} dlx_cli_tensor;

typedef struct dlx_cli_tensors {
    dlx_cli_tensor *list;
    size_t n;
} dlx_cli_tensors;

/* Reads and checks the whole file; "-" is the standard input. Free with dlx_cli_tensors_free in any case. */
dlx_status dlx_cli_tensors_read(dlx_cli_tensors *out, const char *path, dlx_error *err);
void dlx_cli_tensors_free(dlx_cli_tensors *t);
/* NULL: there is none of that name. */
const dlx_cli_tensor *dlx_cli_tensors_find(const dlx_cli_tensors *t, const char *name);

#endif
