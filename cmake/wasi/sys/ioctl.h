/* WASI's, and the size of a terminal: ioctl knows no such request, and fails. */
#ifndef DLX_WASI_SYS_IOCTL_H
#define DLX_WASI_SYS_IOCTL_H

#include_next <sys/ioctl.h>

struct winsize {
    unsigned short ws_row, ws_col;
};
#define TIOCGWINSZ 0x5413

#endif
