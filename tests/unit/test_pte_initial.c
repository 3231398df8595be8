/* What mutable tensors hold at first: a program whose exporter put a buffer's values into a segment for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/flatbuffer.h"
#include "format/pte_schema.h"
#include "pte_sample.h"
#include "whole_file.h"

/* A buffer that is not zero at first: [3] floats in a segment for such values. */
static void initial_values_are_read(void **state)
{
    (void)state;
    static const float want[3] = {1, -2, 3};
    whole_file map;
    dlx_pte pte;
    dlx_arena arena;
    dlx_error err = {0};
    dlx_arena_init(&arena);
    assert_int_equal(read_whole_file(&map, DLX_TEST_DATA "/foreign/initialised_state.pte", &err), DLX_OK);
    size_t size = (size_t)map.size;
    uint8_t *file = malloc(size);
    assert_non_null(file);
    memcpy(file, map.data, size);
    free_whole_file(&map);
    if (dlx_pte_read(&pte, &arena, file, size, "initial", &err) != DLX_OK) fail_msg("%s", err.message);
    const dlx_pte_plan *plan = dlx_pte_find_plan(&pte, "forward");
    int found = 0;
    for (uint32_t e = 0; e < plan->n_values; e++) {
        const dlx_pte_tensor *t = &plan->values[e].u.tensor;
        if (plan->values[e].kind != DLX_EV_TENSOR || t->blob < 0 || pte.blobs[t->blob].kind != DLX_BLOB_INITIAL)
            continue;
        assert_true(t->memory_id > 0);
        assert_int_equal(t->bytes, sizeof want);
        assert_memory_equal(pte.blobs[t->blob].data, want, sizeof want);
        found++;
    }
    assert_int_equal(found, 1);
    dlx_status status;
    size_t written_size;
    assert_null(pte_sample_write(&pte, &written_size, &status, &err));
    assert_int_equal(status, DLX_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "is an initial value"));
    dlx_arena_free(&arena);
    /* The segment that holds it, cut. */
    dlx_fb_buffer b;
    dlx_fb root;
    uint16_t field;
    uint64_t program_size;
    memcpy(&program_size, file + 16, 8);
    assert_int_equal(dlx_fb_open(&b, file, program_size, "ET12", "program", NULL, &root), DLX_OK);
    dlx_fb initial = dlx_fb_vec_table(dlx_fb_vec(root, PROGRAM_MUTABLE_DATA, 4), 0);
    uint32_t segment = dlx_fb_u32(initial, SUBSEGMENT_INDEX, 0);
    dlx_fb t = dlx_fb_vec_table(dlx_fb_vec(root, PROGRAM_SEGMENTS, 4), segment);
    memcpy(&field, file + t.vtable + 4 + 2 * SEGMENT_SIZE, 2);
    const uint64_t cut = 11;
    memcpy(file + t.table + field, &cut, 8);
    dlx_arena_init(&arena);
    assert_int_equal(dlx_pte_read(&pte, &arena, file, size, "initial", &err), DLX_E_FORMAT);
    dlx_arena_free(&arena);
    if (!strstr(err.message, "needs 12 bytes at 0 of a segment that has 11")) fail_msg("%s", err.message);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(initial_values_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
