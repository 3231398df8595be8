/* What the QNN backend decides and writes without Qualcomm's libraries: chips, options and header of a payload, grids,
 * names, what it takes, and where a decoder's values lie. */
#include "qnn_run.h"

#include <sys/stat.h>
#include <unistd.h>

#include "backends/qnn/blocks.h"
#include "backends/qnn/operators.h"
#include "backends/qnn/payload.h"
#include "backends/qnn/room.h"
#include "backends/qnn/stages.h"
#include "calibrate/value_ranges.h"
#include "format/flatbuffer.h"
#include "model/checkpoint.h"

/* Payloads wait on the program's disk, with no name there, or in memory where that cannot be. */
static void rooms(void **state)
{
    (void)state;
    enum { BYTES = 3 * 4096 + 5 };
    char folder[] = "/tmp/dlx-qnn-room-XXXXXX", program[64], gone[64];
    assert_non_null(mkdtemp(folder));
    snprintf(program, sizeof program, "%s/x.pte", folder);
    snprintf(gone, sizeof gone, "%s/no/x.pte", folder);
    const char *const beside[] = {program, gone, NULL};
    for (size_t i = 0; i < 3; i++) {
        dlx_qnn_room r;
        dlx_error err = {0};
        assert_int_equal(dlx_qnn_room_take(&r, BYTES, beside[i], &err), DLX_OK);
        assert_int_equal(r.on_disk, i == 0);
        assert_int_equal(r.bytes[BYTES - 1], 0);
        for (size_t k = 0; k < BYTES; k++) r.bytes[k] = (uint8_t)(k % 251);
        dlx_qnn_room_rest(&r);
        for (size_t k = 0; k < BYTES; k++) assert_int_equal(r.bytes[k], k % 251);
        assert_int_equal(rmdir(folder), 0); /* nothing is in it */
        assert_int_equal(mkdir(folder, 0700), 0);
        dlx_qnn_room_free(&r);
        assert_null(r.bytes);
    }
    dlx_qnn_room none;
    dlx_error err = {0};
    assert_int_equal(dlx_qnn_room_take(&none, UINT64_MAX, NULL, &err), DLX_E_LIMIT);
    dlx_qnn_room_free(&none);
    assert_int_equal(rmdir(folder), 0);
}

static void chips(void **state)
{
    (void)state;
    static const char *const of_the_original[] = {"sm8450", "sm8475", "sm8550", "sm8650", "sm7475"};
    const dlx_qnn_chip *c;
    dlx_error err = {0};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(dlx_qnn_chip_find(&c, of_the_original[i], &err), DLX_OK);
        assert_int_equal(dlx_qnn_chip_has_f16(c), c->arch >= 73);
    }
    assert_int_equal(dlx_qnn_chip_find(&c, "SM8650", &err), DLX_OK);
    assert_true(c->id == 57 && c->arch == 75 && c->vtcm_mib == 8);
    assert_int_equal(dlx_qnn_chip_find(&c, "sar2230p", &err), DLX_OK);
    assert_true(c->arch == 81 && !dlx_qnn_chip_has_f16(c) && dlx_qnn_chip_has_u16_products(c));
    assert_int_equal(dlx_qnn_chip_find(&c, "SM1", &err), DLX_E_INVALID);
    assert_null(c);
    assert_non_null(strstr(err.message, "'SM1'"));
    for (unsigned i = 0; dlx_qnn_chip_at(i); i++) assert_non_null(strstr(err.message, dlx_qnn_chip_at(i)->name));
    assert_int_equal(dlx_qnn_chip_find(&c, NULL, &err), DLX_E_INVALID);
}

/* What ExecuTorch 1.4.1's exporter writes for SM8650 and floats of 16 bits. */
static const char golden[] =
    "200000001c001e00040008000c001000000000000000000000000000140018001c000000800000004c00000038000000010000001c0000000c"
    "00000000000600080004000600000004000000000000000c00000073617665725f6f757470757400000000000000000000000008000e000400"
    "0800080000000200000018000000000012001000000008000c00000006000000070012000000000001010200000001000000f4ffffff390000"
    "000c00000008000c0004000800080000004b00000008000000";

