/*
 * A part as the two files of a model package: the model with its one function, and the weights.
 *
 * Inside all is float16: what comes in as float32 is rounded at once, what goes out so is widened at the end.
 */
#include <string.h>

#include "backends/coreml/emitter.h"

/* Field numbers of Model.proto and FeatureTypes.proto. */
enum { MODEL_VERSION = 1, MODEL_DESCRIPTION = 2, MODEL_PROGRAM = 502 };
enum { DESCRIPTION_INPUT = 1, DESCRIPTION_OUTPUT = 10, DESCRIPTION_STATE = 13 };
enum { FEATURE_NAME = 1, FEATURE_TYPE = 3, TYPE_ARRAY = 5, TYPE_STATE = 8, STATE_ARRAY = 1 };
enum { ARRAY_SHAPE = 1, ARRAY_DTYPE = 2, ARRAY_F16 = 65552, ARRAY_F32 = 65568, ARRAY_I32 = 131104 };
/* Those of MIL.proto around a block. */
enum { PROGRAM_VERSION = 1, PROGRAM_FUNCTIONS = 2 };
enum { FUNCTION_INPUTS = 1, FUNCTION_OPSET = 2, FUNCTION_BLOCKS = 3 };
enum { BLOCK_OUTPUTS = 2, MAP_KEY = 1, MAP_VALUE = 2, NAMED_NAME = 1, NAMED_TYPE = 2 };
enum { VALUE_STATE = 5, STATE_WRAPPED = 1 };

/* What a target's files are: the version of the model, and the set of operators. */
static const struct {
    int version;
    const char *opset;
} editions[DLX_COREML_TARGETS] = {
    [DLX_COREML_IOS16] = {7, "CoreML6"},
    [DLX_COREML_IOS17] = {8, "CoreML7"},
    [DLX_COREML_IOS18] = {9, "CoreML8"},
};

dlx_status dlx_coreml_no_memory(dlx_error *err, const dlx_part *part)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory lowering a part of %zu nodes to CoreML", part->n_nodes);
}

static void take_inputs(dlx_coreml_emitter *e)
{
    const dlx_coreml_features *f = &e->features;
    for (size_t i = 0; i < f->n_in; i++) {
        dlx_mil_value in = {f->in[i].name, f->in[i].type};
        e->value[f->in[i].value] = in.type.dtype == DLX_MIL_F32 ? dlx_mil_cast(&e->mil, in, DLX_MIL_F16, NULL) : in;
    }
    for (size_t i = 0; i < f->n_states; i++)
        e->value[f->state[i].value] = dlx_mil_read_state(&e->mil, f->state[i].name, f->state[i].type);
}

static dlx_status give_outputs(dlx_coreml_emitter *e)
{
    const dlx_coreml_features *f = &e->features;
    for (size_t i = 0; i < f->n_out; i++) {
        dlx_mil_value x = e->value[f->out[i].value];
        if (!x.name) return dlx_coreml_no_memory(e->err, e->part);
        if (f->out[i].type.dtype == DLX_MIL_F32)
            dlx_mil_cast(&e->mil, x, DLX_MIL_F32, f->out[i].name);
        else
            dlx_mil_unary(&e->mil, "identity", x, f->out[i].name);
        dlx_proto_string(&e->mil.block, BLOCK_OUTPUTS, f->out[i].name);
    }
    return DLX_OK;
}

/* ---- the model ---- */

static void put_feature(dlx_proto *p, uint32_t field, const dlx_coreml_feature *f, bool state)
{
    size_t feature = dlx_proto_begin(p, field);
    dlx_proto_string(p, FEATURE_NAME, f->name);
    size_t kind = dlx_proto_begin(p, FEATURE_TYPE), array = dlx_proto_begin(p, state ? TYPE_STATE : TYPE_ARRAY);
    size_t kept = state ? dlx_proto_begin(p, STATE_ARRAY) : 0, shape = dlx_proto_begin(p, ARRAY_SHAPE);
    for (int i = 0; i < f->type.rank; i++) dlx_proto_packed(p, (uint64_t)f->type.dim[i]);
    dlx_proto_end(p, shape);
    dlx_proto_varint(p, ARRAY_DTYPE,
                     f->type.dtype == DLX_MIL_F16   ? ARRAY_F16
                     : f->type.dtype == DLX_MIL_F32 ? ARRAY_F32
                                                    : ARRAY_I32);
    if (state) dlx_proto_end(p, kept);
    dlx_proto_end(p, array);
    dlx_proto_end(p, kind);
    dlx_proto_end(p, feature);
}

