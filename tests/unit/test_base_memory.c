/*
 * Memory: the arena, arrays that grow, the caller's allocator, checked sizes, structures of other versions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/memory.h"
#include "base/sizes.h"
#include "base/structs.h"

/* ---- arena ------------------------------------------------------------------------------------------------------- */

enum { BLOCK = 64 * 1024 }; /* what an arena asks for at a time */

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

static void an_arena_gives_zeroed_aligned_pieces_that_do_not_overlap(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,  1, 15,    16,        17,        100, BLOCK - 256, 224,
                                   16, 1, BLOCK, BLOCK + 1, 5 * BLOCK, 3,   0,           8};
    uint8_t *pieces[DLX_COUNT(sizes)];
    dlx_arena a;
    dlx_arena_init(&a);
    for (size_t i = 0; i < DLX_COUNT(sizes); i++) {
        pieces[i] = dlx_arena_alloc(&a, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        assert_true(all_zero(pieces[i], sizes[i]));
        memset(pieces[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < DLX_COUNT(sizes); i++)
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(pieces[i][k], i + 1);
    dlx_arena_free(&a);
    assert_null(a.blocks);
    assert_non_null(dlx_arena_alloc(&a, 1)); /* as good as new */
    dlx_arena_free(&a);
}

static void an_arena_refuses_what_no_machine_has(void **state)
{
    (void)state;
    dlx_arena a;
    dlx_arena_init(&a);
    assert_null(dlx_arena_alloc(&a, SIZE_MAX));
    assert_null(dlx_arena_alloc(&a, SIZE_MAX / 2 + 1));
    assert_null(dlx_arena_array(&a, SIZE_MAX / 4, 8));
    assert_null(dlx_arena_array(&a, (size_t)1 << 33, (size_t)1 << 31)); /* the product wraps to 0 */
    assert_null(dlx_arena_strndup(&a, "", SIZE_MAX));
    assert_null(a.blocks);
    assert_non_null(dlx_arena_array(&a, SIZE_MAX, 0));
    uint32_t *numbers = dlx_arena_array(&a, 3, sizeof *numbers);
    assert_true(all_zero((uint8_t *)numbers, 3 * sizeof *numbers));
    char *copy = dlx_arena_strndup(&a, "word and more", 4);
    assert_string_equal(copy, "word");
    assert_string_equal(dlx_arena_strndup(&a, NULL, 0), "");
    dlx_arena_free(&a);
}

static size_t blocks_of(const dlx_arena *a)
{
    struct block {
        struct block *next;
    };
    size_t n = 0;
    for (const struct block *b = (const struct block *)a->blocks; b; b = b->next) n++;
    return n;
}

static void an_arena_adopts_another(void **state)
{
    (void)state;
    for (size_t own = 0; own < 3; own++)
        for (size_t other = 0; other < 3; other++) {
            dlx_arena to, from;
            dlx_arena_init(&to);
            dlx_arena_init(&from);
            for (size_t i = 0; i < own; i++) memset(dlx_arena_alloc(&to, BLOCK - 64), 1, BLOCK - 64);
            uint8_t *kept = NULL;
            for (size_t i = 0; i < other; i++) memset(kept = dlx_arena_alloc(&from, BLOCK), 2, BLOCK);
            dlx_arena_adopt(&to, &from);
            assert_null(from.blocks);
            assert_int_equal(blocks_of(&to), own + other);
            /* What is left of the arena's own block is used before a new one is taken. */
            uint8_t *next = dlx_arena_alloc(&to, 64);
            assert_int_equal(blocks_of(&to), own + other + (own == 0));
            memset(next, 3, 64);
            for (size_t k = 0; kept && k < BLOCK; k++) assert_int_equal(kept[k], 2);
            dlx_arena_free(&from);
            dlx_arena_free(&to);
        }
}

static void arrays_grow_by_half_and_keep_their_items(void **state)
{
    (void)state;
    uint32_t *items = NULL;
    size_t capacity = 0, grown = 0;
    for (size_t n = 1; n <= 1000; n++) {
        size_t before = capacity;
        assert_int_equal(dlx_grow(&items, &capacity, n, sizeof *items), 0);
        assert_true(capacity >= n);
        if (capacity != before) {
            grown++;
            assert_true(capacity == 16 || capacity == before + before / 2);
        }
        items[n - 1] = (uint32_t)(n * n);
    }
    assert_int_equal(grown, 12);
    for (size_t n = 1; n <= 1000; n++) assert_int_equal(items[n - 1], n * n);
    assert_int_equal(dlx_grow(&items, &capacity, 5000, sizeof *items), 0); /* more than half as much again: just that */
    assert_int_equal(capacity, 5000);
    uint32_t *same = items;
    assert_int_equal(dlx_grow(&items, &capacity, 5000, sizeof *items), 0);
    assert_ptr_equal(items, same);
    assert_int_equal(dlx_grow(&items, &capacity, SIZE_MAX / 4, sizeof *items), -1);
    assert_int_equal(capacity, 5000);
    assert_ptr_equal(items, same);
    free(items);
}

static void sizes_are_checked(void **state)
{
    (void)state;
    uint64_t out;
    assert_true(dlx_add_u64(UINT64_MAX - 1, 1, &out));
    assert_true(out == UINT64_MAX);
    assert_false(dlx_add_u64(UINT64_MAX, 1, &out));
    assert_true(dlx_mul_u64(UINT64_MAX / 3, 3, &out));
    assert_true(out == UINT64_MAX);
    assert_false(dlx_mul_u64((uint64_t)1 << 32, (uint64_t)1 << 32, &out));
    assert_true(dlx_range_ok(0, 0, 0));
    assert_true(dlx_range_ok(3, 7, 10));
    assert_false(dlx_range_ok(3, 8, 10));
    assert_true(dlx_range_ok(10, 0, 10));
    assert_false(dlx_range_ok(11, 0, 10));
    assert_false(dlx_range_ok(UINT64_MAX, 2, 10));
    assert_false(dlx_range_ok(2, UINT64_MAX, 10));
    for (uint64_t n = 0; n < 200; n++) {
        uint64_t up = dlx_align_up(n, 64);
        assert_true(up % 64 == 0 && up >= n && up - n < 64);
    }
}

/* An allocator that counts, and checks that memory comes back with the size it was asked for. */
typedef struct counting {
    size_t calls, live;
} counting;

static void *count_alloc(void *ctx, size_t size, size_t alignment)
{
    counting *c = ctx;
    assert_true(size > 0 && size % alignment == 0);
    assert_int_equal(alignment, DLX_ALIGN);
    c->calls++;
    c->live += size;
    return aligned_alloc(alignment, size);
}

static void count_free(void *ctx, void *p, size_t size, size_t alignment)
{
    counting *c = ctx;
    assert_non_null(p);
    assert_int_equal(alignment, DLX_ALIGN);
    assert_true(size <= c->live);
    c->live -= size;
    free(p);
}

static void memory_comes_from_the_caller_or_the_library(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 1000};
    counting counts = {0};
    const dlx_allocator own = {.alloc = count_alloc, .free = count_free, .ctx = &counts};
    const dlx_allocator empty = {.alloc = NULL}, *const all[] = {&own, &empty, NULL};
    for (size_t a = 0; a < DLX_COUNT(all); a++)
        for (size_t i = 0; i < DLX_COUNT(sizes); i++) {
            uint8_t *p = dlx_mem_array(all[a], sizes[i], 3), *z = dlx_mem_zeroed(all[a], 3, sizes[i]);
            assert_true(p && z);
            assert_int_equal((uintptr_t)p % DLX_ALIGN, 0);
            assert_int_equal((uintptr_t)z % DLX_ALIGN, 0);
            assert_true(all_zero(z, 3 * sizes[i]));
            memset(p, 1, 3 * sizes[i]);
            if (a == 0) assert_true(counts.live >= 6 * sizes[i]);
            dlx_mem_free(all[a], p, sizes[i], 3);
            dlx_mem_free(all[a], z, 3, sizes[i]);
            assert_int_equal(counts.live, 0);
        }
    assert_int_equal(counts.calls, 2 * DLX_COUNT(sizes));
    for (size_t a = 0; a < DLX_COUNT(all); a++) {
        assert_null(dlx_mem_array(all[a], SIZE_MAX / 4, 8));
        assert_null(dlx_mem_zeroed(all[a], (size_t)1 << 33, (size_t)1 << 31));
        assert_null(dlx_mem_array(all[a], 1, SIZE_MAX));
        dlx_mem_free(all[a], NULL, 1, 1);
    }
    assert_int_equal(counts.calls, 2 * DLX_COUNT(sizes));
}

/* ---- structures that grow ---------------------------------------------------------------------------------------- */

typedef struct small {
    size_t struct_size;
    uint64_t a;
} small;

typedef struct known {
    size_t struct_size;
    uint64_t a, b;
} known;

typedef struct large {
    size_t struct_size;
    uint64_t a, b, c;
} large;

static void structures_of_other_versions_come_in(void **state)
{
    (void)state;
    const known defaults = {sizeof defaults, 1, 2};
    known out = defaults;
    dlx_error err = {0};
    assert_int_equal(dlx_struct_in(&out, sizeof out, NULL, "known", &err), DLX_OK);
    assert_memory_equal(&out, &defaults, sizeof out);
    assert_int_equal(dlx_struct_in(&out, sizeof out, &(small){sizeof(small), 7}, "known", &err), DLX_OK);
    assert_true(out.struct_size == sizeof out && out.a == 7 && out.b == 2);
    assert_int_equal(dlx_struct_in(&out, sizeof out, &(known){sizeof(known), 8, 9}, "known", &err), DLX_OK);
    assert_true(out.struct_size == sizeof out && out.a == 8 && out.b == 9);
    assert_int_equal(dlx_struct_in(&out, sizeof out, &(large){sizeof(large), 3, 4, 0}, "known", &err), DLX_OK);
    assert_true(out.struct_size == sizeof out && out.a == 3 && out.b == 4);
    /* What is refused changes nothing. */
    assert_int_equal(dlx_struct_in(&out, sizeof out, &(large){sizeof(large), 5, 6, 1}, "known", &err),
                     DLX_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "known: byte 24 is set, but this library knows the first 24 only"));
    static const size_t wrong[] = {0, 1, 4, 7, 9, 15, 20, (1 << 16) + 8, SIZE_MAX};
    for (size_t i = 0; i < DLX_COUNT(wrong); i++) {
        assert_int_equal(dlx_struct_in(&out, sizeof out, &(known){wrong[i], 5, 6}, "known", &err), DLX_E_INVALID);
        assert_non_null(strstr(err.message, "set it to sizeof(known)"));
    }
    assert_true(out.struct_size == sizeof out && out.a == 3 && out.b == 4);
    uint8_t *most = calloc(1, 1 << 16);
    memcpy(most, &(size_t){1 << 16}, sizeof(size_t));
    assert_int_equal(dlx_struct_in(&out, sizeof out, most, "known", &err), DLX_OK);
    assert_true(out.a == 0);
    free(most);
}

