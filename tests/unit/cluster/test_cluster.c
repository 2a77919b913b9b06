/* Whole clusters over the simulated env: elections, commits, crashes, snapshots, reads. */
#include "base/limits.h"
#include "cluster/internal.h"
#include "unit/cluster/world.h"

/* Three empty nodes found one cluster, elect a leader and have the same members. */
static void test_found_and_elect(void **state)
{
    (void)state;
    struct world *w = world_new(1, 3);
    world_start(w);
    world_wait_leader(w);
    world_settle(w);
    for (unsigned i = 0; i < 3; i++) {
        struct cluster_status s = node_status(&w->nodes[i]);
        assert_int_equal(s.members_count, 3);
        assert_true(s.cluster_id != 0);
        assert_true(s.cluster_id == node_status(&w->nodes[0]).cluster_id);
        assert_string_not_equal(s.leader, "");
    }
    world_check(w);
    world_free(w);
}

/* Clusters of one, three and five commit everywhere, with equal digests. */
static void test_commit_everywhere(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 5; n += 2) {
        struct world *w = world_new(n, n);
        world_start(w);
        world_propose(w, 50);
        assert_int_equal(w->acks, 50);
        world_check(w);
        world_free(w);
    }
}

/* The leader is killed: another one takes over and nothing acknowledged is lost. */
static void test_leader_killed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world *w = world_new(seed, 3);
        world_start(w);
        world_propose(w, 10);
        struct node *old = world_leader(w);
        struct error e = { 0 };
        assert_int_equal(node_propose(old, &e), 0);
        assert_int_equal(node_propose(old, &e), 0);
        sim_run(w->sim, sim_rand(w->sim, 4));
        node_crash(old, seed % 2 ? SIM_KILL : SIM_POWER_LOSS);
        uint64_t before = sim_now(w->sim);
        struct node *next = world_wait_leader(w);
        assert_ptr_not_equal(next, old);
        assert_true(sim_now(w->sim) - before <= 2000); /* design.md 7: failover */
        world_propose(w, 10);
        node_start(old);
        world_check(w);
        world_free(w);
    }
}

/* All nodes lose power at once and come back with everything that was acknowledged. */
static void test_restart_of_all(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        for (unsigned n = 1; n <= 3; n += 2) {
            struct world *w = world_new(seed, n);
            world_start(w);
            world_propose(w, 20);
            uint64_t term = node_status(world_leader(w)).term;
            for (unsigned i = 0; i < n; i++) {
                node_crash(&w->nodes[i], SIM_POWER_LOSS);
            }
            world_start(w);
            world_wait_leader(w);
            /* A term is never led twice, not even by a sole voter (engine.md trap 2). */
            assert_true(node_status(world_leader(w)).term > term);
            world_check(w);
            world_propose(w, 5);
            world_check(w);
            world_free(w);
        }
    }
}

/* A follower that was away longer than the log reaches gets a snapshot, once. */
static void test_snapshot_for_a_laggard(void **state)
{
    (void)state;
    struct world *w = world_new(7, 3);
    w->snapshot_bytes = 64 * 1024;
    w->value_bytes = 2000;
    world_start(w);
    world_propose(w, 5);
    struct node *away = world_leader(w) == &w->nodes[2] ? &w->nodes[1] : &w->nodes[2];
    node_crash(away, SIM_KILL);
    world_propose(w, 300);
    struct cluster_status s = node_status(world_leader(w));
    assert_true(s.snapshot_index > 100);
    assert_true(s.log_bytes < 300 * 1024);
    node_start(away);
    world_check(w);
    assert_int_equal(away->restored_events, 1);
    world_propose(w, 20);
    world_check(w);
    assert_int_equal(away->restored_events, 1);
    /* It keeps what it got over a power loss. */
    node_crash(away, SIM_POWER_LOSS);
    node_start(away);
    world_check(w);
    assert_int_equal(away->restored_events, 1);
    world_free(w);
}

