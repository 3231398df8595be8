#include "model/rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/json/json_file.h"

#define PI 3.14159265358979323846

/* ---- configuration ---------------------------------------------------------------------------------------------- */

typedef struct rope_object {
    const dlx_config_files *f;
    const char *key; /* "rope_parameters" or "rope_scaling" */
    const json_t *object;
    dlx_error *err;
} rope_object;

static dlx_status bad(const rope_object *r, const char *member, const json_t *value, const char *expected)
{
    return dlx_fail(r->err, DLX_E_FORMAT, "'%s/config.json': key '%s.%s' is %s; expected %s", r->f->folder, r->key,
                    member, dlx_config_found(value).s, expected);
}

/* A number of the object; `otherwise` where it is absent or null, unless that is NAN: then it is required. */
static dlx_status number(const rope_object *r, const char *member, double lo, double hi, double otherwise, double *out)
{
    const json_t *value = json_object_get(r->object, member);
    char expected[64];
    *out = otherwise;
    if (dlx_json_absent(value) && !isnan(otherwise)) return DLX_OK;
    *out = json_number_value(value);
    if (json_is_number(value) && *out >= lo && *out <= hi) return DLX_OK;
    if (lo < hi)
        snprintf(expected, sizeof expected, "a number from %g to %g", lo, hi);
    else
        snprintf(expected, sizeof expected, "%g", lo);
    return bad(r, member, value, expected);
}

static double yarn_scale(double factor, double by)
{
    return factor <= 1 ? 1 : 0.1 * by * log(factor) + 1;
}

static dlx_status read_yarn(dlx_rope_scaling *s, const rope_object *r, int32_t max_positions)
{
    double by, by_all;
    const json_t *truncate = json_object_get(r->object, "truncate");
    if (json_is_null(json_object_get(r->object, "factor")))
        s->factor = max_positions / s->original;
    else
        DLX_TRY(number(r, "factor", 1, 1e6, (double)NAN, &s->factor));
    DLX_TRY(number(r, "beta_fast", 1e-6, 1e6, 32, &s->fast));
    DLX_TRY(number(r, "beta_slow", 1e-6, 1e6, 1, &s->slow));
    DLX_TRY(number(r, "mscale", 0, 1e3, 0, &by));
    DLX_TRY(number(r, "mscale_all_dim", 0, 1e3, 0, &by_all));
    double implied =
        by > 0 && by_all > 0 ? yarn_scale(s->factor, by) / yarn_scale(s->factor, by_all) : yarn_scale(s->factor, 1);
    DLX_TRY(number(r, "attention_factor", 1e-6, 1e3, implied, &s->attention_factor));
    if (truncate && !json_is_boolean(truncate)) return bad(r, "truncate", truncate, "true or false");
    s->truncate = !truncate || json_is_true(truncate);
    return DLX_OK;
}

static dlx_status read_llama3(dlx_rope_scaling *s, const rope_object *r)
{
    DLX_TRY(number(r, "factor", 1, 1e6, (double)NAN, &s->factor));
    DLX_TRY(number(r, "low_freq_factor", 1e-6, 1e6, (double)NAN, &s->low));
    DLX_TRY(number(r, "high_freq_factor", 1e-6, 1e6, (double)NAN, &s->high));
    if (s->high > s->low) return DLX_OK;
    return bad(r, "high_freq_factor", json_object_get(r->object, "high_freq_factor"), "more than low_freq_factor");
}

/* The positions of pretraining: beside the object, in it, or as many as there are. */
static dlx_status read_original(dlx_rope_scaling *s, const rope_object *r, int32_t max_positions)
{
    int32_t beside = max_positions;
    DLX_TRY(dlx_config_int_if(r->f, "original_max_position_embeddings", 1, 1 << 24, &beside, r->err));
    bool has_beside = dlx_config_value(r->f, "original_max_position_embeddings") != NULL;
    DLX_TRY(number(r, "original_max_position_embeddings", 1, 1 << 24, beside, &s->original));
    if (has_beside) s->original = beside;
    return DLX_OK;
}

static dlx_status read_scaling(dlx_rope_scaling *s, const rope_object *r, int32_t max_positions)
{
    const json_t *type = json_object_get(r->object, "rope_type");
    if (dlx_json_absent(type)) type = json_object_get(r->object, "type");
    const char *name = json_string_value(type);
    double partial;
    DLX_TRY(number(r, "partial_rotary_factor", 1, 1, 1, &partial));
    if (!name && dlx_json_absent(type) && !json_object_get(r->object, "factor")) name = "default";
    if (name && !strcmp(name, "default")) return DLX_OK;
    DLX_TRY(read_original(s, r, max_positions));
    if (name && !strcmp(name, "dynamic")) return number(r, "factor", 1, 1e6, (double)NAN, &s->factor);
    if (name && !strcmp(name, "linear")) {
        s->kind = DLX_ROPE_LINEAR;
        return number(r, "factor", 1, 1e6, (double)NAN, &s->factor);
    }
    if (name && !strcmp(name, "llama3")) {
        s->kind = DLX_ROPE_LLAMA3;
        return read_llama3(s, r);
    }
    if (name && !strcmp(name, "yarn")) {
        s->kind = DLX_ROPE_YARN;
        return read_yarn(s, r, max_positions);
    }
    return dlx_fail(r->err, DLX_E_UNSUPPORTED,
                    "'%s/config.json': key '%s' has type %s; only default, linear, dynamic, llama3 and yarn are "
                    "supported",
                    r->f->folder, r->key, dlx_config_found(type).s);
}

