/* Part of test_model.c: texts of the small world, and comparing the store with the model. */
#ifndef USHER_TESTS_UNIT_STORE_MODEL_COMPARE_H
#define USHER_TESTS_UNIT_STORE_MODEL_COMPARE_H

#include <stdio.h>
#include <string.h>

#include "lib/store_model.h"

/* Ends the test; the driver's handler prints the seed first. */
static void differ(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
#define SAME(cond, ...)                                                                            \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            differ(__VA_ARGS__);                                                                   \
        }                                                                                          \
    } while (0)

/* ---- Texts ------------------------------------------------------------------------ */

static struct span pick(const char *const *pool, unsigned i) { return span_of(pool[i]); }

static const char *const customers[M_CUSTOMERS] = { "c.ann", "c.bob", "c.cyd",
                                                    "c.Dan", "c.e-5", "gone-1" };
static const char *const events[M_EVENTS] = { "1", "matinee", "late-show", "E4" };
static const char *const charts[M_CHARTS] = { "hall", "cellar", "garden" };
static const char *const texts[M_TEXTS] = { "", "{}", "{\"a\":1}", "[1,2,3]", "\"long enough\"" };
static const char *const types[M_TYPES] = { "", "child", "adult", "broken chair" };
static const char *const rulesets[3] = { "", "matinee", "gala" };
static const char *const currencies[3] = { "", "EUR", "SEK" };
static const char *const keys[M_KEYS] = { "a", "ab", "abc", "b/1", "b/2", "zz" };
static const char *const users[M_USERS] = { "", "app", "web" };
static const char *const requests[M_REQUESTS] = { "r0",  "r1",  "r2",  "r3", "r4",  "r5",
                                                  "r6",  "r7",  "r8",  "r9", "r10", "r11",
                                                  "r12", "r13", "r14", "r15" };
static const char *const records[M_RECORDS] = { "level", "member", "clock" };
static const char *const labels[M_LABELS] = { "A1", "A2", "A3", "A4", "B1", "B2",
                                              "B3", "B4", "C1", "C2", "C3", "C4" };
static const char *const area_names[M_AREAS] = { "floor", "lawn" };

static struct span order_text(unsigned i)
{
    static char names[M_ORDERS][16];
    if (names[i][0] == 0) {
        snprintf(names[i], sizeof names[i], "7H2K9QWERTY%02u", i);
    }
    return span_of(names[i]);
}

/* ---- Comparing -------------------------------------------------------------------- */

static void compare_order(const struct store *s, const struct model *m, unsigned i)
{
    const struct order *a = store_order(s, order_text(i));
    const struct m_order *b = &m->orders[i];
    SAME((a != NULL) == b->used, "order %u is %sthere", i, a != NULL ? "" : "not ");
    if (a == NULL) {
        return;
    }
    SAME(span_eq(order_id(a), order_text(i)), "order %u: id", i);
    SAME(span_eq(order_customer(a), pick(customers, b->customer)), "order %u: customer", i);
    SAME(span_eq(order_metadata(a), pick(texts, b->metadata)), "order %u: metadata", i);
    SAME(a->status == b->status, "order %u: status %d, not %d", i, a->status, b->status);
    SAME(a->expires_ms == b->expires, "order %u: expires", i);
    SAME(a->first_held_ms == b->first_held, "order %u: first held", i);
    SAME(a->changed_ms == b->changed, "order %u: changed", i);
    SAME(a->index == b->index, "order %u: index %llu, not %llu", i, (unsigned long long)a->index,
         (unsigned long long)b->index);
    SAME(a->price == b->price, "order %u: price %lld, not %lld", i, (long long)a->price,
         (long long)b->price);
    SAME(a->policy == b->policy, "order %u: policy", i);
    SAME(a->unjudged == b->unjudged, "order %u: unjudged", i);
    SAME(a->overbook == b->overbook, "order %u: overbook", i);
    SAME(a->places_count == b->places_count, "order %u: %u places, not %u", i, a->places_count,
         b->places_count);
    for (unsigned k = 0; k < b->places_count; k++) {
        const struct place *p = &a->places[k];
        const struct m_place *q = &b->places[k];
        SAME(p->event == q->event && p->number == q->number && p->count == q->count &&
                 p->price == q->price,
             "order %u: place %u", i, k);
        SAME(span_eq(store_name(s, p->type), pick(types, q->type)), "order %u: type %u", i, k);
    }
}

