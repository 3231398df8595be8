/*
 * The operating system refuses: every call that exporting, writing logits, opening and describing make to files fails
 * once, with errors that disks and systems have. Each failure is a sentence that names the file and says what the
 * system said, leaves an older target as it was and nothing beside it, and the same call succeeds afterwards. Calls
 * that the system interrupts or carries out in part are finished.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>

#include "fail_fixture.h"

#include "base/sizes.h"

/* ---- the calls, as the linker sends them here (--wrap, see failures.cmake) --------------------------------------- */

typedef enum call {
    OPEN, /* what is read, and the folder of an output */
    CREATE,
    NAMELESS, /* creation of a file without a name */
    SWEEP,    /* looking for leftovers */
    STAT,
    READ,
    WRITE,
    SYNC,
    CLOSE,
    RENAME,
    LINK,
    MODE,
    ACCESS,
    CALLS
} call;

enum { HALF = -1 }; /* instead of an error: half of the bytes, and no error */

static struct {
    bool armed;
    bool named;         /* no file can be created without a name */
    const char *target; /* path of the output */
    call which;
    size_t count[CALLS]; /* since arming */
    size_t fail_at;      /* the call of that kind that fails, from 1 */
    int error;           /* errno, or HALF */
    bool failed;
    char path[1024];         /* of the file that it was about */
    char opened[1024][1024]; /* path behind each open file */
} calls;

#define WRAPPED(type, name, ...)                                                                                       \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

static bool fails(call which, const char *path)
{
    if (!calls.armed || ++calls.count[which] != calls.fail_at || which != calls.which) return false;
    calls.failed = true;
    snprintf(calls.path, sizeof calls.path, "%s", path);
    if (calls.error != HALF) errno = calls.error;
    return true;
}

static const char *path_behind(int fd)
{
    return fd >= 0 && (size_t)fd < DLX_COUNT(calls.opened) ? calls.opened[fd] : "";
}

/* With 64-bit file offsets the C library's headers call open64, fstat64 and mmap64 by that name. */
WRAPPED(int, open64, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (fails(OPEN, path)) return -1;
    int fd = __real_open64(path, flags, mode);
    if (fd >= 0 && (size_t)fd < DLX_COUNT(calls.opened))
        snprintf(calls.opened[fd], sizeof calls.opened[fd], "%s", path);
    return fd;
}

WRAPPED(int, fstat64, int fd, struct stat *st)
{
    return fails(STAT, path_behind(fd)) ? -1 : __real_fstat64(fd, st);
}

/* Below the folder of an output; what is created there is known by the target's name. */
WRAPPED(int, openat64, int folder, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    bool nameless = (flags & O_TMPFILE) == O_TMPFILE, creates = nameless || flags & O_CREAT;
    mode_t mode = creates ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (fails(nameless ? NAMELESS : creates ? CREATE : SWEEP, calls.target)) return -1;
    if (nameless && calls.armed && calls.named) {
        errno = EOPNOTSUPP;
        return -1;
    }
    int fd = __real_openat64(folder, path, flags, mode);
    if (creates && fd >= 0 && (size_t)fd < DLX_COUNT(calls.opened))
        snprintf(calls.opened[fd], sizeof calls.opened[fd], "%s.tmp-", calls.target);
    return fd;
}

WRAPPED(ssize_t, pread64, int fd, void *to, size_t n, off_t at)
{
    if (!fails(READ, path_behind(fd))) return __real_pread64(fd, to, n, at);
    return calls.error == HALF ? __real_pread64(fd, to, (n + 1) / 2, at) : -1;
}

WRAPPED(ssize_t, write, int fd, const void *data, size_t n)
{
    if (!fails(WRITE, path_behind(fd))) return __real_write(fd, data, n);
    return calls.error == HALF ? __real_write(fd, data, (n + 1) / 2) : -1;
}

WRAPPED(ssize_t, pwrite64, int fd, const void *data, size_t n, off_t at)
{
    if (!fails(WRITE, path_behind(fd))) return __real_pwrite64(fd, data, n, at);
    return calls.error == HALF ? __real_pwrite64(fd, data, (n + 1) / 2, at) : -1;
}

WRAPPED(int, fsync, int fd)
{
    return fails(SYNC, path_behind(fd)) ? -1 : __real_fsync(fd);
}

/* A close that fails has closed the file all the same. Files that were only read lose nothing by it. */
WRAPPED(int, close, int fd)
{
    bool written = strstr(path_behind(fd), ".tmp-") != NULL;
    int code = __real_close(fd);
    bool failed = written && fails(CLOSE, path_behind(fd));
    if (fd >= 0 && (size_t)fd < DLX_COUNT(calls.opened)) calls.opened[fd][0] = '\0';
    return failed ? -1 : code;
}

