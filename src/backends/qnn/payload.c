#include "backends/qnn/payload.h"

#include <string.h>

#include "base/digest.h"
#include "format/flatbuffer.h"

void dlx_qnn_header(uint8_t *out, const void *binary, uint64_t size)
{
    const uint32_t magic = DLX_QNN_MAGIC;
    dlx_digest d = {0};
    dlx_digest_add(&d, binary, size);
    uint64_t signature = dlx_digest_end(&d);
    memset(out, 0, DLX_QNN_HEADER);
    memcpy(out, &magic, sizeof magic);
    memcpy(out + DLX_QNN_SIGNATURE_AT, &signature, sizeof signature);
    memcpy(out + DLX_QNN_SIZE_AT, &size, sizeof size);
}

static void put_chip(dlx_fbw *w, dlx_fbw_ref from, const dlx_qnn_chip *chip)
{
    dlx_fbw_table t = {0}, htp = {0};
    dlx_fbw_set(&t, DLX_QNN_CHIP_ID, 4, chip->id);
    dlx_fbw_set_ref(&t, DLX_QNN_CHIP_HTP);
    dlx_fbw_put(w, from, &t);
    dlx_fbw_set(&htp, DLX_QNN_HTP_ARCH, 4, chip->arch);
    dlx_fbw_set(&htp, DLX_QNN_HTP_VTCM, 4, chip->vtcm_mib);
    dlx_fbw_put(w, t.ref[DLX_QNN_CHIP_HTP], &htp);
}

static void put_backend(dlx_fbw *w, dlx_fbw_ref from, bool f16)
{
    dlx_fbw_table t = {0}, htp = {0};
    dlx_fbw_set(&t, DLX_QNN_BACKEND_TYPE, 4, DLX_QNN_TYPE_HTP);
    dlx_fbw_set_ref(&t, DLX_QNN_BACKEND_HTP_OPTIONS);
    dlx_fbw_put(w, from, &t);
    dlx_fbw_set(&htp, DLX_QNN_HTP_PERFORMANCE_MODE, 4, DLX_QNN_PERFORMANCE_BURST);
    if (f16) dlx_fbw_set(&htp, DLX_QNN_HTP_PRECISION_MODE, 4, DLX_QNN_PRECISION_OF_F16);
    dlx_fbw_set(&htp, DLX_QNN_HTP_CONV_HMX, 1, 1);
    dlx_fbw_set(&htp, DLX_QNN_HTP_FOLD_RELU, 1, 1);
    dlx_fbw_put(w, t.ref[DLX_QNN_BACKEND_HTP_OPTIONS], &htp);
}

dlx_status dlx_qnn_spec(dlx_pte_spec *out, dlx_arena *arena, const dlx_qnn_chip *chip, bool f16, dlx_error *err)
{
    static const char no_identifier[4] = {0};
    dlx_fbw w;
    dlx_fbw_table t = {0}, none = {0};
    dlx_fbw_init(&w, no_identifier, 0);
    dlx_fbw_set_ref(&t, DLX_QNN_OPTIONS_CHIP);
    dlx_fbw_set_ref(&t, DLX_QNN_OPTIONS_BACKEND);
    dlx_fbw_set_ref(&t, DLX_QNN_OPTIONS_LIBRARY);
    dlx_fbw_set(&t, DLX_QNN_OPTIONS_LOG, 4, DLX_QNN_LOG_ERRORS);
    dlx_fbw_set_ref(&t, DLX_QNN_OPTIONS_SAVER_FOLDER);
    dlx_fbw_set_ref(&t, DLX_QNN_OPTIONS_PACKAGES);
    dlx_fbw_put(&w, dlx_fbw_root(&w), &t);
    put_chip(&w, t.ref[DLX_QNN_OPTIONS_CHIP], chip);
    put_backend(&w, t.ref[DLX_QNN_OPTIONS_BACKEND], f16);
    dlx_fbw_string(&w, t.ref[DLX_QNN_OPTIONS_LIBRARY], "");
    dlx_fbw_string(&w, t.ref[DLX_QNN_OPTIONS_SAVER_FOLDER], "saver_output");
    dlx_fbw_put(&w, t.ref[DLX_QNN_OPTIONS_PACKAGES], &none);
    bool ok = dlx_fbw_finish(&w);
    void *bytes = ok ? dlx_arena_alloc(arena, w.size) : NULL;
    if (bytes) {
        memcpy(bytes, w.data, w.size);
        *out = (dlx_pte_spec){.key = DLX_QNN_OPTION, .value = bytes, .size = (uint32_t)w.size};
    }
    dlx_fbw_free(&w);
    return bytes ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory writing a delegate's options");
}
