/* See rehearse_outcome.h. */
#include "policy/rehearse_outcome.h"

#include <string.h>

#include "base/hash.h"
#include "store/effect.h"

static int64_t seats_of(const struct place *places, uint32_t count)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        n += places[i].count;
    }
    return n;
}

static void add_shape(struct outcome *out, const struct effect *f)
{
    for (uint32_t i = 0; i < f->places_count; i++) {
        const struct place *p = &f->places[i];
        uint64_t type = f->types != NULL ? hash64(f->types[i].data, f->types[i].len) : p->type;
        out->shape += hash_mix(hash_mix(p->event, p->number), hash_mix(p->count, type));
    }
}

/* The newest is nearly always the one. An order that is live before the transaction begins with
 * what it has: o->s must be the state before. Valid until the next call. */
static struct bill *bill_of(struct outcome_reader *o, struct span id)
{
    struct bill *bills = (void *)o->bills.data;
    uint64_t order = hash64(id.data, id.len);
    for (size_t i = o->bills.len / sizeof *bills; i > 0; i--) {
        if (bills[i - 1].order == order) {
            return &bills[i - 1];
        }
    }
    const struct order *now = store_order(o->s, id);
    struct bill first = { .order = order, .counted = true };
    if (now != NULL && order_live(now)) {
        first = (struct bill){ order, seats_of(now->places, now->places_count), now->price, false };
    }
    buf_put(&o->bills, &first, sizeof first);
    if (o->bills.failed) {
        o->no_memory = true;
        o->spare = first;
        return &o->spare;
    }
    return (struct bill *)(void *)(o->bills.data + o->bills.len - sizeof first);
}

/* An effect says what the whole order comes to from then on: the difference counts. */
static void charge(struct outcome_reader *o, struct span id, int64_t seats, int64_t price,
                   struct outcome *out)
{
    struct bill *b = bill_of(o, id);
    out->seats += seats - b->seats;
    out->money += price - b->price;
    b->seats = seats;
    b->price = price;
}

/* A refused confirm loses the order: a confirm counts all of it. */
static void charge_whole(struct bill *b, struct outcome *out)
{
    if (!b->counted) {
        out->seats += b->seats;
        out->money += b->price;
        b->counted = true;
    }
}

static void charge_places(struct outcome_reader *o, const struct effect *f, struct outcome *out)
{
    int64_t before = bill_of(o, f->id)->price;
    charge(o, f->id, seats_of(f->places, f->places_count), f->price, out);
    if (f->id2.len > 0) { /* an exchange keeps the sum of both */
        struct bill other = *bill_of(o, f->id2);
        charge(o, f->id2, other.seats, other.price + before - f->price, out);
    }
}

/* What is given back, or becomes an order of its own, does not count: only what a hook makes of the
 * price afterwards. */
static void give_back(struct outcome_reader *o, const struct effect *f)
{
    struct bill *b = bill_of(o, f->id);
    if (f->kind == EFFECT_SPLIT) {
        b->price -= f->price;
        bill_of(o, f->id2)->price = f->price;
    } else if (f->places_count == 0) {
        b->price = 0;
    }
}

void outcome_add(struct outcome_reader *o, struct span effects, struct outcome *out)
{
    struct reader r;
    struct effect f;
    struct error e;
    error_clear(&e);
    buf_clear(&o->bills);
    reader_init(&r, effects.data, effects.len);
    while (reader_left(&r) > 0 && effect_decode(&r, &f, &o->scratch, &e) == 0) {
        switch (f.kind) {
        case EFFECT_TAKE:
        case EFFECT_RESEAT:
            add_shape(out, &f);
            charge_places(o, &f, out);
            out->hold_ms = f.until_ms > out->hold_ms ? f.until_ms : out->hold_ms;
            break;
        case EFFECT_AMEND:
            if (f.set & SET_PRICE) {
                charge(o, f.id, bill_of(o, f.id)->seats, f.price, out);
            }
            break;
        case EFFECT_CONFIRM: charge_whole(bill_of(o, f.id), out); break;
        case EFFECT_EXTEND: out->hold_ms = f.until_ms; break;
        case EFFECT_FINISH:
        case EFFECT_SPLIT:
            out->shape += hash_mix((uint64_t)f.kind, f.places_count);
            give_back(o, &f);
            break;
        default: break;
        }
    }
}

/* The member `"rule":"..."`. */
static void read_rule(const struct buf *fields, char out[RULE_BYTES])
{
    static const char key[] = "\"rule\":\"";
    const char *at =
        fields->len == 0 ? NULL : memmem(fields->data, fields->len, key, sizeof key - 1);
    out[0] = 0;
    if (at == NULL) {
        return;
    }
    at += sizeof key - 1;
    const char *end = (const char *)fields->data + fields->len;
    size_t n = 0;
    while (at < end && *at != '"' && n + 1 < RULE_BYTES) {
        out[n++] = *at++;
    }
    out[n] = 0;
}

void outcome_refuse(struct outcome *out, int code, const char *message, const struct buf *fields)
{
    out->code = code;
    read_rule(fields, out->rule);
    (void)memcpy(out->message, message, sizeof out->message);
}

void outcome_reader_free(struct outcome_reader *o)
{
    buf_free(&o->scratch);
    buf_free(&o->bills);
}
