/*
 * Weights to views and to a graph: every published tensor is needed, nothing else is taken, shapes and types are those
 * of the configuration; shards agree with their index; heads are tied as published; the graph is layout A over views.
 */
#include "checkpoint_copy.h"

#include <math.h>

#include "base/sizes.h"
#include "left_out.h"
#include "model/checkpoint.h"
#include "tensors_in_memory.h"

#define SINGLE  "model.safetensors"
#define INDEX   "model.safetensors.index.json"
#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"

static void open_or_fail(dlx_checkpoint *c, const char *folder)
{
    dlx_error err = {0};
    if (dlx_checkpoint_open(c, folder, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < c->n_files; i++) take_tensors(&c->files[i], &c->arena);
}

static void expect_error(const copy *at, dlx_status status, const char *part, const char *other)
{
    dlx_checkpoint c;
    dlx_error err = {0};
    dlx_status s = dlx_checkpoint_open(&c, at->folder, NULL, &err);
    if (s != status || !strstr(err.message, part) || (other && !strstr(err.message, other)))
        fail_msg("status %d; '%s' and '%s' are expected in: %s", s, part, other ? other : "", err.message);
    assert_true(!c.folder && !c.files && !c.layer && !c.embed);
}

/* ---- edits of tensors ------------------------------------------------------------------------------------------- */

typedef struct change {
    const char *name;
    const char *rename; /* NULL: leave it out */
    int64_t dim[2];     /* new shape of as many elements, where rank > 0 */
    uint8_t rank;
    dlx_dtype dtype; /* DLX_F32: as it is */
} change;

static bool apply(void *ctx, dlx_st_tensor *t)
{
    const change *ch = ctx;
    if (strcmp(t->name, ch->name)) return true;
    if (!ch->rename) return false;
    t->name = ch->rename;
    if (ch->rank) {
        t->rank = ch->rank;
        memcpy(t->dim, ch->dim, sizeof ch->dim);
    }
    if (ch->dtype != DLX_F32) {
        t->dtype = ch->dtype;
        t->bytes = t->bytes / 4 * dlx_dtype_size(ch->dtype);
    }
    return true;
}

static void change_tensor(const copy *at, const char *file, change ch)
{
    edit_tensors(at, file, apply, &ch, NULL);
}

/* ---- views ------------------------------------------------------------------------------------------------------ */

static size_t views_of(const dlx_checkpoint *c)
{
    size_t n = 2 + (c->lm_head != c->embed);
    for (int32_t i = 0; i < c->shape.layers; i++)
        for (size_t k = 0; k < sizeof c->layer[i] / sizeof(void *); k++) n += ((const void **)&c->layer[i])[k] != NULL;
    return n;
}

static void expect_view(const dlx_st_tensor *t, const char *name, int64_t rows, int64_t cols)
{
    assert_non_null(t);
    assert_string_equal(t->name, name);
    assert_int_equal(t->rank, rows ? 2 : 1);
    assert_int_equal(t->dim[t->rank - 1], cols);
    if (rows) assert_int_equal(t->dim[0], rows);
}

static void every_role_has_its_tensor(void **state)
{
    (void)state;
    dlx_checkpoint c;
    open_or_fail(&c, TINY("llada"));
    assert_int_equal(views_of(&c), 3 * 9 + 3);
    expect_view(c.embed, "model.transformer.wte.weight", 1472, 96);
    expect_view(c.lm_head, "model.transformer.ff_out.weight", 1472, 96);
    expect_view(c.norm, "model.transformer.ln_f.weight", 0, 96);
    expect_view(c.layer[2].attn_norm, "model.transformer.blocks.2.attn_norm.weight", 0, 96);
    expect_view(c.layer[2].mlp_norm, "model.transformer.blocks.2.ff_norm.weight", 0, 96);
    expect_view(c.layer[2].k, "model.transformer.blocks.2.k_proj.weight", 32, 96);
    expect_view(c.layer[2].o, "model.transformer.blocks.2.attn_out.weight", 96, 96);
    expect_view(c.layer[2].gate, "model.transformer.blocks.2.ff_proj.weight", 192, 96);
    expect_view(c.layer[2].up, "model.transformer.blocks.2.up_proj.weight", 192, 96);
    expect_view(c.layer[2].down, "model.transformer.blocks.2.ff_out.weight", 96, 192);
    assert_true(c.embed->dtype == DLX_F32 && !c.layer[0].q_bias && !c.layer[0].q_norm);
    dlx_checkpoint_close(&c);
    open_or_fail(&c, TINY("dream"));
    assert_int_equal(views_of(&c), 3 * 12 + 3);
    expect_view(c.layer[1].q_bias, "model.layers.1.self_attn.q_proj.bias", 0, 112);
    expect_view(c.layer[1].v_bias, "model.layers.1.self_attn.v_proj.bias", 0, 16);
    dlx_checkpoint_close(&c);
    open_or_fail(&c, TINY("sdar"));
    assert_int_equal(views_of(&c), 2 * 11 + 3);
    expect_view(c.layer[1].q, "model.layers.1.self_attn.q_proj.weight", 192, 128); /* 6 heads of 32, not 128 */
    expect_view(c.layer[1].o, "model.layers.1.self_attn.o_proj.weight", 128, 192);
    expect_view(c.layer[1].k_norm, "model.layers.1.self_attn.k_norm.weight", 0, 32);
    assert_int_equal(c.embed->dtype, DLX_BF16);
    dlx_checkpoint_close(&c);
    open_or_fail(&c, TINY("fast_dllm_v2"));
    assert_int_equal(views_of(&c), 4 * 12 + 2);
    assert_int_equal(c.n_files, 2);
    assert_ptr_equal(c.lm_head, c.embed);
    assert_non_null(strstr(c.layer[0].q->file, SHARD_1));
    assert_non_null(strstr(c.layer[3].q->file, SHARD_2));
    dlx_checkpoint_close(&c);
}

/* ---- exactly these tensors -------------------------------------------------------------------------------------- */

/* Leaves out, then reshapes, each tensor in turn. */
static void each_tensor_is_needed_in_its_shape(const char *folder, const char *file, const char *head)
{
    dlx_arena arena;
    dlx_safetensors st;
    char path[1024];
    path_in(path, folder, file);
    dlx_arena_init(&arena);
    assert_int_equal(dlx_safetensors_open(&st, &arena, path, NULL), DLX_OK);
    for (size_t i = 0; i < st.n_tensors; i++) {
        const dlx_st_tensor *t = &st.tensors[i];
        char quoted[256];
        snprintf(quoted, sizeof quoted, "tensor '%s'", t->name);
        copy at = copy_checkpoint(folder);
        change_tensor(&at, file, (change){.name = t->name});
        if (strcmp(t->name, head)) /* without a head the embedding is it */
            expect_error(&at, DLX_E_FORMAT, quoted, "is missing");
        remove_copy(&at);
        at = copy_checkpoint(folder);
        change wrong = {
            .name = t->name,
            .rename = t->name,
            .rank = 2,
            .dim = {2, dlx_shape_elements(&(dlx_shape){t->rank, {t->dim[0], t->rank > 1 ? t->dim[1] : 1}}) / 2}};
        change_tensor(&at, file, wrong);
        expect_error(&at, DLX_E_FORMAT, quoted, "has shape [2,");
        remove_copy(&at);
    }
    dlx_safetensors_close(&st);
    dlx_arena_free(&arena);
}

static void tensors_are_needed_in_their_shapes(void **state)
{
    (void)state;
    each_tensor_is_needed_in_its_shape(TINY("llada"), SINGLE, "model.transformer.ff_out.weight");
    each_tensor_is_needed_in_its_shape(TINY("dream"), SINGLE, "lm_head.weight");
    each_tensor_is_needed_in_its_shape(TINY("sdar"), SINGLE, "lm_head.weight");
}

static void nothing_else_is_taken(void **state)
{
    (void)state;
    static const float number[8] = {1};
    dlx_st_tensor extra = {.name = "model.layers.0.mlp.experts.0.up_proj.weight",
                           .dtype = DLX_F32,
                           .rank = 1,
                           .dim = {8},
                           .data = (const uint8_t *)number,
                           .bytes = sizeof number};
    copy at = copy_checkpoint(TINY("dream"));
    edit_tensors(&at, SINGLE, NULL, NULL, &extra);
    expect_error(&at, DLX_E_FORMAT, "tensor 'model.layers.0.mlp.experts.0.up_proj.weight'",
                 "no place in a dream model of 3 layers");
    remove_copy(&at);
    /* A layer more than config.json says, and a bias the family lacks. */
    at = copy_checkpoint(TINY("sdar"));
    edit_json(&at, "config.json", "num_hidden_layers", "1");
    expect_error(&at, DLX_E_FORMAT, "tensor 'model.layers.1.", "no place in a sdar model of 1 layers");
    remove_copy(&at);
    at = copy_checkpoint(TINY("llada"));
    extra.name = "model.transformer.blocks.0.q_proj.bias";
    edit_tensors(&at, SINGLE, NULL, NULL, &extra);
    expect_error(&at, DLX_E_FORMAT, "tensor 'model.transformer.blocks.0.q_proj.bias'", "no place");
    remove_copy(&at);
    /* What follows from the configuration may be there. */
    at = copy_checkpoint(TINY("dream"));
    extra.name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    edit_tensors(&at, SINGLE, NULL, NULL, &extra);
    dlx_checkpoint c;
    open_or_fail(&c, at.folder);
    dlx_checkpoint_close(&c);
    remove_copy(&at);
}

static void float_types_are_taken_others_refused(void **state)
{
    (void)state;
    static const char q[] = "model.layers.0.self_attn.q_proj.weight";
    copy at = copy_checkpoint(TINY("dream"));
    change_tensor(&at, SINGLE, (change){.name = q, .rename = q, .dtype = DLX_F16});
    dlx_checkpoint c;
    open_or_fail(&c, at.folder);
    assert_int_equal(c.layer[0].q->dtype, DLX_F16);
    dlx_checkpoint_close(&c);
    remove_copy(&at);
    at = copy_checkpoint(TINY("dream"));
    change_tensor(&at, SINGLE, (change){.name = q, .rename = q, .dtype = DLX_I8});
    expect_error(&at, DLX_E_UNSUPPORTED, q, "has type i8; expected f32, f16 or bf16");
    remove_copy(&at);
}

static void the_table_must_have_the_rows_of_the_config(void **state)
{
    (void)state;
    copy at = copy_checkpoint(TINY("llada"));
    edit_json(&at, "config.json", "embedding_size", "1504");
    expect_error(&at, DLX_E_FORMAT, "'model.transformer.wte.weight'",
                 "has shape [1472,96]; config.json makes it [1504,96]");
    edit_json(&at, "config.json", "embedding_size", "1472"); /* padded: the vocabulary is what the table has */
    edit_json(&at, "config.json", "vocab_size", "1430");
    dlx_checkpoint c;
    open_or_fail(&c, at.folder);
    assert_int_equal(c.facts.vocab_size, 1472);
    dlx_checkpoint_close(&c);
    remove_copy(&at);
}

/* ---- heads ------------------------------------------------------------------------------------------------------ */

/* Gives the head the embedding's bytes. */
static void copy_embedding_to_head(const copy *at, const char *embed, const char *head)
{
    char path[1024];
    dlx_arena arena;
    dlx_safetensors st;
    dlx_error err = {0};
    dlx_st_tensor extra = {.rank = 0};
    path_in(path, at->folder, SINGLE);
    dlx_arena_init(&arena);
    assert_int_equal(dlx_safetensors_open(&st, &arena, path, &err), DLX_OK);
    take_tensors(&st, &arena);
    for (size_t i = 0; i < st.n_tensors; i++)
        if (!strcmp(st.tensors[i].name, embed)) extra = st.tensors[i];
    assert_true(extra.rank == 2);
    extra.name = head;
    edit_tensors(at, SINGLE, apply, &(change){.name = head}, &extra);
    dlx_safetensors_close(&st);
    dlx_arena_free(&arena);
}

static void heads_are_tied_as_published(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *embed, *head, *key;
    } cases[] = {{TINY("llada"), "model.transformer.wte.weight", "model.transformer.ff_out.weight", "weight_tying"},
                 {TINY("dream"), "model.embed_tokens.weight", "lm_head.weight", "tie_word_embeddings"},
                 {TINY("sdar"), "model.embed_tokens.weight", "lm_head.weight", "tie_word_embeddings"}};
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        copy at = copy_checkpoint(cases[i].folder);
        dlx_checkpoint c;
        edit_json(&at, "config.json", cases[i].key, "true");
        open_or_fail(&c, at.folder);
        /* LLaDA's forward pass goes by the configuration; the others use a head that differs from the embedding. */
        assert_int_equal(c.shape.tied, i == 0);
        assert_int_equal(c.lm_head == c.embed, i == 0);
        dlx_checkpoint_close(&c);
        copy_embedding_to_head(&at, cases[i].embed, cases[i].head);
        open_or_fail(&c, at.folder);
        assert_true(c.shape.tied && c.lm_head == c.embed);
        dlx_checkpoint_close(&c);
        edit_json(&at, "config.json", cases[i].key, "false");
        open_or_fail(&c, at.folder);
        assert_true(!c.shape.tied && c.lm_head != c.embed);
        dlx_checkpoint_close(&c);
        /* Nothing says that the embedding is the head: it was lost. */
        change_tensor(&at, SINGLE, (change){.name = cases[i].head});
        dlx_error e = {0};
        assert_int_equal(dlx_checkpoint_open(&c, at.folder, NULL, &e), DLX_E_FORMAT);
        if (!strstr(e.message, "the output head, is missing") || !strstr(e.message, cases[i].key))
            fail_msg("%s", e.message);
        dlx_checkpoint_close(&c);
        edit_json(&at, "config.json", cases[i].key, "true");
        open_or_fail(&c, at.folder);
        assert_true(c.shape.tied && c.lm_head == c.embed);
        dlx_checkpoint_close(&c);
        remove_copy(&at);
    }
}

