/* The store against a naive model (lib/store_model.h): a million random effects.
 *
 * Rounds with seeds of their own run random transactions in random groups: all
 * effects, refused ones too, several events in one transaction, areas, time that
 * passes, marks, transactions, groups and everything undone at random points, groups in
 * flight, rewind and replay, entries applied by a second store whose digest must agree
 * at every index, snapshots taken while all this goes on, loaded and used further.
 *
 * A failure prints its seed; USHER_SEED=N runs that round alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lib/rng.h"
#include "model_compare.h"

#define ROUNDS       10
#define ROUND_OPS    100000
#define FLIGHTS_MAX  3
#define HISTORY_MAX  4096
#define CHECKED_OPS  4000 /* at the start of a round: everything compared each transaction */
#define CHECK_ONE_IN 60   /* transactions, later */

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

/* ---- Comparing ---------------------------------------------------------------------- */

static void must_be_sound(const struct store *s)
{
    struct error e = { 0 };
    SAME(store_check(s, &e) == 0, "store_check: %s", e.message);
}

static void compare_random_list(struct world *w)
{
    const struct m_event *me = one_in(w, 2) ? random_event(w) : NULL;
    struct order_filter f = { .event = me != NULL ? store_event_number(w->s, me->number) : NULL,
                              .status = (int)below(w, 7) - 2,
                              .since_ms = one_in(w, 2) ? 0 : w->m.time - below(w, 2000) };
    int customer = one_in(w, 2) ? -1 : (int)below(w, M_CUSTOMERS);
    uint8_t after = random_order(w, USED);
    bool resume = one_in(w, 3) && w->m.orders[after].used;
    compare_list(w->s, &w->m, f, customer, resume ? after : -1, 1 + below(w, M_ORDERS));
}

static bool model_same_state(const struct model *a, const struct model *b)
{
    size_t from = offsetof(struct model, next_serial);
    return memcmp((const char *)a + from, (const char *)b + from, sizeof *a - from) == 0;
}

/* ---- Transactions and groups ---------------------------------------------------------- */

static void some_ops(struct world *w, int depth)
{
    for (uint32_t n = 1 + below(w, 4); n > 0; n--) {
        one_op(w);
    }
    if (one_in(w, 300)) {
        cancel_event(w);
    }
    if (depth > 0 && one_in(w, 4)) {
        struct model copy = w->m;
        uint64_t digest = store_digest(w->s);
        size_t mark = store_tx_mark(w->s);
        some_ops(w, depth - 1);
        if (!one_in(w, 3)) {
            store_tx_undo_to(w->s, mark);
            w->m = copy;
            SAME(store_digest(w->s) == digest, "undo to a mark does not restore the digest");
        }
        some_ops(w, depth - 1);
    }
}

static bool careful(struct world *w) { return w->ops < CHECKED_OPS || one_in(w, CHECK_ONE_IN); }

/* True when the transaction stays. */
static bool transaction(struct world *w, struct buf *entry)
{
    struct model copy = w->m;
    uint64_t digest = store_digest(w->s);
    store_tx_begin(w->s);
    some_ops(w, 2);
    bool stays = !one_in(w, 6);
    if (stays) {
        SAME(model_same_state(&copy, &w->m) || store_digest(w->s) != digest,
             "the state changed, the digest did not");
        entry_add(entry, &(struct entry_tx){ .user = span_of("app"),
                                             .command = span_of("random"),
                                             .effects = store_tx_effects(w->s) });
        store_tx_end(w->s);
    } else {
        store_tx_undo(w->s);
        w->m = copy;
        SAME(store_digest(w->s) == digest, "undo of a transaction does not restore the digest");
    }
    if (careful(w)) {
        compare_all(w->s, &w->m);
        compare_random_list(w);
        must_be_sound(w->s);
    }
    return stays;
}

