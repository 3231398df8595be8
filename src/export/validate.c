/*
 * A file against the checkpoint that it was made of: logits of the file, run in sessions, against those of the
 * checkpoint in float32, which runs layer by layer; and the error of each layer by itself.
 *
 * The file's logits come first and are kept (at most 256 MiB of them). Those of the checkpoint come in pieces of
 * columns, so distributions are summed up as they come, rows on all threads.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "diffulex_edge/export.h"
#include "diffulex_edge/model.h"
#include "diffulex_edge/text.h"

#include "base/memory.h"
#include "base/structs.h"
#include "base/threads.h"
#include "calibrate/layer_errors.h"
#include "calibrate/samples_generate.h"
#include "export/belongs.h"
#include "export/stages.h"
#include "export/validate.h"
#include "format/facts.h"
#include "format/pte.h"
#include "model/checkpoint.h"

enum { DEFAULT_LENGTH = 256, PASS_ROWS = 512, KEPT_BYTES = 256 << 20, RUNS = 2 /* of each layer */ };

/* A row's two distributions so far; r: the checkpoint's, f: the file's. */
typedef struct tally {
    float most_r, most_f; /* largest logits, */
    int64_t best_r, best_f;
    double sum_r, sum_f; /* sums of exp(x - largest), */
    double between;      /* and of exp(r - largest) * (r - f) */
} tally;

typedef struct validator {
    dlx_validate_options o;
    dlx_validation result;
    dlx_pool *pool;
    dlx_file file;
    dlx_arena arena;
    dlx_pte pte;
    dlx_model_facts facts;
    dlx_file_layers layers;
    dlx_tokenizer *tokenizer; /* the file's; NULL: it has none */
    dlx_model *model;
    dlx_checkpoint c;
    dlx_samples samples;
    bool of_export; /* the samples are there, and the file was made of the checkpoint */
    dlx_layerwise *w;
    uint8_t *wanted; /* [samples.rows] */
    size_t rows;     /* wanted ones */
    float *logits;   /* [rows, vocab] the file's */
    tally *tally;    /* [rows] */
    int64_t piece;   /* first column of those that come, */
    size_t at;       /* and the next row of them */
    dlx_stages stages;
} validator;

static dlx_status no_memory(const validator *v, dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory validating '%s'", v->o.file_path);
}

static dlx_status cancelled(dlx_error *err)
{
    return dlx_fail(err, DLX_E_CANCELLED, "the validation was cancelled");
}

/* ---- samples ---------------------------------------------------------------------------------------------------- */

static dlx_status check_numbers(const dlx_validate_options *o, dlx_error *err)
{
    if (o->count < 0 || o->count > INT32_MAX || o->length < 0 || o->length > INT32_MAX)
        return dlx_fail(err, DLX_E_INVALID, "validation: count and length of samples must be 0 to %d", INT32_MAX);
    if (o->block_size < 0 || o->block_size > INT32_MAX || o->mask_id < 0 || o->mask_id > INT32_MAX)
        return dlx_fail(err, DLX_E_INVALID, "validation: block_size and mask_id must be 0 to %d", INT32_MAX);
    return DLX_OK;
}

/* `most`: rows of a call of the file. */
static dlx_status samples_options(dlx_samples_options *out, const dlx_validate_options *o, int32_t most, dlx_error *err)
{
    *out = (dlx_samples_options){.count = (size_t)o->count, .length = (int32_t)o->length, .seed = (uint64_t)o->seed};
    if (!out->count) out->count = DLX_MASK_LEVELS;
    if (!out->length) out->length = most < DEFAULT_LENGTH ? most : DEFAULT_LENGTH;
    if (out->length >= 2 && out->length <= most) return DLX_OK;
    if (most < 2)
        return dlx_fail(err, DLX_E_LIMIT, "a call of '%s' takes %d row; to validate it takes 2 at least", o->file_path,
                        most);
    return dlx_fail(err, DLX_E_LIMIT,
                    "samples of %d tokens were asked for; expected 2 to the %d rows of a call of '%s'", out->length,
                    most, o->file_path);
}

/* Whether the logits that predict the token at position p are compared: it is masked, or, of a model without masks, of
 * the answer. */
static bool is_hidden(const dlx_samples *s, size_t i, int32_t p)
{
    return s->mask_id >= 0 ? s->list[i].ids[p] == s->mask_id : p >= s->list[i].answer;
}

static dlx_status nothing_masked(const dlx_validate_options *o, dlx_error *err)
{
    return dlx_fail(err, DLX_E_INVALID, "nothing is masked in the samples to validate '%s' with", o->file_path);
}

