/* Refused requests that are not in the log (they came without a request id), as the leader
 * records them for rehearsals: which state each met, and what it was told.
 *
 * A record: u32 length of the rest, u64 checksum (XXH3 of what follows it), then varints index,
 * position, time in ms, u64 digest, u8 code, and as length and bytes: user, argv as in
 * entry_tx. It met the state before transaction `position` of entry `index`; the digest of
 * that state tells whether a rebuilt one is the same. */
#ifndef USHER_POLICY_REFUSALS_H
#define USHER_POLICY_REFUSALS_H

#include "base/buf.h"

struct refusal {
    uint64_t index, time_ms, digest;
    uint32_t position;
    int code;
    struct span user, argv;
};

void refusal_put(struct buf *out, const struct refusal *r);
/* False at the end, or where a record is cut or damaged: nothing behind it is read. */
bool refusal_next(struct reader *r, struct refusal *out);

#endif
