/* The method's instruction list: who writes which EValue, in order. */
#include "runtime/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "format/facts.h"
#include "runtime/constants.h"

enum { MOST_SCALAR_BYTES = 64 };

/* The first operand of another type than the ones most operators compute on. */
static const char *odd_type(const dlx_graph *g, const dlx_node *n)
{
    for (int k = 0; k < n->inputs; k++) {
        dlx_dtype t = n->in[k] == DLX_NONE ? DLX_F32 : g->values[n->in[k]].dtype;
        if (t != DLX_F32 && t != DLX_I64 && t != DLX_I32) return dlx_dtype_name(t);
    }
    return dlx_dtype_name(g->values[n->in[0]].dtype);
}

/* A type that an operator does not take is no fault of the file. */
static dlx_status check_types(dlx_importer *im, uint32_t value)
{
    const dlx_node *n = &im->g->nodes[im->g->values[value].producer];
    const char *rule = dlx_types_rule(im->g, n);
    if (!rule) return DLX_OK;
    return dlx_fail(im->err, DLX_E_UNSUPPORTED, "%s: %s %s, and is given %s", im->at, dlx_op_name(n->op), rule,
                    odd_type(im->g, n));
}

dlx_status dlx_import_node(dlx_importer *im, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr,
                           uint32_t *out)
{
    dlx_error local = {0};
    *out = dlx_graph_node(im->g, op, in, inputs, attr, -1, &local);
    if (*out != DLX_NONE) return check_types(im, *out);
    if (local.status == DLX_OK) dlx_fail(&local, DLX_E_NOMEM, "out of memory reading method '%s'", im->plan->name);
    return dlx_fail(im->err, local.status, "%s", local.message);
}

/* Graph shapes are at most rank 6. */
dlx_status dlx_import_declared(dlx_importer *im, int32_t evalue, int64_t dim[DLX_MAX_RANK], dlx_dtype *dtype)
{
    const dlx_evalue *v = &im->plan->values[evalue];
    const dlx_pte_tensor *t = &v->u.tensor;
    if (v->kind != DLX_EV_TENSOR)
        return dlx_fail(im->err, DLX_E_FORMAT, "method '%s', value %d: a tensor is expected", im->plan->name, evalue);
    if (t->rank > DLX_MAX_RANK)
        return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s', value %d: rank %d is above %d", im->plan->name,
                        evalue, t->rank, DLX_MAX_RANK);
    if (!dlx_scalar_type_to_dtype(t->scalar_type, dtype))
        return dlx_fail(im->err, DLX_E_UNSUPPORTED,
                        "method '%s', value %d: tensors of scalar type %d are not supported", im->plan->name, evalue,
                        t->scalar_type);
    for (int d = 0; d < t->rank; d++) dim[d] = t->sizes[d];
    return DLX_OK;
}

/* Each is compared with all values of the program. */
enum { MOST_STATES = 4096 };

static dlx_status no_memory(dlx_importer *im)
{
    return dlx_fail(im->err, DLX_E_NOMEM, "out of memory reading method '%s'", im->plan->name);
}

static dlx_const_source source_of(const dlx_importer *im, const dlx_pte_tensor *t, dlx_dtype dtype)
{
    const dlx_pte_blob *b = &im->pte->blobs[t->blob];
    return (dlx_const_source){
        .data = b->data, .bytes = t->bytes, .stored = dtype, .file = b->file, .offset = b->offset};
}

/* A planned tensor that is read before it is written keeps what the call before left there: zeros at first, or what the
 * file holds for it. */
