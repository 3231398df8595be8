#include "base/structs.h"

#include <string.h>

static dlx_status caller_size(const void *caller, size_t least, const char *name, size_t *size, dlx_error *err)
{
    memcpy(size, caller, sizeof *size);
    if (*size < least)
        return dlx_fail(err, DLX_E_INVALID, "%s: struct_size is %zu; set it to sizeof(%s)", name, *size, name);
    return DLX_OK;
}

dlx_status dlx_struct_in(void *out, size_t known, const void *in, size_t least, const char *name, dlx_error *err)
{
    size_t size;
    if (!in) return DLX_OK;
    DLX_TRY(caller_size(in, least, name, &size, err));
    enum { MOST = 1 << 16 }; /* a size beyond that is an uninitialised structure */
    if (size > MOST)
        return dlx_fail(err, DLX_E_INVALID, "%s: struct_size is %zu; set it to sizeof(%s)", name, size, name);
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)in)[i])
            return dlx_fail(
                err, DLX_E_UNSUPPORTED,
                "%s: byte %zu is set, but this library knows the first %zu only; it is older than the header "
                "that the program was compiled with",
                name, i, known);
    memcpy(out, in, size < known ? size : known);
    memcpy(out, &known, sizeof known);
    return DLX_OK;
}

dlx_status dlx_struct_out(void *out, const void *value, size_t known, size_t least, const char *name, dlx_error *err)
{
    size_t size;
    DLX_TRY(caller_size(out, least, name, &size, err));
    size_t n = size < known ? size : known;
    memcpy((char *)out + sizeof size, (const char *)value + sizeof size, n - sizeof size);
    return DLX_OK;
}
