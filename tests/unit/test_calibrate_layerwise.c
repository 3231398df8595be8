/*
 * A checkpoint run layer by layer is the model: logits of all rows against those of a session over the exported
 * program, for every family and both kinds of attention; whatever runs together, and wherever hidden states are kept.
 * And what visitors see of linears, and weights that are replaced.
 */
#include "fail_fixture.h"

#include <math.h>

#include "base/half.h"
#include "base/sizes.h"
#include "calibrate/layerwise.h"
#include "quant/quant.h"

enum { SEQUENCES = 4, LONGEST = 48 };
static const int32_t lengths[SEQUENCES] = {33, 7, 48, 20};
enum { ROWS = 33 + 7 + 48 + 20 };

/* ---- fixture ---------------------------------------------------------------------------------------------------- */

typedef struct fixture {
    dlx_checkpoint c;
    dlx_pool *pool;
    dlx_samples samples;
    dlx_sample list[SEQUENCES];
    int32_t ids[SEQUENCES][LONGEST];
    dlx_layerwise *w;
} fixture;

static void open_folder(fixture *f, const char *folder, int threads)
{
    memset(f, 0, sizeof *f);
    CHECK(dlx_checkpoint_open(&f->c, folder, NULL, err));
    CHECK(dlx_pool_create(&f->pool, threads, err));
    f->samples = (dlx_samples){.list = f->list,
                               .n = SEQUENCES,
                               .attn_block = f->c.facts.attn_block,
                               .mask_id = f->c.facts.mask_id,
                               .rows = ROWS,
                               .longest = LONGEST};
    for (int i = 0; i < SEQUENCES; i++) {
        f->list[i] = (dlx_sample){.ids = f->ids[i], .n = lengths[i], .answer = lengths[i] / 2};
        for (int32_t p = 0; p < lengths[i]; p++)
            f->ids[i][p] = p >= lengths[i] / 2 && p % 3 ? f->c.facts.mask_id : (p * 389 + 17 + i * 101) % 1000;
    }
}

static void open_fixture(fixture *f, const char *family, int threads)
{
    char folder[1024];
    checkpoint_of(folder, family);
    open_folder(f, folder, threads);
}

static void open_layerwise(fixture *f, const dlx_layerwise_options *more)
{
    dlx_layerwise_options o = more ? *more : (dlx_layerwise_options){0};
    o.limit = dlx_cpu_best_isa();
    o.pool = f->pool;
    CHECK(dlx_layerwise_open(&f->w, &f->c, &f->samples, &o, err));
}

static void close_fixture(fixture *f)
{
    dlx_layerwise_close(f->w);
    dlx_pool_free(f->pool);
    dlx_checkpoint_close(&f->c);
}

static void run_layers(fixture *f, const dlx_span *spans, int flags)
{
    CHECK(dlx_layerwise_start(f->w, spans, err));
    for (int32_t l = 0; l < f->c.shape.layers; l++) {
        CHECK(dlx_layerwise_load(f->w, l, err));
        CHECK(dlx_layerwise_run(f->w, flags, NULL, NULL, err));
    }
}

static float *hidden(const fixture *f)
{
    float *h = calloc((size_t)ROWS * (size_t)f->c.shape.hidden, sizeof *h);
    assert_non_null(h);
    CHECK(dlx_layerwise_hidden(f->w, 0, ROWS, h, err));
    return h;
}

static float difference(const float *a, const float *b, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(a[i] == a[i] && b[i] == b[i]);
        most = fmaxf(most, fabsf(a[i] - b[i]));
    }
    return most;
}

/* ---- logits ----------------------------------------------------------------------------------------------------- */

typedef struct all_logits {
    float *to; /* [ROWS, vocab] */
    size_t vocab, seen;
    const int32_t *first; /* [SEQUENCES] rows in front */
} all_logits;

static dlx_status take_logits(void *ctx, const dlx_logits_rows *l, dlx_error *err)
{
    all_logits *a = ctx;
    (void)err;
    for (size_t r = 0; r < l->rows; r++)
        memcpy(a->to + (size_t)(a->first[l->sample[r]] + l->position[r]) * a->vocab + (size_t)l->first,
               l->logits + r * (size_t)l->n, (size_t)l->n * sizeof *l->logits);
    a->seen += l->rows * (size_t)l->n;
    return DLX_OK;
}

