/*
 * Writing .pte files. All sizes are known beforehand: first the blobs get their places behind the flatbuffer (relative
 * to the first segment), then the flatbuffer is built with those places in it, then everything goes to the file once,
 * front to back. Segment 0 holds the constants, every other blob is a segment of its own.
 */
#include <string.h>

#include "base/sizes.h"
#include "format/flatbuffer.h"
#include "format/pte_schema.h"

/* How a caller that unflattens outputs finds a single result; read by ExecuTorch's Python tools only. */
static const char *const container_out = "[1, {\"type\": null, \"context\": null, \"children_spec\": []}]";

typedef struct writer {
    dlx_pte *pte;
    dlx_arena arena; /* converted lists */
    dlx_fbw fb;
    uint32_t n_constants;
    uint32_t n_segments;
    uint64_t constant_bytes; /* of segment 0 */
    uint64_t segment_bytes;  /* of all segments */
    uint64_t segment_base;
} writer;

/* ---- layout ---- */

static uint32_t blob_segment(const writer *w, uint32_t blob)
{
    return (w->n_constants ? 1 : 0) + (blob - w->n_constants);
}

static dlx_status check_blobs(writer *w, dlx_error *err)
{
    dlx_pte *pte = w->pte;
    while (w->n_constants < pte->n_blobs && pte->blobs[w->n_constants].kind == DLX_BLOB_CONSTANT) w->n_constants++;
    for (uint32_t i = w->n_constants; i < pte->n_blobs; i++) {
        const dlx_pte_blob *b = &pte->blobs[i];
        if (b->kind == DLX_BLOB_INITIAL)
            return dlx_fail(err, DLX_E_UNSUPPORTED, "blob %u is an initial value; files are written without them", i);
        if (b->kind == DLX_BLOB_CONSTANT)
            return dlx_fail(err, DLX_E_INTERNAL, "blob %u is a constant behind other blobs; constants come first", i);
        uint64_t pieces = 0;
        for (uint32_t k = 0; b->pieces && k < b->n_pieces; k++) pieces += b->pieces[k].size;
        if (b->pieces && pieces != b->size)
            return dlx_fail(err, DLX_E_INTERNAL, "the pieces of blob %u have %llu bytes; %llu were announced", i,
                            (unsigned long long)pieces, (unsigned long long)b->size);
        if (b->kind != DLX_BLOB_NAMED || b->alias_of < 0) continue;
        if ((uint32_t)b->alias_of >= w->n_constants || b->size > pte->blobs[b->alias_of].size)
            return dlx_fail(err, DLX_E_INTERNAL,
                            "named data '%s' shares blob %d, which is not a constant of at least %llu bytes", b->key,
                            b->alias_of, (unsigned long long)b->size);
    }
    w->n_segments = pte->n_blobs - w->n_constants + (w->n_constants ? 1 : 0);
    return DLX_OK;
}

static bool is_alias(const dlx_pte_blob *b)
{
    return b->kind == DLX_BLOB_NAMED && b->alias_of >= 0;
}

/* Places relative to the first segment, into blob->offset. */
static dlx_status lay_out(writer *w, dlx_error *err)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < w->pte->n_blobs; i++) {
        dlx_pte_blob *b = &w->pte->blobs[i];
        if (is_alias(b)) {
            b->offset = w->pte->blobs[b->alias_of].offset;
            continue;
        }
        b->offset = dlx_align_up(end, b->kind == DLX_BLOB_CONSTANT ? PTE_CONSTANT_ALIGN : PTE_SEGMENT_ALIGN);
        if (!dlx_add_u64(b->offset, b->size, &end) || end > INT64_MAX / 2)
            return dlx_fail(err, DLX_E_LIMIT, "the blobs have more bytes than a file can hold");
        if (b->kind == DLX_BLOB_CONSTANT) w->constant_bytes = end;
    }
    w->segment_bytes = end;
    return DLX_OK;
}

/* ---- flatbuffer ---- */

static void put_vector(writer *w, dlx_fbw_ref from, const void *items, size_t count, size_t size)
{
    dlx_fbw_scalars(&w->fb, from, items, count, size);
}

/* Lists of 64-bit integers that the schema stores in `size` bytes each. */
static void put_narrow(writer *w, dlx_fbw_ref from, const int64_t *items, uint32_t count, size_t size)
{
    uint8_t *narrow = dlx_arena_array(&w->arena, count, size);
    if (!narrow) {
        w->fb.failed = true;
        return;
    }
    for (uint32_t i = 0; i < count; i++) memcpy(narrow + i * size, &items[i], size);
    put_vector(w, from, narrow, count, size);
}

