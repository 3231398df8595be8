/* The interpreter of chat templates: recorded texts of Jinja2, what does not compile, bounds, and hostile trees. */
#include "text_check.h"
#include "text/jinja/jinja.h"
#include "left_out.h"

/* Renders over variables in JSON; NULL and a filled failure when anything fails. Through the written form and back.
 * With `foreign`, bytes that are the template's come out as '.'. */
static char *render_as(const char *source, const char *variables, bool foreign, dlx_error *failure)
{
    dlx_jinja *t = NULL, *again = NULL;
    char *text = NULL;
    dlx_jx x;
    dlx_jv v;
    if (dlx_jinja_compile(&t, source, strlen(source), failure) != DLX_OK) return NULL;
    assert_ok(dlx_jinja_load(&again, t->bytes, t->n_bytes, err));
    dlx_jinja_free(t);
    if (dlx_jx_open(&x, again, failure) == DLX_OK &&
        dlx_jx_read_json(&x, variables, strlen(variables), "test", false, &v)) {
        for (size_t i = 0; i < v.as.dict->n; i++)
            dlx_jx_variable(&x, v.as.dict->keys[i].as.string->p, v.as.dict->keys[i].as.string->n, v.as.dict->values[i]);
        if (dlx_jx_render(&x)) {
            text = malloc(x.out->used + 1);
            assert_non_null(text);
            if (x.out->used) memcpy(text, x.out->p, x.out->used);
            for (size_t i = 0; foreign && i < x.out->used; i++)
                if (x.out->own[i]) text[i] = '.';
            text[x.out->used] = '\0';
        }
    }
    dlx_jx_close(&x);
    dlx_jinja_free(again);
    return text;
}

static char *render(const char *source, const char *variables, dlx_error *failure)
{
    return render_as(source, variables, false, failure);
}

static json_t *load_recorded(void)
{
    return load_json(DLX_TEST_DATA "/jinja/recorded.json");
}

static char *dump(const json_t *value)
{
    char *text = value && !json_is_null(value) ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    return text;
}

static void check_conversation(const dlx_tokenizer *t, const char *name, const char *source, const json_t *request,
                               const json_t *special, const json_t *expected, int *printed)
{
    json_t *kwargs = json_copy((json_t *)special);
    json_object_update(kwargs, json_object_get(request, "kwargs"));
    char *messages = dump(json_object_get(request, "messages")), *tools = dump(json_object_get(request, "tools")),
         *documents = dump(json_object_get(request, "documents")), *variables = dump(kwargs), *text = NULL;
    const dlx_chat_options o = {
        .struct_size = sizeof o,
        .add_generation_prompt = json_is_true(json_object_get(request, "add_generation_prompt")),
        .tools = tools,
        .documents = documents,
        .template_kwargs = variables,
        .chat_template = source,
    };
    dlx_error e = {0};
    dlx_status s = dlx_chat_render_json(t, messages, strlen(messages), &o, &text, NULL, &e);
    if ((s == DLX_OK) != json_is_string(expected)) fail_msg("%s: %s: %s", name, messages, e.message);
    if (s == DLX_OK && strcmp(text, json_string_value(expected)) != 0)
        fail_msg("%s: %s: '%s', expected '%s'", name, messages, text, json_string_value(expected));
    if (s != DLX_OK) assert_true(strlen(e.message) > 10);
    *printed += s == DLX_OK;
    free(text);
    free(messages);
    free(tools);
    free(documents);
    free(variables);
    json_decref(kwargs);
}

static void test_recorded_templates(void **state)
{
    (void)state;
    json_t *recorded = load_recorded(), *list, *expected;
    const json_t *requests = json_object_get(recorded, "requests");
    dlx_tokenizer *t = open_family("sdar");
    const char *name;
    size_t i, n_templates = 0;
    int printed = 0;
    json_object_foreach(json_object_get(recorded, "rendered"), name, list)
    {
        char path[600], *source;
        size_t n;
        snprintf(path, sizeof path, DLX_TEST_DATA "/jinja/templates/%s.jinja", name);
        assert_ok(dlx_read_file(&source, &n, path, 1 << 20, err));
        json_array_foreach(list, i, expected)
        {
            check_conversation(t, name, source, json_array_get(requests, i), json_object_get(recorded, "special"),
                               expected, &printed);
        }
        free(source);
        n_templates++;
    }
    assert_true(n_templates >= 40);
    assert_true(printed > 500);
    dlx_tokenizer_close(t);
    json_decref(recorded);
}