/* All nodes restart from their own snapshots and the log behind them. */
static void test_restart_from_snapshots(void **state)
{
    (void)state;
    struct world *w = world_new(8, 3);
    w->snapshot_bytes = 32 * 1024;
    w->value_bytes = 1000;
    world_start(w);
    world_propose(w, 200);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(node_status(&w->nodes[i]).snapshot_index > 0);
        node_crash(&w->nodes[i], SIM_POWER_LOSS);
    }
    world_start(w);
    world_check(w);
    world_propose(w, 10);
    world_check(w);
    world_free(w);
}

struct read_result {
    bool done;
    int status;
};

static void on_read(void *arg, int status)
{
    struct read_result *r = arg;
    assert_false(r->done);
    r->done = true;
    r->status = status;
}

static bool read_done(void *arg) { return ((struct read_result *)arg)->done; }

/* A leader answers linearizable reads; a follower says who does not. */
static void test_read(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 3; n += 2) {
        struct world *w = world_new(9, n);
        world_start(w);
        world_propose(w, 3);
        struct read_result r[10] = { 0 };
        for (int i = 0; i < 10; i++) {
            cluster_read(world_leader(w)->c, on_read, &r[i]);
            assert_false(r[i].done); /* never from inside the call */
        }
        for (int i = 0; i < 10; i++) {
            assert_true(sim_run_until(w->sim, 100, read_done, &r[i]));
            assert_int_equal(r[i].status, 0);
        }
        for (unsigned i = 0; i < n; i++) {
            struct read_result f = { 0 };
            if (&w->nodes[i] != world_leader(w)) {
                cluster_read(w->nodes[i].c, on_read, &f);
                assert_true(sim_run_until(w->sim, 100, read_done, &f));
                assert_int_equal(f.status, ERR_NOTLEADER);
            }
        }
        world_free(w);
    }
}

/* A leader that was stopped for 5 s (SIGSTOP) answers no read from its old state. */
static void test_paused_leader_reads_nothing_stale(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world *w = world_new(seed, 3);
        world_start(w);
        world_propose(w, 3);
        struct node *old = world_leader(w);
        struct read_result before = { 0 }, after = { 0 };
        sim_pause(old->env);
        old->paused = true;
        cluster_read(old->c, on_read, &before); /* asked just before it stopped */
        sim_run(w->sim, 5000);
        world_propose(w, 3);
        sim_resume(old->env);
        old->paused = false;
        cluster_read(old->c, on_read, &after);
        bool stale = !node_has(old, w->serial);
        assert_true(sim_run_until(w->sim, 10000, read_done, &before));
        assert_true(sim_run_until(w->sim, 10000, read_done, &after));
        assert_true(stale);
        assert_int_not_equal(before.status, 0);
        assert_int_not_equal(after.status, 0);
        world_check(w);
        world_free(w);
    }
}

/* Cut off with proposals in flight, a leader undoes its speculation when it steps down. */
static void test_speculation_undone(void **state)
{
    (void)state;
    struct world *w = world_new(11, 3);
    world_start(w);
    world_propose(w, 5);
    struct node *old = world_leader(w);
    uint64_t digest = node_status(old).digest;
    sim_isolate(w->sim, old->address);
    struct error e = { 0 };
    uint64_t lost = w->serial + 1;
    assert_int_equal(node_propose(old, &e), 0);
    assert_int_equal(node_propose(old, &e), 0);
    assert_int_equal(node_propose(old, &e), 0);
    assert_int_equal(node_propose(old, &e), ERR_BUSY); /* the pipeline is full */
    assert_true(node_has(old, lost));
    assert_true(node_status(old).digest != digest);
    sim_run(w->sim, 3000);
    assert_int_equal(old->undone_events, 1);
    assert_false(node_has(old, lost));
    assert_true(node_status(old).digest == digest);
    old->outside = true;
    world_propose(w, 3);
    old->outside = false;
    sim_heal(w->sim);
    world_check(w);
    assert_false(node_has(old, lost));
    world_free(w);
}

