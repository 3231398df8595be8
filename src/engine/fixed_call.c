/*
 * A forward call over a program whose shapes never vary: cut into passes, each filled up to the rows of a method. What
 * can be refused is refused before the first pass; whatever fails later is undone.
 */
#include <string.h>

#include "base/status.h"
#include "base/structs.h"
#include "engine/check.h"
#include "engine/fixed.h"

/* A call on its way. */
typedef struct fixed_call {
    dlx_fixed_session *s;
    dlx_forward_call c;
    dlx_cut cut;
    bool split;
    int32_t done;          /* rows that are computed */
    int32_t asked;         /* demanded rows that are computed */
    int32_t rows, n_asked; /* of the pass at work */
    int32_t lead;          /* rows that fill up in front of them, where the program's slots leave no room behind */
    int32_t written;       /* rows, from the first, that the program may have stored */
    size_t method;
    uint8_t *undo; /* overwritten rows of a split call: [2 * layers][n_store][row_bytes], NULL: none */
} fixed_call;

/* ---- undoing ---- */

static size_t undo_rows(const fixed_call *k)
{
    return 2 * (size_t)k->s->shape.layers * (size_t)k->c.n_store;
}

/* Between the cache and where overwritten rows are kept. */
static void move_stored(const fixed_call *k, bool back)
{
    const dlx_fixed_session *s = k->s;
    uint8_t *at = k->undo;
    size_t row = s->shape.row_bytes;
    for (size_t t = 0; t < 2 * (size_t)s->shape.layers; t++)
        for (int32_t p = k->c.start; p < k->c.start + k->c.n_store; p++, at += row) {
            uint8_t *cached = dlx_fixed_at(s, t, p);
            if (s->seq.stored[p]) memcpy(back ? cached : at, back ? at : cached, row);
        }
}

static dlx_status keep_undo(fixed_call *k, dlx_error *err)
{
    const dlx_fixed_session *s = k->s;
    if (s->shape.inside || !k->split || !k->c.n_store || !memchr(s->seq.stored + k->c.start, 1, (size_t)k->c.n_store))
        return DLX_OK;
    k->undo = dlx_mem_array(&s->mem, undo_rows(k), s->shape.row_bytes);
    if (!k->undo)
        return dlx_fail(err, DLX_E_NOMEM,
                        "out of memory: overwriting %d stored positions in several passes takes %zu bytes for a while; "
                        "truncate the session first",
                        k->c.n_store, undo_rows(k) * s->shape.row_bytes);
    move_stored(k, false);
    return DLX_OK;
}

/* ---- what goes in ---- */

/* The method with the fewest rows that has room for the pass's. */
static size_t choose_method(const dlx_fixed_shape *x, int32_t rows)
{
    size_t best = DLX_FIXED_MOST_METHODS;
    for (size_t i = 0; i < x->n_methods; i++)
        if (x->rows[i] >= rows && (best == DLX_FIXED_MOST_METHODS || x->rows[i] < x->rows[best])) best = i;
    return best;
}

static void show(float *row, int32_t begin, int32_t end)
{
    for (int32_t i = begin; i < end; i++) row[i] = 0.0f;
}

/* Rows of the pass see the context, what earlier passes of the call left in the cache, and each other as far as their
 * blocks allow. Rows that fill up see themselves, so that there is something to weigh, and nobody sees them. */
static void fill_mask(const fixed_call *k, int32_t rows)
{
    const dlx_forward_call *c = &k->c;
    int32_t slots = k->s->shape.max_context, first = c->start + k->done;
    size_t width = (size_t)slots + (size_t)rows;
    for (size_t i = 0; i < width * (size_t)rows; i++) k->s->mask[i] = DLX_FIXED_HIDDEN;
    for (int32_t i = 0; i < rows; i++) {
        float *row = k->s->mask + (size_t)i * width;
        int32_t r = i - k->lead, own = slots + k->lead;
        if (r < 0 || r >= k->rows) {
            row[slots + i] = 0.0f;
            continue;
        }
        for (int32_t j = 0; j < c->n_context; j++) show(row, c->context[j].begin, c->context[j].end);
        show(row, c->start, first);
        int64_t block_end =
            c->attn_block ? ((int64_t)(first + r) / c->attn_block + 1) * c->attn_block - first : k->rows;
        show(row, own, own + (block_end < k->rows ? (int32_t)block_end : k->rows));
    }
}

/* Rows of the pass that are stored: of a split call all, for later passes see them. */
static int32_t rows_to_store(const fixed_call *k)
{
    return k->split ? k->rows : k->c.n_store;
}

