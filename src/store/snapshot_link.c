/* Putting a snapshot's staged objects together: charts and policies as they complete,
 * then events, blocked seats, orders by serial, the orders that results name; at last
 * the digest and every invariant. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "store/do_order.h"
#include "store/snapshot.h"

static int load_chart(struct store_loader *l, struct reader *head, struct error *e)
{
    struct store *s = l->store;
    struct span id = reader_bytes(head);
    if (head->failed || reader_left(head) > 0 || !text_is_id(id) ||
        chart_cell_find(s, id) != NULL) {
        return loader_bad(e, "malformed chart");
    }
    struct chart *chart;
    int rc = chart_decode(span_make((const char *)l->blob.data, l->blob.len), &chart, e);
    if (rc != 0) {
        return rc == ERR_NOMEM ? rc : loader_bad(e, "malformed chart");
    }
    struct chart_cell *c = chart_cell_make(s, id, chart);
    if (c == NULL) {
        chart_free(chart);
        return no_memory(e);
    }
    chart_cell_link(s, c, true);
    return 0;
}

static int load_policy(struct store_loader *l, struct reader *head, struct error *e)
{
    struct store *s = l->store;
    uint64_t version = reader_varint(head), time_ms = reader_varint(head);
    struct span author = reader_bytes(head), sha256 = reader_bytes(head);
    uint32_t before =
        s->policies_len > 0 ? s->policies[s->policies_len - 1]->pub.version : (uint32_t)0;
    if (head->failed || reader_left(head) > 0 || version == 0 || version > UINT32_MAX ||
        (before != 0 && version != (uint64_t)before + 1) || s->policies_len == POLICIES_KEPT ||
        author.len > ID_BYTES_MAX || sha256.len != 64 || time_ms > l->meta.time_ms) {
        return loader_bad(e, "malformed policy");
    }
    struct policy_record pub = { (uint32_t)version, time_ms, author, sha256,
                                 span_make((const char *)l->blob.data, l->blob.len) };
    struct policy_object *p = policy_make(s, &pub);
    if (p == NULL) {
        return no_memory(e);
    }
    policy_push(s, p, NULL);
    return 0;
}

int loader_blob(struct store_loader *l, struct error *e)
{
    struct reader head;
    reader_init(&head, l->blob_head.data, l->blob_head.len);
    return l->blob_kind == ITEM_CHART ? load_chart(l, &head, e) : load_policy(l, &head, e);
}

/* ---- Events --------------------------------------------------------------------------- */

static int link_event(struct store_loader *l, const struct event_item *it, struct error *e)
{
    struct store *s = l->store;
    struct chart_cell *cell = chart_cell_find(s, it->chart);
    if (cell == NULL || it->number >= l->meta.next_event || event_at(s, it->number) != NULL ||
        !text_is_id(it->id) || event_find(s, it->id) != NULL ||
        it->attributes.len > JSON_TEXT_BYTES_MAX || it->ruleset.len > ID_BYTES_MAX ||
        (it->currency.len != 0 && it->currency.len != 3)) {
        return loader_bad(e, "an event does not fit");
    }
    struct event_object *ev = event_make(s, it->number, it->id);
    if (ev == NULL) {
        return no_memory(e);
    }
    ev->pub.index = it->index;
    ev->sold = it->sold;
    ev->body = body_make(s, cell, it->attributes, it->ruleset, it->currency, it->open);
    if (ev->body == NULL || !body_alloc_seats(s, ev->body)) {
        event_free(s, ev);
        return no_memory(e);
    }
    event_link(s, ev, true);
    return 0;
}

/* Events are listed by number, but were written in any order: so they are linked by
 * number from a sorted list of where they stand. */
struct where {
    uint32_t number;
    uint32_t at;
};

static int by_number(const void *a, const void *b)
{
    const struct where *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static int link_events(struct store_loader *l, struct error *e)
{
    struct store *s = l->store;
    size_t count = l->counts[ITEM_EVENT], bytes = sizeof(struct where) * count;
    struct where *list = slab_alloc(&s->slab, bytes);
    if (list == NULL) {
        return no_memory(e);
    }
    struct reader r;
    struct event_item it;
    reader_init(&r, l->events.data, l->events.len);
    for (size_t i = 0; i < count; i++) {
        list[i].at = (uint32_t)(l->events.len - reader_left(&r));
        (void)item_get_event(&r, &it);
        list[i].number = it.number;
    }
    if (count > 0) {
        qsort(list, count, sizeof *list, by_number);
    }
    int rc = l->events.len > UINT32_MAX ? loader_bad(e, "too many events") : 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        reader_init(&r, l->events.data + list[i].at, l->events.len - list[i].at);
        (void)item_get_event(&r, &it);
        rc = link_event(l, &it, e);
    }
    slab_free(&s->slab, list, bytes);
    return rc;
}

