/* Facts: ExecuTorch 1.4.1, backends/apple/coreml/runtime: inmemoryfs, and delegate/coreml_backend_delegate.mm. */
#include <stdlib.h>
#include <string.h>

#include "backends/coreml/package.h"
#include "base/text_buffer.h"

const char *const dlx_coreml_manifest = "{\n"
                                        "    \"fileFormatVersion\": \"1.0.0\",\n"
                                        "    \"itemInfoEntries\": {\n"
                                        "        \"8F3B6A52-2C1D-4E0B-9B57-5D1C0E7A4D01\": {\n"
                                        "            \"author\": \"com.apple.CoreML\",\n"
                                        "            \"description\": \"CoreML Model Specification\",\n"
                                        "            \"name\": \"model.mlmodel\",\n"
                                        "            \"path\": \"com.apple.CoreML/model.mlmodel\"\n"
                                        "        },\n"
                                        "        \"8F3B6A52-2C1D-4E0B-9B57-5D1C0E7A4D02\": {\n"
                                        "            \"author\": \"com.apple.CoreML\",\n"
                                        "            \"description\": \"CoreML Model Weights\",\n"
                                        "            \"name\": \"weights\",\n"
                                        "            \"path\": \"com.apple.CoreML/weights\"\n"
                                        "        }\n"
                                        "    },\n"
                                        "    \"rootModelIdentifier\": \"8F3B6A52-2C1D-4E0B-9B57-5D1C0E7A4D01\"\n"
                                        "}\n";

static void put_names(dlx_text_buffer *t, const char *key, const dlx_coreml_feature *f, size_t n)
{
    dlx_put_json(t, key);
    dlx_put(t, ":[");
    for (size_t i = 0; i < n; i++) {
        dlx_put(t, "%s", i ? "," : "");
        dlx_put_json(t, f[i].name);
    }
    dlx_put(t, "]");
}

/* Names in the order of the call's arguments; states are none. */
static void put_arguments(dlx_text_buffer *t, const dlx_coreml_features *f)
{
    put_names(t, "inputNames", f->in, f->n_in);
    dlx_put(t, ",");
    put_names(t, "outputNames", f->out, f->n_out);
}

/* metadata.json: of the only function, or of all by the method's name. */
static void put_metadata(dlx_text_buffer *t, const dlx_coreml_program *program, const char *identifier)
{
    bool several = program->n_functions > 1;
    dlx_put(t, several ? "{\"methods\":{" : "{");
    if (!several) put_arguments(t, &program->functions->features);
    for (size_t i = 0; several && i < program->n_functions; i++) {
        dlx_put(t, "%s", i ? "," : "");
        dlx_put_json(t, program->functions[i].name);
        dlx_put(t, ":{");
        put_arguments(t, &program->functions[i].features);
        dlx_put(t, "}");
    }
    dlx_put(t, "%s,\"identifier\":", several ? "}" : "");
    dlx_put_json(t, identifier);
    dlx_put(t, "}");
}

static void put_file(dlx_text_buffer *t, const char *name, uint64_t *at, uint64_t size)
{
    dlx_put(t, "{\"children\":{},\"dataRegion\":{\"offset\":%llu,\"size\":%llu},\"kind\":0,\"name\":",
            (unsigned long long)*at, (unsigned long long)size);
    dlx_put_json(t, name);
    dlx_put(t, "},");
    *at += size;
}

static void put_folder(dlx_text_buffer *t, const char *name, const char *children, const char *behind)
{
    dlx_put(t, "{\"children\":{%s},\"dataRegion\":{\"offset\":0,\"size\":0},\"kind\":1,\"name\":\"%s\"}%s", children,
            name, behind);
}

/* The tree of files: children in front of their folders, the root at the end. */
static void put_tree(dlx_text_buffer *t, uint64_t metadata, const dlx_coreml_program *program)
{
    uint64_t at = 0;
    dlx_put(t, "{\"nodes\":[");
    put_file(t, "metadata.json", &at, metadata);
    put_file(t, "Manifest.json", &at, strlen(dlx_coreml_manifest));
    put_file(t, "weight.bin", &at, program->weights_size);
    put_file(t, "model.mlmodel", &at, program->model_size);
    put_folder(t, "weights", "\"weight.bin\":2", ",");
    put_folder(t, "com.apple.CoreML", "\"model.mlmodel\":3,\"weights\":4", ",");
    put_folder(t, "Data", "\"com.apple.CoreML\":5", ",");
    put_folder(t, "model.mlpackage", "\"Data\":6,\"Manifest.json\":1", ",");
    put_folder(t, "lowered_module", "\"metadata.json\":0,\"model.mlpackage\":7", "");
    dlx_put(t, "]}");
}

/* The text in the arena, and nothing of the buffer; NULL: memory is out. */
static char *keep(dlx_text_buffer *t, dlx_arena *arena, size_t *size)
{
    char *kept = t->failed ? NULL : dlx_arena_strndup(arena, t->s, t->n);
    *size = t->n;
    free(t->s);
    *t = (dlx_text_buffer){0};
    return kept;
}

dlx_status dlx_coreml_reference(dlx_pte_piece *out, dlx_arena *arena, const dlx_part *part, const char *key,
                                const char *function, dlx_error *err)
{
    dlx_text_buffer text = {0};
    size_t size;
    dlx_put(&text, "CMJR{\"version\":1,\"key\":");
    dlx_put_json(&text, key);
    dlx_put(&text, ",\"functionName\":");
    dlx_put_json(&text, function);
    dlx_put(&text, "}");
    const char *kept = keep(&text, arena, &size);
    if (!kept) return dlx_coreml_no_memory(err, part);
    *out = (dlx_pte_piece){.data = kept, .size = size};
    return DLX_OK;
}

dlx_status dlx_coreml_payload(dlx_pte_piece **pieces, uint32_t *n_pieces, dlx_arena *arena, const dlx_part *part,
                              const dlx_coreml_program *program, const char *identifier, dlx_error *err)
{
    dlx_text_buffer text = {0};
    size_t metadata_size, tree_size;
    put_metadata(&text, program, identifier);
    char *metadata = keep(&text, arena, &metadata_size);
    put_tree(&text, metadata_size, program);
    char *tree = keep(&text, arena, &tree_size);
    dlx_pte_piece *p = dlx_arena_array(arena, (size_t)program->n_weights + 4, sizeof *p);
    if (!metadata || !tree || !p) return dlx_coreml_no_memory(err, part);
    for (size_t i = 0; i < tree_size / 2; i++) {
        char c = tree[i];
        tree[i] = tree[tree_size - 1 - i];
        tree[tree_size - 1 - i] = c;
    }
    uint32_t n = 0;
    p[n++] = (dlx_pte_piece){.data = metadata, .size = metadata_size};
    p[n++] = (dlx_pte_piece){.data = dlx_coreml_manifest, .size = strlen(dlx_coreml_manifest)};
    memcpy(p + n, program->weights, program->n_weights * sizeof *p);
    n += program->n_weights;
    p[n++] = (dlx_pte_piece){.data = program->model, .size = program->model_size};
    p[n++] = (dlx_pte_piece){.data = tree, .size = tree_size};
    *pieces = p;
    *n_pieces = n;
    return DLX_OK;
}
