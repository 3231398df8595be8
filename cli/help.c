/* --help, printed from the tables of commands and of decode options, and the words that the manual shares with it. */
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "output.h"

enum { INDENT = 30, NARROWEST = 60, WIDEST = 100 };

const char dlx_cli_says_what[] = "Exports diffusion language models to ExecuTorch programs (.pte) and runs them.";
const char dlx_cli_says_options[] = "decode options [algorithms that have it]";
const char dlx_cli_says_flags[] =
    "Names of recorded traces, with dashes for underscores. \"null\" means not given; a flag "
    "is switched off by --no-NAME or --NAME=false.";
const char dlx_cli_says_exit[] =
    "Data goes to the standard output, messages to the standard error. Exit status: 0 success, 1 failure, 2 wrong "
    "command line, 128 and its number when a signal ended it. NO_COLOR switches colours off.";

static int width(void)
{
    int columns = dlx_cli_columns(stdout);
    return columns < NARROWEST ? NARROWEST : columns > WIDEST ? WIDEST : columns;
}

/* Words of `text`, wrapped, each line behind `indent` columns; the first line continues one of `used` columns. */
static void put_wrapped(const char *text, int indent, int used)
{
    int column = used, most = width();
    bool first = true; /* of a line */
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (!first && column + 1 + n > most) {
            printf("\n");
            column = 0;
            first = true;
        }
        int gap = column < indent ? indent - column : !first;
        printf("%*s%.*s", gap, "", n, text);
        column += gap + n;
        first = false;
        text += n;
        text += strspn(text, " ");
    }
    printf("\n");
}

static void put_row(const char *left, const char *help)
{
    int n = printf("  %s", left);
    if (n > INDENT - 2) {
        printf("\n");
        n = 0;
    }
    put_wrapped(help, INDENT, n);
}

static void put_section(const char *title)
{
    printf("\n%s\n", title);
}

static const dlx_cli_lister lister = {put_section, put_row};

const char *dlx_cli_value_of(const dlx_cli_option *option, char buffer[64])
{
    buffer[0] = '\0';
    if (option->kind != DLX_CLI_FLAG)
        snprintf(buffer, 64, " %s%s", option->value, option->kind == DLX_CLI_LIST ? " ..." : "");
    return buffer;
}

const char *dlx_cli_value_of_kind(const char *kind)
{
    if (!strcmp(kind, "int")) return " N";
    if (!strcmp(kind, "float")) return " X";
    if (!strcmp(kind, "ids")) return " I,J,...";
    return !strcmp(kind, "word") ? " WORD" : "";
}

const char *dlx_cli_flag_of(const char *name, char buffer[64])
{
    snprintf(buffer, 64, "--%s", name);
    for (char *s = buffer; *s; s++)
        if (*s == '_') *s = '-';
    return buffer;
}

static void put_options(const dlx_cli_command *command)
{
    char left[128], value[64];
    for (size_t i = 0; i < command->n_options; i++) {
        const dlx_cli_option *o = &command->options[i];
        snprintf(left, sizeof left, "--%s%s", o->name, dlx_cli_value_of(o, value));
        put_row(left, o->help);
    }
    put_row("--help", "this text");
}

static void put_decode_options(void)
{
    char left[128], flag[64], help[1024];
    dlx_option_info info = {.struct_size = sizeof info};
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++) {
        if (!dlx_cli_offers(&info)) continue;
        snprintf(left, sizeof left, "%s%s", dlx_cli_flag_of(info.name, flag), dlx_cli_value_of_kind(info.kind));
        snprintf(help, sizeof help, strcmp(info.algorithms, "all") ? "%s [%s]" : "%s", info.help, info.algorithms);
        put_row(left, help);
    }
}

void dlx_cli_help_command(const dlx_cli_command *command)
{
    printf("usage: diffulex-edge %s [options]%s%s\n\n", command->name, *command->arguments ? " " : "",
           command->arguments);
    put_wrapped(command->summary, 0, 0);
    if (command->notes) {
        printf("\n");
        put_wrapped(command->notes, 0, 0);
    }
    put_section("options");
    put_options(command);
    if (command->choices) command->choices(&lister);
    if (command->decodes) {
        put_section(dlx_cli_says_options);
        put_decode_options();
        printf("\n");
        put_wrapped(dlx_cli_says_flags, 0, 0);
    }
}

void dlx_cli_help_program(void)
{
    printf("usage: diffulex-edge COMMAND [options] [arguments]\n\n");
    put_wrapped(dlx_cli_says_what, 0, 0);
    put_section("commands");
    for (size_t i = 0; dlx_cli_commands[i]; i++) put_row(dlx_cli_commands[i]->name, dlx_cli_commands[i]->summary);
    put_section("options");
    put_row("--help", "this text; 'diffulex-edge help COMMAND' describes one command");
    put_row("--version", "version of the program");
    put_row("help --man", "the manual page, in troff");
    put_row("help --completion SHELL", "completions for bash, zsh or fish");
    printf("\n");
    put_wrapped(dlx_cli_says_exit, 0, 0);
}
