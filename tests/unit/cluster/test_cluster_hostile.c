/* A peer that knows the secret and talks nonsense: nothing it says may stop a node or change
 * what the cluster has agreed on. */
#include "unit/cluster/world.h"

#include "cluster/internal.h"
#include "cluster/wire.h"
#include "raftio/transport.h"

struct stranger {
    struct env *env;
    struct transport *t;
    uint64_t cluster_id;
    bool up, closed;
};

static uint64_t its_cluster(void *arg) { return ((struct stranger *)arg)->cluster_id; }

static int its_admit(void *arg, const struct transport_peer *peer, struct error *e)
{
    (void)arg;
    (void)peer;
    (void)e;
    return 0;
}

static void its_frame(void *arg, const struct transport_peer *peer, enum transport_channel ch,
                      const uint8_t *data, size_t len)
{
    (void)arg;
    (void)peer;
    (void)ch;
    (void)data;
    (void)len;
}

static void its_link(void *arg, const char *address, bool up, const struct transport_peer *peer,
                     const struct error *why)
{
    (void)address;
    (void)peer;
    (void)why;
    ((struct stranger *)arg)->up = up;
}

static void its_accept(void *arg, struct env_stream *stream)
{
    transport_accept(((struct stranger *)arg)->t, stream);
}

static bool is_up(void *arg) { return ((struct stranger *)arg)->up; }
static void on_closed(void *arg) { ((struct stranger *)arg)->closed = true; }
static bool is_closed(void *arg) { return ((struct stranger *)arg)->closed; }

static void stranger_start(struct world *w, struct stranger *s, uint64_t cluster_id)
{
    struct error e = { 0 };
    s->env = sim_env(w->sim, "z:1");
    s->cluster_id = cluster_id;
    struct transport_options o = { .secret = span_of("secret"),
                                   .node_id = 666,
                                   .address = "z:1",
                                   .version = 1,
                                   .feature_level = 1,
                                   .cluster_id = its_cluster,
                                   .admit = its_admit,
                                   .frame = its_frame,
                                   .link = its_link,
                                   .arg = s };
    assert_int_equal(transport_new(s->env, &o, &s->t, &e), 0);
    sim_listen(s->env, its_accept, s);
    for (unsigned i = 0; i < w->count; i++) {
        transport_connect(s->t, w->nodes[i].address);
    }
    assert_true(sim_run_until(w->sim, 5000, is_up, s));
}

static void stranger_stop(struct world *w, struct stranger *s)
{
    sim_listen(s->env, NULL, NULL);
    transport_close(s->t, on_closed, s);
    assert_true(sim_run_until(w->sim, 5000, is_closed, s));
}

/* Mostly plausible: a known kind, then words that are small, huge or noise. */
static void put_nonsense(struct world *w, struct buf *b)
{
    buf_put_u8(b, (uint8_t)sim_rand(w->sim, 16));
    uint64_t n = sim_rand(w->sim, 12);
    for (uint64_t i = 0; i < n; i++) {
        switch (sim_rand(w->sim, 5)) {
        case 0: buf_put_u64(b, sim_rand(w->sim, 10)); break;
        case 1: buf_put_u64(b, UINT64_MAX - sim_rand(w->sim, 3)); break;
        case 2: buf_put_u8(b, (uint8_t)sim_rand(w->sim, 256)); break;
        case 3: buf_put_str(b, "a:1"); break;
        default: buf_put_u64(b, sim_rand(w->sim, UINT64_MAX)); break;
        }
    }
}

/* Noise on every channel, as a member of the cluster and as somebody without one. */
static void test_noise(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct world *w = world_new(seed, 3);
        struct stranger s = { 0 };
        world_start(w);
        world_propose(w, 5);
        stranger_start(w, &s, seed % 2 ? node_status(&w->nodes[0]).cluster_id : 0);
        for (int i = 0; i < 3000; i++) {
            struct buf b = BUF_INIT;
            put_nonsense(w, &b);
            enum transport_channel ch = (enum transport_channel)(1 + sim_rand(w->sim, 3));
            (void)transport_send(s.t, w->nodes[sim_rand(w->sim, 3)].address, ch, &b);
            if (i % 50 == 0) {
                sim_run(w->sim, 5);
            }
        }
        for (unsigned i = 0; i < 3; i++) {
            assert_false(w->nodes[i].fatal);
        }
        world_propose(w, 5);
        world_check(w);
        stranger_stop(w, &s);
        world_free(w);
    }
}