static void test_recorded_programs(void **state)
{
    (void)state;
    json_t *recorded = load_recorded(), *entry;
    size_t i;
    int printed = 0;
    json_array_foreach(json_object_get(recorded, "programs"), i, entry)
    {
        const char *source = json_string_value(json_array_get(entry, 0));
        json_t *variables = json_copy(json_array_get(entry, 1)), *expected = json_array_get(entry, 2);
        json_object_update(variables, json_object_get(recorded, "special"));
        char *json = dump(variables);
        dlx_error e = {0};
        char *text = render(source, json, &e);
        if (!text != !json_is_string(expected)) fail_msg("program %zu: %s: %s", i, source, e.message);
        if (text && strcmp(text, json_string_value(expected)) != 0)
            fail_msg("program %zu: %s: '%s', expected '%s'", i, source, text, json_string_value(expected));
        printed += text != NULL;
        free(text);
        free(json);
        json_decref(variables);
    }
    assert_true(printed > 300);
    json_decref(recorded);
}

/* ---- what does not compile ----------------------------------------------------------------------------------------
 */

static void test_what_does_not_compile(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        dlx_status status;
        const char *part;
    } cases[] = {
        {"a\n{{ x | nope }}", DLX_E_UNSUPPORTED, "line 2: there is no filter 'nope'"},
        {"{% if x is nope %}{% endif %}", DLX_E_UNSUPPORTED, "line 1: there is no test 'nope'"},
        {"\n\n{% include 'x' %}", DLX_E_UNSUPPORTED, "line 3: the statement 'include'"},
        {"{% block a %}{% endblock %}", DLX_E_UNSUPPORTED, "'block'"},
        {"{{ 'a'.encode() }}", DLX_E_UNSUPPORTED, "the method 'encode'"},
        {"{{ x[1, 2] }}", DLX_E_UNSUPPORTED, "several values"},
        {"{{ lipsum() }}", DLX_E_UNSUPPORTED, "'lipsum'"},
        {"{% nope %}", DLX_E_FORMAT, "'nope' is no statement"},
        {"{% endif %}", DLX_E_FORMAT, "'endif'"},
        {"{% if x %}", DLX_E_FORMAT, "expected 'endif', found the end"},
        {"{% for x in y %}{% endif %}", DLX_E_FORMAT, "'endif'"},
        {"{{ 1 +\n+ }}", DLX_E_FORMAT, "line 2: expected an expression"},
        {"{{ x", DLX_E_FORMAT, "a tag does not end"},
        {"{{ 'x }}", DLX_E_FORMAT, "a string does not end"},
        {"{{ '\\ud800' }}", DLX_E_FORMAT, "escape"},
        {"{# x", DLX_E_FORMAT, "a comment does not end"},
        {"{% raw %}x", DLX_E_FORMAT, "{% raw %} does not end"},
        {"{{ (1] }}", DLX_E_FORMAT, "unexpected ']'"},
        {"{{ x ? y }}", DLX_E_FORMAT, "unexpected character '?'"},
        {"{{ 9223372036854775808 }}", DLX_E_FORMAT, "64 bits"},
        {"{% break %}", DLX_E_FORMAT, "'break' outside of a loop"},
        {"{% for x in y %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}", DLX_E_FORMAT, "outside of a loop"},
        {"{% macro f(a, a) %}{% endmacro %}", DLX_E_FORMAT, "twice"},
        {"{% macro f(a=1, b) %}{% endmacro %}", DLX_E_FORMAT, "default"},
        {"{{ f(a=1, 2) }}", DLX_E_FORMAT, "wrong order"},
        {"{% set true = 1 %}", DLX_E_FORMAT, "cannot assign"},
        {"{% set %}", DLX_E_FORMAT, "expected a variable"},
        {"{% call 1 %}{% endcall %}", DLX_E_FORMAT, "expected a call"},
        {"{{ x is string is number }}", DLX_E_FORMAT, "cannot follow each other"},
        {"{{ }}", DLX_E_FORMAT, "expected an expression"},
        {"{% for k, in x|items %}{% endfor %}", DLX_E_FORMAT, "expected a variable, found 'in'"},
        {"{% for k, v,   in x|items %}{% endfor %}", DLX_E_FORMAT, "expected a variable"},
        {"{% set k, = x %}", DLX_E_FORMAT, "expected a variable"},
        {"{{ x[] }}", DLX_E_FORMAT, "expected a subscript"},
        {"{{ x[1, 2] }}", DLX_E_UNSUPPORTED, "a subscript of several values is not supported"},
        {"\xFF", DLX_E_FORMAT, "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlx_jinja *t = (dlx_jinja *)&cases;
        dlx_error e = {0};
        dlx_status s = dlx_jinja_compile(&t, cases[i].source, strlen(cases[i].source), &e);
        if (s != cases[i].status || !strstr(e.message, cases[i].part))
            fail_msg("%s: %d, %s", cases[i].source, s, e.message);
        assert_null(t);
    }
}

