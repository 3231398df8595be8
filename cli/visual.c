/*
 * The view is built as a list of screen lines in memory, because where lines break decides how far up the next redraw
 * has to go. Characters are measured with wcwidth, so the program must have set its locale.
 */
#define _XOPEN_SOURCE 700
#include "visual.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "output.h"

enum { MOST_JOINED = 8 }; /* tokens that one character may be spread over */

/* Confidences below each bound get the colour; the last one has none. */
static const struct {
    float below;
    const char *colour, *what;
} scale[] = {
    {0.5f, "\033[31m", "below 0.5"},
    {0.8f, "\033[33m", "0.5 to 0.8"},
    {0.95f, "\033[36m", "0.8 to 0.95"},
    {0, "\033[32m", "from 0.95"},
};
static const char plain[] = "\033[0m", bold[] = "\033[1m", dim[] = "\033[2m";

/* The screen lines under construction. */
typedef struct sheet {
    const dlx_cli_visual *v;
    FILE *out;
    int column, columns, line;
    long *start; /* [lines + 1] offset of each line in `out` */
    size_t capacity;
    bool failed;
} sheet;

bool dlx_cli_visual_possible(FILE *out)
{
    return dlx_cli_moves(out);
}

/* Numbers are read and written without the locale. */
void dlx_cli_visual_locale(void)
{
    if (!setlocale(LC_CTYPE, "") || !strcmp(setlocale(LC_CTYPE, NULL), "C")) setlocale(LC_CTYPE, "C.UTF-8");
}

bool dlx_cli_visual_open(dlx_cli_visual *v, FILE *out, const dlx_tokenizer *tokenizer, const dlx_cli_plan *plan,
                         size_t n)
{
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    *v = (dlx_cli_visual){.out = out, .tokenizer = tokenizer, .plan = *plan, .capacity = n};
    v->colours = dlx_cli_colours(out);
    v->mask = utf8 ? "\xE2\x96\x91" : "_";
    v->later = utf8 ? "\xC2\xB7" : ".";
    v->confidence = malloc((n ? n : 1) * sizeof *v->confidence);
    v->pass = calloc(n ? n : 1, sizeof *v->pass);
    if (!v->confidence || !v->pass) {
        dlx_cli_visual_close(v);
        return false;
    }
    for (size_t i = 0; i < n; i++) v->confidence[i] = -1;
    return true;
}

