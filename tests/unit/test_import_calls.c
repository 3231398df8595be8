/*
 * Single kernel calls: programs of one operator, made here, that exporters write rarely or never. Each gives the
 * numbers that PyTorch gives, or a sentence that says what is refused.
 *
 * Arguments and results are written as text, a word each:
 *   x f32 [2,3]   y f32 [3]   m bool [2,3]   i i64 [2,3]   p i64 [2]   w f32 constant [2,3]   D f32 [..4,3], now [2,3]
 *   s f32 [2,3], kept between calls, zeros at first   5 Int   2.0 Double   true false Bool   - Null   'floor String
 *   @5 an Int, @2.5 a Double that the program reads out of a tensor   [1,@2] Int list   {p,-} list of tensors
 * and, as results, f[2,3] l[2] i[2] b[1] u[1] tensors, (f[3],f[3]) a list of them, I Int, B Bool, F Double.
 * Results stand behind ">" (passed twice: out, and what is returned), ">>" (passed once) or "=>" (no arguments).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/import.h"
#include "runtime/program.h"

enum { MOST = 48, MOST_ITEMS = 12 };

static float x_data[] = {-2, -0.5f, 0, 1, 1.5f, 4}, y_data[] = {1, 2, -3}, w_data[] = {1, 0, 2, 0, -1, 0.5f};
static uint8_t m_data[] = {1, 0, 1, 0, 0, 1};
static int64_t i_data[] = {5, -7, 0, 3, -1, 2}, p_data[] = {1, 0};

typedef struct method {
    dlx_evalue values[MOST];
    dlx_pte_operator operators[MOST];
    dlx_instruction instructions[MOST];
    int32_t args[MOST][MOST_ITEMS], inputs[MOST], outputs[MOST];
    int64_t items[MOST][MOST_ITEMS], read[MOST];
    float read_real[MOST];
    const void *data[MOST]; /* of the inputs */
    dlx_shape shape[MOST];
    dlx_pte_blob blob;
    dlx_pte_plan plan;
    dlx_pte pte;
    int32_t known[128]; /* values by letter, -1: none yet */
} method;

static int32_t add(method *m, dlx_evalue v)
{
    assert_true(m->plan.n_values < MOST);
    m->values[m->plan.n_values] = v;
    return (int32_t)m->plan.n_values++;
}

static int32_t number(method *m, int64_t n)
{
    return add(m, (dlx_evalue){.kind = DLX_EV_INT, .u.i = n});
}

static int32_t tensor(method *m, int scalar_type, int rank, const int32_t *size)
{
    dlx_pte_tensor t = {.scalar_type = scalar_type, .rank = (uint8_t)rank, .blob = DLX_PTE_NO_BLOB};
    t.bytes = dlx_scalar_type_size(scalar_type);
    for (int d = 0; d < rank; d++) t.bytes *= (uint64_t)(t.sizes[d] = size[d]);
    return add(m, (dlx_evalue){.kind = DLX_EV_TENSOR, .u.tensor = t});
}

static void call(method *m, const char *name, const char *overload, int n, const int32_t *args)
{
    uint32_t k = m->plan.n_instructions++;
    m->operators[k] = (dlx_pte_operator){name, overload};
    if (args) memcpy(m->args[k], args, (size_t)n * sizeof *args);
    m->instructions[k] =
        (dlx_instruction){.kind = DLX_INS_KERNEL, .index = (int32_t)k, .n_args = (uint32_t)n, .args = m->args[k]};
}

static int32_t input(method *m, int scalar_type, int rank, const int32_t *size, const void *data)
{
    int32_t e = tensor(m, scalar_type, rank, size);
    uint32_t k = m->plan.n_inputs++;
    m->inputs[k] = e;
    m->data[k] = data;
    m->shape[k].rank = (uint8_t)rank;
    for (int d = 0; d < rank; d++) m->shape[k].dim[d] = size[d];
    return e;
}

static int32_t letter(method *m, char c)
{
    int32_t *e = &m->known[(int)c];
    if (*e >= 0) return *e;
    switch (c) {
    case 'x': return *e = input(m, DLX_ST_FLOAT, 2, (int32_t[]){2, 3}, x_data);
    case 'y': return *e = input(m, DLX_ST_FLOAT, 1, (int32_t[]){3}, y_data);
    case 'm': return *e = input(m, DLX_ST_BOOL, 2, (int32_t[]){2, 3}, m_data);
    case 'i': return *e = input(m, DLX_ST_LONG, 2, (int32_t[]){2, 3}, i_data);
    case 'p': return *e = input(m, DLX_ST_LONG, 1, (int32_t[]){2}, p_data);
    case 'r': return *e = input(m, DLX_ST_FLOAT, 5, (int32_t[]){1, 1, 1, 2, 3}, x_data);
    case 'D':
        *e = input(m, DLX_ST_FLOAT, 2, (int32_t[]){2, 3}, x_data);
        m->values[*e].u.tensor.dynamic = true;
        m->values[*e].u.tensor.sizes[0] = 4;
        m->values[*e].u.tensor.bytes *= 2;
        return *e;
    case 's':
    case 'w':
        *e = tensor(m, DLX_ST_FLOAT, 2, (int32_t[]){2, 3});
        m->values[*e].u.tensor.memory_id = c == 's';
        m->values[*e].u.tensor.blob = c == 's' ? DLX_PTE_NO_BLOB : 0;
        return *e;
    default: fail_msg("no tensor is called %c", c); return -1;
    }
}

