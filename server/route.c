/* The table of endpoints, keys, and the rules about hosts and web pages. */
#include "route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "page.h"

typedef struct endpoint {
    const char *path;
    bool post;
    bool open; /* for who has no key as well */
    dlx_srv_handler *run;
} endpoint;

static const endpoint endpoints[] = {
    {"/", false, true, dlx_srv_page}, /* and its files */
    {"/v1/chat/completions", true, false, dlx_srv_chat},
    {"/v1/completions", true, false, dlx_srv_completions},
    {"/v1/responses", true, false, dlx_srv_responses},
    {"/v1/models", false, false, dlx_srv_models},
    {"/infill", true, false, dlx_srv_infill},
    {"/tokenize", true, false, dlx_srv_tokenize},
    {"/detokenize", true, false, dlx_srv_detokenize},
    {"/apply-template", true, false, dlx_srv_apply_template},
    {"/health", false, true, dlx_srv_health},
    {"/v1/health", false, true, dlx_srv_health},
    {"/props", false, false, dlx_srv_props},
    {"/slots", false, false, dlx_srv_slots},
    {"/metrics", false, false, dlx_srv_show_metrics},
};

#define MODEL "/v1/models/" /* and its name */

static const endpoint *find(const char *path)
{
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++)
        if (!strcmp(endpoints[i].path, path)) return &endpoints[i];
    if (!strncmp(path, MODEL, strlen(MODEL))) return find("/v1/models");
    return dlx_srv_page_find(path) ? find("/") : NULL;
}

const char *dlx_srv_endpoint(const char *path)
{
    const endpoint *e = find(path);
    return e ? e->path : "other";
}

bool dlx_srv_posted(const char *path)
{
    const endpoint *e = find(path);
    return e && e->post;
}

/* ---- targets ------------------------------------------------------------------------------------------------------
 */

/* The host and port that a whole address names, and how long they are; NULL where the target is a path. */
static const char *authority_of(const char *target, size_t *n)
{
    size_t scheme = !strncasecmp(target, "http://", 7) ? 7 : !strncasecmp(target, "https://", 8) ? 8 : 0;
    *n = scheme ? strcspn(target + scheme, "/?#") : 0;
    return *n ? target + scheme : NULL;
}

const char *dlx_srv_path(const char *target)
{
    size_t n;
    const char *authority = authority_of(target, &n);
    if (!authority) return target;
    return authority[n] == '/' ? authority + n : "/";
}

/* ---- who may ask ------------------------------------------------------------------------------------------------- */

bool dlx_srv_is_loopback(const char *host)
{
    unsigned a, b, c, d;
    char rest;
    if (!strcasecmp(host, "localhost") || !strcmp(host, "::1") || !strcmp(host, "[::1]")) return true;
    return sscanf(host, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &rest) == 4 && a == 127 && b < 256 && c < 256 && d < 256;
}

bool dlx_srv_is_origin(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789+-._", first[] = "abcdefghijklmnopqrstuvwxyz";
    size_t scheme = strspn(text, letters), host;
    if (!strcmp(text, "*") || !strcmp(text, "null")) return true;
    if (!strspn(text, first) || strncmp(text + scheme, "://", 3) != 0) return false;
    const char *rest = text + scheme + 3;
    if (*rest == '[') {
        host = 1 + strspn(rest + 1, "0123456789abcdef:.");
        if (rest[host++] != ']') return false;
    } else {
        host = strspn(rest, letters);
    }
    const char *port = rest + host;
    if (!host || !*port) return host;
    size_t digits = *port == ':' ? strspn(port + 1, "0123456789") : 0;
    /* They leave out the port that a scheme has by itself. */
    bool own = !strcmp(port, !strncmp(text, "https:", 6) ? ":443" : ":80") && !strncmp(text, "http", 4);
    return digits && digits < 6 && !port[1 + digits] && !own;
}

/* Takes as long for a wrong key as for a right one. */
static bool same_key(const char *given, const char *key)
{
    size_t n = strlen(key), m = strlen(given);
    unsigned char differs = n != m;
    for (size_t i = 0; i < m; i++) differs |= (unsigned char)(given[i] ^ key[i < n ? i : n]);
    return !differs;
}