static void session_logits(const fixture *f, const char *program, float *to)
{
    dlx_model *m;
    dlx_session *s;
    CHECK(dlx_model_open(&m, program, NULL, err));
    size_t vocab = (size_t)dlx_model_get_facts(m)->vocab_size;
    for (size_t i = 0; i < SEQUENCES; i++) {
        dlx_forward_call call = {.struct_size = sizeof call,
                                 .ids = f->ids[i],
                                 .n_ids = lengths[i],
                                 .attn_block = f->samples.attn_block,
                                 .n_rows = lengths[i],
                                 .logits = to};
        CHECK(dlx_session_open(&s, m, 0, 0, err));
        CHECK(dlx_session_forward(s, &call, err));
        dlx_session_close(s);
        to += (size_t)lengths[i] * vocab;
    }
    dlx_model_close(m);
}

static void assert_is_the_model(const char *folder, bool other_attention)
{
    static const int32_t first[SEQUENCES] = {0, 33, 40, 88};
    fixture f;
    target t = new_target("m.pte");
    dlx_export_options o = tiny_export(folder, t.path, false);
    CHECK(dlx_export(&o, NULL, err));
    open_folder(&f, folder, 2);
    if (other_attention) f.samples.attn_block = f.samples.attn_block ? 0 : 8;
    open_layerwise(&f, NULL);
    run_layers(&f, NULL, DLX_LAYERWISE_ADVANCE);
    all_logits got = {.vocab = (size_t)f.c.shape.vocab_size, .first = first};
    got.to = calloc(ROWS * got.vocab, sizeof *got.to);
    float *want = calloc(ROWS * got.vocab, sizeof *want);
    assert_true(got.to && want);
    CHECK(dlx_layerwise_head(f.w, NULL, take_logits, &got, err));
    assert_int_equal(got.seen, ROWS * got.vocab);
    session_logits(&f, t.path, want);
    float off = difference(got.to, want, ROWS * got.vocab);
    if (off > 1e-6f) fail_msg("%s, blocks of %d: logits differ by %g", folder, f.samples.attn_block, (double)off);
    free(got.to);
    free(want);
    close_fixture(&f);
    remove_target(&t);
}

static void chained_layers_are_the_model(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * FAMILIES; i++) {
        char folder[1024];
        checkpoint_of(folder, families[i / 2]);
        assert_is_the_model(folder, i % 2);
    }
}

/* The tiny checkpoints are float32 and bfloat16. */
static void a_checkpoint_of_halves(void **state)
{
    (void)state;
    dlx_arena arena;
    dlx_safetensors st;
    char path[1024];
    copy c = copy_checkpoint(TINY("llada"));
    path_in(path, c.folder, "model.safetensors");
    dlx_arena_init(&arena);
    CHECK(dlx_safetensors_open(&st, &arena, path, err));
    take_tensors(&st, &arena);
    for (size_t i = 0; i < st.n_tensors; i++) {
        dlx_st_tensor *t = &st.tensors[i];
        size_t n = (size_t)t->bytes / sizeof(float);
        uint16_t *half = dlx_arena_array(&arena, n, sizeof *half);
        assert_non_null(half);
        assert_int_equal(t->dtype, DLX_F32);
        for (size_t k = 0; k < n; k++) {
            float x;
            memcpy(&x, t->data + k * sizeof x, sizeof x);
            half[k] = dlx_f32_to_f16(x);
        }
        t->data = (const uint8_t *)half;
        t->dtype = DLX_F16;
        t->bytes = n * sizeof *half;
    }
    assert_int_equal(unlink(path), 0);
    CHECK(dlx_safetensors_write(path, st.tensors, st.n_tensors, err));
    dlx_safetensors_close(&st);
    dlx_arena_free(&arena);
    assert_is_the_model(c.folder, false);
    remove_copy(&c);
}

typedef struct wanted_rows {
    size_t rows;
    const fixture *f;
} wanted_rows;

static dlx_status only_masks(void *ctx, const dlx_logits_rows *l, dlx_error *err)
{
    wanted_rows *w = ctx;
    (void)err;
    for (size_t r = 0; r < l->rows; r++)
        assert_int_equal(w->f->ids[l->sample[r]][l->position[r]], w->f->samples.mask_id);
    if (!l->first) w->rows += l->rows;
    return DLX_OK;
}

