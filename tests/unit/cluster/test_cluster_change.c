/* Configuration changes that arrive as log entries (the commands that make them come
 * later). White box: the entries are put into the leader's core as those commands will. */
#include "unit/cluster/world.h"

#include "cluster/internal.h"
#include "cluster/message.h"

static uint64_t id_of(struct node *viewer, const char *address)
{
    const struct raft_configuration *conf = &viewer->c->raft.configuration;
    for (unsigned i = 0; i < conf->n; i++) {
        if (strcmp(conf->servers[i].address, address) == 0) {
            return conf->servers[i].id;
        }
    }
    fail_msg("%s is unknown", address);
    return 0;
}

/* Submits a configuration of the given roles; -1 leaves a node out. The leader's own rule
 * (learners that no operation is about are dropped) is switched off on every node. */
static int submit_change(struct world *w, struct node *leader, const int roles[NODES_MAX])
{
    struct cluster *c = leader->c;
    struct raft_configuration conf;
    struct raft_buffer b;
    raft_configuration_init(&conf);
    for (unsigned i = 0; i < w->count; i++) {
        if (w->nodes[i].running) {
            w->nodes[i].c->member_hands_off = true;
        }
        if (roles[i] >= 0) {
            uint64_t id = id_of(leader, w->nodes[i].address);
            assert_int_equal(raft_configuration_add(&conf, id, w->nodes[i].address, roles[i]), 0);
        }
    }
    assert_int_equal(raft_configuration_encode(&conf, &b), 0);
    raft_configuration_close(&conf);
    struct raft_entry entry = {
        .term = raft_current_term(&c->raft), .type = RAFT_CHANGE, .buf = b, .batch = b.base
    };
    struct raft_event event = { .type = RAFT_SUBMIT };
    event.submit.entries = &entry;
    event.submit.n = 1;
    c->submitting = payload_of_raft(b.base);
    struct payload *p = c->submitting;
    int rv = driver_step(c, &event);
    c->submitting = NULL;
    if (rv != 0) {
        payload_unref(p);
    }
    cluster_kick(c);
    return rv;
}

static struct node *other(struct world *w, const struct node *not_a, const struct node *not_b)
{
    for (unsigned i = 0; i < w->count; i++) {
        if (&w->nodes[i] != not_a && &w->nodes[i] != not_b) {
            return &w->nodes[i];
        }
    }
    return NULL;
}

static void voters_but(struct world *w, const struct node *n, int role, int roles[NODES_MAX])
{
    for (unsigned i = 0; i < w->count; i++) {
        roles[i] = &w->nodes[i] == n ? role : RAFT_VOTER;
    }
}

static struct cluster_member member_of(struct node *viewer, const struct node *n)
{
    struct cluster_status s = node_status(viewer);
    for (size_t i = 0; i < s.members_count; i++) {
        if (strcmp(s.members[i].address, n->address) == 0) {
            return s.members[i];
        }
    }
    fail_msg("%s is not a member", n->address);
    return (struct cluster_member){ 0 };
}

/* engine.md trap 1: a laggard that receives commands and a CHANGE in one message knows the
 * CHANGE's true index, and its own snapshot carries the new configuration. */
static void test_change_behind_commands(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct world *w = world_new(seed, 3);
        int roles[NODES_MAX];
        world_start(w);
        world_propose(w, 3);
        struct node *l = world_leader(w), *late = other(w, l, NULL);
        struct node *third = other(w, l, late);
        node_crash(late, SIM_KILL); /* what it misses comes in one message later */
        world_propose(w, 5);
        voters_but(w, third, RAFT_STANDBY, roles);
        /* Only with `late` there is a majority of the new voters: it waits for it. */
        assert_int_equal(submit_change(w, l, roles), 0);
        uint64_t index = log_cache_last(&l->c->log);
        sim_run(w->sim, 300);
        assert_true(node_status(l).commit < index);
        node_start(late);
        late->c->member_hands_off = true;
        world_check(w);
        struct cluster *c = late->c;
        assert_true(c->raft.configuration_committed_index == index);
        assert_true(c->raft.configuration_uncommitted_index == 0);
        assert_true(c->conf_index == index);
        assert_false(member_of(late, third).voter);
        assert_int_equal(member_of(late, third).self, 0);
        world_free(w);
    }
}

