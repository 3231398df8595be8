/* Methods as functions of tensors: a program whose rows nobody reorders, an executor at its bounds, and
 * the memory of its states. */
#include "engine/method.h"

#include "base/arena.h"
#include "base/io.h"
#include "base/sizes.h"
#include "base/structs.h"
#include "format/pte.h"
#include "runtime/program.h"

struct dlx_method {
    dlx_allocator mem;
    dlx_file file;   /* closed once everything is in memory */
    dlx_arena arena; /* of pte */
    dlx_pte pte;
    dlx_pool *pool, *own_pool; /* own_pool NULL: it is the caller's */
    dlx_program program;
    dlx_executor *executor;
    dlx_tensor_ref *in, *out; /* [n_inputs], [n_outputs] of the program, states included */
    dlx_tensor *given;        /* [n_inputs] of the method: the call's, in this library's layout */
    uint8_t *state;           /* of all states, one behind the other */
    uint64_t state_bytes;
    size_t n_inputs, n_outputs; /* of the method: without states */
    bool ran;                   /* out holds the outputs of a call that succeeded */
};

enum { STATE_ALIGN = 64 };

static const struct {
    int32_t element;
    const char *name;
    dlx_dtype dtype;
} elements[] = {
    {DLX_ELEMENT_UINT8, "uint8", DLX_U8},      {DLX_ELEMENT_INT8, "int8", DLX_I8},
    {DLX_ELEMENT_INT32, "int32", DLX_I32},     {DLX_ELEMENT_INT64, "int64", DLX_I64},
    {DLX_ELEMENT_FLOAT16, "float16", DLX_F16}, {DLX_ELEMENT_FLOAT32, "float32", DLX_F32},
    {DLX_ELEMENT_BOOL, "bool", DLX_BOOL},      {DLX_ELEMENT_BFLOAT16, "bfloat16", DLX_BF16},
};

const char *dlx_element_name(int32_t element)
{
    for (size_t i = 0; i < DLX_COUNT(elements); i++)
        if (elements[i].element == element) return elements[i].name;
    return "?";
}

size_t dlx_element_size(int32_t element)
{
    for (size_t i = 0; i < DLX_COUNT(elements); i++)
        if (elements[i].element == element) return dlx_dtype_size(elements[i].dtype);
    return 0;
}

static int32_t element_of(dlx_dtype dtype)
{
    for (size_t i = 0; i < DLX_COUNT(elements); i++)
        if (elements[i].dtype == dtype) return elements[i].element;
    return -1;
}

/* ---- opening ---- */

static const dlx_value *input_value(const dlx_method *m, size_t i)
{
    return &m->program.g.values[m->program.g.inputs[i]];
}

static dlx_status make_states(dlx_method *m, dlx_error *err)
{
    uint64_t total = 0, bytes;
    for (size_t i = m->n_inputs; i < m->program.g.n_inputs; i++) {
        const dlx_value *v = input_value(m, i);
        bytes = dlx_value_bytes(&m->program, m->program.g.inputs[i], &m->in[i].shape);
        if (!dlx_add_u64(dlx_align_up(total, STATE_ALIGN), bytes, &total) || total > SIZE_MAX / 2)
            return dlx_fail(err, DLX_E_LIMIT, "the states take more memory than there is");
        if (v->source.data && v->source.bytes < bytes)
            return dlx_fail(err, DLX_E_FORMAT, "state %zu has fewer bytes in the file than its shape asks for",
                            i - m->n_inputs);
    }
    m->state_bytes = total;
    m->state = dlx_mem_array(&m->mem, total ? (size_t)total : 1, 1);
    if (!m->state)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory: the states take %llu bytes", (unsigned long long)total);
    total = 0;
    for (size_t i = m->n_inputs; i < m->program.g.n_inputs; i++) {
        total = dlx_align_up(total, STATE_ALIGN);
        m->in[i].data = m->state + total;
        total += dlx_value_bytes(&m->program, m->program.g.inputs[i], &m->in[i].shape);
    }
    dlx_method_reset(m);
    return DLX_OK;
}

