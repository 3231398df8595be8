/*
 * Reading .pte files: header, then the flatbuffer from the root down into arrays in the arena, then dlx_pte_verify over
 * the whole. Blobs come out in the order constants (data index i is blob i - 1), initial values, delegates (in the
 * order of the methods), named data. They are views where the bytes are in memory, places in the file where not.
 */
#include <stdint.h>
#include <string.h>

#include "base/sizes.h"
#include "format/flatbuffer.h"
#include "format/pte_schema.h"

typedef struct reader {
    dlx_pte *out;
    dlx_arena *arena;
    const dlx_file *file; /* NULL: all of it is at `data` */
    const uint8_t *data;  /* [have] the beginning of the file */
    uint64_t have, size;
    uint64_t segment_base; /* 0: none */
    const char *name;
    dlx_error *err;
    dlx_fb_buffer buffer;
    dlx_fb root;
    dlx_fb_vector segments;
    dlx_fb_vector inline_delegates;
    uint32_t n_constants, n_initial;
    uint32_t n_blobs;          /* read so far */
    uint64_t payload_bytes;    /* of the delegates read so far */
    bool constants_in_segment; /* their sizes are those of the tensors that refer to them */
    uint64_t constants_begin, constants_end;
    uint64_t initial_begin, initial_end; /* of the segment of initial values */
} reader;

enum { PTE_MAX_SHARING = 16 };

/* count * size bytes in the arena, within the budget of the file. */
static void *take(reader *r, size_t count, size_t size)
{
    if (!dlx_fb_charge(&r->buffer, (uint64_t)count * size)) return NULL;
    void *p = dlx_arena_array(r->arena, count, size);
    if (!p) r->buffer.status = dlx_fail(r->err, DLX_E_NOMEM, "out of memory");
    return p;
}

/* ---- header and segments ---- */

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static dlx_status read_header(reader *r, uint64_t *program_size)
{
    if (r->size < PTE_MIN_FILE)
        return dlx_fail(r->err, DLX_E_FORMAT, "it has %llu bytes; an ExecuTorch program has at least %d",
                        (unsigned long long)r->size, PTE_MIN_FILE);
    if ((uintptr_t)r->data % PTE_CONSTANT_ALIGN)
        return dlx_fail(r->err, DLX_E_INVALID, "its bytes must lie at a multiple of %d in memory", PTE_CONSTANT_ALIGN);
    if (memcmp(r->data + 4, DLX_PTE_IDENTIFIER, 4) != 0)
        return dlx_fail(r->err, DLX_E_FORMAT, "it is not an ExecuTorch program (bytes 4 to 7 are not '%s')",
                        DLX_PTE_IDENTIFIER);
    *program_size = r->size;
    if (memcmp(r->data + PTE_HEADER_AT, DLX_PTE_EXTENDED_MAGIC, 4) != 0) return DLX_OK;
    uint32_t length;
    memcpy(&length, r->data + PTE_HEADER_AT + 4, sizeof length);
    if (length < PTE_HEADER_MIN_LENGTH || length > r->size - PTE_HEADER_AT)
        return dlx_fail(r->err, DLX_E_FORMAT, "its extended header has %u bytes; at least %d are expected", length,
                        PTE_HEADER_MIN_LENGTH);
    *program_size = load64(r->data + PTE_PROGRAM_SIZE_AT);
    r->segment_base = load64(r->data + PTE_SEGMENT_BASE_AT);
    uint64_t bytes = length >= PTE_HEADER_LENGTH ? load64(r->data + PTE_SEGMENT_DATA_SIZE_AT) : 0;
    if (*program_size > r->size || (r->segment_base && r->segment_base < *program_size) ||
        !dlx_range_ok(r->segment_base, bytes, r->size))
        return dlx_fail(r->err, DLX_E_FORMAT,
                        "its header tells of a program of %llu bytes and %llu bytes of segments at %llu; the file has "
                        "%llu (is it complete?)",
                        (unsigned long long)*program_size, (unsigned long long)bytes,
                        (unsigned long long)r->segment_base, (unsigned long long)r->size);
    return DLX_OK;
}

