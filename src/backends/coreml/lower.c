/*
 * A part as a delegate of ExecuTorch's CoreMLBackend, and the names of its options.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "backends/coreml/package.h"
#include "base/digest.h"
#include "base/sizes.h"
#include "format/coreml.h"
#include "quant/forms.h"

/* The number is coremltools', which ExecuTorch's exporter writes down. */
static const struct {
    const char *name, *number;
} targets[DLX_COREML_TARGETS] = {
    [DLX_COREML_IOS16] = {"iOS16", "7"},
    [DLX_COREML_IOS17] = {"iOS17", "8"},
    [DLX_COREML_IOS18] = {"iOS18", "9"},
};
/* Of the runtime, and as names are matched; the first is the default. */
static const struct {
    const char *name, *words;
} units[] = {
    {"cpu_and_ne", "cpu-and-ne, cpu-and-ane"},
    {"cpu_only", "cpu-only"},
    {"cpu_and_gpu", "cpu-and-gpu"},
    {"all", "all"},
};

const char *dlx_coreml_target_name(dlx_coreml_target target)
{
    return (size_t)target < DLX_COREML_TARGETS ? targets[target].name : NULL;
}

bool dlx_coreml_target_find(const char *name, dlx_coreml_target *out)
{
    for (int i = 0; i < DLX_COREML_TARGETS; i++) {
        if (strcasecmp(name, targets[i].name) != 0) continue;
        *out = (dlx_coreml_target)i;
        return true;
    }
    return false;
}

const char *dlx_coreml_units_find(const char *name)
{
    for (size_t i = 0; i < DLX_COUNT(units); i++)
        if (dlx_word_in(units[i].words, name)) return units[i].name;
    return NULL;
}

static dlx_pte_spec spec(const char *key, const char *value)
{
    return (dlx_pte_spec){.key = key, .value = value, .size = (uint32_t)strlen(value)};
}

/*
 * Devices keep compiled models by identifier and never look at the rest again: it changes with the file, which the mark
 * is of, and differs between the parts of a file.
 */
static const char *identify(dlx_arena *arena, const char *prefix, const dlx_lowering *how, dlx_digest *of)
{
    char text[64];
    const char *mark = how->mark ? how->mark : "#0000000000000000";
    int n = snprintf(text, sizeof text, "%s" DLX_COREML_IDENTIFIER "%.16s_%016llx", prefix, mark + (*mark == '#'),
                     (unsigned long long)dlx_digest_end(of));
    return dlx_arena_strndup(arena, text, n < 0 ? 0 : strlen(text));
}

static const char *identifier(dlx_arena *arena, const dlx_part *part, const dlx_lowering *how,
                              const dlx_coreml_program *program)
{
    dlx_digest d = {0};
    if (how->method) dlx_digest_add(&d, how->method, strlen(how->method) + 1);
    dlx_digest_add(&d, part->nodes, part->n_nodes * sizeof *part->nodes);
    dlx_digest_add(&d, program->model, program->model_size);
    return identify(arena, "", how, &d);
}

/* Of the program that siblings are functions of: the same for each. Its identifier stands behind the prefix. */
static const char *shared_key(dlx_arena *arena, const dlx_lowering *how)
{
    dlx_digest d = {0};
    for (size_t i = 0; i < how->n_siblings; i++) {
        const dlx_sibling *s = &how->siblings[i];
        dlx_digest_add(&d, s->method, strlen(s->method) + 1);
        dlx_digest_add(&d, s->part->nodes, s->part->n_nodes * sizeof *s->part->nodes);
    }
    return identify(arena, DLX_COREML_KEY, how, &d);
}

dlx_status dlx_coreml_options_of(const dlx_coreml_options **out, const dlx_lowering *how, dlx_error *err)
{
    static const dlx_coreml_options defaults = {0};
    const dlx_coreml_options *o = how->options ? how->options : &defaults;
    if ((size_t)o->target >= DLX_COREML_TARGETS)
        return dlx_fail(err, DLX_E_INVALID, "CoreML has no target of number %d", (int)o->target);
    if (o->compute_units && !dlx_coreml_units_find(o->compute_units))
        return dlx_fail(err, DLX_E_INVALID,
                        "CoreML has no compute units '%s'; expected cpu_and_ne, cpu_only, cpu_and_gpu or all",
                        o->compute_units);
    *out = o;
    return DLX_OK;
}

static dlx_status put_specs(dlx_delegate *out, dlx_arena *arena, const dlx_part *part, const dlx_coreml_options *o,
                            dlx_error *err)
{
    enum { SPECS = 4 };
    dlx_pte_spec *specs = dlx_arena_array(arena, SPECS, sizeof *specs);
    if (!specs) return dlx_coreml_no_memory(err, part);
    specs[0] = spec("compute_units", o->compute_units ? dlx_coreml_units_find(o->compute_units) : units[0].name);
    specs[1] = spec("min_deployment_target", targets[o->target].number);
    specs[2] = spec("model_compute_precision", "float16");
    specs[3] = spec("model_type", "model");
    out->specs = specs;
    out->n_specs = SPECS;
    return DLX_OK;
}

