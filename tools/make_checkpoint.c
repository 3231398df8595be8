/*
 * Writes a checkpoint folder with random weights: any of the four families, in the published layout, at any size. For
 * measuring what only a model of full size shows, without its weights.
 *
 * Weights are drawn from a table of 65,536 normal numbers, which costs less than writing them, by a generator that
 * begins anew for every tensor name; so a tensor does not depend on its neighbours, nor on the sharding.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "make_checkpoint.h"

#include "base/arena.h"
#include "base/half.h"
#include "base/io.h"
#include "base/sizes.h"
#include "base/status.h"
#include "format/safetensors.h"

enum { TABLE = 65536, CHUNK = 1 << 20, COPY_LIMIT = 1 << 28 };

static const char usage[] =
    "usage: make_checkpoint --family llada|dream|sdar|fast_dllm_v2 [options] OUTPUT_FOLDER\n"
    "\n"
    "Writes a checkpoint with random weights in the published layout.\n"
    "\n"
    "  --size NAME          published (default), tiny; llada: 8b; dream: 7b; sdar: 4b 1.7b 8b; fast_dllm_v2: 1.5b 7b\n"
    "  --layers N  --hidden N  --heads N  --kv-heads N  --head-dim N  --intermediate N  --vocab N  --positions N\n"
    "  --block N  --tied 0|1\n"
    "                       change one number of that size\n"
    "  --mask-id N  --bos-id N  --eos-id N  --turn-id N\n"
    "                       token ids; those outside the vocabulary move to its end\n"
    "  --dtype bf16|f16|f32 of the weights (default bf16)\n"
    "  --seed N             of the weights (default 1)\n"
    "  --shard-bytes N      of one file at most (default 5000000000)\n"
    "  --weights random|zero  zero: holes in the files, which take no space on the disk; for what a shape costs\n"
    "  --tokenizer FOLDER   copy the tokenizer files from there; without it the checkpoint works with token ids only\n";

typedef struct maker {
    shape s;
    dlx_dtype dtype;
    uint64_t seed, shard_bytes;
    bool zero; /* all weights */
    const char *tokenizer, *output;
    char *folder; /* where files are written until all are there */
    dlx_arena arena;
    dlx_st_tensor *tensors;
    size_t *end_of_shard; /* index behind the last tensor of each */
    size_t n, n_shards;
    uint64_t bytes;
    uint8_t *table[2]; /* [TABLE] elements around 0, and around 1 */
    uint8_t *chunk;
} maker;

/* ---- arguments ---- */

static dlx_status number(const char *flag, const char *text, uint64_t lo, uint64_t hi, uint64_t *out, dlx_error *err)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || v < lo || v > hi)
        return dlx_fail(err, DLX_E_INVALID, "%s needs a number from %llu to %llu, not '%s'", flag,
                        (unsigned long long)lo, (unsigned long long)hi, text);
    *out = v;
    return DLX_OK;
}

static dlx_status shape_option(maker *m, const char *flag, const char *text, bool *known, dlx_error *err)
{
    shape *s = &m->s;
    const struct {
        const char *flag;
        int *value, lo, hi;
    } options[] = {
        {"--layers", &s->layers, 1, 1000},        {"--hidden", &s->hidden, 1, 1 << 20},
        {"--heads", &s->heads, 1, 1 << 12},       {"--kv-heads", &s->kv_heads, 1, 1 << 12},
        {"--head-dim", &s->head_dim, 2, 1 << 12}, {"--intermediate", &s->intermediate, 1, 1 << 20},
        {"--vocab", &s->vocab, 8, 1 << 24},       {"--positions", &s->positions, 1, 1 << 24},
        {"--block", &s->block, 1, 1 << 16},       {"--mask-id", &s->mask_id, 0, INT_MAX},
        {"--bos-id", &s->bos_id, 0, INT_MAX},     {"--eos-id", &s->eos_id, 0, INT_MAX},
        {"--turn-id", &s->turn_id, 0, INT_MAX},
    };
    uint64_t v;
    *known = true;
    for (size_t i = 0; i < DLX_COUNT(options); i++) {
        if (strcmp(flag, options[i].flag) != 0) continue;
        DLX_TRY(number(flag, text, (uint64_t)options[i].lo, (uint64_t)options[i].hi, &v, err));
        *options[i].value = (int)v;
        return DLX_OK;
    }
    *known = !strcmp(flag, "--tied");
    if (!*known) return DLX_OK;
    DLX_TRY(number(flag, text, 0, 1, &v, err));
    s->tied = v;
    return DLX_OK;
}

