/* Part of test_model.c: the store and the model side by side, and random operations on both. */
#ifndef USHER_TESTS_UNIT_STORE_MODEL_WORLD_H
#define USHER_TESTS_UNIT_STORE_MODEL_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lib/rng.h"
#include "model_compare.h"

#define FLIGHTS_MAX 3
#define HISTORY_MAX 4096

struct flight {
    struct model before, after;
    uint64_t digest_before, digest_after, index;
    bool recharted; /* an event got another chart in between: seats have new numbers */
    struct buf entry;
};

struct snapshot_run {
    struct snapshot *snap;
    struct model at;
    uint64_t digest;
    bool starved; /* memory ran out meanwhile: the snapshot may fail, the store may not */
    struct buf bytes;
    struct buf later[HISTORY_MAX]; /* entries committed since */
    uint64_t later_index[HISTORY_MAX];
    size_t later_count;
};

struct world {
    struct rng r;
    uint64_t seed, ops, out_of_memory;
    uint64_t granted[EFFECT_EMIT + 1], refused[EFFECT_EMIT + 1];
    struct store *s, *replica;
    struct model m;
    struct flight flights[FLIGHTS_MAX];
    unsigned flights_count;
    struct snapshot_run snapshot;
    struct buf layouts[M_LAYOUTS]; /* encoded charts */
    struct place places[M_PLACES];
    struct span types[M_PLACES];
};

static struct world *current;

static void differ(const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fail_msg("%s (operation %llu; replay with USHER_SEED=%llu)", text,
             (unsigned long long)current->ops, (unsigned long long)current->seed);
    abort();
}

static uint32_t below(struct world *w, uint32_t n) { return rng_below(&w->r, n); }
static bool one_in(struct world *w, uint32_t n) { return rng_one_in(&w->r, n); }

/* ---- Charts ----------------------------------------------------------------------- */

static struct buf encode_layout(const struct m_layout *l)
{
    struct chart_builder *b = chart_builder_new();
    struct buf out = BUF_INIT;
    assert_non_null(b);
    assert_int_equal(chart_add_section(b, span_of("all"), NULL), 0);
    assert_int_equal(chart_add_category(b, span_of("even"), NULL), 0);
    assert_int_equal(chart_add_category(b, span_of("odd"), NULL), 1);
    assert_int_equal(chart_add_row(b, span_of("row"), 0, NULL), 0);
    for (uint32_t i = 0; i < l->seats; i++) {
        struct chart_seat seat = { .label = span_of(labels[l->label[i]]),
                                   .category = (uint32_t)m_category(l, i),
                                   .table = -1 };
        assert_int_equal(chart_add_seat(b, &seat, NULL), i);
    }
    for (uint32_t i = 0; i < l->areas; i++) {
        struct chart_area area = { span_of(area_names[l->area[i]]), 1, l->capacity[i] };
        assert_int_equal(chart_add_area(b, &area, NULL), i);
    }
    assert_int_equal(chart_builder_encode(b, &out, NULL), 0);
    chart_builder_free(b);
    return out;
}

/* ---- Random operations -------------------------------------------------------------- */

enum wanted { UNUSED, USED, USABLE, HELD_NOW, ENDED };

static bool is_wanted(const struct world *w, const struct m_order *o, enum wanted what)
{
    bool held = o->used && o->status == ORDER_HELD && o->expires > w->m.time;
    switch (what) {
    case UNUSED: return !o->used;
    case USED: return o->used;
    case USABLE: return held || (o->used && o->status == ORDER_BOOKED);
    case HELD_NOW: return held;
    case ENDED: return o->used && !model_live(o);
    }
    return false;
}

/* Mostly one of that kind. */
static uint8_t random_order(struct world *w, enum wanted what)
{
    uint8_t i = (uint8_t)below(w, M_ORDERS);
    for (int tries = 0; tries < 30 && !is_wanted(w, &w->m.orders[i], what); tries++) {
        i = (uint8_t)below(w, M_ORDERS);
    }
    return i;
}

static const struct m_event *random_event(struct world *w)
{
    for (int tries = 0; tries < 8; tries++) {
        const struct m_event *ev = &w->m.events[below(w, M_EVENTS)];
        if (ev->used) {
            return ev;
        }
    }
    return NULL;
}

