/*
 * Reading Hugging Face tokenizer files. load.c knows the folder, these read one kind of file each; everything they find
 * goes through a dlx_vocabulary. `file` names the source in messages.
 */
#ifndef DLX_TEXT_FULL_LOAD_H
#define DLX_TEXT_FULL_LOAD_H

#include <jansson.h>
#include <string.h>

#include "text/full/vocabulary.h"
#include "text/tokenizer.h"

/* The "type" of a step of a tokenizer.json; NULL when there is none. */
static inline const char *dlx_step_type(const json_t *step)
{
    return json_string_value(json_object_get(step, "type"));
}

static inline bool dlx_step_is(const json_t *step, const char *name)
{
    const char *type = dlx_step_type(step);
    return type && strcmp(type, name) == 0;
}

/* load_steps.c: the steps around the model of a tokenizer.json. */
dlx_status dlx_load_steps(dlx_tokenizer *t, const json_t *root, const char *file, dlx_error *err);

/* load_json.c: tokenizer.json; sets the steps of t, and all entries, added tokens and merges. `root` must live until
 * the vocabulary is built; v is to be freed also on failure. */
dlx_status dlx_load_tokenizer_json(dlx_vocabulary *v, dlx_tokenizer *t, json_t *root, const char *file, dlx_error *err);

/* load_merges.c: merges.txt of n bytes with a NUL behind them, which are changed on the way. */
dlx_status dlx_load_merges_text(dlx_vocabulary *v, char *text, size_t n, const char *file, dlx_error *err);
/* The same of tokenizer.json: an array of "left right" or of ["left", "right"]. */
dlx_status dlx_load_merges_json(dlx_vocabulary *v, const json_t *merges, const char *file, dlx_error *err);

/* load_added.c: the array "added_tokens" of tokenizer.json. */
dlx_status dlx_load_added_tokens(dlx_vocabulary *v, const json_t *list, const char *file, dlx_error *err);
/* The object "added_tokens_decoder" of tokenizer_config.json (may be NULL); tokens whose id or text is there already
 * stay. */
dlx_status dlx_load_added_decoder(dlx_vocabulary *v, const json_t *decoder, const char *file, dlx_error *err);
/* added_tokens.json, an object of text -> id; likewise. `special`: an object with the texts of special tokens as keys.
 */
dlx_status dlx_load_added_object(dlx_vocabulary *v, const json_t *object, const json_t *special, const char *file,
                                 dlx_error *err);

/* load_chat.c: the chat templates of a folder, and what they see of the tokenizer. `wanted`: as in
 * dlx_tokenizer_open_folder_with; config and map: tokenizer_config.json and special_tokens_map.json, or NULL. */
dlx_status dlx_load_chat(dlx_tokenizer *t, const char *folder, const char *wanted, const json_t *config,
                         const char *config_file, const json_t *map, const char *map_file, dlx_error *err);

/* A tokenizer from the text of a tokenizer.json alone: no chat template, and the mask token by its published names. */
dlx_status dlx_tokenizer_from_json(dlx_tokenizer **out, const char *text, size_t n, const char *file, dlx_error *err);

#endif