static dlx_status other_option(maker *m, const char *flag, const char *text, dlx_error *err)
{
    static const struct {
        const char *name;
        dlx_dtype dtype;
    } types[] = {{"bf16", DLX_BF16}, {"f16", DLX_F16}, {"f32", DLX_F32}};
    if (!strcmp(flag, "--seed")) return number(flag, text, 0, UINT64_MAX, &m->seed, err);
    if (!strcmp(flag, "--shard-bytes")) return number(flag, text, 1, UINT64_MAX / 2, &m->shard_bytes, err);
    if (!strcmp(flag, "--weights")) {
        m->zero = !strcmp(text, "zero");
        return m->zero || !strcmp(text, "random")
                   ? DLX_OK
                   : dlx_fail(err, DLX_E_INVALID, "--weights is random or zero, not '%s'", text);
    }
    if (!strcmp(flag, "--tokenizer")) {
        m->tokenizer = text;
        return DLX_OK;
    }
    if (strcmp(flag, "--dtype") != 0)
        return dlx_fail(err, DLX_E_INVALID, "unknown option '%s'; --help lists them", flag);
    for (size_t i = 0; i < DLX_COUNT(types); i++)
        if (!strcmp(text, types[i].name)) {
            m->dtype = types[i].dtype;
            return DLX_OK;
        }
    return dlx_fail(err, DLX_E_INVALID, "--dtype is bf16, f16 or f32, not '%s'", text);
}

/* Family and size come first, wherever they stand: the other options change them. */
static dlx_status choose_size(maker *m, int argc, char **argv, dlx_error *err)
{
    const char *family_name = NULL, *size = "published";
    for (int i = 1; i + 1 < argc; i++) {
        if (!strcmp(argv[i], "--family")) family_name = argv[i + 1];
        if (!strcmp(argv[i], "--size")) size = argv[i + 1];
    }
    if (!family_name) return dlx_fail(err, DLX_E_INVALID, "--family is missing; --help lists the options");
    for (int f = 0; f < FAMILIES; f++) {
        if (strcmp(family_name, family_names[f]) != 0) continue;
        const shape *s = find_shape((family)f, size);
        if (!s) return dlx_fail(err, DLX_E_INVALID, "family %s has no size '%s'; --help lists them", family_name, size);
        m->s = *s;
        return DLX_OK;
    }
    return dlx_fail(err, DLX_E_INVALID, "family '%s' is none of llada, dream, sdar, fast_dllm_v2", family_name);
}

static dlx_status check_shape(maker *m, dlx_error *err)
{
    shape *s = &m->s;
    int *ids[] = {&s->mask_id, &s->bos_id, &s->eos_id, &s->turn_id};
    if (s->heads % s->kv_heads)
        return dlx_fail(err, DLX_E_INVALID, "%d heads cannot share %d key-value heads evenly", s->heads, s->kv_heads);
    if (s->family != SDAR) { /* the others have no key for it */
        if (s->hidden % s->heads)
            return dlx_fail(err, DLX_E_INVALID, "hidden size %d is no multiple of %d heads", s->hidden, s->heads);
        s->head_dim = s->hidden / s->heads;
    }
    if (s->head_dim % 2) return dlx_fail(err, DLX_E_INVALID, "head size %d is odd; RoPE turns pairs", s->head_dim);
    for (int i = 0; i < 4; i++)
        if (*ids[i] >= s->vocab) *ids[i] = s->vocab - 1 - i;
    return DLX_OK;
}

