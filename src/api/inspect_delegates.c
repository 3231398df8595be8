#include "api/inspect_delegates.h"

#include <string.h>

#include "diffulex_edge/export.h"

#include "base/sizes.h"
#include "format/xnnpack.h"

enum { LONGEST_OPTION = 200 };

/* ---- reading ---- */

/* A payload on its way into a view. */
typedef struct reading {
    const dlx_pte *pte;
    const dlx_pte_blob *blob;
    dlx_arena *arena;  /* of the view */
    dlx_arena scratch; /* of this */
    dlx_error *err;
} reading;

static dlx_status no_memory(const reading *r)
{
    return dlx_fail(r->err, DLX_E_NOMEM, "out of memory describing a delegate");
}

static dlx_status view_xnnpack(dlx_delegate_view *v, reading *r)
{
    dlx_xnn_graph g;
    enum { KINDS = 64 }; /* of the schema, and one that stands for those outside */
    dlx_counted_word *words = dlx_arena_array(r->arena, KINDS, sizeof *words);
    if (!words) return no_memory(r);
    DLX_TRY(dlx_xnn_read_blob(&g, &r->scratch, r->pte, r->blob, "it", r->err));
    v->operators = words;
    for (uint32_t i = 0; i < g.n_nodes; i++) {
        const char *name = dlx_xnn_node_name(g.nodes[i].type);
        uint32_t k = 0;
        while (k < v->n_operators && strcmp(words[k].word, name) != 0) k++;
        if (k == KINDS) continue;
        if (k == v->n_operators) words[v->n_operators++] = (dlx_counted_word){.word = name};
        words[k].count++;
    }
    for (uint32_t i = 0; i < g.n_constants; i++) v->weight_bytes += g.constants[i].size;
    for (uint32_t i = 0; i < g.n_values; i++) {
        v->inputs += (g.values[i].flags & DLX_XNN_FLAG_INPUT) != 0;
        v->outputs += (g.values[i].flags & DLX_XNN_FLAG_OUTPUT) != 0;
    }
    v->has_calls = true;
    return DLX_OK;
}

/* NULL stays NULL. */
static bool keep(const char **text, dlx_arena *arena)
{
    if (*text) *text = dlx_arena_strndup(arena, *text, strlen(*text));
    return *text != NULL;
}

/* Copies the lists of linear layers and their names. */
static bool keep_linears(dlx_coreml_contents *c, dlx_arena *arena)
{
    dlx_coreml_linears *kept = dlx_arena_array(arena, (size_t)c->n_linears + 1, sizeof *kept);
    for (uint32_t i = 0; kept && i < c->n_linears; i++) {
        kept[i] = c->linears[i];
        for (dlx_coreml_name **at = &kept[i].names; *at; at = &(*at)->next) {
            dlx_coreml_name *name = dlx_arena_alloc(arena, sizeof *name);
            if (!name) return false;
            *name = **at;
            *at = name;
            if (!keep(&name->text, arena)) return false;
        }
    }
    c->linears = kept;
    return kept != NULL;
}

static dlx_status view_coreml(dlx_delegate_view *v, reading *r)
{
    dlx_coreml_contents *c = &v->coreml;
    DLX_TRY(dlx_coreml_read(c, &r->scratch, r->pte, r->blob, r->err));
    dlx_counted_word *words = dlx_arena_array(r->arena, (size_t)c->n_operators + 1, sizeof *words);
    bool kept = words && keep(&c->identifier, r->arena) && (!c->key || keep(&c->key, r->arena)) &&
                (!c->function || keep(&c->function, r->arena)) && keep_linears(c, r->arena);
    for (uint32_t i = 0; kept && i < c->n_operators; i++) {
        words[i] = c->operators[i];
        kept = keep(&words[i].word, r->arena);
    }
    if (!kept) return no_memory(r);
    v->operators = c->operators = words;
    v->n_operators = c->n_operators;
    v->weight_bytes = c->weight_bytes;
    v->inputs = c->n_inputs;
    v->outputs = c->n_outputs;
    v->has_calls = true;
    return DLX_OK;
}

