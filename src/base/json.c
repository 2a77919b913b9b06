/* See json.h. */
#include "base/json.h"

#include <string.h>

#include "base/text.h"

static void put_escape(struct buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char out[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };
    switch (c) {
    case '"': buf_put(b, "\\\"", 2); break;
    case '\\': buf_put(b, "\\\\", 2); break;
    case '\n': buf_put(b, "\\n", 2); break;
    case '\r': buf_put(b, "\\r", 2); break;
    case '\t': buf_put(b, "\\t", 2); break;
    default: buf_put(b, out, 6); break;
    }
}

static bool plain(unsigned char c) { return c >= 0x20 && c != '"' && c != '\\' && c < 0x7f; }

/* Length of the valid UTF-8 sequence at p, or 0. */
static size_t sequence(const char *p, size_t left)
{
    for (size_t n = 2; n <= 4 && n <= left; n++) {
        if (text_is_utf8(span_make(p, n))) {
            return n;
        }
    }
    return 0;
}

void json_put_string(struct buf *b, struct span s)
{
    buf_put_u8(b, '"');
    for (size_t i = 0; i < s.len;) {
        size_t run = i;
        while (run < s.len && plain((unsigned char)s.data[run])) {
            run++;
        }
        buf_put(b, s.data + i, run - i);
        i = run;
        if (i == s.len) {
            break;
        }
        unsigned char c = (unsigned char)s.data[i];
        size_t n = c < 0x80 ? 0 : sequence(s.data + i, s.len - i);
        if (n > 0) {
            buf_put(b, s.data + i, n);
            i += n;
        } else {
            if (c < 0x80) {
                put_escape(b, c);
            } else {
                buf_put(b, "\xef\xbf\xbd", 3);
            }
            i++;
        }
    }
    buf_put_u8(b, '"');
}

void json_put_comma(struct buf *b)
{
    if (b->len > 0 && strchr("[{:", b->data[b->len - 1]) == NULL) {
        buf_put_u8(b, ',');
    }
}

void json_put_key(struct buf *b, const char *key)
{
    json_put_comma(b);
    json_put_string(b, span_of(key));
    buf_put_u8(b, ':');
}

void json_put_int(struct buf *b, int64_t v)
{
    char text[24];
    size_t at = sizeof text;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do {
        text[--at] = (char)('0' + u % 10);
        u /= 10;
    } while (u != 0);
    if (v < 0) {
        text[--at] = '-';
    }
    buf_put(b, text + at, sizeof text - at);
}

void json_field_string(struct buf *b, const char *key, struct span s)
{
    json_put_key(b, key);
    json_put_string(b, s);
}

void json_field_int(struct buf *b, const char *key, int64_t v)
{
    json_put_key(b, key);
    json_put_int(b, v);
}

void json_field_bool(struct buf *b, const char *key, bool v)
{
    json_put_key(b, key);
    buf_put_str(b, v ? "true" : "false");
}
