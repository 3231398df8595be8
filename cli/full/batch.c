/*
 * batch: files of requests in OpenAI's batch format, answered by what is behind `serve`, without a server. Threads take
 * lines, wait for their answers and append them; the main thread shows how far it is and looks for signals.
 */
#include "commands.h"
#include "full/serving.h"
#include "output.h"
#include "running.h"

#if defined(DLX_HAVE_SERVER)
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "full/batch_input.h"
#include "full/batch_results.h"

enum { POLL_MS = 20, MOST_PARALLEL = 64, MOST_ANSWERS = 64 /* of one request, as the server has it */ };

typedef struct batch {
    dlx_server *server;
    int threads;
    /* input */
    pthread_mutex_t input_lock;
    dlx_cli_requests requests;
    bool ended; /* every request was given out */
    /* output */
    pthread_mutex_t output_lock;
    dlx_cli_results results, errors; /* the second is closed where none was asked for */
    size_t answered, failed, left_open;
    dlx_error err; /* the first failure that is not a line's own */
    bool broken;
    atomic_bool stop; /* no more lines */
    atomic_int working;
    double begin; /* seconds */
} batch;

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static bool stopped(const void *ctx)
{
    const batch *b = ctx;
    return atomic_load(&b->stop);
}

/* Something that ends it all. */
static void fail(batch *b, const dlx_error *err)
{
    pthread_mutex_lock(&b->output_lock);
    if (!b->broken) b->err = *err;
    b->broken = true;
    pthread_mutex_unlock(&b->output_lock);
    atomic_store(&b->stop, true);
}

static bool next(batch *b, dlx_cli_request *q)
{
    dlx_error err;
    dlx_status s = DLX_OK;
    q->root = NULL;
    pthread_mutex_lock(&b->input_lock);
    if (!atomic_load(&b->stop) && !b->ended) {
        s = dlx_cli_requests_next(&b->requests, q, &err);
        b->ended = s == DLX_OK && !q->root && !atomic_load(&b->stop);
    }
    pthread_mutex_unlock(&b->input_lock);
    if (s != DLX_OK) fail(b, &err);
    return s == DLX_OK && q->root;
}

static dlx_status put(batch *b, const dlx_cli_request *q, const dlx_server_answer *answer, dlx_error *err)
{
    size_t n = 0;
    json_t *id = json_object_get(q->root, "custom_id");
    char *custom = json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT);
    char *line =
        custom && answer->body ? dlx_cli_result_line(answer->id, custom, answer->status, answer->body, &n) : NULL;
    bool failed = answer->status != 200;
    dlx_status s = DLX_OK;
    pthread_mutex_lock(&b->output_lock);
    if (!line)
        s = dlx_cli_error(err, DLX_E_NOMEM, "out of memory for the result of '%.80s'", q->custom_id);
    else if (!b->broken)
        s = dlx_cli_results_append(failed && b->errors.fd >= 0 ? &b->errors : &b->results, line, n, err);
    if (s == DLX_OK && !b->broken) {
        b->answered++;
        b->failed += failed;
    } else {
        b->left_open++;
    }
    pthread_mutex_unlock(&b->output_lock);
    free(custom);
    free(line);
    return s;
}

static void *work(void *ctx)
{
    batch *b = ctx;
    dlx_cli_request q;
    dlx_error err;
    while (next(b, &q)) {
        dlx_server_answer answer;
        dlx_server_ask(b->server, q.url, q.body, &answer);
        if (answer.status) {
            if (put(b, &q, &answer, &err) != DLX_OK) fail(b, &err);
        } else {
            pthread_mutex_lock(&b->output_lock);
            b->left_open++;
            pthread_mutex_unlock(&b->output_lock);
        }
        free(answer.body);
        json_decref(q.root);
    }
    atomic_fetch_sub(&b->working, 1);
    return NULL;
}

/* ---- the main thread --------------------------------------------------------------------------------------------- */

