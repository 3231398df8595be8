/* The third-party libraries of the full build, with the versions that are loaded. */
#include "text/full/libraries.h"

#include <stdio.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>
#include <utf8proc.h>

#include "base/sizes.h"

static void jansson_version_of(char *to, size_t size)
{
#if JANSSON_VERSION_HEX >= 0x020d00
    snprintf(to, size, "%s", jansson_version_str());
#else /* older ones do not tell at run time */
    snprintf(to, size, "%s", JANSSON_VERSION);
#endif
}

/* "10.42 2022-12-11": the date is left out. */
static void pcre2_version_of(char *to, size_t size)
{
    char text[64] = "?";
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) <= (int)sizeof text) pcre2_config(PCRE2_CONFIG_VERSION, text);
    snprintf(to, size, "%.*s", (int)strcspn(text, " "), text);
}

static void utf8proc_version_of(char *to, size_t size)
{
    snprintf(to, size, "%s", utf8proc_version());
}

bool dlx_library_at(size_t i, dlx_library_info *out)
{
    static const struct {
        const char *name, *purpose;
        void (*version)(char *to, size_t size);
    } rows[] = {
        {"jansson", "JSON: configurations, tokenizers", jansson_version_of},
        {"PCRE2", "how tokenizers split text", pcre2_version_of},
        {"utf8proc", "Unicode normalisation", utf8proc_version_of},
    };
    if (i >= DLX_COUNT(rows)) return false;
    out->name = rows[i].name;
    out->purpose = rows[i].purpose;
    rows[i].version(out->version, sizeof out->version);
    return true;
}
