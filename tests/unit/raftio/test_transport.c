/* Links between honest nodes over the simulated network: they come up, carry frames in
 * order, come back after every kind of cut, and say clearly why they do not. */
#include "transport_node.h"

#include "base/limits.h"

struct world {
    struct sim *sim;
    struct tnode a, b, c;
    int64_t live;
};

static void world_make(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->live = mem_test_live();
    lines_catch();
    w->sim = sim_new(seed);
    w->a = (struct tnode){ .address = "a:1", .node_id = 11, .cluster_id = 5, .secret = "s3cret" };
    w->b = (struct tnode){ .address = "b:1", .node_id = 12, .cluster_id = 5, .secret = "s3cret" };
    w->c =
        (struct tnode){ .address = "[::1]:1", .node_id = 13, .cluster_id = 5, .secret = "s3cret" };
}

static void world_open(struct world *w)
{
    tnode_open(&w->a, w->sim, w->a.address);
    tnode_open(&w->b, w->sim, w->b.address);
    transport_connect(w->a.t, "b:1");
    transport_connect(w->b.t, "a:1");
}

/* Closes what is open; nothing may be left allocated (the simulator's buffers included). */
static void world_end(struct world *w)
{
    struct tnode *all[3] = { &w->a, &w->b, &w->c };
    for (int i = 0; i < 3; i++) {
        if (all[i]->t != NULL) {
            tnode_close(all[i]);
        }
        assert_false(all[i]->bad_frame);
    }
    sim_free(w->sim);
    log_set_sink(NULL, NULL);
    assert_int_equal(mem_test_live(), w->live);
}

static bool both_up(void *arg)
{
    struct world *w = arg;
    return transport_is_up(w->a.t, "b:1") && transport_is_up(w->b.t, "a:1");
}

static void world_up(struct world *w)
{
    world_open(w);
    assert_true(sim_run_until(w->sim, 1000, both_up, w));
}

/* Two nodes that know the secret come up in both directions within a few round trips and
 * tell each other who they are. */
static void nodes_come_up(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 1);
    world_open(&w);
    assert_int_equal(w.a.ups + w.b.ups, 0);
    assert_true(sim_run_until(w.sim, 10, both_up, &w));
    assert_int_equal(w.a.last_peer.node_id, 12);
    assert_int_equal(w.a.last_peer.cluster_id, 5);
    assert_int_equal(w.a.last_peer.version, 7);
    assert_int_equal(w.a.last_peer.feature_level, 1);
    assert_string_equal(w.a.last_peer.address, "b:1");
    transport_connect(w.a.t, "b:1"); /* idempotent */
    sim_run(w.sim, 5000);
    assert_int_equal(w.a.ups, 1);
    assert_int_equal(w.a.downs, 0);
    assert_int_equal(lines.count, 0);
    world_end(&w);
}

/* Three nodes exchange frames of every size from empty to 30 MB on all channels, in order,
 * whole, whatever pieces the network makes of them. */
static void frames_arrive_in_order(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 15, 100, 4091, 4092, 4093, 65536, 1000000, 30000000 };
    enum { SIZES = sizeof sizes / sizeof *sizes };
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct world w;
        world_make(&w, seed);
        world_up(&w);
        tnode_open(&w.c, w.sim, "[::1]:1");
        transport_connect(w.c.t, "b:1");
        transport_connect(w.b.t, "[::1]:1");
        sim_run(w.sim, 100);
        for (uint32_t i = 0; i < SIZES; i++) {
            enum transport_channel ch = (enum transport_channel)(1 + i % 3);
            assert_true(tnode_send(&w.a, "b:1", ch, i + 1, sizes[i]));
            assert_true(tnode_send(&w.b, "[::1]:1", ch, i + 1, sizes[i] / 2));
        }
        assert_true(transport_queued(w.a.t, "b:1") > 31000000);
        sim_run(w.sim, 2000);
        assert_int_equal(transport_queued(w.a.t, "b:1"), 0);
        assert_int_equal(w.b.frames, SIZES);
        assert_int_equal(w.b.last_peer.node_id, 11);
        assert_int_equal(w.c.frames, SIZES);
        for (int ch = 1; ch <= 3; ch++) {
            assert_true(w.b.channel_frames[ch] >= 3);
        }
        world_end(&w);
    }
}

