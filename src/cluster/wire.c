/* See wire.h. Encoders never fail but by memory (buf.failed); decoders accept exactly
 * what the encoders write. */
#include "cluster/wire.h"

void wire_put_hello(struct buf *b, const struct wire_hello *h)
{
    buf_put_u8(b, WIRE_HELLO);
    buf_put_u8(b, h->state);
    buf_put_u8(b, h->known);
    buf_put_u8(b, h->answer ? 1 : 0);
    buf_put_u64(b, h->cluster_id);
    buf_put_u64(b, h->founder_id);
    buf_put_varint(b, h->nodes_count);
    for (unsigned i = 0; i < h->nodes_count; i++) {
        buf_put_span(b, h->nodes[i]);
    }
}

int wire_get_hello(struct reader *r, struct wire_hello *h)
{
    h->state = reader_u8(r);
    h->known = reader_u8(r);
    h->answer = reader_u8(r) != 0;
    h->cluster_id = reader_u64(r);
    h->founder_id = reader_u64(r);
    uint64_t n = reader_varint(r);
    if (r->failed || n > CLUSTER_MEMBERS_MAX || h->state > HELLO_MEMBER ||
        h->known > HELLO_CONFIG) {
        return ERR_CORRUPT;
    }
    h->nodes_count = (unsigned)n;
    for (unsigned i = 0; i < h->nodes_count; i++) {
        h->nodes[i] = reader_bytes(r);
        if (r->failed || h->nodes[i].len == 0 || h->nodes[i].len > ADDRESS_BYTES_MAX) {
            return ERR_CORRUPT;
        }
    }
    return reader_left(r) == 0 ? 0 : ERR_CORRUPT;
}

void wire_put_snapshot(struct buf *b, const struct wire_snapshot *s)
{
    buf_put_u8(b, WIRE_SNAP_BEGIN);
    buf_put_u64(b, s->transfer);
    buf_put_u64(b, s->raft_term);
    buf_put_u64(b, s->index);
    buf_put_u64(b, s->term);
    buf_put_u64(b, s->bytes);
    buf_put_span(b, s->meta);
}

int wire_get_snapshot(struct reader *r, struct wire_snapshot *s)
{
    s->transfer = reader_u64(r);
    s->raft_term = reader_u64(r);
    s->index = reader_u64(r);
    s->term = reader_u64(r);
    s->bytes = reader_u64(r);
    s->meta = reader_bytes(r);
    if (r->failed || reader_left(r) != 0 || s->index == 0 || s->term == 0 ||
        s->term > s->raft_term) {
        return ERR_CORRUPT;
    }
    return 0;
}

void wire_put_change(struct buf *b, const struct wire_change *a)
{
    buf_put_u8(b, WIRE_CHANGE_ASK);
    buf_put_u64(b, a->id);
    buf_put_u64(b, a->timeout_ms);
    buf_put_u8(b, a->kind);
    buf_put_u8(b, (uint8_t)((a->force ? 1 : 0) | (a->cancel ? 2 : 0)));
    buf_put_span(b, a->address);
    buf_put_span(b, a->other);
}

int wire_get_change(struct reader *r, struct wire_change *a)
{
    a->id = reader_u64(r);
    a->timeout_ms = reader_u64(r);
    a->kind = reader_u8(r);
    uint8_t flags = reader_u8(r);
    a->force = (flags & 1) != 0;
    a->cancel = (flags & 2) != 0;
    a->address = reader_bytes(r);
    a->other = reader_bytes(r);
    bool fits = a->address.len <= ADDRESS_BYTES_MAX && a->other.len <= ADDRESS_BYTES_MAX;
    return !r->failed && reader_left(r) == 0 && fits && a->id != 0 ? 0 : ERR_CORRUPT;
}

void wire_put_change_state(struct buf *b, const struct wire_change_state *s)
{
    buf_put_u8(b, WIRE_CHANGE_STATE);
    buf_put_u64(b, s->id);
    buf_put_u8(b, s->stage);
    buf_put_u8(b, s->code);
    buf_put_u64(b, s->match);
    buf_put_u64(b, s->last);
    buf_put_u64(b, s->sent);
    buf_put_u64(b, s->total);
    buf_put_span(b, s->text);
    buf_put_span(b, s->hint);
}

int wire_get_change_state(struct reader *r, struct wire_change_state *s)
{
    s->id = reader_u64(r);
    s->stage = reader_u8(r);
    s->code = reader_u8(r);
    s->match = reader_u64(r);
    s->last = reader_u64(r);
    s->sent = reader_u64(r);
    s->total = reader_u64(r);
    s->text = reader_bytes(r);
    s->hint = reader_bytes(r);
    return !r->failed && reader_left(r) == 0 ? 0 : ERR_CORRUPT;
}

void wire_put_words(struct buf *b, enum wire_kind kind, unsigned n, uint64_t w0, uint64_t w1,
                    uint64_t w2)
{
    buf_put_u8(b, (uint8_t)kind);
    if (n > 0) {
        buf_put_u64(b, w0);
    }
    if (n > 1) {
        buf_put_u64(b, w1);
    }
    if (n > 2) {
        buf_put_u64(b, w2);
    }
}

bool wire_get_words(struct reader *r, unsigned n, uint64_t *w)
{
    for (unsigned i = 0; i < n; i++) {
        w[i] = reader_u64(r);
    }
    return !r->failed && reader_left(r) == 0;
}