static void put_description(dlx_coreml_emitter *e)
{
    const dlx_coreml_features *f = &e->features;
    size_t description = dlx_proto_begin(&e->model, MODEL_DESCRIPTION);
    for (size_t i = 0; i < f->n_in; i++) put_feature(&e->model, DESCRIPTION_INPUT, &f->in[i], false);
    for (size_t i = 0; i < f->n_out; i++) put_feature(&e->model, DESCRIPTION_OUTPUT, &f->out[i], false);
    for (size_t i = 0; i < f->n_states; i++) put_feature(&e->model, DESCRIPTION_STATE, &f->state[i], true);
    dlx_proto_end(&e->model, description);
}

static void put_function_input(dlx_proto *p, const dlx_coreml_feature *f, bool state)
{
    size_t input = dlx_proto_begin(p, FUNCTION_INPUTS);
    dlx_proto_string(p, NAMED_NAME, f->name);
    size_t type = state ? dlx_proto_begin(p, NAMED_TYPE) : 0, kept = state ? dlx_proto_begin(p, VALUE_STATE) : 0;
    dlx_mil_put_type(p, state ? STATE_WRAPPED : NAMED_TYPE, &f->type);
    if (state) {
        dlx_proto_end(p, kept);
        dlx_proto_end(p, type);
    }
    dlx_proto_end(p, input);
}

static void put_program(dlx_coreml_emitter *e)
{
    dlx_proto *p = &e->model;
    const dlx_coreml_features *f = &e->features;
    const char *opset = editions[e->options->target].opset;
    size_t program = dlx_proto_begin(p, MODEL_PROGRAM);
    dlx_proto_varint(p, PROGRAM_VERSION, 1);
    size_t entry = dlx_proto_begin(p, PROGRAM_FUNCTIONS);
    dlx_proto_string(p, MAP_KEY, "main");
    size_t function = dlx_proto_begin(p, MAP_VALUE);
    for (size_t i = 0; i < f->n_in; i++) put_function_input(p, &f->in[i], false);
    for (size_t i = 0; i < f->n_states; i++) put_function_input(p, &f->state[i], true);
    dlx_proto_string(p, FUNCTION_OPSET, opset);
    size_t blocks = dlx_proto_begin(p, FUNCTION_BLOCKS);
    dlx_proto_string(p, MAP_KEY, opset);
    dlx_proto_bytes(p, MAP_VALUE, e->mil.block.data, e->mil.block.size);
    dlx_proto_end(p, blocks);
    dlx_proto_end(p, function);
    dlx_proto_end(p, entry);
    dlx_proto_end(p, program);
}

static dlx_status emit(dlx_coreml_emitter *e)
{
    take_inputs(e);
    for (size_t i = 0; i < e->part->n_nodes; i++) DLX_TRY(dlx_coreml_node(e, &e->g->nodes[e->part->nodes[i]]));
    DLX_TRY(give_outputs(e));
    dlx_blobs_end(&e->blobs);
    if (e->mil.failed || e->mil.block.failed || e->blobs.failed) return dlx_coreml_no_memory(e->err, e->part);
    dlx_proto_varint(&e->model, MODEL_VERSION, (uint64_t)editions[e->options->target].version);
    put_description(e);
    put_program(e);
    return DLX_OK;
}

static dlx_status compile(dlx_coreml_emitter *e, dlx_coreml_program *out)
{
    e->value = dlx_arena_array(e->arena, e->g->n_values + 1, sizeof *e->value);
    if (!e->value) return dlx_coreml_no_memory(e->err, e->part);
    DLX_TRY(dlx_coreml_find_features(e));
    DLX_TRY(emit(e));
    void *model = e->model.failed ? NULL : dlx_arena_alloc(e->arena, e->model.size);
    if (!model) return dlx_coreml_no_memory(e->err, e->part);
    memcpy(model, e->model.data, e->model.size);
    *out = (dlx_coreml_program){.model = model,
                                .model_size = e->model.size,
                                .weights = e->blobs.pieces,
                                .n_weights = e->blobs.n_pieces,
                                .weights_size = e->blobs.size,
                                .features = e->features};
    return DLX_OK;
}

dlx_status dlx_coreml_compile(dlx_coreml_program *out, dlx_arena *arena, const dlx_part *part,
                              const dlx_coreml_options *options, dlx_error *err)
{
    dlx_coreml_emitter e = {.part = part, .g = part->g, .options = options, .arena = arena, .err = err};
    dlx_blobs_begin(&e.blobs, arena);
    dlx_mil_begin(&e.mil, arena, &e.blobs);
    dlx_status s = compile(&e, out);
    dlx_mil_free(&e.mil);
    dlx_proto_free(&e.model);
    return s;
}
