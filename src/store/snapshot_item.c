/* The objects of a snapshot as bytes: each put beside its get. */
#include <string.h>

#include "store/snapshot.h"

uint64_t snapshot_checksum(const void *data, size_t len, uint64_t before)
{
    return hash64_seed(data, len, before);
}

void meta_put(struct buf *out, const struct snapshot_meta *m)
{
    buf_put_u64(out, m->time_ms);
    buf_put_u64(out, m->index);
    buf_put_u64(out, m->next_serial);
    buf_put_u64(out, m->digest);
    buf_put_u32(out, m->next_event);
}

bool meta_get(struct reader *r, struct snapshot_meta *m)
{
    m->time_ms = reader_u64(r);
    m->index = reader_u64(r);
    m->next_serial = reader_u64(r);
    m->digest = reader_u64(r);
    m->next_event = reader_u32(r);
    return !r->failed && reader_left(r) == 0 && m->next_serial > 0 &&
           m->next_serial <= SERIAL_MAX && m->next_event > 0 && m->next_event <= EVENT_NUMBER_MAX;
}

void item_put_name(struct buf *out, const struct name *n)
{
    buf_put_u8(out, ITEM_NAME);
    buf_put_bytes(out, n->text, n->len);
}

void item_put_record(struct buf *out, const struct blob_object *b)
{
    buf_put_u8(out, ITEM_RECORD);
    buf_put_span(out, b->node.key);
    buf_put_bytes(out, b->text + b->node.key.len, b->len);
}

void item_put_kv(struct buf *out, const struct kv_node *n)
{
    buf_put_u8(out, ITEM_KV);
    buf_put_span(out, n->node.key);
    buf_put_bytes(out, n->text + n->node.key.len, n->value_len);
}

/* ---- Events ------------------------------------------------------------------------ */

void item_put_event(struct buf *out, const struct event_object *ev)
{
    buf_put_u8(out, ITEM_EVENT);
    buf_put_varint(out, ev->pub.number);
    buf_put_u8(out, (uint8_t)(ev->pub.open | ev->sold << 1));
    buf_put_varint(out, ev->pub.index);
    buf_put_span(out, ev->pub.id);
    buf_put_span(out, ev->pub.chart_id);
    buf_put_span(out, ev->pub.attributes);
    buf_put_span(out, ev->pub.ruleset);
    buf_put_span(out, ev->pub.currency);
}

bool item_get_event(struct reader *r, struct event_item *out)
{
    uint64_t number = reader_varint(r);
    uint8_t flags = reader_u8(r);
    out->index = reader_varint(r);
    out->id = reader_bytes(r);
    out->chart = reader_bytes(r);
    out->attributes = reader_bytes(r);
    out->ruleset = reader_bytes(r);
    out->currency = reader_bytes(r);
    out->open = flags & 1;
    out->sold = (flags & 2) != 0;
    out->number = (uint32_t)number;
    return !r->failed && flags < 4 && number > 0 && number < EVENT_NUMBER_MAX;
}

bool item_put_blocked(struct buf *out, const struct event_object *ev, uint32_t first, uint32_t end)
{
    const uint32_t *words = ev->body->seats;
    uint32_t n = 0;
    for (uint32_t i = first; i < end; i++) {
        n += word_status(words[i]) == SEAT_BLOCKED;
    }
    if (n == 0) {
        return false;
    }
    buf_put_u8(out, ITEM_BLOCKED);
    buf_put_varint(out, ev->pub.number);
    buf_put_varint(out, n);
    for (uint32_t i = first; i < end; i++) {
        if (word_status(words[i]) == SEAT_BLOCKED) {
            buf_put_varint(out, i);
            buf_put_varint(out, words[i] & WORD_MASK);
        }
    }
    return true;
}

/* ---- Orders ------------------------------------------------------------------------ */

void item_put_order(struct buf *out, const struct order *o, uint64_t serial)
{
    buf_put_u8(out, ITEM_ORDER);
    buf_put_varint(out, serial);
    buf_put_u8(out, (uint8_t)(o->status | o->unjudged << 4 | o->overbook << 5));
    buf_put_varint(out, o->expires_ms);
    buf_put_varint(out, o->first_held_ms);
    buf_put_varint(out, o->changed_ms);
    buf_put_varint(out, o->index);
    buf_put_svarint(out, o->price);
    buf_put_varint(out, o->policy);
    buf_put_span(out, order_id(o));
    buf_put_span(out, order_customer(o));
    buf_put_span(out, order_metadata(o));
    buf_put_varint(out, o->places_count);
    for (uint32_t i = 0; i < o->places_count; i++) {
        const struct place *p = &o->places[i];
        buf_put_varint(out, p->event);
        buf_put_varint(out, p->number);
        buf_put_varint(out, p->count);
        buf_put_varint(out, p->type);
        buf_put_svarint(out, p->price);
    }
}

static uint32_t get_u32(struct reader *r)
{
    uint64_t v = reader_varint(r);
    r->failed |= v > UINT32_MAX;
    return (uint32_t)v;
}

bool item_get_order(struct reader *r, struct order_item *out)
{
    out->serial = reader_varint(r);
    uint8_t flags = reader_u8(r);
    out->status = flags & 15;
    out->unjudged = flags >> 4 & 1;
    out->overbook = flags >> 5 & 1;
    out->expires_ms = reader_varint(r);
    out->first_held_ms = reader_varint(r);
    out->changed_ms = reader_varint(r);
    out->index = reader_varint(r);
    out->price = reader_svarint(r);
    out->policy = get_u32(r);
    out->id = reader_bytes(r);
    out->customer = reader_bytes(r);
    out->metadata = reader_bytes(r);
    out->places_count = get_u32(r);
    return !r->failed && flags < 64 && out->status <= ORDER_EXPIRED &&
           out->places_count <= ORDER_SEATS_MAX &&
           (out->expires_ms != 0) == (out->status == ORDER_HELD);
}

bool place_get(struct reader *r, struct place *p)
{
    p->event = get_u32(r);
    p->number = get_u32(r);
    p->count = get_u32(r);
    p->type = get_u32(r);
    p->price = reader_svarint(r);
    return !r->failed && p->count > 0 && p->count <= ORDER_SEATS_MAX;
}

/* ---- Results ------------------------------------------------------------------------ */

void item_put_result(struct buf *out, const struct result_entry *r)
{
    buf_put_u8(out, ITEM_RESULT);
    for (int i = 0; i < 4; i++) {
        buf_put_u32(out, r->key[i]);
    }
    buf_put_u32(out, r->args[0]);
    buf_put_u32(out, r->args[1]);
    buf_put_varint(out, result_index(r));
    buf_put_varint(out, result_time(r));
    buf_put_u16(out, r->code);
    buf_put_varint(out, r->serial[0]);
    buf_put_varint(out, r->serial[1]);
}

bool item_get_result(struct reader *r, struct result_entry *out)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < 4; i++) {
        out->key[i] = reader_u32(r);
    }
    out->args[0] = reader_u32(r);
    out->args[1] = reader_u32(r);
    uint64_t index = reader_varint(r), time = reader_varint(r);
    out->index_low = (uint32_t)index;
    out->index_high = (uint16_t)(index >> 32);
    out->time_low = (uint32_t)time;
    out->time_high = (uint16_t)(time >> 32);
    out->code = reader_u16(r);
    out->serial[0] = get_u32(r);
    out->serial[1] = get_u32(r);
    return !r->failed && index >> 48 == 0 && time >> 48 == 0;
}
