/*
 * Status codes and error records: what every fallible function of the library returns.
 *
 * A function that can fail returns dlx_status and takes a `dlx_error *err` as its last argument. `err` may be NULL.
 * On failure all out-parameters are NULL / 0, whichever argument was wrong (of a structure: all behind its struct_size,
 * if that was set), and `err` holds the status and one sentence that names the thing, what was expected and what to do.
 * NULL where something is needed is DLX_E_INVALID. Functions that cannot fail take NULL for the object, too: they free
 * nothing, count 0, and name nothing. The library never prints, never exits and never aborts.
 */
#ifndef DIFFULEX_EDGE_STATUS_H
#define DIFFULEX_EDGE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define DLX_API __declspec(dllexport)
#else
#define DLX_API __attribute__((visibility("default")))
#endif

/* The numbers are part of the ABI; new codes are appended. */
#define DLX_STATUS_MAP(X)                                                                                              \
    X(DLX_OK, 0, "ok")                                                                                                 \
    X(DLX_E_INVALID, 1, "invalid argument")       /* the caller's argument is wrong */                                 \
    X(DLX_E_FORMAT, 2, "malformed file")          /* bytes of a file contradict its format */                          \
    X(DLX_E_UNSUPPORTED, 3, "not supported")      /* well-formed, but this build cannot do it */                       \
    X(DLX_E_IO, 4, "input/output error")          /* the operating system refused: errno text in the message */        \
    X(DLX_E_NOMEM, 5, "out of memory")                                                                                 \
    X(DLX_E_LIMIT, 6, "limit exceeded")           /* does not fit: context length, vocabulary, buffer */               \
    X(DLX_E_CANCELLED, 7, "cancelled")            /* a callback asked to stop */                                       \
    X(DLX_E_INTERNAL, 8, "internal error")        /* a broken invariant; please report */

typedef enum dlx_status {
#define DLX_STATUS_ENUM(name, number, text) name = number,
    DLX_STATUS_MAP(DLX_STATUS_ENUM)
#undef DLX_STATUS_ENUM
} dlx_status;

#define DLX_ERROR_MESSAGE_SIZE 512

/* Owned by the caller, plain data, needs no clean-up. `message` is UTF-8, NUL-terminated, one sentence. Never grows. */
typedef struct dlx_error {
    dlx_status status;
    char message[DLX_ERROR_MESSAGE_SIZE];
} dlx_error;

/* "invalid argument" for DLX_E_INVALID and so on; "unknown status" for numbers outside the map. Static storage. */
DLX_API const char *dlx_status_name(dlx_status status);

#ifdef __cplusplus
}
#endif
#endif
