/* Bounds of the server that no option changes, in one place. docs/SERVER.md states them. */
#ifndef DLX_SRV_LIMITS_H
#define DLX_SRV_LIMITS_H

enum {
    DLX_SRV_MOST_BODY = 4 << 20,          /* bytes of a request's body */
    DLX_SRV_MOST_HEADERS = 16 << 10,      /* bytes of its headers */
    DLX_SRV_CONNECTION_MEMORY = 64 << 10, /* what the HTTP library keeps of a connection */
    DLX_SRV_CONNECTION_STACK = 2 << 20,   /* of a connection's thread */
    DLX_SRV_MOST_CONNECTIONS = 256,       /* at one time, beside those that are told so */
    DLX_SRV_MOST_OPEN = 512,              /* from here on a new one waits */
    DLX_SRV_IDLE_MS = 1000,           /* who did nothing for so long makes room for others; a new one waits as long */
    DLX_SRV_DELIVERY_SECONDS = 60,    /* a finished answer is sent within that time */
    DLX_SRV_KEEPALIVE_MS = 10000,     /* a comment line in a silent stream */
    DLX_SRV_MOST_OUTBOX = 16 << 20,   /* bytes that a stream's reader may lag behind */
    DLX_SRV_MOST_CHOICES = 64,        /* answers of one request: prompts times n */
    DLX_SRV_MOST_STOPS = 16,          /* stop strings */
    DLX_SRV_MOST_TOP_LOGPROBS = 20,   /* as OpenAI has it */
    DLX_SRV_MOST_BIASES = 1024,       /* entries of logit_bias */
    DLX_SRV_MOST_CONSTRAINTS = 256,   /* kept for requests to come */
    DLX_SRV_CONSTRAINT_MB = 64,       /* memory of one constraint */
    DLX_SRV_CONSTRAINTS_MB = 256,     /* and of all */
    DLX_SRV_CONSTRAINT_DEPTH = 2,     /* how often a schema may lie inside itself */
    DLX_SRV_MOST_PLACES = 8 << 20,    /* states times tokens, where all tokens are chosen together */
    DLX_SRV_MOST_BUILDS = 2,          /* constraints built at one time */
    DLX_SRV_MOST_BUILDS_WAITING = 16, /* beside them */
    DLX_SRV_MOST_CHOICE_WORDS = 1024, /* of guided_choice */
    DLX_SRV_RETRY_SECONDS = 2,        /* Retry-After where the queue is full */
};

#endif
