/* Every request for memory that a solver makes is refused once: DLX_E_NOMEM with a sentence, and nothing is lost. What
 * is taken is what the headers say. */
#define _GNU_SOURCE
#include <malloc.h>

#include "solve/awq.h"
#include "solve/gptq.h"
#include "solve/mix.h"
#include "solve_check.h"

static struct {
    bool armed;
    size_t count, fail_at;
    long alive, bytes, most; /* blocks, bytes of them, and the most of these */
} memory;

void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
void __real_free(void *p);
void __wrap_free(void *p);

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    if (memory.armed && ++memory.count == memory.fail_at) return NULL;
    void *p = __real_aligned_alloc(align, n);
    if (p && memory.armed) memset(p, 0x5A, n < 4096 ? n : 4096);
    if (!memory.armed || !p) return p;
    memory.alive++;
    memory.bytes += (long)malloc_usable_size(p);
    if (memory.bytes > memory.most) memory.most = memory.bytes;
    return p;
}

void __wrap_free(void *p)
{
    if (memory.armed && p) {
        memory.alive--;
        memory.bytes -= (long)malloc_usable_size(p);
    }
    __real_free(p);
}

typedef struct layer {
    dlx_solve_on on;
    dlx_factor factor;
    float *x, *w, *s;
    double *magnitude;
    gridded_copy out;
} layer;

enum { N = 20, K = 64, ROWS = 90 };

static dlx_status sum_and_factor(const layer *l, dlx_error *err)
{
    dlx_hessian h;
    dlx_factor f;
    const dlx_factor_options o = {.damping = 0.01f, .act_order = true};
    DLX_TRY(dlx_hessian_begin(&h, K, &l->on, "layer", err));
    dlx_status s = dlx_hessian_add(&h, l->x, K, ROWS, err);
    if (s == DLX_OK) s = dlx_hessian_finish(&h, err);
    if (s == DLX_OK) s = dlx_factor_make(&f, &h, &o, &l->on, "layer", err);
    if (s == DLX_OK) dlx_factor_free(&f);
    dlx_hessian_free(&h);
    return s;
}

static dlx_status energy(const layer *l, dlx_error *err)
{
    double e;
    return dlx_factor_energy(&e, &l->factor, l->w, N, &l->on, "layer", err);
}

static dlx_status gptq(const layer *l, dlx_error *err)
{
    const dlx_gptq_options o = {.grid = {4, 32}, .clip = DLX_CLIP_MSE};
    dlx_gptq_result r;
    dlx_status s = dlx_gptq(&l->out.m, &r, &l->factor, l->w, N, &o, &l->on, "layer", err);
    if (s != DLX_OK) assert_true(r.error == 0 && r.energy == 0);
    return s;
}

static dlx_status scales(const layer *l, dlx_error *err)
{
    const dlx_awq_weights w = {.w = l->w, .n = N, .grid = {4, 32}};
    const dlx_awq_search a = {.layer = &w,
                              .layers = 1,
                              .k = K,
                              .magnitude = l->magnitude,
                              .x = l->x,
                              .x_stride = K,
                              .rows = ROWS};
    dlx_awq_result r;
    return dlx_awq_find(l->s, &r, &a, &l->on, "layer", err);
}

static dlx_status least_error(const layer *l, dlx_error *err)
{
    const dlx_mix_choice choice[2] = {{10, 1}, {20, 0}};
    const dlx_mix_tensor tensor[2] = {{choice, 2, "a"}, {choice, 2, "b"}};
    size_t picked[2];
    dlx_mix_total total;
    (void)l;
    return dlx_mix_least_error(picked, &total, tensor, 2, 30, err);
}

static void check_every_request(const char *what, const layer *l, dlx_status (*run)(const layer *, dlx_error *),
                                size_t requests)
{
    dlx_error err = {0};
    memory.fail_at = 0;
    memory.armed = true;
    memory.count = 0;
    dlx_status s = run(l, &err);
    size_t n = memory.count;
    memory.armed = false;
    if (s != DLX_OK || n < requests) fail_msg("%s: %zu requests, %s", what, n, err.message);
    for (size_t i = 1; i <= n; i++) {
        err = (dlx_error){0};
        memory.count = 0;
        memory.fail_at = i;
        memory.armed = true;
        s = run(l, &err);
        memory.armed = false;
        if (s != DLX_E_NOMEM || err.status != DLX_E_NOMEM || !strstr(err.message, "no memory"))
            fail_msg("%s, request %zu: %s, '%s'", what, i, dlx_status_name(s), err.message);
        if (memory.alive != 0) fail_msg("%s, request %zu: %ld blocks are lost", what, i, memory.alive);
    }
}

