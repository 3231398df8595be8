#include "format/qnn.h"

#include <string.h>

#include "format/flatbuffer.h"

dlx_status dlx_qnn_read(dlx_qnn_contents *out, const dlx_pte_blob *blob, dlx_error *err)
{
    static const char zip[4] = {'P', 'K', 3, 4};
    uint8_t head[DLX_QNN_HEADER_USED] = {0};
    size_t n = blob->size < sizeof head ? (size_t)blob->size : sizeof head;
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
    if (magic != DLX_QNN_MAGIC)
        return dlx_fail(err, DLX_E_FORMAT, "it begins with %08x; expected %08x in front of a context binary, or a DLC",
                        (unsigned)magic, DLX_QNN_MAGIC);
    out->compiled = true;
    memcpy(&out->signature, head + DLX_QNN_SIGNATURE_AT, sizeof out->signature);
    memcpy(&out->binary_bytes, head + DLX_QNN_SIZE_AT, sizeof out->binary_bytes);
    if (blob->size >= DLX_QNN_HEADER && out->binary_bytes <= blob->size - DLX_QNN_HEADER) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT,
                    "its header says that a context binary of %llu bytes follows, but it has %llu bytes altogether",
                    (unsigned long long)out->binary_bytes, (unsigned long long)blob->size);
}

dlx_status dlx_qnn_read_target(dlx_qnn_target *out, const void *value, size_t n, dlx_error *err)
{
    dlx_fb_buffer buffer;
    dlx_fb root;
    *out = (dlx_qnn_target){.chip = 0};
    DLX_TRY(dlx_fb_open(&buffer, value, n, NULL, "option " DLX_QNN_OPTION, err, &root));
    dlx_fb chip = dlx_fb_table(root, DLX_QNN_OPTIONS_CHIP), htp = dlx_fb_table(chip, DLX_QNN_CHIP_HTP);
    dlx_fb how = dlx_fb_table(dlx_fb_table(root, DLX_QNN_OPTIONS_BACKEND), DLX_QNN_BACKEND_HTP_OPTIONS);
    out->chip = dlx_fb_u32(chip, DLX_QNN_CHIP_ID, 0);
    out->arch = dlx_fb_u32(htp, DLX_QNN_HTP_ARCH, 0);
    out->vtcm_mib = dlx_fb_u32(htp, DLX_QNN_HTP_VTCM, 0);
    out->f16 = dlx_fb_u32(how, DLX_QNN_HTP_PRECISION_MODE, 0) == DLX_QNN_PRECISION_OF_F16;
    return buffer.status;
}
