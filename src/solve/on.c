#include "solve/on.h"

#include <stdatomic.h>
#include <string.h>

#include "base/bits.h"
#include "base/sizes.h"

/* Magnitudes are compared as integers, so that the loop has no branch. */
bool dlx_solve_not_finite(const float *x, size_t n)
{
    int32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits = (int32_t)(dlx_f32_to_bits(x[i]) & 0x7FFFFFFF);
        most = bits > most ? bits : most;
    }
    return most >= 0x7F800000;
}

typedef struct finite_job {
    const float *x;
    size_t n;
    atomic_size_t first; /* the lowest row that is not; SIZE_MAX */
} finite_job;

static void look_at_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    finite_job *j = arg;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        if (!dlx_solve_not_finite(j->x + i * j->n, j->n)) continue;
        size_t known = atomic_load(&j->first);
        while (i < known && !atomic_compare_exchange_weak(&j->first, &known, i)) {}
        return;
    }
}

dlx_status dlx_solve_check(const dlx_solve_on *on, const float *x, size_t rows, size_t n, const char *what,
                           const char *name, dlx_error *err)
{
    finite_job j = {.x = x, .n = n};
    atomic_init(&j.first, SIZE_MAX);
    dlx_pool_for(on->pool, rows, 16, look_at_rows, &j);
    size_t first = atomic_load(&j.first);
    if (first == SIZE_MAX) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT, "'%s': row %zu of the %s holds NaN or infinity, expected finite numbers", name,
                    first, what);
}

dlx_status dlx_solve_check_size(uint64_t rows, uint64_t columns, const char *name, dlx_error *err)
{
    uint64_t elements, bytes;
    if (rows == 0 || columns == 0)
        return dlx_fail(err, DLX_E_INVALID, "'%s': a matrix of %llu x %llu has no elements", name,
                        (unsigned long long)rows, (unsigned long long)columns);
    if (!dlx_mul_u64(rows, columns, &elements) || !dlx_mul_u64(elements, sizeof(double), &bytes) ||
        bytes > SIZE_MAX / 4)
        return dlx_fail(err, DLX_E_LIMIT, "'%s': a matrix of %llu x %llu does not fit this machine's addresses", name,
                        (unsigned long long)rows, (unsigned long long)columns);
    return DLX_OK;
}

size_t dlx_solve_tile(const dlx_solve_on *on, size_t wanted)
{
    size_t strip = on->kernels->gemm_f32.strip;
    return wanted > strip ? wanted / strip * strip : strip;
}

typedef struct pack_job {
    const dlx_gemm *gemm;
    void *packed;
    dlx_gemm_weights w;
    dlx_gemm_shape s;
} pack_job;

/* The view that pack takes begins at the row it is told. */
static void pack_strips(void *arg, size_t begin, size_t end, size_t thread)
{
    const pack_job *j = arg;
    (void)thread;
    j->gemm->pack(j->packed, &j->w, j->s, begin, end);
}

void dlx_solve_pack(const dlx_solve_on *on, void *packed, const float *w, dlx_gemm_shape s)
{
    const dlx_gemm *gemm = &on->kernels->gemm_f32;
    pack_job j = {.gemm = gemm, .packed = packed, .w = {.w = w}, .s = s};
    dlx_pool_for(on->pool, (s.n_out + gemm->strip - 1) / gemm->strip, 1, pack_strips, &j);
}
