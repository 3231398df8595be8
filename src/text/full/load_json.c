/*
 * tokenizer.json of the `tokenizers` library. Its steps (normalizer, pre_tokenizer, model, decoder) are compared with
 * what the families use; anything else is refused with the key and the value that was found. The post_processor adds
 * special tokens where it is asked to, which this library never does, so it is left out.
 */
#include <stdlib.h>
#include <string.h>

#include "format/json/json_file.h"
#include "text/full/load.h"
#include "text/full/split.h"

/* The "type" of a step; NULL when there is none. */
static const char *type_of(const json_t *step)
{
    return json_string_value(json_object_get(step, "type"));
}

static bool is_type(const json_t *step, const char *name)
{
    const char *type = type_of(step);
    return type && strcmp(type, name) == 0;
}

static bool absent(const json_t *value)
{
    return !value || json_is_null(value);
}

static dlx_status unsupported(const char *file, const char *key, const json_t *step, const char *expected,
                              dlx_error *err)
{
    const char *type = type_of(step);
    if (type)
        return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s': \"%s\" is of type '%.60s'; only %s is supported", file, key,
                        type, expected);
    return dlx_fail(err, absent(step) ? DLX_E_UNSUPPORTED : DLX_E_FORMAT, "'%s': \"%s\" is %s; only %s is supported",
                    file, key, json_is_object(step) ? "an object without a type" : dlx_json_type_name(step), expected);
}

static dlx_status read_normalizer(dlx_tokenizer *t, const json_t *step, const char *file, dlx_error *err)
{
    t->nfc = is_type(step, "NFC");
    return t->nfc || absent(step) ? DLX_OK : unsupported(file, "normalizer", step, "NFC or null", err);
}

/* A member that must be absent, null or `expected`. */
static dlx_status expect_flag(const json_t *object, const char *where, const char *key, bool expected, const char *file,
                              dlx_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (absent(value) || (json_is_boolean(value) && json_is_true(value) == expected)) return DLX_OK;
    return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s': \"%s\" of %s is %s; only %s is supported", file, key, where,
                    json_is_boolean(value) ? (expected ? "false" : "true") : dlx_json_type_name(value),
                    expected ? "true" : "false");
}

static dlx_status read_split(dlx_tokenizer *t, const json_t *split, const char *file, dlx_error *err)
{
    const char *pattern = json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    if (!pattern)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "'%s': the Split of \"pre_tokenizer\" has no \"Regex\" pattern; only that kind is supported",
                        file);
    if (!behavior || strcmp(behavior, "Isolated") != 0)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "'%s': the Split of \"pre_tokenizer\" has behavior '%.30s'; only Isolated is supported", file,
                        behavior ? behavior : "");
    DLX_TRY(expect_flag(split, "the Split of \"pre_tokenizer\"", "invert", false, file, err));
    t->split = dlx_split_from_pattern(pattern);
    if (!t->split)
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "'%s': \"pre_tokenizer\" splits by '%.200s', which is none of the published patterns of LLaDA and "
            "Qwen2",
            file, pattern);
    return DLX_OK;
}

static dlx_status read_pre_tokenizer(dlx_tokenizer *t, const json_t *step, const char *file, dlx_error *err)
{
    static const char expected[] = "a Sequence of Split and ByteLevel";
    const json_t *steps = json_object_get(step, "pretokenizers");
    if (!is_type(step, "Sequence")) return unsupported(file, "pre_tokenizer", step, expected, err);
    const json_t *split = json_array_get(steps, 0), *bytes = json_array_get(steps, 1);
    if (json_array_size(steps) != 2 || !is_type(split, "Split") || !is_type(bytes, "ByteLevel"))
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "'%s': \"pre_tokenizer\" is a Sequence of %zu steps that begins with '%.30s'; only %s is supported", file,
            json_array_size(steps), type_of(split) ? type_of(split) : "", expected);
    DLX_TRY(read_split(t, split, file, err));
    /* Both are true where they are not given. */
    static const char *const flags[] = {"add_prefix_space", "use_regex"};
    for (size_t i = 0; i < 2; i++) {
        if (absent(json_object_get(bytes, flags[i])))
            return dlx_fail(err, DLX_E_UNSUPPORTED,
                            "'%s': the ByteLevel of \"pre_tokenizer\" lacks \"%s\"; only false is supported", file,
                            flags[i]);
        DLX_TRY(expect_flag(bytes, "the ByteLevel of \"pre_tokenizer\"", flags[i], false, file, err));
    }
    return DLX_OK;
}

/* Whether a post_processor does nothing but adding special tokens and moving offsets. */
static bool is_post_processor(const json_t *step, bool nested)
{
    size_t i;
    json_t *inner;
    if (is_type(step, "ByteLevel") || is_type(step, "TemplateProcessing")) return true;
    if (nested || !is_type(step, "Sequence")) return false;
    json_array_foreach(json_object_get(step, "processors"), i, inner)
    {
        if (!is_post_processor(inner, true)) return false;
    }
    return true;
}

static dlx_status read_model(dlx_vocabulary *v, dlx_tokenizer *t, const json_t *model, const char *file, dlx_error *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    if (!is_type(model, "BPE")) return unsupported(file, "model", model, "BPE", err);
    for (size_t i = 0; i < 2; i++) {
        const json_t *affix = json_object_get(model, affixes[i]);
        if (!absent(affix) && !(json_is_string(affix) && json_string_length(affix) == 0))
            return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s': \"%s\" of \"model\" must be empty or null", file,
                            affixes[i]);
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (!absent(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s': \"dropout\" of \"model\" must be null or 0", file);
    DLX_TRY(expect_flag(model, "\"model\"", "ignore_merges", false, file, err));
    DLX_TRY(expect_flag(model, "\"model\"", "byte_fallback", false, file, err));
    return dlx_vocabulary_set(v, t, json_object_get(model, "vocab"), file, err);
}

dlx_status dlx_load_tokenizer_json(dlx_vocabulary *v, dlx_tokenizer *t, json_t *root, const char *file, dlx_error *err)
{
    memset(v, 0, sizeof *v);
    if (!json_is_object(root))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': must be an object, not %s", file, dlx_json_type_name(root));
    const json_t *model = json_object_get(root, "model"), *decoder = json_object_get(root, "decoder");
    const json_t *post = json_object_get(root, "post_processor");
    DLX_TRY(read_normalizer(t, json_object_get(root, "normalizer"), file, err));
    DLX_TRY(read_pre_tokenizer(t, json_object_get(root, "pre_tokenizer"), file, err));
    if (!absent(post) && !is_post_processor(post, false))
        return unsupported(file, "post_processor", post, "ByteLevel, TemplateProcessing or null", err);
    if (!is_type(decoder, "ByteLevel")) return unsupported(file, "decoder", decoder, "ByteLevel", err);
    DLX_TRY(read_model(v, t, model, file, err));
    DLX_TRY(dlx_load_added_tokens(v, json_object_get(root, "added_tokens"), file, err));
    return dlx_load_merges_json(v, json_object_get(model, "merges"), file, err);
}
