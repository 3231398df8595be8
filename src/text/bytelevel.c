#include "text/bytelevel.h"

#include <string.h>

#include "text/utf8.h"

int dlx_bytelevel_byte(uint32_t code_point)
{
    uint32_t c = code_point;
    if ((c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255)) return (int)c;
    if (c < 0x100 || c > 0x143) return -1;
    c -= 0x100;
    if (c <= 32) return (int)c;              /* 0 .. 32 */
    if (c <= 66) return (int)(c - 33 + 127); /* 127 .. 160 */
    return 173;
}

size_t dlx_bytelevel_decode(uint8_t *out, const char *entry, size_t n, bool *spelled)
{
    size_t count = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        i += dlx_utf8_next(entry + i, n - i, &c);
        int byte = dlx_bytelevel_byte(c);
        if (byte < 0) {
            memcpy(out, entry, n);
            *spelled = false;
            return n;
        }
        out[count++] = (uint8_t)byte;
    }
    *spelled = true;
    return count;
}