dlx_status dlx_validate_prepare(dlx_samples *out, const dlx_validate_options *o, const dlx_samples_text *text,
                                const dlx_checkpoint *c, const dlx_tokenizer *tokenizer, int32_t rows, dlx_error *err)
{
    dlx_samples_options s;
    size_t hidden = 0;
    memset(out, 0, sizeof *out);
    DLX_TRY(check_numbers(o, err));
    DLX_TRY(samples_options(&s, o, rows, err));
    if (!text) return dlx_samples_can_generate(c, &s, err);
    DLX_TRY(dlx_samples_of(out, text, c, tokenizer, &s, err));
    for (size_t i = 0; i < out->n; i++)
        for (int32_t p = c->facts.logits_shift; p < out->list[i].n; p++) hidden += is_hidden(out, i, p);
    return hidden ? DLX_OK : nothing_masked(o, err);
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static dlx_status check(const dlx_validate_options *o, dlx_error *err)
{
    if (!o->model_path || !*o->model_path || !o->file_path || !*o->file_path)
        return dlx_fail(err, DLX_E_INVALID, "dlx_validate: a checkpoint and the file that was made of it are needed");
    return check_numbers(o, err);
}

/* What the file says of itself, and the checkpoint that it was made of. */
static dlx_status open_both(validator *v, dlx_error *err)
{
    const dlx_checkpoint_options told = {
        .model_type = v->o.model_type, .block_size = (int32_t)v->o.block_size, .mask_id = (int32_t)v->o.mask_id};
    dlx_fixed_form form;
    dlx_file_said said = {.path = v->o.file_path, .facts = &v->facts, .layers = &v->layers};
    DLX_TRY(dlx_file_open(&v->file, v->o.file_path, err));
    DLX_TRY(dlx_pte_open(&v->pte, &v->arena, &v->file, err));
    if (!dlx_facts_are_ours(&v->pte))
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "'%s' was not written by this library's export; only such files can be validated",
                        v->o.file_path);
    if (dlx_facts_kv_fixed(&v->pte, &form))
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "'%s' cannot be validated, because its cache has the form '%s', and no session of this library "
                        "runs it; validate a file of backend xnnpack and another form in its place",
                        v->o.file_path, dlx_facts_kv_form(&v->pte));
    DLX_TRY(dlx_facts_read(&v->facts, &v->pte, err));
    DLX_TRY(dlx_file_layers_read(&v->layers, &v->pte, err));
    if (!strcmp(dlx_facts_kv_form(&v->pte), "explicit")) v->facts.max_rows = v->layers.rows;
    if (dlx_pte_find_named(&v->pte, DLX_TOKENIZER_KEY))
        DLX_TRY(dlx_tokenizer_open_pte(&v->tokenizer, v->o.file_path, err));
    said.tokenizer = v->tokenizer;
    return dlx_checkpoint_of_file(&v->c, v->o.model_path, &told, &said, err);
}

static dlx_status open_model(validator *v, dlx_error *err)
{
    dlx_model_options m = dlx_model_options_default();
    m.pool = v->pool;
    DLX_TRY(dlx_model_open(&v->model, v->o.file_path, &m, err));
    v->facts = *dlx_model_get_facts(v->model);
    return DLX_OK;
}

static dlx_status take_samples(validator *v, const dlx_layerwise_options *run, dlx_error *err)
{
    dlx_samples_options s;
    if (v->samples.n) return DLX_OK;
    DLX_TRY(samples_options(&s, &v->o, v->facts.max_rows, err));
    dlx_stages_begin(&v->stages, "writing texts to validate with", 0, 0);
    return dlx_samples_make(&v->samples, v->o.samples, &v->c, v->tokenizer, &s, run, err);
}

/* Rows that predict masked tokens (of a model without masks: those of answers), or every n-th of them, so that their
 * logits can be kept: one at least. */
static dlx_status choose_rows(validator *v, dlx_error *err)
{
    const dlx_samples *s = &v->samples;
    size_t all = 0, step, n = 0;
    uint64_t row = 0, most = KEPT_BYTES / ((uint64_t)v->facts.vocab_size * sizeof(float));
    v->wanted = calloc(s->rows, 1);
    if (!v->wanted) return no_memory(v, err);
    for (size_t i = 0; i < s->n; row += (uint64_t)s->list[i++].n)
        for (int32_t p = v->facts.logits_shift; p < s->list[i].n; p++) {
            bool hidden = is_hidden(s, i, p);
            v->wanted[row + (uint64_t)(p - v->facts.logits_shift)] = hidden;
            all += hidden;
        }
    step = most && all > most ? (all + most - 1) / most : most ? 1 : all;
    for (uint64_t i = 0; i < s->rows; i++)
        if (v->wanted[i]) v->wanted[i] = n++ % step == 0;
    for (uint64_t i = 0; i < s->rows; i++) v->rows += v->wanted[i];
    return v->rows ? DLX_OK : nothing_masked(&v->o, err);
}

