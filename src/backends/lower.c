/*
 * A method around its delegates: gathers first, then the delegate calls; states.c adds what states need. Whatever
 * passes between them has a place of its own in one arena.
 */
#include "backends/lower.h"

#include <string.h>

#include "backends/emitter.h"
#include "base/sizes.h"

/* Delegates may read this far past the end of an input. */
enum { ARENA_SLACK = 64, ARENA_ALIGN = 64 };

dlx_status dlx_emit_no_memory(const dlx_emitter *e)
{
    return dlx_fail(e->err, DLX_E_NOMEM, "out of memory lowering a graph of %zu nodes", e->g->n_nodes);
}

uint32_t dlx_emit_evalue(dlx_emitter *e, dlx_evalue v)
{
    e->values[e->n_values] = v;
    return e->n_values++;
}

static uint64_t value_bytes(const dlx_value *v)
{
    dlx_shape s = dlx_value_shape(v);
    uint64_t bytes = 0;
    dlx_dtype_bytes(v->dtype, (uint64_t)dlx_shape_elements(&s), &bytes);
    return bytes;
}

uint32_t dlx_emit_tensor(dlx_emitter *e, uint32_t id)
{
    if (e->evalue[id] != DLX_NONE) return e->evalue[id];
    const dlx_value *v = &e->g->values[id];
    dlx_evalue t = {.kind = DLX_EV_TENSOR};
    bool pairs = v->dtype == DLX_I4; /* bytes to whoever gathers them */
    t.u.tensor = (dlx_pte_tensor){.scalar_type = dlx_scalar_type_from_dtype(pairs ? DLX_U8 : v->dtype),
                                  .rank = v->rank,
                                  .dynamic = v->dynamic != 0,
                                  .blob = e->constant_blob[id],
                                  .bytes = value_bytes(v),
                                  .name = v->kind == DLX_VALUE_TEMP ? NULL : v->name};
    for (int d = 0; d < v->rank; d++) t.u.tensor.sizes[d] = (int32_t)v->dim[d];
    if (pairs) t.u.tensor.sizes[v->rank - 1] /= 2;
    return e->evalue[id] = dlx_emit_evalue(e, t);
}

void dlx_emit_plan(dlx_emitter *e, uint32_t evalue, uint32_t arena)
{
    dlx_pte_tensor *t = &e->values[evalue].u.tensor;
    if (t->memory_id) return;
    t->memory_id = arena;
    t->memory_offset = e->arena_bytes[arena];
    e->arena_bytes[arena] = dlx_align_up(e->arena_bytes[arena] + t->bytes, ARENA_ALIGN);
}

dlx_status dlx_emit_kernel(dlx_emitter *e, const char *name, const char *overload, const int32_t *args, uint32_t n)
{
    int32_t op = 0, *kept = dlx_arena_array(e->arena, n, sizeof *kept);
    if (!kept) return dlx_emit_no_memory(e);
    memcpy(kept, args, n * sizeof *kept);
    for (; op < (int32_t)e->n_operators; op++)
        if (!strcmp(e->operators[op].name, name)) break;
    if (op == (int32_t)e->n_operators) e->operators[e->n_operators++] = (dlx_pte_operator){name, overload};
    e->instructions[e->n_instructions++] =
        (dlx_instruction){.kind = DLX_INS_KERNEL, .index = op, .n_args = n, .args = kept};
    return DLX_OK;
}

static void add_constant(dlx_emitter *e, uint32_t id)
{
    const dlx_value *v = &e->g->values[id];
    if (e->constant_blob[id] >= 0) return;
    e->constant_blob[id] = (int32_t)e->n_constants;
    e->constants[e->n_constants++] =
        (dlx_pte_blob){.kind = DLX_BLOB_CONSTANT, .size = value_bytes(v), .user = v, .alias_of = -1};
}

/* ---- gathers ---- */

/* A graph input, or one without its dimension of 1 in front. */
static bool is_ids(const dlx_graph *g, uint32_t v)
{
    const dlx_node *flat = dlx_made_as(g, v, DLX_OP_RESHAPE);
    return g->values[v].kind == DLX_VALUE_INPUT ||
           (flat && g->values[v].rank == 1 && g->values[flat->in[0]].kind == DLX_VALUE_INPUT);
}

