/* RESP values as bytes. An error is one line whatever is in it: CR and LF in a text that
 * came from elsewhere would be read as the end of the answer. */
#include <string.h>

#include "net/resp/conn.h"

static void put_head(struct buf *b, char type, int64_t v)
{
    char text[24];
    size_t at = sizeof text;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    text[--at] = '\n';
    text[--at] = '\r';
    do {
        text[--at] = (char)('0' + u % 10);
        u /= 10;
    } while (u != 0);
    if (v < 0) {
        text[--at] = '-';
    }
    text[--at] = type;
    buf_put(b, text + at, sizeof text - at);
}

void put_simple(struct buf *b, const char *text)
{
    buf_put_u8(b, '+');
    buf_put_str(b, text);
    buf_put(b, "\r\n", 2);
}

void put_error(struct buf *b, const struct error *e)
{
    char line[ERROR_MESSAGE_BYTES + ERROR_HINT_BYTES + 64];
    size_t n = error_format(e, line, sizeof line);
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
    buf_put_u8(b, '-');
    buf_put(b, line, n);
    buf_put(b, "\r\n", 2);
}

void put_int(struct buf *b, int64_t v) { put_head(b, ':', v); }

void put_bulk(struct buf *b, struct span s)
{
    put_head(b, '$', (int64_t)s.len);
    buf_put(b, s.data, s.len);
    buf_put(b, "\r\n", 2);
}

void put_text(struct buf *b, const char *s) { put_bulk(b, span_of(s)); }

void put_array(struct buf *b, size_t n) { put_head(b, '*', (int64_t)n); }

void put_map(struct buf *b, bool resp3, size_t pairs)
{
    put_head(b, resp3 ? '%' : '*', (int64_t)(resp3 ? pairs : pairs * 2));
}

void put_push(struct buf *b, bool resp3, size_t n) { put_head(b, resp3 ? '>' : '*', (int64_t)n); }

void put_null(struct buf *b, bool resp3) { buf_put_str(b, resp3 ? "_\r\n" : "$-1\r\n"); }
