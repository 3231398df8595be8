/*
 * Forward calls as decoders make them, made of a native session and of one over a program whose shapes never vary.
 * cmocka comes first.
 */
#ifndef DLX_TESTS_FIXED_CALLS_H
#define DLX_TESTS_FIXED_CALLS_H

#include <math.h>

#include "base/sizes.h"
#include "fail_fixture.h"

typedef struct both_sides {
    dlx_session *native;
    dlx_fixed_session *fixed;
    int32_t vocab;
    float *want, *got; /* [SIDES_ROWS, vocab] */
} both_sides;

enum { SIDES_ROWS = 128 };

static inline void open_sides(both_sides *p, dlx_model *model, dlx_fixed_session *fixed)
{
    CHECK(dlx_session_open(&p->native, model, 0, 0, err));
    p->fixed = fixed;
    p->vocab = dlx_model_get_facts(model)->vocab_size;
    p->want = calloc(SIDES_ROWS * (size_t)p->vocab, sizeof *p->want);
    p->got = calloc(SIDES_ROWS * (size_t)p->vocab, sizeof *p->got);
    assert_true(p->want && p->got);
}

static inline void close_sides(both_sides *p)
{
    dlx_session_close(p->native);
    free(p->want);
    free(p->got);
}

static const int32_t ids[64] = {31,  77, 502, 9,   610, 33, 8,  250, 611, 90, 901, 45, 3,   700, 18,  6,
                                412, 5,  38,  221, 87,  19, 2,  304, 66,  71, 7,   15, 800, 101, 202, 303,
                                404, 55, 56,  57,  58,  59, 60, 61,  62,  63, 64,  65, 66,  67,  68,  69,
                                70,  71, 72,  73,  74,  75, 76, 77,  78,  79, 80,  81, 82,  83,  84,  85};

static inline void compare(both_sides *p, const dlx_forward_call *call, float tolerance, const char *what)
{
    dlx_forward_call c = *call;
    c.struct_size = sizeof c;
    c.logits = p->want;
    CHECK(dlx_session_forward(p->native, &c, err));
    c.logits = p->got;
    CHECK(dlx_fixed_forward(p->fixed, &c, err));
    float largest = 1;
    size_t n = (size_t)c.n_rows * (size_t)p->vocab;
    for (size_t i = 0; i < n; i++) largest = fmaxf(largest, fabsf(p->want[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(p->got[i] - p->want[i]) <= tolerance * largest))
            fail_msg("%s, start %d: logit %zu is %g, not %g", what, c.start, i, (double)p->got[i], (double)p->want[i]);
}

/* What decoders ask for: prefills that need several passes, blocks that are denoised, stored, stored together with the
 * next one, run again, and rows of which some are wanted. */
static inline void block_calls(both_sides *p, int32_t b, float tolerance, const char *what)
{
    static const int32_t some[] = {1, 3, 20, 34};
    const dlx_forward_call calls[] = {
        {.ids = ids, .n_ids = 37, .attn_block = b, .rows = some, .n_rows = 4, .n_store = 37},
        {.ids = ids, .n_ids = 32, .attn_block = b, .n_store = 32}, /* again, over what is stored */
        {.ids = ids + 9, .n_ids = b, .start = 32, .context = {{0, 32}}, .n_context = 1, .attn_block = b, .n_rows = b},
        {.ids = ids + 7, .n_ids = b, .start = 32, .context = {{0, 32}}, .n_context = 1, .attn_block = b, .n_rows = b},
        {.ids = ids + 7,
         .n_ids = 2 * b,
         .start = 32,
         .context = {{0, 32}},
         .n_context = 1,
         .attn_block = b,
         .n_store = b,
         .n_rows = 2 * b},
        {.ids = ids,
         .n_ids = 2,
         .start = 32 + b,
         .context = {{0, 32 + b}},
         .n_context = 1,
         .attn_block = b,
         .n_rows = 2},
        {.ids = ids,
         .n_ids = 24,
         .start = 40,
         .context = {{0, 16}, {24, 32}},
         .n_context = 2,
         .attn_block = b,
         .n_rows = 24},
        {.ids = ids + 3, .n_ids = 1, .start = 31, .context = {{8, 31}}, .n_context = 1, .attn_block = 1, .n_rows = 1},
    };
    for (size_t i = 0; i < DLX_COUNT(calls); i++) compare(p, &calls[i], tolerance, what);
}

/* Everything sees everything; the cache is approximate on either side of a block. */
static inline void full_calls(both_sides *p, float tolerance, const char *what)
{
    const dlx_forward_call calls[] = {
        {.ids = ids, .n_ids = 40, .n_rows = 40, .n_store = 40},
        {.ids = ids + 5, .n_ids = 8, .start = 16, .context = {{0, 16}, {24, 40}}, .n_context = 2, .n_rows = 8},
        {.ids = ids + 6,
         .n_ids = 8,
         .start = 16,
         .context = {{0, 16}, {24, 40}},
         .n_context = 2,
         .n_rows = 8,
         .n_store = 4},
        {.ids = ids, .n_ids = 3, .start = 64, .context = {{3, 9}, {10, 40}}, .n_context = 2, .n_rows = 3},
        {.ids = ids, .n_ids = 64, .n_rows = 64},
    };
    for (size_t i = 0; i < DLX_COUNT(calls); i++) compare(p, &calls[i], tolerance, what);
}

#endif
