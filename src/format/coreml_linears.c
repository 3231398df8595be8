/*
 * Linear layers of an ML Program: products with constants, by the form of these. A weight is followed from the product
 * to the constants it is made of, through operators that only turn it (reshape, transpose, cast) and those that
 * decompress it (constexpr_...), whose parameters are names of values, values of their own, or, up to iOS 17,
 * attributes. Facts: coremltools 9, converters/mil/mil/ops/defs and backend/mil/load.py.
 *
 * The program may be anything. Each operation's bytes are looked through a few times altogether, whoever refers to it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "format/coreml_mil.h"

enum { ARGUMENTS = 1, BINDING_NAME = 1, BINDING_VALUE = 2 }; /* Argument, its Binding */
enum { NAMED_NAME = 1, NAMED_TYPE = 2, VALUE_TYPE = 2 };     /* NamedValueType, Value */
enum { TYPE_TENSOR = 1, TENSOR_DTYPE = 1, TENSOR_DIMS = 3 }; /* ValueType, TensorType */
enum { DIM_CONSTANT = 1, DIM_SIZE = 1 };                     /* Dimension */
enum { MOST_VALUES = 1 << 18, MOST_RANK = 6, MOST_STEPS = 8, MOST_FORMS = 64, MOST_NAMES = 1 << 12, MOST_NAME = 200 };

/* ---- what there is in a block ---- */

typedef struct tensor {
    uint64_t dtype;
    int rank; /* -1: none, or none that is known */
    uint64_t dim[MOST_RANK];
} tensor;

/* The form of a weight. */
typedef struct weight {
    char word[16];  /* "f16", "qc8", "lut4"; "": it is no constant */
    dlx_pb name;    /* of the constant that its numbers are in */
    uint64_t dtype; /* of these */
    uint64_t group, bytes;
    bool sparse, compressed;
} weight;

typedef struct operation {
    dlx_pb bytes, type;
    bool known; /* `weight` is; its bytes are in that of who asked first */
    weight weight;
} operation;

typedef struct mil_value {
    dlx_pb name;
    tensor type;
    uint32_t made_by;
} mil_value;

typedef struct finder {
    operation *ops;    /* [n_ops] */
    mil_value *values; /* [n_values], by name */
    uint32_t n_ops, n_values;
    dlx_coreml_linears *forms; /* [n_forms] */
    uint32_t n_forms, n_names;
    bool too_many;
    dlx_arena *arena;
} finder;

/* What a parameter is: a value that an operation makes, or one of its own. */
typedef struct operand {
    const mil_value *made;
    tensor type;
} operand;

/* The field of that number, of a message or string. */
static bool part(dlx_pb message, uint32_t number, dlx_pb *out)
{
    dlx_pb_field f;
    while (dlx_pb_next(&message, &f))
        if (f.is_bytes && f.number == number) {
            *out = f.bytes;
            return true;
        }
    return false;
}

static uint64_t dimension(dlx_pb dim)
{
    dlx_pb constant;
    dlx_pb_field f;
    if (!part(dim, DIM_CONSTANT, &constant)) return 0;
    while (dlx_pb_next(&constant, &f))
        if (!f.is_bytes && f.number == DIM_SIZE) return f.integer;
    return 0;
}

/* Of a ValueType. */
static tensor tensor_of(dlx_pb type)
{
    tensor t = {.rank = -1};
    dlx_pb bytes;
    dlx_pb_field f;
    if (!part(type, TYPE_TENSOR, &bytes)) return t;
    t.rank = 0;
    while (t.rank >= 0 && dlx_pb_next(&bytes, &f)) {
        if (f.number == TENSOR_DTYPE && !f.is_bytes) t.dtype = f.integer;
        if (f.number != TENSOR_DIMS || !f.is_bytes) continue;
        if (t.rank < MOST_RANK)
            t.dim[t.rank++] = dimension(f.bytes);
        else
            t.rank = -1;
    }
    return t;
}

