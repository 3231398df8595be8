/*
 * The server's parts, each by itself: who decodes next, which sequences are kept, how text is taken apart, what a
 * stream holds, how parameters are taken, and how rows of a pass are chosen.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache.h"
#include "engine.h"
#include "outbox.h"
#include "route.h"
#include "scheduler.h"
#include "split.h"
#include "take.h"
#include "watch.h"
#include "work.h"

/* ---- scheduler --------------------------------------------------------------------------------------------------- */

enum { MOST_TASKS = 64 };

typedef struct order {
    pthread_mutex_t lock;
    pthread_cond_t news;
    int ran[MOST_TASKS], n, open; /* only the first `open` that began may end */
} order;

typedef struct job {
    dlx_srv_task task; /* first */
    order *o;
    int number;
} job;

static void run_job(dlx_srv_task *task, int seat)
{
    job *j = (job *)task;
    (void)seat;
    pthread_mutex_lock(&j->o->lock);
    j->o->ran[j->o->n++] = j->number;
    int place = j->o->n;
    pthread_cond_broadcast(&j->o->news);
    while (j->o->open < place) pthread_cond_wait(&j->o->news, &j->o->lock);
    pthread_mutex_unlock(&j->o->lock);
}

static void wait_until_ran(order *o, int n)
{
    pthread_mutex_lock(&o->lock);
    while (o->n < n) pthread_cond_wait(&o->news, &o->lock);
    pthread_mutex_unlock(&o->lock);
}

static void let(order *o, int n)
{
    pthread_mutex_lock(&o->lock);
    o->open = n;
    pthread_cond_broadcast(&o->news);
    pthread_mutex_unlock(&o->lock);
}

/* Tasks [n] of one group, numbered from `first` on. */
static bool submit(dlx_srv_scheduler *s, order *o, job *jobs, int first, int n, const void *group)
{
    dlx_srv_task *tasks[MOST_TASKS];
    for (int i = 0; i < n; i++) {
        jobs[first + i] = (job){.task = {.group = group, .run = run_job}, .o = o, .number = first + i};
        tasks[i] = &jobs[first + i].task;
    }
    return dlx_srv_scheduler_submit(s, tasks, (size_t)n);
}

static void test_first_come_first_served(void **state)
{
    (void)state;
    order o = {.lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER, .open = MOST_TASKS};
    static job jobs[MOST_TASKS];
    dlx_srv_scheduler *s = dlx_srv_scheduler_open(1, MOST_TASKS);
    assert_non_null(s);
    let(&o, 0);
    for (int i = 0; i < 20; i++) assert_true(submit(s, &o, jobs, i, 1, &jobs[i]));
    let(&o, MOST_TASKS);
    assert_true(dlx_srv_scheduler_drain(s, 60000));
    for (int i = 0; i < 20; i++) assert_int_equal(o.ran[i], i);
    dlx_srv_scheduler_close(s);
}

static void test_the_queue_has_an_end(void **state)
{
    (void)state;
    order o = {.lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};
    static job jobs[MOST_TASKS];
    int a, b;
    dlx_srv_scheduler *s = dlx_srv_scheduler_open(2, 3);
    assert_false(submit(s, &o, jobs, 0, 6, &a)); /* two seats and three places */
    assert_true(submit(s, &o, jobs, 0, 2, &a));
    wait_until_ran(&o, 2);
    assert_false(submit(s, &o, jobs, 2, 4, &b)); /* all or none */
    assert_int_equal(dlx_srv_scheduler_load(s).waiting, 0);
    assert_true(submit(s, &o, jobs, 2, 3, &b));
    assert_false(submit(s, &o, jobs, 5, 1, &a));
    dlx_srv_load load = dlx_srv_scheduler_load(s);
    assert_true(load.waiting == 3 && load.running == 2 && load.most == 3 && load.seats == 2);
    /* What waits can be taken back; what runs cannot. */
    int n = 0;
    for (dlx_srv_task *t = dlx_srv_scheduler_forget(s, &b); t; t = t->next)
        assert_int_equal(((job *)t)->number, 2 + n++);
    assert_int_equal(n, 3);
    assert_null(dlx_srv_scheduler_forget(s, &a));
    assert_false(dlx_srv_scheduler_drain(s, 1));
    dlx_srv_scheduler_stop(s);
    assert_false(submit(s, &o, jobs, 5, 1, &a));
    let(&o, MOST_TASKS);
    assert_true(dlx_srv_scheduler_drain(s, 60000));
    dlx_srv_scheduler_close(s);
    assert_int_equal(o.n, 2);
}

