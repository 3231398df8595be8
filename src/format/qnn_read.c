#include "format/qnn.h"

#include <string.h>

#include "format/flatbuffer.h"

static dlx_status read_bytes(const dlx_pte_blob *blob, uint64_t at, void *out, size_t n, dlx_error *err)
{
    if (!blob->data) return dlx_file_read(blob->file, blob->offset + at, out, n, err);
    if (n) memcpy(out, (const uint8_t *)blob->data + at, n);
    return DLX_OK;
}

/* ---- the version of the libraries ---- */

/* Whether n bytes are a version: "v2.47.0.260601114230", sometimes with "_92130" behind it. */
static bool is_version(const uint8_t *text, size_t n)
{
    size_t dots = 0;
    if (n < sizeof "v0.0.0" - 1 || text[0] != 'v') return false;
    for (size_t i = 1; i < n; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        if (!digit && text[i - 1] == '.') return false;
        if (!digit && text[i] != '_' && text[i] != '.') return false;
        dots += text[i] == '.';
    }
    return dots >= 2 && text[1] != '.' && text[n - 1] != '.';
}

/* A string of a FlatBuffer, which its length stands in front of and NUL behind. */
static void find_version(char out[DLX_QNN_VERSION_BYTES], const uint8_t *bytes, size_t n)
{
    enum { LENGTH = 4 };
    for (size_t i = 0; i + LENGTH + DLX_QNN_VERSION_BYTES <= n; i++) {
        uint32_t length;
        const uint8_t *text = bytes + i + LENGTH;
        memcpy(&length, bytes + i, sizeof length);
        if (length >= DLX_QNN_VERSION_BYTES || text[length] || !is_version(text, length)) continue;
        memcpy(out, text, length + 1);
        return;
    }
}

/* Descriptions of inputs and outputs come in front of it, so it is not far: windows overlap by what is longest. */
static dlx_status read_version(dlx_qnn_contents *out, const dlx_pte_blob *blob, dlx_error *err)
{
    enum { WINDOW = 1 << 14, OVERLAP = 2 * DLX_QNN_VERSION_BYTES, MOST = 1 << 20 };
    uint8_t window[WINDOW + OVERLAP];
    uint64_t size = out->binary_bytes < MOST ? out->binary_bytes : MOST;
    for (uint64_t at = 0; at < size && !*out->version; at += WINDOW) {
        size_t n = size - at < WINDOW + OVERLAP ? (size_t)(size - at) : WINDOW + OVERLAP;
        memset(window + n, 0, sizeof window - n);
        DLX_TRY(read_bytes(blob, DLX_QNN_HEADER + at, window, n, err));
        find_version(out->version, window, sizeof window);
    }
    return DLX_OK;
}

dlx_status dlx_qnn_read(dlx_qnn_contents *out, const dlx_pte_blob *blob, dlx_error *err)
{
    static const char zip[4] = {'P', 'K', 3, 4};
    uint8_t head[DLX_QNN_HEADER_USED] = {0};
    size_t n = blob->size < sizeof head ? (size_t)blob->size : sizeof head;
    *out = (dlx_qnn_contents){.compiled = false};
    DLX_TRY(read_bytes(blob, 0, head, n, err));
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
    if (blob->size >= DLX_QNN_HEADER && out->binary_bytes <= blob->size - DLX_QNN_HEADER)
        return read_version(out, blob, err);
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