/* Mostly a seat that has the status wanted. */
static void random_place(struct world *w, const struct m_event *ev, enum seat_status want,
                         struct m_place *p)
{
    const struct m_layout *l = ev != NULL ? &m_layouts[ev->layout] : &m_layouts[0];
    p->event = ev != NULL && !one_in(w, 200) ? ev->number : below(w, w->m.next_event + 2);
    p->count = 1;
    if (l->areas > 0 && one_in(w, 8)) {
        p->number = PLACE_AREA | below(w, one_in(w, 50) ? 4 : l->areas);
        p->count = one_in(w, 80) ? 0 : 1 + below(w, 3);
    } else {
        int order;
        p->number = below(w, one_in(w, 50) ? 20 : l->seats);
        for (int tries = 0; tries < 6 && ev != NULL && !one_in(w, 8) && p->number < l->seats &&
                            model_seat(&w->m, ev, p->number, &order) != want;
             tries++) {
            p->number = below(w, l->seats);
        }
    }
    p->type = one_in(w, 3) ? below(w, M_TYPES) : 0;
    p->price = one_in(w, 3) ? 0 : (int32_t)below(w, 20000) - 2000;
}

static void random_places(struct world *w, struct m_op *op)
{
    const struct m_event *ev = random_event(w);
    op->places_count = one_in(w, 60) ? 0 : 1 + below(w, one_in(w, 2) ? 4 : 2);
    for (uint32_t i = 0; i < op->places_count; i++) {
        ev = one_in(w, 4) ? random_event(w) : ev;
        random_place(w, ev, op->kind == EFFECT_UNBLOCK ? SEAT_BLOCKED : SEAT_FREE, &op->places[i]);
        if (i > 0 && op->places[i - 1].number & PLACE_AREA && one_in(w, 2)) {
            op->places[i] = op->places[i - 1]; /* the same area once more is legal */
        }
    }
}

/* Some of the order's own places, mostly; none at all means the whole order. */
static void random_parts(struct world *w, struct m_op *op)
{
    const struct m_order *o = &w->m.orders[op->order];
    op->places_count = below(w, 3);
    if (!o->used || o->places_count + op->places_count > M_PLACES) {
        op->places_count = 0;
    }
    for (uint32_t i = 0; i < op->places_count; i++) {
        if (o->places_count == 0 || one_in(w, 10)) {
            random_place(w, random_event(w), SEAT_FREE, &op->places[i]);
        } else {
            op->places[i] = o->places[below(w, o->places_count)];
            op->places[i].count = op->places[i].number & PLACE_AREA
                                      ? below(w, op->places[i].count + 1) + !one_in(w, 20)
                                      : 1;
            op->places[i].type = 0;
            op->places[i].price = 0;
        }
    }
}

static const struct {
    enum effect_kind kind;
    uint32_t weight;
} weights[] = {
    { EFFECT_TAKE, 250 },       { EFFECT_CONFIRM, 80 },     { EFFECT_EXTEND, 40 },
    { EFFECT_FINISH, 230 },     { EFFECT_RESEAT, 60 },      { EFFECT_SPLIT, 50 },
    { EFFECT_AMEND, 30 },       { EFFECT_BLOCK, 25 },       { EFFECT_UNBLOCK, 25 },
    { EFFECT_KV_SET, 40 },      { EFFECT_RESULT, 60 },      { EFFECT_RESULT_DROP, 10 },
    { EFFECT_ORDER_DROP, 160 }, { EFFECT_FORGET, 10 },      { EFFECT_EVENT_PUT, 20 },
    { EFFECT_EVENT_SET, 30 },   { EFFECT_EVENT_REMOVE, 8 }, { EFFECT_CHART_PUT, 10 },
    { EFFECT_POLICY_PUT, 4 },   { EFFECT_RECORD_SET, 10 },  { EFFECT_EMIT, 5 },
};
#define KINDS    (sizeof weights / sizeof weights[0])
#define EXCHANGE 0 /* counted apart from other reseats; no kind has this tag */

static enum effect_kind random_kind(struct world *w)
{
    uint32_t total = 0, i = 0;
    for (size_t k = 0; k < KINDS; k++) {
        total += weights[k].weight;
    }
    uint32_t at = below(w, total);
    while (at >= weights[i].weight) {
        at -= weights[i++].weight;
    }
    return weights[i].kind;
}

