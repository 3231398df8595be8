/* export --validate: the file that was written against its checkpoint. */
#ifndef DLX_CLI_EXPORT_VALIDATE_H
#define DLX_CLI_EXPORT_VALIDATE_H

#include "diffulex_edge/export.h"

#include "arguments.h"
#include "full/stages.h"
#include "json.h"

typedef struct dlx_cli_validation {
    bool asked, only; /* --validate or --validate-only; the latter */
    double max_kl;    /* negative: any */
    dlx_validation found;
} dlx_cli_validation;

/* What the command line asks for, before anything is done. Anything but DLX_CLI_OK was reported. */
int dlx_cli_validation_read(dlx_cli_validation *v, const dlx_cli_arguments *a);
/* The options of the library for it. What they point to is of the command line, and `stages`. */
dlx_validate_options dlx_cli_validation_options(const dlx_cli_arguments *a, dlx_cli_stages *stages);
/* Runs it with a file that is there; as dlx_cli_validation_read. dlx_cli_validation_free in any case. */
int dlx_cli_validation_run(dlx_cli_validation *v, const dlx_cli_arguments *a, const char *model, const char *file);
void dlx_cli_validation_free(dlx_cli_validation *v);

void dlx_cli_validation_json(dlx_cli_json *j, const dlx_cli_validation *v); /* the member "validation" */
void dlx_cli_validation_text(const dlx_cli_validation *v);
/* The exit status that the figures make; says why when it is not DLX_CLI_OK. */
int dlx_cli_validation_judge(const dlx_cli_validation *v);

#endif
