/* Reading JSON. */
#include "body.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAGS = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL };

static void describe(const json_error_t *e, dlx_srv_body_error *out)
{
    const char *what = "is not JSON", *text = "";
    char line[32] = "";
    switch (json_error_code(e)) {
    case json_error_duplicate_key: what = "names a member twice"; break;
    case json_error_null_byte_in_key: what = "has a member whose name has the character U+0000"; break;
    case json_error_stack_overflow: what = "is nested too deeply"; break;
    case json_error_numeric_overflow: what = "has a number that is too large"; break;
    default: text = e->text; break;
    }
    if (e->line > 1) snprintf(line, sizeof line, "line %d, ", e->line);
    snprintf(out->message, sizeof out->message, "%s: %scolumn %d%s%s", what, line, e->column, *text ? ": " : "", text);
}

/* ---- large numbers ----------------------------------------------------------------------------------------------- */

/* Where a walk over JSON is. Of text that is no JSON it ends somewhere; jansson finds out. */
typedef struct walk {
    const char *text; /* [n] NUL-terminated */
    size_t n, at;
    int depth, seed_depth;
    bool seed; /* the last string is a member "seed" at that depth, and its value follows */
} walk;

/* Behind a string, a whole number, or one character of anything else. */
static size_t next_end(walk *w)
{
    size_t end = w->at + 1;
    char c = w->text[w->at];
    w->depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    if (c == '"') {
        while (end < w->n && w->text[end] != '"') end += 1 + (w->text[end] == '\\');
        w->seed = w->depth == w->seed_depth && end - w->at == 5 && !memcmp(w->text + w->at, "\"seed", 5);
        end++;
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        while (end < w->n && w->text[end] >= '0' && w->text[end] <= '9') end++;
    } else if (c == ',' || c == '{' || c == '[') {
        w->seed = false;
    }
    return end < w->n ? end : w->n;
}

/* Writes the number that begins at the walk's place and ends at `end` where it is whole and jansson does not read it;
 * returns how many bytes that takes, 0 where it is left as it is. */
static int write_large(const walk *w, size_t end, char *out, size_t size)
{
    const char *number = w->text + w->at;
    bool seed = w->seed;
    if ((*number != '-' && (*number < '0' || *number > '9')) || strchr(".eE", w->text[end])) return 0;
    errno = 0;
    (void)strtoll(number, NULL, 10);
    if (!errno) return 0;
    errno = 0;
    unsigned long long bits = *number == '-' ? 0 : strtoull(number, NULL, 10);
    if (seed && bits && !errno) return snprintf(out, size, "%lld", (long long)bits);
    return snprintf(out, size, "%.*s.0", (int)(end - w->at), number);
}

/* A copy in which whole numbers that jansson does not read are written in another way; *m its length. */
static char *rewrite(const char *text, size_t n, int seed_depth, size_t *m)
{
    walk w = {.text = text, .n = n, .seed_depth = seed_depth};
    size_t size = n + n / 8 + 32; /* numbers of 19 digits and more grow by two */
    char *out = malloc(size);
    for (*m = 0; out && w.at < n;) {
        size_t end = next_end(&w);
        int written = write_large(&w, end, out + *m, size - *m);
        if (!written) memcpy(out + *m, text + w.at, end - w.at);
        *m += written ? (size_t)written : end - w.at;
        w.at = end;
    }
    return out;
}

/* ---- NUL --------------------------------------------------------------------------------------------------------- */

/* The first string with a NUL is named in `param`, behind what stands there already. */
static bool find_nul(const json_t *value, char *param, size_t size)
{
    const char *name;
    json_t *member;
    size_t n = strlen(param), i;
    if (json_is_string(value)) return strlen(json_string_value(value)) != json_string_length(value);
    json_object_foreach((json_t *)value, name, member)
    {
        snprintf(param + n, size - n, "%s%s", n ? "." : "", name);
        if (find_nul(member, param, size)) return true;
    }
    json_array_foreach(value, i, member)
    {
        snprintf(param + n, size - n, "[%zu]", i);
        if (find_nul(member, param, size)) return true;
    }
    param[n] = '\0';
    return false;
}

json_t *dlx_srv_body_read(const char *text, size_t n, int depth, dlx_srv_body_error *error)
{
    json_error_t e;
    *error = (dlx_srv_body_error){.message = ""};
    json_t *root = json_loadb(text, n, FLAGS, &e);
    if (!root && json_error_code(&e) == json_error_numeric_overflow) {
        size_t m;
        char *again = rewrite(text, n, depth, &m);
        root = again ? json_loadb(again, m, FLAGS, &e) : NULL;
        free(again);
    }
    if (!root) {
        describe(&e, error);
        return NULL;
    }
    if (!strstr(text, "\\u0000") || !find_nul(root, error->param, sizeof error->param)) return root;
    snprintf(error->message, sizeof error->message, "has the character U+0000, which no text may have, in '%.100s'",
             error->param);
    json_decref(root);
    return NULL;
}
