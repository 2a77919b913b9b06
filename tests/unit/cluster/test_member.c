/* Membership over the simulated env: join, leave, replace, and everything that can go wrong
 * on the way. Who asks is often not the leader; leaders die at every step. */
#include "unit/cluster/world.h"

#include "cluster/internal.h"

/* The first `members` nodes know of each other only; the rest know all of them. */
static struct world *house(uint64_t seed, unsigned members, unsigned all)
{
    struct world *w = world_new(seed, all);
    for (unsigned i = 0; i < all; i++) {
        w->nodes[i].outside = i >= members;
        if (i < members) {
            w->nodes[i].list[members] = NULL;
        }
    }
    for (unsigned i = 0; i < members; i++) {
        node_start(&w->nodes[i]);
    }
    world_propose(w, 3);
    return w;
}

struct names {
    char name[64][64];
    unsigned count;
};

static void on_name(void *arg, const char *name)
{
    struct names *n = arg;
    if (n->count < 64) {
        (void)snprintf(n->name[n->count++], sizeof n->name[0], "%s", name);
    }
}

/* Empties the disk of a dead node. */
static void wipe(struct node *n)
{
    char dir[16], path[128];
    struct error e = { 0 };
    struct names *names = mem_zalloc(sizeof *names);
    n->env = sim_env(n->w->sim, n->address);
    (void)snprintf(dir, sizeof dir, "/data/%c", n->address[0]);
    assert_int_equal(n->env->ops->list_dir(n->env, dir, on_name, names, &e), 0);
    assert_true(names->count > 0);
    for (unsigned i = 0; i < names->count; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names->name[i]);
        assert_int_equal(n->env->ops->remove(n->env, path, &e), 0);
    }
    mem_free(names);
}

struct asking {
    struct node *by;
    struct cluster_change change;
    struct cluster_change_state st;
    uint64_t polled_ms;
    int seen; /* bits of the stages seen */
};

static uint64_t next_id = 1;

static struct asking want(struct node *by, int kind, const char *address, const char *other)
{
    return (struct asking){ .by = by,
                            .change = { .id = next_id++,
                                        .kind = kind,
                                        .address = address,
                                        .other = other,
                                        .timeout_ms = kind == CHANGE_REMOVE ? 15000 : 60000 } };
}

static bool poll_done(void *arg)
{
    struct asking *a = arg;
    uint64_t now = sim_now(a->by->w->sim);
    if (a->st.stage == STAGE_DONE || (a->polled_ms != 0 && now - a->polled_ms < 100)) {
        return a->st.stage == STAGE_DONE;
    }
    a->polled_ms = now;
    if (a->by->running) {
        cluster_change_poll(a->by->c, &a->change, &a->st);
        a->seen |= 1 << a->st.stage;
    }
    return a->st.stage == STAGE_DONE;
}

static void on_nothing(void *arg, int status)
{
    (void)arg;
    (void)status;
}

/* Asks until it is over; no answer within its time is a failure. */
static int finish(struct asking *a)
{
    if (!sim_run_until(a->by->w->sim, a->change.timeout_ms + 15000, poll_done, a)) {
        fail_msg("%s of %s hangs in stage %s: %s", a->by->address, a->change.address,
                 change_stage_name(a->st.stage), a->st.text);
    }
    return a->st.code;
}

static int change(struct node *by, int kind, const char *address, const char *other)
{
    struct asking a = want(by, kind, address, other);
    int code = finish(&a);
    if (getenv("WORLD_LOG") != NULL) {
        print_message("-> %d %s; %s\n", code, a.st.text, a.st.hint);
    }
    return code;
}

static unsigned voters(struct world *w)
{
    struct cluster_status s = node_status(world_wait_leader(w));
    unsigned n = 0;
    for (size_t i = 0; i < s.members_count; i++) {
        n += s.members[i].voter;
    }
    assert_int_equal(n, s.members_count); /* no learner is left behind */
    return n;
}