/* Ids that come with a dimension of 1 in front. */
static dlx_status emit_flat_ids(dlx_emitter *e)
{
    const dlx_graph *g = e->g;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        const dlx_value *v = &g->values[n->out[0]];
        if (n->op != DLX_OP_RESHAPE || v->dtype != DLX_I64 || v->rank != 1 || !is_ids(g, n->out[0])) continue;
        int64_t *items = dlx_arena_array(e->arena, 1, sizeof *items);
        if (!items) return dlx_emit_no_memory(e);
        items[0] = dlx_emit_evalue(e, (dlx_evalue){.kind = DLX_EV_INT, .u.i = -1});
        dlx_evalue sizes = {.kind = DLX_EV_INT_LIST, .u.list = {.count = 1, .ints = items}};
        int32_t args[4] = {(int32_t)dlx_emit_tensor(e, n->in[0]), (int32_t)dlx_emit_evalue(e, sizes)};
        args[2] = args[3] = (int32_t)dlx_emit_tensor(e, n->out[0]);
        dlx_emit_plan(e, (uint32_t)args[2], 1);
        DLX_TRY(dlx_emit_kernel(e, "aten::view_copy", "out", args, 4));
    }
    return DLX_OK;
}

static dlx_status add_tables(dlx_emitter *e)
{
    const dlx_graph *g = e->g;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        if (n->op != DLX_OP_EMBEDDING) continue;
        if (g->values[n->in[0]].kind != DLX_VALUE_CONST || !is_ids(g, n->in[1]) || n->inputs != 2)
            return dlx_fail(e->err, DLX_E_UNSUPPORTED, "an embedding must gather rows of a constant by a graph input");
        add_constant(e, n->in[0]);
    }
    return DLX_OK;
}

static dlx_status emit_gathers(dlx_emitter *e)
{
    const dlx_graph *g = e->g;
    uint32_t padding = dlx_emit_evalue(e, (dlx_evalue){.kind = DLX_EV_INT, .u.i = -1});
    uint32_t no = dlx_emit_evalue(e, (dlx_evalue){.kind = DLX_EV_BOOL, .u.b = false});
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        if (n->op != DLX_OP_EMBEDDING) continue;
        int32_t args[7];
        uint32_t out = dlx_emit_tensor(e, n->out[0]);
        dlx_emit_plan(e, out, 1);
        args[0] = (int32_t)dlx_emit_tensor(e, n->in[0]);
        args[1] = (int32_t)dlx_emit_tensor(e, n->in[1]);
        args[2] = (int32_t)padding;
        args[3] = args[4] = (int32_t)no;
        args[5] = args[6] = (int32_t)out;
        DLX_TRY(dlx_emit_kernel(e, "aten::embedding", "out", args, 7));
    }
    return DLX_OK;
}

/* ---- delegates ---- */

static bool is_graph_output(const dlx_graph *g, uint32_t v)
{
    for (size_t i = 0; i < g->n_outputs - g->n_states; i++)
        if (g->outputs[i] == v) return true;
    return false;
}

/* What a state becomes inside of a delegate. */
static bool stays_inside(const dlx_emitter *e, uint32_t v)
{
    const dlx_node *put = dlx_made_as(e->g, v, DLX_OP_INDEX_PUT);
    return put && !e->partition.outside[put - e->g->nodes];
}

bool dlx_emit_is_kept(const dlx_emitter *e, size_t state)
{
    return stays_inside(e, e->g->outputs[e->g->n_outputs - e->g->n_states + state]);
}

/* Each is a result of its own: of a delegate, or, of states, of an update. */
static dlx_status check_outputs(const dlx_emitter *e)
{
    const dlx_graph *g = e->g;
    for (size_t i = 0; i < g->n_outputs - g->n_states; i++) {
        const dlx_node *from = dlx_made_by(g, g->outputs[i]);
        bool fresh = from && !dlx_is_outside(g, from) && from->op != DLX_OP_INDEX_PUT;
        for (size_t k = 0; k < i; k++) fresh = fresh && g->outputs[k] != g->outputs[i];
        if (!fresh) return dlx_fail(e->err, DLX_E_UNSUPPORTED, "graph output %zu is an input or another output", i);
    }
    return DLX_OK;
}

/* The n-th part of a home; NULL: it has not so many. */
static const dlx_part *part_of_home(const dlx_partition *p, uint32_t home, size_t n)
{
    for (size_t i = 0; i < p->n_parts; i++)
        if (p->parts[i].home == home && n-- == 0) return &p->parts[i].part;
    return NULL;
}

/* Where every method has a part at that place. */
static dlx_status find_siblings(const dlx_emitter *e, size_t i, dlx_lowering *how)
{
    const dlx_lowered_methods *m = &e->request->methods;
    const dlx_placed *placed = e->partition.parts;
    size_t place = 0;
    if (m->n < 2) return DLX_OK;
    for (size_t k = 0; k < i; k++) place += placed[k].home == placed[i].home;
    dlx_sibling *siblings = dlx_arena_array(e->arena, m->n, sizeof *siblings);
    if (!siblings) return dlx_emit_no_memory(e);
    for (size_t k = 0; k < m->n; k++) {
        siblings[k] = (dlx_sibling){m->names[k], part_of_home(&m->partitions[k], placed[i].home, place)};
        if (!siblings[k].part) return DLX_OK;
    }
    how->siblings = siblings;
    how->n_siblings = m->n;
    return DLX_OK;
}