static dlx_status view_qnn(dlx_delegate_view *v, reading *r)
{
    for (uint32_t i = 0; i < v->delegate->n_specs; i++) {
        const dlx_pte_spec *s = &v->delegate->specs[i];
        if (v->has_target || strcmp(s->key, DLX_QNN_OPTION) != 0) continue;
        DLX_TRY(dlx_qnn_read_target(&v->target, s->value, s->size, r->err));
        v->has_target = true;
    }
    return dlx_qnn_read(&v->qnn, r->blob, r->err);
}

static const struct {
    const char *id;
    dlx_status (*view)(dlx_delegate_view *v, reading *r);
} known[] = {{"XnnpackBackend", view_xnnpack}, {"CoreMLBackend", view_coreml}, {"QnnBackend", view_qnn}};

static dlx_status view(dlx_delegate_view *v, size_t kind, reading *r, uint64_t *left)
{
    uint64_t bytes = v->payload_bytes;
    if (bytes > *left)
        return dlx_fail(r->err, DLX_E_LIMIT, "payloads of this file share their bytes; no more are looked at");
    dlx_arena_init(&r->scratch);
    dlx_status s = known[kind].view(v, r);
    dlx_arena_free(&r->scratch);
    if (v->coreml.key) bytes += v->coreml.model_bytes; /* that is shared */
    *left -= bytes < *left ? bytes : *left;
    return s;
}

dlx_status dlx_delegate_view_open(dlx_delegate_view *v, dlx_arena *arena, const dlx_pte *pte,
                                  const dlx_pte_delegate *delegate, uint64_t *left, dlx_error *err)
{
    const dlx_pte_blob *blob = &pte->blobs[delegate->blob];
    *v = (dlx_delegate_view){.delegate = delegate, .payload_bytes = blob->size};
    reading r = {.pte = pte, .blob = blob, .arena = arena, .err = &v->why_not};
    for (size_t i = 0; i < DLX_COUNT(known); i++) {
        if (strcmp(delegate->id, known[i].id) != 0) continue;
        v->known = true;
        dlx_status s = view(v, i, &r, left);
        v->readable = s == DLX_OK;
        /* Too little memory, or a system that refuses, says nothing about the payload. */
        if (s == DLX_E_NOMEM || s == DLX_E_IO) return dlx_fail(err, s, "%s", v->why_not.message);
    }
    return DLX_OK;
}

static bool is_coreml(const dlx_delegate_view *v)
{
    return v->readable && !strcmp(v->delegate->id, "CoreMLBackend");
}

static bool is_qnn(const dlx_delegate_view *v)
{
    return v->known && !strcmp(v->delegate->id, "QnnBackend");
}

/* What is sold under that number; NULL: not known, or by the build that exports only. */
static const char *chip_name(uint32_t id)
{
#if !defined(DLX_RUNTIME_ONLY)
    dlx_soc_info info = {.struct_size = sizeof info};
    for (size_t i = 0; dlx_export_soc_info(i, &info); i++)
        if (info.id == id) return info.name;
#else
    (void)id;
#endif
    return NULL;
}

/* ---- text ---- */

enum { NAMES_IN_TEXT = 3 };

void dlx_put_counts(dlx_text_buffer *t, const dlx_counted_word *words, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        dlx_put(t, "%s%llu %s", i ? ", " : "", (unsigned long long)words[i].count, words[i].word);
}

void dlx_put_delegate_name(dlx_text_buffer *t, const dlx_delegate_view *v)
{
    dlx_put(t, "%s, payload %llu bytes", v->delegate->id, (unsigned long long)v->payload_bytes);
}

/* As text where it is some: in ASCII, and short. */
static bool is_printable(const dlx_pte_spec *s)
{
    const char *text = s->value;
    for (uint32_t i = 0; i < s->size && s->size <= LONGEST_OPTION; i++)
        if (text[i] < 0x20 || text[i] > 0x7E) return false;
    return s->size <= LONGEST_OPTION;
}

static void text_options(dlx_text_buffer *t, const dlx_delegate_view *v)
{
    const dlx_pte_delegate *d = v->delegate;
    for (uint32_t i = 0; i < d->n_specs; i++) {
        const dlx_pte_spec *s = &d->specs[i];
        dlx_put(t, "    option         %s: ", s->key);
        if (is_printable(s))
            dlx_put(t, "%.*s\n", (int)s->size, (const char *)s->value);
        else
            dlx_put(t, "%u bytes\n", s->size);
    }
}

