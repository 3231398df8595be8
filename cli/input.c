/* Reading numbers, ids and files. */
#include "input.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "output.h"

enum { FIRST_READ = 1 << 16, LARGEST_TEXT = 1 << 28 };

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

dlx_status dlx_cli_read_all(const char *path, char **text, size_t *n, dlx_error *err)
{
    bool standard = !strcmp(path, "-");
    const char *name = standard ? "standard input" : path;
    *text = NULL;
    *n = 0;
    FILE *f = standard ? stdin : fopen(path, "rb");
    if (!f) return dlx_cli_error(err, DLX_E_IO, "cannot open '%s': %s", name, strerror(errno));
    char *p = NULL;
    size_t used = 0, room = 0;
    dlx_status s = DLX_OK;
    for (;;) {
        if (room - used < 2) {
            room = room ? room * 2 : FIRST_READ;
            char *more = room <= LARGEST_TEXT ? realloc(p, room) : NULL;
            if (!more) {
                s = dlx_cli_error(err, DLX_E_LIMIT, "'%s' is too long: it does not fit %d bytes", name, LARGEST_TEXT);
                break;
            }
            p = more;
        }
        size_t got = fread(p + used, 1, room - used - 1, f);
        used += got;
        if (!got) break;
    }
    if (s == DLX_OK && ferror(f)) s = dlx_cli_error(err, DLX_E_IO, "cannot read '%s': %s", name, strerror(errno));
    if (!standard) fclose(f);
    if (s != DLX_OK) {
        free(p);
        return s;
    }
    p[used] = '\0';
    *text = p;
    *n = used;
    return DLX_OK;
}

dlx_status dlx_cli_read_text(const char *path, char **text, size_t *n, dlx_error *err)
{
    static const char mark[] = "\xEF\xBB\xBF";
    dlx_status s = dlx_cli_read_all(path, text, n, err);
    if (s != DLX_OK) return s;
    char *p = *text;
    if (*n >= sizeof mark - 1 && !memcmp(p, mark, sizeof mark - 1)) {
        *n -= sizeof mark - 1;
        memmove(p, p + sizeof mark - 1, *n);
    }
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
