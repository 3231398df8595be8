#include "calibrate/work.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/sizes.h"
#include "format/safetensors.h"

enum { ROWS_AT_ONCE = 256, MOST_TRIES = 100 };
static const char states[] = "hidden.safetensors";

/* ---- fingerprints ----------------------------------------------------------------------------------------------- */

uint64_t dlx_work_print(uint64_t hash, const void *bytes, size_t n)
{
    return dlx_fnv1a(hash, bytes, n);
}

uint64_t dlx_work_checkpoint(const dlx_checkpoint *c)
{
    const dlx_model_facts *f = &c->facts;
    const int32_t facts[] = {(int32_t)f->family, f->vocab_size, f->mask_id, f->attn_block, f->logits_shift};
    uint64_t print = dlx_work_print(0, facts, sizeof facts);
    for (size_t i = 0; i < c->n_files; i++) {
        const dlx_file *file = c->files[i].file;
        print = dlx_work_print(print, &file->size, sizeof file->size);
        print = dlx_work_print(print, file->changed, sizeof file->changed);
    }
    return print;
}

/* ---- the folder ------------------------------------------------------------------------------------------------- */

/* The names that a calibration gives; nothing else is ever removed. An output that was being written when a process was
 * killed begins with ".dlx-". */
static bool is_ours(const char *name)
{
    int end = 0;
    if (!strcmp(name, states) || !strcmp(name, "ranges.json") || !strcmp(name, "report.json") ||
        !strncmp(name, ".dlx-", 5))
        return true;
    return sscanf(name, "layer-%*5[0-9].safetensors%n", &end) == 0 && end > 0 && !name[end];
}

dlx_status dlx_work_path(const dlx_work *w, const char *name, char **out, dlx_error *err)
{
    size_t n = strlen(w->folder) + strlen(name) + 2;
    *out = malloc(n);
    if (!*out) return dlx_fail(err, DLX_E_NOMEM, "out of memory naming a file in '%s'", w->folder);
    snprintf(*out, n, "%s/%s", w->folder, name);
    return DLX_OK;
}

/* Whether all files are ours; with remove_it they go. */
static dlx_status each_file(const dlx_work *w, bool remove_it, dlx_error *err)
{
    DIR *d = opendir(w->folder);
    dlx_status s = DLX_OK;
    if (!d) return dlx_fail_errno(err, "open the work folder", w->folder);
    for (struct dirent *e; s == DLX_OK && (e = readdir(d)) != NULL;) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (!is_ours(e->d_name)) {
            s = dlx_fail(err, DLX_E_INVALID,
                         "the work folder '%s' holds '%.100s', which is no file of a calibration; name another folder",
                         w->folder, e->d_name);
            break;
        }
        if (remove_it && unlinkat(dirfd(d), e->d_name, 0) != 0) s = dlx_fail_errno(err, "empty", w->folder);
    }
    closedir(d);
    return s;
}

