/*
 * One rendering: the arena, what it may still use, its scopes, and how functions, filters, tests and methods are
 * called.
 */
#ifndef DLX_TEXT_JINJA_RUN_H
#define DLX_TEXT_JINJA_RUN_H

#include "text/jinja/value.h"

/* What a template may use. No published one comes near any of these. */
enum {
    DLX_JX_MAX_STEPS = 50000000,   /* nodes, elements, and stretches of 64 bytes */
    DLX_JX_MAX_DEPTH = 800,        /* nested nodes and calls */
    DLX_JX_MAX_MEMORY = 512 << 20, /* bytes */
    DLX_JX_MAX_RANGE = 100000,     /* as Jinja2's sandbox has it */
};

/* What the interpreter sets by itself where the template mentions it. */
enum { DLX_JX_LOOP, DLX_JX_CALLER, DLX_JX_VARARGS, DLX_JX_KWARGS, DLX_JX_NAMES };

typedef struct dlx_jx_scope {
    struct dlx_jx_scope *parent;
    uint32_t *names; /* numbers of strings of the tree */
    dlx_jv *values;
    size_t n, capacity;
    bool kept; /* a macro was made inside: it sees these variables for as long as it lives */
} dlx_jx_scope;

struct dlx_jx {
    const dlx_jinja_tree *tree;
    uint32_t names[DLX_JX_NAMES]; /* numbers in the tree: found once, however often a loop or macro sets them */
    bool mentions[DLX_JX_NAMES];
    dlx_arena arena;
    size_t memory; /* used */
    int64_t steps; /* left */
    int depth;
    uint32_t line; /* of what is being evaluated */
    dlx_jx_scope *scope;
    dlx_jv_bytes *out;   /* where text is printed to */
    const dlx_jv *input; /* what the filters of a block are applied to */
    dlx_status status;
    dlx_error *err;
};

typedef struct dlx_jx_keyword {
    const dlx_jv_string *name;
    dlx_jv value;
} dlx_jx_keyword;

typedef struct dlx_jx_arguments {
    dlx_jv *v;
    size_t n;
    dlx_jx_keyword *keywords;
    size_t n_keywords;
} dlx_jx_arguments;

struct dlx_jv_macro {
    uint32_t node; /* MACRO, CALL_BLOCK or GENERATION */
    dlx_jx_scope *scope;
};

/* Zeroed memory; NULL when memory is out or the bound is reached, which is recorded. */
void *dlx_jx_alloc(dlx_jx *x, size_t size);
/* Room for one more element; the old array stays as it is. */
bool dlx_jx_grow(dlx_jx *x, void *items, size_t *capacity, size_t need, size_t size);
bool dlx_jx_fail(dlx_jx *x, dlx_status status, const char *fmt, ...) DLX_PRINTF(3, 4);
/* "'x' is undefined", and what else is wrong with it. */
bool dlx_jx_fail_undefined(dlx_jx *x, const dlx_jv *v);
/* Counts work. */
bool dlx_jx_step(dlx_jx *x, size_t n);
bool dlx_jx_enter(dlx_jx *x); /* one level deeper */
void dlx_jx_leave(dlx_jx *x);

/* ---- iterating (iterate.c) ----------------------------------------------------------------------------------------
 */

typedef enum dlx_jv_iteration {
    DLX_JV_OVER_ITEMS,    /* of `source` by number: str, list, tuple, range */
    DLX_JV_OVER_REVERSED, /* the same from its end */
    DLX_JV_OVER_DICT,     /* of a dict: `which` DLX_JV_KEYS ... */
    DLX_JV_OVER_MAP,      /* a filter or an attribute of each element of `inner` */
    DLX_JV_OVER_SELECT,   /* those that pass a test */
    DLX_JV_OVER_LAZY,     /* a filter's list, made when it is first asked for an element */
} dlx_jv_iteration;

struct dlx_jv_iterator {
    uint8_t kind, which;
    bool reject, by_attribute, has_function;
    size_t at, n;
    dlx_jv source;
    dlx_jv_iterator *inner;
    int function; /* number of a filter or test; LAZY: the filter */
    dlx_jx_arguments arguments;
    dlx_jv attribute, otherwise; /* MAP: of elements, and what stands for undefined */
};

/* iter(v) */
bool dlx_jx_iterate(dlx_jx *x, const dlx_jv *v, dlx_jv_iterator **out);
bool dlx_jx_is_iterable(const dlx_jv *v);
/* 1: an element, 0: none is left, -1: failed. */
int dlx_jx_next(dlx_jx *x, dlx_jv_iterator *it, dlx_jv *out);
/* list(v) */
bool dlx_jx_to_list(dlx_jx *x, const dlx_jv *v, dlx_jv_list **out);
dlx_jv dlx_jv_of_iterator(dlx_jv_iterator *it);

/* ---- evaluating (expressions.c, statements.c) ----------------------------------------------------------------------
 */

