/*
 * Arbitrary bytes as a .pte: whatever dlx_pte_read accepts is walked from end to end, and every payload in it is read
 * as one of each delegate whose payloads are read, with the program's named data and the delegate's options.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/coreml.h"
#include "format/pte.h"
#include "format/qnn.h"
#include "format/xnnpack.h"
#include "fuzz.h"

static const void *named_data(void *ctx, const char *key, uint64_t *size)
{
    const dlx_pte_blob *b = dlx_pte_find_named(ctx, key);
    *size = b ? b->size : 0;
    return b ? b->data : NULL;
}

/* Reads all of it, so that a sanitizer sees a range that lies outside the file. */
static void touch(const void *p, uint64_t n)
{
    const volatile uint8_t *bytes = p;
    for (uint64_t i = 0; i < n; i++)
        (void)bytes[i];
}

static void walk_plan(const dlx_pte *pte, const dlx_pte_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_instructions; i++)
        for (uint32_t a = 0; a < plan->instructions[i].n_args; a++)
            touch(&plan->values[plan->instructions[i].args[a]], sizeof *plan->values);
    for (uint32_t i = 0; i < plan->n_values; i++) {
        const dlx_evalue *v = &plan->values[i];
        if (v->kind == DLX_EV_STRING && strlen(v->u.s.text) != v->u.s.length) abort();
        if (v->kind != DLX_EV_TENSOR || v->u.tensor.blob == DLX_PTE_NO_BLOB) continue;
        touch(pte->blobs[v->u.tensor.blob].data, v->u.tensor.bytes);
    }
}

static void walk_graph(const dlx_xnn_graph *g)
{
    for (uint32_t i = 0; i < g->n_constants; i++)
        touch(g->constants[i].data, g->constants[i].size);
    for (uint32_t i = 0; i < g->n_values; i++)
        if (g->values[i].inline_scales) touch(g->values[i].inline_scales, 4 * (uint64_t)g->values[i].num_scales);
}

static void read_others(const dlx_pte *pte, const dlx_pte_delegate *d, dlx_arena *arena)
{
    dlx_coreml_contents coreml;
    dlx_qnn_contents qnn;
    dlx_qnn_target target;
    dlx_error err;
    if (dlx_coreml_read(&coreml, arena, pte, &pte->blobs[d->blob], &err) == DLX_OK)
        for (uint32_t i = 0; i < coreml.n_operators; i++)
            touch(coreml.operators[i].word, strlen(coreml.operators[i].word));
    (void)dlx_qnn_read(&qnn, &pte->blobs[d->blob], &err);
    for (uint32_t i = 0; i < d->n_specs; i++)
        (void)dlx_qnn_read_target(&target, d->specs[i].value, d->specs[i].size, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dlx_arena arena;
    dlx_pte pte;
    dlx_error err;
    dlx_arena_init(&arena);
    uint8_t *file = malloc(size ? size : 1); /* aligned, and no byte longer than the input */
    if (!file) return 0;
    if (size) memcpy(file, data, size);
    if (dlx_pte_read(&pte, &arena, file, size, "fuzz", &err) == DLX_OK) {
        for (uint32_t i = 0; i < pte.n_plans; i++)
            walk_plan(&pte, &pte.plans[i]);
        for (uint32_t i = 0; i < pte.n_plans; i++)
            for (uint32_t k = 0; k < pte.plans[i].n_delegates; k++)
                read_others(&pte, &pte.plans[i].delegates[k], &arena);
        for (uint32_t i = 0; i < pte.n_blobs; i++) {
            touch(pte.blobs[i].data, pte.blobs[i].size);
            dlx_xnn_graph graph;
            if (pte.blobs[i].kind == DLX_BLOB_DELEGATE &&
                dlx_xnn_read(&graph, &arena, pte.blobs[i].data, pte.blobs[i].size, "delegate", named_data, &pte,
                             &err) == DLX_OK)
                walk_graph(&graph);
        }
    }
    free(file);
    dlx_arena_free(&arena);
    return 0;
}
