/* Programs: round trip, layout of the file, the rules that both directions keep, and bytes that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sizes.h"
#include "format/flatbuffer.h"
#include "format/pte_schema.h"
#include "pte_sample.h"
#include "whole_file.h"

static uint8_t *written(dlx_pte *pte, size_t *size)
{
    dlx_status s;
    dlx_error err = {0};
    uint8_t *file = pte_sample_write(pte, size, &s, &err);
    if (!file) fail_msg("not written: %s", err.message);
    return file;
}

/* ---- round trip ---- */

static void same_value(const dlx_evalue *a, const dlx_evalue *b)
{
    assert_int_equal(a->kind, b->kind);
    switch (a->kind) {
    case DLX_EV_NONE:
    case DLX_EV_NULL: break;
    case DLX_EV_INT: assert_true(a->u.i == b->u.i); break;
    case DLX_EV_BOOL: assert_int_equal(a->u.b, b->u.b); break;
    case DLX_EV_DOUBLE: assert_true(a->u.d == b->u.d); break;
    case DLX_EV_STRING:
        assert_string_equal(a->u.s.text, b->u.s.text);
        assert_int_equal(a->u.s.length, b->u.s.length);
        break;
    case DLX_EV_TENSOR:
        assert_int_equal(a->u.tensor.scalar_type, b->u.tensor.scalar_type);
        assert_int_equal(a->u.tensor.rank, b->u.tensor.rank);
        assert_memory_equal(a->u.tensor.sizes, b->u.tensor.sizes, 4 * (size_t)a->u.tensor.rank);
        assert_int_equal(a->u.tensor.dynamic, b->u.tensor.dynamic);
        assert_int_equal(a->u.tensor.memory_id, b->u.tensor.memory_id);
        assert_true(a->u.tensor.memory_offset == b->u.tensor.memory_offset);
        assert_true(a->u.tensor.bytes == b->u.tensor.bytes);
        assert_int_equal(a->u.tensor.blob, b->u.tensor.blob); /* constants come first in both */
        assert_int_equal(a->u.tensor.name != NULL, b->u.tensor.name != NULL);
        if (a->u.tensor.name) assert_string_equal(a->u.tensor.name, b->u.tensor.name);
        break;
    case DLX_EV_DOUBLE_LIST:
        assert_int_equal(a->u.list.count, b->u.list.count);
        if (a->u.list.count) assert_memory_equal(a->u.list.doubles, b->u.list.doubles, 8 * (size_t)a->u.list.count);
        break;
    default:
        assert_int_equal(a->u.list.count, b->u.list.count);
        if (a->u.list.count) assert_memory_equal(a->u.list.ints, b->u.list.ints, 8 * (size_t)a->u.list.count);
    }
}

static void same_blob(const dlx_pte_blob *a, const dlx_pte_blob *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_true(a->size == b->size && a->offset == b->offset && b->alias_of == -1);
    if (a->data && a->size) assert_memory_equal(a->data, b->data, (size_t)a->size);
}

