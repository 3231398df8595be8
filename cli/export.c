/* export: a checkpoint folder becomes a .pte. */
#include "commands.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "full/export_report.h"
#include "full/export_validate.h"
#include "full/placement.h"
#include "full/stages.h"
#include "full/text_inputs.h"
#include "hush.h"
#include "json.h"
#include "output.h"

enum { LONGEST = 1 << 24 };

static bool on_progress(void *ctx, uint64_t done, uint64_t total)
{
    const dlx_cli_stages *p = ctx;
    double seconds = dlx_cli_seconds() - p->last, rate = seconds > 0 ? (double)done / seconds : 0;
    char a[32], b[32], c[32], speed[96] = ""; /* nothing until something was written */
    if (rate > 0)
        snprintf(speed, sizeof speed, "  %s/s  %.0f s left", dlx_cli_bytes(c, (uint64_t)rate),
                 total > done ? (double)(total - done) / rate : 0);
    dlx_cli_progress(done == total, "exporting %3.0f %%  %s of %s%s",
                     total ? 100.0 * (double)done / (double)total : 100.0, dlx_cli_bytes(a, done),
                     dlx_cli_bytes(b, total), speed);
    return !dlx_cli_interrupted();
}

static void put_json(const dlx_export_options *o, const dlx_export_result *r, const json_t *report,
                     const dlx_cli_placements *placed, const dlx_cli_validation *v)
{
    dlx_cli_json j = {.out = stdout};
    dlx_cli_json_open(&j, NULL, '{');
    dlx_cli_json_text(&j, "output_path", o->output_path);
    dlx_cli_json_text(&j, "backend", o->backend);
    dlx_cli_json_text(&j, "quantization", r->quantization);
    dlx_cli_json_text(&j, "kv", r->kv);
    dlx_cli_json_int(&j, "file_bytes", (int64_t)r->file_bytes);
    dlx_cli_json_int(&j, "quantised_tensors", r->quantised_tensors);
    dlx_cli_json_int(&j, "quantised_bytes", (int64_t)r->quantised_bytes);
    dlx_cli_json_int(&j, "float_tensors", r->float_tensors);
    dlx_cli_json_int(&j, "float_bytes", (int64_t)r->float_bytes);
    if (report) { /* of a program */
        dlx_cli_export_report_json(&j, report);
        dlx_cli_placements_json(&j, placed);
    }
    if (v->asked) dlx_cli_validation_json(&j, v);
    dlx_cli_json_number(&j, "seconds", r->seconds, 6);
    dlx_cli_json_int(&j, "peak_memory_bytes", (int64_t)dlx_cli_peak_memory());
    dlx_cli_json_close(&j, '}');
    printf("\n");
}

static void put_summary(const dlx_export_options *o, const dlx_export_result *r, const json_t *report,
                        const dlx_cli_placements *placed, bool by_default)
{
    char a[32], b[32], c[32];
    if (by_default)
        printf("quantization: %s, the default; --quantization %s\n", r->quantization,
               !strcmp(o->backend, "xnnpack") ? "none keeps the weights in float32"
                                              : "fp16 keeps the weights in float16");
    printf("%s: %s (%llu bytes) in %.2f s, peak memory %s\n", o->output_path, dlx_cli_bytes(a, r->file_bytes),
           (unsigned long long)r->file_bytes, r->seconds, dlx_cli_bytes(b, dlx_cli_peak_memory()));
    printf("  quantised      %5d tensors  %s\n", r->quantised_tensors, dlx_cli_bytes(c, r->quantised_bytes));
    printf("  not quantised  %5d tensors  %s\n", r->float_tensors, dlx_cli_bytes(c, r->float_bytes));
    if (!report) return;
    dlx_cli_export_report_text(report);
    dlx_cli_placements_text(placed, o->backend);
}

/* The form of the cache; the exit status. */
static int take_kv(dlx_export_options *o, const dlx_cli_arguments *a)
{
    static const char inside[] = "fixed-state";
    o->kv = dlx_cli_text(a, "kv");
    if (!dlx_cli_flag(a, "coreml-state", false)) return DLX_CLI_OK;
    if (o->kv && strcmp(o->kv, inside) != 0)
        return dlx_cli_usage(a->command, "--coreml-state is --kv %s, but --kv %s was given as well", inside, o->kv);
    o->kv = inside;
    return DLX_CLI_OK;
}

/* As the table of backends writes it: in any case; the first for NULL, and `word` itself where it is none. */
static const char *backend_named(const char *word)
{
    dlx_backend_info backend = {.struct_size = sizeof backend};
    for (size_t i = 0; dlx_export_backend_info(i, &backend); i++)
        if (!word || !strcasecmp(word, backend.name)) return backend.name;
    return word;
}

