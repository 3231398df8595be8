/* POSIX implementation of runtime/pack_cache.h. */
#define _GNU_SOURCE
#include "runtime/pack_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/output.h"

enum { HEADER_BYTES = 4096, MOST_STEM = 80, SHARED_WRITE = 022 };

/* At the front of the file, zeros behind it up to HEADER_BYTES. Compared as a whole. */
typedef struct header {
    char magic[8];
    uint64_t layout, bytes;
    uint64_t number, size; /* of the program; its device's number may be another one after the next start */
    int64_t modified[2], changed[2];
    char kernels[32];
} header;

static bool header_of(header *h, const dlx_pack_place *place, const dlx_pack_key *key, dlx_error *why)
{
    struct stat st;
    memset(h, 0, sizeof *h);
    if (place->file->memory) {
        dlx_fail(why, DLX_E_UNSUPPORTED, "a program that is opened from memory has no pack file");
        return false;
    }
    if (fstat(place->file->fd, &st) != 0) {
        dlx_fail_errno(why, "read", place->file->name);
        return false;
    }
    memcpy(h->magic, "DLXPACK1", sizeof h->magic);
    h->layout = key->layout;
    h->bytes = key->bytes;
    h->number = (uint64_t)st.st_ino;
    h->size = (uint64_t)st.st_size;
#if defined(__APPLE__)
    const struct timespec modified = st.st_mtimespec, changed = st.st_ctimespec;
#else
    const struct timespec modified = st.st_mtim, changed = st.st_ctim;
#endif
    h->modified[0] = (int64_t)modified.tv_sec;
    h->modified[1] = (int64_t)modified.tv_nsec;
    h->changed[0] = (int64_t)changed.tv_sec;
    h->changed[1] = (int64_t)changed.tv_nsec;
    snprintf(h->kernels, sizeof h->kernels, "%s", key->kernels);
    return true;
}

/* The file of this program and these kernels, malloc'd: the program's name, and a hash of the whole path, so that a
 * program that is exported again has its older pack file replaced. */
static char *path_of(const dlx_pack_place *place, const header *h)
{
    char *real = place->path ? realpath(place->path, NULL) : NULL;
    const char *base = real ? strrchr(real, '/') + 1 : "descriptor";
    size_t stem = strlen(base), room = strlen(place->folder) + MOST_STEM + 80;
    uint64_t hash = real ? dlx_fnv1a(0, real, strlen(real)) : dlx_fnv1a(0, &h->number, sizeof h->number);
    if (stem > 4 && !strcmp(base + stem - 4, ".pte")) stem -= 4;
    char *path = malloc(room);
    if (path)
        snprintf(path, room, "%s/%.*s-%016llx-%s.dlxpack", place->folder, (int)(stem < MOST_STEM ? stem : MOST_STEM),
                 base, (unsigned long long)hash, h->kernels);
    free(real);
    return path;
}

/* Maps the file when it is this user's and holds what the header says. */
static const uint8_t *map(dlx_pack_cache *c, const char *path, const header *h)
{
    dlx_file file;
    struct stat st;
    header there;
    if (h->bytes > SIZE_MAX / 2 || dlx_file_open(&file, path, NULL) != DLX_OK) return NULL;
    size_t bytes = HEADER_BYTES + (size_t)h->bytes;
    void *m = MAP_FAILED;
    bool ours = fstat(file.fd, &st) == 0 && (st.st_uid == geteuid() || st.st_uid == 0) && !(st.st_mode & SHARED_WRITE);
    if (ours && file.size == bytes && dlx_file_read(&file, 0, &there, sizeof there, NULL) == DLX_OK &&
        memcmp(&there, h, sizeof there) == 0)
        m = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file.fd, 0);
    dlx_file_close(&file);
    if (m == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE
    (void)madvise(m, bytes, MADV_HUGEPAGE);
#endif
    c->mapping = m;
    c->bytes = bytes;
    return (const uint8_t *)m + HEADER_BYTES;
}

/* The header that the file has to have, and its path, malloc'd; NULL and c->why when it can have none. */
static char *target_of(dlx_pack_cache *c, header *h, const dlx_pack_place *place, const dlx_pack_key *key)
{
    c->state = DLX_PACK_FAILED;
    if (!header_of(h, place, key, &c->why)) return NULL;
    char *path = path_of(place, h);
    if (!path) dlx_fail(&c->why, DLX_E_NOMEM, "out of memory naming a pack file in '%s'", place->folder);
    return path;
}

const uint8_t *dlx_pack_cache_find(dlx_pack_cache *c, const dlx_pack_place *place, const dlx_pack_key *key)
{
    header h;
    char *path = target_of(c, &h, place, key);
    const uint8_t *block = path ? map(c, path, &h) : NULL;
    free(path);
    if (block) c->state = DLX_PACK_FOUND;
    return block;
}

static dlx_status write_block(dlx_output *out, const header *h, const uint8_t *block, dlx_error *err)
{
    struct stat st;
    if (fstat(out->fd, &st) != 0 || fchmod(out->fd, st.st_mode & (mode_t)(0777 & ~SHARED_WRITE)) != 0)
        return dlx_fail_errno(err, "set the permissions of", out->path);
    DLX_TRY(dlx_output_write(out, h, sizeof *h, err));
    DLX_TRY(dlx_output_pad_to(out, HEADER_BYTES, err));
    return dlx_output_write(out, block, (size_t)h->bytes, err);
}

/* The program is looked at once more before the file gets its name: what was packed is all of one version. */
static dlx_status write_file(const dlx_pack_place *place, const char *path, const header *h, const uint8_t *block,
                             dlx_error *err)
{
    dlx_output out;
    if (mkdir(place->folder, 0777) != 0 && errno != EEXIST)
        return dlx_fail_errno(err, "make the folder", place->folder);
    DLX_TRY(dlx_output_open(&out, path, err));
    dlx_status s = dlx_output_apart_from(&out, &place->path, 1, err);
    if (s == DLX_OK) s = write_block(&out, h, block, err);
    if (s == DLX_OK) s = dlx_file_unchanged(place->file, err);
    if (s == DLX_OK) s = dlx_output_commit(&out, err);
    dlx_output_close(&out);
    return s;
}

const uint8_t *dlx_pack_cache_make(dlx_pack_cache *c, const dlx_pack_place *place, const dlx_pack_key *key,
                                   const uint8_t *block)
{
    header h;
    const uint8_t *mapped = NULL;
    char *path = target_of(c, &h, place, key);
    if (path && write_file(place, path, &h, block, &c->why) == DLX_OK && !(mapped = map(c, path, &h)))
        dlx_fail(&c->why, DLX_E_IO, "cannot map '%s': %s", path, strerror(errno));
    free(path);
    if (mapped) c->state = DLX_PACK_MADE;
    return mapped;
}

void dlx_pack_cache_close(dlx_pack_cache *c)
{
    if (c->mapping) munmap(c->mapping, c->bytes);
    c->mapping = NULL;
}
