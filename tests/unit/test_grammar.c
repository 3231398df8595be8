/*
 * Grammars in GBNF: automata against another recogniser, for random grammars and all short texts; best fillings against
 * all fillings; what is exact however long or deep; what is refused, and where.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sizes.h"
#include "constrain/fill.h"
#include "constrain/grammar.h"
#include "constrain_check.h"
#include "grammar_check.h"

/* ---- random grammars --------------------------------------------------------------------------------------------- */

enum { LONGEST = 4, GRAMMARS = 40 };

static void put(char *out, size_t size, const char *text)
{
    size_t used = strlen(out);
    snprintf(out + used, size - used, "%s", text);
}

static void random_part(char *out, size_t size, uint64_t *seed, int depth)
{
    static const char *const atoms[] = {"\"a\"", "\"b\"", "\"\"", "\"ab\"", "[ab]", "[^a]", "root",
                                        "root",  "x",     "x",    "y",      "y",    "y"};
    static const char *const behind[] = {")", ")*", ")+", ")?", "){0,2}", "){2}"};
    uint64_t kind = depth ? next_random(seed) % 8 : 0;
    if (kind < 3 || size - strlen(out) < 100) {
        put(out, size, atoms[next_random(seed) % DLX_COUNT(atoms)]);
        return;
    }
    put(out, size, "(");
    random_part(out, size, seed, depth - 1);
    put(out, size, kind < 6 ? " " : " | ");
    random_part(out, size, seed, depth - 1);
    put(out, size, behind[kind < 7 ? 0 : next_random(seed) % DLX_COUNT(behind)]);
}

static void random_grammar(char *out, size_t size, uint64_t *seed)
{
    static const char *const names[] = {"root", "x", "y"};
    static const char *const last[] = {"\"a\"", "\"b\"", "\"a\" x \"b\"", "\"\"", "\"ba\"", "root \"b\""};
    out[0] = '\0';
    for (int i = 0; i < 3; i++) {
        char part[400] = "";
        put(out, size, names[i]);
        put(out, size, " ::= ");
        random_part(part, sizeof part, seed, 2);
        put(out, size, part);
        put(out, size, " | ");
        put(out, size, last[next_random(seed) % DLX_COUNT(last)]);
        put(out, size, "\n");
    }
}

typedef struct made {
    dlx_arena reading;
    dlx_grammar g;
    built b;
    int64_t depth;
    dlx_error err;
} made;

static dlx_status make(made *m, const char *text, int64_t depth)
{
    memset(m, 0, sizeof *m);
    m->depth = depth;
    dlx_arena_init(&m->reading);
    dlx_arena_init(&m->b.arena);
    dlx_status status = dlx_gbnf_parse(&m->g, &m->reading, text, strlen(text), &m->err);
    if (status == DLX_OK) status = dlx_grammar_build(&m->b.machine, &m->b.arena, &m->g, &m->depth, &m->err);
    if (status != DLX_OK) dlx_arena_free(&m->b.arena);
    return status;
}

static void unmake(made *m)
{
    dlx_arena_free(&m->reading);
    dlx_arena_free(&m->b.arena);
}

/* Text number i of those over a and b, the shorter ones first; its length. */
static size_t text_number(char text[LONGEST + 1], int i)
{
    size_t n = 0;
    for (i++; i > 1; i /= 2) text[n++] = i & 1 ? 'b' : 'a';
    text[n] = '\0';
    return n;
}

/* What nests lies behind a byte of its own, so that a text of n bytes nests less than n deep. */
static void test_random_grammars(void **state)
{
    int exact = 0, cut = 0, accepted = 0, deep = 0, limited = 0;
    uint64_t seed = 1;
    (void)state;
    for (int k = 0; k < GRAMMARS; k++) {
        char text[1000], sample[LONGEST + 1];
        int64_t depth = k % 4 ? LONGEST : k % 3;
        made m;
        random_grammar(text, sizeof text, &seed);
        dlx_status status = make(&m, text, depth);
        if (status != DLX_OK) {
            if (status != DLX_E_LIMIT) fail_msg("%s\n%s", m.err.message, text);
            dlx_arena_free(&m.reading);
            limited++;
            continue;
        }
        bool whole = !m.depth || m.depth >= LONGEST;
        for (int i = 0; i < (1 << (LONGEST + 1)) - 1; i++) {
            size_t n = text_number(sample, i);
            bool derived = grammar_derives(&m.g, sample, n), accepts = dlx_machine_accepts(&m.b.machine, sample, n);
            if (accepts > derived || (whole && accepts < derived))
                fail_msg("depth %d: '%s' is %s derived by\n%s", (int)m.depth, sample, derived ? "" : "not", text);
            accepted += accepts;
            deep += accepts < derived;
        }
        exact += !m.depth;
        cut += whole && m.depth;
        unmake(&m);
    }
    print_message("%d without a bound, %d cut, %d too large, %d texts accepted, %d too deep\n", exact, cut, limited,
                  accepted, deep);
    assert_true(exact > 12 && cut > 6 && accepted > 120);
}

