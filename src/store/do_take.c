/* The effect that makes an order, and the late confirm, which makes one more version of an
 * expired order. The hottest path of the store: it allocates the order, and a customer who is
 * not known yet. */
#include "store/do_order.h"

static void fill_take(const struct store *s, const struct effect *f, struct order *o)
{
    stamp(s, o);
    o->status = f->until_ms != 0 ? ORDER_HELD : ORDER_BOOKED;
    o->expires_ms = f->until_ms;
    o->price = f->price;
    o->policy = f->version;
    o->unjudged = f->unjudged;
    o->overbook |= f->overbook;
}

static int take_new(struct store *s, const struct effect *f, const struct party *p, struct error *e)
{
    struct customer *customer = customer_intern(s, f->customer);
    if (customer == NULL) {
        return no_memory(e);
    }
    struct order *o = order_make(s, NULL, f->id, customer, p->places, p->count, f->text);
    customer_unref(s, customer); /* the order has its own reference */
    if (o == NULL) {
        return no_memory(e);
    }
    fill_take(s, f, o);
    o->first_held_ms = s->time_ms;
    uint32_t slot = order_slot(s);
    if (slot == 0) {
        order_free(s, o);
        return no_memory(e);
    }
    return change_order(s, slot, o, e);
}

static bool same_seats(const struct party *p, const struct order *o)
{
    bool same = p->count == o->places_count;
    for (uint32_t i = 0; same && i < p->count; i++) {
        const struct place *a = &p->places[i], *b = &o->places[i];
        same = a->event == b->event && a->number == b->number && a->count == b->count;
    }
    return same;
}

/* A late confirm: the same seats again, as one more version of the expired order. */
static int take_late(struct store *s, const struct effect *f, struct party *p, struct error *e)
{
    uint32_t slot = order_find(s, f->id);
    if (slot == 0) {
        return no_order(f->id, e);
    }
    const struct order *o = record_at(s, slot)->v;
    struct span id = order_id(o);
    if (o->status != ORDER_EXPIRED) {
        return error_set(e, ERR_CONFLICT, "order %.*s is %s, not expired", (int)id.len, id.data,
                         order_status_name(o->status));
    }
    if (f->customer.len > 0 && !span_eq(f->customer, order_customer(o))) {
        return error_set(e, ERR_CONFLICT, "order %.*s belongs to another customer", (int)id.len,
                         id.data);
    }
    if (p->count == 0) {
        p->places = o->places;
        p->count = o->places_count;
    } else if (!same_seats(p, o)) {
        return error_set(e, ERR_BADARG, "a late confirm takes the order's own seats again");
    }
    int rc = check_events(s, p->places, p->count, false, e);
    if (rc == 0) {
        rc = places_check(s, 0, p->places, p->count, f->overbook, e);
    }
    if (rc != 0) {
        return rc;
    }
    struct span metadata = f->text.len > 0 ? f->text : order_metadata(o);
    struct order *to = order_make(s, o, id, customer_of(o), p->places, p->count, metadata);
    if (to == NULL) {
        return no_memory(e);
    }
    fill_take(s, f, to);
    return change_order(s, slot, to, e);
}

/* A large store is mostly waiting for memory here, so ask for it all at once. */
void take_prefetch(const struct store *s, const struct effect *f)
{
    order_prefetch(s, f->id);
    customer_prefetch(s, f->customer);
    for (uint32_t i = 0; i < f->places_count && i < 8; i++) {
        const struct event_object *ev = event_at(s, f->places[i].event);
        uint32_t number = f->places[i].number;
        if (ev != NULL && number < chart_seats(ev->pub.chart)) {
            __builtin_prefetch(&ev->body->seats[number], 1);
        }
    }
}

int do_take(struct store *s, const struct effect *f, struct error *e)
{
    struct party p;
    take_prefetch(s, f);
    int rc = check_json(f->text, "metadata", e);
    rc = rc != 0 ? rc : check_price(f->price, e);
    rc = rc != 0 || f->until_ms == 0 ? rc : check_until(s, f->until_ms, e);
    if (rc == 0 && !f->late) {
        rc = check_fresh(s, f->id, e);
        rc = rc != 0 ? rc : check_id(f->customer, "the customer", e);
        rc = rc != 0 ? rc : check_events(s, f->places, f->places_count, true, e);
        rc = rc != 0 ? rc : places_check(s, 0, f->places, f->places_count, f->overbook, e);
    }
    rc = rc != 0 ? rc : party_init(s, f, &p, e);
    if (rc != 0) {
        return rc;
    }
    uint32_t count = p.count;
    rc = f->late ? take_late(s, f, &p, e) : take_new(s, f, &p, e);
    p.count = count;
    party_free(s, &p);
    return rc;
}
