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
    char speed[64] = ""; /* nothing until something was done */
    if (rate > 0 && total)
        snprintf(speed, sizeof speed, "  %.0f rows/s  %.0f s left", rate, (double)(total - done) / rate);
    else if (rate > 0)
        snprintf(speed, sizeof speed, "  %.0f rows/s", rate);
    if (total)
        dlx_cli_progress(done == total, "%s %3.0f %%%s", stage, 100.0 * (double)done / (double)total, speed);
    else
        dlx_cli_progress(false, "%s  %llu rows%s", stage, (unsigned long long)done, speed);
    s->last = now;
    return !dlx_cli_interrupted();
}

void dlx_cli_on_notice(void *ctx, const char *sentence)
{
    (void)ctx;
    dlx_cli_message("note: %s", sentence);
}
