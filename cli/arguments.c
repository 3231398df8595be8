/* Parsing command lines against the tables of arguments.h. */
#include "arguments.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "input.h"
#include "output.h"

enum { LONGEST_NAME = 64 };

/* One name of a command line: what the tables know about it. */
typedef struct match {
    const dlx_cli_option *option; /* of the command, or NULL */
    const char *decode;           /* name of a decode option, or NULL */
    bool flag;
    bool negated; /* --no-name */
} match;

int dlx_cli_usage(const dlx_cli_command *command, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    dlx_cli_message("%s; 'diffulex-edge %s%s--help' lists what there is", text, command ? command->name : "",
                    command ? " " : "");
    return DLX_CLI_USAGE;
}

int dlx_cli_too_many(const dlx_cli_arguments *a, int next)
{
    return dlx_cli_usage(a->command, "%s does not know what to do with '%s'", a->command->name, a->positional[next]);
}

bool dlx_cli_offers(const dlx_option_info *info)
{
    return strcmp(info->name, "n_cached") != 0;
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

static char plain(char c)
{
    return c == '_' ? '-' : c;
}

static bool same_name(const char *a, const char *b)
{
    while (*a && plain(*a) == plain(*b)) {
        a++;
        b++;
    }
    return *a == *b;
}

size_t dlx_cli_distance(const char *a, const char *b)
{
    size_t row[LONGEST_NAME + 1], n = strlen(b);
    if (n > LONGEST_NAME || strlen(a) > LONGEST_NAME) return LONGEST_NAME;
    for (size_t k = 0; k <= n; k++) row[k] = k;
    for (size_t i = 0; a[i]; i++) {
        size_t corner = row[0];
        row[0] = i + 1;
        for (size_t k = 0; k < n; k++) {
            size_t best = corner + (plain(a[i]) != plain(b[k]));
            corner = row[k + 1];
            if (row[k] + 1 < best) best = row[k] + 1;
            if (corner + 1 < best) best = corner + 1;
            row[k + 1] = best;
        }
    }
    return row[n];
}

static bool find(match *m, const dlx_cli_command *command, const char *name)
{
    for (size_t i = 0; i < command->n_options; i++)
        if (same_name(command->options[i].name, name)) {
            m->option = &command->options[i];
            m->flag = m->option->kind == DLX_CLI_FLAG;
            return true;
        }
    dlx_option_info info = {.struct_size = sizeof info};
    for (size_t i = 0; command->decodes && dlx_decode_option_info(i, &info); i++)
        if (dlx_cli_offers(&info) && same_name(info.name, name)) {
            m->decode = info.name;
            m->flag = !strcmp(info.kind, "bool");
            return true;
        }
    return false;
}

static void keep_nearest(const char *name, const char *candidate, const char **best, size_t *distance)
{
    size_t d = dlx_cli_distance(name, candidate);
    /* A name that was only begun is near, too. */
    if (strlen(name) >= 3 && !strncmp(name, candidate, strlen(name))) d = 1;
    if (d < *distance) {
        *distance = d;
        *best = candidate;
    }
}

static int unknown_option(const dlx_cli_command *command, const char *name)
{
    const char *best = NULL;
    size_t distance = strlen(name) / 2 + 1;
    dlx_option_info info = {.struct_size = sizeof info};
    for (size_t i = 0; i < command->n_options; i++) keep_nearest(name, command->options[i].name, &best, &distance);
    for (size_t i = 0; command->decodes && dlx_decode_option_info(i, &info); i++)
        if (dlx_cli_offers(&info)) keep_nearest(name, info.name, &best, &distance);
    char nearest[LONGEST_NAME + 1];
    snprintf(nearest, sizeof nearest, "%s", best ? best : "");
    for (char *s = nearest; *s; s++) *s = plain(*s);
    if (best) return dlx_cli_usage(command, "%s has no option --%s; did you mean --%s?", command->name, name, nearest);
    return dlx_cli_usage(command, "%s has no option --%s", command->name, name);
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static int keep_decode(dlx_cli_arguments *a, const char *name, const char *value)
{
    dlx_error err;
    if (dlx_decode_options_set(a->decode, name, value, &err) != DLX_OK)
        return dlx_cli_usage(a->command, "%s", err.message);
    a->decode_given[a->n_decode_given++] = (dlx_cli_given){name, value};
    return DLX_CLI_OK;
}

static int keep_option(dlx_cli_arguments *a, const dlx_cli_option *option, const char *value)
{
    int64_t number;
    bool any_text = option->kind == DLX_CLI_TEXT && !strcmp(option->value, "TEXT");
    if (!*value && option->kind == DLX_CLI_TEXT && !any_text)
        return dlx_cli_usage(a->command, "--%s is empty; expected %s", option->name, option->value);
    if (option->kind == DLX_CLI_INT &&
        (!dlx_cli_parse_int(value, &number) || number < option->min || number > option->max))
        return dlx_cli_usage(a->command, "--%s: expected a whole number from %lld to %lld, got '%s'", option->name,
                             (long long)option->min, (long long)option->max, value);
    a->given[a->n_given++] = (dlx_cli_given){option->name, value};
    return DLX_CLI_OK;
}

static const char *truth(const char *value)
{
    if (!strcmp(value, "true") || !strcmp(value, "1") || !strcmp(value, "yes") || !strcmp(value, "on")) return "true";
    if (!strcmp(value, "false") || !strcmp(value, "0") || !strcmp(value, "no") || !strcmp(value, "off")) return "false";
    return NULL;
}

/* argv[*i] is an option; takes its value from behind '=' or from the next argument. */
static int parse_option(dlx_cli_arguments *a, int argc, char **argv, int *i)
{
    const char *text = argv[*i] + 2, *value = strchr(text, '=');
    char name[LONGEST_NAME + 1];
    size_t n = value ? (size_t)(value++ - text) : strlen(text);
    match m = {0};
    if (n > LONGEST_NAME) n = LONGEST_NAME;
    memcpy(name, text, n);
    name[n] = '\0';
    if (!find(&m, a->command, name)) {
        m.negated = !strncmp(name, "no-", 3) && find(&m, a->command, name + 3) && m.flag && !value;
        if (!m.negated) return unknown_option(a->command, name);
    }
    if (m.flag) {
        /* "--dual true" as in a trace: the two words are never taken for a file. */
        bool word =
            !value && !m.negated && *i + 1 < argc && (!strcmp(argv[*i + 1], "true") || !strcmp(argv[*i + 1], "false"));
        if (word) value = argv[++*i];
        if (!value) value = m.negated ? "false" : "true";
        if (m.option && !truth(value))
            return dlx_cli_usage(a->command, "--%s: expected true or false, got '%s'", name, value);
        if (m.option) value = truth(value);
    } else if (!value) {
        if (*i + 1 >= argc) return dlx_cli_usage(a->command, "--%s needs a value", name);
        value = argv[++*i];
    }
    return m.decode ? keep_decode(a, m.decode, value) : keep_option(a, m.option, value);
}

/* ---- the whole line --------------------------------------------------------------------------------------------- */

static int check_count(const dlx_cli_arguments *a)
{
    const dlx_cli_command *c = a->command;
    if (a->n_positional < c->least) return dlx_cli_usage(c, "%s needs: %s", c->name, c->arguments);
    if (a->n_positional > c->most)
        return dlx_cli_usage(c, "%s takes %s, not '%s' as well", c->name, *c->arguments ? c->arguments : "options only",
                             a->positional[c->most]);
    return DLX_CLI_OK;
}

int dlx_cli_parse(dlx_cli_arguments *a, const dlx_cli_command *command, int argc, char **argv, bool *help)
{
    size_t room = (size_t)argc + 1;
    dlx_error err;
    *help = false;
    *a = (dlx_cli_arguments){.command = command,
                             .positional = calloc(room, sizeof *a->positional),
                             .given = calloc(room, sizeof *a->given),
                             .decode_given = calloc(room, sizeof *a->given)};
    if (!a->positional || !a->given || !a->decode_given) return dlx_cli_out_of_memory();
    if (command->decodes && dlx_decode_options_create(&a->decode, &err) != DLX_OK) return dlx_cli_fail(&err);
    bool words = false;
    for (int i = 0; i < argc; i++) {
        const char *s = argv[i];
        if (words || s[0] != '-' || s[1] == '\0') {
            a->positional[a->n_positional++] = s;
        } else if (!strcmp(s, "--")) {
            words = true;
        } else if (!strcmp(s, "--help") || !strcmp(s, "-h")) {
            *help = true;
            return DLX_CLI_OK;
        } else if (s[1] != '-') {
            return dlx_cli_usage(command,
                                 "there is no option %s; options begin with two dashes, and '--' stands before an "
                                 "argument that begins with one",
                                 s);
        } else {
            int status = parse_option(a, argc, argv, &i);
            if (status != DLX_CLI_OK) return status;
        }
    }
    return check_count(a);
}

void dlx_cli_arguments_free(dlx_cli_arguments *a)
{
    free(a->positional);
    free(a->given);
    free(a->decode_given);
    dlx_decode_options_free(a->decode);
    *a = (dlx_cli_arguments){0};
}

/* ---- what was given --------------------------------------------------------------------------------------------- */

static const char *last(const dlx_cli_given *list, size_t n, const char *name)
{
    while (n-- > 0)
        if (!strcmp(list[n].name, name)) return list[n].value;
    return NULL;
}

const char *dlx_cli_text(const dlx_cli_arguments *a, const char *name)
{
    return last(a->given, a->n_given, name);
}

const char *dlx_cli_decode_text(const dlx_cli_arguments *a, const char *name)
{
    return last(a->decode_given, a->n_decode_given, name);
}

bool dlx_cli_flag(const dlx_cli_arguments *a, const char *name, bool otherwise)
{
    const char *value = dlx_cli_text(a, name);
    return value ? !strcmp(value, "true") : otherwise;
}

int64_t dlx_cli_int(const dlx_cli_arguments *a, const char *name, int64_t otherwise)
{
    const char *value = dlx_cli_text(a, name);
    if (value) dlx_cli_parse_int(value, &otherwise);
    return otherwise;
}

bool dlx_cli_joined(const dlx_cli_arguments *a, const char *name, char **text)
{
    const char **list;
    size_t n, length = 0;
    *text = NULL;
    if (!dlx_cli_list(a, name, &list, &n)) return false;
    for (size_t i = 0; i < n; i++) length += strlen(list[i]) + 1;
    if (n) *text = malloc(length);
    if (*text) **text = '\0';
    for (size_t i = 0; *text && i < n; i++) {
        if (i) strcat(*text, ",");
        strcat(*text, list[i]);
    }
    free((void *)list);
    if (n && !*text) dlx_cli_out_of_memory();
    return !n || *text;
}

bool dlx_cli_list(const dlx_cli_arguments *a, const char *name, const char ***list, size_t *n)
{
    *n = 0;
    *list = calloc(a->n_given + 1, sizeof **list);
    if (!*list) {
        dlx_cli_out_of_memory();
        return false;
    }
    for (size_t i = 0; i < a->n_given; i++)
        if (!strcmp(a->given[i].name, name)) (*list)[(*n)++] = a->given[i].value;
    return true;
}

const char *dlx_cli_path(const dlx_cli_arguments *a, const char *name, int *next)
{
    const char *path = dlx_cli_text(a, name);
    if (path) return path;
    if (*next >= a->n_positional) return NULL;
    path = a->positional[(*next)++];
    return *path ? path : NULL; /* "" is what is left of a variable that is not set */
}

const char *dlx_cli_pte_path(const dlx_cli_arguments *a, int *next)
{
    *next = 0;
    const char *path = dlx_cli_path(a, "pte-path", next);
    if (!path)
        dlx_cli_usage(a->command, "%s needs a .pte file, as its first argument or as --pte-path", a->command->name);
    return path;
}

int dlx_cli_check_output(const dlx_cli_arguments *a, const char *path)
{
    struct stat there, printed;
    if (path && !strcmp(path, "-"))
        return dlx_cli_usage(a->command, "a file appears when it is complete, so it cannot go to a stream; name one");
    if (!path || stat(path, &there) != 0 || !S_ISREG(there.st_mode)) return DLX_CLI_OK;
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (fstat(fd, &printed) == 0 && printed.st_dev == there.st_dev && printed.st_ino == there.st_ino)
            return dlx_cli_usage(a->command, "'%s' is where this command's standard %s goes; name another file", path,
                                 fd == STDOUT_FILENO ? "output" : "error");
    return DLX_CLI_OK;
}
