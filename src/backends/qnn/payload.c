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
    memcpy(out + 4, &signature, sizeof signature);
    memcpy(out + 12, &size, sizeof size);
}

/* Slots of the schema's tables. */
enum { OPTIONS_CHIP, OPTIONS_BACKEND, OPTIONS_LIBRARY, OPTIONS_LOG, OPTIONS_SAVER_FOLDER = 10, OPTIONS_PACKAGES };
enum { CHIP_ID, CHIP_HTP };
enum { HTP_ARCH, HTP_VTCM };
enum { BACKEND_TYPE, BACKEND_HTP };
enum { HTP_PERFORMANCE = 1, HTP_PRECISION, HTP_CONV_HMX = 4, HTP_FOLD_RELU = 6 };
enum { LOG_ERRORS = 1, TYPE_HTP = 2, PERFORMANCE_BURST = 2, PRECISION_F16 = 1 };

static void put_chip(dlx_fbw *w, dlx_fbw_ref from, const dlx_qnn_chip *chip)
{
    dlx_fbw_table t = {0}, htp = {0};
    dlx_fbw_set(&t, CHIP_ID, 4, chip->id);
    dlx_fbw_set_ref(&t, CHIP_HTP);
    dlx_fbw_put(w, from, &t);
    dlx_fbw_set(&htp, HTP_ARCH, 4, chip->arch);
    dlx_fbw_set(&htp, HTP_VTCM, 4, chip->vtcm_mib);
    dlx_fbw_put(w, t.ref[CHIP_HTP], &htp);
}

static void put_backend(dlx_fbw *w, dlx_fbw_ref from, bool f16)
{
    dlx_fbw_table t = {0}, htp = {0};
    dlx_fbw_set(&t, BACKEND_TYPE, 4, TYPE_HTP);
    dlx_fbw_set_ref(&t, BACKEND_HTP);
    dlx_fbw_put(w, from, &t);
    dlx_fbw_set(&htp, HTP_PERFORMANCE, 4, PERFORMANCE_BURST);
    if (f16) dlx_fbw_set(&htp, HTP_PRECISION, 4, PRECISION_F16);
    dlx_fbw_set(&htp, HTP_CONV_HMX, 1, 1);
    dlx_fbw_set(&htp, HTP_FOLD_RELU, 1, 1);
    dlx_fbw_put(w, t.ref[BACKEND_HTP], &htp);
}

dlx_status dlx_qnn_spec(dlx_pte_spec *out, dlx_arena *arena, const dlx_qnn_chip *chip, bool f16, dlx_error *err)
{
    static const char no_identifier[4] = {0};
    dlx_fbw w;
    dlx_fbw_table t = {0}, none = {0};
    dlx_fbw_init(&w, no_identifier, 0);
    dlx_fbw_set_ref(&t, OPTIONS_CHIP);
    dlx_fbw_set_ref(&t, OPTIONS_BACKEND);
    dlx_fbw_set_ref(&t, OPTIONS_LIBRARY);
    dlx_fbw_set(&t, OPTIONS_LOG, 4, LOG_ERRORS);
    dlx_fbw_set_ref(&t, OPTIONS_SAVER_FOLDER);
    dlx_fbw_set_ref(&t, OPTIONS_PACKAGES);
    dlx_fbw_put(&w, dlx_fbw_root(&w), &t);
    put_chip(&w, t.ref[OPTIONS_CHIP], chip);
    put_backend(&w, t.ref[OPTIONS_BACKEND], f16);
    dlx_fbw_string(&w, t.ref[OPTIONS_LIBRARY], "");
    dlx_fbw_string(&w, t.ref[OPTIONS_SAVER_FOLDER], "saver_output");
    dlx_fbw_put(&w, t.ref[OPTIONS_PACKAGES], &none);
    bool ok = dlx_fbw_finish(&w);
    void *bytes = ok ? dlx_arena_alloc(arena, w.size) : NULL;
    if (bytes) {
        memcpy(bytes, w.data, w.size);
        *out = (dlx_pte_spec){.key = "qnn_compile_spec", .value = bytes, .size = (uint32_t)w.size};
    }
    dlx_fbw_free(&w);
    return bytes ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory writing a delegate's options");
}
