/*
 * doctor: what this build is and what the machine offers it, and what is missing. The library says what it knows about
 * itself; memory, folders and the terminal are looked up here. Nothing is changed.
 */
#include <dirent.h>
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <gnu/libc-version.h>
#endif

#include "commands.h"
#include "doctor_machine.h"
#include "hush.h"
#include "json.h"
#include "output.h"

enum { MOST_REMARKS = 16, MOST_BACKENDS = 8, LABEL = 18 };

/* A backend that this build writes for. */
typedef struct backend {
    const char *name;
    bool ready;       /* what it needs is there, */
    char needs[1024]; /* this; "": nothing. Otherwise what to do */
} backend;

typedef struct folder {
    char *path; /* malloc'd; NULL: there is none */
    bool exists, is_folder, readable, writable;
    uint64_t free_bytes;
    int64_t checkpoints; /* of the cache: repositories in it */
} folder;

typedef struct report {
    dlx_build_info build;
    dlx_cli_machine machine;
    folder cache, here;
    backend backends[MOST_BACKENDS];
    size_t n_backends;
    bool has_cache; /* the build exports */
    bool is_terminal, colours, utf8;
    int columns;
    int32_t threads; /* that a pool has; 0: the system refused */
    char remark[MOST_REMARKS][640];
    bool needed[MOST_REMARKS]; /* the remark names something without which commands fail */
    size_t n_remarks;
} report;

static void remark(report *r, bool needed, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void remark(report *r, bool needed, const char *format, ...)
{
    va_list list;
    if (r->n_remarks == MOST_REMARKS) return;
    va_start(list, format);
    vsnprintf(r->remark[r->n_remarks], sizeof r->remark[0], format, list);
    va_end(list);
    r->needed[r->n_remarks++] = needed;
}

static size_t count(const report *r, bool needed)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_remarks; i++) n += r->needed[i] == needed;
    return n;
}

/* ---- looking ---------------------------------------------------------------------------------------------------- */

/* The path, or the nearest folder above it that exists: where it would be made. */
static void free_space(folder *f)
{
    struct statvfs s;
    char *path = strdup(f->path);
    for (char *slash; path; *slash = '\0') {
        if (statvfs(*path ? path : "/", &s) == 0) {
            f->free_bytes = (uint64_t)s.f_bavail * s.f_frsize;
            f->writable = access(*path ? path : "/", W_OK | X_OK) == 0;
            break;
        }
        slash = strrchr(path, '/');
        if (!slash) break;
    }
    free(path);
}

static void look_at(folder *f)
{
    struct stat s;
    f->exists = stat(f->path, &s) == 0;
    f->is_folder = f->exists && S_ISDIR(s.st_mode);
    f->readable = f->is_folder && access(f->path, R_OK | X_OK) == 0;
    free_space(f);
    DIR *d = f->readable ? opendir(f->path) : NULL;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) f->checkpoints += !strncmp(e->d_name, "models--", 8);
    if (d) closedir(d);
}

static void look_at_cache(report *r)
{
#if !defined(DLX_RUNTIME_ONLY)
    dlx_error err;
    char *path;
    r->has_cache = true;
    if (dlx_export_cache_folder(&path, &err) != DLX_OK) {
        remark(r, false, "%s; checkpoints can be given as folders only", err.message);
        return;
    }
    r->cache.path = strdup(path);
    dlx_free(path);
    if (!r->cache.path) return;
    look_at(&r->cache);
    if (r->cache.exists && !r->cache.is_folder)
        remark(r, true,
               "'%s', where checkpoints named org/name are looked up, is no folder; remove it, or set HF_HUB_CACHE",
               r->cache.path);
    else if (r->cache.exists && !r->cache.readable)
        remark(r, true,
               "the folder '%s', where checkpoints named org/name are looked up, cannot be read; mend its "
               "permissions, or set HF_HUB_CACHE",
               r->cache.path);
#else
    remark(r, false,
           "this program was built with DLX_RUNTIME_ONLY: it runs files with token ids; export, chat, eval, "
           "sudoku, run and text prompts need the full build");
#endif
}