static struct node *follower(struct world *w)
{
    struct node *l = world_wait_leader(w);
    for (unsigned i = 0; i < w->count; i++) {
        if (&w->nodes[i] != l && w->nodes[i].running && !w->nodes[i].outside) {
            return &w->nodes[i];
        }
    }
    return NULL;
}

static bool is_removed(void *arg)
{
    const struct node *n = arg;
    return n->role == ROLE_REMOVED;
}

/* ---- Joining ------------------------------------------------------------------------------ */

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

/* A learner that never catches up is dropped when its time is over, and not before. */
static void test_learner_never_catches_up(void **state)
{
    (void)state;
    struct world *w = house(25, 3, 4);
    struct asking a = dead_learner(w);
    uint64_t began = sim_now(w->sim);
    assert_int_equal(finish(&a), ERR_LIMIT);
    assert_in_range(sim_now(w->sim) - began, 50000, 65000);
    assert_int_equal(voters(w), 3);
    world_propose(w, 3);
    world_check(w);
    world_free(w);
}

/* The same while every clock has been set back by an hour, so that cluster time stands still: it does
 * not wait for that hour. (Found by the simulator.) */
static void test_learner_while_time_stands(void **state)
{
    (void)state;
    struct world *w = house(27, 3, 4);
    struct asking a = dead_learner(w);
    uint64_t began = sim_now(w->sim);
    for (unsigned i = 0; i < 3; i++) {
        sim_set_wall_offset(w->nodes[i].env, -3600 * 1000);
    }
    assert_int_equal(finish(&a), ERR_LIMIT);
    assert_in_range(sim_now(w->sim) - began, 50000, 65000);
    assert_int_equal(voters(w), 3);
    world_propose(w, 3);
    world_check(w);
    world_free(w);
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

/* ---- Leaving ------------------------------------------------------------------------------ */

/* A follower, the leader, a dead node; the removed one is told, says so, serves nothing. */
static void test_remove(void **state)
{
    (void)state;
    for (uint64_t seed = 30; seed < 36; seed++) {
        struct world *w = house(seed, 5, 5);
        struct node *gone = seed % 2 == 0 ? world_leader(w) : follower(w);
        struct node *by = seed % 3 == 0 ? gone : follower(w);
        uint64_t term = gone == world_leader(w) ? node_status(gone).term : 0;
        assert_int_equal(change(by, CHANGE_REMOVE, gone->address, ""), 0);
        gone->outside = true;
        struct cluster *c = world_wait_leader(w)->c; /* a leader has handed over first */
        assert_true(log_cache_term(&c->log, c->raft.configuration_committed_index) > term);
        sim_run(w->sim, 3000);
        assert_int_equal(gone->role, ROLE_REMOVED);
        assert_true(gone->fatal && !gone->fatal_stop);
        assert_non_null(strstr(gone->error.message, "removed"));
        assert_int_equal(voters(w), 4);
        struct node *dead = follower(w);
        node_crash(dead, SIM_KILL);
        assert_int_equal(change(follower(w), CHANGE_REMOVE, dead->address, ""), 0);
        dead->outside = true;
        assert_int_equal(voters(w), 3);
        node_start(dead); /* it learns of it later */
        sim_run(w->sim, 5000);
        assert_int_equal(dead->role, ROLE_REMOVED);
        world_propose(w, 3);
        world_check(w);
        world_free(w);
    }
}

/* Down to one, which stays; and up again. */
static void test_down_to_one(void **state)
{
    (void)state;
    for (uint64_t seed = 40; seed < 44; seed++) {
        struct world *w = house(seed, 3, 3);
        for (unsigned left = 3; left > 1; left--) {
            struct node *gone = seed % 2 == 0 ? world_leader(w) : follower(w);
            assert_int_equal(change(follower(w), CHANGE_REMOVE, gone->address, ""), 0);
            gone->outside = true;
            world_propose(w, 3);
            assert_int_equal(voters(w), left - 1);
        }
        struct node *last = world_leader(w);
        struct asking a = want(last, CHANGE_REMOVE, last->address, "");
        a.change.force = true;
        assert_int_equal(finish(&a), ERR_CONFLICT);
        assert_non_null(strstr(a.st.text, "last voter"));
        node_crash(last, SIM_POWER_LOSS);
        node_start(last);
        world_propose(w, 3);
        for (unsigned i = 0; i < 3; i++) { /* with their old disks */
            if (&w->nodes[i] != last) {
                assert_int_equal(change(last, CHANGE_ADD, w->nodes[i].address, ""), 0);
                w->nodes[i].outside = false;
            }
        }
        assert_int_equal(voters(w), 3);
        world_propose(w, 3);
        world_check(w);
        world_free(w);
    }
}

/* A removal that would leave fewer reachable voters than are needed is refused. */
static void test_remove_would_lose_quorum(void **state)
{
    (void)state;
    struct world *w = house(45, 3, 3);
    struct node *dead = follower(w);
    node_crash(dead, SIM_KILL);
    sim_run(w->sim, 1000);
    struct asking a = want(follower(w), CHANGE_REMOVE, follower(w)->address, "");
    assert_int_equal(finish(&a), ERR_CONFLICT);
    assert_non_null(strstr(a.st.text, "stand still"));
    assert_int_equal(change(follower(w), CHANGE_REMOVE, dead->address, ""), 0);
    dead->outside = true;
    assert_int_equal(voters(w), 2);
    world_propose(w, 1);
    world_free(w);
}

/* Removed and added again, with its old disk and with an empty one, many times over. */
static void test_again_and_again(void **state)
{
    (void)state;
    struct world *w = house(46, 3, 3);
    for (unsigned round = 0; round < 6; round++) {
        struct node *n = round % 3 == 0 ? world_leader(w) : follower(w);
        assert_int_equal(change(n, CHANGE_REMOVE, n->address, ""), 0);
        n->outside = true;
        world_propose(w, 4);
        if (round % 2 == 1) {
            node_crash(n, SIM_KILL);
            wipe(n);
            node_start(n);
        }
        assert_int_equal(change(follower(w), CHANGE_ADD, n->address, ""), 0);
        n->outside = false;
        world_propose(w, 4);
        assert_int_equal(voters(w), 3);
        world_check(w);
    }
    world_free(w);
}

/* ---- Replacing ----------------------------------------------------------------------------- */

/* An emptied disk never votes under its old name, is told replace-node, and is replaced. */
static void test_replace_wiped(void **state)
{
    (void)state;
    for (uint64_t seed = 50; seed < 55; seed++) {
        struct world *w = house(seed, 3, 3);
        struct node *n = seed % 2 == 0 ? world_leader(w) : follower(w);
        node_crash(n, SIM_KILL);
        wipe(n);
        n->outside = true;
        world_propose(w, 3);
        node_start(n);
        sim_run(w->sim, 3000);
        assert_int_equal(node_status(n).role, ROLE_FOUNDING);
        assert_non_null(strstr(node_status(n).waiting, "replace-node"));
        struct asking a = want(follower(w), CHANGE_ADD, n->address, "");
        assert_int_equal(finish(&a), ERR_CONFLICT);
        assert_non_null(strstr(a.st.hint, "replace-node"));
        assert_int_equal(change(follower(w), CHANGE_REPLACE, n->address, n->address), 0);
        n->outside = false;
        assert_int_equal(voters(w), 3);
        world_propose(w, 3);
        world_check(w);
        world_free(w);
    }
}

/* Who was away while others got new identities at their old addresses takes the new leader's
 * word: its configuration is simply older. */
static void test_away_while_others_were_replaced(void **state)
{
    (void)state;
    for (uint64_t seed = 300; seed < 306; seed++) {
        struct world *w = house(seed, 5, 5);
        struct node *away = follower(w);
        node_crash(away, SIM_KILL);
        away->outside = true;
        struct node *fresh[2] = { NULL, NULL };
        for (unsigned i = 0; i < 2; i++) {
            struct node *n = follower(w);
            while (n == fresh[0] || n == world_leader(w) || !n->running) {
                n = &w->nodes[(n - w->nodes + 1) % 5];
            }
            fresh[i] = n;
            node_crash(n, SIM_KILL);
            wipe(n);
            n->outside = true;
            world_propose(w, 2);
            node_start(n);
            assert_int_equal(change(world_leader(w), CHANGE_REPLACE, n->address, n->address), 0);
            n->outside = false;
        }
        assert_int_equal(change(world_leader(w), CHANGE_TRANSFER, fresh[0]->address, ""), 0);
        if (seed % 2 == 0) {
            cluster_snapshot(fresh[0]->c, on_nothing, NULL);
        }
        world_propose(w, 3);
        node_start(away);
        away->outside = false;
        world_check(w);
        assert_int_equal(voters(w), 5);
        world_free(w);
    }
}

/* One address for another; the old one alive, dead, or leading. */
static void test_replace_other(void **state)
{
    (void)state;
    for (uint64_t seed = 60; seed < 66; seed++) {
        struct world *w = house(seed, 3, 4);
        struct node *old = seed % 2 == 0 ? world_leader(w) : follower(w);
        node_start(&w->nodes[3]);
        if (seed % 3 == 0) {
            node_crash(old, SIM_KILL);
        }
        assert_int_equal(change(follower(w), CHANGE_REPLACE, old->address, "d:1"), 0);
        old->outside = true;
        w->nodes[3].outside = false;
        assert_int_equal(voters(w), 3);
        world_propose(w, 3);
        world_check(w);
        world_free(w);
    }
}

/* ---- Everything at once --------------------------------------------------------------------- */

/* The leader dies at every step of every change; whoever leads next ends it, one way or the
 * other, and takes the next one. */
static void test_leader_dies(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 148; seed++) {
        struct world *w = house(seed, 3, 4);
        struct node *by = follower(w), *leader = world_leader(w), *d = &w->nodes[3];
        int kind = seed % 3 == 0 ? CHANGE_ADD : seed % 3 == 1 ? CHANGE_REMOVE : CHANGE_REPLACE;
        uint64_t wait = (seed - 100) / 3 * 20;
        if (kind != CHANGE_REMOVE) {
            node_start(d);
            sim_run(w->sim, 1500);
        }
        struct asking a = kind == CHANGE_ADD      ? want(by, kind, "d:1", "")
                          : kind == CHANGE_REMOVE ? want(by, kind, leader->address, "")
                                                  : want(by, kind, leader->address, "d:1");
        sim_run_until(w->sim, wait, poll_done, &a);
        node_crash(leader, SIM_POWER_LOSS);
        bool twice = seed % 2 == 0;
        if (twice && sim_run_until(w->sim, 3000, world_has_leader, w) && world_leader(w) != by) {
            struct node *next = world_leader(w);
            node_start(leader);
            sim_run_until(w->sim, wait / 2, poll_done, &a);
            node_crash(next, SIM_KILL);
            node_start(next);
        } else {
            node_start(leader);
        }
        int code = finish(&a);
        sim_run(w->sim, 3000);
        unsigned n = voters(w);
        if (code == 0) {
            assert_int_equal(n, kind == CHANGE_ADD ? 4 : kind == CHANGE_REMOVE ? 2 : 3);
        } else {
            assert_in_range(n, 2, 4);
        }
        for (unsigned i = 0; i < 4; i++) {
            w->nodes[i].outside = conf_by_address(world_leader(w)->c, w->nodes[i].address) == NULL;
        }
        world_propose(w, 3);
        world_check(w);
        struct node *f = follower(w);
        assert_int_equal(change(world_leader(w), CHANGE_REMOVE, f->address, ""), 0);
        f->outside = true;
        world_propose(w, 1);
        assert_int_equal(voters(w), n - 1);
        world_free(w);
    }
}

