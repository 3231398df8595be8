/* diffulex-edge: exports diffusion language models and runs them. Every command is a table of its own source file. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "output.h"

enum { SIGNAL_STATUS = 128 }; /* as shells count */

#if defined(DLX_RUNTIME_ONLY)
/* What needs the export half or jansson is known by name, so that whoever asks for it learns why it is missing. */
static int absent(const dlx_cli_arguments *a)
{
    dlx_cli_message("%s is not part of this program: it was built with DLX_RUNTIME_ONLY; the full build has it",
                    a->command->name);
    return DLX_CLI_FAILED;
}

#define ABSENT(id, word)                                                                                               \
    const dlx_cli_command dlx_cli_##id = {                                                                             \
        .name = word, .arguments = "", .summary = "not part of this runtime-only build", .most = 64, .run = absent}
ABSENT(export, "export");
ABSENT(chat, "chat");
ABSENT(serve, "serve");
ABSENT(batch, "batch");
ABSENT(eval, "eval");
ABSENT(sudoku, "sudoku");
ABSENT(run, "run");
ABSENT(quantize_report, "quantize-report");
#endif

const dlx_cli_command *const dlx_cli_commands[] = {
    &dlx_cli_export,
    &dlx_cli_quantize_report,
    &dlx_cli_inspect,
    &dlx_cli_generate,
    &dlx_cli_chat,
    &dlx_cli_serve,
    &dlx_cli_batch,
    &dlx_cli_infill,
    &dlx_cli_logits,
    &dlx_cli_tokenize,
    &dlx_cli_detokenize,
    &dlx_cli_eval,
    &dlx_cli_sudoku,
    &dlx_cli_run,
    &dlx_cli_bench,
    &dlx_cli_doctor,
    NULL,
};

static const dlx_cli_command *find(const char *name)
{
    for (size_t i = 0; dlx_cli_commands[i]; i++)
        if (!strcmp(dlx_cli_commands[i]->name, name)) return dlx_cli_commands[i];
    const char *best = NULL;
    size_t distance = strlen(name) / 2 + 1;
    for (size_t i = 0; dlx_cli_commands[i]; i++) {
        size_t d = dlx_cli_distance(name, dlx_cli_commands[i]->name);
        if (d >= distance) continue;
        distance = d;
        best = dlx_cli_commands[i]->name;
    }
    if (best)
        dlx_cli_usage(NULL, "there is no command '%s'; did you mean '%s'?", name, best);
    else
        dlx_cli_usage(NULL, "there is no command '%s'", name);
    return NULL;
}

static int run_command(const dlx_cli_command *command, int argc, char **argv)
{
    dlx_cli_arguments a;
    bool help;
    int status;
#if defined(DLX_RUNTIME_ONLY)
    if (command->run == absent) return absent(&(dlx_cli_arguments){.command = command});
#endif
    status = dlx_cli_parse(&a, command, argc, argv, &help);
    if (status == DLX_CLI_OK && help)
        dlx_cli_help_command(command);
    else if (status == DLX_CLI_OK)
        status = command->run(&a);
    dlx_cli_arguments_free(&a);
    return status;
}

/* What the build asks for, to install it: "help --man", "help --completion SHELL". */
static int put_generated(int argc, char **argv)
{
    if (!strcmp(argv[2], "--man") && argc == 3) {
        dlx_cli_manual();
        return DLX_CLI_OK;
    }
    if (argc == 4 && !strcmp(argv[2], "--completion") && dlx_cli_completion(argv[3])) return DLX_CLI_OK;
    return dlx_cli_usage(NULL, "expected help --man, or help --completion bash, zsh or fish");
}

static int run(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    bool help = word && (!strcmp(word, "help") || !strcmp(word, "--help") || !strcmp(word, "-h"));
    if (!word) return dlx_cli_usage(NULL, "a command is needed");
    if (!strcmp(word, "--version")) {
        printf("diffulex-edge %s\n", dlx_version_string());
        return DLX_CLI_OK;
    }
    if (argc > 2 && (!strcmp(argv[2], "--man") || !strcmp(argv[2], "--completion")) && !strcmp(word, "help"))
        return put_generated(argc, argv);
    if (help && (argc == 2 || argv[2][0] == '-')) {
        dlx_cli_help_program();
        return DLX_CLI_OK;
    }
    if (help) word = argv[2];
    if (word[0] == '-') return dlx_cli_usage(NULL, "there is no option %s before the command", word);
    const dlx_cli_command *command = find(word);
    if (!command) return DLX_CLI_USAGE;
    if (!help) return run_command(command, argc - 2, argv + 2);
    dlx_cli_help_command(command);
    return DLX_CLI_OK;
}

/* A standard file that was closed would be the next file that is opened, and what is printed would end up there. */
static void occupy_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
        int taken = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* use stays an error */
        if (taken >= 0 && taken != fd) close(taken);
    }
}

int main(int argc, char **argv)
{
    occupy_standard_files();
    /* A file that grows past the limit of the shell is an error of write, reported and cleaned up after. */
    signal(SIGXFSZ, SIG_IGN);
    dlx_cli_end_on_signals();
    int status = run(argc, argv);
    if (!dlx_cli_flush()) {
        dlx_cli_message("cannot write to the standard output: %s", strerror(dlx_cli_output_error()));
        if (status == DLX_CLI_OK || status == DLX_CLI_INTERRUPTED) status = DLX_CLI_FAILED;
    }
    return dlx_cli_signal() ? SIGNAL_STATUS + dlx_cli_signal() : status;
}
