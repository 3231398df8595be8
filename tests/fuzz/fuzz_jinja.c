/*
 * Arbitrary bytes as a chat template; the first byte selects what they are:
 *
 *   0  text, which is compiled, written, loaded again and rendered    1  a compiled template
 *
 * Behind a NUL byte of the text follows JSON: messages of a conversation. What compiles loads; what is rendered before
 * and after is the same; text is valid UTF-8, and every byte of it has an origin. Nothing takes more than its bounds.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "input.h"
#include "text/jinja/jinja.h"
#include "text/utf8.h"

/* The bounds of the library are for machines with patience; a fuzzer wants an answer. */
enum { STEPS = 200000 };

typedef struct printed {
    char *text;
    size_t n;
    dlx_status status;
} printed;

static printed render(const dlx_jinja *t, const char *json, size_t n)
{
    printed out = {0};
    dlx_error err = {0};
    dlx_jx x;
    dlx_jv messages = dlx_jv_none();
    require(dlx_jx_open(&x, t, &err) == DLX_OK);
    x.steps = STEPS;
    bool fine = n == 0 || dlx_jx_read_json(&x, json, n, "messages", false, &messages);
    fine = fine && dlx_jx_variable(&x, "messages", 8, messages) && dlx_jx_variable(&x, "x", 1, dlx_jv_int(3)) &&
           dlx_jx_render(&x);
    require(fine == (x.status == DLX_OK));
    out.status = x.status;
    require_sentence(x.status, &err);
    if (fine) {
        out.n = x.out->used;
        out.text = malloc(out.n + 1);
        require(out.text != NULL);
        if (out.n) memcpy(out.text, x.out->p, out.n);
        require(dlx_utf8_valid(out.text, out.n));
        for (size_t i = 0; i < out.n; i++) require(x.out->own[i] <= 1);
    }
    dlx_jx_close(&x);
    return out;
}

static void use_text(const char *source, size_t n, const char *json, size_t n_json)
{
    dlx_jinja *t, *again;
    dlx_error err = {0};
    dlx_status s = dlx_jinja_compile(&t, source, n, &err);
    require_sentence(s, &err);
    if (s != DLX_OK) return;
    require(dlx_jinja_load(&again, t->bytes, t->n_bytes, &err) == DLX_OK);
    require(dlx_jinja_reads_parts(t) == dlx_jinja_reads_parts(again));
    printed a = render(t, json, n_json), b = render(again, json, n_json);
    /* The clock may move between two renderings that ask for it. */
    bool clock = false;
    for (size_t i = 0; i + 8 <= n; i++) clock = clock || memcmp(source + i, "strftime", 8) == 0;
    require(clock || (a.status == b.status && a.n == b.n && (a.n == 0 || memcmp(a.text, b.text, a.n) == 0)));
    free(a.text);
    free(b.text);
    dlx_jinja_free(t);
    dlx_jinja_free(again);
}

static void use_tree(const uint8_t *bytes, size_t n)
{
    dlx_jinja *t;
    dlx_error err = {0};
    uint8_t *written;
    size_t length;
    dlx_status s = dlx_jinja_load(&t, bytes, n, &err);
    require_sentence(s, &err);
    if (s != DLX_OK) return;
    require(dlx_jinja_tree_write(&t->tree, &written, &length, &err) == DLX_OK);
    require(length == n && memcmp(written, bytes, n) == 0); /* there is one way to write a tree */
    free(written);
    free(render(t, "[]", 2).text);
    dlx_jinja_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const char *text = (const char *)data + 1;
    size_t n = size - 1;
    if (data[0] % 2) {
        use_tree(data + 1, n);
        return 0;
    }
    const char *end = n ? memchr(text, '\0', n) : NULL;
    size_t length = end ? (size_t)(end - text) : n;
    use_text(text, length, end ? end + 1 : "", end ? n - length - 1 : 0);
    return 0;
}