/* The order that should be expired now, as the leader would do. */
static void maybe_expire(struct world *w, struct m_op *op)
{
    for (uint8_t i = 0; i < M_ORDERS; i++) {
        const struct m_order *o = &w->m.orders[i];
        if (o->used && o->status == ORDER_HELD && o->expires <= w->m.time && one_in(w, 2)) {
            op->order = i;
            op->code = ORDER_EXPIRED;
        }
    }
}

/* The order's places with a few seats replaced by those of another order, at the price
 * that makes it even; sometimes not quite. */
static void random_exchange(struct world *w, struct m_op *op)
{
    op->exchange = true;
    op->order2 = one_in(w, 20) ? op->order2 : random_order(w, USABLE);
    const struct m_order *a = &w->m.orders[op->order], *b = &w->m.orders[op->order2];
    if (!a->used || !b->used || b->places_count == 0) {
        return;
    }
    memcpy(op->places, a->places, sizeof op->places);
    op->places_count = a->places_count;
    op->price = a->price;
    for (uint32_t i = 0, k = below(w, b->places_count); i < op->places_count; i++) {
        if (one_in(w, 2) && k < b->places_count && !(a->places[i].number & PLACE_AREA)) {
            op->price += b->places[k].price - a->places[i].price;
            op->places[i] = b->places[k++];
        }
        if (one_in(w, 10)) {
            op->places[i] = op->places[below(w, op->places_count)];
        }
    }
    op->price += one_in(w, 20);
}

static void random_order_op(struct world *w, struct m_op *op)
{
    switch (op->kind) {
    case EFFECT_TAKE:
        op->order = random_order(w, one_in(w, 12) ? USED : UNUSED);
        op->until = one_in(w, 3) ? 0 : w->m.time + below(w, 20000) + (one_in(w, 60) ? 0 : 1);
        op->late = one_in(w, 20);
        random_places(w, op);
        for (uint8_t i = 0; op->late && i < M_ORDERS; i++) {
            const struct m_order *o = &w->m.orders[i];
            if (o->used && o->status == ORDER_EXPIRED && one_in(w, 2)) {
                op->order = i;
                op->customer = one_in(w, 10) ? op->customer : o->customer;
                op->places_count = one_in(w, 2) ? 0 : o->places_count;
                memcpy(op->places, o->places, sizeof op->places);
            }
        }
        break;
    case EFFECT_FINISH:
        op->order = one_in(w, 8) ? op->order : random_order(w, USABLE);
        op->code = one_in(w, 40) ? (int)below(w, 6) : (int)(ORDER_RELEASED + below(w, 3));
        if (w->m.orders[op->order].status == ORDER_BOOKED && !one_in(w, 4)) {
            op->code = ORDER_CANCELLED;
        }
        random_parts(w, op);
        if (one_in(w, 3)) {
            maybe_expire(w, op);
            op->places_count = 0;
        }
        break;
    case EFFECT_RESEAT:
        op->order = one_in(w, 10) ? op->order : random_order(w, USABLE);
        random_places(w, op);
        if (one_in(w, 3)) {
            random_exchange(w, op);
        }
        break;
    case EFFECT_SPLIT:
        for (int tries = 0; tries < 8 && w->m.orders[op->order].places_count < 2; tries++) {
            op->order = random_order(w, USABLE);
        }
        op->order2 = random_order(w, one_in(w, 20) ? USED : UNUSED);
        random_parts(w, op);
        break;
    case EFFECT_ORDER_DROP: op->order = one_in(w, 5) ? op->order : random_order(w, ENDED); break;
    default:
        op->order = one_in(w, 5) ? op->order : random_order(w, HELD_NOW);
        op->until = w->m.time + below(w, 20000) + (one_in(w, 30) ? 0 : 1);
        break;
    }
}

