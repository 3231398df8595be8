/*
 * Tokenizer files that are broken, hostile, or of another kind: each is refused with a sentence that names the file and
 * what is wrong in it. Every case changes one thing in the files of a working checkpoint.
 */
#include <sys/stat.h>

#include "text_check.h"
#include "text/full/load.h"

/* Sets the value at a path of keys and indices, "model/merges/0"; "-" instead of a value removes it. */
static void change(json_t *root, const char *path, const char *value)
{
    char key[64];
    json_t *at = root;
    const char *slash;
    while ((slash = strchr(path, '/'))) {
        snprintf(key, sizeof key, "%.*s", (int)(slash - path), path);
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(key)) : json_object_get(at, key);
        assert_non_null(at);
        path = slash + 1;
    }
    if (strcmp(value, "-") == 0) {
        assert_int_equal(json_object_del(at, path), 0);
        return;
    }
    json_t *v = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(v);
    if (json_is_array(at) && strcmp(path, "+") == 0)
        assert_int_equal(json_array_append_new(at, v), 0);
    else if (json_is_array(at))
        assert_int_equal(json_array_set_new(at, (size_t)atoi(path), v), 0);
    else
        assert_int_equal(json_object_set_new(at, path, v), 0);
}

static void assert_message(const dlx_error *err, const char *const *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strstr(err->message, parts[i])) fail_msg("'%s' is not in: %s", parts[i], err->message);
}

typedef struct change_case {
    const char *path, *value;
    dlx_status status;
    const char *message;
} change_case;

