/* See refusals.h. */
#include "policy/refusals.h"

#include "base/error.h"
#include "base/hash.h"

#define HEAD_BYTES 12

void refusal_put(struct buf *out, const struct refusal *r)
{
    size_t at = out->len;
    buf_put_u32(out, 0);
    buf_put_u64(out, 0);
    buf_put_varint(out, r->index);
    buf_put_varint(out, r->position);
    buf_put_varint(out, r->time_ms);
    buf_put_u64(out, r->digest);
    buf_put_u8(out, (uint8_t)r->code);
    buf_put_span(out, r->user);
    buf_put_span(out, r->argv);
    if (!out->failed) {
        size_t body = out->len - at - HEAD_BYTES;
        uint64_t sum = hash64(out->data + at + HEAD_BYTES, body);
        buf_set_u32(out, at, (uint32_t)(body + 8));
        buf_set_u32(out, at + 4, (uint32_t)sum);
        buf_set_u32(out, at + 8, (uint32_t)(sum >> 32));
    }
}

bool refusal_next(struct reader *r, struct refusal *out)
{
    uint32_t len = reader_left(r) >= HEAD_BYTES ? reader_u32(r) : 0;
    if (len < 8 || len > reader_left(r)) {
        return false;
    }
    uint64_t sum = reader_u64(r);
    const uint8_t *body = reader_raw(r, len - 8);
    struct reader b;
    if (body == NULL || hash64(body, len - 8) != sum) {
        return false;
    }
    reader_init(&b, body, len - 8);
    out->index = reader_varint(&b);
    out->position = (uint32_t)reader_varint(&b);
    out->time_ms = reader_varint(&b);
    out->digest = reader_u64(&b);
    out->code = reader_u8(&b);
    out->user = reader_bytes(&b);
    out->argv = reader_bytes(&b);
    return !b.failed && out->code > 0 && out->code < ERR_COUNT_;
}
