/* Reading and checking requests. */
#include "full/batch_input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "server.h"

enum { MOST_LINE = 32 << 20 };

dlx_status dlx_cli_requests_open(dlx_cli_requests *r, const char *path, dlx_error *err)
{
    bool standard = !strcmp(path, "-");
    struct stat st;
    *r = (dlx_cli_requests){.lines = {.name = standard ? "standard input" : path, .most = MOST_LINE}};
    dlx_cli_ids_open(&r->ids);
    r->lines.fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (r->lines.fd < 0 || fstat(r->lines.fd, &st) != 0)
        return dlx_cli_error(err, DLX_E_IO, "cannot open '%s': %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode)) return dlx_cli_error(err, DLX_E_INVALID, "'%s' is a folder, not a file of requests", path);
    /* The standard input may be a file of which somebody read the beginning. */
    r->pipe = standard || !S_ISREG(st.st_mode);
    return DLX_OK;
}

void dlx_cli_requests_free(dlx_cli_requests *r)
{
    if (r->lines.fd >= 0) close(r->lines.fd);
    dlx_cli_line_free(&r->lines);
    dlx_cli_ids_close(&r->ids);
}

/* What is wrong with the line, or NULL. */
static const char *read_request(dlx_cli_request *q, char why[200])
{
    const char *method = json_string_value(json_object_get(q->root, "method"));
    q->custom_id = json_string_value(json_object_get(q->root, "custom_id"));
    q->url = json_string_value(json_object_get(q->root, "url"));
    q->body = json_object_get(q->root, "body");
    if (!json_is_object(q->root)) return "it is no JSON object";
    if (!q->custom_id || !*q->custom_id) return "it has no text \"custom_id\"";
    if (!method || strcmp(method, "POST") != 0) return "its \"method\" is not \"POST\"";
    if (!q->url) return "it has no text \"url\", as \"/v1/chat/completions\"";
    if (!json_is_object(q->body)) return "it has no object \"body\"";
    if (dlx_server_takes(q->url)) return NULL;
    snprintf(why, 200, "requests cannot be posted to its \"url\" '%.100s'; /v1/chat/completions is one that can",
             q->url);
    return why;
}

static dlx_status wrong(const dlx_cli_requests *r, const char *why, dlx_error *err)
{
    return dlx_cli_error(err, DLX_E_FORMAT, "'%s', line %zu: %s", r->lines.name, r->lines.number, why);
}

/* The next line that holds something, checked, and the entry of its id; root is NULL at the end. */
static dlx_status next_line(dlx_cli_requests *r, dlx_cli_request *q, dlx_cli_id **id, dlx_error *err)
{
    const char *line, *why;
    char text[200], problem[300];
    size_t n;
    *q = (dlx_cli_request){0};
    do {
        dlx_status s = dlx_cli_line_next(&r->lines, &line, &n, err);
        if (s != DLX_OK || !line) return s;
    } while (strspn(line, " \t\r") == n);
    q->root = dlx_server_read(line, n, 1, problem, sizeof problem);
    if (!q->root)
        return dlx_cli_error(err, DLX_E_FORMAT, "'%s', line %zu: it %s", r->lines.name, r->lines.number, problem);
    why = read_request(q, text);
    dlx_status s = why ? wrong(r, why, err) : DLX_OK;
    *id = s == DLX_OK ? dlx_cli_ids_add(&r->ids, q->custom_id, strlen(q->custom_id)) : NULL;
    if (s == DLX_OK && !*id) s = dlx_cli_error(err, DLX_E_NOMEM, "out of memory reading '%s'", r->lines.name);
    if (s == DLX_OK && ((*id)->taken || ((*id)->line && (*id)->line != r->lines.number))) {
        snprintf(text, sizeof text, "it has the custom_id '%.80s' of line %llu; results are told apart by them",
                 q->custom_id, (unsigned long long)(*id)->line);
        s = wrong(r, text, err);
    }
    if (s == DLX_OK && !(*id)->line) {
        (*id)->line = r->lines.number & (((uint64_t)1 << 60) - 1);
        r->n++;
    }
    if (s == DLX_OK) return DLX_OK;
    json_decref(q->root);
    q->root = NULL;
    return s;
}

dlx_status dlx_cli_requests_check(dlx_cli_requests *r, dlx_error *err)
{
    dlx_cli_request q;
    dlx_cli_id *id;
    if (r->pipe) return DLX_OK;
    for (;;) {
        dlx_status s = next_line(r, &q, &id, err);
        if (s != DLX_OK) return s;
        if (!q.root) break;
        json_decref(q.root);
    }
    if (!r->n) return dlx_cli_error(err, DLX_E_FORMAT, "'%s' has no line to read", r->lines.name);
    if (dlx_cli_line_rewind(&r->lines)) return DLX_OK;
    return dlx_cli_error(err, DLX_E_IO, "cannot read '%s' again: %s", r->lines.name, strerror(errno));
}

void dlx_cli_requests_count(dlx_cli_requests *r)
{
    r->answered = 0;
    for (size_t i = 0; i < r->ids.capacity; i++)
        r->answered += r->ids.table[i].used && r->ids.table[i].line && r->ids.table[i].done;
}

dlx_status dlx_cli_requests_next(dlx_cli_requests *r, dlx_cli_request *out, dlx_error *err)
{
    dlx_cli_id *id;
    for (;;) {
        dlx_status s = next_line(r, out, &id, err);
        if (s != DLX_OK || !out->root) return s;
        id->taken = 1;
        if (!id->done) return DLX_OK;
        if (r->pipe) r->answered++;
        json_decref(out->root);
    }
}