/* Four seats. A request of many answers has two of them while others wait, and its next answer waits for no more than
 * eight others. */
static void test_many_answers_do_not_crowd_out_others(void **state)
{
    (void)state;
    order o = {.lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};
    static job jobs[MOST_TASKS];
    dlx_srv_scheduler *s = dlx_srv_scheduler_open(1, MOST_TASKS);
    int many;
    assert_true(submit(s, &o, jobs, 0, 1, &many));
    wait_until_ran(&o, 1);
    assert_true(submit(s, &o, jobs, 1, 3, &many));
    assert_true(submit(s, &o, jobs, 4, 1, &jobs[4]));
    let(&o, MOST_TASKS);
    assert_true(dlx_srv_scheduler_drain(s, 60000));
    for (int i = 0; i < 5; i++) assert_int_equal(o.ran[i], i); /* one seat: its turn is behind */
    dlx_srv_scheduler_close(s);

    o.n = o.open = 0;
    s = dlx_srv_scheduler_open(4, MOST_TASKS);
    assert_true(submit(s, &o, jobs, 0, 10, &many));
    wait_until_ran(&o, 4); /* nobody else waits: it has all seats */
    for (int i = 10; i < 30; i++) assert_true(submit(s, &o, jobs, i, 1, &jobs[i]));
    int place[30];
    for (int n = 1; n <= 30; n++) { /* one after the other ends, so that each choice is the scheduler's alone */
        let(&o, n);
        wait_until_ran(&o, n + 4 < 30 ? n + 4 : 30);
    }
    assert_true(dlx_srv_scheduler_drain(s, 60000));
    for (int i = 0; i < 30; i++) place[o.ran[i]] = i;
    assert_true(place[10] < place[5]); /* others came in between */
    assert_true(place[29] > place[9]); /* and did not keep it out */
    for (int i = 11; i < 30; i++) assert_true(place[i] > place[i - 1]);
    dlx_srv_scheduler_close(s);
}

/* ---- kept sequences ---------------------------------------------------------------------------------------------- */

/* A session is the ids that it holds; there are 100 positions. */
typedef struct held {
    int32_t ids[100];
    int32_t n;
} held;

typedef struct memory {
    int32_t used;
    int open;
} memory;

static int32_t common(void *ctx, const void *session, const int32_t *ids, size_t n)
{
    const held *h = session;
    int32_t i = 0;
    (void)ctx;
    while (i < h->n && (size_t)i < n && h->ids[i] == ids[i]) i++;
    return i;
}

static void *copy_of(void *ctx, const void *from, int32_t n)
{
    memory *m = ctx;
    held *h = calloc(1, sizeof *h);
    if (from) *h = *(const held *)from;
    h->n = n;
    m->used += n;
    m->open++;
    return h;
}

static void close_held(void *ctx, void *session)
{
    memory *m = ctx;
    m->used -= ((held *)session)->n;
    m->open--;
    free(session);
}

static int32_t left(void *ctx)
{
    return 100 - ((memory *)ctx)->used;
}

