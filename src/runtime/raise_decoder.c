#include "runtime/raise_decoder.h"

#include <string.h>

#include "base/sizes.h"

/* ---- constants ---- */

uint32_t dlx_form_const(dlx_decoder *d, uint32_t old)
{
    if (d->r.from->values[old].kind != DLX_VALUE_CONST) return d->form[old].v;
    return dlx_rewrite_value(&d->r, old, d->err);
}

bool dlx_const_number(const dlx_graph *g, uint32_t v, size_t i, float *out)
{
    const dlx_value *c = &g->values[v];
    size_t size = dlx_dtype_size(c->dtype);
    if (c->kind != DLX_VALUE_CONST || c->source.transform != DLX_CONST_PLAIN || (i + 1) * size > c->source.bytes)
        return false;
    if (!c->source.data) return false; /* a large matrix that is still in its file */
    const char *data = (const char *)c->source.data + i * size;
    if (c->dtype == DLX_F32) {
        memcpy(out, data, sizeof *out); /* may lie at an odd address of the file */
    } else if (c->dtype == DLX_BOOL) {
        *out = *(const uint8_t *)data != 0;
    } else if (c->dtype == DLX_I64) {
        int64_t n;
        memcpy(&n, data, sizeof n);
        if (n < -(1 << 24) || n > 1 << 24) return false; /* beyond what a float holds exactly */
        *out = (float)n;
    } else {
        return false;
    }
    return true;
}

bool dlx_is_positions(const dlx_decoder *d, const dlx_form *f)
{
    return f->kind == DLX_FORM_ROWS && f->v == d->new_positions && !f->last;
}

/* ---- signature ---- */

static bool is_state(const dlx_graph *g, size_t i)
{
    return i >= g->n_inputs - g->n_states;
}

/* Tokens or positions of the new graph, [T]. T varies there even where the program has a fixed number of rows: every
 * value of the new graph that depends on the call has its rows in front, and no rule lets a row depend on their number.
 */
bool dlx_decoder_input(dlx_decoder *d, const char *name, const char *otherwise, uint32_t *out)
{
    *out = dlx_graph_input(&d->r.to, name ? name : otherwise, DLX_I64, 1, &d->most, 1);
    if (*out == DLX_NONE) dlx_fail(d->err, DLX_E_NOMEM, "out of memory raising a decoder");
    return *out != DLX_NONE;
}

/* Tokens [T] or [1,T] */
static bool bind_tokens(dlx_decoder *d)
{
    const dlx_graph *g = d->r.from;
    const dlx_value *v = &g->values[g->inputs[0]];
    int axis = v->rank - 1;
    if (v->dtype != DLX_I64 || v->rank < 1 || v->rank > 2 || (v->rank == 2 && v->dim[0] != 1) ||
        (v->dynamic & ~(1u << axis)))
        return false;
    d->tokens = g->inputs[0];
    d->rows = d->most = v->dim[axis];
    d->dynamic = v->dynamic != 0;
    dlx_form *f = &d->form[d->tokens];
    *f = (dlx_form){.kind = DLX_FORM_ROWS, .rank = v->rank, .axis = {-1, 0}};
    f->axis[axis] = 0;
    return dlx_decoder_input(d, v->name, "tokens", &f->v);
}

/* Positions [T], or the position of the first row [1]. */
static bool bind_positions(dlx_decoder *d)
{
    const dlx_graph *g = d->r.from;
    const dlx_value *v = &g->values[g->inputs[1]];
    if (v->dtype != DLX_I64 || v->rank != 1) return false;
    bool all = v->dim[0] == d->rows && (v->dynamic != 0) == d->dynamic, first = v->dim[0] == 1 && !v->dynamic;
    if (!all && !first) return false;
    d->positions = g->inputs[1];
    if (!dlx_decoder_input(d, v->name, "positions", &d->new_positions)) return false;
    d->form[d->positions] = (dlx_form){.kind = all ? DLX_FORM_ROWS : DLX_FORM_START, .rank = 1, .v = d->new_positions};
    return true;
}

/* Caches that come in [P,K,D]; states are bound when the program writes to them. */
static bool bind_caches(dlx_decoder *d)
{
    const dlx_graph *g = d->r.from;
    for (size_t i = 2; i < g->n_inputs; i++) {
        const dlx_value *v = &g->values[g->inputs[i]];
        if (v->dtype != DLX_F32 || (!is_state(g, i) && (v->rank != 3 || v->dynamic != 1))) return false;
        d->cache[d->n_caches++] = (dlx_decoder_cache){.old = g->inputs[i],
                                                      .fresh = DLX_NONE,
                                                      .input = DLX_NONE,
                                                      .positions = v->dim[0],
                                                      .kv = v->dim[1],
                                                      .dim = v->dim[2],
                                                      .layer = -1,
                                                      .state = is_state(g, i)};
    }
    return d->n_caches >= 2 && d->n_caches % 2 == 0 && (g->n_states == 0 || g->n_states == g->n_inputs - 2);
}

