/* Trees: building, the written form, and reading it back with every node checked against the table of shapes. */
#include "text/jinja/tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/buffer.h"
#include "text/jinja/names.h"
#include "text/utf8.h"

const char *const dlx_jinja_shapes[DLX_JINJA_KINDS] = {
    [DLX_JINJA_DATA] = "s",          [DLX_JINJA_PRINT] = "E",
    [DLX_JINJA_IF] = "ESS",          [DLX_JINJA_FOR] = "TEOSSb",
    [DLX_JINJA_SET] = "TE",          [DLX_JINJA_SET_BLOCK] = "TOS",
    [DLX_JINJA_FILTER_BLOCK] = "ES", [DLX_JINJA_MACRO] = "sPSu",
    [DLX_JINJA_CALL_BLOCK] = "EPSu", [DLX_JINJA_GENERATION] = "S",
    [DLX_JINJA_WITH] = "VS",         [DLX_JINJA_BREAK] = "",
    [DLX_JINJA_CONTINUE] = "",       [DLX_JINJA_PARAMETER] = "sO",
    [DLX_JINJA_VARIABLE] = "TE",     [DLX_JINJA_MEMBER] = "ss",
    [DLX_JINJA_NAME] = "s",          [DLX_JINJA_NULL] = "",
    [DLX_JINJA_FALSE] = "",          [DLX_JINJA_TRUE] = "",
    [DLX_JINJA_INTEGER] = "q",       [DLX_JINJA_FLOAT] = "q",
    [DLX_JINJA_STRING] = "s",        [DLX_JINJA_LIST] = "X",
    [DLX_JINJA_TUPLE] = "X",         [DLX_JINJA_DICT] = "D",
    [DLX_JINJA_PAIR] = "EE",         [DLX_JINJA_CONDITION] = "EEO",
    [DLX_JINJA_OR] = "EE",           [DLX_JINJA_AND] = "EE",
    [DLX_JINJA_NOT] = "E",           [DLX_JINJA_COMPARE] = "EC",
    [DLX_JINJA_OPERAND] = "cE",      [DLX_JINJA_BINARY] = "oEE",
    [DLX_JINJA_CONCAT] = "X",        [DLX_JINJA_NEGATE] = "E",
    [DLX_JINJA_PLUS] = "E",          [DLX_JINJA_ATTRIBUTE] = "Es",
    [DLX_JINJA_ITEM] = "EK",         [DLX_JINJA_SLICE] = "OOO",
    [DLX_JINJA_CALL] = "EA",         [DLX_JINJA_KEYWORD] = "sE",
    [DLX_JINJA_SPREAD] = "E",        [DLX_JINJA_SPREAD_KEYWORDS] = "E",
    [DLX_JINJA_FILTER] = "fEA",      [DLX_JINJA_TEST] = "tEA",
    [DLX_JINJA_INPUT] = "",
};

/* ---- building ---------------------------------------------------------------------------------------------------- */

uint32_t dlx_jinja_new_node(dlx_jinja_tree *t, dlx_jinja_kind kind, uint32_t line)
{
    size_t need = t->n_nodes ? t->n_nodes + 1 : 2;
    if (need > DLX_JINJA_MAX_NODES || dlx_grow(&t->nodes, &t->nodes_capacity, need, sizeof *t->nodes) != 0)
        return DLX_JINJA_NONE;
    uint32_t i = (uint32_t)need - 1;
    if (i == 1) memset(&t->nodes[0], 0, sizeof t->nodes[0]);
    t->n_nodes = need;
    t->nodes[i] = (dlx_jinja_node){.kind = (uint8_t)kind, .line = line};
    return i;
}

static bool add_string(dlx_jinja_tree *t, const char *p, size_t n)
{
    if (!dlx_jinja_has_room(t, n) ||
        dlx_grow(&t->strings, &t->strings_capacity, t->n_strings + 1, sizeof *t->strings) != 0)
        return false;
    char *copy = malloc(n + 1);
    if (!copy) return false;
    if (n) memcpy(copy, p, n);
    copy[n] = '\0';
    t->strings[t->n_strings++] = (dlx_jinja_text){copy, (uint32_t)n};
    t->text_bytes += n;
    return true;
}

bool dlx_jinja_intern(dlx_jinja_tree *t, const char *p, size_t n, uint32_t *number)
{
    /* Only names and short texts occur twice, and a template has few of them. */
    size_t first = t->n_strings > 2048 ? t->n_strings - 2048 : 0;
    for (size_t i = first; i < t->n_strings && n < 64; i++) {
        if (t->strings[i].n != n || memcmp(t->strings[i].p, p, n) != 0) continue;
        *number = (uint32_t)i;
        return true;
    }
    *number = (uint32_t)t->n_strings;
    return add_string(t, p, n);
}

