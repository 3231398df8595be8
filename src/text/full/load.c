/*
 * A tokenizer from the files of a checkpoint folder, as `transformers` takes them:
 *
 *   tokenizer.json            everything but the chat template; where it is absent:
 *   vocab.json, merges.txt    the vocabulary of a Qwen2 tokenizer, whose other steps are known
 *   tokenizer_config.json     added tokens with their flags, names of special tokens, the chat template
 *   added_tokens.json         added tokens without flags
 *   special_tokens_map.json   names of special tokens
 *   chat_template.jinja       the chat template (load_chat.c)
 *
 * Where two files disagree about an id or a text, the one that stands higher in this list counts: the published files
 * of SDAR call id 151669 "<|MASK|>" in one place and "<MASK>" in another.
 */
#include <stdlib.h>
#include <string.h>

#include "base/fetched.h"
#include "base/io.h"
#include "format/json/json_file.h"
#include "text/full/load.h"

/* Parsed JSON takes up to about forty times the memory of its text. Published files: at most 12 MB. */
enum { MAX_FILE = 32 << 20 };

typedef struct loader {
    const char *folder, *chat_template;
    dlx_arena names; /* paths, for messages; live as long as the loader */
    dlx_tokenizer *t;
    dlx_vocabulary v;
    json_t *main;    /* tokenizer.json, or vocab.json */
    json_t *config;  /* tokenizer_config.json, or NULL */
    json_t *map;     /* special_tokens_map.json, or NULL */
    json_t *special; /* object: texts of special tokens as keys */
    const char *main_file, *config_file, *map_file;
    dlx_error *err;
} loader;

static dlx_status out_of_memory(loader *l)
{
    return dlx_fail(l->err, DLX_E_NOMEM, "out of memory reading the tokenizer of '%s'", l->folder);
}

/* Parses a file; where it is absent, *out stays NULL. */
static dlx_status read_json(loader *l, json_t **out, const char **file, const char *name)
{
    *file = dlx_arena_path(&l->names, l->folder, name);
    bool there;
    if (!*file) return out_of_memory(l);
    DLX_TRY(dlx_fetched_file(&there, *file, l->err));
    return there ? dlx_json_load(out, *file, MAX_FILE, l->err) : DLX_OK;
}

static dlx_status read_config(loader *l)
{
    DLX_TRY(read_json(l, &l->config, &l->config_file, "tokenizer_config.json"));
    if (l->config && !json_is_object(l->config))
        return dlx_fail(l->err, DLX_E_FORMAT, "'%s': must be an object, not %s", l->config_file,
                        dlx_json_type_name(l->config));
    return DLX_OK;
}

/* ---- vocab.json and merges.txt -------------------------------------------------------------------------------------
 */

/* These files do not say how text is split; the class of the tokenizer does. */
static dlx_status check_class(loader *l)
{
    static const char *const known[] = {"Qwen2Tokenizer", "Qwen2TokenizerFast", "DreamTokenizer"};
    const json_t *value = json_object_get(l->config, "tokenizer_class");
    const char *name = json_string_value(value);
    bool fine = dlx_json_absent(value);
    for (size_t i = 0; name && i < sizeof known / sizeof known[0]; i++) fine = fine || strcmp(name, known[i]) == 0;
    if (!fine)
        return dlx_fail(
            l->err, DLX_E_UNSUPPORTED,
            "'%s': \"tokenizer_class\" is '%.60s', which cannot be read from vocab.json and merges.txt (only "
            "Qwen2Tokenizer and DreamTokenizer can); save a tokenizer.json with Python's transformers",
            l->config_file, name ? name : dlx_json_type_name(value));
    if (json_is_true(json_object_get(l->config, "add_prefix_space")))
        return dlx_fail(l->err, DLX_E_UNSUPPORTED, "'%s': \"add_prefix_space\" is true; only false is supported",
                        l->config_file);
    return DLX_OK;
}

