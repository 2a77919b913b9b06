/* Orders of the naive model, see store_model.h. */
#include <string.h>

#include "lib/store_model_parts.h"

/* Why these places cannot be taken, those of order `own` (-1: none) being free. */
static uint64_t place_faults(const struct model *m, int own, const struct m_place *places,
                             uint32_t count, bool overbook)
{
    uint64_t faults = count == 0 ? BIT(ERR_BADARG) : 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct m_place *p = &places[i];
        const struct m_event *ev = model_event(m, p->event);
        bool area = (p->number & PLACE_AREA) != 0;
        uint32_t number = p->number & ~PLACE_AREA, same = 0;
        const struct m_layout *l = ev != NULL ? &m_layouts[ev->layout] : NULL;
        if (l == NULL || number >= (area ? l->areas : l->seats)) {
            faults |= BIT(ERR_NOTFOUND);
            continue;
        }
        for (uint32_t j = 0; j <= i; j++) {
            if (places[j].event == p->event && places[j].number == p->number) {
                same += places[j].count;
            }
        }
        if (area) {
            struct area_use use = model_area_without(m, ev, number, own);
            faults |= p->count == 0 ? BIT(ERR_BADARG) : 0;
            if (!overbook && use.held + use.booked + same > l->capacity[number]) {
                faults |= BIT(ERR_TAKEN);
            }
        } else {
            int order;
            bool free_seat = model_seat_without(m, ev, number, own, &order) == SEAT_FREE;
            faults |= (same > 1 ? BIT(ERR_BADARG) : 0) | (free_seat ? 0 : BIT(ERR_TAKEN));
        }
    }
    return faults;
}

/* Closed events, and events that count in different money. */
static uint64_t event_faults(const struct model *m, const struct m_place *places, uint32_t count,
                             bool must_be_open)
{
    uint64_t faults = 0;
    int currency = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct m_event *ev = model_event(m, places[i].event);
        if (ev == NULL) {
            faults |= BIT(ERR_NOTFOUND);
            continue;
        }
        faults |= must_be_open && !ev->open ? BIT(ERR_DENIED) : 0;
        faults |=
            ev->currency != 0 && currency != 0 && ev->currency != currency ? BIT(ERR_CONFLICT) : 0;
        currency = ev->currency != 0 ? ev->currency : currency;
    }
    return faults;
}

/* ---- Orders ----------------------------------------------------------------------- */

static void stamp(const struct model *m, struct m_order *o)
{
    o->changed = m->time;
    o->index = m->index;
}

void model_set_places(struct m_order *o, const struct m_place *places, uint32_t count)
{
    memset(o->places, 0, sizeof o->places);
    memcpy(o->places, places, sizeof *places * count);
    o->places_count = (uint8_t)count;
}

uint64_t model_take(struct model *m, const struct m_op *op)
{
    struct m_order *o = &m->orders[op->order];
    uint64_t faults = op->until != 0 && op->until <= m->time ? BIT(ERR_BADARG) : 0;
    const struct m_place *places = op->places;
    uint32_t count = op->places_count;
    if (!op->late) {
        faults |= o->used ? BIT(ERR_CONFLICT) : 0;
        faults |= event_faults(m, places, count, true);
    } else if (!o->used) {
        return faults | BIT(ERR_NOTFOUND);
    } else {
        faults |= o->status != ORDER_EXPIRED || o->customer != op->customer ? BIT(ERR_CONFLICT) : 0;
        if (count == 0) {
            places = o->places;
            count = o->places_count;
        }
        bool same = count == o->places_count;
        for (uint32_t i = 0; same && i < count; i++) {
            same = places[i].event == o->places[i].event &&
                   places[i].number == o->places[i].number && places[i].count == o->places[i].count;
        }
        faults |= (same ? 0 : BIT(ERR_BADARG)) | event_faults(m, places, count, false);
    }
    faults |= place_faults(m, -1, places, count, op->overbook);
    if (faults != 0) {
        return faults;
    }
    if (!op->late) {
        memset(o, 0, sizeof *o);
        o->used = true;
        o->customer = op->customer;
        o->first_held = m->time;
        o->serial = m->next_serial++;
    }
    if (!op->late || op->text != 0) {
        o->metadata = op->text;
    }
    o->status = op->until != 0 ? ORDER_HELD : ORDER_BOOKED;
    o->expires = op->until;
    o->price = op->price;
    o->policy = op->version;
    o->unjudged = op->unjudged;
    o->overbook |= op->overbook;
    stamp(m, o);
    struct m_place copy[M_PLACES];
    memcpy(copy, places, sizeof *places * count);
    model_set_places(o, copy, count);
    model_touch(m, o->places, count, true);
    return 0;
}

/* Is the order there and may it still be used? */
static uint64_t live_faults(const struct model *m, const struct m_order *o)
{
    if (!o->used) {
        return BIT(ERR_NOTFOUND);
    }
    if (o->status == ORDER_EXPIRED || (o->status == ORDER_HELD && o->expires <= m->time)) {
        return BIT(ERR_EXPIRED);
    }
    return model_live(o) ? 0 : BIT(ERR_CONFLICT);
}

