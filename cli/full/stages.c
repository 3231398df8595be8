#include "full/stages.h"

#include <stdio.h>
#include <string.h>

#include "output.h"

bool dlx_cli_on_stage(void *ctx, const char *stage, uint64_t done, uint64_t total)
{
    dlx_cli_stages *s = ctx;
    double now = dlx_cli_seconds();
    if (strcmp(stage, s->name) != 0) {
        snprintf(s->name, sizeof s->name, "%s", stage);
        s->begin = now;
        s->first = done;
    }
    double seconds = now - s->begin, rate = seconds > 0 ? (double)(done - s->first) / seconds : 0;
    if (total)
        dlx_cli_progress(done == total, "%s %3.0f %%  %.0f rows/s  %.0f s left", stage,
                         100.0 * (double)done / (double)total, rate, rate > 0 ? (double)(total - done) / rate : 0.0);
    else
        dlx_cli_progress(false, "%s  %llu rows  %.0f rows/s", stage, (unsigned long long)done, rate);
    s->last = now;
    return !dlx_cli_interrupted();
}

void dlx_cli_on_notice(void *ctx, const char *sentence)
{
    (void)ctx;
    dlx_cli_message("note: %s", sentence);
}
