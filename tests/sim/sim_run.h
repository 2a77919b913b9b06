/* One seed from founding to the last check, and the sums over many. */
#ifndef USHER_TESTS_SIM_SIM_RUN_H
#define USHER_TESTS_SIM_SIM_RUN_H

#include "sim_clients.h"
#include "sim_faults.h"

struct run_options {
    unsigned nodes;       /* 0: by seed */
    uint64_t steps;       /* 0: by seed */
    uint64_t quiet_ms;    /* at the end, with three nodes; fewer with more of them; 0: by seed */
    unsigned election_ms; /* of all nodes; 0: the default */
    bool verbose, calm, silent;
};

struct totals {
    uint64_t seeds, failed, twice, first_failed, by_nodes[WORLD_NODES_MAX + 1];
    uint64_t ms_by_nodes[WORLD_NODES_MAX + 1]; /* simulated, by the number of founders */
    uint64_t simulated_ms, quiet_ms, commits, heals, heal_ms_sum, heal_ms_max;
    struct clients_numbers clients;
    uint64_t counts[SIM_COUNTS];
    uint64_t passed[SIM_POINTS], crashed[SIM_POINTS];
    uint64_t cpu_us;
};
void totals_add(struct totals *to, const struct totals *from);

/* Runs it, adds to the totals, and returns the trace's hash; *violations says how it went. */
uint64_t run_seed(uint64_t seed, const struct run_options *o, struct totals *t,
                  unsigned *violations);

/* sim_report.c */
void report(const struct totals *t, uint64_t wall_ms, unsigned jobs, bool table);

#endif
