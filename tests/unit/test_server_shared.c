/*
 * What requests of the server share: the beginning of a prompt that another one is running, constraints that are built
 * once, and the schema of tools.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cache.h"
#include "constraints.h"
#include "engine.h"
#include "format.h"
#include "limits.h"

static void a_moment(void)
{
    const struct timespec ms = {.tv_nsec = 1000000};
    nanosleep(&ms, NULL);
}

/* ---- prompts that arrive together -------------------------------------------------------------------------------- */

/* A session is the number of ids that it holds, all of one sequence. */
static int32_t sequence[200];

static int32_t reusable(void *ctx, const void *session, const int32_t *ids, size_t n)
{
    int32_t i = 0;
    (void)ctx;
    while (i < *(const int32_t *)session && (size_t)i < n && ids[i] == sequence[i]) i++;
    return i;
}

static void *copy_of(void *ctx, const void *from, int32_t n)
{
    int32_t *s = malloc(sizeof *s);
    (void)ctx;
    (void)from;
    *s = n;
    return s;
}

static void close_session(void *ctx, void *session)
{
    (void)ctx;
    free(session);
}

static int32_t plenty(void *ctx)
{
    (void)ctx;
    return 1 << 20;
}

static const dlx_srv_cache_ops sessions = {NULL, reusable, copy_of, close_session, plenty};

/* A request on a thread of its own. */
typedef struct asking {
    dlx_srv_cache *c;
    dlx_srv_claim claim;
    dlx_srv_lease lease;
    atomic_bool there, cancelled;
    pthread_t thread;
} asking;

static void *ask(void *ctx)
{
    asking *a = ctx;
    assert_true(dlx_srv_cache_take(a->c, &a->claim, &a->lease));
    atomic_store(&a->there, true);
    return NULL;
}

static void begin(asking *a, dlx_srv_cache *c, const int32_t *ids, size_t n, size_t n_shared)
{
    *a = (asking){.c = c, .claim = {.ids = ids, .n = n, .n_shared = n_shared, .positions = 300}};
    a->claim.cancelled = &a->cancelled;
    assert_int_equal(pthread_create(&a->thread, NULL, ask, a), 0);
}

/* Begun while another one runs what they share: it waits. */
static void begin_waiting(asking *a, dlx_srv_cache *c, const int32_t *ids, size_t n, size_t n_shared)
{
    uint64_t before = dlx_srv_cache_loaded(c).waited;
    begin(a, c, ids, n, n_shared);
    while (dlx_srv_cache_loaded(c).waited == before) a_moment();
    assert_false(atomic_load(&a->there));
}

static int32_t cached(asking *a)
{
    pthread_join(a->thread, NULL);
    return *(int32_t *)a->lease.session;
}

static void set_sequence(void)
{
    for (int32_t i = 0; i < 200; i++) sequence[i] = i;
}

static void test_a_prompt_waits_for_another(void **state)
{
    (void)state;
    dlx_srv_cache c;
    asking first, second, third;
    int32_t other[100];
    set_sequence();
    memcpy(other, sequence, sizeof other);
    for (int32_t i = 64; i < 100; i++) other[i] = -i;
    assert_true(dlx_srv_cache_open(&c, &sessions, 4));
    begin(&first, &c, sequence, 100, 96);
    assert_int_equal(cached(&first), 0);
    begin_waiting(&second, &c, sequence, 100, 96);
    begin_waiting(&third, &c, other, 100, 96);
    *(int32_t *)first.lease.session = 96;
    dlx_srv_cache_share(&c, &first.lease, sequence, 96);
    assert_int_equal(cached(&second), 96);
    assert_int_equal(cached(&third), 64);
    dlx_srv_cache_give(&c, &first.lease, NULL, 0);
    dlx_srv_cache_give(&c, &second.lease, NULL, 0);
    dlx_srv_cache_give(&c, &third.lease, NULL, 0);
    assert_true(!c.coming && c.reserved == 0);
    dlx_srv_cache_close(&c);
}