/* ---- the file's logits ------------------------------------------------------------------------------------------ */

typedef struct caller {
    dlx_session *session;
    int32_t *rows; /* [longest] */
    uint64_t at;   /* the row of all samples that comes first, */
    size_t kept;   /* and that of v->logits */
} caller;

static dlx_status call(validator *v, caller *c, const dlx_sample *s, dlx_error *err)
{
    dlx_forward_call f = {.struct_size = sizeof f,
                          .ids = s->ids,
                          .n_ids = s->n,
                          .attn_block = v->samples.attn_block,
                          .rows = c->rows,
                          .logits = v->logits + c->kept * (size_t)v->facts.vocab_size};
    for (int32_t p = 0; p < s->n; p++)
        if (v->wanted[c->at + (uint64_t)p]) c->rows[f.n_rows++] = p;
    c->at += (uint64_t)s->n;
    dlx_session_truncate(c->session, 0);
    if (f.n_rows) DLX_TRY(dlx_session_forward(c->session, &f, err));
    c->kept += (size_t)f.n_rows;
    return dlx_stages_tick(&v->stages, (uint64_t)s->n) ? DLX_OK : cancelled(err);
}

static dlx_status run_file(validator *v, dlx_error *err)
{
    caller c = {.rows = calloc((size_t)v->samples.longest, sizeof *c.rows)};
    v->logits = dlx_mem_array(NULL, v->rows * (size_t)v->facts.vocab_size, sizeof *v->logits);
    dlx_status s = c.rows && v->logits ? DLX_OK : no_memory(v, err);
    if (s == DLX_OK) s = dlx_session_open(&c.session, v->model, 0, 0, err);
    for (size_t i = 0; s == DLX_OK && i < v->samples.n; i++) s = call(v, &c, &v->samples.list[i], err);
    dlx_session_close(c.session);
    free(c.rows);
    return s;
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

/* A larger logit was found: what the sums are relative to. */
static void raise_most_r(tally *t, float most, int64_t id)
{
    double shrink = exp((double)t->most_r - (double)most);
    t->sum_r *= shrink;
    t->between *= shrink;
    t->most_r = most;
    t->best_r = id;
}

static void raise_most_f(tally *t, float most, int64_t id)
{
    t->sum_f *= exp((double)t->most_f - (double)most);
    t->most_f = most;
    t->best_f = id;
}

static int64_t largest(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* Logits first .. first + n - 1 of one row, n > 0. */
static void add(tally *t, const float *r, const float *f, int64_t first, int64_t n)
{
    int64_t best_r = largest(r, n), best_f = largest(f, n);
    if (r[best_r] > t->most_r) raise_most_r(t, r[best_r], first + best_r);
    if (f[best_f] > t->most_f) raise_most_f(t, f[best_f], first + best_f);
    for (int64_t i = 0; i < n; i++) {
        double share = exp((double)r[i] - (double)t->most_r);
        t->sum_r += share;
        t->sum_f += exp((double)f[i] - (double)t->most_f);
        t->between += share * ((double)r[i] - (double)f[i]);
    }
}

typedef struct piece {
    const validator *v;
    const dlx_logits_rows *l;
    int64_t n; /* columns that stand for tokens; the rest is padding */
} piece;

/* Rows of a piece, each by one thread. */
static void add_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    const piece *p = arg;
    const validator *v = p->v;
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        const float *file = v->logits + (v->at + r) * (size_t)v->facts.vocab_size + (size_t)p->l->first;
        add(&v->tally[v->at + r], p->l->logits + r * (size_t)p->l->n, file, p->l->first, p->n);
    }
}

static dlx_status take_logits(void *ctx, const dlx_logits_rows *l, dlx_error *err)
{
    validator *v = ctx;
    int64_t known = v->facts.num_tokens ? v->facts.num_tokens : v->facts.vocab_size;
    piece p = {.v = v, .l = l, .n = known - l->first < l->n ? known - l->first : l->n};
    (void)err;
    if (l->first != v->piece) v->at = 0;
    v->piece = l->first;
    if (p.n > 0) dlx_pool_for(v->pool, l->rows, 1, add_rows, &p);
    v->at += l->rows;
    return DLX_OK;
}

static void sum_up(validator *v)
{
    dlx_validation *out = &v->result;
    double sum = 0, same = 0;
    for (size_t i = 0; i < v->rows; i++) {
        const tally *t = &v->tally[i];
        double kl = t->between / t->sum_r - ((double)t->most_r + log(t->sum_r)) + ((double)t->most_f + log(t->sum_f));
        if (kl < 0) kl = 0; /* of rounding */
        sum += kl;
        same += t->best_r == t->best_f;
        if (kl > out->kl_most) out->kl_most = kl;
    }
    out->kl_mean = sum / (double)v->rows;
    out->agreement = same / (double)v->rows;
    out->samples = (int64_t)v->samples.n;
    out->rows = (int64_t)v->rows;
    out->layers = v->c.shape.layers;
    for (int32_t i = 1; i < out->layers; i++)
        if (out->layer_error[i] > out->layer_error[out->worst_layer]) out->worst_layer = i;
}