/* A house with seats, so that store_tamper() has something to flip. */
static void add_event(struct world *w)
{
    struct error e = { 0 };
    struct chart_builder *b = chart_builder_new();
    struct buf chart = BUF_INIT;
    assert_int_equal(chart_add_section(b, span_of("main"), &e), 0);
    assert_int_equal(chart_add_category(b, span_of("default"), &e), 0);
    assert_int_equal(chart_add_row(b, span_of("A"), 0, &e), 0);
    for (int i = 1; i <= 10; i++) {
        char label[16];
        (void)snprintf(label, sizeof label, "A%d", i);
        struct chart_seat seat = { .label = span_of(label), .table = -1 };
        assert_int_equal(chart_add_seat(b, &seat, &e), i - 1);
    }
    assert_int_equal(chart_builder_encode(b, &chart, &e), 0);
    chart_builder_free(b);
    struct effect put = { .kind = EFFECT_CHART_PUT,
                          .id = span_of("house"),
                          .text = span_make((char *)chart.data, chart.len) };
    struct effect event = { .kind = EFFECT_EVENT_PUT,
                            .id = span_of("e1"),
                            .id2 = span_of("house"),
                            .text = span_of("{}"),
                            .number = 1,
                            .open = true };
    struct node *l = world_wait_leader(w);
    if (node_propose_effect(l, &put, 0, &e) != 0) {
        fail_msg("chart: %s", e.message);
    }
    world_settle(w);
    l = world_wait_leader(w);
    int rv = node_propose_effect(l, &event, 0, &e);
    if (rv != 0) { /* the store's first event number */
        event.number = 0;
        rv = node_propose_effect(l, &event, 0, &e);
    }
    if (rv != 0) {
        fail_msg("event: %s", e.message);
    }
    world_settle(w);
    buf_free(&chart);
    w->acks = 0;
}

static bool has_quarantined(void *arg) { return ((struct node *)arg)->role == ROLE_QUARANTINED; }

/* A follower whose state was altered notices at the next entry and quarantines itself,
 * says how to rebuild it, and the majority goes on. */
static void test_tampered_follower(void **state)
{
    (void)state;
    struct world *w = world_new(12, 3);
    world_start(w);
    add_event(w);
    struct node *bad = world_leader(w) == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
    store_tamper(cluster_store(bad->c));
    struct error e = { 0 };
    assert_int_equal(node_propose(world_leader(w), &e), 0);
    assert_true(sim_run_until(w->sim, 2000, has_quarantined, bad));
    assert_true(bad->fatal);
    assert_false(bad->fatal_stop);
    assert_non_null(strstr(bad->error.message, "--rebuild"));
    assert_int_equal(cluster_local_ready(bad->c, &e), ERR_NOTREADY);
    world_propose(w, 10);
    world_check(w);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(w->nodes[i].fatal == (&w->nodes[i] == bad));
    }
    world_free(w);
}

/* A leader whose state was altered is contradicted by the others, quarantines itself, and
 * they elect another and go on with their own, correct state. */
static void test_tampered_leader(void **state)
{
    (void)state;
    for (uint64_t seed = 20; seed < 25; seed++) {
        struct world *w = world_new(seed, 3);
        world_start(w);
        add_event(w);
        struct node *bad = world_leader(w);
        store_tamper(cluster_store(bad->c));
        struct error e = { 0 };
        assert_int_equal(node_propose(bad, &e), 0);
        assert_int_equal(node_propose(bad, &e), 0);
        assert_true(sim_run_until(w->sim, 3000, has_quarantined, bad));
        /* What it has acknowledged meanwhile fits the others' state: it must not be lost. */
        assert_int_equal(w->acks, 2);
        struct node *next = world_wait_leader(w);
        assert_ptr_not_equal(next, bad);
        world_propose(w, 10);
        world_check(w);
        world_free(w);
    }
}

