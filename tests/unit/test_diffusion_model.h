/*
 * The scripted model of the decoder tests: integer arithmetic that tools/make_diffusion_data.py repeats bit by bit. It
 * has two layers, as the smallest transformer whose cache can be stale: the first layer's keys and values are a hash of
 * token and position, the second layer's depend on all the first layer let their row see. A row's logits are a hash of
 * what it sees of both. So a wrong token, position, context or cache changes every number. The call contract of
 * dlx_forward_fn is checked on every call.
 */
#ifndef TEST_DIFFUSION_MODEL_H
#define TEST_DIFFUSION_MODEL_H

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "diffulex_edge/decode.h"

enum { MODEL_POSITIONS = 1024 };

typedef struct model_cache {
    uint64_t first[MODEL_POSITIONS], second[MODEL_POSITIONS];
} model_cache;

typedef struct scripted_model {
    dlx_model_facts facts;
    uint64_t seed;
    model_cache stored;
    bool has[MODEL_POSITIONS];
    const int32_t *canvas;    /* when set, every call must give what a run over canvas and call without a cache gives */
    int32_t stop_at, stop_id; /* rows that predict this position predict this id; -1: off */
    int32_t fail_at;          /* number of the call that fails, from 1; 0: none */
    int32_t calls, rows_asked, rows_run;
} scripted_model;

static inline uint64_t model_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline void model_init(scripted_model *m, int32_t attn_block, int32_t shift, uint64_t seed)
{
    memset(m, 0, sizeof *m);
    m->facts = (dlx_model_facts){.struct_size = sizeof m->facts,
                                 .family = attn_block ? (shift ? DLX_FAMILY_FAST_DLLM_V2 : DLX_FAMILY_SDAR)
                                                      : (shift ? DLX_FAMILY_DREAM : DLX_FAMILY_LLADA),
                                 .vocab_size = 48,
                                 .max_context = 256,
                                 .max_rows = 256,
                                 .mask_id = 5,
                                 .attn_block = attn_block,
                                 .logits_shift = shift,
                                 .block_length = attn_block ? attn_block : 32,
                                 .small_block_size = attn_block && shift ? 8 : 0,
                                 .bos_id = -1,
                                 .eos_id = 7,
                                 .pad_id = -1,
                                 .num_stop_ids = 2,
                                 .stop_ids = {7, 11}};
    m->seed = seed;
    m->stop_at = -1;
}

static inline void model_logits(const scripted_model *m, uint64_t row, int32_t predicted, float *out)
{
    int32_t vocab = m->facts.vocab_size, mask = m->facts.mask_id;
    for (int32_t t = 0; t < vocab; t++)
        out[t] = (float)(model_mix(row + (uint64_t)t * 0xD1B54A32D192ED03u) & 1023) / 256.0f - 2.0f;
    int32_t winner = (int32_t)((row >> 8) % (uint64_t)vocab);
    if (winner == mask) winner = (winner + 1) % vocab;
    if (predicted == m->stop_at) winner = m->stop_id;
    out[winner] = 2.25f + (float)((row >> 40) % 1024) / 128.0f;
    if (mask >= 0) out[mask] = -4.0f;
}

