#include "full/export_report.h"

#include <string.h>

#include "output.h"

dlx_status dlx_cli_export_report(json_t **out, const char *path, int32_t max_context, dlx_error *err)
{
    const dlx_workspace_options w = {.struct_size = sizeof w, .max_context = max_context, .max_sessions = 1};
    char *text;
    json_error_t e;
    *out = NULL;
    dlx_status s = dlx_inspect(path, true, &w, &text, err);
    if (s != DLX_OK) return s;
    *out = json_loads(text, 0, &e);
    dlx_free(text);
    if (*out) return DLX_OK;
    err->status = DLX_E_NOMEM;
    snprintf(err->message, sizeof err->message, "out of memory describing '%.200s': %s", path, e.text);
    return err->status;
}

/* Of Qualcomm's libraries, of the first delegate that has one: the others are of the same export. NULL: none. */
static const char *qnn_version(const json_t *report)
{
    json_t *method, *delegate;
    size_t i, k;
    json_array_foreach(json_object_get(report, "methods"), i, method)
    {
        json_array_foreach(json_object_get(method, "delegates"), k, delegate)
        {
            const char *version = json_string_value(json_object_get(delegate, "qnn_version"));
            if (version) return version;
        }
    }
    return NULL;
}

void dlx_cli_export_report_json(dlx_cli_json *j, const json_t *report)
{
    static const char *const members[] = {"parts", "linears", "memory"};
    const char *version = qnn_version(report);
    if (version) dlx_cli_json_text(j, "qnn_version", version);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const json_t *member = json_object_get(report, members[i]);
        if (!member) continue;
        dlx_cli_json_key(j, members[i]);
        json_dumpf(member, j->out, JSON_ENCODE_ANY);
    }
}

static uint64_t number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

void dlx_cli_export_report_text(const json_t *report)
{
    const char *part, *version = qnn_version(report);
    json_t *bytes, *linear, *parts = json_object_get(report, "parts");
    const json_t *memory = json_object_get(report, "memory");
    size_t i;
    char a[32], b[32], c[32], kind[64];
    json_object_foreach(parts, part, bytes)
    {
        if (json_integer_value(bytes))
            printf("  %-16s %s\n", part, dlx_cli_bytes(a, (uint64_t)json_integer_value(bytes)));
    }
    json_array_foreach(json_object_get(report, "linears"), i, linear)
    {
        uint64_t group = number(linear, "group");
        snprintf(kind, sizeof kind, "%s%s", json_string_value(json_object_get(linear, "kind")), group ? ", " : "");
        if (group) snprintf(kind + strlen(kind), sizeof kind - strlen(kind), "%llu", (unsigned long long)group);
        printf("  %-16s %s in %llu linear layers\n", kind, dlx_cli_bytes(a, number(linear, "bytes")),
               (unsigned long long)number(linear, "layers"));
    }
    if (version)
        printf("  %-16s QNN %s: devices need that version of Qualcomm's libraries, or a later one\n", "compiled by",
               version);
    if (memory && !json_object_get(memory, "file"))
        printf("a session of %llu positions takes %s beside what the runtime takes: cache %s\n",
               (unsigned long long)number(memory, "max_context"), dlx_cli_bytes(a, number(memory, "total")),
               json_is_true(json_object_get(memory, "kv_in_delegates")) ? "in the delegates"
                                                                        : dlx_cli_bytes(c, number(memory, "kv_cache")));
    else if (memory)
        printf("running it takes %s with a session of %llu positions: weights %s, cache %s\n",
               dlx_cli_bytes(a, number(memory, "total")), (unsigned long long)number(memory, "max_context"),
               dlx_cli_bytes(b, number(memory, "file") + number(memory, "packed")),
               dlx_cli_bytes(c, number(memory, "kv_cache")));
}
