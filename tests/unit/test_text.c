/* The parts of src/text/ by themselves: UTF-8, the byte-level alphabet, NFC, splitting, merging. */
#include "text_check.h"
#include "text/buffer.h"
#include "text/bytelevel.h"
#include "text/full/bpe.h"
#include "text/full/forms.h"
#include "text/full/split.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

static void test_utf8_round_trip(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        char utf8[4];
        uint32_t back;
        size_t n = dlx_utf8_put(utf8, c);
        if (dlx_utf8_next(utf8, n, &back) != n || back != c) fail_msg("U+%04X", c);
        char behind[5] = {'x'};
        memcpy(behind + 1, utf8, n);
        if (dlx_utf8_before(behind, n + 1, &back) != 1 || back != c) fail_msg("U+%04X from behind", c);
        if (dlx_utf8_before(utf8, n, &back) != 0 || back != c) fail_msg("U+%04X alone from behind", c);
        if (dlx_utf8_count(behind, n + 1) != 2) fail_msg("U+%04X counted", c);
        for (size_t cut = 1; cut < n; cut++) {
            size_t step = dlx_utf8_next(utf8, cut, &back);
            if (step != cut || back != DLX_UTF8_CUT) fail_msg("U+%04X cut after %zu bytes", c, cut);
        }
    }
}

/* Table 3-8 and its neighbours of the Unicode standard: one U+FFFD for each maximal subpart. */
static void test_utf8_replacement(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64", "a\uFFFD\uFFFD\uFFFD"
                                                                 "b\uFFFD"
                                                                 "c\uFFFD\uFFFD"
                                                                 "d"},
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"
                                                 "A"},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"
                                                 "A"},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"
                                                 "A\uFFFD\uFFFD"
                                                 "B"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "\uFFFD\uFFFD\uFFFD\uFFFD"
                                                 "A"},
        {"plain", "plain"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlx_buffer b = {0};
        char *text;
        size_t n;
        dlx_buffer_add_utf8(&b, cases[i][0], strlen(cases[i][0]));
        assert_ok(dlx_buffer_take(&b, &text, &n, "a test", err));
        assert_string_equal(text, cases[i][1]);
        assert_int_equal(n, strlen(cases[i][1]));
        assert_true(dlx_utf8_valid(text, n));
        assert_int_equal(dlx_utf8_valid(cases[i][0], strlen(cases[i][0])), i >= 5);
        free(text);
    }
}

static void test_bytelevel_alphabet(void **state)
{
    (void)state;
    int seen[256] = {0};
    for (uint32_t c = 0; c < 0x200; c++) {
        int byte = dlx_bytelevel_byte(c);
        if (byte >= 0) seen[byte]++;
    }
    for (int i = 0; i < 256; i++) assert_int_equal(seen[i], 1);
    assert_int_equal(dlx_bytelevel_byte('!'), '!');
    assert_int_equal(dlx_bytelevel_byte(0x120), ' ');
    assert_int_equal(dlx_bytelevel_byte(0x10A), '\n');
    assert_int_equal(dlx_bytelevel_byte(0x143), 0xAD);
    assert_int_equal(dlx_bytelevel_byte(0x144), -1);
    assert_int_equal(dlx_bytelevel_byte(' '), -1);
    assert_int_equal(dlx_bytelevel_byte(0x4E2D), -1);
    uint8_t out[16];
    bool spelled;
    assert_int_equal(dlx_bytelevel_decode(out, "\u0120a\u00C3\u00A9", 7, &spelled), 4);
    assert_true(spelled);
    assert_memory_equal(out, " a\xC3\xA9", 4);
    assert_int_equal(dlx_bytelevel_decode(out, "\u0120 a", 4, &spelled), 4); /* a space is outside the alphabet */
    assert_false(spelled);
    assert_memory_equal(out, "\u0120 a", 4);
}

static void assert_form(dlx_form form, const char *text, const char *expected)
{
    dlx_buffer b = {0};
    char *out;
    dlx_normal_form(&b, form, text, strlen(text));
    assert_ok(dlx_buffer_take(&b, &out, NULL, "a test", err));
    assert_string_equal(out, expected);
    free(out);
    if (dlx_form_trivial(form, text, strlen(text))) assert_string_equal(text, expected);
}

static void assert_nfc(const char *text, const char *expected)
{
    assert_form(DLX_FORM_NFC, text, expected);
}

