/* A 6x6 Sudoku on the screen: boxes of two rows by three columns, digits coloured by how sure the model was of them. */
#ifndef DLX_CLI_FULL_BOARD_H
#define DLX_CLI_FULL_BOARD_H

#include <stdbool.h>
#include <stddef.h>

enum { DLX_CLI_BOARD_SIDE = 6, DLX_CLI_BOARD_CELLS = 36 };

typedef struct dlx_cli_board {
    bool colours, live;              /* of the terminal: may be coloured, can be drawn over */
    bool drawn;                      /* it stands above the cursor */
    int columns;                     /* of the terminal */
    char clue[DLX_CLI_BOARD_CELLS];  /* '1'..'6', or '.' */
    char digit[DLX_CLI_BOARD_CELLS]; /* what the model says, '\0' while it is masked */
    char right[DLX_CLI_BOARD_CELLS]; /* the solution */
    float confidence[DLX_CLI_BOARD_CELLS];
} dlx_cli_board;

/* Takes a puzzle ("Solve\n", six rows of 1-6 and '.') and its solution (six rows). False when they are none. */
bool dlx_cli_board_set(dlx_cli_board *board, const char *prompt, const char *answer);
/* Cell of the k-th character of an answer, or -1 for line ends and what stands behind. */
int dlx_cli_board_cell(size_t k);
size_t dlx_cli_board_clues(const dlx_cli_board *board);
/* What the standard output is: a terminal that is too small for a board is not drawn over. */
void dlx_cli_board_screen(dlx_cli_board *board);
/* Draws it over itself, or, where that is impossible, below. final: wrong digits are marked. */
void dlx_cli_board_draw(dlx_cli_board *board, bool final, const char *caption);

#endif
