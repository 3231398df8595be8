/*
 * A part as a model package in a folder.
 */
#include "backends/coreml/package.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/output.h"
#include "format/json_scan.h"
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
    const dlx_coreml_progress *progress;
    uint64_t done, total;
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

/* Of the weights. */
static dlx_status put(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    package *p = ctx;
    const dlx_coreml_progress *to = p->progress;
    DLX_TRY(dlx_output_write(&p->file[WEIGHTS], bytes, n, err));
    p->done += n;
    if (!to || !to->report || to->report(to->ctx, p->done, p->total)) return DLX_OK;
    return dlx_fail(err, DLX_E_CANCELLED, "writing the package was cancelled");
}

static dlx_status write_weights(package *p, const dlx_coreml_program *program)
{
    for (uint32_t i = 0; i < program->n_weights; i++) p->total += program->weights[i].size;
    for (uint32_t i = 0; i < program->n_weights; i++) {
        const dlx_pte_piece *piece = &program->weights[i];
        if (piece->data)
            DLX_TRY(put(p, piece->data, (size_t)piece->size, p->err));
        else
            DLX_TRY(dlx_const_stream(piece->user, p->pool, put, p, p->err));
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

static bool is_ours(const char *below, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s%s", below, *below ? "/" : "", name);
    for (int i = 0; i < FOLDERS; i++)
        if (!strcmp(path, folders[i])) return true;
    for (int i = 0; i < FILES; i++)
        if (!strcmp(path, files[i])) return true;
    return !strncmp(name, ".dlx-", 5); /* an output's temporary name */
}

/* Whether a folder has nothing but what a package has there; folders in it are looked at by themselves. */
static bool has_only_ours(const char *path, const char *below)
{
    struct dirent *e;
    bool ours = true;
    DIR *d = opendir(path);
    if (!d) return false;
    while (ours && (e = readdir(d)) != NULL)
        ours = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || is_ours(below, e->d_name);
    closedir(d);
    return ours;
}

/* Whether a manifest is one of a model package: browser extensions, for instance, have files of that name as well. */
static bool is_of_package(const char *path, dlx_arena *arena)
{
    enum { MOST_BYTES = 1 << 20 };
    dlx_error unread = {0};
    char *text;
    size_t n;
    bool entries = false, root = false;
    if (dlx_read_file(&text, &n, path, MOST_BYTES, &unread) != DLX_OK) return false;
    dlx_json_cursor c = dlx_json_open(text, n);
    for (dlx_json_enter(&c, '{'); dlx_json_more(&c, '}'); dlx_json_skip(&c)) {
        const char *key = dlx_json_key(&c, arena);
        entries = entries || !strcmp(key, "itemInfoEntries");
        root = root || !strcmp(key, "rootModelIdentifier");
    }
    free(text);
    return !c.bad && entries && root;
}

bool dlx_coreml_package_place(const char *folder)
{
    dlx_arena arena;
    if (!dlx_exists(folder)) return true;
    dlx_arena_init(&arena);
    const char *manifest = dlx_arena_path(&arena, folder, files[MANIFEST]);
    bool there = manifest && dlx_exists(manifest), ours = manifest && (!there || is_of_package(manifest, &arena));
    for (int i = 0; ours && !there && i < FOLDERS; i++) {
        const char *path = dlx_arena_path(&arena, folder, folders[i]);
        ours = path && ((i && !dlx_exists(path)) || has_only_ours(path, folders[i]));
    }
    dlx_arena_free(&arena);
    return ours;
}

dlx_status dlx_coreml_package(const char *folder, const dlx_part *part, const dlx_lowering *how,
                              const dlx_coreml_progress *progress, dlx_error *err)
{
    package p = {.made = FOLDERS, .pool = how->pool, .progress = progress, .err = err};
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
