/* Customers: each id is kept once, and counts their live places per event.
 *
 * A customer lives as long as a version of an order refers to it, undo records
 * included. The (event, customer) pairs make limits such as "six per customer" a
 * single look-up: {held, booked} of live orders, absent when both are zero. */
#include <string.h>

#include "store/store_impl.h"

static uint64_t pair_key(uint32_t event, uint32_t customer) { return hash_mix(event, customer); }

static uint64_t pair_hash_of(const void *arg, uint32_t n)
{
    const struct pair *p = pool_at(&((const struct store *)arg)->pairs, n);
    return pair_key(p->event, p->customer);
}

static uint32_t *pair_next(const void *arg, uint32_t n)
{
    return &((struct pair *)pool_at(&((const struct store *)arg)->pairs, n))->chain;
}

static struct customer_ref *ref_at(const struct store *s, uint32_t n)
{
    return pool_at(&s->customers, n);
}

static uint64_t customer_hash_of(const void *arg, uint32_t n) { return ref_at(arg, n)->hash; }

static uint32_t *customer_next(const void *arg, uint32_t n) { return &ref_at(arg, n)->chain; }

bool customers_init(struct store *s)
{
    pool_init(&s->pairs, &s->slab, sizeof(struct pair));
    pool_init(&s->customers, &s->slab, sizeof(struct customer_ref));
    return table_init(&s->pair_table, &s->slab, 1, pair_hash_of, pair_next, s) &&
           table_init(&s->customer_table, &s->slab, 1, customer_hash_of, customer_next, s);
}

static struct customer *find_hashed(const struct store *s, struct span id, uint64_t hash)
{
    for (uint32_t n = table_first(&s->customer_table, hash); n != 0; n = ref_at(s, n)->chain) {
        const struct customer_ref *r = ref_at(s, n);
        struct customer *c = r->customer;
        if (r->hash == (uint32_t)hash && c->hash == hash && c->len == id.len &&
            memcmp(c->id, id.data, id.len) == 0) {
            return c;
        }
    }
    return NULL;
}

/* Without the padding that sizeof counts: there may be one customer for each order. */
static size_t bytes_of(size_t id_len) { return offsetof(struct customer, id) + id_len; }

static uint64_t id_hash(struct span id) { return hash64_seed(id.data, id.len, SEED_CUSTOMER); }

void customer_prefetch(const struct store *s, struct span id)
{
    table_prefetch(&s->customer_table, id_hash(id));
}

struct customer *customer_find(const struct store *s, struct span id)
{
    return find_hashed(s, id, id_hash(id));
}

struct customer *customer_intern(struct store *s, struct span id)
{
    uint64_t hash = id_hash(id);
    struct customer *c = find_hashed(s, id, hash);
    if (c != NULL) {
        c->refs++;
        return c;
    }
    if (!pool_reserve(&s->customers, 1) || (c = slab_alloc(&s->slab, bytes_of(id.len))) == NULL) {
        return NULL;
    }
    c->hash = hash;
    c->refs = 1;
    c->first = c->last = 0;
    c->len = (uint8_t)id.len;
    memcpy(c->id, id.data, id.len);
    c->number = pool_get(&s->customers);
    ref_at(s, c->number)->customer = c;
    ref_at(s, c->number)->hash = (uint32_t)hash;
    table_insert(&s->customer_table, hash, c->number);
    return c;
}

void customer_unref(struct store *s, struct customer *c)
{
    if (--c->refs > 0) {
        return;
    }
    ASSERT(c->first == 0 && c->last == 0);
    table_remove(&s->customer_table, c->hash, c->number);
    pool_put(&s->customers, c->number);
    slab_free(&s->slab, c, bytes_of(c->len));
}

uint32_t pair_number(const struct store *s, uint32_t event, uint32_t customer)
{
    uint32_t n = table_first(&s->pair_table, pair_key(event, customer));
    while (n != 0) {
        const struct pair *p = pool_at(&s->pairs, n);
        if (p->event == event && p->customer == customer) {
            break;
        }
        n = p->chain;
    }
    return n;
}

struct pair *pair_find(const struct store *s, uint32_t event, uint32_t customer)
{
    uint32_t n = pair_number(s, event, customer);
    return n != 0 ? pool_at(&s->pairs, n) : NULL;
}

void pair_add(struct store *s, uint32_t event, uint32_t customer, bool booked, int64_t places)
{
    uint32_t n = pair_number(s, event, customer);
    if (n == 0) {
        n = pool_get(&s->pairs);
        struct pair *fresh = pool_at(&s->pairs, n);
        fresh->event = event;
        fresh->customer = customer;
        table_insert(&s->pair_table, pair_key(event, customer), n);
    }
    struct pair *p = pool_at(&s->pairs, n);
    uint32_t *count = booked ? &p->booked : &p->held;
    *count = (uint32_t)((int64_t)*count + places);
    if (p->held == 0 && p->booked == 0) {
        table_remove(&s->pair_table, pair_key(event, customer), n);
        pool_put(&s->pairs, n);
    }
}

struct customer_use store_customer(const struct store *s, const struct event *ev,
                                   struct span customer, int category)
{
    struct customer_use use = { 0, 0 };
    const struct customer *c = customer_find(s, customer);
    const struct pair *p = c != NULL ? pair_find(s, ev->number, c->number) : NULL;
    if (p == NULL) {
        return use;
    }
    if (category < 0) {
        return (struct customer_use){ p->held, p->booked };
    }
    for (uint32_t slot = c->first; slot != 0; slot = record_at(s, slot)->customer_next) {
        const struct order *o = record_at(s, slot)->v;
        for (uint32_t i = 0; order_live(o) && i < o->places_count; i++) {
            const struct place *pl = &o->places[i];
            if (pl->event != ev->number) {
                continue;
            }
            uint32_t at = pl->number & PLACE_AREA
                              ? chart_area(ev->chart, pl->number & ~PLACE_AREA).category
                              : chart_seat_category(ev->chart, pl->number);
            if (at == (uint32_t)category) {
                *(o->status == ORDER_HELD ? &use.held : &use.booked) += pl->count;
            }
        }
    }
    return use;
}
