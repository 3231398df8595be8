#include "export/differences.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/sizes.h"
#include "calibrate/samples.h"
#include "graph/linear_kinds.h"

/* ---- the two lists ---------------------------------------------------------------------------------------------- */

enum { TEXT = 64 }; /* room for a value */

static void append(char *list, size_t size, const char *name, const char *value)
{
    static const char more[] = ", ...";
    size_t n = strlen(list), all = n + strlen(name) + strlen(value) + (n ? 3 : 1);
    if (n >= sizeof more && !strcmp(list + n - (sizeof more - 1), more)) return;
    if (all + sizeof more <= size)
        snprintf(list + n, size - n, "%s%s %s", n ? ", " : "", name, value);
    else
        snprintf(list + n, size - n, "%s", more);
}

static void put(dlx_differences *d, const char *name, const char *file, const char *checkpoint)
{
    append(d->file, sizeof d->file, name, file);
    append(d->checkpoint, sizeof d->checkpoint, name, checkpoint);
    d->n++;
}

static void put_numbers(dlx_differences *d, const char *name, int64_t file, int64_t checkpoint)
{
    char a[TEXT], b[TEXT];
    if (file == checkpoint) return;
    snprintf(a, sizeof a, "%lld", (long long)file);
    snprintf(b, sizeof b, "%lld", (long long)checkpoint);
    put(d, name, a, b);
}

static void put_reals(dlx_differences *d, const char *name, double file, double checkpoint)
{
    char a[TEXT], b[TEXT];
    snprintf(a, sizeof a, "%.6g", file);
    snprintf(b, sizeof b, "%.6g", checkpoint);
    if (!strcmp(a, b)) snprintf(a, sizeof a, "%.9g", file);
    if (strlen(a) > strlen(b)) snprintf(b, sizeof b, "%.9g", checkpoint);
    put(d, name, a, b);
}

/* ---- facts ------------------------------------------------------------------------------------------------------ */

static const char *id_text(char text[TEXT], int32_t id)
{
    if (id < 0) return "none";
    snprintf(text, TEXT, "%d", id);
    return text;
}

static void put_id(dlx_differences *d, const char *name, int32_t file, int32_t checkpoint)
{
    char a[TEXT], b[TEXT];
    if (file != checkpoint) put(d, name, id_text(a, file), id_text(b, checkpoint));
}

static const char *stops_text(char text[TEXT], const dlx_model_facts *f)
{
    snprintf(text, TEXT, "%s", f->num_stop_ids ? "" : "none");
    for (int32_t i = 0; i < f->num_stop_ids; i++) {
        size_t n = strlen(text);
        snprintf(text + n, TEXT - n, "%s%d", i ? " " : "", f->stop_ids[i]);
    }
    return text;
}

static void compare_family(dlx_differences *d, const dlx_model_facts *f, const dlx_model_facts *c)
{
    if (f->family != c->family) put(d, "family", dlx_family_name(f->family), dlx_family_name(c->family));
}

/* What else an export can be told. */
static void compare_told(dlx_differences *d, const dlx_model_facts *f, const dlx_model_facts *c)
{
    put_id(d, "mask id", f->mask_id, c->mask_id);
    put_numbers(d, "attention block", f->attn_block, c->attn_block);
    put_numbers(d, "block length", f->block_length, c->block_length);
}

static void compare_facts(dlx_differences *d, const dlx_model_facts *f, const dlx_model_facts *c)
{
    char a[TEXT], b[TEXT];
    put_numbers(d, "sub-block", f->small_block_size, c->small_block_size);
    put_numbers(d, "logits shift", f->logits_shift, c->logits_shift);
    put_id(d, "bos id", f->bos_id, c->bos_id);
    put_id(d, "eos id", f->eos_id, c->eos_id);
    put_id(d, "pad id", f->pad_id, c->pad_id);
    if (f->num_stop_ids != c->num_stop_ids ||
        memcmp(f->stop_ids, c->stop_ids, (size_t)f->num_stop_ids * sizeof *f->stop_ids) != 0)
        put(d, "stop ids", stops_text(a, f), stops_text(b, c));
}

