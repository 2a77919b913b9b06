/* Whole nodes (service, policy VM, store, cluster, journal, transport) on the simulated
 * env, for the simulator program. One world per seed. */
#ifndef USHER_TESTS_SIM_SIM_WORLD_H
#define USHER_TESTS_SIM_SIM_WORLD_H

#include "env_sim.h"
#include "service/service.h"

#define WORLD_NODES_MAX 5

struct sim_world;

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
    bool excused; /* a disk fault was asked for: it may give up, or not start */
    bool fatal;
    struct error why;
};

struct sim_world {
    struct sim *sim;
    uint64_t seed;
    struct sim_node nodes[WORLD_NODES_MAX];
    unsigned count;
    uint64_t snapshot_bytes;
    uint64_t commits; /* groups seen committed, over all nodes */
    bool verbose;
    unsigned violations;
};

/* Says what must never happen; the run goes on so that all of it is seen. */
void world_violation(struct sim_world *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

void world_init(struct sim_world *w, uint64_t seed, unsigned count, bool verbose);
void world_free(struct sim_world *w);
void world_start(struct sim_node *n);
/* A crash, and the burial of what the process held in memory. */
void world_crash(struct sim_node *n, enum sim_crash how);
/* Nodes that gave up after a disk fault end as their process would. */
void world_bury_failed(struct sim_world *w);

struct sim_node *world_random(struct sim_world *w);
struct sim_node *world_leader(struct sim_world *w); /* ready; NULL when there is none */
unsigned world_running(const struct sim_world *w);  /* neither down nor paused */
/* Everybody runs and has applied the leader's whole log. */
bool world_settled(void *w);

#endif