static void arrays_of_other_versions_come_in(void **state)
{
    (void)state;
    known out[3] = {{sizeof(known), 1, 2}, {sizeof(known), 3, 4}, {sizeof(known), 5, 6}};
    small in[3] = {{sizeof(small), 10}, {sizeof(small), 20}, {sizeof(small), 30}};
    dlx_error err = {0};
    assert_int_equal(dlx_struct_array_in(out, sizeof *out, NULL, 0, "known", &err), DLX_OK);
    assert_int_equal(dlx_struct_array_in(out, sizeof *out, in, 2, "known", &err), DLX_OK);
    assert_true(out[0].a == 10 && out[0].b == 2 && out[1].a == 20 && out[1].b == 4 && out[2].a == 5);
    assert_int_equal(dlx_struct_array_in(out, sizeof *out, in, 3, "known", &err), DLX_OK);
    assert_true(out[2].a == 30 && out[2].b == 6 && out[2].struct_size == sizeof *out);
    large more[2] = {{sizeof(large), 1, 2, 0}, {sizeof(large), 3, 4, 5}};
    assert_int_equal(dlx_struct_array_in(out, sizeof *out, more, 2, "known", &err), DLX_E_UNSUPPORTED);
    more[1].c = 0;
    assert_int_equal(dlx_struct_array_in(out, sizeof *out, more, 2, "known", &err), DLX_OK);
    assert_true(out[1].a == 3 && out[1].b == 4);
    more[1].struct_size = sizeof(known);
    assert_int_equal(dlx_struct_array_in(out, sizeof *out, more, 2, "known", &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "struct_size of element 1 is 24, that of the first is 32"));
    more[0].struct_size = 3;
    assert_int_equal(dlx_struct_array_in(out, sizeof *out, more, 1, "known", &err), DLX_E_INVALID);
}