static dlx_status import_state(dlx_importer *im, int32_t evalue)
{
    const dlx_pte_tensor *t = &im->plan->values[evalue].u.tensor;
    dlx_import_slot *slot = &im->slot[evalue];
    int64_t dim[DLX_MAX_RANK];
    dlx_dtype dtype;
    DLX_TRY(dlx_import_declared(im, evalue, dim, &dtype));
    if (t->dynamic)
        return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s', value %d: a state cannot vary in shape",
                        im->plan->name, evalue);
    if (im->g->n_states == MOST_STATES)
        return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s' keeps more than %d tensors between calls",
                        im->plan->name, MOST_STATES);
    slot->state = dlx_graph_input(im->g, t->name, dtype, t->rank, dim, 0);
    if (slot->state == DLX_NONE) return no_memory(im);
    if (t->blob != DLX_PTE_NO_BLOB) im->g->values[slot->state].source = source_of(im, t, dtype);
    slot->value = slot->state;
    im->g->n_states++;
    return DLX_OK;
}

static dlx_status import_constant(dlx_importer *im, int32_t evalue)
{
    const dlx_pte_tensor *t = &im->plan->values[evalue].u.tensor;
    int64_t dim[DLX_MAX_RANK];
    dlx_dtype dtype;
    DLX_TRY(dlx_import_declared(im, evalue, dim, &dtype));
    uint32_t v = dlx_graph_const(im->g, t->name, dtype, t->rank, dim, source_of(im, t, dtype));
    if (v == DLX_NONE) return no_memory(im);
    im->slot[evalue].value = v;
    /* Shapes may follow from a number in the file. */
    return t->bytes <= MOST_SCALAR_BYTES ? dlx_constant_load(im->g, v, im->err) : DLX_OK;
}

/* The tensors that begin at one place in memory are views of each other: exporters leave reshapes out that way. */
static dlx_status import_view(dlx_importer *im, int32_t of, int32_t evalue, uint32_t *out)
{
    const dlx_pte_tensor *t = &im->plan->values[evalue].u.tensor, *from = &im->plan->values[of].u.tensor;
    dlx_attr attr = {.rank = t->rank};
    dlx_dtype dtype;
    DLX_TRY(dlx_import_declared(im, evalue, attr.shape, &dtype));
    *out = im->slot[of].value;
    if (t->scalar_type != from->scalar_type || t->bytes != from->bytes)
        return dlx_fail(im->err, DLX_E_UNSUPPORTED,
                        "method '%s', value %d is read where value %d, of another type or size, was written",
                        im->plan->name, evalue, of);
    bool same = t->rank == from->rank && memcmp(t->sizes, from->sizes, t->rank * sizeof t->sizes[0]) == 0;
    if (same) return DLX_OK;
    if (t->dynamic || from->dynamic)
        return dlx_fail(im->err, DLX_E_UNSUPPORTED,
                        "method '%s', value %d: views of memory that vary in shape are not supported", im->plan->name,
                        evalue);
    return dlx_import_node(im, DLX_OP_RESHAPE, out, 1, &attr, out);
}

/* The tensor that stands for a place which is read before it is written: the first one of that size that does not vary.
 */
static int32_t first_at(const dlx_importer *im, int32_t evalue)
{
    const dlx_evalue *values = im->plan->values;
    for (uint32_t e = 0; e < im->plan->n_values; e++)
        if (values[e].kind == DLX_EV_TENSOR && im->slot[e].place == im->slot[evalue].place &&
            !values[e].u.tensor.dynamic && values[e].u.tensor.bytes == values[evalue].u.tensor.bytes)
            return (int32_t)e;
    return evalue;
}

static dlx_status read_place(dlx_importer *im, int32_t evalue)
{
    dlx_import_place *place = &im->place[im->slot[evalue].place];
    if (place->last >= 0) return DLX_OK;
    place->last = first_at(im, evalue);
    place->epoch = im->slot[place->last].epoch = 1;
    return import_state(im, place->last);
}

