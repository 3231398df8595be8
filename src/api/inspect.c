/*
 * Describing a .pte: methods with their inputs and outputs, metadata, delegates, the memory that running it takes, the
 * weights that are not quantised, and what runs fused. A file that this runtime cannot execute is still described, with
 * the reason.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/inspect_operators.h"
#include "base/dtype.h"
#include "base/structs.h"
#include "base/text_buffer.h"
#include "engine/model.h"
#include "format/facts.h"
#include "runtime/import.h"
#include "runtime/raise.h"
#include "runtime/raise_decoder.h"

typedef struct report {
    const char *path;
    dlx_file file;
    dlx_arena arena;
    dlx_pte pte;
    dlx_model model; /* loaded without packing; valid when runnable */
    bool runnable;   /* by sessions */
    dlx_graph graph; /* of method forward as dlx_method runs it; valid when callable */
    bool callable;   /* not by sessions, but as a method */
    dlx_error why_not;
    dlx_workspace_options workspace; /* whose memory is stated; complete when runnable */
    dlx_memory memory;
    dlx_text_buffer t;
} report;

static const char *scalar_name(int scalar_type)
{
    dlx_dtype t;
    return dlx_scalar_type_to_dtype(scalar_type, &t) ? dlx_dtype_name(t) : "other";
}

static void put_sizes(dlx_text_buffer *t, const dlx_pte_tensor *x)
{
    for (int i = 0; i < x->rank; i++) dlx_put(t, "%s%d", i ? ", " : "", x->sizes[i]);
}

static bool is_constant_method(const dlx_pte_plan *p)
{
    return !p->n_inputs && !p->n_instructions;
}

/* A weight matrix (2-D constant) or a table; norms, biases and scales are vectors and stay float by design. */
static bool is_float_matrix(const dlx_value *v)
{
    return v->kind == DLX_VALUE_CONST && v->dtype != DLX_I8 && v->rank == 2 && v->dim[0] > 1 && v->dim[1] > 1;
}

static void used_values(const dlx_graph *g, bool *used)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].inputs; k++)
            if (g->nodes[i].in[k] != DLX_NONE) used[g->nodes[i].in[k]] = true;
}

/* ---- memory ---- */

/* One session, where the caller does not say more. */
static dlx_status take_workspace(report *r, const dlx_workspace_options *given, dlx_error *err)
{
    r->workspace = (dlx_workspace_options){.struct_size = sizeof r->workspace};
    DLX_TRY(dlx_struct_in(&r->workspace, sizeof r->workspace, given, "dlx_workspace_options", err));
    if (!r->workspace.max_sessions) r->workspace.max_sessions = 1;
    if (!r->workspace.kv_type) r->workspace.kv_type = "float32";
    return DLX_OK;
}

static dlx_status measure(report *r, dlx_error *err)
{
    dlx_workspace_options *w = &r->workspace;
    r->memory.struct_size = sizeof r->memory;
    DLX_TRY(dlx_workspace_memory(&r->model, w, &r->memory, err));
    DLX_TRY(dlx_model_bounds(&r->model, &w->max_rows, &w->max_context, err));
    size_t element = dlx_dtype_size(strcmp(w->kv_type, "float16") ? DLX_F32 : DLX_F16);
    uint64_t position = 2 * (uint64_t)r->model.layers * (uint64_t)r->model.kv_width * element;
    w->kv_positions = (int32_t)(r->memory.kv_cache / position);
    return DLX_OK;
}

static uint64_t all_memory(const dlx_memory *m)
{
    return m->file + m->packed + m->kv_cache + m->activations;
}

/* ---- text ---- */

static void text_tensor(dlx_text_buffer *t, const dlx_evalue *v)
{
    if (v->kind != DLX_EV_TENSOR) {
        dlx_put(t, "(not a tensor)");
        return;
    }
    dlx_put(t, "%s [", scalar_name(v->u.tensor.scalar_type));
    put_sizes(t, &v->u.tensor);
    dlx_put(t, "]%s%s%s", v->u.tensor.dynamic ? " or less" : "", v->u.tensor.name ? "  " : "",
            v->u.tensor.name ? v->u.tensor.name : "");
}