/* Voter, learner, voter again: over restarts and snapshots everybody knows the same. */
static void test_roles_survive_snapshots(void **state)
{
    (void)state;
    struct world *w = world_new(9, 3);
    int roles[NODES_MAX];
    world_start(w);
    world_propose(w, 3);
    struct node *l = world_leader(w), *n = other(w, l, NULL);
    voters_but(w, n, RAFT_STANDBY, roles);
    assert_int_equal(submit_change(w, l, roles), 0);
    uint64_t index = log_cache_last(&l->c->log);
    world_propose(w, 3);
    for (unsigned i = 0; i < 3; i++) {
        cluster_snapshot(w->nodes[i].c, on_nothing, NULL);
    }
    sim_run(w->sim, 1000);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(node_status(&w->nodes[i]).snapshot_index > 0);
        node_crash(&w->nodes[i], SIM_POWER_LOSS);
    }
    world_start(w);
    for (unsigned i = 0; i < 3; i++) {
        w->nodes[i].c->member_hands_off = true;
    }
    world_propose(w, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(member_of(&w->nodes[i], n).voter, 0);
        assert_true(w->nodes[i].c->conf_index == index);
        assert_true(w->nodes[i].c->raft.configuration_committed_index == index);
    }
    l = world_leader(w);
    assert_ptr_not_equal(l, n); /* a learner is never elected */
    voters_but(w, n, RAFT_VOTER, roles);
    assert_int_equal(submit_change(w, l, roles), 0);
    world_propose(w, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(member_of(&w->nodes[i], n).voter, 1);
    }
    world_check(w);
    world_free(w);
}

/* engine.md trap 2 at run time: a follower left as the only voter leads, but in a new term
 * and with its vote for itself on disk. The removed leader says so and serves nothing. */
static void test_left_alone(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world *w = world_new(seed, 2);
        int roles[NODES_MAX];
        world_start(w);
        world_propose(w, 3);
        struct node *gone = world_leader(w), *left = other(w, gone, NULL);
        uint64_t term = node_status(gone).term;
        voters_but(w, gone, -1, roles);
        assert_int_equal(submit_change(w, gone, roles), 0);
        sim_run(w->sim, 200);
        gone->outside = true;
        world_wait_leader(w);
        assert_ptr_equal(world_leader(w), left);
        assert_true(node_status(left).term > term);
        assert_true(left->c->raft.voted_for == left->c->identity.node_id);
        world_propose(w, 5);
        assert_int_equal(gone->role, ROLE_REMOVED);
        assert_true(gone->fatal && !gone->fatal_stop);
        node_crash(left, SIM_POWER_LOSS);
        node_start(left);
        world_propose(w, 1);
        world_check(w);
        world_free(w);
    }
}

/* An uncommitted change that a new leader does not know is rolled back. */
static void test_rollback(void **state)
{
    (void)state;
    struct world *w = world_new(11, 3);
    int roles[NODES_MAX];
    world_start(w);
    world_propose(w, 3);
    struct node *l = world_leader(w), *n = other(w, l, NULL);
    sim_isolate(w->sim, l->address);
    voters_but(w, n, RAFT_STANDBY, roles);
    assert_int_equal(submit_change(w, l, roles), 0);
    assert_int_equal(member_of(l, n).voter, 0); /* counts from the moment it is in the log */
    sim_run(w->sim, 2000);
    l->outside = true;
    world_propose(w, 3);
    l->outside = false;
    sim_heal(w->sim);
    world_check(w);
    assert_int_equal(member_of(l, n).voter, 1);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_change_behind_commands),
        cmocka_unit_test(test_roles_survive_snapshots),
        cmocka_unit_test(test_left_alone),
        cmocka_unit_test(test_rollback),
    };
    return (cmocka_set_test_filter(getenv("TEST")),
            cmocka_run_group_tests_name("cluster_change", tests, NULL, NULL));
}