dlx_status dlx_import_shared(dlx_importer *im, int32_t evalue, uint32_t *out)
{
    dlx_import_slot *slot = &im->slot[evalue];
    *out = DLX_NONE;
    if (slot->place == DLX_NONE) return DLX_OK;
    bool written = im->place[slot->place].last >= 0;
    if (!written && first_at(im, evalue) == evalue) return DLX_OK;
    DLX_TRY(read_place(im, evalue));
    int32_t last = im->place[slot->place].last;
    const dlx_pte_tensor *a = &im->plan->values[last].u.tensor, *b = &im->plan->values[evalue].u.tensor;
    if (last != evalue && a->scalar_type == b->scalar_type && a->bytes == b->bytes) *out = im->slot[last].value;
    return DLX_OK;
}

void dlx_import_part(dlx_importer *im, int32_t evalue, uint32_t value)
{
    im->slot[evalue].value = value;
    im->slot[evalue].epoch = im->place[im->slot[evalue].place].epoch;
}

dlx_status dlx_import_tensor(dlx_importer *im, int32_t evalue, uint32_t *out)
{
    *out = DLX_NONE;
    const dlx_evalue *v = &im->plan->values[evalue];
    dlx_import_slot *slot = &im->slot[evalue];
    if (v->kind != DLX_EV_TENSOR)
        return dlx_fail(im->err, DLX_E_FORMAT, "method '%s', value %d: a tensor is expected", im->plan->name, evalue);
    if (slot->place != DLX_NONE) {
        dlx_import_place *place = &im->place[slot->place];
        DLX_TRY(read_place(im, evalue));
        if (slot->value == DLX_NONE || slot->epoch != place->epoch) {
            DLX_TRY(import_view(im, place->last, evalue, &slot->value));
            slot->epoch = place->epoch;
        }
    } else if (slot->value == DLX_NONE && v->u.tensor.blob != DLX_PTE_NO_BLOB) {
        DLX_TRY(import_constant(im, evalue));
    }
    *out = slot->value;
    if (*out != DLX_NONE) return DLX_OK;
    return dlx_fail(im->err, DLX_E_UNSUPPORTED,
                    "method '%s', value %d is read before anything writes it, and has no memory of its own",
                    im->plan->name, evalue);
}

dlx_status dlx_import_write(dlx_importer *im, int32_t evalue, uint32_t value, dlx_write_kind how)
{
    dlx_import_slot *slot = &im->slot[evalue];
    const dlx_evalue *v = &im->plan->values[evalue];
    if (v->kind != DLX_EV_TENSOR)
        return dlx_fail(im->err, DLX_E_FORMAT, "method '%s', value %d: a tensor is expected as result", im->plan->name,
                        evalue);
    if (v->u.tensor.blob != DLX_PTE_NO_BLOB && !v->u.tensor.memory_id)
        return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s', value %d is a constant and is written to",
                        im->plan->name, evalue);
    if (how == DLX_WRITE_IN_PLACE && slot->state == DLX_NONE && slot->value != DLX_NONE &&
        im->g->values[slot->value].kind == DLX_VALUE_INPUT)
        return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s', value %d is an input and is changed in place",
                        im->plan->name, evalue);
    slot->value = value;
    if (slot->place == DLX_NONE) return DLX_OK;
    dlx_import_place *place = &im->place[slot->place];
    if (v->u.tensor.bytes > 0) {
        place->last = evalue;
        place->epoch += how != DLX_WRITE_VIEW;
    }
    slot->epoch = place->epoch;
    return DLX_OK;
}

dlx_status dlx_import_number(dlx_importer *im, dlx_dtype type, double real, int64_t number, uint32_t *out)
{
    union {
        float f;
        int64_t i64;
        int32_t i32;
        uint8_t b;
    } *data = dlx_arena_alloc(&im->g->arena, sizeof *data);
    if (!data) return no_memory(im);
    if (type == DLX_F32)
        data->f = (float)real;
    else if (type == DLX_I64)
        data->i64 = number;
    else if (type == DLX_I32)
        data->i32 = (int32_t)(uint32_t)(uint64_t)number;
    else
        data->b = type == DLX_BOOL ? number != 0 : (uint8_t)(uint64_t)number;
    dlx_const_source source = {.data = data, .bytes = dlx_dtype_size(type), .stored = type};
    *out = dlx_graph_const(im->g, NULL, type, 0, NULL, source);
    return *out == DLX_NONE ? no_memory(im) : DLX_OK;
}

