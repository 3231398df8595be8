/*
 * What the tests of failures work on: programs exported from the tiny checkpoints into a temporary folder, and a target
 * file that must not change. Everything asserts. cmocka comes first.
 */
#ifndef DLX_TESTS_FAIL_FIXTURE_H
#define DLX_TESTS_FAIL_FIXTURE_H

#include "checkpoint_copy.h"
#include "diffulex_edge/diffulex_edge.h"

enum { TINY_CONTEXT = 64, FAMILIES = 4 };

static const char *const families[FAMILIES] = {"llada", "dream", "sdar", "fast_dllm_v2"};

static inline void checkpoint_of(char out[1024], const char *family)
{
    int n = snprintf(out, 1024, "%s/%s-tiny", DLX_TEST_DATA "/checkpoints", family);
    assert_true(n > 0 && n < 1024);
}

static inline dlx_export_options tiny_export(const char *checkpoint, const char *output, bool int8)
{
    dlx_export_options o = dlx_export_options_default();
    o.model_path = checkpoint;
    o.output_path = output;
    o.quantization = int8 ? "int8-dynamic" : "none";
    o.max_seq_len = TINY_CONTEXT;
    return o;
}

static inline void export_tiny(const char *output, const char *family, bool int8)
{
    char checkpoint[1024];
    dlx_error err = {0};
    checkpoint_of(checkpoint, family);
    dlx_export_options o = tiny_export(checkpoint, output, int8);
    if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s: %s", family, err.message);
}

/* ---- a target that must not change ------------------------------------------------------------------------------- */

static const char older[] = "an older file";

typedef struct target {
    char folder[256]; /* holds nothing but the target */
    char path[1024];
    bool exists; /* an older file lies there */
} target;

static inline target new_target(const char *name)
{
    target t = {.exists = false};
    copy c = new_folder();
    memcpy(t.folder, c.folder, sizeof t.folder);
    path_in(t.path, t.folder, name);
    return t;
}

enum { OLDER_MODE = 0640 };

/* Without an older file, or with one. */
static inline void reset_target(target *t, bool exists)
{
    unlink(t->path);
    t->exists = exists;
    if (!exists) return;
    FILE *f = fopen(t->path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(older, 1, sizeof older, f), sizeof older);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(t->path, OLDER_MODE), 0);
}

static inline size_t files_beside(const target *t)
{
    size_t n = 0;
    DIR *d = opendir(t->folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

/* As reset_target left it, and nothing beside it. */
static inline void assert_target_untouched(const target *t)
{
    char text[sizeof older + 1];
    assert_int_equal(files_beside(t), t->exists);
    FILE *f = fopen(t->path, "rb");
    assert_int_equal(f != NULL, t->exists);
    if (!f) return;
    assert_int_equal(fread(text, 1, sizeof text, f), sizeof older);
    assert_memory_equal(text, older, sizeof older);
    fclose(f);
}

/* A new file of `bytes` bytes with the permissions of the older one, and nothing beside it. */
static inline void assert_target_written(const target *t, uint64_t bytes)
{
    struct stat st;
    assert_int_equal(files_beside(t), 1);
    assert_int_equal(stat(t->path, &st), 0);
    assert_int_equal(st.st_size, bytes);
    if (t->exists) assert_int_equal(st.st_mode & 07777, OLDER_MODE);
}

static inline void remove_target(const target *t)
{
    remove_tree(t->folder);
}

#endif
