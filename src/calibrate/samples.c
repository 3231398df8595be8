#include "calibrate/samples.h"

#include <string.h>

#include "base/sizes.h"

enum { DEFAULT_COUNT = 128, MOST_COUNT = 1 << 20, DEFAULT_LENGTH = 256 };

/* splitmix64's finaliser (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

double dlx_samples_uniform(uint64_t seed, uint64_t a, uint64_t b)
{
    return (double)(mix(mix(mix(seed) ^ a) ^ b) >> 11) * 0x1p-53;
}

dlx_status dlx_samples_options_complete(dlx_samples_options *o, const dlx_checkpoint *c, dlx_error *err)
{
    int32_t most = c->shape.max_positions;
    if (!o->count) o->count = DEFAULT_COUNT;
    if (o->count > MOST_COUNT)
        return dlx_fail(err, DLX_E_INVALID, "%zu calibration samples were asked for; expected at most %d", o->count,
                        MOST_COUNT);
    if (!o->length) o->length = DEFAULT_LENGTH < most ? DEFAULT_LENGTH : most;
    if (o->length < 2 || o->length > most)
        return dlx_fail(err, DLX_E_INVALID,
                        "calibration samples of at most %d tokens were asked for; expected 2 to the %d positions of "
                        "the checkpoint",
                        o->length, most);
    return DLX_OK;
}

static dlx_status no_memory(size_t n, dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory making %zu calibration samples", n);
}

dlx_status dlx_samples_begin(dlx_samples *out, const dlx_checkpoint *c, size_t count, dlx_error *err)
{
    memset(out, 0, sizeof *out);
    dlx_arena_init(&out->arena);
    out->attn_block = c->facts.attn_block;
    out->mask_id = c->facts.mask_id;
    out->list = dlx_arena_array(&out->arena, count, sizeof *out->list);
    return out->list ? DLX_OK : no_memory(count, err);
}

void dlx_samples_free(dlx_samples *s)
{
    dlx_arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}

uint64_t dlx_samples_fingerprint(const dlx_samples *s)
{
    uint64_t hash = mix((uint64_t)(uint32_t)s->attn_block << 32 | (uint32_t)s->mask_id);
    for (size_t i = 0; i < s->n; i++) {
        hash = mix(hash ^ ((uint64_t)(uint32_t)s->list[i].n << 32 | (uint32_t)s->list[i].answer));
        for (int32_t p = 0; p < s->list[i].n; p++) hash = mix(hash ^ (uint32_t)s->list[i].ids[p]);
    }
    return hash;
}

int32_t dlx_samples_ids(const dlx_model_facts *f, const dlx_tokenizer *t)
{
    const int32_t named[] = {f->mask_id, f->bos_id, f->eos_id, f->pad_id};
    int32_t n = t ? dlx_tokenizer_size(t) : f->vocab_size;
    for (size_t i = 0; i < DLX_COUNT(named); i++) n = named[i] >= n ? named[i] + 1 : n;
    for (int32_t i = 0; i < f->num_stop_ids; i++) n = f->stop_ids[i] >= n ? f->stop_ids[i] + 1 : n;
    return n < f->vocab_size ? n : f->vocab_size;
}

/* ---- masks ------------------------------------------------------------------------------------------------------ */

/* A sample in the making. What is drawn for it depends on the seed and its number. */
typedef struct maker {
    const dlx_model_facts *facts;
    uint64_t seed, number;
    uint64_t drawn; /* numbers other than those of positions */
    int32_t *ids;   /* [room] */
    int32_t n, room, answer;
} maker;

/* Of 0 .. n-1. */
static int32_t draw(maker *m, int32_t n)
{
    enum { BEHIND_POSITIONS = 1 << 30 };
    int32_t k = (int32_t)(dlx_samples_uniform(m->seed, m->number, BEHIND_POSITIONS + m->drawn++) * n);
    return k < n ? k : n - 1;
}

static double level(const maker *m)
{
    return ((double)(m->number % DLX_MASK_LEVELS) + 0.5) / DLX_MASK_LEVELS;
}

