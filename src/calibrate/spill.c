#define _GNU_SOURCE
#include "calibrate/spill.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/sizes.h"
#include "base/unnamed.h"

static dlx_status open_file(dlx_spill *out, const char *folder, uint64_t bytes, dlx_error *err)
{
    if (!folder) folder = getenv("TMPDIR");
    if (!folder || !*folder) folder = "/tmp";
    out->fd = dlx_unnamed_open(folder);
    if (out->fd < 0) return dlx_fail_errno(err, "create a file of hidden states in", folder);
    if (ftruncate(out->fd, (off_t)bytes) != 0) {
        dlx_status s = dlx_fail_errno(err, "make room for hidden states in", folder);
        dlx_spill_close(out);
        return s;
    }
    return DLX_OK;
}

dlx_status dlx_spill_open(dlx_spill *out, uint64_t rows, size_t width, uint64_t bound, const char *folder,
                          dlx_error *err)
{
    uint64_t row, bytes;
    *out = (dlx_spill){.fd = -1, .rows = rows, .width = width};
    if (!dlx_mul_u64(width, sizeof(float), &row) || !dlx_mul_u64(rows, row, &bytes) || bytes > INT64_MAX)
        return dlx_fail(err, DLX_E_LIMIT, "%llu hidden states of %zu numbers are too many", (unsigned long long)rows,
                        width);
    if (bytes > bound || bytes > SIZE_MAX / 2) return open_file(out, folder, bytes, err);
    out->memory = dlx_mem_zeroed(NULL, (size_t)rows, (size_t)row);
    if (!out->memory)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory: hidden states take %llu bytes", (unsigned long long)bytes);
    return DLX_OK;
}

void dlx_spill_close(dlx_spill *s)
{
    dlx_mem_free(NULL, s->memory, (size_t)s->rows, s->width * sizeof *s->memory);
    if (s->fd >= 0) close(s->fd);
    *s = (dlx_spill){.fd = -1};
}

static dlx_status check(const dlx_spill *s, uint64_t first, uint64_t n, dlx_error *err)
{
    return dlx_range_ok(first, n, s->rows)
               ? DLX_OK
               : dlx_fail(err, DLX_E_INTERNAL, "hidden states %llu and %llu more are asked for; there are %llu",
                          (unsigned long long)first, (unsigned long long)n, (unsigned long long)s->rows);
}

dlx_status dlx_spill_read(const dlx_spill *s, uint64_t first, uint64_t n, float *out, dlx_error *err)
{
    size_t row = s->width * sizeof *out, left = (size_t)n * row;
    uint64_t at = first * row;
    char *to = (char *)out;
    DLX_TRY(check(s, first, n, err));
    if (s->memory && n) memcpy(out, s->memory + first * s->width, left);
    while (!s->memory && left) {
        ssize_t got = pread(s->fd, to, left, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return dlx_fail_errno(err, "read", "the file of hidden states");
        if (!got) return dlx_fail(err, DLX_E_IO, "the file of hidden states has become shorter");
        to += got;
        at += (uint64_t)got;
        left -= (size_t)got;
    }
    return DLX_OK;
}

dlx_status dlx_spill_write(dlx_spill *s, uint64_t first, uint64_t n, const float *rows, dlx_error *err)
{
    size_t row = s->width * sizeof *rows, left = (size_t)n * row;
    uint64_t at = first * row;
    const char *from = (const char *)rows;
    DLX_TRY(check(s, first, n, err));
    if (s->memory && n) memcpy(s->memory + first * s->width, rows, left);
    while (!s->memory && left) {
        ssize_t put = pwrite(s->fd, from, left, (off_t)at);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return dlx_fail_errno(err, "write", "the file of hidden states");
        from += put;
        at += (uint64_t)put;
        left -= (size_t)put;
    }
    return DLX_OK;
}
