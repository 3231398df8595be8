/*
 * Memory: a decode allocates what it needs before its first model call and nothing from then on, every allocation that
 * fails is a clean error, and nothing is left behind. The linker sends this program's allocations here (--wrap).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sizes.h"
#include "constrain_check.h"
#include "diffusion/sampling.h"
#include "test_diffusion_run.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
void __wrap_free(void *p);

static int32_t allocations, alive, fail_number; /* fail_number: the allocation that fails, from 1; 0: none */

static bool refused(void)
{
    return ++allocations == fail_number;
}

void *__wrap_malloc(size_t n)
{
    void *p = refused() ? NULL : __real_malloc(n);
    alive += p != NULL;
    return p;
}

void *__wrap_calloc(size_t n, size_t size)
{
    void *p = refused() ? NULL : __real_calloc(n, size);
    alive += p != NULL;
    return p;
}

void *__wrap_realloc(void *old, size_t n)
{
    void *p = refused() ? NULL : __real_realloc(old, n);
    alive += p && !old;
    return p;
}

void *__wrap_aligned_alloc(size_t alignment, size_t n)
{
    void *p = refused() ? NULL : __real_aligned_alloc(alignment, n);
    alive += p != NULL;
    return p;
}

void __wrap_free(void *p)
{
    alive -= p != NULL;
    __real_free(p);
}

static const struct {
    int32_t attn_block, shift;
    const char *options;
    bool constrained;
} runs[] = {
    {0, 0, "algorithm=llada.generate gen_length=32 block_length=8 cfg_scale=1", false},
    {0, 0, "temperature=1 remasking=random", false},
    {0, 0, "preset=fast", false},
    {0, 1, "", false},
    {0, 1, "alg=origin temperature=1 top_p=0.9 top_k=10", false},
    {0, 1, "preset=balanced", false},
    {4, 0, "", false},
    {4, 0, "temperature=1 top_p=0.9 top_k=10 strategy=entropy_bounded fuse_commit=false", false},
    {32, 1, "", false},
    {32, 1, "preset=fast temperature=1", false},
    {4, 0, "algorithm=ar.generate repetition_penalty=1.2", false},
    {4, 0, "stop_ids=7", true},
    {0, 1, "temperature=1 top_p=0.9 stop_ids=7", true},
};

static const char *const words[] = {"a", "b", "c", "ab", "ba", "", "abc", "", "d"};
static dlx_constraint *constraint;

static decode_run a;
static int32_t at_first_call;
static bool summarises; /* the model, where it is asked to */

static dlx_status counting_forward(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    decode_run *r = ctx;
    if (!r->m.calls) at_first_call = allocations;
    assert_int_equal(allocations, at_first_call);
    dlx_status status = model_forward(&r->m, call, err);
    int32_t vocab = r->m.facts.vocab_size;
    for (int32_t i = 0; i < call->n_rows && call->summaries && summarises; i++)
        dlx_summarise_row(call->logits + (size_t)i * (size_t)vocab, vocab, call->never, call->known,
                          &call->summaries[i]);
    return status;
}

static void check_step(decode_run *r, const dlx_step *step)
{
    (void)r;
    (void)step;
    assert_int_equal(allocations, at_first_call);
}

static void prepare(size_t i)
{
    run_init(&a, runs[i].attn_block, runs[i].shift, i, 19);
    a.m.facts.num_stop_ids = 0;
    a.constraint = runs[i].constrained ? constraint : NULL;
    a.forward = counting_forward;
    a.forward_ctx = &a;
    a.check = check_step;
}

static void test_nothing_in_steps(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * DLX_COUNT(runs); i++) {
        prepare(i / 2);
        summarises = i % 2;
        int32_t before = alive;
        allocations = 0;
        run(&a, runs[i / 2].options);
        assert_int_equal(allocations, at_first_call);
        assert_true(allocations > 1 && allocations < (runs[i / 2].constrained ? 40 : 20));
        run_free(&a);
        assert_int_equal(alive, before);
    }
}

