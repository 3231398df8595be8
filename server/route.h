/* From a request to its endpoint: which there are, who may call them, and how. Knows nothing of the HTTP library. */
#ifndef DLX_SRV_ROUTE_H
#define DLX_SRV_ROUTE_H

#include "state.h"

typedef struct dlx_srv_request {
    dlx_srv_state *state;
    dlx_srv_peer *peer;
    const char *method, *path;
    const char *target; /* what the request names: the path, or an address that ends with it; NULL: the path */
    /* Headers, NULL where they are missing. */
    const char *authorization, *host, *origin, *if_none_match;
    const char *body; /* [n_body] NUL-terminated */
    size_t n_body;
} dlx_srv_request;

/* The path in the target of a request, which is one or, as proxies are asked, a whole address: "http://host/path". */
const char *dlx_srv_path(const char *target);
/* The name of the endpoint for the counts; "other" where there is none. */
const char *dlx_srv_endpoint(const char *path);
/* Whether there is an endpoint of that path, and requests are posted to it. */
bool dlx_srv_posted(const char *path);
/* What can be said before the body is there: false, and an error in the reply, for who may not ask or asks for nothing
 * that there is. */
bool dlx_srv_admit(const dlx_srv_request *r, dlx_srv_reply *reply);
/* Runs the endpoint. Waits for the answer, unless it is a stream. */
void dlx_srv_dispatch(const dlx_srv_request *r, dlx_srv_reply *reply);
/* Whether a page of this origin may read answers. */
bool dlx_srv_origin_named(const dlx_srv_state *state, const char *origin);

/* Whether others than this machine reach an address: anything but 127.0.0.0/8, ::1 and localhost. */
bool dlx_srv_is_loopback(const char *host);

/* Whether a browser could send it as the origin of a page: "https://the.page", "http://127.0.0.1:3000", "null"; or "*".
 */
bool dlx_srv_is_origin(const char *text);

/* The endpoints. */
typedef void dlx_srv_handler(const dlx_srv_request *r, dlx_srv_reply *reply);
dlx_srv_handler dlx_srv_chat, dlx_srv_completions, dlx_srv_responses, dlx_srv_infill, dlx_srv_tokenize,
    dlx_srv_detokenize, dlx_srv_apply_template, dlx_srv_models, dlx_srv_health, dlx_srv_props, dlx_srv_slots,
    dlx_srv_show_metrics, dlx_srv_page;

#endif
