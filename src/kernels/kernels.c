/*
 * The kernel table's front door: which instruction sets this build and this CPU have, their names, and filling a table.
 */
#include "kernels/kernels.h"

#include <string.h>

#include "base/cpu.h"
#include "base/sizes.h"
#include "kernels/agree.h"
#include "kernels/tables.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
/* Bit numbers of the Linux aarch64 ABI (arch/arm64/include/uapi/asm/hwcap.h); older libc headers lack the names. */
#define HWCAP_DOT_PRODUCT  (1UL << 20)
#define HWCAP2_INT8_MATRIX (1UL << 13)
#endif

typedef struct isa_entry {
    dlx_isa isa;
    dlx_isa base; /* the set it builds on: what that needs it needs, and what it has no version of it takes from there;
                     the reference builds on itself */
    const char *name;
    void (*set)(dlx_kernels *k);
    bool (*take)(void); /* asked before it is used, where the CPU has it; NULL: it may be */
} isa_entry;

#if defined(__x86_64__)
static bool take_amx(void);
#endif

/* Ascending: of two that a CPU has, the later one is better. */
static const isa_entry isas[] = {
    {DLX_ISA_REF, DLX_ISA_REF, "ref", dlx_kernels_set_ref, NULL},
#if defined(__x86_64__)
    {DLX_ISA_AVX2, DLX_ISA_REF, "avx2", dlx_kernels_set_avx2, NULL},
    {DLX_ISA_AVXVNNI, DLX_ISA_AVX2, "avx-vnni", dlx_kernels_set_avxvnni, NULL},
    {DLX_ISA_AVX512, DLX_ISA_AVX2, "avx512", dlx_kernels_set_avx512, NULL},
    {DLX_ISA_AVX512VNNI, DLX_ISA_AVX512, "avx512vnni", dlx_kernels_set_avx512vnni, NULL},
    {DLX_ISA_AMX, DLX_ISA_AVX512VNNI, "amx", dlx_kernels_set_amx, take_amx},
#elif defined(__aarch64__)
    {DLX_ISA_NEON, DLX_ISA_REF, "neon", dlx_kernels_set_neon, NULL},
    {DLX_ISA_NEON_DOTPROD, DLX_ISA_NEON, "neon-dotprod", dlx_kernels_set_neon_dotprod, NULL},
    {DLX_ISA_NEON_I8MM, DLX_ISA_NEON_DOTPROD, "neon-i8mm", dlx_kernels_set_neon_i8mm, NULL},
#elif defined(__wasm_simd128__)
    {DLX_ISA_SIMD128, DLX_ISA_REF, "simd128", dlx_kernels_set_simd128, NULL},
#endif
};

/* ---- what they need --------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
/* That the system keeps vector registers is part of the compiler's answer. */
#define ASK(word)                                                                                                      \
    static bool has_##word(void)                                                                                       \
    {                                                                                                                  \
        return __builtin_cpu_supports(#word);                                                                          \
    }
ASK(avx2)
ASK(fma)
ASK(avx512f)
ASK(avx512bw)
ASK(avx512dq)
ASK(avx512vl)
ASK(avx512vnni)

/* From cpuid: clang 14's __builtin_cpu_supports has no word for it. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

/* Likewise; leaf 7.1, EAX, bit 4 (Intel SDM, volume 2, CPUID). Its registers are those of AVX2, which it comes with. */
static bool has_avxvnni(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1U << 4) != 0;
}
#elif defined(__aarch64__) || defined(__wasm_simd128__)
/* An engine loads no module whose instructions it does not know. */
static bool always(void)
{
    return true;
}
#endif

#if defined(__aarch64__)
static bool has_dotprod(void)
{
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_DOT_PRODUCT) != 0;
#else
    return false;
#endif
}

static bool has_i8mm(void)
{
#if defined(__linux__)
    return (getauxval(AT_HWCAP2) & HWCAP2_INT8_MATRIX) != 0;
#else
    return false;
#endif
}
#endif

/* Extensions beyond the architecture's baseline, with the first set that needs each. */
typedef struct feature {
    dlx_isa isa;
    const char *name;
    bool (*present)(void);
} feature;