static void test_nfc(void **state)
{
    (void)state;
    assert_nfc("", "");
    assert_nfc("plain caf\u00E9", "plain caf\u00E9");
    assert_nfc("e\u0301", "\u00E9");
    assert_nfc("A\u030A\u212B", "\u00C5\u00C5");
    assert_nfc("a\u0323\u0307 a\u0307\u0323", "\u1EA1\u0307 \u1EA1\u0307"); /* marks are ordered, then composed */
    assert_nfc("\u0301", "\u0301");
    assert_nfc("\u1112\u1161\u11AB", "\uD55C");
    assert_nfc("\u0958", "\u0915\u093C"); /* excluded from composition */
    assert_nfc("\u0344", "\u0308\u0301");
    assert_nfc("x\u0338=\u0338", "x\u0338\u2260");
    assert_nfc("\u00E9\u0301", "\u00E9\u0301");
    assert_nfc("e\u0300\u0301e", "\u00E8\u0301e");
    assert_nfc("\u0300e\u0301\u4E2D\u0301", "\u0300\u00E9\u4E2D\u0301");
    /* Unicode 14's Kawi and 15's marks are unassigned for the reference, hence left where they are. */
    assert_nfc("a\U00010EFD\u0323", "a\U00010EFD\u0323");
    assert_nfc("\U000105D2\u0307", "\U000105D2\u0307");
    /* U+11A7 stands before the first final consonant, and is none: it stays behind a syllable. */
    assert_nfc("\uAC00\u11A7", "\uAC00\u11A7");
    assert_nfc("\u1100\u1161\u11A7", "\uAC00\u11A7");
    assert_nfc("\uAC00\u11A8", "\uAC01");
    assert_nfc("\uAC01\u11A8", "\uAC01\u11A8");
}

static void test_other_forms(void **state)
{
    (void)state;
    assert_form(DLX_FORM_NFD, "\u00E9a\u0323\u0307 \uAC01", "e\u0301a\u0323\u0307 \u1100\u1161\u11A8");
    assert_form(DLX_FORM_NFD, "\uFB01\u2075", "\uFB01\u2075");
    assert_form(DLX_FORM_NFKC, "\uFB01\u2075\u00A8e\u0301", "fi5 \u0308\u00E9");
    assert_form(DLX_FORM_NFKC, "\u32FF\U00011938", "\u32FF\U00011938"); /* newer than the reference's tables */
    assert_form(DLX_FORM_NFKD, "\u1E9B\u0323\u00BC",
                "s\u0323\u0307"
                "1\u2044"
                "4");
    assert_int_equal(dlx_lower_case('A'), 'a');
    assert_int_equal(dlx_lower_case(0x3A3), 0x3C3);
    assert_int_equal(dlx_lower_case(0xA7CB), 0x264);
    assert_int_equal(dlx_lower_case(0x10D65), 0x10D85);
    assert_int_equal(dlx_lower_case(0xA7CD), 0xA7CD);
}

typedef struct pieces {
    const char *const *expected;
    size_t i;
} pieces;

static void check_piece(void *arg, const char *text, size_t n)
{
    pieces *p = arg;
    const char *expected = p->expected[p->i++];
    if (!expected || strlen(expected) != n || memcmp(text, expected, n) != 0)
        fail_msg("piece %zu is '%.*s', expected '%s'", p->i, (int)n, text, expected ? expected : "(none)");
}

static void check_split(const dlx_tokenizer *t, const char *text, const char *const *expected)
{
    dlx_pattern *patterns[DLX_MAX_STEPS] = {NULL};
    pieces p = {.expected = expected};
    dlx_error e = {0};
    dlx_splitter s = {.t = t, .patterns = patterns, .piece = check_piece, .arg = &p, .err = &e};
    assert_int_equal(dlx_steps_check(t->steps, t->n_steps, &e), DLX_OK);
    assert_ok(dlx_search_create(&s.search, err));
    for (uint32_t i = 0; i < t->n_steps; i++) {
        size_t n;
        bool regex;
        const char *pattern = dlx_step_pattern(&t->steps[i], &n, &regex);
        if (pattern) assert_ok(dlx_pattern_create(&patterns[i], pattern, n, regex, err));
    }
    assert_int_equal(dlx_split_text(&s, text, strlen(text)), DLX_OK);
    if (p.expected[p.i]) fail_msg("'%s': '%s' is missing", text, p.expected[p.i]);
    for (uint32_t i = 0; i < t->n_steps; i++) dlx_pattern_free(patterns[i]);
    dlx_search_free(s.search);
}