/* A number that is known only when the program runs. */
static int32_t computed(method *m, const char *word)
{
    bool real = strchr(word, '.') != NULL;
    uint32_t k = m->plan.n_inputs;
    m->read[k] = strtoll(word, NULL, 10);
    m->read_real[k] = strtof(word, NULL);
    int32_t e = input(m, real ? DLX_ST_FLOAT : DLX_ST_LONG, 1, (int32_t[]){1}, NULL);
    m->data[k] = real ? (const void *)&m->read_real[k] : &m->read[k];
    int32_t out = add(m, (dlx_evalue){.kind = real ? DLX_EV_DOUBLE : DLX_EV_INT});
    call(m, "aten::_local_scalar_dense", "", 2, (int32_t[]){e, out});
    return out;
}

static int32_t value(method *m, const char *word);

static int32_t list(method *m, const char *word, dlx_evalue_kind kind)
{
    char item[16];
    uint32_t count = 0;
    int64_t *items = NULL;
    int32_t found[MOST_ITEMS];
    for (const char *at = word + 1; *at && *at != ']' && *at != '}' && *at != ')';) {
        size_t n = 0; /* commas inside brackets separate sizes of a tensor */
        for (bool inside = false; at[n] && (inside || !strchr(",]})", at[n])); n++) {
            if (at[n] == '[') inside = true;
            if (at[n] == ']') inside = false;
        }
        snprintf(item, sizeof item, "%.*s", (int)n, at);
        found[count++] = kind == DLX_EV_OPTIONAL_TENSOR_LIST && !strcmp(item, "-") ? -1 : value(m, item);
        at += n + (at[n] == ',');
    }
    items = m->items[m->plan.n_values];
    for (uint32_t k = 0; k < count; k++) items[k] = found[k];
    return add(m, (dlx_evalue){.kind = kind, .u.list = {.count = count, .ints = items}});
}

static int32_t value(method *m, const char *word)
{
    const char *type = word[0] && word[1] == '[' ? strchr("flibu", word[0]) : NULL;
    if (type) {
        static const int types[] = {DLX_ST_FLOAT, DLX_ST_LONG, DLX_ST_INT, DLX_ST_BOOL, DLX_ST_BYTE};
        int32_t size[DLX_MAX_RANK + 1];
        int rank = 0;
        for (char *at = (char *)(uintptr_t)word + 2; *at && *at != ']'; at += *at == ',')
            size[rank++] = (int32_t)strtol(at, &at, 10);
        return tensor(m, types[type - "flibu"], rank, size);
    }
    switch (word[0]) {
    case '@': return computed(m, word + 1);
    case '[': return list(m, word, DLX_EV_INT_LIST);
    case '{': return list(m, word, DLX_EV_OPTIONAL_TENSOR_LIST);
    case '(': return list(m, word, DLX_EV_TENSOR_LIST);
    case '\'': return add(m, (dlx_evalue){.kind = DLX_EV_STRING, .u.s = {word + 1, (uint32_t)strlen(word + 1)}});
    case 'I': return number(m, 0);
    case 'F': return add(m, (dlx_evalue){.kind = DLX_EV_DOUBLE});
    case 'B': return add(m, (dlx_evalue){.kind = DLX_EV_BOOL});
    default: break;
    }
    if (!strcmp(word, "true") || !strcmp(word, "false"))
        return add(m, (dlx_evalue){.kind = DLX_EV_BOOL, .u.b = word[0] == 't'});
    if (!strcmp(word, "-")) return add(m, (dlx_evalue){.kind = DLX_EV_NULL});
    if (strchr("0123456789-", word[0])) {
        if (!strchr(word, '.')) return number(m, strtoll(word, NULL, 10));
        return add(m, (dlx_evalue){.kind = DLX_EV_DOUBLE, .u.d = strtod(word, NULL)});
    }
    return letter(m, word[0]);
}

static void begin(method *m)
{
    memset(m, 0, sizeof *m);
    memset(m->known, -1, sizeof m->known);
    m->plan = (dlx_pte_plan){.name = "forward",
                             .values = m->values,
                             .inputs = m->inputs,
                             .outputs = m->outputs,
                             .operators = m->operators,
                             .n_operators = MOST,
                             .instructions = m->instructions};
    m->blob = (dlx_pte_blob){.kind = DLX_BLOB_CONSTANT, .size = sizeof w_data, .data = w_data, .alias_of = -1};
    m->pte = (dlx_pte){.plans = &m->plan, .n_plans = 1, .blobs = &m->blob, .n_blobs = 1};
}

/* The tensors behind a value become results; numbers fill a tensor first. */
static void give(method *m, int32_t e)
{
    const dlx_evalue *v = &m->values[e];
    if (v->kind == DLX_EV_TENSOR_LIST) {
        for (uint32_t k = 0; k < v->u.list.count; k++) m->outputs[m->plan.n_outputs++] = (int32_t)v->u.list.ints[k];
        return;
    }
    if (v->kind != DLX_EV_TENSOR) {
        int32_t none = list(m, "[]", DLX_EV_INT_LIST), full = tensor(m, DLX_ST_FLOAT, 0, NULL);
        call(m, "aten::full", "out", 4, (int32_t[]){none, e, full, full});
        e = full;
    }
    m->outputs[m->plan.n_outputs++] = e;
}

/* "name.overload" with arguments, then results behind ">". */
static void read_call(method *m, const char *name, const char *words, char text[160])
{
    int32_t args[MOST_ITEMS];
    int n = 0, results = 0, times = 0;
    int32_t result[MOST_ITEMS];
    bool behind = false;
    char *save = NULL;
    snprintf(text, 160, "%s", name);
    char *overload = strchr(text, '.');
    if (overload) *overload++ = 0;
    char *copy = text + strlen(name) + 2;
    snprintf(copy, 100, "%s", words);
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        static const char *const marks[] = {"=>", ">>", ">"};
        bool mark = false;
        for (int k = 0; k < 3; k++)
            if (!strcmp(word, marks[k])) {
                mark = behind = true;
                times = k;
            }
        if (mark) continue;
        if (behind)
            result[results++] = value(m, word);
        else
            args[n++] = value(m, word);
    }
    for (int t = 0; t < times; t++)
        for (int k = 0; k < results && (t == 0 || results == 1); k++) args[n++] = result[k];
    if (times == 2 && results > 1) args[n++] = number(m, 0); /* stands for the list that is returned */
    call(m, text, overload ? overload : "", n, args);
    for (int k = 0; k < results; k++) give(m, result[k]);
}

