/* Sessions: a follower passes answers on before it learns of the commit, yet whoever was told of
 * a booking sees it in the next map, through the same node. */
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

__attribute__((format(printf, 3, 4))) static void ask_set(struct ask *a, struct node *n,
                                                          const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ask_make(a, n, ask_admin(), format, args);
    va_end(args);
}

/* The node itself is behind then: what has no session, or says --local, sees no booking. */
static void test_own_writes(void **state)
{
    (void)state;
    struct ask a[4] = { 0 };
    struct world *w = three(1);
    uint64_t seen = 0;
    (void)world_wait_leader(w);
    struct node *f = world_follower(w);
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
    over(w, a, 4);
}

/* --min-index waits for the leader's word that the entry has committed, and no longer. */
static void test_min_index_in_time(void **state)
{
    (void)state;
    struct ask a[20] = { 0 };
    struct world *w = three(6);
    (void)world_wait_leader(w);
    struct node *f = world_follower(w);
    for (int i = 0; i < 20; i += 2) {
        sim_run(w->sim, sim_rand(w->sim, 60));
        within(NULL, &a[i], f, "book 1 ann A%d", i + 1);
        uint64_t before = sim_now(w->sim);
        within(NULL, &a[i + 1], f, "seats 1 --min-index %lld", number(&a[i], "index"));
        assert_in_range(a[i + 1].answered_ms - before, 0, 10);
    }
    over(w, a, 20);
}

/* Whatever order they ask in: each is told when its index has come, or that it has not. */
static void test_min_index_order(void **state)
{
    (void)state;
    static const int ahead[] = { 3, 1000, 1, 2, 1000, 1 };
    struct ask a[9] = { 0 };
    struct world *w = three(7);
    (void)world_wait_leader(w);
    struct node *f = world_follower(w);
    granted(&a[6], f, "book 1 ann A1");
    long long base = number(&a[6], "index");
    ask_free(&a[6]);
    for (int i = 0; i < 6; i++) {
        ask(&a[i], f, "seats 1 --min-index %lld", base + ahead[i]);
    }
    for (int k = 1; k <= 3; k++) {
        granted(&a[6], f, "book 1 ann B%d", k);
        ask_free(&a[6]);
        sim_run(w->sim, 10);
        for (int i = 0; i < 6; i++) {
            assert_int_equal(a[i].answers, ahead[i] <= k);
        }
    }
    for (int i = 0; i < 6; i++) {
        ask_wait(&a[i]);
        assert_int_equal(a[i].code, ahead[i] == 1000 ? ERR_NOTREADY : 0);
    }
    granted(&a[7], f, "seats 1 --min-index %lld", base + 3);
    ask(&a[8], f, "seats 1 --min-index %lld", base + 4);
    granted(&a[6], f, "book 1 ann C1");
    ask_wait(&a[8]);
    assert_int_equal(a[8].code, 0);
    over(w, a, 9);
}

/* An index that does not come is what the refusal speaks of, whichever clock ends the wait. */
static void test_min_index_never(void **state)
{
    (void)state;
    struct ask a = { 0 };
    struct world *w = three(8);
    struct node *l = world_wait_leader(w);
    for (int i = 0; i < 12; i++) {
        sim_run(w->sim, sim_rand(w->sim, 60));
        within(NULL, &a, l, "seats 1 --min-index 99999");
        assert_int_equal(a.code, ERR_NOTREADY);
        ask_free(&a);
    }
    over(w, &a, 1);
}

/* A new leader's first entry is none of the store's: a known request's answer does not name it, as
 * maps do not, or whoever compares would wait for ever. */
