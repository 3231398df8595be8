/*
 * Memory that runs out on purpose. The linker sends every request for memory (from the heap, an arena or a growing
 * list), a mapping, a thread, a lock or a regular expression that the library's own objects make to the functions below
 * (--wrap, see failures.cmake). They count, keep a balance of what is alive, and refuse the calls that are chosen.
 * jansson's own requests are left alone: its lexer does not notice when its buffer cannot grow.
 *
 * every_request_fails() runs an operation once to learn its requests, then again and again, each time with one request
 * refused (or that one and all behind it), and last without a failure. Where there are thousands, it takes the first
 * and the last request of every call path that no earlier operation of the program had, and some of the others.
 *
 * cmocka comes first.
 */
#ifndef DLX_TESTS_FAIL_MEMORY_H
#define DLX_TESTS_FAIL_MEMORY_H

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/sizes.h"
#include "diffulex_edge/status.h"

typedef enum request_kind {
    REQUEST_HEAP,
    REQUEST_ARENA,
    REQUEST_MAP,
    REQUEST_THREAD,
    REQUEST_LOCK,
    REQUEST_REGEX,
    REQUEST_FOLDER,
    REQUEST_HINT, /* the library may go on without it */
    REQUEST_KINDS
} request_kind;

typedef struct request {
    uint64_t path; /* hash of the call stack inside of the operation, where a function that calls itself counts once */
    size_t number; /* from 1 */
} request;

static struct {
    pthread_t owner; /* the thread that runs the operations */
    int outside;     /* frames of the stack outside of the operation */
    bool armed;      /* requests count */
    size_t count, fail_at, refused, vital;
    bool onwards;    /* everything from fail_at on is refused, not that one alone */
    request *record; /* [count] while learning, else NULL */
    size_t room;
    atomic_size_t elsewhere; /* requests of other threads: their order is not fixed, so there must be none */
    atomic_long alive;       /* blocks, mappings, threads, locks, regular expressions */
    size_t strange;          /* files removed that were not there */
    size_t seen[REQUEST_KINDS];
} memory;

/* ---- what the linker puts in place of the C library -------------------------------------------------------------- */

#define WRAPPED(type, name, ...)                                                                                       \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

/* Which requests are chosen: of an operation that makes no more than FEW all, else the first and, with LAST, the last
 * of each call path, and SAMPLES others; of these, each ONWARDS-th is refused with all behind it as well. Call paths
 * are told apart by their NEAR innermost frames. */
#if defined(__SANITIZE_ADDRESS__) /* five times as slow; what is refused besides, other builds try */
enum { FEW = 20, SAMPLES = 5, LAST = false, ONWARDS = 4, NEAR = 5 };
#else
enum { FEW = 150, SAMPLES = 40, LAST = true, ONWARDS = 2, NEAR = 256 };
#endif

static bool comes_again(void *const *frame, int n)
{
    for (int i = 0; i < n; i++)
        if (frame[i] == frame[n]) return true;
    return false;
}

static void learn(size_t number)
{
    enum { DEPTH = 256, OWN = 2 };
    void *frame[DEPTH];
    if (number > memory.room) {
        memory.room = memory.room ? 2 * memory.room : 1024;
        memory.record = realloc(memory.record, memory.room * sizeof *memory.record);
        assert_non_null(memory.record);
    }
    int depth = backtrace(frame, DEPTH) - memory.outside;
    assert_true(depth > OWN);
    uint64_t hash = 0;
    for (int i = OWN; i < depth && i < OWN + NEAR; i++)
        if (!comes_again(frame, i)) hash = dlx_fnv1a(hash, &frame[i], sizeof frame[i]);
    memory.record[number - 1] = (request){.path = hash, .number = number};
}

static bool refused(request_kind kind)
{
    if (!memory.armed) return false;
    if (!pthread_equal(pthread_self(), memory.owner)) {
        memory.elsewhere++;
        return false;
    }
    size_t number = ++memory.count;
    memory.seen[kind]++;
    if (memory.record) {
        memory.armed = false; /* learning needs memory itself */
        learn(number);
        memory.armed = true;
    }
    if (!memory.fail_at || number < memory.fail_at || (number > memory.fail_at && !memory.onwards)) return false;
    memory.refused++;
    memory.vital += kind != REQUEST_HINT;
    errno = ENOMEM;
    return true;
}