static void mask_some(maker *m, int32_t begin, int32_t end)
{
    bool any = false;
    for (int32_t p = begin; p < end; p++)
        if (dlx_samples_uniform(m->seed, m->number, (uint64_t)p) < level(m)) {
            m->ids[p] = m->facts->mask_id;
            any = true;
        }
    if (!any) m->ids[begin + draw(m, end - begin)] = m->facts->mask_id;
}

/* What stands behind the end of an answer. */
static int32_t filler(const dlx_model_facts *f)
{
    if (f->num_stop_ids) return f->stop_ids[0];
    return f->eos_id >= 0 ? f->eos_id : f->mask_id;
}

/* One block of the answer is decoded: the sample ends with it. */
static void mask_block(maker *m)
{
    int32_t width = m->facts->attn_block, inner = m->facts->small_block_size;
    int32_t first = m->answer / width, blocks = (m->n - 1) / width - first + 1;
    int32_t begin = (first + draw(m, blocks)) * width, end = begin + width;
    if (end > m->room) end = m->room;
    for (int32_t p = m->n; p < end; p++) m->ids[p] = filler(m->facts);
    m->n = end;
    if (begin < m->answer) begin = m->answer;
    if (inner > 0 && inner < width) {
        int32_t k = begin / inner + draw(m, (end - 1) / inner - begin / inner + 1);
        for (int32_t p = (k + 1) * inner; p < end; p++) m->ids[p] = m->facts->mask_id;
        if (k * inner > begin) begin = k * inner;
        if ((k + 1) * inner < end) end = (k + 1) * inner;
    }
    mask_some(m, begin, end);
}

/* What is kept of ids that are too long: of a text without a prompt some piece; else the end of the prompt, and the
 * answer as far as it goes, which is at least half of what there is room for. */
static void cut(maker *m, const int32_t **ids, size_t *n, size_t *answer)
{
    size_t most = (size_t)m->room, behind = *n - *answer, half = most / 2, drop = 0;
    if (*n > most && !*answer) drop = (size_t)draw(m, (int32_t)(*n - most < INT32_MAX ? *n - most : INT32_MAX - 1) + 1);
    if (*n > most && *answer) {
        size_t kept = behind < half ? behind : half;
        if (*answer + kept > most) drop = *answer + kept - most;
    }
    *ids += drop;
    *n -= drop;
    *answer = *answer > drop ? *answer - drop : 0;
    if (*n > most) *n = most;
}

/* Every other sample, and each level of masks with and without. */
static void fill_canvas(maker *m, int32_t canvas)
{
    bool turn = (m->number + m->number / DLX_MASK_LEVELS) % 2 == 0;
    int32_t end = canvas < m->room - m->answer ? m->answer + canvas : m->room;
    if (!turn || !m->answer) return;
    while (m->n < end) m->ids[m->n++] = filler(m->facts);
}

dlx_status dlx_samples_add(dlx_samples *s, const dlx_checkpoint *c, const dlx_samples_options *o, const int32_t *ids,
                           size_t n, size_t answer, dlx_error *err)
{
    maker m = {.facts = &c->facts, .seed = o->seed, .number = s->n, .room = o->length};
    cut(&m, &ids, &n, &answer);
    m.ids = dlx_arena_array(&s->arena, (size_t)o->length, sizeof *m.ids);
    if (!m.ids) return no_memory(s->n + 1, err);
    memcpy(m.ids, ids, n * sizeof *ids);
    m.n = (int32_t)n;
    m.answer = (int32_t)answer;
    if (c->facts.mask_id >= 0 && c->facts.attn_block > 0) {
        mask_block(&m);
    } else if (c->facts.mask_id >= 0) {
        fill_canvas(&m, o->canvas);
        mask_some(&m, m.answer, m.n);
    }
    s->list[s->n++] = (dlx_sample){.ids = m.ids, .n = m.n, .answer = m.answer};
    s->rows += (uint64_t)m.n;
    if (m.n > s->longest) s->longest = m.n;
    return DLX_OK;
}
