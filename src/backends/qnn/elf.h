/*
 * Shared libraries, looked at before the system's loader has them: it maps a file without asking how long it is, and a
 * page that is not there ends the process.
 */
#ifndef DLX_BACKENDS_QNN_ELF_H
#define DLX_BACKENDS_QNN_ELF_H

#include "base/status.h"

/*
 * Whether the library at `path`, and those that it needs and that lie beside it or in folders that it names itself, are
 * regular files which hold all that their program headers tell of. Others that it needs are the system's, and not
 * looked at. DLX_E_FORMAT names the file that does not; DLX_E_IO one that cannot be read.
 */
dlx_status dlx_elf_whole(const char *path, dlx_error *err);

#endif
