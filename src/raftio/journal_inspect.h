/* Reading a stopped node's data directory without changing a byte of it: for `usher check`
 * and whoever else must know what is there.
 *
 *   lock -> list -> identity -> votes and mark -> segments -> every snapshot, every block
 *
 * Goes on behind damage as far as that makes sense, and keeps each finding as an error with
 * file, offset and what to do. */
#ifndef USHER_RAFTIO_JOURNAL_INSPECT_H
#define USHER_RAFTIO_JOURNAL_INSPECT_H

#include "raftio/journal.h"

/* More than this is not told: the first ones say enough. */
#define INSPECT_DAMAGE_MAX 8

struct inspected_snapshot {
    uint64_t index, term, bytes; /* bytes 0: not readable */
    bool whole;
};

struct journal_inspection {
    /* What could be read; entries belong to the inspection. */
    struct journal_recovery found;
    bool has_identity, has_votes, has_log;
    int vote_bad; /* the copy of the vote that is damaged (the other is good), -1: none */
    uint64_t mark_segment, mark_offset;
    size_t segments;
    uint64_t log_bytes;                   /* of the entries' records */
    struct inspected_snapshot *snapshots; /* oldest first */
    size_t snapshots_count;
    size_t unfinished; /* *.part files: removed at the next start */
    struct buf others; /* names that are not ours, each with its NUL */
    struct error damage[INSPECT_DAMAGE_MAX];
    size_t damage_count;
    /* The inspection's own. */
    struct env *env;
    struct journal *j;
};

/* ERR_CONFLICT: a running node has it. ERR_NOTFOUND: not a data directory. ERR_NOPERM, ERR_NOMEM;
 * ERR_IO when the directory itself cannot be read. Damage is not an error: see `damage`. Free it in
 * every case. */
int journal_inspect(struct env *env, const char *dir, struct journal_inspection *out,
                    struct error *e);
void journal_inspection_free(struct journal_inspection *in);
/* Whether an error of reading on says that the files are damaged. */
bool journal_inspection_is_damage(int rc);
/* Another finding, for those who read further (the state). */
void journal_inspection_damaged(struct journal_inspection *in, const struct error *e);
/* As journal_snapshot_open(). */
int journal_inspect_snapshot(struct journal_inspection *in, const struct inspected_snapshot *s,
                             struct journal_snapshot_reader **out, struct buf *meta,
                             struct error *e);

#endif