static void compare_customer(const struct store *s, const struct model *m, const struct event *ev,
                             const struct m_event *me, unsigned customer)
{
    for (int category = -1; category < 2; category++) {
        struct customer_use want = { 0, 0 };
        for (int i = 0; i < M_ORDERS; i++) {
            const struct m_order *o = &m->orders[i];
            for (int k = 0; model_live(o) && o->customer == customer && k < o->places_count; k++) {
                const struct m_place *p = &o->places[k];
                if (p->event == me->number &&
                    (category < 0 || m_category(&m_layouts[me->layout], p->number) == category)) {
                    *(o->status == ORDER_HELD ? &want.held : &want.booked) += p->count;
                }
            }
        }
        struct customer_use have = store_customer(s, ev, pick(customers, customer), category);
        SAME(have.held == want.held && have.booked == want.booked,
             "customer %u at %s, category %d: %u/%u, not %u/%u", customer, ev->id.data, category,
             have.held, have.booked, want.held, want.booked);
    }
}

static void compare_seats(const struct store *s, const struct model *m, const struct event *ev,
                          const struct m_event *me)
{
    const struct m_layout *l = &m_layouts[me->layout];
    uint32_t counts[SEAT_STATUS_COUNT] = { 0 };
    uint8_t all[M_LABELS];
    store_seats(s, ev, all);
    for (uint32_t seat = 0; seat < l->seats; seat++) {
        int order;
        enum seat_status want = model_seat(m, me, seat, &order);
        counts[want]++;
        SAME(store_seat(s, ev, seat) == want && all[seat] == want, "seat %s: %s, not %s",
             labels[l->label[seat]], seat_status_name(store_seat(s, ev, seat)),
             seat_status_name(want));
        const struct order *o = store_seat_order(s, ev, seat);
        SAME((o != NULL) == (order >= 0) &&
                 (o == NULL || span_eq(order_id(o), order_text((unsigned)order))),
             "order of seat %s", labels[l->label[seat]]);
        struct span reason = store_seat_reason(s, ev, seat);
        SAME(span_eq(reason, pick(types, want == SEAT_BLOCKED ? me->blocked[seat] - 1u : 0)),
             "reason of seat %s", labels[l->label[seat]]);
    }
    for (int i = 0; i < SEAT_STATUS_COUNT; i++) {
        SAME(ev->counts[i] == counts[i], "count of %s: %u, not %u", seat_status_name(i),
             ev->counts[i], counts[i]);
    }
    for (uint32_t area = 0; area < l->areas; area++) {
        struct area_use have = store_area(s, ev, area), want = model_area(m, me, area);
        SAME(have.held == want.held && have.booked == want.booked, "area %u: %u/%u, not %u/%u",
             area, have.held, have.booked, want.held, want.booked);
    }
}

static void compare_event(const struct store *s, const struct model *m, unsigned i)
{
    const struct event *a = store_event(s, pick(events, i));
    const struct m_event *b = &m->events[i];
    SAME((a != NULL) == b->used, "event %u is %sthere", i, a != NULL ? "" : "not ");
    if (a == NULL) {
        return;
    }
    SAME(a->number == b->number && store_event_number(s, b->number) == a, "event %u: number", i);
    SAME(a->open == b->open, "event %u: open", i);
    SAME(a->index == b->index, "event %u: index %llu, not %llu", i, (unsigned long long)a->index,
         (unsigned long long)b->index);
    SAME(span_eq(a->id, pick(events, i)) && span_eq(a->chart_id, pick(charts, b->chart)),
         "event %u: ids", i);
    SAME(span_eq(a->attributes, pick(texts, b->attributes)), "event %u: attributes", i);
    SAME(span_eq(a->ruleset, pick(rulesets, b->ruleset)), "event %u: ruleset", i);
    SAME(span_eq(a->currency, pick(currencies, b->currency)), "event %u: currency", i);
    SAME(chart_seats(a->chart) == m_layouts[b->layout].seats, "event %u: chart", i);
    compare_seats(s, m, a, b);
    for (unsigned c = 0; c < M_CUSTOMERS; c++) {
        compare_customer(s, m, a, b, c);
    }
}