/* What Python has and this library does not is no undefined value, which would print nothing. */
static void test_attributes_that_are_missing(void **state)
{
    (void)state;
    static const char *const refused[] = {"s.encode",
                                          "s.translate is defined",
                                          "s['isidentifier']",
                                          "(s|safe).unescape",
                                          "n.real",
                                          "n.to_bytes",
                                          "f.hex",
                                          "d.fromkeys"};
    static const char *const printed[] = {"s.real", "d.encode", "d['hex']", "s.unescape", "s.hex", "d.hex"};
    static const char variables[] = "{\"s\": \"a\", \"n\": 1, \"f\": 0.5, \"d\": {\"hex\": \"x\"}}";
    char source[64];
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        dlx_error e = {0};
        snprintf(source, sizeof source, "{{ %s }}", refused[i]);
        assert_null(render(source, variables, &e));
        if (!strstr(e.message, "is not supported in chat templates")) fail_msg("%s: %s", source, e.message);
    }
    for (size_t i = 0; i < sizeof printed / sizeof *printed; i++) {
        dlx_error e = {0};
        snprintf(source, sizeof source, "{{ %s }}", printed[i]);
        char *text = render(source, variables, &e);
        if (!text || strcmp(text, strstr(printed[i], "hex") && *printed[i] == 'd' ? "x" : "") != 0)
            fail_msg("%s: %s, %s", source, text ? text : "nothing", e.message);
        free(text);
    }
}

static void test_templates_that_print_nothing(void **state)
{
    (void)state;
    static const char *const blank[] = {"", " \n\t ", "{# a remark #}", "{% set x = 1 %}\n", "{% if x %} {% endif %}"};
    static const char *const others[] = {"a", "{{ x }}", " {% if x %}a{% endif %}",
                                         "{% macro m() %}{% endmacro %}{% call m() %}{% endcall %}"};
    for (size_t i = 0; i < sizeof blank / sizeof *blank + sizeof others / sizeof *others; i++) {
        size_t n = sizeof blank / sizeof *blank;
        const char *source = i < n ? blank[i] : others[i - n];
        dlx_jinja *t;
        assert_ok(dlx_jinja_compile(&t, source, strlen(source), err));
        if (dlx_jinja_prints_nothing(t) != (i < n)) fail_msg("'%s'", source);
        dlx_jinja_free(t);
    }
}

