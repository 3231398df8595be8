/*
 * An answer's text taken apart as it comes: what stands before </think>, what stands between <tool_call> and
 * </tool_call> (the form of Hermes and Qwen), and the rest. What may still become one of these words is held back.
 */
#ifndef DLX_SRV_SPLIT_H
#define DLX_SRV_SPLIT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum dlx_srv_part { DLX_SRV_CONTENT, DLX_SRV_REASONING, DLX_SRV_TOOL_CALL } dlx_srv_part;

/* How a text begins: as content, perhaps with <think>, behind a <think> of the prompt, or as the one call that all of
 * it is, behind a <tool_call> of the prompt. */
typedef enum dlx_srv_split_begin {
    DLX_SRV_BEGIN_CONTENT,
    DLX_SRV_BEGIN_ANY,
    DLX_SRV_BEGIN_REASONING,
    DLX_SRV_BEGIN_CALL,
} dlx_srv_split_begin;

/* A tool call comes as a whole, the others in pieces. `text` is NUL-terminated. */
typedef void (*dlx_srv_part_fn)(void *ctx, dlx_srv_part part, const char *text, size_t n);

typedef struct dlx_srv_split {
    int state;
    bool tools;
    bool called; /* the prompt began the call */
    bool trim;   /* line ends that follow are dropped */
    char *held;  /* [n] NUL-terminated */
    size_t n, capacity;
    bool failed; /* memory ran out */
    dlx_srv_part_fn part;
    void *ctx;
} dlx_srv_split;

/* `tools`: tool calls are taken out. */
void dlx_srv_split_open(dlx_srv_split *s, dlx_srv_split_begin begin, bool tools, dlx_srv_part_fn part, void *ctx);
void dlx_srv_split_close(dlx_srv_split *s);
void dlx_srv_split_push(dlx_srv_split *s, const char *text, size_t n);
void dlx_srv_split_finish(dlx_srv_split *s);

#endif
