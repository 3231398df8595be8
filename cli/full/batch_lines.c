/* A buffer over a descriptor. */
#include "full/batch_lines.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "input.h"
#include "output.h"

enum { LEAST_READ = 1 << 16, LOOK_MS = 50 };

/* Room for a read behind what is there. */
static dlx_status make_room(dlx_cli_line_reader *r, dlx_error *err)
{
    if (r->at) {
        memmove(r->bytes, r->bytes + r->at, r->n - r->at);
        r->offset += r->at;
        r->n -= r->at;
        r->seen -= r->at;
        r->at = 0;
    }
    if (r->n + LEAST_READ < r->capacity) return DLX_OK;
    if (r->n > r->most)
        return dlx_cli_error(err, DLX_E_LIMIT, "'%s', line %zu is longer than %zu bytes", r->name, r->number + 1,
                             r->most);
    size_t capacity = 2 * (r->n + LEAST_READ);
    char *grown = realloc(r->bytes, capacity);
    if (!grown) return dlx_cli_error(err, DLX_E_NOMEM, "out of memory reading '%s'", r->name);
    r->bytes = grown;
    r->capacity = capacity;
    return DLX_OK;
}

/* Waits in pieces, so that who is told to stop does. False: told so. */
static bool wait_for_input(const dlx_cli_line_reader *r)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    while (poll(&p, 1, LOOK_MS) <= 0)
        if (r->stopped && r->stopped(r->ctx)) return false;
    return true;
}

static dlx_status read_more(dlx_cli_line_reader *r, bool *stopped, dlx_error *err)
{
    ssize_t n;
    dlx_status s = make_room(r, err);
    if (s != DLX_OK) return s;
    do {
        *stopped = !wait_for_input(r);
        if (*stopped) return DLX_OK;
        n = read(r->fd, r->bytes + r->n, r->capacity - r->n - 1);
    } while (n < 0 && (errno == EINTR || errno == EAGAIN));
    if (n < 0) return dlx_cli_error(err, DLX_E_IO, "cannot read '%s': %s", r->name, strerror(errno));
    r->ended = n == 0;
    r->n += (size_t)n;
    return DLX_OK;
}

static dlx_status check_first(dlx_cli_line_reader *r, const char **line, size_t *n, dlx_error *err)
{
    if (dlx_cli_is_utf16(*line, *n))
        return dlx_cli_error(err, DLX_E_FORMAT, "'%s' is text in UTF-16; UTF-8 is expected", r->name);
    if (*n < 3 || memcmp(*line, "\xEF\xBB\xBF", 3) != 0) return DLX_OK;
    *line += 3;
    *n -= 3;
    return DLX_OK;
}

dlx_status dlx_cli_line_next(dlx_cli_line_reader *r, const char **line, size_t *n, dlx_error *err)
{
    char *end = NULL;
    bool stopped = false;
    *line = NULL;
    *n = 0;
    for (;;) {
        end = r->n > r->seen ? memchr(r->bytes + r->seen, '\n', r->n - r->seen) : NULL;
        r->seen = r->n;
        if (end || r->ended) break;
        dlx_status s = read_more(r, &stopped, err);
        if (s != DLX_OK || stopped) return s;
    }
    if (!end && r->at == r->n) return DLX_OK;
    r->whole = end;
    r->begin = r->offset + r->at;
    if (!end) end = r->bytes + r->n;
    *end = '\0';
    *line = r->bytes + r->at;
    *n = (size_t)(end - *line);
    r->at = r->seen = (size_t)(end - r->bytes) + r->whole;
    r->end = r->offset + r->at;
    if (*n > r->most)
        return dlx_cli_error(err, DLX_E_LIMIT, "'%s', line %zu is longer than %zu bytes", r->name, r->number + 1,
                             r->most);
    return ++r->number == 1 ? check_first(r, line, n, err) : DLX_OK;
}

bool dlx_cli_line_rewind(dlx_cli_line_reader *r)
{
    if (lseek(r->fd, 0, SEEK_SET) != 0) return false;
    r->at = r->n = r->seen = r->number = 0;
    r->offset = 0;
    r->ended = false;
    return true;
}

void dlx_cli_line_free(dlx_cli_line_reader *r)
{
    free(r->bytes);
    *r = (dlx_cli_line_reader){.fd = -1};
}
