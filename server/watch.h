/*
 * The watch over connections: whoever does not send a whole request, or take a finished answer, in time is cut off, and
 * whoever closes while an answer is being made has it cancelled. One thread for all connections. (The HTTP library's
 * own time limit starts anew with every byte, so it holds nobody who sends one a second, and it does not look at a
 * connection while its request is worked on.)
 */
#ifndef DLX_SRV_WATCH_H
#define DLX_SRV_WATCH_H

#include <stdbool.h>

typedef struct dlx_srv_watch dlx_srv_watch;
typedef struct dlx_srv_peer dlx_srv_peer;

/* NULL when the system has no thread, pipe or memory left. */
dlx_srv_watch *dlx_srv_watch_open(void);
/* All peers are gone. NULL is fine. */
void dlx_srv_watch_close(dlx_srv_watch *w);

/* A connection that must send a whole request within so many seconds. NULL when memory runs out. The descriptor stays
 * open until `leave`. */
dlx_srv_peer *dlx_srv_peer_join(dlx_srv_watch *w, int fd, int seconds);
void dlx_srv_peer_leave(dlx_srv_watch *w, dlx_srv_peer *peer);
/* So many seconds from now on; 0: no limit. */
void dlx_srv_peer_limit(dlx_srv_watch *w, dlx_srv_peer *peer, int seconds);
/* Calls closed(ctx), once, when the peer closes; `closed` NULL: no more. Behind the call no earlier one is running. */
void dlx_srv_peer_on_close(dlx_srv_watch *w, dlx_srv_peer *peer, void (*closed)(void *ctx), void *ctx);

/* Limits the peer, if there is one, whose close is told to this ctx. Not from within `closed`. */
void dlx_srv_watch_limit(dlx_srv_watch *w, const void *ctx, int seconds);

#endif
