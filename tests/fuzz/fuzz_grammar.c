/*
 * Hostile grammars. Bytes become: a depth, the grammar up to a NUL, and texts, a NUL behind each.
 *
 * What is refused is refused with a sentence. What is built accepts nothing that the grammar does not derive, which
 * another recogniser says, and where nothing was cut off all that it derives.
 */
#include "../unit/grammar_check.h"
#include "constrain/grammar.h"
#include "fuzz.h"
#include "input.h"

enum { MOST_TEXT = 200, MOST_SAMPLE = 12 };

/* ASCII alone: that it is UTF-8 is checked elsewhere, and escapes give the other characters. And no numbers of three
 * digits: what they repeat is refused or takes its time, which the unit tests see to. */
static bool is_small(const char *p, size_t n)
{
    size_t digits = 0;
    for (size_t i = 0; i < n; i++) {
        digits = p[i] >= '0' && p[i] <= '9' ? digits + 1 : 0;
        if (p[i] & 0x80 || digits > 2) return false;
    }
    return n <= MOST_TEXT;
}

static void check_samples(const dlx_machine *m, const dlx_grammar *g, int64_t depth, fuzz_input *in)
{
    for (int k = 0; k < 16 && (in->left || !k); k++) {
        size_t n;
        char *sample = take_text(in, &n);
        if (n <= MOST_SAMPLE && is_small(sample, n)) {
            bool accepts = dlx_machine_accepts(m, sample, n), derived = grammar_derives(g, sample, n);
            require(accepts ? derived : !derived || depth);
        }
        free(sample);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    int64_t depth = take_byte(&in) % 4;
    dlx_arena arena, reading;
    dlx_machine machine;
    dlx_grammar g;
    dlx_error err = {0};
    size_t n;
    char *text = take_text(&in, &n);
    dlx_arena_init(&arena);
    dlx_arena_init(&reading);
    if (is_small(text, n)) {
        dlx_status status = dlx_gbnf_parse(&g, &reading, text, n, &err);
        if (status == DLX_OK) status = dlx_grammar_build(&machine, &arena, &g, &depth, &err);
        require_sentence(status, &err);
        if (status == DLX_OK) check_samples(&machine, &g, depth, &in);
    }
    dlx_arena_free(&reading);
    dlx_arena_free(&arena);
    free(text);
    return 0;
}
