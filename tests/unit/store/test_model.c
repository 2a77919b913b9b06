/* The store against a naive model (lib/store_model.h): a million random effects.
 *
 * Rounds with seeds of their own run random transactions in random groups: all
 * effects, refused ones too, several events in one transaction, areas, time that
 * passes, marks, transactions, groups and everything undone at random points, groups in
 * flight, rewind and replay, entries applied by a second store whose digest must agree
 * at every index, snapshots taken while all this goes on, loaded and used further.
 *
 * A failure prints its seed; USHER_SEED=N runs that round alone. */
#include "model_world.h"

#define ROUNDS       10
#define ROUND_OPS    100000
#define CHECKED_OPS  4000 /* at the start of a round: everything compared each transaction */
#define CHECK_ONE_IN 60   /* transactions, later */

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
