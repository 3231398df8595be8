/*
 * Solvers on matrices in files, for comparison with other implementations (tests/py/test_solve_oracle.py):
 *
 *   solve_files FOLDER n k rows bits group clip act_order static_groups damping
 *
 * reads x (float32 [rows, k]) and w (float32 [n, k]) of the folder and writes hessian [k, k], factor [k, k] (lower
 * half), order (uint32 [k]), codes and rounded (int8 [n, k]), scales and rounded_scales (float32 [n, scales]), awq
 * (float32 [k]), and numbers (float64: lambda, error, energy, exponent, error with awq, error without).
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "solve/awq.h"
#include "solve/gptq.h"

typedef struct task {
    const char *folder;
    size_t n, k, rows;
    dlx_gptq_options gptq;
    dlx_factor_options factor;
    dlx_solve_on on;
} task;

static void die(const char *what)
{
    fprintf(stderr, "solve_files: %s\n", what);
    exit(1);
}

static void check(dlx_status s, const dlx_error *err)
{
    if (s != DLX_OK) die(err->message);
}

static void *block_new(size_t n)
{
    void *p = calloc(n + 1, 1);
    if (!p) die("out of memory");
    return p;
}

static FILE *open_in(const task *t, const char *name, const char *mode)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", t->folder, name);
    FILE *f = fopen(path, mode);
    if (!f) die(path);
    return f;
}

static float *read_floats(const task *t, const char *name, size_t count)
{
    float *p = block_new(count * sizeof *p);
    FILE *f = open_in(t, name, "rb");
    if (fread(p, sizeof *p, count, f) != count) die(name);
    fclose(f);
    return p;
}

static void write_all(const task *t, const char *name, const void *p, size_t bytes)
{
    FILE *f = open_in(t, name, "wb");
    if (fwrite(p, 1, bytes, f) != bytes || fclose(f) != 0) die(name);
}

static dlx_gridded gridded_new(const task *t)
{
    size_t scales = t->n * dlx_grid_row_scales(t->gptq.grid, t->k);
    return (dlx_gridded){.codes = block_new(t->n * t->k),
                         .scale = block_new(scales * sizeof(float)),
                         .group_scale = block_new(scales * sizeof(uint16_t))};
}

static void write_gridded(const task *t, const dlx_gridded *m, const char *codes, const char *scales)
{
    dlx_grid g = t->gptq.grid;
    size_t per_row = dlx_grid_row_scales(g, t->k);
    int8_t *q = block_new(t->n * t->k);
    float *s = block_new(t->n * per_row * sizeof *s);
    for (size_t i = 0; i < t->n; i++) {
        const uint8_t *row = (const uint8_t *)m->codes + i * dlx_grid_row_bytes(g, t->k);
        for (size_t c = 0; c < t->k; c++) q[i * t->k + c] = (int8_t)dlx_grid_get(g, row, c);
        for (size_t c = 0; c < per_row; c++) s[i * per_row + c] = dlx_grid_get_scale(m, g, t->k, i, c);
    }
    write_all(t, codes, q, t->n * t->k);
    write_all(t, scales, s, t->n * per_row * sizeof *s);
    free(q);
    free(s);
    free(m->codes);
    free(m->scale);
    free(m->group_scale);
}

static void run(const task *t)
{
    dlx_error err = {0};
    double numbers[6] = {0}, *magnitude = block_new(t->k * sizeof *magnitude);
    float *x = read_floats(t, "x", t->rows * t->k), *w = read_floats(t, "w", t->n * t->k);
    float *s = block_new(t->k * sizeof *s);
    dlx_hessian h;
    check(dlx_hessian_begin(&h, t->k, &t->on, "w", &err), &err);
    check(dlx_hessian_add(&h, x, t->k, t->rows, &err), &err);
    check(dlx_hessian_finish(&h, &err), &err);
    write_all(t, "hessian", h.a, t->k * t->k * sizeof *h.a);
    dlx_factor f;
    check(dlx_factor_make(&f, &h, &t->factor, &t->on, "w", &err), &err);
    write_all(t, "factor", f.a, t->k * t->k * sizeof *f.a);
    write_all(t, "order", f.order, t->k * sizeof *f.order);
    dlx_gridded solved = gridded_new(t), rounded = gridded_new(t);
    dlx_gptq_result result;
    check(dlx_gptq(&solved, &result, &f, w, t->n, &t->gptq, &t->on, "w", &err), &err);
    check(dlx_grid_round(&rounded, w, t->n, t->k, t->gptq.grid, t->gptq.clip, NULL, &t->on, "w", &err), &err);
    write_gridded(t, &solved, "codes", "scales");
    write_gridded(t, &rounded, "rounded", "rounded_scales");
    dlx_inputs_add(magnitude, x, t->k, t->rows, t->k, &t->on);
    const dlx_awq_weights layer = {.w = w, .n = t->n, .grid = t->gptq.grid};
    const dlx_awq_search a = {.layer = &layer,
                              .layers = 1,
                              .k = t->k,
                              .magnitude = magnitude,
                              .x = x,
                              .x_stride = t->k,
                              .rows = t->rows,
                              .clip = t->gptq.clip};
    dlx_awq_result awq;
    check(dlx_awq_find(s, &awq, &a, &t->on, "w", &err), &err);
    write_all(t, "awq", s, t->k * sizeof *s);
    numbers[0] = (double)f.lambda;
    numbers[1] = result.error;
    numbers[2] = result.energy;
    numbers[3] = (double)awq.exponent;
    numbers[4] = awq.error;
    numbers[5] = awq.before;
    write_all(t, "numbers", numbers, sizeof numbers);
    dlx_factor_free(&f);
    free(magnitude);
    free(x);
    free(w);
    free(s);
}

static size_t number(const char *word)
{
    return (size_t)strtoull(word, NULL, 10);
}

int main(int argc, char **argv)
{
    if (argc != 11) die("expected a folder and nine numbers");
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    task t = {.folder = argv[1],
              .n = number(argv[2]),
              .k = number(argv[3]),
              .rows = number(argv[4]),
              .gptq = {.grid = {.bits = (int)number(argv[5]), .group = number(argv[6])},
                       .clip = number(argv[7]) ? DLX_CLIP_MSE : DLX_CLIP_NONE,
                       .static_groups = number(argv[9]) != 0},
              .factor = {.act_order = number(argv[8]) != 0, .damping = strtof(argv[10], NULL)},
              .on = {.kernels = &kernels}};
    dlx_error err = {0};
    check(dlx_pool_create(&t.on.pool, 2, &err), &err);
    run(&t);
    dlx_pool_free(t.on.pool);
    return 0;
}
