/*
 * Chips that a graph can be compiled for: one table. Numbers and names are ExecuTorch's (BSD,
 * backends/qualcomm/serialization/qc_schema.py); what a generation of the HTP supports is Qualcomm's table of
 * operators, which the emulator does not enforce.
 */
#ifndef DLX_BACKENDS_QNN_CHIPS_H
#define DLX_BACKENDS_QNN_CHIPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct dlx_qnn_chip {
    const char *name; /* "SM8650" */
    uint32_t id;      /* as Qualcomm's libraries and the official runtime number chips */
    uint32_t arch;    /* generation of the HTP: 68 .. 81 */
    uint32_t vtcm_mib;
    const char *known_as; /* what is sold with it */
    bool integers_only;   /* no floats, whatever the others of its generation have */
} dlx_qnn_chip;

/* By name, in either case. DLX_E_INVALID lists the names; NULL too. */
dlx_status dlx_qnn_chip_find(const dlx_qnn_chip **out, const char *name, dlx_error *err);
/* The i-th; NULL behind the last. */
const dlx_qnn_chip *dlx_qnn_chip_at(unsigned i);

/* Floats of 16 bits; weights with a scale for each block of a row; products and norms of 16-bit numbers. From V73 on.
 */
static inline bool dlx_qnn_chip_has_f16(const dlx_qnn_chip *c)
{
    return c->arch >= 73 && !c->integers_only;
}
static inline bool dlx_qnn_chip_has_blocks(const dlx_qnn_chip *c)
{
    return c->arch >= 73;
}
static inline bool dlx_qnn_chip_has_u16_products(const dlx_qnn_chip *c)
{
    return c->arch >= 73;
}

#endif
