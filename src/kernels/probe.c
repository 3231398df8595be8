/* Measuring a limit of the machine: what is run, how often, and what counts. */
#include "kernels/probe.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/sizes.h"

enum {
    SAMPLES = 7,
    CHUNKS = 32,          /* of each thread: whoever is slow gets fewer */
    READ_CHUNK = 1 << 18, /* bytes, about the packed weights of a strip */
    AHEAD = 8192,         /* bytes: how far ahead products ask for weights */
};
#define READ_BYTES ((size_t)256 << 20)
#define SAMPLE     6e-3 /* seconds of arithmetic */

/* ---- reading ---------------------------------------------------------------------------------------------------- */

typedef struct read_job {
    const uint64_t *p;
    bool ahead;
    _Atomic uint64_t sum; /* of what was read, which somebody has to look at */
} read_job;

static uint64_t fold(const uint64_t *p, size_t n, bool ahead)
{
    uint64_t s[8] = {0};
    for (size_t i = 0; i < n; i += 8) {
        if (ahead) __builtin_prefetch((const uint8_t *)(p + i) + AHEAD, 0, 2); /* behind the end, too: only a hint */
        for (size_t l = 0; l < 8; l++) s[l] ^= p[i + l];
    }
    return s[0] ^ s[1] ^ s[2] ^ s[3] ^ s[4] ^ s[5] ^ s[6] ^ s[7];
}

static void read_chunks(void *arg, size_t begin, size_t end, size_t thread)
{
    read_job *j = arg;
    const uint64_t *from = j->p + begin * (READ_CHUNK / sizeof *from);
    (void)thread;
    j->sum ^= fold(from, (end - begin) * (READ_CHUNK / sizeof *from), j->ahead);
}

static bool always(void)
{
    return true;
}

static void read_plainly(size_t rounds)
{
    (void)rounds;
}
static void read_ahead(size_t rounds)
{
    (void)rounds;
}

static const dlx_probe reads[] = {
    {"plain", DLX_PROBE_READ, always, DLX_ISA_REF, false, 0, read_plainly},
    {"asked for ahead, as products do", DLX_PROBE_READ, always, DLX_ISA_REF, false, 0, read_ahead},
};

/* In huge pages where the system gives them, as weights are. */
static dlx_status measure_read(const dlx_probe *p, dlx_pool *pool, double *per_second, dlx_error *err)
{
    void *m = mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory measuring how fast memory is read (%zu bytes)", READ_BYTES);
#ifdef MADV_HUGEPAGE
    (void)madvise(m, READ_BYTES, MADV_HUGEPAGE);
#endif
    memset(m, 1, READ_BYTES);
    read_job j = {.p = m, .ahead = p->run == read_ahead};
    double best = 0;
    for (int i = 0; i < SAMPLES; i++) {
        double begin = dlx_clock_ms();
        dlx_pool_for(pool, READ_BYTES / READ_CHUNK, 1, read_chunks, &j);
        double rate = 1e3 * (double)READ_BYTES / (dlx_clock_ms() - begin);
        if (rate > best) best = rate;
    }
    (void)munmap(m, READ_BYTES);
    *per_second = best;
    return DLX_OK;
}

/* ---- arithmetic ------------------------------------------------------------------------------------------------- */

typedef struct arithmetic_job {
    void (*run)(size_t rounds);
    size_t rounds;
} arithmetic_job;

static void run_chunks(void *arg, size_t begin, size_t end, size_t thread)
{
    const arithmetic_job *j = arg;
    (void)thread;
    for (size_t i = begin; i < end; i++) j->run(j->rounds);
}

/* Seconds of a loop over all chunks. */
static double run_once(arithmetic_job *j, dlx_pool *pool, size_t chunks)
{
    double begin = dlx_clock_ms();
    dlx_pool_for(pool, chunks, 1, run_chunks, j);
    return 1e-3 * (dlx_clock_ms() - begin);
}

static void measure_arithmetic(const dlx_probe *p, dlx_pool *pool, double *per_second)
{
    size_t chunks = CHUNKS * (size_t)dlx_pool_threads(pool);
    arithmetic_job j = {.run = p->run, .rounds = 64};
    /* A sample is long against starting threads, and against the time that a clock takes to rise. */
    while (run_once(&j, pool, chunks) < SAMPLE && j.rounds < (size_t)1 << 30) j.rounds *= 2;
    for (int i = 0; i < SAMPLES; i++) {
        double rate = p->work * (double)j.rounds * (double)chunks / run_once(&j, pool, chunks);
        if (rate > *per_second) *per_second = rate;
    }
}

const dlx_probe *dlx_probe_at(size_t i)
{
    return i < DLX_COUNT(reads) ? &reads[i] : dlx_probe_loop(i - DLX_COUNT(reads));
}

const char *dlx_probe_kind_name(dlx_probe_kind kind)
{
    static const char *const names[DLX_PROBE_KINDS] = {"read", "int8", "int4", "bf16", "float32"};
    return names[kind];
}

dlx_status dlx_probe_measure(const dlx_probe *p, dlx_pool *pool, double *per_second, dlx_error *err)
{
    *per_second = 0;
    if (!p->present())
        return dlx_fail(err, DLX_E_UNSUPPORTED, "this CPU lacks the instructions of %s (%s)", p->name,
                        dlx_probe_kind_name(p->kind));
    if (p->kind == DLX_PROBE_READ) return measure_read(p, pool, per_second, err);
    measure_arithmetic(p, pool, per_second);
    return DLX_OK;
}