bool dlx_jinja_find_string(const dlx_jinja_tree *t, const char *p, size_t n, uint32_t *number)
{
    for (size_t i = 0; i < t->n_strings; i++) {
        if (t->strings[i].n != n || memcmp(t->strings[i].p, p, n) != 0) continue;
        *number = (uint32_t)i;
        return true;
    }
    return false;
}

void dlx_jinja_tree_free(dlx_jinja_tree *t)
{
    for (size_t i = 0; i < t->n_strings; i++) free((char *)t->strings[i].p);
    free(t->strings);
    free(t->nodes);
    memset(t, 0, sizeof *t);
}

/* ---- writing ------------------------------------------------------------------------------------------------------
 */

typedef struct writer {
    const dlx_jinja_tree *t;
    dlx_buffer out;
    uint32_t line; /* of the node before */
} writer;

static void put(writer *w, uint64_t v)
{
    do {
        uint8_t byte = (uint8_t)((v & 0x7F) | (v > 0x7F ? 0x80 : 0));
        dlx_buffer_add(&w->out, &byte, 1);
        v >>= 7;
    } while (v);
}

static void write_node(writer *w, uint32_t i);

static void write_list(writer *w, uint32_t first)
{
    for (uint32_t i = first; i != DLX_JINJA_NONE; i = w->t->nodes[i].next) write_node(w, i);
    put(w, 0);
}

static void write_node(writer *w, uint32_t i)
{
    const dlx_jinja_node *node = &w->t->nodes[i];
    put(w, node->kind);
    int64_t difference = (int64_t)node->line - w->line;
    put(w, (uint64_t)difference << 1 ^ (uint64_t)(difference < 0 ? -1 : 0));
    w->line = node->line;
    const uint32_t *f = node->f;
    for (const char *shape = dlx_jinja_shapes[node->kind]; *shape; shape++) {
        if (*shape == 'q') {
            put(w, (uint64_t)f[1] << 32 | f[0]);
            f += 2;
        } else if (strchr("SXAPVDCL", *shape)) {
            write_list(w, *f++);
        } else if (strchr("ETKO", *shape)) {
            if (*f == DLX_JINJA_NONE)
                put(w, 0);
            else
                write_node(w, *f);
            f++;
        } else {
            put(w, *f++);
        }
    }
}

dlx_status dlx_jinja_tree_write(const dlx_jinja_tree *t, uint8_t **bytes, size_t *n, dlx_error *err)
{
    writer w = {.t = t};
    char *text;
    dlx_buffer_add(&w.out, "DLXJ", 4);
    put(&w, DLX_JINJA_VERSION);
    put(&w, t->flags);
    put(&w, t->n_strings);
    for (size_t i = 0; i < t->n_strings; i++) {
        put(&w, t->strings[i].n);
        dlx_buffer_add(&w.out, t->strings[i].p, t->strings[i].n);
    }
    write_list(&w, t->root);
    DLX_TRY(dlx_buffer_take(&w.out, &text, n, "a compiled chat template", err));
    *bytes = (uint8_t *)text;
    return DLX_OK;
}

/* ---- reading ------------------------------------------------------------------------------------------------------
 */

typedef struct reader {
    dlx_jinja_tree *t;
    const uint8_t *p;
    size_t at, n;
    uint32_t line;
    int depth, loops; /* `loops`: for bodies around, which break and continue may leave */
    bool input;       /* inside the filters of a block */
    dlx_error *err;
} reader;

static dlx_status wrong(const reader *r, const char *what)
{
    return dlx_fail(r->err, DLX_E_FORMAT, "compiled chat template: %s at byte %zu of %zu", what, r->at, r->n);
}

static dlx_status get(reader *r, uint64_t most, uint64_t *v)
{
    *v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (r->at >= r->n) return wrong(r, "it ends early");
        uint8_t byte = r->p[r->at++];
        if (shift == 63 && byte > 1) break;
        *v |= (uint64_t)(byte & 0x7F) << shift;
        if (byte & 0x80) continue;
        if (*v > most) break;
        if (byte == 0 && shift > 0) return wrong(r, "a number is longer than it must be");
        return DLX_OK;
    }
    return wrong(r, "a number is too large");
}

