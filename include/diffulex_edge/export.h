/*
 * Exporting: a Hugging Face checkpoint folder becomes one ExecuTorch .pte program. Needs the export half (jansson,
 * PCRE2, utf8proc); a runtime-only build has none of this.
 */
#ifndef DIFFULEX_EDGE_EXPORT_H
#define DIFFULEX_EDGE_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "diffulex_edge/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* done and total are bytes of output; return false to cancel (the target file is left as it was). */
typedef bool (*dlx_progress_fn)(void *ctx, uint64_t done, uint64_t total);

/* One sentence (valid during the call) about work that goes on all the same, and that its user should know. */
typedef void (*dlx_notice_fn)(void *ctx, const char *sentence);

/* Work in front of the first byte of output: `done` of `total` rows of calibration data went through a layer, in the
 * stage that is named ("gptq"; the string lives during the call). total 0: not known. Return false to cancel. */
typedef bool (*dlx_stage_fn)(void *ctx, const char *stage, uint64_t done, uint64_t total);

/* Where the nodes of one operator went, in one method of the program. */
typedef struct dlx_placement {
    size_t struct_size; /* the library's: diffulex_edge.h */
    const char *method; /* "forward"; lives during the call */
    const char *home;   /* the backend whose delegates compute them: "coreml"; "xnnpack", which takes what others leave;
                           or "operators": the runtime's own, without a delegate. Static */
    const char *op;     /* of the model's graph: "LINEAR", "EMBEDDING". Static */
    uint64_t count;
    uint64_t constant_bytes; /* that they read; what several of a home read is counted for the first of them */
    uint64_t multiply_adds;  /* of matrix products, in a call of the most rows behind the most positions */
    uint64_t delegates;      /* that the home has in the method: the same in all of its rows */
} dlx_placement;

typedef void (*dlx_placement_fn)(void *ctx, const dlx_placement *placement);

/* Of dlx_export_options; a later version may take more. */
#define DLX_MOST_METHOD_ROWS 7

