#include "format/coreml.h"

#include <string.h>

#include "base/sizes.h"
#include "format/json_scan.h"

enum { MOST_TREE = 10 << 20, MOST_NODES = 1 << 12, FIRST_WINDOW = 1 << 14 };
enum { MOST_METADATA = 1 << 20, MOST_MODEL = 256 << 20, NO_NODE = -1 };
enum { KIND_FILE = 0, KIND_FOLDER = 1 };

static const char shared_magic[4] = {'C', 'M', 'J', 'R'};

typedef struct node {
    uint64_t offset, size;
    uint64_t kind;
    uint32_t first_child, n_children;
} node;

typedef struct child {
    const char *name;
    uint64_t node;
} child;

typedef struct tree {
    dlx_arena *arena;
    const dlx_pte_blob *blob; /* the files */
    node *nodes;              /* [n], room for MOST_NODES */
    uint32_t n;
    child *children; /* [n_children], likewise */
    uint32_t n_children;
    dlx_error *err;
} tree;

static dlx_status no_memory(dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory reading a payload of CoreML");
}

/* Bytes [offset, offset + n) of a blob, which lie in it. */
static dlx_status read_range(void *out, const dlx_pte_blob *blob, uint64_t offset, size_t n, dlx_error *err)
{
    if (!blob->data) return dlx_file_read(blob->file, blob->offset + offset, out, n, err);
    if (n) memcpy(out, (const char *)blob->data + offset, n);
    return DLX_OK;
}

static dlx_status bad_json(const dlx_json_cursor *c, const char *what, dlx_error *err)
{
    if (c->nomem) return no_memory(err);
    return dlx_fail(err, DLX_E_FORMAT, "%s cannot be read", what);
}

/* ---- the tree of files ---- */

static dlx_status read_children(tree *t, dlx_json_cursor *c, node *to)
{
    to->first_child = t->n_children;
    to->n_children = 0;
    for (dlx_json_enter(c, '{'); dlx_json_more(c, '}');) {
        if (t->n_children == MOST_NODES)
            return dlx_fail(t->err, DLX_E_LIMIT, "it has more than %d files and folders", MOST_NODES);
        child *next = &t->children[t->n_children];
        next->name = dlx_json_key(c, t->arena);
        next->node = dlx_json_whole(c);
        if (next->node >= t->n && !c->bad)
            return dlx_fail(t->err, DLX_E_FORMAT, "a folder of it holds file %llu, which does not stand in front of it",
                            (unsigned long long)next->node);
        t->n_children++;
        to->n_children++;
    }
    return DLX_OK;
}

static void read_region(dlx_json_cursor *c, dlx_arena *arena, node *to)
{
    for (dlx_json_enter(c, '{'); dlx_json_more(c, '}');) {
        const char *key = dlx_json_key(c, arena);
        if (!strcmp(key, "offset"))
            to->offset = dlx_json_whole(c);
        else if (!strcmp(key, "size"))
            to->size = dlx_json_whole(c);
        else
            dlx_json_skip(c);
    }
}

static dlx_status read_node(tree *t, dlx_json_cursor *c)
{
    if (t->n == MOST_NODES) return dlx_fail(t->err, DLX_E_LIMIT, "it has more than %d files and folders", MOST_NODES);
    node *to = &t->nodes[t->n];
    *to = (node){.kind = KIND_FILE};
    for (dlx_json_enter(c, '{'); dlx_json_more(c, '}');) {
        const char *key = dlx_json_key(c, t->arena);
        if (!strcmp(key, "children"))
            DLX_TRY(read_children(t, c, to));
        else if (!strcmp(key, "dataRegion"))
            read_region(c, t->arena, to);
        else if (!strcmp(key, "kind"))
            to->kind = dlx_json_whole(c);
        else
            dlx_json_skip(c);
    }
    if (!c->bad && to->kind != KIND_FOLDER && !dlx_range_ok(to->offset, to->size, t->blob->size))
        return dlx_fail(t->err, DLX_E_FORMAT, "a file of it is said to lie behind its end");
    t->n++;
    return DLX_OK;
}

static dlx_status read_nodes(tree *t, dlx_json_cursor *c)
{
    for (dlx_json_enter(c, '{'); dlx_json_more(c, '}');) {
        const char *key = dlx_json_key(c, t->arena);
        if (strcmp(key, "nodes") != 0) {
            dlx_json_skip(c);
            continue;
        }
        for (dlx_json_enter(c, '['); dlx_json_more(c, ']');) DLX_TRY(read_node(t, c));
    }
    if (c->bad) return bad_json(c, "the list of its files", t->err);
    if (!t->n) return dlx_fail(t->err, DLX_E_FORMAT, "the list of its files is empty");
    return DLX_OK;
}

