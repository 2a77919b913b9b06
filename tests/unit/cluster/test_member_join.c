/* Joining over the simulated env: a node is added, and everything that can go wrong on the way.
 * Who asks is often not the leader. */
#include "unit/cluster/member_fixture.h"

static bool is_removed(void *arg)
{
    const struct node *n = arg;
    return n->role == ROLE_REMOVED;
}

/* Asked of a follower, the address started afterwards: a voter with all of the state. */
static void test_add_then_start(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct world *w = house(seed, 3, 4);
        struct asking a = want(follower(w), CHANGE_ADD, "d:1", "");
        sim_run_until(w->sim, 3000, poll_done, &a);
        assert_int_equal(a.st.stage, STAGE_REACHING);
        assert_int_equal(voters(w), 3); /* nothing was logged */
        node_start(&w->nodes[3]);
        assert_int_equal(finish(&a), 0);
        w->nodes[3].outside = false;
        assert_int_equal(voters(w), 4);
        world_propose(w, 5);
        world_check(w);
        assert_true(node_status(&w->nodes[3]).digest == node_status(&w->nodes[0]).digest);
        world_free(w);
    }
}

/* A member that lags behind the joining does not drive the new node away: who has just been
 * let in, empty or with its old disk, is never told that it was removed. */
static void test_laggard_does_not_drive_away(void **state)
{
    (void)state;
    for (uint64_t seed = 500; seed < 516; seed++) {
        struct world *w = house(seed, 3, 4);
        struct node *d = &w->nodes[3], *lags = follower(w), *leader = world_leader(w);
        bool old_disk = seed % 2 == 0;
        if (old_disk) {
            node_start(d);
            assert_int_equal(change(leader, CHANGE_ADD, "d:1", ""), 0);
            assert_int_equal(change(leader, CHANGE_REMOVE, "d:1", ""), 0);
            assert_true(sim_run_until(w->sim, 3000, is_removed, d));
            assert_int_equal(voters(w), 3);
        }
        d->fatal = false;
        sim_block(w->sim, leader->address, lags->address, true);
        if (!old_disk) {
            node_start(d);
        }
        assert_int_equal(change(leader, CHANGE_ADD, "d:1", ""), 0);
        d->outside = false;
        assert_false(d->fatal);
        sim_heal(w->sim);
        assert_int_equal(voters(w), 4);
        world_propose(w, 3);
        world_check(w);
        assert_false(d->fatal);
        world_free(w);
    }
}

/* One of the three founders that is neither of these. */
static struct node *founder_but(struct world *w, const struct node *one, const struct node *other)
{
    struct node *n = &w->nodes[0];
    while (n == one || n == other) {
        n++;
    }
    return n;
}

/* Who was away answers a member that its old configuration does not know, though its profile lists
 * it: that member's election needs the vote (found by the simulator). */
static void test_vote_for_a_listed_stranger(void **state)
{
    (void)state;
    struct world *w = house(540, 3, 4);
    struct node *d = &w->nodes[3], *l = world_leader(w), *away = follower(w);
    node_crash(away, SIM_KILL);
    away->outside = true; /* until it is back */
    node_start(d);
    assert_int_equal(change(l, CHANGE_ADD, "d:1", ""), 0);
    d->outside = false;
    l = world_wait_leader(w);
    struct node *gone = founder_but(w, away, l), *rest = founder_but(w, away, gone);
    assert_int_equal(change(l, CHANGE_REMOVE, gone->address, ""), 0);
    gone->outside = true;
    world_propose(w, 3);
    node_crash(gone, SIM_KILL);
    node_crash(rest, SIM_KILL);
    memcpy(away->list, world_names, 4 * sizeof world_names[0]);
    away->list[4] = NULL;
    away->outside = false;
    node_start(away);
    world_propose(w, 2);
    assert_ptr_equal(world_leader(w), d);
    node_start(rest);
    world_check(w);
    world_free(w);
}

/* What a leader did not answer before it led does not make it deaf: its disk may have stood still.
 */
static void test_new_leader_is_not_deaf(void **state)
{
    (void)state;
    unsigned shown = 0;
    for (uint64_t seed = 530; seed < 536; seed++) {
        struct world *w = house(seed, 3, 3);
        struct node *old = world_leader(w), *x = old == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
        uint64_t term = node_status(old).term;
        node_crash(old, SIM_KILL);
        while (world_leader(w) == NULL || strcmp(node_status(x).leader, old->address) == 0 ||
               node_status(x).leader[0] == '\0') {
            for (struct peer *p = x->c->peers; p != NULL && node_status(x).term == term;
                 p = p->next) {
                p->unheard = UNHEARD_MAX;
            }
            assert_true(sim_step(w->sim));
        }
        assert_false(cluster_leader_deaf(x->c));
        shown += node_status(x).role != ROLE_LEADER;
        node_start(old);
        world_check(w);
        world_free(w);
    }
    assert_true(shown > 0);
}

