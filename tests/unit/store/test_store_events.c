/* Charts, events, kv, results, policies, records: effects, refusals, limits. */
#include "kit.h"

/* A chart in use is immutable; the same bytes again are no change; an unused one may be
 * replaced. */
static void test_charts(void **state)
{
    struct kit *k = *state;
    struct buf b = kit_chart(2, 2);
    struct effect f = { .kind = EFFECT_CHART_PUT, .id = sp("hall") };
    f.text = span_make((const char *)b.data, b.len);
    assert_refused(k, kit_do(k, f), ERR_CONFLICT, "chart hall is in use and differs");
    f.id = sp("spare");
    assert_int_equal(kit_do(k, f), 0);
    uint64_t digest = store_digest(k->s);
    assert_int_equal(kit_do(k, f), 0);
    assert_true(store_digest(k->s) == digest);
    buf_free(&b);
    b = kit_chart(3, 6);
    f.text = span_make((const char *)b.data, b.len);
    assert_int_equal(kit_do(k, f), 0);
    assert_int_equal(chart_seats(store_chart(k->s, sp("spare"))), 18);
    f.text.len--;
    assert_refused(k, kit_do(k, f), ERR_BADARG, "the chart is malformed");
    buf_free(&b);
}

/* Events have serial numbers that never come back, and go only without live orders. */
static void test_events(void **state)
{
    struct kit *k = *state;
    struct effect put = { .kind = EFFECT_EVENT_PUT, .id = sp("1"), .id2 = sp("hall"), .number = 3 };
    struct effect del = { .kind = EFFECT_EVENT_REMOVE, .id = sp("2") };
    assert_refused(k, kit_do(k, put), ERR_CONFLICT, "event 1 exists already");
    put.id = sp("3");
    put.number = 4;
    assert_refused(k, kit_do(k, put), ERR_CONFLICT, "the next event's number is 3, not 4");
    put.number = 3;
    put.id2 = sp("nave");
    assert_refused(k, kit_do(k, put), ERR_NOTFOUND, "chart nave does not exist");
    put.id2 = sp("hall");
    put.currency = sp("euro");
    assert_refused(k, kit_do(k, put), ERR_BADARG, "a currency has three capital letters, like EUR");
    put.currency = sp("EUR");
    put.text = sp("{\"title\":\"x\"}");
    assert_int_equal(kit_do(k, put), 0);
    const struct event *ev = store_event(k->s, sp("3"));
    assert_true(span_is(ev->attributes, "{\"title\":\"x\"}") && span_is(ev->currency, "EUR"));
    assert_false(ev->open);
    assert_int_equal(kit_take(k, "o1", "ann", "2", "A1 FLOOR*2", 0), 0);
    assert_refused(k, kit_do(k, del), ERR_CONFLICT, "event 2 has 3 places in live orders");
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o1", ORDER_CANCELLED, "2", ""), 0);
    assert_int_equal(kit_do(k, del), 0);
    assert_null(store_event(k->s, sp("2")));
    assert_null(store_event_number(k->s, 2));
    assert_int_equal(store_order(k->s, sp("o1"))->places_count, 2);
    kit_add_event(k, "2", "hall");
    assert_int_equal(store_event(k->s, sp("2"))->number, 4);
    const struct event *at = store_event_next(k->s, NULL);
    assert_true(span_is(at->id, "1"));
    at = store_event_next(k->s, at);
    assert_true(span_is(at->id, "3"));
    at = store_event_next(k->s, at);
    assert_true(span_is(at->id, "2"));
    assert_null(store_event_next(k->s, at));
    assert_refused(k,
                   kit_do(k, (struct effect){ .kind = EFFECT_TAKE, .id = sp("o1"), .late = true }),
                   ERR_CONFLICT, "order o1 is cancelled, not expired");
}