/* ---- names of other writers -------------------------------------------------------------------------------------- */

typedef struct renaming {
    dlx_arena arena;
    const char *from, *to; /* beginnings; "" matches all */
} renaming;

static bool rename_start(void *ctx, dlx_st_tensor *t)
{
    renaming *r = ctx;
    char name[256];
    size_t n = strlen(r->from);
    if (strncmp(t->name, r->from, n) != 0) return true;
    snprintf(name, sizeof name, "%s%s", r->to, t->name + n);
    t->name = dlx_arena_strndup(&r->arena, name, strlen(name));
    return t->name != NULL;
}

static void an_adapter_beside_the_weights_is_refused(void **state)
{
    (void)state;
    copy at = copy_checkpoint(TINY("sdar"));
    renaming r = {.from = "model.layers.0.self_attn.q_proj.", .to = "model.layers.0.self_attn.q_proj.base_layer."};
    dlx_checkpoint c;
    dlx_error err = {0};
    dlx_arena_init(&r.arena);
    edit_tensors(&at, SINGLE, rename_start, &r, NULL);
    assert_int_equal(dlx_checkpoint_open(&c, at.folder, NULL, &err), DLX_E_UNSUPPORTED);
    if (!strstr(err.message, "q_proj.base_layer.weight") || !strstr(err.message, "merge_and_unload"))
        fail_msg("%s", err.message);
    remove_copy(&at);
    dlx_arena_free(&r.arena);
}

