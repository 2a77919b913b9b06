/* See sim_run.h.
 *
 *   found, under faults -> clients and faults for some hundred steps -> in half of the seeds
 *   only a majority is made well: it must serve new requests -> all are made well: every
 *   request gets its outcome, all nodes come to agree -> in some seeds a drill, and all come to
 *   agree again -> the history is judged
 *
 * The second half is the liveness check: its bounds are simulated time, after which being
 * merely slow is a violation. They hold for the default election timeout and grow with it. */
#include "sim_run.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sim_drill.h"

/* A core must serve so soon after the faults end: three lost elections, a link that
 * backs off, a hold that waits for the clocks to be compared. */
#define SERVE_MS_MAX         30000
/* The same for the answers to all that is open, and for agreeing. */
#define FINISH_MS_MAX        120000
#define AGREE_MS_MAX         60000
/* Changes of members, each with a minute of its own. */
#define MEMBERS_MS_MAX       300000
/* Of log between snapshots: small enough for a follower to need one after a few requests. */
#define SNAPSHOT_BYTES_LEAST 8000

struct run {
    struct sim_world w;
    struct plan plan;
    struct faults faults;
    struct sim_clients *clients;
    struct totals *t;
};

#define ELECTION_MS 500

static uint64_t bound_ms(const struct run *r, uint64_t ms)
{
    return r->w.election_ms > ELECTION_MS ? ms * r->w.election_ms / ELECTION_MS : ms;
}

static void run_faults(struct run *r)
{
    for (uint64_t i = 0; i < r->plan.steps; i++) {
        sim_run(r->w.sim, 1 + sim_rand(r->w.sim, r->plan.step_ms));
        clients_turn(r->clients);
        faults_turn(&r->faults);
    }
}

/* What falls from an error it met just before all was well is started again. */
static void start_fallen(struct run *r, bool only_core)
{
    world_bury_failed(&r->w);
    for (unsigned i = 0; i < r->w.count && !only_core; i++) {
        if (!r->w.nodes[i].running && r->w.nodes[i].env != NULL) {
            world_start(&r->w.nodes[i]);
        }
    }
}

/* New requests are served again. */
static bool run_until_served(struct run *r, bool only_core)
{
    uint64_t since = sim_now(r->w.sim), most = bound_ms(r, SERVE_MS_MAX);
    clients_go_on(r->clients);
    while (!clients_served_since(r->clients, since)) {
        uint64_t now = sim_now(r->w.sim), waited = now - since;
        /* In a life of 30,000 the only client happens to ask nobody but a node that is paused. */
        if (waited > most * 4 ||
            (waited > most && clients_heard_ms(r->clients, since) < now - most)) {
            world_violation(&r->w, "%s is well since %u s and does not serve",
                            only_core ? "a majority" : "everybody", (unsigned)(most / 1000));
            return false;
        }
        start_fallen(r, only_core);
        sim_run(r->w.sim, 20);
        clients_turn(r->clients);
    }
    uint64_t took = sim_now(r->w.sim) - since;
    r->t->heals++;
    r->t->heal_ms_sum += took;
    r->t->heal_ms_max = took > r->t->heal_ms_max ? took : r->t->heal_ms_max;
    return true;
}

static bool run_to_the_end(struct run *r)
{
    faults_heal(&r->faults);
    if (!clients_full(r->clients) && !run_until_served(r, false)) {
        return false;
    }
    uint64_t since = sim_now(r->w.sim);
    while (!clients_finish(r->clients)) {
        if (sim_now(r->w.sim) - since > bound_ms(r, FINISH_MS_MAX)) {
            world_violation(&r->w, "minutes after all is well, requests are without answer");
            return false;
        }
        start_fallen(r, false);
        sim_run(r->w.sim, 20);
    }
    while (!members_finished(&r->faults.members)) {
        if (sim_now(r->w.sim) - since > bound_ms(r, MEMBERS_MS_MAX)) {
            world_violation(&r->w, "long after all is well, a membership change hangs");
            return false;
        }
        start_fallen(r, false);
        sim_run(r->w.sim, 50);
    }
    sim_run(r->w.sim, 5000); /* brief holds expire */
    if (!sim_run_until(r->w.sim, bound_ms(r, AGREE_MS_MAX), world_settled, &r->w)) {
        world_violation(&r->w, "the nodes do not come to agree");
        return false;
    }
    return true;
}

/* What idles grows with the pairs of nodes: larger clusters get less, or they would get all of
 * the CPU time. */
static uint64_t quiet_ms_of(uint64_t ms, unsigned nodes)
{
    return nodes > 3 ? ms * 6 / (nodes * (nodes - 1)) : ms;
}

