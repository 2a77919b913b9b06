/* The one table of error codes, and the helpers that fill `struct error`. */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *wire;
    int http;
    const char *text;
} errors[ERR_COUNT_] = { [ERR_OK] = { "OK", 200, "ok" },
#define X(name, wire, http, text) [name] = { wire, http, text },
                         ERROR_MAP(X)
#undef X
};

static bool error_known(int code) { return code > 0 && code < ERR_COUNT_; }

const char *error_wire(int code)
{
    return error_known(code) ? errors[code].wire : code == 0 ? "OK" : "INTERNAL";
}

int error_http(int code) { return error_known(code) ? errors[code].http : code == 0 ? 200 : 500; }

const char *error_text(int code)
{
    return error_known(code) ? errors[code].text : code == 0 ? "ok" : "internal error";
}

int error_from_wire(const char *wire, size_t len)
{
    for (int code = 1; code < ERR_COUNT_; code++) {
        const char *w = errors[code].wire;
        if (strlen(w) == len && memcmp(w, wire, len) == 0) {
            return code;
        }
    }
    return 0;
}

/* An error is shown on one line of a terminal and of RESP: no control bytes. */
static void flatten(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p != 0; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            *p = '?';
        }
    }
}

int error_vset(struct error *e, int code, const char *fmt, va_list args)
{
    if (e != NULL) {
        e->code = code;
        e->hint[0] = 0;
        (void)vsnprintf(e->message, sizeof e->message, fmt, args);
        flatten(e->message);
    }
    return code;
}

int error_set(struct error *e, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    error_vset(e, code, fmt, args);
    va_end(args);
    return code;
}

void error_hint(struct error *e, const char *fmt, ...)
{
    if (e == NULL) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(e->hint, sizeof e->hint, fmt, args);
    va_end(args);
    flatten(e->hint);
}

void error_prefix(struct error *e, const char *fmt, ...)
{
    if (e == NULL) {
        return;
    }
    char old[ERROR_MESSAGE_BYTES];
    memcpy(old, e->message, sizeof old);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(e->message, sizeof e->message, fmt, args);
    va_end(args);
    size_t used = n < 0 ? 0 : strlen(e->message);
    size_t room = sizeof e->message - 1 - used;
    for (const char *part = ": "; *part != 0 && room > 0; part++, room--) {
        e->message[used++] = *part;
    }
    size_t more = strnlen(old, room);
    memcpy(e->message + used, old, more);
    e->message[used + more] = 0;
    flatten(e->message);
}

void error_clear(struct error *e)
{
    if (e != NULL) {
        e->code = 0;
        e->message[0] = 0;
        e->hint[0] = 0;
    }
}

size_t error_format(const struct error *e, char *out, size_t cap)
{
    const char *message = e->message[0] != 0 ? e->message : error_text(e->code);
    int n = snprintf(out, cap, "%s %s%s%s", error_wire(e->code), message,
                     e->hint[0] != 0 ? "; " : "", e->hint);
    if (n < 0) {
        return 0;
    }
    return (size_t)n < cap ? (size_t)n : cap - 1;
}