/* Where the program keeps the cache, its rows stand in slots behind each other, those that fill up too. */
static void fill_places(fixed_call *k, int32_t rows)
{
    dlx_fixed_session *s = k->s;
    int32_t first = k->c.start + k->done, n = rows_to_store(k);
    for (int32_t r = 0; r < rows; r++) {
        s->positions[r] = first - k->lead + r;
        s->stored[r] = r >= k->lead && r < k->lead + n ? 1.0f : 0.0f;
    }
}

/* Rows that fill up repeat the last one, or the first. */
static void fill_inputs(fixed_call *k)
{
    dlx_fixed_session *s = k->s;
    int32_t rows = s->shape.rows[k->method], beyond = k->c.start + k->done + rows - s->shape.max_context;
    k->lead = s->shape.inside && beyond > 0 ? beyond : 0;
    for (int32_t i = 0; i < rows; i++) {
        int32_t r = i - k->lead, of = k->done + (r < 0 ? 0 : r < k->rows ? r : k->rows - 1);
        s->tokens[i] = k->c.ids[of];
        s->positions[i] = k->c.start + of;
    }
    if (s->shape.inside) fill_places(k, rows);
    fill_mask(k, rows);
}

/* ---- what comes out ---- */

/* Exponents of all ones: infinite, or NaN where a bit below is set. */
static void look_at(const void *x, size_t n, int32_t element, bool *infinite, bool *nan)
{
    bool inf = false, no_number = false;
    if (element == DLX_ELEMENT_FLOAT16) {
        const uint16_t *h = x;
        for (size_t i = 0; i < n; i++) {
            inf |= (h[i] & 0x7FFF) == 0x7C00;
            no_number |= (h[i] & 0x7FFF) > 0x7C00;
        }
    } else {
        const uint32_t *f = x;
        for (size_t i = 0; i < n; i++) {
            inf |= (f[i] & 0x7FFFFFFF) == 0x7F800000;
            no_number |= (f[i] & 0x7FFFFFFF) > 0x7F800000;
        }
    }
    *infinite = inf;
    *nan = no_number;
}

/* A slot that holds no number would make every row NaN, seen or not. All rows of the pass count, stored or not: whether
 * a call succeeds does not depend on how it is cut. */
static dlx_status check_rows(const fixed_call *k, dlx_error *err)
{
    const dlx_fixed_shape *x = &k->s->shape;
    size_t n = (size_t)k->rows * (size_t)x->kv_heads * (size_t)x->head_dim;
    for (size_t t = 0; t < 2 * (size_t)x->layers; t++) {
        const char *what = t % 2 ? "values" : "keys";
        bool infinite, nan;
        look_at(k->s->outputs[1 + t], n, x->element, &infinite, &nan);
        if (nan || (infinite && x->element == DLX_ELEMENT_FLOAT32))
            return dlx_fail(err, DLX_E_INTERNAL, "the %s of layer %zu are NaN or infinite; the weights may be damaged",
                            what, t / 2);
        if (infinite)
            return dlx_fail(err, DLX_E_LIMIT,
                            "the %s of layer %zu are too large for a float16 cache; export with --kv fixed", what,
                            t / 2);
    }
    return DLX_OK;
}

/* A row that is NaN where it comes out was NaN in layers that stored it: all its logits are. */
static dlx_status check_inside(const fixed_call *k, dlx_error *err)
{
    dlx_fixed_session *s = k->s;
    const float *logits = s->outputs[0];
    for (int32_t r = k->lead; r < k->lead + k->rows; r++) {
        float first = logits[(size_t)r * (size_t)s->shape.vocab_size];
        if (first == first) continue;
        s->spoilt = true;
        return dlx_fail(err, DLX_E_INTERNAL,
                        "the logits of position %d are NaN; the weights may be damaged, or too large for float16, and "
                        "the program's cache may hold what is no number: load it again for further calls",
                        k->c.start + k->done + r - k->lead);
    }
    return DLX_OK;
}

static dlx_status check_outputs(const fixed_call *k, dlx_error *err)
{
    const dlx_fixed_session *s = k->s;
    for (size_t i = 0; i < 1 + 2 * (size_t)s->shape.layers; i++) {
        size_t size = i ? dlx_element_size(s->shape.element) : sizeof(float);
        if (!s->outputs[i] || (uintptr_t)s->outputs[i] % size)
            return dlx_fail(err, DLX_E_INVALID, "the runner of method %s left output %zu %s", s->names[k->method], i,
                            s->outputs[i] ? "at an address that is no multiple of its element size" : "NULL");
    }
    return s->shape.inside ? check_inside(k, err) : check_rows(k, err);
}

