/*
 * What a constraint costs: building it, its memory, and what it adds to a pass of one block.
 *
 *   bench_constraint [--tokenizer FOLDER|FILE.pte] [--model FILE.pte] [--vocab N] [--block N] [--rounds N]
 *
 * The defaults: a made-up vocabulary of 151936 tokens, a block of 32, 15 rounds. A pass is everything that the decoder
 * does in one but the model call: choosing tokens from rows of random logits, without a constraint and with each of
 * them, in turns; medians. With a model it is the whole pass, of that model, and its block.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/sizes.h"
#include "constrain/full/schema.h"
#include "constrain/grammar.h"
#include "constrain/regex.h"
#include "constrain/tokens.h"
#include "diffulex_edge/diffulex_edge.h"

enum { MOST_ROUNDS = 101, PROMPT = 32, ANSWER = 512, MASK = 0, STOP = 1 };

static const char json_grammar[] =
    "root ::= object\n"
    "value ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n"
    "object ::= \"{\" ws (member (\",\" ws member)*)? \"}\" ws\n"
    "member ::= string \":\" ws value\n"
    "array ::= \"[\" ws (value (\",\" ws value)*)? \"]\" ws\n"
    "string ::= \"\\\"\" ([^\"\\\\\\x00-\\x1F\\x7F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" [0-9a-fA-F]{4}))* \"\\\"\" ws\n"
    "number ::= \"-\"? (\"0\" | [1-9] [0-9]{0,15}) (\".\" [0-9]+)? ([eE] [-+]? [0-9]{1,3})? ws\n"
    "ws ::= [ \\t\\n]*\n";

static const struct {
    const char *name, *regex, *schema, *grammar;
    int64_t depth;
} cases[] = {
    {"none", NULL, NULL, NULL, 0},
    {"regex of a date", "20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", NULL, NULL, 0},
    {"regex [^\\n]{1,200}", "[^\\n]{1,200}", NULL, NULL, 0},
    {"grammar of JSON, 3 deep", NULL, NULL, json_grammar, 3},
    {"grammar of JSON, 4 deep", NULL, NULL, json_grammar, 4},
    {"schema of 10 properties", NULL,
     "{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"integer\",\"minimum\":0},\"name\":{\"type\":\"string\"},"
     "\"email\":{\"type\":\"string\",\"pattern\":\"^[^@ ]+@[^@ "
     "]+$\"},\"born\":{\"type\":\"string\",\"format\":\"date\"},"
     "\"height\":{\"type\":\"number\",\"minimum\":0,\"maximum\":3},\"active\":{\"type\":\"boolean\"},"
     "\"role\":{\"enum\":[\"admin\",\"editor\",\"viewer\"]},\"tags\":{\"type\":\"array\",\"items\":{\"type\":"
     "\"string\"},"
     "\"maxItems\":5},\"address\":{\"type\":\"object\",\"properties\":{\"street\":{\"type\":\"string\"},\"city\":"
     "{\"type\":\"string\"},\"zip\":{\"type\":\"string\",\"pattern\":\"^[0-9]{5}$\"}},\"required\":[\"street\","
     "\"city\"]},"
     "\"comment\":{\"type\":\"string\",\"maxLength\":100}},\"required\":[\"id\",\"name\",\"email\",\"role\"]}",
     NULL, 0},
};
enum { CASES = DLX_COUNT(cases) };

static struct {
    dlx_tokenizer *tokenizer; /* NULL: made up */
    int32_t vocab;
    float *rows;
    dlx_model *model; /* NULL: rows are random */
    dlx_session *session;
    dlx_model_facts facts;
    double forward_ms, step_ms;
} world;

static void die(const char *what)
{
    fprintf(stderr, "bench_constraint: %s\n", what);
    exit(1);
}

static void check(dlx_status s, const dlx_error *err)
{
    if (s != DLX_OK) die(err->message);
}

static uint64_t next_random(void)
{
    static uint64_t z = 1;
    z = z * 6364136223846793005u + 1442695040888963407u;
    return z >> 33;
}

