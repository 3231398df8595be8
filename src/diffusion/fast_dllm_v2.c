/*
 * Fast-dLLM v2 (modeling.py `generate` of the published checkpoints): blocks on an absolute grid, revealed in small
 * blocks from left to right; a finished block is run into the cache, and its last row gives the first token of the next
 * one. Row i-1 of the logits predicts position i; inside a pass its first row stands in for itself, at a known
 * position.
 *
 * As published, max_new_tokens / block_size blocks are decoded, which is fewer tokens than asked for, and a prompt of
 * exactly one block is lost. Otherwise as many blocks as the answer needs, masks of the prompt are revealed with their
 * blocks, and decoding ends once the answer is settled.
 */
#include "diffusion/decoder.h"

enum { DEFAULT_SMALL_BLOCK = 8 };

static dlx_status configure(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *facts, dlx_error *err)
{
    int64_t block = dlx_int_option(o, DLX_OPT_BLOCK_LENGTH, dlx_default_block_length(facts));
    int64_t small = facts->small_block_size > 0 ? facts->small_block_size : DEFAULT_SMALL_BLOCK;
    if (block % small) small = block;
    small = dlx_int_option(o, DLX_OPT_SMALL_BLOCK_SIZE, small);
    if (facts->attn_block % block)
        return dlx_fail(err, DLX_E_INVALID, "option '%s': %lld does not divide the model's attention block of %d",
                        dlx_given(o, DLX_OPT_BLOCK_LENGTH) ? o->value[DLX_OPT_BLOCK_LENGTH].given : "block_size",
                        (long long)block, facts->attn_block);
    if (block % small)
        return dlx_fail(err, DLX_E_INVALID, "option 'small_block_size': %lld does not divide the block of %lld tokens",
                        (long long)small, (long long)block);
    s->block_length = s->attn_block = (int32_t)block;
    /* Where there are more small blocks than passes, neighbours are joined. */
    if (s->max_passes && block / small > s->max_passes) small *= (block / small + s->max_passes - 1) / s->max_passes;
    s->small_block_size = (int32_t)small;
    s->threshold = dlx_float_option(o, DLX_OPT_THRESHOLD, 0.9);
    s->block_cache = dlx_int_option(o, DLX_OPT_BLOCK_CACHE, false);
    s->prefill_exact = dlx_int_option(o, DLX_OPT_PREFILL_EXACT, !s->published);
    if (!dlx_given(o, DLX_OPT_TOP_P)) s->top_p = 0.95;
    s->blocks = s->published ? s->max_new / s->block_length
                             : (s->prompt_masks ? s->n_prompt / s->block_length : 0) + s->max_new / s->block_length + 2;
    /* The blocks that are decoded, and the token that completing the last one gives. */
    int64_t end = (int64_t)s->n_prompt / block * block + (int64_t)s->blocks * block + 1;
    if (end < s->answer_end) s->answer_end = (int32_t)end;
    return dlx_check_block_rows(s, facts, err);
}

static void plan(const dlx_settings *s, dlx_capacity *out)
{
    out->canvas = s->n_prompt + s->max_new + s->block_length + 1;
    out->candidates = s->small_block_size < out->canvas ? s->small_block_size : out->canvas;
    /* A pass reveals a mask, the prompt tail's included, or completes a block; the prefill is one more. */
    out->steps = (int64_t)out->canvas + s->blocks + 2;
}

/* A stop id behind `known` with no mask before it. */
static bool stopped(const dlx_decoder *d, int32_t known)
{
    int32_t n = (int32_t)d->gen->n_ids, stop = dlx_decoder_find_stop(d, known, n);
    return stop >= 0 && !dlx_decoder_has_mask(d, known, stop);
}

static bool finished(const dlx_decoder *d, int32_t known)
{
    return d->set->published ? stopped(d, known) : dlx_decoder_settled(d);
}

/* Runs a pass into the cache. Its last row gives the token at canvas position `next`, where that is the canvas's end
 * or, unless published, a mask of the prompt. */
static dlx_status complete(dlx_decoder *d, int32_t block, dlx_pass *pass, int32_t next, dlx_error *err)
{
    dlx_sampling usual = d->sampling;
    d->sampling = (dlx_sampling){.top_p = 1, .never = usual.never, .known = usual.known};
    bool append = (int32_t)d->gen->n_ids == next;
    if (append) dlx_decoder_extend(d, next + 1);
    pass->n_store = pass->n;
    dlx_decoder_take_masks(d, next, next + (append || !d->set->published));
    DLX_TRY(dlx_decoder_call(d, pass, err));
    DLX_TRY(dlx_decoder_score(d, err));
    dlx_choose_best(d->candidates, d->n_candidates, 1);
    d->sampling = usual;
    return dlx_decoder_commit(d, block, pass, err);
}

/* The canvas positions [first, end) as a pass at absolute position `start` that sees [0, done). */
static dlx_pass pass_at(const dlx_decoder *d, int32_t first, int32_t end, int32_t start, int32_t done)
{
    dlx_pass pass = dlx_pass_over(d, first, end);
    pass.start = start;
    dlx_pass_see(&pass, 0, done);
    return pass;
}

