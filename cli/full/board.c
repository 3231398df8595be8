/* Drawing boards with plain characters, so that they look the same over ssh and in every font. */
#include "full/board.h"

#include <stdio.h>
#include <string.h>

#include "output.h"
#include "visual.h"

#define HEADING "Solve\n"

enum {
    LINES = 11, /* six rows, four rules, one caption */
    WIDTH = 19, /* of one board */
};

void dlx_cli_board_screen(dlx_cli_board *board)
{
    board->columns = dlx_cli_columns(stdout);
    board->colours = dlx_cli_colours(stdout);
    board->live = dlx_cli_moves(stdout) && board->columns > WIDTH && dlx_cli_rows(stdout) > LINES;
}

bool dlx_cli_board_set(dlx_cli_board *board, const char *prompt, const char *answer)
{
    size_t n = strlen(HEADING), cells = DLX_CLI_BOARD_SIDE * (DLX_CLI_BOARD_SIDE + 1);
    if (strncmp(prompt, HEADING, n) != 0 || strlen(prompt) != n + cells || strlen(answer) != cells) return false;
    board->drawn = false;
    for (size_t k = 0; k < cells; k++) {
        int cell = dlx_cli_board_cell(k);
        char clue = prompt[n + k], right = answer[k];
        if (cell < 0 && (clue != '\n' || right != '\n')) return false;
        if (cell < 0) continue;
        if (!strchr("123456.", clue) || !strchr("123456", right)) return false;
        board->clue[cell] = clue;
        board->right[cell] = right;
        board->digit[cell] = '\0';
        board->confidence[cell] = 0;
    }
    return true;
}

int dlx_cli_board_cell(size_t k)
{
    size_t row = k / (DLX_CLI_BOARD_SIDE + 1), column = k % (DLX_CLI_BOARD_SIDE + 1);
    return row < DLX_CLI_BOARD_SIDE && column < DLX_CLI_BOARD_SIDE ? (int)(row * DLX_CLI_BOARD_SIDE + column) : -1;
}

size_t dlx_cli_board_clues(const dlx_cli_board *board)
{
    size_t n = 0;
    for (int i = 0; i < DLX_CLI_BOARD_CELLS; i++) n += board->clue[i] != '.';
    return n;
}

/* The clue is bold; an answer has the colour of its confidence. */
static const char *colour_of(const dlx_cli_board *b, int cell, bool final)
{
    char shown = b->digit[cell] ? b->digit[cell] : b->clue[cell];
    if (final && shown != b->right[cell]) return "\033[1;37;41m";
    if (b->clue[cell] != '.') return "\033[1m";
    if (!b->digit[cell]) return "\033[2m";
    return dlx_cli_confidence_colour(b->confidence[cell]);
}

static void draw_cell(const dlx_cli_board *b, int cell, bool final)
{
    char shown = b->digit[cell] ? b->digit[cell] : b->clue[cell];
    if (b->colours)
        printf(" %s%c\033[0m", colour_of(b, cell, final), shown);
    else
        printf("%c%c", final && shown != b->right[cell] ? '!' : ' ', shown);
}

static void draw_row(const dlx_cli_board *b, int row, bool answer, bool final)
{
    printf("  |");
    for (int column = 0; column < DLX_CLI_BOARD_SIDE; column++) {
        int cell = row * DLX_CLI_BOARD_SIDE + column;
        if (answer)
            draw_cell(b, cell, final);
        else
            printf(" %c", b->clue[cell]);
        if (column % 3 == 2) printf(" |");
    }
}

/* Where nothing can be drawn over, puzzle and answer stand side by side. */
void dlx_cli_board_draw(dlx_cli_board *board, bool final, const char *caption)
{
    static const char *const rule = "  +-------+-------+";
    bool beside = !board->live && board->columns > 2 * WIDTH; /* the puzzle, too */
    const char *second = beside ? rule : "";
    if (!board->live && !final) return;
    if (board->drawn && board->live) printf("\033[%dA", LINES);
    board->drawn = true;
    for (int row = 0; row < DLX_CLI_BOARD_SIDE; row++) {
        if (row % 2 == 0) printf("%s%s\n", rule, second);
        if (beside) draw_row(board, row, false, false);
        draw_row(board, row, true, final);
        printf("\n");
    }
    /* One that takes two lines would be in the way of the next drawing. */
    int room = board->live ? board->columns - 1 : (int)strlen(caption);
    printf("%s%s\n%.*s%s\n", rule, second, room, caption, board->live ? "\033[K" : "");
    dlx_cli_flush();
}
