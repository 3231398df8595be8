/*
 * complete MODEL.pte PROMPT [REGEX]: one prompt in, text out as it becomes final, in the form of a regular expression
 * if one is given. Everything that runs a model, in the order in which it is opened; docs/C.md explains it.
 */
#include <stdio.h>
#include <string.h>

#include <diffulex_edge/diffulex_edge.h>

/* Text that is final; false would cancel the decode. */
static bool print(void *ctx, const char *text, size_t n)
{
    FILE *f = ctx;
    return fwrite(text, 1, n, f) == n && fflush(f) == 0;
}

/* The prompt as ids: in the chat template where the model has one, else as it is. */
static dlx_status encode(const dlx_tokenizer *tokenizer, const char *text, int32_t **ids, size_t *n, dlx_error *err)
{
    if (!dlx_tokenizer_has_chat_template(tokenizer))
        return dlx_tokenizer_encode(tokenizer, text, strlen(text), DLX_ENCODE_PLAIN, ids, n, err);
    dlx_chat_message question = {.struct_size = sizeof question, .role = "user", .content = text};
    dlx_chat_options chat = {.struct_size = sizeof chat, .add_generation_prompt = true};
    return dlx_chat_encode(tokenizer, &question, 1, &chat, ids, n, err);
}

int main(int argc, char **argv)
{
    dlx_error err;
    dlx_model *model = NULL;
    dlx_session *session = NULL;
    dlx_tokenizer *tokenizer = NULL;
    dlx_decode_options *decode = NULL;
    dlx_constraint *form = NULL;
    dlx_completion *completion = NULL;
    dlx_statistics statistics = {.struct_size = sizeof statistics};
    int32_t *prompt = NULL;
    size_t n;
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: complete MODEL.pte PROMPT [REGEX]\n");
        return 2;
    }

    dlx_status s = dlx_model_open(&model, argv[1], NULL, &err);
    if (s == DLX_OK) s = dlx_session_open(&session, model, 0, 0, &err);
    if (s == DLX_OK) s = dlx_tokenizer_open_pte(&tokenizer, argv[1], &err);
    if (s == DLX_OK) s = encode(tokenizer, argv[2], &prompt, &n, &err);

    if (s == DLX_OK) s = dlx_decode_options_create(&decode, &err);
    if (s == DLX_OK) s = dlx_decode_options_set(decode, "max_new_tokens", "128", &err);

    if (s == DLX_OK && argc == 4) s = dlx_constraint_from_regex(&form, tokenizer, argv[3], strlen(argv[3]), NULL, &err);
    if (s == DLX_OK) s = dlx_decode_options_set_constraint(decode, form, &err);

    dlx_completion_options options = dlx_completion_options_default();
    options.decode = decode;
    options.tokenizer = tokenizer;
    options.on_text = print;
    options.text_ctx = stdout;
    if (s == DLX_OK)
        s = dlx_complete(dlx_model_get_facts(model), dlx_session_forward, session, &options, prompt, n, &completion,
                         &err);
    if (s == DLX_OK) s = dlx_completion_statistics(completion, &statistics, &err);
    if (s == DLX_OK)
        fprintf(stderr, "\n%d tokens in %d passes, finish reason %s\n", statistics.new_tokens, statistics.forwards,
                dlx_completion_finish_reason(completion));
    else
        fprintf(stderr, "%s\n", err.message);
    if (ferror(stdout)) { /* print() cancelled the decode, which is no error of the library */
        fprintf(stderr, "the answer could not be written\n");
        s = DLX_E_IO;
    }

    /* In the opposite order; NULL is fine everywhere. */
    dlx_completion_free(completion);
    dlx_decode_options_free(decode);
    dlx_constraint_free(form);
    dlx_free(prompt);
    dlx_tokenizer_close(tokenizer);
    dlx_session_close(session);
    dlx_model_close(model);
    return s != DLX_OK;
}
