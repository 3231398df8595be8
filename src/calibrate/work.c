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

enum { MOST_AT_ONCE = 1 << 20, MOST_TRIES = 100, CHUNK = 1 << 16 };
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

static bool is_layer(const char *name)
{
    int end = 0;
    return sscanf(name, "layer-%*5[0-9].safetensors%n", &end) == 0 && end > 0 && !name[end];
}

/* The names that a calibration gives, or gave in earlier versions; nothing else is ever removed. An output that was
 * being written when a process was killed begins with ".dlx-". */
static bool is_ours(const char *name)
{
    return !strcmp(name, states) || !strcmp(name, "ranges.json") || !strcmp(name, "report.json") ||
           !strncmp(name, ".dlx-", 5) || is_layer(name);
}

static dlx_status path_of(const dlx_work *w, const char *name, char **out, dlx_error *err)
{
    size_t n = strlen(w->folder) + strlen(name) + 2;
    *out = malloc(n);
    if (!*out) return dlx_fail(err, DLX_E_NOMEM, "out of memory naming a file in '%s'", w->folder);
    snprintf(*out, n, "%s/%s", w->folder, name);
    return DLX_OK;
}

dlx_status dlx_work_layer_path(const dlx_work *w, int32_t layer, char **out, dlx_error *err)
{
    char name[40];
    snprintf(name, sizeof name, "layer-%05d.safetensors", layer);
    return path_of(w, name, out, err);
}

/* A regular file of this user under that name alone: what is written to a link goes elsewhere, and what another user
 * put there is no result of ours. */
