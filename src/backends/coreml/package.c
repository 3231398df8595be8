/*
 * A part as a model package in a folder.
 */
#include "backends/coreml/package.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/output.h"
#include "quant/quant.h"

/* Below the package's folder, outermost first, and the files in the order in which they appear. */
static const char *const folders[] = {"", "Data", "Data/com.apple.CoreML", "Data/com.apple.CoreML/weights"};
static const char *const files[] = {"Data/com.apple.CoreML/weights/weight.bin", "Data/com.apple.CoreML/model.mlmodel",
                                    "Manifest.json"};
enum { FOLDERS = 4, WEIGHTS = 0, MODEL = 1, MANIFEST = 2, FILES = 3 };

typedef struct package {
    dlx_arena arena;
    const char *path[FOLDERS];
    int made; /* the first of the folders that were not there; FOLDERS: all were */
    dlx_output file[FILES];
    const char *appeared[FILES]; /* paths of files that were committed and were not there before */
    dlx_pool *pool;
    dlx_error *err;
} package;

static dlx_status make_folders(package *p, const char *folder)
{
    for (int i = 0; i < FOLDERS; i++) {
        p->path[i] = *folders[i] ? dlx_arena_path(&p->arena, folder, folders[i]) : folder;
        if (!p->path[i]) return dlx_fail(p->err, DLX_E_NOMEM, "out of memory writing package '%s'", folder);
        if (mkdir(p->path[i], 0777) == 0)
            p->made = i < p->made ? i : p->made;
        else if (errno != EEXIST)
            return dlx_fail_errno(p->err, "make the folder", p->path[i]);
    }
    return DLX_OK;
}

static dlx_status put(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    return dlx_output_write(ctx, bytes, n, err);
}

static dlx_status write_weights(package *p, const dlx_coreml_program *program)
{
    for (uint32_t i = 0; i < program->n_weights; i++) {
        const dlx_pte_piece *piece = &program->weights[i];
        if (piece->data)
            DLX_TRY(dlx_output_write(&p->file[WEIGHTS], piece->data, (size_t)piece->size, p->err));
        else
            DLX_TRY(dlx_const_stream(piece->user, p->pool, put, &p->file[WEIGHTS], p->err));
    }
    return DLX_OK;
}

static dlx_status write_package(package *p, const char *folder, const dlx_part *part, const dlx_coreml_options *options)
{
    dlx_coreml_program program;
    dlx_coreml_function function = {.name = dlx_coreml_main, .part = part};
    const char *fresh[FILES] = {NULL};
    DLX_TRY(dlx_coreml_compile(&program, &p->arena, &function, 1, options, p->err));
    DLX_TRY(make_folders(p, folder));
    for (int i = 0; i < FILES; i++) {
        const char *path = dlx_arena_path(&p->arena, folder, files[i]);
        if (!path) return dlx_fail(p->err, DLX_E_NOMEM, "out of memory writing package '%s'", folder);
        DLX_TRY(dlx_output_open(&p->file[i], path, p->err));
        if (!p->file[i].replaces) fresh[i] = path;
    }
    DLX_TRY(write_weights(p, &program));
    DLX_TRY(dlx_output_write(&p->file[MODEL], program.model, program.model_size, p->err));
    DLX_TRY(dlx_output_write(&p->file[MANIFEST], dlx_coreml_manifest, strlen(dlx_coreml_manifest), p->err));
    for (int i = 0; i < FILES; i++) {
        DLX_TRY(dlx_output_commit(&p->file[i], p->err));
        p->appeared[i] = fresh[i];
    }
    return DLX_OK;
}

dlx_status dlx_coreml_package(const char *folder, const dlx_part *part, const dlx_lowering *how, dlx_error *err)
{
    package p = {.made = FOLDERS, .pool = how->pool, .err = err};
    const dlx_coreml_options *options;
    DLX_TRY(dlx_coreml_options_of(&options, how, err));
    for (int i = 0; i < FILES; i++) p.file[i] = (dlx_output){.fd = -1, .folder = -1};
    dlx_arena_init(&p.arena);
    dlx_status s = write_package(&p, folder, part, options);
    for (int i = 0; i < FILES; i++) dlx_output_close(&p.file[i]);
    for (int i = 0; s != DLX_OK && i < FILES; i++)
        if (p.appeared[i]) (void)unlink(p.appeared[i]);
    /* Those that hold a file of others stay. */
    for (int i = FOLDERS - 1; s != DLX_OK && i >= p.made; i--)
        if (p.path[i]) (void)rmdir(p.path[i]);
    dlx_arena_free(&p.arena);
    return s;
}
