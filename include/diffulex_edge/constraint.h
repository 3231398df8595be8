/*
 * Constrained answers: text that a regular expression matches, JSON that a schema describes, or what a context-free
 * grammar derives. In every pass the tokens of a block are chosen together, as the likeliest filling that can still be
 * finished; an answer matches in the end, or the decode fails with a sentence that says why it cannot
 * (docs/DECODING.md, "Constraints").
 */
#ifndef DIFFULEX_EDGE_CONSTRAINT_H
#define DIFFULEX_EDGE_CONSTRAINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/decode.h"
#include "diffulex_edge/status.h"
#include "diffulex_edge/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An automaton over the tokens of one vocabulary. Immutable: any number of decodes and threads share it. */
typedef struct dlx_constraint dlx_constraint;

typedef struct dlx_constraint_options {
    size_t struct_size; /* sizeof(dlx_constraint_options) */
    int64_t max_bytes;  /* most memory that the constraint may take; 0: 256 MB */
    int64_t max_depth;  /* schemas: how deep a "$ref" may be followed inside itself; 0: such a schema is refused.
                           Grammars: how deep rules nest (docs/DECODING.md); 0: as deep as 20000 states allow */
} dlx_constraint_options;

/*
 * From a regular expression, UTF-8 of n bytes, that the whole answer has to match. The dialect is what Python's `re`
 * and ECMAScript share as far as it is regular; look-around, back references and flags are refused by name. options may
 * be NULL. The tokenizer is needed during the call only; the constraint is for models of the same vocabulary.
 * DLX_E_INVALID: the expression, with the place; DLX_E_LIMIT: it grows too large.
 */
DLX_API dlx_status dlx_constraint_from_regex(dlx_constraint **out, const dlx_tokenizer *tokenizer, const char *regex,
                                             size_t n, const dlx_constraint_options *options, dlx_error *err);
/*
 * From a JSON schema (draft 2020-12), UTF-8 of n bytes, that the answer has to be an instance of, written without white
 * space and with keys in the order of "properties". A keyword that would change what is allowed and is not supported is
 * refused with its place. DLX_E_UNSUPPORTED in a runtime-only build.
 */
DLX_API dlx_status dlx_constraint_from_schema(dlx_constraint **out, const dlx_tokenizer *tokenizer, const char *schema,
                                              size_t n, const dlx_constraint_options *options, dlx_error *err);
/*
 * From a context-free grammar in GBNF, the notation of llama.cpp, UTF-8 of n bytes: the answer is a text that its rule
 * `root` derives. Every text that is accepted is one of the grammar; those in which brackets nest deeper than max_depth
 * are not reached. Recursion on the left or on the right, lists and chains, is no nesting and has no bound.
 * DLX_E_INVALID: the grammar, with line and character; DLX_E_LIMIT: it grows too large.
 */
DLX_API dlx_status dlx_constraint_from_grammar(dlx_constraint **out, const dlx_tokenizer *tokenizer,
                                               const char *grammar, size_t n, const dlx_constraint_options *options,
                                               dlx_error *err);
DLX_API void dlx_constraint_free(dlx_constraint *constraint); /* NULL is fine */

/* Whether text, n bytes, is what the constraint wants. */
DLX_API bool dlx_constraint_accepts(const dlx_constraint *constraint, const char *text, size_t n);

typedef struct dlx_constraint_info {
    size_t struct_size; /* sizeof(dlx_constraint_info) */
    int64_t bytes;      /* of memory */
    int64_t states;     /* of the automaton */
    int64_t classes;    /* of tokens that act alike */
    int64_t tokens;     /* ids that occur in texts that match */
    int64_t sets;       /* of classes, each weighed once a position at most */
    int64_t depth;      /* of a grammar: how deep its rules nest at most; 0: nothing is left out */
} dlx_constraint_info;
/* DLX_E_INVALID when out->struct_size is not set. */
DLX_API dlx_status dlx_constraint_get_info(const dlx_constraint *constraint, dlx_constraint_info *out, dlx_error *err);

/* Decodes with these options give answers that the constraint accepts; NULL: any. It is not copied and must live as
 * long as the options decode. */
DLX_API dlx_status dlx_decode_options_set_constraint(dlx_decode_options *options, const dlx_constraint *constraint,
                                                     dlx_error *err);

#ifdef __cplusplus
}
#endif
#endif
