/* Results of a batch in a file. */
#define _XOPEN_SOURCE 700
#include "full/batch_results.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "full/batch_lines.h"
#include "output.h"

enum { SYNC_SECONDS = 5, MOST_RESULT = 1 << 30, ID_DIGITS = 24 };

static const char first_words[] = "{\"id\":\"batch_req_", second_words[] = "\",\"custom_id\":\"";

char *dlx_cli_result_line(const char *id, const char *custom_id, int status, const char *body, size_t *n)
{
    static const char format[] =
        "{\"id\":\"batch_req_%s\",\"custom_id\":%s,\"response\":{\"status_code\":%d,\"request_id\":\"req_%s\","
        "\"body\":%s},\"error\":null}\n";
    size_t most = sizeof format + 2 * strlen(id) + strlen(custom_id) + strlen(body) + 16;
    char *line = malloc(most);
    int length = line ? snprintf(line, most, format, id, custom_id, status, id, body) : 0;
    *n = (size_t)length;
    return line;
}

dlx_status dlx_cli_results_open(dlx_cli_results *r, const char *path, dlx_error *err)
{
    struct stat st;
    /* A pipe would be waited for, and a device has no end to go on from. */
    *r = (dlx_cli_results){.path = path, .fd = -1, .synced = dlx_cli_seconds()};
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return dlx_cli_error(err, DLX_E_INVALID, "'%s' is a folder, a device or a pipe; results go to a file", path);
    r->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
    if (r->fd < 0) return dlx_cli_error(err, DLX_E_IO, "cannot open '%s' for writing: %s", path, strerror(errno));
    return DLX_OK;
}

/* Whether text that ends too early may be the beginning of a result. */
static bool begins_result(const char *text, size_t n, const dlx_cli_ids *ids, bool known)
{
    const size_t first = sizeof first_words - 1, second = sizeof second_words - 1;
    while (n && !text[n - 1]) n--; /* what a file system leaves behind when the machine ends */
    if (memcmp(text, first_words, n < first ? n : first) != 0) return false;
    if (n <= first) return true;
    text += first;
    n -= first;
    for (size_t i = 0; i < n && i < ID_DIGITS; i++)
        if (!strchr("0123456789abcdef", text[i])) return false;
    if (n <= ID_DIGITS) return true;
    text += ID_DIGITS;
    n -= ID_DIGITS;
    if (memcmp(text, second_words, n < second ? n : second) != 0) return false;
    if (n <= second) return true;
    json_t *id = json_loadb(text + second - 1, n - second + 1, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, NULL);
    const dlx_cli_id *found = id ? dlx_cli_ids_find(ids, json_string_value(id), json_string_length(id)) : NULL;
    bool fits = !id || !known || (found && !found->done);
    json_decref(id);
    return fits;
}

static dlx_status refuse(const dlx_cli_results *r, size_t number, dlx_error *err)
{
    return dlx_cli_error(err, DLX_E_FORMAT, "'%s', line %zu is no result of a batch; name another output", r->path,
                         number);
}

static dlx_status take_line(const dlx_cli_results *r, dlx_cli_ids *ids, const char *line, size_t n, size_t number,
                            dlx_error *err)
{
    json_t *root = json_loadb(line, n, 0, NULL), *custom = json_object_get(root, "custom_id");
    bool result = json_is_string(custom) && json_object_get(root, "response") && json_object_get(root, "error");
    dlx_cli_id *id = result ? dlx_cli_ids_add(ids, json_string_value(custom), json_string_length(custom)) : NULL;
    if (id) id->done = 1;
    json_decref(root);
    if (!result) return refuse(r, number, err);
    return id ? DLX_OK : dlx_cli_error(err, DLX_E_NOMEM, "out of memory reading '%s'", r->path);
}

dlx_status dlx_cli_results_read(dlx_cli_results *r, dlx_cli_ids *ids, bool known, dlx_error *err)
{
    dlx_cli_line_reader reader = {.name = r->path, .fd = r->fd, .most = MOST_RESULT};
    const char *line;
    size_t n;
    dlx_status s;
    /* Where the file system has no locks, nobody keeps others from it. */
    if (flock(r->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return dlx_cli_error(err, DLX_E_INVALID,
                             "'%s' is being written by another batch; wait for its end, or name another output",
                             r->path);
    while ((s = dlx_cli_line_next(&reader, &line, &n, err)) == DLX_OK && line) {
        r->size = reader.begin;
        if (!reader.whole) {
            if (!begins_result(line, n, ids, known)) s = refuse(r, reader.number, err);
            break;
        }
        s = take_line(r, ids, line, n, reader.number, err);
        if (s != DLX_OK) break;
        r->size = reader.end;
    }
    dlx_cli_line_free(&reader);
    if (s != DLX_OK) return s;
    if (ftruncate(r->fd, (off_t)r->size) != 0 || lseek(r->fd, (off_t)r->size, SEEK_SET) < 0)
        return dlx_cli_error(err, DLX_E_IO, "cannot write '%s': %s", r->path, strerror(errno));
    return DLX_OK;
}

static dlx_status sync_now(dlx_cli_results *r, dlx_error *err)
{
    r->synced = dlx_cli_seconds();
    r->unsynced = false;
    if (fdatasync(r->fd) == 0 || errno == EINVAL || errno == ENOSYS) return DLX_OK;
    return dlx_cli_error(err, DLX_E_IO, "cannot write '%s' to its disk: %s", r->path, strerror(errno));
}

dlx_status dlx_cli_results_append(dlx_cli_results *r, const char *line, size_t n, dlx_error *err)
{
    size_t done = 0;
    while (done < n) {
        ssize_t wrote = write(r->fd, line + done, n - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) {
            int code = wrote ? errno : EIO;
            bool whole = ftruncate(r->fd, (off_t)r->size) == 0 && lseek(r->fd, (off_t)r->size, SEEK_SET) >= 0;
            return dlx_cli_error(err, DLX_E_IO, "cannot write '%s': %s%s", r->path, strerror(code),
                                 whole ? "" : "; its last line is cut short");
        }
        done += (size_t)wrote;
    }
    r->size += n;
    r->unsynced = true;
    return dlx_cli_seconds() - r->synced >= SYNC_SECONDS ? sync_now(r, err) : DLX_OK;
}

dlx_status dlx_cli_results_close(dlx_cli_results *r, dlx_error *err)
{
    if (r->fd < 0) return DLX_OK;
    dlx_status s = r->unsynced ? sync_now(r, err) : DLX_OK;
    if (close(r->fd) != 0 && s == DLX_OK)
        s = dlx_cli_error(err, DLX_E_IO, "cannot write '%s': %s", r->path, strerror(errno));
    r->fd = -1;
    return s;
}
