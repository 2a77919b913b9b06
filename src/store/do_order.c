/* Effects on one order that exists: confirm, extend, finish, reseat, amend, drop; and what
 * all effects on orders share.
 *
 * Each looks first, then builds the order's next version and hands it to
 * change_order. What is refused is refused with the order, or the seat and its state,
 * never with the customer who has it. A hold whose time has come (expires_ms <= now)
 * can only be finished (S5). */
#include "store/do_order.h"

#include <string.h>

#include "base/text.h"

int no_order(struct span id, struct error *e)
{
    return error_set(e, ERR_NOTFOUND, "order %.*s does not exist", (int)id.len, id.data);
}

int touch_event(struct store *s, struct event_object *ev, bool sold, struct error *e)
{
    sold |= ev->sold;
    if (ev->pub.index == s->index && ev->sold == sold) {
        return 0;
    }
    if (!undo_reserve(s, 1)) {
        return no_memory(e);
    }
    change(s, (struct undo){ .kind = UNDO_TOUCH,
                             .flags_old = ev->sold,
                             .flags_new = sold,
                             .number = ev->pub.number,
                             .old.u = ev->pub.index,
                             .new.u = s->index });
    return 0;
}

static int touch_events(struct store *s, const struct order *o, struct error *e)
{
    int rc = 0;
    for (uint32_t i = 0; o != NULL && i < o->places_count && rc == 0; i++) {
        struct event_object *ev = event_at(s, o->places[i].event);
        bool again = i > 0 && o->places[i].event == o->places[i - 1].event;
        rc = ev == NULL || again ? 0 : touch_event(s, ev, true, e);
    }
    return rc;
}

static bool seats_differ(const struct order *a, const struct order *b)
{
    if (a == NULL || b == NULL) {
        const struct order *o = a != NULL ? a : b;
        return o != NULL && order_live(o);
    }
    return a->status != b->status || a->places_count != b->places_count ||
           memcmp(a->places, b->places, sizeof(struct place) * a->places_count) != 0;
}

int change_order(struct store *s, uint32_t slot, struct order *to, struct error *e)
{
    struct order *from = record_at(s, slot)->v;
    if (!order_reserve(s, to) || !undo_reserve(s, 1)) {
        order_free(s, to);
        if (from == NULL) {
            pool_put(&s->records, slot);
        }
        return no_memory(e);
    }
    change(s, (struct undo){ .kind = UNDO_ORDER, .number = slot, .old.p = from, .new.p = to });
    if (!seats_differ(from, to)) {
        return 0;
    }
    int rc = touch_events(s, from, e);
    return rc != 0 ? rc : touch_events(s, to, e);
}

uint32_t order_slot(struct store *s)
{
    if (!pool_reserve(&s->records, 1)) {
        return 0;
    }
    uint32_t slot = pool_get(&s->records);
    record_at(s, slot)->serial = s->next_serial & SERIAL_MAX;
    return slot;
}

/* The next version of an order: as it is, changed now. NULL: out of memory. */
static struct order *next_version(struct store *s, const struct order *o, struct span metadata)
{
    struct order *to =
        order_make(s, o, order_id(o), customer_of(o), o->places, o->places_count, metadata);
    if (to != NULL) {
        stamp(s, to);
    }
    return to;
}

/* ---- Checks that several effects share -------------------------------------------------- */

int check_id(struct span id, const char *what, struct error *e)
{
    if (!text_is_id(id)) {
        return error_set(e, ERR_BADARG, "%s is not a valid id", what);
    }
    return 0;
}

int check_json(struct span text, const char *what, struct error *e)
{
    if (text.len > JSON_TEXT_BYTES_MAX) {
        return error_set(e, ERR_TOOBIG, "%s of %zu bytes; at most %d", what, text.len,
                         JSON_TEXT_BYTES_MAX);
    }
    return 0;
}

int check_price(int64_t price, struct error *e)
{
    if (price > PRICE_MAX || price < -PRICE_MAX) {
        return error_set(e, ERR_BADARG, "the price is out of range");
    }
    return 0;
}

int check_fresh(const struct store *s, struct span id, struct error *e)
{
    int rc = check_id(id, "the order's id", e);
    if (rc == 0 && order_find(s, id) != 0) {
        rc = error_set(e, ERR_CONFLICT, "order %.*s exists already", (int)id.len, id.data);
    }
    return rc;
}

