/*
 * The steps of tokenizer.json around the model: normalizer, pre_tokenizer and post_processor, as data (text/steps.h).
 * A step that this library does not run is refused by its name; the models that have those (Bert's, SentencePiece's)
 * are not byte-level BPE.
 */
#include <string.h>

#include "base/sizes.h"
#include "format/json/json_file.h"
#include "text/full/load.h"
#include "text/full/pattern.h"

typedef struct step_list {
    dlx_tokenizer *t;
    dlx_text_step *steps; /* [DLX_MAX_STEPS] */
    uint32_t n;
    const char *file, *key; /* for messages */
    dlx_error *err;
} step_list;

static dlx_status unknown_step(const step_list *l, const json_t *step, const char *known)
{
    const char *type = dlx_step_type(step);
    if (type)
        return dlx_fail(l->err, DLX_E_UNSUPPORTED, "'%s': \"%s\" has a step of type '%.60s'; supported are %s", l->file,
                        l->key, type, known);
    return dlx_fail(l->err, DLX_E_FORMAT, "'%s': \"%s\" has a step that is %s; an object with a \"type\" is expected",
                    l->file, l->key, json_is_object(step) ? "an object without one" : dlx_json_type_name(step));
}

static dlx_status bad_member(const step_list *l, const json_t *step, const char *member, const char *expected)
{
    const json_t *value = json_object_get(step, member);
    const char *text = json_string_value(value);
    return dlx_fail(l->err, dlx_json_absent(value) ? DLX_E_UNSUPPORTED : DLX_E_FORMAT,
                    "'%s': \"%s\" of the step %.60s of \"%s\" is %.100s; %s is expected", l->file, member,
                    dlx_step_type(step), l->key, text ? text : dlx_json_type_name(value), expected);
}

static dlx_status add(step_list *l, dlx_text_step step)
{
    if (l->n == DLX_MAX_STEPS)
        return dlx_fail(l->err, DLX_E_UNSUPPORTED, "'%s': the tokenizer has more than %d steps", l->file,
                        DLX_MAX_STEPS);
    l->steps[l->n++] = step;
    return DLX_OK;
}

/* A boolean member; `otherwise` where it is absent or null. */
static dlx_status flag(const step_list *l, const json_t *step, const char *member, bool otherwise, uint8_t bit,
                       uint8_t *flags)
{
    const json_t *value = json_object_get(step, member);
    if (!dlx_json_absent(value) && !json_is_boolean(value)) return bad_member(l, step, member, "a boolean");
    if (dlx_json_absent(value) ? otherwise : json_is_true(value)) *flags |= bit;
    return DLX_OK;
}

/* A text member, kept in the tokenizer's arena. */
static dlx_status text_of(const step_list *l, const json_t *step, const char *member, const json_t *value, bool empty,
                          const char **text, uint16_t *n)
{
    size_t length = json_string_length(value);
    if (!json_is_string(value) || (!length && !empty)) return bad_member(l, step, member, "a text");
    if (length > DLX_MAX_STEP_TEXT)
        return dlx_fail(l->err, DLX_E_UNSUPPORTED,
                        "'%s': \"%s\" of a step of \"%s\" has %zu bytes; at most %d are "
                        "supported",
                        l->file, member, l->key, length, DLX_MAX_STEP_TEXT);
    *text = dlx_arena_strndup(&l->t->arena, json_string_value(value), length);
    *n = (uint16_t)length;
    return *text ? DLX_OK : dlx_fail(l->err, DLX_E_NOMEM, "out of memory reading '%s'", l->file);
}

/* "pattern": {"Regex": text} or {"String": text}; whether it can be run is found out here, where the file is known. */
static dlx_status pattern_of(const step_list *l, const json_t *object, dlx_text_step *step)
{
    const json_t *pattern = json_object_get(object, "pattern"), *regex = json_object_get(pattern, "Regex");
    const json_t *word = json_object_get(pattern, "String");
    if (!regex && !word) return bad_member(l, object, "pattern", "an object with \"Regex\" or \"String\"");
    DLX_TRY(text_of(l, object, "pattern", regex ? regex : word, false, &step->text, &step->n_text));
    if (regex) step->flags |= DLX_PATTERN_REGEX;
    dlx_status status = dlx_pattern_check(step->text, step->n_text, regex != NULL, l->err);
    return status == DLX_OK ? DLX_OK : dlx_fail_prefix(l->err, status, "'%s': \"%s\"", l->file, l->key);
}

