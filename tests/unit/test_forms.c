/*
 * Forms of weights: the codes and scales of 4-bit rows and groups and the rounding to halves against the formulas in
 * other words; patterns, recipes, and the pass that gives every weight of a decoder its form.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "graph/linear_kinds.h"
#include "quant/quant.h"
#include "left_out.h"
#include "tiny_decoder.h"

typedef struct collected {
    uint8_t *bytes; /* malloc'd */
    size_t n, capacity;
} collected;

static dlx_status collect(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    collected *c = ctx;
    (void)err;
    assert_in_range(n, 1, 1 << 20);
    assert_int_equal(dlx_grow(&c->bytes, &c->capacity, c->n + n, 1), 0);
    memcpy(c->bytes + c->n, bytes, n);
    c->n += n;
    return DLX_OK;
}

static collected streamed(const dlx_value *v, dlx_pool *pool)
{
    collected c = {0};
    dlx_error err = {0};
    if (dlx_const_stream(v, pool, collect, &c, &err) != DLX_OK) fail_msg("%s", err.message);
    return c;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* A matrix in a source type: noise, zeros, a row of zeros, ties, tiny and large rows. Its elements as floats too. */
typedef struct matrix {
    dlx_dtype type;
    int64_t n, k;
    uint8_t *bytes; /* [n * k] of the type, at an odd address */
    float *exact;
    void *block;
} matrix;

static matrix made_up(dlx_dtype type, int64_t n, int64_t k, uint32_t seed)
{
    size_t count = (size_t)(n * k), width = dlx_dtype_size(type);
    matrix m = {
        .type = type, .n = n, .k = k, .block = malloc(count * width + 1), .exact = malloc(count * sizeof(float))};
    m.bytes = (uint8_t *)m.block + 1;
    for (size_t i = 0; i < count; i++) {
        float f = noise(&seed) * 0.05f;
        if (seed >> 28 == 1) f = (float)((int)(seed >> 20 & 15) - 8) * 0.5f / 7.0f; /* ties, when the largest is 1 */
        if (seed >> 28 == 2) f = 0.0f;
        if (i % 61 == 60) f = 1.0f;
        size_t row = i / (size_t)k;
        if (row % 7 == 3) f = 0.0f;
        if (row % 7 == 4) f *= 0x1p-10f;
        if (row % 7 == 5) f *= 1000.0f;
        uint16_t half = type == DLX_BF16 ? dlx_f32_to_bf16(f) : dlx_f32_to_f16(f);
        memcpy(m.bytes + width * i, type == DLX_F32 ? (const void *)&f : (const void *)&half, width);
        m.exact[i] = type == DLX_F32 ? f : type == DLX_BF16 ? dlx_bf16_to_f32(half) : dlx_f16_to_f32(half);
    }
    return m;
}

static void free_matrix(const matrix *m)
{
    free(m->block);
    free(m->exact);
}

static dlx_value constant(const matrix *m, dlx_dtype made, dlx_const_transform transform, uint32_t group)
{
    dlx_value v = {.name = "w",
                   .kind = DLX_VALUE_CONST,
                   .dtype = made,
                   .rank = 2,
                   .dim = {m->n, m->k},
                   .scales = DLX_NONE,
                   .producer = DLX_NONE};
    v.source = (dlx_const_source){.data = m->bytes,
                                  .bytes = (uint64_t)(m->n * m->k) * dlx_dtype_size(m->type),
                                  .stored = m->type,
                                  .transform = transform,
                                  .group = group};
    return v;
}

/* Codes and scales of whole rows (group 0) or of groups, against: largest magnitude / 7, kept as the file keeps it, and
 * the nearest multiple of that. */
static void check_int4(const matrix *m, uint32_t group, dlx_pool *pool)
{
    size_t width = group ? group : (size_t)m->k, count = (size_t)(m->n * m->k), units = count / width;
    dlx_value codes = constant(m, DLX_I4, DLX_CONST_INT4_ROWS, group);
    dlx_value scales = constant(m, group ? DLX_BF16 : DLX_F32, DLX_CONST_INT4_SCALES, group);
    scales.dim[1] = group ? m->k / group : 1;
    collected q = streamed(&codes, pool), s = streamed(&scales, pool);
    assert_int_equal(q.n, count / 2);
    assert_int_equal(s.n, units * (group ? 2 : 4));
    for (size_t u = 0; u < units; u++) {
        float max = 0.0f, scale;
        for (size_t i = 0; i < width; i++) {
            float x = fabsf(m->exact[u * width + i]);
            if (x > max) max = x;
        }
        float expected = group ? dlx_bf16_to_f32(dlx_f32_to_bf16(max / 7.0f)) : max / 7.0f;
        if (expected == 0.0f) expected = 1.0f;
        if (group)
            scale = dlx_bf16_to_f32(((const uint16_t *)(const void *)s.bytes)[u]);
        else
            memcpy(&scale, s.bytes + 4 * u, 4);
        if (scale != expected) fail_msg("unit %zu: scale %g, expected %g", u, (double)scale, (double)expected);
        for (size_t i = u * width; i < (u + 1) * width; i++) {
            int want = (int)fminf(fmaxf(rintf(m->exact[i] / scale), -8.0f), 7.0f);
            int got = (q.bytes[i / 2] >> i % 2 * 4 & 15) - 8;
            if (got != want || want == -8) /* the rule never clips */
                fail_msg("element %zu: %d, expected %d", i, got, want);
        }
    }
    free(q.bytes);
    free(s.bytes);
}

static void every_length_type_and_group_is_streamed(void **state)
{
    static const struct {
        int64_t n, k;
        uint32_t group;
    } cases[] = {{1, 2, 0},      {3, 6, 0},       {40000, 2, 0},   {700, 4098, 0},  {2, (1 << 20) + 2, 0},
                 {1, 32, 32},    {5, 96, 32},     {700, 4096, 32}, {300, 4096, 64}, {17000, 128, 128},
                 {3, 16384, 32}, {20, 1024, 128}, {0, 64, 32}};
    static const dlx_dtype types[] = {DLX_F32, DLX_BF16, DLX_F16};
    dlx_pool *pool;
    (void)state;
    assert_int_equal(dlx_pool_create(&pool, 3, NULL), DLX_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t t = 0; t < 3; t++) {
            if (DLX_SLOW && t != i % 3 && cases[i].n * cases[i].k > 100000) continue; /* large ones of one type each */
            if (DLX_RACES && !(i % 2)) continue;                                      /* on one thread */
            matrix m = made_up(types[t], cases[i].n, cases[i].k, (uint32_t)(i * 3 + t));
            check_int4(&m, cases[i].group, i % 2 ? pool : NULL);
            free_matrix(&m);
        }
    dlx_pool_free(pool);
}

/* Where a scale would be 0, and where it is so coarse that quotients leave -8 .. 7. */
static void tiny_groups_are_clamped(void **state)
{
    static const uint32_t bits[4] = {10, 0x80000000 | 11, 1, 0};
    static const float whole[4] = {1.0f, -1.0f, 0.5f, 0.25f};
    uint32_t group[32] = {3}; /* 3 / 7 of the smallest float is 0 */
    (void)state;
    matrix m = {.type = DLX_F32, .n = 1, .k = 4, .bytes = (uint8_t *)(uintptr_t)bits};
    dlx_value v = constant(&m, DLX_I4, DLX_CONST_INT4_ROWS, 0);
    collected c = streamed(&v, NULL); /* scale: the smallest float twice (11 / 7 rounded) */
    assert_int_equal(c.n, 2);
    assert_int_equal(c.bytes[0], (5 + 8) | (-6 + 8) << 4);
    free(c.bytes);
    m.bytes = (uint8_t *)(uintptr_t)whole;
    v = constant(&m, DLX_I4, DLX_CONST_INT4_ROWS, 0);
    c = streamed(&v, NULL);
    assert_memory_equal(c.bytes, ((uint8_t[]){(7 + 8) | (-7 + 8) << 4, (3 + 8) | (2 + 8) << 4}),
                        2); /* 1 / 7 is rounded up */
    free(c.bytes);
    m = (matrix){.type = DLX_F32, .n = 1, .k = 32, .bytes = (uint8_t *)group};
    v = constant(&m, DLX_BF16, DLX_CONST_INT4_SCALES, 32);
    v.dim[1] = 1;
    c = streamed(&v, NULL);
    assert_int_equal(*(const uint16_t *)(const void *)c.bytes, 0x3F80); /* 1 */
    free(c.bytes);
}

static void halves_are_the_nearest(void **state)
{
    static const dlx_dtype types[] = {DLX_F32, DLX_BF16, DLX_F16};
    (void)state;
    for (size_t t = 0; t < 3; t++) {
        matrix m = made_up(types[t], 300, 1001, 9 + (uint32_t)t);
        for (int to = 0; to < 2; to++) {
            dlx_value v = constant(&m, to ? DLX_BF16 : DLX_F16, DLX_CONST_ROUND, 0);
            collected c = streamed(&v, NULL);
            assert_int_equal(c.n, 300 * 1001 * 2);
            for (size_t i = 0; i < 300 * 1001; i++) {
                uint16_t got = ((const uint16_t *)(const void *)c.bytes)[i];
                uint16_t want = to ? dlx_f32_to_bf16(m.exact[i]) : dlx_f32_to_f16(m.exact[i]);
                if (got != want) fail_msg("%g becomes %04x, expected %04x", (double)m.exact[i], got, want);
            }
            free(c.bytes);
        }
        free_matrix(&m);
    }
    /* Every exponent, on ties and next to them. */
    float f[4 * 256];
    size_t n = 0;
    for (uint32_t e = 0; e < 0x8E; e++) { /* up to 2^15 */
        static const uint32_t mantissa[] = {0x0000, 0x1000, 0x3000, 0x2FFF};
        for (int i = 0; i < 4; i++) f[n++] = dlx_bits_to_f32((e & 1) << 31 | e << 23 | mantissa[i]);
    }
    matrix m = {.type = DLX_F32, .n = 1, .k = (int64_t)n, .bytes = (uint8_t *)f};
    dlx_value v = constant(&m, DLX_F16, DLX_CONST_ROUND, 0);
    collected c = streamed(&v, NULL);
    for (size_t i = 0; i < n; i++) assert_int_equal(((const uint16_t *)(const void *)c.bytes)[i], dlx_f32_to_f16(f[i]));
    free(c.bytes);
}

static void expect_stream(const dlx_value *v, dlx_status status, const char *words)
{
    collected c = {0};
    dlx_error err = {0};
    assert_int_equal(dlx_const_stream(v, NULL, collect, &c, &err), status);
    if (!strstr(err.message, words)) fail_msg("'%s' does not say '%s'", err.message, words);
    free(c.bytes);
}

static void what_cannot_be_stored_is_refused(void **state)
{
    static const struct {
        dlx_dtype to;
        uint32_t bits;
        bool ok;
    } ends[] = {{DLX_F16, 0x477FEFFF, true},  /* just below 65520 */
                {DLX_F16, 0x477FF000, false}, /* 65520 */
                {DLX_F16, 0xC77FF000, false},
                {DLX_BF16, 0x7F7F7FFF, true},
                {DLX_BF16, 0x7F7F8000, false}};
    (void)state;
    matrix m = made_up(DLX_F32, 5, 64, 1);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        memcpy(m.bytes + 4 * 130, &ends[i].bits, 4);
        dlx_value v = constant(&m, ends[i].to, DLX_CONST_ROUND, 0);
        if (ends[i].ok)
            free(streamed(&v, NULL).bytes);
        else
            expect_stream(&v, DLX_E_UNSUPPORTED,
                          ends[i].to == DLX_F16 ? "which float16 cannot hold" : "which bfloat16 cannot hold");
    }
    memcpy(m.bytes + 4 * (3 * 64 + 40), &(uint32_t){0x7F800000}, 4);
    memcpy(m.bytes + 4 * 130, &(uint32_t){0}, 4);
    dlx_value codes = constant(&m, DLX_I4, DLX_CONST_INT4_ROWS, 32);
    dlx_value scales = constant(&m, DLX_BF16, DLX_CONST_INT4_SCALES, 32);
    scales.dim[1] = 2;
    expect_stream(&codes, DLX_E_FORMAT, "'w' holds NaN or infinity in row 3");
    expect_stream(&scales, DLX_E_FORMAT, "'w' holds NaN or infinity in row 3");
    dlx_value half = constant(&m, DLX_F16, DLX_CONST_ROUND, 0);
    expect_stream(&half, DLX_E_FORMAT, "'w' holds NaN or infinity");
    free_matrix(&m);
}

