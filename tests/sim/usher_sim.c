/* The simulator: whole clusters in one thread, on simulated disks and networks, under
 * random faults, from a seed. What went wrong with a seed goes wrong again with it.
 *
 *     usher-sim --seed 42            one seed, with its log
 *     usher-sim --seconds 60         seeds from 1 until the time is over
 *     usher-sim --first 1000 --seeds 50
 *
 * A run: found a cluster, let clients book, hold, confirm, give back and read while nodes
 * are killed, lose power, are paused, cut off, slowed, get wrong clocks, full and failing
 * disks; then everything heals, all requests get their outcome, and the clients' history
 * is held against the nodes' stores (sim_clients.c). Every tenth seed runs twice and must
 * leave the same trace. Exit status 1 when anything was violated. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "sim_clients.h"
#include "sim_world.h"

struct options {
    uint64_t first, seeds, seconds, steps;
    unsigned nodes; /* 0: by seed */
    bool verbose, calm;
};

/* ---- Faults ----------------------------------------------------------------------- */

static void on_nothing(void *arg, int status) { (void)arg, (void)status; }

static void process_fault(struct sim_world *w, struct sim_node *n)
{
    switch (sim_rand(w->sim, 8)) {
    case 0: world_crash(n, SIM_KILL); break;
    case 1: world_crash(n, SIM_POWER_LOSS); break;
    case 2:
        if (n->running && !n->paused) {
            sim_pause(n->env);
            n->paused = true;
        }
        break;
    case 3:
        if (n->paused) {
            sim_resume(n->env);
            n->paused = false;
        }
        break;
    default:
        if (!n->running) {
            world_start(n);
        }
        break;
    }
}

static void network_fault(struct sim_world *w, struct sim_node *n, const struct sim_node *m)
{
    struct sim_network slow = { 1000, 60000, 500, 50 }, fast = { 50, 400, 0, 25 };
    switch (sim_rand(w->sim, 8)) {
    case 0: sim_isolate(w->sim, n->address); break;
    case 1:
        if (n != m) {
            sim_block(w->sim, n->address, m->address, true);
        }
        break;
    case 2: sim_reset(w->sim, n->address, m->address); break;
    case 3: sim_set_network(w->sim, &slow); break;
    case 4: sim_set_network(w->sim, &fast); break;
    default: sim_heal(w->sim); break;
    }
}

static void disk_fault(struct sim_world *w, struct sim_node *n)
{
    static const enum sim_fault faults[] = { SIM_FAIL_IO, SIM_FAIL_POWER, SIM_FAIL_KILL,
                                             SIM_FAIL_POWER };
    if (!n->running) {
        return;
    }
    switch (sim_rand(w->sim, 4)) {
    case 0:
        sim_set_disk_bytes(n->env, 1 << 20); /* full */
        break;
    case 1: sim_set_disk_bytes(n->env, UINT64_C(1) << 40); break;
    default:
        n->excused = true;
        sim_fail_at(n->env, SIM_ANY_OP, 1 + sim_rand(w->sim, 20), faults[sim_rand(w->sim, 4)]);
        break;
    }
}

static void one_fault(struct sim_world *w)
{
    struct sim_node *n = world_random(w), *m = world_random(w);
    switch (sim_rand(w->sim, 8)) {
    case 0:
    case 1:
    case 2: process_fault(w, n); break;
    case 3:
    case 4: network_fault(w, n, m); break;
    case 5: disk_fault(w, n); break;
    case 6:
        if (n->running && !n->paused) {
            /* Up to 8 s apart: still within what nodes accept of each other. */
            sim_set_wall_offset(n->env, (int64_t)sim_rand(w->sim, 8000) - 4000);
        }
        break;
    default:
        if (n->running && !n->paused && sim_rand(w->sim, 2) == 0) {
            cluster_snapshot(n->cluster, on_nothing, NULL);
        } else if (n->running && !n->paused) {
            cluster_transfer(n->cluster, "", on_nothing, NULL);
        }
        break;
    }
}