static void structures_of_other_versions_go_out(void **state)
{
    (void)state;
    const known value = {sizeof value, 1, 2};
    dlx_error err = {0};
    small s[2] = {{sizeof(small), 9}, {77, 88}};
    assert_int_equal(dlx_struct_out(&s[0], &value, sizeof value, "known", &err), DLX_OK);
    assert_true(s[0].struct_size == sizeof(small) && s[0].a == 1 && s[1].struct_size == 77 && s[1].a == 88);
    known k = {sizeof k, 9, 9};
    assert_int_equal(dlx_struct_out(&k, &value, sizeof value, "known", &err), DLX_OK);
    assert_true(k.a == 1 && k.b == 2);
    large l = {sizeof l, 9, 9, 9};
    assert_int_equal(dlx_struct_out(&l, &value, sizeof value, "known", &err), DLX_OK);
    assert_true(l.struct_size == sizeof l && l.a == 1 && l.b == 2 && l.c == 9);
    l.struct_size = 12;
    assert_int_equal(dlx_struct_out(&l, &value, sizeof value, "known", &err), DLX_E_INVALID);
    assert_true(l.struct_size == 12 && l.c == 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arena_gives_zeroed_aligned_pieces_that_do_not_overlap),
        cmocka_unit_test(an_arena_refuses_what_no_machine_has),
        cmocka_unit_test(an_arena_adopts_another),
        cmocka_unit_test(arrays_grow_by_half_and_keep_their_items),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(memory_comes_from_the_caller_or_the_library),
        cmocka_unit_test(structures_of_other_versions_come_in),
        cmocka_unit_test(arrays_of_other_versions_come_in),
        cmocka_unit_test(structures_of_other_versions_go_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