uint64_t model_confirm_or_extend(struct model *m, const struct m_op *op)
{
    struct m_order *o = &m->orders[op->order];
    bool confirm = op->kind == EFFECT_CONFIRM;
    uint64_t faults = live_faults(m, o);
    faults |= o->used && o->status == ORDER_BOOKED ? BIT(ERR_CONFLICT) : 0;
    faults |= !confirm && op->until <= m->time ? BIT(ERR_BADARG) : 0;
    if (faults != 0) {
        return faults;
    }
    o->expires = confirm ? 0 : op->until;
    stamp(m, o);
    if (confirm) {
        o->status = ORDER_BOOKED;
        model_touch(m, o->places, o->places_count, true);
    }
    return 0;
}

/* Moves what `wants` names from kept to taken, first entries first; a part of an entry
 * takes its share of the price, rounded towards zero. False: not all is there. */
static bool divide(struct m_order *kept, struct m_order *taken, const struct m_place *wants,
                   uint32_t count)
{
    taken->places_count = 0;
    for (uint32_t w = 0; w < count; w++) {
        uint32_t left = wants[w].count;
        for (int i = 0; i < kept->places_count && left > 0; i++) {
            struct m_place *from = &kept->places[i];
            if (from->event != wants[w].event || from->number != wants[w].number ||
                from->count == 0) {
                continue;
            }
            struct m_place *to = &taken->places[taken->places_count++];
            *to = *from;
            to->count = left < from->count ? left : from->count;
            to->price = (int32_t)((int64_t)from->price * to->count / from->count);
            from->price -= to->price;
            from->count -= to->count;
            left -= to->count;
        }
        if (left > 0 || wants[w].count == 0) {
            return false;
        }
    }
    struct m_place rest[M_PLACES];
    uint32_t n = 0;
    for (int i = 0; i < kept->places_count; i++) {
        if (kept->places[i].count > 0) {
            rest[n++] = kept->places[i];
        }
    }
    model_set_places(kept, rest, n);
    return true;
}

uint64_t model_finish(struct model *m, const struct m_op *op)
{
    struct m_order *o = &m->orders[op->order];
    struct m_order kept = *o, taken = *o;
    bool part = false;
    uint64_t faults = op->code < ORDER_RELEASED || op->code > ORDER_EXPIRED ? BIT(ERR_BADARG) : 0;
    if (!o->used) {
        return faults | BIT(ERR_NOTFOUND);
    }
    if (!model_live(o)) {
        return faults | BIT(o->status == ORDER_EXPIRED ? ERR_EXPIRED : ERR_CONFLICT);
    }
    faults |= o->status == ORDER_BOOKED && op->code != ORDER_CANCELLED ? BIT(ERR_CONFLICT) : 0;
    if (op->places_count > 0) {
        faults |= divide(&kept, &taken, op->places, op->places_count) ? 0 : BIT(ERR_NOTFOUND);
        part = kept.places_count > 0;
    }
    if (faults != 0) {
        return faults;
    }
    model_touch(m, o->places, o->places_count, true);
    if (part) {
        for (int i = 0; i < taken.places_count; i++) {
            kept.price -= taken.places[i].price;
        }
        *o = kept;
    } else {
        o->status = (uint8_t)op->code;
        o->expires = 0;
    }
    stamp(m, o);
    return 0;
}

static bool same_spot(const struct m_place *a, const struct m_place *b)
{
    return a->event == b->event && a->number == b->number && a->count == b->count;
}

static uint32_t times_in(const struct m_place *list, uint32_t count, const struct m_place *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        n += same_spot(&list[i], p);
    }
    return n;
}