static void *counted(void *p)
{
    memory.alive += p != NULL;
    return p;
}

static int counted_if_zero(int code)
{
    memory.alive += code == 0;
    return code;
}

/* Fresh memory is full of garbage, so that whoever cleans up what was never set is seen. */
WRAPPED(void *, malloc, size_t n)
{
    if (refused(REQUEST_HEAP)) return NULL;
    void *p = __real_malloc(n);
    if (p && memory.armed) memset(p, 0x5A, n < 4096 ? n : 4096);
    return counted(p);
}

WRAPPED(void *, calloc, size_t n, size_t size)
{
    return refused(REQUEST_HEAP) ? NULL : counted(__real_calloc(n, size));
}

WRAPPED(void *, realloc, void *old, size_t n)
{
    if (refused(REQUEST_HEAP)) return NULL;
    void *p = __real_realloc(old, n);
    return old ? p : counted(p);
}

WRAPPED(void *, aligned_alloc, size_t align, size_t n)
{
    return refused(REQUEST_HEAP) ? NULL : counted(__real_aligned_alloc(align, n));
}

WRAPPED(char *, strdup, const char *s)
{
    return refused(REQUEST_HEAP) ? NULL : counted(__real_strdup(s));
}

/* Most of these find room in a block that is there already, so the heap alone would hide who asks. */
WRAPPED(void *, dlx_arena_alloc, dlx_arena *a, size_t size)
{
    return refused(REQUEST_ARENA) ? NULL : __real_dlx_arena_alloc(a, size);
}

WRAPPED(void *, dlx_arena_array, dlx_arena *a, size_t count, size_t size)
{
    return refused(REQUEST_ARENA) ? NULL : __real_dlx_arena_array(a, count, size);
}

WRAPPED(char *, dlx_arena_strndup, dlx_arena *a, const char *s, size_t n)
{
    return refused(REQUEST_ARENA) ? NULL : __real_dlx_arena_strndup(a, s, n);
}

WRAPPED(int, dlx_grow, void *items, size_t *capacity, size_t need, size_t size)
{
    return refused(REQUEST_ARENA) ? -1 : __real_dlx_grow(items, capacity, need, size);
}

WRAPPED(int, dlx_mem_grow, const dlx_allocator *a, void *items, size_t *capacity, size_t need, size_t size)
{
    return refused(REQUEST_ARENA) ? -1 : __real_dlx_mem_grow(a, items, capacity, need, size);
}

WRAPPED(void, free, void *p)
{
    memory.alive -= p != NULL;
    __real_free(p);
}

/* With 64-bit file offsets the C library's headers call mmap64 by that name. */
WRAPPED(void *, mmap64, void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    if (refused(REQUEST_MAP)) return MAP_FAILED;
    void *p = __real_mmap64(at, n, protection, flags, fd, offset);
    memory.alive += p != MAP_FAILED;
    return p;
}

WRAPPED(void *, mmap, void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    return __wrap_mmap64(at, n, protection, flags, fd, offset);
}

WRAPPED(int, munmap, void *p, size_t n)
{
    memory.alive--;
    return __real_munmap(p, n);
}

WRAPPED(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    if (refused(REQUEST_THREAD)) return EAGAIN;
    return counted_if_zero(__real_pthread_create(thread, attributes, run, arg));
}

WRAPPED(int, pthread_join, pthread_t thread, void **result)
{
    memory.alive--;
    return __real_pthread_join(thread, result);
}

WRAPPED(int, pthread_mutex_init, pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    return refused(REQUEST_LOCK) ? ENOMEM : counted_if_zero(__real_pthread_mutex_init(mutex, attributes));
}

WRAPPED(int, pthread_mutex_destroy, pthread_mutex_t *mutex)
{
    memory.alive--;
    return __real_pthread_mutex_destroy(mutex);
}

WRAPPED(int, pthread_cond_init, pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
    return refused(REQUEST_LOCK) ? ENOMEM : counted_if_zero(__real_pthread_cond_init(condition, attributes));
}

WRAPPED(int, pthread_cond_destroy, pthread_cond_t *condition)
{
    memory.alive--;
    return __real_pthread_cond_destroy(condition);
}

WRAPPED(DIR *, opendir, const char *path)
{
    return refused(REQUEST_FOLDER) ? NULL : counted(__real_opendir(path));
}