/* What becomes of the first does not hurt the others: one of them runs the prompt then. */
static void test_who_is_waited_for_may_fail(void **state)
{
    (void)state;
    dlx_srv_cache c;
    asking first, others[2];
    set_sequence();
    assert_true(dlx_srv_cache_open(&c, &sessions, 4));
    begin(&first, &c, sequence, 100, 96);
    assert_int_equal(cached(&first), 0);
    for (int i = 0; i < 2; i++) begin_waiting(&others[i], &c, sequence, 100, 96);
    dlx_srv_cache_give(&c, &first.lease, NULL, 0);
    while (!atomic_load(&others[0].there) && !atomic_load(&others[1].there)) a_moment();
    asking *next = atomic_load(&others[0].there) ? &others[0] : &others[1];
    asking *last = next == &others[0] ? &others[1] : &others[0];
    assert_int_equal(cached(next), 0);
    assert_false(atomic_load(&last->there));
    /* Whoever is cancelled waits no longer. */
    atomic_store(&last->cancelled, true);
    dlx_srv_cache_wake(&c);
    assert_int_equal(cached(last), 0);
    dlx_srv_cache_give(&c, &last->lease, NULL, 0);
    dlx_srv_cache_give(&c, &next->lease, NULL, 0);
    assert_null(c.coming);
    dlx_srv_cache_close(&c);
}

/* Where waiting takes longer, or brings nothing, nobody does: these would never come back. */
static void test_not_everything_is_waited_for(void **state)
{
    (void)state;
    dlx_srv_cache c;
    asking first, other;
    int32_t ids[200];
    const struct {
        size_t common, n_shared; /* with the first; of the first */
        int kept;
    } cases[] = {{DLX_SRV_LEAST_SHARED - 1, 96, 4}, {40, 200, 4}, {96, 0, 4}, {96, 96, 0}};
    set_sequence();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(ids, sequence, sizeof ids);
        for (size_t k = cases[i].common; k < 200; k++) ids[k] = -1;
        assert_true(dlx_srv_cache_open(&c, &sessions, (size_t)cases[i].kept));
        begin(&first, &c, sequence, 200, cases[i].n_shared);
        assert_int_equal(cached(&first), 0);
        begin(&other, &c, ids, 100, 96);
        assert_int_equal(cached(&other), 0);
        assert_int_equal(dlx_srv_cache_loaded(&c).waited, 0);
        dlx_srv_cache_give(&c, &first.lease, NULL, 0);
        dlx_srv_cache_give(&c, &other.lease, NULL, 0);
        dlx_srv_cache_close(&c);
    }
}

/* ---- constraints ------------------------------------------------------------------------------------------------- */

/* Builds what begins with a digit: so many thousand bytes. Waits while it is held. */
typedef struct workshop {
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool held;
    int begun, most, now, there;
} workshop;

static dlx_status build(void *ctx, dlx_srv_language language, const char *text, void **out, int64_t *bytes,
                        dlx_error *err)
{
    workshop *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->begun++;
    if (++w->now > w->most) w->most = w->now;
    pthread_cond_broadcast(&w->news);
    while (w->held) pthread_cond_wait(&w->news, &w->lock);
    w->now--;
    bool fine = *text >= '0' && *text <= '9';
    w->there += fine;
    pthread_mutex_unlock(&w->lock);
    assert_int_equal(language, DLX_SRV_REGEX);
    if (!fine) return dlx_srv_fail(err, *text == '!' ? DLX_E_NOMEM : DLX_E_INVALID, "not %s", text);
    *out = strdup(text);
    *bytes = 1000 * (*text - '0');
    return DLX_OK;
}

static void destroy(void *ctx, void *constraint)
{
    workshop *w = ctx;
    free(constraint);
    w->there--;
}

static void open_workshop(workshop *w, dlx_srv_constraints *c, int64_t most_bytes)
{
    const dlx_srv_constraint_ops ops = {w, build, destroy};
    *w = (workshop){0};
    assert_int_equal(pthread_mutex_init(&w->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&w->news, NULL), 0);
    assert_true(dlx_srv_constraints_open(c, &ops, most_bytes));
}

