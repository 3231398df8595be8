/*
 * Recipes as users write them: a scheme, a file of overrides, and a list of what stays float32.
 *
 * The file is {"default": scheme, "embedding": form, "head": form, "tensors": [{"pattern": p, "scheme": form}, ...]};
 * every key may be left out.
 */
#include "export/choices.h"

#include <stdio.h>
#include <string.h>

#include "base/sizes.h"
#include "format/json/json_file.h"

enum { FILE_LIMIT = 16 << 20 };

typedef struct maker {
    dlx_recipe recipe;
    dlx_recipe_rule *rules; /* [capacity] */
    dlx_arena *arena;
    const char *path; /* of the file */
    dlx_error *err;
} maker;

static dlx_status no_memory(maker *m)
{
    return dlx_fail(m->err, DLX_E_NOMEM, "out of memory reading a recipe");
}

static dlx_status add_rule(maker *m, const char *pattern, size_t n, const dlx_weight_form *form)
{
    char *kept = dlx_arena_strndup(m->arena, pattern, n);
    if (!kept) return no_memory(m);
    m->rules[m->recipe.n_rules++] = (dlx_recipe_rule){.pattern = kept, .form = form};
    return DLX_OK;
}

/* ---- the file ---- */

static dlx_status text_of(maker *m, const json_t *object, const char *key, const char *where, const char **out)
{
    const json_t *value = json_object_get(object, key);
    *out = json_string_value(value);
    if (*out || !value) return DLX_OK;
    return dlx_fail(m->err, DLX_E_INVALID, "'%s': %s\"%s\" is %s; a name is expected", m->path, where, key,
                    dlx_json_type_name(value));
}

/* As it is spelled: what nobody looks up must not pass. */
static bool is_key(const char *list, const char *word)
{
    size_t n = strlen(word), length;
    for (; *list; list += length + strspn(list + length, ", ")) {
        length = strcspn(list, ",");
        if (length == n && !memcmp(list, word, n)) return true;
    }
    return false;
}

/* Only these keys may stand in an object. */
static dlx_status known_keys(maker *m, const json_t *object, const char *where, const char *list)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!is_key(list, key))
            return dlx_fail(m->err, DLX_E_INVALID, "'%s': %sthere is no key '%.60s'; the keys are: %s", m->path, where,
                            key, list);
    }
    return DLX_OK;
}

static dlx_status read_rule(maker *m, const json_t *entry, size_t i)
{
    char where[48];
    const char *pattern, *word;
    const dlx_weight_form *form;
    snprintf(where, sizeof where, "\"tensors\", entry %zu: ", i);
    if (!json_is_object(entry))
        return dlx_fail(m->err, DLX_E_INVALID, "'%s': %sis %s; an object is expected", m->path, where,
                        dlx_json_type_name(entry));
    DLX_TRY(known_keys(m, entry, where, "pattern, scheme"));
    DLX_TRY(text_of(m, entry, "pattern", where, &pattern));
    DLX_TRY(text_of(m, entry, "scheme", where, &word));
    if (!pattern || !*pattern || !word)
        return dlx_fail(m->err, DLX_E_INVALID, "'%s': %sneeds a \"pattern\" and a \"scheme\"", m->path, where);
    DLX_TRY(dlx_form_named(&form, word, m->path, m->err));
    return add_rule(m, pattern, strlen(pattern), form);
}

static dlx_status read_role(maker *m, const json_t *root, const char *key, const dlx_weight_form **form, bool *told)
{
    const char *word;
    DLX_TRY(text_of(m, root, key, "", &word));
    *told = word != NULL;
    return word ? dlx_form_named(form, word, m->path, m->err) : DLX_OK;
}

static dlx_status read_overrides(maker *m, const json_t *root)
{
    const json_t *tensors = json_object_get(root, "tensors");
    DLX_TRY(read_role(m, root, "embedding", &m->recipe.table, &m->recipe.table_told));
    DLX_TRY(read_role(m, root, "head", &m->recipe.head, &m->recipe.head_told));
    if (tensors && !json_is_array(tensors))
        return dlx_fail(m->err, DLX_E_INVALID, "'%s': \"tensors\" is %s; an array is expected", m->path,
                        dlx_json_type_name(tensors));
    for (size_t i = 0; i < json_array_size(tensors); i++) DLX_TRY(read_rule(m, json_array_get(tensors, i), i));
    return DLX_OK;
}

static dlx_status open_file(maker *m, json_t **root)
{
    DLX_TRY(dlx_json_read(root, m->path, FILE_LIMIT, m->err));
    if (!json_is_object(*root))
        return dlx_fail(m->err, DLX_E_INVALID, "'%s' is %s; an object is expected", m->path, dlx_json_type_name(*root));
    return known_keys(m, *root, "", "default, embedding, head, tensors");
}

/* ---- all together ---- */