static bool is_plain(int folder, const char *name)
{
    struct stat st;
    return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
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
        if (!is_plain(dirfd(d), e->d_name)) {
            s = dlx_fail(
                err, DLX_E_INVALID,
                "the work folder '%s' holds '%.100s', which is no regular file of this user; remove it, or name "
                "another folder",
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
        int fd = open(w->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 && errno == ENOENT) continue;
        if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
            return dlx_fail(err, DLX_E_INVALID,
                            "the work folder '%s' is a symbolic link, or no folder; name the folder itself", w->folder);
        if (fd < 0) return dlx_fail_errno(err, "open the work folder", w->folder);
        struct stat st;
        if (fstat(fd, &st) == 0 && st.st_uid != geteuid()) {
            close(fd);
            return dlx_fail(err, DLX_E_INVALID,
                            "the work folder '%s' belongs to another user, whose results are not taken; name another "
                            "folder",
                            w->folder);
        }
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

/* What this run does not go on with makes room for what it found. */
static dlx_status make_room(dlx_work *w, dlx_error *err)
{
    if (!w->replaces) return DLX_OK;
    DLX_TRY(each_file(w, true, err));
    w->replaces = false;
    return DLX_OK;
}

/* ---- what was saved --------------------------------------------------------------------------------------------- */

/*
 * The file of hidden states holds, in this order,
 *   "fingerprint.done"  the states, F32 [rows, width]
 *   "results"           a text, U8; not there when nothing was kept
 *   "layers"            the digest of each layer's file, U8 [8 * done]
 *   "digest"            of all bytes of the file before it, U8 [8]
 */
static void name_states(char out[48], uint64_t fingerprint, int32_t done)
{
    snprintf(out, 48, "%016llx.%d", (unsigned long long)fingerprint, done);
}

typedef struct saved {
    dlx_arena arena;
    dlx_safetensors st;
    uint64_t fingerprint;
    int32_t done; /* 0: it says nothing of itself */
} saved;

static void close_saved(saved *s)
{
    dlx_safetensors_close(&s->st);
    dlx_arena_free(&s->arena);
}

static const dlx_st_tensor *find(const saved *s, const char *name)
{
    for (size_t i = 0; i < s->st.n_tensors; i++)
        if (!strcmp(s->st.tensors[i].name, name)) return &s->st.tensors[i];
    return NULL;
}

/* Opens what there is, which may be anything. */
static dlx_status open_saved(saved *s, const dlx_work *w, dlx_error *err)
{
    char *path, name[48];
    unsigned long long fingerprint;
    int done;
    *s = (saved){.done = 0};
    dlx_arena_init(&s->arena);
    DLX_TRY(path_of(w, states, &path, err));
    dlx_status status = dlx_safetensors_open(&s->st, &s->arena, path, err);
    free(path);
    if (status != DLX_OK) {
        dlx_arena_free(&s->arena);
        return status;
    }
    if (!s->st.n_tensors || sscanf(s->st.tensors[0].name, "%16llx.%d", &fingerprint, &done) != 2 || done < 1)
        return DLX_OK;
    name_states(name, fingerprint, done);
    const dlx_st_tensor *t = &s->st.tensors[0];
    if (strcmp(name, t->name) || t->dtype != DLX_F32 || t->rank != 2) return DLX_OK;
    s->fingerprint = fingerprint;
    s->done = done;
    return DLX_OK;
}

/* Of the first n bytes. */
static dlx_status digest_of(uint64_t *out, const dlx_file *file, uint64_t n, dlx_error *err)
{
    uint8_t chunk[CHUNK];
    dlx_digest d = {.bytes = 0};
    for (uint64_t at = 0, some; at < n; at += some) {
        some = n - at < CHUNK ? n - at : CHUNK;
        DLX_TRY(dlx_file_read(file, at, chunk, (size_t)some, err));
        dlx_digest_add(&d, chunk, (size_t)some);
    }
    *out = dlx_digest_end(&d);
    return DLX_OK;
}

static dlx_status read_whole(void *out, const dlx_st_tensor *t, dlx_error *err)
{
    return dlx_file_read(t->source, t->offset, out, (size_t)t->bytes, err);
}

/* Whether the file is as it was written. */
static bool is_whole(const saved *s)
{
    const dlx_st_tensor *t = find(s, "digest");
    uint64_t said, is;
    return t && t->bytes == sizeof said && s->st.file->size == t->offset + t->bytes &&
           read_whole(&said, t, NULL) == DLX_OK && digest_of(&is, s->st.file, t->offset, NULL) == DLX_OK && said == is;
}

static dlx_status layer_is_whole(bool *same, const dlx_work *w, int32_t layer, uint64_t digest, dlx_error *err)
{
    char *path;
    dlx_file file;
    uint64_t is = 0;
    DLX_TRY(dlx_work_layer_path(w, layer, &path, err));
    bool there = dlx_exists(path);
    *same = !digest && !there;
    if (digest && there && dlx_file_open(&file, path, NULL) == DLX_OK) {
        *same = digest_of(&is, &file, file.size, NULL) == DLX_OK && is == digest;
        dlx_file_close(&file);
    }
    free(path);
    return DLX_OK;
}

static dlx_status room_for(dlx_work *w, int32_t layers, dlx_error *err)
{
    size_t before = w->room;
    if (dlx_grow(&w->digest, &w->room, (size_t)layers, sizeof *w->digest))
        return dlx_fail(err, DLX_E_NOMEM, "out of memory keeping count of layers in '%s'", w->folder);
    memset(w->digest + before, 0, (w->room - before) * sizeof *w->digest);
    return DLX_OK;
}

/* Takes over what is this run's. `damaged` names a file that is not as it was written; NULL: all are. */
static dlx_status take_over(dlx_work *w, const saved *s, const char **damaged, char name[40], dlx_error *err)
{
    const dlx_st_tensor *results = find(s, "results"), *layers = find(s, "layers");
    *damaged = states;
    if (!layers || layers->bytes != (uint64_t)s->done * sizeof *w->digest) return DLX_OK;
    DLX_TRY(room_for(w, s->done, err));
    DLX_TRY(read_whole(w->digest, layers, err));
    if (results) {
        w->results = calloc((size_t)results->bytes + 1, 1);
        if (!w->results) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading what is in '%s'", w->folder);
        DLX_TRY(read_whole(w->results, results, err));
    }
    for (int32_t i = 0; i < s->done; i++) {
        bool whole;
        DLX_TRY(layer_is_whole(&whole, w, i, w->digest[i], err));
        if (whole) continue;
        snprintf(name, 40, "layer-%05d.safetensors", i);
        *damaged = name;
        return DLX_OK;
    }
    *damaged = NULL;
    w->done = s->done;
    return DLX_OK;
}

static void begin_anew(dlx_work *w)
{
    free(w->results);
    w->results = NULL;
    w->replaces = true;
}

static void say_damaged(dlx_work *w, const char *name)
{
    begin_anew(w);
    snprintf(w->notice, sizeof w->notice,
             "'%s' in the work folder '%.250s' is not as it was written, so what is there is of no use: all layers are "
             "done anew",
             name, w->folder);
}

static void say_others(dlx_work *w, int32_t done)
{
    begin_anew(w);
    snprintf(w->notice, sizeof w->notice,
             "the work folder '%.200s' holds %d %s of another run, with other options, data or checkpoint, or of "
             "another version of this program; this one begins anew and replaces that when its first layer is done: "
             "name another work folder to keep it",
             w->folder, done, done == 1 ? "layer" : "layers");
}

/* There are no hidden states: nothing was done, or they were taken away. */
static dlx_status look_without_states(dlx_work *w, dlx_error *err)
{
    char *path;
    DLX_TRY(dlx_work_layer_path(w, 1, &path, err));
    if (dlx_exists(path)) say_damaged(w, states);
    free(path);
    w->replaces = true;
    return DLX_OK;
}

/* What an earlier run left. */
static dlx_status look(dlx_work *w, dlx_error *err)
{
    saved s;
    char *path, name[40];
    const char *damaged = states;
    DLX_TRY(path_of(w, states, &path, err));
    bool there = dlx_exists(path);
    free(path);
    if (!there) return look_without_states(w, err);
    dlx_error why = {0};
    dlx_status status = open_saved(&s, w, &why);
    if (status == DLX_E_NOMEM) return dlx_fail(err, status, "%s", why.message);
    if (status != DLX_OK) {
        say_damaged(w, states);
        return DLX_OK;
    }
    bool older = s.done && s.st.n_tensors == 1; /* without digests */
    if (older || (is_whole(&s) && s.done && s.fingerprint != w->fingerprint))
        say_others(w, s.done);
    else if (is_whole(&s) && s.done)
        status = take_over(w, &s, &damaged, name, err);
    if (status == DLX_OK && !w->done && !w->replaces) say_damaged(w, damaged);
    close_saved(&s);
    return status;
}

dlx_status dlx_work_open(dlx_work *out, const char *folder, uint64_t fingerprint, dlx_error *err)
{
    *out = (dlx_work){.folder = strdup(folder), .fingerprint = fingerprint};
    if (!out->folder) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening the work folder '%s'", folder);
    dlx_status status = hold(out, err);
    if (status == DLX_OK) status = each_file(out, false, err);
    if (status == DLX_OK) status = look(out, err);
    out->is_open = status == DLX_OK;
    if (status != DLX_OK) dlx_work_close(out);
    return status;
}

/* Whether there is nothing in the folder that anybody could go on with. */
static bool is_idle(const dlx_work *w)
{
    return w->is_open && !w->done && (!w->replaces || !*w->notice) && is_there(w->held - 1, w->folder);
}

void dlx_work_close(dlx_work *w)
{
    if (is_idle(w) && each_file(w, true, NULL) == DLX_OK) (void)rmdir(w->folder);
    if (w->held) close(w->held - 1);
    free(w->folder);
    free(w->results);
    free(w->digest);
    *w = (dlx_work){.folder = NULL};
}

dlx_status dlx_work_remove(dlx_work *w, dlx_error *err)
{
    DLX_TRY(each_file(w, true, err));
    w->is_open = false;
    return rmdir(w->folder) == 0 ? DLX_OK : dlx_fail_errno(err, "remove the work folder", w->folder);
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static dlx_status write_tensors(dlx_output *out, const dlx_st_tensor *tensors, size_t n, dlx_error *err)
{
    DLX_TRY(dlx_safetensors_write_header(out, tensors, n, err));
    for (size_t i = 0; i < n; i++) DLX_TRY(dlx_output_write(out, tensors[i].data, (size_t)tensors[i].bytes, err));
    return dlx_output_commit(out, err);
}

dlx_status dlx_work_write_layer(dlx_work *w, const dlx_st_tensor *tensors, size_t n, dlx_error *err)
{
    char *path;
    dlx_output out;
    dlx_digest digest = {.bytes = 0};
    DLX_TRY(make_room(w, err));
    DLX_TRY(room_for(w, w->done + 1, err));
    w->digest[w->done] = 0;
    if (!n) return DLX_OK;
    DLX_TRY(dlx_work_layer_path(w, w->done, &path, err));
    dlx_status s = dlx_output_open(&out, path, err);
    if (s == DLX_OK) {
        out.digest = &digest;
        s = write_tensors(&out, tensors, n, err);
        dlx_output_close(&out);
    }
    free(path);
    w->digest[w->done] = dlx_digest_end(&digest);
    return s;
}

void dlx_work_keep(dlx_work *w, char *results)
{
    free(w->results);
    w->results = results;
}

/* So many at once that a buffer of them stays small. */
static uint64_t rows_at_once(const dlx_work_rows *r)
{
    uint64_t n = MOST_AT_ONCE / (r->width ? r->width : 1);
    return n ? n : 1;
}

static dlx_status write_states(dlx_output *out, const dlx_work_rows *r, dlx_error *err)
{
    uint64_t most = rows_at_once(r);
    float *buffer = calloc((size_t)most * r->width + 1, sizeof *buffer);
    dlx_status s = buffer ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory saving hidden states");
    for (uint64_t at = 0, n; s == DLX_OK && at < r->rows; at += n) {
        n = r->rows - at < most ? r->rows - at : most;
        s = r->get(r->ctx, at, n, buffer, err);
        if (s == DLX_OK) s = dlx_output_write(out, buffer, (size_t)n * r->width * sizeof *buffer, err);
    }
    free(buffer);
    return s;
}

static dlx_st_tensor bytes_of(const char *name, size_t n)
{
    return (dlx_st_tensor){.name = name, .dtype = DLX_U8, .rank = 1, .dim = {(int64_t)n}, .bytes = n};
}

static dlx_status write_all(const dlx_work *w, dlx_output *out, const dlx_work_rows *rows, int32_t done, dlx_error *err)
{
    char name[48];
    dlx_digest digest = {.bytes = 0};
    size_t n = 0, text = w->results ? strlen(w->results) : 0, layers = (size_t)done * sizeof *w->digest;
    name_states(name, w->fingerprint, done);
    dlx_st_tensor t[4] = {{.name = name,
                           .dtype = DLX_F32,
                           .rank = 2,
                           .dim = {(int64_t)rows->rows, (int64_t)rows->width},
                           .bytes = rows->rows * rows->width * sizeof(float)}};
    n++;
    if (text) t[n++] = bytes_of("results", text);
    t[n++] = bytes_of("layers", layers);
    t[n++] = bytes_of("digest", sizeof(uint64_t));
    out->digest = &digest;
    DLX_TRY(dlx_safetensors_write_header(out, t, n, err));
    DLX_TRY(write_states(out, rows, err));
    if (text) DLX_TRY(dlx_output_write(out, w->results, text, err));
    DLX_TRY(dlx_output_write(out, w->digest, layers, err));
    uint64_t all = dlx_digest_end(&digest);
    DLX_TRY(dlx_output_write(out, &all, sizeof all, err));
    return dlx_output_commit(out, err);
}

dlx_status dlx_work_save_rows(dlx_work *w, const dlx_work_rows *rows, int32_t done, dlx_error *err)
{
    char *path;
    dlx_output out;
    DLX_TRY(make_room(w, err));
    DLX_TRY(room_for(w, done, err));
    DLX_TRY(path_of(w, states, &path, err));
    dlx_status s = dlx_output_open(&out, path, err);
    if (s == DLX_OK) {
        s = write_all(w, &out, rows, done, err);
        dlx_output_close(&out);
    }
    free(path);
    if (s == DLX_OK) w->done = done;
    return s;
}

static dlx_status read_states(const saved *s, const dlx_work_rows *r, dlx_error *err)
{
    const dlx_st_tensor *t = &s->st.tensors[0];
    uint64_t most = rows_at_once(r);
    if (t->dim[0] != (int64_t)r->rows || t->dim[1] != (int64_t)r->width)
        return dlx_fail(err, DLX_E_FORMAT, "'%s' holds hidden states of another run; remove the folder", t->file);
    float *buffer = calloc((size_t)most * r->width + 1, sizeof *buffer);
    dlx_status status = buffer ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory reading hidden states");
    for (uint64_t at = 0, n; status == DLX_OK && at < r->rows; at += n) {
        n = r->rows - at < most ? r->rows - at : most;
        status = dlx_file_read(t->source, t->offset + at * r->width * sizeof *buffer, buffer,
                               (size_t)n * r->width * sizeof *buffer, err);
        if (status == DLX_OK) status = r->put(r->ctx, at, n, buffer, err);
    }
    free(buffer);
    return status;
}

dlx_status dlx_work_load_rows(const dlx_work *w, const dlx_work_rows *rows, dlx_error *err)
{
    saved s;
    DLX_TRY(open_saved(&s, w, err));
    dlx_status status = s.done == w->done ? read_states(&s, rows, err)
                                          : dlx_fail(err, DLX_E_IO, "somebody else works in '%s'", w->folder);
    close_saved(&s);
    return status;
}

static dlx_status get_hidden(const void *ctx, uint64_t first, uint64_t n, float *out, dlx_error *err)
{
    return dlx_layerwise_hidden(ctx, first, n, out, err);
}

static dlx_status put_hidden(void *ctx, uint64_t first, uint64_t n, const float *rows, dlx_error *err)
{
    return dlx_layerwise_set_hidden(ctx, first, n, rows, err);
}

dlx_status dlx_work_save(dlx_work *w, dlx_layerwise *l, uint64_t rows, size_t width, int32_t done, dlx_error *err)
{
    const dlx_work_rows r = {rows, width, get_hidden, put_hidden, l};
    return dlx_work_save_rows(w, &r, done, err);
}

dlx_status dlx_work_start(const dlx_work *w, dlx_layerwise *l, uint64_t rows, size_t width, dlx_error *err)
{
    const dlx_work_rows r = {rows, width, get_hidden, put_hidden, l};
    DLX_TRY(dlx_layerwise_start(l, NULL, err));
    return w->done ? dlx_work_load_rows(w, &r, err) : DLX_OK;
}
