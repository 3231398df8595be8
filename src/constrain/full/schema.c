/*
 * Schemas as conjunctions: what the types and their keywords allow, enum and const, $ref, anyOf, oneOf, allOf. Each
 * part is an expression whose texts are instances; parts that meet are intersected as automata. Every text that comes
 * out is a valid instance; instances that are written in another way than the canonical one are left out.
 */
#include "constrain/full/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "constrain/full/numbers.h"
#include "constrain/full/schema_reader.h"
#include "constrain/nfa.h"
#include "format/json/json_file.h"

enum { MOST_DEPTH = 100, MOST_SCHEMAS = 20000, ANY_DEPTH = 2, MOST_BYTES = 1 << 22 };

/* ---- messages ---------------------------------------------------------------------------------------------------- */

dlx_status dlx_schema_bad(const dlx_schema_reader *r, const char *fmt, ...)
{
    char what[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return dlx_fail(r->err, DLX_E_INVALID, "JSON schema, %s: %s", r->path, what);
}

dlx_status dlx_schema_nomem(const dlx_schema_reader *r)
{
    return dlx_fail(r->err, DLX_E_NOMEM, "out of memory for a JSON schema of %d parts", r->n_read);
}

/* ---- keywords ---------------------------------------------------------------------------------------------------- */

typedef enum word_kind {
    ANNOTATION = 0, /* says nothing about what is valid */
    ANY_TYPE,
    STRINGS,
    NUMBERS,
    ARRAYS,
    OBJECTS,
    REFUSED
} word_kind;

static const struct {
    const char *word;
    word_kind kind;
} words[] = {
    {"type", ANY_TYPE},
    {"enum", ANY_TYPE},
    {"const", ANY_TYPE},
    {"$ref", ANY_TYPE},
    {"anyOf", ANY_TYPE},
    {"oneOf", ANY_TYPE},
    {"allOf", ANY_TYPE},
    {"minLength", STRINGS},
    {"maxLength", STRINGS},
    {"pattern", STRINGS},
    {"format", STRINGS},
    {"minimum", NUMBERS},
    {"maximum", NUMBERS},
    {"exclusiveMinimum", NUMBERS},
    {"exclusiveMaximum", NUMBERS},
    {"multipleOf", NUMBERS},
    {"items", ARRAYS},
    {"prefixItems", ARRAYS},
    {"minItems", ARRAYS},
    {"maxItems", ARRAYS},
    {"uniqueItems", ARRAYS},
    {"properties", OBJECTS},
    {"required", OBJECTS},
    {"additionalProperties", OBJECTS},
    {"minProperties", OBJECTS},
    {"maxProperties", OBJECTS},
    {"$anchor", ANNOTATION}, /* a $ref to one is refused */
    {"$dynamicRef", REFUSED},
    {"$dynamicAnchor", REFUSED},
    {"$recursiveRef", REFUSED},
    {"$recursiveAnchor", REFUSED},
    {"not", REFUSED},
    {"if", REFUSED},
    {"then", REFUSED},
    {"else", REFUSED},
    {"contains", REFUSED},
    {"minContains", REFUSED},
    {"maxContains", REFUSED},
    {"additionalItems", REFUSED},
    {"unevaluatedItems", REFUSED},
    {"patternProperties", REFUSED},
    {"propertyNames", REFUSED},
    {"unevaluatedProperties", REFUSED},
    {"dependentRequired", REFUSED},
    {"dependentSchemas", REFUSED},
    {"dependencies", REFUSED},
    {"nullable", REFUSED},
    {"extends", REFUSED},
    {"disallow", REFUSED},
    {"divisibleBy", REFUSED},
};

/* Which kinds of keywords the schema has, as bits; refuses what is not supported. */
static dlx_status look_through(const dlx_schema_reader *r, const json_t *schema, unsigned *kinds)
{
    const char *key;
    json_t *value;
    *kinds = 0;
    json_object_foreach((json_t *)schema, key, value)
    {
        for (size_t i = 0; i < DLX_COUNT(words); i++) {
            if (strcmp(words[i].word, key)) continue;
            if (words[i].kind == REFUSED) return dlx_schema_bad(r, "keyword '%s' is not supported", key);
            *kinds |= 1u << words[i].kind;
        }
        if (!strcmp(key, "$id") && schema != r->root)
            return dlx_schema_bad(r, "keyword '$id' is only supported at the top");
    }
    return DLX_OK;
}

dlx_status dlx_schema_count(const dlx_schema_reader *r, const json_t *schema, const char *keyword, int32_t otherwise,
                            int32_t *out)
{
    const json_t *value = json_object_get(schema, keyword);
    *out = otherwise;
    if (!value) return DLX_OK;
    double n = json_number_value(value);
    if (!json_is_number(value) || n < 0 || n != (double)(int64_t)n)
        return dlx_schema_bad(r, "'%s' must be a whole number from 0 on", keyword);
    if (n > 1 << 20) return dlx_schema_bad(r, "'%s' may be at most %d", keyword, 1 << 20);
    *out = (int32_t)n;
    return DLX_OK;
}

/* ---- literals and any value -------------------------------------------------------------------------------------- */

const dlx_expr *dlx_schema_mark(dlx_arena *a, char mark)
{
    const dlx_expr *const items[] = {dlx_expr_bytes(a, &mark, 1), dlx_expr_repeat(a, dlx_expr_bytes(a, " ", 1), 0, 1)};
    return dlx_expr_cat(a, items, 2);
}

const dlx_expr *dlx_schema_string_literal(dlx_arena *a, const char *text, size_t n)
{
    char *out = dlx_arena_alloc(a, 6 * n + 2);
    size_t used = 0;
    if (!out) return NULL;
    out[used++] = '"';
    for (size_t i = 0; i < n; i++) {
        size_t escape = dlx_json_escape(out + used, (uint8_t)text[i]);
        if (!escape) out[used] = text[i];
        used += escape ? escape : 1;
    }
    out[used++] = '"';
    return dlx_expr_bytes(a, out, used);
}

static const dlx_expr *text(dlx_arena *a, const char *s)
{
    return dlx_expr_bytes(a, s, strlen(s));
}

static const dlx_expr *literal_number(dlx_arena *a, const json_t *value)
{
    char s[64];
    size_t n = json_dumpb(value, s, sizeof s, JSON_ENCODE_ANY);
    return n && n <= sizeof s ? dlx_expr_bytes(a, s, n) : NULL;
}

static const dlx_expr *pair(dlx_arena *a, const dlx_expr *x, const dlx_expr *y)
{
    const dlx_expr *const items[] = {x, y};
    return dlx_expr_cat(a, items, 2);
}

const dlx_expr *dlx_schema_literal(dlx_arena *a, const json_t *value)
{
    const dlx_expr *e;
    const char *key;
    json_t *item;
    size_t i;
    switch (json_typeof(value)) {
    case JSON_NULL: return text(a, "null");
    case JSON_TRUE: return text(a, "true");
    case JSON_FALSE: return text(a, "false");
    case JSON_STRING: return dlx_schema_string_literal(a, json_string_value(value), json_string_length(value));
    case JSON_ARRAY:
        e = text(a, "[");
        json_array_foreach(value, i, item)
        {
            if (i) e = pair(a, e, dlx_schema_mark(a, ','));
            e = pair(a, e, dlx_schema_literal(a, item));
        }
        return pair(a, e, text(a, "]"));
    case JSON_OBJECT:
        e = text(a, "{");
        i = 0;
        json_object_foreach((json_t *)value, key, item)
        {
            if (i++) e = pair(a, e, dlx_schema_mark(a, ','));
            e = pair(a, e, dlx_schema_string_literal(a, key, strlen(key)));
            e = pair(a, e, pair(a, dlx_schema_mark(a, ':'), dlx_schema_literal(a, item)));
        }
        return pair(a, e, text(a, "}"));
    default: return literal_number(a, value);
    }
}

dlx_status dlx_schema_machine(dlx_schema_reader *r, const dlx_expr *e, bool in_json_string, const dlx_machine **out)
{
    dlx_machine *m = dlx_arena_alloc(r->arena, sizeof *m);
    if (!e || !m) return dlx_schema_nomem(r);
    *out = m;
    return dlx_machine_build(m, r->arena, e, in_json_string, r->err);
}

dlx_status dlx_schema_any_string(dlx_schema_reader *r, const dlx_expr **out)
{
    if (!r->any_string)
        DLX_TRY(dlx_schema_machine(r, dlx_expr_repeat(r->arena, dlx_expr_set_but(r->arena, NULL, 0), 0, DLX_UNBOUNDED),
                                   true, &r->any_string));
    const dlx_expr *const items[] = {text(r->arena, "\""), dlx_expr_machine(r->arena, r->any_string),
                                     text(r->arena, "\"")};
    *out = dlx_expr_cat(r->arena, items, 3);
    return DLX_OK;
}

dlx_status dlx_schema_any(dlx_schema_reader *r, int depth, const dlx_expr **out)
{
    dlx_arena *a = r->arena;
    const dlx_expr *string, *inner = NULL;
    const dlx_bounds none = {.has_low = false};
    DLX_TRY(dlx_schema_any_string(r, &string));
    if (depth) DLX_TRY(dlx_schema_any(r, depth - 1, &inner));
    const dlx_expr *ways[7] = {text(a, "null"), text(a, "true"), text(a, "false"), string, dlx_expr_numbers(a, &none)};
    if (depth) {
        const dlx_expr *member = pair(a, string, pair(a, dlx_schema_mark(a, ':'), inner));
        for (int k = 0; k < 2; k++) {
            const dlx_expr *one = k ? member : inner;
            const dlx_expr *more = dlx_expr_repeat(a, pair(a, dlx_schema_mark(a, ','), one), 0, DLX_UNBOUNDED);
            const dlx_expr *all = dlx_expr_repeat(a, pair(a, one, more), 0, 1);
            ways[5 + k] = pair(a, text(a, k ? "{" : "["), pair(a, all, text(a, k ? "}" : "]")));
        }
    }
    *out = dlx_expr_alt(a, ways, depth ? 7 : 5);
    return DLX_OK;
}

dlx_status dlx_schema_and(dlx_schema_reader *r, const dlx_expr *a, const dlx_expr *b, const dlx_expr **out)
{
    const dlx_machine *x, *y;
    *out = a ? a : b;
    if (!a || !b) return DLX_OK;
    dlx_machine *both = dlx_arena_alloc(r->arena, sizeof *both);
    if (!both) return dlx_schema_nomem(r);
    DLX_TRY(dlx_schema_machine(r, a, false, &x));
    DLX_TRY(dlx_schema_machine(r, b, false, &y));
    DLX_TRY(dlx_machine_both(both, r->arena, x, y, false, r->err));
    *out = dlx_expr_machine(r->arena, both);
    return *out ? DLX_OK : dlx_schema_nomem(r); /* NULL would mean everything */
}

/* ---- types ------------------------------------------------------------------------------------------------------- */

static const char *const type_names[] = {"null", "boolean", "string", "integer", "number", "array", "object"};
enum { NULL_TYPE, BOOLEAN, STRING, INTEGER, NUMBER, ARRAY, OBJECT, TYPES };

static dlx_status add_type(const dlx_schema_reader *r, const json_t *name, unsigned *types)
{
    for (int i = 0; i < TYPES && json_is_string(name); i++)
        if (!strcmp(json_string_value(name), type_names[i])) {
            *types |= 1u << i;
            return DLX_OK;
        }
    return dlx_schema_bad(r,
                          "'type' must be null, boolean, string, integer, number, array, object, or a list of these");
}

/* The types that the keyword allows, as bits: all where it is missing. Numbers include integers. */
static dlx_status types_of(const dlx_schema_reader *r, const json_t *schema, unsigned *types)
{
    const json_t *type = json_object_get(schema, "type");
    json_t *one;
    size_t i;
    *types = 0;
    if (!type) {
        *types = (1u << TYPES) - 1;
    } else if (json_is_array(type)) {
        json_array_foreach(type, i, one) DLX_TRY(add_type(r, one, types));
    } else {
        DLX_TRY(add_type(r, type, types));
    }
    if (*types & 1u << NUMBER) *types &= ~(1u << INTEGER);
    return DLX_OK;
}

static dlx_status read_type(dlx_schema_reader *r, const json_t *schema, int type, const dlx_expr **out)
{
    switch (type) {
    case NULL_TYPE: *out = text(r->arena, "null"); return DLX_OK;
    case BOOLEAN:
        *out = dlx_expr_alt(r->arena, (const dlx_expr *const[]){text(r->arena, "true"), text(r->arena, "false")}, 2);
        return DLX_OK;
    case STRING: return dlx_schema_read_string(r, schema, out);
    case ARRAY: return dlx_schema_read_array(r, schema, out);
    case OBJECT: return dlx_schema_read_object(r, schema, out);
    default: return dlx_schema_read_number(r, schema, type == INTEGER, out);
    }
}

static dlx_status read_types(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out)
{
    const dlx_expr *ways[TYPES];
    unsigned types;
    size_t n = 0;
    DLX_TRY(types_of(r, schema, &types));
    for (int i = 0; i < TYPES; i++)
        if (types & 1u << i) DLX_TRY(read_type(r, schema, i, &ways[n++]));
    *out = dlx_expr_alt(r->arena, ways, n);
    return DLX_OK;
}

/* ---- combinations ------------------------------------------------------------------------------------------------ */

static dlx_status read_list(dlx_schema_reader *r, const json_t *schema, const char *keyword, const dlx_expr ***items,
                            size_t *n)
{
    const json_t *list = json_object_get(schema, keyword);
    json_t *one;
    size_t i;
    char index[24];
    *n = json_array_size(list);
    if (!*n || *n > DLX_SCHEMA_MOST_ITEMS)
        return dlx_schema_bad(r, "'%s' must be a list of 1 to %d schemas", keyword, DLX_SCHEMA_MOST_ITEMS);
    *items = dlx_arena_array(r->arena, *n, sizeof **items);
    if (!*items) return dlx_schema_nomem(r);
    json_array_foreach(list, i, one)
    {
        snprintf(index, sizeof index, "%zu", i);
        DLX_TRY(dlx_schema_read(r, one, keyword, index, &(*items)[i]));
    }
    return DLX_OK;
}

/* The values that a schema names by const or enum: *n of them from *list on, or none. */
static const json_t *named_value(const json_t *schema, size_t i)
{
    const json_t *constant = json_object_get(schema, "const");
    return constant ? (i ? NULL : constant) : json_array_get(json_object_get(schema, "enum"), i);
}

static bool values_differ(const json_t *a, const json_t *b)
{
    if (!named_value(a, 0) || !named_value(b, 0)) return false;
    for (size_t i = 0; named_value(a, i); i++)
        for (size_t k = 0; named_value(b, k); k++) {
            const json_t *x = named_value(a, i), *y = named_value(b, k);
            /* 1 and 1.0 are equal numbers. */
            if (json_equal(x, y) ||
                (json_is_number(x) && json_is_number(y) && json_number_value(x) == json_number_value(y)) ||
                ((json_is_object(x) || json_is_array(x)) && json_typeof(x) == json_typeof(y)))
                return false;
        }
    return true;
}

static bool requires(const json_t *schema, const char *key)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(schema, "required"), i,
                       one) if (json_is_string(one) && !strcmp(json_string_value(one), key)) return true;
    return false;
}