/* Who has been linked for long before it was a member has been sent no ping, and is not called
 * deaf for that: not by the leader, nor the leader by it. */
static void test_new_member_is_not_deaf(void **state)
{
    (void)state;
    for (uint64_t seed = 520; seed < 524; seed++) {
        struct world *w = house(seed, 3, 4);
        struct node *d = &w->nodes[3], *leader = world_leader(w);
        node_start(d);
        sim_run(w->sim, 6000);
        assert_int_equal(change(leader, CHANGE_ADD, "d:1", ""), 0);
        d->outside = false;
        struct cluster_status s = node_status(leader);
        assert_int_equal(s.members_count, 4);
        for (size_t i = 0; i < s.members_count; i++) {
            assert_false(s.members[i].deaf);
        }
        assert_false(cluster_leader_deaf(d->c));
        sim_run(w->sim, 5000);
        assert_false(cluster_leader_deaf(d->c));
        world_check(w);
        world_free(w);
    }
}

/* Nobody ever answers: the time ends it, nothing was changed, the next change is taken. */
static void test_add_nobody(void **state)
{
    (void)state;
    struct world *w = house(7, 3, 4);
    uint64_t last = node_status(world_leader(w)).last;
    assert_int_equal(change(follower(w), CHANGE_ADD, "d:1", ""), ERR_NOTFOUND);
    assert_int_equal(node_status(world_leader(w)).last, last);
    assert_int_equal(change(follower(w), CHANGE_ADD, "nowhere:1", ""), ERR_NOTFOUND);
    node_start(&w->nodes[3]);
    assert_int_equal(change(follower(w), CHANGE_ADD, "d:1", ""), 0);
    w->nodes[3].outside = false;
    world_check(w);
    world_free(w);
}

/* What is refused at once, and that the log has not grown by it. */
static void test_refusals(void **state)
{
    (void)state;
    struct world *w = house(8, 3, 4);
    uint64_t last = node_status(world_leader(w)).last;
    struct node *f = follower(w);
    assert_int_equal(change(f, CHANGE_ADD, "a:1", ""), ERR_CONFLICT);
    assert_int_equal(change(f, CHANGE_ADD, f->address, ""), ERR_CONFLICT);
    assert_int_equal(change(f, CHANGE_REMOVE, "d:1", ""), ERR_NOTFOUND);
    assert_int_equal(change(f, CHANGE_REPLACE, "d:1", "e:1"), ERR_NOTFOUND);
    assert_int_equal(change(f, CHANGE_REPLACE, "a:1", "b:1"), ERR_CONFLICT);
    assert_int_equal(change(f, CHANGE_REPLACE, "a:1", "a:1"), ERR_CONFLICT); /* it is well */
    assert_int_equal(change(f, CHANGE_TRANSFER, "d:1", ""), ERR_NOTFOUND);
    assert_int_equal(node_status(world_leader(w)).last, last);
    world_free(w);
}

/* A node that has founded a cluster of its own is refused, and says how to go on. */
static void test_add_of_another_cluster(void **state)
{
    (void)state;
    struct world *w = house(9, 3, 4);
    w->nodes[3].list[0] = "d:1";
    w->nodes[3].list[1] = NULL;
    node_start(&w->nodes[3]);
    sim_run(w->sim, 2000);
    assert_int_equal(node_status(&w->nodes[3]).role, ROLE_LEADER);
    struct asking a = want(&w->nodes[0], CHANGE_ADD, "d:1", "");
    w->nodes[3].paused = true; /* in name only: not counted below: it leads another cluster */
    assert_int_equal(finish(&a), ERR_CONFLICT);
    assert_non_null(strstr(a.st.text, "another cluster"));
    assert_non_null(strstr(a.st.hint, "remove its data directory"));
    assert_int_equal(voters(w), 3);
    w->nodes[3].paused = false;
    world_free(w);
}

/* The joiner dies while it catches up: past the deadline the voters are as they were, and
 * the same address can be added again. */
