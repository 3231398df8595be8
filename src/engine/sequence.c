/* What is stored of one sequence. */
#include "engine/sequence.h"

#include <string.h>

bool dlx_sequence_open(dlx_sequence *q, int32_t max_context, const dlx_allocator *mem)
{
    size_t n = (size_t)max_context;
    *q = (dlx_sequence){.max_context = max_context,
                        .stored = dlx_mem_zeroed(mem, n, sizeof *q->stored),
                        .known = dlx_mem_zeroed(mem, n, sizeof *q->known)};
    return q->stored && q->known;
}

void dlx_sequence_close(dlx_sequence *q, const dlx_allocator *mem)
{
    dlx_mem_free(mem, q->stored, (size_t)q->max_context, sizeof *q->stored);
    dlx_mem_free(mem, q->known, (size_t)q->max_context, sizeof *q->known);
}

uint64_t dlx_sequence_bytes(int32_t max_context)
{
    const dlx_sequence *q = NULL;
    return dlx_mem_bytes((size_t)max_context, sizeof *q->stored) + dlx_mem_bytes((size_t)max_context, sizeof *q->known);
}

static bool context_is_everything_before(const dlx_forward_call *c)
{
    int32_t end = 0;
    for (int32_t i = 0; i < c->n_context; i++) {
        if (c->context[i].begin != end) return false;
        end = c->context[i].end;
    }
    return end == c->start;
}

void dlx_sequence_keep(dlx_sequence *q, const dlx_forward_call *c)
{
    if (!c->n_store) return;
    int32_t b = c->attn_block, end = c->start + c->n_store;
    memset(q->stored + c->start, 1, (size_t)c->n_store);
    memcpy(q->known + c->start, c->ids, (size_t)c->n_store * sizeof *c->ids);
    if (b <= 0) {
        q->exact = 0;
        return;
    }
    int64_t block_end = ((int64_t)end + b - 1) / b * b;
    if (block_end < q->max_context) memset(q->stored + block_end, 0, (size_t)(q->max_context - block_end));
    bool continues = c->start == 0 || (b == q->exact_block && c->start <= q->exact);
    if (continues && c->start % b == 0 && context_is_everything_before(c)) {
        q->exact = end / b * b;
        q->exact_block = b;
    } else if (q->exact > c->start) {
        q->exact = c->start / q->exact_block * q->exact_block;
    }
}

void dlx_sequence_copy(dlx_sequence *to, const dlx_sequence *from, int32_t n)
{
    memcpy(to->stored, from->stored, (size_t)n);
    memcpy(to->known, from->known, (size_t)n * sizeof *to->known);
    to->exact_block = from->exact_block;
    to->exact = from->exact;
    if (n < to->exact) to->exact = n / to->exact_block * to->exact_block;
}

void dlx_sequence_truncate(dlx_sequence *q, int32_t n)
{
    if (n >= q->max_context) return;
    memset(q->stored + n, 0, (size_t)(q->max_context - n));
    if (n < q->exact) q->exact = n / q->exact_block * q->exact_block;
}

void dlx_sequence_forget(dlx_sequence *q, int32_t begin, int32_t end)
{
    if (end > q->max_context) end = q->max_context;
    if (begin >= end) return;
    memset(q->stored + begin, 0, (size_t)(end - begin));
    if (begin < q->exact) q->exact = begin / q->exact_block * q->exact_block;
}

int32_t dlx_sequence_reusable(const dlx_sequence *q, const int32_t *ids, size_t n, int32_t attn_block)
{
    if (!ids || !q->exact || attn_block != q->exact_block) return 0;
    int32_t most = n < (size_t)q->exact ? (int32_t)n : q->exact, same = 0;
    while (same < most && ids[same] == q->known[same]) same++;
    /* The last prompt token is always run: its row may be what predicts the first new one. */
    if (same && (size_t)same == n) same--;
    return same / attn_block * attn_block;
}