/* The object under `key`, or the one for full attention where it is by kind of layer; NULL where there is none. */
static dlx_status find_object(rope_object *r, const char *key)
{
    r->key = key;
    r->object = dlx_config_value(r->f, key);
    if (r->object && !json_is_object(r->object))
        return dlx_fail(r->err, DLX_E_UNSUPPORTED,
                        "'%s/config.json': key '%s' is %s; only null and an object are "
                        "supported",
                        r->f->folder, key, dlx_config_found(r->object).s);
    const json_t *full = json_object_get(r->object, "full_attention");
    if (json_is_object(full)) r->object = full;
    if (!json_object_size(r->object)) r->object = NULL;
    return DLX_OK;
}

dlx_status dlx_rope_read(double *theta, dlx_rope_scaling *scaling, const dlx_config_files *f, int32_t max_positions,
                         dlx_error *err)
{
    rope_object older = {.f = f, .err = err}, newer = older;
    memset(scaling, 0, sizeof *scaling);
    DLX_TRY(find_object(&older, "rope_scaling"));
    DLX_TRY(find_object(&newer, "rope_parameters"));
    if (older.object && newer.object && !json_equal(older.object, newer.object))
        return dlx_fail(err, DLX_E_FORMAT,
                        "'%s/config.json': keys 'rope_scaling' and 'rope_parameters' say different things; remove the "
                        "one that is wrong",
                        f->folder);
    const rope_object *r = newer.object ? &newer : &older;
    const json_t *inner = json_object_get(r->object, "rope_theta");
    if (!dlx_json_absent(inner))
        DLX_TRY(number(r, "rope_theta", 1, 1e12, (double)NAN, theta));
    else
        DLX_TRY(dlx_config_real(f, "rope_theta", 1, 1e12, theta, err));
    return r->object ? read_scaling(scaling, r, max_positions) : DLX_OK;
}

/* ---- tables ----------------------------------------------------------------------------------------------------- */

/* NTK by parts, as Llama 3.1: long waves are stretched, short ones stay, between them it goes over smoothly. */
static float llama3(const dlx_rope_scaling *s, float frequency)
{
    float wave = 1.0f / frequency * (float)(2 * PI), original = (float)s->original;
    if (wave > (float)(s->original / s->low)) return frequency / (float)s->factor;
    if (wave < (float)(s->original / s->high)) return frequency;
    float smooth = (1.0f / wave * original - (float)s->low) / (float)(s->high - s->low);
    return (1.0f - smooth) * frequency / (float)s->factor + smooth * frequency;
}

/* The dimension whose wave turns that many times over the original positions. */
static double yarn_dimension(double turns, int32_t d, double theta, double positions)
{
    return d * log(positions / (turns * 2 * PI)) / (2 * log(theta));
}

/* YaRN: dimensions that turn often keep their frequency, those that turn less than once are stretched. */
static float yarn(const dlx_rope_scaling *s, double theta, int32_t d, int32_t j, float power)
{
    double low = yarn_dimension(s->fast, d, theta, s->original), high = yarn_dimension(s->slow, d, theta, s->original);
    if (s->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = low > 0 ? low : 0;
    high = high < d - 1 ? high : d - 1;
    if (low == high) high += 0.001;
    float ramp = ((float)j - (float)low) / (float)(high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    float kept = 1.0f - ramp;
    return 1.0f / ((float)s->factor * power) * (1.0f - kept) + 1.0f / power * kept;
}

static float frequency_of(double theta, const dlx_rope_scaling *s, int32_t d, int32_t j)
{
    float power = (float)pow((float)theta, (float)(2 * j) / (float)d), frequency = 1.0f / power;
    switch (s ? s->kind : DLX_ROPE_DEFAULT) {
    case DLX_ROPE_LINEAR: return frequency / (float)s->factor;
    case DLX_ROPE_LLAMA3: return llama3(s, frequency);
    case DLX_ROPE_YARN: return yarn(s, theta, d, j, power);
    case DLX_ROPE_DEFAULT: break;
    }
    return frequency;
}

void dlx_rope_tables(float *cosines, float *sines, double theta, const dlx_rope_scaling *scaling, int32_t head_dim,
                     int32_t positions)
{
    size_t d = (size_t)head_dim, half = d / 2;
    float scale = scaling && scaling->kind == DLX_ROPE_YARN ? (float)scaling->attention_factor : 1.0f;
    for (size_t j = 0; j < half; j++) {
        float frequency = frequency_of(theta, scaling, head_dim, (int32_t)j);
        for (size_t p = 0; p < (size_t)positions; p++) {
            float angle = (float)p * frequency;
            float cosine = (float)cos((double)angle) * scale, sine = (float)sin((double)angle) * scale;
            cosines[p * d + j] = cosines[p * d + j + half] = cosine;
            sines[p * d + j] = -sine;
            sines[p * d + j + half] = sine;
        }
    }
}
