/* src/text/ without full/: a packed tokenizer decodes, streams and renders chats; encoding is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "diffulex_edge/text.h"

#include "base/io.h"
#include "text/tokenizer.h"

static dlx_tokenizer *open_recorded(void)
{
    char *packed;
    size_t n;
    dlx_tokenizer *t;
    dlx_error err = {0};
    assert_int_equal(dlx_read_file(&packed, &n, DLX_TEST_DATA "/text/sdar.packed", 1 << 20, &err), DLX_OK);
    assert_int_equal(dlx_tokenizer_open_packed(&t, packed, n, &err), DLX_OK);
    free(packed);
    return t;
}

static void test_decoding(void **state)
{
    (void)state;
    dlx_tokenizer *t = open_recorded();
    dlx_error err = {0};
    int32_t ids[16];
    static const char bytes[] = "<|im_start|>caf\xC3\xA9";
    char *text;
    size_t n = 0;
    ids[n++] = dlx_tokenizer_special_id(t, "<|im_start|>");
    for (const char *p = bytes + 12; *p; p++) ids[n++] = (int32_t)t->byte_id[(unsigned char)*p];
    assert_int_equal(dlx_tokenizer_decode(t, ids, n, false, &text, NULL, &err), DLX_OK);
    assert_string_equal(text, bytes);
    free(text);
    assert_int_equal(dlx_tokenizer_decode(t, ids, n, true, &text, NULL, &err), DLX_OK);
    assert_string_equal(text, bytes + 12);
    free(text);
    dlx_text_stream *s;
    const char *part;
    assert_int_equal(dlx_text_stream_open(&s, t, true, &err), DLX_OK);
    assert_int_equal(dlx_text_stream_push(s, ids, n - 1, &part, NULL, &err), DLX_OK);
    assert_string_equal(part, "caf");
    assert_int_equal(dlx_text_stream_push(s, ids + n - 1, 1, &part, NULL, &err), DLX_OK);
    assert_string_equal(part, "\xC3\xA9");
    dlx_text_stream_close(s);
    dlx_tokenizer_close(t);
}

static void test_chat_text(void **state)
{
    (void)state;
    dlx_tokenizer *t = open_recorded();
    const dlx_chat_message m = {.struct_size = sizeof(dlx_chat_message), .role = "user", .content = "Hello"};
    const dlx_chat_options o = {.struct_size = sizeof o, .add_generation_prompt = true};
    char *text;
    dlx_error err = {0};
    assert_int_equal(dlx_chat_render(t, &m, 1, &o, &text, NULL, &err), DLX_OK);
    assert_string_equal(text, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
    free(text);
    static const char json[] = "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Hello\"}]}]";
    const dlx_chat_options other = {.struct_size = sizeof other,
                                    .chat_template =
                                        "{% for m in messages %}{{ m.content | upper }}{{ end }}{% endfor %}",
                                    .template_kwargs = "{\"end\": \"!\"}"};
    assert_int_equal(dlx_chat_render_json(t, json, sizeof json - 1, &other, &text, NULL, &err), DLX_OK);
    assert_string_equal(text, "HELLO!");
    free(text);
    dlx_tokenizer_close(t);
}

static void test_what_is_missing(void **state)
{
    (void)state;
    dlx_tokenizer *t = open_recorded(), *none;
    const dlx_chat_message m = {.struct_size = sizeof(dlx_chat_message), .role = "user", .content = "Hello"};
    dlx_error err = {0};
    int32_t *ids;
    size_t n;
    assert_int_equal(dlx_tokenizer_encode(t, "a", 1, 0, &ids, &n, &err), DLX_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "token ids"));
    assert_null(ids);
    assert_int_equal(dlx_chat_encode(t, &m, 1, NULL, &ids, &n, &err), DLX_E_UNSUPPORTED);
    assert_int_equal(dlx_tokenizer_open_folder(&none, "x", &err), DLX_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'x'"));
    assert_null(none);
    assert_int_equal(dlx_tokenizer_open_folder_with(&none, "y", "none", &err), DLX_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'y'"));
    assert_int_equal(dlx_tokenizer_open_folder(NULL, "x", &err), DLX_E_INVALID);
    dlx_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_chat_text),
        cmocka_unit_test(test_what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
