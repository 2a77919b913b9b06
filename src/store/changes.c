/* What a group changed, seat by seat: told from its undo records, just before the
 * oldest group commits.
 *
 * An order's two versions are compared place by place: what only the old one held
 * becomes free, what only the new one holds was free, what both hold changes its
 * status when the order did. The store may be groups ahead by then, so an event may
 * be gone from it; then the undo record that took it out still has it. */
#include "store/store_impl.h"

struct feed {
    struct store *s;
    void (*cb)(void *arg, const struct change *c);
    void *arg;
};

static const struct event *event_then(const struct store *s, uint32_t number)
{
    const struct event_object *ev = event_at(s, number);
    for (unsigned i = 0; ev == NULL && i < s->groups_len; i++) {
        const struct group *g = group_nth(s, i);
        for (size_t k = 0; ev == NULL && k < g->len; k++) {
            const struct undo *u = &g->records[k];
            if (u->kind == UNDO_EVENT && u->number == number && u->old.p != NULL) {
                ev = u->old.p;
            }
        }
    }
    return ev != NULL ? &ev->pub : NULL;
}

static void tell(const struct feed *f, const struct place *p, uint32_t count, int from, int to,
                 const struct order *o)
{
    if (count > 0) {
        struct change c = {
            event_then(f->s, p->event), p->number, count, (uint8_t)from, (uint8_t)to, o
        };
        f->cb(f->arg, &c);
    }
}

/* Places of the same seat or area in all of an order, told at its first mention. */
static uint32_t count_of(const struct order *o, const struct place *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; o != NULL && order_live(o) && i < o->places_count; i++) {
        if (o->places[i].event == p->event && o->places[i].number == p->number) {
            n += o->places[i].count;
        }
    }
    return n;
}

static bool mentioned(const struct order *o, uint32_t before, const struct place *p)
{
    if (o == NULL || !order_live(o)) {
        return false;
    }
    if (!(p->number & PLACE_AREA) && before <= o->places_count && o->places + before == p) {
        return false; /* a seat is in an order once */
    }
    for (uint32_t i = 0; i < before; i++) {
        if (o->places[i].event == p->event && o->places[i].number == p->number) {
            return true;
        }
    }
    return false;
}

static int seat_state(const struct order *o)
{
    return o->status == ORDER_HELD ? SEAT_HELD : SEAT_BOOKED;
}

static void tell_place(const struct feed *f, const struct order *from, const struct order *to,
                       const struct place *p)
{
    uint32_t had = count_of(from, p), has = count_of(to, p);
    const struct order *o = to != NULL ? to : from;
    uint32_t both = had < has ? had : has;
    ASSERT((had == 0 || from != NULL) && (has == 0 || to != NULL));
    if (both > 0 && from->status != to->status) {
        tell(f, p, both, seat_state(from), seat_state(to), o);
    }
    if (had > both) {
        tell(f, p, had - both, seat_state(from), SEAT_FREE, o);
    }
    if (has > both) {
        tell(f, p, has - both, SEAT_FREE, seat_state(to), o);
    }
}

static void tell_order(const struct feed *f, const struct order *from, const struct order *to)
{
    for (uint32_t i = 0; from != NULL && order_live(from) && i < from->places_count; i++) {
        if (!mentioned(from, i, &from->places[i])) {
            tell_place(f, from, to, &from->places[i]);
        }
    }
    for (uint32_t i = 0; to != NULL && order_live(to) && i < to->places_count; i++) {
        if (!mentioned(to, i, &to->places[i]) && count_of(from, &to->places[i]) == 0) {
            tell_place(f, from, to, &to->places[i]);
        }
    }
}

void store_changes(struct store *s, void (*cb)(void *arg, const struct change *c), void *arg)
{
    ASSERT(store_groups_in_flight(s) > 0);
    struct feed f = { s, cb, arg };
    const struct group *g = group_nth(s, 0);
    for (size_t i = 0; i < g->len; i++) {
        const struct undo *u = &g->records[i];
        if (u->kind == UNDO_ORDER) {
            tell_order(&f, u->old.p, u->new.p);
        } else if (u->kind == UNDO_SEAT) {
            struct place p = { .event = u->number, .number = u->word, .count = 1 };
            tell(&f, &p, 1, word_status((uint32_t)u->old.u), word_status((uint32_t)u->new.u), NULL);
        }
    }
}

void store_events_removed(struct store *s, void (*cb)(void *arg, const struct event *ev), void *arg)
{
    ASSERT(store_groups_in_flight(s) > 0);
    const struct group *g = group_nth(s, 0);
    for (size_t i = 0; i < g->len; i++) {
        const struct undo *u = &g->records[i];
        if (u->kind == UNDO_EVENT && u->old.p != NULL) {
            cb(arg, &((const struct event_object *)u->old.p)->pub);
        }
    }
}
