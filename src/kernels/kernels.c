/*
 * The kernel table's front door: which instruction sets this build and this CPU have, their names, and filling a table.
 */
#include "kernels/kernels.h"

#include <string.h>

#include "base/sizes.h"
#include "kernels/tables.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
/* Bit numbers of the Linux aarch64 ABI (arch/arm64/include/uapi/asm/hwcap.h); older libc headers lack the names. */
#define HWCAP_DOT_PRODUCT (1UL << 20)
#endif

typedef struct isa_entry {
    dlx_isa isa;
    const char *name;
    void (*set)(dlx_kernels *k);
    bool (*supported)(void);
} isa_entry;

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
/* From cpuid: clang 14's __builtin_cpu_supports has no word for it. That the system keeps vector registers is part of
 * the question about AVX2. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static bool has_avx512vnni(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}
#elif defined(__aarch64__)
static bool has_dotprod(void)
{
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_DOT_PRODUCT) != 0;
#else
    return false;
#endif
}
#endif

/* Ascending: each set may rely on the entries that the sets before it left. */
static const isa_entry isas[] = {
    {DLX_ISA_REF, "ref", dlx_kernels_set_ref, always},
#if defined(__x86_64__)
    {DLX_ISA_AVX2, "avx2", dlx_kernels_set_avx2, has_avx2},
    {DLX_ISA_AVX512VNNI, "avx512vnni", dlx_kernels_set_avx512vnni, has_avx512vnni},
#elif defined(__aarch64__)
    {DLX_ISA_NEON, "neon", dlx_kernels_set_neon, always},
    {DLX_ISA_NEON_DOTPROD, "neon-dotprod", dlx_kernels_set_neon_dotprod, has_dotprod},
#endif
};

/* A limit that this build does not know (another architecture's) leaves the reference alone. */
static bool known(dlx_isa isa)
{
    for (size_t i = 0; i < DLX_COUNT(isas); i++)
        if (isas[i].isa == isa) return true;
    return false;
}

void dlx_kernels_init(dlx_kernels *out, dlx_isa limit)
{
    memset(out, 0, sizeof *out);
    if (!known(limit)) limit = DLX_ISA_REF;
    for (size_t i = 0; i < DLX_COUNT(isas) && isas[i].isa <= limit && isas[i].supported(); i++) {
        isas[i].set(out);
        out->isa = isas[i].isa;
        out->name = isas[i].name;
    }
}

dlx_isa dlx_cpu_best_isa(void)
{
    dlx_isa best = DLX_ISA_REF;
    for (size_t i = 0; i < DLX_COUNT(isas) && isas[i].supported(); i++) best = isas[i].isa;
    return best;
}

dlx_status dlx_isa_from_name(dlx_isa *out, const char *name, dlx_error *err)
{
    *out = DLX_ISA_REF;
    if (strcmp(name, "auto") == 0) {
        *out = dlx_cpu_best_isa();
        return DLX_OK;
    }
    char words[128] = "auto";
    size_t used = strlen(words);
    for (size_t i = 0; i < DLX_COUNT(isas); i++) {
        if (strcmp(name, isas[i].name) == 0) {
            *out = isas[i].isa;
            return DLX_OK;
        }
        size_t n = strlen(isas[i].name);
        if (used + n + 3 > sizeof words) continue;
        memcpy(words + used, ", ", 2);
        memcpy(words + used + 2, isas[i].name, n + 1);
        used += n + 2;
    }
    return dlx_fail(err, DLX_E_INVALID, "instruction set '%s' is unknown to this build, expected one of: %s", name,
                    words);
}

size_t dlx_isa_list(dlx_isa out[8])
{
    for (size_t i = 0; i < DLX_COUNT(isas); i++) out[i] = isas[i].isa;
    return DLX_COUNT(isas);
}

const char *dlx_isa_name(dlx_isa isa)
{
    for (size_t i = 0; i < DLX_COUNT(isas); i++)
        if (isas[i].isa == isa) return isas[i].name;
    return "?";
}
