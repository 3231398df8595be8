/* Instances of single types: strings, numbers, arrays and objects, as the keywords of a schema bound them. */
#include <stdio.h>
#include <string.h>

#include "base/sizes.h"
#include "constrain/full/numbers.h"
#include "constrain/full/schema_reader.h"
#include "constrain/regex.h"

static const dlx_expr *cat2(dlx_arena *a, const dlx_expr *x, const dlx_expr *y)
{
    const dlx_expr *const items[] = {x, y};
    return dlx_expr_cat(a, items, 2);
}

static const dlx_expr *enclosed(dlx_arena *a, const char *begin, const dlx_expr *e, const char *end)
{
    const dlx_expr *const items[] = {dlx_expr_bytes(a, begin, 1), e, dlx_expr_bytes(a, end, 1)};
    return dlx_expr_cat(a, items, 3);
}

static const dlx_expr *optional(dlx_arena *a, const dlx_expr *e)
{
    return dlx_expr_repeat(a, e, 0, 1);
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

/* Formats that are kept to; others are annotations. */
static const struct {
    const char *name, *regex;
} formats[] = {
#define DATE                                                                                                           \
    "[0-9]{4}-(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|[0-9]{4}-(0[469]|11)-(0[1-9]|[12][0-9]|30)|[0-9]{4}-02-(0[1-"  \
    "9]|1[0-9]|2[0-8])"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    {"date", "^(" DATE ")$"},
    {"time", "^" TIME "$"},
    {"date-time", "^(" DATE ")T" TIME "$"},
    {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    {"ipv4", "^" BYTE "(\\." BYTE "){3}$"},
};

/* The contents of strings in which the expression is found. */
static dlx_status find_anywhere(dlx_schema_reader *r, const char *regex, size_t n, const dlx_machine **out)
{
    dlx_arena *a = r->arena;
    const dlx_expr *any = dlx_expr_repeat(a, dlx_expr_set_but(a, NULL, 0), 0, DLX_UNBOUNDED), *e;
    dlx_status status = dlx_regex_parse(&e, a, regex, n, true, r->err);
    if (status != DLX_OK) return dlx_fail_prefix(r->err, status, "JSON schema, %s/pattern", r->path);
    const dlx_expr *const items[] = {any, e, any};
    return dlx_schema_machine(r, dlx_expr_cat(a, items, 3), true, out);
}

/* Both; *sum NULL stands for everything. */
static dlx_status meet(dlx_schema_reader *r, const dlx_machine **sum, const dlx_machine *m)
{
    if (!*sum) {
        *sum = m;
        return DLX_OK;
    }
    dlx_machine *both = dlx_arena_alloc(r->arena, sizeof *both);
    if (!both) return dlx_schema_nomem(r);
    DLX_TRY(dlx_machine_both(both, r->arena, *sum, m, false, r->err));
    *sum = both;
    return DLX_OK;
}

dlx_status dlx_schema_read_string(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out)
{
    const json_t *pattern = json_object_get(schema, "pattern"), *format = json_object_get(schema, "format");
    const dlx_machine *sum = NULL, *m;
    int32_t least, most;
    dlx_arena *a = r->arena;
    DLX_TRY(dlx_schema_count(r, schema, "minLength", 0, &least));
    DLX_TRY(dlx_schema_count(r, schema, "maxLength", DLX_UNBOUNDED, &most));
    if (most != DLX_UNBOUNDED && most < least) {
        *out = dlx_expr_alt(a, NULL, 0);
        return DLX_OK;
    }
    if (least || most != DLX_UNBOUNDED) {
        DLX_TRY(dlx_schema_machine(r, dlx_expr_repeat(a, dlx_expr_set_but(a, NULL, 0), least, most), true, &m));
        DLX_TRY(meet(r, &sum, m));
    }
    if (pattern) {
        if (!json_is_string(pattern)) return dlx_schema_bad(r, "'pattern' must be a string");
        DLX_TRY(find_anywhere(r, json_string_value(pattern), json_string_length(pattern), &m));
        DLX_TRY(meet(r, &sum, m));
    }
    for (size_t i = 0; i < DLX_COUNT(formats) && json_is_string(format); i++)
        if (!strcmp(json_string_value(format), formats[i].name)) {
            DLX_TRY(find_anywhere(r, formats[i].regex, strlen(formats[i].regex), &m));
            DLX_TRY(meet(r, &sum, m));
        }
    if (!sum) return dlx_schema_any_string(r, out);
    *out = enclosed(a, "\"", dlx_expr_machine(a, sum), "\"");
    return DLX_OK;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* A bound of a keyword; whole: rounded up (or down) to a whole number, which then is no open bound. */
static dlx_status read_bound(const dlx_schema_reader *r, const json_t *schema, const char *keyword, bool integer,
                             bool low, bool *has, int64_t *bound, bool *open)
{
    const json_t *value = json_object_get(schema, keyword);
    bool exclusive = keyword[0] == 'e';
    if (!value) return DLX_OK;
    if (!json_is_number(value)) return dlx_schema_bad(r, "'%s' must be a number", keyword);
    double x = json_number_value(value);
    if (!(x > -1e15 && x < 1e15)) return dlx_schema_bad(r, "'%s' must lie between -10^15 and 10^15", keyword);
    int64_t n = (int64_t)x;
    if ((double)n != x) {
        if (!integer) return dlx_schema_bad(r, "'%s' of numbers that are not integers must be a whole number", keyword);
        n += low ? x > 0 : -(x < 0);
        exclusive = false;
    }
    /* The stricter one of both kinds of bounds. */
    if (*has && (low ? n < *bound : n > *bound)) return DLX_OK;
    *open = (*has && n == *bound && *open) || exclusive;
    *has = true;
    *bound = n;
    return DLX_OK;
}

dlx_status dlx_schema_read_number(dlx_schema_reader *r, const json_t *schema, bool integer, const dlx_expr **out)
{
    dlx_bounds b = {.has_low = false};
    const json_t *multiple = json_object_get(schema, "multipleOf");
    if (multiple && !(integer && json_is_number(multiple) && json_number_value(multiple) == 1))
        return dlx_schema_bad(r, "'multipleOf' is only supported as 1, of type integer");
    DLX_TRY(read_bound(r, schema, "minimum", integer, true, &b.has_low, &b.low, &b.low_open));
    DLX_TRY(read_bound(r, schema, "exclusiveMinimum", integer, true, &b.has_low, &b.low, &b.low_open));
    DLX_TRY(read_bound(r, schema, "maximum", integer, false, &b.has_high, &b.high, &b.high_open));
    DLX_TRY(read_bound(r, schema, "exclusiveMaximum", integer, false, &b.has_high, &b.high, &b.high_open));
    if (b.has_low && b.has_high && (b.low > b.high || (b.low == b.high && (b.low_open || b.high_open))))
        *out = dlx_expr_alt(r->arena, NULL, 0);
    else
        *out = integer ? dlx_expr_integers(r->arena, &b) : dlx_expr_numbers(r->arena, &b);
    return DLX_OK;
}

/* ---- arrays ------------------------------------------------------------------------------------------------------ */

/* Any number of items behind the n in front: those that are still missing at least. */
static const dlx_expr *more_items(dlx_arena *a, const dlx_expr *item, int32_t n, int32_t least, int32_t most)
{
    int32_t missing = least > n ? least - n : 0, room = most == DLX_UNBOUNDED ? DLX_UNBOUNDED : most - n;
    if (n) return dlx_expr_repeat(a, cat2(a, dlx_schema_mark(a, ','), item), missing, room);
    if (room == 0) return dlx_expr_cat(a, NULL, 0);
    const dlx_expr *behind = dlx_expr_repeat(a, cat2(a, dlx_schema_mark(a, ','), item), missing ? missing - 1 : 0,
                                             room == DLX_UNBOUNDED ? DLX_UNBOUNDED : room - 1);
    const dlx_expr *all = cat2(a, item, behind);
    return missing ? all : optional(a, all);
}

dlx_status dlx_schema_read_array(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out)
{
    const json_t *items = json_object_get(schema, "items"), *prefix = json_object_get(schema, "prefixItems"),
                 *unique = json_object_get(schema, "uniqueItems");
    dlx_arena *a = r->arena;
    const dlx_expr *item = NULL, *tail, **front = dlx_arena_array(a, json_array_size(prefix), sizeof *front);
    int32_t least, most, n = 0;
    char index[24];
    if (!front) return dlx_schema_nomem(r);
    DLX_TRY(dlx_schema_count(r, schema, "minItems", 0, &least));
    DLX_TRY(dlx_schema_count(r, schema, "maxItems", DLX_UNBOUNDED, &most));
    if (unique && !json_is_false(unique) && (most == DLX_UNBOUNDED || most > 1))
        return dlx_schema_bad(r, "'uniqueItems' is not supported, but with 'maxItems' of 1");
    if (json_is_array(items)) return dlx_schema_bad(r, "'items' as a list is not supported; write prefixItems");
    if (prefix && (!json_is_array(prefix) || json_array_size(prefix) > DLX_SCHEMA_MOST_ITEMS))
        return dlx_schema_bad(r, "'prefixItems' must be a list of at most %d schemas", DLX_SCHEMA_MOST_ITEMS);
    for (; n < (int32_t)json_array_size(prefix) && (most == DLX_UNBOUNDED || n < most); n++) {
        snprintf(index, sizeof index, "%d", n);
        DLX_TRY(dlx_schema_read(r, json_array_get(prefix, (size_t)n), "prefixItems", index, &front[n]));
    }
    if (json_is_false(items) && (most == DLX_UNBOUNDED || most > n)) most = n;
    if (most != DLX_UNBOUNDED && most < least) {
        *out = dlx_expr_alt(a, NULL, 0);
        return DLX_OK;
    }
    if (items)
        DLX_TRY(dlx_schema_read(r, items, "items", NULL, &item));
    else
        DLX_TRY(dlx_schema_any(r, 1, &item));
    tail = more_items(a, item, n, least, most);
    for (int32_t i = n; i-- > 0;) {
        tail = cat2(a, front[i], tail);
        if (i) tail = cat2(a, dlx_schema_mark(a, ','), tail);
        if (i >= least) tail = optional(a, tail);
    }
    *out = enclosed(a, "[", tail, "]");
    return DLX_OK;
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */

/* One property: "key": value. */
typedef struct property {
    const char *key;
    const json_t *schema; /* NULL: what other keys may be */
    bool required;
    const dlx_expr *expr;
} property;

typedef struct object {
    property *properties;
    size_t n;
    const dlx_expr *other; /* key and value of a property that is not named; NULL: there are none */
    int32_t most_others;
} object;

static bool is_named(const object *o, const char *key)
{
    for (size_t i = 0; i < o->n; i++)
        if (!strcmp(o->properties[i].key, key)) return true;
    return false;
}

static dlx_status list_properties(dlx_schema_reader *r, const json_t *schema, object *o)
{
    const json_t *properties = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
    const char *key;
    json_t *value;
    size_t i;
    if ((properties && !json_is_object(properties)) || (required && !json_is_array(required)))
        return dlx_schema_bad(r, "'properties' must be an object, and 'required' a list");
    size_t most = json_object_size(properties) + json_array_size(required);
    if (most > DLX_SCHEMA_MOST_ITEMS)
        return dlx_schema_bad(r, "more than %d properties are not supported", DLX_SCHEMA_MOST_ITEMS);
    o->properties = dlx_arena_array(r->arena, most, sizeof *o->properties);
    if (!o->properties) return dlx_schema_nomem(r);
    json_object_foreach((json_t *)properties, key, value) o->properties[o->n++] =
        (property){.key = key, .schema = value};
    json_array_foreach(required, i, value)
    {
        if (!json_is_string(value)) return dlx_schema_bad(r, "'required' must be a list of strings");
        key = json_string_value(value);
        if (!is_named(o, key)) o->properties[o->n++] = (property){.key = key};
        for (size_t k = 0; k < o->n; k++)
            if (!strcmp(o->properties[k].key, key)) o->properties[k].required = true;
    }
    return DLX_OK;
}

/* Any key that is not named. */
static dlx_status other_keys(dlx_schema_reader *r, const object *o, const dlx_expr **out)
{
    const dlx_expr *any;
    const dlx_machine *all, *named;
    DLX_TRY(dlx_schema_any_string(r, &any));
    *out = any;
    if (!o->n) return DLX_OK;
    const dlx_expr **names = dlx_arena_array(r->arena, o->n, sizeof *names);
    dlx_machine *left = dlx_arena_alloc(r->arena, sizeof *left);
    if (!names || !left) return dlx_schema_nomem(r);
    for (size_t i = 0; i < o->n; i++)
        names[i] = dlx_schema_string_literal(r->arena, o->properties[i].key, strlen(o->properties[i].key));
    DLX_TRY(dlx_schema_machine(r, any, false, &all));
    DLX_TRY(dlx_schema_machine(r, dlx_expr_alt(r->arena, names, o->n), false, &named));
    DLX_TRY(dlx_machine_both(left, r->arena, all, named, true, r->err));
    *out = dlx_expr_machine(r->arena, left);
    return DLX_OK;
}

static dlx_status read_properties(dlx_schema_reader *r, const json_t *schema, object *o)
{
    const json_t *others = json_object_get(schema, "additionalProperties");
    const dlx_expr *value = NULL, *colon = dlx_schema_mark(r->arena, ':'), *keys;
    bool unnamed = false;
    for (size_t i = 0; i < o->n; i++) unnamed = unnamed || !o->properties[i].schema;
    /* Keys that are not named come where they are asked for, or nothing is named. */
    bool open = others ? !json_is_false(others) : !json_object_get(schema, "properties");
    if (others)
        DLX_TRY(dlx_schema_read(r, others, "additionalProperties", NULL, &value));
    else if (open || unnamed)
        DLX_TRY(dlx_schema_any(r, 1, &value));
    for (size_t i = 0; i < o->n; i++) {
        property *p = &o->properties[i];
        p->expr = value;
        if (p->schema) DLX_TRY(dlx_schema_read(r, p->schema, "properties", p->key, &p->expr));
        const dlx_expr *const items[] = {dlx_schema_string_literal(r->arena, p->key, strlen(p->key)), colon, p->expr};
        p->expr = dlx_expr_cat(r->arena, items, 3);
    }
    if (!open) return DLX_OK;
    DLX_TRY(other_keys(r, o, &keys));
    const dlx_expr *const items[] = {keys, colon, value};
    o->other = dlx_expr_cat(r->arena, items, 3);
    return o->other ? DLX_OK : dlx_schema_nomem(r);
}

/* What may stand behind property i-1, with a comma in front of what comes (`begun`) or nothing; from the last one on.
 */
static const dlx_expr *members(dlx_arena *a, const object *o)
{
    const dlx_expr *comma = dlx_schema_mark(a, ','), *begun = dlx_expr_cat(a, NULL, 0), *first = begun;
    if (o->other && o->most_others) {
        int32_t most = o->most_others;
        begun = dlx_expr_repeat(a, cat2(a, comma, o->other), 0, most);
        first =
            optional(a, cat2(a, o->other,
                             dlx_expr_repeat(a, cat2(a, comma, o->other), 0, most == DLX_UNBOUNDED ? most : most - 1)));
    }
    for (size_t i = o->n; i-- > 0;) {
        const property *p = &o->properties[i];
        const dlx_expr *with = cat2(a, p->expr, begun), *ways[] = {with, first};
        /* What is in front of a required property alone is not asked for again: memory that was out then is out. */
        if (!first) return NULL;
        first = p->required ? with : dlx_expr_alt(a, ways, 2);
        if (!i) break;
        const dlx_expr *behind = cat2(a, comma, p->expr);
        begun = cat2(a, p->required ? behind : optional(a, behind), begun);
    }
    return first;
}

/* The numbers of properties are bounded by themselves, or by the names. */
static dlx_status bound_properties(const dlx_schema_reader *r, const json_t *schema, object *o)
{
    int32_t least, most, required = 0;
    DLX_TRY(dlx_schema_count(r, schema, "minProperties", 0, &least));
    DLX_TRY(dlx_schema_count(r, schema, "maxProperties", DLX_UNBOUNDED, &most));
    for (size_t i = 0; i < o->n; i++) required += o->properties[i].required;
    o->most_others = DLX_UNBOUNDED;
    if (most != DLX_UNBOUNDED && most < (int32_t)o->n)
        return dlx_schema_bad(r, "'maxProperties' below the number of properties that are named is not supported");
    if (most != DLX_UNBOUNDED) o->most_others = most - (int32_t)o->n;
    if (least > required)
        return dlx_schema_bad(r, "'minProperties' above the number of required properties is not supported");
    return DLX_OK;
}

dlx_status dlx_schema_read_object(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out)
{
    object o = {.n = 0};
    DLX_TRY(list_properties(r, schema, &o));
    DLX_TRY(bound_properties(r, schema, &o));
    DLX_TRY(read_properties(r, schema, &o));
    *out = enclosed(r->arena, "{", members(r->arena, &o), "}");
    return DLX_OK;
}