static void undo_everything(struct world *w)
{
    const struct flight *oldest = &w->flights[0];
    store_undo_all(w->s);
    w->m = oldest->before;
    w->flights_count = 0;
    SAME(store_groups_in_flight(w->s) == 0, "groups left after undoing all");
    SAME(store_digest(w->s) == oldest->digest_before, "undoing all does not restore the digest");
    compare_all(w->s, &w->m);
}

static void group(struct world *w)
{
    struct flight *fl = &w->flights[w->flights_count];
    fl->before = w->m;
    fl->digest_before = store_digest(w->s);
    fl->recharted = false;
    fl->index = w->m.index + 1 + one_in(w, 10);
    w->m.time += one_in(w, 20) ? 4000 : below(w, 300);
    w->m.index = fl->index;
    buf_clear(&fl->entry);
    store_group_begin(w->s, w->m.time, fl->index);
    SAME(store_digest(w->s) == fl->digest_before, "beginning a group changes the digest");
    entry_begin(&fl->entry, w->m.time, fl->digest_before, 1);
    uint32_t stay = 0;
    for (uint32_t n = below(w, 5); n > 0; n--) {
        stay += transaction(w, &fl->entry);
    }
    if (one_in(w, 40)) {
        if (one_in(w, 2)) { /* in the middle of a transaction */
            store_tx_begin(w->s);
            some_ops(w, 1);
        }
        undo_everything(w);
    } else if (one_in(w, 10)) {
        store_group_cancel(w->s);
        w->m = fl->before;
        SAME(store_digest(w->s) == fl->digest_before, "a cancelled group leaves traces");
    } else {
        entry_end(&fl->entry, stay);
        store_group_seal(w->s);
        fl->digest_after = store_digest(w->s);
        fl->after = w->m;
        w->flights_count++;
    }
    SAME(store_groups_in_flight(w->s) == w->flights_count, "groups in flight");
}

/* ---- Commit ----------------------------------------------------------------------- */

/* Statuses rebuilt from what the store tells watchers. */
struct told {
    const struct flight *fl;
    uint8_t seats[M_EVENTS][M_LABELS];
    int64_t held[M_EVENTS][M_AREAS], booked[M_EVENTS][M_AREAS];
};

/* Event index of an event that is the same, with the same layout, before and after. */
static int steady_event(const struct flight *fl, uint32_t number)
{
    for (int i = 0; i < M_EVENTS; i++) {
        const struct m_event *a = &fl->before.events[i], *b = &fl->after.events[i];
        if (a->used && b->used && a->number == number && b->number == number &&
            a->layout == b->layout && a->chart == b->chart) {
            return i;
        }
    }
    return -1;
}

static void tell(void *arg, const struct change *c)
{
    struct told *t = arg;
    int i = c->event != NULL ? steady_event(t->fl, c->event->number) : -1;
    if (i < 0) {
        return;
    }
    if (c->number & PLACE_AREA) {
        uint32_t area = c->number & ~PLACE_AREA;
        t->held[i][area] +=
            (c->to == SEAT_HELD ? c->count : 0) - (int64_t)(c->from == SEAT_HELD ? c->count : 0);
        t->booked[i][area] += (c->to == SEAT_BOOKED ? c->count : 0) -
                              (int64_t)(c->from == SEAT_BOOKED ? c->count : 0);
    } else {
        SAME(t->seats[i][c->number] == c->from, "told: seat %u from %s, but it was %s", c->number,
             seat_status_name(c->from), seat_status_name(t->seats[i][c->number]));
        SAME(c->from != c->to || c->order != NULL, "told: nothing changed");
        t->seats[i][c->number] = c->to;
    }
}