static void show(batch *b)
{
    char left[48] = "", of[32] = "";
    double seconds = dlx_cli_seconds() - b->begin;
    dlx_server_counts counts = dlx_server_counted(b->server);
    pthread_mutex_lock(&b->output_lock);
    size_t answered = b->answered, failed = b->failed;
    pthread_mutex_unlock(&b->output_lock);
    /* Of a pipe others are counting what an earlier run answered. */
    size_t done = answered + (b->requests.pipe ? 0 : b->requests.answered);
    double rate = seconds > 0 ? (double)answered / seconds : 0;
    if (!b->requests.pipe) {
        snprintf(of, sizeof of, " of %zu", b->requests.n);
        double rest = rate > 0 ? (double)(b->requests.n - done) / rate : 0;
        if (rate > 0 && rest >= 5400)
            snprintf(left, sizeof left, ", %.1f hours left", rest / 3600);
        else if (rate > 0)
            snprintf(left, sizeof left, rest >= 90 ? ", %.0f minutes left" : ", %.0f s left",
                     rest >= 90 ? rest / 60 : rest);
    }
    dlx_cli_progress(false, "%zu%s answered, %zu failed, %.2f a second, %.0f tokens/s%s%s", done, of, failed, rate,
                     seconds > 0 ? (double)counts.answer_tokens / seconds : 0, left,
                     dlx_cli_interrupted() ? "; finishing what runs" : "");
}

/* Until all threads have ended. The first signal ends taking lines, and what runs has so many seconds then. */
static void watch(batch *b, double seconds)
{
    double deadline = 0;
    bool cancelled = false;
    while (atomic_load(&b->working)) {
        show(b);
        dlx_cli_wait_ms(POLL_MS);
        if (dlx_cli_interrupted() && deadline == 0) {
            atomic_store(&b->stop, true);
            deadline = dlx_cli_seconds() + seconds;
        }
        pthread_mutex_lock(&b->output_lock);
        bool end = b->broken || (deadline > 0 && dlx_cli_seconds() >= deadline);
        pthread_mutex_unlock(&b->output_lock);
        if (end && !cancelled) dlx_server_cancel(b->server);
        cancelled |= end;
    }
    dlx_cli_progress_end();
}

