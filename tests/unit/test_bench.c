/*
 * Benches: what is counted for passes of tiny models, in which numbers of rows, what is refused, what is there when one
 * is stopped; and decodes that are reckoned from made-up passes, to the last millisecond. Nothing here depends on a
 * clock.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fail_fixture.h"
#include "shared_folder.h"

#include "api/bench.h"

static dlx_model *open_tiny(const char *family, const char *scheme)
{
    char checkpoint[1024], path[1024];
    dlx_model *m = NULL;
    dlx_error err = {0};
    dlx_model_options o = dlx_model_options_default();
    checkpoint_of(checkpoint, family);
    path_in(path, folder.folder, "tiny.pte");
    dlx_export_options e = tiny_export(checkpoint, path, false);
    e.quantization = scheme;
    o.threads = 2;
    if (dlx_export(&e, NULL, &err) != DLX_OK || dlx_model_open(&m, path, &o, &err) != DLX_OK)
        fail_msg("%s, %s: %s", family, scheme, err.message);
    return m;
}

static dlx_bench *run_bench(const dlx_model *m, const dlx_bench_options *o)
{
    dlx_bench *b;
    dlx_error err = {0};
    if (dlx_bench_run(&b, m, o, &err) != DLX_OK) fail_msg("%s", err.message);
    return b;
}

static dlx_bench_pass pass_of(const dlx_bench *b, size_t i)
{
    dlx_bench_pass p = {.struct_size = sizeof p};
    assert_true(dlx_bench_get_pass(b, i, &p));
    return p;
}

static dlx_bench_info info_of(const dlx_bench *b)
{
    dlx_bench_info info = {.struct_size = sizeof info};
    assert_true(dlx_bench_get_info(b, &info));
    return info;
}

/* ---- passes ----------------------------------------------------------------------------------------------------- */

/* Times that go together, and arithmetic that is that of so many rows. */
static void check_pass(const dlx_bench *b, size_t i, int32_t turns)
{
    dlx_bench_pass p = pass_of(b, i), one = pass_of(b, 0);
    assert_int_equal(p.rows, 1 << i);
    assert_int_equal(p.turns, turns);
    assert_true(p.least_ms > 0 && p.least_ms <= p.median_ms && p.median_ms <= p.most_ms && p.body_ms > 0);
    assert_true(p.bytes == one.bytes);
    assert_true(p.int8 == one.int8 * p.rows && p.int4 == one.int4 * p.rows);
    assert_true(p.float32 > 0);
}

static void passes_of_each_family_and_scheme(void **state)
{
    static const char *const schemes[] = {"none", "int8-dynamic", "int8-weight-only", "int4-g32", "bf16"};
    (void)state;
    for (size_t f = 0; f < FAMILIES; f++)
        for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++) {
            if (f && s > 1) continue; /* schemes know no families */
            dlx_model *m = open_tiny(families[f], schemes[s]);
            dlx_bench_options o = {.struct_size = sizeof o, .turns = 2, .kv_type = s ? "int8" : NULL};
            dlx_bench *b = run_bench(m, &o);
            dlx_bench_info info = info_of(b);
            assert_int_equal(info.context, TINY_CONTEXT / 2); /* half of the file's, which are whole blocks */
            assert_int_equal(info.passes, 6);                 /* 1 .. 32 rows: the rest of its positions */
            assert_int_equal(info.threads, 2);
            assert_int_equal(info.cancelled, 0);
            assert_string_equal(info.kernels, dlx_model_kernels(m));
            assert_true(info.prompt_ms > 0);
            for (size_t i = 0; i < 6; i++) check_pass(b, i, 2);
            assert_false(dlx_bench_get_pass(b, 6, &(dlx_bench_pass){.struct_size = sizeof(dlx_bench_pass)}));
            dlx_bench_pass p = pass_of(b, 0);
            assert_int_equal(p.int8 > 0, s == 1 || s == 3); /* int4 leaves the head at 8 bits */
            assert_int_equal(p.int4 > 0, s == 3);
            dlx_bench_free(b);
            dlx_model_close(m);
        }
}

