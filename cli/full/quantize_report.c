/* quantize-report: what each form costs each weight, and a mix of forms under a budget. */
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "diffulex_edge/export.h"

#include "commands.h"
#include "full/stages.h"
#include "full/text_inputs.h"
#include "output.h"

/* "800000000", "800M", "0.8 GB", "800MiB"; letters in any case. */
static bool read_bytes(const char *text, uint64_t *bytes)
{
    static const char units[] = "kmg";
    char *end;
    double x = strtod(text, &end);
    if (end == text) return false;
    end += strspn(end, " ");
    const char *unit = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
    bool binary = unit && !strcasecmp(end + 1, "iB");
    if (*end && (!unit || (end[1] && strcasecmp(end + 1, "B") != 0 && !binary))) return false;
    for (size_t i = 0; unit && i <= (size_t)(unit - units); i++) x *= binary ? 1024 : 1000;
    if (!(x >= 1 && x < 1e15)) return false;
    *bytes = (uint64_t)(x + 0.5); /* 0.00007M is 69.99... in binary */
    return true;
}

static bool read_error(const char *text, double *error)
{
    char *end;
    *error = strtod(text, &end);
    return end != text && !*end && *error > 0 && isfinite(*error);
}

static double real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* A form over all weights: those that it does not fit stay float32. */
typedef struct total {
    const char *form;
    uint64_t bytes;
    double error; /* sum over weights */
    size_t fits;
} total;

enum { MOST_FORMS = 32 };

static const json_t *form_of(const json_t *tensor, const char *name)
{
    size_t k;
    json_t *form;
    json_array_foreach(json_object_get(tensor, "forms"), k, form)
    {
        if (!strcmp(json_string_value(json_object_get(form, "form")), name)) return form;
    }
    return NULL;
}

/* Forms in the order in which weights have them, and none last. */
static size_t add_up(total totals[MOST_FORMS], const json_t *tensors)
{
    size_t n = 0, i, k;
    json_t *tensor, *form;
    json_array_foreach(tensors, i, tensor)
    {
        json_array_foreach(json_object_get(tensor, "forms"), k, form)
        {
            const char *name = json_string_value(json_object_get(form, "form"));
            bool known = false;
            for (size_t j = 0; j < n && !known; j++) known = !strcmp(totals[j].form, name);
            if (!known && n < MOST_FORMS) totals[n++] = (total){.form = name};
        }
    }
    for (size_t j = 0; j < n; j++) {
        json_array_foreach(tensors, i, tensor)
        {
            const json_t *f = form_of(tensor, totals[j].form), *of = f ? f : form_of(tensor, "none");
            totals[j].bytes += (uint64_t)real(of, "bytes");
            totals[j].error += real(of, "error");
            totals[j].fits += f != NULL;
        }
    }
    return n;
}

static void put_tensors(const json_t *tensors)
{
    size_t i, k;
    json_t *tensor, *form;
    json_array_foreach(tensors, i, tensor)
    {
        printf("%-16s", json_string_value(json_object_get(tensor, "name")));
        json_array_foreach(json_object_get(tensor, "forms"), k, form)
        {
            const char *name = json_string_value(json_object_get(form, "form"));
            if (!strcmp(name, "none")) continue;
            printf("  %s %.2e (%llu)", name, real(form, "error"), (unsigned long long)real(form, "bytes"));
        }
        printf("\n");
    }
}

/* What --size and --error are to be compared with. */
static void put_totals(const json_t *tensors)
{
    total totals[MOST_FORMS];
    size_t n = add_up(totals, tensors), weights = json_array_size(tensors);
    printf("all %zu weights in one form: bytes, mean error\n", weights);
    for (size_t j = 0; j < n; j++) {
        const total *t = &totals[j];
        printf("  %-16s %12llu  %.2e", t->form, (unsigned long long)t->bytes, t->error / (double)weights);
        if (t->fits < weights) printf("  %zu do not fit and stay float32", weights - t->fits);
        printf("\n");
    }
}

static void put_mix(const json_t *mix)
{
    size_t i;
    json_t *rule;
    const json_t *recipe = json_object_get(mix, "recipe");
    char bytes[32];
    printf("mix: %s for the layers' weights, mean error %.2e\n", dlx_cli_bytes(bytes, (uint64_t)real(mix, "bytes")),
           real(mix, "error"));
    printf("  %-16s everything else\n", json_string_value(json_object_get(recipe, "default")));
    json_array_foreach(json_object_get(recipe, "tensors"), i, rule)
        printf("  %-16s %s\n", json_string_value(json_object_get(rule, "scheme")),
               json_string_value(json_object_get(rule, "pattern")));
}

static int put(const dlx_cli_arguments *a, const char *text)
{
    if (dlx_cli_flag(a, "json", false)) {
        printf("%s\n", text);
        return DLX_CLI_OK;
    }
    json_t *root = json_loads(text, 0, NULL), *mix = json_object_get(root, "mix");
    if (!root) return dlx_cli_out_of_memory();
    put_tensors(json_object_get(root, "tensors"));
    put_totals(json_object_get(root, "tensors"));
    if (mix) put_mix(mix);
    json_decref(root);
    return DLX_CLI_OK;
}