static dlx_status put_arguments(dlx_delegate *out, dlx_arena *arena, const dlx_part *part, const dlx_coreml_features *f,
                                dlx_error *err)
{
    uint32_t *args = dlx_arena_array(arena, f->n_in + f->n_out + 1, sizeof *args);
    if (!args) return dlx_coreml_no_memory(err, part);
    for (size_t i = 0; i < f->n_in; i++) args[i] = f->in[i].value;
    for (size_t i = 0; i < f->n_out; i++) args[f->n_in + i] = f->out[i].value;
    out->args = args;
    out->n_args = (uint32_t)(f->n_in + f->n_out);
    return DLX_OK;
}

/* All siblings as functions of one program, which the first one's delegate brings along. */
static dlx_status put_shared(dlx_delegate *out, dlx_arena *arena, const dlx_lowering *how, const char *key,
                             const char *id, const dlx_coreml_options *o, dlx_error *err)
{
    dlx_coreml_program program;
    dlx_pte_piece *pieces;
    uint32_t n_pieces;
    const dlx_part *first = how->siblings->part;
    dlx_coreml_function *functions = dlx_arena_array(arena, how->n_siblings, sizeof *functions);
    if (!functions) return dlx_coreml_no_memory(err, first);
    for (size_t i = 0; i < how->n_siblings; i++)
        functions[i] = (dlx_coreml_function){.name = how->siblings[i].method, .part = how->siblings[i].part};
    DLX_TRY(dlx_coreml_compile(&program, arena, functions, how->n_siblings, o, err));
    DLX_TRY(dlx_coreml_payload(&pieces, &n_pieces, arena, first, &program, id, err));
    out->data = (dlx_named_data){.key = key, .pieces = pieces, .n_pieces = n_pieces};
    return DLX_OK;
}

static dlx_status lower_shared(dlx_delegate *out, dlx_arena *arena, const dlx_part *part, const dlx_lowering *how,
                               const dlx_coreml_options *o, dlx_error *err)
{
    dlx_coreml_program program;
    dlx_coreml_function own = {.name = how->method, .part = part};
    dlx_pte_piece *reference = dlx_arena_alloc(arena, sizeof *reference);
    const char *key = shared_key(arena, how), *id = key ? key + strlen(DLX_COREML_KEY) : NULL;
    if (!reference || !key) return dlx_coreml_no_memory(err, part);
    DLX_TRY(dlx_coreml_compile(&program, arena, &own, 1, o, err)); /* for what goes in and out */
    DLX_TRY(put_arguments(out, arena, part, &own.features, err));
    DLX_TRY(dlx_coreml_reference(reference, arena, part, key, how->method, err));
    out->pieces = reference;
    out->n_pieces = 1;
    return how->siblings->part == part ? put_shared(out, arena, how, key, id, o, err) : DLX_OK;
}

static dlx_status lower_alone(dlx_delegate *out, dlx_arena *arena, const dlx_part *part, const dlx_lowering *how,
                              const dlx_coreml_options *o, dlx_error *err)
{
    dlx_coreml_program program;
    dlx_coreml_function function = {.name = dlx_coreml_main, .part = part};
    dlx_pte_piece *pieces;
    DLX_TRY(dlx_coreml_compile(&program, arena, &function, 1, o, err));
    DLX_TRY(put_arguments(out, arena, part, &function.features, err));
    const char *id = identifier(arena, part, how, &program);
    if (!id) return dlx_coreml_no_memory(err, part);
    DLX_TRY(dlx_coreml_payload(&pieces, &out->n_pieces, arena, part, &program, id, err));
    out->pieces = pieces;
    return DLX_OK;
}

static dlx_status lower(dlx_delegate *out, dlx_arena *arena, const dlx_part *part, const dlx_lowering *how,
                        dlx_error *err)
{
    const dlx_coreml_options *o;
    DLX_TRY(dlx_coreml_options_of(&o, how, err));
    DLX_TRY(put_specs(out, arena, part, o, err));
    if (how->n_siblings > 1 && o->target == DLX_COREML_IOS18) return lower_shared(out, arena, part, how, o, err);
    return lower_alone(out, arena, part, how, o, err);
}

dlx_status dlx_coreml_lower_part(dlx_delegate *out, dlx_arena *arena, const dlx_part *part, const dlx_lowering *how,
                                 dlx_error *err)
{
    *out = (dlx_delegate){.id = "CoreMLBackend"};
    dlx_status s = lower(out, arena, part, how, err);
    if (s != DLX_OK) *out = (dlx_delegate){0};
    return s;
}

const dlx_home dlx_coreml_home = {.name = "CoreML", .takes = dlx_coreml_takes, .lower_part = dlx_coreml_lower_part};
