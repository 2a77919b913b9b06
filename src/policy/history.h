/* What each kept version of the policy is: its name, and which version it brought back. The store
 * keeps a version's files and author only; this stands beside them in the cluster record
 * "policy-history" (docs/formats.md), so data of older programs reads as before and lacks it. */
#ifndef USHER_POLICY_HISTORY_H
#define USHER_POLICY_HISTORY_H

#include "store/store.h"

#define HISTORY_RECORD "policy-history"

struct history_entry {
    uint32_t version;
    int64_t restored; /* the version whose files a rollback made active again; -1: deployed */
    struct span name; /* the policy's own */
};

/* False: nothing is known of this version. `out` points into the store. */
bool history_find(const struct store *s, uint32_t version, struct history_entry *out);

/* The record's bytes with one more entry, without those of versions that are kept no longer.
 * A name that is no short text is left out. buf.failed when there is no memory. */
void history_with(const struct store *s, const struct history_entry *add, struct buf *out);

#endif
