#include "api/inspect_steps.h"

#include <stdio.h>
#include <string.h>

enum { MOST_STEPS_IN_TEXT = 64 };
enum { OTHERS = 3 }; /* instructions that are no operators and have names of ours */

static dlx_status no_memory(dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory describing a method");
}

/* ---- delegates ---- */

static dlx_status view_delegates(dlx_method_steps *s, const dlx_pte *pte, const dlx_pte_plan *plan, uint64_t *left,
                                 dlx_error *err)
{
    s->n_delegates = plan->n_delegates;
    s->delegates = dlx_arena_array(&s->arena, (size_t)plan->n_delegates + 1, sizeof *s->delegates);
    if (!s->delegates) return no_memory(err);
    for (uint32_t i = 0; i < plan->n_delegates; i++)
        DLX_TRY(dlx_delegate_view_open(&s->delegates[i], &s->arena, pte, &plan->delegates[i], left, err));
    return DLX_OK;
}

/* ---- steps ---- */

typedef struct stepper {
    const dlx_pte_plan *plan;
    dlx_arena *arena;
    dlx_method_step *steps;
    uint32_t n;
    const char **names;      /* [n_operators + OTHERS] */
    uint32_t *last, *place;  /* likewise: the step that counted it last, from 1 on, and where it did */
    dlx_counted_word *words; /* [n_words] of all steps */
    uint32_t n_words;
    bool *seen;   /* [n_values] */
    bool *called; /* [n_delegates] */
} stepper;

static const char *name_of(dlx_arena *arena, const dlx_pte_operator *o)
{
    size_t n = strlen(o->name) + strlen(o->overload) + 2;
    char *name = dlx_arena_alloc(arena, n);
    if (name) snprintf(name, n, "%s%s%s", o->name, *o->overload ? "." : "", o->overload);
    return name;
}

static dlx_status begin(stepper *x, dlx_error *err)
{
    static const char *const others[OTHERS] = {"(move)", "(jump)", "(free)"};
    const dlx_pte_plan *p = x->plan;
    size_t kinds = (size_t)p->n_operators + OTHERS, n = (size_t)p->n_instructions + 1;
    x->steps = dlx_arena_array(x->arena, n, sizeof *x->steps);
    x->names = dlx_arena_array(x->arena, kinds, sizeof *x->names);
    x->last = dlx_arena_array(x->arena, kinds, sizeof *x->last);
    x->place = dlx_arena_array(x->arena, kinds, sizeof *x->place);
    x->words = dlx_arena_array(x->arena, n, sizeof *x->words);
    x->seen = dlx_arena_array(x->arena, (size_t)p->n_values + 1, sizeof *x->seen);
    x->called = dlx_arena_array(x->arena, (size_t)p->n_delegates + 1, sizeof *x->called);
    if (!x->steps || !x->names || !x->last || !x->place || !x->words || !x->seen || !x->called) return no_memory(err);
    for (uint32_t i = 0; i < p->n_operators; i++)
        if (!(x->names[i] = name_of(x->arena, &p->operators[i]))) return no_memory(err);
    memcpy(x->names + p->n_operators, others, sizeof others);
    for (uint32_t i = 0; i < p->n_values; i++)
        x->seen[i] = p->values[i].kind != DLX_EV_TENSOR || p->values[i].u.tensor.blob != DLX_PTE_NO_BLOB;
    for (uint32_t i = 0; i < p->n_inputs; i++) x->seen[p->inputs[i]] = true;
    return DLX_OK;
}

static void count(stepper *x, uint32_t kind)
{
    if (!x->n || x->steps[x->n - 1].delegate >= 0)
        x->steps[x->n++] = (dlx_method_step){.delegate = -1, .operators = x->words + x->n_words};
    dlx_method_step *s = &x->steps[x->n - 1];
    if (x->last[kind] != x->n) {
        x->last[kind] = x->n;
        x->place[kind] = x->n_words;
        x->words[x->n_words++] = (dlx_counted_word){.word = x->names[kind]};
        s->n_operators++;
    }
    x->words[x->place[kind]].count++;
}

/* Arguments of a delegate are inputs, then outputs. What nobody wrote or read before is an output, unless such a thing
 * follows it; the delegate knows better where it says so of itself. */