static dlx_status read_merges(loader *l)
{
    char *text;
    size_t n;
    const char *file = dlx_arena_path(&l->names, l->folder, "merges.txt");
    if (!file) return out_of_memory(l);
    bool there;
    DLX_TRY(dlx_fetched_file(&there, file, l->err));
    if (!there)
        return dlx_fail(l->err, DLX_E_IO,
                        "'%s' has vocab.json, but not merges.txt, which belongs to it (a tokenizer.json "
                        "would replace both)%s",
                        l->folder, dlx_fetch_the_rest(l->folder).s);
    DLX_TRY(dlx_read_file(&text, &n, file, MAX_FILE, l->err));
    dlx_status status = dlx_check_fetched(text, n, file, l->err);
    if (status == DLX_OK) status = dlx_load_merges_text(&l->v, text, n, file, l->err);
    free(text);
    return status;
}

/* ---- special tokens ------------------------------------------------------------------------------------------------
 */

/* A special token's text: a string or an object with "content". NULL when the key is absent or null. */
static dlx_status read_name(const char **text, const json_t *object, const char *key, const char *file, dlx_error *err)
{
    const json_t *value = json_object_get(object, key);
    const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
    *text = json_string_value(content);
    if (*text || dlx_json_absent(value)) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT, "'%s': \"%s\" must be a string or an object with \"content\", not %s", file, key,
                    dlx_json_type_name(value));
}

/* The first of tokenizer_config.json and special_tokens_map.json that names this token; with `known`, only a name that
 * has an id counts. */
static dlx_status find_name(loader *l, const char **text, const char *key, bool known)
{
    const json_t *const objects[] = {l->config, l->map};
    const char *const files[] = {l->config_file, l->map_file};
    for (int i = 0; i < 2; i++) {
        DLX_TRY(read_name(text, objects[i], key, files[i], l->err));
        if (*text && (!known || dlx_vocabulary_find(&l->v, *text) >= 0)) return DLX_OK;
    }
    *text = NULL;
    return DLX_OK;
}

/* Collects the texts that one file calls special: those of "..._token" keys and of additional_special_tokens. */
static dlx_status collect_special(loader *l, const json_t *object, const char *file)
{
    const char *key, *text;
    json_t *value;
    size_t i;
    json_object_foreach((json_t *)object, key, value)
    {
        size_t n = strlen(key);
        text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
        if (!text || n <= 6 || strcmp(key + n - 6, "_token") != 0) continue;
        if (json_object_set_new(l->special, text, json_true()) != 0) return out_of_memory(l);
    }
    json_array_foreach(json_object_get(object, "additional_special_tokens"), i, value)
    {
        text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
        if (!text)
            return dlx_fail(l->err, DLX_E_FORMAT,
                            "'%s': \"additional_special_tokens\" must hold texts of tokens, not %s", file,
                            dlx_json_type_name(value));
        if (json_object_set_new(l->special, text, json_true()) != 0) return out_of_memory(l);
    }
    return DLX_OK;
}

/* Added tokens that the main file does not have. */
static dlx_status read_more_added(loader *l)
{
    json_t *object = NULL;
    const char *file;
    DLX_TRY(dlx_load_added_decoder(&l->v, json_object_get(l->config, "added_tokens_decoder"), l->config_file, l->err));
    DLX_TRY(read_json(l, &object, &file, "added_tokens.json"));
    if (!object) return DLX_OK;
    dlx_status status = DLX_OK;
    l->special = json_object();
    if (!l->special) status = out_of_memory(l);
    if (status == DLX_OK) status = collect_special(l, l->config, l->config_file);
    if (status == DLX_OK) status = collect_special(l, l->map, l->map_file);
    if (status == DLX_OK) status = dlx_load_added_object(&l->v, object, l->special, file, l->err);
    json_decref(object);
    return status;
}

/* The mask token by the names it has in the published files. */
static int32_t published_mask(const dlx_vocabulary *v)
{
    static const char *const names[] = {"<|mdm_mask|>", "<|mask|>", "<|MASK|>", "|<MASK>|", "<MASK>"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int32_t id = dlx_vocabulary_added_id(v, names[i]);
        if (id >= 0) return id;
    }
    return -1;
}

/* ---- the folder ----------------------------------------------------------------------------------------------------
 */

