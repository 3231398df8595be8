/*
 * Calibration data: what is masked of it and how much, what the lines of a file become, what is refused, and samples
 * that a model writes itself.
 */
#include "fail_fixture.h"

#include <math.h>

#include "base/half.h"
#include "base/sizes.h"
#include "calibrate/samples_generate.h"

typedef struct fixture {
    dlx_checkpoint c;
    dlx_tokenizer *t;
    dlx_samples s;
} fixture;

static fixture open_fixture(const char *family)
{
    fixture f = {.t = NULL};
    char folder[1024];
    checkpoint_of(folder, family);
    CHECK(dlx_checkpoint_open(&f.c, folder, NULL, err));
    CHECK(dlx_tokenizer_open_folder(&f.t, folder, err));
    return f;
}

static void close_fixture(fixture *f)
{
    dlx_samples_free(&f->s);
    dlx_tokenizer_close(f->t);
    dlx_checkpoint_close(&f->c);
}

/* ---- masks ------------------------------------------------------------------------------------------------------ */

enum { LONG = 256, PROMPT = 37, MANY = 200 };

/* Ids that are no mask, different at every place. */
static void make_ids(const fixture *f, int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)((i * 7 + 3) % 1000);
        if (ids[i] == f->c.facts.mask_id) ids[i]++;
    }
}

static void make_many_in(fixture *f, size_t n, size_t answer, uint64_t seed, int32_t canvas)
{
    int32_t ids[LONG];
    dlx_samples_options o = {.count = MANY, .length = LONG, .seed = seed, .canvas = canvas};
    if (f->c.shape.max_positions < o.length) o.length = f->c.shape.max_positions;
    make_ids(f, ids, n);
    dlx_samples_free(&f->s);
    CHECK(dlx_samples_begin(&f->s, &f->c, MANY, err));
    for (int i = 0; i < MANY; i++) CHECK(dlx_samples_add(&f->s, &f->c, &o, ids, n, answer, err));
}

static void make_many(fixture *f, size_t n, size_t answer, uint64_t seed)
{
    make_many_in(f, n, answer, seed, 0);
}

/* Counts masks of [begin, end); what is not masked is what it was, or what fills a block up. */
static size_t masks_of(const fixture *f, const dlx_sample *s, int32_t begin, int32_t end, size_t n)
{
    int32_t ids[LONG];
    size_t masks = 0;
    make_ids(f, ids, LONG);
    for (int32_t p = begin; p < end; p++) {
        masks += s->ids[p] == f->c.facts.mask_id;
        if (s->ids[p] != f->c.facts.mask_id && (size_t)p < n) assert_int_equal(s->ids[p], ids[p]);
        if (s->ids[p] != f->c.facts.mask_id && (size_t)p >= n) assert_int_equal(s->ids[p], f->c.facts.stop_ids[0]);
    }
    return masks;
}

static void whole_answers_are_masked_at_twenty_levels(void **state)
{
    (void)state;
    const size_t n = 121;
    for (int k = 0; k < 2; k++) {
        fixture f = open_fixture(families[k]);
        double share[DLX_MASK_LEVELS] = {0};
        assert_int_equal(f.c.facts.attn_block, 0);
        make_many(&f, n, PROMPT, 1);
        assert_int_equal(f.s.n, MANY);
        assert_int_equal(f.s.rows, MANY * n);
        assert_int_equal(f.s.longest, n);
        for (size_t i = 0; i < MANY; i++) {
            const dlx_sample *s = &f.s.list[i];
            assert_int_equal(s->n, n);
            assert_int_equal(s->answer, PROMPT);
            assert_int_equal(masks_of(&f, s, 0, PROMPT, n), 0);
            size_t masks = masks_of(&f, s, PROMPT, (int32_t)n, n);
            assert_true(masks > 0);
            share[i % DLX_MASK_LEVELS] += (double)masks / (double)(n - PROMPT) / (MANY / DLX_MASK_LEVELS);
        }
        for (int level = 0; level < DLX_MASK_LEVELS; level++) {
            double t = (level + 0.5) / DLX_MASK_LEVELS;
            assert_true(fabs(share[level] - t) < 0.06); /* about three deviations of 840 draws */
        }
        close_fixture(&f);
    }
}