/* One request: the ids [n] are run and stored, `cached` of them were there. */
static int32_t serve(dlx_srv_cache *c, memory *m, const int32_t *ids, int32_t n)
{
    dlx_srv_lease lease;
    const dlx_srv_claim claim = {.ids = ids, .n = (size_t)n, .positions = n};
    assert_true(dlx_srv_cache_take(c, &claim, &lease));
    held *h = lease.session;
    int32_t cached = h->n;
    m->used += n - cached;
    memcpy(h->ids, ids, (size_t)n * sizeof *ids);
    h->n = n;
    dlx_srv_cache_give(c, &lease, ids, (size_t)n);
    assert_true(m->used <= 100 && c->reserved == 0);
    return cached;
}

static void test_prompts_that_begin_alike(void **state)
{
    (void)state;
    memory m = {0};
    const dlx_srv_cache_ops ops = {&m, common, copy_of, close_held, left};
    dlx_srv_cache c;
    const int32_t hello[] = {1, 2, 3, 4, 5}, other[] = {1, 2, 3, 9}, third[] = {7, 7}, longer[] = {1, 2, 3, 4, 5, 6, 7};
    assert_true(dlx_srv_cache_open(&c, &ops, 3));
    assert_int_equal(serve(&c, &m, hello, 5), 0);
    assert_int_equal(serve(&c, &m, other, 4), 3);
    assert_int_equal(serve(&c, &m, longer, 7), 5);
    assert_int_equal(c.n, 2); /* hello is in longer */
    assert_int_equal(serve(&c, &m, hello, 5), 5);
    assert_int_equal(c.n, 2);
    assert_int_equal(serve(&c, &m, third, 2), 0);
    assert_int_equal(serve(&c, &m, other, 4), 4);
    /* `longer` was used least recently. */
    const int32_t fourth[] = {8, 8, 8};
    assert_int_equal(serve(&c, &m, fourth, 3), 0);
    assert_int_equal(c.n, 3);
    assert_int_equal(serve(&c, &m, third, 2), 2);
    assert_int_equal(dlx_srv_cache_loaded(&c).dropped, 1);
    assert_int_equal(serve(&c, &m, longer, 4), 3);
    dlx_srv_cache_close(&c);
    assert_true(m.used == 0 && m.open == 0);
}

static void test_room_for_sessions_in_use(void **state)
{
    (void)state;
    memory m = {0};
    const dlx_srv_cache_ops ops = {&m, common, copy_of, close_held, left};
    dlx_srv_cache c;
    int32_t ids[100];
    dlx_srv_lease big, shared;
    assert_true(dlx_srv_cache_open(&c, &ops, 8));
    for (int32_t k = 0; k < 4; k++) {
        for (int32_t i = 0; i < 20; i++) ids[i] = 100 * k + i;
        serve(&c, &m, ids, 20);
    }
    assert_int_equal(m.used, 80);
    for (int32_t i = 0; i < 50; i++) ids[i] = 1000 + i;
    const dlx_srv_claim all = {.ids = ids, .n = 50, .positions = 50}, some = {.ids = ids, .n = 31, .positions = 10};
    assert_true(dlx_srv_cache_take(&c, &all, &big)); /* the two that waited longest go */
    assert_int_equal(c.n, 2);
    /* What it stored while it runs is there for others, and counts no longer as what may come. */
    m.used += 30;
    memcpy(((held *)big.session)->ids, ids, 30 * sizeof *ids);
    ((held *)big.session)->n = 30;
    dlx_srv_cache_share(&c, &big, ids, 30);
    assert_int_equal(c.reserved, 20);
    assert_true(dlx_srv_cache_take(&c, &some, &shared));
    assert_true(c.reserved == 30 && m.used <= 100);
    dlx_srv_cache_give(&c, &shared, NULL, 0);
    dlx_srv_cache_give(&c, &big, NULL, 0);
    assert_int_equal(c.reserved, 0);
    dlx_srv_cache_close(&c);
    assert_true(m.used == 0 && m.open == 0);
    /* Nothing is kept where nothing can be reused. */
    assert_true(dlx_srv_cache_open(&c, &ops, 0));
    assert_int_equal(serve(&c, &m, ids, 5), 0);
    assert_int_equal(serve(&c, &m, ids, 5), 0);
    dlx_srv_cache_close(&c);
    assert_int_equal(m.open, 0);
}