static void a_prefix_may_be_doubled_or_missing(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {TINY("llada"), "model.", ""},
        {TINY("llada"), "", "model."},
        {TINY("dream"), "model.", ""},
        {TINY("dream"), "", "model."},
        {TINY("dream"), "model.", "model.model."},
        {TINY("sdar"), "", "model."},
        {TINY("sdar"), "model.", ""},
        {TINY("llada"), "", "_orig_mod."},
        {TINY("sdar"), "", "module."},
        {TINY("dream"), "", "module._orig_mod."},
        {TINY("dream"), "", "base_model.model."},
        {TINY("sdar"), "model.", "model._orig_mod."},
    };
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        copy at = copy_checkpoint(cases[i][0]);
        renaming r = {.from = cases[i][1], .to = cases[i][2]};
        dlx_checkpoint a, b;
        dlx_arena_init(&r.arena);
        edit_tensors(&at, SINGLE, rename_start, &r, NULL);
        open_or_fail(&a, cases[i][0]);
        open_or_fail(&b, at.folder);
        assert_int_equal(views_of(&a), views_of(&b));
        assert_memory_equal(a.lm_head->data, b.lm_head->data, a.lm_head->bytes);
        assert_memory_equal(a.layer[1].down->data, b.layer[1].down->data, a.layer[1].down->bytes);
        dlx_checkpoint_close(&a);
        dlx_checkpoint_close(&b);
        remove_copy(&at);
        dlx_arena_free(&r.arena);
    }
}

