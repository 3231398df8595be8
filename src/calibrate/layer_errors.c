#include "calibrate/layer_errors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "calibrate/spill.h"
#include "graph/rewrite.h"
#include "runtime/import.h"
#include "runtime/raise.h"
#include "runtime/raise_decoder.h"

enum { ROWS = 64 }; /* that are compared at a time */
static const uint64_t default_bound = 1ull << 30;

/* ---- a layer of the file ---------------------------------------------------------------------------------------- */

/* What goes into the norm with the weights `name`; DLX_NONE: there is none. */
static uint32_t into_norm(const dlx_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        const char *weights = n->op == DLX_OP_RMS_NORM ? g->values[n->in[1]].name : NULL;
        if (weights && !strcmp(weights, name)) return n->in[0];
    }
    return DLX_NONE;
}

/* Hidden states in front of a layer, or behind the last one. */
static uint32_t in_front_of(const dlx_graph *g, int32_t layer, int32_t layers)
{
    char name[64];
    if (layer == layers) return into_norm(g, "norm.weight");
    snprintf(name, sizeof name, "layers.%d.attn_norm.weight", layer);
    return into_norm(g, name);
}

static void read_sizes(dlx_file_layers *f)
{
    const dlx_graph *g = &f->graph;
    const dlx_value *hidden = NULL;
    if (g->n_inputs == g->n_outputs + 1 && g->n_inputs >= 4 && g->n_inputs % 2 == 0) {
        const dlx_value *keys = &g->values[g->inputs[2]];
        uint32_t first = into_norm(g, "layers.0.attn_norm.weight");
        f->rows = (int32_t)g->values[g->inputs[0]].dim[0];
        f->layers = (int32_t)((g->n_inputs - 2) / 2);
        f->kv_heads = keys->rank == 3 ? (int32_t)keys->dim[1] : 0;
        f->head_dim = keys->rank == 3 ? (int32_t)keys->dim[2] : 0;
        hidden = first != DLX_NONE ? &g->values[first] : NULL;
    }
    if (hidden && hidden->rank == 2) f->hidden = (int32_t)hidden->dim[1];
    for (size_t i = g->n_nodes; i-- > 0;) {
        const dlx_node *n = &g->nodes[i];
        if (n->op == DLX_OP_ATTENTION) f->heads = (int32_t)g->values[n->in[0]].dim[1];
        if (n->op == DLX_OP_SILU_MUL && g->values[n->in[0]].rank == 2)
            f->intermediate = (int32_t)g->values[n->in[0]].dim[1];
    }
}

dlx_status dlx_file_layers_read(dlx_file_layers *out, const dlx_pte *pte, dlx_error *err)
{
    bool decoder;
    *out = (dlx_file_layers){.layers = 0};
    dlx_graph_init(&out->graph);
    DLX_TRY(dlx_import_method(&out->graph, pte, "forward", NULL, err));
    DLX_TRY(dlx_raise_decoder(&out->graph, &decoder, err));
    DLX_TRY(dlx_raise(&out->graph, err));
    read_sizes(out);
    return DLX_OK;
}

void dlx_file_layers_free(dlx_file_layers *layers)
{
    dlx_graph_free(&layers->graph);
}

/* Values of a layer: its hidden states, and inputs and outputs of the whole program. */
typedef struct layer_values {
    uint32_t before, inputs[3], outputs[3];
} layer_values;

static dlx_status find_layer(layer_values *out, const dlx_graph *g, int32_t layer, const dlx_model_shape *shape,
                             dlx_error *err)
{
    size_t pairs = 2 * (size_t)shape->layers, pair = 2 * (size_t)layer;
    uint32_t before = in_front_of(g, layer, shape->layers), behind = in_front_of(g, layer + 1, shape->layers);
    if (g->n_inputs != 2 + pairs || g->n_outputs != 1 + pairs || before == DLX_NONE || behind == DLX_NONE)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "the file has no layer %d of %d by the names that this library's exporter gives", layer,
                        shape->layers);
    const dlx_value *hidden = &g->values[before], *keys = &g->values[g->inputs[2 + pair]];
    if (hidden->rank != 2 || hidden->dim[1] != shape->hidden || keys->rank != 3 || keys->dim[1] != shape->kv_heads ||
        keys->dim[2] != shape->head_dim)
        return dlx_fail(err, DLX_E_INVALID, "the file was made of another checkpoint: its layers have other sizes");
    *out = (layer_values){.before = before,
                          .inputs = {g->inputs[1], g->inputs[2 + pair], g->inputs[3 + pair]},
                          .outputs = {behind, g->outputs[1 + pair], g->outputs[2 + pair]}};
    return DLX_OK;
}

/* The operators between hidden states in front of the layer and what it makes of them: into r->to. */
static dlx_status copy_layer(dlx_rewrite *r, uint8_t *used, const layer_values *l, dlx_error *err)
{
    const dlx_graph *g = r->from;
    const dlx_value *hidden = &g->values[l->before];
    r->to.n_inputs = r->to.n_states = 0;
    r->map[l->before] = dlx_graph_input(&r->to, "hidden", DLX_F32, 2, hidden->dim, hidden->dynamic);
    if (r->map[l->before] == DLX_NONE) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading a layer of a file");
    for (size_t i = 0; i < DLX_COUNT(l->inputs); i++) r->to.inputs[r->to.n_inputs++] = r->map[l->inputs[i]];
    for (size_t i = 0; i < DLX_COUNT(l->outputs); i++) used[l->outputs[i]] = 1;
    for (size_t i = g->n_nodes; i-- > 0;)
        for (int k = 0; used[g->nodes[i].out[0]] && k < g->nodes[i].inputs; k++)
            if (g->nodes[i].in[k] != DLX_NONE && g->nodes[i].out[0] != l->before) used[g->nodes[i].in[k]] = 1;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (used[g->nodes[i].out[0]] && g->nodes[i].out[0] != l->before) DLX_TRY(dlx_rewrite_copy(r, i, err));
    for (size_t i = 0; i < DLX_COUNT(l->outputs); i++)
        if (!dlx_graph_output(&r->to, r->map[l->outputs[i]]))
            return dlx_fail(err, DLX_E_NOMEM, "out of memory reading a layer of a file");
    return dlx_graph_verify(&r->to, err);
}

