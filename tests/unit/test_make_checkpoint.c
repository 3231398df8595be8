/* tools/make_checkpoint: its tiny checkpoints have the keys, tensors and shapes of the recorded ones; numbers look like
 * weights; sharding changes nothing else; what fails leaves nothing behind. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/half.h"
#include "format/json/json_file.h"
#include "format/safetensors.h"
#include "tensors_in_memory.h"

static const char *const families[] = {"llada", "dream", "sdar", "fast_dllm_v2"};

static char root[] = "/tmp/dlx_make_XXXXXX";

static int setup(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int shell(const char *format, ...)
{
    char command[2048];
    va_list ap;
    va_start(ap, format);
    vsnprintf(command, sizeof command, format, ap);
    va_end(ap);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int teardown(void **state)
{
    (void)state;
    return shell("rm -rf %s", root);
}

typedef struct checkpoint {
    dlx_arena arena;
    dlx_safetensors file[64];
    int files;
    json_t *index; /* weight_map, or NULL */
} checkpoint;

/* All safetensors files of a folder, opened by the library's own reader. */
static void open_checkpoint(checkpoint *c, const char *folder)
{
    dlx_error err = {0};
    char path[1024];
    memset(c, 0, sizeof *c);
    dlx_arena_init(&c->arena);
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t n = strlen(e->d_name);
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (!strcmp(e->d_name, "model.safetensors.index.json"))
            assert_int_equal(dlx_json_load(&c->index, path, 1 << 20, &err), DLX_OK);
        if (n < 12 || strcmp(e->d_name + n - 12, ".safetensors") != 0) continue;
        assert_true(c->files < 64);
        if (dlx_safetensors_open(&c->file[c->files], &c->arena, path, &err) != DLX_OK) fail_msg("%s", err.message);
        take_tensors(&c->file[c->files++], &c->arena);
    }
    closedir(d);
}

static void close_checkpoint(checkpoint *c)
{
    for (int i = 0; i < c->files; i++) dlx_safetensors_close(&c->file[i]);
    json_decref(c->index);
    dlx_arena_free(&c->arena);
}

static size_t count(const checkpoint *c)
{
    size_t n = 0;
    for (int i = 0; i < c->files; i++) n += c->file[i].n_tensors;
    return n;
}

static const dlx_st_tensor *find(const checkpoint *c, const char *name)
{
    for (int i = 0; i < c->files; i++)
        for (size_t k = 0; k < c->file[i].n_tensors; k++)
            if (!strcmp(c->file[i].tensors[k].name, name)) return &c->file[i].tensors[k];
    fail_msg("no tensor %s", name);
    return NULL;
}

static float element(const dlx_st_tensor *t, size_t i)
{
    float f;
    uint16_t h;
    if (t->dtype == DLX_F32) {
        memcpy(&f, t->data + 4 * i, 4);
        return f;
    }
    memcpy(&h, t->data + 2 * i, 2);
    return t->dtype == DLX_BF16 ? dlx_bf16_to_f32(h) : dlx_f16_to_f32(h);
}

static void check_numbers(const dlx_st_tensor *t)
{
    size_t n = (size_t)t->dim[0] * (size_t)(t->rank == 2 ? t->dim[1] : 1);
    double sum = 0, squares = 0, centre = t->rank == 1 && !strstr(t->name, ".bias") ? 1.0 : 0.0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)element(t, i) - centre;
        sum += x;
        squares += x * x;
    }
    double deviation = sqrt(squares / (double)n), error = 0.02 / sqrt((double)n);
    if (fabs(sum / (double)n) > 5 * error + 0.002 || fabs(deviation - 0.02) > 5 * error + 0.002)
        fail_msg("%s: mean %g, deviation %g", t->name, sum / (double)n + centre, deviation);
}

