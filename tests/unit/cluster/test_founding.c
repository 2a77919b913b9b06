/* First start: who founds, who waits, who is refused (design.md 5). */
#include "unit/cluster/world.h"

#include "cluster/internal.h"

static bool nobody_in_a_cluster(struct world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        if (w->nodes[i].running && node_status(&w->nodes[i]).role != ROLE_FOUNDING) {
            return false;
        }
    }
    return true;
}

static bool waits_for(struct node *n, const char *text)
{
    return strstr(node_status(n).waiting, text) != NULL;
}

/* A list of one is a cluster at once, and leads in a term with its own vote. */
static void test_single(void **state)
{
    (void)state;
    struct world *w = world_new(1, 1);
    world_start(w);
    world_propose(w, 3);
    assert_true(node_status(&w->nodes[0]).term >= 2); /* engine.md trap 2 */
    world_check(w);
    world_free(w);
}

/* Two of three listed nodes wait for the third, say so, and found when it comes. */
static void test_late_third_node(void **state)
{
    (void)state;
    struct world *w = world_new(2, 3);
    node_start(&w->nodes[0]);
    node_start(&w->nodes[1]);
    sim_run(w->sim, 20000);
    assert_true(nobody_in_a_cluster(w));
    assert_true(waits_for(&w->nodes[0], "c:1 (no answer)"));
    assert_false(waits_for(&w->nodes[0], "b:1"));
    node_start(&w->nodes[2]);
    world_wait_leader(w);
    world_check(w);
    assert_int_equal(node_status(&w->nodes[2]).members_count, 3);
    world_free(w);
}

/* Lists that differ found nothing; both lists are shown; a corrected restart founds. */
static void test_lists_differ(void **state)
{
    (void)state;
    struct world *w = world_new(3, 3);
    w->nodes[2].list[1] = "x:9";
    world_start(w);
    sim_run(w->sim, 10000);
    assert_true(nobody_in_a_cluster(w));
    assert_true(waits_for(&w->nodes[0], "differ: here a:1, b:1, c:1; there a:1, x:9, c:1"));
    node_stop(&w->nodes[2]);
    w->nodes[2].list[1] = "b:1";
    node_start(&w->nodes[2]);
    world_wait_leader(w);
    world_check(w);
    world_free(w);
}

/* --found: a majority is enough, a minority is not. The one that comes late is a stranger
 * and is told the add-node line. */
static void test_found_with_majority(void **state)
{
    (void)state;
    struct world *w = world_new(4, 3);
    w->nodes[0].found = true;
    node_start(&w->nodes[0]);
    sim_run(w->sim, 20000);
    assert_true(nobody_in_a_cluster(w));
    node_start(&w->nodes[1]);
    struct node *l = world_wait_leader(w);
    assert_int_equal(node_status(l).members_count, 2);
    world_propose(w, 3);
    node_start(&w->nodes[2]);
    sim_run(w->sim, 5000);
    assert_int_equal(node_status(&w->nodes[2]).role, ROLE_FOUNDING);
    assert_true(waits_for(&w->nodes[2], "usher add-node c:1"));
    assert_int_equal(node_status(l).members_count, 2);
    world_free(w);
}

static void wipe_one(void *arg, const char *name)
{
    struct node *n = arg;
    struct error e = { 0 };
    char path[256];
    (void)snprintf(path, sizeof path, "/data/%c/%s", n->address[0], name);
    assert_int_equal(n->env->ops->remove(n->env, path, &e), 0);
}

struct names {
    char name[64][64];
    unsigned n;
};

static void collect(void *arg, const char *name)
{
    struct names *x = arg;
    assert_true(x->n < 64);
    (void)snprintf(x->name[x->n++], 64, "%s", name);
}

/* Stops the node and empties its data directory. */
static void node_wipe(struct node *n)
{
    struct names x = { .n = 0 };
    struct error e = { 0 };
    char dir[32];
    node_stop(n);
    n->env = sim_env(n->w->sim, n->address);
    (void)snprintf(dir, sizeof dir, "/data/%c", n->address[0]);
    assert_int_equal(n->env->ops->list_dir(n->env, dir, collect, &x, &e), 0);
    for (unsigned i = 0; i < x.n; i++) {
        wipe_one(n, x.name[i]);
    }
    assert_int_equal(n->env->ops->sync_dir(n->env, dir, &e), 0);
}

