/*
 * From tokens to a tree: Jinja2's grammar, with loop controls and {% generation %}. parse.c has the statements,
 * parse_expressions.c what stands in them. Whatever Jinja2 knows and this library does not is refused here, by name and
 * line, so that a template which compiles can only fail by what it is given.
 */
#ifndef DLX_TEXT_JINJA_PARSE_H
#define DLX_TEXT_JINJA_PARSE_H

#include "text/jinja/lex.h"

typedef struct dlx_jinja_parser {
    const dlx_jinja_tokens *tokens;
    size_t at;
    dlx_jinja_tree *tree;
    int depth, loops;   /* `loops`: for bodies around, in this function */
    uint32_t uses;      /* DLX_JINJA_USES_* of the names read so far */
    uint32_t parts[16]; /* variables that hold a message's content */
    size_t n_parts;
    dlx_error *err;
} dlx_jinja_parser;

/* A list under construction. */
typedef struct dlx_jinja_list {
    uint32_t first, last;
} dlx_jinja_list;

/* Compiles a template. On failure there is nothing to free. */
dlx_status dlx_jinja_parse(dlx_jinja_tree *tree, const char *source, size_t n, dlx_error *err);

/* ---- between the two files ----------------------------------------------------------------------------------------
 */

#define DLX_JINJA_SYNTAX(p, ...) dlx_fail((p)->err, DLX_E_FORMAT, "chat template, line " __VA_ARGS__)
#define DLX_JINJA_REFUSE(p, ...) dlx_fail((p)->err, DLX_E_UNSUPPORTED, "chat template, line " __VA_ARGS__)

const dlx_jinja_token *dlx_jinja_peek(const dlx_jinja_parser *p);
void dlx_jinja_next(dlx_jinja_parser *p); /* the last token stays */
bool dlx_jinja_is_op(const dlx_jinja_parser *p, const char *op);
bool dlx_jinja_is_word(const dlx_jinja_parser *p, const char *word);
bool dlx_jinja_skip_op(dlx_jinja_parser *p, const char *op);
bool dlx_jinja_skip_word(dlx_jinja_parser *p, const char *word);
dlx_status dlx_jinja_expect_op(dlx_jinja_parser *p, const char *op);
dlx_status dlx_jinja_expect_name(dlx_jinja_parser *p, uint32_t *name);
bool dlx_jinja_token_is(const dlx_jinja_parser *p, const dlx_jinja_token *token, const char *word);
/* What stands at the parser, for messages: at most 40 bytes. */
const char *dlx_jinja_describe(const dlx_jinja_parser *p, char out[64]);

/* A node with up to three fields; 0 for those that its shape does not have. */
dlx_status dlx_jinja_make(dlx_jinja_parser *p, dlx_jinja_kind kind, uint32_t line, uint32_t a, uint32_t b, uint32_t c,
                          uint32_t *out);
void dlx_jinja_append(dlx_jinja_parser *p, dlx_jinja_list *list, uint32_t node);

/* The template looks at elements of this value: of the parts of a message's content, if it is that. */
void dlx_jinja_note_elements(dlx_jinja_parser *p, uint32_t value);

dlx_status dlx_jinja_parse_expression(dlx_jinja_parser *p, uint32_t *out);
/* Without `a if b else c` at its top. */
dlx_status dlx_jinja_parse_or(dlx_jinja_parser *p, uint32_t *out);
/* An expression, or a tuple without brackets; `end`: a word that ends it, or NULL. */
dlx_status dlx_jinja_parse_tuple(dlx_jinja_parser *p, bool conditions, const char *end, uint32_t *out);
/* "| filter | filter" over *out; with `inline_first` the first one comes without its bar. */
dlx_status dlx_jinja_parse_filters(dlx_jinja_parser *p, bool inline_first, uint32_t *out);

#endif
