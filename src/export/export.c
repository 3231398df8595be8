/*
 * The export driver: checkpoint -> graph -> quantisation -> backend -> file. Weights are places in the checkpoint's
 * files all the way; they are read and converted chunk by chunk while the file is written, so memory stays near the
 * largest tensor's row scales, not near the model.
 */
#include "diffulex_edge/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "diffulex_edge/model.h"
#include "diffulex_edge/text.h"

#include "base/clock.h"
#include "base/fetched.h"
#include "base/path.h"
#include "base/sizes.h"
#include "base/structs.h"
#include "base/threads.h"
#include "export/activations.h"
#include "export/backend_use.h"
#include "export/choices.h"
#include "export/export.h"
#include "export/methods.h"
#include "export/package.h"
#include "export/placement.h"
#include "export/solve.h"
#include "export/target.h"
#include "export/tokenizer_folder.h"
#include "export/validate.h"
#include "format/facts.h"
#include "format/keys.h"
#include "format/pte.h"
#include "model/checkpoint.h"
#include "quant/quant.h"
#include "text/jinja/jinja.h"
#include "text/tokenizer.h"

enum { DEFAULT_MAX_SEQ_LEN = 2048, DEFAULT_EXPLICIT_ROWS = 32, DEFAULT_STATE_ROWS = 128 };

typedef struct exporter {
    dlx_export_options options;
    dlx_export_result result;
    dlx_checkpoint checkpoint;
    dlx_methods methods;
    dlx_arena arena;
    dlx_pool *pool;
    dlx_pte pte;
    dlx_output output;
    const dlx_backend *backend;
    dlx_backend_use use; /* of it */
    bool package;        /* and not a program is to be written */
    dlx_recipe recipe;
    const dlx_scheme *scheme;    /* that it is of */
    const char *metadata;        /* what the file says of its weights */
    const dlx_weight_form *body; /* the form of layers that it names */
    const dlx_rounding *rounding;
    bool solves;                          /* there are weights that the rounding finds on calibration data */
    bool measures;                        /* ranges, on calibration data, */
    dlx_observer observer;                /* by this rule */
    dlx_tokenizer *tokenizer;             /* of the folder, NULL: it has none */
    const dlx_validate_options *validate; /* what the file will be validated with, NULL: it will not, */
    dlx_samples *samples;                 /* and where samples for it go */
    dlx_samples_text calibration;         /* the data, where it was needed before it is calibrated with */
    dlx_export_work work, measured;       /* weights, ranges */
    char *ranges;                         /* of static activations, as they go into the file; NULL: there are none */
    const dlx_kv_choice *kv;
    dlx_pte_blob packed_tokenizer; /* size 0: there is none */
    dlx_export_placed placed;      /* what goes where */
    dlx_digest digest;             /* of the file, with keys that have a mark of zeros */
    uint64_t total;                /* bytes of all blobs */
    uint64_t done;
} exporter;

