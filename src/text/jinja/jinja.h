/*
 * Chat templates: Jinja2 as transformers runs it (ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks, loop
 * controls and {% generation %}), compiled once, kept in a compact form, and rendered with bounds on steps, depth and
 * memory.
 */
#ifndef DLX_TEXT_JINJA_JINJA_H
#define DLX_TEXT_JINJA_JINJA_H

#include "text/jinja/run.h"

/* A compiled template; immutable, shareable between threads. */
typedef struct dlx_jinja {
    dlx_jinja_tree tree;
    uint8_t *bytes; /* its written form */
    size_t n_bytes;
} dlx_jinja;

/* From UTF-8 text. What the language does not have, or this library does not, is an error with line and name. */
dlx_status dlx_jinja_compile(dlx_jinja **out, const char *source, size_t n, dlx_error *err);
/* From the written form, which may be hostile. Copies what it needs. */
dlx_status dlx_jinja_load(dlx_jinja **out, const void *bytes, size_t n, dlx_error *err);
void dlx_jinja_free(dlx_jinja *t); /* NULL is fine */

/* Whether the template prints nothing but white space, whatever it is given. */
bool dlx_jinja_prints_nothing(const dlx_jinja *t);
/* Whether the template looks at the parts of a message's content; where it does not, content is joined to one text. */
bool dlx_jinja_reads_parts(const dlx_jinja *t);

/* One rendering: open, set variables, render, close. On failure of any step only close is left to call. */
dlx_status dlx_jx_open(dlx_jx *x, const dlx_jinja *t, dlx_error *err);
/* A variable of the template; one that it does not mention costs nothing. */
bool dlx_jx_variable(dlx_jx *x, const char *name, size_t n, dlx_jv value);
/* Afterwards x->out holds the text and the origin of its bytes. */
bool dlx_jx_render(dlx_jx *x);
void dlx_jx_close(dlx_jx *x);

#endif