typedef struct dlx_export_options {
    size_t struct_size;       /* sizeof(dlx_export_options) */
    const char *model_path;   /* checkpoint folder, or "org/name" resolved read-only in the Hugging Face cache */
    const char *output_path;  /* appears there when it is complete; model.h says how outputs are written */
    const char *backend;      /* a name of dlx_export_backend_info, '-' and '_' being the same; NULL: the first */
    const char *quantization; /* a name of dlx_export_scheme_info, likewise: NULL is int8-dynamic, "none" float32 */
    const char *model_type;   /* family name that overrides config.json, or NULL */
    int32_t max_seq_len;      /* context length of the program; 0: the checkpoint's, at most 2048 */
    int32_t max_rows;         /* rows one call may run; 0: max_seq_len */
    int32_t block_size;       /* overrides the checkpoint's block length (SDAR -bN repositories); 0: as in the files */
    dlx_progress_fn progress; /* may be NULL */
    void *progress_ctx;
    dlx_notice_fn notice; /* may be NULL; called by the exporting thread, before the first progress */
    void *notice_ctx;
    int64_t mask_id; /* the mask token, where config.json and the tokenizer disagree or none names it; 0: as in
                        the files */
    /* Chat template in place of the checkpoint's default one, as in dlx_tokenizer_open_folder_with; "none" leaves it
     * out. One that cannot be compiled makes the export fail. */
    const char *chat_template;
    /*
     * Path of a JSON file that gives parts of the model other forms than the scheme does, or NULL: {"default": scheme,
     * "embedding": form, "head": form, "tensors": [{"pattern": p, "scheme": form}, ...]}, every key optional; "default"
     * stands in for `quantization`, the first pattern that matches a weight counts. Patterns are of names in the
     * checkpoint ("model.layers.*.mlp.down_proj") or of ours ("layers.0.down"); '*' is any text, '?' any character.
     * Keys, words and patterns that there is nothing for are DLX_E_INVALID, a form that does not fit a weight
     * DLX_E_UNSUPPORTED.
     */
    const char *quantization_config;
    const char *exclude; /* "a, b": patterns, as above, of weights that stay float32, whatever else is said; or NULL */
    /*
     * How weights become int8 or int4: NULL or "nearest": each on its own; "mse": with the scale of each row or group
     * that misses its weights least, which may clip. Those of layers with calibration data, the others as "mse":
     * "gptq": so that the layers' answers to the data change least (GPTQ); "awq": inputs of the layers are scaled by
     * what the data makes of them, and the scales folded into norms and neighbours (AWQ), then rounded; "awq-gptq":
     * scaled, then GPTQ. These two are not for int8-static (DLX_E_INVALID), which has "smooth": inputs scaled so that
     * one grid does for all rows (SmoothQuant), then rounded. NULL is that for int8-static, unless `ranges` or
     * `save_ranges` are given, with which it is DLX_E_INVALID. The data is lines of JSON in the file `calibration`
     * (docs/EXPORT.md), or, without one, answers that the model writes itself.
     * Where no weight of a layer becomes int8 or int4 there is nothing for these to find, and nothing for "mse"
     * where no weight does: DLX_E_INVALID, or with quantization_config, which may be a mix of floats, a notice.
     * What was found lies in `work_folder` (NULL: the output's name and ".work") until the export is complete; one that
     * was cancelled or killed goes on from there when it is called again. An output that is that folder, or lies in
     * it, is DLX_E_INVALID.
     */
    const char *rounding;
    const char *calibration;
    const char *work_folder;
    dlx_stage_fn stage; /* may be NULL; called by the exporting thread, before the first progress */
    void *stage_ctx;
    int64_t calibration_seed;    /* of masks, and of what the model writes */
    int64_t calibration_samples; /* 0: 64 */
    int64_t calibration_length;  /* tokens of a sample at most; 0: 256, or the checkpoint's positions */
    /* Who keeps keys and values between calls, a name of dlx_export_kv_info; NULL: the caller, layout A. Of explicit
     * files max_rows is what every call has, 0: the model's block, 32 where rows are in none. Files with states have
     * memory for the logits of max_rows, 0: 128 where the model has blocks. */
    const char *kv;
    /*
     * int8-static: between which numbers the inputs and outputs of the layers' linears lie. Measured by running the
     * calibration data (above) through the checkpoint in float32, or, with `ranges`, read from a file that an earlier
     * export wrote to `save_ranges` (JSON; of a checkpoint with other layers: DLX_E_FORMAT). What was measured stands
     * in the program too. Backend qnn has ranges of every value where weights are integers: there the two files are the
     * same, and no observer is to be chosen. Asked for without either, all three are DLX_E_INVALID.
     */
    const char *observer;    /* "mse" (also NULL; with "smooth": "minmax"), "percentile"; not together with `ranges` */
    const char *ranges;      /* or NULL */
    const char *save_ranges; /* path of a file to write, or NULL */
    /*
     * The same decoder for calls of other sizes, over the same weights, which are in the file once (but for each method
     * with backend qnn, and with coreml for systems before iOS18): method_rows[i] is for such a method what max_rows is
     * for `forward`, and its name is "forward_" with that number behind. For runtimes that plan memory for the most
     * rows of a call; this library's sessions take what they need from `forward` alone. NULL and 0: `forward` is the
     * only one.
     */
    const int32_t *method_rows; /* [n_method_rows], each 1 to the context, all different, also from max_rows */
    size_t n_method_rows;       /* at most DLX_MOST_METHOD_ROWS */
    /* What only some backends know (docs/BACKENDS.md); asked for with another one, each is DLX_E_INVALID. */
    int32_t delegate_layers;               /* coreml, qnn: decoder layers of one delegate at most; 0: all in one */
    const char *minimum_deployment_target; /* coreml: the oldest system that is to run the file: "iOS16", "iOS17",
                                              "iOS18"; NULL: "iOS18" */
    const char *compute_units; /* coreml: "cpu_only", "cpu_and_gpu", "cpu_and_ne" (or "cpu_and_ane"), "all"; NULL:
                                  "cpu_and_ne" */
    /* "pte" (also NULL), or coreml: "mlpackage": the model package alone, at output_path, for programs that load it
     * without ExecuTorch. Its inputs are rows of the embedding and of the rotary tables, not tokens: docs/BACKENDS.md.
     */
    const char *emit;
    const char *soc;         /* qnn: the chip that the file is for, a name of dlx_export_soc_info; NULL: "SM8650" */
    const char *qnn_lib_dir; /* qnn: folder of Qualcomm's libraries; NULL: that of $QNN_SDK_ROOT, or, where it
                                is not set, where they usually are */
    /* May be NULL; called by the exporting thread when the file is in place: once for each operator of each home, home
     * by home, method by method. */
    dlx_placement_fn placement;
    void *placement_ctx;
} dlx_export_options;

typedef struct dlx_export_result {
    size_t struct_size; /* sizeof(dlx_export_result) */
    uint64_t file_bytes;
    uint64_t quantised_bytes; /* bytes of quantised weights, without their scales */
    uint64_t float_bytes;     /* bytes of constants that stayed float */
    double seconds;
    int32_t quantised_tensors, float_tensors;
    char quantization[64]; /* what the file says: the scheme that its layers have, and "mixed" behind it where parts
                              differ */
    char kv[32];           /* the form of the cache */
} dlx_export_result;

static inline dlx_export_options dlx_export_options_default(void)
{
    dlx_export_options o;
    memset(&o, 0, sizeof o);
    o.struct_size = sizeof o;
    return o;
}