/* Only what others left behind is looked for. */
WRAPPED(DIR *, fdopendir, int fd)
{
    return refused(REQUEST_HINT) ? NULL : counted(__real_fdopendir(fd));
}

WRAPPED(int, closedir, DIR *d)
{
    memory.alive--;
    return __real_closedir(d);
}

WRAPPED(int, unlinkat, int folder, const char *path, int flags)
{
    int code = __real_unlinkat(folder, path, flags);
    memory.strange += memory.armed && code != 0 && !(flags & AT_REMOVEDIR); /* that asks, and removes nothing */
    return code;
}

/* PCRE2 asks the C library itself; these are the calls that do so. */
WRAPPED(pcre2_code *, pcre2_compile_8, PCRE2_SPTR pattern, PCRE2_SIZE n, uint32_t options, int *code, PCRE2_SIZE *at,
        pcre2_compile_context *context)
{
    if (!refused(REQUEST_REGEX)) return counted(__real_pcre2_compile_8(pattern, n, options, code, at, context));
    *code = PCRE2_ERROR_HEAP_FAILED;
    *at = 0;
    return NULL;
}

WRAPPED(void, pcre2_code_free_8, pcre2_code *code)
{
    memory.alive -= code != NULL;
    __real_pcre2_code_free_8(code);
}

WRAPPED(pcre2_match_context *, pcre2_match_context_create_8, pcre2_general_context *context)
{
    return refused(REQUEST_REGEX) ? NULL : counted(__real_pcre2_match_context_create_8(context));
}

WRAPPED(void, pcre2_match_context_free_8, pcre2_match_context *context)
{
    memory.alive -= context != NULL;
    __real_pcre2_match_context_free_8(context);
}

WRAPPED(pcre2_match_data *, pcre2_match_data_create_8, uint32_t pairs, pcre2_general_context *context)
{
    return refused(REQUEST_REGEX) ? NULL : counted(__real_pcre2_match_data_create_8(pairs, context));
}

WRAPPED(void, pcre2_match_data_free_8, pcre2_match_data *data)
{
    memory.alive -= data != NULL;
    __real_pcre2_match_data_free_8(data);
}

WRAPPED(int, pcre2_match_8, const pcre2_code *code, PCRE2_SPTR text, PCRE2_SIZE n, PCRE2_SIZE at, uint32_t options,
        pcre2_match_data *data, pcre2_match_context *context)
{
    return refused(REQUEST_REGEX) ? PCRE2_ERROR_NOMEMORY
                                  : __real_pcre2_match_8(code, text, n, at, options, data, context);
}

WRAPPED(int, pcre2_jit_compile_8, pcre2_code *code, uint32_t options)
{
    return refused(REQUEST_HINT) ? PCRE2_ERROR_NOMEMORY : __real_pcre2_jit_compile_8(code, options);
}

/* ---- failing every request of an operation ----------------------------------------------------------------------- */

/* Sets its results to something that is not NULL or 0, makes the call, and gives back what it got. Where the call
 * failed, it asserts that the results are NULL or 0 and that nothing else has changed; where it succeeded, that the
 * answer is right. */
typedef dlx_status (*operation)(void *ctx, dlx_error *err);

/* The call to watch: requests count and fail inside this macro only. */
#define WATCHED(status, call)                                                                                          \
    do {                                                                                                               \
        memory.armed = true;                                                                                           \
        (status) = (call);                                                                                             \
        memory.armed = false;                                                                                          \
    } while (0)

/* The number that the next open file gets: it grows when one was left open. */
static int next_file_number(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    close(fd);
    return fd;
}

static dlx_status run_operation(operation run, void *ctx, size_t fail_at, bool onwards, dlx_error *err)
{
    void *frame[64];
    memory.owner = pthread_self();
    memory.outside = backtrace(frame, DLX_COUNT(frame));
    memory.count = memory.refused = memory.vital = memory.strange = 0;
    memory.fail_at = fail_at;
    memory.onwards = onwards;
    long alive = memory.alive;
    int fd = next_file_number();
    dlx_status s = run(ctx, err);
    if (memory.alive != alive)
        fail_msg("request %zu of %zu %s: %ld things more are alive than before", fail_at, memory.count,
                 s == DLX_OK ? "succeeded" : "failed", (long)(memory.alive - alive));
    assert_int_equal(next_file_number(), fd);
    assert_int_equal(memory.elsewhere, 0);
    assert_int_equal(memory.strange, 0);
    return s;
}