static double element(const dlx_value *v, const void *data, size_t k)
{
    switch (v->dtype) {
    case DLX_F32: return (double)((const float *)data)[k];
    case DLX_I64: return (double)((const int64_t *)data)[k];
    case DLX_I32: return ((const int32_t *)data)[k];
    default: return ((const uint8_t *)data)[k];
    }
}

/* All results, one behind the other; the number of them. */
static size_t run(method *m, double *out, size_t most, dlx_error *err)
{
    dlx_program p;
    dlx_pool *pool;
    dlx_executor *ex;
    size_t n = 0;
    assert_int_equal(dlx_pool_create(&pool, 1, NULL), DLX_OK);
    dlx_program_options options = {.limit = DLX_ISA_REF, .pool = pool};
    if (dlx_program_load(&p, &m->pte, "forward", &options, err) != DLX_OK) {
        dlx_pool_free(pool);
        return 0;
    }
    dlx_shape bounds[MOST];
    dlx_tensor_ref in[MOST], result[MOST];
    float kept[6] = {0};
    for (uint32_t k = 0; k < p.g.n_inputs; k++) {
        const dlx_value *v = &p.g.values[p.g.inputs[k]];
        bounds[k].rank = v->rank;
        for (int d = 0; d < v->rank; d++) bounds[k].dim[d] = v->dim[d];
        in[k] = (dlx_tensor_ref){kept, bounds[k]};
        if (k < m->plan.n_inputs) in[k] = (dlx_tensor_ref){(void *)(uintptr_t)m->data[k], m->shape[k]};
    }
    assert_int_equal(dlx_executor_open(&ex, &p, &(dlx_executor_bounds){.max_shape = bounds}, pool, NULL, err), DLX_OK);
    dlx_pass pass = {.inputs = in};
    if (dlx_executor_run(ex, &pass, result, err) == DLX_OK)
        for (uint32_t k = 0; k < m->plan.n_outputs; k++) {
            const dlx_value *v = &p.g.values[p.g.outputs[k]];
            size_t elements = 1;
            for (int d = 0; d < result[k].shape.rank; d++) elements *= (size_t)result[k].shape.dim[d];
            for (size_t i = 0; i < elements && n < most; i++) out[n++] = element(v, result[k].data, i);
        }
    dlx_executor_close(ex);
    dlx_program_free(&p);
    dlx_pool_free(pool);
    return n;
}

typedef struct call_case {
    const char *name, *words;
    size_t n;
    double want[24];
} call_case;

#define GIVES(...)                                                                                                     \
    sizeof((double[]){__VA_ARGS__}) / sizeof(double),                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static void check(const call_case *c)
{
    method m;
    char text[160];
    double got[24];
    dlx_error err = {0};
    begin(&m);
    read_call(&m, c->name, c->words, text);
    size_t n = run(&m, got, 24, &err);
    if (n != c->n || err.status != DLX_OK)
        fail_msg("%s %s: %zu numbers, not %zu: %s", c->name, c->words, n, c->n, err.message);
    for (size_t k = 0; k < n; k++)
        if (!(fabs(got[k] - c->want[k]) <= 1e-6 * fmax(1, fabs(c->want[k]))))
            fail_msg("%s %s: number %zu is %.9g, not %.9g", c->name, c->words, k, got[k], c->want[k]);
}