/* The fields that the runtime reads, which schema and defaults make comparable. */
static void read_options(dlx_fb root, uint32_t out[20])
{
    dlx_fb chip = dlx_fb_table(root, 0), htp = dlx_fb_table(chip, 1), backend = dlx_fb_table(root, 1);
    dlx_fb options = dlx_fb_table(backend, 1);
    uint32_t length, *o = out;
    *o++ = dlx_fb_u32(chip, 0, 0);
    *o++ = dlx_fb_u32(htp, 0, 0);
    *o++ = dlx_fb_u32(htp, 1, 0);
    *o++ = dlx_fb_u32(backend, 0, 0);
    for (int i = 0; i < 4; i++) *o++ = dlx_fb_u32(options, i, 0);
    for (int i = 4; i < 10; i++) *o++ = dlx_fb_u8(options, i, 0);
    *o++ = dlx_fb_u32(root, 3, 0);
    *o++ = (uint32_t)strlen(dlx_fb_string(root, 2, &length)) + (uint32_t)dlx_fb_has(root, 2);
    *o++ = (uint32_t)strcmp(dlx_fb_string(root, 10, &length), "saver_output");
    *o++ = (uint32_t)dlx_fb_has(root, 11);
    for (int i = 4; i < 10; i++) *o |= (uint32_t)dlx_fb_u8(root, i, 0) << i;
    o++;
    assert_true(o - out <= 20);
}

static void options_are_the_official_exporters(void **state)
{
    (void)state;
    uint8_t theirs[sizeof golden / 2];
    uint32_t want[20] = {0}, got[20] = {0};
    dlx_fb_buffer buffer;
    dlx_fb root;
    dlx_pte_spec spec;
    dlx_arena arena;
    const dlx_qnn_chip *chip;
    dlx_error err = {0};
    for (size_t i = 0; i < sizeof theirs; i++) {
        unsigned byte;
        assert_int_equal(sscanf(golden + 2 * i, "%2x", &byte), 1);
        theirs[i] = (uint8_t)byte;
    }
    dlx_arena_init(&arena);
    assert_int_equal(dlx_qnn_chip_find(&chip, "SM8650", &err), DLX_OK);
    assert_int_equal(dlx_fb_open(&buffer, theirs, sizeof theirs, NULL, "golden", &err, &root), DLX_OK);
    read_options(root, want);
    assert_int_equal(buffer.status, DLX_OK);
    assert_int_equal(want[0], 57);
    assert_int_equal(dlx_qnn_spec(&spec, &arena, chip, true, &err), DLX_OK);
    assert_string_equal(spec.key, "qnn_compile_spec");
    assert_int_equal(dlx_fb_open(&buffer, spec.value, spec.size, NULL, "ours", &err, &root), DLX_OK);
    read_options(root, got);
    assert_int_equal(buffer.status, DLX_OK);
    assert_memory_equal(got, want, sizeof got);
    assert_int_equal(dlx_qnn_spec(&spec, &arena, chip, false, &err), DLX_OK);
    assert_int_equal(dlx_fb_open(&buffer, spec.value, spec.size, NULL, "ours", &err, &root), DLX_OK);
    read_options(root, got);
    assert_int_equal(got[6], 0); /* precision: quantised */
    dlx_arena_free(&arena);
}

static void header(void **state)
{
    (void)state;
    const uint8_t begin[4] = {0xCD, 0xAB, 0x78, 0x56}, zeros[DLX_QNN_HEADER] = {0};
    uint8_t a[DLX_QNN_HEADER], b[DLX_QNN_HEADER];
    uint64_t size;
    dlx_qnn_header(a, "context", 7);
    dlx_qnn_header(b, "contexu", 7);
    assert_memory_equal(a, begin, 4);
    memcpy(&size, a + 12, 8);
    assert_int_equal(size, 7);
    assert_memory_equal(a + 20, zeros, DLX_QNN_HEADER - 20);
    assert_memory_not_equal(a + 4, b + 4, 8); /* runtimes keep delegates by it */
}

static void numbers_on_grids(void **state)
{
    (void)state;
    static const float ends[][2] = {{-1, 1}, {0, 3}, {-5, 0}, {-1e-3f, 7e4f}, {0, 0}};
    for (size_t i = 0; i < 5; i++) {
        dlx_qnn_scale wide = dlx_qnn_grid_over(ends[i][0], ends[i][1]);
        dlx_qnn_scale narrow = dlx_qnn_narrow_grid_over(ends[i][0], ends[i][1]);
        assert_true(wide.scale > 0 && wide.offset <= 0 && wide.offset >= -DLX_QNN_CODES);
        assert_true(fabsf((float)wide.offset * wide.scale - ends[i][0]) <= wide.scale);
        assert_true((float)(wide.offset + DLX_QNN_CODES) * wide.scale >= ends[i][1] - wide.scale);
        assert_true((float)(narrow.offset + 255) * narrow.scale >= ends[i][1] - narrow.scale);
    }
}