/* ---- parts of a text --------------------------------------------------------------------------------------------- */

typedef struct parts {
    char text[3][256];
    int calls;
} parts;

static void put_part(void *ctx, dlx_srv_part part, const char *text, size_t n)
{
    parts *p = ctx;
    assert_int_equal(strlen(text), n);
    strcat(p->text[part], text);
    if (part == DLX_SRV_TOOL_CALL) strcat(p->text[part], "|");
    p->calls += part == DLX_SRV_TOOL_CALL;
}

static const struct {
    const char *text;
    dlx_srv_split_begin begin;
    bool tools;
    const char *content, *thought, *calls;
} texts[] = {
    {"plain", DLX_SRV_BEGIN_ANY, true, "plain", "", ""},
    {"<think>\na b\n</think>\n\nanswer", DLX_SRV_BEGIN_ANY, false, "answer", "a b\n", ""},
    {"  \n<think>x</think>y", DLX_SRV_BEGIN_ANY, false, "y", "x", ""},
    {"a <think>x</think>", DLX_SRV_BEGIN_ANY, false, "a <think>x</think>", "", ""},
    {"<think>x</think>y", DLX_SRV_BEGIN_CONTENT, false, "<think>x</think>y", "", ""},
    {"\nrest</think>\nanswer", DLX_SRV_BEGIN_REASONING, false, "answer", "rest", ""},
    {"never ends </thin", DLX_SRV_BEGIN_REASONING, false, "", "never ends </thin", ""},
    {"<thin", DLX_SRV_BEGIN_ANY, false, "<thin", "", ""},
    {"say\n<tool_call>\n{\"a\": 1}\n</tool_call>\n<tool_call>2</tool_call>\n", DLX_SRV_BEGIN_ANY, true, "say\n", "",
     "\n{\"a\": 1}\n|2|"},
    {"<tool_call>1</tool_call>", DLX_SRV_BEGIN_ANY, false, "<tool_call>1</tool_call>", "", ""},
    {"x<tool_call>not finished", DLX_SRV_BEGIN_ANY, true, "x<tool_call>not finished", "", ""},
    {"a < b </tool_call> <tool_cal", DLX_SRV_BEGIN_ANY, true, "a < b </tool_call> <tool_cal", "", ""},
    {"<think>t</think><tool_call>c</tool_call>", DLX_SRV_BEGIN_ANY, true, "", "t", "c|"},
    {"", DLX_SRV_BEGIN_ANY, true, "", "", ""},
    {"{\"a\": \"</tool_call><think>\"}", DLX_SRV_BEGIN_CALL, true, "", "", "{\"a\": \"</tool_call><think>\"}|"},
    {"", DLX_SRV_BEGIN_CALL, true, "", "", ""},
};

/* However the text is cut. */
static void test_text_is_taken_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t step = 1; step < 40; step++) {
            parts p = {0};
            dlx_srv_split s;
            size_t n = strlen(texts[i].text);
            dlx_srv_split_open(&s, texts[i].begin, texts[i].tools, put_part, &p);
            for (size_t at = 0; at < n; at += step)
                dlx_srv_split_push(&s, texts[i].text + at, n - at < step ? n - at : step);
            dlx_srv_split_finish(&s);
            dlx_srv_split_close(&s);
            assert_string_equal(p.text[DLX_SRV_CONTENT], texts[i].content);
            assert_string_equal(p.text[DLX_SRV_REASONING], texts[i].thought);
            assert_string_equal(p.text[DLX_SRV_TOOL_CALL], texts[i].calls);
        }
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* A form that writes down what it is told. */
static char told[1024];

static void tell_begin(dlx_srv_answer *a)
{
    (void)a;
}