/* Hours in which next to nothing happens: leases, keep-alives, idle marks, expiries. */
static void run_quiet(struct run *r)
{
    uint64_t end = sim_now(r->w.sim) + r->plan.quiet_ms;
    r->t->quiet_ms += r->plan.quiet_ms;
    while (sim_now(r->w.sim) < end) {
        sim_run(r->w.sim, 60000 + sim_rand(r->w.sim, 600000));
        clients_turn(r->clients);
        sim_run(r->w.sim, 1000);
        clients_turn(r->clients);
        if (sim_rand(r->w.sim, 4) == 0) {
            struct sim_node *n = world_random(&r->w);
            world_crash(n, sim_rand(r->w.sim, 2) == 0 ? SIM_KILL : SIM_POWER_LOSS);
        }
        start_fallen(r, false);
    }
}

static void collect(struct run *r)
{
    struct totals t = { 0 };
    t.seeds = 1;
    t.failed = r->w.violations > 0;
    t.by_nodes[r->w.founders] = 1;
    t.simulated_ms = t.ms_by_nodes[r->w.founders] = sim_now(r->w.sim);
    t.commits = r->w.commits;
    t.clients = clients_numbers(r->clients);
    for (unsigned i = 0; i < SIM_COUNTS; i++) {
        t.counts[i] = sim_counted(r->w.sim, (enum sim_count)i);
    }
    for (unsigned i = 0; i < SIM_POINTS; i++) {
        t.passed[i] = sim_point_passed(r->w.sim, i);
        t.crashed[i] = sim_point_crashed(r->w.sim, i);
    }
    totals_add(r->t, &t);
}

uint64_t run_seed(uint64_t seed, const struct run_options *o, struct totals *t,
                  unsigned *violations)
{
    struct run r = { .plan = plan_of(seed), .t = t };
    int64_t live = mem_test_live();
    if (o->calm) { /* and nobody joins or leaves */
        r.plan = (struct plan){ .nodes = r.plan.nodes,
                                .clients = r.plan.clients,
                                .steps = r.plan.steps,
                                .step_ms = r.plan.step_ms,
                                .think_ms = r.plan.think_ms };
    }
    r.plan.nodes = o->nodes != 0 ? o->nodes : r.plan.nodes;
    r.plan.steps = o->steps != 0 ? o->steps : r.plan.steps;
    r.plan.quiet_ms = o->quiet_ms != 0 ? quiet_ms_of(o->quiet_ms, r.plan.nodes) : r.plan.quiet_ms;
    world_init(&r.w, seed, r.plan.nodes, r.plan.members ? 2 : 0, o->verbose);
    r.w.quiet = o->silent;
    r.w.election_ms = o->election_ms;
    r.w.snapshot_bytes = seed % 3 == 0 ? SNAPSHOT_BYTES_LEAST : seed % 3 == 1 ? 40000 : 400000;
    r.w.segment_bytes = seed % 2 == 0 ? 16384 : 256u << 10;
    r.clients = clients_new(&r.w, r.plan.clients, r.plan.think_ms);
    faults_begin(&r.faults, &r.w, &r.plan);
    run_faults(&r);
    /* Before it is founded a cluster waits for all its nodes. */
    bool core = seed % 2 == 0 && r.w.commits > 0 && !r.plan.members && !clients_full(r.clients);
    bool well = true;
    if (core) {
        faults_heal_core(&r.faults);
        well = run_until_served(&r, true);
    }
    if (well && run_to_the_end(&r)) {
        if (r.w.snapshot_bytes == SNAPSHOT_BYTES_LEAST && r.w.count > 2 && !r.plan.members) {
            drill_slow_snapshot(&r.w, r.clients);
            well = run_to_the_end(&r);
        }
        if (well && r.w.founders <= 2 && r.plan.members) {
            drill_sole_voter(&r.w, r.clients, &r.faults.members);
            well = run_to_the_end(&r);
        }
        if (well && r.plan.quiet_ms > 0) {
            clients_go_on(r.clients);
            run_quiet(&r);
            well = run_to_the_end(&r);
        }
        if (well) {
            clients_check(r.clients);
        }
    }
    if (r.w.violations > 0 && o->verbose) {
        world_describe(&r.w);
    }
    collect(&r);
    uint64_t hash = sim_trace_hash(r.w.sim);
    bool whole = r.w.violations == 0;
    world_free(&r.w);
    clients_free(r.clients);
    *violations = r.w.violations;
    if (whole && mem_test_live() != live) {
        (void)fprintf(stderr, "seed %llu: %lld blocks of memory are left\n",
                      (unsigned long long)seed, (long long)(mem_test_live() - live));
        t->failed++;
        (*violations)++;
    }
    return hash;
}
