/* Methods of a program: what they take and give, which operators and delegates they use, how this runtime runs them. */
#include "api/inspect_methods.h"

#include <stdio.h>
#include <string.h>

#include "api/inspect_operators.h"
#include "base/dtype.h"
#include "base/threads.h"
#include "engine/method.h"
#include "runtime/constants.h"

static const char *scalar_name(int scalar_type)
{
    dlx_dtype t;
    return dlx_scalar_type_to_dtype(scalar_type, &t) ? dlx_dtype_name(t) : "other";
}

bool dlx_is_constant_method(const dlx_pte_plan *p)
{
    return !p->n_inputs && !p->n_instructions;
}

/* ---- how it would run ---- */

static dlx_status measure(dlx_method_view *v, const dlx_pte *pte, const dlx_arena *arena, dlx_error *err)
{
    const dlx_graph *g = &v->program.g;
    const dlx_allocator *mem = &v->program.mem;
    dlx_shape *most = dlx_mem_zeroed(mem, g->n_inputs + 1, sizeof *most);
    if (!most) return dlx_fail(err, DLX_E_NOMEM, "out of memory describing a method");
    for (size_t i = 0; i < g->n_inputs; i++) {
        most[i] = dlx_value_shape(&g->values[g->inputs[i]]);
        if (i >= g->n_inputs - g->n_states) v->states += dlx_value_bytes(&v->program, g->inputs[i], &most[i]);
    }
    dlx_executor_bounds bounds = {.max_shape = most};
    dlx_status s = dlx_executor_size(&v->program, &bounds, v->threads, &v->activations, err);
    dlx_mem_free(mem, most, g->n_inputs + 1, sizeof *most);
    v->packed = dlx_program_packed_size(&v->program);
    dlx_constant_sizes constants;
    if (s == DLX_OK) s = dlx_constants_size(g, &constants, err);
    if (s != DLX_OK) return s;
    v->file = pte->program_size + constants.bytes;
    v->described = dlx_program_described(&v->program) + constants.arena.bytes + dlx_arena_bytes(arena) - v->file +
                   dlx_method_tables(&v->program) + dlx_pool_bytes(v->threads);
    return DLX_OK;
}

dlx_status dlx_method_view_open(dlx_method_view *v, const dlx_pte *pte, const dlx_arena *arena, const char *method,
                                dlx_error *err)
{
    dlx_program_options options = {.limit = dlx_cpu_best_isa()};
    memset(v, 0, sizeof *v);
    v->threads = dlx_cpu_count();
    dlx_status s = dlx_program_load(&v->program, pte, method, &options, &v->why_not);
    if (s == DLX_OK) s = measure(v, pte, arena, &v->why_not);
    v->callable = s == DLX_OK;
    /* Too little memory, or a system that refuses, says nothing about the file. */
    if (s == DLX_E_NOMEM || s == DLX_E_IO) return dlx_fail(err, s, "%s", v->why_not.message);
    return DLX_OK;
}

void dlx_method_view_free(dlx_method_view *v)
{
    dlx_program_free(&v->program);
}

/* ---- values of constant methods ---- */

void dlx_put_values(dlx_text_buffer *t, const dlx_pte_plan *p)
{
    for (uint32_t k = 0; k < p->n_outputs; k++) {
        const dlx_evalue *v = &p->values[p->outputs[k]];
        dlx_put(t, "%s", k ? ", " : "");
        if (v->kind == DLX_EV_INT)
            dlx_put(t, "%lld", (long long)v->u.i);
        else if (v->kind == DLX_EV_BOOL)
            dlx_put(t, "%s", v->u.b ? "true" : "false");
        else if (v->kind == DLX_EV_DOUBLE)
            dlx_put(t, "%.17g", v->u.d);
        else if (v->kind == DLX_EV_STRING)
            dlx_put(t, "%s", v->u.s.text);
        else
            dlx_put(t, "%s", v->kind == DLX_EV_TENSOR ? "a tensor" : "?");
    }
}

void dlx_put_values_json(dlx_text_buffer *t, const dlx_pte_plan *p)
{
    dlx_put(t, "[");
    for (uint32_t k = 0; k < p->n_outputs; k++) {
        const dlx_evalue *v = &p->values[p->outputs[k]];
        dlx_put(t, "%s", k ? "," : "");
        if (v->kind == DLX_EV_INT)
            dlx_put(t, "%lld", (long long)v->u.i);
        else if (v->kind == DLX_EV_BOOL)
            dlx_put(t, "%s", v->u.b ? "true" : "false");
        else if (v->kind == DLX_EV_DOUBLE && v->u.d - v->u.d == 0)
            dlx_put(t, "%.17g", v->u.d);
        else if (v->kind == DLX_EV_STRING)
            dlx_put_json(t, v->u.s.text);
        else
            dlx_put(t, "null");
    }
    dlx_put(t, "]");
}

/* ---- text ---- */

static void put_sizes(dlx_text_buffer *t, const dlx_pte_tensor *x)
{
    for (int i = 0; i < x->rank; i++) dlx_put(t, "%s%d", i ? ", " : "", x->sizes[i]);
}

