/* Checks of forward calls. Private to engine/. */
#ifndef DLX_ENGINE_CHECK_H
#define DLX_ENGINE_CHECK_H

#include "engine/workspace.h"

dlx_status dlx_check_call(const dlx_session *s, const dlx_forward_call *c, dlx_error *err);

#endif