/* Absolute range of a segment. */
static dlx_status segment(reader *r, uint32_t index, uint64_t *offset, uint64_t *size)
{
    if (index >= r->segments.count)
        return dlx_fail(r->err, DLX_E_FORMAT, "segment %u is asked for; there are %u", index, r->segments.count);
    dlx_fb t = dlx_fb_vec_table(r->segments, index);
    uint64_t at = dlx_fb_u64(t, SEGMENT_OFFSET, 0);
    *size = dlx_fb_u64(t, SEGMENT_SIZE, 0);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (!r->segment_base || !dlx_add_u64(at, r->segment_base, offset) || !dlx_range_ok(*offset, *size, r->size))
        return dlx_fail(r->err, DLX_E_FORMAT, "segment %u has %llu bytes at %llu behind byte %llu; the file has %llu",
                        index, (unsigned long long)*size, (unsigned long long)at, (unsigned long long)r->segment_base,
                        (unsigned long long)r->size);
    return DLX_OK;
}

static int32_t add_blob(reader *r, dlx_blob_kind kind, const char *key, uint64_t offset, uint64_t size)
{
    dlx_pte_blob *b = &r->out->blobs[r->n_blobs];
    *b = (dlx_pte_blob){.kind = kind, .key = key, .size = size, .alias_of = -1, .offset = offset};
    if (!r->file || offset < r->have)
        b->data = r->data + offset;
    else
        b->file = r->file;
    return (int32_t)r->n_blobs++;
}

/* ---- constants and named data ---- */

static dlx_status read_segment_constants(reader *r, dlx_fb constants, dlx_fb_vector offsets)
{
    uint64_t begin, size;
    if (r->n_constants == 0) return DLX_OK; /* offset 0 alone is a placeholder, the segment need not exist */
    DLX_TRY(segment(r, dlx_fb_u32(constants, SUBSEGMENT_INDEX, 0), &begin, &size));
    r->constants_in_segment = true;
    r->constants_begin = begin;
    r->constants_end = begin + size;
    for (uint32_t i = 1; i < offsets.count; i++) {
        uint64_t offset = dlx_fb_vec_u64(offsets, i);
        if (offset > size)
            return dlx_fail(r->err, DLX_E_FORMAT, "constant %u begins at %llu of a segment of %llu bytes", i,
                            (unsigned long long)offset, (unsigned long long)size);
        add_blob(r, DLX_BLOB_CONSTANT, NULL, begin + offset, 0);
    }
    return DLX_OK;
}

/* Initial values of mutable tensors, numbered like constants, in a segment of their own. */
static dlx_status read_initial_values(reader *r, dlx_fb initial, dlx_fb_vector offsets)
{
    uint64_t begin, size;
    if (r->n_initial == 0) return DLX_OK;
    DLX_TRY(segment(r, dlx_fb_u32(initial, SUBSEGMENT_INDEX, 0), &begin, &size));
    r->initial_begin = begin;
    r->initial_end = begin + size;
    for (uint32_t i = 1; i < offsets.count; i++) {
        uint64_t offset = dlx_fb_vec_u64(offsets, i);
        if (offset > size)
            return dlx_fail(r->err, DLX_E_FORMAT, "initial value %u begins at %llu of a segment of %llu bytes", i,
                            (unsigned long long)offset, (unsigned long long)size);
        add_blob(r, DLX_BLOB_INITIAL, NULL, begin + offset, 0);
    }
    return DLX_OK;
}

/* Files of before ExecuTorch 0.4 keep constants in the flatbuffer. */
static dlx_status read_inline_constants(reader *r, dlx_fb_vector buffers)
{
    for (uint32_t i = 1; i < buffers.count; i++) {
        dlx_fb_vector bytes = dlx_fb_vec(dlx_fb_vec_table(buffers, i), BUFFER_BYTES, 1);
        if (r->buffer.status != DLX_OK) return r->buffer.status;
        add_blob(r, DLX_BLOB_CONSTANT, NULL, bytes.start, bytes.count);
    }
    return DLX_OK;
}

