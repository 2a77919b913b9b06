/* Memory and time: 24 bytes for a free seat, 200 for an order of two seats with all its
 * indices, 64 for a result, as the store itself counts what it has taken from the
 * system. Prints the numbers; times are printed only, machines differ. */
#include <time.h>

#include "kit.h"

#define ORDERS 200000u

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t bytes_of(const struct kit *k)
{
    struct store_stats st;
    store_stats(k->s, &st);
    return st.bytes;
}

/* An event and its chart, all seats free: at most 24 bytes a seat. */
static void test_free_seat(void **state)
{
    struct kit *k = *state;
    uint64_t before = bytes_of(k);
    kit_add_chart(k, "stadium", 400, 500);
    kit_add_event(k, "3", "stadium");
    assert_int_equal(kit_take(k, "o", "ann", "1", "A1", 0), 0);
    double per = (double)(bytes_of(k) - before) / 200000.0;
    kit_add_event(k, "4", "stadium");
    before = bytes_of(k);
    kit_add_event(k, "5", "stadium");
    print_message("a free seat: %.1f bytes with its chart, %.1f more per further event\n", per,
                  (double)(bytes_of(k) - before) / 200000.0);
    assert_true(per <= 24.0);
}

static void take_many(struct kit *k, uint32_t event, uint32_t orders, uint32_t per_customer,
                      uint64_t until, double *ns)
{
    char id[32], customer[32];
    double start = now_s();
    for (uint32_t i = 0; i < orders; i++) {
        if (i % 100 == 0) {
            store_group_begin(k->s, k->time_ms, ++k->index);
        }
        (void)snprintf(id, sizeof id, "ord-%012u", i);
        (void)snprintf(customer, sizeof customer, "customer-%u", i / per_customer);
        struct place places[2] = {
            { .event = event, .number = 2 * i, .count = 1, .price = 500 },
            { .event = event, .number = 2 * i + 1, .count = 1, .price = 500 }
        };
        struct effect f = { .kind = EFFECT_TAKE,
                            .id = sp(id),
                            .customer = sp(customer),
                            .places = places,
                            .places_count = 2,
                            .price = 1000,
                            .until_ms = until };
        store_tx_begin(k->s);
        assert_int_equal(store_do(k->s, &f, &k->e), 0);
        store_tx_end(k->s);
        if (i % 100 == 99) {
            store_group_seal(k->s);
            store_group_commit(k->s);
        }
    }
    *ns = (now_s() - start) * 1e9 / orders;
}

/* The bytes of customers themselves: their ids, not the counts of their orders. */
static double customer_bytes(uint32_t orders, uint32_t per_customer)
{
    return 60.0 * orders / per_customer; /* 40 with an id of 15 bytes, 16 for the number, 4 */
}

static double measure(uint32_t per_customer, uint64_t until, double *ns)
{
    struct kit k = { .s = store_new(), .time_ms = T0 };
    kit_add_chart(&k, "stadium", 800, 500);
    kit_add_event(&k, "1", "stadium");
    uint64_t before = bytes_of(&k);
    take_many(&k, 1, ORDERS, per_customer, until, ns);
    double all = (double)(bytes_of(&k) - before);
    store_free(k.s);
    return (all - customer_bytes(ORDERS, per_customer)) / ORDERS;
}

/* 200,000 orders of two seats with ids of 16 characters, two orders to a customer and
 * event, booked or held; and the harder case of a customer for every order. */
static void test_order(void **state)
{
    (void)state;
    double ns[4];
    double booked = measure(2, 0, &ns[0]), held = measure(2, T0 + 1000, &ns[1]);
    double alone = measure(1, 0, &ns[2]), alone_held = measure(1, T0 + 1000, &ns[3]);
    print_message("an order of two seats: %.1f bytes booked, %.1f held (two of a customer at an "
                  "event); %.1f booked, %.1f held (one); a take: %.0f to %.0f ns\n",
                  booked, held, alone, alone_held, ns[0], ns[3]);
#ifndef __SANITIZE_ADDRESS__ /* there, blocks are rounded as the sanitizer likes */
    assert_true(booked <= 200.0 && held <= 200.0 && alone <= 200.0);
#endif
}

/* A remembered result: 64 bytes, its place in the index included. */
static void test_result(void **state)
{
    struct kit *k = *state;
    uint64_t before = 0;
    double start = 0;
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1", 0), 0);
    kit_group(k);
    for (uint32_t i = 0; i < 101376 + 1024; i++) {
        char id[32];
        if (i == 1024) { /* undo records and pages are there */
            before = bytes_of(k);
            start = now_s();
        }
        (void)snprintf(id, sizeof id, "request-%u", i);
        struct effect f = { .kind = EFFECT_RESULT,
                            .user = sp("app"),
                            .request = sp(id),
                            .id2 = sp("o1"),
                            .args_digest = i + 1 };
        if (i % 100 == 99) {
            kit_commit(k);
            kit_group(k);
        }
        assert_int_equal(store_do(k->s, &f, &k->e), 0);
    }
    kit_commit(k);
    double per = (double)(bytes_of(k) - before) / 101376.0;
    print_message("a result: %.1f bytes, %.0f ns\n", per, (now_s() - start) * 1e9 / 101376);
    assert_true(per <= 64.25); /* 60, a bucket of 4, and the lists of pages */
}

/* Expiry, confirm and rewinding at speed; numbers to look at. */
static void test_speed(void **state)
{
    (void)state;
    double ns;
    struct kit k = { .s = store_new(), .time_ms = T0 };
    kit_add_chart(&k, "stadium", 800, 500);
    kit_add_event(&k, "1", "stadium");
    take_many(&k, 1, ORDERS, 1, T0 + 100000, &ns);
    uint64_t digest = store_digest(k.s);
    store_group_begin(k.s, k.time_ms, ++k.index);
    double start = now_s();
    for (uint32_t i = 0; i < ORDERS; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "ord-%012u", i * 7919 % ORDERS);
        struct effect f = { .kind = EFFECT_CONFIRM, .id = sp(id) };
        store_tx_begin(k.s);
        assert_int_equal(store_do(k.s, &f, &k.e), 0);
        store_tx_end(k.s);
    }
    double confirm = (now_s() - start) * 1e9 / ORDERS;
    store_group_seal(k.s);
    start = now_s();
    store_rewind(k.s);
    assert_true(store_digest(k.s) == digest);
    store_replay(k.s);
    print_message("a hold: %.0f ns, a confirm: %.0f ns, rewound and replayed: %.0f ns\n", ns,
                  confirm, (now_s() - start) * 1e9 / ORDERS);
    store_undo_all(k.s);
    assert_true(store_digest(k.s) == digest);
    assert_int_equal(store_check(k.s, &k.e), 0);
    store_free(k.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_free_seat, kit_setup, kit_teardown),
        cmocka_unit_test(test_order),
        cmocka_unit_test_setup_teardown(test_result, kit_setup, kit_teardown),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