static void text_tensor(dlx_text_buffer *t, const dlx_evalue *v)
{
    if (v->kind != DLX_EV_TENSOR) {
        bool known = v->kind == DLX_EV_INT || v->kind == DLX_EV_BOOL || v->kind == DLX_EV_DOUBLE;
        dlx_put(t, "%s", known ? "a number" : v->kind == DLX_EV_STRING ? "a text" : "(not a tensor)");
        return;
    }
    dlx_put(t, "%s [", scalar_name(v->u.tensor.scalar_type));
    put_sizes(t, &v->u.tensor);
    dlx_put(t, "]%s%s%s", v->u.tensor.dynamic ? " or less" : "", v->u.tensor.name ? "  " : "",
            v->u.tensor.name ? v->u.tensor.name : "");
}

static void text_view(dlx_text_buffer *t, const dlx_method_view *v)
{
    if (!v->callable) {
        dlx_put(t, "  this runtime cannot execute it: %s\n", v->why_not.message);
        return;
    }
    dlx_put_operators(t, &v->program.g);
    dlx_put(t,
            "  memory           file, in memory %llu, packed weights %llu, states %llu, activations %llu, program %llu "
            "bytes (%d thread%s)\n",
            (unsigned long long)v->file, (unsigned long long)v->packed, (unsigned long long)v->states,
            (unsigned long long)v->activations, (unsigned long long)v->described, v->threads,
            v->threads > 1 ? "s" : "");
}

void dlx_put_method(dlx_text_buffer *t, const dlx_pte_plan *p, const dlx_method_steps *steps, const dlx_method_view *v)
{
    dlx_put(t, "method %s\n", p->name);
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        if (i == 4 && p->n_inputs > 6) {
            dlx_put(t, "  input  ...     %u more like the last two\n", p->n_inputs - 4);
            break;
        }
        dlx_put(t, "  input  %-4u    ", i);
        text_tensor(t, &p->values[p->inputs[i]]);
        dlx_put(t, "\n");
    }
    for (uint32_t i = 0; i < p->n_outputs; i++) {
        if (i == 3 && p->n_outputs > 5) {
            dlx_put(t, "  output ...     %u more like the last two\n", p->n_outputs - 3);
            break;
        }
        dlx_put(t, "  output %-4u    ", i);
        text_tensor(t, &p->values[p->outputs[i]]);
        dlx_put(t, "\n");
    }
    dlx_put_steps(t, steps);
    if (dlx_is_constant_method(p)) {
        dlx_put(t, "  holds          ");
        dlx_put_values(t, p);
        dlx_put(t, "\n");
    } else if (v) {
        text_view(t, v);
    }
}

/* ---- JSON ---- */

static void json_tensors(dlx_text_buffer *t, const dlx_pte_plan *p, const char *key, const int32_t *list, uint32_t n)
{
    dlx_put(t, ",\"%s\":[", key);
    for (uint32_t i = 0; i < n; i++) {
        const dlx_evalue *v = &p->values[list[i]];
        if (v->kind != DLX_EV_TENSOR) {
            dlx_put(t, "%snull", i ? "," : "");
            continue;
        }
        dlx_put(t, "%s{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", scalar_name(v->u.tensor.scalar_type));
        put_sizes(t, &v->u.tensor);
        dlx_put(t, "],\"dynamic\":%s,\"name\":", v->u.tensor.dynamic ? "true" : "false");
        dlx_put_json(t, v->u.tensor.name);
        dlx_put(t, "}");
    }
    dlx_put(t, "]");
}

static void json_view(dlx_text_buffer *t, const dlx_method_view *v)
{
    dlx_put(t, ",\"callable\":%s", v->callable ? "true" : "false");
    if (!v->callable) {
        dlx_put(t, ",\"reason\":");
        dlx_put_json(t, v->why_not.message);
        return;
    }
    dlx_put(t, ",\"runs\":");
    dlx_put_operators_json(t, &v->program.g);
    dlx_put(t,
            ",\"memory\":{\"file\":%llu,\"packed\":%llu,\"states\":%llu,\"activations\":%llu,\"program\":%llu,"
            "\"total\":%llu,"
            "\"threads\":%d}",
            (unsigned long long)v->file, (unsigned long long)v->packed, (unsigned long long)v->states,
            (unsigned long long)v->activations, (unsigned long long)v->described,
            (unsigned long long)(v->file + v->packed + v->states + v->activations + v->described), v->threads);
}

void dlx_put_method_json(dlx_text_buffer *t, const dlx_pte_plan *p, const dlx_method_steps *steps,
                         const dlx_method_view *v)
{
    dlx_put(t, "{\"name\":");
    dlx_put_json(t, p->name);
    json_tensors(t, p, "inputs", p->inputs, p->n_inputs);
    json_tensors(t, p, "outputs", p->outputs, p->n_outputs);
    dlx_put(t, ",\"operators\":[");
    for (uint32_t i = 0; i < p->n_operators; i++) {
        char name[256];
        snprintf(name, sizeof name, "%.120s%s%.120s", p->operators[i].name, p->operators[i].overload[0] ? "." : "",
                 p->operators[i].overload);
        dlx_put(t, "%s", i ? "," : "");
        dlx_put_json(t, name);
    }
    dlx_put(t, "]");
    dlx_put_steps_json(t, steps);
    if (dlx_is_constant_method(p)) {
        dlx_put(t, ",\"holds\":");
        dlx_put_values_json(t, p);
    } else if (v) {
        json_view(t, v);
    }
    dlx_put(t, "}");
}
