/*
 * The small JSON files of a checkpoint folder, and checked reading of their keys. A message names the file, the key,
 * what was expected and what was found. Nothing here knows a family.
 */
#ifndef DLX_MODEL_CONFIG_H
#define DLX_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/status.h"

/* Parsed documents; each is an object, or NULL where the folder has no such file. config is always there. */
typedef struct dlx_config_files {
    const char *folder;       /* for messages; not owned */
    json_t *config;           /* config.json */
    json_t *generation;       /* generation_config.json */
    json_t *added_tokens;     /* added_tokens.json: {content: id} */
    json_t *tokenizer_config; /* tokenizer_config.json, whose added_tokens_decoder is {id: {content}} */
    json_t *tokenizer; /* tokenizer.json, whose added_tokens is [{id, content}]; megabytes, so it is read only where
                          neither of the two above names added tokens */
} dlx_config_files;

/* `folder` must outlive *out. */
dlx_status dlx_config_load(dlx_config_files *out, const char *folder, dlx_error *err);
void dlx_config_free(dlx_config_files *f);

/* The value of a key in config.json; NULL when it is absent or null. */
const json_t *dlx_config_value(const dlx_config_files *f, const char *key);

/* Required keys. Integers may be written as reals ("32.0") and reals as integers ("1000000"). */
dlx_status dlx_config_int(const dlx_config_files *f, const char *key, int32_t lo, int32_t hi, int32_t *out,
                          dlx_error *err);
dlx_status dlx_config_real(const dlx_config_files *f, const char *key, double lo, double hi, double *out,
                           dlx_error *err);
/* Keys that may be absent or null: then *out keeps its value. */
dlx_status dlx_config_int_if(const dlx_config_files *f, const char *key, int32_t lo, int32_t hi, int32_t *out,
                             dlx_error *err);
dlx_status dlx_config_bool_if(const dlx_config_files *f, const char *key, bool *out, dlx_error *err);

/* A number as an integer within lo .. hi; `file` and `key` are for the message. */
dlx_status dlx_config_to_int(const dlx_config_files *f, const char *file, const char *key, const json_t *value,
                             int32_t lo, int32_t hi, int32_t *out, dlx_error *err);

/* What the arithmetic covers: a key that is present and says something else is refused. */
typedef struct dlx_config_rule {
    const char *key;
    const char *only; /* true, false, null, a number, or a word */
    bool required;    /* absent or null is refused as well: the published default is another value */
} dlx_config_rule;
dlx_status dlx_config_check(const dlx_config_files *f, const dlx_config_rule *rules, size_t n, dlx_error *err);

/* The value as it stands in the file, shortened: for messages that say what was found. */
typedef struct dlx_config_text {
    char s[64];
} dlx_config_text;
dlx_config_text dlx_config_found(const json_t *value);

/* refuse.c. DLX_E_UNSUPPORTED when the folder holds an adapter (adapter_config.json): what to merge it with. */
dlx_status dlx_refuse_adapter(const char *folder, dlx_error *err);
/* DLX_E_UNSUPPORTED when config.json says that the weights are quantised: by which method. */
dlx_status dlx_refuse_quantised(const dlx_config_files *f, dlx_error *err);

/* Content of the added token with this id, or NULL. */
const char *dlx_config_token_name(const dlx_config_files *f, int32_t id);

/* Id of an added token by its exact content; *id is -1 when no file names it. Two files that give it two ids, and an id
 * outside 0 .. vocab_size-1, are refused. */
dlx_status dlx_config_token(const dlx_config_files *f, const char *content, int32_t vocab_size, int32_t *id,
                            dlx_error *err);

#endif
