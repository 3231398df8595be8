/* Reads of a .pte whether its shapes never vary, and what a session must know about it. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/io.h"
#include "base/sizes.h"
#include "engine/fixed.h"
#include "format/facts.h"

/* What dlx_fixed_program_read hands out: one piece of memory, its names behind it. */
typedef struct fixed_read {
    dlx_fixed_program program;
    dlx_model_facts facts;
    int32_t rows[DLX_FIXED_MOST_METHODS];
    const char *names[DLX_FIXED_MOST_METHODS];
    char text[];
} fixed_read;

static dlx_status bad_signature(const char *method, const char *what, bool inside, dlx_error *err)
{
    if (inside)
        return dlx_fail(
            err, DLX_E_FORMAT,
            "method '%.60s' %s; expected (tokens [T], positions [T], mask [T, P + T], stored [T]) -> logits "
            "[T, V]",
            method, what);
    return dlx_fail(
        err, DLX_E_FORMAT,
        "method '%.60s' %s; expected (tokens [T], positions [T], mask [T, P + T], k_0, v_0, ... [P, kv_heads, "
        "head_dim]) -> logits [T, V], k_0, v_0, ... [T, kv_heads, head_dim]",
        method, what);
}

/* The tensor at a place of a list of values; NULL: it is something else, or has other sizes. A size of 0 may be any. */
static const dlx_pte_tensor *tensor_of(const dlx_pte_plan *p, int32_t value, int scalar_type, int rank,
                                       const int32_t *sizes)
{
    const dlx_evalue *v = &p->values[value];
    if (v->kind != DLX_EV_TENSOR || v->u.tensor.scalar_type != scalar_type || v->u.tensor.rank != rank) return NULL;
    for (int d = 0; d < rank; d++)
        if (v->u.tensor.sizes[d] < 1 || v->u.tensor.sizes[d] > 1 << 24 ||
            (sizes[d] && v->u.tensor.sizes[d] != sizes[d]))
            return NULL;
    return &v->u.tensor;
}

static dlx_status check_slots(fixed_read *r, const char *name, int32_t slots, dlx_error *err)
{
    if (!r->facts.max_context) r->facts.max_context = slots;
    if (slots == r->facts.max_context) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT, "metadata get_max_context_len is %d, but method '%.60s' takes %d slots",
                    r->facts.max_context, name, slots);
}

/* The method of a program that keeps the cache: how long that is, its mask says. */
static dlx_status read_inside(fixed_read *r, const dlx_pte_plan *p, int32_t *rows, dlx_error *err)
{
    if (p->n_inputs != DLX_FIXED_INPUTS + 1 || p->n_outputs != 1)
        return bad_signature(p->name, "has another number of inputs or outputs", true, err);
    const dlx_pte_tensor *tokens = tensor_of(p, p->inputs[0], DLX_ST_LONG, 1, (int32_t[]){0});
    if (!tokens || !tensor_of(p, p->inputs[1], DLX_ST_LONG, 1, tokens->sizes))
        return bad_signature(p->name, "does not begin with two vectors of int64", true, err);
    int32_t t = tokens->sizes[0];
    const dlx_pte_tensor *mask = tensor_of(p, p->inputs[2], DLX_ST_FLOAT, 2, (int32_t[]){t, 0});
    const dlx_pte_tensor *logits = tensor_of(p, p->outputs[0], DLX_ST_FLOAT, 2, (int32_t[]){t, r->facts.vocab_size});
    if (!mask || mask->sizes[1] < 2 * t || !tensor_of(p, p->inputs[3], DLX_ST_FLOAT, 1, &t))
        return bad_signature(p->name, "takes no float32 mask [T, P + T] of P >= T, or not what is stored", true, err);
    if (!logits) return bad_signature(p->name, "does not return float32 logits [T, V]", true, err);
    r->facts.vocab_size = logits->sizes[1];
    *rows = t;
    return check_slots(r, p->name, mask->sizes[1] - t, err);
}

