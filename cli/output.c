/* Messages, terminals, progress and interrupts. */
#include "output.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"

static volatile sig_atomic_t caught; /* signal that asks to stop, 0: none */
static int output_error;             /* errno of the first print that failed */
static double progress_time;
static volatile sig_atomic_t progress_shown; /* a signal handler wipes the line out */
static char progress_wipe[8];

/* ---- messages --------------------------------------------------------------------------------------------------- */

bool dlx_cli_flush(void)
{
    int before = ferror(stdout) ? errno : 0;
    errno = 0;
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    if (failed && !output_error) output_error = errno ? errno : before ? before : EIO;
    return !output_error;
}

int dlx_cli_output_error(void)
{
    return output_error;
}

void dlx_cli_message(const char *format, ...)
{
    va_list list;
    dlx_cli_flush();
    dlx_cli_progress_end();
    fputs("diffulex-edge: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
}

int dlx_cli_fail(const dlx_error *err)
{
    dlx_cli_message("%s", err->message);
    return DLX_CLI_FAILED;
}

int dlx_cli_out_of_memory(void)
{
    dlx_cli_message("out of memory");
    return DLX_CLI_FAILED;
}

dlx_status dlx_cli_error(dlx_error *err, dlx_status status, const char *format, ...)
{
    va_list list;
    if (!err) return status;
    err->status = status;
    va_start(list, format);
    vsnprintf(err->message, sizeof err->message, format, list);
    va_end(list);
    return status;
}

/* ---- terminals -------------------------------------------------------------------------------------------------- */

bool dlx_cli_is_terminal(FILE *f)
{
    return isatty(fileno(f)) == 1;
}

bool dlx_cli_moves(FILE *f)
{
    const char *term = getenv("TERM");
    return dlx_cli_is_terminal(f) && term && *term && strcmp(term, "dumb") != 0;
}

bool dlx_cli_colours(FILE *f)
{
    const char *no_colour = getenv("NO_COLOR");
    return dlx_cli_moves(f) && !(no_colour && *no_colour);
}

int dlx_cli_columns(FILE *f)
{
    struct winsize size;
    if (ioctl(fileno(f), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    const char *columns = getenv("COLUMNS");
    int n = columns ? atoi(columns) : 0;
    return n > 0 ? n : 80;
}

int dlx_cli_rows(FILE *f)
{
    struct winsize size;
    return ioctl(fileno(f), TIOCGWINSZ, &size) == 0 && size.ws_row > 1 ? size.ws_row : 24;
}

void dlx_cli_put_text(FILE *f, const char *text, size_t n)
{
    if (!dlx_cli_is_terminal(f)) {
        fwrite(text, 1, n, f);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        bool c1 = c == 0xC2 && i + 1 < n && ((unsigned char)text[i + 1] & 0xE0) == 0x80;
        if (c1) i++;
        fputc(c1 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7F ? '?' : c, f);
    }
}

/* ---- progress --------------------------------------------------------------------------------------------------- */

void dlx_cli_progress(bool now, const char *format, ...)
{
    double t = dlx_cli_seconds();
    if (!dlx_cli_is_terminal(stderr) || (!now && t - progress_time < 0.1)) return;
    char line[512];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    int columns = dlx_cli_columns(stderr);
    bool moves = dlx_cli_moves(stderr);
    progress_time = t;
    snprintf(progress_wipe, sizeof progress_wipe, moves ? "\r\033[K" : "\n");
    progress_shown = true;
    if (moves)
        fprintf(stderr, "\r%.*s\033[K", columns - 1, line);
    else
        fprintf(stderr, "\r%-*.*s", columns - 1, columns - 1, line);
    fflush(stderr);
}

void dlx_cli_progress_end(void)
{
    if (!progress_shown) return;
    progress_shown = false;
    if (dlx_cli_moves(stderr))
        fputs("\r\033[K", stderr);
    else
        fprintf(stderr, "\r%*s\r", dlx_cli_columns(stderr) - 1, "");
    fflush(stderr);
}

void dlx_cli_wait_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    if (ms > 0) nanosleep(&t, NULL);
}

double dlx_cli_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t dlx_cli_peak_memory(void)
{
    /* What getrusage counts survives exec: a child of a large program would state the peak of its parent. */
    unsigned long long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/self/status", "re");
    while (f && !kib && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %llu kB", &kib) != 1) kib = 0;
    if (f) fclose(f);
    if (kib) return (uint64_t)kib * 1024;
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#if defined(__APPLE__)
    return (uint64_t)usage.ru_maxrss;
#else
    return (uint64_t)usage.ru_maxrss * 1024;
#endif
}

const char *dlx_cli_bytes(char buffer[32], uint64_t bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 999.95 && unit + 1 < sizeof units / sizeof *units; unit++) value /= 1000;
    snprintf(buffer, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return buffer;
}

/* ---- interrupts ------------------------------------------------------------------------------------------------- */

/* What handlers read. */
typedef enum signal_mode {
    SIGNAL_ENDS,  /* the program, at once */
    SIGNAL_ASKS,  /* the first asks, the second ends */
    SIGNAL_TALKS, /* asks; SIGINT any number of times */
    SIGNAL_LATE,  /* the work is done: the first does nothing, the second ends what is left of the program */
} signal_mode;

static volatile sig_atomic_t mode;

static void on_signal(int number)
{
    if (mode == SIGNAL_LATE) {
        if (caught) _exit(DLX_CLI_OK);
        caught = number;
        return;
    }
    bool again = caught && !(mode == SIGNAL_TALKS && number == SIGINT);
    if (mode == SIGNAL_ENDS || again) {
        ssize_t written = progress_shown ? write(STDERR_FILENO, progress_wipe, strlen(progress_wipe)) : 0;
        (void)written;
        _exit(128 + number);
    }
    caught = number;
}

static void handle_signals(signal_mode next, int flags)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags}, before;
    sigemptyset(&action.sa_mask);
    mode = next;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        /* nohup, and a shell that puts a job into the background: what they ignore stays ignored. */
        bool ignored = sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN;
        if (!ignored) sigaction(numbers[i], &action, NULL);
    }
}

void dlx_cli_end_on_signals(void)
{
    handle_signals(SIGNAL_ENDS, SA_RESTART);
}

void dlx_cli_catch_interrupts(void)
{
    handle_signals(SIGNAL_ASKS, SA_RESTART);
}

void dlx_cli_output_is_there(void)
{
    handle_signals(SIGNAL_LATE, SA_RESTART);
    caught = 0;
}

bool dlx_cli_interrupted(void)
{
    return caught != 0;
}

int dlx_cli_signal(void)
{
    return mode == SIGNAL_LATE ? 0 : caught;
}

void dlx_cli_rearm_interrupts(void)
{
    if (caught == SIGINT) caught = 0;
    handle_signals(SIGNAL_TALKS, 0);
}
