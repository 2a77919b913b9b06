/* Clients of a simulated cluster, and what they know: every request with when it was asked
 * and answered. What they are told is held against the log at once (sim_history.c), and the
 * whole history at the end: no seat sold twice, no answer lost, no effect twice, no refusal
 * and no read that the log does not bear out, and a linearizable whole. */
#ifndef USHER_TESTS_SIM_SIM_CLIENTS_H
#define USHER_TESTS_SIM_SIM_CLIENTS_H

#include "sim_world.h"

struct sim_clients;

struct sim_clients *clients_new(struct sim_world *w, unsigned clients, uint64_t think_ms);
void clients_free(struct sim_clients *c);
/* Sends, sends again, and looks at answers; call between steps of the world. */
void clients_turn(struct sim_clients *c);
/* No new requests from now on; true once all have their answer. */
bool clients_finish(struct sim_clients *c);
void clients_go_on(struct sim_clients *c); /* after clients_finish: new requests again */
/* Whether a request that was asked at this time or later has been granted or refused. */
bool clients_served_since(const struct sim_clients *c, uint64_t ms);
/* When the first such request was sent to a node that was not paused; UINT64_MAX: none was. */
uint64_t clients_heard_ms(const struct sim_clients *c, uint64_t ms);
bool clients_full(const struct sim_clients *c); /* no number left for another request */
/* The world has settled, on all nodes the same state: is it the one the clients know? */
void clients_check(struct sim_clients *c);

struct clients_numbers {
    uint64_t granted, refused, expired, reads, local_reads, sends, twins, orders_live, entries,
        seats_searched, seats_undecided;
};
struct clients_numbers clients_numbers(const struct sim_clients *c);

#endif
