/*
 * Fields of MIL's messages that are read here, by coremltools' mlmodel/format/MIL.proto, and what is found of a
 * function's linear layers.
 */
#ifndef DLX_FORMAT_COREML_MIL_H
#define DLX_FORMAT_COREML_MIL_H

#include "format/coreml.h"
#include "format/protobuf.h"

enum { DLX_PB_MAP_KEY = 1, DLX_PB_MAP_VALUE = 2 };
enum { DLX_MIL_BLOCK_OPERATIONS = 3 };
enum {
    DLX_MIL_OPERATION_TYPE = 1,
    DLX_MIL_OPERATION_INPUTS = 2,
    DLX_MIL_OPERATION_OUTPUTS = 3,
    DLX_MIL_OPERATION_BLOCKS = 4,
    DLX_MIL_OPERATION_ATTRIBUTES = 5
};

/* Into out->linears, for a block that was looked through before. What is damaged in it is left out; DLX_E_NOMEM
 * alone. */
dlx_status dlx_coreml_find_linears(dlx_coreml_contents *out, dlx_arena *arena, dlx_pb block, dlx_error *err);

#endif
