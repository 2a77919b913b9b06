/* The state that a stopped node's directory amounts to: snapshots loaded, the log replayed
 * over them, every invariant of the store checked (for `usher check`, backup and recovery). */
#ifndef USHER_CLUSTER_INSPECT_H
#define USHER_CLUSTER_INSPECT_H

#include "raftio/journal_inspect.h"
#include "store/store.h"

struct cluster_inspection {
    struct store *store; /* as far as it could be computed; NULL: not at all */
    uint64_t index;      /* of the last entry in it */
    struct buf conf;     /* the newest configuration, encoded; empty: none */
    uint64_t conf_index;
    uint64_t commands, changes, barriers; /* entries replayed */
};

/* Replays the whole local log, committed or not: its entries chain to each other. Starts at
 * the oldest snapshot that the log reaches (or at nothing), and compares with each newer one
 * on the way. What does not fit is added to in's damage. Returns ERR_NOMEM or ERR_IO, or 0. */
int cluster_inspect(struct journal_inspection *in, struct cluster_inspection *out, struct error *e);
void cluster_inspection_free(struct cluster_inspection *out);
/* [{"node":"HEX","address":"a:1","role":"voter"}]; "[]" when there is no configuration. */
void cluster_inspection_members(const struct cluster_inspection *in, struct buf *json);

#endif
