/* Rehearsal: recorded requests judged again by a candidate policy, each from the state that
 * it met. Pure computation over a store of its own: for a worker thread. */
#ifndef USHER_POLICY_REHEARSE_H
#define USHER_POLICY_REHEARSE_H

#include <stdatomic.h>

#include "policy/policy.h"

#define REHEARSE_EXAMPLES 20 /* changed decisions that are shown one by one */
#define REHEARSE_RULES    64 /* rules that are counted apart */

/* What a user may do, as the profile says today (the log keeps names only). */
struct rehearse_user {
    struct span name;
    int access;
    const char *const *roles;
};

struct rehearse_options {
    struct span bundle; /* the candidate */
    uint64_t last;      /* judge only the last so many, 0: all */
    uint64_t since_ms;  /* ... and only from then on */
    const struct rehearse_user *users;
    size_t users_count;
    int other_access;     /* of users that are not in the list */
    struct span refusals; /* records of refusals.h, in any order */
    const atomic_bool *stop;
    void (*pace)(void *arg); /* NULL, or called before each request: may sleep */
    void *arg;
};

/* `s` is the state before the first of `entries` (varint index, bytes each) and is moved
 * through them. Appends the report, a JSON object (docs/policy.md), to `json`. ERR_BADARG: the
 * candidate does not load, with file and line. ERR_CORRUPT: the entries do not fit the state.
 * ERR_CANCELED: stopped. */
int rehearse(struct store *s, struct span entries, const struct rehearse_options *o,
             struct buf *json, struct error *e);

#endif
