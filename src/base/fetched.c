#include "base/fetched.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/path.h"

/* "ORG/NAME" of a path in a Hugging Face cache (models--ORG--NAME/...), or a phrase that stands for it. */
static void repository_of(char out[200], const char *path)
{
    static const char mark[] = "models--";
    const char *at = strstr(path, mark), *end = at ? strchr(at, '/') : NULL;
    const char *name = at ? strstr(at + sizeof mark - 1, "--") : NULL;
    snprintf(out, 200, "ORG/NAME");
    if (!name || (end && name > end)) return;
    at += sizeof mark - 1;
    if (!end) end = at + strlen(at);
    snprintf(out, 200, "%.*s/%.*s", (int)(name - at < 90 ? name - at : 90), at,
             (int)(end - name - 2 < 90 ? end - name - 2 : 90), name + 2);
}

dlx_status dlx_fetched_file(bool *there, const char *path, dlx_error *err)
{
    struct stat st;
    char target[256], repository[200];
    *there = stat(path, &st) == 0; /* whatever it is: opening what is no file says so */
    if (*there || errno != ENOENT || lstat(path, &st) != 0 || !S_ISLNK(st.st_mode)) return DLX_OK;
    ssize_t n = readlink(path, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    repository_of(repository, path);
    return dlx_fail(err, DLX_E_IO,
                    "'%s' is a link to '%s', which is not there: the download is incomplete; fetch the rest with: hf "
                    "download %s",
                    path, target, repository);
}

dlx_status dlx_check_fetched(const void *bytes, size_t n, const char *path, dlx_error *err)
{
    static const char pointer[] = "version https://git-lfs";
    if (n < sizeof pointer - 1 || memcmp(bytes, pointer, sizeof pointer - 1) != 0) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT,
                    "'%s' is a git-lfs pointer, not the file itself; fetch it with `git lfs pull` in its folder", path);
}

/* Whether folder/below holds a file whose name ends in ".incomplete". */
static bool has_incomplete(const char *folder, const char *below)
{
    char path[4096];
    return dlx_path_join(path, sizeof path, folder, below) && dlx_folder_has(path, ".incomplete");
}

dlx_fetched_hint dlx_incomplete_download(const char *folder)
{
    dlx_fetched_hint hint = {{0}};
    char repository[200];
    /* Beside the snapshots of the cache, and where `hf download --local-dir` keeps them. */
    if (!has_incomplete(folder, "../../blobs") && !has_incomplete(folder, ".cache/huggingface/download")) return hint;
    repository_of(repository, folder);
    snprintf(hint.s, sizeof hint.s, "; the download is incomplete, fetch the rest with: hf download %s", repository);
    return hint;
}

dlx_fetched_hint dlx_fetch_the_rest(const char *folder)
{
    dlx_fetched_hint hint = dlx_incomplete_download(folder);
    char repository[200];
    if (*hint.s) return hint;
    repository_of(repository, folder);
    bool cached = strstr(folder, "models--") != NULL; /* elsewhere the files go where the others are */
    snprintf(hint.s, sizeof hint.s, "; fetch the rest with: hf download %s%s%.80s", repository,
             cached ? "" : " --local-dir ", cached ? "" : folder);
    return hint;
}
