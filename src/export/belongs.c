#include "export/belongs.h"

#include <math.h>

#include "export/tokenizer_folder.h"

static dlx_status differ(const dlx_differences *d, const dlx_file_said *file, const dlx_checkpoint *c, dlx_error *err)
{
    return dlx_fail(err, DLX_E_INVALID,
                    "'%.80s' was made of another checkpoint than '%.80s': the file has %s; the checkpoint has %s%s",
                    file->path, c->folder, d->file, d->checkpoint,
                    d->told ? "; where the export was told so, tell it here, too (model_type, mask_id, block_size)"
                            : "");
}

/* c is closed unless they belong together. */
static dlx_status compare(dlx_checkpoint *c, const dlx_file_said *file, dlx_error *err)
{
    dlx_differences d;
    dlx_tokenizer *words;
    dlx_status s = dlx_checkpoint_tokenizer(&words, c, "none", err);
    if (s == DLX_OK) s = dlx_differences_find(&d, file, c, words, err);
    if (s == DLX_OK && d.n) s = differ(&d, file, c, err);
    dlx_tokenizer_close(words);
    if (s != DLX_OK) dlx_checkpoint_close(c);
    return s;
}

dlx_status dlx_checkpoint_of_file(dlx_checkpoint *out, const char *model_path, const dlx_checkpoint_options *told,
                                  const dlx_file_said *file, dlx_error *err)
{
    dlx_checkpoint_options as_then = *told;
    dlx_status s = dlx_checkpoint_open(out, model_path, told, err);
    if (s == DLX_OK) return compare(out, file, err);
    if (s != DLX_E_UNSUPPORTED || told->model_type) return s;
    as_then.model_type = dlx_family_name(file->facts->family);
    return dlx_checkpoint_open(out, model_path, &as_then, NULL) == DLX_OK ? compare(out, file, err) : s;
}

dlx_status dlx_weights_belong(const dlx_validation *found, int32_t vocabulary, const char *file_path,
                              const char *folder, dlx_error *err)
{
    int32_t strangers = 0;
    double least = 0, ignorant = log((double)vocabulary);
    if (found->kl_mean > ignorant)
        return dlx_fail(
            err, DLX_E_INVALID,
            "'%.110s' was made of another checkpoint than '%.110s', or that changed since: the sizes are the "
            "same, the answers are not; their mean KL divergence is %.3g, where equal odds for every token "
            "would have %.3g at most",
            file_path, folder, found->kl_mean, ignorant);
    for (int32_t i = 0; i < found->layers; i++) {
        if (!(found->layer_error[i] >= 1)) continue;
        least = !strangers || found->layer_error[i] < least ? found->layer_error[i] : least;
        strangers++;
    }
    if (2 * strangers <= found->layers) return DLX_OK;
    return dlx_fail(err, DLX_E_INVALID,
                    "'%.110s' was made of another checkpoint than '%.110s', or that changed since: the sizes are the "
                    "same, the weights are not; %d of %d layers miss the checkpoint's by %.3g or more of what it adds, "
                    "where one that does nothing misses it by 1, and the mean KL divergence is %.3g",
                    file_path, folder, strangers, found->layers, least, found->kl_mean);
}