static dlx_status make_executor(dlx_method *m, dlx_error *err)
{
    const dlx_graph *g = &m->program.g;
    dlx_shape *most = dlx_mem_zeroed(&m->mem, g->n_inputs + 1, sizeof *most);
    if (!most) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening a method");
    for (size_t i = 0; i < g->n_inputs; i++) {
        most[i] = dlx_value_shape(input_value(m, i));
        m->in[i].shape = most[i];
    }
    dlx_executor_bounds bounds = {.max_shape = most};
    dlx_status s = dlx_executor_open(&m->executor, &m->program, &bounds, m->pool, &m->mem, err);
    dlx_mem_free(&m->mem, most, g->n_inputs + 1, sizeof *most);
    return s;
}

static dlx_status load(dlx_method *m, const dlx_source *from, const char *name, const dlx_method_options *o,
                       dlx_isa limit, dlx_error *err)
{
    dlx_program_options options = {.limit = limit, .mem = &m->mem};
    DLX_TRY(dlx_source_open(&m->file, from, err));
    DLX_TRY(dlx_pte_open(&m->pte, &m->arena, &m->file, err));
    if (!o->pool) DLX_TRY(dlx_pool_create_with(&m->own_pool, o->threads, &m->mem, err));
    m->pool = o->pool ? o->pool : m->own_pool;
    options.pool = m->pool;
    DLX_TRY(dlx_program_load(&m->program, &m->pte, name, &options, err));
    const dlx_graph *g = &m->program.g;
    m->n_inputs = g->n_inputs - g->n_states;
    m->n_outputs = g->n_outputs - g->n_states;
    m->in = dlx_mem_zeroed(&m->mem, g->n_inputs + 1, sizeof *m->in);
    m->out = dlx_mem_zeroed(&m->mem, g->n_outputs + 1, sizeof *m->out);
    m->given = dlx_mem_zeroed(&m->mem, m->n_inputs + 1, sizeof *m->given);
    if (!m->in || !m->out || !m->given) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening a method");
    DLX_TRY(dlx_file_unchanged(&m->file, err));
    dlx_file_close(&m->file);
    DLX_TRY(make_executor(m, err));
    return make_states(m, err);
}

static dlx_status open_from(dlx_method **out, const dlx_source *from, const char *name,
                            const dlx_method_options *options, dlx_error *err)
{
    dlx_method_options o = dlx_method_options_default();
    dlx_isa limit;
    DLX_TRY(dlx_struct_in(&o, sizeof o, options, "dlx_method_options", err));
    if (o.threads < 0 || o.threads > 1024)
        return dlx_fail(err, DLX_E_INVALID, "threads is %d; expected 1 to 1024, or 0 for one per CPU", o.threads);
    if (o.allocator && (!o.allocator->alloc || !o.allocator->free))
        return dlx_fail(err, DLX_E_INVALID, "the allocator needs both of its functions");
    if (o.pool && o.threads)
        return dlx_fail(err, DLX_E_INVALID, "method options: a pool was given and threads is %d; leave it 0",
                        o.threads);
    DLX_TRY(dlx_isa_from_name(&limit, o.cpu ? o.cpu : "auto", err));
    dlx_method *m = dlx_mem_zeroed(o.allocator, 1, sizeof *m);
    if (!m) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening '%s'", dlx_source_name(from));
    if (o.allocator) m->mem = *o.allocator;
    dlx_arena_init_with(&m->arena, &m->mem);
    dlx_status s = load(m, from, name ? name : "forward", &o, limit, err);
    if (s != DLX_OK) {
        const char *what = dlx_source_name(from);
        if (err && !strstr(err->message, what)) s = dlx_fail_prefix(err, s, "%s", what);
        dlx_method_close(m);
        return s;
    }
    *out = m;
    return DLX_OK;
}

dlx_status dlx_method_open(dlx_method **out, const char *path, const char *name, const dlx_method_options *options,
                           dlx_error *err)
{
    dlx_source from = dlx_source_path(path);
    if (out) *out = NULL;
    if (!out || !path) return dlx_fail(err, DLX_E_INVALID, "dlx_method_open: out and path must not be NULL");
    return open_from(out, &from, name, options, err);
}

