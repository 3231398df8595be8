/*
 * Checks what a reader put into a tokenizer, sorts added tokens and indexes merges.
 *
 * The merge index is grouped by left id and sorted by right id rather than hashed: it is built in linear time whatever
 * a hostile file contains, and a lookup is a short binary search.
 */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "text/bytelevel.h"
#include "text/chat.h"
#include "text/encode.h"
#include "text/jinja/jinja.h"
#include "text/utf8.h"

dlx_status dlx_tokenizer_new(dlx_tokenizer **out, dlx_error *err)
{
    dlx_tokenizer *t = calloc(1, sizeof *t);
    *out = t;
    if (!t) return dlx_fail(err, DLX_E_NOMEM, "out of memory for a tokenizer");
    dlx_arena_init(&t->arena);
    t->mask_id = -1;
    return DLX_OK;
}

void dlx_tokenizer_close(dlx_tokenizer *t)
{
    if (!t) return;
    dlx_encoder_free(t->encoder);
    dlx_jinja_free(t->chat);
    dlx_jinja_free(t->chat_tools);
    dlx_arena_free(&t->arena);
    free(t);
}

static size_t token_length(const dlx_tokenizer *t, uint32_t id)
{
    return t->offset[id + 1] - t->offset[id];
}

static dlx_status check_tokens(const dlx_tokenizer *t, dlx_error *err)
{
    if (t->size == 0 || t->size > DLX_MAX_TOKENS)
        return dlx_fail(err, DLX_E_FORMAT, "tokenizer has %u ids; 1 to %d are expected", t->size, DLX_MAX_TOKENS);
    for (uint32_t id = 0; id < t->size; id++) {
        uint8_t kind = t->kind[id];
        bool fine = (kind & DLX_TOKEN_ADDED || !(kind & ~(DLX_TOKEN_MODEL | DLX_TOKEN_LITERAL))) &&
                    (kind & DLX_TOKEN_MODEL || !(kind & DLX_TOKEN_LITERAL));
        size_t n = token_length(t, id);
        if (!fine || (kind == 0 && n != 0))
            return dlx_fail(err, DLX_E_FORMAT, "token %u is of kind %u and has %zu bytes, which contradict", id, kind,
                            n);
        if (n > DLX_MAX_TOKEN_BYTES)
            return dlx_fail(err, DLX_E_FORMAT, "token %u has %zu bytes; at most %d are expected", id, n,
                            DLX_MAX_TOKEN_BYTES);
    }
    if (!t->kind[t->size - 1])
        return dlx_fail(err, DLX_E_FORMAT, "tokenizer counts %u ids, but the last one has no token", t->size);
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t id = t->byte_id[b];
        if (id >= t->size || !(t->kind[id] & DLX_TOKEN_MODEL) || token_length(t, id) != 1 ||
            t->bytes[t->offset[id]] != b)
            return dlx_fail(err, DLX_E_FORMAT, "vocabulary has no token for byte 0x%02X; byte-level BPE needs all 256",
                            b);
    }
    if (t->mask_id < -1 || (t->mask_id >= 0 && ((uint32_t)t->mask_id >= t->size || !t->kind[t->mask_id])))
        return dlx_fail(err, DLX_E_FORMAT, "tokenizer's mask token is id %d, which has no token", (int)t->mask_id);
    return DLX_OK;
}

static dlx_status check_steps(const dlx_tokenizer *t, dlx_error *err)
{
    DLX_TRY(dlx_steps_check(t->steps, t->n_steps, err));
    for (uint32_t i = 0; i < t->n_steps; i++) {
        uint32_t id = t->steps[i].id;
        if (t->steps[i].kind >= DLX_STEP_BEFORE && (id >= t->size || !t->kind[id]))
            return dlx_fail(err, DLX_E_FORMAT, "tokenizer puts id %u around a prompt, which has no token", id);
    }
    return DLX_OK;
}

