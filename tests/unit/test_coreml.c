/*
 * What the CoreML backend writes, byte by byte: the wire format, the weight file, the payload and the package; which
 * nodes it takes, and what it refuses with which sentence. What the bytes mean to Apple's tools:
 * tests/py/test_coreml.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "shared_folder.h"
#include "whole_file.h"

#include "backends/coreml/blobs.h"
#include "backends/coreml/coreml.h"
#include "backends/coreml/mil.h"
#include "backends/coreml/proto.h"
#include "backends/partition.h"
#include "base/half.h"
#include "base/sizes.h"
#include "quant/quant.h"

static void refused(dlx_status s, dlx_status wanted, const dlx_error *err, const char *sentence)
{
    assert_int_equal(s, wanted);
    if (!strstr(err->message, sentence)) fail_msg("'%s' does not say '%s'", err->message, sentence);
}

/* ---- the wire format ---- */

static void assert_bytes(const dlx_proto *p, const uint8_t *bytes, size_t n)
{
    assert_false(p->failed);
    assert_int_equal(p->size, n);
    assert_memory_equal(p->data, bytes, n);
}

static void the_wire_format_is_the_published_one(void **state)
{
    (void)state;
    dlx_proto p = {0};
    dlx_proto_varint(&p, 1, 150);
    dlx_proto_string(&p, 2, "testing");
    size_t message = dlx_proto_begin(&p, 3);
    dlx_proto_varint(&p, 1, 150);
    dlx_proto_end(&p, message);
    size_t packed = dlx_proto_begin(&p, 4);
    dlx_proto_packed(&p, 3);
    dlx_proto_packed(&p, 270);
    dlx_proto_packed(&p, 86942);
    dlx_proto_end(&p, packed);
    dlx_proto_varint(&p, 502, UINT64_MAX);
    const uint8_t wanted[] = {0x08, 0x96, 0x01,                                                        /* 1: 150 */
                              0x12, 0x07, 't',  'e',  's',  't',  'i',  'n',  'g',                     /* 2 */
                              0x1a, 0x03, 0x08, 0x96, 0x01,                                            /* 3 {1: 150} */
                              0x22, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05,                          /* 4: packed */
                              0xb0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}; /* 502: -1 */
    assert_bytes(&p, wanted, sizeof wanted);
    dlx_proto_free(&p);
}

/* A length of more than one byte moves what was put already. */
static void long_messages_have_their_length_in_front(void **state)
{
    (void)state;
    dlx_proto p = {0};
    uint8_t fill[300];
    memset(fill, 7, sizeof fill);
    size_t outer = dlx_proto_begin(&p, 1), inner = dlx_proto_begin(&p, 2);
    dlx_proto_bytes(&p, 3, fill, sizeof fill);
    dlx_proto_end(&p, inner);
    size_t none = dlx_proto_begin(&p, 4);
    dlx_proto_end(&p, none);
    dlx_proto_end(&p, outer);
    const uint8_t head[] = {0x0a, 0xb4, 0x02, 0x12, 0xaf, 0x02, 0x1a, 0xac, 0x02};
    assert_int_equal(p.size, sizeof head + sizeof fill + 2);
    assert_memory_equal(p.data, head, sizeof head);
    assert_memory_equal(p.data + sizeof head, fill, sizeof fill);
    assert_memory_equal(p.data + sizeof head + sizeof fill, ((const uint8_t[]){0x22, 0x00}), 2);
    dlx_proto_free(&p);
}

/* ---- the weight file ---- */

static uint64_t number(const uint8_t *p, size_t bytes)
{
    uint64_t n = 0;
    for (size_t i = bytes; i-- > 0;) n = n << 8 | p[i];
    return n;
}

static dlx_status into_memory(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    uint8_t **to = ctx;
    (void)err;
    memcpy(*to, bytes, n);
    *to += n;
    return DLX_OK;
}

/* The bytes of pieces, malloc'd. */
static uint8_t *whole(const dlx_pte_piece *pieces, uint32_t n, uint64_t size)
{
    uint8_t *bytes = malloc((size_t)size + 1), *to = bytes;
    assert_non_null(bytes);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *begin = to;
        if (pieces[i].data)
            CHECK(into_memory(&to, pieces[i].data, (size_t)pieces[i].size, err));
        else
            CHECK(dlx_const_stream(pieces[i].user, NULL, into_memory, &to, err));
        assert_int_equal(to - begin, pieces[i].size);
    }
    assert_int_equal(to - bytes, size);
    return bytes;
}

static void assert_blob(const uint8_t *file, uint64_t at, uint32_t type, const void *bytes, size_t n)
{
    static const uint8_t zeros[40];
    assert_int_equal(at % 64, 0);
    assert_int_equal(number(file + at, 4), 0xDEADBEEF);
    assert_int_equal(number(file + at + 4, 4), type);
    assert_int_equal(number(file + at + 8, 8), n);
    assert_int_equal(number(file + at + 16, 8), at + 64);
    assert_memory_equal(file + at + 24, zeros, 40);
    assert_memory_equal(file + at + 64, bytes, n);
}

static dlx_value constant(dlx_dtype type, int64_t rows, int64_t columns, const void *data, size_t bytes)
{
    return (dlx_value){.name = "w",
                       .dtype = type,
                       .kind = DLX_VALUE_CONST,
                       .rank = 2,
                       .dim = {rows, columns},
                       .scales = DLX_NONE,
                       .source = {.data = data, .bytes = bytes, .stored = type}};
}