static const call_case operators[] = {
    {"aten::rsub.Scalar_out", "x 2 1 > f[2,3]", GIVES(4, 2.5, 2, 1, 0.5, -2)},
    {"aten::add.Scalar_out", "i 2 3 > l[2,3]", GIVES(11, -1, 6, 9, 5, 8)},
    {"aten::add.Scalar_out", "x @2.5 1 > f[2,3]", GIVES(0.5, 2, 2.5, 3.5, 4, 6.5)},
    {"aten::mul.Scalar_out", "i @3 > l[2,3]", GIVES(15, -21, 0, 9, -3, 6)},
    {"aten::mul.Scalar_out", "m @3 > l[2,3]", GIVES(3, 0, 3, 0, 0, 3)},
    {"aten::div.Scalar_mode_out", "i 2 'floor > l[2,3]", GIVES(2, -4, 0, 1, -1, 1)},
    {"aten::div.Scalar_mode_out", "i 2 'trunc > l[2,3]", GIVES(2, -3, 0, 1, 0, 1)},
    {"aten::div.Scalar_mode_out", "i 2 - > f[2,3]", GIVES(2.5, -3.5, 0, 1.5, -0.5, 1)},
    {"aten::pow.Scalar_out", "2 x > f[2,3]", GIVES(0.25, 0.70710678, 1, 2, 2.82842712, 16)},
    {"aten::pow.Tensor_Scalar_out", "i 2 > l[2,3]", GIVES(25, 49, 0, 9, 1, 4)},
    {"aten::ne.Scalar_out", "i 3 > b[2,3]", GIVES(1, 1, 1, 0, 1, 1)},
    {"aten::gt.Tensor_out", "x y > b[2,3]", GIVES(0, 0, 1, 0, 0, 1)},
    {"aten::bitwise_xor.Scalar_out", "i 3 > l[2,3]", GIVES(6, -6, 3, 0, -4, 1)},
    {"aten::bitwise_not.out", "i > l[2,3]", GIVES(-6, 6, -1, -4, 0, -3)},
    {"aten::masked_fill.Scalar_out", "x m 9 > f[2,3]", GIVES(9, -0.5, 9, 1, 1.5, 9)},
    {"aten::masked_fill.Scalar_out", "i m 9 > l[2,3]", GIVES(9, -7, 9, 3, -1, 9)},
    {"aten::log1p.out", "m > f[2,3]", GIVES(0.69314718, 0, 0.69314718, 0, 0, 0.69314718)},
    {"aten::relu.out", "x > f[2,3]", GIVES(0, 0, 0, 1, 1.5, 4)},
    {"aten::relu.out", "i > l[2,3]", GIVES(5, 0, 0, 3, 0, 2)},
    {"aten::hardtanh.out", "x -1.0 2.0 > f[2,3]", GIVES(-1, -0.5, 0, 1, 1.5, 2)},
    {"aten::clamp.out", "i - 2 > l[2,3]", GIVES(2, -7, 0, 2, -1, 2)},
    {"aten::clamp.Tensor_out", "x - y > f[2,3]", GIVES(-2, -0.5, -3, 1, 1.5, -3)},
    {"aten::abs.out", "i > l[2,3]", GIVES(5, 7, 0, 3, 1, 2)},
    {"aten::floor.out", "i > l[2,3]", GIVES(5, -7, 0, 3, -1, 2)},
    {"aten::linear.out", "x w - > f[2,2]", GIVES(-2, 0.5, 9, 0.5)},
    {"aten::linear.out", "x x - > f[2,2]", GIVES(4.25, -2.75, -2.75, 19.25)},
    {"aten::mean.dtype_out", "x - > f[]", GIVES(4.0 / 6)},
    {"aten::sum.IntList_out", "m - false - > l[]", GIVES(3)},
    {"aten::sum.IntList_out", "D [0,1] false - > f[]", GIVES(4)},
    {"aten::sum.IntList_out", "D [-2] true - > f[1,3]", GIVES(-1, 1, 4)},
    {"aten::amax.out", "i [0] false > l[3]", GIVES(5, -1, 2)},
    {"aten::any.dims_out", "m [1] false > b[2]", GIVES(1, 1)},
    {"aten::transpose_copy.int_out", "x 0 -1 > f[3,2]", GIVES(-2, 1, -0.5, 1.5, 0, 4)},
    {"aten::t_copy.out", "i > l[3,2]", GIVES(5, 3, -7, -1, 0, 2)},
    {"aten::t_copy.out", "y > f[3]", GIVES(1, 2, -3)},
    {"aten::squeeze_copy.dim_out", "x 0 > f[2,3]", GIVES(-2, -0.5, 0, 1, 1.5, 4)},
    {"aten::slice_copy.Tensor_out", "x 1 -9 -1 1 > f[2,2]", GIVES(-2, -0.5, 1, 1.5)},
    {"aten::slice_copy.Tensor_out", "x 1 @-2 - 1 > f[2,3]", GIVES(-0.5, 0, 1.5, 4)},
    {"aten::slice_copy.Tensor_out", "x 1 2 1 1 > f[2,0]", 0, {0}},
    {"aten::slice_copy.Tensor_out", "D 0 -1 - 1 > f[4,3]", GIVES(1, 1.5, 4)},
    {"aten::narrow_copy.out", "x 1 1 2 > f[2,2]", GIVES(-0.5, 0, 1.5, 4)},
    {"aten::select_copy.int_out", "x 1 @-1 > f[2]", GIVES(0, 4)},
    {"aten::split_with_sizes_copy.out", "x [1,2] 1 > (f[2,1],f[2,2])", GIVES(-2, 1, -0.5, 0, 1.5, 4)},
    {"aten::split_copy.Tensor_out", "x 2 1 > (f[2,2],f[2,1])", GIVES(-2, -0.5, 1, 1.5, 0, 4)},
    {"aten::unbind_copy.int_out", "x 0 > (f[3],f[3])", GIVES(-2, -0.5, 0, 1, 1.5, 4)},
    {"aten::unbind_copy.int_out", "i -1 > (l[2],l[2],l[2])", GIVES(5, 3, -7, -1, 0, 2)},
    {"aten::stack.out", "(y,y) 1 > f[3,2]", GIVES(1, 1, 2, 2, -3, -3)},
    {"aten::cat.out", "(y) 0 > f[3]", GIVES(1, 2, -3)},
    {"aten::cat.out", "(y,p) 0 > f[5]", GIVES(1, 2, -3, 1, 0)},
    {"aten::roll.out", "x [1] [-1] > f[2,3]", GIVES(0, -2, -0.5, 4, 1, 1.5)},
    {"aten::roll.out", "x [-1,3] [0,1] > f[2,3]", GIVES(1, 1.5, 4, -2, -0.5, 0)},
    {"aten::repeat.out", "y [2,1] > f[2,3]", GIVES(1, 2, -3, 1, 2, -3)},
    {"aten::repeat.out", "p [7] > l[14]", GIVES(1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0)},
    {"aten::full.out", "[2] 7.0 > l[2]", GIVES(7, 7)},
    {"aten::full.out", "[2] 70000 > i[2]", GIVES(70000, 70000)},
    {"aten::full.out", "[2] @2.5 > f[2]", GIVES(2.5, 2.5)},
    {"aten::full.out", "[@2] @5 > i[4]", GIVES(5, 5)},
    {"aten::full.out", "[] true > b[]", GIVES(1)},
    {"aten::zeros.out", "[2] > i[2]", GIVES(0, 0)},
    {"aten::ones.out", "[1,2] > u[1,2]", GIVES(1, 1)},
    {"aten::fill.Tensor_out", "x @3 > f[2,3]", GIVES(3, 3, 3, 3, 3, 3)},
    {"aten::full_like.out", "D 2.5 > f[4,3]", GIVES(2.5, 2.5, 2.5, 2.5, 2.5, 2.5)},
    {"aten::scalar_tensor.out", "@4 > f[]", GIVES(4)},
    {"aten::arange.out", "4 > l[4]", GIVES(0, 1, 2, 3)},
    {"aten::arange.out", "2.5 > f[3]", GIVES(0, 1, 2)},
    {"aten::arange.start_out", "1 @6 2 > i[5]", GIVES(1, 3, 5)},
    {"aten::arange.start_out", "5 0 -2 > l[3]", GIVES(5, 3, 1)},
    {"aten::arange.start_out", "1.0 2.0 0.25 > f[4]", GIVES(1, 1.25, 1.5, 1.75)},
    {"aten::constant_pad_nd.out", "x [1,0] 8 > f[2,4]", GIVES(8, -2, -0.5, 0, 8, 1, 1.5, 4)},
    {"aten::tril.out", "x 0 > f[2,3]", GIVES(-2, 0, 0, 1, 1.5, 0)},
    {"aten::triu.out", "i 1 > l[2,3]", GIVES(0, -7, 0, 0, 0, 2)},
    {"aten::_to_copy.out", "x false - > i[2,3]", GIVES(-2, 0, 0, 1, 1, 4)},
    {"aten::index.Tensor_out", "x {-,p} > f[2,2]", GIVES(-0.5, -2, 1.5, 1)},
    {"aten::index_put.out", "x {p} y false > f[2,3]", GIVES(1, 2, -3, 1, 2, -3)},
    {"aten::index_put_", "s {p} x false >> s", GIVES(1, 1.5, 4, -2, -0.5, 0)},
    {"aten::index_put_", "s {p} x true >> f[2,3]", GIVES(1, 1.5, 4, -2, -0.5, 0)},
    {"aten::index_select.out", "x 1 p > f[2,2]", GIVES(-0.5, -2, 1.5, 1)},
    {"aten::slice_scatter.out", "x w 1 0 - 1 > f[2,3]", GIVES(1, 0, 2, 0, -1, 0.5)},
    {"aten::slice_scatter.out", "x w 0 @0 - 1 > f[2,3]", GIVES(1, 0, 2, 0, -1, 0.5)},
    {"aten::select_scatter.out", "x y 0 -1 > f[2,3]", GIVES(-2, -0.5, 0, 1, 2, -3)},
    {"aten::copy.out", "x y false > f[2,3]", GIVES(1, 2, -3, 1, 2, -3)},
    {"aten::copy.out", "x i false > f[2,3]", GIVES(5, -7, 0, 3, -1, 2)},
    {"aten::copy_", "s y false >> s", GIVES(1, 2, -3, 1, 2, -3)},
    {"executorch_prim::et_copy_index.tensor", "s y @1 => s", GIVES(0, 0, 0, 1, 2, -3)},
    {"executorch_prim::et_view.default", "x [3,-1] >> f[3,2]", GIVES(-2, -0.5, 0, 1, 1.5, 4)},
    {"aten::topk.values", "x 2 1 true true > f[2,2] l[2,2]", GIVES(0, -0.5, 4, 1.5, 2, 1, 2, 1)},
};

