/*
 * The packed form of a tokenizer, the named data "dlx.tokenizer" of a .pte. All numbers are little-endian; sections
 * follow each other without gaps, each padded with zero bytes to a multiple of four.
 *
 *   0   "DLXTOK\0\0"
 *   8   u32 version (3)
 *   12  u32 flags: bit 1 a piece that is a token as it stands is that token; the others are zero
 *   16  u32 bytes of the steps
 *   20  u32 6; before version 3: chat template by number (published.h)
 *   24  i32 id of the mask token; -1: none
 *   28  u32 size: ids are 0 .. size-1
 *   32  u32 number of merges
 *   36  u32 number of added tokens
 *   40  u32 bytes of all tokens
 *   44  u32 bytes of all added texts
 *   48  u32 byte_id[256]: the token of each single byte
 *       u8  kind[size]: bits DLX_TOKEN_*
 *       u16 length[size]: bytes the token stands for
 *       u8  bytes of the tokens, one after another
 *       u32 left, right, merged of each merge, by rank
 *       u32 id, length of each added token
 *       u8  texts of the added tokens, one after another
 *       u8  steps (dlx_steps_write)
 *       chat templates (packed_chat.h); since version 3
 *
 * Version 1 had no steps: bit 0 of the flags said that text is brought to NFC, and the number at 16 which of two known
 * expressions splits it (dlx_steps_published).
 *
 * Everything else (offsets, indices) is derived when it is opened. Nothing is assumed about the memory's alignment.
 */
#ifndef DLX_TEXT_PACKED_H
#define DLX_TEXT_PACKED_H

#include <stdint.h>

#define DLX_PACKED_MAGIC "DLXTOK\0\0"

enum {
    DLX_PACKED_VERSION = 3,
    DLX_PACKED_WITH_CHAT = 3, /* the first version that carries chat templates */
    DLX_PACKED_HEADER = 48,
    DLX_PACKED_FLAG_NFC = 1, /* version 1 */
    DLX_PACKED_FLAG_IGNORE_MERGES = 2,
};

/* Numbers of 1 to 4 bytes. */
static inline void dlx_packed_put(uint8_t *p, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static inline uint32_t dlx_packed_get(const uint8_t *p, int bytes)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint32_t)p[i] << 8 * i;
    return v;
}

#endif