static void random_op(struct world *w, struct m_op *op)
{
    memset(op, 0, sizeof *op);
    op->kind = random_kind(w);
    op->set = below(w, 128);
    op->order = random_order(w, one_in(w, 25) ? UNUSED : USED);
    op->order2 = random_order(w, one_in(w, 2) ? UNUSED : USED);
    op->customer = (uint8_t)below(w, M_CUSTOMERS - 1);
    op->customer2 = (uint8_t)below(w, M_CUSTOMERS);
    if (op->kind == EFFECT_FORGET && !one_in(w, 3)) { /* both ways, so that it can work */
        op->customer2 = M_CUSTOMERS - 1;
        for (int i = 0; i < M_ORDERS; i++) {
            if (w->m.orders[i].used && w->m.orders[i].customer == M_CUSTOMERS - 1) {
                op->customer = M_CUSTOMERS - 1;
                op->customer2 = (uint8_t)below(w, M_CUSTOMERS - 1);
            }
        }
    }
    op->event = (uint8_t)below(w, M_EVENTS);
    op->chart = (uint8_t)below(w, M_CHARTS);
    op->layout = (uint8_t)below(w, M_LAYOUTS);
    op->text = (uint8_t)below(w, op->kind == EFFECT_BLOCK ? M_TYPES : M_TEXTS);
    op->ruleset = (uint8_t)below(w, 3);
    op->currency = (uint8_t)(one_in(w, 12) ? below(w, 3) : 1);
    op->key = (uint8_t)below(w, M_KEYS);
    op->user = (uint8_t)below(w, M_USERS);
    op->request = (uint8_t)below(w, M_REQUESTS);
    op->record = (uint8_t)below(w, M_RECORDS);
    op->open = !one_in(w, 10);
    op->unjudged = one_in(w, 5);
    op->overbook = one_in(w, 8);
    op->code = one_in(w, 2) ? 0 : (int)(1 + below(w, ERR_COUNT_ - 1));
    op->number = w->m.next_event + one_in(w, 20);
    op->version = op->kind != EFFECT_POLICY_PUT || w->m.policies_count == 0
                      ? below(w, 3)
                      : w->m.policies[w->m.policies_count - 1].version + !one_in(w, 10);
    op->args = rng_next(&w->r);
    op->time = w->m.time - (w->m.time > 9000 ? below(w, 9000) : 0);
    op->price = (int64_t)below(w, 100000) - 1000;
    if (op->kind == EFFECT_BLOCK || op->kind == EFFECT_UNBLOCK) {
        random_places(w, op);
    } else if ((op->kind >= EFFECT_TAKE && op->kind <= EFFECT_SPLIT) ||
               op->kind == EFFECT_ORDER_DROP) {
        random_order_op(w, op);
    }
}

static void effect_places(struct world *w, const struct m_op *op, struct effect *f)
{
    bool typed = one_in(w, 30);
    for (uint32_t i = 0; i < op->places_count; i++) {
        const struct m_place *p = &op->places[i];
        w->places[i] = (struct place){ p->event, p->number, p->count, 0, p->price };
        w->types[i] = pick(types, p->type);
        typed |= p->type != 0;
    }
    f->places = w->places;
    f->places_count = op->places_count;
    f->types = typed && op->places_count > 0 ? w->types : NULL;
}

