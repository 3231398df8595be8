/* Where an export's operators went: what the backend has, and what stays on the CPU. */
#ifndef DLX_CLI_PLACEMENT_H
#define DLX_CLI_PLACEMENT_H

#include "diffulex_edge/diffulex_edge.h"

#include "json.h"

typedef struct dlx_cli_placements {
    dlx_placement *rows; /* [n], malloc'd; `method` of each is not set: */
    char (*methods)[32]; /* [n] */
    size_t n, capacity;
    bool failed; /* memory is out: nothing is told */
} dlx_cli_placements;

/* dlx_placement_fn; ctx: a dlx_cli_placements, zeros at first. */
void dlx_cli_on_placement(void *ctx, const dlx_placement *placement);
void dlx_cli_placements_free(dlx_cli_placements *p);

/* "partition": [{"method": "forward", "home": "coreml", "delegates": 1, "operators": [...]}, ...] */
void dlx_cli_placements_json(dlx_cli_json *j, const dlx_cli_placements *p);
/* For people, of an export by `backend`; nothing for the first one, to which everything goes. */
void dlx_cli_placements_text(const dlx_cli_placements *p, const char *backend);

#endif