static const change_case json_cases[] = {
    {"normalizer", "{\"type\": \"Nmt\"}", DLX_E_UNSUPPORTED, "\"normalizer\" has a step of type 'Nmt'"},
    {"normalizer", "[]", DLX_E_FORMAT, "\"normalizer\" has a step that is an array"},
    {"normalizer", "{}", DLX_E_FORMAT, "\"normalizer\" has a step that is an object without one"},
    {"normalizer", "{\"type\": \"Sequence\"}", DLX_E_UNSUPPORTED, "\"normalizers\" of the step Sequence"},
    {"normalizer", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"StripAccents\"}]}", DLX_E_UNSUPPORTED,
     "a step of type 'StripAccents'; supported are NFC, NFD"},
    {"normalizer", "{\"type\": \"Prepend\"}", DLX_E_UNSUPPORTED, "\"prepend\" of the step Prepend"},
    {"normalizer", "{\"type\": \"Strip\", \"strip_left\": 1}", DLX_E_FORMAT, "\"strip_left\" of the step Strip"},
    {"normalizer", "{\"type\": \"Replace\", \"content\": \"\"}", DLX_E_UNSUPPORTED, "\"pattern\" of the step Replace"},
    {"normalizer", "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}}", DLX_E_UNSUPPORTED,
     "\"content\" of the step Replace"},
    {"normalizer", "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\\\\w\"}, \"content\": \"\"}", DLX_E_UNSUPPORTED,
     "\"normalizer\": expression '\\w'"},
    {"pre_tokenizer", "null", DLX_E_UNSUPPORTED, "\"pre_tokenizer\" is absent"},
    {"pre_tokenizer", "{\"type\": \"Metaspace\"}", DLX_E_UNSUPPORTED, "'Metaspace'"},
    {"pre_tokenizer", "{\"type\": \"Digits\"}", DLX_E_UNSUPPORTED, "\"pre_tokenizer\" has no ByteLevel"},
    {"pre_tokenizer/pretokenizers/0/type", "\"Punctuation\"", DLX_E_UNSUPPORTED, "'Punctuation'"},
    {"pre_tokenizer/pretokenizers/0/behavior", "\"Kept\"", DLX_E_FORMAT, "Kept"},
    {"pre_tokenizer/pretokenizers/0/invert", "7", DLX_E_FORMAT, "\"invert\""},
    {"pre_tokenizer/pretokenizers/0/pattern", "{}", DLX_E_FORMAT, "\"Regex\" or \"String\""},
    {"pre_tokenizer/pretokenizers/0/pattern/Regex", "\"\\\\bx\"", DLX_E_UNSUPPORTED, "expression '\\bx': an escape"},
    {"pre_tokenizer/pretokenizers/1/use_regex", "\"no\"", DLX_E_FORMAT, "\"use_regex\""},
    {"pre_tokenizer/pretokenizers/+", "{\"type\": \"Digits\"}", DLX_E_UNSUPPORTED, "'Digits' behind ByteLevel"},
    {"post_processor", "{\"type\": \"TemplateProcessing\"}", DLX_E_UNSUPPORTED, "\"single\""},
    {"post_processor", "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}]}",
     DLX_E_FORMAT, "\"single\""},
    {"post_processor",
     "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"s\"}}], \"special_tokens\": "
     "{\"s\": "
     "{\"ids\": [1999]}}}",
     DLX_E_FORMAT, "id 1999 around a prompt"},
    {"post_processor", "{\"type\": \"BertProcessing\"}", DLX_E_UNSUPPORTED, "'BertProcessing'"},
    {"decoder", "null", DLX_E_UNSUPPORTED, "\"decoder\""},
    {"decoder", "{\"type\": \"WordPiece\"}", DLX_E_UNSUPPORTED, "'WordPiece'"},
    {"model", "null", DLX_E_UNSUPPORTED, "\"model\" is null"},
    {"model", "7", DLX_E_FORMAT, "\"model\" is an integer"},
    {"model/type", "\"Unigram\"", DLX_E_UNSUPPORTED, "'Unigram'"},
    {"model/ignore_merges", "1", DLX_E_FORMAT, "\"ignore_merges\""},
    {"model/byte_fallback", "true", DLX_E_UNSUPPORTED, "\"byte_fallback\""},
    {"model/dropout", "0.1", DLX_E_UNSUPPORTED, "\"dropout\""},
    {"model/continuing_subword_prefix", "\"##\"", DLX_E_UNSUPPORTED, "\"continuing_subword_prefix\""},
    {"model/end_of_word_suffix", "\"</w>\"", DLX_E_UNSUPPORTED, "\"end_of_word_suffix\""},
    {"model/vocab", "[]", DLX_E_FORMAT, "the vocabulary must be an object"},
    {"model/vocab", "-", DLX_E_FORMAT, "the vocabulary must be an object"},
    {"model/vocab/a", "\"64\"", DLX_E_FORMAT, "vocabulary entry 'a'"},
    {"model/vocab/a", "-1", DLX_E_FORMAT, "vocabulary entry 'a'"},
    {"model/vocab/a", "2097152", DLX_E_FORMAT, "vocabulary entry 'a'"},
    {"model/vocab/a", "9223372036854775807", DLX_E_FORMAT, "vocabulary entry 'a'"},
    {"model/vocab/a", "65", DLX_E_FORMAT, "share id 65"},
    {"model/vocab/a", "-", DLX_E_FORMAT, "needs token 'a'"},
    {"model/merges", "{}", DLX_E_FORMAT, "\"merges\" must be an array"},
    {"model/merges", "-", DLX_E_FORMAT, "\"merges\" must be an array"},
    {"model/merges/0", "\"ab\"", DLX_E_FORMAT, "merge 0 is 'ab'"},
    {"model/merges/0", "\"a b c\"", DLX_E_FORMAT, "merge 0 is 'a b c'"},
    {"model/merges/0", "\" b\"", DLX_E_FORMAT, "merge 0 is ' b'"},
    {"model/merges/0", "7", DLX_E_FORMAT, "merge 0"},
    {"model/merges/0", "[\"a\"]", DLX_E_FORMAT, "merge 0"},
    {"model/merges/0", "[\"a\", \"b\", \"c\"]", DLX_E_FORMAT, "merge 0"},
    {"model/merges/0", "[\"a\", 7]", DLX_E_FORMAT, "merge 0"},
    {"model/merges/0", "\"a \xE4\xB8\xAD\"", DLX_E_FORMAT, "not in the vocabulary"},
    {"model/merges/0", "[\"a\", \"\"]", DLX_E_FORMAT, "not in the vocabulary"},
    {"model/merges/0", "\"q Q\"", DLX_E_FORMAT, "'qQ', which is not in the vocabulary"},
    {"added_tokens", "{}", DLX_E_FORMAT, "\"added_tokens\" must be an array"},
    {"added_tokens/0", "[]", DLX_E_FORMAT, "an added token must be an object"},
    {"added_tokens/0/content", "7", DLX_E_FORMAT, "\"content\""},
    {"added_tokens/0/content", "\"\"", DLX_E_UNSUPPORTED, "0 bytes"},
    {"added_tokens/0/content", "\"<|im_end|>\"", DLX_E_FORMAT, "is there twice"},
    {"added_tokens/0/content", "\"a\"", DLX_E_FORMAT, "'a' has id 1300, which the vocabulary contradicts"},
    {"added_tokens/0/id", "\"1300\"", DLX_E_FORMAT, "\"id\""},
    {"added_tokens/0/id", "1301", DLX_E_FORMAT, "which another added token has as well"},
    {"added_tokens/0/id", "5", DLX_E_FORMAT, "which the vocabulary contradicts"},
    {"added_tokens/0/id", "-1", DLX_E_FORMAT, "has id -1"},
    {"added_tokens/0/id", "2097152", DLX_E_FORMAT, "has id 2097152"},
    {"added_tokens/0/lstrip", "1", DLX_E_FORMAT, "\"lstrip\""},
    {"added_tokens/0/rstrip", "\"\"", DLX_E_FORMAT, "\"rstrip\""},
    {"added_tokens/0/single_word", "null", DLX_E_FORMAT, "\"single_word\""},
    {"added_tokens/0/special", "1", DLX_E_FORMAT, "\"special\" of added token '<|endoftext|>'"},
    {"added_tokens/0/normalized", "\"no\"", DLX_E_FORMAT, "\"normalized\""},
};