/* Attention alone is float32 in an int8 file, so its share can be told from numbers of rows. */
static void attention_counts_what_rows_see(void **state)
{
    (void)state;
    for (size_t f = 0; f < FAMILIES; f++) {
        dlx_model *m = open_tiny(families[f], "int8-dynamic");
        int32_t block = dlx_model_get_facts(m)->attn_block;
        dlx_bench_options o = {.struct_size = sizeof o, .turns = 1, .context = 32};
        dlx_bench *b = run_bench(m, &o);
        assert_int_equal(info_of(b).context, 32);
        dlx_bench_pass one = pass_of(b, 0), eight = pass_of(b, 3);
        double keys = 0;
        for (int r = 0; r < 8; r++) {
            int end = block ? (r / block + 1) * block : 8;
            keys += 32 + (end < 8 ? end : 8);
        }
        assert_true(fabs(eight.float32 / one.float32 - keys / 33) < 1e-9);
        dlx_bench_free(b);

        /* Weights, and of the cache what 32 positions take. */
        dlx_memory memory = {.struct_size = sizeof memory};
        assert_int_equal(dlx_model_memory(m, 8, 64, &memory, NULL), DLX_OK);
        assert_true(one.bytes == (double)memory.packed + (double)memory.kv_cache / 2);
        o = (dlx_bench_options){.struct_size = sizeof o, .turns = 1, .no_context = 1};
        b = run_bench(m, &o);
        assert_int_equal(info_of(b).context, 0);
        assert_int_equal(info_of(b).passes, 7); /* 64 rows fit now */
        assert_true(pass_of(b, 0).bytes == (double)memory.packed);
        dlx_bench_free(b);
        dlx_model_close(m);
    }
}

static void context_is_whole_blocks(void **state)
{
    (void)state;
    dlx_model *m = open_tiny("sdar", "none");
    int32_t block = dlx_model_get_facts(m)->attn_block;
    assert_true(block > 1);
    dlx_bench_options o = {.struct_size = sizeof o, .turns = 1, .context = 3 * block - 1};
    dlx_bench *b = run_bench(m, &o);
    assert_int_equal(info_of(b).context, 2 * block);
    int32_t told;
    assert_int_equal(dlx_bench_check(dlx_model_get_facts(m), &o, &told, NULL), DLX_OK);
    assert_int_equal(told, 2 * block);
    dlx_bench_free(b);
    dlx_model_close(m);
}

static void refused(const dlx_model *m, dlx_bench_options o, dlx_status status, const char *words)
{
    dlx_bench *b = (dlx_bench *)1;
    dlx_error err = {0};
    o.struct_size = sizeof o;
    assert_int_equal(dlx_bench_run(&b, m, &o, &err), status);
    if (!strstr(err.message, words)) fail_msg("'%s' lacks '%s'", err.message, words);
    assert_null(b);
    /* What facts alone tell is told without the model, in the same words; kinds of caches are the workspace's. */
    dlx_error told = {0};
    int32_t context = 77;
    assert_int_equal(dlx_bench_check(dlx_model_get_facts(m), &o, &context, &told), o.kv_type ? DLX_OK : status);
    if (!o.kv_type) assert_string_equal(told.message, err.message);
    assert_int_equal(context, o.kv_type ? TINY_CONTEXT / 2 : 0);
}

static void facts_of_no_program_are_no_trap(void **state)
{
    dlx_model_facts f = {.struct_size = sizeof f, .max_context = 64};
    dlx_bench_options o = {.struct_size = sizeof o, .context = 63};
    dlx_error err = {0};
    int32_t context;
    (void)state;
    assert_int_equal(dlx_bench_check(&f, &o, &context, &err), DLX_OK); /* no bound of its own on rows */
    assert_int_equal(context, 63);
    f.max_context = 0;
    assert_int_equal(dlx_bench_check(&f, NULL, &context, &err), DLX_E_LIMIT);
    f.struct_size = 0;
    assert_int_equal(dlx_bench_check(&f, NULL, &context, &err), DLX_E_INVALID);
}

