/*
 * JSON of requests, more of it than jansson reads by itself: whole numbers beyond 63 bits, which schemas and seeds
 * have, and sentences that say what is wrong.
 */
#ifndef DLX_SRV_BODY_H
#define DLX_SRV_BODY_H

#include <jansson.h>
#include <stddef.h>

typedef struct dlx_srv_body_error {
    char message[300]; /* behind "the body " or what else it is */
    char param[128];   /* where it is, in the names of the request; "": nowhere in particular */
} dlx_srv_body_error;

/* text [n] NUL-terminated. A new reference, or NULL and what is wrong. No string has a NUL. A whole number beyond 63
 * bits is a real; a member "seed" of up to 64 bits, of the object at this depth (1: the outermost), is the number of
 * the same 64 bits. */
json_t *dlx_srv_body_read(const char *text, size_t n, int depth, dlx_srv_body_error *error);

#endif
