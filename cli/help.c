/* --help, printed from the tables of commands and of decode options. */
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "output.h"

enum { INDENT = 30, NARROWEST = 60, WIDEST = 100 };

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

void dlx_cli_help_row(const char *left, const char *help)
{
    int n = printf("  %s", left);
    if (n > INDENT - 2) {
        printf("\n");
        n = 0;
    }
    put_wrapped(help, INDENT, n);
}

static void put_options(const dlx_cli_command *command)
{
    char left[128];
    for (size_t i = 0; i < command->n_options; i++) {
        const dlx_cli_option *o = &command->options[i];
        if (o->kind == DLX_CLI_FLAG)
            snprintf(left, sizeof left, "--%s", o->name);
        else
            snprintf(left, sizeof left, "--%s %s%s", o->name, o->value, o->kind == DLX_CLI_LIST ? " ..." : "");
        dlx_cli_help_row(left, o->help);
    }
    dlx_cli_help_row("--help", "this text");
}

static const char *value_name(const char *kind)
{
    if (!strcmp(kind, "int")) return " N";
    if (!strcmp(kind, "float")) return " X";
    if (!strcmp(kind, "ids")) return " I,J,...";
    return !strcmp(kind, "word") ? " WORD" : "";
}

static void put_decode_options(void)
{
    char left[128], help[1024];
    dlx_option_info info = {.struct_size = sizeof info};
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++) {
        if (!dlx_cli_offers(&info)) continue;
        snprintf(left, sizeof left, "--%s%s", info.name, value_name(info.kind));
        for (char *s = left; *s && *s != ' '; s++)
            if (*s == '_') *s = '-';
        snprintf(help, sizeof help, strcmp(info.algorithms, "all") ? "%s [%s]" : "%s", info.help, info.algorithms);
        dlx_cli_help_row(left, help);
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
    printf("\noptions\n");
    put_options(command);
    if (command->put_choices) command->put_choices();
    if (command->decodes) {
        printf("\ndecode options [algorithms that have it]\n");
        put_decode_options();
        printf("\n");
        put_wrapped("Names of recorded traces, with dashes for underscores. \"null\" means not given; a flag is "
                    "switched off by "
                    "--no-NAME or --NAME=false.",
                    0, 0);
    }
}

void dlx_cli_help_program(void)
{
    printf("usage: diffulex-edge COMMAND [options] [arguments]\n\n");
    put_wrapped("Exports diffusion language models to ExecuTorch programs (.pte) and runs them.", 0, 0);
    printf("\ncommands\n");
    for (size_t i = 0; dlx_cli_commands[i]; i++)
        dlx_cli_help_row(dlx_cli_commands[i]->name, dlx_cli_commands[i]->summary);
    printf("\noptions\n");
    dlx_cli_help_row("--help", "this text; 'diffulex-edge help COMMAND' describes one command");
    dlx_cli_help_row("--version", "version of the program");
    printf("\n");
    put_wrapped(
        "Data goes to the standard output, messages to the standard error. Exit status: 0 success, 1 failure, 2 wrong "
        "command line, 128 and its number when a signal ended it. NO_COLOR switches colours off.",
        0, 0);
}
