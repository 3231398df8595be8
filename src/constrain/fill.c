/* Dynamic programming over positions and states. */
#include "constrain/fill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"

enum { FAR = INT32_MAX };

/* How a state was reached best: from which, with which token. */
typedef struct step {
    int32_t from, id;
} step;

struct dlx_fill {
    const dlx_constraint *c;
    int32_t n_states;                /* of the automaton; one more state stands for the text's end */
    int32_t *members, *member_start; /* the constraint's, without ids that cannot be chosen */
    int32_t stops[32], n_stops;
    int32_t *distance; /* [n_states+1] tokens to the end of a text */
    uint8_t *possible; /* [n_sets] some class of it has members */
    /* Of the position at work. */
    uint32_t stamp;
    uint32_t *class_stamp, *set_stamp;
    double *class_weight, *set_weight;
    int32_t *class_pick, *set_pick;
    dlx_weigh_fn weigh;
    void *ctx;
    /* Of the stretch. */
    double *score, *next_score; /* [n_states+1], -INFINITY where nothing leads */
    step *steps;                /* [most_positions, n_states+1] */
    int32_t most_positions, n_positions;
    bool overrun;
    int32_t n_walked, state; /* ids at the beginning of the answer that are known, and where they lead; -1 nowhere */
};

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static bool can_be_text(const dlx_fill_ids *ids, int32_t id)
{
    if (id >= ids->known || id == ids->never) return false;
    for (int32_t i = 0; i < ids->n_stop_ids; i++)
        if (ids->stop_ids[i] == id) return false;
    return true;
}

static void take_ids(dlx_fill *f, const dlx_fill_ids *ids)
{
    const dlx_constraint *c = f->c;
    int32_t n = 0;
    for (int32_t k = 0; k < c->n_classes; k++) {
        f->member_start[k] = n;
        for (int32_t i = c->member_start[k]; i < c->member_start[k + 1]; i++)
            if (can_be_text(ids, c->members[i])) f->members[n++] = c->members[i];
    }
    f->member_start[c->n_classes] = n;
    for (int32_t s = 0; s < c->n_sets; s++)
        for (size_t i = c->set_start[s]; i < c->set_start[s + 1] && !f->possible[s]; i++) {
            int32_t k = c->set_classes[i];
            f->possible[s] = f->member_start[k] < f->member_start[k + 1];
        }
    for (int32_t i = 0; i < ids->n_stop_ids && f->n_stops < (int32_t)DLX_COUNT(f->stops); i++)
        if (ids->stop_ids[i] < ids->known && ids->stop_ids[i] != ids->never) f->stops[f->n_stops++] = ids->stop_ids[i];
}

/* From the accepting states backwards, one token further at a time. queue and start are for this function alone. */
static void find_distances(dlx_fill *f, int32_t *queue, size_t *start, int32_t *before)
{
    const dlx_constraint *c = f->c;
    int32_t n = 0;
    for (size_t i = 0; i < c->edge_start[f->n_states]; i++)
        if (f->possible[c->edges[i].set]) start[c->edges[i].to + 2]++;
    for (int32_t q = 0; q < f->n_states; q++) start[q + 2] += start[q + 1];
    for (int32_t q = 0; q < f->n_states; q++) {
        for (size_t i = c->edge_start[q]; i < c->edge_start[q + 1]; i++)
            if (f->possible[c->edges[i].set]) before[start[c->edges[i].to + 1]++] = q;
        f->distance[q] = c->machine.accepts[q] ? 0 : FAR;
        if (c->machine.accepts[q]) queue[n++] = q;
    }
    f->distance[f->n_states] = 0;
    for (int32_t done = 0; done < n; done++) {
        int32_t q = queue[done];
        for (size_t i = start[q]; i < start[q + 1]; i++)
            if (f->distance[before[i]] == FAR) {
                f->distance[before[i]] = f->distance[q] + 1;
                queue[n++] = before[i];
            }
    }
}

static bool allocate(dlx_fill *f)
{
    const dlx_constraint *c = f->c;
    size_t states = (size_t)f->n_states + 1, classes = (size_t)c->n_classes + 1, sets = (size_t)c->n_sets + 1;
    uint64_t steps, bytes;
    if (!dlx_mul_u64(states, (uint64_t)f->most_positions, &steps) || !dlx_mul_u64(steps, sizeof *f->steps, &bytes) ||
        bytes > SIZE_MAX / 2)
        return false;
    return (f->steps = malloc(bytes ? (size_t)bytes : 1)) && (f->distance = malloc(states * sizeof *f->distance)) &&
           (f->score = malloc(states * sizeof *f->score)) && (f->next_score = malloc(states * sizeof *f->score)) &&
           (f->members = malloc(((size_t)c->member_start[c->n_classes] + 1) * sizeof *f->members)) &&
           (f->member_start = malloc(classes * sizeof *f->member_start)) &&
           (f->class_stamp = calloc(classes, sizeof *f->class_stamp)) &&
           (f->class_weight = malloc(classes * sizeof *f->class_weight)) &&
           (f->class_pick = malloc(classes * sizeof *f->class_pick)) && (f->possible = calloc(sets, 1)) &&
           (f->set_stamp = calloc(sets, sizeof *f->set_stamp)) &&
           (f->set_weight = malloc(sets * sizeof *f->set_weight)) && (f->set_pick = malloc(sets * sizeof *f->set_pick));
}