static void same_plan(const dlx_pte *x, const dlx_pte_plan *a, const dlx_pte *y, const dlx_pte_plan *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->n_values, b->n_values);
    for (uint32_t i = 0; i < a->n_values; i++) same_value(&a->values[i], &b->values[i]);
    assert_int_equal(a->n_inputs, b->n_inputs);
    assert_int_equal(a->n_outputs, b->n_outputs);
    if (a->n_inputs) assert_memory_equal(a->inputs, b->inputs, 4 * (size_t)a->n_inputs);
    if (a->n_outputs) assert_memory_equal(a->outputs, b->outputs, 4 * (size_t)a->n_outputs);
    assert_int_equal(a->n_buffer_sizes, b->n_buffer_sizes);
    assert_memory_equal(a->buffer_sizes, b->buffer_sizes, 8 * (size_t)a->n_buffer_sizes);
    assert_int_equal(a->n_operators, b->n_operators);
    for (uint32_t i = 0; i < a->n_operators; i++) {
        assert_string_equal(a->operators[i].name, b->operators[i].name);
        assert_string_equal(a->operators[i].overload, b->operators[i].overload);
    }
    assert_int_equal(a->n_delegates, b->n_delegates);
    for (uint32_t i = 0; i < a->n_delegates; i++) {
        assert_string_equal(a->delegates[i].id, b->delegates[i].id);
        same_blob(&x->blobs[a->delegates[i].blob], &y->blobs[b->delegates[i].blob]);
        pte_sample_same_specs(&a->delegates[i], &b->delegates[i]);
    }
    assert_int_equal(a->n_instructions, b->n_instructions);
    for (uint32_t i = 0; i < a->n_instructions; i++) {
        const dlx_instruction *p = &a->instructions[i], *q = &b->instructions[i];
        assert_int_equal(p->kind, q->kind);
        assert_int_equal(p->index, q->index);
        assert_int_equal(p->target, q->target);
        assert_int_equal(p->n_args, q->n_args);
        if (p->n_args) assert_memory_equal(p->args, q->args, 4 * (size_t)p->n_args);
    }
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    pte_sample s;
    size_t size;
    pte_sample_make(&s);
    uint8_t *file = written(&s.pte, &size);
    dlx_arena arena;
    dlx_pte pte;
    dlx_error err = {0};
    dlx_arena_init(&arena);
    if (dlx_pte_read(&pte, &arena, file, size, "sample.pte", &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(pte.n_plans, 3);
    assert_int_equal(pte.n_blobs, B_COUNT);
    assert_true(pte.file_size == size && s.pte.file_size == size && pte.program_size == s.pte.program_size);
    for (int i = 0; i < 3; i++) same_plan(&s.pte, &s.plans[i], &pte, &pte.plans[i]);
    for (int i = 0; i <= B_BYTES; i++) same_blob(&s.blobs[i], &pte.blobs[i]);
    for (int i = B_ALIAS; i <= B_NOTHING; i++) same_blob(&s.blobs[i], dlx_pte_find_named(&pte, s.blobs[i].key));
    pte_sample_walk(&pte);

    assert_ptr_equal(dlx_pte_find_named(&pte, "z.alias")->data, pte.blobs[B_WEIGHT].data);
    assert_null(dlx_pte_find_named(&pte, "b"));
    assert_ptr_equal(dlx_pte_find_plan(&pte, "empty"), &pte.plans[2]);
    assert_null(dlx_pte_find_plan(&pte, "backward"));
    assert_true(dlx_pte_constant(&pte, "get_max_seq_len", 0)->u.i == (int64_t)1 << 40);
    assert_null(dlx_pte_constant(&pte, "get_max_seq_len", 1));
    assert_null(dlx_pte_constant(&pte, "forward", 0)); /* it has instructions */
    assert_true(dlx_pte_constant_int(&pte, "get_max_seq_len", -1) == (int64_t)1 << 40);
    assert_true(dlx_pte_constant_int(&pte, "get_min_seq_len", -1) == -1);
    dlx_arena_free(&arena);
    free(file);
}

/* ---- layout ---- */

static uint64_t u64_at(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static void the_file_begins_with_the_extended_header(void **state)
{
    (void)state;
    /* root table at 60, "ET12", "eh00", 32 bytes, program of 456 bytes, no segments */
    static const uint8_t expected[40] = {0x3c, 0, 0, 0, 'E', 'T', '1', '2', 'e', 'h', '0', '0', 32, 0, 0, 0, 0xc8, 1};
    pte_sample s;
    size_t size;
    pte_sample_make(&s);
    s.pte = (dlx_pte){.plans = &s.plans[1], .n_plans = 1};
    uint8_t *file = written(&s.pte, &size);
    assert_int_equal(size, 456);
    assert_memory_equal(file, expected, sizeof expected);
    free(file);
}

static void segments_and_constants_are_aligned(void **state)
{
    (void)state;
    pte_sample s;
    size_t size;
    pte_sample_make(&s);
    uint8_t *file = written(&s.pte, &size);
    uint64_t program = u64_at(file + 16), base = u64_at(file + 24), bytes = u64_at(file + 32);
    assert_true(program == s.pte.program_size && base == dlx_align_up(program, 128) && base + bytes == size);
    for (uint64_t i = program; i < base; i++) assert_int_equal(file[i], 0);
    for (int i = 0; i < B_COUNT; i++) {
        const dlx_pte_blob *b = &s.blobs[i];
        assert_int_equal(b->offset % (b->kind == DLX_BLOB_CONSTANT ? 16 : i == B_ALIAS ? 16 : 128), 0);
        assert_true(b->offset >= base && b->offset + b->size <= size);
        if (b->data) assert_memory_equal(file + b->offset, b->data, (size_t)b->size);
    }
    assert_true(s.blobs[B_ALIAS].offset == s.blobs[B_WEIGHT].offset);
    free(file);
}

static void header_forms_of_other_writers_are_read(void **state)
{
    (void)state;
    static const struct {
        uint32_t length;
        dlx_status status;
    } forms[] = {{32, DLX_OK}, {40, DLX_OK}, {24, DLX_OK}, {20, DLX_E_FORMAT}, {UINT32_MAX, DLX_E_FORMAT}};
    pte_sample s;
    size_t size;
    dlx_pte pte;
    dlx_arena arena;
    dlx_arena_init(&arena);
    pte_sample_make(&s);
    uint8_t *file = written(&s.pte, &size);
    for (size_t i = 0; i < DLX_COUNT(forms); i++) {
        memcpy(file + 12, &forms[i].length, 4);
        assert_int_equal(dlx_pte_read(&pte, &arena, file, size, "sample.pte", NULL), forms[i].status);
    }
    /* Without the header nothing tells where segments are, so a program that has some is refused. */
    memset(file + 8, 0, 32);
    assert_int_equal(dlx_pte_read(&pte, &arena, file, size, "sample.pte", NULL), DLX_E_FORMAT);
    free(file);
    s.pte = (dlx_pte){.plans = &s.plans[1], .n_plans = 1};
    file = written(&s.pte, &size);
    memset(file + 8, 0, 32);
    assert_int_equal(dlx_pte_read(&pte, &arena, file, size, "sample.pte", NULL), DLX_OK);
    assert_true(dlx_pte_constant_int(&pte, "get_max_seq_len", 0) == (int64_t)1 << 40);
    free(file);
    dlx_arena_free(&arena);
}

/* ---- large files ---- */

/* A blob of 5 GiB as a hole in the file; the one behind it as bytes. */
static dlx_status stream_hole(void *ctx, const void *user, uint64_t size, dlx_output *out, dlx_error *err)
{
    bool *refused = ctx;
    (void)user;
    if (write(out->fd, out->buffer, out->buffered) != (ssize_t)out->buffered) return DLX_E_IO;
    out->buffered = 0;
    out->position += size;
    if (ftruncate(out->fd, (off_t)out->position) != 0 || lseek(out->fd, (off_t)out->position, SEEK_SET) < 0) {
        *refused = true;
        return dlx_fail(err, DLX_E_IO, "the disk refuses a sparse file");
    }
    return DLX_OK;
}

static void offsets_reach_beyond_4_gib(void **state)
{
    (void)state;
    if (sizeof(size_t) < 8) skip();
    char folder[] = "/tmp/dlx-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/large.pte", folder);
    dlx_pte_blob blobs[] = {
        {.kind = DLX_BLOB_NAMED, .key = "hole", .size = (uint64_t)5 << 30, .alias_of = -1},
        {.kind = DLX_BLOB_NAMED, .key = "behind", .size = 6, .data = "behind", .alias_of = -1},
    };
    pte_sample s;
    pte_sample_make(&s);
    dlx_pte pte = {.plans = &s.plans[1], .n_plans = 1, .blobs = blobs, .n_blobs = 2}, got;
    dlx_output out;
    dlx_error err = {0};
    whole_file map = {0};
    bool refused = false;
    assert_int_equal(dlx_output_open(&out, path, &err), DLX_OK);
    dlx_status status = dlx_pte_write(&pte, &out, stream_hole, &refused, &err);
    if (status == DLX_OK) status = dlx_output_commit(&out, &err);
    dlx_output_close(&out);
    if (status == DLX_OK) status = map_whole_file(&map, path, &err); /* reading would fill 5 GiB with zeros */
    unlink(path);
    rmdir(folder);
    if (refused || status == DLX_E_IO || status == DLX_E_NOMEM) {
        print_message("[ SKIPPED  ] offsets beyond 4 GiB are NOT tested: %s\n", err.message);
        skip();
    }
    assert_int_equal(status, DLX_OK);
    dlx_arena arena;
    dlx_arena_init(&arena);
    assert_int_equal(dlx_pte_read(&got, &arena, map.data, map.size, "large.pte", &err), DLX_OK);
    assert_true(dlx_pte_find_named(&got, "hole")->size == (uint64_t)5 << 30);
    const dlx_pte_blob *behind = dlx_pte_find_named(&got, "behind");
    assert_true(behind->offset > UINT32_MAX);
    assert_memory_equal(behind->data, "behind", 6);
    dlx_arena_free(&arena);
    unmap_whole_file(&map);
}

/* ---- rules ---- */

#define TENSOR(v) s->values[v].u.tensor
/* X(what is broken, status, words of the message) */
#define RULES(X)                                                                                                       \
    X(s->pte.n_plans = 0, DLX_E_FORMAT, "no methods")                                                                  \
    X(s->plans[1].name = "", DLX_E_FORMAT, "method 1 has no name")                                                     \
    X(TENSOR(V_WEIGHT).scalar_type = 12, DLX_E_UNSUPPORTED, "value 4: tensor 'model.weight' has scalar type 12")       \
    X(TENSOR(V_WEIGHT).rank = 17, DLX_E_UNSUPPORTED, "rank 17")                                                        \
    X(TENSOR(V_WEIGHT).sizes[1] = -3, DLX_E_FORMAT, "size -3 in dimension 1")                                          \
    X(TENSOR(V_WEIGHT).bytes--, DLX_E_FORMAT, "claims 23 bytes; its sizes give 24")                                    \
    X(TENSOR(V_WEIGHT).sizes[0] = 3; TENSOR(V_WEIGHT).bytes = 36, DLX_E_FORMAT, "needs 36 bytes; its constant has 24") \
    X(TENSOR(V_WEIGHT).memory_id = 1, DLX_E_FORMAT, "data 0, which is not one of the initial values")                  \
    X(TENSOR(V_WEIGHT).blob = B_OWN, DLX_E_FORMAT, "refers to data 5")                                                 \
    X(TENSOR(V_WEIGHT).blob = -2, DLX_E_FORMAT, "refers to data -2")                                                   \
    X(TENSOR(V_WEIGHT).blob = B_COUNT, DLX_E_FORMAT, "refers to data 8")                                               \
    X(TENSOR(V_PLANNED).memory_id = 3, DLX_E_FORMAT, "value 5: tensor '' is planned into arena 3; the method has 2")   \
    X(TENSOR(V_PLANNED).memory_offset = 65, DLX_E_FORMAT, "takes 64 bytes at 65 of arena 1, which has 128")            \
    X(TENSOR(V_PLANNED).memory_offset = UINT64_MAX, DLX_E_FORMAT, "takes 64 bytes")                                    \
    X(for (int d = 0; d < 16; d++) TENSOR(V_FAR).sizes[d] = INT32_MAX, DLX_E_FORMAT, "more bytes than 64 bits")        \
    X(s->sizes[1] = -1, DLX_E_FORMAT, "arena 1 has a size of -1")                                                      \
    X(s->values[V_STRING].u.s.text = NULL, DLX_E_FORMAT, "value 7: the string is missing")                             \
    X(s->values[V_NONE].kind = (dlx_evalue_kind)12, DLX_E_UNSUPPORTED, "value 13: its kind is number 12")              \
    X(s->ints[1] = V_COUNT, DLX_E_FORMAT, "value 8: item 1 of the list is value 21; the method has 21 values")         \
    X(s->ints[1] = -1, DLX_E_FORMAT, "item 1 of the list is value -1")                                                 \
    X(s->ints[0] = V_DOUBLE, DLX_E_FORMAT, "value 3, which is not an integer")                                         \
    X(s->tensors[0] = V_NULL, DLX_E_FORMAT, "value 0, which is not a tensor")                                          \
    X(s->tensors[0] = -1, DLX_E_FORMAT, "value 11: item 0 of the list is value -1")                                    \
    X(s->optional[0] = -2, DLX_E_FORMAT, "value 12: item 0 of the list is value -2")                                   \
    X(s->optional[1] = V_FAR, DLX_E_FORMAT, "stands behind the list")                                                  \
    X(s->inputs[1] = V_COUNT, DLX_E_FORMAT, "input 1 is value 21")                                                     \
    X(s->outputs[0] = -1, DLX_E_FORMAT, "output 0 is value -1")                                                        \
    X(s->outputs[0] = V_NONE, DLX_E_FORMAT, "output 0 is value 13")                                                    \
    X(s->operators[1].name = "", DLX_E_FORMAT, "operator 1 has no name")                                               \
    X(s->delegates[1].id = "", DLX_E_FORMAT, "delegate 1 has no backend name")                                         \
    X(s->specs[1].key = NULL, DLX_E_FORMAT, "option 1 of delegate 1 ('OtherBackend') has no name")                     \
    X(s->specs[0].value = NULL, DLX_E_FORMAT, "option 0 of delegate 1 ('OtherBackend') has no name or no value")       \
    X(s->delegates[1].blob = B_OWN, DLX_E_FORMAT, "delegate 1 ('OtherBackend') has no payload")                        \
    X(s->instructions[I_ADD].index = 2, DLX_E_FORMAT, "instruction 0: the operator is 2; the method has 2")            \
    X(s->instructions[I_CALL].index = -1, DLX_E_FORMAT, "instruction 1: the delegate is -1")                           \
    X(s->args[2] = V_COUNT, DLX_E_FORMAT, "instruction 0: argument 2 is value 21")                                     \
    X(s->args[1] = -1, DLX_E_FORMAT, "argument 1 is value -1")                                                         \
    X(s->instructions[I_MOVE].index = -1, DLX_E_FORMAT, "instruction 2: the value moved from is -1")                   \
    X(s->instructions[I_MOVE].target = V_COUNT, DLX_E_FORMAT, "the value moved to is 21")                              \
    X(s->instructions[I_JUMP].target = 7, DLX_E_FORMAT, "instruction 3: the jump goes to instruction 7")               \
    X(s->instructions[I_JUMP].target = -1, DLX_E_FORMAT, "the jump goes to instruction -1")                            \
    X(s->instructions[I_JUMP].index = V_INT, DLX_E_FORMAT, "value 1, is neither a bool nor a tensor")                  \
    X(s->instructions[I_FREE].index = V_COUNT, DLX_E_FORMAT, "instruction 4: the value to free is 21")                 \
    X(s->instructions[I_FREE].kind = (dlx_instruction_kind)6, DLX_E_UNSUPPORTED, "its kind is number 6")               \
    X(s->blobs[B_OWN].key = "", DLX_E_FORMAT, "blob 5) has no key")                                                    \
    X(s->blobs[B_OWN].key = "z.alias", DLX_E_FORMAT, "named data 'z.alias' stands twice")                              \
    X(s->blobs[B_ALIAS].alias_of = B_FIRST, DLX_E_INTERNAL, "'z.alias' shares blob 3")                                 \
    X(s->blobs[B_ALIAS].size = 25, DLX_E_INTERNAL, "not a constant of at least 25 bytes")                              \
    X(s->blobs[B_SECOND].kind = DLX_BLOB_CONSTANT; s->delegates[1].blob = B_FIRST, DLX_E_INTERNAL, "come first")       \
    X(s->blobs[B_SECOND].size = UINT64_MAX - 99, DLX_E_LIMIT, "more bytes than a file can hold")

static void break_rule(pte_sample *s, int rule)
{
    int i = 0;
#define BREAK(change, status, words)                                                                                   \
    if (rule == i++) {                                                                                                 \
        change;                                                                                                        \
    }
    RULES(BREAK)
#undef BREAK
}

static void what_breaks_a_rule_is_refused(void **state)
{
    (void)state;
#define EXPECT(change, status, words) {status, words, #change},
    static const struct {
        dlx_status status;
        const char *words, *change;
    } rules[] = {RULES(EXPECT)};
#undef EXPECT
    for (size_t i = 0; i < DLX_COUNT(rules); i++) {
        pte_sample s;
        size_t size;
        dlx_status status;
        dlx_error err = {0};
        pte_sample_make(&s);
        break_rule(&s, (int)i);
        if (pte_sample_write(&s.pte, &size, &status, &err)) fail_msg("written in spite of %s", rules[i].change);
        if (status != rules[i].status || !strstr(err.message, rules[i].words))
            fail_msg("%s: %s: '%s' lacks '%s'", rules[i].change, dlx_status_name(status), err.message, rules[i].words);
    }
}

/* ---- bytes that lie ---- */

static dlx_status reread(const uint8_t *file, size_t size, dlx_error *err)
{
    dlx_pte pte;
    dlx_arena arena;
    dlx_arena_init(&arena);
    dlx_status s = dlx_pte_read(&pte, &arena, file, size, "sample.pte", err);
    if (s == DLX_OK)
        pte_sample_walk(&pte);
    else
        assert_null(pte.plans);
    dlx_arena_free(&arena);
    return s;
}

static void every_truncation_is_refused(const uint8_t *file, size_t size)
{
    for (size_t n = 0; n < size; n++) {
        dlx_error err = {0};
        uint8_t *copy = malloc(n ? n : 1); /* exact, so that a sanitizer sees the first byte too many */
        assert_non_null(copy);
        memcpy(copy, file, n);
        if (reread(copy, n, &err) == DLX_OK) fail_msg("the first %zu of %zu bytes were accepted", n, size);
        assert_true(err.status != DLX_OK && strstr(err.message, "'sample.pte': ") == err.message);
        free(copy);
    }
}

static void every_flipped_bit_is_survived(uint8_t *file, size_t size)
{
    uint64_t program = u64_at(file + 16);
    size_t refused = 0;
    for (size_t bit = 0; bit < 8 * program; bit++) {
        dlx_error err = {0};
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
        dlx_status s = reread(file, size, &err);
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (s == DLX_OK) continue;
        refused++;
        assert_int_equal(err.status, s);
        assert_true(strstr(err.message, "'sample.pte': ") == err.message && strlen(err.message) > 30);
    }
    assert_true(refused > program); /* far more than one bit in eight matters */
    assert_int_equal(reread(file, size, NULL), DLX_OK);
}

static void damaged_files_are_survived(void **state)
{
    (void)state;
    pte_sample s;
    size_t size;
    pte_sample_make(&s);
    uint8_t *file = written(&s.pte, &size);
    every_truncation_is_refused(file, size);
    every_flipped_bit_is_survived(file, size);
    assert_int_equal(reread(file + 8, size - 8, NULL), DLX_E_INVALID); /* not aligned */
    free(file);
}

/* What the writer never writes, one choice at a time; all zero is a readable program. */
typedef struct oddity {
    int32_t storage_offset, device, location, dynamism, arena_device;
    bool reversed, ranks_differ, allocated, mutable_value, absent;
    int32_t memory_id, data, chains, value_kind, no_contents, location_of_payload, inline_index, both_constants;
} oddity;

static void put_odd_tensor(dlx_fbw *w, dlx_fbw_ref from, const oddity *o)
{
    static const int32_t sizes[] = {2, 3};
    const uint8_t order[] = {o->reversed ? 1 : 0, o->reversed ? 0 : 1};
    dlx_fbw_table t = {0}, extra = {0}, allocation = {0};
    dlx_fbw_set(&t, TENSOR_SCALAR_TYPE, 1, DLX_ST_CHAR);
    dlx_fbw_set(&t, TENSOR_STORAGE_OFFSET, 4, (uint32_t)o->storage_offset);
    dlx_fbw_set_ref(&t, TENSOR_SIZES);
    if (!o->absent) dlx_fbw_set_ref(&t, TENSOR_DIM_ORDER);
    dlx_fbw_set(&t, TENSOR_DATA, 4, (uint32_t)o->data);
    if (o->allocated) dlx_fbw_set_ref(&t, TENSOR_ALLOCATION);
    dlx_fbw_set(&t, TENSOR_DYNAMISM, 1, (uint64_t)o->dynamism);
    if (!o->absent) dlx_fbw_set_ref(&t, TENSOR_EXTRA);
    dlx_fbw_put(w, from, &t);
    dlx_fbw_scalars(w, t.ref[TENSOR_SIZES], sizes, 2, 4);
    if (o->allocated) {
        dlx_fbw_set(&allocation, ALLOCATION_ID, 4, (uint32_t)o->memory_id);
        dlx_fbw_put(w, t.ref[TENSOR_ALLOCATION], &allocation);
    }
    if (o->absent) return;
    dlx_fbw_scalars(w, t.ref[TENSOR_DIM_ORDER], order, o->ranks_differ ? 1 : 2, 1);
    dlx_fbw_set_ref(&extra, EXTRA_NAME);
    dlx_fbw_set(&extra, EXTRA_LOCATION, 1, (uint64_t)o->location);
    dlx_fbw_set(&extra, EXTRA_DEVICE_TYPE, 1, (uint64_t)o->device);
    dlx_fbw_put(w, t.ref[TENSOR_EXTRA], &extra);
    dlx_fbw_string(w, extra.ref[EXTRA_NAME], "odd");
}

static void put_odd_delegate(dlx_fbw *w, dlx_fbw_ref from, const oddity *o)
{
    dlx_fbw_table d = {0}, reference = {0};
    dlx_fbw_set_ref(&d, DELEGATE_ID);
    dlx_fbw_set_ref(&d, DELEGATE_PROCESSED);
    dlx_fbw_put(w, dlx_fbw_item(dlx_fbw_vector(w, from, 1), 0), &d);
    dlx_fbw_string(w, d.ref[DELEGATE_ID], "Inline");
    dlx_fbw_set(&reference, REFERENCE_LOCATION, 1, (uint64_t)o->location_of_payload);
    dlx_fbw_set(&reference, REFERENCE_INDEX, 4, (uint32_t)o->inline_index);
    dlx_fbw_put(w, d.ref[DELEGATE_PROCESSED], &reference);
}

static void put_odd_plan(dlx_fbw *w, dlx_fbw_ref from, const oddity *o)
{
    static const int64_t arenas[] = {0, 64};
    dlx_fbw_table plan = {0}, value = {0}, chain = {0}, device = {0};
    dlx_fbw_set_ref(&plan, PLAN_NAME);
    dlx_fbw_set_ref(&plan, PLAN_VALUES);
    if (!o->absent) dlx_fbw_set_ref(&plan, PLAN_CHAINS);
    dlx_fbw_set_ref(&plan, PLAN_DELEGATES);
    dlx_fbw_set_ref(&plan, PLAN_BUFFER_SIZES);
    if (o->arena_device) dlx_fbw_set_ref(&plan, PLAN_BUFFER_DEVICES);
    dlx_fbw_put(w, from, &plan);
    dlx_fbw_string(w, plan.ref[PLAN_NAME], "strange");
    dlx_fbw_set(&value, EVALUE_TYPE, 1, (uint64_t)(o->value_kind ? o->value_kind : DLX_EV_TENSOR));
    if (!o->no_contents) dlx_fbw_set_ref(&value, EVALUE_VALUE);
    dlx_fbw_put(w, dlx_fbw_item(dlx_fbw_vector(w, plan.ref[PLAN_VALUES], 1), 0), &value);
    if (!o->no_contents) put_odd_tensor(w, value.ref[EVALUE_VALUE], o);
    if (!o->absent) {
        size_t n = o->chains ? (size_t)o->chains : 1;
        dlx_fbw_ref chains = dlx_fbw_vector(w, plan.ref[PLAN_CHAINS], n);
        for (size_t i = 0; i < n; i++) dlx_fbw_put(w, dlx_fbw_item(chains, i), &chain);
    }
    put_odd_delegate(w, plan.ref[PLAN_DELEGATES], o);
    dlx_fbw_scalars(w, plan.ref[PLAN_BUFFER_SIZES], arenas, 2, 8);
    if (o->arena_device) {
        dlx_fbw_set(&device, NON_CONST_DEVICE_TYPE, 1, 1);
        dlx_fbw_put(w, dlx_fbw_item(dlx_fbw_vector(w, plan.ref[PLAN_BUFFER_DEVICES], 1), 0), &device);
    }
}

/* Constants and the payload stand inside the flatbuffer, no extended header, as in the oldest files. */
static void put_odd_program(dlx_fbw *w, const oddity *o)
{
    static const uint64_t offsets[] = {0, 0};
    dlx_fbw_init(w, "ET12", 0);
    dlx_fbw_table program = {0}, buffer = {0}, segment = {0};
    dlx_fbw_set_ref(&program, PROGRAM_PLANS);
    dlx_fbw_set_ref(&program, PROGRAM_CONSTANT_BUFFER);
    dlx_fbw_set_ref(&program, PROGRAM_DELEGATE_DATA);
    if (o->both_constants) dlx_fbw_set_ref(&program, PROGRAM_CONSTANT_SEGMENT);
    dlx_fbw_put(w, dlx_fbw_root(w), &program);
    put_odd_plan(w, dlx_fbw_item(dlx_fbw_vector(w, program.ref[PROGRAM_PLANS], 1), 0), o);
    dlx_fbw_ref constants = dlx_fbw_vector(w, program.ref[PROGRAM_CONSTANT_BUFFER], 2);
    dlx_fbw_put(w, dlx_fbw_item(constants, 0), &buffer);
    dlx_fbw_set_ref(&buffer, BUFFER_BYTES);
    dlx_fbw_put(w, dlx_fbw_item(constants, 1), &buffer);
    dlx_fbw_scalars(w, buffer.ref[BUFFER_BYTES], "constant", 8, 1);
    dlx_fbw_put(w, dlx_fbw_item(dlx_fbw_vector(w, program.ref[PROGRAM_DELEGATE_DATA], 1), 0), &buffer);
    dlx_fbw_scalars(w, buffer.ref[BUFFER_BYTES], "payload", 7, 1);
    if (o->both_constants) {
        dlx_fbw_set_ref(&segment, SUBSEGMENT_OFFSETS);
        dlx_fbw_put(w, program.ref[PROGRAM_CONSTANT_SEGMENT], &segment);
        dlx_fbw_scalars(w, segment.ref[SUBSEGMENT_OFFSETS], offsets, 2, 8);
    }
    assert_true(dlx_fbw_finish(w));
}

static void programs_with_inline_data_are_read(void **state)
{
    (void)state;
    for (int absent = 0; absent < 2; absent++) {
        dlx_fbw w;
        dlx_pte pte;
        dlx_arena arena;
        dlx_arena_init(&arena);
        dlx_error err = {0};
        put_odd_program(&w, &(oddity){.data = 1, .absent = absent != 0});
        if (dlx_pte_read(&pte, &arena, w.data, w.size, "old.pte", &err) != DLX_OK) fail_msg("%s", err.message);
        pte_sample_walk(&pte);
        assert_int_equal(pte.n_blobs, 2);
        assert_memory_equal(pte.blobs[0].data, "constant", 8);
        assert_memory_equal(pte.blobs[pte.plans[0].delegates[0].blob].data, "payload", 7);
        assert_int_equal(pte.plans[0].values[0].u.tensor.bytes, 6);
        assert_int_equal(pte.plans[0].n_instructions, 0);
        dlx_arena_free(&arena);
        dlx_fbw_free(&w);
    }
}

static void what_cannot_be_served_is_named(void **state)
{
    (void)state;
    static const struct {
        oddity odd;
        dlx_status status;
        const char *words;
    } cases[] = {
        {{.storage_offset = 1}, DLX_E_UNSUPPORTED, "value 0: tensor 'odd' has a storage offset"},
        {{.device = 1}, DLX_E_UNSUPPORTED, "tensor 'odd' lives on another device"},
        {{.location = 1}, DLX_E_UNSUPPORTED, "tensor 'odd' keeps its data in another file (.ptd)"},
        {{.dynamism = 2}, DLX_E_UNSUPPORTED, "tensor 'odd' has a shape without upper bound"},
        {{.arena_device = 1}, DLX_E_UNSUPPORTED, "arena on another device"},
        {{.reversed = true}, DLX_E_UNSUPPORTED, "tensor 'odd' is not contiguous"},
        {{.ranks_differ = true}, DLX_E_FORMAT, "2 sizes and an order of 1"},
        {{.allocated = true}, DLX_E_FORMAT, "arena 0, which is reserved"},
        {{.allocated = true, .memory_id = 1, .data = 1}, DLX_E_FORMAT, "refers to initial value 1; there are 0"},
        {{.data = 2}, DLX_E_FORMAT, "refers to constant 2; there are 1"},
        {{.chains = 2}, DLX_E_UNSUPPORTED, "2 chains"},
        {{.value_kind = 12}, DLX_E_UNSUPPORTED, "method 0 ('strange'): value 0: its kind is number 12"},
        {{.no_contents = 1}, DLX_E_FORMAT, "a kind but no contents"},
        {{.location_of_payload = 2}, DLX_E_UNSUPPORTED, "delegate 0: its payload has location 2"},
        {{.location_of_payload = 1}, DLX_E_FORMAT, "delegate 0: segment 0 is asked for; there are 0"},
        {{.inline_index = 1}, DLX_E_FORMAT, "inline block 1; there are 1"},
        {{.both_constants = 1}, DLX_E_FORMAT, "in a segment and in the program at once"},
    };
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        dlx_fbw w;
        dlx_error err = {0};
        put_odd_program(&w, &cases[i].odd);
        dlx_status s = reread(w.data, w.size, &err);
        if (s != cases[i].status || !strstr(err.message, cases[i].words))
            fail_msg("case %zu: %s: '%s' lacks '%s'", i, dlx_status_name(s), err.message, cases[i].words);
        dlx_fbw_free(&w);
    }
}