/* Everything that the command line says about the export; the exit status. */
static int take_options(dlx_export_options *o, const dlx_cli_arguments *a)
{
    int next = 0;
    o->model_path = dlx_cli_path(a, "hf-model-path", &next);
    o->output_path = dlx_cli_path(a, "output-path", &next);
    if (!o->model_path || !o->output_path)
        return dlx_cli_usage(a->command, "export needs a checkpoint folder and a .pte to write: export DIR FILE, or "
                                         "--hf-model-path DIR --output-path FILE");
    if (a->n_positional > next) return dlx_cli_too_many(a, next);
    if (dlx_cli_check_output(a, o->output_path) != DLX_CLI_OK ||
        dlx_cli_check_output(a, dlx_cli_text(a, "save-ranges")) != DLX_CLI_OK)
        return DLX_CLI_USAGE;
    o->backend = backend_named(dlx_cli_text(a, "backend"));
    if (take_kv(o, a) != DLX_CLI_OK) return DLX_CLI_USAGE;
    o->quantization_config = dlx_cli_text_input(a, "quantization-config");
    o->quantization = dlx_cli_text(a, "quantization");
    o->model_type = dlx_cli_text(a, "model-type");
    o->chat_template = dlx_cli_text_input(a, "chat-template");
    o->max_seq_len = (int32_t)dlx_cli_int(a, "max-seq-len", 0);
    o->max_rows = (int32_t)dlx_cli_int(a, "max-rows", 0);
    o->block_size = (int32_t)dlx_cli_int(a, "block-size", 0);
    o->mask_id = dlx_cli_int(a, "mask-id", 0);
    o->rounding = dlx_cli_text(a, "rounding");
    o->calibration = dlx_cli_text_input(a, "calibration");
    o->calibration_samples = dlx_cli_int(a, "calibration-samples", 0);
    o->calibration_length = dlx_cli_int(a, "calibration-length", 0);
    o->calibration_seed = dlx_cli_int(a, "calibration-seed", 0);
    o->delegate_layers = (int32_t)dlx_cli_int(a, "delegate-layers", 0);
    o->minimum_deployment_target = dlx_cli_text(a, "minimum-deployment-target");
    o->compute_units = dlx_cli_text(a, "compute-units");
    o->emit = dlx_cli_text(a, "emit");
    o->soc = dlx_cli_text(a, "soc");
    o->qnn_lib_dir = dlx_cli_text(a, "qnn-lib-dir");
    o->work_folder = dlx_cli_text(a, "work-folder");
    o->observer = dlx_cli_text(a, "observer");
    o->ranges = dlx_cli_text_input(a, "ranges");
    o->save_ranges = dlx_cli_text(a, "save-ranges");
    static const char *const texts[] = {"quantization-config", "calibration", "ranges", "chat-template", "validation"};
    return dlx_cli_check_text_inputs(a, texts, sizeof texts / sizeof *texts);
}

/* "512,32": the rows of further methods, into the array behind o->method_rows. */
static int take_method_rows(dlx_export_options *o, const dlx_cli_arguments *a, const char *list,
                            int32_t rows[DLX_MOST_METHOD_ROWS])
{
    o->method_rows = rows;
    for (const char *at = list; at; at = strchr(at, ','), at += at != NULL) {
        char *end;
        long long n = strtoll(at, &end, 10);
        if (end == at || (*end && *end != ',') || n < 1 || n > LONGEST)
            return dlx_cli_usage(
                a->command, "--method-rows is '%s'; expected whole numbers of 1 to %d, comma separated", list, LONGEST);
        if (o->n_method_rows == DLX_MOST_METHOD_ROWS)
            return dlx_cli_usage(a->command, "--method-rows has more than %d numbers", DLX_MOST_METHOD_ROWS);
        rows[o->n_method_rows++] = (int32_t)n;
    }
    return DLX_CLI_OK;
}

/* The parts and the memory of the file that was written, in *out, which is NULL where it is no program; the exit
 * status. A context that the file has not is wrong here as it is for inspect; what comes out is the memory of all
 * positions. */