/* One step of a JSON pointer: from `p` to the next '/' or the end; decoded into name. */
static const char *pointer_step(const char *p, char *name, size_t size)
{
    size_t n = 0;
    for (; *p && *p != '/'; p++) {
        char c = *p;
        if (c == '~' && (p[1] == '0' || p[1] == '1')) {
            c = *++p == '0' ? '~' : '/';
        } else if (c == '%' && p[1] && p[2]) {
            const char hex[3] = {p[1], p[2], 0};
            c = (char)strtol(hex, NULL, 16);
            p += 2;
        }
        if (n + 1 < size) name[n++] = c;
    }
    name[n] = '\0';
    return p;
}

static const json_t *find_ref(const json_t *root, const char *ref)
{
    char name[256];
    if (*ref++ != '#') return NULL;
    for (const json_t *at = root;;) {
        if (!*ref || !at) return at;
        if (*ref != '/') return NULL;
        ref = pointer_step(ref + 1, name, sizeof name);
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(name, NULL, 10)) : json_object_get(at, name);
    }
}

/* A schema, or what its $ref names: an instance of the one is an instance of the other. */
static const json_t *referred(const dlx_schema_reader *r, const json_t *schema)
{
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    const json_t *target = ref ? find_ref(r->root, ref) : NULL;
    return target ? target : schema;
}

