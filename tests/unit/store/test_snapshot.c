/* Snapshots: what is written while the store lives on is the committed view at begin;
 * what is read back is that state, or nothing. */
#include "kit.h"

static int take_snapshot(struct store *s, struct buf *out)
{
    struct snapshot *n;
    struct error e;
    bool done = false;
    int rc = store_snapshot_begin(s, &n, &e);
    if (rc != 0) {
        return rc;
    }
    while (rc == 0 && !done) {
        rc = store_snapshot_next(n, 4096, out, &done, &e);
    }
    store_snapshot_end(n);
    return rc;
}

static int load(const uint8_t *data, size_t len, size_t piece, struct store **out, struct error *e)
{
    struct store_loader *l = store_load_begin();
    if (l == NULL) {
        return ERR_NOMEM;
    }
    for (size_t at = 0; at < len; at += piece) {
        int rc = store_load_feed(l, data + at, len - at < piece ? len - at : piece, e);
        if (rc != 0) {
            store_load_abort(l);
            return rc;
        }
    }
    return store_load_end(l, out, e);
}

static void loads_to(const struct buf *b, uint64_t digest, uint64_t index)
{
    struct store *s = NULL;
    struct error e = { 0 };
    if (load(b->data, b->len, 1000, &s, &e) != 0) {
        fail_msg("%s", e.message);
        return;
    }
    assert_true(store_digest(s) == digest);
    assert_int_equal(store_index(s), index);
    assert_int_equal(store_check(s, &e), 0);
    store_free(s);
}

/* One of everything: orders in every status, at one and two events and at one that is
 * gone, areas, blocks, kv, results with and without their orders, policies, records. */
static void fill(struct kit *k)
{
    struct place places[4];
    struct span types[] = { sp("child"), sp("senior") };
    kit_add_event(k, "gone", "hall");
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1 2:A1 FLOOR*3", 0), 0);
    assert_int_equal(kit_take(k, "o2", "bob", "1", "A3", T0 + 50), 0);
    assert_int_equal(kit_take(k, "o3", "cyd", "gone", "A1 1:B1", T0 + 60), 0);
    assert_int_equal(kit_take(k, "o4", "ann", "1", "B2", T0 + 70), 0);
    assert_int_equal(kit_take(k, "o5", "ann", "1", "B3", 0), 0);
    k->time_ms += 60;
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o3", ORDER_EXPIRED, "1", ""), 0);
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o4", ORDER_RELEASED, "1", ""), 0);
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o5", ORDER_CANCELLED, "1", ""), 0);
    assert_int_equal(kit_do(k, (struct effect){ .kind = EFFECT_EVENT_REMOVE, .id = sp("gone") }),
                     0);
    struct effect f = { .kind = EFFECT_TAKE,
                        .id = sp("o6"),
                        .customer = sp("dan"),
                        .text = sp("{\"a\":[1,2]}"),
                        .types = types,
                        .places = places,
                        .overbook = true,
                        .unjudged = true,
                        .price = -5,
                        .version = 3 };
    f.places_count = kit_places(k, "2", "C1 FLOOR*12", places);
    assert_int_equal(kit_do(k, f), 0);
    f = (struct effect){ .kind = EFFECT_BLOCK, .text = sp("rain"), .places = places };
    f.places_count = kit_places(k, "2", "C5 C6", places);
    assert_int_equal(kit_do(k, f), 0);
    f = (struct effect){ .kind = EFFECT_EVENT_SET,
                         .id = sp("2"),
                         .text = sp("{\"t\":1}"),
                         .set = SET_ATTRIBUTES | SET_RULESET | SET_OPEN,
                         .ruleset = sp("late") };
    assert_int_equal(kit_do(k, f), 0);
    for (int i = 0; i < 1200; i++) { /* results on three pages */
        char key[32];
        (void)snprintf(key, sizeof key, "k:%d", i * 37 % 1200);
        f = (struct effect){ .kind = EFFECT_KV_SET, .id = sp(key), .text = sp("{}") };
        assert_int_equal(kit_do(k, f), 0);
        f = (struct effect){ .kind = EFFECT_RESULT,
                             .user = sp("app"),
                             .request = sp(key),
                             .id2 = sp(i % 2 == 0 ? "o1" : ""),
                             .id3 = sp("o2"),
                             .code = i % 3,
                             .args_digest = (uint64_t)i };
        assert_int_equal(kit_do(k, f), 0);
    }
    char sha[65];
    memset(sha, 'a', 64);
    sha[64] = 0;
    for (uint32_t v = 1; v <= 18; v++) {
        f = (struct effect){ .kind = EFFECT_POLICY_PUT,
                             .version = v,
                             .user = sp("op"),
                             .sha256 = sp(sha),
                             .text = sp("return policy {}") };
        assert_int_equal(kit_do(k, f), 0);
    }
    f = (struct effect){ .kind = EFFECT_RECORD_SET, .id = sp("level"), .text = sp("\1\2") };
    assert_int_equal(kit_do(k, f), 0);
}