/* The last n bytes of the blob the other way round, from the list's beginning on; its length is not known before. */
static dlx_status read_window(tree *t, char *text, size_t n, dlx_json_cursor *out)
{
    DLX_TRY(read_range(text, t->blob, t->blob->size - n, n, t->err));
    for (size_t i = 0; i < n / 2; i++) {
        char byte = text[i];
        text[i] = text[n - 1 - i];
        text[n - 1 - i] = byte;
    }
    size_t padding = 0;
    while (padding < n && !text[padding]) padding++;
    *out = dlx_json_open(text + padding, n - padding);
    return DLX_OK;
}

static dlx_status read_tree(tree *t)
{
    uint64_t most = t->blob->size < MOST_TREE ? t->blob->size : MOST_TREE;
    size_t n = most < FIRST_WINDOW ? (size_t)most : FIRST_WINDOW;
    t->nodes = dlx_arena_array(t->arena, MOST_NODES, sizeof *t->nodes);
    t->children = dlx_arena_array(t->arena, MOST_NODES, sizeof *t->children);
    if (!t->nodes || !t->children) return no_memory(t->err);
    for (;;) {
        dlx_json_cursor c, whole;
        char *text = dlx_arena_alloc(t->arena, n);
        if (!text) return no_memory(t->err);
        DLX_TRY(read_window(t, text, n, &c));
        whole = c;
        if (c.at < c.end && *c.at != '{') return dlx_fail(t->err, DLX_E_FORMAT, "no list of files stands at its end");
        dlx_json_skip(&whole);
        if (!whole.bad) return read_nodes(t, &c);
        if (!whole.ended || n == most) return bad_json(&whole, "the list of its files", t->err);
        n = n < most / 8 ? 8 * n : (size_t)most;
    }
}

/* The node of a name in a folder; NO_NODE: there is none. */
static int64_t find(const tree *t, int64_t folder, const char *name)
{
    if (folder == NO_NODE) return NO_NODE;
    const node *of = &t->nodes[folder];
    for (uint32_t i = 0; i < of->n_children; i++)
        if (!strcmp(t->children[of->first_child + i].name, name)) return (int64_t)t->children[of->first_child + i].node;
    return NO_NODE;
}

/* The bytes of a file, and a NUL behind them. */
static dlx_status read_file(char **out, const tree *t, int64_t file, const char *name, uint64_t most)
{
    *out = NULL;
    if (file == NO_NODE || t->nodes[file].kind != KIND_FILE)
        return dlx_fail(t->err, DLX_E_FORMAT, "it has no file '%s'", name);
    const node *of = &t->nodes[file];
    if (of->size > most)
        return dlx_fail(t->err, DLX_E_LIMIT, "its file '%s' has %llu bytes; at most %llu are looked at", name,
                        (unsigned long long)of->size, (unsigned long long)most);
    char *text = dlx_arena_alloc(t->arena, (size_t)of->size + 1);
    if (!text) return no_memory(t->err);
    *out = text;
    return read_range(text, t->blob, of->offset, (size_t)of->size, t->err);
}

/* ---- what it says of itself ---- */

static uint32_t count_items(dlx_json_cursor *c)
{
    uint32_t n = 0;
    for (dlx_json_enter(c, '['); dlx_json_more(c, ']'); n++) dlx_json_skip(c);
    return n;
}

static void read_method(dlx_json_cursor *c, dlx_arena *arena, dlx_coreml_contents *out, const char *method);

/* Names of inputs and outputs: of one method, or of the method of that name among others. */
static void read_names(dlx_json_cursor *c, dlx_arena *arena, dlx_coreml_contents *out, const char *method)
{
    for (dlx_json_enter(c, '{'); dlx_json_more(c, '}');) {
        const char *key = dlx_json_key(c, arena);
        if (!strcmp(key, "inputNames"))
            out->n_inputs = count_items(c);
        else if (!strcmp(key, "outputNames"))
            out->n_outputs = count_items(c);
        else if (!strcmp(key, "identifier"))
            out->identifier = dlx_json_string(c, arena);
        else if (method && !strcmp(key, "methods"))
            read_method(c, arena, out, method);
        else
            dlx_json_skip(c);
    }
}

/* {"forward": {...}, ...} */
static void read_method(dlx_json_cursor *c, dlx_arena *arena, dlx_coreml_contents *out, const char *method)
{
    for (dlx_json_enter(c, '{'); dlx_json_more(c, '}');)
        if (!strcmp(dlx_json_key(c, arena), method))
            read_names(c, arena, out, NULL);
        else
            dlx_json_skip(c);
}