/* An emptied disk never votes under its old name and is told replace-node; even the first
 * address founds no second cluster, and the others go on. */
static void test_wiped_disk(void **state)
{
    (void)state;
    for (unsigned victim = 0; victim < 3; victim++) {
        struct world *w = world_new(5 + victim, 3);
        world_start(w);
        world_propose(w, 5);
        uint64_t cluster_id = node_status(&w->nodes[1]).cluster_id;
        struct node *v = &w->nodes[victim];
        v->found = v->outside = true;
        node_wipe(v);
        node_start(v);
        sim_run(w->sim, 15000);
        assert_int_equal(node_status(v).role, ROLE_FOUNDING);
        assert_true(waits_for(v, "replace-node"));
        assert_true(node_status(v).cluster_id != cluster_id);
        world_propose(w, 5);
        /* With the wiped one and one more gone there is no quorum: it does not count. */
        struct node *other = &w->nodes[(victim + 1) % 3];
        node_crash(other, SIM_KILL);
        sim_run(w->sim, 5000);
        assert_null(world_leader(w));
        node_start(other);
        world_wait_leader(w);
        world_free(w);
    }
}

/* F2: a promise is for one founder. When that one's disk is emptied before it has founded, a
 * new founder at the same address is refused, for the old one might come back. */
static void test_promise_is_kept(void **state)
{
    (void)state;
    unsigned shown = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world *w = world_new(seed, 3);
        struct node *a = &w->nodes[0], *b = &w->nodes[1];
        world_start(w);
        for (int i = 0; i < 20000 && node_status(b).cluster_id == 0; i++) {
            assert_true(sim_step(w->sim));
        }
        uint64_t promised = node_status(b).cluster_id;
        sim_isolate(w->sim, a->address);
        node_wipe(a);
        sim_heal(w->sim);
        if (nobody_in_a_cluster(w)) {
            node_start(a);
            sim_run(w->sim, 10000);
            assert_true(nobody_in_a_cluster(w));
            assert_true(node_status(b).cluster_id == promised);
            assert_true(waits_for(a, "promised itself to another founder"));
            shown++;
        }
        world_free(w);
    }
    assert_true(shown > 0);
}

/* Power is lost at random moments of the founding, on any node: in the end there is one
 * cluster of the three, with one cluster id. */
static void test_power_losses_while_founding(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world *w = world_new(seed, 3);
        world_start(w);
        for (int i = 0; i < 6; i++) {
            sim_run(w->sim, sim_rand(w->sim, 60));
            struct node *n = &w->nodes[sim_rand(w->sim, 3)];
            node_crash(n, sim_rand(w->sim, 2) ? SIM_POWER_LOSS : SIM_KILL);
            sim_run(w->sim, sim_rand(w->sim, 900));
            node_start(n);
        }
        world_propose(w, 3);
        world_check(w);
        uint64_t id = node_status(&w->nodes[0]).cluster_id;
        for (unsigned i = 0; i < 3; i++) {
            assert_true(node_status(&w->nodes[i]).cluster_id == id);
            assert_int_equal(node_status(&w->nodes[i]).members_count, 3);
        }
        world_free(w);
    }
}

/* A node that promised itself and then missed the founding is given the configuration. */
static void test_promised_node_comes_back(void **state)
{
    (void)state;
    unsigned missed = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world *w = world_new(seed, 3);
        world_start(w);
        struct node *c = &w->nodes[2];
        for (int i = 0; i < 4000 && node_status(c).cluster_id == 0; i++) {
            sim_run(w->sim, 1);
        }
        sim_run(w->sim, sim_rand(w->sim, 4));
        missed += node_status(c).role == ROLE_FOUNDING;
        node_crash(c, SIM_POWER_LOSS);
        sim_run(w->sim, 4000);
        node_start(c);
        world_propose(w, 3);
        world_check(w);
        assert_int_equal(node_status(c).members_count, 3);
        world_free(w);
    }
    assert_true(missed > 0);
}

/* It promised itself and was gone before the configuration came; by the time it is back,
 * snapshots have taken entry 1 from everybody's log and another node is down: the two that are
 * left are a majority and serve. (Found by the simulator.) */