static dlx_status open_json(dlx_tokenizer **t, const json_t *root, dlx_error *err)
{
    char *text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_non_null(text);
    dlx_status status = dlx_tokenizer_from_json(t, text, strlen(text), "tokenizer.json", err);
    free(text);
    return status;
}

static json_t *dream_json(void)
{
    return load_json(DLX_TEST_DATA "/checkpoints/dream-tiny/tokenizer.json");
}

static void test_changed_tokenizer_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof json_cases / sizeof json_cases[0]; i++) {
        const change_case *c = &json_cases[i];
        json_t *root = dream_json();
        dlx_tokenizer *t = (dlx_tokenizer *)root;
        dlx_error err = {0};
        change(root, c->path, c->value);
        dlx_status status = open_json(&t, root, &err);
        if (status != c->status || t)
            fail_msg("%s = %s gives status %d: %s", c->path, c->value, (int)status, err.message);
        const char *const parts[] = {"'tokenizer.json'", c->message};
        assert_message(&err, parts, 2);
        json_decref(root);
    }
}

/* Changes that other checkpoints have and that mean nothing here. */
static void test_harmless_changes(void **state)
{
    (void)state;
    static const char *const changes[][2] = {
        {"normalizer", "null"},
        {"post_processor", "null"},
        {"post_processor", "{\"type\": \"TemplateProcessing\", \"single\": []}"},
        {"post_processor", "{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}]}"},
        {"truncation", "{\"max_length\": 3}"},
        {"model/dropout", "0.0"},
        {"model/unk_token", "\"<unk>\""},
        {"added_tokens", "null"},
        {"added_tokens/0/id", "1400"},
        {"model/merges", "[]"},
        {"model/vocab/\xE4\xB8\xAD", "1500"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        json_t *root = dream_json();
        dlx_tokenizer *t;
        change(root, changes[i][0], changes[i][1]);
        assert_ok(open_json(&t, root, err));
        dlx_tokenizer_close(t);
        json_decref(root);
    }
}

/* Without NFC the text stays as it is: "e" and a combining acute are not put together. */
static void test_normalizer_null_leaves_text(void **state)
{
    (void)state;
    json_t *root = dream_json();
    for (int round = 0; round < 2; round++) {
        dlx_tokenizer *t;
        int32_t *ids;
        size_t n;
        char *text;
        if (round) change(root, "normalizer", "null");
        assert_ok(open_json(&t, root, err));
        assert_ok(dlx_tokenizer_encode(t, "e\xCC\x81", 3, 0, &ids, &n, err));
        assert_ok(dlx_tokenizer_decode(t, ids, n, false, &text, NULL, err));
        assert_string_equal(text, round ? "e\xCC\x81" : "\xC3\xA9");
        free(ids);
        free(text);
        dlx_tokenizer_close(t);
    }
    json_decref(root);
}

/* "normalized" tokens are found behind NFC, in text that did not spell them so; the longest token wins. */
static void test_normalized_added_tokens(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t ids[4];
        size_t n;
    } cases[] = {
        {"caf\xC3\xA9", {1400}, 1},
        {"cafe\xCC\x81", {1400}, 1},
        {"cafe", {66, 64, 69, 68}, 4},
        {"<raw>cafe\xCC\x81", {1401, 1400}, 2},
        {"<raw>>caf\xC3\xA9s", {1402, 1400, 82}, 3},
    };
    json_t *root = dream_json();
    change(root, "model/merges", "[]");
    change(root, "added_tokens/+", "{\"id\": 1400, \"content\": \"caf\xC3\xA9\", \"normalized\": true}");
    change(root, "added_tokens/+", "{\"id\": 1401, \"content\": \"<raw>\", \"normalized\": false}");
    change(root, "added_tokens/+", "{\"id\": 1402, \"content\": \"<raw>>\", \"normalized\": false, \"special\": true}");
    dlx_tokenizer *t;
    assert_ok(open_json(&t, root, err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int32_t *ids;
        size_t n;
        assert_ok(dlx_tokenizer_encode(t, cases[i].text, strlen(cases[i].text), DLX_ENCODE_SPECIAL, &ids, &n, err));
        if (n != cases[i].n || memcmp(ids, cases[i].ids, n * sizeof *ids) != 0) {
            show_ids("got", ids, n);
            fail_msg("%s", cases[i].text);
        }
        free(ids);
    }
    dlx_tokenizer_close(t);
    /* One that is spelled in another form is looked for in the form that normalising gives it. */
    change(root, "added_tokens/+", "{\"id\": 1403, \"content\": \"e\xCC\x81\", \"normalized\": true}");
    int32_t *ids;
    size_t n;
    assert_ok(open_json(&t, root, err));
    assert_ok(dlx_tokenizer_encode(t, "\xC3\xA9", 2, DLX_ENCODE_PLAIN, &ids, &n, err));
    assert_true(n == 1 && ids[0] == 1403);
    free(ids);
    dlx_tokenizer_close(t);
    json_decref(root);
}

static void test_text_that_is_no_tokenizer(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{}",
        "{\"model\": {}}",
        "{\"a\": 1, \"a\": 2}",
        "version https://git-lfs",
        "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"\\u0000\": 0}}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        dlx_tokenizer *t;
        dlx_error err = {0};
        assert_int_not_equal(dlx_tokenizer_from_json(&t, texts[i], strlen(texts[i]), "tokenizer.json", &err), DLX_OK);
        assert_null(t);
        const char *const parts[] = {"tokenizer.json"};
        assert_message(&err, parts, 1);
    }
    char *deep = malloc(100000);
    assert_non_null(deep);
    memset(deep, '[', 100000);
    dlx_tokenizer *t;
    dlx_error err = {0};
    assert_int_equal(dlx_tokenizer_from_json(&t, deep, 100000, "tokenizer.json", &err), DLX_E_FORMAT);
    free(deep);
}

