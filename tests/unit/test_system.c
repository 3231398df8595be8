/* What the library says about this build and this machine (include/diffulex_edge/system.h). */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "diffulex_edge/diffulex_edge.h"

#include "kernels/kernels.h"

static void test_build(void **state)
{
    dlx_build_info info = {.struct_size = sizeof info};
    (void)state;
    assert_true(dlx_get_build_info(&info));
    assert_string_equal(info.version, dlx_version_string());
#if defined(DLX_RUNTIME_ONLY)
    assert_string_equal(info.half, "runtime-only");
#else
    assert_string_equal(info.half, "full");
#endif
#if defined(__clang__)
    assert_int_equal(strncmp(info.compiler, "clang ", 6), 0);
    assert_int_equal(atoi(info.compiler + 6), __clang_major__);
#else
    assert_int_equal(strncmp(info.compiler, "gcc ", 4), 0);
    assert_int_equal(atoi(info.compiler + 4), __GNUC__);
#endif
    assert_false(dlx_get_build_info(NULL));
    info = (dlx_build_info){.struct_size = 0};
    assert_false(dlx_get_build_info(&info));
    assert_null(info.version);
    assert_int_equal(dlx_api_version(), DLX_API_VERSION);
}

static void test_libraries(void **state)
{
    static const char *const names[] = {"jansson", "PCRE2", "utf8proc"};
    dlx_library_info info = {.struct_size = sizeof info};
    size_t n = 0;
    (void)state;
    for (; dlx_get_library_info(n, &info); n++) {
        assert_true(n < 3);
        assert_string_equal(info.name, names[n]);
        assert_true(strlen(info.purpose) > 3);
        /* "2.14", "10.42": digits and points, as pkg-config says them */
        assert_true(isdigit((unsigned char)info.version[0]));
        assert_non_null(strchr(info.version, '.'));
        assert_int_equal(strspn(info.version, "0123456789.") + strcspn(info.version, "-"), 2 * strlen(info.version));
    }
#if defined(DLX_RUNTIME_ONLY)
    assert_int_equal(n, 0);
#else
    assert_int_equal(n, 3);
#endif
    assert_false(dlx_get_library_info(0, NULL));
    assert_false(dlx_get_library_info(SIZE_MAX, &info));
}

/* The table of sets and that of extensions agree with each other, and with what a model runs. */
static void test_kernels(void **state)
{
    dlx_kernel_set_info set = {.struct_size = sizeof set};
    dlx_cpu_feature_info feature = {.struct_size = sizeof feature};
    dlx_isa list[8];
    size_t n = dlx_isa_list(list), best = SIZE_MAX;
    bool lacking[8];
    (void)state;
    for (size_t i = 0; i < n; i++) {
        assert_true(dlx_get_kernel_set_info(i, &set));
        assert_string_equal(set.name, dlx_isa_name(list[i]));
        assert_in_range(set.base, 0, i ? i - 1 : 0);
        lacking[i] = i > 0 && lacking[set.base];
        for (size_t k = 0; dlx_get_cpu_feature_info(k, &feature); k++)
            if (feature.set == (int32_t)i && !feature.present) lacking[i] = true;
        /* The system may keep tiles to itself. */
        assert_true(set.available == !lacking[i] || (list[i] == DLX_ISA_AMX && !set.available));
        if (set.best) best = i;
        assert_int_equal(set.best, list[i] == dlx_cpu_best_isa());
    }
    assert_true(best < n);
    assert_false(dlx_get_kernel_set_info(n, &set));
    assert_false(dlx_get_kernel_set_info(0, NULL));
    assert_false(dlx_get_cpu_feature_info(0, NULL));
    assert_false(dlx_get_cpu_feature_info(SIZE_MAX, &feature));
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, list[best]);
    assert_int_equal(kernels.isa, list[best]);
}