static dlx_status take_logits(fixed_call *k, dlx_error *err)
{
    const dlx_forward_call *c = &k->c;
    size_t vocab = (size_t)k->s->shape.vocab_size;
    const float *all = k->s->outputs[0];
    for (int32_t i = k->asked; i < k->asked + k->n_asked; i++) {
        int32_t row = (c->rows ? c->rows[i] : i) - k->done + k->lead;
        DLX_TRY(dlx_check_logits(all + (size_t)row * vocab, vocab, err));
        memcpy(c->logits + (size_t)i * vocab, all + (size_t)row * vocab, vocab * sizeof *all);
    }
    return DLX_OK;
}

static void keep_rows(const fixed_call *k)
{
    const dlx_fixed_session *s = k->s;
    int32_t n = rows_to_store(k);
    for (size_t t = 0; n && t < 2 * (size_t)s->shape.layers; t++)
        memcpy(dlx_fixed_at(s, t, k->c.start + k->done), s->outputs[1 + t], (size_t)n * s->shape.row_bytes);
}

/* ---- passes ---- */

static dlx_status run(fixed_call *k, dlx_error *err)
{
    dlx_fixed_session *s = k->s;
    dlx_error local = {0};
    for (size_t i = 0; i < 1 + 2 * (size_t)s->shape.layers; i++) s->outputs[i] = NULL;
    dlx_status status = s->run(s->ctx, k->method, s->outputs, &local);
    if (status == DLX_OK) return DLX_OK;
    local.message[sizeof local.message - 1] = '\0';
    if (!local.message[0])
        return dlx_fail(err, status, "the runner of method %s failed and did not say why", s->names[k->method]);
    return dlx_fail(err, status, "%s", local.message);
}

static dlx_status pass(fixed_call *k, dlx_error *err)
{
    const dlx_forward_call *c = &k->c;
    k->rows = k->split ? dlx_cut_rows(&k->cut, c, k->done) : c->n_ids;
    int32_t end = k->done + k->rows, i = k->asked;
    while (i < c->n_rows && (c->rows ? c->rows[i] : i) < end) i++;
    k->n_asked = i - k->asked;
    k->method = choose_method(&k->s->shape, k->rows);
    fill_inputs(k);
    k->written = k->done + rows_to_store(k);
    DLX_TRY(run(k, err));
    DLX_TRY(check_outputs(k, err));
    DLX_TRY(take_logits(k, err));
    keep_rows(k);
    k->done = end;
    k->asked = i;
    return DLX_OK;
}

static dlx_status make(fixed_call *k, dlx_error *err)
{
    dlx_fixed_session *s = k->s;
    if (s->spoilt)
        return dlx_fail(err, DLX_E_INVALID,
                        "an earlier call left what is no number in the cache that the program keeps: load the program "
                        "again, and open a session over that");
    DLX_TRY(dlx_check_call(&s->seq, &k->c, s->shape.vocab_size, 0, err));
    k->split = k->c.n_ids > k->cut.limit;
    if (k->split) DLX_TRY(dlx_check_cut(&k->cut, &s->seq, &k->c, err));
    DLX_TRY(keep_undo(k, err));
    dlx_status status = DLX_OK;
    while (status == DLX_OK && k->done < k->c.n_ids) status = pass(k, err);
    if (status == DLX_OK)
        dlx_sequence_keep(&s->seq, &k->c);
    else if (k->undo)
        move_stored(k, true);
    else if (s->shape.inside)
        dlx_sequence_forget(&s->seq, k->c.start, k->c.start + k->written);
    dlx_mem_free(&s->mem, k->undo, undo_rows(k), s->shape.row_bytes);
    return status;
}

dlx_status dlx_fixed_forward(void *session, const dlx_forward_call *call, dlx_error *err)
{
    dlx_fixed_session *s = session;
    if (!s || !call) return dlx_fail(err, DLX_E_INVALID, "forward: a session and a call are needed");
    fixed_call k = {.s = s, .c = {.struct_size = sizeof k.c}, .cut = {.limit = s->shape.most_rows}};
    DLX_TRY(dlx_struct_in(&k.c, sizeof k.c, call, "dlx_forward_call", err));
    if (atomic_exchange(&s->busy, true))
        return dlx_fail(err, DLX_E_INVALID,
                        "forward: another call of this session is on its way; a session makes one call at a time");
    dlx_status status = make(&k, err);
    atomic_store(&s->busy, false);
    return status;
}
