/*
 * chat: a conversation on the terminal. Turns are kept as messages and rendered by the model's chat template; what of
 * the rendered prompt lies in the session's cache already is not run again. Ctrl-C ends an answer, not the program.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "chat_settings.h"
#include "lines.h"
#include "output.h"
#include "progress.h"
#include "prompt.h"
#include "running.h"
#include "visual.h"

typedef struct chat {
    dlx_cli_running r;
    dlx_cli_chat_settings settings;
    dlx_cli_lines *lines;
    dlx_cli_template template; /* options of the chat template */
    dlx_chat_message *turns;   /* [n_turns]; contents are malloc'd; a system message comes first */
    size_t n_turns, capacity;
    bool plain; /* no chat template: every line is continued as it stands */
    bool stats, visual;
    int64_t delay_ms;     /* of the view */
    dlx_cli_visual *view; /* of the answer in progress, or NULL */
    bool viewed;          /* the last answer was shown by a view, its text was not printed */
    bool line_open;
    dlx_cli_decoding progress; /* shown until the first text */
} chat;

/* ---- turns ------------------------------------------------------------------------------------------------------ */

static bool add_turn(chat *c, const char *role, const char *text, size_t n)
{
    if (c->n_turns == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 16;
        dlx_chat_message *grown = realloc(c->turns, capacity * sizeof *grown);
        if (!grown) return false;
        c->turns = grown;
        c->capacity = capacity;
    }
    char *copy = malloc(n + 1);
    if (!copy) return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    c->turns[c->n_turns++] = (dlx_chat_message){.struct_size = sizeof *c->turns, .role = role, .content = copy};
    return true;
}

static void drop_turns(chat *c, size_t first, size_t n)
{
    if (!n) return;
    for (size_t i = first; i < first + n; i++) free((void *)(uintptr_t)c->turns[i].content);
    memmove(c->turns + first, c->turns + first + n, (c->n_turns - first - n) * sizeof *c->turns);
    c->n_turns -= n;
}

static size_t first_turn(const chat *c)
{
    return c->n_turns && !strcmp(c->turns[0].role, "system");
}

/* ---- prompt ----------------------------------------------------------------------------------------------------- */

static dlx_status encode(const chat *c, int32_t **ids, size_t *n, dlx_error *err)
{
    const dlx_chat_message *last = &c->turns[c->n_turns - 1];
    if (c->plain)
        return dlx_tokenizer_encode(c->r.tokenizer, last->content, strlen(last->content), DLX_ENCODE_AROUND, ids, n,
                                    err);
    return dlx_chat_encode(c->r.tokenizer, c->turns, c->n_turns, &c->template.options, ids, n, err);
}

/* The prompt with as many of the latest turns as leave room for an answer. */
static dlx_status build_prompt(chat *c, int32_t **ids, size_t *n, int32_t *max_new, dlx_error *err)
{
    size_t room = (size_t)c->r.facts->max_context, forgotten = 0;
    *max_new = dlx_cli_chat_max_new(&c->settings);
    for (;;) {
        dlx_status s = encode(c, ids, n, err);
        if (s != DLX_OK) return s;
        if (*n + (size_t)*max_new <= room) break;
        size_t first = first_turn(c);
        if (c->plain || c->n_turns - first < 3) {
            if (*n + 1 <= room && *max_new > (int32_t)(room - *n)) *max_new = (int32_t)(room - *n);
            break;
        }
        dlx_free(*ids);
        drop_turns(c, first, 2);
        forgotten += 2;
    }
    if (forgotten)
        dlx_cli_message("the context of %zu tokens is full: the oldest %zu messages were forgotten", room, forgotten);
    return DLX_OK;
}

/* ---- answer ----------------------------------------------------------------------------------------------------- */

static bool on_text(void *ctx, const char *text, size_t n)
{
    chat *c = ctx;
    if (!c->view && n) {
        dlx_cli_progress_end();
        c->progress.hidden = true;
        dlx_cli_put_text(stdout, text, n);
        c->line_open = text[n - 1] != '\n';
        if (!dlx_cli_flush()) return false;
    }
    return !dlx_cli_interrupted();
}