static void meets_a_short_log(bool changed)
{
    unsigned missed = 0;
    for (uint64_t seed = 1; seed <= 40 && missed < 3; seed++) {
        struct world *w = world_new(seed, 3);
        w->snapshot_bytes = 16 * 1024;
        w->value_bytes = 2000;
        world_start(w);
        struct node *c = &w->nodes[2];
        for (int i = 0; i < 4000 && node_status(c).cluster_id == 0; i++) {
            sim_run(w->sim, 1);
        }
        sim_run(w->sim, sim_rand(w->sim, 4));
        bool out = node_status(c).role == ROLE_FOUNDING;
        node_crash(c, SIM_POWER_LOSS);
        sim_run(w->sim, 4000);
        if (out && world_leader(w) != NULL) {
            missed++;
            world_propose(w, 1);
            if (changed) {
                assert_true(conf_submit(world_leader(w)->c, 4711, "x:1", RAFT_STANDBY));
            }
            world_propose(w, 60);
            assert_true(node_status(world_leader(w)).snapshot_index > 30);
            node_crash(world_leader(w), SIM_KILL);
            node_start(c);
            world_propose(w, 3);
            node_start(w->nodes[0].running ? &w->nodes[1] : &w->nodes[0]);
            world_check(w);
        }
        world_free(w);
    }
    assert_true(missed > 0);
}

static void test_promised_node_meets_a_short_log(void **state)
{
    (void)state;
    meets_a_short_log(false);
}

/* The same after a change of members: the first configuration is nowhere any more. The node has
 * nothing, and its vote is needed before it can get anything (R5). */
static void test_promised_node_meets_a_changed_cluster(void **state)
{
    (void)state;
    meets_a_short_log(true);
}

/* A directory of another address, and one that a running node holds, are refused. */
static void test_wrong_directory(void **state)
{
    (void)state;
    struct world *w = world_new(6, 1);
    world_start(w);
    world_propose(w, 1);
    struct cluster *second = NULL;
    struct error e = { 0 };
    const char *list[] = { "z:1", NULL };
    struct cluster_options o = { .dir = "/data/a", .address = "z:1", .nodes = list };
    assert_int_equal(cluster_start(w->nodes[0].env, &o, &second, &e), ERR_CONFLICT);
    assert_null(second);
    node_stop(&w->nodes[0]);
    w->nodes[0].env = sim_env(w->sim, "a:1");
    error_clear(&e);
    assert_int_equal(cluster_start(w->nodes[0].env, &o, &second, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.message, "a:1"));
    sim_run(w->sim, 1000);
    world_start(w);
    world_check(w);
    world_free(w);
}

/* A directory of another cluster stays out of this one, whatever its list says. */
static void test_two_clusters_do_not_mix(void **state)
{
    (void)state;
    /* a and b found one cluster; c founds its own; then c is restarted with the others'
     * list: its directory belongs to another cluster and stays out. */
    struct world *w = world_new(7, 3);
    w->nodes[0].list[2] = w->nodes[1].list[2] = NULL;
    w->nodes[2].list[0] = "c:1";
    w->nodes[2].list[1] = NULL;
    world_start(w);
    sim_run(w->sim, 10000);
    uint64_t ab = node_status(&w->nodes[0]).cluster_id, c = node_status(&w->nodes[2]).cluster_id;
    assert_true(ab != 0 && c != 0 && ab != c);
    node_stop(&w->nodes[2]);
    w->nodes[2].list[0] = "a:1";
    w->nodes[2].list[1] = "c:1";
    w->nodes[2].list[2] = NULL;
    node_start(&w->nodes[2]);
    sim_run(w->sim, 5000);
    assert_true(node_status(&w->nodes[2]).cluster_id == c);
    assert_int_equal(node_status(&w->nodes[2]).members_count, 1);
    assert_int_equal(node_status(&w->nodes[0]).members_count, 2);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_late_third_node),
        cmocka_unit_test(test_lists_differ),
        cmocka_unit_test(test_found_with_majority),
        cmocka_unit_test(test_wiped_disk),
        cmocka_unit_test(test_promise_is_kept),
        cmocka_unit_test(test_power_losses_while_founding),
        cmocka_unit_test(test_promised_node_comes_back),
        cmocka_unit_test(test_promised_node_meets_a_short_log),
        cmocka_unit_test(test_promised_node_meets_a_changed_cluster),
        cmocka_unit_test(test_wrong_directory),
        cmocka_unit_test(test_two_clusters_do_not_mix),
    };
    return (cmocka_set_test_filter(getenv("TEST")),
            cmocka_run_group_tests_name("founding", tests, NULL, NULL));
}
