/* Transactions, groups, marks, the committed view, the feed of changes; and what is left
 * of all that when memory runs out at any point. */
#include "kit.h"

/* A refused effect in the middle of a transaction changes nothing and leaves what came
 * before; its bytes are not among the transaction's effects. */
static void test_refused_inside(void **state)
{
    struct kit *k = *state;
    struct place p[2];
    struct effect f = { .kind = EFFECT_TAKE, .id = sp("o1"), .customer = sp("ann"), .places = p };
    f.places_count = kit_places(k, "1", "A1 A2", p);
    kit_group(k);
    assert_int_equal(store_do(k->s, &f, &k->e), 0);
    struct span bytes = store_tx_effects(k->s);
    size_t len = bytes.len;
    uint64_t digest = store_digest(k->s);
    f.id = sp("o2");
    assert_int_equal(store_do(k->s, &f, &k->e), ERR_TAKEN);
    assert_int_equal(store_tx_effects(k->s).len, len);
    assert_true(store_digest(k->s) == digest);
    kit_commit(k);
    assert_non_null(store_order(k->s, sp("o1")));
}

/* A mark takes back what came after it, effects included, and only that. */
static void test_marks(void **state)
{
    struct kit *k = *state;
    struct effect a = { .kind = EFFECT_KV_SET, .id = sp("a"), .text = sp("1") };
    struct effect emit = { .kind = EFFECT_EMIT, .id = sp("hello"), .text = sp("{}") };
    kit_group(k);
    assert_int_equal(store_do(k->s, &emit, &k->e), 0);
    assert_int_equal(store_do(k->s, &a, &k->e), 0);
    size_t mark = store_tx_mark(k->s);
    uint64_t digest = store_digest(k->s);
    assert_int_equal(store_do(k->s, &emit, &k->e), 0);
    a.id = sp("b");
    assert_int_equal(store_do(k->s, &a, &k->e), 0);
    store_tx_undo_to(k->s, mark);
    assert_true(store_digest(k->s) == digest);
    assert_int_equal(store_tx_mark(k->s), mark);
    struct reader r;
    struct effect f;
    struct buf scratch = BUF_INIT;
    struct span bytes = store_tx_effects(k->s);
    reader_init(&r, bytes.data, bytes.len);
    assert_int_equal(effect_decode(&r, &f, &scratch, &k->e), 0);
    assert_int_equal(f.kind, EFFECT_EMIT);
    assert_int_equal(effect_decode(&r, &f, &scratch, &k->e), 0);
    assert_true(span_is(f.id, "a") && reader_left(&r) == 0);
    buf_free(&scratch);
    store_tx_undo(k->s);
    store_group_cancel(k->s);
    struct span v;
    assert_false(store_kv(k->s, sp("a"), &v));
}

/* Event numbers, serials and names that an undone transaction used are used again, so a
 * replica that never saw it agrees. */
static void test_numbers_come_back(void **state)
{
    struct kit *k = *state;
    struct effect put = {
        .kind = EFFECT_EVENT_PUT, .id = sp("x"), .id2 = sp("hall"), .number = 3, .open = true
    };
    struct place p[1];
    struct effect block = { .kind = EFFECT_BLOCK, .places = p, .text = sp("reason") };
    block.places_count = kit_places(k, "1", "A1", p);
    uint64_t digest = store_digest(k->s);
    kit_group(k);
    assert_int_equal(store_do(k->s, &put, &k->e), 0);
    assert_int_equal(store_do(k->s, &block, &k->e), 0);
    store_group_cancel(k->s);
    assert_true(store_digest(k->s) == digest);
    assert_int_equal(store_time_ms(k->s), T0);
    assert_int_equal(store_index(k->s), k->index - 1);
    put.id = sp("y");
    assert_int_equal(kit_do(k, put), 0);
    assert_int_equal(store_event(k->s, sp("y"))->number, 3);
}

struct seen {
    char text[512];
    const struct kit *k;
};