static dlx_status parse(maker *m, int argc, char **argv, dlx_error *err)
{
    DLX_TRY(choose_size(m, argc, argv, err));
    for (int i = 1; i < argc; i++) {
        bool known;
        if (argv[i][0] != '-') {
            if (m->output)
                return dlx_fail(err, DLX_E_INVALID, "one output folder is enough: '%s' or '%s'", m->output, argv[i]);
            m->output = argv[i];
            continue;
        }
        if (i + 1 == argc) return dlx_fail(err, DLX_E_INVALID, "%s needs a value", argv[i]);
        const char *flag = argv[i], *text = argv[++i];
        if (!strcmp(flag, "--family") || !strcmp(flag, "--size")) continue;
        DLX_TRY(shape_option(m, flag, text, &known, err));
        if (!known) DLX_TRY(other_option(m, flag, text, err));
    }
    if (!m->output || !*m->output) return dlx_fail(err, DLX_E_INVALID, "no output folder was given");
    return check_shape(m, err);
}

/* ---- tensors ---- */

static void add(maker *m, const char *name, int rows, int columns)
{
    dlx_st_tensor *t = &m->tensors[m->n++];
    *t = (dlx_st_tensor){.name = dlx_arena_strndup(&m->arena, name, strlen(name)), .dtype = m->dtype};
    t->rank = columns ? 2 : 1;
    t->dim[0] = rows;
    t->dim[1] = columns;
    t->bytes = (uint64_t)rows * (uint64_t)(columns ? columns : 1) * dlx_dtype_size(m->dtype);
    m->bytes += t->bytes;
}

static void add_layer(maker *m, int layer)
{
    const shape *s = &m->s;
    int q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    bool llada = s->family == LLADA, biased = s->family == DREAM || s->family == FAST_DLLM_V2;
    const struct {
        const char *llada, *qwen;
        int rows, columns;
        bool absent;
    } parts[] = {
        {"attn_norm.weight", "input_layernorm.weight", s->hidden, 0, false},
        {"q_proj.weight", "self_attn.q_proj.weight", q, s->hidden, false},
        {NULL, "self_attn.q_proj.bias", q, 0, !biased},
        {"k_proj.weight", "self_attn.k_proj.weight", kv, s->hidden, false},
        {NULL, "self_attn.k_proj.bias", kv, 0, !biased},
        {"v_proj.weight", "self_attn.v_proj.weight", kv, s->hidden, false},
        {NULL, "self_attn.v_proj.bias", kv, 0, !biased},
        {NULL, "self_attn.q_norm.weight", s->head_dim, 0, s->family != SDAR},
        {NULL, "self_attn.k_norm.weight", s->head_dim, 0, s->family != SDAR},
        {"attn_out.weight", "self_attn.o_proj.weight", s->hidden, q, false},
        {"ff_norm.weight", "post_attention_layernorm.weight", s->hidden, 0, false},
        {"ff_proj.weight", "mlp.gate_proj.weight", s->intermediate, s->hidden, false},
        {"up_proj.weight", "mlp.up_proj.weight", s->intermediate, s->hidden, false},
        {"ff_out.weight", "mlp.down_proj.weight", s->hidden, s->intermediate, false},
    };
    for (size_t i = 0; i < DLX_COUNT(parts); i++) {
        char name[96];
        if (parts[i].absent) continue;
        snprintf(name, sizeof name, "%s.%d.%s", llada ? "model.transformer.blocks" : "model.layers", layer,
                 llada ? parts[i].llada : parts[i].qwen);
        add(m, name, parts[i].rows, parts[i].columns);
    }
}

static dlx_status list_tensors(maker *m, dlx_error *err)
{
    const shape *s = &m->s;
    bool llada = s->family == LLADA;
    size_t most = (size_t)s->layers * 14 + 3;
    m->tensors = dlx_arena_array(&m->arena, most, sizeof *m->tensors);
    m->end_of_shard = dlx_arena_array(&m->arena, most, sizeof *m->end_of_shard);
    if (!m->tensors || !m->end_of_shard) return dlx_fail(err, DLX_E_NOMEM, "out of memory listing tensors");
    add(m, llada ? "model.transformer.wte.weight" : "model.embed_tokens.weight", s->vocab, s->hidden);
    for (int i = 0; i < s->layers; i++) add_layer(m, i);
    add(m, llada ? "model.transformer.ln_f.weight" : "model.norm.weight", s->hidden, 0);
    if (!s->tied) add(m, llada ? "model.transformer.ff_out.weight" : "lm_head.weight", s->vocab, s->hidden);
    uint64_t in_shard = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (!m->tensors[i].name) return dlx_fail(err, DLX_E_NOMEM, "out of memory listing tensors");
        if (in_shard && in_shard + m->tensors[i].bytes > m->shard_bytes) {
            m->end_of_shard[m->n_shards++] = i;
            in_shard = 0;
        }
        in_shard += m->tensors[i].bytes;
    }
    m->end_of_shard[m->n_shards++] = m->n;
    return DLX_OK;
}