/* ---- normalizer ------------------------------------------------------------------------------------------------- */

static dlx_status add_normalizer(step_list *l, const json_t *object)
{
    static const struct {
        const char *name;
        uint8_t kind;
    } plain[] = {{"NFC", DLX_STEP_NFC},
                 {"NFD", DLX_STEP_NFD},
                 {"NFKC", DLX_STEP_NFKC},
                 {"NFKD", DLX_STEP_NFKD},
                 {"Lowercase", DLX_STEP_LOWERCASE}};
    for (size_t i = 0; i < DLX_COUNT(plain); i++)
        if (dlx_step_is(object, plain[i].name)) return add(l, (dlx_text_step){.kind = plain[i].kind});
    dlx_text_step step = {.kind = DLX_STEP_STRIP};
    if (dlx_step_is(object, "Strip")) {
        DLX_TRY(flag(l, object, "strip_left", true, DLX_STRIP_LEFT, &step.flags));
        DLX_TRY(flag(l, object, "strip_right", true, DLX_STRIP_RIGHT, &step.flags));
        return add(l, step);
    }
    if (dlx_step_is(object, "Prepend")) {
        step.kind = DLX_STEP_PREPEND;
        const json_t *value = json_object_get(object, "prepend");
        if (json_is_string(value) && !json_string_length(value)) return DLX_OK;
        DLX_TRY(text_of(l, object, "prepend", value, false, &step.text, &step.n_text));
        return add(l, step);
    }
    if (dlx_step_is(object, "Replace")) {
        step.kind = DLX_STEP_REPLACE;
        DLX_TRY(pattern_of(l, object, &step));
        DLX_TRY(text_of(l, object, "content", json_object_get(object, "content"), true, &step.second, &step.n_second));
        return add(l, step);
    }
    return unknown_step(l, object,
                        "NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend and Replace, by themselves or in a Sequence");
}

/* ---- pre_tokenizer ---------------------------------------------------------------------------------------------- */