static void heal(struct sim_world *w)
{
    struct sim_network fast = { 50, 400, 0, 25 };
    sim_heal(w->sim);
    sim_set_network(w->sim, &fast);
    for (unsigned i = 0; i < w->count; i++) {
        struct sim_node *n = &w->nodes[i];
        if (n->env != NULL) {
            sim_fail_at(n->env, SIM_ANY_OP, 0, SIM_FAIL_IO);
            sim_set_disk_bytes(n->env, UINT64_C(1) << 40);
        }
        world_bury_failed(w);
        if (n->paused) {
            sim_resume(n->env);
            n->paused = false;
        }
        if (n->env != NULL) {
            sim_set_wall_offset(n->env, 0);
        }
    }
}

/* A node may still fall from an error it met just before all healed; then its operator
 * starts it again, and from then on there is no excuse. */
static void start_all(struct sim_world *w)
{
    world_bury_failed(w);
    for (unsigned i = 0; i < w->count; i++) {
        if (!w->nodes[i].running) {
            w->nodes[i].excused = false;
            world_start(&w->nodes[i]);
        }
    }
}

/* ---- One seed ---------------------------------------------------------------------- */

struct outcome {
    uint64_t hash, granted, refused, reads, sends, commits, virtual_ms;
    unsigned violations;
};

static void run_faults(struct sim_world *w, struct sim_clients *c, const struct options *o)
{
    uint64_t rate = 8 + w->seed % 5 * 8; /* a fault in so many steps */
    for (uint64_t i = 0; i < o->steps; i++) {
        sim_run(w->sim, 1 + sim_rand(w->sim, 40));
        world_bury_failed(w);
        clients_turn(c);
        if (!o->calm && sim_rand(w->sim, rate) == 0) {
            one_fault(w);
        }
        if (world_running(w) == 0) {
            struct sim_node *n = world_random(w);
            if (n->paused) {
                sim_resume(n->env);
                n->paused = false;
            } else if (!n->running) {
                world_start(n);
            }
        }
    }
}

static bool run_to_the_end(struct sim_world *w, struct sim_clients *c)
{
    heal(w);
    bool done = false;
    for (int i = 0; i < 6000 && !done; i++) {
        start_all(w);
        sim_run(w->sim, 20);
        done = clients_finish(c);
    }
    if (!done) {
        world_violation(w, "two minutes after all has healed, requests are still without answer");
        return false;
    }
    sim_run(w->sim, 20000); /* brief holds expire */
    if (!sim_run_until(w->sim, 60000, world_settled, w)) {
        world_violation(w, "the nodes do not come to agree");
        return false;
    }
    return true;
}

static struct outcome run_seed(uint64_t seed, const struct options *o)
{
    struct sim_world w;
    struct outcome r = { 0 };
    int64_t live = mem_test_live();
    world_init(&w, seed, o->nodes != 0 ? o->nodes : seed % 4 == 3 ? 5 : 3, o->verbose);
    w.snapshot_bytes = seed % 2 == 0 ? 30000 : 300000;
    struct sim_clients *c = clients_new(&w, 4 + (unsigned)(seed % 3) * 4, 4, 10);
    for (unsigned i = 0; i < w.count; i++) {
        world_start(&w.nodes[i]);
    }
    if (!clients_prepare(c)) {
        world_violation(&w, "the cluster does not start");
    } else {
        run_faults(&w, c, o);
        if (run_to_the_end(&w, c)) {
            clients_check(c);
        }
    }
    struct clients_numbers n = clients_numbers(c);
    r = (struct outcome){ .hash = sim_trace_hash(w.sim),
                          .granted = n.granted,
                          .refused = n.refused,
                          .reads = n.reads,
                          .sends = n.sends,
                          .commits = w.commits,
                          .virtual_ms = sim_now(w.sim) };
    bool whole = w.violations == 0;
    world_free(&w);
    clients_free(c);
    if (whole && mem_test_live() != live) {
        (void)fprintf(stderr, "seed %" PRIu64 ": %lld blocks of memory are left\n", seed,
                      (long long)(mem_test_live() - live));
        w.violations++;
    }
    r.violations = w.violations;
    return r;
}

