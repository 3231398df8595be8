/* The files of the page, which are part of the program; server/page/ has them, cmake/embed.cmake makes them an array.
 */
#ifndef DLX_SRV_PAGE_H
#define DLX_SRV_PAGE_H

#include <stddef.h>

typedef struct dlx_srv_page_file {
    const char *path, *type;
    const char *etag;           /* changes with the bytes */
    const unsigned char *bytes; /* [n] */
    size_t n;
} dlx_srv_page_file;

extern const dlx_srv_page_file dlx_srv_page_files[];
extern const size_t dlx_srv_page_n_files;

/* The file of that path, or NULL. */
const dlx_srv_page_file *dlx_srv_page_find(const char *path);

#endif