static dlx_status read_named(reader *r, dlx_fb_vector named)
{
    for (uint32_t i = 0; i < named.count; i++) {
        dlx_fb t = dlx_fb_vec_table(named, i);
        const char *key = dlx_fb_string(t, NAMED_KEY, NULL);
        uint32_t index = dlx_fb_u32(t, NAMED_SEGMENT, 0);
        uint64_t offset, size;
        dlx_status s = r->buffer.status;
        if (s == DLX_OK) s = segment(r, index, &offset, &size);
        if (s != DLX_OK) return dlx_fail_prefix(r->err, s, "named data %u", i);
        add_blob(r, DLX_BLOB_NAMED, key, offset, size);
    }
    return DLX_OK;
}

/* ---- values ---- */

static int32_t *read_i32s(reader *r, dlx_fb_vector v)
{
    int32_t *items = take(r, v.count, sizeof *items);
    for (uint32_t i = 0; items && i < v.count; i++) items[i] = dlx_fb_vec_i32(v, i);
    return items;
}

static const char *label(const dlx_pte_tensor *x)
{
    return x->name ? x->name : "";
}

static dlx_status read_tensor_shape(reader *r, dlx_fb t, dlx_pte_tensor *x)
{
    dlx_fb_vector sizes = dlx_fb_vec(t, TENSOR_SIZES, 4), order = dlx_fb_vec(t, TENSOR_DIM_ORDER, 1);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (sizes.count > DLX_PTE_MAX_RANK)
        return dlx_fail(r->err, DLX_E_UNSUPPORTED, "tensor '%s' has rank %u; at most %d are supported", label(x),
                        sizes.count, DLX_PTE_MAX_RANK);
    if (order.count && order.count != sizes.count)
        return dlx_fail(r->err, DLX_E_FORMAT, "tensor '%s' has %u sizes and an order of %u dimensions", label(x),
                        sizes.count, order.count);
    x->rank = (uint8_t)sizes.count;
    for (uint32_t d = 0; d < sizes.count; d++) {
        x->sizes[d] = dlx_fb_vec_i32(sizes, d);
        if (order.count && dlx_fb_vec_u8(order, d) != d)
            return dlx_fail(r->err, DLX_E_UNSUPPORTED,
                            "tensor '%s' is not contiguous (its dimension order is not 0, 1, 2, ...)", label(x));
    }
    return DLX_OK;
}

/* What a tensor may say that this build cannot serve. */
static dlx_status check_tensor(reader *r, dlx_fb t, const dlx_pte_tensor *x)
{
    dlx_fb extra = dlx_fb_table(t, TENSOR_EXTRA);
    int dynamism = dlx_fb_i8(t, TENSOR_DYNAMISM, PTE_STATIC);
    const char *why = NULL;
    if (dlx_fb_i8(extra, EXTRA_LOCATION, PTE_LOCATION_SEGMENT) != PTE_LOCATION_SEGMENT)
        why = "keeps its data in another file (.ptd)";
    else if (dlx_fb_i8(extra, EXTRA_DEVICE_TYPE, 0) != 0)
        why = "lives on another device than the CPU";
    else if (dlx_fb_i32(t, TENSOR_STORAGE_OFFSET, 0) != 0)
        why = "has a storage offset";
    else if (dynamism != PTE_STATIC && dynamism != PTE_DYNAMIC_BOUND)
        why = "has a shape without upper bound";
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (!why) return DLX_OK;
    return dlx_fail(r->err, DLX_E_UNSUPPORTED, "tensor '%s' %s, which is not supported", label(x), why);
}