dlx_status dlx_method_open_fd(dlx_method **out, int fd, const char *name, const dlx_method_options *options,
                              dlx_error *err)
{
    dlx_source from = dlx_source_fd(fd);
    if (out) *out = NULL;
    if (!out || fd < 0)
        return dlx_fail(err, DLX_E_INVALID, "dlx_method_open_fd: a descriptor and a place for the method are needed");
    return open_from(out, &from, name, options, err);
}

dlx_status dlx_method_open_memory(dlx_method **out, const void *bytes, size_t n, const char *name,
                                  const dlx_method_options *options, dlx_error *err)
{
    dlx_source from = dlx_source_memory(bytes, n);
    if (out) *out = NULL;
    if (!out || !bytes)
        return dlx_fail(err, DLX_E_INVALID, "dlx_method_open_memory: bytes and a place for the method are needed");
    return open_from(out, &from, name, options, err);
}

void dlx_method_close(dlx_method *method)
{
    if (!method) return;
    dlx_allocator mem = method->mem;
    const dlx_graph *g = &method->program.g;
    dlx_executor_close(method->executor);
    dlx_mem_free(&mem, method->state, method->state_bytes ? (size_t)method->state_bytes : 1, 1);
    dlx_mem_free(&mem, method->in, g->n_inputs + 1, sizeof *method->in);
    dlx_mem_free(&mem, method->out, g->n_outputs + 1, sizeof *method->out);
    dlx_mem_free(&mem, method->given, method->n_inputs + 1, sizeof *method->given);
    dlx_program_free(&method->program);
    dlx_pool_free(method->own_pool);
    dlx_arena_free(&method->arena);
    dlx_file_close(&method->file);
    dlx_mem_free(&mem, method, 1, sizeof *method);
}

/* ---- what it takes and gives ---- */

uint64_t dlx_method_tables(const dlx_program *p)
{
    const dlx_method *m = NULL;
    return dlx_mem_bytes(1, sizeof *m) + dlx_mem_bytes(p->g.n_inputs + 1, sizeof *m->in) +
           dlx_mem_bytes(p->g.n_outputs + 1, sizeof *m->out) +
           dlx_mem_bytes(p->g.n_inputs - p->g.n_states + 1, sizeof *m->given);
}

size_t dlx_method_num_inputs(const dlx_method *method)
{
    return method ? method->n_inputs : 0;
}

size_t dlx_method_num_outputs(const dlx_method *method)
{
    return method ? method->n_outputs : 0;
}

uint64_t dlx_method_state_bytes(const dlx_method *method)
{
    return method ? method->state_bytes : 0;
}

static dlx_status describe(const dlx_value *v, dlx_tensor_info *out, dlx_error *err)
{
    dlx_tensor_info info = {.struct_size = sizeof info,
                            .name = v->name,
                            .element = element_of(v->dtype),
                            .rank = v->rank,
                            .dynamic = v->dynamic};
    memcpy(info.size, v->dim, v->rank * sizeof v->dim[0]);
    return dlx_struct_out(out, &info, sizeof info, "dlx_tensor_info", err);
}

static dlx_status no_method(const char *function, dlx_error *err)
{
    return dlx_fail(err, DLX_E_INVALID, "%s: a method is needed; NULL was given", function);
}

dlx_status dlx_method_input_info(const dlx_method *method, size_t i, dlx_tensor_info *out, dlx_error *err)
{
    dlx_struct_clear(out, sizeof *out);
    if (!method) return no_method("dlx_method_input_info", err);
    if (i >= method->n_inputs)
        return dlx_fail(err, DLX_E_INVALID, "input %zu was asked for; the method has %zu", i, method->n_inputs);
    return describe(input_value(method, i), out, err);
}

dlx_status dlx_method_output_info(const dlx_method *method, size_t i, dlx_tensor_info *out, dlx_error *err)
{
    dlx_struct_clear(out, sizeof *out);
    if (!method) return no_method("dlx_method_output_info", err);
    if (i >= method->n_outputs)
        return dlx_fail(err, DLX_E_INVALID, "output %zu was asked for; the method has %zu", i, method->n_outputs);
    return describe(&method->program.g.values[method->program.g.outputs[i]], out, err);
}

