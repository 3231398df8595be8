/* Writing JSON to a stream: commas and escapes are taken care of. `key` is NULL inside arrays. */
#ifndef DLX_CLI_JSON_H
#define DLX_CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct dlx_cli_json {
    FILE *out;
    bool comma; /* a value stands before the next one */
} dlx_cli_json;

void dlx_cli_json_open(dlx_cli_json *j, const char *key, char bracket);     /* '{' or '[' */
void dlx_cli_json_close(dlx_cli_json *j, char bracket);                     /* '}' or ']' */
void dlx_cli_json_key(dlx_cli_json *j, const char *key);                    /* whoever calls it writes the value */
void dlx_cli_json_text(dlx_cli_json *j, const char *key, const char *text); /* NULL: null */
void dlx_cli_json_bytes(dlx_cli_json *j, const char *key, const char *text, size_t n);
void dlx_cli_json_int(dlx_cli_json *j, const char *key, int64_t value);
/* With so many significant digits; null for what is not finite. */
void dlx_cli_json_number(dlx_cli_json *j, const char *key, double value, int digits);
void dlx_cli_json_bool(dlx_cli_json *j, const char *key, bool value);
void dlx_cli_json_ids(dlx_cli_json *j, const char *key, const int32_t *ids, size_t n);

#endif