static void operators_give_what_pytorch_gives(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof operators / sizeof operators[0]; k++) check(&operators[k]);
}

/* Numbers that the program states, and the same ones read out of tensors. */
static void numbers_give_what_python_gives(void **state)
{
    static const struct {
        const char *name, *a, *b, *result;
        double want;
    } cases[] = {
        {"add", "7", "-2", "I", 5},       {"sub", "7", "-2", "I", 9},       {"mul", "7", "-2", "I", -14},
        {"floordiv", "7", "-2", "I", -4}, {"floordiv", "-7", "-2", "I", 3}, {"floordiv", "6", "-2", "I", -3},
        {"mod", "7", "-2", "I", -1},      {"mod", "-7", "2", "I", 1},       {"mod", "6", "3", "I", 0},
        {"sym_max", "7", "-2", "I", 7},   {"sym_min", "7", "-2", "I", -2},  {"eq", "7", "-2", "B", 0},
        {"eq", "7", "7", "B", 1},         {"lt", "7", "-2", "B", 0},        {"lt", "-2", "7", "B", 1},
        {"lt", "7", "7", "B", 0},         {"le", "7", "-2", "B", 0},        {"le", "7", "7", "B", 1},
        {"gt", "7", "-2", "B", 1},        {"gt", "7", "7", "B", 0},         {"ge", "-2", "7", "B", 0},
        {"ge", "7", "7", "B", 1},         {"neg", "7", NULL, "I", -7},      {"sym_not", "7", NULL, "B", 0},
        {"sym_not", "0", NULL, "B", 1},   {"sym_ite", "true", "5", "I", 5}, {"sym_ite", "false", "5", "I", -3},
        {"sym_ite", "0", "5", "I", -3},   {"sym_ite", "2", "5", "I", 5},
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++)
        for (int way = 0; way < 4; way++) {
            char name[64], words[100];
            const char *a = way & 1 && strchr("-0123456789", cases[k].a[0]) ? "@" : "", *b = way & 2 ? "@" : "";
            bool three = !strcmp(cases[k].name, "sym_ite");
            snprintf(name, sizeof name, "executorch_prim::%s.Scalar", cases[k].name);
            snprintf(words, sizeof words, "%s%s %s%s %s >> %s", a, cases[k].a, cases[k].b ? b : "",
                     cases[k].b ? cases[k].b : "", three ? "-3" : "", cases[k].result);
            call_case c = {.name = name, .words = words, .n = 1, .want = {cases[k].want}};
            check(&c);
        }
    static const call_case others[] = {
        {"aten::unsqueeze_copy.out", "r 2 > f[1,1,1,1,2,3]", GIVES(-2, -0.5, 0, 1, 1.5, 4)},
        {"executorch_prim::floordiv.int", "@9 2 >> I", GIVES(4)},
        {"executorch_prim::mod.int", "@9 2 >> I", GIVES(1)},
        {"aten::sym_size.int", "D 0 >> I", GIVES(2)},
        {"aten::sym_numel", "x >> I", GIVES(6)},
        {"aten::sym_numel", "D >> I", GIVES(6)},
    };
    for (size_t k = 0; k < sizeof others / sizeof others[0]; k++) check(&others[k]);
}