/* Whether no instance can be one of both: by type, by value, or by the value of a property that both require. */
static bool disjoint(const dlx_schema_reader *r, const json_t *a, const json_t *b)
{
    unsigned x = 0, y = 0, both;
    const char *key;
    json_t *value;
    if (types_of(r, a, &x) != DLX_OK || types_of(r, b, &y) != DLX_OK) return false;
    both = x & y;
    if ((x | y) & 1u << INTEGER && (x | y) & 1u << NUMBER && x & (1u << INTEGER | 1u << NUMBER) &&
        y & (1u << INTEGER | 1u << NUMBER))
        return false;
    if (!both || values_differ(a, b)) return true;
    if (both != 1u << OBJECT) return false;
    json_object_foreach(
        json_object_get(a, "properties"), key,
        value) if (requires(a, key) && requires(b, key) &&
                   values_differ(value, json_object_get(json_object_get(b, "properties"), key))) return true;
    return false;
}

static dlx_status read_one_of(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out)
{
    const json_t *list = json_object_get(schema, "oneOf");
    const dlx_expr **items;
    size_t n;
    DLX_TRY(read_list(r, schema, "oneOf", &items, &n));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (!disjoint(r, referred(r, json_array_get(list, i)), referred(r, json_array_get(list, k))))
                return dlx_schema_bad(
                    r,
                    "branches %zu and %zu of 'oneOf' may describe the same instance, which one schema "
                    "alone may; give them different types, or a required property with different "
                    "constants, or write anyOf",
                    k, i);
    *out = dlx_expr_alt(r->arena, items, n);
    return DLX_OK;
}