void dlx_cli_visual_close(dlx_cli_visual *v)
{
    free(v->confidence);
    free(v->pass);
    v->confidence = NULL;
    v->pass = NULL;
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

static void begin_line(sheet *s)
{
    if ((size_t)s->line + 2 > s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 64;
        long *grown = realloc(s->start, capacity * sizeof *grown);
        if (!grown) {
            s->failed = true;
            return;
        }
        s->start = grown;
        s->capacity = capacity;
    }
    s->start[s->line++] = ftell(s->out);
    s->column = 0;
}

/* Text in one style; breaks lines where the screen ends. Control characters become '?'. */
static void put(sheet *s, const char *style, bool strong, const char *text, size_t n)
{
    mbstate_t state = {0};
    bool coloured = s->v->colours;
    if (coloured) fprintf(s->out, "%s%s", strong ? bold : "", style);
    for (size_t i = 0; i < n && !s->failed;) {
        wchar_t c;
        size_t step = mbrtowc(&c, text + i, n - i, &state);
        int width = 1;
        if (step == (size_t)-1 || step == (size_t)-2 || step == 0) {
            memset(&state, 0, sizeof state);
            step = 1;
            c = L'?';
        }
        if (c == L'\n') {
            begin_line(s);
            i += step;
            continue;
        }
        if (c != L'?') width = wcwidth(c);
        if (s->column + (width > 0 ? width : 1) > s->columns) begin_line(s);
        if (c == L'?' || width < 0)
            fputc('?', s->out);
        else
            fwrite(text + i, 1, step, s->out);
        s->column += width < 0 ? 1 : width;
        i += step;
    }
    if (coloured) fputs(plain, s->out);
}

const char *dlx_cli_confidence_colour(float confidence)
{
    size_t i = 0;
    while (i + 1 < sizeof scale / sizeof *scale && !(confidence < scale[i].below)) i++;
    return scale[i].colour;
}

static bool ends_in_replacement(const char *text, size_t n)
{
    return n >= 3 && !memcmp(text + n - 3, "\xEF\xBF\xBD", 3);
}

/* Draws the token at position i and those behind it that finish its last character; returns how many. */
static size_t put_token(sheet *s, const int32_t *ids, size_t i, size_t n_ids)
{
    const dlx_cli_visual *v = s->v;
    size_t joined = 1;
    char *text;
    size_t n;
    float least = i < v->capacity ? v->confidence[i] : -1;
    bool fresh = i < v->capacity && v->pass[i] == v->passes;
    for (;; joined++) {
        if (dlx_tokenizer_decode(v->tokenizer, ids + i, joined, true, &text, &n, NULL) != DLX_OK) {
            s->failed = true;
            return joined;
        }
        bool more = i + joined < n_ids && joined < MOST_JOINED && ids[i + joined] != v->plan.mask_id;
        if (!ends_in_replacement(text, n) || !more) break;
        dlx_free(text);
        if (i + joined < v->capacity && v->confidence[i + joined] < least) least = v->confidence[i + joined];
    }
    put(s, least < 0 ? "" : dlx_cli_confidence_colour(least), fresh, text, n);
    dlx_free(text);
    return joined;
}

/* ---- drawing ---------------------------------------------------------------------------------------------------- */

static void go_to_top(const dlx_cli_visual *v)
{
    if (v->lines > 1) fprintf(v->out, "\033[%dA", v->lines - 1);
    fputc('\r', v->out);
}

void dlx_cli_visual_wipe(dlx_cli_visual *v)
{
    if (v->lines) {
        go_to_top(v);
        fputs("\033[J", v->out);
    }
    v->lines = 0;
    fflush(v->out);
}

/* The last lines of the sheet that fit the screen go over what is there. */
static void show(dlx_cli_visual *v, const sheet *s, const char *bytes, long size)
{
    int most = dlx_cli_rows(v->out) - 1, first = s->line > most ? s->line - most : 0;
    if (v->lines) go_to_top(v);
    for (int i = first; i < s->line; i++) {
        long end = i + 1 < s->line ? s->start[i + 1] : size;
        fwrite(bytes + s->start[i], 1, (size_t)(end - s->start[i]), v->out);
        fputs(i + 1 < s->line ? "\033[K\n" : "\033[K", v->out);
    }
    fputs("\033[J", v->out);
    v->lines = s->line - first;
    fflush(v->out);
}

static void put_caption(sheet *s, const int32_t *ids, size_t n_ids)
{
    const dlx_cli_visual *v = s->v;
    const dlx_cli_plan *p = &v->plan;
    char text[160], block[64] = "";
    size_t length = (size_t)p->block_length, total = dlx_cli_plan_total(p);
    if (length && v->active.end) {
        size_t first = (p->n_prompt - p->grid) / length, begin = (size_t)v->active.begin;
        size_t last = (p->n_prompt + p->n_new - 1 - p->grid) / length;
        if (begin >= p->grid && last > first)
            snprintf(block, sizeof block, ", block %zu of %zu", (begin - p->grid) / length - first + 1,
                     last - first + 1);
    }
    snprintf(text, sizeof text, "pass %d%s, %zu of %zu tokens known, %.1f ms a pass", v->passes, block,
             dlx_cli_plan_known(p, ids, n_ids), total, v->ms / v->passes);
    for (char *line = text; (int)strlen(line) > s->columns;) { /* broken behind a comma */
        char *last = NULL;
        for (char *c = line; (c = strstr(c, ", ")) && c - line < s->columns; c++) last = c;
        if (!last) break;
        last[1] = '\n';
        line = last + 2;
    }
    begin_line(s);
    put(s, dim, false, text, strlen(text));
}

static void draw(dlx_cli_visual *v, const int32_t *ids, size_t n_ids)
{
    char *bytes = NULL;
    size_t size = 0;
    sheet s = {.v = v, .columns = dlx_cli_columns(v->out) - 1};
    s.out = open_memstream(&bytes, &size);
    if (!s.out) return;
    begin_line(&s);
    v->active = dlx_cli_plan_active(&v->plan, ids, n_ids);
    for (size_t i = v->plan.n_prompt; i < n_ids && !s.failed;) {
        if (ids[i] == v->plan.mask_id) {
            bool active = i >= (size_t)v->active.begin && i < (size_t)v->active.end;
            const char *mask = active ? v->mask : v->later;
            put(&s, active ? "" : dim, false, mask, strlen(mask));
            i++;
        } else {
            i += put_token(&s, ids, i, n_ids);
        }
    }
    put_caption(&s, ids, n_ids);
    if (fclose(s.out) == 0 && !s.failed) show(v, &s, bytes, (long)size);
    free(bytes);
    free(s.start);
}

/* A score as a number from 0 to 1. Negative entropy, the only one below 0, becomes the probability of each token of an
 * even choice that has this entropy. */
static float likelihood(float score)
{
    return score < 0 ? expf(score) : score;
}

void dlx_cli_visual_step(dlx_cli_visual *v, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    v->passes++;
    v->ms += step->milliseconds;
    for (size_t i = 0; i < step->n_accepted; i++) {
        size_t position = (size_t)step->accepted[i].position;
        if (position >= v->capacity) continue;
        v->confidence[position] = likelihood(step->accepted[i].confidence);
        v->pass[position] = v->passes;
    }
    draw(v, ids, n_ids);
    dlx_cli_wait_ms(v->delay_ms);
}

void dlx_cli_visual_legend(const dlx_cli_visual *v)
{
    if (!v->colours) return;
    fputs("confidence:", v->out);
    for (size_t i = 0; i < sizeof scale / sizeof *scale; i++)
        fprintf(v->out, " %s%s%s", scale[i].colour, scale[i].what, plain);
    fprintf(v->out, "; %snew in this pass%s\n", bold, plain);
}
