/* A state for each part; in each one word ends it. */
#include "split.h"

#include <stdlib.h>
#include <string.h>

enum { BEGIN, REASONING, CONTENT, CALL };

static const char think[] = "<think>", unthink[] = "</think>", call[] = "<tool_call>", uncall[] = "</tool_call>";

void dlx_srv_split_open(dlx_srv_split *s, dlx_srv_split_begin begin, bool tools, dlx_srv_part_fn part, void *ctx)
{
    static const int states[] = {[DLX_SRV_BEGIN_CONTENT] = CONTENT,
                                 [DLX_SRV_BEGIN_ANY] = BEGIN,
                                 [DLX_SRV_BEGIN_REASONING] = REASONING,
                                 [DLX_SRV_BEGIN_CALL] = CALL};
    *s = (dlx_srv_split){.state = states[begin], .tools = tools, .part = part, .ctx = ctx};
    s->called = begin == DLX_SRV_BEGIN_CALL;
    s->trim = begin == DLX_SRV_BEGIN_REASONING;
}

void dlx_srv_split_close(dlx_srv_split *s)
{
    free(s->held);
    s->held = NULL;
}

static void take(dlx_srv_split *s, size_t n)
{
    memmove(s->held, s->held + n, s->n - n + 1);
    s->n -= n;
}

/* Hands out the first n held bytes. */
static void give(dlx_srv_split *s, dlx_srv_part part, size_t n)
{
    if (s->trim && part != DLX_SRV_TOOL_CALL) {
        size_t skip = 0;
        while (skip < n && s->held[skip] == '\n') skip++;
        take(s, skip);
        n -= skip;
        if (n) s->trim = false;
    }
    if (!n) return;
    char kept = s->held[n];
    s->held[n] = '\0';
    s->part(s->ctx, part, s->held, n);
    s->held[n] = kept;
    take(s, n);
}

/* Bytes at the end that may be the beginning of the word. */
static size_t begun(const dlx_srv_split *s, const char *word)
{
    size_t most = strlen(word) - 1;
    for (size_t n = s->n < most ? s->n : most; n; n--)
        if (!memcmp(s->held + s->n - n, word, n)) return n;
    return 0;
}

static bool begin(dlx_srv_split *s)
{
    size_t blank = strspn(s->held, " \n\t\r"), rest = s->n - blank, word = sizeof think - 1;
    if (rest < word && !strncmp(s->held + blank, think, rest)) return false;
    bool thinks = !strncmp(s->held + blank, think, word);
    if (thinks) take(s, blank + word);
    s->trim = thinks;
    s->state = thinks ? REASONING : CONTENT;
    return true;
}

/* Gives out `part` up to the word, which is dropped and brings the next state; false when more has to come. */
static bool until(dlx_srv_split *s, dlx_srv_part part, const char *word, int next)
{
    const char *at = strstr(s->held, word);
    if (!at && part != DLX_SRV_TOOL_CALL) give(s, part, s->n - begun(s, word));
    if (!at) return false;
    give(s, part, (size_t)(at - s->held));
    take(s, strlen(word));
    s->state = next;
    s->trim = next != CALL;
    return true;
}

static bool step(dlx_srv_split *s)
{
    switch (s->state) {
    case BEGIN: return begin(s);
    case REASONING: return until(s, DLX_SRV_REASONING, unthink, CONTENT);
    case CALL: return !s->called && until(s, DLX_SRV_TOOL_CALL, uncall, CONTENT);
    default: break;
    }
    if (s->tools) return until(s, DLX_SRV_CONTENT, call, CALL);
    give(s, DLX_SRV_CONTENT, s->n);
    return false;
}

void dlx_srv_split_push(dlx_srv_split *s, const char *text, size_t n)
{
    if (s->failed) return;
    if (s->n + n + 1 > s->capacity) {
        size_t capacity = 2 * (s->n + n + 1);
        char *grown = realloc(s->held, capacity);
        s->failed = !grown;
        if (!grown) return;
        s->held = grown;
        s->capacity = capacity;
    }
    memcpy(s->held + s->n, text, n);
    s->n += n;
    s->held[s->n] = '\0';
    while (s->n && step(s)) {}
}

void dlx_srv_split_finish(dlx_srv_split *s)
{
    if (s->failed || !s->held) return;
    if (s->state == CALL && s->called) {
        give(s, DLX_SRV_TOOL_CALL, s->n);
        return;
    }
    if (s->state == CALL) {
        /* A call that was not finished is text. */
        s->part(s->ctx, DLX_SRV_CONTENT, call, sizeof call - 1);
        s->trim = false;
    }
    give(s, s->state == REASONING ? DLX_SRV_REASONING : DLX_SRV_CONTENT, s->n);
}
