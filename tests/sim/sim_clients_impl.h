/* Shared by sim_clients.c (asking) and sim_history.c (judging). */
#ifndef USHER_TESTS_SIM_SIM_CLIENTS_IMPL_H
#define USHER_TESTS_SIM_SIM_CLIENTS_IMPL_H

#include "sim_clients.h"
#include "sim_oracle.h"

#define OP_SEATS_MAX 3
#define WORDS_MAX    12
#define NEVER        UINT64_MAX
#define REQUESTS_MAX 15000

enum op_kind {
    OP_ADD_EVENT,
    OP_BOOK,
    OP_HOLD,
    OP_CONFIRM,
    OP_EXTEND,
    OP_MOVE,
    OP_GIVE_BACK,
    OP_SEATS, /* linearizable seat map of one event */
    OP_LOCAL, /* the same of the node that is asked */
    OP_ORDER  /* one order, linearizable */
};

/* One sending of a request; a request may be on its way through two nodes at once. */
struct sending {
    struct op *op;
    struct request r;
    struct sim_node *node; /* where it is now, NULL between tries */
    struct service *service;
    uint64_t sent_ms;
};

struct op {
    struct sim_clients *all;
    enum op_kind kind;
    uint64_t number; /* of its request: "rNUMBER" */
    unsigned event;  /* of a seat map */
    unsigned seats[OP_SEATS_MAX], seats_count;
    unsigned from; /* move: this seat of the order is left for seats[0] */
    char customer[24];
    struct op *order; /* confirm, extend, move, give back, order: what was granted */

    uint64_t asked_ms, known_ms; /* of the outcome; NEVER while unknown */
    uint64_t asked_index;        /* newest committed index when it was asked */
    int code;                    /* of the outcome */
    bool judged;                 /* sim_history.c has seen the outcome */

    /* Answers. */
    char id[40];                /* of a granted order */
    char status[16];            /* of an order that was asked for */
    int refused_seat;           /* the seat that a refusal names, -1 none */
    uint64_t index;             /* of a seat map */
    uint8_t shown[EVENT_SEATS]; /* its seats, enum seat_status */

    /* A granted order, as its client believes it to be. */
    unsigned has[OP_SEATS_MAX];
    bool booked, given_back, lapsed;

    struct sending sendings[2];
    struct span argv[WORDS_MAX];
    size_t argc;
    char words[240];
    uint64_t again_ms;
    unsigned tries;
    uint64_t heard_ms; /* when it was first sent to a node that was awake; NEVER */
    struct op *next, *next_told;
};

struct client {
    struct op *op;   /* under way */
    struct op *mine; /* an order to do something with, may be NULL */
    uint64_t idle_until_ms;
};

struct sim_clients {
    struct sim_world *w;
    struct oracle *oracle;
    struct client *clients;
    unsigned clients_count;
    uint64_t think_ms;
    struct op *ops, **ops_tail;
    struct op *by_number[REQUESTS_MAX];
    struct op *told;         /* answered in this turn, not judged yet */
    uint64_t number;         /* of requests: ids and customers */
    uint64_t last_served_ms; /* asking time of the newest request with an outcome */
    unsigned events_made;
    bool finishing;
    struct clients_numbers n;
};

static inline bool is_take(const struct op *o) { return o->kind == OP_BOOK || o->kind == OP_HOLD; }
static inline bool is_granted_order(const struct op *o)
{
    return is_take(o) && o->known_ms != NEVER && o->code == 0;
}
static inline bool is_read(const struct op *o) { return o->kind >= OP_SEATS; }

/* sim_history.c */
void history_on_tx(void *arg, const struct oracle_tx *tx);
void history_turn(void *arg); /* judges what was answered in this turn */

#endif