/* ---- inputs ---- */

/* Of a tensor that varies and has one dimension that is not 1: that one. */
static unsigned only_dimension(const dlx_pte_tensor *t)
{
    unsigned dims = 0;
    if (!t->dynamic) return 0;
    for (int d = 0; d < t->rank && d < 8; d++)
        if (t->sizes[d] != 1) dims |= 1u << d;
    return dims & (dims - 1) ? 0 : dims;
}

/* Dimensions of value e that the program asks the size of, or that nothing but them can vary in: those vary. */
static unsigned asked_dims(const dlx_importer *im, int32_t e)
{
    const dlx_pte_plan *plan = im->plan;
    unsigned dims = 0;
    for (uint32_t i = 0; i < plan->n_instructions; i++) {
        const dlx_instruction *ins = &plan->instructions[i];
        if (ins->kind != DLX_INS_KERNEL || strcmp(plan->operators[ins->index].name, "aten::sym_size") != 0) continue;
        if (ins->n_args < 2 || ins->args[0] != e || plan->values[ins->args[1]].kind != DLX_EV_INT) continue;
        int64_t d = plan->values[ins->args[1]].u.i, rank = plan->values[e].u.tensor.rank;
        if (d < 0) d += rank;
        if (d >= 0 && d < rank && d < 8) dims |= 1u << d;
    }
    return dims ? dims : only_dimension(&plan->values[e].u.tensor);
}

/*
 * Which dimensions of a dynamic input vary is not in the file. In our own files it is the first one. Where a program
 * asks for sizes, it is those, and in inputs of which it asks nothing the dimension that has the same bound (at the
 * same place, if there is one), of them or of an input that has no other dimension. Else all of an integer vector, the
 * first one of a cache or mask; a one-element dimension does not vary.
 */
static unsigned input_dynamic(const dlx_importer *im, int32_t e)
{
    const dlx_pte_plan *plan = im->plan;
    const dlx_pte_tensor *t = &plan->values[e].u.tensor;
    if (!t->dynamic) return 0;
    if (dlx_facts_are_ours(im->pte) && t->rank && t->sizes[0] != 1) return 1; /* tokens, positions, cached rows */
    unsigned dims = asked_dims(im, e), alike = 0;
    for (uint32_t i = 0; !dims && i < plan->n_inputs; i++) {
        if (plan->values[plan->inputs[i]].kind != DLX_EV_TENSOR) continue;
        unsigned other = asked_dims(im, plan->inputs[i]);
        const dlx_pte_tensor *o = &plan->values[plan->inputs[i]].u.tensor;
        for (int d = 0; d < o->rank && d < 8; d++) {
            if (!(other >> d & 1)) continue;
            if (d < t->rank && t->sizes[d] == o->sizes[d]) dims |= 1u << d;
            for (int k = 0; k < t->rank && !alike; k++)
                if (t->sizes[k] == o->sizes[d] && t->sizes[k] != 1) alike = 1u << k;
        }
    }
    if (!dims) dims = alike;
    for (int d = 0; d < t->rank && !dims; d++)
        if (t->sizes[d] != 1) dims = 1u << d;
    return dims;
}

