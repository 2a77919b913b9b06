/* JSON output straight into a buffer. Parsing is lua-cjson's (lua.md 1). */
#ifndef USHER_BASE_JSON_H
#define USHER_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* "text" with JSON escapes. Bytes that are not UTF-8 become U+FFFD. */
void json_put_string(struct buf *b, struct span s);
/* Puts "," first unless the buffer ends in '[' or '{' or ':'. */
void json_put_comma(struct buf *b);
/* [,]"key": */
void json_put_key(struct buf *b, const char *key);
void json_put_int(struct buf *b, int64_t v);
/* Key and value in one call. */
void json_field_string(struct buf *b, const char *key, struct span s);
void json_field_int(struct buf *b, const char *key, int64_t v);
void json_field_bool(struct buf *b, const char *key, bool v);

#endif
