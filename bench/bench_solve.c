/*
 * Solver benchmark: seconds of each step of GPTQ for the linear layers of one decoder layer, and of all its layers.
 *
 *   bench_solve [--hidden K] [--inter K] [--kv N] [--layers N] [--rows N] [--threads N] [--isa NAME] [--group N]
 *               [--clip 0|1]
 *
 * The defaults are the shape of the 1.5B checkpoints: hidden 1536, inter 8960, 256 outputs of keys and of values, 28
 * layers, 16384 rows of calibration. Rows and weights are random. Processor seconds count all threads: halve them for
 * two cores that nobody else uses. Memory is the process's peak.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "solve/awq.h"
#include "solve/gptq.h"

enum { PIECE = 2048, TRIED = 256 /* rows on which scales are tried */ };

typedef struct options {
    size_t hidden, inter, kv, layers, rows, group;
    int threads;
    dlx_clip clip;
    const char *isa;
} options;

typedef struct step {
    const char *name;
    double seconds, cpu, flops;
} step;

enum { HESSIAN, FACTOR, SOLVE, ROUND, SCALES, STEPS };

static step steps[STEPS] = {
    {.name = "Hessian"}, {.name = "factor"}, {.name = "GPTQ"}, {.name = "clipped rounding"}, {.name = "AWQ scales"}};

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "bench_solve: %s\n", what);
    exit(1);
}

static void check(dlx_status s, const dlx_error *err)
{
    if (s != DLX_OK) die(err->message);
}

static void *block_new(size_t n)
{
    void *p = malloc(n);
    if (!p) die("out of memory");
    return p;
}

static void fill(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)seed * 0x1p-31f;
    }
}

typedef struct watch {
    double seconds, cpu;
} watch;

static watch look(void)
{
    return (watch){.seconds = now(CLOCK_MONOTONIC), .cpu = now(CLOCK_PROCESS_CPUTIME_ID)};
}

static void count(int which, watch start, double flops)
{
    watch end = look();
    steps[which].seconds += end.seconds - start.seconds;
    steps[which].cpu += end.cpu - start.cpu;
    steps[which].flops += flops;
}

/* What was counted since `before`. */
static void print_step(int which, step before)
{
    double seconds = steps[which].seconds - before.seconds, cpu = steps[which].cpu - before.cpu;
    printf("  %s %.2f s (processors %.2f s", before.name, seconds, cpu);
    if (steps[which].flops > before.flops)
        printf(", %.0f GFLOP/s each", (steps[which].flops - before.flops) / cpu * 1e-9);
    printf(")");
}

static dlx_factor factor_of(const options *o, size_t k, const dlx_solve_on *on)
{
    dlx_error err = {0};
    dlx_hessian h;
    dlx_factor f;
    step hessian = steps[HESSIAN], factor = steps[FACTOR];
    double K = (double)k;
    float *x = block_new(PIECE * k * sizeof *x);
    watch start = look();
    check(dlx_hessian_begin(&h, k, on, "layer", &err), &err);
    count(HESSIAN, start, (double)o->rows * K * K);
    for (size_t row = 0; row < o->rows; row += PIECE) {
        fill(x, PIECE * k, (uint32_t)row + 1);
        start = look();
        check(dlx_hessian_add(&h, x, k, o->rows - row < PIECE ? o->rows - row : PIECE, &err), &err);
        count(HESSIAN, start, 0);
    }
    free(x);
    start = look();
    check(dlx_hessian_finish(&h, &err), &err);
    count(HESSIAN, start, 0);
    start = look();
    const dlx_factor_options fo = {.damping = 0.01f};
    check(dlx_factor_make(&f, &h, &fo, on, "layer", &err), &err);
    count(FACTOR, start, K * K * K / 3);
    printf("%zu inputs:", k);
    print_step(HESSIAN, hessian);
    print_step(FACTOR, factor);
    printf("\n");
    return f;
}

static void find_scales(const options *o, const float *w, size_t n, size_t k, const dlx_solve_on *on)
{
    dlx_error err = {0};
    float *x = block_new(TRIED * k * sizeof *x), *s = block_new(k * sizeof *s);
    double *magnitude = block_new(k * sizeof *magnitude);
    memset(magnitude, 0, k * sizeof *magnitude);
    fill(x, TRIED * k, 3);
    dlx_inputs_add(magnitude, x, k, TRIED, k, on);
    const dlx_awq_weights layer = {.w = w, .n = n, .grid = {4, o->group}};
    const dlx_awq_search a = {.layer = &layer,
                              .layers = 1,
                              .k = k,
                              .magnitude = magnitude,
                              .x = x,
                              .x_stride = k,
                              .rows = TRIED,
                              .clip = o->clip};
    dlx_awq_result result;
    watch start = look();
    check(dlx_awq_find(s, &result, &a, on, "layer", &err), &err);
    count(SCALES, start, 0);
    free(x);
    free(s);
    free(magnitude);
}