static dlx_status import_inputs(dlx_importer *im)
{
    const dlx_pte_plan *plan = im->plan;
    for (uint32_t i = 0; i < plan->n_inputs; i++) {
        int32_t e = plan->inputs[i];
        int64_t dim[DLX_MAX_RANK];
        dlx_dtype dtype;
        if (plan->values[e].kind != DLX_EV_TENSOR)
            return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s': input %u is not a tensor", plan->name, i);
        DLX_TRY(dlx_import_declared(im, e, dim, &dtype));
        const dlx_pte_tensor *t = &plan->values[e].u.tensor;
        im->slot[e].value = dlx_graph_input(im->g, t->name, dtype, t->rank, dim, input_dynamic(im, e));
        if (im->slot[e].value == DLX_NONE) return no_memory(im);
        if (im->slot[e].place == DLX_NONE) continue;
        im->place[im->slot[e].place] = (dlx_import_place){.last = e, .epoch = 1};
        im->slot[e].epoch = 1;
    }
    return DLX_OK;
}

static dlx_status import_move(dlx_importer *im, const dlx_instruction *ins)
{
    dlx_import_slot *to = &im->slot[ins->target];
    if (im->plan->values[ins->index].kind == DLX_EV_TENSOR) {
        uint32_t v;
        DLX_TRY(dlx_import_tensor(im, ins->index, &v));
        return dlx_import_write(im, ins->target, v, to->state != DLX_NONE ? DLX_WRITE_IN_PLACE : DLX_WRITE_RESULT);
    }
    const dlx_import_slot *from = &im->slot[ins->index];
    if (!from->computed)
        return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s': a number that is not computed moves", im->plan->name);
    to->value = from->value;
    to->computed = true;
    to->known = from->known;
    to->number = from->number;
    return DLX_OK;
}

/* Delegates of others, and what has them. */
static dlx_status refuse_delegate(const dlx_importer *im, const char *id)
{
    static const struct {
        const char *id, *where;
    } known[] = {
        {"CoreMLBackend", "an Apple device"},
        {"QnnBackend", "a device with the Qualcomm chip that the file was made for"},
    };
    const char *where = "a device that has that delegate";
    bool ours = dlx_facts_are_ours(im->pte);
    for (size_t i = 0; i < DLX_COUNT(known); i++)
        if (!strcmp(id, known[i].id)) where = known[i].where;
    return dlx_fail(im->err, DLX_E_UNSUPPORTED,
                    "method '%.60s' uses delegate '%.60s'; this runtime executes XnnpackBackend only, ExecuTorch's own "
                    "runtime the others, on %s (runtime=\"executorch\" in Python)%s",
                    im->plan->name, id, where, ours ? "; for this runtime export with --backend xnnpack" : "");
}

static dlx_status import_instruction(dlx_importer *im, uint32_t i)
{
    const dlx_instruction *ins = &im->plan->instructions[i];
    switch (ins->kind) {
    case DLX_INS_KERNEL: return dlx_import_kernel(im, ins);
    case DLX_INS_DELEGATE: {
        const char *id = im->plan->delegates[ins->index].id;
        if (strcmp(id, "XnnpackBackend") != 0) return refuse_delegate(im, id);
        return dlx_import_xnnpack(im, ins);
    }
    case DLX_INS_FREE: return DLX_OK;
    case DLX_INS_MOVE: return import_move(im, ins);
    case DLX_INS_JUMP_FALSE: break;
    }
    return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s', instruction %u: conditional jumps are not supported",
                    im->plan->name, i);
}

static bool overlap(const dlx_pte_tensor *a, const dlx_pte_tensor *b)
{
    return a->memory_id == b->memory_id && a->memory_offset < b->memory_offset + b->bytes &&
           b->memory_offset < a->memory_offset + a->bytes;
}

/* The memory of a state belongs to it and to views of the whole of it: otherwise it could change behind our back. */
static dlx_status check_state(dlx_importer *im, int32_t state)
{
    const dlx_pte_plan *plan = im->plan;
    const dlx_pte_tensor *s = &plan->values[state].u.tensor;
    for (uint32_t e = 0; e < plan->n_values; e++) {
        const dlx_pte_tensor *t = &plan->values[e].u.tensor;
        if (plan->values[e].kind != DLX_EV_TENSOR || !overlap(s, t)) continue;
        if (t->memory_offset != s->memory_offset || t->bytes != s->bytes)
            return dlx_fail(im->err, DLX_E_UNSUPPORTED,
                            "method '%s': values %d and %u share memory that is kept between calls", plan->name, state,
                            e);
    }
    return DLX_OK;
}

