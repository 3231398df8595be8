/*
 * What a decode costs beside its passes: every algorithm over one model, whose facts are made to fit it, with summaries
 * of rows and, as a model that does not know these, with logits, turn by turn. Then passes alone, behind a cached
 * prompt: with logits, with summaries, without either. Medians of milliseconds; weights may be noise. Thresholds are
 * never met by noise, so a pass reveals one token and asks for as many rows as there are masks left.
 *
 * usage: bench_choice model.pte [--threads 2] [--repeats 15] [--tokens 32] [--prompt 64]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "diffulex_edge/model.h"

enum { MOST = 512, ROW_COUNTS = 5, MOST_ROWS = 128, CONTEXT = 512 };

static const struct {
    const char *name, *option, *value;
    int32_t block, shift; /* attention and logits that the algorithm needs */
} kinds[] = {
    {"ar.generate", "algorithm", "ar.generate", 32, 1},
    {"Fast-dLLM v2, balanced", "preset", "balanced", 32, 1},
    {"SDAR, balanced", "preset", "balanced", 32, 0},
    {"SDAR, entropy_bounded", "strategy", "entropy_bounded", 32, 0},
    {"LLaDA, fast", "preset", "fast", 0, 0},
    {"Dream, fast", "preset", "fast", 0, 1},
    {"Dream, exact (entropy)", "preset", "exact", 0, 1},
};

typedef struct options {
    const char *path;
    int threads, repeats, tokens, prompt;
} options;

/* A session that counts, and writes logits if it is told to. */
typedef struct model {
    dlx_session *s;
    bool logits;
    double inside;
    int64_t passes, rows;
} model;

static void check(dlx_status s, const dlx_error *err)
{
    if (s == DLX_OK) return;
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *ms, int n)
{
    qsort(ms, (size_t)n, sizeof *ms, ascending);
    return ms[n / 2];
}

static dlx_status forward(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    model *m = ctx;
    dlx_forward_call c = *call;
    if (m->logits) c.summaries = NULL;
    double begin = dlx_clock_ms();
    dlx_status s = dlx_session_forward(m->s, &c, err);
    m->inside += dlx_clock_ms() - begin;
    m->passes++;
    m->rows += call->n_rows;
    return s;
}

static dlx_model_facts facts_for(const dlx_model *m, size_t kind)
{
    dlx_model_facts f = *dlx_model_get_facts(m);
    f.attn_block = kinds[kind].block;
    f.logits_shift = kinds[kind].shift;
    f.num_stop_ids = 0;
    return f;
}

/* One decode; returns its wall time. */
static double decode(const dlx_model *m, const options *o, size_t kind, model *as)
{
    dlx_error err = {0};
    dlx_decode_options *d;
    dlx_generation *g;
    int32_t prompt[MOST];
    char tokens[16];
    dlx_model_facts f = facts_for(m, kind);
    for (int i = 0; i < o->prompt; i++) prompt[i] = 3 + i * 7919 % (f.vocab_size / 2);
    snprintf(tokens, sizeof tokens, "%d", o->tokens);
    check(dlx_decode_options_create(&d, &err), &err);
    check(dlx_decode_options_set(d, kinds[kind].option, kinds[kind].value, &err), &err);
    check(dlx_decode_options_set(d, "published", "false", &err), &err);
    check(dlx_decode_options_set(d, "max_new_tokens", tokens, &err), &err);
    check(dlx_session_open(&as->s, m, MOST, 2 * MOST, &err), &err);
    double begin = dlx_clock_ms();
    check(dlx_generate(&f, forward, as, d, prompt, (size_t)o->prompt, NULL, NULL, &g, &err), &err);
    double took = dlx_clock_ms() - begin;
    dlx_generation_free(g);
    dlx_session_close(as->s);
    dlx_decode_options_free(d);
    return took;
}