static dlx_status check_options(exporter *x, dlx_error *err)
{
    const dlx_export_options *o = &x->options;
    if (!o->model_path || !*o->model_path)
        return dlx_fail(err, DLX_E_INVALID, "export: no checkpoint folder was given");
    if (!o->output_path || !*o->output_path) return dlx_fail(err, DLX_E_INVALID, "export: no output path was given");
    DLX_TRY(dlx_backend_find(&x->backend, o->backend, err));
    DLX_TRY(dlx_backend_options_check(x->backend->name, o, err));
    const dlx_recipe_request request = {
        .quantization = o->quantization, .config = o->quantization_config, .exclude = o->exclude};
    DLX_TRY(dlx_recipe_make(&x->recipe, &x->scheme, &x->arena, &request, x->backend, err));
    if (x->backend->open) DLX_TRY(x->backend->open(&x->use, &x->arena, o, &x->recipe, err));
    DLX_TRY(dlx_export_measures(&x->measures, &x->observer, o, &x->recipe, x->use.ranged, err));
    DLX_TRY(dlx_export_rounding(&x->rounding, o, &x->recipe, x->measures, &x->use, err));
    x->recipe.clip = x->rounding->clips;
    if (x->rounding->activations && !o->observer) x->observer = DLX_OBSERVE_MINMAX;
    DLX_TRY(dlx_package_wanted(&x->package, o, x->backend, err));
    if (x->package) x->recipe.table = dlx_form_find("none"); /* it has no table: rows of it come in */
    DLX_TRY(dlx_kv_find(&x->kv, o->kv, x->backend, err));
    if (x->kv->kv == DLX_KV_FIXED_STATE && o->n_method_rows)
        return dlx_fail(err, DLX_E_INVALID,
                        "method_rows: with the cache in the delegates there is one method, because each method would "
                        "have a cache of its own; leave method_rows out, or choose kv fixed-fp16");
    snprintf(x->result.kv, sizeof x->result.kv, "%s", x->kv->name);
    if (o->work_folder && !*o->work_folder)
        return dlx_fail(err, DLX_E_INVALID, "export: the work folder has an empty name; name one, or leave it out");
    if (o->mask_id < 0 || o->mask_id > INT32_MAX)
        return dlx_fail(err, DLX_E_INVALID, "export: mask_id %lld is no token id", (long long)o->mask_id);
    if (o->max_seq_len < 0 || o->max_rows < 0 || o->block_size < 0)
        return dlx_fail(err, DLX_E_INVALID, "export: max_seq_len, max_rows and block_size must not be negative");
    return DLX_OK;
}

/* Rows of a call that nobody asked for: all; those of a block where every call has as many, and blocks are all that a
 * call needs; not more than a few blocks where the program keeps memory for their logits. */
static int32_t default_rows(const exporter *x, int32_t context)
{
    int32_t block = x->checkpoint.facts.attn_block, rows = context;
    dlx_kv kv = x->kv->kv;
    bool fixed = kv == DLX_KV_FIXED || kv == DLX_KV_FIXED_F16 || kv == DLX_KV_FIXED_STATE;
    if (kv == DLX_KV_EXPLICIT) rows = DEFAULT_EXPLICIT_ROWS;
    if (block && (fixed || kv == DLX_KV_EXPLICIT)) rows = block;
    if (kv == DLX_KV_STATE && block) rows = block > DEFAULT_STATE_ROWS ? block : DEFAULT_STATE_ROWS;
    return rows < context ? rows : context;
}

static dlx_status choose_lengths(exporter *x, dlx_error *err)
{
    dlx_model_facts *f = &x->checkpoint.facts;
    int32_t most = x->checkpoint.shape.max_positions, context = x->options.max_seq_len;
    if (!context) context = most < DEFAULT_MAX_SEQ_LEN ? most : DEFAULT_MAX_SEQ_LEN;
    if (context > most)
        return dlx_fail(err, DLX_E_INVALID, "max_seq_len %d is above the checkpoint's %d positions", context, most);
    int32_t rows = x->options.max_rows ? x->options.max_rows : default_rows(x, context);
    if (rows > context) return dlx_fail(err, DLX_E_INVALID, "max_rows %d is above max_seq_len %d", rows, context);
    f->max_context = context;
    f->max_rows = rows;
    return dlx_methods_init(&x->methods, &x->arena, f, x->options.method_rows, x->options.n_method_rows, err);
}

