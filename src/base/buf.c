/* See buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

void buf_init(struct buf *b) { *b = (struct buf)BUF_INIT; }

void buf_free(struct buf *b)
{
    mem_free(b->data);
    buf_init(b);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

bool buf_grow(struct buf *b, size_t more)
{
    if (b->failed) {
        return false;
    }
    size_t want = b->len + more;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < want) {
        cap += cap / 2 + 16;
    }
    uint8_t *data = mem_realloc(b->data, cap);
    if (data == NULL) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_put_str(struct buf *b, const char *s) { buf_put(b, s, strlen(s)); }

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n >= 0 && buf_reserve(b, (size_t)n + 1)) {
        (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

static void put_le(struct buf *b, uint64_t v, size_t n)
{
    if (buf_reserve(b, n)) {
        for (size_t i = 0; i < n; i++) {
            b->data[b->len + i] = (uint8_t)(v >> (8 * i));
        }
        b->len += n;
    }
}

void buf_put_u16(struct buf *b, uint16_t v) { put_le(b, v, 2); }
void buf_put_u32(struct buf *b, uint32_t v) { put_le(b, v, 4); }
void buf_put_u64(struct buf *b, uint64_t v) { put_le(b, v, 8); }

void buf_put_varint_long(struct buf *b, uint64_t v)
{
    if (!buf_reserve(b, 10)) {
        return;
    }
    while (v >= 0x80) {
        b->data[b->len++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    b->data[b->len++] = (uint8_t)v;
}

void buf_put_svarint(struct buf *b, int64_t v)
{
    buf_put_varint(b, ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0));
}

void buf_put_bytes(struct buf *b, const void *data, size_t len)
{
    buf_put_varint(b, len);
    buf_put(b, data, len);
}

void buf_put_span(struct buf *b, struct span s) { buf_put_bytes(b, s.data, s.len); }

void buf_set_u32(struct buf *b, size_t at, uint32_t v)
{
    if (b->failed) {
        return;
    }
    ASSERT(at + 4 <= b->len);
    for (size_t i = 0; i < 4; i++) {
        b->data[at + i] = (uint8_t)(v >> (8 * i));
    }
}

void reader_init(struct reader *r, const void *data, size_t len)
{
    r->p = data;
    r->end = len > 0 ? r->p + len : r->p;
    r->failed = false;
}

size_t reader_left(const struct reader *r) { return (size_t)(r->end - r->p); }

const uint8_t *reader_raw(struct reader *r, size_t len)
{
    if (r->failed || reader_left(r) < len) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += len;
    return p;
}

static uint64_t get_le(struct reader *r, size_t n)
{
    const uint8_t *p = reader_raw(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p != NULL && i < n; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

uint8_t reader_u8(struct reader *r) { return (uint8_t)get_le(r, 1); }
uint16_t reader_u16(struct reader *r) { return (uint16_t)get_le(r, 2); }
uint32_t reader_u32(struct reader *r) { return (uint32_t)get_le(r, 4); }
uint64_t reader_u64(struct reader *r) { return get_le(r, 8); }

uint64_t reader_varint_long(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t *p = reader_raw(r, 1);
        if (p == NULL) {
            return 0;
        }
        if (shift == 63 && *p > 1) {
            break;
        }
        v |= (uint64_t)(*p & 0x7f) << shift;
        if ((*p & 0x80) == 0) {
            return v;
        }
    }
    r->failed = true;
    return 0;
}

int64_t reader_svarint(struct reader *r)
{
    uint64_t v = reader_varint(r);
    return (int64_t)((v >> 1) ^ (0 - (v & 1)));
}

struct span reader_bytes(struct reader *r)
{
    uint64_t len = reader_varint(r);
    if (r->failed || len > reader_left(r)) {
        r->failed = true;
        return (struct span){ "", 0 };
    }
    return (struct span){ (const char *)reader_raw(r, (size_t)len), (size_t)len };
}

struct span span_of(const char *s) { return (struct span){ s, strlen(s) }; }
struct span span_make(const char *data, size_t len) { return (struct span){ data, len }; }

bool span_eq(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool span_is(struct span a, const char *s) { return span_eq(a, span_of(s)); }