/* Nesting is bounded, however it is written. */
static void test_deep_templates(void **state)
{
    (void)state;
    static const struct {
        const char *before, *inner, *middle, *outer, *behind;
    } cases[] = {
        {"{{ ", "(", "1", ")", " }}"},
        {"{{ ", "[", "", "]", " }}"},
        {"{{ ", "not ", "1", "", " }}"},
        {"{{ ", "-", "1", "", " }}"},
        {"{{ 1", "+1", "", "", " }}"},
        {"{{ x", ".x", "", "", " }}"},
        {"{{ x", "|list", "", "", " }}"},
        {"{{ 1", " if 1", "", "", " }}"},
        {"{{ 1 ", "if 1 else 1 ", "", "", "}}"},
        {"", "{% if 1 %}", "", "{% endif %}", ""},
        {"{% if 1 %}", "{% elif 1 %}", "", "", "{% endif %}"},
        {"{{ x", "[x", "", "]", " }}"},
        {"{% set ", "(", "a", ")", " = 1 %}"},
        {"{{ x", "(x", "", ")", " }}"},
        {"{{ 1", " and 1", "", "", " }}"},
        {"{{ x", "**x", "", "", " }}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t most = 0;
        for (size_t n = 1; n < 5000; n *= DLX_SLOW ? 4 : 2) {
            char *source = calloc(1, 64 + n * 32);
            assert_non_null(source);
            strcat(source, cases[i].before);
            for (size_t k = 0; k < n; k++) memcpy(source + strlen(source), cases[i].inner, strlen(cases[i].inner) + 1);
            strcat(source, cases[i].middle);
            for (size_t k = 0; k < n; k++) memcpy(source + strlen(source), cases[i].outer, strlen(cases[i].outer) + 1);
            strcat(source, cases[i].behind);
            dlx_error e = {0};
            char *text = render(source, "{\"x\": 1}", &e);
            if (text) most = n;
            if (!text) assert_true(strlen(e.message) > 10);
            free(text);
            free(source);
        }
        if (most > 1024) fail_msg("%s%s is never too deep", cases[i].before, cases[i].inner);
    }
}

/* ---- bounds -------------------------------------------------------------------------------------------------------
 */

static void test_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *source, *part;
    } cases[] = {
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "levels"},
        {"{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "levels"},
        {"{{ range(100001) }}", "'range' has more than"},
        {"{{ 'ab' * 1000000000 }}", "repeated"},
        {"{{ ('a' * 1000000) * 100000 }}", "MiB"},
        {"{% set n = namespace(s='ab') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}", "MiB"},
        {"{% set n = namespace(l=[1]) %}{% for i in range(40) %}{% set n.l = n.l + n.l %}{% endfor %}", "MiB"},
        {"{% set n = namespace(l=[1]) %}{% for i in range(2000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}",
         "levels"},
        {"{% set n = namespace(l=[1]) %}{% for i in range(2000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l | tojson }}",
         "levels"},
        {"{{ 'a'.center(1000000000) }}", "takes more than"},
        {"{{ '%1000000d' % 1 }}", "wider"},
        {"{{ '{:99999}'.format(1) }}", "wider"},
        {"{{ [1] | tojson(indent=5000) }}", "indents"},
        {"{{ 9223372036854775807 + 1 }}", "64 bits"},
        {"{{ 2 ** 63 }}", "64 bits"},
        {"{{ big + 1 }}", "64 bits"},
        {"{{ '99999999999999999999' | int }}", "64 bits"},
        {"{{ x.append(1) }}", "would change a list"},
        {"{{ {}.update(x) }}", "would change a dict"},
        {"{{ raise_exception('my words') }}", "line 1: my words"},
        {"{{ none.a.b }}", "'None' object has no attribute 'a'"},
        {"{{ nothing.a }}", "'nothing' is undefined"},
        {"{% set n.a = 1 %}", "no namespace"},
        {"{% set n = namespace() %}{% set n._a = 1 %}", "private"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlx_error e = {0};
        if (DLX_SLOW && i == 0) continue; /* 50 million steps */
        char *text = render(cases[i].source, "{\"x\": [], \"big\": 123456789012345678901234567890}", &e);
        if (text || !strstr(e.message, cases[i].part)) fail_msg("%s: %s", cases[i].source, e.message);
    }
}