/* Compares a method with what is known of the program; the first one says it. */
static dlx_status read_method(fixed_read *r, const dlx_pte_plan *p, int element, int32_t *rows, dlx_error *err)
{
    dlx_fixed_program *out = &r->program;
    const char *name = p->name;
    if (p->n_inputs < DLX_FIXED_INPUTS + 2 || p->n_inputs % 2 == 0 || p->n_outputs != p->n_inputs - 2 ||
        (out->layers && p->n_inputs != DLX_FIXED_INPUTS + 2 * (uint32_t)out->layers))
        return bad_signature(name, "has another number of inputs or outputs", false, err);
    const dlx_pte_tensor *tokens = tensor_of(p, p->inputs[0], DLX_ST_LONG, 1, (int32_t[]){0});
    if (!tokens || !tensor_of(p, p->inputs[1], DLX_ST_LONG, 1, tokens->sizes))
        return bad_signature(name, "does not begin with two vectors of int64", false, err);
    int32_t t = tokens->sizes[0];
    const dlx_pte_tensor *cache =
        tensor_of(p, p->inputs[DLX_FIXED_INPUTS], element, 3, (int32_t[]){0, out->kv_heads, out->head_dim});
    const dlx_pte_tensor *logits = tensor_of(p, p->outputs[0], DLX_ST_FLOAT, 2, (int32_t[]){t, r->facts.vocab_size});
    if (!cache) return bad_signature(name, "takes no cache of the type that get_kv_form says", false, err);
    if (!logits) return bad_signature(name, "does not return float32 logits [T, V] first", false, err);
    r->facts.vocab_size = logits->sizes[1];
    DLX_TRY(check_slots(r, name, cache->sizes[0], err));
    if (!tensor_of(p, p->inputs[2], DLX_ST_FLOAT, 2, (int32_t[]){t, cache->sizes[0] + t}))
        return bad_signature(name, "takes no float32 mask [T, P + T]", false, err);
    for (uint32_t i = DLX_FIXED_INPUTS; i < p->n_inputs; i++) {
        const int32_t fresh[3] = {t, cache->sizes[1], cache->sizes[2]};
        if (!tensor_of(p, p->inputs[i], element, 3, cache->sizes) ||
            !tensor_of(p, p->outputs[i - 2], element, 3, fresh))
            return bad_signature(name, "has caches of unequal shapes or types", false, err);
    }
    out->layers = (int32_t)((p->n_inputs - DLX_FIXED_INPUTS) / 2);
    out->kv_heads = cache->sizes[1];
    out->head_dim = cache->sizes[2];
    *rows = t;
    return DLX_OK;
}

static dlx_status other_form(const dlx_pte *pte, dlx_error *err)
{
    const char *form = dlx_facts_kv_form(pte);
    if (!*form && dlx_facts_are_ours(pte)) form = "caller";
    if (!*form)
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "the program does not say that its shapes never vary; those of 'diffulex-edge export --kv fixed' "
            "do. What other tools wrote may open with dlx_model_open or dlx_method_open");
    return dlx_fail(
        err, DLX_E_UNSUPPORTED,
        "the program was exported with --kv %.40s: open it with dlx_model_open, or export it with --kv fixed", form);
}

/* Room for the names of n methods in one piece with the rest. */
static dlx_status make_room(fixed_read **out, const dlx_pte *pte, uint32_t n, dlx_error *err)
{
    uint64_t bytes = sizeof **out;
    if (n > DLX_FIXED_MOST_METHODS)
        return dlx_fail(err, DLX_E_LIMIT, "metadata get_methods names %u methods; at most %d are known to work", n,
                        DLX_FIXED_MOST_METHODS);
    for (uint32_t i = 0; i < n; i++) {
        const char *name = dlx_facts_method(pte, i);
        if (!name) return dlx_fail(err, DLX_E_FORMAT, "metadata get_methods: entry %u is not a name", i);
        bytes += strlen(name) + 1;
    }
    *out = bytes < SIZE_MAX ? calloc(1, (size_t)bytes) : NULL;
    return *out ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory describing the program");
}