static void compare_sizes(dlx_differences *d, const dlx_file_said *file, const dlx_checkpoint *c)
{
    const dlx_model_shape *s = &c->shape;
    const dlx_file_layers *l = file->layers;
    const struct {
        const char *name;
        int32_t file, checkpoint;
    } sizes[] = {
        {"layers", l->layers, s->layers},
        {"hidden size", l->hidden, s->hidden},
        {"heads", l->heads, s->heads},
        {"key-value heads", l->kv_heads, s->kv_heads},
        {"head size", l->head_dim, s->head_dim},
        {"intermediate size", l->intermediate, s->intermediate},
        {"vocabulary", file->facts->vocab_size, c->facts.vocab_size},
    };
    for (size_t i = 0; i < DLX_COUNT(sizes); i++)
        if (sizes[i].file) put_numbers(d, sizes[i].name, sizes[i].file, sizes[i].checkpoint);
    if (file->facts->max_context > s->max_positions) {
        char a[TEXT], b[TEXT];
        snprintf(a, sizeof a, "%d", file->facts->max_context);
        snprintf(b, sizeof b, "at most %d", s->max_positions);
        put(d, "positions", a, b);
    }
}

/* ---- inside the program ----------------------------------------------------------------------------------------- */

static const dlx_value *named(const dlx_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_CONST && g->values[i].name && !strcmp(g->values[i].name, name))
            return &g->values[i];
    return NULL;
}

static void compare_switch(dlx_differences *d, const char *name, bool file, bool checkpoint)
{
    if (file != checkpoint) put(d, name, file ? "yes" : "no", checkpoint ? "yes" : "no");
}

static void compare_epsilon(dlx_differences *d, const dlx_graph *g, float epsilon)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        if (n->op != DLX_OP_RMS_NORM || n->attr.f[0] == epsilon) continue;
        put_reals(d, "norm epsilon", (double)n->attr.f[0], (double)epsilon);
        return;
    }
}

/* The weights of the head that makes the logits, NULL: they come from elsewhere. */
static const dlx_value *head_of(const dlx_graph *g)
{
    uint32_t producer = g->n_outputs ? g->values[g->outputs[0]].producer : DLX_NONE;
    const dlx_node *n = producer != DLX_NONE ? &g->nodes[producer] : NULL;
    return n && n->op == DLX_OP_LINEAR ? &g->values[n->in[1]] : NULL;
}

/* Stored alike, a head that is the table shares its bytes; else nothing tells. */
static void compare_head(dlx_differences *d, const dlx_graph *g, bool tied)
{
    const dlx_value *head = head_of(g), *table = named(g, "embed.weight");
    if (!head || !table || !head->source.file || !table->source.file) return;
    bool shared = head->source.offset == table->source.offset;
    bool alike = head->dtype == table->dtype && dlx_group_of(g, head) == dlx_group_of(g, table);
    if (shared != tied && (shared || alike))
        put(d, "head", shared ? "the embedding table" : "of its own", tied ? "the embedding table" : "of its own");
}

/* ---- rotary tables ---------------------------------------------------------------------------------------------- */

enum { MOST_DIM = 1024 };

/* Rows of positions 0 and 1, which say all: the magnitude, and the angle of each pair. */
typedef struct rotary {
    float cosine[2 * MOST_DIM], sine[2 * MOST_DIM];
} rotary;

static double angle_of(const rotary *r, size_t dim, size_t pair)
{
    return atan2(-(double)r->sine[dim + pair], (double)r->cosine[dim + pair]);
}

/* The base whose powers all angles are; 0: there is none, they are scaled. */
static double base_of(const rotary *r, size_t dim)
{
    size_t half = dim / 2;
    if (half < 2) return 0;
    double base = pow(angle_of(r, dim, half - 1), -(double)half / (double)(half - 1));
    for (size_t j = 0; j < half; j++) {
        double power = pow(base, -(double)j / (double)half);
        if (!(fabs(angle_of(r, dim, j) - power) <= 1e-5 * power)) return 0;
    }
    return base;
}

static bool apart(double a, double b)
{
    return !(fabs(a - b) <= 2e-6 * fabs(b));
}

static void compare_rotary(dlx_differences *d, const rotary *file, const rotary *checkpoint, size_t dim)
{
    char name[TEXT];
    if (apart((double)file->cosine[0], (double)checkpoint->cosine[0]))
        put_reals(d, "rotary magnitude", (double)file->cosine[0], (double)checkpoint->cosine[0]);
    for (size_t j = 0; j < dim / 2; j++) {
        double a = angle_of(file, dim, j), b = angle_of(checkpoint, dim, j);
        double base = base_of(file, dim), other = base_of(checkpoint, dim);
        if (!apart(a, b)) continue;
        snprintf(name, sizeof name, "rotary angle of pair %zu", j);
        if (base > 0 && other > 0)
            put_reals(d, "rotary base", base, other);
        else
            put_reals(d, name, a, b);
        return;
    }
}

static dlx_status read_rows(float *out, const dlx_value *v, size_t dim, dlx_error *err)
{
    size_t bytes = 2 * dim * sizeof *out;
    if (!v->source.data) return dlx_const_read(v, 0, out, bytes, err);
    memcpy(out, v->source.data, bytes);
    return DLX_OK;
}