static void one_block_is_masked_and_ends_the_sample(void **state)
{
    (void)state;
    const size_t n = 122;
    fixture f = open_fixture("sdar");
    const int32_t width = f.c.facts.attn_block;
    size_t ends[LONG] = {0}, distinct = 0, masks_in_all = 0;
    assert_int_equal(width, 4);
    make_many(&f, n, PROMPT, 1);
    for (size_t i = 0; i < MANY; i++) {
        const dlx_sample *s = &f.s.list[i];
        int32_t begin = (s->n - 1) / width * width;
        assert_int_equal(s->n % width, 0);
        assert_true(s->n > PROMPT && s->n <= 124);
        if (begin < PROMPT) begin = PROMPT;
        assert_int_equal(masks_of(&f, s, 0, begin, n), 0);
        size_t masks = masks_of(&f, s, begin, s->n, n);
        assert_true(masks > 0);
        masks_in_all += masks;
        distinct += !ends[s->n]++;
    }
    assert_true(distinct > 15); /* of 22 blocks */
    assert_true(masks_in_all > MANY && masks_in_all < 4 * MANY);
    close_fixture(&f);
}

static void blocks_within_blocks(void **state)
{
    (void)state;
    const size_t n = 122;
    fixture f = open_fixture("fast_dllm_v2");
    const int32_t width = f.c.facts.attn_block, inner = f.c.facts.small_block_size;
    size_t partly = 0, firsts[8] = {0};
    assert_true(width > inner && inner > 1 && width / inner <= 8);
    make_many(&f, n, PROMPT, 1);
    for (size_t i = 0; i < MANY; i++) {
        const dlx_sample *s = &f.s.list[i];
        int32_t begin = (s->n - 1) / width * width, first = -1;
        if (begin < PROMPT) begin = PROMPT;
        assert_int_equal(masks_of(&f, s, 0, begin, n), 0);
        for (int32_t p = s->n - 1; p >= begin; p--)
            if (s->ids[p] == f.c.facts.mask_id) first = p;
        assert_true(first >= begin);
        int32_t end = (first / inner + 1) * inner;
        size_t masks = masks_of(&f, s, first, end, n);
        partly += masks < (size_t)(end - first);
        firsts[first % width / inner]++;
        assert_int_equal(masks_of(&f, s, end, s->n, n), s->n - end); /* what comes later is all masks */
    }
    assert_true(partly > 50);
    for (int k = 0; k < width / inner; k++) assert_true(firsts[k] > 10);
    close_fixture(&f);
}

/* Each level of masks with a long canvas and without, whose masks are as many as those of the answer. */
static void canvases_are_as_long_as_decoders_make_them(void **state)
{
    (void)state;
    const size_t n = 60;
    const int32_t canvas = 50;
    fixture f = open_fixture("llada");
    size_t with[DLX_MASK_LEVELS] = {0}, without[DLX_MASK_LEVELS] = {0};
    make_many_in(&f, n, PROMPT, 1, canvas);
    for (size_t i = 0; i < MANY; i++) {
        const dlx_sample *s = &f.s.list[i];
        size_t level = i % DLX_MASK_LEVELS, behind = masks_of(&f, s, (int32_t)n, s->n, n);
        assert_int_equal(masks_of(&f, s, 0, PROMPT, n), 0);
        *(s->n > (int32_t)n ? &with[level] : &without[level]) += 1;
        if (s->n == (int32_t)n) continue;
        assert_int_equal(s->n, PROMPT + canvas);
        if (level == 0) assert_true(behind < 8);
        if (level == DLX_MASK_LEVELS - 1) assert_true(behind > 18);
    }
    for (int k = 0; k < DLX_MASK_LEVELS; k++) assert_true(with[k] == without[k]);
    make_many_in(&f, n, PROMPT, 1, LONG); /* not beyond the length */
    assert_int_equal(f.s.longest, f.c.shape.max_positions < LONG ? f.c.shape.max_positions : LONG);
    make_many_in(&f, n, PROMPT, 1, 10); /* answers are longer */
    assert_int_equal(f.s.longest, n);
    make_many_in(&f, n, 0, 1, canvas + 30); /* there is no prompt */
    assert_int_equal(f.s.longest, n);
    close_fixture(&f);
    f = open_fixture("sdar");
    make_many_in(&f, n, PROMPT, 1, canvas); /* blocks behind are not there */
    assert_true(f.s.longest <= (int32_t)n);
    close_fixture(&f);
}

