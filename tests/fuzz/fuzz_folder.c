/*
 * Arbitrary bytes as the tokenizer files of a checkpoint folder, separated by NUL bytes; what is empty is not there:
 *
 *   tokenizer.json, tokenizer_config.json, special_tokens_map.json, vocab.json, merges.txt, added_tokens.json,
 *   chat_template.jinja, and last a text to encode
 *
 * A folder that opens is used: text goes through it and comes back, a chat is rendered with its template, and its
 * packed form opens again and says the same. One that does not is refused with a sentence.
 */
#include "folder.h"
#include "fuzz.h"
#include "tokenizer_use.h"

static void use_template(const dlx_tokenizer *t, const char *text)
{
    const dlx_chat_message m[] = {{.struct_size = sizeof *m, .role = "system", .content = "s"},
                                  {.struct_size = sizeof *m, .role = "user", .content = text}};
    const dlx_chat_options o = {.struct_size = sizeof o, .add_generation_prompt = true, .enable_thinking = -1};
    dlx_error err = {0};
    int32_t *ids;
    size_t n, length;
    char *rendered;
    dlx_status s = dlx_chat_encode(t, m, 2, &o, &ids, &n, &err);
    require_sentence(s, &err);
    if (s == DLX_OK) {
        for (size_t i = 0; i < n; i++) require(ids[i] >= 0 && ids[i] < dlx_tokenizer_size(t));
        require(dlx_tokenizer_has_chat_template(t));
        free(ids);
    }
    s = dlx_chat_render(t, m, 2, &o, &rendered, &length, &err);
    require_sentence(s, &err);
    if (s == DLX_OK) {
        require(dlx_utf8_valid(rendered, length) && rendered[length] == '\0');
        free(rendered);
    }
}

/* What the packed form must keep beside the tables, which use_tokenizer compares. */
static void compare_packed(const dlx_tokenizer *t)
{
    dlx_tokenizer *again;
    dlx_error err = {0};
    void *packed;
    size_t n;
    dlx_status s = dlx_tokenizer_pack(t, &packed, &n, &err);
    require_sentence(s, &err);
    if (s != DLX_OK) return;
    require(dlx_tokenizer_open_packed(&again, packed, n, &err) == DLX_OK);
    require(dlx_tokenizer_size(again) == dlx_tokenizer_size(t));
    require(dlx_tokenizer_mask_id(again) == dlx_tokenizer_mask_id(t));
    require(dlx_tokenizer_has_chat_template(again) == dlx_tokenizer_has_chat_template(t));
    free(packed);
    dlx_tokenizer_close(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const files[] = {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
        "merges.txt",     "added_tokens.json",     "chat_template.jinja"};
    const char *folder = folder_make();
    fuzz_input in = {data, size};
    dlx_tokenizer *t;
    dlx_error err = {0};
    size_t n;
    folder_clear(folder);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) folder_take(folder, files[i], &in);
    dlx_status s = dlx_tokenizer_open_folder(&t, folder, &err);
    require_sentence(s, &err);
    require((s == DLX_OK) == (t != NULL));
    if (s != DLX_OK) return 0;
    char *text = take_text(&in, &n);
    int32_t mask = dlx_tokenizer_mask_id(t);
    require(mask >= -1 && mask < dlx_tokenizer_size(t));
    use_text(t, text, n, DLX_ENCODE_PLAIN);
    use_text(t, text, n, DLX_ENCODE_SPECIAL);
    use_tokenizer(t);
    use_template(t, text);
    compare_packed(t);
    free(text);
    dlx_tokenizer_close(t);
    return 0;
}