/* A smaller file runs, but its decoder has no room for a block; one of the explicit form should have just that. */
static void check_block_fits(const exporter *x)
{
    const dlx_model_facts *f = &x->checkpoint.facts;
    char sentence[DLX_ERROR_MESSAGE_SIZE];
    if (!x->options.notice) return;
    if (x->kv->kv == DLX_KV_EXPLICIT) {
        if (!f->attn_block || f->attn_block == f->max_rows) return;
        snprintf(sentence, sizeof sentence,
                 "this model's rows see each other in blocks of %d, but the program's drivers show each other all %d "
                 "rows of a call: max_rows %d decodes as the model was trained",
                 f->attn_block, f->max_rows, f->attn_block);
        x->options.notice(x->options.notice_ctx, sentence);
        return;
    }
    if (f->block_length <= f->max_rows) return;
    snprintf(sentence, sizeof sentence,
             "this model decodes blocks of %d tokens, but the program takes at most %d rows a pass: decoding will need "
             "block_length %d or less; max_seq_len and max_rows of %d or more avoid that",
             f->block_length, f->max_rows, f->max_rows, f->block_length);
    x->options.notice(x->options.notice_ctx, sentence);
}

/* A folder without a tokenizer gives a program for token ids only, which is said; one whose other files of a tokenizer
 * did not arrive is half fetched. */
static dlx_status check_tokenizer(const exporter *x, dlx_error *err)
{
    static const char *const others[] = {"merges.txt", "tokenizer_config.json", "added_tokens.json",
                                         "special_tokens_map.json", "chat_template.jinja"};
    const char *folder = x->checkpoint.folder;
    char sentence[1024];
    bool there;
    if (x->package) return DLX_OK; /* it has none in any case */
    DLX_TRY(dlx_folder_has_tokenizer(&there, folder, err));
    if (there) return DLX_OK;
    for (size_t i = 0; i < DLX_COUNT(others); i++) DLX_TRY(dlx_folder_fetched(&there, folder, others[i], err));
    if (!x->options.notice) return DLX_OK;
    snprintf(
        sentence, sizeof sentence,
        "'%.300s' has no tokenizer: the program takes token ids only, no text; fetch tokenizer.json (or vocab.json "
        "and merges.txt) and tokenizer_config.json into the folder and export again if it should take text%s",
        folder, dlx_incomplete_download(folder).s);
    x->options.notice(x->options.notice_ctx, sentence);
    return DLX_OK;
}

static dlx_status open_tokenizer(exporter *x, dlx_error *err)
{
    char sentence[1024];
    DLX_TRY(dlx_checkpoint_tokenizer(&x->tokenizer, &x->checkpoint, x->options.chat_template, err));
    const dlx_jinja *chat = x->tokenizer ? x->tokenizer->chat : NULL;
    if (!chat || !dlx_jinja_prints_nothing(chat) || !x->options.notice) return DLX_OK;
    snprintf(sentence, sizeof sentence,
             "the chat template of '%.300s' prints nothing: conversations with this file need another one; give it as "
             "chat_template, or \"none\" for prompts without one",
             x->options.chat_template ? x->options.chat_template : x->checkpoint.folder);
    x->options.notice(x->options.notice_ctx, sentence);
    return DLX_OK;
}

/* What was asked for and has no use, as no weight took a form that needs it and nothing is validated with it; and what
 * ranges in a file do without. */
static void notice_unused(const exporter *x, bool calibrates)
{
    const dlx_export_options *o = &x->options;
    if (!calibrates && !x->calibration.path && dlx_calibration_asked(o))
        o->notice(o->notice_ctx, "calibration was asked for, but no weight of a layer took a form that uses it");
    if ((o->ranges || o->save_ranges || o->observer) && !x->use.ranged && !dlx_wants_ranges(x->methods.graph))
        o->notice(o->notice_ctx, "ranges of activations were asked for, but no weight is int8-static, which alone has "
                                 "them: none were read or written");
    else if (!o->rounding && o->save_ranges && dlx_recipe_is_static(&x->recipe))
        o->notice(
            o->notice_ctx,
            "ranges in a file are of inputs as they are, so int8-static is made without its usual scales of inputs "
            "(rounding smooth), which bring it nearer to float32; rounding nearest asks for that");
}

/* Samples to validate the file with, before anything is written. Where they are of the calibration data, which may come
 * from a pipe, that is read once. */