static void buffers_that_follow_from_the_configuration_are_left(void **state)
{
    (void)state;
    static const char *const names[] = {"model.layers.0.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq",
                                        "model.rotary_emb.original_inv_freq", "model.layers.1.self_attn.masked_bias"};
    static const float numbers[2] = {1, 2};
    for (size_t i = 0; i < DLX_COUNT(names); i++) {
        copy at = copy_checkpoint(TINY("dream"));
        dlx_st_tensor extra = {.name = names[i], .dtype = DLX_F32, .rank = 1, .dim = {2}, .bytes = sizeof numbers};
        dlx_checkpoint c;
        extra.data = (const uint8_t *)numbers;
        edit_tensors(&at, SINGLE, apply, &(change){.name = ""}, &extra);
        open_or_fail(&c, at.folder);
        dlx_checkpoint_close(&c);
        remove_copy(&at);
    }
    copy at = copy_checkpoint(TINY("dream"));
    dlx_st_tensor extra = {.name = "model.layers.0.self_attn.unmasked_bias", .dtype = DLX_F32, .rank = 1, .dim = {2}};
    extra.bytes = sizeof numbers;
    extra.data = (const uint8_t *)numbers;
    edit_tensors(&at, SINGLE, apply, &(change){.name = ""}, &extra);
    expect_error(&at, DLX_E_FORMAT, "unmasked_bias", "has no place");
    remove_copy(&at);
    /* A causal mask of GPT-style classes; what has its name and not its shape is no mask. */
    static const uint8_t ones[16] = {1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1};
    for (int64_t columns = 2; columns <= 4; columns += 2) {
        at = copy_checkpoint(TINY("dream"));
        dlx_st_tensor mask = {.name = "model.layers.0.self_attn.bias", .dtype = DLX_U8, .rank = 4};
        mask.dim[0] = mask.dim[1] = 1;
        mask.dim[2] = 4;
        mask.dim[3] = columns;
        mask.bytes = 4 * (uint64_t)columns;
        mask.data = ones;
        edit_tensors(&at, SINGLE, apply, &(change){.name = ""}, &mask);
        dlx_checkpoint c;
        if (columns == 4) {
            open_or_fail(&c, at.folder);
            dlx_checkpoint_close(&c);
        } else {
            expect_error(&at, DLX_E_FORMAT, "self_attn.bias", "has no place");
        }
        remove_copy(&at);
    }
}

static bool no_bias(void *ctx, dlx_st_tensor *t)
{
    (void)ctx;
    return !strstr(t->name, ".bias");
}

