/* See sim_world.h. */
#include "sim_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "sim_frames.h"
#include "sim_oracle.h"

/* More of one seed say nothing new. */
#define VIOLATIONS_SHOWN 10

void world_violation(struct sim_world *w, const char *fmt, ...)
{
    if (++w->violations > VIOLATIONS_SHOWN || w->quiet) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    (void)fprintf(stderr, "seed %llu, %llu ms: ", (unsigned long long)w->seed,
                  (unsigned long long)sim_now(w->sim));
    (void)vfprintf(stderr, fmt, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

static void on_log(void *arg, enum log_level level, const char *module, const char *text)
{
    struct sim_world *w = arg;
    (void)level;
    if (w->verbose) {
        (void)fprintf(stderr, "%8llu %s: %s\n", (unsigned long long)sim_now(w->sim), module, text);
    }
}

/* Something was wrong with its disk in this life. */
static bool excused(const struct sim_node *n)
{
    return n->full || n->rotten || sim_disk_faults(n->env) != n->faults_before;
}

static void on_fatal(void *arg, const struct error *e, bool stop_process)
{
    struct sim_node *n = arg;
    if (sim_is_ghost(n->env)) {
        return;
    }
    if (!excused(n) && !(n->touched && e->code == ERR_NOTREADY)) {
        world_violation(n->w, "%s gives up%s: %s", n->address, stop_process ? "" : " serving",
                        e->message);
    }
    n->fatal = true;
    n->why = *e;
}

static void on_committed(void *arg, uint64_t index, uint64_t term, struct span entry, bool mine)
{
    struct sim_node *n = arg;
    (void)mine;
    if (sim_is_ghost(n->env)) {
        return;
    }
    n->w->commits++;
    /* With later groups in flight the store is ahead of this entry. */
    struct store *s = cluster_store(n->cluster);
    unsigned ahead = entry.len > 0 ? 1 : 0;
    uint64_t digest = store_groups_in_flight(s) == ahead ? store_digest(s) : 0;
    oracle_committed(n->w->oracle, n->address, index, term, entry, digest);
}

static void on_restored(void *arg, struct store *store)
{
    struct sim_node *n = arg;
    struct cluster_status s;
    (void)store;
    cluster_status(n->cluster, &s);
    sim_count(n->w->sim, SIM_N_INSTALL);
    if (s.snapshot_index <= n->installed) {
        world_violation(n->w, "%s installs the snapshot of entry %llu again", n->address,
                        (unsigned long long)s.snapshot_index);
    }
    n->installed = s.snapshot_index;
}

static void on_accept(void *arg, struct env_stream *stream)
{
    struct sim_node *n = arg;
    if (n->running) {
        cluster_accept(n->cluster, stream);
    } else {
        n->env->ops->stream_close(stream);
    }
}

static const char policy_text[] =
    "local rules = require 'usher.rules'\n"
    "return policy { name = 'simulator', hold_ttl = '10m', hold_max = '2h',\n"
    "    rules = { rules.max_per_customer(6) } }\n";

void world_init(struct sim_world *w, uint64_t seed, unsigned founders, unsigned spares,
                bool verbose)
{
    static const char *const names[WORLD_NODES_MAX] = { "a:1", "b:1", "c:1", "d:1", "e:1",
                                                        "f:1", "g:1", "h:1", "i:1" };
    memset(w, 0, sizeof *w);
    w->sim = sim_new(seed);
    w->seed = seed;
    w->founders = founders;
    w->count = founders + spares;
    w->verbose = verbose;
    w->segment_bytes = 256u << 10;
    buf_init(&w->policy);
    policy_bundle_begin(&w->policy);
    policy_bundle_add(&w->policy, span_of("policy.lua"), span_of(policy_text));
    log_set_sink(on_log, w);
    ASSERT(w->count <= WORLD_NODES_MAX);
    for (unsigned i = 0; i < w->count; i++) {
        w->nodes[i].w = w;
        w->nodes[i].address = names[i];
        for (unsigned k = 0; k < founders; k++) {
            w->nodes[i].list[k] = names[k];
        }
        if (i >= founders) {
            w->nodes[i].list[founders] = names[i];
        }
    }
}

static int start_cluster(struct sim_node *n, struct error *e)
{
    char dir[32];
    (void)snprintf(dir, sizeof dir, "/data/%c", n->address[0]);
    struct cluster_options co = { .dir = dir,
                                  .address = n->address,
                                  .nodes = n->list,
                                  .secret = span_of("the simulator's secret"),
                                  .version = 1,
                                  .election_timeout_ms = n->w->election_ms,
                                  .snapshot_bytes = n->w->snapshot_bytes,
                                  .segment_bytes = n->w->segment_bytes,
                                  .reserve_bytes = 64u << 10,
                                  .arg = n->service };
    service_cluster_events(&co.on);
    return cluster_start(n->env, &co, &n->cluster, e);
}

static void free_service(struct sim_node *n)
{
    service_free(n->service);
    policy_free(n->policy);
    registry_free(n->registry);
}

void world_start(struct sim_node *n)
{
    struct error e = { 0 };
    n->env = sim_env(n->w->sim, n->address);
    sim_crash_at(n->env, n->arm_point, n->arm_nth, n->arm_how);
    n->arm_nth = n->installed = 0;
    n->stopped = n->paused = n->fatal = n->unwell = false;
    n->faults_before = sim_disk_faults(n->env);
    n->registry = registry_new();
    struct policy_options po = { .seed = { sim_rand(n->w->sim, UINT32_MAX),
                                           sim_rand(n->w->sim, UINT32_MAX) } };
    int rv = policy_new(&po, n->registry, &n->policy, &e);
    ASSERT(rv == 0);
    struct service_options so = {
        .env = n->env,
        .policy = n->policy,
        .registry = n->registry,
        .first_policy = span_make((const char *)n->w->policy.data, n->w->policy.len),
    };
    rv = service_new(&so, &n->service, &e);
    ASSERT(rv == 0);
    n->events = (struct service_events){ .committed = on_committed,
                                         .restored = on_restored,
                                         .fatal = on_fatal };
    service_listen(n->service, &n->events, n);
    if (start_cluster(n, &e) != 0) {
        /* A fault asked for earlier may strike in the middle of the recovery. */
        if (!excused(n) && !sim_is_ghost(n->env)) {
            world_violation(n->w, "%s does not start: %s", n->address, e.message);
        }
        n->unwell = true;
        n->why = e;
        free_service(n);
        sim_crash(n->env, SIM_KILL);
        return;
    }
    service_attach(n->service, n->cluster);
    n->running = true;
    sim_listen(n->env, on_accept, n);
}

void world_pause(struct sim_node *n)
{
    if (n->running && !n->paused) {
        sim_count(n->w->sim, SIM_N_PAUSE);
        sim_pause(n->env);
        n->paused = true;
    }
}

void world_resume(struct sim_node *n)
{
    if (n->paused) {
        sim_resume(n->env);
        n->paused = false;
    }
}

static void on_stopped(void *arg) { ((struct sim_node *)arg)->stopped = true; }
static bool is_stopped(void *arg) { return ((struct sim_node *)arg)->stopped; }

void world_crash(struct sim_node *n, enum sim_crash how)
{
    if (!n->running) {
        return;
    }
    world_resume(n);
    sim_crash(n->env, how);
    n->running = false;
    cluster_stop(n->cluster, on_stopped, n);
    if (!sim_run_until(n->w->sim, 30000, is_stopped, n)) {
        world_violation(n->w, "the ghost of %s does not come to rest", n->address);
        return; /* its memory is lost, which the leak check will say */
    }
    free_service(n);
}

void world_bury_failed(struct sim_world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        struct sim_node *n = &w->nodes[i];
        if (n->running && (n->fatal || sim_is_ghost(n->env))) {
            /* The kernel that reported the error is not to be trusted either: after a failed
             * sync the page cache holds what the disk does not. */
            world_crash(n, SIM_POWER_LOSS);
        }
    }
}

void world_free(struct sim_world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        world_crash(&w->nodes[i], SIM_KILL);
    }
    frames_free();
    sim_free(w->sim);
    buf_free(&w->policy);
    log_set_sink(NULL, NULL);
}