/* A state ends in a value of its own: not in what another state was before the call. */
static dlx_status check_state_end(dlx_importer *im, int32_t state, uint32_t end)
{
    const dlx_graph *g = im->g;
    const dlx_node *n;
    while ((n = dlx_made_by(g, end)) != NULL && (n->op == DLX_OP_COPY || n->op == DLX_OP_RESHAPE)) end = n->in[0];
    if (g->values[end].kind == DLX_VALUE_TEMP || end == im->slot[state].state || g->values[end].kind == DLX_VALUE_CONST)
        return DLX_OK;
    for (size_t i = g->n_inputs - g->n_states; i < g->n_inputs; i++)
        if (g->inputs[i] == end)
            return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s': a state becomes what another one was",
                            im->plan->name);
    return DLX_OK;
}

/* What states hold at the end, in the order of their inputs. */
static dlx_status import_states(dlx_importer *im)
{
    const dlx_graph *g = im->g;
    for (size_t i = g->n_inputs - g->n_states; i < g->n_inputs; i++)
        for (uint32_t e = 0; e < im->plan->n_values; e++) {
            uint32_t end;
            if (im->slot[e].state != g->inputs[i]) continue;
            DLX_TRY(check_state(im, (int32_t)e));
            DLX_TRY(dlx_import_tensor(im, (int32_t)e, &end));
            DLX_TRY(check_state_end(im, (int32_t)e, end));
            if (!dlx_graph_output(im->g, end)) return no_memory(im);
        }
    return DLX_OK;
}

/* Numbers that a method returns are tensors of one element here, whether the file states or the program computes them:
 * integers I64, truths BOOL, reals F32. */
static dlx_status import_output(dlx_importer *im, uint32_t i, uint32_t *out)
{
    int32_t e = im->plan->outputs[i];
    const dlx_evalue *v = &im->plan->values[e];
    const dlx_import_slot *slot = &im->slot[e];
    bool computed = slot->computed && !slot->known;
    int64_t number = slot->computed ? slot->number : v->kind == DLX_EV_BOOL ? v->u.b : v->u.i;
    *out = slot->value;
    switch (v->kind) {
    case DLX_EV_TENSOR: return dlx_import_tensor(im, e, out);
    case DLX_EV_INT: return computed ? DLX_OK : dlx_import_number(im, DLX_I64, 0, number, out);
    case DLX_EV_BOOL: return computed ? DLX_OK : dlx_import_number(im, DLX_BOOL, 0, number, out);
    case DLX_EV_DOUBLE: return slot->computed ? DLX_OK : dlx_import_number(im, DLX_F32, v->u.d, 0, out);
    case DLX_EV_STRING:
        return dlx_fail(
            im->err, DLX_E_UNSUPPORTED,
            "method '%s' returns the text '%.120s', which is no tensor; a description of the file (inspect) "
            "has it",
            im->plan->name, v->u.s.text);
    case DLX_EV_NULL:
        return dlx_fail(im->err, DLX_E_UNSUPPORTED,
                        "method '%s': output %u is nothing (None), as where a program keeps no cache: have the program "
                        "return tensors only, or export the checkpoint again with 'diffulex-edge export'",
                        im->plan->name, i);
    default: break;
    }
    return dlx_fail(im->err, DLX_E_UNSUPPORTED, "method '%s': output %u is neither a tensor nor a number",
                    im->plan->name, i);
}