/* Fields of a written file, patched in place. */
static void segments_that_lie_are_refused(void **state)
{
    (void)state;
    static const struct {
        int segment, slot;
        uint64_t value;
        const char *words;
    } lies[] = {
        {0, SEGMENT_SIZE, 36, "tensor '' needs 5 bytes at 32 of a segment that has 36"},
        {0, SEGMENT_SIZE, 15, "constant 2 begins at 32 of a segment of 15 bytes"},
        {0, SEGMENT_OFFSET, 2, "no multiple of its element size"},
        {1, SEGMENT_SIZE, UINT64_MAX, "segment 1 has 18446744073709551615 bytes"},
        {1, SEGMENT_OFFSET, UINT64_MAX - 5, "delegate 0: segment 1"},
        {3, SEGMENT_OFFSET, 1 << 20, "named data 1: segment 3"},
    };
    pte_sample s;
    size_t size;
    pte_sample_make(&s);
    uint8_t *file = written(&s.pte, &size);
    for (size_t i = 0; i < DLX_COUNT(lies); i++) {
        dlx_fb_buffer b;
        dlx_fb root;
        dlx_error err = {0};
        uint16_t field;
        assert_int_equal(dlx_fb_open(&b, file, u64_at(file + 16), "ET12", "program", NULL, &root), DLX_OK);
        dlx_fb t = dlx_fb_vec_table(dlx_fb_vec(root, PROGRAM_SEGMENTS, 4), (uint32_t)lies[i].segment);
        memcpy(&field, file + t.vtable + 4 + 2 * lies[i].slot, 2);
        uint64_t old = u64_at(file + t.table + field);
        memcpy(file + t.table + field, &lies[i].value, 8);
        dlx_status status = reread(file, size, &err);
        if (status != DLX_E_FORMAT || !strstr(err.message, lies[i].words))
            fail_msg("lie %zu: '%s' lacks '%s'", i, err.message, lies[i].words);
        memcpy(file + t.table + field, &old, 8);
    }
    assert_int_equal(reread(file, size, NULL), DLX_OK);
    free(file);
}

