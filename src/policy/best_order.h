/* In which order tx:best looks at blocks of seats: the shipped scorers (lua/usher/scores.lua),
 * in C because they look at every block of the house. */
#ifndef USHER_POLICY_BEST_ORDER_H
#define USHER_POLICY_BEST_ORDER_H

#include <lua.h>

#include "store/chart.h"

enum best_by {
    BEST_FRONT, /* rows from the front, blocks from the row's middle: the default */
    BEST_BACK,  /* rows from the back */
    BEST_FOCAL, /* nearest to a point */
    BEST_TIGHT  /* in the run where the fewest seats are left over */
};

struct best_order {
    enum best_by by;
    double x, y;
    bool any_x; /* focal: the middle of each row */
};

/* A candidate; lower keys come first. */
struct best_block {
    double key;
    uint64_t then;
    uint32_t seat;
};

/* Order of blocks within a row, lower is better: sum of the distances to the row's middle; then
 * which has the seat nearest to it, the left one first; then the one further right. */
uint64_t best_row_key(const struct chart_row *row, uint32_t start, uint32_t n);
/* Key of the block of n seats from `start` in row number `r`, in a run of `room` free seats. */
void best_key(const struct best_order *o, const struct chart *c, uint32_t r, uint32_t start,
              uint32_t n, uint32_t room, struct best_block *out);
/* A heap of n blocks; pop gives the first one's seat and shrinks it. */
void best_heapify(struct best_block *h, size_t n);
uint32_t best_pop(struct best_block *h, size_t *n);
/* Reads {by = "front|back|focal|tight", x =, y =} at `index`; MAY_RAISE. */
void best_order_read(lua_State *L, int index, struct best_order *out);

/* Where a seat stands: its own coordinates; in a chart without any, its position in the
 * row and the number of its row, both from 1. */
void seat_where(const struct chart *c, uint32_t number, double *x, double *y);

#endif
