/* Bytes of tensors of open files, for tests that look at them. cmocka comes first. */
#ifndef DLX_TESTS_TENSORS_IN_MEMORY_H
#define DLX_TESTS_TENSORS_IN_MEMORY_H

#include "format/safetensors.h"

/* The data of all tensors of an open file, into the arena. */
static inline void take_tensors(dlx_safetensors *st, dlx_arena *arena)
{
    for (size_t i = 0; i < st->n_tensors; i++) {
        dlx_st_tensor *t = &st->tensors[i];
        if (t->data) continue;
        uint8_t *data = dlx_arena_alloc(arena, (size_t)t->bytes);
        assert_non_null(data);
        assert_int_equal(dlx_file_read(t->source, t->offset, data, (size_t)t->bytes, NULL), DLX_OK);
        t->data = data;
    }
}

#endif
