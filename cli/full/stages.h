/* What the terminal shows of work in stages: which one, how far it is, rate, remaining time; and notices. */
#ifndef DLX_CLI_STAGES_H
#define DLX_CLI_STAGES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct dlx_cli_stages {
    char name[64]; /* "": none yet */
    double begin;  /* of this stage; seconds */
    uint64_t first;
    double last; /* when something was heard; at first, when work began */
} dlx_cli_stages;

/* A dlx_stage_fn; ctx is the dlx_cli_stages. A signal that asks to stop ends the work. */
bool dlx_cli_on_stage(void *ctx, const char *stage, uint64_t done, uint64_t total);
/* A dlx_notice_fn; ctx is not looked at. */
void dlx_cli_on_notice(void *ctx, const char *sentence);

#endif
