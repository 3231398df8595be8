/*
 * Memory runs out at every place where a constraint is made: reading an expression, a schema or a grammar, its
 * automata, and what tokens do to them. As in test_out_of_memory.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fail_fixture.h"
#include "fail_memory.h"

static dlx_status run_regex(void *ctx, dlx_error *err)
{
    static const char regex[] = "(ab|[^\\s\\d]{2,4})*\\u00e9?(?:x|y[a-c])";
    dlx_constraint *c = (dlx_constraint *)1;
    dlx_status s;
    WATCHED(s, dlx_constraint_from_regex(&c, ctx, regex, sizeof regex - 1, NULL, err));
    assert_true((s == DLX_OK) == (c != NULL));
    dlx_constraint_free(c);
    return s;
}

static dlx_status run_schema(void *ctx, dlx_error *err)
{
    static const char schema[] =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^[xy]\",\"maxLength\":1},"
        "\"b\":{\"type\":\"number\",\"minimum\":-2,\"maximum\":1},\"c\":{\"$ref\":\"#/$defs/c\"},"
        "\"d\":{\"enum\":[1,\"e\",[null,{\"f\":true}]],\"type\":[\"null\",\"integer\"]}},\"required\":[\"b\"],"
        "\"$defs\":{\"c\":{\"type\":\"array\",\"prefixItems\":[{\"const\":2}],\"items\":{\"oneOf\":[{\"type\":"
        "\"null\"},{\"type\":\"boolean\"}]},\"maxItems\":2,\"minItems\":1}},\"additionalProperties\":false}";
    dlx_constraint *c = (dlx_constraint *)1;
    dlx_status s;
    WATCHED(s, dlx_constraint_from_schema(&c, ctx, schema, sizeof schema - 1, NULL, err));
    assert_true((s == DLX_OK) == (c != NULL));
    dlx_constraint_free(c);
    return s;
}

static dlx_status run_grammar(void *ctx, dlx_error *err)
{
    static const char grammar[] = "root ::= list | \"[\" root \"]\"\nlist ::= list \",\" item | item # left\n"
                                  "item ::= [a-c\\u00e9]{1,2} | \"(\" root \")\" | word\nword ::= \"x\" word | .";
    const dlx_constraint_options o = {.struct_size = sizeof o, .max_depth = 1};
    dlx_constraint *c = (dlx_constraint *)1;
    dlx_status s;
    WATCHED(s, dlx_constraint_from_grammar(&c, ctx, grammar, sizeof grammar - 1, &o, err));
    assert_true((s == DLX_OK) == (c != NULL));
    dlx_constraint_free(c);
    return s;
}

static void constraints(void **state)
{
    dlx_tokenizer *t;
    dlx_error err = {0};
    char path[1024];
    (void)state;
    checkpoint_of(path, "sdar");
    if (dlx_tokenizer_open_folder(&t, path, &err) != DLX_OK) fail_msg("%s", err.message);
    every_request_fails("a regular expression", run_regex, t);
    every_request_fails("a schema", run_schema, t);
    every_request_fails("a grammar", run_grammar, t);
    dlx_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(constraints)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