/* A constant in the segment is as large as the largest tensor that refers to it. */
static dlx_status claim_constant(reader *r, const dlx_pte_tensor *x)
{
    dlx_pte_blob *b = &r->out->blobs[x->blob];
    uint64_t element = dlx_scalar_type_size(x->scalar_type);
    if (b->offset % element)
        return dlx_fail(r->err, DLX_E_FORMAT, "tensor '%s' lies at byte %llu, which is no multiple of its element size",
                        label(x), (unsigned long long)b->offset);
    bool initial = b->kind == DLX_BLOB_INITIAL;
    uint64_t begin = initial ? r->initial_begin : r->constants_begin;
    uint64_t end = initial ? r->initial_end : r->constants_end;
    if ((!initial && !r->constants_in_segment) || x->bytes <= b->size) return DLX_OK;
    if (x->bytes > end - b->offset)
        return dlx_fail(r->err, DLX_E_FORMAT, "tensor '%s' needs %llu bytes at %llu of a segment that has %llu",
                        label(x), (unsigned long long)x->bytes, (unsigned long long)(b->offset - begin),
                        (unsigned long long)(end - begin));
    b->size = x->bytes;
    return DLX_OK;
}

static dlx_status read_tensor(reader *r, dlx_fb t, dlx_pte_tensor *x)
{
    dlx_fb extra = dlx_fb_table(t, TENSOR_EXTRA), allocation = dlx_fb_table(t, TENSOR_ALLOCATION);
    x->name = dlx_fb_has(extra, EXTRA_NAME) ? dlx_fb_string(extra, EXTRA_NAME, NULL) : NULL;
    x->scalar_type = dlx_fb_i8(t, TENSOR_SCALAR_TYPE, 0);
    x->dynamic = dlx_fb_i8(t, TENSOR_DYNAMISM, PTE_STATIC) == PTE_DYNAMIC_BOUND;
    DLX_TRY(check_tensor(r, t, x));
    DLX_TRY(read_tensor_shape(r, t, x));
    if (allocation.table) {
        x->memory_id = dlx_fb_u32(allocation, ALLOCATION_ID, 0);
        x->memory_offset =
            dlx_fb_u32(allocation, ALLOCATION_LOW, 0) | (uint64_t)dlx_fb_u32(allocation, ALLOCATION_HIGH, 0) << 32;
        if (x->memory_id == 0 && r->buffer.status == DLX_OK)
            return dlx_fail(r->err, DLX_E_FORMAT, "tensor '%s' is planned into arena 0, which is reserved", label(x));
    }
    uint32_t data = dlx_fb_u32(t, TENSOR_DATA, 0);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    x->blob = DLX_PTE_NO_BLOB;
    bool sized = dlx_pte_tensor_bytes(x, &x->bytes); /* the verifier says what is wrong with it */
    if (!data) return DLX_OK;
    /* With an allocation the index counts initial values, not constants. */
    uint32_t count = allocation.table ? r->n_initial : r->n_constants;
    if (data > count)
        return dlx_fail(r->err, DLX_E_FORMAT, "tensor '%s' refers to %s %u; there are %u", label(x),
                        allocation.table ? "initial value" : "constant", data, count);
    x->blob = (int32_t)(data - 1 + (allocation.table ? r->n_constants : 0));
    return sized ? claim_constant(r, x) : DLX_OK;
}

static dlx_status read_list(reader *r, dlx_fb t, dlx_evalue *v)
{
    bool bools = v->kind == DLX_EV_BOOL_LIST, doubles = v->kind == DLX_EV_DOUBLE_LIST,
         wide = v->kind == DLX_EV_INT_LIST;
    dlx_fb_vector items = dlx_fb_vec(t, LIST_ITEMS, bools ? 1 : doubles || wide ? 8 : 4);
    v->u.list.count = items.count;
    if (doubles) {
        double *d = take(r, items.count, sizeof *d);
        if (d && items.count) memcpy(d, r->buffer.data + items.start, items.count * sizeof *d);
        v->u.list.doubles = d;
        return r->buffer.status;
    }
    int64_t *ints = take(r, items.count, sizeof *ints);
    for (uint32_t i = 0; ints && i < items.count; i++)
        ints[i] = bools ? dlx_fb_vec_u8(items, i) != 0 : wide ? dlx_fb_vec_i64(items, i) : dlx_fb_vec_i32(items, i);
    v->u.list.ints = ints;
    return r->buffer.status;
}

