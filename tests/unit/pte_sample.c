#include "pte_sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static dlx_evalue tensor(int type, int32_t rows, int32_t columns, int32_t blob)
{
    dlx_pte_tensor t = {.scalar_type = type, .rank = 2, .sizes = {rows, columns}, .blob = blob};
    t.bytes = (uint64_t)rows * (uint64_t)columns * dlx_scalar_type_size(type);
    return (dlx_evalue){.kind = DLX_EV_TENSOR, .u.tensor = t};
}

static dlx_evalue list(dlx_evalue_kind kind, const int64_t *ints, uint32_t count)
{
    return (dlx_evalue){.kind = kind, .u.list = {.count = count, .ints = ints}};
}

static void make_values(pte_sample *s)
{
    dlx_evalue *v = s->values;
    v[V_NULL].kind = DLX_EV_NULL;
    v[V_INT] = (dlx_evalue){.kind = DLX_EV_INT, .u.i = INT64_MIN};
    v[V_BOOL] = (dlx_evalue){.kind = DLX_EV_BOOL, .u.b = true};
    v[V_DOUBLE] = (dlx_evalue){.kind = DLX_EV_DOUBLE, .u.d = -2.5};
    v[V_WEIGHT] = tensor(DLX_ST_FLOAT, 2, 3, B_WEIGHT);
    v[V_WEIGHT].u.tensor.name = "model.weight";
    v[V_PLANNED] = tensor(DLX_ST_FLOAT, 4, 4, DLX_PTE_NO_BLOB);
    v[V_PLANNED].u.tensor.dynamic = true;
    v[V_PLANNED].u.tensor.memory_id = 1;
    v[V_PLANNED].u.tensor.memory_offset = 64;
    v[V_SCALAR] = tensor(DLX_ST_LONG, 1, 1, DLX_PTE_NO_BLOB);
    v[V_SCALAR].u.tensor.rank = 0;
    v[V_SCALAR].u.tensor.sizes[0] = v[V_SCALAR].u.tensor.sizes[1] = 0;
    v[V_STRING] = (dlx_evalue){.kind = DLX_EV_STRING, .u.s = {"text", 4}};
    v[V_INTS] = list(DLX_EV_INT_LIST, s->ints, 2);
    v[V_DOUBLES] = (dlx_evalue){.kind = DLX_EV_DOUBLE_LIST, .u.list = {.count = 2, .doubles = s->doubles}};
    v[V_BOOLS] = list(DLX_EV_BOOL_LIST, s->bools, 3);
    v[V_TENSORS] = list(DLX_EV_TENSOR_LIST, s->tensors, 2);
    v[V_OPTIONAL] = list(DLX_EV_OPTIONAL_TENSOR_LIST, s->optional, 3);
    v[V_NO_TEXT] = (dlx_evalue){.kind = DLX_EV_STRING, .u.s = {"", 0}};
    v[V_NO_INTS] = list(DLX_EV_INT_LIST, NULL, 0);
    v[V_EMPTY] = tensor(DLX_ST_FLOAT, 0, 4, B_EMPTY);
    v[V_FAR] = tensor(DLX_ST_HALF, 1, 3, DLX_PTE_NO_BLOB);
    for (int d = 0; d < DLX_PTE_MAX_RANK; d++) v[V_FAR].u.tensor.sizes[d] = d % 7 == 0 ? 3 : 1;
    v[V_FAR].u.tensor.rank = DLX_PTE_MAX_RANK;
    v[V_FAR].u.tensor.bytes = 2 * 27;
    v[V_FAR].u.tensor.memory_id = 2;
    v[V_FAR].u.tensor.memory_offset = (uint64_t)5 << 32;
    v[V_BYTES] = tensor(DLX_ST_BYTE, 1, 5, B_BYTES);
    v[V_NO_DOUBLES] = (dlx_evalue){.kind = DLX_EV_DOUBLE_LIST};
    v[V_NO_TENSORS] = list(DLX_EV_TENSOR_LIST, NULL, 0);
}

static void make_blobs(pte_sample *s)
{
    static const char payload[] = "a payload", other[] = "b", own[] = "its own";
    dlx_pte_blob *b = s->blobs;
    for (int i = 0; i < B_COUNT; i++) b[i].alias_of = -1;
    for (int i = 0; i < 6; i++) s->weight[i] = (float)i - 2.5f;
    b[B_WEIGHT].size = sizeof s->weight;
    b[B_WEIGHT].data = s->weight;
    b[B_BYTES].size = 5;
    b[B_BYTES].data = "bytes";
    b[B_FIRST] = (dlx_pte_blob){.kind = DLX_BLOB_DELEGATE, .size = sizeof payload, .data = payload, .alias_of = -1};
    b[B_ALIAS] = (dlx_pte_blob){.kind = DLX_BLOB_NAMED, .key = "z.alias", .size = sizeof s->weight};
    b[B_OWN] = (dlx_pte_blob){.kind = DLX_BLOB_NAMED, .key = "a.own", .size = sizeof own, .data = own, .alias_of = -1};
    b[B_NOTHING] = (dlx_pte_blob){.kind = DLX_BLOB_NAMED, .key = "nothing", .alias_of = -1};
    b[B_SECOND] = (dlx_pte_blob){.kind = DLX_BLOB_DELEGATE, .size = sizeof other, .data = other, .alias_of = -1};
}

