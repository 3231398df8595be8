#include "format/facts.h"

#include <stddef.h>
#include <string.h>

#include "base/sizes.h"

/* Facts that are one integer, with the range a file may claim. */
static const struct {
    const char *method;
    size_t offset;
    int64_t min, max;
} numbers[] = {
    {"get_vocab_size", offsetof(dlx_model_facts, vocab_size), 0, 1 << 24},
    {"get_max_context_len", offsetof(dlx_model_facts, max_context), 0, 1 << 24},
    {"get_max_seq_len", offsetof(dlx_model_facts, max_rows), 0, 1 << 24},
    {"get_mask_id", offsetof(dlx_model_facts, mask_id), -1, 1 << 24},
    {"get_attention_block", offsetof(dlx_model_facts, attn_block), 0, 1 << 24},
    {"get_logits_shift", offsetof(dlx_model_facts, logits_shift), 0, 1},
    {"get_block_length", offsetof(dlx_model_facts, block_length), 0, 1 << 24},
    {"get_small_block_size", offsetof(dlx_model_facts, small_block_size), 0, 1 << 24},
    {"get_bos_id", offsetof(dlx_model_facts, bos_id), -1, 1 << 24},
    {"get_eos_id", offsetof(dlx_model_facts, eos_id), -1, 1 << 24},
    {"get_pad_id", offsetof(dlx_model_facts, pad_id), -1, 1 << 24},
    {"get_token_count", offsetof(dlx_model_facts, num_tokens), 0, 1 << 24},
};

static int32_t *field(dlx_model_facts *facts, size_t i)
{
    return (int32_t *)(void *)((char *)facts + numbers[i].offset);
}

/* A constant method: n values, all of them outputs, nothing to run. */
static bool constant_method(dlx_pte_plan *plan, dlx_arena *arena, const char *name, const dlx_evalue *values,
                            uint32_t n)
{
    dlx_evalue *copy = dlx_arena_array(arena, n + 1, sizeof *copy);
    int32_t *outputs = dlx_arena_array(arena, n + 1, sizeof *outputs);
    int64_t *sizes = dlx_arena_array(arena, 1, sizeof *sizes);
    if (!copy || !outputs || !sizes) return false;
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = values[i];
        outputs[i] = (int32_t)i;
    }
    *plan = (dlx_pte_plan){.name = name,
                           .values = copy,
                           .n_values = n,
                           .outputs = outputs,
                           .n_outputs = n,
                           .buffer_sizes = sizes,
                           .n_buffer_sizes = 1};
    return true;
}

static dlx_evalue text_value(const char *s)
{
    return (dlx_evalue){.kind = DLX_EV_STRING, .u.s = {.text = s, .length = (uint32_t)strlen(s)}};
}

/* Of files whose cache is not layout A's; the last two are what ExecuTorch's LLM runner asks. */
static bool kv_methods(dlx_pte_plan *p, uint32_t *n, dlx_arena *arena, const char *kv)
{
    dlx_evalue form = text_value(kv), yes = {.kind = DLX_EV_BOOL, .u.b = true}, no = {.kind = DLX_EV_BOOL};
    if (!constant_method(&p[(*n)++], arena, "get_kv_form", &form, 1)) return false;
    if (strcmp(kv, "state") != 0) return true;
    return constant_method(&p[(*n)++], arena, "use_kv_cache", &yes, 1) &&
           constant_method(&p[(*n)++], arena, "use_sdpa_with_kv_cache", &no, 1);
}

dlx_status dlx_facts_write(dlx_pte_plan **plans, uint32_t *n_plans, dlx_arena *arena, const dlx_model_facts *facts,
                           const char *quantization, const char *kv, dlx_error *err)
{
    uint32_t n = 0;
    dlx_pte_plan *p = dlx_arena_array(arena, DLX_COUNT(numbers) + 9, sizeof *p);
    bool ok = p != NULL;
    dlx_evalue v = {.kind = DLX_EV_INT};
    *plans = NULL;
    *n_plans = 0;
    for (size_t i = 0; ok && i < DLX_COUNT(numbers); i++) {
        dlx_model_facts copy = *facts;
        v.u.i = *field(&copy, i);
        ok = constant_method(&p[n++], arena, numbers[i].method, &v, 1);
    }
    dlx_evalue stops[DLX_MAX_STOP_IDS];
    for (int32_t i = 0; i < facts->num_stop_ids; i++)
        stops[i] = (dlx_evalue){.kind = DLX_EV_INT, .u.i = facts->stop_ids[i]};
    ok = ok && constant_method(&p[n++], arena, "get_eos_ids", stops, (uint32_t)facts->num_stop_ids);
    v = text_value(dlx_family_name(facts->family));
    ok = ok && constant_method(&p[n++], arena, "get_model_family", &v, 1);
    v = text_value(quantization);
    ok = ok && constant_method(&p[n++], arena, "get_quantization", &v, 1);
    v = (dlx_evalue){.kind = DLX_EV_INT, .u.i = facts->rounded_bits};
    ok = ok && constant_method(&p[n++], arena, "get_rounded_bits", &v, 1);
    v = (dlx_evalue){.kind = DLX_EV_INT, .u.i = DLX_FORMAT_VERSION};
    ok = ok && constant_method(&p[n++], arena, "get_format_version", &v, 1);
    v = (dlx_evalue){.kind = DLX_EV_BOOL, .u.b = !strcmp(kv, "caller") || !strcmp(kv, "state")};
    ok = ok && constant_method(&p[n++], arena, "enable_dynamic_shape", &v, 1);
    ok = ok && (!strcmp(kv, "caller") || kv_methods(p, &n, arena, kv));
    if (!ok) return dlx_fail(err, DLX_E_NOMEM, "out of memory describing the model");
    *plans = p;
    *n_plans = n;
    return DLX_OK;
}

