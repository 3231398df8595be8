/*
 * Template: sizes that all matrix kernels of an instruction set share, and tables with one function per tile height.
 */
enum {
    PANEL = TILE_VECS * VF, /* output columns of one register tile */
    STRIP = 32,             /* columns that threads take at a time: two cache lines of a row of y */
    STRIP_PANELS = STRIP / PANEL,
};

/* EACH_TILE_ROWS(X) is X(1) X(2) ... X(TILE_ROWS); TILE_TABLE(name) is {name_1, name_2, ...}. */
#if TILE_ROWS == 8
#define EACH_TILE_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#define TILE_TABLE(name)                                                                                               \
    {                                                                                                                  \
        name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8                                 \
    }
#elif TILE_ROWS == 6
#define EACH_TILE_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define TILE_TABLE(name)                                                                                               \
    {                                                                                                                  \
        name##_1, name##_2, name##_3, name##_4, name##_5, name##_6                                                     \
    }
#elif TILE_ROWS == 4
#define EACH_TILE_ROWS(X) X(1) X(2) X(3) X(4)
#define TILE_TABLE(name)                                                                                               \
    {                                                                                                                  \
        name##_1, name##_2, name##_3, name##_4                                                                         \
    }
#else
#error "no table for this tile height"
#endif

/* In front of a loop over rows or vectors of a register tile, whose bounds are constants after inlining: only when it
 * is unrolled completely do the accumulators become registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

DLX_INLINE size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}
DLX_INLINE size_t divide_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}