static bool on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    chat *c = ctx;
    if (c->view)
        dlx_cli_visual_step(c->view, step, ids, n_ids);
    else
        dlx_cli_decoding_step(&c->progress, ids, n_ids);
    return !dlx_cli_interrupted() && !dlx_cli_output_error();
}

static dlx_status decode(chat *c, const int32_t *ids, size_t n, int32_t max_new, dlx_completion **out, dlx_error *err)
{
    dlx_completion_options o = dlx_completion_options_default();
    dlx_status s = dlx_cli_chat_bound(&c->settings, max_new, err);
    if (s != DLX_OK) return s;
    o.decode = c->settings.decode;
    o.tokenizer = c->r.tokenizer;
    o.session = c->r.session;
    o.on_text = on_text;
    o.on_step = on_step;
    o.text_ctx = o.step_ctx = c;
    dlx_cli_visual view;
    dlx_cli_plan plan;
    s = dlx_cli_plan_make(&plan, c->r.facts, o.decode, ids, n, err);
    if (s != DLX_OK) return s;
    if (c->visual && dlx_cli_visual_open(&view, stdout, c->r.tokenizer, &plan, (size_t)c->r.facts->max_context)) {
        c->view = &view;
        view.delay_ms = c->delay_ms;
        dlx_cli_visual_legend(&view);
    } else {
        dlx_cli_decoding_begin(&c->progress, &plan, "");
    }
    c->viewed = c->view != NULL;
    c->line_open = false;
    s = dlx_complete(c->r.facts, dlx_session_forward, c->r.session, &o, ids, n, out, err);
    dlx_cli_progress_end();
    if (c->view) {
        dlx_cli_visual_wipe(&view);
        dlx_cli_visual_close(&view);
        c->view = NULL;
    }
    return s;
}

/* One answer to the last turn; the turn is taken back when there is none. */
static void answer(chat *c)
{
    int32_t *ids = NULL, max_new;
    size_t n, n_text;
    dlx_error err = {0};
    dlx_completion *completion = NULL;
    dlx_cli_rearm_interrupts();
    dlx_status s = build_prompt(c, &ids, &n, &max_new, &err);
    if (s == DLX_OK) s = decode(c, ids, n, max_new, &completion, &err);
    dlx_free(ids);
    if (s != DLX_OK) {
        if (c->line_open) printf("\n");
        dlx_cli_message("%s", err.message);
        drop_turns(c, c->n_turns - 1, 1);
        return;
    }
    const char *text = dlx_completion_text(completion, &n_text);
    if (c->viewed) {
        dlx_cli_put_text(stdout, text, n_text);
        c->line_open = n_text && text[n_text - 1] != '\n';
    }
    bool cancelled = !strcmp(dlx_completion_finish_reason(completion), "cancelled");
    printf("%s%s", cancelled ? " [stopped]" : "", c->line_open || cancelled || !n_text ? "\n" : "");
    dlx_cli_flush();
    if (c->stats) dlx_cli_put_statistics(completion);
    if (!add_turn(c, "assistant", text, n_text)) dlx_cli_out_of_memory();
    dlx_completion_free(completion);
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

static void help(void)
{
    static const char *const rows[][2] = {
        {"/help, /h", "this list"},
        {"/quit, /q, /exit, Ctrl-D", "leave"},
        {"/clear", "start the conversation anew"},
        {"/system TEXT", "the system message; without a text: none"},
        {"/config", "what the next answer is made with, every option of its decoder included"},
        {"/stats", "numbers after every answer, on or off"},
        {"/visual", "watch masks turn into tokens, on or off"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) dlx_cli_help_lister.row(rows[i][0], rows[i][1]);
    dlx_cli_chat_settings_help();
    dlx_cli_help_paragraph("A setting without a value tells what holds; \"off\" brings the default back. A line "
                           "that ends in \\ goes on in the next one. Ctrl-C stops an answer.");
}

static void clear(chat *c)
{
    size_t first = first_turn(c);
    drop_turns(c, first, c->n_turns - first);
    printf("the conversation starts anew\n");
}

static void set_system(chat *c, const char *text)
{
    drop_turns(c, 0, c->n_turns);
    if (*text && !add_turn(c, "system", text, strlen(text))) dlx_cli_out_of_memory();
    printf(*text ? "the conversation starts anew with this system message\n"
                 : "the conversation starts anew without a system message of its own\n");
}

static void show_settings(const chat *c)
{
    const dlx_chat_options *t = &c->template.options;
    dlx_cli_chat_show(&c->settings);
    printf("chat template: %s", c->plain           ? "none, lines are continued as they stand"
                                : t->chat_template ? "that of --chat-template"
                                                   : "the model's");
    if (t->enable_thinking) printf("; enable_thinking %s", t->enable_thinking > 0 ? "true" : "false");
    printf("%s%s\n", t->template_kwargs ? "; variables " : "", t->template_kwargs ? t->template_kwargs : "");
}

static void toggle(const char *what, bool *flag, const char *value)
{
    *flag = !strcmp(value, "on") || (strcmp(value, "off") != 0 && !*flag);
    printf("%s: %s\n", what, *flag ? "on" : "off");
}

/* Handles "/word value"; false to leave. */
static bool command(chat *c, const char *line)
{
    char word[32];
    size_t n = strcspn(line + 1, " \t");
    const char *value = line + 1 + n + strspn(line + 1 + n, " \t");
    snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), line + 1);
    if (!strcmp(word, "quit") || !strcmp(word, "q") || !strcmp(word, "exit")) return false;
    if (!strcmp(word, "help") || !strcmp(word, "h"))
        help();
    else if (!strcmp(word, "clear"))
        clear(c);
    else if (!strcmp(word, "config"))
        show_settings(c);
    else if (!strcmp(word, "system"))
        set_system(c, value);
    else if (!strcmp(word, "stats"))
        toggle("stats", &c->stats, value);
    else if (!strcmp(word, "visual") && !dlx_cli_visual_possible(stdout))
        printf("this output is no terminal whose cursor can be moved; there is nothing to watch\n");
    else if (!strcmp(word, "visual"))
        toggle("visual", &c->visual, value);
    else if (dlx_cli_chat_setting(word))
        dlx_cli_chat_set(&c->settings, word, value);
    else
        printf("there is no command /%s; /help lists them\n", word);
    return true;
}

