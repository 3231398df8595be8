/*
 * What can be chosen for an export: the table of backends and the table of quantisation schemes. Whatever names them
 * (options, messages, --help, Python, metadata) reads these tables, so that a new one is a new row.
 */
#ifndef DLX_EXPORT_CHOICES_H
#define DLX_EXPORT_CHOICES_H

#include <stdbool.h>

#include "diffulex_edge/export.h"

#include "backends/lower.h"
#include "base/arena.h"
#include "base/status.h"
#include "export/backend_use.h"
#include "format/pte.h"
#include "graph/graph.h"
#include "model/checkpoint.h"
#include "quant/recipe.h"

typedef struct dlx_backend {
    const char *name;
    const char *aliases; /* other names, "a, b"; "" for none */
    const char *help;    /* one line: what it writes, for which machines */
    /* High-level operators to those that the backend has; in place. */
    dlx_status (*decompose)(dlx_graph *g, dlx_error *err);
    const dlx_home *home; /* what it takes of a decomposed graph; the rest goes to XNNPACK */
    bool compiles;        /* its payloads are what others made of the constants, which are no pieces of them */
    const char *kv;       /* names of the forms of the cache that it can write, "a, b"; the first is its default */
    /* Begins its use, with its options (backend_use.h); NULL: it has none and needs nothing. */
    dlx_status (*open)(dlx_backend_use *out, dlx_arena *arena, const dlx_export_options *o, const dlx_recipe *recipe,
                       dlx_error *err);
    /* Whether it can write the weights of a graph, after dlx_quantize: before anything takes long; NULL: it can. */
    dlx_status (*check)(const dlx_backend_use *use, const dlx_graph *g, dlx_error *err);
    /* What it has opened, behind what is in t (dlx_export_backend_check); NULL: nothing. */
    void (*describe)(const dlx_backend_use *use, dlx_text_buffer *t);
} dlx_backend;

typedef struct dlx_scheme {
    const char *name;
    const char *aliases;  /* as above; one that stands in several rows means the first that the backend writes */
    const char *help;     /* one line: what becomes of weights and activations */
    const char *metadata; /* what the file says (get_quantization); files are read by it, so it never changes */
    const char *backends; /* names of the backends that can write it, "a, b" */
    const char *body, *head, *table; /* names of the forms of linear layers, the head and the embedding table */
} dlx_scheme;

typedef struct dlx_kv_choice {
    const char *name; /* also what the file says (get_kv_form) */
    const char *help; /* one line: who keeps the cache, for whom that is */
    dlx_kv kv;
    bool in_sessions; /* this library's sessions run such a file */
} dlx_kv_choice;

typedef struct dlx_rounding {
    const char *name;
    const char *help; /* one line: how weights become integers */
    bool clips;       /* scales are those that miss the weights least, of head and embedding too */
    bool scales;      /* inputs are scaled, for which calibration data is needed */
    bool solves;      /* codes are chosen together, likewise */
    bool activations; /* of int8-static layers alone: scales are for the grids of activations */
} dlx_rounding;

/* What int8-static takes where nobody says anything: the row with `activations`. */
#define DLX_STATIC_ROUNDING "smooth"

/* The row that `word` names, '-' and '_' being the same; the first one for NULL. DLX_E_UNSUPPORTED lists the names. */
dlx_status dlx_backend_find(const dlx_backend **out, const char *word, dlx_error *err);
/* The same; DLX_E_UNSUPPORTED also when `backend` cannot write the scheme. */
dlx_status dlx_scheme_find(const dlx_scheme **out, const char *word, const dlx_backend *backend, dlx_error *err);
/* The first whose layers have that form, of the backend's if it has one: every form has one. */
const dlx_scheme *dlx_scheme_of_body(const dlx_weight_form *form, const dlx_backend *backend);
/* As above, but DLX_E_INVALID. */
dlx_status dlx_rounding_find(const dlx_rounding **out, const char *word, dlx_error *err);
/* The same; NULL is the backend's default, and a form that it cannot write DLX_E_UNSUPPORTED. */
dlx_status dlx_kv_find(const dlx_kv_choice **out, const char *word, const dlx_backend *backend, dlx_error *err);

/* What is asked for beyond a backend's name: the members of dlx_export_options that decide about weights. */
typedef struct dlx_recipe_request {
    const char *quantization; /* a scheme, NULL: the file's, or the first */
    const char *config;       /* path of a file of overrides, NULL: none */
    const char *exclude;      /* "a, b": patterns of weights that stay float32, NULL: none */
} dlx_recipe_request;

/*
 * The recipe for a request, in memory from `arena`. Rules: the excluded ones, then those of the file in its order.
 * *scheme is the one that rules and roles differ from. DLX_E_INVALID for words and keys that do not exist, with those
 * that do.
 */
dlx_status dlx_recipe_make(dlx_recipe *out, const dlx_scheme **scheme, dlx_arena *arena,
                           const dlx_recipe_request *request, const dlx_backend *backend, dlx_error *err);

/*
 * What the file of a program says of its weights, by what they were given: the word of the scheme that was asked for,
 * or, where no weight of a layer took its form, of the one that is named after the form that most of them took; and
 * "mixed" behind it when something differs from that. *body: its form of layers. Text from `arena`, or static.
 */
dlx_status dlx_recipe_describe(const char **metadata, const dlx_weight_form **body, dlx_arena *arena,
                               const dlx_scheme *asked, const dlx_backend *backend, const dlx_forms_given *given,
                               dlx_error *err);

#endif
