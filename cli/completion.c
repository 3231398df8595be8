/*
 * Completion scripts for bash, zsh and fish, from the tables that --help prints (the build writes and installs them).
 * A script is data about every option, in the words of its shell, and a few lines that use them.
 */
#include <stdio.h>
#include <string.h>

#include "arguments.h"

/* What an option of either table takes. */
typedef struct entry {
    const char *flag, *help;
    const char *value;            /* " FILE"; "" for a flag */
    const char *words;            /* of a decode option: "a|b"; NULL */
    const dlx_cli_option *option; /* of the command's own table, or NULL */
} entry;

typedef struct writer {
    const dlx_cli_command *command;
    void (*put)(const struct writer *w, const entry *e);
} writer;

static bool is_folder_name(const char *value)
{
    return !strcmp(value, " DIR");
}

static bool is_file_name(const char *value)
{
    return !strncmp(value, " FILE", 5) || !strncmp(value, " PUZZLES", 8);
}

static void each_option(writer *w)
{
    char flag[64], value[64];
    for (size_t i = 0; i < w->command->n_options; i++) {
        const dlx_cli_option *o = &w->command->options[i];
        const entry e = {
            .flag = dlx_cli_flag_of(o->name, flag), .help = o->help, .value = dlx_cli_value_of(o, value), .option = o};
        w->put(w, &e);
    }
    dlx_option_info info = {.struct_size = sizeof info};
    for (size_t i = 0; w->command->decodes && dlx_decode_option_info(i, &info); i++) {
        if (!dlx_cli_offers(&info)) continue;
        const entry e = {.flag = dlx_cli_flag_of(info.name, flag),
                         .help = info.help,
                         .value = dlx_cli_value_of_kind(info.kind),
                         .words = info.words};
        w->put(w, &e);
    }
    const entry help = {.flag = "--help", .help = "this text", .value = ""};
    w->put(w, &help);
}

static void put_word(void *ctx, const char *word)
{
    size_t *n = ctx;
    printf("%s%s", (*n)++ ? " " : "", word);
}

/* Calls fn for every word that the value may be; returns how many there are, 0 for a value that is something else. */
static size_t each_word(const entry *e, void (*fn)(void *ctx, const char *word), void *ctx)
{
    return e->option ? dlx_cli_words(e->option->name, fn, ctx) : dlx_cli_split_words(e->words, fn, ctx);
}

/* The words with spaces between them. */
static void put_words(const entry *e)
{
    size_t n = 0;
    (void)each_word(e, put_word, &n);
}

static void nothing(void *ctx, const char *word)
{
    (void)ctx;
    (void)word;
}

static bool has_words(const entry *e)
{
    return each_word(e, nothing, NULL) > 0;
}

/* Text between single quotes; `also` are characters of the script's own that get a backslash. `quote` is what stands
 * for a single quote. */
static void put_quoted(const char *text, const char *also, const char *quote)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs(quote, stdout);
        else if (strchr(also, *text))
            printf("\\%c", *text);
        else
            fputc(*text, stdout);
    }
}

static void put_commands(const char *between)
{
    for (size_t i = 0; dlx_cli_commands[i]; i++) printf("%s%s", i ? between : "", dlx_cli_commands[i]->name);
    printf("%shelp", between);
}

/* ---- bash ------------------------------------------------------------------------------------------------------- */

static void bash_flag(const writer *w, const entry *e)
{
    (void)w;
    printf("%s ", e->flag);
    if (!*e->value && strcmp(e->flag, "--help") != 0) printf("--no-%s ", e->flag + 2);
}

/* A branch for options that take one of several words, a file or a folder; other values complete to nothing. */
static void bash_value(const writer *w, const entry *e)
{
    if (!*e->value) return;
    printf("        %s:%s) ", w->command->name, e->flag);
    if (has_words(e)) {
        printf("words=\"");
        put_words(e);
        printf("\" ;;\n");
    } else {
        printf("kind=%s ;;\n", is_folder_name(e->value) ? "folder" : is_file_name(e->value) ? "file" : "none");
    }
}

static void bash(void)
{
    printf("# bash completion for diffulex-edge. Written by: diffulex-edge help --completion bash\n"
           "_diffulex_edge()\n{\n"
           "    local cur prev command=\"\" words=\"\" kind=option\n"
           "    cur=${COMP_WORDS[COMP_CWORD]}\n    prev=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    # --name=VALUE comes as three words\n"
           "    if [ \"$cur\" = \"=\" ]; then\n        cur=\"\"\n"
           "    elif [ \"$prev\" = \"=\" ]; then\n        prev=${COMP_WORDS[COMP_CWORD-2]}\n    fi\n"
           "    COMPREPLY=()\n"
           "    [ \"$COMP_CWORD\" -gt 1 ] && command=${COMP_WORDS[1]}\n"
           "    if [ -z \"$command\" ] || { [ \"$command\" = help ] && [ \"$COMP_CWORD\" = 2 ]; }; then\n"
           "        words=\"");
    put_commands(" ");
    printf("\"\n        [ -z \"$command\" ] && words=\"$words --help --version\"\n"
           "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n        return\n    fi\n"
           "    [ \"$command\" = help ] && return\n"
           "    case \"$command:${prev//_/-}\" in\n");
    for (size_t i = 0; dlx_cli_commands[i]; i++) each_option(&(writer){dlx_cli_commands[i], bash_value});
    printf("    esac\n"
           "    if [ -n \"$words\" ]; then kind=words; fi\n"
           "    if [ $kind = option ] && [[ $cur == -* ]]; then\n        kind=words\n"
           "        case \"$command\" in\n");
    for (size_t i = 0; dlx_cli_commands[i]; i++) {
        printf("        %s) words=\"", dlx_cli_commands[i]->name);
        each_option(&(writer){dlx_cli_commands[i], bash_flag});
        printf("\" ;;\n");
    }
    printf("        esac\n    elif [ $kind = option ]; then\n        kind=file\n    fi\n"
           "    case $kind in\n"
           "    words) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\") ;;\n"
           "    folder) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\") ;;\n"
           "    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
           "    esac\n"
           "}\ncomplete -F _diffulex_edge diffulex-edge\n");
}