static void test_splits(void **state)
{
    (void)state;
    static const char *const cases[][12] = {
        {"Hello world", "Hello", " world"},
        {"  Hello", " ", " Hello"},
        {"I'LL don't", "I", "'LL", " don", "'t"},
        {"12345 3.14", "1", "2", "3", "4", "5", " ", "3", ".", "1", "4"},
        {" \t\n\r  x", " \t\n\r", " ", " x"},
        {"def f(x):\n    return", "def", " f", "(x", "):\n", "   ", " return"},
        {"a\u00BDb", "a", "\u00BD", "b"},
        {"\u0301abc", "\u0301abc"},   /* a lone mark is the prefix of letters */
        {"x'\u017F", "x", "'\u017F"}, /* long s folds to s */
        {"\u4E2D\u6587\u3002\n\n x", "\u4E2D\u6587", "\u3002\n\n", " x"},
        {"a\u200Bb", "a",
         "\u200B"
         "b"},                              /* U+200B is no space, but a prefix */
        {"a\u180E b", "a", "\u180E", " b"}, /* nor is U+180E */
        {"a\u3000\u3000b", "a", "\u3000",
         "\u3000"
         "b"},
        {"...\r\n", "...\r\n"},
        {"tail  ", "tail", "  "},
        {"\n\n\n", "\n\n\n"},
        {"a\n \n  b", "a", "\n \n", " ", " b"},
    };
    for (uint32_t which = DLX_PUBLISHED_QWEN2; which <= DLX_PUBLISHED_LLADA; which++) {
        dlx_tokenizer t = {0};
        t.steps = dlx_steps_published(which, true, &t.n_steps);
        assert_int_equal(t.n_steps, 3);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check_split(&t, cases[i][0], cases[i] + 1);
    }
}

#define SPLIT(behavior, more, pattern)                                                                                 \
    {                                                                                                                  \
        .kind = DLX_STEP_SPLIT, .flags = (uint8_t)((behavior)*DLX_SPLIT_BEHAVIOR | (more)), .text = (pattern),         \
        .n_text = sizeof(pattern) - 1                                                                                  \
    }