static int describe(json_t **out, const dlx_cli_arguments *a, const dlx_export_options *o)
{
    dlx_error err;
    *out = NULL;
    if (o->emit && strcmp(o->emit, "pte") != 0) return DLX_CLI_OK;
    dlx_status s = dlx_cli_export_report(out, o->output_path, (int32_t)dlx_cli_int(a, "max-context", 0), &err);
    if (s == DLX_OK) return DLX_CLI_OK;
    if (s == DLX_E_LIMIT) {
        dlx_error again;
        dlx_cli_message("'%s' is complete and can be used, but not as --max-context says: %s", o->output_path,
                        err.message);
        if (dlx_cli_export_report(out, o->output_path, 0, &again) == DLX_OK) return DLX_CLI_FAILED;
        err = again;
    }
    dlx_cli_message("'%s' was written, but it cannot be described: %s", o->output_path, err.message);
    return DLX_CLI_FAILED;
}

/* What can be known of --max-context before anything is read. */
static int check_context(const dlx_cli_arguments *a, const dlx_export_options *o)
{
    int64_t context = dlx_cli_int(a, "max-context", 0);
    if (!o->max_seq_len || context <= o->max_seq_len) return DLX_CLI_OK;
    return dlx_cli_usage(a->command, "--max-context %lld is above the %d positions of --max-seq-len",
                         (long long)context, o->max_seq_len);
}

static int export_file(const dlx_cli_arguments *a, const dlx_export_options *o, const dlx_cli_placements *placed,
                       dlx_cli_validation *v)
{
    dlx_export_result result = {.struct_size = sizeof result};
    dlx_cli_stages stages = {.first = 0};
    dlx_validate_options how = dlx_cli_validation_options(a, &stages);
    dlx_error err;
    json_t *report;
    bool json = dlx_cli_flag(a, "json", false);
    /* Only Qualcomm's libraries print; for the others the standard output stays what it is. */
    bool hushed = o->backend && !strcmp(o->backend, "qnn");
    dlx_cli_hush hush = hushed ? dlx_cli_hush_begin(false) : (dlx_cli_hush){.was = {-1, -1}};
    dlx_status s = v->asked ? dlx_export_validated(o, &how, &result, &v->found, &err) : dlx_export(o, &result, &err);
    if (hushed) dlx_cli_hush_end(&hush);
    if (s == DLX_OK) dlx_cli_output_is_there();
    dlx_cli_progress_end();
    if (!result.file_bytes) return dlx_cli_fail(&err);
    int status = describe(&report, a, o);
    if (status != DLX_CLI_OK && !report) return s == DLX_OK ? status : dlx_cli_fail(&err);
    if (!json) put_summary(o, &result, report, placed, !o->quantization_config && !o->quantization && !o->exclude);
    if (s != DLX_OK)
        status = dlx_cli_fail(&err);
    else if (json)
        put_json(o, &result, report, placed, v);
    else if (v->asked)
        dlx_cli_validation_text(v);
    json_decref(report);
    return status;
}

static int validate_file(const dlx_cli_arguments *a, const dlx_export_options *o, dlx_cli_validation *v)
{
    int status = dlx_cli_validation_run(v, a, o->model_path, o->output_path);
    if (status != DLX_CLI_OK) return status;
    if (!dlx_cli_flag(a, "json", false)) {
        dlx_cli_validation_text(v);
        return status;
    }
    dlx_cli_json j = {.out = stdout};
    dlx_cli_json_open(&j, NULL, '{');
    dlx_cli_json_text(&j, "output_path", o->output_path);
    dlx_cli_validation_json(&j, v);
    dlx_cli_json_close(&j, '}');
    printf("\n");
    return status;
}

static int run_with(const dlx_cli_arguments *a, const char *exclude, const char *method_rows)
{
    dlx_cli_stages stages = {.last = dlx_cli_seconds()};
    dlx_export_options o = dlx_export_options_default();
    dlx_cli_placements placed = {.n = 0};
    dlx_cli_validation v;
    int32_t rows[DLX_MOST_METHOD_ROWS];
    int status = take_options(&o, a);
    if (status == DLX_CLI_OK) status = check_context(a, &o);
    if (status == DLX_CLI_OK) status = take_method_rows(&o, a, method_rows, rows);
    if (status == DLX_CLI_OK) status = dlx_cli_validation_read(&v, a);
    if (status != DLX_CLI_OK) return status;
    o.exclude = exclude;
    o.stage = dlx_cli_on_stage;
    o.progress = on_progress;
    o.stage_ctx = o.progress_ctx = &stages;
    o.notice = dlx_cli_on_notice;
    o.placement = dlx_cli_on_placement;
    o.placement_ctx = &placed;
    dlx_cli_catch_interrupts();
    status = v.only ? validate_file(a, &o, &v) : export_file(a, &o, &placed, &v);
    if (status == DLX_CLI_OK) status = dlx_cli_validation_judge(&v);
    dlx_cli_validation_free(&v);
    dlx_cli_placements_free(&placed);
    return status;
}