WRAPPED(int, renameat, int from_folder, const char *from, int to_folder, const char *to)
{
    return fails(RENAME, calls.target) ? -1 : __real_renameat(from_folder, from, to_folder, to);
}

WRAPPED(int, linkat, int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    return fails(LINK, calls.target) ? -1 : __real_linkat(from_folder, from, to_folder, to, flags);
}

/* What is removed is there; but for the question whether an older file can be replaced, which removes nothing. */
WRAPPED(int, unlinkat, int folder, const char *path, int flags)
{
    int code = __real_unlinkat(folder, path, flags);
    assert_int_equal(code, flags & AT_REMOVEDIR ? -1 : 0);
    return code;
}

WRAPPED(int, fchmod, int fd, mode_t mode)
{
    return fails(MODE, calls.target) ? -1 : __real_fchmod(fd, mode);
}

/* Nobody may give files away. */
WRAPPED(int, fchown, int fd, uid_t user, gid_t group)
{
    if (!calls.armed) return __real_fchown(fd, user, group);
    errno = EPERM;
    return -1;
}

WRAPPED(int, faccessat, int folder, const char *path, int mode, int flags)
{
    return fails(ACCESS, calls.target) ? -1 : __real_faccessat(folder, path, mode, flags);
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

typedef struct work {
    target target;
    char checkpoint[1024], program[1024];
    bool int8;
} work;

/* Makes the call between arm() and disarm(), and asserts that a failure changed nothing. */
typedef dlx_status (*operation)(work *w, dlx_error *err);

#define WATCHED(status, call)                                                                                          \
    do {                                                                                                               \
        calls.armed = true;                                                                                            \
        (status) = (call);                                                                                             \
        calls.armed = false;                                                                                           \
    } while (0)

static dlx_status export_it(work *w, dlx_error *err)
{
    dlx_export_options o = tiny_export(w->checkpoint, w->target.path, w->int8);
    dlx_export_result result = {.struct_size = sizeof result};
    dlx_status s;
    WATCHED(s, dlx_export(&o, &result, err));
    if (s == DLX_OK)
        assert_target_written(&w->target, result.file_bytes);
    else
        assert_target_untouched(&w->target);
    return s;
}

/* More than the write buffer holds. */
static dlx_status write_logits(work *w, dlx_error *err)
{
    enum { ROWS = 3, VOCAB = 150000 };
    static float logits[ROWS * VOCAB];
    dlx_status s;
    WATCHED(s, dlx_write_logits(w->target.path, logits, ROWS, VOCAB, err));
    if (s != DLX_OK) {
        assert_target_untouched(&w->target);
        return s;
    }
    dlx_safetensors st;
    dlx_arena arena;
    dlx_arena_init(&arena);
    assert_int_equal(dlx_safetensors_open(&st, &arena, w->target.path, err), DLX_OK);
    assert_int_equal(st.tensors[0].bytes, sizeof logits);
    dlx_safetensors_close(&st);
    dlx_arena_free(&arena);
    return s;
}

/* What `run --output` writes with. */
static dlx_status write_tensors(work *w, dlx_error *err)
{
    enum { N = 300000 };
    static float numbers[N];
    static const char *const names[] = {"output_0", "output_1"};
    const dlx_tensor tensors[] = {
        {.struct_size = sizeof *tensors, .element = DLX_ELEMENT_FLOAT32, .rank = 1, .size = {N}, .data = numbers},
        {.struct_size = sizeof *tensors, .element = DLX_ELEMENT_FLOAT32, .data = numbers},
    };
    dlx_status s;
    WATCHED(s, dlx_write_tensors(w->target.path, names, tensors, DLX_COUNT(tensors), err));
    if (s != DLX_OK)
        assert_target_untouched(&w->target);
    else
        assert_int_equal(access(w->target.path, R_OK), 0);
    return s;
}

static dlx_status open_model(work *w, dlx_error *err)
{
    dlx_model *m = (dlx_model *)1;
    dlx_status s;
    WATCHED(s, dlx_model_open(&m, w->program, NULL, err));
    if (s != DLX_OK) assert_null(m);
    dlx_model_close(m);
    return s;
}

static dlx_status open_tokenizer(work *w, dlx_error *err)
{
    dlx_tokenizer *t = (dlx_tokenizer *)1;
    dlx_status s;
    WATCHED(s, dlx_tokenizer_open_folder(&t, w->checkpoint, err));
    if (s != DLX_OK) assert_null(t);
    dlx_tokenizer_close(t);
    return s;
}

static dlx_status open_packed_tokenizer(work *w, dlx_error *err)
{
    dlx_tokenizer *t = (dlx_tokenizer *)1;
    dlx_status s;
    WATCHED(s, dlx_tokenizer_open_pte(&t, w->program, err));
    if (s != DLX_OK) assert_null(t);
    dlx_tokenizer_close(t);
    return s;
}

static dlx_status inspect(work *w, dlx_error *err)
{
    char *text = (char *)1;
    dlx_status s;
    WATCHED(s, dlx_inspect(w->program, true, NULL, &text, err));
    if (s != DLX_OK) assert_null(text);
    dlx_free(text);
    return s;
}

/* ---- failing them ------------------------------------------------------------------------------------------------ */

static int next_file_number(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    close(fd);
    return fd;
}

static dlx_status run(operation operate, work *w, call which, size_t at, int error, dlx_error *err)
{
    memset(calls.count, 0, sizeof calls.count);
    calls.target = w->target.path;
    calls.which = which;
    calls.fail_at = at;
    calls.error = error;
    calls.failed = false;
    *err = (dlx_error){0};
    int fd = next_file_number();
    dlx_status s = operate(w, err);
    assert_int_equal(next_file_number(), fd);
    return s;
}

/* The sentence names the file (the target, where its temporary one failed) and says what the system said. */
static void expect_sentence(const work *w, dlx_status s, int error, const dlx_error *err)
{
    const char *path = strstr(calls.path, w->target.path) == calls.path ? w->target.path : calls.path;
    assert_int_equal(s, DLX_E_IO);
    assert_int_equal(err->status, s);
    if (!strstr(err->message, path) || !strstr(err->message, strerror(error)))
        fail_msg("'%s' (%s) is not in: %s", path, strerror(error), err->message);
}

/* Where everything is slow, every seventh read is disturbed, with an older target or not: weights' are alike. */
static size_t step_of(call which)
{
    return DLX_SLOW && which == READ ? 7 : 1;
}

/* Every call of one kind fails once with `error`, with an older target and without; gives back how many there were. */
static size_t fail_each(operation operate, work *w, call which, int error)
{
    dlx_error err;
    size_t n = 0, step = step_of(which);
    do {
        n += n ? step : 1;
        for (int older_file = 0; older_file < 2; older_file++) {
            if (step > 1 && older_file != (int)(n % 2)) continue;
            reset_target(&w->target, older_file);
            dlx_status s = run(operate, w, which, n, error, &err);
            if (calls.failed) expect_sentence(w, s, error, &err);
            if (!calls.failed && s != DLX_OK) fail_msg("after failures: %s", err.message);
        }
    } while (calls.failed);
    return n - 1;
}

/* Every call of one kind is carried out in another way, which is no failure. */
static size_t disturb_each(operation operate, work *w, call which, int how)
{
    dlx_error err;
    size_t n = 0;
    do {
        n += n ? step_of(which) : 1;
        reset_target(&w->target, n % 2);
        if (run(operate, w, which, n, how, &err) != DLX_OK) fail_msg("%s", err.message);
    } while (calls.failed);
    return n - 1;
}

static int prepare(void **state)
{
    static work w;
    w.target = new_target("target.out");
    copy programs = new_folder();
    path_in(w.program, programs.folder, "sdar.pte");
    export_tiny(w.program, "sdar", false);
    *state = &w;
    return 0;
}

static int clean_up(void **state)
{
    work *w = *state;
    remove_target(&w->target);
    *strrchr(w->program, '/') = '\0';
    remove_tree(w->program);
    return 0;
}

/* Failures of what an output does, in both ways of creating it. */
static void fail_output(operation operate, work *w, size_t writes)
{
    for (int named = 0; named < 2; named++) {
        calls.named = named;
        assert_true(fail_each(operate, w, WRITE, ENOSPC) >= writes);
        assert_int_equal(fail_each(operate, w, SYNC, EIO), 1);
        assert_int_equal(fail_each(operate, w, CLOSE, ENOSPC), 1);
        assert_int_equal(fail_each(operate, w, RENAME, EACCES), 1);
        assert_int_equal(fail_each(operate, w, MODE, EPERM), 1);
        assert_int_equal(fail_each(operate, w, ACCESS, EACCES), 1);
        if (named) assert_int_equal(fail_each(operate, w, CREATE, EROFS), 1);
        if (named) assert_int_equal(disturb_each(operate, w, CREATE, EEXIST), 1);    /* another name is taken */
        if (!named) assert_int_equal(disturb_each(operate, w, NAMELESS, EISDIR), 1); /* an old kernel */
        if (!named) assert_true(disturb_each(operate, w, LINK, EXDEV) >= 1);         /* copied */
        assert_int_equal(disturb_each(operate, w, SWEEP, EACCES), 1);
        assert_int_equal(disturb_each(operate, w, SYNC, EINVAL), 1); /* not every file system can */
        assert_true(disturb_each(operate, w, WRITE, EINTR) >= writes);
        assert_true(disturb_each(operate, w, WRITE, HALF) >= writes);
    }
    calls.named = false;
}

static void exports(void **state)
{
    work *w = *state;
    static const char *const checkpoints[] = {"sdar", "fast_dllm_v2"};
    for (size_t i = 0; i < DLX_COUNT(checkpoints); i++) {
        checkpoint_of(w->checkpoint, checkpoints[i]);
        w->int8 = i == 1;
        fail_output(export_it, w, w->int8 ? 1 : 2);
        assert_true(fail_each(export_it, w, OPEN, EMFILE) >= 5);
        assert_true(fail_each(export_it, w, READ, EIO) >= 30); /* every weight */
        assert_true(fail_each(export_it, w, STAT, EIO) >= 3);
        for (int how = HALF; how != 0; how = how == HALF ? EINTR : 0)
            assert_true(disturb_each(export_it, w, READ, how) >= 30);
    }
}

static void logits(void **state)
{
    static const int errors[] = {ENOSPC, EIO, EDQUOT, EFBIG};
    work *w = *state;
    fail_output(write_logits, w, 2);
    for (size_t i = 0; i < DLX_COUNT(errors); i++) {
        assert_true(fail_each(write_logits, w, WRITE, errors[i]) >= 2);
        assert_int_equal(fail_each(write_logits, w, SYNC, errors[i]), 1);
        assert_int_equal(fail_each(write_logits, w, CLOSE, errors[i]), 1);
    }
    assert_int_equal(fail_each(write_logits, w, OPEN, EROFS), 1);
    assert_int_equal(fail_each(write_logits, w, RENAME, EIO), 1);
}

static void tensors(void **state)
{
    fail_output(write_tensors, *state, 2);
}

/* A file whose owner and group cannot be kept opens to nobody who could not read the older one. */
static void rights_of_others_are_not_passed_on(void **state)
{
    work *w = *state;
    dlx_error err;
    struct stat st;
    if (geteuid() != 0) skip();
    reset_target(&w->target, true);
    assert_int_equal(chown(w->target.path, 12, 34), 0);
    assert_int_equal(chmod(w->target.path, 0664), 0);
    w->target.exists = false; /* its permissions change */
    assert_int_equal(run(write_logits, w, CALLS, 0, 0, &err), DLX_OK);
    assert_int_equal(stat(w->target.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
}

/* The write that fails lets earlier bytes of a large file through. */
static void bytes_written_so_far_are_told(void **state)
{
    work *w = *state;
    dlx_error err;
    reset_target(&w->target, true);
    assert_int_equal(run(write_logits, w, WRITE, 2, ENOSPC, &err), DLX_E_IO);
    assert_true(calls.failed);
    assert_non_null(strstr(err.message, "bytes were written"));
    assert_null(strstr(err.message, "(0 bytes"));
}

static void reading(void **state)
{
    work *w = *state;
    static const operation of_programs[] = {open_model, open_packed_tokenizer, inspect};
    checkpoint_of(w->checkpoint, "sdar");
    reset_target(&w->target, false);
    for (size_t i = 0; i < DLX_COUNT(of_programs); i++) {
        assert_true(fail_each(of_programs[i], w, OPEN, EMFILE) >= 1);
        assert_true(fail_each(of_programs[i], w, STAT, EIO) >= 1);
        assert_true(fail_each(of_programs[i], w, READ, EIO) >= 2);
        assert_true(disturb_each(of_programs[i], w, READ, EINTR) >= 2);
        assert_true(disturb_each(of_programs[i], w, READ, HALF) >= 2);
    }
    assert_true(fail_each(open_tokenizer, w, OPEN, ENFILE) >= 4);
    assert_true(fail_each(open_tokenizer, w, STAT, EIO) >= 4);
    assert_true(fail_each(open_tokenizer, w, READ, EIO) >= 4);
    assert_true(disturb_each(open_tokenizer, w, READ, EINTR) >= 4);
    assert_true(disturb_each(open_tokenizer, w, READ, HALF) >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exports),
        cmocka_unit_test(logits),
        cmocka_unit_test(tensors),
        cmocka_unit_test(rights_of_others_are_not_passed_on),
        cmocka_unit_test(bytes_written_so_far_are_told),
        cmocka_unit_test(reading),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