static void test_every_allocation_can_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(runs); i++) {
        prepare(i);
        dlx_decode_options *o = run_options(runs[i].options);
        assert_int_equal(dlx_decode_options_set_constraint(o, a.constraint, NULL), DLX_OK);
        int32_t before = alive, fails = 0;
        for (fail_number = 1;; fail_number++) {
            dlx_generation *g;
            dlx_error err = {0};
            allocations = 0;
            a.m.calls = 0;
            dlx_status status = dlx_generate(&a.m.facts, counting_forward, &a, o, a.prompt, 19, NULL, NULL, &g, &err);
            if (status == DLX_OK) {
                dlx_generation_free(g);
                break;
            }
            assert_int_equal(status, DLX_E_NOMEM);
            assert_non_null(strstr(err.message, "out of memory"));
            assert_null(g);
            assert_int_equal(alive, before);
            fails++;
        }
        fail_number = 0;
        assert_true(fails > 5);
        assert_int_equal(alive, before);
        dlx_decode_options_free(o);
    }
    dlx_decode_options *o;
    dlx_error err = {0};
    allocations = 0;
    fail_number = 1;
    assert_int_equal(dlx_decode_options_create(&o, &err), DLX_E_NOMEM);
    fail_number = 0;
}

/* Sizes that no machine has are an error, not a crash. */
static void test_absurd_sizes(void **state)
{
    (void)state;
    run_init(&a, 0, 1, 1, 4);
    a.m.facts.max_context = a.m.facts.max_rows = 1 << 20;
    a.m.facts.vocab_size = INT32_MAX;
    run_fails(&a, "max_new_tokens=1000000", DLX_E_NOMEM, "out of memory");
}

static dlx_status make_constraint(dlx_constraint **out, dlx_error *err)
{
    static const char regex[] = "((a|b)*c|ab{2,5}[^b])?\\w";
    dlx_arena reading, arena;
    dlx_machine machine, both;
    const dlx_expr *e;
    small_vocabulary v;
    small_vocabulary_make(&v, words, (int32_t)DLX_COUNT(words));
    dlx_arena_init(&reading);
    dlx_arena_init(&arena);
    dlx_status status = dlx_regex_parse(&e, &reading, regex, sizeof regex - 1, false, err);
    if (status == DLX_OK) status = dlx_machine_build(&machine, &reading, e, false, err);
    if (status == DLX_OK) status = dlx_machine_both(&both, &arena, &machine, &machine, false, err);
    dlx_arena_free(&reading);
    if (status == DLX_OK) return dlx_constraint_create(out, &arena, &both, &v.v, 1 << 20, err);
    dlx_arena_free(&arena);
    return status;
}

static void test_every_allocation_of_a_constraint_can_fail(void **state)
{
    int32_t before = alive, fails = 0;
    (void)state;
    for (fail_number = 1;; fail_number++, fails++) {
        dlx_constraint *c;
        dlx_error err = {0};
        allocations = 0;
        dlx_status status = make_constraint(&c, &err);
        if (status == DLX_OK) {
            dlx_constraint_destroy(c);
            break;
        }
        assert_int_equal(status, DLX_E_NOMEM);
        assert_non_null(strstr(err.message, "out of memory"));
        assert_int_equal(alive, before);
    }
    fail_number = 0;
    assert_true(fails > 30);
    assert_int_equal(alive, before);
}

static int set_up(void **state)
{
    dlx_error err;
    (void)state;
    return make_constraint(&constraint, &err) == DLX_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    dlx_constraint_destroy(constraint);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_in_steps), cmocka_unit_test(test_every_allocation_can_fail),
        cmocka_unit_test(test_absurd_sizes), cmocka_unit_test(test_every_allocation_of_a_constraint_can_fail)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