int check_live(const struct store *s, const struct order *o, struct error *e)
{
    struct span id = order_id(o);
    if (o->status == ORDER_EXPIRED || (o->status == ORDER_HELD && o->expires_ms <= s->time_ms)) {
        return error_set(e, ERR_EXPIRED, "the hold of order %.*s has expired", (int)id.len,
                         id.data);
    }
    if (!order_live(o)) {
        return error_set(e, ERR_CONFLICT, "order %.*s is %s", (int)id.len, id.data,
                         order_status_name(o->status));
    }
    return 0;
}

int check_until(const struct store *s, uint64_t until_ms, struct error *e)
{
    if (until_ms <= s->time_ms) {
        return error_set(e, ERR_BADARG, "the hold would end before it begins");
    }
    return 0;
}

/* An order's total is one sum, so its events must count in one currency; and a closed
 * event lets nothing new in. */
int check_events(const struct store *s, const struct place *places, uint32_t count,
                 bool must_be_open, struct error *e)
{
    const struct event *first = NULL;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && places[i].event == places[i - 1].event) {
            continue;
        }
        const struct event *ev = store_event_number(s, places[i].event);
        if (ev == NULL) {
            return error_set(e, ERR_NOTFOUND, "no event has number %u", places[i].event);
        }
        if (must_be_open && !ev->open) {
            return error_set(e, ERR_DENIED, "event %.*s is closed", (int)ev->id.len, ev->id.data);
        }
        if (ev->currency.len == 0) {
            continue;
        }
        if (first != NULL && !span_eq(first->currency, ev->currency)) {
            return error_set(e, ERR_CONFLICT, "events %.*s and %.*s have different currencies",
                             (int)first->id.len, first->id.data, (int)ev->id.len, ev->id.data);
        }
        first = ev;
    }
    return 0;
}

/* ---- Parties: the places of an effect, ticket types as numbers --------------------------- */

void party_free(struct store *s, struct party *p)
{
    slab_free(&s->slab, p->own, sizeof *p->own * p->count);
    p->own = NULL;
}

int party_init(struct store *s, const struct effect *f, struct party *p, struct error *e)
{
    *p = (struct party){ f->places, f->places_count, NULL };
    if (p->count > ORDER_SEATS_MAX) {
        return error_set(e, ERR_TOOBIG, "%u places in one order; at most %d", p->count,
                         ORDER_SEATS_MAX);
    }
    int rc = 0;
    for (uint32_t i = 0; i < p->count && rc == 0; i++) {
        rc = check_price(f->places[i].price, e);
        if (rc == 0 && f->types == NULL && f->places[i].type >= s->names_len) {
            rc = error_set(e, ERR_BADARG, "no ticket type has number %u", f->places[i].type);
        }
    }
    if (rc != 0 || f->types == NULL || p->count == 0) {
        return rc;
    }
    p->own = slab_alloc(&s->slab, sizeof *p->own * p->count);
    if (p->own == NULL) {
        return no_memory(e);
    }
    memcpy(p->own, f->places, sizeof *p->own * p->count);
    p->places = p->own;
    for (uint32_t i = 0; i < p->count && rc == 0; i++) {
        rc = intern_name(s, f->types[i], &p->own[i].type, e);
    }
    if (rc != 0) {
        party_free(s, p);
    }
    return rc;
}

/* ---- The hold and its end ------------------------------------------------------------------ */

static int find_held(struct store *s, struct span id, uint32_t *slot, struct error *e)
{
    *slot = order_find(s, id);
    if (*slot == 0) {
        return no_order(id, e);
    }
    const struct order *o = record_at(s, *slot)->v;
    int rc = check_live(s, o, e);
    if (rc == 0 && o->status == ORDER_BOOKED) {
        rc = error_set(e, ERR_CONFLICT, "order %.*s is booked already", (int)id.len, id.data);
    }
    return rc;
}

int do_confirm(struct store *s, const struct effect *f, struct error *e)
{
    uint32_t slot;
    int rc = find_held(s, f->id, &slot, e);
    if (rc != 0) {
        return rc;
    }
    const struct order *o = record_at(s, slot)->v;
    struct order *to = next_version(s, o, order_metadata(o));
    if (to == NULL) {
        return no_memory(e);
    }
    to->status = ORDER_BOOKED;
    to->expires_ms = 0;
    return change_order(s, slot, to, e);
}

int do_extend(struct store *s, const struct effect *f, struct error *e)
{
    uint32_t slot;
    int rc = find_held(s, f->id, &slot, e);
    rc = rc != 0 ? rc : check_until(s, f->until_ms, e);
    if (rc != 0) {
        return rc;
    }
    const struct order *o = record_at(s, slot)->v;
    struct order *to = next_version(s, o, order_metadata(o));
    if (to == NULL) {
        return no_memory(e);
    }
    to->expires_ms = f->until_ms;
    return change_order(s, slot, to, e);
}

