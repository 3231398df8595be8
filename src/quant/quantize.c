/* The pass that gives weights their forms. */
#include "quant/quant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/rewrite.h"

/* What a value is used for. A constant takes a form when it is a weight or a table and nothing else. */
enum { USE_WEIGHT = 1, USE_TABLE = 2, USE_OTHER = 4 };

/* What became of a rule. */
typedef struct rule_use {
    bool matches, wins; /* it names a weight; one that no rule in front of it names */
    bool several;       /* rules in front of it took what it names, */
    size_t before;      /* this one and others */
} rule_use;

typedef struct quantizer {
    dlx_rewrite r;
    const dlx_recipe *recipe;
    rule_use *rules;               /* [recipe->n_rules] */
    size_t over[DLX_WEIGHT_ROLES]; /* the last rule that gave weights of the role a form, + 1; 0: none did */
    uint8_t *uses;                 /* [from->n_values] */
    uint32_t *as_qd8;              /* [from->n_values] the value's CONVERT to QD8, DLX_NONE */
    uint32_t *as_weight;           /* [from->n_values] the constant in its form, as what it is used for; DLX_NONE */
    uint32_t *as_table;
    dlx_forms_given *given;
    dlx_error *err; /* never NULL */
} quantizer;

static bool float_matrix(const dlx_value *v)
{
    if (v->kind != DLX_VALUE_CONST || v->dtype != DLX_F32 || v->rank != 2) return false;
    return v->source.transform == DLX_CONST_PLAIN || v->source.transform == DLX_CONST_WIDEN;
}

static bool is_tokens(const dlx_graph *g, uint32_t v)
{
    const dlx_node *flat = dlx_made_as(g, v, DLX_OP_RESHAPE);
    return (flat ? flat->in[0] : v) == g->inputs[0];
}

/* Tables that tokens, the first input, are looked up in are the model's; those by position hold angles and numbers. */
static int use_of(const dlx_graph *g, const dlx_node *n, int operand)
{
    if (!float_matrix(&g->values[n->in[operand]])) return USE_OTHER;
    if (n->op == DLX_OP_LINEAR && operand == 1 && g->values[n->in[0]].dtype == DLX_F32) return USE_WEIGHT;
    if (n->op == DLX_OP_EMBEDDING && operand == 0 && n->inputs == 2 && is_tokens(g, n->in[1])) return USE_TABLE;
    return USE_OTHER;
}

static void find_uses(const dlx_graph *g, uint8_t *uses)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].inputs; k++) {
            uint32_t v = g->nodes[i].in[k];
            if (v != DLX_NONE) uses[v] |= (uint8_t)use_of(g, &g->nodes[i], k);
        }
    for (size_t i = 0; i < g->n_outputs; i++) uses[g->outputs[i]] |= USE_OTHER;
}

static bool takes_form(const quantizer *q, uint32_t old)
{
    return (q->uses[old] & (USE_WEIGHT | USE_TABLE)) && !(q->uses[old] & USE_OTHER);
}

static bool is_shared(const quantizer *q, uint32_t old)
{
    return (q->uses[old] & USE_WEIGHT) && (q->uses[old] & USE_TABLE);
}

static dlx_status no_memory(quantizer *q)
{
    return dlx_fail(q->err, DLX_E_NOMEM, "out of memory quantising a graph of %zu nodes", q->r.from->n_nodes);
}

/* What the recipe says about a weight of the old graph. */
static const dlx_weight_form *form_of(quantizer *q, uint32_t old, dlx_weight_role role)
{
    const char *names[DLX_WEIGHT_NAMES];
    dlx_weight_names(names, &q->r.from->values[old], role, is_shared(q, old));
    size_t n = q->recipe->n_rules, first = n;
    for (size_t i = 0; i < n; i++) {
        rule_use *use = &q->rules[i];
        if (!dlx_rule_matches(&q->recipe->rules[i], names)) continue;
        if (first == n) {
            first = i;
            use->wins = true;
        } else {
            use->several = use->several || (use->matches && !use->wins && use->before != first);
            use->before = first;
        }
        use->matches = true;
    }
    if (first < n) q->over[role] = first + 1;
    return dlx_recipe_form(q->recipe, names, role);
}

