/* Program headers and the dynamic section of ELF files of 64 bits (System V ABI, chapters 4 and 5). */
#include "backends/qnn/elf.h"

#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/io.h"
#include "base/sizes.h"

enum { NAME = 4096, MOST_SEGMENTS = 128, MOST_ENTRIES = 4096, MOST_FILES = 64 };
enum { DYNAMIC = 2 };                                       /* kind of segment */
enum { NEEDED = 1, STRINGS = 5, RPATH = 15, RUNPATH = 29 }; /* kinds of entries of the dynamic section */

typedef struct header {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, segments_at, sections_at;
    uint32_t flags;
    uint16_t size, segment_size, n_segments, section_size, n_sections, names;
} header;

typedef struct segment {
    uint32_t type, flags;
    uint64_t offset, address, physical, in_file, in_memory, align;
} segment;

typedef struct entry {
    int64_t tag;
    uint64_t value;
} entry;

/* What is to be looked at, each file once. */
typedef struct list {
    dlx_arena arena;
    const char *path[MOST_FILES];
    dlx_file_id id[MOST_FILES]; /* a file may have many paths, by way of folders that lead back */
    size_t n;
} list;

typedef struct elf {
    dlx_file file;
    segment segment[MOST_SEGMENTS];
    size_t n;
    uint64_t strings; /* where names begin */
    dlx_error *err;
} elf;

static dlx_status no_library(const elf *e)
{
    return dlx_fail(e->err, DLX_E_FORMAT, "'%s' is damaged, or no shared library of 64 bits", e->file.name);
}

/* Whether n bytes at `offset` are in the file. */
static dlx_status holds(const elf *e, uint64_t offset, uint64_t n)
{
    uint64_t end;
    if (!dlx_add_u64(offset, n, &end)) return no_library(e);
    if (end <= e->file.size) return DLX_OK;
    return dlx_fail(e->err, DLX_E_FORMAT, "'%s' is cut off: it has %llu bytes of %llu or more", e->file.name,
                    (unsigned long long)e->file.size, (unsigned long long)end);
}

static dlx_status read_at(const elf *e, uint64_t offset, void *out, size_t n)
{
    DLX_TRY(holds(e, offset, n));
    return dlx_file_read(&e->file, offset, out, n, e->err);
}

static dlx_status read_segments(elf *e)
{
    static const uint8_t magic[] = {0x7F, 'E', 'L', 'F', 2, 1}; /* 64 bits, little endian */
    header h;
    DLX_TRY(read_at(e, 0, &h, sizeof h));
    if (memcmp(h.ident, magic, sizeof magic) != 0 || h.segment_size != sizeof(segment) || !h.n_segments ||
        h.n_segments > MOST_SEGMENTS)
        return no_library(e);
    e->n = h.n_segments;
    DLX_TRY(read_at(e, h.segments_at, e->segment, e->n * sizeof(segment)));
    for (size_t i = 0; i < e->n; i++) DLX_TRY(holds(e, e->segment[i].offset, e->segment[i].in_file));
    return DLX_OK;
}

/* ---- what it needs ---------------------------------------------------------------------------------------------- */

/* Where in the file that is which lies at `address` when it is loaded; false: nowhere. */
static bool find_address(const elf *e, uint64_t address, uint64_t *offset)
{
    for (size_t i = 0; i < e->n; i++) {
        const segment *s = &e->segment[i];
        if (s->type == DYNAMIC || address < s->address || address - s->address >= s->in_file) continue;
        *offset = s->offset + (address - s->address);
        return true;
    }
    return false;
}

static dlx_status read_name(const elf *e, uint64_t at, char name[NAME])
{
    uint64_t offset;
    if (!dlx_add_u64(e->strings, at, &offset) || offset >= e->file.size) return no_library(e);
    uint64_t left = e->file.size - offset;
    size_t n = left < NAME ? (size_t)left : NAME;
    DLX_TRY(read_at(e, offset, name, n));
    return memchr(name, '\0', n) ? DLX_OK : no_library(e);
}

static dlx_status no_memory(const elf *e)
{
    return dlx_fail(e->err, DLX_E_NOMEM, "out of memory looking at '%s'", e->file.name);
}

