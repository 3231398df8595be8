/*
 * The weight files of a checkpoint folder, and the binding of their tensors to a model's roles: exactly the tensors
 * that the family has, in their shapes, in a float type.
 */
#ifndef DLX_MODEL_WEIGHTS_H
#define DLX_MODEL_WEIGHTS_H

#include "model/family.h"

/* The distinct file names in an index's weight_map, sorted, in `arena`. Names that leave the folder are refused. `path`
 * is the index's, for messages. */
dlx_status dlx_index_shards(const char *const **names, size_t *n, dlx_arena *arena, const json_t *index,
                            const char *path, dlx_error *err);

/* Opens the files of c->folder: model.safetensors, or the shards of model.safetensors.index.json, whose map must agree
 * with what the shards hold. */
dlx_status dlx_weights_open(dlx_checkpoint *c, dlx_error *err);

/* Fills c->embed .. c->layer from the opened files by c->shape; sets shape.tied to what is in effect. */
dlx_status dlx_weights_bind(dlx_checkpoint *c, const dlx_family_rules *rules, dlx_error *err);

#endif