static void compare_told(struct world *w)
{
    const struct flight *fl = &w->flights[0];
    static struct told t;
    int order;
    memset(&t, 0, sizeof t);
    t.fl = fl;
    for (int side = 0; side < 2; side++) {
        const struct model *m = side == 0 ? &fl->before : &fl->after;
        for (int i = 0; i < M_EVENTS; i++) {
            const struct m_event *ev = &m->events[i];
            if (!ev->used || steady_event(fl, ev->number) != i) {
                continue;
            }
            for (uint32_t k = 0; k < m_layouts[ev->layout].seats; k++) {
                uint8_t status = (uint8_t)model_seat(m, ev, k, &order);
                SAME(side == 0 || t.seats[i][k] == status, "told: event %d, seat %u: %s, not %s", i,
                     k, seat_status_name(t.seats[i][k]), seat_status_name(status));
                t.seats[i][k] = status;
            }
            for (uint32_t k = 0; k < m_layouts[ev->layout].areas; k++) {
                struct area_use use = model_area(m, ev, k);
                SAME(side == 0 || (t.held[i][k] == use.held && t.booked[i][k] == use.booked),
                     "told: event %d, area %u", i, k);
                t.held[i][k] = use.held;
                t.booked[i][k] = use.booked;
            }
        }
        if (side == 0) {
            store_changes(w->s, tell, &t);
        }
    }
}

static void apply_entry(struct store *s, const struct buf *entry, uint64_t index)
{
    struct error e = { 0 };
    SAME(entry_apply(s, entry->data, entry->len, index, &e) == 0, "the other store: %s", e.message);
    store_group_commit(s);
}

static void commit_oldest(struct world *w)
{
    struct flight *fl = &w->flights[0];
    if (!fl->recharted) {
        compare_told(w);
    }
    uint64_t digest = store_digest(w->s);
    store_group_commit(w->s);
    SAME(store_digest(w->s) == digest, "commit changes the digest");
    apply_entry(w->replica, &fl->entry, fl->index);
    SAME(store_digest(w->replica) == fl->digest_after, "digests differ at index %llu",
         (unsigned long long)fl->index);
    if (one_in(w, 40)) {
        compare_all(w->replica, &fl->after);
        must_be_sound(w->replica);
    }
    struct snapshot_run *sr = &w->snapshot;
    if (sr->snap != NULL) {
        SAME(sr->later_count < HISTORY_MAX, "the snapshot never ends");
        struct buf *copy = &sr->later[sr->later_count];
        buf_put(copy, fl->entry.data, fl->entry.len);
        sr->later_index[sr->later_count++] = fl->index;
    }
    struct buf entry = fl->entry; /* its memory goes to the end of the queue */
    memmove(fl, fl + 1, sizeof *fl * (FLIGHTS_MAX - 1));
    w->flights[FLIGHTS_MAX - 1].entry = entry;
    w->flights_count--;
}

static void look_at_committed_view(struct world *w)
{
    const struct model *committed = w->flights_count > 0 ? &w->flights[0].before : &w->m;
    uint64_t digest = store_digest(w->s);
    store_rewind(w->s);
    SAME(w->flights_count == 0 || store_digest(w->s) == w->flights[0].digest_before,
         "the committed view has another digest");
    compare_all(w->s, committed);
    if (one_in(w, 5)) {
        must_be_sound(w->s);
    }
    store_replay(w->s);
    SAME(store_digest(w->s) == digest, "replay does not restore the digest");
    compare_all(w->s, &w->m);
}

/* ---- Snapshots ---------------------------------------------------------------------- */

static void snapshot_clear(struct snapshot_run *sr)
{
    for (size_t i = 0; i < sr->later_count; i++) {
        buf_free(&sr->later[i]);
    }
    sr->later_count = 0;
    sr->snap = NULL;
}

static void snapshot_begin(struct world *w)
{
    struct snapshot_run *sr = &w->snapshot;
    struct error e = { 0 };
    sr->at = w->flights_count > 0 ? w->flights[0].before : w->m;
    sr->digest = w->flights_count > 0 ? w->flights[0].digest_before : store_digest(w->s);
    uint64_t digest = store_digest(w->s);
    sr->starved = false;
    buf_clear(&sr->bytes);
    SAME(store_snapshot_begin(w->s, &sr->snap, &e) == 0, "snapshot: %s", e.message);
    SAME(store_digest(w->s) == digest, "beginning a snapshot changes the digest");
    SAME(store_snapshot_index(sr->snap) == sr->at.index, "index of the snapshot");
}

