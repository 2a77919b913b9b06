/* Backups from a running node: the newest snapshot, proved to be new enough, as the bytes
 * of a backup file (raftio/backup_format.h).
 *
 *   read index proved -> applied here -> snapshot written if none is that new -> its file
 *   read in jobs, wrapped, handed out in pieces
 *
 * A slow taker costs nothing but an open file: the store is not held. */
#ifndef USHER_CLUSTER_BACKUP_H
#define USHER_CLUSTER_BACKUP_H

#include "cluster/cluster.h"
#include "raftio/backup_format.h"

/* The index up to which everything was acknowledged when this was called, through the
 * leader wherever it is, applied on this node: cb(0, index), or ERR_NOQUORUM,
 * ERR_CANCELED. On the loop, exactly once, never before this returns. */
typedef void (*cluster_index_cb)(void *arg, int status, uint64_t index);
void cluster_read_index(struct cluster *c, cluster_index_cb cb, void *arg);

struct cluster_backup;

/* A piece of the file: status 0 with bytes (the callee may take them and leave b empty) and
 * whether they are the last ones; or an error, then nothing follows. */
typedef void (*cluster_backup_cb)(void *arg, int status, const struct error *e, struct buf *b,
                                  bool last);

/* 0 when a local backup can be taken here (a node that has ever been a member and is whole). */
int cluster_backup_possible(const struct cluster *c, struct error *e);

/* `local`: what this node has committed, without asking a leader (there may be none).
 * NULL: out of memory. */
struct cluster_backup *cluster_backup_new(struct cluster *c, bool local);
/* One piece; one call at a time. */
void cluster_backup_next(struct cluster_backup *b, cluster_backup_cb cb, void *arg);
/* Facts of the backup, valid after the first piece. */
const struct backup_head *cluster_backup_head(const struct cluster_backup *b);
uint64_t cluster_backup_bytes(const struct cluster_backup *b); /* of the file so far */
/* At any time; a callback that is due does not come any more. */
void cluster_backup_free(struct cluster_backup *b);

/* The whole file on this node, below the data directory: backups/NAME. cb once, on the
 * loop; path is below the data directory's parent as given at start. The name is a plain
 * file name; a file of that name is refused (ERR_CONFLICT). */
typedef void (*cluster_backup_file_cb)(void *arg, int status, const struct error *e,
                                       const struct backup_head *head, const char *path,
                                       uint64_t bytes);
void cluster_backup_file(struct cluster *c, bool local, struct span name, cluster_backup_file_cb cb,
                         void *arg);

uint64_t cluster_snapshot_bytes(const struct cluster *c); /* of the newest snapshot */

#endif