/* Value and source must agree: nothing is guessed. */
static void sizes_must_agree(void **state)
{
    (void)state;
    matrix m = made_up(DLX_F32, 4, 64, 1);
    dlx_value v = constant(&m, DLX_I4, DLX_CONST_INT4_ROWS, 48);
    expect_stream(&v, DLX_E_INTERNAL, "cannot be made");
    v = constant(&m, DLX_I4, DLX_CONST_INT4_ROWS, 0);
    v.dim[1] = 63;
    expect_stream(&v, DLX_E_INTERNAL, "cannot be made");
    v = constant(&m, DLX_F32, DLX_CONST_INT4_SCALES, 32);
    v.dim[1] = 2;
    expect_stream(&v, DLX_E_INTERNAL, "cannot be made");
    v = constant(&m, DLX_BF16, DLX_CONST_INT4_SCALES, 32);
    v.dim[1] = 3;
    expect_stream(&v, DLX_E_INTERNAL, "cannot be made");
    v = constant(&m, DLX_I8, DLX_CONST_INT8_ROWS, 32);
    expect_stream(&v, DLX_E_INTERNAL, "cannot be made");
    v = constant(&m, DLX_I8, DLX_CONST_ROUND, 0);
    expect_stream(&v, DLX_E_INTERNAL, "cannot be made");
    /* Codes that were made before are bytes. */
    v = constant(&m, DLX_I4, DLX_CONST_PLAIN, 0);
    expect_stream(&v, DLX_E_INTERNAL, "cannot be made");
    v.source.bytes = 4 * 64 / 2;
    collected c = streamed(&v, NULL);
    assert_int_equal(c.n, 128);
    assert_memory_equal(c.bytes, m.bytes, 128);
    assert_true(dlx_const_is_quantised(&v));
    free(c.bytes);
    free_matrix(&m);
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static void patterns_are_those_of_a_shell(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool matches;
    } cases[] = {
        {"lm_head", "lm_head", true},
        {"lm_head", "lm_head2", false},
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "layers.0.q", true},
        {"layers.*.q", "layers.12.q", true},
        {"layers.*.q", "layers.12.k", false},
        {"layers.?.q", "layers.1.q", true},
        {"layers.?.q", "layers.12.q", false},
        {"*.down*", "model.layers.0.mlp.down_proj", true},
        {"a*b*c", "aXbXbXc", true},
        {"a*b*c", "aXbXbX", false},
        {"**a**", "a", true},
        {"a?", "a", false},
        {"*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
        {"[a]", "a", false},
        {"\\*", "*", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (dlx_pattern_matches(cases[i].pattern, cases[i].name) != cases[i].matches)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].name);
}

