/*
 * Hostile facts and options through dlx_generate, over the scripted model of the decoder tests. Bytes become, in this
 * order: facts, what the model does wrong, a prompt; the rest is text, an option "name=value" a line.
 *
 * What is refused is refused with a sentence. What runs keeps the call contract of dlx_forward_fn, takes no more steps
 * than it planned, accepts every position once, and answers with tokens of the vocabulary that are no mask. Decodes
 * whose buffers would be large are only resolved: a fuzzer has neither the memory nor the time.
 */
#include <math.h>

#include "diffusion/decoder.h"
#include "fuzz.h"
#include "input.h"

#include "../unit/test_diffusion_model.h"

enum { MOST_CANVAS = 80, MOST_LOGITS = 1 << 14, MOST_PROMPT = 40, MOST_CALLS = 160, MOST_OPTIONS = 24 };

/* How the model answers. */
typedef enum mood { HONEST, EQUAL, HUGE_LOGITS, NAN_ROW, NOTHING, FAILING, MOODS } mood;

typedef struct decode {
    dlx_model_facts facts; /* hostile; the model's own are what they mean */
    scripted_model m;
    mood mood;
    int32_t calls, calls_since_step, stop_after;
    size_t n_prompt;
    bool accepted[MODEL_POSITIONS];
} decode;

static dlx_status forward(void *ctx, const dlx_forward_call *c, dlx_error *err)
{
    decode *d = ctx;
    require(++d->calls_since_step <= 2); /* classifier-free guidance takes two calls a step */
    d->calls++;
    dlx_status s = model_forward(&d->m, c, err);
    if (s != DLX_OK) {
        if (d->mood != FAILING) fprintf(stderr, "%s\n", err->message);
        require(d->mood == FAILING && s == DLX_E_IO);
        return s;
    }
    size_t n = (size_t)c->n_rows * (size_t)d->m.facts.vocab_size;
    for (size_t i = 0; i < n; i++) {
        if (d->mood == EQUAL) c->logits[i] = 1.5f;
        if (d->mood == HUGE_LOGITS) c->logits[i] *= 1e37f;
        if (d->mood == NOTHING) c->logits[i] = -INFINITY;
    }
    if (n && d->mood == NAN_ROW) c->logits[(size_t)d->calls % n] = d->calls % 2 ? NAN : INFINITY;
    return DLX_OK;
}

static bool on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n)
{
    decode *d = ctx;
    d->calls_since_step = 0;
    require(n >= d->n_prompt && n <= MODEL_POSITIONS && step->rows > 0 && step->start >= 0 && step->cached >= 0);
    int32_t known =
        d->facts.num_tokens && d->facts.num_tokens < d->facts.vocab_size ? d->facts.num_tokens : d->facts.vocab_size;
    for (size_t i = 0; i < step->n_accepted; i++) {
        const dlx_accepted *a = &step->accepted[i];
        require(a->position >= 0 && (size_t)a->position < n && (!i || a->position > a[-1].position));
        require(ids[a->position] == a->id && !d->accepted[a->position]);
        require(a->id < known);
        d->accepted[a->position] = true;
    }
    for (size_t i = 0; i < n; i++) require(ids[i] == d->facts.mask_id || (ids[i] >= 0 && ids[i] < d->facts.vocab_size));
    return --d->stop_after != 0;
}

/* ---- from bytes ------------------------------------------------------------------------------------------------- */

static void take_facts(decode *d, fuzz_input *in)
{
    dlx_model_facts *f = &d->facts;
    uint8_t first = take_byte(in);
    *f = (dlx_model_facts){
        .struct_size = sizeof *f, .family = (dlx_family)(first % 6), .num_tokens = first / 6 - first / 252 * 43};
    f->vocab_size = take_int(in);
    f->max_context = take_int(in);
    f->max_rows = take_int(in);
    f->mask_id = take_int(in);
    f->attn_block = take_int(in);
    f->logits_shift = take_int(in);
    f->block_length = take_int(in);
    f->small_block_size = take_int(in);
    f->bos_id = take_int(in);
    f->eos_id = take_int(in);
    f->pad_id = take_int(in);
    f->num_stop_ids = take_int(in);
    for (int i = 0; i < 4; i++) f->stop_ids[i] = take_int(in);
}

static void take_model(decode *d, fuzz_input *in)
{
    scripted_model *m = &d->m;
    model_init(m, 0, 0, take_byte(in));
    d->mood = (mood)(take_byte(in) % MOODS);
    m->fail_at = d->mood == FAILING ? 1 + take_byte(in) % 16 : 0;
    m->stop_at = take_int(in);
    d->stop_after = take_byte(in);
    if (!d->stop_after || d->stop_after > MOST_CALLS) d->stop_after = MOST_CALLS;
    m->facts = d->facts;
    m->stop_id =
        d->facts.vocab_size > 0 ? (int32_t)((uint32_t)d->facts.stop_ids[0] % (uint32_t)d->facts.vocab_size) : 0;
    if (m->facts.max_rows <= 0) m->facts.max_rows = m->facts.max_context;
    m->facts.logits_shift = m->facts.logits_shift != 0;
}

