/* for statements and what `loop` knows about them. */
#include <string.h>

#include "text/jinja/methods.h"
#include "text/jinja/run.h"

/* The next element that passes the loop's own filter, without looking at what was peeked. */
static int next_of_sequence(dlx_jx *x, dlx_jv_loop *loop, dlx_jv *out)
{
    const dlx_jinja_node *node = &x->tree->nodes[loop->node];
    for (;;) {
        int more = dlx_jx_next(x, loop->it, out);
        if (more <= 0 || node->f[2] == DLX_JINJA_NONE || loop->has_length) return more;
        dlx_jx_scope *before = x->scope;
        dlx_jv passes;
        x->scope = loop->scope;
        bool fine = dlx_jx_push_scope(x) && dlx_jx_assign(x, node->f[0], out) && dlx_jx_eval(x, node->f[2], &passes);
        x->scope = before;
        if (!fine) return -1;
        if (dlx_jv_truth(&passes)) return 1;
    }
}

static int next_of_loop(dlx_jx *x, dlx_jv_loop *loop, dlx_jv *out)
{
    int more = 1;
    if (loop->after.type != DLX_JV_ABSENT) {
        *out = loop->after;
        loop->after = dlx_jv_absent();
    } else {
        more = next_of_sequence(x, loop, out);
    }
    if (more <= 0) return more;
    loop->index0++;
    loop->before = loop->current;
    loop->current = *out;
    return 1;
}

/* 1: loop->after is the next element, 0: there is none, -1: failed. */
static int peek(dlx_jx *x, dlx_jv_loop *loop)
{
    if (loop->after.type != DLX_JV_ABSENT) return 1;
    int more = next_of_sequence(x, loop, &loop->after);
    if (more != 1) loop->after = dlx_jv_absent();
    return more;
}

/* The number of elements; what has no length is read to its end first. */
static bool length_of(dlx_jx *x, dlx_jv_loop *loop, int64_t *n)
{
    bool filtered = x->tree->nodes[loop->node].f[2] != DLX_JINJA_NONE;
    if (loop->has_length) {
        *n = (int64_t)loop->length;
        return true;
    }
    if (!filtered && loop->sequence.type != DLX_JV_ITERATOR) {
        if (!dlx_jv_length(x, &loop->sequence, &loop->length)) return false;
    } else {
        dlx_jv_list *rest;
        dlx_jv item, sequence;
        if (!dlx_jv_new_list(x, 0, &rest)) return false;
        for (int more = 1; more;) {
            more = next_of_sequence(x, loop, &item);
            if (more < 0 || (more && !dlx_jv_push(x, rest, item))) return false;
        }
        sequence = dlx_jv_of_list(rest, false);
        loop->length = rest->n + (size_t)(loop->index0 + 1) + (loop->after.type != DLX_JV_ABSENT);
        if (!dlx_jx_iterate(x, &sequence, &loop->it)) return false;
        loop->has_length = true; /* from here on without the filter */
    }
    *n = (int64_t)loop->length;
    return true;
}

static bool neighbour(dlx_jx *x, dlx_jv_loop *loop, bool next, dlx_jv *out)
{
    if (!next) {
        if (loop->index0 == 0) return dlx_jv_undefined_because(x, "there is no previous item", out);
        *out = loop->before;
        return true;
    }
    int more = peek(x, loop);
    if (more == 0) return dlx_jv_undefined_because(x, "there is no next item", out);
    *out = loop->after;
    return more > 0;
}