/* 30000 values that are one and the same table. */
static void a_program_that_unfolds_is_refused(void **state)
{
    (void)state;
    enum { VALUES = 30000 };
    dlx_fbw w;
    dlx_fbw_init(&w, "ET12", 0);
    dlx_fbw_table program = {0}, plan = {0}, value = {0}, null = {0};
    dlx_fbw_set_ref(&program, PROGRAM_PLANS);
    dlx_fbw_put(&w, dlx_fbw_root(&w), &program);
    dlx_fbw_set_ref(&plan, PLAN_NAME);
    dlx_fbw_set_ref(&plan, PLAN_VALUES);
    dlx_fbw_put(&w, dlx_fbw_item(dlx_fbw_vector(&w, program.ref[PROGRAM_PLANS], 1), 0), &plan);
    dlx_fbw_string(&w, plan.ref[PLAN_NAME], "bomb");
    dlx_fbw_ref values = dlx_fbw_vector(&w, plan.ref[PLAN_VALUES], VALUES);
    dlx_fbw_set(&value, EVALUE_TYPE, 1, DLX_EV_NULL);
    dlx_fbw_set_ref(&value, EVALUE_VALUE);
    dlx_fbw_put(&w, dlx_fbw_item(values, 0), &value);
    dlx_fbw_put(&w, value.ref[EVALUE_VALUE], &null);
    uint32_t first;
    memcpy(&first, w.data + values.at, 4);
    for (uint32_t i = 1; i < VALUES; i++) {
        uint32_t offset = first - 4 * i;
        memcpy(w.data + values.at + 4 * i, &offset, 4);
    }
    assert_true(dlx_fbw_finish(&w));
    dlx_error err = {0};
    assert_int_equal(reread(w.data, w.size, &err), DLX_E_FORMAT);
    assert_non_null(strstr(err.message, "unfolds"));
    dlx_fbw_free(&w);
}

