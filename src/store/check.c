/* Verifying the invariants S1 to S7 and the indices, from first principles.
 *
 * check_order looks at one order from all sides and is run in debug builds for what a
 * transaction has touched. store_check looks at everything; it takes memory for
 * recounts and time in proportion to the store. */
#include <string.h>

#include "store/store_impl.h"

static int bad(struct error *e, const char *invariant, const char *what, struct span id)
{
    return error_set(e, ERR_CORRUPT, "%s: %s (%.*s)", invariant, what, (int)id.len, id.data);
}

static int check_places(const struct store *s, uint32_t slot, const struct order *o,
                        struct error *e)
{
    struct span id = order_id(o);
    if (!order_live(o)) {
        return 0;
    }
    if (o->places_count == 0) {
        return bad(e, "S1", "a live order without a seat", id);
    }
    uint32_t status = o->status == ORDER_HELD ? SEAT_HELD : SEAT_BOOKED;
    for (uint32_t i = 0; i < o->places_count; i++) {
        const struct place *p = &o->places[i];
        const struct event_object *ev = event_at(s, p->event);
        if (ev == NULL) {
            return bad(e, "S1", "a live order at an event that is not there", id);
        }
        if (p->number & PLACE_AREA) {
            if ((p->number & ~PLACE_AREA) >= chart_areas(ev->pub.chart) || p->count == 0) {
                return bad(e, "S1", "an order has places of an unknown area", id);
            }
        } else if (p->number >= chart_seats(ev->pub.chart) || p->count != 1 ||
                   ev->body->seats[p->number] != (status << WORD_SHIFT | slot)) {
            return bad(e, "S1", "an order's seat does not point at it", id);
        }
    }
    return 0;
}

int check_order(const struct store *s, uint32_t slot, struct error *e)
{
    const struct record *r = record_at(s, slot);
    const struct order *o = r->v;
    struct span id = order_id(o);
    if (order_find(s, id) != slot) {
        return bad(e, "S1", "an order is not found by its id", id);
    }
    if (o->status > ORDER_EXPIRED || r->serial >= s->next_serial) {
        return bad(e, "S1", "an order has an impossible status or serial", id);
    }
    const struct heap *h = o->status == ORDER_HELD ? &s->held : &s->ended;
    bool queued = o->status != ORDER_BOOKED;
    if (queued && (r->pos >= h->len || h->entries[r->pos].slot != slot)) {
        return bad(e, "S4", "an order is not in its queue", id);
    }
    if ((o->status == ORDER_HELD) != (o->expires_ms != 0)) {
        return bad(e, "S4", "an expiry without a hold, or a hold without one", id);
    }
    return check_places(s, slot, o, e);
}

static int check_orders(const struct store *s, uint64_t *seats, struct error *e)
{
    uint64_t live = 0, ended = 0, held = 0;
    for (uint32_t slot = 1; slot < s->records.next; slot++) {
        const struct order *o = record_at(s, slot)->v;
        if (o == NULL) {
            continue;
        }
        int rc = check_order(s, slot, e);
        if (rc != 0) {
            return rc;
        }
        *(order_live(o) ? &live : &ended) += 1;
        held += o->status == ORDER_HELD;
        for (uint32_t i = 0; order_live(o) && i < o->places_count; i++) {
            *seats += !(o->places[i].number & PLACE_AREA);
        }
    }
    struct span all = span_of("orders");
    if (live != s->orders_live || ended != s->orders_ended || live + ended != s->orders.count) {
        return bad(e, "S3", "orders are miscounted", all);
    }
    if (held != s->held.len || ended != s->ended.len) {
        return bad(e, "S4", "the queues hold something else", all);
    }
    return 0;
}

/* ---- Lists and pairs ------------------------------------------------------------------- */

static int check_customer(const struct store *s, const struct customer *c, uint64_t *listed,
                          struct error *e)
{
    struct span id = span_make(c->id, c->len);
    uint32_t before = 0;
    for (uint32_t slot = c->first; slot != 0; slot = record_at(s, slot)->customer_next) {
        const struct record *r = record_at(s, slot);
        if (r->v == NULL || r->v->customer != c->id || r->customer_prev != before ||
            (before != 0 && record_at(s, before)->serial >= r->serial)) {
            return bad(e, "S3", "a customer's list is broken", id);
        }
        before = slot;
        ++*listed;
    }
    return c->last == before ? 0 : bad(e, "S3", "a customer's list ends elsewhere", id);
}