struct sim_node *world_random(struct sim_world *w) { return &w->nodes[sim_rand(w->sim, w->count)]; }

struct sim_node *world_leader(struct sim_world *w)
{
    struct sim_node *best = NULL;
    uint64_t term = 0;
    for (unsigned i = 0; i < w->count; i++) {
        struct sim_node *n = &w->nodes[i];
        struct cluster_status s;
        if (!n->running || n->paused) {
            continue;
        }
        cluster_status(n->cluster, &s);
        if (s.role == ROLE_LEADER && s.ready && s.term > term) {
            best = n;
            term = s.term;
        }
    }
    return best;
}

unsigned world_running(const struct sim_world *w)
{
    unsigned n = 0;
    for (unsigned i = 0; i < w->count; i++) {
        n += w->nodes[i].running && !w->nodes[i].paused;
    }
    return n;
}

void world_describe(struct sim_world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        const struct sim_node *n = &w->nodes[i];
        struct cluster_status s;
        if (!n->running) {
            (void)fprintf(stderr, "    %s: not running %s\n", n->address, n->why.message);
            continue;
        }
        cluster_status(n->cluster, &s);
        (void)fprintf(stderr,
                      "    %s: %s%s of term %llu, leader '%s', commit %llu applied %llu last %llu "
                      "members %zu%s%s%s\n",
                      n->address, cluster_role_name(s.role), s.ready ? " (ready)" : "",
                      (unsigned long long)s.term, s.leader, (unsigned long long)s.commit,
                      (unsigned long long)s.applied, (unsigned long long)s.last, s.members_count,
                      n->paused ? " paused" : "", n->emptied ? " emptied" : "", s.waiting);
        for (size_t k = 0; k < s.members_count; k++) {
            (void)fprintf(stderr, "%s%s%s", k == 0 ? "        members " : " ", s.members[k].address,
                          s.members[k].voter ? "" : "(learner)");
        }
        (void)fputs(s.members_count > 0 ? "\n" : "", stderr);
    }
}

bool world_belongs(struct sim_world *w, const struct sim_node *n)
{
    const struct sim_node *l = world_leader(w);
    struct cluster_status s;
    if (l == NULL) {
        return true;
    }
    cluster_status(l->cluster, &s);
    for (size_t i = 0; i < s.members_count; i++) {
        if (strcmp(s.members[i].address, n->address) == 0) {
            return true;
        }
    }
    return false;
}

bool world_settled(void *arg)
{
    struct sim_world *w = arg;
    struct sim_node *l = world_leader(w);
    struct cluster_status s, other;
    if (l == NULL) {
        return false;
    }
    cluster_status(l->cluster, &s);
    if (s.applied != s.last || s.entries_in_flight != 0) {
        return false;
    }
    for (unsigned i = 0; i < w->count; i++) {
        struct sim_node *n = &w->nodes[i];
        if (!world_belongs(w, n)) {
            continue;
        }
        if (!n->running || n->paused) {
            return false;
        }
        cluster_status(n->cluster, &other);
        if (other.applied != s.applied) {
            return false;
        }
    }
    return true;
}
