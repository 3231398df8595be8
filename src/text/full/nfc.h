/*
 * Unicode normalisation form C as the `tokenizers` library applies it: its tables are those of Unicode 9.0, so
 * characters that later versions gave a combining class or a decomposition are left where they are.
 */
#ifndef DLX_TEXT_FULL_NFC_H
#define DLX_TEXT_FULL_NFC_H

#include "text/buffer.h"

/* Appends NFC of n bytes of valid UTF-8. */
void dlx_nfc(dlx_buffer *out, const char *text, size_t n);
/* True when the text is surely NFC already (nothing at or above U+0300). */
bool dlx_nfc_trivial(const char *text, size_t n);

#endif
