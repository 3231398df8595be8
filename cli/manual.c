/* The manual page, in troff, from the tables that --help prints (the build writes and installs it). */
#include <stdio.h>
#include <string.h>

#include "arguments.h"

enum { LINE = 76 };

/* One character of text as troff wants it. */
static const char *character(char c, char plain[2])
{
    switch (c) {
    case '\\': return "\\e";
    case '-': return "\\-";
    case '\'': return "\\(aq";
    case '`': return "\\(ga";
    case '^': return "\\(ha";
    case '~': return "\\(ti";
    case '"': return "\\(dq";
    }
    plain[0] = c;
    plain[1] = '\0';
    return plain;
}

/* n characters, the first of which may stand at the beginning of a line. */
static int put(const char *text, size_t n)
{
    char plain[2];
    int width = text[0] == '.' && n ? printf("\\&") : 0;
    for (size_t i = 0; i < n; i++) width += printf("%s", character(text[i], plain));
    return width;
}

static void put_word(const char *text)
{
    put(text, strlen(text));
}

/* A paragraph's text in lines that are not too long. */
static void put_lines(const char *text)
{
    int column = 0;
    while (*text) {
        size_t n = strcspn(text, " ");
        if (column && column + 1 + (int)n > LINE) {
            printf("\n");
            column = 0;
        }
        if (column) column += printf(" ");
        column += put(text, n);
        text += n;
        text += strspn(text, " ");
    }
    printf("\n");
}

static void put_section(const char *title)
{
    printf(".PP\n");
    put_lines(title);
}

static void put_row(const char *name, const char *help)
{
    printf(".TP\n\\fB");
    put_word(name);
    printf("\\fR\n");
    put_lines(help);
}

static const dlx_cli_lister lister = {put_section, put_row};

/* "--name" and what stands behind it (" VALUE", or nothing). */
static void put_option(const char *flag, const char *value, const char *help)
{
    printf(".TP\n\\fB");
    put_word(flag);
    printf("\\fR");
    if (*value) {
        printf("\\fI");
        put_word(value);
        printf("\\fR");
    }
    printf("\n");
    put_lines(help);
}

static void put_command(const dlx_cli_command *c)
{
    char flag[64], value[64];
    printf(".SS ");
    put_word(c->name);
    printf("\n.B diffulex\\-edge ");
    put_word(c->name);
    printf("\n[\\fIoptions\\fR]%s", *c->arguments ? " " : "");
    put_word(c->arguments);
    printf("\n.PP\n");
    put_lines(c->summary);
    if (c->notes) {
        printf(".PP\n");
        put_lines(c->notes);
    }
    for (size_t i = 0; i < c->n_options; i++)
        put_option(dlx_cli_flag_of(c->options[i].name, flag), dlx_cli_value_of(&c->options[i], value),
                   c->options[i].help);
    if (c->choices) c->choices(&lister);
    if (c->decodes) {
        printf(".PP\n");
        put_lines("All decode options, which have a section of their own below, are options of this command, too.");
    }
}

static void put_decode_options(void)
{
    char flag[64], help[DLX_CLI_HELP_SIZE];
    dlx_option_info info = {.struct_size = sizeof info};
    printf(".SH DECODE OPTIONS\n");
    put_lines("In brackets: the algorithms that have the option, where not all do.");
    put_lines(dlx_cli_says_flags);
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++) {
        if (!dlx_cli_offers(&info)) continue;
        put_option(dlx_cli_flag_of(info.name, flag), dlx_cli_value_of_kind(info.kind), dlx_cli_help_of(&info, help));
    }
}

static void put_surroundings(void)
{
    printf(".SH EXIT STATUS\n");
    put_lines(dlx_cli_says_exit);
    printf(".SH ENVIRONMENT\n");
    put_row("HF_HUB_CACHE, HF_HOME", "where checkpoints named org/name lie; diffulex-edge doctor prints the folder");
    put_row("NO_COLOR", "no colours when it is set and not empty");
    put_row("TERM", "dumb: nothing is drawn");
    put_row("COLUMNS", "width of the output where the terminal does not tell");
    printf(".SH EXAMPLES\n.EX\n");
    static const char *const lines[] = {
        "diffulex-edge export DIR model.pte",
        "diffulex-edge generate model.pte \"Why is the sky blue?\"",
        "diffulex-edge chat model.pte",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        put_word(lines[i]);
        printf("\n");
    }
    printf(".EE\n");
}

void dlx_cli_manual(void)
{
    printf(".\\\" Written by: diffulex-edge help --man\n");
    printf(".TH DIFFULEX\\-EDGE 1 \"\" \"diffulex\\-edge %s\" \"User Commands\"\n", dlx_version_string());
    printf(".SH NAME\ndiffulex\\-edge \\- export and run diffusion language models\n");
    printf(".SH SYNOPSIS\n.B diffulex\\-edge\n\\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]\n.br\n"
           ".B diffulex\\-edge \\-\\-help\n| \\fB\\-\\-version\\fR | \\fBhelp\\fR \\fIcommand\\fR\n");
    printf(".SH DESCRIPTION\n");
    put_lines(dlx_cli_says_what);
    put_lines(
        "Every option is --name VALUE or --name=VALUE; in names, - and _ are the same. Behind -- everything is an "
        "argument; - as an argument is the standard input.");
    printf(".SH COMMANDS\n");
    for (size_t i = 0; dlx_cli_commands[i]; i++) put_command(dlx_cli_commands[i]);
    put_decode_options();
    put_surroundings();
}