/* Seats by label: chart "back" has the rows of "hall" in another order, and no A5, A6. */
static void add_back(struct kit *k)
{
    struct error e;
    struct buf out = BUF_INIT;
    struct chart_builder *b = chart_builder_new();
    uint32_t category = (uint32_t)chart_add_category(b, sp("all"), &e);
    uint32_t section = (uint32_t)chart_add_section(b, sp("main"), &e);
    for (char row = 'C'; row >= 'A'; row--) {
        char label[] = { row, '1', 0 };
        uint32_t n = (uint32_t)chart_add_row(b, span_make(label, 1), section, &e);
        for (label[1] = '1'; label[1] <= (row == 'A' ? '4' : '6'); label[1]++) {
            struct chart_seat seat = {
                .label = sp(label), .row = n, .category = category, .table = -1
            };
            assert_true(chart_add_seat(b, &seat, &e) >= 0);
        }
    }
    struct chart_area floor = { sp("FLOOR"), category, 4 };
    assert_true(chart_add_area(b, &floor, &e) >= 0);
    assert_int_equal(chart_builder_encode(b, &out, &e), 0);
    chart_builder_free(b);
    struct effect f = { .kind = EFFECT_CHART_PUT, .id = sp("back") };
    f.text = span_make((const char *)out.data, out.len);
    assert_int_equal(kit_do(k, f), 0);
    buf_free(&out);
}

/* A new chart carries taken and blocked seats over by label, and everything that speaks of
 * them; one that lacks any of them is refused. */
static void test_new_chart(void **state)
{
    struct kit *k = *state;
    struct effect set = {
        .kind = EFFECT_EVENT_SET, .id = sp("1"), .id2 = sp("back"), .set = SET_CHART
    };
    add_back(k);
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1 A5", 0), 0);
    assert_refused(k, kit_do(k, set), ERR_CONFLICT,
                   "the new chart has no seat A5, which is booked");
    assert_int_equal(kit_places_effect(k, EFFECT_RESEAT, "o1", 0, "1", "A1 2:A1 FLOOR*5"), 0);
    assert_refused(k, kit_do(k, set), ERR_CONFLICT,
                   "area FLOOR has 4 places in the new chart; 5 are taken");
    assert_int_equal(kit_places_effect(k, EFFECT_RESEAT, "o1", 0, "1", "A1 2:A1 FLOOR*4"), 0);
    assert_int_equal(kit_take(k, "o2", "bob", "2", "B1 1:C3", T0 + 9), 0);
    assert_int_equal(kit_take(k, "o3", "cyd", "1", "LAWN*1", 0), 0);
    assert_refused(k, kit_do(k, set), ERR_CONFLICT,
                   "the new chart has no area LAWN, which is in use");
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o3", ORDER_CANCELLED, "1", ""), 0);
    assert_int_equal(kit_take(k, "o4", "cyd", "1", "A6 2:B2 1:A2", 0), 0);
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o4", ORDER_CANCELLED, "1", ""), 0);
    struct place p[1];
    struct effect block = { .kind = EFFECT_BLOCK, .places = p, .text = sp("wet") };
    block.places_count = kit_places(k, "1", "B4", p);
    assert_int_equal(kit_do(k, block), 0);
    assert_int_equal(kit_do(k, set), 0);
    const struct event *ev = store_event(k->s, sp("1"));
    assert_int_equal(ev->counts[SEAT_FREE], 13);
    assert_int_equal(kit_seat(k, "1", "A1"), SEAT_BOOKED);
    assert_int_equal(kit_seat(k, "1", "C3"), SEAT_HELD);
    assert_int_equal(kit_seat(k, "1", "B4"), SEAT_BLOCKED);
    const struct order *o = store_order(k->s, sp("o1"));
    assert_true(span_is(chart_label(ev->chart, o->places[0].number), "A1"));
    assert_int_equal(store_order(k->s, sp("o3"))->places_count, 0); /* LAWN is gone */
    o = store_order(k->s, sp("o4"));
    assert_int_equal(o->places_count, 2); /* A6 is gone, and it began with it */
    assert_true(span_is(chart_label(ev->chart, o->places[1].number), "A2"));
    assert_int_equal(store_check(k->s, &k->e), 0);
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o2", ORDER_RELEASED, "1", ""), 0);
    assert_int_equal(kit_seat(k, "1", "C3"), SEAT_FREE);
}

