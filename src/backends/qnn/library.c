#define _GNU_SOURCE /* dladdr */
#include "backends/qnn/library.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/qnn/elf.h"
#include "base/path.h"
#include "base/sizes.h"

enum { PATH_BYTES = 4096, OLDEST_MINOR = 35 };

#define INSTALL                                                                                                        \
    "install them with 'pip install onnxruntime-qnn==2.3.0' (Linux on x86-64, glibc 2.35 or newer), or name the "      \
    "folder of an AI Engine Direct SDK that has libQnnHtp.so"

#define INSTALL_AGAIN                                                                                                  \
    "install them again with 'pip install --force-reinstall --no-deps onnxruntime-qnn==2.3.0', or name another folder"

#if defined(__aarch64__)
static const char *const sdk_folders[] = {"lib/aarch64-oe-linux-gcc11.2", "lib/aarch64-ubuntu-gcc9.4"};
#define SDK_FOLDERS "neither 'lib/aarch64-oe-linux-gcc11.2' nor 'lib/aarch64-ubuntu-gcc9.4' below it"
#else
static const char *const sdk_folders[] = {"lib/x86_64-linux-clang"};
#define SDK_FOLDERS "neither 'lib/x86_64-linux-clang' below it"
#endif

/* ---- where they are --------------------------------------------------------------------------------------------- */

static bool has_library(const char *folder)
{
    char path[PATH_BYTES];
    return dlx_path_join(path, sizeof path, folder, "libQnnHtp.so") && access(path, R_OK) == 0;
}

/* root/lib/python3.x/{site,dist}-packages/onnxruntime_qnn, of any 3.x */
static bool in_python(char out[PATH_BYTES], const char *root)
{
    static const char *const packages[] = {"site-packages", "dist-packages"};
    char lib[PATH_BYTES];
    struct dirent *e;
    bool found = false;
    if (!dlx_path_join(lib, sizeof lib, root, "lib")) return false;
    DIR *d = opendir(lib);
    if (!d) return false;
    while (!found && (e = readdir(d)) != NULL)
        for (size_t i = 0; !found && !strncmp(e->d_name, "python3", 7) && i < DLX_COUNT(packages); i++) {
            int n = snprintf(out, PATH_BYTES, "%s/%s/%s/onnxruntime_qnn", lib, e->d_name, packages[i]);
            found = n > 0 && n < PATH_BYTES && has_library(out);
        }
    closedir(d);
    return found;
}

/* Pythons that a shell would start: folders of $PATH are .../bin. */
static bool on_path(char out[PATH_BYTES])
{
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t n = strcspn(path, ":");
        char root[PATH_BYTES];
        if (n > 4 && n < sizeof root && !strncmp(path + n - 4, "/bin", 4)) {
            memcpy(root, path, n - 4);
            root[n - 4] = '\0';
            if (in_python(out, root)) return true;
        }
        path += n + (path[n] == ':');
    }
    return false;
}

static bool find(char out[PATH_BYTES])
{
    const char *python = getenv("VIRTUAL_ENV"), *home = getenv("HOME");
    char local[PATH_BYTES];
    if (python && in_python(out, python)) return true;
    if (home && dlx_path_join(local, sizeof local, home, ".local") && in_python(out, local)) return true;
    return on_path(out);
}

/* Of a kit, or a folder that has the libraries themselves. Whoever names one wants its version: no other is taken. */
static dlx_status of_kit(char out[PATH_BYTES], const char *kit, dlx_error *err)
{
    for (size_t i = 0; i < DLX_COUNT(sdk_folders); i++)
        if (dlx_path_join(out, PATH_BYTES, kit, sdk_folders[i]) && has_library(out)) return DLX_OK;
    if (snprintf(out, PATH_BYTES, "%s", kit) < PATH_BYTES && has_library(out)) return DLX_OK;
    return dlx_fail(err, DLX_E_UNSUPPORTED,
                    "$QNN_SDK_ROOT is '%s', and " SDK_FOLDERS " nor that folder itself has libQnnHtp.so; correct the "
                    "variable, or unset it so that an installed onnxruntime-qnn is found",
                    kit);
}

