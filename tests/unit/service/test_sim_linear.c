/* The simulator's own linearizability checker: it must say no to what is not, or its yes is
 * worth nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/rng.h"
#include "sim/sim_linear.c"
#include "store/store.h"

#define OP(kind, order, from, to) ((struct linear_op){ from, to, LINEAR_##kind, order, 0 })
#define READ(shown, from, to)     ((struct linear_op){ from, to, LINEAR_READ, 0, SEAT_##shown })

static enum linear_verdict judge(const struct linear_op *ops, size_t n)
{
    size_t stuck;
    return linear_check(ops, n, &stuck);
}
#define JUDGE(...)                                                                                 \
    judge((const struct linear_op[]){ __VA_ARGS__ },                                               \
          sizeof((const struct linear_op[]){ __VA_ARGS__ }) / sizeof(struct linear_op))

/* What happened one after the other must fit in that order. */
static void test_in_order(void **state)
{
    (void)state;
    assert_int_equal(JUDGE(OP(HOLD, 1, 0, 1), READ(HELD, 2, 3), OP(CONFIRM, 1, 4, 5),
                           READ(BOOKED, 6, 7), OP(REFUSED, 0, 8, 9), OP(END, 1, 10, 11),
                           READ(FREE, 12, 13), OP(BOOK, 2, 14, 15)),
                     LINEAR_YES);
    assert_int_equal(judge(NULL, 0), LINEAR_YES);
}

/* A seat sold twice, a stale read, a refusal of a free seat, a read of the future, a late
 * confirm: each fits nowhere. */
static void test_impossible(void **state)
{
    (void)state;
    assert_int_equal(JUDGE(OP(BOOK, 1, 0, 1), OP(BOOK, 2, 2, 3)), LINEAR_NO);
    assert_int_equal(JUDGE(OP(BOOK, 1, 0, 5), OP(BOOK, 2, 0, 5)), LINEAR_NO);
    assert_int_equal(JUDGE(OP(BOOK, 1, 0, 1), READ(FREE, 2, 3)), LINEAR_NO);
    assert_int_equal(JUDGE(OP(REFUSED, 0, 0, 1), OP(BOOK, 1, 2, 3)), LINEAR_NO);
    assert_int_equal(JUDGE(READ(HELD, 0, 1), OP(HOLD, 1, 2, 3)), LINEAR_NO);
    assert_int_equal(JUDGE(OP(HOLD, 1, 0, 1), OP(END, 1, 2, 3), OP(CONFIRM, 1, 4, 5)), LINEAR_NO);
    assert_int_equal(JUDGE(OP(HOLD, 1, 0, 9), READ(HELD, 1, 2), READ(FREE, 3, 4)), LINEAR_NO);
}

/* What overlaps may have happened in any order, so the checker must look for the one. */
static void test_overlapping(void **state)
{
    (void)state;
    assert_int_equal(JUDGE(OP(HOLD, 1, 0, 9), READ(FREE, 1, 2), READ(HELD, 3, 4)), LINEAR_YES);
    assert_int_equal(JUDGE(OP(BOOK, 2, 0, 9), OP(BOOK, 1, 0, 9), OP(END, 1, 0, 9)), LINEAR_YES);
    assert_int_equal(JUDGE(OP(BOOK, 1, 0, 3), READ(FREE, 3, 4)), LINEAR_YES); /* they touch */
    assert_int_equal(JUDGE(OP(REFUSED, 0, 0, 4), OP(BOOK, 1, 2, 6)), LINEAR_YES);
}

/* Histories made from a true order, with answers spread around it, are accepted; with one
 * read falsified, and everything done strictly one after the other, they are not. */
static void test_random_histories(void **state)
{
    (void)state;
    struct rng rng = { 42 };
    for (int round = 0; round < 300; round++) {
        struct linear_op ops[60];
        unsigned order = 0;
        int status = SEAT_FREE;
        for (uint64_t i = 0; i < 60; i++) {
            uint64_t at = 10 * i + 10;
            ops[i] = (struct linear_op){ at, at, LINEAR_READ, 0, status };
            uint64_t dice = rng_below(&rng, 3);
            if (dice == 0 && status == SEAT_FREE) {
                order++;
                ops[i].kind = rng_below(&rng, 2) == 0 ? LINEAR_HOLD : LINEAR_BOOK;
                status = ops[i].kind == LINEAR_HOLD ? SEAT_HELD : SEAT_BOOKED;
                ops[i].order = order;
            } else if (dice == 0 && status == SEAT_HELD) {
                ops[i].kind = LINEAR_CONFIRM;
                ops[i].order = order;
                status = SEAT_BOOKED;
            } else if (dice == 1 && status != SEAT_FREE) {
                ops[i].kind = LINEAR_END;
                ops[i].order = order;
                status = SEAT_FREE;
            }
        }
        size_t wrong = (size_t)rng_below(&rng, 60);
        while (ops[wrong].kind != LINEAR_READ) {
            wrong = (wrong + 1) % 60;
        }
        struct linear_op lie = ops[wrong];
        ops[wrong].status = (ops[wrong].status + 1) % 3;
        assert_int_equal(judge(ops, 60), LINEAR_NO);
        ops[wrong] = lie;
        for (size_t i = 0; i < 60; i++) {
            ops[i].called -= rng_below(&rng, 10) + rng_below(&rng, 2) * rng_below(&rng, 40);
            ops[i].called = ops[i].called > ops[i].returned ? 0 : ops[i].called;
            ops[i].returned += rng_below(&rng, 40);
        }
        assert_int_equal(judge(ops, 60), LINEAR_YES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_impossible),
        cmocka_unit_test(test_overlapping),
        cmocka_unit_test(test_random_histories),
    };
    return cmocka_run_group_tests_name("sim_linear", tests, NULL, NULL);
}
