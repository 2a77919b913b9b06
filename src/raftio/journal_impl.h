/* Shared by the journal's files; nobody else includes it.
 *
 *   journal.c           the queue, group commit, closing
 *   journal_background.c  the next segment, removal of old ones, the tick
 *   journal_segment.c   the log writer: records into segments, sealing, creating
 *   journal_open.c      opening a directory: lock, identity, snapshot and log together
 *   journal_load.c      its segments: which belong together, where the log goes on
 *   journal_replay.c    reading one segment: records, torn tail or damage
 *   journal_inspect.c   reading all of a stopped node's directory, changing nothing
 *   journal_vote.c      the small files: vote slots, durable mark, identity
 *   journal_snapshot.c  snapshot writer; journal_snapshot_read.c: reader
 *   journal_format.c    the bytes */
#ifndef USHER_RAFTIO_JOURNAL_IMPL_H
#define USHER_RAFTIO_JOURNAL_IMPL_H

#include "base/env.h"
#include "base/log.h"
#include "raftio/journal.h"
#include "raftio/journal_format.h"
#include "raftio/journal_inspect.h"

/* Room for any name of ours behind the directory. */
#define JOURNAL_NAME_BYTES 96

/* "dir/name" in a new string; NULL: out of memory. */
char *journal_path(const char *dir, const char *name);
char *journal_segment_path(const char *dir, uint64_t number);
/* Fills e with ERR_CORRUPT, "PATH at offset N: what", and what to do. Returns the code. */
int journal_corrupt(struct error *e, const char *path, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* What to do about a file that the disk cannot read. */
void journal_hint_disk(struct error *e);

/* ---- The log writer (journal_segment.c) ---------------------------------------
 * Belongs to the worker while it writes a batch, else to the loop. */

/* What is at most this long is encoded on the loop and written without a worker. */
#define LOG_DIRECT_BYTES ((size_t)128 * 1024)

/* Where the block that holds `at` begins, and where the first that begins at or behind it does. */
static inline uint64_t block_begin(uint64_t at) { return at - at % ENV_BLOCK_BYTES; }
static inline uint64_t block_end(uint64_t at) { return block_begin(at + ENV_BLOCK_BYTES - 1); }

struct segment {
    uint64_t number;
    uint64_t first_index; /* everything below it lives in earlier segments */
};

struct log_writer {
    struct env *env;
    const char *dir;
    uint64_t node_id;
    struct env_file *file;             /* the current segment */
    uint64_t number, offset, capacity; /* offset 0: its header is not written yet */
    struct env_file *spare;            /* segment number + 1, zeros, durable; or NULL */
    uint64_t spare_capacity;
    uint64_t next_index; /* what the log's next entry must be */
    uint64_t durable;    /* everything before this position is synced */
    uint64_t range_at;   /* what is written ends here; records put since go to [range_at, offset) */
    struct buf range;    /* those, behind what stands before range_at in its block */
    uint8_t *direct;     /* aligned copy of the range, for env_write */
    struct segment *segments; /* oldest first; the last is the current one */
    size_t segments_count, segments_cap;
};

/* Bytes that records may take in a segment of this capacity, from `offset` on. */
uint64_t log_room(uint64_t capacity, uint64_t offset);
/* Adds a record behind the last, changing to the spare where it does not fit (the caller
 * made sure that there is one that is large enough). */
int log_put(struct log_writer *w, const struct record *r, struct error *e);
/* Writes and syncs what was put. */
int log_flush(struct log_writer *w, struct error *e);
/* The same in steps, for what has been put since the last flush, is at most LOG_DIRECT_BYTES
 * and did not change the segment: prepare, then write *out in any way, then log_written. */
int log_prepare(struct log_writer *w, struct env_write *out, struct error *e);
void log_written(struct log_writer *w);
/* Whether a batch of this many bytes may be written so. */
bool log_is_direct(const struct log_writer *w, uint64_t bytes);
/* Makes the range, from what stands before `offset` in its block. segment: the current one's
 * bytes as they were read and checked, up to `offset`; not used when that is 0. */
int log_open_range(struct log_writer *w, const uint8_t *segment, struct error *e);
bool log_add_segment(struct log_writer *w, uint64_t number, uint64_t first_index);
void log_close(struct log_writer *w);
/* Makes segment `number`: all zeros, durable, and its name too. Blocking. */
int segment_create(struct env *env, const char *dir, uint64_t number, uint64_t bytes,
                   struct env_file **out, struct error *e);

/* ---- Reading a segment (journal_replay.c) ------------------------------- */

/* The log as far as it has been read. */
struct replay {
    uint64_t node_id;
    uint64_t mark; /* the log was durable up to here */
    uint64_t first_index, next_index;
    uint64_t last_term;            /* of the last entry; 0: none known */
    struct journal_entry *entries; /* [first_index, next_index) */
    size_t *sizes;                 /* of their records */
    size_t entries_count, entries_cap;
};

struct replay_segment {
    uint64_t number;
    const char *path;
    const uint8_t *data;
    size_t size;
    bool last; /* the last one that holds anything: only here a torn tail can be */
    /* Results. */
    uint64_t first_index;
    uint64_t end;       /* offset behind the last good record */
    bool sealed;        /* ends with RECORD_SEAL */
    bool restarted;     /* holds a RECORD_RESTART: earlier segments are of no use */
    uint64_t cut_bytes; /* of a torn tail */
};

/* ERR_CORRUPT or ERR_NOMEM. Entries point into s->data. */
int replay_segment(struct replay *r, struct replay_segment *s, struct error *e);

/* ---- Opening (journal_open.c, journal_load.c) --------------------------- */

struct opening {
    struct journal *j;
    struct journal_recovery *rec;
    struct error *e;
    struct journal_inspection *inspection; /* journal_inspect.c; else NULL */
    /* What the directory holds. */
    uint64_t *numbers;
    size_t count, cap;
    char (*parts)[JOURNAL_NAME_BYTES];
    size_t parts_count;
    bool has_identity, no_memory;
    /* What the segments say. */
    struct replay replay;
    size_t begin;            /* numbers[begin..count) belong together */
    uint64_t number, offset; /* where the log goes on */
    bool dirty_tail;         /* the bytes behind must be zeroed */
    uint64_t rewrite_number, rewrite_from, rewrite_end;
    const uint8_t *rewrite_data;
};

/* Fills numbers, parts, has_identity, the newest snapshot. */
int opening_list(struct opening *o);
/* Whether log and snapshot belong together, and whether the log must restart behind it. */
int opening_join_snapshot(struct opening *o, bool *restart);
int opening_lock(struct opening *o, int flags);
/* journal_inspect.c: what the listing finds. False: out of memory. */
bool inspect_add_snapshot(struct opening *o, uint64_t index, uint64_t term);
void inspect_add_other(struct opening *o, const char *name);
/* Reads all segments; sets where the log goes on. Changes nothing. */
int load_segments(struct opening *o);
/* Makes the log's end durable and clean, and the writer ready. */
int load_writer(struct opening *o);

/* ---- The small files (journal_vote.c) ----------------------------------- */

struct slots {
    struct env *env;
    uint64_t node_id;
    struct env_file *vote[2], *mark;
    struct slot vote_now, mark_now;
    int vote_bad;    /* the copy that is damaged, -1: none */
    int vote_behind; /* the copy to be repaired: damaged or older; -1: none */
};

int slots_create(struct slots *s, const char *dir, struct error *e);
/* Opens the files and reads the newest of each; repairs a vote slot from its twin. */
int slots_open(struct slots *s, const char *dir, struct error *e);
/* The same without repairing: the files are opened for reading only. */
int slots_read(struct slots *s, const char *dir, struct error *e);
int slots_write_vote(struct slots *s, uint64_t term, uint64_t vote, struct error *e);
int slots_write_mark(struct slots *s, uint64_t position, struct error *e);
void slots_close(struct slots *s);

int identity_write(struct env *env, const char *dir, const struct journal_identity *id,
                   struct error *e);
/* ERR_NOTFOUND when there is none. */
int identity_read(struct env *env, const char *dir, struct journal_identity *out, struct error *e);
/* Whole file into memory (mem_free). */
int journal_read_file(struct env *env, const char *path, uint8_t **data, size_t *len,
                      struct error *e);

/* ---- Snapshots (journal_snapshot.c, journal_snapshot_read.c)
 * -------------------------------------------------- */

/* "dir/snapshot-INDEX-TERM" in a new string; NULL: out of memory. */
char *snapshot_path(const char *dir, uint64_t index, uint64_t term);
bool snapshot_parse_name(const char *name, uint64_t *index, uint64_t *term);
/* Header, meta and trailer are good; *bytes is the payload's length. */
int snapshot_open(struct env *env, const char *dir, uint64_t index, uint64_t term,
                  struct journal_snapshot_reader **out, struct buf *meta, uint64_t *bytes,
                  struct error *e);
/* Checks header, meta and trailer against the file's size, not the blocks. */
int snapshot_check(struct env *env, const char *dir, uint64_t index, uint64_t term,
                   struct error *e);

/* ---- The journal (journal.c) -------------------------------------------- */

enum op_kind { OP_APPEND, OP_TRUNCATE, OP_RESTART, OP_VOTE };

struct op {
    struct op *next;
    enum op_kind kind;
    uint64_t index; /* append, truncate, restart */
    uint64_t term, vote;
    size_t bytes; /* in the log */
    journal_cb cb;
    void *arg;
    size_t n;
    struct journal_entry entries[];
};

/* Log bytes below an index, so that compaction can be accounted for entry by entry while
 * files go only segment by segment. */
struct size_sample {
    uint64_t index, bytes; /* bytes of all records before this entry's */
};

struct background {
    struct env_job job;
    bool running;
    int status;
    struct error error;
};

struct journal {
    struct env *env;
    char *dir;
    struct journal_options options;
    struct journal_identity identity;
    struct env_file *lock;
    struct slots slots;
    struct log_writer log;

    struct op *head, **tail; /* waiting, in order */
    struct op *running;      /* in the write job */
    struct background write;
    struct env_write direct;     /* what the write job does, when it needs no worker */
    uint64_t write_ns, write_us; /* when the job began; its time, smoothed */
    struct env_defer pump;
    uint64_t next_index, term, vote; /* as if all that is queued were done */

    struct background spare; /* makes the next segment */
    uint64_t spare_want;     /* capacity needed; 0: none */
    uint64_t spare_number;
    uint64_t spare_bytes; /* of the one being made */
    struct env_file *spare_file;
    bool spare_ready; /* log.spare != NULL, as of when no write job ran */
    int spare_failed; /* why the last try failed (journal_passes), 0: it did not ... */
    bool spare_waits; /* ... and the next one waits for the tick */

    struct background removal; /* of old segments */
    uint64_t compact_index;
    uint64_t removal_first, removal_end;

    struct env_timer *timer;
    struct background tick;
    uint64_t tick_free_bytes, free_bytes;
    bool tick_free_known, tick_marks;
    uint64_t tick_mark;
    bool low_space;

    struct size_sample *samples;
    size_t samples_count, samples_cap;
    uint64_t bytes_total, bytes_base;

    unsigned snapshots; /* writers that are not gone yet */
    uint64_t snapshot_counter;
    struct log_limit snapshot_log;

    int failed; /* the code given to fatal; 0 while all is well */
    bool closing, closed_started;
    void (*close_cb)(void *arg);
    void *close_arg;

    uint8_t **recovery_data; /* segment files that recovery entries point into */
    size_t recovery_count;
};

/* A failure that ends by itself and left nothing half-done: a full disk, no descriptor left.
 * Whatever else fails is a broken disk. */
static inline bool journal_passes(int status)
{
    return status == ERR_NOSPACE || status == ERR_BUSY;
}
/* Reports a fatal failure, once. */
void journal_fail(struct journal *j, const struct error *e);
/* Something in the background ended: closing may go on. */
void journal_progress(struct journal *j);
/* Starts the next write job when there is work and none runs. */
void journal_pump(struct journal *j);
/* Answers all that waits with an error: it will not be written. */
void journal_drop_queue(struct journal *j, int status);
void journal_account(struct journal *j, uint64_t index, size_t bytes);
/* The end of opening: the queue and the clock start. */
int journal_start(struct journal *j, struct error *e);
/* Closes every file and frees everything; nothing may be under way. */
void journal_destroy(struct journal *j);

/* ---- Beside the write jobs (journal_background.c) ----------------------- */

#define JOURNAL_TICK_MS 1000

/* Removes the segments before the last one that begins at or below compact_index. */
void journal_remove_old(struct journal *j);
/* Sees to it that there will be a spare of at least `bytes`. While it is being made no batch
 * that could use it is started (batch_limit), so the current segment stays the same. */
void journal_want_spare(struct journal *j, uint64_t bytes);
void journal_start_tick(struct journal *j);
void journal_on_timer(void *arg);
/* Until the next segment exists there must be room for it. */
bool journal_is_low(const struct journal *j, uint64_t free_bytes);

#endif
