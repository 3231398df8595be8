/* What a file and a checkpoint say differently of what decoding goes by: facts, sizes, numbers inside layers, words. */
#ifndef DLX_EXPORT_DIFFERENCES_H
#define DLX_EXPORT_DIFFERENCES_H

#include "calibrate/layer_errors.h"
#include "model/checkpoint.h"
#include "text/tokenizer.h"

typedef struct dlx_file_said {
    const char *path;
    const dlx_model_facts *facts; /* as the file has them */
    const dlx_file_layers *layers;
    const dlx_tokenizer *tokenizer; /* NULL: it has none */
} dlx_file_said;

/* "layers 3, mask id 5", as the file has them and as the checkpoint does; a list that is long ends with "...". */
typedef struct dlx_differences {
    char file[136], checkpoint[136];
    size_t n;
    bool told; /* all of them are facts that an export can be told otherwise: family, mask, block */
} dlx_differences;

/* `tokenizer`: the checkpoint's, NULL: it has none. */
dlx_status dlx_differences_find(dlx_differences *out, const dlx_file_said *file, const dlx_checkpoint *c,
                                const dlx_tokenizer *tokenizer, dlx_error *err);

#endif
