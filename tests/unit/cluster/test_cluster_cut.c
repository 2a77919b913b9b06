/* Writes that end late. White box.
 *
 * An append that a truncation has cut, and whose write ends late: what it wrote is gone from
 * the log, so it must not vouch for the entries that now have its indexes. A leader whose disk
 * hangs while the others commit: what it has in memory for it stays bounded. One that waits for
 * space: the node stops all the same. */
#include "unit/cluster/world.h"

#include "base/limits.h"

#include "cluster/internal.h"

/* D3: nobody counts an entry as durable whose write has not ended. */
static void check_claims(struct world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        const struct node *n = &w->nodes[i];
        for (const struct append *a = n->running ? n->c->appends : NULL; a != NULL; a = a->next) {
            assert_true(a->n == 0 || n->c->raft.last_stored < a->index);
        }
    }
}

/* A leader is cut off with a write that takes 20 s. The others go on without it; when it
 * comes back, its entries are cut and others take their place behind that same write. */
static void test_late_write(void **state)
{
    (void)state;
    struct world *w = world_new(31, 3);
    struct error e = { 0 };
    world_start(w);
    world_propose(w, 2);
    sim_run(w->sim, 1000);
    struct node *old = world_wait_leader(w);
    sim_set_job_latency(w->sim, 20000000, 20000000);
    sim_isolate(w->sim, old->address);
    assert_int_equal(node_propose(old, &e), 0);
    assert_int_equal(node_propose(old, &e), 0);
    sim_run(w->sim, 1); /* the write has begun */
    sim_set_job_latency(w->sim, 1000, 1000);
    old->paused = true; /* for world_propose: not the one we want */
    sim_run(w->sim, 3000);
    struct node *next = world_wait_leader(w);
    assert_ptr_not_equal(next, old);
    world_propose(w, 3);
    old->paused = false;
    assert_non_null(old->c->appends); /* still under way */
    sim_heal(w->sim);
    uint64_t until = sim_now(w->sim) + 60000;
    while (sim_now(w->sim) < until && sim_step(w->sim)) {
        check_claims(w);
    }
    world_check(w);
    world_free(w);
}

static bool may_propose(void *arg)
{
    return node_status(arg).entries_in_flight < PIPELINE_ENTRIES_MAX;
}

/* A leader's own write takes 20 s while a majority of others commits: it takes no more than so
 * many bytes, and goes on when the disk does (with an election timeout under which this is not yet
 * too long for a leader; test_cluster_disk.c). */
static void test_leader_with_a_hanging_disk(void **state)
{
    (void)state;
    struct world *w = world_new(32, 3);
    struct error e = { 0 };
    w->value_bytes = 60000;
    w->election_ms = 8000;
    world_start(w);
    world_propose(w, 2);
    struct node *l = world_wait_leader(w);
    sim_set_job_latency(w->sim, 20000000, 20000000);
    assert_int_equal(node_propose(l, &e), 0);
    sim_step(w->sim); /* its write has begun, and nobody else's */
    sim_set_job_latency(w->sim, 1000, 1000);
    uint64_t most = UNSTORED_BYTES_MAX / w->value_bytes + 2;
    for (uint64_t i = 0; node_propose(l, &e) == 0; i++) {
        assert_in_range(i, 0, most);
        assert_true(sim_run_until(w->sim, 2000, may_propose, l));
    }
    assert_int_equal(e.code, ERR_BUSY);
    assert_non_null(strstr(e.message, "wait for the leader's disk"));
    assert_in_range(l->c->unstored_bytes, UNSTORED_BYTES_MAX,
                    UNSTORED_BYTES_MAX + 2 * w->value_bytes);
    unsigned before = l->ready_events;
    sim_run(w->sim, 30000);
    assert_true(l->ready_events > before);
    w->value_bytes = 8;
    world_propose(w, 3);
    world_check(w);
    world_free(w);
}

/* A follower whose append waits for space stops in order, also in the middle of an election. */
static void test_stop_without_space(void **state)
{
    (void)state;
    for (unsigned votes = 0; votes < 2; votes++) {
        struct world *w = world_new(33 + votes, 3);
        struct error e = { 0 };
        w->segment_bytes = UINT64_C(1) << 20;
        world_start(w);
        world_propose(w, 3);
        struct node *l = world_wait_leader(w), *full = &w->nodes[l == &w->nodes[0]];
        w->value_bytes = 60000;
        sim_set_disk_bytes(full->env, 1);
        for (unsigned i = 0; i < 60; i++) { /* more than it has segments for */
            assert_int_equal(node_propose(l, &e), 0);
            assert_true(sim_run_until(w->sim, 2000, may_propose, l));
        }
        sim_run(w->sim, 1000);
        assert_non_null(full->c->appends);
        if (votes) {
            uint64_t asked = full->c->votes_asked;
            node_crash(l, SIM_KILL);
            while (full->c->votes_asked == asked) {
                assert_true(sim_step(w->sim));
            }
        }
        uint64_t before = sim_now(w->sim);
        node_stop(full);
        assert_in_range(sim_now(w->sim) - before, 0, 3000); /* net/node.c allows 4.5 s in all */
        sim_set_disk_bytes(full->env, UINT64_C(1) << 40);
        node_start(full);
        if (votes) {
            node_start(l);
        }
        world_check(w);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late_write),
        cmocka_unit_test(test_leader_with_a_hanging_disk),
        cmocka_unit_test(test_stop_without_space),
    };
    return (cmocka_set_test_filter(getenv("TEST")),
            cmocka_run_group_tests_name("cluster_cut", tests, NULL, NULL));
}
