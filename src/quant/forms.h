/*
 * Forms: how one weight matrix is stored and multiplied. One table; whatever names a form (schemes, files of overrides,
 * messages) reads it.
 */
#ifndef DLX_QUANT_FORMS_H
#define DLX_QUANT_FORMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

typedef struct dlx_weight_form {
    const char *name;
    const char *aliases;   /* other names, "a, b"; "" for none */
    dlx_dtype stored;      /* of the weights */
    dlx_dtype activations; /* what they are multiplied with: F32, QD8 or QS8 */
    uint32_t group;        /* of I4: inputs that share a scale (BF16); 0: a row has one (F32) */
} dlx_weight_form;

enum { DLX_MOST_FORMS = 16 }; /* that the table may have */

/* The form that `word` names, as dlx_word_in compares; NULL: there is none. */
const dlx_weight_form *dlx_form_find(const char *word);
/* The same; DLX_E_INVALID lists those that there are, behind `where`: who has the word. */
dlx_status dlx_form_named(const dlx_weight_form **out, const char *word, const char *where, dlx_error *err);
/* The i-th form; NULL past the end. */
const dlx_weight_form *dlx_form_at(size_t i);
/* Its place in the table. */
size_t dlx_form_place(const dlx_weight_form *form);
/* Bits of a weight, without scales. */
int64_t dlx_form_bits(const dlx_weight_form *form);
/* Whether two forms store the same bytes, however they are multiplied. */
bool dlx_forms_store_alike(const dlx_weight_form *a, const dlx_weight_form *b);

/* Whether `list`, "a, b", in small letters, has `word`, in any; '-' and '_' are the same. */
bool dlx_word_in(const char *list, const char *word);

#endif
