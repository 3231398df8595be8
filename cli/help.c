/* --help, printed from the tables of commands and of decode options, and the words that the manual shares with it. */
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "output.h"

enum { INDENT = 30, NARROW_INDENT = 6, NARROW = 60, NARROWEST = 20, WIDEST = 100 };

const char dlx_cli_says_what[] = "Exports diffusion language models to ExecuTorch programs (.pte) and runs them.";
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

void dlx_cli_help_paragraph(const char *text)
{
    put_wrapped(text, 0, 0);
}

static void put_row(const char *left, const char *help)
{
    int n = printf("  %s", left), indent = width() < NARROW ? NARROW_INDENT : INDENT;
    if (n > indent - 2) {
        printf("\n");
        n = 0;
    }
    put_wrapped(help, indent, n);
}

static void put_section(const char *title)
{
    printf("\n%s\n", title);
}

const dlx_cli_lister dlx_cli_help_lister = {put_section, put_row};

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

/* Whether `name` is the first word of `words`, dashes and underscores being the same. */
static bool is_word(const char *words, const char *name)
{
    size_t i = 0, n = strcspn(words, " ");
    while (i < n && name[i] && (words[i] == name[i] || (words[i] == '-' && name[i] == '_'))) i++;
    return i == n && !name[i];
}

static const char *next_word(const char *words)
{
    words += strcspn(words, " ");
    return words + (*words == ' ');
}

/* Whether it is one of the options that are shown first. */
static bool comes_first(const dlx_cli_command *command, const char *name)
{
    const char *s = command->first ? command->first : "";
    while (*s && !is_word(s, name)) s = next_word(s);
    return *s;
}

static void put_option(const dlx_cli_option *o)
{
    char left[128], value[64];
    snprintf(left, sizeof left, "--%s%s", o->name, dlx_cli_value_of(o, value));
    put_row(left, o->help);
}

static void add_word(void *ctx, const char *word)
{
    char *text = ctx;
    size_t n = strlen(text);
    snprintf(text + n, DLX_CLI_HELP_SIZE - n, "%s%s", n && text[n - 1] != ' ' ? ", " : "", word);
}

const char *dlx_cli_help_of(const dlx_option_info *info, char text[DLX_CLI_HELP_SIZE])
{
    snprintf(text, DLX_CLI_HELP_SIZE, "%s%s", info->help, info->words ? "; one of " : "");
    dlx_cli_split_words(info->words, add_word, text);
    size_t n = strlen(text);
    if (strcmp(info->algorithms, "all") != 0) snprintf(text + n, DLX_CLI_HELP_SIZE - n, " [%s]", info->algorithms);
    return text;
}

static void put_decode_option(const dlx_option_info *info)
{
    char left[128], flag[64], help[DLX_CLI_HELP_SIZE];
    snprintf(left, sizeof left, "%s%s", dlx_cli_flag_of(info->name, flag), dlx_cli_value_of_kind(info->kind));
    put_row(left, dlx_cli_help_of(info, help));
}

static void put_first(const dlx_cli_command *command)
{
    dlx_option_info info = {.struct_size = sizeof info};
    put_section("options to begin with");
    for (const char *s = command->first; *s; s = next_word(s)) {
        for (size_t i = 0; i < command->n_options; i++)
            if (is_word(s, command->options[i].name)) put_option(&command->options[i]);
        for (size_t i = 0; command->decodes && dlx_decode_option_info(i, &info); i++)
            if (is_word(s, info.name)) put_decode_option(&info);
    }
}

/* Those that were not shown first. */
static void put_options(const dlx_cli_command *command)
{
    put_section("options");
    for (size_t i = 0; i < command->n_options; i++)
        if (!comes_first(command, command->options[i].name)) put_option(&command->options[i]);
    put_row("--help", "this text");
}

static void put_decode_options(const dlx_cli_command *command)
{
    dlx_option_info info = {.struct_size = sizeof info};
    put_section("decode options [algorithms that have it]");
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++)
        if (dlx_cli_offers(&info) && !comes_first(command, info.name)) put_decode_option(&info);
    printf("\n");
    put_wrapped(dlx_cli_says_flags, 0, 0);
}

static void put_examples(const dlx_cli_command *command)
{
    if (!command->examples) return;
    put_section("examples");
    for (const char *s = command->examples; *s; s += strlen(s) + 1) printf("  %s\n", s);
}

void dlx_cli_help_command(const dlx_cli_command *command)
{
    printf("usage: diffulex-edge %s [options]%s%s\n\n", command->name, *command->arguments ? " " : "",
           command->arguments);
    put_wrapped(command->summary, 0, 0);
    put_examples(command);
    if (command->first) put_first(command);
    if (command->notes) {
        printf("\n");
        put_wrapped(command->notes, 0, 0);
    }
    put_options(command);
    if (command->choices) command->choices(&dlx_cli_help_lister);
    if (command->decodes) put_decode_options(command);
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