static int by_name(const void *a, const void *b)
{
    const mil_value *x = a, *y = b;
    size_t n = (size_t)(x->name.end - x->name.at), m = (size_t)(y->name.end - y->name.at);
    int order = memcmp(x->name.at, y->name.at, n < m ? n : m);
    if (order) return order;
    return n != m ? (n < m ? -1 : 1) : (x->made_by > y->made_by) - (x->made_by < y->made_by);
}

/* The first value of that name. */
static const mil_value *find(const finder *x, dlx_pb name)
{
    mil_value wanted = {.name = name};
    uint32_t low = 0, high = x->n_values;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (by_name(&x->values[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == x->n_values || !dlx_pb_same(&x->values[low].name, &name)) return NULL;
    return &x->values[low];
}

/* Operations and values, counted, and taken down where there is room for them. */
static void collect(finder *x, dlx_pb block)
{
    dlx_pb_field f, of;
    while (dlx_pb_next(&block, &f)) {
        if (!f.is_bytes || f.number != DLX_MIL_BLOCK_OPERATIONS) continue;
        uint32_t at = x->n_ops++;
        if (x->n_ops > MOST_VALUES || x->n_values > MOST_VALUES) return;
        if (x->ops) x->ops[at].bytes = f.bytes;
        for (dlx_pb op = f.bytes; dlx_pb_next(&op, &of);) {
            if (!of.is_bytes) continue;
            if (of.number == DLX_MIL_OPERATION_TYPE && x->ops) x->ops[at].type = of.bytes;
            if (of.number == DLX_MIL_OPERATION_BLOCKS) collect(x, of.bytes);
            if (of.number != DLX_MIL_OPERATION_OUTPUTS || x->n_values > MOST_VALUES) continue;
            uint32_t i = x->n_values++;
            if (!x->values) continue;
            dlx_pb type = dlx_pb_open(of.bytes.end, 0);
            x->values[i] = (mil_value){.name = type, .made_by = at};
            (void)part(of.bytes, NAMED_NAME, &x->values[i].name);
            (void)part(of.bytes, NAMED_TYPE, &type);
            x->values[i].type = tensor_of(type);
        }
    }
}

/* ---- parameters ---- */

/* Of an entry of a map, the value where its key is that. */
static bool entry_of(dlx_pb entry, const char *key, dlx_pb *out)
{
    dlx_pb found;
    return part(entry, DLX_PB_MAP_KEY, &found) && dlx_pb_is(&found, key) && part(entry, DLX_PB_MAP_VALUE, out);
}

static operand own(dlx_pb value)
{
    operand o = {.made = NULL};
    dlx_pb type = dlx_pb_open(value.end, 0);
    (void)part(value, VALUE_TYPE, &type);
    o.type = tensor_of(type);
    return o;
}

static operand bound(const finder *x, dlx_pb binding)
{
    operand o = {.type = {.rank = -1}};
    dlx_pb of;
    if (part(binding, BINDING_VALUE, &of)) return own(of);
    if (!part(binding, BINDING_NAME, &of)) return o;
    o.made = find(x, of);
    if (o.made) o.type = o.made->type;
    return o;
}

/* Operands of a parameter, at most `most`; an attribute is one. */
static int operands(const finder *x, const operation *op, const char *parameter, operand *out, int most)
{
    dlx_pb_field f, of;
    dlx_pb found;
    for (dlx_pb bytes = op->bytes; dlx_pb_next(&bytes, &f);) {
        if (!f.is_bytes) continue;
        if (f.number == DLX_MIL_OPERATION_ATTRIBUTES && entry_of(f.bytes, parameter, &found)) {
            *out = own(found);
            return 1;
        }
        if (f.number != DLX_MIL_OPERATION_INPUTS || !entry_of(f.bytes, parameter, &found)) continue;
        int n = 0;
        while (n < most && dlx_pb_next(&found, &of))
            if (of.is_bytes && of.number == ARGUMENTS) out[n++] = bound(x, of.bytes);
        return n;
    }
    return 0;
}

/* ---- forms of weights ---- */

/* Element types by the numbers of MIL's DataType. */
static const struct {
    uint64_t dtype;
    unsigned bits;
    const char *word;
} types[] = {{10, 16, "f16"}, {11, 32, "f32"}, {12, 64, "f64"}, {13, 16, "bf16"}, {40, 8, "f8"},   {41, 8, "f8"},
             {1, 8, "b1"},    {21, 8, "i8"},   {22, 16, "i16"}, {23, 32, "i32"},  {24, 64, "i64"}, {25, 4, "i4"},
             {31, 8, "u8"},   {32, 16, "u16"}, {33, 32, "u32"}, {34, 64, "u64"},  {35, 4, "u4"},   {36, 2, "u2"},
             {37, 1, "u1"},   {38, 6, "u6"},   {39, 3, "u3"}};

/* DLX_COUNT(types): none of the list. */
static size_t type_at(uint64_t dtype)
{
    size_t i = 0;
    while (i < DLX_COUNT(types) && types[i].dtype != dtype) i++;
    return i;
}

static uint64_t bytes_of(const tensor *t)
{
    uint64_t n = 1;
    size_t type = type_at(t->dtype);
    if (t->rank < 0 || type == DLX_COUNT(types)) return 0;
    for (int i = 0; i < t->rank; i++)
        if (!dlx_mul_u64(n, t->dim[i], &n)) return 0;
    if (!dlx_mul_u64(n, types[type].bits, &n)) return 0;
    return n / 8 + (n % 8 != 0);
}

/* What operators make of a weight: `data` is where its numbers are. */
typedef enum made { TURNED, SCALED, LOOKED_UP, SPARSE } made;

static const struct {
    const char *op, *data;
    made how;
    const char *with[3]; /* further parameters: scales or the table first */
} makers[] = {
    {"identity", "x", TURNED, {NULL}},
    {"cast", "x", TURNED, {NULL}},
    {"reshape", "x", TURNED, {NULL}},
    {"transpose", "x", TURNED, {NULL}},
    {"expand_dims", "x", TURNED, {NULL}},
    {"squeeze", "x", TURNED, {NULL}},
    {"constexpr_cast", "source_val", TURNED, {NULL}},
    {"constexpr_affine_dequantize", "quantized_data", SCALED, {"scale", "zero_point", NULL}},
    {"constexpr_blockwise_shift_scale", "data", SCALED, {"scale", "offset", NULL}},
    {"constexpr_sparse_blockwise_shift_scale", "nonzero_data", SCALED, {"scale", "data_mask", "offset"}},
    {"constexpr_lut_to_dense", "indices", LOOKED_UP, {"lut", NULL, NULL}},
    {"constexpr_lut_to_sparse", "indices_nonzero_data", LOOKED_UP, {"lut", "indices_mask", NULL}},
    {"constexpr_sparse_to_dense", "nonzero_data", SPARSE, {"mask", NULL, NULL}},
};

/* How many neighbours along some dimension share an entry of `shared`; 0: one along each, or all. */
static uint64_t group_of(const tensor *data, const tensor *shared)
{
    uint64_t group = 0;
    for (int i = 0; data->rank == shared->rank && i < data->rank; i++)
        if (shared->dim[i] > 1 && shared->dim[i] < data->dim[i]) group = data->dim[i] / shared->dim[i];
    return group;
}

static bool is_single(const tensor *t)
{
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] != 1) return false;
    return true;
}