static dlx_status read_main(loader *l)
{
    DLX_TRY(read_json(l, &l->main, &l->main_file, "tokenizer.json"));
    if (l->main) return dlx_load_tokenizer_json(&l->v, l->t, l->main, l->main_file, l->err);
    DLX_TRY(read_json(l, &l->main, &l->main_file, "vocab.json"));
    if (!l->main)
        return dlx_fail(l->err, DLX_E_IO, "'%s' has neither tokenizer.json nor vocab.json with merges.txt", l->folder);
    DLX_TRY(check_class(l));
    l->t->steps = dlx_steps_published(DLX_PUBLISHED_QWEN2, true, &l->t->n_steps);
    DLX_TRY(dlx_vocabulary_set(&l->v, l->t, l->main, l->main_file, l->err));
    return read_merges(l);
}

/* Builds and checks what was read; the failures of these steps do not know the file. */
static dlx_status build(dlx_vocabulary *v, dlx_tokenizer *t, const char *file, dlx_error *err)
{
    v->file = file;
    DLX_TRY(dlx_vocabulary_build(v, err));
    dlx_status status = dlx_tokenizer_finish(t, err);
    return status == DLX_OK ? DLX_OK : dlx_fail_prefix(err, status, "'%s'", file);
}

static dlx_status load(loader *l)
{
    const char *mask;
    if (!dlx_is_folder(l->folder))
        return dlx_fail(l->err, DLX_E_IO, "'%s' is not a folder; a checkpoint folder with tokenizer files is expected",
                        l->folder);
    DLX_TRY(read_config(l));
    DLX_TRY(read_json(l, &l->map, &l->map_file, "special_tokens_map.json"));
    if (l->map && !json_is_object(l->map))
        return dlx_fail(l->err, DLX_E_FORMAT, "'%s': must be an object, not %s", l->map_file,
                        dlx_json_type_name(l->map));
    DLX_TRY(read_main(l));
    DLX_TRY(read_more_added(l));
    DLX_TRY(find_name(l, &mask, "mask_token", true));
    l->t->mask_id = mask ? dlx_vocabulary_find(&l->v, mask) : published_mask(&l->v);
    DLX_TRY(dlx_load_chat(l->t, l->folder, l->chat_template, l->config, l->config_file, l->map, l->map_file, l->err));
    return build(&l->v, l->t, l->main_file, l->err);
}

dlx_status dlx_tokenizer_open_folder(dlx_tokenizer **out, const char *folder, dlx_error *err)
{
    return dlx_tokenizer_open_folder_with(out, folder, NULL, err);
}

dlx_status dlx_tokenizer_open_folder_with(dlx_tokenizer **out, const char *folder, const char *chat_template,
                                          dlx_error *err)
{
    if (!out) return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_open_folder: out must not be NULL");
    *out = NULL;
    if (!folder) return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_open_folder: folder must not be NULL");
    loader l = {.folder = folder, .chat_template = chat_template, .err = err};
    dlx_arena_init(&l.names);
    dlx_status status = dlx_tokenizer_new(&l.t, err);
    if (status == DLX_OK) status = load(&l);
    if (status == DLX_OK)
        *out = l.t;
    else
        dlx_tokenizer_close(l.t);
    dlx_vocabulary_free(&l.v);
    json_decref(l.main);
    json_decref(l.config);
    json_decref(l.map);
    json_decref(l.special);
    dlx_arena_free(&l.names);
    return status;
}

dlx_status dlx_tokenizer_from_json(dlx_tokenizer **out, const char *text, size_t n, const char *file, dlx_error *err)
{
    dlx_tokenizer *t;
    dlx_vocabulary v = {0};
    json_t *root = NULL;
    *out = NULL;
    DLX_TRY(dlx_tokenizer_new(&t, err));
    dlx_status status = dlx_json_parse(&root, text, n, file, err);
    if (status == DLX_OK) status = dlx_load_tokenizer_json(&v, t, root, file, err);
    if (status == DLX_OK) {
        t->mask_id = published_mask(&v);
        status = build(&v, t, file, err);
    }
    if (status == DLX_OK)
        *out = t;
    else
        dlx_tokenizer_close(t);
    dlx_vocabulary_free(&v);
    json_decref(root);
    return status;
}