static void text_coreml(dlx_text_buffer *t, const dlx_coreml_contents *c)
{
    const char *system = dlx_coreml_system(c->specification);
    dlx_put(t, "    identifier     %s\n    model          ", c->identifier);
    if (c->key) dlx_put(t, "in named data %s, ", c->key);
    if (c->compiled)
        dlx_put(t, "compiled");
    else
        dlx_put(t, "ML Program of specification %u%s%s%s, function %s", c->specification, system ? " (" : "",
                system ? system : "", system ? ")" : "", c->function);
    dlx_put(t, ", %llu bytes\n", (unsigned long long)c->model_bytes);
}

/* Each form, what it takes, and the first of its weights by name. */
static void text_linears(dlx_text_buffer *t, const dlx_coreml_contents *c)
{
    for (uint32_t i = 0; i < c->n_linears; i++) {
        const dlx_coreml_linears *l = &c->linears[i];
        uint64_t named = 0;
        dlx_put(t, "    linear layers  %llu %s %s", (unsigned long long)l->layers, l->op, l->kind);
        if (l->group) dlx_put(t, ", %llu", (unsigned long long)l->group);
        dlx_put(t, ", %llu bytes", (unsigned long long)l->bytes);
        for (const dlx_coreml_name *n = l->names; n && named < NAMES_IN_TEXT; n = n->next)
            dlx_put(t, "%s%s", named++ ? ", " : ": ", n->text);
        if (named && l->layers > named) dlx_put(t, ", %llu more", (unsigned long long)(l->layers - named));
        dlx_put(t, "\n");
    }
}

static void text_qnn(dlx_text_buffer *t, const dlx_delegate_view *v)
{
    const dlx_qnn_target *to = &v->target;
    if (v->has_target) {
        const char *name = chip_name(to->chip);
        dlx_put(t, "    chip           %u%s%s%s, HTP V%u, %u MiB of VTCM, %s\n", to->chip, name ? " (" : "",
                name ? name : "", name ? ")" : "", to->arch, to->vtcm_mib, to->f16 ? "float16" : "quantised");
    }
    if (v->readable && *v->qnn.version) dlx_put(t, "    compiled by    QNN %s\n", v->qnn.version);
    if (v->readable)
        dlx_put(t, "    %s %llu bytes\n", v->qnn.compiled ? "context binary" : "DLC           ",
                (unsigned long long)v->qnn.binary_bytes);
}

void dlx_put_delegate_lines(dlx_text_buffer *t, const dlx_delegate_view *v)
{
    text_options(t, v);
    if (is_coreml(v)) text_coreml(t, &v->coreml);
    if (is_qnn(v)) text_qnn(t, v);
    if (v->n_operators) {
        dlx_put(t, "    operators      ");
        dlx_put_counts(t, v->operators, v->n_operators);
        dlx_put(t, "\n");
    }
    if (is_coreml(v)) text_linears(t, &v->coreml);
    if (v->readable && v->weight_bytes)
        dlx_put(t, "    weights        %llu bytes\n", (unsigned long long)v->weight_bytes);
    if (v->known && !v->readable) dlx_put(t, "    payload        cannot be read: %s\n", v->why_not.message);
}

/* ---- JSON ---- */

void dlx_put_counts_json(dlx_text_buffer *t, const dlx_counted_word *words, uint32_t n)
{
    dlx_put(t, "{");
    for (uint32_t i = 0; i < n; i++) {
        dlx_put(t, "%s", i ? "," : "");
        dlx_put_json(t, words[i].word);
        dlx_put(t, ":%llu", (unsigned long long)words[i].count);
    }
    dlx_put(t, "}");
}

/* Whether an earlier one has the same key: an object has each once. */
static bool is_again(const dlx_pte_delegate *d, uint32_t option)
{
    for (uint32_t i = 0; i < option; i++)
        if (!strcmp(d->specs[i].key, d->specs[option].key)) return true;
    return false;
}