static bool is_expression(uint64_t kind)
{
    return kind >= DLX_JINJA_NAME && kind < DLX_JINJA_KINDS && kind != DLX_JINJA_PAIR && kind != DLX_JINJA_OPERAND &&
           kind != DLX_JINJA_SLICE && kind != DLX_JINJA_KEYWORD && kind != DLX_JINJA_SPREAD &&
           kind != DLX_JINJA_SPREAD_KEYWORDS;
}

/* Whether a node of this kind may stand in a field of this letter. */
static bool may_stand(const reader *r, char letter, uint64_t kind)
{
    switch (letter) {
    case 'S':
        if (kind == DLX_JINJA_BREAK || kind == DLX_JINJA_CONTINUE) return r->loops > 0;
        return kind >= DLX_JINJA_DATA && kind <= DLX_JINJA_WITH;
    case 'T':
    case 'L': return kind == DLX_JINJA_NAME || kind == DLX_JINJA_TUPLE || kind == DLX_JINJA_MEMBER;
    case 'A':
        return is_expression(kind) || kind == DLX_JINJA_KEYWORD || kind == DLX_JINJA_SPREAD ||
               kind == DLX_JINJA_SPREAD_KEYWORDS;
    case 'P': return kind == DLX_JINJA_PARAMETER;
    case 'V': return kind == DLX_JINJA_VARIABLE;
    case 'D': return kind == DLX_JINJA_PAIR;
    case 'C': return kind == DLX_JINJA_OPERAND;
    case 'K': return is_expression(kind) || kind == DLX_JINJA_SLICE;
    default: return is_expression(kind) && (kind != DLX_JINJA_INPUT || r->input);
    }
}

static dlx_status read_fields(reader *r, uint32_t node, bool target);

/* A node whose kind is to be read, or NONE for a 0. */
static dlx_status read_node(reader *r, char letter, uint32_t *out)
{
    uint64_t kind, step;
    DLX_TRY(get(r, DLX_JINJA_KINDS - 1, &kind));
    *out = DLX_JINJA_NONE;
    if (kind == 0) return DLX_OK;
    if (!may_stand(r, letter, kind)) return wrong(r, "a node stands where it cannot");
    if (r->depth >= DLX_JINJA_MAX_DEPTH) return wrong(r, "nodes are nested too deeply");
    DLX_TRY(get(r, (uint64_t)UINT32_MAX << 1, &step));
    uint64_t line = step & 1 ? r->line - ((step >> 1) + 1) : r->line + (step >> 1);
    if (line > UINT32_MAX) return wrong(r, "a line number cannot be");
    r->line = (uint32_t)line;
    *out = dlx_jinja_new_node(r->t, (dlx_jinja_kind)kind, r->line);
    if (*out == DLX_JINJA_NONE)
        return r->t->n_nodes >= DLX_JINJA_MAX_NODES
                   ? wrong(r, "it has too many nodes")
                   : dlx_fail(r->err, DLX_E_NOMEM, "out of memory for a compiled chat template of %zu bytes", r->n);
    r->depth++;
    dlx_status status = read_fields(r, *out, letter == 'T' || letter == 'L');
    r->depth--;
    return status;
}

static dlx_status read_list(reader *r, char letter, uint32_t *first)
{
    uint32_t last = DLX_JINJA_NONE, node;
    *first = DLX_JINJA_NONE;
    for (;;) {
        DLX_TRY(read_node(r, letter, &node));
        if (node == DLX_JINJA_NONE) break;
        if (last == DLX_JINJA_NONE)
            *first = node;
        else
            r->t->nodes[last].next = node;
        last = node;
    }
    return *first == DLX_JINJA_NONE && letter == 'C' ? wrong(r, "a comparison has no operand") : DLX_OK;
}

static dlx_status read_number(reader *r, char letter, uint32_t *out)
{
    uint64_t most = 1, v;
    switch (letter) {
    case 's': most = r->t->n_strings ? r->t->n_strings - 1 : 0; break;
    case 'c': most = DLX_JINJA_COMPARISONS - 1; break;
    case 'o': most = DLX_JINJA_ARITHMETICS - 1; break;
    case 'f': most = DLX_JINJA_FILTERS - 1; break;
    case 't': most = DLX_JINJA_TESTS - 1; break;
    case 'u': most = DLX_JINJA_USES_CALLER | DLX_JINJA_USES_KWARGS | DLX_JINJA_USES_VARARGS; break;
    default: break;
    }
    if (letter == 's' && r->t->n_strings == 0) return wrong(r, "it has no strings");
    DLX_TRY(get(r, most, &v));
    *out = (uint32_t)v;
    return DLX_OK;
}

