/*
 * Text: byte-level BPE tokenizers (those of the four families, Llama 3, GPT-2, tekken and their like), incremental
 * decoding, and chat templates.
 *
 * Encoding needs PCRE2 and utf8proc, reading Hugging Face files needs jansson: a runtime-only build has neither and
 * returns DLX_E_UNSUPPORTED from those functions. Decoding and templates work everywhere.
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
 * special_tokens_map.json and chat_template.jinja where they are. */
DLX_API dlx_status dlx_tokenizer_open_folder(dlx_tokenizer **out, const char *folder, dlx_error *err);
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

typedef struct dlx_chat_message {
    size_t struct_size;  /* sizeof(dlx_chat_message), in every message */
    const char *role;    /* "system", "user", "assistant", "tool" */
    const char *content; /* UTF-8; NULL counts as "" */
    /* JSON array of tool calls as the published templates take it, or NULL. */
    const char *tool_calls;
    const char *reasoning_content; /* or NULL */
} dlx_chat_message;

typedef struct dlx_chat_options {
    size_t struct_size;         /* sizeof(dlx_chat_options) */
    bool add_generation_prompt; /* LLaDA's template opens an assistant turn whatever this says */
    int enable_thinking;        /* 0: not given, the template's default; 1: true; -1: false (SDAR) */
    const char *tools;          /* JSON array of tool schemas, or NULL */
} dlx_chat_options;

/* A template the library renders natively; anything else is DLX_E_UNSUPPORTED with the Python route in the message. */
typedef enum dlx_chat_template {
    DLX_CHAT_NONE = 0,         /* base model: no template */
    DLX_CHAT_LLADA = 1,        /* <|start_header_id|>role<|end_header_id|> */
    DLX_CHAT_CHATML_DREAM = 2, /* Qwen2.5's, default system "You are a helpful assistant." */
    DLX_CHAT_CHATML_QWEN = 3,  /* Qwen2.5's, default system "You are Qwen, created by ..." (Fast-dLLM v2) */
    DLX_CHAT_SDAR = 4,         /* Qwen3's, with thinking */
    DLX_CHAT_OTHER = 5,        /* the files name a template that is none of these */
} dlx_chat_template;

/* The template the tokenizer's files name (recognised by its text), DLX_CHAT_NONE when they name none. */
DLX_API dlx_chat_template dlx_tokenizer_chat_template(const dlx_tokenizer *tokenizer);

/* Renders to text as the published Jinja template does; *text freed with dlx_free. */
DLX_API dlx_status dlx_chat_render(dlx_chat_template tmpl, const dlx_chat_message *messages, size_t n_messages,
                                   const dlx_chat_options *options, char **text, size_t *n, dlx_error *err);
/* Renders to ids: the template's own parts may yield special tokens and the mask, message contents never do. Equal to
 * encoding the rendered text with DLX_ENCODE_SPECIAL when no message contains the text of an added token. */
DLX_API dlx_status dlx_chat_encode(const dlx_tokenizer *tokenizer, const dlx_chat_message *messages, size_t n_messages,
                                   const dlx_chat_options *options, int32_t **ids, size_t *n_ids, dlx_error *err);

#ifdef __cplusplus
}
#endif
#endif