static void weights_lie_on_boundaries_with_what_they_are(void **state)
{
    (void)state;
    static const uint16_t halves[3] = {0x3C00, 0xC000, 0x0001};
    static const int8_t codes[65] = {-128, 127, 5};
    static const uint8_t pairs[2] = {0x1F, 0x80};
    dlx_arena arena;
    dlx_blobs b;
    dlx_arena_init(&arena);
    dlx_blobs_begin(&b, &arena);
    dlx_value v[] = {constant(DLX_F16, 1, 3, halves, sizeof halves), constant(DLX_I8, 5, 13, codes, sizeof codes),
                     constant(DLX_I4, 1, 4, pairs, sizeof pairs)};
    uint64_t at[4];
    for (int i = 0; i < 3; i++) at[i] = dlx_blobs_add(&b, &v[i]);
    at[3] = dlx_blobs_add_zeros(&b, DLX_BLOB_F16, 10);
    dlx_blobs_end(&b);
    assert_false(b.failed);
    memset(v, 0, sizeof v); /* they were copied */
    uint8_t *file = whole(b.pieces, b.n_pieces, b.size);
    static const uint8_t nothing[56];
    assert_int_equal(number(file, 4), 4);
    assert_int_equal(number(file + 4, 4), 2);
    assert_memory_equal(file + 8, nothing, 56);
    assert_int_equal(at[0], 64);
    assert_blob(file, at[0], 1, halves, sizeof halves);
    assert_blob(file, at[1], 4, codes, sizeof codes);
    assert_blob(file, at[2], 8, pairs, sizeof pairs);
    assert_blob(file, at[3], 1, nothing, 10);
    assert_int_equal(b.size, at[3] + 64 + 10);
    free(file);
    dlx_arena_free(&arena);
}

/* What a function adds that another one has added already, and nothing else. */
static void functions_share_their_weights(void **state)
{
    (void)state;
    enum { N = 80 };
    static uint16_t halves[N + 1], same[2], others[2] = {7, 7}, alone[2] = {9, 9};
    dlx_arena arena;
    dlx_blobs b;
    dlx_file file = {.fd = -1};
    uint64_t at[N];
    dlx_arena_init(&arena);
    dlx_blobs_begin(&b, &arena);
    for (size_t i = 0; i <= N; i++) halves[i] = (uint16_t)i;
    dlx_value v[N];
    for (int i = 0; i < N; i++) { /* bytes in memory, and places in a file */
        v[i] = constant(DLX_F16, 1, 2, halves + i, 4);
        if (i % 2)
            v[i].source = (dlx_const_source){.bytes = 4, .stored = DLX_F16, .file = &file, .offset = (uint64_t)i};
        at[i] = dlx_blobs_add(&b, &v[i]);
    }
    uint64_t zeros = dlx_blobs_add_zeros(&b, DLX_BLOB_F16, 10), size;
    dlx_value twice = constant(DLX_F16, 1, 2, alone, sizeof alone);
    assert_true(dlx_blobs_add(&b, &twice) != dlx_blobs_add(&b, &twice)); /* of one function */
    dlx_blobs_next_function(&b);
    size = b.size;
    for (int i = 0; i < N; i++) assert_int_equal(dlx_blobs_add(&b, &v[i]), at[i]);
    for (int i = N; i-- > 0;) assert_int_equal(dlx_blobs_add(&b, &v[i]), at[i]);
    assert_int_equal(dlx_blobs_add_zeros(&b, DLX_BLOB_F16, 10), zeros);
    memcpy(same, halves + 2, sizeof same);
    dlx_value w = constant(DLX_F16, 1, 2, same, sizeof same);
    assert_int_equal(dlx_blobs_add(&b, &w), at[2]); /* by its bytes */
    assert_int_equal(b.size, size);
    dlx_value different[8];
    for (int i = 0; i < 8; i++) different[i] = v[i < 4 ? 1 : 2];
    different[0].source.offset = N + 1;
    different[1].source.clip = true;
    different[2].source.transform = DLX_CONST_ROUND;
    different[3].source.f16_scales = true;
    different[4].source.data = others;
    different[5].dtype = DLX_I8;
    different[6].dim[0] = 2;
    different[6].dim[1] = 1;
    different[7].source.group = 32;
    for (int i = 0; i < 8; i++) {
        size = b.size;
        dlx_blobs_add(&b, &different[i]);
        assert_true(b.size > size);
    }
    size = b.size;
    dlx_blobs_add_zeros(&b, DLX_BLOB_F16, 12);
    assert_true(b.size > size && !b.failed);
    dlx_arena_free(&arena);
}

/* ---- the bytes of weights ---- */