static void tell_part(dlx_srv_answer *a, dlx_srv_part part, const char *text, size_t n, json_t *call, json_t *scores)
{
    (void)a;
    assert_null(scores);
    assert_int_equal(strlen(text), n);
    assert_true((part == DLX_SRV_TOOL_CALL) == (call != NULL));
    const char *name = json_string_value(json_object_get(json_object_get(call, "function"), "name"));
    strcat(told, call ? name : text);
    strcat(told, "|");
}

static void tell_last(dlx_srv_work *w)
{
    (void)w;
}

static const struct {
    const char *text, *told, *content, *arguments; /* of the first call */
    size_t calls;
} answers[] = {
    {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>", "f|", "", "{\"x\": 1}", 1},
    {"So:\n<tool_call>{\"name\": \"g\", \"arguments\": \"{}\"}</tool_call>\n<tool_call>{\"name\": \"h\"}</tool_call>",
     "So:\n|g|h|", "So:\n", "{}", 2},
    {"<tool_call>{\"name\": }</tool_call>", "<tool_call>|{\"name\": }|</tool_call>|",
     "<tool_call>{\"name\": }</tool_call>", NULL, 0},
    {"<tool_call>{\"name\": \"f\", \"arguments\": 3}</tool_call>",
     "<tool_call>|{\"name\": \"f\", \"arguments\": 3}|</tool_call>|",
     "<tool_call>{\"name\": \"f\", \"arguments\": 3}</tool_call>", NULL, 0},
};

/* In OpenAI's form, whole and in streams; what is no call stays text. */
static void test_tool_calls(void **state)
{
    (void)state;
    static const dlx_srv_form form = {.prefix = "x-", .begin = tell_begin, .part = tell_part, .last = tell_last};
    static dlx_srv_state s;
    assert_int_equal(pthread_mutex_init(&s.works_lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&s.works_news, NULL), 0);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        for (int stream = 0; stream < 2; stream++) {
            dlx_srv_plan plan = {.n = 1, .tools = true, .stream = stream};
            const int32_t id = 1;
            told[0] = '\0';
            assert_true(dlx_srv_plan_add(&plan, &id, 1));
            dlx_srv_reply reply = {0};
            dlx_srv_work *w = dlx_srv_work_create(&s, &form, &plan, &reply);
            assert_non_null(w);
            dlx_srv_answer *a = &w->answers[0];
            dlx_srv_split_push(&a->split, answers[i].text, strlen(answers[i].text));
            dlx_srv_split_finish(&a->split);
            a->finish_reason = "stop";
            assert_string_equal(told, stream ? answers[i].told : "");
            assert_string_equal(dlx_srv_text_of(&a->content), answers[i].content);
            assert_int_equal(json_array_size(a->calls), answers[i].calls);
            assert_string_equal(dlx_srv_finish_reason(a), answers[i].calls ? "tool_calls" : "stop");
            json_t *call = json_array_get(a->calls, 0), *function = json_object_get(call, "function");
            if (call) {
                assert_string_equal(json_string_value(json_object_get(call, "type")), "function");
                assert_memory_equal(json_string_value(json_object_get(call, "id")), "call_", 5);
                assert_string_equal(json_string_value(json_object_get(function, "arguments")), answers[i].arguments);
            }
            dlx_srv_work_release(w);
            assert_null(s.running);
        }
    pthread_mutex_destroy(&s.works_lock);
    pthread_cond_destroy(&s.works_news);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static void test_streams(void **state)
{
    (void)state;
    dlx_srv_outbox o;
    char got[64];
    assert_true(dlx_srv_outbox_open(&o, 60));
    assert_int_equal(dlx_srv_outbox_read(&o, got, sizeof got, 1), 14);
    assert_memory_equal(got, ": keep-alive\n\n", 14);
    assert_true(dlx_srv_outbox_event(&o, json_pack("{s:s}", "a", "x\ny")));
    assert_int_equal(dlx_srv_outbox_read(&o, got, 10, 1000), 10);
    assert_memory_equal(got, "data: {\"a\"", 10);
    assert_true(dlx_srv_outbox_done(&o));
    assert_int_equal(dlx_srv_outbox_read(&o, got, sizeof got, 1000), 24);
    assert_memory_equal(got, ":\"x\\ny\"}\n\ndata: [DONE]\n\n", 24);
    dlx_srv_outbox_end(&o);
    assert_int_equal(dlx_srv_outbox_read(&o, got, sizeof got, 1000), -1);
    dlx_srv_outbox_close(&o);
    /* A reader who does not read breaks it. */
    assert_true(dlx_srv_outbox_open(&o, 60));
    while (dlx_srv_outbox_event(&o, json_string("0123456789"))) assert_true(o.n <= 60);
    assert_int_equal(dlx_srv_outbox_read(&o, got, sizeof got, 1), -2);
    assert_false(dlx_srv_outbox_event(&o, NULL));
    dlx_srv_outbox_close(&o);
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

static const char *param_of(const dlx_srv_reply *r, json_t **root)
{
    *root = r->body ? json_loads(r->body, 0, NULL) : NULL;
    return json_string_value(json_object_get(json_object_get(*root, "error"), "param"));
}

static void open_body(dlx_srv_take *t, const char *body, dlx_srv_reply *reply)
{
    *reply = (dlx_srv_reply){0};
    dlx_srv_take_open(t, body, strlen(body), reply);
}

static void test_parameters(void **state)
{
    (void)state;
    dlx_srv_take t;
    dlx_srv_reply reply;
    int64_t whole = 7;
    double number = 7;
    bool flag = false;
    json_t *root;
    open_body(&t, "{\"i\": 3, \"r\": 4.0, \"x\": 0.5, \"b\": true, \"n\": null, \"h\": 1}", &reply);
    assert_true(dlx_srv_take_int(&t, "i", 0, 9, &whole) && whole == 3);
    assert_true(dlx_srv_take_int(&t, "r", 0, 9, &whole) && whole == 4);
    assert_true(dlx_srv_take_number(&t, "x", 0, 1, &number) && number == 0.5);
    assert_true(dlx_srv_take_bool(&t, "b", &flag) && flag);
    assert_false(dlx_srv_take_int(&t, "n", 0, 9, &whole) || dlx_srv_take_int(&t, "missing", 0, 9, &whole));
    dlx_srv_take_harmless(&t, "g h");
    assert_true(dlx_srv_take_end(&t));
    dlx_srv_take_close(&t);
    static const char *const wrong[] = {"{\"v\": 10}",    "{\"v\": -1}",   "{\"v\": 1.5}",
                                        "{\"v\": \"3\"}", "{\"v\": true}", "{\"v\": 1e300}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        open_body(&t, wrong[i], &reply);
        assert_false(dlx_srv_take_int(&t, "v", 0, 9, &whole));
        assert_true(t.failed && reply.status == 400);
        assert_string_equal(param_of(&reply, &root), "v");
        json_decref(root);
        dlx_srv_take_fail(&t, "w", "a later problem is not told");
        assert_string_equal(param_of(&reply, &root), "v");
        json_decref(root);
        dlx_srv_take_close(&t);
        dlx_srv_reply_free(&reply);
    }
    open_body(&t, "{\"made_up\": 1}", &reply);
    assert_false(dlx_srv_take_end(&t));
    assert_string_equal(param_of(&reply, &root), "made_up");
    json_decref(root);
    dlx_srv_take_close(&t);
    dlx_srv_reply_free(&reply);
    open_body(&t, "[1]", &reply);
    assert_true(t.failed && !dlx_srv_take_any(&t, "x"));
    dlx_srv_take_close(&t);
    dlx_srv_reply_free(&reply);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void note(void *ctx)
{
    atomic_fetch_add((atomic_int *)ctx, 1);
}

static bool wait_for(atomic_int *seen)
{
    for (int i = 0; i < 2000 && !atomic_load(seen); i++) nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    return atomic_load(seen);
}

static void test_closed_peers_are_noticed(void **state)
{
    (void)state;
    atomic_int seen = 0, other = 0;
    int pair[2], second[2];
    char byte;
    dlx_srv_watch *w = dlx_srv_watch_open(8, 1000);
    assert_non_null(w);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, second), 0);
    dlx_srv_peer *peer = dlx_srv_peer_join(w, pair[0], 60), *late = dlx_srv_peer_join(w, second[0], 60);
    dlx_srv_peer_on_close(w, peer, note, &seen);
    dlx_srv_peer_on_close(w, late, note, &other);
    assert_int_equal(write(pair[1], "next", 4), 4); /* an eager client is still there */
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    assert_int_equal(atomic_load(&seen), 0);
    close(pair[1]);
    assert_true(wait_for(&seen));
    assert_int_equal(atomic_load(&other), 0);
    /* Nobody looks any more. */
    dlx_srv_peer_on_close(w, late, NULL, NULL);
    close(second[1]);
    dlx_srv_peer_leave(w, peer);
    dlx_srv_peer_leave(w, late);
    assert_int_equal(atomic_load(&seen), 1);
    assert_int_equal(atomic_load(&other), 0);
    close(pair[0]);
    close(second[0]);
    /* Whoever takes too long is cut off. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    peer = dlx_srv_peer_join(w, pair[0], 60);
    dlx_srv_peer_on_close(w, peer, note, &other);
    dlx_srv_watch_limit(w, &other, 0);
    assert_int_equal(read(pair[1], &byte, 1), 0);
    dlx_srv_peer_leave(w, peer);
    dlx_srv_watch_close(w);
    close(pair[0]);
    close(pair[1]);
}

/* One end of a connection that joins, with a byte that nobody has read yet or without. */
static dlx_srv_peer *join(dlx_srv_watch *w, int pair[2], bool eager)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    if (eager) assert_int_equal(write(pair[1], "G", 1), 1);
    return dlx_srv_peer_join(w, pair[0], 60);
}

static void assert_cut(const int pair[2], bool expected)
{
    char byte;
    if (expected)
        assert_int_equal(read(pair[1], &byte, 1), 0); /* waits for it */
    else
        assert_int_equal(recv(pair[1], &byte, 1, MSG_DONTWAIT), -1);
}

static void test_who_makes_room_for_others(void **state)
{
    (void)state;
    enum { WORKED_ON, ASKING, TAKING, IDLE, FOURTH, EAGER, SECOND_EAGER, LAST, PEERS };
    int pair[PEERS][2];
    dlx_srv_peer *peer[PEERS];
    dlx_srv_watch *w = dlx_srv_watch_open(4, 1);
    assert_non_null(w);
    for (int i = 0; i < FOURTH; i++) peer[i] = join(w, pair[i], false);
    dlx_srv_peer_turn(w, peer[WORKED_ON], DLX_SRV_WORKED_ON, 0);
    dlx_srv_peer_turn(w, peer[ASKING], DLX_SRV_ASKING, -1);
    dlx_srv_peer_turn(w, peer[TAKING], DLX_SRV_TAKING, 60);
    assert_false(dlx_srv_peer_beyond(w, peer[IDLE]));
    peer[FOURTH] = join(w, pair[FOURTH], false);
    assert_cut(pair[IDLE], true);
    peer[EAGER] = join(w, pair[EAGER], true);
    assert_cut(pair[FOURTH], true);
    peer[SECOND_EAGER] = join(w, pair[SECOND_EAGER], true);
    assert_cut(pair[ASKING], true);
    peer[LAST] = join(w, pair[LAST], true);
    assert_cut(pair[TAKING], true);
    dlx_srv_watch_wait(w, 4, 60000);
    dlx_srv_peer_turn(w, peer[EAGER], DLX_SRV_WORKED_ON, 0);
    dlx_srv_peer_turn(w, peer[SECOND_EAGER], DLX_SRV_WORKED_ON, 0);
    dlx_srv_peer_turn(w, peer[LAST], DLX_SRV_WORKED_ON, 0);
    assert_false(dlx_srv_peer_beyond(w, peer[LAST]));
    dlx_srv_peer_leave(w, peer[IDLE]);
    close(pair[IDLE][0]);
    close(pair[IDLE][1]);
    peer[IDLE] = join(w, pair[IDLE], true); /* nobody else can go */
    assert_true(dlx_srv_peer_beyond(w, peer[IDLE]));
    dlx_srv_watch_wait(w, 4, 1);
    assert_cut(pair[WORKED_ON], false);
    assert_cut(pair[IDLE], false);
    for (int i = 0; i < PEERS; i++) {
        dlx_srv_peer_leave(w, peer[i]);
        close(pair[i][0]);
        close(pair[i][1]);
    }
    dlx_srv_watch_close(w);
}

static void test_hosts(void **state)
{
    (void)state;
    static const char *const here[] = {"127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "::1", "[::1]"};
    static const char *const elsewhere[] = {
        "0.0.0.0",     "::",        "10.0.0.1", "127.0.0.1.example", "localhost.example", "",
        "127.0.0.256", "128.0.0.1", "127.0.0"};
    for (size_t i = 0; i < sizeof here / sizeof *here; i++) assert_true(dlx_srv_is_loopback(here[i]));
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) assert_false(dlx_srv_is_loopback(elsewhere[i]));
}

static void test_origins(void **state)
{
    (void)state;
    static const char *const origins[] = {"*",
                                          "null",
                                          "https://the.page",
                                          "http://127.0.0.1:3000",
                                          "http://[::1]:8080",
                                          "http://[::1]",
                                          "http://a:443",
                                          "https://a:80",
                                          "app://obsidian.md",
                                          "chrome-extension://abc_0"};
    static const char *const others[] = {"",
                                         "evil",
                                         "evil.example",
                                         "https://",
                                         "https:///",
                                         "://a",
                                         "https://a/",
                                         "https://a/b",
                                         "https://A.page",
                                         "HTTPS://a",
                                         "https://a:443",
                                         "http://a:80",
                                         "https://a:",
                                         "https://a:x",
                                         "https://a b",
                                         "https://u@a",
                                         "*.example",
                                         "https://*.a",
                                         "http://[::1",
                                         "http://[]x",
                                         "https://a:123456"};
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++)
        if (!dlx_srv_is_origin(origins[i])) fail_msg("'%s' is refused", origins[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (dlx_srv_is_origin(others[i])) fail_msg("'%s' is taken", others[i]);
}

static void test_rows_of_a_pass(void **state)
{
    (void)state;
    const int32_t rows[] = {1, 2, 4, 8, 16};
    const double free_ride[] = {10, 10, 10, 10, 10}, by_row[] = {1, 2, 4, 8, 16}, knee[] = {10, 10, 10.5, 20, 39};
    assert_int_equal(dlx_srv_row_budget(rows, free_ride, 5), 16);
    assert_int_equal(dlx_srv_row_budget(rows, by_row, 5), 1);
    assert_int_equal(dlx_srv_row_budget(rows, knee, 5), 4);
    assert_int_equal(dlx_srv_row_budget(rows, knee, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_the_queue_has_an_end),
        cmocka_unit_test(test_many_answers_do_not_crowd_out_others),
        cmocka_unit_test(test_prompts_that_begin_alike),
        cmocka_unit_test(test_room_for_sessions_in_use),
        cmocka_unit_test(test_text_is_taken_apart),
        cmocka_unit_test(test_tool_calls),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_closed_peers_are_noticed),
        cmocka_unit_test(test_who_makes_room_for_others),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_rows_of_a_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