static int check_finish(const struct order *o, int code, struct error *e)
{
    struct span id = order_id(o);
    if (code < ORDER_RELEASED || code > ORDER_EXPIRED) {
        return error_set(e, ERR_BADARG, "an order cannot end as %s", order_status_name(code));
    }
    if (!order_live(o)) {
        return error_set(e, o->status == ORDER_EXPIRED ? ERR_EXPIRED : ERR_CONFLICT,
                         "order %.*s is %s already", (int)id.len, id.data,
                         order_status_name(o->status));
    }
    if (o->status == ORDER_BOOKED && code != ORDER_CANCELLED) {
        return error_set(e, ERR_CONFLICT, "order %.*s is booked, so it can only be cancelled",
                         (int)id.len, id.data);
    }
    return 0;
}

int do_finish(struct store *s, const struct effect *f, struct error *e)
{
    uint32_t slot = order_find(s, f->id);
    if (slot == 0) {
        return no_order(f->id, e);
    }
    const struct order *o = record_at(s, slot)->v;
    int rc = check_finish(o, f->code, e);
    if (rc != 0) {
        return rc;
    }
    struct parts parts = { 0 };
    if (f->places_count > 0) {
        rc = parts_init(s, o, f, &parts, e);
        if (rc != 0) {
            return rc;
        }
    }
    struct order *to;
    if (parts.kept_count > 0) {
        to = order_make(s, o, order_id(o), customer_of(o), parts.kept, parts.kept_count,
                        order_metadata(o));
    } else {
        to = next_version(s, o, order_metadata(o));
    }
    if (to == NULL) {
        rc = no_memory(e);
    } else {
        stamp(s, to);
        to->price = o->price - (parts.kept_count > 0 ? parts.taken_price : 0);
        to->status = parts.kept_count > 0 ? o->status : (uint8_t)f->code;
        to->expires_ms = parts.kept_count > 0 ? o->expires_ms : 0;
        rc = change_order(s, slot, to, e);
    }
    parts_free(s, &parts);
    return rc;
}

int do_reseat(struct store *s, const struct effect *f, struct error *e)
{
    if (f->id2.len > 0) {
        return do_exchange(s, f, e);
    }
    struct party p;
    uint32_t slot = order_find(s, f->id);
    if (slot == 0) {
        return no_order(f->id, e);
    }
    const struct order *o = record_at(s, slot)->v;
    int rc = check_live(s, o, e);
    rc = rc != 0 ? rc : check_price(f->price, e);
    rc = rc != 0 ? rc : check_events(s, f->places, f->places_count, false, e);
    rc = rc != 0 ? rc : places_check(s, slot, f->places, f->places_count, f->overbook, e);
    rc = rc != 0 ? rc : party_init(s, f, &p, e);
    if (rc != 0) {
        return rc;
    }
    struct order *to =
        order_make(s, o, order_id(o), customer_of(o), p.places, p.count, order_metadata(o));
    if (to == NULL) {
        rc = no_memory(e);
    } else {
        stamp(s, to);
        to->price = f->price;
        to->policy = f->version;
        to->unjudged = f->unjudged;
        to->overbook |= f->overbook;
        rc = change_order(s, slot, to, e);
    }
    party_free(s, &p);
    return rc;
}

int do_amend(struct store *s, const struct effect *f, struct error *e)
{
    uint32_t slot = order_find(s, f->id);
    if (slot == 0) {
        return no_order(f->id, e);
    }
    const struct order *o = record_at(s, slot)->v;
    bool metadata = (f->set & SET_METADATA) != 0;
    int rc = metadata ? check_json(f->text, "metadata", e) : 0;
    rc = rc != 0 || !(f->set & SET_PRICE) ? rc : check_price(f->price, e);
    if (rc != 0) {
        return rc;
    }
    struct order *to = next_version(s, o, metadata ? f->text : order_metadata(o));
    if (to == NULL) {
        return no_memory(e);
    }
    to->price = f->set & SET_PRICE ? f->price : o->price;
    return change_order(s, slot, to, e);
}

int do_order_drop(struct store *s, const struct effect *f, struct error *e)
{
    uint32_t slot = order_find(s, f->id);
    if (slot == 0) {
        return no_order(f->id, e);
    }
    const struct order *o = record_at(s, slot)->v;
    if (order_live(o)) {
        return error_set(e, ERR_CONFLICT, "order %.*s is %s; only an ended order can be dropped",
                         (int)f->id.len, f->id.data, order_status_name(o->status));
    }
    return change_order(s, slot, NULL, e);
}