static void compare_events(const struct store *s, const struct model *m)
{
    uint32_t total = 0, number = 0;
    for (unsigned i = 0; i < M_EVENTS; i++) {
        compare_event(s, m, i);
        total += m->events[i].used;
    }
    SAME(store_event_total(s) == total, "number of events");
    for (const struct event *ev = store_event_next(s, NULL); ev != NULL;
         ev = store_event_next(s, ev)) {
        SAME(ev->number > number, "events out of order");
        number = ev->number;
        total--;
    }
    SAME(total == 0, "events in the list");
    for (unsigned i = 0; i < M_CHARTS; i++) {
        const struct chart *c = store_chart(s, pick(charts, i));
        SAME((c != NULL) == (m->charts[i] != 0), "chart %u", i);
        SAME(c == NULL || chart_seats(c) == m_layouts[m->charts[i] - 1].seats, "chart %u", i);
    }
}

/* Orders that a filter lists, as order numbers. */
struct listed {
    unsigned ids[M_ORDERS];
    unsigned count, limit;
};

static bool list_order(void *arg, const struct order *o)
{
    struct listed *l = arg;
    SAME(l->count < M_ORDERS, "more orders than there can be");
    for (unsigned i = 0; i < M_ORDERS; i++) {
        if (span_eq(order_id(o), order_text(i))) {
            l->ids[l->count++] = i;
            return l->count < l->limit;
        }
    }
    differ("an order nobody made");
}

static bool matches(const struct m_order *o, const struct order_filter *f, int customer)
{
    bool at_event = f->event == NULL;
    for (int k = 0; !at_event && k < o->places_count; k++) {
        at_event = o->places[k].event == f->event->number;
    }
    return o->used && at_event && o->changed >= f->since_ms &&
           (customer < 0 || o->customer == customer) &&
           (f->status == -1 || (f->status == -2 ? model_live(o) : o->status == f->status));
}

/* customer -1: any. after: order number or -1. */
static void compare_list(const struct store *s, const struct model *m, struct order_filter f,
                         int customer, int after, unsigned limit)
{
    struct listed have = { .limit = limit };
    unsigned want = 0;
    f.customer = customer < 0 ? span_make("", 0) : pick(customers, (unsigned)customer);
    f.after = after < 0 ? span_make("", 0) : order_text((unsigned)after);
    store_orders(s, &f, list_order, &have);
    uint64_t last = after < 0 ? 0 : m->orders[after].serial + 1; /* smallest serial that may come */
    while (want < limit) {
        int next = -1;
        for (int i = 0; i < M_ORDERS; i++) {
            const struct m_order *o = &m->orders[i];
            if (matches(o, &f, customer) && o->serial >= last &&
                (next < 0 || o->serial < m->orders[next].serial)) {
                next = i;
            }
        }
        if (next < 0) {
            break;
        }
        SAME(want < have.count && have.ids[want] == (unsigned)next,
             "list (event %d, customer %d, status %d, after %d): order %d is not number %u",
             f.event != NULL ? (int)f.event->number : -1, customer, f.status, after, next, want);
        last = m->orders[next].serial + 1;
        want++;
    }
    SAME(have.count == want, "list has %u orders, not %u", have.count, want);
}

static void compare_queues(const struct store *s, const struct model *m)
{
    const struct m_order *expiry = NULL, *ended = NULL;
    for (int i = 0; i < M_ORDERS; i++) {
        const struct m_order *o = &m->orders[i];
        if (o->used && o->status == ORDER_HELD &&
            (expiry == NULL || o->expires < expiry->expires ||
             (o->expires == expiry->expires && o->serial < expiry->serial))) {
            expiry = o;
        }
        if (o->used && o->status > ORDER_BOOKED &&
            (ended == NULL || o->changed < ended->changed ||
             (o->changed == ended->changed && o->serial < ended->serial))) {
            ended = o;
        }
    }
    const struct order *next = store_next_expiry(s), *oldest = store_oldest_ended(s);
    SAME((next != NULL) == (expiry != NULL), "next expiry");
    SAME(next == NULL || span_eq(order_id(next), order_text((unsigned)(expiry - m->orders))),
         "next expiry is another order");
    SAME((oldest != NULL) == (ended != NULL), "oldest ended");
    SAME(oldest == NULL || span_eq(order_id(oldest), order_text((unsigned)(ended - m->orders))),
         "oldest ended is another order");
}

struct listed_keys {
    const struct model *m;
    unsigned next;
};

