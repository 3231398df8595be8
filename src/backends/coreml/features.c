/*
 * Features: what goes into a program, comes out of it, and is kept. They carry the names of the graph's values where
 * these have some, so that a package can be read.
 */
#include <string.h>

#include "backends/coreml/emitter.h"

static bool is_taken(const dlx_coreml_feature *f, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(f[i].name, name)) return true;
    return false;
}

/* A name for a feature: the value's, with letters, digits and '_' alone, and none that operators have; or its number.
 */
static const char *feature_name(dlx_coreml_emitter *e, uint32_t id)
{
    char plain[128];
    const dlx_coreml_features *f = &e->features;
    const char *name = e->g->values[id].name;
    size_t n = 0;
    for (; name && name[n] && n < sizeof plain - 1; n++) {
        char c = name[n];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        plain[n] = c;
        if (!ok) plain[n] = '_';
    }
    plain[n] = '\0';
    bool reserved = !n || (plain[0] >= '0' && plain[0] <= '9') || plain[0] == '_' || !strncmp(plain, "op_", 3) ||
                    !strncmp(plain, "c_", 2) || !strncmp(plain, "w_", 2) || !strncmp(plain, "value_", 6);
    const char *kept = reserved ? NULL : dlx_mil_name(&e->mil, "%s", plain);
    if (kept && !is_taken(f->in, f->n_in, kept) && !is_taken(f->out, f->n_out, kept) &&
        !is_taken(f->state, f->n_states, kept))
        return kept;
    return dlx_mil_name(&e->mil, "value_%u", id);
}

/* Whether the value is where the rows of a state are: integers that are features. */
static bool are_places(const dlx_part *part, uint32_t id)
{
    for (size_t i = 0; i < part->n_nodes; i++) {
        const dlx_node *n = &part->g->nodes[part->nodes[i]];
        if ((n->op == DLX_OP_INDEX_PUT && n->in[2] == id) || (n->op == DLX_OP_INDEX && n->in[1] == id)) return true;
    }
    return false;
}

static dlx_status feature_type(dlx_coreml_emitter *e, uint32_t id, dlx_mil_type *type)
{
    const dlx_value *v = &e->g->values[id];
    bool places = v->dtype == DLX_I64 && are_places(e->part, id);
    *type = (dlx_mil_type){.dtype = v->dtype == DLX_F32   ? DLX_MIL_F32
                                    : v->dtype == DLX_F16 ? DLX_MIL_F16
                                                          : DLX_MIL_I32,
                           .rank = v->rank};
    if ((v->dtype != DLX_F16 && v->dtype != DLX_F32 && !places) || v->dynamic || v->rank < 1 ||
        v->rank > DLX_MIL_MAX_RANK)
        return dlx_fail(e->err, DLX_E_UNSUPPORTED,
                        "CoreML: value %u, '%s', of type %s goes into a delegate or comes out of it; expected float32 "
                        "or float16 of a fixed shape of 1 to %d dimensions",
                        id, v->name ? v->name : "", dlx_dtype_name(v->dtype), DLX_MIL_MAX_RANK);
    for (int i = 0; i < v->rank; i++) type->dim[i] = v->dim[i];
    return DLX_OK;
}

static dlx_status add(dlx_coreml_emitter *e, dlx_coreml_feature *list, size_t *n, uint32_t id, bool state)
{
    dlx_coreml_feature f = {.value = id};
    DLX_TRY(feature_type(e, id, &f.type));
    if (state) f.type.dtype = DLX_MIL_F16; /* CoreML has no others */
    f.name = feature_name(e, id);
    if (!f.name) return dlx_coreml_no_memory(e->err, e->part);
    list[(*n)++] = f;
    return DLX_OK;
}

dlx_status dlx_coreml_find_features(dlx_coreml_emitter *e)
{
    dlx_coreml_features *f = &e->features;
    const dlx_part *part = e->part;
    f->in = dlx_arena_array(e->arena, part->n_inputs + 1, sizeof *f->in);
    f->state = dlx_arena_array(e->arena, part->n_inputs + 1, sizeof *f->state);
    f->out = dlx_arena_array(e->arena, part->n_outputs + 1, sizeof *f->out);
    if (!f->in || !f->state || !f->out) return dlx_coreml_no_memory(e->err, part);
    for (size_t i = 0; i < part->n_inputs; i++) {
        bool state = dlx_coreml_keeps_input(part, part->inputs[i]);
        DLX_TRY(add(e, state ? f->state : f->in, state ? &f->n_states : &f->n_in, part->inputs[i], state));
    }
    for (size_t i = 0; i < part->n_outputs; i++)
        if (!dlx_coreml_keeps_output(part, part->outputs[i]))
            DLX_TRY(add(e, f->out, &f->n_out, part->outputs[i], false));
    if (!f->n_states || e->options->target == DLX_COREML_IOS18) return DLX_OK;
    return dlx_fail(
        e->err, DLX_E_UNSUPPORTED,
        "CoreML keeps what a program remembers, as '%s', from iOS18 on; the target is %s: choose iOS18, or a "
        "cache that the caller keeps",
        f->state[0].name, dlx_coreml_target_name(e->options->target));
}
