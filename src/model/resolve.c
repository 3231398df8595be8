/*
 * Where a checkpoint lies: a folder, or a repository in the Hugging Face cache, whose layout is
 * <cache>/models--ORG--NAME/{refs/main, snapshots/REVISION/config.json}. Nothing is downloaded or written.
 */
#include "model/checkpoint.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/sizes.h"
#include "base/text_buffer.h"

enum { MOST_NAME = 96, MOST_REVISION = 256 };

/* a/b as one malloc'd string; NULL when memory is out. */
static char *join(const char *a, const char *b)
{
    dlx_text_buffer t = {0};
    char *out;
    dlx_put(&t, "%s%s%s", a, *a && a[strlen(a) - 1] == '/' ? "" : "/", b);
    return dlx_text_take(&t, &out, "", NULL) == DLX_OK ? out : NULL;
}

static dlx_status out_of_memory(const char *path, dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory looking for checkpoint '%s'", path);
}

/* ---- the cache's folder ----------------------------------------------------------------------------------------- */

/* A folder from the environment, "~" expanded; NULL when memory is out. */
static char *expand(const char *folder)
{
    const char *home = getenv("HOME");
    if (folder[0] == '~' && (folder[1] == '/' || !folder[1]) && home) return join(home, folder[1] ? folder + 2 : "");
    return strdup(folder);
}

/* The first that is set decides, as in huggingface_hub. */
dlx_status dlx_cache_folder(char **out, dlx_error *err)
{
    static const struct {
        const char *variable, *below;
    } places[] = {
        {"HF_HUB_CACHE", ""}, {"HUGGINGFACE_HUB_CACHE", ""}, {"HF_HOME", "hub"}, {"XDG_CACHE_HOME", "huggingface/hub"}};
    const char *home = getenv("HOME");
    *out = NULL;
    for (size_t i = 0; i < DLX_COUNT(places); i++) {
        const char *value = getenv(places[i].variable);
        if (!value || !*value) continue;
        char *folder = expand(value);
        *out = folder && *places[i].below ? join(folder, places[i].below) : folder;
        if (*out != folder) free(folder);
        return *out ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory looking for the Hugging Face cache");
    }
    if (home && *home) {
        *out = join(home, ".cache/huggingface/hub");
    } else {
        return dlx_fail(err, DLX_E_INVALID,
                        "the Hugging Face cache cannot be found: none of HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, "
                        "XDG_CACHE_HOME and HOME is set");
    }
    return *out ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory looking for the Hugging Face cache");
}

/* ---- a repository of the cache ---------------------------------------------------------------------------------- */

static bool plain_name(const char *s, size_t n)
{
    if (!n || n > MOST_NAME || s[0] == '.' || s[0] == '-') return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '.' && s[i] != '_' && s[i] != '-') return false;
    return true;
}

static bool is_repository_name(const char *path)
{
    const char *slash = strchr(path, '/');
    return slash && plain_name(path, (size_t)(slash - path)) && plain_name(slash + 1, strlen(slash + 1));
}

/* What refs/main holds; "" where there is none. */
static dlx_status main_revision(char revision[MOST_REVISION], const char *repository, dlx_error *err)
{
    revision[0] = '\0';
    char *path = join(repository, "refs/main"), *text;
    size_t n;
    if (!path) return out_of_memory(repository, err);
    dlx_status s = DLX_OK;
    if (dlx_is_file(path) && (s = dlx_read_file(&text, &n, path, MOST_REVISION - 1, err)) == DLX_OK) {
        while (n && isspace((unsigned char)text[n - 1])) n--;
        text[n] = '\0';
        if (plain_name(text, n))
            memcpy(revision, text, n + 1);
        else
            s = dlx_fail(err, DLX_E_FORMAT, "'%s' does not hold the name of a revision", path);
        free(text);
    }
    free(path);
    return s;
}

/* The only entry of `snapshots`; "" where it has none. */
static dlx_status only_snapshot(char revision[MOST_REVISION], const char *snapshots, dlx_error *err)
{
    revision[0] = '\0';
    DIR *d = opendir(snapshots);
    if (!d && errno == ENOENT) return DLX_OK;
    if (!d) return dlx_fail_errno(err, "read", snapshots);
    size_t found = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && strlen(e->d_name) < MOST_REVISION && found++ == 0) strcpy(revision, e->d_name);
    closedir(d);
    if (found < 2) return DLX_OK;
    return dlx_fail(err, DLX_E_INVALID,
                    "'%s' has %zu snapshots and no refs/main says which; give the snapshot's folder", snapshots, found);
}

/* The snapshot folder of a repository, malloc'd; *out stays NULL where there is none. */
static dlx_status find_snapshot(char **out, const char *repository, dlx_error *err)
{
    char revision[MOST_REVISION], *snapshots = join(repository, "snapshots");
    *out = NULL;
    if (!snapshots) return out_of_memory(repository, err);
    dlx_status s = main_revision(revision, repository, err);
    if (s == DLX_OK && !revision[0]) s = only_snapshot(revision, snapshots, err);
    if (s == DLX_OK && revision[0]) {
        *out = join(snapshots, revision);
        if (!*out) s = out_of_memory(repository, err);
    }
    free(snapshots);
    if (*out && !dlx_is_folder(*out)) {
        free(*out);
        *out = NULL;
    }
    return s;
}

static dlx_status find_in_cache(char **folder, const char *name, dlx_error *err)
{
    char *cache, *repository;
    DLX_TRY(dlx_cache_folder(&cache, err));
    dlx_text_buffer t = {0};
    const char *slash = strchr(name, '/');
    dlx_put(&t, "%s/models--%.*s--%s", cache, (int)(slash - name), name, slash + 1);
    dlx_status s = dlx_text_take(&t, &repository, "looking for a checkpoint", err);
    if (s == DLX_OK) s = find_snapshot(folder, repository, err);
    if (s == DLX_OK && !*folder)
        s = dlx_fail(
            err, DLX_E_IO,
            "checkpoint '%s' is no folder and not in the Hugging Face cache '%s'; fetch it with: hf download %s", name,
            cache, name);
    free(repository);
    free(cache);
    return s;
}

dlx_status dlx_resolve_checkpoint(char **folder, const char *path, dlx_error *err)
{
    *folder = NULL;
    if (!path || !*path) return dlx_fail(err, DLX_E_INVALID, "no checkpoint was given; name a folder or org/name");
    if (dlx_is_folder(path)) {
        /* The cache's folder of a repository itself is taken as well. */
        char *config = join(path, "config.json");
        if (!config) return out_of_memory(path, err);
        bool plain = dlx_exists(config);
        free(config);
        if (!plain) DLX_TRY(find_snapshot(folder, path, err));
        if (!*folder) *folder = strdup(path);
        return *folder ? DLX_OK : out_of_memory(path, err);
    }
    if (dlx_is_file(path))
        return dlx_fail(err, DLX_E_INVALID, "'%s' is a file; expected the folder of a Hugging Face checkpoint", path);
    if (is_repository_name(path)) return find_in_cache(folder, path, err);
    return dlx_fail(err, DLX_E_IO, "checkpoint '%s' is neither a folder nor a name like org/name", path);
}