/* One layer of `whole`, whose constants it reads. */
static dlx_status load(dlx_layerwise *w, const dlx_graph *whole, int32_t layer, const dlx_model_shape *shape,
                       dlx_error *err)
{
    layer_values l;
    dlx_rewrite r;
    DLX_TRY(find_layer(&l, whole, layer, shape, err));
    uint8_t *used = calloc(whole->n_values, 1);
    if (!used) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading layer %d of a file", layer);
    dlx_status s = dlx_rewrite_begin(&r, whole, err);
    if (s == DLX_OK) s = copy_layer(&r, used, &l, err);
    if (s == DLX_OK) s = dlx_layerwise_load_graph(w, layer, &r.to, err);
    dlx_rewrite_abandon(&r);
    free(used);
    return s;
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

typedef struct comparison {
    dlx_layerwise *w;
    const dlx_graph *program; /* the file's */
    uint64_t rows;
    size_t width;
    dlx_spill before, file;
    float *chunk[3]; /* [ROWS, width] before, behind the file's layer, behind the checkpoint's */
} comparison;

static uint64_t chunk_at(const comparison *c, uint64_t first)
{
    return c->rows - first < ROWS ? c->rows - first : ROWS;
}

static dlx_status take_hidden(comparison *c, dlx_spill *to, dlx_error *err)
{
    for (uint64_t first = 0, n; first < c->rows; first += n) {
        n = chunk_at(c, first);
        DLX_TRY(dlx_layerwise_hidden(c->w, first, n, c->chunk[0], err));
        DLX_TRY(dlx_spill_write(to, first, n, c->chunk[0], err));
    }
    return DLX_OK;
}

static dlx_status put_hidden(comparison *c, const dlx_spill *from, dlx_error *err)
{
    for (uint64_t first = 0, n; first < c->rows; first += n) {
        n = chunk_at(c, first);
        DLX_TRY(dlx_spill_read(from, first, n, c->chunk[0], err));
        DLX_TRY(dlx_layerwise_set_hidden(c->w, first, n, c->chunk[0], err));
    }
    return DLX_OK;
}

static dlx_status compare(comparison *c, double *error, dlx_error *err)
{
    double off = 0, added = 0;
    for (uint64_t first = 0, n; first < c->rows; first += n) {
        n = chunk_at(c, first);
        DLX_TRY(dlx_spill_read(&c->before, first, n, c->chunk[0], err));
        DLX_TRY(dlx_spill_read(&c->file, first, n, c->chunk[1], err));
        DLX_TRY(dlx_layerwise_hidden(c->w, first, n, c->chunk[2], err));
        for (size_t i = 0; i < (size_t)n * c->width; i++) {
            double e = (double)c->chunk[1][i] - (double)c->chunk[2][i];
            double a = (double)c->chunk[2][i] - (double)c->chunk[0][i];
            off += e * e;
            added += a * a;
        }
    }
    *error = added > 0 ? sqrt(off / added) : off > 0;
    return DLX_OK;
}

static dlx_status compare_layer(comparison *c, double *error, int32_t layer, const dlx_model_shape *shape,
                                dlx_error *err)
{
    DLX_TRY(take_hidden(c, &c->before, err));
    DLX_TRY(load(c->w, c->program, layer, shape, err));
    DLX_TRY(dlx_layerwise_run(c->w, DLX_LAYERWISE_ADVANCE, NULL, NULL, err));
    DLX_TRY(take_hidden(c, &c->file, err));
    DLX_TRY(put_hidden(c, &c->before, err));
    DLX_TRY(dlx_layerwise_load(c->w, layer, err));
    DLX_TRY(dlx_layerwise_run(c->w, DLX_LAYERWISE_ADVANCE, NULL, NULL, err));
    return compare(c, error, err);
}

dlx_status dlx_layer_errors(double *error, dlx_layerwise *w, const dlx_checkpoint *checkpoint,
                            const dlx_samples *samples, const dlx_file_layers *file, uint64_t bound, const char *folder,
                            dlx_error *err)
{
    comparison c = {.w = w, .program = &file->graph, .rows = samples->rows, .width = (size_t)checkpoint->shape.hidden};
    c.before.fd = c.file.fd = -1;
    if (!bound) bound = default_bound;
    float *chunks = calloc(3 * ROWS * c.width, sizeof *chunks);
    dlx_status s = chunks ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory comparing '%s'", checkpoint->folder);
    for (size_t i = 0; chunks && i < 3; i++) c.chunk[i] = chunks + i * ROWS * c.width;
    if (s == DLX_OK) s = dlx_spill_open(&c.before, c.rows, c.width, bound, folder, err);
    if (s == DLX_OK) s = dlx_spill_open(&c.file, c.rows, c.width, bound, folder, err);
    if (s == DLX_OK) s = dlx_layerwise_start(w, NULL, err);
    for (int32_t i = 0; s == DLX_OK && i < checkpoint->shape.layers; i++)
        s = compare_layer(&c, &error[i], i, &checkpoint->shape, err);
    dlx_spill_close(&c.before);
    dlx_spill_close(&c.file);
    free(chunks);
    return s;
}