static dlx_status folder_of(char out[PATH_BYTES], const char *asked, dlx_error *err)
{
    const char *kit = getenv("QNN_SDK_ROOT");
    if (asked) {
        if (snprintf(out, PATH_BYTES, "%s", asked) >= PATH_BYTES || !has_library(out))
            return dlx_fail(err, DLX_E_UNSUPPORTED,
                            "the QNN backend needs Qualcomm's libraries, and '%s' has no libQnnHtp.so; " INSTALL,
                            asked);
        return DLX_OK;
    }
    if (kit && *kit) return of_kit(out, kit, err);
    if (find(out)) return DLX_OK;
    return dlx_fail(err, DLX_E_UNSUPPORTED,
                    "the QNN backend needs Qualcomm's libraries, which were not found in the Python of $VIRTUAL_ENV, "
                    "in ~/.local or in a Python of $PATH, and $QNN_SDK_ROOT is not set; " INSTALL);
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

dlx_status dlx_qnn_fail(const dlx_qnn_library *l, dlx_qnn_error code, dlx_error *err, const char *what)
{
    const char *message = NULL;
    if (l->api->error_message && l->api->error_message(code, &message) != 0) message = NULL;
    return dlx_fail(err, DLX_E_UNSUPPORTED, "QNN %s cannot %s: %s (error %llu)", l->build ? l->build : "", what,
                    message ? message : "it gives no reason", (unsigned long long)code & 0xFFFF);
}

static void ignore(const char *format, uint32_t level, uint64_t time, va_list arguments)
{
    (void)format;
    (void)level;
    (void)time;
    (void)arguments;
}

/* C++ exceptions of the process stay with its own unwinder. The package brings a libunwind, which comes before libgcc_s
 * where both are loaded by it: libgcc_s would take half of its functions from there, and end the process at the first
 * exception that another library throws. What is loaded before has found its own. A process without it has none that
 * throws. */
static void load_unwinder(dlx_qnn_library *l)
{
    l->loaded[0] = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
}

/* In the order in which they are opened: libQnnHtp.so asks for its compiler by name alone, and gets the one beside it.
 */
enum { LIBRARIES = 2 };
static const char *const names[LIBRARIES] = {"libHtpPrepare.so", "libQnnHtp.so"};

/* Before any is opened: the loader waits for a FIFO, and a file that is too short ends the process. */
static dlx_status check_files(char path[LIBRARIES][PATH_BYTES], const char *folder, dlx_error *err)
{
    for (size_t i = 0; i < LIBRARIES; i++) {
        dlx_error why = {0};
        if (!dlx_path_join(path[i], PATH_BYTES, folder, names[i]))
            return dlx_fail(err, DLX_E_LIMIT, "the path of Qualcomm's libraries has more than %d bytes",
                            PATH_BYTES - 1);
        if (dlx_elf_whole(path[i], &why) != DLX_OK)
            return dlx_fail(err, why.status == DLX_E_NOMEM ? DLX_E_NOMEM : DLX_E_UNSUPPORTED,
                            "Qualcomm's libraries cannot be loaded: %s; " INSTALL_AGAIN, why.message);
    }
    return DLX_OK;
}

static dlx_status load(void **out, const char *path, dlx_error *err)
{
    *out = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (*out) return DLX_OK;
    const char *why = dlerror();
    return dlx_fail(err, DLX_E_UNSUPPORTED, "cannot load Qualcomm's '%s': %s; " INSTALL, path,
                    why ? why : "no reason given");
}

static dlx_status interface(dlx_qnn_library *l, dlx_error *err)
{
    const dlx_qnn_provider *const *providers = NULL;
    uint32_t n = 0;
    dlx_qnn_get_providers_fn get;
    void *symbol = dlsym(l->loaded[2], "QnnInterface_getProviders");
    memcpy(&get, &symbol, sizeof get); /* ISO C has no conversion between the two kinds of pointers */
    if (!get || get(&providers, &n) != 0 || !providers || n < 1)
        return dlx_fail(err, DLX_E_UNSUPPORTED, "Qualcomm's libQnnHtp.so gives no interface");
    const dlx_qnn_provider *p = providers[0];
    if (p->backend != DLX_QNN_BACKEND_HTP || p->core.major != 2 || p->core.minor < OLDEST_MINOR)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "Qualcomm's libQnnHtp.so has interface %u.%u of backend %u; expected 2.%d or newer of backend "
                        "%d; " INSTALL,
                        p->core.major, p->core.minor, p->backend, OLDEST_MINOR, DLX_QNN_BACKEND_HTP);
    l->api = &p->api;
    if (l->api->get_build_id && l->api->get_build_id(&l->build) != 0) l->build = NULL;
    return DLX_OK;
}