static void test_every_request(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    rng r = {61};
    layer l = {.on = {.kernels = &kernels},
               .x = rows_new(&r, ROWS, K),
               .w = weights_new(&r, N, K),
               .s = floats_new(1, K),
               .magnitude = doubles_new(1, K),
               .out = gridded_new((dlx_grid){4, 32}, N, K)};
    l.factor = factor_of(&l.on, l.x, ROWS, K, 0.01f, false);
    dlx_inputs_add(l.magnitude, l.x, K, ROWS, K, &l.on);
    check_every_request("sum and factor", &l, sum_and_factor, 16);
    check_every_request("energy", &l, energy, 5);
    check_every_request("gptq", &l, gptq, 14);
    check_every_request("scales", &l, scales, 6);
    check_every_request("mix", &l, least_error, 3);
    dlx_factor_free(&l.factor);
    gridded_free(&l.out);
    free(l.magnitude);
    free(l.s);
    free(l.w);
    free(l.x);
}

/* What was taken since the last call, at most `stated` and no less than half of it. */
static void check_taken(const char *what, double stated)
{
    memory.armed = false;
    if ((double)memory.most > stated || (double)memory.most < stated / 2)
        fail_msg("%s: %ld bytes taken, %.0f stated", what, memory.most, stated);
    memory.bytes = memory.most = 0;
    memory.armed = true;
}

static void test_stated_memory(void **state)
{
    (void)state;
    enum { WIDE = 1400, OUT = 300, FEW = 64, THREADS = 2 };
    const double wide = WIDE, KiB = 1024, MiB = KiB * KiB, threads = THREADS;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    rng r = {62};
    dlx_solve_on on = on_threads(&kernels, THREADS);
    float *x = rows_new(&r, FEW, WIDE), *w = weights_new(&r, OUT, WIDE), *s = floats_new(1, WIDE);
    double *magnitude = doubles_new(1, WIDE), energy;
    const dlx_gptq_options o = {.grid = {4, 8}};
    const dlx_factor_options fo = {.damping = 0.01f, .act_order = true};
    gridded_copy out = gridded_new(o.grid, OUT, WIDE);
    dlx_gptq_result result;
    dlx_awq_result awq;
    dlx_hessian h;
    dlx_factor f;
    dlx_error err = {0};
    memory.fail_at = 0;
    memory.bytes = memory.most = 0;
    memory.armed = true;
    check_ok(dlx_hessian_begin(&h, WIDE, &on, "layer", &err), &err);
    check_ok(dlx_hessian_add(&h, x, WIDE, FEW, &err), &err);
    check_ok(dlx_hessian_finish(&h, &err), &err);
    check_taken("Hessian", 4 * wide * wide + 4.1 * KiB * wide + 257 * KiB * threads);
    check_ok(dlx_factor_make(&f, &h, &fo, &on, "layer", &err), &err);
    check_taken("factor", 2 * KiB * wide + 2 * MiB + (256 * KiB + 4 * wide) * threads);
    check_ok(dlx_factor_energy(&energy, &f, w, OUT, &on, "layer", &err), &err);
    check_taken("energy", 4.0 * OUT * wide + 1.1 * KiB * wide + 17 * KiB * threads);
    check_ok(dlx_gptq(&out.m, &result, &f, w, OUT, &o, &on, "layer", &err), &err);
    check_taken("GPTQ", 4.0 * OUT * wide + 2 * KiB * wide + 32 * KiB * threads);
    const dlx_awq_weights weights = {.w = w, .n = OUT, .grid = o.grid};
    const dlx_awq_search a = {.layer = &weights,
                              .layers = 1,
                              .k = WIDE,
                              .magnitude = magnitude,
                              .x = x,
                              .x_stride = WIDE,
                              .rows = FEW};
    check_ok(dlx_awq_find(s, &awq, &a, &on, "layer", &err), &err);
    check_taken("AWQ", 8.0 * FEW * wide + 257.0 * (wide + FEW) * threads + 16 * KiB);
    memory.armed = false;
    dlx_factor_free(&f);
    gridded_free(&out);
    dlx_pool_free(on.pool);
    free(magnitude);
    free(x);
    free(w);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_request), cmocka_unit_test(test_stated_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
