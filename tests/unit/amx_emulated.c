/* Tiles in plain C (amx_emulated.h). */
#include "amx_emulated.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tile {
    uint8_t row[AMX_ROWS][AMX_ROW_BYTES];
} tile;

/* Of a thread, as on a CPU. */
static _Thread_local struct {
    bool configured;
    amx_config c;
    tile tiles[AMX_TILES];
    bool expecting;
    const char *expected;
} state;

static atomic_int busy;
static atomic_ulong dots;
static atomic_size_t spoilt = SIZE_MAX;

/* Always true, so that a caller leaves. */
static bool exception(const char *what)
{
    if (!state.expecting) {
        fprintf(stderr, "a CPU would have raised an exception: %s\n", what);
        abort();
    }
    if (!state.expected) state.expected = what;
    return true;
}

bool amx_given(void)
{
    return true;
}

void amx_expect(void)
{
    state.expecting = true;
    state.expected = NULL;
}

const char *amx_expected(void)
{
    state.expecting = false;
    return state.expected;
}

int amx_busy(void)
{
    return busy;
}

unsigned long amx_dots(void)
{
    return dots;
}

void amx_spoil(size_t i)
{
    spoilt = i == SIZE_MAX ? i : dots + i;
}

static bool bad_config(const amx_config *c)
{
    static const uint8_t none[14];
    if (c->palette != 1) return exception("#GP: another palette than 1");
    if (c->start_row != 0 || memcmp(c->reserved, none, sizeof none) != 0)
        return exception("#GP: reserved bytes are set");
    for (size_t i = 0; i < 16; i++) {
        if (i >= AMX_TILES && (c->rows[i] || c->bytes[i])) return exception("#GP: reserved registers are configured");
        if (c->rows[i] > AMX_ROWS || c->bytes[i] > AMX_ROW_BYTES) return exception("#GP: a register is too large");
        if (!c->rows[i] != !c->bytes[i])
            return exception("#GP: a register has rows without bytes, or bytes without rows");
    }
    return false;
}

void amx_configure(const amx_config *c)
{
    if (bad_config(c)) return;
    if (!state.configured) busy++;
    state.configured = true;
    state.c = *c;
    memset(state.tiles, 0, sizeof state.tiles);
}

void amx_release(void)
{
    if (state.configured) busy--;
    state.configured = false;
    memset(&state.c, 0, sizeof state.c);
    memset(state.tiles, 0, sizeof state.tiles);
}

/* Whether a register can be used. */
static bool bad_tile(unsigned t)
{
    if (!state.configured) return exception("#UD: tiles are not configured");
    if (t >= AMX_TILES) return exception("#UD: there is no such register");
    if (!state.c.rows[t]) return exception("#UD: the register is not configured");
    return false;
}

void amx_zero(unsigned t)
{
    if (bad_tile(t)) return;
    memset(&state.tiles[t], 0, sizeof state.tiles[t]);
}

void amx_load(unsigned t, const void *from, size_t stride)
{
    if (bad_tile(t)) return;
    memset(&state.tiles[t], 0, sizeof state.tiles[t]);
    for (size_t i = 0; i < state.c.rows[t]; i++)
        memcpy(state.tiles[t].row[i], (const uint8_t *)from + i * stride, state.c.bytes[t]);
}

void amx_store(unsigned t, void *to, size_t stride)
{
    if (bad_tile(t)) return;
    for (size_t i = 0; i < state.c.rows[t]; i++)
        memcpy((uint8_t *)to + i * stride, state.tiles[t].row[i], state.c.bytes[t]);
}

static bool bad_dot(unsigned sum, unsigned u, unsigned s)
{
    const amx_config *c = &state.c;
    if (bad_tile(sum) || bad_tile(u) || bad_tile(s)) return true;
    if (sum == u || sum == s || u == s) return exception("#UD: one register twice");
    if (c->bytes[sum] % 4 || c->bytes[u] % 4 || c->bytes[s] % 4) return exception("#UD: rows are not of whole numbers");
    if (c->rows[sum] != c->rows[u]) return exception("#UD: sums have other rows than the first operand");
    if (c->bytes[sum] != c->bytes[s]) return exception("#UD: sums have other columns than the second operand");
    if (c->bytes[u] / 4 != c->rows[s]) return exception("#UD: the operands do not fit each other");
    return false;
}

void amx_dot(unsigned sum, unsigned u, unsigned s)
{
    if (bad_dot(sum, u, s)) return;
    const size_t n = state.c.bytes[sum] / 4u, k = state.c.bytes[u] / 4u;
    for (size_t m = 0; m < state.c.rows[sum]; m++) {
        uint32_t row[AMX_ROW_BYTES / 4];
        memcpy(row, state.tiles[sum].row[m], sizeof row);
        for (size_t i = 0; i < k; i++) {
            const uint8_t *a = state.tiles[u].row[m] + 4 * i;
            const int8_t *b = (const int8_t *)state.tiles[s].row[i];
            for (size_t j = 0; j < n; j++)
                row[j] += (uint32_t)(a[0] * b[4 * j] + a[1] * b[4 * j + 1] + a[2] * b[4 * j + 2] + a[3] * b[4 * j + 3]);
        }
        memset(state.tiles[sum].row[m], 0, AMX_ROW_BYTES);
        memcpy(state.tiles[sum].row[m], row, 4 * n);
    }
    memset(state.tiles[sum].row[state.c.rows[sum]], 0, (size_t)(AMX_ROWS - state.c.rows[sum]) * AMX_ROW_BYTES);
    if (dots++ == spoilt) state.tiles[sum].row[0][2] ^= 16;
}
