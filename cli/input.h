/* What the program reads: numbers, lists of token ids, whole files and the standard input. */
#ifndef DLX_CLI_INPUT_H
#define DLX_CLI_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/status.h"

/* Decimal, the whole text. */
bool dlx_cli_parse_int(const char *text, int64_t *out);
/* "1,2,3"; white space and brackets around are fine. *ids is freed with free. The ids are checked against a vocabulary
 * by the library, not here. */
dlx_status dlx_cli_parse_ids(const char *text, int32_t **ids, size_t *n, dlx_error *err);
/* A whole file, or the standard input for "-"; NUL-terminated, freed with free. A pipe is waited for, unless it is
 * silent for ten seconds; the standard input for as long as it takes. */
dlx_status dlx_cli_read_all(const char *path, char **text, size_t *n, dlx_error *err);
/* The same for text that somebody wrote: without a byte-order mark; text in UTF-16 is an error. */
dlx_status dlx_cli_read_source(const char *path, char **text, size_t *n, dlx_error *err);
/* And without the line break at its end, which editors and shells put there. */
dlx_status dlx_cli_read_text(const char *path, char **text, size_t *n, dlx_error *err);
/* By its byte-order mark. */
bool dlx_cli_is_utf16(const char *text, size_t n);
bool dlx_cli_is_folder(const char *path);
/* Length of the text without the white space at its end. A NUL is no white space. */
size_t dlx_cli_trimmed(const char *text, size_t n);

#endif
