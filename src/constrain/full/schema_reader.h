/* What the files of schema.h share: a schema at work, the place in it, and the vocabulary of expressions. */
#ifndef DLX_CONSTRAIN_FULL_SCHEMA_READER_H
#define DLX_CONSTRAIN_FULL_SCHEMA_READER_H

#include <stdbool.h>

#include <jansson.h>

#include "base/status.h"
#include "constrain/expr.h"
#include "constrain/machine.h"

typedef struct dlx_schema_ref {
    const json_t *target; /* a schema that is being read because a $ref named it */
    const struct dlx_schema_ref *outer;
} dlx_schema_ref;

typedef struct dlx_schema_reader {
    dlx_arena *arena;
    const json_t *root;
    int64_t max_depth;
    const dlx_schema_ref *refs; /* those that lead here */
    char path[512];             /* of the schema at work, as a JSON pointer */
    int depth, n_read;
    const dlx_machine *any_string;
    dlx_error *err;
} dlx_schema_reader;

/* "JSON schema, PATH: " and what is wrong; DLX_E_INVALID. */
dlx_status dlx_schema_bad(const dlx_schema_reader *r, const char *fmt, ...) DLX_PRINTF(2, 3);
dlx_status dlx_schema_nomem(const dlx_schema_reader *r);

/* Sets *out to the instances of the schema that lies at `key`, and there at `member`, of the one at work; either may be
 * NULL. */
dlx_status dlx_schema_read(dlx_schema_reader *r, const json_t *schema, const char *key, const char *member,
                           const dlx_expr **out);
/* What both accept; a NULL stands for everything. */
dlx_status dlx_schema_and(dlx_schema_reader *r, const dlx_expr *a, const dlx_expr *b, const dlx_expr **out);
dlx_status dlx_schema_machine(dlx_schema_reader *r, const dlx_expr *e, bool in_json_string, const dlx_machine **out);

/* A JSON value as it is written: the only text of its kind. */
const dlx_expr *dlx_schema_literal(dlx_arena *a, const json_t *value);
/* The text of a JSON string, quotation marks included. */
const dlx_expr *dlx_schema_string_literal(dlx_arena *a, const char *text, size_t n);
/* Any value, with arrays and objects in each other up to `depth`. */
dlx_status dlx_schema_any(dlx_schema_reader *r, int depth, const dlx_expr **out);
/* Any string. Like the readers of types, it may leave NULL behind when memory is out. */
dlx_status dlx_schema_any_string(dlx_schema_reader *r, const dlx_expr **out);

/* A count of a keyword, `otherwise` where it is not given. */
dlx_status dlx_schema_count(const dlx_schema_reader *r, const json_t *schema, const char *keyword, int32_t otherwise,
                            int32_t *out);

/* Instances of one type, as its keywords in the schema bound them. */
dlx_status dlx_schema_read_string(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out);
dlx_status dlx_schema_read_number(dlx_schema_reader *r, const json_t *schema, bool integer, const dlx_expr **out);
dlx_status dlx_schema_read_array(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out);
dlx_status dlx_schema_read_object(dlx_schema_reader *r, const json_t *schema, const dlx_expr **out);

/* ',' or ':' with a blank behind it or none. */
const dlx_expr *dlx_schema_mark(dlx_arena *a, char mark);

enum { DLX_SCHEMA_MOST_ITEMS = 1024 };

#endif