static void make_instructions(pte_sample *s)
{
    dlx_instruction *i = s->instructions;
    i[I_ADD] = (dlx_instruction){.kind = DLX_INS_KERNEL, .index = 1, .n_args = 4, .args = s->args};
    i[I_CALL] = (dlx_instruction){.kind = DLX_INS_DELEGATE, .index = 1, .n_args = 2, .args = s->args};
    i[I_MOVE] = (dlx_instruction){.kind = DLX_INS_MOVE, .index = V_INT, .target = V_DOUBLE};
    i[I_JUMP] = (dlx_instruction){.kind = DLX_INS_JUMP_FALSE, .index = V_BOOL, .target = I_COUNT};
    i[I_FREE] = (dlx_instruction){.kind = DLX_INS_FREE, .index = V_SCALAR};
    i[I_BARE] = (dlx_instruction){.kind = DLX_INS_KERNEL};
}

void pte_sample_make(pte_sample *s)
{
    memset(s, 0, sizeof *s);
    memcpy(s->sizes, ((int64_t[]){0, 128, (int64_t)6 << 32}), sizeof s->sizes);
    memcpy(s->ints, ((int64_t[]){V_INT, V_INT}), sizeof s->ints);
    memcpy(s->bools, ((int64_t[]){1, 0, 1}), sizeof s->bools);
    memcpy(s->tensors, ((int64_t[]){V_PLANNED, V_WEIGHT}), sizeof s->tensors);
    memcpy(s->optional, ((int64_t[]){-1, V_WEIGHT, V_NULL}), sizeof s->optional);
    memcpy(s->doubles, ((double[]){1e300, -0.0}), sizeof s->doubles);
    memcpy(s->args, ((int32_t[]){V_PLANNED, V_SCALAR, V_WEIGHT, V_NONE}), sizeof s->args);
    memcpy(s->inputs, ((int32_t[]){V_SCALAR, V_PLANNED}), sizeof s->inputs);
    memcpy(s->outputs, ((int32_t[]){V_PLANNED, V_INT}), sizeof s->outputs);
    make_values(s);
    make_blobs(s);
    make_instructions(s);
    s->operators[0] = (dlx_pte_operator){"aten::_local_scalar_dense", ""};
    s->operators[1] = (dlx_pte_operator){"aten::add", "out"};
    s->delegates[0] = (dlx_pte_delegate){.id = "XnnpackBackend", .blob = B_FIRST};
    s->specs[0] = (dlx_pte_spec){"compute_units", "all", 3};
    s->specs[1] = (dlx_pte_spec){.key = "nothing"};
    s->delegates[1] = (dlx_pte_delegate){.id = "OtherBackend", .blob = B_SECOND, .specs = s->specs, .n_specs = 2};
    s->number = (dlx_evalue){.kind = DLX_EV_INT, .u.i = (int64_t)1 << 40};
    s->plans[0] = (dlx_pte_plan){.name = "forward",
                                 .values = s->values,
                                 .n_values = V_COUNT,
                                 .inputs = s->inputs,
                                 .outputs = s->outputs,
                                 .n_inputs = 2,
                                 .n_outputs = 2,
                                 .operators = s->operators,
                                 .n_operators = 2,
                                 .delegates = s->delegates,
                                 .n_delegates = 2,
                                 .instructions = s->instructions,
                                 .n_instructions = I_COUNT,
                                 .buffer_sizes = s->sizes,
                                 .n_buffer_sizes = 3};
    static const int32_t zero = 0;
    s->plans[1] = (dlx_pte_plan){.name = "get_max_seq_len",
                                 .values = &s->number,
                                 .n_values = 1,
                                 .outputs = &zero,
                                 .n_outputs = 1,
                                 .buffer_sizes = s->sizes,
                                 .n_buffer_sizes = 1};
    s->plans[2] = (dlx_pte_plan){.name = "empty", .buffer_sizes = s->sizes, .n_buffer_sizes = 1};
    s->pte = (dlx_pte){.plans = s->plans, .n_plans = 3, .blobs = s->blobs, .n_blobs = B_COUNT};
}