/* Two's complement of what files of ours have as numbers + 8, whether codes are there or are made. */
static void nibbles_become_twos_complement(void **state)
{
    (void)state;
    static const uint8_t ours[4] = {0x10, 0x87, 0xF9, 0x08}; /* -8 -7 | -1 0 | 1 7 | 0 -8 */
    static const uint8_t theirs[4] = {0x98, 0x0F, 0x71, 0x80};
    uint8_t got[4];
    dlx_value v = constant(DLX_I4, 2, 4, ours, sizeof ours);
    v.source.signed_nibbles = true;
    CHECK(dlx_const_collect(&v, NULL, got, err));
    assert_memory_equal(got, theirs, 4);
    const float row[4] = {7.0f, -7.0f, 1.0f, 0.0f};
    v = constant(DLX_I4, 1, 4, row, sizeof row);
    v.source.stored = DLX_F32;
    v.source.transform = DLX_CONST_INT4_ROWS;
    v.source.signed_nibbles = true;
    CHECK(dlx_const_collect(&v, NULL, got, err));
    assert_memory_equal(got, ((const uint8_t[]){0x97, 0x01}), 2);
}

/* Codes are those of the rounded scale, and nothing is lost where that would be zero. */
static void scales_of_float16_are_those_that_codes_are_made_with(void **state)
{
    (void)state;
    enum { ROWS = 4, COLUMNS = 4 };
    static const float w[ROWS][COLUMNS] = {
        {1.0f, -0.5f, 0.25f, 0.0f}, {1e-7f, -1e-7f, 3e-8f, 0}, {6e4f, 5e4f, -6e4f, 0}, {0}};
    uint16_t scales[ROWS];
    int8_t codes[ROWS][COLUMNS];
    dlx_value s = constant(DLX_F16, ROWS, 1, w, sizeof w), q = constant(DLX_I8, ROWS, COLUMNS, w, sizeof w);
    s.source = q.source = (dlx_const_source){.data = w, .bytes = sizeof w, .stored = DLX_F32, .f16_scales = true};
    s.source.transform = DLX_CONST_INT8_ROW_SCALES;
    q.source.transform = DLX_CONST_INT8_ROWS;
    CHECK(dlx_const_collect(&s, NULL, scales, err));
    CHECK(dlx_const_collect(&q, NULL, codes, err));
    assert_int_equal(scales[0], dlx_f32_to_f16(1.0f / 127.0f));
    assert_int_equal(scales[1], 1); /* 2^-24 */
    assert_int_equal(scales[2], dlx_f32_to_f16(6e4f / 127.0f));
    assert_int_equal(scales[3], 0x3C00);
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) {
            float scale = dlx_f16_to_f32(scales[r]), wanted = w[r][c] / scale;
            wanted = wanted > 127.0f ? 127.0f : wanted < -128.0f ? -128.0f : wanted;
            assert_true(codes[r][c] - wanted <= 0.5f && wanted - codes[r][c] <= 0.5f);
        }
    dlx_error e = {0};
    s.dtype = DLX_F32; /* F16 and nothing else is what was asked for */
    assert_int_equal(dlx_const_collect(&s, NULL, scales, &e), DLX_E_INTERNAL);
}

/* In any form, and for rows of tables that go into a delegate: their scales are no halves, but their numbers become
 * some. */
static void numbers_beyond_float16_are_an_error_in_every_form(void **state)
{
    (void)state;
    enum { COLUMNS = 4 };
    static const struct {
        dlx_const_transform transform;
        dlx_dtype type;
        float fits, beyond;
        uint8_t times;
        bool f16_scales;
    } forms[] = {
        {DLX_CONST_ROUND, DLX_F16, 65504.0f, 65520.0f, 0, false},
        {DLX_CONST_PLAIN, DLX_F32, 65504.0f, 65520.0f, 0, false},
        {DLX_CONST_ROUND, DLX_F16, 511.0f, 512.0f, 128, false},
        {DLX_CONST_INT8_ROWS, DLX_I8, 65400.0f, 65530.0f, 0, true}, /* 127 times 515 and 516 */
        {DLX_CONST_INT8_ROW_SCALES, DLX_F16, 65400.0f, 65530.0f, 0, true},
        {DLX_CONST_INT8_ROW_SCALES, DLX_F16, 65400.0f, 9e6f, 0, true}, /* the scale as well */
        {DLX_CONST_INT8_ROWS, DLX_I8, 65504.0f, 65530.0f, 0, false},
        {DLX_CONST_INT8_ROW_SCALES, DLX_F32, 65504.0f, 65530.0f, 0, false},
        {DLX_CONST_INT4_ROWS, DLX_I4, 65400.0f, 65600.0f, 0, true}, /* 7 times 9344 and 9368 */
        {DLX_CONST_INT4_SCALES, DLX_F16, 65400.0f, 65600.0f, 0, true},
    };
    for (size_t i = 0; i < DLX_COUNT(forms); i++)
        for (int over = 0; over < 2; over++) {
            const float w[COLUMNS] = {1.0f, 0, over ? -forms[i].beyond : -forms[i].fits, 0};
            bool scales =
                forms[i].transform == DLX_CONST_INT8_ROW_SCALES || forms[i].transform == DLX_CONST_INT4_SCALES;
            dlx_value v = constant(forms[i].type, 1, scales ? 1 : COLUMNS, w, sizeof w);
            uint8_t out[sizeof w];
            dlx_error e = {0};
            v.source.stored = DLX_F32;
            v.source.transform = forms[i].transform;
            v.source.f16_scales = forms[i].f16_scales;
            v.source.times = forms[i].times;
            v.source.in_f16 = true;
            dlx_status s = dlx_const_collect(&v, NULL, out, &e);
            if (!over && s != DLX_OK) fail_msg("%zu: %s", i, e.message);
            if (over) refused(s, DLX_E_UNSUPPORTED, &e, "weight 'w' holds numbers of magnitude ");
            if (over) refused(s, DLX_E_UNSUPPORTED, &e, "; use backend xnnpack, or qnn with int8 weights");
        }
}