static void dream_may_have_no_biases(void **state)
{
    (void)state;
    copy at = copy_checkpoint(TINY("dream"));
    dlx_checkpoint c;
    edit_tensors(&at, SINGLE, no_bias, NULL, NULL);
    expect_error(&at, DLX_E_FORMAT, "q_proj.bias", "is missing");
    edit_json(&at, "config.json", "attention_bias", "false");
    open_or_fail(&c, at.folder);
    assert_true(!c.layer[0].q_bias && !c.layer[0].k_bias && !c.layer[0].v_bias && !c.shape.qkv_bias);
    dlx_checkpoint_close(&c);
    remove_copy(&at);
}

/* ---- folders that are not a checkpoint yet ----------------------------------------------------------------------- */

static void half_fetched_folders_say_so(void **state)
{
    (void)state;
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 11000000\n";
    static const char *const files[] = {"config.json", "generation_config.json", "tokenizer_config.json", SINGLE};
    for (size_t i = 0; i < DLX_COUNT(files); i++) {
        copy at = copy_checkpoint(TINY("sdar"));
        char path[1024];
        write_text(&at, files[i], pointer);
        expect_error(&at, DLX_E_FORMAT, files[i], "is a git-lfs pointer");
        remove_file(&at, files[i]);
        path_in(path, at.folder, files[i]);
        assert_int_equal(symlink("../../blobs/0123", path), 0);
        expect_error(&at, DLX_E_IO, "is a link to '../../blobs/0123', which is not there", "hf download ORG/NAME");
        remove_copy(&at);
    }
    /* In the cache the sentence knows the name; a blob that did not arrive whole is a hint where no link is there yet.
     */
    copy cache = new_folder(), snapshot;
    char path[1024];
    static const char *const folders[] = {"models--Org--Some-Model", "models--Org--Some-Model/blobs",
                                          "models--Org--Some-Model/snapshots", "models--Org--Some-Model/snapshots/r1"};
    for (size_t i = 0; i < DLX_COUNT(folders); i++) {
        path_in(path, cache.folder, folders[i]);
        assert_int_equal(mkdir(path, 0777), 0);
    }
    assert_true(snprintf(snapshot.folder, sizeof snapshot.folder, "%s", path) < (int)sizeof snapshot.folder);
    write_text(&cache, "models--Org--Some-Model/blobs/0123.incomplete", "");
    expect_error(&snapshot, DLX_E_IO, "has no config.json",
                 "incomplete, fetch the rest with: hf download Org/Some-Model");
    path_in(path, snapshot.folder, "config.json");
    assert_int_equal(symlink(TINY("sdar") "/config.json", path), 0);
    expect_error(&snapshot, DLX_E_IO, "has no model.safetensors", "incomplete, fetch the rest");
    path_in(path, snapshot.folder, SINGLE);
    assert_int_equal(symlink("../../blobs/0123", path), 0);
    expect_error(&snapshot, DLX_E_IO, "the download is incomplete", "hf download Org/Some-Model");
    remove_copy(&cache);
}

static void other_kinds_of_folders_say_what_to_do(void **state)
{
    (void)state;
    copy at = copy_checkpoint(TINY("sdar"));
    remove_file(&at, SINGLE);
    expect_error(&at, DLX_E_IO, "has no model.safetensors and no " INDEX,
                 "; fetch the rest with: hf download ORG/NAME");
    write_text(&at, "model-q4_k_m.gguf", "GGUF");
    expect_error(&at, DLX_E_UNSUPPORTED, "it has a GGUF file", "the checkpoint that it was made from");
    remove_file(&at, "model-q4_k_m.gguf");
    write_text(&at, "pytorch_model.bin", "");
    expect_error(&at, DLX_E_UNSUPPORTED, "convert its pytorch_model.bin to safetensors", NULL);
    write_text(&at, "adapter_config.json", "{\"base_model_name_or_path\": \"Org/Base\"}");
    expect_error(&at, DLX_E_UNSUPPORTED, "holds an adapter for 'Org/Base'", "merge_and_unload");
    remove_file(&at, "config.json");
    expect_error(&at, DLX_E_UNSUPPORTED, "holds an adapter for 'Org/Base'", "merge_and_unload");
    write_text(&at, "adapter_config.json", "{");
    expect_error(&at, DLX_E_FORMAT, "adapter_config.json", "JSON");
    remove_copy(&at);
}

/* ---- LLaDA under Llama's names ---------------------------------------------------------------------------------- */

static bool to_llama_names(void *ctx, dlx_st_tensor *t)
{
    static const char *const leaves[][2] = {{"attn_norm", "input_layernorm"}, {"ff_norm", "post_attention_layernorm"},
                                            {"q_proj", "self_attn.q_proj"},   {"k_proj", "self_attn.k_proj"},
                                            {"v_proj", "self_attn.v_proj"},   {"attn_out", "self_attn.o_proj"},
                                            {"ff_proj", "mlp.gate_proj"},     {"up_proj", "mlp.up_proj"},
                                            {"ff_out", "mlp.down_proj"}};
    dlx_arena *arena = ctx;
    char name[128], leaf[32];
    int layer;
    if (!strcmp(t->name, "model.transformer.wte.weight")) t->name = "model.embed_tokens.weight";
    if (!strcmp(t->name, "model.transformer.ln_f.weight")) t->name = "model.norm.weight";
    if (!strcmp(t->name, "model.transformer.ff_out.weight")) t->name = "lm_head.weight";
    if (sscanf(t->name, "model.transformer.blocks.%d.%31[a-z_].weight", &layer, leaf) != 2) return true;
    for (size_t i = 0; i < DLX_COUNT(leaves); i++)
        if (!strcmp(leaf, leaves[i][0])) snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, leaves[i][1]);
    t->name = dlx_arena_strndup(arena, name, strlen(name));
    return true;
}