static dlx_status read_field(reader *r, uint32_t node, int place, char letter)
{
    uint32_t value = 0;
    if (letter == 'q') {
        uint64_t v;
        DLX_TRY(get(r, UINT64_MAX, &v));
        r->t->nodes[node].f[place] = (uint32_t)v;
        r->t->nodes[node].f[place + 1] = (uint32_t)(v >> 32);
        return DLX_OK;
    }
    if (strchr("SXAPVDCL", letter)) {
        DLX_TRY(read_list(r, letter, &value));
    } else if (strchr("ETKO", letter)) {
        DLX_TRY(read_node(r, letter, &value));
        if (value == DLX_JINJA_NONE && letter != 'O') return wrong(r, "a node is missing");
    } else {
        DLX_TRY(read_number(r, letter, &value));
    }
    r->t->nodes[node].f[place] = value;
    return DLX_OK;
}

static dlx_status read_fields(reader *r, uint32_t node, bool target)
{
    int kind = r->t->nodes[node].kind, loops = r->loops, place = 0;
    bool input = r->input;
    const char *shape = dlx_jinja_shapes[kind];
    if (target && kind == DLX_JINJA_TUPLE) shape = "L";
    for (int i = 0; shape[i]; place += shape[i] == 'q' ? 2 : 1, i++) {
        /* Filters of a block stand in its first expression; a body that becomes a function is outside every loop. */
        bool filters = (kind == DLX_JINJA_FILTER_BLOCK && i == 0) || (kind == DLX_JINJA_SET_BLOCK && i == 1);
        bool function = kind == DLX_JINJA_MACRO || kind == DLX_JINJA_CALL_BLOCK || kind == DLX_JINJA_GENERATION;
        r->input = filters || (input && shape[i] != 'S');
        r->loops = function ? 0 : loops + (kind == DLX_JINJA_FOR && i == 3);
        if (kind == DLX_JINJA_CALL_BLOCK && i == 0) r->loops = loops;
        DLX_TRY(read_field(r, node, place, shape[i]));
    }
    r->loops = loops;
    r->input = input;
    if (kind == DLX_JINJA_CALL_BLOCK && r->t->nodes[r->t->nodes[node].f[0]].kind != DLX_JINJA_CALL)
        return wrong(r, "a call block has no call");
    return DLX_OK;
}

static dlx_status read_strings(reader *r)
{
    uint64_t count, length;
    DLX_TRY(get(r, r->n, &count));
    for (uint64_t i = 0; i < count; i++) {
        DLX_TRY(get(r, r->n - r->at, &length));
        if (length > r->n - r->at) return wrong(r, "a string reaches past the end");
        const char *text = (const char *)r->p + r->at;
        if (!dlx_utf8_valid(text, (size_t)length)) return wrong(r, "a string is not UTF-8");
        if (!dlx_jinja_has_room(r->t, (size_t)length)) return wrong(r, "it has too much text");
        if (!add_string(r->t, text, (size_t)length))
            return dlx_fail(r->err, DLX_E_NOMEM, "out of memory for a compiled chat template of %zu bytes", r->n);
        r->at += (size_t)length;
    }
    return DLX_OK;
}

static dlx_status read_tree(reader *r)
{
    uint64_t version, flags;
    if (r->n < 4 || memcmp(r->p, "DLXJ", 4) != 0) return wrong(r, "it does not begin with DLXJ");
    r->at = 4;
    DLX_TRY(get(r, UINT32_MAX, &version));
    if (version != DLX_JINJA_VERSION)
        return dlx_fail(r->err, DLX_E_FORMAT, "compiled chat template: version %u; this build reads version %d",
                        (unsigned)version, DLX_JINJA_VERSION);
    DLX_TRY(get(r, DLX_JINJA_READS_PARTS, &flags));
    r->t->flags = (uint32_t)flags;
    DLX_TRY(read_strings(r));
    DLX_TRY(read_list(r, 'S', &r->t->root));
    return r->at == r->n ? DLX_OK : wrong(r, "more follows");
}

dlx_status dlx_jinja_tree_read(dlx_jinja_tree *t, const uint8_t *bytes, size_t n, dlx_error *err)
{
    memset(t, 0, sizeof *t);
    reader r = {.t = t, .p = bytes, .n = n, .err = err};
    dlx_status status = read_tree(&r);
    if (status != DLX_OK) dlx_jinja_tree_free(t);
    return status;
}