/* ---- parts ---- */

typedef struct made {
    dlx_graph g;
    dlx_arena arena;
    uint32_t x, w;
    dlx_partition parts;
} made;

/* linear(x) twice, added, in one part, of weights in a form. */
static void make_form(made *m, const char *form, const float *weights)
{
    const int64_t in[2] = {3, 32}, w[2] = {40, 32};
    dlx_error e = {0};
    memset(m, 0, sizeof *m);
    dlx_graph_init(&m->g);
    dlx_arena_init(&m->arena);
    dlx_const_source source = {.data = weights, .bytes = 40 * 32 * sizeof *weights, .stored = DLX_F32};
    m->x = dlx_graph_input(&m->g, "x.0", DLX_F32, 2, in, 0);
    m->w = dlx_graph_const(&m->g, "layers.0.q.weight", DLX_F32, 2, w, source);
    uint32_t y = dlx_graph_node(&m->g, DLX_OP_LINEAR, (uint32_t[]){m->x, m->w}, 2, NULL, 0, &e);
    uint32_t z = dlx_graph_node(&m->g, DLX_OP_ADD, (uint32_t[]){y, y}, 2, NULL, 0, &e);
    assert_true(dlx_graph_output(&m->g, z));
    const dlx_weight_form *f = dlx_form_find(form);
    CHECK(dlx_quantize(&m->g, &(dlx_recipe){.body = f, .head = f, .table = f}, err));
    CHECK(dlx_partition_make(&m->parts, &m->arena, &m->g, &dlx_coreml_home, 1, err));
    assert_int_equal(m->parts.n_parts, 1);
}

static void unmake(made *m)
{
    dlx_graph_free(&m->g);
    dlx_arena_free(&m->arena);
}

static const float *some_weights(void)
{
    static float w[40 * 32];
    for (int i = 0; i < 40 * 32; i++) w[i] = (float)(i * 37 % 101 - 50) / 64.0f;
    return w;
}

static uint8_t *payload_of(made *m, const char *mark, uint64_t *size)
{
    dlx_delegate d;
    const dlx_lowering how = {.method = "forward", .mark = mark};
    CHECK(dlx_coreml_lower_part(&d, &m->arena, &m->parts.parts[0].part, &how, err));
    assert_string_equal(d.id, "CoreMLBackend");
    assert_int_equal(d.n_args, 2);
    assert_int_equal(d.args[0], m->x);
    assert_int_equal(d.args[1], m->g.outputs[0]);
    *size = 0;
    for (uint32_t i = 0; i < d.n_pieces; i++) *size += d.pieces[i].size;
    return whole(d.pieces, d.n_pieces, *size);
}

/* Two writings of a file differ in the mark alone, and in nothing but the identifier. */
static void the_mark_changes_the_identifier_alone(void **state)
{
    (void)state;
    made m;
    uint64_t size[3];
    make_form(&m, "int4-g32", some_weights());
    uint8_t *p[3] = {payload_of(&m, "#0000000000000000", &size[0]), payload_of(&m, "#0123456789abcdef", &size[1]),
                     payload_of(&m, "#0123456789abcdef", &size[2])};
    assert_int_equal(size[0], size[1]);
    assert_int_equal(size[1], size[2]);
    assert_memory_equal(p[1], p[2], size[1]);
    const char *first = "{\"inputNames\":[\"x_0\"],\"outputNames\":[\"value_", *id = "\"identifier\":\"executorch_";
    assert_memory_equal(p[0], first, strlen(first));
    char head[512] = {0};
    memcpy(head, p[1], sizeof head - 1);
    char *at = strstr(head, id);
    assert_non_null(at);
    at += strlen(id);
    assert_memory_equal(at, "0123456789abcdef_", 17);
    for (uint64_t i = 0; i < size[0]; i++)
        if (p[0][i] != p[1][i]) assert_in_range(i, at - head, at - head + 15);
    for (int i = 0; i < 3; i++) free(p[i]);
    unmake(&m);
}

static uint64_t streamed(const dlx_pte_piece *pieces, uint32_t n)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) bytes += pieces[i].data ? 0 : pieces[i].size;
    return bytes;
}