static void forms_have_distinct_names(void **state)
{
    (void)state;
    const dlx_weight_form *f, *other;
    size_t n = 0;
    for (size_t i = 0; (f = dlx_form_at(i)) != NULL; i++, n++) {
        char name[32];
        assert_ptr_equal(dlx_form_find(f->name), f);
        snprintf(name, sizeof name, "%s", f->name);
        for (char *s = name; *s; s++)
            if (*s == '-') *s = '_';
        assert_ptr_equal(dlx_form_find(name), f);
        for (size_t k = 0; (other = dlx_form_at(k)) != NULL; k++)
            assert_int_equal(dlx_forms_store_alike(f, other),
                             f == other || (f->stored == DLX_I8 && other->stored == DLX_I8));
    }
    assert_int_equal(n, 10);
    assert_null(dlx_form_find("int5"));
    assert_null(dlx_form_find(""));
    assert_ptr_equal(dlx_form_find("float32"), dlx_form_find("none"));
}

/* ---- the pass ---------------------------------------------------------------------------------------------------- */

static const dlx_value *named(const dlx_graph *g, const char *name)
{
    const dlx_value *found = NULL;
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].name && !strcmp(g->values[i].name, name)) {
            assert_null(found); /* names are unique */
            found = &g->values[i];
        }
    return found;
}

