/* From the text of a template to tokens: Jinja2's rules with trim_blocks and lstrip_blocks, as transformers sets them.
 */
#ifndef DLX_TEXT_JINJA_LEX_H
#define DLX_TEXT_JINJA_LEX_H

#include "text/jinja/tree.h"

typedef enum dlx_jinja_token_type {
    DLX_JINJA_T_DATA,        /* text between tags: `string` */
    DLX_JINJA_T_BLOCK_BEGIN, /* {% */
    DLX_JINJA_T_BLOCK_END,
    DLX_JINJA_T_PRINT_BEGIN, /* {{ */
    DLX_JINJA_T_PRINT_END,
    DLX_JINJA_T_NAME,     /* `string` */
    DLX_JINJA_T_STRING,   /* `string`, without quotes and escapes */
    DLX_JINJA_T_INTEGER,  /* `number` */
    DLX_JINJA_T_FLOAT,    /* `number`: the bits of a double */
    DLX_JINJA_T_OPERATOR, /* `op` */
    DLX_JINJA_T_END,
} dlx_jinja_token_type;

typedef struct dlx_jinja_token {
    dlx_jinja_token_type type;
    uint32_t line;
    uint32_t string; /* number in the tree */
    char op[3];      /* NUL-terminated */
    uint64_t number;
} dlx_jinja_token;

typedef struct dlx_jinja_tokens {
    dlx_jinja_token *list; /* the last one is END */
    size_t n, capacity;
} dlx_jinja_tokens;

/* Strings go into the tree. The caller frees tokens->list in any case. */
dlx_status dlx_jinja_lex(dlx_jinja_tokens *tokens, dlx_jinja_tree *tree, const char *source, size_t n, dlx_error *err);

#endif
