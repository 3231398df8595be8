/*
 * A part as the two files of a model package: the model with its one function, and the weights.
 *
 * Features carry the names of the graph's values where these have some, so that a package can be read. Inside all is
 * float16: what comes in as float32 is rounded at once, what goes out so is widened at the end.
 */
#include <stdio.h>
#include <string.h>

#include "backends/coreml/emitter.h"

/* Field numbers of Model.proto and FeatureTypes.proto. */
enum { MODEL_VERSION = 1, MODEL_DESCRIPTION = 2, MODEL_PROGRAM = 502 };
enum { DESCRIPTION_INPUT = 1, DESCRIPTION_OUTPUT = 10 };
enum { FEATURE_NAME = 1, FEATURE_TYPE = 3, TYPE_ARRAY = 5, ARRAY_SHAPE = 1, ARRAY_DTYPE = 2 };
enum { ARRAY_F16 = 65552, ARRAY_F32 = 65568 };
/* Those of MIL.proto around a block. */
enum { PROGRAM_VERSION = 1, PROGRAM_FUNCTIONS = 2 };
enum { FUNCTION_INPUTS = 1, FUNCTION_OPSET = 2, FUNCTION_BLOCKS = 3 };
enum { BLOCK_OUTPUTS = 2, MAP_KEY = 1, MAP_VALUE = 2, NAMED_NAME = 1, NAMED_TYPE = 2 };

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

/* ---- features ---- */

static bool is_taken(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(names[i], name)) return true;
    return false;
}

/* A name for a feature: the value's, with letters, digits and '_' alone, and none that operators have; or its number.
 */
static const char *feature_name(dlx_coreml_emitter *e, uint32_t id, size_t n_inputs, size_t n_outputs)
{
    char plain[128];
    const char *name = e->g->values[id].name;
    size_t n = 0;
    for (; name && name[n] && n < sizeof plain - 1; n++) {
        char c = name[n];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        plain[n] = c;
        if (!ok) plain[n] = '_';
    }
    plain[n] = '\0';
    bool reserved = !n || (plain[0] >= '0' && plain[0] <= '9') || plain[0] == '_' || !strncmp(plain, "op_", 3) ||
                    !strncmp(plain, "c_", 2) || !strncmp(plain, "w_", 2) || !strncmp(plain, "value_", 6);
    const char *kept = reserved ? NULL : dlx_mil_name(&e->mil, "%s", plain);
    if (kept && !is_taken(e->inputs, n_inputs, kept) && !is_taken(e->outputs, n_outputs, kept)) return kept;
    return dlx_mil_name(&e->mil, "value_%u", id);
}

static dlx_status feature_type(dlx_coreml_emitter *e, uint32_t id, dlx_mil_type *type)
{
    const dlx_value *v = &e->g->values[id];
    *type = (dlx_mil_type){.dtype = v->dtype == DLX_F16 ? DLX_MIL_F16 : DLX_MIL_F32, .rank = v->rank};
    if ((v->dtype != DLX_F16 && v->dtype != DLX_F32) || v->dynamic || v->rank < 1 || v->rank > DLX_MIL_MAX_RANK)
        return dlx_fail(e->err, DLX_E_UNSUPPORTED,
                        "CoreML: value %u, '%s', of type %s goes into a delegate or comes out of it; expected float32 "
                        "or float16 of a fixed shape of 1 to %d dimensions",
                        id, v->name ? v->name : "", dlx_dtype_name(v->dtype), DLX_MIL_MAX_RANK);
    for (int i = 0; i < v->rank; i++) type->dim[i] = v->dim[i];
    return DLX_OK;
}

static dlx_status take_inputs(dlx_coreml_emitter *e)
{
    for (size_t i = 0; i < e->part->n_inputs; i++) {
        uint32_t id = e->part->inputs[i];
        dlx_mil_value in;
        DLX_TRY(feature_type(e, id, &in.type));
        in.name = e->inputs[i] = feature_name(e, id, i, 0);
        if (!in.name) return dlx_coreml_no_memory(e->err, e->part);
        e->value[id] = in.type.dtype == DLX_MIL_F16 ? in : dlx_mil_cast(&e->mil, in, DLX_MIL_F16, NULL);
    }
    return DLX_OK;
}

static dlx_status give_outputs(dlx_coreml_emitter *e)
{
    for (size_t i = 0; i < e->part->n_outputs; i++) {
        uint32_t id = e->part->outputs[i];
        dlx_mil_value x = e->value[id];
        dlx_mil_type type;
        DLX_TRY(feature_type(e, id, &type));
        const char *name = e->outputs[i] = feature_name(e, id, e->part->n_inputs, i);
        if (!name || !x.name) return dlx_coreml_no_memory(e->err, e->part);
        if (type.dtype == DLX_MIL_F32)
            dlx_mil_cast(&e->mil, x, DLX_MIL_F32, name);
        else
            dlx_mil_unary(&e->mil, "identity", x, name);
        dlx_proto_string(&e->mil.block, BLOCK_OUTPUTS, name);
    }
    return DLX_OK;
}