static void what_cannot_be_measured(void **state)
{
    static const int32_t descending[] = {8, 4}, none[] = {0, 1}, many[DLX_BENCH_ROWS + 1] = {1}, large[] = {1, 33};
    (void)state;
    dlx_model *m = open_tiny("llada", "none");
    refused(m, (dlx_bench_options){.context = TINY_CONTEXT}, DLX_E_LIMIT, "64 cached positions leave no room");
    refused(m, (dlx_bench_options){.context = -1}, DLX_E_INVALID, "context is -1");
    refused(m, (dlx_bench_options){.context = 4, .no_context = 1}, DLX_E_INVALID, "no_context is set");
    refused(m, (dlx_bench_options){.rows = descending, .n_rows = 2}, DLX_E_INVALID, "entry 1 is 4");
    refused(m, (dlx_bench_options){.rows = none, .n_rows = 2}, DLX_E_INVALID, "entry 0 is 0");
    refused(m, (dlx_bench_options){.rows = many, .n_rows = DLX_BENCH_ROWS + 1}, DLX_E_INVALID, "65 numbers of rows");
    refused(m, (dlx_bench_options){.rows = many}, DLX_E_INVALID, "0 numbers of rows");
    refused(m, (dlx_bench_options){.rows = large, .n_rows = 2}, DLX_E_LIMIT, "33 rows behind 32 cached positions");
    refused(m, (dlx_bench_options){.turns = 1001}, DLX_E_INVALID, "turns is 1001");
    refused(m, (dlx_bench_options){.seconds = -1}, DLX_E_INVALID, "seconds is -1");
    refused(m, (dlx_bench_options){.kv_type = "int3"}, DLX_E_INVALID, "int3");
    dlx_model_close(m);
}

/* Stops when so many passes were asked about, the context's included. */
typedef struct stopping {
    int left, asked, last_turn;
} stopping;

static bool stop_later(void *ctx, int32_t rows, int32_t turn)
{
    stopping *s = ctx;
    assert_true(rows >= 1 && turn >= s->last_turn);
    s->last_turn = turn;
    s->asked++;
    return s->left-- > 0;
}

static void stopped_it_has_what_was_counted(void **state)
{
    static const int32_t rows[] = {1, 4};
    (void)state;
    dlx_model *m = open_tiny("llada", "int8-dynamic");
    for (int left = 0; left < 8; left++) {
        stopping s = {.left = left};
        dlx_bench_options o = {
            .struct_size = sizeof o, .turns = 2, .rows = rows, .n_rows = 2, .on_pass = stop_later, .ctx = &s};
        dlx_bench *b = run_bench(m, &o);
        dlx_bench_decode d = {.struct_size = sizeof d};
        dlx_error err = {0};
        /* One pass caches the context, two warm up; then turns of two. */
        int counted = left > 3 ? left - 3 : 0;
        assert_int_equal(info_of(b).cancelled, left < 7);
        assert_int_equal(s.asked, left < 7 ? left + 1 : 7);
        assert_int_equal(info_of(b).passes, counted < 2 ? counted : 2);
        if (counted) assert_int_equal(pass_of(b, 0).turns, counted < 3 ? 1 : 2);
        dlx_status e = dlx_bench_estimate(b, NULL, 1, 4, &d, &err);
        assert_int_equal(e, counted ? DLX_OK : DLX_E_UNSUPPORTED);
        dlx_bench_free(b);
    }
    dlx_model_close(m);
}

/* ---- decodes ---------------------------------------------------------------------------------------------------- */

