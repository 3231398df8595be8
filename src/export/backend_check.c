/* Whether a backend could write here, asked without a checkpoint: what an export looks at before it reads anything. */
#define _GNU_SOURCE /* dladdr */
#include <dlfcn.h>
#include <string.h>

#include "diffulex_edge/export.h"

#include "backends/qnn/library.h"
#include "base/arena.h"
#include "base/structs.h"
#include "base/text_buffer.h"
#include "export/backend_use.h"
#include "export/choices.h"
#include "export/package.h"

/* Where the library lies that a function of the interface is of. */
static void put_folder(dlx_text_buffer *t, const dlx_qnn_library *l)
{
    Dl_info info;
    void *function;
    memcpy(&function, &l->api->backend_create, sizeof function); /* ISO C has no conversion between the two kinds */
    if (!dladdr(function, &info) || !info.dli_fname) return;
    const char *end = strrchr(info.dli_fname, '/');
    if (end) dlx_put(t, " in %.*s", (int)(end - info.dli_fname), info.dli_fname);
}

dlx_status dlx_check_qnn(char **found, const dlx_export_options *o, dlx_error *err)
{
    dlx_qnn_library l;
    dlx_text_buffer t = {0};
    DLX_TRY(dlx_qnn_library_open(&l, o->qnn_lib_dir, dlx_qnn_chip_at(0), err));
    dlx_put(&t, "QNN %s", l.build ? l.build : "of unknown version");
    put_folder(&t, &l);
    dlx_qnn_library_close(&l);
    return dlx_text_take(&t, found, "checking a backend", err);
}

/* The options that decide who is to run the file, as an export takes them. */
static dlx_status look(const dlx_backend *backend, const dlx_export_options *o, dlx_error *err)
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
    DLX_TRY(look(backend, &o, err));
    if (backend->check) return backend->check(found, &o, err);
    return dlx_text_take(&t, found, "checking a backend", err);
}
