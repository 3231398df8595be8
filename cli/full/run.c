/* run: any method of any program, tensors of a file in, tensors to a file out. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "full/tensors.h"
#include "json.h"
#include "output.h"
#include "progress.h"
#include "running.h"

/* The tensor for input i: by the name the program gives it, or input_0, input_1, ... */
static const dlx_cli_tensor *input_of(const dlx_cli_tensors *file, const dlx_method *m, size_t i, const char *path)
{
    char number[32];
    dlx_error err;
    dlx_tensor_info info = {.struct_size = sizeof info};
    const dlx_cli_tensor *t = NULL;
    snprintf(number, sizeof number, "input_%zu", i);
    if (dlx_method_input_info(m, i, &info, &err) == DLX_OK && info.name) t = dlx_cli_tensors_find(file, info.name);
    if (!t) t = dlx_cli_tensors_find(file, number);
    if (!t)
        dlx_cli_message("'%s' has no tensor %s%s%s for input %zu", path, number, info.name ? " or " : "",
                        info.name ? info.name : "", i);
    return t;
}

static int write_outputs(const dlx_method *m, const char *path)
{
    dlx_error err;
    enum { NAME = 32 };
    size_t n = dlx_method_num_outputs(m);
    dlx_tensor *out = calloc(n + 1, sizeof *out);
    char *text = calloc(n + 1, NAME);
    const char **names = calloc(n + 1, sizeof *names);
    dlx_status s = DLX_OK;
    if (!out || !text || !names) s = dlx_cli_error(&err, DLX_E_NOMEM, "out of memory writing '%s'", path);
    for (size_t i = 0; s == DLX_OK && i < n; i++) {
        out[i].struct_size = sizeof out[i];
        names[i] = text + i * NAME;
        snprintf(text + i * NAME, NAME, "output_%zu", i);
        s = dlx_method_output(m, i, &out[i], &err);
    }
    dlx_cli_catch_interrupts(); /* from here on the file is finished or removed */
    if (s == DLX_OK) s = dlx_write_tensors(path, names, out, n, &err);
    if (s == DLX_OK) dlx_cli_output_is_there();
    free(out);
    free(text);
    free(names);
    return s == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
}

/* A number that is returned is shown at once. */
static void put_number(dlx_cli_json *j, const dlx_tensor *t)
{
    switch (t->element) {
    case DLX_ELEMENT_FLOAT32: dlx_cli_json_number(j, "value", (double)*(const float *)t->data, 9); break;
    case DLX_ELEMENT_INT64: dlx_cli_json_int(j, "value", *(const int64_t *)t->data); break;
    case DLX_ELEMENT_INT32: dlx_cli_json_int(j, "value", *(const int32_t *)t->data); break;
    case DLX_ELEMENT_BOOL: dlx_cli_json_int(j, "value", *(const uint8_t *)t->data); break;
    default: break;
    }
}

static void put_report(const dlx_method *m, int64_t calls, double fastest)
{
    dlx_cli_json j = {.out = stdout};
    dlx_error err;
    dlx_cli_json_open(&j, NULL, '{');
    dlx_cli_json_int(&j, "calls", calls);
    dlx_cli_json_number(&j, "fastest_ms", 1e3 * fastest, 6);
    dlx_cli_json_int(&j, "state_bytes", (int64_t)dlx_method_state_bytes(m));
    dlx_cli_json_open(&j, "outputs", '[');
    for (size_t i = 0; i < dlx_method_num_outputs(m); i++) {
        dlx_tensor t = {.struct_size = sizeof t};
        if (dlx_method_output(m, i, &t, &err) != DLX_OK) break;
        dlx_cli_json_open(&j, NULL, '{');
        dlx_cli_json_text(&j, "dtype", dlx_element_name(t.element));
        dlx_cli_json_open(&j, "shape", '[');
        for (int32_t d = 0; d < t.rank; d++) dlx_cli_json_int(&j, NULL, t.size[d]);
        dlx_cli_json_close(&j, ']');
        if (t.rank == 0) put_number(&j, &t);
        dlx_cli_json_close(&j, '}');
    }
    dlx_cli_json_close(&j, ']');
    dlx_cli_json_close(&j, '}');
    printf("\n");
}

/* Tensors of the file that belong to no input: a misspelt name should not go unnoticed. */
static void put_unused(const dlx_cli_tensors *file, const dlx_tensor *in, size_t n, const char *path)
{
    for (size_t k = 0; k < file->n; k++) {
        bool used = false;
        for (size_t i = 0; i < n; i++) used = used || in[i].data == file->list[k].t.data;
        if (!used)
            dlx_cli_message("'%s': tensor %s belongs to no input of the method and is not used", path,
                            file->list[k].name);
    }
}

