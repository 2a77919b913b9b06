/* The log in memory: every entry that is still in the journal, oldest first.
 *
 * libraft's core keeps terms only; entries live here, from the first one that is kept
 * behind the last snapshot up to the newest. Payloads are counted references: the
 * cache, an append on its way to disk and the caller may share one without copying.
 * Indices are without gaps. Loop thread only. */
#ifndef USHER_CLUSTER_LOG_CACHE_H
#define USHER_CLUSTER_LOG_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* One block of memory that holds the bytes of one or more entries. */
struct payload {
    unsigned refs;
    bool of_raft; /* release with raft_free, else mem_free */
    void *base;
};

/* Both take the block and return one reference. Out of memory ends the process: this is
 * below the log. */
struct payload *payload_of_raft(void *base);
struct payload *payload_of_buf(struct buf *b); /* takes b's bytes and empties b */
struct payload *payload_ref(struct payload *p);
void payload_unref(struct payload *p); /* NULL is fine */

struct log_entry {
    uint64_t term;
    const void *data;
    size_t len;
    struct payload *payload;
    uint8_t type; /* enum raft_entry_type */
};

struct log_cache {
    struct log_entry *slots; /* ring */
    size_t cap, front, count;
    uint64_t first; /* index of the oldest entry; last = first + count - 1 */
    uint64_t bytes; /* of all payloads in it */
    uint64_t snapshot_index, snapshot_term;
};

void log_cache_init(struct log_cache *l); /* empty, the next index is 1 */
void log_cache_free(struct log_cache *l);
/* Empty after a snapshot: the next index is index + 1. */
void log_cache_restart(struct log_cache *l, uint64_t index, uint64_t term);
/* The empty log continues at `first` (recovery: entries may begin before the snapshot). */
void log_cache_begin(struct log_cache *l, uint64_t first);
uint64_t log_cache_last(const struct log_cache *l); /* 0 when there is nothing at all */
/* Takes the reference in e->payload. */
void log_cache_append(struct log_cache *l, const struct log_entry *e);
/* NULL when not in memory. Valid until the next change of the cache. */
const struct log_entry *log_cache_get(const struct log_cache *l, uint64_t index);
uint64_t log_cache_term(const struct log_cache *l, uint64_t index); /* 0 when unknown */
void log_cache_truncate(struct log_cache *l, uint64_t index);       /* drops entries >= index */
/* A snapshot now stands for everything up to `index`; drops entries <= drop_to. */
void log_cache_snapshot(struct log_cache *l, uint64_t index, uint64_t term, uint64_t drop_to);

#endif
