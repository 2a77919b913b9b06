/* The journal: what a node must still know after a power loss.
 *
 * Directory of one node (formats: docs/formats.md; every file starts with a magic,
 * a format version and a checksum):
 *   lock              held while the node runs
 *   identity          node id, cluster id (0 until founded or joined), address
 *   vote-0, vote-1    the last acknowledged (sequence, term, vote) is in both, so damage to
 *                     one is repaired from the other
 *   mark              durable mark: the log was once synced up to here (bounds how
 *                     much of a tail may be cut as torn)
 *   log-XXXXXXXXXXXXXXXX     segments, numbered from 1: preallocated, zeroed,
 *                     checksummed length-framed records; only ever appended to
 *                     (a truncation is a record too)
 *   snapshot-INDEX-TERM      complete snapshots (written as .part, synced, renamed)
 *
 * Everything asynchronous goes through one queue in order; one job at a time writes
 * all that is queued with one sync (group commit). Callbacks run on the loop in
 * order, never from inside the call. A failed write or sync is never retried: the
 * fatal callback is called once, everything queued then and later is answered with the
 * error, and the process must end. A full disk is not fatal: appends that need a new
 * segment wait until there is room (journal_has_space() says so long before), votes do not.
 *
 * Invariants: J1 a callback with 0 means durable. J2 callbacks come in order of the calls, but
 * for votes that stand behind an append that waits for room. J3 a torn tail beyond the mark is cut;
 * any other damage is refused at open, naming file and offset. J4 term and vote never go back. */
#ifndef USHER_RAFTIO_JOURNAL_H
#define USHER_RAFTIO_JOURNAL_H

#include "base/buf.h"
#include "base/env.h"
#include "base/error.h"

struct journal;

struct journal_entry {
    uint64_t term;
    uint8_t type; /* enum raft_entry_type, opaque here */
    const void *data;
    size_t len;
};

struct journal_identity {
    uint64_t node_id;    /* random, never 0 after the first open */
    uint64_t cluster_id; /* 0: belongs to none yet */
    char address[256];
};

/* What open() found. Entries and their bytes are owned by the journal until
 * journal_release_recovery(). */
struct journal_recovery {
    struct journal_identity identity;
    bool fresh; /* the directory was empty */
    uint64_t term, vote;
    uint64_t snapshot_index, snapshot_term; /* 0: none */
    uint64_t first_index;                   /* of entries[0] */
    struct journal_entry *entries;
    size_t entries_count;
    uint64_t cut_bytes; /* torn tail that was cut, for a log line */
};

struct journal_options {
    uint64_t segment_bytes; /* 0: 64 MiB */
    uint64_t reserve_bytes; /* free space kept for barriers and changes; 0: 16 MiB */
    void (*fatal)(void *arg, const struct error *e);
    void *arg;
};

/* Opens or makes the directory; blocking, before serving. ERR_CONFLICT: locked by a
 * running node. ERR_CORRUPT: damaged, with file and offset and what to do. */
int journal_open(struct env *env, const char *dir, const struct journal_options *o,
                 struct journal **out, struct journal_recovery *rec, struct error *e);
void journal_release_recovery(struct journal *j, struct journal_recovery *rec);
/* Waits for what is queued (which it answers with ERR_NOSPACE on a full disk, with ERR_BUSY
 * without descriptors), then calls cb and is gone. Snapshot writers must have been finished or
 * abandoned before. */
void journal_close(struct journal *j, void (*cb)(void *arg), void *arg);

typedef void (*journal_cb)(void *arg, int status);

/* Durable before cb. Blocking form for start-up in journal_set_identity. */
int journal_set_identity(struct journal *j, const struct journal_identity *id, struct error *e);
void journal_set_vote(struct journal *j, uint64_t term, uint64_t vote, journal_cb cb, void *arg);
int journal_set_vote_now(struct journal *j, uint64_t term, uint64_t vote,
                         struct error *e); /* start-up */
/* Appends entries[0..n) at `index`, which is one past the last; the bytes must stay
 * valid until cb. */
void journal_append(struct journal *j, uint64_t index, const struct journal_entry *entries,
                    size_t n, journal_cb cb, void *arg);
/* Drops entries >= index; past the end it does nothing. Ordered before the append
 * that follows it. */
void journal_truncate(struct journal *j, uint64_t index);
/* Drops whole segments below `index` (after a snapshot). */
void journal_compact(struct journal *j, uint64_t index);
/* After an installed snapshot: the log restarts empty at index + 1. */
void journal_restart(struct journal *j, uint64_t index, journal_cb cb, void *arg);

/* False: a request that grows the state must be refused with NOSPACE. Checked in the
 * background once a second and after ENOSPC; heals by itself. */
bool journal_has_space(const struct journal *j);
/* Bytes of the records from the compaction index on (within 64 KiB), queued ones
 * included: what a snapshot would save. */
uint64_t journal_log_bytes(const struct journal *j);

/* How long a batch takes from the pump to its end, sync and the loop's own delay included:
 * microseconds, of late; 0 before the first. */
uint64_t journal_write_us(const struct journal *j);
uint64_t journal_free_bytes(const struct journal *j); /* of the disk, as of the last second */

/* Snapshot files. Writing: chunks are appended off the loop in order; finish syncs,
 * renames, syncs the directory and removes older snapshots (the newest two stay).
 * `meta` is an opaque header (raft configuration) kept with a checksum. A full disk fails
 * the snapshot with ERR_NOSPACE and nothing else, no descriptor left with ERR_BUSY; other
 * errors are fatal. create returns NULL when memory is short. */
struct journal_snapshot_writer;
struct journal_snapshot_writer *journal_snapshot_create(struct journal *j, uint64_t index,
                                                        uint64_t term, struct span meta);
/* Takes b's bytes (empties it); cb when the chunk is on its way (flow control). */
void journal_snapshot_write(struct journal_snapshot_writer *w, struct buf *b, journal_cb cb,
                            void *arg);
void journal_snapshot_finish(struct journal_snapshot_writer *w, journal_cb cb,
                             void *arg); /* frees w */
void journal_snapshot_abandon(
    struct journal_snapshot_writer *w); /* removes the part file, frees w */

/* Reading the snapshot file (for restore and for sending): blocking calls, meant for
 * jobs. Verifies header and length when opened and every block before any of its bytes is
 * handed out. `meta` is cleared and filled; *bytes is the payload's length. */
struct journal_snapshot_reader;
int journal_snapshot_open(struct journal *j, uint64_t index, uint64_t term,
                          struct journal_snapshot_reader **out, struct buf *meta, uint64_t *bytes,
                          struct error *e);
int journal_snapshot_read(struct journal_snapshot_reader *r, void *out, size_t len, size_t *got,
                          struct error *e); /* got 0: end */
void journal_snapshot_close(struct journal_snapshot_reader *r);

#endif