/* Two changes from two nodes at once: one after the other, both done. */
static void test_two_at_once(void **state)
{
    (void)state;
    int seen = 0;
    for (uint64_t seed = 70; seed < 75; seed++) {
        struct world *w = house(seed, 3, 5);
        node_start(&w->nodes[3]);
        node_start(&w->nodes[4]);
        struct asking a = want(world_leader(w), CHANGE_ADD, "d:1", "");
        struct asking b = want(follower(w), CHANGE_ADD, "e:1", "");
        for (unsigned i = 0; i < 2000 && (a.st.stage != STAGE_DONE || b.st.stage != STAGE_DONE);
             i++) {
            (void)poll_done(&a);
            (void)poll_done(&b);
            sim_run(w->sim, 20);
        }
        assert_int_equal(a.st.code, 0);
        assert_int_equal(b.st.code, 0);
        seen |= a.seen | b.seen;
        w->nodes[3].outside = w->nodes[4].outside = false;
        assert_int_equal(voters(w), 5);
        world_check(w);
        world_free(w);
    }
    assert_true((seen & 1 << STAGE_WAITING) != 0);
}

/* A majority is lost: NOQUORUM soon, and all is well again when it comes back. */
static void test_no_quorum(void **state)
{
    (void)state;
    struct world *w = house(80, 3, 4);
    struct node *l = world_leader(w);
    for (unsigned i = 0; i < 3; i++) {
        if (&w->nodes[i] != l) {
            node_crash(&w->nodes[i], SIM_KILL);
        }
    }
    uint64_t began = sim_now(w->sim);
    assert_int_equal(change(l, CHANGE_REMOVE, "a:1", ""), ERR_NOQUORUM);
    assert_int_equal(change(l, CHANGE_ADD, "d:1", ""), ERR_NOQUORUM);
    assert_int_equal(change(l, CHANGE_TRANSFER, "", ""), ERR_NOQUORUM);
    assert_true(sim_now(w->sim) - began < 9000);
    for (unsigned i = 0; i < 3; i++) {
        if (&w->nodes[i] != l) {
            node_start(&w->nodes[i]);
        }
    }
    world_propose(w, 3);
    node_start(&w->nodes[3]);
    assert_int_equal(change(l, CHANGE_ADD, "d:1", ""), 0);
    w->nodes[3].outside = false;
    world_check(w);
    world_free(w);
}

