#include "quant/forms.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/sizes.h"

static const dlx_weight_form forms[] = {
    {"none", "float32, fp32", DLX_F32, DLX_F32, 0},
    {"fp16", "float16", DLX_F16, DLX_F32, 0},
    {"bf16", "bfloat16", DLX_BF16, DLX_F32, 0},
    {"int8-dynamic", "int8, dynamic-int8", DLX_I8, DLX_QD8, 0},
    {"int8-static", "static-int8", DLX_I8, DLX_QS8, 0},
    {"int8-weight-only", "weight-only-int8", DLX_I8, DLX_F32, 0},
    {"int4", "int4-dynamic", DLX_I4, DLX_QD8, 0},
    {"int4-g32", "", DLX_I4, DLX_QD8, 32},
    {"int4-g64", "", DLX_I4, DLX_QD8, 64},
    {"int4-g128", "", DLX_I4, DLX_QD8, 128},
};

static char as_listed(char c)
{
    return c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool dlx_word_in(const char *list, const char *word)
{
    while (*list) {
        const char *w = word;
        for (; *list && *list != ','; list++)
            if (w && as_listed(*w) == *list)
                w++;
            else
                w = NULL;
        if (w && !*w) return true;
        list += strspn(list, ", ");
    }
    return false;
}

const dlx_weight_form *dlx_form_find(const char *word)
{
    for (size_t i = 0; i < DLX_COUNT(forms); i++)
        if (dlx_word_in(forms[i].name, word) || dlx_word_in(forms[i].aliases, word)) return &forms[i];
    return NULL;
}

dlx_status dlx_form_named(const dlx_weight_form **out, const char *word, const char *where, dlx_error *err)
{
    char names[256] = "";
    *out = dlx_form_find(word);
    if (*out) return DLX_OK;
    for (size_t i = 0; i < DLX_COUNT(forms); i++) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", forms[i].name);
    }
    return dlx_fail(err, DLX_E_INVALID, "%s: there is no form '%.60s'; there are: %s", where, word, names);
}

const dlx_weight_form *dlx_form_at(size_t i)
{
    return i < DLX_COUNT(forms) ? &forms[i] : NULL;
}

_Static_assert(DLX_COUNT(forms) <= DLX_MOST_FORMS, "whoever keeps something of each form has room for these");

size_t dlx_form_place(const dlx_weight_form *form)
{
    return (size_t)(form - forms);
}

int64_t dlx_form_bits(const dlx_weight_form *form)
{
    uint64_t bytes = 0;
    (void)dlx_dtype_bytes(form->stored, CHAR_BIT, &bytes); /* of so many weights: bits of one */
    return (int64_t)bytes;
}

bool dlx_forms_store_alike(const dlx_weight_form *a, const dlx_weight_form *b)
{
    return a->stored == b->stored && a->group == b->group;
}