static dlx_status read_value(reader *r, dlx_fb e, dlx_evalue *v)
{
    v->kind = (dlx_evalue_kind)dlx_fb_u8(e, EVALUE_TYPE, DLX_EV_NONE);
    dlx_fb t = dlx_fb_table(e, EVALUE_VALUE);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (!t.table && v->kind != DLX_EV_NONE) return dlx_fail(r->err, DLX_E_FORMAT, "it has a kind but no contents");
    switch (v->kind) {
    case DLX_EV_NONE:
    case DLX_EV_NULL: break;
    case DLX_EV_INT: v->u.i = dlx_fb_i64(t, SCALAR_VALUE, 0); break;
    case DLX_EV_BOOL: v->u.b = dlx_fb_u8(t, SCALAR_VALUE, 0) != 0; break;
    case DLX_EV_DOUBLE: v->u.d = dlx_fb_f64(t, SCALAR_VALUE, 0); break;
    case DLX_EV_TENSOR: return read_tensor(r, t, &v->u.tensor);
    case DLX_EV_STRING: v->u.s.text = dlx_fb_string(t, SCALAR_VALUE, &v->u.s.length); break;
    case DLX_EV_INT_LIST:
    case DLX_EV_DOUBLE_LIST:
    case DLX_EV_BOOL_LIST:
    case DLX_EV_TENSOR_LIST:
    case DLX_EV_OPTIONAL_TENSOR_LIST: return read_list(r, t, v);
    default:
        return dlx_fail(r->err, DLX_E_UNSUPPORTED, "its kind is number %d, which this build does not know",
                        (int)v->kind);
    }
    return r->buffer.status;
}

/* ---- plans ---- */

static dlx_status read_values(reader *r, dlx_fb t, dlx_pte_plan *plan)
{
    dlx_fb_vector v = dlx_fb_vec(t, PLAN_VALUES, 4);
    plan->n_values = v.count;
    plan->values = take(r, v.count, sizeof *plan->values);
    for (uint32_t i = 0; plan->values && i < v.count; i++) {
        dlx_status s = read_value(r, dlx_fb_vec_table(v, i), &plan->values[i]);
        if (s != DLX_OK) return dlx_fail_prefix(r->err, s, "value %u", i);
    }
    return r->buffer.status;
}

static dlx_status read_operators(reader *r, dlx_fb t, dlx_pte_plan *plan)
{
    dlx_fb_vector v = dlx_fb_vec(t, PLAN_OPERATORS, 4);
    dlx_pte_operator *operators = take(r, v.count, sizeof *operators);
    for (uint32_t i = 0; operators && i < v.count; i++) {
        dlx_fb o = dlx_fb_vec_table(v, i);
        operators[i] =
            (dlx_pte_operator){dlx_fb_string(o, OPERATOR_NAME, NULL), dlx_fb_string(o, OPERATOR_OVERLOAD, NULL)};
        if (r->buffer.status != DLX_OK) return r->buffer.status;
    }
    plan->operators = operators;
    plan->n_operators = v.count;
    return r->buffer.status;
}

static dlx_status read_specs(reader *r, dlx_fb t, dlx_pte_delegate *delegate)
{
    dlx_fb_vector v = dlx_fb_vec(t, DELEGATE_SPECS, 4);
    dlx_pte_spec *specs = take(r, v.count, sizeof *specs);
    for (uint32_t i = 0; specs && i < v.count; i++) {
        dlx_fb spec = dlx_fb_vec_table(v, i);
        dlx_fb_vector value = dlx_fb_vec(spec, SPEC_VALUE, 1);
        specs[i] = (dlx_pte_spec){
            .key = dlx_fb_string(spec, SPEC_KEY, NULL), .value = r->buffer.data + value.start, .size = value.count};
        if (r->buffer.status != DLX_OK) return r->buffer.status;
    }
    delegate->specs = specs;
    delegate->n_specs = specs ? v.count : 0;
    return r->buffer.status;
}

