/*
 * Describing a .pte: methods with their inputs and outputs, metadata, delegates, the memory that running it takes, the
 * weights that are not quantised, and what runs fused. A file that this runtime cannot execute is still described, with
 * the reason.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/inspect_fixed.h"
#include "api/inspect_methods.h"
#include "api/inspect_operators.h"
#include "api/inspect_parts.h"
#include "base/dtype.h"
#include "base/structs.h"
#include "base/text_buffer.h"
#include "engine/model.h"
#include "engine/workspace.h"
#include "format/facts.h"
#include "runtime/import.h"
#include "runtime/raise.h"
#include "runtime/raise_decoder.h"

typedef struct report {
    const char *path;
    dlx_file file;
    dlx_arena arena;
    dlx_pte pte;
    dlx_model model;         /* loaded without packing; valid when runnable */
    bool runnable;           /* by sessions */
    dlx_method_view *view;   /* [pte.n_plans] as methods, of those that no session runs */
    dlx_method_steps *steps; /* likewise, of all methods that are no constants */
    bool callable;           /* not by sessions, but a method of it */
    dlx_error why_not;
    dlx_workspace_options workspace; /* whose memory is stated; complete when runnable */
    dlx_memory memory;
    dlx_fixed_memory fixed;
    dlx_file_parts parts;
    dlx_text_buffer t;
} report;

/* A weight matrix (2-D constant) or a table; norms, biases and scales are vectors and stay float by design. */
static bool is_float_matrix(const dlx_value *v)
{
    bool floats = v->dtype == DLX_F32 || v->dtype == DLX_F16 || v->dtype == DLX_BF16;
    return v->kind == DLX_VALUE_CONST && floats && v->rank == 2 && v->dim[0] > 1 && v->dim[1] > 1;
}

/* What nodes read, scales apart. */
static void used_values(const dlx_graph *g, bool *used)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < (g->nodes[i].op == DLX_OP_EMBEDDING ? 2 : g->nodes[i].inputs); k++)
            if (g->nodes[i].in[k] != DLX_NONE) used[g->nodes[i].in[k]] = true;
}

/* ---- memory ---- */

/* One session, where the caller does not say more. */
static dlx_status take_workspace(report *r, const dlx_workspace_options *given, dlx_error *err)
{
    r->workspace = (dlx_workspace_options){.struct_size = sizeof r->workspace};
    DLX_TRY(dlx_struct_in(&r->workspace, sizeof r->workspace, given, "dlx_workspace_options", err));
    if (!r->workspace.max_sessions) r->workspace.max_sessions = 1;
    return DLX_OK;
}

static dlx_status measure(report *r, dlx_error *err)
{
    dlx_workspace_options *w = &r->workspace;
    if (!w->kv_type) w->kv_type = "float32";
    r->memory.struct_size = sizeof r->memory;
    DLX_TRY(dlx_workspace_memory(&r->model, w, &r->memory, err));
    DLX_TRY(dlx_model_bounds(&r->model, &w->max_rows, &w->max_context, err));
    dlx_dtype type;
    DLX_TRY(dlx_kv_type_of(&type, w->kv_type, err));
    w->kv_positions = (int32_t)(r->memory.kv_cache / (2 * (uint64_t)r->model.layers * dlx_kv_row(&r->model, type)));
    return DLX_OK;
}

static uint64_t all_memory(const dlx_memory *m)
{
    return m->file + m->packed + m->kv_cache + m->activations + m->program;
}

/* ---- text ---- */

/* How method i runs, where sessions do not run it. */
static const dlx_method_view *view_of(const report *r, uint32_t i)
{
    return r->runnable && strcmp(r->pte.plans[i].name, "forward") == 0 ? NULL : &r->view[i];
}

/* Of two methods with one name runtimes know the first. */
static bool is_metadata(const report *r, const dlx_pte_plan *p)
{
    return dlx_is_constant_method(p) && dlx_pte_find_plan(&r->pte, p->name) == p;
}

static void text_metadata(report *r)
{
    dlx_text_buffer *t = &r->t;
    dlx_put(t, "metadata\n");
    for (uint32_t i = 0; i < r->pte.n_plans; i++) {
        const dlx_pte_plan *p = &r->pte.plans[i];
        if (!is_metadata(r, p)) continue;
        dlx_put(t, "  %-24s ", p->name);
        dlx_put_values(t, p);
        dlx_put(t, "\n");
    }
}

