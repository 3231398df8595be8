#include "backends/qnn/qnn.h"

#include <stdlib.h>
#include <string.h>

#include "backends/qnn/build.h"
#include "backends/qnn/payload.h"
#include "backends/qnn/room.h"
#include "base/hash.h"

/* A payload that was made. */
typedef struct made {
    struct made *next;
    uint64_t part; /* fingerprint */
    uint64_t size; /* in its room: the header and the context binary */
    dlx_qnn_room room;
} made;

struct dlx_qnn {
    dlx_qnn_library lib;
    dlx_activation_ranges ranges;
    const char *beside;
    bool f16;
    made *first;
};

dlx_status dlx_qnn_open(dlx_qnn **out, const dlx_qnn_options *options, dlx_error *err)
{
    const dlx_qnn_chip *chip;
    *out = NULL;
    DLX_TRY(dlx_qnn_chip_find(&chip, options->chip, err));
    bool f16 = !options->ranges;
    if (f16 && !dlx_qnn_chip_has_f16(chip))
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "%s (HTP V%u) has no floats of 16 bits; a scheme with int8 weights and activations of 16 bits "
                        "needs none",
                        chip->name, chip->arch);
    dlx_qnn *q = calloc(1, sizeof *q);
    if (!q) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening the QNN backend");
    q->f16 = f16;
    q->beside = options->program;
    if (!f16) q->ranges = *options->ranges;
    dlx_status s = dlx_qnn_library_open(&q->lib, options->folder, chip, err);
    if (s != DLX_OK) {
        free(q);
        return s;
    }
    *out = q;
    return DLX_OK;
}

void dlx_qnn_close(dlx_qnn *q)
{
    if (!q) return;
    while (q->first) {
        made *m = q->first;
        q->first = m->next;
        dlx_qnn_room_free(&m->room);
        free(m);
    }
    dlx_qnn_library_close(&q->lib);
    free(q);
}

dlx_status dlx_qnn_check(const dlx_qnn *q, const dlx_graph *g, dlx_error *err)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        if (n->op == DLX_OP_LINEAR && dlx_qnn_takes(g, n))
            DLX_TRY(dlx_qnn_weights_fit(q->lib.chip, q->f16, g, n->in[1], err));
    }
    return DLX_OK;
}

void dlx_qnn_describe(const dlx_qnn *q, dlx_text_buffer *t)
{
    dlx_qnn_library_describe(&q->lib, t);
}

/* ---- payloads --------------------------------------------------------------------------------------------------- */

static uint64_t fingerprint(const dlx_part *part, const char *method)
{
    uint64_t h = dlx_fnv1a(0, method, strlen(method));
    h = dlx_fnv1a(h, part->nodes, part->n_nodes * sizeof *part->nodes);
    h = dlx_fnv1a(h, part->inputs, part->n_inputs * sizeof *part->inputs);
    h = dlx_fnv1a(h, part->outputs, part->n_outputs * sizeof *part->outputs);
    for (size_t i = 0; i < part->n_inputs; i++) {
        const dlx_value *v = &part->g->values[part->inputs[i]];
        h = dlx_fnv1a(h, v->dim, v->rank * sizeof *v->dim);
    }
    return h;
}

static dlx_status take_binary(made *m, const dlx_qnn_build *b, const char *beside, dlx_error *err)
{
    uint64_t size = 0, written = 0;
    dlx_qnn_error e = b->lib->api->context_binary_size(b->context, &size);
    if (e) return dlx_qnn_fail(b->lib, e, err, "tell the size of a context");
    DLX_TRY(dlx_qnn_room_take(&m->room, DLX_QNN_HEADER + size, beside, err));
    uint8_t *bytes = m->room.bytes;
    e = b->lib->api->context_binary(b->context, bytes + DLX_QNN_HEADER, size, &written);
    if (e) return dlx_qnn_fail(b->lib, e, err, "write a context");
    m->size = DLX_QNN_HEADER + written;
    dlx_qnn_header(bytes, bytes + DLX_QNN_HEADER, written);
    dlx_qnn_room_rest(&m->room);
    return DLX_OK;
}

static dlx_status compile(dlx_qnn *q, made *m, const dlx_part *part, const dlx_lowering *how, dlx_error *err)
{
    dlx_graph g;
    dlx_arena arena;
    dlx_qnn_build b;
    const dlx_qnn_scale *grid = NULL;
    DLX_TRY(dlx_qnn_expand(&g, part, err));
    dlx_arena_init(&arena);
    dlx_status s = q->f16 ? DLX_OK : dlx_qnn_grids(&grid, &arena, &g, &q->ranges, err);
    if (s == DLX_OK) s = dlx_qnn_build_begin(&b, &q->lib, &g, grid, how->method, how->pool, err);
    if (s == DLX_OK) {
        s = take_binary(m, &b, q->beside, err);
        dlx_qnn_build_end(&b);
    }
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
    return s;
}

static dlx_status payload(made **out, dlx_qnn *q, const dlx_part *part, const dlx_lowering *how, dlx_error *err)
{
    uint64_t print = fingerprint(part, how->method);
    for (*out = q->first; *out; *out = (*out)->next)
        if ((*out)->part == print) return DLX_OK;
    made *m = calloc(1, sizeof *m);
    if (!m) return dlx_fail(err, DLX_E_NOMEM, "out of memory lowering to QNN");
    m->part = print;
    dlx_status s = compile(q, m, part, how, err);
    if (s != DLX_OK) {
        dlx_qnn_room_free(&m->room);
        free(m);
        return s;
    }
    m->next = q->first;
    *out = q->first = m;
    return DLX_OK;
}

dlx_status dlx_qnn_lower_part(dlx_delegate *out, dlx_arena *arena, const dlx_part *part, const dlx_lowering *how,
                              dlx_error *err)
{
    dlx_qnn *q = (dlx_qnn *)how->options;
    made *m;
    memset(out, 0, sizeof *out);
    if (!q) return dlx_fail(err, DLX_E_INVALID, "QNN programs are made for one chip, and none was named");
    DLX_TRY(payload(&m, q, part, how, err));
    size_t n = part->n_inputs + part->n_outputs;
    dlx_pte_spec *spec = dlx_arena_alloc(arena, sizeof *spec);
    dlx_pte_piece *piece = dlx_arena_alloc(arena, sizeof *piece);
    uint32_t *args = dlx_arena_array(arena, n, sizeof *args);
    if (!spec || !piece || !args) return dlx_fail(err, DLX_E_NOMEM, "out of memory lowering to QNN");
    DLX_TRY(dlx_qnn_spec(spec, arena, q->lib.chip, q->f16, err));
    *piece = (dlx_pte_piece){.data = m->room.bytes, .size = m->size};
    memcpy(args, part->inputs, part->n_inputs * sizeof *args);
    memcpy(args + part->n_inputs, part->outputs, part->n_outputs * sizeof *args);
    *out = (dlx_delegate){.id = "QnnBackend",
                          .specs = spec,
                          .n_specs = 1,
                          .pieces = piece,
                          .n_pieces = 1,
                          .args = args,
                          .n_args = (uint32_t)n};
    return DLX_OK;
}

const dlx_home dlx_qnn_home = {.name = "QNN", .takes = dlx_qnn_takes, .lower_part = dlx_qnn_lower_part};
