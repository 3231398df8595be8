/* Files without a name, of which nothing is left when they are closed or the process is killed. */
#ifndef DLX_BASE_UNNAMED_H
#define DLX_BASE_UNNAMED_H

/* A descriptor of an empty one on the disk of `folder`; -1, with errno. */
int dlx_unnamed_open(const char *folder);
/* In the folder of a file at `path`, which need not be there. */
int dlx_unnamed_open_beside(const char *path);

#endif