/* Many delegates that are one payload: each would be parsed. */
static void payloads_shared_by_many_delegates_are_refused(void **state)
{
    (void)state;
    enum { DELEGATES = 20, BYTES = 1 << 20 };
    dlx_pte_delegate delegates[DELEGATES];
    for (int i = 0; i < DELEGATES; i++) delegates[i] = (dlx_pte_delegate){.id = "XnnpackBackend"};
    for (uint32_t n = 2; n <= DELEGATES; n += DELEGATES - 2) {
        dlx_pte_blob blob = {.kind = DLX_BLOB_DELEGATE, .size = BYTES, .data = calloc(BYTES, 1), .alias_of = -1};
        dlx_pte_plan plan = {.name = "shared", .delegates = delegates, .n_delegates = n};
        dlx_pte pte = {.plans = &plan, .n_plans = 1, .blobs = &blob, .n_blobs = 1};
        size_t size;
        dlx_error err = {0};
        assert_non_null(blob.data);
        uint8_t *file = written(&pte, &size);
        assert_int_equal(reread(file, size, &err), n == 2 ? DLX_OK : DLX_E_FORMAT);
        if (n > 2) assert_non_null(strstr(err.message, "delegate 16: the payloads up to it"));
        free(file);
        free((void *)(uintptr_t)blob.data);
    }
}