/* The same, undone and rewound: seats, orders and digest are as before. */
static void test_new_chart_undone(void **state)
{
    struct kit *k = *state;
    struct effect set = {
        .kind = EFFECT_EVENT_SET, .id = sp("1"), .id2 = sp("back"), .set = SET_CHART
    };
    add_back(k);
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1 2:A1 FLOOR*4", 0), 0);
    assert_int_equal(kit_take(k, "o2", "bob", "1", "A6 LAWN*1", 0), 0);
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o2", ORDER_CANCELLED, "1", ""), 0);
    uint64_t before = store_digest(k->s);
    kit_group(k);
    assert_int_equal(store_do(k->s, &set, &k->e), 0);
    struct effect cancel = { .kind = EFFECT_FINISH, .id = sp("o1"), .code = ORDER_CANCELLED };
    assert_int_equal(store_do(k->s, &cancel, &k->e), 0);
    store_tx_end(k->s);
    store_group_seal(k->s);
    uint64_t after = store_digest(k->s);
    store_rewind(k->s);
    assert_true(store_digest(k->s) == before);
    assert_int_equal(store_check(k->s, &k->e), 0);
    assert_int_equal(kit_seat(k, "1", "A1"), SEAT_BOOKED);
    store_replay(k->s);
    assert_true(store_digest(k->s) == after);
    assert_int_equal(store_check(k->s, &k->e), 0);
    store_undo_all(k->s);
    assert_true(store_digest(k->s) == before);
}

static bool keys(void *arg, const struct kv *kv)
{
    char *out = arg;
    (void)strncat(out, kv->key.data, kv->key.len);
    (void)strcat(out, " ");
    return strlen(out) < 20;
}

/* Keys are sorted bytewise, found by prefix, resumed after any key; an empty value deletes. */
static void test_kv(void **state)
{
    struct kit *k = *state;
    const char *all[] = { "b", "a:2", "a:10", "a", "a:1", "ab", "a;" };
    struct effect f = { .kind = EFFECT_KV_SET, .text = sp("1") };
    for (size_t i = 0; i < 7; i++) {
        f.id = sp(all[i]);
        assert_int_equal(kit_do(k, f), 0);
    }
    char out[128] = "";
    store_keys(k->s, sp("a:"), sp(""), keys, out);
    assert_string_equal(out, "a:1 a:10 a:2 ");
    out[0] = 0;
    store_keys(k->s, sp("a"), sp("a:10"), keys, out);
    assert_string_equal(out, "a:2 a; ab ");
    out[0] = 0;
    store_keys(k->s, sp(""), sp(""), keys, out);
    assert_string_equal(out, "a a:1 a:10 a:2 a; ab ");
    struct span v;
    f.id = sp("a");
    f.text = sp("two");
    assert_int_equal(kit_do(k, f), 0);
    assert_true(store_kv(k->s, sp("a"), &v) && span_is(v, "two"));
    f.text = sp("");
    assert_int_equal(kit_do(k, f), 0);
    assert_false(store_kv(k->s, sp("a"), &v));
    uint64_t digest = store_digest(k->s);
    assert_int_equal(kit_do(k, f), 0);
    assert_true(store_digest(k->s) == digest);
    f.id = sp("");
    assert_refused(k, kit_do(k, f), ERR_BADARG, "a key has 1 to 512 bytes of UTF-8");
    char *big = calloc(1, KV_VALUE_BYTES_MAX + 1);
    f.id = sp("big");
    f.text = span_make(big, KV_VALUE_BYTES_MAX + 1);
    assert_refused(k, kit_do(k, f), ERR_TOOBIG, "a value of 65537 bytes; at most 65536");
    free(big);
}

/* Results are by user and request, once, dropped by time in bounded steps. */
static void test_results(void **state)
{
    struct kit *k = *state;
    struct effect f = { .kind = EFFECT_RESULT,
                        .user = sp("u"),
                        .request = sp("r"),
                        .code = ERR_TAKEN,
                        .args_digest = 5 };
    struct result r;
    assert_int_equal(kit_do(k, f), 0);
    assert_true(store_result(k->s, sp("u"), sp("r"), &r));
    assert_int_equal(r.code, ERR_TAKEN);
    assert_int_equal(r.index, k->index);
    assert_false(store_result(k->s, sp("v"), sp("r"), &r));
    assert_refused(k, kit_do(k, f), ERR_CONFLICT, "request r has a result already");
    f.request = sp("");
    assert_refused(k, kit_do(k, f), ERR_BADARG, "a request id has 1 to 128 bytes");
    assert_int_equal(store_oldest_result_ms(k->s), T0);
    k->time_ms++;
    kit_group(k);
    for (int i = 0; i < 5000; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "n%d", i);
        f.request = sp(id);
        assert_int_equal(store_do(k->s, &f, &k->e), 0);
    }
    kit_commit(k);
    struct effect drop = { .kind = EFFECT_RESULT_DROP, .time_ms = T0 + 1 };
    assert_int_equal(kit_do(k, drop), 0);
    assert_int_equal(store_results_total(k->s), 5000);
    drop.time_ms = T0 + 2;
    assert_int_equal(kit_do(k, drop), 0);
    assert_int_equal(store_results_total(k->s), 5000 - 4096);
    uint64_t digest = store_digest(k->s);
    kit_group(k);
    assert_int_equal(store_do(k->s, &drop, &k->e), 0);
    assert_int_equal(store_results_total(k->s), 0);
    store_group_cancel(k->s);
    assert_true(store_digest(k->s) == digest);
    assert_true(store_result(k->s, sp("u"), sp("n4999"), &r));
    assert_false(store_result(k->s, sp("u"), sp("n0"), &r));
}