static const feature features[] = {
#if defined(__x86_64__)
    {DLX_ISA_AVX2, "AVX2", has_avx2},
    {DLX_ISA_AVX2, "FMA", has_fma},
    {DLX_ISA_AVX2, "F16C", has_f16c},
    {DLX_ISA_AVXVNNI, "AVX-VNNI", has_avxvnni},
    {DLX_ISA_AVX512, "AVX-512F", has_avx512f},
    {DLX_ISA_AVX512, "AVX-512BW", has_avx512bw},
    {DLX_ISA_AVX512, "AVX-512DQ", has_avx512dq},
    {DLX_ISA_AVX512, "AVX-512VL", has_avx512vl},
    {DLX_ISA_AVX512VNNI, "AVX-512 VNNI", has_avx512vnni},
    {DLX_ISA_AMX, "AMX int8", dlx_cpu_has_tiles},
#elif defined(__aarch64__)
    {DLX_ISA_NEON, "Advanced SIMD", always},
    {DLX_ISA_NEON_DOTPROD, "dot products", has_dotprod},
    {DLX_ISA_NEON_I8MM, "int8 matrix products", has_i8mm},
#elif defined(__wasm_simd128__)
    {DLX_ISA_SIMD128, "SIMD128", always},
#endif
    {DLX_ISA_REF, NULL, NULL}, /* the end */
};

bool dlx_isa_feature(size_t i, const char **name, dlx_isa *isa, bool *present)
{
    if (i >= DLX_COUNT(features) - 1) return false;
    *name = features[i].name;
    *isa = features[i].isa;
    *present = features[i].present();
    return true;
}

static const isa_entry *entry_of(dlx_isa isa)
{
    for (size_t i = 0; i < DLX_COUNT(isas); i++)
        if (isas[i].isa == isa) return &isas[i];
    return NULL;
}

static bool supported(const isa_entry *e)
{
    for (const feature *f = features; f->name; f++)
        if (f->isa == e->isa && !f->present()) return false;
    return e->isa == DLX_ISA_REF || supported(entry_of(e->base));
}

static bool usable(const isa_entry *e)
{
    return supported(e) && (!e->take || e->take());
}

/* Of the sets that the CPU has, the best that is not above `limit`. From the best one down, so that nothing is asked
 * for that would not be chosen. */
static const isa_entry *best_of(dlx_isa limit)
{
    size_t i = DLX_COUNT(isas) - 1;
    while (i > 0 && (isas[i].isa > limit || !usable(&isas[i]))) i--;
    return &isas[i];
}

static void set_with_bases(dlx_kernels *out, const isa_entry *e)
{
    if (e->isa != DLX_ISA_REF) set_with_bases(out, entry_of(e->base));
    e->set(out);
}

#if defined(__x86_64__)
/* The system says whether it lets this process have tiles; and as what it runs on may only say that it has them, the
 * set has to give the bits of the one below it. */
static bool take_amx(void)
{
    dlx_kernels amx, below;
    if (!dlx_cpu_take_tiles()) return false;
    set_with_bases(&amx, entry_of(DLX_ISA_AMX));
    set_with_bases(&below, entry_of(DLX_ISA_AVX512VNNI));
    return dlx_kernels_agree(&amx, &below);
}
#endif

void dlx_kernels_init(dlx_kernels *out, dlx_isa limit)
{
    memset(out, 0, sizeof *out);
    /* A limit that this build does not know (another architecture's) leaves the reference alone. */
    const isa_entry *e = best_of(entry_of(limit) ? limit : DLX_ISA_REF);
    set_with_bases(out, e);
    out->isa = e->isa;
    out->name = e->name;
}

dlx_isa dlx_cpu_best_isa(void)
{
    return best_of(isas[DLX_COUNT(isas) - 1].isa)->isa;
}

bool dlx_isa_available(dlx_isa isa)
{
    const isa_entry *e = entry_of(isa);
    return e && usable(e);
}

dlx_isa dlx_isa_base(dlx_isa isa)
{
    const isa_entry *e = entry_of(isa);
    return e ? e->base : DLX_ISA_REF;
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
    const isa_entry *e = entry_of(isa);
    return e ? e->name : "?";
}
