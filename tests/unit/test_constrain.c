/*
 * Constraints without a model: which texts an expression accepts, what is refused and how, that automata are as small
 * as can be, and fillings against every filling that there is.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/sizes.h"
#include "constrain/fill.h"
#include "constrain/regex.h"
#include "constrain_check.h"

/* ---- expressions ------------------------------------------------------------------------------------------------- */

static void test_what_expressions_accept(void **state)
{
    static const struct {
        const char *regex, *yes, *no; /* texts, each with a NUL behind it */
    } rows[] = {
        {"", "\0", "a\0"},
        {"abc", "abc\0", "ab\0abcd\0"},
        {"a|b|", "a\0b\0\0", "ab\0"},
        {"(ab)*c{2,3}?", "cc\0abccc\0ababcc\0", "c\0abcccc\0"},
        {"[0-9]{4}-(0[1-9]|1[0-2])", "2024-12\0",
         "2024-13\0"
         "224-01\0"},
        {"[^a-y]", "z\0\xC3\xA9\0\xF0\x9F\x98\x80\0\n\0", "a\0\xC3\0\xED\xA0\x80\0\xFF\0"},
        {".", "\xC3\xA9\0\r\0", "\n\0ab\0"},
        {"[\\d\\-x]+", "3-x\0", "y\0"},
        {"\\w\\W\\s\\S\\D", "a: 0x\0", "a: 00\0"},
        {"\\x41\\u00e9\\u{1F600}\\U0001F600\\uD83D\\uDE00",
         "A\xC3\xA9\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\0", "A\0"},
        {"^a$", "a\0", "aa\0"},
        {"(^a|b)c", "ac\0bc\0", "c\0"},
        {"a^b|c", "c\0", "ab\0"},
        {"(a|b$)c?", "a\0ac\0b\0", "bc\0"},
        {"x{,2}y{2}z{0}", "yy\0xyy\0xxyy\0", "xxxyy\0yyz\0"},
        {"a{b", "a{b\0", "ab\0"},
        {"(?:a)(?P<n>b)(?<m>c)", "abc\0", "ab\0"},
        {"[\\s\\S]{3}",
         "\n\xE2\x82\xAC"
         "a\0",
         "ab\0"},
        {"\\.\\*\\[\\]\\{\\}\\\\\\/", ".*[]{}\\/\0", "a\0"},
        {"[\xC3\xA4-\xC3\xBC]", "\xC3\xA9\0", "\xC3\xBD\0"},
        {"[\\uD7FF-\\uE000]", "\xED\x9F\xBF\0\xEE\x80\x80\0", "\xED\xA0\x80\0"},
        {"((a*)*)*b", "b\0aab\0", "a\0"},
    };
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(rows); i++) {
        built b;
        build(&b, rows[i].regex);
        for (const char *t = rows[i].yes; *t || t == rows[i].yes; t += strlen(t) + 1)
            if (!dlx_machine_accepts(&b.machine, t, strlen(t))) fail_msg("%s refuses '%s'", rows[i].regex, t);
        for (const char *t = rows[i].no; *t; t += strlen(t) + 1)
            if (dlx_machine_accepts(&b.machine, t, strlen(t))) fail_msg("%s accepts '%s'", rows[i].regex, t);
        dlx_arena_free(&b.arena);
    }
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *regex, *message;
    } rows[] = {
        {"a(?=b)", "regular expression, character 2: look-ahead is not supported"},
        {"(?!b)", "look-ahead"},
        {"(?<=b)", "look-behind"},
        {"(?<!b)", "look-behind"},
        {"(?>b)", "atomic"},
        {"a(?i)b", "character 2: flags in the expression"},
        {"a[^b\\", "character 2: a class is not closed"},
        {"(?(1)b)", "conditions"},
        {"(a)\\1", "character 4: back references"},
        {"\\k<n>", "back references"},
        {"(?P=n)", "back references"},
        {"\\bword", "character 1: word boundaries"},
        {"x\\p{L}", "character 2: Unicode properties"},
        {"(ab)++", "character 5: possessive"},
        {"a**", "character 3: a repetition of a repetition"},
        {"*a", "nothing to repeat"},
        {"a^*", "character 3: an anchor cannot be repeated"},
        {"a{3,2}", "wrong way round"},
        {"a{70000}", "65535"},
        {"(a", "group is not closed"},
        {"a)", "closes no group"},
        {"\xC3\xA9[a", "regular expression, character 2: a class is not closed"},
        {"a[]", "character 2: a class is empty"},
        {"[bz-a]", "character 3: a range"},
        {"[a-\\d]", "character 2: a range"},
        {"a\\", "character 2: a backslash ends it"},
        {"[a\\q]", "character 3: this escape is not known"},
        {"\\x4", "character 1: \\x takes two hexadecimal"},
        {"\\u12", "four hexadecimal"},
        {"\\07", "octal"},
        {"\\U00110000", "beyond U+10FFFF"},
        {"\\uD800", "surrogate"},
        {"((((a{900}){900}){900}){900}){900}", "steps"},
        {"(((((){65535}){65535}){65535}){65535}){65535}", "steps"},
        {"(a|b)*a(a|b){20}", "automaton of more than"},
    };
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(rows); i++) {
        dlx_arena arena;
        dlx_error err = {0};
        dlx_machine m;
        const dlx_expr *e;
        dlx_arena_init(&arena);
        dlx_status status = dlx_regex_parse(&e, &arena, rows[i].regex, strlen(rows[i].regex), false, &err);
        if (status == DLX_OK) status = dlx_machine_build(&m, &arena, e, false, &err);
        dlx_arena_free(&arena);
        assert_int_equal(status, err.status);
        if (status == DLX_OK || !strstr(err.message, rows[i].message)) fail_msg("%s: %s", rows[i].regex, err.message);
    }
}

