/* What fuzzers share: conditions that must hold, and taking numbers and pieces of text off the front of an input. */
#ifndef DLX_TESTS_FUZZ_INPUT_H
#define DLX_TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diffulex_edge/status.h"

/* A broken condition is a finding. */
#define require(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                              \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Every failure says why, in one sentence. */
static inline void require_sentence(dlx_status s, const dlx_error *err)
{
    require(s == DLX_OK || (err->status == s && err->message[0] && !strchr(err->message, '\n')));
}

typedef struct fuzz_input {
    const uint8_t *at;
    size_t left;
} fuzz_input;

/* Past the end everything is 0. */
static inline uint8_t take_byte(fuzz_input *in)
{
    if (!in->left) return 0;
    in->left--;
    return *in->at++;
}

/* Small numbers of both signs from one byte; bytes from 0xF0 on announce a whole int32, which may be hostile. */
static inline int32_t take_int(fuzz_input *in)
{
    uint8_t b = take_byte(in);
    if (b < 0xF0) return b < 0xE0 ? b : 0xE0 - 1 - (int32_t)b;
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) value = value << 8 | take_byte(in);
    return (int32_t)value;
}

/* Up to the next NUL byte, which is swallowed, or the end: a part of an input that is text. NUL-terminated, freed with
 * free; exactly as long as it has to be, so that a sanitizer sees who reads past it. */
static inline char *take_text(fuzz_input *in, size_t *n)
{
    const uint8_t *end = in->left ? memchr(in->at, 0, in->left) : NULL;
    *n = end ? (size_t)(end - in->at) : in->left;
    char *text = malloc(*n + 1);
    require(text != NULL);
    if (*n) memcpy(text, in->at, *n);
    text[*n] = '\0';
    size_t used = *n + (end != NULL);
    if (used) in->at += used;
    in->left -= used;
    return text;
}

#endif
