/* The entry point of a fuzzer: libFuzzer calls it with mutated bytes, replay_main.c with the files of the corpus. */
#ifndef DLX_TESTS_FUZZ_FUZZ_H
#define DLX_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Returns 0. Anything the bytes can do, except ending with an error status, is a finding. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
