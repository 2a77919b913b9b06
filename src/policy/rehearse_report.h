/* The report of a rehearsal: decisions compared and counted, and some of those that change. */
#ifndef USHER_POLICY_REHEARSE_REPORT_H
#define USHER_POLICY_REHEARSE_REPORT_H

#include "policy/rehearse.h"
#include "policy/rehearse_outcome.h"

struct tally {
    uint64_t count;
    int64_t seats, money;
};

struct rule_tally {
    char rule[RULE_BYTES];
    struct tally t;
};

/* Zeroed, then report_free(). */
struct report {
    uint64_t requests, same, first_index, first_ms, last_index, last_ms;
    uint64_t not_rebuilt; /* the caller counts them */
    uint64_t failed;      /* the candidate did */
    struct tally refused_now, granted_now, other_seats, other_price, other_hold;
    uint64_t other_code;
    struct rule_tally rules[REHEARSE_RULES];
    size_t rules_count;
    struct buf examples;
    size_t examples_count;
};
void report_free(struct report *r);

/* One decision: what was, what would be. `argv` is the encoded request (varint count, words). */
void report_decision(struct report *r, struct span argv, uint64_t time_ms, uint64_t index,
                     const struct outcome *was, const struct outcome *now);

/* Appends a JSON object (docs/policy.md); b->failed, or r->examples.failed, when memory ran out. */
void report_put(struct report *r, struct buf *b);

#endif
