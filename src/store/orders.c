/* Orders: a slot is who an order is, a version is what it says.
 *
 * Versions are immutable. A change makes a new one and order_swap puts it in the old
 * one's place: out of the seats, areas, counts, queue, lists and digest goes the one,
 * in comes the other. Undo is the same swap the other way round, so there is one
 * piece of code to be right. NULL on one side means that the order comes or goes.
 *
 *   1 the seats of a live order carry its slot, an ended one's carry nothing of it
 *   2 a held order is in s->held, an ended one in s->ended, a booked one in neither
 *   3 order_swap takes no memory: order_reserve has seen to that */
#include <string.h>

#include "store/store_impl.h"

static const char *const status_names[] = { "held", "booked", "released", "cancelled", "expired" };

const char *order_status_name(int status)
{
    return status >= ORDER_HELD && status <= ORDER_EXPIRED ? status_names[status] : "unknown";
}

int order_status_parse(struct span name)
{
    for (int i = ORDER_HELD; i <= ORDER_EXPIRED; i++) {
        if (span_is(name, status_names[i])) {
            return i;
        }
    }
    return -1;
}

static uint64_t id_hash(struct span id) { return hash64(id.data, id.len); }

static uint64_t order_hash_of(const void *arg, uint32_t n)
{
    return id_hash(order_id(record_at(arg, n)->v));
}

static uint32_t *order_next(const void *arg, uint32_t n) { return &record_at(arg, n)->chain; }

bool orders_init(struct store *s)
{
    pool_init(&s->records, &s->slab, sizeof(struct record));
    return table_init(&s->orders, &s->slab, 1, order_hash_of, order_next, s);
}

static uint16_t tag_of(uint64_t hash) { return (uint16_t)(hash >> 48); }

void order_prefetch(const struct store *s, struct span id)
{
    table_prefetch(&s->orders, id_hash(id));
}

uint32_t order_find(const struct store *s, struct span id)
{
    uint64_t hash = id_hash(id);
    uint32_t n = table_first(&s->orders, hash);
    while (n != 0) {
        const struct record *r = record_at(s, n);
        if (r->tag == tag_of(hash) && span_eq(order_id(r->v), id)) {
            break;
        }
        n = r->chain;
    }
    return n;
}

const struct order *store_order(const struct store *s, struct span id)
{
    uint32_t slot = order_find(s, id);
    return slot != 0 ? record_at(s, slot)->v : NULL;
}

static size_t bytes_of(uint32_t places, size_t id_len, size_t metadata_len)
{
    return sizeof(struct order) + sizeof(struct place) * places + id_len + metadata_len;
}

size_t order_bytes(const struct order *o)
{
    return bytes_of(o->places_count, o->id_len, o->metadata_len);
}

struct order *order_make(struct store *s, const struct order *head, struct span id,
                         struct customer *customer, const struct place *places, uint32_t count,
                         struct span metadata)
{
    struct order *o = slab_alloc(&s->slab, bytes_of(count, id.len, metadata.len));
    if (o == NULL) {
        return NULL;
    }
    if (head != NULL) {
        memcpy(o, head, sizeof *o);
    } else {
        memset(o, 0, sizeof *o);
    }
    o->places_count = (uint16_t)count;
    o->id_len = (uint8_t)id.len;
    o->metadata_len = (uint32_t)metadata.len;
    o->customer = customer->id;
    o->customer_len = customer->len;
    customer->refs++;
    if (count > 0) {
        memcpy(o->places, places, sizeof *places * count);
    }
    char *text = (char *)(o->places + count);
    memcpy(text, id.data, id.len);
    if (metadata.len > 0) {
        memcpy(text + id.len, metadata.data, metadata.len);
    }
    return o;
}

void order_free(struct store *s, struct order *o)
{
    if (o != NULL) {
        customer_unref(s, customer_of(o));
        slab_free(&s->slab, o, order_bytes(o));
    }
}

uint64_t order_hash(const struct order *o, uint64_t serial)
{
    uint64_t h = hash64(o, offsetof(struct order, customer));
    h = hash_mix(h, hash64(o->places, order_bytes(o) - sizeof *o));
    h = hash_mix(h, customer_of(o)->hash);
    return hash_mix(h, serial + ((uint64_t)SEED_ORDER << 56));
}

static struct heap *heap_of(struct store *s, const struct order *o)
{
    if (o == NULL || o->status == ORDER_BOOKED) {
        return NULL;
    }
    return o->status == ORDER_HELD ? &s->held : &s->ended;
}

static uint32_t runs_of(const struct order *o)
{
    uint32_t runs = 0;
    for (uint32_t i = 0; i < o->places_count; i++) {
        runs += i == 0 || o->places[i].event != o->places[i - 1].event;
    }
    return runs;
}

bool order_reserve(struct store *s, const struct order *to)
{
    if (to == NULL) {
        return true;
    }
    struct heap *h = heap_of(s, to);
    return (h == NULL || heap_reserve(s, h)) &&
           (!order_live(to) || pool_reserve(&s->pairs, runs_of(to))) && lists_reserve(s, to);
}

static bool same_places(const struct order *a, const struct order *b)
{
    return a->places_count == b->places_count &&
           memcmp(a->places, b->places, sizeof(struct place) * a->places_count) == 0;
}

static bool same_seats(const struct order *a, const struct order *b)
{
    return a->status == b->status && a->customer == b->customer && same_places(a, b);
}

static void count(struct store *s, const struct order *o, uint64_t by)
{
    if (o != NULL) {
        *(order_live(o) ? &s->orders_live : &s->orders_ended) += by;
    }
}

void order_swap(struct store *s, uint32_t slot, struct order *from, struct order *to, bool first)
{
    struct record *r = record_at(s, slot);
    ASSERT(r->v == from);
    bool replace = from != NULL && to != NULL;
    bool seats = !replace || !same_seats(from, to);
    if (from != NULL) {
        s->sum -= order_hash(from, r->serial);
        if (heap_of(s, from) != NULL) {
            heap_remove(s, heap_of(s, from), slot);
        }
        if (seats && order_live(from)) {
            places_apply(s, slot, from, false);
        }
        if (to == NULL) {
            table_remove(&s->orders, id_hash(order_id(from)), slot);
            lists_remove(s, slot, from);
        }
    }
    r->v = to;
    if (to != NULL) {
        s->sum += order_hash(to, r->serial);
        if (heap_of(s, to) != NULL) {
            heap_insert(s, heap_of(s, to), slot);
        }
        if (seats && order_live(to)) {
            places_apply(s, slot, to, true);
        }
        if (from == NULL) {
            uint64_t hash = id_hash(order_id(to));
            r->tag = tag_of(hash);
            table_insert(&s->orders, hash, slot);
            lists_add(s, slot, to, first);
        }
    }
    if (replace && (from->customer != to->customer || !same_places(from, to))) {
        lists_move(s, slot, from, to);
    }
    count(s, from, (uint64_t)-1);
    count(s, to, 1);
}

void order_renumber(struct store *s, uint32_t slot, struct order *from, struct order *to)
{
    struct record *r = record_at(s, slot);
    ASSERT(r->v == from);
    s->sum += order_hash(to, r->serial) - order_hash(from, r->serial);
    r->v = to;
}

/* ---- Queues ---------------------------------------------------------------------- */

const struct order *store_next_expiry(const struct store *s)
{
    return s->held.len > 0 ? record_at(s, s->held.entries[0].slot)->v : NULL;
}

const struct order *store_oldest_ended(const struct store *s)
{
    return s->ended.len > 0 ? record_at(s, s->ended.entries[0].slot)->v : NULL;
}
