/*
 * The functions of Native.kt: a program in the official runtime (examples/executorch), decoded by this library. One
 * handle is used by one thread at a time, which DiffulexModel sees to. Text goes both ways as UTF-8 bytes: JNI's own
 * strings are not UTF-8 outside the first plane.
 */
#include <jni.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dlx_executorch.h"

typedef struct model {
    dlx_executorch *runtime;
    dlx_tokenizer *tokenizer;
} model;

/* What a decode calls back. */
typedef struct listener {
    JNIEnv *env;
    jobject object;
    jmethodID on_text; /* (byte[]) -> boolean */
} listener;

static void throw_error(JNIEnv *env, const dlx_error *err)
{
    const char *kind = err->status == DLX_E_IO        ? "java/io/IOException"
                       : err->status == DLX_E_INVALID ? "java/lang/IllegalArgumentException"
                       : err->status == DLX_E_LIMIT   ? "java/lang/IllegalArgumentException"
                       : err->status == DLX_E_NOMEM   ? "java/lang/OutOfMemoryError"
                                                      : "java/lang/IllegalStateException";
    jclass class = (*env)->FindClass(env, kind);
    if (class) (*env)->ThrowNew(env, class, err->message);
}

/* A copy of an array's bytes with a NUL behind them; NULL with an exception. */
static char *take_bytes(JNIEnv *env, jbyteArray array, size_t *n)
{
    jsize length = array ? (*env)->GetArrayLength(env, array) : 0;
    char *text = malloc((size_t)length + 1);
    if (!text) {
        throw_error(env, &(dlx_error){.status = DLX_E_NOMEM, .message = "out of memory"});
        return NULL;
    }
    if (length) (*env)->GetByteArrayRegion(env, array, 0, length, (jbyte *)text);
    text[length] = '\0';
    *n = (size_t)length;
    return text;
}

static bool on_text(void *ctx, const char *text, size_t n)
{
    listener *l = ctx;
    JNIEnv *env = l->env;
    jbyteArray bytes = (*env)->NewByteArray(env, (jsize)n);
    if (!bytes) return false; /* the exception is on its way */
    (*env)->SetByteArrayRegion(env, bytes, 0, (jsize)n, (const jbyte *)text);
    bool more = (*env)->CallBooleanMethod(env, l->object, l->on_text, bytes);
    (*env)->DeleteLocalRef(env, bytes);
    return more && !(*env)->ExceptionCheck(env);
}

/* Behind every pass: an empty piece asks whether to go on. */
static bool on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n)
{
    (void)step;
    (void)ids;
    (void)n;
    return on_text(ctx, "", 0);
}

static dlx_status encode(const dlx_tokenizer *tokenizer, const char *text, size_t length, int32_t **ids, size_t *n,
                         dlx_error *err)
{
    if (!dlx_tokenizer_has_chat_template(tokenizer))
        return dlx_tokenizer_encode(tokenizer, text, length, DLX_ENCODE_PLAIN, ids, n, err);
    dlx_chat_message question = {.struct_size = sizeof question, .role = "user", .content = text};
    dlx_chat_options chat = {.struct_size = sizeof chat, .add_generation_prompt = true};
    return dlx_chat_encode(tokenizer, &question, 1, &chat, ids, n, err);
}

static dlx_status decode(const model *m, const char *prompt, size_t length, int new_tokens, listener *l, dlx_error *err)
{
    dlx_decode_options *options = NULL;
    dlx_completion *completion = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    char number[16];
    snprintf(number, sizeof number, "%d", new_tokens);
    dlx_status s = encode(m->tokenizer, prompt, length, &ids, &n, err);
    if (s == DLX_OK) s = dlx_decode_options_create(&options, err);
    if (s == DLX_OK) s = dlx_decode_options_set(options, "max_new_tokens", number, err);
    dlx_completion_options o = dlx_completion_options_default();
    o.decode = options;
    o.tokenizer = m->tokenizer;
    o.fixed = dlx_executorch_session(m->runtime); /* what it holds of the prompt is not run again */
    o.on_text = on_text;
    o.on_step = on_step;
    o.text_ctx = o.step_ctx = l;
    if (s == DLX_OK)
        s = dlx_complete(dlx_executorch_facts(m->runtime), dlx_fixed_forward, dlx_executorch_session(m->runtime), &o,
                         ids, n, &completion, err);
    dlx_completion_free(completion);
    dlx_decode_options_free(options);
    dlx_free(ids);
    return s;
}

JNIEXPORT jlong JNICALL Java_org_diffulex_edge_Native_open(JNIEnv *env, jclass class, jbyteArray path)
{
    (void)class;
    dlx_error err = {0};
    size_t n;
    char *text = take_bytes(env, path, &n);
    model *m = text ? calloc(1, sizeof *m) : NULL;
    dlx_status s = m ? dlx_executorch_open(&m->runtime, text, &err) : DLX_E_NOMEM;
    if (s == DLX_OK) s = dlx_tokenizer_open_pte(&m->tokenizer, text, &err);
    free(text);
    if (s == DLX_OK) return (jlong)(intptr_t)m;
    if (m) dlx_executorch_close(m->runtime);
    if (!m) err = (dlx_error){.status = DLX_E_NOMEM, .message = "out of memory"};
    free(m);
    if (!(*env)->ExceptionCheck(env)) throw_error(env, &err);
    return 0;
}

JNIEXPORT void JNICALL Java_org_diffulex_edge_Native_close(JNIEnv *env, jclass class, jlong handle)
{
    (void)env;
    (void)class;
    model *m = (model *)(intptr_t)handle;
    if (!m) return;
    dlx_tokenizer_close(m->tokenizer);
    dlx_executorch_close(m->runtime);
    free(m);
}

JNIEXPORT void JNICALL Java_org_diffulex_edge_Native_generate(JNIEnv *env, jclass class, jlong handle,
                                                              jbyteArray prompt, jint new_tokens, jobject to)
{
    (void)class;
    dlx_error err = {0};
    listener l = {.env = env, .object = to};
    jclass kind = (*env)->GetObjectClass(env, to);
    l.on_text = (*env)->GetMethodID(env, kind, "onText", "([B)Z");
    if (!l.on_text) return;
    size_t n;
    char *text = take_bytes(env, prompt, &n);
    if (!text) return;
    dlx_status s = decode((const model *)(intptr_t)handle, text, n, new_tokens, &l, &err);
    free(text);
    if (s != DLX_OK && !(*env)->ExceptionCheck(env)) throw_error(env, &err);
}