static void count(quantizer *q, uint32_t old, const dlx_weight_form *form, dlx_weight_role role)
{
    const dlx_value *v = &q->r.from->values[old];
    q->given->elements[role][dlx_form_place(form)] += (uint64_t)v->dim[0] * (uint64_t)v->dim[1];
}

/* A head belongs to no decoder layer, or shares its weight with the embedding. */
static dlx_weight_role role_of(const quantizer *q, const dlx_node *linear)
{
    return linear->layer < 0 || is_shared(q, linear->in[1]) ? DLX_ROLE_HEAD : DLX_ROLE_BODY;
}

/* ---- constants ---- */

/* `two`: scales as a table has them, [V,1]. */
static dlx_status scales_of(quantizer *q, const dlx_value *v, const dlx_weight_form *form, bool two, uint32_t *out)
{
    dlx_const_source source = v->source;
    int64_t dim[2] = {v->dim[0], form->group ? v->dim[1] / form->group : 1};
    char *name = NULL;
    if (v->name) {
        size_t n = strlen(v->name) + sizeof ".scales";
        name = dlx_arena_alloc(&q->r.to.arena, n);
        if (!name) return no_memory(q);
        snprintf(name, n, "%s.scales", v->name);
    }
    source.transform = form->stored == DLX_I4 ? DLX_CONST_INT4_SCALES : DLX_CONST_INT8_ROW_SCALES;
    dlx_dtype type = form->group ? DLX_BF16 : DLX_F32;
    *out = dlx_graph_const(&q->r.to, name, type, two || form->group ? 2 : 1, dim, source);
    return *out == DLX_NONE ? no_memory(q) : DLX_OK;
}

/* A constant in its form; name: NULL: the old one's. */
static dlx_status make(quantizer *q, uint32_t old, const dlx_weight_form *form, bool table, const char *name,
                       uint32_t *out)
{
    dlx_value v = q->r.from->values[old];
    if (form->stored == DLX_F32 && !name) {
        *out = dlx_rewrite_value(&q->r, old, q->err);
        return *out == DLX_NONE ? q->err->status : DLX_OK;
    }
    if (name) v.name = name;
    DLX_TRY(dlx_form_fits(form, &v, q->err));
    if (form->stored != DLX_F32) {
        if (v.source.transform == DLX_CONST_PLAIN) v.source.stored = DLX_F32;
        v.source.group = form->group;
        v.source.clip = q->recipe->clip && (form->stored == DLX_I8 || form->stored == DLX_I4);
        v.dtype = form->stored;
        v.source.transform = DLX_CONST_ROUND;
    }
    if (form->stored == DLX_I8 || form->stored == DLX_I4) {
        DLX_TRY(scales_of(q, &v, form, table, &v.scales));
        v.source.transform = form->stored == DLX_I4 ? DLX_CONST_INT4_ROWS : DLX_CONST_INT8_ROWS;
    }
    *out = dlx_graph_value(&q->r.to, &v);
    return *out == DLX_NONE ? no_memory(q) : DLX_OK;
}

static dlx_status table_of(quantizer *q, uint32_t old, const dlx_weight_form *form, uint32_t *out)
{
    if (q->as_table[old] == DLX_NONE) DLX_TRY(make(q, old, form, true, NULL, &q->as_table[old]));
    *out = q->as_table[old];
    return DLX_OK;
}

static dlx_status weight_of(quantizer *q, uint32_t old, const dlx_weight_form *form, uint32_t *out)
{
    if (q->as_weight[old] == DLX_NONE && is_shared(q, old)) {
        const dlx_weight_form *other = form_of(q, old, DLX_ROLE_TABLE);
        if (dlx_forms_store_alike(form, other))
            DLX_TRY(table_of(q, old, other, &q->as_weight[old]));
        else
            DLX_TRY(make(q, old, form, false, "lm_head.weight", &q->as_weight[old]));
    }
    if (q->as_weight[old] == DLX_NONE) DLX_TRY(make(q, old, form, false, NULL, &q->as_weight[old]));
    *out = q->as_weight[old];
    return DLX_OK;
}