bool dlx_jx_loop_attribute(dlx_jx *x, dlx_jv_loop *loop, const dlx_jv_string *name, dlx_jv *out, bool *found)
{
    static const char *const names[] = {"index0",   "index",     "first",    "depth0",   "depth", "last",   "length",
                                        "revindex", "revindex0", "previtem", "nextitem", "cycle", "changed"};
    size_t i = 0;
    int64_t n = 0;
    while (i < sizeof names / sizeof names[0] &&
           (strlen(names[i]) != name->n || memcmp(names[i], name->p, name->n) != 0))
        i++;
    *found = i < sizeof names / sizeof names[0];
    if (i >= 6 && i <= 8 && !length_of(x, loop, &n)) return false;
    switch (i) {
    case 0: *out = dlx_jv_int(loop->index0); return true;
    case 1: *out = dlx_jv_int(loop->index0 + 1); return true;
    case 2: *out = dlx_jv_bool(loop->index0 == 0); return true;
    case 3: *out = dlx_jv_int(loop->depth0); return true;
    case 4: *out = dlx_jv_int(loop->depth0 + 1); return true;
    case 5: {
        int more = peek(x, loop);
        *out = dlx_jv_bool(more == 0);
        return more >= 0;
    }
    case 6: *out = dlx_jv_int(n); return true;
    case 7: *out = dlx_jv_int(n - loop->index0); return true;
    case 8: *out = dlx_jv_int(n - loop->index0 - 1); return true;
    case 9:
    case 10: return neighbour(x, loop, i == 10, out);
    case 11:
    case 12: {
        dlx_jv *self = dlx_jx_alloc(x, sizeof *self);
        dlx_jv method = {.type = DLX_JV_LOOP, .as.loop = loop};
        uint32_t number = 0;
        if (!self) return false;
        *self = method;
        *found = dlx_jx_find_method(self, name->p, name->n, &number);
        *out = (dlx_jv){.type = DLX_JV_METHOD, .number = number, .as.self = self};
        return true;
    }
    default: return true;
    }
}

/* One turn of the body, in a scope of its own. */
static dlx_jx_flow run_body(dlx_jx *x, dlx_jv_loop *loop, const dlx_jinja_node *node, const dlx_jv *item)
{
    dlx_jv value = {.type = DLX_JV_LOOP, .as.loop = loop};
    x->scope = loop->scope;
    if (loop->body && !loop->body->kept) {
        loop->body->n = 0;
        x->scope = loop->body;
    } else if (!dlx_jx_push_scope(x)) {
        return DLX_JX_FAILED;
    }
    loop->body = x->scope;
    if (!dlx_jx_set_name(x, x->scope, DLX_JX_LOOP, value) || !dlx_jx_assign(x, node->f[0], item)) return DLX_JX_FAILED;
    return dlx_jx_run(x, node->f[3]);
}

dlx_jx_flow dlx_jx_run_loop(dlx_jx *x, uint32_t i, dlx_jx_scope *scope, const dlx_jv *sequence, int64_t depth0)
{
    const dlx_jinja_node *node = &x->tree->nodes[i];
    dlx_jv_loop *loop = dlx_jx_alloc(x, sizeof *loop);
    dlx_jx_scope *before = x->scope;
    dlx_jx_flow flow = DLX_JX_GO_ON;
    bool any = false;
    dlx_jv item;
    if (!loop) return DLX_JX_FAILED;
    *loop = (dlx_jv_loop){.node = i, .scope = scope, .sequence = *sequence, .index0 = -1, .depth0 = depth0};
    loop->current = loop->before = loop->after = loop->changed = dlx_jv_absent();
    if (!dlx_jx_iterate(x, sequence, &loop->it)) return DLX_JX_FAILED;
    while (flow == DLX_JX_GO_ON) {
        int more = next_of_loop(x, loop, &item);
        if (more < 0) flow = DLX_JX_FAILED;
        if (more <= 0) break;
        flow = run_body(x, loop, node, &item);
        any = any || flow == DLX_JX_GO_ON; /* as in Jinja, a turn that is cut short does not count for `else` */
        if (flow == DLX_JX_CONTINUE) flow = DLX_JX_GO_ON;
    }
    if (flow == DLX_JX_BREAK) flow = DLX_JX_GO_ON;
    x->scope = scope;
    if (flow == DLX_JX_GO_ON && !any && node->f[4] != DLX_JINJA_NONE && dlx_jx_push_scope(x))
        flow = dlx_jx_run(x, node->f[4]);
    x->scope = before;
    return x->status == DLX_OK ? flow : DLX_JX_FAILED;
}