/* The first of siblings brings the program along, the others refer to it; and weights are there once. */
static void siblings_are_functions_of_one_program(void **state)
{
    (void)state;
    made m[2];
    dlx_delegate alone, d[2], zero;
    const dlx_coreml_options old = {.target = DLX_COREML_IOS17};
    char text[160];
    for (int i = 0; i < 2; i++) make_form(&m[i], "int8", some_weights());
    const dlx_part *part[2] = {&m[0].parts.parts[0].part, &m[1].parts.parts[0].part};
    const dlx_sibling siblings[2] = {{"forward", part[0]}, {"forward_8", part[1]}};
    const dlx_lowering single = {.method = "forward", .mark = "#0123456789abcdef"};
    CHECK(dlx_coreml_lower_part(&alone, &m[0].arena, part[0], &single, err));
    assert_null(alone.data.key);
    for (int i = 0; i < 2; i++) {
        dlx_lowering how = single;
        how.method = siblings[i].method;
        how.siblings = siblings;
        how.n_siblings = 2;
        CHECK(dlx_coreml_lower_part(&d[i], &m[i].arena, part[i], &how, err));
        assert_true(d[i].n_args == 2 && d[i].args[0] == m[i].x && d[i].args[1] == m[i].g.outputs[0]);
        assert_true(d[i].n_specs == alone.n_specs && d[i].n_pieces == 1);
        snprintf(text, sizeof text, "CMJR{\"version\":1,\"key\":\"%s\",\"functionName\":\"%s\"}", d[0].data.key,
                 siblings[i].method);
        assert_int_equal(d[i].pieces->size, strlen(text));
        assert_memory_equal(d[i].pieces->data, text, strlen(text));
        how.options = &old;
        CHECK(dlx_coreml_lower_part(&zero, &m[i].arena, part[i], &how, err));
        assert_true(!zero.data.key && zero.n_pieces > 1); /* older systems have no such programs */
        how.options = NULL;
        how.mark = "#0000000000000000";
        CHECK(dlx_coreml_lower_part(&zero, &m[i].arena, part[i], &how, err));
        assert_int_equal(zero.pieces->size, d[i].pieces->size);
        if (!i) assert_string_equal(zero.data.key + 34, d[0].data.key + 34);
        if (!i) assert_int_equal(zero.data.n_pieces, d[0].data.n_pieces);
    }
    assert_int_equal(strncmp(d[0].data.key, "coreml_executorch_0123456789abcdef_", 35), 0);
    assert_null(d[1].data.key);
    assert_int_equal(streamed(d[0].data.pieces, d[0].data.n_pieces), streamed(alone.pieces, alone.n_pieces));
    const char *metadata = d[0].data.pieces[0].data;
    static const char begins[] = "{\"methods\":{\"forward\":{\"inputNames\":[\"x_0\"],\"outputNames\":[";
    assert_memory_equal(metadata, begins, strlen(begins));
    assert_non_null(strstr(metadata, d[0].data.key + strlen("coreml_")));
    for (int i = 0; i < 2; i++) unmake(&m[i]);
}

/* Names and places stand behind the files, backwards. */
static void a_payload_ends_with_its_table_of_files(void **state)
{
    (void)state;
    made m;
    uint64_t size;
    make_form(&m, "int8", some_weights());
    uint8_t *p = payload_of(&m, NULL, &size);
    size_t n = 0, depth = 0;
    char *text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    do {
        text[n] = (char)p[size - 1 - n];
        depth += text[n] == '{' ? 1 : 0;
        depth -= text[n] == '}' ? 1 : 0;
    } while (depth && ++n < size);
    json_t *table = json_loads(text, 0, NULL), *nodes = json_object_get(table, "nodes");
    assert_int_equal(json_array_size(nodes), 9);
    static const char *const names[] = {"metadata.json", "Manifest.json",   "weight.bin",
                                        "model.mlmodel", "weights",         "com.apple.CoreML",
                                        "Data",          "model.mlpackage", "lowered_module"};
    uint64_t end = 0;
    for (size_t i = 0; i < 9; i++) {
        json_t *node = json_array_get(nodes, i), *region = json_object_get(node, "dataRegion");
        assert_string_equal(json_string_value(json_object_get(node, "name")), names[i]);
        assert_int_equal(json_integer_value(json_object_get(node, "kind")), i < 4 ? 0 : 1);
        if (i >= 4) continue;
        assert_int_equal(json_integer_value(json_object_get(region, "offset")), end);
        end += (uint64_t)json_integer_value(json_object_get(region, "size"));
    }
    assert_int_equal(end + n + 1, size);
    json_decref(table);
    free(text);
    free(p);
    unmake(&m);
}

static void what_there_is_not_is_refused_with_a_sentence(void **state)
{
    (void)state;
    made m;
    dlx_delegate d;
    dlx_error e = {0};
    dlx_coreml_options o = {.target = DLX_COREML_IOS17};
    const dlx_lowering how = {.method = "forward", .options = &o};
    make_form(&m, "int4", some_weights());
    const dlx_part *part = &m.parts.parts[0].part;
    refused(dlx_coreml_lower_part(&d, &m.arena, part, &how, &e), DLX_E_UNSUPPORTED, &e,
            "CoreML has int4 weights, as 'layers.0.q.weight' is to be, from iOS18 on; the target is iOS17");
    assert_null(d.id);
    o = (dlx_coreml_options){.compute_units = "ane"};
    refused(dlx_coreml_lower_part(&d, &m.arena, part, &how, &e), DLX_E_INVALID, &e,
            "CoreML has no compute units 'ane'; expected cpu_and_ne, cpu_only, cpu_and_gpu or all");
    assert_string_equal(dlx_coreml_units_find("cpu-and_ane"), "cpu_and_ne");
    assert_string_equal(dlx_coreml_units_find("cpu-only"), "cpu_only");
    o = (dlx_coreml_options){.target = DLX_COREML_TARGETS};
    refused(dlx_coreml_lower_part(&d, &m.arena, part, &how, &e), DLX_E_INVALID, &e, "no target of number 3");
    o = (dlx_coreml_options){0};
    CHECK(dlx_coreml_lower_part(&d, &m.arena, part, &how, err));
    m.g.values[m.x].dtype = DLX_I64;
    refused(dlx_coreml_lower_part(&d, &m.arena, part, &how, &e), DLX_E_UNSUPPORTED, &e,
            "'x.0', of type i64 goes into a delegate or comes out of it; expected float32 or float16");
    unmake(&m);
    dlx_coreml_target target;
    assert_true(dlx_coreml_target_find("ios16", &target) && target == DLX_COREML_IOS16);
    assert_false(dlx_coreml_target_find("iOS15", &target));
    assert_string_equal(dlx_coreml_target_name(DLX_COREML_IOS18), "iOS18");
    assert_null(dlx_coreml_target_name(DLX_COREML_TARGETS));
}