static void text_plan(report *r, const dlx_pte_plan *p)
{
    dlx_text_buffer *t = &r->t;
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
    for (uint32_t i = 0; i < p->n_operators; i++)
        dlx_put(t, "  operator       %s%s%s\n", p->operators[i].name, p->operators[i].overload[0] ? "." : "",
                p->operators[i].overload);
    for (uint32_t i = 0; i < p->n_delegates; i++)
        dlx_put(t, "  delegate       %s, payload %llu bytes\n", p->delegates[i].id,
                (unsigned long long)r->pte.blobs[p->delegates[i].blob].size);
}

static void text_metadata(report *r)
{
    dlx_text_buffer *t = &r->t;
    dlx_put(t, "metadata\n");
    for (uint32_t i = 0; i < r->pte.n_plans; i++) {
        const dlx_pte_plan *p = &r->pte.plans[i];
        if (!is_constant_method(p)) continue;
        dlx_put(t, "  %-24s", p->name);
        for (uint32_t k = 0; k < p->n_outputs; k++) {
            const dlx_evalue *v = &p->values[p->outputs[k]];
            dlx_put(t, "%s", k ? ", " : " ");
            if (v->kind == DLX_EV_INT)
                dlx_put(t, "%lld", (long long)v->u.i);
            else if (v->kind == DLX_EV_BOOL)
                dlx_put(t, "%s", v->u.b ? "true" : "false");
            else if (v->kind == DLX_EV_DOUBLE)
                dlx_put(t, "%.17g", v->u.d);
            else if (v->kind == DLX_EV_STRING)
                dlx_put(t, "%s", v->u.s.text);
            else
                dlx_put(t, "?");
        }
        dlx_put(t, "\n");
    }
}

static void text_memory(report *r)
{
    dlx_text_buffer *t = &r->t;
    if (!r->runnable && !r->callable) {
        dlx_put(t, "this runtime cannot execute it: %s\n", r->why_not.message);
        return;
    }
    dlx_put(t, "operators\n");
    dlx_put_operators(t, r->runnable ? &r->model.program.g : &r->graph);
    if (r->callable) {
        dlx_put(t, "it runs as a method, but not in sessions: %s\n", r->why_not.message);
        return;
    }
    if (!r->model.program.table.holds) dlx_put(t, "attention is not fused: %s\n", r->model.program.table.why_not);
    const dlx_memory *m = &r->memory;
    const dlx_workspace_options *w = &r->workspace;
    const struct {
        const char *what;
        uint64_t bytes;
    } part[] = {{"file, in memory", m->file},
                {"packed weights", m->packed},
                {"KV cache", m->kv_cache},
                {"activations", m->activations},
                {"all together", all_memory(m)}};
    dlx_put(t, "memory (%d session%s of %d positions, %d rows a pass, %s keys and values, %d thread%s)\n",
            w->max_sessions, w->max_sessions > 1 ? "s" : "", w->max_context, w->max_rows, w->kv_type, r->model.threads,
            r->model.threads > 1 ? "s" : "");
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        dlx_put(t, "  %-16s %12llu bytes %10.1f MB\n", part[i].what, (unsigned long long)part[i].bytes,
                (double)part[i].bytes / 1e6);
    const dlx_graph *g = &r->model.program.g;
    bool *used = calloc(g->n_values + 1, sizeof *used);
    if (!used) {
        t->failed = true;
        return;
    }
    used_values(g, used);
    size_t n = 0;
    for (size_t i = 0; i < g->n_values; i++) n += used[i] && is_float_matrix(&g->values[i]);
    dlx_put(t, n ? "matrices that are not quantised\n" : "every weight matrix is quantised\n");
    for (size_t i = 0; i < g->n_values; i++)
        if (used[i] && is_float_matrix(&g->values[i]))
            dlx_put(t, "  %-32s %s [%lld, %lld]\n", g->values[i].name ? g->values[i].name : "(unnamed)",
                    dlx_dtype_name(g->values[i].dtype), (long long)g->values[i].dim[0], (long long)g->values[i].dim[1]);
    free(used);
}

static void text_report(report *r)
{
    dlx_text_buffer *t = &r->t;
    dlx_put(t, "%s\n  %llu bytes, program %llu bytes, %u constants and payloads\n", r->path,
            (unsigned long long)r->pte.file_size, (unsigned long long)r->pte.program_size, r->pte.n_blobs);
    for (uint32_t i = 0; i < r->pte.n_plans; i++)
        if (!is_constant_method(&r->pte.plans[i])) text_plan(r, &r->pte.plans[i]);
    text_metadata(r);
    text_memory(r);
}

