#include "quant/recipe.h"

#include <stdio.h>
#include <string.h>

bool dlx_pattern_matches(const char *pattern, const char *name)
{
    const char *star = NULL, *again = NULL; /* the last '*', and where what it stands for may end */
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            again = name;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++again;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

void dlx_weight_names(const char *names[DLX_WEIGHT_NAMES], const dlx_value *w, dlx_weight_role role, bool shared)
{
    size_t n = 0;
    if (role == DLX_ROLE_HEAD && shared) {
        names[n++] = "lm_head.weight";
    } else {
        if (w->source.tensor) names[n++] = w->source.tensor;
        if (w->name) names[n++] = w->name;
    }
    names[n] = NULL;
}

enum { LONGEST_NAME = 255 };

/* The name without ".weight". */
static void stem_of(char stem[LONGEST_NAME + 1], const char *name)
{
    static const char end[] = ".weight";
    size_t n = strlen(name), tail = sizeof end - 1;
    if (n > tail && strcmp(name + n - tail, end) == 0) n -= tail;
    snprintf(stem, LONGEST_NAME + 1, "%.*s", (int)(n < LONGEST_NAME ? n : LONGEST_NAME), name);
}

/* With ".weight" and without. */
static bool matches(const char *pattern, const char *name)
{
    char stem[LONGEST_NAME + 1];
    stem_of(stem, name);
    return dlx_pattern_matches(pattern, name) || dlx_pattern_matches(pattern, stem);
}

bool dlx_rule_matches(const dlx_recipe_rule *rule, const char *const *names)
{
    for (size_t k = 0; names[k]; k++)
        if (matches(rule->pattern, names[k])) return true;
    return false;
}

const dlx_weight_form *dlx_recipe_form(const dlx_recipe *r, const char *const *names, dlx_weight_role role)
{
    const dlx_weight_form *of_role[] = {
        [DLX_ROLE_BODY] = r->body, [DLX_ROLE_HEAD] = r->head, [DLX_ROLE_TABLE] = r->table};
    for (size_t i = 0; i < r->n_rules; i++)
        if (dlx_rule_matches(&r->rules[i], names)) return r->rules[i].form;
    return of_role[role];
}

/* "layers.0.down.weight (model.layers.0.mlp.down_proj.weight)", ours without ".weight" being what a pattern may say. */
static void describe(char *text, size_t size, const dlx_value *w)
{
    const char *name = w->name ? w->name : "(unnamed)", *tensor = w->source.tensor;
    bool both = tensor && strcmp(tensor, name) != 0;
    snprintf(text, size, "'%.100s'%s%.150s%s", name, both ? " (" : "", both ? tensor : "", both ? ")" : "");
}

dlx_status dlx_form_fits(const dlx_weight_form *form, const dlx_value *w, dlx_error *err)
{
    char name[300], unit[64];
    int64_t of = form->stored != DLX_I4 ? 1 : form->group ? form->group : 2;
    if (w->dim[1] % of == 0) return DLX_OK;
    describe(name, sizeof name, w);
    if (form->group)
        snprintf(unit, sizeof unit, "its groups of %lld do not divide rows of %lld", (long long)of,
                 (long long)w->dim[1]);
    else
        snprintf(unit, sizeof unit, "it needs rows of even length, not of %lld", (long long)w->dim[1]);
    return dlx_fail(
        err, DLX_E_UNSUPPORTED,
        "weight %s [%lld, %lld], %llu bytes, does not fit %s: %s; leave it out or give it a form of its own, "
        "int8-dynamic for instance",
        name, (long long)w->dim[0], (long long)w->dim[1], (unsigned long long)w->source.bytes, form->name, unit);
}

/* ---- rules that are of no use ---- */

/* How many characters must be put in, left out or exchanged. */
static size_t distance(const char *a, const char *b)
{
    size_t row[LONGEST_NAME + 1], m = strlen(b);
    m = m < LONGEST_NAME ? m : LONGEST_NAME;
    for (size_t k = 0; k <= m; k++) row[k] = k;
    for (size_t i = 0; a[i] && i < LONGEST_NAME; i++) {
        size_t corner = row[0];
        row[0] = i + 1;
        for (size_t k = 0; k < m; k++) {
            size_t exchanged = corner + (a[i] != b[k]), shorter = (row[k] < row[k + 1] ? row[k] : row[k + 1]) + 1;
            corner = row[k + 1];
            row[k + 1] = exchanged < shorter ? exchanged : shorter;
        }
    }
    return row[m];
}

enum { NEAREST = 3 };

typedef struct nearest {
    char name[NEAREST][LONGEST_NAME + 1];
    size_t distance[NEAREST];
    int n;
} nearest;

static void consider(nearest *best, const char *pattern, const char *name)
{
    char stem[LONGEST_NAME + 1];
    stem_of(stem, name);
    for (int i = 0; i < best->n; i++)
        if (strcmp(best->name[i], stem) == 0) return;
    size_t far = distance(pattern, stem);
    int at = best->n;
    while (at > 0 && best->distance[at - 1] > far) at--;
    if (at == NEAREST) return;
    int last = best->n < NEAREST ? best->n++ : NEAREST - 1;
    for (int i = last; i > at; i--) {
        best->distance[i] = best->distance[i - 1];
        memcpy(best->name[i], best->name[i - 1], sizeof best->name[i]);
    }
    best->distance[at] = far;
    memcpy(best->name[at], stem, sizeof stem);
}

/* A tensor of the checkpoint, or a weight that a caller gave a name. */
static bool has_name(const dlx_value *v)
{
    return v->kind == DLX_VALUE_CONST && (v->source.tensor || (v->name && v->rank == 2));
}

dlx_status dlx_rule_without_weight(const dlx_recipe_rule *rule, const dlx_graph *g, const bool *takes_form,
                                   dlx_error *err)
{
    char anywhere[LONGEST_NAME + 1]; /* the end of names, as "q_proj" is */
    nearest best = {.n = 0};
    snprintf(anywhere, sizeof anywhere, "*%s", rule->pattern);
    consider(&best, rule->pattern, "lm_head"); /* also where a table is the head as well */
    for (size_t i = 0; i < g->n_values; i++) {
        const dlx_value *v = &g->values[i];
        const char *names[] = {v->name, v->source.tensor};
        for (int k = 0; has_name(v) && k < 2; k++) {
            if (!names[k]) continue;
            if (matches(rule->pattern, names[k]) && rule->form->stored == DLX_F32) return DLX_OK;
            if (matches(rule->pattern, names[k]))
                return dlx_fail(err, DLX_E_INVALID,
                                "'%.100s' names no weight matrix that a form could be given to: '%.150s' stays float32",
                                rule->pattern, names[k]);
            if (!takes_form[i]) continue;
            consider(&best, rule->pattern, names[k]);
            if (matches(anywhere, names[k])) consider(&best, rule->pattern, anywhere);
        }
    }
    char list[3 * 64] = "";
    for (int i = 0; i < best.n; i++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%.60s", i ? ", " : "", best.name[i]);
    }
    return dlx_fail(err, DLX_E_INVALID, "'%.100s' names no weight of this model; the nearest names are %s%s",
                    rule->pattern, list,
                    strpbrk(rule->pattern, "[]") ? "; of patterns only '*' and '?' are known" : "");
}

bool dlx_recipe_is_static(const dlx_recipe *r)
{
    bool yes = r->body->activations == DLX_QS8 || r->head->activations == DLX_QS8;
    for (size_t i = 0; i < r->n_rules; i++) yes = yes || r->rules[i].form->activations == DLX_QS8;
    return yes;
}
