/* What this build is and what this machine offers: the tables of other rooms, for programs outside. */
#include "diffulex_edge/system.h"

#include "base/structs.h"
#include "kernels/kernels.h"
#if !defined(DLX_RUNTIME_ONLY)
#include "text/full/libraries.h"
#endif

#define TEXT_OF(x)   #x
#define TEXT_OF_2(x) TEXT_OF(x)
#if defined(__clang__)
#define COMPILER "clang " TEXT_OF_2(__clang_major__) "." TEXT_OF_2(__clang_minor__) "." TEXT_OF_2(__clang_patchlevel__)
#elif defined(__GNUC__)
#define COMPILER "gcc " TEXT_OF_2(__GNUC__) "." TEXT_OF_2(__GNUC_MINOR__) "." TEXT_OF_2(__GNUC_PATCHLEVEL__)
#else
#define COMPILER "another compiler"
#endif
#if defined(__x86_64__)
#define ARCHITECTURE "x86-64"
#elif defined(__aarch64__)
#define ARCHITECTURE "aarch64"
#elif defined(__wasm32__)
#define ARCHITECTURE "wasm32"
#else
#define ARCHITECTURE "other"
#endif
#if defined(DLX_RUNTIME_ONLY)
#define HALF "runtime-only"
#else
#define HALF "full"
#endif

bool dlx_get_build_info(dlx_build_info *out)
{
    const dlx_build_info info = {.struct_size = sizeof info,
                                 .version = DLX_VERSION,
                                 .half = HALF,
                                 .architecture = ARCHITECTURE,
                                 .compiler = COMPILER};
    return dlx_struct_out(out, &info, sizeof info, "dlx_build_info", NULL) == DLX_OK;
}

bool dlx_get_library_info(size_t i, dlx_library_info *out)
{
#if defined(DLX_RUNTIME_ONLY)
    (void)i;
    (void)out;
    return false;
#else
    dlx_library_info info = {.struct_size = sizeof info};
    return dlx_library_at(i, &info) && dlx_struct_out(out, &info, sizeof info, "dlx_library_info", NULL) == DLX_OK;
#endif
}

/* Where a set stands in the list of this build. */
static size_t index_of(dlx_isa isa)
{
    dlx_isa list[8];
    size_t n = dlx_isa_list(list), i = 0;
    while (i < n && list[i] != isa) i++;
    return i;
}

bool dlx_get_kernel_set_info(size_t i, dlx_kernel_set_info *out)
{
    dlx_isa list[8], best = dlx_cpu_best_isa();
    if (i >= dlx_isa_list(list)) return false;
    const dlx_kernel_set_info info = {.struct_size = sizeof info,
                                      .name = dlx_isa_name(list[i]),
                                      .available = dlx_isa_available(list[i]),
                                      .best = list[i] == best,
                                      .base = index_of(dlx_isa_base(list[i]))};
    return dlx_struct_out(out, &info, sizeof info, "dlx_kernel_set_info", NULL) == DLX_OK;
}

bool dlx_get_cpu_feature_info(size_t i, dlx_cpu_feature_info *out)
{
    dlx_cpu_feature_info info = {.struct_size = sizeof info};
    dlx_isa isa;
    bool present;
    if (!dlx_isa_feature(i, &info.name, &isa, &present)) return false;
    info.present = present;
    info.set = (int32_t)index_of(isa);
    return dlx_struct_out(out, &info, sizeof info, "dlx_cpu_feature_info", NULL) == DLX_OK;
}
