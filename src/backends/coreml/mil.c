/*
 * Operators, constants and types of MIL in the wire format. Facts: MIL.proto of coremltools (mlmodel/format); field
 * numbers are those of its messages.
 */
#include "backends/coreml/mil.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "base/sizes.h"
#include "base/text_buffer.h"

enum { OPERATION = 3 };                                                         /* Block */
enum { OP_TYPE = 1, OP_INPUTS = 2, OP_OUTPUTS = 3, OP_ATTRIBUTES = 5 };         /* Operation */
enum { MAP_KEY = 1, MAP_VALUE = 2 };                                            /* entry of a map */
enum { ARGUMENTS = 1, BINDING_NAME = 1 };                                       /* Argument, Binding */
enum { NAMED_NAME = 1, NAMED_TYPE = 2 };                                        /* NamedValueType */
enum { TYPE_TENSOR = 1 };                                                       /* ValueType */
enum { TENSOR_DTYPE = 1, TENSOR_RANK = 2, TENSOR_DIMS = 3 };                    /* TensorType */
enum { DIM_CONSTANT = 1, DIM_SIZE = 1 };                                        /* Dimension */
enum { VALUE_TYPE = 2, VALUE_IMMEDIATE = 3, VALUE_FILE = 5 };                   /* Value */
enum { IMMEDIATE_TENSOR = 1 };                                                  /* ImmediateValue */
enum { FILE_NAME = 1, FILE_OFFSET = 2 };                                        /* BlobFileValue */
enum { AS_INTS = 2, AS_BOOLS = 3, AS_STRINGS = 4, AS_BYTES = 7, REPEATED = 1 }; /* TensorValue, its lists */

static const char *const WEIGHT_FILE = "@model_path/weights/weight.bin";

void dlx_mil_begin(dlx_mil *m, dlx_arena *arena, dlx_blobs *blobs)
{
    *m = (dlx_mil){.arena = arena, .blobs = blobs};
}

void dlx_mil_free(dlx_mil *m)
{
    dlx_proto_free(&m->block);
}

const char *dlx_mil_name(dlx_mil *m, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const char *name = n < 0 ? NULL : dlx_arena_strndup(m->arena, text, strlen(text));
    m->failed = m->failed || !name;
    return name;
}

/* ---- types ---- */

void dlx_mil_put_type(dlx_proto *p, uint32_t field, const dlx_mil_type *type)
{
    size_t value = dlx_proto_begin(p, field), tensor = dlx_proto_begin(p, TYPE_TENSOR);
    dlx_proto_varint(p, TENSOR_DTYPE, type->dtype);
    if (type->rank) dlx_proto_varint(p, TENSOR_RANK, (uint64_t)type->rank);
    for (int i = 0; i < type->rank; i++) {
        size_t dim = dlx_proto_begin(p, TENSOR_DIMS), constant = dlx_proto_begin(p, DIM_CONSTANT);
        dlx_proto_varint(p, DIM_SIZE, (uint64_t)type->dim[i]);
        dlx_proto_end(p, constant);
        dlx_proto_end(p, dim);
    }
    dlx_proto_end(p, tensor);
    dlx_proto_end(p, value);
}

/* ---- operators ---- */

static size_t begin_entry(dlx_proto *p, uint32_t field, const char *key)
{
    size_t entry = dlx_proto_begin(p, field);
    dlx_proto_string(p, MAP_KEY, key);
    return entry;
}

/* What an immediate value of that type is: a list, `kind`, of what is put until end_immediate. */
typedef struct immediate {
    size_t value, whole, tensor, list;
} immediate;

static immediate begin_immediate(dlx_proto *p, uint32_t field, const dlx_mil_type *type, uint32_t kind)
{
    immediate i;
    i.value = dlx_proto_begin(p, field);
    dlx_mil_put_type(p, VALUE_TYPE, type);
    i.whole = dlx_proto_begin(p, VALUE_IMMEDIATE);
    i.tensor = dlx_proto_begin(p, IMMEDIATE_TENSOR);
    i.list = dlx_proto_begin(p, kind);
    return i;
}

static void end_immediate(dlx_proto *p, immediate i)
{
    dlx_proto_end(p, i.list);
    dlx_proto_end(p, i.tensor);
    dlx_proto_end(p, i.whole);
    dlx_proto_end(p, i.value);
}

static void put_named(dlx_proto *p, uint32_t field, const char *name, const dlx_mil_type *type)
{
    size_t named = dlx_proto_begin(p, field);
    dlx_proto_string(p, NAMED_NAME, name);
    dlx_mil_put_type(p, NAMED_TYPE, type);
    dlx_proto_end(p, named);
}

