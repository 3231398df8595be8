/* Lengths where nobody gives any, which decoding and calibration share. */
#ifndef DLX_BASE_LENGTHS_H
#define DLX_BASE_LENGTHS_H

enum { DLX_NEW_TOKENS = 128 }; /* of an answer, less where the context ends */

#endif
