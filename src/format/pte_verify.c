/*
 * The rules between the parts of a program. Reader and writer call this on the same structure, so that every file that
 * is written can be read, and whoever walks a program that was read needs no checks of its own.
 */
#include <string.h>

#include "base/sizes.h"
#include "format/pte_schema.h"

static dlx_status verify_tensor(const dlx_pte *pte, const dlx_pte_plan *plan, const dlx_pte_tensor *t, dlx_error *err)
{
    uint64_t bytes, end;
    const char *name = t->name ? t->name : "";
    if (!dlx_scalar_type_size(t->scalar_type))
        return dlx_fail(err, DLX_E_UNSUPPORTED, "tensor '%s' has scalar type %d, which this build does not know", name,
                        t->scalar_type);
    if (t->rank > DLX_PTE_MAX_RANK)
        return dlx_fail(err, DLX_E_UNSUPPORTED, "tensor '%s' has rank %u; at most %d are supported", name, t->rank,
                        DLX_PTE_MAX_RANK);
    for (int d = 0; d < t->rank; d++)
        if (t->sizes[d] < 0)
            return dlx_fail(err, DLX_E_FORMAT, "tensor '%s' has size %d in dimension %d", name, t->sizes[d], d);
    if (!dlx_pte_tensor_bytes(t, &bytes))
        return dlx_fail(err, DLX_E_FORMAT, "tensor '%s' has more bytes than 64 bits can count", name);
    if (bytes != t->bytes)
        return dlx_fail(err, DLX_E_FORMAT, "tensor '%s' claims %llu bytes; its sizes give %llu", name,
                        (unsigned long long)t->bytes, (unsigned long long)bytes);
    if (t->blob != DLX_PTE_NO_BLOB) {
        dlx_blob_kind kind = t->memory_id ? DLX_BLOB_INITIAL : DLX_BLOB_CONSTANT;
        if (t->blob < 0 || (uint32_t)t->blob >= pte->n_blobs || pte->blobs[t->blob].kind != kind)
            return dlx_fail(err, DLX_E_FORMAT, "tensor '%s' refers to data %d, which is not one of the %s", name,
                            t->blob, t->memory_id ? "initial values" : "constants");
        if (bytes > pte->blobs[t->blob].size)
            return dlx_fail(err, DLX_E_FORMAT, "tensor '%s' needs %llu bytes; its constant has %llu", name,
                            (unsigned long long)bytes, (unsigned long long)pte->blobs[t->blob].size);
    }
    if (t->memory_id >= plan->n_buffer_sizes && t->memory_id)
        return dlx_fail(err, DLX_E_FORMAT, "tensor '%s' is planned into arena %u; the method has %u", name,
                        t->memory_id, plan->n_buffer_sizes ? plan->n_buffer_sizes - 1 : 0);
    if (t->memory_id &&
        (!dlx_add_u64(t->memory_offset, bytes, &end) || end > (uint64_t)plan->buffer_sizes[t->memory_id]))
        return dlx_fail(err, DLX_E_FORMAT, "tensor '%s' takes %llu bytes at %llu of arena %u, which has %lld", name,
                        (unsigned long long)bytes, (unsigned long long)t->memory_offset, t->memory_id,
                        (long long)plan->buffer_sizes[t->memory_id]);
    return DLX_OK;
}

static dlx_status verify_list(const dlx_pte_plan *plan, uint32_t index, dlx_error *err)
{
    const dlx_evalue *v = &plan->values[index];
    for (uint32_t i = 0; i < v->u.list.count; i++) {
        int64_t item = v->u.list.ints[i];
        if (v->kind == DLX_EV_OPTIONAL_TENSOR_LIST && item == -1) continue;
        if (item < 0 || item >= plan->n_values)
            return dlx_fail(err, DLX_E_FORMAT, "item %u of the list is value %lld; the method has %u values", i,
                            (long long)item, plan->n_values);
        dlx_evalue_kind kind = plan->values[item].kind;
        bool ints = v->kind == DLX_EV_INT_LIST;
        if (kind == (ints ? DLX_EV_INT : DLX_EV_TENSOR) ||
            (v->kind == DLX_EV_OPTIONAL_TENSOR_LIST && kind == DLX_EV_NULL)) {
            /* The stock runtime fills tensor lists while it reads the values in order. */
            if (ints || item < index) continue;
            return dlx_fail(err, DLX_E_FORMAT, "item %u of the tensor list is value %lld, which stands behind the list",
                            i, (long long)item);
        }
        return dlx_fail(err, DLX_E_FORMAT, "item %u of the list is value %lld, which is not %s", i, (long long)item,
                        ints ? "an integer" : "a tensor");
    }
    return DLX_OK;
}

