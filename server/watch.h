/*
 * The watch over connections: whoever does not send a whole request, or take a finished answer, in time is cut off, and
 * whoever closes while an answer is being made has it cancelled. When there are too many connections, those go that
 * nobody works for. One thread for all connections. (The HTTP library's own time limit starts anew with every byte, so
 * it holds nobody who sends one a second, and it does not look at a connection while its request is worked on. At its
 * own limit of connections it closes new ones without a word.)
 */
#ifndef DLX_SRV_WATCH_H
#define DLX_SRV_WATCH_H

#include <stdbool.h>
#include <stddef.h>

typedef struct dlx_srv_watch dlx_srv_watch;
typedef struct dlx_srv_peer dlx_srv_peer;

/* What a connection does, in the order in which connections go when there are too many. */
typedef enum dlx_srv_turn {
    DLX_SRV_IDLE,      /* no request is there */
    DLX_SRV_ASKING,    /* the headers of one are */
    DLX_SRV_TAKING,    /* the answer is whole, and the client takes it */
    DLX_SRV_WORKED_ON, /* these stay */
} dlx_srv_turn;

/* While there are more than `most` connections, those that did nothing for `idle_ms` are cut off: those without a
 * request first, then those that send or take slowly, the longest first. NULL when the system has no thread, pipe or
 * memory left. */
dlx_srv_watch *dlx_srv_watch_open(size_t most, int idle_ms);
/* All peers are gone. NULL is fine. */
void dlx_srv_watch_close(dlx_srv_watch *w);

/* An idle connection that must send a whole request within so many seconds. NULL when memory runs out. The descriptor
 * stays open until `leave`. */
dlx_srv_peer *dlx_srv_peer_join(dlx_srv_watch *w, int fd, int seconds);
void dlx_srv_peer_leave(dlx_srv_watch *w, dlx_srv_peer *peer);
/* What it does from now on, and for how many seconds it may; 0: without a limit, -1: the one that it has stays. */
void dlx_srv_peer_turn(dlx_srv_watch *w, dlx_srv_peer *peer, dlx_srv_turn turn, int seconds);
/* Whether `most` connections that came before this one are still there. */
bool dlx_srv_peer_beyond(dlx_srv_watch *w, const dlx_srv_peer *peer);
/* Waits while there are more than `room` connections, at most so long. */
void dlx_srv_watch_wait(dlx_srv_watch *w, size_t room, int ms);
/* Calls closed(ctx), once, when the peer closes; `closed` NULL: no more. Behind the call no earlier one is running. */
void dlx_srv_peer_on_close(dlx_srv_watch *w, dlx_srv_peer *peer, void (*closed)(void *ctx), void *ctx);

/* The peer, if there is one, whose close is told to this ctx has its whole answer, and so many seconds to take it. Not
 * from within `closed`. */
void dlx_srv_watch_limit(dlx_srv_watch *w, const void *ctx, int seconds);

#endif
