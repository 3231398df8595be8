#include "progress.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "output.h"

static dlx_status value_of(int32_t *out, const dlx_model_facts *facts, const dlx_decode_options *decode,
                           const int32_t *prompt, size_t n_prompt, const char *name, dlx_error *err)
{
    char text[256];
    dlx_status s = dlx_decode_option_in_force(facts, decode, prompt, n_prompt, name, text, sizeof text, err);
    if (s == DLX_OK) *out = atoi(text);
    return s;
}

dlx_status dlx_cli_plan_make(dlx_cli_plan *plan, const dlx_model_facts *facts, const dlx_decode_options *decode,
                             const int32_t *prompt, size_t n_prompt, dlx_error *err)
{
    int32_t n_new = 0;
    *plan = (dlx_cli_plan){.mask_id = facts->mask_id, .n_prompt = n_prompt, .grid = facts->attn_block ? 0 : n_prompt};
    dlx_status s = value_of(&n_new, facts, decode, prompt, n_prompt, "max_new_tokens", err);
    if (s == DLX_OK) s = value_of(&plan->block_length, facts, decode, prompt, n_prompt, "block_length", err);
    if (s != DLX_OK) return s;
    plan->n_new = (size_t)n_new;
    for (size_t i = 0; i < n_prompt; i++) plan->n_masks += facts->mask_id >= 0 && prompt[i] == facts->mask_id;
    return DLX_OK;
}

size_t dlx_cli_plan_total(const dlx_cli_plan *plan)
{
    return plan->n_masks + plan->n_new;
}

size_t dlx_cli_plan_known(const dlx_cli_plan *plan, const int32_t *ids, size_t n_ids)
{
    size_t known = plan->n_masks;
    for (size_t i = 0; i < n_ids; i++) {
        if (i < plan->n_prompt)
            known -= ids[i] == plan->mask_id && known > 0;
        else
            known += ids[i] != plan->mask_id;
    }
    size_t total = dlx_cli_plan_total(plan); /* the last block may reach beyond what was asked for */
    return known < total ? known : total;
}

dlx_span dlx_cli_plan_active(const dlx_cli_plan *plan, const int32_t *ids, size_t n_ids)
{
    size_t first = 0;
    while (first < n_ids && ids[first] != plan->mask_id) first++;
    if (first == n_ids) return (dlx_span){0, 0};
    if (!plan->block_length || first < plan->grid) return (dlx_span){0, (int32_t)n_ids};
    size_t block = (size_t)plan->block_length, begin = plan->grid + (first - plan->grid) / block * block;
    size_t end = begin + block;
    return (dlx_span){(int32_t)begin, (int32_t)(end < n_ids ? end : n_ids)};
}

/* ---- the line --------------------------------------------------------------------------------------------------- */

void dlx_cli_decoding_begin(dlx_cli_decoding *d, const dlx_cli_plan *plan, const char *what)
{
    *d = (dlx_cli_decoding){.plan = *plan, .what = what, .begin = dlx_cli_seconds()};
    dlx_cli_progress(!*what, "%sreading the prompt of %zu tokens", what, plan->n_prompt);
}

void dlx_cli_decoding_step(dlx_cli_decoding *d, const int32_t *ids, size_t n_ids)
{
    d->passes++;
    if (d->hidden || !dlx_cli_is_terminal(stderr)) return;
    size_t total = dlx_cli_plan_total(&d->plan), known = dlx_cli_plan_known(&d->plan, ids, n_ids);
    double seconds = dlx_cli_seconds() - d->begin;
    char time[64] = "";
    if (!*d->what && known) /* an answer may end earlier */
        snprintf(time, sizeof time, ", %.1f s, at most %.0f s left", seconds,
                 seconds / (double)known * (double)(total - known));
    dlx_cli_progress(false, "%spass %lld, %zu of %zu tokens known%s", d->what, (long long)d->passes, known, total,
                     time);
}

bool dlx_cli_decoding_on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    (void)step;
    dlx_cli_decoding_step(ctx, ids, n_ids);
    return !dlx_cli_interrupted();
}

void dlx_cli_show_loading(const char *path)
{
    struct stat st;
    char size[32];
    const char *name = strrchr(path, '/');
    if (stat(path, &st) != 0) return;
    dlx_cli_progress(true, "loading %s (%s)", name ? name + 1 : path, dlx_cli_bytes(size, (uint64_t)st.st_size));
}
