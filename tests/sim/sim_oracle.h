/* What the log says, kept beside the nodes by somebody who trusts none of them.
 *
 * Every committed entry that any node reports is compared with what others reported for the
 * same index, and at its first sight replayed, in log order, into a model of seats and
 * orders as a beginner would write it. So for each index there is one truth, with which
 * answers, refusals, local reads and the nodes' stores are compared.
 *
 *   O1 at one index all nodes commit the same entry, and hold the same digest after it
 *   O2 the log's time never goes back
 *   O3 a seat is taken only while it is free, given up only by the order that has it
 *   O4 nothing is confirmed, extended or moved past its time, nothing expires before it
 *   O5 a request id has one transaction in the whole log
 *   O6 nobody holds more places at an event than the policy's limit */
#ifndef USHER_TESTS_SIM_SIM_ORACLE_H
#define USHER_TESTS_SIM_SIM_ORACLE_H

#include "sim_world.h"

/* The houses: every event has the same rows. */
#define ORACLE_EVENTS 2
#define ORACLE_ROWS   3
#define ORACLE_ROW    8
#define EVENT_SEATS   (ORACLE_ROWS * ORACLE_ROW)
#define ORACLE_SEATS  (ORACLE_EVENTS * EVENT_SEATS) /* seat = event * EVENT_SEATS + number */
/* max_per_customer of the simulator's policy, per event. */
#define ORACLE_LIMIT  6
#define PLACES_MAX    4

struct oracle;

struct oracle_order {
    char id[40], customer[24];
    int status; /* enum order_status */
    uint64_t expires_ms;
    unsigned seats[PLACES_MAX], seats_count;
    uint64_t ended_at_ms; /* simulated time at which its end was first seen committed */
    struct oracle_order *next;
};

struct oracle_result {
    uint64_t index;
    int code;
    char order[40];
};

/* A transaction of the log, told before its effects are in the model. */
struct oracle_tx {
    uint64_t index, time_ms;
    int code;
    uint64_t request; /* the number in "rNUMBER" */
};
typedef void (*oracle_tx_cb)(void *arg, const struct oracle_tx *tx);

struct oracle *oracle_new(struct sim_world *w, oracle_tx_cb cb, void *arg);
void oracle_free(struct oracle *o);
/* A node has committed this; digest 0: not known. An entry without bytes is a barrier. */
void oracle_committed(struct oracle *o, const char *node, uint64_t index, uint64_t term,
                      struct span entry, uint64_t digest);

uint64_t
oracle_index(const struct oracle *o); /* newest index anybody has committed, barriers apart */
uint64_t oracle_entries(const struct oracle *o); /* entries replayed */
uint64_t oracle_time_ms(const struct oracle *o);
const struct oracle_order *oracle_orders(const struct oracle *o);
const struct oracle_order *oracle_order(const struct oracle *o, const char *id);
const struct oracle_order *oracle_holder(const struct oracle *o, unsigned seat);
unsigned oracle_customer(const struct oracle *o, const char *customer, unsigned event);
/* Status of a seat (enum seat_status) after the entry `index`. */
int oracle_seat_at(const struct oracle *o, unsigned seat, uint64_t index);
const struct oracle_result *oracle_result(const struct oracle *o, uint64_t request);
void oracle_seat_label(unsigned seat, char out[16]); /* within its event */

#endif