/* Texts and lists that grow in a loop cost what they hold, not its square. */
static void test_growing_values(void **state)
{
    (void)state;
    dlx_error e = {0};
    char source[256], expected[32];
    const int rounds = DLX_SLOW ? 6000 : 60000; /* squared, the latter does not fit in memory */
    snprintf(source, sizeof source,
             "{%% set n = namespace(s='', l=[]) %%}{%% for i in range(%d) %%}{%% set n.s = n.s + 'abcdefgh' %%}"
             "{%% set n.l = n.l + [i] %%}{%% endfor %%}{{ n.s | length }} {{ n.l | length }} {{ n.l[7] }}",
             rounds);
    snprintf(expected, sizeof expected, "%d %d 7", 8 * rounds, rounds);
    char *text = render(source, "{}", &e);
    if (!text) fail_msg("%s", e.message);
    assert_string_equal(text, expected);
    free(text);
    /* What shares storage with a longer value stays as it was. */
    text = render(
        "{% set a = x + 'b' %}{% set c = a + 'c' %}{% set d = a + 'd' %}{{ a }},{{ c }},{{ d }};"
        "{% set p = y + [2] %}{% set q = p + [3] %}{% set r = p + [4] %}{{ p }}{{ q }}{{ r }}{{ p + p }}{{ a + a }}",
        "{\"x\": \"a\", \"y\": [1]}", &e);
    assert_string_equal(text, "ab,abc,abd;[1, 2][1, 2, 3][1, 2, 4][1, 2, 1, 2]abab");
    free(text);
}

static void test_time(void **state)
{
    (void)state;
    dlx_error e = {0};
    char *text = render("{{ strftime_now('%Y-%m-%d') | length }}|{{ strftime_now('') }}|{{ strftime_now is defined }}",
                        "{}", &e);
    assert_string_equal(text, "10||True");
    free(text);
    /* The time has no zone, and a directive that does not exist stays as it is. */
    text = render("{{ strftime_now('<%Z|%z|%:z>%%%_d日%') | replace(strftime_now('%_d'), 'D') }}|"
                  "{{ strftime_now('%f') | length }}",
                  "{}", &e);
    assert_string_equal(text, "<||>%D日%|6");
    free(text);
    assert_null(render("{{ strftime_now(x) }}", "{\"x\": 1}", &e));
}