static dlx_status read_values(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out)
{
    const json_t *list = json_object_get(schema, "enum"), *constant = json_object_get(schema, "const");
    const dlx_expr *values = NULL, *one = constant ? dlx_schema_literal(r->arena, constant) : NULL;
    if (list) {
        size_t n = json_array_size(list);
        const dlx_expr **items = dlx_arena_array(r->arena, n, sizeof *items);
        if (!json_is_array(list)) return dlx_schema_bad(r, "'enum' must be a list");
        if (!items) return dlx_schema_nomem(r);
        for (size_t i = 0; i < n; i++) items[i] = dlx_schema_literal(r->arena, json_array_get(list, i));
        values = dlx_expr_alt(r->arena, items, n);
    }
    if ((list && !values) || (constant && !one)) return dlx_schema_nomem(r);
    return dlx_schema_and(r, values, one, out);
}

/* ---- references -------------------------------------------------------------------------------------------------- */

static dlx_status read_ref(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out)
{
    const json_t *ref = json_object_get(schema, "$ref");
    const json_t *target = json_is_string(ref) ? find_ref(r->root, json_string_value(ref)) : NULL;
    if (!target)
        return dlx_schema_bad(r,
                              "'$ref' must be a JSON pointer into this schema that leads to something (#/$defs/name)");
    int64_t inside = 0;
    for (const dlx_schema_ref *k = r->refs; k; k = k->outer) inside += k->target == target;
    inside += target == r->root;
    if (inside && !r->max_depth)
        return dlx_schema_bad(r, "'$ref' leads back to a schema that it is part of; allow a depth (max_depth) for it");
    if (inside > r->max_depth) {
        *out = dlx_expr_alt(r->arena, NULL, 0);
        return DLX_OK;
    }
    const dlx_schema_ref here = {.target = target, .outer = r->refs};
    r->refs = &here;
    dlx_status status = dlx_schema_read(r, target, "$ref", NULL, out);
    r->refs = here.outer;
    return status;
}

