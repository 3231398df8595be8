/* logits: one forward pass over given ids, written as a safetensors file. */
#include <stdlib.h>

#include "commands.h"
#include "input.h"
#include "output.h"
#include "running.h"

static dlx_status forward(const dlx_cli_running *r, const int32_t *ids, size_t n, int32_t block, float **logits,
                          dlx_error *err)
{
    *logits = calloc(n * (size_t)r->facts->vocab_size, sizeof **logits);
    if (!*logits)
        return dlx_cli_error(err, DLX_E_NOMEM, "out of memory: %zu rows of %d logits", n, r->facts->vocab_size);
    dlx_forward_call call = {.struct_size = sizeof call,
                             .ids = ids,
                             .n_ids = (int32_t)n,
                             .attn_block = block,
                             .n_rows = (int32_t)n,
                             .logits = *logits};
    return dlx_session_forward(r->session, &call, err);
}

/* Before weights are read. */
static dlx_status check_ids(const dlx_cli_running *r, const int32_t *ids, size_t n, dlx_error *err)
{
    const dlx_model_facts *f = r->facts;
    if (n > (size_t)f->max_context)
        return dlx_cli_error(err, DLX_E_LIMIT, "%zu token ids do not fit the context of %d", n, f->max_context);
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= f->vocab_size)
            return dlx_cli_error(err, DLX_E_INVALID, "token id %d at position %zu is outside the vocabulary of %d",
                                 ids[i], i, f->vocab_size);
    return DLX_OK;
}

static int run_on(const dlx_cli_arguments *a, dlx_cli_running *r, const char *path, const char *output)
{
    dlx_error err;
    int32_t *ids;
    size_t n;
    float *logits = NULL;
    int32_t block = (int32_t)dlx_cli_int(a, "block-size", r->facts->attn_block);
    if (dlx_cli_parse_ids(dlx_cli_text(a, "token-ids"), &ids, &n, &err) != DLX_OK) return dlx_cli_fail(&err);
    int status = check_ids(r, ids, n, &err) == DLX_OK ? dlx_cli_running_load(r, a, path) : dlx_cli_fail(&err);
    if (status == DLX_CLI_OK) {
        dlx_cli_progress(true, "one pass over %zu tokens", n);
        dlx_status s = forward(r, ids, n, block, &logits, &err);
        dlx_cli_catch_interrupts(); /* from here on the file is finished or removed */
        if (s == DLX_OK) s = dlx_write_logits(output, logits, (int32_t)n, r->facts->vocab_size, &err);
        if (s == DLX_OK) dlx_cli_output_is_there();
        dlx_cli_progress_end();
        if (s != DLX_OK) status = dlx_cli_fail(&err);
    }
    free(logits);
    free(ids);
    return status;
}

static int run(const dlx_cli_arguments *a)
{
    int next;
    const char *path = dlx_cli_pte_path(a, &next), *output = dlx_cli_text(a, "output");
    if (!path) return DLX_CLI_USAGE;
    if (a->n_positional > next) return dlx_cli_too_many(a, next);
    if (!dlx_cli_text(a, "token-ids") || !output)
        return dlx_cli_usage(a->command, "logits needs --token-ids and --output");
    if (dlx_cli_check_output(a, output) != DLX_CLI_OK) return DLX_CLI_USAGE;
    dlx_error err;
    if (dlx_check_output(output, &path, 1, &err) != DLX_OK) return dlx_cli_fail(&err);
    dlx_cli_running r;
    int status = dlx_cli_running_open(&r, a, path, false);
    if (status == DLX_CLI_OK) status = run_on(a, &r, path, output);
    dlx_cli_running_close(&r);
    return status;
}

static const dlx_cli_option options[] = {
    DLX_CLI_RUN_OPTIONS,
    {"token-ids", DLX_CLI_TEXT, "I,J,...", "token ids of positions 0, 1, ...", 0, 0},
    {"output", DLX_CLI_TEXT, "FILE", "safetensors file to write: tensor logits, float32 [ids, vocabulary]", 0, 0},
    {"block-size", DLX_CLI_INT, "B", "block-causal attention of this width, 0 for full (default: the model's)", 0,
     1 << 24},
};

const dlx_cli_command dlx_cli_logits = {
    .name = "logits",
    .arguments = "FILE",
    .summary = "writes the logits of token ids as a safetensors file",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 1,
    .run = run,
};