static void samples_follow_from_their_seed(void **state)
{
    (void)state;
    for (int k = 0; k < FAMILIES; k++) {
        fixture f = open_fixture(families[k]);
        uint64_t print[3];
        for (int i = 0; i < 3; i++) {
            make_many(&f, 120, PROMPT, i == 2 ? 8 : 7);
            print[i] = dlx_samples_fingerprint(&f.s);
        }
        assert_true(print[0] == print[1]);
        assert_true(print[0] != print[2]);
        f.s.list[3].ids[5]++;
        assert_true(dlx_samples_fingerprint(&f.s) != print[2]);
        close_fixture(&f);
    }
}

static void what_is_too_long_is_cut(void **state)
{
    (void)state;
    fixture f = open_fixture("llada");
    int32_t ids[LONG];
    bool front = false, back = false;
    dlx_samples_options o = {.length = 64};
    make_ids(&f, ids, LONG);
    CHECK(dlx_samples_begin(&f.s, &f.c, 40, err));
    /* A text: some piece. */
    for (int i = 0; i < 30; i++) {
        CHECK(dlx_samples_add(&f.s, &f.c, &o, ids, 200, 0, err));
        const dlx_sample *s = &f.s.list[i];
        int32_t p = 0;
        assert_int_equal(s->n, 64);
        while (p < s->n && s->ids[p] == f.c.facts.mask_id) p++;
        if (p == s->n) continue;
        int32_t first = -p; /* where the piece begins */
        while (ids[first + p] != s->ids[p]) first++;
        front = front || first < 60;
        back = back || first > 80;
        for (; p < s->n; p++) assert_true(s->ids[p] == f.c.facts.mask_id || s->ids[p] == ids[first + p]);
    }
    assert_true(front && back);
    /* A prompt that leaves room for half an answer keeps its end. */
    CHECK(dlx_samples_add(&f.s, &f.c, &o, ids, 200, 150, err));
    assert_int_equal(f.s.list[30].n, 64);
    assert_int_equal(f.s.list[30].answer, 32);
    for (int p = 0; p < 32; p++) assert_int_equal(f.s.list[30].ids[p], ids[150 - 32 + p]);
    /* A short answer keeps more of the prompt. */
    CHECK(dlx_samples_add(&f.s, &f.c, &o, ids, 155, 150, err));
    assert_int_equal(f.s.list[31].n, 64);
    assert_int_equal(f.s.list[31].answer, 59);
    /* A long answer loses its end. */
    CHECK(dlx_samples_add(&f.s, &f.c, &o, ids, 200, 10, err));
    assert_int_equal(f.s.list[32].n, 64);
    assert_int_equal(f.s.list[32].answer, 10);
    assert_int_equal(f.s.list[32].ids[9], ids[9]);
    close_fixture(&f);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static dlx_status read_bytes(fixture *f, const char *bytes, size_t n, size_t count, bool tokenizer, dlx_error *err)
{
    copy c = new_folder();
    char path[1024];
    path_in(path, c.folder, "calibration.jsonl");
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    dlx_samples_options o = {.count = count, .length = 60, .seed = 3};
    dlx_samples_free(&f->s);
    dlx_status s = dlx_samples_read(&f->s, path, &f->c, tokenizer ? f->t : NULL, &o, err);
    remove_copy(&c);
    return s;
}

static dlx_status read_text(fixture *f, const char *text, size_t count, bool tokenizer, dlx_error *err)
{
    return read_bytes(f, text, strlen(text), count, tokenizer, err);
}

/* Sample i is `prompt`, unmasked, and behind it `answer` where it is not masked. */
static void assert_sample(const fixture *f, size_t i, const int32_t *ids, size_t n, size_t answer)
{
    const dlx_sample *s = &f->s.list[i];
    assert_int_equal(s->answer, answer);
    assert_true(f->c.facts.attn_block ? (size_t)s->n > answer : (size_t)s->n == n);
    for (int32_t p = 0; p < s->n && (size_t)p < n; p++)
        if (s->ids[p] != ids[p]) {
            assert_int_equal(s->ids[p], f->c.facts.mask_id);
            assert_true((size_t)p >= answer);
        }
}

static void lines_become_samples(void **state)
{
    static const char text[] = "{\"text\": \"The quick brown fox\", \"source\": \"a book\"}\n"
                               "\n"
                               "{\"prompt\": \"2+2=\", \"answer\": \"4, of course\"}\r\n"
                               "  {\"messages\": [{\"role\": \"user\", \"content\": \"Hi <|im_end|>\"}, {\"role\": "
                               "\"assistant\", \"content\": \"Good day\"}]}\n"
                               "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"answer\": \"Hello\"}\n"
                               "{\"ids\": [5, 6, 7, 8, 9], \"answer_start\": 3}\n"
                               "{\"ids\": [5, 6, 7, 8, 9]}";
    static const char asked[] = "[{\"role\": \"user\", \"content\": \"Hi <|im_end|>\"}]",
                      whole[] = "[{\"role\": \"user\", \"content\": \"Hi <|im_end|>\"}, {\"role\": \"assistant\", "
                                "\"content\": \"Good day\"}]",
                      hi[] = "[{\"role\": \"user\", \"content\": \"Hi\"}]";
    (void)state;
    for (int k = 0; k < FAMILIES; k++) {
        fixture f = open_fixture(families[k]);
        int32_t *a, *b, given[] = {5, 6, 7, 8, 9}, ids[200];
        size_t n, m;
        dlx_chat_options ask = {.struct_size = sizeof ask, .add_generation_prompt = true},
                         tell = {.struct_size = sizeof tell};
        CHECK(read_text(&f, text, 6, true, err));
        assert_int_equal(f.s.n, 6);
        CHECK(dlx_tokenizer_encode(f.t, "The quick brown fox", 19, DLX_ENCODE_AROUND, &a, &n, err));
        assert_sample(&f, 0, a, n, 0);
        dlx_free(a);
        CHECK(dlx_tokenizer_encode(f.t, "2+2=", 4, DLX_ENCODE_AROUND, &a, &n, err));
        CHECK(dlx_tokenizer_encode(f.t, "4, of course", 12, DLX_ENCODE_PLAIN, &b, &m, err));
        memcpy(ids, a, n * sizeof *a);
        memcpy(ids + n, b, m * sizeof *b);
        ids[n + m] = f.c.facts.stop_ids[0];
        assert_sample(&f, 1, ids, n + m + 1, n);
        dlx_free(a), dlx_free(b);
        CHECK(dlx_chat_encode_json(f.t, asked, strlen(asked), &ask, &a, &n, err));
        CHECK(dlx_chat_encode_json(f.t, whole, strlen(whole), &tell, &b, &m, err));
        assert_true(m > n && !memcmp(a, b, n * sizeof *a));
        assert_sample(&f, 2, b, m, n);
        dlx_free(a), dlx_free(b);
        CHECK(dlx_chat_encode_json(f.t, hi, strlen(hi), &ask, &a, &n, err));
        CHECK(dlx_tokenizer_encode(f.t, "Hello", 5, DLX_ENCODE_PLAIN, &b, &m, err));
        memcpy(ids, a, n * sizeof *a);
        memcpy(ids + n, b, m * sizeof *b);
        ids[n + m] = f.c.facts.stop_ids[0];
        assert_sample(&f, 3, ids, n + m + 1, n);
        dlx_free(a), dlx_free(b);
        assert_sample(&f, 4, given, 5, 3);
        assert_sample(&f, 5, given, 5, 0);
        close_fixture(&f);
    }
}

static void lines_are_spread_over_the_file_or_used_again(void **state)
{
    static const int32_t spread[] = {0, 2, 5, 7}, again[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1};
    (void)state;
    fixture f = open_fixture("llada");
    char text[600] = "";
    for (int i = 0; i < 10; i++)
        snprintf(text + strlen(text), 60, "{\"ids\": [%d, 1, 2, 3], \"answer_start\": 1}\n", i);
    CHECK(read_text(&f, text, 4, false, err));
    for (size_t i = 0; i < 4; i++) assert_int_equal(f.s.list[i].ids[0], spread[i]);
    CHECK(read_text(&f, text, 12, false, err));
    for (size_t i = 0; i < 12; i++) assert_int_equal(f.s.list[i].ids[0], again[i]);
    close_fixture(&f);
}

static const struct {
    const char *line, *words;
    bool without_tokenizer;
} bad[] = {
    {"{\"text\": ", "calibration.jsonl', line 2 is not valid JSON: column 8: ", false},
    {"{\"text\": \"a\" b}", "calibration.jsonl', line 2 is not valid JSON: column 14: '}' expected near 'b'", false},
    {"{\"text\": \"a\\u0000\"}", ": \\u0000 is a NUL, which no text here may hold", false},
    {"{\"ids\": [NaN]}", ": JSON has no NaN and no infinities", false},
    {"{\"ids\": [-Infinity]}", ": JSON has no NaN and no infinities", false},
    {"[1]", "line 2: it is no JSON object", false},
    {"{\"question\": \"?\"}", "line 2: it has none of \"text\"", false},
    {"{\"text\": 5}", "is no text", false},
    {"{\"text\": \"\"}", "nothing in it that could be masked", false},
    {"{\"prompt\": \"a\"}", "\"answer\" is no text", false},
    {"{\"prompt\": 1, \"answer\": \"b\"}", "is no text", false},
    {"{\"messages\": {}}", "\"messages\" are no list", false},
    {"{\"messages\": []}", "it has no answer", false},
    {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}", "it has no answer", false},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"user\", \"content\": \"a\"}]}",
     "it has no answer", false},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"answer\": \"b\", \"tools\": 1}",
     "\"tools\" are no list", false},
    {"{\"ids\": 4}", "\"ids\" are no list", false},
    {"{\"ids\": [4, -1]}", "line 2: entry 2 of its \"ids\" is -1; expected token ids of this model, 0 to 1226", false},
    {"{\"ids\": [4, 100000000000]}", "entry 2 of its \"ids\" is 100000000000; expected", false},
    {"{\"ids\": [4, 1.5]}", "entry 2 of its \"ids\" is a real number; expected", false},
    {"{\"ids\": [4, 5, 1227]}", "entry 3 of its \"ids\" is 1227; expected token ids of this model, 0 to 1226", false},
    {"{\"ids\": [4, 5, 1280]}", "is 1280; expected token ids of this model, 0 to 1279", true},
    {"{\"ids\": [1226, 1226]}", "line 2: what could be masked in it consists of mask tokens", false},
    {"{\"ids\": [4, 1226], \"answer_start\": 1}", "what could be masked in it consists of mask tokens", false},
    {"{\"messages\": [{\"role\": 5, \"content\": \"a\"}], \"answer\": \"b\"}", "calibration.jsonl', line 2: ", false},
    {"{\"ids\": [4, 5], \"answer_start\": 3}", "\"answer_start\" is no place", false},
    {"{\"ids\": [4, 5], \"answer_start\": 2}", "nothing in it that could be masked", false},
    {"{\"ids\": [4, 5], \"answer_start\": -1}", "\"answer_start\" is no place", false},
    {"{\"text\": \"a\"}", "needs a tokenizer", true},
    {"{\"text\": \"a\", \"ids\": [4]}",
     "line 2: it has \"text\" and \"ids\", which contradict each other; leave one of them out", false},
    {"{\"messages\": [], \"prompt\": \"a\", \"answer\": \"b\"}", "it has \"prompt\" and \"messages\"", false},
    {"{\"text\": \"a\", \"messages\": []}", "it has \"text\" and \"messages\"", false},
    {"{\"text\": \"a\", \"prompt\": \"a\", \"answer\": \"b\"}", "it has \"text\" and \"prompt\"", false},
    {"{\"text\": \"a\", \"answer\": \"b\"}", "it has \"text\" and \"answer\"", false},
    {"{\"text\": \"a\", \"tools\": []}", "it has \"text\" and \"tools\"", false},
    {"{\"text\": \"a\", \"answer_start\": 1}", "it has \"text\" and \"answer_start\"", false},
    {"{\"ids\": [4], \"prompt\": \"a\"}", "it has \"ids\" and \"prompt\"", false},
    {"{\"ids\": [4], \"messages\": []}", "it has \"ids\" and \"messages\"", false},
    {"{\"ids\": [4], \"answer\": \"b\"}", "it has \"ids\" and \"answer\"", false},
    {"{\"ids\": [4], \"tools\": []}", "it has \"ids\" and \"tools\"", false},
    {"{\"prompt\": \"a\", \"answer\": \"b\", \"tools\": []}", "it has \"prompt\" and \"tools\"", false},
    {"{\"prompt\": \"a\", \"answer\": \"b\", \"answer_start\": 0}", "it has \"prompt\" and \"answer_start\"", false},
    {"{\"messages\": [], \"answer\": \"b\", \"answer_start\": 0}", "it has \"messages\" and \"answer_start\"", false},
    {"{\"messages\": [\"hello\"], \"answer\": \"b\"}", "each with a \"role\", a text", false},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"answer\": 1}", "its \"answer\" is no text", false},
    {"{\"ids\": [4, 1226, 5, 6], \"answer_start\": 3}",
     "line 2: entry 2 is the mask, 1226, in front of what may be masked; prompts are clean", false},
};