/* ---- The program --------------------------------------------------------------------- */

static uint64_t wall_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

/* A turn that never ends looks like a long run: say which seed it was. */
#define SEED_SECONDS_MAX 180

static char hang_text[64];

static void on_alarm(int number)
{
    (void)number;
    ssize_t n = write(STDERR_FILENO, hang_text, strlen(hang_text));
    _exit(n > 0 ? 1 : 3);
}

static void watch_seed(uint64_t seed)
{
    (void)snprintf(hang_text, sizeof hang_text, "seed %" PRIu64 ": hangs\n", seed);
    (void)signal(SIGALRM, on_alarm);
    (void)alarm(SEED_SECONDS_MAX);
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: usher-sim [--seed N] [--first N] [--seeds N] [--seconds N] "
                          "[--steps N] [--nodes N] [--calm] [--verbose]\n");
    return 2;
}

static int parse(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            o->verbose = true;
            continue;
        }
        if (strcmp(argv[i], "--calm") == 0) {
            o->calm = true;
            continue;
        }
        char *end = NULL;
        uint64_t v = i + 1 < argc ? strtoull(argv[i + 1], &end, 10) : 0;
        if (end == NULL || end == argv[i + 1] || *end != 0) {
            return usage();
        }
        if (strcmp(argv[i], "--seed") == 0) {
            o->first = v;
            o->seeds = 1;
            o->verbose = true;
        } else if (strcmp(argv[i], "--first") == 0) {
            o->first = v;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            o->seeds = v;
        } else if (strcmp(argv[i], "--seconds") == 0) {
            o->seconds = v;
        } else if (strcmp(argv[i], "--steps") == 0) {
            o->steps = v;
        } else if (strcmp(argv[i], "--nodes") == 0 && v >= 1 && v <= WORLD_NODES_MAX) {
            o->nodes = (unsigned)v;
        } else {
            return usage();
        }
        i++;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = { .first = 1, .steps = 600 };
    if (parse(argc, argv, &o) != 0) {
        return 2;
    }
    if (o.seeds == 0) {
        o.seeds = o.seconds > 0 ? UINT64_MAX - o.first : 20;
    }
    uint64_t start = wall_s(), failed = 0, ran = 0, twice = 0;
    struct outcome sum = { 0 };
    for (uint64_t seed = o.first; seed - o.first < o.seeds; seed++) {
        if (o.seconds > 0 && ran > 0 && wall_s() - start >= o.seconds) {
            break;
        }
        watch_seed(seed);
        struct outcome r = run_seed(seed, &o);
        if (seed % 10 == 0 && r.violations == 0) {
            struct outcome again = run_seed(seed, &o);
            twice++;
            if (again.hash != r.hash) {
                (void)fprintf(stderr, "seed %" PRIu64 ": two runs differ\n", seed);
                r.violations++;
            }
        }
        ran++;
        failed += r.violations > 0;
        sum.granted += r.granted;
        sum.refused += r.refused;
        sum.reads += r.reads;
        sum.sends += r.sends;
        sum.commits += r.commits;
        sum.virtual_ms += r.virtual_ms;
    }
    (void)printf("%" PRIu64 " seeds, %" PRIu64 " failed; %" PRIu64 " run twice; %" PRIu64
                 " granted, %" PRIu64 " refused, %" PRIu64 " reads checked, %" PRIu64
                 " sends, %" PRIu64 " commits, %" PRIu64 " virtual seconds\n",
                 ran, failed, twice, sum.granted, sum.refused, sum.reads, sum.sends, sum.commits,
                 sum.virtual_ms / 1000);
    return failed > 0 ? 1 : 0;
}