/* A seed for tests/fuzz/fuzz_snapshot.c: its mode byte, then the snapshot. */
static void save_seed(const struct buf *b, const char *name)
{
    const char *dir = getenv("USHER_SNAPSHOT_SEEDS");
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir != NULL ? dir : "", name);
    FILE *f = dir != NULL ? fopen(path, "wb") : NULL;
    if (f != NULL) {
        (void)fputc(1, f);
        (void)fwrite(b->data, 1, b->len, f);
        (void)fclose(f);
    }
}

/* A round trip gives the same digest and invariants, and a store that behaves the same:
 * results find their orders, holds expire in the same order, both accept the same next
 * effect with the same digest. */
static void test_round_trip(void **state)
{
    struct kit *k = *state;
    struct buf b = BUF_INIT;
    struct error e;
    fill(k);
    assert_int_equal(take_snapshot(k->s, &b), 0);
    save_seed(&b, "full");
    struct kit other = { .time_ms = k->time_ms, .index = k->index };
    assert_int_equal(load(b.data, b.len, 7, &other.s, &e), 0);
    assert_true(store_digest(other.s) == store_digest(k->s));
    assert_int_equal(store_time_ms(other.s), k->time_ms);
    struct result r;
    assert_true(store_result(other.s, sp("app"), sp("k:0"), &r));
    assert_true(span_is(r.order, "o1") && span_is(r.order2, "o2"));
    assert_true(span_is(order_id(store_next_expiry(other.s)), "o2") ||
                store_next_expiry(k->s) != NULL);
    struct policy_record p;
    assert_true(store_policy(other.s, 0, &p) && p.version == 18);
    assert_false(store_policy(other.s, 2, &p));
    assert_true(span_is(store_record(other.s, sp("level")), "\1\2"));
    const struct event *two = store_event(other.s, sp("2"));
    assert_true(span_is(two->ruleset, "late") && !two->open);
    assert_int_equal(store_area(other.s, two, 0).booked, 12);
    assert_int_equal(kit_take(k, "n1", "ann", "1", "C1 C2", 0), 0);
    assert_int_equal(kit_take(&other, "n1", "ann", "1", "C1 C2", 0), 0);
    kit_add_event(k, "9", "hall");
    kit_add_event(&other, "9", "hall");
    assert_true(store_digest(other.s) == store_digest(k->s));
    store_free(other.s);
    buf_free(&b);
}

/* What happens in every kind of object between two slices leaves the snapshot as the
 * state was at begin, however the slices fall. */
static void test_writes_meanwhile(void **state)
{
    struct kit *k = *state;
    fill(k);
    for (size_t slice = 64; slice < 20000; slice *= 3) {
        struct buf b = BUF_INIT;
        struct snapshot *n;
        struct error e;
        bool done = false;
        uint64_t digest = store_digest(k->s), index = store_index(k->s);
        assert_int_equal(store_snapshot_begin(k->s, &n, &e), 0);
        assert_int_equal(store_snapshot_begin(k->s, &n, &e), ERR_BUSY);
        for (int i = 0; !done; i++) {
            char id[32];
            struct place p[2];
            (void)snprintf(id, sizeof id, "w%zu-%d", slice, i);
            if (i < 40) {
                struct effect f = { .kind = EFFECT_KV_SET, .id = sp("k:7"), .text = sp(id) };
                assert_int_equal(kit_do(k, f), 0);
                f.id = sp("k:250");
                f.text = sp(i % 2 == 0 ? "" : "1");
                assert_int_equal(kit_do(k, f), 0);
                f.id = sp(id);
                assert_int_equal(kit_do(k, f), 0);
                f = (struct effect){ .kind = EFFECT_RESULT, .request = sp(id) };
                assert_int_equal(kit_do(k, f), 0);
                f = (struct effect){ .kind = EFFECT_RESULT_DROP, .time_ms = k->time_ms };
                assert_int_equal(kit_do(k, f), 0);
                assert_int_equal(kit_take(k, id, id, "1", "C1 C2", 0), 0);
                assert_int_equal(kit_places_effect(k, EFFECT_FINISH, id, ORDER_CANCELLED, "1", ""),
                                 0);
                f = (struct effect){ .kind = EFFECT_ORDER_DROP, .id = sp(id) };
                assert_int_equal(kit_do(k, f), 0);
                f = (struct effect){ .kind = EFFECT_BLOCK, .places = p, .text = sp(id) };
                f.places_count = kit_places(k, "2", "C5 C6", p);
                f.kind = kit_seat(k, "2", "C5") == SEAT_BLOCKED ? EFFECT_UNBLOCK : EFFECT_BLOCK;
                assert_int_equal(kit_do(k, f), 0);
                f = (struct effect){
                    .kind = EFFECT_AMEND, .id = sp("o1"), .set = SET_PRICE, .price = i
                };
                assert_int_equal(kit_do(k, f), 0);
                kit_add_event(k, id, "hall");
                f = (struct effect){ .kind = EFFECT_EVENT_REMOVE, .id = sp(id) };
                assert_int_equal(kit_do(k, f), 0);
                k->time_ms++;
            }
            assert_int_equal(store_snapshot_next(n, slice, &b, &done, &e), 0);
        }
        store_snapshot_end(n);
        loads_to(&b, digest, index);
        buf_free(&b);
    }
}