static int check_pairs(const struct store *s, struct error *e)
{
    uint32_t n = s->pairs.next;
    struct customer_use *use = slab_alloc((struct slab *)(uintptr_t)&s->slab, sizeof *use * n);
    if (use == NULL) {
        return no_memory(e);
    }
    memset(use, 0, sizeof *use * n);
    int rc = 0;
    for (uint32_t slot = 1; slot < s->records.next && rc == 0; slot++) {
        const struct order *o = record_at(s, slot)->v;
        for (uint32_t i = 0; o != NULL && order_live(o) && i < o->places_count && rc == 0; i++) {
            uint32_t at = pair_number(s, o->places[i].event, customer_of(o)->number);
            if (at == 0) {
                rc = bad(e, "S3", "a live order is not counted for its customer", order_id(o));
                break;
            }
            *(o->status == ORDER_HELD ? &use[at].held : &use[at].booked) += o->places[i].count;
        }
    }
    uint32_t used = 0;
    for (uint32_t i = 1; i < n && rc == 0; i++) {
        const struct pair *p = pool_at(&s->pairs, i);
        if (p->event != 0 && (p->held != use[i].held || p->booked != use[i].booked)) {
            rc = bad(e, "S3", "a customer's count differs from the orders", span_of("pair"));
        }
        used += p->event != 0;
    }
    if (rc == 0 && used != s->pair_table.count) {
        rc = bad(e, "S3", "customers' counts are left over", span_of("pair"));
    }
    slab_free((struct slab *)(uintptr_t)&s->slab, use, sizeof *use * n);
    return rc;
}

static int check_customers(const struct store *s, struct error *e)
{
    uint64_t listed = 0;
    for (uint32_t i = 1; i < s->customers.next; i++) {
        const struct customer_ref *r = pool_at(&s->customers, i);
        int rc = r->customer != NULL ? check_customer(s, r->customer, &listed, e) : 0;
        if (rc != 0) {
            return rc;
        }
    }
    if (listed != s->orders.count) {
        return bad(e, "S3", "customers' lists do not hold all orders", span_of("orders"));
    }
    return check_pairs(s, e);
}

/* ---- Events --------------------------------------------------------------------------- */

static void add_areas(const struct order *o, uint32_t event, struct area_use *use, bool *over)
{
    for (uint32_t i = 0; order_live(o) && i < o->places_count; i++) {
        const struct place *p = &o->places[i];
        if (p->event == event && (p->number & PLACE_AREA)) {
            struct area_use *u = &use[p->number & ~PLACE_AREA];
            *(o->status == ORDER_HELD ? &u->held : &u->booked) += p->count;
            over[p->number & ~PLACE_AREA] |= o->overbook;
        }
    }
}

static int check_lists(const struct store *s, const struct event_object *ev, struct area_use *use,
                       bool *over, struct error *e)
{
    uint32_t before = 0;
    for (uint32_t slot = ev->first; slot != 0; slot = record_at(s, slot)->event_next) {
        const struct record *r = record_at(s, slot);
        if (r->v == NULL || r->v->places_count == 0 || r->v->places[0].event != ev->pub.number ||
            r->event_prev != before || (before != 0 && record_at(s, before)->serial >= r->serial)) {
            return bad(e, "S3", "an event's list is broken", ev->pub.id);
        }
        add_areas(r->v, ev->pub.number, use, over);
        before = slot;
    }
    for (uint32_t i = 0; i < ev->extra_len; i++) {
        const struct record *r = record_at(s, ev->extra[i]);
        if (r->v == NULL || r->v->places[0].event == ev->pub.number ||
            (i > 0 && record_at(s, ev->extra[i - 1])->serial >= r->serial)) {
            return bad(e, "S3", "an event's further orders are broken", ev->pub.id);
        }
        add_areas(r->v, ev->pub.number, use, over);
    }
    return before == ev->last ? 0 : bad(e, "S3", "an event's list ends elsewhere", ev->pub.id);
}

static int check_areas(const struct store *s, const struct event_object *ev, struct error *e)
{
    uint32_t n = chart_areas(ev->pub.chart);
    size_t bytes = (sizeof(struct area_use) + sizeof(bool)) * n;
    struct slab *slab = (struct slab *)(uintptr_t)&s->slab;
    struct area_use *use = slab_alloc(slab, bytes);
    if (use == NULL) {
        return no_memory(e);
    }
    memset(use, 0, bytes);
    bool *over = (bool *)(use + n);
    int rc = check_lists(s, ev, use, over, e);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        struct area_use have = ev->body->areas[i];
        if (have.held != use[i].held || have.booked != use[i].booked) {
            rc = bad(e, "S7", "area places differ from the orders", ev->pub.id);
        } else if ((uint64_t)have.held + have.booked > chart_area(ev->pub.chart, i).capacity &&
                   !over[i]) {
            rc = bad(e, "S7", "an area is over its capacity", ev->pub.id);
        }
    }
    slab_free(slab, use, bytes);
    return rc;
}

