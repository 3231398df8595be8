/* What `bench` found, as a table for people and as JSON. */
#ifndef DLX_CLI_BENCH_REPORT_H
#define DLX_CLI_BENCH_REPORT_H

#include "arguments.h"

enum { DLX_CLI_BENCH_PROBES = 32, DLX_CLI_BENCH_TOKENS = 8, DLX_CLI_BENCH_DECODES = 64 };

/* A limit of the machine. */
typedef struct dlx_cli_probed {
    dlx_probe_info info;
    double per_second; /* 0: not measured */
} dlx_cli_probed;

/* A decode with a preset: reckoned for each number of tokens a pass, or run over a prompt. */
typedef struct dlx_cli_bench_row {
    char preset[32];                   /* "balanced"; "given" for options of the command line */
    dlx_bench_decode decode;           /* of the first number of tokens; what is no estimate is the run's */
    int32_t small_block;               /* of a plan: 0, or the small block that was asked for */
    double rate[DLX_CLI_BENCH_TOKENS]; /* tokens a second; 0: not known */
    char problem[512];                 /* why there is nothing; "" */
} dlx_cli_bench_row;

typedef struct dlx_cli_bench_report {
    const char *path, *kv_type;
    char cpu[128];
    dlx_model_facts facts;
    double load_ms;
    dlx_memory memory;
    uint64_t peak_memory; /* resident, with the passes */
    dlx_cli_probed probe[DLX_CLI_BENCH_PROBES];
    size_t n_probes;
    dlx_bench *bench;                    /* NULL: interrupted before there was one */
    bool measured;                       /* decodes were run over a prompt */
    size_t n_prompt;                     /* its tokens */
    double tokens[DLX_CLI_BENCH_TOKENS]; /* that a pass reveals, of estimates */
    size_t n_tokens;
    dlx_cli_bench_row decode[DLX_CLI_BENCH_DECODES], plan[DLX_CLI_BENCH_DECODES];
    size_t n_decodes, n_plan;
    bool planned;
    bool interrupted;
} dlx_cli_bench_report;

/* Which of the numbers of tokens a pass a plan goes by: the middle one. */
size_t dlx_cli_bench_plans_by(const dlx_cli_bench_report *r);
/* Of a plan: the row with the most tokens a second at that, NULL when there is none. */
const dlx_cli_bench_row *dlx_cli_bench_best(const dlx_cli_bench_report *r);

/* Of a decode that is reckoned: it has passes of more rows than were measured, or of sizes far from those. */
bool dlx_cli_bench_guessed(const dlx_cli_bench_report *r, const dlx_cli_bench_row *row);

void dlx_cli_bench_text(const dlx_cli_bench_report *r);
void dlx_cli_bench_json(const dlx_cli_bench_report *r);

#endif