/* Files of other exporters have no names for their matrices: one line for all of a size. */
static void text_matrix(dlx_text_buffer *t, const dlx_graph *g, const bool *used, size_t i)
{
    const dlx_value *v = &g->values[i];
    char name[48] = "(unnamed)";
    size_t before = 0, alike = 0;
    for (size_t k = 0; k < g->n_values && !v->name; k++) {
        const dlx_value *w = &g->values[k];
        if (!used[k] || !is_float_matrix(w) || w->name || w->dtype != v->dtype || w->dim[0] != v->dim[0] ||
            w->dim[1] != v->dim[1])
            continue;
        before += k < i;
        alike++;
    }
    if (before) return;
    if (alike > 1) snprintf(name, sizeof name, "(unnamed, %zu of them)", alike);
    dlx_put(t, "  %-32s %s [%lld, %lld]\n", v->name ? v->name : name, dlx_dtype_name(v->dtype), (long long)v->dim[0],
            (long long)v->dim[1]);
}

static void text_memory(report *r)
{
    dlx_text_buffer *t = &r->t;
    if (!r->runnable) {
        dlx_put(t, "%s: %s\n",
                r->callable ? "it runs as a method, but not in sessions" : "this runtime cannot execute it",
                r->why_not.message);
        dlx_put_fixed_memory(t, &r->fixed);
        return;
    }
    dlx_put(t, "operators\n");
    dlx_put_operators(t, &r->model.program.g);
    dlx_put_linears(t, &r->model.program.g);
    dlx_put_ranges(t, &r->model.program.g);
    if (!r->model.program.table.holds) dlx_put(t, "attention is not fused: %s\n", r->model.program.table.why_not);
    const dlx_memory *m = &r->memory;
    const dlx_workspace_options *w = &r->workspace;
    const struct {
        const char *what;
        uint64_t bytes;
    } part[] = {{"file, in memory", m->file},    {"packed weights", m->packed}, {"KV cache", m->kv_cache},
                {"activations", m->activations}, {"program", m->program},       {"all together", all_memory(m)}};
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
        if (used[i] && is_float_matrix(&g->values[i])) text_matrix(t, g, used, i);
    free(used);
}

static void text_report(report *r)
{
    dlx_text_buffer *t = &r->t;
    dlx_put(t, "%s\n  %llu bytes, program %llu bytes, %u constants and payloads\n", r->path,
            (unsigned long long)r->pte.file_size, (unsigned long long)r->pte.program_size, r->pte.n_blobs);
    dlx_put_parts(t, &r->parts);
    for (uint32_t i = 0; i < r->pte.n_plans; i++)
        if (!dlx_is_constant_method(&r->pte.plans[i])) dlx_put_method(t, &r->pte.plans[i], &r->steps[i], view_of(r, i));
    text_metadata(r);
    text_memory(r);
}

/* ---- JSON ---- */

static void json_metadata(report *r)
{
    dlx_text_buffer *t = &r->t;
    bool first = true;
    dlx_put(t, ",\"metadata\":{");
    for (uint32_t i = 0; i < r->pte.n_plans; i++) {
        const dlx_pte_plan *p = &r->pte.plans[i];
        if (!is_metadata(r, p)) continue;
        dlx_put(t, "%s", first ? "" : ",");
        first = false;
        dlx_put_json(t, p->name);
        dlx_put(t, ":");
        dlx_put_values_json(t, p);
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
            "\"activations\":%llu,\"program\":%llu,\"shared\":%llu,\"total\":%llu,",
            (unsigned long long)m->file, (unsigned long long)m->packed, (unsigned long long)m->kv_cache,
            (unsigned long long)m->activations, (unsigned long long)m->program, (unsigned long long)m->shared,
            (unsigned long long)all_memory(m));
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
    dlx_put(t, ",\"file_bytes\":%llu,\"program_bytes\":%llu,\"parts\":", (unsigned long long)r->pte.file_size,
            (unsigned long long)r->pte.program_size);
    dlx_put_parts_json(t, &r->parts);
    dlx_put(t, ",\"methods\":[");
    bool first = true;
    for (uint32_t i = 0; i < r->pte.n_plans; i++) {
        if (dlx_is_constant_method(&r->pte.plans[i])) continue;
        dlx_put(t, "%s", first ? "" : ",");
        first = false;
        dlx_put_method_json(t, &r->pte.plans[i], &r->steps[i], view_of(r, i));
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
        dlx_put_fixed_memory_json(t, &r->fixed);
    }
    const dlx_pte_plan *forward = dlx_pte_find_plan(&r->pte, "forward");
    const dlx_method_view *view = forward && !r->runnable ? &r->view[forward - r->pte.plans] : NULL;
    if (r->runnable || (view && view->callable)) {
        dlx_put(t, ",\"operators\":");
        dlx_put_operators_json(t, r->runnable ? &r->model.program.g : &view->program.g);
        dlx_put(t, ",\"linears\":");
        dlx_put_linears_json(t, r->runnable ? &r->model.program.g : &view->program.g);
        dlx_put_ranges_json(t, r->runnable ? &r->model.program.g : &view->program.g);
    }
    dlx_put(t, "}\n");
}