/* Bytes, digits, and words of one to ten letters, half of them with a blank in front, some with punctuation behind. */
static void make_vocabulary(dlx_vocabulary *v, int32_t n)
{
    uint32_t *offset = calloc((size_t)n + 1, sizeof *offset);
    uint8_t *bytes = malloc((size_t)n * 16), *usable = malloc((size_t)n);
    if (!offset || !bytes || !usable) die("out of memory");
    for (int32_t id = 0; id < n; id++) {
        uint32_t at = offset[id], length = id < 258 ? 1 : 1 + (uint32_t)(next_random() % 10);
        for (uint32_t i = 0; i < length; i++) {
            bool first = i == 0, last = i + 1 == length;
            uint64_t dice = next_random() % 16;
            bytes[at + i] = id < 258            ? (uint8_t)(id - 2)
                            : first && dice < 8 ? ' '
                            : last && dice < 2  ? (uint8_t) "\",:{}[].-0"[next_random() % 10]
                                                : (uint8_t)('a' + next_random() % 26);
        }
        offset[id + 1] = at + length;
        usable[id] = id != MASK && id != STOP;
    }
    *v = (dlx_vocabulary){.n = n, .offset = offset, .bytes = bytes, .usable = usable};
}

static dlx_constraint *make_over(const dlx_vocabulary *v, int k, dlx_error *err)
{
    dlx_arena arena, reading;
    dlx_machine machine;
    dlx_grammar g;
    const dlx_expr *e;
    dlx_constraint *c;
    const char *regex = cases[k].regex, *schema = cases[k].schema, *grammar = cases[k].grammar;
    int64_t depth = cases[k].depth;
    dlx_arena_init(&arena);
    dlx_arena_init(&reading);
    if (regex) {
        check(dlx_regex_parse(&e, &reading, regex, strlen(regex), false, err), err);
        check(dlx_machine_build(&machine, &arena, e, false, err), err);
    } else if (grammar) {
        check(dlx_gbnf_parse(&g, &reading, grammar, strlen(grammar), err), err);
        check(dlx_grammar_build(&machine, &arena, &g, &depth, err), err);
    } else {
        check(dlx_schema_build(&machine, &arena, schema, strlen(schema), 0, err), err);
    }
    dlx_arena_free(&reading);
    check(dlx_constraint_create(&c, &arena, &machine, v, (size_t)256 << 20, err), err);
    return c;
}

static dlx_constraint *make(int k)
{
    static dlx_vocabulary v;
    dlx_constraint *c;
    dlx_error err;
    const char *regex = cases[k].regex, *schema = cases[k].schema, *grammar = cases[k].grammar;
    const dlx_constraint_options o = {.struct_size = sizeof o, .max_depth = cases[k].depth};
    if (!regex && !schema && !grammar) return NULL;
    if (!world.tokenizer && !v.n) make_vocabulary(&v, world.vocab);
    double begin = dlx_clock_ms();
    if (!world.tokenizer)
        c = make_over(&v, k, &err);
    else if (regex)
        check(dlx_constraint_from_regex(&c, world.tokenizer, regex, strlen(regex), &o, &err), &err);
    else if (grammar)
        check(dlx_constraint_from_grammar(&c, world.tokenizer, grammar, strlen(grammar), &o, &err), &err);
    else
        check(dlx_constraint_from_schema(&c, world.tokenizer, schema, strlen(schema), &o, &err), &err);
    printf(" %9.1f", dlx_clock_ms() - begin);
    return c;
}

static dlx_status forward(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    (void)ctx;
    if (world.session) return dlx_session_forward(world.session, call, err);
    double begin = dlx_clock_ms();
    if (call->n_rows) memcpy(call->logits, world.rows, (size_t)call->n_rows * (size_t)world.vocab * sizeof(float));
    world.forward_ms += dlx_clock_ms() - begin;
    return DLX_OK;
}

/* The second step is measured: the first one is the prompt's as well. */
static bool two_steps(void *ctx, const dlx_step *step, const int32_t *ids, size_t n)
{
    (void)ids;
    (void)n;
    if (++*(int *)ctx == 1) {
        world.forward_ms = 0;
        return true;
    }
    world.step_ms = step->milliseconds;
    return false;
}