/* Beyond RESULTS_MAX the oldest goes, also when a group of them is undone and done again. */
static void test_results_full(void **state)
{
    struct kit *k = *state;
    char id[16];
    struct result r;
    struct effect f = { .kind = EFFECT_RESULT, .user = sp("u") };
    for (uint32_t i = 0; i < RESULTS_MAX + 10; i++) {
        if (i % 1000 == 0) {
            kit_group(k);
        }
        (void)snprintf(id, sizeof id, "n%u", i);
        f.request = sp(id);
        assert_int_equal(store_do(k->s, &f, &k->e), 0);
        if (i % 1000 == 999 || i == RESULTS_MAX + 9) {
            kit_commit(k);
        }
    }
    assert_int_equal(store_results_total(k->s), RESULTS_MAX);
    assert_false(store_result(k->s, sp("u"), sp("n9"), &r));
    assert_true(store_result(k->s, sp("u"), sp("n10"), &r));
    uint64_t digest = store_digest(k->s);
    kit_group(k);
    f.request = sp("one-more");
    assert_int_equal(store_do(k->s, &f, &k->e), 0);
    assert_false(store_result(k->s, sp("u"), sp("n10"), &r));
    store_group_cancel(k->s);
    assert_true(store_digest(k->s) == digest);
    assert_true(store_result(k->s, sp("u"), sp("n10"), &r));
}

/* Policies count up by one, the last 16 are kept, also across undo. */
static void test_policies(void **state)
{
    struct kit *k = *state;
    char sha[65];
    memset(sha, 'b', 64);
    sha[64] = 0;
    struct effect f = { .kind = EFFECT_POLICY_PUT,
                        .version = 2,
                        .user = sp("op"),
                        .sha256 = sp(sha),
                        .text = sp("x") };
    struct policy_record p;
    assert_false(store_policy(k->s, 0, &p));
    assert_refused(k, kit_do(k, f), ERR_CONFLICT, "the next policy version is 1, not 2");
    f.sha256.len--;
    f.version = 1;
    assert_refused(k, kit_do(k, f), ERR_BADARG, "a policy needs its SHA-256 and an author's name");
    f.sha256.len++;
    for (; f.version <= 16; f.version++) {
        assert_int_equal(kit_do(k, f), 0);
    }
    uint64_t digest = store_digest(k->s);
    kit_group(k);
    for (; f.version <= 34; f.version++) {
        assert_int_equal(store_do(k->s, &f, &k->e), 0);
    }
    assert_true(store_policy(k->s, 0, &p) && p.version == 34);
    assert_false(store_policy(k->s, 18, &p));
    store_group_cancel(k->s);
    assert_true(store_digest(k->s) == digest);
    assert_true(store_policy(k->s, 1, &p) && p.version == 1 && span_is(p.author, "op"));
}

/* Cluster records are few, named, replaced and deleted. */
static void test_records(void **state)
{
    struct kit *k = *state;
    struct effect f = { .kind = EFFECT_RECORD_SET, .text = sp("x") };
    char name[16];
    for (int i = 0; i < RECORDS_MAX; i++) {
        (void)snprintf(name, sizeof name, "r%d", i);
        f.id = sp(name);
        assert_int_equal(kit_do(k, f), 0);
    }
    f.id = sp("more");
    assert_refused(k, kit_do(k, f), ERR_LIMIT, "more than 64 cluster records");
    f.id = sp("r1");
    f.text = sp("");
    assert_int_equal(kit_do(k, f), 0);
    assert_int_equal(store_record(k->s, sp("r1")).len, 0);
    assert_true(span_is(store_record(k->s, sp("r2")), "x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, kit_setup, kit_teardown)
        T(test_charts),           T(test_events),   T(test_new_chart),
        T(test_new_chart_undone), T(test_kv),       T(test_results),
        T(test_results_full),     T(test_policies), T(test_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
