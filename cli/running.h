/* A model that is ready to decode, and decoding with it: shared by the commands that run models. */
#ifndef DLX_CLI_RUNNING_H
#define DLX_CLI_RUNNING_H

#include "arguments.h"
#include "json.h"

/* Options that every running command has. */
/* clang-format off */
#define DLX_CLI_KV_OPTION                                                                                              \
    {"kv-cache", DLX_CLI_TEXT, "TYPE",                                                                                 \
     "cached keys and values: float32 (default; exact), float16 (half the memory) or int8 (about a quarter)", 0, 0}
#define DLX_CLI_CPU_OPTION                                                                                             \
    {"cpu", DLX_CLI_TEXT, "NAME", "best kernels to use: auto (default), a set that doctor lists: ref, avx2, ...", 0, 0}
#define DLX_CLI_RUN_OPTIONS                                                                                            \
    {"pte-path", DLX_CLI_TEXT, "FILE", "the .pte, instead of the first argument", 0, 0},                               \
    {"threads", DLX_CLI_INT, "N", "threads; results do not depend on it (default 0: one per CPU)", 0, 1024},           \
    DLX_CLI_CPU_OPTION,                                                                                                \
    {"pack-cache", DLX_CLI_TEXT, "FOLDER",                                                                             \
     "keep packed weights in a file there: later starts take no time, and processes share the memory", 0, 0},          \
    DLX_CLI_KV_OPTION
/* Of commands that write answers. */
#define DLX_CLI_CONSTRAINT_OPTIONS                                                                                     \
    {"regex", DLX_CLI_TEXT, "R", "the answer is a text that the regular expression R matches as a whole", 0, 0},       \
    {"json-schema", DLX_CLI_TEXT, "FILE", "the answer is JSON that the schema in FILE describes", 0, 0},               \
    {"grammar", DLX_CLI_TEXT, "FILE", "the answer is a text of the grammar in FILE, which is GBNF", 0, 0}
/* clang-format on */

typedef struct dlx_cli_running {
    dlx_model *model;
    dlx_workspace *workspace; /* of the session alone */
    dlx_session *session;
    dlx_tokenizer *tokenizer;   /* NULL where the file carries none */
    dlx_constraint *constraint; /* of one of the options above, which the decode options have; NULL: none */
    dlx_model_facts read;       /* what `facts` points to until the model is loaded */
    const dlx_model_facts *facts;
    const char *kv_type;
    int32_t threads;
    double load_ms;
} dlx_cli_running;

/* Says so on the standard error when --pack-cache was of no use. */
void dlx_cli_pack_cache_notice(const dlx_model *model);

/* The words of --kv-cache, the default first, NULL behind the last. */
extern const char *const dlx_cli_kv_types[];
/* What --kv-cache says, in the words of dlx_workspace_options; the exit status. */
int dlx_cli_kv_type(const dlx_cli_arguments *a, const char **out);

/*
 * Opening happens in two steps, so that a command finds what is wrong with its arguments before it waits for weights:
 * `open` reads facts and tokenizer, `load` opens model and session. Failures are reported; the results are exit
 * statuses. Without a tokenizer in the file, needs_tokenizer decides whether that is a failure. Close in any case.
 */
int dlx_cli_running_open(dlx_cli_running *r, const dlx_cli_arguments *a, const char *path, bool needs_tokenizer);
int dlx_cli_running_load(dlx_cli_running *r, const dlx_cli_arguments *a, const char *path);
void dlx_cli_running_close(dlx_cli_running *r);

/* A .pte or a checkpoint folder. */
dlx_status dlx_cli_open_tokenizer(dlx_tokenizer **out, const char *path, dlx_error *err);

/* ---- reports ---- */

/* Puts numbers of a completion on the standard error: one line. */
void dlx_cli_put_statistics(const dlx_completion *completion);

/* "steps": [{block, forward, accepted, ms}, ...], and the keys of one of them. */
void dlx_cli_json_steps(dlx_cli_json *j, const dlx_generation *generation);
void dlx_cli_json_step(dlx_cli_json *j, const dlx_step *step);
/* The keys algorithm, threshold, finish_reason, num_forwards, timing, statistics, options, seed. */
void dlx_cli_json_completion(dlx_cli_json *j, const dlx_cli_arguments *a, const dlx_cli_running *r,
                             const dlx_completion *completion);

#endif
