/*
 * Copies of the tiny checkpoints that a test may damage: a temporary folder of links to the originals, in which single
 * files are replaced. Everything asserts; the folder goes with remove_copy.
 */
#ifndef DLX_TESTS_CHECKPOINT_COPY_H
#define DLX_TESTS_CHECKPOINT_COPY_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "format/json/json_file.h"
#include "format/safetensors.h"
#include "tensors_in_memory.h"

#define TINY(name) DLX_TEST_DATA "/checkpoints/" name "-tiny"

/* A call that must succeed; `err` in it is the place for its sentence. */
#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        dlx_error check_err = {0};                                                                                     \
        dlx_error *err = &check_err;                                                                                   \
        if ((call) != DLX_OK) fail_msg("%s", err->message);                                                            \
    } while (0)

typedef struct copy {
    char folder[256];
} copy;

static inline void path_in(char out[1024], const char *folder, const char *file)
{
    int n = snprintf(out, 1024, "%s/%s", folder, file);
    assert_true(n > 0 && n < 1024);
}

static inline copy new_folder(void)
{
    copy c;
    const char *tmp = getenv("TMPDIR");
    int n = snprintf(c.folder, sizeof c.folder, "%s/dlx-model-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    assert_true(n > 0 && (size_t)n < sizeof c.folder);
    assert_non_null(mkdtemp(c.folder));
    return c;
}

static inline copy copy_checkpoint(const char *original)
{
    copy c = new_folder();
    char from[1024], to[1024];
    DIR *d = opendir(original);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        path_in(from, original, e->d_name);
        path_in(to, c.folder, e->d_name);
        assert_int_equal(symlink(from, to), 0);
    }
    closedir(d);
    return c;
}

static inline void remove_tree(const char *folder)
{
    char path[1024];
    struct stat st;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        path_in(path, folder, e->d_name);
        assert_int_equal(lstat(path, &st), 0);
        if (S_ISDIR(st.st_mode))
            remove_tree(path);
        else
            assert_int_equal(unlink(path), 0);
    }
    closedir(d);
    assert_int_equal(rmdir(folder), 0);
}

static inline void remove_copy(const copy *c)
{
    remove_tree(c->folder);
}

static inline void remove_file(const copy *c, const char *file)
{
    char path[1024];
    path_in(path, c->folder, file);
    assert_int_equal(unlink(path), 0);
}

static inline void write_text(const copy *c, const char *file, const char *text)
{
    char path[1024];
    path_in(path, c->folder, file);
    unlink(path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* Sets a key of a JSON file to the value written in `text`; NULL takes the key away. A file that is missing starts as
 * {}. */
static inline void edit_json(const copy *c, const char *file, const char *key, const char *text)
{
    char path[1024];
    path_in(path, c->folder, file);
    json_t *root;
    if (dlx_json_load(&root, path, 1 << 24, NULL) != DLX_OK) root = json_object();
    if (text) {
        json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_non_null(value);
        assert_int_equal(json_object_set_new(root, key, value), 0);
    } else {
        assert_int_equal(json_object_del(root, key), 0);
    }
    char *dumped = json_dumps(root, 0);
    assert_non_null(dumped);
    write_text(c, file, dumped);
    free(dumped);
    json_decref(root);
}

/* Called for every tensor of the file; may change it, or return false to leave it out. */
typedef bool (*edit_tensor)(void *ctx, dlx_st_tensor *t);

/* Rewrites a safetensors file. `extra`, where given, is one more tensor. */
static inline void edit_tensors(const copy *c, const char *file, edit_tensor edit, void *ctx,
                                const dlx_st_tensor *extra)
{
    char path[1024];
    dlx_arena arena;
    dlx_safetensors st;
    dlx_error err = {0};
    path_in(path, c->folder, file);
    dlx_arena_init(&arena);
    if (dlx_safetensors_open(&st, &arena, path, &err) != DLX_OK) fail_msg("%s", err.message);
    take_tensors(&st, &arena);
    dlx_st_tensor *kept = calloc(st.n_tensors + 1, sizeof *kept);
    size_t n = 0;
    assert_non_null(kept);
    for (size_t i = 0; i < st.n_tensors; i++) {
        kept[n] = st.tensors[i];
        n += !edit || edit(ctx, &kept[n]);
    }
    if (extra) kept[n++] = *extra;
    assert_int_equal(unlink(path), 0); /* the link alone */
    if (dlx_safetensors_write(path, kept, n, &err) != DLX_OK) fail_msg("%s", err.message);
    free(kept);
    dlx_safetensors_close(&st);
    dlx_arena_free(&arena);
}

#endif
