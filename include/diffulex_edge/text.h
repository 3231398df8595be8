/*
 * Text: byte-level BPE tokenizers (those of the four families, Llama 3, GPT-2, tekken and their like), incremental
 * decoding, and chat templates.
 *
 * Encoding needs PCRE2 and utf8proc, reading Hugging Face files needs jansson: a runtime-only build has neither and
 * returns DLX_E_UNSUPPORTED from those functions. Decoding and rendering chats work everywhere.
 */
#ifndef DIFFULEX_EDGE_TEXT_H
#define DIFFULEX_EDGE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/decode.h"
#include "diffulex_edge/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Immutable after opening; shareable between threads. Its memory is the C library's. */
typedef struct dlx_tokenizer dlx_tokenizer;

/* From a checkpoint folder: tokenizer.json, or vocab.json + merges.txt; with tokenizer_config.json, added_tokens.json,
 * special_tokens_map.json, chat_template.jinja and additional_chat_templates/NAME.jinja where they are. A chat template
 * that cannot be compiled is an error that names its line. */
DLX_API dlx_status dlx_tokenizer_open_folder(dlx_tokenizer **out, const char *folder, dlx_error *err);
/* The same with another chat template than the folder's default one: NULL for that, "none" for no template, the name of
 * one of the folder's named templates, or the path of a file with Jinja text. */
DLX_API dlx_status dlx_tokenizer_open_folder_with(dlx_tokenizer **out, const char *folder, const char *chat_template,
                                                  dlx_error *err);
/* From the compact form inside a .pte (dlx_tokenizer_pack). Copies what it needs. */
DLX_API dlx_status dlx_tokenizer_open_packed(dlx_tokenizer **out, const void *bytes, size_t n, dlx_error *err);
/* From a .pte file; DLX_E_UNSUPPORTED when it carries none. */
DLX_API dlx_status dlx_tokenizer_open_pte(dlx_tokenizer **out, const char *path, dlx_error *err);
/* The same from a descriptor of a .pte and from its bytes [n], which are needed during the call only: see
 * dlx_model_open_fd. */
DLX_API dlx_status dlx_tokenizer_open_pte_fd(dlx_tokenizer **out, int fd, dlx_error *err);
DLX_API dlx_status dlx_tokenizer_open_pte_memory(dlx_tokenizer **out, const void *bytes, size_t n, dlx_error *err);
DLX_API void dlx_tokenizer_close(dlx_tokenizer *tokenizer); /* NULL is fine */

/* Compact binary form, at most a few MB; *bytes is freed with dlx_free. */
DLX_API dlx_status dlx_tokenizer_pack(const dlx_tokenizer *tokenizer, void **bytes, size_t *n, dlx_error *err);

typedef enum dlx_encode_flags {
    /* Text a user typed. Added tokens that the files do not call special ("<think>", "<tool_call>", those of
     * fill-in-the-middle) become their ids, as transformers has it with split_special_tokens. Special ones and the mask
     * never do: "<|im_start|>" is a few ordinary characters. */
    DLX_ENCODE_PLAIN = 0,
    /* All added tokens in the text become their ids (templates, prompts that ask for it). */
    DLX_ENCODE_SPECIAL = 1,
    /* Besides: the ids that the tokenizer's post_processor puts around a prompt that is no chat (Llama 3: one in
     * front). The four families have none. */
    DLX_ENCODE_AROUND = 2,
} dlx_encode_flags;

/* UTF-8 text of n bytes (need not be NUL-terminated; invalid bytes are replaced by U+FFFD as Python's errors="replace"
 * does) -> *ids [*n_ids], freed with dlx_free. */
DLX_API dlx_status dlx_tokenizer_encode(const dlx_tokenizer *tokenizer, const char *text, size_t n, int flags,
                                        int32_t **ids, size_t *n_ids, dlx_error *err);
/* Ids -> UTF-8, NUL-terminated, *text freed with dlx_free; *n (may be NULL) is its length without the NUL. Undecodable
 * bytes become U+FFFD as in Rust's from_utf8_lossy; ids without a token give nothing. skip_special drops special
 * tokens. */
DLX_API dlx_status dlx_tokenizer_decode(const dlx_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                                        bool skip_special, char **text, size_t *n, dlx_error *err);

/* The *n bytes that an id stands for, not NUL-terminated, as long as the tokenizer is open: a part of a character is no
 * valid UTF-8. NULL and 0 bytes for an id without a token. */
DLX_API const char *dlx_tokenizer_bytes(const dlx_tokenizer *tokenizer, int32_t id, size_t *n);