#define MODEL_REQUIRE(condition)                                                                                       \
    if (!(condition)) return dlx_fail(err, DLX_E_INTERNAL, "the decoder broke the call contract: %s", #condition)

static inline dlx_status model_check(const scripted_model *m, const dlx_forward_call *c, dlx_error *err)
{
    MODEL_REQUIRE(c->ids && c->n_ids >= 1 && c->start >= 0);
    MODEL_REQUIRE(c->start + c->n_ids <= m->facts.max_context);
    MODEL_REQUIRE(m->facts.attn_block || c->attn_block == 1 || c->n_ids <= m->facts.max_rows);
    MODEL_REQUIRE(c->n_context >= 0 && c->n_context <= DLX_MAX_CONTEXT_SPANS);
    for (int32_t i = 0; i < c->n_ids; i++) MODEL_REQUIRE(c->ids[i] >= 0 && c->ids[i] < m->facts.vocab_size);
    for (int32_t i = 0; i < c->n_context; i++) {
        dlx_span s = c->context[i];
        MODEL_REQUIRE(s.begin < s.end && s.begin >= (i ? c->context[i - 1].end : 0));
        MODEL_REQUIRE(s.end <= c->start || s.begin >= c->start + c->n_ids);
        for (int32_t p = s.begin; p < s.end; p++) MODEL_REQUIRE(m->has[p]);
    }
    MODEL_REQUIRE(c->n_store >= 0 && c->n_store <= c->n_ids);
    MODEL_REQUIRE(!c->attn_block || c->n_store == c->n_ids || (c->start + c->n_store) % c->attn_block == 0);
    MODEL_REQUIRE(c->n_rows >= 0 && c->n_rows <= c->n_ids && (!c->n_rows || c->logits));
    for (int32_t i = 0; c->rows && i < c->n_rows; i++)
        MODEL_REQUIRE(c->rows[i] >= 0 && c->rows[i] < c->n_ids && (!i || c->rows[i] > c->rows[i - 1]));
    return DLX_OK;
}

/* What the call's rows see and hand on: their two layers of keys and values, and the hash behind their logits. */
static inline void model_rows(const scripted_model *m, const dlx_forward_call *c, const model_cache *cache,
                              model_cache *own, uint64_t *out)
{
    uint64_t hidden[MODEL_POSITIONS];
    for (int layer = 0; layer < 2; layer++) {
        const uint64_t *seen = layer ? cache->second : cache->first;
        uint64_t *mine = layer ? own->second : own->first;
        for (int32_t i = 0; i < c->n_ids; i++)
            mine[i] = model_mix(layer ? hidden[i] + 0x632BE59BD9B4E019u
                                      : model_mix((uint64_t)(c->start + i) + (m->seed << 20)) +
                                            (uint64_t)c->ids[i] * 0x9E3779B97F4A7C15u) >>
                      12;
        for (int32_t i = 0; i < c->n_ids; i++) {
            int32_t block = c->attn_block, p = c->start + i;
            uint64_t sum = 0;
            for (int32_t k = 0; k < c->n_context; k++)
                for (int32_t q = c->context[k].begin; q < c->context[k].end; q++)
                    if (!block || q / block <= p / block) sum += seen[q];
            for (int32_t k = 0; k < c->n_ids; k++)
                if (!block || (c->start + k) / block <= p / block) sum += mine[k];
            if (layer)
                out[i] = model_mix(sum ^ hidden[i]);
            else
                hidden[i] = model_mix(sum ^ model_mix((uint64_t)p + (m->seed << 20)));
        }
    }
}

/* The same rows from the tokens alone. */
static inline dlx_status model_check_exact(const scripted_model *m, const dlx_forward_call *c, const uint64_t *row,
                                           const model_cache *own, dlx_error *err)
{
    static const model_cache nothing;
    static model_cache all;
    int32_t ids[MODEL_POSITIONS], cached = 0;
    uint64_t want[MODEL_POSITIONS];
    for (int32_t i = 0; i < c->n_context; i++) cached += c->context[i].end - c->context[i].begin;
    MODEL_REQUIRE(cached == c->start); /* a run without a cache would see exactly these */
    memcpy(ids, m->canvas, (size_t)c->start * sizeof *ids);
    memcpy(ids + c->start, c->ids, (size_t)c->n_ids * sizeof *ids);
    dlx_forward_call whole = {
        .struct_size = sizeof whole, .ids = ids, .n_ids = c->start + c->n_ids, .attn_block = c->attn_block};
    model_rows(m, &whole, &nothing, &all, want);
    for (int32_t i = 0; i < c->n_ids; i++) {
        MODEL_REQUIRE(row[i] == want[c->start + i]);
        MODEL_REQUIRE(own->second[i] == all.second[c->start + i]);
    }
    /* What is kept must stay right: it may not depend on a token that can still change. */
    for (int32_t i = 0; i < c->n_store; i++) MODEL_REQUIRE(c->ids[i] != m->facts.mask_id);
    return DLX_OK;
}

/* dlx_forward_fn; ctx is a scripted_model. */
static inline dlx_status model_forward(void *ctx, const dlx_forward_call *c, dlx_error *err)
{
    static model_cache own;
    scripted_model *m = ctx;
    uint64_t row[MODEL_POSITIONS];
    if (++m->calls == m->fail_at) return dlx_fail(err, DLX_E_IO, "scripted failure in call %d", m->calls);
    dlx_status status = model_check(m, c, err);
    if (status != DLX_OK) return status;
    m->rows_asked += c->n_rows;
    m->rows_run += c->n_ids;
    model_rows(m, c, &m->stored, &own, row);
    if (m->canvas && (status = model_check_exact(m, c, row, &own, err)) != DLX_OK) return status;
    for (int32_t i = 0; i < c->n_rows; i++) {
        int32_t r = c->rows ? c->rows[i] : i,
                predicted = c->start + r + (m->facts.logits_shift || m->facts.mask_id < 0);
        model_logits(m, row[r], predicted, c->logits + (size_t)i * (size_t)m->facts.vocab_size);
    }
    for (int32_t i = 0; i < c->n_store; i++) {
        m->stored.first[c->start + i] = own.first[i];
        m->stored.second[c->start + i] = own.second[i];
        m->has[c->start + i] = true;
    }
    return DLX_OK;
}

#endif
