/*
 * Runs a fuzz target over files and folders given on the command line, without a fuzzing engine: the corpus as a
 * regression test, and crashes as plain programs. Folders are not searched recursively.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "fuzz.h"

static int replay_file(const char *path)
{
    char *bytes;
    size_t size;
    dlx_error err;
    if (dlx_read_file(&bytes, &size, path, SIZE_MAX / 2, &err) != DLX_OK) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
    free(bytes);
    return 1;
}

/* Files run, or -1. */
static int replay(const char *path)
{
    if (!dlx_is_folder(path)) return replay_file(path);
    DIR *folder = opendir(path);
    if (!folder) {
        perror(path);
        return -1;
    }
    int files = 0;
    for (struct dirent *entry; files >= 0 && (entry = readdir(folder)) != NULL;) {
        char name[4096];
        if (entry->d_name[0] == '.') continue;
        if (snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name || dlx_is_folder(name))
            continue;
        int n = replay_file(name);
        files = n < 0 ? -1 : files + n;
    }
    closedir(folder);
    return files;
}

int main(int argc, char **argv)
{
    int files = 0;
    for (int i = 1; i < argc; i++) {
        int n = replay(argv[i]);
        if (n < 0) return 1;
        files += n;
    }
    printf("%d files replayed\n", files);
    return files ? 0 : 1; /* an empty corpus tests nothing */
}