/* qt8: a scale for all, qc8: one for each row, qb4: one for each group. */
static void name_scaled(weight *w, const tensor *data, const tensor *scales)
{
    size_t type = type_at(w->dtype);
    if (w->compressed || type == DLX_COUNT(types)) return;
    w->group = group_of(data, scales);
    snprintf(w->word, sizeof w->word, "q%c%u", w->group ? 'b' : is_single(scales) ? 't' : 'c', types[type].bits);
    w->compressed = true;
}

/* lut4: 4 bits choose of 16. The table is a list, or has its entries in the last dimension but one. */
static void name_looked_up(weight *w, const tensor *data, const tensor *table)
{
    uint64_t entries = table->rank < 1 ? 0 : table->dim[table->rank == 1 ? 0 : table->rank - 2];
    unsigned bits = 0;
    while (bits < 63 && 1ull << bits < entries) bits++;
    tensor groups = *table;
    groups.rank -= 2; /* a list has none */
    w->group = group_of(data, &groups);
    snprintf(w->word, sizeof w->word, "lut%u", bits);
    w->compressed = true;
}

static weight weight_of(finder *x, const operand *o, int steps);

static weight made_by(finder *x, operation *op, int steps)
{
    weight w = {.word = ""};
    operand data, more;
    size_t i = 0;
    while (i < DLX_COUNT(makers) && !dlx_pb_is(&op->type, makers[i].op)) i++;
    if (i == DLX_COUNT(makers) || !operands(x, op, makers[i].data, &data, 1)) return w;
    w = weight_of(x, &data, steps + 1);
    for (int k = 0; *w.word && k < 3 && makers[i].with[k]; k++) {
        if (!operands(x, op, makers[i].with[k], &more, 1)) continue;
        uint64_t bytes = weight_of(x, &more, steps + 1).bytes;
        if (!dlx_add_u64(w.bytes, bytes, &w.bytes)) w.bytes = UINT64_MAX;
        if (!k && makers[i].how == SCALED) name_scaled(&w, &data.type, &more.type);
        if (!k && makers[i].how == LOOKED_UP) name_looked_up(&w, &data.type, &more.type);
    }
    w.sparse = w.sparse || makers[i].how == SPARSE;
    return w;
}