static dlx_status import_all(dlx_importer *im)
{
    const dlx_pte_plan *plan = im->plan;
    DLX_TRY(import_inputs(im));
    for (uint32_t i = 0; i < plan->n_instructions; i++) DLX_TRY(import_instruction(im, i));
    for (uint32_t i = 0; i < plan->n_outputs; i++) {
        uint32_t v;
        DLX_TRY(import_output(im, i, &v));
        if (!dlx_graph_output(im->g, v)) return no_memory(im);
    }
    DLX_TRY(import_states(im));
    return dlx_graph_verify(im->g, im->err);
}

typedef struct place {
    uint32_t id, evalue;
    uint64_t offset;
} place;

static int by_place(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->evalue < y->evalue ? -1 : x->evalue > y->evalue;
}

/* Numbers the places in memory where planned tensors begin. */
static dlx_status find_places(dlx_importer *im)
{
    const dlx_pte_plan *plan = im->plan;
    const dlx_allocator *mem = &im->g->arena.mem;
    place *places = dlx_mem_array(mem, plan->n_values, sizeof *places);
    uint32_t n = 0, count = 0;
    if (!places) return no_memory(im);
    for (uint32_t e = 0; e < plan->n_values; e++) {
        const dlx_pte_tensor *t = &plan->values[e].u.tensor;
        if (plan->values[e].kind == DLX_EV_TENSOR && t->memory_id)
            places[n++] = (place){.id = t->memory_id, .evalue = e, .offset = t->memory_offset};
    }
    qsort(places, n, sizeof *places, by_place);
    for (uint32_t i = 0; i < n; i++) {
        if (i && (places[i].id != places[i - 1].id || places[i].offset != places[i - 1].offset)) count++;
        im->slot[places[i].evalue].place = count;
    }
    for (uint32_t i = 0; i < plan->n_values; i++) im->place[i].last = -1;
    dlx_mem_free(mem, places, plan->n_values, sizeof *places);
    return DLX_OK;
}

/* Those that compute something; constants only where there is nothing else. */
dlx_status dlx_import_no_method(const dlx_pte *pte, const char *method, dlx_error *err)
{
    char list[240] = "";
    size_t at = 0;
    for (int constants = 0; constants < 2 && !at; constants++)
        for (uint32_t i = 0; i < pte->n_plans && at + 1 < sizeof list; i++) {
            const dlx_pte_plan *p = &pte->plans[i];
            if ((!p->n_inputs && !p->n_instructions) != (constants == 1)) continue;
            at += (size_t)snprintf(list + at, sizeof list - at, "%s'%.60s'", at ? ", " : "", p->name);
        }
    if (at >= sizeof list) memcpy(list + sizeof list - 4, "...", 4);
    return dlx_fail(err, DLX_E_UNSUPPORTED, "the program has no method '%.80s'; it has %s", method, at ? list : "none");
}

dlx_status dlx_import_method(dlx_graph *g, const dlx_pte *pte, const char *method, const dlx_allocator *mem,
                             dlx_error *err)
{
    dlx_graph_init_with(g, mem);
    dlx_importer im = {.pte = pte, .plan = dlx_pte_find_plan(pte, method), .g = g, .err = err};
    if (!im.plan) return dlx_import_no_method(pte, method, err);
    size_t n = im.plan->n_values;
    im.slot = dlx_mem_zeroed(mem, n, sizeof *im.slot);
    im.place = dlx_mem_zeroed(mem, n, sizeof *im.place);
    dlx_status s = im.slot && im.place ? DLX_OK : no_memory(&im);
    for (uint32_t i = 0; s == DLX_OK && i < im.plan->n_values; i++)
        im.slot[i].value = im.slot[i].state = im.slot[i].place = DLX_NONE;
    if (s == DLX_OK) s = find_places(&im);
    if (s == DLX_OK) s = import_all(&im);
    if (s == DLX_OK) s = dlx_constants_load_small(g, err);
    dlx_mem_free(mem, im.slot, n, sizeof *im.slot);
    dlx_mem_free(mem, im.place, n, sizeof *im.place);
    if (s != DLX_OK) dlx_graph_free(g);
    return s;
}
