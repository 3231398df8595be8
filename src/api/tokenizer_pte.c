/* The tokenizer that travels inside a .pte. */
#include "diffulex_edge/text.h"

#include "base/arena.h"
#include "base/io.h"
#include "format/facts.h"
#include "format/pte.h"

dlx_status dlx_tokenizer_open_pte(dlx_tokenizer **out, const char *path, dlx_error *err)
{
    if (out) *out = NULL;
    if (!out || !path)
        return dlx_fail(err, DLX_E_INVALID, "tokenizer: a path and a place for the tokenizer are needed");
    dlx_mapping map = {0};
    dlx_arena arena;
    dlx_pte pte;
    dlx_arena_init(&arena);
    dlx_status s = dlx_map_file(&map, path, err);
    if (s == DLX_OK) s = dlx_pte_read(&pte, &arena, map.data, map.size, path, err);
    if (s == DLX_OK) {
        const dlx_pte_blob *b = dlx_pte_find_named(&pte, DLX_TOKENIZER_KEY);
        s = b ? dlx_tokenizer_open_packed(out, b->data, (size_t)b->size, err)
              : dlx_fail(err, DLX_E_UNSUPPORTED,
                         "'%s' carries no tokenizer; work with token ids, or export it from a folder that has "
                         "tokenizer files",
                         path);
    }
    dlx_arena_free(&arena);
    dlx_unmap(&map);
    return s;
}
