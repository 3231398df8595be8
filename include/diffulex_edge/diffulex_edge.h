/* The whole public interface of DiffuLex Edge. */
#ifndef DIFFULEX_EDGE_DIFFULEX_EDGE_H
#define DIFFULEX_EDGE_DIFFULEX_EDGE_H

#include "diffulex_edge/allocator.h"
#include "diffulex_edge/completion.h"
#include "diffulex_edge/decode.h"
#include "diffulex_edge/export.h"
#include "diffulex_edge/model.h"
#include "diffulex_edge/status.h"
#include "diffulex_edge/text.h"
#include "diffulex_edge/threads.h"

#endif
