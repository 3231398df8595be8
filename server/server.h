/*
 * The server behind `diffulex-edge serve`: OpenAI's endpoints, and those of llama.cpp's server, over one model. This
 * header is what the command sees of it.
 */
#ifndef DLX_SRV_SERVER_H
#define DLX_SRV_SERVER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/model.h"

/* A line for the log, without a line end. Called from many threads, one at a time. */
typedef void (*dlx_server_log_fn)(void *ctx, const char *line);

typedef struct dlx_server_options {
    const char *path;            /* of the .pte */
    const char *host;            /* a name or a numeric address */
    int port;                    /* 0: any that is free */
    const char *model_name;      /* NULL: the file's name without its ending */
    int threads;                 /* of the model; 0: one per CPU */
    const char *cpu, *kv_type;   /* as in dlx_model_options and dlx_workspace_options */
    const char *pack_cache;      /* as in dlx_model_options */
    int seats;                   /* sequences decoded at one time */
    int queue;                   /* answers that wait at most */
    int kept;                    /* sequences kept for prompts that begin alike */
    int rows;                    /* of one pass; 0: measured */
    int request_seconds;         /* a whole request arrives within */
    const char *const *api_keys; /* [n_api_keys]; none: whoever reaches the address */
    size_t n_api_keys;
    bool insecure;              /* an address that others reach, without a key */
    const char *const *origins; /* [n_origins] of web pages that may call */
    size_t n_origins;
    bool log_prompts;
    dlx_server_log_fn log; /* NULL: no log */
    void *log_ctx;
    bool local; /* nothing listens: requests come through dlx_server_ask */
} dlx_server_options;

typedef struct dlx_server dlx_server;

/* Whether the options may be served at all: the rules of host, key and origins. Cheap; open asks as well. */
dlx_status dlx_server_check(const dlx_server_options *options, dlx_error *err);
/* Opens the model, measures it, and listens. What options point to is needed while the server is there. */
dlx_status dlx_server_open(dlx_server **out, const dlx_server_options *options, dlx_error *err);
/* "http://127.0.0.1:8080". Owned by the server; none of one that is local. */
const char *dlx_server_address(const dlx_server *server);
/* The model behind it, for who reports how it was opened. Owned by the server. */
const dlx_model *dlx_server_model(const dlx_server *server);
/* Takes no more connections; what runs has so many seconds to finish, and is cancelled then. NULL is fine. */
void dlx_server_close(dlx_server *server, int seconds);

/* ---- requests without HTTP --------------------------------------------------------------------------------------- */

typedef struct dlx_server_answer {
    int status; /* as of HTTP; 0: it was cancelled, and may be asked again */
    char *body; /* [n] JSON on one line, freed with free; NULL: memory ran out */
    size_t n;
    char id[64]; /* digits that no other request has */
} dlx_server_answer;

/* JSON [n], NUL-terminated, as bodies of requests are read; `within`: in how many objects the body lies there. NULL,
 * and what is wrong, behind "it ". */
json_t *dlx_server_read(const char *text, size_t n, int within, char *why, size_t size);
/* Whether requests are posted to this path. */
bool dlx_server_takes(const char *path);
/* What a request that is posted to `path` is answered with. A body that asks for a stream gets its answer whole, and
 * loses that wish. Waits for the answer. From any thread. */
void dlx_server_ask(dlx_server *server, const char *path, json_t *body, dlx_server_answer *out);
/* What is being answered ends before its next pass, and nothing is answered any more. */
void dlx_server_cancel(dlx_server *server);

typedef struct dlx_server_counts {
    uint64_t prompt_tokens, cached_tokens, answer_tokens, passes;
} dlx_server_counts;
/* Of all answers so far. */
dlx_server_counts dlx_server_counted(dlx_server *server);

#endif