/* Codes times scales are what they were where the scales are what the chip can have, and near it where they are not. */
static void blocks(void **state)
{
    (void)state;
    enum { BLOCKS = 3, K = 12 };
    const int8_t codes[K] = {7, -7, 3, 0, 1, -2, 5, 6, -8, 4, 2, -1};
    const float exact[BLOCKS] = {0.5f, 8.0f, 2.0f}, other[BLOCKS] = {0.3f, 0.11f, 0.01f};
    int8_t code[K];
    uint8_t steps[BLOCKS];
    memcpy(code, codes, K);
    float row = dlx_qnn_blocks_of(steps, code, exact, BLOCKS, K);
    for (size_t i = 0; i < K; i++)
        assert_true((float)code[i] * (float)steps[i / 4] * row == (float)codes[i] * exact[i / 4]);
    memcpy(code, codes, K);
    row = dlx_qnn_blocks_of(steps, code, other, BLOCKS, K);
    for (size_t i = 0; i < K; i++) {
        float got = (float)code[i] * (float)steps[i / 4] * row, want = (float)codes[i] * other[i / 4];
        assert_true(steps[i / 4] >= 1 && steps[i / 4] <= 16 && code[i] >= -8 && code[i] <= 7);
        assert_true(fabsf(got - want) <= (float)steps[i / 4] * row); /* a step */
    }
}

/* ---- a decoder -------------------------------------------------------------------------------------------------- */

static dlx_checkpoint checkpoint;
static dlx_samples samples;

static void add_samples(int32_t length)
{
    int32_t ids[32];
    dlx_samples_options o = {.count = 3, .length = length};
    assert_int_equal(dlx_samples_options_complete(&o, &checkpoint, NULL), DLX_OK);
    assert_int_equal(dlx_samples_begin(&samples, &checkpoint, o.count, NULL), DLX_OK);
    for (int32_t i = 0; i < 3; i++) {
        for (int32_t k = 0; k < length - i; k++) ids[k] = (k * 37 + i * 101 + 5) % checkpoint.facts.vocab_size;
        assert_int_equal(dlx_samples_add(&samples, &checkpoint, &o, ids, (size_t)(length - i), 4, NULL), DLX_OK);
    }
}

static dlx_status whole(void *ctx, size_t i, dlx_graph *out, dlx_error *err)
{
    (void)i;
    return dlx_qnn_expand(out, ctx, err);
}

/* Layer by layer, and all of it at once: the same values with the same ranges. */
static void ranges_of_a_decoder(void **state)
{
    (void)state;
    dlx_error err = {0};
    dlx_graph g;
    dlx_arena arena;
    dlx_qnn_stages stages;
    dlx_ranges by_layer, at_once;
    whole_part all;
    dlx_pool *pool;
    assert_int_equal(dlx_checkpoint_open(&checkpoint, DLX_TEST_DATA "/checkpoints/sdar-tiny", NULL, &err), DLX_OK);
    add_samples(12);
    dlx_graph_init(&g);
    dlx_arena_init(&arena);
    assert_int_equal(dlx_pool_create(&pool, 1, NULL), DLX_OK);
    dlx_layerwise_options run = dlx_layerwise_on(pool);
    assert_int_equal(dlx_build_graph(&g, &checkpoint, DLX_KV_FIXED, 12, 12, &err), DLX_OK);
    assert_int_equal(dlx_qnn_stages_make(&stages, &arena, &g, &err), DLX_OK);
    assert_int_equal(stages.n, 1 + checkpoint.shape.layers);
    if (dlx_value_ranges_measure(&by_layer, NULL, &(dlx_value_stages){stages.n, dlx_qnn_stage, &stages}, &samples, &run,
                                 &err))
        fail_msg("%s", err.message);
    take_all(&all, &g);
    if (dlx_value_ranges_measure(&at_once, NULL, &(dlx_value_stages){1, whole, &all.part}, &samples, &run, &err))
        fail_msg("%s", err.message);
    assert_true(by_layer.n >= at_once.n && at_once.n > 60);
    for (size_t i = 0; i < at_once.n; i++) {
        const dlx_tensor_range *r = dlx_ranges_find(&by_layer, at_once.list[i].name);
        if (!r) fail_msg("no range of '%s'", at_once.list[i].name);
        assert_true(r->bounds.low == at_once.list[i].bounds.low && r->bounds.high == at_once.list[i].bounds.high);
    }
    const dlx_tensor_range *weights = dlx_ranges_find(&at_once, "layers.1.attention.0.weights");
    assert_true(weights && weights->bounds.low == 0 && weights->bounds.high > 0.1f && weights->bounds.high <= 1);
    assert_non_null(dlx_ranges_find(&at_once, "embed.weight.rows"));
    dlx_ranges_free(&by_layer);
    dlx_ranges_free(&at_once);
    samples.longest = 13;
    assert_int_equal(dlx_value_ranges_measure(&at_once, NULL, &(dlx_value_stages){stages.n, dlx_qnn_stage, &stages},
                                              &samples, &run, &err),
                     DLX_E_LIMIT);
    dlx_samples_free(&samples);
    dlx_pool_free(pool);
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
    dlx_checkpoint_close(&checkpoint);
}

