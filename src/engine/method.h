/* Inside of a method: what inspection states before there is one. */
#ifndef DLX_ENGINE_METHOD_H
#define DLX_ENGINE_METHOD_H

#include "diffulex_edge/method.h"

#include "runtime/program.h"

/* Bytes of a handle over that program: itself and its tables, without states, activations and the program. */
uint64_t dlx_method_tables(const dlx_program *p);

#endif
