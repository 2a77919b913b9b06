/* Inside of tx:best: the search's state, shared by best.c (the call, judging) and
 * best_search.c (which blocks there are, in which order). */
#ifndef USHER_POLICY_BEST_H
#define USHER_POLICY_BEST_H

#include "policy/best_order.h"
#include "policy/vm.h"

#define BEST_EVENTS_MAX 32 /* legs of a journey: the same seats on all */

enum { SEAT_OK = 1, SEAT_OPEN = 2, SEAT_ASKED = 4 }; /* eligible; free at all; rules asked */

struct search {
    lua_State *L;
    const struct chart *chart;
    const struct event *event[BEST_EVENTS_MAX];
    uint32_t events, count;
    uint32_t shown;    /* events whose seats are returned: 1, or all when given as a list */
    uint8_t *seat;     /* flags above */
    bool seat_rules;   /* the ruleset has `seat` functions */
    bool judged;       /* there are rules at all */
    bool priced;       /* there is a price function, which may deny */
    bool special;      /* this pass takes wheelchair and companion seats too */
    bool special_seen; /* there were some */
    bool split;        /* the party may be parted */
    bool single_seen;  /* a block was left out that would leave a single seat */
    int ask;           /* stack index of the ask for seat rules */
    int score, scored; /* stack indices: function, list of {score, bytes of a block}; 0: none */
    struct span customer;
    uint64_t until_ms;           /* a hold's end; 0: the seats are for a booking */
    enum verb verb;              /* what the rules judge: a take, or the reseat of an order */
    int whose;                   /* stack index of the order that is reseated; 0: none known */
    const struct places *leaves; /* what it gives up; NULL: nothing */
    const struct places *before; /* what it has; NULL: no order is known */
    const struct places *stays;  /* what it keeps beside the block; NULL: nothing */
    unsigned tried, most;        /* blocks: so far, and at most */
    unsigned asked, asks;        /* seats put before `seat` rules: so far, and at most */
    uint32_t *block;             /* the candidate: `count` seats */
    bool found;
    bool limit;
    int refusals;            /* stack index: {rule name = how many blocks it refused} */
    int seat_refusals;       /* likewise, of rules that look at single seats: how many of those */
    int denial;              /* stack index: of the first block that was refused */
    unsigned refused;        /* blocks */
    struct best_order order; /* BEST_FRONT: rows are looked at one by one */
    struct best_block *heap; /* of the other kinds: the blocks of one tier */
};

/* Puts the candidate s->block before the rules, or the score function; true ends the search. */
bool best_try(struct search *s);
/* At the end of a tier, which `ended` the search or not: with a score function its candidates are
 * judged now, the highest first. True ends the search. */
bool best_settle(struct search *s, bool ended);
/* Counts a seat that the rule refused whose name is on top. [-0, +0] */
void best_count_seat(const struct search *s);
/* Goes through the tiers until a candidate ends the search. orphans: -1 avoid single seats while
 * possible, 0 never leave one, 1 do not mind. */
bool best_search(struct search *s, int orphans);

#endif