/* ---- grids of values -------------------------------------------------------------------------------------------- */

static bool ten(void *ctx, const char *name, float *low, float *high)
{
    const char *missing = ctx;
    *low = -10;
    *high = strstr(name, ".keys") ? 30 : 10;
    return !missing || !strstr(name, missing);
}

/* Inputs have none. */
static bool of_results(void *ctx, const char *name, float *low, float *high)
{
    return !strncmp(name, "layers.", 7) && ten(ctx, name, low, high);
}

static uint32_t value_named(const dlx_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].name && !strcmp(g->values[i].name, name)) return (uint32_t)i;
    fail_msg("no value '%s'", name);
    return DLX_NONE;
}

static void masks_and_moved_values(void **state)
{
    (void)state;
    enum { T = 3, P = 4 };
    dlx_graph g, e;
    dlx_error err = {0};
    dlx_arena arena;
    whole_part all;
    const dlx_qnn_scale *grid;
    const int64_t q[3] = {T, 4, 8}, k[3] = {T, 2, 8}, c[3] = {P, 2, 8}, m[2] = {T, P + T};
    dlx_graph_init(&g);
    dlx_arena_init(&arena);
    uint32_t in[6] = {dlx_graph_input(&g, "q", DLX_F32, 3, q, 0),   dlx_graph_input(&g, "k", DLX_F32, 3, k, 0),
                      dlx_graph_input(&g, "v", DLX_F32, 3, k, 0),   dlx_graph_input(&g, "k_0", DLX_F32, 3, c, 0),
                      dlx_graph_input(&g, "v_0", DLX_F32, 3, c, 0), dlx_graph_input(&g, "mask", DLX_F32, 2, m, 0)};
    assert_true(
        dlx_graph_output(&g, dlx_graph_node(&g, DLX_OP_ATTENTION, in, 6, &(dlx_attr){.f = {0.5f, 0}}, 7, &err)));
    take_all(&all, &g);
    assert_true(dlx_qnn_takes(&g, &g.nodes[0]));
    assert_int_equal(dlx_qnn_expand(&e, &all.part, &err), DLX_OK);
    assert_int_equal(dlx_qnn_grids(&grid, &arena, &e, &(dlx_activation_ranges){ten, NULL}, &err), DLX_OK);
    dlx_qnn_scale scores = grid[value_named(&e, "layers.7.attention.0.scores")];
    dlx_qnn_scale masked = grid[value_named(&e, "layers.7.attention.0.masked")];
    dlx_qnn_scale mask = grid[value_named(&e, "mask")], weights = grid[value_named(&e, "layers.7.attention.0.weights")];
    /* Scores lie within twice 10; a mask reaches 24 further down than they are wide, and so does their sum. */
    assert_float_equal(scores.scale * DLX_QNN_CODES, 40, 1e-3);
    assert_float_equal((float)mask.offset * mask.scale, -64, 1e-2);
    assert_float_equal((float)masked.offset * masked.scale, -84, 1e-2);
    assert_true(weights.offset == 0);
    assert_float_equal(weights.scale * DLX_QNN_CODES, 1, 1e-6);
    /* Stored and new keys are joined: one grid, of whichever reaches furthest. */
    assert_memory_equal(&grid[value_named(&e, "k")], &grid[value_named(&e, "k_0")], sizeof *grid);
    assert_int_equal(
        dlx_qnn_grids(&grid, &arena, &e, &(dlx_activation_ranges){ten, (void *)(uintptr_t) "q_scaled"}, &err),
        DLX_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'layers.7.attention.0.q_scaled'"));
    /* Stored keys and values are never measured: they lie where new ones do. Other inputs have no such place. */
    assert_int_equal(dlx_qnn_grids(&grid, &arena, &e, &(dlx_activation_ranges){ten, (void *)(uintptr_t) "_0"}, &err),
                     DLX_OK);
    assert_memory_equal(&grid[value_named(&e, "k")], &grid[value_named(&e, "k_0")], sizeof *grid);
    assert_float_equal(grid[value_named(&e, "k_0")].scale * DLX_QNN_CODES, 40, 1e-3);
    assert_int_equal(dlx_qnn_grids(&grid, &arena, &e, &(dlx_activation_ranges){of_results, NULL}, &err),
                     DLX_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "there is no range of 'q'"));
    dlx_graph_free(&e);
    dlx_graph_free(&g);
    dlx_arena_free(&arena);
}