static void json_options(dlx_text_buffer *t, const dlx_pte_delegate *d)
{
    dlx_put(t, ",\"options\":{");
    for (uint32_t i = 0; i < d->n_specs; i++) {
        const dlx_pte_spec *s = &d->specs[i];
        char text[LONGEST_OPTION + 1] = "";
        bool printable = is_printable(s);
        if (is_again(d, i)) continue;
        if (printable && s->size) memcpy(text, s->value, s->size);
        dlx_put(t, "%s", i ? "," : "");
        dlx_put_json(t, s->key);
        dlx_put(t, ":");
        if (printable)
            dlx_put_json(t, text);
        else
            dlx_put(t, "{\"bytes\":%u}", s->size);
    }
    dlx_put(t, "}");
}

static void json_coreml(dlx_text_buffer *t, const dlx_coreml_contents *c)
{
    dlx_put(t, ",\"identifier\":");
    dlx_put_json(t, c->identifier);
    if (c->key) {
        dlx_put(t, ",\"named_data\":");
        dlx_put_json(t, c->key);
    }
    dlx_put(t, ",\"compiled\":%s,\"model_bytes\":%llu", c->compiled ? "true" : "false",
            (unsigned long long)c->model_bytes);
    if (c->compiled) return;
    dlx_put(t, ",\"specification\":%u,\"function\":", c->specification);
    dlx_put_json(t, c->function);
}

static void json_linears(dlx_text_buffer *t, const dlx_coreml_contents *c)
{
    dlx_put(t, ",\"linears\":[");
    for (uint32_t i = 0; i < c->n_linears; i++) {
        const dlx_coreml_linears *l = &c->linears[i];
        dlx_put(t,
                "%s{\"operator\":\"%s\",\"kind\":\"%s\",\"group\":%llu,\"layers\":%llu,\"bytes\":%llu,"
                "\"names\":[",
                i ? "," : "", l->op, l->kind, (unsigned long long)l->group, (unsigned long long)l->layers,
                (unsigned long long)l->bytes);
        for (const dlx_coreml_name *n = l->names; n; n = n->next) {
            dlx_put_json(t, n->text);
            dlx_put(t, "%s", n->next ? "," : "");
        }
        dlx_put(t, "]}");
    }
    dlx_put(t, "]");
}

static void json_qnn(dlx_text_buffer *t, const dlx_delegate_view *v)
{
    const dlx_qnn_target *to = &v->target;
    if (v->has_target) {
        dlx_put(t, ",\"chip\":%u,\"chip_name\":", to->chip);
        dlx_put_json(t, chip_name(to->chip));
        dlx_put(t, ",\"arch\":%u,\"vtcm_mib\":%u,\"float16\":%s", to->arch, to->vtcm_mib, to->f16 ? "true" : "false");
    }
    if (!v->readable) return;
    dlx_put(t, ",\"compiled\":%s,\"qnn_version\":", v->qnn.compiled ? "true" : "false");
    dlx_put_json(t, *v->qnn.version ? v->qnn.version : NULL);
    dlx_put(t, ",\"binary_bytes\":%llu", (unsigned long long)v->qnn.binary_bytes);
}

void dlx_put_delegate_json(dlx_text_buffer *t, const dlx_delegate_view *v)
{
    dlx_put(t, "{\"id\":");
    dlx_put_json(t, v->delegate->id);
    dlx_put(t, ",\"payload_bytes\":%llu", (unsigned long long)v->payload_bytes);
    json_options(t, v->delegate);
    if (is_coreml(v)) json_coreml(t, &v->coreml);
    if (is_qnn(v)) json_qnn(t, v);
    if (v->readable && !is_qnn(v)) {
        if (!is_coreml(v) || !v->coreml.compiled) {
            dlx_put(t, ",\"operators\":");
            dlx_put_counts_json(t, v->operators, v->n_operators);
        }
        if (is_coreml(v) && v->coreml.has_linears) json_linears(t, &v->coreml);
        dlx_put(t, ",\"weight_bytes\":%llu", (unsigned long long)v->weight_bytes);
    }
    if (v->known && !v->readable) {
        dlx_put(t, ",\"unreadable\":");
        dlx_put_json(t, v->why_not.message);
    }
    dlx_put(t, "}");
}