static int count(const dlx_graph *g, dlx_op op)
{
    int n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}

static dlx_recipe recipe_of(const char *body, const char *head, const char *table)
{
    dlx_recipe r = {.body = dlx_form_find(body), .head = dlx_form_find(head), .table = dlx_form_find(table)};
    assert_true(r.body && r.head && r.table);
    return r;
}

static void quantise(dlx_graph *g, const dlx_recipe *r)
{
    dlx_error err = {0};
    build_layer(g, 8, 16);
    if (dlx_quantize(g, r, &err) != DLX_OK) fail_msg("%s", err.message);
    if (dlx_graph_verify(g, &err) != DLX_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_CONST) free(streamed(&g->values[i], NULL).bytes);
}

/* The kind of the linear layer that reads that weight. */
static const char *kind_of(const dlx_graph *g, const char *weight)
{
    const dlx_value *w = named(g, weight);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        if (n->op == DLX_OP_LINEAR && &g->values[n->in[1]] == w)
            return dlx_linear_word(dlx_linear_kind_of(g, &g->values[n->in[0]], w));
    }
    return "none";
}

static void every_form_reaches_its_layers(void **state)
{
    static const struct {
        const char *form, *kind;
        int conversions; /* of rows, and of halves of the table */
    } cases[] = {
        {"none", "f32-f32w", 0},
        {"fp16", "f32-f16w", 1},
        {"bf16", "f32-bf16w", 1},
        {"int8-dynamic", "qd8-qc8w", 5},
        {"int8-weight-only", "f32-qc8w", 0},
        {"int4", "qd8-qc4w", 5},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dlx_graph g;
        dlx_recipe r = recipe_of(cases[i].form, cases[i].form, cases[i].form);
        quantise(&g, &r);
        static const char *const weights[] = {"q", "k", "v", "o", "gate", "up", "down", "embed.weight"};
        for (size_t w = 0; w < sizeof weights / sizeof *weights; w++)
            assert_string_equal(kind_of(&g, weights[w]), cases[i].kind);
        assert_int_equal(count(&g, DLX_OP_CONVERT), cases[i].conversions);
        assert_null(named(&g, "lm_head.weight")); /* one table for both */
        assert_int_equal(named(&g, "rope.cos")->dtype, DLX_F32);
        assert_int_equal(named(&g, "norm")->dtype, DLX_F32);
        dlx_graph_free(&g);
    }
}