static struct store *load(struct world *w, const struct buf *bytes)
{
    struct error e = { 0 };
    struct store *s = NULL;
    struct store_loader *l = store_load_begin();
    assert_non_null(l);
    for (size_t at = 0; at < bytes->len;) {
        size_t n = 1 + below(w, one_in(w, 2) ? 10 : 5000);
        n = n < bytes->len - at ? n : bytes->len - at;
        SAME(store_load_feed(l, bytes->data + at, n, &e) == 0, "load: %s", e.message);
        at += n;
    }
    SAME(store_load_end(l, &s, &e) == 0, "load: %s", e.message);
    return s;
}

/* The loaded store is what the snapshot began with, and takes the replica's place once
 * it has caught up. */
static void snapshot_done(struct world *w)
{
    struct snapshot_run *sr = &w->snapshot;
    store_snapshot_end(sr->snap);
    struct store *loaded = load(w, &sr->bytes);
    SAME(store_digest(loaded) == sr->digest, "the loaded store has another digest");
    compare_all(loaded, &sr->at);
    must_be_sound(loaded);
    for (size_t i = 0; i < sr->later_count; i++) {
        apply_entry(loaded, &sr->later[i], sr->later_index[i]);
    }
    SAME(store_digest(loaded) == store_digest(w->replica), "the loaded store has gone astray");
    store_free(w->replica);
    w->replica = loaded;
    snapshot_clear(sr);
}

static void snapshot_step(struct world *w)
{
    struct snapshot_run *sr = &w->snapshot;
    struct error e = { 0 };
    bool done = false;
    if (one_in(w, 100)) { /* given up, as on shutdown */
        store_snapshot_end(sr->snap);
        snapshot_clear(sr);
        return;
    }
    size_t bytes = 1 + below(w, 600);
    int rc = store_snapshot_next(sr->snap, bytes, &sr->bytes, &done, &e);
    SAME(rc == 0 || (rc == ERR_NOMEM && sr->starved), "snapshot: %s", e.message);
    if (rc != 0) {
        store_snapshot_end(sr->snap);
        snapshot_clear(sr);
    } else if (done) {
        snapshot_done(w);
    }
}

/* ---- Rounds --------------------------------------------------------------------------- */

static void step(struct world *w)
{
    if (w->flights_count < FLIGHTS_MAX) {
        group(w);
    }
    while (w->flights_count == FLIGHTS_MAX || (w->flights_count > 0 && one_in(w, 2))) {
        commit_oldest(w);
    }
    if (w->flights_count > 0 && one_in(w, 40)) {
        undo_everything(w);
    }
    if (one_in(w, 30)) {
        look_at_committed_view(w);
    }
    if (w->snapshot.snap != NULL) {
        snapshot_step(w);
    } else if (one_in(w, 200)) {
        snapshot_begin(w);
    } else if (w->flights_count == 0 && one_in(w, 100)) {
        struct store *other = w->s; /* the other one leads from now on */
        w->s = w->replica;
        w->replica = other;
        compare_all(w->s, &w->m);
    }
}

static void setup(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->r.state = seed;
    w->s = store_new();
    w->replica = store_new();
    assert_true(w->s != NULL && w->replica != NULL);
    w->m.next_event = 1;
    w->m.next_serial = 1;
    for (int i = 0; i < M_LAYOUTS; i++) {
        w->layouts[i] = encode_layout(&m_layouts[i]);
    }
    current = w;
}

static void teardown(struct world *w)
{
    if (w->snapshot.snap != NULL) {
        store_snapshot_end(w->snapshot.snap);
        snapshot_clear(&w->snapshot);
    }
    store_free(w->s);
    store_free(w->replica);
    buf_free(&w->snapshot.bytes);
    for (int i = 0; i < FLIGHTS_MAX; i++) {
        buf_free(&w->flights[i].entry);
    }
    for (int i = 0; i < M_LAYOUTS; i++) {
        buf_free(&w->layouts[i]);
    }
}

