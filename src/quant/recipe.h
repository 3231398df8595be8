/*
 * Recipes: which form each weight of a model takes. A scheme gives one to the layers, the head and the embedding table;
 * rules give another to single tensors.
 */
#ifndef DLX_QUANT_RECIPE_H
#define DLX_QUANT_RECIPE_H

#include "base/status.h"
#include "graph/graph.h"
#include "quant/forms.h"

/* `pattern` is of a tensor's name in the checkpoint ("model.layers.*.mlp.down_proj") or of ours ("layers.0.down"), with
 * or without ".weight"; '*' stands for any text, '?' for any character. */
typedef struct dlx_recipe_rule {
    const char *pattern;
    const dlx_weight_form *form;
} dlx_recipe_rule;

typedef struct dlx_recipe {
    const dlx_weight_form *body, *head, *table; /* of linear layers, of the head, of the embedding table */
    const dlx_recipe_rule *rules;               /* the first one that matches wins */
    size_t n_rules;
    bool head_told, table_told; /* somebody chose those two by themselves, not only a scheme */
    bool clip; /* scales of int8 and int4 are the ones that miss the weights least, not those of the largest ones */
} dlx_recipe;

/* What a weight is in the model. A table that is the head as well has both roles, and may have a form for each. */
typedef enum dlx_weight_role { DLX_ROLE_BODY, DLX_ROLE_HEAD, DLX_ROLE_TABLE, DLX_WEIGHT_ROLES } dlx_weight_role;

/*
 * The names that patterns are compared with: `shared` says that the head is the embedding table, which then is called
 * "lm_head" as the head and as it is called as the table. At most DLX_WEIGHT_NAMES, ends with NULL.
 */
enum { DLX_WEIGHT_NAMES = 3 };
void dlx_weight_names(const char *names[DLX_WEIGHT_NAMES], const dlx_value *w, dlx_weight_role role, bool shared);

bool dlx_rule_matches(const dlx_recipe_rule *rule, const char *const *names);
/* The form of a weight. */
const dlx_weight_form *dlx_recipe_form(const dlx_recipe *r, const char *const *names, dlx_weight_role role);

/* DLX_E_UNSUPPORTED, with what to do, when the form cannot hold the matrix w [n,k]. */
dlx_status dlx_form_fits(const dlx_weight_form *form, const dlx_value *w, dlx_error *err);

/* What weights were given: how many elements of each role took a form, which is at its place in the table. */
typedef struct dlx_forms_given {
    uint64_t elements[DLX_WEIGHT_ROLES][DLX_MOST_FORMS];
    /* May be NULL; a sentence on a part of the recipe that has no effect: a rule that leaves out what is float32
     * anyway, or that rules in front of it leave nothing to, a form of the head or the table where a rule gives
     * another. */
    void (*notice)(void *ctx, const char *sentence);
    void *ctx;
} dlx_forms_given;

/* DLX_E_INVALID for a rule that gave its form to no weight of graph g: what it matches instead, or the names nearest to
 * its pattern of those that a form can be given to (takes_form, by value). Norms and biases are always float32: leaving
 * them out is no mistake. */
dlx_status dlx_rule_without_weight(const dlx_recipe_rule *rule, const dlx_graph *g, const bool *takes_form,
                                   dlx_error *err);

/* Whether it makes any activations static. */
bool dlx_recipe_is_static(const dlx_recipe *r);

bool dlx_pattern_matches(const char *pattern, const char *name);

#endif