static void test_behaviors(void **state)
{
    (void)state;
    enum { REGEX = DLX_PATTERN_REGEX, INVERT = DLX_SPLIT_INVERT };
    static const struct {
        dlx_text_step step;
        uint8_t bytes;
        const char *text, *expected[9];
    } cases[] = {
        {SPLIT(DLX_ISOLATED, 0, "-"), 0, "the-final--cut", {"the", "-", "final", "-", "-", "cut"}},
        {SPLIT(DLX_REMOVED, 0, "-"), 0, "the-final--cut", {"the", "final", "cut"}},
        {SPLIT(DLX_MERGED_WITH_PREVIOUS, 0, "-"), 0, "the-final--cut", {"the-", "final-", "-", "cut"}},
        {SPLIT(DLX_MERGED_WITH_NEXT, 0, "-"), 0, "the-final--cut", {"the", "-final", "-", "-cut"}},
        {SPLIT(DLX_CONTIGUOUS, 0, "-"), 0, "the-final--cut", {"the", "-", "final", "--", "cut"}},
        {SPLIT(DLX_REMOVED, REGEX | INVERT, "[a-z]+"), 0, "the-final--cut", {"the", "final", "cut"}},
        {SPLIT(DLX_ISOLATED, 0, "."), 0, "a.b", {"a", ".", "b"}}, /* a word stands for itself */
        {SPLIT(DLX_ISOLATED, REGEX, "\\p{N}{1,3}"), DLX_BYTES_REGEX, "x 12345", {"x", " ", "123", "45"}},
        {{.kind = DLX_STEP_DIGITS}, DLX_BYTES_PREFIX, "a12 b", {" a", " 12", " b"}},
        {{.kind = DLX_STEP_DIGITS, .flags = DLX_DIGITS_SINGLE}, 0, "a12", {"a", "1", "2"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlx_text_step steps[] = {cases[i].step, {.kind = DLX_STEP_BYTE_LEVEL, .flags = cases[i].bytes}};
        dlx_tokenizer t = {.steps = steps, .n_steps = 2};
        check_split(&t, cases[i].text, cases[i].expected);
    }
}

/* What PCRE2 and Oniguruma might read differently, or what could run for ever. */
static void test_refused_patterns(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a**", "a quantifier of a quantifier at byte 2"},
        {"(a+)+", "a repetition inside a repetition at byte 4"},
        {"(?:a|b*c){2}", "a repetition inside a repetition"},
        {"^a", "an anchor at byte 0"},
        {"a$", "an anchor at byte 1"},
        {"\\w+", "an escape that is none of"},
        {"(a)\\1", "an escape that is none of"},
        {"a\\b", "an escape that is none of"},
        {"\\p{Han}", "a property other than a general category"},
        {"\\p{L", "a property other than"},
        {"[a[b]]", "a set inside a set"},
        {"[a-z&&[^x]]", "a set inside a set"},
        {"[a", "a set without an end"},
        {"[]a]", "a set without members"},
        {"[z-a]", "a range whose end lies before its start"},
        {"[\\s-z]", "a range that begins with a class"},
        {"(?<=a)b", "a group other than"},
        {"(?i)a", "a group other than"},
        {"(a", "a group without an end"},
        {"a)", "a parenthesis that closes nothing"},
        {"+a", "a quantifier with nothing before it"},
        {"a{2,1}", "a count other than"},
        {"a{1000}", "a count other than"},
        {"a{2}+", "a quantifier of a quantifier"},
        {"(?i:st)", "two letters that have a ligature where case does not count"},
        {"(?i:\u00E9)", "a letter beyond ASCII where case does not count"},
        {"(?i:\\p{Lu})", "a class where case does not count"},
        {"a*", "matches no text at all"},
        {"a\\", "a backslash without a character"},
        {"\\u12", "an escape that is none of"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlx_pattern *p;
        dlx_error e = {0};
        assert_int_equal(dlx_pattern_create(&p, cases[i][0], strlen(cases[i][0]), true, &e), DLX_E_UNSUPPORTED);
        assert_null(p);
        if (!strstr(e.message, cases[i][1])) fail_msg("'%s': %s", cases[i][0], e.message);
    }
}

/* Backtracking that the rules above let through ends after a while, with a sentence. */
static void test_slow_pattern(void **state)
{
    (void)state;
    static const char pattern[] = "\\p{L}*\\p{L}*\\p{L}*\\p{L}*\\p{L}*\\p{L}*\\p{L}*\\p{L}*1";
    char text[400];
    dlx_pattern *p;
    dlx_search *s;
    dlx_error e = {0};
    size_t start, end;
    memset(text, 'a', sizeof text);
    text[0] = '1'; /* so that no quick look for a digit ends it */
    text[399] = '2';
    assert_ok(dlx_pattern_create(&p, pattern, sizeof pattern - 1, true, err));
    assert_ok(dlx_search_create(&s, err));
    dlx_status status = dlx_pattern_find(p, s, text, sizeof text, 1, &start, &end, &e);
    assert_true(status == DLX_E_LIMIT ? strstr(e.message, "too many steps") != NULL : start == sizeof text);
    dlx_search_free(s);
    dlx_pattern_free(p);
}

/* The definition: of all neighbours that have a merge, the one of lowest rank, leftmost among equals. */
static size_t merge_slowly(const dlx_tokenizer *t, const char *text, size_t n, int32_t *ids)
{
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)t->byte_id[(unsigned char)text[i]];
    for (;;) {
        size_t place = 0;
        uint32_t rank = UINT32_MAX, merged = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            for (uint32_t m = t->n_merges; m-- > 0;) { /* of equal pairs the last one counts */
                if (t->merges[m].left != (uint32_t)ids[i] || t->merges[m].right != (uint32_t)ids[i + 1]) continue;
                if (m < rank) {
                    rank = m;
                    place = i;
                    merged = t->merges[m].merged;
                }
                break;
            }
        }
        if (rank == UINT32_MAX) return n;
        ids[place] = (int32_t)merged;
        memmove(ids + place + 1, ids + place + 2, (n - place - 2) * sizeof *ids);
        n--;
    }
}

static void test_merging_against_definition(void **state)
{
    (void)state;
    uint64_t random = 3;
    dlx_tokenizer *t = open_family("dream");
    static const char letters[] = "etaoinshr th  nd";
    for (int round = 0; round < 400; round++) {
        char text[40];
        int32_t expected[40];
        size_t n = 1 + next_random(&random) % sizeof text;
        for (size_t i = 0; i < n; i++) text[i] = letters[next_random(&random) % (sizeof letters - 1)];
        size_t count = merge_slowly(t, text, n, expected);
        dlx_bpe b = {.tokenizer = t};
        dlx_bpe_encode(&b, text, n);
        assert_false(b.failed);
        if (b.n_ids != count || memcmp(b.ids, expected, count * sizeof *expected) != 0) {
            show_ids("got", b.ids, b.n_ids);
            show_ids("expected", expected, count);
            fail_msg("'%.*s'", (int)n, text);
        }
        free(b.ids);
        dlx_bpe_free_scratch(&b);
    }
    dlx_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_round_trip),    cmocka_unit_test(test_utf8_replacement),
        cmocka_unit_test(test_bytelevel_alphabet), cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_other_forms),        cmocka_unit_test(test_splits),
        cmocka_unit_test(test_behaviors),          cmocka_unit_test(test_refused_patterns),
        cmocka_unit_test(test_slow_pattern),       cmocka_unit_test(test_merging_against_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
