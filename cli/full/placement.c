#include "full/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

static bool grow(dlx_cli_placements *p)
{
    size_t n = p->capacity ? 2 * p->capacity : 32;
    dlx_placement *rows = realloc(p->rows, n * sizeof *rows);
    if (rows) p->rows = rows;
    char(*methods)[32] = realloc(p->methods, n * sizeof *methods);
    if (methods) p->methods = methods;
    p->failed = !rows || !methods;
    if (!p->failed) p->capacity = n;
    return !p->failed;
}

void dlx_cli_on_placement(void *ctx, const dlx_placement *placement)
{
    dlx_cli_placements *p = ctx;
    if (p->failed || (p->n == p->capacity && !grow(p))) return;
    p->rows[p->n] = *placement;
    p->rows[p->n].method = NULL;
    snprintf(p->methods[p->n], sizeof *p->methods, "%s", placement->method);
    p->n++;
}

void dlx_cli_placements_free(dlx_cli_placements *p)
{
    free(p->rows);
    free(p->methods);
    *p = (dlx_cli_placements){.n = 0};
}

/* Where the rows of the home and method of row i end. */
static size_t group_end(const dlx_cli_placements *p, size_t i)
{
    size_t end = i;
    while (end < p->n && !strcmp(p->methods[end], p->methods[i]) && !strcmp(p->rows[end].home, p->rows[i].home)) end++;
    return end;
}

/* ---- JSON ---- */

void dlx_cli_placements_json(dlx_cli_json *j, const dlx_cli_placements *p)
{
    if (p->failed) return;
    dlx_cli_json_open(j, "partition", '[');
    for (size_t i = 0, end; i < p->n; i = end) {
        end = group_end(p, i);
        dlx_cli_json_open(j, NULL, '{');
        dlx_cli_json_text(j, "method", p->methods[i]);
        dlx_cli_json_text(j, "home", p->rows[i].home);
        dlx_cli_json_int(j, "delegates", (int64_t)p->rows[i].delegates);
        dlx_cli_json_open(j, "operators", '[');
        for (size_t k = i; k < end; k++) {
            const dlx_placement *r = &p->rows[k];
            dlx_cli_json_open(j, NULL, '{');
            dlx_cli_json_text(j, "operator", r->op);
            dlx_cli_json_int(j, "count", (int64_t)r->count);
            dlx_cli_json_int(j, "constant_bytes", (int64_t)r->constant_bytes);
            dlx_cli_json_int(j, "multiply_adds", (int64_t)r->multiply_adds);
            dlx_cli_json_close(j, '}');
        }
        dlx_cli_json_close(j, ']');
        dlx_cli_json_close(j, '}');
    }
    dlx_cli_json_close(j, ']');
}

/* ---- text ---- */

static void put_cost(uint64_t bytes, uint64_t multiply_adds)
{
    char a[32];
    if (bytes) printf(", %s of constants", dlx_cli_bytes(a, bytes));
    if (multiply_adds) printf(", %.3g million multiply-adds a call", (double)multiply_adds / 1e6);
}

static void put_home(const dlx_cli_placements *p, size_t first, size_t end)
{
    uint64_t count = 0, bytes = 0, multiply_adds = 0;
    for (size_t i = first; i < end; i++) {
        count += p->rows[i].count;
        bytes += p->rows[i].constant_bytes;
        multiply_adds += p->rows[i].multiply_adds;
    }
    const dlx_placement *r = &p->rows[first];
    printf("  %-16s ", r->delegates ? r->home : "no delegate");
    if (r->delegates) printf("%llu delegate%s, ", (unsigned long long)r->delegates, r->delegates > 1 ? "s" : "");
    printf("%llu operator%s", (unsigned long long)count, count > 1 ? "s" : "");
    put_cost(bytes, multiply_adds);
    printf("\n");
}

/* What the backend did not take, one operator a line. */
static void put_operators(const dlx_cli_placements *p, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        const dlx_placement *r = &p->rows[i];
        printf("    %-14s %llu", r->op, (unsigned long long)r->count);
        put_cost(r->constant_bytes, r->multiply_adds);
        printf("\n");
    }
}

static bool several_methods(const dlx_cli_placements *p)
{
    return p->n && strcmp(p->methods[0], p->methods[p->n - 1]) != 0;
}

void dlx_cli_placements_text(const dlx_cli_placements *p, const char *backend)
{
    dlx_backend_info first = {.struct_size = sizeof first};
    if (p->failed || !dlx_export_backend_info(0, &first) || !strcmp(backend, first.name)) return;
    for (size_t i = 0, end; i < p->n; i = end) {
        bool begins = !i || strcmp(p->methods[i], p->methods[i - 1]) != 0, taken = !strcmp(p->rows[i].home, backend);
        end = group_end(p, i);
        if (begins && several_methods(p)) printf("in method %s\n", p->methods[i]);
        if (begins && !taken) printf("%s takes nothing\n", backend);
        put_home(p, i, end);
        if (!taken) put_operators(p, i, end);
        if (taken && end < p->n && !strcmp(p->methods[end], p->methods[i])) printf("what stays on the CPU\n");
    }
}