static void to_effect(struct world *w, const struct m_op *op, struct effect *f)
{
    static const char sha256[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    *f = (struct effect){ .kind = op->kind,
                          .set = op->set,
                          .id = order_text(op->order),
                          .text = pick(texts, op->text),
                          .ruleset = pick(rulesets, op->ruleset),
                          .currency = pick(currencies, op->currency),
                          .customer = pick(customers, op->customer),
                          .user = pick(users, op->user),
                          .request = pick(requests, op->request),
                          .sha256 = span_of(sha256),
                          .number = op->number,
                          .version = op->version,
                          .until_ms = op->until,
                          .args_digest = op->args,
                          .time_ms = op->time,
                          .price = op->price,
                          .code = op->code,
                          .open = op->open,
                          .unjudged = op->unjudged,
                          .overbook = op->overbook,
                          .late = op->late };
    effect_places(w, op, f);
    switch (op->kind) {
    case EFFECT_CHART_PUT:
        f->id = pick(charts, op->chart);
        f->text = span_make((char *)w->layouts[op->layout].data, w->layouts[op->layout].len);
        break;
    case EFFECT_EVENT_PUT:
    case EFFECT_EVENT_SET:
    case EFFECT_EVENT_REMOVE:
        f->id = pick(events, op->event);
        f->id2 = pick(charts, op->chart);
        break;
    case EFFECT_SPLIT: f->id2 = order_text(op->order2); break;
    case EFFECT_RESEAT: f->id2 = op->exchange ? order_text(op->order2) : span_make("", 0); break;
    case EFFECT_BLOCK: f->text = pick(types, op->text); break;
    case EFFECT_KV_SET: f->id = pick(keys, op->key); break;
    case EFFECT_RESULT:
        f->id2 = op->code == 0 ? order_text(op->order) : span_make("", 0);
        f->id3 = op->code == 0 ? order_text(op->order2) : span_make("", 0);
        break;
    case EFFECT_FORGET:
        f->id = pick(customers, op->customer);
        f->id2 = pick(customers, op->customer2);
        break;
    case EFFECT_RECORD_SET: f->id = pick(records, op->record); break;
    default: break;
    }
}

/* Now and then an allocation fails. Then nothing may have changed, and the same effect is
 * done again with memory. */
static int do_with_little_memory(struct world *w, const struct effect *f, struct error *e)
{
    if (w->snapshot.snap != NULL ? !one_in(w, 200) : !one_in(w, 4)) {
        return store_do(w->s, f, e);
    }
    uint64_t digest = store_digest(w->s);
    size_t effects = store_tx_effects(w->s).len;
    w->snapshot.starved = true;
    mem_test_fail_at(1 + below(w, 3));
    int rc = store_do(w->s, f, e);
    mem_test_fail_at(0);
    if (rc != ERR_NOMEM) {
        return rc;
    }
    w->out_of_memory++;
    SAME(store_digest(w->s) == digest, "effect %d: out of memory left traces", f->kind);
    SAME(store_tx_effects(w->s).len == effects, "effect %d: out of memory, but logged", f->kind);
    error_clear(e);
    return store_do(w->s, f, e);
}

static void do_both(struct world *w, struct m_op op)
{
    struct effect f;
    struct error e = { 0 };
    to_effect(w, &op, &f);
    uint64_t digest = store_digest(w->s);
    struct span effects = store_tx_effects(w->s);
    uint64_t faults = model_do(&w->m, &op);
    int rc = do_with_little_memory(w, &f, &e);
    w->ops++;
    (rc == 0 ? w->granted : w->refused)[op.exchange ? EXCHANGE : op.kind]++;
    w->flights[w->flights_count].recharted |= op.kind == EFFECT_EVENT_SET && (op.set & SET_CHART);
    SAME((rc == 0) == (faults == 0), "effect %d: %s, the model says %s (faults %llx)", op.kind,
         rc == 0 ? "granted" : e.message, faults == 0 ? "granted" : "refused",
         (unsigned long long)faults);
    if (rc != 0) {
        SAME(faults >> rc & 1, "effect %d: refused as %s %s, the model has %llx", op.kind,
             error_wire(rc), e.message, (unsigned long long)faults);
        SAME(e.code == rc && e.message[0] != 0, "effect %d: no message", op.kind);
        SAME(store_digest(w->s) == digest, "effect %d: refused, but the digest changed", op.kind);
        SAME(store_tx_effects(w->s).len == effects.len, "effect %d: refused, but logged", op.kind);
        for (unsigned i = 0; i < M_CUSTOMERS; i++) {
            bool own = op.kind == EFFECT_FORGET || span_is(f.customer, customers[i]);
            SAME(own || strstr(e.message, customers[i]) == NULL, "customer in '%s'", e.message);
        }
    }
}

static void one_op(struct world *w)
{
    struct m_op op;
    random_op(w, &op);
    do_both(w, op);
}

/* What remove-event --cancel-orders does. */
static void cancel_event(struct world *w)
{
    const struct m_event *ev = random_event(w);
    for (uint8_t i = 0; ev != NULL && i < M_ORDERS; i++) {
        const struct m_order *o = &w->m.orders[i];
        for (int k = 0; model_live(o) && k < o->places_count; k++) {
            if (o->places[k].event == ev->number) {
                do_both(
                    w, (struct m_op){ .kind = EFFECT_FINISH, .order = i, .code = ORDER_CANCELLED });
            }
        }
    }
    if (ev != NULL) {
        do_both(w,
                (struct m_op){ .kind = EFFECT_EVENT_REMOVE, .event = (uint8_t)(ev - w->m.events) });
    }
}

#endif