static const struct refusal {
    const char *name, *words, *message;
} refusals[] = {
    {"aten::nonzero.out", "x > l[6,2]", "operator aten::nonzero.out: this runtime has no such operator"},
    {"aten::rsub.Scalar_out", "x 2 3 > f[2,3]", "alpha other than 1"},
    {"aten::add.out", "x >> f[2,3]", "is read before anything writes it"},
    {"aten::add.out", "x - > f[2,3]", "integer argument is expected"},
    {"aten::add.Scalar_out", "i 1 1.5 > l[2,3]", "whole number"},
    {"aten::pow.Tensor_Scalar_out", "i 3 > l[2,3]", "powers of integers"},
    {"aten::clamp.out", "m 0 1 > b[2,3]", "clamps f32, i64 and i32 only"},
    {"aten::leaky_relu.out", "x @0.5 > f[2,3]", "constant number is expected"},
    {"aten::linear.out", "x w y > f[2,2]", "do not broadcast"},
    {"aten::sum.IntList_out", "x [2] false - > f[2]", "outside the rank"},
    {"aten::softmax.out", "x 1 > f[2,3]", "no such operator"},
    {"aten::_softmax.out", "x @1 false > f[2,3]", "constant integer"},
    {"aten::native_layer_norm.out", "x [3] - - 0.1 >> f[2,3]", "too few arguments"},
    {"aten::native_layer_norm.out", "x [2,3] - - 0.1 > f[2,3] f[2,1] f[2,1]", "only the last dimension"},
    {"aten::view_copy.out", "x [6,1] > f[6]", "another rank than its sizes"},
    {"aten::view_copy.out", "x [4] > f[4]", ""},
    {"aten::view_copy.out", "x [1,1,1,1,1,2,3] > f[2,3]", "rank is above 6"},
    {"aten::view_copy.out", "x 6 > f[6]", "integer list"},
    {"aten::permute_copy.out", "x [0,2] > f[2,3]", "outside the rank"},
    {"aten::transpose_copy.int_out", "x 0 2 > f[2,3]", "outside the rank"},
    {"aten::squeeze_copy.dims_out", "x [2] > f[2,3]", "outside the rank"},
    {"aten::slice_copy.Tensor_out", "x 1 0 3 0 > f[2,3]", "step must be positive"},
    {"aten::slice_copy.Tensor_out", "x 1 0 3 1 > f[6]", "another rank than its operand"},
    {"aten::narrow_copy.out", "x 1 4 1 > f[2,1]", "must lie inside"},
    {"aten::narrow_copy.out", "x 1 2 2 > f[2,2]", "must lie inside"},
    {"aten::select_copy.int_out", "x 1 3 > f[2]", "must lie inside"},
    {"aten::select_copy.int_out", "x 1 -4 > f[2]", "must lie inside"},
    {"aten::split_copy.Tensor_out", "x 2 1 > f[2,2]", "list of results"},
    {"aten::split_with_sizes_copy.out", "x [1,2] 1 > (f[2,1])", "as many results as sizes"},
    {"aten::split_with_sizes_copy.out", "x [-1,4] 1 > (f[2,1],f[2,2])", "must lie inside"},
    {"aten::split_copy.Tensor_out", "x 9 1 > (f[2,9],f[2,9])", ""},
    {"aten::unbind_copy.int_out", "x 0 > (f[3],f[3],f[3])", "must lie inside"},
    {"aten::cat.out", "() 0 > f[3]", "list of tensors"},
    {"aten::cat.out", "x 0 > f[2,3]", "list of tensors"},
    {"aten::flip.out", "x [2] > f[2,3]", "outside the rank"},
    {"aten::roll.out", "x [1,2] [0] > f[2,3]", "a dimension for each shift"},
    {"aten::roll.out", "x [1] [2] > f[2,3]", "inside the rank and not vary"},
    {"aten::roll.out", "D [1] [0] > f[4,3]", "inside the rank and not vary"},
    {"aten::expand_copy.out", "y [2,3] > f[6]", "another rank than its sizes"},
    {"aten::expand_copy.out", "x [2,4] > f[2,4]", ""},
    {"aten::repeat.out", "y [@2] > f[6]", "constant number of repetitions"},
    {"aten::repeat.out", "y [0] > f[0]", "constant number of repetitions"},
    {"aten::full.out", "[2] 2.5 > l[2]", "whole number"},
    {"aten::arange.start_out", "0.0 1.0 0.0 > f[1]", "range is too long"},
    {"aten::arange.start_out", "0.0 @2.0 1.0 > f[2]", "constant number is expected"},
    {"aten::arange.start_out", "0 4 0 > l[4]", ""},
    {"aten::arange.out", "4 > l[2,2]", "must be a vector"},
    {"aten::constant_pad_nd.out", "x [1,-1] 8 > f[2,3]", "padding is negative"},
    {"aten::constant_pad_nd.out", "x [1] 8 > f[2,4]", "two numbers for each"},
    {"aten::constant_pad_nd.out", "x [@1,0] 8 > f[2,4]", "constant padding"},
    {"aten::tril.out", "x 99999999 > f[2,3]", "too far away"},
    {"aten::index.Tensor_out", "x {m} > f[3]", "masks as places are not supported"},
    {"aten::index.Tensor_out", "x {-} > f[2,3]", "no dimension is indexed"},
    {"aten::index.Tensor_out", "x p > f[2,3]", "list of places"},
    {"aten::scatter.value_out", "i 1 i 2.5 > l[2,3]", "whole number"},
    {"aten::scatter.src_out", "x 1 i > f[2,3]", ""},
    {"aten::topk.values", "x 2 0 true true > f[2,3] l[2,3]", "largest of the last dimension"},
    {"aten::topk.values", "x 2 1 false true > f[2,2] l[2,2]", "largest of the last dimension"},
    {"aten::topk.values", "x 2 1 >> f[2,2]", "too few arguments"},
    {"aten::slice_scatter.out", "x y 0 1 2 1 > f[2,3]", ""},
    {"aten::slice_scatter.out", "x w 0 0 - 2 > f[2,3]", "step 1"},
    {"aten::slice_scatter.out", "x w 0 -3 - 1 > f[2,3]", "step 1"},
    {"aten::select_scatter.out", "x p 1 @1 > f[2,3]", ""},
    {"aten::index_put_", "x {p} x false >> x", "value 0 is an input and is changed in place"},
    {"aten::copy_", "w x false >> w", "is a constant and is written to"},
    {"aten::copy_", "5 x false >> f[2,3]", "a tensor is expected"},
    {"aten::copy_", "D y false >> D", "a tensor that varies"},
    {"aten::add.out", "x y 1 > I", "a tensor is expected"},
    {"aten::relu.out", "f[2,3] > f[2,3]", "is read before anything writes it"},
    {"llama::update_cache.out", "x s 0 > f[1]", "cache [B,S,K,D]"},
    {"llama::update_cache_with_indices.out", "x s 0 p > f[1]", "indices [1,T]"},
    {"llama::custom_sdpa.out", "x x x 0 - 0.0 true - > f[2,3]", "queries [B,T,H,D]"},
    {"quantized_decomposed::embedding_byte.out", "x y - 0 1 i > f[2,3]", "an int8 table"},
    {"executorch_prim::add.Scalar", "9223372036854775807 1 >> I", "overflows"},
    {"executorch_prim::mul.Scalar", "4611686018427387904 2 >> I", "overflows"},
    {"executorch_prim::floordiv.Scalar", "1 0 >> I", "overflows"},
    {"executorch_prim::mod.Scalar", "1 0 >> I", "overflows"},
    {"executorch_prim::add.Scalar", "1 2 >> F", "must be an integer"},
    {"executorch_prim::add.Scalar", "@1 2 >> f[1]", "must be a number"},
    {"executorch_prim::add.Scalar", "1.0 2 >> I", "integer argument is expected"},
    {"aten::_local_scalar_dense", "x >> I", "must be a Double"},
    {"aten::_local_scalar_dense", "i >> I", ""},
};