static dlx_status check_merges(const dlx_tokenizer *t, dlx_error *err)
{
    if (t->n_merges > DLX_MAX_MERGES)
        return dlx_fail(err, DLX_E_FORMAT, "tokenizer has %u merges; at most %d are expected", t->n_merges,
                        DLX_MAX_MERGES);
    for (uint32_t i = 0; i < t->n_merges; i++) {
        const dlx_merge *m = &t->merges[i];
        const uint32_t ids[3] = {m->left, m->right, m->merged};
        for (int j = 0; j < 3; j++)
            if (ids[j] >= t->size || !(t->kind[ids[j]] & DLX_TOKEN_MODEL))
                return dlx_fail(err, DLX_E_FORMAT, "merge %u names id %u, which is not in the vocabulary", i, ids[j]);
        size_t left = token_length(t, m->left), right = token_length(t, m->right);
        const uint8_t *whole = t->bytes + t->offset[m->merged];
        if (left == 0 || right == 0 || token_length(t, m->merged) != left + right ||
            memcmp(whole, t->bytes + t->offset[m->left], left) != 0 ||
            memcmp(whole + left, t->bytes + t->offset[m->right], right) != 0)
            return dlx_fail(err, DLX_E_FORMAT, "merge %u makes token %u of tokens %u and %u, whose bytes are different",
                            i, m->merged, m->left, m->right);
    }
    return DLX_OK;
}

static int compare_added(const void *pa, const void *pb)
{
    const dlx_added_token *a = pa, *b = pb;
    return dlx_utf8_compare(a->text, a->length, b->text, b->length);
}

static int compare_added_id(const void *pa, const void *pb)
{
    const dlx_added_token *a = pa, *b = pb;
    return (a->id > b->id) - (a->id < b->id);
}

static dlx_status check_added(const dlx_tokenizer *t, dlx_error *err)
{
    uint8_t spelled[DLX_MAX_ADDED_BYTES];
    for (uint32_t i = 0; i < t->n_added; i++) {
        const dlx_added_token *a = &t->added[i];
        if (a->id >= t->size || !(t->kind[a->id] & DLX_TOKEN_ADDED))
            return dlx_fail(err, DLX_E_FORMAT, "added token %u has id %u, which is not marked as added", i, a->id);
        if (a->length == 0 || a->length > DLX_MAX_ADDED_BYTES || !dlx_utf8_valid(a->text, a->length))
            return dlx_fail(err, DLX_E_FORMAT, "added token %u: its text must be UTF-8 of 1 to %d bytes", a->id,
                            DLX_MAX_ADDED_BYTES);
        bool in_alphabet;
        size_t n = dlx_bytelevel_decode(spelled, a->text, a->length, &in_alphabet);
        if (n != token_length(t, a->id) || memcmp(spelled, t->bytes + t->offset[a->id], n) != 0)
            return dlx_fail(err, DLX_E_FORMAT, "added token %u: its text and its bytes are different", a->id);
    }
    return DLX_OK;
}

/* Sorts by text, which shows duplicates. */
static dlx_status sort_added(dlx_tokenizer *t, dlx_error *err)
{
    uint32_t n = t->n_added, marked = 0;
    for (uint32_t id = 0; id < t->size; id++) marked += (t->kind[id] & DLX_TOKEN_ADDED) != 0;
    if (n != marked)
        return dlx_fail(err, DLX_E_FORMAT, "tokenizer lists %u added tokens, but %u ids are marked as added", n,
                        marked);
    if (n == 0) return DLX_OK;
    qsort(t->added, n, sizeof *t->added, compare_added_id);
    for (uint32_t i = 1; i < n; i++)
        if (t->added[i - 1].id == t->added[i].id)
            return dlx_fail(err, DLX_E_FORMAT, "tokenizer lists added token %u twice", t->added[i].id);
    qsort(t->added, n, sizeof *t->added, compare_added);
    for (uint32_t i = 1; i < n; i++)
        if (compare_added(&t->added[i - 1], &t->added[i]) == 0)
            return dlx_fail(err, DLX_E_FORMAT, "added tokens %u and %u have the same text", t->added[i - 1].id,
                            t->added[i].id);
    return DLX_OK;
}