static void rules_come_before_the_scheme(void **state)
{
    (void)state;
    dlx_recipe_rule rules[] = {{"q", dlx_form_find("none")},
                               {"?", dlx_form_find("fp16")},
                               {"lm_head", dlx_form_find("int4")},
                               {"down", dlx_form_find("int8-weight-only")},
                               {"down", dlx_form_find("bf16")}}; /* hidden by the rule before, which is no mistake */
    dlx_recipe r = recipe_of("int8-dynamic", "int8-dynamic", "int8-dynamic");
    dlx_graph g;
    r.rules = rules;
    r.n_rules = 5;
    quantise(&g, &r);
    assert_string_equal(kind_of(&g, "q"), "f32-f32w");
    assert_string_equal(kind_of(&g, "k"), "f32-f16w");
    assert_string_equal(kind_of(&g, "gate"), "qd8-qc8w");
    assert_string_equal(kind_of(&g, "down"), "f32-qc8w");
    /* The head no longer shares the table. */
    assert_string_equal(kind_of(&g, "lm_head.weight"), "qd8-qc4w");
    assert_string_equal(kind_of(&g, "embed.weight"), "none");
    assert_int_equal(named(&g, "embed.weight")->dtype, DLX_I8);
    assert_int_equal(named(&g, "embed.weight.scales")->rank, 2);
    assert_int_equal(named(&g, "lm_head.weight.scales")->rank, 1);
    assert_ptr_equal(named(&g, "lm_head.weight")->source.data, named(&g, "embed.weight")->source.data);
    dlx_graph_free(&g);
}

