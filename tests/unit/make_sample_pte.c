/*
 * Writes a small program for checks against ExecuTorch itself: make_sample_pte FILE.pte [bare]
 *
 * forward(ids [T] i64) -> a [T,N], b [T,V], T up to 8: an embedding from a table [V,K], then one XNNPACK delegate with
 * a dynamically quantised linear (int8 weights by row, bias) and a float linear whose filter is the embedding table
 * (tied: the named data shares the bytes of the constant). Further methods are constants of every simple kind. Values
 * follow formulas that a test can repeat: table[i] = ((73 i + 5) mod 1000) / 500 - 1, w[i] = (37 i + 11) mod 255 - 127,
 * scale[n] = (n + 1) / 1024, bias[n] = n / 4. A bare program has the constant methods only, and no segment at all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/pte.h"
#include "format/xnnpack.h"

enum { T = 8, V = 24, K = 32, N = 12 };

static float table[V * K], scales[N], bias[N];
static int8_t weights[N * K];

static void fill(void)
{
    for (int i = 0; i < V * K; i++) table[i] = (float)((73 * i + 5) % 1000) / 500.0f - 1.0f;
    for (int i = 0; i < N * K; i++) weights[i] = (int8_t)((37 * i + 11) % 255 - 127);
    for (int i = 0; i < N; i++) {
        scales[i] = (float)(i + 1) / 1024.0f;
        bias[i] = (float)i / 4.0f;
    }
}

static dlx_status make_payload(void **payload, size_t *size, dlx_error *err)
{
    enum { X, Q, W, B, A, E, L };
    dlx_xnn_value values[] = {
        [X] = {.id = X,
               .datatype = DLX_XNN_FP32,
               .rank = 2,
               .dim = {T, K},
               .external_id = 0,
               .flags = DLX_XNN_FLAG_INPUT},
        [Q] = {.id = Q,
               .datatype = DLX_XNN_QDINT8,
               .rank = 2,
               .dim = {T, K},
               .external_id = DLX_XNN_NONE,
               .quant = DLX_XNN_Q_PER_TOKEN_DYNAMIC,
               .nonbatch_dims = 1},
        [W] = {.id = W,
               .datatype = DLX_XNN_QCINT8,
               .rank = 2,
               .dim = {N, K},
               .constant = 1,
               .external_id = DLX_XNN_NONE,
               .quant = DLX_XNN_Q_PER_CHANNEL,
               .scales = 2,
               .num_scales = N},
        [B] = {.id = B, .datatype = DLX_XNN_FP32, .rank = 1, .dim = {N}, .constant = 3, .external_id = DLX_XNN_NONE},
        [A] = {.id = A,
               .datatype = DLX_XNN_FP32,
               .rank = 2,
               .dim = {T, N},
               .external_id = 1,
               .flags = DLX_XNN_FLAG_OUTPUT},
        [E] = {.id = E, .datatype = DLX_XNN_FP32, .rank = 2, .dim = {V, K}, .constant = 4, .external_id = DLX_XNN_NONE},
        [L] = {.id = L,
               .datatype = DLX_XNN_FP32,
               .rank = 2,
               .dim = {T, V},
               .external_id = 2,
               .flags = DLX_XNN_FLAG_OUTPUT},
    };
    dlx_xnn_node nodes[] = {
        {.type = DLX_XNN_CONVERT, .in = {X}, .inputs = 1, .out = Q},
        {.type = DLX_XNN_FULLY_CONNECTED, .in = {Q, W, B}, .inputs = 3, .out = A},
        {.type = DLX_XNN_FULLY_CONNECTED, .in = {X, E, DLX_XNN_NONE}, .inputs = 3, .out = L},
    };
    dlx_xnn_constant constants[] = {
        {0},
        {.key = "w", .size = sizeof weights},
        {.key = "w.scales", .size = sizeof scales},
        {.size = sizeof bias, .data = bias},
        {.key = "table", .size = sizeof table},
    };
    dlx_xnn_graph graph = {.values = values,
                           .n_values = 7,
                           .nodes = nodes,
                           .n_nodes = 3,
                           .constants = constants,
                           .n_constants = 5,
                           .num_externs = 3};
    return dlx_xnn_write(&graph, payload, size, err);
}

static dlx_evalue tensor(int type, int32_t rows, int32_t columns, int32_t blob, const char *name)
{
    dlx_pte_tensor t = {.scalar_type = type,
                        .rank = columns ? 2 : 1,
                        .sizes = {rows, columns},
                        .dynamic = rows == T,
                        .blob = blob,
                        .name = name};
    t.bytes = (uint64_t)rows * (uint64_t)(columns ? columns : 1) * dlx_scalar_type_size(type);
    return (dlx_evalue){.kind = DLX_EV_TENSOR, .u.tensor = t};
}

static dlx_status write_program(dlx_output *out, const void *payload, size_t payload_size, bool bare, dlx_error *err)
{
    enum { IDS, TABLE, PADDING, NO, X, A, L, VALUES };
    dlx_pte_blob blobs[] = {
        {.kind = DLX_BLOB_CONSTANT, .size = sizeof table, .data = table, .alias_of = -1},
        {.kind = DLX_BLOB_DELEGATE, .size = payload_size, .data = payload, .alias_of = -1},
        {.kind = DLX_BLOB_NAMED, .key = "w", .size = sizeof weights, .data = weights, .alias_of = -1},
        {.kind = DLX_BLOB_NAMED, .key = "w.scales", .size = sizeof scales, .data = scales, .alias_of = -1},
        {.kind = DLX_BLOB_NAMED, .key = "table", .size = sizeof table, .alias_of = 0},
    };
    dlx_evalue values[VALUES] = {
        [IDS] = tensor(DLX_ST_LONG, T, 0, DLX_PTE_NO_BLOB, "ids"),
        [TABLE] = tensor(DLX_ST_FLOAT, V, K, 0, "table"),
        [PADDING] = {.kind = DLX_EV_INT, .u.i = -1},
        [NO] = {.kind = DLX_EV_BOOL},
        [X] = tensor(DLX_ST_FLOAT, T, K, DLX_PTE_NO_BLOB, NULL),
        [A] = tensor(DLX_ST_FLOAT, T, N, DLX_PTE_NO_BLOB, "a"),
        [L] = tensor(DLX_ST_FLOAT, T, V, DLX_PTE_NO_BLOB, "b"),
    };
    values[X].u.tensor.memory_id = 1;
    static const int32_t gather[] = {TABLE, IDS, PADDING, NO, NO, X, X}, call[] = {X, A, L}, inputs[] = {IDS},
                         outputs[] = {A, L};
    static const int64_t arenas[] = {0, T * K * 4 + 64};
    static const dlx_pte_operator embedding = {"aten::embedding", "out"};
    static const dlx_pte_delegate delegate = {.id = "XnnpackBackend", .blob = 1};
    const dlx_instruction instructions[] = {
        {.kind = DLX_INS_KERNEL, .index = 0, .n_args = 7, .args = gather},
        {.kind = DLX_INS_DELEGATE, .index = 0, .n_args = 3, .args = call},
    };
    static const int32_t first_two[] = {0, 1};
    dlx_evalue number = {.kind = DLX_EV_INT, .u.i = (int64_t)1 << 40}, yes = {.kind = DLX_EV_BOOL, .u.b = true};
    dlx_evalue theta = {.kind = DLX_EV_DOUBLE, .u.d = 1e6}, text = {.kind = DLX_EV_STRING, .u.s = {"sample", 6}};
    dlx_evalue ends[] = {{.kind = DLX_EV_INT, .u.i = 1}, {.kind = DLX_EV_INT, .u.i = 2}};
    const dlx_pte_plan plans[] = {
        {.name = "forward",
         .values = values,
         .n_values = VALUES,
         .inputs = inputs,
         .n_inputs = 1,
         .outputs = outputs,
         .n_outputs = 2,
         .operators = &embedding,
         .n_operators = 1,
         .delegates = &delegate,
         .n_delegates = 1,
         .instructions = instructions,
         .n_instructions = 2,
         .buffer_sizes = arenas,
         .n_buffer_sizes = 2},
        {.name = "get_max_seq_len", .values = &number, .n_values = 1, .outputs = first_two, .n_outputs = 1},
        {.name = "use_kv_cache", .values = &yes, .n_values = 1, .outputs = first_two, .n_outputs = 1},
        {.name = "get_rope_theta", .values = &theta, .n_values = 1, .outputs = first_two, .n_outputs = 1},
        {.name = "get_model_name", .values = &text, .n_values = 1, .outputs = first_two, .n_outputs = 1},
        {.name = "get_eos_ids", .values = ends, .n_values = 2, .outputs = first_two, .n_outputs = 2},
    };
    dlx_pte pte = {.plans = plans + bare, .n_plans = 6 - bare, .blobs = blobs, .n_blobs = bare ? 0 : 5};
    return dlx_pte_write(&pte, out, NULL, NULL, err);
}

int main(int argc, char **argv)
{
    bool bare = argc == 3 && strcmp(argv[2], "bare") == 0;
    if (argc != 2 && !bare) {
        fprintf(stderr, "usage: %s FILE.pte [bare]\n", argv[0]);
        return 2;
    }
    dlx_error err = {0};
    dlx_output out;
    void *payload = NULL;
    size_t size = 0;
    fill();
    dlx_status s = make_payload(&payload, &size, &err);
    if (s == DLX_OK) s = dlx_output_open(&out, argv[1], &err);
    if (s == DLX_OK) {
        s = write_program(&out, payload, size, bare, &err);
        if (s == DLX_OK) s = dlx_output_commit(&out, &err);
        dlx_output_close(&out);
    }
    free(payload);
    if (s != DLX_OK) fprintf(stderr, "%s: %s\n", dlx_status_name(s), err.message);
    return s == DLX_OK ? 0 : 1;
}
