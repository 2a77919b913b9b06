/* Feature levels: what a program can read in entries, snapshots and the digest.
 *
 *   level  since
 *   1      0.1.0: the first format
 *
 * A release that changes one of them adds a row, raises FEATURE_LEVEL, and writes the new
 * form only where cluster_feature_level() has reached it. So during a rolling upgrade the
 * cluster goes on writing what its oldest member understands. */
#ifndef USHER_CLUSTER_FEATURE_H
#define USHER_CLUSTER_FEATURE_H

#include <stdint.h>

#define FEATURE_LEVEL 1

struct cluster;

/* The level that entries are written with now: logged, so the same on every node. */
uint32_t cluster_feature_level(const struct cluster *c);

#endif