static dlx_status read_methods(fixed_read *r, const dlx_pte *pte, uint32_t n, dlx_fixed_form form, dlx_error *err)
{
    char *text = r->text;
    for (uint32_t i = 0; i < n; i++) {
        const char *name = dlx_facts_method(pte, i);
        const dlx_pte_plan *p = dlx_pte_find_plan(pte, name);
        if (!p)
            return dlx_fail(err, DLX_E_FORMAT, "metadata get_methods names '%.60s', which is not in the file", name);
        DLX_TRY(form.inside ? read_inside(r, p, &r->rows[i], err)
                            : read_method(r, p, form.halves ? DLX_ST_HALF : DLX_ST_FLOAT, &r->rows[i], err));
        r->names[i] = memcpy(text, name, strlen(name) + 1);
        text += strlen(name) + 1;
    }
    r->facts.max_rows = 0;
    for (uint32_t i = 0; i < n; i++)
        if (r->rows[i] > r->facts.max_rows) r->facts.max_rows = r->rows[i];
    r->program.struct_size = sizeof r->program;
    r->program.facts = &r->facts;
    r->program.element = form.halves ? DLX_ELEMENT_FLOAT16 : DLX_ELEMENT_FLOAT32;
    r->program.keeps_cache = form.inside;
    r->program.n_methods = n;
    r->program.method_rows = r->rows;
    r->program.method_names = r->names;
    if (r->facts.mask_id >= r->facts.vocab_size)
        return dlx_fail(err, DLX_E_FORMAT, "metadata get_mask_id is %d, outside the vocabulary of %d", r->facts.mask_id,
                        r->facts.vocab_size);
    dlx_fixed_shape shape; /* nothing of it can be wrong but its size, and which methods there are */
    dlx_status s = dlx_fixed_check(&shape, &r->program, err);
    return s == DLX_E_INVALID ? dlx_fail_prefix(err, DLX_E_FORMAT, "the file is damaged") : s;
}

static dlx_status describe(fixed_read **out, const dlx_pte *pte, dlx_error *err)
{
    dlx_fixed_form form;
    uint32_t n = dlx_facts_methods(pte);
    dlx_model_facts facts;
    DLX_TRY(dlx_facts_read(&facts, pte, err));
    if (!dlx_facts_kv_fixed(pte, &form)) return other_form(pte, err);
    DLX_TRY(make_room(out, pte, n, err));
    (*out)->facts = facts;
    return read_methods(*out, pte, n, form, err);
}

static dlx_status read_from(dlx_fixed_program **out, const dlx_source *from, dlx_error *err)
{
    dlx_file file;
    dlx_arena arena;
    dlx_pte pte;
    fixed_read *r = NULL;
    DLX_TRY(dlx_source_open(&file, from, err));
    dlx_arena_init(&arena);
    dlx_status s = dlx_pte_open(&pte, &arena, &file, err);
    if (s == DLX_OK) s = describe(&r, &pte, err);
    if (s == DLX_OK) s = dlx_file_unchanged(&file, err);
    dlx_file_close(&file);
    dlx_arena_free(&arena);
    if (s == DLX_OK) {
        *out = &r->program;
        return DLX_OK;
    }
    free(r);
    const char *name = dlx_source_name(from);
    if (err && !strstr(err->message, name)) s = dlx_fail_prefix(err, s, "%s", name);
    return s;
}

dlx_status dlx_fixed_program_read(dlx_fixed_program **out, const char *path, dlx_error *err)
{
    dlx_source from = dlx_source_path(path);
    if (out) *out = NULL;
    if (!out || !path)
        return dlx_fail(err, DLX_E_INVALID, "dlx_fixed_program_read: a path and a place for the program are needed");
    return read_from(out, &from, err);
}

dlx_status dlx_fixed_program_read_fd(dlx_fixed_program **out, int fd, dlx_error *err)
{
    dlx_source from = dlx_source_fd(fd);
    if (out) *out = NULL;
    if (!out || fd < 0)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_fixed_program_read_fd: a descriptor and a place for the program are needed");
    return read_from(out, &from, err);
}

dlx_status dlx_fixed_program_read_memory(dlx_fixed_program **out, const void *bytes, size_t n, dlx_error *err)
{
    dlx_source from = dlx_source_memory(bytes, n);
    if (out) *out = NULL;
    if (!out || !bytes)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_fixed_program_read_memory: bytes and a place for the program are needed");
    return read_from(out, &from, err);
}

void dlx_fixed_program_free(dlx_fixed_program *program)
{
    free(program); /* the first member of what was made */
}