/* ---- folders ---------------------------------------------------------------------------------------------------- */

typedef struct file_case {
    const char *file, *text; /* NULL: the file is taken away */
    dlx_status status;       /* DLX_OK: it opens */
    const char *message;
} file_case;

/* In the folder of Dream without tokenizer.json. */
static const file_case file_cases[] = {
    {"vocab.json", NULL, DLX_E_IO, "has neither tokenizer.json nor vocab.json"},
    {"vocab.json", "{\"a\": 0}", DLX_E_FORMAT, "merges.txt': merge 0"},
    {"vocab.json", "{}", DLX_E_FORMAT, "merges.txt': merge 0"},
    {"vocab.json", "[", DLX_E_FORMAT, "vocab.json"},
    {"merges.txt", NULL, DLX_E_IO, "has vocab.json, but not merges.txt"},
    {"merges.txt", "", DLX_OK, ""},
    {"merges.txt", "#version: 0.2\r\nh e\r\n\r\n\xC4\xA0 t", DLX_OK, ""},
    {"merges.txt", "h e\nhe\n", DLX_E_FORMAT, "merge 1 is 'he'"},
    {"merges.txt", "h e\nq Q\n", DLX_E_FORMAT, "merge 1 ('q' and 'Q')"},
    {"merges.txt", "h \xFF\n", DLX_E_FORMAT, "must be UTF-8"},
    {"tokenizer_config.json", NULL, DLX_OK, ""},
    {"tokenizer_config.json", "{}", DLX_OK, ""},
    {"tokenizer_config.json", "[]", DLX_E_FORMAT, "tokenizer_config.json': must be an object"},
    {"tokenizer_config.json", "{\"a\": 1, \"a\": 2}", DLX_E_FORMAT, "tokenizer_config.json"},
    {"tokenizer_config.json", "{\"tokenizer_class\": \"GPT2Tokenizer\"}", DLX_E_UNSUPPORTED, "'GPT2Tokenizer'"},
    {"tokenizer_config.json", "{\"tokenizer_class\": 7}", DLX_E_UNSUPPORTED, "\"tokenizer_class\""},
    {"tokenizer_config.json", "{\"add_prefix_space\": true}", DLX_E_UNSUPPORTED, "\"add_prefix_space\""},
    {"tokenizer_config.json", "{\"mask_token\": 7}", DLX_E_FORMAT, "\"mask_token\""},
    {"tokenizer_config.json", "{\"mask_token\": {\"content\": null}}", DLX_E_FORMAT, "\"mask_token\""},
    {"tokenizer_config.json", "{\"bos_token\": []}", DLX_E_FORMAT, "\"bos_token\""},
    {"tokenizer_config.json", "{\"chat_template\": 7}", DLX_E_FORMAT, "\"chat_template\""},
    {"tokenizer_config.json", "{\"chat_template\": [{\"name\": \"default\", \"template\": 7}]}", DLX_E_FORMAT,
     "\"chat_template\""},
    {"tokenizer_config.json", "{\"chat_template\": \"a\\n{{ 1 +\"}", DLX_E_FORMAT, "chat template, line 2"},
    {"tokenizer_config.json", "{\"chat_template\": \"{% include 'x' %}\"}", DLX_E_UNSUPPORTED, "'include'"},
    {"tokenizer_config.json", "{\"added_tokens_decoder\": []}", DLX_E_FORMAT, "\"added_tokens_decoder\""},
    {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"y\"}}}", DLX_E_FORMAT, "key 'x'"},
    {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"01\": {\"content\": \"y\"}}}", DLX_E_FORMAT, "key '01'"},
    {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"1300\": {}}}", DLX_E_FORMAT, "\"content\""},
    {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"3\": {\"content\": \"<x>\"}}}", DLX_E_FORMAT,
     "contradicts"},
    {"tokenizer_config.json", "{\"additional_special_tokens\": [7]}", DLX_E_FORMAT, "\"additional_special_tokens\""},
    {"chat_template.jinja", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", DLX_E_FORMAT,
     "git lfs pull"},
    {"special_tokens_map.json", NULL, DLX_OK, ""},
    {"special_tokens_map.json", "[]", DLX_E_FORMAT, "special_tokens_map.json': must be an object"},
    {"added_tokens.json", NULL, DLX_OK, ""},
    {"added_tokens.json", "[]", DLX_E_FORMAT, "added_tokens.json': must be an object"},
    {"added_tokens.json", "{\"<x>\": \"1\"}", DLX_E_FORMAT, "'<x>'"},
    {"added_tokens.json", "{\"<x>\": -5}", DLX_E_FORMAT, "'<x>'"},
};