static void look_at_backends(report *r)
{
#if !defined(DLX_RUNTIME_ONLY)
    dlx_backend_info info = {.struct_size = sizeof info};
    dlx_cli_hush hush = dlx_cli_hush_begin(true);
    for (size_t i = 0; i < MOST_BACKENDS && dlx_export_backend_info(i, &info); i++) {
        backend *b = &r->backends[r->n_backends++];
        dlx_export_options o = dlx_export_options_default();
        dlx_error err;
        char *found;
        b->name = o.backend = info.name;
        b->ready = dlx_export_backend_check(&o, &found, &err) == DLX_OK;
        snprintf(b->needs, sizeof b->needs, "%s", b->ready ? found : err.message);
        dlx_free(found);
    }
    dlx_cli_hush_end(&hush);
#else
    (void)r;
#endif
}

static void look_at_kernels(report *r)
{
    dlx_kernel_set_info set = {.struct_size = sizeof set};
    size_t best = 0;
    for (size_t i = 0; dlx_get_kernel_set_info(i, &set); i++)
        if (set.best) best = i;
    if (best == 0)
        remark(r, false, "no kernels of this build fit this CPU but those in plain C, which take many times as long");
}

static void look_at_threads(report *r)
{
    dlx_thread_pool *pool;
    dlx_error err;
    if (dlx_thread_pool_create(&pool, 0, &err) != DLX_OK) {
        remark(r, true, "%s; give --threads 1, or raise the limit on processes (ulimit -u, pids.max)", err.message);
        return;
    }
    r->threads = dlx_thread_pool_size(pool);
    dlx_thread_pool_free(pool);
}

static void look_at_terminal(report *r)
{
    setlocale(LC_CTYPE, "");
    r->is_terminal = dlx_cli_is_terminal(stdout);
    r->colours = dlx_cli_colours(stdout);
    r->utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
    r->columns = dlx_cli_columns(stdout);
    if (r->is_terminal && !r->utf8)
        remark(r, false,
               "the locale's characters are %s, not UTF-8: set LC_ALL=C.UTF-8 to type and read all characters",
               nl_langinfo(CODESET));
}

