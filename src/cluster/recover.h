/* After the loss of a majority: one survivor's data goes on as a cluster of one, offline.
 *
 * Reading changes nothing (cluster/inspect.h). Writing appends a configuration of this node
 * alone to its log, in a term of its own, and gives the cluster a new id: whatever comes back
 * of the old one can never again form a majority with, or against, this node. */
#ifndef USHER_CLUSTER_RECOVER_H
#define USHER_CLUSTER_RECOVER_H

#include "base/env.h"
#include "base/limits.h"
#include "store/store.h"

struct recover_member {
    uint64_t node_id;
    char address[ADDRESS_BYTES_MAX + 1];
    bool voter, self;
};

struct recover_facts {
    uint64_t node_id, cluster_id;
    char address[ADDRESS_BYTES_MAX + 1];
    uint64_t last_index, last_term; /* of its log */
    uint64_t conf_index;            /* entry of the newest configuration */
    uint64_t time_ms, digest;       /* of the state after its last entry */
    struct store_stats stats;
    struct recover_member members[CLUSTER_MEMBERS_MAX]; /* of the newest configuration */
    unsigned members_count, voters, quorum;
};

/* ERR_CONFLICT: a node runs on it. ERR_NOTFOUND: no data directory. ERR_CORRUPT: damaged, with
 * the first finding. ERR_NOTREADY: it was never a member of a cluster, or was removed. */
int recover_look(struct env *env, const char *dir, struct recover_facts *out, struct error *e);
/* The Raft rule: later last term, then longer log. <0, 0, >0. */
int recover_compare(const struct recover_facts *a, const struct recover_facts *b);

struct recover_result {
    uint64_t cluster_id, term, index; /* index: of the new configuration */
    int status;                       /* 0, or the error below */
    struct error error;
};
/* Rewrites the directory that `facts` came from. 0: run the loop until `done`, then look at
 * the result, which must live so long; an error: done is called too when *pending. */
int recover_write(struct env *env, const char *dir, const struct recover_facts *facts,
                  struct recover_result *result, void (*done)(void *arg), void *arg, bool *pending,
                  struct error *e);

#endif
