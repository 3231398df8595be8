/* The structures as the library knows them, for a program that was compiled with older ones; and the layouts that never
 * change. */
#include <diffulex_edge/diffulex_edge.h>

#include "structures.h"

/* In padding at its end a structure would grow without getting longer: old programs leave anything there. */
#define REAL(type, last)                                                                                               \
    extern const size_t real_size_##type;                                                                              \
    const size_t real_size_##type = sizeof(type);                                                                      \
    _Static_assert(offsetof(type, last) + sizeof(((type *)0)->last) == sizeof(type), #type " ends with padding");

SHORTER_STRUCTURES(REAL)

_Static_assert(sizeof(dlx_error) == 516 && offsetof(dlx_error, message) == 4, "dlx_error never changes");
_Static_assert(sizeof(dlx_span) == 8 && offsetof(dlx_span, end) == 4, "dlx_span never changes");
_Static_assert(sizeof(dlx_accepted) == 12 && offsetof(dlx_accepted, id) == 4 && offsetof(dlx_accepted, confidence) == 8,
               "dlx_accepted never changes");
_Static_assert(sizeof(dlx_allocator) == 3 * sizeof(void *) && offsetof(dlx_allocator, free) == sizeof(void *) &&
                   offsetof(dlx_allocator, ctx) == 2 * sizeof(void *),
               "dlx_allocator never changes");
_Static_assert(DLX_MAX_STOP_IDS == 16 && DLX_MAX_CONTEXT_SPANS == 2 && DLX_ERROR_MESSAGE_SIZE == 512,
               "constants of the ABI never change");
