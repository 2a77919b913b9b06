/* What is done to a simulated cluster, drawn from the seed. */
#ifndef USHER_TESTS_SIM_SIM_FAULTS_H
#define USHER_TESTS_SIM_SIM_FAULTS_H

#include "sim_members.h"

/* The mixture of one seed. Zero is calm. */
struct plan {
    unsigned nodes, clients;
    uint64_t steps, think_ms, step_ms;
    unsigned rate; /* a fault in so many steps; 0 none */
    struct sim_messages messages;
    struct sim_disk_rates disk; /* while a node's disk is bad */
    bool bad_disks, rot, clocks, hours, network, points, members;
    uint64_t quiet_ms; /* nearly nothing happens for so long, in between */
};
struct plan plan_of(uint64_t seed);

struct faults {
    struct sim_world *w;
    const struct plan *p;
    struct sim_node *flap[2]; /* a link that goes up and down */
    bool flap_open, rotten;
    struct members members;
};
void faults_begin(struct faults *f, struct sim_world *w, const struct plan *p);
/* After each step: perhaps one more fault, and nobody is dead for ever. */
void faults_turn(struct faults *f);
/* Starts a node; may give it a point to crash at. */
void faults_start(struct faults *f, struct sim_node *n);
/* No more faults: a majority alone is well again, the others are gone for now; or all. */
void faults_heal_core(struct faults *f);
void faults_heal(struct faults *f);

#endif