/* ---- nodes ---- */

static dlx_status give_linear(quantizer *q, const dlx_node *n)
{
    const dlx_weight_form *form = form_of(q, n->in[1], role_of(q, n));
    uint32_t in[DLX_MAX_INPUTS];
    dlx_attr attr = n->attr;
    count(q, n->in[1], form, role_of(q, n));
    if (form->activations == DLX_QS8) attr.dtype = DLX_QS8;
    in[0] = dlx_rewrite_value(&q->r, n->in[0], q->err);
    if (in[0] == DLX_NONE) return q->err->status;
    if (form->activations == DLX_QD8) {
        uint32_t *as_qd8 = &q->as_qd8[n->in[0]];
        if (*as_qd8 == DLX_NONE) *as_qd8 = dlx_graph_node(&q->r.to, DLX_OP_CONVERT, in, 1, NULL, n->layer, q->err);
        in[0] = *as_qd8;
        if (in[0] == DLX_NONE) return q->err->status;
    }
    DLX_TRY(weight_of(q, n->in[1], form, &in[1]));
    for (int k = 2; k < n->inputs; k++) {
        in[k] = dlx_rewrite_value(&q->r, n->in[k], q->err);
        if (in[k] == DLX_NONE && n->in[k] != DLX_NONE) return q->err->status;
    }
    uint32_t out = dlx_graph_node(&q->r.to, DLX_OP_LINEAR, in, n->inputs, &attr, n->layer, q->err);
    return dlx_rewrite_set(&q->r, n->out[0], out, q->err);
}

static dlx_status give_embedding(quantizer *q, const dlx_node *n)
{
    const dlx_weight_form *form = form_of(q, n->in[0], DLX_ROLE_TABLE);
    uint32_t in[3];
    count(q, n->in[0], form, DLX_ROLE_TABLE);
    DLX_TRY(table_of(q, n->in[0], form, &in[0]));
    in[1] = dlx_rewrite_value(&q->r, n->in[1], q->err);
    in[2] = q->r.to.values[in[0]].scales;
    if (in[1] == DLX_NONE) return q->err->status;
    int inputs = in[2] == DLX_NONE ? 2 : 3;
    uint32_t out = dlx_graph_node(&q->r.to, DLX_OP_EMBEDDING, in, inputs, &n->attr, n->layer, q->err);
    if (form->stored == DLX_F16 || form->stored == DLX_BF16)
        out = dlx_graph_node(&q->r.to, DLX_OP_CONVERT, &out, 1, NULL, n->layer, q->err);
    return dlx_rewrite_set(&q->r, n->out[0], out, q->err);
}

static dlx_status quantise_node(quantizer *q, size_t i)
{
    const dlx_node *n = &q->r.from->nodes[i];
    if (n->op == DLX_OP_LINEAR && takes_form(q, n->in[1])) return give_linear(q, n);
    if (n->op == DLX_OP_EMBEDDING && takes_form(q, n->in[0])) return give_embedding(q, n);
    return dlx_rewrite_copy(&q->r, i, q->err);
}

static dlx_status allocate(quantizer *q, size_t n)
{
    q->rules = calloc(q->recipe->n_rules + 1, sizeof *q->rules);
    q->uses = calloc(n, sizeof *q->uses);
    q->as_qd8 = malloc(n * sizeof *q->as_qd8);
    q->as_weight = malloc(n * sizeof *q->as_weight);
    q->as_table = malloc(n * sizeof *q->as_table);
    if (!q->rules || !q->uses || !q->as_qd8 || !q->as_weight || !q->as_table) return no_memory(q);
    memset(q->as_qd8, 0xFF, n * sizeof *q->as_qd8);
    memset(q->as_weight, 0xFF, n * sizeof *q->as_weight);
    memset(q->as_table, 0xFF, n * sizeof *q->as_table);
    return DLX_OK;
}

