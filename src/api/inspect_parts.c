#include "api/inspect_parts.h"

#include <stdlib.h>
#include <string.h>

#include "format/coreml.h"
#include "format/facts.h"

static const struct {
    const char *word, *text;
} words[DLX_PARTS] = {
    [DLX_PART_EMBEDDING] = {"embedding", "embedding"}, [DLX_PART_HEAD] = {"head", "head"},
    [DLX_PART_LAYERS] = {"layers", "layers"},          [DLX_PART_NORMS] = {"norms", "norms"},
    [DLX_PART_TOKENIZER] = {"tokenizer", "tokenizer"}, [DLX_PART_OTHER] = {"other", "other constants"},
    [DLX_PART_PROGRAM] = {"program", "program"},
};

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

static dlx_file_part part_named(const char *name)
{
    if (!name) return DLX_PART_OTHER;
    if (!strcmp(name, DLX_TOKENIZER_KEY)) return DLX_PART_TOKENIZER;
    if (begins(name, DLX_COREML_KEY DLX_COREML_IDENTIFIER)) return DLX_PART_PROGRAM; /* as if it were in the payload */
    if (begins(name, "embed.")) return DLX_PART_EMBEDDING;
    if (begins(name, "lm_head.")) return DLX_PART_HEAD;
    if (begins(name, "norm.") || (begins(name, "layers.") && strstr(name, "norm."))) return DLX_PART_NORMS;
    return begins(name, "layers.") ? DLX_PART_LAYERS : DLX_PART_OTHER;
}

/* A piece of the file, and what it is. */
typedef struct piece {
    uint64_t begin, end;
    uint32_t order; /* constants stand in front of named data */
    dlx_file_part part;
} piece;

static int by_place(const void *a, const void *b)
{
    const piece *p = a, *q = b;
    if (p->begin != q->begin) return p->begin < q->begin ? -1 : 1;
    return (p->order > q->order) - (p->order < q->order);
}

/* Constants have the names of their tensors, named data its keys. */
static void name_pieces(piece *list, const dlx_pte *pte)
{
    for (uint32_t i = 0; i < pte->n_blobs; i++) {
        const dlx_pte_blob *b = &pte->blobs[i];
        list[i] = (piece){.begin = b->offset,
                          .end = b->offset + b->size,
                          .order = i,
                          .part = b->kind == DLX_BLOB_DELEGATE ? DLX_PART_PROGRAM : part_named(b->key)};
    }
    for (uint32_t k = 0; k < pte->n_plans; k++)
        for (uint32_t i = 0; i < pte->plans[k].n_values; i++) {
            const dlx_evalue *v = &pte->plans[k].values[i];
            if (v->kind != DLX_EV_TENSOR || v->u.tensor.blob == DLX_PTE_NO_BLOB || !v->u.tensor.name) continue;
            list[v->u.tensor.blob].part = part_named(v->u.tensor.name);
        }
}

dlx_status dlx_file_parts_of(dlx_file_parts *out, const dlx_pte *pte, dlx_error *err)
{
    piece *list = calloc((size_t)pte->n_blobs + 1, sizeof *list);
    uint64_t end = 0, known = 0;
    *out = (dlx_file_parts){{0}};
    if (!list) return dlx_fail(err, DLX_E_NOMEM, "out of memory describing a file");
    name_pieces(list, pte);
    qsort(list, pte->n_blobs, sizeof *list, by_place);
    for (uint32_t i = 0; i < pte->n_blobs; i++) { /* each byte once */
        uint64_t begin = list[i].begin > end ? list[i].begin : end;
        if (list[i].end <= begin) continue;
        out->bytes[list[i].part] += list[i].end - begin;
        known += list[i].end - begin;
        end = list[i].end;
    }
    out->bytes[DLX_PART_PROGRAM] += pte->file_size > known ? pte->file_size - known : 0;
    free(list);
    return DLX_OK;
}

void dlx_put_parts(dlx_text_buffer *t, const dlx_file_parts *p)
{
    dlx_put(t, "parts of the file\n");
    for (size_t i = 0; i < DLX_PARTS; i++)
        if (p->bytes[i])
            dlx_put(t, "  %-16s %12llu bytes %10.1f MB\n", words[i].text, (unsigned long long)p->bytes[i],
                    (double)p->bytes[i] / 1e6);
}

void dlx_put_parts_json(dlx_text_buffer *t, const dlx_file_parts *p)
{
    for (size_t i = 0; i < DLX_PARTS; i++)
        dlx_put(t, "%s\"%s\":%llu", i ? "," : "{", words[i].word, (unsigned long long)p->bytes[i]);
    dlx_put(t, "}");
}