static dlx_status read_delegate(reader *r, dlx_fb t, dlx_pte_delegate *delegate)
{
    uint64_t offset = 0, size = 0;
    delegate->id = dlx_fb_string(t, DELEGATE_ID, NULL);
    DLX_TRY(read_specs(r, t, delegate));
    dlx_fb reference = dlx_fb_table(t, DELEGATE_PROCESSED);
    int location = dlx_fb_i8(reference, REFERENCE_LOCATION, PTE_INLINE);
    uint32_t index = dlx_fb_u32(reference, REFERENCE_INDEX, 0);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (!reference.table) return dlx_fail(r->err, DLX_E_FORMAT, "it has no payload");
    if (location == PTE_SEGMENT) {
        DLX_TRY(segment(r, index, &offset, &size));
    } else if (location == PTE_INLINE) {
        if (index >= r->inline_delegates.count)
            return dlx_fail(r->err, DLX_E_FORMAT, "its payload is inline block %u; there are %u", index,
                            r->inline_delegates.count);
        dlx_fb_vector bytes = dlx_fb_vec(dlx_fb_vec_table(r->inline_delegates, index), BUFFER_BYTES, 1);
        if (r->buffer.status != DLX_OK) return r->buffer.status;
        offset = bytes.start;
        size = bytes.count;
    } else {
        return dlx_fail(r->err, DLX_E_UNSUPPORTED, "its payload has location %d, which this build does not know",
                        location);
    }
    /* Every payload is parsed, and delegates may share one. */
    if (size > PTE_MAX_SHARING * r->size - r->payload_bytes)
        return dlx_fail(r->err, DLX_E_FORMAT, "the payloads up to it have more than %d times the file's bytes",
                        PTE_MAX_SHARING);
    r->payload_bytes += size;
    delegate->blob = add_blob(r, DLX_BLOB_DELEGATE, NULL, offset, size);
    return DLX_OK;
}

static dlx_status read_delegates(reader *r, dlx_fb t, dlx_pte_plan *plan)
{
    dlx_fb_vector v = dlx_fb_vec(t, PLAN_DELEGATES, 4);
    dlx_pte_delegate *delegates = take(r, v.count, sizeof *delegates);
    for (uint32_t i = 0; delegates && i < v.count; i++) {
        dlx_status s = read_delegate(r, dlx_fb_vec_table(v, i), &delegates[i]);
        if (s != DLX_OK) return dlx_fail_prefix(r->err, s, "delegate %u", i);
    }
    plan->delegates = delegates;
    plan->n_delegates = v.count;
    return r->buffer.status;
}

static dlx_status read_instruction(reader *r, dlx_fb t, dlx_instruction *ins)
{
    ins->kind = (dlx_instruction_kind)dlx_fb_u8(t, INSTRUCTION_TYPE, 0);
    dlx_fb call = dlx_fb_table(t, INSTRUCTION_ARGS);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (!call.table) return dlx_fail(r->err, DLX_E_FORMAT, "it has no arguments");
    ins->index = dlx_fb_i32(call, CALL_INDEX, 0);
    if (ins->kind == DLX_INS_KERNEL || ins->kind == DLX_INS_DELEGATE) {
        dlx_fb_vector args = dlx_fb_vec(call, CALL_ARGS, 4);
        ins->n_args = args.count;
        ins->args = read_i32s(r, args);
    } else if (ins->kind == DLX_INS_MOVE || ins->kind == DLX_INS_JUMP_FALSE) {
        ins->target = dlx_fb_i32(call, MOVE_TO, 0);
    }
    return r->buffer.status;
}

static dlx_status read_instructions(reader *r, dlx_fb t, dlx_pte_plan *plan)
{
    dlx_fb_vector chains = dlx_fb_vec(t, PLAN_CHAINS, 4);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (chains.count > 1)
        return dlx_fail(r->err, DLX_E_UNSUPPORTED, "it has %u chains of instructions; one is supported", chains.count);
    if (!chains.count) return DLX_OK;
    dlx_fb_vector v = dlx_fb_vec(dlx_fb_vec_table(chains, 0), CHAIN_INSTRUCTIONS, 4);
    dlx_instruction *instructions = take(r, v.count, sizeof *instructions);
    for (uint32_t i = 0; instructions && i < v.count; i++) {
        dlx_status s = read_instruction(r, dlx_fb_vec_table(v, i), &instructions[i]);
        if (s != DLX_OK) return dlx_fail_prefix(r->err, s, "instruction %u", i);
    }
    plan->instructions = instructions;
    plan->n_instructions = v.count;
    return r->buffer.status;
}