/* ---- loop ------------------------------------------------------------------------------------------------------- */

/* A whole input: lines that end in a backslash are joined. The text is malloc'd; NULL with anything but a line. */
static dlx_cli_line read_input(chat *c, char **out)
{
    const char *line, *prompt = "> ";
    char *text = NULL;
    size_t n = 0;
    *out = NULL;
    for (;;) {
        dlx_cli_line got = dlx_cli_lines_read(c->lines, prompt, &line);
        if (got != DLX_CLI_LINE) {
            free(text);
            return got;
        }
        size_t length = strlen(line);
        bool more = length && line[length - 1] == '\\';
        char *grown = realloc(text, n + length + 2);
        if (!grown) {
            free(text);
            dlx_cli_out_of_memory();
            return DLX_CLI_LINE_END;
        }
        text = grown;
        memcpy(text + n, line, length);
        n += length;
        if (more) text[n - 1] = '\n';
        text[n] = '\0';
        if (!more) break;
        prompt = ". ";
    }
    *out = text;
    return DLX_CLI_LINE;
}

/* Ctrl-C at a terminal ends an answer, anything else the conversation; so does an output that takes no more. */
static bool goes_on(const chat *c)
{
    bool stopped = dlx_cli_interrupted() && !(dlx_cli_signal() == SIGINT && dlx_cli_lines_interactive(c->lines));
    return dlx_cli_flush() && !stopped;
}

