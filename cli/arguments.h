/*
 * Commands and their command lines. A command is one constant structure: its name, its options, and the function that
 * runs it. The same table parses the arguments, prints --help and finds the nearest name for a misspelt flag.
 */
#ifndef DLX_CLI_ARGUMENTS_H
#define DLX_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/diffulex_edge.h"

/* Exit statuses. */
enum { DLX_CLI_OK = 0, DLX_CLI_FAILED = 1, DLX_CLI_USAGE = 2, DLX_CLI_INTERRUPTED = 130 };

typedef enum dlx_cli_kind {
    DLX_CLI_FLAG, /* --name, --no-name, --name=true */
    DLX_CLI_TEXT, /* --name VALUE, --name=VALUE; the last one counts */
    DLX_CLI_INT,  /* the same, a whole number of min..max */
    DLX_CLI_LIST, /* the same, may be given several times */
} dlx_cli_kind;

typedef struct dlx_cli_option {
    const char *name; /* without dashes in front: "token-ids" */
    dlx_cli_kind kind;
    const char *value; /* what --help calls the value; NULL for flags */
    const char *help;
    int64_t min, max; /* DLX_CLI_INT */
} dlx_cli_option;

typedef struct dlx_cli_arguments dlx_cli_arguments;

typedef struct dlx_cli_command {
    const char *name;
    const char *arguments;     /* positional arguments as --help shows them; "" for none */
    const char *summary;       /* one line */
    const char *notes;         /* a paragraph for --help, or NULL */
    void (*put_choices)(void); /* prints more of --help, behind the options; NULL: there is no more */
    const dlx_cli_option *options;
    size_t n_options;
    int least, most;                        /* positional arguments */
    bool decodes;                           /* also takes every decode option of the library */
    int (*run)(const dlx_cli_arguments *a); /* returns the exit status */
} dlx_cli_command;

typedef struct dlx_cli_given {
    const char *name;  /* as in the table: static storage */
    const char *value; /* flags: "true" or "false" */
} dlx_cli_given;

struct dlx_cli_arguments {
    const dlx_cli_command *command;
    const char **positional;
    int n_positional;
    dlx_cli_given *given; /* options of the command, in the order given */
    size_t n_given;
    dlx_cli_given *decode_given; /* decode options, in the order given */
    size_t n_decode_given;
    dlx_decode_options *decode; /* the same, checked one by one; NULL unless the command decodes */
};

/* All commands, NULL behind the last (main.c). */
extern const dlx_cli_command *const dlx_cli_commands[];

/* Parses what stands behind the command's name. Anything but DLX_CLI_OK was reported and is the exit status; *help
 * tells that --help was asked for. Free with dlx_cli_arguments_free in any case. */
int dlx_cli_parse(dlx_cli_arguments *a, const dlx_cli_command *command, int argc, char **argv, bool *help);
void dlx_cli_arguments_free(dlx_cli_arguments *a);

/* What was given for an option of the command's table. */
const char *dlx_cli_text(const dlx_cli_arguments *a, const char *name); /* NULL: not given */
bool dlx_cli_flag(const dlx_cli_arguments *a, const char *name, bool otherwise);
int64_t dlx_cli_int(const dlx_cli_arguments *a, const char *name, int64_t otherwise);
/* Values of a DLX_CLI_LIST; *list (n entries) is freed with free. False when out of memory, which was reported. */
bool dlx_cli_list(const dlx_cli_arguments *a, const char *name, const char ***list, size_t *n);
/* What was given for a decode option, by its name with underscores, or NULL. */
const char *dlx_cli_decode_text(const dlx_cli_arguments *a, const char *name);

/* The .pte of a command that takes it as --pte-path or as its first argument. *next becomes the first argument behind
 * it. NULL when there is none, which was reported. */
const char *dlx_cli_pte_path(const dlx_cli_arguments *a, int *next);

/* Reports a wrong command line, with a pointer to --help; returns DLX_CLI_USAGE. */
int dlx_cli_usage(const dlx_cli_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether the command line offers this decode option: n_cached describes a session's past, and here all are new. */
bool dlx_cli_offers(const dlx_option_info *info);

/* help.c */
void dlx_cli_help_program(void);
void dlx_cli_help_command(const dlx_cli_command *command);
/* One line of a list of --help: a name, and what is to be said of it. */
void dlx_cli_help_row(const char *left, const char *help);

/* Number of insertions, deletions and replacements between two names, '-' and '_' being the same. */
size_t dlx_cli_distance(const char *a, const char *b);

#endif
