/* An operator who changes the members of a simulated cluster: adds, removes, replaces, also
 * at the same address after its disk was emptied, one change after the other, asking through
 * whichever node is up. */
#ifndef USHER_TESTS_SIM_SIM_MEMBERS_H
#define USHER_TESTS_SIM_SIM_MEMBERS_H

#include "sim_world.h"

struct members {
    struct sim_world *w;
    struct cluster_change change;
    struct cluster_change_state state;
    bool asking;
    uint64_t asked_ms, polled_ms, next_id;
    unsigned asked_again;
};

/* Between steps: goes on with the change that is asked for, or begins one (begin: may it?). */
void members_turn(struct members *m, bool begin);
/* Asks for one change, for a drill; false: there is no node for it, or none to ask. Before one is
 * added, the machines of all who are not members are emptied. */
bool members_ask_add(struct members *m);
bool members_ask_remove(struct members *m); /* one that does not lead */
/* All is well: nothing is open any more, and no member has lost its disk. */
bool members_finished(struct members *m);

#endif