static void test_joiner_dies(void **state)
{
    (void)state;
    for (uint64_t seed = 20; seed < 25; seed++) {
        struct world *w = house(seed, 3, 4);
        w->value_bytes = 4000;
        world_propose(w, 50);
        node_start(&w->nodes[3]);
        struct asking a = want(follower(w), CHANGE_ADD, "d:1", "");
        for (unsigned i = 0; i < 400 && a.st.stage < STAGE_LEARNING; i++) {
            (void)poll_done(&a);
            sim_run(w->sim, 5);
        }
        node_crash(&w->nodes[3], SIM_POWER_LOSS);
        int code = finish(&a);
        if (code == 0) { /* it was quicker: then it is a voter */
            node_start(&w->nodes[3]);
            w->nodes[3].outside = false;
            assert_int_equal(voters(w), 4);
        } else {
            assert_int_equal(code, ERR_LIMIT);
            assert_int_equal(voters(w), 3);
            world_propose(w, 3);
            node_start(&w->nodes[3]);
            assert_int_equal(change(follower(w), CHANGE_ADD, "d:1", ""), 0);
            w->nodes[3].outside = false;
            assert_int_equal(voters(w), 4);
        }
        world_check(w);
        world_free(w);
    }
}

/* d:1 is a learner in the leader's configuration. */
static bool learns(void *arg)
{
    struct world *w = arg;
    struct node *l = world_leader(w);
    const struct raft_server *s = l != NULL ? conf_by_address(l->c, "d:1") : NULL;
    return s != NULL && s->role == RAFT_STANDBY;
}

/* Asks for d:1 and lets it die the moment it is a learner. */
static struct asking dead_learner(struct world *w)
{
    struct node *d = &w->nodes[3];
    node_start(d);
    sim_run(w->sim, 1500);
    struct asking a = want(follower(w), CHANGE_ADD, "d:1", "");
    for (unsigned i = 0; i < 20000 && !learns(w); i++) {
        (void)poll_done(&a);
        sim_step(w->sim);
    }
    assert_true(learns(w));
    node_crash(d, SIM_KILL);
    return a;
}

/* The operation ends about when its time is over; the voters are as they were. Frees the world. */
static void dropped_in_time(struct world *w, struct asking *a)
{
    uint64_t began = sim_now(w->sim);
    assert_int_equal(finish(a), ERR_LIMIT);
    assert_in_range(sim_now(w->sim) - began, 50000, 65000);
    assert_int_equal(voters(w), 3);
    world_propose(w, 3);
    world_check(w);
    world_free(w);
}

/* A learner that never catches up is dropped when its time is over, and not before. */
static void test_learner_never_catches_up(void **state)
{
    (void)state;
    struct world *w = house(25, 3, 4);
    struct asking a = dead_learner(w);
    dropped_in_time(w, &a);
}

/* The same while every clock has been set back by an hour, so that cluster time stands still: it
 * does not wait for that hour. (Found by the simulator.) */
static void test_learner_while_time_stands(void **state)
{
    (void)state;
    struct world *w = house(27, 3, 4);
    struct asking a = dead_learner(w);
    for (unsigned i = 0; i < 3; i++) {
        sim_set_wall_offset(w->nodes[i].env, -3600 * 1000);
    }
    dropped_in_time(w, &a);
}

/* Whoever asked goes away: the new node is dropped again at once, and the next change taken. */
static void test_cancel(void **state)
{
    (void)state;
    struct world *w = house(26, 3, 4);
    (void)dead_learner(w);
    sim_run(w->sim, 6000); /* and nobody asks any more */
    assert_int_equal(voters(w), 3);
    assert_int_equal(change(follower(w), CHANGE_REMOVE, "c:1", ""), 0);
    w->nodes[2].outside = true;
    assert_int_equal(voters(w), 2);
    world_free(w);
}

/* A learner that no operation is about is dropped by whoever leads. */
static void test_learner_without_operation(void **state)
{
    (void)state;
    struct world *w = house(27, 3, 4);
    struct node *l = world_leader(w);
    assert_true(conf_submit(l->c, 4711, "d:1", RAFT_STANDBY));
    assert_true(learns(w));
    sim_run(w->sim, 2000);
    assert_false(learns(w));
    assert_int_equal(voters(w), 3);
    world_check(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_then_start),
        cmocka_unit_test(test_laggard_does_not_drive_away),
        cmocka_unit_test(test_new_member_is_not_deaf),
        cmocka_unit_test(test_new_leader_is_not_deaf),
        cmocka_unit_test(test_vote_for_a_listed_stranger),
        cmocka_unit_test(test_add_nobody),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_add_of_another_cluster),
        cmocka_unit_test(test_joiner_dies),
        cmocka_unit_test(test_learner_never_catches_up),
        cmocka_unit_test(test_learner_while_time_stands),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_learner_without_operation),
    };
    return (cmocka_set_test_filter(getenv("TEST")),
            cmocka_run_group_tests_name("member", tests, NULL, NULL));
}
