/* What chance brings about too rarely in a simulated cluster, done on purpose once all is well. */
#ifndef USHER_TESTS_SIM_SIM_DRILL_H
#define USHER_TESTS_SIM_SIM_DRILL_H

#include "sim_clients.h"
#include "sim_members.h"

/* A follower is away until the leader's log no longer reaches back to it, and comes back while
 * every disk is slow: the snapshot travels through many heartbeats. ENGINE trap 3: the core asks
 * for it now and then, not at every heartbeat. To be followed by the run's own end. */
void drill_slow_snapshot(struct sim_world *w, struct sim_clients *clients);

/* All members leave but one, another joins, and while it is not a voter yet the power of the only
 * one fails again and again with entries sent and not written. ENGINE trap 2: its next life must
 * not put others in their place under the same term. Followed by the run's own end likewise. */
void drill_sole_voter(struct sim_world *w, struct sim_clients *clients, struct members *m);

#endif