static dlx_status lower_parts(dlx_emitter *e)
{
    const dlx_lower_request *r = e->request;
    dlx_partition *p = &e->partition;
    size_t blobs = e->g->n_nodes + 1; /* tables */
    if (r->methods.n)
        *p = r->methods.partitions[r->methods.this];
    else
        DLX_TRY(dlx_partition_make(p, e->arena, e->g, r->homes, r->n_homes, e->err));
    e->delegates = dlx_arena_array(e->arena, p->n_parts + 1, sizeof *e->delegates);
    e->called = dlx_arena_array(e->arena, p->n_parts + 1, sizeof *e->called);
    if (!e->delegates || !e->called) return dlx_emit_no_memory(e);
    for (size_t i = 0; i < p->n_parts; i++) {
        const dlx_placed *placed = &p->parts[i];
        dlx_lowering how = r->how;
        DLX_TRY(find_siblings(e, i, &how));
        DLX_TRY(r->homes[placed->home].lower_part(&e->delegates[i], e->arena, &placed->part, &how, e->err));
        blobs += e->delegates[i].n_args + e->delegates[i].n_named + 2;
    }
    e->constants = dlx_arena_array(e->arena, blobs, sizeof *e->constants);
    e->others = dlx_arena_array(e->arena, blobs, sizeof *e->others);
    return e->constants && e->others ? DLX_OK : dlx_emit_no_memory(e);
}

/* The program's tensors among what delegates are called with. */
static void add_arguments(dlx_emitter *e)
{
    for (size_t i = 0; i < e->partition.n_parts; i++)
        for (uint32_t k = 0; k < e->delegates[i].n_args; k++)
            if (e->g->values[e->delegates[i].args[k]].kind == DLX_VALUE_CONST) add_constant(e, e->delegates[i].args[k]);
}

static void add_payload(dlx_emitter *e, const dlx_delegate *d)
{
    dlx_pte_blob *b = &e->others[e->n_others++];
    *b = (dlx_pte_blob){.kind = DLX_BLOB_DELEGATE, .alias_of = -1};
    for (uint32_t i = 0; i < d->n_pieces; i++) b->size += d->pieces[i].size;
    if (d->n_pieces == 1) {
        b->data = d->pieces->data;
        b->user = d->pieces->user;
        return;
    }
    b->pieces = d->pieces;
    b->n_pieces = d->n_pieces;
}

/* Parts that read a constant by the same key share it. */
static void add_named(dlx_emitter *e, const dlx_named_constant *c)
{
    const dlx_value *v = &e->g->values[c->value];
    for (uint32_t i = 0; i < e->n_others; i++)
        if (e->others[i].kind == DLX_BLOB_NAMED && !strcmp(e->others[i].key, c->key)) return;
    e->others[e->n_others++] = (dlx_pte_blob){.kind = DLX_BLOB_NAMED,
                                              .key = c->key,
                                              .size = value_bytes(v),
                                              .user = v,
                                              .alias_of = e->constant_blob[c->value]};
}

static void add_data(dlx_emitter *e, const dlx_named_data *d)
{
    dlx_pte_blob *b = &e->others[e->n_others];
    if (!d->key) return;
    *b = (dlx_pte_blob){
        .kind = DLX_BLOB_NAMED, .key = d->key, .pieces = d->pieces, .n_pieces = d->n_pieces, .alias_of = -1};
    for (uint32_t i = 0; i < d->n_pieces; i++) b->size += d->pieces[i].size;
    e->n_others++;
}

static dlx_status emit_call(dlx_emitter *e, uint32_t i)
{
    const dlx_delegate *d = &e->delegates[i];
    const dlx_part *part = &e->partition.parts[i].part;
    int32_t *args = dlx_arena_array(e->arena, (size_t)d->n_args + 1, sizeof *args);
    if (!args) return dlx_emit_no_memory(e);
    for (uint32_t k = 0; k < d->n_args; k++) args[k] = (int32_t)dlx_emit_tensor(e, d->args[k]);
    for (size_t k = 0; k < part->n_outputs; k++)
        if (!is_graph_output(e->g, part->outputs[k]) && !stays_inside(e, part->outputs[k]))
            dlx_emit_plan(e, dlx_emit_tensor(e, part->outputs[k]), 1);
    e->called[i] = (dlx_pte_delegate){
        .id = d->id, .blob = (int32_t)(e->n_constants + e->n_others), .specs = d->specs, .n_specs = d->n_specs};
    add_payload(e, d);
    for (uint32_t k = 0; k < d->n_named; k++) add_named(e, &d->named[k]);
    add_data(e, &d->data);
    e->instructions[e->n_instructions++] =
        (dlx_instruction){.kind = DLX_INS_DELEGATE, .index = (int32_t)i, .n_args = d->n_args, .args = args};
    return DLX_OK;
}