static dlx_status prepare_validation(exporter *x, dlx_error *err)
{
    const dlx_validate_options *v = x->validate;
    const char *path = v ? v->samples : NULL, *calibration = x->options.calibration;
    dlx_samples_text text = {.path = NULL};
    bool shared = v && calibration && (!path || !strcmp(path, calibration));
    if (!v) return DLX_OK;
    if (!x->kv->in_sessions)
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "a file whose cache has the form '%s' cannot be validated, because no session of this library runs it; "
            "leave the validation out, and validate a file of backend xnnpack in another form in its place",
            x->kv->name);
    if (shared)
        DLX_TRY(dlx_samples_text_read(&x->calibration, calibration, err));
    else if (path)
        DLX_TRY(dlx_samples_text_read(&text, path, err));
    const dlx_samples_text *of = shared ? &x->calibration : path ? &text : NULL;
    const dlx_model_facts *f = &x->checkpoint.facts;
    int32_t rows = x->kv->kv == DLX_KV_EXPLICIT ? f->max_context : f->max_rows; /* a session cuts no call there */
    dlx_status s = dlx_validate_prepare(x->samples, v, of, &x->checkpoint, x->tokenizer, rows, err);
    dlx_samples_text_free(&text);
    return s;
}

/* Where the file has static activations, their ranges are its own, and those of a backend in float16 are looked at. */
static dlx_status find_backend_ranges(exporter *x, dlx_calibration *c, dlx_error *err)
{
    const dlx_scaled_weights scaled = {.recipe = &x->recipe, .solved = &x->work};
    bool scales =
        x->solves && x->rounding->scales && !dlx_recipe_is_static(&x->recipe); /* static ones have no grids yet */
    char *text;
    DLX_TRY(dlx_backend_ranges(&x->use, &text, x->ranges ? NULL : &x->measured, scales ? &scaled : NULL, c, err));
    if (text) x->ranges = text;
    return DLX_OK;
}

/* What needs calibration: weights that are solved, then ranges of activations. */
static dlx_status calibrate(exporter *x, dlx_error *err)
{
    const dlx_export_options *o = &x->options;
    const dlx_rounding *r = x->rounding;
    dlx_methods *m = &x->methods;
    bool measures = x->measures && dlx_wants_ranges(m->graph);
    dlx_calibration c = {.o = o, .c = &x->checkpoint};
    dlx_ranges ranges = {.n = 0};
    dlx_status s = dlx_export_solves(&x->solves, m->graph, r, o, err);
    bool uses = x->solves || measures || x->use.measures;
    if (s == DLX_OK && o->notice) notice_unused(x, uses);
    if (s == DLX_OK && uses)
        s = dlx_calibration_begin(&c, &x->checkpoint, x->tokenizer, o, x->calibration.path ? &x->calibration : NULL,
                                  measures, x->pool, err);
    if (s == DLX_OK && x->solves) s = dlx_export_solve(&x->work, &ranges, m->graph, r, x->observer, &c, err);
    if (s == DLX_OK) dlx_methods_take_weights(m);
    if (s == DLX_OK)
        s = dlx_export_activations(&x->ranges, &x->measured, m->graph, m->n, &x->checkpoint, o, x->observer, &c,
                                   &ranges, x->pool, err);
    if (s == DLX_OK) s = find_backend_ranges(x, &c, err);
    dlx_ranges_free(&ranges);
    dlx_calibration_free(&c);
    return s;
}

static void notice_of_recipe(void *ctx, const char *sentence)
{
    const dlx_export_options *o = ctx;
    if (o->notice) o->notice(o->notice_ctx, sentence);
}