/* ---- fillings ---------------------------------------------------------------------------------------------------- */

enum { POSITIONS = 3, STOP = 0 };

static const char *const words[] = {"", "a", "b", "ab", "ba"};
enum { WORDS = DLX_COUNT(words) };

static double weights[POSITIONS][WORDS];

static double weigh(void *ctx, const int32_t *ids, int32_t n, int32_t *pick)
{
    const double *w = ctx;
    double best = -INFINITY;
    for (int32_t i = 0; i < n; i++)
        if (w[ids[i]] > best) best = w[ *pick = ids[i]];
    return best;
}

/* The best sum over all ids of all positions that are a text of the grammar and stop ids behind it. */
static double best_of_all(const dlx_grammar *g)
{
    double best = -INFINITY;
    int all = 1;
    for (int p = 0; p < POSITIONS; p++) all *= WORDS;
    for (int k = 0; k < all; k++) {
        char text[MOST_GRAMMAR_TEXT] = "";
        double sum = 0;
        bool stopped = false, fine = true;
        for (int p = 0, rest = k; p < POSITIONS; p++, rest /= WORDS) {
            int id = rest % WORDS;
            fine = fine && (id == STOP || !stopped);
            stopped = stopped || id == STOP;
            strcat(text, words[id]);
            sum += weights[p][id];
        }
        if (fine && sum > best && grammar_derives(g, text, strlen(text))) best = sum;
    }
    return best;
}

static void test_best_fillings(void **state)
{
    uint64_t seed = 7;
    int filled = 0;
    (void)state;
    for (int k = 0; k < 20; k++) {
        char text[1000];
        made m;
        const int32_t stop = STOP;
        int32_t found[POSITIONS];
        dlx_fill *f;
        random_grammar(text, sizeof text, &seed);
        /* A text of three words has six bytes. */
        if (make(&m, text, 6) != DLX_OK) {
            dlx_arena_free(&m.reading);
            continue;
        }
        dlx_constraint *c = small_constraint(&m.b, words, WORDS);
        if (c) {
            for (int p = 0; p < POSITIONS; p++)
                for (int i = 0; i < WORDS; i++) weights[p][i] = -(double)(next_random(&seed) % 1000);
            assert_int_equal(dlx_fill_open(&f, c, &(dlx_fill_ids){WORDS, -1, &stop, 1}, POSITIONS, &m.err), DLX_OK);
            assert_true(dlx_fill_begin(f, NULL, 0));
            for (int p = 0; p < POSITIONS; p++) dlx_fill_weighed(f, weigh, weights[p], POSITIONS - 1 - p);
            double best = best_of_all(&m.g), sum = 0;
            bool any = dlx_fill_end(f, found);
            assert_true(any == (best > -INFINITY));
            for (int p = 0; p < POSITIONS && any; p++) sum += weights[p][found[p]];
            if (any && sum != best) fail_msg("%g instead of %g with\n%s", sum, best, text);
            filled += any;
            dlx_fill_close(f);
        }
        dlx_constraint_destroy(c);
        dlx_arena_free(&m.reading);
    }
    print_message("%d grammars\n", filled);
    assert_true(filled > 10);
}

/* ---- what has no bound ------------------------------------------------------------------------------------------- */

static void accepts(const made *m, const char *text, bool wanted)
{
    if (dlx_machine_accepts(&m->b.machine, text, strlen(text)) != wanted)
        fail_msg("'%s' should %sbe accepted", text, wanted ? "" : "not ");
}

static char *chain(const char *begin, const char *link, int n, const char *end)
{
    char *text = calloc(strlen(begin) + (size_t)n * strlen(link) + strlen(end) + 1, 1);
    assert_non_null(text);
    strcat(text, begin);
    for (int i = 0; i < n; i++) strcat(text, link);
    return strcat(text, end);
}