/* ---- schemas ----------------------------------------------------------------------------------------------------- */

static dlx_status read_conjunction(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out)
{
    static const struct {
        const char *keyword;
        dlx_status (*read)(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out);
    } parts[] = {{"enum", read_values}, {"const", read_values}, {"$ref", read_ref}, {"oneOf", read_one_of}};
    const dlx_expr *part = NULL, **items, *sum = NULL;
    unsigned kinds;
    size_t n;
    DLX_TRY(look_through(r, schema, &kinds));
    if (json_object_get(schema, "type") || kinds & ~(1u << ANNOTATION | 1u << ANY_TYPE)) {
        DLX_TRY(read_types(r, schema, &sum));
        if (!sum) return dlx_schema_nomem(r);
    }
    for (size_t i = 0; i < DLX_COUNT(parts); i++) {
        if (!json_object_get(schema, parts[i].keyword)) continue;
        if (i == 1 && json_object_get(schema, "enum")) continue; /* read with it */
        DLX_TRY(parts[i].read(r, schema, &part));
        if (!part) return dlx_schema_nomem(r);
        DLX_TRY(dlx_schema_and(r, sum, part, &sum));
    }
    if (json_object_get(schema, "anyOf")) {
        DLX_TRY(read_list(r, schema, "anyOf", &items, &n));
        if (!(part = dlx_expr_alt(r->arena, items, n))) return dlx_schema_nomem(r);
        DLX_TRY(dlx_schema_and(r, sum, part, &sum));
    }
    if (json_object_get(schema, "allOf")) {
        DLX_TRY(read_list(r, schema, "allOf", &items, &n));
        for (size_t i = 0; i < n; i++) DLX_TRY(dlx_schema_and(r, sum, items[i], &sum));
    }
    *out = sum;
    return sum ? DLX_OK : dlx_schema_any(r, ANY_DEPTH, out);
}