/* The leader hears nobody, but is heard; or it is heard by nobody, but hears: either way it
 * gives up or goes on, nothing acknowledged is lost, and changes go through afterwards. */
static void test_one_way_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 400; seed < 408; seed++) {
        struct world *w = house(seed, 3, 4);
        struct node *l = world_leader(w);
        sim_block(w->sim, seed % 2 == 0 ? "*" : l->address, seed % 2 == 0 ? l->address : "*", true);
        l->outside = true;
        for (unsigned i = 0; i < 50; i++) {
            struct node *now = world_leader(w);
            struct error e = { 0 };
            if (now != NULL && node_status(now).entries_in_flight < 2) {
                (void)node_propose(now, &e);
            }
            sim_run(w->sim, 100);
        }
        node_start(&w->nodes[3]);
        struct node *by = follower(w);
        struct asking a = want(by, CHANGE_ADD, "d:1", "");
        (void)sim_run_until(w->sim, 5000, poll_done, &a);
        sim_heal(w->sim);
        assert_int_equal(finish(&a), 0);
        l->outside = w->nodes[3].outside = false;
        world_propose(w, 3);
        assert_int_equal(voters(w), 4);
        world_check(w);
        world_free(w);
    }
}

/* Leadership goes where it was asked to go, whoever is asked. */
static void test_transfer(void **state)
{
    (void)state;
    struct world *w = house(81, 3, 3);
    for (unsigned i = 0; i < 6; i++) {
        struct node *to = &w->nodes[i % 3];
        assert_int_equal(change(&w->nodes[(i + i / 3) % 3], CHANGE_TRANSFER, to->address, ""), 0);
        assert_ptr_equal(world_wait_leader(w), to);
    }
    struct node *l = world_leader(w);
    assert_int_equal(change(l, CHANGE_TRANSFER, "", ""), 0);
    assert_ptr_not_equal(world_wait_leader(w), l);
    l = world_leader(w);
    assert_int_equal(change(follower(w), CHANGE_TRANSFER, "", ""), 0);
    assert_ptr_not_equal(world_wait_leader(w), l);
    world_propose(w, 3);
    world_check(w);
    world_free(w);
}

