/* See sim_drill.h. White box: one drill looks at how often the core has asked, which no client can
 * see; what the other brings about is judged by the run's end. */
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
/* The sole voter's power failures, and what a change of members may take. */
#define POWER_LOSSES   6
#define CHANGE_MS_MAX  90000

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

/* The leader's members, and whether all of them vote; 0 without a leader. */
static size_t members_of(struct sim_world *w, bool *all_vote)
{
    struct cluster_status s;
    const struct sim_node *l = world_leader(w);
    if (l == NULL) {
        return 0;
    }
    cluster_status(l->cluster, &s);
    *all_vote = true;
    for (size_t i = 0; i < s.members_count; i++) {
        *all_vote = *all_vote && s.members[i].voter;
    }
    return s.members_count;
}

/* The members leave one by one. False: they do not, for now. */
static bool shrink_to_one(struct sim_world *w, struct members *m)
{
    uint64_t since = sim_now(w->sim);
    bool vote;
    while (m->asking || members_of(w, &vote) != 1) {
        if (sim_now(w->sim) - since > CHANGE_MS_MAX) {
            return false;
        }
        if (!m->asking) {
            (void)members_ask_remove(m);
        }
        members_turn(m, false);
        sim_run(w->sim, 20);
    }
    return true;
}

/* The second member is there, and no voter yet. False: it did not come, or votes already. */
static bool joins(struct sim_world *w, struct members *m)
{
    uint64_t since = sim_now(w->sim);
    bool vote = true;
    while (m->asking && sim_now(w->sim) - since < CHANGE_MS_MAX) {
        if (members_of(w, &vote) == 2) {
            return !vote;
        }
        members_turn(m, false);
        sim_run(w->sim, 1);
    }
    return false;
}

void drill_sole_voter(struct sim_world *w, struct sim_clients *clients, struct members *m)
{
    if (clients_full(clients) || !shrink_to_one(w, m)) {
        return;
    }
    struct sim_node *sole = world_leader(w);
    clients_go_on(clients);
    bool asked = members_ask_add(m);
    for (int i = 0; asked && i < POWER_LOSSES && joins(w, m); i++) {
        sim_set_job_latency(w->sim, SLOW_MIN_US, SLOW_MAX_US);
        for (uint64_t k = 1 + sim_rand(w->sim, 40); k > 0; k--) {
            clients_turn(clients);
            members_turn(m, false);
            sim_run(w->sim, 10);
        }
        world_crash(sole, SIM_POWER_LOSS);
        sim_set_job_latency(w->sim, FAST_MIN_US, FAST_MAX_US);
        world_start(sole);
    }
}