/* ---- JSON ---- */

static void json_tensors(report *r, const dlx_pte_plan *p, const char *key, const int32_t *list, uint32_t n)
{
    dlx_text_buffer *t = &r->t;
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

static void json_plan(report *r, const dlx_pte_plan *p)
{
    dlx_text_buffer *t = &r->t;
    dlx_put(t, "{\"name\":");
    dlx_put_json(t, p->name);
    json_tensors(r, p, "inputs", p->inputs, p->n_inputs);
    json_tensors(r, p, "outputs", p->outputs, p->n_outputs);
    dlx_put(t, ",\"operators\":[");
    for (uint32_t i = 0; i < p->n_operators; i++) {
        char name[256];
        snprintf(name, sizeof name, "%.120s%s%.120s", p->operators[i].name, p->operators[i].overload[0] ? "." : "",
                 p->operators[i].overload);
        dlx_put(t, "%s", i ? "," : "");
        dlx_put_json(t, name);
    }
    dlx_put(t, "],\"delegates\":[");
    for (uint32_t i = 0; i < p->n_delegates; i++) {
        dlx_put(t, "%s{\"id\":", i ? "," : "");
        dlx_put_json(t, p->delegates[i].id);
        dlx_put(t, ",\"payload_bytes\":%llu}", (unsigned long long)r->pte.blobs[p->delegates[i].blob].size);
    }
    dlx_put(t, "]}");
}

static void json_metadata(report *r)
{
    dlx_text_buffer *t = &r->t;
    bool first = true;
    dlx_put(t, ",\"metadata\":{");
    for (uint32_t i = 0; i < r->pte.n_plans; i++) {
        const dlx_pte_plan *p = &r->pte.plans[i];
        if (!is_constant_method(p)) continue;
        dlx_put(t, "%s", first ? "" : ",");
        first = false;
        dlx_put_json(t, p->name);
        dlx_put(t, ":[");
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
    dlx_put(t, "}");
}

static void json_weights(report *r)
{
    dlx_text_buffer *t = &r->t;
    const dlx_graph *g = &r->model.program.g;
    bool *used = calloc(g->n_values + 1, sizeof *used), first = true;
    if (!used) {
        t->failed = true;
        return;
    }
    used_values(g, used);
    dlx_put(t, ",\"not_quantised\":[");
    for (size_t i = 0; i < g->n_values; i++) {
        const dlx_value *v = &g->values[i];
        if (!used[i] || !is_float_matrix(v)) continue;
        dlx_put(t, "%s{\"name\":", first ? "" : ",");
        first = false;
        dlx_put_json(t, v->name);
        dlx_put(t, ",\"dtype\":\"%s\",\"shape\":[%lld,%lld]}", dlx_dtype_name(v->dtype), (long long)v->dim[0],
                (long long)v->dim[1]);
    }
    dlx_put(t, "]");
    free(used);
}

static void json_memory(report *r)
{
    dlx_text_buffer *t = &r->t;
    const dlx_memory *m = &r->memory;
    const dlx_workspace_options *w = &r->workspace;
    dlx_put(t,
            ",\"runnable\":true,\"callable\":true,\"memory\":{\"file\":%llu,\"packed\":%llu,\"kv_cache\":%llu,"
            "\"activations\":%llu,"
            "\"total\":%llu,",
            (unsigned long long)m->file, (unsigned long long)m->packed, (unsigned long long)m->kv_cache,
            (unsigned long long)m->activations, (unsigned long long)all_memory(m));
    dlx_put(t,
            "\"sessions\":%d,\"max_rows\":%d,\"max_context\":%d,\"kv_positions\":%d,\"kv_type\":\"%s\","
            "\"threads\":%d}",
            w->max_sessions, w->max_rows, w->max_context, w->kv_positions, w->kv_type, r->model.threads);
}

static void json_report(report *r)
{
    dlx_text_buffer *t = &r->t;
    dlx_put(t, "{\"path\":");
    dlx_put_json(t, r->path);
    dlx_put(t, ",\"file_bytes\":%llu,\"program_bytes\":%llu,\"methods\":[", (unsigned long long)r->pte.file_size,
            (unsigned long long)r->pte.program_size);
    bool first = true;
    for (uint32_t i = 0; i < r->pte.n_plans; i++) {
        if (is_constant_method(&r->pte.plans[i])) continue;
        dlx_put(t, "%s", first ? "" : ",");
        first = false;
        json_plan(r, &r->pte.plans[i]);
    }
    dlx_put(t, "]");
    json_metadata(r);
    dlx_put(t, ",\"tokenizer\":%s", dlx_pte_find_named(&r->pte, DLX_TOKENIZER_KEY) ? "true" : "false");
    if (r->runnable) {
        json_memory(r);
        dlx_put(t, ",\"fused\":%s", r->model.program.table.holds ? "true" : "false");
        json_weights(r);
    } else {
        dlx_put(t, ",\"runnable\":false,\"callable\":%s,\"reason\":", r->callable ? "true" : "false");
        dlx_put_json(t, r->why_not.message);
    }
    if (r->runnable || r->callable) {
        dlx_put(t, ",\"operators\":");
        dlx_put_operators_json(t, r->runnable ? &r->model.program.g : &r->graph);
    }
    dlx_put(t, "}\n");
}

/* A program that no session runs may still be called; if not, what stands in the way there says more. */
static void try_method(report *r)
{
    dlx_error why = {0};
    dlx_graph_init(&r->graph);
    if (r->runnable || !dlx_pte_find_plan(&r->pte, "forward")) return;
    dlx_status s = dlx_import_method(&r->graph, &r->pte, "forward", NULL, &why);
    if (s == DLX_OK) s = dlx_raise(&r->graph, &why);
    r->callable = s == DLX_OK;
    if (s != DLX_OK) r->why_not = why;
}

dlx_status dlx_inspect(const char *path, bool json, const dlx_workspace_options *workspace, char **out, dlx_error *err)
{
    if (!out || !path) return dlx_fail(err, DLX_E_INVALID, "inspect: a path and a place for the text are needed");
    *out = NULL;
    report r = {.path = path};
    DLX_TRY(take_workspace(&r, workspace, err));
    dlx_arena_init(&r.arena);
    dlx_status s = dlx_file_open(&r.file, path, err);
    if (s == DLX_OK) s = dlx_pte_open(&r.pte, &r.arena, &r.file, err);
    if (s == DLX_OK) {
        dlx_load_options load = {.limit = dlx_cpu_best_isa(), .inspect = true};
        r.runnable = dlx_model_load(&r.model, path, &load, &r.why_not) == DLX_OK;
        if (r.runnable) s = measure(&r, err);
        try_method(&r);
        /* Too little memory, or a system that refuses, says nothing about the file. */
        if (r.why_not.status == DLX_E_NOMEM || r.why_not.status == DLX_E_IO)
            s = dlx_fail(err, r.why_not.status, "%s", r.why_not.message);
        if (s == DLX_OK) {
            if (json)
                json_report(&r);
            else
                text_report(&r);
            s = dlx_text_take(&r.t, out, "describing a file", err);
        }
        dlx_model_unload(&r.model);
        dlx_graph_free(&r.graph);
    }
    dlx_arena_free(&r.arena);
    dlx_file_close(&r.file);
    return s;
}

dlx_status dlx_inspect_graph(const char *path, bool raised, bool dot, char **out, dlx_error *err)
{
    if (!out || !path) return dlx_fail(err, DLX_E_INVALID, "inspect: a path and a place for the text are needed");
    *out = NULL;
    dlx_file file = {.fd = -1};
    dlx_arena arena;
    dlx_pte pte;
    dlx_graph g;
    dlx_arena_init(&arena);
    dlx_graph_init(&g);
    dlx_status s = dlx_file_open(&file, path, err);
    if (s == DLX_OK) s = dlx_pte_open(&pte, &arena, &file, err);
    if (s == DLX_OK) s = dlx_import_method(&g, &pte, "forward", NULL, err);
    bool decoder;
    if (s == DLX_OK && raised) s = dlx_raise_decoder(&g, &decoder, err);
    if (s == DLX_OK && raised) s = dlx_raise(&g, err);
    if (s == DLX_OK) s = dlx_graph_print(&g, dot, out, err);
    dlx_graph_free(&g);
    dlx_arena_free(&arena);
    dlx_file_close(&file);
    return s;
}
