#include "calibrate/layer_errors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "calibrate/spill.h"
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

/* All but one layer goes. */
static dlx_status cut(dlx_graph *g, int32_t layer, const dlx_model_shape *shape, dlx_error *err)
{
    int32_t layers = shape->layers;
    size_t pairs = 2 * (size_t)layers, pair = 2 * (size_t)layer;
    uint32_t before = in_front_of(g, layer, layers), behind = in_front_of(g, layer + 1, layers);
    if (g->n_inputs != 2 + pairs || g->n_outputs != 1 + pairs || before == DLX_NONE || behind == DLX_NONE)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "the file has no layer %d of %d by the names that this library's exporter gives", layer,
                        layers);
    dlx_value hidden = g->values[before];
    const dlx_value *keys = &g->values[g->inputs[2 + pair]];
    if (hidden.rank != 2 || hidden.dim[1] != shape->hidden || keys->rank != 3 || keys->dim[1] != shape->kv_heads ||
        keys->dim[2] != shape->head_dim)
        return dlx_fail(err, DLX_E_INVALID, "the file was made of another checkpoint: its layers have other sizes");
    hidden.name = "hidden";
    hidden.kind = DLX_VALUE_INPUT;
    hidden.producer = DLX_NONE;
    uint32_t in = dlx_graph_value(g, &hidden);
    if (in == DLX_NONE) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading layer %d of a file", layer);
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].inputs; k++)
            if (g->nodes[i].in[k] == before) g->nodes[i].in[k] = in;
    const uint32_t inputs[] = {in, g->inputs[1], g->inputs[2 + pair], g->inputs[3 + pair]};
    const uint32_t outputs[] = {behind, g->outputs[1 + pair], g->outputs[2 + pair]};
    memcpy(g->inputs, inputs, sizeof inputs);
    memcpy(g->outputs, outputs, sizeof outputs);
    g->n_inputs = DLX_COUNT(inputs);
    g->n_outputs = DLX_COUNT(outputs);
    g->n_states = 0;
    DLX_TRY(dlx_graph_prune(g, err));
    return dlx_graph_verify(g, err);
}

static dlx_status load(dlx_layerwise *w, const dlx_pte *pte, int32_t layer, const dlx_model_shape *shape,
                       dlx_error *err)
{
    dlx_graph g;
    bool decoder;
    dlx_graph_init(&g);
    dlx_status s = dlx_import_method(&g, pte, "forward", NULL, err);
    if (s == DLX_OK) s = dlx_raise_decoder(&g, &decoder, err);
    if (s == DLX_OK) s = dlx_raise(&g, err);
    if (s == DLX_OK) s = cut(&g, layer, shape, err);
    if (s == DLX_OK) s = dlx_layerwise_load_graph(w, layer, &g, err);
    dlx_graph_free(&g);
    return s;
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

typedef struct comparison {
    dlx_layerwise *w;
    const dlx_pte *pte;
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
    DLX_TRY(load(c->w, c->pte, layer, shape, err));
    DLX_TRY(dlx_layerwise_run(c->w, DLX_LAYERWISE_ADVANCE, NULL, NULL, err));
    DLX_TRY(take_hidden(c, &c->file, err));
    DLX_TRY(put_hidden(c, &c->before, err));
    DLX_TRY(dlx_layerwise_load(c->w, layer, err));
    DLX_TRY(dlx_layerwise_run(c->w, DLX_LAYERWISE_ADVANCE, NULL, NULL, err));
    return compare(c, error, err);
}

dlx_status dlx_layer_errors(double *error, dlx_layerwise *w, const dlx_checkpoint *checkpoint,
                            const dlx_samples *samples, const dlx_pte *pte, uint64_t bound, const char *folder,
                            dlx_error *err)
{
    comparison c = {.w = w, .pte = pte, .rows = samples->rows, .width = (size_t)checkpoint->shape.hidden};
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