/* Milliseconds of a pass of a decode, without its model call unless there is a model. */
static double one_pass(const dlx_constraint *c, int32_t block, const char *temperature)
{
    int32_t prompt[PROMPT];
    char length[16];
    int steps = 0;
    dlx_decode_options *o;
    dlx_generation *g;
    dlx_error err;
    dlx_model_facts facts = {.struct_size = sizeof facts,
                             .family = DLX_FAMILY_SDAR,
                             .vocab_size = world.vocab,
                             .max_context = 2048,
                             .max_rows = 2048,
                             .mask_id = MASK,
                             .attn_block = block,
                             .block_length = block,
                             .bos_id = -1,
                             .eos_id = STOP,
                             .pad_id = -1,
                             .num_stop_ids = 1,
                             .stop_ids = {STOP}};
    if (world.model) {
        facts = world.facts; /* decoded by the algorithm that has a row for each mask of the block */
        facts.family = DLX_FAMILY_SDAR;
        facts.logits_shift = 0;
        dlx_session_close(world.session);
        check(dlx_session_open(&world.session, world.model, 0, 0, &err), &err);
    }
    for (int i = 0; i < PROMPT; i++) prompt[i] = 300 + i;
    snprintf(length, sizeof length, "%d", ANSWER);
    check(dlx_decode_options_create(&o, &err), &err);
    check(dlx_decode_options_set(o, "max_new_tokens", length, &err), &err);
    check(dlx_decode_options_set(o, "temperature", temperature, &err), &err);
    check(dlx_decode_options_set(o, "strategy", "low_confidence_static", &err), &err);
    check(dlx_decode_options_set_constraint(o, c, &err), &err);
    check(dlx_generate(&facts, forward, NULL, o, prompt, (size_t)(PROMPT / block * block), two_steps, &steps, &g, &err),
          &err);
    dlx_generation_free(g);
    dlx_decode_options_free(o);
    return world.step_ms - world.forward_ms;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void measure(dlx_constraint *const *constraints, int32_t block, int rounds)
{
    static const char *const temperatures[] = {"0", "1"};
    for (int t = 0; t < 2; t++) {
        static double ms[CASES][MOST_ROUNDS];
        for (int r = 0; r < rounds; r++)
            for (int k = 0; k < CASES; k++) ms[k][r] = one_pass(constraints[k], block, temperatures[t]);
        printf("temperature %s, ms a pass of %d rows, one of them known:", temperatures[t], block);
        for (int k = 0; k < CASES; k++) {
            qsort(ms[k], (size_t)rounds, sizeof **ms, ascending);
            printf("%s %s %.2f", k ? "," : "", cases[k].name, ms[k][rounds / 2]);
        }
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    const char *tokenizer = NULL, *model = NULL;
    int block = 32, rounds = 15;
    dlx_error err;
    world.vocab = 151936;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--tokenizer"))
            tokenizer = argv[i + 1];
        else if (!strcmp(argv[i], "--model"))
            model = argv[i + 1];
        else if (!strcmp(argv[i], "--vocab"))
            world.vocab = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--block"))
            block = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--rounds"))
            rounds = atoi(argv[i + 1]);
        else
            die("see the head of its source for options");
    }
    if (model) {
        check(dlx_model_open(&world.model, model, NULL, &err), &err);
        world.facts = *dlx_model_get_facts(world.model);
        world.vocab = world.facts.vocab_size;
        block = world.facts.block_length;
    }
    if (world.vocab < 1000 || block < 1 || block > PROMPT || rounds < 1 || rounds > MOST_ROUNDS)
        die("an option is out of range");
    if (tokenizer && dlx_tokenizer_open_pte(&world.tokenizer, tokenizer, &err) != DLX_OK)
        check(dlx_tokenizer_open_folder(&world.tokenizer, tokenizer, &err), &err);
    world.rows = malloc((size_t)block * (size_t)world.vocab * sizeof *world.rows);
    if (!world.rows) die("out of memory");
    for (size_t i = 0; i < (size_t)block * (size_t)world.vocab; i++)
        world.rows[i] = (float)((next_random() & 0xFFFF) + (next_random() & 0xFFFF)) / 8192.0f;
    dlx_constraint *constraints[CASES];
    printf("%-26s %9s %7s %7s %7s %9s %7s\n", "constraint", "build ms", "states", "classes", "sets", "tokens", "MB");
    for (int k = 0; k < CASES; k++) {
        dlx_constraint_info info = {.struct_size = sizeof info};
        if (k) printf("%-26s", cases[k].name);
        if (!(constraints[k] = make(k))) continue;
        check(dlx_constraint_get_info(constraints[k], &info, &err), &err);
        printf(" %7lld %7lld %7lld %9lld %7.1f\n", (long long)info.states, (long long)info.classes,
               (long long)info.sets, (long long)info.tokens, (double)info.bytes / 1048576.0);
    }
    measure(constraints, block, rounds);
    dlx_session_close(world.session);
    dlx_model_close(world.model);
    return 0;
}