static dlx_status read_metadata(dlx_coreml_contents *out, const tree *t, int64_t root)
{
    char *text;
    int64_t file = find(t, root, "metadata.json");
    DLX_TRY(read_file(&text, t, file, "metadata.json", MOST_METADATA));
    dlx_json_cursor c = dlx_json_open(text, (size_t)t->nodes[file].size);
    read_names(&c, t->arena, out, out->function ? out->function : "");
    if (c.bad) return bad_json(&c, "its metadata.json", t->err);
    if (out->identifier && *out->identifier) return DLX_OK;
    return dlx_fail(t->err, DLX_E_FORMAT, "its metadata.json has no identifier, which devices need");
}

static dlx_status read_package(dlx_coreml_contents *out, const tree *t, int64_t package)
{
    int64_t folder = find(t, find(t, package, "Data"), "com.apple.CoreML"), file = find(t, folder, "model.mlmodel");
    char *model;
    DLX_TRY(read_file(&model, t, file, "model.mlmodel", MOST_MODEL));
    out->model_bytes = t->nodes[file].size;
    int64_t weights = find(t, find(t, folder, "weights"), "weight.bin");
    if (weights != NO_NODE) out->weight_bytes = t->nodes[weights].size;
    return dlx_coreml_read_model(out, t->arena, model, (size_t)out->model_bytes, t->err);
}

static dlx_status read_compiled(dlx_coreml_contents *out, const tree *t, int64_t compiled)
{
    int64_t model = find(t, compiled, "model.mil"), weights = find(t, find(t, compiled, "weights"), "weight.bin");
    if (model != NO_NODE) out->model_bytes = t->nodes[model].size;
    if (weights != NO_NODE) out->weight_bytes = t->nodes[weights].size;
    out->compiled = true;
    return DLX_OK;
}

static dlx_status read_files(dlx_coreml_contents *out, tree *t)
{
    DLX_TRY(read_tree(t));
    int64_t root = (int64_t)t->n - 1;
    DLX_TRY(read_metadata(out, t, root));
    int64_t compiled = find(t, root, "model.mlmodelc");
    if (compiled != NO_NODE) return read_compiled(out, t, compiled);
    return read_package(out, t, find(t, root, "model.mlpackage"));
}

/* "CMJR" and JSON that says which named data has the files, and which function of theirs it is. */
static dlx_status read_shared(dlx_coreml_contents *out, dlx_arena *arena, const dlx_pte_blob *blob, dlx_error *err)
{
    if (blob->size > MOST_METADATA)
        return dlx_fail(err, DLX_E_LIMIT, "it refers to named data with more than %d bytes", MOST_METADATA);
    size_t n = (size_t)blob->size;
    char *text = dlx_arena_alloc(arena, n);
    if (!text) return no_memory(err);
    DLX_TRY(read_range(text, blob, 0, n, err));
    dlx_json_cursor c = dlx_json_open(text + sizeof shared_magic, n - sizeof shared_magic);
    for (dlx_json_enter(&c, '{'); dlx_json_more(&c, '}');) {
        const char *key = dlx_json_key(&c, arena);
        if (!strcmp(key, "key"))
            out->key = dlx_json_string(&c, arena);
        else if (!strcmp(key, "functionName"))
            out->function = dlx_json_string(&c, arena);
        else
            dlx_json_skip(&c);
    }
    if (c.bad) return bad_json(&c, "what it refers to", err);
    if (!out->key) return dlx_fail(err, DLX_E_FORMAT, "it does not say which named data it refers to");
    return DLX_OK;
}

dlx_status dlx_coreml_read(dlx_coreml_contents *out, dlx_arena *arena, const dlx_pte *pte, const dlx_pte_blob *blob,
                           dlx_error *err)
{
    char magic[sizeof shared_magic] = {0};
    tree t = {.arena = arena, .blob = blob, .err = err};
    *out = (dlx_coreml_contents){0};
    if (blob->size >= sizeof magic) DLX_TRY(read_range(magic, blob, 0, sizeof magic, err));
    if (!memcmp(magic, shared_magic, sizeof magic)) {
        DLX_TRY(read_shared(out, arena, blob, err));
        t.blob = dlx_pte_find_named(pte, out->key);
        if (!t.blob)
            return dlx_fail(err, DLX_E_FORMAT, "it refers to named data '%.100s', which the file does not have",
                            out->key);
    }
    return read_files(out, &t);
}
