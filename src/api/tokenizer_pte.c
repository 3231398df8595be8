/* The tokenizer that travels inside a .pte. */
#include "diffulex_edge/text.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/io.h"
#include "format/facts.h"
#include "format/pte.h"

enum { LARGEST_TOKENIZER = 1 << 30 };

static dlx_status open_blob(dlx_tokenizer **out, const dlx_pte_blob *b, const dlx_file *file, dlx_error *err)
{
    if (b->size > LARGEST_TOKENIZER)
        return dlx_fail(err, DLX_E_LIMIT, "'%s': its tokenizer has %llu bytes; at most %d are expected", file->name,
                        (unsigned long long)b->size, LARGEST_TOKENIZER);
    uint8_t *bytes = malloc((size_t)b->size + 1);
    if (!bytes) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading the tokenizer of '%s'", file->name);
    dlx_status s = dlx_file_read(file, b->offset, bytes, (size_t)b->size, err);
    if (s == DLX_OK) s = dlx_file_unchanged(file, err);
    if (s == DLX_OK) s = dlx_tokenizer_open_packed(out, bytes, (size_t)b->size, err);
    free(bytes);
    return s;
}

static dlx_status open_from(dlx_tokenizer **out, const dlx_source *from, dlx_error *err)
{
    dlx_file file = {.fd = -1};
    dlx_arena arena;
    dlx_pte pte;
    dlx_arena_init(&arena);
    dlx_status s = dlx_source_open(&file, from, err);
    if (s == DLX_OK) s = dlx_pte_open(&pte, &arena, &file, err);
    if (s == DLX_OK) {
        const dlx_pte_blob *b = dlx_pte_find_named(&pte, DLX_TOKENIZER_KEY);
        s = b ? open_blob(out, b, &file, err)
              : dlx_fail(err, DLX_E_UNSUPPORTED,
                         "'%s' carries no tokenizer; work with token ids, or export it from a folder that has "
                         "tokenizer files",
                         dlx_source_name(from));
    }
    dlx_arena_free(&arena);
    dlx_file_close(&file);
    return s;
}

dlx_status dlx_tokenizer_open_pte(dlx_tokenizer **out, const char *path, dlx_error *err)
{
    dlx_source from = dlx_source_path(path);
    if (out) *out = NULL;
    if (!out || !path)
        return dlx_fail(err, DLX_E_INVALID, "tokenizer: a path and a place for the tokenizer are needed");
    return open_from(out, &from, err);
}

dlx_status dlx_tokenizer_open_pte_fd(dlx_tokenizer **out, int fd, dlx_error *err)
{
    dlx_source from = dlx_source_fd(fd);
    if (out) *out = NULL;
    if (!out || fd < 0)
        return dlx_fail(err, DLX_E_INVALID, "tokenizer: a descriptor and a place for the tokenizer are needed");
    return open_from(out, &from, err);
}

dlx_status dlx_tokenizer_open_pte_memory(dlx_tokenizer **out, const void *bytes, size_t n, dlx_error *err)
{
    dlx_source from = dlx_source_memory(bytes, n);
    if (out) *out = NULL;
    if (!out || !bytes)
        return dlx_fail(err, DLX_E_INVALID, "tokenizer: the bytes of a .pte and a place for the tokenizer are needed");
    return open_from(out, &from, err);
}