static void what_is_not_supported_is_named(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof refusals / sizeof refusals[0]; k++) {
        method m;
        char text[160];
        double got[24];
        dlx_error err = {0};
        begin(&m);
        read_call(&m, refusals[k].name, refusals[k].words, text);
        size_t n = run(&m, got, 24, &err);
        if (n || err.status == DLX_OK || !err.message[0] || !strstr(err.message, refusals[k].message))
            fail_msg("%s %s: %zu numbers, '%s'", refusals[k].name, refusals[k].words, n, err.message);
    }
}

static void instruction(method *m, dlx_instruction_kind kind, int32_t index, int32_t target)
{
    m->instructions[m->plan.n_instructions++] = (dlx_instruction){.kind = kind, .index = index, .target = target};
}

static void refused(method *m, const char *message)
{
    double got[24];
    dlx_error err = {0};
    assert_int_equal(run(m, got, 24, &err), 0);
    if (err.status == DLX_OK || !strstr(err.message, message)) fail_msg("'%s', not '%s'", err.message, message);
}

static void values_move(void **state)
{
    (void)state;
    method m;
    double got[24];
    dlx_error err = {0};
    for (int way = 0; way < 2; way++) {
        begin(&m);
        int32_t from = value(&m, way ? "@5" : "6"), to = value(&m, "I"), sum = value(&m, "I");
        int32_t y = value(&m, "y"), copy = value(&m, "f[3]");
        if (!way) call(&m, "executorch_prim::sub", "Scalar", 3, (int32_t[]){from, value(&m, "1"), sum});
        instruction(&m, DLX_INS_MOVE, way ? from : sum, to);
        instruction(&m, DLX_INS_FREE, from, 0);
        instruction(&m, DLX_INS_MOVE, y, copy);
        give(&m, to);
        give(&m, copy);
        assert_int_equal(run(&m, got, 24, &err), 4);
        const double want[] = {5, 1, 2, -3};
        for (int k = 0; k < 4; k++) assert_true(got[k] == want[k]);
    }
    begin(&m);
    instruction(&m, DLX_INS_MOVE, value(&m, "5"), value(&m, "I"));
    refused(&m, "a number that is not computed moves");
    begin(&m);
    instruction(&m, DLX_INS_JUMP_FALSE, value(&m, "true"), 0);
    refused(&m, "instruction 0: conditional jumps are not supported");
    begin(&m);
    call(&m, "aten::relu", "out", 0, NULL);
    refused(&m, "has no arguments");
}

/* A planned tensor of memory 1. */
static int32_t planned(method *m, const char *word, uint64_t offset)
{
    int32_t e = value(m, word);
    m->values[e].u.tensor.memory_id = 1;
    m->values[e].u.tensor.memory_offset = offset;
    return e;
}