/* What no session runs may still be called; if it is not, what stands in the way there says more. */
static dlx_status view_methods(report *r, dlx_error *err)
{
    for (uint32_t i = 0; i < r->pte.n_plans; i++) {
        const dlx_pte_plan *p = &r->pte.plans[i];
        bool forward = strcmp(p->name, "forward") == 0;
        if (dlx_is_constant_method(p) || (forward && r->runnable)) continue;
        DLX_TRY(dlx_method_view_open(&r->view[i], &r->pte, &r->arena, p->name, err));
        r->callable = r->callable || r->view[i].callable;
        if (forward && !r->view[i].callable) r->why_not = r->view[i].why_not;
    }
    return DLX_OK;
}

static dlx_status walk_methods(report *r, dlx_error *err)
{
    uint64_t left = DLX_MOST_PAYLOADS * r->pte.file_size;
    r->steps = dlx_arena_array(&r->arena, r->pte.n_plans + 1, sizeof *r->steps);
    if (!r->steps) return dlx_fail(err, DLX_E_NOMEM, "out of memory describing a file");
    for (uint32_t i = 0; i < r->pte.n_plans; i++)
        if (!dlx_is_constant_method(&r->pte.plans[i]))
            DLX_TRY(dlx_steps_open(&r->steps[i], &r->pte, &r->pte.plans[i], &left, err));
    return DLX_OK;
}

/* The first line of the description names the file already. */
static void drop_path(report *r)
{
    size_t n = strlen(r->path);
    char *m = r->why_not.message;
    if (strncmp(m, r->path, n) == 0 && m[n] == ':' && m[n + 1] == ' ') memmove(m, m + n + 2, strlen(m + n + 2) + 1);
}

static dlx_status describe(report *r, bool json, dlx_error *err)
{
    dlx_load_options load = {.limit = dlx_cpu_best_isa(), .inspect = true};
    r->view = dlx_arena_array(&r->arena, r->pte.n_plans + 1, sizeof *r->view);
    if (!r->view) return dlx_fail(err, DLX_E_NOMEM, "out of memory describing a file");
    dlx_source from = dlx_source_path(r->path);
    r->runnable = dlx_model_load(&r->model, &from, &load, &r->why_not) == DLX_OK;
    if (r->runnable) DLX_TRY(measure(r, err));
    DLX_TRY(dlx_fixed_memory_read(&r->fixed, r->path, &r->pte, &r->workspace, err));
    DLX_TRY(dlx_file_parts_of(&r->parts, &r->pte, err));
    DLX_TRY(view_methods(r, err));
    DLX_TRY(walk_methods(r, err));
    /* Too little memory, or a system that refuses, says nothing about the file. */
    if (r->why_not.status == DLX_E_NOMEM || r->why_not.status == DLX_E_IO)
        return dlx_fail(err, r->why_not.status, "%s", r->why_not.message);
    drop_path(r);
    if (json)
        json_report(r);
    else
        text_report(r);
    return DLX_OK;
}