/* ---- numbers ---- */

/* The counter-based generator of Steele, Lea and Flood (SplitMix). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static const uint64_t step = 0x9E3779B97F4A7C15u;

/* Round to nearest; |x| is below 2. */
static uint16_t to_f16(double x)
{
    int exponent;
    double magnitude = fabs(x);
    frexp(magnitude, &exponent); /* magnitude in [2^(exponent-1), 2^exponent) */
    if (exponent < -13) exponent = -13;
    /* A significand of 11 bits; carrying into the next power of two carries into the exponent's bits as well. */
    long significand = lrint(ldexp(magnitude, 11 - exponent));
    return (uint16_t)((x < 0 ? 0x8000 : 0) | (significand + ((long)(exponent + 13) << 10)));
}

static void put_number(maker *m, int table, size_t i, double x)
{
    float f = (float)x;
    uint16_t h = m->dtype == DLX_BF16 ? dlx_f32_to_bf16(f) : to_f16(x);
    size_t width = dlx_dtype_size(m->dtype);
    memcpy(m->table[table] + width * i, m->dtype == DLX_F32 ? (const void *)&f : (const void *)&h, width);
}

/* Box and Muller: two uniform numbers make two normal ones. Standard deviation 0.02, the published initialisation. */
static dlx_status make_tables(maker *m, dlx_error *err)
{
    size_t bytes = TABLE * dlx_dtype_size(m->dtype);
    uint64_t state = mix(m->seed);
    m->table[0] = dlx_arena_alloc(&m->arena, bytes);
    m->table[1] = dlx_arena_alloc(&m->arena, bytes);
    m->chunk = dlx_arena_alloc(&m->arena, CHUNK);
    if (!m->table[0] || !m->table[1] || !m->chunk) return dlx_fail(err, DLX_E_NOMEM, "out of memory making weights");
    for (size_t i = 0; i < TABLE; i += 2) {
        double u = ((double)(mix(state += step) >> 11) + 1.0) * 0x1p-53,
               v = (double)(mix(state += step) >> 11) * 0x1p-53;
        double radius = 0.02 * sqrt(-2.0 * log(u)), angle = 6.283185307179586 * v;
        for (int k = 0; k < 2; k++) {
            double x = radius * (k ? sin(angle) : cos(angle));
            put_number(m, 0, i + (size_t)k, x);
            put_number(m, 1, i + (size_t)k, 1.0 + x);
        }
    }
    return DLX_OK;
}

/* Four numbers of the table for each number of the generator. */
static void fill(uint8_t *out, size_t bytes, const uint8_t *table, size_t width, uint64_t *state)
{
    for (size_t at = 0; at < bytes; at += 4 * width) {
        uint64_t z = mix(*state += step);
        size_t left = (bytes - at) / width;
        for (size_t k = 0; k < 4 && k < left; k++)
            memcpy(out + at + k * width, table + (z >> (16 * k) & 0xFFFF) * width, width);
    }
}

static dlx_status write_tensor(maker *m, dlx_output *out, const dlx_st_tensor *t, dlx_error *err)
{
    bool norm = t->rank == 1 && strstr(t->name, ".bias") == NULL;
    size_t width = dlx_dtype_size(m->dtype);
    uint64_t state = m->seed;
    for (const char *c = t->name; *c; c++) state = mix(state + step + (uint8_t)*c);
    for (uint64_t at = 0; at < t->bytes; at += CHUNK) {
        size_t n = t->bytes - at < CHUNK ? (size_t)(t->bytes - at) : CHUNK;
        if (width == 2)
            fill(m->chunk, n, m->table[norm], 2, &state);
        else
            fill(m->chunk, n, m->table[norm], 4, &state);
        DLX_TRY(dlx_output_write(out, m->chunk, n, err));
    }
    return DLX_OK;
}

