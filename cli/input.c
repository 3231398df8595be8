/* Reading numbers, ids and files. */
#include "input.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"

enum { FIRST_READ = 1 << 16, LARGEST_TEXT = 1 << 28, SILENCE = 10 }; /* the last one: seconds */

bool dlx_cli_parse_int(const char *text, int64_t *out)
{
    char *end;
    if (!isdigit((unsigned char)text[*text == '-'])) return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end) return false;
    *out = value;
    return true;
}

static const char *skip(const char *s)
{
    return s + strspn(s, " \t\r\n");
}

dlx_status dlx_cli_parse_ids(const char *text, int32_t **ids, size_t *n, dlx_error *err)
{
    const char *s = skip(text);
    bool bracket = *s == '[';
    *n = 0;
    *ids = malloc((strlen(text) / 2 + 1) * sizeof **ids);
    if (!*ids) return dlx_cli_error(err, DLX_E_NOMEM, "out of memory reading token ids");
    if (bracket) s = skip(s + 1);
    while (*s && *s != ']') {
        char *end;
        errno = 0;
        long value = isdigit((unsigned char)s[*s == '-']) ? strtol(s, &end, 10) : -1;
        if (errno || value < 0 || value > INT32_MAX) break;
        (*ids)[(*n)++] = (int32_t)value;
        s = skip(end);
        if (*s != ',') break;
        s = skip(s + 1);
        if (!*s || *s == ']') s = ","; /* a comma with nothing behind it */
    }
    if (bracket && *s == ']')
        s = skip(s + 1);
    else if (bracket)
        s = "[";
    if (!*s && *n) return DLX_OK;
    free(*ids);
    *ids = NULL;
    *n = 0;
    return dlx_cli_error(err, DLX_E_INVALID,
                         "token ids: expected numbers from 0 to %d with commas between them, as in 1,2,3, got '%.60s'",
                         INT32_MAX, text);
}

/* ---- whole texts ------------------------------------------------------------------------------------------------ */

static bool is_standard(const char *path)
{
    return !strcmp(path, "-") || !strcmp(path, "/dev/stdin");
}

/* A FIFO that nobody writes to is not waited for here; see wait_for. */
static dlx_status open_input(int *fd, const char *path, bool *waits, dlx_error *err)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (*fd < 0) return dlx_cli_error(err, DLX_E_IO, "cannot open '%s': %s", path, strerror(errno));
    *waits = fstat(*fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
    return DLX_OK;
}

/* Until something can be read, or the end is there; whoever is silent for too long is not waited for. */
static dlx_status wait_for(int fd, const char *name, dlx_error *err)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;
    while ((n = poll(&p, 1, 1000 * SILENCE)) < 0 && errno == EINTR) {}
    if (n > 0) return DLX_OK;
    if (n < 0) return dlx_cli_error(err, DLX_E_IO, "cannot wait for '%s': %s", name, strerror(errno));
    return dlx_cli_error(err, DLX_E_IO, "nothing came from '%s' for %d seconds; is it a pipe that somebody writes to?",
                         name, SILENCE);
}

/* At most `room` bytes; *got is 0 at the end. */
static dlx_status read_some(char *out, size_t room, size_t *got, int fd, bool waits, const char *name, dlx_error *err)
{
    for (;;) {
        dlx_status s = waits ? wait_for(fd, name, err) : DLX_OK;
        if (s != DLX_OK) return s;
        ssize_t n = read(fd, out, room);
        if (n >= 0) {
            *got = (size_t)n;
            return DLX_OK;
        }
        if (errno != EINTR && errno != EAGAIN)
            return dlx_cli_error(err, DLX_E_IO, "cannot read '%s': %s", name, strerror(errno));
        if (errno == EAGAIN && !waits && (s = wait_for(fd, name, err)) != DLX_OK) return s;
    }
}

static dlx_status read_to_end(char **text, size_t *n, int fd, bool waits, const char *name, dlx_error *err)
{
    char *p = NULL;
    size_t used = 0, room = 0, got = 1;
    dlx_status s = DLX_OK;
    while (s == DLX_OK && got) {
        if (room - used < 2) {
            room = room ? room * 2 : FIRST_READ;
            char *more = room <= LARGEST_TEXT ? realloc(p, room) : NULL;
            if (!more) {
                s = dlx_cli_error(err, DLX_E_LIMIT, "'%s' is too long: it does not fit %d bytes", name, LARGEST_TEXT);
                break;
            }
            p = more;
        }
        s = read_some(p + used, room - used - 1, &got, fd, waits, name, err);
        if (s == DLX_OK) used += got;
    }
    if (s != DLX_OK) {
        free(p);
        return s;
    }
    p[used] = '\0';
    *text = p;
    *n = used;
    return DLX_OK;
}

dlx_status dlx_cli_read_all(const char *path, char **text, size_t *n, dlx_error *err)
{
    bool standard = is_standard(path), waits = false;
    int fd = STDIN_FILENO;
    dlx_status s = DLX_OK;
    *text = NULL;
    *n = 0;
    if (!standard) s = open_input(&fd, path, &waits, err);
    if (s != DLX_OK) return s;
    s = read_to_end(text, n, fd, waits, standard ? "standard input" : path, err);
    if (!standard) close(fd);
    return s;
}

bool dlx_cli_is_utf16(const char *text, size_t n)
{
    return n >= 2 && (!memcmp(text, "\xFF\xFE", 2) || !memcmp(text, "\xFE\xFF", 2));
}

dlx_status dlx_cli_read_source(const char *path, char **text, size_t *n, dlx_error *err)
{
    static const char mark[] = "\xEF\xBB\xBF";
    dlx_status s = dlx_cli_read_all(path, text, n, err);
    if (s != DLX_OK) return s;
    char *p = *text;
    if (dlx_cli_is_utf16(p, *n)) {
        free(p);
        *text = NULL;
        *n = 0;
        return dlx_cli_error(err, DLX_E_FORMAT, "'%s' is text in UTF-16; UTF-8 is expected",
                             is_standard(path) ? "standard input" : path);
    }
    if (*n < sizeof mark - 1 || memcmp(p, mark, sizeof mark - 1) != 0) return DLX_OK;
    *n -= sizeof mark - 1;
    memmove(p, p + sizeof mark - 1, *n + 1);
    return DLX_OK;
}

dlx_status dlx_cli_read_text(const char *path, char **text, size_t *n, dlx_error *err)
{
    dlx_status s = dlx_cli_read_source(path, text, n, err);
    if (s != DLX_OK) return s;
    char *p = *text;
    if (*n && p[*n - 1] == '\n') {
        --*n;
        if (*n && p[*n - 1] == '\r') --*n;
    }
    p[*n] = '\0';
    return DLX_OK;
}

bool dlx_cli_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

size_t dlx_cli_trimmed(const char *text, size_t n)
{
    while (n && (text[n - 1] == ' ' || (text[n - 1] >= '\t' && text[n - 1] <= '\r'))) n--;
    return n;
}
