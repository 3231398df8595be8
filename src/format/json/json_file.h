/* JSON documents by jansson: size limit, no duplicate keys, and messages that say file, line and column. */
#ifndef DLX_FORMAT_JSON_JSON_FILE_H
#define DLX_FORMAT_JSON_JSON_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/status.h"

/*
 * Reads and parses the file at `path`, at most `limit` bytes; *out is a new reference (json_decref frees it). Duplicate
 * keys, trailing text and nesting deeper than jansson's own limit are refused. Where an integer is beyond 64 bits
 * (tokenizer_config.json usually has "model_max_length": 10^30), all integers of the document come as reals. A
 * byte-order mark in front is passed over.
 */
dlx_status dlx_json_load(json_t **out, const char *path, size_t limit, dlx_error *err);
/* The same of what a user names, which may be a pipe (dlx_read_text). */
dlx_status dlx_json_read(json_t **out, const char *path, size_t limit, dlx_error *err);

/* The same for n bytes in memory; `what` stands for the file in messages, e.g. "'model.safetensors': header". */
dlx_status dlx_json_parse(json_t **out, const char *text, size_t n, const char *what, dlx_error *err);

/* The same, and the document may be a string, a number, true, false or null as well. */
dlx_status dlx_json_parse_any(json_t **out, const char *text, size_t n, const char *what, dlx_error *err);

/* The same for a line of a file, the line-th from 1, which holds no end of a line. */
dlx_status dlx_json_parse_line(json_t **out, const char *text, size_t n, const char *path, size_t line, dlx_error *err);

/* "an object", "a string", ...: for messages that say what was found. */
const char *dlx_json_type_name(const json_t *value);

/* A member that is not there, or null: the files mean the same by both. */
static inline bool dlx_json_absent(const json_t *value)
{
    return !value || json_is_null(value);
}

#endif