/* A node in quarantine does not vote: with it and one more gone there is no leader. */
static void test_quarantined_does_not_vote(void **state)
{
    (void)state;
    struct world *w = world_new(13, 3);
    world_start(w);
    add_event(w);
    struct node *l = world_leader(w);
    struct node *bad = l == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
    store_tamper(cluster_store(bad->c));
    struct error e = { 0 };
    assert_int_equal(node_propose(l, &e), 0);
    assert_true(sim_run_until(w->sim, 2000, has_quarantined, bad));
    node_crash(l, SIM_KILL);
    assert_false(sim_run_until(w->sim, 10000, world_has_leader, w));
    node_start(l);
    world_wait_leader(w);
    world_free(w);
}

/* Term and vote survive a power loss right after an election: no second leader in a term. */
static void test_term_and_vote_are_durable(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct world *w = world_new(seed, 3);
        uint64_t led[3] = { 0 };
        world_start(w);
        uint64_t highest = 0;
        for (int round = 0; round < 6; round++) {
            sim_run(w->sim, sim_rand(w->sim, 1500));
            for (unsigned i = 0; i < 3; i++) {
                struct cluster_status s = node_status(&w->nodes[i]);
                assert_true(s.term >= led[i]);
                led[i] = s.term;
                highest = s.term > highest ? s.term : highest;
            }
            unsigned victim = (unsigned)sim_rand(w->sim, 3);
            uint64_t term = node_status(&w->nodes[victim]).term;
            bool settled = node_status(&w->nodes[victim]).role != ROLE_FOUNDING;
            sim_run(w->sim, 30); /* what was seen above is on disk by now */
            node_crash(&w->nodes[victim], SIM_POWER_LOSS);
            node_start(&w->nodes[victim]);
            assert_true(!settled || node_status(&w->nodes[victim]).term >= term);
        }
        world_check(w);
        world_free(w);
    }
}

/* Leadership moves to the node that is named, and waiting proposals go on there. */
static void test_transfer(void **state)
{
    (void)state;
    struct world *w = world_new(14, 3);
    world_start(w);
    world_propose(w, 3);
    struct node *old = world_leader(w);
    struct node *to = old == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
    struct read_result r = { 0 };
    cluster_transfer(old->c, to->address, on_read, &r);
    assert_true(sim_run_until(w->sim, 3000, read_done, &r));
    assert_int_equal(r.status, 0);
    assert_ptr_equal(world_wait_leader(w), to);
    world_propose(w, 3);
    /* An orderly stop hands over as well: the others need no election timeout. */
    node_stop(to);
    uint64_t before = sim_now(w->sim);
    world_wait_leader(w);
    assert_true(sim_now(w->sim) - before < 200);
    world_check(w);
    world_free(w);
}

/* A leader whose clock is far from the majority's stamps nothing and hands over. */
static void test_clock(void **state)
{
    (void)state;
    struct world *w = world_new(15, 3);
    world_start(w);
    world_propose(w, 3);
    struct node *old = world_leader(w);
    sim_set_wall_offset(old->env, 3600 * 1000);
    struct error e = { 0 };
    assert_int_equal(node_propose(old, &e), ERR_NOTREADY); /* before anybody has told its time */
    sim_run(w->sim, 4000);
    assert_ptr_not_equal(world_wait_leader(w), old);
    assert_int_not_equal(node_propose(old, &e), 0);
    world_propose(w, 3);
    uint64_t now = old->env->ops->wall_ms(old->env);
    assert_true(store_time_ms(cluster_store(world_leader(w)->c)) < now - 3000 * 1000);
    world_check(w);
    world_free(w);
}

/* After a power failure of all nobody shows less than was acknowledged before it: what a fresh
 * leader tells of the commit index before its first own entry has committed is too old. */
static void test_local_after_restart(void **state)
{
    (void)state;
    struct world *w = world_new(20, 3);
    world_start(w);
    world_propose(w, 30);
    uint64_t last = node_status(world_leader(w)).commit;
    for (unsigned i = 0; i < w->count; i++) {
        node_crash(&w->nodes[i], SIM_POWER_LOSS);
    }
    world_start(w);
    unsigned ready = 0;
    for (unsigned ms = 0; ms < 20000 && ready != 7; ms++) {
        sim_run(w->sim, 1);
        for (unsigned i = 0; i < w->count; i++) {
            struct error e = { 0 };
            if (cluster_local_ready(w->nodes[i].c, &e) == 0) {
                assert_true(node_status(&w->nodes[i]).applied >= last);
                ready |= 1u << i;
            }
        }
    }
    assert_int_equal(ready, 7);
    world_free(w);
}