/* Numbered seats change hands, as many one way as the other; seats keep their prices. */
static uint64_t exchange(struct model *m, const struct m_op *op)
{
    struct m_order *a = &m->orders[op->order], *b = &m->orders[op->order2];
    uint64_t faults = live_faults(m, a) | live_faults(m, b) | (a == b ? BIT(ERR_BADARG) : 0);
    if (!a->used || !b->used || a == b) {
        return faults;
    }
    struct m_place second[2 * M_PLACES];
    uint32_t count = 0, given = 0, gained = 0;
    int64_t balance = 0;
    for (uint32_t i = 0; i < b->places_count; i++) {
        if (times_in(op->places, op->places_count, &b->places[i]) == 0 ||
            times_in(a->places, a->places_count, &b->places[i]) > 0) {
            second[count++] = b->places[i];
        } else {
            balance -= b->places[i].price;
            gained++;
        }
    }
    for (uint32_t i = 0; i < a->places_count; i++) {
        const struct m_place *own = &a->places[i];
        uint32_t kept = times_in(op->places, op->places_count, own);
        if (kept == 0) {
            faults |= own->number & PLACE_AREA ? BIT(ERR_BADARG) : 0;
            second[count++] = *own;
            balance += own->price;
            given++;
        } else if (kept != times_in(a->places, a->places_count, own)) {
            faults |= BIT(ERR_BADARG);
        }
    }
    for (uint32_t i = 0; i < op->places_count; i++) {
        const struct m_place *p = &op->places[i];
        uint32_t there = times_in(b->places, b->places_count, p);
        if (times_in(a->places, a->places_count, p) == 0 &&
            (p->number & PLACE_AREA || there == 0 ||
             times_in(op->places, op->places_count, p) != there)) {
            faults |= BIT(ERR_CONFLICT);
        }
    }
    bool even = gained == given && gained > 0 && op->places_count == a->places_count;
    faults |=
        even && op->price == a->price - balance && b->price + balance >= 0 ? 0 : BIT(ERR_BADARG);
    faults |= event_faults(m, op->places, op->places_count, false) & BIT(ERR_CONFLICT);
    faults |= event_faults(m, second, count, false) & BIT(ERR_CONFLICT);
    if (faults != 0) {
        return faults;
    }
    model_set_places(a, op->places, op->places_count);
    model_set_places(b, second, count);
    model_touch(m, a->places, a->places_count, true);
    model_touch(m, b->places, b->places_count, true);
    a->price -= balance;
    b->price += balance;
    a->policy = b->policy = op->version;
    a->unjudged = b->unjudged = op->unjudged;
    stamp(m, a);
    stamp(m, b);
    return 0;
}

uint64_t model_reseat(struct model *m, const struct m_op *op)
{
    if (op->exchange) {
        return exchange(m, op);
    }
    struct m_order *o = &m->orders[op->order];
    uint64_t faults = live_faults(m, o);
    faults |= event_faults(m, op->places, op->places_count, false);
    faults |= place_faults(m, op->order, op->places, op->places_count, op->overbook);
    if (faults != 0) {
        return faults;
    }
    bool same = o->places_count == op->places_count &&
                memcmp(o->places, op->places, sizeof *op->places * op->places_count) == 0;
    if (!same) { /* an order that stays where it is changes nothing for its events */
        model_touch(m, o->places, o->places_count, true);
        model_touch(m, op->places, op->places_count, true);
    }
    model_set_places(o, op->places, op->places_count);
    o->price = op->price;
    o->policy = op->version;
    o->unjudged = op->unjudged;
    o->overbook |= op->overbook;
    stamp(m, o);
    return 0;
}

uint64_t model_split(struct model *m, const struct m_op *op)
{
    struct m_order *o = &m->orders[op->order], *fresh = &m->orders[op->order2];
    uint64_t faults = live_faults(m, o);
    faults |= fresh->used ? BIT(ERR_CONFLICT) : 0;
    faults |= op->places_count == 0 ? BIT(ERR_BADARG) : 0;
    if (!o->used) {
        return faults;
    }
    struct m_order kept = *o, taken = *o;
    memset(taken.places, 0, sizeof taken.places);
    if (!divide(&kept, &taken, op->places, op->places_count)) {
        faults |= BIT(ERR_NOTFOUND);
    } else if (kept.places_count == 0) {
        faults |= BIT(ERR_BADARG);
    }
    if (faults != 0) {
        return faults;
    }
    model_touch(m, o->places, o->places_count, true);
    kept.price -= op->price;
    taken.price = op->price;
    taken.serial = m->next_serial++;
    stamp(m, &kept);
    stamp(m, &taken);
    *o = kept;
    *fresh = taken;
    return 0;
}

uint64_t model_amend_or_drop(struct model *m, const struct m_op *op)
{
    struct m_order *o = &m->orders[op->order];
    if (!o->used) {
        return BIT(ERR_NOTFOUND);
    }
    if (op->kind == EFFECT_ORDER_DROP) {
        if (model_live(o)) {
            return BIT(ERR_CONFLICT);
        }
        memset(o, 0, sizeof *o);
        return 0;
    }
    o->metadata = op->set & SET_METADATA ? op->text : o->metadata;
    o->price = op->set & SET_PRICE ? op->price : o->price;
    stamp(m, o);
    return 0;
}

uint64_t model_forget(struct model *m, const struct m_op *op)
{
    bool any = false, other = false;
    for (int i = 0; i < M_ORDERS; i++) {
        any |= m->orders[i].used && m->orders[i].customer == op->customer;
        other |= m->orders[i].used && m->orders[i].customer == op->customer2;
    }
    if (!any || other) {
        return (any ? 0 : BIT(ERR_NOTFOUND)) | (other ? BIT(ERR_CONFLICT) : 0);
    }
    for (int i = 0; i < M_ORDERS; i++) {
        struct m_order *o = &m->orders[i];
        if (o->used && o->customer == op->customer) {
            o->customer = op->customer2;
            o->metadata = 0;
            o->index = m->index;
        }
    }
    return 0;
}
