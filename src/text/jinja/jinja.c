#include "text/jinja/jinja.h"

#include <stdlib.h>
#include <string.h>

#include "text/jinja/parse.h"

static dlx_status no_memory(dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory for a chat template");
}

dlx_status dlx_jinja_load(dlx_jinja **out, const void *bytes, size_t n, dlx_error *err)
{
    *out = NULL;
    dlx_jinja *t = calloc(1, sizeof *t);
    uint8_t *copy = malloc(n + 1);
    if (!t || !copy) {
        free(t);
        free(copy);
        return no_memory(err);
    }
    if (n) memcpy(copy, bytes, n);
    t->bytes = copy;
    t->n_bytes = n;
    dlx_status status = dlx_jinja_tree_read(&t->tree, copy, n, err);
    if (status != DLX_OK) {
        dlx_jinja_free(t);
        return status;
    }
    *out = t;
    return DLX_OK;
}

/* Through the written form and back, so that whatever compiles here also loads from a file. */
dlx_status dlx_jinja_compile(dlx_jinja **out, const char *source, size_t n, dlx_error *err)
{
    dlx_jinja_tree tree;
    uint8_t *bytes;
    size_t n_bytes;
    *out = NULL;
    DLX_TRY(dlx_jinja_parse(&tree, source, n, err));
    dlx_status status = dlx_jinja_tree_write(&tree, &bytes, &n_bytes, err);
    dlx_jinja_tree_free(&tree);
    if (status != DLX_OK) return status;
    status = dlx_jinja_load(out, bytes, n_bytes, err);
    free(bytes);
    return status;
}

void dlx_jinja_free(dlx_jinja *t)
{
    if (!t) return;
    dlx_jinja_tree_free(&t->tree);
    free(t->bytes);
    free(t);
}

bool dlx_jinja_prints_nothing(const dlx_jinja *t)
{
    for (size_t i = 1; i < t->tree.n_nodes; i++) {
        const dlx_jinja_node *node = &t->tree.nodes[i];
        if (node->kind == DLX_JINJA_PRINT || node->kind == DLX_JINJA_CALL_BLOCK) return false;
        if (node->kind != DLX_JINJA_DATA) continue;
        const dlx_jinja_text *text = &t->tree.strings[node->f[0]];
        for (uint32_t k = 0; k < text->n; k++)
            if (!memchr(" \t\r\n", text->p[k], 4)) return false;
    }
    return true;
}

bool dlx_jinja_reads_parts(const dlx_jinja *t)
{
    return t->tree.flags & DLX_JINJA_READS_PARTS;
}

dlx_status dlx_jx_open(dlx_jx *x, const dlx_jinja *t, dlx_error *err)
{
    static const char *const names[DLX_JX_NAMES] = {"loop", "caller", "varargs", "kwargs"};
    *x = (dlx_jx){.tree = &t->tree, .steps = DLX_JX_MAX_STEPS, .status = DLX_OK, .err = err};
    for (int i = 0; i < DLX_JX_NAMES; i++)
        x->mentions[i] = dlx_jinja_find_string(x->tree, names[i], strlen(names[i]), &x->names[i]);
    dlx_arena_init(&x->arena);
    x->out = dlx_jv_new_bytes(x);
    if (x->out) dlx_jx_push_scope(x);
    return x->status;
}

bool dlx_jx_variable(dlx_jx *x, const char *name, size_t n, dlx_jv value)
{
    uint32_t number;
    return !dlx_jinja_find_string(x->tree, name, n, &number) || dlx_jx_set(x, x->scope, number, value);
}

bool dlx_jx_render(dlx_jx *x)
{
    /* What the template sets is its own, in front of what it is given. */
    return dlx_jx_push_scope(x) && dlx_jx_run(x, x->tree->root) != DLX_JX_FAILED;
}

void dlx_jx_close(dlx_jx *x)
{
    dlx_arena_free(&x->arena);
}