static void put_tensor(writer *w, dlx_fbw_ref from, const dlx_pte_tensor *t)
{
    static const uint8_t identity[DLX_PTE_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    dlx_fbw_table table = {0};
    dlx_fbw_set(&table, TENSOR_SCALAR_TYPE, 1, (uint64_t)t->scalar_type);
    dlx_fbw_set_ref(&table, TENSOR_SIZES);
    dlx_fbw_set_ref(&table, TENSOR_DIM_ORDER);
    dlx_fbw_set(&table, TENSOR_DATA, 4, t->blob == DLX_PTE_NO_BLOB ? 0 : (uint64_t)t->blob + 1);
    dlx_fbw_set(&table, TENSOR_DYNAMISM, 1, t->dynamic ? PTE_DYNAMIC_BOUND : PTE_STATIC);
    if (t->memory_id) dlx_fbw_set_ref(&table, TENSOR_ALLOCATION);
    if (t->name) dlx_fbw_set_ref(&table, TENSOR_EXTRA);
    dlx_fbw_put(&w->fb, from, &table);
    put_vector(w, table.ref[TENSOR_SIZES], t->sizes, t->rank, 4);
    put_vector(w, table.ref[TENSOR_DIM_ORDER], identity, t->rank, 1);
    if (t->memory_id) {
        dlx_fbw_table a = {0};
        dlx_fbw_set(&a, ALLOCATION_ID, 4, t->memory_id);
        dlx_fbw_set(&a, ALLOCATION_LOW, 4, t->memory_offset & UINT32_MAX);
        dlx_fbw_set(&a, ALLOCATION_HIGH, 4, t->memory_offset >> 32);
        dlx_fbw_put(&w->fb, table.ref[TENSOR_ALLOCATION], &a);
    }
    if (t->name) {
        dlx_fbw_table extra = {0};
        dlx_fbw_set_ref(&extra, EXTRA_NAME);
        dlx_fbw_put(&w->fb, table.ref[TENSOR_EXTRA], &extra);
        dlx_fbw_string(&w->fb, extra.ref[EXTRA_NAME], t->name);
    }
}

/* Scalars, strings and lists: one field in slot 0. */
static void put_simple(writer *w, dlx_fbw_ref from, const dlx_evalue *v)
{
    dlx_fbw_table table = {0};
    switch (v->kind) {
    case DLX_EV_NULL: break;
    case DLX_EV_INT: dlx_fbw_set(&table, SCALAR_VALUE, 8, (uint64_t)v->u.i); break;
    case DLX_EV_BOOL: dlx_fbw_set(&table, SCALAR_VALUE, 1, v->u.b); break;
    case DLX_EV_DOUBLE: dlx_fbw_set_f64(&table, SCALAR_VALUE, v->u.d); break;
    default: dlx_fbw_set_ref(&table, SCALAR_VALUE); break;
    }
    dlx_fbw_put(&w->fb, from, &table);
    dlx_fbw_ref items = table.ref[LIST_ITEMS];
    switch (v->kind) {
    case DLX_EV_STRING: dlx_fbw_string(&w->fb, items, v->u.s.text); break;
    case DLX_EV_INT_LIST: put_vector(w, items, v->u.list.ints, v->u.list.count, 8); break;
    case DLX_EV_DOUBLE_LIST: put_vector(w, items, v->u.list.doubles, v->u.list.count, 8); break;
    case DLX_EV_BOOL_LIST: put_narrow(w, items, v->u.list.ints, v->u.list.count, 1); break;
    case DLX_EV_TENSOR_LIST:
    case DLX_EV_OPTIONAL_TENSOR_LIST: put_narrow(w, items, v->u.list.ints, v->u.list.count, 4); break;
    default: break;
    }
}

static void put_value(writer *w, dlx_fbw_ref from, const dlx_evalue *v)
{
    dlx_fbw_table table = {0};
    dlx_fbw_set(&table, EVALUE_TYPE, 1, (uint64_t)v->kind);
    if (v->kind != DLX_EV_NONE) dlx_fbw_set_ref(&table, EVALUE_VALUE);
    dlx_fbw_put(&w->fb, from, &table);
    if (v->kind == DLX_EV_TENSOR)
        put_tensor(w, table.ref[EVALUE_VALUE], &v->u.tensor);
    else if (v->kind != DLX_EV_NONE)
        put_simple(w, table.ref[EVALUE_VALUE], v);
}

static void put_instruction(writer *w, dlx_fbw_ref from, const dlx_instruction *ins)
{
    dlx_fbw_table table = {0}, call = {0};
    dlx_fbw_set(&table, INSTRUCTION_TYPE, 1, (uint64_t)ins->kind);
    dlx_fbw_set_ref(&table, INSTRUCTION_ARGS);
    dlx_fbw_put(&w->fb, from, &table);
    dlx_fbw_set(&call, CALL_INDEX, 4, (uint32_t)ins->index);
    bool has_args = ins->kind == DLX_INS_KERNEL || ins->kind == DLX_INS_DELEGATE;
    if (has_args)
        dlx_fbw_set_ref(&call, CALL_ARGS);
    else if (ins->kind != DLX_INS_FREE)
        dlx_fbw_set(&call, MOVE_TO, 4, (uint32_t)ins->target);
    dlx_fbw_put(&w->fb, table.ref[INSTRUCTION_ARGS], &call);
    if (has_args) put_vector(w, call.ref[CALL_ARGS], ins->args, ins->n_args, 4);
}

static void put_chain(writer *w, dlx_fbw_ref from, const dlx_pte_plan *plan)
{
    dlx_fbw_ref chains = dlx_fbw_vector(&w->fb, from, 1);
    dlx_fbw_table chain = {0};
    dlx_fbw_set_ref(&chain, CHAIN_INPUTS);
    dlx_fbw_set_ref(&chain, CHAIN_OUTPUTS);
    dlx_fbw_set_ref(&chain, CHAIN_INSTRUCTIONS);
    dlx_fbw_put(&w->fb, dlx_fbw_item(chains, 0), &chain);
    put_vector(w, chain.ref[CHAIN_INPUTS], NULL, 0, 4);
    put_vector(w, chain.ref[CHAIN_OUTPUTS], NULL, 0, 4);
    dlx_fbw_ref instructions = dlx_fbw_vector(&w->fb, chain.ref[CHAIN_INSTRUCTIONS], plan->n_instructions);
    for (uint32_t i = 0; i < plan->n_instructions && !w->fb.failed; i++)
        put_instruction(w, dlx_fbw_item(instructions, i), &plan->instructions[i]);
}

/* A table of two strings: an operator, the container types. */
static void put_strings(writer *w, dlx_fbw_ref from, const char *first, const char *second)
{
    dlx_fbw_table table = {0};
    dlx_fbw_set_ref(&table, 0);
    dlx_fbw_set_ref(&table, 1);
    dlx_fbw_put(&w->fb, from, &table);
    dlx_fbw_string(&w->fb, table.ref[0], first);
    dlx_fbw_string(&w->fb, table.ref[1], second);
}

static void put_spec(writer *w, dlx_fbw_ref from, const dlx_pte_spec *spec)
{
    dlx_fbw_table table = {0};
    dlx_fbw_set_ref(&table, SPEC_KEY);
    dlx_fbw_set_ref(&table, SPEC_VALUE);
    dlx_fbw_put(&w->fb, from, &table);
    dlx_fbw_string(&w->fb, table.ref[SPEC_KEY], spec->key);
    put_vector(w, table.ref[SPEC_VALUE], spec->value, spec->size, 1);
}

static void put_delegate(writer *w, dlx_fbw_ref from, const dlx_pte_delegate *delegate)
{
    dlx_fbw_table table = {0}, reference = {0};
    dlx_fbw_set_ref(&table, DELEGATE_ID);
    dlx_fbw_set_ref(&table, DELEGATE_PROCESSED);
    dlx_fbw_set_ref(&table, DELEGATE_SPECS);
    dlx_fbw_put(&w->fb, from, &table);
    dlx_fbw_string(&w->fb, table.ref[DELEGATE_ID], delegate->id);
    dlx_fbw_set(&reference, REFERENCE_LOCATION, 1, PTE_SEGMENT);
    dlx_fbw_set(&reference, REFERENCE_INDEX, 4, blob_segment(w, (uint32_t)delegate->blob));
    dlx_fbw_put(&w->fb, table.ref[DELEGATE_PROCESSED], &reference);
    dlx_fbw_ref specs = dlx_fbw_vector(&w->fb, table.ref[DELEGATE_SPECS], delegate->n_specs);
    for (uint32_t i = 0; i < delegate->n_specs; i++) put_spec(w, dlx_fbw_item(specs, i), &delegate->specs[i]);
}

static void put_plan(writer *w, dlx_fbw_ref from, const dlx_pte_plan *plan)
{
    static const int64_t no_arenas = 0; /* element 0 is reserved and always there */
    dlx_fbw_table table = {0};
    for (int slot = PLAN_NAME; slot <= PLAN_BUFFER_SIZES; slot++) dlx_fbw_set_ref(&table, slot);
    dlx_fbw_put(&w->fb, from, &table);
    dlx_fbw_string(&w->fb, table.ref[PLAN_NAME], plan->name);
    put_strings(w, table.ref[PLAN_CONTAINER], "", container_out);
    dlx_fbw_ref values = dlx_fbw_vector(&w->fb, table.ref[PLAN_VALUES], plan->n_values);
    for (uint32_t i = 0; i < plan->n_values && !w->fb.failed; i++)
        put_value(w, dlx_fbw_item(values, i), &plan->values[i]);
    put_vector(w, table.ref[PLAN_INPUTS], plan->inputs, plan->n_inputs, 4);
    put_vector(w, table.ref[PLAN_OUTPUTS], plan->outputs, plan->n_outputs, 4);
    put_chain(w, table.ref[PLAN_CHAINS], plan);
    dlx_fbw_ref operators = dlx_fbw_vector(&w->fb, table.ref[PLAN_OPERATORS], plan->n_operators);
    for (uint32_t i = 0; i < plan->n_operators; i++)
        put_strings(w, dlx_fbw_item(operators, i), plan->operators[i].name, plan->operators[i].overload);
    dlx_fbw_ref delegates = dlx_fbw_vector(&w->fb, table.ref[PLAN_DELEGATES], plan->n_delegates);
    for (uint32_t i = 0; i < plan->n_delegates; i++) put_delegate(w, dlx_fbw_item(delegates, i), &plan->delegates[i]);
    if (plan->n_buffer_sizes)
        put_vector(w, table.ref[PLAN_BUFFER_SIZES], plan->buffer_sizes, plan->n_buffer_sizes, 8);
    else
        put_vector(w, table.ref[PLAN_BUFFER_SIZES], &no_arenas, 1, 8);
}

static void put_segment(writer *w, dlx_fbw_ref from, uint64_t offset, uint64_t size)
{
    dlx_fbw_table table = {0};
    dlx_fbw_set(&table, SEGMENT_OFFSET, 8, offset);
    dlx_fbw_set(&table, SEGMENT_SIZE, 8, size);
    dlx_fbw_put(&w->fb, from, &table);
}

static void put_segments(writer *w, dlx_fbw_ref from)
{
    dlx_fbw_ref segments = dlx_fbw_vector(&w->fb, from, w->n_segments);
    if (w->n_constants) put_segment(w, dlx_fbw_item(segments, 0), 0, w->constant_bytes);
    for (uint32_t i = w->n_constants; i < w->pte->n_blobs; i++)
        put_segment(w, dlx_fbw_item(segments, blob_segment(w, i)), w->pte->blobs[i].offset, w->pte->blobs[i].size);
}

/* Offset 0 is a placeholder, so that data index 0 can mean "no data". */
static void put_constants(writer *w, dlx_fbw_ref from)
{
    dlx_fbw_table table = {0};
    uint64_t *offsets = dlx_arena_array(&w->arena, (size_t)w->n_constants + 1, sizeof *offsets);
    if (!offsets) {
        w->fb.failed = true;
        return;
    }
    for (uint32_t i = 0; i < w->n_constants; i++) offsets[i + 1] = w->pte->blobs[i].offset;
    dlx_fbw_set(&table, SUBSEGMENT_INDEX, 4, 0);
    dlx_fbw_set_ref(&table, SUBSEGMENT_OFFSETS);
    dlx_fbw_put(&w->fb, from, &table);
    put_vector(w, table.ref[SUBSEGMENT_OFFSETS], offsets, (size_t)w->n_constants + 1, 8);
}

static void put_named(writer *w, dlx_fbw_ref from)
{
    const dlx_pte *pte = w->pte;
    uint32_t n = 0;
    for (uint32_t i = 0; i < pte->n_blobs; i++) n += pte->blobs[i].kind == DLX_BLOB_NAMED;
    dlx_fbw_ref named = dlx_fbw_vector(&w->fb, from, n);
    n = 0;
    for (uint32_t i = 0; i < pte->n_blobs; i++) {
        if (pte->blobs[i].kind != DLX_BLOB_NAMED) continue;
        dlx_fbw_table table = {0};
        dlx_fbw_set_ref(&table, NAMED_KEY);
        dlx_fbw_set(&table, NAMED_SEGMENT, 4, blob_segment(w, i));
        dlx_fbw_put(&w->fb, dlx_fbw_item(named, n++), &table);
        dlx_fbw_string(&w->fb, table.ref[NAMED_KEY], pte->blobs[i].key);
    }
}

static void put_program(writer *w)
{
    const dlx_pte *pte = w->pte;
    dlx_fbw_table table = {0};
    dlx_fbw_set(&table, PROGRAM_VERSION, 4, 0);
    for (int slot = PROGRAM_PLANS; slot <= PROGRAM_NAMED_DATA; slot++) dlx_fbw_set_ref(&table, slot);
    dlx_fbw_put(&w->fb, dlx_fbw_root(&w->fb), &table);
    dlx_fbw_ref plans = dlx_fbw_vector(&w->fb, table.ref[PROGRAM_PLANS], pte->n_plans);
    for (uint32_t i = 0; i < pte->n_plans; i++) put_plan(w, dlx_fbw_item(plans, i), &pte->plans[i]);
    dlx_fbw_vector(&w->fb, table.ref[PROGRAM_CONSTANT_BUFFER], 0);
    dlx_fbw_vector(&w->fb, table.ref[PROGRAM_DELEGATE_DATA], 0);
    put_segments(w, table.ref[PROGRAM_SEGMENTS]);
    put_constants(w, table.ref[PROGRAM_CONSTANT_SEGMENT]);
    dlx_fbw_vector(&w->fb, table.ref[PROGRAM_MUTABLE_DATA], 0);
    put_named(w, table.ref[PROGRAM_NAMED_DATA]);
}

static dlx_status build(writer *w, dlx_error *err)
{
    dlx_fbw_init(&w->fb, DLX_PTE_IDENTIFIER, PTE_HEADER_LENGTH);
    put_program(w);
    if (!dlx_fbw_finish(&w->fb)) {
        bool large = w->fb.size > INT32_MAX / 2;
        return dlx_fail(err, large ? DLX_E_LIMIT : DLX_E_NOMEM, "cannot build the program part: %s",
                        large ? "it has more than 2 GiB" : "out of memory");
    }
    uint32_t length = PTE_HEADER_LENGTH;
    uint64_t size = w->fb.size;
    w->segment_base = w->n_segments ? dlx_align_up(size, PTE_SEGMENT_ALIGN) : 0;
    memcpy(w->fb.data + PTE_HEADER_AT, DLX_PTE_EXTENDED_MAGIC, 4);
    memcpy(w->fb.data + PTE_HEADER_AT + 4, &length, sizeof length);
    memcpy(w->fb.data + PTE_PROGRAM_SIZE_AT, &size, sizeof size);
    memcpy(w->fb.data + PTE_SEGMENT_BASE_AT, &w->segment_base, sizeof w->segment_base);
    memcpy(w->fb.data + PTE_SEGMENT_DATA_SIZE_AT, &w->segment_bytes, sizeof w->segment_bytes);
    return DLX_OK;
}

/* ---- file ---- */

/* What a blob without pieces is: one. */
static dlx_pte_piece only_piece(const dlx_pte_blob *b)
{
    return (dlx_pte_piece){.data = b->data, .user = b->user, .size = b->size};
}

static dlx_status write_piece(const dlx_pte_piece *p, const dlx_pte_blob *b, dlx_output *out, dlx_pte_stream_fn stream,
                              void *ctx, dlx_error *err)
{
    uint64_t begin = out->position;
    if (p->size == 0) return DLX_OK;
    if (p->data) return dlx_output_write(out, p->data, (size_t)p->size, err);
    if (!stream) return dlx_fail(err, DLX_E_INTERNAL, "a blob of %llu bytes has no data", (unsigned long long)b->size);
    DLX_TRY(stream(ctx, p->user, p->size, out, err));
    if (out->position - begin == p->size) return DLX_OK;
    return dlx_fail(err, DLX_E_INTERNAL, "%s '%s' gave %llu bytes; %llu were announced",
                    b->kind == DLX_BLOB_NAMED      ? "named data"
                    : b->kind == DLX_BLOB_CONSTANT ? "a constant"
                                                   : "a delegate",
                    b->key ? b->key : "", (unsigned long long)(out->position - begin), (unsigned long long)p->size);
}

static dlx_status write_blob(const dlx_pte_blob *b, dlx_output *out, dlx_pte_stream_fn stream, void *ctx,
                             dlx_error *err)
{
    const dlx_pte_piece whole = only_piece(b), *pieces = b->pieces ? b->pieces : &whole;
    uint32_t n = b->pieces ? b->n_pieces : 1;
    DLX_TRY(dlx_output_pad_to(out, b->offset, err));
    for (uint32_t i = 0; i < n; i++) DLX_TRY(write_piece(&pieces[i], b, out, stream, ctx, err));
    return DLX_OK;
}

static dlx_status write_file(writer *w, dlx_output *out, dlx_pte_stream_fn stream, void *ctx, dlx_error *err)
{
    dlx_pte *pte = w->pte;
    DLX_TRY(dlx_output_write(out, w->fb.data, w->fb.size, err));
    for (uint32_t i = 0; i < pte->n_blobs; i++)
        if (!is_alias(&pte->blobs[i])) DLX_TRY(write_blob(&pte->blobs[i], out, stream, ctx, err));
    return dlx_output_pad_to(out, pte->file_size, err);
}

static bool same_layout(const dlx_pte *a, const dlx_pte *b)
{
    bool same = a->n_blobs == b->n_blobs && a->program_size == b->program_size && a->file_size == b->file_size;
    for (uint32_t i = 0; same && i < a->n_blobs; i++)
        same = a->blobs[i].offset == b->blobs[i].offset && a->blobs[i].size == b->blobs[i].size;
    return same;
}

static dlx_status rewrite_file(writer *w, const dlx_pte *written, dlx_output *out, dlx_error *err)
{
    if (!same_layout(w->pte, written))
        return dlx_fail(err, DLX_E_INTERNAL, "'%s': what is written again has another layout", out->path);
    DLX_TRY(dlx_output_rewrite(out, 0, w->fb.data, w->fb.size, err));
    for (uint32_t i = 0; i < w->pte->n_blobs; i++) {
        const dlx_pte_blob *b = &w->pte->blobs[i];
        const dlx_pte_piece whole = only_piece(b), *pieces = b->pieces ? b->pieces : &whole;
        uint64_t at = b->offset;
        for (uint32_t k = 0; k < (b->pieces ? b->n_pieces : 1) && !is_alias(b); at += pieces[k++].size)
            if (pieces[k].data) DLX_TRY(dlx_output_rewrite(out, at, pieces[k].data, (size_t)pieces[k].size, err));
    }
    return DLX_OK;
}

static dlx_status prepare(writer *w, const dlx_output *out, dlx_error *err)
{
    dlx_pte *pte = w->pte;
    DLX_TRY(dlx_pte_verify(pte, out->path, err));
    DLX_TRY(check_blobs(w, err));
    dlx_pte sorted = *pte; /* refuses keys that stand twice */
    DLX_TRY(dlx_pte_index_named(&sorted, &w->arena, out->path, err));
    DLX_TRY(lay_out(w, err));
    DLX_TRY(build(w, err));
    for (uint32_t i = 0; i < pte->n_blobs; i++) pte->blobs[i].offset += w->segment_base;
    pte->program_size = w->fb.size;
    pte->file_size = w->n_segments ? w->segment_base + w->segment_bytes : w->fb.size;
    return DLX_OK;
}

dlx_status dlx_pte_write(dlx_pte *pte, dlx_output *out, dlx_pte_stream_fn stream, void *ctx, dlx_error *err)
{
    if (out->position)
        return dlx_fail(err, DLX_E_INVALID, "'%s': a program must stand at the start of its file", out->path);
    writer w = {.pte = pte};
    dlx_arena_init(&w.arena);
    dlx_status s = prepare(&w, out, err);
    if (s == DLX_OK) s = write_file(&w, out, stream, ctx, err);
    dlx_fbw_free(&w.fb);
    dlx_arena_free(&w.arena);
    return s;
}

dlx_status dlx_pte_rewrite(dlx_pte *pte, const dlx_pte *written, dlx_output *out, dlx_error *err)
{
    writer w = {.pte = pte};
    dlx_arena_init(&w.arena);
    dlx_status s = prepare(&w, out, err);
    if (s == DLX_OK) s = rewrite_file(&w, written, out, err);
    dlx_fbw_free(&w.fb);
    dlx_arena_free(&w.arena);
    return s;
}