dlx_status dlx_fill_open(dlx_fill **out, const dlx_constraint *c, const dlx_fill_ids *ids, int32_t most_positions,
                         dlx_error *err)
{
    dlx_fill *f = *out = calloc(1, sizeof *f);
    size_t states = (size_t)c->machine.n_states, n_edges = c->edge_start[states];
    int32_t *queue = malloc((states + 1) * sizeof *queue), *before = malloc((n_edges + 1) * sizeof *before);
    size_t *start = calloc(states + 2, sizeof *start);
    dlx_status status = DLX_OK;
    if (f) {
        f->c = c;
        f->n_states = c->machine.n_states;
        f->most_positions = most_positions;
    }
    if (!f || !queue || !start || !before || !allocate(f)) {
        status = dlx_fail(err, DLX_E_NOMEM,
                          "out of memory for %d positions under a constraint of %zu states; use shorter blocks, or a "
                          "simpler constraint",
                          most_positions, states);
    } else {
        take_ids(f, ids);
        find_distances(f, queue, start, before);
        f->state = c->machine.start;
        if (!f->n_stops)
            status = dlx_fail(err, DLX_E_INVALID,
                              "a constraint needs an id that ends the answer, and this decode has none that may be "
                              "chosen; give option 'stop_ids'");
    }
    free(queue);
    free(before);
    free(start);
    if (status != DLX_OK) {
        dlx_fill_close(f);
        *out = NULL;
    }
    return status;
}

void dlx_fill_close(dlx_fill *f)
{
    if (!f) return;
    free(f->members);
    free(f->member_start);
    free(f->distance);
    free(f->possible);
    free(f->class_stamp);
    free(f->class_weight);
    free(f->class_pick);
    free(f->set_stamp);
    free(f->set_weight);
    free(f->set_pick);
    free(f->score);
    free(f->next_score);
    free(f->steps);
    free(f);
}

int32_t dlx_fill_shortest(const dlx_fill *f)
{
    int32_t n = f->distance[f->c->machine.start];
    return n == FAR ? -1 : n;
}

/* ---- known ids --------------------------------------------------------------------------------------------------- */

static bool is_stop(const dlx_fill *f, int32_t id)
{
    for (int32_t i = 0; i < f->n_stops; i++)
        if (f->stops[i] == id) return true;
    return false;
}

/* Where an id leads from a state, -1 for nowhere. */
static int32_t walk(const dlx_fill *f, int32_t state, int32_t id)
{
    const dlx_constraint *c = f->c;
    if (is_stop(f, id)) return state == f->n_states || c->machine.accepts[state] ? f->n_states : -1;
    if (state == f->n_states || id < 0 || id >= c->n_ids || c->class_of[id] < 0) return -1;
    size_t low = c->pair_start[c->class_of[id]], high = c->pair_start[c->class_of[id] + 1];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->pairs[middle].from == state) return c->pairs[middle].to;
        if (c->pairs[middle].from < state)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

bool dlx_fill_accepts(const dlx_fill *f, const int32_t *ids, int32_t n)
{
    int32_t q = f->c->machine.start;
    for (int32_t i = 0; i < n && q >= 0; i++) q = walk(f, q, ids[i]);
    return q >= 0 && q < f->n_states && f->c->machine.accepts[q];
}

/* ---- a stretch --------------------------------------------------------------------------------------------------- */

bool dlx_fill_begin(dlx_fill *f, const int32_t *ids, int32_t n)
{
    for (; f->n_walked < n && f->state >= 0; f->n_walked++) f->state = walk(f, f->state, ids[f->n_walked]);
    for (int32_t q = 0; q <= f->n_states; q++) f->score[q] = -INFINITY;
    if (f->state >= 0) f->score[f->state] = 0;
    f->n_positions = 0;
    f->overrun = false;
    return f->state >= 0;
}

/* Keeps that `to` can be reached from `from`, if it is the best way so far. */
static void offer(dlx_fill *f, int32_t from, int32_t to, int32_t id, double score)
{
    if (!(score > f->next_score[to])) return;
    f->next_score[to] = score;
    f->steps[(size_t)f->n_positions * ((size_t)f->n_states + 1) + (size_t)to] = (step){from, id};
}