static void test_index_of_barrier(void **state)
{
    (void)state;
    struct ask a[4] = { 0 };
    struct world *w = three(9);
    uint64_t seen = 0;
    struct node *l = world_wait_leader(w);
    within(&seen, &a[0], l, "book 1 ann A1 --request r1");
    node_crash(l, SIM_KILL);
    l = world_wait_leader(w);
    within(&seen, &a[1], l, "book 1 ann A1 --request r1");
    assert_int_equal(number(&a[1], "index"), number(&a[0], "index"));
    within(&seen, &a[2], l, "seats 1");
    assert_int_equal(number(&a[2], "index"), number(&a[1], "index"));
    within(NULL, &a[3], l, "seats 1 --linearizable");
    assert_int_equal(number(&a[3], "index"), number(&a[1], "index"));
    over(w, a, 4);
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

/* Nobody leads and the node stays behind: refused in time, and --local shows what it has. */
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
    uint64_t before = sim_now(w->sim);
    within(&seen, &a[1], f, "seats 1");
    assert_int_equal(a[1].code, ERR_NOQUORUM);
    assert_in_range(a[1].answered_ms - before, 0, 15000);
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

/* An answer that wrote nothing rests on what is there: nobody waits for an entry that nobody
 * writes. Asked of the leader, which gives such an answer no result of its own. */
static void test_nothing_written(void **state)
{
    (void)state;
    struct ask a[8] = { 0 };
    struct world *w = three(8);
    uint64_t seen = 0;
    struct node *l = world_wait_leader(w);
    within(&seen, &a[0], l, "book 1 ann A1 --request r");
    uint64_t first = seen;
    within(&seen, &a[1], l, "book 1 ann A1 --request r"); /* the id is known */
    within(&seen, &a[2], l, "book 1 ann A1");             /* already */
    within(&seen, &a[3], l, "book 1 ann A2 --dry-run");
    for (int i = 1; i < 4; i++) {
        assert_int_equal(a[i].code, 0);
        assert_int_equal(number(&a[i], "index"), first);
    }
    uint64_t before = sim_now(w->sim);
    within(&seen, &a[4], l, "seats 1");
    assert_int_equal(a[4].code, 0);
    assert_in_range(a[4].answered_ms - before, 0, 10);
    within(&seen, &a[5], l, "book 1 ann A2");
    assert_int_equal(seen, first + 1);
    over(w, a, 6);
}

/* An answer that no frame between nodes can carry is refused at once, and keeps none of the others.
 */
static void test_too_large_for_a_frame(void **state)
{
    (void)state;
    struct ask a[4] = { 0 };
    struct buf plan = BUF_INIT;
    struct world *w = three(9);
    (void)world_wait_leader(w);
    struct node *f = world_follower(w);
    for (int row = 0; row < 500; row++) { /* half a million seats with long names */
        buf_printf(&plan,
                   "%s{\"row\":\"THE-UPPER-GALLERY-ON-THE-LEFT-HAND-SIDE-%d-\",\"seats\":1000}",
                   row == 0 ? "[" : ",", row);
    }
    buf_put_str(&plan, "]");
    ask_set(&a[0], f, "add-event big");
    a[0].argv[a[0].r.argc++] = span_make((char *)plan.data, plan.len);
    service_submit(f->service, &a[0].r);
    ask_wait(&a[0]);
    assert_int_equal(a[0].code, 0);
    uint64_t before = sim_now(w->sim);
    ask(&a[1], f, "seats big --full --linearizable");
    ask(&a[2], f, "seats big --linearizable");
    ask_wait(&a[1]);
    ask_wait(&a[2]);
    assert_int_equal(a[1].code, ERR_TOOBIG);
    assert_int_equal(a[2].code, 0);
    assert_in_range(a[1].answered_ms - before, 0, 1000);
    sim_run(w->sim, 200);
    within(NULL, &a[3], f, "seats big --full --local");
    assert_int_equal(a[3].code, 0);
    buf_free(&plan);
    over(w, a, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_writes),      cmocka_unit_test(test_min_index_in_time),
        cmocka_unit_test(test_min_index_never), cmocka_unit_test(test_index_of_barrier),
        cmocka_unit_test(test_min_index_order), cmocka_unit_test(test_never_back),
        cmocka_unit_test(test_nobody_leads),    cmocka_unit_test(test_indices),
        cmocka_unit_test(test_nothing_written), cmocka_unit_test(test_too_large_for_a_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
