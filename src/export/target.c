#include "export/target.h"

#include <stdlib.h>
#include <string.h>

#include "model/checkpoint.h"

/* Whatever lies in a checkpoint folder may be read, but for programs that were exported into it. */
static bool is_of_checkpoint(const char *name)
{
    size_t n = strlen(name);
    return n < 4 || strcmp(name + n - 4, ".pte") != 0;
}

dlx_status dlx_target_open(dlx_output *out, const char *path, const char *model_path, const char *const *reading,
                           size_t n, dlx_error *err)
{
    char *folder;
    DLX_TRY(dlx_output_open(out, path, err));
    DLX_TRY(dlx_resolve_checkpoint(&folder, model_path, err));
    dlx_status s = dlx_output_apart(out, folder, is_of_checkpoint, err);
    free(folder);
    return s == DLX_OK ? dlx_output_apart_from(out, reading, n, err) : s;
}
