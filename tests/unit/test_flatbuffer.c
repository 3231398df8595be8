/* FlatBuffers without a schema: exact bytes, alignment, every accessor, and bytes that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/flatbuffer.h"

/* ---- writing ---- */

static void bytes_are_those_of_the_format(void **state)
{
    (void)state;
    /* Root table with a u16 in slot 1 and a string in slot 2; slot 0 is absent. */
    static const uint8_t expected[] = {
        0x14, 0,    0,    0, 'T', 'E', 'S', 'T',       /* root offset, identifier */
        0x0a, 0,    0x0a, 0, 0,   0,   8,   0,   4, 0, /* vtable at 8: 10 bytes, table of 10 bytes, slots at -, 8, 4 */
        0,    0,                                       /* padding */
        0x0c, 0,    0,    0,                           /* table at 20: the vtable lies 12 bytes before */
        0x08, 0,    0,    0,                           /* slot 2: the string lies 8 bytes behind this */
        0x34, 0x12, 0,    0,                           /* slot 1, padding */
        2,    0,    0,    0, 'h', 'i', 0,              /* the string */
        0,                                             /* padding to 8 */
    };
    dlx_fbw w;
    dlx_fbw_init(&w, "TEST", 0);
    dlx_fbw_table t = {0};
    dlx_fbw_set(&t, 1, 2, 0x1234);
    dlx_fbw_set_ref(&t, 2);
    dlx_fbw_put(&w, dlx_fbw_root(&w), &t);
    dlx_fbw_string(&w, t.ref[2], "hi");
    assert_true(dlx_fbw_finish(&w));
    assert_int_equal(w.size, sizeof expected);
    assert_memory_equal(w.data, expected, sizeof expected);
    dlx_fbw_free(&w);
}

/* A buffer with one of everything. */
static void write_everything(dlx_fbw *w, size_t reserve)
{
    static const int64_t wide[] = {-1, INT64_MAX};
    static const uint16_t narrow[] = {1, 2, 3};
    dlx_fbw_init(w, "TEST", reserve);
    dlx_fbw_table t = {0}, child = {0};
    dlx_fbw_set(&t, 0, 1, 200);
    dlx_fbw_set(&t, 1, 2, (uint16_t)-2);
    dlx_fbw_set(&t, 2, 4, (uint32_t)-3);
    dlx_fbw_set(&t, 3, 8, (uint64_t)-4);
    dlx_fbw_set_f32(&t, 4, 1.5f);
    dlx_fbw_set_f64(&t, 5, -2.25);
    for (int slot = 7; slot < 12; slot++) dlx_fbw_set_ref(&t, slot); /* slot 6 stays absent */
    dlx_fbw_put(w, dlx_fbw_root(w), &t);
    dlx_fbw_string(w, t.ref[7], "odd");
    dlx_fbw_scalars(w, t.ref[8], wide, 2, 8);
    dlx_fbw_scalars(w, t.ref[9], narrow, 3, 2);
    dlx_fbw_ref items = dlx_fbw_vector(w, t.ref[10], 2);
    for (size_t i = 0; i < 2; i++) {
        dlx_fbw_set(&child, 0, 4, 10 + i);
        dlx_fbw_put(w, dlx_fbw_item(items, i), &child);
    }
    dlx_fbw_scalars(w, t.ref[11], NULL, 0, 8);
    assert_true(dlx_fbw_finish(w));
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    for (size_t reserve = 0; reserve < 64; reserve += 4) {
        dlx_fbw w;
        dlx_fb_buffer b;
        dlx_fb t;
        uint32_t n;
        write_everything(&w, reserve);
        assert_int_equal(w.size % 8, 0);
        assert_int_equal(dlx_fb_open(&b, w.data, w.size, "TEST", "test", NULL, &t), DLX_OK);
        assert_int_equal(dlx_fb_u8(t, 0, 7), 200);
        assert_int_equal(dlx_fb_i8(t, 0, 7), -56);
        assert_int_equal(dlx_fb_i16(t, 1, 7), -2);
        assert_int_equal(dlx_fb_u16(t, 1, 7), 65534);
        assert_int_equal(dlx_fb_i32(t, 2, 7), -3);
        assert_int_equal(dlx_fb_u32(t, 2, 7), UINT32_MAX - 2);
        assert_true(dlx_fb_i64(t, 3, 7) == -4);
        assert_true(dlx_fb_u64(t, 3, 7) == UINT64_MAX - 3);
        assert_true(dlx_fb_f32(t, 4, 7) == 1.5f);
        assert_true(dlx_fb_f64(t, 5, 7) == -2.25);
        assert_false(dlx_fb_has(t, 6));
        assert_int_equal(dlx_fb_i32(t, 6, -9), -9);
        assert_int_equal(dlx_fb_i32(t, 5000, -9), -9);
        assert_string_equal(dlx_fb_string(t, 7, &n), "odd");
        assert_int_equal(n, 3);
        assert_string_equal(dlx_fb_string(t, 6, &n), "");
        assert_int_equal(n, 0);
        dlx_fb_vector wide = dlx_fb_vec(t, 8, 8), tables = dlx_fb_vec(t, 10, 4), none = dlx_fb_vec(t, 11, 8);
        assert_int_equal(wide.count, 2);
        assert_int_equal(wide.start % 8, 0);
        assert_true(dlx_fb_vec_i64(wide, 0) == -1 && dlx_fb_vec_i64(wide, 1) == INT64_MAX);
        assert_int_equal(dlx_fb_vec(t, 9, 2).count, 3);
        assert_int_equal(tables.count, 2);
        assert_int_equal(dlx_fb_u32(dlx_fb_vec_table(tables, 0), 0, 0), 10);
        assert_int_equal(dlx_fb_u32(dlx_fb_vec_table(tables, 1), 0, 0), 11);
        assert_int_equal(none.count, 0);
        assert_int_equal(dlx_fb_vec(t, 6, 8).count, 0);
        assert_int_equal(dlx_fb_u32(dlx_fb_table(t, 6), 3, 42), 42); /* an absent table has absent slots */
        assert_int_equal(b.status, DLX_OK);
        dlx_fbw_free(&w);
    }
}