static dlx_status answer_all(batch *b, int parallel, double seconds)
{
    pthread_t threads[2 * MOST_PARALLEL];
    sigset_t all, before;
    /* Twice as many as answers are decoded at one time: while those run, the next ones are read and encoded. */
    int wanted = 2 * parallel, n = 0;
    b->begin = dlx_cli_seconds();
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (; n < wanted; n++) {
        atomic_fetch_add(&b->working, 1);
        if (pthread_create(&threads[n], NULL, work, b) == 0) continue;
        atomic_fetch_sub(&b->working, 1);
        break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    watch(b, seconds);
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
    if (!n) return dlx_cli_error(&b->err, DLX_E_NOMEM, "the system refused a thread");
    return b->broken ? b->err.status : DLX_OK;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static void put_summary(const dlx_cli_arguments *a, const batch *b, const dlx_server_counts *counts, bool complete)
{
    double seconds = b->begin > 0 ? dlx_cli_seconds() - b->begin : 0;
    if (dlx_cli_flag(a, "json", false)) {
        dlx_cli_json j = {.out = stdout};
        dlx_cli_json_open(&j, NULL, '{');
        dlx_cli_json_int(&j, "requests", (int64_t)b->requests.n);
        dlx_cli_json_bool(&j, "complete", complete);
        dlx_cli_json_int(&j, "resumed", (int64_t)b->requests.answered);
        dlx_cli_json_int(&j, "answered", (int64_t)b->answered);
        dlx_cli_json_int(&j, "failed", (int64_t)b->failed);
        dlx_cli_json_int(&j, "prompt_tokens", (int64_t)counts->prompt_tokens);
        dlx_cli_json_int(&j, "cached_tokens", (int64_t)counts->cached_tokens);
        dlx_cli_json_int(&j, "completion_tokens", (int64_t)counts->answer_tokens);
        dlx_cli_json_int(&j, "passes", (int64_t)counts->passes);
        dlx_cli_json_number(&j, "seconds", seconds, 6);
        dlx_cli_json_close(&j, '}');
        printf("\n");
        return;
    }
    printf("%s%zu of %zu requests answered in %.1f s, %zu of them with an error",
           complete ? "" : "interrupted: ", b->answered, b->requests.n - b->requests.answered, seconds, b->failed);
    if (b->requests.answered) printf("; %zu had results", b->requests.answered);
    printf("\n%llu tokens, %.1f a second\n", (unsigned long long)counts->answer_tokens,
           seconds > 0 ? (double)counts->answer_tokens / seconds : 0);
}

static int run_server(batch *b, const dlx_cli_arguments *a, const dlx_server_options *o, dlx_server_counts *counts)
{
    dlx_error err;
    dlx_cli_progress(true, "opening the model");
    dlx_status s = dlx_server_open(&b->server, o, &err);
    dlx_cli_progress_end();
    if (s != DLX_OK) return dlx_cli_fail(&err);
    dlx_cli_pack_cache_notice(dlx_server_model(b->server));
    dlx_cli_catch_interrupts(); /* so far nothing was written, and any signal was the end */
    s = answer_all(b, o->seats, (double)dlx_cli_int(a, "stop-seconds", 10));
    *counts = dlx_server_counted(b->server);
    dlx_server_close(b->server, 0);
    return s == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&b->err);
}

/* No two of what is read and written may be one file. */
static dlx_status check_files(const batch *b, const char *model, dlx_error *err)
{
    const struct {
        const char *name;
        int fd;
    } files[] = {{b->requests.lines.name, b->requests.lines.fd},
                 {b->results.path, b->results.fd},
                 {b->errors.path, b->errors.fd}};
    struct stat st[4];
    bool there[4];
    for (size_t i = 0; i < 3; i++)
        there[i] = files[i].fd >= 0 && fstat(files[i].fd, &st[i]) == 0 && S_ISREG(st[i].st_mode);
    there[3] = stat(model, &st[3]) == 0;
    for (size_t i = 1; i < 3; i++)
        for (size_t k = 0; k < 4; k++)
            if (i != k && there[i] && there[k] && st[i].st_dev == st[k].st_dev && st[i].st_ino == st[k].st_ino)
                return dlx_cli_error(err, DLX_E_INVALID, "'%s' and '%s' are one file; name another output",
                                     k == 3 ? model : files[k].name, files[i].name);
    return DLX_OK;
}

/* Everything that can be wrong before the model is opened. */
static dlx_status open_files(batch *b, const char *model, const char *in, const char *out, const char *errors,
                             dlx_error *err)
{
    dlx_cli_requests *r = &b->requests;
    dlx_status s = dlx_cli_requests_open(r, in, err);
    r->lines.stopped = stopped;
    r->lines.ctx = b;
    if (s == DLX_OK) s = dlx_cli_requests_check(r, err);
    if (s == DLX_OK) s = dlx_cli_results_open(&b->results, out, err);
    if (s == DLX_OK && errors) s = dlx_cli_results_open(&b->errors, errors, err);
    if (s == DLX_OK) s = check_files(b, model, err); /* before they are locked: a file twice would be in its own way */
    if (s == DLX_OK) s = dlx_cli_results_read(&b->results, &r->ids, !r->pipe, err);
    if (s == DLX_OK && errors) s = dlx_cli_results_read(&b->errors, &r->ids, !r->pipe, err);
    if (s == DLX_OK && !r->pipe) dlx_cli_requests_count(r);
    return s;
}

static int run_batch(batch *b, const dlx_cli_arguments *a, const dlx_server_options *o, const char *in, const char *out)
{
    dlx_error err;
    dlx_server_counts counts = {0};
    dlx_model_facts facts = {.struct_size = sizeof facts};
    dlx_cli_progress(true, "reading '%s'", in);
    dlx_status s = dlx_model_read_facts(&facts, o->path, &err);
    if (s == DLX_OK) s = open_files(b, o->path, in, out, dlx_cli_text(a, "errors"), &err);
    dlx_cli_progress_end();
    int status = s == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
    bool all = status == DLX_CLI_OK && !b->requests.pipe && b->requests.answered == b->requests.n;
    if (status == DLX_CLI_OK && !all) status = run_server(b, a, o, &counts);
    dlx_cli_results *const files[] = {&b->results, &b->errors};
    for (size_t i = 0; i < 2; i++)
        if (dlx_cli_results_close(files[i], &err) != DLX_OK && status == DLX_CLI_OK) status = dlx_cli_fail(&err);
    if (status != DLX_CLI_OK) return status;
    bool last = b->ended || (!b->requests.pipe && b->requests.answered + b->answered == b->requests.n);
    bool complete = last && !b->left_open;
    if (complete) dlx_cli_output_is_there();
    put_summary(a, b, &counts, complete);
    return complete ? DLX_CLI_OK : DLX_CLI_INTERRUPTED;
}

static int run(const dlx_cli_arguments *a)
{
    int next_word;
    const char *path = dlx_cli_pte_path(a, &next_word), *errors = dlx_cli_text(a, "errors");
    batch b = {.requests = {.lines = {.fd = -1}}, .results = {.fd = -1}, .errors = {.fd = -1}};
    dlx_server_options o = {.path = path, .host = "127.0.0.1", .local = true};
    if (!path) return DLX_CLI_USAGE;
    if (a->n_positional > next_word + 2) return dlx_cli_too_many(a, next_word + 2);
    if (a->n_positional < next_word + 2)
        return dlx_cli_usage(a->command, "batch needs a .pte, a file of requests and a file for their results");
    const char *in = a->positional[next_word], *out = a->positional[next_word + 1];
    int status = dlx_cli_kv_type(a, &o.kv_type);
    if (status == DLX_CLI_OK && (!strcmp(out, "-") || (errors && !strcmp(errors, "-"))))
        status = dlx_cli_usage(a->command, "results go to a file, in which the next run finds them; name one");
    if (status == DLX_CLI_OK) status = dlx_cli_check_output(a, out);
    if (status == DLX_CLI_OK) status = dlx_cli_check_output(a, errors);
    dlx_cli_serving(&o, a, 8);
    o.queue = 2 * o.seats * MOST_ANSWERS; /* nobody is turned away */
    if (status != DLX_CLI_OK) return status;
    if (pthread_mutex_init(&b.input_lock, NULL) != 0) return dlx_cli_out_of_memory();
    if (pthread_mutex_init(&b.output_lock, NULL) != 0) {
        pthread_mutex_destroy(&b.input_lock);
        return dlx_cli_out_of_memory();
    }
    status = run_batch(&b, a, &o, in, out);
    dlx_cli_requests_free(&b.requests);
    pthread_mutex_destroy(&b.input_lock);
    pthread_mutex_destroy(&b.output_lock);
    return status;
}
#else
static int run(const dlx_cli_arguments *a)
{
    return dlx_cli_no_server(a);
}
#endif

static const dlx_cli_option options[] = {
    DLX_CLI_RUN_OPTIONS,
    {"errors", DLX_CLI_TEXT, "FILE", "results with an error go there (default: with the others)", 0, 0},
    {"parallel", DLX_CLI_INT, "N", "answers that are decoded at one time; they share passes (default 8)", 1, 64},
    DLX_CLI_SERVING_OPTIONS,
    {"model-name", DLX_CLI_TEXT, "NAME", "what results call the model (default: the file's name)", 0, 0},
    {"stop-seconds", DLX_CLI_INT, "N", "after a signal, what runs has that time to finish (default 10)", 0, 86400},
    {"json", DLX_CLI_FLAG, NULL, "the summary as one JSON object", 0, 0},
};

const dlx_cli_command dlx_cli_batch = {
    .name = "batch",
    .arguments = "FILE REQUESTS RESULTS",
    .summary = "answers a file of requests in OpenAI's batch format",
    .notes =
        "REQUESTS holds a JSON object a line, {\"custom_id\": ..., \"method\": \"POST\", \"url\": "
        "\"/v1/chat/completions\", \"body\": {...}}, with what `serve` takes as a body; - is the standard input. "
        "Each answer becomes a line of RESULTS when it is there. Started again with the same files, it goes on with "
        "what has no result yet, however it ended. docs/SCALING.md describes it.",
    .first = "errors parallel threads json",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 3,
    .run = run,
};