static dlx_status read_arenas(reader *r, dlx_fb t, dlx_pte_plan *plan)
{
    dlx_fb_vector v = dlx_fb_vec(t, PLAN_BUFFER_SIZES, 8), devices = dlx_fb_vec(t, PLAN_BUFFER_DEVICES, 4);
    int64_t *sizes = take(r, v.count, sizeof *sizes);
    for (uint32_t i = 0; sizes && i < v.count; i++) sizes[i] = dlx_fb_vec_i64(v, i);
    for (uint32_t i = 0; i < devices.count; i++)
        if (dlx_fb_i8(dlx_fb_vec_table(devices, i), NON_CONST_DEVICE_TYPE, 0) != 0 && r->buffer.status == DLX_OK)
            return dlx_fail(r->err, DLX_E_UNSUPPORTED, "it has an arena on another device than the CPU");
    plan->buffer_sizes = sizes;
    plan->n_buffer_sizes = v.count;
    return r->buffer.status;
}

static dlx_status read_plan(reader *r, dlx_fb t, dlx_pte_plan *plan)
{
    dlx_fb_vector inputs = dlx_fb_vec(t, PLAN_INPUTS, 4), outputs = dlx_fb_vec(t, PLAN_OUTPUTS, 4);
    plan->inputs = read_i32s(r, inputs);
    plan->outputs = read_i32s(r, outputs);
    plan->n_inputs = inputs.count;
    plan->n_outputs = outputs.count;
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    DLX_TRY(read_arenas(r, t, plan));
    DLX_TRY(read_values(r, t, plan));
    DLX_TRY(read_operators(r, t, plan));
    DLX_TRY(read_delegates(r, t, plan));
    return read_instructions(r, t, plan);
}

static dlx_status read_plans(reader *r, dlx_fb_vector v)
{
    dlx_pte_plan *plans = take(r, v.count, sizeof *plans);
    for (uint32_t i = 0; plans && i < v.count; i++) {
        dlx_fb t = dlx_fb_vec_table(v, i);
        plans[i].name = dlx_fb_string(t, PLAN_NAME, NULL);
        dlx_status s = r->buffer.status != DLX_OK ? r->buffer.status : read_plan(r, t, &plans[i]);
        if (s != DLX_OK) return dlx_fail_prefix(r->err, s, "method %u ('%s')", i, plans[i].name);
    }
    r->out->plans = plans;
    r->out->n_plans = v.count;
    return r->buffer.status;
}

/* ---- program ---- */

/* Blobs stand in one array, so they are counted before they are read. */
static dlx_status take_blobs(reader *r, dlx_fb_vector plans, uint32_t n_named)
{
    uint64_t n = (uint64_t)r->n_constants + r->n_initial + n_named;
    for (uint32_t i = 0; i < plans.count && r->buffer.status == DLX_OK; i++)
        n += dlx_fb_vec(dlx_fb_vec_table(plans, i), PLAN_DELEGATES, 4).count;
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (n >= INT32_MAX)
        return dlx_fail(r->err, DLX_E_LIMIT, "it has more than 2^31 constants, delegates and named blobs");
    r->out->blobs = take(r, (size_t)n, sizeof *r->out->blobs);
    return r->buffer.status;
}