dlx_status dlx_facts_write_methods(dlx_pte_plan plans[DLX_METHOD_FACTS], dlx_arena *arena, const char *const *names,
                                   const int32_t *rows, uint32_t n, dlx_error *err)
{
    dlx_evalue *v = dlx_arena_array(arena, 2 * (size_t)n, sizeof *v);
    bool ok = v != NULL;
    for (uint32_t i = 0; ok && i < n; i++) {
        v[i] = text_value(names[i]);
        v[n + i] = (dlx_evalue){.kind = DLX_EV_INT, .u.i = rows[i]};
    }
    ok = ok && constant_method(&plans[0], arena, "get_methods", v, n);
    ok = ok && constant_method(&plans[1], arena, "get_methods_max_seq_len", v + n, n);
    return ok ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory describing the methods");
}

static const char *constant_text(const dlx_pte *pte, const char *method)
{
    const dlx_evalue *v = dlx_pte_constant(pte, method, 0);
    return v && v->kind == DLX_EV_STRING ? v->u.s.text : "";
}

bool dlx_facts_are_ours(const dlx_pte *pte)
{
    return dlx_pte_constant_int(pte, "get_format_version", 0) > 0;
}

const char *dlx_facts_quantization(const dlx_pte *pte)
{
    return constant_text(pte, "get_quantization");
}

const char *dlx_facts_kv_form(const dlx_pte *pte)
{
    return constant_text(pte, "get_kv_form");
}

bool dlx_facts_kv_fixed(const dlx_pte *pte, dlx_fixed_form *out)
{
    static const struct {
        const char *name;
        dlx_fixed_form form;
    } forms[] = {{"fixed", {false, false}}, {"fixed-fp16", {.halves = true}}, {"fixed-state", {true, .inside = true}}};
    const char *form = dlx_facts_kv_form(pte);
    for (size_t i = 0; i < DLX_COUNT(forms); i++) {
        if (strcmp(form, forms[i].name) != 0) continue;
        *out = forms[i].form;
        return true;
    }
    return false;
}

uint32_t dlx_facts_methods(const dlx_pte *pte)
{
    uint32_t n = 0;
    while (dlx_pte_constant(pte, "get_methods", n)) n++;
    return n ? n : 1;
}

const char *dlx_facts_method(const dlx_pte *pte, uint32_t i)
{
    const dlx_evalue *v = dlx_pte_constant(pte, "get_methods", i);
    if (!v) return i ? NULL : "forward";
    return v->kind == DLX_EV_STRING ? v->u.s.text : NULL;
}

static dlx_status read_stop_ids(dlx_model_facts *facts, const dlx_pte *pte, dlx_error *err)
{
    const dlx_evalue *v;
    for (uint32_t i = 0; (v = dlx_pte_constant(pte, "get_eos_ids", i)) != NULL; i++) {
        if (v->kind != DLX_EV_INT || v->u.i < 0 || v->u.i >= 1 << 24)
            return dlx_fail(err, DLX_E_FORMAT, "metadata get_eos_ids: entry %u is not a token id", i);
        if (i >= DLX_MAX_STOP_IDS)
            return dlx_fail(err, DLX_E_LIMIT, "metadata get_eos_ids: more than %d stop ids", DLX_MAX_STOP_IDS);
        facts->stop_ids[facts->num_stop_ids++] = (int32_t)v->u.i;
    }
    return DLX_OK;
}

dlx_status dlx_facts_read(dlx_model_facts *facts, const dlx_pte *pte, dlx_error *err)
{
    memset(facts, 0, sizeof *facts);
    facts->struct_size = sizeof *facts;
    for (size_t i = 0; i < DLX_COUNT(numbers); i++) {
        int64_t dflt = numbers[i].min < 0 ? -1 : 0, v = dlx_pte_constant_int(pte, numbers[i].method, dflt);
        if (v < numbers[i].min || v > numbers[i].max)
            return dlx_fail(err, DLX_E_FORMAT, "metadata %s is %lld; expected %lld to %lld", numbers[i].method,
                            (long long)v, (long long)numbers[i].min, (long long)numbers[i].max);
        *field(facts, i) = (int32_t)v;
    }
    int64_t version = dlx_pte_constant_int(pte, "get_format_version", 0);
    if (version < 0 || version > DLX_FORMAT_VERSION)
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "the file has format version %lld, this build reads up to %d: update diffulex-edge, or export again",
            (long long)version, DLX_FORMAT_VERSION);
    facts->family = dlx_family_from_name(constant_text(pte, "get_model_family"));
    facts->rounded_bits = dlx_pte_constant_int(pte, "get_rounded_bits", 0);
    if (facts->rounded_bits < 0 || facts->rounded_bits > 32)
        return dlx_fail(err, DLX_E_FORMAT, "metadata get_rounded_bits is %lld; expected 0 to 32",
                        (long long)facts->rounded_bits);
    return read_stop_ids(facts, pte, err);
}
