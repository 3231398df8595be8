/*
 * Files of packed weights: written once, mapped by who comes later, never used for another program, other kernels or
 * another layout than they were made for; and a model works where there can be none.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "fail_fixture.h"
#include "shared_folder.h"

#include "engine/model.h"
#include "whole_file.h"

enum { IDS = 5, VOCABULARY = 2048 };

typedef struct paths {
    char program[1024], packs[1024], pack[1400];
} paths;

static paths begin(const char *family, const char *name)
{
    paths p;
    char stem[64];
    snprintf(stem, sizeof stem, "%s.pte", name);
    path_in(p.program, folder.folder, stem);
    path_in(p.packs, folder.folder, name);
    export_tiny(p.program, family, true);
    return p;
}

/* The only file of the folder of pack files. */
static void find_pack(paths *p)
{
    DIR *d = opendir(p->packs);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        snprintf(p->pack, sizeof p->pack, "%s/%s", p->packs, e->d_name);
        n++;
    }
    closedir(d);
    assert_int_equal(n, 1);
}

typedef struct opened {
    dlx_pack_cache_state state;
    char why[sizeof((dlx_error *)0)->message];
    uint64_t shared, packed;
    float logits[IDS * VOCABULARY];
} opened;

static void take(opened *o, dlx_model *m)
{
    static const int32_t ids[IDS] = {3, 1, 4, 0, 5};
    const dlx_model_facts *f = dlx_model_get_facts(m);
    const char *why = NULL;
    dlx_session *s = NULL;
    dlx_memory memory = {.struct_size = sizeof memory};
    dlx_error err = {0};
    assert_in_range(f->vocab_size, 1, VOCABULARY);
    memset(o, 0, sizeof *o);
    dlx_forward_call call = {.struct_size = sizeof call,
                             .ids = ids,
                             .n_ids = IDS,
                             .attn_block = f->attn_block,
                             .n_rows = IDS,
                             .logits = o->logits};
    if (dlx_session_open(&s, m, 0, 0, &err) != DLX_OK || dlx_session_forward(s, &call, &err) != DLX_OK ||
        dlx_model_memory(m, 0, 0, &memory, &err) != DLX_OK)
        fail_msg("%s", err.message);
    dlx_session_close(s);
    o->state = dlx_model_pack_cache(m, &why);
    snprintf(o->why, sizeof o->why, "%s", why);
    o->shared = memory.shared;
    o->packed = memory.packed;
    dlx_model_close(m);
}

static opened open_it(const char *program, const char *packs, const char *cpu)
{
    opened o;
    dlx_model *m = NULL;
    dlx_error err = {0};
    dlx_model_options options = dlx_model_options_default();
    options.threads = 1;
    options.pack_cache = packs;
    options.cpu = cpu;
    if (dlx_model_open(&m, program, &options, &err) != DLX_OK) fail_msg("%s", err.message);
    take(&o, m);
    return o;
}

static void check_shared(const opened *o, dlx_pack_cache_state state, const opened *as)
{
    assert_int_equal(o->state, state);
    assert_string_equal(o->why, "");
    assert_int_equal(o->shared, o->packed);
    assert_memory_equal(o->logits, as->logits, sizeof o->logits);
}

static void made_once_and_found_later(void **state)
{
    paths p = begin("sdar", "once");
    (void)state;
    opened own = open_it(p.program, NULL, NULL);
    assert_int_equal(own.state, DLX_PACK_CACHE_UNASKED);
    assert_int_equal(own.shared, 0);
    opened made = open_it(p.program, p.packs, NULL), found = open_it(p.program, p.packs, NULL);
    check_shared(&made, DLX_PACK_CACHE_MADE, &own);
    check_shared(&found, DLX_PACK_CACHE_FOUND, &own);
    struct stat st;
    find_pack(&p);
    assert_int_equal(stat(p.pack, &st), 0);
    assert_int_equal(st.st_mode & 022, 0);
    assert_in_range(st.st_size, (off_t)own.packed, (off_t)own.packed + 4096);
    opened reference = open_it(p.program, p.packs, "ref"); /* has a file of its own */
    assert_int_equal(reference.state, DLX_PACK_CACHE_MADE);
    found = open_it(p.program, p.packs, NULL);
    check_shared(&found, DLX_PACK_CACHE_FOUND, &own);
}