/* A comma separated list, each of its patterns with blanks around it. */
static dlx_status exclude(maker *m, const char *list)
{
    const dlx_weight_form *none = dlx_form_find("none");
    for (const char *s = list;; s++) {
        s += strspn(s, " ");
        size_t n = strcspn(s, ","), length = n;
        while (length && s[length - 1] == ' ') length--;
        if (!length)
            return dlx_fail(
                m->err, DLX_E_INVALID,
                "exclude is '%.100s', in which a pattern is empty; expected names of weights, comma separated", list);
        DLX_TRY(add_rule(m, s, length, none));
        s += n;
        if (!*s) return DLX_OK;
    }
}

static size_t commas(const char *list)
{
    size_t n = 1;
    for (; list && *list; list++) n += *list == ',';
    return n;
}

static dlx_status choose_scheme(maker *m, const dlx_scheme **scheme, const json_t *root,
                                const dlx_recipe_request *request, const dlx_backend *backend)
{
    const char *word = NULL;
    if (root) DLX_TRY(text_of(m, root, "default", "", &word));
    if (word && request->quantization)
        return dlx_fail(
            m->err, DLX_E_INVALID,
            "'%s' says \"default\": \"%.60s\", and quantization '%.60s' is asked for; leave one of them out", m->path,
            word, request->quantization);
    DLX_TRY(dlx_scheme_find(scheme, word ? word : request->quantization, backend, m->err));
    m->recipe.body = dlx_form_find((*scheme)->body);
    m->recipe.head = dlx_form_find((*scheme)->head);
    m->recipe.table = dlx_form_find((*scheme)->table);
    return DLX_OK;
}

static dlx_status make(maker *m, const dlx_scheme **scheme, const json_t *root, const dlx_recipe_request *request,
                       const dlx_backend *backend)
{
    size_t most = commas(request->exclude) + json_array_size(json_object_get(root, "tensors"));
    DLX_TRY(choose_scheme(m, scheme, root, request, backend));
    m->rules = dlx_arena_array(m->arena, most, sizeof *m->rules);
    if (!m->rules) return no_memory(m);
    m->recipe.rules = m->rules;
    if (request->exclude) DLX_TRY(exclude(m, request->exclude));
    return root ? read_overrides(m, root) : DLX_OK;
}

dlx_status dlx_recipe_make(dlx_recipe *out, const dlx_scheme **scheme, dlx_arena *arena,
                           const dlx_recipe_request *request, const dlx_backend *backend, dlx_error *err)
{
    maker m = {.arena = arena, .path = request->config, .err = err};
    json_t *root = NULL;
    dlx_status s = request->config ? open_file(&m, &root) : DLX_OK;
    if (s == DLX_OK) s = make(&m, scheme, root, request, backend);
    json_decref(root);
    if (s == DLX_OK) *out = m.recipe;
    return s;
}

/* ---- what became of it ---- */

/* Whether weights of that role took another form. */
static bool differs(const dlx_forms_given *given, dlx_weight_role role, const char *name)
{
    const dlx_weight_form *f, *of = dlx_form_find(name);
    for (size_t i = 0; (f = dlx_form_at(i)) != NULL; i++)
        if (given->elements[role][i] && f != of && !(role == DLX_ROLE_TABLE && dlx_forms_store_alike(f, of)))
            return true;
    return false;
}

/* The form that most of the layers' weights took, the recipe's where any has it. */
static const dlx_weight_form *body_of(const dlx_forms_given *given, const dlx_scheme *asked)
{
    const uint64_t *of = given->elements[DLX_ROLE_BODY];
    const dlx_weight_form *f, *best = dlx_form_find(asked->body);
    uint64_t most = 0;
    if (of[dlx_form_place(best)]) return best;
    for (size_t i = 0; (f = dlx_form_at(i)) != NULL; i++) {
        if (of[i] <= most) continue;
        most = of[i];
        best = f;
    }
    return best;
}

dlx_status dlx_recipe_describe(const char **metadata, const dlx_weight_form **body, dlx_arena *arena,
                               const dlx_scheme *asked, const dlx_backend *backend, const dlx_forms_given *given,
                               dlx_error *err)
{
    *body = body_of(given, asked);
    const dlx_scheme *s = *body == dlx_form_find(asked->body) ? asked : dlx_scheme_of_body(*body, backend);
    *metadata = s->metadata;
    if (!differs(given, DLX_ROLE_BODY, s->body) && !differs(given, DLX_ROLE_HEAD, s->head) &&
        !differs(given, DLX_ROLE_TABLE, s->table))
        return DLX_OK;
    static const char mixed[] = ", mixed";
    size_t n = strlen(s->metadata) + sizeof mixed;
    char *text = dlx_arena_alloc(arena, n);
    if (!text) return dlx_fail(err, DLX_E_NOMEM, "out of memory describing a recipe");
    snprintf(text, n, "%s%s", s->metadata, mixed);
    *metadata = text;
    return DLX_OK;
}