static int run(const dlx_cli_arguments *a)
{
    char *exclude = NULL, *method_rows = NULL;
    bool ok = dlx_cli_joined(a, "exclude", &exclude) && dlx_cli_joined(a, "method-rows", &method_rows);
    int status = ok ? run_with(a, exclude, method_rows) : DLX_CLI_FAILED;
    free(exclude);
    free(method_rows);
    return status;
}

static void put_choice(const dlx_cli_lister *to, const char *name, const char *help, const char *aliases, bool first)
{
    char text[1024];
    snprintf(text, sizeof text, "%s%s%s%s", help, *aliases ? "; also called " : "", aliases, first ? " (default)" : "");
    to->row(name, text);
}

static void choices(const dlx_cli_lister *to)
{
    dlx_backend_info backend = {.struct_size = sizeof backend};
    dlx_scheme_info scheme = {.struct_size = sizeof scheme};
    to->section("backends");
    for (size_t i = 0; dlx_export_backend_info(i, &backend); i++)
        put_choice(to, backend.name, backend.help, backend.aliases, i == 0);
    to->section("quantisation schemes [backends that can write them]");
    for (size_t i = 0; dlx_export_scheme_info(i, &scheme); i++) {
        char help[512];
        snprintf(help, sizeof help, "%s [%s]", scheme.help, scheme.backends);
        put_choice(to, scheme.name, help, scheme.aliases, i == 0);
    }
    dlx_kv_info kv = {.struct_size = sizeof kv};
    to->section("forms of the KV cache");
    for (size_t i = 0; dlx_export_kv_info(i, &kv); i++) put_choice(to, kv.name, kv.help, "", i == 0);
    dlx_soc_info soc = {.struct_size = sizeof soc};
    to->section("chips of backend qnn: generation, and schemes that it has");
    for (size_t i = 0; dlx_export_soc_info(i, &soc); i++) {
        char help[256];
        snprintf(help, sizeof help, "%s, V%lld: %s", soc.known_as, (long long)soc.generation, soc.schemes);
        put_choice(to, soc.name, help, "", !strcmp(soc.name, "SM8650"));
    }
}