static void see(void *arg, const struct change *c)
{
    struct seen *s = arg;
    size_t len = strlen(s->text);
    struct span label = c->number & PLACE_AREA
                            ? chart_area(c->event->chart, c->number & ~PLACE_AREA).name
                            : chart_label(c->event->chart, c->number);
    (void)snprintf(s->text + len, sizeof s->text - len, "%.*s:%.*s*%u %s>%s %.*s;",
                   (int)c->event->id.len, c->event->id.data, (int)label.len, label.data, c->count,
                   seat_status_name(c->from), seat_status_name(c->to),
                   c->order != NULL ? (int)c->order->id_len : 1,
                   c->order != NULL ? order_id(c->order).data : "-");
}

static const char *changes(struct kit *k)
{
    static struct seen s;
    s.text[0] = 0;
    store_changes(k->s, see, &s);
    store_group_commit(k->s);
    return s.text;
}

/* The changes of the oldest group, though later groups have changed the same seats and
 * even taken the event away. */
static void test_changes(void **state)
{
    struct kit *k = *state;
    struct place p[4], q[4], r[1];
    struct effect f[] = {
        { .kind = EFFECT_TAKE,
          .id = sp("o1"),
          .customer = sp("ann"),
          .places = p,
          .until_ms = T0 + 9 },
        { .kind = EFFECT_CONFIRM, .id = sp("o1") },
        { .kind = EFFECT_RESEAT, .id = sp("o1"), .places = q },
        { .kind = EFFECT_BLOCK, .places = r },
        { .kind = EFFECT_FINISH, .id = sp("o1"), .code = ORDER_CANCELLED },
        { .kind = EFFECT_EVENT_REMOVE, .id = sp("2") },
    };
    f[0].places_count = kit_places(k, "2", "A1 A2 FLOOR*2", p);
    f[2].places_count = kit_places(k, "2", "A2 A3 FLOOR*3", q);
    f[3].places_count = kit_places(k, "2", "B1", r);
    for (size_t i = 0; i < 6; i++) {
        kit_group(k);
        assert_int_equal(store_do(k->s, &f[i], &k->e), 0);
        store_tx_end(k->s);
        store_group_seal(k->s);
    }
    assert_int_equal(store_groups_in_flight(k->s), 6);
    assert_string_equal(changes(k), "2:A1*1 free>held o1;2:A2*1 free>held o1;"
                                    "2:FLOOR*2 free>held o1;");
    assert_string_equal(changes(k), "2:A1*1 held>booked o1;2:A2*1 held>booked o1;"
                                    "2:FLOOR*2 held>booked o1;");
    assert_string_equal(changes(k), "2:A1*1 booked>free o1;2:FLOOR*1 free>booked o1;"
                                    "2:A3*1 free>booked o1;");
    assert_string_equal(changes(k), "2:B1*1 free>blocked -;");
    assert_string_equal(changes(k), "2:A2*1 booked>free o1;2:A3*1 booked>free o1;"
                                    "2:FLOOR*3 booked>free o1;");
    assert_string_equal(changes(k), "");
}

/* A tampered store differs in its digest, and is itself consistent, as a replica would be
 * that had applied something else. */
static void test_tamper(void **state)
{
    struct kit *k = *state;
    uint64_t digest = store_digest(k->s);
    store_tamper(k->s);
    assert_true(store_digest(k->s) != digest);
    assert_int_equal(store_check(k->s, &k->e), 0);
    /* The entry that was computed on the state before is not applied on this one. */
    struct buf entry = BUF_INIT;
    entry_begin(&entry, k->time_ms, digest, 1);
    entry_end(&entry, 0);
    uint64_t index = store_index(k->s) + 1;
    assert_int_equal(entry_apply(k->s, entry.data, entry.len, index, &k->e), ERR_CONFLICT);
    assert_int_equal(store_index(k->s), index - 1);
    buf_clear(&entry);
    entry_begin(&entry, k->time_ms, store_digest(k->s), 1);
    entry_end(&entry, 0);
    assert_int_equal(entry_apply(k->s, entry.data, entry.len, index, &k->e), 0);
    store_group_commit(k->s);
    buf_free(&entry);
}

/* ---- Out of memory ------------------------------------------------------------------- */

#define STEPS 26

