/*
 * The whole public interface of DiffuLex Edge.
 *
 * Structures that begin with struct_size may get more members at their end in later versions, and programs and
 * libraries of different versions work together:
 *   - The program sets struct_size to sizeof, of structures that it fills as well as of those that it wants filled, and
 *     what it does not set to 0: `dlx_memory m = {.struct_size = sizeof m}`, or a function dlx_..._default(), which is
 *     compiled into the program. 0, false and NULL mean the default everywhere; dlx_model_facts states its own.
 *   - A program that was compiled with a shorter structure gets the defaults for what it lacks, and nothing is written
 *     behind what it has. One that was compiled with a longer structure is served as long as what this library does not
 *     know is 0; otherwise it gets DLX_E_UNSUPPORTED. The rest of a longer structure to be filled stays as it was.
 *   - What the library fills and owns (dlx_forward_call, dlx_step and dlx_placement of callbacks, dlx_model_get_facts)
 *     has the library's struct_size: a member at or behind it is not there.
 *   - Elements of an array lie as far apart as the first one's struct_size says; all must have the same.
 * A struct_size that was never set is DLX_E_INVALID, or false where a function returns that. dlx_error, dlx_span,
 * dlx_accepted, dlx_allocator and the constants DLX_MAX_... never change: their layout is part of the ABI.
 */
#ifndef DIFFULEX_EDGE_DIFFULEX_EDGE_H
#define DIFFULEX_EDGE_DIFFULEX_EDGE_H

#include "diffulex_edge/allocator.h"
#include "diffulex_edge/bench.h"
#include "diffulex_edge/completion.h"
#include "diffulex_edge/constraint.h"
#include "diffulex_edge/decode.h"
#include "diffulex_edge/export.h"
#include "diffulex_edge/fixed.h"
#include "diffulex_edge/method.h"
#include "diffulex_edge/model.h"
#include "diffulex_edge/status.h"
#include "diffulex_edge/system.h"
#include "diffulex_edge/text.h"
#include "diffulex_edge/threads.h"

#endif