/* Passes that take 10 ms and a millisecond a row, logits of a row half a millisecond, measured at 1, 8 and 32 rows. */
static dlx_bench made_up(dlx_family family)
{
    dlx_bench b = {.info = {.struct_size = sizeof b.info, .context = 16, .passes = 3}};
    b.facts = (dlx_model_facts){.struct_size = sizeof b.facts,
                                .family = family,
                                .vocab_size = 1000,
                                .max_context = 512,
                                .max_rows = 512,
                                .mask_id = 999,
                                .block_length = 32,
                                .bos_id = -1,
                                .eos_id = 998,
                                .pad_id = -1,
                                .num_stop_ids = 1,
                                .stop_ids = {2}}; /* what the decoder's answers are made of */
    if (family == DLX_FAMILY_SDAR) b.facts.attn_block = b.facts.block_length = 8;
    if (family == DLX_FAMILY_FAST_DLLM_V2) {
        b.facts.attn_block = 32;
        b.facts.small_block_size = 8;
    }
    b.facts.logits_shift = family == DLX_FAMILY_DREAM || family == DLX_FAMILY_FAST_DLLM_V2;
    static const int32_t rows[] = {1, 8, 32};
    for (int i = 0; i < 3; i++)
        b.pass[i] = (dlx_bench_pass){.struct_size = sizeof b.pass[i],
                                     .rows = rows[i],
                                     .turns = 1,
                                     .median_ms = 10 + 1.5 * rows[i],
                                     .body_ms = 10 + rows[i]};
    return b;
}

static void costs_are_interpolated(void **state)
{
    (void)state;
    dlx_bench b = made_up(DLX_FAMILY_LLADA);
    for (int32_t rows = 1; rows <= 32; rows++)
        for (int32_t logits = 1; logits <= rows; logits++)
            assert_true(fabs(dlx_bench_cost(&b, rows, logits) - (10 + rows + 0.5 * logits)) < 1e-9);
    assert_true(fabs(dlx_bench_cost(&b, 8, 0) - 18) < 1e-9);
    assert_true(fabs(dlx_bench_cost(&b, 64, 64) - (84 + 32)) < 1e-9); /* in proportion to 32 rows' 42 and 16 */
    b.pass[0].rows = 4;
    assert_true(fabs(dlx_bench_cost(&b, 2, 0) - 11) < 1e-9); /* as much as the fewest */
    b.pass[1].median_ms = b.pass[1].body_ms - 1;
    assert_true(fabs(dlx_bench_cost(&b, 8, 8) - 18) < 1e-9); /* noise is no gain */
}

