/* Whole nodes (service, policy VM, store, cluster, journal, transport) on the simulated
 * env, for the simulator program. One world per seed. */
#ifndef USHER_TESTS_SIM_SIM_WORLD_H
#define USHER_TESTS_SIM_SIM_WORLD_H

#include "env_sim.h"
#include "service/service.h"

#define WORLD_NODES_MAX 9 /* seven voters, and two addresses to grow to */

struct sim_world;
struct oracle;

struct sim_node {
    struct sim_world *w;
    const char *address;
    const char *list[WORLD_NODES_MAX + 1];
    struct env *env;
    struct registry *registry;
    struct policy *policy;
    struct service *service;
    struct cluster *cluster;
    struct service_events events;
    bool running, paused, stopped;
    uint64_t faults_before; /* disk faults before this life: with none since, no excuse */
    bool full;              /* its disk is being kept full */
    bool fatal;
    bool touched; /* asked to join, leave or be replaced: it may find itself removed */
    bool emptied; /* its disk was: its old identity is to be replaced */
    bool unwell;  /* did not start for want of a good disk */
    bool rotten;  /* a bit of its disk is flipped */
    struct sim_rot rot;
    unsigned arm_point; /* where its next life crashes, the arm_nth time */
    uint64_t arm_nth;
    enum sim_crash arm_how;
    uint64_t installed; /* index of the snapshot that this life has installed last */
    struct error why;
};

struct sim_world {
    struct sim *sim;
    uint64_t seed;
    struct sim_node nodes[WORLD_NODES_MAX];
    unsigned count, founders; /* the others, behind them, are to be added */
    uint64_t snapshot_bytes, segment_bytes;
    unsigned election_ms;
    struct buf policy;
    struct oracle *oracle; /* the clients'; told about every commit */
    uint64_t commits;      /* groups seen committed, over all nodes */
    bool verbose, quiet;
    unsigned violations;
};

/* Says what must never happen; the run goes on so that all of it is seen. */
void world_violation(struct sim_world *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

void world_init(struct sim_world *w, uint64_t seed, unsigned founders, unsigned spares,
                bool verbose);
void world_free(struct sim_world *w);
void world_start(struct sim_node *n);
/* A crash, and the burial of what the process held in memory. */
void world_crash(struct sim_node *n, enum sim_crash how);
void world_pause(struct sim_node *n);
void world_resume(struct sim_node *n);
/* Nodes that gave up after a disk fault end as their process would. */
void world_bury_failed(struct sim_world *w);

struct sim_node *world_random(struct sim_world *w);
struct sim_node *world_leader(struct sim_world *w); /* ready; NULL when there is none */
unsigned world_running(const struct sim_world *w);  /* neither down nor paused */
/* One line a node, to stderr: what a failed seed looked like at its end. */
void world_describe(struct sim_world *w);
/* Whether the leader has it among its members; everybody, while there is none. */
bool world_belongs(struct sim_world *w, const struct sim_node *n);
/* All members run and have applied the leader's whole log. */
bool world_settled(void *w);

#endif