/* Stable counting sort of 0 .. n-1 (or of `in`) by one id of each merge; start[size+1] receives the group bounds. */
static void sort_merges(const dlx_tokenizer *t, uint32_t *out, const uint32_t *in, bool by_left, uint32_t *start)
{
    memset(start, 0, ((size_t)t->size + 1) * sizeof *start);
    for (uint32_t i = 0; i < t->n_merges; i++) start[(by_left ? t->merges[i].left : t->merges[i].right) + 1]++;
    for (uint32_t id = 0; id < t->size; id++) start[id + 1] += start[id];
    for (uint32_t i = 0; i < t->n_merges; i++) {
        uint32_t m = in ? in[i] : i;
        out[start[by_left ? t->merges[m].left : t->merges[m].right]++] = m;
    }
    for (uint32_t id = t->size; id > 0; id--) start[id] = start[id - 1];
    start[0] = 0;
}

static dlx_status index_merges(dlx_tokenizer *t, dlx_error *err)
{
    size_t n = t->n_merges;
    uint32_t *start = dlx_arena_array(&t->arena, (size_t)t->size + 1, sizeof *start);
    dlx_merge_entry *entries = dlx_arena_array(&t->arena, n, sizeof *entries);
    uint32_t *order = malloc((2 * n + 1) * sizeof *order);
    if (!start || !entries || !order) {
        free(order);
        return dlx_fail(err, DLX_E_NOMEM, "out of memory for %zu merges", n);
    }
    uint32_t *by_right = order + n;
    sort_merges(t, by_right, NULL, false, start);
    sort_merges(t, order, by_right, true, start);
    uint32_t count = 0;
    for (uint32_t left = 0, i = 0; left < t->size; left++) {
        uint32_t end = start[left + 1];
        start[left] = count;
        for (; i < end; i++) {
            const dlx_merge *m = &t->merges[order[i]];
            bool again = count > start[left] && entries[count - 1].right == m->right;
            entries[again ? count - 1 : count++] = (dlx_merge_entry){m->right, order[i], m->merged};
        }
    }
    start[t->size] = count;
    free(order);
    t->merge_start = start;
    t->merge_entries = entries;
    return DLX_OK;
}

dlx_status dlx_tokenizer_finish(dlx_tokenizer *t, dlx_error *err)
{
    DLX_TRY(check_tokens(t, err));
    DLX_TRY(check_steps(t, err));
    if (t->variables) DLX_TRY(dlx_chat_check_variables(t->variables, t->n_variables, err));
    DLX_TRY(check_merges(t, err));
    DLX_TRY(check_added(t, err));
    DLX_TRY(sort_added(t, err));
    DLX_TRY(index_merges(t, err));
    return dlx_encoder_create(&t->encoder, t, err);
}

const dlx_added_token *dlx_added_find(const dlx_tokenizer *t, const char *text, size_t n)
{
    uint32_t first = 0, end = t->n_added;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        const dlx_added_token *a = &t->added[middle];
        int order = dlx_utf8_compare(a->text, a->length, text, n);
        if (order == 0) return a;
        if (order < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

int32_t dlx_tokenizer_size(const dlx_tokenizer *t)
{
    return t ? (int32_t)t->size : 0;
}

int32_t dlx_tokenizer_special_id(const dlx_tokenizer *t, const char *token)
{
    const dlx_added_token *a = t && token ? dlx_added_find(t, token, strlen(token)) : NULL;
    return a ? (int32_t)a->id : -1;
}

int32_t dlx_tokenizer_mask_id(const dlx_tokenizer *t)
{
    return t ? t->mask_id : -1;
}

bool dlx_tokenizer_has_chat_template(const dlx_tokenizer *t)
{
    return t && (t->chat || t->chat_tools || t->chat_lost);
}