/* The first method's weights, and what the file will say of them. */
static dlx_status quantize(exporter *x, dlx_graph *g, dlx_error *err)
{
    dlx_forms_given given = {.notice = notice_of_recipe, .ctx = &x->options};
    DLX_TRY(dlx_quantize_telling(g, &x->recipe, &given, err));
    if (x->backend->check) DLX_TRY(x->backend->check(&x->use, g, err));
    DLX_TRY(dlx_export_activations_check(g, err));
    DLX_TRY(dlx_recipe_describe(&x->metadata, &x->body, &x->arena, x->scheme, x->backend, &given, err));
    snprintf(x->result.quantization, sizeof x->result.quantization, "%s",
             x->package ? x->scheme->metadata : x->metadata);
    return DLX_OK;
}

static dlx_status build(exporter *x, dlx_error *err)
{
    const dlx_export_options *o = &x->options;
    dlx_checkpoint_options c = {
        .model_type = o->model_type, .block_size = o->block_size, .mask_id = (int32_t)o->mask_id};
    DLX_TRY(dlx_checkpoint_open(&x->checkpoint, o->model_path, &c, err));
    DLX_TRY(choose_lengths(x, err));
    check_block_fits(x);
    DLX_TRY(check_tokenizer(x, err));
    DLX_TRY(open_tokenizer(x, err));
    DLX_TRY(prepare_validation(x, err));
    dlx_methods *m = &x->methods;
    for (size_t i = 0; i < m->n; i++) {
        DLX_TRY(
            dlx_build_graph(&m->graph[i], &x->checkpoint, x->kv->kv, m->rows[i], x->checkpoint.facts.max_context, err));
        DLX_TRY(i ? dlx_quantize(&m->graph[i], &x->recipe, err) : quantize(x, &m->graph[i], err));
        DLX_TRY(dlx_graph_verify(&m->graph[i], err));
    }
    DLX_TRY(calibrate(x, err));
    for (size_t i = 0; i < m->n; i++) {
        DLX_TRY(dlx_graph_verify(&m->graph[i], err));
        DLX_TRY(x->backend->decompose(&m->graph[i], err));
        DLX_TRY(dlx_graph_prune(&m->graph[i], err));
        dlx_backend_mark_tables(&x->use, &m->graph[i]);
        DLX_TRY(dlx_graph_verify(&m->graph[i], err));
    }
    return DLX_OK;
}

/* The tokenizer travels as named data; a checkpoint folder without one is exported for token ids only. */
static dlx_status pack_tokenizer(exporter *x, dlx_error *err)
{
    void *bytes;
    size_t n;
    if (!x->tokenizer) return DLX_OK;
    DLX_TRY(dlx_tokenizer_pack(x->tokenizer, &bytes, &n, err));
    x->checkpoint.facts.num_tokens = dlx_samples_ids(&x->checkpoint.facts, x->tokenizer);
    void *kept = dlx_arena_alloc(&x->arena, n);
    if (kept) memcpy(kept, bytes, n);
    dlx_free(bytes);
    if (!kept) return dlx_fail(err, DLX_E_NOMEM, "out of memory packing the tokenizer");
    x->packed_tokenizer =
        (dlx_pte_blob){.kind = DLX_BLOB_NAMED, .key = DLX_TOKENIZER_KEY, .size = n, .data = kept, .alias_of = -1};
    return DLX_OK;
}

static dlx_methods_target target_of(const exporter *x, const char *mark)
{
    return (dlx_methods_target){.backend = x->backend,
                                .options = x->use.options,
                                .delegate_layers = x->options.delegate_layers,
                                .mark = mark,
                                .pool = x->pool};
}

