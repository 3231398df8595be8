/* From the small files to facts and shape: which family it is, its own keys, then the token ids that all share. */
#include "model/family.h"

#include <stdio.h>
#include <string.h>

#include "base/sizes.h"
#include "format/json/json_file.h"

static const dlx_family_rules *const families[] = {&dlx_llada_rules, &dlx_dream_rules, &dlx_sdar_rules,
                                                   &dlx_fast_dllm_v2_rules};

#define SUPPORTED                                                                                                      \
    "LLaDAModelLM (llada), DreamModel (dream), SDARForCausalLM (sdar), Fast_dLLM_QwenForCausalLM (fast_dllm_v2)"

/* ---- family ----------------------------------------------------------------------------------------------------- */

static dlx_status family_by_name(const dlx_family_rules **out, const char *name, dlx_error *err)
{
    dlx_family family = dlx_family_from_name(name);
    for (size_t i = 0; i < DLX_COUNT(families); i++)
        if (families[i]->family == family) *out = families[i];
    if (*out) return DLX_OK;
    return dlx_fail(err, DLX_E_INVALID, "model type '%s' is not known; expected llada, dream, sdar or fast_dllm_v2",
                    name);
}

dlx_status dlx_find_family(const dlx_family_rules **out, const dlx_config_files *f,
                           const dlx_checkpoint_options *options, dlx_error *err)
{
    *out = NULL;
    if (options && options->model_type) return family_by_name(out, options->model_type, err);
    /* The architecture decides; model_type only where there is none, since relatives share it (LLaDA-MoE is "llada").
     */
    const json_t *arch = json_array_get(json_object_get(f->config, "architectures"), 0);
    const json_t *type = json_object_get(f->config, "model_type");
    const char *name = json_string_value(arch ? arch : type);
    for (size_t i = 0; name && i < DLX_COUNT(families); i++)
        if (!strcmp(name, arch ? families[i]->architecture : families[i]->model_type)) *out = families[i];
    if (*out) return DLX_OK;
    return dlx_fail(err, DLX_E_UNSUPPORTED,
                    "'%s/config.json': key '%s' is %s; supported: " SUPPORTED
                    "; a renamed fork of one of these needs its model type given",
                    f->folder, arch || !type ? "architectures" : "model_type", dlx_config_found(arch ? arch : type).s);
}

/* ---- token ids -------------------------------------------------------------------------------------------------- */

typedef struct id_list {
    int32_t id[DLX_MAX_STOP_IDS], n;
} id_list;

static dlx_status add_id(id_list *list, const dlx_config_files *f, int32_t id, dlx_error *err)
{
    for (int32_t i = 0; i < list->n; i++)
        if (list->id[i] == id) return DLX_OK;
    if (list->n == DLX_MAX_STOP_IDS)
        return dlx_fail(err, DLX_E_LIMIT, "'%s' names more than %d tokens that end an answer", f->folder,
                        DLX_MAX_STOP_IDS);
    list->id[list->n++] = id;
    return DLX_OK;
}

/* A token id, or a list of them; absent, null and -1 mean none. */
static dlx_status add_ids(id_list *list, const dlx_config_files *f, const char *file, const json_t *root,
                          const char *key, int32_t vocab_size, dlx_error *err)
{
    const json_t *v = json_object_get(root, key);
    size_t n = json_is_array(v) ? json_array_size(v) : !dlx_json_absent(v);
    for (size_t i = 0; i < n; i++) {
        int32_t id;
        const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        DLX_TRY(dlx_config_to_int(f, file, key, one, -1, vocab_size - 1, &id, err));
        if (id >= 0) DLX_TRY(add_id(list, f, id, err));
    }
    return DLX_OK;
}

/* bos, eos, pad: config.json says it, else generation_config.json, else the tokenizer by name; -1: nobody. */
static dlx_status special_id(int32_t *out, const dlx_config_files *f, const char *key, const char *token,
                             int32_t vocab_size, dlx_error *err)
{
    id_list list = {.n = 0};
    *out = -1;
    DLX_TRY(add_ids(&list, f, "config.json", f->config, key, vocab_size, err));
    if (!list.n) DLX_TRY(add_ids(&list, f, "generation_config.json", f->generation, key, vocab_size, err));
    if (list.n) *out = list.id[0];
    const json_t *named = json_object_get(f->tokenizer_config, token);
    if (json_is_object(named)) named = json_object_get(named, "content");
    if (list.n || !json_is_string(named)) return DLX_OK;
    return dlx_config_token(f, json_string_value(named), vocab_size, out, err);
}

/* The turn's end first, then generation_config.json's list (SDAR's and Fast-dLLM v2's stop rule), then config.json's.
 */
static dlx_status stop_ids(dlx_model_facts *facts, const dlx_config_files *f, const dlx_family_rules *rules,
                           dlx_error *err)
{
    id_list list = {.n = 0};
    int32_t id;
    for (const char *const *name = rules->stop_tokens; *name; name++) {
        DLX_TRY(dlx_config_token(f, *name, facts->vocab_size, &id, err));
        if (id >= 0) DLX_TRY(add_id(&list, f, id, err));
    }
    DLX_TRY(add_ids(&list, f, "generation_config.json", f->generation, "eos_token_id", facts->vocab_size, err));
    DLX_TRY(add_ids(&list, f, "config.json", f->config, "eos_token_id", facts->vocab_size, err));
    if (facts->eos_id >= 0) DLX_TRY(add_id(&list, f, facts->eos_id, err));
    memcpy(facts->stop_ids, list.id, sizeof list.id);
    facts->num_stop_ids = list.n;
    for (int32_t i = 0; i < list.n; i++)
        if (list.id[i] == facts->mask_id)
            return dlx_fail(err, DLX_E_FORMAT, "'%s': token %d is both the mask and an end of answers", f->folder,
                            facts->mask_id);
    return DLX_OK;
}

