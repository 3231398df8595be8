/*
 * tokenizer.json of the `tokenizers` library. What stands around the model is read by load_steps.c; model and decoder
 * must be those of byte-level BPE, anything else is refused with the key and the value that was found.
 */
#include <stdlib.h>
#include <string.h>

#include "format/json/json_file.h"
#include "text/full/load.h"

static dlx_status unsupported(const char *file, const char *key, const json_t *step, const char *expected,
                              dlx_error *err)
{
    const char *type = dlx_step_type(step);
    if (type)
        return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s': \"%s\" is of type '%.60s'; only %s is supported", file, key,
                        type, expected);
    return dlx_fail(err, dlx_json_absent(step) ? DLX_E_UNSUPPORTED : DLX_E_FORMAT,
                    "'%s': \"%s\" is %s; only %s is supported", file, key,
                    json_is_object(step) ? "an object without a type" : dlx_json_type_name(step), expected);
}

/* A member that must be absent, null or `expected`. */
static dlx_status expect_flag(const json_t *object, const char *where, const char *key, bool expected, const char *file,
                              dlx_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (dlx_json_absent(value) || (json_is_boolean(value) && json_is_true(value) == expected)) return DLX_OK;
    return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s': \"%s\" of %s is %s; only %s is supported", file, key, where,
                    json_is_boolean(value) ? (expected ? "false" : "true") : dlx_json_type_name(value),
                    expected ? "true" : "false");
}

/* A ByteLevel, by itself or as the only step of a Sequence. */
static bool is_byte_level(const json_t *decoder)
{
    const json_t *steps = json_object_get(decoder, "decoders");
    if (dlx_step_is(decoder, "Sequence") && json_array_size(steps) == 1) decoder = json_array_get(steps, 0);
    return dlx_step_is(decoder, "ByteLevel");
}

static dlx_status read_model(dlx_vocabulary *v, dlx_tokenizer *t, const json_t *model, const char *file, dlx_error *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    if (!dlx_step_is(model, "BPE")) return unsupported(file, "model", model, "BPE", err);
    for (size_t i = 0; i < 2; i++) {
        const json_t *affix = json_object_get(model, affixes[i]);
        if (!dlx_json_absent(affix) && !(json_is_string(affix) && json_string_length(affix) == 0))
            return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s': \"%s\" of \"model\" must be empty or null", file,
                            affixes[i]);
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (!dlx_json_absent(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s': \"dropout\" of \"model\" must be null or 0", file);
    const json_t *ignore = json_object_get(model, "ignore_merges");
    if (!dlx_json_absent(ignore) && !json_is_boolean(ignore))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': \"ignore_merges\" of \"model\" must be a boolean, not %s", file,
                        dlx_json_type_name(ignore));
    t->ignore_merges = json_is_true(ignore);
    DLX_TRY(expect_flag(model, "\"model\"", "byte_fallback", false, file, err));
    return dlx_vocabulary_set(v, t, json_object_get(model, "vocab"), file, err);
}

dlx_status dlx_load_tokenizer_json(dlx_vocabulary *v, dlx_tokenizer *t, json_t *root, const char *file, dlx_error *err)
{
    memset(v, 0, sizeof *v);
    if (!json_is_object(root))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': must be an object, not %s", file, dlx_json_type_name(root));
    const json_t *model = json_object_get(root, "model"), *decoder = json_object_get(root, "decoder");
    DLX_TRY(dlx_load_steps(t, root, file, err));
    if (!is_byte_level(decoder)) return unsupported(file, "decoder", decoder, "ByteLevel", err);
    DLX_TRY(read_model(v, t, model, file, err));
    DLX_TRY(dlx_load_added_tokens(v, json_object_get(root, "added_tokens"), file, err));
    return dlx_load_merges_json(v, json_object_get(model, "merges"), file, err);
}
