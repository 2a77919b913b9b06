/* Random faults over many seeds: crashes, power losses, pauses, cuts, resets, snapshots and
 * transfers while clients propose and read. In the end everything heals, and all nodes must
 * agree, hold all that was acknowledged, and no read may have been stale. */
#include "unit/cluster/world.h"

#define READS_MAX 64

struct read_probe {
    bool used;
    struct node *node;
    uint64_t must_have; /* newest acknowledged serial when the read was asked */
};

struct chaos {
    struct world *w;
    struct read_probe reads[READS_MAX];
    unsigned reads_served;
    bool blocked;
};

static void on_read(void *arg, int status)
{
    struct read_probe *r = arg;
    r->used = false;
    if (status == 0 && !sim_is_ghost(r->node->env) && r->must_have != 0) {
        /* The committed view alone must hold it. */
        struct store *s = cluster_store(r->node->c);
        store_rewind(s);
        if (!node_has(r->node, r->must_have)) {
            r->node->w->faults++;
        }
        store_replay(s);
    }
}

static void ask_read(struct chaos *x, struct node *n)
{
    for (unsigned i = 0; i < READS_MAX; i++) {
        struct read_probe *r = &x->reads[i];
        if (!r->used) {
            r->used = true;
            r->node = n;
            r->must_have = x->w->acks > 0 ? x->w->acked[x->w->acks - 1] : 0;
            x->reads_served++;
            cluster_read(n->c, on_read, r);
            return;
        }
    }
}

static struct node *random_node(struct world *w) { return &w->nodes[sim_rand(w->sim, w->count)]; }

static unsigned down_count(const struct world *w)
{
    unsigned n = 0;
    for (unsigned i = 0; i < w->count; i++) {
        n += !w->nodes[i].running;
    }
    return n;
}

static void one_fault(struct chaos *x)
{
    struct world *w = x->w;
    struct node *n = random_node(w), *m = random_node(w);
    switch (sim_rand(w->sim, 12)) {
    case 0:
    case 1:
        if (n->running) {
            node_crash(n, sim_rand(w->sim, 2) ? SIM_KILL : SIM_POWER_LOSS);
        }
        break;
    case 2:
    case 3:
    case 4:
        if (!n->running) {
            node_start(n);
        }
        break;
    case 5:
        if (n->running && !n->paused) {
            sim_pause(n->env);
            n->paused = true;
        }
        break;
    case 6:
        if (n->paused) {
            sim_resume(n->env);
            n->paused = false;
        }
        break;
    case 7: sim_isolate(w->sim, n->address); break;
    case 8:
        if (n != m) {
            sim_block(w->sim, n->address, m->address, true); /* one direction only */
        }
        break;
    case 9: sim_heal(w->sim); break;
    case 10:
        if (n->running && !n->paused) {
            cluster_snapshot(n->c, on_nothing, NULL);
        }
        break;
    default:
        if (n->running && !n->paused) {
            cluster_transfer(n->c, "", on_nothing, NULL);
        } else if (n != m) {
            sim_reset(w->sim, n->address, m->address);
        }
        break;
    }
}

static void clients(struct chaos *x)
{
    struct world *w = x->w;
    for (unsigned i = 0; i < w->count; i++) {
        struct node *n = &w->nodes[i];
        struct error e = { 0 };
        if (!n->running || n->paused) {
            continue;
        }
        if (node_status(n).role == ROLE_LEADER && n->pending_count < 6) {
            (void)node_propose(n, &e);
        }
        if (sim_rand(w->sim, 3) == 0) {
            ask_read(x, n);
        }
    }
}

static void heal(struct world *w)
{
    sim_heal(w->sim);
    for (unsigned i = 0; i < w->count; i++) {
        struct node *n = &w->nodes[i];
        if (n->paused) {
            sim_resume(n->env);
            n->paused = false;
        }
        if (!n->running) {
            node_start(n);
        }
    }
}

static uint64_t run_seed(uint64_t seed, unsigned count, uint64_t steps)
{
    struct chaos x = { .w = world_new(seed, count) };
    struct world *w = x.w;
    struct sim_network net = { 50, 200 + seed % 5 * 1000, seed % 3 == 0 ? 300 : 0, 10 };
    w->snapshot_bytes = seed % 2 ? 20000 : 200000;
    w->value_bytes = 100 + seed % 3 * 1000;
    world_start(w);
    world_wait_leader(w);
    sim_set_network(w->sim, &net);
    for (uint64_t i = 0; i < steps; i++) {
        sim_run(w->sim, 1 + sim_rand(w->sim, 40));
        clients(&x);
        if (sim_rand(w->sim, 12) == 0) {
            one_fault(&x);
        }
        if (down_count(w) == w->count) {
            node_start(random_node(w));
        }
        for (unsigned k = 0; k < w->count; k++) {
            if (w->nodes[k].fatal) {
                fail_msg("seed %llu: %s failed: %s", (unsigned long long)seed, w->nodes[k].address,
                         w->nodes[k].error.message);
            }
        }
    }
    heal(w);
    world_check(w);
    world_propose(w, 3);
    world_check(w);
    print_message("seed %llu: %u acknowledged, %u reads, %llu ms\n", (unsigned long long)seed,
                  w->acks, x.reads_served, (unsigned long long)sim_now(w->sim));
    assert_true(w->acks > 3);
    uint64_t hash = sim_trace_hash(w->sim);
    world_free(w);
    return hash;
}

static uint64_t seeds(void)
{
    const char *s = getenv("SEEDS");
    return s != NULL ? strtoull(s, NULL, 10) : 12;
}

static uint64_t first_seed(void)
{
    const char *s = getenv("SEED");
    return s != NULL ? strtoull(s, NULL, 10) : 1;
}

/* Three nodes under random faults stay one truth. */
static void test_three_nodes(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + seeds(); seed++) {
        (void)run_seed(seed, 3, 600);
    }
}

/* Five nodes under random faults stay one truth. */
static void test_five_nodes(void **state)
{
    (void)state;
    for (uint64_t seed = 1000 + first_seed(); seed < 1000 + first_seed() + seeds() / 3; seed++) {
        (void)run_seed(seed, 5, 500);
    }
}

/* The same seed gives the same run, to the byte. */
static void test_replay(void **state)
{
    (void)state;
    assert_true(run_seed(4711, 3, 200) == run_seed(4711, 3, 200));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_nodes),
        cmocka_unit_test(test_five_nodes),
        cmocka_unit_test(test_replay),
    };
    return (cmocka_set_test_filter(getenv("TEST")),
            cmocka_run_group_tests_name("cluster_faults", tests, NULL, NULL));
}