/* ---- zsh -------------------------------------------------------------------------------------------------------- */

static void zsh_help(const char *text)
{
    put_quoted(text, "[]:\\", "'\\''");
}

static void zsh_option(const writer *w, const entry *e)
{
    (void)w;
    bool list = e->option && e->option->kind == DLX_CLI_LIST;
    printf(" \\\n            '%s%s%s[", list ? "*" : "", e->flag, *e->value ? "=" : "");
    zsh_help(e->help);
    printf("]");
    if (*e->value) {
        printf(":%.*s:", (int)strcspn(e->value + 1, " "), e->value + 1);
        if (has_words(e)) {
            printf("(");
            put_words(e);
            printf(")");
        } else if (is_folder_name(e->value) || is_file_name(e->value)) {
            printf("%s", is_folder_name(e->value) ? "_files -/" : "_files");
        }
    }
    printf("'");
    if (*e->value || !strcmp(e->flag, "--help")) return;
    printf(" \\\n            '--no-%s[not\\: ", e->flag + 2);
    zsh_help(e->help);
    printf("]'");
}

static void zsh(void)
{
    printf("#compdef diffulex-edge\n# Written by: diffulex-edge help --completion zsh\n\n_diffulex-edge() {\n"
           "    local curcontext=\"$curcontext\" state line\n    local -a commands\n    commands=(\n");
    for (size_t i = 0; dlx_cli_commands[i]; i++) {
        printf("        '%s:", dlx_cli_commands[i]->name);
        zsh_help(dlx_cli_commands[i]->summary);
        printf("'\n");
    }
    printf(
        "        'help:describes a command'\n    )\n"
        "    _arguments -C '(- *)--help[this text]' '(- *)--version[version of the program]' \\\n"
        "        '1:command:->command' '*::arguments:->arguments'\n"
        "    case $state in\n    command) _describe command commands ;;\n    arguments)\n        case $words[1] in\n");
    for (size_t i = 0; dlx_cli_commands[i]; i++) {
        printf("        %s) _arguments", dlx_cli_commands[i]->name);
        each_option(&(writer){dlx_cli_commands[i], zsh_option});
        printf(" \\\n            '*:file:_files' ;;\n");
    }
    printf("        help) _describe command commands ;;\n        esac ;;\n    esac\n}\n\n"
           "if [ \"$funcstack[1]\" = _diffulex-edge ]; then\n    _diffulex-edge \"$@\"\nelse\n"
           "    compdef _diffulex-edge diffulex-edge\nfi\n");
}

/* ---- fish ------------------------------------------------------------------------------------------------------- */

static void fish_text(const char *text)
{
    put_quoted(text, "\\", "\\'");
}

static void fish_option(const writer *w, const entry *e)
{
    printf("complete -c diffulex-edge -n '__fish_seen_subcommand_from %s' -l %s", w->command->name, e->flag + 2);
    if (*e->value && has_words(e)) {
        printf(" -x -a '");
        put_words(e);
        printf("'");
    } else if (is_folder_name(e->value)) {
        printf(" -x -a '(__fish_complete_directories)'");
    } else if (*e->value) {
        printf(is_file_name(e->value) ? " -r -F" : " -x");
    }
    printf(" -d '");
    fish_text(e->help);
    printf("'\n");
    if (*e->value || !strcmp(e->flag, "--help")) return;
    printf("complete -c diffulex-edge -n '__fish_seen_subcommand_from %s' -l no-%s -d 'not: ", w->command->name,
           e->flag + 2);
    fish_text(e->help);
    printf("'\n");
}

static void fish(void)
{
    printf("# fish completion for diffulex-edge. Written by: diffulex-edge help --completion fish\n"
           "complete -c diffulex-edge -n __fish_use_subcommand -f\n");
    for (size_t i = 0; dlx_cli_commands[i]; i++) {
        printf("complete -c diffulex-edge -n __fish_use_subcommand -a %s -d '", dlx_cli_commands[i]->name);
        fish_text(dlx_cli_commands[i]->summary);
        printf("'\n");
    }
    printf("complete -c diffulex-edge -n __fish_use_subcommand -a help -d 'describes a command'\n"
           "complete -c diffulex-edge -n __fish_use_subcommand -l help -d 'this text'\n"
           "complete -c diffulex-edge -n __fish_use_subcommand -l version -d 'version of the program'\n"
           "complete -c diffulex-edge -n '__fish_seen_subcommand_from help' -f -a '");
    put_commands(" ");
    printf("'\n");
    for (size_t i = 0; dlx_cli_commands[i]; i++) each_option(&(writer){dlx_cli_commands[i], fish_option});
}

bool dlx_cli_completion(const char *shell)
{
    static const struct {
        const char *name;
        void (*put)(void);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (!strcmp(shells[i].name, shell)) {
            shells[i].put();
            return true;
        }
    return false;
}
