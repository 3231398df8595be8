/* Opening a checkpoint: folder, configuration, weight files, binding. */
#include "model/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "model/weights.h"

static dlx_status open_in(dlx_checkpoint *c, const dlx_checkpoint_options *options, dlx_error *err)
{
    dlx_config_files files;
    const dlx_family_rules *rules;
    DLX_TRY(dlx_config_load(&files, c->folder, err));
    dlx_status s = dlx_parse_config(&rules, &c->facts, &c->shape, &files, options, err);
    dlx_config_free(&files);
    if (s == DLX_OK) s = dlx_weights_open(c, err);
    if (s == DLX_OK) s = dlx_weights_bind(c, rules, err);
    return s;
}

dlx_status dlx_checkpoint_open(dlx_checkpoint *out, const char *path, const dlx_checkpoint_options *options,
                               dlx_error *err)
{
    char *folder;
    memset(out, 0, sizeof *out);
    dlx_arena_init(&out->arena);
    DLX_TRY(dlx_resolve_checkpoint(&folder, path, err));
    out->folder = dlx_arena_strndup(&out->arena, folder, strlen(folder));
    free(folder);
    dlx_status s = out->folder ? open_in(out, options, err)
                               : dlx_fail(err, DLX_E_NOMEM, "out of memory opening checkpoint '%s'", path);
    if (s != DLX_OK) dlx_checkpoint_close(out);
    return s;
}

dlx_status dlx_checkpoint_unchanged(const dlx_checkpoint *c, dlx_error *err)
{
    for (size_t i = 0; i < c->n_files; i++) DLX_TRY(dlx_file_unchanged(c->files[i].file, err));
    return DLX_OK;
}

dlx_status dlx_checkpoint_reason(const dlx_checkpoint *c, dlx_status found, dlx_error *err)
{
    dlx_error change;
    if (found != DLX_E_FORMAT && found != DLX_E_UNSUPPORTED) return found;
    dlx_status s = dlx_checkpoint_unchanged(c, &change);
    return s == DLX_OK ? found : dlx_fail(err, s, "%s", change.message);
}

void dlx_checkpoint_close(dlx_checkpoint *c)
{
    for (size_t i = 0; i < c->n_files; i++) dlx_safetensors_close(&c->files[i]);
    dlx_arena_free(&c->arena);
    memset(c, 0, sizeof *c);
    dlx_arena_init(&c->arena);
}
