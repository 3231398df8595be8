/*
 * What a decode would take: the decoder itself runs over a model whose answers are made up, and each of its passes is
 * charged what passes of so many rows were measured to take. So everything that an algorithm does besides revealing
 * tokens is counted, without a second description of any of them.
 */
#include "api/bench.h"

#include "base/memory.h"
#include "base/structs.h"
#include "diffusion/options.h"

/* The model that is made up: every mask becomes this id, surely or hardly. */
enum { VOCABULARY = 8, MASK = 1, ANSWER = 2 };
#define SURE   40.0f /* logit beside zeros: a probability of 1 */
#define HARDLY 0.1f  /* still the likeliest */

typedef struct acting {
    const dlx_bench *b;
    double tokens, owed; /* masks that a pass reveals on average, and the fraction that earlier ones left */
    double ms;           /* of the calls since the last step */
    int32_t rows;        /* of the largest of them */
    int32_t calls;
    dlx_bench_decode *out;
} acting;

/* Piecewise linear between what was measured; below the first as much as the first, beyond the last in proportion:
 * there arithmetic sets the pace. */
static double between(const dlx_bench *b, int32_t rows, bool head)
{
    size_t last = (size_t)b->info.passes - 1, i = 0;
#define MS(p) (head ? ((p)->median_ms > (p)->body_ms ? (p)->median_ms - (p)->body_ms : 0) : (p)->body_ms)
    while (i < last && b->pass[i + 1].rows <= rows) i++;
    const dlx_bench_pass *p = &b->pass[i], *q = p + 1;
    double here = MS(p);
    if (rows <= p->rows) return here;
    if (i == last) return here * rows / p->rows;
    return here + (MS(q) - here) * (rows - p->rows) / (q->rows - p->rows);
#undef MS
}

double dlx_bench_cost(const dlx_bench *b, int32_t rows, int32_t logits)
{
    return between(b, rows, false) + (logits ? between(b, logits, true) : 0);
}

static dlx_status act(void *ctx, const dlx_forward_call *c, dlx_error *err)
{
    acting *a = ctx;
    (void)err;
    a->ms += dlx_bench_cost(a->b, c->n_ids, c->n_rows);
    a->calls++;
    if (c->n_ids > a->rows) a->rows = c->n_ids;
    int32_t reveals = 1;
    if (c->n_rows > 1) { /* a pass with a choice: rows ascend, and so its leading masks are revealed */
        a->owed += a->tokens;
        reveals = a->owed >= c->n_rows ? c->n_rows : (int32_t)a->owed;
        a->owed -= (int32_t)a->owed; /* what this block had no masks for is nobody's */
    }
    for (int32_t i = 0; i < c->n_rows; i++) {
        float *row = c->logits + (size_t)i * VOCABULARY;
        for (int k = 0; k < VOCABULARY; k++) row[k] = 0;
        row[ANSWER] = i < reveals ? SURE : HARDLY;
    }
    return DLX_OK;
}

static bool on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    acting *a = ctx;
    (void)ids;
    (void)n_ids;
    if (step->block < 0) {
        a->out->prompt_ms += a->ms;
    } else {
        a->out->decode_ms += a->ms;
        a->out->passes += a->calls;
        if (a->rows > a->out->widest) a->out->widest = a->rows;
    }
    a->ms = 0;
    a->rows = a->calls = 0;
    return true;
}

static dlx_model_facts made_up(const dlx_bench *b)
{
    dlx_model_facts f = b->facts;
    f.vocab_size = VOCABULARY;
    f.mask_id = f.mask_id < 0 ? -1 : MASK;
    f.bos_id = f.eos_id = f.pad_id = -1;
    f.num_tokens = f.num_stop_ids = 0;
    return f;
}

/* No id of the real model means anything to the one that is made up, and its answers are not drawn. */
static dlx_decode_options for_acting(const dlx_decode_options *given)
{
    static const dlx_option_slot unset[] = {DLX_OPT_STOP_IDS, DLX_OPT_TEMPERATURE, DLX_OPT_TOP_K,
                                            DLX_OPT_TOP_P,    DLX_OPT_ALG_TEMP,    DLX_OPT_REPETITION_PENALTY};
    dlx_decode_options o = {.n_stop_ids = 0};
    if (given) o = *given;
    for (size_t i = 0; i < sizeof unset / sizeof *unset; i++) o.value[unset[i]].given = NULL;
    o.n_stop_ids = 0;
    return o;
}

static dlx_status generate(acting *a, const dlx_decode_options *o, const int32_t *prompt, int32_t n_prompt,
                           dlx_error *err)
{
    dlx_model_facts f = made_up(a->b);
    dlx_generation *g;
    char text[256];
    DLX_TRY(dlx_decode_option_in_force(&f, o, prompt, (size_t)n_prompt, "block_length", text, sizeof text, err));
    for (const char *s = text; *s >= '0' && *s <= '9'; s++) a->out->block_length = 10 * a->out->block_length + *s - '0';
    DLX_TRY(dlx_generate(&f, act, a, o, prompt, (size_t)n_prompt, on_step, a, &g, err));
    size_t n;
    (void)dlx_generation_answer_ids(g, &n);
    a->out->new_tokens = (int32_t)n;
    a->out->algorithm = dlx_generation_algorithm(g);
    dlx_generation_free(g);
    return DLX_OK;
}

dlx_status dlx_bench_estimate(const dlx_bench *b, const dlx_decode_options *decode, double tokens, int32_t n_prompt,
                              dlx_bench_decode *out, dlx_error *err)
{
    dlx_bench_decode d = {.struct_size = sizeof d};
    dlx_struct_clear(out, sizeof *out);
    if (!b || !out)
        return dlx_fail(err, DLX_E_INVALID, "dlx_bench_estimate: a bench and a place for the result are needed");
    if (!(tokens >= 1) || tokens > INT32_MAX)
        return dlx_fail(err, DLX_E_INVALID, "dlx_bench_estimate: a pass reveals %g tokens; expected 1 or more", tokens);
    if (n_prompt < 1)
        return dlx_fail(err, DLX_E_INVALID, "dlx_bench_estimate: a prompt of %d ids; expected 1 or more", n_prompt);
    if (b->info.passes < 1)
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "dlx_bench_estimate: no pass was measured before it was stopped; nothing can be said of decodes");
    if (n_prompt > b->facts.max_context)
        return dlx_fail(err, DLX_E_LIMIT, "dlx_bench_estimate: a prompt of %d ids; the file has %d positions", n_prompt,
                        b->facts.max_context);
    int32_t *prompt = dlx_mem_zeroed(NULL, (size_t)n_prompt, sizeof *prompt);
    if (!prompt) return dlx_fail(err, DLX_E_NOMEM, "out of memory for a prompt of %d ids", n_prompt);
    acting a = {.b = b, .tokens = tokens, .out = &d};
    dlx_decode_options o = for_acting(decode);
    dlx_status s = generate(&a, &o, prompt, n_prompt, err);
    dlx_mem_free(NULL, prompt, (size_t)n_prompt, sizeof *prompt);
    return s == DLX_OK ? dlx_struct_out(out, &d, sizeof d, "dlx_bench_decode", err) : s;
}