static void llada_under_llama_names_is_the_same(void **state)
{
    (void)state;
    dlx_arena arena;
    dlx_checkpoint a, b;
    dlx_arena_init(&arena);
    copy at = copy_checkpoint(TINY("llada"));
    edit_tensors(&at, SINGLE, to_llama_names, &arena, NULL);
    open_or_fail(&a, TINY("llada"));
    open_or_fail(&b, at.folder);
    assert_memory_equal(a.lm_head->data, b.lm_head->data, a.lm_head->bytes);
    for (int32_t i = 0; i < 3; i++)
        for (size_t k = 0; k < sizeof a.layer[i] / sizeof(void *); k++) {
            const dlx_st_tensor *x = ((const dlx_st_tensor *const *)&a.layer[i])[k],
                                *y = ((const dlx_st_tensor *const *)&b.layer[i])[k];
            assert_int_equal(!x, !y);
            if (x) assert_memory_equal(x->data, y->data, x->bytes);
        }
    dlx_checkpoint_close(&a);
    dlx_checkpoint_close(&b);
    remove_copy(&at);
    dlx_arena_free(&arena);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void set_shard(const copy *at, const char *tensor, const char *file)
{
    char path[1024];
    path_in(path, at->folder, INDEX);
    json_t *index = json_load_file(path, 0, NULL), *map = json_object_get(index, "weight_map");
    assert_non_null(map);
    if (file)
        json_object_set_new(map, tensor, json_string(file));
    else
        assert_int_equal(json_object_del(map, tensor), 0);
    char *text = json_dumps(index, 0);
    write_text(at, INDEX, text);
    free(text);
    json_decref(index);
}

static void shards_agree_with_their_index(void **state)
{
    (void)state;
    static const char norm[] = "model.norm.weight";
    static const char *const outside[] = {"../" SHARD_2, "/etc/passwd", "sub/" SHARD_2, "..", "a\\b", ""};
    copy at = copy_checkpoint(TINY("fast_dllm_v2"));
    for (size_t i = 0; i < DLX_COUNT(outside); i++) {
        set_shard(&at, norm, outside[i]);
        expect_error(&at, DLX_E_FORMAT, "tensor 'model.norm.weight'; expected the name of a file in the same folder",
                     outside[i]);
    }
    set_shard(&at, norm, SHARD_1);
    expect_error(&at, DLX_E_FORMAT, "tensor 'model.norm.weight' is in file '" SHARD_2 "'",
                 "weight_map has '" SHARD_1 "'");
    set_shard(&at, norm, NULL);
    expect_error(&at, DLX_E_FORMAT, "tensor 'model.norm.weight' is in file '" SHARD_2 "'", "weight_map has nothing");
    set_shard(&at, norm, SHARD_2);
    set_shard(&at, "model.layers.9.mlp.up_proj.weight", SHARD_2);
    expect_error(&at, DLX_E_FORMAT, "tensor 'model.layers.9.mlp.up_proj.weight' is in file '" SHARD_2 "'",
                 "no such tensor");
    set_shard(&at, "model.layers.9.mlp.up_proj.weight", "model-00003-of-00003.safetensors");
    expect_error(&at, DLX_E_IO, "names 3 files of weights, of which 'model-00003-of-00003.safetensors' is missing",
                 "fetch the rest");
    set_shard(&at, "model.layers.9.mlp.down_proj.weight", "model-00004-of-00004.safetensors");
    expect_error(&at, DLX_E_IO, "'model-00003-of-00003.safetensors' and 1 more are missing", "names 4 files");
    set_shard(&at, "model.layers.9.mlp.down_proj.weight", NULL);
    set_shard(&at, "model.layers.9.mlp.up_proj.weight", NULL);
    dlx_checkpoint c;
    open_or_fail(&c, at.folder);
    dlx_checkpoint_close(&c);
    char index[1024], away[1024];
    path_in(index, at.folder, INDEX);
    path_in(away, at.folder, "away");
    assert_int_equal(rename(index, away), 0);
    expect_error(&at, DLX_E_IO, "has files of weights, but neither model.safetensors nor " INDEX,
                 "fetch the rest with: hf download ORG/NAME --local-dir ");
    assert_int_equal(rename(away, index), 0);
    remove_file(&at, SHARD_1);
    expect_error(&at, DLX_E_IO, SHARD_1 "' is missing", "fetch the rest with: hf download ORG/NAME --local-dir ");
    edit_json(&at, INDEX, "weight_map", "[]");
    expect_error(&at, DLX_E_FORMAT, "'weight_map' is an array", "expected an object");
    edit_json(&at, INDEX, "weight_map", "{}");
    expect_error(&at, DLX_E_FORMAT, "'weight_map' is empty", "expected an object");
    edit_json(&at, INDEX, "weight_map", "{\"a\": 1}");
    expect_error(&at, DLX_E_FORMAT, "weight_map gives 1 for tensor 'a'", NULL);
    remove_file(&at, INDEX);
    expect_error(&at, DLX_E_IO, "has files of weights, but neither " SINGLE " nor " INDEX, NULL);
    write_text(&at, "pytorch_model.bin", "");
    expect_error(&at, DLX_E_UNSUPPORTED, "has no " SINGLE, "convert its pytorch_model.bin to safetensors");
    write_text(&at, SINGLE, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
    expect_error(&at, DLX_E_FORMAT, SINGLE, NULL);
    remove_copy(&at);
}

static void a_tensor_in_two_files_is_refused(void **state)
{
    (void)state;
    copy at = copy_checkpoint(TINY("fast_dllm_v2"));
    static const float ones[96] = {1};
    dlx_st_tensor twice = {.name = "model.norm.weight",
                           .dtype = DLX_F32,
                           .rank = 1,
                           .dim = {96},
                           .data = (const uint8_t *)ones,
                           .bytes = sizeof ones};
    edit_tensors(&at, SHARD_1, NULL, NULL, &twice);
    expect_error(&at, DLX_E_FORMAT, "tensor 'model.norm.weight' is in file '" SHARD_1 "'",
                 "weight_map has '" SHARD_2 "'");
    remove_copy(&at);
}

/* ---- graph ------------------------------------------------------------------------------------------------------ */

static const dlx_value *constant(const dlx_graph *g, const char *name)
{
    const dlx_value *found = NULL;
    for (size_t i = 0; i < g->n_values; i++) {
        const dlx_value *v = &g->values[i];
        if (v->kind != DLX_VALUE_CONST || !v->name || strcmp(v->name, name)) continue;
        assert_null(found);
        found = v;
    }
    return found;
}

static void the_graph_is_layout_a_over_views(void **state)
{
    (void)state;
    dlx_checkpoint c;
    dlx_graph g;
    dlx_error err = {0};
    open_or_fail(&c, TINY("sdar"));
    dlx_graph_init(&g);
    if (dlx_build_graph(&g, &c, DLX_KV_CALLER, 16, 40, &err) != DLX_OK) fail_msg("%s", err.message);
    static const char *const names[] = {"tokens", "positions", "k_0", "v_0", "k_1", "v_1"};
    assert_int_equal(g.n_inputs, DLX_COUNT(names));
    for (size_t i = 0; i < g.n_inputs; i++) {
        const dlx_value *v = &g.values[g.inputs[i]];
        assert_string_equal(v->name, names[i]);
        assert_int_equal(v->dynamic, 1);
        assert_int_equal(v->dtype, i < 2 ? DLX_I64 : DLX_F32);
        assert_int_equal(v->dim[0], i < 2 ? 16 : 40);
        if (i >= 2) assert_true(v->rank == 3 && v->dim[1] == 2 && v->dim[2] == 32);
    }
    assert_int_equal(g.n_outputs, 5);
    const dlx_value *logits = &g.values[g.outputs[0]], *k = &g.values[g.outputs[1]];
    assert_true(logits->rank == 2 && logits->dim[0] == 16 && logits->dim[1] == 1280 && logits->dynamic == 1);
    assert_true(k->rank == 3 && k->dim[0] == 16 && k->dim[1] == 2 && k->dim[2] == 32 && k->dynamic == 1);
    const dlx_value *q = constant(&g, "layers.1.q.weight"), *head = constant(&g, "lm_head.weight");
    assert_true(q->source.file == c.files[0].file && q->source.offset == c.layer[1].q->offset);
    assert_true(q->dtype == DLX_F32 && q->source.stored == DLX_BF16 && q->source.transform == DLX_CONST_WIDEN &&
                q->source.bytes == 192 * 128 * 2);
    assert_non_null(head);
    assert_non_null(constant(&g, "layers.0.k_norm.weight"));
    assert_null(constant(&g, "layers.0.q.bias"));
    dlx_graph_free(&g);
    assert_int_equal(dlx_build_graph(&g, &c, DLX_KV_CALLER, 0, 40, &err), DLX_E_LIMIT);
    assert_non_null(strstr(err.message, "0 rows a call"));
    assert_int_equal(dlx_build_graph(&g, &c, DLX_KV_CALLER, 41, 40, &err), DLX_E_LIMIT);
    assert_int_equal(dlx_build_graph(&g, &c, DLX_KV_CALLER, 1, 193, &err), DLX_E_LIMIT);
    assert_non_null(strstr(err.message, "1 to 192"));
    dlx_checkpoint_close(&c);
    open_or_fail(&c, TINY("fast_dllm_v2"));
    dlx_graph_init(&g);
    assert_int_equal(dlx_build_graph(&g, &c, DLX_KV_CALLER, 16, 40, NULL), DLX_OK);
    assert_null(constant(&g, "lm_head.weight"));
    assert_non_null(constant(&g, "layers.3.v.bias"));
    const dlx_value *table = constant(&g, "embed.weight");
    assert_int_equal(table->source.transform, DLX_CONST_PLAIN);
    assert_ptr_equal(&g.values[g.nodes[g.n_nodes - 1].in[1]], table);
    dlx_graph_free(&g);
    dlx_checkpoint_close(&c);
}

/* ---- rotary tables ---------------------------------------------------------------------------------------------- */

static const dlx_st_tensor *recorded(const dlx_safetensors *st, const char *model, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", model, what);
    for (size_t i = 0; i < st->n_tensors; i++)
        if (!strcmp(st->tensors[i].name, name)) return &st->tensors[i];
    fail_msg("rope.safetensors has no '%s'", name);
    return NULL;
}

static float element(const dlx_st_tensor *t, int64_t i)
{
    float f;
    memcpy(&f, t->data + 4 * i, sizeof f);
    return f;
}

/* Against PyTorch's: the last bit of a cosine may differ, which is 1.2e-7 at the most. */
static void compare_rope(const dlx_safetensors *st, const char *model, double theta, int32_t head_dim)
{
    enum { MOST = 4096 };
    const dlx_st_tensor *positions = recorded(st, model, "positions"), *cos = recorded(st, model, "cos"),
                        *sin = recorded(st, model, "sin");
    float *c = calloc((size_t)MOST * (size_t)head_dim, sizeof *c),
          *s = calloc((size_t)MOST * (size_t)head_dim, sizeof *s);
    assert_true(c && s);
    assert_int_equal(cos->dim[1], head_dim);
    dlx_rope_tables(c, s, theta, NULL, head_dim, MOST);
    for (int64_t i = 0; i < positions->dim[0]; i++)
        for (int64_t j = 0; j < head_dim; j++) {
            int64_t p, at = i * head_dim + j;
            memcpy(&p, positions->data + 8 * i, sizeof p);
            float want_cos = element(cos, at), want_sin = j < head_dim / 2 ? -element(sin, at) : element(sin, at);
            float got_cos = c[p * head_dim + j], got_sin = s[p * head_dim + j];
            if (!(fabsf(got_cos - want_cos) <= 1.2e-7f) || !(fabsf(got_sin - want_sin) <= 1.2e-7f))
                fail_msg("%s: position %lld, element %lld: %.9g and %.9g, expected %.9g and %.9g", model, (long long)p,
                         (long long)j, (double)got_cos, (double)got_sin, (double)want_cos, (double)want_sin);
        }
    free(c);
    free(s);
}

static void rotary_tables_are_the_published_ones(void **state)
{
    (void)state;
    dlx_arena arena;
    dlx_safetensors st;
    dlx_error err = {0};
    dlx_arena_init(&arena);
    if (dlx_safetensors_open(&st, &arena, DLX_TEST_DATA "/model/rope.safetensors", &err) != DLX_OK)
        fail_msg("%s", err.message);
    take_tensors(&st, &arena);
    compare_rope(&st, "llada-tiny", 500000, 16);
    compare_rope(&st, "dream-tiny", 1000000, 16);
    compare_rope(&st, "sdar-tiny", 1000000, 32);
    compare_rope(&st, "fast_dllm_v2-tiny", 1000000, 16);
    compare_rope(&st, "theta-500000", 500000, 128);
    compare_rope(&st, "theta-1000000", 1000000, 128);
    dlx_safetensors_close(&st);
    dlx_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_role_has_its_tensor),
        portable_test(tensors_are_needed_in_their_shapes),
        cmocka_unit_test(nothing_else_is_taken),
        cmocka_unit_test(float_types_are_taken_others_refused),
        cmocka_unit_test(the_table_must_have_the_rows_of_the_config),
        cmocka_unit_test(heads_are_tied_as_published),
        cmocka_unit_test(an_adapter_beside_the_weights_is_refused),
        cmocka_unit_test(a_prefix_may_be_doubled_or_missing),
        cmocka_unit_test(buffers_that_follow_from_the_configuration_are_left),
        cmocka_unit_test(dream_may_have_no_biases),
        cmocka_unit_test(half_fetched_folders_say_so),
        cmocka_unit_test(other_kinds_of_folders_say_what_to_do),
        cmocka_unit_test(llada_under_llama_names_is_the_same),
        cmocka_unit_test(shards_agree_with_their_index),
        cmocka_unit_test(a_tensor_in_two_files_is_refused),
        cmocka_unit_test(the_graph_is_layout_a_over_views),
        cmocka_unit_test(rotary_tables_are_the_published_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