/* ---- which nodes ---- */

static bool takes(dlx_graph *g, dlx_op op, int inputs, const uint32_t *in, dlx_attr attr)
{
    dlx_error e = {0};
    uint32_t v = dlx_graph_node(g, op, in, inputs, &attr, 0, &e);
    if (v == DLX_NONE) fail_msg("%s", e.message);
    return dlx_coreml_takes(g, dlx_made_by(g, v));
}

static void fixed_shapes_of_floats_are_taken(void **state)
{
    (void)state;
    dlx_graph g;
    const int64_t dim[2] = {4, 32}, flat = 32, six[6] = {1, 1, 1, 1, 4, 32}, heads[3] = {4, 3, 8};
    const int64_t halves[4] = {4, 3, 4, 2}, rope[2] = {4, 8}, rope2[2] = {4, 4};
    static const int8_t codes[32 * 32];
    dlx_graph_init(&g);
    uint32_t x = dlx_graph_input(&g, "x", DLX_F32, 2, dim, 0), varies = dlx_graph_input(&g, "y", DLX_F32, 2, dim, 1);
    uint32_t whole_numbers = dlx_graph_input(&g, "i", DLX_I64, 2, dim, 0);
    uint32_t deep = dlx_graph_input(&g, "six", DLX_F32, 6, six, 0),
             one = dlx_graph_input(&g, "w", DLX_F32, 1, &flat, 0);
    const dlx_attr none = {.rank = 0}, eps = {.f = {1e-6f, 0}}, tiny = {.f = {1e-8f, 0}};
    assert_true(takes(&g, DLX_OP_ADD, 2, (uint32_t[]){x, x}, none));
    assert_false(takes(&g, DLX_OP_ADD, 2, (uint32_t[]){x, varies}, none));
    assert_false(takes(&g, DLX_OP_ADD, 2, (uint32_t[]){whole_numbers, whole_numbers}, none));
    assert_false(takes(&g, DLX_OP_NEG, 1, &deep, none));
    assert_true(takes(&g, DLX_OP_RMS_NORM, 2, (uint32_t[]){x, one}, eps));
    assert_false(takes(&g, DLX_OP_RMS_NORM, 2, (uint32_t[]){x, one}, tiny)); /* 0 as a float16 */
    assert_false(takes(&g, DLX_OP_LOG1P, 1, &x, none));
    assert_true(takes(&g, DLX_OP_CAST, 1, &x, (dlx_attr){.dtype = DLX_F16}));
    assert_false(takes(&g, DLX_OP_CAST, 1, &x, (dlx_attr){.dtype = DLX_I32}));
    uint32_t q = dlx_graph_input(&g, "q", DLX_F32, 3, heads, 0),
             pairs = dlx_graph_input(&g, "p", DLX_F32, 4, halves, 0);
    uint32_t table = dlx_graph_input(&g, "cos", DLX_F32, 2, rope, 0),
             half = dlx_graph_input(&g, "c2", DLX_F32, 2, rope2, 0);
    assert_true(takes(&g, DLX_OP_ATTENTION, 3, (uint32_t[]){q, q, q}, none));
    assert_true(takes(&g, DLX_OP_ROPE, 3, (uint32_t[]){q, table, table}, none));
    assert_false(takes(&g, DLX_OP_ROPE, 3, (uint32_t[]){pairs, half, half}, (dlx_attr){.keep = true}));
    dlx_value weights = constant(DLX_I8, 32, 32, codes, sizeof codes);
    uint32_t w = dlx_graph_const(&g, "w8", DLX_I8, 2, weights.dim, weights.source);
    const int64_t rows = 32;
    static const float ones[32] = {1};
    g.values[w].scales = dlx_graph_const(&g, "s", DLX_F32, 1, &rows,
                                         (dlx_const_source){.data = ones, .bytes = sizeof ones, .stored = DLX_F32});
    assert_true(takes(&g, DLX_OP_LINEAR, 2, (uint32_t[]){x, w}, none));
    assert_false(takes(&g, DLX_OP_LINEAR, 2, (uint32_t[]){x, x}, none)); /* no constant */
    /* Quantised rows are ours if linear layers alone read them. */
    dlx_error e = {0};
    uint32_t rows8 = dlx_graph_node(&g, DLX_OP_CONVERT, &x, 1, &(dlx_attr){.dtype = DLX_QD8}, 0, &e);
    uint32_t y = dlx_graph_node(&g, DLX_OP_LINEAR, (uint32_t[]){rows8, w}, 2, NULL, 0, &e);
    assert_true(y != DLX_NONE && dlx_coreml_takes(&g, dlx_made_by(&g, rows8)));
    assert_true(dlx_graph_output(&g, rows8));
    assert_false(dlx_coreml_takes(&g, dlx_made_by(&g, rows8)));
    dlx_graph_free(&g);
}

