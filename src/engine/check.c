/* What a forward call must be before anything is computed, and where it is cut. */
#include "engine/check.h"

#include <math.h>

#include "base/status.h"

static dlx_status check_context(const dlx_sequence *q, const dlx_forward_call *c, dlx_error *err)
{
    int32_t last = 0, most = q->max_context;
    if (c->n_context < 0 || c->n_context > DLX_MAX_CONTEXT_SPANS)
        return dlx_fail(err, DLX_E_INVALID, "forward: %d context spans; at most %d", c->n_context,
                        DLX_MAX_CONTEXT_SPANS);
    for (int32_t i = 0; i < c->n_context; i++) {
        dlx_span x = c->context[i];
        if (x.begin < last || x.end < x.begin || x.end > most)
            return dlx_fail(err, DLX_E_INVALID,
                            "forward: context span [%d, %d) is out of order or outside the %d positions of the session",
                            x.begin, x.end, most);
        if (x.begin < c->start + c->n_ids && x.end > c->start)
            return dlx_fail(err, DLX_E_INVALID,
                            "forward: context span [%d, %d) overlaps the call's own positions from %d", x.begin, x.end,
                            c->start);
        for (int32_t p = x.begin; p < x.end; p++)
            if (!q->stored[p])
                return dlx_fail(err, DLX_E_INVALID,
                                "forward: position %d of the context is not stored; run it with store first (storing "
                                "again forgets what lies behind the block)",
                                p);
        if (c->attn_block > 0 && x.end > x.begin && (x.end - 1) / c->attn_block > c->start / c->attn_block)
            return dlx_fail(err, DLX_E_INVALID,
                            "forward: cached position %d lies in a block behind position %d, which may not see it",
                            x.end - 1, c->start);
        last = x.end;
    }
    return DLX_OK;
}

dlx_status dlx_check_call(const dlx_sequence *q, const dlx_forward_call *c, int32_t vocab_size, int32_t masks,
                          dlx_error *err)
{
    int32_t most = q->max_context;
    if (!c->ids || c->n_ids < 1) return dlx_fail(err, DLX_E_INVALID, "forward: at least one token id is needed");
    if (c->start < 0 || c->n_ids > most || c->start > most - c->n_ids)
        return dlx_fail(err, DLX_E_LIMIT,
                        "forward: positions %d to %lld do not fit the context of %d; shorten the input or export with "
                        "a larger --max-seq-len",
                        c->start, (long long)c->start + c->n_ids - 1, most);
    for (int32_t i = 0; i < c->n_ids; i++)
        if (c->ids[i] < 0 || c->ids[i] >= vocab_size)
            return dlx_fail(err, DLX_E_INVALID, "forward: id %d at position %d is outside the vocabulary of %d",
                            c->ids[i], c->start + i, vocab_size);
    if (c->n_rows < 0 || c->n_rows > c->n_ids || (c->n_rows && !c->logits))
        return dlx_fail(err, DLX_E_INVALID,
                        "forward: %d rows of logits were asked for; a call of %d rows and a buffer for them are needed",
                        c->n_rows, c->n_ids);
    for (int32_t i = 0; c->rows && i < c->n_rows; i++)
        if (c->rows[i] < 0 || c->rows[i] >= c->n_ids || (i && c->rows[i] <= c->rows[i - 1]))
            return dlx_fail(err, DLX_E_INVALID, "forward: demanded rows must ascend and lie in 0..%d; entry %d is %d",
                            c->n_ids - 1, i, c->rows[i]);
    if (c->attn_block < 0)
        return dlx_fail(err, DLX_E_INVALID, "forward: attn_block is %d; expected 0 or more", c->attn_block);
    if (masks && c->attn_block != masks)
        return dlx_fail(err, DLX_E_INVALID,
                        "forward: attn_block is %d, but the masks inside this file's program are those of %d",
                        c->attn_block, masks);
    if (c->n_store < 0 || c->n_store > c->n_ids ||
        (c->attn_block > 0 && c->n_store && c->n_store < c->n_ids && (c->start + c->n_store) % c->attn_block))
        return dlx_fail(err, DLX_E_INVALID, "forward: n_store is %d; expected 0 to %d, ending at a block boundary",
                        c->n_store, c->n_ids);
    return check_context(q, c, err);
}

bool dlx_rows_see_alike(const dlx_forward_call *c)
{
    return c->attn_block == 0 || c->start / c->attn_block == (c->start + c->n_ids - 1) / c->attn_block;
}

int32_t dlx_cut_rows(const dlx_cut *cut, const dlx_forward_call *c, int32_t done)
{
    int32_t left = c->n_ids - done, p = c->start + done, limit = cut->limit;
    if (cut->one_block) {
        int64_t block_end = ((int64_t)p / c->attn_block + 1) * c->attn_block - p;
        if (block_end < limit) limit = (int32_t)block_end;
    }
    if (left <= limit) return left;
    int32_t end = (p + limit) / c->attn_block * c->attn_block;
    return end > p ? end - p : 0;
}

dlx_status dlx_check_cut(const dlx_cut *cut, const dlx_sequence *q, const dlx_forward_call *c, dlx_error *err)
{
    if (c->attn_block == 0)
        return dlx_fail(err, DLX_E_LIMIT,
                        "forward: %d rows that all see each other are more than the %d rows a call may run; export "
                        "with a larger --max-seq-len and --max-rows",
                        c->n_ids, cut->limit);
    for (int32_t done = 0, n; done < c->n_ids; done += n) {
        n = dlx_cut_rows(cut, c, done);
        if (!n)
            return dlx_fail(err, DLX_E_LIMIT, "forward: a block of %d rows is more than the %d rows a call may run",
                            c->attn_block, cut->limit);
    }
    for (int32_t p = c->start + c->n_store; p < c->start + c->n_ids; p++)
        if (q->stored[p])
            return dlx_fail(err, DLX_E_UNSUPPORTED,
                            "forward: %d rows need several passes, which would overwrite stored position %d; store the "
                            "rows or make fewer of them",
                            c->n_ids, p);
    return DLX_OK;
}

static dlx_status damaged(dlx_error *err)
{
    return dlx_fail(err, DLX_E_INTERNAL, "the model produced NaN or infinite logits; its weights may be damaged");
}

dlx_status dlx_check_logits(const float *logits, size_t n, dlx_error *err)
{
    /* x * 0 is 0 for finite x, NaN otherwise; eight sums keep the loop wide. */
    float sum[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) sum[k] += logits[i + (size_t)k] * 0.0f;
    for (; i < n; i++) sum[0] += logits[i] * 0.0f;
    for (int k = 1; k < 8; k++) sum[0] += sum[k];
    return sum[0] == 0.0f ? DLX_OK : damaged(err);
}

dlx_status dlx_check_summaries(const dlx_row_summary *rows, size_t n, dlx_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(rows[i].sum)) return damaged(err);
    return DLX_OK;
}