static void test_changed_folders(void **state)
{
    (void)state;
    const char *source = checkpoint_folder("dream");
    for (size_t i = 0; i < sizeof file_cases / sizeof file_cases[0]; i++) {
        const file_case *c = &file_cases[i];
        char *folder = make_folder();
        for (size_t f = 1; f < sizeof tokenizer_files / sizeof tokenizer_files[0]; f++)
            if (strcmp(tokenizer_files[f], c->file) != 0) copy_file(folder, source, tokenizer_files[f]);
        if (c->text) write_file(folder, c->file, c->text, strlen(c->text));
        dlx_tokenizer *t;
        dlx_error err = {0};
        dlx_status status = dlx_tokenizer_open_folder(&t, folder, &err);
        if (status != c->status || (status == DLX_OK) != (t != NULL))
            fail_msg("%s = %s gives status %d: %s", c->file, c->text ? c->text : "(none)", (int)status, err.message);
        const char *const parts[] = {c->message, status == DLX_OK ? "" : folder};
        assert_message(&err, parts, 2);
        dlx_tokenizer_close(t);
        remove_folder(folder);
    }
}

static void test_no_folder(void **state)
{
    (void)state;
    dlx_tokenizer *t;
    dlx_error err = {0};
    assert_int_equal(dlx_tokenizer_open_folder(&t, DLX_TEST_DATA "/nowhere", &err), DLX_E_IO);
    const char *const parts[] = {"/nowhere"};
    assert_message(&err, parts, 1);
}

