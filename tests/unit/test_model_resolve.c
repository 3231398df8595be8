/* Names of checkpoints to folders, in a Hugging Face cache made in a temporary folder. */
#include "checkpoint_copy.h"

#include "base/status.h"
#include "model/checkpoint.h"

static void make_folder(const char *base, const char *path, char out[1024])
{
    path_in(out, base, path);
    for (char *p = out + strlen(base) + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = '\0';
        mkdir(out, 0777);
    }
    assert_int_equal(mkdir(out, 0777), 0);
}

static void make_file(const char *base, const char *path, const char *text)
{
    char full[1024];
    path_in(full, base, path);
    FILE *f = fopen(full, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* Only what the test says is set. */
static void environment(const char *hub, const char *home_of_hf, const char *home)
{
    unsetenv("HF_HUB_CACHE");
    unsetenv("HF_HOME");
    unsetenv("HUGGINGFACE_HUB_CACHE");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    if (hub) setenv("HF_HUB_CACHE", hub, 1);
    if (home_of_hf) setenv("HF_HOME", home_of_hf, 1);
    if (home) setenv("HOME", home, 1);
}

static void expect(const char *path, const char *folder)
{
    char *got;
    dlx_error err = {0};
    if (dlx_resolve_checkpoint(&got, path, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_string_equal(got, folder);
    free(got);
}

static void expect_error(const char *path, dlx_status status, const char *part)
{
    char *got = (char *)1;
    dlx_error err = {0};
    assert_int_equal(dlx_resolve_checkpoint(&got, path, &err), status);
    assert_null(got);
    if (!strstr(err.message, part)) fail_msg("'%s' is not in: %s", part, err.message);
}

static void folders_are_taken_as_they_are(void **state)
{
    (void)state;
    environment(NULL, NULL, NULL);
    expect(TINY("llada"), TINY("llada"));
    expect_error("", DLX_E_INVALID, "no checkpoint was given");
    expect_error(NULL, DLX_E_INVALID, "no checkpoint was given");
    expect_error(TINY("llada") "/config.json", DLX_E_INVALID, "is a file");
    expect_error("/no/such/folder", DLX_E_IO, "neither a folder nor a name like org/name");
    expect_error("name", DLX_E_IO, "neither a folder nor a name like org/name");
    expect_error("../name", DLX_E_IO, "neither a folder nor a name like org/name");
    expect_error("org/..", DLX_E_IO, "neither a folder nor a name like org/name");
    expect_error("org/na me", DLX_E_IO, "neither a folder nor a name like org/name");
    expect_error("org/-name", DLX_E_IO, "neither a folder nor a name like org/name");
}

static void the_first_cache_that_is_set_counts(void **state)
{
    (void)state;
    copy c = new_folder();
    char hub[1024], hf[1024], home[1024], in_hub[1024], in_hf[1024], in_home[1024], in_xdg[1024], xdg[1024],
        expected[1100];
    make_folder(c.folder, "hub/models--org--name/snapshots/aa", in_hub);
    make_folder(c.folder, "hf/hub/models--org--name/snapshots/bb", in_hf);
    make_folder(c.folder, "home/.cache/huggingface/hub/models--org--name/snapshots/cc", in_home);
    path_in(hub, c.folder, "hub");
    path_in(hf, c.folder, "hf");
    path_in(home, c.folder, "home");
    environment(hub, hf, home);
    expect("org/name", in_hub);
    environment(NULL, hf, home);
    expect("org/name", in_hf);
    environment(NULL, NULL, home);
    expect("org/name", in_home);
    environment("", "", home);
    expect("org/name", in_home);
    environment("~/.cache/huggingface/hub", NULL, home);
    expect("org/name", in_home);
    environment(NULL, "~/.cache/huggingface", home);
    expect("org/name", in_home);
    /* The old name of the first, and the place of caches where HF_HOME is not set. */
    environment(NULL, hf, home);
    setenv("HUGGINGFACE_HUB_CACHE", hub, 1);
    expect("org/name", in_hub);
    setenv("HF_HUB_CACHE", in_home, 1);
    expect_error("org/name", DLX_E_IO, in_home);
    make_folder(c.folder, "xdg/huggingface/hub/models--org--name/snapshots/dd", in_xdg);
    path_in(xdg, c.folder, "xdg");
    environment(NULL, NULL, home);
    setenv("XDG_CACHE_HOME", xdg, 1);
    expect("org/name", in_xdg);
    setenv("HF_HOME", hf, 1);
    expect("org/name", in_hf);
    environment(hub, NULL, home);
    snprintf(expected, sizeof expected, "not in the Hugging Face cache '%s'; fetch it with: hf download org/other",
             hub);
    expect_error("org/other", DLX_E_IO, expected);
    environment(NULL, NULL, NULL);
    expect_error("org/name", DLX_E_INVALID,
                 "none of HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME and HOME");
    remove_copy(&c);
}

static void refs_main_names_the_snapshot(void **state)
{
    (void)state;
    copy c = new_folder();
    char first[1024], second[1024], refs[1024], repository[1024];
    environment(c.folder, NULL, NULL);
    make_folder(c.folder, "models--org--name/snapshots/0123abcd", first);
    expect("org/name", first);
    make_folder(c.folder, "models--org--name/snapshots/4567ef", second);
    expect_error("org/name", DLX_E_INVALID, "has 2 snapshots and no refs/main");
    make_folder(c.folder, "models--org--name/refs", refs);
    make_file(c.folder, "models--org--name/refs/main", "4567ef");
    expect("org/name", second);
    make_file(c.folder, "models--org--name/refs/main", "0123abcd\n");
    expect("org/name", first);
    path_in(repository, c.folder, "models--org--name");
    expect(repository, first);
    make_file(c.folder, "models--org--name/refs/main", "89ab");
    expect_error("org/name", DLX_E_IO, "hf download org/name");
    make_file(c.folder, "models--org--name/refs/main", "../../elsewhere");
    expect_error("org/name", DLX_E_FORMAT, "does not hold the name of a revision");
    make_file(c.folder, "models--org--name/refs/main", "");
    expect_error("org/name", DLX_E_FORMAT, "does not hold the name of a revision");
    remove_copy(&c);
}

static void a_checkpoint_opens_by_its_name(void **state)
{
    (void)state;
    copy c = new_folder();
    char snapshots[1024], link[1024];
    dlx_checkpoint checkpoint;
    dlx_error err = {0};
    environment(c.folder, NULL, NULL);
    make_folder(c.folder, "models--GSAI-ML--LLaDA-8B-Instruct/snapshots", snapshots);
    path_in(link, snapshots, "08b83a6f");
    assert_int_equal(symlink(TINY("llada"), link), 0);
    if (dlx_checkpoint_open(&checkpoint, "GSAI-ML/LLaDA-8B-Instruct", NULL, &err) != DLX_OK)
        fail_msg("%s", err.message);
    assert_string_equal(checkpoint.folder, link);
    dlx_checkpoint_close(&checkpoint);
    assert_int_equal(dlx_checkpoint_open(&checkpoint, "GSAI-ML/LLaDA-8B-Base", NULL, &err), DLX_E_IO);
    assert_non_null(strstr(err.message, "hf download GSAI-ML/LLaDA-8B-Base"));
    assert_null(checkpoint.folder);
    remove_copy(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_are_taken_as_they_are),
        cmocka_unit_test(the_first_cache_that_is_set_counts),
        cmocka_unit_test(refs_main_names_the_snapshot),
        cmocka_unit_test(a_checkpoint_opens_by_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
