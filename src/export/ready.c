/*
 * Whether a backend could write here, asked without a checkpoint: what an export looks at before it reads anything.
 */
#include "diffulex_edge/export.h"

#include "base/arena.h"
#include "base/structs.h"
#include "export/backend_use.h"
#include "export/choices.h"
#include "export/package.h"

static dlx_status look(dlx_backend_use *use, dlx_arena *arena, const dlx_export_options *o, dlx_error *err)
{
    const dlx_backend *backend;
    const dlx_scheme *scheme;
    const dlx_kv_choice *kv;
    bool package;
    dlx_recipe recipe;
    const dlx_recipe_request request = {.quantization = o->quantization};
    DLX_TRY(dlx_backend_find(&backend, o->backend, err));
    DLX_TRY(dlx_backend_options_check(backend->name, o, err));
    DLX_TRY(dlx_package_wanted(&package, o, backend, err));
    DLX_TRY(dlx_kv_find(&kv, o->kv, backend, err));
    DLX_TRY(dlx_recipe_make(&recipe, &scheme, arena, &request, backend, err));
    return backend->open ? backend->open(use, arena, o, &recipe, err) : DLX_OK;
}

dlx_status dlx_export_backend_ready(const dlx_export_options *options, dlx_error *err)
{
    dlx_export_options o = dlx_export_options_default();
    dlx_backend_use use = {0};
    dlx_arena arena;
    if (!options) return dlx_fail(err, DLX_E_INVALID, "dlx_export_backend_ready: options are needed");
    DLX_TRY(dlx_struct_in(&o, sizeof o, options, "dlx_export_options", err));
    dlx_arena_init(&arena);
    dlx_status s = look(&use, &arena, &o, err);
    dlx_backend_close(&use);
    dlx_arena_free(&arena);
    return s;
}