static dlx_status verify_value(const dlx_pte *pte, const dlx_pte_plan *plan, uint32_t index, dlx_error *err)
{
    const dlx_evalue *v = &plan->values[index];
    switch (v->kind) {
    case DLX_EV_NONE:
    case DLX_EV_NULL:
    case DLX_EV_INT:
    case DLX_EV_BOOL:
    case DLX_EV_DOUBLE:
    case DLX_EV_DOUBLE_LIST:
    case DLX_EV_BOOL_LIST: return DLX_OK;
    case DLX_EV_STRING: return v->u.s.text ? DLX_OK : dlx_fail(err, DLX_E_FORMAT, "the string is missing");
    case DLX_EV_TENSOR: return verify_tensor(pte, plan, &v->u.tensor, err);
    case DLX_EV_INT_LIST:
    case DLX_EV_TENSOR_LIST:
    case DLX_EV_OPTIONAL_TENSOR_LIST: return verify_list(plan, index, err);
    }
    return dlx_fail(err, DLX_E_UNSUPPORTED, "its kind is number %d, which this build does not know", (int)v->kind);
}

static dlx_status verify_index(const char *what, int64_t index, uint32_t count, dlx_error *err)
{
    if (index >= 0 && index < count) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT, "%s is %lld; the method has %u", what, (long long)index, count);
}

static dlx_status verify_instruction(const dlx_pte_plan *plan, const dlx_instruction *ins, dlx_error *err)
{
    dlx_evalue_kind kind;
    switch (ins->kind) {
    case DLX_INS_KERNEL: DLX_TRY(verify_index("the operator", ins->index, plan->n_operators, err)); break;
    case DLX_INS_DELEGATE: DLX_TRY(verify_index("the delegate", ins->index, plan->n_delegates, err)); break;
    case DLX_INS_MOVE:
        DLX_TRY(verify_index("the value moved to", ins->target, plan->n_values, err));
        return verify_index("the value moved from", ins->index, plan->n_values, err);
    case DLX_INS_JUMP_FALSE:
        DLX_TRY(verify_index("the condition value", ins->index, plan->n_values, err));
        if (ins->target < 0 || (uint32_t)ins->target > plan->n_instructions)
            return dlx_fail(err, DLX_E_FORMAT, "the jump goes to instruction %d; the method has %u", ins->target,
                            plan->n_instructions);
        kind = plan->values[ins->index].kind;
        if (kind != DLX_EV_BOOL && kind != DLX_EV_TENSOR)
            return dlx_fail(err, DLX_E_FORMAT, "the condition, value %d, is neither a bool nor a tensor", ins->index);
        return DLX_OK;
    case DLX_INS_FREE: return verify_index("the value to free", ins->index, plan->n_values, err);
    default:
        return dlx_fail(err, DLX_E_UNSUPPORTED, "its kind is number %d, which this build does not know",
                        (int)ins->kind);
    }
    for (uint32_t i = 0; i < ins->n_args; i++)
        if (ins->args[i] < 0 || (uint32_t)ins->args[i] >= plan->n_values)
            return dlx_fail(err, DLX_E_FORMAT, "argument %u is value %d; the method has %u values", i, ins->args[i],
                            plan->n_values);
    return DLX_OK;
}