static bool has_key(const dlx_srv_request *r)
{
    const dlx_server_options *o = r->state->options;
    const char *given = r->authorization;
    bool found = false;
    if (!o->n_api_keys) return true;
    if (!given || strncasecmp(given, "Bearer ", 7) != 0) return false;
    for (size_t i = 0; i < o->n_api_keys; i++) found |= same_key(given + 7, o->api_keys[i]);
    return found;
}

/* Whether a host of n bytes, maybe with a port, is a loopback address. */
static bool names_loopback(const char *host, size_t n)
{
    char name[256];
    if (n >= sizeof name) return false;
    memcpy(name, host, n);
    name[n] = '\0';
    char *colon = strrchr(name, ':');
    if (colon && !strchr(colon, ']')) *colon = '\0';
    return dlx_srv_is_loopback(name);
}

/* A web page whose name was made to mean this machine sends its own name as the host. */
static bool host_fits(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    size_t n_named = 0, n_host = r->host ? strlen(r->host) : 0;
    const char *named = r->target ? authority_of(r->target, &n_named) : NULL, *wrong = NULL;
    size_t n = 0;
    if (!dlx_srv_is_loopback(r->state->options->host)) return true;
    if (r->host && !names_loopback(r->host, n_host)) {
        wrong = r->host;
        n = n_host;
    } else if (named && !names_loopback(named, n_named)) {
        wrong = named;
        n = n_named;
    }
    if (wrong)
        dlx_srv_reply_error(reply, 403, "host", NULL,
                            "this server is reached as localhost or by its loopback address, not as '%.*s'",
                            (int)(n < 100 ? n : 100), wrong);
    return !wrong;
}

bool dlx_srv_origin_named(const dlx_srv_state *state, const char *origin)
{
    for (size_t i = 0; origin && i < state->options->n_origins; i++)
        if (!strcmp(state->options->origins[i], origin) || !strcmp(state->options->origins[i], "*")) return true;
    return false;
}

/* Pages of the server itself, and those that were named. */
static bool origin_fits(const dlx_srv_request *r)
{
    if (!r->origin || dlx_srv_origin_named(r->state, r->origin)) return true;
    const char *host = strstr(r->origin, "://");
    return host && r->host && !strcasecmp(host + 3, r->host);
}

static bool method_fits(const dlx_srv_request *r, const endpoint *e, dlx_srv_reply *reply)
{
    bool options = !strcmp(r->method, "OPTIONS"), get = !strcmp(r->method, "GET") || !strcmp(r->method, "HEAD");
    if (options || (e->post ? !strcmp(r->method, "POST") : get)) return true;
    reply->allow = e->post ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
    dlx_srv_reply_error(reply, 405, NULL, NULL, "%s takes %s", e->path, e->post ? "POST" : "GET");
    return false;
}

bool dlx_srv_admit(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    const endpoint *e = find(r->path);
    if (!host_fits(r, reply)) return false;
    if (!origin_fits(r)) {
        dlx_srv_reply_error(reply, 403, "origin", NULL,
                            "pages of '%.100s' may not call this server; --cors names those "
                            "that may",
                            r->origin);
        return false;
    }
    if (strcmp(r->method, "OPTIONS") != 0 && !(e && e->open) && !has_key(r)) {
        dlx_srv_reply_error(reply, 401, "invalid_api_key", NULL,
                            "an API key is needed: the header 'Authorization: Bearer KEY'");
        return false;
    }
    if (!e) {
        dlx_srv_reply_error(reply, 404, NULL, NULL, "there is no endpoint '%.200s'", r->path);
        return false;
    }
    return method_fits(r, e, reply);
}

/* On one line, whatever the body looks like, and without control characters: a log is read on terminals. */
static void log_body(const dlx_srv_request *r)
{
    json_t *body = json_loadb(r->body, r->n_body, 0, NULL);
    char *text = body ? json_dumps(body, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    if (text) dlx_srv_log(r->state, "%s: %s", r->path, text);
    free(text);
    json_decref(body);
}

void dlx_srv_dispatch(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    const endpoint *e = find(r->path);
    if (!strcmp(r->method, "OPTIONS")) {
        reply->allow = e->post ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
        dlx_srv_reply_text(reply, 204, "text/plain", "", 0);
    } else {
        if (e->post && r->state->options->log_prompts) log_body(r);
        e->run(r, reply);
    }
}