/* Random transactions leave the store and the naive model in the same state, always. */
static void test_store_equals_model(void **state)
{
    (void)state;
    static struct world w;
    uint64_t only = rng_seed_from_env(0), total = 0, out_of_memory = 0;
    uint64_t granted[EFFECT_EMIT + 1] = { 0 }, refused[EFFECT_EMIT + 1] = { 0 };
    int64_t live = mem_test_live();
    for (uint64_t seed = only != 0 ? only : 1; seed < (only != 0 ? only + 1 : 1 + ROUNDS); seed++) {
        setup(&w, seed);
        while (w.ops < ROUND_OPS) {
            step(&w);
        }
        total += w.ops;
        out_of_memory += w.out_of_memory;
        for (size_t k = 0; k <= EFFECT_EMIT; k++) {
            granted[k] += w.granted[k];
            refused[k] += w.refused[k];
        }
        teardown(&w);
        assert_int_equal(mem_test_live(), live);
    }
    /* Proof that the dice reach everything: each kind granted, and refused if it can be. */
    for (int kind = EXCHANGE; kind <= EFFECT_EMIT; kind++) {
        bool total_kind = kind == EFFECT_AMEND || kind == EFFECT_KV_SET || kind == EFFECT_EMIT ||
                          kind == EFFECT_RESULT_DROP || kind == EFFECT_RECORD_SET;
        print_message("effect %2d: %6llu granted, %6llu refused\n", kind,
                      (unsigned long long)granted[kind], (unsigned long long)refused[kind]);
        assert_true(granted[kind] >= 100 && (total_kind || refused[kind] >= 100));
    }
    print_message("%llu times out of memory\n", (unsigned long long)out_of_memory);
    assert_true(total >= ROUND_OPS && out_of_memory >= 20);
}

/* What the dice hardly ever throw: an exchange that names a kept seat twice in place of
 * one of two equal area places. */
static void test_exchange_pairs_places(void **state)
{
    (void)state;
    static struct world w;
    const struct m_place floor_place = { 1, PLACE_AREA | 0, 1, 0, 0 };
    const struct m_place seats[3] = { { 1, 0, 1, 0, 0 }, { 1, 1, 1, 0, 0 }, { 1, 2, 1, 0, 0 } };
    setup(&w, 1);
    store_group_begin(w.s, 0, 1);
    w.m.index = 1;
    store_tx_begin(w.s);
    do_both(&w, (struct m_op){ .kind = EFFECT_CHART_PUT });
    do_both(&w, (struct m_op){ .kind = EFFECT_EVENT_PUT, .open = true, .number = 1 });
    do_both(&w, (struct m_op){ .kind = EFFECT_TAKE,
                               .order = 0,
                               .places_count = 4,
                               .places = { seats[0], floor_place, floor_place, seats[1] } });
    do_both(&w, (struct m_op){
                    .kind = EFFECT_TAKE, .order = 1, .places_count = 1, .places = { seats[2] } });
    do_both(&w, (struct m_op){ .kind = EFFECT_RESEAT,
                               .exchange = true,
                               .order = 0,
                               .order2 = 1,
                               .places_count = 4,
                               .places = { seats[0], seats[0], floor_place, seats[2] } });
    assert_int_equal(w.refused[EXCHANGE], 1);
    do_both(&w, (struct m_op){ .kind = EFFECT_RESEAT,
                               .exchange = true,
                               .order = 0,
                               .order2 = 1,
                               .places_count = 4,
                               .places = { seats[0], floor_place, floor_place, seats[2] } });
    assert_int_equal(w.granted[EXCHANGE], 1);
    store_tx_end(w.s);
    compare_all(w.s, &w.m);
    store_group_cancel(w.s);
    teardown(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_exchange_pairs_places),
                                        cmocka_unit_test(test_store_equals_model) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