static void test_lists_and_chains_have_no_bound(void **state)
{
    static const struct {
        const char *grammar, *begin, *link, *end, *other;
    } rows[] = {
        {"root ::= root \"a\" | \"b\"", "b", "a", "", "ab"},
        {"root ::= \"a\" root | \"b\"", "", "a", "b", "ba"},
        {"root ::= root \"a\" | \"b\" root | \"c\"", "bbbbbbbb", "b", "caaaaaaaa", "cb"},
        {"root ::= root \"+\" root | root \"*\" root | \"1\"", "1", "+1*1", "", "1++1"},
        {"root ::= root root | \"a\"", "a", "a", "", ""},
        {"root ::= x\nx ::= y \"a\" | \"b\"\ny ::= x \"c\" | \"d\"", "b", "ca", "", "bc"},
        {"root ::= line\nline ::= [a-z]+ \"\\n\" rest\nrest ::= line |", "a\n", "b\n", "", "a"},
        {"root ::= e e e root | \"b\"\ne ::= \"a\"?", "", "a", "b", "ba"},
        {"root ::= e root \"a\" | \"b\"\ne ::= |", "b", "a", "", "ab"},
    };
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(rows); i++) {
        made m;
        char *text = chain(rows[i].begin, rows[i].link, 500, rows[i].end);
        if (make(&m, rows[i].grammar, 0) != DLX_OK) fail_msg("%s: %s", rows[i].grammar, m.err.message);
        if (m.depth) fail_msg("%s: depth %d", rows[i].grammar, (int)m.depth);
        accepts(&m, text, true);
        accepts(&m, rows[i].other, false);
        free(text);
        unmake(&m);
    }
}

static void test_brackets_nest_as_deep_as_asked_for(void **state)
{
    static const char grammar[] =
        "root ::= sum\nsum ::= sum [-+] product | product\nproduct ::= product \"*\" atom | atom\n"
        "atom ::= [0-9]+ | \"(\" sum \")\"\n";
    (void)state;
    for (int depth = 1; depth < 30; depth++) {
        made m;
        char *open = chain("", "(", depth, "1+2*3"), *all = chain(open, ")", depth, "*4-5"),
             *deeper = chain("(", all, 1, ")");
        assert_int_equal(make(&m, grammar, depth), DLX_OK);
        assert_int_equal(m.depth, depth);
        accepts(&m, all, true);
        accepts(&m, open, false);
        accepts(&m, deeper, false);
        assert_true(grammar_derives(&m.g, "((1+2))*(3)", 11) && m.b.machine.n_states < 6 * depth + 6);
        free(open);
        free(all);
        free(deeper);
        unmake(&m);
    }
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static void test_notation(void **state)
{
    made m;
    (void)state;
    assert_int_equal(
        make(&m,
             "# a comment\r\nroot ::= a-1 | # another\n  (\n \"x\" # inside\n | \"y\"\n)+ | # the last\n"
             "\"\\x41\\u00e9\\U0001F600\\\\\\\"\\n\\t\\r\\[\\]\" | [\\]\\[\\-^a-c-] | [^\\x00-\\U0010FFFE] | "
             "\"k\"{2}\"l\"{ 1 , } \"m\"{0,2} | \".\" . \na-1 ::= \"r\n\" # end",
             0),
        DLX_OK);
    assert_int_equal(m.depth, 0);
    static const char *const texts[] = {"r\n",       "x",
                                        "xyx",       "A\xC3\xA9\xF0\x9F\x98\x80\\\"\n\t\r[]",
                                        "]",         "[",
                                        "-",         "^",
                                        "b",         "\xF4\x8F\xBF\xBF",
                                        "kkl",       "kklllmm",
                                        ".\xC3\xA9", ".\n"};
    static const char *const others[] = {"", "r", "d", "kl", "kk", "kklmmm", ".", "xr\n", "\xF4\x8F\xBF\xBE"};
    for (size_t i = 0; i < DLX_COUNT(texts); i++) accepts(&m, texts[i], true);
    for (size_t i = 0; i < DLX_COUNT(others); i++) accepts(&m, others[i], false);
    unmake(&m);
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *grammar, *message;
    } rows[] = {
        {"", "no rule is called 'root'"},
        {"x ::= \"a\"", "no rule is called 'root'"},
        {"root ::= \"a\" x\n", "line 1, character 14: this rule is not defined"},
        {"root ::= \"a\"\nroot ::= \"b\"", "line 2, character 1: this rule is defined twice"},
        {"root = \"a\"", "line 1, character 6: ::= is expected"},
        {"root\n::= \"a\"", "::= is expected"},
        {"root ::= \"a\"\n| \"b\"", "line 2, character 1: the name of a rule is expected"},
        {"root ::= \"a", "line 1, character 10: a text is not closed"},
        {"root ::= [a", "a class is not closed"},
        {"root ::= []", "a class is empty"},
        {"root ::= [^]", "a class is empty"},
        {"root ::= [z-a]", "character 11: a range goes"},
        {"root ::= (\"a\"", "character 10: a group is not closed"},
        {"root ::= \"a\")", "a ) closes no group"},
        {"root ::= \"\xC3\xA9\" & \"b\"", "character 14: a line end, or a part of a rule is expected"},
        {"root ::= *", "nothing to repeat"},
        {"root ::= \"a\" | +", "nothing to repeat"},
        {"root ::= \"a\"{,2}", "a number of repetitions is expected"},
        {"root ::= \"a\"{2,1}", "wrong way round"},
        {"root ::= \"a\"{2", "} is expected"},
        {"root ::= \"a\"{70000}", "at most 65535"},
        {"root ::= \"a\"*********", "more than 8 repetitions"},
        {"root ::= \"\\q\"", "character 11: the escapes are"},
        {"root ::= \"\\x4\"", "\\x takes two"},
        {"root ::= \"\\uD83D\\uDE00\"", "surrogate"},
        {"root ::= \"\\U00110000\"", "beyond U+10FFFF"},
        {"root ::= \"\\", "a backslash ends"},
        {"root ::= <think>", "tokens (<...>, !<...>) are not supported"},
        {"root ::= !<[1000]>", "tokens (<...>, !<...>) are not supported"},
        {"root ::= (\"a\"{60000}){60000}", "steps"},
    };
    made m;
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(rows); i++) {
        dlx_status status = make(&m, rows[i].grammar, 0);
        assert_int_equal(status, m.err.status);
        if (status == DLX_OK || !strstr(m.err.message, rows[i].message))
            fail_msg("%s: %s", rows[i].grammar, status == DLX_OK ? "accepted" : m.err.message);
        dlx_arena_free(&m.reading);
    }
    char *deep = chain("root ::= ", "(", 201, "\"a\"");
    assert_int_equal(make(&m, deep, 0), DLX_E_INVALID);
    assert_non_null(strstr(m.err.message, "200 deep"));
    dlx_arena_free(&m.reading);
    free(deep);
}

