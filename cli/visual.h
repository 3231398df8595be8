/*
 * A live view of a decode: the answer with its masks, redrawn in place after every pass, tokens coloured by the
 * confidence with which they were accepted. Needs nothing but cursor-up and erase, so it works over ssh. Its scale of
 * colours is that of every picture the program draws.
 */
#ifndef DLX_CLI_VISUAL_H
#define DLX_CLI_VISUAL_H

#include <stdbool.h>
#include <stdio.h>

#include "diffulex_edge/diffulex_edge.h"

typedef struct dlx_cli_visual {
    FILE *out;
    const dlx_tokenizer *tokenizer;
    int32_t mask_id;
    size_t first;      /* position of the answer's first token */
    float *confidence; /* [capacity] by position; below 0: not accepted by this decode */
    int32_t *pass;     /* [capacity] pass that accepted it */
    size_t capacity;
    int32_t passes;
    bool colours;
    const char *mask; /* how a mask is drawn */
    int lines;        /* lines on the screen that belong to the view */
} dlx_cli_visual;

/* False when `out` is no terminal whose cursor can be moved: such output gets no view. */
bool dlx_cli_visual_possible(FILE *out);
/* n_prompt: positions before the answer; n: positions there can be. False when out of memory. */
bool dlx_cli_visual_open(dlx_cli_visual *v, FILE *out, const dlx_tokenizer *tokenizer, int32_t mask_id, size_t n_prompt,
                         size_t n);
/* A dlx_step_fn's arguments; draws. */
void dlx_cli_visual_step(dlx_cli_visual *v, const dlx_step *step, const int32_t *ids, size_t n_ids);
/* Wipes the view off the screen. */
void dlx_cli_visual_wipe(dlx_cli_visual *v);
void dlx_cli_visual_close(dlx_cli_visual *v);

/* Escape sequence of the colour for a confidence: red below 0.5, yellow, cyan, and green from 0.95. */
const char *dlx_cli_confidence_colour(float confidence);

/* One line that explains the colours; nothing where there are none. */
void dlx_cli_visual_legend(const dlx_cli_visual *v);

#endif