dlx_status dlx_schema_read(dlx_schema_reader *r, const json_t *schema, const char *key, const char *member,
                           const dlx_expr **out)
{
    size_t length = strlen(r->path);
    dlx_status status = DLX_OK;
    snprintf(r->path + length, sizeof r->path - length, "%s%s%s%s", key ? "/" : "", key ? key : "", member ? "/" : "",
             member ? member : "");
    *out = NULL;
    if (++r->depth > MOST_DEPTH || r->n_read++ > MOST_SCHEMAS)
        status =
            dlx_fail(r->err, DLX_E_LIMIT,
                     "JSON schema, %.100s...: it is nested more than %d deep, or has more than %d parts when every "
                     "'$ref' is written out",
                     r->path, MOST_DEPTH, MOST_SCHEMAS);
    else if (json_is_object(schema))
        status = read_conjunction(r, schema, out);
    else if (json_is_true(schema))
        status = dlx_schema_any(r, ANY_DEPTH, out);
    else if (json_is_false(schema))
        *out = dlx_expr_alt(r->arena, NULL, 0);
    else
        status = dlx_schema_bad(r, "a schema must be an object, true or false");
    if (status == DLX_OK && !*out) status = dlx_schema_nomem(r);
    r->depth--;
    r->path[length] = '\0';
    return status;
}

dlx_status dlx_schema_build(dlx_machine *out, dlx_arena *arena, const char *schema, size_t n, int64_t max_depth,
                            dlx_error *err)
{
    json_t *root;
    dlx_arena reading;
    const dlx_expr *e;
    if (n > MOST_BYTES)
        return dlx_fail(err, DLX_E_LIMIT, "a JSON schema of %zu bytes; at most %d are supported", n, MOST_BYTES);
    dlx_status status = dlx_json_parse_any(&root, schema, n, "JSON schema", err);
    if (status == DLX_E_FORMAT) {
        /* A schema is an argument, no file of a model. */
        status = DLX_E_INVALID;
        if (err) err->status = status;
    }
    if (status != DLX_OK) return status;
    dlx_arena_init(&reading);
    dlx_schema_reader r = {.arena = &reading, .root = root, .max_depth = max_depth, .path = "#", .err = err};
    status = dlx_schema_read(&r, root, NULL, NULL, &e);
    if (status == DLX_OK) status = dlx_machine_build(out, arena, e, false, err);
    dlx_arena_free(&reading);
    json_decref(root);
    return status;
}
