/* Names of the model families: the words of config overrides, metadata and command lines. */
#include <string.h>

#include "diffulex_edge/decode.h"

#include "base/sizes.h"

static const char *const names[] = {
    [DLX_FAMILY_UNKNOWN] = "unknown",
    [DLX_FAMILY_LLADA] = "llada",
    [DLX_FAMILY_DREAM] = "dream",
    [DLX_FAMILY_SDAR] = "sdar",
    [DLX_FAMILY_FAST_DLLM_V2] = "fast_dllm_v2",
};

const char *dlx_family_name(dlx_family family)
{
    return (size_t)family < DLX_COUNT(names) ? names[family] : names[DLX_FAMILY_UNKNOWN];
}

dlx_family dlx_family_from_name(const char *name)
{
    for (size_t i = 1; name && i < DLX_COUNT(names); i++)
        if (!strcmp(name, names[i])) return (dlx_family)i;
    return name && !strcmp(name, "fast_dllm") ? DLX_FAMILY_FAST_DLLM_V2 : DLX_FAMILY_UNKNOWN;
}