uint8_t *pte_sample_write(dlx_pte *pte, size_t *size, dlx_status *status, dlx_error *err)
{
    char folder[] = "/tmp/dlx-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/sample.pte", folder);
    dlx_output out;
    char *bytes = NULL;
    *status = dlx_output_open(&out, path, err);
    if (*status == DLX_OK) {
        *status = dlx_pte_write(pte, &out, NULL, NULL, err);
        if (*status == DLX_OK) *status = dlx_output_commit(&out, err);
        dlx_output_close(&out);
    }
    if (*status == DLX_OK) *status = dlx_read_file(&bytes, size, path, SIZE_MAX / 2, err);
    unlink(path);
    rmdir(folder);
    return (uint8_t *)bytes;
}

static void touch(const void *p, uint64_t n)
{
    const volatile uint8_t *bytes = p;
    for (uint64_t i = 0; i < n; i++) (void)bytes[i];
}

static void walk_value(const dlx_pte *pte, const dlx_pte_plan *plan, const dlx_evalue *v)
{
    if (v->kind == DLX_EV_STRING) assert_int_equal(strlen(v->u.s.text), v->u.s.length);
    if (v->kind == DLX_EV_DOUBLE_LIST) touch(v->u.list.doubles, 8 * (uint64_t)v->u.list.count);
    bool indices =
        v->kind == DLX_EV_INT_LIST || v->kind == DLX_EV_TENSOR_LIST || v->kind == DLX_EV_OPTIONAL_TENSOR_LIST;
    for (uint32_t i = 0; indices && i < v->u.list.count; i++)
        assert_in_range((uintmax_t)(v->u.list.ints[i] + 1), 0, plan->n_values);
    if (v->kind != DLX_EV_TENSOR) return;
    const dlx_pte_tensor *t = &v->u.tensor;
    if (t->name) (void)strlen(t->name);
    if (t->blob != DLX_PTE_NO_BLOB) touch(pte->blobs[t->blob].data, t->bytes);
    if (t->memory_id) assert_true(t->memory_offset + t->bytes <= (uint64_t)plan->buffer_sizes[t->memory_id]);
}

static void walk_delegate(const dlx_pte *pte, const dlx_pte_delegate *d)
{
    assert_int_equal(pte->blobs[d->blob].kind, DLX_BLOB_DELEGATE);
    for (uint32_t i = 0; i < d->n_specs; i++) {
        (void)strlen(d->specs[i].key);
        touch(d->specs[i].value, d->specs[i].size);
    }
}

void pte_sample_walk(const dlx_pte *pte)
{
    for (uint32_t p = 0; p < pte->n_plans; p++) {
        const dlx_pte_plan *plan = &pte->plans[p];
        (void)strlen(plan->name);
        for (uint32_t i = 0; i < plan->n_values; i++) walk_value(pte, plan, &plan->values[i]);
        for (uint32_t i = 0; i < plan->n_inputs; i++) touch(&plan->values[plan->inputs[i]], sizeof *plan->values);
        for (uint32_t i = 0; i < plan->n_outputs; i++) touch(&plan->values[plan->outputs[i]], sizeof *plan->values);
        for (uint32_t i = 0; i < plan->n_delegates; i++) walk_delegate(pte, &plan->delegates[i]);
        for (uint32_t i = 0; i < plan->n_instructions; i++) {
            const dlx_instruction *ins = &plan->instructions[i];
            if (ins->kind == DLX_INS_KERNEL) (void)strlen(plan->operators[ins->index].name);
            for (uint32_t a = 0; a < ins->n_args; a++) touch(&plan->values[ins->args[a]], sizeof *plan->values);
        }
    }
    for (uint32_t i = 0; i < pte->n_blobs; i++) {
        touch(pte->blobs[i].data, pte->blobs[i].size);
        if (pte->blobs[i].kind == DLX_BLOB_NAMED)
            assert_ptr_equal(dlx_pte_find_named(pte, pte->blobs[i].key), &pte->blobs[i]);
    }
}

const void *pte_sample_named(void *ctx, const char *key, uint64_t *size)
{
    const dlx_pte_blob *b = dlx_pte_find_named(ctx, key);
    *size = b ? b->size : 0;
    return b ? b->data : NULL;
}

void pte_sample_same_specs(const dlx_pte_delegate *a, const dlx_pte_delegate *b)
{
    assert_int_equal(a->n_specs, b->n_specs);
    for (uint32_t i = 0; i < a->n_specs; i++) {
        const dlx_pte_spec *s = &a->specs[i], *t = &b->specs[i];
        assert_string_equal(s->key, t->key);
        assert_int_equal(s->size, t->size);
        if (s->size) assert_memory_equal(s->value, t->value, s->size);
    }
}