/* Opens a folder of which one file has another text (the rest as in `family`, without tokenizer.json). */
static dlx_tokenizer *open_changed(const char *family, const char *file, const char *text)
{
    char *folder = make_folder();
    for (size_t f = 1; f < sizeof tokenizer_files / sizeof tokenizer_files[0]; f++)
        copy_file(folder, checkpoint_folder(family), tokenizer_files[f]);
    write_file(folder, file, text, strlen(text));
    dlx_tokenizer *t = open_folder(folder);
    remove_folder(folder);
    return t;
}

/* Only added_tokens.json has the ids: special_tokens_map.json says which of them are special. */
static void test_added_tokens_without_flags(void **state)
{
    (void)state;
    dlx_tokenizer *t = open_changed("dream", "tokenizer_config.json", "{\"mask_token\": {\"content\": \"<|mask|>\"}}");
    assert_int_equal(t->size, 1324);
    assert_int_equal(dlx_tokenizer_mask_id(t), 1323);
    assert_int_equal(t->kind[1301], DLX_TOKEN_ADDED | DLX_TOKEN_SPECIAL);    /* <|im_start|> */
    assert_int_equal(t->kind[1314], DLX_TOKEN_ADDED | DLX_TOKEN_NORMALIZED); /* <tool_call> */
    dlx_tokenizer_close(t);
}

/* The template's own tokens count as well when they are "normalized"; raw ones are cut out first. */
static void test_normalized_tokens_in_templates(void **state)
{
    (void)state;
    dlx_tokenizer *t = open_changed("sdar", "tokenizer_config.json", "{}");
    assert_int_equal(t->kind[1224], DLX_TOKEN_ADDED | DLX_TOKEN_NORMALIZED); /* <think> */
    const dlx_chat_message m = {.struct_size = sizeof(dlx_chat_message), .role = "user", .content = "<think>"};
    const dlx_chat_options o = {.struct_size = sizeof o, .add_generation_prompt = true, .enable_thinking = -1};
    int32_t *ids;
    size_t n, thoughts = 0;
    assert_ok(dlx_chat_encode(t, &m, 1, &o, &ids, &n, err));
    for (size_t i = 0; i < n; i++) thoughts += ids[i] == 1224;
    assert_int_equal(thoughts, 2); /* the message's and the template's */
    free(ids);
    dlx_tokenizer_close(t);
    /* A normalized token that begins with, contains, or ends in a raw one never takes its place. */
    static const char *const longer[] = {"<|im_end|>\\n", "user\\nx<|im_end|>", "\\n<|im_start|>a"};
    for (size_t i = 0; i < 3; i++) {
        char added[256];
        const dlx_chat_message x = {.struct_size = sizeof(dlx_chat_message), .role = "user", .content = "x"};
        int32_t *chat;
        size_t n_chat;
        char *text;
        snprintf(added, sizeof added, "{\"<|im_end|>\": 1202, \"<|im_start|>\": 1201, \"%s\": 1300}", longer[i]);
        char *folder = make_folder();
        for (size_t f = 1; f < sizeof tokenizer_files / sizeof tokenizer_files[0]; f++)
            copy_file(folder, checkpoint_folder("sdar"), tokenizer_files[f]);
        write_file(folder, "tokenizer_config.json", "{}", 2);
        write_file(folder, "added_tokens.json", added, strlen(added));
        t = open_folder(folder);
        remove_folder(folder);
        assert_int_equal(t->kind[1300], DLX_TOKEN_ADDED | DLX_TOKEN_NORMALIZED);
        assert_ok(dlx_chat_encode(t, &x, 1, &o, &chat, &n_chat, err));
        assert_ok(dlx_chat_render(t, &x, 1, &o, &text, &n, err));
        assert_ok(dlx_tokenizer_encode(t, text, n, DLX_ENCODE_SPECIAL, &ids, &n, err));
        assert_int_equal(n, n_chat);
        assert_memory_equal(ids, chat, n * sizeof *ids);
        free(ids);
        free(chat);
        free(text);
        dlx_tokenizer_close(t);
    }
}