/* Once: those that ask again get no bytes. */
static weight weight_of(finder *x, const operand *o, int steps)
{
    weight w = {.word = ""};
    size_t type = type_at(o->type.dtype);
    operation *op = o->made ? &x->ops[o->made->made_by] : NULL;
    if (op && (op->known || steps > MOST_STEPS)) {
        w = op->weight;
    } else if (op && !dlx_pb_is(&op->type, "const")) {
        op->known = true; /* from here on: it may be made of itself */
        w = op->weight = made_by(x, op, steps);
        if (*w.word && w.name.at == w.name.end) w.name = op->weight.name = o->made->name;
        op->weight.bytes = 0;
    } else if (o->type.rank >= 0 && type < DLX_COUNT(types)) {
        w = (weight){.dtype = o->type.dtype, .bytes = bytes_of(&o->type)};
        snprintf(w.word, sizeof w.word, "%s", types[type].word);
        if (op) {
            w.name = o->made->name;
            op->weight = w;
            op->weight.bytes = 0;
            op->known = true;
        }
    }
    return w;
}

/* ---- layers ---- */

/* Products, and their parameters of which one may be a constant. */
static const struct {
    const char *op;
    const char *parameter[2];
} products[] = {{"linear", {"weight", "x"}},
                {"conv", {"weight", "x"}},
                {"conv_transpose", {"weight", "x"}},
                {"matmul", {"y", "x"}},
                {"einsum", {"values", NULL}}};

/* The constant of a product; `other`: what it is multiplied with. "": there is none. */
static weight constant_of(finder *x, const operation *op, size_t product, operand *other)
{
    operand all[4];
    weight w = {.word = ""};
    int n = 0;
    for (int k = 0; k < 2 && products[product].parameter[k]; k++)
        n += operands(x, op, products[product].parameter[k], all + n, 2);
    int at = -1;
    for (int i = 0; at < 0 && i < n; i++) {
        w = weight_of(x, &all[i], 0);
        if (*w.word) at = i;
    }
    for (int i = 0; i < n; i++)
        if (i != at) *other = all[i];
    return w;
}

/* "f16", by what the product gives, or "qs8" where its other operand stands as integers. */
static const char *activations_of(const finder *x, const operation *op, const operand *other)
{
    dlx_pb output, type;
    if (other->made && dlx_pb_is(&x->ops[other->made->made_by].type, "dequantize")) return "qs8";
    if (!part(op->bytes, DLX_MIL_OPERATION_OUTPUTS, &output) || !part(output, NAMED_TYPE, &type)) return "any";
    size_t i = type_at(tensor_of(type).dtype);
    return i < DLX_COUNT(types) ? types[i].word : "any";
}