static dlx_status run_checkpoint(validator *v, const dlx_layerwise_options *run, dlx_error *err)
{
    v->tally = calloc(v->rows, sizeof *v->tally);
    v->result.layer_error = calloc((size_t)v->c.shape.layers, sizeof *v->result.layer_error);
    if (!v->tally || !v->result.layer_error) return no_memory(v, err);
    for (size_t i = 0; i < v->rows; i++) v->tally[i].most_r = v->tally[i].most_f = -INFINITY;
    DLX_TRY(dlx_layerwise_open(&v->w, &v->c, &v->samples, run, err));
    DLX_TRY(dlx_layer_errors(v->result.layer_error, v->w, &v->c, &v->samples, &v->layers, 0, NULL, err));
    return dlx_layerwise_head(v->w, v->wanted, take_logits, v, err);
}

static dlx_status validate(validator *v, dlx_error *err)
{
    DLX_TRY(check(&v->o, err));
    DLX_TRY(dlx_thread_pool_create(&v->pool, 0, err));
    DLX_TRY(open_both(v, err));
    dlx_layerwise_options run = dlx_layerwise_on(v->pool);
    v->stages = (dlx_stages){.report = v->o.stage, .ctx = v->o.stage_ctx};
    run.tick = dlx_stages_tick;
    run.tick_ctx = &v->stages;
    DLX_TRY(take_samples(v, &run, err));
    DLX_TRY(choose_rows(v, err));
    DLX_TRY(open_model(v, err));
    run.pass_rows = v->facts.max_rows < PASS_ROWS ? v->facts.max_rows : PASS_ROWS;
    dlx_stages_begin(&v->stages, "validating", 0, v->samples.rows * (1 + RUNS * (uint64_t)v->c.shape.layers));
    DLX_TRY(run_file(v, err));
    DLX_TRY(run_checkpoint(v, &run, err));
    DLX_TRY(dlx_checkpoint_unchanged(&v->c, err));
    DLX_TRY(dlx_file_unchanged(&v->file, err));
    sum_up(v);
    return v->of_export ? DLX_OK
                        : dlx_weights_belong(&v->result, v->c.facts.vocab_size, v->o.file_path, v->c.folder, err);
}

static void release(validator *v)
{
    dlx_layerwise_close(v->w);
    dlx_mem_free(NULL, v->logits, v->rows * (size_t)v->facts.vocab_size, sizeof *v->logits);
    free(v->wanted);
    free(v->tally);
    dlx_samples_free(&v->samples);
    dlx_checkpoint_close(&v->c);
    dlx_model_close(v->model);
    dlx_tokenizer_close(v->tokenizer);
    dlx_file_layers_free(&v->layers);
    dlx_arena_free(&v->arena);
    dlx_file_close(&v->file);
    dlx_pool_free(v->pool);
}

dlx_status dlx_validate_run(const dlx_validate_options *options, dlx_samples *made, dlx_validation *out, dlx_error *err)
{
    validator v = {.o = *options, .result = {.struct_size = sizeof v.result}, .piece = -1, .of_export = made != NULL};
    if (made) {
        v.samples = *made;
        memset(made, 0, sizeof *made);
    }
    v.file.fd = -1;
    dlx_arena_init(&v.arena);
    dlx_graph_init(&v.layers.graph);
    dlx_status s = dlx_checkpoint_reason(&v.c, validate(&v, err), err);
    if (s == DLX_E_CANCELLED) s = cancelled(err); /* whichever stage says so */
    if (s == DLX_OK) s = dlx_struct_out(out, &v.result, sizeof v.result, "dlx_validation", err);
    bool taken = out->struct_size >= offsetof(dlx_validation, layer_error) + sizeof out->layer_error;
    if (s != DLX_OK || !taken) free(v.result.layer_error);
    release(&v);
    return s;
}

dlx_status dlx_validate(const dlx_validate_options *options, dlx_validation *out, dlx_error *err)
{
    const dlx_validation none = {.struct_size = sizeof none};
    dlx_validate_options o = {.struct_size = sizeof o};
    dlx_struct_clear(out, sizeof *out);
    if (!options || !out)
        return dlx_fail(err, DLX_E_INVALID, "dlx_validate: options and a place for the result are needed");
    DLX_TRY(dlx_struct_out(out, &none, sizeof none, "dlx_validation", err));
    DLX_TRY(dlx_struct_in(&o, sizeof o, options, "dlx_validate_options", err));
    return dlx_validate_run(&o, NULL, out, err);
}
