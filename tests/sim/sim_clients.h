/* Clients of a simulated cluster, and what they know: every request with when it was asked
 * and answered. Afterwards the history is held against the rules: no seat sold twice, no
 * answer lost, no effect twice, no refusal and no read that the truth does not bear out. */
#ifndef USHER_TESTS_SIM_SIM_CLIENTS_H
#define USHER_TESTS_SIM_SIM_CLIENTS_H

#include "sim_world.h"

struct sim_clients;

struct sim_clients *clients_new(struct sim_world *w, unsigned clients, unsigned rows,
                                unsigned seats);
void clients_free(struct sim_clients *c);
/* Makes the event; false when that did not succeed within a minute. */
bool clients_prepare(struct sim_clients *c);
/* Sends, sends again, and looks at answers; call between steps of the world. */
void clients_turn(struct sim_clients *c);
/* No new requests from now on; true once all have their answer. */
bool clients_finish(struct sim_clients *c);
/* The world has settled, on all nodes the same state: is it the one the clients know? */
void clients_check(struct sim_clients *c);

struct clients_numbers {
    uint64_t granted, refused, reads, sends, orders_live;
};
struct clients_numbers clients_numbers(const struct sim_clients *c);

#endif
