/* The commands, one source file each. */
#ifndef DLX_CLI_COMMANDS_H
#define DLX_CLI_COMMANDS_H

#include "arguments.h"

extern const dlx_cli_command dlx_cli_export, dlx_cli_inspect, dlx_cli_generate, dlx_cli_chat, dlx_cli_infill,
    dlx_cli_logits, dlx_cli_tokenize, dlx_cli_detokenize, dlx_cli_eval, dlx_cli_sudoku, dlx_cli_run, dlx_cli_doctor,
    dlx_cli_quantize_report, dlx_cli_bench, dlx_cli_serve, dlx_cli_batch;

#endif