/* ---- the whole ---- */

static dlx_status allocate(dlx_emitter *e)
{
    size_t n = 2 * e->g->n_values + 1, nodes = 2 * e->g->n_nodes + 1;
    e->evalue = dlx_arena_array(e->arena, n, sizeof *e->evalue);
    e->constant_blob = dlx_arena_array(e->arena, n, sizeof *e->constant_blob);
    e->values = dlx_arena_array(e->arena, n + 16, sizeof *e->values);
    e->instructions = dlx_arena_array(e->arena, nodes + 4, sizeof *e->instructions);
    e->operators = dlx_arena_array(e->arena, DLX_EMIT_OPERATORS, sizeof *e->operators);
    if (!e->operators || !e->evalue || !e->constant_blob || !e->values || !e->instructions)
        return dlx_emit_no_memory(e);
    memset(e->evalue, 0xFF, n * sizeof *e->evalue);
    memset(e->constant_blob, 0xFF, n * sizeof *e->constant_blob);
    return DLX_OK;
}

static dlx_status finish_plan(dlx_emitter *e, dlx_pte_plan *plan)
{
    const dlx_graph *g = e->g;
    uint32_t n_inputs = (uint32_t)(g->n_inputs - g->n_states), n_outputs = (uint32_t)(g->n_outputs - g->n_states);
    int32_t *inputs = dlx_arena_array(e->arena, g->n_inputs + 1, sizeof *inputs);
    int32_t *outputs = dlx_arena_array(e->arena, g->n_outputs + 1, sizeof *outputs);
    int64_t *sizes = dlx_arena_array(e->arena, DLX_EMIT_ARENAS, sizeof *sizes);
    if (!inputs || !outputs || !sizes) return dlx_emit_no_memory(e);
    for (size_t i = 0; i < n_inputs; i++) inputs[i] = (int32_t)e->evalue[g->inputs[i]];
    for (size_t i = 0; i < n_outputs; i++) outputs[i] = (int32_t)e->evalue[g->outputs[i]];
    uint32_t arenas = e->arena_bytes[2] ? 3 : 2;
    for (uint32_t i = 1; i < arenas; i++) sizes[i] = (int64_t)(e->arena_bytes[i] + ARENA_SLACK);
    *plan = (dlx_pte_plan){.name = e->request->how.method,
                           .values = e->values,
                           .n_values = e->n_values,
                           .inputs = inputs,
                           .n_inputs = n_inputs,
                           .outputs = outputs,
                           .n_outputs = n_outputs,
                           .operators = e->operators,
                           .n_operators = e->n_operators,
                           .delegates = e->called,
                           .n_delegates = (uint32_t)e->partition.n_parts,
                           .instructions = e->instructions,
                           .n_instructions = e->n_instructions,
                           .buffer_sizes = sizes,
                           .n_buffer_sizes = arenas};
    return DLX_OK;
}

/* Constants in front, as in the file. */
static dlx_status finish_blobs(const dlx_emitter *e, dlx_pte_blob **blobs, uint32_t *n_blobs)
{
    *blobs = dlx_arena_array(e->arena, (size_t)e->n_constants + e->n_others + 1, sizeof **blobs);
    if (!*blobs) return dlx_emit_no_memory(e);
    memcpy(*blobs, e->constants, e->n_constants * sizeof **blobs);
    memcpy(*blobs + e->n_constants, e->others, e->n_others * sizeof **blobs);
    *n_blobs = e->n_constants + e->n_others;
    return DLX_OK;
}

dlx_status dlx_lower(dlx_pte_plan *plan, dlx_pte_blob **blobs, uint32_t *n_blobs, dlx_arena *arena, const dlx_graph *g,
                     const dlx_lower_request *request, dlx_error *err)
{
    dlx_emitter e = {.g = g, .request = request, .arena = arena, .err = err};
    *blobs = NULL;
    *n_blobs = 0;
    DLX_TRY(allocate(&e));
    DLX_TRY(check_outputs(&e));
    DLX_TRY(lower_parts(&e));
    DLX_TRY(add_tables(&e));
    add_arguments(&e);
    DLX_TRY(emit_flat_ids(&e));
    DLX_TRY(emit_gathers(&e));
    DLX_TRY(dlx_emit_parts(&e));
    for (size_t i = 0; i < g->n_inputs - g->n_states; i++) dlx_emit_tensor(&e, g->inputs[i]);
    for (uint32_t i = 0; i < e.partition.n_parts; i++) DLX_TRY(emit_call(&e, i));
    DLX_TRY(dlx_emit_puts(&e));
    DLX_TRY(finish_plan(&e, plan));
    return finish_blobs(&e, blobs, n_blobs);
}
