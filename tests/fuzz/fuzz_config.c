/*
 * Arbitrary bytes as the small JSON files of a checkpoint folder, separated by NUL bytes: config.json,
 * generation_config.json, added_tokens.json, tokenizer_config.json, tokenizer.json, model.safetensors.index.json.
 * Parsed as the family they claim to be, then as each of the four; what is accepted must be free of contradictions.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/json/json_file.h"
#include "fuzz.h"
#include "model/family.h"
#include "model/weights.h"

enum { PARTS = 6 };

static json_t *parse(const char *text, size_t n)
{
    json_t *out;
    if (dlx_json_parse(&out, text, n, "'fuzz'", NULL) != DLX_OK) return NULL;
    if (json_is_object(out)) return out;
    json_decref(out);
    return NULL;
}

static void require(int ok)
{
    if (!ok) abort();
}

static int is_id(int32_t id, int32_t vocab)
{
    return id >= -1 && id < vocab;
}

static void check(const dlx_model_facts *f, const dlx_model_shape *s)
{
    require(s->hidden > 0 && s->layers > 0 && s->heads > 0 && s->kv_heads > 0 && s->intermediate > 0);
    require(s->vocab_size > 0 && s->max_positions > 0 && s->head_dim >= 2 && s->head_dim % 2 == 0);
    require(s->heads % s->kv_heads == 0 && (int64_t)s->heads * s->head_dim <= DLX_MOST_HIDDEN);
    require(s->norm_eps > 0 && s->norm_eps < 1 && s->rope_theta >= 1);
    require(f->vocab_size == s->vocab_size && f->mask_id >= 0 && is_id(f->mask_id, f->vocab_size));
    require(is_id(f->bos_id, f->vocab_size) && is_id(f->eos_id, f->vocab_size) && is_id(f->pad_id, f->vocab_size));
    require(f->num_stop_ids >= 0 && f->num_stop_ids <= DLX_MAX_STOP_IDS);
    for (int32_t i = 0; i < f->num_stop_ids; i++) {
        require(f->stop_ids[i] >= 0 && is_id(f->stop_ids[i], f->vocab_size) && f->stop_ids[i] != f->mask_id);
        for (int32_t k = 0; k < i; k++) require(f->stop_ids[i] != f->stop_ids[k]);
    }
    require(f->block_length >= 1 && (f->attn_block == 0 || f->attn_block == f->block_length));
}

static void parse_config(const dlx_config_files *files)
{
    static const char *const names[] = {NULL, "llada", "dream", "sdar", "fast_dllm_v2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        dlx_checkpoint_options options = {.model_type = names[i], .block_size = i == 3 ? 8 : 0};
        const dlx_family_rules *rules;
        dlx_model_facts facts;
        dlx_model_shape shape;
        dlx_error err = {0};
        dlx_status s = dlx_parse_config(&rules, &facts, &shape, files, &options, &err);
        require(s == err.status && (s == DLX_OK || err.message[0]));
        if (s == DLX_OK) check(&facts, &shape);
    }
}

static void parse_index(const json_t *index)
{
    dlx_arena arena;
    const char *const *names;
    size_t n;
    dlx_arena_init(&arena);
    if (dlx_index_shards(&names, &n, &arena, index, "fuzz", NULL) == DLX_OK) {
        require(n > 0);
        for (size_t i = 0; i < n; i++) {
            require(*names[i] && !strchr(names[i], '/') && !strstr(names[i], ".."));
            require(i == 0 || strcmp(names[i - 1], names[i]) < 0);
        }
    }
    dlx_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *part[PARTS] = {NULL};
    for (size_t i = 0, at = 0; i < PARTS && at <= size; i++) {
        const uint8_t *end = size > at ? memchr(data + at, 0, size - at) : NULL;
        size_t n = end ? (size_t)(end - data) - at : size - at;
        part[i] = n ? parse((const char *)data + at, n) : NULL;
        at += n + 1;
    }
    dlx_config_files files = {.folder = "fuzz",
                              .config = part[0],
                              .generation = part[1],
                              .added_tokens = part[2],
                              .tokenizer_config = part[3],
                              .tokenizer = part[4]};
    if (part[0]) parse_config(&files);
    if (part[5]) parse_index(part[5]);
    for (size_t i = 0; i < PARTS; i++) json_decref(part[i]);
    return 0;
}
