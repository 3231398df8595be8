/* The page of the server: chat, and a view of passes. Its files are static and have no secret: they need no key. */
#include "page.h"

#include <string.h>

#include "route.h"

/* Everything comes from this server: a text of the model that became markup by mistake could fetch nothing. */
static const char policy[] = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
                             "frame-ancestors 'none'";

const dlx_srv_page_file *dlx_srv_page_find(const char *path)
{
    for (size_t i = 0; i < dlx_srv_page_n_files; i++)
        if (!strcmp(dlx_srv_page_files[i].path, path)) return &dlx_srv_page_files[i];
    return NULL;
}

/* Browsers send back the ETag that they were given, or a list with it. */
void dlx_srv_page(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    const dlx_srv_page_file *file = dlx_srv_page_find(r->path);
    bool kept = r->if_none_match && strstr(r->if_none_match, file->etag);
    dlx_srv_reply_text(reply, kept ? 304 : 200, file->type, (const char *)file->bytes, kept ? 0 : file->n);
    reply->etag = file->etag;
    reply->policy = policy;
}
