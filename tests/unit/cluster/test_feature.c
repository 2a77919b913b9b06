/* Feature levels: nodes that pretend to be older or newer programs. */
#include "world.h"

struct wanted {
    struct world *w;
    uint32_t level;
};

static bool all_have_level(void *arg)
{
    struct wanted *x = arg;
    for (unsigned i = 0; i < x->w->count; i++) {
        struct node *n = &x->w->nodes[i];
        if (n->running && cluster_feature_level(n->c) != x->level) {
            return false;
        }
    }
    return true;
}

static void wait_level(struct world *w, uint32_t level)
{
    struct wanted x = { w, level };
    if (!sim_run_until(w->sim, 30000, all_have_level, &x)) {
        fail_msg("level %u is not reached", level);
    }
}

static struct world *start(uint64_t seed, uint32_t a, uint32_t b, uint32_t c)
{
    struct world *w = world_new(seed, 3);
    const uint32_t levels[] = { a, b, c };
    for (unsigned i = 0; i < 3; i++) {
        w->nodes[i].feature_level = levels[i];
    }
    world_start(w);
    world_wait_leader(w);
    return w;
}

static void restart(struct world *w, unsigned i, uint32_t level)
{
    node_stop(&w->nodes[i]);
    w->nodes[i].feature_level = level;
    node_start(&w->nodes[i]);
}

static void check_entries(struct world *w, uint32_t level)
{
    world_propose(w, 2);
    for (unsigned i = 0; i < w->count; i++) {
        if (w->nodes[i].running) {
            assert_int_equal(w->nodes[i].entry_level, level);
        }
    }
    world_check(w);
}

/* When every member's program knows a level, the cluster goes on with it, logged, on all. */
static void test_raised(void **state)
{
    (void)state;
    struct world *w = start(1, 3, 3, 3);
    wait_level(w, 3);
    check_entries(w, 3);
    world_free(w);
}

/* An entry newer than the oldest member understands is not written, whoever leads; the level
 * follows the oldest member up as it is upgraded, and never goes down. */
static void test_oldest_member_decides(void **state)
{
    (void)state;
    struct world *w = start(2, 4, 4, 1);
    sim_run(w->sim, 5000);
    check_entries(w, 1);
    wait_level(w, 1);
    for (unsigned i = 0; i < 3; i++) { /* rolling: each stops and comes back as a newer one */
        restart(w, i, i == 2 ? 2 : 4);
        world_settle(w);
        check_entries(w, i == 2 ? cluster_feature_level(w->nodes[0].c) : 1);
    }
    wait_level(w, 2);
    check_entries(w, 2);
    restart(w, 2, 4);
    wait_level(w, 4);
    check_entries(w, 4);
    world_free(w);
}

/* While a member is away nobody knows what its program reads: the level stays. */
static void test_absent_member_holds(void **state)
{
    (void)state;
    struct world *w = start(3, 1, 1, 1);
    node_stop(&w->nodes[2]);
    restart(w, 0, 2);
    world_settle(w);
    restart(w, 1, 2);
    world_settle(w);
    sim_run(w->sim, 10000);
    check_entries(w, 1);
    w->nodes[2].feature_level = 2;
    node_start(&w->nodes[2]);
    wait_level(w, 2);
    check_entries(w, 2);
    world_free(w);
}

/* What a member showed before it went away counts for nothing: it may come back as an older one. */
static void test_gone_member_holds(void **state)
{
    (void)state;
    struct world *w = start(7, 3, 1, 3);
    world_propose(w, 2); /* all three are linked */
    node_stop(&w->nodes[2]);
    restart(w, 1, 3);
    world_settle(w);
    sim_run(w->sim, 10000);
    check_entries(w, 1);
    w->nodes[2].feature_level = 2;
    node_start(&w->nodes[2]);
    wait_level(w, 2);
    check_entries(w, 2);
    world_free(w);
}

/* The level survives restart and snapshot; an older program does not start on such data, says
 * that a newer one is needed, and has changed nothing. */
static void check_older_refused(uint64_t seed, uint64_t snapshot_bytes)
{
    struct world *w = world_new(seed, 3);
    w->snapshot_bytes = snapshot_bytes;
    for (unsigned i = 0; i < 3; i++) {
        w->nodes[i].feature_level = 3;
    }
    world_start(w);
    world_wait_leader(w);
    wait_level(w, 3);
    check_entries(w, 3);
    world_propose(w, 60);
    if (snapshot_bytes != 0) {
        assert_true(node_status(&w->nodes[2]).snapshot_index > 5);
    }
    if (snapshot_bytes == 1) { /* it has a received snapshot, and no command behind it */
        node_stop(&w->nodes[2]);
        world_propose(w, 10);
        restart(w, 0, 3);
        restart(w, 1, 3);
        world_settle(w);
        sim_run(w->sim, 2000);
        node_start(&w->nodes[2]);
        world_settle(w);
        assert_true(w->nodes[2].restored_events > 0);
    }
    node_stop(&w->nodes[2]);
    struct error e = { 0 };
    w->nodes[2].feature_level = 2;
    assert_int_equal(node_try_start(&w->nodes[2], &e), ERR_CONFLICT);
    assert_non_null(strstr(e.message, "feature level 3"));
    assert_non_null(strstr(e.hint, "newer usher"));
    sim_run(w->sim, 1000);
    w->nodes[2].feature_level = 3;
    node_start(&w->nodes[2]);
    world_check(w);
    assert_int_equal(cluster_feature_level(w->nodes[2].c), 3);
    world_free(w);
}

static void test_older_program_is_refused(void **state)
{
    (void)state;
    check_older_refused(4, 0);
    check_older_refused(5, 1000);
    check_older_refused(8, 1);
}

/* A program that cannot read what the cluster writes is refused at the handshake and told why;
 * a newer one at the same place is told how to join. */
static void test_handshake_refuses_older(void **state)
{
    (void)state;
    struct world *w = start(6, 2, 2, 2);
    wait_level(w, 2);
    struct node *d = &w->nodes[3];
    d->w = w;
    d->address = world_names[3];
    for (unsigned i = 0; i < 4; i++) {
        d->list[i] = world_names[i];
    }
    d->feature_level = 1;
    node_start(d);
    sim_run(w->sim, 10000);
    const char *waiting = node_status(d).waiting;
    assert_non_null(strstr(waiting, "d:1 runs a program of feature level 1"));
    assert_non_null(strstr(waiting, "this cluster writes level 2"));
    node_stop(d);
    d->feature_level = 2;
    node_start(d);
    sim_run(w->sim, 10000);
    assert_non_null(strstr(node_status(d).waiting, "usher add-node d:1"));
    check_entries(w, 2);
    node_stop(d);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raised),
        cmocka_unit_test(test_oldest_member_decides),
        cmocka_unit_test(test_absent_member_holds),
        cmocka_unit_test(test_gone_member_holds),
        cmocka_unit_test(test_older_program_is_refused),
        cmocka_unit_test(test_handshake_refuses_older),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
