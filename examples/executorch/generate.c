/*
 * generate MODEL.pte PROMPT [MAX_NEW_TOKENS]: one prompt in, text out as it becomes final, the model run by the
 * official runtime. What is different from examples/complete.c is in the first lines of main.
 */
#include <stdio.h>
#include <string.h>

#include "dlx_executorch.h"

static bool print(void *ctx, const char *text, size_t n)
{
    FILE *f = ctx;
    return fwrite(text, 1, n, f) == n && fflush(f) == 0;
}

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
    dlx_executorch *model = NULL;
    dlx_tokenizer *tokenizer = NULL;
    dlx_decode_options *decode = NULL;
    dlx_completion *completion = NULL;
    int32_t *prompt = NULL;
    size_t n;
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: generate MODEL.pte PROMPT [MAX_NEW_TOKENS]\n");
        return 2;
    }

    dlx_status s = dlx_executorch_open(&model, argv[1], &err);
    if (s == DLX_OK) s = dlx_tokenizer_open_pte(&tokenizer, argv[1], &err);
    if (s == DLX_OK) s = encode(tokenizer, argv[2], &prompt, &n, &err);
    if (s == DLX_OK) s = dlx_decode_options_create(&decode, &err);
    if (s == DLX_OK) s = dlx_decode_options_set(decode, "max_new_tokens", argc == 4 ? argv[3] : "128", &err);

    dlx_completion_options options = dlx_completion_options_default();
    options.decode = decode;
    options.tokenizer = tokenizer;
    options.fixed = dlx_executorch_session(model); /* what it holds of the prompt is not run again */
    options.on_text = print;
    options.text_ctx = stdout;
    if (s == DLX_OK)
        s = dlx_complete(dlx_executorch_facts(model), dlx_fixed_forward, dlx_executorch_session(model), &options,
                         prompt, n, &completion, &err);
    if (s == DLX_OK)
        printf("\n");
    else
        fprintf(stderr, "%s\n", err.message);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "the answer could not be written\n");
        s = DLX_E_IO;
    }

    dlx_completion_free(completion);
    dlx_decode_options_free(decode);
    dlx_free(prompt);
    dlx_tokenizer_close(tokenizer);
    dlx_executorch_close(model);
    return s != DLX_OK;
}