static void bad_lines_are_named(void **state)
{
    (void)state;
    fixture f = open_fixture("sdar");
    dlx_error problem;
    for (size_t i = 0; i < DLX_COUNT(bad); i++) {
        char text[400];
        snprintf(text, sizeof text, "\n%s\n", bad[i].line);
        assert_int_equal(read_text(&f, text, 1, !bad[i].without_tokenizer, &problem), DLX_E_FORMAT);
        if (!strstr(problem.message, bad[i].words) || !strstr(problem.message, "calibration.jsonl"))
            fail_msg("%s: %s", bad[i].line, problem.message);
        assert_int_equal(f.s.n, 0);
    }
    for (size_t i = 0; i < DLX_COUNT(bad); i++) { /* the same where no sample is made of the line */
        char text[400];
        if (bad[i].without_tokenizer) continue;
        snprintf(text, sizeof text, "{\"ids\": [4]}\n\n\n{\"ids\": [5]}\n\n%s\n", bad[i].line);
        assert_int_equal(read_text(&f, text, 1, true, &problem), DLX_E_FORMAT);
        if (!strstr(problem.message, ", line 6")) fail_msg("%s: %s", bad[i].line, problem.message);
    }
    CHECK(
        read_text(&f, "{\"text\": \"a b c\", \"ids\": null, \"source\": \"here\"}\n", 1, true, err)); /* as if absent */
    f.c.facts.mask_id = 9; /* a word that texts may have */
    CHECK(read_text(&f, "{\"ids\": [4]}\n", 1, true, err));
    assert_int_equal(read_text(&f, "{\"prompt\": \"****\", \"answer\": \"b\"}\n", 1, true, &problem), DLX_E_FORMAT);
    assert_non_null(strstr(problem.message, "line 1: its token"));
    f.c.facts.mask_id = 1226;
    CHECK(read_text(&f, "{\"ids\": [4, 1226, 5]}\n{\"ids\": [4, 1226]}\n", 2, true, err)); /* masks among others */
    CHECK(read_text(&f, "{\"ids\": [4, 5, 1227]}\n", 1, false, err)); /* without a tokenizer nobody knows */
    static const char nuls[][40] = {"{\"text\": \"a\"}\n{\"text\": \"b\"}\0", "{\"text\": \"a\"}\n{\"text\": \"\0b\"}",
                                    "{\"text\": \"a\"}\n\0\n"};
    for (size_t i = 0; i < DLX_COUNT(nuls); i++) {
        size_t n = sizeof nuls[i];
        while (i && !nuls[i][n - 1]) n--;
        assert_int_equal(read_bytes(&f, nuls[i], n, 2, true, &problem), DLX_E_FORMAT);
        if (!strstr(problem.message, "calibration.jsonl', line 2") || !strstr(problem.message, "there is a NUL byte"))
            fail_msg("%s", problem.message);
    }
    assert_int_equal(read_text(&f, " \n\n", 1, true, &problem), DLX_E_FORMAT);
    assert_non_null(strstr(problem.message, "no line"));
    dlx_samples_options o = {.length = f.c.shape.max_positions + 1};
    assert_int_equal(dlx_samples_read(&f.s, "nowhere", &f.c, f.t, &o, &problem), DLX_E_INVALID);
    o.length = 1;
    assert_int_equal(dlx_samples_read(&f.s, "nowhere", &f.c, f.t, &o, &problem), DLX_E_INVALID);
    o = (dlx_samples_options){.count = (size_t)1 << 40};
    assert_int_equal(dlx_samples_read(&f.s, "nowhere", &f.c, f.t, &o, &problem), DLX_E_INVALID);
    o = (dlx_samples_options){0};
    assert_int_equal(dlx_samples_read(&f.s, "nowhere", &f.c, f.t, &o, &problem), DLX_E_IO);
    close_fixture(&f);
}

