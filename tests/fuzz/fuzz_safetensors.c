/*
 * Arbitrary bytes as a safetensors file: every tensor that the reader accepts is read from end to end, and its shape
 * must give its size. What was accepted is written again and must be accepted again.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/safetensors.h"
#include "fuzz.h"

static void check(const dlx_safetensors *st, const uint8_t *file, size_t size)
{
    uint64_t covered = 0;
    for (size_t i = 0; i < st->n_tensors; i++) {
        const dlx_st_tensor *t = &st->tensors[i];
        uint64_t bytes = dlx_dtype_size(t->dtype);
        if (t->rank > DLX_ST_MAX_RANK || t->data < file || t->bytes > size || t->data + t->bytes > file + size) abort();
        for (int d = 0; d < t->rank; d++) bytes *= (uint64_t)t->dim[d];
        if (bytes != t->bytes || !dlx_st_dtype_name(t->dtype) || strlen(t->name) > size) abort();
        for (uint64_t k = 0; k < t->bytes; k++) (void)*(const volatile uint8_t *)&t->data[k];
        covered += t->bytes;
    }
    if (covered > size) abort(); /* no byte belongs to two */
}

/* What the reader took, the writer can make: names are valid UTF-8, or the parser had refused them. */
static void write_again(const dlx_safetensors *st, dlx_arena *arena)
{
    char path[64];
    dlx_safetensors again;
    dlx_error err;
    snprintf(path, sizeof path, "/tmp/fuzz_safetensors_%ld", (long)getpid());
    if (dlx_safetensors_write(path, st->tensors, st->n_tensors, &err) != DLX_OK) abort();
    if (dlx_safetensors_open(&again, arena, path, &err) != DLX_OK) abort();
    if (again.n_tensors != st->n_tensors) abort();
    dlx_safetensors_close(&again);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dlx_arena arena;
    dlx_safetensors st;
    dlx_error err;
    uint8_t *file = malloc(size ? size : 1); /* no byte longer than the input */
    if (!file) return 0;
    if (size) memcpy(file, data, size);
    dlx_arena_init(&arena);
    if (dlx_safetensors_read(&st, &arena, file, size, "fuzz", &err) == DLX_OK) {
        check(&st, file, size);
        write_again(&st, &arena);
    } else if (st.n_tensors || st.tensors || !err.message[0]) {
        abort();
    }
    dlx_arena_free(&arena);
    free(file);
    return 0;
}