/* Nor does who comes by a snapshot show its state while newer entries are on their way. */
static void test_local_after_snapshot(void **state)
{
    (void)state;
    struct world *w = world_new(22, 3);
    w->snapshot_bytes = 20000;
    w->value_bytes = 400;
    world_start(w);
    world_propose(w, 3);
    struct node *f = world_leader(w) == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
    uint64_t behind = node_status(f).last;
    f->outside = true;
    node_crash(f, SIM_KILL);
    while (world_leader(w)->c->log.first <= behind + 1) {
        world_propose(w, 5);
    }
    world_propose(w, 20); /* behind the snapshot that it will get */
    uint64_t last = node_status(world_leader(w)).commit;
    f->outside = false;
    node_start(f);
    struct error e = { 0 };
    unsigned ms = 0;
    for (; ms < 20000 && cluster_local_ready(f->c, &e) != 0; ms++) {
        sim_run(w->sim, 1);
    }
    assert_in_range(ms, 1, 19999);
    assert_true(node_status(f).applied >= last);
    world_free(w);
}

/* The oldest that the leader's word about any node gets within a minute, in ms. */
static uint64_t oldest_vitals(struct world *w)
{
    uint64_t oldest = 0;
    for (int i = 0; i < 600; i++) {
        sim_run(w->sim, 100);
        struct cluster_status s = node_status(world_leader(w));
        for (size_t k = 0; k < s.members_count; k++) {
            const struct cluster_member *m = &s.members[k];
            assert_true(m->self || m->clock_known);
            oldest = m->vitals_ms > oldest ? m->vitals_ms : oldest;
        }
    }
    return oldest;
}

/* What nodes tell each other keeps pace with their heartbeat, up to three seconds: often enough
 * for the clocks, which a leader must know to stamp anything. */
static void test_slow_timers(void **state)
{
    (void)state;
    struct world *w = world_new(16, 3);
    world_start(w);
    world_propose(w, 3);
    assert_true(oldest_vitals(w) < 1200);
    world_free(w);
    w = world_new(16, 3);
    w->election_ms = 30000;
    world_start(w);
    assert_true(sim_run_until(w->sim, 180000, world_has_leader, w));
    sim_run(w->sim, 10000);
    world_propose(w, 3);
    uint64_t oldest = oldest_vitals(w);
    assert_in_range(oldest, 2500, 4200); /* the tick that comes up to a second late included */
    world_propose(w, 3);
    world_check(w);
    world_free(w);
}

/* A leader of slow timers whose others are gone waits for none of them before it stops. */
static void test_slow_stop(void **state)
{
    (void)state;
    struct world *w = world_new(19, 3);
    w->election_ms = 30000;
    world_start(w);
    assert_true(sim_run_until(w->sim, 180000, world_has_leader, w));
    struct node *l = world_leader(w);
    for (unsigned i = 0; i < w->count; i++) {
        if (&w->nodes[i] != l) {
            node_crash(&w->nodes[i], SIM_KILL);
        }
    }
    uint64_t before = sim_now(w->sim);
    node_stop(l);
    assert_in_range(sim_now(w->sim) - before, 1, 3000); /* net/node.c allows 4.5 s in all */
    world_free(w);
}

/* Full disks refuse new groups while reads go on, and heal by themselves. Nobody hands over: it
 * would help nobody. */