/* ---- what a model writes ---------------------------------------------------------------------------------------- */

static void generate(fixture *f, size_t count, bool tokenizer, uint64_t seed, int threads)
{
    dlx_pool *pool;
    CHECK(dlx_pool_create(&pool, threads, err));
    dlx_samples_options o = {.count = count, .length = 64, .seed = seed};
    dlx_layerwise_options run = {.limit = dlx_cpu_best_isa(), .pool = pool, .pass_rows = threads == 1 ? 100 : 0};
    dlx_samples_free(&f->s);
    CHECK(dlx_samples_generate(&f->s, &f->c, tokenizer ? f->t : NULL, &o, &run, err));
    dlx_pool_free(pool);
}

static void a_model_writes_its_own_samples(void **state)
{
    (void)state;
    const size_t count = DLX_SLOW ? 10 : 40;
    for (int k = 0; k < FAMILIES; k += DLX_SLOW ? 2 : 1) {
        fixture f = open_fixture(families[k]);
        uint64_t print[4];
        for (int i = 0; i < 4; i++) {
            generate(&f, count, i < 3, i == 2 ? 6 : 5, i == 1 ? 1 : 2);
            print[i] = dlx_samples_fingerprint(&f.s);
            assert_int_equal(f.s.n, count);
            for (size_t s = 0; s < f.s.n; s++)
                for (int32_t p = 0; p < f.s.list[s].n; p++)
                    assert_in_range(f.s.list[s].ids[p], 0, f.c.facts.vocab_size - 1);
        }
        assert_true(print[0] == print[1]);
        assert_true(print[0] != print[2]);
        assert_true(print[0] != print[3]);
        assert_int_equal(f.s.list[0].answer, 1); /* without a tokenizer there is one token to begin with */
        close_fixture(&f);
    }
}

