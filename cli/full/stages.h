/* The line on the terminal for work in stages: which one, how far it is, rate, remaining time. */
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

#endif
