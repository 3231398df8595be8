/* What an export made, told from the file itself: parts, linear layers by form, the memory that running it will take.
 */
#ifndef DLX_CLI_EXPORT_REPORT_H
#define DLX_CLI_EXPORT_REPORT_H

#include <jansson.h>

#include "diffulex_edge/diffulex_edge.h"

#include "json.h"

/* The file's description for one session of max_context positions (0: the file's bound). json_decref it. */
dlx_status dlx_cli_export_report(json_t **out, const char *path, int32_t max_context, dlx_error *err);
/* "parts", "linears" and "memory", as inspect has them. */
void dlx_cli_export_report_json(dlx_cli_json *j, const json_t *report);
/* The same for people, a line each. */
void dlx_cli_export_report_text(const json_t *report);

#endif