/* A head that knows two words: h > 0 says the one, h < 0 the other, h the first number of a hidden state. */
static void two_words(const copy *c, int32_t one, int32_t other)
{
    dlx_arena arena;
    dlx_safetensors st;
    char path[1024];
    path_in(path, c->folder, "model.safetensors");
    dlx_arena_init(&arena);
    CHECK(dlx_safetensors_open(&st, &arena, path, err));
    take_tensors(&st, &arena);
    for (size_t i = 0; i < st.n_tensors; i++) {
        dlx_st_tensor *t = &st.tensors[i];
        if (strcmp(t->name, "lm_head.weight")) continue;
        assert_int_equal(t->dtype, DLX_BF16);
        uint16_t *w = (uint16_t *)(uintptr_t)t->data;
        memset(w, 0, (size_t)t->bytes);
        w[one * t->dim[1]] = dlx_f32_to_bf16(1e9f);
        w[other * t->dim[1]] = dlx_f32_to_bf16(-1e9f);
    }
    assert_int_equal(unlink(path), 0);
    CHECK(dlx_safetensors_write(path, st.tensors, st.n_tensors, err));
    dlx_safetensors_close(&st);
    dlx_arena_free(&arena);
}

static void it_writes_what_its_head_says(void **state)
{
    (void)state;
    copy c = copy_checkpoint(TINY("sdar"));
    two_words(&c, 11, 1100);
    fixture f = open_fixture("sdar");
    dlx_checkpoint_close(&f.c);
    CHECK(dlx_checkpoint_open(&f.c, c.folder, NULL, err));
    size_t count[2] = {0}, asked = 0, masks = 0;
    generate(&f, 40, true, 5, 2);
    for (size_t i = 0; i < f.s.n; i++) {
        const dlx_sample *s = &f.s.list[i];
        asked += s->answer > 5;
        for (int32_t p = s->answer; p < s->n; p++) {
            if (s->ids[p] == f.c.facts.mask_id) {
                masks++;
                continue;
            }
            assert_true(s->ids[p] == 11 || s->ids[p] == 1100);
            count[s->ids[p] == 11]++;
        }
    }
    assert_int_equal(asked, f.s.n); /* questions in the chat template */
    assert_true(count[0] > 20 && count[1] > 20 && masks >= f.s.n);
    close_fixture(&f);
    remove_copy(&c);
}