/* What cannot be sent is dropped and said: link down, frame over the limit, queue full. */
static void drops_are_reported(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 3);
    world_up(&w);
    assert_false(tnode_send(&w.a, "c:1", CHANNEL_RAFT, 1, 10));
    assert_false(transport_is_up(w.a.t, "c:1"));
    assert_false(tnode_send(&w.a, "b:1", CHANNEL_RAFT, 1, FRAME_BYTES_MAX));
    assert_true(tnode_send(&w.a, "b:1", CHANNEL_RAFT, 1, FRAME_BYTES_MAX - 4));
    assert_true(tnode_send(&w.a, "b:1", CHANNEL_RAFT, 2, FRAME_BYTES_MAX - 4));
    assert_false(tnode_send(&w.a, "b:1", CHANNEL_RAFT, 3, 1));
    sim_run(w.sim, 3000);
    assert_int_equal(w.b.frames, 2);
    assert_true(tnode_send(&w.a, "b:1", CHANNEL_RAFT, 3, 1));
    transport_disconnect(w.a.t, "b:1");
    transport_disconnect(w.a.t, "b:1");
    assert_false(tnode_send(&w.a, "b:1", CHANNEL_RAFT, 4, 1));
    sim_run(w.sim, 3000);
    assert_int_equal(w.a.downs, 0);
    assert_int_equal(w.a.ups, 1);
    assert_false(tnode_send(&w.a, "b:1", CHANNEL_RAFT, 4, 1));
    transport_connect(w.a.t, "b:1");
    sim_run(w.sim, 100);
    assert_true(tnode_send(&w.a, "b:1", CHANNEL_RAFT, 4, 1));
    world_end(&w);
}

/* After resets, kills, restarts and power losses on either side the links come back within
 * the longest pause, and no frame is ever altered, repeated or out of order. */
static void links_come_back(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct world w;
        world_make(&w, seed);
        sim_set_network(w.sim, &(struct sim_network){ 50, 2000, 3000, 50 });
        world_open(&w);
        uint32_t number = 0;
        for (int round = 0; round < 20; round++) {
            for (int i = 0; i < 20; i++) {
                (void)tnode_send(&w.a, "b:1", CHANNEL_RAFT, ++number, sim_rand(w.sim, 9000));
                (void)tnode_send(&w.b, "a:1", CHANNEL_CLUSTER, number, sim_rand(w.sim, 900));
                sim_run(w.sim, sim_rand(w.sim, 100));
            }
            switch (sim_rand(w.sim, 3)) {
            case 0: sim_reset(w.sim, "a:1", "b:1"); break;
            case 1:
                tnode_crash(&w.b, sim_rand(w.sim, 2) != 0 ? SIM_KILL : SIM_POWER_LOSS);
                sim_run(w.sim, sim_rand(w.sim, 3000));
                tnode_open(&w.b, w.sim, "b:1");
                transport_connect(w.b.t, "a:1");
                break;
            default: break;
            }
        }
        sim_set_network(w.sim, &(struct sim_network){ 50, 2000, 0, 50 });
        assert_true(sim_run_until(w.sim, 20000, both_up, &w));
        int before = w.b.frames;
        sim_run(w.sim, 15000); /* a half-open link is noticed by its silence */
        assert_true(sim_run_until(w.sim, 5000, both_up, &w));
        assert_true(tnode_send(&w.a, "b:1", CHANNEL_RAFT, ++number, 10));
        sim_run(w.sim, 100);
        assert_int_equal(w.b.frames, before + 1);
        world_end(&w);
    }
}

/* A peer without power is noticed by its silence after LINK_SILENT_MS, not after TCP's
 * quarter of an hour; the owner is told why; a paused peer the same. */