/* The log is gone behind a snapshot: the new node gets that, and the rest. */
static void test_join_by_snapshot(void **state)
{
    (void)state;
    for (uint64_t seed = 90; seed < 94; seed++) {
        struct world *w = world_new(seed, 4);
        w->snapshot_bytes = 20000;
        for (unsigned i = 0; i < 3; i++) {
            w->nodes[i].list[3] = NULL;
            node_start(&w->nodes[i]);
        }
        w->nodes[3].outside = true;
        w->value_bytes = 2000;
        world_propose(w, 60);
        cluster_snapshot(world_leader(w)->c, on_nothing, NULL);
        sim_run(w->sim, 500);
        assert_true(node_status(world_leader(w)).snapshot_index > 5);
        node_start(&w->nodes[3]);
        assert_int_equal(change(follower(w), CHANGE_ADD, "d:1", ""), 0);
        w->nodes[3].outside = false;
        assert_true(w->nodes[3].restored_events > 0);
        struct node *gone = world_leader(w);
        assert_int_equal(change(&w->nodes[3], CHANGE_REMOVE, gone->address, ""), 0);
        gone->outside = true;
        world_propose(w, 60);
        cluster_snapshot(world_leader(w)->c, on_nothing, NULL);
        sim_run(w->sim, 500);
        assert_int_equal(change(&w->nodes[3], CHANGE_ADD, gone->address, ""), 0); /* old disk */
        gone->outside = false;
        world_propose(w, 3);
        assert_int_equal(voters(w), 4);
        world_check(w);
        world_free(w);
    }
}

