/* Error codes, their texts, and how every surface shows them.
 *
 * One X-macro is the only list: code, wire name, HTTP status, default text. The
 * wire form is `CODE message; hint` everywhere (RESP error, HTTP body, Lua
 * `nil, message, code`). Functions return 0 or one of these codes; the detail
 * goes into the caller's `struct error`, which each layer may prefix. */
#ifndef USHER_BASE_ERROR_H
#define USHER_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/*        name         wire          HTTP  text */
#define ERROR_MAP(X)                                                                               \
    X(ERR_BADARG, "BADARG", 400, "bad argument")                                                   \
    X(ERR_NOTFOUND, "NOTFOUND", 404, "not found")                                                  \
    X(ERR_TAKEN, "TAKEN", 409, "the seat is taken")                                                \
    X(ERR_LIMIT, "LIMIT", 422, "a limit is reached")                                               \
    X(ERR_DENIED, "DENIED", 422, "a rule refuses this")                                            \
    X(ERR_EXPIRED, "EXPIRED", 410, "the hold has expired")                                         \
    X(ERR_CONFLICT, "CONFLICT", 409, "conflict")                                                   \
    X(ERR_NOQUORUM, "NOQUORUM", 503, "no majority of voters answers")                              \
    X(ERR_NOTREADY, "NOTREADY", 503, "this node is not ready")                                     \
    X(ERR_UNKNOWN, "UNKNOWN", 504, "the outcome is not known")                                     \
    X(ERR_NOAUTH, "NOAUTH", 401, "authentication required")                                        \
    X(ERR_NOPERM, "NOPERM", 403, "not permitted")                                                  \
    X(ERR_BUSY, "BUSY", 429, "too much work in progress")                                          \
    X(ERR_TOOBIG, "TOOBIG", 413, "too big")                                                        \
    X(ERR_NOSPACE, "NOSPACE", 503, "the disk is full")                                             \
    X(ERR_INTERNAL, "INTERNAL", 500, "internal error")                                             \
    /* Below: inside the program only; error_wire() shows them as one of the                       \
     * codes above (NOMEM, CORRUPT, IO -> INTERNAL, NOTLEADER, UNREACHABLE ->                      \
     * NOTREADY, CANCELED -> UNKNOWN). */                                                          \
    X(ERR_NOMEM, "INTERNAL", 500, "out of memory")                                                 \
    X(ERR_IO, "INTERNAL", 500, "input/output error")                                               \
    X(ERR_CORRUPT, "INTERNAL", 500, "damaged data")                                                \
    X(ERR_NOTLEADER, "NOTREADY", 503, "this node does not lead")                                   \
    X(ERR_UNREACHABLE, "NOTREADY", 503, "no node can be reached")                                  \
    X(ERR_CANCELED, "UNKNOWN", 504, "canceled")

enum error_code {
    ERR_OK = 0,
#define X(name, wire, http, text) name,
    ERROR_MAP(X)
#undef X
        ERR_COUNT_
};

#define ERROR_MESSAGE_BYTES 400
#define ERROR_HINT_BYTES    240

struct error {
    int code; /* enum error_code; 0 while nothing failed */
    char message[ERROR_MESSAGE_BYTES];
    char hint[ERROR_HINT_BYTES]; /* "" when there is none */
};

/* Fills `e` (which may be NULL) and returns `code`, so that callers can write
 * `return error_set(e, ERR_X, ...)`. Longer texts are cut. Control bytes in the
 * formatted text become '?', so an error is always one line. */
int error_set(struct error *e, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
int error_vset(struct error *e, int code, const char *fmt, va_list args) __attribute__((cold));
/* Adds or replaces the hint ("what to do next") of a set error. */
void error_hint(struct error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
/* Puts "prefix: " before the message: one call per layer that adds context. */
void error_prefix(struct error *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), cold));
void error_clear(struct error *e);

const char *error_wire(int code);                  /* "TAKEN"; "INTERNAL" for unknown codes */
int error_http(int code);                          /* 409 */
const char *error_text(int code);                  /* default text */
int error_from_wire(const char *wire, size_t len); /* 0 when unknown */

/* Writes "CODE message; hint" (hint omitted when empty) into out, always
 * NUL-terminated; returns its length. */
size_t error_format(const struct error *e, char *out, size_t cap);

#endif
