/*
 * Unicode normalisation forms as the `tokenizers` library applies them: its tables are those of Unicode 9.0, so
 * characters that later versions gave a combining class or a decomposition are left where they are.
 */
#ifndef DLX_TEXT_FULL_FORMS_H
#define DLX_TEXT_FULL_FORMS_H

#include <stdint.h>

#include "text/buffer.h"

typedef enum dlx_form { DLX_FORM_NFC, DLX_FORM_NFD, DLX_FORM_NFKC, DLX_FORM_NFKD } dlx_form;

/* Appends n bytes of valid UTF-8 in this form. */
void dlx_normal_form(dlx_buffer *out, dlx_form form, const char *text, size_t n);
/* True when the text is surely in this form already. */
bool dlx_form_trivial(dlx_form form, const char *text, size_t n);

/* The small letter of a capital one, by itself; anything else stays. U+0130, whose small form is two characters,
 * becomes "i" here. */
uint32_t dlx_lower_case(uint32_t c);

#endif