static dlx_status add(list *l, const elf *e, const char *folder, const char *name)
{
    struct stat st;
    const char *path = dlx_arena_path(&l->arena, folder, name);
    if (!path) return no_memory(e);
    if (stat(path, &st) != 0) return DLX_OK;
    const dlx_file_id id = {(uint64_t)st.st_dev, (uint64_t)st.st_ino};
    for (size_t i = 0; i < l->n; i++)
        if (l->id[i].device == id.device && l->id[i].number == id.number) return DLX_OK;
    if (l->n == MOST_FILES)
        return dlx_fail(e->err, DLX_E_LIMIT, "'%s' needs more than %d libraries", l->path[0], MOST_FILES);
    l->id[l->n] = id;
    l->path[l->n++] = path;
    return DLX_OK;
}

/* In each folder of "a:b", where $ORIGIN is the library's own. */
static dlx_status add_along(list *l, const elf *e, const char *own, const char *folders, const char *name)
{
    static const char *const tokens[] = {"$ORIGIN", "${ORIGIN}"};
    while (*folders) {
        size_t n = strcspn(folders, ":"), skip = 0;
        for (size_t i = 0; i < DLX_COUNT(tokens); i++)
            if (!strncmp(folders, tokens[i], strlen(tokens[i]))) skip = strlen(tokens[i]);
        if (skip || *folders == '/') {
            const char *rest = dlx_arena_strndup(&l->arena, folders + skip, n - skip);
            const char *folder = rest && skip ? dlx_arena_path(&l->arena, own, rest) : rest;
            if (!folder) return no_memory(e);
            DLX_TRY(add(l, e, folder, name));
        }
        folders += n + (folders[n] == ':');
    }
    return DLX_OK;
}

/* One pass over the dynamic section for the places of names and folders, and one for what is needed. */
static dlx_status add_needed(list *l, elf *e, const segment *dynamic)
{
    char name[NAME], folders[2][NAME] = {"", ""};
    const char *slash = strrchr(e->file.name, '/');
    const char *own =
        slash ? dlx_arena_strndup(&l->arena, e->file.name, (size_t)(slash - e->file.name)) : "."; /* "" is the root */
    size_t n = (size_t)(dynamic->in_file / sizeof(entry));
    if (!own) return no_memory(e);
    entry *all = n <= MOST_ENTRIES ? dlx_arena_array(&l->arena, n + 1, sizeof *all) : NULL;
    if (!all) return n <= MOST_ENTRIES ? no_memory(e) : no_library(e);
    DLX_TRY(read_at(e, dynamic->offset, all, n * sizeof *all));
    for (size_t i = 0; i < n && all[i].tag; i++)
        if (all[i].tag == STRINGS && !find_address(e, all[i].value, &e->strings)) return no_library(e);
    for (size_t i = 0; i < n && all[i].tag; i++)
        if (all[i].tag == RPATH || all[i].tag == RUNPATH)
            DLX_TRY(read_name(e, all[i].value, folders[all[i].tag == RUNPATH]));
    for (size_t i = 0; i < n && all[i].tag; i++) {
        if (all[i].tag != NEEDED) continue;
        DLX_TRY(read_name(e, all[i].value, name));
        DLX_TRY(add(l, e, own, name));
        for (size_t k = 0; k < DLX_COUNT(folders); k++) DLX_TRY(add_along(l, e, own, folders[k], name));
    }
    return DLX_OK;
}

static dlx_status look_at(list *l, const char *path, dlx_error *err)
{
    elf e = {.err = err};
    DLX_TRY(dlx_file_open(&e.file, path, err));
    dlx_status s = read_segments(&e);
    for (size_t i = 0; s == DLX_OK && i < e.n; i++)
        if (e.segment[i].type == DYNAMIC) s = add_needed(l, &e, &e.segment[i]);
    dlx_file_close(&e.file);
    return s;
}

dlx_status dlx_elf_whole(const char *path, dlx_error *err)
{
    list l = {.path = {path}, .n = 1}; /* it may be looked at once more, under another path */
    dlx_status s = DLX_OK;
    dlx_arena_init(&l.arena);
    for (size_t i = 0; s == DLX_OK && i < l.n; i++) s = look_at(&l, l.path[i], err);
    dlx_arena_free(&l.arena);
    return s;
}
