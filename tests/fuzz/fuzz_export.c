/*
 * Arbitrary bytes as a checkpoint that is exported. Four bytes choose options, what follows are texts separated by NUL
 * bytes; what is empty is not there:
 *
 *   config.json, generation_config.json, added_tokens.json, tokenizer_config.json, tokenizer.json,
 *   model.safetensors.index.json, and the headers of model.safetensors, model-1.safetensors and model-2.safetensors
 *
 * The tensors' bytes are made up: as many as the header asks for, up to a bound. An export either fails with a sentence
 * and leaves nothing behind, or gives a file that opens or is refused with a sentence; what opens is run once.
 */
#include <jansson.h>
#include <sys/stat.h>

#include "diffulex_edge/export.h"
#include "diffulex_edge/model.h"
#include "diffulex_edge/text.h"
#include "folder.h"
#include "fuzz.h"

enum { MOST_DATA = 128 << 10, MOST_CONTEXT = 96, MOST_SESSION = 16 << 20, ROWS = 3 };

/* The end of the last tensor that the header names, at most MOST_DATA. */
static size_t data_size(const char *header, size_t n)
{
    json_t *root = json_loadb(header, n, 0, NULL), *tensor;
    const char *name;
    json_int_t most = 64;
    json_object_foreach(root, name, tensor)
    {
        json_int_t end = json_integer_value(json_array_get(json_object_get(tensor, "data_offsets"), 1));
        if (end > most) most = end;
    }
    json_decref(root);
    return most < MOST_DATA ? (size_t)most : MOST_DATA;
}

/* Bytes that are small numbers in every float type, or end in a NaN, which stops the export while it writes. */
static void put_weights(const char *folder, const char *file, bool nan, fuzz_input *in)
{
    size_t n;
    char *header = take_text(in, &n);
    if (n) {
        size_t bytes = data_size(header, n);
        uint8_t *all = malloc(8 + n + bytes);
        require(all != NULL);
        for (int i = 0; i < 8; i++) all[i] = (uint8_t)((uint64_t)n >> 8 * i);
        memcpy(all + 8, header, n);
        for (size_t i = 0; i < bytes; i++) all[8 + n + i] = i % 2 ? (i % 5 ? 0x3B : 0xBB) : (uint8_t)(i * 37);
        if (nan) memset(all + 8 + n + bytes - 4, 0xFF, 4);
        folder_put(folder, file, all, 8 + n + bytes);
        free(all);
    }
    free(header);
}

static void run(const dlx_model *m)
{
    const dlx_model_facts *f = dlx_model_get_facts(m);
    int32_t rows = f->max_rows < ROWS ? f->max_rows : ROWS, ids[ROWS];
    dlx_memory memory = {.struct_size = sizeof memory};
    dlx_session *session;
    dlx_error err = {0};
    dlx_status s = dlx_model_memory(m, rows, 0, &memory, &err);
    require_sentence(s, &err);
    if (s != DLX_OK || memory.kv_cache + memory.activations > MOST_SESSION || f->vocab_size > 1 << 16) return;
    s = dlx_session_open(&session, m, rows, 0, &err);
    require_sentence(s, &err);
    if (s != DLX_OK) return;
    float *logits = malloc((size_t)rows * (size_t)f->vocab_size * sizeof *logits);
    require(logits != NULL);
    for (int32_t i = 0; i < rows; i++) ids[i] = i % f->vocab_size;
    dlx_forward_call call = {.struct_size = sizeof call,
                             .ids = ids,
                             .n_ids = rows,
                             .attn_block = f->attn_block,
                             .n_store = rows,
                             .n_rows = rows,
                             .logits = logits};
    require_sentence(dlx_session_forward(session, &call, &err), &err);
    free(logits);
    dlx_session_close(session);
}

/* A file that the exporter wrote holds facts that fit its tensors, so it opens, or the runtime cannot run it and says
 * why. */
static void open_file(const char *path)
{
    dlx_model_options o = dlx_model_options_default();
    dlx_model *m;
    dlx_tokenizer *t;
    dlx_error err = {0};
    o.threads = 1;
    dlx_status s = dlx_model_open(&m, path, &o, &err);
    require_sentence(s, &err);
    require(s == DLX_OK || s == DLX_E_UNSUPPORTED || s == DLX_E_LIMIT);
    if (s == DLX_OK) run(m);
    if (s == DLX_OK) dlx_model_close(m);
    s = dlx_tokenizer_open_pte(&t, path, &err);
    require_sentence(s, &err);
    require(s == DLX_OK || s == DLX_E_UNSUPPORTED);
    dlx_tokenizer_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const texts[] = {"config.json",       "generation_config.json",
                                        "added_tokens.json", "tokenizer_config.json",
                                        "tokenizer.json",    "model.safetensors.index.json"};
    static const char *const weights[] = {"model.safetensors", "model-1.safetensors", "model-2.safetensors"};
    static const char *const types[] = {NULL, NULL, NULL, NULL, "llada", "dream", "sdar", "fast_dllm_v2"};
    const char *folder = folder_make();
    char out[300], path[320];
    fuzz_input in = {data, size};
    uint8_t flags = take_byte(&in);
    dlx_export_options o = dlx_export_options_default();
    dlx_export_result result = {.struct_size = sizeof result};
    dlx_error err = {0};
    dlx_scheme_info scheme = {.struct_size = sizeof scheme};
    o.quantization = flags & 1 ? "int8-dynamic" : "none";
    if (flags >> 5 && dlx_export_scheme_info(flags >> 5, &scheme)) o.quantization = scheme.name;
    o.model_type = types[flags >> 1 & 7];
    o.max_seq_len = 1 + take_byte(&in) % MOST_CONTEXT;
    o.max_rows = take_byte(&in) % MOST_CONTEXT;
    o.block_size = take_byte(&in) % MOST_CONTEXT;
    folder_clear(folder);
    snprintf(out, sizeof out, "%s.out", folder);
    snprintf(path, sizeof path, "%s/m.pte", out);
    o.model_path = folder;
    o.output_path = path;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) folder_take(folder, texts[i], &in);
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) put_weights(folder, weights[i], flags & 16, &in);
    require(mkdir(out, 0700) == 0);
    dlx_status s = dlx_export(&o, &result, &err);
    require_sentence(s, &err);
    require(folder_count(out) == (s == DLX_OK));
    if (s == DLX_OK) {
        require(result.file_bytes > 0);
        open_file(path);
        unlink(path);
    }
    require(rmdir(out) == 0);
    return 0;
}