static size_t take_prompt(int32_t prompt[MOST_PROMPT], const decode *d, fuzz_input *in)
{
    size_t n = take_byte(in) % (MOST_PROMPT + 1);
    for (size_t i = 0; i < n; i++) {
        int32_t id = take_int(in);
        prompt[i] = id == 0xDF ? d->facts.mask_id : id;
    }
    return n;
}

/* Lines "name=value"; what is wrong with one is said in a sentence and changes nothing. */
static void take_options(dlx_decode_options *o, fuzz_input *in)
{
    size_t n;
    char *text = take_text(in, &n), *rest = text;
    for (int i = 0; i < MOST_OPTIONS && rest; i++) {
        char *line = rest, *end = strchr(line, '\n');
        rest = end ? end + 1 : NULL;
        if (end) *end = '\0';
        char *value = strchr(line, '=');
        if (value) *value++ = '\0';
        dlx_error err = {0};
        dlx_decode_options before = *o;
        dlx_status s = dlx_decode_options_set(o, line, value, &err);
        require_sentence(s, &err);
        require(s == DLX_OK || (s == DLX_E_INVALID && !memcmp(o->value, before.value, sizeof before.value)));
    }
    free(text);
}

/* ---- one decode ------------------------------------------------------------------------------------------------- */

/* What dlx_generate would allocate and do; false when that is too much for a fuzzer. */
static bool affordable(const decode *d, const dlx_decode_options *o, const int32_t *prompt, size_t n, dlx_status *want)
{
    dlx_settings set;
    dlx_capacity need = {0};
    dlx_error err = {0};
    *want = dlx_settings_resolve(&set, o, &d->facts, prompt, n, &err);
    require_sentence(*want, &err);
    if (*want != DLX_OK) return true;
    set.algorithm->plan(&set, &need);
    require(set.n_prompt == (int32_t)n && set.max_new >= 0 && set.end <= d->facts.max_context);
    require(need.canvas >= set.n_prompt && need.candidates >= 0 && need.steps >= 0);
    return need.canvas <= MOST_CANVAS && need.steps <= 1 << 14 &&
           (int64_t)need.candidates * d->facts.vocab_size <= MOST_LOGITS && d->facts.vocab_size <= MOST_LOGITS / 4;
}

static void check_result(const decode *d, const dlx_generation *g)
{
    size_t n, m;
    const int32_t *out = dlx_generation_output_ids(g, &n), *answer = dlx_generation_answer_ids(g, &m);
    const char *reason = dlx_generation_finish_reason(g);
    bool cancelled = !strcmp(reason, "cancelled");
    require(n >= d->n_prompt && m <= n - d->n_prompt);
    for (size_t i = 0; i < n; i++) require(out[i] == d->facts.mask_id || (out[i] >= 0 && out[i] < d->facts.vocab_size));
    for (size_t i = 0; i < m; i++)
        require(answer[i] >= 0 && answer[i] < d->facts.vocab_size && answer[i] != d->facts.mask_id);
    require(cancelled || !strcmp(reason, "stop") || !strcmp(reason, "length"));
    require(dlx_generation_num_forwards(g) == d->calls);
    dlx_step step = {.struct_size = sizeof step};
    size_t steps = dlx_generation_num_steps(g);
    require(!dlx_generation_step(g, steps, &step) && (!steps || dlx_generation_step(g, steps - 1, &step)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static decode d;
    fuzz_input in = {data, size};
    int32_t prompt[MOST_PROMPT];
    dlx_decode_options *o;
    dlx_generation *g;
    dlx_error err = {0};
    dlx_status want;
    memset(&d, 0, sizeof d);
    take_facts(&d, &in);
    take_model(&d, &in);
    d.n_prompt = take_prompt(prompt, &d, &in);
    require(dlx_decode_options_create(&o, &err) == DLX_OK);
    take_options(o, &in);
    if (affordable(&d, o, prompt, d.n_prompt, &want)) {
        /* Positions that n_cached says are stored are. */
        if (want == DLX_OK)
            for (size_t i = 0; i < d.n_prompt; i++) d.m.has[i] = true;
        dlx_status s = dlx_generate(&d.facts, forward, &d, o, prompt, d.n_prompt, on_step, &d, &g, &err);
        require_sentence(s, &err);
        require((s == DLX_OK) == (g != NULL) && d.calls <= 2 * MOST_CALLS);
        bool honest = d.mood == HONEST && d.facts.vocab_size > 1 && d.facts.num_tokens != 1;
        if (want != DLX_OK)
            require(s == want && d.calls == 0);
        else if (honest && s != DLX_OK)
            require(s == DLX_E_NOMEM);
        else
            require(s == DLX_OK || s == DLX_E_INTERNAL || (s == DLX_E_IO && d.mood == FAILING));
        if (g) check_result(&d, g);
        dlx_generation_free(g);
    }
    dlx_decode_options_free(o);
    return 0;
}
