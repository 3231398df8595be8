/*
 * Model facts as constant methods of a .pte: written by export, read by the runtime, ignored by the stock runtime
 * (names that ExecuTorch's LLM runner knows are used where there is one). docs/EXPORT.md lists them.
 */
#ifndef DLX_FORMAT_FACTS_H
#define DLX_FORMAT_FACTS_H

#include "diffulex_edge/decode.h"

#include "base/arena.h"
#include "format/pte.h"

/* Version of the contract in docs/EXPORT.md that this build writes, and the newest it reads. */
enum { DLX_FORMAT_VERSION = 1 };

#define DLX_TOKENIZER_KEY "dlx.tokenizer"
/* Ranges that int8-static was made with: the JSON of calibrate/ranges.h. */
#define DLX_RANGES_KEY "dlx.ranges"

/* One plan per fact, in `arena`. quantization: "none", "int8-dynamic"; kv: the form of the cache, "caller",
 * "explicit", "state", "fixed", "fixed-fp16" or "fixed-state". */
dlx_status dlx_facts_write(dlx_pte_plan **plans, uint32_t *n_plans, dlx_arena *arena, const dlx_model_facts *facts,
                           const char *quantization, const char *kv, dlx_error *err);

/* The two facts of a program whose decoder is there in n methods: their names, and the most rows of a call of each. */
enum { DLX_METHOD_FACTS = 2 };
dlx_status dlx_facts_write_methods(dlx_pte_plan plans[DLX_METHOD_FACTS], dlx_arena *arena, const char *const *names,
                                   const int32_t *rows, uint32_t n, dlx_error *err);

/* Facts of a file; a file without them (made by other tools) gives DLX_FAMILY_UNKNOWN, -1 ids and zeros. A file that
 * contradicts itself or has a newer format version is refused. */
dlx_status dlx_facts_read(dlx_model_facts *facts, const dlx_pte *pte, dlx_error *err);

/* Whether this library wrote the file (it states the version of the contract). */
bool dlx_facts_are_ours(const dlx_pte *pte);

/* "none", "int8-dynamic", or "" when the file does not say. */
const char *dlx_facts_quantization(const dlx_pte *pte);
/* "explicit", "state", "fixed", "fixed-fp16" or "fixed-state"; "" is the caller's form, or a file that does not say. */
const char *dlx_facts_kv_form(const dlx_pte *pte);
/* A form whose shapes never vary: "fixed", "fixed-fp16", "fixed-state". */
typedef struct dlx_fixed_form {
    bool halves; /* its cache is of them */
    bool inside; /* delegates keep it */
} dlx_fixed_form;
bool dlx_facts_kv_fixed(const dlx_pte *pte, dlx_fixed_form *out);

/* Methods in which the decoder of a file is there: 1 where it does not say. */
uint32_t dlx_facts_methods(const dlx_pte *pte);
/* Name of one; "forward" is the only one of a file that does not say. NULL: it says something else than a name. */
const char *dlx_facts_method(const dlx_pte *pte, uint32_t i);

#endif
