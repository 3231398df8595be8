/* JSON output. Text that is not UTF-8 (a path may be anything) comes out with U+FFFD in place of the bad bytes. */
#include "json.h"

#include <math.h>
#include <string.h>

static void begin(dlx_cli_json *j, const char *key)
{
    if (j->comma) fputs(", ", j->out);
    j->comma = true;
    if (key) fprintf(j->out, "\"%s\": ", key);
}

void dlx_cli_json_key(dlx_cli_json *j, const char *key)
{
    begin(j, key);
}

/* Bytes of the UTF-8 character at s (n bytes are there), 0 when there is none. */
static size_t character(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80) return 1;
    size_t want = s[0] >= 0xC2 && s[0] < 0xE0   ? 2
                  : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
                  : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                                : 0;
    if (!want || want > n) return 0;
    for (size_t i = 1; i < want; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    bool bad = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) ||
               (s[0] == 0xF4 && s[1] > 0x8F);
    return bad ? 0 : want;
}

void dlx_cli_json_bytes(dlx_cli_json *j, const char *key, const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    begin(j, key);
    fputc('"', j->out);
    for (size_t i = 0, step; i < n; i += step) {
        size_t known = character(s + i, n - i);
        step = known ? known : 1;
        if (!known)
            fputs("\\ufffd", j->out);
        else if (s[i] == '"' || s[i] == '\\')
            fprintf(j->out, "\\%c", s[i]);
        else if (s[i] == '\n')
            fputs("\\n", j->out);
        else if (s[i] < 0x20 || s[i] == 0x7F)
            fprintf(j->out, "\\u%04x", s[i]);
        else
            fwrite(s + i, 1, step, j->out);
    }
    fputc('"', j->out);
}

void dlx_cli_json_text(dlx_cli_json *j, const char *key, const char *text)
{
    if (text) {
        dlx_cli_json_bytes(j, key, text, strlen(text));
        return;
    }
    begin(j, key);
    fputs("null", j->out);
}

void dlx_cli_json_open(dlx_cli_json *j, const char *key, char bracket)
{
    begin(j, key);
    fputc(bracket, j->out);
    j->comma = false;
}

void dlx_cli_json_close(dlx_cli_json *j, char bracket)
{
    fputc(bracket, j->out);
    j->comma = true;
}

void dlx_cli_json_int(dlx_cli_json *j, const char *key, int64_t value)
{
    begin(j, key);
    fprintf(j->out, "%lld", (long long)value);
}

void dlx_cli_json_number(dlx_cli_json *j, const char *key, double value, int digits)
{
    begin(j, key);
    if (isfinite(value))
        fprintf(j->out, "%.*g", digits, value);
    else
        fputs("null", j->out);
}

void dlx_cli_json_bool(dlx_cli_json *j, const char *key, bool value)
{
    begin(j, key);
    fputs(value ? "true" : "false", j->out);
}

void dlx_cli_json_ids(dlx_cli_json *j, const char *key, const int32_t *ids, size_t n)
{
    dlx_cli_json_open(j, key, '[');
    for (size_t i = 0; i < n; i++) dlx_cli_json_int(j, NULL, ids[i]);
    dlx_cli_json_close(j, ']');
}