static dlx_status add_split(step_list *l, const json_t *object)
{
    static const char *const names[DLX_BEHAVIORS] = {[DLX_ISOLATED] = "Isolated",
                                                     [DLX_REMOVED] = "Removed",
                                                     [DLX_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
                                                     [DLX_MERGED_WITH_NEXT] = "MergedWithNext",
                                                     [DLX_CONTIGUOUS] = "Contiguous"};
    const char *behavior = json_string_value(json_object_get(object, "behavior"));
    dlx_text_step step = {.kind = DLX_STEP_SPLIT};
    int found = -1;
    for (int i = 0; behavior && i < DLX_BEHAVIORS; i++)
        if (strcmp(behavior, names[i]) == 0) found = i;
    if (found < 0)
        return bad_member(l, object, "behavior", "Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
    step.flags = (uint8_t)(found * DLX_SPLIT_BEHAVIOR);
    DLX_TRY(pattern_of(l, object, &step));
    DLX_TRY(flag(l, object, "invert", false, DLX_SPLIT_INVERT, &step.flags));
    return add(l, step);
}

static dlx_status add_pre_tokenizer(step_list *l, const json_t *object)
{
    dlx_text_step step = {.kind = DLX_STEP_DIGITS};
    if (l->n && l->steps[l->n - 1].kind == DLX_STEP_BYTE_LEVEL)
        return dlx_fail(l->err, DLX_E_UNSUPPORTED,
                        "'%s': \"%s\" has a step '%.60s' behind ByteLevel; ByteLevel must be the last one", l->file,
                        l->key, dlx_step_type(object) ? dlx_step_type(object) : "");
    if (dlx_step_is(object, "Split")) return add_split(l, object);
    if (dlx_step_is(object, "Digits")) {
        DLX_TRY(flag(l, object, "individual_digits", false, DLX_DIGITS_SINGLE, &step.flags));
        return add(l, step);
    }
    if (dlx_step_is(object, "ByteLevel")) {
        step.kind = DLX_STEP_BYTE_LEVEL;
        DLX_TRY(flag(l, object, "add_prefix_space", true, DLX_BYTES_PREFIX, &step.flags));
        DLX_TRY(flag(l, object, "use_regex", true, DLX_BYTES_REGEX, &step.flags));
        return add(l, step);
    }
    return unknown_step(l, object, "Split, Digits and ByteLevel, by themselves or in a Sequence");
}

/* A step, or the steps of a Sequence: `list` is its member that holds them. */
static dlx_status add_all(step_list *l, const json_t *object, const char *list, int depth,
                          dlx_status (*add_one)(step_list *l, const json_t *object))
{
    enum { MOST_DEPTH = 8 };
    size_t i;
    json_t *inner, *steps = json_object_get(object, list);
    if (!dlx_step_is(object, "Sequence")) return add_one(l, object);
    if (!json_is_array(steps)) return bad_member(l, object, list, "an array of steps");
    if (depth == MOST_DEPTH)
        return dlx_fail(l->err, DLX_E_UNSUPPORTED, "'%s': \"%s\" has Sequences inside each other, more than %d deep",
                        l->file, l->key, MOST_DEPTH);
    json_array_foreach(steps, i, inner)
    {
        DLX_TRY(add_all(l, inner, list, depth + 1, add_one));
    }
    return DLX_OK;
}

/* ---- post_processor --------------------------------------------------------------------------------------------- */

/* One entry of TemplateProcessing's "single": {"SpecialToken": {"id": name}} or {"Sequence": {"id": "A"}}. */
static dlx_status add_around(step_list *l, const json_t *object, const json_t *entry, bool *behind)
{
    const json_t *special = json_object_get(entry, "SpecialToken"), *ids, *id;
    const char *name = json_string_value(json_object_get(special, "id"));
    size_t i;
    if (json_is_object(json_object_get(entry, "Sequence")) && !*behind) {
        *behind = true;
        return DLX_OK;
    }
    ids = name ? json_object_get(json_object_get(json_object_get(object, "special_tokens"), name), "ids") : NULL;
    if (!json_is_array(ids))
        return bad_member(l, object, "single",
                          "one Sequence, with SpecialTokens that \"special_tokens\" has around it");
    json_array_foreach((json_t *)ids, i, id)
    {
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value >= DLX_MAX_TOKENS)
            return bad_member(l, object, "special_tokens", "ids of tokens");
        DLX_TRY(add(l, (dlx_text_step){.kind = *behind ? DLX_STEP_BEHIND : DLX_STEP_BEFORE, .id = (uint32_t)value}));
    }
    return DLX_OK;
}

static dlx_status add_post_processor(step_list *l, const json_t *object)
{
    size_t i;
    json_t *entry, *single = json_object_get(object, "single");
    bool behind = false;
    if (dlx_step_is(object, "ByteLevel")) return DLX_OK; /* it only moves offsets */
    if (!dlx_step_is(object, "TemplateProcessing"))
        return unknown_step(l, object, "ByteLevel and TemplateProcessing, by themselves or in a Sequence");
    if (!json_is_array(single)) return bad_member(l, object, "single", "an array");
    json_array_foreach(single, i, entry)
    {
        DLX_TRY(add_around(l, object, entry, &behind));
    }
    return DLX_OK;
}

/* ---- all of them ------------------------------------------------------------------------------------------------ */

dlx_status dlx_load_steps(dlx_tokenizer *t, const json_t *root, const char *file, dlx_error *err)
{
    static const char expected[] = "'%s': \"pre_tokenizer\" %s; byte-level BPE has a ByteLevel as its last step";
    const json_t *normalizer = json_object_get(root, "normalizer"), *split = json_object_get(root, "pre_tokenizer"),
                 *post = json_object_get(root, "post_processor");
    step_list l = {.t = t, .file = file, .key = "normalizer", .err = err};
    l.steps = dlx_arena_array(&t->arena, DLX_MAX_STEPS, sizeof *l.steps);
    if (!l.steps) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s'", file);
    if (!dlx_json_absent(normalizer)) DLX_TRY(add_all(&l, normalizer, "normalizers", 0, add_normalizer));
    l.key = "pre_tokenizer";
    if (dlx_json_absent(split)) return dlx_fail(err, DLX_E_UNSUPPORTED, expected, file, "is absent");
    DLX_TRY(add_all(&l, split, "pretokenizers", 0, add_pre_tokenizer));
    if (!l.n || l.steps[l.n - 1].kind != DLX_STEP_BYTE_LEVEL)
        return dlx_fail(err, DLX_E_UNSUPPORTED, expected, file, "has no ByteLevel");
    l.key = "post_processor";
    if (!dlx_json_absent(post)) DLX_TRY(add_all(&l, post, "processors", 0, add_post_processor));
    t->steps = l.steps;
    t->n_steps = l.n;
    return DLX_OK;
}