/* SDAR's published files call its mask <|MASK|> in one place and <MASK> in another. */
static void test_disagreeing_names_go_by_id(void **state)
{
    (void)state;
    dlx_tokenizer *t = open_changed("sdar", "added_tokens.json", "{\"<MASK>\": 1226, \"<|extra|>\": 1300}");
    assert_int_equal(dlx_tokenizer_special_id(t, "<|MASK|>"), 1226);
    assert_int_equal(dlx_tokenizer_special_id(t, "<MASK>"), -1);
    assert_int_equal(dlx_tokenizer_special_id(t, "<|extra|>"), 1300);
    assert_int_equal(dlx_tokenizer_mask_id(t), 1226);
    assert_int_equal(dlx_tokenizer_size(t), 1301);
    dlx_tokenizer_close(t);
    t = open_changed("sdar", "special_tokens_map.json", "{\"mask_token\": \"<MASK>\"}");
    assert_int_equal(dlx_tokenizer_mask_id(t), 1226);
    dlx_tokenizer_close(t);
}

/* As transformers 5: special_tokens_map.json names tokens for templates only where tokenizer_config.json is of the old
 * kind, without added_tokens_decoder; there it counts more. */
static void test_names_of_both_files(void **state)
{
    (void)state;
    static const char map[] = "{\"bos_token\": \"<|im_end|>\", \"unk_token\": {\"content\": \"<|im_start|>\"}}";
    static const struct {
        const char *config, *expected;
    } cases[] = {
        {"{\"bos_token\": \"a\"}", "<|im_end|><|im_start|>"},
        {"{\"bos_token\": null}", "<|im_end|><|im_start|>"},
        {"{\"bos_token\": \"a\", \"added_tokens_decoder\": {}}", "a"},
        {"{\"bos_token\": null, \"added_tokens_decoder\": {}}", ""},
        {"{\"added_tokens_decoder\": {}}", ""},
    };
    const dlx_chat_options o = {.struct_size = sizeof o, .chat_template = "{{ bos_token }}{{ unk_token }}"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = make_folder(), *text;
        copy_file(folder, checkpoint_folder("sdar"), "tokenizer.json");
        write_file(folder, "tokenizer_config.json", cases[i].config, strlen(cases[i].config));
        write_file(folder, "special_tokens_map.json", map, sizeof map - 1);
        dlx_tokenizer *t = open_folder(folder);
        assert_ok(dlx_chat_render(t, NULL, 0, &o, &text, NULL, err));
        assert_string_equal(text, cases[i].expected);
        free(text);
        dlx_tokenizer_close(t);
        remove_folder(folder);
    }
}

static void assert_says(const dlx_tokenizer *t, const char *tools, const char *expected)
{
    const dlx_chat_message m = {.struct_size = sizeof m, .role = "user", .content = "x"};
    const dlx_chat_options o = {.struct_size = sizeof o, .tools = tools};
    char *text;
    assert_ok(dlx_chat_render(t, &m, 1, &o, &text, NULL, err));
    assert_string_equal(text, expected);
    free(text);
}

/* Of named templates, "default" serves conversations and "tool_use" those with tools; both travel in the packed form.
 */