static void another_program_has_another_file(void **state)
{
    paths p = begin("sdar", "again");
    (void)state;
    opened first = open_it(p.program, p.packs, NULL);
    export_tiny(p.program, "fast_dllm_v2", true); /* in its place */
    opened own = open_it(p.program, NULL, NULL), second = open_it(p.program, p.packs, NULL);
    assert_memory_not_equal(first.logits, second.logits, sizeof first.logits);
    check_shared(&second, DLX_PACK_CACHE_MADE, &own);
    find_pack(&p); /* which took the place of the older one */
}

static void patch(const char *path, off_t at, uint8_t flip)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= flip;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    assert_int_equal(close(fd), 0);
}

/* What does not fit is not believed, and replaced: each byte of the header, a cut file, one that others may write, and
 * a program that was changed where it lies, its size and times of writing as before. */
static void what_does_not_fit_is_replaced(void **state)
{
    paths p = begin("llada", "fit");
    (void)state;
    opened own = open_it(p.program, NULL, NULL), o = open_it(p.program, p.packs, NULL);
    check_shared(&o, DLX_PACK_CACHE_MADE, &own);
    find_pack(&p);
    for (off_t at = 0; at < 96; at += 5) {
        patch(p.pack, at, 0x10);
        o = open_it(p.program, p.packs, NULL);
        check_shared(&o, DLX_PACK_CACHE_MADE, &own);
    }
    assert_int_equal(truncate(p.pack, 5000), 0);
    o = open_it(p.program, p.packs, NULL);
    check_shared(&o, DLX_PACK_CACHE_MADE, &own);
    assert_int_equal(chmod(p.pack, 0666), 0);
    o = open_it(p.program, p.packs, NULL);
    check_shared(&o, DLX_PACK_CACHE_MADE, &own);
    struct stat st;
    assert_int_equal(stat(p.program, &st), 0);
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); /* clocks of file systems tick by the scheduler's */
    patch(p.program, st.st_size - 1, 0);
    assert_int_equal(utimensat(AT_FDCWD, p.program, times, 0), 0);
    o = open_it(p.program, p.packs, NULL);
    check_shared(&o, DLX_PACK_CACHE_MADE, &own);
}

static void works_without(void **state)
{
    paths p = begin("sdar", "without");
    dlx_error err = {0};
    (void)state;
    opened own = open_it(p.program, NULL, NULL), o = open_it(p.program, p.program, NULL); /* no folder */
    assert_int_equal(o.state, DLX_PACK_CACHE_FAILED);
    assert_non_null(strstr(o.why, p.program));
    assert_int_equal(o.shared, 0);
    assert_memory_equal(o.logits, own.logits, sizeof own.logits);

    whole_file file;
    dlx_model *m = NULL;
    dlx_model_options options = dlx_model_options_default();
    options.pack_cache = p.packs;
    assert_int_equal(read_whole_file(&file, p.program, &err), DLX_OK);
    assert_int_equal(dlx_model_open_memory(&m, file.data, file.size, &options, &err), DLX_OK);
    take(&o, m);
    free_whole_file(&file);
    assert_int_equal(o.state, DLX_PACK_CACHE_FAILED);
    assert_non_null(strstr(o.why, "memory"));
    assert_memory_equal(o.logits, own.logits, sizeof own.logits);

    for (int i = 0; i < 2; i++) { /* a descriptor is a file, too */
        int fd = open(p.program, O_RDONLY);
        assert_int_equal(dlx_model_open_fd(&m, fd, &options, &err), DLX_OK);
        close(fd);
        take(&o, m);
        check_shared(&o, i ? DLX_PACK_CACHE_FOUND : DLX_PACK_CACHE_MADE, &own);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_once_and_found_later),
        cmocka_unit_test(another_program_has_another_file),
        cmocka_unit_test(what_does_not_fit_is_replaced),
        cmocka_unit_test(works_without),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_it);
}