static void close_workshop(workshop *w, dlx_srv_constraints *c)
{
    dlx_srv_constraints_close(c);
    assert_int_equal(w->there, 0);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->news);
}

/* Taken and given back. */
static dlx_status use(dlx_srv_constraints *c, const char *text, dlx_error *err)
{
    dlx_srv_built *b;
    dlx_status s = dlx_srv_constraints_take(c, DLX_SRV_REGEX, text, &b, err);
    if (s == DLX_OK) assert_string_equal(dlx_srv_constraint_of(b), text);
    assert_true((s == DLX_OK) == (b != NULL));
    dlx_srv_constraints_give(b);
    return s;
}

static void test_constraints_are_kept(void **state)
{
    (void)state;
    workshop w;
    dlx_srv_constraints c;
    dlx_srv_built *b, *held[2];
    dlx_error err;
    open_workshop(&w, &c, 12000);
    for (int i = 0; i < 3; i++) assert_int_equal(use(&c, "4a", &err), DLX_OK);
    assert_int_equal(w.begun, 1);
    assert_int_equal(use(&c, "4b", &err), DLX_OK);
    assert_int_equal(use(&c, "4a", &err), DLX_OK);
    assert_int_equal(use(&c, "4c", &err), DLX_OK); /* 4b goes: it was used least recently */
    assert_int_equal(w.there, 2);
    assert_int_equal(use(&c, "4a", &err), DLX_OK);
    assert_int_equal(w.begun, 3);
    assert_true(dlx_srv_constraints_loaded(&c).kept == 2 && dlx_srv_constraints_loaded(&c).bytes <= 12000);
    assert_true(dlx_srv_constraints_loaded(&c).built == 3 && dlx_srv_constraints_loaded(&c).found == 4);
    /* What cannot be built is not tried again, unless memory was what was missing. */
    for (int i = 0; i < 2; i++) assert_int_equal(use(&c, "x", &err), DLX_E_INVALID);
    assert_string_equal(err.message, "not x");
    assert_int_equal(w.begun, 4);
    for (int i = 0; i < 2; i++) assert_int_equal(use(&c, "!", &err), DLX_E_NOMEM);
    assert_int_equal(w.begun, 6);
    /* Those in use stay, and leave room or not. */
    for (int i = 0; i < 2; i++)
        assert_int_equal(dlx_srv_constraints_take(&c, DLX_SRV_REGEX, i ? "5y" : "5x", &held[i], &err), DLX_OK);
    assert_int_equal(w.there, 2);
    assert_int_equal(dlx_srv_constraints_take(&c, DLX_SRV_REGEX, "6", &b, &err), DLX_E_NOMEM);
    assert_int_equal(w.there, 2);
    assert_int_equal(use(&c, "5x", &err), DLX_OK);
    for (int i = 0; i < 2; i++) dlx_srv_constraints_give(held[i]);
    assert_int_equal(use(&c, "6", &err), DLX_OK);
    /* Small ones are counted. */
    char text[16];
    for (int i = 0; i < 2 * DLX_SRV_MOST_CONSTRAINTS; i++) {
        snprintf(text, sizeof text, "x%d", i);
        assert_int_equal(use(&c, text, &err), DLX_E_INVALID);
        assert_true(c.n <= DLX_SRV_MOST_CONSTRAINTS);
    }
    close_workshop(&w, &c);
}

typedef struct wanting {
    dlx_srv_constraints *c;
    char text[16];
    pthread_t thread;
    dlx_status status;
} wanting;

static void *want(void *ctx)
{
    wanting *w = ctx;
    dlx_error err;
    w->status = use(w->c, w->text, &err);
    return NULL;
}