/* result may be NULL. On failure nothing is left at output_path that was not there before. */
DLX_API dlx_status dlx_export(const dlx_export_options *options, dlx_export_result *result, dlx_error *err);

/* The folder of the Hugging Face cache in which dlx_export looks up "org/name": what the environment says, whether or
 * not there is such a folder. *folder is freed with dlx_free. DLX_E_INVALID: the environment names none. */
DLX_API dlx_status dlx_export_cache_folder(char **folder, dlx_error *err);

/* The checkpoint folder that dlx_export reads for this model_path: the folder itself, or the snapshot of a repository
 * in the Hugging Face cache, named "org/name" or by its folder models--org--name. *folder is freed with dlx_free.
 * DLX_E_IO: there is none; the message says how to fetch it. */
DLX_API dlx_status dlx_export_find_checkpoint(char **folder, const char *model_path, dlx_error *err);

/* ---- validating ------------------------------------------------------------------------------------------------- */

typedef struct dlx_validate_options {
    size_t struct_size;     /* sizeof(dlx_validate_options) */
    const char *model_path; /* the checkpoint, as for dlx_export */
    const char *file_path;  /* what dlx_export made of it, with whatever options */
    const char *samples;    /* lines of JSON as `calibration` of an export; NULL: the model writes them */
    int64_t count;          /* of samples; 0: 20, one of each share of masked tokens */
    int64_t length;         /* tokens of a sample at most; 0: 256, or what a call of the file takes, if that is less */
    int64_t seed;           /* of masks, and of what the model writes */
    dlx_stage_fn stage;     /* may be NULL; called by the validating thread */
    void *stage_ctx;
    const char *model_type; /* these three as the export of the file was told; NULL, 0 and 0: nothing */
    int64_t block_size;
    int64_t mask_id;
} dlx_validate_options;

/* The file, run here, against the checkpoint in float32, over the same masked samples. */
typedef struct dlx_validation {
    size_t struct_size; /* sizeof(dlx_validation), set by the caller */
    /* Over rows that predict masked tokens: sum p log(p / q), in nats, of the checkpoint's distribution p and the
     * file's q; and the share of rows whose best token is the same. */
    double kl_mean, kl_most;
    double agreement;
    int64_t samples, rows; /* as many as 256 MiB of logits hold, spread over all */
    /* By layer: the length of the error of the hidden states that it makes of the checkpoint's, over the length of what
     * the checkpoint's layer adds to them. [layers], freed with dlx_free. */
    double *layer_error;
    int32_t layers, worst_layer; /* the one of largest error */
} dlx_validation;

/* Takes memory for the file as a model, one layer as floats, and hidden states as an export with gptq. DLX_E_INVALID:
 * the file is not of this checkpoint, by what both say of what decoding goes by (ids, blocks, sizes, rotary tables,
 * epsilons, words, ...; the sentence has what differs, with both values), or by weights that have nothing in common:
 * most layers are further from the checkpoint's than layers that do nothing. */
DLX_API dlx_status dlx_validate(const dlx_validate_options *options, dlx_validation *out, dlx_error *err);

/*
 * dlx_export, then dlx_validate of what it wrote. What is wrong with `how` is told before anything is written: numbers,
 * and samples, which are read then, once, so that they may come from a pipe. Its paths, model_type, block_size and
 * mask_id are not looked at; `samples` NULL are options->calibration, or, without that, what the model writes. `result`
 * may be NULL. Where the validation itself fails or is cancelled, the file is in place and complete: the sentence says
 * so, *result is filled (file_bytes is not 0), and *validation is not.
 */
DLX_API dlx_status dlx_export_validated(const dlx_export_options *options, const dlx_validate_options *how,
                                        dlx_export_result *result, dlx_validation *validation, dlx_error *err);

/* ---- what quantisation costs ------------------------------------------------------------------------------------ */

typedef struct dlx_quantize_report_options {
    size_t struct_size;     /* sizeof(dlx_quantize_report_options) */
    const char *model_path; /* these four as for dlx_export */
    const char *model_type;
    int32_t block_size;
    int32_t mask_id;
    const char *calibration; /* lines of JSON as for dlx_export; NULL: the model writes them */
    int64_t count;           /* of samples; 0: 64 */
    int64_t length;          /* tokens of a sample at most; 0: 256, or the checkpoint's positions */
    int64_t seed;            /* of masks, and of what the model writes */
    /* A budget for the weights of the layers' linears with their scales: bytes, or the mean over them of what their
     * form costs, |y' - y|^2 / |y|^2. 0 and 0: no mix is proposed. */
    uint64_t max_bytes;
    double max_error;
    const char *recipe_path; /* where the mix goes, a file for `quantization_config`; NULL: nowhere */
    dlx_stage_fn stage;      /* may be NULL; called by the reporting thread */
    void *stage_ctx;
    const char *rounding; /* as for dlx_export: what errors are of, and the mix is for */
    /* Where what was measured lies until the report is complete, as for dlx_export; NULL: `recipe_path` and ".work",
     * or, without one, nowhere: then a report that was cancelled begins anew. */
    const char *work_folder;
    dlx_notice_fn notice; /* may be NULL; called by the reporting thread: a sentence about a work folder that is not
                             gone on with */
    void *notice_ctx;
    const char *forms; /* "a, b": forms that a mix may choose, of a weight in a layer; NULL: all. They need a budget */
} dlx_quantize_report_options;