/* ---- running ---- */

static dlx_status take_input(dlx_method *m, size_t i, const dlx_tensor *t, dlx_error *err)
{
    const dlx_value *v = input_value(m, i);
    int32_t wanted = element_of(v->dtype);
    if (t->element != wanted)
        return dlx_fail(err, DLX_E_INVALID, "input %zu holds %s; expected %s", i, dlx_element_name(t->element),
                        dlx_element_name(wanted));
    if (t->rank != v->rank)
        return dlx_fail(err, DLX_E_INVALID, "input %zu has %d dimensions; expected %d", i, t->rank, v->rank);
    m->in[i].shape.rank = v->rank;
    memcpy(m->in[i].shape.dim, t->size, v->rank * sizeof t->size[0]);
    for (int d = 0; d < v->rank; d++)
        if (t->size[d] < 0)
            return dlx_fail(err, DLX_E_INVALID, "input %zu: dimension %d is %lld", i, d, (long long)t->size[d]);
    if ((!t->data && dlx_shape_elements(&m->in[i].shape) != 0) || (uintptr_t)t->data % dlx_dtype_size(v->dtype) != 0)
        return dlx_fail(err, DLX_E_INVALID, "input %zu: its data must lie at a multiple of %zu bytes", i,
                        dlx_dtype_size(v->dtype));
    m->in[i].data = t->data;
    return DLX_OK;
}

dlx_status dlx_method_run(dlx_method *method, const dlx_tensor *inputs, size_t n, dlx_error *err)
{
    if (!method) return no_method("dlx_method_run", err);
    method->ran = false;
    if (n != method->n_inputs)
        return dlx_fail(err, DLX_E_INVALID, "%zu inputs were given; the method takes %zu", n, method->n_inputs);
    for (size_t i = 0; i < n; i++) method->given[i] = (dlx_tensor){.struct_size = sizeof *method->given};
    DLX_TRY(dlx_struct_array_in(method->given, sizeof *method->given, inputs, n, "dlx_tensor", err));
    for (size_t i = 0; i < n; i++) DLX_TRY(take_input(method, i, &method->given[i], err));
    dlx_status s = dlx_executor_run(method->executor, &(dlx_pass){.inputs = method->in}, method->out, err);
    /* The program was checked when it was opened: shapes that do not fit now are those of the inputs. */
    if (s == DLX_E_FORMAT) s = dlx_fail_prefix(err, DLX_E_INVALID, "the inputs do not go together");
    method->ran = s == DLX_OK;
    return s;
}

dlx_status dlx_method_output(const dlx_method *method, size_t i, dlx_tensor *out, dlx_error *err)
{
    dlx_struct_clear(out, sizeof *out);
    if (!method) return no_method("dlx_method_output", err);
    if (i >= method->n_outputs)
        return dlx_fail(err, DLX_E_INVALID, "output %zu was asked for; the method has %zu", i, method->n_outputs);
    if (!method->ran)
        return dlx_fail(err, DLX_E_INVALID,
                        "output %zu was asked for before a call succeeded, or after one that failed", i);
    const dlx_tensor_ref *r = &method->out[i];
    dlx_tensor t = {.struct_size = sizeof t,
                    .element = element_of(method->program.g.values[method->program.g.outputs[i]].dtype),
                    .rank = r->shape.rank,
                    .data = r->data};
    memcpy(t.size, r->shape.dim, r->shape.rank * sizeof t.size[0]);
    return dlx_struct_out(out, &t, sizeof t, "dlx_tensor", err);
}

void dlx_method_reset(dlx_method *method)
{
    if (!method) return;
    method->ran = false;
    for (size_t i = method->n_inputs; i < method->program.g.n_inputs; i++) {
        const dlx_value *v = input_value(method, i);
        size_t bytes = (size_t)dlx_value_bytes(&method->program, method->program.g.inputs[i], &method->in[i].shape);
        if (v->source.data)
            memcpy(method->in[i].data, v->source.data, bytes);
        else
            memset(method->in[i].data, 0, bytes);
    }
}
