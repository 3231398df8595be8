/*
 * A part as a delegate of ExecuTorch's CoreMLBackend, and the names of its options.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "backends/coreml/package.h"
#include "base/digest.h"
#include "base/sizes.h"

/* The number is coremltools', which ExecuTorch's exporter writes down. */
static const struct {
    const char *name, *number;
} targets[DLX_COREML_TARGETS] = {
    [DLX_COREML_IOS16] = {"iOS16", "7"},
    [DLX_COREML_IOS17] = {"iOS17", "8"},
    [DLX_COREML_IOS18] = {"iOS18", "9"},
};
static const char *const units[] = {"cpu_and_ne", "cpu_only", "cpu_and_gpu", "all"};

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

bool dlx_coreml_units_ok(const char *name)
{
    for (size_t i = 0; i < DLX_COUNT(units); i++)
        if (!strcmp(name, units[i])) return true;
    return false;
}

static dlx_pte_spec spec(const char *key, const char *value)
{
    return (dlx_pte_spec){.key = key, .value = value, .size = (uint32_t)strlen(value)};
}

/*
 * Devices keep compiled models by identifier and never look at the rest again: it changes with the file, which the mark
 * is of, and differs between the parts of a file.
 */
static const char *identifier(dlx_arena *arena, const dlx_part *part, const dlx_lowering *how,
                              const dlx_coreml_program *program)
{
    dlx_digest d = {0};
    char text[64];
    const char *mark = how->mark ? how->mark : "#0000000000000000";
    if (how->method) dlx_digest_add(&d, how->method, strlen(how->method) + 1);
    dlx_digest_add(&d, part->nodes, part->n_nodes * sizeof *part->nodes);
    dlx_digest_add(&d, program->model, program->model_size);
    int n = snprintf(text, sizeof text, "executorch_%.16s_%016llx", mark + (*mark == '#'),
                     (unsigned long long)dlx_digest_end(&d));
    return dlx_arena_strndup(arena, text, n < 0 ? 0 : strlen(text));
}

dlx_status dlx_coreml_options_of(const dlx_coreml_options **out, const dlx_lowering *how, dlx_error *err)
{
    static const dlx_coreml_options defaults = {0};
    const dlx_coreml_options *o = how->options ? how->options : &defaults;
    if ((size_t)o->target >= DLX_COREML_TARGETS)
        return dlx_fail(err, DLX_E_INVALID, "CoreML has no target of number %d", (int)o->target);
    if (o->compute_units && !dlx_coreml_units_ok(o->compute_units))
        return dlx_fail(err, DLX_E_INVALID,
                        "CoreML has no compute units '%s'; expected cpu_and_ne, cpu_only, cpu_and_gpu or all",
                        o->compute_units);
    *out = o;
    return DLX_OK;
}

dlx_status dlx_coreml_lower_part(dlx_delegate *out, dlx_arena *arena, const dlx_part *part, const dlx_lowering *how,
                                 dlx_error *err)
{
    const dlx_coreml_options *o;
    dlx_coreml_program program;
    enum { SPECS = 4 };
    *out = (dlx_delegate){0};
    DLX_TRY(dlx_coreml_options_of(&o, how, err));
    DLX_TRY(dlx_coreml_compile(&program, arena, part, o, err));
    const dlx_coreml_features *f = &program.features;
    uint32_t n_args = (uint32_t)(f->n_in + f->n_out), n_pieces;
    dlx_pte_piece *pieces;
    dlx_pte_spec *specs = dlx_arena_array(arena, SPECS, sizeof *specs);
    uint32_t *args = dlx_arena_array(arena, (size_t)n_args + 1, sizeof *args);
    const char *id = identifier(arena, part, how, &program);
    if (!specs || !args || !id) return dlx_coreml_no_memory(err, part);
    DLX_TRY(dlx_coreml_payload(&pieces, &n_pieces, arena, part, &program, id, err));
    specs[0] = spec("compute_units", o->compute_units ? o->compute_units : units[0]);
    specs[1] = spec("min_deployment_target", targets[o->target].number);
    specs[2] = spec("model_compute_precision", "float16");
    specs[3] = spec("model_type", "model");
    for (size_t i = 0; i < f->n_in; i++) args[i] = f->in[i].value;
    for (size_t i = 0; i < f->n_out; i++) args[f->n_in + i] = f->out[i].value;
    *out = (dlx_delegate){.id = "CoreMLBackend",
                          .specs = specs,
                          .n_specs = SPECS,
                          .pieces = pieces,
                          .n_pieces = n_pieces,
                          .args = args,
                          .n_args = n_args};
    return DLX_OK;
}

const dlx_home dlx_coreml_home = {.name = "CoreML", .takes = dlx_coreml_takes, .lower_part = dlx_coreml_lower_part};