/* A session of every effect; fills f[step], whose places lie in p. */
static struct effect script(const struct kit *k, int step, struct place *p, const struct buf *chart)
{
    static char sha[65];
    static const struct span types[] = { { "child", 5 }, { "", 0 } };
    memset(sha, 'c', 64);
    struct effect f = { .places = p, .customer = sp("ann"), .price = 10 };
    switch (step) {
    case 0:
        f = (struct effect){ .kind = EFFECT_CHART_PUT, .id = sp("c2") };
        f.text = span_make((const char *)chart->data, chart->len);
        break;
    case 1:
        f = (struct effect){
            .kind = EFFECT_EVENT_PUT, .id = sp("e3"), .id2 = sp("c2"), .number = 3, .open = true
        };
        break;
    case 2:
        f.kind = EFFECT_TAKE;
        f.id = sp("o1");
        f.types = types;
        f.places_count = kit_places(k, "1", "A1 2:A1", p);
        break;
    case 3:
        f.kind = EFFECT_TAKE;
        f.id = sp("o2");
        f.until_ms = T0 + 50;
        f.places_count = kit_places(k, "e3", "A1 A2 FLOOR*2", p);
        break;
    case 4:
        f = (struct effect){ .kind = EFFECT_EXTEND, .id = sp("o2"), .until_ms = T0 + 60 };
        break;
    case 5: f = (struct effect){ .kind = EFFECT_CONFIRM, .id = sp("o2") }; break;
    case 6:
        f.kind = EFFECT_RESEAT;
        f.id = sp("o2");
        f.places_count = kit_places(k, "e3", "A2 A3 1:B1", p);
        break;
    case 7:
        f.kind = EFFECT_SPLIT;
        f.id = sp("o2");
        f.id2 = sp("o3");
        f.places_count = kit_places(k, "e3", "A3", p);
        break;
    case 8:
        f = (struct effect){
            .kind = EFFECT_AMEND, .id = sp("o2"), .set = SET_METADATA, .text = sp("{\"x\":1}")
        };
        break;
    case 9:
        f = (struct effect){ .kind = EFFECT_BLOCK, .text = sp("dust"), .places = p };
        f.places_count = kit_places(k, "1", "C1 C2", p);
        break;
    case 10:
        f = (struct effect){ .kind = EFFECT_UNBLOCK, .places = p };
        f.places_count = kit_places(k, "1", "C2", p);
        break;
    case 11:
        f = (struct effect){ .kind = EFFECT_EVENT_SET,
                             .id = sp("1"),
                             .id2 = sp("c2"),
                             .set = SET_CHART | SET_ATTRIBUTES,
                             .text = sp("{}") };
        break;
    case 12: f = (struct effect){ .kind = EFFECT_KV_SET, .id = sp("k"), .text = sp("v") }; break;
    case 13: f = (struct effect){ .kind = EFFECT_KV_SET, .id = sp("k"), .text = sp("w") }; break;
    case 14:
        f = (struct effect){
            .kind = EFFECT_RESULT, .user = sp("u"), .request = sp("r"), .id2 = sp("o1")
        };
        break;
    case 15: f = (struct effect){ .kind = EFFECT_RESULT_DROP, .time_ms = T0 + 1 }; break;
    case 16:
        f = (struct effect){
            .kind = EFFECT_POLICY_PUT, .version = 1, .sha256 = { sha, 64 }, .text = sp("p")
        };
        break;
    case 17:
        f = (struct effect){ .kind = EFFECT_RECORD_SET, .id = sp("l"), .text = sp("1") };
        break;
    case 18: f = (struct effect){ .kind = EFFECT_FORGET, .id = sp("ann"), .id2 = sp("x") }; break;
    case 19:
        f = (struct effect){
            .kind = EFFECT_FINISH, .id = sp("o2"), .code = ORDER_CANCELLED, .places = p
        };
        f.places_count = kit_places(k, "1", "B1", p);
        break;
    case 20:
        f = (struct effect){ .kind = EFFECT_FINISH, .id = sp("o2"), .code = ORDER_CANCELLED };
        break;
    case 21:
        f = (struct effect){ .kind = EFFECT_FINISH, .id = sp("o3"), .code = ORDER_CANCELLED };
        break;
    case 22: f = (struct effect){ .kind = EFFECT_ORDER_DROP, .id = sp("o2") }; break;
    case 23: f = (struct effect){ .kind = EFFECT_EVENT_REMOVE, .id = sp("e3") }; break;
    case 24: f = (struct effect){ .kind = EFFECT_RECORD_SET, .id = sp("l") }; break;
    default: f = (struct effect){ .kind = EFFECT_EMIT, .id = sp("end"), .text = sp("{}") }; break;
    }
    return f;
}