static void silence_is_noticed(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct world w;
        world_make(&w, 4);
        world_up(&w);
        sim_run(w.sim, 60000);
        assert_true(both_up(&w));
        if (how == 0) {
            sim_crash(w.b.env, SIM_POWER_LOSS);
        } else if (how == 1) {
            sim_pause(w.b.env);
        } else {
            sim_cut(w.sim, "a:1", "b:1");
        }
        sim_run(w.sim, LINK_SILENT_MS - 2000);
        assert_true(transport_is_up(w.a.t, "b:1"));
        sim_run(w.sim, 4000);
        assert_false(transport_is_up(w.a.t, "b:1"));
        assert_non_null(strstr(w.a.why.message, "nothing heard"));
        assert_int_equal(w.a.why.code, ERR_IO);
        if (how == 1) {
            sim_resume(w.b.env);
        } else if (how == 2) {
            sim_heal(w.sim);
        }
        assert_true(how == 0 || sim_run_until(w.sim, 20000, both_up, &w));
        world_end(&w);
    }
}

/* An address nobody listens at is dialled at most once a second after the first tries; it
 * comes up when somebody does. */
static void pauses_grow(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 5);
    tnode_open(&w.a, w.sim, "a:1");
    transport_connect(w.a.t, "b:1");
    sim_run(w.sim, 60000);
    assert_int_equal(w.a.downs, 1); /* told once, not at every try */
    assert_string_equal(w.a.why.message, "no answer");
    tnode_open(&w.b, w.sim, "b:1");
    transport_connect(w.b.t, "a:1");
    assert_true(sim_run_until(w.sim, LINK_RETRY_MAX_MS + 20, both_up, &w));
    world_end(&w);
}

static void turn_away(void *arg, struct env_stream *s)
{
    struct tnode *n = arg;
    n->frames++;
    n->env->ops->stream_close(s);
}

/* Somebody who accepts and hangs up is dialled with growing pauses too. */
static void hanging_up_is_answered_with_patience(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 5);
    tnode_open(&w.a, w.sim, "a:1");
    w.b.env = sim_env(w.sim, "b:1");
    sim_listen(w.b.env, turn_away, &w.b);
    transport_connect(w.a.t, "b:1");
    sim_run(w.sim, 60000);
    assert_in_range(w.b.frames, 55, 140);
    w.b.frames = 0;
    world_end(&w);
}

/* Different secrets: no frame, no admit; both sides say it in one line each. */
static void other_secret(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 6);
    w.b.secret = "another";
    world_open(&w);
    sim_run(w.sim, 30000);
    assert_false(transport_is_up(w.a.t, "b:1") || transport_is_up(w.b.t, "a:1"));
    assert_int_equal(w.a.admits + w.b.admits + w.a.frames + w.b.frames, 0);
    assert_int_equal(w.a.why.code, ERR_NOAUTH);
    lines_contain("b:1: the two nodes have different secrets");
    lines_contain("somebody who claims to be a:1 refuses us: the two nodes have different secrets");
    assert_true(lines.count <= 4);
    world_end(&w);
}

/* An empty secret on both sides works (loopback), against a set one it does not. */
static void empty_secret(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 7);
    w.a.secret = w.b.secret = "";
    world_up(&w);
    world_end(&w);
    world_make(&w, 7);
    w.a.secret = "";
    world_open(&w);
    sim_run(w.sim, 5000);
    assert_int_equal(w.a.ups + w.b.ups, 0);
    world_end(&w);
}

/* Two clusters do not mix: both sides name both ids. */
static void other_cluster(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 8);
    w.b.cluster_id = 6;
    world_open(&w);
    sim_run(w.sim, 5000);
    assert_int_equal(w.a.ups + w.b.ups, 0);
    assert_int_equal(w.a.why.code, ERR_CONFLICT);
    lines_contain("b:1 belongs to cluster 0000000000000006");
    world_end(&w);
}

/* The owner's refusal, whichever side it comes from, reaches the other side as text and
 * through `link` on the dialling side; when it is lifted the link comes up. */
static void refusals_travel(void **state)
{
    (void)state;
    for (int who = 0; who < 2; who++) {
        struct world w;
        world_make(&w, 9);
        struct tnode *refuser = who == 0 ? &w.a : &w.b;
        refuser->refuse = "node 12 is not the node 99 known here";
        world_open(&w);
        sim_run(w.sim, 10000);
        assert_int_equal(w.a.ups + w.b.ups, 0);
        assert_string_equal(w.a.why.message, refuser->refuse);
        assert_string_equal(w.b.why.message, refuser->refuse);
        assert_int_equal(w.a.why.code, ERR_DENIED);
        lines_contain("refuses us: node 12 is not the node 99 known here");
        lines_contain("run replace-node");
        assert_true(lines.count <= 6);
        refuser->refuse = NULL;
        assert_true(sim_run_until(w.sim, 2000, both_up, &w));
        world_end(&w);
    }
}

