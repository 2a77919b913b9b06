/* What a node tells the others about its program, profile and machine (cluster_vitals). */
#ifndef USHER_NET_MACHINE_H
#define USHER_NET_MACHINE_H

#include "base/buf.h"
#include "cluster/cluster.h"

struct machine {
    uint64_t profile_hash, build_hash;
};

/* Reads the program's own file once (blocking, at the start). */
void machine_init(struct machine *m, uint64_t profile_hash);
void machine_vitals(const struct machine *m, struct cluster_vitals *v);

#endif