/* Every effect is tried with its first, second, ... allocation failing until it succeeds:
 * each failure is ERR_NOMEM and leaves digest and invariants alone. */
static void test_no_memory(void **state)
{
    struct kit *k = *state;
    struct buf chart = kit_chart(4, 5);
    unsigned failures = 0;
    for (int step = 0; step < STEPS; step++) {
        int rc = ERR_NOMEM;
        for (uint64_t n = 1; rc != 0; n++) {
            struct place p[8];
            struct effect f = script(k, step, p, &chart);
            kit_group(k);
            uint64_t digest = store_digest(k->s);
            mem_test_fail_at(n);
            rc = store_do(k->s, &f, &k->e);
            mem_test_fail_at(0);
            if (rc == 0) {
                kit_commit(k);
            } else {
                assert_int_equal(rc, ERR_NOMEM);
                assert_true(store_digest(k->s) == digest);
                assert_int_equal(store_tx_effects(k->s).len, 0);
                store_group_cancel(k->s);
                failures++;
            }
            assert_int_equal(store_check(k->s, &k->e), 0);
        }
    }
    print_message("%u failed allocations in %d effects\n", failures, STEPS);
    assert_true(failures > 5); /* many more under ASan, where each object is an allocation */
    buf_free(&chart);
}

/* The whole session as groups in flight, rewound and replayed after each step, then undone
 * from every length. */
static void test_session_undone(void **state)
{
    struct kit *k = *state;
    struct buf chart = kit_chart(4, 5);
    uint64_t start = store_digest(k->s);
    for (int length = 1; length <= STEPS; length++) {
        uint64_t digests[STEPS + 1] = { start };
        for (int step = 0; step < length; step++) {
            struct place p[8];
            struct effect f = script(k, step, p, &chart);
            kit_group(k);
            assert_int_equal(store_do(k->s, &f, &k->e), 0);
            store_tx_end(k->s);
            store_group_seal(k->s);
            digests[step + 1] = store_digest(k->s);
            store_rewind(k->s);
            assert_true(store_digest(k->s) == start);
            store_replay(k->s);
            assert_true(store_digest(k->s) == digests[step + 1]);
        }
        assert_int_equal(store_check(k->s, &k->e), 0);
        store_undo_all(k->s);
        assert_true(store_digest(k->s) == start);
        assert_int_equal(store_check(k->s, &k->e), 0);
    }
    buf_free(&chart);
}

/* With memory gone for good, undo and commit still work: they take none. */
static void test_undo_takes_no_memory(void **state)
{
    struct kit *k = *state;
    struct buf chart = kit_chart(4, 5);
    uint64_t start = store_digest(k->s);
    for (int commit = 0; commit < 2; commit++) {
        for (int step = 0; step < STEPS; step++) {
            struct place p[8];
            struct effect f = script(k, step, p, &chart);
            kit_group(k);
            assert_int_equal(store_do(k->s, &f, &k->e), 0);
            store_tx_end(k->s);
            store_group_seal(k->s);
        }
        mem_test_fail_at(UINT64_MAX);
        store_rewind(k->s);
        store_replay(k->s);
        if (commit == 0) {
            store_undo_all(k->s);
            assert_true(store_digest(k->s) == start);
        } else {
            while (store_groups_in_flight(k->s) > 0) {
                store_group_commit(k->s);
            }
        }
        assert_int_equal(mem_test_count(), 0);
        mem_test_fail_at(0);
    }
    buf_free(&chart);
}

/* store_new itself fails cleanly at each of its allocations. */
static void test_new_without_memory(void **state)
{
    (void)state;
    struct store *s = NULL;
    for (uint64_t n = 1; s == NULL; n++) {
        mem_test_fail_at(n);
        s = store_new();
        mem_test_fail_at(0);
    }
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, kit_setup, kit_teardown)
        T(test_refused_inside),
        T(test_marks),
        T(test_numbers_come_back),
        T(test_changes),
        T(test_tamper),
        T(test_no_memory),
        T(test_session_undone),
        T(test_undo_takes_no_memory),
        cmocka_unit_test(test_new_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