static void scalars_stand_at_multiples_of_their_size(void **state)
{
    (void)state;
    dlx_fbw w;
    dlx_fb_buffer b;
    dlx_fb t;
    write_everything(&w, 2);
    assert_int_equal(dlx_fb_open(&b, w.data, w.size, "TEST", "test", NULL, &t), DLX_OK);
    static const uint8_t size[] = {1, 2, 4, 8, 4, 8, 0, 4, 4, 4, 4, 4};
    for (int slot = 0; slot < 12; slot++) {
        uint16_t offset;
        memcpy(&offset, w.data + t.vtable + 4 + 2 * slot, 2);
        if (size[slot])
            assert_int_equal((t.table + offset) % size[slot], 0);
        else
            assert_int_equal(offset, 0);
    }
    assert_int_equal(t.table % 8, 0);
    assert_int_equal(t.vtable % 2, 0);
    dlx_fbw_free(&w);
}

/* Tables of the same slots, one behind the other: the second begins with the distance to the vtable of the first. Of
 * more shapes than are remembered the last ones are written again. */
static void tables_of_one_shape_share_a_vtable(void **state)
{
    enum { SHAPES = DLX_FBW_VTABLES + 8 };
    dlx_fbw w;
    dlx_fb_buffer b;
    dlx_fb root;
    dlx_fbw_table t = {0};
    (void)state;
    dlx_fbw_init(&w, "TEST", 0);
    dlx_fbw_set_ref(&t, 11);
    dlx_fbw_put(&w, dlx_fbw_root(&w), &t);
    dlx_fbw_ref items = dlx_fbw_vector(&w, t.ref[11], 2 * SHAPES);
    for (unsigned i = 0; i < 2 * SHAPES; i++) {
        dlx_fbw_table item = {0};
        for (int slot = 0; slot < 8; slot++)
            if ((i % SHAPES + 1) >> slot & 1) dlx_fbw_set(&item, slot, 4, 100 * i + (unsigned)slot);
        dlx_fbw_put(&w, dlx_fbw_item(items, i), &item);
    }
    assert_true(dlx_fbw_finish(&w));
    assert_int_equal(dlx_fb_open(&b, w.data, w.size, "TEST", "test", NULL, &root), DLX_OK);
    dlx_fb_vector tables = dlx_fb_vec(root, 11, 4);
    assert_int_equal(tables.count, 2 * SHAPES);
    for (unsigned i = 0; i < 2 * SHAPES; i++) {
        dlx_fb item = dlx_fb_vec_table(tables, i);
        for (int slot = 0; slot < 8; slot++) {
            bool there = (i % SHAPES + 1) >> slot & 1;
            assert_int_equal(dlx_fb_has(item, slot), there);
            assert_int_equal(dlx_fb_u32(item, slot, 7), there ? 100 * i + (unsigned)slot : 7);
        }
        if (i < SHAPES) continue;
        bool shared = item.vtable == dlx_fb_vec_table(tables, i - SHAPES).vtable;
        assert_int_equal(shared, i - SHAPES < DLX_FBW_VTABLES - 1); /* the root has one too */
    }
    assert_int_equal(b.status, DLX_OK);
    dlx_fbw_free(&w);
}

