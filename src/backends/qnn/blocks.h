/* Grids: the arithmetic of them, without the library. */
#ifndef DLX_BACKENDS_QNN_BLOCKS_H
#define DLX_BACKENDS_QNN_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "backends/qnn/abi.h"

enum { DLX_QNN_CODES = 65535 }; /* codes of 16 bits go from 0 to it */

/* Numbers that calibration did not see may lie further out, and what lies outside of a grid is lost; 16 bits have one
 * to spare: grids of values reach so many times as far. */
#define DLX_QNN_HEADROOM 2.0f

/* Of 16-bit numbers over [low, high], low <= 0 <= high: 0 is on it. A number is (code + offset) * scale. */
dlx_qnn_scale dlx_qnn_grid_over(float low, float high);
/* The same of 8-bit numbers. */
dlx_qnn_scale dlx_qnn_narrow_grid_over(float low, float high);

/*
 * A row of k 4-bit codes with a scale for each of its blocks, as codes with scales that are 1 .. 16 times one of the
 * row's, which is returned: changes the codes so that the numbers stay as near as they can.
 */
float dlx_qnn_blocks_of(uint8_t *block_scale, int8_t *code, const float *scales, size_t blocks, size_t k);

#endif
