/* Constraints over the tokens of a tokenizer. */
#include "diffulex_edge/constraint.h"

#include <stdlib.h>

#include "base/structs.h"
#include "constrain/grammar.h"
#include "constrain/regex.h"
#include "constrain/tokens.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#ifndef DLX_RUNTIME_ONLY
#include "constrain/full/schema.h"
#endif

#define DEFAULT_MAX_BYTES ((int64_t)256 << 20)

/* Checks what all kinds take, and reads the options. */
static dlx_status begin(dlx_constraint_options *o, dlx_constraint **out, const dlx_tokenizer *tokenizer,
                        const char *text, size_t n, const dlx_constraint_options *options, const char *what,
                        dlx_error *err)
{
    *o = (dlx_constraint_options){.struct_size = sizeof *o};
    if (out) *out = NULL;
    if (!out || !tokenizer || !text)
        return dlx_fail(err, DLX_E_INVALID, "a constraint needs a place for it, a tokenizer, and the text of the %s",
                        what);
    DLX_TRY(dlx_struct_in(o, sizeof *o, options, "dlx_constraint_options", err));
    if (o->max_bytes < 0 || o->max_depth < 0)
        return dlx_fail(err, DLX_E_INVALID, "dlx_constraint_options: max_bytes and max_depth must not be negative");
    if (!o->max_bytes) o->max_bytes = DEFAULT_MAX_BYTES;
    if (!dlx_utf8_valid(text, n)) return dlx_fail(err, DLX_E_INVALID, "the %s is not valid UTF-8", what);
    return DLX_OK;
}

/* Special tokens, the mask, and entries that no text is encoded to are no part of an answer. */
static dlx_status over_tokens(dlx_constraint **out, dlx_arena *arena, const dlx_machine *machine,
                              const dlx_tokenizer *t, int64_t max_bytes, dlx_error *err)
{
    uint8_t *usable = malloc(t->size);
    if (!usable) {
        dlx_arena_free(arena);
        return dlx_fail(err, DLX_E_NOMEM, "out of memory for a constraint over %u tokens", t->size);
    }
    for (uint32_t id = 0; id < t->size; id++)
        usable[id] =
            t->kind[id] && !(t->kind[id] & (DLX_TOKEN_SPECIAL | DLX_TOKEN_LITERAL)) && (int64_t)id != t->mask_id;
    const dlx_vocabulary v = {.n = (int32_t)t->size, .offset = t->offset, .bytes = t->bytes, .usable = usable};
    dlx_status status = dlx_constraint_create(out, arena, machine, &v, (size_t)max_bytes, err);
    free(usable);
    return status;
}

dlx_status dlx_constraint_from_regex(dlx_constraint **out, const dlx_tokenizer *tokenizer, const char *regex, size_t n,
                                     const dlx_constraint_options *options, dlx_error *err)
{
    dlx_constraint_options o;
    dlx_arena arena, reading;
    dlx_machine machine;
    const dlx_expr *e;
    DLX_TRY(begin(&o, out, tokenizer, regex, n, options, "regular expression", err));
    dlx_arena_init(&arena);
    dlx_arena_init(&reading);
    dlx_status status = dlx_regex_parse(&e, &reading, regex, n, false, err);
    if (status == DLX_OK) status = dlx_machine_build(&machine, &arena, e, false, err);
    dlx_arena_free(&reading);
    if (status == DLX_OK) return over_tokens(out, &arena, &machine, tokenizer, o.max_bytes, err);
    dlx_arena_free(&arena);
    return status;
}

dlx_status dlx_constraint_from_schema(dlx_constraint **out, const dlx_tokenizer *tokenizer, const char *schema,
                                      size_t n, const dlx_constraint_options *options, dlx_error *err)
{
    dlx_constraint_options o;
    DLX_TRY(begin(&o, out, tokenizer, schema, n, options, "JSON schema", err));
#ifdef DLX_RUNTIME_ONLY
    return dlx_fail(err, DLX_E_UNSUPPORTED,
                    "this build cannot read JSON schemas; it has regular expressions and grammars");
#else
    dlx_arena arena;
    dlx_machine machine;
    dlx_arena_init(&arena);
    dlx_status status = dlx_schema_build(&machine, &arena, schema, n, o.max_depth, err);
    if (status == DLX_OK) return over_tokens(out, &arena, &machine, tokenizer, o.max_bytes, err);
    dlx_arena_free(&arena);
    return status;
#endif
}

dlx_status dlx_constraint_from_grammar(dlx_constraint **out, const dlx_tokenizer *tokenizer, const char *grammar,
                                       size_t n, const dlx_constraint_options *options, dlx_error *err)
{
    dlx_constraint_options o;
    dlx_arena arena, reading;
    dlx_machine machine;
    dlx_grammar g;
    DLX_TRY(begin(&o, out, tokenizer, grammar, n, options, "grammar", err));
    int64_t depth = o.max_depth;
    dlx_arena_init(&arena);
    dlx_arena_init(&reading);
    dlx_status status = dlx_gbnf_parse(&g, &reading, grammar, n, err);
    if (status == DLX_OK) status = dlx_grammar_build(&machine, &arena, &g, &depth, err);
    dlx_arena_free(&reading);
    if (status != DLX_OK) {
        dlx_arena_free(&arena);
        return status;
    }
    DLX_TRY(over_tokens(out, &arena, &machine, tokenizer, o.max_bytes, err));
    (*out)->depth = depth;
    return DLX_OK;
}

void dlx_constraint_free(dlx_constraint *constraint)
{
    dlx_constraint_destroy(constraint);
}

bool dlx_constraint_accepts(const dlx_constraint *c, const char *text, size_t n)
{
    return c && (text || !n) && dlx_machine_accepts(&c->machine, text, n);
}

dlx_status dlx_constraint_get_info(const dlx_constraint *c, dlx_constraint_info *out, dlx_error *err)
{
    dlx_constraint_info info = {.struct_size = sizeof info};
    dlx_struct_clear(out, sizeof *out);
    if (!c || !out)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_constraint_get_info: a constraint and a place for the numbers are needed");
    info.bytes = (int64_t)dlx_arena_bytes(&c->arena);
    info.states = c->machine.n_states;
    info.classes = c->n_classes;
    info.tokens = c->member_start[c->n_classes];
    info.sets = c->n_sets;
    info.depth = c->depth;
    return dlx_struct_out(out, &info, sizeof info, "dlx_constraint_info", err);
}
