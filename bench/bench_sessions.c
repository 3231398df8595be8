/*
 * What sequences cost together: one of 8 rows, one of 32 rows, and four of 8 rows in one pass, turn by turn in one
 * process; a fork of a cached prefix; caches of halves and of int8. Prints milliseconds (minimum and median) and the
 * ratios that matter. Works on any .pte; weights may be noise.
 *
 * usage: bench_sessions model.pte [--context 512] [--threads 2] [--repeats 15] [--rows 8] [--sequences 4]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "diffulex_edge/model.h"

enum { MOST_SEQUENCES = 16, MOST_REPEATS = 200, CHUNK = 32, SMALLER = 2 };

static const char *const smaller[SMALLER] = {"float16", "int8"}; /* caches */

typedef struct options {
    const char *path;
    int context, threads, repeats, rows, sequences;
} options;

typedef struct series {
    const char *name;
    double ms[MOST_REPEATS];
    int n;
} series;

static void check(dlx_status s, const dlx_error *err)
{
    if (s == DLX_OK) return;
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

static void *memory(size_t n)
{
    void *p = calloc(n, 1);
    if (p) return p;
    fputs("out of memory\n", stderr);
    exit(1);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double least(const series *s)
{
    return s->ms[0];
}

static double median(const series *s)
{
    return s->ms[s->n / 2];
}

static void show(series *s)
{
    qsort(s->ms, (size_t)s->n, sizeof *s->ms, ascending);
    printf("  %-44s min %9.3f ms   median %9.3f ms\n", s->name, least(s), median(s));
}

typedef struct bench {
    options o;
    dlx_model *m;
    int32_t vocab;
    int32_t *ids;
    dlx_workspace *w, *small_w[SMALLER];
    dlx_session *s[MOST_SEQUENCES], *small[SMALLER];
    float *logits;
} bench;

static dlx_forward_call call_of(const bench *b, int32_t start, int32_t n, int32_t store, float *logits)
{
    dlx_forward_call c = {.struct_size = sizeof c,
                          .ids = b->ids + start,
                          .n_ids = n,
                          .start = start,
                          .context = {{0, start}},
                          .n_context = start > 0,
                          .n_store = store,
                          .n_rows = logits ? n : 0,
                          .logits = logits};
    return c;
}

static dlx_session *prefilled(bench *b, dlx_workspace *w)
{
    dlx_session *s;
    dlx_error err = {0};
    check(dlx_session_open_in(&s, w, &err), &err);
    for (int32_t p = 0; p < b->o.context; p += CHUNK) {
        int32_t n = b->o.context - p < CHUNK ? b->o.context - p : CHUNK;
        dlx_forward_call c = call_of(b, p, n, n, NULL);
        check(dlx_session_forward(s, &c, &err), &err);
    }
    return s;
}

static void open_all(bench *b)
{
    dlx_error err = {0};
    dlx_model_options o = {.struct_size = sizeof o, .threads = b->o.threads};
    check(dlx_model_open(&b->m, b->o.path, &o, &err), &err);
    const dlx_model_facts *f = dlx_model_get_facts(b->m);
    int32_t rows = b->o.rows * b->o.sequences;
    b->vocab = f->vocab_size;
    if (rows < CHUNK) rows = CHUNK;
    dlx_workspace_options w = {.struct_size = sizeof w, .max_rows = rows, .max_sessions = MOST_SEQUENCES + 1};
    if (b->o.context + rows > f->max_context || rows > f->max_rows) {
        fprintf(stderr, "%s: %d cached positions and %d rows do not fit; its context is %d\n", b->o.path, b->o.context,
                rows, f->max_context);
        exit(1);
    }
    b->ids = memory((size_t)f->max_context * sizeof *b->ids);
    for (int32_t i = 0; i < f->max_context; i++) b->ids[i] = (int32_t)((i * 2654435761u >> 8) % (uint32_t)b->vocab);
    b->logits = memory((size_t)rows * (size_t)b->vocab * sizeof *b->logits);
    check(dlx_workspace_open(&b->w, b->m, &w, &err), &err);
    for (int i = 0; i < b->o.sequences; i++) b->s[i] = prefilled(b, b->w);
    w.max_sessions = 1;
    for (int i = 0; i < SMALLER; i++) {
        w.kv_type = smaller[i];
        check(dlx_workspace_open(&b->small_w[i], b->m, &w, &err), &err);
        b->small[i] = prefilled(b, b->small_w[i]);
    }
}

static void close_all(bench *b)
{
    for (int i = 0; i < b->o.sequences; i++) dlx_session_close(b->s[i]);
    for (int i = 0; i < SMALLER; i++) {
        dlx_session_close(b->small[i]);
        dlx_workspace_close(b->small_w[i]);
    }
    dlx_workspace_close(b->w);
    dlx_model_close(b->m);
    free(b->ids);
    free(b->logits);
}

static void time_one(bench *b, dlx_session *s, int32_t rows, series *out)
{
    dlx_error err = {0};
    dlx_forward_call c = call_of(b, b->o.context, rows, 0, b->logits);
    double begin = dlx_clock_ms();
    check(dlx_session_forward(s, &c, &err), &err);
    out->ms[out->n++] = dlx_clock_ms() - begin;
}

static void time_batch(bench *b, series *out)
{
    dlx_forward_call calls[MOST_SEQUENCES];
    const dlx_forward_call *pointers[MOST_SEQUENCES];
    dlx_error errors[MOST_SEQUENCES];
    dlx_status status[MOST_SEQUENCES];
    size_t n = (size_t)b->o.sequences, rows = (size_t)b->o.rows;
    for (size_t i = 0; i < n; i++) {
        calls[i] = call_of(b, b->o.context, b->o.rows, 0, b->logits + i * rows * (size_t)b->vocab);
        pointers[i] = &calls[i];
    }
    double begin = dlx_clock_ms();
    dlx_status s = dlx_forward_batch(b->s, pointers, n, status, errors);
    out->ms[out->n++] = dlx_clock_ms() - begin;
    for (size_t i = 0; s != DLX_OK && i < n; i++) check(status[i], &errors[i]);
}

static void time_fork(bench *b, series *out)
{
    dlx_session *fork;
    dlx_error err = {0};
    double begin = dlx_clock_ms();
    check(dlx_session_fork(&fork, b->s[0], b->o.context, &err), &err);
    out->ms[out->n++] = dlx_clock_ms() - begin;
    dlx_session_close(fork);
}

static void show_memory(const bench *b)
{
    dlx_error err = {0};
    dlx_workspace_options o = {.struct_size = sizeof o, .max_sessions = 1};
    dlx_memory memory = {.struct_size = sizeof memory};
    check(dlx_workspace_memory(b->m, &o, &memory, &err), &err);
    printf("  KV cache of %d positions: float32 %.1f MB", dlx_model_get_facts(b->m)->max_context,
           (double)memory.kv_cache / 1e6);
    for (int i = 0; i < SMALLER; i++) {
        o.kv_type = smaller[i];
        check(dlx_workspace_memory(b->m, &o, &memory, &err), &err);
        printf(", %s %.1f MB", smaller[i], (double)memory.kv_cache / 1e6);
    }
    printf("\n");
}

static void measure(bench *b)
{
    char names[4 + SMALLER][64];
    int all = b->o.rows * b->o.sequences;
    snprintf(names[0], 64, "one sequence, %d rows", b->o.rows);
    snprintf(names[1], 64, "one sequence, %d rows", all);
    snprintf(names[2], 64, "%d sequences of %d rows, one pass", b->o.sequences, b->o.rows);
    snprintf(names[3], 64, "fork of %d positions", b->o.context);
    series small = {.name = names[0]}, large = {.name = names[1]}, batch = {.name = names[2]},
           fork = {.name = names[3]}, cache[SMALLER] = {{0}}, warm = {0};
    for (int i = 0; i < SMALLER; i++) {
        snprintf(names[4 + i], 64, "one sequence, %d rows, %s cache", b->o.rows, smaller[i]);
        cache[i].name = names[4 + i];
    }
    time_one(b, b->s[0], all, &warm);
    time_batch(b, &warm);
    for (int i = 0; i < SMALLER; i++) time_one(b, b->small[i], b->o.rows, &warm);
    for (int i = 0; i < b->o.repeats; i++) {
        time_one(b, b->s[0], b->o.rows, &small);
        time_batch(b, &batch);
        time_one(b, b->s[0], all, &large);
        for (int k = 0; k < SMALLER; k++) time_one(b, b->small[k], b->o.rows, &cache[k]);
        time_fork(b, &fork);
    }
    printf("%s, %s, %d threads, %d cached positions, %d turns\n", b->o.path, dlx_model_kernels(b->m), b->o.threads,
           b->o.context, b->o.repeats);
    show(&small);
    show(&large);
    show(&batch);
    for (int i = 0; i < SMALLER; i++) show(&cache[i]);
    show(&fork);
    printf("  %d sequences / one of %d rows: %.2f (min), %.2f (median)\n", b->o.sequences, b->o.rows,
           least(&batch) / least(&small), median(&batch) / median(&small));
    printf("  %d sequences / one of %d rows: %.2f (min), %.2f (median)\n", b->o.sequences, all,
           least(&batch) / least(&large), median(&batch) / median(&large));
    for (int i = 0; i < SMALLER; i++)
        printf("  %s / float32 cache: %.2f (min), %.2f (median)\n", smaller[i], least(&cache[i]) / least(&small),
               median(&cache[i]) / median(&small));
    show_memory(b);
}

int main(int argc, char **argv)
{
    bench b = {.o = {.context = 512, .threads = 2, .repeats = 15, .rows = 8, .sequences = 4}};
    const struct {
        const char *name;
        int *value, most;
    } numbers[] = {{"--context", &b.o.context, 1 << 20},
                   {"--threads", &b.o.threads, 1024},
                   {"--repeats", &b.o.repeats, MOST_REPEATS},
                   {"--rows", &b.o.rows, 1 << 16},
                   {"--sequences", &b.o.sequences, MOST_SEQUENCES}};
    for (int i = 1; i < argc; i++) {
        int *value = NULL, most = 0;
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            if (!strcmp(argv[i], numbers[k].name)) value = numbers[k].value, most = numbers[k].most;
        if (value && i + 1 < argc && atoi(argv[i + 1]) >= 1 && atoi(argv[i + 1]) <= most) {
            *value = atoi(argv[++i]);
        } else if (argv[i][0] != '-' && !b.o.path) {
            b.o.path = argv[i];
        } else {
            fprintf(stderr, "'%s' is no option, or its value is missing or out of range\n", argv[i]);
            return 2;
        }
    }
    if (!b.o.path) {
        fputs("usage: bench_sessions model.pte [--context N] [--threads N] [--repeats N] [--rows N] [--sequences N]\n",
              stderr);
        return 2;
    }
    open_all(&b);
    measure(&b);
    close_all(&b);
    return 0;
}