static void put_name_attribute(dlx_proto *p, const char *name)
{
    const dlx_mil_type string = {.dtype = DLX_MIL_STRING};
    size_t entry = begin_entry(p, OP_ATTRIBUTES, "name");
    immediate i = begin_immediate(p, MAP_VALUE, &string, AS_STRINGS);
    dlx_proto_string(p, REPEATED, name);
    end_immediate(p, i);
    dlx_proto_end(p, entry);
}

/* The parameter of args[0] with all its operands; returns how many these are. */
static int put_input(dlx_proto *p, const dlx_mil_arg *args, int n)
{
    int k = 0;
    size_t entry = begin_entry(p, OP_INPUTS, args[0].parameter), argument = dlx_proto_begin(p, MAP_VALUE);
    for (; k < n && !strcmp(args[k].parameter, args[0].parameter); k++) {
        size_t binding = dlx_proto_begin(p, ARGUMENTS);
        dlx_proto_string(p, BINDING_NAME, args[k].value);
        dlx_proto_end(p, binding);
    }
    dlx_proto_end(p, argument);
    dlx_proto_end(p, entry);
    return k;
}

/* `name`, and `out` where there is a result. */
static bool put_operation(dlx_mil *m, const char *op, const char *name, const dlx_mil_type *out,
                          const dlx_mil_arg *args, int n)
{
    dlx_proto *p = &m->block;
    for (int i = 0; i < n; i++)
        if (!args[i].value) name = NULL;
    m->n_ops++;
    if (!name) return !(m->failed = true);
    size_t operation = dlx_proto_begin(p, OPERATION);
    dlx_proto_string(p, OP_TYPE, op);
    for (int i = 0; i < n;) i += put_input(p, args + i, n - i);
    if (out) put_named(p, OP_OUTPUTS, name, out);
    put_name_attribute(p, name);
    dlx_proto_end(p, operation);
    return true;
}

dlx_mil_value dlx_mil_op(dlx_mil *m, const char *op, const char *out, dlx_mil_type type, const dlx_mil_arg *args, int n)
{
    const char *name = out ? out : dlx_mil_name(m, "op_%u_%s", m->n_ops, op);
    return (dlx_mil_value){put_operation(m, op, name, &type, args, n) ? name : NULL, type};
}

dlx_mil_value dlx_mil_read_state(dlx_mil *m, const char *state, dlx_mil_type type)
{
    return dlx_mil_op(m, "read_state", NULL, type, (dlx_mil_arg[]){{"input", state}}, 1);
}

void dlx_mil_write_state(dlx_mil *m, const char *state, dlx_mil_value value)
{
    const dlx_mil_arg args[] = {{"input", state}, {"data", value.name}};
    put_operation(m, "write_state", dlx_mil_name(m, "op_%u_write_state", m->n_ops), NULL, args, 2);
}

/* ---- constants ---- */

/* Whether the small constant is there already; if not it is taken down. */
static bool is_known(dlx_mil *m, const char *name)
{
    for (size_t i = 0; i < m->n_known; i++)
        if (!strcmp(m->known[i], name)) return true;
    if (m->n_known == m->known_capacity) {
        size_t more = m->known_capacity ? 2 * m->known_capacity : 64;
        const char **known = dlx_arena_array(m->arena, more, sizeof *known);
        if (!known) {
            m->failed = true;
            return false;
        }
        if (m->n_known) memcpy(known, m->known, m->n_known * sizeof *known);
        m->known = known;
        m->known_capacity = more;
    }
    m->known[m->n_known++] = name;
    return false;
}

static size_t begin_const(dlx_mil *m, const char *name, const dlx_mil_type *type)
{
    size_t operation = dlx_proto_begin(&m->block, OPERATION);
    dlx_proto_string(&m->block, OP_TYPE, "const");
    put_named(&m->block, OP_OUTPUTS, name, type);
    put_name_attribute(&m->block, name);
    return operation;
}

/* The constant `name`, whose numbers are a list of n varints or, for other kinds, n bytes. */
static const char *small(dlx_mil *m, const char *name, dlx_mil_type type, uint32_t kind, const void *data, int n)
{
    if (!name || is_known(m, name)) return name;
    dlx_proto *p = &m->block;
    size_t operation = begin_const(m, name, &type), entry = begin_entry(p, OP_ATTRIBUTES, "val");
    immediate i = begin_immediate(p, MAP_VALUE, &type, kind);
    if (kind == AS_INTS) {
        const int64_t *v = data;
        size_t list = dlx_proto_begin(p, REPEATED);
        for (int k = 0; k < n; k++) dlx_proto_packed(p, (uint64_t)v[k]);
        dlx_proto_end(p, list);
    } else {
        dlx_proto_bytes(p, REPEATED, data, (size_t)n); /* a single bool packed is its byte */
    }
    end_immediate(p, i);
    dlx_proto_end(p, entry);
    dlx_proto_end(p, operation);
    return name;
}