static dlx_status start(dlx_qnn_library *l, dlx_error *err)
{
    dlx_qnn_htp_config chip = {.option = DLX_QNN_HTP_CHIP, .u.number = l->chip->id};
    dlx_qnn_config custom = {.custom = &chip};
    const dlx_qnn_config *config[] = {&custom, NULL};
    dlx_qnn_error e = l->api->log_create(ignore, 1, &l->log);
    if (e) return dlx_qnn_fail(l, e, err, "take a logger");
    e = l->api->backend_create(l->log, NULL, &l->backend);
    if (e) return dlx_qnn_fail(l, e, err, "start its HTP backend");
    e = l->api->device_create(l->log, config, &l->device);
    if (e) return dlx_qnn_fail(l, e, err, "prepare for the chip");
    return DLX_OK;
}

dlx_status dlx_qnn_library_open(dlx_qnn_library *out, const char *folder, const dlx_qnn_chip *chip, dlx_error *err)
{
    char found[PATH_BYTES], path[LIBRARIES][PATH_BYTES];
    dlx_status s = DLX_OK;
    memset(out, 0, sizeof *out);
    out->chip = chip;
    DLX_TRY(folder_of(found, folder, err));
    DLX_TRY(check_files(path, found, err));
    load_unwinder(out);
    for (size_t i = 0; s == DLX_OK && i < LIBRARIES; i++) s = load(&out->loaded[1 + i], path[i], err);
    if (s == DLX_OK) s = interface(out, err);
    if (s == DLX_OK) s = start(out, err);
    if (s != DLX_OK) dlx_qnn_library_close(out);
    return s;
}

/* Where the library lies that a function of the interface is of. */
static void put_folder(dlx_text_buffer *t, const dlx_qnn_library *l)
{
    Dl_info info;
    void *function;
    memcpy(&function, &l->api->backend_create, sizeof function); /* ISO C has no conversion between the two kinds */
    if (!dladdr(function, &info) || !info.dli_fname) return;
    const char *end = strrchr(info.dli_fname, '/');
    if (end) dlx_put(t, " in %.*s", (int)(end - info.dli_fname), info.dli_fname);
}

void dlx_qnn_library_describe(const dlx_qnn_library *l, dlx_text_buffer *t)
{
    dlx_put(t, "QNN %s", l->build ? l->build : "of unknown version");
    put_folder(t, l);
}

void dlx_qnn_library_close(dlx_qnn_library *l)
{
    if (l->device) l->api->device_free(l->device);
    if (l->backend) l->api->backend_free(l->backend);
    if (l->log) l->api->log_free(l->log);
    for (int i = 2; i >= 0; i--)
        if (l->loaded[i]) dlclose(l->loaded[i]);
    memset(l, 0, sizeof *l);
}
