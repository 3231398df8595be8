#define _XOPEN_SOURCE 700
#include "lines.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/types.h>
#include <unistd.h>
#include <wchar.h>

#if defined(DLX_HAVE_LIBEDIT)
#include <histedit.h>
#endif

#include "input.h"
#include "output.h"

struct dlx_cli_lines {
    bool interactive;
    bool begun; /* a line was read */
    const char *prompt;
    char *buffer; /* plain reading */
    size_t capacity;
#if defined(DLX_HAVE_LIBEDIT)
    EditLine *edit;
    History *history;
    char *line; /* edited line without its end */
#endif
};

#if defined(DLX_HAVE_LIBEDIT)
static char *prompt_of(EditLine *edit)
{
    dlx_cli_lines *l;
    el_get(edit, EL_CLIENTDATA, &l);
    return (char *)(uintptr_t)l->prompt;
}

/* Waits for the terminal; false after Ctrl-C. The signal is let in only while waiting, so none comes between looking at
 * the flag and waiting. */
static bool wait_for_input(void)
{
    sigset_t interrupt, before;
    int ready = 0;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigaddset(&interrupt, SIGTERM);
    sigaddset(&interrupt, SIGHUP);
    sigprocmask(SIG_BLOCK, &interrupt, &before);
    while (!dlx_cli_interrupted() && ready == 0) {
        fd_set input;
        FD_ZERO(&input);
        FD_SET(STDIN_FILENO, &input);
        ready = pselect(STDIN_FILENO + 1, &input, NULL, NULL, NULL, &before);
        if (ready < 0 && errno == EINTR) ready = 0; /* another signal: the window's size, for example */
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return !dlx_cli_interrupted();
}

/* One character of the terminal. libedit's own reader goes on after a signal; here Ctrl-C has to end the line. */
static int read_character(EditLine *edit, wchar_t *out)
{
    mbstate_t state = {0};
    (void)edit;
    for (;;) {
        char c;
        if (!wait_for_input()) return -1;
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return (int)n;
        size_t step = mbrtowc(out, &c, 1, &state);
        if (step == (size_t)-2) continue;
        if (step == (size_t)-1) {
            memset(&state, 0, sizeof state);
            continue;
        }
        return 1;
    }
}

static bool open_editor(dlx_cli_lines *l)
{
    HistEvent event;
    l->edit = el_init("diffulex-edge", stdin, stdout, stderr);
    l->history = history_init();
    if (!l->edit || !l->history) return false;
    history(l->history, &event, H_SETSIZE, 1000);
    el_set(l->edit, EL_CLIENTDATA, l);
    el_set(l->edit, EL_PROMPT, prompt_of);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_HIST, history, l->history);
    el_set(l->edit, EL_GETCFN, read_character);
    return true;
}

static dlx_cli_line edit_line(dlx_cli_lines *l, const char **line)
{
    int count = 0;
    HistEvent event;
    /* el_gets does this itself, but behind the prompt: a Ctrl-D that answers it at once would be lost. */
    el_set(l->edit, EL_PREP_TERM, 1);
    const char *text = el_gets(l->edit, &count);
    if (!text || count <= 0) {
        putchar('\n');
        dlx_cli_flush();
        return count < 0 || dlx_cli_interrupted() ? DLX_CLI_LINE_INTERRUPTED : DLX_CLI_LINE_END;
    }
    free(l->line);
    l->line = strdup(text);
    if (!l->line) return DLX_CLI_LINE_END;
    l->line[strcspn(l->line, "\n")] = '\0';
    if (*l->line) history(l->history, &event, H_ENTER, l->line);
    *line = l->line;
    return DLX_CLI_LINE;
}
#endif

dlx_cli_lines *dlx_cli_lines_open(void)
{
    dlx_cli_lines *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->interactive = dlx_cli_is_terminal(stdin);
#if defined(DLX_HAVE_LIBEDIT)
    if (l->interactive && dlx_cli_moves(stdout) && !open_editor(l)) {
        dlx_cli_lines_close(l);
        return NULL;
    }
#endif
    return l;
}

void dlx_cli_lines_close(dlx_cli_lines *l)
{
    if (!l) return;
#if defined(DLX_HAVE_LIBEDIT)
    if (l->history) history_end(l->history);
    if (l->edit) el_end(l->edit);
    free(l->line);
#endif
    free(l->buffer);
    free(l);
}

bool dlx_cli_lines_interactive(const dlx_cli_lines *l)
{
    return l->interactive;
}

dlx_cli_line dlx_cli_lines_read(dlx_cli_lines *l, const char *prompt, const char **line)
{
    l->prompt = prompt;
    *line = NULL;
#if defined(DLX_HAVE_LIBEDIT)
    if (l->edit) return edit_line(l, line);
#endif
    if (l->interactive) {
        fputs(prompt, stdout);
        dlx_cli_flush();
    }
    errno = 0;
    ssize_t n = getline(&l->buffer, &l->capacity, stdin);
    if (n < 0) {
        int code = errno;
        bool interrupted = code == EINTR || dlx_cli_interrupted(), failed = ferror(stdin) && !l->interactive;
        if (l->interactive) putchar('\n');
        clearerr(stdin);
        errno = code;
        return interrupted ? DLX_CLI_LINE_INTERRUPTED : failed ? DLX_CLI_LINE_FAILED : DLX_CLI_LINE_END;
    }
    if (!l->begun && dlx_cli_is_utf16(l->buffer, (size_t)n)) return DLX_CLI_LINE_UTF16;
    l->buffer[strcspn(l->buffer, "\n")] = '\0';
    size_t length = strlen(l->buffer);
    if (length && l->buffer[length - 1] == '\r') l->buffer[length - 1] = '\0';
    bool marked = !l->begun && !strncmp(l->buffer, "\xEF\xBB\xBF", 3); /* a file with a byte-order mark */
    l->begun = true;
    *line = l->buffer + (marked ? 3 : 0);
    return DLX_CLI_LINE;
}