static void call(stepper *x, const dlx_instruction *ins, const dlx_delegate_view *v)
{
    dlx_method_step *s = &x->steps[x->n++];
    *s = (dlx_method_step){.delegate = ins->index, .again = x->called[ins->index]};
    x->called[ins->index] = true;
    for (uint32_t i = 0; i < ins->n_args; i++)
        if (x->seen[ins->args[i]]) s->inputs = i + 1;
    if (v->has_calls && (uint64_t)v->inputs + v->outputs == ins->n_args) s->inputs = v->inputs;
    s->outputs = ins->n_args - s->inputs;
}

static void walk(stepper *x, const dlx_method_steps *to)
{
    for (uint32_t i = 0; i < x->plan->n_instructions; i++) {
        const dlx_instruction *ins = &x->plan->instructions[i];
        switch (ins->kind) {
        case DLX_INS_KERNEL: count(x, (uint32_t)ins->index); break;
        case DLX_INS_DELEGATE: call(x, ins, &to->delegates[ins->index]); break;
        case DLX_INS_MOVE:
            count(x, x->plan->n_operators);
            x->seen[ins->target] = true;
            break;
        case DLX_INS_JUMP_FALSE: count(x, x->plan->n_operators + 1); break;
        case DLX_INS_FREE: count(x, x->plan->n_operators + 2); break;
        }
        for (uint32_t k = 0; k < ins->n_args; k++) x->seen[ins->args[k]] = true;
    }
}

dlx_status dlx_steps_open(dlx_method_steps *out, const dlx_pte *pte, const dlx_pte_plan *plan, uint64_t *left,
                          dlx_error *err)
{
    *out = (dlx_method_steps){.n = 0};
    dlx_arena_init(&out->arena);
    stepper x = {.plan = plan, .arena = &out->arena};
    DLX_TRY(view_delegates(out, pte, plan, left, err));
    DLX_TRY(begin(&x, err));
    walk(&x, out);
    out->step = x.steps;
    out->n = x.n;
    out->called = x.called;
    return DLX_OK;
}

void dlx_steps_free(dlx_method_steps *s)
{
    dlx_arena_free(&s->arena);
    *s = (dlx_method_steps){.n = 0};
}

/* ---- printing ---- */

static void text_uncalled(dlx_text_buffer *t, const dlx_method_steps *s)
{
    for (uint32_t i = 0; i < s->n_delegates; i++) {
        if (s->called[i]) continue;
        dlx_put(t, "  never called   delegate %u, ", i);
        dlx_put_delegate_name(t, &s->delegates[i]);
        dlx_put(t, "\n");
    }
}

static void text_call(dlx_text_buffer *t, const dlx_method_steps *s, const dlx_method_step *step)
{
    const dlx_delegate_view *v = &s->delegates[step->delegate];
    dlx_put(t, "delegate %d, ", step->delegate);
    dlx_put_delegate_name(t, v);
    dlx_put(t, ", %u input%s, %u output%s%s\n", step->inputs, step->inputs == 1 ? "" : "s", step->outputs,
            step->outputs == 1 ? "" : "s", step->again ? ", as above" : "");
    if (!step->again) dlx_put_delegate_lines(t, v);
}

void dlx_put_steps(dlx_text_buffer *t, const dlx_method_steps *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        if (i == MOST_STEPS_IN_TEXT) {
            dlx_put(t, "  step ...       %u more\n", s->n - i);
            break;
        }
        dlx_put(t, "  step %-4u      ", i + 1);
        if (s->step[i].delegate >= 0) {
            text_call(t, s, &s->step[i]);
            continue;
        }
        dlx_put_counts(t, s->step[i].operators, s->step[i].n_operators);
        dlx_put(t, "\n");
    }
    text_uncalled(t, s);
}

void dlx_put_steps_json(dlx_text_buffer *t, const dlx_method_steps *s)
{
    dlx_put(t, ",\"delegates\":[");
    for (uint32_t i = 0; i < s->n_delegates; i++) {
        dlx_put(t, "%s", i ? "," : "");
        dlx_put_delegate_json(t, &s->delegates[i]);
    }
    dlx_put(t, "],\"steps\":[");
    for (uint32_t i = 0; i < s->n; i++) {
        const dlx_method_step *step = &s->step[i];
        dlx_put(t, "%s{", i ? "," : "");
        if (step->delegate >= 0) {
            dlx_put(t, "\"delegate\":%d,\"inputs\":%u,\"outputs\":%u}", step->delegate, step->inputs, step->outputs);
            continue;
        }
        dlx_put(t, "\"operators\":");
        dlx_put_counts_json(t, step->operators, step->n_operators);
        dlx_put(t, "}");
    }
    dlx_put(t, "]");
}