/* The refusal's text arrives at the first attempt: the refuser does not hang up before the
 * other side has read it. */
static void refusals_arrive_at_once(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct world w;
        world_make(&w, seed);
        w.b.refuse = "no";
        tnode_open(&w.a, w.sim, "a:1");
        tnode_open(&w.b, w.sim, "b:1");
        transport_connect(w.a.t, "b:1");
        sim_run(w.sim, 20);
        assert_string_equal(w.a.why.message, "no");
        assert_string_equal(w.a.why.hint, "run replace-node");
        world_end(&w);
    }
}

/* A node that dials itself, meets its own id or its own address, or reaches another node
 * than the one it dialled, says exactly that. */
static void mistaken_identity(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 10);
    tnode_open(&w.a, w.sim, "a:1");
    transport_connect(w.a.t, "a:1");
    sim_run(w.sim, 3000);
    lines_contain("a:1 is this node's own address");
    assert_string_equal(w.a.why.message, "a:1 is this node's own address");
    world_end(&w);

    world_make(&w, 10);
    w.b.node_id = w.a.node_id;
    world_open(&w);
    sim_run(w.sim, 3000);
    lines_contain("have the same node id");
    lines_contain("was a data directory copied?");
    assert_int_equal(w.a.ups + w.b.ups, 0);
    world_end(&w);

    world_make(&w, 10);
    w.b.address = "a:1";
    tnode_open(&w.a, w.sim, "a:1");
    tnode_open(&w.b, w.sim, "b:1");
    transport_connect(w.a.t, "b:1");
    sim_run(w.sim, 3000);
    lines_contain("two nodes call themselves a:1");
    world_end(&w);

    world_make(&w, 10);
    w.b.address = "other:1";
    tnode_open(&w.a, w.sim, "a:1");
    tnode_open(&w.b, w.sim, "b:1");
    transport_connect(w.a.t, "b:1");
    sim_run(w.sim, 3000);
    assert_string_equal(w.a.why.message, "dialled b:1, but the node there calls itself other:1");
    world_end(&w);
}

/* Nodes without a cluster talk; when one joins, its frames carry the new id and it is
 * admitted again under it; a peer that moves from one cluster to another is refused. */
static void cluster_id_in_every_frame(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 11);
    w.a.cluster_id = w.b.cluster_id = 0;
    world_up(&w);
    assert_true(tnode_send(&w.a, "b:1", CHANNEL_CLUSTER, 1, 1));
    sim_run(w.sim, 10);
    assert_int_equal(w.b.last_peer.cluster_id, 0);
    int admits = w.b.admits;
    w.a.cluster_id = 77;
    assert_true(tnode_send(&w.a, "b:1", CHANNEL_CLUSTER, 2, 1));
    sim_run(w.sim, 10);
    assert_int_equal(w.b.frames, 2);
    assert_int_equal(w.b.admits, admits + 1);
    assert_int_equal(w.b.last_peer.cluster_id, 77);
    w.b.cluster_id = 77;
    sim_run(w.sim, 5000);
    assert_true(both_up(&w));
    w.a.cluster_id = 78;
    assert_true(tnode_send(&w.a, "b:1", CHANNEL_CLUSTER, 3, 1));
    sim_run(w.sim, 5000);
    assert_int_equal(w.b.frames, 2);
    lines_contain("changed from one cluster to another");
    assert_false(both_up(&w));
    world_end(&w);
}

/* The same node connecting again replaces its older connection, also when the older one
 * never noticed; frames keep flowing on the new one only. */
