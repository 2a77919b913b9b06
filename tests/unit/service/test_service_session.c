/* Sessions: a follower passes answers on before it learns of the commit (a heartbeat later), yet
 * whoever was told of a booking sees it in the next map, through the same node. */
#include "service_world.h"

/* As ask(), within the session that `seen` stands for. */
__attribute__((format(printf, 4, 5))) static void within(uint64_t *seen, struct ask *a,
                                                         struct node *n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ask_make(a, n, ask_admin(), format, args);
    va_end(args);
    a->r.seen_index = seen;
    service_submit(n->service, &a->r);
    ask_wait(a);
}

static struct service_counters counters(struct node *n)
{
    struct service_counters c;
    service_counters(n->service, &c);
    return c;
}

/* The node itself is behind then: what has no session, or says --local, sees no booking. The
 * leader proves that it leads: a new one may not know yet what has committed. */
static void test_own_writes(void **state)
{
    (void)state;
    struct ask a[4] = { 0 };
    struct world *w = three(1);
    uint64_t seen = 0;
    struct node *l = world_wait_leader(w), *f = world_follower(w);
    within(&seen, &a[0], f, "book 1 ann A1 A2");
    assert_int_equal(a[0].code, 0);
    assert_int_equal(seen, number(&a[0], "index"));
    within(&seen, &a[1], f, "seats 1 --local");
    within(NULL, &a[2], f, "seats 1");
    within(&seen, &a[3], f, "seats 1");
    assert_int_equal(number(&a[1], "booked"), 0);
    assert_int_equal(number(&a[2], "booked"), 0);
    assert_int_equal(number(&a[3], "booked"), 2);
    assert_true(number(&a[3], "index") >= (int64_t)seen);
    assert_int_equal(counters(l).reads_linearizable, 1);
    assert_int_equal(counters(l).reads_local, 0);
    over(w, a, 4);
}

/* Once the node has caught up it answers by itself again. */
static void test_local_again(void **state)
{
    (void)state;
    struct ask a[3] = { 0 };
    struct world *w = three(2);
    uint64_t seen = 0;
    (void)world_wait_leader(w);
    struct node *f = world_follower(w);
    within(&seen, &a[0], f, "book 1 ann A1");
    within(NULL, &a[1], f, "seats 1 --min-index %llu", (unsigned long long)seen);
    uint64_t before = counters(f).forwarded;
    within(&seen, &a[2], f, "seats 1");
    assert_int_equal(number(&a[2], "booked"), 1);
    assert_int_equal(counters(f).forwarded, before);
    over(w, a, 3);
}

/* What a linearizable read has shown is not taken back by a local one. */
static void test_never_back(void **state)
{
    (void)state;
    struct ask a[3] = { 0 };
    struct world *w = three(3);
    uint64_t seen = 0;
    struct node *l = world_wait_leader(w), *f = world_follower(w);
    within(NULL, &a[0], l, "book 1 ann A1");
    within(&seen, &a[1], f, "seats 1 --linearizable");
    within(&seen, &a[2], f, "seats 1");
    assert_int_equal(number(&a[1], "booked"), 1);
    assert_int_equal(number(&a[2], "booked"), 1);
    over(w, a, 3);
}

/* Nobody leads and the node is behind: refused in time, and --local shows what it has. */
static void test_nobody_leads(void **state)
{
    (void)state;
    struct ask a[3] = { 0 };
    struct world *w = three(4);
    uint64_t seen = 0;
    (void)world_wait_leader(w);
    struct node *f = world_follower(w);
    within(&seen, &a[0], f, "book 1 ann A1");
    for (unsigned i = 0; i < w->count; i++) {
        if (&w->nodes[i] != f) {
            node_crash(&w->nodes[i], SIM_KILL);
        }
    }
    within(&seen, &a[1], f, "seats 1");
    assert_int_equal(a[1].code, ERR_NOQUORUM);
    within(&seen, &a[2], f, "seats 1 --local");
    assert_int_equal(number(&a[2], "booked"), 0);
    over(w, a, 3);
}

/* Answers that name no index, and answers that only look as if they did, move nothing. */
static void test_indices(void **state)
{
    (void)state;
    struct ask a[4] = { 0 };
    struct world *w = three(5);
    uint64_t seen = 0;
    struct node *l = world_wait_leader(w);
    within(&seen, &a[0], l, "set text {\"index\":99}");
    uint64_t first = seen;
    assert_true(first > 0 && first < 99);
    within(&seen, &a[1], l, "events");
    within(&seen, &a[2], l, "get text --local");
    within(&seen, &a[3], l, "book 1 ann Z99");
    assert_int_not_equal(a[3].code, 0);
    assert_int_equal(seen, first);
    over(w, a, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_writes), cmocka_unit_test(test_local_again),
        cmocka_unit_test(test_never_back), cmocka_unit_test(test_nobody_leads),
        cmocka_unit_test(test_indices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