static bool begin_position(dlx_fill *f)
{
    if (f->n_positions == f->most_positions) f->overrun = true;
    if (f->overrun) return false;
    for (int32_t q = 0; q <= f->n_states; q++) f->next_score[q] = -INFINITY;
    return true;
}

static void end_position(dlx_fill *f)
{
    double *scores = f->score;
    f->score = f->next_score;
    f->next_score = scores;
    f->n_positions++;
}

static void offer_known(dlx_fill *f, int32_t id, int32_t left)
{
    const dlx_constraint *c = f->c;
    int32_t end = f->n_states;
    if (is_stop(f, id)) {
        for (int32_t q = 0; q <= end; q++)
            if (q == end || c->machine.accepts[q]) offer(f, q, end, id, f->score[q]);
        return;
    }
    if (id >= c->n_ids || c->class_of[id] < 0) return;
    for (size_t i = c->pair_start[c->class_of[id]]; i < c->pair_start[c->class_of[id] + 1]; i++) {
        const dlx_state_pair *p = &c->pairs[i];
        if (f->distance[p->to] <= left) offer(f, p->from, p->to, id, f->score[p->from]);
    }
}

static double class_weight(dlx_fill *f, int32_t k)
{
    if (f->class_stamp[k] != f->stamp) {
        int32_t first = f->member_start[k], n = f->member_start[k + 1] - first;
        f->class_stamp[k] = f->stamp;
        f->class_weight[k] = n ? f->weigh(f->ctx, f->members + first, n, &f->class_pick[k]) : -INFINITY;
    }
    return f->class_weight[k];
}

/* Weighs the tokens of a set, once a position; its best one is left in set_pick. */
static double set_weight(dlx_fill *f, int32_t s)
{
    const dlx_constraint *c = f->c;
    if (f->set_stamp[s] != f->stamp) {
        double best = -INFINITY;
        f->set_stamp[s] = f->stamp;
        for (size_t i = c->set_start[s]; i < c->set_start[s + 1]; i++) {
            int32_t k = c->set_classes[i];
            double w = class_weight(f, k);
            if (w > best) {
                best = w;
                f->set_pick[s] = f->class_pick[k];
            }
        }
        f->set_weight[s] = best;
    }
    return f->set_weight[s];
}

/* Offers every token that leads on; weigh NULL: with no weight, and no id. */
static void offer_all(dlx_fill *f, dlx_weigh_fn weigh, void *ctx, int32_t left)
{
    const dlx_constraint *c = f->c;
    int32_t end = f->n_states, stop = -1;
    f->weigh = weigh;
    f->ctx = ctx;
    f->stamp++;
    bool stops_weighed = false;
    double stop_weight = 0;
    for (int32_t q = 0; q <= end; q++) {
        if (f->score[q] == -INFINITY) continue;
        if (q == end || c->machine.accepts[q]) {
            if (weigh && !stops_weighed) stop_weight = weigh(ctx, f->stops, f->n_stops, &stop);
            stops_weighed = true;
            offer(f, q, end, stop, f->score[q] + stop_weight);
        }
        if (q == end) break;
        for (size_t i = c->edge_start[q]; i < c->edge_start[q + 1]; i++) {
            const dlx_token_edge *e = &c->edges[i];
            if (f->distance[e->to] > left || !f->possible[e->set]) continue;
            double w = weigh ? set_weight(f, e->set) : 0;
            offer(f, q, e->to, weigh ? f->set_pick[e->set] : -1, f->score[q] + w);
        }
    }
}

void dlx_fill_next(dlx_fill *f, int32_t id, int32_t left)
{
    if (!begin_position(f)) return;
    if (id >= 0)
        offer_known(f, id, left);
    else
        offer_all(f, NULL, NULL, left);
    end_position(f);
}

void dlx_fill_weighed(dlx_fill *f, dlx_weigh_fn weigh, void *ctx, int32_t left)
{
    if (!begin_position(f)) return;
    offer_all(f, weigh, ctx, left);
    end_position(f);
}

bool dlx_fill_end(dlx_fill *f, int32_t *ids)
{
    int32_t best = 0;
    for (int32_t q = 1; q <= f->n_states; q++)
        if (f->score[q] > f->score[best]) best = q;
    if (f->overrun || f->score[best] == -INFINITY) return false;
    for (int32_t i = f->n_positions; i-- > 0;) {
        step s = f->steps[(size_t)i * ((size_t)f->n_states + 1) + (size_t)best];
        ids[i] = s.id;
        best = s.from;
    }
    return true;
}