static dlx_status assemble(exporter *x, uint64_t digest, dlx_error *err)
{
    dlx_pte_plan *lowered, *facts, *plans;
    dlx_pte_blob *constants, *blobs;
    uint32_t n_facts, n_blobs, n_plans = (uint32_t)x->methods.n;
    dlx_key_mark mark = dlx_key_mark_of(digest);
    const dlx_methods_target to = target_of(x, mark.text);
    DLX_TRY(dlx_methods_lower(&x->methods, &lowered, &constants, &n_blobs, &to, &x->arena, err));
    x->checkpoint.facts.rounded_bits = x->solves && x->rounding->solves ? 0 : dlx_form_bits(x->body);
    DLX_TRY(dlx_facts_write(&facts, &n_facts, &x->arena, &x->checkpoint.facts, x->metadata, x->kv->name, err));
    plans = dlx_arena_array(&x->arena, n_plans + n_facts + DLX_METHOD_FACTS, sizeof *plans);
    blobs = dlx_arena_array(&x->arena, n_blobs + 2, sizeof *blobs);
    if (!plans || !blobs) return dlx_fail(err, DLX_E_NOMEM, "out of memory assembling the program");
    memcpy(plans, lowered, n_plans * sizeof *plans);
    memcpy(plans + n_plans, facts, n_facts * sizeof *facts);
    memcpy(blobs, constants, n_blobs * sizeof *blobs);
    n_plans += n_facts;
    if (x->methods.n > 1) {
        DLX_TRY(dlx_facts_write_methods(plans + n_plans, &x->arena, x->methods.name, x->methods.rows,
                                        (uint32_t)x->methods.n, err));
        n_plans += DLX_METHOD_FACTS;
    }
    if (x->packed_tokenizer.size) blobs[n_blobs++] = x->packed_tokenizer;
    if (x->ranges)
        blobs[n_blobs++] = (dlx_pte_blob){.kind = DLX_BLOB_NAMED,
                                          .key = DLX_RANGES_KEY,
                                          .size = strlen(x->ranges),
                                          .data = x->ranges,
                                          .alias_of = -1};
    x->pte = (dlx_pte){.plans = plans, .n_plans = n_plans, .blobs = blobs, .n_blobs = n_blobs};
    return DLX_OK;
}

static void count_constant(dlx_export_result *r, const dlx_value *v, uint64_t bytes)
{
    bool quantised = dlx_const_is_quantised(v);
    *(quantised ? &r->quantised_tensors : &r->float_tensors) += 1;
    *(quantised ? &r->quantised_bytes : &r->float_bytes) += bytes;
}

/* What the backend's parts hold, where no blob tells. */
static void count_own(exporter *x)
{
    const dlx_placed_constants *own = &x->placed.own;
    x->result.quantised_tensors += (int32_t)own->quantised;
    x->result.float_tensors += (int32_t)own->floats;
    x->result.quantised_bytes += own->quantised_bytes;
    x->result.float_bytes += own->float_bytes;
}

static void count_blobs(exporter *x)
{
    if (x->backend->compiles) count_own(x);
    for (uint32_t i = 0; i < x->pte.n_blobs; i++) {
        const dlx_pte_blob *b = &x->pte.blobs[i];
        if (b->alias_of >= 0) continue;
        x->total += b->size;
        if (b->user) count_constant(&x->result, b->user, b->size);
        for (uint32_t k = 0; k < b->n_pieces; k++)
            if (b->pieces[k].user) count_constant(&x->result, b->pieces[k].user, b->pieces[k].size);
    }
}

typedef struct blob_sink {
    exporter *x;
    dlx_output *out;
} blob_sink;

static dlx_status write_chunk(void *ctx, const void *bytes, size_t n, dlx_error *err)
{
    blob_sink *sink = ctx;
    exporter *x = sink->x;
    DLX_TRY(dlx_output_write(sink->out, bytes, n, err));
    x->done += n;
    if (!x->options.progress || x->options.progress(x->options.progress_ctx, x->done, x->total)) return DLX_OK;
    return dlx_fail(err, DLX_E_CANCELLED, "the export was cancelled");
}

static dlx_status stream_constant(void *ctx, const void *user, uint64_t size, dlx_output *out, dlx_error *err)
{
    blob_sink sink = {.x = ctx, .out = out};
    (void)size;
    return dlx_const_stream(user, sink.x->pool, write_chunk, &sink, err);
}

