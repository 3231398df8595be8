/*
 * For the tests of the format room: a program with every kind of value and instruction, several methods, constants,
 * delegates, named data and a shared constant; and a walk over a program that touches all it refers to.
 */
#ifndef DLX_TESTS_PTE_SAMPLE_H
#define DLX_TESTS_PTE_SAMPLE_H

#include "format/pte.h"

enum {
    V_NULL,
    V_INT,
    V_BOOL,
    V_DOUBLE,
    V_WEIGHT,
    V_PLANNED,
    V_SCALAR,
    V_STRING,
    V_INTS,
    V_DOUBLES,
    V_BOOLS,
    V_TENSORS,
    V_OPTIONAL,
    V_NONE,
    V_NO_TEXT,
    V_NO_INTS,
    V_EMPTY,
    V_FAR,
    V_BYTES,
    V_NO_DOUBLES,
    V_NO_TENSORS,
    V_COUNT
};
enum { B_WEIGHT, B_EMPTY, B_BYTES, B_FIRST, B_ALIAS, B_OWN, B_NOTHING, B_SECOND, B_COUNT };
enum { I_ADD, I_CALL, I_MOVE, I_JUMP, I_FREE, I_BARE, I_COUNT };

typedef struct pte_sample {
    dlx_pte pte;
    dlx_pte_plan plans[3]; /* "forward", "get_max_seq_len", "empty" */
    dlx_pte_blob blobs[B_COUNT];
    dlx_evalue values[V_COUNT];
    dlx_evalue number;
    dlx_instruction instructions[I_COUNT];
    dlx_pte_operator operators[2];
    dlx_pte_delegate delegates[2];
    dlx_pte_spec specs[2];
    int64_t sizes[3];
    int64_t ints[2], bools[3], tensors[2], optional[3];
    double doubles[2];
    int32_t args[4], inputs[2], outputs[2];
    float weight[6];
} pte_sample;

/* Pointers lead into *s, which must not move. */
void pte_sample_make(pte_sample *s);

/* Writes to a new temporary file and reads its bytes back (malloc'd). NULL: the status and message tell. */
uint8_t *pte_sample_write(dlx_pte *pte, size_t *size, dlx_status *status, dlx_error *err);

/* Reads every byte, string and list that a program refers to. */
void pte_sample_walk(const dlx_pte *pte);

/* A dlx_xnn_named_fn over a program: ctx is the dlx_pte. */
const void *pte_sample_named(void *ctx, const char *key, uint64_t *size);

/* That two delegates have the same options. */
void pte_sample_same_specs(const dlx_pte_delegate *a, const dlx_pte_delegate *b);

#endif