#if defined(__linux__) && defined(__x86_64__)
/* What the system lists under "flags" and what the table says. */
static void test_extensions_of_the_system(void **state)
{
    static const char *const words[][2] = {{"AVX2", " avx2 "},
                                           {"FMA", " fma "},
                                           {"F16C", " f16c "},
                                           {"AVX-VNNI", " avx_vnni "},
                                           {"AVX-512F", " avx512f "},
                                           {"AVX-512BW", " avx512bw "},
                                           {"AVX-512DQ", " avx512dq "},
                                           {"AVX-512VL", " avx512vl "},
                                           {"AVX-512 VNNI", " avx512_vnni "},
                                           {"AMX int8", " amx_int8 "}};
    dlx_cpu_feature_info info = {.struct_size = sizeof info};
    char *line = NULL;
    size_t room = 0, n = 0;
    (void)state;
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f) skip();
    while (getline(&line, &room, f) > 0 && strncmp(line, "flags", 5) != 0) {}
    fclose(f);
    if (!line || strncmp(line, "flags", 5) != 0) {
        free(line);
        skip();
    }
    line[strcspn(line, "\n")] = ' ';
    for (; dlx_get_cpu_feature_info(n, &info); n++) {
        assert_true(n < sizeof words / sizeof *words);
        assert_string_equal(info.name, words[n][0]);
        bool said = strstr(line, words[n][1]) != NULL;
        /* Tiles a CPU may have that an old system does not give. */
        assert_true(info.present == said || (said && !strncmp(info.name, "AMX", 3)));
    }
    assert_int_equal(n, sizeof words / sizeof *words);
    free(line);
}
#endif

#if !defined(DLX_RUNTIME_ONLY)
/* The folder that the environment names; that it exists is not asked. */
static void expect_cache(const char *hub, const char *base, const char *home, const char *expected)
{
    char *folder;
    dlx_error err;
    hub ? setenv("HF_HUB_CACHE", hub, 1) : unsetenv("HF_HUB_CACHE");
    base ? setenv("HF_HOME", base, 1) : unsetenv("HF_HOME");
    home ? setenv("HOME", home, 1) : unsetenv("HOME");
    dlx_status s = dlx_export_cache_folder(&folder, &err);
    if (!expected) {
        assert_int_equal(s, DLX_E_INVALID);
        assert_null(folder);
        assert_non_null(strstr(err.message, "HF_HUB_CACHE"));
        return;
    }
    assert_int_equal(s, DLX_OK);
    assert_string_equal(folder, expected);
    dlx_free(folder);
}

static void test_cache_folder(void **state)
{
    (void)state;
    unsetenv("HUGGINGFACE_HUB_CACHE");
    unsetenv("XDG_CACHE_HOME");
    expect_cache("/a", "/b", "/c", "/a");
    expect_cache(NULL, "/b", "/c", "/b/hub");
    expect_cache(NULL, NULL, "/c", "/c/.cache/huggingface/hub");
    expect_cache("~/x", NULL, "/c", "/c/x");
    expect_cache(NULL, NULL, NULL, NULL);
}

/* A folder is itself, and what is nowhere is not found; repositories of the cache: test_model_resolve. */
static void test_find_checkpoint(void **state)
{
    (void)state;
    char *folder;
    dlx_error err;
    assert_int_equal(dlx_export_find_checkpoint(&folder, "/", &err), DLX_OK);
    assert_string_equal(folder, "/");
    dlx_free(folder);
    setenv("HF_HUB_CACHE", "/nowhere/hub", 1);
    assert_int_equal(dlx_export_find_checkpoint(&folder, "org/name", &err), DLX_E_IO);
    assert_null(folder);
    assert_non_null(strstr(err.message, "hf download org/name"));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build),
        cmocka_unit_test(test_libraries),
        cmocka_unit_test(test_kernels),
#if defined(__linux__) && defined(__x86_64__)
        cmocka_unit_test(test_extensions_of_the_system),
#endif
#if !defined(DLX_RUNTIME_ONLY)
        cmocka_unit_test(test_cache_folder),
        cmocka_unit_test(test_find_checkpoint),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