static bool list_key(void *arg, const struct kv *kv)
{
    struct listed_keys *l = arg;
    while (l->next < M_KEYS && l->m->kv[l->next] == 0) {
        l->next++;
    }
    SAME(l->next < M_KEYS && span_eq(kv->key, pick(keys, l->next)) &&
             span_eq(kv->value, pick(texts, l->m->kv[l->next])),
         "keys differ at %u", l->next);
    l->next++;
    return true;
}

static void compare_small(const struct store *s, const struct model *m)
{
    for (unsigned i = 0; i < M_KEYS; i++) {
        struct span value;
        bool there = store_kv(s, pick(keys, i), &value);
        SAME(there == (m->kv[i] != 0), "key %u", i);
        SAME(!there || span_eq(value, pick(texts, m->kv[i])), "value of key %u", i);
    }
    struct listed_keys l = { m, 0 }; /* the pool is sorted */
    store_keys(s, span_make("", 0), span_make("", 0), list_key, &l);
    while (l.next < M_KEYS && m->kv[l.next] == 0) {
        l.next++;
    }
    SAME(l.next == M_KEYS, "keys are missing");
    for (unsigned i = 0; i < M_RECORDS; i++) {
        SAME(span_eq(store_record(s, pick(records, i)), pick(texts, m->records[i])), "record %u",
             i);
    }
    struct policy_record p;
    const struct m_policy *newest = &m->policies[m->policies_count - 1];
    SAME(store_policy(s, 0, &p) == (m->policies_count > 0), "newest policy");
    SAME(m->policies_count == 0 || p.version == newest->version, "version of the newest policy");
    for (unsigned i = 0; i < m->policies_count; i++) {
        const struct m_policy *want = &m->policies[i];
        SAME(store_policy(s, want->version, &p), "policy %u", want->version);
        SAME(p.time_ms == want->time && span_eq(p.author, pick(users, want->author)) &&
                 span_eq(p.bundle, pick(texts, want->bundle)) && p.sha256.len == 64,
             "contents of policy %u", want->version);
    }
    SAME(m->policies_count == 0 || m->policies[0].version == 1 ||
             !store_policy(s, m->policies[0].version - 1, &p),
         "a policy too many");
}

static struct span result_order(const struct model *m, uint8_t order, uint64_t serial)
{
    if (order == 0 || !m->orders[order - 1].used || m->orders[order - 1].serial != serial) {
        return span_make("", 0); /* forgotten since */
    }
    return order_text(order - 1u);
}

static void compare_results(const struct store *s, const struct model *m)
{
    SAME(store_results_total(s) == m->results_count, "number of results");
    SAME(store_oldest_result_ms(s) == (m->results_count > 0 ? m->results[0].time : UINT64_MAX),
         "oldest result");
    for (unsigned i = 0; i < M_USERS * M_REQUESTS; i++) {
        unsigned user = i / M_REQUESTS, request = i % M_REQUESTS;
        const struct m_result *want = NULL;
        struct result r;
        for (unsigned k = 0; k < m->results_count; k++) {
            if (m->results[k].user == user && m->results[k].request == request) {
                want = &m->results[k];
            }
        }
        bool there = store_result(s, pick(users, user), pick(requests, request), &r);
        SAME(there == (want != NULL), "result %u/%u", user, request);
        SAME(!there || (r.code == want->code && r.args_digest == want->args &&
                        r.index == want->index && r.time_ms == want->time &&
                        span_eq(r.order, result_order(m, want->order, want->serial)) &&
                        span_eq(r.order2, result_order(m, want->order2, want->serial2))),
             "contents of result %u/%u", user, request);
    }
}

static void compare_all(const struct store *s, const struct model *m)
{
    uint64_t live = 0, ended = 0, kv = 0;
    SAME(store_time_ms(s) == m->time && store_index(s) == m->index, "time or index");
    for (unsigned i = 0; i < M_ORDERS; i++) {
        compare_order(s, m, i);
        live += model_live(&m->orders[i]);
        ended += m->orders[i].used && !model_live(&m->orders[i]);
    }
    for (unsigned i = 0; i < M_KEYS; i++) {
        kv += m->kv[i] != 0;
    }
    compare_events(s, m);
    compare_queues(s, m);
    compare_small(s, m);
    compare_results(s, m);
    compare_list(s, m, (struct order_filter){ .status = -1 }, -1, -1, M_ORDERS);
    struct store_stats st;
    store_stats(s, &st);
    SAME(st.orders_live == live && st.orders_ended == ended && st.kv == kv &&
             st.results == m->results_count && st.events == store_event_total(s),
         "statistics");
}

#endif
