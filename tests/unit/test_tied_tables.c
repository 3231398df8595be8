/*
 * A table whose rows are looked up and that is also the head's matrix is in memory once, packed: nothing of it is read
 * apart from that, what is stated of the memory knows it, and logits are those of a model that has both.
 */
#include "fail_fixture.h"
#include "shared_folder.h"

#include "engine/model.h"
#include "runtime/linear.h"

enum { IDS = 5 };
static const int32_t ids[IDS] = {3, 1, 4, 0, 5};

static const dlx_node *token_table(const dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_EMBEDDING && g->nodes[i].in[1] == g->inputs[0]) return &g->nodes[i];
    fail_msg("the program looks no tokens up");
    return NULL;
}

static float *logits_of(dlx_model *m)
{
    const dlx_model_facts *f = dlx_model_get_facts(m);
    dlx_session *s = NULL;
    dlx_error err = {0};
    float *logits = malloc((size_t)IDS * (size_t)f->vocab_size * sizeof *logits);
    dlx_forward_call call = {.struct_size = sizeof call,
                             .ids = ids,
                             .n_ids = IDS,
                             .attn_block = f->attn_block,
                             .n_rows = IDS,
                             .logits = logits};
    if (dlx_session_open(&s, m, 0, 0, &err) != DLX_OK || dlx_session_forward(s, &call, &err) != DLX_OK)
        fail_msg("%s", err.message);
    dlx_session_close(s);
    return logits;
}

/* In one set of kernels: once with the packed rows, once with the rows of the file, which are the same bytes. */
static void check_set(const char *path, const char *cpu)
{
    dlx_model *m = NULL;
    dlx_error err = {0};
    dlx_model_options o = dlx_model_options_default();
    o.cpu = cpu;
    o.threads = 1;
    if (dlx_model_open(&m, path, &o, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_graph *g = &m->program.g;
    uint32_t table = token_table(g)->in[0];
    assert_non_null(dlx_linear_tied(g, table));
    assert_null(g->values[table].source.data);
    float *tied = logits_of(m);

    dlx_value *v = &g->values[table];
    const dlx_node *head = dlx_linear_tied(g, table);
    const dlx_gemm *gemm = dlx_linear_gemm(&m->program.k, g, head);
    size_t rows = (size_t)v->dim[0], bytes = (size_t)v->source.bytes / rows;
    uint8_t *packed = malloc(rows * bytes);
    for (size_t i = 0; i < rows; i++)
        gemm->unpack(packed + i * bytes, m->program.weights[head - g->nodes], dlx_linear_shape(g, head), i);
    dlx_file file;
    assert_int_equal(dlx_file_open(&file, path, &err), DLX_OK);
    uint8_t *stored = malloc(rows * bytes);
    assert_int_equal(dlx_file_read(&file, v->source.offset, stored, rows * bytes, &err), DLX_OK);
    dlx_file_close(&file);
    assert_memory_equal(packed, stored, rows * bytes);

    v->source.data = stored;
    float *apart = logits_of(m);
    v->source.data = NULL;
    assert_memory_equal(tied, apart, (size_t)IDS * (size_t)dlx_model_get_facts(m)->vocab_size * sizeof *tied);
    free(packed);
    free(stored);
    free(tied);
    free(apart);
    dlx_model_close(m);
}

static void every_scheme_and_set(void **state)
{
    static const char *const schemes[] = {"none", "fp16", "bf16", "int8-dynamic", "int8-weight-only", "int4"};
    char checkpoint[1024], path[1024];
    dlx_error err = {0};
    (void)state;
    checkpoint_of(checkpoint, "fast_dllm_v2");
    path_in(path, folder.folder, "tied.pte");
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        dlx_export_options o = tiny_export(checkpoint, path, true);
        dlx_isa set[8];
        o.quantization = schemes[i];
        if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
        for (size_t k = dlx_isa_list(set); k-- > 0;)
            if (dlx_isa_available(set[k])) check_set(path, dlx_isa_name(set[k]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_scheme_and_set)};
    return cmocka_run_group_tests(tests, make_folder, remove_it);
}
