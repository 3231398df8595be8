/*
 * Stands before Qualcomm's libQnnHtp.so, so that the official runtime's Linux wheels can use the emulator in it. They
 * were compiled when the value of a device's configuration lay 4 bytes into it; libraries from 2.47 on have it
 * behind 8. This library gives the table of the real one, with one function that moves the value. On a phone the
 * runtime gives no such configuration, and nothing of this is needed.
 *
 * QNN_HTP is the path of the real library. Numbers are of Qualcomm's public interface, on machines with 64-bit
 * pointers.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

enum { SLOTS = 56, DEVICE_CREATE = 40, MOST_CONFIGS = 8 };

typedef void (*slot)(void);

/* What QnnInterface_getProviders gives. */
typedef struct provider {
    uint32_t backend;
    const char *name;
    uint32_t versions[6];
    slot slots[SLOTS];
} provider;

typedef struct config {
    uint32_t option; /* 0: custom */
    const void *custom;
} config;

/* A custom one as libraries from 2.47 on read it; before, `value` followed `option` at once. */
typedef struct value {
    uint32_t option, empty;
    uint64_t value;
} value;

typedef uint64_t (*device_create_fn)(void *log, const config **configs, void **device);
typedef uint64_t (*get_providers_fn)(const provider *const **providers, uint32_t *n);

static provider mine;
static const provider *list[1] = {&mine};
static device_create_fn real_create;

static uint64_t create(void *log, const config **configs, void **device)
{
    value values[MOST_CONFIGS];
    config custom[MOST_CONFIGS];
    const config *passed[MOST_CONFIGS + 1] = {NULL};
    for (int i = 0; configs && configs[i] && i < MOST_CONFIGS; i++) {
        passed[i] = configs[i];
        if (configs[i]->option != 0) continue;
        values[i] = (value){0};
        memcpy(&values[i].option, configs[i]->custom, 4);
        memcpy(&values[i].value, (const char *)configs[i]->custom + 4, 8);
        custom[i] = (config){.custom = &values[i]};
        passed[i] = &custom[i];
    }
    return real_create(log, configs ? passed : NULL, device);
}

__attribute__((visibility("default"))) uint64_t QnnInterface_getProviders(const provider *const **providers,
                                                                          uint32_t *n);

uint64_t QnnInterface_getProviders(const provider *const **providers, uint32_t *n)
{
    const provider *const *theirs = NULL;
    get_providers_fn get = NULL;
    void *library = dlopen(QNN_HTP, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, "QnnInterface_getProviders") : NULL;
    memcpy(&get, &symbol, sizeof get); /* ISO C has no conversion between the two kinds of pointers */
    if (!get || get(&theirs, n) != 0 || *n < 1) return 1;
    memcpy(&mine, theirs[0], sizeof mine);
    real_create = (device_create_fn)mine.slots[DEVICE_CREATE];
    mine.slots[DEVICE_CREATE] = (slot)create;
    *providers = list;
    *n = 1;
    return 0;
}