/* The list that a layer belongs to; NULL: it would be one too many. */
static dlx_coreml_linears *list_of(finder *x, const char *op, const char *kind, uint64_t group)
{
    for (uint32_t i = 0; i < x->n_forms; i++)
        if (!strcmp(x->forms[i].op, op) && !strcmp(x->forms[i].kind, kind) && x->forms[i].group == group)
            return &x->forms[i];
    if (x->n_forms == MOST_FORMS) return NULL;
    dlx_coreml_linears *fresh = &x->forms[x->n_forms++];
    *fresh = (dlx_coreml_linears){.op = op, .group = group};
    snprintf(fresh->kind, sizeof fresh->kind, "%s", kind);
    return fresh;
}

/* In ASCII and short: what the file may call a value. */
static bool is_name(dlx_pb name)
{
    for (const uint8_t *p = name.at; p < name.end; p++)
        if (*p <= 0x20 || *p > 0x7E) return false;
    return name.at < name.end && name.end - name.at <= MOST_NAME;
}

static dlx_status add_name(finder *x, dlx_coreml_linears *to, dlx_pb name, dlx_error *err)
{
    if (!is_name(name) || x->n_names == MOST_NAMES) return DLX_OK;
    dlx_coreml_name *fresh = dlx_arena_alloc(x->arena, sizeof *fresh);
    char *text = dlx_arena_strndup(x->arena, (const char *)name.at, (size_t)(name.end - name.at));
    if (!fresh || !text) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading a model");
    fresh->text = text;
    if (to->last_name)
        to->last_name->next = fresh;
    else
        to->names = fresh;
    to->last_name = fresh;
    x->n_names++;
    return DLX_OK;
}

static dlx_status add_product(finder *x, const operation *op, size_t product, dlx_error *err)
{
    char kind[sizeof x->forms->kind];
    operand other = {.made = NULL};
    weight w = constant_of(x, op, product, &other);
    if (!*w.word) return DLX_OK;
    snprintf(kind, sizeof kind, "%s-%sw%s", activations_of(x, op, &other), w.word, w.sparse ? "-sparse" : "");
    dlx_coreml_linears *to = list_of(x, products[product].op, kind, w.group);
    x->too_many = x->too_many || !to;
    if (!to) return DLX_OK;
    to->layers++;
    if (!dlx_add_u64(to->bytes, w.bytes, &to->bytes)) to->bytes = UINT64_MAX;
    return add_name(x, to, w.name, err);
}

dlx_status dlx_coreml_find_linears(dlx_coreml_contents *out, dlx_arena *arena, dlx_pb block, dlx_error *err)
{
    finder x = {.arena = arena};
    collect(&x, block);
    if (x.n_ops > MOST_VALUES || x.n_values > MOST_VALUES) return DLX_OK;
    uint32_t n = x.n_ops, n_values = x.n_values;
    operation *ops = dlx_arena_array(arena, (size_t)n + 1, sizeof *ops);
    mil_value *values = dlx_arena_array(arena, (size_t)n_values + 1, sizeof *values);
    dlx_coreml_linears *forms = dlx_arena_array(arena, MOST_FORMS, sizeof *forms);
    if (!ops || !values || !forms) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading a model");
    x = (finder){.ops = ops, .values = values, .forms = forms, .arena = arena};
    collect(&x, block);
    qsort(values, n_values, sizeof *values, by_name);
    for (uint32_t i = 0; i < n; i++)
        for (size_t k = 0; k < DLX_COUNT(products); k++)
            if (dlx_pb_is(&ops[i].type, products[k].op)) DLX_TRY(add_product(&x, &ops[i], k, err));
    if (x.too_many) return DLX_OK;
    out->linears = forms;
    out->n_linears = x.n_forms;
    out->has_linears = true;
    return DLX_OK;
}