/* The mask by its name: the tokenizer's mask_token where it has an id, else the names of the family; -1: none. */
static dlx_status named_mask(int32_t *id, const char **name, const dlx_config_files *f, const dlx_family_rules *rules,
                             int32_t vocab_size, dlx_error *err)
{
    const json_t *token = json_object_get(f->tokenizer_config, "mask_token");
    if (json_is_object(token)) token = json_object_get(token, "content");
    *id = -1;
    *name = json_string_value(token);
    if (*name) DLX_TRY(dlx_config_token(f, *name, vocab_size, id, err));
    for (const char *const *known = rules->mask_tokens; *id < 0 && *known; known++) {
        *name = *known;
        DLX_TRY(dlx_config_token(f, *name, vocab_size, id, err));
    }
    return DLX_OK;
}

/* Every family has its own mask id; it is never assumed. `given`: the caller's, or 0. */
static dlx_status mask_id(dlx_model_facts *facts, const dlx_config_files *f, const dlx_family_rules *rules,
                          int32_t given, dlx_error *err)
{
    int32_t named;
    const char *name;
    facts->mask_id = -1;
    if (given < 0 || given >= facts->vocab_size)
        return dlx_fail(err, DLX_E_INVALID, "mask id %d is outside the vocabulary of %d (0: the checkpoint's)", given,
                        facts->vocab_size);
    if (given) {
        facts->mask_id = given;
        return DLX_OK;
    }
    DLX_TRY(dlx_config_int_if(f, "mask_token_id", 0, facts->vocab_size - 1, &facts->mask_id, err));
    DLX_TRY(named_mask(&named, &name, f, rules, facts->vocab_size, err));
    if (facts->mask_id >= 0 && named >= 0 && named != facts->mask_id) {
        const char *other = dlx_config_token_name(f, facts->mask_id);
        return dlx_fail(err, DLX_E_FORMAT,
                        "'%s': config.json says that the mask is token %d%s%.60s%s, the tokenizer that it is '%.60s', "
                        "token %d; give the right one as mask id (--mask-id)",
                        f->folder, facts->mask_id, other ? " ('" : "", other ? other : "", other ? "')" : "", name,
                        named);
    }
    if (facts->mask_id < 0) facts->mask_id = named;
    if (facts->mask_id >= 0) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT,
                    "'%s': the mask token is missing; expected key 'mask_token_id' in config.json or the added token "
                    "'%s' in added_tokens.json, tokenizer_config.json or tokenizer.json, or a mask id given "
                    "(--mask-id)",
                    f->folder, rules->mask_tokens[0]);
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

dlx_status dlx_check_heads(const dlx_model_shape *shape, const dlx_config_files *f, const char *heads_key,
                           const char *kv_key, dlx_error *err)
{
    if (shape->heads % shape->kv_heads)
        return dlx_fail(err, DLX_E_FORMAT, "'%s/config.json': key '%s' is %d; expected a divisor of %s, %d", f->folder,
                        kv_key, shape->kv_heads, heads_key, shape->heads);
    if (shape->head_dim % 2 || shape->head_dim < 2)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "'%s/config.json': key '%s' makes heads of %d elements; rotary embeddings need an even number",
                        f->folder, heads_key, shape->head_dim);
    if ((int64_t)shape->heads * shape->head_dim > DLX_MOST_HIDDEN)
        return dlx_fail(err, DLX_E_LIMIT, "'%s/config.json': key '%s' is %d; with heads of %d at most %d are supported",
                        f->folder, heads_key, shape->heads, shape->head_dim, DLX_MOST_HIDDEN / shape->head_dim);
    return DLX_OK;
}

dlx_status dlx_parse_config(const dlx_family_rules **rules, dlx_model_facts *facts, dlx_model_shape *shape,
                            const dlx_config_files *f, const dlx_checkpoint_options *options, dlx_error *err)
{
    int32_t block_size = options ? options->block_size : 0;
    memset(facts, 0, sizeof *facts);
    memset(shape, 0, sizeof *shape);
    if (block_size < 0 || block_size > DLX_MOST_BLOCK)
        return dlx_fail(err, DLX_E_INVALID, "block size %d is outside 1 .. %d (0: the checkpoint's)", block_size,
                        DLX_MOST_BLOCK);
    DLX_TRY(dlx_refuse_quantised(f, err));
    DLX_TRY(dlx_find_family(rules, f, options, err));
    DLX_TRY((*rules)->read(shape, facts, f, block_size, err));
    facts->struct_size = sizeof *facts;
    facts->family = (*rules)->family;
    facts->vocab_size = shape->vocab_size;
    DLX_TRY(mask_id(facts, f, *rules, options ? options->mask_id : 0, err));
    DLX_TRY(special_id(&facts->bos_id, f, "bos_token_id", "bos_token", shape->vocab_size, err));
    DLX_TRY(special_id(&facts->eos_id, f, "eos_token_id", "eos_token", shape->vocab_size, err));
    DLX_TRY(special_id(&facts->pad_id, f, "pad_token_id", "pad_token", shape->vocab_size, err));
    return stop_ids(facts, f, *rules, err);
}