/* Rows into a state, by consecutive positions from the caller; nothing else that writes. */
static void rows_that_go_into_states_are_taken(void **state)
{
    (void)state;
    dlx_graph g;
    dlx_error e = {0};
    const int64_t kept[3] = {8, 2, 4}, fresh[3] = {3, 2, 4}, many[3] = {9, 2, 4}, n = 3, nine = 9;
    dlx_graph_init(&g);
    uint32_t rows = dlx_graph_input(&g, "rows", DLX_F16, 3, fresh, 0),
             at = dlx_graph_input(&g, "at", DLX_I64, 1, &n, 0);
    uint32_t more = dlx_graph_input(&g, "more", DLX_F16, 3, many, 0),
             far = dlx_graph_input(&g, "far", DLX_I64, 1, &nine, 0);
    uint32_t k = dlx_graph_input(&g, "k_0", DLX_F16, 3, kept, 0);
    const dlx_attr first = {.axes = 1}, added = {.axes = 1, .keep = true};
    uint32_t put = dlx_graph_node(&g, DLX_OP_INDEX_PUT, (uint32_t[]){k, rows, at}, 3, &first, 0, &e);
    assert_true(put != DLX_NONE && dlx_graph_output(&g, put));
    assert_false(dlx_coreml_takes(&g, dlx_made_by(&g, put))); /* no state yet */
    g.n_states = 1;
    assert_true(dlx_coreml_takes(&g, dlx_made_by(&g, put)));
    assert_false(takes(&g, DLX_OP_INDEX_PUT, 3, (uint32_t[]){k, rows, at}, first)); /* not what becomes of the state */
    /* What stands where they go, and nothing else that is looked up. */
    uint32_t wide = dlx_graph_node(&g, DLX_OP_CONVERT, &k, 1, &(dlx_attr){.f = {1.0f, 0}}, 0, &e);
    assert_true(takes(&g, DLX_OP_INDEX, 2, (uint32_t[]){k, at}, first));
    assert_true(takes(&g, DLX_OP_INDEX, 2, (uint32_t[]){wide, at}, first));
    assert_false(takes(&g, DLX_OP_INDEX, 2, (uint32_t[]){k, far}, first));
    assert_false(takes(&g, DLX_OP_INDEX, 2, (uint32_t[]){rows, at}, first));
    assert_false(takes(&g, DLX_OP_INDEX, 2, (uint32_t[]){k, at}, (dlx_attr){.axes = 2}));
    g.outputs[0] = dlx_graph_node(&g, DLX_OP_INDEX_PUT, (uint32_t[]){k, rows, at}, 3, &added, 0, &e);
    assert_false(dlx_coreml_takes(&g, dlx_made_by(&g, g.outputs[0])));
    g.outputs[0] = dlx_graph_node(&g, DLX_OP_INDEX_PUT, (uint32_t[]){k, more, far}, 3, &first, 0, &e);
    assert_false(dlx_coreml_takes(&g, dlx_made_by(&g, g.outputs[0])));    /* more than it holds */
    assert_false(takes(&g, DLX_OP_INDEX, 2, (uint32_t[]){k, at}, first)); /* it is not the part that is put back */
    dlx_graph_free(&g);
}

/* ---- packages ---- */

static bool is_there(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0;
}

static bool count_calls(void *ctx, uint64_t done, uint64_t total)
{
    uint64_t *most = ctx;
    assert_true(done > most[0] && done <= total);
    most[0] = done;
    most[1] = total;
    return --most[2] > 0;
}

/* It says how far it is, and ends where it is told to, with nothing there. */
static void a_package_can_be_cancelled(void **state)
{
    (void)state;
    made m;
    char path[1024], file[1100];
    dlx_error e = {0};
    struct stat s;
    uint64_t told[3] = {0, 0, 1000};
    const dlx_lowering how = {.method = "forward"};
    const dlx_coreml_progress progress = {count_calls, told};
    path_in(path, folder.folder, "cancelled.mlpackage");
    snprintf(file, sizeof file, "%s/Data/com.apple.CoreML/weights/weight.bin", path);
    make_form(&m, "fp16", some_weights());
    CHECK(dlx_coreml_package(path, &m.parts.parts[0].part, &how, &progress, err));
    assert_int_equal(stat(file, &s), 0);
    assert_true(told[0] == told[1] && told[1] == (uint64_t)s.st_size);
    remove_tree(path);
    told[0] = 0;
    told[2] = 2;
    refused(dlx_coreml_package(path, &m.parts.parts[0].part, &how, &progress, &e), DLX_E_CANCELLED, &e, "cancelled");
    assert_true(told[0] > 0 && told[0] < told[1]);
    assert_false(is_there(path));
    unmake(&m);
}

