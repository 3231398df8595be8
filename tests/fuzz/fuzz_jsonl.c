/*
 * Arbitrary bytes as a file of held-out questions (commands eval and sudoku). The first byte bounds the number of
 * lines. Questions that are read are complete; a file that is not is refused with a sentence that names its line.
 */
#include "folder.h"
#include "full/board.h"
#include "full/jsonl.h"
#include "fuzz.h"

/* Lines that hold more than white space, as far as reading may go. */
static size_t lines_of(const uint8_t *data, size_t n, size_t most)
{
    size_t lines = 0;
    for (size_t i = 0; i < n && (!most || lines < most);) {
        const uint8_t *end = memchr(data + i, '\n', n - i);
        size_t stop = end ? (size_t)(end - data) : n, k = i;
        while (k < stop && memchr(" \t\r\v\f", data[k], 5)) k++;
        lines += k < stop;
        i = stop + 1;
    }
    return lines;
}

static void check(const dlx_cli_question *q)
{
    dlx_cli_board board;
    require(q->answer != NULL && (q->prompt != NULL) == (q->messages == NULL));
    require(!q->messages || (q->messages[0] == '[' && strstr(q->messages, "\"role\"")));
    require(!q->tools || q->messages);
    if (!q->prompt || !dlx_cli_board_set(&board, q->prompt, q->answer)) return;
    require(dlx_cli_board_clues(&board) <= DLX_CLI_BOARD_CELLS);
    for (int i = 0; i < DLX_CLI_BOARD_CELLS; i++)
        require(strchr("123456.", board.clue[i]) && board.clue[i] && strchr("123456", board.right[i]) &&
                board.right[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *folder = folder_make();
    char path[512];
    fuzz_input in = {data, size};
    dlx_cli_questions q;
    dlx_error err = {0};
    size_t most = take_byte(&in) % 8;
    folder_put(folder, "questions.jsonl", in.at, in.left);
    snprintf(path, sizeof path, "%s/questions.jsonl", folder);
    dlx_status s = dlx_cli_questions_read(&q, path, most, &err);
    require_sentence(s, &err);
    if (s == DLX_OK) {
        require(q.n == lines_of(in.at, in.left, most) && q.n > 0);
        for (size_t i = 0; i < q.n; i++) check(&q.list[i]);
    } else {
        require(strstr(err.message, "questions.jsonl") != NULL);
    }
    dlx_cli_questions_free(&q);
    return 0;
}