/*
 * What each form costs each weight of the layers, on calibration data, and the best mix under a budget:
 * {"rounding": "nearest", "tensors": [{"name": "layers.0.q", "tensor": "...", "shape": [n, k], "forms": [{"form":
 * "int4-g32", "bytes": b, "error": e}, ...]}, ...], "mix": {"bytes": b, "error": e, "recipe": {...}}}. Errors are
 * |y' - y|^2 / |y|^2, y' being a layer's answers as the form computes them, on quantised activations where it has them,
 * and y those in float32. Of forms that store the same bytes the mix has the first that may be chosen, int8-dynamic;
 * bf16 only where fp16 may not be chosen, does not hold the weight, or has an error above 1e-9 and above twice that of
 * bf16. Under a budget of bytes, errors to 1e-9 count as none. *json is
 * NUL-terminated; free it with dlx_free. A budget of bytes that no mix meets is DLX_E_LIMIT
 * before anything is measured, and where no form of a weight may be chosen it is DLX_E_UNSUPPORTED. When something
 * fails behind the last layer, the work folder stays.
 */
DLX_API dlx_status dlx_quantize_report(const dlx_quantize_report_options *options, char **json, dlx_error *err);

/* ---- what can be chosen ----------------------------------------------------------------------------------------- */

typedef struct dlx_backend_info {
    size_t struct_size;  /* sizeof(dlx_backend_info), set by the caller */
    const char *name;    /* "xnnpack" */
    const char *aliases; /* other names, "a, b"; "" for none */
    const char *help;    /* one line: what it writes, for which machines */
} dlx_backend_info;

typedef struct dlx_scheme_info {
    size_t struct_size;   /* sizeof(dlx_scheme_info), set by the caller */
    const char *name;     /* "int8-dynamic" */
    const char *aliases;  /* other names, "a, b"; "" for none */
    const char *backends; /* names of the backends that can write it, "a, b" */
    const char *help;     /* one line: what becomes of weights and activations */
} dlx_scheme_info;

typedef struct dlx_kv_info {
    size_t struct_size; /* sizeof(dlx_kv_info), set by the caller */
    const char *name;   /* "caller" */
    const char *help;   /* one line: who keeps the cache, for whom that is */
} dlx_kv_info;

typedef struct dlx_soc_info {
    size_t struct_size;   /* sizeof(dlx_soc_info), set by the caller */
    const char *name;     /* "SM8650" */
    const char *known_as; /* what is sold with it: "Snapdragon 8 Gen 3" */
    int64_t id;           /* Qualcomm's number of it, which files name it by: 57 */
    const char *schemes;  /* of quantisation that it has, "a, b" */
    int64_t generation;   /* of its HTP: 75 */
} dlx_soc_info;

/*
 * Whether this build, on this machine, exports with the options that decide who is to run the file: backend,
 * quantization, kv, emit and those that only some backends know. Nothing else of them is looked at, and nothing is
 * written. *found is one line about what the backend needs and an export would use: "" for most, which need nothing;
 * for qnn Qualcomm's libraries, which are opened ("QNN v2.47.0 in /folder"). Free it with dlx_free. On failure, what
 * dlx_export would say: DLX_E_INVALID and DLX_E_UNSUPPORTED for words, DLX_E_UNSUPPORTED, with what to install, for
 * what is missing.
 */
DLX_API dlx_status dlx_export_backend_check(const dlx_export_options *options, char **found, dlx_error *err);

/* The i-th chip that backend qnn writes for, as below. */
DLX_API bool dlx_export_soc_info(size_t i, dlx_soc_info *out);

/* The i-th backend, quantisation scheme and form of the cache of this build; the first of each is the default. False,
 * and nothing written, when i is past the end or out->struct_size is not set. What the members point to is static. */
DLX_API bool dlx_export_backend_info(size_t i, dlx_backend_info *out);
DLX_API bool dlx_export_scheme_info(size_t i, dlx_scheme_info *out);
DLX_API bool dlx_export_kv_info(size_t i, dlx_kv_info *out);

#ifdef __cplusplus
}
#endif
#endif