static bool never(void *ctx, uint64_t rows)
{
    (void)ctx;
    (void)rows;
    return false;
}

static void writing_can_be_cancelled_or_impossible(void **state)
{
    (void)state;
    fixture f = open_fixture("dream");
    dlx_pool *pool;
    dlx_error problem;
    CHECK(dlx_pool_create(&pool, 1, err));
    dlx_samples_options o = {.count = 2};
    dlx_layerwise_options run = {.pool = pool, .tick = never};
    assert_int_equal(dlx_samples_generate(&f.s, &f.c, f.t, &o, &run, &problem), DLX_E_CANCELLED);
    assert_int_equal(problem.status, DLX_E_CANCELLED);
    assert_non_null(strstr(problem.message, "cancelled"));
    assert_int_equal(f.s.n, 0);
    assert_int_equal(dlx_samples_generate(&f.s, &f.c, f.t, &o, &run, NULL), DLX_E_CANCELLED);
    run.tick = NULL;
    assert_int_equal(dlx_samples_generate(&f.s, &f.c, f.t, &o, &run, NULL), DLX_OK);
    assert_int_equal(f.s.n, 2);
    dlx_samples_free(&f.s);
    f.c.facts.mask_id = -1;
    assert_int_equal(dlx_samples_generate(&f.s, &f.c, f.t, &o, &run, &problem), DLX_E_UNSUPPORTED);
    assert_non_null(strstr(problem.message, "no mask token"));
    dlx_pool_free(pool);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_answers_are_masked_at_twenty_levels),
        cmocka_unit_test(one_block_is_masked_and_ends_the_sample),
        cmocka_unit_test(blocks_within_blocks),
        cmocka_unit_test(canvases_are_as_long_as_decoders_make_them),
        cmocka_unit_test(samples_follow_from_their_seed),
        cmocka_unit_test(what_is_too_long_is_cut),
        cmocka_unit_test(lines_become_samples),
        cmocka_unit_test(lines_are_spread_over_the_file_or_used_again),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(a_model_writes_its_own_samples),
        cmocka_unit_test(it_writes_what_its_head_says),
        cmocka_unit_test(writing_can_be_cancelled_or_impossible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