/* Folders of a package, as a process leaves them that is killed, are no reason to refuse the next one. */
static void what_a_killed_process_leaves(void **state)
{
    (void)state;
    static const char *const left[] = {"", "/Data", "/Data/com.apple.CoreML", "/Data/com.apple.CoreML/weights"};
    static const char *const strange[] = {"/weights", "/Data/Data", "/Data/com.apple.CoreML/mine",
                                          "/Data/com.apple.CoreML/weights/mine"};
    char path[1024], file[1100];
    path_in(path, folder.folder, "left.mlpackage");
    assert_true(dlx_coreml_package_place(path));
    for (size_t i = 0; i < DLX_COUNT(left); i++) {
        snprintf(file, sizeof file, "%s%s", path, left[i]);
        assert_int_equal(mkdir(file, 0700), 0);
        assert_true(dlx_coreml_package_place(path));
        snprintf(file, sizeof file, "%s%s", path, strange[i]);
        assert_int_equal(mkdir(file, 0700), 0);
        assert_false(dlx_coreml_package_place(path));
        assert_int_equal(rmdir(file), 0);
    }
    /* Weights take their place before the manifest does; what has no name yet is swept. */
    static const char *const files[] = {"/Data/com.apple.CoreML/weights/weight.bin",
                                        "/Data/com.apple.CoreML/weights/.dlx-1-2-3"};
    for (size_t i = 0; i < DLX_COUNT(files); i++) {
        snprintf(file, sizeof file, "%s%s", path, files[i]);
        FILE *f = fopen(file, "w");
        assert_non_null(f);
        fclose(f);
        assert_true(dlx_coreml_package_place(path));
    }
    assert_false(dlx_coreml_package_place(file)); /* a file */
    /* A manifest of others, or one that is none, is theirs; so is what lies beside it. */
    static const struct {
        const char *name, *text;
        bool ours;
    } manifests[] = {
        {"Manifest.json", "{\"name\": \"my extension\"}", false},
        {"Manifest.json", "{\"itemInfoEntries\": {}", false},
        {"Manifest.json", "{\"itemInfoEntries\": {}}", false},
        {"Manifest.json", "", false},
        {"manifest.json", "{\"itemInfoEntries\": {}, \"rootModelIdentifier\": \"a\"}", false},
        {"Manifest.json", "{\"fileFormatVersion\": \"1.0.0\", \"itemInfoEntries\": {}, \"rootModelIdentifier\": \"a\"}",
         true},
    };
    for (size_t i = 0; i < DLX_COUNT(manifests); i++) {
        snprintf(file, sizeof file, "%s/%s", path, manifests[i].name);
        FILE *f = fopen(file, "w");
        assert_non_null(f);
        fputs(manifests[i].text, f);
        fclose(f);
        if (dlx_coreml_package_place(path) != manifests[i].ours) fail_msg("%s", manifests[i].text);
        assert_int_equal(remove(file), 0);
    }
    remove_tree(path);
}

static void a_package_appears_whole_or_not_at_all(void **state)
{
    (void)state;
    made m;
    char path[1024], file[1100];
    dlx_error e = {0};
    const dlx_lowering how = {.method = "forward"};
    static float spoilt[40 * 32];
    spoilt[77] = 1.0f / 0.0f;
    path_in(path, folder.folder, "model.mlpackage");
    make_form(&m, "fp16", spoilt);
    refused(dlx_coreml_package(path, &m.parts.parts[0].part, &how, NULL, &e), DLX_E_FORMAT, &e,
            "weight 'layers.0.q.weight' holds NaN or infinity");
    assert_false(is_there(path));
    unmake(&m);
    make_form(&m, "fp16", some_weights());
    CHECK(dlx_coreml_package(path, &m.parts.parts[0].part, &how, NULL, err));
    snprintf(file, sizeof file, "%s/Data/com.apple.CoreML/weights/weight.bin", path);
    whole_file weights;
    CHECK(read_whole_file(&weights, file, err));
    CHECK(dlx_coreml_package(path, &m.parts.parts[0].part, &how, NULL, err)); /* over the older one */
    unmake(&m);
    make_form(&m, "fp16", spoilt); /* which stays when the newer one cannot be */
    assert_int_equal(dlx_coreml_package(path, &m.parts.parts[0].part, &how, NULL, &e), DLX_E_FORMAT);
    whole_file still;
    CHECK(read_whole_file(&still, file, err));
    assert_int_equal(still.size, weights.size);
    assert_memory_equal(still.data, weights.data, weights.size);
    free(weights.data);
    free(still.data);
    path_in(path, folder.folder, "no/model.mlpackage");
    refused(dlx_coreml_package(path, &m.parts.parts[0].part, &how, NULL, &e), DLX_E_IO, &e, "cannot make the folder");
    unmake(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wire_format_is_the_published_one),
        cmocka_unit_test(long_messages_have_their_length_in_front),
        cmocka_unit_test(weights_lie_on_boundaries_with_what_they_are),
        cmocka_unit_test(functions_share_their_weights),
        cmocka_unit_test(nibbles_become_twos_complement),
        cmocka_unit_test(scales_of_float16_are_those_that_codes_are_made_with),
        cmocka_unit_test(numbers_beyond_float16_are_an_error_in_every_form),
        cmocka_unit_test(the_mark_changes_the_identifier_alone),
        cmocka_unit_test(siblings_are_functions_of_one_program),
        cmocka_unit_test(a_payload_ends_with_its_table_of_files),
        cmocka_unit_test(what_there_is_not_is_refused_with_a_sentence),
        cmocka_unit_test(fixed_shapes_of_floats_are_taken),
        cmocka_unit_test(rows_that_go_into_states_are_taken),
        cmocka_unit_test(a_package_appears_whole_or_not_at_all),
        cmocka_unit_test(a_package_can_be_cancelled),
        cmocka_unit_test(what_a_killed_process_leaves),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_it);
}