static int run(const dlx_cli_arguments *a)
{
    dlx_cli_stages stages = {.first = 0};
    const char *size = dlx_cli_text(a, "size"), *error = dlx_cli_text(a, "error");
    char *text;
    dlx_error err;
    int next = 0;
    dlx_quantize_report_options o = {.struct_size = sizeof o,
                                     .model_path = dlx_cli_path(a, "hf-model-path", &next),
                                     .model_type = dlx_cli_text(a, "model-type"),
                                     .block_size = (int32_t)dlx_cli_int(a, "block-size", 0),
                                     .mask_id = (int32_t)dlx_cli_int(a, "mask-id", 0),
                                     .calibration = dlx_cli_text_input(a, "calibration"),
                                     .count = dlx_cli_int(a, "calibration-samples", 0),
                                     .length = dlx_cli_int(a, "calibration-length", 0),
                                     .seed = dlx_cli_int(a, "calibration-seed", 0),
                                     .recipe_path = dlx_cli_text(a, "output"),
                                     .rounding = dlx_cli_text(a, "rounding"),
                                     .work_folder = dlx_cli_text(a, "work-folder"),
                                     .forms = dlx_cli_text(a, "forms"),
                                     .stage = dlx_cli_on_stage,
                                     .stage_ctx = &stages,
                                     .notice = dlx_cli_on_notice};
    if (!o.model_path) return dlx_cli_usage(a->command, "quantize-report needs a checkpoint folder");
    if (a->n_positional > next) return dlx_cli_too_many(a, next);
    if (size && error) return dlx_cli_usage(a->command, "--size and --error cannot be combined");
    if ((o.recipe_path || o.forms) && !size && !error)
        return dlx_cli_usage(a->command, "--%s is for the mix under --size or --error",
                             o.recipe_path ? "output" : "forms");
    if (dlx_cli_check_output(a, o.recipe_path) != DLX_CLI_OK) return DLX_CLI_USAGE;
    if (size && !read_bytes(size, &o.max_bytes))
        return dlx_cli_usage(a->command, "--size takes bytes, as 800000000, 800M, 0.8GB or 800MiB, not '%s'", size);
    if (error && !read_error(error, &o.max_error))
        return dlx_cli_usage(a->command, "--error takes a number above 0, not '%s'", error);
    dlx_cli_catch_interrupts();
    dlx_status s = dlx_quantize_report(&o, &text, &err);
    if (s == DLX_OK && o.recipe_path) dlx_cli_output_is_there();
    dlx_cli_progress_end();
    if (s != DLX_OK) return dlx_cli_fail(&err);
    int status = put(a, text);
    dlx_free(text);
    return status;
}

enum { LONGEST = 1 << 24 };

static const dlx_cli_option options[] = {
    {"hf-model-path", DLX_CLI_TEXT, "DIR", "the checkpoint folder or org/name, instead of the argument", 0, 0},
    {"size", DLX_CLI_TEXT, "BYTES",
     "budget of the layers' weights with their scales, as 800M or 1.2GiB: the mix of forms with the least error", 0, 0},
    {"error", DLX_CLI_TEXT, "X", "budget of the mean error: the mix of forms with the fewest bytes", 0, 0},
    {"forms", DLX_CLI_TEXT, "LIST", "what that mix may choose, as int8-dynamic,int4-g32,fp16 (default: all forms)", 0,
     0},
    {"output", DLX_CLI_TEXT, "FILE", "where that mix goes, for export --quantization-config", 0, 0},
    {"rounding", DLX_CLI_TEXT, "NAME",
     "how weights become int8 or int4, as for export, which should be given the same: nearest (default), mse, gptq, "
     "awq, awq-gptq",
     0, 0},
    {"work-folder", DLX_CLI_TEXT, "DIR",
     "where an interrupted report goes on from, until it is complete (default: FILE.work beside --output, if there is "
     "one)",
     0, 0},
    {"calibration", DLX_CLI_TEXT, "FILE",
     "JSON lines: text, prompt and answer, messages or ids (default: the model writes them)", 0, 0},
    {"calibration-samples", DLX_CLI_INT, "N", "how many samples are made of it (default: 64)", 1, 1 << 20},
    {"calibration-length", DLX_CLI_INT, "N", "most tokens of one (default: 256)", 2, LONGEST},
    {"calibration-seed", DLX_CLI_INT, "N", "of masks, and of what the model writes", 0, 1 << 30},
    {"block-size", DLX_CLI_INT, "N", "block length, where the checkpoint's is wrong", 1, LONGEST},
    {"mask-id", DLX_CLI_INT, "ID", "the mask token, where config.json and the tokenizer disagree", 1, LONGEST},
    {"model-type", DLX_CLI_TEXT, "NAME", "llada, dream, sdar or fast_dllm_v2, where config.json says something else", 0,
     0},
    {"json", DLX_CLI_FLAG, NULL, "one JSON object", 0, 0},
};

const dlx_cli_command dlx_cli_quantize_report = {
    .name = "quantize-report",
    .arguments = "DIR",
    .summary = "what each form costs each weight of a checkpoint, and a mix of forms",
    .notes = "DIR is a checkpoint folder, or org/name from the Hugging Face cache. Errors are |y' - y|^2 / |y|^2, y "
             "being the layer's answers to calibration data in float32 and y' those that the form computes. "
             "--calibration - is the standard input.",
    .examples = "diffulex-edge quantize-report DIR --calibration chats.jsonl\0"
                "diffulex-edge quantize-report DIR --size 800M --output mix.json\0"
                "diffulex-edge quantize-report DIR --error 1e-3 --forms int8,fp16\0"
                "diffulex-edge quantize-report DIR --size 1G --rounding gptq --output mix.json\0",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 1,
    .run = run,
};