/* Number of ids that have a token: largest id + 1. */
DLX_API int32_t dlx_tokenizer_size(const dlx_tokenizer *tokenizer);
/* Id of the added token with exactly this text, or -1. */
DLX_API int32_t dlx_tokenizer_special_id(const dlx_tokenizer *tokenizer, const char *token);
/* The mask token's id as the tokenizer files tell it (mask_token, or the published mask names), or -1. */
DLX_API int32_t dlx_tokenizer_mask_id(const dlx_tokenizer *tokenizer);

/* Incremental decoding for streams: push ids, take text that is complete UTF-8; flush at the end. */
typedef struct dlx_text_stream dlx_text_stream;
DLX_API dlx_status dlx_text_stream_open(dlx_text_stream **out, const dlx_tokenizer *tokenizer, bool skip_special,
                                        dlx_error *err);
DLX_API void dlx_text_stream_close(dlx_text_stream *stream);
/* *text (NUL-terminated, *n bytes) points into the stream and is valid until the next call. */
DLX_API dlx_status dlx_text_stream_push(dlx_text_stream *stream, const int32_t *ids, size_t n_ids, const char **text,
                                        size_t *n, dlx_error *err);
DLX_API dlx_status dlx_text_stream_flush(dlx_text_stream *stream, const char **text, size_t *n, dlx_error *err);

/* ---- chat ----------------------------------------------------------------------------------------------------- */

/*
 * Conversations become prompts by the chat template of the tokenizer's files: Jinja as Python's transformers runs it,
 * compiled when the files are read and kept in the packed form. Compiling reports what a template has that is not
 * supported; rendering is bounded in steps, depth and memory, whatever the template.
 */

typedef struct dlx_chat_message {
    size_t struct_size;  /* sizeof(dlx_chat_message), in every message */
    const char *role;    /* "system", "user", "assistant", "tool", or what else the template knows */
    const char *content; /* UTF-8; NULL counts as "" */
    /* JSON array of tool calls as the template takes it, or NULL. */
    const char *tool_calls;
    const char *reasoning_content; /* or NULL */
    const char *more; /* JSON object with further keys of the message ("name", "tool_call_id" ...), or NULL */
} dlx_chat_message;

typedef struct dlx_chat_options {
    size_t struct_size; /* sizeof(dlx_chat_options) */
    bool add_generation_prompt;
    int enable_thinking; /* variable of the template; 0: not given, the template's default; 1: true; -1: false */
    const char *tools;   /* JSON array of tool schemas, or NULL */
    const char *template_kwargs; /* JSON object of further variables of the template, or NULL */
    const char *documents;       /* JSON array of documents, or NULL */
    const char *chat_template;   /* Jinja text that is used in place of the tokenizer's template, or NULL */
} dlx_chat_options;

/* Whether the tokenizer's files had a chat template: false for a base model. */
DLX_API bool dlx_tokenizer_has_chat_template(const dlx_tokenizer *tokenizer);

/*
 * Renders to text; *text is freed with dlx_free. The template sees what transformers gives it: messages, tools,
 * documents, add_generation_prompt, the named special tokens of the tokenizer's files (bos_token ...) and
 * template_kwargs. With tools, a template named "tool_use" is used where the files have one.
 */
DLX_API dlx_status dlx_chat_render(const dlx_tokenizer *tokenizer, const dlx_chat_message *messages, size_t n_messages,
                                   const dlx_chat_options *options, char **text, size_t *n, dlx_error *err);
/* Renders to ids: the template's own parts may yield special tokens and the mask; what messages, tools and variables
 * hold stays text. Equal to encoding the rendered text with DLX_ENCODE_SPECIAL when none of them contains the text of
 * an added token. */
DLX_API dlx_status dlx_chat_encode(const dlx_tokenizer *tokenizer, const dlx_chat_message *messages, size_t n_messages,
                                   const dlx_chat_options *options, int32_t **ids, size_t *n_ids, dlx_error *err);

/*
 * The same for messages as clients of the OpenAI API keep them: a JSON array (n_json bytes) of objects. Each needs a
 * "role"; all other keys reach the template as they are, except that
 *   - content that is a list of text parts is joined, unless the template looks at parts itself;
 *   - content that is null becomes "" for a template which fails on null;
 *   - "reasoning_content", "reasoning" and "thinking" stand for each other, as in transformers.
 */
DLX_API dlx_status dlx_chat_render_json(const dlx_tokenizer *tokenizer, const char *json, size_t n_json,
                                        const dlx_chat_options *options, char **text, size_t *n, dlx_error *err);
DLX_API dlx_status dlx_chat_encode_json(const dlx_tokenizer *tokenizer, const char *json, size_t n_json,
                                        const dlx_chat_options *options, int32_t **ids, size_t *n_ids, dlx_error *err);

#ifdef __cplusplus
}
#endif
#endif
