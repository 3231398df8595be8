/* Pieces of text that are tokens as they stand: for vocabularies whose merges do not lead to every token
 * ("ignore_merges" of Llama 3 and tekken files). */
#ifndef DLX_TEXT_FULL_WHOLE_H
#define DLX_TEXT_FULL_WHOLE_H

#include "text/tokenizer.h"

typedef struct dlx_whole {
    uint32_t *ids; /* an open-addressing table by the bytes of tokens; 0: free, else id + 1 */
    uint32_t mask;
} dlx_whole;

dlx_status dlx_whole_create(dlx_whole *w, const dlx_tokenizer *t, dlx_error *err);
void dlx_whole_free(dlx_whole *w);
bool dlx_whole_find(const dlx_whole *w, const dlx_tokenizer *t, const char *text, size_t n, uint32_t *id);

#endif