static int by_path(const void *a, const void *b)
{
    const request *x = a, *y = b;
    if (x->path != y->path) return x->path < y->path ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Hashes of the call paths that were refused so far, in any operation. */
static struct {
    uint64_t *path;
    size_t n, room;
} known;

static bool is_known(uint64_t path, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (known.path[i] == path) return true;
    return false;
}

static void remember(uint64_t path)
{
    if (known.n == known.room) {
        known.room = known.room ? 2 * known.room : 1024;
        known.path = realloc(known.path, known.room * sizeof *known.path);
        assert_non_null(known.path);
    }
    known.path[known.n++] = path;
}

/* Marks the requests worth failing; gives back how many call paths there are that were not known. */
static size_t choose(bool *chosen, request *r, size_t n)
{
    size_t before = known.n;
    qsort(r, n, sizeof *r, by_path);
    bool fresh = true;
    for (size_t i = 0; i < n; i++) {
        bool first = i == 0 || r[i].path != r[i - 1].path, last = i + 1 == n || r[i + 1].path != r[i].path;
        if (first) fresh = !is_known(r[i].path, before);
        chosen[r[i].number] = (fresh && (first || (last && LAST))) || n <= FEW || r[i].number % (n / SAMPLES) == 0;
        if (first && fresh) remember(r[i].path);
    }
    return known.n - before;
}

static void expect_failure(const char *what, size_t at, dlx_status s, const dlx_error *err)
{
    assert_true(memory.refused > 0); /* else the requests are not what they were */
    if (s == DLX_OK) {
        if (memory.vital) fail_msg("%s: request %zu was refused and nobody noticed", what, at);
        return;
    }
    if (s != DLX_E_NOMEM)
        fail_msg("%s: refusing request %zu gives '%s': %s", what, at, dlx_status_name(s), err ? err->message : "");
    if (!err) return;
    assert_int_equal(err->status, s);
    if (strlen(err->message) < 10 || strstr(err->message, "(null)"))
        fail_msg("%s: refusing request %zu gives no sentence: '%s'", what, at, err->message);
}

static void every_request_fails(const char *what, operation run, void *ctx)
{
    dlx_error err = {0};
    memory.room = 1024;
    memory.record = malloc(memory.room * sizeof *memory.record);
    assert_non_null(memory.record);
    if (run_operation(run, ctx, 0, false, &err) != DLX_OK) fail_msg("%s: %s", what, err.message);
    size_t n = memory.count, tried = 0;
    request *record = memory.record;
    memory.record = NULL;
    assert_true(n > 0);
    bool *chosen = calloc(n + 1, sizeof *chosen);
    assert_non_null(chosen);
    size_t paths = choose(chosen, record, n);
    free(record);
    for (size_t at = 1; at <= n; at++) {
        if (!chosen[at]) continue;
        err = (dlx_error){0};
        expect_failure(what, at, run_operation(run, ctx, at, false, &err), &err);
        tried++;
        if (tried % ONWARDS) continue;
        expect_failure(what, at, run_operation(run, ctx, at, true, NULL), NULL);
    }
    free(chosen);
    err = (dlx_error){0};
    if (run_operation(run, ctx, 0, false, &err) != DLX_OK) fail_msg("%s, after failures: %s", what, err.message);
    assert_int_equal(memory.count, n);
    print_message("%-52s %6zu requests, %4zu new paths, %4zu refused\n", what, n, paths, tried);
}

/* The operation makes no request at all. */
static inline void no_request_is_made(const char *what, operation run, void *ctx)
{
    dlx_error err = {0};
    if (run_operation(run, ctx, 0, false, &err) != DLX_OK) fail_msg("%s: %s", what, err.message);
    assert_int_equal(memory.count, 0);
}

/* The wrapping works, for these kinds (1 << kind). A test of its own, the last one: the status of a program does not
 * show that what ends its group failed. */
static inline void assert_seen(unsigned kinds)
{
    for (int kind = 0; kind < REQUEST_KINDS; kind++)
        if (kinds >> kind & 1) assert_true(memory.seen[kind] > 0);
}

static inline void poison(void *p, size_t n)
{
    memset(p, 0x5A, n);
}

static inline void assert_zero(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) assert_int_equal(((const uint8_t *)p)[i], 0);
}

#endif