const char *dlx_mil_ints(dlx_mil *m, const int64_t *v, int n)
{
    char text[24 * DLX_MIL_MAX_RANK] = "c_ints";
    size_t used = strlen(text);
    for (int i = 0; i < n; i++) {
        bool minus = v[i] < 0;
        used += (size_t)snprintf(text + used, sizeof text - used, "_%s%lld", minus ? "m" : "",
                                 (long long)(minus ? -v[i] : v[i]));
    }
    return small(m, dlx_mil_name(m, "%s", text), (dlx_mil_type){DLX_MIL_I32, 1, {n}}, AS_INTS, v, n);
}

const char *dlx_mil_int(dlx_mil *m, int64_t v)
{
    const char *name = dlx_mil_name(m, "c_int_%s%lld", v < 0 ? "m" : "", (long long)(v < 0 ? -v : v));
    return small(m, name, (dlx_mil_type){.dtype = DLX_MIL_I32}, AS_INTS, &v, 1);
}

const char *dlx_mil_bool(dlx_mil *m, bool v)
{
    uint8_t byte = v;
    return small(m, dlx_mil_name(m, "c_%s", v ? "true" : "false"), (dlx_mil_type){.dtype = DLX_MIL_BOOL}, AS_BOOLS,
                 &byte, 1);
}

const char *dlx_mil_half(dlx_mil *m, float v)
{
    uint16_t half = dlx_f32_to_f16(v);
    uint8_t bytes[2] = {(uint8_t)half, (uint8_t)(half >> 8)};
    return small(m, dlx_mil_name(m, "c_half_%04x", half), (dlx_mil_type){.dtype = DLX_MIL_F16}, AS_BYTES, bytes, 2);
}

const char *dlx_mil_string(dlx_mil *m, const char *v)
{
    return small(m, dlx_mil_name(m, "c_word_%s", v), (dlx_mil_type){.dtype = DLX_MIL_STRING}, AS_STRINGS, v,
                 (int)strlen(v));
}

const char *dlx_mil_int8_zero(dlx_mil *m)
{
    uint8_t byte = 0;
    return small(m, dlx_mil_name(m, "c_int8_0"), (dlx_mil_type){.dtype = DLX_MIL_I8}, AS_BYTES, &byte, 1);
}

static dlx_mil_value file_const(dlx_mil *m, const char *name, dlx_mil_type type, uint64_t offset)
{
    dlx_proto *p = &m->block;
    if (!name) return (dlx_mil_value){NULL, type};
    size_t operation = begin_const(m, name, &type), entry = begin_entry(p, OP_ATTRIBUTES, "val");
    size_t value = dlx_proto_begin(p, MAP_VALUE);
    dlx_mil_put_type(p, VALUE_TYPE, &type);
    size_t file = dlx_proto_begin(p, VALUE_FILE);
    dlx_proto_string(p, FILE_NAME, WEIGHT_FILE);
    dlx_proto_varint(p, FILE_OFFSET, offset);
    dlx_proto_end(p, file);
    dlx_proto_end(p, value);
    dlx_proto_end(p, entry);
    dlx_proto_end(p, operation);
    return (dlx_mil_value){name, type};
}

/* What of a constant's name can be part of one here. */
static void plain_name(char *to, size_t size, const char *name)
{
    size_t n = 0;
    for (; name && *name && n + 1 < size; name++) {
        bool plain = (*name >= '0' && *name <= '9') || (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z');
        to[n++] = plain ? *name : '_';
    }
    to[n] = '\0';
}

dlx_mil_value dlx_mil_weight(dlx_mil *m, const dlx_value *v, dlx_mil_type type)
{
    char plain[96];
    plain_name(plain, sizeof plain, v->name ? v->name : "constant");
    const char *name = dlx_mil_name(m, "w_%u_%s", m->n_weights++, plain);
    return file_const(m, name, type, dlx_blobs_add(m->blobs, v));
}

dlx_mil_value dlx_mil_zeros(dlx_mil *m, int64_t n)
{
    const char *name = dlx_mil_name(m, "c_zeros_%lld", (long long)n);
    const dlx_mil_type type = {DLX_MIL_F16, 1, {n}};
    if (!name || is_known(m, name)) return (dlx_mil_value){name, type};
    return file_const(m, name, type, dlx_blobs_add_zeros(m->blobs, DLX_BLOB_F16, (uint64_t)n * 2));
}