/* ---- translation ---- */

static void translate(dlx_decoder *d, size_t i)
{
    const dlx_node *n = &d->r.from->nodes[i];
    dlx_form f = {.rank = d->r.from->values[n->out[0]].rank};
    bool found = dlx_form_attention(d, n, &f);
    if (!found && d->err->status != DLX_E_NOMEM) found = dlx_form_rows(d, n, &f);
    if (found) d->form[n->out[0]] = f;
}

/* New rows of a cache as the output of the new graph; what it was before is a state that ends with them in place. */
static bool check_state_ends(const dlx_decoder *d)
{
    const dlx_graph *g = d->r.from;
    for (size_t i = 0; i < g->n_states; i++) {
        uint32_t in = g->inputs[g->n_inputs - g->n_states + i], out = g->outputs[g->n_outputs - g->n_states + i];
        const dlx_form *f = &d->form[out];
        if (f->kind != DLX_FORM_CACHE || d->cache[f->cache].old != in || f->scale != 1.0f) return false;
        const dlx_value *v = &g->values[out];
        for (int k = 0; k < v->rank; k++) /* in its own order of axes */
            if (f->axis[k] == DLX_AXIS_GROUP || f->axis[k] == DLX_AXIS_HEAD) return false;
        bool keys_first = f->axis[v->rank - 3] == DLX_AXIS_KEY && f->axis[v->rank - 2] == DLX_AXIS_KV;
        bool heads_first = f->axis[v->rank - 3] == DLX_AXIS_KV && f->axis[v->rank - 2] == DLX_AXIS_KEY;
        if (f->axis[v->rank - 1] != DLX_AXIS_DIM || (!keys_first && !heads_first)) return false;
        if (v->dim[v->rank - 3 + heads_first] != d->cache[f->cache].positions) return false;
    }
    return true;
}

/* Outputs of programs with explicit caches: the rows that belong behind each, [T,K,D]. */
static bool check_fresh_outputs(dlx_decoder *d)
{
    const dlx_graph *g = d->r.from;
    if (d->whole) return dlx_whole_kept(d);
    if (g->n_states) return g->n_outputs == 1 + g->n_states;
    if (g->n_outputs != 1 + d->n_caches) return false;
    for (size_t i = 0; i < d->n_caches; i++) {
        const dlx_form *f = &d->form[g->outputs[1 + i]];
        if (f->kind != DLX_FORM_ROWS || f->last || f->v != d->cache[i].fresh || f->rank != 3) return false;
        for (int k = 0; k < 3; k++)
            if (f->axis[k] != k) return false;
    }
    return true;
}

/* Every cache is read by one attention, keys and values of a layer together, and all in the same way. */
static bool check_layers(const dlx_decoder *d)
{
    for (size_t i = 1; i < d->n_caches; i++)
        if (d->cache[i].joined != d->cache[0].joined) return false;
    return d->layers > 0 && (size_t)d->layers * 2 == d->n_caches;
}

/* The logits [T,V] in the new graph, from [1,T,V], [T,V] or, of the last row, [1,V] or [V]. */
static bool logits_of(const dlx_decoder *d, uint32_t *out)
{
    const dlx_graph *g = d->r.from;
    const dlx_form *f = &d->form[g->outputs[0]];
    if (f->kind != DLX_FORM_ROWS) return false;
    const dlx_value *v = &d->r.to.values[f->v];
    *out = f->v;
    return v->rank == 2 && v->dtype == DLX_F32 && f->rank >= 1 && f->axis[f->rank - 1] == 1;
}

static bool finish_outputs(dlx_decoder *d)
{
    uint32_t logits;
    if (!logits_of(d, &logits) || !check_state_ends(d) || !check_fresh_outputs(d) || !check_layers(d)) return false;
    bool ok = dlx_graph_output(&d->r.to, logits);
    for (int32_t i = 0; i < d->layers; i++)
        for (int k = 0; k < 2; k++) ok = ok && dlx_graph_output(&d->r.to, d->cache[d->order[k][i]].fresh);
    if (!ok) dlx_fail(d->err, DLX_E_NOMEM, "out of memory raising a decoder");
    return ok;
}

/* Cache inputs stand in the order of layers, behind tokens and positions. */
static void order_inputs(dlx_decoder *d)
{
    dlx_graph *to = &d->r.to;
    for (int32_t i = 0; i < d->layers; i++)
        for (int k = 0; k < 2; k++) to->inputs[2 + 2 * i + k] = d->cache[d->order[k][i]].input;
}

