#include "hush.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static const int standard[2] = {STDOUT_FILENO, STDERR_FILENO};

dlx_cli_hush dlx_cli_hush_begin(bool errors)
{
    dlx_cli_hush h = {.was = {-1, -1}};
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0) return h;
    fflush(NULL);
    for (int i = 0; i < 1 + errors; i++) {
        h.was[i] = fcntl(standard[i], F_DUPFD_CLOEXEC, 3);
        if (h.was[i] >= 0) dup2(null, standard[i]);
    }
    close(null);
    return h;
}

void dlx_cli_hush_end(const dlx_cli_hush *h)
{
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        if (h->was[i] < 0) continue;
        dup2(h->was[i], standard[i]);
        close(h->was[i]);
    }
}
