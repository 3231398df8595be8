/* Small constraints for tests: automata from text, vocabularies from lists of words, random expressions. cmocka comes
 * first. */
#ifndef CONSTRAIN_CHECK_H
#define CONSTRAIN_CHECK_H

#include <stdio.h>
#include <string.h>

#include "constrain/regex.h"
#include "constrain/tokens.h"

typedef struct built {
    dlx_arena arena;
    dlx_machine machine;
} built;

static inline void build_as(built *b, const char *regex, bool in_json_string)
{
    dlx_error err = {0};
    dlx_arena reading;
    const dlx_expr *e;
    dlx_arena_init(&b->arena);
    dlx_arena_init(&reading);
    if (dlx_regex_parse(&e, &reading, regex, strlen(regex), false, &err) != DLX_OK ||
        dlx_machine_build(&b->machine, &b->arena, e, in_json_string, &err) != DLX_OK)
        fail_msg("%s: %s", regex, err.message);
    dlx_arena_free(&reading);
}

static inline void build(built *b, const char *regex)
{
    build_as(b, regex, false);
}

typedef struct small_vocabulary {
    uint32_t offset[65];
    uint8_t bytes[1024], usable[64];
    dlx_vocabulary v;
} small_vocabulary;

static inline void small_vocabulary_make(small_vocabulary *s, const char *const *words, int32_t n)
{
    memset(s, 0, sizeof *s);
    for (int32_t i = 0; i < n; i++) {
        size_t length = strlen(words[i]);
        memcpy(s->bytes + s->offset[i], words[i], length);
        s->offset[i + 1] = s->offset[i] + (uint32_t)length;
        s->usable[i] = 1;
    }
    s->v = (dlx_vocabulary){.n = n, .offset = s->offset, .bytes = s->bytes, .usable = s->usable};
}

/* Takes over b's memory. NULL where nothing is accepted. */
static inline dlx_constraint *small_constraint(built *b, const char *const *words, int32_t n)
{
    small_vocabulary s;
    dlx_constraint *c;
    dlx_error err;
    bool nothing = b->machine.n_states == 0;
    small_vocabulary_make(&s, words, n);
    dlx_status status = dlx_constraint_create(&c, &b->arena, &b->machine, &s.v, 1 << 24, &err);
    assert_int_equal(status, nothing ? DLX_E_INVALID : DLX_OK);
    return c;
}

static inline uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Over the letters a, b and c. */
static inline void random_regex(char *out, size_t size, uint64_t *seed, int depth)
{
    size_t used = strlen(out);
    if (size - used < 24) return;
    uint64_t kind = depth ? next_random(seed) % 6 : 0;
    static const char *const atoms[] = {"a", "b", "c", "[ab]", "[^a]", "."};
    if (kind < 2) {
        snprintf(out + used, size - used, "%s", atoms[next_random(seed) % 6]);
        return;
    }
    if (kind == 2 || kind == 3) {
        random_regex(out, size, seed, depth - 1);
        random_regex(out, size, seed, depth - 1);
        return;
    }
    strcat(out, "(");
    random_regex(out, size - 8, seed, depth - 1);
    if (kind == 4) strcat(out, "|");
    if (kind == 4) random_regex(out, size - 8, seed, depth - 1);
    static const char *const behind[] = {")", ")*", ")+", ")?", "){0,2}"};
    strcat(out, behind[kind == 4 ? 0 : 1 + next_random(seed) % 4]);
}

#endif