static void check_config(const char *recorded, const char *made)
{
    char path[1024];
    json_t *a, *b, *value;
    const char *key;
    snprintf(path, sizeof path, "%s/config.json", recorded);
    assert_int_equal(dlx_json_load(&a, path, 1 << 20, NULL), DLX_OK);
    snprintf(path, sizeof path, "%s/config.json", made);
    assert_int_equal(dlx_json_load(&b, path, 1 << 20, NULL), DLX_OK);
    json_object_foreach(a, key, value)
    {
        if (!json_equal(value, json_object_get(b, key)))
            fail_msg("%s: key %s differs from the recorded one", made, key);
    }
    json_decref(a);
    json_decref(b);
    snprintf(path, sizeof path, "%s/generation_config.json", made);
    assert_int_equal(dlx_json_load(&a, path, 1 << 20, NULL), DLX_OK);
    assert_non_null(json_object_get(a, "eos_token_id"));
    json_decref(a);
}

static void tiny_checkpoints_match_the_recorded_ones(void **state)
{
    (void)state;
    for (int f = 0; f < 4; f++) {
        char recorded[512], made[512];
        checkpoint a, b;
        snprintf(recorded, sizeof recorded, "%s/checkpoints/%s-tiny", DLX_TEST_DATA, families[f]);
        snprintf(made, sizeof made, "%s/%s", root, families[f]);
        assert_int_equal(shell("%s --family %s --size tiny --dtype %s --tokenizer %s %s >%s/log", DLX_MAKE_CHECKPOINT,
                               families[f], f == 2 ? "bf16" : "f32", recorded, made, root),
                         0);
        check_config(recorded, made);
        open_checkpoint(&a, recorded);
        open_checkpoint(&b, made);
        assert_int_equal(b.files, 1);
        assert_int_equal(count(&a), count(&b));
        for (int i = 0; i < a.files; i++)
            for (size_t k = 0; k < a.file[i].n_tensors; k++) {
                const dlx_st_tensor *x = &a.file[i].tensors[k], *y = find(&b, x->name);
                assert_int_equal(x->dtype, y->dtype);
                assert_int_equal(x->rank, y->rank);
                assert_memory_equal(x->dim, y->dim, sizeof x->dim);
                check_numbers(y);
            }
        close_checkpoint(&a);
        close_checkpoint(&b);
        assert_int_equal(shell("cmp -s %s/tokenizer.json %s/tokenizer.json", recorded, made), 0);
    }
}

static void shards_hold_the_same_tensors(void **state)
{
    char one[512], many[512], path[1024];
    checkpoint a, b;
    (void)state;
    snprintf(one, sizeof one, "%s/one", root);
    snprintf(many, sizeof many, "%s/many", root);
    assert_int_equal(shell("%s --family sdar --size tiny --dtype f16 %s >%s/log", DLX_MAKE_CHECKPOINT, one, root), 0);
    assert_int_equal(shell("%s --family sdar --size tiny --dtype f16 --layers 3 --shard-bytes 200000 %s/ >%s/log",
                           DLX_MAKE_CHECKPOINT, many, root),
                     0);
    open_checkpoint(&a, one);
    open_checkpoint(&b, many);
    assert_null(a.index);
    assert_true(b.files > 3);
    assert_int_equal(count(&b), count(&a) + 11);
    const json_t *map = json_object_get(b.index, "weight_map");
    json_int_t total = 0;
    assert_int_equal(json_object_size(map), count(&b));
    for (int i = 0; i < b.files; i++)
        for (size_t k = 0; k < b.file[i].n_tensors; k++) {
            const dlx_st_tensor *t = &b.file[i].tensors[k];
            snprintf(path, sizeof path, "%s/%s", many, json_string_value(json_object_get(map, t->name)));
            assert_string_equal(path, t->file);
            assert_int_equal((uintptr_t)t->data % 2, 0);
            total += (json_int_t)t->bytes;
        }
    assert_int_equal(json_integer_value(json_object_get(json_object_get(b.index, "metadata"), "total_size")), total);
    for (size_t k = 0; k < a.file[0].n_tensors; k++) {
        const dlx_st_tensor *x = &a.file[0].tensors[k], *y = find(&b, x->name);
        assert_int_equal(x->bytes, y->bytes);
        assert_memory_equal(x->data, y->data, x->bytes);
        check_numbers(x);
    }
    close_checkpoint(&a);
    close_checkpoint(&b);
}

