/* Is the history of one seat linearizable? The search of Wing and Gong ("Testing and
 * verifying concurrent objects", 1993) with Lowe's cache of configurations ("Testing for
 * linearizability", 2017), on a list of calls and returns as Porcupine has it (Athalye,
 * 2017). One seat is one object, so by locality (Herlihy and Wing, 1990) each is searched
 * alone. */
#ifndef USHER_TESTS_SIM_SIM_LINEAR_H
#define USHER_TESTS_SIM_SIM_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum linear_kind {
    LINEAR_HOLD,    /* free -> held by `order` */
    LINEAR_BOOK,    /* free -> booked by `order` */
    LINEAR_CONFIRM, /* held by `order` -> booked by it */
    LINEAR_END,     /* held or booked by `order` -> free */
    LINEAR_REFUSED, /* was not free */
    LINEAR_READ,    /* was `status` (enum seat_status) */
};

struct linear_op {
    uint64_t called, returned; /* any clock; equal times count as overlapping */
    enum linear_kind kind;
    unsigned order; /* from 1 */
    int status;
};

enum linear_verdict { LINEAR_YES, LINEAR_NO, LINEAR_GAVE_UP };

/* On LINEAR_NO *stuck is the operation that fits nowhere. Sorts nothing in place. */
enum linear_verdict linear_check(const struct linear_op *ops, size_t n, size_t *stuck);

#endif
