/*
 * A live view of a decode: the answer with its masks, redrawn in place after every pass, tokens coloured by the
 * confidence with which they were accepted, and a line with the pass, the block and the time. The masks of the block
 * that is worked on look different from those of later ones. Needs nothing but cursor-up and erase, so it works over
 * ssh. Its scale of colours is that of every picture the program draws.
 */
#ifndef DLX_CLI_VISUAL_H
#define DLX_CLI_VISUAL_H

#include <stdbool.h>
#include <stdio.h>

#include "diffulex_edge/diffulex_edge.h"

#include "progress.h"

/* clang-format off */
#define DLX_CLI_VISUAL_OPTIONS                                                                                         \
    {"visual", DLX_CLI_FLAG, NULL, "watch masks turn into tokens, on a terminal", 0, 0},                               \
    {"delay", DLX_CLI_INT, "MS", "with --visual: pause after every pass", 0, 60000}
/* clang-format on */

typedef struct dlx_cli_visual {
    FILE *out;
    const dlx_tokenizer *tokenizer;
    dlx_cli_plan plan;
    int64_t delay_ms;  /* after every pass that is drawn */
    dlx_span active;   /* positions of the block that is worked on */
    float *confidence; /* [capacity] by position; below 0: not accepted by this decode */
    int32_t *pass;     /* [capacity] pass that accepted it */
    size_t capacity;
    int32_t passes;
    double ms; /* of all passes */
    bool colours;
    const char *mask, *later; /* how a mask is drawn, and one of a later block */
    int lines;                /* lines on the screen that belong to the view */
} dlx_cli_visual;

/* False when `out` is no terminal whose cursor can be moved: such output gets no view. */
bool dlx_cli_visual_possible(FILE *out);
/* n: positions there can be. False when out of memory. */
bool dlx_cli_visual_open(dlx_cli_visual *v, FILE *out, const dlx_tokenizer *tokenizer, const dlx_cli_plan *plan,
                         size_t n);
/* A dlx_step_fn's arguments; draws, and waits for the delay. */
void dlx_cli_visual_step(dlx_cli_visual *v, const dlx_step *step, const int32_t *ids, size_t n_ids);
/* Wipes the view off the screen. */
void dlx_cli_visual_wipe(dlx_cli_visual *v);
void dlx_cli_visual_close(dlx_cli_visual *v);
/* Before the first view: widths of characters follow the locale. */
void dlx_cli_visual_locale(void);

/* Escape sequence of the colour for a confidence: red below 0.5, yellow, cyan, and green from 0.95. */
const char *dlx_cli_confidence_colour(float confidence);

/* One line that explains the colours; nothing where there are none. */
void dlx_cli_visual_legend(const dlx_cli_visual *v);

#endif
