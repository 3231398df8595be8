/*
 * A tiny checkpoint with samples of made-up ids, whose answers begin at position 10. fail_fixture.h comes first.
 */
#ifndef DLX_TESTS_SAMPLES_CHECK_H
#define DLX_TESTS_SAMPLES_CHECK_H

#include "calibrate/samples.h"

enum { LONGEST_SAMPLE = 64 };

/* The id at a position of a sample. */
typedef int32_t (*id_rule)(int sample, int position);

static inline int32_t random_id(int sample, int position)
{
    return (int32_t)(dlx_samples_uniform(3, (uint64_t)sample, (uint64_t)position) * 1000);
}

static inline int32_t counted_id(int sample, int position)
{
    return (position * 31 + sample * 7) % 1000;
}

static inline void open_samples(dlx_checkpoint *c, dlx_samples *s, const char *family, int count, int32_t length,
                                id_rule id)
{
    char folder[1024];
    int32_t ids[LONGEST_SAMPLE];
    dlx_samples_options o = {.length = length};
    assert_in_range(length, 1, LONGEST_SAMPLE);
    checkpoint_of(folder, family);
    CHECK(dlx_checkpoint_open(c, folder, NULL, err));
    CHECK(dlx_samples_begin(s, c, (size_t)count, err));
    for (int i = 0; i < count; i++) {
        for (int p = 0; p < length; p++) ids[p] = id(i, p);
        CHECK(dlx_samples_add(s, c, &o, ids, (size_t)length, 10, err));
    }
}

#endif