/* A shape that varies, integers, and rows of a quantised table are not the chip's. */
static void what_is_not_taken(void **state)
{
    (void)state;
    dlx_graph g;
    dlx_error err = {0};
    const int64_t rows = 4, table[2] = {8, 6}, scales[2] = {8, 1};
    dlx_graph_init(&g);
    uint32_t x = dlx_graph_input(&g, "x", DLX_F32, 1, &rows, 1), y = dlx_graph_input(&g, "y", DLX_F32, 1, &rows, 0);
    uint32_t n = dlx_graph_input(&g, "n", DLX_I64, 1, &rows, 0);
    uint32_t t = dlx_graph_input(&g, "t", DLX_I8, 2, table, 0), s = dlx_graph_input(&g, "s", DLX_F32, 2, scales, 0);
    g.values[t].kind = g.values[s].kind = DLX_VALUE_CONST;
    g.n_inputs -= 2;
    g.values[t].scales = s;
    const uint32_t square[2] = {x, x}, ids[2] = {n, n}, fine[2] = {y, y}, lookup[2] = {t, n}, found[2] = {s, n};
    uint32_t q = dlx_graph_node(&g, DLX_OP_EMBEDDING, lookup, 2, NULL, -1, &err);
    uint32_t each = dlx_graph_node(&g, DLX_OP_EMBEDDING, found, 2, NULL, -1, &err);
    uint32_t wide = dlx_graph_node(&g, DLX_OP_CONVERT, &q, 1, &(dlx_attr){.f = {1, 0}}, -1, &err);
    const uint32_t scaled[2] = {wide, each};
    assert_true(dlx_graph_node(&g, DLX_OP_MUL, scaled, 2, NULL, -1, &err) != DLX_NONE);
    assert_true(dlx_graph_node(&g, DLX_OP_MUL, square, 2, NULL, -1, &err) != DLX_NONE);
    assert_true(dlx_graph_node(&g, DLX_OP_ADD, ids, 2, NULL, -1, &err) != DLX_NONE);
    assert_true(dlx_graph_node(&g, DLX_OP_CUMSUM, &y, 1, NULL, -1, &err) != DLX_NONE);
    for (size_t i = 0; i < g.n_nodes; i++) assert_false(dlx_qnn_takes(&g, &g.nodes[i]));
    assert_true(dlx_graph_node(&g, DLX_OP_MUL, fine, 2, NULL, -1, &err) != DLX_NONE);
    assert_true(dlx_qnn_takes(&g, &g.nodes[g.n_nodes - 1]));
    dlx_graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rooms),
        cmocka_unit_test(chips),
        cmocka_unit_test(options_are_the_official_exporters),
        cmocka_unit_test(header),
        cmocka_unit_test(numbers_on_grids),
        cmocka_unit_test(blocks),
        cmocka_unit_test(ranges_of_a_decoder),
        cmocka_unit_test(masks_and_moved_values),
        cmocka_unit_test(what_is_not_taken),
    };
    return cmocka_run_group_tests_name("qnn_bytes", tests, NULL, NULL);
}
