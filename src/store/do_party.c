/* Effects that divide an order or pass many to someone else: split, forget; and how
 * an order's places are divided. */
#include <string.h>

#include "store/do_order.h"

void parts_free(struct store *s, struct parts *p)
{
    slab_free(&s->slab, p->kept, p->bytes);
    p->kept = NULL;
}

static int not_there(const struct store *s, const struct order *o, const struct place *want,
                     struct error *e)
{
    const struct event *ev = store_event_number(s, want->event);
    struct span id = order_id(o), label = span_make("?", 1);
    uint32_t number = want->number & ~PLACE_AREA;
    if (ev != NULL && (want->number & PLACE_AREA) && number < chart_areas(ev->chart)) {
        label = chart_area(ev->chart, number).name;
    } else if (ev != NULL && !(want->number & PLACE_AREA) && number < chart_seats(ev->chart)) {
        label = chart_label(ev->chart, number);
    }
    return error_set(e, ERR_NOTFOUND, "order %.*s does not hold %.*s%s", (int)id.len, id.data,
                     (int)label.len, label.data,
                     want->number & PLACE_AREA ? " as often as that" : "");
}

/* Moves up to `count` of place `from` to the taken ones; its share of the price goes along. */
static void move_part(struct parts *p, struct place *from, uint32_t count)
{
    struct place *to = &p->taken[p->taken_count++];
    *to = *from;
    to->count = count;
    to->price = place_share(from, count);
    from->count -= count;
    from->price -= to->price;
    p->taken_price += to->price;
}

static int take_part(const struct store *s, const struct order *o, struct parts *p,
                     const struct place *want, struct error *e)
{
    uint32_t left = want->count;
    for (uint32_t i = 0; i < o->places_count && left > 0; i++) {
        struct place *from = &p->kept[i];
        if (from->event == want->event && from->number == want->number && from->count > 0) {
            uint32_t count = left < from->count ? left : from->count;
            move_part(p, from, count);
            left -= count;
        }
    }
    return left > 0 || want->count == 0 ? not_there(s, o, want, e) : 0;
}

int parts_init(struct store *s, const struct order *o, const struct effect *f, struct parts *p,
               struct error *e)
{
    memset(p, 0, sizeof *p);
    if (f->places_count > ORDER_SEATS_MAX) {
        return error_set(e, ERR_TOOBIG, "%u places of one order; at most %d", f->places_count,
                         ORDER_SEATS_MAX);
    }
    uint32_t room = o->places_count * 2u + f->places_count;
    p->bytes = sizeof(struct place) * room;
    p->kept = slab_alloc(&s->slab, p->bytes);
    if (p->kept == NULL) {
        return no_memory(e);
    }
    p->taken = p->kept + o->places_count;
    memcpy(p->kept, o->places, sizeof(struct place) * o->places_count);
    int rc = 0;
    for (uint32_t i = 0; i < f->places_count && rc == 0; i++) {
        rc = take_part(s, o, p, &f->places[i], e);
    }
    if (rc != 0) {
        parts_free(s, p);
        return rc;
    }
    for (uint32_t i = 0; i < o->places_count; i++) {
        if (p->kept[i].count > 0) {
            p->kept[p->kept_count++] = p->kept[i];
        }
    }
    return 0;
}

static int split_off(struct store *s, const struct order *o, uint32_t slot, const struct effect *f,
                     const struct parts *p, struct error *e)
{
    struct span metadata = order_metadata(o);
    struct order *rest =
        order_make(s, o, order_id(o), customer_of(o), p->kept, p->kept_count, metadata);
    struct order *fresh =
        order_make(s, o, f->id2, customer_of(o), p->taken, p->taken_count, metadata);
    uint32_t fresh_slot = rest != NULL && fresh != NULL ? order_slot(s) : 0;
    if (fresh_slot == 0) {
        order_free(s, rest);
        order_free(s, fresh);
        return no_memory(e);
    }
    stamp(s, rest);
    stamp(s, fresh);
    rest->price = o->price - f->price;
    fresh->price = f->price;
    int rc = change_order(s, slot, rest, e);
    if (rc != 0) {
        order_free(s, fresh);
        pool_put(&s->records, fresh_slot);
        return rc;
    }
    return change_order(s, fresh_slot, fresh, e);
}

int do_split(struct store *s, const struct effect *f, struct error *e)
{
    uint32_t slot = order_find(s, f->id);
    if (slot == 0) {
        return no_order(f->id, e);
    }
    const struct order *o = record_at(s, slot)->v;
    int rc = check_live(s, o, e);
    rc = rc != 0 ? rc : check_fresh(s, f->id2, e);
    rc = rc != 0 ? rc : check_price(f->price, e);
    if (rc == 0 && f->places_count == 0) {
        rc = error_set(e, ERR_BADARG, "a split needs the seats of the new order");
    }
    struct parts p;
    rc = rc != 0 ? rc : parts_init(s, o, f, &p, e);
    if (rc != 0) {
        return rc;
    }
    if (p.kept_count == 0) {
        rc = error_set(e, ERR_BADARG, "a split must leave a seat in order %.*s", (int)f->id.len,
                       f->id.data);
    } else if (p.taken_count > ORDER_SEATS_MAX) {
        rc = error_set(e, ERR_TOOBIG, "too many places in one order; at most %d", ORDER_SEATS_MAX);
    } else {
        rc = split_off(s, o, slot, f, &p, e);
    }
    parts_free(s, &p);
    return rc;
}

/* ---- Forget --------------------------------------------------------------------------- */

static int forget_all(struct store *s, struct customer *from, struct customer *to, struct error *e)
{
    int rc = 0;
    while (rc == 0 && from->first != 0) {
        uint32_t slot = from->first;
        const struct order *o = record_at(s, slot)->v;
        struct order *v =
            order_make(s, o, order_id(o), to, o->places, o->places_count, span_make("", 0));
        if (v == NULL) {
            return no_memory(e);
        }
        v->index = s->index;
        rc = change_order(s, slot, v, e);
    }
    return rc;
}

int do_forget(struct store *s, const struct effect *f, struct error *e)
{
    struct customer *from = customer_find(s, f->id);
    if (from == NULL || from->first == 0) {
        return error_set(e, ERR_NOTFOUND, "customer %.*s has no orders", (int)f->id.len,
                         f->id.data);
    }
    int rc = check_id(f->id2, "the customer's new id", e);
    const struct customer *known = rc == 0 ? customer_find(s, f->id2) : NULL;
    if (known != NULL && known->first != 0) {
        rc = error_set(e, ERR_CONFLICT, "the customer's new id is in use");
    }
    if (rc != 0) {
        return rc;
    }
    struct customer *to = customer_intern(s, f->id2);
    if (to == NULL) {
        return no_memory(e);
    }
    rc = forget_all(s, from, to, e);
    customer_unref(s, to);
    return rc;
}