static void decodes(const dlx_model *m, const options *o)
{
    printf("%-24s %9s %9s %12s %20s %20s\n", "decode", "passes", "rows each", "ms a pass", "beside it, summaries",
           "beside it, logits");
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        model by[2] = {{.logits = false}, {.logits = true}};
        double beside[2], inside = 0;
        for (int i = 0; i < 2; i++) {
            double took = decode(m, o, k, &by[i]);
            beside[i] = (took - by[i].inside) / (double)by[i].passes;
            if (!i) inside = by[i].inside / (double)by[i].passes;
        }
        printf("%-24s %9lld %9.1f %12.2f %10.3f = %4.2f %% %10.3f = %4.2f %%\n", kinds[k].name, (long long)by[0].passes,
               (double)by[0].rows / (double)by[0].passes, inside, beside[0], 100 * beside[0] / inside, beside[1],
               100 * beside[1] / inside);
    }
}

static void passes(const dlx_model *m, const options *o)
{
    static const int32_t counts[ROW_COUNTS] = {1, 8, 16, 32, MOST_ROWS};
    dlx_error err = {0};
    dlx_session *s;
    dlx_row_summary rows[MOST_ROWS];
    int32_t ids[CONTEXT];
    size_t vocab = (size_t)dlx_model_get_facts(m)->vocab_size;
    float *logits = malloc(MOST_ROWS * vocab * sizeof *logits);
    double *ms = malloc(3 * (size_t)o->repeats * sizeof *ms);
    if (!logits || !ms) exit(1);
    for (int i = 0; i < CONTEXT; i++) ids[i] = 3 + i * 7919 % (int)(vocab / 2);
    check(dlx_session_open(&s, m, CONTEXT, 2 * CONTEXT, &err), &err);
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = CONTEXT, .attn_block = 32, .n_store = CONTEXT};
    check(dlx_session_forward(s, &c, &err), &err);
    printf("\n%4s %12s %12s %12s   (ms, medians of %d)\n", "rows", "logits", "summaries", "neither", o->repeats);
    for (int k = 0; k < ROW_COUNTS; k++) {
        for (int i = 0; i < o->repeats; i++)
            for (int way = 0; way < 3; way++) {
                c = (dlx_forward_call){.struct_size = sizeof c,
                                       .ids = ids,
                                       .n_ids = counts[k],
                                       .start = CONTEXT,
                                       .context = {{0, CONTEXT}},
                                       .n_context = 1,
                                       .n_rows = way < 2 ? counts[k] : 0,
                                       .logits = logits,
                                       .never = -1,
                                       .summaries = way == 1 ? rows : NULL};
                double begin = dlx_clock_ms();
                check(dlx_session_forward(s, &c, &err), &err);
                ms[way * o->repeats + i] = dlx_clock_ms() - begin;
            }
        printf("%4d", counts[k]);
        for (int way = 0; way < 3; way++) printf(" %12.2f", median(ms + way * o->repeats, o->repeats));
        printf("\n");
    }
    dlx_session_close(s);
    free(logits);
    free(ms);
}

static int number(const char *text, int most)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (!*end && n > 0 && n <= most) return (int)n;
    fprintf(stderr, "'%s': expected a number from 1 to %d\n", text, most);
    exit(2);
}

int main(int argc, char **argv)
{
    options o = {.threads = 2, .repeats = 15, .tokens = 32, .prompt = 64};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--threads"))
            o.threads = number(value, 256);
        else if (!strcmp(argv[i], "--repeats"))
            o.repeats = number(value, 1000);
        else if (!strcmp(argv[i], "--tokens"))
            o.tokens = number(value, MOST / 2);
        else if (!strcmp(argv[i], "--prompt"))
            o.prompt = number(value, MOST / 2);
        else if (!o.path && argv[i][0] != '-') {
            o.path = argv[i];
            continue;
        } else
            o.path = NULL, i = argc;
        i++;
    }
    if (!o.path) {
        fprintf(stderr, "usage: bench_choice model.pte [--threads N] [--repeats N] [--tokens N] [--prompt N]\n");
        return 2;
    }
    dlx_error err = {0};
    dlx_model *m;
    dlx_model_options mo = dlx_model_options_default();
    mo.threads = o.threads;
    check(dlx_model_open(&m, o.path, &mo, &err), &err);
    decodes(m, &o);
    passes(m, &o);
    dlx_model_close(m);
    return 0;
}