/* Inside a JSON string, characters stand as json.dumps writes them. */
static void test_characters_of_json_strings(void **state)
{
    built b;
    (void)state;
    build_as(&b, "[\\s\\S]", true);
    for (uint32_t c = 0; c < 0x100; c++) {
        char text[8] = {(char)c, 0};
        bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
        assert_int_equal(dlx_machine_accepts(&b.machine, text, 1), plain);
    }
    static const char *const yes[] = {
        "\\n", "\\t", "\\r", "\\b", "\\f", "\\\"", "\\\\", "\\u0000", "\\u001f", "\xC2\x80", "\xF4\x8F\xBF\xBF"};
    static const char *const no[] = {"\\/", "\\u000a", "\\u001F", "\\u0041", "\\", "\\x", "\xED\xA0\x80"};
    for (size_t i = 0; i < DLX_COUNT(yes); i++) assert_true(dlx_machine_accepts(&b.machine, yes[i], strlen(yes[i])));
    for (size_t i = 0; i < DLX_COUNT(no); i++) assert_false(dlx_machine_accepts(&b.machine, no[i], strlen(no[i])));
    dlx_arena_free(&b.arena);
}

/* Sizes that are known: an automaton has no state too many. */
static void test_smallest_automata(void **state)
{
    static const struct {
        const char *regex;
        int32_t states, kinds;
    } rows[] = {
        {"a*", 1, 2},     {"(a|b)*abb", 4, 3}, {"abc|abd|ab", 4, 4}, {"(aa|aaa)+", 3, 2},     {"[a-z]+[0-9]*", 3, 3},
        {"a{3,5}", 6, 2}, {"", 1, 1},          {"[^\\s\\S]", 0, 0},  {"(a|b)c|(b|a)c", 3, 3}, {"[0-9]+|[0-9]*5", 2, 2}};
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(rows); i++) {
        built b;
        build(&b, rows[i].regex);
        if (b.machine.n_states != rows[i].states || b.machine.n_kinds != rows[i].kinds)
            fail_msg("%s: %d states and %d kinds", rows[i].regex, b.machine.n_states, b.machine.n_kinds);
        dlx_arena_free(&b.arena);
    }
}

static void test_both_and_without(void **state)
{
    built a, b;
    dlx_machine both, without;
    dlx_error err;
    (void)state;
    build(&a, "[ab]*");
    build(&b, "(..)*b?");
    assert_int_equal(dlx_machine_both(&both, &a.arena, &a.machine, &b.machine, false, &err), DLX_OK);
    assert_int_equal(dlx_machine_both(&without, &a.arena, &a.machine, &b.machine, true, &err), DLX_OK);
    for (int n = 0; n < 8; n++)
        for (int bits = 0; bits < 1 << n; bits++) {
            char text[8];
            for (int i = 0; i < n; i++) text[i] = bits >> i & 1 ? 'b' : 'a';
            bool in_b = n % 2 == 0 || text[n - 1] == 'b';
            assert_int_equal(dlx_machine_accepts(&both, text, (size_t)n), in_b);
            assert_int_equal(dlx_machine_accepts(&without, text, (size_t)n), !in_b);
        }
    assert_false(dlx_machine_accepts(&without, "c", 1));
    dlx_arena_free(&a.arena);
    dlx_arena_free(&b.arena);
}

/* ---- fillings against all fillings ------------------------------------------------------------------------------- */

enum { MOST = 5, IDS = 7, STOP = 6 }; /* ids 0 .. 5 have bytes, 6 ends a text */

