#include "format/qnn.h"

#include <string.h>

#include "format/flatbuffer.h"

enum { HEADER = 256, MAGIC = 0x5678ABCD, SIGNATURE_AT = 4, SIZE_AT = 12, KNOWN = 20 };

dlx_status dlx_qnn_read(dlx_qnn_contents *out, const dlx_pte_blob *blob, dlx_error *err)
{
    static const char zip[4] = {'P', 'K', 3, 4};
    uint8_t head[KNOWN] = {0};
    size_t n = blob->size < KNOWN ? (size_t)blob->size : KNOWN;
    *out = (dlx_qnn_contents){.compiled = false};
    if (!blob->data)
        DLX_TRY(dlx_file_read(blob->file, blob->offset, head, n, err));
    else if (n)
        memcpy(head, blob->data, n);
    uint32_t magic;
    memcpy(&magic, head, sizeof magic);
    if (!memcmp(head, zip, sizeof zip)) {
        out->binary_bytes = blob->size;
        return DLX_OK;
    }
    if (magic != MAGIC)
        return dlx_fail(err, DLX_E_FORMAT, "it begins with %08x; expected %08x in front of a context binary, or a DLC",
                        (unsigned)magic, (unsigned)MAGIC);
    out->compiled = true;
    memcpy(&out->signature, head + SIGNATURE_AT, sizeof out->signature);
    memcpy(&out->binary_bytes, head + SIZE_AT, sizeof out->binary_bytes);
    if (blob->size >= HEADER && out->binary_bytes <= blob->size - HEADER) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT,
                    "its header says that a context binary of %llu bytes follows, but it has %llu bytes altogether",
                    (unsigned long long)out->binary_bytes, (unsigned long long)blob->size);
}

/* Slots of the schema's tables. */
enum { OPTIONS_CHIP = 0, OPTIONS_BACKEND = 1, CHIP_ID = 0, CHIP_HTP = 1, HTP_ARCH = 0, HTP_VTCM = 1 };
enum { BACKEND_HTP = 1, HTP_PRECISION = 2, PRECISION_F16 = 1 };

dlx_status dlx_qnn_read_target(dlx_qnn_target *out, const void *value, size_t n, dlx_error *err)
{
    dlx_fb_buffer buffer;
    dlx_fb root;
    *out = (dlx_qnn_target){.chip = 0};
    DLX_TRY(dlx_fb_open(&buffer, value, n, NULL, "option " DLX_QNN_OPTION, err, &root));
    dlx_fb chip = dlx_fb_table(root, OPTIONS_CHIP), htp = dlx_fb_table(chip, CHIP_HTP);
    dlx_fb how = dlx_fb_table(dlx_fb_table(root, OPTIONS_BACKEND), BACKEND_HTP);
    out->chip = dlx_fb_u32(chip, CHIP_ID, 0);
    out->arch = dlx_fb_u32(htp, HTP_ARCH, 0);
    out->vtcm_mib = dlx_fb_u32(htp, HTP_VTCM, 0);
    out->f16 = dlx_fb_u32(how, HTP_PRECISION, 0) == PRECISION_F16;
    return buffer.status;
}