/* ---- the model ---- */

static void put_feature(dlx_proto *p, uint32_t field, const char *name, const dlx_mil_type *type)
{
    size_t feature = dlx_proto_begin(p, field);
    dlx_proto_string(p, FEATURE_NAME, name);
    size_t kind = dlx_proto_begin(p, FEATURE_TYPE), array = dlx_proto_begin(p, TYPE_ARRAY);
    size_t shape = dlx_proto_begin(p, ARRAY_SHAPE);
    for (int i = 0; i < type->rank; i++) dlx_proto_packed(p, (uint64_t)type->dim[i]);
    dlx_proto_end(p, shape);
    dlx_proto_varint(p, ARRAY_DTYPE, type->dtype == DLX_MIL_F16 ? ARRAY_F16 : ARRAY_F32);
    dlx_proto_end(p, array);
    dlx_proto_end(p, kind);
    dlx_proto_end(p, feature);
}

static dlx_status put_description(dlx_coreml_emitter *e)
{
    dlx_mil_type type;
    size_t description = dlx_proto_begin(&e->model, MODEL_DESCRIPTION);
    for (size_t i = 0; i < e->part->n_inputs; i++) {
        DLX_TRY(feature_type(e, e->part->inputs[i], &type));
        put_feature(&e->model, DESCRIPTION_INPUT, e->inputs[i], &type);
    }
    for (size_t i = 0; i < e->part->n_outputs; i++) {
        DLX_TRY(feature_type(e, e->part->outputs[i], &type));
        put_feature(&e->model, DESCRIPTION_OUTPUT, e->outputs[i], &type);
    }
    dlx_proto_end(&e->model, description);
    return DLX_OK;
}

static dlx_status put_program(dlx_coreml_emitter *e)
{
    dlx_proto *p = &e->model;
    const char *opset = editions[e->options->target].opset;
    size_t program = dlx_proto_begin(p, MODEL_PROGRAM);
    dlx_proto_varint(p, PROGRAM_VERSION, 1);
    size_t entry = dlx_proto_begin(p, PROGRAM_FUNCTIONS);
    dlx_proto_string(p, MAP_KEY, "main");
    size_t function = dlx_proto_begin(p, MAP_VALUE);
    for (size_t i = 0; i < e->part->n_inputs; i++) {
        dlx_mil_type type;
        DLX_TRY(feature_type(e, e->part->inputs[i], &type));
        size_t input = dlx_proto_begin(p, FUNCTION_INPUTS);
        dlx_proto_string(p, NAMED_NAME, e->inputs[i]);
        dlx_mil_put_type(p, NAMED_TYPE, &type);
        dlx_proto_end(p, input);
    }
    dlx_proto_string(p, FUNCTION_OPSET, opset);
    size_t blocks = dlx_proto_begin(p, FUNCTION_BLOCKS);
    dlx_proto_string(p, MAP_KEY, opset);
    dlx_proto_bytes(p, MAP_VALUE, e->mil.block.data, e->mil.block.size);
    dlx_proto_end(p, blocks);
    dlx_proto_end(p, function);
    dlx_proto_end(p, entry);
    dlx_proto_end(p, program);
    return DLX_OK;
}

static dlx_status emit(dlx_coreml_emitter *e)
{
    DLX_TRY(take_inputs(e));
    for (size_t i = 0; i < e->part->n_nodes; i++) DLX_TRY(dlx_coreml_node(e, &e->g->nodes[e->part->nodes[i]]));
    DLX_TRY(give_outputs(e));
    dlx_blobs_end(&e->blobs);
    if (e->mil.failed || e->mil.block.failed || e->blobs.failed) return dlx_coreml_no_memory(e->err, e->part);
    dlx_proto_varint(&e->model, MODEL_VERSION, (uint64_t)editions[e->options->target].version);
    DLX_TRY(put_description(e));
    return put_program(e);
}

static dlx_status compile(dlx_coreml_emitter *e, dlx_coreml_program *out)
{
    e->value = dlx_arena_array(e->arena, e->g->n_values + 1, sizeof *e->value);
    e->inputs = dlx_arena_array(e->arena, e->part->n_inputs + 1, sizeof *e->inputs);
    e->outputs = dlx_arena_array(e->arena, e->part->n_outputs + 1, sizeof *e->outputs);
    if (!e->value || !e->inputs || !e->outputs) return dlx_coreml_no_memory(e->err, e->part);
    DLX_TRY(emit(e));
    void *model = e->model.failed ? NULL : dlx_arena_alloc(e->arena, e->model.size);
    if (!model) return dlx_coreml_no_memory(e->err, e->part);
    memcpy(model, e->model.data, e->model.size);
    *out = (dlx_coreml_program){.model = model,
                                .model_size = e->model.size,
                                .weights = e->blobs.pieces,
                                .n_weights = e->blobs.n_pieces,
                                .weights_size = e->blobs.size,
                                .inputs = e->inputs,
                                .outputs = e->outputs};
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