typedef struct puzzle {
    const dlx_constraint *c;
    int n, left;     /* positions, and how many may follow */
    int known[MOST]; /* an id; -1 free; -2 weighed */
    double weights[MOST][IDS];
    int position;
} puzzle;

static const char *const spelled[IDS] = {"a", "b", "ab", "ba", "c", "abc", ""};

static double weigh(void *ctx, const int32_t *ids, int32_t n, int32_t *pick)
{
    puzzle *p = ctx;
    double best = -INFINITY;
    for (int32_t i = 0; i < n; i++)
        if (p->weights[p->position][ids[i]] > best) best = p->weights[p->position][ *pick = ids[i]];
    return best;
}

/* Whether ids [n] can be the beginning of an answer that ends within `left` tokens. */
static bool can_go_on(const puzzle *p, const int *ids, int n, int left)
{
    char text[64] = "";
    int i = 0;
    for (; i < n && ids[i] != STOP; i++) strcat(text, spelled[ids[i]]);
    bool matches = dlx_machine_accepts(&p->c->machine, text, strlen(text));
    for (int k = i; k < n; k++)
        if (ids[k] != STOP) return false;
    if (i < n || matches) return matches;
    if (!left) return false;
    int more[MOST + 4];
    memcpy(more, ids, (size_t)n * sizeof *ids);
    for (more[n] = 0; more[n] < STOP; more[n]++)
        if (can_go_on(p, more, n + 1, left - 1)) return true;
    return false;
}

static void search(const puzzle *p, int *ids, int n, double weight, double *best)
{
    if (n == p->n) {
        if (weight > *best && can_go_on(p, ids, n, p->left)) *best = weight;
        return;
    }
    for (int id = 0; id < IDS; id++) {
        if (p->known[n] >= 0 && p->known[n] != id) continue;
        ids[n] = id;
        search(p, ids, n + 1, weight + (p->known[n] == -2 ? p->weights[n][id] : 0), best);
    }
}

static double fill(puzzle *p, dlx_fill *f, int32_t *ids, bool *fine)
{
    double sum = 0;
    assert_true(dlx_fill_begin(f, NULL, 0));
    for (p->position = 0; p->position < p->n; p->position++) {
        int left = p->n - p->position - 1 + p->left;
        if (p->known[p->position] == -2)
            dlx_fill_weighed(f, weigh, p, left);
        else
            dlx_fill_next(f, p->known[p->position], left);
    }
    *fine = dlx_fill_end(f, ids);
    for (int i = 0; i < p->n && *fine; i++) {
        if (p->known[i] != -2) continue;
        assert_in_range(ids[i], 0, IDS - 1);
        sum += p->weights[i][ids[i]];
    }
    return sum;
}

/* Free positions get any ids that fit; that one does is what `search` finds again with the others fixed. */
static void check_filling(puzzle *p, const int32_t *ids, double weight)
{
    puzzle fixed = *p;
    int found[MOST];
    double best = -INFINITY;
    for (int i = 0; i < p->n; i++) fixed.known[i] = p->known[i] == -2 ? ids[i] : p->known[i];
    search(&fixed, found, 0, 0, &best);
    assert_true(best == 0);
    best = -INFINITY;
    search(p, found, 0, 0, &best);
    if (best != weight) fail_msg("weight %g, and %g is possible", weight, best);
}

static void random_puzzle(puzzle *p, uint64_t *seed)
{
    p->n = 1 + (int)(next_random(seed) % MOST);
    p->left = (int)(next_random(seed) % 3);
    uint64_t levels = next_random(seed) % 2 ? 3 : 1000; /* few levels: many ties */
    for (int i = 0; i < p->n; i++) {
        uint64_t kind = next_random(seed) % 8;
        p->known[i] = kind == 0 ? (int)(next_random(seed) % IDS) : kind == 1 ? -1 : -2;
        for (int id = 0; id < IDS; id++) p->weights[i][id] = -(double)(next_random(seed) % levels);
    }
}

static void test_fillings_against_all(void **state)
{
    uint64_t seed = 1;
    int solved = 0, impossible = 0;
    (void)state;
    for (int round = 0; round < 120; round++) {
        char regex[128] = "";
        built b;
        random_regex(regex, sizeof regex, &seed, 3);
        build(&b, regex);
        dlx_fill *f = NULL;
        dlx_constraint *c = small_constraint(&b, spelled, IDS);
        if (!c) continue;
        const int32_t stop = STOP;
        const dlx_fill_ids ids = {.known = IDS, .never = -1, .stop_ids = &stop, .n_stop_ids = 1};
        dlx_error err;
        assert_int_equal(dlx_fill_open(&f, c, &ids, MOST, &err), DLX_OK);
        for (int k = 0; k < 12; k++) {
            puzzle p = {.c = c};
            int32_t found[MOST], again[MOST];
            int tried[MOST];
            bool fine, second;
            random_puzzle(&p, &seed);
            double weight = fill(&p, f, found, &fine), best = -INFINITY;
            fill(&p, f, again, &second);
            assert_int_equal(fine, second);
            if (fine) {
                assert_memory_equal(found, again, (size_t)p.n * sizeof *found);
                check_filling(&p, found, weight);
                solved++;
            } else {
                search(&p, tried, 0, 0, &best);
                assert_true(best == -INFINITY);
                impossible++;
            }
        }
        dlx_fill_close(f);
        dlx_constraint_destroy(c);
    }
    assert_true(solved > 300 && impossible > 100);
}

