/* Encoding and reading of Hugging Face files in a runtime-only build: they need libraries that it does not link. */
#include "text/encode.h"

#ifdef DLX_RUNTIME_ONLY

dlx_status dlx_encoder_create(dlx_encoder **out, const dlx_tokenizer *t, dlx_error *err)
{
    (void)t;
    (void)err;
    *out = NULL;
    return DLX_OK;
}

void dlx_encoder_free(dlx_encoder *encoder)
{
    (void)encoder;
}

dlx_status dlx_encoder_run(const dlx_tokenizer *t, const char *text, size_t n, const dlx_text_span *spans,
                           size_t n_spans, int32_t **ids, size_t *n_ids, dlx_error *err)
{
    (void)t;
    (void)text;
    (void)n;
    (void)spans;
    (void)n_spans;
    (void)ids;
    (void)n_ids;
    return dlx_fail(
        err, DLX_E_UNSUPPORTED,
        "this runtime-only build cannot encode text (it has no PCRE2 and utf8proc); pass token ids instead");
}

dlx_status dlx_tokenizer_open_folder(dlx_tokenizer **out, const char *folder, dlx_error *err)
{
    if (!out) return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_open_folder: out must not be NULL");
    *out = NULL;
    if (!folder) return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_open_folder: folder must not be NULL");
    return dlx_fail(
        err, DLX_E_UNSUPPORTED,
        "this runtime-only build cannot read tokenizer files from '%s' (it has no jansson); open a .pte with a "
        "tokenizer inside instead",
        folder);
}

dlx_status dlx_tokenizer_open_folder_with(dlx_tokenizer **out, const char *folder, const char *chat_template,
                                          dlx_error *err)
{
    (void)chat_template;
    return dlx_tokenizer_open_folder(out, folder, err);
}
#endif