static int talk(chat *c)
{
    char *text;
    for (bool going = true; going && goes_on(c);) {
        dlx_cli_rearm_interrupts();
        dlx_cli_line got = read_input(c, &text);
        if (got == DLX_CLI_LINE_END) break;
        if (got == DLX_CLI_LINE_FAILED) {
            dlx_cli_message("cannot read the standard input: %s", strerror(errno));
            return DLX_CLI_FAILED;
        }
        if (got == DLX_CLI_LINE_UTF16) {
            dlx_cli_message("'standard input' is text in UTF-16; UTF-8 is expected");
            return DLX_CLI_FAILED;
        }
        if (got == DLX_CLI_LINE_INTERRUPTED) {
            if (!goes_on(c)) break;
            printf("Ctrl-D or /quit leaves\n");
            continue;
        }
        if (text[0] == '/') {
            going = command(c, text);
        } else if (text[strspn(text, " \t\n")]) {
            if (add_turn(c, "user", text, strlen(text)))
                answer(c);
            else
                dlx_cli_out_of_memory();
        }
        free(text);
    }
    return DLX_CLI_OK;
}

static int open_chat(chat *c, const dlx_cli_arguments *a, const char *path)
{
    dlx_error err;
    int status = dlx_cli_running_open(&c->r, a, path, true);
    if (status != DLX_CLI_OK) return status;
    if (dlx_cli_template_read(&c->template, a, &err) != DLX_OK) return dlx_cli_fail(&err);
    bool given = dlx_cli_text(a, "chat-template");
    c->plain = !dlx_cli_flag(a, "template", given || dlx_tokenizer_has_chat_template(c->r.tokenizer));
    if (c->plain && dlx_cli_template_given(a))
        return dlx_cli_usage(a->command, "--enable-thinking, --chat-template-kwargs and --chat-template need a chat "
                                         "template, and this chat has none");
    const char *system = dlx_cli_text(a, "system");
    if (c->plain && system) return dlx_cli_usage(a->command, "--system needs a chat template, and this chat has none");
    if (system && !add_turn(c, "system", system, strlen(system))) return dlx_cli_out_of_memory();
    dlx_cli_chat_settings_init(&c->settings, a, &c->r);
    if (dlx_cli_chat_check(&c->settings, &err) != DLX_OK) return dlx_cli_fail(&err);
    c->lines = dlx_cli_lines_open();
    if (!c->lines) return dlx_cli_out_of_memory();
    c->stats = dlx_cli_flag(a, "stats", false);
    c->visual = dlx_cli_flag(a, "visual", false) && dlx_cli_visual_possible(stdout);
    c->delay_ms = dlx_cli_int(a, "delay", 0);
    return dlx_cli_running_load(&c->r, a, path);
}

static int run(const dlx_cli_arguments *a)
{
    int next;
    const char *path = dlx_cli_pte_path(a, &next);
    if (!path) return DLX_CLI_USAGE;
    if (a->n_positional > next) return dlx_cli_too_many(a, next);
    dlx_cli_visual_locale();
    chat c = {0};
    int status = open_chat(&c, a, path);
    if (status == DLX_CLI_OK) {
        if (dlx_cli_lines_interactive(c.lines))
            printf("%s, context of %d tokens%s. /help lists the commands.\n", dlx_family_name(c.r.facts->family),
                   c.r.facts->max_context, c.plain ? ", no chat template: lines are continued as they stand" : "");
        status = talk(&c);
    }
    dlx_cli_lines_close(c.lines);
    drop_turns(&c, 0, c.n_turns);
    free(c.turns);
    dlx_cli_running_close(&c.r);
    dlx_cli_template_free(&c.template);
    return status;
}

static const dlx_cli_option options[] = {
    DLX_CLI_RUN_OPTIONS,
    DLX_CLI_CONSTRAINT_OPTIONS,
    {"system", DLX_CLI_TEXT, "TEXT", "system message of the chat template", 0, 0},
    DLX_CLI_TEMPLATE_OPTIONS,
    {"template", DLX_CLI_FLAG, NULL, "render the conversation with the model's chat template (default: if it has one)",
     0, 0},
    DLX_CLI_VISUAL_OPTIONS,
    {"stats", DLX_CLI_FLAG, NULL, "numbers after every answer, on the standard error", 0, 0},
};

const dlx_cli_command dlx_cli_chat = {
    .name = "chat",
    .arguments = "FILE",
    .summary = "a conversation on the terminal",
    .notes = "Lines beginning with / are commands; /help lists them. Without a terminal, every line of the standard "
             "input is a "
             "message, and the answers are all that is printed.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 1,
    .decodes = true,
    .run = run,
};
