/*
 * Arbitrary bytes as a .pte of the fixed form, and as a file that is described: what is read as such a program has
 * facts and methods without contradictions, and a session over it makes a call; a description of any file, its
 * accelerators' delegates and what goes where included, is text or JSON, or one sentence on why not.
 */
#define _GNU_SOURCE /* memfd_create */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/sizes.h"
#include "diffulex_edge/fixed.h"
#include "diffulex_edge/model.h"
#include "format/json/json_file.h"
#include "fuzz.h"

enum { MOST_BYTES = 4 << 20, MOST_OUTPUTS = 256 };

/* Zeros for every output: logits, keys and values of any shape that fits. */
static const uint8_t *zeros;

static dlx_status run(void *ctx, size_t method, const void **outputs, dlx_error *err)
{
    const dlx_fixed_program *p = ctx;
    (void)err;
    if (method >= p->n_methods) abort();
    for (int32_t i = 0; i < 1 + 2 * p->layers; i++) outputs[i] = zeros;
    return DLX_OK;
}

static bool fits(const dlx_fixed_program *p)
{
    uint64_t rows = (uint64_t)p->facts->max_rows, width = (uint64_t)p->kv_heads * (uint64_t)p->head_dim, most;
    uint64_t wide = width > (uint64_t)p->facts->vocab_size ? width : (uint64_t)p->facts->vocab_size;
    return dlx_mul_u64(rows, wide, &most) && most <= MOST_BYTES / sizeof(float) && dlx_fixed_bytes(p) <= MOST_BYTES &&
           p->layers < MOST_OUTPUTS;
}

/* What the caller of such a program may count on. */
static void check(const dlx_fixed_program *p)
{
    const dlx_model_facts *f = p->facts;
    int32_t most = 0;
    if (p->layers < 1 || p->kv_heads < 1 || p->head_dim < 1 || p->n_methods < 1 ||
        p->n_methods > DLX_FIXED_MOST_METHODS || f->vocab_size < 1)
        abort();
    for (size_t i = 0; i < p->n_methods; i++) {
        if (p->method_rows[i] < 1 || !p->method_names[i]) abort();
        for (size_t k = 0; k < i; k++)
            if (p->method_rows[i] == p->method_rows[k]) abort();
        if (p->method_rows[i] > most) most = p->method_rows[i];
    }
    if (most != f->max_rows) abort();
}

static void use(dlx_fixed_program *p)
{
    dlx_fixed_session *s;
    dlx_error err = {0};
    const int32_t id = 0;
    check(p);
    if (!fits(p)) return;
    if (dlx_fixed_open(&s, p, run, p, NULL, &err) != DLX_OK) abort(); /* it was read: it is one */
    float *logits = calloc((size_t)p->facts->vocab_size, sizeof *logits);
    dlx_forward_call call = {
        .struct_size = sizeof call, .ids = &id, .n_ids = 1, .n_store = 1, .n_rows = 1, .logits = logits};
    if (logits && dlx_fixed_forward(s, &call, &err) != DLX_OK) abort();
    free(logits);
    dlx_fixed_close(s);
}

static void describe(const char *path, bool json)
{
    char *text = NULL;
    json_t *root;
    dlx_error err = {0};
    if (dlx_inspect(path, json, NULL, &text, &err) != DLX_OK) {
        if (!err.message[0] || text) abort();
        return;
    }
    if (json) {
        if (dlx_json_parse(&root, text, strlen(text), "inspect", &err) != DLX_OK) abort();
        json_decref(root);
    }
    dlx_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    dlx_fixed_program *p;
    dlx_error err = {0};
    if (!zeros) zeros = calloc(MOST_BYTES, 1);
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (!zeros || fd < 0) return 0;
    uint8_t *exact = malloc(size ? size : 1); /* no byte longer than the input */
    if (exact && size) memcpy(exact, data, size);
    if (exact && dlx_fixed_program_read_memory(&p, exact, size, &err) == DLX_OK) {
        use(p);
        dlx_fixed_program_free(p);
    } else if (exact && !err.message[0]) {
        abort();
    }
    free(exact);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (write(fd, data, size) == (ssize_t)size) {
        describe(path, false);
        describe(path, true);
    }
    close(fd);
    return 0;
}
