/*
 * A compiled template: a tree of nodes whose shapes are one table (dlx_jinja_shapes). The parser builds it, tree.c
 * writes it down in preorder and reads it back, checking every node against the table, and the interpreter walks it.
 *
 * Written form, all numbers as LEB128: "DLXJ" (4 bytes), version, flags, number of strings, length and bytes of each
 * string (UTF-8), then the root's list of statements. A node is its kind (at least 1), its line as a difference to the
 * node before (zigzag), and its fields by shape. A list is its nodes and a 0; an absent optional node is a 0.
 */
#ifndef DLX_TEXT_JINJA_TREE_H
#define DLX_TEXT_JINJA_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    DLX_JINJA_VERSION = 1,
    DLX_JINJA_FIELDS = 6,
    DLX_JINJA_NONE = 0,        /* index of no node; node 0 is never used */
    DLX_JINJA_MAX_DEPTH = 256, /* nested nodes: bounds the recursion of everything that walks a tree */
    DLX_JINJA_MAX_NODES = 1 << 20,
    DLX_JINJA_MAX_TEXT = 4 << 20, /* bytes of a template's source, and of all strings of a tree */
};

typedef enum dlx_jinja_kind {
    /* statements */
    DLX_JINJA_DATA = 1,     /* text */
    DLX_JINJA_PRINT,        /* expression */
    DLX_JINJA_IF,           /* test, then, else */
    DLX_JINJA_FOR,          /* target, sequence, filter or none, body, else, recursive */
    DLX_JINJA_SET,          /* target, value */
    DLX_JINJA_SET_BLOCK,    /* target, filters over INPUT or none, body */
    DLX_JINJA_FILTER_BLOCK, /* filters over INPUT, body */
    DLX_JINJA_MACRO,        /* name, parameters, body, DLX_JINJA_USES_* */
    DLX_JINJA_CALL_BLOCK,   /* call, parameters, body, DLX_JINJA_USES_* */
    DLX_JINJA_GENERATION,   /* body */
    DLX_JINJA_WITH,         /* variables, body */
    DLX_JINJA_BREAK,
    DLX_JINJA_CONTINUE,
    DLX_JINJA_PARAMETER, /* name, default or none */
    DLX_JINJA_VARIABLE,  /* target, value: of WITH */
    /* targets: NAME, TUPLE of targets, or */
    DLX_JINJA_MEMBER, /* namespace variable, attribute */
    /* expressions */
    DLX_JINJA_NAME,
    DLX_JINJA_NULL,
    DLX_JINJA_FALSE,
    DLX_JINJA_TRUE,
    DLX_JINJA_INTEGER,
    DLX_JINJA_FLOAT,
    DLX_JINJA_STRING,
    DLX_JINJA_LIST,
    DLX_JINJA_TUPLE,
    DLX_JINJA_DICT,
    DLX_JINJA_PAIR,      /* key, value: of DICT */
    DLX_JINJA_CONDITION, /* test, then, else or none */
    DLX_JINJA_OR,
    DLX_JINJA_AND,
    DLX_JINJA_NOT,
    DLX_JINJA_COMPARE, /* left, OPERANDs */
    DLX_JINJA_OPERAND, /* dlx_jinja_comparison, right */
    DLX_JINJA_BINARY,  /* dlx_jinja_arithmetic, left, right */
    DLX_JINJA_CONCAT,
    DLX_JINJA_NEGATE,
    DLX_JINJA_PLUS,
    DLX_JINJA_ATTRIBUTE,       /* object, name */
    DLX_JINJA_ITEM,            /* object, key */
    DLX_JINJA_SLICE,           /* start, stop, step; only as a key of ITEM */
    DLX_JINJA_CALL,            /* function, arguments */
    DLX_JINJA_KEYWORD,         /* name, value: an argument */
    DLX_JINJA_SPREAD,          /* list: an argument */
    DLX_JINJA_SPREAD_KEYWORDS, /* mapping: an argument */
    DLX_JINJA_FILTER,          /* number of the filter, operand, arguments */
    DLX_JINJA_TEST,            /* number of the test, operand, arguments */
    DLX_JINJA_INPUT,           /* what a block filter is applied to */
    DLX_JINJA_KINDS
} dlx_jinja_kind;