static bool worth_trying(const dlx_graph *g)
{
    if (g->n_inputs < 4 || g->n_inputs > 2 + 2 * DLX_MOST_LAYERS) return false;
    if (g->n_states || dlx_is_whole(g)) return true;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_EXPAND || g->nodes[i].op == DLX_OP_SDPA) return true;
    return false;
}

static bool translate_all(dlx_decoder *d)
{
    const dlx_graph *g = d->r.from;
    d->whole = dlx_is_whole(g);
    if (d->whole ? !dlx_whole_bind(d) : !bind_tokens(d) || !bind_positions(d) || !bind_caches(d)) return false;
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_CONST)
            d->form[i] = (dlx_form){.kind = DLX_FORM_CONST, .rank = g->values[i].rank};
    for (size_t i = 0; i < g->n_nodes && d->err->status != DLX_E_NOMEM; i++) {
        translate(d, i);
        if (d->err->status != DLX_E_NOMEM) d->err->status = DLX_OK; /* an operator that did not fit has no form */
    }
    if (d->err->status != DLX_OK || !finish_outputs(d)) return false;
    order_inputs(d);
    if (dlx_graph_prune(&d->r.to, d->err) != DLX_OK) return false;
    dlx_error unfit = {0};
    dlx_status s = dlx_graph_verify(&d->r.to, &unfit);
    if (s == DLX_E_NOMEM) *d->err = unfit;
    return s == DLX_OK;
}

static int64_t positions_of(const dlx_decoder *d)
{
    int64_t most = d->cache[0].positions;
    for (size_t i = 1; i < d->n_caches; i++)
        if (d->cache[i].positions < most) most = d->cache[i].positions;
    return most;
}

/* What this library's exporter writes, and is known without forms: rotations of rows [T,H,D], where a single head is
 * still a dimension, and 4-bit tables. */
static dlx_status raise_first(dlx_graph *g, dlx_error *err)
{
    bool own = dlx_is_whole(g);
    if (g->n_states) DLX_TRY(dlx_raise_attentions(g, &own, err));
    for (size_t i = 0; own && i < g->n_nodes; i++)
        (void)(dlx_raise_int4_embedding(g, i) || (g->values[g->nodes[i].out[0]].rank == 3 && dlx_raise_rope(g, i)));
    return own ? dlx_graph_prune(g, err) : DLX_OK;
}

dlx_status dlx_raise_decoder(dlx_graph *g, bool *raised, dlx_error *err)
{
    *raised = false;
    if (!worth_trying(g)) return DLX_OK;
    dlx_graph_skip_copies(g);
    DLX_TRY(dlx_raise_stored(g, err));
    DLX_TRY(raise_first(g, err));
    dlx_error local = {0};
    dlx_decoder d = {.r = {.from = g}, .old = g, .new_positions = DLX_NONE, .err = &local};
    dlx_allocator mem = g->arena.mem;
    size_t n_values = g->n_values, n_caches = g->n_inputs;
    if (dlx_is_whole(g)) n_caches = 2 * (size_t)g->values[g->inputs[2]].dim[0];
    dlx_graph_init_with(&d.r.to, &mem);
    d.r.n_map = n_values;
    d.r.map = dlx_mem_array(&mem, n_values, sizeof *d.r.map);
    d.form = dlx_mem_zeroed(&mem, n_values, sizeof *d.form);
    d.cache = dlx_mem_zeroed(&mem, n_caches, sizeof *d.cache);
    if (!d.r.map || !d.form || !d.cache)
        dlx_fail(&local, DLX_E_NOMEM, "out of memory raising a graph of %zu values", g->n_values);
    else
        memset(d.r.map, 0xFF, g->n_values * sizeof *d.r.map);
    if (local.status == DLX_OK && translate_all(&d)) {
        *raised = true;
        if (d.whole) d.r.to.max_context = positions_of(&d);
        if (g->n_states) {
            d.r.to.attn_block = d.causal ? 1 : 0;
            d.r.to.max_context = positions_of(&d);
        }
        dlx_arena_adopt(&d.r.to.arena, &g->arena);
        dlx_graph_free(g);
        *g = d.r.to;
        dlx_graph_init_with(&d.r.to, &mem);
    }
    dlx_mem_free(&mem, d.form, n_values, sizeof *d.form);
    dlx_mem_free(&mem, d.cache, n_caches, sizeof *d.cache);
    dlx_rewrite_abandon(&d.r);
    if (local.status != DLX_E_NOMEM && local.status != DLX_E_IO) return DLX_OK;
    if (err) *err = local;
    return local.status;
}