static void copy(method *m, int32_t from, int32_t to)
{
    call(m, "aten::copy_", "", 4, (int32_t[]){to, from, value(m, "false"), to});
}

static void tensors_at_one_place_are_one(void **state)
{
    (void)state;
    method m;
    double got[24];
    dlx_error err = {0};
    begin(&m); /* another shape of what was written there */
    int32_t x = value(&m, "x"), to = planned(&m, "f[2,3]", 64), view = planned(&m, "f[3,2]", 64);
    call(&m, "aten::relu", "out", 3, (int32_t[]){x, to, to});
    give(&m, view);
    assert_int_equal(run(&m, got, 24, &err), 6);
    assert_true(got[5] == 4);
    begin(&m);
    x = value(&m, "x"), to = planned(&m, "f[2,3]", 64), view = planned(&m, "i[2,3]", 64);
    call(&m, "aten::relu", "out", 3, (int32_t[]){x, to, to});
    give(&m, view);
    refused(&m, "value 2 is read where value 1, of another type or size, was written");
    begin(&m);
    x = value(&m, "x"), to = planned(&m, "f[2,3]", 64), view = planned(&m, "f[3,2]", 64);
    m.values[view].u.tensor.dynamic = true;
    call(&m, "aten::relu", "out", 3, (int32_t[]){x, to, to});
    give(&m, view);
    refused(&m, "views of memory that vary in shape");
}

static void states_have_memory_of_their_own(void **state)
{
    (void)state;
    method m;
    double got[24];
    dlx_error err = {0};
    begin(&m); /* the first of two tensors is written, the second read: one state */
    int32_t a = planned(&m, "f[2,3]", 0), b = planned(&m, "f[6]", 0), x = value(&m, "x"), sum = value(&m, "f[2,3]");
    call(&m, "aten::add", "out", 5, (int32_t[]){a, x, value(&m, "1"), sum, sum});
    copy(&m, sum, a);
    give(&m, b);
    assert_int_equal(run(&m, got, 24, &err), 6);
    assert_true(got[5] == 4);
    begin(&m); /* a part of a state is another tensor */
    a = planned(&m, "f[2,3]", 0), b = planned(&m, "f[3]", 12);
    give(&m, a);
    refused(&m, "values 0 and 1 share memory that is kept between calls");
    begin(&m);
    a = planned(&m, "f[2,3]", 0);
    m.values[a].u.tensor.dynamic = true;
    give(&m, a);
    refused(&m, "value 0: a state cannot vary in shape");
    begin(&m); /* two states change places */
    a = planned(&m, "f[2,3]", 0), b = planned(&m, "f[2,3]", 64);
    int32_t held = value(&m, "f[2,3]");
    call(&m, "aten::clone", "out", 4, (int32_t[]){a, value(&m, "-"), held, held});
    copy(&m, b, a);
    copy(&m, held, b);
    refused(&m, "a state becomes what another one was");
    begin(&m);
    a = planned(&m, "f[1,1,1,1,1,2,3]", 0);
    give(&m, a);
    refused(&m, "rank 7 is above 6");
    begin(&m);
    a = planned(&m, "f[2]", 0);
    m.values[a].u.tensor.scalar_type = DLX_ST_DOUBLE;
    give(&m, a);
    refused(&m, "scalar type 7");
}

/* An update is made in place only where nobody reads the old tensor afterwards. */
static void updates_leave_what_is_read_later(void **state)
{
    (void)state;
    static const double zeros[6] = {0}, rows[6] = {1, 1.5, 4, -2, -0.5, 0};
    for (int way = 0; way < 4; way++) {
        method m;
        double got[24];
        dlx_error err = {0};
        begin(&m);
        int32_t x = value(&m, "x"), s = value(&m, way & 1 ? "x" : "s"), new = value(&m, "f[2,3]");
        int32_t places = value(&m, "{p}"), no = value(&m, "false"), one = value(&m, "1");
        if (way & 1) { /* a tensor of the call, not a state */
            s = value(&m, "f[2,3]");
            call(&m, "aten::sub", "out", 5, (int32_t[]){x, x, one, s, s});
        }
        call(&m, "aten::index_put", "out", 6, (int32_t[]){s, places, x, no, new, new});
        int32_t before = s;
        if (way & 2) { /* read by a node, not as an output */
            before = value(&m, "f[2,3]");
            call(&m, "aten::mul", "Scalar_out", 4, (int32_t[]){s, one, before, before});
        }
        if (way == 2) copy(&m, new, s);
        give(&m, before);
        give(&m, new);
        size_t n = run(&m, got, 24, &err);
        if (n != 12) fail_msg("%d: %s", way, err.message);
        for (int k = 0; k < 6; k++) assert_true(got[k] == zeros[k] && got[6 + k] == rows[k]);
    }
    method m; /* rows of a tensor put into itself */
    double got[24];
    dlx_error err = {0};
    begin(&m);
    int32_t x = value(&m, "x"), t = value(&m, "f[2,3]"), new = value(&m, "f[2,3]"), one = value(&m, "1");
    call(&m, "aten::mul", "Scalar_out", 4, (int32_t[]){x, one, t, t});
    call(&m, "aten::index_put", "out", 6, (int32_t[]){t, value(&m, "{p}"), t, value(&m, "false"), new, new});
    give(&m, new);
    assert_int_equal(run(&m, got, 24, &err), 6);
    for (int k = 0; k < 6; k++) assert_true(got[k] == rows[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_give_what_pytorch_gives), cmocka_unit_test(numbers_give_what_python_gives),
        cmocka_unit_test(what_is_not_supported_is_named),    cmocka_unit_test(values_move),
        cmocka_unit_test(tensors_at_one_place_are_one),      cmocka_unit_test(states_have_memory_of_their_own),
        cmocka_unit_test(updates_leave_what_is_read_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