static void newer_connection_wins(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 12);
    world_up(&w);
    tnode_crash(&w.a, SIM_POWER_LOSS); /* b's accepted connection stays half open */
    tnode_open(&w.a, w.sim, "a:1");
    transport_connect(w.a.t, "b:1");
    sim_run(w.sim, 2000);
    assert_true(tnode_send(&w.a, "b:1", CHANNEL_RAFT, 1, 100));
    sim_run(w.sim, 100);
    assert_int_equal(w.b.frames, 1);
    /* A second process under the same identity (no honest set-up has one) takes the place
     * of the first, which notices. */
    w.c.address = "a:1";
    w.c.node_id = w.a.node_id;
    tnode_open(&w.c, w.sim, "elsewhere:1");
    assert_int_equal(w.a.downs, 0);
    transport_connect(w.c.t, "b:1");
    sim_run(w.sim, 10);
    assert_int_equal(w.c.ups, 1);
    assert_int_equal(w.a.downs, 1);
    world_end(&w);
}

/* Closing in every stage of dialling, shaking hands and sending leaks nothing, calls back
 * once, and tells the owner nothing afterwards. */
static void close_at_any_time(void **state)
{
    (void)state;
    for (uint64_t us = 0; us < 60; us++) {
        struct world w;
        world_make(&w, us);
        world_open(&w);
        for (uint64_t i = 0; i < us; i++) {
            (void)sim_step(w.sim);
        }
        (void)tnode_send(&w.a, "b:1", CHANNEL_RAFT, 1, 100000);
        int told = w.a.ups + w.a.downs;
        sim_listen(w.a.env, NULL, NULL);
        transport_close(w.a.t, tnode_closed, &w.a);
        assert_true(sim_run_until(w.sim, 60000, tnode_is_closed, &w.a));
        sim_run(w.sim, 5000);
        assert_int_equal(w.a.closed, 1);
        assert_int_equal(w.a.ups + w.a.downs, told);
        w.a.t = NULL;
        world_end(&w);
    }
}

/* Whichever allocation fails while links come up and carry frames, nothing crashes, leaks
 * or arrives altered, and the links work again afterwards. */
static void allocation_failures(void **state)
{
    (void)state;
    for (uint64_t at = 1; at < 120; at++) {
        struct world w;
        world_make(&w, 13);
        world_open(&w);
        mem_test_fail_at(at);
        sim_run(w.sim, 50);
        (void)tnode_send(&w.a, "b:1", CHANNEL_RAFT, 1, 9000);
        (void)tnode_send(&w.a, "b:1", CHANNEL_RAFT, 2, 10);
        sim_run(w.sim, 50);
        mem_test_fail_at(0);
        assert_true(sim_run_until(w.sim, 30000, both_up, &w));
        world_end(&w);
    }
}

static bool b_shown(void *arg)
{
    const struct world *w = arg;
    return w->a.down_id == w->b.node_id;
}

/* Who is refused for the same reason as the one before it is news all the same. */
static void test_refused_under_another_id(void **state)
{
    (void)state;
    struct world w;
    world_make(&w, 41);
    w.a.refuse = "it is known here with another identity";
    world_open(&w);
    assert_true(sim_run_until(w.sim, 5000, b_shown, &w));
    for (uint64_t id = 90; id < 93; id++) {
        sim_run(w.sim, 2000); /* long pauses between two tries */
        tnode_close(&w.b);
        sim_crash(w.b.env, SIM_KILL);
        w.b.node_id = id;
        tnode_open(&w.b, w.sim, w.b.address);
        assert_true(sim_run_until(w.sim, 10000, b_shown, &w));
    }
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_under_another_id),
        cmocka_unit_test(nodes_come_up),
        cmocka_unit_test(frames_arrive_in_order),
        cmocka_unit_test(drops_are_reported),
        cmocka_unit_test(links_come_back),
        cmocka_unit_test(silence_is_noticed),
        cmocka_unit_test(pauses_grow),
        cmocka_unit_test(hanging_up_is_answered_with_patience),
        cmocka_unit_test(other_secret),
        cmocka_unit_test(empty_secret),
        cmocka_unit_test(other_cluster),
        cmocka_unit_test(refusals_travel),
        cmocka_unit_test(refusals_arrive_at_once),
        cmocka_unit_test(mistaken_identity),
        cmocka_unit_test(cluster_id_in_every_frame),
        cmocka_unit_test(newer_connection_wins),
        cmocka_unit_test(close_at_any_time),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
