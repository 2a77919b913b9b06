/* Single free seats: the one definition that the orphan rule, tx:near and tx:best share.
 *
 * A free seat is single when nobody else could sit beside it: on either side there is a seat
 * that is not free, an aisle or the row's end. Single between two seats is worse than single
 * at an end, which some houses allow. */
#ifndef USHER_POLICY_SINGLE_H
#define USHER_POLICY_SINGLE_H

#include "store/chart.h"

enum single { SINGLE_NOT, SINGLE_AT_END, SINGLE_INSIDE };

/* Is this seat of the row free, once the request is granted? */
typedef bool (*single_open)(const void *arg, uint32_t seat);

static inline bool single_aisle(const struct chart *c, uint32_t left)
{
    return (chart_seat_flags(c, left) & CHART_AISLE_AFTER) != 0;
}

/* Of a seat that is free. */
static inline enum single single_seat(const struct chart *c, const struct chart_row *row,
                                      uint32_t seat, single_open open, const void *arg)
{
    bool first = seat == row->first || single_aisle(c, seat - 1);
    bool last = seat + 1 == row->first + row->count || single_aisle(c, seat);
    if ((!first && open(arg, seat - 1)) || (!last && open(arg, seat + 1))) {
        return SINGLE_NOT;
    }
    return first || last ? SINGLE_AT_END : SINGLE_INSIDE;
}

/* The worse of what the block [a, b) of one row would leave on its two sides. */
static inline enum single single_beside(const struct chart *c, const struct chart_row *row,
                                        uint32_t a, uint32_t b, single_open open, const void *arg)
{
    uint32_t end = row->first + row->count;
    enum single worst = SINGLE_NOT;
    if (a > row->first && !single_aisle(c, a - 1) && open(arg, a - 1)) {
        bool edge = a - 1 == row->first || single_aisle(c, a - 2);
        worst = edge ? SINGLE_AT_END : open(arg, a - 2) ? SINGLE_NOT : SINGLE_INSIDE;
    }
    if (b < end && !single_aisle(c, b - 1) && open(arg, b)) {
        bool edge = b + 1 == end || single_aisle(c, b);
        enum single right = edge ? SINGLE_AT_END : open(arg, b + 1) ? SINGLE_NOT : SINGLE_INSIDE;
        worst = right > worst ? right : worst;
    }
    return worst;
}

#endif