/* Whether that is still the folder of this name: another run may have removed it when it was done. */
static bool is_there(int fd, const char *folder)
{
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && stat(folder, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

/* Makes the folder unless it is there, and keeps others out of it. */
static dlx_status hold(dlx_work *w, dlx_error *err)
{
    for (int tries = 0; tries < MOST_TRIES; tries++) {
        if (mkdir(w->folder, 0777) != 0 && errno != EEXIST)
            return dlx_fail_errno(err, "make the work folder", w->folder);
        int fd = open(w->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT) continue;
        if (fd < 0) return dlx_fail_errno(err, "open the work folder", w->folder);
        bool taken = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        if (!taken && is_there(fd, w->folder)) {
            w->held = fd + 1;
            return DLX_OK;
        }
        close(fd);
        if (taken)
            return dlx_fail(
                err, DLX_E_INVALID,
                "another export or report is at work in '%s'; wait until it has ended, or name another work "
                "folder",
                w->folder);
    }
    return dlx_fail(err, DLX_E_IO, "the work folder '%s' is removed again and again by somebody else", w->folder);
}

/* ---- hidden states ---------------------------------------------------------------------------------------------- */

/* The tensor's name says whose they are: "fingerprint.done". */
static void name_states(char out[48], uint64_t fingerprint, int32_t done)
{
    snprintf(out, 48, "%016llx.%d", (unsigned long long)fingerprint, done);
}

typedef struct saved {
    dlx_arena arena;
    dlx_safetensors st;
    int32_t done;
} saved;

static void close_saved(saved *s)
{
    dlx_safetensors_close(&s->st);
    dlx_arena_free(&s->arena);
}

/* Whether there are hidden states of this fingerprint. What cannot be read counts as nothing: it is made anew. */
static bool open_saved(saved *s, const dlx_work *w)
{
    char *path, name[48];
    int done = 0;
    *s = (saved){.done = 0};
    dlx_arena_init(&s->arena);
    if (dlx_work_path(w, states, &path, NULL) != DLX_OK) return false;
    bool there = dlx_safetensors_open(&s->st, &s->arena, path, NULL) == DLX_OK;
    free(path);
    if (there && s->st.n_tensors == 1) {
        const dlx_st_tensor *t = &s->st.tensors[0];
        const char *dot = strchr(t->name, '.');
        if (dot && sscanf(dot + 1, "%d", &done) == 1 && done > 0) {
            name_states(name, w->fingerprint, done);
            if (!strcmp(name, t->name) && t->dtype == DLX_F32 && t->rank == 2) s->done = done;
        }
    }
    if (s->done) return true;
    if (there)
        close_saved(s);
    else
        dlx_arena_free(&s->arena);
    return false;
}

dlx_status dlx_work_open(dlx_work *out, const char *folder, uint64_t fingerprint, dlx_error *err)
{
    saved s;
    *out = (dlx_work){.folder = strdup(folder), .fingerprint = fingerprint};
    if (!out->folder) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening the work folder '%s'", folder);
    dlx_status status = hold(out, err);
    if (status == DLX_OK) status = each_file(out, false, err);
    if (status == DLX_OK && open_saved(&s, out)) {
        out->done = s.done;
        close_saved(&s);
    } else if (status == DLX_OK) {
        status = each_file(out, true, err);
    }
    if (status != DLX_OK) dlx_work_close(out);
    return status;
}

void dlx_work_close(dlx_work *w)
{
    if (w->held) close(w->held - 1);
    free(w->folder);
    *w = (dlx_work){.folder = NULL};
}

dlx_status dlx_work_remove(dlx_work *w, dlx_error *err)
{
    DLX_TRY(each_file(w, true, err));
    return rmdir(w->folder) == 0 ? DLX_OK : dlx_fail_errno(err, "remove the work folder", w->folder);
}

static dlx_status write_states(dlx_output *out, const dlx_layerwise *l, uint64_t rows, size_t width, const char *name,
                               dlx_error *err)
{
    float *buffer = calloc((size_t)ROWS_AT_ONCE * width, sizeof *buffer);
    dlx_st_tensor t = {
        .name = name, .dtype = DLX_F32, .rank = 2, .dim = {(int64_t)rows, (int64_t)width}, .bytes = rows * width * 4};
    dlx_status s = buffer ? dlx_safetensors_write_header(out, &t, 1, err)
                          : dlx_fail(err, DLX_E_NOMEM, "out of memory saving hidden states");
    for (uint64_t at = 0, n; s == DLX_OK && at < rows; at += n) {
        n = rows - at < ROWS_AT_ONCE ? rows - at : ROWS_AT_ONCE;
        s = dlx_layerwise_hidden(l, at, n, buffer, err);
        if (s == DLX_OK) s = dlx_output_write(out, buffer, (size_t)n * width * sizeof *buffer, err);
    }
    free(buffer);
    return s;
}

dlx_status dlx_work_save(dlx_work *w, const dlx_layerwise *l, uint64_t rows, size_t width, int32_t done, dlx_error *err)
{
    char *path, name[48];
    dlx_output out;
    name_states(name, w->fingerprint, done);
    DLX_TRY(dlx_work_path(w, states, &path, err));
    dlx_status s = dlx_output_open(&out, path, err);
    if (s == DLX_OK) {
        s = write_states(&out, l, rows, width, name, err);
        if (s == DLX_OK) s = dlx_output_commit(&out, err);
        dlx_output_close(&out);
    }
    free(path);
    if (s == DLX_OK) w->done = done;
    return s;
}

static dlx_status read_states(const saved *s, dlx_layerwise *l, uint64_t rows, size_t width, dlx_error *err)
{
    const dlx_st_tensor *t = &s->st.tensors[0];
    if (t->dim[0] != (int64_t)rows || t->dim[1] != (int64_t)width)
        return dlx_fail(err, DLX_E_FORMAT, "'%s' holds hidden states of another run; remove the folder", t->file);
    float *buffer = calloc((size_t)ROWS_AT_ONCE * width, sizeof *buffer);
    dlx_status status = buffer ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory reading hidden states");
    for (uint64_t at = 0, n; status == DLX_OK && at < rows; at += n) {
        n = rows - at < ROWS_AT_ONCE ? rows - at : ROWS_AT_ONCE;
        status = dlx_file_read(t->source, t->offset + at * width * sizeof *buffer, buffer,
                               (size_t)n * width * sizeof *buffer, err);
        if (status == DLX_OK) status = dlx_layerwise_set_hidden(l, at, n, buffer, err);
    }
    free(buffer);
    return status;
}

dlx_status dlx_work_start(const dlx_work *w, dlx_layerwise *l, uint64_t rows, size_t width, dlx_error *err)
{
    saved s;
    DLX_TRY(dlx_layerwise_start(l, NULL, err));
    if (!w->done) return DLX_OK;
    if (!open_saved(&s, w))
        return dlx_fail(err, DLX_E_IO, "the hidden states in '%s' are gone; remove the folder", w->folder);
    dlx_status status = s.done == w->done ? read_states(&s, l, rows, width, err)
                                          : dlx_fail(err, DLX_E_IO, "somebody else works in '%s'", w->folder);
    close_saved(&s);
    return status;
}
