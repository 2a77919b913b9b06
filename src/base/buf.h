/* Growing byte buffer and bounds-checked reader: the codec of every format on
 * the wire and on disk. Integers are little-endian; `varint` is unsigned LEB128
 * of at most 10 bytes.
 *
 * Writing: an allocation failure is remembered in `failed` and later puts do
 * nothing, so a caller checks once at the end. Reading: the first read past the
 * end or malformed varint sets `failed` and later gets return 0/empty. */
#ifndef USHER_BASE_BUF_H
#define USHER_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf {
    uint8_t *data; /* owned; NULL while empty */
    size_t len, cap;
    bool failed;
};

/* A view of bytes that somebody else owns; not NUL-terminated. */
struct span {
    const char *data;
    size_t len;
};

#define BUF_INIT                                                                                   \
    {                                                                                              \
        NULL, 0, 0, false                                                                          \
    }

void buf_init(struct buf *b);
void buf_free(struct buf *b);  /* and makes it empty again */
void buf_clear(struct buf *b); /* keeps the memory */
bool buf_grow(struct buf *b, size_t more);

/* The usual cases of these stand here: a booking appends and reads some hundred
 * small pieces. */
static inline bool buf_reserve(struct buf *b, size_t more)
{
    return (!b->failed && b->cap - b->len >= more) || buf_grow(b, more);
}
static inline void buf_put(struct buf *b, const void *data, size_t len)
{
    if (len > 0 && buf_reserve(b, len)) {
        memcpy(b->data + b->len, data, len);
        b->len += len;
    }
}
void buf_put_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline void buf_put_u8(struct buf *b, uint8_t v)
{
    if (buf_reserve(b, 1)) {
        b->data[b->len++] = v;
    }
}
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_varint_long(struct buf *b, uint64_t v);
static inline void buf_put_varint(struct buf *b, uint64_t v)
{
    if (v < 0x80 && b->cap - b->len >= 1 && !b->failed) {
        b->data[b->len++] = (uint8_t)v;
    } else {
        buf_put_varint_long(b, v);
    }
}
void buf_put_svarint(struct buf *b, int64_t v);                  /* zigzag */
void buf_put_bytes(struct buf *b, const void *data, size_t len); /* varint length first */
void buf_put_span(struct buf *b, struct span s);
/* Overwrites 4 bytes at `at`, which must have been written already. */
void buf_set_u32(struct buf *b, size_t at, uint32_t v);

struct reader {
    const uint8_t *p, *end;
    bool failed;
};

void reader_init(struct reader *r, const void *data, size_t len);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
uint64_t reader_varint_long(struct reader *r);
static inline uint64_t reader_varint(struct reader *r)
{
    return !r->failed && r->p < r->end && *r->p < 0x80 ? *r->p++ : reader_varint_long(r);
}
int64_t reader_svarint(struct reader *r);
struct span reader_bytes(struct reader *r);              /* varint length first */
const uint8_t *reader_raw(struct reader *r, size_t len); /* NULL when short */
size_t reader_left(const struct reader *r);

struct span span_of(const char *s); /* strlen */
struct span span_make(const char *data, size_t len);
bool span_eq(struct span a, struct span b);
bool span_is(struct span a, const char *s);

#endif