typedef enum dlx_jinja_comparison {
    DLX_JINJA_EQ,
    DLX_JINJA_NE,
    DLX_JINJA_LT,
    DLX_JINJA_LE,
    DLX_JINJA_GT,
    DLX_JINJA_GE,
    DLX_JINJA_IN,
    DLX_JINJA_NOT_IN,
    DLX_JINJA_COMPARISONS
} dlx_jinja_comparison;

typedef enum dlx_jinja_arithmetic {
    DLX_JINJA_ADD,
    DLX_JINJA_SUB,
    DLX_JINJA_MUL,
    DLX_JINJA_DIV,
    DLX_JINJA_FLOORDIV,
    DLX_JINJA_MOD,
    DLX_JINJA_POW,
    DLX_JINJA_ARITHMETICS
} dlx_jinja_arithmetic;

/* Names that a macro's body mentions, which decide what else it may be called with. */
enum { DLX_JINJA_USES_CALLER = 1, DLX_JINJA_USES_KWARGS = 2, DLX_JINJA_USES_VARARGS = 4 };

/* Facts about a whole template. */
enum { DLX_JINJA_READS_PARTS = 1 }; /* it looks at the parts of a message's content */

typedef struct dlx_jinja_node {
    uint8_t kind;
    uint32_t line;
    uint32_t next;                /* in a list */
    uint32_t f[DLX_JINJA_FIELDS]; /* by shape; a 64-bit number takes two, low half first */
} dlx_jinja_node;

typedef struct dlx_jinja_text {
    const char *p; /* not NUL-terminated */
    uint32_t n;
} dlx_jinja_text;

typedef struct dlx_jinja_tree {
    dlx_jinja_node *nodes;
    size_t n_nodes, nodes_capacity;
    dlx_jinja_text *strings; /* each in memory of its own */
    size_t n_strings, strings_capacity, text_bytes;
    uint32_t root; /* first statement, or NONE */
    uint32_t flags;
} dlx_jinja_tree;

/*
 * Fields of each kind of node, one letter a field:
 *   E expression          O expression or none    T target of an assignment
 *   S list of statements  s string                q 64-bit number
 *   X list of expressions A list of arguments     P list of parameters
 *   V list of variables   D list of pairs         C list of operands, at least one
 *   K key of ITEM: expression or SLICE            L list of targets
 *   c comparison  o arithmetic  f filter  t test  u uses  b 0 or 1
 */
extern const char *const dlx_jinja_shapes[DLX_JINJA_KINDS];

/* New node of a tree, all fields 0; NONE when memory is out or the tree is full. */
uint32_t dlx_jinja_new_node(dlx_jinja_tree *t, dlx_jinja_kind kind, uint32_t line);
/* Whether a string of n bytes may still go into the tree. */
static inline bool dlx_jinja_has_room(const dlx_jinja_tree *t, size_t n)
{
    return n <= DLX_JINJA_MAX_TEXT - t->text_bytes;
}
/* Number of a string of the tree, a copy; equal strings get one number. False: out of memory, or there is no room. */
bool dlx_jinja_intern(dlx_jinja_tree *t, const char *p, size_t n, uint32_t *number);
/* Number of a string of the tree: the first that is p[0 .. n). False when there is none, so no part of the template
 * mentions it. */
bool dlx_jinja_find_string(const dlx_jinja_tree *t, const char *p, size_t n, uint32_t *number);
void dlx_jinja_tree_free(dlx_jinja_tree *t);

/* *bytes is malloc'd. */
dlx_status dlx_jinja_tree_write(const dlx_jinja_tree *t, uint8_t **bytes, size_t *n, dlx_error *err);
/* Distrusts every byte. On failure there is nothing to free. */
dlx_status dlx_jinja_tree_read(dlx_jinja_tree *t, const uint8_t *bytes, size_t n, dlx_error *err);

#endif