/* ---- files ---- */

static dlx_status path_in(char path[PATH_MAX], const char *folder, const char *name, dlx_error *err)
{
    int n = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX ? DLX_OK : dlx_fail(err, DLX_E_INVALID, "path '%s' is too long", folder);
}

static dlx_status write_file(maker *m, const char *name, const void *bytes, size_t n, dlx_error *err)
{
    char path[PATH_MAX];
    dlx_output out;
    DLX_TRY(path_in(path, m->folder, name, err));
    DLX_TRY(dlx_output_open(&out, path, err));
    dlx_status s = dlx_output_write(&out, bytes, n, err);
    if (s == DLX_OK) s = dlx_output_commit(&out, err);
    dlx_output_close(&out);
    return s;
}

static dlx_status write_text(maker *m, const char *name, dlx_text_buffer *t, dlx_error *err)
{
    char *text;
    DLX_TRY(dlx_text_take(t, &text, "writing a JSON file", err));
    dlx_status s = write_file(m, name, text, strlen(text), err);
    free(text);
    return s;
}

static void shard_name(const maker *m, size_t shard, char name[64])
{
    if (m->n_shards == 1)
        snprintf(name, 64, "model.safetensors");
    else
        snprintf(name, 64, "model-%05zu-of-%05zu.safetensors", shard + 1, m->n_shards);
}

/* Makes the file longer by the bytes of its tensors, which are a hole then. */
static dlx_status add_hole(const maker *m, const char *path, uint64_t position, size_t begin, size_t end,
                           dlx_error *err)
{
    for (size_t i = begin; i < end; i++) position += m->tensors[i].bytes;
    if (truncate(path, (off_t)position) == 0) return DLX_OK;
    return dlx_fail(err, DLX_E_IO, "cannot make '%s' %llu bytes long: %s", path, (unsigned long long)position,
                    strerror(errno));
}

static dlx_status write_shard(maker *m, size_t shard, dlx_error *err)
{
    size_t begin = shard ? m->end_of_shard[shard - 1] : 0, end = m->end_of_shard[shard];
    char name[64], path[PATH_MAX];
    dlx_output out;
    shard_name(m, shard, name);
    DLX_TRY(path_in(path, m->folder, name, err));
    DLX_TRY(dlx_output_open(&out, path, err));
    dlx_status s = dlx_safetensors_write_header(&out, m->tensors + begin, end - begin, err);
    for (size_t i = begin; s == DLX_OK && !m->zero && i < end; i++) s = write_tensor(m, &out, &m->tensors[i], err);
    uint64_t position = out.position;
    if (s == DLX_OK) s = dlx_output_commit(&out, err);
    dlx_output_close(&out);
    if (s == DLX_OK && m->zero) s = add_hole(m, path, position, begin, end, err);
    return s;
}

static dlx_status write_index(maker *m, dlx_error *err)
{
    dlx_text_buffer t = {0};
    char name[64];
    size_t shard = 0;
    dlx_put(&t, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
            (unsigned long long)m->bytes);
    for (size_t i = 0; i < m->n; i++) {
        if (i == m->end_of_shard[shard]) shard++;
        shard_name(m, shard, name);
        dlx_put(&t, "%s\n    \"%s\": \"%s\"", i ? "," : "", m->tensors[i].name, name);
    }
    dlx_put(&t, "\n  }\n}\n");
    return write_text(m, "model.safetensors.index.json", &t, err);
}

static dlx_status copy_tokenizer(maker *m, dlx_error *err)
{
    static const char *const names[] = {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "merges.txt",     "chat_template.jinja"};
    int copied = 0;
    for (size_t i = 0; i < DLX_COUNT(names); i++) {
        char path[PATH_MAX], *bytes;
        size_t n;
        DLX_TRY(path_in(path, m->tokenizer, names[i], err));
        if (!dlx_is_file(path)) continue;
        DLX_TRY(dlx_read_file(&bytes, &n, path, COPY_LIMIT, err));
        dlx_status s = write_file(m, names[i], bytes, n, err);
        free(bytes);
        if (s != DLX_OK) return s;
        copied++;
    }
    return copied ? DLX_OK : dlx_fail(err, DLX_E_INVALID, "'%s' holds no tokenizer files", m->tokenizer);
}

