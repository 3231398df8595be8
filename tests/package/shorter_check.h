/* Structures of both lengths handed to a library that is asked to read or to fill them: what it may believe, and what
 * it may write. Included by test_shorter_structures.c, which is compiled with the shorter ones. */
#ifndef DLX_TEST_SHORTER_CHECK_H
#define DLX_TEST_SHORTER_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <diffulex_edge/diffulex_edge.h>

#include "structures.h"

enum { GUARD = 64, GARBAGE = 0xA5 };

#define REAL(type, last) extern const size_t real_size_##type;
SHORTER_STRUCTURES(REAL)

/* Uses a structure in the one way that its case is about. */
typedef dlx_status (*use)(void *structure, dlx_error *err);

typedef struct subject {
    const char *name;
    size_t shorter, real; /* bytes: this program's, the library's */
    use call;
} subject;

#define SUBJECT(type, call) ((subject){#type, sizeof(type), real_size_##type, call})

/* Room for more than the library knows, all garbage; struct_size set. */
static inline unsigned char *room(const subject *s, size_t struct_size)
{
    unsigned char *p = malloc(s->real + GUARD);
    assert_non_null(p);
    memset(p, GARBAGE, s->real + GUARD);
    memcpy(p, &struct_size, sizeof struct_size);
    return p;
}

static inline void assert_garbage(const unsigned char *p, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) assert_int_equal(p[i], GARBAGE);
}

static inline void expect(const subject *s, unsigned char *p, dlx_status status, const char *text)
{
    dlx_error err = {0};
    if (s->call(p, &err) != status || (status && (!strstr(err.message, s->name) || !strstr(err.message, text))))
        fail_msg("%s: status %d, '%s'; expected %d and '%s'", s->name, err.status, err.message, status, text);
}

/* Sizes that no structure has: somebody forgot to set it. Nothing may be written, and nothing be believed. */
static inline void check_sizes_never_set(const subject *s)
{
    const size_t sizes[] = {0, 1, sizeof(size_t) - 1, s->real + 1, (size_t)GARBAGE << 24, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *p = room(s, sizes[i]);
        expect(s, p, DLX_E_INVALID, "struct_size is");
        assert_garbage(p, sizeof(size_t), s->real + GUARD);
        free(p);
    }
}

/* The library reads it. `filled` is as long as this program knows it. */
static inline void check_taken(subject s, const void *filled)
{
    assert_true(s.shorter < s.real);
    unsigned char *p = room(&s, 0);
    memcpy(p, filled, s.shorter); /* garbage behind it is not the caller's */
    expect(&s, p, DLX_OK, "");
    free(p);

    size_t longer = s.real + GUARD / 2;
    p = calloc(1, s.real + GUARD);
    assert_non_null(p);
    memcpy(p, filled, s.shorter);
    memcpy(p, &longer, sizeof longer);
    expect(&s, p, DLX_OK, "");
    p[longer] = 1; /* no longer the structure */
    expect(&s, p, DLX_OK, "");
    p[longer - 1] = 1;
    expect(&s, p, DLX_E_UNSUPPORTED, "is set, but this library knows the first");
    free(p);
    check_sizes_never_set(&s);
}

/* The library fills it; the first `same` bytes do not change from call to call. */
static inline void check_filled(subject s, size_t same)
{
    size_t longer = s.real + GUARD / 2, kept;
    unsigned char *p = room(&s, s.shorter), *q = room(&s, longer);
    assert_true(s.shorter < s.real);
    expect(&s, p, DLX_OK, "");
    assert_garbage(p, s.shorter, s.real + GUARD);
    memcpy(&kept, p, sizeof kept);
    assert_int_equal(kept, s.shorter);
    expect(&s, q, DLX_OK, "");
    assert_garbage(q, s.real, s.real + GUARD);
    memcpy(&kept, q, sizeof kept);
    assert_int_equal(kept, longer);
    assert_memory_equal(p + sizeof kept, q + sizeof kept, same - sizeof kept);
    size_t written = 0;
    for (size_t i = s.shorter; i < s.real; i++) written += q[i] != GARBAGE;
    assert_true(written > 0);
    free(p);
    free(q);
    check_sizes_never_set(&s);
}

#endif