static bool is_table(const dlx_value *v, size_t dim)
{
    return v && v->dtype == DLX_F32 && v->rank == 2 && v->dim[0] >= 2 && v->dim[1] == (int64_t)dim &&
           v->source.transform == DLX_CONST_PLAIN && v->source.bytes >= 2 * dim * sizeof(float);
}

/* Of a head size that differs, or of a program of one position, nothing is compared. */
static dlx_status compare_positions(dlx_differences *d, const dlx_graph *g, const dlx_model_shape *s, dlx_error *err)
{
    const dlx_value *cosines = named(g, "rope.cos"), *sines = named(g, "rope.sin");
    size_t dim = (size_t)s->head_dim;
    rotary file, checkpoint;
    if (dim > MOST_DIM || !is_table(cosines, dim) || !is_table(sines, dim)) return DLX_OK;
    DLX_TRY(read_rows(file.cosine, cosines, dim, err));
    DLX_TRY(read_rows(file.sine, sines, dim, err));
    dlx_rope_tables(checkpoint.cosine, checkpoint.sine, s->rope_theta, &s->rope_scaling, s->head_dim, 2);
    compare_rotary(d, &file, &checkpoint, dim);
    return DLX_OK;
}

static dlx_status compare_program(dlx_differences *d, const dlx_graph *g, const dlx_checkpoint *c, dlx_error *err)
{
    const dlx_model_shape *s = &c->shape;
    compare_epsilon(d, g, s->norm_eps);
    compare_switch(d, "norms of q and k", named(g, "layers.0.q_norm.weight") != NULL, s->qk_norm);
    compare_switch(d, "biases of q, k and v", named(g, "layers.0.q.bias") != NULL, s->qkv_bias);
    compare_head(d, g, s->tied);
    return compare_positions(d, g, s, err);
}

/* ---- words ------------------------------------------------------------------------------------------------------ */

static void word_text(char text[TEXT], const dlx_tokenizer *t, uint32_t id)
{
    size_t n = t->offset[id + 1] - t->offset[id], at;
    snprintf(text, TEXT, t->kind[id] ? "'" : "no word");
    for (size_t i = 0; t->kind[id] && i <= n && (at = strlen(text)) < 24; i++) {
        uint8_t byte = i < n ? t->bytes[t->offset[id] + i] : '\'';
        snprintf(text + at, TEXT - at, byte < ' ' || byte > '~' ? "\\x%02X" : "%c", byte);
    }
}

static bool same_word(const dlx_tokenizer *a, const dlx_tokenizer *b, uint32_t id)
{
    size_t n = a->offset[id + 1] - a->offset[id];
    return !a->kind[id] == !b->kind[id] && n == b->offset[id + 1] - b->offset[id] &&
           !memcmp(a->bytes + a->offset[id], b->bytes + b->offset[id], n);
}

static void compare_words(dlx_differences *d, const dlx_tokenizer *file, const dlx_tokenizer *checkpoint)
{
    char name[TEXT], a[TEXT], b[TEXT];
    if (!file != !checkpoint) {
        put(d, "tokenizer", file ? "there" : "none", checkpoint ? "there" : "none");
        return;
    }
    if (!file) return;
    put_numbers(d, "tokens", file->size, checkpoint->size);
    if (file->size != checkpoint->size) return;
    for (uint32_t id = 0; id < file->size; id++) {
        if (same_word(file, checkpoint, id)) continue;
        snprintf(name, sizeof name, "token %u", id);
        word_text(a, file, id);
        word_text(b, checkpoint, id);
        put(d, name, a, b);
        return;
    }
    put_numbers(d, "merges", file->n_merges, checkpoint->n_merges);
}

/* ---- all together ----------------------------------------------------------------------------------------------- */

dlx_status dlx_differences_find(dlx_differences *out, const dlx_file_said *file, const dlx_checkpoint *c,
                                const dlx_tokenizer *tokenizer, dlx_error *err)
{
    *out = (dlx_differences){.n = 0};
    compare_family(out, file->facts, &c->facts);
    size_t told = out->n;
    compare_sizes(out, file, c);
    told -= out->n;
    compare_told(out, file->facts, &c->facts);
    told += out->n;
    compare_facts(out, file->facts, &c->facts);
    DLX_TRY(compare_program(out, &file->layers->graph, c, err));
    compare_words(out, file->tokenizer, tokenizer);
    if (!out->n && file->facts->num_tokens) /* ids of which nobody knows a word count as well */
        put_numbers(out, "ids with words", file->facts->num_tokens,
                    tokenizer ? dlx_samples_ids(&c->facts, tokenizer) : 0);
    out->told = out->n == told;
    return DLX_OK;
}