static dlx_status read_program(reader *r)
{
    dlx_fb_vector plans = dlx_fb_vec(r->root, PROGRAM_PLANS, 4), named = dlx_fb_vec(r->root, PROGRAM_NAMED_DATA, 4);
    dlx_fb_vector buffers = dlx_fb_vec(r->root, PROGRAM_CONSTANT_BUFFER, 4);
    dlx_fb constants = dlx_fb_table(r->root, PROGRAM_CONSTANT_SEGMENT);
    dlx_fb_vector offsets = dlx_fb_vec(constants, SUBSEGMENT_OFFSETS, 8);
    dlx_fb_vector mutables = dlx_fb_vec(r->root, PROGRAM_MUTABLE_DATA, 4);
    dlx_fb initial = mutables.count ? dlx_fb_vec_table(mutables, 0) : (dlx_fb){0};
    dlx_fb_vector initial_offsets = dlx_fb_vec(initial, SUBSEGMENT_OFFSETS, 8);
    r->segments = dlx_fb_vec(r->root, PROGRAM_SEGMENTS, 4);
    r->inline_delegates = dlx_fb_vec(r->root, PROGRAM_DELEGATE_DATA, 4);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (offsets.count && buffers.count)
        return dlx_fail(r->err, DLX_E_FORMAT, "it keeps constants in a segment and in the program at once");
    uint32_t entries = offsets.count ? offsets.count : buffers.count;
    r->n_constants = entries ? entries - 1 : 0;
    r->n_initial = initial_offsets.count ? initial_offsets.count - 1 : 0;
    DLX_TRY(take_blobs(r, plans, named.count));
    DLX_TRY(offsets.count ? read_segment_constants(r, constants, offsets) : read_inline_constants(r, buffers));
    DLX_TRY(read_initial_values(r, initial, initial_offsets));
    DLX_TRY(read_plans(r, plans));
    DLX_TRY(read_named(r, named));
    r->out->n_blobs = r->n_blobs;
    return r->buffer.status;
}

/* The rest of the program part behind its header, which is at r->data. */
static dlx_status take_program(reader *r, uint64_t program_size)
{
    if (program_size > INT32_MAX)
        return dlx_fail(r->err, DLX_E_FORMAT, "its program part has %llu bytes; at most 2 GiB are expected",
                        (unsigned long long)program_size);
    uint8_t *data = dlx_arena_alloc(r->arena, (size_t)program_size);
    if (!data) return dlx_fail(r->err, DLX_E_NOMEM, "out of memory");
    r->data = data;
    r->have = program_size;
    return dlx_file_read(r->file, 0, data, (size_t)program_size, r->err);
}

static dlx_status read_file(reader *r)
{
    uint64_t program_size = 0;
    DLX_TRY(read_header(r, &program_size));
    if (r->file) DLX_TRY(take_program(r, program_size));
    DLX_TRY(dlx_fb_open(&r->buffer, r->data, program_size, DLX_PTE_IDENTIFIER, "program", r->err, &r->root));
    r->out->program_size = program_size;
    r->out->file_size = r->size;
    return read_program(r);
}

static dlx_status read_all(reader *r)
{
    memset(r->out, 0, sizeof *r->out);
    dlx_status s = read_file(r);
    if (s != DLX_OK && s != DLX_E_IO) s = dlx_fail_prefix(r->err, s, "'%s'", r->name);
    if (s == DLX_OK) s = dlx_pte_verify(r->out, r->name, r->err);
    if (s == DLX_OK) s = dlx_pte_index_named(r->out, r->arena, r->name, r->err);
    if (s != DLX_OK) memset(r->out, 0, sizeof *r->out);
    return s;
}

dlx_status dlx_pte_read(dlx_pte *out, dlx_arena *arena, const void *data, uint64_t size, const char *name,
                        dlx_error *err)
{
    reader r = {.out = out, .arena = arena, .data = data, .have = size, .size = size, .name = name, .err = err};
    return read_all(&r);
}

dlx_status dlx_pte_open(dlx_pte *out, dlx_arena *arena, const dlx_file *file, dlx_error *err)
{
    _Alignas(PTE_CONSTANT_ALIGN) uint8_t head[PTE_MIN_FILE + PTE_HEADER_AT + PTE_HEADER_LENGTH] = {0};
    size_t n = file->size < sizeof head ? (size_t)file->size : sizeof head;
    reader r = {.out = out,
                .arena = arena,
                .file = file,
                .data = head,
                .have = n,
                .size = file->size,
                .name = file->name,
                .err = err};
    memset(out, 0, sizeof *out);
    DLX_TRY(dlx_file_read(file, 0, head, n, err));
    return read_all(&r);
}
