/*
 * The byte-level alphabet of GPT-2 (Radford et al. 2019, encoder.py bytes_to_unicode): vocabularies spell each byte as
 * one printable character. Bytes 33-126, 161-172 and 174-255 stand for themselves; the other 68 are U+0100, U+0101, ...
 * in ascending order.
 */
#ifndef DLX_TEXT_BYTELEVEL_H
#define DLX_TEXT_BYTELEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The byte a character stands for, or -1 when it is not in the alphabet. */
int dlx_bytelevel_byte(uint32_t code_point);

/*
 * Writes the bytes that a vocabulary entry (valid UTF-8 of n bytes) stands for into out (room for n bytes) and returns
 * their number. An entry with a character outside the alphabet stands for its own UTF-8 bytes, as in the ByteLevel
 * decoder of `tokenizers`; then *spelled is false.
 */
size_t dlx_bytelevel_decode(uint8_t *out, const char *entry, size_t n, bool *spelled);

#endif
