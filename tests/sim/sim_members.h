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
/* All is well: nothing is open any more, and no member has lost its disk. */
bool members_finished(struct members *m);

#endif
