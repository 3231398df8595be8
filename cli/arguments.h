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

/* Takes the parts of a list that a command describes: --help and the manual print them differently. */
typedef struct dlx_cli_lister {
    void (*section)(const char *title);
    void (*row)(const char *name, const char *help);
} dlx_cli_lister;

typedef struct dlx_cli_command {
    const char *name;
    const char *arguments;                     /* positional arguments as --help shows them; "" for none */
    const char *summary;                       /* one line */
    const char *notes;                         /* a paragraph for --help, or NULL */
    const char *examples;                      /* command lines, each ended by a NUL; NULL for none */
    const char *first;                         /* "a b c": the options a newcomer needs; NULL: --help has one list */
    void (*choices)(const dlx_cli_lister *to); /* what stands behind the options; NULL: nothing more */
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
/* What was given for an option whose value is a list with commas: all that was, as one list, malloc'd; NULL: nothing
 * was. False as above. */
bool dlx_cli_joined(const dlx_cli_arguments *a, const char *name, char **text);
/* What was given for a decode option, by its name with underscores, or NULL. */
const char *dlx_cli_decode_text(const dlx_cli_arguments *a, const char *name);

/* What was given for an option, or else the next argument, from *next on, which is then counted; NULL: neither. */
const char *dlx_cli_path(const dlx_cli_arguments *a, const char *name, int *next);
/* The .pte of a command that takes it as --pte-path or as its first argument. *next becomes the first argument behind
 * it. NULL when there is none, which was reported. */
const char *dlx_cli_pte_path(const dlx_cli_arguments *a, int *next);
/* Whether a command may write a file at `path` (NULL: none is asked for): "-" and the file that the standard output or
 * error was redirected to are reported as a wrong command line. A file appears when it is complete, in place of the one
 * that has its name: what the command prints would go with that. */
int dlx_cli_check_output(const dlx_cli_arguments *a, const char *path);

/* Reports a wrong command line, with a pointer to --help; returns DLX_CLI_USAGE. */
int dlx_cli_usage(const dlx_cli_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same of the first word that the command has no use for. */
int dlx_cli_too_many(const dlx_cli_arguments *a, int next);

/* Whether the command line offers this decode option: n_cached describes a session's past, and here all are new. */
bool dlx_cli_offers(const dlx_option_info *info);

/* help.c */
void dlx_cli_help_program(void);
void dlx_cli_help_command(const dlx_cli_command *command);
void dlx_cli_help_paragraph(const char *text);
extern const dlx_cli_lister dlx_cli_help_lister; /* prints the rows of --help */
/* What stands behind an option's name: " FILE", " TEXT ...", "" for a flag. */
const char *dlx_cli_value_of(const dlx_cli_option *option, char buffer[64]);
const char *dlx_cli_value_of_kind(const char *kind); /* the same for a kind of decode option */
/* What a decode option does, the words that it takes, and the algorithms that have it. */
enum { DLX_CLI_HELP_SIZE = 1024 };
const char *dlx_cli_help_of(const dlx_option_info *info, char text[DLX_CLI_HELP_SIZE]);
/* "--gen-length" for the decode option "gen_length". */
const char *dlx_cli_flag_of(const char *name, char buffer[64]);
/* Sentences that --help and the manual share. */
extern const char dlx_cli_says_what[], dlx_cli_says_flags[], dlx_cli_says_exit[];

/* manual.c, completion.c: the same tables as a manual page in troff, and as a completion script for "bash", "zsh" or
 * "fish" (false for another shell). */
void dlx_cli_manual(void);
bool dlx_cli_completion(const char *shell);

/* words.c: calls `each` for every word that the value of an option of the table may be; returns how many there are, 0
 * for an option that takes something else. */
size_t dlx_cli_words(const char *option, void (*each)(void *ctx, const char *word), void *ctx);
/* The same for a list like "a|b|c"; NULL is an empty one. */
size_t dlx_cli_split_words(const char *list, void (*each)(void *ctx, const char *word), void *ctx);

/* Number of insertions, deletions and replacements between two names, '-' and '_' being the same. */
size_t dlx_cli_distance(const char *a, const char *b);

#endif