static int take_inputs(const dlx_method *m, const dlx_cli_tensors *file, const char *path, dlx_tensor *in)
{
    size_t n = dlx_method_num_inputs(m);
    for (size_t i = 0; i < n; i++) {
        const dlx_cli_tensor *t = input_of(file, m, i, path);
        if (!t) return DLX_CLI_FAILED;
        in[i] = t->t;
    }
    put_unused(file, in, n, path);
    return DLX_CLI_OK;
}

static int call(const dlx_cli_arguments *a, dlx_method *m, const dlx_cli_tensors *file, const char *input,
                const char *output)
{
    dlx_error err;
    int64_t calls = dlx_cli_int(a, "repeat", 1);
    size_t n = dlx_method_num_inputs(m);
    double fastest = 0;
    dlx_tensor *in = calloc(n + 1, sizeof *in);
    int status = in ? take_inputs(m, file, input, in) : dlx_cli_out_of_memory();
    for (int64_t i = 0; status == DLX_CLI_OK && i < calls; i++) {
        dlx_cli_progress(i == 0, "call %lld of %lld", (long long)i + 1, (long long)calls);
        double begin = dlx_cli_seconds();
        if (dlx_method_run(m, in, n, &err) != DLX_OK) status = dlx_cli_fail(&err);
        double took = dlx_cli_seconds() - begin;
        if (i == 0 || took < fastest) fastest = took;
    }
    dlx_cli_progress_end();
    if (status == DLX_CLI_OK && output) status = write_outputs(m, output);
    if (status == DLX_CLI_OK && dlx_cli_flag(a, "json", !output)) put_report(m, calls, fastest);
    free(in);
    return status;
}

static int run(const dlx_cli_arguments *a)
{
    int next;
    dlx_method *m;
    dlx_error err;
    const char *path = dlx_cli_pte_path(a, &next), *input = dlx_cli_text(a, "input"),
               *output = dlx_cli_text(a, "output");
    if (!path) return DLX_CLI_USAGE;
    if (a->n_positional > next) return dlx_cli_too_many(a, next);
    if (dlx_cli_check_output(a, output) != DLX_CLI_OK) return DLX_CLI_USAGE;
    const char *const reading[] = {path, input};
    if (output && dlx_check_output(output, reading, 2, &err) != DLX_OK) return dlx_cli_fail(&err);
    dlx_method_options options = dlx_method_options_default();
    options.threads = (int32_t)dlx_cli_int(a, "threads", 0);
    options.cpu = dlx_cli_text(a, "cpu");
    dlx_cli_tensors file = {0};
    dlx_status s = input ? dlx_cli_tensors_read(&file, input, &err) : DLX_OK;
    if (s == DLX_OK) dlx_cli_show_loading(path);
    if (s == DLX_OK) s = dlx_method_open(&m, path, dlx_cli_text(a, "method"), &options, &err);
    dlx_cli_progress_end();
    int status = s == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
    if (status == DLX_CLI_OK) {
        status = !input && dlx_method_num_inputs(m)
                     ? dlx_cli_usage(a->command, "run needs --input: the method takes %zu tensor%s",
                                     dlx_method_num_inputs(m), dlx_method_num_inputs(m) > 1 ? "s" : "")
                     : call(a, m, &file, input, output);
        dlx_method_close(m);
    }
    dlx_cli_tensors_free(&file);
    return status;
}

static const dlx_cli_option options[] = {
    {"pte-path", DLX_CLI_TEXT, "FILE", "the .pte, instead of the first argument", 0, 0},
    {"input", DLX_CLI_TEXT, "FILE",
     "safetensors file with the inputs: tensors by the program's names, or input_0, input_1, ... (none: the method "
     "takes no inputs)",
     0, 0},
    {"output", DLX_CLI_TEXT, "FILE", "safetensors file to write: tensors output_0, output_1, ... of the last call", 0,
     0},
    {"method", DLX_CLI_TEXT, "NAME", "which method (default: forward); inspect lists them", 0, 0},
    {"repeat", DLX_CLI_INT, "N", "call it N times; what it keeps between calls, it keeps (default 1)", 1, 1 << 24},
    {"json", DLX_CLI_FLAG, NULL,
     "print shapes, calls and the fastest call's time as one JSON object (by itself without --output)", 0, 0},
    {"threads", DLX_CLI_INT, "N", "threads; results do not depend on it (default 0: one per CPU)", 0, 1024},
    DLX_CLI_CPU_OPTION,
};

const dlx_cli_command dlx_cli_run = {
    .name = "run",
    .arguments = "FILE",
    .summary = "runs any method of a program on the tensors of a file",
    .notes = "For programs that PyTorch's exporter wrote and that are no language models; those have generate, chat "
             "and logits. Methods that take nothing, such as the metadata of a file, need no --input. Numbers that a "
             "method returns are tensors of one element (int64, bool, float32) and are printed; inspect shows texts. "
             "bfloat16 and float16 tensors are taken and written as they are.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 1,
    .run = run,
};