/* ---- files of ExecuTorch's exporter; scalar types ---- */

static void official_files_are_read(void **state)
{
    (void)state;
    static const char *const names[] = {"official_8da8w.pte", "official_8da4w.pte"};
    for (size_t i = 0; i < DLX_COUNT(names); i++) {
        char path[512];
        whole_file map;
        dlx_pte pte;
        dlx_arena arena;
        dlx_error err = {0};
        dlx_arena_init(&arena);
        snprintf(path, sizeof path, "%s/format/%s", DLX_TEST_DATA, names[i]);
        assert_int_equal(read_whole_file(&map, path, &err), DLX_OK);
        if (dlx_pte_read(&pte, &arena, map.data, map.size, names[i], &err) != DLX_OK) fail_msg("%s", err.message);
        pte_sample_walk(&pte);
        assert_int_equal(pte.n_plans, 6);
        const dlx_pte_plan *forward = dlx_pte_find_plan(&pte, "forward");
        assert_int_equal(forward->n_delegates, 2);
        assert_string_equal(forward->delegates[0].id, "XnnpackBackend");
        assert_string_equal(forward->operators[0].name, "aten::embedding");
        assert_int_equal(forward->n_inputs, 1);
        assert_int_equal(forward->values[forward->inputs[0]].u.tensor.scalar_type, DLX_ST_LONG);
        assert_true(dlx_pte_constant_int(&pte, "get_max_seq_len", 0) == 128);
        assert_true(dlx_pte_constant_int(&pte, "use_kv_cache", 0) == 1);
        assert_true(dlx_pte_constant(&pte, "get_eos_ids", 1)->u.i == 2);
        assert_true(dlx_pte_constant(&pte, "get_rope_theta", 0)->u.d == 1e6);
        assert_string_equal(dlx_pte_constant(&pte, "get_model_name", 0)->u.s.text, "small");
        dlx_arena_free(&arena);

        uint8_t *copy = malloc((size_t)map.size);
        assert_non_null(copy);
        memcpy(copy, map.data, (size_t)map.size);
        every_flipped_bit_is_survived(copy, (size_t)map.size);
        free(copy);
        free_whole_file(&map);
    }
}