/* Two for each text at once, more texts than may be built at one time, and then one more than may wait. */
static void test_constraints_are_built_once_and_few_at_a_time(void **state)
{
    (void)state;
    enum { TEXTS = DLX_SRV_MOST_BUILDS + DLX_SRV_MOST_BUILDS_WAITING, ALL = 2 * TEXTS };
    workshop w;
    dlx_srv_constraints c;
    static wanting all[ALL];
    dlx_error err;
    open_workshop(&w, &c, 1 << 20);
    w.held = true;
    for (int i = 0; i < ALL; i++) {
        all[i] = (wanting){.c = &c};
        snprintf(all[i].text, sizeof all[i].text, "1-%d", i / 2);
        assert_int_equal(pthread_create(&all[i].thread, NULL, want, &all[i]), 0);
    }
    for (bool full = false; !full; a_moment()) {
        pthread_mutex_lock(&c.lock);
        full = c.building == DLX_SRV_MOST_BUILDS && c.waiting == DLX_SRV_MOST_BUILDS_WAITING;
        pthread_mutex_unlock(&c.lock);
    }
    assert_int_equal(use(&c, "1-more", &err), DLX_E_NOMEM);
    pthread_mutex_lock(&w.lock);
    w.held = false;
    pthread_cond_broadcast(&w.news);
    pthread_mutex_unlock(&w.lock);
    for (int i = 0; i < ALL; i++) {
        pthread_join(all[i].thread, NULL);
        assert_int_equal(all[i].status, DLX_OK);
    }
    assert_int_equal(w.begun, TEXTS);
    assert_int_equal(w.most, DLX_SRV_MOST_BUILDS);
    assert_int_equal(use(&c, "1-more", &err), DLX_OK);
    close_workshop(&w, &c);
}

/* ---- tools ------------------------------------------------------------------------------------------------------- */

static json_t *read_json(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    return value;
}

/* References of a function's parameters lead into them wherever they lie; words that only look like one stay. */
static void test_schema_of_calls(void **state)
{
    (void)state;
    json_t *tools = read_json(
        "[{\"function\": {\"name\": \"f\"}},"
        " {\"function\": {\"name\": \"g\", \"parameters\": {\"$defs\": {\"const\": {\"$ref\": \"#\"}}, \"properties\":"
        "  {\"$ref\": {\"enum\": [{\"$ref\": \"#/x\"}]}, \"a\": {\"anyOf\": [{\"$ref\": \"#/$defs/const\"}]}}}}}]");
    size_t first[2];
    json_t *all = dlx_srv_format_of_calls(tools, NULL, &first[0]),
           *one = dlx_srv_format_of_calls(tools, "g", &first[1]);
    assert_true(first[0] == 0 && first[1] == 1);
    json_t *want =
        read_json("{\"anyOf\": [{\"type\": \"object\", \"properties\": {\"name\": {\"const\": \"g\"}, \"arguments\": "
                  "{\"type\": \"object\", \"$defs\":"
                  " {\"const\": {\"$ref\": \"#/anyOf/0/properties/arguments\"}}, \"properties\": {\"$ref\": {\"enum\": "
                  "[{\"$ref\":"
                  " \"#/x\"}]}, \"a\": {\"anyOf\": [{\"$ref\": \"#/anyOf/0/properties/arguments/$defs/const\"}]}}}},"
                  " \"required\": [\"name\", \"arguments\"], \"additionalProperties\": false}]}");
    assert_true(json_equal(one, want));
    json_t *second = json_array_get(json_object_get(all, "anyOf"), 1);
    const json_t *parameters = json_object_get(json_object_get(second, "properties"), "arguments");
    const json_t *ref = json_object_get(json_object_get(json_object_get(parameters, "$defs"), "const"), "$ref");
    assert_string_equal(json_string_value(ref), "#/anyOf/1/properties/arguments");
    assert_int_equal(json_array_size(json_object_get(all, "anyOf")), 2);
    json_decref(want);
    json_decref(one);
    json_decref(all);
    json_decref(tools);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_prompt_waits_for_another),
        cmocka_unit_test(test_who_is_waited_for_may_fail),
        cmocka_unit_test(test_not_everything_is_waited_for),
        cmocka_unit_test(test_constraints_are_kept),
        cmocka_unit_test(test_constraints_are_built_once_and_few_at_a_time),
        cmocka_unit_test(test_schema_of_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
