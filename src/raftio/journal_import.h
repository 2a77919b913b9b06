/* Putting a complete snapshot into a data directory that no node runs on (restore). */
#ifndef USHER_RAFTIO_JOURNAL_IMPORT_H
#define USHER_RAFTIO_JOURNAL_IMPORT_H

#include "raftio/journal.h"

/* The next piece of the payload; *len 0: the end. */
typedef int (*journal_import_next)(void *arg, const uint8_t **data, size_t *len, struct error *e);

/* Writes, syncs and names the file; blocking, right after journal_open and before anything
 * else is asked of the journal. The node's next start continues the log behind it. */
int journal_import_snapshot(struct journal *j, uint64_t index, uint64_t term, struct span meta,
                            journal_import_next next, void *arg, struct error *e);

#endif