static void the_head_runs_the_rows_that_are_wanted(void **state)
{
    (void)state;
    fixture f;
    uint8_t wanted[ROWS];
    size_t masks = 0, row = 0;
    open_fixture(&f, "llada", 1);
    open_layerwise(&f, NULL);
    CHECK(dlx_layerwise_start(f.w, NULL, err));
    for (int i = 0; i < SEQUENCES; i++)
        for (int32_t p = 0; p < lengths[i]; p++) masks += wanted[row++] = f.ids[i][p] == f.samples.mask_id;
    wanted_rows w = {.f = &f};
    CHECK(dlx_layerwise_head(f.w, wanted, only_masks, &w, err));
    assert_true(masks > 10);
    assert_int_equal(w.rows, masks);
    close_fixture(&f);
}

/* ---- how it runs ------------------------------------------------------------------------------------------------ */

/* Passes of few rows, files for hidden states, threads, slow kernels or not: the same bits. */
static void nothing_depends_on_how_it_runs(void **state)
{
    (void)state;
    const dlx_layerwise_options ways[] = {{0}, {.pass_rows = LONGEST}, {.memory = 1}, {.memory = 1, .pass_rows = 60}};
    for (int i = 0; i < FAMILIES; i++) {
        float *first = NULL;
        for (size_t k = 0; k < DLX_COUNT(ways); k++) {
            fixture f;
            open_fixture(&f, families[i], k % 2 ? 1 : 3);
            open_layerwise(&f, &ways[k]);
            run_layers(&f, NULL, DLX_LAYERWISE_ADVANCE);
            float *h = hidden(&f);
            if (first) {
                assert_memory_equal(h, first, ROWS * (size_t)f.c.shape.hidden * sizeof *h);
                free(h);
            } else {
                first = h;
            }
            close_fixture(&f);
        }
        free(first);
    }
}

/* Rows behind stored keys and values are those rows of the whole, in block-causal models. */
static void rows_behind_stored_ones(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        fixture whole, parts;
        dlx_span spans[SEQUENCES];
        const char *family = i < 2 ? "sdar" : "fast_dllm_v2";
        open_fixture(&whole, family, 2);
        open_layerwise(&whole, NULL);
        run_layers(&whole, NULL, DLX_LAYERWISE_ADVANCE);
        open_fixture(&parts, family, 2);
        open_layerwise(&parts, &(dlx_layerwise_options){.cache = true, .memory = i % 2 ? 1 : 0});
        int32_t block = parts.samples.attn_block;
        assert_true(block > 0);
        for (int k = 0; k < SEQUENCES; k++) spans[k] = (dlx_span){0, lengths[k] / 2 / block * block};
        run_layers(&parts, spans, DLX_LAYERWISE_ADVANCE | DLX_LAYERWISE_STORE);
        for (int k = 0; k < SEQUENCES; k++) spans[k] = (dlx_span){spans[k].end, lengths[k]};
        run_layers(&parts, spans, DLX_LAYERWISE_ADVANCE);
        float *a = hidden(&whole), *b = hidden(&parts);
        float off = difference(a, b, ROWS * (size_t)whole.c.shape.hidden);
        if (off > 2e-5f) fail_msg("%s: hidden states differ by %g", family, (double)off);
        free(a);
        free(b);
        close_fixture(&whole);
        close_fixture(&parts);
    }
}

/* ---- linears ---------------------------------------------------------------------------------------------------- */

static float *floats_of(const dlx_value *v)
{
    float *w = calloc((size_t)(v->dim[0] * v->dim[1]), sizeof *w);
    assert_non_null(w);
    CHECK(dlx_const_collect(v, NULL, w, err));
    return w;
}

typedef struct seen {
    fixture *f;
    size_t calls, rows, masked;
    const float *x[DLX_LAYER_LINEARS];
} seen;