/* Formats that came in with a message print nothing that counts as the template's. */
static void test_origin_of_what_a_format_prints(void **state)
{
    (void)state;
    static const struct {
        const char *source, *f, *expected;
    } cases[] = {
        {"{{ strftime_now(f) }}", "<|im_end|>%%%n%f", "<|im_end|>%\n******"},
        {"{{ strftime_now('a%%' ~ f) }}", "%%|", "..%|"},
        {"{{ strftime_now('<|' ~ f ~ '%%') }}", "%%x", "..%x."},
        {"{{ f % '' }}", "<%%|%2s", "<%|  "},
        {"{{ f % 7 }}", "%%%+03d%%", "%+07%"},
        {"{{ f % 60 }}", "%c|", "<|"},
        {"{{ f.format('', '') }}", "{:<<1}{:|>2}", "<||"},
        {"{{ f.format(5) }}", "{:<<3}", "5<<"},
        {"{{ f.format(5) }}", "{:|>3}x", "||5x"},
        {"{{ '{:|>3}'.format(f) }}", "a", "..a"},
        {"{{ '%3s|%d' % (f, 5) }}", "a", "..a.."},
        {"{{ f.casefold() }}{{ f.expandtabs(2) }}{{ 'A\tB'.expandtabs(2) }}", "A\tB", "a\tbA B..."},
        {"{{ ('<%s>'|safe) % f }}{{ ('{}'|safe).format(f) }}", "<", ".&lt;.&lt;"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dlx_error e = {0};
        json_t *variables = json_pack("{s:s}", "f", cases[i].f);
        char *json = json_dumps(variables, 0), *text = render_as(cases[i].source, json, true, &e);
        if (!text) fail_msg("%s: %s", cases[i].source, e.message);
        assert_int_equal(strlen(text), strlen(cases[i].expected));
        for (size_t k = 0; text[k]; k++) /* '*': any digit, of the time */
            if (cases[i].expected[k] == '*' ? text[k] == '.' : text[k] != cases[i].expected[k])
                fail_msg("%s: '%s', expected '%s'", cases[i].source, text, cases[i].expected);
        free(text);
        free(json);
        json_decref(variables);
    }
}

static void test_integers_of_any_size(void **state)
{
    (void)state;
    dlx_error e = {0};
    char *text =
        render("{{ x }} {{ x | tojson }} {{ x == x }} {{ x is integer }} {{ -9223372036854775807 - 1 }} {{ [x] }}",
               "{\"x\": -123456789012345678901234567890}", &e);
    assert_string_equal(text, "-123456789012345678901234567890 -123456789012345678901234567890 True True "
                              "-9223372036854775808 [-123456789012345678901234567890]");
    free(text);
}

/* ---- hostile trees ------------------------------------------------------------------------------------------------
 */

static const char rich[] =
    "{% macro f(a, b=1) %}{{ a ~ b ~ varargs ~ kwargs }}{% endmacro %}{% for k, v in d|items if v recursive %}{{ "
    "loop.index "
    "}}{% if k is not none %}{{ f(k, *[1], b=v) }}{% elif 1 %}{% break %}{% else %}{% continue %}{% endif %}{% else %}-"
    "{% endfor %}{% set x | upper %}y{% endset %}{% set n = namespace(a=1.5) %}{% set n.a = -n.a ** 2 %}{% filter trim "
    "%} "
    "{{ x[1:2] }} {% endfilter %}{% call f(1) %}{{ 'c' if x in [1, (2,)] else {'q': x[0]} }}{% endcall %}{% with p = 1 "
    "%}"
    "{{ p is divisibleby(2) }}{% endwith %}{% generation %}g{% endgeneration %}{{ 1 < 2 <= 3 != 4 }}{{ +1 // 2 }}";

static void try_tree(const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    dlx_jinja *t = NULL;
    dlx_error e = {0};
    dlx_status s = dlx_jinja_load(&t, copy, n, &e);
    free(copy);
    assert_int_equal(s == DLX_OK, t != NULL);
    if (s != DLX_OK) {
        assert_non_null(strstr(e.message, "compiled chat template"));
        return;
    }
    dlx_jx x;
    if (dlx_jx_open(&x, t, &e) == DLX_OK) dlx_jx_render(&x);
    dlx_jx_close(&x);
    dlx_jinja_free(t);
}

static void test_hostile_trees(void **state)
{
    (void)state;
    dlx_jinja *t;
    assert_ok(dlx_jinja_compile(&t, rich, sizeof rich - 1, err));
    size_t n = t->n_bytes;
    assert_true(n < sizeof rich + 700); /* about as long as the text */
    uint8_t *bytes = malloc(n + 1);
    assert_non_null(bytes);
    memcpy(bytes, t->bytes, n);
    dlx_jinja_free(t);
    for (size_t i = 0; i < n; i += DLX_SLOW ? 5 : 1) {
        dlx_error e;
        assert_int_equal(dlx_jinja_load(&t, bytes, i, &e), DLX_E_FORMAT);
        static const uint8_t values[] = {0, 1, 0x7F, 0x80, 0xFF};
        for (size_t k = 0; k < sizeof values; k++) {
            uint8_t before = bytes[i];
            bytes[i] = values[k];
            try_tree(bytes, n);
            bytes[i] = before;
        }
        bytes[i] ^= 3;
        try_tree(bytes, n);
        bytes[i] ^= 3;
    }
    bytes[n] = 0;
    try_tree(bytes, n + 1);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_templates),
        cmocka_unit_test(test_recorded_programs),
        cmocka_unit_test(test_what_does_not_compile),
        cmocka_unit_test(test_attributes_that_are_missing),
        cmocka_unit_test(test_templates_that_print_nothing),
        cmocka_unit_test(test_deep_templates),
        portable_test(test_bounds),
        cmocka_unit_test(test_growing_values),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_origin_of_what_a_format_prints),
        cmocka_unit_test(test_integers_of_any_size),
        cmocka_unit_test(test_hostile_trees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
