#include "calibrate/origin.h"

#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "base/sizes.h"
#include "format/json/json_file.h"
#include "quant/rows.h"

enum { NUMBERS = 1024 }; /* of a tensor: training changes all of them */

static const char *const size_names[DLX_ORIGIN_SIZES] = {"layers",   "hidden",   "intermediate", "heads",
                                                         "kv_heads", "head_dim", "vocab_size"};

static dlx_status add_tensor(dlx_digest *d, const dlx_st_tensor *t, dlx_error *err)
{
    uint8_t stored[NUMBERS * sizeof(float)];
    float numbers[NUMBERS];
    if (!t) return DLX_OK;
    size_t each = dlx_dtype_size(t->dtype), n = (size_t)(t->bytes / each);
    if (n > NUMBERS) n = NUMBERS;
    if (t->data)
        memcpy(stored, t->data, n * each);
    else
        DLX_TRY(dlx_file_read(t->source, t->offset, stored, n * each, err));
    dlx_rows_widen(numbers, stored, n, t->dtype);
    dlx_digest_add(d, numbers, n * sizeof *numbers);
    return DLX_OK;
}

dlx_status dlx_origin_of(dlx_origin *out, const dlx_checkpoint *c, dlx_error *err)
{
    const dlx_model_shape *s = &c->shape;
    const int32_t sizes[] = {s->layers, s->hidden, s->intermediate, s->heads, s->kv_heads, s->head_dim, s->vocab_size};
    const dlx_st_tensor *whole[] = {c->embed, c->norm, c->lm_head};
    dlx_digest d = {.bytes = 0};
    for (size_t i = 0; i < DLX_COUNT(whole); i++) DLX_TRY(add_tensor(&d, whole[i], err));
    for (int32_t i = 0; i < s->layers; i++) {
        const dlx_layer_weights *l = &c->layer[i];
        const dlx_st_tensor *of[] = {l->attn_norm, l->mlp_norm, l->q,      l->k,      l->v,    l->o,  l->q_bias,
                                     l->k_bias,    l->v_bias,   l->q_norm, l->k_norm, l->gate, l->up, l->down};
        for (size_t k = 0; k < DLX_COUNT(of); k++) DLX_TRY(add_tensor(&d, of[k], err));
    }
    out->family = dlx_family_name(c->facts.family);
    memcpy(out->size, sizes, sizeof sizes);
    snprintf(out->weights, sizeof out->weights, "%016llx", (unsigned long long)dlx_digest_end(&d));
    return DLX_OK;
}

void dlx_origin_put(dlx_text_buffer *t, const dlx_origin *o)
{
    dlx_put(t, "{\"family\": ");
    dlx_put_json(t, o->family);
    for (size_t i = 0; i < DLX_ORIGIN_SIZES; i++) dlx_put(t, ", \"%s\": %d", size_names[i], o->size[i]);
    dlx_put(t, ", \"weights\": \"%s\"}", o->weights);
}

static dlx_status other(const char *path, const char *folder, const char *what, const char *theirs, const char *ours,
                        dlx_error *err)
{
    return dlx_fail(err, DLX_E_FORMAT,
                    "'%s' has ranges of another checkpoint: its %s is %.60s, that of '%s' is %s; measure ranges on "
                    "this one",
                    path, what, theirs, folder, ours);
}

static dlx_status no_origin(const char *path, const char *key, dlx_error *err)
{
    return dlx_fail(err, DLX_E_FORMAT, "'%s' is no file of ranges: its \"checkpoint\" says no \"%s\"", path, key);
}

static dlx_status check_word(const json_t *found, const char *key, const char *own, const char *path,
                             const char *folder, dlx_error *err)
{
    const char *word = json_string_value(json_object_get(found, key));
    if (!word) return no_origin(path, key, err);
    return strcmp(word, own) ? other(path, folder, key, word, own, err) : DLX_OK;
}

/* A digest tells nobody anything but that it is another one. */
static dlx_status check_weights(const json_t *found, const char *own, const char *path, const char *folder,
                                dlx_error *err)
{
    const char *digest = json_string_value(json_object_get(found, "weights"));
    if (!digest) return no_origin(path, "weights", err);
    if (!strcmp(digest, own)) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT,
                    "'%s' has ranges of another checkpoint: its sizes are those of '%s', its weights are not (digests "
                    "%.60s and %s); measure ranges on this one",
                    path, folder, digest, own);
}

dlx_status dlx_origin_check(const json_t *found, const dlx_origin *own, const char *path, const char *folder,
                            dlx_error *err)
{
    DLX_TRY(check_word(found, "family", own->family, path, folder, err));
    for (size_t i = 0; i < DLX_ORIGIN_SIZES; i++) {
        char theirs[24], ours[24];
        const json_t *size = json_object_get(found, size_names[i]);
        if (!json_is_integer(size)) return no_origin(path, size_names[i], err);
        if (json_integer_value(size) == own->size[i]) continue;
        snprintf(theirs, sizeof theirs, "%lld", (long long)json_integer_value(size));
        snprintf(ours, sizeof ours, "%d", own->size[i]);
        return other(path, folder, size_names[i], theirs, ours, err);
    }
    return check_weights(found, own->weights, path, folder, err);
}