static const dlx_cli_option options[] = {
    {"hf-model-path", DLX_CLI_TEXT, "DIR",
     "checkpoint folder, or org/name from the Hugging Face cache, instead of the argument DIR", 0, 0},
    {"output-path", DLX_CLI_TEXT, "FILE", "the .pte to write, instead of the argument FILE", 0, 0},
    {"backend", DLX_CLI_TEXT, "NAME", "who runs the program, one of the backends below", 0, 0},
    {"quantization", DLX_CLI_TEXT, "NAME", "one of the quantisation schemes below", 0, 0},
    {"quantization-config", DLX_CLI_TEXT, "FILE",
     "JSON file that gives the head, the embedding or single tensors other forms than the scheme does", 0, 0},
    {"exclude", DLX_CLI_TEXT, "LIST",
     "weights that stay float32 (coreml: float16), comma separated: their names in the checkpoint or lm_head, "
     "layers.0.down, ...; * is any text, ? any character; lists of several --exclude add up",
     0, 0},
    {"rounding", DLX_CLI_TEXT, "NAME",
     "how weights become int8 or int4: nearest (default), mse (with scales that miss them least), gptq (so that "
     "answers to calibration data change least), awq (inputs scaled by what that data makes of them), awq-gptq, smooth "
     "(inputs scaled for the grids of int8-static, whose default it is)",
     0, 0},
    {"calibration", DLX_CLI_TEXT, "FILE",
     "that data as JSON lines: text, prompt and answer, messages or ids (default: the model writes it)", 0, 0},
    {"calibration-samples", DLX_CLI_INT, "N", "how many samples are made of it (default: 64)", 1, 1 << 20},
    {"calibration-length", DLX_CLI_INT, "N", "most tokens of one (default: 256)", 2, LONGEST},
    {"calibration-seed", DLX_CLI_INT, "N", "of masks, and of what the model writes", 0, 1 << 30},
    {"observer", DLX_CLI_TEXT, "mse|minmax|percentile",
     "which range of the numbers in calibration data int8-static stands for: the one that misses them least, all, or "
     "all but 0.005 % at either end (default: mse; minmax with rounding smooth)",
     0, 0},
    {"save-ranges", DLX_CLI_TEXT, "FILE", "where the ranges that int8-static or qnn measured are written too", 0, 0},
    {"ranges", DLX_CLI_TEXT, "FILE", "such a file, in place of measuring", 0, 0},
    {"work-folder", DLX_CLI_TEXT, "DIR",
     "where an interrupted calibration goes on from, until the file is complete (default: FILE.work)", 0, 0},
    {"max-seq-len", DLX_CLI_INT, "N", "positions: prompt and answer together (default: the checkpoint's, at most 2048)",
     1, LONGEST},
    {"max-rows", DLX_CLI_INT, "N", "most rows of one pass (default: max-seq-len; explicit: a block)", 1, LONGEST},
    {"method-rows", DLX_CLI_TEXT, "LIST",
     "further methods of the same weights, forward_N for passes of at most N rows, comma separated", 0, 0},
    {"kv", DLX_CLI_TEXT, "FORM", "who keeps keys and values between calls, one of the forms below", 0, 0},
    {"coreml-state", DLX_CLI_FLAG, NULL, "coreml: inside Core ML, which is --kv fixed-state", 0, 0},
    {"minimum-deployment-target", DLX_CLI_TEXT, "iOS16|iOS17|iOS18",
     "coreml: the oldest system that is to run the file (default: iOS18)", 0, 0},
    {"compute-units", DLX_CLI_TEXT, "cpu_only|cpu_and_gpu|cpu_and_ne|all",
     "coreml: what it may run on (default: cpu_and_ne, also called cpu_and_ane)", 0, 0},
    {"emit", DLX_CLI_TEXT, "pte|mlpackage", "coreml: a program (default), or the model package alone", 0, 0},
    {"soc", DLX_CLI_TEXT, "NAME", "qnn: the chip that the file is for, one of those below (default: SM8650)", 0, 0},
    {"qnn-lib-dir", DLX_CLI_TEXT, "DIR",
     "qnn: folder of Qualcomm's libraries (default: the SDK or folder of $QNN_SDK_ROOT, or, where that is not set, the "
     "package onnxruntime-qnn where it is installed)",
     0, 0},
    {"delegate-layers", DLX_CLI_INT, "N", "coreml, qnn: decoder layers of one delegate at most (default: all in one)",
     1, LONGEST},
    {"block-size", DLX_CLI_INT, "N", "block length, where the checkpoint's is wrong", 1, LONGEST},
    {"mask-id", DLX_CLI_INT, "ID", "the mask token, where config.json and the tokenizer disagree", 1, LONGEST},
    {"model-type", DLX_CLI_TEXT, "NAME", "llada, dream, sdar or fast_dllm_v2, where config.json says something else", 0,
     0},
    {"chat-template", DLX_CLI_TEXT, "NAME|FILE",
     "chat template in place of the checkpoint's: one of its named ones, a file with Jinja text, or none", 0, 0},
    {"max-context", DLX_CLI_INT, "N",
     "in the summary, the memory of a session of N positions (default: all that the program can address)", 1, LONGEST},
    {"validate", DLX_CLI_FLAG, NULL,
     "then runs the file against the checkpoint in float32, on masked samples: KL divergence, best tokens, worst layer",
     0, 0},
    {"validate-only", DLX_CLI_FLAG, NULL, "does that with a FILE that is there; exports nothing", 0, 0},
    {"validation", DLX_CLI_TEXT, "FILE",
     "samples for it, like those of --calibration (default: that file; without one, the model writes them)", 0, 0},
    {"validation-samples", DLX_CLI_INT, "N", "how many (default: 20)", 1, 1 << 20},
    {"validation-length", DLX_CLI_INT, "N", "most tokens of one (default: 256, or what a call takes)", 2, LONGEST},
    {"max-kl", DLX_CLI_TEXT, "X", "exit status 1 when the mean KL divergence is above X", 0, 0},
    {"json", DLX_CLI_FLAG, NULL, "the summary as one JSON object", 0, 0},
};

const dlx_cli_command dlx_cli_export = {
    .name = "export",
    .arguments = "DIR FILE",
    .summary = "turns a checkpoint folder into a .pte",
    .notes = "DIR is a checkpoint folder, or org/name from the Hugging Face cache; FILE is the .pte to write. "
             "Where an option names a file with text to read, - is the standard input.",
    .examples = "diffulex-edge export path/to/checkpoint model.pte\0"
                "diffulex-edge export DIR model.pte --validate-only\0"
                "diffulex-edge export org/name model.pte --quantization none\0"
                "diffulex-edge export org/name model.pte --quantization int4-g32\0"
                "diffulex-edge export DIR model.pte --quantization int4 --exclude 'layers.0.*'\0"
                "diffulex-edge export DIR model.pte --quantization int4-g32 --rounding gptq\0",
    .choices = choices,
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 2,
    .run = run,
};
