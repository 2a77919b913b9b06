/* Two orders exchange seats: EFFECT_RESEAT with a second order.
 *
 *   f->places  all places of the first order afterwards, as for any reseat. Those that are
 *              new to it must be seats of the second order, which gets the ones given up.
 *
 * A seat has one live order at every moment (S1), so the first order lets go before the
 * second takes, in three versions: first without what it gives, second complete, first
 * complete. Only the last of the first order's versions outlives the effect; the one
 * between may hold nothing at all.
 *
 * Each seat keeps the price it was sold for, so the sum over both orders stays the same. */
#include <string.h>

#include "store/do_order.h"

/* One block of memory: what the first order keeps, and all of the second afterwards. */
struct exchange {
    struct place *kept, *second;
    uint32_t kept_count, second_count, given, gained;
    int64_t balance; /* price of what the second order gets, less what it gives */
    size_t bytes;
};

static bool same_place(const struct place *a, const struct place *b)
{
    return a->event == b->event && a->number == b->number && a->count == b->count;
}

static uint32_t times(const struct place *list, uint32_t count, const struct place *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        n += same_place(&list[i], p);
    }
    return n;
}

/* The first order's places: those that stay are named as often as they are there, the others
 * go to the second. */
static int give(struct exchange *x, const struct order *first, const struct party *p,
                struct error *e)
{
    for (uint32_t i = 0; i < first->places_count; i++) {
        const struct place *own = &first->places[i];
        uint32_t named = times(p->places, p->count, own);
        if (named > 0 && named != times(first->places, first->places_count, own)) {
            return error_set(e, ERR_BADARG, "an exchange names a seat more than once");
        }
        if (named > 0) {
            x->kept[x->kept_count++] = *own;
        } else if (own->number & PLACE_AREA) {
            return error_set(e, ERR_BADARG, "only numbered seats are exchanged");
        } else {
            x->second[x->second_count++] = *own;
            x->balance += own->price;
            x->given++;
        }
    }
    return 0;
}

/* Takes one seat out of the second order; it must be there, once. */
static int gain(struct exchange *x, const struct order *second, uint32_t own,
                const struct place *want, struct error *e)
{
    for (uint32_t i = 0; i < own; i++) {
        if (same_place(&x->second[i], want) && !(want->number & PLACE_AREA)) {
            x->balance -= x->second[i].price;
            x->gained++;
            x->second[i].count = 0; /* swept afterwards */
            return 0;
        }
    }
    struct span id = order_id(second);
    return error_set(e, ERR_CONFLICT, "order %.*s does not hold what is to be exchanged",
                     (int)id.len, id.data);
}

static int exchange_init(struct store *s, const struct order *first, const struct order *second,
                         const struct party *p, struct exchange *x, struct error *e)
{
    memset(x, 0, sizeof *x);
    x->bytes = sizeof(struct place) * (first->places_count * 2u + second->places_count);
    x->kept = slab_alloc(&s->slab, x->bytes);
    if (x->kept == NULL) {
        return no_memory(e);
    }
    x->second = x->kept + first->places_count;
    memcpy(x->second, second->places, sizeof(struct place) * second->places_count);
    x->second_count = second->places_count;
    int rc = give(x, first, p, e);
    for (uint32_t i = 0; i < p->count && rc == 0; i++) {
        if (times(first->places, first->places_count, &p->places[i]) == 0) {
            rc = gain(x, second, second->places_count, &p->places[i], e);
        }
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < x->second_count; i++) {
        if (x->second[i].count > 0) {
            x->second[n++] = x->second[i];
        }
    }
    x->second_count = n;
    if (rc == 0 && (x->gained == 0 || x->gained != x->given || p->count != first->places_count)) {
        rc = error_set(e, ERR_BADARG, "an exchange gives as many seats as it gets");
    }
    return rc;
}

static void seal(const struct store *s, const struct effect *f, struct order *o)
{
    stamp(s, o);
    o->policy = f->version;
    o->unjudged = f->unjudged;
}

static int exchange(struct store *s, const struct effect *f, const uint32_t slot[2],
                    const struct party *p, const struct exchange *x, struct error *e)
{
    const struct order *a = record_at(s, slot[0])->v, *b = record_at(s, slot[1])->v;
    int64_t price = b->price + x->balance;
    if (f->price != a->price - x->balance || price < 0) {
        return error_set(e, ERR_BADARG, "an exchange keeps the sum of both prices");
    }
    struct order *steps[3] = {
        order_make(s, a, order_id(a), customer_of(a), x->kept, x->kept_count, order_metadata(a)),
        order_make(s, b, order_id(b), customer_of(b), x->second, x->second_count,
                   order_metadata(b)),
        order_make(s, a, order_id(a), customer_of(a), p->places, p->count, order_metadata(a)),
    };
    int rc = steps[0] == NULL || steps[1] == NULL || steps[2] == NULL ? no_memory(e) : 0;
    for (int i = 0; i < 3 && rc == 0; i++) {
        struct order *to = steps[i];
        ASSERT(to != NULL);
        steps[i] = NULL; /* change_order has it now, whatever happens */
        seal(s, f, to);
        to->price = i == 1 ? price : f->price;
        rc = change_order(s, slot[i == 1], to, e);
    }
    for (int i = 0; i < 3; i++) {
        order_free(s, steps[i]);
    }
    return rc;
}

int do_exchange(struct store *s, const struct effect *f, struct error *e)
{
    const uint32_t slot[2] = { order_find(s, f->id), order_find(s, f->id2) };
    if (slot[0] == 0 || slot[1] == 0) {
        return no_order(slot[0] == 0 ? f->id : f->id2, e);
    }
    if (slot[0] == slot[1]) {
        return error_set(e, ERR_BADARG, "an order cannot exchange seats with itself");
    }
    const struct order *first = record_at(s, slot[0])->v, *second = record_at(s, slot[1])->v;
    struct party p;
    int rc = check_live(s, first, e);
    rc = rc != 0 ? rc : check_live(s, second, e);
    if (rc == 0 && f->places_count > ORDER_SEATS_MAX) {
        rc = error_set(e, ERR_TOOBIG, "%u places in one order; at most %d", f->places_count,
                       ORDER_SEATS_MAX);
    }
    rc = rc != 0 ? rc : party_init(s, f, &p, e);
    if (rc != 0) {
        return rc;
    }
    struct exchange x;
    rc = exchange_init(s, first, second, &p, &x, e);
    rc = rc != 0 ? rc : check_events(s, p.places, p.count, false, e);
    rc = rc != 0 ? rc : check_events(s, x.second, x.second_count, false, e);
    rc = rc != 0 ? rc : exchange(s, f, slot, &p, &x, e);
    if (x.kept != NULL) {
        slab_free(&s->slab, x.kept, x.bytes);
    }
    party_free(s, &p);
    return rc;
}