/* Work and memory have a bound, however a grammar multiplies itself. */
static void test_grammars_that_grow(void **state)
{
    char text[40000] = "root ::= r0\n";
    made m;
    (void)state;
    for (int i = 0; i < 24; i++) {
        char rule[80];
        snprintf(rule, sizeof rule, "r%d ::= r%d r%d | \"x%d\" r%d\n", i, i + 1, i + 1, i, i + 1);
        put(text, sizeof text, rule);
    }
    put(text, sizeof text, "r24 ::= \"a\" | \"b\" r24 \"c\" r23 \"d\" | \"(\" root \")\"\n");
    assert_int_equal(make(&m, text, 9), DLX_E_LIMIT);
    dlx_arena_free(&m.reading);
    snprintf(text, sizeof text, "root ::= r0\n");
    for (int i = 0; i < 300; i++) {
        char rule[80];
        snprintf(rule, sizeof rule, "r%d ::= \"a\" r%d \"b\" r%d | r%d \"c\" | \"d\"\n", i, (i * 7 + 1) % 300,
                 (i * 31 + 2) % 300, (i * 5 + 3) % 300);
        put(text, sizeof text, rule);
    }
    dlx_status status = make(&m, text, 0);
    assert_true(status == DLX_E_LIMIT || status == DLX_OK);
    if (status == DLX_OK) dlx_arena_free(&m.b.arena);
    dlx_arena_free(&m.reading);
    /* A depth without an end is cut off by the work that it takes. */
    assert_int_equal(make(&m, "root ::= \"a\" root \"b\" | \"c\"", INT64_MAX), DLX_E_LIMIT);
    dlx_arena_free(&m.reading);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_grammars),
        cmocka_unit_test(test_best_fillings),
        cmocka_unit_test(test_lists_and_chains_have_no_bound),
        cmocka_unit_test(test_brackets_nest_as_deep_as_asked_for),
        cmocka_unit_test(test_notation),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_grammars_that_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
