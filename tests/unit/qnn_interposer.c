/*
 * Stands before Qualcomm's libQnnHtp.so, so that the official runtime's wheels can use the emulator of newer libraries.
 * They were compiled when the value of a device's configuration lay 4 bytes into it; libraries from 2.47 on have it
 * behind 8. Everything else is passed on. On a phone the runtime gives no such configuration.
 *
 * DLX_QNN_REAL is the path of the library that is meant.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backends/qnn/abi.h"

enum { SLOTS = 56, MOST_CONFIGS = 8 };

static union {
    dlx_qnn_provider provider;
    char room[offsetof(dlx_qnn_provider, api) + SLOTS * sizeof(void *)];
} mine;
static const dlx_qnn_provider *list[1];
static const dlx_qnn_provider *real;

static dlx_qnn_error create(dlx_qnn_handle log, const dlx_qnn_config **config, dlx_qnn_handle *device)
{
    dlx_qnn_htp_config value[MOST_CONFIGS];
    dlx_qnn_config custom[MOST_CONFIGS];
    const dlx_qnn_config *passed[MOST_CONFIGS + 1] = {NULL};
    for (int i = 0; config && config[i] && i < MOST_CONFIGS; i++) {
        passed[i] = config[i];
        if (config[i]->option != 0) continue;
        memset(&value[i], 0, sizeof value[i]);
        memcpy(&value[i].option, config[i]->custom, 4);
        memcpy(&value[i].u, (const char *)config[i]->custom + 4, 8);
        custom[i] = (dlx_qnn_config){.custom = &value[i]};
        passed[i] = &custom[i];
    }
    return real->api.device_create(log, config ? passed : NULL, device);
}

__attribute__((visibility("default"))) dlx_qnn_error
QnnInterface_getProviders(const dlx_qnn_provider *const **providers, uint32_t *n);

dlx_qnn_error QnnInterface_getProviders(const dlx_qnn_provider *const **providers, uint32_t *n)
{
    const dlx_qnn_provider *const *theirs = NULL;
    const char *path = getenv("DLX_QNN_REAL");
    dlx_qnn_get_providers_fn get = NULL;
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = library ? dlsym(library, "QnnInterface_getProviders") : NULL;
    memcpy(&get, &symbol, sizeof get);
    if (!get || get(&theirs, n) != 0 || *n < 1) return 1;
    real = theirs[0];
    memcpy(mine.room, real, sizeof mine.room);
    mine.provider.api.device_create = create;
    list[0] = &mine.provider;
    *providers = list;
    *n = 1;
    return 0;
}