static dlx_status look(void *ctx, const dlx_linear_rows *l, dlx_error *err)
{
    static const char *const names[DLX_LAYER_LINEARS] = {"q", "k", "v", "o", "gate", "up", "down"};
    seen *s = ctx;
    char name[64];
    (void)err;
    snprintf(name, sizeof name, "layers.%d.%s.weight", l->layer, names[l->linear]);
    assert_string_equal(l->name, name);
    const dlx_value *v = dlx_layerwise_weight(s->f->w, l->linear);
    assert_int_equal(v->dim[0], l->n_out);
    assert_int_equal(v->dim[1], l->n_in);
    s->x[l->linear] = l->x;
    if (l->linear == DLX_LAYER_K || l->linear == DLX_LAYER_V) assert_ptr_equal(l->x, s->x[DLX_LAYER_Q]);
    if (l->linear == DLX_LAYER_UP) assert_ptr_equal(l->x, s->x[DLX_LAYER_GATE]);
    if (l->linear == DLX_LAYER_O || l->linear >= DLX_LAYER_GATE) { /* the ones that have no bias */
        float *w = floats_of(v);
        for (size_t r = 0; r < l->rows; r += 5)
            for (size_t n = 0; n < l->n_out; n += 7) {
                double sum = 0;
                for (size_t k = 0; k < l->n_in; k++) sum += (double)l->x[r * l->n_in + k] * (double)w[n * l->n_in + k];
                assert_true(fabs(sum - (double)l->y[r * l->n_out + n]) <= 1e-4 * (1 + fabs(sum)));
            }
        free(w);
    }
    s->calls++;
    if (l->linear == DLX_LAYER_DOWN) s->rows += l->rows;
    for (size_t r = 0; l->linear == DLX_LAYER_DOWN && r < l->rows; r++) s->masked += l->masked[r];
    return DLX_OK;
}

static void visitors_see_what_linears_read_and_write(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        fixture f;
        seen s = {.f = &f};
        size_t masks = 0;
        open_fixture(&f, families[i], 2);
        open_layerwise(&f, &(dlx_layerwise_options){.pass_rows = 50});
        CHECK(dlx_layerwise_start(f.w, NULL, err));
        CHECK(dlx_layerwise_load(f.w, 0, err));
        float *before = hidden(&f);
        CHECK(dlx_layerwise_run(f.w, 0, look, &s, err));
        float *after = hidden(&f);
        assert_memory_equal(before, after, ROWS * (size_t)f.c.shape.hidden * sizeof *after); /* no advance */
        assert_int_equal(s.rows, ROWS);
        assert_int_equal(s.calls, 3 * DLX_LAYER_LINEARS);
        for (int k = 0; k < SEQUENCES; k++)
            for (int32_t p = 0; p < lengths[k]; p++) masks += f.ids[k][p] == f.samples.mask_id;
        assert_int_equal(s.masked, masks);
        free(before);
        free(after);
        close_fixture(&f);
    }
}

/* What a layer adds comes out of o and down: without them it adds nothing; with its own weights back, what it did. */
static void weights_can_be_replaced(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        fixture f;
        open_fixture(&f, families[i], 2);
        open_layerwise(&f, NULL);
        size_t bytes = ROWS * (size_t)f.c.shape.hidden * sizeof(float);
        run_layers(&f, NULL, DLX_LAYERWISE_ADVANCE);
        CHECK(dlx_layerwise_start(f.w, NULL, err));
        CHECK(dlx_layerwise_load(f.w, 0, err));
        float *start = hidden(&f);
        float *w[2] = {floats_of(dlx_layerwise_weight(f.w, DLX_LAYER_O)),
                       floats_of(dlx_layerwise_weight(f.w, DLX_LAYER_DOWN))};
        size_t most =
            (size_t)f.c.shape.hidden * (size_t)(f.c.shape.intermediate + f.c.shape.heads * f.c.shape.head_dim);
        float *zeros = calloc(most, sizeof *zeros);
        assert_non_null(zeros);
        CHECK(dlx_layerwise_replace(f.w, DLX_LAYER_O, zeros, err));
        CHECK(dlx_layerwise_replace(f.w, DLX_LAYER_DOWN, zeros, err));
        CHECK(dlx_layerwise_run(f.w, DLX_LAYERWISE_ADVANCE, NULL, NULL, err));
        float *same = hidden(&f);
        assert_memory_equal(start, same, bytes);
        CHECK(dlx_layerwise_replace(f.w, DLX_LAYER_O, w[0], err));
        CHECK(dlx_layerwise_replace(f.w, DLX_LAYER_DOWN, w[1], err));
        CHECK(dlx_layerwise_run(f.w, DLX_LAYERWISE_ADVANCE, NULL, NULL, err));
        float *back = hidden(&f);
        CHECK(dlx_layerwise_start(f.w, NULL, err));
        CHECK(dlx_layerwise_load(f.w, 0, err));
        CHECK(dlx_layerwise_run(f.w, DLX_LAYERWISE_ADVANCE, NULL, NULL, err));
        float *never = hidden(&f);
        assert_memory_equal(back, never, bytes);
        free(start), free(same), free(back), free(never), free(zeros), free(w[0]), free(w[1]);
        close_fixture(&f);
    }
}