/* The layers that read the same inputs. */
static void solve(const options *o, const dlx_factor *f, size_t n, const dlx_solve_on *on)
{
    size_t k = f->k;
    dlx_error err = {0};
    float *w = block_new(n * k * sizeof *w);
    fill(w, n * k, 7);
    dlx_gridded out = {.codes = block_new(n * k),
                       .scale = block_new(n * sizeof(float)),
                       .group_scale = block_new(n * k / o->group * sizeof(uint16_t))};
    const dlx_gptq_options g = {.grid = {4, o->group}, .clip = o->clip};
    dlx_gptq_result result;
    step gptq = steps[SOLVE], round = steps[ROUND], scales = steps[SCALES];
    watch start = look();
    check(dlx_gptq(&out, &result, f, w, n, &g, on, "layer", &err), &err);
    count(SOLVE, start, 3.0 * (double)n * (double)k * (double)k);
    start = look();
    check(dlx_grid_round(&out, w, n, k, g.grid, DLX_CLIP_MSE, f->diagonal, on, "layer", &err), &err);
    count(ROUND, start, 0);
    find_scales(o, w, n, k, on);
    printf("%zu x %zu weights:", n, k);
    print_step(SOLVE, gptq);
    print_step(ROUND, round);
    print_step(SCALES, scales);
    printf("\n");
    free(w);
    free(out.codes);
    free(out.scale);
    free(out.group_scale);
}

static options parse(int argc, char **argv)
{
    options o = {.hidden = 1536,
                 .inter = 8960,
                 .kv = 256,
                 .layers = 28,
                 .rows = 16384,
                 .group = 32,
                 .threads = 0,
                 .clip = DLX_CLIP_MSE,
                 .isa = "auto"};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) die("every option takes a value");
        size_t n = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--hidden") == 0)
            o.hidden = n;
        else if (strcmp(argv[i], "--inter") == 0)
            o.inter = n;
        else if (strcmp(argv[i], "--kv") == 0)
            o.kv = n;
        else if (strcmp(argv[i], "--layers") == 0)
            o.layers = n;
        else if (strcmp(argv[i], "--rows") == 0)
            o.rows = n;
        else if (strcmp(argv[i], "--group") == 0)
            o.group = n;
        else if (strcmp(argv[i], "--threads") == 0)
            o.threads = (int)n;
        else if (strcmp(argv[i], "--clip") == 0)
            o.clip = n ? DLX_CLIP_MSE : DLX_CLIP_NONE;
        else if (strcmp(argv[i], "--isa") == 0)
            o.isa = argv[i + 1];
        else
            die("unknown option");
    }
    if (!o.group || !o.hidden || !o.inter || o.hidden % o.group || o.inter % o.group) die("groups do not fit");
    return o;
}

int main(int argc, char **argv)
{
    options o = parse(argc, argv);
    dlx_error err = {0};
    dlx_kernels kernels;
    dlx_isa isa;
    check(dlx_isa_from_name(&isa, o.isa, &err), &err);
    dlx_kernels_init(&kernels, isa);
    dlx_solve_on on = {.kernels = &kernels};
    check(dlx_pool_create(&on.pool, o.threads, &err), &err);
    printf("%s, %d threads, %zu rows, groups of %zu\n", kernels.name, dlx_pool_threads(on.pool), o.rows, o.group);

    /* q, k, v; o; gate, up; down. */
    const struct {
        size_t k, n;
    } inputs[] = {{o.hidden, o.hidden + 2 * o.kv}, {o.hidden, o.hidden}, {o.hidden, 2 * o.inter}, {o.inter, o.hidden}};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        dlx_factor f = factor_of(&o, inputs[i].k, &on);
        solve(&o, &f, inputs[i].n, &on);
        dlx_factor_free(&f);
    }

    step all = {0};
    for (int i = 0; i < STEPS; i++) {
        double layers = (double)o.layers;
        printf("%-16s %7.2f s a layer (processors %.2f s), %7.1f s for %zu layers (processors %.1f s)\n", steps[i].name,
               steps[i].seconds, steps[i].cpu, steps[i].seconds * layers, o.layers, steps[i].cpu * layers);
        if (i == ROUND || i == SCALES) continue;
        all.seconds += steps[i].seconds * layers;
        all.cpu += steps[i].cpu * layers;
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("all of GPTQ      %7.1f s for %zu layers (processors %.1f s); peak memory %.0f MB\n", all.seconds, o.layers,
           all.cpu, (double)usage.ru_maxrss / 1024.0);
    dlx_pool_free(on.pool);
    return 0;
}
