/* The ML Program inside a payload of the CoreML delegate: its version, and operators of one function. */
#include "format/coreml.h"

#include <string.h>

#include "base/sizes.h"
#include "format/coreml_mil.h"

/* Fields of the messages, by coremltools' mlmodel/format. */
enum { MODEL_VERSION = 1, MODEL_DESCRIPTION = 2, MODEL_PROGRAM = 502, DESCRIPTION_DEFAULT_FUNCTION = 21 };
enum { PROGRAM_FUNCTIONS = 2, FUNCTION_BLOCKS = 3 };
enum { MOST_NESTED = 16 }; /* blocks in operators in blocks */

typedef struct model_reader {
    dlx_coreml_contents *out;
    dlx_arena *arena;
    dlx_counted_word *kinds; /* [n], room for DLX_COREML_MOST_KINDS */
    uint32_t n;
    dlx_error *err;
} model_reader;

static dlx_status damaged(dlx_error *err)
{
    return dlx_fail(err, DLX_E_FORMAT, "its model ends in the middle of a message");
}

static dlx_status keep(const char **out, dlx_arena *arena, const dlx_pb *bytes, dlx_error *err)
{
    size_t n = (size_t)(bytes->end - bytes->at);
    *out = dlx_arena_strndup(arena, (const char *)bytes->at, n);
    if (!*out) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading a model");
    return DLX_OK;
}

static dlx_status count(model_reader *r, const dlx_pb *type)
{
    if (dlx_pb_is(type, "const")) return DLX_OK;
    for (uint32_t i = 0; i < r->n; i++)
        if (dlx_pb_is(type, r->kinds[i].word)) {
            r->kinds[i].count++;
            return DLX_OK;
        }
    if (r->n == DLX_COREML_MOST_KINDS)
        return dlx_fail(r->err, DLX_E_LIMIT, "its program has more than %d kinds of operators", DLX_COREML_MOST_KINDS);
    if (type->end - type->at > 64 || memchr(type->at, '\0', (size_t)(type->end - type->at)))
        return dlx_fail(r->err, DLX_E_FORMAT, "its program has an operator whose name is none");
    r->kinds[r->n].count = 1;
    return keep(&r->kinds[r->n++].word, r->arena, type, r->err);
}

static dlx_status count_block(model_reader *r, dlx_pb block, int depth);

static dlx_status count_operation(model_reader *r, dlx_pb operation, int depth)
{
    dlx_pb_field f;
    while (dlx_pb_next(&operation, &f)) {
        if (!f.is_bytes) continue;
        if (f.number == DLX_MIL_OPERATION_TYPE) DLX_TRY(count(r, &f.bytes));
        if (f.number == DLX_MIL_OPERATION_BLOCKS) DLX_TRY(count_block(r, f.bytes, depth + 1));
    }
    return operation.damaged ? damaged(r->err) : DLX_OK;
}

static dlx_status count_block(model_reader *r, dlx_pb block, int depth)
{
    dlx_pb_field f;
    if (depth > MOST_NESTED)
        return dlx_fail(r->err, DLX_E_LIMIT, "its program has blocks more than %d deep in each other", MOST_NESTED);
    while (dlx_pb_next(&block, &f))
        if (f.is_bytes && f.number == DLX_MIL_BLOCK_OPERATIONS) DLX_TRY(count_operation(r, f.bytes, depth));
    return block.damaged ? damaged(r->err) : DLX_OK;
}

/* Key and value of an entry of a map; false: it is damaged. */
static bool entry(dlx_pb map, dlx_pb *key, dlx_pb *value)
{
    dlx_pb_field f;
    *key = *value = dlx_pb_open(map.end, 0);
    while (dlx_pb_next(&map, &f)) {
        if (f.is_bytes && f.number == DLX_PB_MAP_KEY) *key = f.bytes;
        if (f.is_bytes && f.number == DLX_PB_MAP_VALUE) *value = f.bytes;
    }
    return !map.damaged;
}

/* Of several blocks, each for another version of the operators, one is run: the first is looked at. */
static dlx_status count_function(model_reader *r, dlx_pb function)
{
    dlx_pb_field f;
    dlx_pb key, block;
    while (dlx_pb_next(&function, &f)) {
        if (!f.is_bytes || f.number != FUNCTION_BLOCKS) continue;
        if (!entry(f.bytes, &key, &block)) return damaged(r->err);
        DLX_TRY(count_block(r, block, 0));
        return dlx_coreml_find_linears(r->out, r->arena, block, r->err);
    }
    return function.damaged ? damaged(r->err) : DLX_OK;
}

static dlx_status count_program(model_reader *r, dlx_pb program, const char *function)
{
    dlx_pb_field f;
    dlx_pb key, value;
    while (dlx_pb_next(&program, &f)) {
        if (!f.is_bytes || f.number != PROGRAM_FUNCTIONS) continue;
        if (!entry(f.bytes, &key, &value)) return damaged(r->err);
        if (dlx_pb_is(&key, function)) return count_function(r, value);
    }
    if (program.damaged) return damaged(r->err);
    return dlx_fail(r->err, DLX_E_FORMAT, "its program has no function '%.100s'", function);
}

static dlx_status default_function(const char **out, dlx_arena *arena, dlx_pb description, dlx_error *err)
{
    dlx_pb_field f;
    while (dlx_pb_next(&description, &f))
        if (f.is_bytes && f.number == DESCRIPTION_DEFAULT_FUNCTION && f.bytes.at < f.bytes.end)
            return keep(out, arena, &f.bytes, err);
    return description.damaged ? damaged(err) : DLX_OK;
}

dlx_status dlx_coreml_read_model(dlx_coreml_contents *out, dlx_arena *arena, const void *data, size_t n, dlx_error *err)
{
    dlx_pb model = dlx_pb_open(data, n), description = dlx_pb_open(data, 0), program = description;
    dlx_pb_field f;
    bool has_program = false;
    uint64_t version = 0;
    while (dlx_pb_next(&model, &f)) {
        if (f.number == MODEL_VERSION && !f.is_bytes) version = f.integer;
        if (f.number == MODEL_DESCRIPTION && f.is_bytes) description = f.bytes;
        if (f.number != MODEL_PROGRAM || !f.is_bytes) continue;
        program = f.bytes;
        has_program = true;
    }
    if (model.damaged) return damaged(err);
    if (!has_program) return dlx_fail(err, DLX_E_FORMAT, "its model is no ML Program");
    out->specification = version <= INT32_MAX ? (uint32_t)version : 0;
    if (!out->function || !*out->function) {
        out->function = "main";
        DLX_TRY(default_function(&out->function, arena, description, err));
    }
    model_reader r = {.out = out, .arena = arena, .err = err};
    r.kinds = dlx_arena_array(arena, DLX_COREML_MOST_KINDS, sizeof *r.kinds);
    if (!r.kinds) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading a model");
    DLX_TRY(count_program(&r, program, out->function));
    out->operators = r.kinds;
    out->n_operators = r.n;
    return DLX_OK;
}

const char *dlx_coreml_system(uint32_t specification)
{
    static const char *const systems[] = {
        [4] = "iOS13", [5] = "iOS14", [6] = "iOS15", [7] = "iOS16", [8] = "iOS17", [9] = "iOS18", [10] = "iOS26"};
    return specification < DLX_COUNT(systems) ? systems[specification] : NULL;
}