/* The table as it is called in the checkpoint, and its head when both forms differ. */
static void a_table_and_its_head_may_differ(void **state)
{
    (void)state;
    dlx_recipe r = recipe_of("none", "none", "int4");
    dlx_graph g;
    quantise(&g, &r);
    assert_string_equal(kind_of(&g, "lm_head.weight"), "f32-f32w");
    assert_int_equal(named(&g, "embed.weight")->dtype, DLX_I4);
    dlx_graph_free(&g);
    r = recipe_of("none", "int8-weight-only", "int8-dynamic"); /* these store the same */
    quantise(&g, &r);
    assert_string_equal(kind_of(&g, "embed.weight"), "f32-qc8w");
    assert_null(named(&g, "lm_head.weight"));
    dlx_graph_free(&g);
    dlx_recipe_rule rule = {"embed", dlx_form_find("fp16")};
    r.rules = &rule;
    r.n_rules = 1;
    quantise(&g, &r);
    assert_int_equal(named(&g, "embed.weight")->dtype, DLX_F16);
    assert_string_equal(kind_of(&g, "lm_head.weight"), "f32-qc8w");
    dlx_graph_free(&g);
}

static void expect_refused(const dlx_recipe *r, dlx_status status, const char *words)
{
    dlx_graph g;
    dlx_error err = {0};
    build_layer(&g, 8, 16);
    size_t nodes = g.n_nodes;
    for (size_t i = 0; i < g.n_values; i++)
        if (g.values[i].name && !strcmp(g.values[i].name, "down")) g.values[i].source.tensor = "model.down_proj.weight";
    assert_int_equal(dlx_quantize(&g, r, &err), status);
    if (!strstr(err.message, words)) fail_msg("'%s' does not say '%s'", err.message, words);
    assert_int_equal(g.n_nodes, nodes); /* as it was */
    assert_int_equal(dlx_graph_verify(&g, &err), DLX_OK);
    dlx_graph_free(&g);
}

static void what_does_not_fit_is_named(void **state)
{
    (void)state;
    dlx_recipe r = recipe_of("int4-g32", "none", "none");
    expect_refused(&r, DLX_E_UNSUPPORTED,
                   "weight 'q' [32, 24], 3072 bytes, does not fit int4-g32: its groups of 32 do not divide rows of 24");
    r = recipe_of("none", "none", "int4-g128");
    expect_refused(&r, DLX_E_UNSUPPORTED, "weight 'embed.weight' [11, 24], 1056 bytes, does not fit int4-g128");
    dlx_recipe_rule rule = {"model.down*", dlx_form_find("int4-g64")};
    r = recipe_of("none", "none", "none");
    r.rules = &rule;
    r.n_rules = 1;
    expect_refused(&r, DLX_E_UNSUPPORTED, "weight 'down' (model.down_proj.weight) [24, 40]");
}

static void rules_for_nothing_are_named(void **state)
{
    (void)state;
    dlx_recipe_rule rule = {"model.down_prj", dlx_form_find("none")};
    dlx_recipe r = recipe_of("int8-dynamic", "int8-dynamic", "int8-dynamic");
    r.rules = &rule;
    r.n_rules = 1;
    expect_refused(&r, DLX_E_INVALID,
                   "'model.down_prj' names no weight of this model; the nearest names are model.down_proj, ");
    rule.pattern = "lm_haed";
    expect_refused(&r, DLX_E_INVALID, "the nearest names are lm_head, ");
    rule.pattern = "lm_[gh]ead";
    expect_refused(&r, DLX_E_INVALID, "; of patterns only '*' and '?' are known");
    rule = (dlx_recipe_rule){"down", dlx_form_find("int8-dynamic")};
    dlx_graph g;
    quantise(&g, &r);
    dlx_graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_type_and_group_is_streamed),
        cmocka_unit_test(tiny_groups_are_clamped),
        one_thread_test(halves_are_the_nearest),
        cmocka_unit_test(what_cannot_be_stored_is_refused),
        cmocka_unit_test(sizes_must_agree),
        cmocka_unit_test(patterns_are_those_of_a_shell),
        cmocka_unit_test(forms_have_distinct_names),
        cmocka_unit_test(every_form_reaches_its_layers),
        cmocka_unit_test(rules_come_before_the_scheme),
        cmocka_unit_test(a_table_and_its_head_may_differ),
        cmocka_unit_test(what_does_not_fit_is_named),
        cmocka_unit_test(rules_for_nothing_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