bool dlx_jx_eval(dlx_jx *x, uint32_t node, dlx_jv *out);
typedef enum dlx_jx_flow { DLX_JX_GO_ON, DLX_JX_BREAK, DLX_JX_CONTINUE, DLX_JX_FAILED } dlx_jx_flow;
dlx_jx_flow dlx_jx_run(dlx_jx *x, uint32_t first);
bool dlx_jx_push_scope(dlx_jx *x);
bool dlx_jx_set(dlx_jx *x, dlx_jx_scope *scope, uint32_t name, dlx_jv value);
/* The value of a name in the scopes around, from the inside; NULL: it has none. */
const dlx_jv *dlx_jx_get(const dlx_jx *x, uint32_t name);
/* DLX_JX_LOOP ...; nothing where the template does not mention it. */
bool dlx_jx_set_name(dlx_jx *x, dlx_jx_scope *scope, int which, dlx_jv value);
/* target = value; tuples are unpacked. */
bool dlx_jx_assign(dlx_jx *x, uint32_t target, const dlx_jv *value);
bool dlx_jx_call_macro(dlx_jx *x, const dlx_jv_macro *macro, const dlx_jx_arguments *a, dlx_jv *out);
bool dlx_jx_arguments_of(dlx_jx *x, uint32_t first, dlx_jx_arguments *a);
bool dlx_jx_call(dlx_jx *x, const dlx_jv *function, const dlx_jx_arguments *a, dlx_jv *out);

/* object.name and object[key], as Jinja looks them up. */
bool dlx_jx_attribute(dlx_jx *x, const dlx_jv *object, const dlx_jv_string *name, dlx_jv *out);
/* The same without looking for a key, as the filter `attr` does. */
bool dlx_jx_own_attribute(dlx_jx *x, const dlx_jv *object, const dlx_jv_string *name, dlx_jv *out);
bool dlx_jx_item(dlx_jx *x, const dlx_jv *object, const dlx_jv *key, dlx_jv *out);

/* ---- loops (loop.c) -----------------------------------------------------------------------------------------------
 */

struct dlx_jv_loop {
    uint32_t node;
    dlx_jx_scope *scope; /* around the loop */
    dlx_jx_scope *body;  /* of the last turn, or NULL; the next one takes it over unless it is kept */
    dlx_jv sequence;
    dlx_jv_iterator *it;
    dlx_jv current, before, after, changed; /* ABSENT where there is none */
    int64_t index0, depth0;
    size_t length;
    bool has_length;
};

/* loop.name; *found is false when there is no such attribute. */
bool dlx_jx_loop_attribute(dlx_jx *x, dlx_jv_loop *loop, const dlx_jv_string *name, dlx_jv *out, bool *found);
/* Runs a for statement over a sequence; prints into x->out. */
dlx_jx_flow dlx_jx_run_loop(dlx_jx *x, uint32_t node, dlx_jx_scope *scope, const dlx_jv *sequence, int64_t depth0);

/* ---- functions ----------------------------------------------------------------------------------------------------
 */

/*
 * Puts arguments at the places of their parameters: `names` separated by blanks, the first `needed` of them must be
 * given, the others are ABSENT. `what` names the function in messages.
 */
bool dlx_jx_bind(dlx_jx *x, const dlx_jx_arguments *a, const char *what, const char *names, size_t needed, dlx_jv *out);
bool dlx_jx_need_int(dlx_jx *x, const dlx_jv *v, const char *what, int64_t *out);
bool dlx_jx_need_string(dlx_jx *x, const dlx_jv *v, const char *what, const dlx_jv_string **out);

bool dlx_jx_filter(dlx_jx *x, int filter, const dlx_jv *v, const dlx_jx_arguments *a, dlx_jv *out);
bool dlx_jx_test(dlx_jx *x, int test, const dlx_jv *v, const dlx_jx_arguments *a, bool *result);
/* Filters of sequences (filters_lists.c); the others are in filters.c. */
bool dlx_jx_list_filter(dlx_jx *x, int filter, const dlx_jv *v, const dlx_jx_arguments *a, dlx_jv *out);
/* What a LAZY iterator goes over. */
bool dlx_jx_lazy_filter(dlx_jx *x, const dlx_jv_iterator *it, dlx_jv_list **out);
/* The value of an attribute path ("function.name") of v. */
bool dlx_jx_attribute_path(dlx_jx *x, const dlx_jv *v, const dlx_jv *path, const dlx_jv *otherwise, dlx_jv *out);
/* Stable; keys and values change places together. */
bool dlx_jx_sort(dlx_jx *x, dlx_jv *keys, dlx_jv *values, size_t n, bool reverse);

bool dlx_jx_find_global(const char *name, size_t n, dlx_jv *out);
bool dlx_jx_call_global(dlx_jx *x, uint32_t number, const dlx_jx_arguments *a, dlx_jv *out);

/* tojson (json_write.c): json.dumps with the options of transformers' filter. */
bool dlx_jx_tojson(dlx_jx *x, const dlx_jv *v, const dlx_jx_arguments *a, dlx_jv *out);
/* "%s" % values, and "{}".format(...) (format.c). The format is a string; one that is markup escapes its values. */
bool dlx_jx_percent(dlx_jx *x, const dlx_jv *format, const dlx_jv *values, dlx_jv *out);
bool dlx_jx_format(dlx_jx *x, const dlx_jv *format, const dlx_jx_arguments *a, dlx_jv *out);
/* strftime of the local time (time.c). */
bool dlx_jx_strftime_now(dlx_jx *x, const dlx_jx_arguments *a, dlx_jv *out);

/* JSON to a value (json_read.c); `own`: its strings count as the template's. `what` names the text in messages. */
bool dlx_jx_read_json(dlx_jx *x, const char *text, size_t n, const char *what, bool own, dlx_jv *out);

#endif