static void a_buffer_that_cannot_grow_stays_harmless(void **state)
{
    (void)state;
    dlx_fbw w;
    dlx_fbw_init(&w, "TEST", 0);
    dlx_fbw_table t = {0};
    dlx_fbw_set_ref(&t, 0);
    dlx_fbw_put(&w, dlx_fbw_root(&w), &t);
    dlx_fbw_scalars(&w, t.ref[0], NULL, SIZE_MAX / 4, 8); /* over 2 GiB: refused before anything is copied */
    assert_true(w.failed);
    dlx_fbw_ref v = dlx_fbw_vector(&w, t.ref[0], 3);
    dlx_fbw_put(&w, dlx_fbw_item(v, 2), &t);
    dlx_fbw_string(&w, t.ref[0], "text");
    assert_false(dlx_fbw_finish(&w));
    dlx_fbw_free(&w);
    dlx_fbw_init(&w, "TEST", (size_t)INT32_MAX);
    assert_false(dlx_fbw_finish(&w));
    dlx_fbw_free(&w);
}

/* ---- hostile bytes ---- */

/* Visits everything that write_everything wrote. */
static dlx_status visit(const uint8_t *data, size_t size)
{
    dlx_fb_buffer b;
    dlx_fb t;
    dlx_error err = {0};
    uint32_t n;
    if (dlx_fb_open(&b, data, size, "TEST", "test", &err, &t) != DLX_OK) return b.status;
    (void)dlx_fb_u64(t, 3, 0);
    (void)dlx_fb_f64(t, 5, 0);
    assert_true(strlen(dlx_fb_string(t, 7, &n)) == n);
    dlx_fb_vector wide = dlx_fb_vec(t, 8, 8), tables = dlx_fb_vec(t, 10, 4);
    for (uint32_t i = 0; i < wide.count; i++) (void)dlx_fb_vec_i64(wide, i);
    for (uint32_t i = 0; i < tables.count; i++) (void)dlx_fb_u32(dlx_fb_vec_table(tables, i), 0, 0);
    if (b.status != DLX_OK) {
        assert_int_equal(err.status, b.status);
        assert_non_null(strstr(err.message, "test: "));
    }
    return b.status;
}

