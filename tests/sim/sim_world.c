/* See sim_world.h. */
#include "sim_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"

/* More of one seed say nothing new. */
#define VIOLATIONS_SHOWN 10

void world_violation(struct sim_world *w, const char *fmt, ...)
{
    if (++w->violations > VIOLATIONS_SHOWN) {
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

static void on_fatal(void *arg, const struct error *e, bool stop_process)
{
    struct sim_node *n = arg;
    if (sim_is_ghost(n->env)) {
        return;
    }
    if (!n->excused) {
        world_violation(n->w, "%s gives up%s: %s", n->address, stop_process ? "" : " serving",
                        e->message);
    }
    n->fatal = true;
    n->why = *e;
}

static void on_committed(void *arg, uint64_t index, uint64_t term, struct span entry, bool mine)
{
    struct sim_node *n = arg;
    (void)index, (void)term, (void)entry, (void)mine;
    n->w->commits++;
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

void world_init(struct sim_world *w, uint64_t seed, unsigned count, bool verbose)
{
    static const char *const names[WORLD_NODES_MAX] = { "a:1", "b:1", "c:1", "d:1", "e:1" };
    memset(w, 0, sizeof *w);
    w->sim = sim_new(seed);
    w->seed = seed;
    w->count = count;
    w->verbose = verbose;
    log_set_sink(on_log, w);
    for (unsigned i = 0; i < count; i++) {
        w->nodes[i].w = w;
        w->nodes[i].address = names[i];
        for (unsigned k = 0; k < count; k++) {
            w->nodes[i].list[k] = names[k];
        }
    }
}

void world_start(struct sim_node *n)
{
    struct error e = { 0 };
    char dir[32];
    (void)snprintf(dir, sizeof dir, "/data/%c", n->address[0]);
    n->env = sim_env(n->w->sim, n->address);
    n->stopped = n->paused = n->fatal = false;
    n->registry = registry_new();
    struct policy_options po = { .seed = { sim_rand(n->w->sim, UINT32_MAX),
                                           sim_rand(n->w->sim, UINT32_MAX) } };
    int rv = policy_new(&po, n->registry, &n->policy, &e);
    ASSERT(rv == 0);
    struct service_options so = { .env = n->env, .policy = n->policy, .registry = n->registry };
    rv = service_new(&so, &n->service, &e);
    ASSERT(rv == 0);
    n->events = (struct service_events){ .committed = on_committed, .fatal = on_fatal };
    service_listen(n->service, &n->events, n);
    struct cluster_options co = { .dir = dir,
                                  .address = n->address,
                                  .nodes = n->list,
                                  .secret = span_of("the simulator's secret"),
                                  .version = 1,
                                  .snapshot_bytes = n->w->snapshot_bytes,
                                  .arg = n->service };
    service_cluster_events(&co.on);
    if (cluster_start(n->env, &co, &n->cluster, &e) != 0) {
        /* A fault asked for earlier may strike in the middle of the recovery. */
        if (!n->excused) {
            world_violation(n->w, "%s does not start: %s", n->address, e.message);
        }
        service_free(n->service);
        policy_free(n->policy);
        registry_free(n->registry);
        sim_crash(n->env, SIM_KILL);
        return;
    }
    service_attach(n->service, n->cluster);
    n->running = true;
    sim_listen(n->env, on_accept, n);
}

static void on_stopped(void *arg) { ((struct sim_node *)arg)->stopped = true; }
static bool is_stopped(void *arg) { return ((struct sim_node *)arg)->stopped; }

void world_crash(struct sim_node *n, enum sim_crash how)
{
    if (!n->running) {
        return;
    }
    if (n->paused) {
        sim_resume(n->env);
        n->paused = false;
    }
    sim_crash(n->env, how);
    n->running = false;
    cluster_stop(n->cluster, on_stopped, n);
    if (!sim_run_until(n->w->sim, 30000, is_stopped, n)) {
        world_violation(n->w, "the ghost of %s does not come to rest", n->address);
        return; /* its memory is lost, which the leak check will say */
    }
    service_free(n->service);
    policy_free(n->policy);
    registry_free(n->registry);
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
    sim_free(w->sim);
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

bool world_settled(void *arg)
{
    struct sim_world *w = arg;
    struct sim_node *l = world_leader(w);
    struct cluster_status s, other;
    if (l == NULL || world_running(w) != w->count) {
        return false;
    }
    cluster_status(l->cluster, &s);
    if (s.applied != s.last || s.entries_in_flight != 0) {
        return false;
    }
    for (unsigned i = 0; i < w->count; i++) {
        cluster_status(w->nodes[i].cluster, &other);
        if (other.applied != s.applied) {
            return false;
        }
    }
    return true;
}