static dlx_bench_decode estimated(const dlx_bench *b, const char *preset, const char *more, const char *value,
                                  double tokens, int32_t n_prompt)
{
    dlx_decode_options *o;
    dlx_bench_decode d = {.struct_size = sizeof d};
    dlx_error err = {0};
    assert_int_equal(dlx_decode_options_create(&o, NULL), DLX_OK);
    assert_int_equal(dlx_decode_options_set(o, "preset", preset, NULL), DLX_OK);
    if (more) assert_int_equal(dlx_decode_options_set(o, more, value, NULL), DLX_OK);
    if (dlx_bench_estimate(b, o, tokens, n_prompt, &d, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_decode_options_free(o);
    return d;
}

/* A block of 32 in LLaDA: one pass over all, whose logits are those of the block's masks, then passes over the block.
 */
static void a_dual_cache_is_counted_pass_by_pass(void **state)
{
    (void)state;
    dlx_bench b = made_up(DLX_FAMILY_LLADA);
    dlx_bench_decode d = estimated(&b, "fast", "max_new_tokens", "64", 4, 16);
    double want = 0;
    for (int block = 0; block < 2; block++)
        for (int masks = 32; masks > 0; masks -= 4) want += dlx_bench_cost(&b, masks == 32 ? 16 + 64 : 32, masks);
    assert_string_equal(d.algorithm, "llada.generate_fast");
    assert_int_equal(d.new_tokens, 64);
    assert_int_equal(d.passes, 16);
    assert_int_equal(d.block_length, 32);
    assert_int_equal(d.widest, 80);
    assert_true(d.prompt_ms == 0);
    assert_true(fabs(d.decode_ms - want) < 1e-6);
}

/* The prompt is run once, and is no part of decoding. */
static void the_prompt_is_apart(void **state)
{
    (void)state;
    dlx_bench b = made_up(DLX_FAMILY_FAST_DLLM_V2);
    dlx_bench_decode d = estimated(&b, "balanced", NULL, NULL, 1, 64);
    assert_true(fabs(d.prompt_ms - dlx_bench_cost(&b, 64, 1)) < 1e-6);
    assert_int_equal(d.widest, 32);
    assert_int_equal(d.new_tokens, 128);
    assert_true(d.passes >= 127); /* the prompt's pass tells the first token */
}

static void more_tokens_a_pass_take_fewer_passes(void **state)
{
    static const double tokens[] = {1, 1.5, 2.2, 4, 8, 1000};
    static const dlx_family of[] = {DLX_FAMILY_LLADA, DLX_FAMILY_DREAM, DLX_FAMILY_SDAR, DLX_FAMILY_FAST_DLLM_V2};
    (void)state;
    for (size_t f = 0; f < 4; f++) {
        dlx_bench b = made_up(of[f]);
        dlx_bench_decode before = {0};
        for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
            dlx_bench_decode d = estimated(&b, "balanced", NULL, NULL, tokens[i], 16);
            assert_int_equal(d.new_tokens, 128);
            assert_true(d.decode_ms > 0 && d.passes >= 128 / tokens[i]);
            if (i) assert_true(d.passes <= before.passes && d.decode_ms <= before.decode_ms);
            if (i && tokens[i] <= 8) assert_true(d.passes < before.passes); /* blocks have no more than 8 */
            before = d;
        }
        /* exact means one token a pass, whatever could be revealed; blocks are all that comes on top. */
        dlx_bench_decode exact = estimated(&b, "exact", NULL, NULL, 8, 16);
        assert_in_range(exact.passes, 127, 128 + 128 / 4 + 16);
    }
}

/* Numbers of tokens that are no whole ones are met on average. */
static void fractions_add_up(void **state)
{
    (void)state;
    dlx_bench b = made_up(DLX_FAMILY_LLADA);
    dlx_bench_decode d = estimated(&b, "fast", "block_length", "128", 1.6, 16);
    assert_int_equal(d.passes, 80);
}

/* Options that belong to the real vocabulary do not disturb it, and what a decode would refuse is refused. */
static void options_are_those_of_a_decode(void **state)
{
    (void)state;
    dlx_bench b = made_up(DLX_FAMILY_LLADA);
    dlx_bench_decode plain = estimated(&b, "fast", NULL, NULL, 2, 16), d = {.struct_size = sizeof d};
    assert_true(estimated(&b, "fast", "stop_ids", "998,2", 2, 16).decode_ms == plain.decode_ms);
    assert_true(estimated(&b, "fast", "temperature", "1.5", 2, 16).decode_ms == plain.decode_ms);
    dlx_decode_options *o;
    dlx_error err = {0};
    assert_int_equal(dlx_decode_options_create(&o, NULL), DLX_OK);
    assert_int_equal(dlx_decode_options_set(o, "algorithm", "llada.generate", NULL), DLX_OK);
    assert_int_equal(dlx_decode_options_set(o, "cache", "dual", NULL), DLX_OK);
    assert_int_equal(dlx_bench_estimate(&b, o, 1, 16, &d, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "cache"));
    dlx_decode_options_free(o);
    assert_int_equal(dlx_bench_estimate(&b, NULL, 1, 513, &d, &err), DLX_E_LIMIT);
    assert_int_equal(dlx_bench_estimate(&b, NULL, NAN, 16, &d, &err), DLX_E_INVALID);
    b.facts.mask_id = -1; /* a model that can only go from left to right */
    assert_int_equal(dlx_bench_estimate(&b, NULL, 1, 16, &d, &err), DLX_OK);
    assert_string_equal(d.algorithm, "ar.generate");
    assert_int_equal(d.new_tokens, 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_of_each_family_and_scheme),
        cmocka_unit_test(attention_counts_what_rows_see),
        cmocka_unit_test(context_is_whole_blocks),
        cmocka_unit_test(what_cannot_be_measured),
        cmocka_unit_test(facts_of_no_program_are_no_trap),
        cmocka_unit_test(stopped_it_has_what_was_counted),
        cmocka_unit_test(costs_are_interpolated),
        cmocka_unit_test(a_dual_cache_is_counted_pass_by_pass),
        cmocka_unit_test(the_prompt_is_apart),
        cmocka_unit_test(more_tokens_a_pass_take_fewer_passes),
        cmocka_unit_test(fractions_add_up),
        cmocka_unit_test(options_are_those_of_a_decode),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_it);
}
