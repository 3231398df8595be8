#include "base/structs.h"

#include <string.h>

enum { MOST = 1 << 16 }; /* a size beyond that is an uninitialised structure */

static dlx_status caller_size(const void *caller, const char *name, size_t *size, dlx_error *err)
{
    memcpy(size, caller, sizeof *size);
    if (*size < sizeof *size || *size % _Alignof(size_t) || *size > MOST)
        return dlx_fail(err, DLX_E_INVALID, "%s: struct_size is %zu; set it to sizeof(%s)", name, *size, name);
    return DLX_OK;
}

/* With a size that is the caller's. */
static dlx_status take(void *out, size_t known, const void *in, size_t size, const char *name, dlx_error *err)
{
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

dlx_status dlx_struct_in(void *out, size_t known, const void *in, const char *name, dlx_error *err)
{
    size_t size;
    if (!in) return DLX_OK;
    DLX_TRY(caller_size(in, name, &size, err));
    return take(out, known, in, size, name, err);
}

dlx_status dlx_struct_array_in(void *out, size_t known, const void *in, size_t n, const char *name, dlx_error *err)
{
    size_t size, own;
    if (!n) return DLX_OK;
    if (!in) return dlx_fail(err, DLX_E_INVALID, "%s: %zu of them are needed; NULL was given", name, n);
    DLX_TRY(caller_size(in, name, &size, err));
    for (size_t i = 0; i < n; i++) {
        const char *element = (const char *)in + i * size;
        memcpy(&own, element, sizeof own);
        if (own != size)
            return dlx_fail(err, DLX_E_INVALID,
                            "%s: struct_size of element %zu is %zu, that of the first is %zu; set both to sizeof(%s)",
                            name, i, own, size, name);
        DLX_TRY(take((char *)out + i * known, known, element, size, name, err));
    }
    return DLX_OK;
}

void dlx_struct_clear(void *out, size_t known)
{
    size_t size;
    if (!out || caller_size(out, "", &size, NULL) != DLX_OK) return;
    memset((char *)out + sizeof size, 0, (size < known ? size : known) - sizeof size);
}

dlx_status dlx_struct_out(void *out, const void *value, size_t known, const char *name, dlx_error *err)
{
    size_t size;
    if (!out) return dlx_fail(err, DLX_E_INVALID, "%s: a place for it is needed; NULL was given", name);
    DLX_TRY(caller_size(out, name, &size, err));
    size_t n = size < known ? size : known;
    memcpy((char *)out + sizeof size, (const char *)value + sizeof size, n - sizeof size);
    return DLX_OK;
}