/* ---- failures --------------------------------------------------------------------------------------------------- */

static void damaged_weights_are_named(void **state)
{
    (void)state;
    fixture f;
    dlx_error problem = {0};
    open_fixture(&f, "sdar", 1);
    open_layerwise(&f, NULL);
    CHECK(dlx_layerwise_start(f.w, NULL, err));
    CHECK(dlx_layerwise_load(f.w, 1, err));
    float *w = floats_of(dlx_layerwise_weight(f.w, DLX_LAYER_UP));
    w[3] = INFINITY;
    CHECK(dlx_layerwise_replace(f.w, DLX_LAYER_UP, w, err));
    assert_int_equal(dlx_layerwise_run(f.w, DLX_LAYERWISE_ADVANCE, NULL, NULL, &problem), DLX_E_FORMAT);
    assert_non_null(strstr(problem.message, "layer 1 of "));
    free(w);
    close_fixture(&f);
}

static bool never(void *ctx, uint64_t rows)
{
    *(uint64_t *)ctx += rows;
    return false;
}

static void ticks_count_rows_and_cancel(void **state)
{
    (void)state;
    fixture f;
    dlx_error problem = {0};
    uint64_t rows = 0;
    open_fixture(&f, "dream", 1);
    open_layerwise(&f, &(dlx_layerwise_options){.pass_rows = LONGEST, .tick = never, .tick_ctx = &rows});
    CHECK(dlx_layerwise_start(f.w, NULL, err));
    CHECK(dlx_layerwise_load(f.w, 0, err));
    assert_int_equal(dlx_layerwise_run(f.w, DLX_LAYERWISE_ADVANCE, NULL, NULL, &problem), DLX_E_CANCELLED);
    assert_int_equal(rows, 33 + 7);
    close_fixture(&f);
}

static void what_cannot_run_is_refused(void **state)
{
    (void)state;
    fixture f;
    dlx_error problem = {0};
    dlx_span behind[SEQUENCES] = {{4, 8}};
    open_fixture(&f, "sdar", 1);
    dlx_layerwise_options o = {.pool = f.pool};
    f.samples.longest = f.c.shape.max_positions + 1;
    assert_int_equal(dlx_layerwise_open(&f.w, &f.c, &f.samples, &o, &problem), DLX_E_LIMIT);
    assert_null(f.w);
    f.samples.longest = LONGEST;
    f.samples.n = 0;
    assert_int_equal(dlx_layerwise_open(&f.w, &f.c, &f.samples, &o, &problem), DLX_E_INVALID);
    f.samples.n = SEQUENCES;
    open_layerwise(&f, NULL);
    assert_int_equal(dlx_layerwise_start(f.w, behind, &problem), DLX_E_INTERNAL);
    assert_int_equal(dlx_layerwise_load(f.w, f.c.shape.layers, &problem), DLX_E_INVALID);
    assert_int_equal(dlx_layerwise_run(f.w, 0, NULL, NULL, &problem), DLX_E_INTERNAL);
    f.ids[1][2] = f.c.shape.vocab_size;
    assert_int_equal(dlx_layerwise_start(f.w, NULL, &problem), DLX_E_INVALID);
    assert_non_null(strstr(problem.message, "token id"));
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chained_layers_are_the_model),
        cmocka_unit_test(a_checkpoint_of_halves),
        cmocka_unit_test(the_head_runs_the_rows_that_are_wanted),
        cmocka_unit_test(nothing_depends_on_how_it_runs),
        cmocka_unit_test(rows_behind_stored_ones),
        cmocka_unit_test(visitors_see_what_linears_read_and_write),
        cmocka_unit_test(weights_can_be_replaced),
        cmocka_unit_test(damaged_weights_are_named),
        cmocka_unit_test(ticks_count_rows_and_cancel),
        cmocka_unit_test(what_cannot_run_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
