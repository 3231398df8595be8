/* Whether a backend could write here, asked without a checkpoint: what an export looks at before it reads anything. */
#include "diffulex_edge/export.h"

#include "base/arena.h"
#include "base/structs.h"
#include "base/text_buffer.h"
#include "export/backend_use.h"
#include "export/choices.h"
#include "export/package.h"

/* The options that decide who is to run the file, as an export takes them; into t, what it would use. */
static dlx_status look(dlx_text_buffer *t, const dlx_backend *backend, const dlx_export_options *o, dlx_error *err)
{
    const dlx_recipe_request request = {.quantization = o->quantization};
    const dlx_scheme *scheme;
    const dlx_kv_choice *kv;
    dlx_backend_use use = {0};
    dlx_recipe recipe;
    dlx_arena arena;
    bool package;
    dlx_arena_init(&arena);
    dlx_status s = dlx_backend_options_check(backend->name, o, err);
    if (s == DLX_OK) s = dlx_package_wanted(&package, o, backend, err);
    if (s == DLX_OK) s = dlx_kv_find(&kv, o->kv, backend, err);
    if (s == DLX_OK) s = dlx_recipe_make(&recipe, &scheme, &arena, &request, backend, err);
    if (s == DLX_OK && backend->open) s = backend->open(&use, &arena, o, &recipe, err);
    if (s == DLX_OK && backend->describe) backend->describe(&use, t);
    dlx_backend_close(&use);
    dlx_arena_free(&arena);
    return s;
}

dlx_status dlx_export_backend_check(const dlx_export_options *options, char **found, dlx_error *err)
{
    const dlx_backend *backend;
    dlx_text_buffer t = {0};
    dlx_export_options o = dlx_export_options_default();
    if (found) *found = NULL;
    if (!options || !found)
        return dlx_fail(err, DLX_E_INVALID, "dlx_export_backend_check: options and a place for a line are needed");
    DLX_TRY(dlx_struct_in(&o, sizeof o, options, "dlx_export_options", err));
    DLX_TRY(dlx_backend_find(&backend, o.backend, err));
    DLX_TRY(look(&t, backend, &o, err));
    return dlx_text_take(&t, found, "checking a backend", err);
}