static void look(report *r)
{
    r->build.struct_size = sizeof r->build;
    (void)dlx_get_build_info(&r->build);
    dlx_cli_machine_read(&r->machine);
    look_at_kernels(r);
    look_at_threads(r);
    look_at_cache(r);
    look_at_backends(r);
    r->here.path = getcwd(NULL, 0);
    if (r->here.path)
        look_at(&r->here);
    else
        remark(r, false, "the current folder cannot be named: %s", strerror(errno));
    look_at_terminal(r);
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

static void label(const char *text)
{
    printf("%-*s", LABEL, text);
}

static void put_build(const report *r)
{
    dlx_library_info library = {.struct_size = sizeof library};
    label("diffulex-edge");
    printf("%s, %s build for %s by %s, API %u\n", r->build.version, r->build.half, r->build.architecture,
           r->build.compiler, (unsigned)dlx_api_version());
    label("libraries");
    for (size_t i = 0; dlx_get_library_info(i, &library); i++) printf("%s %s, ", library.name, library.version);
#if defined(__GLIBC__)
    printf("C library: glibc %s\n", gnu_get_libc_version());
#else
    printf("the C library\n");
#endif
}

static void put_cpu(const report *r)
{
    dlx_kernel_set_info set = {.struct_size = sizeof set};
    dlx_cpu_feature_info feature = {.struct_size = sizeof feature};
    label("CPU");
    printf("%s; %d of %ld CPUs for this process", *r->machine.cpu ? r->machine.cpu : r->build.architecture,
           (int)dlx_cpu_count(), r->machine.cpus_online);
    printf(r->threads ? ", threads start\n" : "\n");
    for (int present = 1; present >= 0; present--) {
        size_t n = 0;
        for (size_t i = 0; dlx_get_cpu_feature_info(i, &feature); i++)
            if (feature.present == present) {
                if (!n++) label(present ? "instructions" : "  lacking");
                printf("%s%s", n > 1 ? ", " : "", feature.name);
            }
        if (n) printf("\n");
    }
    label("kernels");
    for (size_t i = 0; dlx_get_kernel_set_info(i, &set); i++)
        printf("%s%s%s", i ? ", " : "", set.name, set.best ? " (chosen)" : set.available ? "" : " (not here)");
    printf("\n");
}

static void put_backends(const report *r)
{
    const char *between = "";
    if (!r->n_backends) return;
    label("backends");
    for (size_t i = 0; i < r->n_backends; i++) {
        const backend *b = &r->backends[i];
        if (!b->ready) continue;
        printf("%s%s", between, b->name);
        if (*b->needs) printf(" (%s)", b->needs);
        between = ", ";
    }
    for (size_t i = 0; i < r->n_backends; i++)
        if (!r->backends[i].ready) printf("; not %s: %s", r->backends[i].name, r->backends[i].needs);
    printf("\n");
}

static void put_memory(const report *r)
{
    char a[32], b[32], c[32];
    label("memory");
    if (r->machine.memory)
        printf("%s, %s of it available", dlx_cli_bytes(a, r->machine.memory), dlx_cli_bytes(b, r->machine.available));
    else
        printf("unknown");
    if (r->machine.limit) printf("; control groups allow %s", dlx_cli_bytes(c, r->machine.limit));
    printf("\n");
    label("huge pages");
    printf("%s\n", *r->machine.huge_pages ? r->machine.huge_pages : "unknown");
}

static void put_folder(const char *name, const folder *f, bool cache)
{
    char a[32];
    label(name);
    if (!f->path) {
        printf("none\n");
        return;
    }
    printf("%s: ", f->path);
    if (!f->exists)
        printf("does not exist yet");
    else if (!f->is_folder)
        printf("no folder");
    else if (!f->readable)
        printf("cannot be read");
    else if (cache)
        printf("%lld checkpoint%s", (long long)f->checkpoints, f->checkpoints == 1 ? "" : "s");
    else
        printf("readable");
    printf(", %s, %s free\n", f->writable ? "writable" : "not writable", dlx_cli_bytes(a, f->free_bytes));
}

static void put_terminal(const report *r)
{
    label("terminal");
    printf("%s%s, %d columns, %s\n", r->is_terminal ? "yes" : "no: the output is not one",
           r->colours ? ", colours" : ", no colours", r->columns, r->utf8 ? "UTF-8" : nl_langinfo(CODESET));
}

static void put_text(const report *r)
{
    put_build(r);
    put_cpu(r);
    put_memory(r);
    put_backends(r);
    if (r->has_cache) put_folder("checkpoints", &r->cache, true);
    put_folder("current folder", &r->here, false);
    put_terminal(r);
    printf("\n");
    for (size_t i = 0; i < r->n_remarks; i++) printf("%s: %s\n", r->needed[i] ? "to do" : "note", r->remark[i]);
    if (!count(r, true)) printf("everything that is needed is there\n");
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static void json_build(dlx_cli_json *j, const report *r)
{
    dlx_library_info library = {.struct_size = sizeof library};
    dlx_cli_json_text(j, "version", r->build.version);
    dlx_cli_json_int(j, "api_version", dlx_api_version());
    dlx_cli_json_text(j, "half", r->build.half);
    dlx_cli_json_text(j, "architecture", r->build.architecture);
    dlx_cli_json_text(j, "compiler", r->build.compiler);
    dlx_cli_json_open(j, "libraries", '[');
    for (size_t i = 0; dlx_get_library_info(i, &library); i++) {
        dlx_cli_json_open(j, NULL, '{');
        dlx_cli_json_text(j, "name", library.name);
        dlx_cli_json_text(j, "version", library.version);
        dlx_cli_json_text(j, "purpose", library.purpose);
        dlx_cli_json_close(j, '}');
    }
    dlx_cli_json_close(j, ']');
}

static void json_cpu(dlx_cli_json *j, const report *r)
{
    dlx_kernel_set_info set = {.struct_size = sizeof set};
    dlx_cpu_feature_info feature = {.struct_size = sizeof feature};
    dlx_cli_json_text(j, "cpu", *r->machine.cpu ? r->machine.cpu : NULL);
    dlx_cli_json_int(j, "cpus", dlx_cpu_count());
    dlx_cli_json_int(j, "cpus_online", r->machine.cpus_online);
    dlx_cli_json_int(j, "threads", r->threads);
    dlx_cli_json_open(j, "instructions", '{');
    for (size_t i = 0; dlx_get_cpu_feature_info(i, &feature); i++) dlx_cli_json_bool(j, feature.name, feature.present);
    dlx_cli_json_close(j, '}');
    dlx_cli_json_open(j, "kernels", '[');
    for (size_t i = 0; dlx_get_kernel_set_info(i, &set); i++) {
        dlx_cli_json_open(j, NULL, '{');
        dlx_cli_json_text(j, "name", set.name);
        dlx_cli_json_bool(j, "available", set.available);
        dlx_cli_json_bool(j, "chosen", set.best);
        dlx_cli_json_close(j, '}');
    }
    dlx_cli_json_close(j, ']');
}

static void json_backends(dlx_cli_json *j, const report *r)
{
    if (!r->n_backends) return;
    dlx_cli_json_open(j, "backends", '[');
    for (size_t i = 0; i < r->n_backends; i++) {
        const backend *b = &r->backends[i];
        dlx_cli_json_open(j, NULL, '{');
        dlx_cli_json_text(j, "name", b->name);
        dlx_cli_json_bool(j, "ready", b->ready);
        dlx_cli_json_text(j, b->ready ? "found" : "reason", *b->needs ? b->needs : NULL);
        dlx_cli_json_close(j, '}');
    }
    dlx_cli_json_close(j, ']');
}

static void json_folder(dlx_cli_json *j, const char *key, const folder *f)
{
    dlx_cli_json_open(j, key, '{');
    dlx_cli_json_text(j, "path", f->path);
    dlx_cli_json_bool(j, "exists", f->exists);
    dlx_cli_json_bool(j, "readable", f->readable);
    dlx_cli_json_bool(j, "writable", f->writable);
    dlx_cli_json_int(j, "free_bytes", (int64_t)f->free_bytes);
    dlx_cli_json_int(j, "checkpoints", f->checkpoints);
    dlx_cli_json_close(j, '}');
}

static void json_remarks(dlx_cli_json *j, const char *key, const report *r, bool needed)
{
    dlx_cli_json_open(j, key, '[');
    for (size_t i = 0; i < r->n_remarks; i++)
        if (r->needed[i] == needed) dlx_cli_json_text(j, NULL, r->remark[i]);
    dlx_cli_json_close(j, ']');
}

static void put_json(const report *r)
{
    dlx_cli_json j = {.out = stdout};
    dlx_cli_json_open(&j, NULL, '{');
    json_build(&j, r);
    json_cpu(&j, r);
    json_backends(&j, r);
    dlx_cli_json_int(&j, "memory_bytes", (int64_t)r->machine.memory);
    dlx_cli_json_int(&j, "available_bytes", (int64_t)r->machine.available);
    if (r->machine.limit) dlx_cli_json_int(&j, "memory_limit_bytes", (int64_t)r->machine.limit);
    dlx_cli_json_text(&j, "huge_pages", *r->machine.huge_pages ? r->machine.huge_pages : NULL);
    if (r->has_cache) json_folder(&j, "checkpoint_cache", &r->cache);
    json_folder(&j, "current_folder", &r->here);
    dlx_cli_json_bool(&j, "terminal", r->is_terminal);
    dlx_cli_json_bool(&j, "colours", r->colours);
    dlx_cli_json_bool(&j, "utf8", r->utf8);
    dlx_cli_json_int(&j, "columns", r->columns);
    json_remarks(&j, "notes", r, false);
    json_remarks(&j, "to_do", r, true);
    dlx_cli_json_bool(&j, "ok", !count(r, true));
    dlx_cli_json_close(&j, '}');
    printf("\n");
}

static int run(const dlx_cli_arguments *a)
{
    report r = {.n_remarks = 0};
    look(&r);
    if (dlx_cli_flag(a, "json", false))
        put_json(&r);
    else
        put_text(&r);
    int status = count(&r, true) ? DLX_CLI_FAILED : DLX_CLI_OK;
    free(r.cache.path);
    free(r.here.path);
    return status;
}

static const dlx_cli_option options[] = {
    {"json", DLX_CLI_FLAG, NULL, "one JSON object", 0, 0},
};

const dlx_cli_command dlx_cli_doctor = {
    .name = "doctor",
    .arguments = "",
    .summary = "says what this program and this machine have, and what is missing",
    .notes = "Build, libraries, CPU and the kernels for it, backends of export and what they need, memory, the folder "
             "of checkpoints, terminal. Nothing is changed. Exit status 1 when something that is needed is missing.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .run = run,
};