/* The empty folder that is left is the root with its log. */
static void failures_leave_nothing(void **state)
{
    char out[512];
    (void)state;
    snprintf(out, sizeof out, "%s/failed", root);
    /* No file may grow beyond 100 blocks of 512 bytes: as a full disk would. */
    assert_int_equal(
        shell("trap '' XFSZ; ulimit -f 100; %s --family llada --size tiny %s 2>%s/log", DLX_MAKE_CHECKPOINT, out, root),
        1);
    assert_int_equal(shell("grep -q 'cannot write' %s/log", root), 0);
    assert_int_equal(shell("ls %s | grep -q failed", root), 1);
    assert_int_equal(shell("mkdir %s && touch %s/x", out, out), 0);
    assert_int_equal(shell("%s --family llada --size tiny %s 2>%s/log", DLX_MAKE_CHECKPOINT, out, root), 1);
    assert_int_equal(shell("grep -q exists %s/log && ls %s | grep -q tmp", root, root), 1);
    static const char *const wrong[] = {
        "",
        "--family qwen x",
        "--family llada --size 7b x",
        "--family llada --layers",
        "--family llada --layers 0 x",
        "--family llada --layers 2k x",
        "--family llada --dtype f64 x",
        "--family llada --what 1 x",
        "--family llada --size tiny --heads 4 --kv-heads 3 x",
        "--family llada x y",
        "--family llada --weights none x",
        "--family llada",
        "--family llada --size tiny --tokenizer /nowhere x",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (shell("cd %s && %s %s 2>log", root, DLX_MAKE_CHECKPOINT, wrong[i]) != 2) fail_msg("'%s'", wrong[i]);
        assert_int_equal(shell("test $(wc -l <%s/log) = 1 && ! ls %s | grep -q '^x'", root, root), 0);
    }
}

static void zero_weights_are_holes(void **state)
{
    char made[512], zero[512];
    checkpoint a, b;
    (void)state;
    snprintf(made, sizeof made, "%s/numbers", root);
    snprintf(zero, sizeof zero, "%s/zero", root);
    assert_int_equal(
        shell("%s --family sdar --size tiny --shard-bytes 500000 %s >%s/log", DLX_MAKE_CHECKPOINT, made, root), 0);
    assert_int_equal(shell("%s --family sdar --size tiny --shard-bytes 500000 --weights zero %s >%s/log",
                           DLX_MAKE_CHECKPOINT, zero, root),
                     0);
    open_checkpoint(&a, made);
    open_checkpoint(&b, zero);
    assert_true(b.files > 1);
    assert_int_equal(count(&a), count(&b));
    for (int i = 0; i < b.files; i++)
        for (size_t k = 0; k < b.file[i].n_tensors; k++) {
            const dlx_st_tensor *t = &b.file[i].tensors[k], *u = find(&a, t->name);
            assert_int_equal(t->bytes, u->bytes);
            for (uint64_t x = 0; x < t->bytes; x++) assert_int_equal(t->data[x], 0);
        }
    close_checkpoint(&a);
    close_checkpoint(&b);
    assert_int_equal(shell("test $(du -k %s | cut -f1) -lt $(($(du -k %s | cut -f1) / 2))", zero, made), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_checkpoints_match_the_recorded_ones),
        cmocka_unit_test(shards_hold_the_same_tensors),
        cmocka_unit_test(zero_weights_are_holes),
        cmocka_unit_test(failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