/* The block at work. */
typedef struct block_state {
    int32_t number, lo, hi; /* canvas positions [lo, hi) */
    int32_t done;           /* absolute position of the first */
    int32_t known;          /* length of the canvas when it was begun */
    int32_t passes_left;    /* of max_passes; at least one for each small block that holds masks */
    bool fresh; /* its keys and values are in the cache, though some were computed when their tokens were still masks */
} block_state;

static int32_t small_end(const dlx_decoder *d, const block_state *k, int32_t begin)
{
    return k->hi - begin > d->set->small_block_size ? begin + d->set->small_block_size : k->hi;
}

/* Passes that the small block at `begin` may take: an equal share of what is left, rounded down. 0: any number. */
static int32_t passes_of(const dlx_decoder *d, const block_state *k, int32_t begin)
{
    int32_t sharing = 0;
    for (int32_t i = begin, end; i < k->hi; i = end) {
        end = small_end(d, k, i);
        sharing += dlx_decoder_has_mask(d, i, end);
    }
    return d->set->max_passes && sharing ? k->passes_left / sharing : 0;
}

/* Reveals the small block at canvas position `begin`. */
static dlx_status run_small_block(dlx_decoder *d, block_state *k, int32_t begin, dlx_error *err)
{
    bool cache = d->set->block_cache;
    int32_t end = small_end(d, k, begin), first = k->done + begin - k->lo, most = passes_of(d, k, begin);
    for (int32_t i = 1; dlx_decoder_has_mask(d, begin, end) && !finished(d, k->known); i++) {
        dlx_pass pass;
        if (cache && k->fresh && d->x[begin] != d->facts->mask_id) {
            pass = pass_at(d, begin, end, first, first);
            dlx_pass_see(&pass, first + end - begin, k->done + k->hi - k->lo);
        } else {
            pass = pass_at(d, k->lo, k->hi, k->done, k->done);
            k->fresh = true;
        }
        pass.n_store = cache ? pass.n : 0;
        dlx_decoder_take_masks(d, begin, end);
        DLX_TRY(dlx_decoder_call(d, &pass, err));
        DLX_TRY(dlx_decoder_score(d, err));
        if (i == most)
            dlx_choose_all(d->candidates, d->n_candidates);
        else if (!dlx_choose_above(d->candidates, d->n_candidates, d->set->threshold))
            dlx_choose_best(d->candidates, d->n_candidates, 1);
        k->passes_left--;
        DLX_TRY(dlx_decoder_commit(d, k->number, &pass, err));
    }
    return DLX_OK;
}

/* Fills the block at canvas position lo up with masks, reveals it and runs it into the cache at absolute position
 * `done`, the same but for a lost prompt. */
static dlx_status run_block(dlx_decoder *d, int32_t b, int32_t lo, int32_t done, dlx_error *err)
{
    const dlx_settings *s = d->set;
    block_state k = {.number = b,
                     .lo = lo,
                     .hi = s->end - lo > s->block_length ? lo + s->block_length : s->end,
                     .done = done,
                     .known = (int32_t)d->gen->n_ids,
                     .passes_left = s->max_passes};
    dlx_decoder_extend(d, k.hi);
    for (int32_t i = lo; i < k.hi; i = small_end(d, &k, i)) DLX_TRY(run_small_block(d, &k, i, err));
    if (finished(d, k.known)) return DLX_OK;
    dlx_pass pass = pass_at(d, lo, k.hi, done, done);
    return complete(d, b, &pass, k.hi, err);
}

/* Runs the complete blocks of the prompt, up to the first mask unless published, into the cache; *done counts them. */
static dlx_status prefill(dlx_decoder *d, int32_t *done, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t block = s->block_length, known = 0, cached = s->n_cached;
    while (known < s->n_prompt && (s->published || d->x[known] != d->facts->mask_id)) known++;
    *done = s->n_prompt > block || s->prefill_exact ? known / block * block : 0;
    /* The row before a mask at a block's start predicts it. */
    if (*done == known && cached == known && cached) cached -= block;
    if (*done <= cached) return DLX_OK;
    dlx_pass pass = pass_at(d, cached, *done, cached, cached);
    return complete(d, -1, &pass, *done, err);
}

static dlx_status run(dlx_decoder *d, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t block = s->block_length, done = 0;
    if (s->temperature <= 0) d->sampling.top_p = 1;
    d->sampling.before_filters = !s->published;
    DLX_TRY(prefill(d, &done, err));
    /* A prompt of one block that was not prefilled is lost: canvas and positions differ by it. */
    int32_t lost = !done && s->n_prompt == block && !s->prefill_exact ? block : 0;
    for (int32_t b = 0; b < s->blocks; b++, done += block) {
        if (s->published ? dlx_decoder_find_stop(d, s->n_prompt, (int32_t)d->gen->n_ids) >= 0 : dlx_decoder_settled(d))
            break;
        DLX_TRY(run_block(d, b, lost + done, done, err));
    }
    int32_t stop = dlx_decoder_find_stop(d, s->n_prompt, (int32_t)d->gen->n_ids);
    if (s->published && stop >= 0) d->gen->n_ids = (size_t)stop + 1;
    return DLX_OK;
}

const dlx_algorithm dlx_fast_dllm_v2_generate = {
    .name = "fast_dllm_v2.generate",
    .attention = 1,
    .shift = 1,
    .needs_mask = true,
    .configure = configure,
    .plan = plan,
    .run = run,
};