static void test_named_templates(void **state)
{
    (void)state;
    static const char *const names[] = {"rag", "tool_use", "default"};
    dlx_error e;
    char *text;
    json_t *config = json_object(), *list = json_array();
    json_object_set_new(config, "chat_template", list);
    const dlx_chat_message m = {.struct_size = sizeof m, .role = "user", .content = "x"};
    for (int i = 0; i < 3; i++) {
        json_array_append_new(list, json_pack("{s:s, s:s}", "name", names[i], "template", names[i]));
        char *dump = json_dumps(config, 0);
        dlx_tokenizer *t = open_changed("dream", "tokenizer_config.json", dump), *again;
        void *packed;
        size_t n;
        free(dump);
        assert_ok(dlx_tokenizer_pack(t, &packed, &n, err));
        assert_ok(dlx_tokenizer_open_packed(&again, packed, n, err));
        free(packed);
        dlx_tokenizer_close(t);
        assert_int_equal(dlx_tokenizer_has_chat_template(again), i > 0);
        if (i < 2) assert_int_equal(dlx_chat_render(again, &m, 1, NULL, &text, NULL, &e), DLX_E_UNSUPPORTED);
        if (i == 1) assert_non_null(strstr(e.message, "with tools only"));
        if (i == 2) assert_says(again, NULL, "default");
        if (i > 0) assert_says(again, "[]", "tool_use");
        dlx_tokenizer_close(again);
    }
    json_decref(config);
}

static void test_template_sources(void **state)
{
    (void)state;
    /* The file counts more than the entry of tokenizer_config.json. */
    dlx_tokenizer *t = open_changed("dream", "chat_template.jinja", "from the file\r\n");
    assert_says(t, NULL, "from the file");
    dlx_tokenizer_close(t);
    char *folder = make_folder(), path[600];
    dlx_error e;
    for (size_t f = 0; f < sizeof tokenizer_files / sizeof tokenizer_files[0]; f++)
        copy_file(folder, checkpoint_folder("sdar"), tokenizer_files[f]);
    write_file(folder, "chat_template.jinja", "default", 7);
    snprintf(path, sizeof path, "%s/additional_chat_templates", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file(path, "tool_use.jinja", "tools", 5);
    write_file(path, "rag.jinja", "rag", 3);
    assert_ok(dlx_tokenizer_open_folder(&t, folder, err));
    assert_says(t, NULL, "default");
    assert_says(t, "[]", "tools");
    dlx_tokenizer_close(t);
    /* Another one by name, by path, or none. */
    assert_ok(dlx_tokenizer_open_folder_with(&t, folder, "rag", err));
    assert_says(t, "[]", "rag");
    dlx_tokenizer_close(t);
    snprintf(path, sizeof path, "%s/additional_chat_templates/tool_use.jinja", folder);
    assert_ok(dlx_tokenizer_open_folder_with(&t, folder, path, err));
    assert_says(t, NULL, "tools");
    dlx_tokenizer_close(t);
    write_file(folder, "chat_template.jinja", "{{ x |", 6);
    assert_int_equal(dlx_tokenizer_open_folder(&t, folder, &e), DLX_E_FORMAT);
    assert_non_null(strstr(e.message, "chat_template.jinja': chat template, line 1"));
    assert_ok(dlx_tokenizer_open_folder_with(&t, folder, "none", err));
    assert_false(dlx_tokenizer_has_chat_template(t));
    dlx_tokenizer_close(t);
    assert_int_equal(dlx_tokenizer_open_folder_with(&t, folder, "missing", &e), DLX_E_INVALID);
    assert_non_null(strstr(e.message, "'missing'"));
    unlink(path);
    snprintf(path, sizeof path, "%s/additional_chat_templates/rag.jinja", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/additional_chat_templates", folder);
    assert_int_equal(rmdir(path), 0);
    remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changed_tokenizer_json),
        cmocka_unit_test(test_harmless_changes),
        cmocka_unit_test(test_normalizer_null_leaves_text),
        cmocka_unit_test(test_normalized_added_tokens),
        cmocka_unit_test(test_text_that_is_no_tokenizer),
        cmocka_unit_test(test_changed_folders),
        cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_added_tokens_without_flags),
        cmocka_unit_test(test_normalized_tokens_in_templates),
        cmocka_unit_test(test_disagreeing_names_go_by_id),
        cmocka_unit_test(test_names_of_both_files),
        cmocka_unit_test(test_named_templates),
        cmocka_unit_test(test_template_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