static int link_blocked(struct store_loader *l, struct error *e)
{
    struct store *s = l->store;
    struct reader r;
    reader_init(&r, l->blocked.data, l->blocked.len);
    while (reader_left(&r) > 0) {
        uint64_t number = reader_varint(&r), count = reader_varint(&r);
        struct event_object *ev = number < UINT32_MAX ? event_at(s, (uint32_t)number) : NULL;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t seat = reader_varint(&r), reason = reader_varint(&r);
            if (r.failed || ev == NULL || seat >= chart_seats(ev->pub.chart) ||
                ev->body->seats[seat] != 0 || reason >= s->names_len) {
                return loader_bad(e, "a blocked seat does not fit");
            }
            seat_set(s, ev, (uint32_t)seat,
                     (uint32_t)SEAT_BLOCKED << WORD_SHIFT | (uint32_t)reason);
        }
    }
    return 0;
}

/* ---- Orders --------------------------------------------------------------------------- */

static bool places_fit(const struct store_loader *l, const struct order *o)
{
    const struct store *s = l->store;
    for (uint32_t i = 0; i < o->places_count; i++) {
        const struct place *p = &o->places[i];
        const struct event_object *ev = event_at(s, p->event);
        if (p->event == 0 || p->event >= l->meta.next_event || p->type >= s->names_len) {
            return false;
        }
        uint32_t number = p->number & ~PLACE_AREA;
        if (ev != NULL && number >= (p->number & PLACE_AREA ? chart_areas(ev->pub.chart)
                                                            : chart_seats(ev->pub.chart))) {
            return false;
        }
    }
    return true;
}

static int link_order(struct store_loader *l, struct staged_order *staged, struct error *e)
{
    struct store *s = l->store;
    struct order *o = staged->order;
    if (staged->serial < s->next_serial || order_find(s, order_id(o)) != 0 || !places_fit(l, o) ||
        (order_live(o) && places_check(s, 0, o->places, o->places_count, true, NULL) != 0)) {
        return loader_bad(e, "an order does not fit");
    }
    s->next_serial = staged->serial;
    uint32_t slot = order_reserve(s, o) ? order_slot(s) : 0;
    if (slot == 0) {
        return no_memory(e);
    }
    staged->order = NULL;
    order_swap(s, slot, NULL, o, true);
    s->next_serial++;
    return 0;
}

static int by_serial(const void *a, const void *b)
{
    const struct staged_order *x = a, *y = b;
    return (x->serial > y->serial) - (x->serial < y->serial);
}

/* The first slot whose order has a serial of at least `serial`. */
static uint32_t slot_from(const struct store *s, uint64_t serial)
{
    uint32_t low = 1, high = s->records.next;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (record_at(s, mid)->serial < serial) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* Slots were given out by serial just now, so the low half of a serial is enough. */
static void link_results(struct store_loader *l)
{
    struct store *s = l->store;
    for (uint64_t at = s->results.head; at < s->results.tail; at++) {
        struct result_entry *r = result_at(s, at);
        for (int i = 0; i < 2; i++) {
            uint64_t serial = (l->meta.next_serial & ~(uint64_t)UINT32_MAX) | r->serial[i];
            if (serial >= l->meta.next_serial && serial > UINT32_MAX) {
                serial -= (uint64_t)UINT32_MAX + 1;
            }
            uint32_t slot = r->serial[i] != 0 ? slot_from(s, serial) : s->records.next;
            bool there = slot < s->records.next && record_at(s, slot)->serial == serial;
            r->slot[i] = there ? slot : 0;
        }
    }
}

static void sort_orders(struct store_loader *l)
{
    bool sorted = true; /* they are, unless slots were used again */
    for (size_t i = 1; sorted && i < l->orders_len; i++) {
        sorted = l->orders[i - 1].serial < l->orders[i].serial;
    }
    if (!sorted) {
        qsort(l->orders, l->orders_len, sizeof *l->orders, by_serial);
    }
}

int loader_link(struct store_loader *l, struct error *e)
{
    struct store *s = l->store;
    int rc = link_events(l, e);
    rc = rc != 0 ? rc : link_blocked(l, e);
    sort_orders(l);
    table_reserve(&s->orders, (uint32_t)l->orders_len);
    table_reserve(&s->pair_table, (uint32_t)l->orders_len);
    for (size_t i = 0; i < l->orders_len && rc == 0; i++) {
        rc = link_order(l, &l->orders[i], e);
    }
    if (rc != 0) {
        return rc;
    }
    s->next_serial = l->meta.next_serial;
    s->next_event = l->meta.next_event;
    link_results(l);
    if (store_digest(s) != l->meta.digest) {
        return loader_bad(e, "the state does not have the digest it was written with");
    }
    rc = store_check(s, e);
    if (rc != 0) {
        error_prefix(e, "snapshot");
    }
    return rc;
}
