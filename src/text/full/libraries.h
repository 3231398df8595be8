/* The third-party libraries of the full build. */
#ifndef DLX_TEXT_FULL_LIBRARIES_H
#define DLX_TEXT_FULL_LIBRARIES_H

#include "diffulex_edge/system.h"

/* Fills the i-th; false when i is past the end. */
bool dlx_library_at(size_t i, dlx_library_info *out);

#endif
