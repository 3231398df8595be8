#include "export/tokenizer_folder.h"

#include "base/fetched.h"
#include "base/path.h"

dlx_status dlx_folder_fetched(bool *there, const char *folder, const char *file, dlx_error *err)
{
    char path[4096];
    *there = false;
    return dlx_path_join(path, sizeof path, folder, file) ? dlx_fetched_file(there, path, err) : DLX_OK;
}

dlx_status dlx_folder_has_tokenizer(bool *there, const char *folder, dlx_error *err)
{
    DLX_TRY(dlx_folder_fetched(there, folder, "tokenizer.json", err));
    return *there ? DLX_OK : dlx_folder_fetched(there, folder, "vocab.json", err);
}

dlx_status dlx_checkpoint_tokenizer(dlx_tokenizer **out, const dlx_checkpoint *c, const char *chat_template,
                                    dlx_error *err)
{
    bool present;
    *out = NULL;
    DLX_TRY(dlx_folder_has_tokenizer(&present, c->folder, err));
    if (!present) return DLX_OK;
    DLX_TRY(dlx_tokenizer_open_folder_with(out, c->folder, chat_template, err));
    dlx_tokenizer *t = *out;
    int32_t mask = c->facts.mask_id; /* what nobody's text may bring in */
    if (mask >= 0 && (uint32_t)mask < t->size && t->kind[mask]) t->mask_id = mask;
    return DLX_OK;
}