static void send_words(struct stranger *s, const char *to, enum wire_kind kind, unsigned n,
                       uint64_t a, uint64_t b, uint64_t c)
{
    struct buf f = BUF_INIT;
    wire_put_words(&f, kind, n, a, b, c);
    (void)transport_send(s->t, to, CHANNEL_CLUSTER, &f);
}

/* Well-formed lies of a node that is no member: votes, rounds, digests and clocks of it do
 * not count, and founding messages come too late. */
static void test_lies(void **state)
{
    (void)state;
    struct world *w = world_new(31, 3);
    struct stranger s = { 0 };
    world_start(w);
    world_propose(w, 5);
    uint64_t id = node_status(&w->nodes[0]).cluster_id;
    stranger_start(w, &s, id);
    sim_run(w->sim, 200);
    uint64_t term = node_status(world_leader(w)).term;
    for (unsigned i = 0; i < 3; i++) {
        const char *to = w->nodes[i].address;
        send_words(&s, to, WIRE_DIGEST_ASK, 2, node_status(&w->nodes[i]).applied, 1, 0);
        send_words(&s, to, WIRE_DIGEST, 2, node_status(&w->nodes[i]).applied, 1, 0);
        send_words(&s, to, WIRE_ECHO, 2, term, 1, 0);
        send_words(&s, to, WIRE_CLOCK, 1, 1, 0, 0);
        send_words(&s, to, WIRE_ASK, 1, 77, 0, 0);
        send_words(&s, to, WIRE_PROMISE, 1, id, 0, 0);
        send_words(&s, to, WIRE_SNAP_ACK, 3, 1, 0, SNAP_DONE);
        struct wire_snapshot snap = { .transfer = 1,
                                      .raft_term = UINT64_MAX,
                                      .index = 1000000,
                                      .term = 1,
                                      .bytes = 1,
                                      .meta = span_of("no header") };
        struct buf b = BUF_INIT;
        wire_put_snapshot(&b, &snap);
        (void)transport_send(s.t, to, CHANNEL_CLUSTER, &b);
    }
    sim_run(w->sim, 3000);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(w->nodes[i].fatal);
        assert_true(node_status(&w->nodes[i]).cluster_id == id);
        assert_int_equal(node_status(&w->nodes[i]).members_count, 3);
    }
    assert_true(node_status(world_leader(w)).term == term);
    world_propose(w, 5);
    world_check(w);
    stranger_stop(w, &s);
    world_free(w);
}

/* A member's clock that no arithmetic holds is no sample: the one before it stands. White box. */
static void test_impossible_clock(void **state)
{
    (void)state;
    static const uint64_t bad[] = { UINT64_MAX, UINT64_C(1) << 63, INT64_MAX, UINT64_C(1) << 62,
                                    INT64_MAX / 4 + 1 };
    struct world *w = world_new(32, 3);
    world_start(w);
    world_propose(w, 2);
    sim_run(w->sim, 3000);
    struct node *l = world_wait_leader(w);
    struct peer *p = peer_find(l->c, w->nodes[l == &w->nodes[0]].address);
    int64_t before = clock_offset(l->c, p);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        clock_on_sample(l->c, p, bad[i]);
        assert_true(clock_offset(l->c, p) == before);
    }
    sim_run(w->sim, 3000);
    world_propose(w, 2);
    world_check(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_impossible_clock),
    };
    return (cmocka_set_test_filter(getenv("TEST")),
            cmocka_run_group_tests_name("cluster_hostile", tests, NULL, NULL));
}
