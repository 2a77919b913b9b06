/* See sim_drill.h. White box: it looks at how often the core has asked, which no client can see. */
#include "sim_drill.h"

#include "cluster/internal.h"

#define CUT_MS_MAX     60000 /* until the log is cut behind the follower: else there is no drill */
#define BACK_MS_MAX    60000
#define SLOW_MIN_US    100000
#define SLOW_MAX_US    200000
#define FAST_MIN_US    30
#define FAST_MAX_US    800
/* The core asks once; again after a late answer, or when it takes the follower for gone. Without
 * the remedy it asks at every heartbeat of a transfer of a second: some twenty times. */
#define ASKED_MORE_MAX 8

static bool is_cut(const struct sim_world *w, uint64_t index)
{
    const struct sim_node *l = world_leader((struct sim_world *)w);
    return l != NULL && l->cluster->log.first > index + 1;
}

static bool push_log_past(struct sim_world *w, struct sim_clients *clients, uint64_t index)
{
    uint64_t since = sim_now(w->sim);
    clients_go_on(clients);
    while (!is_cut(w, index) && !clients_full(clients) && sim_now(w->sim) - since < CUT_MS_MAX) {
        clients_turn(clients);
        sim_run(w->sim, 20);
    }
    while (!clients_finish(clients) && sim_now(w->sim) - since < 2 * CUT_MS_MAX) {
        sim_run(w->sim, 20);
    }
    return is_cut(w, index);
}

void drill_slow_snapshot(struct sim_world *w, struct sim_clients *clients)
{
    struct sim_node *l = world_leader(w);
    if (l == NULL) {
        return;
    }
    struct sim_node *away = l == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
    uint64_t index = log_cache_last(&away->cluster->log);
    world_crash(away, SIM_KILL);
    bool cut = push_log_past(w, clients, index);
    l = world_leader(w);
    uint64_t term = l != NULL ? l->cluster->term_seen : 0;
    uint64_t asked = l != NULL ? l->cluster->installs_asked : 0;
    uint64_t sent = l != NULL ? l->cluster->transfers : 0;
    sim_set_job_latency(w->sim, SLOW_MIN_US, SLOW_MAX_US);
    world_start(away);
    (void)sim_run_until(w->sim, BACK_MS_MAX, world_settled, w); /* the run's end judges it */
    sim_set_job_latency(w->sim, FAST_MIN_US, FAST_MAX_US);
    if (!cut || world_leader(w) != l || l->cluster->term_seen != term) {
        return;
    }
    asked = l->cluster->installs_asked - asked;
    sent = l->cluster->transfers - sent;
    if (sent > 0 && asked > sent + ASKED_MORE_MAX) {
        world_violation(w, "%s asked %llu times for %llu snapshots", l->address,
                        (unsigned long long)asked, (unsigned long long)sent);
    }
}
