/* Who leads when disks hang or are full: a voter whose disk is well, as long as there is a
 * majority of those. */
#include "unit/cluster/world.h"

#include "cluster/internal.h"

#define ROOMY (UINT64_C(1) << 40)

/* The next entry is proposed, and the leader's write of it takes so long; nobody else's does. */
static void hang(struct world *w, struct node *l, uint64_t seconds)
{
    struct error e = { 0 };
    sim_set_job_latency(w->sim, seconds * 1000000, seconds * 1000000);
    assert_int_equal(node_propose(l, &e), 0);
    sim_step(w->sim);
    assert_non_null(l->c->appends);
    sim_set_job_latency(w->sim, 1000, 1000);
}

/* The leader of `n` nodes that have written something. */
static struct node *led(uint64_t seed, unsigned n)
{
    struct world *w = world_new(seed, n);
    world_start(w);
    world_propose(w, 3);
    return world_wait_leader(w);
}

static bool all_acked(void *arg)
{
    struct world *w = arg;
    for (unsigned i = 0; i < w->count; i++) {
        if (w->nodes[i].pending_count > 0) {
            return false;
        }
    }
    return true;
}

/* One write through whoever leads: world_propose() would wait for the node that hangs. */
static void write_one(struct world *w)
{
    struct error e = { 0 };
    assert_true(sim_run_until(w->sim, 5000, world_may_propose, w));
    assert_int_equal(node_propose(world_leader(w), &e), 0);
    assert_true(sim_run_until(w->sim, 1000, all_acked, w));
}

static const struct cluster_vitals *told_of(struct node *by, const struct node *n)
{
    struct cluster_status s = node_status(by);
    for (size_t i = 0; i < s.members_count; i++) {
        if (strcmp(s.members[i].address, n->address) == 0) {
            return &s.members[i].vitals;
        }
    }
    fail_msg("%s is no member", n->address);
    return NULL;
}

/* The others have all that hangs: one of them leads, once, and everybody can see why. */
static void test_leader_hangs(void **state)
{
    (void)state;
    struct node *old = led(41, 3);
    struct world *w = old->w;
    uint64_t term = node_status(old).term;
    hang(w, old, 60);
    sim_run(w->sim, 1000);
    assert_ptr_equal(world_leader(w), old); /* a disk may be slow for once */
    sim_run(w->sim, 4000);
    struct node *l = world_leader(w);
    assert_non_null(l);
    assert_ptr_not_equal(l, old);
    write_one(w);
    sim_run(w->sim, 20000);
    write_one(w);
    assert_ptr_equal(world_leader(w), l);
    assert_int_equal(node_status(l).term, term + 1);
    assert_true(told_of(l, old)->write_us > 20000000);
    assert_int_equal(told_of(l, old)->disk, DISK_HANGS);
    assert_int_equal(told_of(l, l)->disk, 0);
    assert_true(told_of(l, l)->write_us < 1000000);
    sim_run(w->sim, 120000);
    assert_int_equal(told_of(l, old)->disk, 0);
    world_propose(w, 3);
    world_check(w);
    world_free(w);
}

/* Disks that hang together, as those of nodes on one machine: nobody could do better. */
static void test_all_hang(void **state)
{
    (void)state;
    struct node *l = led(42, 3);
    struct world *w = l->w;
    struct error e = { 0 };
    uint64_t term = node_status(l).term;
    sim_set_job_latency(w->sim, 10000000, 10000000);
    assert_int_equal(node_propose(l, &e), 0);
    sim_run(w->sim, 9000);
    assert_ptr_equal(world_leader(w), l);
    assert_int_equal(l->c->disk_tried_ms, 0); /* a try alone refuses writes for a while */
    sim_set_job_latency(w->sim, 1000, 1000);
    sim_run(w->sim, 30000);
    world_propose(w, 3);
    assert_int_equal(node_status(world_leader(w)).term, term);
    world_check(w);
    world_free(w);
}

/* Of two, the other alone is no majority: without an answer of this one, it would lead nobody. */
static void test_one_of_two_hangs(void **state)
{
    (void)state;
    struct node *l = led(43, 2);
    struct world *w = l->w;
    uint64_t term = node_status(l).term;
    hang(w, l, 20);
    sim_run(w->sim, 60000);
    assert_ptr_equal(world_leader(w), l);
    assert_int_equal(node_status(l).term, term);
    world_propose(w, 3);
    world_check(w);
    world_free(w);
}

/* A full leader refuses for some seconds, then another takes what is written. */
static void test_leader_is_full(void **state)
{
    (void)state;
    struct node *old = led(44, 3);
    struct world *w = old->w;
    struct error e = { 0 };
    uint64_t term = node_status(old).term;
    sim_set_disk_bytes(old->env, 1);
    sim_run(w->sim, 2000);
    assert_int_equal(node_propose(old, &e), ERR_NOSPACE);
    sim_run(w->sim, 6000);
    struct node *l = world_leader(w);
    assert_non_null(l);
    assert_ptr_not_equal(l, old);
    assert_int_equal(told_of(l, old)->disk, DISK_FULL);
    world_propose(w, 20);
    assert_int_equal(node_status(l).term, term + 1);
    sim_set_disk_bytes(old->env, ROOMY);
    sim_run(w->sim, 3000);
    assert_int_equal(told_of(l, old)->disk, 0);
    world_check(w);
    world_free(w);
}

/* Two of three full: whoever leads refuses early, rather than to wait for their disks, and goes on
 * when one of them has room. */
static void test_majority_is_full(void **state)
{
    (void)state;
    struct node *l = led(45, 3);
    struct world *w = l->w;
    struct error e = { 0 };
    uint64_t term = node_status(l).term;
    for (unsigned i = 0; i < w->count; i++) {
        sim_set_disk_bytes(w->nodes[i].env, &w->nodes[i] == l ? ROOMY : 1);
    }
    sim_run(w->sim, 3000);
    assert_int_equal(node_propose(l, &e), ERR_NOSPACE);
    assert_non_null(strstr(e.message, "the disks of too many nodes are full"));
    sim_run(w->sim, 20000);
    assert_int_equal(node_status(l).term, term);
    unsigned before = l->ready_events;
    sim_set_disk_bytes(l == &w->nodes[0] ? w->nodes[1].env : w->nodes[0].env, ROOMY);
    sim_run(w->sim, 3000);
    assert_true(l->ready_events > before);
    world_propose(w, 3);
    world_check(w);
    world_free(w);
}

/* A leader that drains, and every other hand-over, passes the full one by. */
static void test_hands_over_to_one_with_room(void **state)
{
    (void)state;
    for (unsigned full = 0; full < 3; full++) {
        struct world *w = world_new(46 + full, 3);
        world_start(w);
        world_propose(w, 3);
        struct node *l = world_wait_leader(w), *f = &w->nodes[full];
        if (f != l) {
            sim_set_disk_bytes(f->env, 1);
            sim_run(w->sim, 3000);
            cluster_drain(l->c, true);
            sim_run(w->sim, 3000);
            assert_non_null(world_leader(w));
            assert_ptr_not_equal(world_leader(w), l);
            assert_ptr_not_equal(world_leader(w), f);
        }
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leader_hangs),     cmocka_unit_test(test_all_hang),
        cmocka_unit_test(test_one_of_two_hangs), cmocka_unit_test(test_leader_is_full),
        cmocka_unit_test(test_majority_is_full), cmocka_unit_test(test_hands_over_to_one_with_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
