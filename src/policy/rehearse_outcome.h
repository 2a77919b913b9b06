/* What a decision amounts to: one that was recorded, or what a rehearsed request would be given. */
#ifndef USHER_POLICY_REHEARSE_OUTCOME_H
#define USHER_POLICY_REHEARSE_OUTCOME_H

#include "base/buf.h"
#include "base/error.h"
#include "store/store.h"

#define RULE_BYTES 64

struct outcome {
    int code;
    uint64_t shape;       /* hash of the places, without ids */
    int64_t seats, money; /* what it adds to the orders it is about */
    uint64_t hold_ms;     /* until when held, 0: not */
    char rule[RULE_BYTES];
    char message[ERROR_MESSAGE_BYTES];
};

/* An order that the transaction which is read is about, and what it comes to so far. */
struct bill {
    uint64_t order; /* hash of its id */
    int64_t seats, price;
    bool counted; /* the outcome has all of it, not only what was added */
};

/* Zeroed but for the store, then outcome_reader_free(). */
struct outcome_reader {
    const struct store *s;
    struct buf scratch;
    struct buf bills;  /* of struct bill */
    struct bill spare; /* in place of one for which there is no memory */
    bool no_memory;    /* an outcome is not to be relied on */
};
void outcome_reader_free(struct outcome_reader *o);

/* Adds what the encoded effects of one transaction amount to, o->s being the state before it; ids,
 * which are random, do not count. */
void outcome_add(struct outcome_reader *o, struct span effects, struct outcome *out);

/* A refusal with its text and fields (the members of a JSON object, of which `rule` is kept). */
void outcome_refuse(struct outcome *out, int code, const char *message, const struct buf *fields);

#endif