static void truncations_and_flipped_bits_are_survived(void **state)
{
    (void)state;
    dlx_fbw w;
    write_everything(&w, 8);
    assert_int_equal(visit(w.data, w.size), DLX_OK);
    for (size_t n = 0; n < w.size; n++) {
        uint8_t *copy = malloc(n ? n : 1); /* exact, so that a sanitizer sees the first byte too many */
        assert_non_null(copy);
        memcpy(copy, w.data, n);
        (void)visit(copy, n);
        free(copy);
    }
    for (size_t bit = 0; bit < 8 * w.size; bit++) {
        w.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        (void)visit(w.data, w.size);
        w.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    dlx_fbw_free(&w);
}

static void refuse(const uint8_t *data, size_t size, const char *words)
{
    dlx_fb_buffer b;
    dlx_fb t;
    dlx_error err = {0};
    dlx_status s = dlx_fb_open(&b, data, size, "TEST", "test", &err, &t);
    if (s == DLX_OK) {
        (void)dlx_fb_string(t, 0, NULL);
        (void)dlx_fb_u32(t, 1, 0);
        s = b.status;
    }
    assert_int_equal(s, DLX_E_FORMAT);
    if (!strstr(err.message, words)) fail_msg("'%s' lacks '%s'", err.message, words);
    assert_string_equal(dlx_fb_string(t, 0, NULL), ""); /* after an error: defaults */
    assert_int_equal(dlx_fb_u32(t, 1, 5), 5);
}

static void lies_are_named(void **state)
{
    (void)state;
    /* vtable at 8 (slots at 4 and 8), table at 16, string at 28 */
    static const uint8_t good[] = {16, 0, 0, 0, 'T', 'E', 'S', 'T', 8, 0, 12, 0, 4, 0, 8,   0,   8, 0,
                                   0,  0, 8, 0, 0,   0,   9,   9,   9, 9, 2,  0, 0, 0, 'h', 'i', 0, 0};
    static const struct {
        uint8_t at, byte;
        const char *words;
    } lies[] = {
        {0, 0, "offset at byte 0"},
        {0, 200, "offset at byte 0"},
        {4, 'X', "identifier is 0x54534558"},
        {8, 3, "vtable"},
        {8, 200, "vtable"},
        {10, 3, "table at byte 16"},
        {10, 100, "table at byte 16"},
        {12, 3, "field"},
        {14, 10, "field"},
        {16, 200, "vtable"},
        {20, 0, "offset at byte 20"},
        {20, 100, "offset at byte 20"},
        {28, 50, "vector at byte 28"},
        {28, 1, "only NUL"},
        {28, 3, "only NUL"},
        {28, 4, "only NUL"},
        {32, 0, "only NUL"},
    };
    assert_int_equal(visit(good, sizeof good), DLX_OK);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t *copy = malloc(sizeof good);
        assert_non_null(copy);
        memcpy(copy, good, sizeof good);
        copy[lies[i].at] = lies[i].byte;
        refuse(copy, sizeof good, lies[i].words);
        free(copy);
    }
    refuse(good, 7, "7 bytes");
}

/* Many references to one child: what a reader would unfold is bounded by the size of the buffer. */
static void shared_children_do_not_multiply(void **state)
{
    (void)state;
    enum { LENGTH = 40000, REFERENCES = 5000 };
    dlx_fbw w;
    dlx_fbw_table root = {0};
    uint8_t *zeros = calloc(LENGTH, 8);
    assert_non_null(zeros);
    dlx_fbw_init(&w, "TEST", 0);
    dlx_fbw_set_ref(&root, 0);
    dlx_fbw_put(&w, dlx_fbw_root(&w), &root);
    dlx_fbw_scalars(&w, root.ref[0], zeros, LENGTH, 8);
    assert_true(dlx_fbw_finish(&w));
    free(zeros);
    dlx_fb_buffer b;
    dlx_fb t;
    dlx_error err = {0};
    assert_int_equal(dlx_fb_open(&b, w.data, w.size, "TEST", "test", &err, &t), DLX_OK);
    uint64_t elements = 0;
    for (int i = 0; i < REFERENCES; i++) elements += dlx_fb_vec(t, 0, 8).count;
    assert_true(elements >= 8 * (uint64_t)LENGTH && elements <= 17 * (uint64_t)LENGTH);
    assert_int_equal(b.status, DLX_E_FORMAT);
    assert_non_null(strstr(err.message, "unfolds"));
    assert_false(dlx_fb_charge(&b, 1));
    dlx_fbw_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_those_of_the_format),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(scalars_stand_at_multiples_of_their_size),
        cmocka_unit_test(tables_of_one_shape_share_a_vtable),
        cmocka_unit_test(a_buffer_that_cannot_grow_stays_harmless),
        cmocka_unit_test(truncations_and_flipped_bits_are_survived),
        cmocka_unit_test(lies_are_named),
        cmocka_unit_test(shared_children_do_not_multiply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