static void test_full_disks(void **state)
{
    (void)state;
    struct world *w = world_new(17, 3);
    world_start(w);
    world_propose(w, 3);
    struct node *l = world_leader(w);
    struct error e = { 0 };
    for (unsigned i = 0; i < w->count; i++) {
        sim_set_disk_bytes(w->nodes[i].env, 1);
    }
    sim_run(w->sim, 3000);
    unsigned before = l->ready_events;
    sim_run(w->sim, 30000);
    assert_int_equal(node_propose(l, &e), ERR_NOSPACE);
    struct read_result r = { 0 };
    cluster_read(l->c, on_read, &r);
    assert_true(sim_run_until(w->sim, 1000, read_done, &r));
    assert_int_equal(r.status, 0);
    assert_int_equal(l->ready_events, before); /* no promise that cannot be kept */
    for (unsigned i = 0; i < w->count; i++) {
        sim_set_disk_bytes(w->nodes[i].env, UINT64_C(1) << 40);
    }
    sim_run(w->sim, 3000);
    assert_true(l->ready_events > before);
    world_propose(w, 3);
    world_check(w);
    world_free(w);
}

/* Elected: to be ready a leader needs a majority that can write. */
static bool somebody_leads(void *arg)
{
    struct world *w = arg;
    bool leads = false;
    for (unsigned i = 0; i < w->count; i++) {
        leads = leads || (w->nodes[i].running && node_status(&w->nodes[i]).role == ROLE_LEADER);
    }
    return leads;
}

/* A follower whose log waits for space still votes when the leader dies. */
static void test_full_follower(void **state)
{
    (void)state;
    struct world *w = world_new(21, 3);
    w->segment_bytes = UINT64_C(1) << 20;
    world_start(w);
    world_propose(w, 3);
    struct node *l = world_leader(w), *f = l == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
    sim_set_disk_bytes(f->env, 1);
    w->value_bytes = 60000;
    world_propose(w, 60); /* more than it has segments for */
    node_crash(l, SIM_KILL);
    assert_false(somebody_leads(w));
    assert_true(sim_run_until(w->sim, 5000, somebody_leads, w));
    sim_set_disk_bytes(f->env, UINT64_C(1) << 40);
    node_start(l);
    sim_run(w->sim, 10000); /* until it has found the room, and told who leads */
    world_propose(w, 3);
    world_check(w);
    world_free(w);
}

struct slices {
    struct node *n;
    uint64_t applied, most;
};

static bool watch_slices(void *arg)
{
    struct slices *s = arg;
    uint64_t applied = node_status(s->n).applied;
    s->most = applied - s->applied > s->most ? applied - s->applied : s->most;
    s->applied = applied;
    return applied >= 1000;
}

/* A node that replays a long log turns to others after each slice of it. */
static void test_replay_in_slices(void **state)
{
    (void)state;
    struct world *w = world_new(22, 1);
    world_start(w);
    world_propose(w, 1000);
    node_crash(&w->nodes[0], SIM_KILL);
    node_start(&w->nodes[0]);
    struct slices s = { .n = &w->nodes[0] };
    assert_true(sim_run_until(w->sim, 20000, watch_slices, &s));
    assert_in_range(s.most, 1, 64);
    world_check(w);
    world_free(w);
}

/* A failed sync ends the process's usefulness at once and says so; the others go on. */
static void test_failed_sync(void **state)
{
    (void)state;
    struct world *w = world_new(18, 3);
    world_start(w);
    world_propose(w, 3);
    struct node *l = world_leader(w);
    struct error e = { 0 };
    sim_fail_at(l->env, SIM_SYNC, 1, SIM_FAIL_IO);
    assert_int_equal(node_propose(l, &e), 0);
    sim_run(w->sim, 50);
    assert_true(l->fatal && l->fatal_stop);
    assert_int_not_equal(node_propose(l, &e), 0);
    l->outside = true;
    assert_ptr_not_equal(world_wait_leader(w), l);
    world_propose(w, 3);
    node_crash(l, SIM_POWER_LOSS);
    l->outside = false;
    node_start(l);
    world_check(w);
    world_free(w);
}