static dlx_status verify_signature(const dlx_pte_plan *plan, dlx_error *err)
{
    for (uint32_t i = 0; i < plan->n_inputs + (uint64_t)plan->n_outputs; i++) {
        bool in = i < plan->n_inputs;
        int32_t v = in ? plan->inputs[i] : plan->outputs[i - plan->n_inputs];
        if (v < 0 || (uint32_t)v >= plan->n_values || plan->values[v].kind == DLX_EV_NONE)
            return dlx_fail(err, DLX_E_FORMAT, "%s %u is value %d, which does not exist (there are %u values)",
                            in ? "input" : "output", in ? i : i - plan->n_inputs, v, plan->n_values);
    }
    for (uint32_t i = 0; i < plan->n_buffer_sizes; i++)
        if (plan->buffer_sizes[i] < 0)
            return dlx_fail(err, DLX_E_FORMAT, "arena %u has a size of %lld bytes", i,
                            (long long)plan->buffer_sizes[i]);
    return DLX_OK;
}

static dlx_status verify_tables(const dlx_pte *pte, const dlx_pte_plan *plan, dlx_error *err)
{
    for (uint32_t i = 0; i < plan->n_operators; i++) {
        const dlx_pte_operator *o = &plan->operators[i];
        if (!o->name || !o->name[0] || !o->overload) return dlx_fail(err, DLX_E_FORMAT, "operator %u has no name", i);
    }
    for (uint32_t i = 0; i < plan->n_delegates; i++) {
        const dlx_pte_delegate *d = &plan->delegates[i];
        if (!d->id || !d->id[0]) return dlx_fail(err, DLX_E_FORMAT, "delegate %u has no backend name", i);
        for (uint32_t k = 0; k < d->n_specs; k++)
            if (!d->specs[k].key || (d->specs[k].size && !d->specs[k].value))
                return dlx_fail(err, DLX_E_FORMAT, "option %u of delegate %u ('%s') has no name or no value", k, i,
                                d->id);
        if (d->blob < 0 || (uint32_t)d->blob >= pte->n_blobs || pte->blobs[d->blob].kind != DLX_BLOB_DELEGATE)
            return dlx_fail(err, DLX_E_FORMAT, "delegate %u ('%s') has no payload", i, d->id);
    }
    return DLX_OK;
}

static dlx_status verify_plan(const dlx_pte *pte, const dlx_pte_plan *plan, dlx_error *err)
{
    DLX_TRY(verify_signature(plan, err));
    DLX_TRY(verify_tables(pte, plan, err));
    for (uint32_t i = 0; i < plan->n_values; i++) {
        dlx_status s = verify_value(pte, plan, i, err);
        if (s != DLX_OK) return dlx_fail_prefix(err, s, "value %u", i);
    }
    for (uint32_t i = 0; i < plan->n_instructions; i++) {
        dlx_status s = verify_instruction(plan, &plan->instructions[i], err);
        if (s != DLX_OK) return dlx_fail_prefix(err, s, "instruction %u", i);
    }
    return DLX_OK;
}

dlx_status dlx_pte_verify(const dlx_pte *pte, const char *name, dlx_error *err)
{
    if (!pte->n_plans) return dlx_fail(err, DLX_E_FORMAT, "'%s': the program has no methods", name);
    for (uint32_t i = 0; i < pte->n_blobs; i++)
        if (pte->blobs[i].kind == DLX_BLOB_NAMED && (!pte->blobs[i].key || !pte->blobs[i].key[0]))
            return dlx_fail(err, DLX_E_FORMAT, "'%s': named data (blob %u) has no key", name, i);
    for (uint32_t i = 0; i < pte->n_plans; i++) {
        const dlx_pte_plan *plan = &pte->plans[i];
        if (!plan->name || !plan->name[0]) return dlx_fail(err, DLX_E_FORMAT, "'%s': method %u has no name", name, i);
        dlx_status s = verify_plan(pte, plan, err);
        if (s != DLX_OK) return dlx_fail_prefix(err, s, "'%s': method '%s'", name, plan->name);
    }
    return DLX_OK;
}
