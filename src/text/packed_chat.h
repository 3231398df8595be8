/*
 * The end of a packed tokenizer: what its chat templates see of it, and the templates. Each of three parts is
 *
 *   u32 bytes; the bytes; zero bytes up to a multiple of four
 *
 * 1. the variables, a JSON object; 2. the compiled template; 3. the compiled template named "tool_use". A part of no
 * bytes is not there.
 */
#ifndef DLX_TEXT_PACKED_CHAT_H
#define DLX_TEXT_PACKED_CHAT_H

#include "text/tokenizer.h"

/* The number in the header of a packed tokenizer that says so; smaller ones are those of published.h. */
enum { DLX_PACKED_CHAT = 6 };

uint64_t dlx_packed_chat_size(const dlx_tokenizer *t);
void dlx_packed_chat_write(uint8_t *p, const dlx_tokenizer *t);
/* Distrusts its n bytes, all of which must be used. */
dlx_status dlx_packed_chat_read(dlx_tokenizer *t, const uint8_t *p, size_t n, dlx_error *err);
/* The template that a header of version 1 names by number. */
dlx_status dlx_packed_chat_published(dlx_tokenizer *t, uint32_t number, dlx_error *err);

#endif