/* A name that says something else than what is written. */
static void notice_name(const exporter *x)
{
    static const char ending[] = ".mlpackage";
    const char *path = x->options.output_path;
    size_t n = strlen(path), letters = sizeof ending - 1;
    char sentence[1024];
    while (n && path[n - 1] == '/') n--;
    bool says = n > letters && !strncasecmp(path + n - letters, ending, letters);
    if (says == x->package || !x->options.notice) return;
    snprintf(sentence, sizeof sentence,
             says ? "'%.500s' is named as a model package, but becomes a program, in one file; emit mlpackage writes a "
                    "package"
                  : "'%.500s' becomes a model package, a folder, which Apple's tools know by a name that ends with "
                    ".mlpackage",
             path);
    x->options.notice(x->options.notice_ctx, sentence);
}

/* The outputs, before anything is read. */
static dlx_status open_outputs(exporter *x, dlx_error *err)
{
    const dlx_export_options *o = &x->options;
    const char *validation = x->validate ? x->validate->samples : NULL;
    const char *reading[] = {o->quantization_config, o->calibration, o->ranges, o->chat_template, validation};
    DLX_TRY(dlx_calibration_places(o, err));
    if (x->package) return dlx_package_place_ok(o->output_path, err);
    DLX_TRY(dlx_target_open(&x->output, o->output_path, o->model_path, reading, DLX_COUNT(reading), err));
    if (!o->save_ranges) return DLX_OK;
    dlx_output ranges;
    dlx_status s = dlx_target_open(&ranges, o->save_ranges, o->model_path, reading, DLX_COUNT(reading), err);
    dlx_output_close(&ranges);
    return s;
}

/* Weights are streamed once; what their keys are is known behind the last of them. */
static dlx_status write_program(exporter *x, dlx_error *err)
{
    const dlx_methods_target to = target_of(x, NULL);
    DLX_TRY(pack_tokenizer(x, err));
    DLX_TRY(dlx_export_place(&x->placed, &x->methods, &to, &x->arena, err));
    DLX_TRY(assemble(x, 0, err));
    count_blobs(x);
    x->output.digest = &x->digest;
    DLX_TRY(dlx_pte_write(&x->pte, &x->output, stream_constant, x, err));
    dlx_pte written = x->pte;
    DLX_TRY(assemble(x, dlx_digest_end(&x->digest), err));
    return dlx_pte_rewrite(&x->pte, &written, &x->output, err);
}

static dlx_status run(exporter *x, dlx_error *err)
{
    DLX_TRY(check_options(x, err));
    DLX_TRY(open_outputs(x, err));
    notice_name(x);
    DLX_TRY(dlx_thread_pool_create(&x->pool, 0, err));
    DLX_TRY(build(x, err));
    if (x->package) {
        const dlx_methods_target to = target_of(x, NULL);
        DLX_TRY(dlx_export_place(&x->placed, &x->methods, &to, &x->arena, err));
        count_own(x);
        DLX_TRY(dlx_checkpoint_unchanged(&x->checkpoint, err));
        return dlx_package_write(&x->result.file_bytes, &x->options, &x->methods, &to, err);
    }
    DLX_TRY(write_program(x, err));
    DLX_TRY(dlx_checkpoint_unchanged(&x->checkpoint, err));
    x->result.file_bytes = x->output.position;
    DLX_TRY(dlx_output_commit(&x->output, err));
    dlx_export_tell_placement(&x->placed, &x->options);
    return DLX_OK;
}

/* Work folders that hold something; how many. */
static size_t kept_in(const exporter *x, const char *folder[2])
{
    const dlx_work *of[] = {&x->work.work, &x->measured.work};
    size_t n = 0;
    for (size_t i = 0; i < DLX_COUNT(of); i++)
        if (of[i]->done) folder[n++] = of[i]->folder;
    return n;
}

