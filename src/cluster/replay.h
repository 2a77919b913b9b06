/* The committed log and the state it starts from, for those who look back (rehearsals).
 *
 * A log begins behind a snapshot; so state = the newest snapshot's, then entry by entry.
 * Nothing here writes, and the loop is never held up: entries are copied in slices, the
 * snapshot is read by a job. */
#ifndef USHER_CLUSTER_REPLAY_H
#define USHER_CLUSTER_REPLAY_H

#include "cluster/cluster.h"

struct cluster_replay {
    uint64_t snapshot_index, snapshot_term; /* 0: the log starts from nothing */
    uint64_t commit;
};
void cluster_replay_begin(const struct cluster *c, struct cluster_replay *out);

/* Appends committed commands behind entry *at, each as varint index and its bytes (varint
 * length first), about `bytes` of them, and moves *at. 0; ERR_NOTFOUND: the log does not
 * reach back to *at any more (a newer snapshot has taken its place: begin again); ERR_NOMEM. */
int cluster_replay_copy(const struct cluster *c, const struct cluster_replay *r, uint64_t *at,
                        size_t bytes, struct buf *out);

/* The state at snapshot_index, by a background job. status ERR_NOTFOUND: that snapshot is gone. The
 * store is the callback's. Exactly once, on the loop, never from inside the call. */
typedef void (*cluster_replay_cb)(void *arg, int status, struct store *store,
                                  const struct error *e);
void cluster_replay_state(struct cluster *c, const struct cluster_replay *r, cluster_replay_cb cb,
                          void *arg);

#endif