int check_event(const struct store *s, const struct event_object *ev, struct error *e)
{
    uint32_t counts[SEAT_STATUS_COUNT] = { 0 };
    uint64_t sum = 0;
    for (uint32_t i = 0; i < chart_seats(ev->pub.chart); i++) {
        uint32_t word = ev->body->seats[i], slot = word & WORD_MASK;
        enum seat_status status = word_status(word);
        counts[status]++;
        sum += seat_hash(ev->pub.number, i, word);
        bool taken = status == SEAT_HELD || status == SEAT_BOOKED;
        if (taken && (slot == 0 || slot >= s->records.next || record_at(s, slot)->v == NULL ||
                      !order_live(record_at(s, slot)->v))) {
            return bad(e, "S1", "a taken seat points at no live order", ev->pub.id);
        }
        if ((status == SEAT_FREE && slot != 0) ||
            (status == SEAT_BLOCKED && slot >= s->names_len)) {
            return bad(e, "S1", "a seat's word is malformed", ev->pub.id);
        }
    }
    if (memcmp(counts, ev->pub.counts, sizeof counts) != 0) {
        return bad(e, "S2", "counts do not add up to the seats", ev->pub.id);
    }
    if (sum != ev->seat_sum) {
        return bad(e, "S6", "the digest of an event's seats is wrong", ev->pub.id);
    }
    return check_areas(s, ev, e);
}

/* ---- Digest ----------------------------------------------------------------------------- */

static uint64_t sum_tree(const struct store *s, const struct node *root, int kind)
{
    uint64_t sum = 0;
    struct node *tree = (struct node *)(uintptr_t)root;
    for (const struct node *n = tree_after(tree, span_make("", 0), true); n != NULL;
         n = tree_after(tree, n->key, false)) {
        const void *p = n;
        sum += kind == SEED_KV      ? kv_hash(p)
               : kind == SEED_CHART ? ((const struct chart_cell *)p)->hash
                                    : blob_hash(p);
    }
    (void)s;
    return sum;
}

uint64_t digest_sum(const struct store *s)
{
    uint64_t sum = sum_tree(s, s->kv, SEED_KV) + sum_tree(s, s->charts, SEED_CHART) +
                   sum_tree(s, s->blobs, SEED_RECORD);
    for (uint32_t slot = 1; slot < s->records.next; slot++) {
        const struct record *r = record_at(s, slot);
        sum += r->v != NULL ? order_hash(r->v, r->serial) : 0;
    }
    for (uint32_t n = s->event_first; n != 0; n = s->events[n]->next) {
        sum += s->events[n]->hash + s->events[n]->seat_sum + event_touch_hash(s->events[n]);
    }
    for (uint64_t at = s->results.head; at < s->results.tail; at++) {
        sum += result_hash(result_at(s, at));
    }
    for (uint32_t i = 1; i < s->names_len; i++) {
        sum += name_hash(s->names[i]);
    }
    for (uint32_t i = 0; i < s->policies_len; i++) {
        sum += s->policies[i]->hash;
    }
    return sum;
}

/* The few scalars that later effects depend on join here. Not the time: opening a group
 * sets it, an entry carries its digest from before and its own time, which entry_apply
 * compares by itself. */
uint64_t digest_of(const struct store *s, uint64_t sum)
{
    uint64_t h = hash_mix(sum, s->next_serial);
    return hash_mix(h, (uint64_t)s->next_event << 32 | s->names_len);
}

uint64_t store_digest(const struct store *s) { return digest_of(s, s->sum); }

int store_check(const struct store *s, struct error *e)
{
    uint64_t seats = 0, taken = 0;
    int rc = check_orders(s, &seats, e);
    rc = rc != 0 ? rc : check_customers(s, e);
    for (uint32_t n = s->event_first; n != 0 && rc == 0; n = s->events[n]->next) {
        rc = check_event(s, s->events[n], e);
        taken +=
            (uint64_t)s->events[n]->pub.counts[SEAT_HELD] + s->events[n]->pub.counts[SEAT_BOOKED];
    }
    if (rc == 0 && taken != seats) {
        rc = bad(e, "S1", "seats are taken that no order holds", span_of("seats"));
    }
    if (rc == 0 && digest_sum(s) != s->sum) {
        rc = bad(e, "S6", "the digest is not that of the state", span_of("digest"));
    }
    return rc;
}