/* A lone voter dies with the promotion of its second voter on its own disk only: the learner
 * does not know that it is one, and still its vote is needed (engine.md trap 13; found by the
 * simulator). */
static void test_promoted_unknowingly(void **state)
{
    (void)state;
    unsigned met = 0;
    for (uint64_t seed = 60; seed < 70; seed++) {
        struct world *w = house(seed, 1, 2);
        struct node *a = &w->nodes[0], *b = &w->nodes[1];
        node_start(b);
        struct asking add = want(a, CHANGE_ADD, "b:1", "");
        while (voters_count(a->c) < 2 && add.st.stage != STAGE_DONE) {
            (void)poll_done(&add);
            assert_true(sim_step(w->sim));
        }
        sim_isolate(w->sim, b->address); /* it does not hear of it */
        sim_run(w->sim, 20);             /* on a's disk by now */
        node_crash(a, SIM_KILL);
        sim_heal(w->sim);
        node_start(a);
        met += voters_count(b->c) == 1;
        b->outside = false;
        world_propose(w, 3);
        assert_int_equal(voters(w), 2);
        world_check(w);
        world_free(w);
    }
    assert_true(met > 0);
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
        cmocka_unit_test(test_remove),
        cmocka_unit_test(test_down_to_one),
        cmocka_unit_test(test_remove_would_lose_quorum),
        cmocka_unit_test(test_again_and_again),
        cmocka_unit_test(test_replace_wiped),
        cmocka_unit_test(test_away_while_others_were_replaced),
        cmocka_unit_test(test_replace_other),
        cmocka_unit_test(test_leader_dies),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_no_quorum),
        cmocka_unit_test(test_one_way_cut),
        cmocka_unit_test(test_transfer),
        cmocka_unit_test(test_join_by_snapshot),
        cmocka_unit_test(test_promoted_unknowingly),
    };
    return (cmocka_set_test_filter(getenv("TEST")),
            cmocka_run_group_tests_name("member", tests, NULL, NULL));
}
