/* Recorded calls of the programs in tests/data/foreign: NAME.io, written by tools/make_foreign_programs.py. */
#ifndef DLX_TESTS_FOREIGN_IO_H
#define DLX_TESTS_FOREIGN_IO_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { IO_MAX_RANK = 8 };

typedef struct io_tensor {
    int64_t scalar_type, rank, size[IO_MAX_RANK];
    size_t elements, element_size;
    const void *data; /* in the file's bytes */
} io_tensor;

typedef struct io_file {
    uint8_t *bytes;
    size_t size, at;
    int64_t calls;
} io_file;

static inline int64_t io_number(io_file *f)
{
    int64_t n;
    assert_true(f->size - f->at >= sizeof n);
    memcpy(&n, f->bytes + f->at, sizeof n);
    f->at += sizeof n;
    return n;
}

static inline void io_open(io_file *f, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("cannot open %s", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    f->size = (size_t)ftell(file);
    rewind(file);
    f->bytes = malloc(f->size);
    assert_non_null(f->bytes);
    assert_int_equal(fread(f->bytes, 1, f->size, file), f->size);
    fclose(file);
    f->at = 8;
    assert_memory_equal(f->bytes, "DLXIO1\0\0", 8);
    f->calls = io_number(f);
}

static inline io_tensor io_next(io_file *f)
{
    static const size_t sizes[16] = {1, 1, 2, 4, 8, 2, 4, 8, 0, 0, 0, 1, 0, 0, 0, 2};
    io_tensor t = {.elements = 1};
    t.scalar_type = io_number(f);
    t.rank = io_number(f);
    assert_true(t.rank >= 0 && t.rank <= IO_MAX_RANK && t.scalar_type >= 0 && t.scalar_type < 16);
    for (int64_t i = 0; i < t.rank; i++) t.elements *= (size_t)(t.size[i] = io_number(f));
    t.element_size = sizes[t.scalar_type];
    t.data = f->bytes + f->at;
    f->at += (t.elements * t.element_size + 7) / 8 * 8;
    assert_true(f->at <= f->size);
    return t;
}

static inline void io_close(io_file *f)
{
    free(f->bytes);
}

#endif
