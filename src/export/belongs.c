#include "export/belongs.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/sizes.h"

/* Facts that differ, "layers 3, hidden size 96", as the file has them and as the checkpoint does. */
typedef struct differences {
    char file[200], checkpoint[200];
} differences;

static void put(char text[200], const char *name, const char *value)
{
    size_t n = strlen(text);
    snprintf(text + n, 200 - n, "%s%s %s", n ? ", " : "", name, value);
}

static void put_number(char text[200], const char *name, int32_t value)
{
    char number[16];
    snprintf(number, sizeof number, "%d", value);
    put(text, name, number);
}

static bool find_differences(differences *d, const dlx_file_said *file, const dlx_checkpoint *c)
{
    const dlx_model_shape *s = &c->shape;
    const dlx_file_layers *l = file->layers;
    const struct {
        const char *name;
        int32_t file, checkpoint;
    } sizes[] = {
        {"layers", l->layers, s->layers},
        {"hidden size", l->hidden, s->hidden},
        {"heads", l->heads, s->heads},
        {"key-value heads", l->kv_heads, s->kv_heads},
        {"head size", l->head_dim, s->head_dim},
        {"intermediate size", l->intermediate, s->intermediate},
        {"vocabulary", file->facts->vocab_size, c->facts.vocab_size},
    };
    *d = (differences){{0}, {0}};
    if (file->facts->family != c->facts.family) {
        put(d->file, "family", dlx_family_name(file->facts->family));
        put(d->checkpoint, "family", dlx_family_name(c->facts.family));
    }
    for (size_t i = 0; i < DLX_COUNT(sizes); i++) {
        if (!sizes[i].file || sizes[i].file == sizes[i].checkpoint) continue;
        put_number(d->file, sizes[i].name, sizes[i].file);
        put_number(d->checkpoint, sizes[i].name, sizes[i].checkpoint);
    }
    if (file->facts->max_context > s->max_positions) {
        put_number(d->file, "positions", file->facts->max_context);
        put_number(d->checkpoint, "at most", s->max_positions);
    }
    return *d->file;
}

static dlx_status differ(const differences *d, const dlx_file_said *file, const dlx_checkpoint *c, dlx_error *err)
{
    return dlx_fail(err, DLX_E_INVALID,
                    "'%.110s' was made of another checkpoint than '%.110s': the file has %s; the checkpoint has %s",
                    file->path, c->folder, d->file, d->checkpoint);
}

dlx_status dlx_checkpoint_of_file(dlx_checkpoint *out, const char *model_path, const dlx_file_said *file,
                                  dlx_error *err)
{
    const dlx_model_facts *f = file->facts;
    const dlx_checkpoint_options as_then = {
        .model_type = dlx_family_name(f->family), .block_size = f->attn_block, .mask_id = f->mask_id};
    const dlx_checkpoint_options as_it_is = {.model_type = NULL};
    differences d;
    dlx_status s = dlx_checkpoint_open(out, model_path, &as_then, err);
    if (s == DLX_OK) return find_differences(&d, file, out) ? differ(&d, file, out, err) : DLX_OK;
    if (s != DLX_E_FORMAT && s != DLX_E_UNSUPPORTED && s != DLX_E_INVALID) return s;
    /* Read as what the file says it does not hold together. Perhaps it does as what it says itself. */
    if (dlx_checkpoint_open(out, model_path, &as_it_is, NULL) != DLX_OK) return s;
    if (find_differences(&d, file, out)) return differ(&d, file, out, err);
    dlx_checkpoint_close(out);
    return s;
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