/* ---- what has no effect ---- */

static void tell(const quantizer *q, const char *sentence)
{
    if (q->given->notice) q->given->notice(q->given->ctx, sentence);
}

static void tell_role(const quantizer *q, dlx_weight_role role, const char *key, const dlx_weight_form *form)
{
    char sentence[DLX_ERROR_MESSAGE_SIZE];
    if (!q->over[role]) return;
    const dlx_recipe_rule *rule = &q->recipe->rules[q->over[role] - 1];
    snprintf(sentence, sizeof sentence, "\"%s\": \"%s\" has no effect: '%.200s' names it as well and gives it %s", key,
             form->name, rule->pattern, rule->form->name);
    tell(q, sentence);
}

/* An error, unless it names what stays float32 all the same. */
static dlx_status without_weight(const quantizer *q, const dlx_recipe_rule *rule, const dlx_graph *g)
{
    bool *takes = calloc(g->n_values + 1, sizeof *takes);
    if (!takes) return dlx_fail(q->err, DLX_E_NOMEM, "out of memory looking for '%.100s'", rule->pattern);
    for (size_t i = 0; i < g->n_values; i++) takes[i] = takes_form(q, (uint32_t)i);
    dlx_status s = dlx_rule_without_weight(rule, g, takes, q->err);
    free(takes);
    return s;
}

static dlx_status tell_idle(quantizer *q, const dlx_graph *g)
{
    const dlx_recipe *r = q->recipe;
    char sentence[DLX_ERROR_MESSAGE_SIZE];
    for (size_t i = 0; i < r->n_rules; i++) {
        const rule_use *use = &q->rules[i];
        if (use->wins) continue;
        if (use->matches) {
            snprintf(sentence, sizeof sentence,
                     "'%.200s' has no effect: all that it names, '%.200s'%s in front of it %s", r->rules[i].pattern,
                     r->rules[use->before].pattern, use->several ? " and others" : "",
                     use->several ? "name as well" : "names as well");
        } else {
            DLX_TRY(without_weight(q, &r->rules[i], g));
            snprintf(sentence, sizeof sentence,
                     "'%.200s' names nothing that takes a form: what it leaves out is float32 in every file",
                     r->rules[i].pattern);
        }
        tell(q, sentence);
    }
    if (r->head_told) tell_role(q, DLX_ROLE_HEAD, "head", r->head);
    if (r->table_told) tell_role(q, DLX_ROLE_TABLE, "embedding", r->table);
    return DLX_OK;
}

static dlx_status quantise_graph(quantizer *q, dlx_graph *g)
{
    DLX_TRY(dlx_rewrite_begin(&q->r, g, q->err));
    DLX_TRY(allocate(q, g->n_values ? g->n_values : 1));
    find_uses(g, q->uses);
    for (size_t i = 0; i < g->n_nodes; i++) DLX_TRY(quantise_node(q, i));
    DLX_TRY(tell_idle(q, g));
    return dlx_rewrite_finish(&q->r, g, q->err);
}

dlx_status dlx_quantize(dlx_graph *g, const dlx_recipe *recipe, dlx_error *err)
{
    dlx_forms_given given = {.notice = NULL};
    return dlx_quantize_telling(g, recipe, &given, err);
}

dlx_status dlx_quantize_telling(dlx_graph *g, const dlx_recipe *recipe, dlx_forms_given *given, dlx_error *err)
{
    dlx_error local = {0};
    quantizer q = {.recipe = recipe, .given = given, .err = &local};
    dlx_status s = quantise_graph(&q, g);
    free(q.rules);
    free(q.uses);
    free(q.as_qd8);
    free(q.as_weight);
    free(q.as_table);
    if (s != DLX_OK) {
        dlx_rewrite_abandon(&q.r);
        if (local.status == DLX_OK) dlx_fail(&local, s, "out of memory quantising a graph");
        if (err) *err = local;
    }
    return s;
}
