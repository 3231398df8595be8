#include "export/package.h"

#include <string.h>
#include <sys/stat.h>

#include "backends/coreml/coreml.h"
#include "backends/partition.h"
#include "backends/xnnpack/xnnpack.h"
#include "base/io.h"
#include "base/path.h"
#include "base/sizes.h"

dlx_status dlx_package_wanted(bool *wanted, const dlx_export_options *o, const dlx_backend *backend, dlx_error *err)
{
    *wanted = o->emit && !strcmp(o->emit, "mlpackage");
    if (o->emit && !*wanted && strcmp(o->emit, "pte") != 0)
        return dlx_fail(err, DLX_E_INVALID, "emit '%.100s' is not known; expected pte or mlpackage", o->emit);
    if (!*wanted) return DLX_OK;
    if (backend->home != &dlx_coreml_home)
        return dlx_fail(err, DLX_E_INVALID, "emit mlpackage is for backend coreml; the backend asked for is %s",
                        backend->name);
    if (o->n_method_rows || o->delegate_layers)
        return dlx_fail(err, DLX_E_INVALID,
                        "a model package has one function for all layers; leave method_rows and delegate_layers out");
    return DLX_OK;
}

dlx_status dlx_package_place_ok(const char *path, dlx_error *err)
{
    if (dlx_coreml_package_place(path)) return DLX_OK;
    return dlx_fail(err, DLX_E_INVALID,
                    "'%s' is there and no model package; name a folder that is not there, or a package to replace",
                    path);
}

/* Of all files of a package. */
static uint64_t package_bytes(const char *folder, dlx_arena *arena)
{
    static const char *const files[] = {"Manifest.json", "Data/com.apple.CoreML/model.mlmodel",
                                        "Data/com.apple.CoreML/weights/weight.bin"};
    uint64_t bytes = 0;
    for (size_t i = 0; i < DLX_COUNT(files); i++) {
        struct stat st;
        const char *path = dlx_arena_path(arena, folder, files[i]);
        if (path && stat(path, &st) == 0) bytes += (uint64_t)st.st_size;
    }
    return bytes;
}

static dlx_status write(uint64_t *bytes, const dlx_export_options *o, const dlx_graph *g, const dlx_methods_target *to,
                        dlx_arena *arena, dlx_error *err)
{
    const dlx_home homes[2] = {*to->backend->home, dlx_xnnpack_home};
    const dlx_lowering how = {.method = "forward", .mark = to->mark, .pool = to->pool, .options = to->options};
    const dlx_coreml_progress progress = {o->progress, o->progress_ctx};
    const dlx_part *own = NULL;
    dlx_partition p;
    size_t n = 0;
    DLX_TRY(dlx_partition_make(&p, arena, g, homes, 2, err));
    for (size_t i = 0; i < p.n_parts; i++) {
        if (p.parts[i].home) continue;
        own = &p.parts[i].part;
        n++;
    }
    if (n != 1)
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "the decoder falls into %zu parts for Core ML, because it cannot take all that is between them; "
            "a package has one: leave out what gives single layers another form, or write a program",
            n);
    DLX_TRY(dlx_coreml_package(o->output_path, own, &how, &progress, err));
    *bytes = package_bytes(o->output_path, arena);
    return DLX_OK;
}

dlx_status dlx_package_write(uint64_t *bytes, const dlx_export_options *o, const dlx_methods *m,
                             const dlx_methods_target *to, dlx_error *err)
{
    dlx_arena arena;
    dlx_arena_init(&arena);
    dlx_status s = write(bytes, o, &m->graph[0], to, &arena, err);
    dlx_arena_free(&arena);
    return s;
}
