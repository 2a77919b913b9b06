/* Orders by event and by customer, both in order of creation.
 *
 * Each order is linked once into the list of its customer and once into the list of
 * the event of its first place. Further events of the same order (a train's legs)
 * keep its slot in a sorted array, so that the common case costs two links and
 * nothing else.
 *
 * An order that goes keeps its links in its record. As undo runs exactly backwards,
 * its old neighbours are neighbours again when it comes back, and it steps between
 * them without a search ("dancing links", Knuth 2000).
 *
 *   1 lists and arrays are sorted by serial
 *   2 an event that was removed takes its array along; the links of its ended orders
 *     go on among themselves */
#include <string.h>

#include "store/store_impl.h"

struct list {
    uint32_t *first, *last; /* NULL when the owner is gone */
    bool by_event;
};

static uint32_t *next_of(const struct list *l, struct record *r)
{
    return l->by_event ? &r->event_next : &r->customer_next;
}

static uint32_t *prev_of(const struct list *l, struct record *r)
{
    return l->by_event ? &r->event_prev : &r->customer_prev;
}

static struct list event_list(const struct store *s, const struct order *o)
{
    struct event_object *ev = o->places_count > 0 ? event_at(s, o->places[0].event) : NULL;
    return (struct list){ ev ? &ev->first : NULL, ev ? &ev->last : NULL, true };
}

static struct list customer_list(const struct order *o)
{
    struct customer *c = customer_of(o);
    return (struct list){ &c->first, &c->last, false };
}

static void join(struct store *s, const struct list *l, uint32_t a, uint32_t b)
{
    if (a != 0) {
        *next_of(l, record_at(s, a)) = b;
    } else if (l->first != NULL) {
        *l->first = b;
    }
    if (b != 0) {
        *prev_of(l, record_at(s, b)) = a;
    } else if (l->last != NULL) {
        *l->last = a;
    }
}

static void list_remove(struct store *s, const struct list *l, uint32_t slot)
{
    struct record *r = record_at(s, slot);
    join(s, l, *prev_of(l, r), *next_of(l, r));
}

static void list_return(struct store *s, const struct list *l, uint32_t slot)
{
    struct record *r = record_at(s, slot);
    uint32_t a = *prev_of(l, r), b = *next_of(l, r);
    join(s, l, a, slot);
    join(s, l, slot, b);
}

/* To its place by serial: nearly always one of the ends. */
static void list_insert(struct store *s, const struct list *l, uint32_t slot)
{
    struct record *r = record_at(s, slot);
    if (l->first == NULL) {
        *next_of(l, r) = *prev_of(l, r) = 0;
        return;
    }
    uint32_t a = *l->last;
    if (*l->first != 0 && record_at(s, *l->first)->serial > r->serial) {
        a = 0;
    }
    while (a != 0 && record_at(s, a)->serial > r->serial) {
        a = *prev_of(l, record_at(s, a));
    }
    uint32_t b = a != 0 ? *next_of(l, record_at(s, a)) : *l->first;
    join(s, l, a, slot);
    join(s, l, slot, b);
}

/* ---- Further events ------------------------------------------------------------------ */

/* Is place i the first of its event, and that event not the order's first? */
static bool opens_extra(const struct order *o, uint32_t i)
{
    uint32_t event = o->places[i].event;
    if (event == o->places[0].event || event == o->places[i - 1].event) {
        return false;
    }
    for (uint32_t j = 1; j + 1 < i; j++) {
        if (o->places[j].event == event) {
            return false;
        }
    }
    return true;
}

static uint32_t extra_position(const struct store *s, const struct event_object *ev,
                               uint64_t serial)
{
    uint32_t low = 0, high = ev->extra_len;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (record_at(s, ev->extra[mid])->serial < serial) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static void extra_set(struct store *s, uint32_t slot, const struct order *o, bool add)
{
    for (uint32_t i = 1; i < o->places_count; i++) {
        struct event_object *ev = opens_extra(o, i) ? event_at(s, o->places[i].event) : NULL;
        if (ev == NULL) {
            continue;
        }
        uint32_t at = extra_position(s, ev, record_at(s, slot)->serial);
        uint32_t *p = ev->extra + at;
        if (add) {
            ASSERT(ev->extra_len < ev->extra_cap);
            memmove(p + 1, p, sizeof *p * (ev->extra_len - at));
            *p = slot;
            ev->extra_len++;
        } else {
            ASSERT(at < ev->extra_len && *p == slot);
            ev->extra_len--;
            memmove(p, p + 1, sizeof *p * (ev->extra_len - at));
        }
    }
}

bool lists_reserve(struct store *s, const struct order *to)
{
    for (uint32_t i = 1; i < to->places_count; i++) {
        struct event_object *ev = opens_extra(to, i) ? event_at(s, to->places[i].event) : NULL;
        if (ev == NULL || ev->extra_len < ev->extra_cap) {
            continue;
        }
        uint32_t cap = ev->extra_cap == 0 ? 8 : ev->extra_cap + ev->extra_cap / 2;
        uint32_t *extra = slab_alloc(&s->slab, sizeof *extra * cap);
        if (extra == NULL) {
            return false;
        }
        if (ev->extra_len > 0) {
            memcpy(extra, ev->extra, sizeof *extra * ev->extra_len);
        }
        slab_free(&s->slab, ev->extra, sizeof *extra * ev->extra_cap);
        ev->extra = extra;
        ev->extra_cap = cap;
    }
    return true;
}

/* ---- The three moves ------------------------------------------------------------------- */

void lists_add(struct store *s, uint32_t slot, const struct order *o, bool first)
{
    struct list by_event = event_list(s, o), by_customer = customer_list(o);
    if (first) {
        list_insert(s, &by_event, slot);
        list_insert(s, &by_customer, slot);
    } else {
        list_return(s, &by_event, slot);
        list_return(s, &by_customer, slot);
    }
    extra_set(s, slot, o, true);
}

void lists_remove(struct store *s, uint32_t slot, const struct order *o)
{
    struct list by_event = event_list(s, o), by_customer = customer_list(o);
    list_remove(s, &by_event, slot);
    list_remove(s, &by_customer, slot);
    extra_set(s, slot, o, false);
}

static uint32_t first_event(const struct order *o)
{
    return o->places_count > 0 ? o->places[0].event : 0;
}

void lists_move(struct store *s, uint32_t slot, const struct order *from, const struct order *to)
{
    if (from->customer != to->customer) {
        struct list a = customer_list(from), b = customer_list(to);
        list_remove(s, &a, slot);
        list_insert(s, &b, slot);
    }
    extra_set(s, slot, from, false);
    if (first_event(from) != first_event(to)) {
        struct list a = event_list(s, from), b = event_list(s, to);
        list_remove(s, &a, slot);
        list_insert(s, &b, slot);
    }
    extra_set(s, slot, to, true);
}