/* Entries in flight are not part of it, whether they commit or are undone while it runs. */
static void test_in_flight(void **state)
{
    struct kit *k = *state;
    fill(k);
    for (int undo = 0; undo < 2; undo++) {
        struct buf b = BUF_INIT;
        struct snapshot *n;
        struct error e;
        bool done = false;
        uint64_t digest = store_digest(k->s), index = store_index(k->s);
        struct effect steps[] = {
            { .kind = EFFECT_AMEND, .id = sp("o1"), .set = SET_PRICE, .price = 777 },
            { .kind = EFFECT_KV_SET, .id = sp("k:1"), .text = sp("flight") },
            { .kind = EFFECT_KV_SET, .id = sp("k:1"), .text = sp("again") },
            { .kind = EFFECT_KV_SET, .id = sp("k:2") },
            { .kind = EFFECT_KV_SET, .id = sp("new"), .text = sp("1") },
            { .kind = EFFECT_RESULT_DROP, .time_ms = T0 + 1000 },
            { .kind = EFFECT_ORDER_DROP, .id = sp("o3") },
            { .kind = EFFECT_EVENT_PUT,
              .id = sp("new"),
              .id2 = sp("hall"),
              .number = store_next_event(k->s),
              .open = true },
            { .kind = EFFECT_FORGET, .id = sp("ann"), .id2 = sp("nobody") },
            { .kind = EFFECT_RECORD_SET, .id = sp("level") },
        };
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            kit_group(k);
            assert_int_equal(store_do(k->s, &steps[i], &k->e), 0);
            store_tx_end(k->s);
            store_group_seal(k->s);
        }
        assert_int_equal(store_snapshot_begin(k->s, &n, &e), 0);
        assert_int_equal(store_snapshot_index(n), index);
        assert_int_equal(store_snapshot_next(n, 200, &b, &done, &e), 0);
        if (undo == 0) {
            store_undo_all(k->s);
            assert_true(store_digest(k->s) == digest);
        } else {
            while (store_groups_in_flight(k->s) > 0) {
                store_group_commit(k->s);
            }
        }
        while (!done) {
            assert_int_equal(store_snapshot_next(n, 200, &b, &done, &e), 0);
        }
        store_snapshot_end(n);
        loads_to(&b, digest, index);
        buf_free(&b);
    }
}

/* A snapshot cut anywhere, or with any bit flipped, or with more behind it, is refused. */
static void test_damage(void **state)
{
    struct kit *k = *state;
    struct buf b = BUF_INIT;
    struct error e;
    struct store *s = NULL;
    fill(k);
    assert_int_equal(take_snapshot(k->s, &b), 0);
    for (size_t len = 0; len < b.len; len += 1 + len / 64) {
        assert_int_equal(load(b.data, len, b.len, &s, &e), ERR_CORRUPT);
    }
    for (size_t at = 0; at < b.len; at += 1 + at / 64) {
        b.data[at] ^= (uint8_t)(1u << (at % 8));
        assert_int_equal(load(b.data, b.len, b.len, &s, &e), ERR_CORRUPT);
        b.data[at] ^= (uint8_t)(1u << (at % 8));
    }
    loads_to(&b, store_digest(k->s), store_index(k->s));
    buf_put_u8(&b, 0);
    assert_int_equal(load(b.data, b.len, b.len, &s, &e), ERR_CORRUPT);
    buf_free(&b);
}