/* Classes and sets say of every token and state what the bytes of the token say. */
static void test_tokens_against_bytes(void **state)
{
    uint64_t seed = 7;
    (void)state;
    for (int round = 0; round < 60; round++) {
        char regex[128] = "";
        built b;
        random_regex(regex, sizeof regex, &seed, 4);
        build(&b, regex);
        dlx_constraint *c = small_constraint(&b, spelled, IDS);
        if (!c) continue;
        for (int32_t q = 0; q < c->machine.n_states; q++)
            for (int32_t id = 0; id < STOP; id++) {
                int32_t to = q, found = -1, count = 0;
                for (const char *s = spelled[id]; *s && to >= 0; s++)
                    to = dlx_machine_step(&c->machine, to, (uint8_t)*s);
                for (size_t i = c->edge_start[q]; i < c->edge_start[q + 1]; i++) {
                    const dlx_token_edge *e = &c->edges[i];
                    for (size_t k = c->set_start[e->set]; k < c->set_start[e->set + 1]; k++)
                        if (c->set_classes[k] == c->class_of[id]) {
                            found = e->to;
                            count++;
                        }
                }
                assert_int_equal(found, to);
                assert_int_equal(count, to >= 0);
            }
        assert_int_equal(c->class_of[STOP], -1);
        dlx_constraint_destroy(c);
    }
}

static void test_ids_that_cannot_be_chosen(void **state)
{
    built b;
    dlx_fill *f;
    dlx_error err;
    (void)state;
    build(&b, "(ab|ba)*c");
    dlx_constraint *c = small_constraint(&b, spelled, IDS);
    const int32_t stops[] = {STOP, 4};
    /* Without the token "c" only "abc" ends a text; without both nothing does. */
    assert_int_equal(dlx_fill_open(&f, c, &(dlx_fill_ids){IDS, 4, stops, 1}, 4, &err), DLX_OK);
    assert_int_equal(dlx_fill_shortest(f), 1);
    assert_true(dlx_fill_accepts(f, (const int32_t[]){2, 5}, 2));
    assert_false(dlx_fill_accepts(f, (const int32_t[]){2, 2}, 2));
    assert_false(dlx_fill_accepts(f, (const int32_t[]){5, STOP}, 2));
    dlx_fill_close(f);
    assert_int_equal(dlx_fill_open(&f, c, &(dlx_fill_ids){5, -1, stops + 1, 1}, 4, &err), DLX_OK);
    assert_int_equal(dlx_fill_shortest(f), -1);
    dlx_fill_close(f);
    assert_int_equal(dlx_fill_open(&f, c, &(dlx_fill_ids){IDS, STOP, stops, 1}, 4, &err), DLX_E_INVALID);
    assert_null(f);
    assert_non_null(strstr(err.message, "stop_ids"));
    assert_int_equal(dlx_fill_open(&f, c, &(dlx_fill_ids){IDS, -1, stops, 1}, 2, &err), DLX_OK);
    assert_false(dlx_fill_begin(f, (const int32_t[]){0, 0}, 2));
    dlx_fill_close(f);
    dlx_constraint_destroy(c);
}

static void test_memory_is_bounded(void **state)
{
    built b;
    dlx_error err;
    dlx_constraint *c;
    (void)state;
    build(&b, "[a-c]{1,400}");
    small_vocabulary v;
    small_vocabulary_make(&v, spelled, IDS);
    assert_int_equal(dlx_constraint_create(&c, &b.arena, &b.machine, &v.v, 20000, &err), DLX_E_LIMIT);
    assert_null(c);
    assert_non_null(strstr(err.message, "maxLength"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_expressions_accept),    cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_characters_of_json_strings), cmocka_unit_test(test_smallest_automata),
        cmocka_unit_test(test_both_and_without),           cmocka_unit_test(test_fillings_against_all),
        cmocka_unit_test(test_tokens_against_bytes),       cmocka_unit_test(test_ids_that_cannot_be_chosen),
        cmocka_unit_test(test_memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
