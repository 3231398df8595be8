/*
 * Parts as the two files of a model package: the model with a function for each, and the weights.
 *
 * Inside all is float16: what comes in as float32 is rounded at once, what goes out so is widened at the end.
 */
#include <string.h>

#include "backends/coreml/emitter.h"

/* Field numbers of Model.proto and FeatureTypes.proto. */
enum { MODEL_VERSION = 1, MODEL_DESCRIPTION = 2, MODEL_PROGRAM = 502 };
enum { DESCRIPTION_INPUT = 1, DESCRIPTION_OUTPUT = 10, DESCRIPTION_STATE = 13 };
enum { DESCRIPTION_FUNCTION = 20, DESCRIPTION_DEFAULT = 21 };
enum { FUNCTION_NAME = 1, FUNCTION_INPUT = 2, FUNCTION_OUTPUT = 3, FUNCTION_STATE = 6 };
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

const char dlx_coreml_main[] = "main";

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

static void put_features(dlx_proto *p, const dlx_coreml_features *f, const uint32_t field[3])
{
    for (size_t i = 0; i < f->n_in; i++) put_feature(p, field[0], &f->in[i], false);
    for (size_t i = 0; i < f->n_out; i++) put_feature(p, field[1], &f->out[i], false);
    for (size_t i = 0; i < f->n_states; i++) put_feature(p, field[2], &f->state[i], true);
}

/* Features stand in the description of a program's only function, or of each. */
static void put_description(dlx_proto *p, const dlx_coreml_function *functions, size_t n)
{
    static const uint32_t alone[3] = {DESCRIPTION_INPUT, DESCRIPTION_OUTPUT, DESCRIPTION_STATE};
    static const uint32_t each[3] = {FUNCTION_INPUT, FUNCTION_OUTPUT, FUNCTION_STATE};
    size_t description = dlx_proto_begin(p, MODEL_DESCRIPTION);
    if (n == 1) put_features(p, &functions->features, alone);
    for (size_t i = 0; n > 1 && i < n; i++) {
        size_t function = dlx_proto_begin(p, DESCRIPTION_FUNCTION);
        dlx_proto_string(p, FUNCTION_NAME, functions[i].name);
        put_features(p, &functions[i].features, each);
        dlx_proto_end(p, function);
    }
    if (n > 1) dlx_proto_string(p, DESCRIPTION_DEFAULT, functions->name);
    dlx_proto_end(p, description);
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

static void put_function(dlx_proto *p, const char *name, const dlx_coreml_emitter *e)
{
    const dlx_coreml_features *f = &e->features;
    const char *opset = editions[e->options->target].opset;
    size_t entry = dlx_proto_begin(p, PROGRAM_FUNCTIONS);
    dlx_proto_string(p, MAP_KEY, name);
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
}

/* Into the block of the function. */
static dlx_status emit(dlx_coreml_emitter *e)
{
    e->value = dlx_arena_array(e->arena, e->g->n_values + 1, sizeof *e->value);
    if (!e->value) return dlx_coreml_no_memory(e->err, e->part);
    DLX_TRY(dlx_coreml_find_features(e));
    take_inputs(e);
    for (size_t i = 0; i < e->part->n_nodes; i++) DLX_TRY(dlx_coreml_node(e, &e->g->nodes[e->part->nodes[i]]));
    DLX_TRY(give_outputs(e));
    bool failed = e->mil.failed || e->mil.block.failed || e->mil.blobs->failed;
    return failed ? dlx_coreml_no_memory(e->err, e->part) : DLX_OK;
}

/* The file model.mlmodel, copied into the arena. */
static dlx_status write_model(dlx_coreml_program *out, dlx_arena *arena, const dlx_coreml_emitter *e, dlx_error *err)
{
    dlx_proto p = {0};
    dlx_proto_varint(&p, MODEL_VERSION, (uint64_t)editions[e->options->target].version);
    put_description(&p, out->functions, out->n_functions);
    size_t program = dlx_proto_begin(&p, MODEL_PROGRAM);
    dlx_proto_varint(&p, PROGRAM_VERSION, 1);
    for (size_t i = 0; i < out->n_functions; i++) put_function(&p, out->functions[i].name, &e[i]);
    dlx_proto_end(&p, program);
    void *model = p.failed ? NULL : dlx_arena_alloc(arena, p.size);
    if (model) memcpy(model, p.data, p.size);
    out->model = model;
    out->model_size = p.size;
    dlx_proto_free(&p);
    return model ? DLX_OK : dlx_coreml_no_memory(err, e->part);
}

dlx_status dlx_coreml_compile(dlx_coreml_program *out, dlx_arena *arena, dlx_coreml_function *functions, size_t n,
                              const dlx_coreml_options *options, dlx_error *err)
{
    dlx_blobs blobs;
    dlx_status s = DLX_OK;
    dlx_coreml_emitter *e = dlx_arena_array(arena, n, sizeof *e);
    if (!e) return dlx_coreml_no_memory(err, functions->part);
    dlx_blobs_begin(&blobs, arena);
    for (size_t i = 0; s == DLX_OK && i < n; i++) {
        const dlx_part *part = functions[i].part;
        e[i] = (dlx_coreml_emitter){.part = part, .g = part->g, .options = options, .arena = arena, .err = err};
        dlx_mil_begin(&e[i].mil, arena, &blobs);
        s = emit(&e[i]);
        functions[i].features = e[i].features;
        dlx_blobs_next_function(&blobs);
    }
    dlx_blobs_end(&blobs);
    *out = (dlx_coreml_program){.weights = blobs.pieces,
                                .n_weights = blobs.n_pieces,
                                .weights_size = blobs.size,
                                .functions = functions,
                                .n_functions = n};
    if (s == DLX_OK) s = write_model(out, arena, e, err);
    for (size_t i = 0; i < n; i++) dlx_mil_free(&e[i].mil);
    return s;
}
