/* Reading JSON text (RFC 8259, strict) without building anything: a pull scanner.
 *
 * The one reader behind json_check() (attributes and metadata are checked and kept
 * byte for byte), behind json.decode in Lua (lua_json.c) and behind seats given as
 * JSON. It does not recurse and allocates only for strings that contain escapes. */
#ifndef USHER_POLICY_JSON_TEXT_H
#define USHER_POLICY_JSON_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum json_token {
    JSON_FAILED, /* `error` is set: BADARG that says what, and at which byte and line */
    JSON_DONE,   /* the one value ended and nothing follows it */
    JSON_LIST,   /* [ */
    JSON_LIST_END,
    JSON_OBJECT, /* { */
    JSON_OBJECT_END,
    JSON_KEY,    /* text; its value is the next token */
    JSON_STRING, /* text */
    JSON_INT,    /* integer: no fraction, no exponent, fits int64 */
    JSON_FLOAT,  /* number: finite */
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};

struct json_scan {
    const char *start, *p, *end;
    struct span text; /* valid until the next json_next() */
    int64_t integer;
    double number;
    unsigned depth;
    uint64_t objects[2]; /* bit d: level d is an object */
    int state;
    struct buf unescaped;
    struct error error;
};

void json_scan_init(struct json_scan *s, struct span text);
void json_scan_free(struct json_scan *s);
enum json_token json_next(struct json_scan *s);
/* Reads over the value whose first token was just returned; its text, from there to
 * its end, is `*raw`. False when it failed. */
bool json_skip(struct json_scan *s, enum json_token first, const char *from, struct span *raw);

/* 0 when `text` is exactly one JSON value: UTF-8, at most JSON_DEPTH_MAX deep, numbers
 * finite; else ERR_BADARG (or NOMEM). */
int json_check(struct span text, struct error *e);

#endif