static void scalar_types_have_sizes_and_counterparts(void **state)
{
    (void)state;
    dlx_dtype t;
    for (int i = 0; i < DLX_DTYPE_COUNT; i++) {
        int st = dlx_scalar_type_from_dtype((dlx_dtype)i);
        if (i == DLX_QD8 || i == DLX_QS8 || i == DLX_I4) {
            assert_int_equal(st, -1);
            continue;
        }
        assert_int_equal(dlx_scalar_type_size(st), dlx_dtype_size((dlx_dtype)i));
        assert_true(dlx_scalar_type_to_dtype(st, &t) && t == (dlx_dtype)i);
    }
    assert_int_equal(dlx_scalar_type_size(DLX_ST_SHORT), 2);
    assert_int_equal(dlx_scalar_type_size(DLX_ST_DOUBLE), 8);
    assert_false(dlx_scalar_type_to_dtype(DLX_ST_SHORT, &t) || dlx_scalar_type_to_dtype(DLX_ST_DOUBLE, &t));
    assert_int_equal(dlx_scalar_type_size(-1) + dlx_scalar_type_size(8) + dlx_scalar_type_size(16), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(the_file_begins_with_the_extended_header),
        cmocka_unit_test(segments_and_constants_are_aligned),
        cmocka_unit_test(header_forms_of_other_writers_are_read),
        cmocka_unit_test(offsets_reach_beyond_4_gib),
        cmocka_unit_test(what_breaks_a_rule_is_refused),
        cmocka_unit_test(damaged_files_are_survived),
        cmocka_unit_test(programs_with_inline_data_are_read),
        cmocka_unit_test(what_cannot_be_served_is_named),
        cmocka_unit_test(segments_that_lie_are_refused),
        cmocka_unit_test(a_program_that_unfolds_is_refused),
        cmocka_unit_test(payloads_shared_by_many_delegates_are_refused),
        cmocka_unit_test(official_files_are_read),
        cmocka_unit_test(scalar_types_have_sizes_and_counterparts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
