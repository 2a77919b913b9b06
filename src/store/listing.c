/* Lists of orders, in order of creation.
 *
 * By customer: their list. By event: its list and its array of further orders, merged.
 * Otherwise all slots: the smallest serials beyond the last are gathered in a bounded
 * heap, a scan for every WINDOW orders told; about 10 ms with a million orders. */
#include "store/store_impl.h"

#define WINDOW 1024

struct listing {
    const struct store *s;
    const struct order_filter *f;
    bool (*cb)(void *arg, const struct order *o);
    void *arg;
    uint64_t after; /* serial; told so far */
};

static bool at_event(const struct order *o, uint32_t number)
{
    for (uint32_t i = 0; i < o->places_count; i++) {
        if (o->places[i].event == number) {
            return true;
        }
    }
    return false;
}

static bool matches(const struct order_filter *f, const struct order *o)
{
    if (f->status >= 0 ? o->status != f->status : f->status == -2 && !order_live(o)) {
        return false;
    }
    return o->changed_ms >= f->since_ms &&
           (f->customer.len == 0 || span_eq(order_customer(o), f->customer)) &&
           (f->event == NULL || at_event(o, f->event->number));
}

/* False: the caller has enough. */
static bool tell(const struct listing *l, uint32_t slot)
{
    const struct record *r = record_at(l->s, slot);
    return r->serial <= l->after || !matches(l->f, r->v) || l->cb(l->arg, r->v);
}

static void by_customer(const struct listing *l)
{
    const struct customer *c = customer_find(l->s, l->f->customer);
    for (uint32_t slot = c != NULL ? c->first : 0; slot != 0 && tell(l, slot);) {
        slot = record_at(l->s, slot)->customer_next;
    }
}

static void by_event(const struct listing *l)
{
    const struct event_object *ev = event_at(l->s, l->f->event->number);
    uint32_t slot = ev->first, i = 0;
    uint32_t resume = l->f->after.len > 0 ? order_find(l->s, l->f->after) : 0;
    const struct order *o = resume != 0 ? record_at(l->s, resume)->v : NULL;
    if (o != NULL && o->places_count > 0 && o->places[0].event == ev->pub.number) {
        slot = record_at(l->s, resume)->event_next;
    }
    bool more = true;
    while (more && (slot != 0 || i < ev->extra_len)) {
        bool extra = slot == 0 || (i < ev->extra_len && record_at(l->s, ev->extra[i])->serial <
                                                            record_at(l->s, slot)->serial);
        more = tell(l, extra ? ev->extra[i] : slot);
        if (extra) {
            i++;
        } else {
            slot = record_at(l->s, slot)->event_next;
        }
    }
}

/* ---- All slots ---------------------------------------------------------------------- */

struct found {
    uint64_t serial;
    uint32_t slot;
};

/* Largest serial at the top. */
static void sink(struct found *h, uint32_t n, uint32_t at)
{
    for (;;) {
        uint32_t child = at * 2 + 1;
        if (child + 1 < n && h[child + 1].serial > h[child].serial) {
            child++;
        }
        if (child >= n || h[child].serial <= h[at].serial) {
            return;
        }
        struct found t = h[at];
        h[at] = h[child];
        h[child] = t;
        at = child;
    }
}

static void rise(struct found *h, uint32_t at)
{
    while (at > 0 && h[at].serial > h[(at - 1) / 2].serial) {
        struct found t = h[at];
        h[at] = h[(at - 1) / 2];
        h[(at - 1) / 2] = t;
        at = (at - 1) / 2;
    }
}

static uint32_t gather(const struct listing *l, struct found *h)
{
    uint32_t n = 0;
    for (uint32_t slot = 1; slot < l->s->records.next; slot++) {
        const struct record *r = record_at(l->s, slot);
        if (r->v == NULL || r->serial <= l->after || (n == WINDOW && r->serial > h[0].serial) ||
            !matches(l->f, r->v)) {
            continue;
        }
        if (n < WINDOW) {
            h[n] = (struct found){ r->serial, slot };
            rise(h, n++);
        } else {
            h[0] = (struct found){ r->serial, slot };
            sink(h, n, 0);
        }
    }
    for (uint32_t end = n; end > 1;) {
        struct found t = h[--end];
        h[end] = h[0];
        h[0] = t;
        sink(h, end, 0);
    }
    return n;
}

static void everywhere(struct listing *l)
{
    struct found window[WINDOW];
    uint32_t n;
    do {
        n = gather(l, window);
        for (uint32_t i = 0; i < n; i++) {
            if (!l->cb(l->arg, record_at(l->s, window[i].slot)->v)) {
                return;
            }
            l->after = window[i].serial;
        }
    } while (n == WINDOW);
}

void store_orders(const struct store *s, const struct order_filter *f,
                  bool (*cb)(void *arg, const struct order *o), void *arg)
{
    struct listing l = { s, f, cb, arg, 0 };
    if (f->after.len > 0) {
        uint32_t slot = order_find(s, f->after);
        if (slot == 0) {
            return;
        }
        l.after = record_at(s, slot)->serial;
    }
    if (f->customer.len > 0) {
        by_customer(&l);
    } else if (f->event != NULL) {
        by_event(&l);
    } else {
        everywhere(&l);
    }
}