static dlx_status write_all(maker *m, dlx_error *err)
{
    dlx_text_buffer config = {0}, generation = {0}, added = {0};
    put_config(&config, &m->s, m->dtype);
    DLX_TRY(write_text(m, "config.json", &config, err));
    put_generation_config(&generation, &m->s);
    DLX_TRY(write_text(m, "generation_config.json", &generation, err));
    if (m->tokenizer) {
        DLX_TRY(copy_tokenizer(m, err));
    } else if (m->s.family == FAST_DLLM_V2) {
        put_added_tokens(&added, &m->s);
        DLX_TRY(write_text(m, "added_tokens.json", &added, err));
    }
    if (m->n_shards > 1) DLX_TRY(write_index(m, err));
    DLX_TRY(make_tables(m, err));
    for (size_t i = 0; i < m->n_shards; i++) DLX_TRY(write_shard(m, i, err));
    return DLX_OK;
}

/* True as well when there is nothing; false for a file. */
static bool is_empty(const char *folder)
{
    int entries = 0;
    DIR *d = opendir(folder);
    if (!d) return errno == ENOENT;
    while (readdir(d)) entries++;
    closedir(d);
    return entries <= 2; /* "." and ".." */
}

static dlx_status open_folder(maker *m, dlx_error *err)
{
    size_t n = strlen(m->output);
    struct statvfs disk;
    while (n > 1 && m->output[n - 1] == '/') n--;
    char *output = dlx_arena_strndup(&m->arena, m->output, n), *folder = dlx_arena_alloc(&m->arena, n + 32);
    if (!output || !folder) return dlx_fail(err, DLX_E_NOMEM, "out of memory");
    m->output = output;
    snprintf(folder, n + 32, "%s.tmp-%ld", output, (long)getpid());
    if (!is_empty(output)) /* an empty folder is replaced at the end */
        return dlx_fail(err, DLX_E_IO, "'%s' exists; name a new folder", output);
    if (mkdir(folder, 0777) != 0) return dlx_fail(err, DLX_E_IO, "cannot create '%s': %s", folder, strerror(errno));
    m->folder = folder;
    if (statvfs(folder, &disk) != 0)
        return dlx_fail(err, DLX_E_IO, "cannot ask for the free space of '%s': %s", output, strerror(errno));
    uint64_t available = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (available < m->bytes && !m->zero)
        return dlx_fail(err, DLX_E_IO, "'%s' needs %llu bytes; the disk has %llu left", output,
                        (unsigned long long)m->bytes, (unsigned long long)available);
    return DLX_OK;
}

static void remove_folder(const char *folder)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char path[PATH_MAX];
        if (e->d_name[0] != '.' && path_in(path, folder, e->d_name, NULL) == DLX_OK) unlink(path);
    }
    if (d) closedir(d);
    rmdir(folder);
}

static dlx_status run(maker *m, int argc, char **argv, dlx_error *err)
{
    DLX_TRY(parse(m, argc, argv, err));
    DLX_TRY(list_tensors(m, err));
    DLX_TRY(open_folder(m, err));
    DLX_TRY(write_all(m, err));
    if (rename(m->folder, m->output) != 0)
        return dlx_fail(err, DLX_E_IO, "cannot rename '%s' to '%s': %s", m->folder, m->output, strerror(errno));
    m->folder = NULL;
    return DLX_OK;
}

int main(int argc, char **argv)
{
    maker m = {.dtype = DLX_BF16, .seed = 1, .shard_bytes = 5000000000u};
    dlx_error err = {0};
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(usage, stdout);
            return 0;
        }
    dlx_arena_init(&m.arena);
    dlx_status s = run(&m, argc, argv, &err);
    if (m.folder) remove_folder(m.folder);
    if (s == DLX_OK)
        printf("%s: %zu tensors, %llu bytes, %zu file%s of weights\n", m.output, m.n, (unsigned long long)m.bytes,
               m.n_shards, m.n_shards == 1 ? "" : "s");
    else
        fprintf(stderr, "make_checkpoint: %s\n", err.message);
    dlx_arena_free(&m.arena);
    return s == DLX_OK ? 0 : s == DLX_E_INVALID ? 2 : 1;
}