/* A forged snapshot whose checksums are right is still refused when its content is not:
 * every byte of every block is changed in turn and the chain computed anew. */
static void test_forged(void **state)
{
    struct kit *k = *state;
    struct buf b = BUF_INIT;
    struct error e;
    struct store *s = NULL;
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1 2:A1 FLOOR*3", 0), 0);
    assert_int_equal(kit_take(k, "o2", "bob", "1", "A3", T0 + 50), 0);
    assert_int_equal(take_snapshot(k->s, &b), 0);
    save_seed(&b, "small");
    unsigned accepted = 0;
    for (size_t at = 12; at < b.len; at++) {
        for (int bit = 0; bit < 8; bit += 3) {
            struct buf copy = BUF_INIT;
            buf_put(&copy, b.data, b.len);
            copy.data[at] ^= (uint8_t)(1u << bit);
            uint64_t sum = hash64_seed(copy.data, 12, 0);
            for (size_t p = 12; p + 5 <= copy.len;) {
                uint32_t len;
                memcpy(&len, copy.data + p + 1, 4);
                if (p + 13 + (uint64_t)len > copy.len) {
                    break;
                }
                sum = hash64_seed(copy.data + p, 5 + (size_t)len, sum);
                memcpy(copy.data + p + 5 + len, &sum, 8);
                p += 13 + (size_t)len;
            }
            int rc = load(copy.data, copy.len, copy.len, &s, &e);
            if (rc == 0) { /* the time and index are nobody's to verify */
                accepted++;
                store_free(s);
            } else {
                assert_int_equal(rc, ERR_CORRUPT);
            }
            buf_free(&copy);
        }
    }
    /* 16 bytes of time and index, and checksums that were computed anew: 8 per block. */
    print_message("%u of %zu forgeries only changed time, index or a checksum\n", accepted,
                  (b.len - 12) * 3);
    assert_true(accepted <= (16 + 8 * 12) * 3);
    buf_free(&b);
}

/* A million seats are written and read in slices; the chart travels in pieces. */
static void test_large(void **state)
{
    struct kit *k = *state;
    struct buf b = BUF_INIT;
    kit_add_chart(k, "big", 1000, 200);
    kit_add_event(k, "big", "big");
    kit_group(k);
    for (uint32_t i = 0; i < 20000; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "b%u", i);
        struct place p = { .event = kit_event(k, "big"), .number = i * 7, .count = 1 };
        struct effect f = { .kind = i % 4 == 0 ? EFFECT_BLOCK : EFFECT_TAKE,
                            .places = &p,
                            .places_count = 1,
                            .text = sp("\"x\"") };
        f.id = sp(id);
        f.customer = sp(id);
        assert_int_equal(store_do(k->s, &f, &k->e), 0);
    }
    kit_commit(k);
    assert_int_equal(take_snapshot(k->s, &b), 0);
    loads_to(&b, store_digest(k->s), store_index(k->s));
    buf_free(&b);
}

/* Without memory the writer and the loader say so, at whatever allocation, and the store
 * is none the worse. */
static void test_no_memory(void **state)
{
    struct kit *k = *state;
    struct buf b = BUF_INIT;
    struct error e;
    fill(k);
    uint64_t digest = store_digest(k->s);
    assert_int_equal(take_snapshot(k->s, &b), 0);
    int rc = ERR_NOMEM;
    for (uint64_t n = 1; rc != 0; n++) {
        struct buf out = BUF_INIT;
        mem_test_fail_at(n);
        rc = take_snapshot(k->s, &out);
        mem_test_fail_at(0);
        assert_true(rc == 0 || rc == ERR_NOMEM);
        assert_true(store_digest(k->s) == digest);
        buf_free(&out);
    }
    rc = ERR_NOMEM;
    for (uint64_t n = 1; rc != 0; n++) {
        struct store *s = NULL;
        mem_test_fail_at(n);
        rc = load(b.data, b.len, 500, &s, &e);
        bool hit = mem_test_count() >= n;
        mem_test_fail_at(0);
        assert_true(rc == 0 || rc == ERR_NOMEM);
        if (rc == 0) {
            assert_true(store_digest(s) == digest);
            store_free(s);
            rc = hit ? ERR_NOMEM : 0; /* a table only grew later: go on */
        }
    }
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, kit_setup, kit_teardown)
        T(test_round_trip), T(test_writes_meanwhile), T(test_in_flight),
        T(test_damage),     T(test_forged),           T(test_large),
        T(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
