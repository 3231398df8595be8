#include "format/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char digits[] = "0123456789abcdef";

dlx_key_mark dlx_key_mark_of(uint64_t digest)
{
    dlx_key_mark mark;
    snprintf(mark.text, sizeof mark.text, "#%016" PRIx64, digest);
    return mark;
}

const char *dlx_key_marked(dlx_arena *arena, const char *name, const char *mark)
{
    if (!mark) return name;
    size_t n = strlen(name), m = strlen(mark) + 1;
    char *key = dlx_arena_alloc(arena, n + m);
    if (!key) return NULL;
    memcpy(key, name, n);
    memcpy(key + n, mark, m);
    return key;
}

dlx_status dlx_key_name(const char **name, dlx_arena *arena, const char *key, dlx_error *err)
{
    size_t n = key ? strlen(key) : 0;
    *name = key;
    if (n == 64 && strspn(key, digits) == 64) *name = NULL;
    if (n <= DLX_KEY_MARK || key[n - DLX_KEY_MARK] != '#' || strspn(key + n - DLX_KEY_MARK + 1, digits) != 16)
        return DLX_OK;
    *name = dlx_arena_strndup(arena, key, n - DLX_KEY_MARK);
    return *name ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory reading the key '%.200s'", key);
}
