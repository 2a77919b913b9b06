/* A backup becomes the first node of a new cluster, offline.
 *
 *   whole file read, checked and loaded in memory -> DIR.restoring made: new node id, new
 *   cluster id, the snapshot with a configuration of this node alone -> renamed to DIR
 *
 * Nothing is written before the backup has proved whole, and DIR appears complete or not at
 * all. The other nodes join with add-node. */
#ifndef USHER_CLUSTER_RESTORE_H
#define USHER_CLUSTER_RESTORE_H

#include "raftio/backup_format.h"
#include "store/store.h"

struct restore_result {
    struct backup_head head;  /* of the file */
    struct store_stats stats; /* what is in it */
    uint64_t cluster_id, node_id;
};

struct restore; /* the journal that is being closed */

/* Does everything but the rename, blocking. On 0 run the loop until `closed` has been
 * called, then restore_finish(). On an error *out may be set as well: the same, with
 * restore_abandon(). */
int restore_write(struct env *env, const char *file, const char *dir, const char *address,
                  struct restore_result *result, struct restore **out, void (*closed)(void *arg),
                  void *arg, struct error *e);
int restore_finish(struct restore *r, struct error *e);
void restore_abandon(struct restore *r); /* removes what it made */

/* Only the first step: is the file whole? */
int restore_verify(struct env *env, const char *file, struct restore_result *result,
                   struct error *e);

#endif