/* What an export that failed leaves beside what was there. */
static void notice_kept(const exporter *x)
{
    const char *folder[] = {NULL, NULL};
    char sentence[DLX_ERROR_MESSAGE_SIZE];
    size_t n = kept_in(x, folder);
    if (!n || !x->options.notice) return;
    snprintf(
        sentence, sizeof sentence,
        "what was found until then is in '%.150s'%s%.150s%s: the same export goes on from there; remove it otherwise",
        folder[0], n > 1 ? " and '" : "", n > 1 ? folder[1] : "", n > 1 ? "'" : "");
    x->options.notice(x->options.notice_ctx, sentence);
}

/* What a cancelled export leaves. */
static dlx_status say_cancelled(const exporter *x, dlx_error *err)
{
    const char *folder[] = {NULL, NULL};
    size_t n = kept_in(x, folder);
    if (!n)
        return dlx_fail(err, DLX_E_CANCELLED, "the export was cancelled; '%s' was left as it was",
                        x->options.output_path);
    return dlx_fail(err, DLX_E_CANCELLED,
                    "the export was cancelled; '%s' was left as it was, and what was found so far is in '%s'%s%s%s: "
                    "the same export goes on from there",
                    x->options.output_path, folder[0], n > 1 ? " and '" : "", n > 1 ? folder[1] : "", n > 1 ? "'" : "");
}

dlx_status dlx_export_run(const dlx_export_options *options, const dlx_validate_options *validate, dlx_samples *samples,
                          dlx_export_result *result, dlx_error *err)
{
    exporter x = {.options = dlx_export_options_default(),
                  .result = {.struct_size = sizeof x.result},
                  .validate = validate,
                  .samples = samples};
    double start = dlx_clock_ms();
    dlx_struct_clear(result, sizeof *result);
    if (!options) return dlx_fail(err, DLX_E_INVALID, "dlx_export: options are needed, a path at least");
    if (result) DLX_TRY(dlx_struct_out(result, &x.result, sizeof x.result, "dlx_export_result", err));
    DLX_TRY(dlx_struct_in(&x.options, sizeof x.options, options, "dlx_export_options", err));
    x.output.fd = x.output.folder = -1;
    dlx_arena_init(&x.arena);
    dlx_status s = run(&x, err);
    s = dlx_checkpoint_reason(&x.checkpoint, s, err);
    if (s == DLX_E_CANCELLED)
        s = say_cancelled(&x, err);
    else if (s != DLX_OK)
        notice_kept(&x);
    dlx_output_close(&x.output);
    dlx_export_work_close(&x.work, s == DLX_OK, &x.options);
    dlx_export_work_close(&x.measured, s == DLX_OK, &x.options);
    dlx_tokenizer_close(x.tokenizer);
    dlx_samples_text_free(&x.calibration);
    dlx_backend_close(&x.use);
    dlx_pool_free(x.pool);
    dlx_methods_free(&x.methods);
    dlx_checkpoint_close(&x.checkpoint);
    dlx_arena_free(&x.arena);
    free(x.ranges);
    x.result.seconds = 1e-3 * (dlx_clock_ms() - start);
    if (s == DLX_OK && result) s = dlx_struct_out(result, &x.result, sizeof x.result, "dlx_export_result", err);
    return s;
}

dlx_status dlx_export(const dlx_export_options *options, dlx_export_result *result, dlx_error *err)
{
    return dlx_export_run(options, NULL, NULL, result, err);
}

dlx_status dlx_export_cache_folder(char **folder, dlx_error *err)
{
    if (!folder) return dlx_fail(err, DLX_E_INVALID, "dlx_export_cache_folder: a place for the folder is needed");
    return dlx_cache_folder(folder, err);
}

dlx_status dlx_export_find_checkpoint(char **folder, const char *model_path, dlx_error *err)
{
    if (!folder) return dlx_fail(err, DLX_E_INVALID, "dlx_export_find_checkpoint: a place for the folder is needed");
    return dlx_resolve_checkpoint(folder, model_path, err);
}