/* Waiting for an index ends when it is applied, or with UNKNOWN after the time. */
static void test_waiting_for_an_index(void **state)
{
    (void)state;
    struct world *w = world_new(16, 3);
    world_start(w);
    world_propose(w, 3);
    struct node *f = world_leader(w) == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
    struct read_result soon = { 0 }, never = { 0 };
    uint64_t index = node_status(f).applied;
    cluster_wait_index(f->c, index + 2, 5000, on_read, &soon);
    cluster_wait_index(f->c, index + 1000, 1000, on_read, &never);
    world_propose(w, 2);
    assert_true(sim_run_until(w->sim, 1000, read_done, &soon));
    assert_int_equal(soon.status, 0);
    assert_true(sim_run_until(w->sim, 2000, read_done, &never));
    assert_int_equal(never.status, ERR_UNKNOWN);
    world_free(w);
}

/* However many wait, and in whatever order they came: each is told when its index comes, and beyond
 * a limit there is an answer at once. */
static void test_many_wait(void **state)
{
    (void)state;
    enum { MANY = INDEX_WAITS_MAX, SOON = 8 };
    static struct read_result r[MANY + 1];
    struct world *w = world_new(21, 3);
    memset(r, 0, sizeof r);
    world_start(w);
    world_propose(w, 3);
    struct node *f = world_leader(w) == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
    uint64_t index = node_status(f).applied;
    for (unsigned i = 0; i < MANY; i++) { /* the low ones come last */
        bool soon = i >= MANY - SOON;
        cluster_wait_index(f->c, index + (soon ? 1 + i % SOON : 1000 + (i * 7919) % MANY), 60000,
                           on_read, &r[i]);
    }
    cluster_wait_index(f->c, index + 1, 60000, on_read, &r[MANY]);
    for (unsigned k = 1; k <= SOON; k++) {
        world_propose(w, 1);
        sim_run(w->sim, 100);
        unsigned told = 0;
        for (unsigned i = 0; i < MANY; i++) {
            assert_int_equal(r[i].status, 0);
            told += r[i].done;
        }
        assert_int_equal(told, k);
    }
    assert_int_equal(r[MANY].status, ERR_BUSY);
    sim_run(w->sim, 61000);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(r[i].status, i >= MANY - SOON ? 0 : ERR_UNKNOWN);
    }
    world_free(w);
}

static void on_canceled(void *arg, int status)
{
    assert_int_equal(status, ERR_CANCELED);
    (*(int *)arg)++;
}

/* A snapshot that was asked for and not begun is answered when the node stops. */
static void test_stop_before_a_snapshot_begins(void **state)
{
    (void)state;
    struct world *w = world_new(44, 3);
    int answers = 0;
    world_start(w);
    world_propose(w, 3);
    struct node *l = world_wait_leader(w), *n = &w->nodes[l == &w->nodes[0]];
    cluster_snapshot(n->c, on_canceled, &answers);
    node_stop(n);
    assert_int_equal(answers, 1);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_and_elect),
        cmocka_unit_test(test_commit_everywhere),
        cmocka_unit_test(test_leader_killed),
        cmocka_unit_test(test_restart_of_all),
        cmocka_unit_test(test_snapshot_for_a_laggard),
        cmocka_unit_test(test_restart_from_snapshots),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_paused_leader_reads_nothing_stale),
        cmocka_unit_test(test_speculation_undone),
        cmocka_unit_test(test_tampered_follower),
        cmocka_unit_test(test_tampered_leader),
        cmocka_unit_test(test_quarantined_does_not_vote),
        cmocka_unit_test(test_term_and_vote_are_durable),
        cmocka_unit_test(test_transfer),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_local_after_restart),
        cmocka_unit_test(test_local_after_snapshot),
        cmocka_unit_test(test_slow_timers),
        cmocka_unit_test(test_slow_stop),
        cmocka_unit_test(test_full_disks),
        cmocka_unit_test(test_full_follower),
        cmocka_unit_test(test_replay_in_slices),
        cmocka_unit_test(test_failed_sync),
        cmocka_unit_test(test_waiting_for_an_index),
        cmocka_unit_test(test_many_wait),
        cmocka_unit_test(test_stop_before_a_snapshot_begins),
    };
    return (cmocka_set_test_filter(getenv("TEST")),
            cmocka_run_group_tests_name("cluster", tests, NULL, NULL));
}