dlx_status dlx_inspect(const char *path, bool json, const dlx_workspace_options *workspace, char **out, dlx_error *err)
{
    if (out) *out = NULL;
    if (!out || !path) return dlx_fail(err, DLX_E_INVALID, "inspect: a path and a place for the text are needed");
    report r = {.path = path};
    DLX_TRY(take_workspace(&r, workspace, err));
    dlx_arena_init(&r.arena);
    dlx_status s = dlx_file_open(&r.file, path, err);
    if (s == DLX_OK) s = dlx_pte_open(&r.pte, &r.arena, &r.file, err);
    if (s == DLX_OK) s = describe(&r, json, err);
    if (s == DLX_OK) s = dlx_text_take(&r.t, out, "describing a file", err);
    for (uint32_t i = 0; r.view && i < r.pte.n_plans; i++) dlx_method_view_free(&r.view[i]);
    for (uint32_t i = 0; r.steps && i < r.pte.n_plans; i++) dlx_steps_free(&r.steps[i]);
    dlx_model_unload(&r.model);
    dlx_arena_free(&r.arena);
    dlx_file_close(&r.file);
    return s;
}

/* A file with its program. */
typedef struct opened {
    dlx_file file;
    dlx_arena arena;
    dlx_pte pte;
} opened;

static dlx_status open_file(opened *o, const char *path, dlx_error *err)
{
    *o = (opened){.file = {.fd = -1}};
    dlx_arena_init(&o->arena);
    DLX_TRY(dlx_file_open(&o->file, path, err));
    return dlx_pte_open(&o->pte, &o->arena, &o->file, err);
}

static void close_file(opened *o)
{
    dlx_arena_free(&o->arena);
    dlx_file_close(&o->file);
}

static dlx_status print_method(const char *path, const char *method, bool decoder, bool raised, bool dot, char **out,
                               dlx_error *err)
{
    opened o;
    dlx_graph g;
    bool is_decoder;
    dlx_graph_init(&g);
    dlx_status s = open_file(&o, path, err);
    if (s == DLX_OK) s = dlx_import_method(&g, &o.pte, method, NULL, err);
    if (s == DLX_OK && raised && decoder) s = dlx_raise_decoder(&g, &is_decoder, err);
    if (s == DLX_OK && raised) s = dlx_raise(&g, err);
    if (s == DLX_OK) s = dlx_graph_print(&g, dot, out, err);
    dlx_graph_free(&g);
    close_file(&o);
    return s;
}

dlx_status dlx_inspect_graph(const char *path, bool raised, bool dot, char **out, dlx_error *err)
{
    if (out) *out = NULL;
    if (!out || !path) return dlx_fail(err, DLX_E_INVALID, "inspect: a path and a place for the text are needed");
    return print_method(path, "forward", true, raised, dot, out, err);
}

dlx_status dlx_inspect_method_graph(const char *path, const char *method, bool raised, bool dot, char **out,
                                    dlx_error *err)
{
    if (out) *out = NULL;
    if (!out || !path) return dlx_fail(err, DLX_E_INVALID, "inspect: a path and a place for the text are needed");
    return print_method(path, method ? method : "forward", false, raised, dot, out, err);
}

dlx_status dlx_inspect_method(const char *path, const char *method, bool json, char **out, dlx_error *err)
{
    if (out) *out = NULL;
    if (!out || !path) return dlx_fail(err, DLX_E_INVALID, "inspect: a path and a place for the text are needed");
    opened o;
    dlx_text_buffer t = {0};
    dlx_method_view view = {.callable = false};
    dlx_method_steps steps = {.n = 0};
    dlx_status s = open_file(&o, path, err);
    const dlx_pte_plan *plan = s == DLX_OK ? dlx_pte_find_plan(&o.pte, method ? method : "forward") : NULL;
    if (s == DLX_OK && !plan) s = dlx_import_no_method(&o.pte, method ? method : "forward", err);
    if (s == DLX_OK) s = dlx_method_view_open(&view, &o.pte, &o.arena, plan->name, err);
    uint64_t left = DLX_MOST_PAYLOADS * o.pte.file_size;
    if (s == DLX_OK) s = dlx_steps_open(&steps, &o.pte, plan, &left, err);
    if (s == DLX_OK && json) dlx_put_method_json(&t, plan, &steps, &view);
    if (s == DLX_OK && !json) dlx_put_method(&t, plan, &steps, &view);
    if (s == DLX_OK && json) dlx_put(&t, "\n");
    if (s == DLX_OK) s = dlx_text_take(&t, out, "describing a method", err);
    dlx_steps_free(&steps);
    dlx_method_view_free(&view);
    close_file(&o);
    return s;
}
